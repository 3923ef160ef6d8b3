"""How partitions agree on cuts, by itself: any scores, any partitions, any wire; what comes out is what one sorted list says."""

from __future__ import annotations

import math
import random
from fractions import Fraction
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.catalog import Catalog
from schemas.definitions import SegmentPut, TenantPut, encode_definition
from schemas.partitions import partition_of, record_key
from services.segmenter.engine.plan import Plan
from services.segmenter.engine.rankings import Score
from services.segmenter.engine.row import Row
from services.segmenter.plans import Plans
from services.segmenter.ranks.messages import Message, Question, Ruling, Summary, decode, encode
from services.segmenter.ranks.referee import Referee
from services.segmenter.ranks.standings import Standings

METRIC = {"measure": "avg", "event": "checkout", "field": "total"}


def planned(order: str, sizes: list[dict[str, Any]], tenant: str = "t") -> Plan:
    """Return the plan of a tenant with one segment that asks for ranks of some sizes."""
    catalog = Catalog()
    rule = {"any": [{"rank": {"metric": METRIC, "order": order} | size} for size in sizes]}
    records = [
        TenantPut(tenant=tenant, at_ms=1, timezone="UTC", currency="EUR", country="FR"),
        SegmentPut(tenant=tenant, at_ms=1, segment_id="s", replaces=0, name="s", rule=rule),
    ]
    for offset, record in enumerate(records):
        assert catalog.apply(offset, encode_definition(record)).accepted
    return Plans(catalog).of(tenant)


class Table:
    """Partitions of customers with scores, their owners, a referee or two, and a wire."""

    def __init__(self, plan: Plan, partitions: int, dice: random.Random | None = None) -> None:
        self.plan, self.dice = plan, dice
        self.rows: list[dict[bytes, Row]] = [{} for _ in range(partitions)]
        self.owners = [Standings(number) for number in range(partitions)]
        self.referees = [Referee(partitions)]
        self.patience_ms = (0, 0)
        self.now_ms = 0
        self.sent: list[Message] = []
        self.wire: list[tuple[int, bytes]] = []
        for owner in self.owners:
            owner.epoch = 1
            owner.under(plan)

    def score(self, customer: str, value: Score | None) -> None:
        """Give a customer a score, or none."""
        key = record_key("t", customer)
        number = partition_of(key, len(self.rows))
        row = self.rows[number].setdefault(key, Row(1))
        pair = None if value is None else (Fraction(value).numerator * 7, Fraction(value).denominator * 7)
        self.owners[number].rescored(self.plan, key, row, [pair])

    def restart(self, number: int) -> None:
        """Give a partition to another owner, who knows its rows and the cuts in force."""
        before, owner = self.owners[number], Standings(number)
        owner.epoch, owner.cuts = before.epoch + 1, {tenant: dict(cuts) for tenant, cuts in before.cuts.items()}
        owner.under(self.plan)
        for key, row in self.rows[number].items():
            owner.restored(self.plan, key, row)
        owner.loaded()
        self.owners[number] = owner
        if number == 0:
            # The former one goes on for as long as nobody ends it.
            self.referees = [*self.referees[-1:], Referee(len(self.owners))]

    def talk(self, rounds: int) -> None:
        """Exchange messages, and let those who are due take the ranks that hold."""
        for _ in range(rounds):
            self.now_ms += 10
            spoken: list[Message] = [summary for owner in self.owners for summary in owner.speak(self.now_ms, 1 << 60, 100)]
            for place, referee in enumerate(self.referees):
                spoken += referee.speak(self.now_ms, patience_ms=self.patience_ms[place % 2])
            self.sent += spoken
            for message in spoken:
                copies = 1 if self.dice is None else self.dice.choices([0, 1, 2], [2, 6, 2])[0]
                self.wire += [(self.now_ms + (0 if self.dice is None else self.dice.choice([0, 0, 30, 400])), encode(message)) for _ in range(copies)]
            arrived = [document for at_ms, document in self.wire if at_ms <= self.now_ms]
            self.wire = [sent for sent in self.wire if sent[0] > self.now_ms]
            for document in arrived:
                heard = decode(document)
                assert heard is not None
                for referee in self.referees:
                    referee.hear(heard)
                for owner in self.owners:
                    owner.hear(heard)
            for number, owner in enumerate(self.owners):
                for key in owner.take_due(1_000_000):
                    self.rows[number][key].ranks = owner.ranks(key, self.rows[number][key])

    def rest(self, most_ms: int = 60_000, quiet_for: int = 30) -> int:
        """Talk until nobody has anything to say; return for how long they had."""
        began_ms = self.now_ms
        quiet = 0
        while quiet < (quiet_for if self.dice is None else 150):
            said = len(self.sent)
            self.talk(1)
            quiet = 0 if len(self.sent) > said or self.wire else quiet + 1
            assert self.now_ms - began_ms < most_ms, "nothing comes to rest"
        return self.now_ms - began_ms - quiet * 10

    def holders(self, size: str) -> list[str]:
        """Return of whom a rank holds, by id."""
        return sorted(key.decode()[2:] for rows in self.rows for key, row in rows.items() if any(name.endswith(size) for name in row.ranks))


