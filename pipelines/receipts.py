"""Lines that give goods back within a receipt: a till rings up what comes back beside what is bought.

A completed purchase is one order, whatever its lines. What its lines give back is a return, and no less sold: a receipt
of +50 and -30 is gross 50, returns 30, net 20. The rules:

- A line gives back if its status says RETURNED, or its quantity is below zero, or its amount is and it names goods.
  Coupons, deposits and other codes that are no product, or name nothing, lower what is sold. VOIDED lines do not count.
- A header's total has negative lines in it already; lines that only their status takes back came back later. Where
  another way fits the total better (it was lowered since, or a negative line was added after it), that way counts.
- A purchase whose total is below zero is an order if its lines sell something, else a return of its whole total.
- Lines that came back later are what was given back of the sale; where its header says more, that stands.
- Amounts are those of the lines. Tax, shipping and discounts of the header stay with what was sold.
"""

from __future__ import annotations

from itertools import product

import polars as pl

from customer360.pipelines.money import MONEY, ZERO, converted, known_rate

KEY = ["transaction_id", "source_system"]
FIT = 0.005  # amounts of two decimals that differ by less are equal


def goes_back(goods: str) -> pl.Expr:
    """Whether a line of bronze.transaction_items gives goods back; ``goods`` is the pattern of codes that are goods."""
    code, less = pl.col("PRODUCT_ID"), pl.col("TOTAL_PRICE") < 0
    is_named = code.is_not_null() | pl.col("SKU").is_not_null()
    back = (pl.col("QUANTITY") < 0) | (less & is_named)
    return pl.col("ITEM_STATUS").eq_missing("RETURNED") | (back & code.str.contains(goods).fill_null(True))


def counts() -> pl.Expr:
    """Whether a line of bronze.transaction_items is one: a voided one is not."""
    return pl.col("ITEM_STATUS").ne_missing("VOIDED")


def with_lines_given_back(facts: pl.LazyFrame, bronze_transaction_items: pl.LazyFrame, goods: str) -> pl.LazyFrame:
    """Transactions, in silver's names, with ``exchanged_amount``, what a purchase took back as it was made, and
    ``later``, what its lines say came back since: both positive, as delivered. ``is_sale`` and ``is_return`` are judged
    anew.
    """
    lines = bronze_transaction_items.filter(counts()).select(
        transaction_id="TRANSACTION_ID",
        source_system="_source_system",
        amount="TOTAL_PRICE",
        goes_back=goes_back(goods),
    )
    amount, back = pl.col("amount"), pl.col("goes_back")
    sums = (
        lines.join(lines.filter(back).select(KEY).unique(), on=KEY, how="semi")
        .group_by(KEY)
        .agg(
            sold__=amount.filter(~back).sum(),
            negative__=-amount.filter(back & (amount < 0)).sum(),
            marked__=amount.filter(back & (amount >= 0)).sum(),
            sells__=(~back).any(),
        )
    )
    judged = facts.join(sums, on=KEY, how="left").with_columns(_shared_out())
    is_purchase = pl.col("is_sale") | (pl.col("is_return") & (pl.col("transaction_type") == "PURCHASE"))
    total, taken = pl.col("total_amount"), pl.col("exchanged_amount")
    sells = (total >= 0) | (pl.col("sells__").fill_null(False) & (total + taken > 0))
    moved = pl.when(is_purchase & sells)
    return judged.with_columns(
        is_sale=is_purchase & sells,
        is_return=pl.col("is_return") & ~(is_purchase & sells),
        exchanged_amount=moved.then(taken).otherwise(ZERO),
        later=moved.then("later").otherwise(ZERO),
    ).drop("sold__", "negative__", "marked__", "sells__")


def _shared_out() -> list[pl.Expr]:
    """Which lines that give back are in the total already, ``exchanged_amount``, and which came after, ``later``."""
    sold, negative, marked = (pl.col(c).fill_null(0).cast(pl.Float64) for c in ("sold__", "negative__", "marked__"))
    usual, none_in = _off(sold - negative + marked), _off(sold + marked)
    all_in = pl.min_horizontal(_off(sold - negative), _off(sold - negative - marked))
    is_usual, is_all_in = usual <= pl.min_horizontal(all_in, none_in) + FIT, all_in <= none_in + FIT
    own, since = (pl.col(c).fill_null(0).cast(MONEY) for c in ("negative__", "marked__"))
    every = (pl.col("negative__") + pl.col("marked__")).fill_null(0).cast(MONEY)
    return [
        pl.when(is_usual).then(own).when(is_all_in).then(every).otherwise(ZERO).alias("exchanged_amount"),
        pl.when(is_usual).then(since).when(is_all_in).then(ZERO).otherwise(every).alias("later"),
    ]


