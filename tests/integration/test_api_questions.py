"""Reasons and the past, asked over HTTP of real segmenters: right, in words, and never a false answer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from schemas.instants import DAY_MS, HOUR_MS, iso
from services.kit.clock import now_ms
from tests.support.installation import Installation, whole

Json = dict[str, Any]
BOUGHT: Json = {"measure": "count", "event": "checkout", "window": {"last": "P30D"}}
TWICE: Json = {"all": [{"metric": BOUGHT, "op": "gte", "value": 2}, {"not": {"profile": "city", "op": "eq", "value": "Lyon"}}]}
START_MS = now_ms()
WHATS = ("/explain",)
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
        "until": leaves, "events": None, "events_total": 2,
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
