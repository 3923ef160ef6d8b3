"""Ranks through the front door, on the real Kafka and Valkey: partitions that live in different processes agree on who is foremost."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from schemas.instants import iso
from schemas.partitions import partition_of, record_key
from tests.oracle import clock, model
from tests.support.services import PARTITIONS, Stack, now_ms, wait_for

TENANT = {"id": "ranked", "timezone": "Europe/Paris", "currency": "EUR", "country": "FR"}
_SUM = {"measure": "sum", "event": "checkout", "field": "total"}
_COUNT = {"measure": "count", "event": "checkout", "window": {"last": "P1Y"}}
SEGMENTS: list[dict[str, Any]] = [
    {"id": "best-fifth", "rule": {"rank": {"metric": _SUM, "order": "desc", "percent": 20}}},
    {"id": "three-rarest", "rule": {"rank": {"metric": _COUNT, "order": "asc", "top": 3}}},
    {
        "id": "second-fifth",
        "rule": {
            "all": [
                {"rank": {"metric": _SUM, "order": "desc", "percent": 40}},
                {"not": {"rank": {"metric": _SUM, "order": "desc", "percent": 20}}},
            ]
        },
    },
    {"id": "the-rest", "rule": {"not": {"any": [{"segment": "best-fifth"}, {"segment": "second-fifth"}]}}},
]
CONVERGES_S = 5.0
"""What the contract allows, from the last change."""


class Shop:
    """One tenant with ingest, API and any number of segmenters."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        stack.start_all({"ingest": ("services.ingest",), "segmenter1": ("services.segmenter",), "api": ("services.api", "serve")})
        options = ("--timezone", TENANT["timezone"], "--currency", TENANT["currency"], "--country", TENANT["country"])
        stack.command("services.api", "tenants", "create", "--tenant", TENANT["id"], *options)
        key = stack.command("services.api", "keys", "create", "--tenant", TENANT["id"], "--scopes", "all", "--name", "ranks").splitlines()[-1]
        self.http = httpx.Client(headers={"Authorization": f"Bearer {key}"}, timeout=30)
        self.history = model.History(TENANT)
        self._receipts = 0
        self._expected: dict[str, set[str]] = {}
        self.at_rest: list[dict[str, Any]] = []
        """The transitions before anything else was posted."""

    def url(self, service: str, path: str) -> str:
        """Return an address of a service."""
        return f"http://127.0.0.1:{self.stack.ports[service]}{path}"

    def buy(self, *bought: tuple[str, str], first: Callable[[], object] = lambda: None) -> None:
        """Post checkouts of (customer, total); `first` comes right before."""
        events = []
        for customer, total in bought:
            self._receipts += 1
            number = f"r{self._receipts}"
            items = {"receipt_id": number, "store_id": "s1", "channel": "store", "kind": "sale", "total": total, "currency": "EUR", "items": []}
            events.append({"type": "checkout", "event_id": number, "customer_id": customer, "occurred_at": iso(now_ms() - 60_000), **items})
        for event in events:
            self.history.add(event)
        self.judged()
        body = "\n".join(map(json.dumps, events))
        first()
        answer = self.http.post(self.url("ingest", "/v1/events"), content=body, headers={"Content-Type": "application/x-ndjson"})
        assert answer.status_code == 202, answer.text

    def save(self, segment: dict[str, Any]) -> None:
        """Save a segment."""
        answer = self.http.post(self.url("api", "/v1/segments"), json=segment | {"name": segment["id"]})
        assert answer.status_code == 201, answer.text

    def members(self, segment: str) -> set[str] | None:
        """Return everyone in a segment, None while that is not known."""
        answer = self.http.get(self.url("api", f"/v1/segments/{segment}/members"), params={"limit": 1000})
        return {member["customer_id"] for member in answer.json()["members"]} if answer.status_code == 200 else None

    def is_member(self, customer: str, segment: str) -> bool:
        """Whether somebody is in a segment."""
        answer = self.http.get(self.url("api", f"/v1/customers/{customer}/segments/{segment}"))
        return answer.status_code == 200 and bool(answer.json()["member"])

    def judged(self) -> None:
        """Ask the judge who will be in each segment, before anything is posted: it takes its time."""
        self._expected = {segment["id"]: model.members(segment, self.history, now_ms(), SEGMENTS) for segment in SEGMENTS}

    def converges(self, within_s: float = CONVERGES_S) -> None:
        """Wait until every segment has the members that the judge said, for as long as the contract allows."""
        began = time.perf_counter()
        found: dict[str, Any] = {}

        def right() -> bool:
            found.update({segment["id"]: self.members(segment["id"]) for segment in SEGMENTS})
            return found == self._expected

        try:
            wait_for(right, what="ranks to be right", timeout_s=within_s)
        except TimeoutError:
            raise AssertionError(f"after {within_s} s: {found}, judge {self._expected}") from None
        print(f"right after {time.perf_counter() - began:.3f} s")

    def changes(self) -> list[dict[str, Any]]:
        """Return every transition so far."""
        found: list[dict[str, Any]] = []
        after = ""
        while True:
            page = self.http.get(self.url("api", "/v1/changes"), params={"limit": 1000} | ({"after": after} if after else {})).json()
            found += page["changes"]
            if not page["changes"]:
                return found
            after = page["next"]


