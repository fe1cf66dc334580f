"""The units of a build: whole, bucket by bucket, by the keys of its grain that changed, or through an exchange that
splits its inputs by key and gathers what was built by bucket. ``staging`` is the folder of the run, ``most`` bytes of
input fit one unit.
"""

from __future__ import annotations

from customer360.platform import tables
from customer360.platform.run.bucketed import bucket_units
from customer360.platform.run.following import FollowUnit, MoveUnit, follow_units, move_units
from customer360.platform.run.keyed import KeyedUnit, keyed_unit
from customer360.platform.run.past import PastUnit, past_unit
from customer360.platform.run.planning import (
    Job,
    build_unit,
    carried_bytes,
    exchanged,
    groups,
    is_by_bucket,
    replaced_rows,
    stored_part,
)
from customer360.platform.run.units import BuildUnit, GatherUnit, InputPart, SplitUnit, UnitResult

SPLIT_BYTES = 32 * 1024 * 1024  # of an input that one unit splits


def split_units(job: Job, staging: str, most: int) -> list[SplitUnit]:
    """Units that split the inputs of an exchange; none when everything fits one unit."""
    split_by = exchanged(job)
    size = sum(carried_bytes(job, t) for t in split_by)
    parts = -(-size // most)
    if job.stands or is_by_bucket(job) or parts <= 1 or keyed_unit(job, most):
        return []
    units = []
    for table in split_by:
        job.staged[table] = {n: [] for n in range(parts)}
        for i, group in enumerate(groups(job.inputs[table], SPLIT_BYTES)):
            units.append(
                SplitUnit(
                    lake=job.context.lake,
                    part=stored_part(job, table, group),
                    key=job.node.per or "",
                    parts=parts,
                    staging=f"{staging}/{job.node.name}/{i}",
                )
            )
    return units


Units = list[BuildUnit] | list[FollowUnit] | list[KeyedUnit] | list[PastUnit]


def units_of(job: Job, staging: str, most: int) -> tuple[Units, list[str]]:
    """Units that build a node, and paths of its files that stay."""
    if job.stands:
        return follow_units(job, most, f"{staging}/{job.node.name}"), []
    if is_by_bucket(job):
        return bucket_units(job)
    if (unit := keyed_unit(job, most)) is not None:
        return [unit], []
    replaced = job.replaced = replaced_rows(job)
    if not job.staged:
        inputs = tuple(stored_part(job, t, job.inputs[t]) for t in job.node.inputs)
        whole = build_unit(job, inputs, replaced=replaced, checks=job.checks)
        looking = past_unit(job, whole)
        return ([whole] if looking is None else [looking]), []
    parts = len(next(iter(job.staged.values())))
    scatter = tables.spec(job.node.table).bucketed
    units = []
    for number in range(parts):
        inputs = tuple(
            InputPart(table=t, pieces=tuple(sorted(job.staged[t][number])))
            if t in job.staged
            else stored_part(job, t, job.inputs[t])
            for t in job.node.inputs
        )
        folder = f"{staging}/{job.node.name}/built-{number}" if scatter else None
        units.append(build_unit(job, inputs, staging=folder, replaced=replaced, checks=job.checks))
    return units, []


def gather_units(job: Job, built: list[UnitResult]) -> list[GatherUnit] | list[MoveUnit]:
    """Units that put what was built of each bucket into one file."""
    if job.stands:
        return move_units(job, built)
    pieces: dict[int, list[str]] = {}
    for result in built:
        for number, path in result.pieces.items():
            pieces.setdefault(number, []).append(path)
    lake, table = job.context.lake, job.node.table
    return [
        GatherUnit(lake=lake, table=table, bucket=n, pieces=tuple(sorted(p)), partition=job.partition)
        for n, p in sorted(pieces.items())
    ]
