"""One tenant never sees another's: every route tried with another's ids and tokens, and ids that look like something else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from random import Random
from typing import Any
from urllib.parse import quote

import pytest

from services.api.cursors import encode_cursor
from services.api.routes.table import ROUTES
from services.api.web import RouteSpec
from tests.support.api import PARTITIONS, Api, fails, installed
from tests.support.projected import Projected

SECRET_ID = "rosa-7231"
"""A customer of `demo`; nothing that `other` is told may name it."""

NAMED = [spec for spec in ROUTES if "{" in spec.path and (spec.method, spec.path) != ("PUT", "/v1/attributes/{name}")]
PAGED = [spec for spec in ROUTES if {"cursor", "after"} & {param.name for param in spec.params}]
ODD = ("a:b", "a/b", "a%2Fb", "..", ".", "a b", "é", "\u202e718", "😀", "demo:718", "other:718", "a?b#c", "a;b", "a\\b", '"', "718 ", "%00", "%", "+")


def named(spec: RouteSpec) -> str:
    """Return how a test is called."""
    return f"{spec.method} {spec.path}"


@pytest.fixture(scope="module")
def api(kafka: str, valkey_url: str) -> Iterator[Api]:
    """Two tenants: one with something of everything, the other with one segment and one customer."""
    with installed(kafka, valkey_url) as found:
        projected = Projected(valkey_url, found.settings.redis_prefix, PARTITIONS)
        projected.mark()
        found.segment("private", include=[SECRET_ID])
        found.segment("own", key="theirs")
        for customer in (SECRET_ID, *ODD):
            projected.row("demo", customer, ["private"])
        projected.row("other", "mine", ["own"])
        assert found.call("PUT", "/v1/attributes/shoe_size", {"kind": "number"}).status_code in (200, 201)
        yield found


@pytest.fixture(scope="module")
def ids(api: Api) -> dict[str, str]:
    """What `demo` has, by the kind of thing."""
    return {
        "segments": "private",
        "customers": SECRET_ID,
        "attributes": "shoe_size",
        "webhooks": api.call("POST", "/v1/webhooks", {"url": "https://example.com/"}).json()["id"],
        "keys": api.call("POST", "/v1/keys", {"name": "till", "scopes": ["events:write"]}).json()["id"],
    }


def filled(path: str, thing: str, customer: str) -> str:
    """Return a path that names a thing, a customer, and as a segment the thing."""
    return path.format(id=thing, name=thing, segment_id=thing, customer_id=customer)


@pytest.mark.parametrize("spec", NAMED, ids=map(named, NAMED))
def test_anothers_is_answered_as_what_is_not_there(api: Api, ids: dict[str, str], spec: RouteSpec) -> None:
    """The same status and the same words, whichever part of the path is another's; and nothing of it has changed."""
    kind = spec.path.split("/")[2]
    ours = f"/v1/{kind}/{ids[kind]}" + ("/segments" if kind == "customers" else "")
    before = api.get(ours).text
    thing = ids["segments" if kind == "customers" else kind]
    # A thing and a customer of the other tenant, and what stands for each where there is none.
    pairs = [((thing, SECRET_ID), ("nowhere", "nobody"))]
    if "{customer_id}" in spec.path:
        pairs.append((("own", SECRET_ID), ("own", "nobody")))
    if "{segment_id}" in spec.path:
        pairs.append(((thing, "mine"), ("nowhere", "mine")))
    body = next(iter(spec.examples.values()), None)
    for another, nothing in pairs:
        theirs, absent = (api.call(spec.method, filled(spec.path, *pair), body, key="theirs") for pair in (another, nothing))
        # What only a segmenter can tell is 503 here, where none runs.
        assert theirs.status_code in (404, 503), theirs.text
        assert theirs.status_code == absent.status_code
        assert SECRET_ID not in theirs.text
        if theirs.status_code == 404:
            assert theirs.json() == absent.json()
    assert api.get(ours).text == before


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/segments", {"id": "spy", "name": "Spy", "rule": {"segment": "NAME"}}),
        ("/v1/segments/preview", {"rule": {"segment": "NAME"}}),
        ("/v1/segments/preview", {"rule": {"profile": "age", "op": "gt", "value": 1}, "replaces": "NAME"}),
        ("/v1/webhooks", {"url": "https://example.com/", "segments": ["NAME"]}),
    ],
)
def test_a_body_that_names_anothers_segment_is_answered_as_one_that_names_none(api: Api, path: str, body: dict[str, Any]) -> None:
    """The place and the words are the same."""
    answers = []
    for name in ("private", "nowhere"):
        found = api.call("POST", path, json.loads(json.dumps(body).replace("NAME", name)), key="theirs")
        assert 400 <= found.status_code < 500, found.text
        answers.append((found.status_code, found.text.replace(name, "NAME")))
    assert answers[0] == answers[1]


