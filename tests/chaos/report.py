"""A run as Markdown, for people; the same as JSON is `Result` itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from tests.chaos.drill import Result
from tests.chaos.sight import Seen

_STOOD_S: Final = 1.0
_SHOWN: Final = 50


def markdown(results: Sequence[Result]) -> str:
    """Return a table of runs, and for each its faults."""
    head = (
        "| seed | faults | events accepted | events/s | customers | transitions | lost | repeated | webhook attempts (repeats) | longest recovery |"
        "\n|---|---|---|---|---|---|---|---|---|---|\n"
    )
    return head + "\n".join(map(_row, results)) + "\n" + "\n".join(map(_details, results))


def _row(result: Result) -> str:
    cells = (
        result.seed, len(result.faults), f"{sum(result.accepted.values()):,}", f"{result.rate_per_s:,.0f}", f"{result.customers:,}",
        f"{result.transitions:,}", result.violations_in_all, result.transitions_repeated,
        f"{result.webhook_attempts:,} ({result.webhook_repeats:,})", f"{result.longest_recovery_s:.1f} s",
    )  # fmt: skip
    return "| " + " | ".join(map(str, cells)) + " |"


def _details(result: Result) -> str:
    lines = [
        f"\n## Seed {result.seed}, {result.minutes:g} minutes, session timeout {result.session_s:g} s\n",
        f"Outcomes: {_listed(result.outcomes)}. Accepted: {_listed(result.accepted)}; poison: {result.poison}. ",
        f"Transitions by cause: {_listed(result.causes)}. ",
        f"Restarts: {_listed(result.restarts)}. Most memory (MB): {_listed(result.largest_mb)}.\n",
        "| fault | lasted | all ready after | fresh event shown after | users saw | compared | violations |",
        "|---|---|---|---|---|---|---|",
    ]
    for made in result.faults:
        stood = f"the run stood still for {made.stood_s} s" if made.stood_s > _STOOD_S else ""
        said = "; ".join(filter(None, (made.said, stood)))
        name = f"{made.name} ({said})" if said else made.name
        lines.append(
            f"| {name} | {made.lasted_s} s | {made.ready_s} s | {made.shown_s} s | {_seen(made.seen)} | {made.compared:,} | {made.violations} |"
        )
    if result.violations:
        lines += ["", f"**{result.violations_in_all} violations**, the first:", "", *(f"- {sentence}" for sentence in result.violations[:_SHOWN])]
    return "\n".join(lines) + "\n"


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items()) or "none"


def _seen(seen: Seen) -> str:
    return "; ".join(f"{who}: {_listed(kinds)}" for who, kinds in seen.items())
