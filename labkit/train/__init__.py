"""A spec becomes checkpoints, one for each stage and one for a merge.

This is the only room that imports trl and peft. It does not know how good a checkpoint is.
"""