@pytest.fixture(scope="module")
def shop(kafka: str, valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A shop with sixty customers, whose segments were saved over what was known and are right."""
    stack = Stack(tmp_path_factory.mktemp("ranks"), kafka, valkey_url)
    stack.extra = {"ROLLCALL_SEGMENTER_SESSION_TIMEOUT_S": "10"}  # longer than it may take to go on without one who died
    stack.fresh(f"ranks{time.time_ns()}-")
    try:
        found = Shop(stack)
        dice = random.Random(3)
        found.buy(*[(f"c{dice.randrange(60)}", f"{dice.randrange(1, 100)}.{dice.randrange(100):02}") for _ in range(300)])
        for segment in SEGMENTS:
            found.save(segment)
        found.converges(30)
        found.at_rest = found.changes()
        yield found
    finally:
        stack.stop_services()
        for log in sorted(Path(stack.folder).glob("*.log")):  # shown when a test failed
            print(f"--- {log.name}\n{log.read_text(errors='replace')[-3000:]}")


def test_ranks_are_right_at_rest(shop: Shop) -> None:
    """Saved over what is known: entries of cause `definition` alone; until then nobody is told who is in."""
    assert {change["cause"]["kind"] for change in shop.at_rest} == {"definition"}


def test_a_preview_counts_any_rank(shop: Shop) -> None:
    """Exactly: one that is in force, and one that no segment asks for, alone and beside others, over all partitions."""
    known = {"rule": {"not": SEGMENTS[0]["rule"]}}
    answer = shop.http.post(shop.url("api", "/v1/segments/preview"), json=known)
    assert answer.status_code == 200, answer.text
    everybody = len(shop.history.known)
    assert (answer.json()["count"], answer.json()["of"]) == (everybody - len(shop.members("best-fifth") or ()), everybody)
    least = {"rank": {"metric": {**_SUM, "measure": "avg"}, "order": "asc", "percent": 37}}
    for rule in ({"any": [least]}, {"all": [{"not": least}, {"segment": "second-fifth"}]}, {"rank": {"metric": _COUNT, "order": "desc", "top": 7}}):
        expected = model.members({"id": "draft", "rule": rule}, shop.history, now_ms(), SEGMENTS)
        for replaces in (None, "three-rarest"):
            answer = shop.http.post(shop.url("api", "/v1/segments/preview"), json={"rule": rule, "replaces": replaces})
            assert answer.status_code == 200, answer.text
            found, before = answer.json(), (shop.members(replaces) or set()) if replaces else set()
            assert (found["count"], found["of"]) == (len(expected), everybody)
            assert (found["enters"], found["leaves"]) == (len(expected - before), len(before - expected))
            assert set(found["sample"]) <= expected
    answer = shop.http.get(shop.url("api", f"/v1/customers/{next(iter(shop.members('best-fifth') or ()))}/segments/best-fifth/explain"))
    assert answer.status_code == 200, answer.text
    assert answer.json()["conditions"][0]["op"] == "top"
    assert answer.json()["until"] is None


def test_a_checkout_moves_the_cut(shop: Shop) -> None:
    """Who had least spends most: in within the time allowed, somebody else out, both with the cause `rank` and without an end."""
    before = len(shop.changes())
    last = min(shop.history.known, key=lambda customer: model.value_of(_SUM, shop.history, customer, now_ms()))
    shop.buy((last, "9999.00"))
    shop.converges()
    moved = [change for change in shop.changes()[before:] if change["segment_id"] == "best-fifth"]
    assert {(change["change"], change["cause"]["kind"], change["until"]) for change in moved} == {("entered", "rank", None), ("exited", "rank", None)}
    assert len(moved) == 2


def test_newcomers_make_room(shop: Shop) -> None:
    """More customers are more in a fifth of them."""
    shop.buy(*[(f"new{number}", f"{number}.00") for number in range(1, 30)])
    shop.converges()


def test_a_killed_segmenter_comes_back_to_the_same_cuts(shop: Shop) -> None:
    """Killed and started again: nobody is told anything new; killed in the middle of changes, they come all the same."""
    before = len(shop.changes())
    shop.stack.end("segmenter1", gently=False)
    shop.stack.start("segmenter1", "services.segmenter")
    shop.converges(30)
    assert len(shop.changes()) == before
    shop.buy(*[(f"c{number}", "500.00") for number in range(0, 60, 7)])
    shop.stack.end("segmenter1", gently=False)
    shop.stack.start("segmenter1", "services.segmenter")
    shop.converges(30)


def test_two_segmenters_agree(shop: Shop) -> None:
    """Partitions in two processes; and when the one with the lowest partition dies, the other goes on before anybody has noticed."""
    shop.stack.start("segmenter2", "services.segmenter")
    wait_for(lambda: all(len(owned(shop, name)) == PARTITIONS // 2 for name in ("segmenter1", "segmenter2")), what="both to own some")
    shop.buy(("c1", "20000.00"), ("c2", "20001.00"))
    shop.converges()
    lowest = next(name for name in ("segmenter1", "segmenter2") if 0 in owned(shop, name))
    other = "segmenter1" if lowest == "segmenter2" else "segmenter2"
    alive = owned(shop, other)
    members = model.members(SEGMENTS[0], shop.history, now_ms())
    there = [c for c in sorted(shop.history.known - members) if partition_of(record_key(TENANT["id"], c), PARTITIONS) in alive]
    # The group notices after ten seconds. Whoever leaves may live in a partition that has no owner now, and is as he was.
    shop.buy((there[0], "30000.00"), first=lambda: shop.stack.end(lowest, gently=False))
    wait_for(lambda: shop.is_member(there[0], "best-fifth"), what="the newcomer", timeout_s=CONVERGES_S)
    shop.buy(("c3", "20002.00"), ("c4", "0.01"))
    wait_for(lambda: len(owned(shop, other)) == PARTITIONS, what="the other to own all")
    shop.converges()
    turns: dict[tuple[str, str], str] = {}
    for change in shop.changes():
        assert turns.get((change["customer_id"], change["segment_id"]), "exited") != change["change"]
        turns[change["customer_id"], change["segment_id"]] = change["change"]


def test_the_past_of_ranks(shop: Shop) -> None:
    """At and beside instants at which somebody bought: who was foremost then, over partitions in two processes, and who came and went."""
    shop.stack.start("segmenter3", "services.segmenter")
    wait_for(lambda: len(owned(shop, "segmenter3")) == PARTITIONS // 2, what="the third to own some")
    bought = sorted({clock.instant(document["occurred_at"]) for mine in shop.history.documents.values() for document in mine})
    instants = [bought[0] - 1, bought[0], *[at + beside for at in bought[-6::2] for beside in (-1, 0)]]
    for segment in SEGMENTS:
        members_at = cache(partial(model.members, segment, shop.history, segments=SEGMENTS))
        for at in instants:
            members = members_at(at)
            for customer in ("c1", "c4", "c7", "new3"):
                answer = shop.http.get(shop.url("api", f"/v1/customers/{customer}/segments/{segment['id']}"), params={"at": iso(at)})
                assert answer.status_code == 200, answer.text
                found = answer.json()
                assert (found["member"], found["at"], "instant_only" in found) == (customer in members, iso(at), False), (segment, at)
                for turn in (clock.instant(told) for told in (found["since"], found["until"]) if told is not None):
                    if turn <= bought[-1]:
                        sides = [customer in members_at(turn - before) for before in (1, 0)]
                        assert sides[0] is not sides[1], (segment, at, customer, found)
        between = {"from": iso(instants[-6]), "to": iso(instants[-1]), "step": f"PT{max(1, (instants[-1] - instants[-6]) // 4_000)}S"}
        found = shop.http.get(shop.url("api", f"/v1/segments/{segment['id']}/timeline"), params=between).json()
        assert found["net"] is False
        before: int | None = None
        for point in found["points"]:
            at = clock.instant(point["at"])
            lives = [members_at(turn) for turn in ([at] if before is None else [before, *(turn for turn in bought if before < turn <= at)])]
            came, went = sum(len(now - then) for then, now in pairwise(lives)), sum(len(then - now) for then, now in pairwise(lives))
            assert (point["count"], point["entered"], point["exited"]) == (len(members_at(at)), came, went), (segment, point)
            before = at
    shop.save({"id": "held", "rule": {"segment": "best-fifth"}, "min_stay": "P1D"})
    answer = shop.http.get(shop.url("api", f"/v1/customers/c1/segments/held?at={iso(instants[0])}"))
    assert (answer.status_code, answer.json()["member"]) == (200, "c1" in model.members(SEGMENTS[0], shop.history, instants[0], SEGMENTS))
    answer = shop.http.get(shop.url("api", "/v1/segments/held/timeline"))
    assert (answer.status_code, answer.json()["net"]) == (200, False), answer.text
    shop.save({"id": "many", "rule": {"any": [{"rank": {"metric": _SUM, "order": "desc", "top": top}} for top in range(1, 8)]}})
    long = {"from": iso(bought[-1] - 800_000), "to": iso(bought[-1]), "step": "PT1S"}
    answer = shop.http.get(shop.url("api", "/v1/segments/many/timeline"), params=long)
    assert (answer.status_code, answer.json()["net"], len(answer.json()["points"])) == (200, False, 801), answer.text


def owned(shop: Shop, name: str) -> list[int]:
    """Return the partitions that a segmenter has restored."""
    answer = shop.stack.get(name, "/readyz")
    return list(answer["restored"]) if answer is not None else []
