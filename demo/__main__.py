"""`python -m demo run`: a tenant with segments and a webhook, a year of shopping replayed, and an ending that explains itself.

The services are up when this is called. Each step finds what an earlier run has done, so a second run changes nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time

import aiohttp
import msgspec
from pydantic import ValidationError
from rich.console import Console

from demo import accounting, ending, setup
from demo.client import Client
from demo.journey import BASKETS, EVENTS, HOUSEHOLDS, REDEMPTIONS, lines
from demo.progress import EventsBar
from demo.replay import replay
from demo.segments import SEGMENTS
from demo.settings import DemoError, Settings
from demo.state import State, load_state


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


async def run(settings: Settings, console: Console) -> None:
    """Take all steps; raise `DemoError` at the first that cannot be taken."""
    state = load_state(settings.state_file)
    async with Client(settings) as client:
        await setup.prepare_tenant(client, settings)
        created = await setup.prepare_segments(client, settings)
        await setup.prepare_webhook(client, settings, state)
        _say(console, f"Tenant {setup.TENANT!r}: {len(SEGMENTS)} segments ({created} new), one webhook endpoint.")
        if state.applied:
            _say(console, "The data were replayed by an earlier run; nothing is sent again.")
        else:
            await _replay(client, settings, state, console)
        accounted = accounting.account(await accounting.outcomes(client, settings), state)
        counts = await ending.segment_counts(client)
        customer = await ending.one_short_of_regular(client, state, _now_ms())
    console.print()
    console.print(ending.accounting_table(accounted))
    accounting.check(accounted, state, settings)
    console.print(ending.segments_table(counts))
    _summary(console, state)
    ending.show_where(console, settings)
    _try(console, settings, customer)


async def _replay(client: Client, settings: Settings, state: State, console: Console) -> None:
    """Send everything and wait until it is in the answers, from wherever an earlier run stopped."""
    if state.now_ms is None:
        found = await accounting.outcomes(client, settings)
        state.accepted_before = {topic: counters.get("accepted", 0) for topic, counters in found.items()}
        state.now_ms = _now_ms()
        state.save(settings.state_file)
    _say(console, f"Replaying {BASKETS:,} baskets and {REDEMPTIONS:,} coupon redemptions of {HOUSEHOLDS:,} households ({EVENTS:,} events in all).")
    if not state.replayed:
        with EventsBar(console, "Sent", EVENTS) as bar:
            await replay(client, settings, state, lines(state.now_ms), bar)
    started = time.monotonic()
    with EventsBar(console, "Applied", EVENTS) as bar:
        await accounting.wait_until_applied(client, settings, state, SEGMENTS[0].id, bar)
    state.replay_s += time.monotonic() - started
    state.applied = True
    state.save(settings.state_file)


def _summary(console: Console, state: State) -> None:
    events = sum(state.sent.values())
    rate = events / max(state.replay_s, 1e-3)
    _say(console, f"\n{events:,} events sent, stored and applied in {state.replay_s:.1f} s: {rate:,.0f} events/s.")
    _say(console, "Some of the data are synthetic and marked so: addresses, birth dates, cards and opened mails. See demo/README.md.")


def _try(console: Console, settings: Settings, customer: str | None) -> None:
    # Weeks after the replay nobody may be one purchase short of a regular; "just shopped" can be entered by anyone, always.
    name, segment = (customer, ending.REGULARS) if customer else ("718", "just-shopped")
    console.print("\nThree lines to try, in one shell:", style="bold")
    for number, (what, line) in enumerate(ending.curl_lines(settings, name, segment), start=1):
        console.print(f"\n{number}. {what}", style="cyan", highlight=False, markup=False, soft_wrap=True)
        # As it is, without wrapping or colour: it is there to be pasted.
        console.file.write(line + "\n")
    console.file.flush()


def _say(console: Console, text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def main() -> int:
    """Parse the command line, run the demo and give the exit code; failures are one line on standard error."""
    parser = argparse.ArgumentParser(prog="python -m demo", description="Replay a year of shopping into Rollcall.")
    parser.add_subparsers(dest="command", required=True).add_parser("run", help="prepare, replay, and say what happened")
    parser.parse_args()
    try:
        settings = Settings()
        asyncio.run(run(settings, Console()))
    except ValidationError as error:
        problem = error.errors()[0]
        print(f"demo: bad setting ROLLCALL_{str(problem['loc'][0]).upper()}: {problem['msg']}", file=sys.stderr)
        return 2
    except DemoError as error:
        where = f" (read {error.log})" if error.log else ""
        print(f"demo: {error}{where}", file=sys.stderr)
        return 1
    except (aiohttp.ClientError, TimeoutError) as error:
        print(f"demo: a service went away: {error or type(error).__name__} (read {settings.log_dir}/)", file=sys.stderr)
        return 1
    except (FileNotFoundError, msgspec.DecodeError, ValueError) as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("demo: interrupted; run it again to go on where it stopped", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
