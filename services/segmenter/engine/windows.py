"""Windows: which events of a series count at an instant, and when that changes by itself.

Events are sorted by instant. Of most windows those that count are neighbours, so a window is two places in the list; only
windows of months, whose ends are not in the order of their beginnings, ask the series for its expiries.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable

from schemas.instants import NEVER, Duration
from services.segmenter.engine.calendar import Calendar


class Expiries:
    """When events leave a window of months. Remembers the last answer: the next series of the same fact asks for it again."""

    __slots__ = ("_at_ms", "_calendar", "_end_ms", "span")

    def __init__(self, calendar: Calendar, span: Duration) -> None:
        self.span = span
        self._calendar = calendar
        self._at_ms = -1
        self._end_ms = -1

    def of(self, at_ms: int) -> int:
        """Return the instant at which an event leaves."""
        if at_ms != self._at_ms:
            self._end_ms = self._calendar.plus(at_ms, self.span)
            self._at_ms = at_ms
        return self._end_ms

    def of_each(self, times: list[int], at_ms: int) -> list[int]:
        """Return when each of some events leaves, in their order, for whoever asks at an instant or later.

        Of those that have left long before, their own instant does as well, and costs no calendar.
        """
        gone = bisect_right(times, at_ms - self.span.longest_ms)
        return times[:gone] + [self.of(event_ms) for event_ms in times[gone:]]


class Window:
    """For ever: everything that has happened counts, from the instant on that history goes back to. The others differ in what has left."""

    months = -1
    """Of a window of months: its place among the series' expiries."""
    since_ms = -1
    """Of a window that no time ends: from when on it counts, wherever it begins. -1 of those that move on."""
    lasting = True
    """Whether what counts goes on counting for ever."""

    def __init__(self, since_ms: int = 0) -> None:
        self.since_ms = since_ms

    def entered(self, times: list[int], at_ms: int) -> int:
        """Return how many events have entered at an instant."""
        if not times or times[-1] <= at_ms:
            return len(times)
        return bisect_right(times, at_ms)

    def left(self, times: list[int], at_ms: int) -> int:
        """Return how many events do not count any more, or lie too far back; the others are `times[left:entered]`. Not for months."""
        if not times or times[0] >= self.since_ms:
            return 0
        return bisect_left(times, self.since_ms) if self.since_ms <= at_ms else bisect_right(times, at_ms)

    def oldest(self, times: list[int], at_ms: int) -> int:
        """Return the first place that may count: where it is one of a window of months, whoever asks looks at its expiry as well."""
        return self.left(times, at_ms)

    def expiry(self, event_ms: int, at_ms: int) -> int:
        """Return when an event leaves, as of an instant; `NEVER` if it does not, its own instant if it lies too far back."""
        return NEVER if event_ms >= self.since_ms else event_ms

    def keeps(self, event_ms: int) -> bool:
        """Whether an event counts, or belongs to one that counts, however old it becomes."""
        return 0 <= self.since_ms <= event_ms

    def counts(self, event_ms: int, at_ms: int) -> bool:
        """Whether an event counts at an instant."""
        return event_ms <= at_ms < self.expiry(event_ms, at_ms)

    def reaches(self, at_ms: int) -> int:
        """Return an instant before which no event counts, at `at_ms` or later."""
        return self.since_ms if self.longest_ms() == NEVER else at_ms - self.longest_ms()

    def changes_ms(self, at_ms: int) -> int:
        """Return the next instant at which the window itself jumps, so that events leave or enter without ageing."""
        return NEVER

    def turns_ms(self, times: list[int], at_ms: int) -> int:
        """Return the next instant at which an event enters or the window jumps."""
        return min(next_entry(times, at_ms), self.changes_ms(at_ms))

    def longest_ms(self) -> int:
        """Return an upper bound of how long an event counts."""
        return NEVER


class SpanWindow(Window):
    """`last` with an exact duration: an event counts during `[e, e + span)`."""

    lasting = False

    def __init__(self, span_ms: int) -> None:
        self.span_ms = span_ms

    def left(self, times: list[int], at_ms: int) -> int:
        """Return how many events are as old as the span."""
        return bisect_right(times, at_ms - self.span_ms)

    def expiry(self, event_ms: int, at_ms: int) -> int:
        """Return the event's instant and the span."""
        return event_ms + self.span_ms

    def longest_ms(self) -> int:
        """Return the span."""
        return self.span_ms


class MonthsWindow(Window):
    """`last` with months: an event leaves the months later in local time."""

    lasting = False

    def __init__(self, expiries: Expiries, place: int) -> None:
        self.months = place
        self._expiries = expiries

    def expiry(self, event_ms: int, at_ms: int) -> int:
        """Return the event's instant and the months."""
        return self._expiries.of(event_ms)

    def oldest(self, times: list[int], at_ms: int) -> int:
        """Return the first place that the longest months could reach."""
        return bisect_right(times, at_ms - self.longest_ms())

    def longest_ms(self) -> int:
        """Return an upper bound of the months."""
        return self._expiries.span.longest_ms


Edges = Callable[[int], tuple[int, int, int]]
"""From an instant to the interval `[start, end)` that counts, and the next instant at which that is another one."""


class IntervalWindow(Window):
    """A fixed range, or a word of the calendar: what lies in an interval counts, and at some instants it is another interval."""

    lasting = False

    def __init__(self, edges: Edges) -> None:
        self._edges = edges
        self._since_ms = 0
        self._until_ms = 0
        self._start_ms = 0
        self._end_ms = 0

    def _look(self, at_ms: int) -> None:
        if not self._since_ms <= at_ms < self._until_ms:
            self._start_ms, self._end_ms, self._until_ms = self._edges(at_ms)
            self._since_ms = at_ms

    def entered(self, times: list[int], at_ms: int) -> int:
        """Return how many events have happened and lie before the interval's end."""
        self._look(at_ms)
        return bisect_right(times, at_ms) if at_ms < self._end_ms else bisect_left(times, self._end_ms)

    def left(self, times: list[int], at_ms: int) -> int:
        """Return how many events have happened and lie before the interval."""
        self._look(at_ms)
        return bisect_left(times, self._start_ms) if self._start_ms <= at_ms else bisect_right(times, at_ms)

    def expiry(self, event_ms: int, at_ms: int) -> int:
        """Return when the interval becomes another one, for an event inside; an event outside has left already."""
        self._look(at_ms)
        return self._until_ms if self._start_ms <= event_ms < self._end_ms else event_ms

    def reaches(self, at_ms: int) -> int:
        """Return the start of the interval: those that follow start later."""
        self._look(at_ms)
        return self._start_ms

    def changes_ms(self, at_ms: int) -> int:
        """Return when the interval becomes another one."""
        self._look(at_ms)
        return self._until_ms


class FixedWindow(IntervalWindow):
    """Between two instants, of which the first may lie before history goes back."""

    def __init__(self, start_ms: int, end_ms: int, since_ms: int) -> None:
        start_ms = max(start_ms, since_ms)
        edges = (start_ms, max(start_ms, end_ms), NEVER)
        super().__init__(lambda _: edges)
        self.since_ms = since_ms
        self._from_ms = start_ms

    def keeps(self, event_ms: int) -> bool:
        """Whether it does: from the start on, for what follows in a sequence may come after the end."""
        return event_ms >= self._from_ms


def next_entry(times: list[int], at_ms: int) -> int:
    """Return the instant of the first event still to come."""
    if not times or times[-1] <= at_ms:
        return NEVER
    return times[bisect_right(times, at_ms)]
