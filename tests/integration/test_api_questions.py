"""Reasons and the past, asked over HTTP of real segmenters: right, in words, and never a false answer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import count, pairwise
from typing import Any

import pytest

from schemas.instants import DAY_MS, HOUR_MS, iso
from services.kit.clock import now_ms
from tests.support.installation import Installation, whole

Json = dict[str, Any]
BOUGHT: Json = {"measure": "count", "event": "checkout", "window": {"last": "P30D"}}
TWICE: Json = {"all": [{"metric": BOUGHT, "op": "gte", "value": 2}, {"not": {"profile": "city", "op": "eq", "value": "Lyon"}}]}
START_MS = now_ms()
WHATS = ("/explain", "?at=2026-01-01T00:00:00Z")
_ids = count()


@pytest.fixture(scope="module")
def shop(kafka: str, valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation with two tenants and some segments."""
    with whole(kafka, valkey_url, tmp_path_factory.mktemp("shop")) as found:
        found.saved("twice", TWICE)
        found.saved("listed", None, include=["listed-one"])
        yield found


def sale(customer: str, ago_ms: int, **more: Any) -> Json:
    """A checkout some time before the tests began."""
    at = iso(START_MS - ago_ms)
    return {"event_id": f"e{next(_ids)}", "customer_id": customer, "type": "checkout", "occurred_at": at, "total": "10.00"} | more


def asked(customer: str, segment: str, what: str = "") -> str:
    """The path of a question."""
    return f"/v1/customers/{customer}/segments/{segment}{what}"


def test_a_member_is_explained(shop: Installation) -> None:
    """Value, threshold, until when, the events with the instant at which each leaves, and the sentence, in two languages."""
    first, second = sale("anna", 20 * DAY_MS), sale("anna", 3 * DAY_MS)
    position = shop.post(first, second)
    found = shop.get(asked("anna", "twice", f"/explain?after={position}"))
    leaves = iso(START_MS + 10 * DAY_MS)
    assert (found["member"], found["until"], found["version"]) == (True, leaves, 1)
    bought, city = found["conditions"]
    assert bought | {"events": None} == {
        "path": "/all/0", "text": "at least 2 checkouts in the last 30 days", "value": 2, "op": "gte", "threshold": 2, "holds": True,
        "until": leaves, "events": None, "events_total": 2, "history_from": None,
    }  # fmt: skip
    assert bought["events"] == [
        {"event_id": second["event_id"], "occurred_at": second["occurred_at"], "leaves_at": iso(START_MS + 27 * DAY_MS)},
        {"event_id": first["event_id"], "occurred_at": first["occurred_at"], "leaves_at": leaves},
    ]
    assert (city["path"], city["value"], city["holds"], city["until"], city["events"]) == ("/all/1/not", None, False, None, [])
    assert "anna has been in Twice since" in found["sentence"]
    assert "at least 2 checkouts in the last 30 days (2 now)" in found["sentence"]
    assert "anna will leave by itself on " in found["sentence"]
    french = shop.get(asked("anna", "twice", "/explain"), Accept_Language="de, fr-FR;q=0.8, en;q=0.3")
    assert french["conditions"][0]["text"] == "au moins 2 passages en caisse au cours des 30 derniers jours"
    assert "anna est dans Twice depuis le" in french["sentence"]
    assert shop.get(asked("anna", "twice", "/explain?lang=en"), Accept_Language="fr")["sentence"] == found["sentence"]


def test_a_non_member_is_explained(shop: Installation) -> None:
    """Why not: too few, or something that must not be; and who is on a list or not."""
    shop.post(sale("bob", DAY_MS), sale("eve", DAY_MS), sale("eve", 2 * DAY_MS))
    moved = {"event_id": "p1", "customer_id": "eve", "type": "profile", "occurred_at": iso(START_MS - HOUR_MS), "attributes": {"city": "Lyon"}}
    position = shop.post(sale("bob", DAY_MS, total="3.00"), moved)
    found = shop.get(asked("eve", "twice", f"/explain?after={position}"))
    assert (found["member"], found["since"]) == (False, None)
    assert found["sentence"] == "eve is not in Twice, because this holds: the city is Lyon (Lyon now)."
    assert found["conditions"][1]["events"] == [{"event_id": "p1", "occurred_at": moved["occurred_at"], "leaves_at": None}]
    alone = sale("carl", DAY_MS)
    found = shop.get(asked("carl", "twice", f"/explain?after={shop.post(alone)}"))
    assert found["sentence"] == "carl is not in Twice, because this does not hold: at least 2 checkouts in the last 30 days (1 now)."
    found = shop.get(asked("listed-one", "listed", "/explain"))
    assert (found["member"], found["included"], found["conditions"]) == (True, True, [])
    assert "because the customer is on the include list" in found["sentence"]
    assert "is not on the include list" in shop.get(asked("carl", "listed", "/explain"))["sentence"]


