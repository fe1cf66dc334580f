"""The units of a build that goes bucket by bucket: which buckets are made, whole or of some subjects alone, and which
stay as they are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from customer360.platform import tables
from customer360.platform.lake import BUCKET, File, Lake
from customer360.platform.run.origins import files_digest
from customer360.platform.run.planning import Job, build_unit, is_bucketed, replaced_rows, stored_part
from customer360.platform.run.touched import Told
from customer360.platform.run.units import BuildUnit, InputPart, Place, owner_column

TOGETHER = 4 * 1024 * 1024  # bytes of buckets that share a unit: less takes no longer than a unit costs to start
# Likewise where some subjects are made anew: little of what is read is kept, and a wide plan costs more to make than
# to run.
FEW_TOGETHER = 128 * 1024 * 1024
LEAST = 8 * 1024 * 1024  # bytes of such a unit, below which it is not divided among workers
MOSTLY = 1 / 3  # of a bucket's bytes that may be others where some subjects are made anew: else all of them are


@dataclass(frozen=True)
class _Bucket:
    """What the file of one bucket is made of: its inputs, and as they were where only some subjects are made anew;
    ``told`` is by table which of them are known to be others."""

    place: Place
    inputs: tuple[InputPart, ...]
    known: tuple[InputPart, ...] = ()
    told: Mapping[str, Told] = field(default_factory=dict)

    @property
    def size(self) -> float:
        """Bytes that are read of the inputs that are stored by bucket, about."""
        return sum(read_bytes(part, f) for part in self.inputs if is_bucketed(part.table) for f in part.files)


def bucket_units(job: Job) -> tuple[list[BuildUnit], list[str]]:
    """Units over the buckets, whose files are named by a fingerprint of what each bucket reads; those that stand
    already are left out. Buckets that hold little share a unit.

    Returns the units and the paths of files that stay.
    """
    lake, node = job.context.lake, job.node
    every = lake.files(tables.spec(node.table).name)
    stored = [f for f in every if all(f.partition.get(k) == v for k, v in job.partition.items())]
    standing, before = {f.path for f in stored}, _inputs_before(job, stored)
    now = {t: _by_bucket(lake, t, job.inputs[t]) for t in node.inputs}
    then = {t: _by_bucket(lake, t, files) for t, files in before.items()}
    constant, made, stay = _constant(job), list[_Bucket](), list[str]()
    for bucket in range(lake.buckets):
        inputs = tuple(stored_part(job, t, now[t][bucket]) for t in node.inputs)
        stem = _unit_stem(constant, inputs)
        folder = "".join(f"{k}={v}/" for k, v in {**job.partition, BUCKET: str(bucket)}.items())
        held = tuple(f for f in stored if f.partition.get(BUCKET) == str(bucket))
        if job.refreshed:  # under the standing file's name a new content could not be told from the old
            made.append(_Bucket(Place(bucket=bucket), inputs))
            continue
        known = tuple(stored_part(job, t, files[bucket]) for t, files in then.items())
        if (path := f"{folder}{stem}.parquet") in standing:
            stay.append(path)
        elif known and held and all(list(then[t][bucket]) == list(now[t][bucket]) for t in then):
            stay += [f.path for f in held]
        else:
            told = _told(job, bucket, known, {t: now[t][bucket] for t in then})
            known = known if _is_mostly_known(inputs, known, told) else ()
            place = Place(bucket=bucket, stem=stem, stored=held if known else ())
            made.append(_Bucket(place, inputs, known, told if known else {}))
    replaced = replaced_rows(job) if node.judged and made else ()
    return [_joint_unit(job, group, replaced) for group in _joined(made, _workers(job))], stay


def _told(job: Job, bucket: int, known: Iterable[InputPart], now: Mapping[str, Sequence[File]]) -> dict[str, Told]:
    """Of a bucket's inputs, by table, what this run has told of their way from ``known`` to what they are."""
    found = {}
    for part in known:
        key = owner_column(part.table, job.node.per or "") or ""
        if told := job.touches.between(part.table, bucket, key, part.files, now[part.table]):
            found[part.table] = told
    return found


def _workers(job: Job) -> int:
    """Processes among which the units of a run are divided."""
    executor = job.context.executor
    return executor.workers if executor else 1


