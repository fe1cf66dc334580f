"""From bronze rows to current records: corrections applied, contract judged, versions and duplicates folded.

A *record table* is a silver table with one row for each key of one bronze table (``Node.records``), such as
silver.transactions of bronze.transactions: bronze holds every delivery, the record table what stands of them. A record
here is such a row, not the record of a file, which ``platform.sources`` reads.

Every bronze row ends in exactly one place: it is the current version of its key, an exact duplicate of another row,
an older version, replaced by a correction or a later delivery, a deletion, or in quarantine with its reasons. A value
of an optional column that breaks the contract costs the row nothing: it is null here, counted, and kept in bronze.

Which version of a key is current depends on what was delivered alone: its version column where the contract declares
one, then the order of the source: number of the batch, natural order of the names of its inputs (day9 before day10),
position. Never on a clock, on the time of change of a file, or on the number of runs.

A key is deleted where its newest version says so (``_deleted``), or where it is missing from the newest snapshot of its
source. What such a row lacks beside its key breaks no contract. A deletion holds for the key in its system: rows of
other sources stand again by a newer version only. A key that is merely missing from a snapshot is gone from that source
alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import polars as pl

from customer360.platform import tables
from customer360.platform.quality import quarantine_rows, row_id
from customer360.platform.quality.checks import TableChecks, Tally, tally
from customer360.platform.sources.landing import natural
from customer360.platform.tables import Table, Verdict

INPUT = "_input"  # rank of a row's input in the natural order of names
DELIVERY = ("_seq", INPUT, "_position")  # the order of a source
GONE = "_gone"  # whether a row's key is deleted, if the row is its newest
REPLAYED = r"^[^/]*/(\d+)/(.*)/-?\d+$"  # batch and input of the row that a correction names


@dataclass(frozen=True)
class Snapshot:
    """The newest snapshot of a source: its batch, and its input; an empty ``file`` is all inputs of the batch."""

    source: str
    seq: int
    file: str = ""


@dataclass(frozen=True)
class Current:
    """``rows``: current bronze rows; ``quarantined``: broken rules; ``tally``: quality; ``facts``: counts that must
    balance, and beside them how many optional values were nulled."""

    rows: pl.DataFrame
    quarantined: pl.DataFrame
    facts: dict[str, int]
    tally: Tally = field(default_factory=dict)


def current_records(
    table: type[Table],
    bronze: pl.DataFrame,
    replaced: set[str],
    checks: TableChecks | None = None,
    snapshots: Iterable[Snapshot] = (),
) -> Current:
    """Judge and fold a part of a bronze table that holds all rows of its keys.

    ``replaced`` are addresses (source/seq/file/position) of rows that a correction stands for; ``snapshots`` the newest
    of each source that delivers snapshots.
    """
    standing = bronze.filter(~row_id().is_in(list(replaced))) if replaced else bronze
    judged, deletions = _parted(table, standing)
    verdict = tables.judge(table, judged)
    refused = quarantine_rows(table, judged, verdict)
    sound = pl.concat([verdict.valid, deletions])
    repaired = _delivered_again(table, judged.filter(row_id().is_in(refused["row_id"].implode())), sound)
    quarantined = refused.filter(~pl.col("row_id").is_in(repaired))
    missing = _missing(table, standing, snapshots)
    folded = _fold(table, sound.with_columns((pl.col("_deleted").fill_null(False) | missing).alias(GONE)))
    facts = {
        "bronze": bronze.height,
        "quarantined": judged.height - verdict.valid.height - len(repaired),
        "duplicates": folded.repeats.height,
        "superseded": folded.older + bronze.height - standing.height + len(repaired),
        "deleted": folded.deleted,
    } | _nulled(verdict)
    repeats = folded.repeats.filter(~_is_deletion())
    return Current(
        folded.rows, quarantined, facts, tally(table, checks, judged, verdict.valid, repeats, _sound(judged, verdict))
    )


def _is_deletion() -> pl.Expr:
    return pl.col("_deleted").fill_null(False)


def _parted(table: type[Table], standing: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows that the contract judges, and deletions, of which only the key is asked."""
    key = tables.spec(table).key
    if not key or not standing["_deleted"].any():
        return standing, standing.clear()
    is_deletion = _is_deletion() & pl.all_horizontal(pl.col(key).is_not_null())
    return standing.filter(~is_deletion), standing.filter(is_deletion)


