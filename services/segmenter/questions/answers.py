"""Which class answers which question."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

from schemas.questions import Asked, Climb, Explain, Population, Portray, Preview, Race, Rivals, Standings, Tally, Timeline, WasMember, WithCard
from services.segmenter.questions.contending import Climbing, Contending, Racing
from services.segmenter.questions.explaining import Explaining
from services.segmenter.questions.inquiry import Inquiry, OfEveryone, People, Unknowable
from services.segmenter.questions.lining import Lining
from services.segmenter.questions.past import Recounting, Remembering
from services.segmenter.questions.person import Person
from services.segmenter.questions.portrait import Holders, Portraying
from services.segmenter.questions.previewing import Previewing


class Counting(OfEveryone):
    """Answers `Population`."""

    count = 0

    def look(self, person: Person) -> Iterator[int]:
        """Count."""
        self.count += 1
        yield 1

    def answer(self) -> Tally:
        """Return the count."""
        return Tally(self.count)


ANSWERED_BY: Final[dict[type[Any], Callable[[People, Asked, int], Inquiry]]] = {
    Population: Counting,
    Preview: Previewing,
    Explain: Explaining,
    WasMember: Remembering,
    Timeline: Recounting,
    Standings: Lining,
    Climb: Climbing,
    Rivals: Contending,
    Race: Racing,
    Portray: Portraying,
    WithCard: Holders,
}


def inquiry(people: People, asked: Asked, now_ms: int) -> Inquiry:
    """Return a question ready to be worked on, as of an instant; raise `Unknowable` for a tenant that is not known."""
    if asked.tenant not in people.plans.catalog.tenants:
        raise Unknowable(f"no tenant {asked.tenant!r} is known yet")
    return ANSWERED_BY[type(asked.question)](people, asked, now_ms)
