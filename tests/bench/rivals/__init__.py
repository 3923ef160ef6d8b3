"""Contenders: each reads the same events from the same topics in a process of its own and says how fast, and what it counted.

They run in an environment of their own (`requirements/bench.txt`), so nothing here but `beside` and `bounds` knows anything of the product.
"""
