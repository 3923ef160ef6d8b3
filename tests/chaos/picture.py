"""The memory of each process over a run, with its faults, as an SVG: whether it is flat is easier to see than to read."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import Final

from tests.chaos.drill import Result

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 860, 360, 56, 130, 60, 32
_LABEL: Final = 15
"""Pixels that a label takes."""
_COLOURS: Final = ("#0969da", "#bc4c00", "#1a7f37", "#8250df", "#cf222e", "#9a6700", "#57606a")
_STYLE: Final = """
text { font: 12px system-ui, sans-serif; fill: #1f2328 } .title { font-weight: 600; font-size: 15px } .soft { fill: #59636e }
.page { fill: #ffffff } .grid { stroke: #d1d9e0 } .fault { stroke: #d1d9e0; stroke-dasharray: 2 3 } .line { fill: none; stroke-width: 1.5 }
@media (prefers-color-scheme: dark) { text { fill: #f0f6fc } .soft { fill: #9198a1 } .page { fill: #0d1117 } .grid, .fault { stroke: #3d444d } }
"""


def svg(result: Result) -> str:
    """Return the picture: megabytes of each process, a dotted line where a fault began."""
    held = {name: samples for name, samples in sorted(result.held_mb.items()) if samples}
    points = [point for samples in held.values() for point in samples]
    last_s = max((at_s for at_s, _ in points), default=1.0) or 1.0
    step_mb = next(step for step in (20, 50, 100, 200, 500, 1_000, 2_000, 1 << 30) if step * 6 >= max((mb for _, mb in points), default=1))
    top_mb = step_mb * 6
    step_s = next(step for step in (10, 30, 60, 300, 600, 1 << 30) if step * 10 >= last_s)

    def across(at_s: float) -> float:
        return _LEFT + at_s / last_s * (_WIDTH - _LEFT - _RIGHT)

    def up(mb: float) -> float:
        return _HEIGHT - _BOTTOM - mb / top_mb * (_HEIGHT - _TOP - _BOTTOM)

    def body() -> Iterator[str]:
        yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" width="{_WIDTH}" height="{_HEIGHT}" role="img">'
        yield f"<title>Memory of each process, seed {result.seed}</title><style>{_STYLE}</style>"
        yield f'<rect class="page" width="{_WIDTH}" height="{_HEIGHT}"/><text class="title" x="16" y="26">Resident memory, MB</text>'
        what = (
            f"seed {result.seed}, {result.rate_per_s:,.0f} events/s, {result.customers:,} customers at the end, {len(result.faults)} faults (dotted)"
        )
        yield f'<text class="soft" x="16" y="44">{escape(what)}</text>'
        for mb in range(0, top_mb + 1, step_mb):
            yield f'<line class="grid" x1="{_LEFT}" y1="{up(mb):.1f}" x2="{_WIDTH - _RIGHT}" y2="{up(mb):.1f}"/>'
            yield f'<text class="soft" x="{_LEFT - 8}" y="{up(mb) + 4:.1f}" text-anchor="end">{mb:,}</text>'
        for at_s in range(0, int(last_s) + 1, step_s):
            said = f"{at_s // 60} min" if step_s >= 60 else f"{at_s} s"
            yield f'<text class="soft" x="{across(at_s):.1f}" y="{_HEIGHT - 10}" text-anchor="middle">{said}</text>'
        for made in result.faults:
            x = across(made.began_s)
            yield f'<line class="fault" x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{_HEIGHT - _BOTTOM}"><title>{escape(made.name)}</title></line>'
        lowest = float(_HEIGHT - _BOTTOM)
        ends = {name: up(samples[-1][1]) for name, samples in held.items()}
        for place, name in enumerate(sorted(held, key=lambda name: -ends[name])):
            colour = _COLOURS[place % len(_COLOURS)]
            line = " ".join(f"{across(at_s):.1f},{up(mb):.1f}" for at_s, mb in held[name])
            yield f'<polyline class="line" stroke="{colour}" points="{line}"/>'
            lowest = min(ends[name] + 4, lowest - _LABEL)
            yield f'<text x="{_WIDTH - _RIGHT + 8}" y="{lowest:.1f}" style="fill: {colour}">{escape(name)} {held[name][-1][1]:,}</text>'
        yield "</svg>"

    return "\n".join(body()) + "\n"
