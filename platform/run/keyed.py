"""Builds of another grain than the subject, brought forward by the keys of which an input has other rows.

A build may be cut where rows of one key of its grain stay together, as an exchange cuts it. So rows of a key are others
only where an input has other rows of it, or where rows of an input that is joined by another column concern stored rows
(``concerns``). A unit finds these keys by the files that came and went since the standing rows were made, makes them
anew, and changes the table by them alone. Whatever else changed, and whatever is not known, makes all rows anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from customer360.platform import tables
from customer360.platform.graph import Node
from customer360.platform.lake import BUCKET, File, Lake, bucket_numbers
from customer360.platform.run.bucketed import MOSTLY, read_bytes
from customer360.platform.run.following import standing
from customer360.platform.run.incremental.changes import Changes, rows_at, written
from customer360.platform.run.origins import files_digest
from customer360.platform.run.planning import Job, carried_bytes, goes_by_key, stored_part
from customer360.platform.run.touched import touch
from customer360.platform.run.units import (
    InputPart,
    UnitResult,
    apart,
    conform_to_storage,
    key_column,
    other_rows,
    read_part,
    timed,
)
from customer360.platform.tables import SUBJECT_KEYS

LEAST = 1024 * 1024  # bytes of inputs, up to which all rows are made anew: to find out which takes longer
_PLACE = "place__"


@dataclass(frozen=True, kw_only=True)
class KeyedUnit:
    """Make the keys anew of which ``inputs`` have other rows than ``known``, the inputs when the ``stored`` rows were
    made."""

    lake: Lake
    node: Node
    inputs: tuple[InputPart, ...]
    known: tuple[InputPart, ...]
    stored: tuple[File, ...]
    reserved: dict[str, Any]

    @timed
    def run(self) -> UnitResult:
        table, name = self.node.table, tables.spec(self.node.table).name
        keys = self._keys()
        if keys.is_empty():
            files = [standing(file) for file in self.stored]
            return UnitResult(adds={name: files}, facts={"rows": sum(file.rows for file in files)})
        frames = [self._of(part, keys) for part in self.inputs]
        made = conform_to_storage(table, self.node.function(*frames, **self.reserved), {})
        held = self._held(keys)
        gone, new = _differing(held, made)
        is_parted = not tables.spec(table).bucketed
        files = written(self.lake, table, Changes(new, self.stored, gone[_PLACE], is_parted), {})
        result = UnitResult(adds={name: files}, facts={"rows": sum(file.rows for file in files)})
        if tables.spec(table).bucketed:
            self._tell(result, [gone.drop(_PLACE), new])
        return result

    @property
    def per(self) -> str:
        return self.node.per or ""

    def _keys(self) -> pl.Series:
        """Keys of rows that are others now, each once."""
        now, dtype = {part.table: part for part in self.inputs}, tables.schema(self.node.table)[self.per]
        found = [pl.Series(self.per, [], dtype)]
        for known in self.known:
            were, are = (read_part(self.lake, part).collect() for part in apart(known, now[known.table]))
            others = other_rows(were, are, known.table)
            if known.table in self.node.concerns:
                found.append(self._concerned(known.table, pl.concat(others)).cast(dtype))
            if name := key_column(known.table, self.per):
                found += [rows[name].cast(dtype).alias(self.per) for rows in others]
        return pl.concat(found).drop_nulls().unique()

    def _concerned(self, table: str, changed: pl.DataFrame) -> pl.Series:
        """Keys of the stored rows that changed rows of an input concern, which is joined by another column."""
        stored = self.lake.scan(tables.spec(self.node.table).name, list(self.stored))
        if changed.is_empty():
            return pl.Series(self.per, [], tables.schema(self.node.table)[self.per])
        concerned: pl.Series = self.node.concerns[table](stored, changed.lazy()).select(self.per).collect()[self.per]
        return concerned

    def _of(self, part: InputPart, keys: pl.Series) -> pl.LazyFrame:
        """An input; of one that has the key, the rows of these keys, read once however often the build asks for
        them."""
        name, frame = key_column(part.table, self.per), read_part(self.lake, part)
        if name is None:
            return frame
        return frame.filter(pl.col(name).is_in(keys.implode())).collect().lazy()

    def _held(self, keys: pl.Series) -> pl.DataFrame:
        """Stored rows of these keys, with their place among all that are stored."""
        name, files = tables.spec(self.node.table).name, list(self.stored)
        stored = self.lake.scan(name, files).select(self.per).collect()[self.per]
        places = stored.is_in(keys.implode()).arg_true().cast(pl.Int64)
        rows = rows_at(self.lake, name, files, places, list(self.node.table.columns()))
        return rows.with_columns(places.alias(_PLACE))

    def _tell(self, result: UnitResult, changed: Sequence[pl.DataFrame]) -> None:
        """Note which subjects of which buckets have other rows."""
        name = tables.spec(self.node.table).name
        subject = next(c for c in SUBJECT_KEYS if c in changed[0].columns)
        numbers = [bucket_numbers(rows[subject], self.lake.buckets) for rows in changed]
        for bucket in pl.concat([each.alias("bucket") for each in numbers]).unique().to_list():
            place = str(bucket)
            before = [file for file in self.stored if file.partition.get(BUCKET) == place]
            after = [file for file in result.adds[name] if file.partition.get(BUCKET) == place]
            own = [rows.filter(each == bucket) for rows, each in zip(changed, numbers, strict=True)]
            if told := touch(name, bucket, before, after, own, sum(file.rows for file in after)):
                result.touches.append(told)


def _differing(held: pl.DataFrame, made: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Of rows that stood, with their places, those that are made no more, and of those made the ones that are new. Of
    nested columns it cannot be told."""
    if any(kind.is_nested() for kind in made.schema.values()):
        return held, made
    on = made.columns
    gone = held.join(made, on=on, how="anti", nulls_equal=True)
    return gone, made.join(held, on=on, how="anti", nulls_equal=True)


