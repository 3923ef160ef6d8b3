"""`python -m tests.bench.chart FILE`: draw the events per second of all contenders from results that are kept, as `docs/performance.svg`.

The scale is logarithmic: between the slowest and what the machine can do at all lie more than two orders of magnitude. A bar ends at
the median, the thin line over it spans all runs. Colours follow what the reader's screen is set to.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterator
from html import escape
from pathlib import Path
from statistics import median
from typing import Any, Final

from tests.bench.rivals.beside import RIVALS, STOCK

_TARGET: Final = Path("docs/performance.svg")
_MARKS: Final = {"at least 40,000": 40_000, "strive for 80,000": 80_000}
"""What one segmenter with twenty segments is held to."""
_WIDTH, _LEFT, _RIGHT, _TOP, _ROW, _BAR = 860, 200, 110, 74, 30, 18
_STYLE: Final = """
text { font: 13px system-ui, sans-serif; fill: #1f2328 } .soft { fill: #59636e; font-size: 12px } .title { font-weight: 600; font-size: 15px }
.grid { stroke: #d1d9e0 } .mark { stroke: #bc4c00; stroke-dasharray: 4 3 } .range { stroke: #1f2328; stroke-width: 1.5 }
.ours { fill: #0969da } .rival { fill: #818b98 } .bound { fill: #c8d1da } .page { fill: #ffffff }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc } .soft { fill: #9198a1 } .grid { stroke: #3d444d } .mark { stroke: #f0883e } .range { stroke: #f0f6fc }
.ours { fill: #4493f8 } .rival { fill: #768390 } .bound { fill: #444c56 } .page { fill: #0d1117 } }
"""


def svg(results: dict[str, Any]) -> str:
    """Return the chart of the part `rivals`, with every contender, those that do not run here too."""
    found, machine = results["parts"]["rivals"], results["machine"]
    named = {"rollcall": "Rollcall", "stock": STOCK.name, **{key: rival.name for key, rival in RIVALS.items()}}
    rates = {key: [run["rate"] for run in found["runs"].get(key, [])] for key in named}
    order = sorted(named, key=lambda key: (key != "rollcall", named[key].startswith("bound"), -median(rates[key] or [0])))
    known = [rate for runs in rates.values() for rate in runs] + list(_MARKS.values())
    low, high = math.floor(math.log10(min(known))), math.ceil(math.log10(max(known)))
    height = _TOP + _ROW * len(order) + 34

    def across(rate: float) -> float:
        return _LEFT + (math.log10(rate) - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT)

    def body() -> Iterator[str]:
        yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" role="img">'
        yield f"<title>Events per second of Rollcall and others, {escape(results['at'])}</title><style>{_STYLE}</style>"
        yield f'<rect class="page" width="{_WIDTH}" height="{height}"/><text class="title" x="16" y="26">Events per second, one process</text>'
        what = f"{machine['cores']} cores, {machine['cpu']}, {results['at'][:10]}; logarithmic; only Rollcall has windows that end by themselves, and all its output durable"
        yield f'<text class="soft" x="16" y="46">{escape(what)}</text>'
        bottom = height - 28
        for power in range(low, high + 1):
            x = across(10**power)
            yield f'<line class="grid" x1="{x:.1f}" y1="{_TOP - 6}" x2="{x:.1f}" y2="{bottom}"/>'
            yield f'<text class="soft" x="{x:.1f}" y="{height - 10}" text-anchor="middle">{10**power:,}</text>'
        for place, key in enumerate(order):
            yield from row(key, _TOP + place * _ROW)
        for label, rate in _MARKS.items():
            x = across(rate)
            end = "end" if rate == min(_MARKS.values()) else "start"
            yield f'<line class="mark" x1="{x:.1f}" y1="{_TOP - 6}" x2="{x:.1f}" y2="{bottom}"/>'
            yield f'<text class="soft" x="{x:.1f}" y="{_TOP - 10}" text-anchor="{end}">{label}</text>'
        yield "</svg>"

    def row(key: str, y: float) -> Iterator[str]:
        middle = y + _BAR / 2
        yield f'<text x="{_LEFT - 10}" y="{middle + 4:.1f}" text-anchor="end">{escape(named[key])}</text>'
        if not (runs := rates[key]):
            yield f'<text class="soft" x="{_LEFT + 6}" y="{middle + 4:.1f}">does not run here</text>'
            return
        kind = "ours" if key == "rollcall" else "bound" if named[key].startswith("bound") else "rival"
        yield f'<rect class="{kind}" x="{_LEFT}" y="{y}" width="{across(median(runs)) - _LEFT:.1f}" height="{_BAR}" rx="2"/>'
        yield f'<line class="range" x1="{across(min(runs)):.1f}" y1="{middle}" x2="{across(max(runs)):.1f}" y2="{middle}"/>'
        yield f'<text x="{across(max(runs)) + 8:.1f}" y="{middle + 4:.1f}">{median(runs):,.0f}</text>'

    return "\n".join(body()) + "\n"


def main() -> None:
    """Parse the arguments and draw."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.chart", description="Draw the contenders' events per second.")
    parser.add_argument("results", type=Path, nargs="?", default=Path("bench/results/latest.json"), help="what `make bench` has kept")
    parser.add_argument("--to", type=Path, default=_TARGET, help=f"the file to write (default {_TARGET})")
    arguments = parser.parse_args()
    arguments.to.write_text(svg(json.loads(arguments.results.read_text())))


if __name__ == "__main__":
    main()
