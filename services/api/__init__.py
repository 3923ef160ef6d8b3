"""The API: saves definitions, answers who is in which segment, and shows every entry and exit.

It knows definitions, the projection and the transitions, and nothing of how they are computed. Its invariants: what it answers
201 or 200 to has been accepted by the fold of the definitions topic; a membership that cannot be known is 503, never "no"; and
everything that it reads or writes belongs to the tenant of the key.
"""
