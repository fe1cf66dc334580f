"""From bronze rows to current records: corrections applied, contract judged, versions and duplicates folded.

A *record table* is a silver table with one row for each key of one bronze table (``Node.records``), such as
silver.transactions of bronze.transactions: bronze holds every delivery, the record table what stands of them. A record
here is such a row, not the record of a file, which ``platform.sources`` reads.

Every bronze row ends in exactly one place: it is the current version of its key, part of it (combined), an exact
duplicate of another row, an older version, replaced by a correction or a later delivery, a deletion, or in quarantine
with its reasons. A value of an optional column that breaks the contract costs the row nothing: it is null here,
counted, and kept in bronze.

Which version of a key is current depends on what was delivered alone: its version column where the contract declares
one, then the order of the source (``delivery``). Never on a clock, on the time of change of a file, or on the number
of runs; times that lie after their own delivery count as ``ahead`` says.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import timedelta

import polars as pl

from customer360.platform import judging, tables
from customer360.platform.delivery import DELIVERY, INPUT, ranked
from customer360.platform.judging import Verdict
from customer360.platform.quality import Quarantine, quarantine_rows, row_id
from customer360.platform.quality.ahead import MARGIN, ahead
from customer360.platform.quality.checks import TableChecks, Tally, tally
from customer360.platform.run.combine import fold
from customer360.platform.run.deletions import (
    GONE,
    Snapshot,
    alive,
    is_deletion,
    missing,
    parted,
    since_restated,
    with_versions,
)
from customer360.platform.run.redating import redated
from customer360.platform.tables import Table

NULLED = {"row_id": pl.String, "rule": pl.String, "column": pl.String, "value": pl.String}
COUNTS = ("bronze", "quarantined", "duplicates", "superseded", "combined", "deleted")  # that add up


@dataclass(frozen=True)
class Current:
    """``rows``: current bronze rows; ``quarantined``: broken rules; ``tally``: quality; ``facts``: counts that must
    balance, and beside them how many optional values of the current rows were nulled; ``nulled``: these, `NULLED`."""

    rows: pl.DataFrame
    quarantined: pl.DataFrame
    facts: dict[str, int]
    tally: Tally = field(default_factory=dict)
    nulled: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=NULLED))


def current_records(
    table: type[Table],
    bronze: pl.DataFrame,
    replaced: set[str],
    checks: TableChecks | None = None,
    margin: timedelta = MARGIN,
    snapshots: Iterable[Snapshot] = (),
    *,
    measured: bool = True,
    refuse: Collection[str] = (),
) -> Current:
    """Judge and fold a part of a bronze table that holds all rows of its keys.

    ``replaced`` are addresses (source/seq/file/position) of rows that a correction stands for; ``margin`` is how far a
    time may lie after its landing; ``snapshots`` the newest of each source that delivers snapshots. Quality is not
    ``measured`` of rows that are only read beside others: it is where they are a table of their own. ``refuse`` names
    optional columns whose broken values cost the row, not the value alone.
    """
    if bronze.is_empty():
        return Current(bronze, Quarantine.create_empty(), dict.fromkeys(COUNTS, 0))
    standing = bronze.filter(~row_id().is_in(list(replaced))) if replaced else bronze
    dated, moved = redated(table, standing, margin)
    delivered, _ = parted(table, standing)
    judged, deletions = parted(table, dated)
    verdict = judging.judge(table, judged, ahead(table, judged, margin), refuse)
    refused = quarantine_rows(table, delivered, verdict)
    sound = pl.concat([verdict.valid, deletions])
    repaired = delivered_again(table, judged.filter(row_id().is_in(refused["row_id"].implode())), sound)
    quarantined = refused.filter(~pl.col("row_id").is_in(repaired))
    is_gone = is_deletion() | missing(table, dated, snapshots)
    folded = _fold(table, sound.with_columns(is_gone.alias(GONE)))
    facts = {
        "bronze": bronze.height,
        "quarantined": judged.height - verdict.valid.height - len(repaired),
        "duplicates": folded.repeats.height,
        "superseded": folded.older + bronze.height - standing.height + len(repaired),
        "combined": folded.combined,
        "deleted": folded.deleted,
    }
    nulled = _nulled(verdict, judged, folded.rows)
    facts |= _counted(nulled) | moved
    if not measured:
        return Current(folded.rows, quarantined, facts, nulled=nulled)
    repeats = folded.repeats.filter(~is_deletion())
    counted = tally(table, checks, delivered, verdict.valid, repeats, _sound(delivered, verdict))
    return Current(folded.rows, quarantined, facts, counted, nulled)


def _nulled(verdict: Verdict, judged: pl.DataFrame, current: pl.DataFrame) -> pl.DataFrame:
    """Values of optional columns that broke their contract in the rows that are current, `NULLED`."""
    if verdict.nulled.is_empty():
        return pl.DataFrame(schema=NULLED)
    placed = judged.lazy().select(row_id=row_id()).with_row_index(tables.ROW).collect()
    cells = verdict.nulled.join(placed, on=tables.ROW)
    of_current = cells.join(current.select(row_id=row_id()), on="row_id", how="semi")
    return of_current.select(list(NULLED)).sort("row_id", "column", "rule")


def _counted(nulled: pl.DataFrame) -> dict[str, int]:
    """How many values were nulled, in all and by column and rule; nothing where none were."""
    if nulled.is_empty():
        return {}
    counted = nulled.group_by("column", "rule").len().sort("column", "rule")
    return {"nulled": nulled.height, **{f"nulled|{c}|{rule}": n for c, rule, n in counted.rows()}}


def _sound(standing: pl.DataFrame, verdict: Verdict) -> pl.DataFrame:
    """Of the rows that keep their contract as they are, neither refused nor without a value that broke a rule, the
    system."""
    broken = pl.concat([verdict.failures.select(tables.ROW), verdict.nulled.select(tables.ROW)])
    systems = standing.select("_source_system")
    return systems.with_row_index(tables.ROW).join(broken, on=tables.ROW, how="anti") if broken.height else systems


def in_order(table: type[Table], rows: pl.DataFrame) -> pl.DataFrame:
    """Rows by version, then by the order of delivery within their source, the current one of each key last."""
    version = [v] if (v := tables.spec(table).version) else []
    return ranked(rows).sort([*version, "_source", *DELIVERY], nulls_last=False).drop(INPUT)


@dataclass(frozen=True)
class _Folded:
    """One row a key; exact duplicates of others; how many older versions, contributors to others, and deletions."""

    rows: pl.DataFrame
    repeats: pl.DataFrame
    older: int = 0
    combined: int = 0
    deleted: int = 0


def _fold(table: type[Table], sound: pl.DataFrame) -> _Folded:
    """One row a key that is not gone: versions within a source, then what several sources say of it (``combine``).

    A value that comes back (open, closed, open again) is an exact duplicate of an earlier row, and yet the newest.
    """
    declared = tables.spec(table)
    none = sound.clear().drop(GONE)
    if not declared.key or sound.is_empty():
        return _Folded(sound.drop(GONE), none)
    key = ["_source_system", *declared.key]
    is_repeated = _is_repeated(sound.select(key))
    several = bool(is_repeated.any())
    single = sound.filter(~is_repeated) if several else sound
    alone = (single.filter(~pl.col(GONE)) if single[GONE].any() else single).drop(GONE)
    if not several:
        return _Folded(alone, none, deleted=single.height - alone.height)
    repeated = sound.filter(is_repeated)
    repeated = in_order(table, with_versions(table, repeated, ["_source", *key]))
    told = repeated.select("_source_system", is_deletion(), *table.columns())
    repeats = repeated.filter(~told.select(pl.struct(pl.all()).is_first_distinct()).to_series())
    standing, gone = alive(table, since_restated(repeated, ["_source", *key]), key)
    folded = fold(table, standing)
    dead = gone.join(folded.rows, on=key, how="anti").unique(subset=key).height
    older = repeated.height - repeats.height - folded.rows.height - folded.combined - dead
    deleted = dead + single.height - alone.height
    return _Folded(pl.concat([alone, folded.rows]), repeats.drop(GONE), older, folded.combined, deleted)


def _is_repeated(keys: pl.DataFrame) -> pl.Series:
    """Whether another row has the same key. By hashes first: hardly any row shares one."""
    near = keys.hash_rows().is_duplicated()
    if not near.any():
        return near
    same = keys.filter(near).select(pl.struct(pl.all()).is_duplicated()).to_series()
    return near.scatter(near.arg_true(), same)


def delivered_again(table: type[Table], refused: pl.DataFrame, valid: pl.DataFrame) -> list[str]:
    """Addresses of refused rows whose key came again later from the same source, and is valid: the source repaired
    them.
    """
    declared = tables.spec(table)
    key = ["_source", "_source_system", *declared.key]
    if not declared.key or refused.is_empty():
        return []
    again = valid.join(refused.select(key).unique(), on=key, how="semi")
    if again.is_empty():
        return []
    version = pl.col(declared.version) if declared.version else pl.lit(None)
    both = pl.concat([refused.with_columns(is_valid=False), again.with_columns(is_valid=True)])
    placed = ranked(both).sort(DELIVERY).with_row_index("place")
    compared = placed.select(*key, "place", "is_valid", address=row_id(), version=version)
    pairs = compared.filter(~pl.col("is_valid")).join(compared.filter("is_valid"), on=key, suffix="_again")
    is_repaired = (pl.col("place_again") > pl.col("place")) & ~(pl.col("version_again") < pl.col("version")).fill_null(
        False
    )
    return pairs.filter(is_repaired)["address"].unique().to_list()
