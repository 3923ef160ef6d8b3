"""The judge, judged, on what a segment carries besides its rule: references, families, a beginning and an end, lists."""

from __future__ import annotations

from typing import Any

import pytest

from tests.oracle import clock, model
from tests.oracle.examples import NOON, Json, beside, bought, fact, sale, told

_AT = clock.instant(NOON)


def worth(amount: str, **window: Any) -> Json:
    """A rule: a turnover of so much or more."""
    return {"metric": {"measure": "sum", "event": "checkout", "field": "total"} | window, "op": "gte", "value": amount}


def family(**levels: tuple[int, str]) -> list[Json]:
    """Levels of one family by turnover."""
    return [{"id": name, "rule": worth(amount), "tier": {"family": "status", "level": level}} for name, (level, amount) in levels.items()]


def places(segments: list[Json], history: model.History, at: int = _AT) -> dict[str, set[str]]:
    """Who is in each segment."""
    return {segment["id"]: model.members(segment, history, at, segments) for segment in segments}


def test_a_reference_asks_the_whole_of_another_segment() -> None:
    """Its rule, its lists, its beginning and its end."""
    history = told(*(sale(customer_id=name) for name in "abc"))
    regulars = {"id": "regulars", "rule": bought(1), "include": ["x"], "exclude": ["c"]}
    rule, at = {"segment": "regulars"}, clock.instant(NOON)
    assert [model.holds(rule, history, name, at, [regulars]) for name in "abcx"] == [True, True, False, True]
    assert model.members({"id": "s", "rule": {"not": rule}}, history, at, [regulars]) == {"c"}
    assert model.members({"id": "s", "rule": rule, "exclude": ["a"]}, history, at, [regulars]) == {"b", "x"}
    over = regulars | {"ends_at": NOON}
    assert [model.holds(rule, history, "a", instant, [over]) for instant in (at - 1, at)] == [True, False]


def test_references_of_references() -> None:
    """The manual VIPs; those who are not; of these the buyers."""
    segments: list[Json] = [
        {"id": "vip", "include": ["a"]},
        {"id": "others", "rule": {"not": {"segment": "vip"}}},
        {"id": "buyers", "rule": {"all": [{"segment": "others"}, bought(1)]}},
    ]
    history = told(sale(customer_id="a"), sale(customer_id="b"), fact("visit", NOON, customer_id="c"))
    assert places(segments, history) == {"vip": {"a"}, "others": {"b", "c"}, "buyers": {"b"}}


def test_of_a_family_the_highest_level() -> None:
    """Bronze from 500, silver from 800, gold from 1,000: each is in one; other families and segments know nothing of it."""
    segments = [*family(gold=(3, "1000"), bronze=(1, "500"), silver=(2, "800")), {"id": "plain", "rule": worth("500")}]
    segments.append({"id": "other", "rule": worth("100"), "tier": {"family": "else", "level": 0}})
    history = told(*(sale(total=total, customer_id=name) for name, total in {"a": "499.99", "b": "500", "c": "999.99", "d": "1000.00"}.items()))
    assert places(segments, history) == {"bronze": {"b"}, "silver": {"c"}, "gold": {"d"}, "plain": {"b", "c", "d"}, "other": {"a", "b", "c", "d"}}


def test_a_level_counts_with_its_lists_and_its_time() -> None:
    """Included in gold, nobody is bronze; excluded from gold, or after gold has ended, he is."""
    bronze, gold = family(bronze=(1, "500"), gold=(2, "1000"))
    history = told(sale(total="600", customer_id="a"), sale(total="2000", customer_id="b"))
    assert places([bronze, gold], history) == {"bronze": {"a"}, "gold": {"b"}}
    assert places([bronze, gold | {"include": ["a"]}], history) == {"bronze": set(), "gold": {"a", "b"}}
    assert places([bronze, gold | {"exclude": ["b"]}], history) == {"bronze": {"a", "b"}, "gold": set()}
    assert places([bronze, gold | {"ends_at": NOON}], history) == {"bronze": {"a", "b"}, "gold": set()}
    assert places([bronze, gold | {"starts_at": NOON}], history, _AT - 1) == {"bronze": {"a", "b"}, "gold": set()}
    assert places([bronze | {"include": ["b"]}, gold], history) == {"bronze": {"a"}, "gold": {"b"}}, "included, but a higher level holds"


def test_a_reference_to_a_level_is_to_who_is_in_it() -> None:
    """Who is gold is not bronze, though the rule of bronze holds."""
    segments = [*family(bronze=(1, "500"), gold=(2, "1000")), {"id": "mail", "rule": {"segment": "bronze"}}]
    history = told(sale(total="600", customer_id="a"), sale(total="2000", customer_id="b"))
    assert places(segments, history)["mail"] == {"a"}


