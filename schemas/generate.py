"""Writes the published JSON Schemas: `python -m schemas.generate`, or `--check` to name the files that have drifted.

They are generated from the types that read the bytes, so that what is published and what is accepted cannot part.
"""

from __future__ import annotations

import json
import sys
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

import msgspec
from msgspec import Meta, Struct

from schemas import events
from schemas.examples import EVENTS, PROBLEM, TRANSITION
from schemas.problems import Problem
from schemas.rule_schema import rule_schema
from schemas.transitions import Transition

DIRECTORY: Final = Path(__file__).parent / "json"
_DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
_REF: Final = "#/$defs/{name}"

Schema = dict[str, Any]


class Webhook(Struct):
    """The body of a webhook: what happened, when, and the transition. Signed as Standard Webhooks has it."""

    type: Literal["segment.entered", "segment.exited"]
    timestamp: str
    data: Transition


def documents() -> dict[str, str]:
    """Return the text of every schema file, by name."""
    published = {tag: published_struct(member) for tag, member in zip(events.TYPES, events.Event.__args__, strict=True)}
    union = reduce(or_, published.values())
    schemas: dict[str, Schema] = {
        **{f"{tag}.json": _schema(member, tag, [EVENTS[tag]]) for tag, member in published.items()},
        "event.json": _schema(union, "Event", list(EVENTS.values()), "Any event, told apart by its type."),
        "rule.json": {"$schema": _DRAFT, **rule_schema()},
        "transition.json": _schema(Transition, "Transition", [TRANSITION]),
        "webhook.json": _schema(Webhook, "Webhook", [{"type": "segment.entered", "timestamp": TRANSITION["decided_at"], "data": TRANSITION}]),
        "problem.json": _schema(Problem, "Problem", [PROBLEM]),
    }
    return {name: _text({**schema, "$id": name}) for name, schema in schemas.items()}


def published_struct(member: Any) -> Any:
    """Return a twin of a struct that says what the wire sees of what the struct itself cannot say.

    An optional amount is an amount or null (the struct keeps raw bytes, whose default no schema can show), and only a
    checkout may lack its customer (one gate says so for all types).
    """
    fields: list[tuple[str, Any, Any]] = []
    for info in msgspec.structs.fields(member):
        type_, default = info.type, info.default
        if default is events.NOTHING:
            amount = get_args(type_)[1]
            extra = {"oneOf": [*amount.extra_json_schema["oneOf"], {"type": "null"}]}
            type_, default = Annotated[Any, Meta(description=amount.description, extra_json_schema=extra)], None
        elif info.name == "items":
            type_ = Annotated[list[published_struct(events.Item)], get_args(type_)[1]]  # type: ignore[misc]
        if info.name == "customer_id" and member is not events.Checkout:
            fields.append((info.name, events.CustomerId))  # type: ignore[arg-type]
        elif info.required:
            fields.append((info.name, type_))  # type: ignore[arg-type]
        elif info.default_factory is not msgspec.NODEFAULT:
            fields.append((info.name, type_, msgspec.field(default_factory=info.default_factory)))
        else:
            fields.append((info.name, type_, default))
    config = member.__struct_config__
    renamed = {info.name: info.encode_name for info in msgspec.structs.fields(member)}
    return msgspec.defstruct(
        member.__name__,
        fields,
        namespace={"__doc__": member.__doc__},
        kw_only=True,
        tag=config.tag,
        tag_field=config.tag_field,
        rename=renamed,
    )


def _schema(type_: Any, title: str, examples: list[Any], description: str | None = None) -> Schema:
    (schema,), components = msgspec.json.schema_components([type_], ref_template=_REF)
    if description is None:
        # The description of the one type that the file is about, where a reader looks first.
        description = components[schema["$ref"].rpartition("/")[2]].get("description")
    return {"$schema": _DRAFT, "title": title, "description": description, "examples": examples, **schema, "$defs": components}


def _text(schema: Schema) -> str:
    return json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def drifted(directory: Path = DIRECTORY) -> list[str]:
    """Return the names of the files that are not what would be generated: changed, missing, or no longer wanted."""
    wanted = documents()
    found = {path.name: path.read_text(encoding="utf-8") for path in directory.glob("*.json")}
    return sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))


def write(directory: Path = DIRECTORY) -> None:
    """Write every schema, and remove what is no longer one."""
    directory.mkdir(exist_ok=True)
    for name in drifted(directory):
        text = documents().get(name)
        if text is None:
            (directory / name).unlink()
        else:
            (directory / name).write_text(text, encoding="utf-8")


def main(arguments: list[str], directory: Path = DIRECTORY) -> int:
    """Run the command; returns its exit status."""
    if arguments == ["--check"]:
        for name in (names := drifted(directory)):
            print(f"schemas/json/{name} has drifted; run python -m schemas.generate", file=sys.stderr)
        return 1 if names else 0
    if arguments:
        print("usage: python -m schemas.generate [--check]", file=sys.stderr)
        return 2
    write(directory)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