def _missing(table: type[Table], standing: pl.DataFrame, snapshots: Iterable[Snapshot]) -> pl.Expr:
    """Whether the key of a row is in no record of the newest snapshot of its source, refused or not, nor in a later
    one. A correction counts as part of what it corrects."""
    key, found = list(tables.spec(table).key), pl.lit(False)
    for snapshot in snapshots:
        rows = standing.filter(pl.col("_source") == snapshot.source)
        named = pl.col("_replay_of").str.extract_groups(REPLAYED)
        at = rows.select(
            *key,
            seq=pl.coalesce(named.struct.field("1").cast(pl.Int64), "_seq"),
            file=pl.coalesce(named.struct.field("2"), "_file"),
        )
        since = [f for f in at["file"].unique().to_list() if natural(f) >= natural(snapshot.file)]
        is_in = (pl.col("seq") > snapshot.seq) | ((pl.col("seq") == snapshot.seq) & pl.col("file").is_in(since))
        present = at.filter(is_in).select(pl.struct(key)).to_series().implode()
        found = found | ((pl.col("_source") == snapshot.source) & ~pl.struct(key).is_in(present))
    return found


def _nulled(verdict: Verdict) -> dict[str, int]:
    """How many values of optional columns broke their contract, in all and by column and rule; nothing where
    none did.
    """
    if verdict.nulled.is_empty():
        return {}
    counted = verdict.nulled.group_by("column", "rule").len().sort("column", "rule")
    return {"nulled": verdict.nulled.height, **{f"nulled|{c}|{rule}": n for c, rule, n in counted.rows()}}


def _sound(standing: pl.DataFrame, verdict: Verdict) -> pl.DataFrame:
    """The rows that keep their contract as they are: neither refused nor without a value that broke a rule."""
    broken = pl.concat([verdict.failures.select(tables.ROW), verdict.nulled.select(tables.ROW)])
    return standing.with_row_index(tables.ROW).join(broken, on=tables.ROW, how="anti") if broken.height else standing


def in_order(table: type[Table], rows: pl.DataFrame) -> pl.DataFrame:
    """Rows by version, then by the order of delivery within their source, the current one of each key last."""
    version = [v] if (v := tables.spec(table).version) else []
    return _with_rank(rows).sort([*version, "_source", *DELIVERY], nulls_last=False).drop(INPUT)


def across_sources(newest: pl.DataFrame, key: list[str]) -> pl.DataFrame:
    """Of the newest rows of each source, in order, the one that stands for a key."""
    return newest.unique(subset=key, keep="last", maintain_order=True)


@dataclass(frozen=True)
class _Folded:
    """One row a key, exact duplicates of others, and how many older versions and deletions there are."""

    rows: pl.DataFrame
    repeats: pl.DataFrame
    older: int = 0
    deleted: int = 0


