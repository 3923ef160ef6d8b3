"""Replacing a manual list through the API, decided by a real segmenter: what is published is the difference, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.installation import Installation, whole
from tests.support.waiting import wait_until

EACH = 60
"""Customers of each kind: some in every partition."""


@pytest.fixture(scope="module")
def shop(kafka: str, valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """An installation with a segment of whom half will leave."""
    with whole(kafka, valkey_url, tmp_path_factory.mktemp("lists")) as found:
        found.saved("crew", None, include=crowd("old") + crowd("both"))
        wait_until(lambda: members(found) == sorted(crowd("old") + crowd("both")), 30)
        yield found


def crowd(kind: str) -> list[str]:
    """The customers of one kind."""
    return [f"{kind}{number}" for number in range(EACH)]


def members(shop: Installation) -> list[str]:
    """Who is in the segment."""
    return sorted(member["customer_id"] for member in shop.get("/v1/segments/crew/members?limit=1000")["members"])


def test_half_of_a_list_is_replaced(shop: Installation) -> None:
    """The half that is gone leaves, the new half enters, and nothing is said of those who stay; the answer's position is behind it all."""
    start = shop.get("/v1/changes?after=now")["next"]
    saved = shop.api.call("PUT", "/v1/segments/crew", {"name": "Crew", "include": crowd("both") + crowd("new")}, If_Match='"1"')
    assert saved.status_code == 200, saved.text
    position = saved.json()["position"]
    assert [shop.get(f"/v1/customers/{who}/segments/crew?after={position}")["member"] for who in ("old0", "both0", "new0")] == [False, True, True]
    wait_until(lambda: bool(shop.api.get("/v1/segments/crew").json()["status"] == "live"), 30)
    assert members(shop) == sorted(crowd("both") + crowd("new"))
    expected = [(who, "exited") for who in crowd("old")] + [(who, "entered") for who in crowd("new")]
    wait_until(lambda: len(shop.changes(start)) >= len(expected), 30)
    found = shop.changes(start)
    assert sorted((change["customer_id"], change["change"]) for change in found) == sorted(expected)
    assert {(change["cause"]["kind"], change["segment_version"]) for change in found} == {("definition", 2)}
