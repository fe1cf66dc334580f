"""Column types of stored tables that differ from their contract's, and the commit that gives a table other types.

One commit replaces the schema and every data file: who reads sees the table before or after, and so does the next run
where this one was killed. Application transactions stay, so that no batch lands twice.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import Any

import polars as pl
from deltalake import CommitProperties, Schema
from deltalake.transaction import AddAction, Transaction

from customer360.platform import tables
from customer360.platform.lake import Add, Lake, reached
from customer360.platform.lake.opened import File, outdate
from customer360.platform.lake.stored import constant, delta_schema, partition_columns
from customer360.platform.tables import Table

APP = "migrate"


def stored_types(lake: Lake, name: str) -> dict[str, pl.DataType]:
    """Columns of a stored table with their types, those among them that its contract no longer has."""
    return dict(pl.Schema(lake.delta(name).schema()).items())


def changed_types(lake: Lake, table: type[Table]) -> dict[str, tuple[pl.DataType, pl.DataType]]:
    """Columns whose stored type is not that of the contract: what is stored, and what is declared."""
    name = tables.spec(table).name
    if not lake.exists(name):
        return {}
    stored = {f.name: str(f.type) for f in lake.delta(name).schema().fields}
    other = [f.name for f in delta_schema(table).fields if stored.get(f.name, str(f.type)) != str(f.type)]
    if not other:
        return {}
    types, declared = stored_types(lake, name), tables.schema(table)
    return {c: (types[c], declared[c]) for c in other if c in declared}


def read_as_stored(lake: Lake, name: str, file: File, types: dict[str, pl.DataType]) -> pl.DataFrame:
    """One data file in the types that the table is stored in; columns that it lacks are null."""
    fixed = {k: v for k, v in file.partition.items() if k in types}
    frame = pl.scan_parquet(
        f"{lake.uri(name)}/{file.path}",
        schema={c: t for c, t in types.items() if c not in fixed},
        missing_columns="insert",
        extra_columns="ignore",
        storage_options=lake.storage_options or None,
    )
    return frame.with_columns(constant(v, types[k]).alias(k) for k, v in fixed.items()).select(list(types)).collect()


def retype(lake: Lake, table: type[Table], adds: Iterable[Add], facts: dict[str, Any]) -> int:
    """Make ``adds`` the only files of a table, and the types of its contract those that are stored, in one commit.
    Columns that the contract no longer has stay as they are. Returns the version."""
    name = tables.spec(table).name
    dt, declared = lake.writable(name), delta_schema(table)
    named = {f.name for f in declared.fields}
    fields = [*declared.fields, *(f for f in dt.schema().fields if f.name not in named)]
    now = int(time.time() * 1000)
    actions: list[Any] = [AddAction(a.path, a.size, a.partition, now, True, a.stats) for a in adds]
    properties = CommitProperties(
        app_transactions=[Transaction(APP, dt.version() + 1)],
        custom_metadata={"customer360.app": APP, "customer360.facts": json.dumps(facts)},
    )
    reached(f"before commit {name}")
    dt.create_write_transaction(
        actions, "overwrite", Schema(fields), partition_by=partition_columns(table), commit_properties=properties
    )
    outdate(lake.uri(name))
    reached(f"after commit {name}")
    return lake.version(name)
