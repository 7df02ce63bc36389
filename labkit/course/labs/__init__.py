"""One module for each topic of the notebooks: what is computed, what is shown, and the panel.

A panel only wires: it neither computes nor draws. A slider never starts a training; a button does.
"""
