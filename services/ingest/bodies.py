"""Bodies: read within a limit, inflated within it, and cut into one document for each event without parsing any twice."""

from __future__ import annotations

import zlib
from collections.abc import AsyncIterator, Iterable
from http import HTTPStatus
from typing import Any, Final, Self

import msgspec
from msgspec import Raw

from schemas.errors import RollcallError
from schemas.faults import malformed
from services.kit.limits import Budget

JSON_TYPES: Final = ("application/json",)
LINES_TYPES: Final = ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines", "application/jsonlines")
_MAX_GZIP_MEMBERS: Final = 1_000
_GZIP_WINDOW: Final = 31  # zlib: 15 bits of window, and 16 for a gzip header

Document = tuple[int, bytes | memoryview]
"""Index in the batch (of a line, the line's number from 0), and the bytes of one event."""


class Refused(RollcallError):
    """A request that is answered as a whole with an error."""

    def __init__(self, status: int, detail: str, headers: dict[str, str] | None = None, *, pointer: str = "") -> None:
        super().__init__(detail)
        self.status = HTTPStatus(status)
        self.detail = detail
        self.headers = headers or {}
        self.pointer = pointer


def has_lines(content_type: str) -> bool:
    """Whether a media type is one event to a line; raises `Refused` for one that is not taken."""
    media_type, _, parameters = content_type.partition(";")
    media_type = media_type.strip().lower()
    charset = parameters.lower().replace(" ", "").replace('"', "").partition("charset=")[2].partition(";")[0]
    if charset in ("", "utf-8", "utf8"):
        if media_type in JSON_TYPES:
            return False
        if media_type in LINES_TYPES:
            return True
    accepted = ", ".join((*JSON_TYPES, *LINES_TYPES))
    raise Refused(415, f"the media type is one of {accepted}, in UTF-8; not {content_type[:80] or 'absent'}", {"Accept": accepted})


def is_gzip(content_encoding: str) -> bool:
    """Whether a body is compressed; raises `Refused` for an encoding that is not taken."""
    encoding = content_encoding.strip().lower()
    if encoding in ("", "identity"):
        return False
    if encoding in ("gzip", "x-gzip"):
        return True
    raise Refused(415, f"the content encoding is gzip or none, not {content_encoding[:80]}", {"Accept-Encoding": "gzip, identity"})


class Inflater:
    """Inflates gzip piece by piece and stops at a limit: a bomb costs the limit, never what it would become."""

    def __init__(self, limit_bytes: int) -> None:
        self._left = limit_bytes
        self._stream = zlib.decompressobj(_GZIP_WINDOW)
        self._members = 1
        self._begun = False

    def feed(self, piece: bytes) -> bytes:
        """Return what the next piece inflates to; raises `Refused` (413) beyond the limit, (400) when it is not gzip."""
        out = []
        while piece:
            if self._stream.eof:
                self._members += 1
                if self._members > _MAX_GZIP_MEMBERS:
                    raise Refused(400, f"the gzip body has more than {_MAX_GZIP_MEMBERS} members")
                self._stream = zlib.decompressobj(_GZIP_WINDOW)
            self._begun = True
            try:
                inflated = self._stream.decompress(piece, self._left + 1)
            except zlib.error as error:
                raise Refused(400, f"the body is not gzip: {error}") from None
            self._left -= len(inflated)
            if self._left < 0:
                raise Refused(413, "the body is larger than the limit once inflated")
            out.append(inflated)
            piece = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
        return b"".join(out)

    def finish(self) -> None:
        """Check that the last member was whole."""
        if self._begun and not self._stream.eof:
            raise Refused(400, "the gzip body ends in the middle")


class Body:
    """One body as it is read: bounded by its limit and by the memory that all bodies share. Use as a context manager.

    `tenant` must be known before it is read.
    """

    def __init__(self, limit_bytes: int, budget: Budget) -> None:
        self._limit = limit_bytes
        self._budget = budget
        self._held = 0
        self.tenant = ""

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(self, *_: object) -> None:
        """Give back the memory."""
        self._budget.give_back(self._held, self.tenant)

    async def read(self, pieces: AsyncIterator[bytes], *, gzip: bool) -> bytes:
        """Return the whole body, inflated; raises `Refused` as soon as it is too large, `Full` when too many are read."""
        inflater = Inflater(self._limit) if gzip else None
        parts: list[bytes] = []
        wire = 0
        async for piece in pieces:
            wire += len(piece)
            if wire > self._limit:
                raise Refused(413, f"a body has at most {self._limit} bytes")
            part = inflater.feed(piece) if inflater else piece
            self._budget.take(len(part), self.tenant)
            self._held += len(part)
            parts.append(part)
        if inflater:
            inflater.finish()
        return parts[0] if len(parts) == 1 else b"".join(parts)


_ABSENT: Final = Raw(b"")


class Cutter:
    """Cuts bodies into documents, at most `max_events` of them."""

    def __init__(self, max_events: int) -> None:
        self._max_events = max_events
        # An array is read as a struct of so many raw places, not as a list: the decoder then stops at the first one too many,
        # where a list of five million zeros would first be built.
        places = [(f"e{index}", Raw, _ABSENT) for index in range(max_events)]
        shape: Any = msgspec.defstruct("Places", places, array_like=True, forbid_unknown_fields=True)
        self._array = msgspec.json.Decoder(shape)

    def lines(self, body: bytes) -> list[Document]:
        """Cut NDJSON at its line ends; blank lines are no events but count for the index."""
        if body.count(b"\n") > self._max_events + 1:
            raise self._too_many()
        documents = [(index, line) for index, line in enumerate(body.split(b"\n")) if line and not line.isspace()]
        if len(documents) > self._max_events:
            raise self._too_many()
        return documents  # type: ignore[return-value]

    def array(self, body: bytes) -> list[Document]:
        """Cut a JSON array into its elements, undecoded; raises `Refused` (400) when the array itself is broken."""
        try:
            places: Iterable[Raw] = msgspec.structs.astuple(self._array.decode(body))
        except msgspec.ValidationError:
            raise self._too_many() from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Refused(400, malformed(body, error).detail) from None
        return [(index, memoryview(place)) for index, place in enumerate(places) if place is not _ABSENT]

    def _too_many(self) -> Refused:
        return Refused(413, f"a batch has at most {self._max_events} events")


def is_array(body: bytes) -> bool:
    """Whether a JSON body is an array."""
    return body.lstrip()[:1] == b"["
