"""Faults: what a decoder found wrong with a document, in the words of those who write JSON, with what would have been right.

The decoder's own messages speak of its types. Only their place is taken; the rest is said from the type that was asked for and the
value that is there. Bad documents are rare, so it may cost a second look at them.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, Final

import msgspec
from msgspec import inspect

from schemas.errors import Refusal, listed, pointer_token, shown

_PLACE: Final = re.compile(r" - at `\$(.*)`$")
_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[(\d+|\.\.\.)\]")
_NAMED: Final = re.compile(r"(missing required|contains unknown) field `(.*?)`")
_ESCAPE: Final = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)
_encode: Final = msgspec.json.Encoder(decimal_format="number").encode
_plain: Final = msgspec.json.Decoder(float_hook=Decimal)
_NULL: Final = "null"
_SIZED: Final = (str, list, dict)


def malformed(document: bytes, error: Exception) -> Refusal:
    """Say why bytes are no JSON: `error` is what reading them raised."""
    if isinstance(error, RecursionError):
        said = "nested too deeply"
    elif (at := _not_utf8(document)) is not None:
        said = f"not UTF-8 at byte {at}"
    elif not isinstance(error, msgspec.DecodeError):
        said = "a number that is beyond all bounds"
    elif (half := _lone_surrogate(document)) is not None:
        said = f"{half[1]} at byte {half[0]} is half a character; write both halves, or the character itself"
    elif str(error) == "Input data was truncated":
        said = "it ends too early" if document.strip() else "there is nothing"
    else:
        said = str(error).removeprefix("JSON is malformed: ")
    return Refusal(f"broken JSON: {said}", reason="malformed")


def unfitting(message: str, expected: Any, document: Any) -> Refusal:
    """Say what does not fit: `message` is the decoder's, `expected` the type it was to read, `document` what stands there."""
    pointer, steps = _place_of(message)
    kind, value = inspect.type_info(expected), document
    for step in steps:
        kind, value = _member(kind, value, step), _value(value, step)
    if named := _NAMED.search(message):
        here, name = f"{pointer}/{pointer_token(named.group(2))}", named.group(2)
        if named.group(1) == "missing required":
            return Refusal(f"{name} is missing", pointer=here, reason="missing_field")
        known = listed(field.encode_name for one in _choices(kind) if isinstance(one, inspect.StructType) for field in one.fields)
        return Refusal(f"unknown name {shown(name)}; here: {known}", pointer=here)
    right = _said(kind)
    if right is None:
        return Refusal(_PLACE.sub("", message)[:300], pointer=pointer)
    size = f"; it has {len(value)}" if isinstance(value, _SIZED) and _bounded(kind, value) else ""
    return Refusal(f"{shown(value)} is not {right}{size}", pointer=pointer)


def misread(content: bytes | memoryview, expected: Any, error: Exception) -> Refusal:
    """Say why a document could not be read as a type: `error` is what its decoder raised."""
    document = bytes(content)
    if not isinstance(error, msgspec.ValidationError):
        return malformed(document, error)
    try:
        found = _plain.decode(document)
    except msgspec.ValidationError:
        found = None  # a number that no type holds; the message says so
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, ArithmeticError) as broken:
        return malformed(document, broken)
    message = str(error)
    if found is not None:
        # Of a name that is given twice the last counts, but the decoder tells of the first: then that is what is wrong.
        try:
            msgspec.json.decode(_encode(found), type=expected)
        except RecursionError as deep:
            return malformed(document, deep)
        except msgspec.ValidationError as again:
            message = str(again)
        else:
            pointer, steps = _place_of(message)
            name = steps[-1] if steps else ""
            return Refusal(f"{shown(name)} is given more than once, and once wrongly; give each name once", pointer=pointer)
    return unfitting(message, expected, found)


def _place_of(message: str) -> tuple[str, list[str]]:
    """Return the place of which the decoder speaks, as a JSON Pointer and step by step."""
    place = _PLACE.search(message)
    steps = [name or index for name, index in _STEP.findall(place.group(1))] if place else []
    return "".join("/" + pointer_token(step) for step in steps), steps


