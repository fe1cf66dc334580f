"""From bronze rows to current records: corrections applied, contract judged, versions and duplicates folded.

A *record table* is a silver table with one row for each key of one bronze table (``Node.records``), such as
silver.transactions of bronze.transactions: bronze holds every delivery, the record table what stands of them. A record
here is such a row, not the record of a file, which ``platform.sources`` reads.

Every bronze row ends in exactly one place: it is the current version of its key, an exact duplicate of another row,
an older version, replaced by a correction, or in quarantine with its reasons. A value of an optional column that breaks
the contract costs the row nothing: it is null here, counted, and kept in bronze.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import polars as pl

from customer360.platform import tables
from customer360.platform.quality import quarantine_rows, row_id
from customer360.platform.quality.checks import TableChecks, Tally, tally
from customer360.platform.tables import Table, Verdict

ARRIVAL = ("_ingested_at", "_source", "_seq", "_file", "_position")


@dataclass(frozen=True)
class Current:
    """``rows``: current bronze rows; ``quarantined``: broken rules; ``tally``: quality; ``facts``: counts that must balance,
    and beside them how many optional values were nulled."""

    rows: pl.DataFrame
    quarantined: pl.DataFrame
    facts: dict[str, int]
    tally: Tally = field(default_factory=dict)


def current_records(
    table: type[Table], bronze: pl.DataFrame, replaced: set[str], checks: TableChecks | None = None
) -> Current:
    """Judge and fold a part of a bronze table that holds all rows of its keys.

    ``replaced`` are addresses (source/seq/file/position) of rows that a correction stands for.
    """
    standing = bronze.filter(~row_id().is_in(list(replaced))) if replaced else bronze
    verdict = tables.judge(table, standing)
    quarantined = quarantine_rows(table, standing, verdict)
    rows, repeats, older = _fold(table, verdict.valid)
    facts = {
        "bronze": bronze.height,
        "quarantined": standing.height - verdict.valid.height,
        "duplicates": repeats.height,
        "superseded": older + bronze.height - standing.height,
    } | _nulled(verdict)
    return Current(
        rows, quarantined, facts, tally(table, checks, standing, verdict.valid, repeats, _sound(standing, verdict))
    )


def _nulled(verdict: Verdict) -> dict[str, int]:
    """How many values of optional columns broke their contract, in all and by column and rule; nothing where none did."""
    if verdict.nulled.is_empty():
        return {}
    counted = verdict.nulled.group_by("column", "rule").len().sort("column", "rule")
    return {"nulled": verdict.nulled.height, **{f"nulled|{c}|{rule}": n for c, rule, n in counted.rows()}}


def _sound(standing: pl.DataFrame, verdict: Verdict) -> pl.DataFrame:
    """The rows that keep their contract as they are: neither refused nor without a value that broke a rule."""
    broken = pl.concat([verdict.failures.select(tables.ROW), verdict.nulled.select(tables.ROW)])
    return standing.with_row_index(tables.ROW).join(broken, on=tables.ROW, how="anti") if broken.height else standing


def _fold(table: type[Table], valid: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, int]:
    """One row a key: the newest version, then the latest arrival. Returns rows, exact duplicates, number of older versions."""
    declared = tables.spec(table)
    none = valid.clear()
    if not declared.key or valid.is_empty():
        return valid, none, 0
    key = ["_source_system", *declared.key]
    repeated = valid.filter(pl.struct(key).is_duplicated())
    if repeated.is_empty():
        return valid, none, 0
    is_distinct = repeated.select("_source_system", *table.columns()).select(pl.struct(pl.all()).is_first_distinct())
    repeats = repeated.filter(~is_distinct.to_series())
    order = [*([declared.version] if declared.version else []), *ARRIVAL]
    newest = repeated.sort(order, nulls_last=False).unique(subset=key, keep="last", maintain_order=True)
    single = valid.filter(~pl.struct(key).is_duplicated())
    return pl.concat([single, newest]), repeats, repeated.height - repeats.height - newest.height
