"""Values of all customers side by side, so that a question about everybody looks one by one only at those whose values are in doubt.

All of it is derived: from the history by way of the plan in force, and from rows. It is dropped at will and filled in idle moments.
See docs/adr/0016.
"""
