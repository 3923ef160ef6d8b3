"""A membership in one sentence, in English or French: whether, since when, why, and when it will change by itself."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from schemas.catalog import Segment
from schemas.errors import shown
from schemas.instants import from_ms
from schemas.questions import Explained, Seen
from schemas.rules import All, Any_, MetricCondition, Near, Not, Rank, Rule, conditions
from schemas.telling import Teller
from schemas.vocabulary import Kind
from schemas.wording import LANGUAGES, MONTHS, Both, Language
from services.api.errors import Refused

_IN: Final[Both] = ("{who} has been in {segment} since {since}, because {why}.", "{who} est dans {segment} depuis le {since}, car {why}.")
_OUT: Final[Both] = ("{who} is not in {segment}, because {why}.", "{who} n'est pas dans {segment}, car {why}.")
_LEAVES: Final[Both] = (" {who} will leave by itself on {until}.", " Si rien de nouveau n'arrive, {who} en sortira le {until}.")
_ENTERS: Final[Both] = (" {who} will enter by itself on {until}.", " Si rien de nouveau n'arrive, {who} y entrera le {until}.")
_ARCHIVED: Final[Both] = ("the segment is archived", "le segment est archivé")
_EXCLUDED: Final[Both] = ("the customer is on the exclude list", "le client figure sur la liste d'exclusion")
_INCLUDED: Final[Both] = ("the customer is on the include list", "le client figure sur la liste d'inclusion")
_TO_COME: Final[Both] = ("the segment begins only on {at}", "le segment ne commence que le {at}")
_OVER: Final[Both] = ("the segment ended on {at}", "le segment a pris fin le {at}")
_HIGHER: Final[Both] = ("the customer is in the higher level {segment}", "le client est au niveau supérieur {segment}")
_HELD: Final[Both] = ("an entry holds for {stay}, until {at}", "une entrée vaut pour {stay}, jusqu'au {at}")
_UNLISTED: Final[Both] = ("the customer is not on the include list", "le client ne figure pas sur la liste d'inclusion")
_HOLDS: Final[Both] = ("this holds: {texts}", "ceci est vrai : {texts}")
_HOLDS_NOT: Final[Both] = ("this does not hold: {texts}", "ceci n'est pas vrai : {texts}")
_AND: Final[Both] = (", and ", ", et ")
_NOW: Final[Both] = ("{text} ({value} now)", "{text} ({value} actuellement)")
_NOTHING: Final[Both] = ("{text} (nothing known)", "{text} (rien de connu)")
_AT: Final[Both] = ("{day} {month}{year} at {time}", "{day} {month}{year} à {time}")

_decoder: Final = msgspec.json.Decoder(float_hook=Decimal)
_PREFERENCE: Final = re.compile(r"\s*([a-z]{1,8})(?:-[a-z0-9]{1,8})*\s*(?:;\s*q=([01](?:\.\d{0,3})?))?\s*", re.IGNORECASE | re.ASCII)


def language_of(asked: str | None, accepted: str) -> Language:
    """Return the language asked for with `lang`, else the one that Accept-Language likes best, else English."""
    if asked is not None:
        if asked not in LANGUAGES:
            raise Refused(422, f"lang is one of {', '.join(LANGUAGES)}, not {shown(asked)}", pointer="/lang")
        return "fr" if asked == "fr" else "en"
    liked = {"en": 0.0, "fr": 0.0}
    for part in accepted[:1_000].split(","):
        found = _PREFERENCE.fullmatch(part)
        if found is not None and found.group(1).lower() in liked:
            liked[found.group(1).lower()] = max(liked[found.group(1).lower()], float(found.group(2) or 1))
    return "fr" if liked["fr"] > liked["en"] else "en"


class Speaker:
    """Says why a customer is in a segment or not; instants in the tenant's zone."""

    def __init__(self, teller: Teller, timezone: str, names: Mapping[str, str], now_ms: int) -> None:
        self._teller, self._say = teller, teller.say
        self._zone, self._names = ZoneInfo(timezone), names
        self._this_year = self._local(now_ms).year
        self._now_ms = now_ms

    def sentence(self, customer_id: str, segment: Segment, found: Explained | None) -> str:
        """Return the sentence; `found` is None for a segment that is archived."""
        name = segment.name
        if found is None:
            return self._say(_OUT, who=customer_id, segment=name, why=self._say(_ARCHIVED))
        why = self._why(segment, found)
        if found.member and found.since_ms is not None:
            said = self._say(_IN, who=customer_id, segment=name, since=self.instant(found.since_ms), why=why)
        else:
            said = self._say(_OUT, who=customer_id, segment=name, why=why)
        if found.until_ms is None:
            return said
        return said + self._say(_LEAVES if found.member else _ENTERS, who=customer_id, until=self.instant(found.until_ms))

    def instant(self, at_ms: int) -> str:
        """Return an instant in local time, with its year where that is not this one."""
        local = self._local(at_ms)
        year = "" if local.year == self._this_year else f" {local.year}"
        return self._say(_AT, day=local.day, month=self._say(MONTHS[local.month - 1]), year=year, time=f"{local:%H:%M}")

    def _local(self, at_ms: int) -> datetime:
        return from_ms(at_ms).astimezone(self._zone)

    def _why(self, segment: Segment, found: Explained) -> str:
        """Return the first reason by the formula of In, in the order in which one overrides the next."""
        if segment.starts_at_ms is not None and self._now_ms < segment.starts_at_ms:
            return self._say(_TO_COME, at=self.instant(segment.starts_at_ms))
        if segment.ends_at_ms is not None and self._now_ms >= segment.ends_at_ms:
            return self._say(_OVER, at=self.instant(segment.ends_at_ms))
        if found.excluded:
            return self._say(_EXCLUDED)
        if found.overridden_by is not None:
            return self._say(_HIGHER, segment=self._names.get(found.overridden_by, found.overridden_by))
        if found.included:
            return self._say(_INCLUDED)
        if found.member and not found.rule_holds and found.held_until_ms is not None and segment.min_stay is not None:
            return self._say(_HELD, stay=self._teller.duration(segment.min_stay), at=self.instant(found.held_until_ms))
        if segment.rule is None:
            return self._say(_UNLISTED)
        return self._conditions(segment.rule, {seen.path: seen for seen in found.conditions})

    def _conditions(self, rule: Rule, seen: Mapping[str, Seen]) -> str:
        told = {path: self._told(condition, seen[path]) for path, condition in conditions(rule)}
        paths = list(decisive(rule, {path: one.holds for path, one in seen.items()}))
        parts = []
        for words, holding in ((_HOLDS, True), (_HOLDS_NOT, False)):
            texts = [told[path] for path in paths if seen[path].holds is holding]
            if texts:
                parts.append(self._say(words, texts="; ".join(texts)))
        return self._say(_AND).join(parts)

    def _told(self, condition: Any, seen: Seen) -> str:
        text, value = self._teller.condition(condition), _decoder.decode(seen.value)
        if isinstance(value, bool):
            return text
        if value is None:
            return self._say(_NOTHING, text=text)
        if isinstance(condition, Near):
            return self._say(_NOW, text=text, value=f"{value} km")
        money = isinstance(condition, MetricCondition | Rank) and condition.metric.kind is Kind.MONEY
        return self._say(_NOW, text=text, value=self._teller.value(value, Kind.MONEY if money else Kind.TEXT))


def decisive(rule: Rule, holds: Mapping[str, bool], pointer: str = "") -> Iterator[str]:
    """Yield the places of the conditions that decide a rule: of what holds those that make it hold, else those that keep it from it."""
    if isinstance(rule, All | Any_):
        word = "all" if isinstance(rule, All) else "any"
        members = [(member, f"{pointer}/{word}/{place}") for place, member in enumerate(rule.rules)]
        answer = _holds(rule, holds, pointer)
        for member, place in members:
            if _holds(member, holds, place) is answer:
                yield from decisive(member, holds, place)
    elif isinstance(rule, Not):
        yield from decisive(rule.rule, holds, f"{pointer}/not")
    else:
        yield pointer


def _holds(rule: Rule, holds: Mapping[str, bool], pointer: str) -> bool:
    if isinstance(rule, All):
        return all(_holds(member, holds, f"{pointer}/all/{place}") for place, member in enumerate(rule.rules))
    if isinstance(rule, Any_):
        return any(_holds(member, holds, f"{pointer}/any/{place}") for place, member in enumerate(rule.rules))
    if isinstance(rule, Not):
        return not _holds(rule.rule, holds, f"{pointer}/not")
    return holds[pointer]
