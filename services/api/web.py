"""What every route shares: who asks and with what, read once and strictly, and one place where errors become answers.

A query parameter that a route does not know is refused: a misspelt one must not be quietly ignored.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar
from urllib.parse import parse_qsl, unquote

import msgspec
from fastapi import Request, Response
from msgspec import Struct
from starlette.requests import ClientDisconnect

from schemas.catalog import Catalog, Key
from schemas.errors import Refusal, shown
from services.api.auth import authorize
from services.api.desk import Desk
from services.api.documents import decoded
from services.api.errors import Refused, absent, problem_response, refused
from services.api.rates import Rate
from services.kit.limits import RETRY_AFTER_S, Full

log = logging.getLogger(__name__)
B = TypeVar("B", bound=Struct)

_encode: Final = msgspec.json.Encoder(decimal_format="number").encode
_ETAG: Final = re.compile(r'(?:W/)?"[^"]*"|\d+|\*')
_MOST_PARAMETERS: Final = 20
_JSON: Final = "application/json"
MERGE_PATCH: Final = "application/merge-patch+json"


@dataclass(frozen=True)
class Param:
    """A query parameter, as the documentation shows it."""

    name: str
    description: str
    schema: Mapping[str, Any] = field(default_factory=lambda: {"type": "string"})
    example: Any = None


@dataclass(frozen=True)
class Answer:
    """A good answer, as the documentation shows it: its body's type and an example, or none."""

    description: str
    body: Any = None
    example: Any = None
    etag: bool = False


@dataclass(frozen=True)
class RouteSpec:
    """A route: what the router, the guard and the documentation need to know of it."""

    method: str
    path: str
    handler: Handler
    scope: str
    summary: str
    answers: Mapping[int, Answer]
    tag: str
    description: str = ""
    params: Sequence[Param] = ()
    body: Any = None
    examples: Mapping[str, Any] = field(default_factory=dict)
    media_type: str = _JSON
    """What the documentation says that the body is."""
    if_match: str = ""
    """What the documentation says of the header, where it is looked at."""
    errors: Sequence[int] = ()
    rate: Rate | None = None
    """Which rate of its key a call is charged to; None: reads for GET, writes for all else."""
    cost: float = 1.0
    quick: bool = False
    """Whether it looks at one customer's memberships of now and no more, as apps do on every screen."""

    @property
    def charged(self) -> Rate:
        """Which rate of its key a call is charged to."""
        return self.rate or ("reads" if self.method == "GET" else "writes")


class Call:
    """One request of a key that may make it."""

    __slots__ = ("_held_bytes", "catalog", "desk", "key", "query", "request", "tenant")

    def __init__(self, desk: Desk, request: Request, key: Key, catalog: Catalog, query: dict[str, str]) -> None:
        self.desk, self.request, self.key, self.catalog, self.query = desk, request, key, catalog, query
        self.tenant = key.tenant
        self._held_bytes = 0

    def hold(self, size: int) -> None:
        """Count bytes of the body, until `done`; raises `Full`."""
        self.desk.reading.take(size, self.tenant)
        self._held_bytes += size

    def done(self) -> None:
        """End: nothing of the body is held any more."""
        self.desk.reading.give_back(self._held_bytes, self.tenant)
        self._held_bytes = 0

    def path(self, name: str) -> str:
        """Return a part of the path as its writer meant it; raises `Refused` (404) for bytes that no id has."""
        return unquoted(self.request.path_params[name])

    def limit(self, usual: int, most: int) -> int:
        """Return the parameter `limit`."""
        text = self.query.get("limit", str(usual))
        if not (text.isascii() and text.isdecimal() and len(text) < 10 and 1 <= int(text) <= most):
            raise Refused(422, f"limit is a number from 1 to {most}, not {shown(text)}", pointer="/limit")
        return int(text)

    def spend(self, rate: Rate, cost: float = 1.0) -> None:
        """Charge the key for more than the route costs; raises `Refused` (429) when it has nothing left."""
        self.desk.rates.spend(self.key, rate, cost)

    def if_match(self) -> list[str] | None:
        """Return the versions that the If-Match header names (`*` for any), None without the header. Weak tags match nothing."""
        header = self.request.headers.get("if-match")
        if header is None:
            return None
        tags = [tag.strip() for tag in header.split(",")]
        if not all(_ETAG.fullmatch(tag) for tag in tags):
            raise Refused(400, f'If-Match is an ETag like "3", not {shown(header)}')
        return [tag.strip('"') for tag in tags if not tag.startswith("W/")]

    async def body(self, type_: type[B], *media_types: str) -> B:
        """Read the body, exactly; raises `Refused`.

        `media_types` are taken besides application/json.
        """
        return decoded(type_, await _read(self, media_types))


