"""What every room uses: errors, reading and writing of files, the store of checkpoints, records,
statistics, and HTML and PDF pages.

Nothing here loads a model, reads a pack or knows how a model is trained.
"""
