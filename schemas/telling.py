"""Tells conditions of rules in plain words, in English or French: "at least 4 checkouts in the last 3 months". Pure: a rule in, text out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from schemas import wording
from schemas.instants import DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS, Duration
from schemas.rules import (
    MONTHS,
    Between,
    CalendarWindow,
    Condition,
    Last,
    Matcher,
    Metric,
    MetricCondition,
    Near,
    ProfileCondition,
    Rank,
    SegmentRef,
    Sequence,
    Where,
    Window,
    value_json,
)
from schemas.vocabulary import Kind
from schemas.wording import Both, Language

_ONE, _SEVERAL, _ARTICLE = range(3)
_ELIDED: Final = re.compile(r"\bde (?=[aeéiou]|heure\b)")
"""French says d'ouvertures, d'e-mails and d'heure."""


class Teller:
    """Tells in one language. `names` are those of segments by id, `currency` what amounts are in."""

    def __init__(self, language: Language, names: Mapping[str, str] | None = None, currency: str = "") -> None:
        self._place = wording.LANGUAGES.index(language)
        self._names = names or {}
        self._currency = currency

    def say(self, both: Both, **parts: Any) -> str:
        """Return a phrase with its parts."""
        said = both[self._place].format(**parts)
        return _ELIDED.sub("d'", said) if self._place else said

    def condition(self, condition: Condition) -> str:
        """Return what a condition asks."""
        if isinstance(condition, MetricCondition):
            return self._metric_condition(condition)
        if isinstance(condition, ProfileCondition):
            noun = self._noun(wording.ATTRIBUTES, condition.attribute)
            return f"{noun} {self._is(condition.op, condition.value, condition.kind)}"
        if isinstance(condition, Near):
            return self.say(wording.NEAR, km=_plain(condition.km), lat=_plain(condition.lat), lon=_plain(condition.lon))
        if isinstance(condition, SegmentRef):
            return self.say(wording.MEMBER, segment=self._names.get(condition.segment, condition.segment))
        if isinstance(condition, Sequence):
            return self._sequence(condition)
        return self._rank(condition)

    def duration(self, span: Duration) -> str:
        """Return a duration, like "3 months"."""
        parts = [f"{number} {self.say(wording.UNITS[unit][number > 1])}" for unit, number in _units(span)]
        return self._listed(parts, wording.AND)

    def value(self, value: Any, kind: Kind = Kind.TEXT) -> str:
        """Return a value as people write it; amounts with their currency."""
        if isinstance(value, Duration):
            return self.duration(value)
        if isinstance(value, tuple | list):
            return self._listed([self.value(member, kind) for member in value], wording.OR)
        if isinstance(value, bool):
            return self.say(wording.YES if value else wording.NO)
        shown = str(value_json(value, kind))
        return f"{shown} {self._currency}".rstrip() if kind is Kind.MONEY else shown

    def _metric_condition(self, condition: MetricCondition) -> str:
        metric, op = condition.metric, condition.op
        if metric.measure != "count":
            return f"{self.metric(metric)} {self._is(op, condition.value, metric.kind)}"
        if op == "exists" and not condition.value:
            return f"{self.metric(metric)} {self._is(op, condition.value, metric.kind)}"
        low, high = condition.value if op == "between" and isinstance(condition.value, tuple) else (None, None)
        one = condition.value == 1 and op in ("eq", "gte", "lte", "gt", "lt")
        events = self._events(metric.event, metric.name, metric.where, form=_ONE if one else _SEVERAL)
        counted = self.say(wording.COUNTS[op], value=self.value(condition.value), low=low, high=high, events=events)
        return counted + self._window(metric.window)

    def metric(self, metric: Metric) -> str:
        """Return what a metric measures."""
        if metric.numerator is not None and metric.denominator is not None:
            parts = {"numerator": self.metric(metric.numerator), "denominator": self.metric(metric.denominator)}
            least = metric.min_denominator
            kind = metric.denominator.kind
            return self.say(wording.MEASURES["ratio"], **parts) + ("" if least is None else self.say(wording.LEAST, value=self.value(least, kind)))
        if metric.measure in wording.DAYS:
            event = self._events(metric.event, metric.name, metric.where, form=_ONE)
            return self.say(wording.DAYS[metric.measure][metric.event in wording.FEMININE], event=event) + self._window(metric.window)
        events = self._events(metric.event, metric.name, metric.where)
        field = "" if metric.field is None else self._noun(wording.FIELDS, metric.field)
        return self.say(wording.MEASURES[metric.measure], field=field, events=events) + self._window(metric.window)

    def _sequence(self, condition: Sequence) -> str:
        words = wording.FOLLOWED if condition.happens else wording.NOT_FOLLOWED
        first = self._one(condition.first) + self._window(condition.window)
        return self.say(words, first=first, then=self._one(condition.then), within=self.duration(condition.within))

    def _one(self, matcher: Matcher) -> str:
        return self._events(matcher.event, matcher.name, matcher.where, form=_ARTICLE)

    def _rank(self, condition: Rank) -> str:
        share = str(condition.top) if condition.percent is None else f"{condition.percent.normalize():f} %"
        return self.say(wording.RANKED[condition.order], share=share, metric=self.metric(condition.metric))

    def _events(self, event: str, name: str | None, where: tuple[Where, ...], *, form: int = _SEVERAL) -> str:
        noun = self.say(wording.EVENTS[event][form], name=name)
        filters = [f"{self._noun(wording.FIELDS, one.field)} {self._is(one.op, one.value, one.kind)}" for one in where]
        return noun + (self.say(wording.WHERE, filters=self._listed(filters, wording.AND)) if filters else "")

    def _is(self, op: str, value: Any, kind: Kind) -> str:
        if op == "exists":
            return self.say(wording.IS["exists" if value else "exists not"])
        if op == "between":
            return self.say(wording.IS[op], low=self.value(value[0], kind), high=self.value(value[1], kind))
        return self.say(wording.IS[op], value=self.value(value, kind))

    def _window(self, window: Window | None) -> str:
        if window is None:
            return ""
        if isinstance(window, Last):
            return self._last(window.span)
        if isinstance(window, CalendarWindow):
            return self._calendar(window.word)
        return self._fixed(window)

    def _last(self, span: Duration) -> str:
        units = _units(span)
        if len(units) > 1:
            return self.say(wording.LAST_MIXED, span=self.duration(span))
        [(unit, number)] = units
        return self.say(wording.LAST[unit][number > 1], n=number)

    def _calendar(self, word: str) -> str:
        if word in wording.CALENDAR:
            return self.say(wording.CALENDAR[word])
        number = MONTHS.index(word) if word in MONTHS else int(word[5:]) - 1
        month = self.say(wording.MONTHS[number])
        return self.say(wording.IN_MONTH, month=month if word in MONTHS else f"{month} {word[:4]}")

    def _fixed(self, window: Between) -> str:
        parts = {"start": window.from_text, "end": window.to_text}
        if window.to_text is None:
            return self.say(wording.SINCE, **parts)
        return self.say(wording.BEFORE if window.from_text is None else wording.BETWEEN, **parts)

    def _noun(self, nouns: Mapping[str, Both], name: str) -> str:
        return self.say(nouns[name]) if name in nouns else name

    def _listed(self, parts: list[str], word: Both) -> str:
        return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + self.say(word) + parts[-1]


def _units(span: Duration) -> list[tuple[str, int]]:
    """Return a duration as numbers of units, the largest first."""
    years, months = divmod(span.months, 12)
    days, rest_ms = divmod(span.exact_ms, DAY_MS)
    hours, rest_ms = divmod(rest_ms, HOUR_MS)
    minutes, rest_ms = divmod(rest_ms, MINUTE_MS)
    found = {"year": years, "month": months, "day": days, "hour": hours, "minute": minutes, "second": rest_ms // SECOND_MS}
    return [(unit, number) for unit, number in found.items() if number]


def _plain(number: float) -> str:
    return f"{Decimal(repr(number)).normalize():f}"