def foremost(scores: dict[str, Score | None], order: str, size: dict[str, Any]) -> list[str]:
    """Sort, and take the first: what ranks are."""
    known = sorted((customer for customer, score in scores.items() if score is not None), key=str.encode)
    known.sort(key=lambda customer: scores[customer] or 0, reverse=order == "desc")
    return sorted(known[: size["top"] if "top" in size else math.ceil(Fraction(size["percent"]) * len(known) / 100)])


SIZES: list[dict[str, Any]] = [{"top": 1}, {"top": 7}, {"percent": 0.5}, {"percent": 20}, {"percent": 50}, {"percent": 100}]
_scores = st.none() | st.integers(-3, 3) | st.fractions(-2, 2, max_denominator=3) | st.integers(-(10**30), 10**30)
_changes = st.lists(st.tuples(st.integers(0, 30).map(str), _scores), max_size=40)


def suffix(size: dict[str, Any]) -> str:
    """Return what the names of ranks of a size end with."""
    return f"-{size['top']}" if "top" in size else f"-{size['percent']}%"


@settings(max_examples=200)
@given(_changes, st.lists(_changes, max_size=3), st.integers(1, 5), st.integers(0, 1 << 32), st.sampled_from(["asc", "desc"]), st.data())
def test_it_comes_to_what_one_sorted_list_says(
    first: list[tuple[str, Any]], then: list[list[tuple[str, Any]]], partitions: int, seed: int, order: str, data: st.DataObject
) -> None:
    """Whatever changes, is lost, comes twice or late, and whoever takes over: at rest the right ones hold, and nothing is said any more."""
    dice = random.Random(seed)
    table = Table(planned(order, SIZES), partitions, dice if data.draw(st.booleans()) else None)
    scores: dict[str, Score | None] = {}
    for changes in (first, *then):
        for customer, value in changes:
            scores[customer] = value
            table.score(customer, value)
            if dice.random() < 0.1:
                table.talk(dice.randrange(30))
            if dice.random() < 0.05:
                table.restart(dice.randrange(partitions))
        if data.draw(st.booleans()):
            table.talk(dice.randrange(200))
    table.rest()
    for size in SIZES:
        sign = "-" if order == "desc" else "+"
        assert table.holders(sign + suffix(size)[1:]) == foremost(scores, order, size), size


def test_a_large_crowd_is_narrowed_in_a_few_questions() -> None:
    """Twenty thousand customers, many of one score: three questions at most, and then hardly one for a change of one score."""
    dice = random.Random(7)
    table = Table(planned("desc", SIZES), 5)
    scores: dict[str, Score | None] = {f"c{number}": dice.choice([dice.randrange(10**6), dice.randrange(3)]) for number in range(20_000)}
    for customer, value in scores.items():
        table.score(customer, value)
    assert table.rest() < 500
    assert sum(isinstance(message, Question) for message in table.sent) <= 3
    for size in SIZES:
        assert table.holders(suffix(size)) == foremost(scores, "desc", size)
    table.sent.clear()
    for _ in range(20):
        customer = f"c{dice.randrange(20_000)}"
        scores[customer] = dice.randrange(10**6)
        table.score(customer, scores[customer])
        assert table.rest() < 500
    sent = table.sent
    assert sum(isinstance(message, Question) for message in sent) <= 3
    assert [sum(isinstance(message, kind) for message in sent) <= 25 for kind in (Summary, Ruling)] == [True, True]
    assert max(len(encode(message)) for message in sent) < 20_000
    for size in SIZES:
        assert table.holders(suffix(size)) == foremost(scores, "desc", size)


