"""A room full of people: rosters, the notebooks of a whole class, the class page, evidence packs
and their checks, and bundles for a room without network.

It runs the notebooks of the course as they are and reads their records. It knows no widget.
"""
