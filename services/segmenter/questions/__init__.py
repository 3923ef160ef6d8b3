"""Questions that need rows or histories, answered by whoever owns the partition. Pure: no clock, no I/O, and nothing is changed.

To add a question: a struct with a tag in `schemas.questions`, and in its union; here a class that answers it for one partition,
`OfOne` for a question about one customer, `OfEveryone` for one that looks at each customer of the tenant in slices and adds up;
a line in `ANSWERED_BY` (`answers.py`); and the route, which asks through `services.api.asking` and adds the parts up.
"""
