"""Questions: what the API asks the segmenters, which alone have the rows and the histories, and how they answer.

Both ends are ours and the way between them is internal. Whoever asks names the partitions with the epochs that their markers
told, and the definitions that the answer must know; a worker answers only for partitions that it owns in those epochs.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Raw, Struct

from schemas.definitions import Around
from schemas.errors import Refusal
from schemas.standings import Cut, Interval, KeptScore, Point

PATH: Final = "/ask"
MOST_INSTANTS: Final = 1_000
"""Steps of a timeline: more than a screen has columns."""
MOST_LOOKS: Final = 100
"""Rankings, each at an instant, that one question is about."""
MOST_ROOM: Final = 1 << 20
"""Bytes of a partition's answer about them."""
MOST_STEPS: Final = 50_000
"""Changes of a customer's scores, or of whether a rank holds, that travel with a question, some twenty bytes each."""
MOST_EVENTS: Final = 200
"""Events of a portrait."""
MOST_HOLDERS: Final = 10
"""Customers with one card number that are shown; a card has one holder, or a household."""


class Population(Struct, tag_field="ask", tag="population", frozen=True):
    """How many customers of the tenant are known? Answered by a `Tally`."""


class Tally(Struct, frozen=True):
    """So many."""

    count: int


class Explain(Struct, tag_field="ask", tag="explain", frozen=True):
    """Why is a customer in a segment, or not? Answered by an `Explained`, null for a customer who is not known."""

    customer_id: str
    segment_id: str


class Counts(Struct, frozen=True):
    """An event that counts, and the instant from which on it no longer will (None: always)."""

    event_id: str
    at_ms: int
    leaves_ms: int | None


class Seen(Struct, frozen=True):
    """What a condition sees: its place in the rule, its value, and until when it holds or does not if nothing new happens.

    `events` are the newest of those that count, `total` how many there are. `history_from_ms`: from when on it counts what no time ends,
    None for what the clock lets go.
    """

    path: str
    value: Raw
    op: str
    threshold: Raw
    holds: bool
    until_ms: int | None
    events: list[Counts]
    total: int
    history_from_ms: int | None = None


class Explained(Struct, frozen=True, kw_only=True):
    """Whether a customer is in a version of a segment, and everything that this depends on.

    `until_ms`: the next instant at which it is otherwise if nothing new happens. `held_until_ms`: an entry that `min_stay` holds.
    `overridden_by`: the higher level of the family that the customer is in.
    """

    version: int
    member: bool
    since_ms: int | None
    until_ms: int | None
    rule_holds: bool
    included: bool
    excluded: bool
    held_until_ms: int | None
    overridden_by: str | None
    conditions: list[Seen]
    history_from_ms: int


SAMPLE: Final = 10
"""Members that a preview names."""


class Preview(Struct, tag_field="ask", tag="preview", frozen=True):
    """How many would be in a segment with a rule (JSON, numbers exact), new or the next version of another? Answered by a `Previewed`.

    `around` is what else it would have; its lists are those in force.
    Where ranks end that no live segment asks for, the question tells: `cuts` then has all that the segment depends on, by the rank's
    name, and `at_ms` is the instant that they, and the answer, are of.
    """

    rule: Any
    replaces: str | None = None
    at_ms: int | None = None
    cuts: dict[str, Cut] = {}
    around: Around = Around()


class Previewed(Struct, frozen=True):
    """How many of how many customers, some of them, and who would enter and leave what is in force."""

    count: int
    of: int
    sample: list[str]
    enters: int
    leaves: int


class WasMember(Struct, tag_field="ask", tag="was-member", frozen=True):
    """Was a customer in a segment at a past instant? Answered by a `Was`, null for a customer who is not known.

    `turns`: when each rank that the segment depends on began to hold and ceased to, in turn, by the rank's name; after the last of them
    it stays as it is. `only_ms`: they were seen at this instant alone, so `since` and `until` mean nothing.
    """

    customer_id: str
    segment_id: str
    at_ms: int
    turns: dict[str, list[int]] = {}
    only_ms: int | None = None


class Was(Struct, frozen=True):
    """Whether, since when (None: as far back as anything is known) and until when; under which version of the segment."""

    version: int
    member: bool
    since_ms: int | None
    until_ms: int | None
    history_from_ms: int


Step = tuple[int, KeptScore | None]
"""A score from an instant on; None for none."""


class Climb(Struct, tag_field="ask", tag="climb", frozen=True):
    """How did a customer's scores change from one instant to another? Answered by a `Climbed`, null for a customer who is not known.

    Meant are the rankings that a segment depends on.
    """

    customer_id: str
    segment_id: str
    from_ms: int
    to_ms: int


class Climbed(Struct, frozen=True):
    """A customer's scores by the ranking's name, the first as of the earlier instant; None where there are more than `MOST_STEPS`."""

    steps: dict[str, list[Step]] | None


class Rivals(Struct, tag_field="ask", tag="rivals", frozen=True):
    """How many were ahead of a customer, whose scores went so, up to an instant? Answered by a `Rivalry`.

    `facts` and `room`: how many events a partition looks at, at most, and about how many bytes it answers.
    """

    customer_id: str
    segment_id: str
    steps: dict[str, list[Step]]
    to_ms: int
    facts: int | None = None
    room: Annotated[int, Meta(ge=0, le=MOST_ROOM)] = MOST_ROOM


Lead = tuple[int, int, int]
"""From an instant on, so many more are ahead, and so many more have a place; the customer asked about is none of them."""


