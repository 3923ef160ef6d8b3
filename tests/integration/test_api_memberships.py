"""Who is in which segment: what is answered, what cannot be known, and reading one's own writes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import psutil
import pytest

from deploy.local.ports import free_port
from deploy.local.valkey import LocalValkey
from schemas.instants import NEVER, iso
from schemas.positions import encode_position
from services.api.cursors import encode_cursor
from services.api.errors import Refused
from services.api.metrics import Metrics
from services.api.reads import Reads
from tests.support.api import AFTER_TIMEOUT_S, PARTITIONS, Api, fails, installed, patiently, settings_for
from tests.support.projected import Projected

STRANGE = ["x:y", "a/b", "a b", "100%", "%2F", "ü✓", "..a", "q?x=1", "#", "+", "a;b", "c" * 128, "é" * 128, "{id}", "\\", '"']


@pytest.fixture(scope="module")
def api(kafka: str, valkey_url: str) -> Iterator[Api]:
    """An API with two segments."""
    with installed(kafka, valkey_url) as found:
        for name in ("gold", "regulars"):
            found.segment(name)
        found.segment("gold", key="theirs")
        yield found


@pytest.fixture
def projected(api: Api, valkey_url: str) -> Projected:
    """A complete and empty projection."""
    found = Projected(valkey_url, api.settings.redis_prefix, PARTITIONS)
    found.forget()
    found.mark()
    return found


def segments_of(customer_id: str) -> str:
    """Return the path of the app's question."""
    return f"/v1/customers/{quote(customer_id, safe='')}/segments"


def test_a_marker_that_cannot_be_read_is_none(api: Api, projected: Projected) -> None:
    """Of another version, or written by hand: what it would vouch for is not known, and that is no failure of the API."""
    number = projected.row("demo", "718", ["gold"])
    projected.redis.hset(projected.keys.marker(number), "m", b"of another version")
    fails(api.get(segments_of("718")), 503)


def test_a_segment_that_is_not_known_here_yet_is_not_left_out(api: Api, projected: Projected) -> None:
    """Saved through another process and swept, before this one has read of it: the list would be a false no."""
    projected.row("demo", "718", ["gold", "saved-elsewhere"])
    fails(api.get(segments_of("718")), 503)
    assert api.get(segments_of("718") + "/gold").json()["member"] is True


def test_a_customers_segments(api: Api, projected: Projected) -> None:
    """The answer has each segment with its name and version, since when, until when, and how fresh it is."""
    number = projected.row("demo", "718", {"regulars": (1_700_000_000_250, 1_700_000_900_000), "gold": (1_600_000_000_000, NEVER)})
    as_of = iso(1_700_000_000_000 + number)
    assert api.get(segments_of("718")).json() == {
        "customer_id": "718",
        "as_of": as_of,
        "segments": [
            {"id": "gold", "name": "Gold", "version": 1, "since": iso(1_600_000_000_000), "until": None},
            {"id": "regulars", "name": "Regulars", "version": 1, "since": iso(1_700_000_000_250), "until": iso(1_700_000_900_000)},
        ],
    }
    assert api.get(segments_of("718") + "/regulars").json() == {
        "member": True, "since": iso(1_700_000_000_250), "until": iso(1_700_000_900_000), "version": 1, "as_of": as_of,
    }  # fmt: skip
    projected.row("demo", "9", [])
    assert api.get(segments_of("9")).json()["segments"] == []
    assert api.get(segments_of("9") + "/gold").json()["member"] is False
    assert api.get(segments_of("9") + "/gold").json()["since"] is None
    fails(api.get(segments_of("nobody")), 404)
    fails(api.get(segments_of("nobody") + "/gold"), 404)
    fails(api.get(segments_of("718") + "/absent"), 404)