def test_what_keeps_somebody_in_or_out_besides_the_rule(shop: Installation) -> None:
    """A stay, a higher level, a time that has not come or is over, an exclusion, an archived segment, another segment."""
    once = {"metric": {"measure": "count", "event": "checkout", "window": {"last": "PT2H"}}, "op": "gte", "value": 1}
    shop.saved("stays", once, min_stay="P7D")
    shop.saved("low", {"profile": "consent", "op": "exists", "value": False}, tier={"family": "f", "level": 1})
    shop.saved("high", once, tier={"family": "f", "level": 2})
    shop.saved("future", once, starts_at=iso(now_ms() + HOUR_MS // 2))
    shop.saved("past", once, ends_at=iso(now_ms() - DAY_MS))
    shop.saved("barred", once, exclude=["dora"])
    shop.saved("gone", once)
    shop.saved("asks", {"segment": "high"})
    position = shop.post(sale("dora", HOUR_MS))
    assert shop.get(asked("dora", "stays", f"/explain?after={position}"))["held_until"] is not None
    found = shop.get(asked("dora", "low", "/explain"))
    assert (found["member"], found["overridden_by"]) == (False, "high")
    assert "higher level High" in found["sentence"]
    assert "begins only on" in shop.get(asked("dora", "future", "/explain"))["sentence"]
    assert shop.get(asked("dora", "future", "/explain"))["until"] is not None
    assert "ended on" in shop.get(asked("dora", "past", "/explain"))["sentence"]
    assert "exclude list" in shop.get(asked("dora", "barred", "/explain"))["sentence"]
    found = shop.get(asked("dora", "asks", "/explain"))
    assert found["conditions"][0]["text"] == "member of High"
    assert found["conditions"][0]["until"] == found["until"] == shop.get(asked("dora", "high", "/explain"))["until"]
    assert shop.api.call("DELETE", "/v1/segments/gone", If_Match='"1"').status_code in (200, 204)
    assert "archived" in shop.get(asked("dora", "gone", "/explain"))["sentence"]


def test_the_past_of_a_customer(shop: Installation) -> None:
    """Before, on and after each boundary; since and until of then; also for a segment that was saved just now."""
    shop.saved("later", TWICE)
    position = shop.post(sale("pia", 50 * DAY_MS), sale("pia", 40 * DAY_MS))
    entered, left = START_MS - 40 * DAY_MS, START_MS - 20 * DAY_MS
    for segment in ("twice", "later"):
        for at_ms, member in ((entered - 1, False), (entered, True), (left - 1, True), (left, False)):
            found = shop.get(asked("pia", segment, f"?at={iso(at_ms)}&after={position}"))
            assert (found["member"], found["at"], found["version"]) == (member, iso(at_ms), 1)
            assert (found["since"], found["until"]) == ((iso(entered), iso(left)) if member else (None, iso(entered) if at_ms < entered else None))
            assert found["history_from"] < iso(entered)
    assert shop.get(asked("pia", "twice"))["member"] is False
    assert "at" not in shop.get(asked("pia", "twice"))
    path = asked("pia", "twice", "?at=")
    shop.refused(path + iso(now_ms() + DAY_MS), 422, "/at")
    for wrong in ("yesterday", "2026-11-01", "2026-11-01T10:00:00", "1900-01-01T00:00:00Z", ""):
        shop.refused(path + wrong, 422, "/at")


def test_the_timeline_of_a_segment(shop: Installation) -> None:
    """Its sizes are those of the pasts, its entries and exits those between; over all partitions, for its tenant alone."""
    rule = {"metric": {**BOUGHT, "where": [{"field": "store_id", "op": "eq", "value": "timeline"}]}, "op": "gte", "value": 1}
    people = [f"t{n}" for n in range(20)]
    events = [sale(who, (60 - n) * DAY_MS, store_id="timeline") for n, who in enumerate(people)]
    position = shop.post(*events)
    shop.post(*events, tenant="other")
    shop.saved("timed", rule)
    shop.get(f"/v1/customers/t0/segments?after={position}")
    begin, end = iso(START_MS - 70 * DAY_MS), iso(START_MS)
    found = shop.get(f"/v1/segments/timed/timeline?from={begin}&to={end}&step=P7D")
    points = found["points"]
    assert [point["at"] for point in points] == [iso(START_MS - (70 - 7 * n) * DAY_MS) for n in range(11)]
    assert (points[0]["entered"], points[0]["exited"]) == (0, 0)
    for before, point in pairwise(points):
        assert point["count"] == before["count"] + point["entered"] - point["exited"]
    assert sum(point["entered"] for point in points) == sum(point["exited"] for point in points) == 20
    for point in points[::3]:
        assert point["count"] == sum(shop.get(asked(who, "timed", f"?at={point['at']}"))["member"] for who in people)
    assert len(shop.get("/v1/segments/timed/timeline")["points"]) == 31
    assert shop.get("/v1/segments/timed/timeline")["points"][-1]["count"] == shop.get("/v1/segments/timed/count")["count"]
    path = "/v1/segments/timed/timeline?"
    shop.refused(path + f"from={end}&to={begin}", 422, "/from")
    shop.refused(path + f"to={iso(now_ms() + DAY_MS)}", 422, "/to")
    for step in ("PT1S", "P0D", "1d", "P9999Y", ""):
        shop.refused(path + f"step={step}", 422, "/step")
    shop.refused("/v1/segments/none/timeline", 404)
    assert shop.refused("/v1/segments/timed/timeline", 404, key="theirs") == shop.refused("/v1/segments/none/timeline", 404, key="theirs")


def test_the_page_of_a_customer(shop: Installation) -> None:
    """Attributes as they were said last, events as documents, figures in words, segments; and the same by the card."""
    item = {"product_id": "p", "category": "COFFEE", "quantity": 1.5, "amount": "2.50"}
    bought = sale("rosa", 2 * DAY_MS, store_id="7", coupon_ids=["A"], items=[item])
    told = {
        "event_id": "r1", "customer_id": "rosa", "type": "profile", "occurred_at": iso(START_MS - DAY_MS),
        "attributes": {"card_number": "9250 77", "location": {"lat": 43.6, "lon": 1.5}, "shoe": 41.5, "city": "Lyon"},
    }  # fmt: skip
    moved = told | {"event_id": "r2", "occurred_at": iso(START_MS - HOUR_MS), "attributes": {"city": None}}
    quiz = {
        "event_id": "q",
        "customer_id": "rosa",
        "type": "custom",
        "occurred_at": iso(START_MS - HOUR_MS // 2),
        "name": "quiz",
        "properties": {"n": 1},
    }
    position = shop.post(bought, told, moved, quiz)
    found = shop.get(f"/v1/customers/rosa?after={position}")
    assert found["profile"] == {"card_number": "9250 77", "location": {"lat": 43.6, "lon": 1.5}, "shoe": 41.5}
    assert [event["event_id"] for event in found["events"]] == ["q", "r2", "r1", bought["event_id"]]
    assert found["events"][3].items() >= {"total": "10.00", "store_id": "7", "kind": "sale", "coupon_ids": ["A"], "items": [item]}.items()
    assert found["events"][0].items() >= {"name": "quiz", "properties": {"n": 1}}.items()
    assert found["events"][2]["attributes"] == told["attributes"]
    assert found["event_counts"] == {"checkout": 1, "profile": 2, "custom": 1}
    assert (found["first_event_at"], found["last_event_at"]) == (bought["occurred_at"], quiz["occurred_at"])
    figures = {figure["text"]: figure["value"] for figure in found["metrics"]}
    assert figures["the number of checkouts in the last 3 months"] == 1
    assert figures["the sum of total over checkouts in the last year"] == "10.00"
    assert figures["the number of days since the last checkout"] == 2
    assert found["segments"] == shop.get("/v1/customers/rosa/segments")["segments"]
    assert len(shop.get("/v1/customers/rosa?limit=2")["events"]) == 2
    [held] = shop.get("/v1/customers?card_number=9250%2077")["customers"]
    assert held["customer_id"] == "rosa"
    assert shop.get("/v1/customers?card_number=9250")["customers"] == []
    assert shop.get("/v1/customers?card_number=9250%2077", key="theirs")["customers"] == []
    position = shop.post({**told, "event_id": "r3", "occurred_at": iso(START_MS), "attributes": {"card_number": "new"}})
    shop.get(f"/v1/customers/rosa?after={position}")
    assert shop.get("/v1/customers?card_number=9250%2077")["customers"] == [], "a card that was replaced is nobody's"
    assert [one["customer_id"] for one in shop.get("/v1/customers?card_number=new")["customers"]] == ["rosa"]
    shop.refused("/v1/customers", 422, "/card_number")
    shop.refused("/v1/customers/nobody", 404)
    assert shop.refused("/v1/customers/rosa", 404, key="theirs") == shop.refused("/v1/customers/nobody", 404)


def test_what_is_not_there_is_404_and_what_cannot_be_asked_422(shop: Installation) -> None:
    """Unknown and another tenant's are told alike."""
    shop.post(sale("zoe", DAY_MS), tenant="other")
    for what in WHATS:
        unknown = shop.refused(asked("nobody", "twice", what), 404)
        assert shop.refused(asked("zoe", "twice", what), 404) == unknown == shop.refused(asked("%00", "twice", what), 404)
        assert shop.refused(asked("anna", "none", what), 404) == shop.refused(asked("zoe", "twice", what), 404, key="theirs")
    shop.refused(asked("anna", "twice", "/explain?lang=de"), 422, "/lang")
    shop.refused(asked("anna", "twice", "/explain?limit=3"), 422, "/limit")
    shop.refused(asked("anna", "twice", "/explain"), 403, key="only-segments:read")


def test_nobody_to_ask_is_503(shop: Installation) -> None:
    """Without an owner the answer is unknown, and afterwards it is there again."""
    shop.stop()
    since = time.monotonic()
    shop.refused(asked("anna", "twice", "/explain"), 503)
    assert time.monotonic() - since < 10
    shop.start()
    assert shop.get(asked("anna", "twice", "/explain"))["member"] is True
