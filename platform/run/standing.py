"""Which bronze rows would stand only because others went.

What is current is told from what bronze holds (`records`): a superseded row is current again, a refused one waits in
quarantine again, as soon as nothing stands for it any more. So whatever takes rows out of bronze takes these along.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import polars as pl

from customer360.platform import judging, tables
from customer360.platform.lake import File, Lake
from customer360.platform.quality import ADDRESS, row_id
from customer360.platform.quality.ahead import MARGIN, ahead
from customer360.platform.run.deletions import is_deletion, not_overruled, parted, since_restated, with_versions
from customer360.platform.run.planning import corrected
from customer360.platform.run.records import delivered_again, in_order
from customer360.platform.run.redating import redated
from customer360.platform.tables import Table


@dataclass
class Stood:
    """What rows that go stood for: addresses of ``rows`` of the same table that stay without them, and those of all
    that they corrected, ``letters`` among them."""

    rows: set[str] = field(default_factory=set)
    letters: set[str] = field(default_factory=set)


def stood_for(lake: Lake, name: str, going: pl.Expr, may_go: pl.Expr, files: Iterable[File]) -> Stood:
    """What stands by rows that are ``going`` alone, all of them in these ``files``: earlier deliveries of the keys of
    which the newest valid row goes, what a deletion overruled, and what corrections stand for. A row that may not go
    stays."""
    found, held = Stood(), list(files)
    rests = lake.scan(name).filter(~going & may_go)
    left = [lake.scan(name, held).filter(going)]
    found.rows.update(_superseded(lake, name, going, may_go, held))
    if found.rows:
        left.append(rests.filter(_is_at(found.rows)))
    while named := set().union(*(_corrected_by(rows) for rows in left)) - found.letters:
        left = [rests.filter(_is_at(named))]  # what is corrected may correct something itself
        found.letters |= named
        found.rows.update(left[0].select(row_id()).collect().to_series())
    return found


def _corrected_by(rows: pl.LazyFrame) -> set[str]:
    return set(rows.select(pl.col("_replay_of").drop_nulls()).collect().to_series())


def _superseded(lake: Lake, name: str, going: pl.Expr, may_go: pl.Expr, files: list[File]) -> list[str]:
    """Rows of keys of which nothing that stands for them stays. Most keys came once, and are told by hashes."""
    table = tables.by_name(name)
    key = ["_source_system", *tables.spec(table).key]
    if len(key) == 1:
        return []
    near = pl.struct(key).hash()
    of_old = lake.scan(name, files).filter(going).select(near.unique()).collect(engine="streaming").to_series()
    of_others = lake.scan(name).filter(~going, near.is_in(of_old.implode()))
    shared = of_others.select(near.unique()).collect(engine="streaming").to_series()
    if shared.is_empty():
        return []
    rows = lake.scan(name).filter(near.is_in(shared.implode())).collect()
    standing = rows.filter(~row_id().is_in(corrected(lake, {name: lake.files(name)})))
    sound, refused = _judged(table, standing)
    ended = _newest(table, sound).join(rows.filter(going), on=ADDRESS, how="semi")
    under = rows.join(ended, on=["_source", *key], how="semi", nulls_equal=True)
    overruled = rows.join(not_overruled(table, rows, ended.filter(is_deletion()), key), on=ADDRESS, how="anti")
    taken = pl.concat([under, overruled]).filter(~going & may_go).select(*ADDRESS, address=row_id())
    stay = sound.filter(~going).join(taken, on=ADDRESS, how="anti")
    repaired = set(delivered_again(table, refused, sound)) - set(delivered_again(table, refused, stay))
    open_again = refused.filter(_is_at(repaired) & ~going & may_go).select(row_id()).to_series()
    return [*taken["address"].unique(), *open_again]


def _judged(table: type[Table], standing: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Of rows that no correction stands for those that keep their contract, deletions among them, and the others."""
    judged, deletions = parted(table, redated(table, standing, MARGIN)[0])
    valid = judging.judge(table, judged, ahead(table, judged, MARGIN)).valid
    return pl.concat([valid, deletions]), judged.join(valid, on=ADDRESS, how="anti")


def _newest(table: type[Table], sound: pl.DataFrame) -> pl.DataFrame:
    """The newest row of each key and source."""
    own = ["_source", "_source_system", *tables.spec(table).key]
    ordered = since_restated(in_order(table, with_versions(table, sound, own)), own)
    return ordered.unique(own, keep="last", maintain_order=True)


def _is_at(addresses: Iterable[str]) -> pl.Expr:
    return row_id().is_in(pl.Series(sorted(addresses), dtype=pl.String).implode())
