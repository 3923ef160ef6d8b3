"""What a newcomer reads at the end: what happened, who is in which segment, where to look, and three lines to try."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from demo.accounting import Line
from demo.client import Client
from demo.journey import CURRENCY, HOUSEHOLDS, shift_ms
from demo.segments import SEGMENTS
from demo.settings import DemoError, Settings
from demo.source import load
from demo.state import State

REGULARS = "regulars"
_DAY_MS = 86_400_000


async def segment_counts(client: Client) -> dict[str, int]:
    """Ask the API for the size of each of the demo's segments."""
    counts = {}
    for segment in SEGMENTS:
        answer = await client.api("GET", f"/v1/segments/{segment.id}/count")
        if answer.status != 200:
            raise DemoError(f"the size of {segment.id!r} cannot be read: {answer.detail}", client.settings.log("api"))
        counts[segment.id] = int(answer.body["count"])
    return counts


async def one_short_of_regular(client: Client, state: State, now_ms: int) -> str | None:
    """Find a customer whom one checkout makes a regular, by the data and by the API; None when there is none any more.

    The API is asked too, because somebody may have tried the three lines before.
    """
    for household in _three_recent_purchases(state, now_ms):
        answer = await client.api("GET", f"/v1/customers/{household}/segments/{REGULARS}")
        if answer.status == 200 and answer.body.get("member") is False:
            return str(household)
    return None


def _three_recent_purchases(state: State, now_ms: int) -> Iterator[int]:
    """Yield households with exactly three purchases in the last three months, the safest first.

    Safest: the third is still far from ageing out, so that the line works for weeks; 95 days ago is out in any case, three
    months being at most 92.
    """
    if state.now_ms is None:
        return
    journey = load()
    baskets = journey.baskets
    ages_days = (now_ms - shift_ms(journey.last_ms, state.now_ms) - baskets.at_ms) / _DAY_MS
    found = []
    for household in np.unique(baskets.household_id).tolist():
        latest = np.sort(ages_days[baskets.household_id == household])[:4]
        if len(latest) == 4 and latest[2] < 85 and latest[3] > 95:
            found.append((float(latest[2]), household))
    yield from (household for _, household in sorted(found))


def accounting_table(lines: list[Line]) -> Table:
    """Lay out what became of every record, topic by topic, with the sum."""
    others = sorted({name for line in lines for name in line.outcomes} - {"applied", "duplicate", "dead_lettered"})
    columns = ["applied", "duplicate", "dead_lettered", *others]
    table = Table(title="Every record has one outcome", title_justify="left", title_style="bold", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("topic", no_wrap=True)
    for name in ("sent", "accepted", *columns, "adds up"):
        table.add_column(("= " if name == "applied" else "+ " if name in columns else "") + name.replace("_", " "), justify="right")
    rows = [(line.topic, line.sent, line.accepted, [line.outcomes.get(name, 0) for name in columns]) for line in lines]
    for topic, sent, accepted, parts in rows:
        table.add_row(topic, *(f"{value:,}" for value in (sent, accepted, *parts)), "yes" if accepted == sum(parts) else "NO")
    table.add_section()
    sums = [sum(parts[index] for *_, parts in rows) for index in range(len(columns))]
    sent, accepted = sum(row[1] for row in rows), sum(row[2] for row in rows)
    table.add_row("all", *(f"{value:,}" for value in (sent, accepted, *sums)), "yes" if accepted == sum(sums) else "NO", style="bold")
    return table


def segments_table(counts: dict[str, int]) -> Table:
    """Lay out the segments and how many of the households are in each right now."""
    table = Table(title=f"Segments, live (of {HOUSEHOLDS:,} customers)", title_justify="left", title_style="bold", box=SIMPLE_HEAD)
    table.add_column("segment", no_wrap=True)
    table.add_column("members", justify="right")
    table.add_column("rule, in words")
    for segment in SEGMENTS:
        table.add_row(segment.id, f"{counts[segment.id]:,}", segment.description)
    return table


def show_where(console: Console, settings: Settings) -> None:
    """Say where to look."""
    console.print()
    for name, where in (
        ("API docs", f"{settings.api_url}/docs"),
        ("Ingest docs", f"{settings.ingest_url}/docs"),
        ("Webhook receiver", f"{settings.receiver_url}/"),
        ("Key and addresses", str(settings.env_file)),
        ("Logs", f"{settings.log_dir}/"),
    ):
        console.print(f"{name:<18} {where}", highlight=False, markup=False, soft_wrap=True)


def curl_lines(settings: Settings, customer: str, segment: str) -> list[tuple[str, str]]:
    """Write the three lines to try, each with what it does; they share a shell, and the third uses what the second kept."""
    bearer = '-H "Authorization: Bearer $ROLLCALL_API_KEY"'
    source = f"source {shlex.quote(str(settings.env_file))}"
    checkout = (
        """'{"type":"checkout","event_id":"try-'$(date +%s)'","receipt_id":"'$(date +%s)'","occurred_at":"'$(date -u +%Y-%m-%dT%H:%M:%SZ)'","""
        f'"customer_id":"{customer}","store_id":"330","channel":"web","total":"19.90","currency":"{CURRENCY}"}}\''
    )
    ask = f'{source}; curl -s {bearer} "$ROLLCALL_API_URL/v1/customers/{customer}/segments"; echo'
    post = (
        f"""POSITION=$(curl -s {bearer} -H 'Content-Type: application/json' -d {checkout} "$ROLLCALL_INGEST_URL/v1/events" """
        """| tee /dev/stderr | sed 's/.*"position": *"\\([^"]*\\)".*/\\1/'); echo"""
    )
    read = (
        f'curl -sG {bearer} --data-urlencode "after=$POSITION" "$ROLLCALL_API_URL/v1/customers/{customer}/segments/{segment}"; echo; '
        f"sleep 1; curl -s '{settings.receiver_url}/?last=2'"
    )
    return [
        (f"Which segments is customer {customer} in?", ask),
        (f"Post a checkout: customer {customer} enters {segment!r}. The answer's position is kept for the next line.", post),
        ("Read your own checkout (`after` waits until it is in the answer), then the signed webhook that arrived.", read),
    ]