@pytest.mark.parametrize("customer_id", STRANGE)
def test_an_id_may_be_any_text(api: Api, projected: Projected, customer_id: str) -> None:
    """Separators, escapes and other scripts in an id lead to that customer and to no other."""
    projected.row("demo", customer_id, ["gold"])
    found = api.get(segments_of(customer_id))
    assert (found.status_code, found.json()["customer_id"]) == (200, customer_id)
    assert api.get(segments_of(customer_id) + "/gold").json()["member"] is True
    page = api.get("/v1/segments/gold/members").json()
    assert [member["customer_id"] for member in page["members"]] == [customer_id]


@pytest.mark.parametrize("part", ["%FF", "%00", "c" * 129, "%0A", "%C2%85"])
def test_what_no_event_can_be_about_is_no_customer(api: Api, projected: Projected, part: str) -> None:
    """Bytes that are no id are absent, like any other unknown customer."""
    fails(api.get(f"/v1/customers/{part}/segments"), 404)
    fails(api.get(f"/v1/customers/{part}/segments/gold"), 404)


def test_one_tenant_never_sees_anothers_customers(api: Api, projected: Projected) -> None:
    """The same customer id of two tenants is two people, also where one of them is unknown."""
    projected.row("demo", "718", ["gold"])
    fails(api.get(segments_of("718"), key="theirs"), 404)
    projected.row("other", "718", [])
    assert api.get(segments_of("718"), key="theirs").json()["segments"] == []
    assert api.get("/v1/segments/gold/count", key="theirs").json()["count"] == 0
    assert api.get("/v1/segments/gold/members", key="theirs").json()["members"] == []
    fails(api.get(segments_of("demo:718"), key="theirs"), 404)


def test_without_a_marker_nothing_is_known(api: Api, projected: Projected) -> None:
    """A partition without its marker is 503, whether there is a row or not; the others answer."""
    number = projected.row("demo", "718", ["gold"])
    other = next(c for c in map(str, range(100)) if projected.partition("demo", c) != number)
    projected.row("demo", other, ["gold"])
    projected.unmark(number)
    absent = next(c for c in map(str, range(1_000, 2_000)) if projected.partition("demo", c) == number)
    for path in (segments_of("718"), segments_of("718") + "/gold", segments_of(absent), "/v1/segments/gold/members", "/v1/segments/gold/count"):
        fails(api.get(path), 503)
    assert api.get(segments_of(other)).status_code == 200
    projected.forget()
    fails(api.get(segments_of("718")), 503)
    assert api.get("/readyz").status_code == 503
    assert "projection" in api.get("/readyz").json()["missing"]


def test_during_a_backfill_nobody_is_told_no(api: Api, projected: Projected) -> None:
    """Where the sweep has not been, "is c in s?", members and count are 503, and the list says which segments are pending."""
    api.segment("fresh")
    at = api.offset("fresh")
    number = projected.row("demo", "718", ["gold"])
    projected.mark(definitions=at + 1)
    projected.mark(number, definitions=at)
    fails(api.get(segments_of("718") + "/fresh"), 503)
    fails(api.get("/v1/segments/fresh/count"), 503)
    fails(api.get("/v1/segments/fresh/members"), 503)
    assert api.get(segments_of("718") + "/gold").json()["member"] is True, "other segments are known as ever"
    listed = api.get(segments_of("718")).json()
    assert (listed["pending"], [s["id"] for s in listed["segments"]]) == (["fresh"], ["gold"])
    elsewhere = next(c for c in map(str, range(100)) if projected.partition("demo", c) != number)
    projected.row("demo", elsewhere, ["fresh"])
    assert api.get(segments_of(elsewhere) + "/fresh").json()["member"] is True, "its partition has been swept"
    assert "pending" not in api.get(segments_of(elsewhere)).json()
    api.call("DELETE", "/v1/segments/fresh")
    projected.mark()
    fails(api.get(segments_of(elsewhere) + "/fresh"), 404)
    assert api.get(segments_of(elsewhere)).json()["segments"] == [], "an archived segment has no members"


