"""A year of real shopping behind live segments: the data, the segments, a receiver, and the command that plays it all.

Nothing here is part of the product: the demo uses Rollcall from outside, over HTTP, as any user would.
"""
