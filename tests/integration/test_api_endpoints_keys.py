"""Webhook endpoints and API keys over HTTP, and the operator's command line, on a real Kafka."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from standardwebhooks import Webhook

from schemas.definitions import SCOPES
from schemas.transitions import CAUSES
from services.api.auth import hash_of
from services.api.settings import ApiSettings
from tests.support.api import Api, fails, installed, serving, settings_for
from tests.support.waiting import wait_until

HOOK = {"url": "https://example.com/hook"}


@pytest.fixture(scope="module")
def api(kafka: str, valkey_url: str) -> Iterator[Api]:
    """An API that lets webhooks go to one private address."""
    with installed(kafka, valkey_url, webhook_allow="127.0.0.2/32") as found:
        found.segment("gold")
        yield found


def test_an_endpoint_shows_its_secret_once(api: Api) -> None:
    """The secret is 32 random bytes in the answer that creates it, and nowhere else."""
    made = api.call(
        "POST", "/v1/webhooks", HOOK | {"segments": ["gold", "gold"], "changes": ["entered"], "causes": ["event", "clock"], "imports": True}
    )
    assert (made.status_code, made.headers["etag"]) == (201, '"1"')
    endpoint = made.json()
    secret = endpoint.pop("secret")
    assert len(base64.b64decode(secret.removeprefix("whsec_"), validate=True)) == 32
    assert endpoint | {"id": "", "created_at": ""} == {
        "id": "", "url": HOOK["url"], "description": "", "segments": ["gold"], "changes": ["entered"], "causes": ["clock", "event"], "imports": True,
        "enabled": True, "status": "enabled", "status_reason": None, "status_since": None, "failing_since": None, "created_at": "",
    }  # fmt: skip
    path = made.headers["location"]
    assert path == f"/v1/webhooks/{endpoint['id']}"
    assert api.get(path).json() == endpoint
    assert endpoint in api.get("/v1/webhooks").json()["webhooks"]
    usual = api.call("POST", "/v1/webhooks", HOOK).json()
    assert (usual["segments"], usual["changes"], usual["causes"], usual["imports"]) == (None, ["entered", "exited"], None, False)
    replaced = api.call("PUT", path, HOOK | {"description": "new", "enabled": False}, If_Match='"1"')
    assert (replaced.status_code, replaced.headers["etag"], replaced.json()["enabled"], "secret" in replaced.json()) == (200, '"2"', False, False)
    assert replaced.json()["created_at"] == endpoint["created_at"]
    kept = api.desk.follower.catalog.endpoints["demo"][endpoint["id"]]
    assert kept.secret == secret
    fails(api.call("PUT", path, HOOK, If_Match='"1"'), 412)
    assert api.call("PUT", path, HOOK).headers["etag"] == '"3"', "without If-Match whichever there is"
    for method, body in (("GET", None), ("PUT", HOOK), ("DELETE", None)):
        assert fails(api.call(method, path, body, key="theirs"), 404) == fails(api.call(method, "/v1/webhooks/whk_absent", body), 404)
    assert fails(api.call("POST", path + "/test", key="theirs"), 404) == fails(api.call("POST", "/v1/webhooks/whk_absent/test"), 404)
    fails(api.call("POST", path + "/rotate", If_Match='"2"'), 412)
    rotated = api.call("POST", path + "/rotate", If_Match='"3"')
    assert (rotated.status_code, rotated.headers["etag"], "secret" in api.get(path).json()) == (200, '"4"', False)
    assert api.desk.follower.catalog.endpoints["demo"][endpoint["id"]].secrets(api.desk.now_ms()) == [rotated.json()["secret"], secret]
    assert api.call("DELETE", path).status_code == 204
    fails(api.get(path), 404)
    fails(api.call("DELETE", path), 404)
    assert endpoint["id"] not in api.get("/v1/webhooks").text


def test_an_endpoint_is_paused_and_resumed(api: Api) -> None:
    """Asked for again it is the same answer; a disabled one is not paused, and is enabled by a resume; an edit leaves the pause."""
    path = api.call("POST", "/v1/webhooks", HOOK).headers["location"]
    paused = api.call("POST", path + "/pause", If_Match='"1"')
    assert (paused.status_code, paused.headers["etag"], paused.json()["status"], paused.json()["enabled"]) == (200, '"2"', "paused", True)
    assert paused.json()["status_since"]
    assert api.call("POST", path + "/pause").json() == paused.json() == api.get(path).json()
    fails(api.call("POST", path + "/resume", If_Match='"1"'), 412)
    assert api.call("PUT", path, HOOK).json()["status"] == "paused"
    resumed = api.call("POST", path + "/resume").json()
    assert (resumed["status"], resumed["status_since"]) == ("enabled", None)
    assert api.call("POST", path + "/resume").json() == resumed
    disabled = api.call("PUT", path, HOOK | {"enabled": False}).json()
    assert (disabled["status"], disabled["status_reason"]) == ("disabled", "asked")
    fails(api.call("POST", path + "/pause"), 409)
    assert api.call("POST", path + "/resume").json() == resumed
    for verb in ("pause", "resume"):
        assert fails(api.call("POST", f"{path}/{verb}", key="theirs"), 404) == fails(api.call("POST", f"/v1/webhooks/whk_absent/{verb}"), 404)
        fails(api.call("POST", f"{path}/{verb}", key="only-webhooks:read"), 403)


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/", "http://127.1/", "http://0x7f000001/", "http://2130706433/", "http://0177.0.0.1/", "http://127.0.0.1./", "http://[::1]/",
        "http://10.0.0.1/", "http://169.254.169.254/latest", "http://[fe80::1]/", "http://[fe80::1%25eth0]/", "http://[::ffff:127.0.0.1]/", "http://[64:ff9b::7f00:1]/",
        "http://0.0.0.0/", "http://224.0.0.1/", "ftp://example.com/", "example.com", "http://", "http:///x", "https://user:pass@example.com/",
        "https://user@example.com/", "https://example.com/#x", "https://example.com:99999/", "https://example.com:x/", "http://exa mple.com/", "http://[::1/",
        "https://éxample.com/", "http://example.com\\@127.0.0.1/", "http://example.com/\n", "javascript:alert(1)", "", "http://" + "a" * 2_001,
    ],
)  # fmt: skip
def test_addresses_that_are_nobodys_business_are_refused(api: Api, url: str) -> None:
    """A private, loopback, link-local or unreadable address is 422 at creation and at replacement, however it is written."""
    fails(api.call("POST", "/v1/webhooks", {"url": url}), 422, "/url")
    made = api.call("POST", "/v1/webhooks", HOOK).json()
    fails(api.call("PUT", f"/v1/webhooks/{made['id']}", {"url": url}), 422, "/url")


def test_what_the_operator_allows_is_taken(api: Api) -> None:
    """An address inside an allowed network, and public ones in any notation, are accepted."""
    for url in ("http://127.0.0.2:8090/hook", "https://example.com", "https://1.1.1.1/", "https://[2606:4700::1111]:8443/a?b=c%20d"):
        assert api.call("POST", "/v1/webhooks", {"url": url}).status_code == 201, url


def test_a_test_delivery_is_signed_and_its_result_shown(api: Api) -> None:
    """The receiver gets one signed request, whose outcome is the answer; a receiver that is not there is told as well."""
    got: list[tuple[dict[str, str], bytes]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append((dict(self.headers.items()), self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.2", 0), Receiver) as server:
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        made = api.call("POST", "/v1/webhooks", {"url": f"http://127.0.0.2:{server.server_port}/hook"}).json()
        result = api.call("POST", f"/v1/webhooks/{made['id']}/test")
        thread.join(10)
    assert (result.status_code, result.json()["delivered"], result.json()["status"]) == (200, True, 204), result.text
    headers, body = got[0]
    assert Webhook(made["secret"]).verify(body, headers)["type"] == "webhook.test"
    again = api.call("POST", f"/v1/webhooks/{made['id']}/test").json()
    assert (again["delivered"], again["status"]) == (False, None)
    assert again["error"]


@pytest.mark.parametrize(
    ("more", "pointer"),
    [
        ({"segments": ["gold", "absent"]}, "/segments/1"),
        ({"changes": ["left"]}, "/changes/0"),
        ({"changes": []}, "/changes"),
        ({"causes": ["weather"]}, "/causes/0"),
        ({"causes": []}, "/causes"),
        ({"imports": "yes"}, "/imports"),
        ({"secret": "mine"}, "/secret"),
        ({"url": 7}, "/url"),
    ],
)
def test_a_bad_endpoint_is_refused_with_the_place(api: Api, more: dict[str, object], pointer: str) -> None:
    """Unknown segments, changes and causes are 422 where they stand."""
    fails(api.call("POST", "/v1/webhooks", HOOK | more), 422, pointer)
    assert api.call("POST", "/v1/webhooks", HOOK | {"causes": list(CAUSES)}).status_code == 201


def test_a_key_is_shown_once_and_never_stronger_than_its_maker(api: Api) -> None:
    """A new key works at once, within its scopes and its tenant, until it is revoked; nothing but its hash is kept."""
    made = api.call("POST", "/v1/keys", {"name": "app", "scopes": ["keys:write", "segments:read", "segments:read"]})
    assert made.status_code == 201
    secret, key_id = made.json()["key"], made.json()["id"]
    assert made.json()["scopes"] == ["keys:write", "segments:read"]
    shown = api.get(f"/v1/keys/{key_id}").json()
    assert shown == {name: value for name, value in made.json().items() if name != "key"}
    assert shown in api.get("/v1/keys").json()["keys"]
    assert secret not in api.get("/v1/keys").text
    assert api.get("/v1/segments", key=secret).status_code in (200, 503)
    fails(api.get("/v1/webhooks", key=secret), 403)
    fails(api.call("POST", "/v1/keys", {"name": "more", "scopes": ["segments:read", "segments:write"]}, key=secret), 403, "/scopes")
    assert api.call("POST", "/v1/keys", {"name": "less", "scopes": ["segments:read"]}, key=secret).status_code == 201
    assert hash_of(secret) in api.desk.follower.catalog.keys
    assert fails(api.get(f"/v1/keys/{key_id}", key="theirs"), 404) == fails(api.get("/v1/keys/key_absent"), 404)
    fails(api.call("DELETE", f"/v1/keys/{key_id}", key="theirs"), 404)
    assert key_id not in api.get("/v1/keys", key="theirs").text
    assert api.call("DELETE", f"/v1/keys/{key_id}").status_code == 204
    fails(api.get("/v1/keys", key=secret), 401)
    fails(api.call("DELETE", f"/v1/keys/{key_id}"), 404)
    for body, pointer in (
        ({"scopes": ["segments:read"]}, "/name"),
        ({"name": "x"}, "/scopes"),
        ({"name": "x", "scopes": []}, "/scopes"),
        ({"name": "x", "scopes": ["root"]}, "/scopes/0"),
    ):
        fails(api.call("POST", "/v1/keys", body), 422, pointer)


def command(settings: ApiSettings, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line on an installation."""
    here = {"KAFKA": settings.kafka, "TOPIC_PREFIX": settings.topic_prefix, "PARTITIONS": str(settings.partitions)}
    environment = os.environ | {f"ROLLCALL_{name}": value for name, value in here.items()}
    return subprocess.run(
        [sys.executable, "-m", "services.api", *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_an_operator_makes_tenants_and_keys(kafka: str, valkey_url: str) -> None:
    """On an empty Kafka: a tenant, again the same tenant, a key whose last line works, the lists, and its end."""
    settings = settings_for(kafka, valkey_url)
    place = ("--timezone", "Europe/Paris", "--currency", "EUR", "--country", "FR")
    first = command(settings, "tenants", "create", "--tenant", "shop", *place)
    assert (first.returncode, first.stdout.startswith("created tenant shop")) == (0, True), first.stderr
    again = command(settings, "tenants", "create", "--tenant", "shop", *place)
    assert (again.returncode, "exists already" in again.stdout) == (0, True)
    made = command(settings, "keys", "create", "--tenant", "shop", "--scopes", "all", "--name", "demo")
    assert made.returncode == 0, made.stderr
    secret = made.stdout.splitlines()[-1]
    with serving(settings) as api:
        assert api.get("/v1/segments", key=secret).json() == {"segments": [], "next": None}
        assert api.get("/v1/keys", key=secret).json()["keys"][0]["scopes"] == sorted(SCOPES)
        key_id = api.get("/v1/keys", key=secret).json()["keys"][0]["id"]
        assert key_id in command(settings, "keys", "list", "--tenant", "shop").stdout
        assert command(settings, "keys", "revoke", "--tenant", "shop", "--id", key_id).returncode == 0
        wait_until(lambda: api.get("/v1/segments", key=secret).status_code == 401)
    assert "shop\tEurope/Paris\tEUR\tFR" in command(settings, "tenants", "list").stdout
    for arguments in (
        ("tenants", "create", "--tenant", "Shop", *place),
        ("tenants", "create", "--tenant", "mars", "--timezone", "Mars/Olympus", "--currency", "EUR", "--country", "FR"),
        ("tenants", "create", "--tenant", "euro", "--timezone", "Europe/Paris", "--currency", "euro", "--country", "FR"),
        ("keys", "create", "--tenant", "nobody", "--scopes", "all", "--name", "x"),
        ("keys", "create", "--tenant", "shop", "--scopes", "root", "--name", "x"),
        ("keys", "revoke", "--tenant", "shop", "--id", "key_absent"),
    ):
        failed = command(settings, *arguments)
        assert failed.returncode == 1, arguments
        assert failed.stderr.startswith("api: "), "one clear line"
        assert "Traceback" not in failed.stderr
