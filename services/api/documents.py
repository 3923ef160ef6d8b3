"""Documents: from the bytes of a body to what a route takes, exactly, or to a refusal with the place.

Decimals never pass through a float. Names that are not known, or given twice, are refused: neither must be quietly ignored.
"""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from schemas.errors import Refusal, pointer_token, shown
from schemas.faults import misread, unfitting
from services.api.errors import refused

B = TypeVar("B", bound=Struct)

_decoders: dict[type[Struct], msgspec.json.Decoder[Any]] = {}


def decoded(type_: type[B], content: bytes) -> B:
    """Read a body; raises `Refused`: 400 for what is not JSON, 422 with the place for what does not fit."""
    try:
        found = _decoder(type_).decode(content)
        check_names(content)
    except (msgspec.MsgspecError, RecursionError, ArithmeticError, ValueError) as error:
        raise refused(misread(content, type_, error)) from None
    return found


def converted(type_: type[B], document: Any) -> B:
    """Read a document that is decoded already; raises `Refused` (422) with the place."""
    try:
        return msgspec.convert(document, type_)
    except msgspec.ValidationError as error:
        raise refused(unfitting(str(error), type_, document)) from None


def check_names(content: bytes) -> None:
    """Refuse JSON with an object that has a name twice, however it is written: readers differ on which of the two counts.

    Costs about as much as decoding does; where a name is repeated, the place is sought in a second pass.
    """
    text = content.decode()
    try:
        _walk(text, _once)
    except _Repeated:
        pointer, name = _within(_walk(text, _place)) or ("", "")
        raise refused(Refusal(f"{shown(name)} is given twice; an object has each name once", pointer=pointer)) from None


class _Repeated(Exception):
    """There is an object with a name twice."""


class _Place(tuple[str, str]):
    """The pointer to a name that is given twice, and the name."""

    __slots__ = ()


def _walk(text: str, member: Any) -> Any:
    """Let `member` see all objects, the inner ones first. Numbers are not looked at, however long they are."""
    return json.loads(text, object_pairs_hook=member, parse_int=len, parse_float=len)


def _once(pairs: list[tuple[str, Any]]) -> None:
    if len(dict(pairs)) != len(pairs):
        raise _Repeated


def _place(pairs: list[tuple[str, Any]]) -> _Place | None:
    seen: set[str] = set()
    for name, value in pairs:
        if name in seen:
            return _Place(("/" + pointer_token(name), name))
        seen.add(name)
        if (found := _within(value)) is not None:
            return _Place((f"/{pointer_token(name)}{found[0]}", found[1]))
    return None


def _within(value: Any) -> _Place | None:
    if isinstance(value, list):
        for index, one in enumerate(value):
            if (found := _within(one)) is not None:
                return _Place((f"/{index}{found[0]}", found[1]))
    return value if isinstance(value, _Place) else None


def _decoder(type_: type[B]) -> msgspec.json.Decoder[B]:
    found = _decoders.get(type_)
    if found is None:
        found = _decoders[type_] = msgspec.json.Decoder(type_, float_hook=Decimal)
    return found
