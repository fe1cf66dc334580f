"""Facts follow their person: when nothing but identity changed, rows are given their subject anew where they are
stored.

A build that declares ``follows`` names, with each commit, what decided its rows apart from whose they are: its *basis*.
While the basis stands, nothing is read from bronze and nothing judged again. Units look through the stored buckets
for rows whose subject or person is another one now; buckets that such a row leaves or enters are written anew, all
in one commit, and the others stay. The rows are those that a rebuild would make.

It goes in two steps, as a row may move from any bucket to any other. A ``FollowUnit`` reads some buckets and stages two
things: which places of each bucket are left, and the rows that go elsewhere, by where they go. A ``MoveUnit`` then
writes one bucket from what stays and what arrives. A row whose person alone changed, not its subject, leaves its bucket
and arrives in the same one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from customer360.platform import ledger, tables
from customer360.platform.errors import ContractError, RunError
from customer360.platform.graph import Node
from customer360.platform.lake import BUCKET, Add, File, Lake, bucket_numbers
from customer360.platform.lake.pieces import get_piece, put_piece
from customer360.platform.run.planning import Job, carried_bytes, exchanged
from customer360.platform.run.touched import touch
from customer360.platform.run.units import (
    InputPart,
    UnitResult,
    apart,
    conform_to_storage,
    folded,
    other_rows,
    read_part,
    storage_order,
    timed,
)
from customer360.platform.sorting import in_order
from customer360.platform.tables import SUBJECT_KEYS

# Number of a row in the files that a unit reads. It tells rows apart and not by a key: facts may have none, and
# ``follows`` may join, which changes the order.
PLACE = "place__"


@dataclass(frozen=True, kw_only=True)
class FollowUnit:
    """Find the rows of some buckets that belong to somebody else now, and stage them by the bucket that they go to."""

    lake: Lake
    node: Node
    files: tuple[File, ...]
    inputs: tuple[InputPart, ...]
    staging: str
    changed: tuple[str, ...] | None = None  # pieces of what of each input is new, where known

    @timed
    def run(self) -> UnitResult:
        name = tables.spec(self.node.table).name
        stored = self.lake.scan(name, list(self.files)).with_row_index(PLACE)
        if self.changed is not None:
            stored = self._at(self._asked(stored)).lazy()
        moved = self._moved(stored)
        result = UnitResult(facts={"rows_moved": moved.height})
        if moved.is_empty():
            return result
        for (bucket,), leaving in self._left(moved).partition_by(BUCKET, as_dict=True, include_key=False).items():
            result.left[int(bucket)] = put_piece(self.lake, f"{self.staging}/left-{bucket}", leaving)
        rows = stored.drop(SUBJECT_KEYS).join(moved.lazy(), on=PLACE).drop(PLACE)
        arriving = conform_to_storage(self.node.table, rows, {})
        numbers = bucket_numbers(arriving["subject_id"], self.lake.buckets)
        parts = arriving.with_columns(numbers.alias(BUCKET)).partition_by(BUCKET, as_dict=True, include_key=False)
        for (bucket,), part in parts.items():
            result.pieces[int(bucket)] = put_piece(self.lake, f"{self.staging}/to-{bucket}", part)
        return result

    def _moved(self, stored: pl.LazyFrame) -> pl.DataFrame:
        """(place, subject_id, person_id of now) of the rows that had another subject or person."""
        assert self.node.follows is not None
        others = [read_part(self.lake, part) for part in self.inputs]
        now = self.node.follows(stored, *others).select(PLACE, *SUBJECT_KEYS).collect()
        before = stored.select(PLACE, *(pl.col(c).alias(f"{c}__") for c in SUBJECT_KEYS)).collect()
        if now.height != before.height or now[PLACE].n_unique() != now.height:
            raise ContractError(
                f"{self.node.name}: following made {now.height} rows of {before.height} stored ones; it may change none"
            )
        is_other = pl.any_horizontal(pl.col(c).ne_missing(pl.col(f"{c}__")) for c in SUBJECT_KEYS)
        return now.join(before, on=PLACE).filter(is_other).select(PLACE, *SUBJECT_KEYS)

    def _at(self, asked: pl.DataFrame) -> pl.DataFrame:
        """The stored rows at some places. Files that have none of them are not read, the others once: their rows are
        asked whose they are, compared, and staged."""
        name = tables.spec(self.node.table).name
        places, start = asked[PLACE].cast(pl.Int64).sort(), 0
        found = [self.lake.scan(name, []).with_row_index(PLACE).collect()]
        for file in self.files:
            low, high = (int(places.search_sorted(bound)) for bound in (start, start + file.rows))
            if high > low:
                rows = self.lake.scan(name, [file]).with_row_index(PLACE, start).collect()
                found.append(rows[places[low:high] - start])
            start += file.rows
        return pl.concat(found)

    def _asked(self, stored: pl.LazyFrame) -> pl.DataFrame:
        """Places of the rows that may belong to somebody else: those that a changed row of an input concerns."""
        assert self.node.reached is not None
        changed = [get_piece(self.lake, path) for path in self.changed or ()]
        if all(rows.is_empty() for rows in changed):
            return pl.DataFrame(schema={PLACE: pl.UInt32})
        return self.node.reached(stored, *(rows.lazy() for rows in changed)).select(PLACE).unique().collect()

    def _left(self, moved: pl.DataFrame) -> pl.DataFrame:
        """(bucket, place within the bucket's files) of the rows that do not stay as they are."""
        # Places count through all files of the unit; the bucket's MoveUnit reads its own files and counts from zero.
        starts: dict[int, int] = {}
        place = 0
        for f in self.files:
            starts.setdefault(_bucket(f), place)
            place += f.rows
        first = pl.DataFrame({BUCKET: list(starts), "start": list(starts.values())})
        places = moved.select(pl.col(PLACE).cast(pl.Int64)).sort(PLACE)
        left = places.join_asof(first, left_on=PLACE, right_on="start")
        return left.select(BUCKET, pl.col(PLACE) - pl.col("start"))


def _changed(lake: Lake, old: InputPart, new: InputPart) -> pl.DataFrame:
    """Rows that one state of an input has and the other lacks."""
    before, after = (read_part(lake, part).collect() for part in apart(old, new))
    return pl.concat(other_rows(before, after, new.table))


def _bucket(f: File) -> int:
    return int(f.partition[BUCKET] or 0)


@dataclass(frozen=True, kw_only=True)
class MoveUnit:
    """Give one bucket the rows that were staged for it, and write those of its files anew that rows leave."""

    lake: Lake
    node: Node
    bucket: int
    files: tuple[File, ...]
    left: tuple[str, ...]
    arriving: tuple[str, ...]
    partition: dict[str, str]

    @timed
    def run(self) -> UnitResult:
        table, name = self.node.table, tables.spec(self.node.table).name
        partition: dict[str, str | None] = {**self.partition, BUCKET: str(self.bucket)}
        gone = pl.concat([get_piece(self.lake, path)[PLACE] for path in self.left]).sort() if self.left else None
        kept, changed = list[File | Add](), list[pl.DataFrame]()
        start = 0
        for file in self.files:
            here = (
                pl.Series([], dtype=pl.Int64)
                if gone is None
                else gone.filter(gone.is_between(start, start + file.rows - 1))
            )
            if here.len():
                changed.append(self.lake.scan(name, [file]).select(SUBJECT_KEYS).collect()[here - start])
            kept += self._rest(file, here - start)
            start += file.rows
        if self.arriving:
            rows = pl.concat([get_piece(self.lake, path) for path in self.arriving])
            rows = in_order(rows, storage_order(table))
            changed.append(rows.select(SUBJECT_KEYS))
            kept.append(self.lake.write_file(name, rows, partition, self._stem(*self.arriving)))
        kept = folded(self.lake, table, kept, partition)
        adds = [f if isinstance(f, Add) else standing(f) for f in kept]
        count = sum(f.rows for f in adds)
        told = touch(name, self.bucket, self.files, adds, changed, count)
        return UnitResult(adds={name: adds}, facts={"rows": count}, touches=[told] if told else [])

    def _rest(self, file: File, places: pl.Series) -> list[File | Add]:
        """A file without the rows of some places; as it is where there are none."""
        name = tables.spec(self.node.table).name
        if places.is_empty():
            return [file]
        if places.len() == file.rows:
            return []
        stored = self.lake.scan(name, [file]).with_row_index(PLACE).collect()
        rest = stored.filter(~pl.col(PLACE).cast(pl.Int64).is_in(places.implode())).drop(PLACE)
        return [self.lake.write_file(name, rest, file.partition, self._stem(file.path))]

    def _stem(self, *of: str) -> str:
        """Name of a file by what it is made of: rows may have no key, so that two files may well become equal."""
        said = [*of, *sorted(self.left), *(f.path for f in self.files)]
        return "m" + hashlib.sha256(json.dumps(said).encode()).hexdigest()[:24]


def standing(file: File) -> Add:
    """A stored file as one of a commit: `replace` adds only paths that the table does not have, so statistics need not
    be known.
    """
    return Add(file.path, file.size, file.rows, file.partition, "")


def standing_facts(job: Job, limit: int) -> dict[str, Any] | None:
    """Facts of the commit that stands, if only the owners of its rows may have changed since; else None.

    They hold on: the rows are the same, and what was refused, folded and counted of bronze is, too. Every unit reads
    what is followed whole, so a table that an exchange would split is followed up to ``limit`` bytes only.
    """
    name = tables.spec(job.node.table).name
    if not job.node.follows or job.refreshed or job.context.lake.transaction(name, job.basis_app) != job.basis_version:
        return None
    if sum(carried_bytes(job, t) for t in exchanged(job) if t in job.node.followed) > limit:
        return None
    facts = ledger.last_facts(job.context.lake, name, job.app)
    return facts if "rows" in facts and (not job.node.records or "bronze" in facts) else None


def follow_units(job: Job, limit: int, staging: str) -> list[FollowUnit]:
    """Units over all stored buckets, whole buckets of together about ``limit`` bytes each."""
    lake, node = job.context.lake, job.node
    inputs = tuple(InputPart(table=t, files=tuple(job.inputs[t])) for t in node.followed)
    groups: list[list[File]] = []
    filled = limit
    for files in by_bucket(job).values():
        if filled >= limit:
            groups.append([])
            filled = 0
        groups[-1] += files
        filled += sum(f.size for f in files)
    changed = _changes(job, inputs, staging)
    return [
        FollowUnit(
            lake=lake, node=node, files=tuple(g), inputs=inputs, changed=changed, staging=f"{staging}/follow-{n}"
        )
        for n, g in enumerate(groups)
    ]


def _changes(job: Job, inputs: Sequence[InputPart], staging: str) -> tuple[str, ...] | None:
    """Pieces of the rows that came, went or changed of each input since the rows followed last; None where that is not
    known, or nobody says which rows they may concern. Most tables follow the same inputs from the same state: what
    one of them found is there for the others of its run."""
    known, lake = _known(job), job.context.lake
    if not known or job.node.reached is None:
        return None
    pieces = []
    for old, new in zip(known, inputs, strict=True):
        step = (new.table, *(frozenset(f.path for f in part.files) for part in (old, new)))
        if step not in job.touches.changes:
            job.touches.changes[step] = put_piece(lake, f"{staging}/changed-{new.table}", _changed(lake, old, new))
        pieces.append(job.touches.changes[step])
    return tuple(pieces)


def _known(job: Job) -> tuple[InputPart, ...]:
    """What the rows followed last, where all of it is known and stored."""
    before = job.origin.followed if job.origin is not None else {}
    parts = tuple(InputPart(table=t, files=tuple(before[t])) for t in job.node.followed if t in before)
    is_whole = len(parts) == len(job.node.followed)
    return parts if is_whole and all(job.context.lake.holds(p.table, p.files) for p in parts) else ()


def move_units(job: Job, found: list[UnitResult]) -> list[MoveUnit]:
    """One unit a bucket that a row leaves, enters, or changes in."""
    stored = by_bucket(job)
    left: dict[int, list[str]] = {}
    arriving: dict[int, list[str]] = {}
    for result in found:
        for pieces, paths in ((left, result.left), (arriving, result.pieces)):
            for bucket, path in paths.items():
                pieces.setdefault(bucket, []).append(path)
    return [
        MoveUnit(
            lake=job.context.lake,
            node=job.node,
            bucket=bucket,
            files=tuple(stored.get(bucket, ())),
            left=tuple(sorted(left.get(bucket, ()))),
            arriving=tuple(sorted(arriving.get(bucket, ()))),
            partition=job.partition,
        )
        for bucket in sorted({*left, *arriving})
    ]


def followed(job: Job, found: list[UnitResult], written: list[UnitResult]) -> tuple[list[Add], dict[str, Any]]:
    """All files of the table after the moves, and the facts of their commit.

    Raises:
        RunError: a row was lost or came twice.
    """
    name, facts = tables.spec(job.node.table).name, dict(job.stands or {})
    touched = {bucket for result in found for bucket in (*result.left, *result.pieces)}
    stay = [f for bucket, files in by_bucket(job).items() if bucket not in touched for f in files]
    rows = sum(f.rows for f in stay) + sum(result.facts["rows"] for result in written)
    if rows != facts["rows"]:
        raise RunError({job.node.name: f"{facts['rows']} rows became {rows} when some of them moved"})
    facts["rows_moved"] = sum(result.facts["rows_moved"] for result in found)
    fresh = [add for result in written for add in result.adds.get(name, [])]
    return [*map(standing, stay), *fresh], facts


def by_bucket(job: Job) -> dict[int, list[File]]:
    """Stored files of the node's table by bucket, in order."""
    found: dict[int, list[File]] = {}
    for f in job.context.lake.files(tables.spec(job.node.table).name):
        found.setdefault(_bucket(f), []).append(f)
    return dict(sorted(found.items()))
