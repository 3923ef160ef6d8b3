"""Who may ask, and how every wrong request is answered; what happens while Kafka is gone."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from deploy.local.broker import LocalBroker
from deploy.local.ports import free_port
from schemas.definitions import SCOPES
from services.api.routes.table import ROUTES
from services.api.web import RouteSpec
from tests.support.api import PARTITIONS, Api, fails, installed, patiently
from tests.support.projected import Projected
from tests.support.waiting import wait_until

ALL = pytest.mark.parametrize("spec", ROUTES, ids=[f"{spec.method} {spec.path}" for spec in ROUTES])


@pytest.fixture(scope="module")
def api(kafka: str, valkey_url: str) -> Iterator[Api]:
    """An API with a complete projection."""
    with installed(kafka, valkey_url) as found:
        Projected(valkey_url, found.settings.redis_prefix, PARTITIONS).mark()
        yield found


def path_of(spec: RouteSpec) -> str:
    """Return a path of a route, naming things that do not exist."""
    return spec.path.format(id="absent", customer_id="absent", segment_id="absent", name="absent")


@ALL
def test_every_route_asks_for_a_key_with_its_scope(api: Api, spec: RouteSpec) -> None:
    """No key, a wrong one, a revoked one and another scheme are 401, the same for all; a key without the scope is 403."""
    path = path_of(spec)
    answers = [fails(api.call(spec.method, path, key=key), 401) for key in ("", "wrong", "revoked", "x" * 600)]
    answers += [fails(api.call(spec.method, path, key="", Authorization=value), 401) for value in ("Basic YTpi", "Bearer", "all")]
    assert all(answer == answers[0] for answer in answers)
    for scope in SCOPES:
        response = api.call(spec.method, path, key=f"only-{scope}")
        if scope == spec.scope:
            assert response.status_code not in (401, 403), response.text
        else:
            assert spec.scope in fails(response, 403)["detail"]
            assert "insufficient_scope" in response.headers["www-authenticate"]


@ALL
def test_no_route_ignores_a_parameter(api: Api, spec: RouteSpec) -> None:
    """An unknown, misspelt, misplaced or repeated query parameter is 422 and names itself."""
    path = path_of(spec)
    for name in {"lmit", "Limit", "at", ""} - {param.name for param in spec.params}:
        fails(api.call(spec.method, f"{path}?{name}=1"), 422, f"/{name}")
    for param in spec.params:
        fails(api.call(spec.method, f"{path}?{param.name}=1&{param.name}=1"), 422, f"/{param.name}")
    fails(api.call(spec.method, f"{path}?" + "&".join(f"p{n}" for n in range(30))), 422)
    fails(api.call(spec.method, f"{path}?a=%FF"), 422)


def test_other_paths_and_methods_are_problems_too(api: Api) -> None:
    """What is not there is 404, another method 405 with those that are."""
    fails(api.get("/v1/nothing"), 404)
    fails(api.get("/v1/customers//segments"), 404)
    fails(api.get("/v1/segments/a/b/c"), 404)
    wrong = api.call("POST", "/v1/segments/x")
    fails(wrong, 405)
    assert wrong.headers["allow"] == "DELETE, GET, PATCH, PUT"
    fails(api.call("POST", "/v1/customers/718/segments"), 405)


def test_health_needs_no_key_and_the_documentation_is_served(api: Api) -> None:
    """Probes, metrics and the OpenAPI document are open; the metrics name what they count."""
    assert api.get("/healthz", key="").json() == {"status": "alive"}
    ready = api.get("/readyz", key="")
    assert (ready.status_code, ready.json()["missing"]) == (200, [])
    metrics = api.get("/metrics", key="").text
    for name in ("rollcall_api_requests_total", "rollcall_api_ready 1.0", "rollcall_api_projection_age_seconds"):
        assert name in metrics
    assert api.get("/docs", key="").status_code == 200
    assert "/v1/segments" in api.get("/openapi.json", key="").json()["paths"]


def test_a_client_that_goes_away_harms_nobody(api: Api) -> None:
    """Requests cut off in the middle leave no held bytes behind, and the next ones are answered."""
    address = api.url.removeprefix("http://").split(":")
    for _ in range(20):
        with socket.create_connection((address[0], int(address[1])), 5) as link:
            link.sendall(b"POST /v1/segments HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer all\r\nContent-Length: 70000\r\n\r\n" + b" " * 60_000)
            wait_until(lambda: api.desk.reading.held > 0)
        wait_until(lambda: api.desk.reading.held == 0)
    patiently(lambda: api.get("/v1/segments"))
    assert patiently(lambda: api.get("/readyz")).status_code == 200


def test_nothing_is_saved_while_kafka_is_gone_and_everything_comes_back(valkey_url: str, tmp_path: Path) -> None:
    """Writes and the feed are 503, memberships are answered as ever; when Kafka is back, so is everything, with nothing lost."""
    with (
        LocalBroker(tmp_path, free_port()) as broker,
        installed(broker.bootstrap, valkey_url, api_write_timeout_s=2.0, api_feed_timeout_s=2.0) as api,
    ):
        projected = Projected(valkey_url, api.settings.redis_prefix, PARTITIONS)
        projected.mark()
        api.segment("gold")
        projected.row("demo", "718", ["gold"])
        broker.kill9()
        with ThreadPoolExecutor(4) as pool:
            saved = pool.submit(api.call, "POST", "/v1/segments", {"id": "unsure", "name": "x"})
            edited = pool.submit(api.call, "POST", "/v1/segments/gold/include", {"add": ["718"]})
            read = pool.submit(api.get, "/v1/changes")
            assert api.get("/v1/customers/718/segments/gold").json()["member"] is True
            for answer in (saved, edited, read):
                fails(answer.result(), 503)
        assert "kafka" in api.get("/readyz").json()["missing"]
        broker.start()
        patiently(lambda: api.get("/readyz"), timeout_s=30)
        patiently(lambda: api.get("/v1/changes"), timeout_s=30)
        patiently(lambda: api.call("PUT", "/v1/segments/gold", {"name": "Gold again"}, If_Match="*"), timeout_s=30)
        assert patiently(lambda: api.call("POST", "/v1/segments/gold/include", {"add": ["718"]}), 202, timeout_s=30).json()["added"] == 1
        assert api.get("/v1/segments/gold").json()["name"] == "Gold again"
