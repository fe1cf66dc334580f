"""Every version of a record: as sources delivered it, and as tables stored it.

What was *delivered* is bronze, which keeps each row that ever came with when and by which batch: complete, and what
the build of the record table makes of each row says what became of it. What was *stored* are the Delta versions of a
table, as far back as `lake vacuum` left their files. An erasure takes both.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from customer360.platform import graph, tables
from customer360.platform.errors import LakeError, VersionGone
from customer360.platform.lake import BUCKET, File, Lake, bucket_numbers
from customer360.platform.lineage.columns import of_node
from customer360.platform.lineage.rows import key_of, naming_columns, typed_keys
from customer360.platform.quality import ADDRESS, row_id
from customer360.platform.quality.ahead import MARGIN
from customer360.platform.run.deletions import Snapshot
from customer360.platform.run.records import current_records, in_order
from customer360.platform.tables import BRONZE_METADATA, LANDED, SUBJECT_KEYS, Table

VERSIONS = 50  # of a stored table that are looked into, the newest


@dataclass(frozen=True)
class Version:
    """One version of a record: since when it is known, by which batch or commit, what became of it, its values, and
    what is another one than in the version before (none in the first)."""

    known_at: datetime
    by: str
    state: str
    values: Mapping[str, Any]
    changed: Mapping[str, tuple[Any, Any]]


def records_table(table: str) -> str | None:
    """The bronze table that holds what was delivered of a table's records: itself, or the one that its build turns
    into rows one to one."""
    if table.startswith("bronze."):
        return table
    node = graph.NODES.get(table)
    return node.records if node else None


def bronze_key(lake: Lake, table: str, words: Iterable[str], rules: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The key in bronze of a record that is named in ``table``: columns that its build, given the ``rules``, copies or
    that have the same name in the sources' spelling; or of the row that stands, where the table has a key of its own.

    Raises:
        LakeError: the words name nothing there, no row stands from which the key could be read, or a column of the key
            is in no column of the table.
    """
    named, bronze = key_of(table, words), records_table(table) or table
    if table == bronze:
        return named
    theirs = _copies(table, bronze, rules or {})
    if set(named) <= set(theirs):
        return {theirs[c]: value for c, value in named.items()}
    own = [c for c in theirs if c in tables.schema(tables.by_name(table))]
    lacking = sorted(set(naming_columns(bronze)) - {theirs[c] for c in own})
    if lacking or not own:
        raise LakeError(
            f"{table} has no column with {', '.join(lacking) or 'a key'} of {bronze}, by which a record is told from "
            f"others: `customer360 history {bronze} …`"
        )
    rows = lake.scan(table).join(typed_keys(table, named).lazy(), on=list(named), how="semi")
    found = rows.select(own).unique().collect()
    if found.height != 1:
        said = "no row" if found.is_empty() else f"{found.height:,} records"
        raise LakeError(
            f"{table}: {said} with {_said(named)}; what was delivered is found by {', '.join(theirs.values())}: "
            f"`customer360 history {bronze} …`"
        )
    return {theirs[c]: found[c].item() for c in own}


def _copies(table: str, bronze: str, rules: Mapping[str, Any]) -> dict[str, str]:
    """The key of bronze by the columns of a table that hold it: copies, else those of the same name."""
    key = naming_columns(bronze)
    flow = of_node(graph.NODES[table], rules).flows[table]
    copied = {
        column: use.column
        for column, uses in flow.columns.items()
        if column not in flow.at_most and len(uses) == 1
        for use in uses
        if (use.table, use.how) == (bronze, "identity") and use.column in key
    }
    alike = {c.lower().removeprefix("_"): c for c in key if c not in copied.values()}
    return alike | copied


def delivered(
    lake: Lake,
    bronze: str,
    key: Mapping[str, Any],
    snapshots: Iterable[Snapshot] = (),
    margin: timedelta = MARGIN,
    refuse: Collection[str] = (),
) -> list[Version]:
    """Every row that sources ever delivered of a record, oldest first, and what its table makes of each: current,
    superseded, repeated, refused (with the rule), corrected, or a deletion.

    ``key`` are values of columns of the bronze table; the whole key names one record, a part of it several. ``refuse``
    as in `TableChecks`.
    """
    contract = tables.by_name(bronze)
    if not lake.exists(bronze):
        return []
    rows = lake.scan(bronze).join(typed_keys(bronze, key).lazy(), on=list(key), how="semi").collect()
    if rows.is_empty():
        return []
    rows = in_order(contract, rows).with_columns(address=row_id())
    addresses = rows["address"].to_list()
    of_corrections = lake.scan(bronze).filter(pl.col("_replay_of").is_in(addresses)).select("_replay_of").collect()
    replaced = set(of_corrections["_replay_of"])
    bare, held = rows.drop("address"), list(snapshots)
    made = current_records(contract, bare, replaced, None, margin, held, measured=False, refuse=refuse)
    standing = set(made.rows.select(row_id()).to_series())
    refused = dict[str, list[str]]()
    for address, rule, column in made.quarantined.select("row_id", "rule", "column_name").rows():
        refused.setdefault(address, []).append(f"{column} {rule}" if column else rule)
    return list(_told(contract, rows, standing, refused, replaced))


