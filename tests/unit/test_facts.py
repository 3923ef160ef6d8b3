"""Facts: one gate from the wire to the engine, exact integers behind it, and chunks that join without being read."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.decoding import decode_event
from schemas.errors import Refusal
from schemas.events import TYPES
from schemas.examples import EVENTS
from schemas.facts import CHUNK_LIMIT, TYPE_NUMBERS, Brief, Fact, ItemReader, briefs_in, chunk_of, facts_in, joined, opened, stored_in
from schemas.instants import parse_instant
from schemas.reading import EARLIEST_MS, MAX_AHEAD_MS, MAX_SCALAR_BYTES, Facts, check_admission, declared_value
from schemas.vocabulary import ITEM_FIELDS, Kind

TEXTS = st.none() | st.text(max_size=10)
FACTS = st.builds(
    Fact,
    st.integers(0, len(TYPE_NUMBERS) - 1),
    st.text(min_size=1, max_size=64),
    st.integers(0, 2**42),
    st.integers(0, 3),
    st.lists(TEXTS | st.integers(0, 10**17), max_size=10).map(tuple),
    st.lists(st.lists(TEXTS | st.integers(0, 10**21 % 2**63), min_size=7, max_size=7), max_size=3).map(lambda rows: tuple(zip(*rows, strict=True))),
)
PLACES = st.sets(st.integers(0, len(ITEM_FIELDS) - 1))


def fact(document: dict[str, Any], currency: str = "EUR", accepted_ms: int = 0) -> Fact:
    """Return the fact of a document for a tenant of a currency."""
    return Facts(currency).of(decode_event(json.dumps(document).encode()), accepted_ms)


def refused(document: dict[str, Any], currency: str = "EUR") -> tuple[str, str]:
    """Return the place and reason of the refusal of a document."""
    with pytest.raises(Refusal) as caught:
        fact(document, currency)
    return caught.value.pointer, caught.value.reason


@pytest.mark.parametrize("tag", TYPES)
def test_every_example_is_a_fact_with_its_identity(tag: str) -> None:
    """Type, id and instant of a fact are the event's."""
    found = fact(EVENTS[tag])
    assert (found.type, found.event_id, found.at_ms) == (TYPE_NUMBERS[tag], EVENTS[tag]["event_id"], parse_instant(EVENTS[tag]["occurred_at"]))


def test_whom_a_merge_may_name() -> None:
    """Another customer, by an id that a customer can have."""
    merge = EVENTS["customer-merge"]
    assert fact(merge).body == ("718",)
    assert refused(merge | {"into": merge["customer_id"]}) == ("/into", "cycle")
    for no_id in ("a\u0000b", "", "x" * 129):
        assert refused(merge | {"into": no_id})[0] == "/into"


def test_when_a_fact_was_accepted_is_no_part_of_what_it_says() -> None:
    """It is kept beside the other flags, and comes back."""
    early = fact(EVENTS["checkout"] | {"import": True}, accepted_ms=1_795_342_500_000)
    late = fact(EVENTS["checkout"], accepted_ms=1_795_342_500_001)
    assert early.same_as(late)
    (found,) = facts_in(chunk_of([early]))
    assert (found.accepted_ms, found.imported) == (1_795_342_500_000, True)


def test_a_receipt_becomes_integers_by_position() -> None:
    """Money is in minor units, quantities in millionths, what is absent is None."""
    found = fact(EVENTS["checkout"])
    assert found.body == ("r-20261122-0042", "007", "store", "sale", 1247, 100, "EUR", "card", 12, ("SPRING",))
    assert tuple(zip(*found.items, strict=True)) == (
        ("4011", "COFFEE", None, "National", 2_000_000, 698, 100),
        ("5120", "CHEESE", None, None, 312_000, 549, None),
    )


@pytest.mark.parametrize(
    ("change", "currency", "pointer", "reason"),
    [
        ({"total": "1.005"}, "EUR", "/total", "amount"),
        ({"total": None}, "EUR", "/total", "amount"),
        ({"total": "-1"}, "EUR", "/total", "amount"),
        ({"total": True}, "EUR", "/total", "amount"),
        ({"discount": "x"}, "EUR", "/discount", "amount"),
        ({"currency": "USD"}, "EUR", "/currency", "currency"),
        ({"currency": None, "total": "1.5"}, "JPY", "/total", "amount"),
        ({"items": [{}, {"amount": "1.234"}]}, "EUR", "/items/1/amount", "amount"),
        ({"items": [{"discount": -1}]}, "EUR", "/items/0/discount", "amount"),
        ({"items": [{"quantity": "0.1234567"}]}, "EUR", "/items/0/quantity", "amount"),
        ({"items": [{}, {}, {"quantity": [1]}]}, "EUR", "/items/2/quantity", "amount"),
    ],
)
def test_an_amount_of_another_currency_or_scale_is_refused(change: dict[str, Any], currency: str, pointer: str, reason: str) -> None:
    """More decimals than the currency has, another currency, a negative amount: refused with the place."""
    assert refused({**EVENTS["checkout"], **change}, currency) == (pointer, reason)


