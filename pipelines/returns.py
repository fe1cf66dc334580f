"""What becomes of a sale that is delivered again as a refund: it stays a sale, with money given back.

Rows of type RETURN, REFUND or EXCHANGE under the number of a sale, and purchases below zero, speak of that sale,
whether its own source delivers them or another one (a feed of refunds):

- Those of one TRANSACTION_DATE are versions of one refund, of which the newest counts; those of different dates are
  refunds of their own, and add up. An exact copy counts once. Only completed ones move money.
- A refund counts unless its source delivered the sale again after it, and dated no earlier.
- An exchange below zero is a refund; one above zero adds to the sale.
- What several sources say was given back, and what REFUNDED_AMOUNT says, is the same money: the largest sum stands. Of
  versions the last that has a REFUNDED_AMOUNT counts: empty is not 0.
- The date is that of the last refund where it is later than the sale, else when the first version that tells of the sum
  was updated.
- A sale that was still pending and has refunds was paid. One that was cancelled or failed moves no money.
"""

from __future__ import annotations

import polars as pl

from customer360.platform.tables import LIVES_ON

MIXED = "XXX"  # ISO 4217: no currency. Refunds of one sale in several currencies have no sum
BUYER = ("CUSTOMER_ID", "VISITOR_ID")
OF_A_FEED = (*BUYER, "LAST_UPDATED_DATE", "REFUND_REASON")  # what a feed of refunds tells of a sale
TOLD = ("REFUNDED_AMOUNT", "REFUNDED_CURRENCY", "REFUNDED_DATE")
PLACE, LAST, SOLD, SOLD_AT, COUNTS = "at__", "last__", "sold__", "sold_at__", "counts__"
MONEY = pl.Decimal(12, 2)

is_sale = (pl.col("TRANSACTION_TYPE") == "PURCHASE") & (pl.col("TOTAL_AMOUNT") >= 0)
adds = (pl.col("TRANSACTION_TYPE") == "EXCHANGE") & (pl.col("TOTAL_AMOUNT") > 0)


def sales_with_returns(rows: pl.DataFrame, key: list[str]) -> pl.DataFrame:
    """Versions of transactions, in order, where the newest row of each source of a sale is that sale with what was
    given back of it; see ``platform.tables.Settle``. Keys without a sale stay as they are.
    """
    placed = rows.with_row_index(PLACE)
    speak_of_sales = placed.join(placed.filter(is_sale).select(key).unique(), on=key, how="semi", maintain_order="left")
    told_of = speak_of_sales.filter(~is_sale | (pl.col("REFUNDED_AMOUNT") > 0)).select(key).unique()
    ours = _judged(speak_of_sales.join(told_of, on=key, how="semi", maintain_order="left"), key)
    if ours.is_empty():
        return rows
    told, added = _told(ours, key), _added(ours, key)
    newest = _newest(ours, key).drop(TOLD).join(told, on=key, how="left").join(added, on=key, how="left")
    was_paid = (pl.col("TRANSACTION_STATUS") == "PENDING") & (pl.col("REFUNDED_AMOUNT") > 0)
    settled = newest.with_columns(
        TOTAL_AMOUNT=(pl.col("TOTAL_AMOUNT") + pl.col("added").fill_null(0)).cast(MONEY),
        TRANSACTION_STATUS=pl.when(was_paid).then(pl.lit("COMPLETED")).otherwise("TRANSACTION_STATUS"),
    ).select(placed.columns)
    gave = ours.filter(pl.col(COUNTS) | (pl.col(PLACE) == pl.col(SOLD)))[PLACE]
    others = placed.join(settled, on=PLACE, how="anti")
    lives_on = pl.col(LIVES_ON) | pl.col(PLACE).is_in(gave.implode())
    return pl.concat([others, settled]).sort(PLACE).with_columns(lives_on.alias(LIVES_ON)).drop(PLACE)


def _judged(ours: pl.DataFrame, key: list[str]) -> pl.DataFrame:
    """Adds the places of the newest row and of the last sale of each source, when it was sold, and whether a row moves
    money beside the sale.
    """
    own, place, at = ["_source", *key], pl.col(PLACE), pl.col("TRANSACTION_DATE")
    sold_at = at.filter(is_sale).last()
    told = ours.with_columns(
        place.max().over(own).alias(LAST),
        place.filter(is_sale).max().over(own).alias(SOLD),
        pl.coalesce(sold_at.over(own), sold_at.over(key)).alias(SOLD_AT),
    )
    stands = (place > pl.col(SOLD)).fill_null(True) | (at > pl.col(SOLD_AT))
    moves = ~is_sale & (pl.col("TRANSACTION_STATUS") == "COMPLETED") & stands
    newest = place == place.filter(moves).max().over([*own, "TRANSACTION_DATE"])
    return told.with_columns((moves & newest).fill_null(False).alias(COUNTS))


