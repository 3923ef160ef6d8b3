"""What does not add up is said, with the place."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from services.segmenter.accounting import Line, report, totals

WHOLE = Line("checkouts", 2, 12, 14, {"applied": 7, "duplicate": 2, "dead_lettered/conflict": 1, "gap": 2}, {"conflict": 1}, records=10)


def test_what_adds_up_has_no_faults() -> None:
    """Ten records, ten outcomes, two gaps, one dead letter that is there."""
    assert WHOLE.faults() == []
    assert replace(WHOLE, offset=9, ahead=3).faults() == [], "what single tenants have had beyond the offset of all counts as well"
    assert totals([WHOLE, WHOLE]) == {"applied": 14, "duplicate": 4, "dead_lettered": 2}
    assert report([WHOLE]) == ["checkouts: 10 accepted = 7 applied + 1 dead_lettered + 2 duplicate"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (replace(WHOLE, offset=13), "the outcomes add up to 12, the offset is 13"),
        (replace(WHOLE, offset=9, ahead=2), "the outcomes add up to 12, the offset is 9, and 2 are ahead of it"),
        (replace(WHOLE, records=11), "11 records, and 10 outcomes"),
        (replace(WHOLE, records=9), "9 records, and 10 outcomes"),
        (replace(WHOLE, dead_letters={}), "counted as dead letters {'conflict': 1}, on their topic are {}"),
        (replace(WHOLE, dead_letters={"conflict": 2}), "on their topic are {'conflict': 2}"),
        (replace(WHOLE, end=11), "applied up to 12, and the topic ends at 11"),
    ],
)
def test_what_does_not_add_up_is_said(line: Line, said: str) -> None:
    """One outcome more or less, a dead letter that is missing or one too many, progress beyond the end."""
    assert [said in fault for fault in line.faults()] == [True]