def _fold(table: type[Table], sound: pl.DataFrame) -> _Folded:
    """The newest version of each key, then the latest delivery, where it is no deletion.

    A value that comes back (open, closed, open again) is an exact duplicate of an earlier row, and yet the newest.
    """
    declared = tables.spec(table)
    none = sound.clear().drop(GONE)
    if not declared.key or sound.is_empty():
        return _Folded(sound.drop(GONE), none)
    key = ["_source_system", *declared.key]
    single = sound.filter(~pl.struct(key).is_duplicated())
    alone = single.filter(~pl.col(GONE)).drop(GONE)
    repeated = sound.filter(pl.struct(key).is_duplicated())
    if repeated.is_empty():
        return _Folded(alone, none, deleted=single.height - alone.height)
    repeated = in_order(table, _with_version(table, repeated, ["_source", *key]))
    told = repeated.select("_source_system", _is_deletion(), *table.columns())
    repeats = repeated.filter(~told.select(pl.struct(pl.all()).is_first_distinct()).to_series())
    by_source = _since_restated(table, repeated, ["_source", *key])
    by_source = by_source.unique(subset=["_source", *key], keep="last", maintain_order=True)
    gone = by_source.filter(GONE)
    newest = across_sources(_not_overruled(table, by_source.filter(~pl.col(GONE)), gone, key).drop(GONE), key)
    dead = gone.join(newest, on=key, how="anti").unique(subset=key).height
    older = repeated.height - repeats.height - newest.height - dead
    deleted = dead + single.height - alone.height
    return _Folded(pl.concat([alone, newest]), repeats.drop(GONE), older, deleted)


def _with_version(table: type[Table], rows: pl.DataFrame, key: list[str]) -> pl.DataFrame:
    """Rows whose deletions have a version: one that names none, as its record holds the key alone, is as new as the
    newest row of the key that its source delivered before.
    """
    version = tables.spec(table).version
    unknown = _is_deletion() & pl.col(version).is_null() if version else pl.lit(False)
    if version is None or not rows.select(unknown.any()).item():
        return rows
    placed = _with_rank(rows).sort(DELIVERY).drop(INPUT)
    newest = pl.col(version).cum_max().forward_fill().over(key)
    return placed.with_columns(pl.when(unknown).then(newest).otherwise(pl.col(version)).alias(version))


def _since_restated(table: type[Table], rows: pl.DataFrame, key: list[str]) -> pl.DataFrame:
    """Rows, in order, without those that a later delivery of their key and source stands for as a whole."""
    if not rows["_restates"].any():
        return rows
    placed = _with_rank(rows).sort(DELIVERY).with_row_index("place").drop(INPUT)
    last = pl.col("place").filter(pl.col("_restates")).max().over(key)
    return in_order(table, placed.filter(pl.col("place") >= last.fill_null(0)).drop("place"))


def _not_overruled(table: type[Table], alive: pl.DataFrame, gone: pl.DataFrame, key: list[str]) -> pl.DataFrame:
    """Rows whose key no other source deleted, or which are of a newer version than its deletion."""
    deletions = gone.filter(_is_deletion())
    if alive.is_empty() or deletions.is_empty():
        return alive
    version = tables.spec(table).version
    if version is None:
        return alive.join(deletions, on=key, how="anti")
    last = deletions.group_by(key).agg(pl.col(version).max().alias("deleted_at"), is_deleted=pl.lit(True))
    is_newer = (pl.col(version) > pl.col("deleted_at")).fill_null(False)
    joined = alive.join(last, on=key, how="left", maintain_order="left")
    return joined.filter(pl.col("is_deleted").is_null() | is_newer).select(alive.columns)


def _delivered_again(table: type[Table], refused: pl.DataFrame, valid: pl.DataFrame) -> list[str]:
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
    placed = _with_rank(both).sort(DELIVERY).with_row_index("place")
    compared = placed.select(*key, "place", "is_valid", address=row_id(), version=version)
    pairs = compared.filter(~pl.col("is_valid")).join(compared.filter("is_valid"), on=key, suffix="_again")
    is_repaired = (pl.col("place_again") > pl.col("place")) & ~(pl.col("version_again") < pl.col("version")).fill_null(
        False
    )
    return pairs.filter(is_repaired)["address"].unique().to_list()


def _with_rank(rows: pl.DataFrame) -> pl.DataFrame:
    names = sorted(rows["_file"].unique().to_list(), key=natural)
    ranks = pl.DataFrame({"_file": names, INPUT: range(len(names))}, schema={"_file": pl.String, INPUT: pl.Int64})
    return rows.join(ranks, on="_file", how="left", maintain_order="left")