def test_what_another_declared_cannot_be_used(api: Api) -> None:
    """Neither in a rule, nor is its declaration touched by one's own of the same name."""
    rule = {"profile": "shoe_size", "op": "gt", "value": 1}
    fails(api.call("POST", "/v1/segments", {"id": "feet", "name": "Feet", "rule": rule}, key="theirs"), 422, "/rule/profile")
    assert api.call("PUT", "/v1/attributes/shoe_size", {"kind": "text"}, key="theirs").status_code == 201
    assert api.get("/v1/attributes/shoe_size").json()["kind"] == "number"


def bent(token: str, random: Random) -> Iterator[str]:
    """Give a token with a character changed, cut off, doubled; and tokens of other shapes."""
    for _ in range(12):
        place = random.randrange(len(token))
        yield token[:place] + random.choice("ABCxyz019-_") + token[place + 1 :]
    yield from (token[:-1], token + token, token + "=", "", "%00", "now", "-1", "é", "A" * 3_000)
    shapes: list[Any] = [(0, SECRET_ID), ("private", 0), [1 << 62], {"": {0: 1 << 61}}, {"": dict.fromkeys(range(PARTITIONS), -1)}, None, 0, [], {}]
    yield from map(encode_cursor, shapes)


@pytest.mark.parametrize("spec", PAGED, ids=map(named, PAGED))
def test_bent_tokens_and_anothers_tell_nothing(api: Api, spec: RouteSpec) -> None:
    """A cursor or position that was tampered with, or given to another tenant, is refused or opens what is one's own: never a fault."""
    path = filled(spec.path, "own", "mine")
    ours = api.get(filled(spec.path, "private", SECRET_ID) + ("?limit=1" if any(p.name == "limit" for p in spec.params) else ""))
    token = (ours.json().get("next") if ours.status_code == 200 else None) or encode_cursor({"checkouts": dict.fromkeys(range(PARTITIONS), 1)})
    for name in {"cursor", "after"} & {param.name for param in spec.params}:
        for sent in (token, *bent(token, Random(7))):
            found = api.get(f"{path}?{name}={quote(sent, safe='%')}", key="theirs")
            assert found.status_code in (200, 404, 410, 422, 503), (sent, found.text)
            assert SECRET_ID not in found.text
            assert "private" not in found.text


@pytest.mark.parametrize("etag", ['"1"', 'W/"1"', "*", '"1", "2"', '"', "1,,", '"é"', "x" * 5_000, '"-1"', '"' + "9" * 400 + '"'])
def test_etags_of_every_shape_are_answers(api: Api, etag: str) -> None:
    """An If-Match that matches saves, another is 412, what is none 400; another's segment is 404 whatever is sent."""
    found = api.call("PUT", "/v1/segments/own", {"name": "Own"}, key="theirs", If_Match=etag.encode("latin-1"))  # type: ignore[arg-type]
    assert found.status_code in (200, 400, 412), found.text
    found = api.call("PUT", "/v1/segments/private", {"name": "Own"}, key="theirs", If_Match=etag.encode("latin-1"))  # type: ignore[arg-type]
    assert found.status_code in (400, 404), found.text


@pytest.mark.parametrize("customer", ODD)
def test_an_id_is_what_was_written_and_nothing_else(api: Api, customer: str) -> None:
    """Separators, escapes, dots, signs of another direction: the customer is found under the escaped id, and by its tenant alone."""
    path = f"/v1/customers/{quote(customer, safe='').replace('.', '%2E')}/segments"
    found = api.get(path)
    assert (found.status_code, found.json().get("customer_id")) == (200, customer), found.text
    fails(api.get(path, key="theirs"), 404)


@pytest.mark.parametrize("part", ["%00", "a%00b", "%FF", "%C0%AF", "%ED%A0%80", "%0A", "%7F", "a" * 129, "a" * 5_000, quote("é" * 129)])
def test_what_no_customer_is_called_is_not_there(api: Api, part: str) -> None:
    """NUL, broken UTF-8, surrogates, control characters, ids that are too long: 404 on every path that names a customer."""
    for rest in ("", "/segments", "/segments/own", "/segments/own/explain", "/history", "/segments/own/history"):
        fails(api.get(f"/v1/customers/{part}{rest}"), 404)
    fails(api.get(f"/v1/segments/{part}"), 404)
    fails(api.get(f"/v1/webhooks/{part}"), 404)
    fails(api.get(f"/v1/keys/{part}"), 404)
