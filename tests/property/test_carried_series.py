"""A series that is carried to another plan answers as one that was told the same events under that plan, from that instant on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from schemas.instants import DAY_MS, Duration, parse_duration
from services.segmenter.engine.calendar import calendar_of
from services.segmenter.engine.readers import AverageReader, CountReader, Reader, State, SumReader
from services.segmenter.engine.series import AverageSeries, MarkSeries, Series, SumSeries, ValueSeries
from services.segmenter.engine.tallies import ValuesReader
from services.segmenter.engine.windows import Expiries, MonthsWindow

_NOW = 1_740_000_000_000
_SPANS = [parse_duration(text) for text in ("P1M", "P2M", "P3M", "P1Y")]
_KINDS: list[tuple[Callable[[list[Expiries]], Series], Callable[[MonthsWindow], Reader], Callable[[int], Any]]] = [
    (MarkSeries, lambda window: CountReader(0, window), lambda _: True),
    (SumSeries, lambda window: SumReader(0, window), lambda number: number - 3),
    (AverageSeries, lambda window: AverageReader(0, window), lambda number: (number, 1 + number % 2)),
    (ValueSeries, lambda window: ValuesReader(0, window, "distinct", 0), lambda number: (number % 4, number % 3)),
]
_spans = st.lists(st.sampled_from(_SPANS), min_size=1, max_size=3, unique=True)


@given(
    st.sampled_from(_KINDS), _spans, _spans, st.lists(st.integers(0, 500), max_size=12), st.integers(0, 3), st.sampled_from(["UTC", "Europe/Paris"])
)
def test_a_carried_series_answers_as_one_that_was_told(
    kind: tuple[Any, Any, Any], before: list[Duration], after: list[Duration], ages: list[int], late: int, zone: str
) -> None:
    """At the instant of the change, at every end of a window after it and a millisecond before, and with an event that comes late."""
    make, reader_of, contribution = kind
    calendar = calendar_of(zone)
    former, expiries = make([Expiries(calendar, span) for span in before]), [Expiries(calendar, span) for span in after]
    told = make(expiries)
    for number, age in enumerate(ages):
        former.add(_NOW - age * DAY_MS, contribution(number), f"e{number}")
        told.add(_NOW - age * DAY_MS, contribution(number), f"e{number}")
    carried = former.under(expiries, _NOW)
    for number in range(late):
        for series in (carried, told):
            series.add(_NOW - number * 45 * DAY_MS, contribution(number), f"l{number}")
    ends = {found.of(at_ms) for found in expiries for at_ms in told.times}
    instants = sorted({_NOW, *(end_ms + step for end_ms in ends for step in (-1, 0) if end_ms + step > _NOW)})
    for place in range(len(after)):
        reader = reader_of(MonthsWindow(expiries[place], place))
        for at_ms in instants:
            assert reader.value(State([carried]), at_ms) == reader.value(State([told]), at_ms)
            value = reader.value(State([told]), at_ms)
            low = value if isinstance(value, int) else None
            assert reader.until(State([carried]), at_ms, value, low, None) == reader.until(State([told]), at_ms, value, low, None)
