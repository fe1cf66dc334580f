"""What the totals of a source are made of: tax, shipping and discounts are added to its lines, or stand in them."""

from __future__ import annotations

from itertools import product

import polars as pl

from customer360.pipelines.money import minor_unit
from customer360.pipelines.rules import ValidationRules
from customer360.platform.graph import builds
from customer360.platform.tables import Integer, String, Table

# Parts beside the amounts of lines, with the sign that they have where they are no part of those amounts already.
SIGNS = {"tax": 1, "shipping": 1, "discount": -1, "discounts of lines": -1}
USUAL = (True, True, True, False)  # whether a part is counted, in the reading that is taken where several fit as well
READINGS = sorted(
    product((True, False), repeat=len(SIGNS)), key=lambda r: sum(a != b for a, b in zip(r, USUAL, strict=True))
)
KEY = ["transaction_id", "source_system"]


class TotalReadings(Table, table="gold.total_readings", sort_by=("source_system",)):
    """One row per source system with receipts whose lines are known: how its totals come of its lines.

    A system is taken by its word: the one reading counts that explains most of its receipts. Receipts that only another
    one explains, as those of a shop with and without tax in its prices, do not agree, and are counted here.
    """

    source_system = String(primary_key=True)
    reading = String(description="lines + tax + shipping - discount, …: parts that no receipt has are left out")
    compared_count = Integer(description="Receipts with lines, without sales of which money came back later")
    agreed_count = Integer(description="Receipts whose total is as the reading says, to a minor unit a line")
    other_reading = String(nullable=True, description="The one that explains most of the rest; null where none does")
    other_count = Integer(description="Receipts of the rest that it explains")


@builds(
    TotalReadings,
    rules="validation",
    reads={
        "silver.transactions": (*KEY, "total_amount", "refunded_amount", "tax_amount", "shipping_amount",
                                "discount_amount", "is_return", "currency"),
        "silver.transaction_items": (*KEY, "total_price", "discount_amount", "item_status"),
    },
)  # fmt: skip
def total_readings(
    silver_transactions: pl.LazyFrame,
    silver_transaction_items: pl.LazyFrame,
    silver_reporting_currency: pl.LazyFrame,
    params: ValidationRules,
) -> pl.LazyFrame:
    """Every reading is tried on every receipt. Rounding by line or at the end may differ by one minor unit of the
    currency a line; the rule file's tolerance is the least.
    """
    receipts = _receipts(silver_transactions, silver_transaction_items, silver_reporting_currency)
    fits = pl.sum_horizontal(
        pl.when(_differs(reading) <= pl.max_horizontal("tolerance", pl.lit(params.amount_tolerance)) + 1e-9)
        .then(pl.lit(1 << number, pl.Int64)).otherwise(0)
        for number, reading in enumerate(READINGS)
    )  # fmt: skip
    counted = (
        receipts.with_columns(fits=fits)
        .group_by("source_system", "fits")
        .agg(count=pl.len().cast(pl.Int64), **{f"has {part}": (pl.col(part) != 0).any() for part in SIGNS})
        .collect()
        .lazy()  # used five times, the plan would look at every receipt as often
    )
    best = _best(counted, "agreed_count")
    explained = pl.any_horizontal(_fits(number) & (pl.col("number") == number) for number in range(len(READINGS)))
    rest = counted.join(best.select("source_system", "number"), on="source_system").filter(~explained)
    other = _best(rest, "other_count").filter(pl.col("other_count") > 0)
    present = counted.group_by("source_system").agg(
        pl.col("count").sum().alias("compared_count"), *(pl.col(f"has {part}").any() for part in SIGNS)
    )
    named = present.join(best, on="source_system").join(other, on="source_system", how="left", suffix="_other")
    return named.select(
        "source_system",
        "compared_count",
        "agreed_count",
        pl.col("other_count").fill_null(0),
        reading=_worded("number"),
        other_reading=pl.when(pl.col("number_other").is_not_null()).then(_worded("number_other")),
    )


def _receipts(transactions: pl.LazyFrame, items: pl.LazyFrame, reporting: pl.LazyFrame) -> pl.LazyFrame:
    """One row a receipt that can be compared: ``total``, ``lines``, the parts, and the ``tolerance`` of rounding. Of
    what gives everything back only sizes count: sources differ in which of its amounts they make negative.
    """
    amount = pl.col("total_price").cast(pl.Float64)
    stand = items.filter(pl.col("item_status").ne_missing("VOIDED"))
    lines = stand.group_by(KEY).agg(
        line_count=pl.len(), lines=amount.sum(),
        line_discount=pl.col("discount_amount").cast(pl.Float64).abs().sum(),
    )  # fmt: skip
    gives_back = pl.col("is_return").fill_null(False)
    whole = gives_back | (pl.col("refunded_amount").fill_null(0) == 0)
    sizes = {"total": "total_amount", "lines": "lines", "tax": "tax_amount", "shipping": "shipping_amount"}
    always = {"discount": "discount_amount", "discounts of lines": "line_discount"}
    unstated = reporting.select(unstated="currency", one=1)
    return (
        transactions.filter(whole)
        .join(lines, on=KEY)
        .with_columns(one=1)
        .join(unstated, on="one", how="left")
        .select(
            "source_system",
            **{name: pl.when(gives_back).then(_number(c).abs()).otherwise(_number(c)) for name, c in sizes.items()},
            **{name: _number(c).abs() for name, c in always.items()},
            tolerance=minor_unit(pl.coalesce("currency", "unstated")) * pl.col("line_count"),
        )
    )


def _number(column: str) -> pl.Expr:
    return pl.col(column).cast(pl.Float64).fill_null(0.0)


def _differs(reading: tuple[bool, ...]) -> pl.Expr:
    """How far a total is from what a reading says."""
    counted = [pl.col(part) * sign for (part, sign), is_in in zip(SIGNS.items(), reading, strict=True) if is_in]
    return (pl.sum_horizontal("lines", *counted) - pl.col("total")).abs()


def _fits(number: int) -> pl.Expr:
    return pl.col("fits") // (1 << number) % 2 == 1


def _best(counted: pl.LazyFrame, into: str) -> pl.LazyFrame:
    """The number of the reading that fits most receipts of a source system, the first among equals, and how many."""
    each = [pl.col("count").filter(_fits(number)).sum().alias(str(number)) for number in range(len(READINGS))]
    tall = (
        counted.group_by("source_system")
        .agg(each)
        .unpivot(index="source_system", variable_name="number", value_name=into)
    )
    return (
        tall.with_columns(pl.col("number").cast(pl.Int64))
        .sort(into, "number", descending=[True, False])
        .unique("source_system", keep="first", maintain_order=True)
    )


def _worded(number: str) -> pl.Expr:
    """A reading in words, without the parts that no receipt has."""
    added, included = [], []
    for place, (part, sign) in enumerate(SIGNS.items()):
        has = pl.col(f"has {part}")
        counts = pl.col(number).is_in([n for n, reading in enumerate(READINGS) if reading[place]])
        added.append(pl.when(has & counts).then(pl.lit(f" {'+' if sign > 0 else '-'} {part}")).otherwise(pl.lit("")))
        included.append(pl.when(has & ~counts).then(pl.lit(part)))
    held = pl.concat_list(included).list.drop_nulls()
    told = pl.when(held.list.len() > 0).then(pl.format(", {} included", held.list.join(" and "))).otherwise(pl.lit(""))
    return pl.concat_str([pl.lit("lines"), *added, told])
