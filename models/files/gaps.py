"""What a transaction file leaves open: an end before the date, days without a row, rows twice, customers nobody can
score. Each is a line that says what to do; where every answer would be wrong, the file is refused.
"""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

from customer360.pipelines.features import QUIET_DAYS
from customer360.platform.errors import ModelError

SILENT_GAPS = 2  # times the longest silence within the file: after so many it has ended
MISSED_DAYS = 10.0  # days with a sale that a gap would have had, from which on it is told
NAMED = 3  # gaps, the longest


def told(lines: pl.DataFrame, as_of: date) -> list[str]:
    """Notes on lines (`customer`, `at`, `amount`) that are scored as of a date. Raises ModelError where the file ends
    so long before it that silence could not be told from an absent file.
    """
    on = lines.select(on=pl.col("at").dt.date(), amount="amount")
    _require_reach(on, as_of)
    notes = [_silences(on.filter(pl.col("on") < as_of)), _nothing(lines), _twice(lines), _unscored(lines, as_of)]
    return [note for note in notes if note]


def _require_reach(on: pl.DataFrame, as_of: date) -> None:
    """The file has rows at the date, or its silence before it is one that it has had before."""
    days = on["on"].unique().sort()
    last: date = days[-1]
    silence = (as_of - last).days - 1
    longest = int(days.diff().dt.total_days().max() or 0)  # type: ignore[arg-type]
    if silence > max(QUIET_DAYS, SILENT_GAPS * longest):
        raise ModelError(
            f"the file ends on {last}, {silence} days before --as-of {as_of}: scored so, everybody would seem to have "
            f"left; give --as-of {last + timedelta(days=1)}, or a file that reaches the day before {as_of}"
        )


def _silences(on: pl.DataFrame) -> str:
    """Gaps in which, as often as there are sales otherwise, there would have been many."""
    days = on.filter(pl.col("amount") > 0)["on"].unique().sort()
    if len(days) < QUIET_DAYS:
        return ""
    gaps = pl.DataFrame({"since": days[:-1], "length": days.diff()[1:].dt.total_days() - 1})
    span = (days[-1] - days[0]).days + 1
    long = gaps.filter(pl.col("length") > QUIET_DAYS)
    often = len(days) / max(span - int(long["length"].sum()), 1)
    found = long.filter(pl.col("length") * often > MISSED_DAYS).sort("length", descending=True)
    if found.is_empty():
        return ""
    named = ", ".join(
        f"{row['since'] + timedelta(days=1)} to {row['since'] + timedelta(days=row['length'])}"
        for row in found.head(NAMED).iter_rows(named=True)
    )
    more = f" and {found.height - NAMED} more times" if found.height > NAMED else ""
    return f"warning: no sale from {named}{more}: read as days on which nobody bought; if the file lacks them, add them"


def _nothing(lines: pl.DataFrame) -> str:
    free = int((lines["amount"] == 0).sum())
    return f"{free:,} rows with an amount of 0 are neither a purchase nor a return" if free else ""


def _twice(lines: pl.DataFrame) -> str:
    """Rows equal in all that was read. On dates without a time two equal purchases are not rare: they are told only
    where most rows have a double.
    """
    if {"invoice", "item"} <= set(lines.columns):
        return ""  # folded already
    doubles = lines.height - lines.unique().height
    timed = bool((lines["at"] != lines["at"].dt.truncate("1d")).any())
    if not doubles or (not timed and doubles < lines.height / 3):
        return ""
    return (
        f"warning: {doubles:,} of {lines.height:,} rows are equal to another one in customer, time and amount, and "
        "each counts as sold; if the file holds rows twice, remove these (--columns invoice=…,item=… folds them)"
    )


def _unscored(lines: pl.DataFrame, as_of: date) -> str:
    """Customers of the file that have no row in the result."""
    before, bought = pl.col("at").dt.date() < as_of, pl.col("amount") > 0
    each = lines.group_by("customer").agg(scored=(before & bought).any(), known=before.any())
    unknown = each.filter(~pl.col("scored"))
    if unknown.is_empty():
        return ""
    unpaid = int(unknown["known"].sum())
    why = [f"{unpaid:,} without a purchase above 0 before it"] if unpaid else []
    if later := unknown.height - unpaid:
        why.append(f"{later:,} who begin on it or later")
    return f"{unknown.height:,} customers cannot be scored as of {as_of} and are left out: {', '.join(why)}"