def keyed_unit(job: Job, most: int) -> KeyedUnit | None:
    """The unit that brings a build forward by the keys of its grain; None where all rows must be made anew: what stands
    was made from other code or rules, or from others of the inputs that decide all of it, or by files that are gone; or
    most of what is read is in other files, or little is read at all, or the keys may have more than the ``most`` bytes
    that fit one unit."""
    lake, node, origin = job.context.lake, job.node, job.origin
    stored = lake.files(tables.spec(node.table).name)
    if not goes_by_key(node) or job.refreshed or origin is None or not stored:
        return None
    if origin.ground != job.ground or origin.stored != files_digest(stored):
        return None
    known = known_parts(job, [t for t in node.inputs if t in node.concerns or key_column(t, node.per or "")])
    if known is None or _bytes_of_keys(job, known, sum(file.rows for file in stored)) > most:
        return None
    return KeyedUnit(
        lake=lake,
        node=node,
        inputs=tuple(stored_part(job, t, job.inputs[t]) for t in node.inputs),
        known=known,
        stored=tuple(stored),
        reserved=job.reserved,
    )


def _bytes_of_keys(job: Job, known: Sequence[InputPart], stored: int) -> float:
    """Bytes of inputs that have the keys of changed rows, at most, about: each such row may be of another key."""
    apart_by = [part for part in known if key_column(part.table, job.node.per or "")]
    changed = 0
    for part in apart_by:
        sizes = [{file.path: file.rows for file in files} for files in (part.files, job.inputs[part.table])]
        changed += sum(rows for one, other in (sizes, sizes[::-1]) for path, rows in one.items() if path not in other)
    return min(1.0, changed / max(1, stored)) * sum(carried_bytes(job, part.table) for part in apart_by)


def known_parts(job: Job, names: Sequence[str]) -> tuple[InputPart, ...] | None:
    """Inputs of these names as what stands was made from them; None where they are little or mostly others by now, or
    files are gone."""
    assert job.origin is not None
    now = [stored_part(job, t, job.inputs[t]) for t in names]
    known = [stored_part(job, t, job.origin.inputs[t]) for t in names]
    if not _is_mostly_known(now, known):
        return None
    for one, other in zip(known, now, strict=True):
        here = {file.path for file in other.files}
        if not job.context.lake.holds(one.table, [file for file in one.files if file.path not in here]):
            return None
    return tuple(known)


def _is_mostly_known(now: Sequence[InputPart], then: Sequence[InputPart]) -> bool:
    """Whether inputs are worth to be compared: not little, and few of the bytes that are read in files that came or
    went."""
    sizes = [{(part.table, f.path): read_bytes(part, f) for part in each for f in part.files} for each in (now, then)]
    changed = sum(size for one, other in (sizes, sizes[::-1]) for key, size in one.items() if key not in other)
    total = sum(sizes[0].values())
    return total > LEAST and changed <= MOSTLY * total