def test_what_is_null_is_absent() -> None:
    """A field sent as null is a field not sent."""
    plain = {key: value for key, value in EVENTS["checkout"].items() if key not in ("discount", "currency", "items")}
    assert fact({**plain, "discount": None, "items": [{"amount": None}]}).stated() == fact({**plain, "items": [{}]}).stated()


@pytest.mark.parametrize(
    ("attributes", "pointer"),
    [
        ({"birth_date": "1998-02-30"}, "/attributes/birth_date"),
        ({"household_size": "2"}, "/attributes/household_size"),
        ({"household_size": True}, "/attributes/household_size"),
        ({"household_size": 2.0}, "/attributes/household_size"),
        ({"consent": "yes"}, "/attributes/consent"),
        ({"city": 31000}, "/attributes/city"),
        ({"tags": "vip"}, "/attributes/tags"),
        ({"tags": ["a"] * 1001}, "/attributes/tags"),
        ({"location": {"lat": 91, "lon": 0}}, "/attributes/location"),
        ({"location": {"lat": True, "lon": 0}}, "/attributes/location"),
        ({"location": {"lat": 1}}, "/attributes/location"),
        ({"shoe/size": {"eu": 42}}, "/attributes/shoe~1size"),
        ({"": 1}, "/attributes/"),
        ({"x" * 65: 1}, "/attributes/" + "x" * 65),
        ({"essay": "x" * MAX_SCALAR_BYTES}, "/attributes/essay"),
    ],
)
def test_a_profile_of_another_type_is_refused(attributes: dict[str, Any], pointer: str) -> None:
    """A known attribute has its type, an unknown one is at least a plain value of bounded size."""
    assert refused({**EVENTS["profile"], "attributes": attributes})[0] == pointer


def test_attributes_are_typed_removed_or_kept_as_text() -> None:
    """Known attributes are typed, null removes one, and what nobody declared is kept as it was sent."""
    declared, undeclared = fact({**EVENTS["profile"], "attributes": {"tags": ["a"], "city": None, "shoe": 42.50, "hat": None}}).body
    assert declared == {"tags": ("a",), "city": None}
    assert undeclared == {"shoe": "42.5", "hat": None}


def test_points_say_something() -> None:
    """An event that collects nothing and spends nothing states no fact."""
    assert refused({key: value for key, value in EVENTS["points"].items() if key != "collected"}) == ("/collected", "missing_field")


@pytest.mark.parametrize("tag", TYPES)
def test_only_a_receipt_may_be_anonymous(tag: str) -> None:
    """A checkout without its customer is a till's stream; anything else without one is a mistake."""
    event = decode_event(json.dumps({key: value for key, value in EVENTS[tag].items() if key != "customer_id"}).encode())
    at_ms = Facts("EUR").of(event).at_ms
    if tag == "checkout":
        check_admission(event, at_ms, at_ms)
    else:
        with pytest.raises(Refusal) as caught:
            check_admission(event, at_ms, at_ms)
        assert (caught.value.pointer, caught.value.reason) == ("/customer_id", "missing_field")


def test_time_has_two_ends() -> None:
    """Five minutes ahead of the clock is accepted, a millisecond more is not; nor is anything before 2000."""
    event = decode_event(json.dumps(EVENTS["visit"]).encode())
    now_ms = parse_instant("2026-11-23T00:00:00Z")
    for at_ms in (now_ms, now_ms + MAX_AHEAD_MS, EARLIEST_MS):
        check_admission(event, at_ms, now_ms)
    for at_ms, reason in ((now_ms + MAX_AHEAD_MS + 1, "future"), (EARLIEST_MS - 1, "absurd_date"), (-(10**13), "absurd_date")):
        with pytest.raises(Refusal) as caught:
            check_admission(event, at_ms, now_ms)
        assert (caught.value.pointer, caught.value.reason) == ("/occurred_at", reason)


@given(st.lists(st.lists(FACTS, max_size=4), max_size=4))
def test_joining_chunks_is_concatenating_their_facts(groups: list[list[Fact]]) -> None:
    """facts_in(joined(chunks)) is the concatenation of facts_in of each; a chunk gives back what was put in."""
    chunks = [chunk_of(group) for group in groups]
    assert [facts_in(chunk) for chunk in chunks] == groups
    assert facts_in(joined(chunks)) == [one for group in groups for one in group]


@given(st.lists(FACTS, max_size=4), PLACES)
def test_a_reader_of_some_fields_of_line_items_finds_what_they_hold(facts: list[Fact], places: set[int]) -> None:
    """Whether a fact was decoded from a chunk or never encoded; and who reads none sees the same facts."""
    reader, stored = ItemReader(places), stored_in(chunk_of(facts))
    for fact in facts:
        for found in (reader.of(fact), reader.of(stored.pop(0))):
            assert len(found) == len(fact.items)
            assert all(found[place] == fact.items[place] for place in places if fact.items)
    assert briefs_in(chunk_of(facts)) == [Brief(fact.type, fact.event_id, fact.at_ms, fact.flags, fact.body) for fact in facts]


