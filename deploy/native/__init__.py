"""Compiles the engine where a C compiler is at hand; without one the same sources run as they are."""
