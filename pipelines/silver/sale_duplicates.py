"""One sale that several channels deliver, as till and shop do of an order that is collected: which of them counts.

Completed purchases of different systems are one sale where all of this holds, and what was seen is kept beside it:

- they name the same order, or a till names the number of the other, which is no till's, as its order, and only one
  system has such a sale of that number (numbers of several systems may coincide: such a till's sale stays as it is);
- total and currency are equal;
- they lie at most ``COLLECTED_WITHIN`` days apart;
- their accounts are not of two different people.

The one that tells of more money given back stays, of equals the earlier, of these the one that was ordered online.
Receipts that pay parts of an order have other totals, and stay as they are. Words that stand for "none", and what one
system says of more than ``RECEIPTS`` sales or returns, are no order's number.

Completed returns of different systems are one by the same evidence. A return is also one with the money that another
system's sale of that order says was given back (REFUNDED_AMOUNT): the return that is as large, or all returns of the
order in one system where they add up to it. The sale's word then stands. Such a return is at most ``COLLECTED_WITHIN``
days apart from the day that the sale names (REFUNDED_DATE); without one, it is not as much later than the sale's last
word, which may come long after the money.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

import polars as pl

from customer360.pipelines.rules import StandardizationRules
from customer360.pipelines.vocabulary import Activity, record_id
from customer360.platform import tables
from customer360.platform.graph import builds
from customer360.platform.tables import Float, Money, OneOf, String, Table

ACTIVITY: Activity = "standardization"
COLLECTED_WITHIN = 30  # days
WITHIN = pl.duration(days=COLLECTED_WITHIN)
RECEIPTS = 5  # of one order in one system, at most
NO_ORDER = r"(?i)^\W*(?:0*|n\W?a|none|null|nil|nan|no|unknown|undefined)\W*$"

ALIKE = ("total", "money")
IS_ANOTHERS = pl.col("system") != pl.col("system_2")
IS_NOBODY_ELSES = (pl.col("person") == pl.col("person_2")).fill_null(True)
# Rows of returns that a sale tells of, in the order of the table.
REFUND = ("number", "system", "duplicate_of", "kind", "match", "order", "total", "money", "hours_apart", "person_match")


class SaleDuplicates(Table, table="silver.sale_duplicates", sort_by=("source_system", "transaction_id")):
    """One row per transaction that tells of a sale or return which another channel delivers, too."""

    transaction_id = String(primary_key=True)
    source_system = String(primary_key=True)
    duplicate_of = String(description="SYSTEM/number of the transaction that counts")
    kind = OneOf("SALE", "RETURN")
    match = OneOf(
        "ORDER", "NUMBER", "REFUND",
        description="ORDER: it names the order of another; NUMBER: a till names a number; REFUND: a return whose money"
        " the sale of that order says was given back",
    )  # fmt: skip
    order_number = String()
    total_amount = Money(description="Of both, in the currency of both; of a return given back, positive")
    currency = String(nullable=True)
    hours_apart = Float(min=0, nullable=True, description="Null: the sale does not say when money was given back")
    person_match = OneOf("SAME", "UNKNOWN", description="SAME: both accounts are of one person")


def naming_orders(deliveries: pl.LazyFrame) -> pl.LazyFrame:
    """All deliveries of transactions that name an order, or whose number a till names as one: no others can be one
    sale, so that no others are judged and folded."""
    key, order = ["TRANSACTION_ID", "_source_system"], pl.col("ONLINE_ORDER_ID")
    naming = deliveries.filter(order.is_not_null(), ~order.str.contains(NO_ORDER))
    named = naming.filter(pl.col("CHANNEL") == "POS").select(TRANSACTION_ID="ONLINE_ORDER_ID").unique()
    numbers = deliveries.select(key).join(named, on="TRANSACTION_ID", how="semi")
    wanted = pl.concat([naming.select(key), numbers]).unique()
    return deliveries.join(wanted, on=key, how="semi")


@builds(SaleDuplicates, rules="standardization", judges={"bronze.transactions": naming_orders})
def sale_duplicates(
    bronze_transactions: pl.LazyFrame, silver_identity_links: pl.LazyFrame, params: StandardizationRules
) -> pl.LazyFrame:
    """Groups by order number, each transaction in one at most: the nearest in time are put together first. Sales and
    returns that the rule file spares count by themselves."""
    receipts = _receipts(bronze_transactions, silver_identity_links).collect().lazy()
    sales, returns = receipts.filter(~pl.col("gives_back")), receipts.filter("gives_back")
    leaves = params.repairs.sale_duplicate.leaves
    may = ~leaves(record_id("system", "number")) & ~leaves(record_id("system_2", "number_2"))
    refunded = _refunded(returns, sales, may).collect()
    others = returns.join(refunded.lazy().select("system", "number"), on=["system", "number"], how="anti")
    found = [
        *_duplicates(_near(sales, may), "SALE"),
        *_duplicates(_near(others, may), "RETURN"),
        *refunded.select(*REFUND).iter_rows(),
    ]
    return pl.LazyFrame(found, tables.schema(SaleDuplicates), orient="row")


def _receipts(current: pl.LazyFrame, links: pl.LazyFrame) -> pl.LazyFrame:
    """Completed purchases and returns: number, order, system, time, total without its sign, money, account's person;
    ``back``, what a sale says was given back of it, ``back_at``, when, as far as it says, and ``told_at``, when it was
    changed last."""
    accounts = links.filter(pl.col("kind") == "account").select(account="identifier", person="person_id")
    kind, total = pl.col("TRANSACTION_TYPE"), pl.col("TOTAL_AMOUNT")
    back = kind.is_in(["RETURN", "REFUND"]) | ((kind == "PURCHASE") & (total < 0))
    moved = current.filter(pl.col("TRANSACTION_STATUS") == "COMPLETED", (kind == "PURCHASE") | back, total != 0)
    order = pl.col("ONLINE_ORDER_ID")
    receipts = (
        moved.with_columns(account=record_id("_source_system", "CUSTOMER_ID"))
        .join(accounts, on="account", how="left")
        .select(
            "person",
            gives_back=back,
            number="TRANSACTION_ID",
            order=pl.when(~order.str.contains(NO_ORDER)).then(order),
            system="_source_system",
            at="TRANSACTION_DATE",
            total=total.abs(),
            money="CURRENCY_CODE",
            till=(pl.col("CHANNEL") == "POS").fill_null(False),
            back=pl.when(~back).then("REFUNDED_AMOUNT").fill_null(0),
            back_money=pl.coalesce("REFUNDED_CURRENCY", "CURRENCY_CODE"),
            back_at="REFUNDED_DATE",
            told_at="LAST_UPDATED_DATE",
        )
    )
    most = pl.max_horizontal(pl.col("gives_back").sum(), (~pl.col("gives_back")).sum()).over("order", "system")
    return receipts.with_columns(order=pl.when(most <= RECEIPTS).then("order"))


def _near(receipts: pl.LazyFrame, may: pl.Expr) -> pl.DataFrame:
    """Pairs of sales, or of returns, that ``may`` be one, the surest first."""
    pairs = pl.concat([_by_order(receipts), _by_number(receipts)]).filter(IS_ANOTHERS, IS_NOBODY_ELSES, may)
    apart = (pl.col("at") - pl.col("at_2")).abs()
    near = pairs.with_columns(apart=apart).filter(apart <= WITHIN)
    systems = pl.col("system_2").n_unique().over("match", "system", "number")
    clear = near.filter((pl.col("match") == "ORDER") | (systems == 1))
    return clear.sort("apart", pl.col("match") != "ORDER", "system", "number", "system_2", "number_2").collect()


def _refunded(returns: pl.LazyFrame, sales: pl.LazyFrame, may: pl.Expr) -> pl.LazyFrame:
    """Returns whose money a sale of another system says was given back: of a sale and a system the return that is
    nearest in time, or all of them together; those that ``may`` be."""
    told = sales.filter(pl.col("back") > 0).select(
        "order", "till", "back", money="back_money",
        **{f"{c}_2": c for c in ("system", "number", "at", "back_at", "told_at", "person")},
    )  # fmt: skip
    named = returns.filter(pl.col("order").is_not_null()).drop("back", "back_money", "back_at", "told_at")
    by_order = named.join(told.drop("till"), on=["order", "money"], nulls_equal=True)
    by_number = named.filter("till").join(
        told.filter(~pl.col("till")).drop("order", "till").with_columns(order="number_2"),
        on=["order", "money"],
        nulls_equal=True,
    )
    pairs = pl.concat([by_order, by_number.select(by_order.collect_schema().names())]).unique()
    apart = (pl.col("at") - pl.col("back_at_2")).abs()
    told_by_then = pl.col("at") <= pl.col("told_at_2") + WITHIN
    in_time = pl.coalesce(apart <= WITHIN, told_by_then, pl.lit(True))
    near = pairs.filter(IS_ANOTHERS, IS_NOBODY_ELSES, pl.col("at") >= pl.col("at_2"), in_time)
    one = ["system_2", "number_2", "system"]
    ranked = near.with_columns(
        hours_apart=apart.dt.total_seconds() / 3600,
        is_all=pl.col("total").sum().over(one) == pl.col("back"),
        is_one=pl.col("total") == pl.col("back"),
    ).sort(~pl.col("is_one"), "hours_apart", "at", "system", "number", "system_2", "number_2", nulls_last=True)
    chosen = pl.col("is_all") | (pl.col("is_one") & pl.int_range(pl.len()).over(one).eq(0))
    known = (pl.col("person") == pl.col("person_2")).fill_null(False)
    return (
        ranked.filter(chosen, may)
        .unique(["system", "number"], keep="first", maintain_order=True)
        .with_columns(
            duplicate_of=pl.format("{}/{}", "system_2", "number_2"),
            kind=pl.lit("RETURN"),
            match=pl.lit("REFUND"),
            person_match=pl.when(known).then(pl.lit("SAME")).otherwise(pl.lit("UNKNOWN")),
        )
    )


def _by_order(receipts: pl.LazyFrame) -> pl.LazyFrame:
    """Receipts of two systems that name one order, each pair once."""
    named = receipts.filter(pl.col("order").is_not_null())
    pairs = named.join(named, on=["order", *ALIKE], suffix="_2", nulls_equal=True)
    return _as_pairs(pairs.filter(pl.col("system") < pl.col("system_2")), "ORDER")


def _by_number(receipts: pl.LazyFrame) -> pl.LazyFrame:
    """Receipts of which a till names the other's number as its order."""
    named = receipts.filter(pl.col("order").is_not_null(), "till")
    others = receipts.filter(~pl.col("till"))
    return _as_pairs(
        named.join(others, left_on=["order", *ALIKE], right_on=["number", *ALIKE], suffix="_2", nulls_equal=True)
        .with_columns(number_2="order"),
        "NUMBER",
    )  # fmt: skip


