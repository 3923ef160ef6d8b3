"""Ranks: how partitions that know only their own customers agree on who are the first of all."""