def _joined(made: Iterable[_Bucket], workers: int = 1) -> list[list[_Bucket]]:
    """Buckets in groups: those made whole, of about `TOGETHER` bytes, and those of which some subjects are, of about
    `FEW_TOGETHER`, or less where several workers share them."""
    found: list[list[_Bucket]] = []
    for is_known in (False, True):
        some = [b for b in made if bool(b.known) == is_known]
        share = max(LEAST, 1.1 * sum(b.size for b in some) / workers)  # buckets are not of one size
        limit = min(FEW_TOGETHER, share) if is_known else TOGETHER
        filled: float = limit + 1
        for bucket in some:
            if filled + bucket.size > limit:
                found.append([])
                filled = 0
            found[-1].append(bucket)
            filled += bucket.size
    return found


def _joint_unit(job: Job, group: Sequence[_Bucket], replaced: tuple[str, ...]) -> BuildUnit:
    inputs, known = _united([b.inputs for b in group]), _united([b.known for b in group])
    told = tuple((table, told) for b in group for table, told in b.told.items())
    places = tuple(b.place for b in group)
    return build_unit(job, inputs, places=places, known=known, told=told, replaced=replaced)


def _united(parts: Sequence[tuple[InputPart, ...]]) -> tuple[InputPart, ...]:
    """Parts of several buckets as one; what is not stored by bucket is the same in all."""
    return tuple(
        replace(of[0], files=tuple(f for part in of for f in part.files)) if is_bucketed(of[0].table) else of[0]
        for of in zip(*parts, strict=True)
    )


def _is_mostly_known(now: Iterable[InputPart], before: Iterable[InputPart], told: Mapping[str, Told]) -> bool:
    """Whether few of the bytes that a bucket reads are in other files than before, or of subjects that are told: else
    comparing costs more than making anew."""
    after = {(p.table, f.path): read_bytes(p, f) for p in now for f in p.files if is_bucketed(p.table)}
    then = {(p.table, f.path): read_bytes(p, f) for p in before for f in p.files if is_bucketed(p.table)}
    changed = sum(
        size
        for found, other in ((after, then), (then, after))
        for (table, path), size in found.items()
        if (table, path) not in other and table not in told
    )
    shares = sum(size * told[table].share for (table, _), size in after.items() if table in told)
    return bool(then) and changed + shares <= MOSTLY * sum(after.values())


def read_bytes(part: InputPart, file: File) -> float:
    """Bytes of a file that are read, about: they shrink with the share of columns."""
    return file.size * len(part.columns or ()) / len(tables.schema(tables.by_name(part.table))) or file.size


def _inputs_before(job: Job, stored: list[File]) -> dict[str, list[File]]:
    """Files of the inputs that have the subject, as what stands was made from them; nothing where subjects cannot be
    renewed by themselves: other inputs or code changed, or files are gone."""
    lake, origin = job.context.lake, job.origin
    if origin is None or job.refreshed or origin.ground != job.ground or origin.stored != files_digest(stored):
        return {}
    keyed = {t for t in job.node.inputs if owner_column(t, job.node.per or "")}
    before = {t: list(origin.inputs[t]) for t in job.node.inputs if t in keyed or is_bucketed(t)}
    now = {t: {f.path for f in job.inputs[t]} for t in before}
    gone = {t: [f for f in files if f.path not in now[t]] for t, files in before.items()}
    return before if keyed.issuperset(before) and all(lake.holds(t, files) for t, files in gone.items()) else {}


def _by_bucket(lake: Lake, table: str, files: Sequence[File]) -> list[Sequence[File]]:
    """The files of each bucket, in order; all of them for each where the table is not stored by bucket."""
    if not is_bucketed(table):
        return [files] * lake.buckets
    found: dict[str | None, list[File]] = {str(bucket): [] for bucket in range(lake.buckets)}
    for file in files:
        found[file.partition.get(BUCKET)].append(file)
    return list(found.values())


def _constant(job: Job) -> list[Any]:
    """What all units of a node have in common that decides their rows: its fingerprint but for what its inputs hold."""
    code, _, *rest = job.parts
    return [code, *rest]


def _unit_stem(constant: list[Any], inputs: Iterable[InputPart]) -> str:
    files = [[p.table, [f.path for f in p.files]] for p in inputs]
    return "u" + hashlib.sha256(json.dumps([constant, files], sort_keys=True, default=str).encode()).hexdigest()[:24]
