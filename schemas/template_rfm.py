"""RFM: recency, frequency and amount in quintiles of a tenant's customers, 5 the best; and the cells that marketers name.

Each axis is a rank: the best fifth are the first 20 percent, the second best the first 40 without the first 20. Recency is
days since the last checkout, frequency the number of checkouts, amount the turnover, all of the last year. Whoever bought
nothing in that year has no recency, and so is in no quintile of it and in no cell; in the other two such customers come last.
"""

from __future__ import annotations

from typing import Final, Literal

from schemas.template_parts import YEAR, Json, Template, all_of, metric, none_of, rank

Axis = Literal["recency", "frequency", "amount"]
_AXES: Final[dict[Axis, tuple[Json, Literal["asc", "desc"], str, str]]] = {
    "recency": (metric("days_since_last", window=YEAR), "asc", "bought most recently", "récence"),
    "frequency": (metric("count", window=YEAR), "desc", "bought most often", "fréquence"),
    "amount": (metric("sum", field="total", window=YEAR), "desc", "spent most", "montant"),
}
_FIFTHS: Final = {5: "The best fifth", 4: "The second best fifth", 3: "The middle fifth", 2: "The second lowest fifth", 1: "The lowest fifth"}

CELLS: Final = {
    "champions": ("Champions", "champions", (5, 5), (4, 5)),
    "loyal": ("Loyal", "clients fidèles", (3, 4), (4, 5)),
    "potential-loyalists": ("Potential loyalists", "fidèles en devenir", (4, 5), (2, 3)),
    "recent": ("Recent customers", "clients récents", (5, 5), (1, 1)),
    "promising": ("Promising", "clients prometteurs", (4, 4), (1, 1)),
    "need-attention": ("Need attention", "à relancer", (3, 3), (3, 3)),
    "about-to-sleep": ("About to sleep", "sur le point de s'endormir", (3, 3), (1, 2)),
    "fading": ("Fading", "en perte de vitesse", (1, 2), (3, 4)),
    "cannot-lose": ("Cannot lose them", "à ne pas perdre", (1, 2), (5, 5)),
    "hibernating": ("Hibernating", "en sommeil", (1, 2), (1, 2)),
}
"""The named cells: name, French name, and the quintiles of recency and of frequency, lowest and highest.

Together they are all twenty-five cells, each once.
"""


def quintiles(axis: Axis, lowest: int, highest: int) -> Json:
    """Return the rule of those whose quintile on an axis lies between two, both included."""
    of, order, *_ = _AXES[axis]
    reached = rank(of, order, 20 * (6 - lowest))
    return reached if highest == 5 else all_of(reached, none_of(rank(of, order, 20 * (5 - highest))))


def _span(ends: tuple[int, int]) -> str:
    lowest, highest = ends
    return str(lowest) if lowest == highest else f"{lowest} to {highest}"


RFM: Final[tuple[Template, ...]] = (
    *(
        Template(
            f"rfm-{key}", "rfm", f"RFM: {name}", f"RFM : {name_fr}",
            f"Recency {_span(recency)} and frequency {_span(frequency)} (quintiles of the last year, 5 the best).",
            all_of(quintiles("recency", *recency), quintiles("frequency", *frequency)),
        )
        for key, (name, name_fr, recency, frequency) in CELLS.items()
    ),
    *(
        Template(
            f"rfm-{axis}-{quintile}", "rfm", f"RFM: {axis} {quintile}", f"RFM : {name_fr} {quintile}",
            f"{fifth} of customers by {axis}; 5 are those who {best} in the last year.",
            quintiles(axis, quintile, quintile),
        )
        for axis, (_, _, best, name_fr) in _AXES.items()
        for quintile, fifth in _FIFTHS.items()
    ),
)  # fmt: skip
"""The named cells, and the fifteen quintiles from which every other cell can be built with `all`."""
