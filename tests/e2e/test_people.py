"""Customers become one and are forgotten, on the real Kafka and Valkey, while the segmenter dies again and again."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from schemas.instants import iso
from tests.e2e.test_whole_way import SEGMENTS, SERVICES, Shop
from tests.oracle import model
from tests.support.services import Stack, now_ms, wait_for

Json = dict[str, Any]
START_MS = now_ms()
# However these are ordered, whoever is reached from one of the first ends as the last: c0 to c6 are one person, c7 and c8 another.
MERGES = [("c0", "c1"), ("c3", "c4"), ("c1", "c2"), ("c5", "c4"), ("c7", "c8"), ("c2", "c6"), ("c4", "c6")]
PEOPLE = {**{f"c{number}": "c6" for number in range(6)}, "c7": "c8"}


@pytest.fixture(scope="module")
def shop(kafka: str, valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Every process up, one tenant, three segments."""
    stack = Stack(Path(tmp_path_factory.mktemp("people")), kafka, valkey_url)
    stack.fresh("people-")
    try:
        shop = Shop(stack)
        for segment in SEGMENTS:
            listed = segment | {name: [f"l{one}" for one in segment[name]] for name in ("include", "exclude") if name in segment}
            answer = shop.http.post(shop.url("api", "/v1/segments"), json={"name": segment["id"], **listed})
            assert answer.status_code == 201, answer.text
        yield shop
    finally:
        stack.stop_services()


def fact(number: int, customer: str | None = None) -> Json:
    """The event of a number, always the same: of one of twelve customers, within the last three weeks."""
    draw = random.Random(number)
    at = iso(START_MS - 60_000 - draw.randrange(20 * 86_400_000))
    common = {"event_id": f"e{number}", "customer_id": customer or f"c{draw.randrange(12)}", "occurred_at": at}
    if draw.random() < 0.8:
        return common | {"type": "checkout", "total": f"{draw.randrange(1, 60)}.50"}
    return common | {"type": "profile", "attributes": {"birth_date": draw.choice(["1990-05-01", "2015-05-01"])}}


def bought(number: int, customer: str, at_ms: int = START_MS) -> Json:
    """A checkout that counts for two weeks."""
    return {"type": "checkout", "event_id": f"e{number}", "customer_id": customer, "occurred_at": iso(at_ms), "total": "90.00"}


def merge(old: str, into: str) -> Json:
    """A merge, always the same."""
    return {"type": "customer-merge", "event_id": f"m-{old}-{into}", "customer_id": old, "into": into, "occurred_at": iso(START_MS - 1_000)}


def rests(shop: Shop) -> None:
    """Wait until every record has been applied, those that partitions have sent each other too."""

    def quiet() -> bool:
        answer = shop.stack.get("segmenter", "/readyz")
        before = shop.stack.get("segmenter", "/outcomes")
        return answer is not None and answer["lag"] == 0 and before is not None and before == shop.stack.get("segmenter", "/outcomes")

    for _ in range(3):
        wait_for(quiet, what="the segmenter to be at rest")


def moves(shop: Shop) -> Counter[str]:
    """What became of the records that partitions sent each other."""
    return Counter(shop.stack.get("segmenter", "/outcomes")["topics"].get("customer-moves", {}))


def erased(shop: Shop) -> int:
    """How many facts were refused for their customer was erased."""
    count: int = shop.stack.get("segmenter", "/outcomes")["total"].get("erased", 0)
    return count


def in_the_end(shop: Shop) -> None:
    """Wait until members are the judge's."""
    for segment in SEGMENTS:
        plain = {name: value for name, value in segment.items() if name not in ("include", "exclude")}
        expected = model.members(plain, shop.history, now_ms())
        wait_for(
            lambda segment=segment, expected=expected: {one for one in shop.members(segment["id"]) if one[:1] != "l"} == expected,
            what=f"{segment['id']} to be {sorted(expected)}, not {sorted(shop.members(segment['id']))}",
        )


def test_histories_join_while_the_segmenter_is_killed(shop: Shop) -> None:
    """Merges chained and crossed among facts of all ids, kill -9 after each: members are the judge's, and every `seq` is whole."""
    number = 0
    for old, into in MERGES:
        shop.post([*(fact(number + place) for place in range(10)), merge(old, into), *(fact(number + 10 + place) for place in range(10))])
        number += 18  # the last two come again, as a client's retry would bring them
        shop.stack.end("segmenter", gently=False)
        shop.stack.start("segmenter", *SERVICES["segmenter"])
    rests(shop)
    in_the_end(shop)
    changes = shop.changes()
    for customer in {change["customer_id"] for change in changes}:
        mine = [change for change in changes if change["customer_id"] == customer]
        assert [change["seq"] for change in mine] == list(range(1, len(mine) + 1)), customer
    assert {change["cause"]["kind"] for change in changes if change["change"] == "exited" and change["customer_id"] in PEOPLE} >= {"merge"}
    outcomes = shop.stack.get("segmenter", "/outcomes")["total"]
    assert outcomes.get("dead_lettered", 0) == 0
    assert outcomes["accepted"] == sum(count for outcome, count in outcomes.items() if outcome not in ("accepted", "gap"))


