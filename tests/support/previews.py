"""Holds previews by columns against previews that look at everybody."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from schemas.questions import Preview, Previewed
from services.segmenter.columns.keeping import Keeping
from tests.support.asking import ask
from tests.support.simulation import Simulation

Json = dict[str, Any]


def plainly(simulation: Simulation, question: Preview) -> Previewed:
    """What a preview says that looks at everybody."""
    partition = simulation.partition
    kept, partition._columns = partition._columns, Keeping(partition)
    found: Previewed = ask(simulation, question, Previewed)
    partition._columns = kept
    return found


def agree(simulation: Simulation, rule: Json, replaces: str | None, before_ms: int | None = None) -> Previewed:
    """Compare both, now or as of some time before, and once more what the first look has left in the columns; return what they say."""
    at_ms = None if before_ms is None else simulation.now_ms - before_ms
    question = Preview(json.loads(json.dumps(rule), parse_float=Decimal), replaces, at_ms)
    expected = plainly(simulation, question)
    for _ in range(2):
        found = ask(simulation, question, Previewed)
        assert (found.count, found.of, found.enters, found.leaves) == (expected.count, expected.of, expected.enters, expected.leaves)
        assert sorted(found.sample) == sorted(expected.sample)
    return expected
