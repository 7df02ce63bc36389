"""What leaves the lab: exported models with their cards, the zoo with its cards, and the apps.

It does not know the class or the command line.
"""
