"""Benchmarks: what Rollcall costs, beside what the same work costs elsewhere, in one run."""
