"""`python -m services.tools.dead_letters list | show | replay`: the records that could not be applied, and their way back."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import KafkaError

from schemas.errors import Refusal, RollcallError
from schemas.events import MAX_EVENT_BYTES
from schemas.instants import iso
from services.kit.clock import now_ms
from services.kit.follower import Follower
from services.kit.kafka import ensure_topics, reading, when_reachable
from services.kit.settings import CommonSettings, load
from services.tools.dead_letters.letters import DeadLetters, Failed, Letter, Place, Replay

_REACHABLE_S: Final = 30.0
_PROGRESS_EVERY: Final = 1_000


def main() -> None:
    """Run a command; ends with 1 when it could not do all that it was asked."""
    arguments = _parser().parse_args()
    settings = load(CommonSettings, process="dead-letters")
    logging.disable(logging.CRITICAL)  # what fails for good is said below
    try:
        sys.exit(asyncio.run(_run(arguments, settings)))
    except (RollcallError, KafkaError, OSError) as error:
        print(f"dead-letters: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


async def _run(arguments: argparse.Namespace, settings: CommonSettings) -> int:
    # What can be seen to be wrong is said without asking Kafka.
    places = [Place.read(text) for text in getattr(arguments, "places", [])]
    if arguments.what == "replay" and bool(places) == bool(arguments.all or arguments.reason or arguments.topic):
        raise Failed("name the places of letters, or which ones with --reason or --topic, or --all")
    if getattr(arguments, "repaired", None) is not None and len(places) != 1:
        raise Failed("repaired bytes are those of one letter: name its place")
    if (beyond := next((place for place in places if place.partition >= settings.partitions), None)) is not None:
        raise Failed(f"there is no partition {beyond.partition}; there are {settings.partitions}, from 0 on")
    repaired = None if getattr(arguments, "repaired", None) is None else _read(arguments.repaired)
    async with _letters(settings) as letters:
        if arguments.what == "list":
            return await _list(arguments, settings, letters)
        if arguments.what == "show":
            return await _show(arguments, letters, places[0])
        return await _replay(arguments, settings, letters, places, repaired)


async def _list(arguments: argparse.Namespace, settings: CommonSettings, letters: DeadLetters) -> int:
    """Show a line for each letter up to the limit, and how many there are for each reason."""
    counts: Counter[str] = Counter()
    async for letter in letters.all(_wanted(arguments, settings)):
        counts[letter.reason] += 1
        if counts.total() <= arguments.limit:
            origin = f"{letter.topic} {letter.partition}/{letter.offset}"
            print(f"{letter.place}\t{iso(letter.at_ms)}\t{origin}\t{letter.reason}\t{len(letter.value)} bytes\t{letter.detail}")
    if (more := counts.total() - arguments.limit) > 0:
        print(f"and {more} more; --limit shows them")
    print(f"{counts.total()} dead letters" + "".join(f"; {count} {reason}" for reason, count in counts.most_common()))
    return 0


async def _show(arguments: argparse.Namespace, letters: DeadLetters, place: Place) -> int:
    """Show one letter, or with --bytes its bytes alone, as they came."""
    letter = await letters.one(place)
    if not arguments.bytes:
        told = {
            "at": iso(letter.at_ms),
            "topic": letter.topic,
            "partition": letter.partition,
            "offset": letter.offset,
            "reason": letter.reason,
            "detail": letter.detail,
            "key": "none" if letter.key is None else letter.key.decode(errors="backslashreplace"),
        }
        for name, text in told.items():
            print(f"{name + ':':11}{text}")
        print(f"{len(letter.value)} bytes:")
    sys.stdout.flush()
    sys.stdout.buffer.write(letter.value)
    if not arguments.bytes:
        print()
    return 0


async def _replay(arguments: argparse.Namespace, settings: CommonSettings, letters: DeadLetters, places: list[Place], repaired: bytes | None) -> int:
    """Send letters again, one by one; what would come back at once is left where it is, with the reason."""
    sent, left = 0, 0
    async with _sending(settings) as replay:
        async for letter in _chosen(letters, places, _wanted(arguments, settings)):
            try:
                where = await replay.send(letter, repaired)
            except Refusal as refusal:
                left += 1
                print(f"{letter.place} is left: {refusal}; `show {letter.place} --bytes` gives its bytes, --with FILE sends others", file=sys.stderr)
                continue
            sent += 1
            print(f"{letter.place} is now {where}")
            if (sent + left) % _PROGRESS_EVERY == 0:
                print(f"{sent} sent again, {left} left so far", file=sys.stderr)
    print(f"{sent} sent again, {left} left")
    return 1 if left else 0


async def _chosen(letters: DeadLetters, places: list[Place], wanted: Callable[[Letter], bool]) -> AsyncIterator[Letter]:
    for place in places:
        yield await letters.one(place)
    if not places:
        async for letter in letters.all(wanted):
            yield letter


def _wanted(arguments: argparse.Namespace, settings: CommonSettings) -> Callable[[Letter], bool]:
    topic = None if arguments.topic is None else settings.topic_prefix + arguments.topic
    return lambda letter: arguments.reason in (None, letter.reason) and topic in (None, letter.topic)


def _read(path: str) -> bytes:
    # An editor ends a file with a line end that the record need not have; JSON does not mind.
    with sys.stdin.buffer if path == "-" else Path(path).open("rb") as file:
        return file.read(MAX_EVENT_BYTES + 1)


@asynccontextmanager
async def _letters(settings: CommonSettings) -> AsyncIterator[DeadLetters]:
    await when_reachable(lambda: ensure_topics(settings), what="topics", timeout_s=_REACHABLE_S)
    places = [TopicPartition(settings.topics.dead_letters, number) for number in range(settings.partitions)]
    async with reading(settings, places) as consumer:
        yield DeadLetters(consumer, places)


@asynccontextmanager
async def _sending(settings: CommonSettings) -> AsyncIterator[Replay]:
    follower = Follower(settings)
    producer = AIOKafkaProducer(**settings.kafka_options(), acks="all", enable_idempotence=True)
    try:
        await follower.start()
        await producer.start()
        yield Replay(settings, follower.catalog, producer, now_ms)
    finally:
        await asyncio.gather(producer.stop(), follower.stop())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m services.tools.dead_letters", description=__doc__)
    what = parser.add_subparsers(dest="what", required=True)
    listing = what.add_parser("list", help="a line for each letter, and how many there are for each reason")
    listing.add_argument("--limit", type=int, default=100, help="how many lines at most")
    show = what.add_parser("show", help="one letter: where it stood, why it is here, its bytes")
    show.add_argument("places", metavar="PLACE", nargs=1, help="as `list` shows it, like 3/1047")
    show.add_argument("--bytes", action="store_true", help="the bytes alone, to be repaired in a file")
    replay = what.add_parser("replay", help="send letters again to where they belong; an event counts once, however often it is sent")
    replay.add_argument("places", metavar="PLACE", nargs="*", help="as `list` shows it")
    replay.add_argument("--with", dest="repaired", metavar="FILE", help="send these bytes instead; - for standard input")
    replay.add_argument("--all", action="store_true", help="every letter")
    for one in (listing, replay):
        one.add_argument("--reason", help="only those set aside for this reason, like unknown_tenant")
        one.add_argument("--topic", help="only those that stood on this topic, like checkouts")
    return parser


if __name__ == "__main__":
    main()
