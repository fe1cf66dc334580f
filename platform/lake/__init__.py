"""The lake: Delta tables under one root, local or in an object store, and the rules by which they change.

Workers write Parquet files and return add-actions (``write_file``); the driver commits them (``commit``, ``replace``).
Every commit names an application transaction ``(app, version)``: a batch of a source, or the fingerprint of a build.
Only this package opens Delta tables.
"""

from __future__ import annotations

import hashlib
import io
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import polars as pl
from deltalake import CommitProperties, DeltaTable, Schema
from deltalake.exceptions import TableNotFoundError
from deltalake.transaction import AddAction, RemoveAction, Transaction

from customer360.platform import tables
from customer360.platform.errors import ContractError, StaleBatch, TableMissing, VersionGone
from customer360.platform.lake.buckets import BUCKET, bucket_numbers
from customer360.platform.lake.filestats import form_of, statistics_columns, statistics_of
from customer360.platform.lake.lock import LOCK, WATCH, file_lock, marker_lock, note_of
from customer360.platform.lake.objects import make_root, remote_store
from customer360.platform.lake.opened import (
    APP,
    FACTS,
    Change,
    File,
    Opened,
    alone,
    at_one_look,
    carried,
    files_of,
    is_stored,
    least_of,
    look_together,
    opened,
    outdate,
    writable,
)
from customer360.platform.lake.store import Store
from customer360.platform.lake.stored import constant, delta_schema, partition_columns
from customer360.platform.tables import Table

BUCKETS_PROPERTY = "customer360.buckets"
STATISTICS_PROPERTY = "delta.dataSkippingStatsColumns"  # also binds the files that compaction writes

# Called with the name of each point that a crash may follow; tests install one that kills the process.
observers: list[Callable[[str], None]] = []


def reached(point: str) -> None:
    """Tell the observers that execution came to ``point``, e.g. ``before commit silver.events``."""
    for observer in observers:
        observer(point)


@dataclass(frozen=True)
class Add:
    """A written file that waits for its commit."""

    path: str
    size: int
    rows: int
    partition: dict[str, str | None]
    stats: str


