"""Groups over files and batches: one row of all records that a source groups together, however they were delivered.

The records of such a source are kept as they were read, in a table of their own. A batch adds its records there, and
every group that it touches becomes one bronze row anew, made of all its records; that row stands for the earlier ones
of the group. So the cost of a batch is that of the groups it touches. A file that is delivered again with another
content stands in, group by group, for what it held before; what it no longer names at all stays, as in every source
that appends.

Of a record only the columns that the mapping reads are kept, as JSON: what is not needed is not stored.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TypeVar

import polars as pl

from customer360.platform import erasure_list, privacy, tables
from customer360.platform.delivery import DELIVERY, INPUT, ranked
from customer360.platform.lake import Add, File, Lake
from customer360.platform.lake.pieces import get_piece, put_piece
from customer360.platform.quality import ERASED
from customer360.platform.quality.ahead import refused_ahead
from customer360.platform.quality.checks import TableChecks, punctuality
from customer360.platform.sources import values
from customer360.platform.sources.base import Source
from customer360.platform.sources.cards import cleared_fit
from customer360.platform.sources.casting import fit
from customer360.platform.sources.formats.records import POSITION
from customer360.platform.sources.mapping import Mapping
from customer360.platform.sources.values import Reading
from customer360.platform.tables import Integer, String, Table, personal

Key = TypeVar("Key")
GROUPED = privacy.GROUPED
GROUP, RECORD, TYPES = "GROUP_HASH", "RECORD", "RECORD_TYPES"
PLACE = "place__"
STAGING = "_staging/groups"  # below it one folder a source
_MOMENT = "%Y-%m-%dT%H:%M:%S%.6f"
PLAIN = {"Int64": pl.Int64(), "Float64": pl.Float64(), "Boolean": pl.Boolean(), "String": pl.String()}
STAGED = {GROUP: pl.Int64, RECORD: pl.String, TYPES: pl.String, POSITION: pl.Int64}


class GroupedRecords(Table, table=GROUPED, sort_by=(GROUP,)):
    """One row per record of a source that groups records into rows: what its groups are made of.

    ``_seq``, ``_file`` and ``_position`` say where the record was delivered.
    """

    GROUP_HASH = Integer(description="of the values that the source groups by")
    RECORD = String(metadata=personal("text"), description="JSON: the columns that the source's mapping reads")
    RECORD_TYPES = String(description="JSON: the type of each of these columns")
    TABLE_NAME = String(description="the bronze table that the source fills")
    ROW_KEY = String(nullable=True, metadata=personal("text"), description="key of the row of the group")
    ACCOUNT = String(nullable=True, metadata=personal("account"), description="account of the row of the group")
    VISITOR = String(nullable=True, metadata=personal("device"), description="visitor of the row of the group")


def is_grouped(source: Source) -> bool:
    """Whether the records of a source are grouped over files and batches. A snapshot is whole in itself."""
    return bool(source.group_by) and source.mode == "append"


# ---- records as they are kept


def staged(records: pl.DataFrame, mapping: Mapping, reading: Reading | None = None) -> pl.DataFrame:
    """Rows that a mapping took (`Mapping.taken`), as `STAGED`: their group, and themselves as JSON."""
    if records.is_empty():
        return pl.DataFrame(schema=STAGED)
    plain_keys = [c for c in mapping.group_by if c in records.columns and not records[c].dtype.is_integer()]
    keyed = records.with_columns(values.identifiers(records[c]) for c in plain_keys)
    kept = keyed.select(c for c in keyed.columns if c != POSITION and _is_read(c, mapping))  # the group's, at least
    types = json.dumps({c: _type_name(t) for c, t in kept.schema.items()}, ensure_ascii=False)
    plain = kept.with_columns(_written(kept[c], _type_name(t)) for c, t in kept.schema.items())
    return pl.DataFrame(
        [
            _hashes(mapping.keys(keyed, reading).select(pl.all().cast(pl.String))),
            plain.select(pl.struct(pl.all()).struct.json_encode().alias(RECORD)).to_series(),
            pl.Series(TYPES, [types], pl.String).new_from_index(0, keyed.height),
            keyed[POSITION],
        ]
    )


def _is_read(column: str, mapping: Mapping) -> bool:
    """Whether a mapping may read a column: its name stands in one of the expressions, whatever their dialect."""
    texts = " ".join([*mapping.columns.values(), *mapping.group_by]).replace('""', '"').lower()
    return column.lower() in texts or "columns(" in texts


def _type_name(kind: pl.DataType) -> str:
    """The name of a type as it is kept; what has none is text."""
    if kind.is_integer() or kind.is_float():
        return "Int64" if kind.is_integer() else "Float64"
    if isinstance(kind, pl.Decimal):
        return f"Decimal {kind.scale}"
    if isinstance(kind, pl.Datetime):
        return "Datetime" if kind.time_zone is None else "Instant"
    return {pl.Boolean: "Boolean", pl.Date: "Date"}.get(kind.base_type(), "String")


def _written(column: pl.Series, name: str) -> pl.Series:
    """A column as JSON holds it."""
    if name in ("Datetime", "Instant"):
        return (column.dt.convert_time_zone("UTC") if name == "Instant" else column).dt.strftime(_MOMENT)
    return column.cast(PLAIN.get(name, pl.String()))


def _read(column: pl.Series, name: str) -> pl.Series:
    """A column as it was before `_written`."""
    if name in ("Datetime", "Instant"):
        read = column.str.to_datetime(_MOMENT, time_unit="us")
        return read.dt.replace_time_zone("UTC") if name == "Instant" else read
    if name == "Date":
        return column.str.to_date("%Y-%m-%d")
    return column.cast(pl.Decimal(38, int(name.split()[1]))) if name.startswith("Decimal") else column


def _hashes(keys: pl.DataFrame) -> pl.Series:
    """64 bits of the values that a record is grouped by, the same on every machine and in every version."""
    texts = keys.select(pl.struct(pl.all()).struct.json_encode().alias("key"))
    unique = texts["key"].unique()
    made = [
        int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big", signed=True) for text in unique
    ]
    known = pl.DataFrame({"key": unique, GROUP: pl.Series(made, dtype=pl.Int64)})
    return texts.join(known, on="key", how="left", maintain_order="left")[GROUP]


def part_of(parts: int) -> pl.Expr:
    """Which of some parts the group of a record lies in."""
    return pl.col(GROUP).mod(parts).alias("part")


def stage(lake: Lake, records: pl.DataFrame, parts: int, stem: str) -> list[tuple[int, str]]:
    """Write staged records, one piece a part of the groups: (part, path)."""
    by_part = records.with_columns(part_of(parts)).partition_by("part", as_dict=True, include_key=False)
    return [(int(part), put_piece(lake, f"{STAGING}/{stem}-{part}", rows)) for (part,), rows in sorted(by_part.items())]


def _decoded(kept: pl.DataFrame) -> pl.DataFrame:
    """Kept records as records again, in their order, with that as their position."""
    parts = []
    for (types,), rows in kept.select(RECORD, TYPES).with_row_index(POSITION).partition_by(TYPES, as_dict=True).items():
        names = json.loads(str(types))
        objects = rows[RECORD].str.json_decode(pl.Struct({c: PLAIN.get(t, pl.String()) for c, t in names.items()}))
        frame = objects.struct.unnest()
        parts.append(frame.with_columns(*(_read(frame[c], t) for c, t in names.items()), rows[POSITION].cast(pl.Int64)))
    if not parts:
        return pl.DataFrame(schema={POSITION: pl.Int64})
    kinds: dict[str, set[pl.DataType]] = {}
    for frame in parts:
        for name, kind in frame.schema.items():
            kinds.setdefault(name, set()).add(kind)
    mixed = [name for name, found in kinds.items() if len(found) > 1]
    alike = [frame.with_columns(pl.col(c).cast(pl.String) for c in mixed if c in frame.columns) for frame in parts]
    return pl.concat(alike, how="diagonal").sort(POSITION)


# ---- groups as rows


@dataclass(frozen=True)
class Grouped:
    """What a part of the groups gave: files of the kept records and of the bronze table, and counts.

    ``rows`` and ``erased`` count by batch: rows by that of their newest record, records of people who were erased.
    """

    kept: list[Add]
    bronze: list[Add]
    facts: dict[str, int]
    rows: dict[int, int] = field(default_factory=dict)
    erased: dict[int, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    refused: list[Add] = field(default_factory=list)  # which records were of erased people


@dataclass(frozen=True, kw_only=True)
class GroupUnit:
    """Make the rows of a part of the groups of a source: those that ``pieces`` touch, or ``every`` one.

    ``pieces`` are (batch, moment of the batch, input, path) of staged records, ``files`` those of the records that were
    kept before; records of ``replaced`` (batch, input) among them do not count. Files are named after ``stem``.
    """

    lake: Lake
    name: str
    source: Source
    pieces: tuple[tuple[int, str, str, str], ...]
    files: tuple[File, ...]
    part: int
    parts: int
    stem: str
    before: int | None = None  # of kept records, those of earlier batches alone
    every: bool = False
    replaced: tuple[tuple[int, str], ...] = ()
    reading: Reading = field(default_factory=Reading)
    checks: TableChecks | None = None

    def run(self) -> Grouped:
        fresh = self._fresh()
        if fresh.is_empty() and not self.every:
            return Grouped([], [], {})
        together = _living(pl.concat([self._kept(fresh), fresh], how="diagonal_relaxed"))
        if together.is_empty():
            return Grouped([], [], {})
        needs = None if self.source.needs is None else tuple(self.source.needs)
        mapping = Mapping(self.source.mapping, tuple(self.source.group_by), needs=needs)
        table = tables.by_name(self.source.table)
        fitted = cleared_fit(self.source, fit(_decoded(together), table, mapping, self.reading))
        gone = erasure_list.erased_rows(self.lake, fitted.frame, self.source.system, table)
        groups = _of_groups(fitted.frame, together, table, gone)
        rows = self._rows(fitted.frame.filter(~gone), groups, table)
        told = fresh.join(groups, on=GROUP, how="left", maintain_order="left")
        kept, erased = told.filter(~pl.col("is_gone")), told.filter("is_gone")
        adds = [self._write(GROUPED, self._with_metadata(kept))] if kept.height else []
        bronze = [self._write(self.source.table, rows)] if rows.height else []
        rescued = int(rows["_rescued"].is_not_null().sum())
        late = refused_ahead(table, rows, self.reading.margin, self.reading.refuse)
        facts = {**fitted.facts, "rescued": rescued, **punctuality(rows, self.checks), **late}
        refused = self._refused(erased)
        return Grouped(adds, bronze, facts, _counted(rows), _counted(erased), fitted.notes, refused)

    def _fresh(self) -> pl.DataFrame:
        """The staged records of the part with their address."""
        empty = pl.DataFrame(schema={**STAGED, "_seq": pl.Int64, "_file": pl.String, "moment": pl.String})
        found = [
            get_piece(self.lake, path).with_columns(
                pl.lit(seq, pl.Int64).alias("_seq"), pl.lit(file).alias("_file"), pl.lit(moment).alias("moment")
            )
            for seq, moment, file, path in self.pieces
        ]
        return pl.concat([empty, *found])

    def _kept(self, fresh: pl.DataFrame) -> pl.DataFrame:
        """Records of the part that were kept before, of the groups that are made anew."""
        columns = [GROUP, RECORD, TYPES, POSITION, "_seq", "_file", "_ingested_at"]
        held = self.lake.scan(GROUPED, list(self.files)).select(columns)
        if self.before is not None:
            held = held.filter(pl.col("_seq") < self.before)
        if not self.every:
            return held.filter(pl.col(GROUP).is_in(fresh[GROUP].unique().implode())).collect()
        found = held.filter(part_of(self.parts) == self.part).collect()
        if not self.replaced:
            return found
        places = pl.DataFrame(list(self.replaced), schema={"_seq": pl.Int64, "_file": pl.String}, orient="row")
        return found.join(places, on=["_seq", "_file"], how="anti", maintain_order="left")

    def _rows(self, fitted: pl.DataFrame, groups: pl.DataFrame, table: type[Table]) -> pl.DataFrame:
        """Bronze rows of the groups. A row has the address of the newest record of its group."""
        address = groups.filter(~pl.col("is_gone")).select("_seq", "_file", POSITION, "_ingested_at")
        placed = fitted.drop(POSITION).with_columns(address)
        return placed.with_columns(
            _source=pl.lit(self.name),
            _source_system=pl.lit(self.source.system),
            _replay_of=pl.lit(None, pl.String),
            _deleted=pl.lit(None, pl.Boolean),
            _restates=pl.lit(True),
        ).select(list(tables.schema(table)))

    def _with_metadata(self, kept: pl.DataFrame) -> pl.DataFrame:
        types = tables.BRONZE_METADATA
        nothing = {c: pl.lit(None, types[c]) for c in ("_rescued", "_replay_of", "_deleted", "_restates")}
        return (
            kept.with_columns(
                TABLE_NAME=pl.lit(self.source.table),
                _source=pl.lit(self.name),
                _source_system=pl.lit(self.source.system),
                _ingested_at=moment_of(pl.col("moment")),
                **nothing,
            )
            .sort(GROUP, "_seq", "_file", POSITION)
            .select(list(tables.schema(GroupedRecords)))
        )

    def _refused(self, erased: pl.DataFrame) -> list[Add]:
        rows = erased.select(
            source=pl.lit(self.name),
            source_system=pl.lit(self.source.system),
            table_name=pl.lit(self.source.table),
            seq="_seq",
            file="_file",
            position=POSITION,
            digest=erasure_list.record_digests(self.lake, erased.select(RECORD)),
            received_at=moment_of(pl.col("moment")),
        )
        return [self._write(ERASED, rows, "source")] if rows.height else []

    def _write(self, table: str, rows: pl.DataFrame, partition: str = "_source") -> Add:
        return self.lake.write_file(table, rows, {partition: self.name}, f"{self.stem}-g{self.part:05d}")


def moment_of(text: pl.Expr) -> pl.Expr:
    """The moment of a batch as an instant."""
    return text.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%#z", time_unit="us").dt.convert_time_zone("UTC")


def _living(records: pl.DataFrame) -> pl.DataFrame:
    """Records in the order of delivery, of each group those of the last delivery of each file."""
    last = pl.col("_seq") == pl.col("_seq").max().over(GROUP, "_file")
    moments = pl.coalesce(moment_of(pl.col("moment")), "_ingested_at").alias("_ingested_at")
    return ranked(records.filter(last)).sort(DELIVERY).drop(INPUT).with_columns(moments)


def _of_groups(fitted: pl.DataFrame, records: pl.DataFrame, table: type[Table], gone: pl.Series) -> pl.DataFrame:
    """For each row of the groups, in order: its group, the address of its newest record, whose it is, whether it is of
    a person who was erased.
    """
    newest = (
        records.with_row_index(PLACE)
        .group_by(GROUP)
        .agg(pl.col(c).last() for c in ("_seq", "_file", POSITION, "_ingested_at"))
    )
    key = tables.spec(table).key
    row_key = pl.concat_str(key, separator="/") if key else pl.lit(None, pl.String)
    named = {"ACCOUNT": erasure_list.ACCOUNT_COLUMN, "VISITOR": erasure_list.VISITOR_COLUMN}
    whose = [
        (pl.col(c).cast(pl.String) if c in fitted.columns else pl.lit(None, pl.String)).alias(as_)
        for as_, c in named.items()
    ]
    rows = fitted.select(row_key.alias("ROW_KEY"), *whose).with_columns(
        records[GROUP].gather(fitted[POSITION]), gone.alias("is_gone")
    )
    return rows.join(newest, on=GROUP, how="left", maintain_order="left")


def _counted(rows: pl.DataFrame) -> dict[int, int]:
    return {int(seq): count for seq, count in rows.group_by("_seq").len().rows()}


def added(parts: Iterable[Grouped]) -> Grouped:
    """Several parts as one."""
    whole = Grouped([], [], {})
    for part in parts:
        whole = replace(
            whole,
            kept=[*whole.kept, *part.kept],
            bronze=[*whole.bronze, *part.bronze],
            facts=_summed(whole.facts, part.facts),
            rows=_summed(whole.rows, part.rows),
            erased=_summed(whole.erased, part.erased),
            notes=tuple(dict.fromkeys((*whole.notes, *part.notes))),
            refused=[*whole.refused, *part.refused],
        )
    return whole


def _summed(left: dict[Key, int], right: dict[Key, int]) -> dict[Key, int]:
    return {key: left.get(key, 0) + right.get(key, 0) for key in {**left, **right}}