def test_another_version_of_itself_is_not_asked() -> None:
    """A preview of a level that is lowered is judged as it would be, not beside what it replaces."""
    bronze, gold = family(bronze=(1, "500"), gold=(2, "1000"))
    history = told(sale(total="600", customer_id="a"))
    lowered = gold | {"tier": {"family": "status", "level": 0}, "rule": worth("600")}
    assert model.members(lowered, history, _AT, [bronze, gold]) == set(), "bronze is higher now"
    assert model.members(gold | {"rule": worth("600")}, history, _AT, [bronze, gold]) == {"a"}
    rich = told(sale(total="2000", customer_id="b"))
    assert model.members(lowered, rich, _AT, [gold]) == {"b"}, "what it replaces holds of b, and is no higher level any more"


@pytest.mark.parametrize(
    ("bounds", "first", "last"),
    [
        ({"starts_at": "2024-05-01T00:00:00+02:00", "ends_at": "2024-06-01T00:00:00+02:00"}, "2024-04-30T22:00:00Z", "2024-05-31T22:00:00Z"),
        ({"starts_at": "2024-05-01T12:00:00.250Z"}, "2024-05-01T12:00:00.250Z", None),
        ({"ends_at": "2024-05-01T12:00:00.250Z"}, None, "2024-05-01T12:00:00.250Z"),
        ({"starts_at": None, "ends_at": None}, None, None),
    ],
)
def test_a_beginning_and_an_end(bounds: Json, first: str | None, last: str | None) -> None:
    """From the one on, and until just before the other; for those on the list as well."""
    history = told(sale("2024-01-01T10:00:00Z"))
    segment: Json = {"id": "s", "rule": bought(1), "include": ["x"]} | bounds
    if first:
        assert [model.members(segment, history, clock.instant(beside(first, ms))) for ms in (-1, 0)] == [set(), {"c", "x"}]
    if last:
        assert [model.members(segment, history, clock.instant(beside(last, ms))) for ms in (-1, 0)] == [{"c", "x"}, set()]
    start, end = "2024-03-01T00:00:00Z", "2024-12-01T00:00:00Z"
    assert [model.members(segment, history, clock.instant(at)) for at in (start, end)] == [
        set() if first else {"c", "x"},
        set() if last else {"c", "x"},
    ]


def test_until_sees_through_references_levels_and_schedules() -> None:
    """Each flips at the instant at which something else does, worked out by hand."""
    history, at = told(sale("2024-05-10T10:00:00Z", "600"), sale("2024-05-11T10:00:00Z", "500")), clock.instant(NOON)
    recent = {"id": "recent", "rule": bought(1, window={"last": "P14D"})}
    gold = {"id": "gold", "rule": worth("1000", window={"last": "P14D"}), "tier": {"family": "status", "level": 2}}
    bronze = {"id": "bronze", "rule": worth("500", window={"last": "P14D"}), "tier": {"family": "status", "level": 1}}
    expected: list[tuple[Json, list[Json], str | None]] = [
        ({"id": "s", "rule": {"segment": "recent"}}, [recent], "2024-05-25T10:00:00Z"),
        ({"id": "s", "rule": {"not": {"segment": "recent"}}}, [recent], "2024-05-25T10:00:00Z"),
        ({"id": "s", "rule": {"segment": "recent"}}, [recent | {"ends_at": "2024-05-20T00:00:00Z"}], "2024-05-20T00:00:00Z"),
        # Gold until the 600 leave on the 24th, bronze from then on until the 500 leave on the 25th.
        (gold, [bronze, gold], "2024-05-24T10:00:00Z"),
        (bronze, [bronze, gold], "2024-05-24T10:00:00Z"),
        (bronze, [bronze], "2024-05-25T10:00:00Z"),
        ({"id": "s", "include": ["c"], "ends_at": "2024-06-01T00:00:00Z"}, [], "2024-06-01T00:00:00Z"),
        ({"id": "s", "rule": bought(1), "starts_at": "2024-06-01T00:00:00Z"}, [], "2024-06-01T00:00:00Z"),
        ({"id": "s", "exclude": ["c"], "rule": bought(1), "starts_at": "2024-06-01T00:00:00Z"}, [], None),
    ]
    for segment, segments, flip in expected:
        assert model.until(segment, history, "c", at, segments=segments) == (None if flip is None else clock.instant(flip)), segment
    assert model.until(bronze, history, "c", clock.instant("2024-05-24T10:00:00Z"), segments=[bronze, gold]) == clock.instant("2024-05-25T10:00:00Z")


def test_lists_follow_who_is_whom() -> None:
    """A list that names somebody who was merged means the survivor; excluded under one id and included under another is excluded."""
    history = told(sale(customer_id="a"), sale(customer_id="b"))
    history.add(fact("customer-merge", NOON, customer_id="a", into="b"))
    assert model.members({"id": "s", "include": ["a"]}, history, _AT) == {"b"}
    assert model.members({"id": "s", "include": ["a"], "exclude": ["b"]}, history, _AT) == set()
    assert model.members({"id": "s", "include": ["b"], "exclude": ["a"]}, history, _AT) == set()
    assert model.is_member({"id": "s", "include": ["b"]}, history, "a", _AT)