def _not_utf8(document: bytes) -> int | None:
    try:
        document.decode()
    except UnicodeDecodeError as error:
        return error.start
    return None


def _lone_surrogate(document: bytes) -> tuple[int, str] | None:
    """Return where a text has one half of a surrogate pair without the other, and how it is written."""
    high: re.Match[bytes] | None = None
    for escape in _ESCAPE.finditer(document):
        code = int(escape.group(1) or b"0", 16)
        if high is not None and not (0xDC00 <= code < 0xE000 and escape.start() == high.end()):
            break
        if high is None and 0xDC00 <= code < 0xE000:
            high = escape
            break
        high = escape if 0xD800 <= code < 0xDC00 else None
    return None if high is None else (high.start(), high.group().decode())


def _choices(kind: Any) -> list[Any]:
    """Return the types that a value may have."""
    while isinstance(kind, inspect.Metadata):
        kind = kind.type
    return [one for member in kind.types for one in _choices(member)] if isinstance(kind, inspect.UnionType) else [kind]


def _member(kind: Any, value: Any, step: str) -> Any:
    """Return the type of a member; of several structs that one is meant whose tag the value has."""
    choices = _choices(kind)
    tags = [one.tag for one in choices if isinstance(one, inspect.StructType) and one.tag_field == step]
    if tags:
        return inspect.LiteralType(tuple(tags))
    for one in choices:
        if isinstance(one, inspect.StructType):
            if one.tag_field is None or _value(value, one.tag_field) == one.tag:
                for field in one.fields:
                    if field.encode_name == step:
                        return field.type
        elif isinstance(one, inspect.ListType):
            return one.item_type
        elif isinstance(one, inspect.DictType):
            return one.value_type
    return inspect.AnyType()


def _value(value: Any, step: str) -> Any:
    if isinstance(value, dict):
        return value.get(step)
    return value[int(step)] if isinstance(value, list) and step.isdecimal() and int(step) < len(value) else None


def _said(kind: Any) -> str | None:
    """Say what a value may be; None where the type does not tell."""
    every = [_said_of(one) for one in _choices(kind)]
    known = list(dict.fromkeys(one for one in every if one is not None))
    if not known or len(known) < len(set(every)):
        return None
    others = " or ".join(one for one in known if one != _NULL)
    return f"{others}, or null" if others and _NULL in known else others or _NULL


def _said_of(kind: Any) -> str | None:
    match kind:
        case inspect.StrType():
            return f"a text like {kind.pattern}" if kind.pattern else f"a text{_size(kind, 'character')}"
        case inspect.LiteralType():
            return f"one of {listed(map(str, kind.values))}"
        case inspect.IntType():
            return f"a whole number{_range(kind)}"
        case inspect.FloatType():
            return f"a number{_range(kind)}"
        case inspect.BoolType():
            return "true or false"
        case inspect.NoneType():
            return _NULL
        case inspect.ListType():
            return f"a list{_size(kind, 'member')}"
        case inspect.DictType():
            return f"an object{_size(kind, 'name')}"
        case inspect.StructType():
            return "an object"
        case _:
            return None


def _size(kind: Any, what: str) -> str:
    least, most = kind.min_length, kind.max_length
    if most is None:
        return f" of {least} {what}s or more" if least else ""
    return f" of {least} to {most} {what}s" if least else f" of at most {most} {what}s"


def _range(kind: Any) -> str:
    if kind.ge is None:
        return "" if kind.le is None else f" of at most {kind.le}"
    return f", {kind.ge} or more" if kind.le is None else f" from {kind.ge} to {kind.le}"


def _bounded(kind: Any, value: Any) -> bool:
    """Whether it is a value's size that does not fit."""
    kinds: dict[type, Any] = {str: inspect.StrType, list: inspect.ListType, dict: inspect.DictType}
    of = kinds[type(value)]
    return any(
        isinstance(one, of) and (len(value) < (one.min_length or 0) or (one.max_length is not None and len(value) > one.max_length))
        for one in _choices(kind)
    )