class Receipt(NamedTuple):
    """One of a pair."""

    system: str
    number: str
    at: datetime
    till: bool
    back: Decimal
    person: str | None


def _as_pairs(pairs: pl.LazyFrame, match: str) -> pl.LazyFrame:
    return pairs.select("order", *ALIKE, *Receipt._fields, *(f"{c}_2" for c in Receipt._fields), match=pl.lit(match))


def _duplicates(pairs: pl.DataFrame, kind: str) -> list[tuple[Any, ...]]:
    """Rows of the table of what does not count, from pairs in their order. A group has one sale a system, as two
    receipts of one till are two sales, and one person at most."""
    groups: dict[tuple[str, str], list[Receipt]] = {}
    seen: dict[tuple[str, str], tuple[Any, ...]] = {}
    told, width = ("match", "order", "total", "money"), len(Receipt._fields)
    columns = (*told, *Receipt._fields, *(f"{field}_2" for field in Receipt._fields))
    for row in pairs.select(columns).iter_rows():
        one, two = Receipt._make(row[len(told) : -width]), Receipt._make(row[-width:])
        both = [*groups.get(one[:2], [one]), *groups.get(two[:2], [two])]
        if not _is_one_sale(both):
            continue
        for sale in both:
            groups[sale[:2]] = both
            seen.setdefault(sale[:2], row[: len(told)])
    found = []
    for group in {id(group): group for group in groups.values()}.values():
        stays, *others = sorted(group, key=lambda s: (-s.back, s.at, s.till, s.system, s.number))
        for sale in others:
            hours = abs(sale.at - stays.at).total_seconds() / 3600
            known = sale.person is not None and sale.person == stays.person
            counts = f"{stays.system}/{stays.number}"
            who = "SAME" if known else "UNKNOWN"
            found.append((sale.number, sale.system, counts, kind, *seen[sale[:2]], hours, who))
    return found


def _is_one_sale(sales: Sequence[Receipt]) -> bool:
    if len({sale.system for sale in sales}) < len(sales) or len({sale.person for sale in sales} - {None}) > 1:
        return False
    times = [sale.at for sale in sales]
    return max(times) - min(times) <= timedelta(days=COLLECTED_WITHIN)