Handler = Callable[[Call], Coroutine[Any, Any, Response]]


def answer(body: Any, status: int = 200, *, etag: int | None = None, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON answer, with an ETag where the thing has versions."""
    found = dict(headers or {})
    if etag is not None:
        found["ETag"] = f'"{etag}"'
    return Response(_encode(body), status, found, _JSON)


def unquoted(part: str) -> str:
    """Return a part of a path with its escapes undone."""
    try:
        return unquote(part, errors="strict")
    except UnicodeDecodeError:
        raise absent("id: it is not UTF-8") from None


def query_of(raw: bytes, known: frozenset[str]) -> dict[str, str]:
    """Read a query string; raises `Refused` (422) for a parameter that is not known, or given twice."""
    if not raw:
        return {}
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MOST_PARAMETERS)
    except ValueError as error:
        raise Refused(422, f"the query cannot be read: {str(error)[:100]}") from None
    found: dict[str, str] = {}
    for name, value in pairs:
        if name not in known:
            here = ", ".join(sorted(known)) or "none"
            raise Refused(422, f"unknown query parameter {shown(name)}; here: {here}", pointer=f"/{name}")
        if name in found:
            raise Refused(422, f"the query parameter {name} is given twice", pointer=f"/{name}")
        found[name] = value
    return found


def guarded(desk: Desk, spec: RouteSpec) -> Callable[[Request], Awaitable[Response]]:
    """Return the endpoint of a route: authorized, measured, and with every error as problem details."""
    known = frozenset(param.name for param in spec.params)
    seconds = desk.metrics.seconds.labels(spec.method, spec.path)

    async def endpoint(request: Request) -> Response:
        since_s = time.perf_counter()
        response = await answered(desk, request, spec, known)
        seconds.observe(time.perf_counter() - since_s)
        desk.metrics.requests.labels(spec.method, spec.path, str(response.status_code)).inc()
        return response

    return endpoint


async def answered(desk: Desk, request: Request, spec: RouteSpec, known: frozenset[str]) -> Response:
    """Answer one request, whatever happens."""
    try:
        catalog = desk.catalog()
        key = authorize(catalog, request.headers.get("authorization", ""), spec.scope)
        desk.rates.spend(key, spec.charged, spec.cost)
        call = Call(desk, request, key, catalog, query_of(request.scope["query_string"], known))
        try:
            quick = spec.quick and "at" not in call.query  # the past is looked up in histories
            await desk.times.turn(key.tenant, quick=quick)
            return await desk.times.counted(key.tenant, spec.handler(call), quick=quick)
        finally:
            call.done()
    except Refused as error:
        return error.response()
    except Refusal as refusal:
        return refused(refusal).response()
    except Full as full:
        return problem_response(full.status, full.detail, {"Retry-After": str(RETRY_AFTER_S)})
    except ClientDisconnect:
        return Response(status_code=400)  # nobody reads it
    except Exception:  # the framework would answer as well, and close the connection
        desk.metrics.faults.inc()
        log.exception("a fault of ours")
        return problem_response(500, "a fault of ours; it has been logged")


async def _read(call: Call, media_types: Sequence[str]) -> bytes:
    """Read a JSON body within the limits of the settings; raises `Refused` 408, 413 or 415, and `Full`."""
    request, settings, taken = call.request, call.desk.settings, (*media_types, _JSON)
    media_type = request.headers.get("content-type", _JSON).partition(";")[0].strip().lower()
    if media_type not in taken:
        raise Refused(415, f"the media type is {' or '.join(taken)}, not {media_type[:80]}", {"Accept": ", ".join(taken)})
    if request.headers.get("content-encoding", "identity") != "identity":
        raise Refused(415, "the body is not compressed here", {"Accept-Encoding": "identity"})
    announced = request.headers.get("content-length", "")
    too_large = Refused(413, f"a body has at most {settings.api_max_body_bytes} bytes", {"Connection": "close"})
    if announced.isdecimal() and int(announced[:20]) > settings.api_max_body_bytes:
        raise too_large
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(settings.api_body_timeout_s):
            async for part in request.stream():
                if size + len(part) > settings.api_max_body_bytes:
                    raise too_large
                call.hold(len(part))
                size += len(part)
                parts.append(part)
    except TimeoutError:
        raise Refused(408, f"the body did not arrive within {settings.api_body_timeout_s:g} s", {"Connection": "close"}) from None
    return b"".join(parts)
