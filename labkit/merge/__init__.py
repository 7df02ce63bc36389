"""Two models become one: t for every tensor, the methods, recipes in mergekit's form, and merging
from folder to folder.

It does not know what a merge is worth (evaluate measures that) or where it is kept (train does).
"""
