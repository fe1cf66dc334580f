"""Which keys of a bronze table are gone: deleted by a record that says so, or missing from the newest snapshot.

What such a row lacks beside its key breaks no contract. A deletion holds for the key in its system: rows of other
sources stand again by a newer version only. A key that is merely missing from a snapshot is gone from that source
alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import polars as pl

from customer360.platform import tables
from customer360.platform.delivery import DELIVERY, INPUT, natural, ranked
from customer360.platform.tables import Table

GONE = "_gone"  # whether a row's key is deleted, if the row is its newest
PLACE = "place"
REPLAYED = r"^[^/]*/(\d+)/(.*)/-?\d+$"  # batch and input of the row that a correction names


@dataclass(frozen=True)
class Snapshot:
    """The newest snapshot of a source: its batch, and its input; an empty ``file`` is all inputs of the batch."""

    source: str
    seq: int
    file: str = ""


def is_deletion() -> pl.Expr:
    """Whether a bronze row is a deletion."""
    return pl.col("_deleted").fill_null(False)


def parted(table: type[Table], standing: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows that the contract judges, and deletions, of which only the key is asked."""
    key = tables.spec(table).key
    if not key or not standing["_deleted"].any():
        return standing, standing.clear()
    named = is_deletion() & pl.all_horizontal(pl.col(key).is_not_null())
    return standing.filter(~named), standing.filter(named)


def missing(table: type[Table], standing: pl.DataFrame, snapshots: Iterable[Snapshot]) -> pl.Expr:
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


def with_versions(table: type[Table], rows: pl.DataFrame, key: list[str]) -> pl.DataFrame:
    """Rows whose deletions have a version: one that names none, as its record holds the key alone, is as new as the
    newest row of the key that its source delivered before.
    """
    version = tables.spec(table).version
    unknown = is_deletion() & pl.col(version).is_null() if version else pl.lit(False)
    if version is None or not rows.select(unknown.any()).item():
        return rows
    placed = ranked(rows).sort(DELIVERY).drop(INPUT)
    newest = pl.col(version).cum_max().forward_fill().over(key)
    return placed.with_columns(pl.when(unknown).then(newest).otherwise(pl.col(version)).alias(version))


def since_restated(rows: pl.DataFrame, key: list[str]) -> pl.DataFrame:
    """Rows, in order, without those that a later delivery of their key and source stands for as a whole."""
    if not rows["_restates"].any():
        return rows
    numbered = rows.with_row_index(PLACE)
    placed = ranked(numbered).sort(DELIVERY).with_row_index("delivered").drop(INPUT)
    last = pl.col("delivered").filter(pl.col("_restates")).max().over(key)
    return placed.filter(pl.col("delivered") >= last.fill_null(0)).sort(PLACE).drop(PLACE, "delivered")


def not_overruled(table: type[Table], alive: pl.DataFrame, gone: pl.DataFrame, key: list[str]) -> pl.DataFrame:
    """Rows whose key no other source deleted, or which are of a newer version than its deletion."""
    deletions = gone.filter(is_deletion())
    if alive.is_empty() or deletions.is_empty():
        return alive
    version = tables.spec(table).version
    if version is None:
        return alive.join(deletions, on=key, how="anti")
    last = deletions.group_by(key).agg(pl.col(version).max().alias("deleted_at"), is_deleted=pl.lit(True))
    is_newer = (pl.col(version) > pl.col("deleted_at")).fill_null(False)
    joined = alive.join(last, on=key, how="left", maintain_order="left")
    return joined.filter(pl.col("is_deleted").is_null() | is_newer).select(alive.columns)


def alive(table: type[Table], rows: pl.DataFrame, key: list[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Of rows in order, with `GONE`: those after the last deletion of their key in their source, where it is not gone;
    and the newest row of each source whose key is gone there.
    """
    of_source = ["_source", *key]
    numbered = rows.with_row_index(PLACE)
    newest = numbered.unique(subset=of_source, keep="last", maintain_order=True)
    gone = newest.filter(GONE)
    standing = not_overruled(table, newest.filter(~pl.col(GONE)), gone, key)
    last = pl.col(PLACE).filter(pl.col(GONE)).max().over(of_source).fill_null(-1)
    later = numbered.with_columns(pl.col(PLACE).cast(pl.Int64)).filter(pl.col(PLACE) > last)
    kept = later.join(standing.select(of_source), on=of_source, how="semi", maintain_order="left")
    return kept.drop(PLACE, GONE), gone.drop(PLACE)