def test_an_old_id_answers_as_the_survivor(shop: Shop) -> None:
    """The list, one membership; lists name the survivor alone."""
    for old, survivor in PEOPLE.items():
        theirs, mine = (shop.get(f"/v1/customers/{name}/segments") for name in (survivor, old))
        assert mine["merged_into"] == survivor
        assert "merged_into" not in theirs
        assert mine["segments"] == theirs["segments"]
        answer = shop.get(f"/v1/customers/{old}/segments/buyers")
        assert answer["merged_into"] == survivor
        assert answer["member"] == (survivor in shop.members("buyers"))
        for path in ("", "/segments/buyers/explain"):
            assert shop.get(f"/v1/customers/{old}{path}")["merged_into"] == survivor
        past = shop.get(f"/v1/customers/{old}/segments/buyers", at=iso(START_MS))
        assert (past["merged_into"], past["at"]) == (survivor, iso(START_MS))
        assert {change["customer_id"] for change in shop.get(f"/v1/customers/{old}/history")["changes"]} <= {old}, "as it was decided"
    assert not PEOPLE.keys() & {member for segment in SEGMENTS for member in shop.members(segment["id"])}


def test_a_read_after_the_position_of_a_merge_sees_it(shop: Shop) -> None:
    """By the old id: also where somebody has never been heard of, and after a fact that follows; by the survivor's as well."""
    for turn in range(5):
        old, new = f"x{turn}", f"y{turn}"
        shop.post([bought(10_000 + 2 * turn, old)])
        position = shop.post([merge(old, new)])
        found = shop.http.get(shop.url("api", f"/v1/customers/{old}/segments"), params={"after": position})
        assert (found.status_code, found.json().get("merged_into")) == (200, new), found.text
        position = shop.post([bought(10_001 + 2 * turn, old)])
        found = shop.http.get(shop.url("api", f"/v1/customers/{old}/segments/buyers"), params={"after": position})
        assert (found.status_code, found.json()["member"], found.json()["merged_into"]) == (200, True, new), found.text
        position = shop.post([bought(11_000 + turn, old)])
        found = shop.http.get(shop.url("api", f"/v1/customers/{new}"), params={"after": position})
        assert (found.status_code, found.json()["event_counts"]["checkout"]) == (200, 3), found.text


def test_a_read_after_a_position_is_answered_after_a_restart(shop: Shop) -> None:
    """What partitions have sent each other is known by its end alone then, and behind the last record lies the marker of its transaction."""
    shop.post([bought(12_000, "z0"), merge("z0", "z1")])
    rests(shop)
    shop.stack.end("segmenter", gently=True)
    shop.stack.start("segmenter", *SERVICES["segmenter"])
    rests(shop)
    for number in range(12_001, 12_009):
        position = shop.post([bought(number, f"r{number}")])
        found = shop.http.get(shop.url("api", f"/v1/customers/r{number}"), params={"after": position})
        assert (found.status_code, found.json().get("event_counts")) == (200, {"checkout": 1}), found.text


def test_a_cycle_is_dead_lettered_and_a_merge_told_again_is_not(shop: Shop) -> None:
    """Counted as what they are, where the tenant's merges are decided."""
    before = moves(shop)
    shop.post([merge("c6", "c0"), merge("c0", "c1")])
    wait_for(lambda: moves(shop) - before >= Counter(dead_lettered=1, duplicate=1), what="both to be told from merges")
    rests(shop)
    found = moves(shop) - before
    assert (found["dead_lettered"], found["duplicate"]) == (1, 1)


def test_nobody_is_named_after_an_erasure(shop: Shop) -> None:
    """By whichever id: unknown, in no list, in no change; late facts are refused, and a new life goes on with the old `seq`."""
    person = ["c6", *(old for old, survivor in PEOPLE.items() if survivor == "c6")]
    last = max(change["seq"] for change in shop.changes() if change["customer_id"] == "c6")
    erased_ms = now_ms()
    position = shop.post([{"type": "customer-erase", "event_id": "forget", "customer_id": "c3", "occurred_at": iso(erased_ms)}])
    found = shop.http.get(shop.url("api", "/v1/customers/c3/segments"), params={"after": position})
    assert found.status_code == 404, found.text
    shop.stack.end("segmenter", gently=False)
    shop.stack.start("segmenter", *SERVICES["segmenter"])
    rests(shop)
    for name in person:
        wait_for(lambda name=name: shop.http.get(shop.url("api", f"/v1/customers/{name}/segments")).status_code == 404, what=f"{name} to be unknown")
    in_the_end(shop)
    wait_for(lambda: not {change["customer_id"] for change in shop.changes()} & set(person), what="the feed to name nobody")
    before = erased(shop)
    shop.post([fact(20_000 + place, name) for place, name in enumerate(person)])
    wait_for(lambda: erased(shop) - before >= len(person), what="late facts to be refused")
    rests(shop)
    assert erased(shop) - before == len(person)
    later = [bought(30_000 + place, "c0", now_ms()) for place in range(2)]
    position = shop.post(later)
    rests(shop)
    in_the_end(shop)
    assert shop.get("/v1/customers/c6/segments/buyers")["member"]
    wait_for(lambda: any(change["customer_id"] == "c6" for change in shop.changes()), what="the new life to be told")
    assert min(change["seq"] for change in shop.changes() if change["customer_id"] == "c6") > last
