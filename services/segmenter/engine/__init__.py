"""The engine: data in, verdict out. No clock, no I/O, no framework, no logging; `now` is an argument.

Rules become a `Plan` (plan), customers hold series of what their facts contribute (series), features read them at an instant
(readers, features), and decisions turn what flipped into transitions (decisions).
"""
