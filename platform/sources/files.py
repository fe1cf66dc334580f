"""Files as a source: find what is new below the landing root, read one file into bronze.

A file is new when its path, size and modification time are in no earlier batch of its source. Files lie in a local
folder or an object store; both are listed and read the same way.
"""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from pathlib import Path

import obstore
import polars as pl

from customer360.platform import privacy, tables
from customer360.platform.errors import SourceError
from customer360.platform.lake import Add, Lake, remote_store
from customer360.platform.ledger import Batch, InputFile
from customer360.platform.quality import DeadLetters
from customer360.platform.quality.checks import TableChecks, punctuality
from customer360.platform.settings import SourceSettings
from customer360.platform.sources.casting import Mapping, fit
from customer360.platform.sources.records import POSITION, Records, read


@dataclass(frozen=True)
class Landing:
    """The root below which sources drop their files: a local folder or an object-store URL."""

    root: str
    options: tuple[tuple[str, str], ...] = ()

    def _store(self) -> obstore.store.ObjectStore:
        if "://" in self.root:
            return remote_store(self.root, dict(self.options))
        if not Path(self.root).is_dir():
            raise SourceError(
                f"the landing folder {self.root} does not exist; set `landing` or run `customer360 sample`"
            )
        return obstore.store.LocalStore(str(Path(self.root).absolute()))

    def find(self, pattern: str) -> list[InputFile]:
        """Files that match a glob (``*`` also crosses folders), by path."""
        prefix = pattern.split("*")[0].rpartition("/")[0]
        found = []
        for page in obstore.list(self._store(), prefix or None):
            for meta in page:
                if fnmatch.fnmatchcase(meta["path"], pattern):
                    found.append(InputFile(meta["path"], meta["size"], meta["last_modified"].isoformat()))
        return sorted(found, key=lambda f: f.path)

    def bytes_of(self, path: str) -> bytes:
        return bytes(obstore.get(self._store(), path).bytes())


def unseen(found: list[InputFile], known: list[Batch]) -> list[InputFile]:
    """The files that no earlier batch holds."""
    seen = {f for batch in known for f in batch.files}
    return [f for f in found if f not in seen]


def check_mapping(landing: Landing, source: SourceSettings, files: list[InputFile]) -> list[str]:
    """Mapping faults of a source against the columns of its first file, for ``--dry-run``."""
    if not files:
        return []
    records = read(landing.bytes_of(files[0].path), source.format, source.delimiter)
    columns = [c for c in records.frame.columns if c != POSITION]
    mapping = Mapping(source.mapping, tuple(source.group_by), source.where)
    return [f"{files[0].path}: {fault}" for fault in mapping.faults(tables.by_name(source.table), columns)]


@dataclass(frozen=True)
class Landed:
    """What reading one file gave: files of the bronze and dead-letter tables, and the counts that must balance."""

    bronze: list[Add]
    dead: list[Add]
    facts: dict[str, int]


def ingest_file(
    lake: Lake,
    landing: Landing,
    name: str,
    source: SourceSettings,
    batch: Batch,
    index: int,
    checks: TableChecks | None = None,
) -> Landed:
    """Read file ``index`` of a batch into a bronze data file and a dead-letter data file. Runs in workers."""
    if batch.inline:
        return land(
            lake, name, source, batch, batch.inline, 0, read(lake.get(batch.inline) or b"", "json"), Mapping({})
        )
    path = batch.files[index].path
    records = read(landing.bytes_of(path), source.format, source.delimiter)
    mapping = Mapping(source.mapping, tuple(source.group_by), source.where)
    return land(lake, name, source, batch, path, index, records, mapping, checks)


def land(
    lake: Lake,
    name: str,
    source: SourceSettings,
    batch: Batch,
    path: str,
    index: int,
    records: Records,
    mapping: Mapping,
    checks: TableChecks | None = None,
) -> Landed:
    """Cast records to the contract and write them with their metadata; file names depend on the batch alone.

    In a batch of corrections the column ``_replay_of`` names the bronze row that each record stands for.
    """
    table = tables.by_name(source.table)
    corrections = records.frame.select(POSITION, "_replay_of") if batch.inline else None
    fitted = fit(records.frame.drop("_replay_of") if batch.inline else records.frame, table, mapping)
    frame = (
        fitted.frame
        if corrections is None
        else fitted.frame.join(corrections, on=POSITION, how="left", maintain_order="left")
    )
    erased = privacy.erased_rows(lake, frame, source.system)
    rows = _with_metadata(frame.filter(~erased), table, name, source, batch, path)
    stem = f"{name}-{batch.seq:08d}-{index:05d}"
    bronze = [lake.write_file(source.table, rows, {"_source": name}, stem)] if rows.height else []
    letters = _dead_letters(records.dead, name, source, batch, path)
    dead = [lake.write_file("quality.dead_letters", letters, {"source": name}, stem)] if letters.height else []
    facts = {
        "read": records.count,
        "landed": rows.height,
        "dead": letters.height,
        "collapsed": fitted.collapsed,
        "left_out": fitted.left_out,
        "erased": int(erased.sum()),
        "rescued": int(rows["_rescued"].is_not_null().sum()),
        **punctuality(rows, checks),
    }
    return Landed(bronze, dead, facts)


def _with_metadata(
    frame: pl.DataFrame, table: type[tables.Table], name: str, source: SourceSettings, batch: Batch, path: str
) -> pl.DataFrame:
    replays = "_replay_of" in frame.columns
    return frame.with_columns(
        _source=pl.lit(name),
        _source_system=pl.lit(source.system),
        _seq=pl.lit(batch.seq, pl.Int64),
        _file=pl.lit(path),
        _ingested_at=pl.lit(batch.created_at)
        .str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", time_unit="us")
        .dt.convert_time_zone("UTC"),
        _replay_of=pl.col("_replay_of") if replays else pl.lit(None, pl.String),
    ).select(list(tables.schema(table)))


def _dead_letters(dead: pl.DataFrame, name: str, source: SourceSettings, batch: Batch, path: str) -> pl.DataFrame:
    return dead.select(
        letter_id=pl.format("{}/{}/{}/{}", pl.lit(name), pl.lit(batch.seq), pl.lit(path), POSITION),
        source=pl.lit(name),
        source_system=pl.lit(source.system),
        table_name=pl.lit(source.table),
        seq=pl.lit(batch.seq, pl.Int64),
        file=pl.lit(path),
        position=pl.col(POSITION),
        reason=pl.col("reason"),
        raw=pl.col("raw"),
        received_at=pl.lit(batch.created_at)
        .str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", time_unit="us")
        .dt.convert_time_zone("UTC"),
    ).select(list(DeadLetters.columns()))
