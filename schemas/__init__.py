"""The published language of Rollcall: events, rules, transitions, definitions and the names of topics and keys.

Pure data and codecs. Nothing here connects, reads a clock or knows a framework; every other package may import this one.
"""