def test_only_who_stands_between_two_cuts_is_looked_at() -> None:
    """One more in front: the last one in, the newcomer, and nobody else."""
    table = Table(planned("desc", [{"top": 100}]), 3)
    for number in range(1_000):
        table.score(f"c{number}", number)
    table.rest()
    looked: list[bytes] = []
    for owner in table.owners:
        taken = owner.take_due
        owner.take_due = lambda limit, taken=taken: looked.extend(found := taken(limit)) or found  # type: ignore[method-assign,misc,func-returns-value]
    table.score("new", 5_000)
    table.rest()
    assert sorted(looked) == [b"t:c900", b"t:new"]


def test_a_stale_ruling_changes_nothing() -> None:
    """One that follows from lesser versions, from another owner's, or from older definitions is put away."""
    table = Table(planned("desc", [{"top": 1}]), 2)
    table.score("a", 1)
    table.rest()
    stale = next(message for message in reversed(table.sent) if isinstance(message, Ruling))
    table.score("b", 2)
    table.rest()
    cuts = [dict(owner.cuts["t"]) for owner in table.owners]
    for owner in table.owners:
        assert not owner.hear(stale)
    assert [owner.cuts["t"] for owner in table.owners] == cuts
    table.restart(1)
    last = next(message for message in reversed(table.sent) if isinstance(message, Ruling))
    owner = table.owners[1]
    assert owner.speak(table.now_ms, 1 << 60, 10) == [], "more may change"
    assert len(owner.speak(table.now_ms + 100, 1 << 60, 10)) == 1
    assert not owner.hear(last), "it answers what another owner has said"
    assert len(owner.speak(table.now_ms + 2_000, 1 << 60, 10)) == 1, "so this one says it again"


def test_a_referee_who_believed_a_former_owner_is_told_better() -> None:
    """One who has just begun heard a partition's former owner, woken too late; the owner has no reason of its own to speak."""
    table = Table(planned("desc", [{"top": 1}]), 2)
    for number in range(8):
        table.score(f"c{number}", number)
    table.rest()
    elsewhere = [next(f"c{n}" for n in range(8) if partition_of(record_key("t", f"c{n}"), 2) != number) for number in range(2)]
    for number in range(2):
        late = next(message for message in table.sent if isinstance(message, Summary) and message.partition == number)
        table.restart(number)
        table.rest()
        table.referees = [Referee(2)]
        table.referees[0].hear(late)
        table.score(elsewhere[number], 100 + number)
        table.rest()
    assert table.holders("-1") == [elsewhere[1]]


def test_another_referee_speaks_when_the_first_does_not() -> None:
    """And is silent as long as there is one: of two, the patient one says nothing."""
    table = Table(planned("desc", SIZES), 3)
    table.referees, table.patience_ms = [Referee(3), Referee(3)], (0, 1_000)
    for number in range(300):
        table.score(f"c{number}", number)
    assert table.rest() < 500
    alone = len([message for message in table.sent if isinstance(message, Ruling)])
    table.score("c1", 1_000)
    assert table.rest() < 500
    assert len([message for message in table.sent if isinstance(message, Ruling)]) == alone + 1
    table.referees, table.patience_ms = table.referees[1:], (1_000, 1_000)
    table.score("c2", 2_000)
    assert 1_000 < table.rest(quiet_for=150) < 2_000
    assert table.holders("-1") == ["c2"]


def test_tenants_are_ranked_apart() -> None:
    """The first of each is the first of its own, though both rank by the same."""
    owner, referee = Standings(0), Referee(1)
    owner.epoch = 1
    rows = {key: Row(1) for key in (b"t:a", b"t:b", b"u:c")}
    for key, score in zip(rows, (1, 2, 3), strict=True):
        plan = planned("desc", [{"top": 1}], key[:1].decode())
        owner.under(plan)
        owner.rescored(plan, key, rows[key], [(score, 1)])
    for now_ms in range(0, 500, 10):
        for message in [*owner.speak(now_ms, 1 << 60, 10), *referee.speak(now_ms)]:
            referee.hear(message)
            owner.hear(message)
    for key in owner.take_due(10):
        rows[key].ranks = owner.ranks(key, rows[key])
    assert [key for key, row in rows.items() if row.ranks] == [b"t:b", b"u:c"]


def test_what_is_no_message_is_none() -> None:
    """Bytes that this version does not understand are nothing."""
    assert decode(b"") is None
    assert decode(b"\x93\xa3xyz\x01\x02") is None