@given(st.lists(FACTS, max_size=4), st.lists(FACTS, max_size=4), PLACES)
def test_a_chunk_of_version_0_1_is_read_and_joined(facts: list[Fact], later: list[Fact], places: set[int]) -> None:
    """Its line items are rows within the fact's array."""
    rows = [[fact.type, fact.event_id, fact.at_ms, fact.flags, fact.body, list(zip(*fact.items, strict=True))] for fact in facts]
    old = b"\xdc" + len(rows).to_bytes(2, "big") + msgspec.msgpack.encode(rows)[1:]
    both = joined([old, chunk_of(later)])
    assert facts_in(both) == facts + later
    assert [fact.at_ms for fact in briefs_in(both)] == [fact.at_ms for fact in facts + later]
    for fact, stored in zip(facts, stored_in(old), strict=True):
        assert all(ItemReader(places).of(stored)[place] == fact.items[place] for place in places if fact.items)


def test_line_items_from_before_a_field_was_known_lack_it() -> None:
    """Fields are added at the end: of those that a stored fact has fewer of, the others are absent."""
    columns = (("4011", "5120"), ("COFFEE", None))
    for items in (msgspec.msgpack.encode(columns), list(zip(*columns, strict=True))):
        (stored,) = stored_in(b"\xdc\0\x01" + msgspec.msgpack.encode([0, "e", 1, 0, (), items]))
        assert opened(stored).items == (*columns, *[(None, None)] * 5)
        assert ItemReader({1}).of(stored)[1] == ("COFFEE", None)


def test_a_chunk_has_a_limit_and_says_so() -> None:
    """Joining beyond the limit raises instead of writing a count that wraps around."""
    full = chunk_of([Fact(6, "e", 1, 0, ("s",))])[:1] + CHUNK_LIMIT.to_bytes(2, "big")
    assert joined([full])[1:3] == b"\xff\xff"
    with pytest.raises(ValueError, match="65535"):
        joined([full, chunk_of([Fact(6, "e", 1, 0, ("s",))])])


@given(FACTS, FACTS)
def test_two_facts_are_the_same_when_they_say_the_same(one: Fact, other: Fact) -> None:
    """How a fact was sent (its flags, its id) is no part of what it says; everything else is."""
    said = (one.type, one.at_ms, one.body, one.items) == (other.type, other.at_ms, other.body, other.items)
    assert one.same_as(other) == said
    assert one.same_as(Fact(one.type, other.event_id, one.at_ms, other.flags, one.body, one.items))


def test_the_same_receipt_written_differently_states_the_same() -> None:
    """12.5, "12.50" and 1.25E1 are one amount, and an instant is the same in every offset: a retry may write them anew."""
    base = EVENTS["checkout"]
    first = fact({**base, "total": "12.50", "occurred_at": "2026-11-22T10:15:00.250+01:00"})
    assert first.same_as(fact({**base, "total": 12.5, "occurred_at": "2026-11-22T09:15:00.250Z", "import": True}))


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("null", {}),
        ('"45"', {Kind.TEXT: "45", Kind.MONEY: 4500}),
        ("5.0", {Kind.INTEGER: 5, Kind.MONEY: 500, Kind.NUMBER: 5_000_000}),
        ("45", {Kind.INTEGER: 45, Kind.MONEY: 4500, Kind.NUMBER: 45_000_000}),
        ("-1.5", {Kind.MONEY: -150, Kind.NUMBER: -1_500_000}),
        ("1E+2", {Kind.INTEGER: 100, Kind.MONEY: 10_000, Kind.NUMBER: 100_000_000}),
        ("1.005", {Kind.NUMBER: 1_005_000}),
        ("1e300", {}),
        ("0.1234567", {}),
        ("true", {Kind.BOOLEAN: True}),
        ('"2026-02-29"', {Kind.TEXT: "2026-02-29"}),
        ('"2026-02-28"', {Kind.TEXT: "2026-02-28", Kind.DATE: "2026-02-28"}),
        ('["a","b"]', {Kind.TEXTS: ("a", "b")}),
        ('{"lat":43.6,"lon":1}', {Kind.PLACE: (43.6, 1.0)}),
        ('{"lat":91,"lon":1}', {}),
    ],
)
def test_what_was_stored_has_a_value_where_it_fits_the_kind_that_was_declared(text: str, values: dict[Kind, Any]) -> None:
    """Each text is a value of exactly these kinds, in the units of facts, and of no other has it any."""
    assert {kind: found for kind in Kind if (found := declared_value(text, kind, 2)) is not None} == values
