"""Keys: rows of one file that replace each other, versions that do not move, keys that two sources bring."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import polars as pl

from customer360.platform import tables
from customer360.platform.sources.rehearsal.findings import Finding, examples, part
from customer360.platform.sources.rehearsal.samples import FILE, Sample

MANY = 0.2  # share of rows that are replaced, from which on they are rather of another grain than the table
NOBODY, AS_OFTEN = "0", 3  # number of who has no account, and how many times as often as any other it comes then
OFTEN = 0.05  # share of keys in common, or of rows that are replaced, from which on it is no coincidence


def repeat_findings(sample: Sample) -> Iterator[Finding]:
    """Rows that share a key with others of the same file, and no version orders them: one of each key would stand."""
    declared, rows = tables.spec(sample.table), sample.rows
    if not declared.key or rows.is_empty():
        return
    key, name = list(declared.key), " + ".join(declared.key)
    content = rows.drop("_rescued", "_position").filter(pl.all_horizontal(pl.col(key).is_not_null()))
    distinct = content.unique(maintain_order=True)  # equal copies are no loss
    repeated = distinct.filter(pl.struct(FILE, *key).is_duplicated())
    if repeated.is_empty():
        return
    version = declared.version
    lost = repeated.height - repeated.select(FILE, *key).n_unique()
    if version and repeated[version].count():
        tied = repeated.filter(pl.struct(FILE, *key, version).is_duplicated())
        if tied.height:
            what = f"{part(tied.height, content.height)} share {name} and {version} and yet differ"
            do = f"{version} cannot order them: the last row of the file would stand"
            yield Finding("warning", sample.name, sample.said(version), what, do)
        return
    if lost > OFTEN * content.height:
        shown = examples(repeated[key[0]].head(50).to_list(), sample.table, key[0])
        what = f"{part(lost, content.height)} would be replaced by others of the same file and {name}, such as {shown}"
        do = "are they lines? Use `group_by`, or the table of lines" + (f"; else map {version}" if version else "")
        yield Finding("error" if lost > MANY * content.height else "warning", sample.name, name, what, do)


def stand_in_findings(sample: Sample) -> Iterator[Finding]:
    """Number 0 in far more rows than any other account: systems write it for who has none, and all would be one."""
    accounts = [name for name, kind in tables.pii_columns(sample.table).items() if kind == "account"]
    contract = sample.table.columns()
    for name in accounts:
        if not contract[name].nullable or name not in sample.rows.columns:
            continue
        held = sample.rows[name].drop_nulls()
        often = int((held == NOBODY).sum())
        others = held.filter(held != NOBODY).value_counts()
        if not often or not others.height or not others[name].str.contains(r"^\d+$").all():
            continue
        if often >= AS_OFTEN * int(others["count"].max()):  # type: ignore[arg-type]
            what = f"{part(often, len(held))} have number 0, {AS_OFTEN} times as many as any other or more"
            do = f"if it says that somebody has none, map it: `{name}: NULLIF(…, '0')`; all would be one and the same"
            yield Finding("warning", sample.name, sample.said(name), what, do)


def shared_keys(samples: list[Sample]) -> Iterator[Finding]:
    """Keys that two sources of one system and table bring: one record each, from both."""
    for one, other in combinations(samples, 2):
        same = one.source.table == other.source.table and one.source.system == other.source.system
        if same and not one.rows.is_empty() and not other.rows.is_empty():
            yield from _shared(one, other)


def _shared(one: Sample, other: Sample) -> Iterator[Finding]:
    key = list(tables.spec(one.table).key)
    left, right = (s.rows.drop("_rescued", "_position", FILE).unique(key, keep="last").drop_nulls(key) for s in (one, other))  # fmt: skip  # noqa: E501
    both = left.join(right, on=key, suffix="_other")
    if not key or not both.height or both.height < OFTEN * min(left.height, right.height):
        return
    columns = [c for c in left.columns if c not in key and c != tables.spec(one.table).version]
    differ = [c for c in columns if both.filter(pl.col(c) != pl.col(f"{c}_other")).height > OFTEN * both.height]
    keys = "key" if both.height == 1 else "keys"
    what = f"{one.name} and {other.name} share {both.height:,} {keys} of system {one.source.system}"
    if differ:
        what += f", with different values of {', '.join(differ[:5])}"
        do = "if these are other customers or receipts, give each source its own `system`"
        yield Finding("warning", other.name, " + ".join(key), what, do)
    else:
        what += ": each is one record made of both"
        do = f"if these are different things, give each its own `system`; {one.source.table} keeps one row a key"
        yield Finding("note", other.name, " + ".join(key), what, do)
