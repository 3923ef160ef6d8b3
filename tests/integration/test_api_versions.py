"""The life of a segment over HTTP on a real Kafka: versions, conflicts, pauses, ends and returns."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

from schemas.projection import Sweep
from services.api.cursors import encode_cursor
from tests.support.api import Api, fails, serving
from tests.support.entries import entries
from tests.support.projected import Projected

RULE: dict[str, Any] = {"metric": {"measure": "sum", "event": "checkout", "field": "total", "window": {"last": "P3M"}}, "op": "gt", "value": "150.00"}


def test_an_id_is_used_once(api: Api, projected: Projected) -> None:
    """A second creation is 409, also after the segment was archived; another tenant may use the id."""
    api.segment("once")
    fails(api.call("POST", "/v1/segments", {"id": "once", "name": "again"}), 409, "/id")
    api.segment("once", key="theirs")
    archived = api.call("DELETE", "/v1/segments/once")
    assert (archived.status_code, archived.json()["status"], archived.headers["etag"]) == (200, "archived", '"2"')
    assert api.call("DELETE", "/v1/segments/once").json()["version"] == 2, "again is the same answer"
    assert api.get("/v1/segments/once").json()["status"] == "archived"
    assert api.get("/v1/segments/once", key="theirs").json()["status"] == "live"
    fails(api.call("POST", "/v1/segments", {"id": "once", "name": "again"}), 409, "/id")
    fails(api.call("PUT", "/v1/segments/once", {"name": "again"}, If_Match='"2"'), 409)
    for path in ("/v1/segments/once/members", "/v1/segments/once/count"):
        fails(api.get(path), 404)
    fails(api.call("POST", "/v1/segments/once/include", {"add": ["718"]}), 404)


def test_a_version_is_replaced_only_by_who_has_seen_it(api: Api, projected: Projected) -> None:
    """PUT without If-Match is 428, with another version 412; a good one makes the next version."""
    api.segment("edited", RULE)
    path, body = "/v1/segments/edited", {"name": "Edited"}
    fails(api.call("PUT", path, body), 428)
    for etag in ('"2"', 'W/"1"', '"1x"', "2"):
        assert fails(api.call("PUT", path, body, If_Match=etag), 412)
    fails(api.call("PUT", path, body, If_Match="nonsense, here"), 400)
    fails(api.call("PUT", path, body | {"id": "another"}, If_Match='"1"'), 422, "/id")
    fails(api.call("PUT", path, body | {"rule": {"near": 3}}, If_Match='"1"'), 422, "/rule/near")
    second = api.call("PUT", path, body | {"id": "edited"}, If_Match='"7", "1"')
    assert (second.status_code, second.headers["etag"], second.json()["version"], second.json()["rule"]) == (200, '"2"', 2, None)
    assert second.json()["created_at"] <= second.json()["updated_at"]
    assert api.call("PUT", path, body, If_Match="*").json()["version"] == 3
    fails(api.call("DELETE", path, If_Match='"2"'), 412)
    assert api.call("DELETE", path, If_Match='"3"').json()["version"] == 4
    fails(api.call("PUT", "/v1/segments/absent", body, If_Match='"1"'), 404)
    fails(api.call("DELETE", "/v1/segments/absent"), 404)


def test_of_two_writers_one_wins(api: Api, projected: Projected) -> None:
    """Two processes replace the same version at once: exactly one is 200, the other learns it; nobody is told wrong."""
    api.segment("contested")
    with serving(api.settings) as second, ThreadPoolExecutor(8) as pool:
        for version in range(1, 9):
            calls = [(where, f"writer {n}") for n, where in enumerate([api, second] * 3)]
            answers = list(pool.map(lambda c, v=version: c[0].call("PUT", "/v1/segments/contested", {"name": c[1]}, If_Match=f'"{v}"'), calls))
            won = [(answer, name) for answer, (_, name) in zip(answers, calls, strict=True) if answer.status_code == 200]
            assert len(won) == 1, [answer.text for answer in answers]
            assert all(answer.status_code == 412 for answer in answers if answer is not won[0][0])
            assert won[0][0].json()["version"] == version + 1
            shown = api.get("/v1/segments/contested").json()
            assert (shown["version"], shown["name"]) == (version + 1, won[0][1])
        created = list(pool.map(lambda where: where.call("POST", "/v1/segments", {"id": "raced", "name": "x"}), [api, second] * 3))
        assert sorted(answer.status_code for answer in created) == [201, 409, 409, 409, 409, 409]
        archived = list(pool.map(lambda where: where.call("DELETE", "/v1/segments/raced"), [api, second] * 3))
        assert {(answer.status_code, answer.json()["version"]) for answer in archived} == {(200, 2)}


def test_a_patch_changes_what_it_names(api: Api, projected: Projected) -> None:
    """A merge patch saves a version; one that changes nothing saves none; it wants If-Match, and a body of its own kind."""
    path = "/v1/segments/patched"
    made = api.segment("patched", RULE, tier={"family": "patches", "level": 1}, description="d")
    fails(api.call("PATCH", path, {"name": "n"}), 428)
    fails(api.call("PATCH", path, {"name": "n"}, If_Match='"7"'), 412)
    fails(api.call("PATCH", path, {"name": "n"}, If_Match='"1"', Content_Type="text/plain"), 415)
    fails(api.call("PUT", path, {"name": "n"}, If_Match='"1"', Content_Type="application/merge-patch+json"), 415)
    fails(api.call("PATCH", path, {"id": "another"}, If_Match='"1"'), 422, "/id")
    fails(api.call("PATCH", path, {"rule": {"value": "a lot"}}, If_Match='"1"'), 422, "/rule/value")
    fails(api.call("PATCH", path, {"rule": {"segment": "patched"}}, If_Match='"1"'), 422, "/rule")
    for depth, status in ((200, 422), (20_000, 400)):
        fails(api.call("PATCH", path, b'{"rule":' + b'{"a":' * depth + b"1" + b"}" * (depth + 1), If_Match='"1"'), status)
    same = api.call("PATCH", path, {"name": "Patched", "rule": {"op": "gt"}}, If_Match='"1"')
    assert (same.status_code, same.headers["etag"], same.json()["version"]) == (200, '"1"', 1)
    changed = api.call(
        "PATCH", path, b'{"rule":{"value":123456789012345.07},"tier":null}', If_Match='"1"', Content_Type="application/merge-patch+json"
    )
    assert (changed.status_code, changed.headers["etag"]) == (200, '"2"')
    assert changed.json()["rule"] == {**RULE, "value": "123456789012345.07"}
    assert {name: changed.json()[name] for name in ("name", "description", "tier")} == {"name": made["name"], "description": "d", "tier": None}
    listed = api.call("PATCH", path, {"include": ["718"]}, If_Match='"2"')
    assert (listed.status_code, listed.json()["version"], listed.json()["rule"]) == (200, 3, changed.json()["rule"])
    assert [(e.customer_id, e.since) for _, e in entries(api) if e.segment_id == "patched"] == [("718", api.offset("patched"))]
    api.call("DELETE", path)
    fails(api.call("PATCH", path, {"name": "n"}, If_Match='"4"'), 409)


def test_a_paused_segment_says_so_and_keeps_its_version(api: Api, projected: Projected) -> None:
    """Pausing and resuming are no versions, and asked for again they are answered again."""
    api.segment("quiet", RULE)
    path = "/v1/segments/quiet"
    for act, status in (("pause", "paused"), ("pause", "paused"), ("resume", "live"), ("resume", "live"), ("pause", "paused")):
        before = api.desk.follower.catalog.offset
        changed = api.call("POST", f"{path}/{act}")
        assert (changed.status_code, changed.json()["status"], changed.headers["etag"]) == (200, status, '"1"')
        assert api.get(path).json() == changed.json()
        assert api.desk.follower.catalog.offset - before <= 1
    fails(api.call("POST", f"{path}/resume", If_Match='"2"'), 412)
    assert api.call("PUT", path, {"name": "Quiet", "rule": RULE}, If_Match='"1"').json()["status"] == "paused"
    assert api.call("POST", f"{path}/resume", If_Match='"2"').json()["status"] == "live"
    assert api.call("DELETE", path).json()["status"] == "archived"
    for act in ("pause", "resume"):
        fails(api.call("POST", f"{path}/{act}"), 409)


def test_a_segment_that_others_refer_to_stays(api: Api, projected: Projected) -> None:
    """DELETE is 409 and names them; a cycle is 422 and shows it; what was archived comes back once what it refers to has."""
    api.segment("base", RULE)
    api.segment("upper", {"all": [RULE, {"segment": "base"}]})
    assert "upper" in fails(api.call("DELETE", "/v1/segments/base"), 409)["detail"]
    cycle = api.call("PUT", "/v1/segments/base", {"name": "x", "rule": {"segment": "upper"}}, If_Match='"1"')
    assert "base → upper → base" in fails(cycle, 422, "/rule/segment")["detail"]
    for segment_id in ("upper", "base"):
        assert api.call("DELETE", f"/v1/segments/{segment_id}").json()["status"] == "archived"
    assert "base" in fails(api.call("POST", "/v1/segments/upper/restore"), 409)["detail"]
    restored = api.call("POST", "/v1/segments/base/restore", If_Match='"2"')
    assert (restored.status_code, restored.headers["etag"], restored.json()["status"]) == (200, '"3"', "live")
    again = api.call("POST", "/v1/segments/base/restore")
    assert (again.status_code, again.json()["version"]) == (200, 3)
    fails(api.call("POST", "/v1/segments/base/restore", If_Match='"2"'), 412)
    assert api.call("POST", "/v1/segments/upper/restore").json()["rule"]["all"][1] == {"segment": "base"}


def test_versions_are_listed_the_newest_first(api: Api, projected: Projected) -> None:
    """Each version with what it said, page by page; also of an archived segment."""
    api.segment("told", RULE)
    for version in range(1, 4):
        assert api.call("PATCH", "/v1/segments/told", {"name": f"name {version + 1}"}, If_Match=f'"{version}"').status_code == 200
    api.call("POST", "/v1/segments/told/pause")
    api.call("DELETE", "/v1/segments/told")
    seen: list[Any] = []
    path = "/v1/segments/told/versions?limit=2"
    while path:
        page = api.get(path).json()
        assert len(page["versions"]) <= 2
        seen += page["versions"]
        path = f"/v1/segments/told/versions?limit=2&cursor={page['next']}" if page["next"] else ""
    assert [(v["version"], v["change"], v["name"]) for v in seen] == [
        (5, "archived", "name 4"), (4, "saved", "name 4"), (3, "saved", "name 3"), (2, "saved", "name 2"), (1, "saved", "Told"),
    ]  # fmt: skip
    assert all(v["rule"] == RULE for v in seen)
    assert [v["at"] for v in seen] == sorted((v["at"] for v in seen), reverse=True)
    for cursor in (encode_cursor(0), encode_cursor("x"), "!"):
        fails(api.get(f"/v1/segments/told/versions?cursor={cursor}"), 422, "/cursor")
    fails(api.get("/v1/segments/told/versions?limit=101"), 422, "/limit")


def test_progress_is_the_share_of_customers_that_were_looked_at(api: Api, projected: Projected) -> None:
    """A segment is live when every partition has been swept past it, and never 1.0 before."""
    made = api.segment("swept", RULE)
    at = api.offset("swept")
    projected.mark(definitions=at, customers=100)
    projected.mark(0, definitions=at + 1, customers=100)
    projected.mark(1, definitions=at, customers=100, sweep=Sweep(at + 1, 50, 100))
    projected.mark(2, definitions=at, customers=100, sweep=Sweep(at, 90, 100))
    shown = api.get("/v1/segments/swept").json()
    assert (shown["status"], shown["progress"]) == ("backfilling", 0.375)
    assert made["count"] == 0
    projected.mark(definitions=at + 1, customers=100)
    projected.mark(3, definitions=at, customers=0)
    assert api.get("/v1/segments/swept").json()["progress"] < 1
    projected.mark()
    assert api.get("/v1/segments/swept").json()["status"] == "live"