def brought_in(lines: pl.LazyFrame, headers: pl.LazyFrame) -> pl.LazyFrame:
    """Sales whose lines of status RETURNED were bought on another receipt: what was sold fits without them better.
    ``lines``: the key, total_price, back__ and counts__, `marked` among them; ``headers``: of silver.transactions.
    """
    amount, stands = pl.col("total_price").cast(pl.Float64), lines.filter("counts__")
    some = stands.filter(marked()).select(KEY).unique().join(headers.filter("is_sale"), on=KEY, how="semi")
    sums = (
        stands.join(some, on=KEY, how="semi")
        .group_by(KEY)
        .agg(sold__=amount.filter(~pl.col("back__")).sum(), marked__=amount.filter(marked()).sum())
    )
    sold = pl.col("total_amount") + pl.col("exchanged_amount").fill_null(0)
    without, of_all = (_off(pl.sum_horizontal(columns), sold) for columns in (["sold__"], ["sold__", "marked__"]))
    return sums.join(headers, on=KEY).filter(without + FIT < of_all).select(KEY)


def marked() -> pl.Expr:
    """Whether its status alone takes a line back: goods that were sold on the receipt, as a rule, and came back."""
    return pl.col("back__") & (pl.col("quantity") >= 0) & (pl.col("total_price") >= 0)


def _off(base: pl.Expr, total: pl.Expr = pl.col("total_amount")) -> pl.Expr:  # noqa: B008 - an expression never changes
    """How far the total is from a sum of lines, with or without tax, shipping and discount."""
    parts = [pl.col(c).cast(pl.Float64).fill_null(0) for c in ("tax_amount", "shipping_amount", "discount_amount")]
    signed, total = [parts[0], parts[1], -parts[2].abs()], total.cast(pl.Float64)
    return pl.min_horizontal(
        (total - pl.sum_horizontal(base, *(p for p, is_in in zip(signed, chosen, strict=True) if is_in))).abs()
        for chosen in product((True, False), repeat=len(signed))
    )


def given_back_since() -> pl.Expr:
    """Of return_amount of silver.transactions, what was given back after the receipt: all but what it took back itself,
    in the reporting currency.
    """
    at_once = converted(pl.col("exchanged_amount").fill_null(0).cast(MONEY), known_rate()).fill_null(0)
    return pl.col("return_amount") - pl.when(pl.col("is_unconverted").fill_null(False)).then(ZERO).otherwise(at_once)


MOVES = ("occurred_on", "returned_on", "is_sale", "net_amount", "return_amount", "exchanged_amount", "currency",
         "exchange_rate", "is_unconverted")  # fmt: skip


def is_given_back_late() -> pl.Expr:
    """Whether what was given back stands on a later day than that of the sale: money is of the day that it moved."""
    return (pl.col("returned_on") > pl.col("occurred_on")).fill_null(False)


def moved(transactions: pl.LazyFrame, *keep: str) -> pl.LazyFrame:
    """One row per transaction (with `MOVES`) and day that its money moved: the columns of ``keep``, ``on``,
    ``order_count`` (1 of a sale on its day, else 0) and ``net_amount``, in the reporting currency. A return is below
    zero, of the place and person of its own receipt. What neither sells nor moves money has no row.
    """
    is_late, since = is_given_back_late(), given_back_since()
    at_once = transactions.filter(pl.col("is_sale") | (pl.col("net_amount") != 0) | is_late).select(
        *keep,
        on="occurred_on",
        order_count=pl.col("is_sale").cast(pl.Int64),
        net_amount=(pl.col("net_amount") + pl.when(is_late).then(since).otherwise(ZERO)).cast(MONEY),
    )
    later = transactions.filter(is_late).select(
        *keep, on="returned_on", order_count=pl.lit(0, pl.Int64), net_amount=(-since).cast(MONEY)
    )
    return pl.concat([at_once, later])
