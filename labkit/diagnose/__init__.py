"""What is wrong with a checkpoint, how early it shows, and whether the model may be released.

It reads scores and training histories and repairs nothing. Only the clinic's patients, which are
broken on purpose, are trained from here. It does not know notebooks or figures.
"""
