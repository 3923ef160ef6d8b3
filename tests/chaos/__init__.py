"""Faults under load, and a comparison record by record afterwards: `python -m tests.chaos --help`."""
