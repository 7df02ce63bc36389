"""The text and the questions: the invented world, packs, and the way from a folder of files to a
pack.

It does not know models, tokenizers or training.
"""