@dataclass(frozen=True)
class Lake(Store):
    """Handle of a lake; cheap, immutable, picklable. ``root`` is a local path or an object-store URL."""

    buckets: int = 16

    def uri(self, name: str) -> str:
        """Address of table ``layer.name``."""
        layer, _, table = name.partition(".")
        return f"{self.root}/{layer}/{table}"

    # ---- reading ----------------------------------------------------------------------------------------------

    def look_together(self, names: Iterable[str]) -> None:
        """Look at tables side by side where each would wait for an object store, and the run lock is held."""
        look_together([self.uri(name) for name in names], self.storage_options)

    def at_one_look(self, names: Iterable[str]) -> AbstractContextManager[None]:
        """For who only reads: within, tables of an object store are as they are now, looked at side by side."""
        return at_one_look([self.uri(name) for name in names if self.is_remote], self.storage_options)

    def delta(self, name: str, version: int | None = None) -> DeltaTable:
        """The Delta table; for this package alone.

        Raises:
            TableMissing: it was not built yet.
        """
        if version is None:
            return self._opened(name).table
        try:
            return DeltaTable(self.uri(name), version, self.storage_options or None)
        except TableNotFoundError:
            raise self._missing(name) from None

    def _opened(self, name: str) -> Opened:
        try:
            return opened(self.uri(name), self.storage_options)
        except TableNotFoundError:
            raise self._missing(name) from None

    def _missing(self, name: str) -> TableMissing:
        return TableMissing(f"{name} does not exist in {self.root} yet; `customer360 run --to {name}` builds it")

    def writable(self, name: str) -> DeltaTable:
        """The Delta table where it is stored, to be changed; for this package alone."""
        return writable(self.uri(name), self.storage_options)

    def exists(self, name: str) -> bool:
        return is_stored(self.uri(name), self.storage_options)

    def version(self, name: str) -> int:
        """Current Delta version of a table.

        Raises:
            TableMissing: it was not built yet.
        """
        return self._opened(name).version

    def state(self, name: str) -> tuple[Any, ...] | None:
        """Another one whenever the table is: says whether what was read of it still holds. None: no table."""
        if not self.exists(name):
            return None
        held = opened(self.uri(name), self.storage_options)
        return (held.version, held.stamp)

    def transaction(self, name: str, app: str) -> int | None:
        """Last committed version of application transaction ``app``, or None."""
        return opened(self.uri(name), self.storage_options).transaction(app) if self.exists(name) else None

    def files(self, name: str, version: int | None = None) -> list[File]:
        """Data files of the snapshot, with partition values as text; sorted by path. Empty for a missing table.

        Raises:
            VersionGone: files of an earlier ``version`` were deleted.
        """
        if version is None or (self.exists(name) and self.version(name) == version):
            return opened(self.uri(name), self.storage_options).files() if self.exists(name) else []
        found = files_of(self.delta(name, version))
        if version < self.version(name):
            self._check_whole(name, version, found)
        return found

    def _check_whole(self, name: str, version: int, files: list[File]) -> None:
        stored = self.sizes(name)
        gone = sum(f.path not in stored for f in files)
        if gone:
            raise VersionGone(
                f"{name} version {version}: {gone} of its {len(files)} files were deleted by `customer360 lake vacuum`; "  # noqa: E501
                f"later versions may still be whole"
            )

    def least(self, name: str, columns: Sequence[str]) -> dict[str, dict[str, Any]]:
        """The least value of columns by data file of a stored table, as its log tells it; see `opened.least_of`."""
        return least_of(self.delta(name), columns)

    def scan(self, name: str, files: list[File] | None = None, version: int | None = None) -> pl.LazyFrame:
        """The table as a lazy frame in contract order, or only the given files of it.

        Columns that older files lack are null. The physical ``bucket`` is not part of the contract and not returned.
        """
        wanted = tables.schema(tables.by_name(name))
        files = self.files(name, version) if files is None else files
        if not files:
            if not self.exists(name):
                raise self._missing(name)
            return pl.LazyFrame(schema=wanted)
        keys = [k for k in files[0].partition if k != BUCKET]
        groups: dict[tuple[str | None, ...], list[str]] = {}
        for f in files:
            groups.setdefault(tuple(f.partition[k] for k in keys), []).append(f"{self.uri(name)}/{f.path}")
        return pl.concat(
            [self._scan_group(wanted, dict(zip(keys, values, strict=True)), paths) for values, paths in groups.items()]
        )

    def _scan_group(
        self, wanted: dict[str, pl.DataType], fixed: dict[str, str | None], paths: list[str]
    ) -> pl.LazyFrame:
        physical = {c: t for c, t in wanted.items() if c not in fixed}
        frame = pl.scan_parquet(
            paths,
            schema=physical,
            missing_columns="insert",
            extra_columns="ignore",
            storage_options=self.storage_options or None,
        )
        if not fixed:  # a scan has the columns of its schema, in order, and a plan is made thousands of times a run
            return frame
        constants = [constant(value, wanted[key]).alias(key) for key, value in fixed.items()]
        return frame.with_columns(constants).select(pl.col(list(wanted)))

    def last_facts(self, name: str, app: str, limit: int = 200) -> dict[str, Any]:
        """Facts of the newest commit of an application transaction; empty where the log was cleaned of it."""
        facts: dict[str, Any] = json.loads(opened(self.uri(name), self.storage_options).facts_of(app, limit))
        return facts

    def history(self, name: str, limit: int | None = None) -> list[dict[str, Any]]:
        """Commits of a table, newest first, with our ``customer360.*`` facts."""
        return self.writable(name).history(limit)

    # ---- writing ----------------------------------------------------------------------------------------------

    def write_file(
        self, name: str, frame: pl.DataFrame, partition: dict[str, str | None], stem: str | None = None
    ) -> Add:
        """Write one data file (not yet part of the table). Runs in workers.

        Without ``stem`` the file is named after its content, so that equal content is the same file.

        Raises:
            ContractError: ``partition`` names other columns than the table is partitioned by (their values would be
            lost).
        """
        declared = partition_columns(tables.by_name(name))
        if set(partition) != set(declared):
            raise ContractError(f"{name} is partitioned by {declared}, the file's partition names {sorted(partition)}")
        fixed = [k for k in partition if k in frame.columns]
        body = frame.drop(fixed) if fixed else frame
        buffer = io.BytesIO()
        body.write_parquet(buffer, compression="zstd", compression_level=1)
        data = buffer.getvalue()
        folder = "".join(f"{key}={value}/" for key, value in partition.items())
        path = f"{folder}{stem or 'c' + hashlib.sha256(data).hexdigest()[:24]}.parquet"
        layer, _, table = name.partition(".")
        self.put(f"{layer}/{table}/{path}", data)
        return Add(path, len(data), frame.height, partition, statistics_of(tables.by_name(name), body))

    def ensure(self, table: type[Table], *, rebuild: bool = False) -> None:
        """Create the table if it is absent; add columns that its contract gained. With ``rebuild`` a table whose column
        types changed is made anew and empty, to be filled by its build.

        Raises:
            ContractError: a stored column has another type, or the table other partitions; the message says how to
            rebuild.
        """
        name = tables.spec(table).name
        if not self.exists(name):
            self._create(table, delta_schema(table), "ignore")
            return
        held = opened(self.uri(name), self.storage_options)
        if (form := form_of(table)) in held.fits:  # type: ignore[arg-type]  # a class is hashable
            return
        declared = delta_schema(table)
        stored = {f.name: f for f in held.table.schema().fields}
        changed = [f.name for f in declared.fields if f.name in stored and str(stored[f.name].type) != str(f.type)]
        cut = self.delta(name).metadata().partition_columns
        if (changed or cut != partition_columns(table)) and rebuild:
            self._create(table, declared, "overwrite")
            return
        if cut != partition_columns(table):
            raise ContractError(
                f"{name} is stored by {cut}, its contract says {partition_columns(table)}; rebuild it or start a new lake"  # noqa: E501
            )
        if changed:
            raise ContractError(
                f"{name}: stored type differs for {changed}; `customer360 run --full-refresh {name}` rebuilds it"
            )
        added = [f for f in declared.fields if f.name not in stored]
        if added:
            self.writable(name).alter.add_columns(added)
            outdate(self.uri(name))
        dt = self.delta(name)
        if dt.metadata().configuration.get(STATISTICS_PROPERTY) != statistics_columns(table):
            self.writable(name).alter.set_table_properties({STATISTICS_PROPERTY: statistics_columns(table)})
            outdate(self.uri(name))
        opened(self.uri(name), self.storage_options).fits.add(form)

    def _create(self, table: type[Table], declared: Schema, mode: Literal["ignore", "overwrite"]) -> None:
        spec = tables.spec(table)
        if not self.is_remote:
            make_root(self.root)
        DeltaTable.create(
            self.uri(spec.name),
            declared,
            mode=mode,
            partition_by=partition_columns(table) or None,
            name=spec.name,
            description=tables.summary(table),
            configuration={BUCKETS_PROPERTY: str(self.buckets), STATISTICS_PROPERTY: statistics_columns(table)},
            storage_options=self.storage_options or None,
            raise_if_key_not_exists=False,
        )
        outdate(self.uri(spec.name))

    def buckets_of(self, name: str) -> int:
        """Number of buckets that a stored table was made with."""
        if not self.exists(name):
            return self.buckets
        return int(self.delta(name).metadata().configuration.get(BUCKETS_PROPERTY) or self.buckets)

    def commit(
        self,
        name: str,
        adds: Iterable[Add],
        removes: Iterable[File] = (),
        *,
        app: str,
        app_version: int,
        facts: dict[str, Any] | None = None,
        marks: Mapping[str, int] | None = None,
        changes_rows: bool = True,
    ) -> int:
        """One atomic commit of added and removed files under application transaction ``(app, app_version)``.

        ``marks`` are further application transactions that the commit names. Without ``changes_rows`` who follows the
        table by its changes is told of none.
        """
        dt, adds, removes = self.writable(name), list(adds), list(removes)
        now, told = int(time.time() * 1000), json.dumps(facts or {}, default=str)
        actions: list[AddAction | RemoveAction] = [
            AddAction(a.path, a.size, a.partition, now, changes_rows, a.stats) for a in adds
        ]
        actions += [RemoveAction(f.path, changes_rows, now, f.size, f.partition) for f in removes]
        versions = {app: app_version, **(marks or {})}
        properties = CommitProperties(
            app_transactions=[Transaction(a, v) for a, v in versions.items()],
            custom_metadata={APP: app, FACTS: told},
        )
        reached(f"before commit {name}")
        partition_by = dt.metadata().partition_columns
        files = [File(a.path, a.rows, a.size, a.partition) for a in adds]
        with carried(self.uri(name), self.storage_options, Change(files, {f.path for f in removes}, versions, (app, told))):  # fmt: skip  # noqa: E501
            dt.create_write_transaction(
                actions, "append", dt.schema(), partition_by=partition_by, commit_properties=properties
            )
            outdate(self.uri(name))
        reached(f"after commit {name}")
        return self.version(name)

    def append_batch(
        self, name: str, adds: Iterable[Add], *, source: str, seq: int, facts: dict[str, Any] | None = None
    ) -> int:
        """Append batch ``seq`` of ``source``.

        Raises:
            StaleBatch: this batch, or a later one, is in the table already (deltalake itself would accept it twice).
        """
        stored = self.transaction(name, f"batch:{source}")
        if stored is not None and seq <= stored:
            raise StaleBatch(f"{name}: batch {seq} of {source} is not above the stored {stored}")
        return self.commit(name, adds, app=f"batch:{source}", app_version=seq, facts=facts)

    def replace(
        self,
        name: str,
        adds: Iterable[Add],
        *,
        scope: dict[str, str],
        app: str,
        app_version: int,
        facts: dict[str, Any] | None = None,
        marks: Mapping[str, int] | None = None,
        unless_equal: bool = False,
    ) -> int:
        """Make ``adds`` the only files of the partitions named by ``scope`` (all of the table when empty).

        Files that are already there stay untouched: only what differs is in the commit. With ``unless_equal`` nothing
        is committed where nothing differs.
        """
        new = {a.path: a for a in adds}
        old = {f.path: f for f in self.files(name) if all(f.partition.get(k) == v for k, v in scope.items())}
        fresh = [a for path, a in new.items() if path not in old]
        gone = [f for path, f in old.items() if path not in new]
        if unless_equal and not fresh and not gone:
            return self.version(name)
        return self.commit(name, fresh, gone, app=app, app_version=app_version, facts=facts, marks=marks)

    def rewrite(
        self,
        name: str,
        change: Callable[[pl.DataFrame], pl.DataFrame],
        *,
        reason: str,
        files: Iterable[File] | None = None,
        marks: Mapping[str, int] | None = None,
    ) -> int:
        """Apply ``change`` by file, to all or some, in one commit; files that it leaves equal stay. Returns rows
        changed or gone. ``marks`` as of `commit`."""
        adds, removes, touched = [], [], 0
        for f in self.files(name) if files is None else files:
            before = self.scan(name, [f]).collect()
            after = change(before)
            if after.equals(before):
                continue
            touched += (
                before.height - after.height + int((after.height == before.height) * _rows_that_differ(before, after))
            )
            removes.append(f)
            if after.height:
                # Named after the file it stands for: two files may well become equal, and both must stay.
                stem = "r" + hashlib.sha256(f"{f.path} {time.time_ns()}".encode()).hexdigest()[:24]
                adds.append(self.write_file(name, after, f.partition, stem))
        if removes:
            self.commit(
                name,
                adds,
                removes,
                app=f"rewrite:{reason}",
                app_version=int(time.time() * 1000),
                facts={"rows": touched},
                marks=marks,
            )
        return touched

    # ---- one run at a time ------------------------------------------------------------------------------------

    def run_lock(self, owner: str) -> AbstractContextManager[None]:
        """Hold the lake's run lock. A local lock dies with its process; one in an object store is a marker object.

        Raises:
            LakeLocked: names who holds it.
        """
        return self._lock(owner, LOCK)

    def watch_lock(self, owner: str) -> AbstractContextManager[None]:
        """Hold the lock of who watches the lake's sources; runs of others go on beside it. As `run_lock` otherwise."""
        return self._lock(owner, WATCH)

    def _lock(self, owner: str, name: str) -> AbstractContextManager[None]:
        note = note_of(owner)
        if self.is_remote:
            return self._marker(note, name)
        return file_lock(Path(self.root), note, name)

    @contextmanager
    def _marker(self, note: bytes, name: str) -> Iterator[None]:
        with marker_lock(self._store(), self.root, note, name), alone(self.root) if name == LOCK else nullcontext():
            yield


def _rows_that_differ(before: pl.DataFrame, after: pl.DataFrame) -> int:
    same = before.join(after, on=before.columns, how="semi", nulls_equal=True)
    return before.height - same.height


__all__ = ["BUCKET", "Add", "File", "Lake", "bucket_numbers", "constant", "observers", "reached", "remote_store"]
