"""The decoder takes every document of the product and refuses everything else with the place, whatever the bytes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from schemas.decoding import decode_event
from schemas.errors import Refusal
from schemas.events import MAX_EVENT_BYTES, TYPES, encode_event
from schemas.examples import EVENTS
from schemas.reading import Facts
from schemas.topics import FAMILY_OF_TYPE

VISIT = EVENTS["visit"]
CHECKOUT = EVENTS["checkout"]


def refused(document: bytes | dict[str, Any]) -> tuple[str, str]:
    """Return the place and the reason of the refusal of a document, on its way to a fact."""
    with pytest.raises(Refusal) as caught:
        Facts("EUR").of(decode_event(document if isinstance(document, bytes) else json.dumps(document).encode()))
    assert caught.value.detail
    return caught.value.pointer, caught.value.reason


def outcome(document: bytes) -> tuple[str, str]:
    """Return the place and reason of a refusal, both empty where there is none."""
    try:
        decode_event(document)
    except Refusal as refusal:
        return refusal.pointer, refusal.reason
    return "", ""


@pytest.mark.parametrize("tag", TYPES)
def test_every_type_is_read_and_travels_unchanged(tag: str) -> None:
    """Each type has an example and a topic, and what is sent on says what was received."""
    event = decode_event(json.dumps(EVENTS[tag]).encode())
    again = json.loads(encode_event(event))
    assert {name: again[name] for name in EVENTS[tag]} == EVENTS[tag]
    assert encode_event(decode_event(encode_event(event))) == encode_event(event)
    assert tag in FAMILY_OF_TYPE


@pytest.mark.parametrize("amount", ["12.10", '"12.10"', "0.1", "1E+2", '"0000.5"'])
def test_amounts_travel_as_they_were_written(amount: str) -> None:
    """No amount is rewritten on its way: the bytes that were sent are the bytes that are kept."""
    document = json.dumps({**CHECKOUT, "total": 0}).replace('"total": 0', f'"total": {amount}').encode()
    assert f'"total":{amount}'.encode() in encode_event(decode_event(document))


@pytest.mark.parametrize(
    ("change", "pointer", "reason"),
    [
        ({"total": ...}, "/total", "missing_field"),
        ({"occurred_at": ...}, "/occurred_at", "missing_field"),
        ({"event_id": ...}, "/event_id", "missing_field"),
        ({"type": ...}, "/type", "missing_field"),
        ({"type": "chekout"}, "/type", "unknown_type"),
        ({"type": 7}, "/type", "invalid"),
        ({"event_id": ""}, "/event_id", "invalid"),
        ({"event_id": "x" * 65}, "/event_id", "invalid"),
        ({"customer_id": ""}, "/customer_id", "invalid"),
        ({"customer_id": "x" * 129}, "/customer_id", "invalid"),
        ({"customer_id": 718}, "/customer_id", "invalid"),
        ({"customer_id": "a\u0000b"}, "/customer_id", "invalid"),
        ({"event_id": "a\nb"}, "/event_id", "invalid"),
        ({"customer_id": "a\u0085b"}, "/customer_id", "invalid"),
        ({"tenant": "Demo!"}, "/tenant", "invalid"),
        ({"occurred_at": "2026-11-22T10:15:00"}, "/occurred_at", "invalid"),
        ({"occurred_at": "2026-02-30T10:15:00Z"}, "/occurred_at", "invalid"),
        ({"occurred_at": "yesterday"}, "/occurred_at", "invalid"),
        ({"occurred_at": 1_700_000_000}, "/occurred_at", "invalid"),
        ({"channel": "fax"}, "/channel", "invalid"),
        ({"kind": "gift"}, "/kind", "invalid"),
        ({"currency": "euro"}, "/currency", "invalid"),
        ({"points_earned": -1}, "/points_earned", "invalid"),
        ({"points_earned": 1.5}, "/points_earned", "invalid"),
        ({"coupon_ids": ["A", 5]}, "/coupon_ids/1", "invalid"),
        ({"items": [{}, {"product_id": 5}]}, "/items/1/product_id", "invalid"),
        ({"items": [{}] * 501}, "/items", "invalid"),
        ({"import": "yes"}, "/import", "invalid"),
    ],
)
def test_each_mistake_is_refused_with_its_place(change: dict[str, Any], pointer: str, reason: str) -> None:
    """A wrong type, a missing field, an unknown word: the answer points to it."""
    assert refused({name: value for name, value in {**CHECKOUT, **change}.items() if value is not ...}) == (pointer, reason)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"channel": "fax"}, '"fax" is not one of app, phone, store, web, or null'),
        ({"type": "chekout"}, '"chekout" is not one of checkout, checkout-void, '),
        ({"store_id": 7}, "7 is not a text of at most 256 characters, or null"),
        ({"event_id": "x" * 65}, "is not a text of 1 to 64 characters; it has 65"),
        ({"items": [5]}, "5 is not an object"),
        ({"items": [{"brand": True}]}, "true is not a text of at most 256 characters, or null"),
        ({"items": [{}] * 501}, "is not a list of at most 500 members; it has 501"),
        ({"points_earned": "5"}, '"5" is not a whole number from 0 to 1000000000000000, or null'),
        ({"import": None}, "null is not true or false"),
        ({"total": "abc"}, '"abc" is not a decimal number like 12.50'),
        ({"total": None}, "null is not a decimal number"),
        ({"currency": "eur"}, '"eur" is not a text like ^[A-Z]{3}$, or null'),
    ],
)
def test_a_refusal_says_what_is_there_and_what_would_have_been_right(change: dict[str, Any], said: str) -> None:
    """In the words of those who write JSON, not of the parser."""
    with pytest.raises(Refusal) as caught:
        Facts("EUR").of(decode_event(json.dumps(CHECKOUT | change).encode()))
    assert said in caught.value.detail


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (b"", "there is nothing"),
        (b'{"type":"visit"', "it ends too early"),
        (b'{"type":"visit","event_id":"a\xff"}', "not UTF-8 at byte 29"),
        (rb'{"type":"visit","event_id":"\\u\ud800"}', r"\ud800 at byte 31 is half a character"),
        (rb'{"type":"visit","event_id":"\ud83d\ude00\udc00', r"\udc00 at byte 40 is half a character"),
        (rb'{"type":"visit","event_id":"\ud83dx', r"\ud83d at byte 28 is half a character"),
        (b"[" * 100_000, "nested too deeply"),
    ],
)
def test_broken_json_is_told_with_its_byte(document: bytes, said: str) -> None:
    """What is wrong, and where from the start of the document."""
    with pytest.raises(Refusal) as caught:
        decode_event(document)
    assert caught.value.detail.startswith("broken JSON: ")
    assert said in caught.value.detail


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"{",
        b'{"type":"visit"',
        b"not json",
        json.dumps(VISIT).encode() + b" x",
        json.dumps({**VISIT, "store_id": 0}).replace(": 0", ": NaN").encode(),
        json.dumps({**VISIT, "unknown": 0}).replace(": 0", ": Infinity").encode(),
        json.dumps({**VISIT, "store_id": ""}).encode().replace(b'""', b'"\xff"'),
        json.dumps({**VISIT, "customer_id": ""}).encode().replace(b'""', b'"\\ud800"'),
        b'{"type":' * 30_000,
        json.dumps({**VISIT, "unknown": 0}).encode().replace(b": 0", b": " + b"[" * 100_000 + b"]" * 100_000),
        json.dumps({**EVENTS["custom"], "properties": {"deep": 0}}).encode().replace(b": 0", b': {"a":' * 20_000 + b"1" + b"}" * 20_000),
    ],
    ids=["empty", "cut", "cut later", "text", "more", "NaN", "Infinity", "not UTF-8", "surrogate", "deep", "deep unknown", "deep value"],
)
def test_broken_json_is_malformed_and_nothing_worse(document: bytes) -> None:
    """Bytes that are no JSON are refused as malformed: no other exception, however deep or odd they are."""
    assert refused(document) == ("", "malformed")


def test_an_event_has_a_size() -> None:
    """A document beyond the limit is refused unread; one at the limit is read."""
    filler = MAX_EVENT_BYTES - len(json.dumps({**VISIT, "unknown": ""}))
    assert decode_event(json.dumps({**VISIT, "unknown": "x" * filler}).encode())
    assert refused(json.dumps({**VISIT, "unknown": "x" * (filler + 1)}).encode()) == ("", "too_large")
    assert refused(b" " * 10_000_000) == ("", "too_large")


@given(st.binary(max_size=300))
@example(b'{"type":{}}')
@example(b"5")
def test_no_bytes_do_anything_but_decode_or_be_refused(document: bytes) -> None:
    """For any bytes there are two outcomes: an event or a refusal."""
    pointer = outcome(document)[0]
    assert pointer == "" or pointer.startswith("/")


@given(st.dictionaries(st.sampled_from([*CHECKOUT, "tenant", "import"]), st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
), max_size=4))  # fmt: skip
def test_a_refusal_points_at_something_that_was_sent_or_is_missing(change: dict[str, Any]) -> None:
    """Whatever a field holds, the answer is an event or a refusal whose place begins with a field of an event."""
    document = {**CHECKOUT, **change}
    pointer, reason = outcome(json.dumps(document).encode())
    assert reason in ("", *("malformed", "invalid", "missing_field", "unknown_type", "too_large"))
    assert pointer == "" or pointer.split("/")[1] in document


def test_not_utf8_names_the_byte() -> None:
    """The offset of the first byte that is not UTF-8 is counted from the start of the document."""
    document = json.dumps({**VISIT, "store_id": "ab"}).encode().replace(b'"ab"', b'"a\xff"')
    with pytest.raises(Refusal) as caught:
        decode_event(document)
    assert caught.value.detail == f"broken JSON: not UTF-8 at byte {document.index(0xFF)}"


@pytest.mark.parametrize(
    ("repeated", "store_id"),
    [('"store_id":"a","store_id":"b"', "b"), (r'"store_id":"a","store\u005fid":"b"', "b"), ('"store_id":5,"store_id":"b"', None)],
)
def test_of_a_name_that_is_given_twice_the_last_counts(repeated: str, store_id: str | None) -> None:
    """Both must be right: what is wrong in one of them is not made good by the other."""
    document = json.dumps({**VISIT, "store_id": ""}).replace('"store_id": ""', repeated).encode()
    if store_id is None:
        with pytest.raises(Refusal, match='"store_id" is given more than once') as caught:
            decode_event(document)
        assert caught.value.pointer == "/store_id"
    else:
        assert Facts("EUR").of(decode_event(document)).body == (store_id,)


def test_unknown_fields_are_ignored() -> None:
    """A till may send more than is asked for; it is not kept."""
    event = decode_event(json.dumps({**VISIT, "weather": {"sky": ["grey"]}}).encode())
    assert b"weather" not in encode_event(event)