def test_pages_of_members_hold_everyone_once(api: Api, projected: Projected) -> None:
    """All pages together are all members, each once, with any page size; their number is the count."""
    everyone = {f"m{n:03}": (1_000 + n, NEVER if n % 2 else 10_000 + n) for n in range(60)}
    for customer_id, since in everyone.items():
        projected.row("demo", customer_id, {"regulars": since})
    for limit in (1, 7, 59, 60, 61, 1_000):
        seen: list[dict[str, str]] = []
        cursor, pages = "", 0
        while True:
            page = api.get(f"/v1/segments/regulars/members?limit={limit}{cursor}").json()
            seen += page["members"]
            pages += 1
            assert len(page["members"]) <= limit
            if page["next"] is None:
                break
            cursor = f"&cursor={page['next']}"
        assert len(seen) == 60
        assert {m["customer_id"]: (m["since"], m["until"]) for m in seen} == {
            c: (iso(since), None if until == NEVER else iso(until)) for c, (since, until) in everyone.items()
        }
        assert pages == -(-60 // limit), "no page is empty"
    assert api.get("/v1/segments/regulars/count").json() == {"count": 60, "as_of": iso(1_700_000_000_000)}
    for bad in (
        "zzz",
        encode_cursor((PARTITIONS, "a")),
        encode_cursor((-1, "a")),
        encode_cursor((0, "a\n")),
        encode_cursor((0, 1)),
        encode_cursor("a"),
        "",
    ):
        fails(api.get(f"/v1/segments/regulars/members?cursor={bad}"), 422, "/cursor")


def test_a_read_after_a_position_waits_for_it(api: Api, projected: Projected) -> None:
    """`after` waits until the partition has applied it, then answers with what was applied; in vain it is 503."""
    number, topic = projected.row("demo", "718", []), api.settings.topics.family("checkout")
    position = encode_position({topic: {number: 12}})
    paths = (segments_of("718"), segments_of("718") + "/gold", "/v1/segments/gold/members", "/v1/segments/gold/count")
    for path in paths:
        since = time.monotonic()
        fails(api.get(f"{path}?after={position}"), 503)
        assert AFTER_TIMEOUT_S <= time.monotonic() - since < AFTER_TIMEOUT_S + 1
    with ThreadPoolExecutor(len(paths)) as pool:
        waiting = [pool.submit(api.get, f"{path}?after={position}") for path in paths]
        time.sleep(0.2)
        projected.row("demo", "718", ["gold"])
        projected.mark(number, offsets={topic: 11})
        time.sleep(0.1)
        assert not any(one.done() for one in waiting)
        projected.mark(number, offsets={topic: 12})
        answers = [one.result() for one in waiting]
    assert [answer.status_code for answer in answers] == [200] * len(paths)
    assert answers[0].json()["segments"][0]["id"] == "gold"
    assert answers[1].json()["member"] is True
    assert answers[3].json()["count"] == 1
    another = (number + 1) % PARTITIONS
    elsewhere = encode_position({topic: {another: 1_000}})
    assert api.get(f"{segments_of('718')}?after={elsewhere}").status_code == 200, "other customers' events do not hold it up"
    assert api.get(f"{segments_of('718')}?after={encode_position({})}").status_code == 200
    fails(api.get(f"/v1/segments/gold/count?after={elsewhere}"), 503)


def test_a_read_waits_for_its_own_tenants_events_only(api: Api, projected: Projected) -> None:
    """Others' events lie before, and are not applied yet: who is ahead of them has its answer; what another is ahead by says nothing."""
    number, topic = projected.row("demo", "718", ["gold"]), api.settings.topics.family("checkout")
    path = f"{segments_of('718')}?after={encode_position({topic: {number: 12}})}"
    projected.mark(number, offsets={topic: 3}, ahead={topic: {"other": 12}})
    fails(api.get(path), 503)
    projected.mark(number, offsets={topic: 3}, ahead={topic: {"demo": 12}})
    assert api.get(path).status_code == 200


@pytest.mark.parametrize(
    "token",
    [
        "x",
        "a" * 40_000,
        encode_position({"": {0: 1}}),
        encode_position({"definitions": {0: 1}}),
        encode_position({"checkouts": {99: 1}}),
        "%00",
        "gaChKgE",
    ],
)
def test_a_tampered_position_is_refused(api: Api, projected: Projected, token: str) -> None:
    """What is no position of this installation is 422, and nothing waits for it."""
    projected.row("demo", "718", [])
    fails(api.get(f"{segments_of('718')}?after={token}"), 422, "/after")
    fails(api.get(f"/v1/segments/gold/count?after={token}"), 422, "/after")


def test_a_row_and_its_marker_are_of_one_moment(api: Api, projected: Projected) -> None:
    """While Redis is emptied and refilled again and again, a member is told 200 or 503, never "no" and never 404."""
    stop = threading.Event()

    def shake() -> None:
        while not stop.is_set():
            projected.redis.delete(projected.keys.marker(projected.partition("demo", "718")), projected.keys.customer("demo", "718"))
            projected.row("demo", "718", ["gold"])
            projected.mark()

    projected.row("demo", "718", ["gold"])
    thread = threading.Thread(target=shake)
    thread.start()
    try:
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda n: api.get(segments_of("718") + ("/gold" if n % 2 else "")), range(120)))
    finally:
        stop.set()
        thread.join()
    assert {answer.status_code for answer in answers} <= {200, 503}
    for answer in answers:
        if answer.status_code == 200:
            assert answer.json().get("member", True) is True
            assert answer.json().get("segments", [1])


