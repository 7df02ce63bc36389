"""What the notebooks talk to: the lesson, guesses and quizzes, figures, panels, reports, and a lab
for each topic (labs/).

Only this room imports ipywidgets, matplotlib and papermill. It knows one learner, not a class.
"""
