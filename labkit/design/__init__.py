"""Before anything is trained: choices become a spec, which is checked, costed, given advice and
compared with others. A situation and a vendor's claim are judged here, too.

It does not know widgets or figures.
"""