class Rivalry(Struct, frozen=True):
    """The leads of others by the ranking's name, the earliest first; None where that would be more than may be."""

    leads: dict[str, list[Lead]] | None


class Race(Struct, tag_field="ask", tag="race", frozen=True):
    """How did everybody's scores change from one instant to another? Answered by a `Raced`.

    Meant are the rankings that a segment depends on. `facts` and `room`: how many events a partition looks at, at most, and about how
    many bytes it answers.
    """

    segment_id: str
    from_ms: int
    to_ms: int
    facts: int
    room: Annotated[int, Meta(ge=0, le=MOST_ROOM)] = MOST_ROOM


class Raced(Struct, frozen=True):
    """Customers' scores by the ranking's name, the first as of the earlier instant; None where that would be more than may be."""

    steps: dict[str, dict[str, list[Step]]] | None


class Timeline(Struct, tag_field="ask", tag="timeline", frozen=True):
    """How large was a segment at these instants, the earliest first, and who came and went between them? Answered by a `Course`.

    Where it depends on a rank, `turns`: when each began to hold and ceased to, in turn, by the rank's name and the customer, as seen
    from `from_ms` on; or else `cuts`: for each instant, where each rank ended, by its name.
    """

    segment_id: str
    instants_ms: Annotated[list[int], Meta(min_length=1, max_length=MOST_INSTANTS)]
    cuts: list[dict[str, Cut]] = []
    turns: dict[str, dict[str, list[int]]] = {}
    from_ms: int = 0


class Course(Struct, frozen=True):
    """The size at the first instant; for each, how many entered and left after the one before and up to it.

    Where all that is known is where a rank ended at each: how many are in who were not at the one before, and the other way round.
    """

    version: int
    first: int
    entered: list[int]
    exited: list[int]
    history_from_ms: int


class Look(Struct, array_like=True, frozen=True):
    """A ranking, by its name, at an instant: a few points of all, or many in some intervals."""

    at_ms: int
    ranking: str
    intervals: list[Interval]


class Standings(Struct, tag_field="ask", tag="standings", frozen=True):
    """How do customers stand in the rankings of a segment, a live one (its id) or one that is previewed? Answered by a `Standing` for each look.

    `room`: about how many bytes a partition's answer may be long.
    """

    of: str | Preview
    looks: Annotated[list[Look], Meta(min_length=1, max_length=MOST_LOOKS)]
    room: Annotated[int, Meta(ge=0, le=MOST_ROOM)] = MOST_ROOM


class Standing(Struct, frozen=True):
    """How many customers have a place, and where some of them stand, the last one among them."""

    total: int
    points: list[Point]


class Portray(Struct, tag_field="ask", tag="portray", frozen=True):
    """Who is a customer? Answered by a `Portrait` with up to so many events, null for a customer who is not known."""

    customer_id: str
    events: Annotated[int, Meta(ge=0, le=MOST_EVENTS)]


class Figure(Struct, frozen=True):
    """A metric in its canonical form, and its value."""

    metric: Raw
    value: Raw


class Portrait(Struct, frozen=True, kw_only=True):
    """A customer: attributes, figures, the newest events as documents, and how many there are of each type."""

    customer_id: str
    profile: Raw
    metrics: list[Figure]
    events: list[Raw]
    event_counts: dict[str, int]
    first_event_ms: int | None
    last_event_ms: int | None


class WithCard(Struct, tag_field="ask", tag="with-card", frozen=True):
    """Which customers have this card number? Answered by a list of their ids."""

    card_number: str


Question = Population | Preview | Explain | WasMember | Timeline | Standings | Climb | Rivals | Race | Portray | WithCard
"""Every question that there is. A new one is a struct with a tag, in this union."""


class Asked(Struct, frozen=True):
    """One question to one worker.

    `partitions` maps each partition to the epoch of its marker; `definitions` is the catalog offset that must have been read.
    """

    tenant: str
    partitions: dict[int, int]
    question: Question
    definitions: int = 0


class Part(Struct, frozen=True):
    """What one partition answers, as of an instant."""

    as_of_ms: int
    answer: Raw


class Answered(Struct, frozen=True):
    """The parts of the partitions that the worker owns; `moved` are those that it does not own in the epoch that was named."""

    parts: dict[int, Part]
    moved: list[int] = []


class Declined(Struct, frozen=True):
    """Why a worker does not answer."""

    detail: str


encode: Final = msgspec.json.Encoder(decimal_format="number").encode
_asked: Final = msgspec.json.Decoder(Asked, float_hook=Decimal)
_answered: Final = msgspec.json.Decoder(Answered)
_declined: Final = msgspec.json.Decoder(Declined)
_BROKEN: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def decode_asked(document: bytes) -> Asked:
    """Read a question; raise `Refusal` on anything else."""
    try:
        return _asked.decode(document)
    except _BROKEN as error:
        raise Refusal(str(error)[:300], reason="malformed") from None


def decode_answered(document: bytes) -> Answered:
    """Read a worker's answer; raise `Refusal` on anything else."""
    try:
        return _answered.decode(document)
    except _BROKEN as error:
        raise Refusal(f"no answer of a worker: {str(error)[:200]}", reason="malformed") from None


def declined(document: bytes) -> str:
    """Return why a worker did not answer, as far as it said."""
    try:
        return _declined.decode(document).detail
    except _BROKEN:
        return "the worker did not answer"


def encoded(answer: Any) -> Raw:
    """Return an answer as it lies in its part."""
    return Raw(encode(answer))
