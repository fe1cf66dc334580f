"""How totals of orders come from their lines: with tax, shipping and discount, or with some of these in the lines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import polars as pl

from customer360.platform.sources.profiling.columns import Column
from customer360.platform.sources.profiling.relations import depends
from customer360.platform.sources.values import amounts
from customer360.serve.drafting import sql
from customer360.serve.drafting.entries import Entry, Guess
from customer360.serve.drafting.meaning import Match, Meaning

PARTS = {"TAX_AMOUNT": ("tax", 1), "SHIPPING_AMOUNT": ("shipping", 1), "DISCOUNT_AMOUNT": ("discount", -1)}
TOLERANCE = 0.021  # of an order, for cents that are rounded line by line
MOST, FEW = 0.9, 5  # share of the orders that have to agree, and how many are enough


@dataclass(frozen=True)
class Reading:
    """What adds up to the totals of orders: the lines, the parts beside them, in how many of how many orders."""

    total: Match
    parts: tuple[str, ...]
    share: float
    orders: int


def settle(entry: Entry, headers: Meaning, lines: Meaning, others: tuple[Match, ...]) -> None:
    """Take of several totals the one that the lines add up to, and say how; ask where none does.

    ``others`` are columns of amounts that may be meant where the one that was taken is not.
    """
    total = headers.matches.get("TOTAL_AMOUNT")
    sums = _sums(headers, lines)
    if total is None or sums is None or "TOTAL_AMOUNT" not in entry.mapping or entry.group_by:
        return
    tried = [reading for match in (total, *others) for reading in _readings(match, headers, sums)]
    agreeing = [reading for reading in tried if reading.share >= MOST]
    if agreeing:
        best = max(agreeing, key=lambda r: (len(r.parts), r.total is total, r.share))
        entry.take("TOTAL_AMOUNT", best.total)
        guess = entry.mapping["TOTAL_AMOUNT"]
        entry.mapping["TOTAL_AMOUNT"] = Guess(
            guess.expression, f"{guess.why}; {_said(best, headers)}", guess.is_assumed
        )
    elif tried and tried[0].orders >= FEW:
        best = max(tried, key=lambda r: r.share)
        entry.asks.append(
            f"TOTAL_AMOUNT: lines of {lines.delivery.path} add up to {best.total.column.name} in {best.share:.0%} of "
            "the orders, whatever of tax, shipping and discount is counted; what else is in it?"
        )


def _said(reading: Reading, headers: Meaning) -> str:
    words = {name: word for name, (word, _) in PARTS.items()}
    added = "".join(f" {'-' if PARTS[name][1] < 0 else '+'} {words[name]}" for name in reading.parts)
    inside = [words[name] for name in PARTS if name in headers.matches and name not in reading.parts]
    rest = f", {' and '.join(inside)} in the lines already" if inside else ""
    return f"the sum of its lines{added} in {reading.share:.0%} of {reading.orders:,} orders{rest}"


def _readings(total: Match, headers: Meaning, sums: pl.DataFrame) -> Iterator[Reading]:
    """Each way to count the parts that the header holds; those that are zero everywhere count in any."""
    held = [name for name in PARTS if (c := headers.column(name)) is not None and c.largest > 0]
    if total.column.name not in sums.columns:
        return
    for chosen in product((True, False), repeat=len(held)):
        parts = tuple(name for name, is_in in zip(held, chosen, strict=True) if is_in)
        expected = pl.col("_lines") + pl.sum_horizontal(
            pl.lit(0.0), *(PARTS[p][1] * pl.col(p).fill_null(0) for p in parts)
        )
        agrees = sums.select(((expected - pl.col(total.column.name)).abs() <= TOLERANCE).mean()).item()
        yield Reading(total, parts, float(agrees or 0.0), sums.height)


def _sums(headers: Meaning, lines: Meaning) -> pl.DataFrame | None:
    """Orders with the sum of their lines, their amounts and parts as numbers; None where they do not meet."""
    order, key = lines.column("TRANSACTION_ID"), headers.column("TRANSACTION_ID")
    amount = line_sums(lines)
    if order is None or key is None or amount is None:
        return None
    added = pl.DataFrame({"_key": _text(order), "_lines": amount}).group_by("_key").agg(pl.col("_lines").sum())
    columns = {c.name: _numbers(c) for c in headers.delivery.columns.values() if c.is_number and not c.form}
    columns |= {name: _numbers(c) for name in PARTS if (c := headers.column(name)) is not None}
    heads = pl.DataFrame({"_key": _text(key), **columns})
    return heads.unique("_key", keep="none").join(added, on="_key").filter(pl.col("_lines").is_not_null())


def line_sums(lines: Meaning) -> pl.Series | None:
    """What each line comes to, as numbers: its total, else its price by its quantity."""
    total, price, quantity = (lines.column(name) for name in ("TOTAL_PRICE", "UNIT_PRICE", "QUANTITY"))
    if total is not None:
        return _numbers(total)
    if price is None or lines.column("DISCOUNT_PERCENTAGE") is not None:
        return None
    return _numbers(price) * (_numbers(quantity) if quantity is not None else 1)


def take_parts(entry: Entry, lines: Meaning, heads: Meaning) -> None:
    """Tax, shipping and discount of a list of lines: added up, or once where they stand on each line of an order."""
    order = lines.column("TRANSACTION_ID")
    for name in PARTS:
        match = heads.matches.get(name)
        if match is None or order is None or match.column.name in _names_of(lines):
            continue
        column = sql.name(match.column)
        several = lines.delivery.frame.filter(pl.col(order.name).is_duplicated())
        of_order = name == "SHIPPING_AMOUNT" or (
            several.height >= FEW and depends(several, match.column.name, order.name) > 0.98
        )
        entry.take(name, match, f"MAX({column})" if of_order else f"ROUND(SUM({column}), 2)")
        if name == "TAX_AMOUNT":
            _say_tax(entry, lines, match.column)


def _names_of(lines: Meaning) -> set[str]:
    return {match.column.name for match in lines.matches.values()}


def _say_tax(entry: Entry, lines: Meaning, tax: Column) -> None:
    """Whether the amounts of lines hold their tax: where price by quantity and tax make them, they do; else ask."""
    total, price, quantity = (lines.column(name) for name in ("TOTAL_PRICE", "UNIT_PRICE", "QUANTITY"))
    if total is not None and price is not None:
        net = _numbers(price) * (_numbers(quantity) if quantity is not None else 1) + _numbers(tax).fill_null(0)
        if float(((net - _numbers(total)).abs() <= TOLERANCE).mean() or 0.0) >= MOST:  # type: ignore[arg-type]
            guess = entry.mapping["TAX_AMOUNT"]
            entry.mapping["TAX_AMOUNT"] = Guess(
                guess.expression, f"{guess.why}; {total.name} holds it", guess.is_assumed
            )
            return
    entry.asks.append(f"TAX_AMOUNT: is {tax.name} in the amounts of the lines already? They are taken as they are")


def _text(column: Column) -> pl.Series:
    return column.data.cast(pl.String, strict=False).str.strip_chars()


def _numbers(column: Column) -> pl.Series:
    return amounts.parsed(column.data, column.name, _silent).cast(pl.Float64, strict=False)


def _silent(_: str) -> None:
    """What was assumed of a sample is said of the draft."""