def _told(
    contract: type[Table], rows: pl.DataFrame, standing: set[str], refused: Mapping[str, list[str]], replaced: set[str]
) -> Iterator[Version]:
    columns, key = list(contract.columns()), [*tables.spec(contract).key, "_source_system"]
    before: dict[tuple[Any, ...], dict[str, Any]] = {}
    current = {_whole(row, key, columns) for row in rows.to_dicts() if row["address"] in standing}
    for row in rows.to_dicts():
        values = {c: row[c] for c in columns}
        which, address = tuple(row[c] for c in key), row["address"]
        last = before.get(which)
        state = (
            "corrected" if address in replaced
            else "deletion" if row["_deleted"]
            else f"refused: {', '.join(sorted(set(refused[address])))}" if address in refused
            else "current" if address in standing
            else "repeated" if _whole(row, key, columns) in current
            else "superseded"
        )  # fmt: skip
        said = f"{row['_source']}/{row['_seq']} {row['_file']}:{row['_position']}"
        said += f" (corrects {row['_replay_of']})" if row["_replay_of"] else ""
        yield Version(row[LANDED], said, state, values, {} if last is None else _changes(last, values))
        before[which] = values


def _whole(row: Mapping[str, Any], key: list[str], columns: list[str]) -> tuple[str, ...]:
    return tuple(str(row[c]) for c in (*key, *columns))


def stored(lake: Lake, table: str, keys: Mapping[str, Any], limit: int = VERSIONS) -> tuple[list[Version], int]:
    """The versions of rows in the newest ``limit`` Delta versions of a table, oldest first; and how many versions
    before those could not be read any more or were not looked into.

    Raises:
        TableMissing: the table was not built yet.
    """
    commits = lake.history(table)  # newest first
    wanted = typed_keys(table, keys)
    seen: dict[str, pl.DataFrame] = {}
    snapshots: list[tuple[dict[str, Any], pl.DataFrame]] = []
    for commit in commits[:limit]:
        try:
            files = _holding(lake, table, lake.files(table, int(commit["version"])), wanted)
        except (VersionGone, FileNotFoundError):
            break
        for file in files:
            if file.path not in seen:
                frame = lake.scan(table, [file]).join(wanted.lazy(), on=list(keys), how="semi")
                seen[file.path] = frame.collect()
        rows = [seen[f.path] for f in files if seen[f.path].height]
        snapshots.append((commit, pl.concat(rows) if rows else pl.DataFrame()))
    return list(_stored_told(table, reversed(snapshots))), len(commits) - len(snapshots)


def _stored_told(table: str, snapshots: Iterable[tuple[dict[str, Any], pl.DataFrame]]) -> Iterator[Version]:
    """One version a row that is new, another one or gone, commit by commit."""
    key = naming_columns(table) if not table.startswith("bronze.") else ADDRESS
    before: dict[tuple[Any, ...], dict[str, Any]] = {}
    for commit, rows in snapshots:
        at = datetime.fromtimestamp(commit["timestamp"] / 1000, UTC)
        by = f"version {commit['version']} ({commit.get('customer360.app') or commit.get('operation')})"
        told = rows.to_dicts()
        now = {tuple(row[c] for c in key) if key else (number,): row for number, row in enumerate(told)}
        for which, row in now.items():
            if which not in before:
                yield Version(at, by, "stored", row, {})
            elif changed := _changes(before[which], row):
                yield Version(at, by, "changed", row, changed)
        for which, row in before.items():
            if which not in now:
                yield Version(at, by, "gone", row, {})
        before = now


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    return {c: (before[c], v) for c, v in after.items() if c not in BRONZE_METADATA and before[c] != v}


def _holding(lake: Lake, table: str, files: list[File], wanted: pl.DataFrame) -> list[File]:
    """Files that may hold the wanted rows, by bucket and partition."""
    subject = next((c for c in SUBJECT_KEYS if c in wanted.columns), None)
    if subject and tables.spec(tables.by_name(table)).bucketed:
        buckets = {str(b) for b in bucket_numbers(wanted[subject], lake.buckets_of(table))}
        files = [f for f in files if f.partition.get(BUCKET) in (None, *buckets)]
    told = {c: {str(v) for v in wanted[c]} for c in wanted.columns}
    return [f for f in files if all(v is None or c not in told or v in told[c] for c, v in f.partition.items())]


def _said(named: Mapping[str, Any]) -> str:
    return ", ".join(f"{c} = {v}" for c, v in named.items())