def _told(ours: pl.DataFrame, key: list[str]) -> pl.DataFrame:
    """Of each sale with money given back: how much, in which currency if not that of the sale, and when."""
    later, at = pl.col("TRANSACTION_DATE") > pl.col(SOLD_AT), pl.col("TRANSACTION_DATE")
    updated, money = pl.col("LAST_UPDATED_DATE"), pl.col("CURRENCY_CODE")
    of_sale = ours.filter(is_sale, money.is_not_null()).group_by(key).agg(sale_money=money.last())
    by_rows = (
        ours.filter(COUNTS, ~adds)
        .join(of_sale, on=key, how="left")
        .with_columns(money__=pl.when(money.ne_missing(pl.col("sale_money"))).then(money))
        .group_by("_source", *key)
        .agg(
            pl.col("TOTAL_AMOUNT").abs().sum().cast(MONEY).alias(TOLD[0]),
            pl.when(pl.col("money__").fill_null("").n_unique() > 1).then(pl.lit(MIXED))
            .otherwise(pl.col("money__").first()).alias(TOLD[1]),
            pl.coalesce(at.filter(later).max(), updated.min()).alias(TOLD[2]),
        )
    )  # fmt: skip
    amount = pl.col(TOLD[0])
    of_last = amount.filter(is_sale).drop_nulls().last().over("_source", *key)  # a version without says nothing of it
    by_column = (
        ours.filter(is_sale)
        .filter(amount == of_last, amount > 0)
        .sort(PLACE)
        .group_by("_source", *key, maintain_order=True)
        .agg(amount.first(), pl.col(TOLD[1]).first(), pl.coalesce(pl.col(TOLD[2]).last(), updated.min()).alias(TOLD[2]))
    )
    told = pl.concat([by_rows.select("_source", *key, *TOLD), by_column.select("_source", *key, *TOLD)])
    order = [
        pl.col(TOLD[1]).is_null(),
        pl.col(TOLD[0]),
        pl.col(TOLD[2]).is_not_null(),
        pl.col(TOLD[2]),
        pl.col("_source"),
    ]
    certain = told.sort(order, descending=[False, False, False, True, False])  # of equal sums the earlier date
    return certain.unique(key, keep="last", maintain_order=True).select(*key, *TOLD)


def _added(ours: pl.DataFrame, key: list[str]) -> pl.DataFrame:
    """What exchanges for something dearer add to a sale; of several sources the largest sum."""
    by_source = ours.filter(COUNTS, adds).group_by("_source", *key).agg(added=pl.col("TOTAL_AMOUNT").sum())
    return by_source.group_by(key).agg(pl.col("added").max())


def _newest(ours: pl.DataFrame, key: list[str]) -> pl.DataFrame:
    """One row a source at the address of its newest: its last sale, or what little a feed of refunds knows of one."""
    own = ["_source", *key]
    meant = [c for c in ours.columns if c.isupper() and c not in key]
    newest = ours.filter(pl.col(PLACE) == pl.col(LAST))
    sales = ours.filter(pl.col(PLACE) == pl.col(SOLD)).select(*own, *meant)
    addresses = newest.drop(meant).join(
        newest.select(*own, new_date="LAST_UPDATED_DATE", new_reason="REFUND_REASON"), on=own
    )
    sold = addresses.join(sales, on=own, how="inner").with_columns(
        LAST_UPDATED_DATE="new_date", REFUND_REASON=pl.coalesce("new_reason", "REFUND_REASON")
    )
    buyers = sales.group_by(key).agg(is_known=pl.any_horizontal(pl.col(BUYER).is_not_null().any()))
    feeds = newest.filter(pl.col(SOLD).is_null()).join(buyers, on=key, how="left")
    feeds = feeds.with_columns(
        *(pl.lit(None).cast(ours.schema[c]).alias(c) for c in meant if c not in OF_A_FEED),
        *(pl.when(~pl.col("is_known")).then(c).alias(c) for c in BUYER),
    )
    return pl.concat([sold.select(ours.columns), feeds.select(ours.columns)])
