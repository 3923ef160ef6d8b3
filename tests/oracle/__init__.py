"""The judge: the dumbest possible model of the contract. It imports nothing of the product, only the standard library.

Everything is recomputed from all documents for every question, and nothing is remembered between two of them.
"""