def test_reads_are_503_while_redis_is_gone_and_come_back_by_themselves(kafka: str, tmp_path: Path) -> None:
    """No read answers "no" for want of Redis; saving goes on, and nobody needs to restart anything."""
    port = free_port()
    valkey = LocalValkey(tmp_path, port)
    with valkey, installed(kafka, valkey.url) as api:
        projected = Projected(valkey.url, api.settings.redis_prefix, PARTITIONS)
        api.segment("gold")
        projected.mark()
        projected.row("demo", "718", ["gold"])
        paths = (segments_of("718"), segments_of("718") + "/gold", "/v1/segments/gold/members", "/v1/segments/gold/count", "/v1/segments/gold")
        with ThreadPoolExecutor(8) as pool:
            assert {answer.status_code for answer in pool.map(api.get, paths * 8)} == {200}
        valkey.kill9()
        for path in paths:
            fails(api.get(path), 503)
        assert "redis" in api.get("/readyz").json()["missing"]
        assert api.get("/healthz").status_code == 200
        assert api.segment("meanwhile")["count"] is None
        valkey.start()
        for path in paths:
            patiently(lambda p=path: api.get(p))


async def test_reads_that_wait_behind_one_that_redis_does_not_answer_fail_with_it(kafka: str, tmp_path: Path) -> None:
    """A Redis that hangs: hundreds ask at once, and each hears so after one limit of time, not after as many as there are groups of them."""
    with LocalValkey(tmp_path, free_port()) as valkey:
        reads = Reads(settings_for(kafka, valkey.url, api_redis_timeout_s=0.5), Metrics())
        assert await reads.reachable()
        hanging = psutil.Process(valkey.pid)
        hanging.suspend()
        try:
            async with asyncio.timeout(8):
                found = await asyncio.gather(*(reads.person("demo", str(number)) for number in range(3_000)), return_exceptions=True)
        finally:
            hanging.resume()
        assert {type(one) for one in found} == {Refused}
        await reads.close()


