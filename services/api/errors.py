"""Every error answer: problem details, whoever found the fault (a route, the framework, or a programmer's error)."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any, Final

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Route

from schemas.errors import Refusal, RollcallError
from schemas.outcomes import Outcome
from schemas.problems import MEDIA_TYPE, problem

log = logging.getLogger(__name__)
_encode: Final = msgspec.json.Encoder().encode
_CHALLENGE: Final = 'Bearer realm="rollcall"'


class Refused(RollcallError):
    """A request that is answered with an error."""

    def __init__(
        self, status: int, detail: str, headers: dict[str, str] | None = None, *, pointer: str = "", errors: list[dict[str, Any]] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = HTTPStatus(status)
        self.detail = detail
        self.headers = headers or {}
        self.pointer = pointer
        self.errors = errors

    def response(self) -> Response:
        """Return the problem details."""
        return problem_response(self.status, self.detail, self.headers, pointer=self.pointer, errors=self.errors)


def refused(refusal: Refusal, prefix: str = "") -> Refused:
    """Turn what a decoder refused into an answer: 400 for what is not JSON, 422 for JSON that says something wrong.

    Where there is more than one fault, `errors` lists all that were found, the first among them.
    """
    faults = [{"pointer": prefix + one.pointer, "detail": one.detail} for one in (refusal, *refusal.others)]
    status = 400 if refusal.reason == "malformed" else 422
    return Refused(status, refusal.detail, pointer=prefix + refusal.pointer, errors=faults if refusal.others else None)


def conflicting(outcome: Outcome) -> Refused:
    """Turn what the fold of the definitions refused into an answer."""
    return Refused(outcome.status, outcome.detail, pointer=outcome.pointer)


def absent(what: str) -> Refused:
    """Return the answer for what is not there, and for what belongs to another tenant: the same for both."""
    return Refused(404, f"no such {what}")


def unavailable(detail: str, retry_after_s: int = 1) -> Refused:
    """Return the answer for what cannot be known or done at the moment."""
    return Refused(503, detail, {"Retry-After": str(retry_after_s)})


def unauthorized() -> Refused:
    """Return the one answer for no key, a wrong one and a revoked one: it tells nobody which keys exist."""
    return Refused(401, "send a valid API key as Authorization: Bearer …", {"WWW-Authenticate": _CHALLENGE})


def forbidden(scope: str) -> Refused:
    """Return the answer for a key without a scope."""
    challenge = f'{_CHALLENGE}, error="insufficient_scope", scope="{scope}"'
    return Refused(403, f"this key does not have the scope {scope}", {"WWW-Authenticate": challenge})


def problem_response(
    status: int, detail: str, headers: dict[str, str] | None = None, *, pointer: str = "", errors: list[dict[str, Any]] | None = None
) -> Response:
    """Return problem details as a response."""
    return Response(_encode(problem(status, detail, pointer=pointer, errors=errors)), status, headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Make the application answer every error with problem details."""
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _fault)


async def _http(request: Request, error: Exception) -> Response:
    known = error if isinstance(error, HTTPException) else HTTPException(500)
    headers = dict(known.headers) if known.headers else {}
    detail = str(known.detail)
    if known.status_code == 404:
        detail = "there is nothing at this path; /docs lists what there is"
    elif known.status_code == 405:
        # The framework names the methods of the first route only.
        path = request.scope["path"]
        routes = [route for route in request.app.routes if isinstance(route, Route) and route.path_regex.match(path)]
        methods = sorted({method for route in routes for method in route.methods or ()})
        headers["Allow"] = ", ".join(methods)
        detail = f"{request.method} is not for this path; it takes {headers['Allow']}"
    return problem_response(known.status_code, detail, headers)


async def _invalid(_: Request, error: Exception) -> Response:
    found = error.errors() if isinstance(error, RequestValidationError) else []
    errors = [{"pointer": "/" + "/".join(map(str, one["loc"])), "detail": one["msg"]} for one in found]
    return problem_response(422, errors[0]["detail"] if errors else "invalid", errors=errors)


async def _fault(_: Request, error: Exception) -> Response:
    log.error("a fault of ours: %r", error, exc_info=error)
    return problem_response(500, "a fault of ours; it has been logged")
