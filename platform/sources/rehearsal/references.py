"""References between sources: rows that name a parent which neither waits nor landed, and ids that look alike.

A column that is called as the one key of another table refers to it. What is absent from a part of a file may stand
behind it, so absence is only told of parents that were read to the end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import polars as pl

from customer360.platform import tables
from customer360.platform.lake import Lake
from customer360.platform.sources.landing import Landing
from customer360.platform.sources.rehearsal.findings import Finding, examples, part
from customer360.platform.sources.rehearsal.samples import Sample, Waiting, key_frame

STORED = 5_000_000  # rows of a lake's table, up to which its keys are read
HALF = 0.5
ID, SYSTEM = "id", "system"
# How ids come to differ that are the same, and what to do.
FORMS = {
    "leading zeros": (pl.col(ID).str.replace(r"^0+(\d)", "$1"), "export the column as text"),
    "a fraction .0": (pl.col(ID).str.replace(r"[.,]0+$", ""), "export the column as text"),
    "upper and lower case": (pl.col(ID).str.to_lowercase(), "map one with LOWER(…) or UPPER(…)"),
    "blanks and signs": (pl.col(ID).str.replace_all(r"[\W_]+", ""), "map one with REPLACE(…)"),
    "leading zeros, case and signs": (
        pl.col(ID).str.to_lowercase().str.replace_all(r"[\W_]+", "").str.replace(r"^[a-z]*0+(\d)", "$1"),
        "map both to one form",
    ),
}


@dataclass
class _Parents:
    """Keys of a table that wait or landed, by system, and whether these are all."""

    frame: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema={SYSTEM: pl.String, ID: pl.String}))
    is_all: bool = True


def reference_findings(
    lake: Lake, landing: Landing, samples: list[Sample], waiting: Sequence[Waiting], loss: float
) -> Iterator[Finding]:
    """Rows of every source whose parent is unknown, where some source brings the parents: now, or before."""
    configured = {each.source.table for each in waiting if each.source.table in tables.TABLES}
    keys = {
        spec.key[0]: name for name in sorted(configured) if len((spec := tables.spec(tables.TABLES[name])).key) == 1
    }
    known: dict[str, _Parents] = {}
    for sample in samples:
        for column in sample.table.columns():
            parent = keys.get(column)
            if parent is None or parent == sample.source.table or sample.rows.is_empty():
                continue
            if parent not in known:
                known[parent] = _parents(lake, landing, samples, parent)
                unread = {each.name for each in waiting if each.source.table == parent and each.inputs}
                known[parent].is_all &= unread <= {each.name for each in samples}
            yield from _unknown(sample, column, parent, known[parent], loss)


def _parents(lake: Lake, landing: Landing, samples: list[Sample], table: str) -> _Parents:
    found = _Parents()
    (key,) = tables.spec(tables.TABLES[table]).key
    for sample in samples:
        if sample.source.table == table:
            frame, is_all = key_frame(landing, sample.waiting, sample.looks)
            system = pl.lit(sample.source.system).alias(SYSTEM)
            found.frame = pl.concat([found.frame, frame.select(system, pl.col(key).alias(ID))])
            found.is_all = found.is_all and is_all
    if lake.exists(table):
        if sum(file.rows for file in lake.files(table)) > STORED:
            found.is_all = False
        else:
            stored = lake.scan(table).select(pl.col("_source_system").alias(SYSTEM), pl.col(key).alias(ID))
            found.frame = pl.concat([found.frame, stored.collect()])
    found.frame = found.frame.drop_nulls().unique(maintain_order=True)
    return found


def _unknown(sample: Sample, column: str, parent: str, parents: _Parents, loss: float) -> Iterator[Finding]:
    named = sample.rows.select(pl.col(column).cast(pl.String).alias(ID)).drop_nulls()
    if named.is_empty() or parents.frame.is_empty():
        return
    is_account = tables.pii_columns(sample.table).get(column) == "account"
    mine = parents.frame.filter(pl.col(SYSTEM) == sample.source.system) if is_account else parents.frame
    lost = named.join(mine, on=ID, how="anti")
    if lost.height <= loss * named.height:
        return
    shown = examples(lost[ID].unique(maintain_order=True).head(3).to_list(), sample.table, column)
    what = f"{part(lost.height, named.height)} name no row of {parent}, such as {shown}"
    alike, do = _alike(lost, parents.frame, mine, sample.source.system)
    if not alike and not parents.is_all:
        return  # it may stand behind what was read
    where = sample.said(column)
    yield Finding("warning", sample.name, where, what + (f": {alike}" if alike else ""), do)


def _alike(lost: pl.DataFrame, everyone: pl.DataFrame, mine: pl.DataFrame, system: str) -> tuple[str, str]:
    """Why ids that are the same do not meet, and what to do: most of those that are lost meet in that form."""
    elsewhere = lost.join(everyone, on=ID, how="semi")
    if elsewhere.height > HALF * lost.height:
        others = everyone.join(lost, on=ID, how="semi")[SYSTEM].unique().sort().to_list()
        named = ", ".join(others)
        return f"they are known in the system {named}, not in {system}", f"set `system: {others[0]}` if it gave the ids"
    for form, (plain, do) in FORMS.items():
        met = lost.with_columns(plain).join(everyone.with_columns(plain), on=ID, how="semi")
        if met.height > HALF * lost.height:
            return f"{part(met.height, lost.height)} of them would but for {form}", do
    return "", "is a delivery missing, or do the ids come from another system?"