def test_an_id_that_was_merged_answers_as_the_survivor(api: Api, projected: Projected) -> None:
    """The list and one membership, along a chain as well; the survivor's own answer says nothing of it, and no list shows the old."""
    projected.row("demo", "718", ["regulars"])
    projected.merged("demo", "old", "older")
    projected.merged("demo", "older", "718")
    theirs = api.get(segments_of("718")).json()
    mine = api.get(segments_of("old")).json()
    assert "merged_into" not in theirs
    assert mine == {**theirs, "customer_id": "old", "merged_into": "718"}
    found = api.get(segments_of("old") + "/regulars").json()
    assert (found["member"], found["merged_into"]) == (True, "718")
    assert [member["customer_id"] for member in api.get("/v1/segments/regulars/members").json()["members"]] == ["718"]


def test_a_survivor_who_is_not_there_yet_is_not_unknown(api: Api, projected: Projected) -> None:
    """Between the two steps of a merge nothing can be said; nor where ids lead in a circle, which they never should."""
    projected.merged("demo", "old", "new")
    fails(api.get(segments_of("old")), 503)
    projected.merged("demo", "new", "old")
    fails(api.get(segments_of("old")), 503)


def test_a_read_after_a_position_waits_for_what_was_sent_on(api: Api, projected: Projected) -> None:
    """The old id's partition has applied the fact and sent it on; the survivor's has to apply it before there is an answer."""
    old = next(name for name in map(str, range(99)) if projected.partition("demo", name) != projected.partition("demo", "718"))
    there, home = projected.row("demo", "718", ["regulars"]), projected.merged("demo", old, "718")
    topic, moves = (api.settings.topic_prefix + name for name in ("checkouts", "customer-moves"))
    path = f"{segments_of(old)}?after={encode_position({topic: {home: 5}})}"
    projected.mark(home, offsets={topic: 5}, sent={there: 9})
    fails(api.get(path), 503)
    projected.mark(there, offsets={moves: 9})
    assert api.get(path).json()["merged_into"] == "718"


def test_facts_about_any_id_of_a_person_are_waited_for(api: Api, projected: Projected) -> None:
    """Posted under one id and asked for by any: what one's partition has not applied, or has sent on, is not in the answer."""
    homes: dict[str, int] = {}
    for customer_id in map(str, range(718, 999)):
        if (home := projected.partition("demo", customer_id)) not in homes.values():
            homes[customer_id] = home
    (survivor, there), *merged = [*homes.items()][:3]
    projected.row("demo", survivor, ["regulars"], [home for _, home in merged])
    for customer_id, _ in merged:
        projected.merged("demo", customer_id, survivor)
    topic, moves = (api.settings.topic_prefix + name for name in ("checkouts", "customer-moves"))
    posted = {customer_id: encode_position({topic: {home: 5}}) for customer_id, home in [(survivor, there), *merged]}

    def statuses() -> dict[str, set[int]]:
        asked = [(one, f"{segments_of(by)}?after={position}") for one, position in posted.items() for by in posted]
        found: dict[str, set[int]] = {one: set() for one in posted}
        with ThreadPoolExecutor(len(asked)) as pool:
            for (one, _), answer in zip(asked, pool.map(lambda ask: api.get(ask[1]), asked), strict=True):
                found[one].add(answer.status_code)
        return found

    assert statuses() == {one: {503} for one in posted}, "nothing has been applied"
    for _, home in merged:
        projected.mark(home, offsets={topic: 5}, sent={there: 9})
    projected.mark(there, offsets={topic: 5})
    assert statuses() == {one: {200} if one == survivor else {503} for one in posted}, "it has been sent on"
    projected.mark(there, offsets={topic: 5, moves: 9})
    assert statuses() == {one: {200} for one in posted}


def test_a_merge_is_waited_for_wherever_it_leads(api: Api, projected: Projected) -> None:
    """Asked by whom it joins, of whom nothing says yet that anybody was merged into it."""
    home = projected.row("demo", "718", [])
    elsewhere, topic = (home + 1) % PARTITIONS, api.settings.topics.family("customer-merge")
    path = f"{segments_of('718')}?after={encode_position({topic: {elsewhere: 5}})}"
    fails(api.get(path), 503)
    projected.mark(elsewhere, offsets={topic: 5})
    assert api.get(path).status_code == 200
