"""The driver of record tables that new rows are appended to (``appended``): when that may be, in which order, and what
is committed.

Whose the stored rows are comes first: where links changed, too, the rows follow in a commit of their own, so that the
rows that a batch changes lie where the build would now put them. A run that dies between the two finds nothing left to
follow. A table that cannot be brought forward, for whatever reason, is built whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from customer360.platform import tables, telemetry
from customer360.platform.errors import Customer360Error
from customer360.platform.lake import Add, File, reached
from customer360.platform.quality.checks import Tally, added
from customer360.platform.run.executor import Executor, Failure
from customer360.platform.run.following import follow_units, followed, move_units
from customer360.platform.run.incremental.appended import QUARANTINE, AppendUnit, Changes
from customer360.platform.run.origins import Origin, files_digest
from customer360.platform.run.planning import Job, columns_of, corrected, stored_part
from customer360.platform.run.units import InputPart, key_column

Commit = Callable[[Job, dict[str, list[Add]], dict[str, Any]], None]
FollowCommit = Callable[[Job, list[Add], Origin], None]
T = TypeVar("T")


def why_whole(job: Job, limit: int) -> str:
    """Why a record table has to be built whole; empty where only what new rows concern need be looked at.

    ``limit`` is how many bytes of new bronze rows one unit reads.
    """
    node, lake, origin = job.node, job.context.lake, job.origin
    declared = tables.spec(node.table)
    if job.refreshed:
        return "asked for"
    if origin is None:
        return "nothing tells what it was made from"
    if not node.table.primary_key() or any(t.is_nested() for t in tables.schema(node.table).values()):
        return "its rows cannot be told apart"
    if origin.ground != job.ground:
        return "other inputs, code or rules"
    if origin.stored != files_digest(lake.files(declared.name)):
        return "its stored rows were changed"
    for table in node.judged:
        now = {f.path for f in job.inputs[table]}
        if any(f.path not in now for f in origin.inputs[table]):
            return f"rows of {table} went"
        fresh = fresh_files(job, table)
        if sum(f.size for f in fresh) > limit:
            return "the batch is large"
    if not all(lake.holds(part.table, part.files) for part in _known(job)):
        return "files that it was made from were deleted"
    return ""


def fresh_files(job: Job, table: str) -> list[File]:
    """Files of a bronze table that the standing rows were not made from."""
    assert job.origin is not None
    known = {f.path for f in job.origin.inputs[table]}
    return [f for f in job.inputs[table] if f.path not in known]


def _known(job: Job) -> tuple[InputPart, ...]:
    """Inputs of which it is known which stored rows they concern, as they were."""
    assert job.origin is not None
    return tuple(
        InputPart(table=t, files=tuple(job.origin.inputs[t]), columns=columns_of(job, t))
        for t in job.node.inputs
        if t != job.node.records and (key_column(t, job.node.per or "") or t in job.node.concerns)
    )


def advanced(
    jobs: Sequence[Job], executor: Executor, limit: int, staging: str, commit: Commit, follow: FollowCommit
) -> set[str]:
    """Bring the record tables forward that need no more than their new rows; names of those that were committed."""
    able = [job for job in jobs if job.node.records and not job.stands and job.origin is not None]
    refused = dict[str, str]()
    whys = _planned(able, lambda job: why_whole(job, limit), refused)
    refused |= {name: why for name, why in whys.items() if why}
    able = [job for job in able if job.node.name not in refused]
    _follow(able, executor, limit, staging, follow, refused)
    units = _planned([job for job in able if job.node.name not in refused], _unit, refused)
    ready = [(job, units[job.node.name]) for job in able if job.node.name in units]
    for job in jobs:
        if why := refused.get(job.node.name):
            job.whole = why
            telemetry.event(f"whole  {job.node.name:<34} {why}")
    done = set()
    results: dict[int, Changes] = {}
    for place, result in telemetry.beating(
        executor.map([unit for _, unit in ready]), telemetry.named([job.node.name for job, _ in ready])
    ):
        job, name = ready[place][0], ready[place][0].node.name
        if isinstance(result, Failure):
            job.whole = result.reason
            telemetry.log.debug(result.trace)
            telemetry.log.warning(f"{name} is built whole: {result.reason}")
        else:
            results[place] = result
            reached(f"after write {name}")
    for place, (job, _) in enumerate(ready):
        if place in results and _commit_changes(job, results[place], commit):
            done.add(job.node.name)
    return done


def _unit(job: Job) -> AppendUnit:
    assert job.origin is not None
    lake, records = job.context.lake, job.node.records or ""
    fresh = {table: fresh_files(job, table) for table in job.node.judged}
    job.replaced = tuple(sorted({*job.origin.replaced, *corrected(lake, fresh)}))
    return AppendUnit(
        lake=lake,
        node=job.node,
        fresh=tuple(fresh[records]),
        earlier=tuple(job.origin.inputs[records]),
        inputs=tuple(stored_part(job, t, job.inputs[t]) for t in job.node.inputs),
        known=_known(job),
        stored=tuple(lake.files(tables.spec(job.node.table).name)),
        refused=tuple(_refused(job)),
        reserved=job.reserved,
        partition=job.partition,
        replaced=job.replaced,
        replaced_before=job.origin.replaced,
        checks=job.checks,
        margin=job.margin,
        snapshots=job.snapshots,
        refuse=job.refuse,
    )


def _refused(job: Job) -> list[File]:
    files = job.context.lake.files(QUARANTINE)
    return [f for f in files if f.partition.get("table_name") == job.node.records]


def _planned(jobs: Iterable[Job], plan: Callable[[Job], T], refused: dict[str, str]) -> dict[str, T]:
    """What a function gives of each job, by name; why it gives nothing goes to ``refused``."""
    found = {}
    for job in jobs:
        try:
            found[job.node.name] = plan(job)
        except Customer360Error as fault:
            refused[job.node.name] = str(fault)
    return found


def _follow(
    jobs: Sequence[Job], executor: Executor, limit: int, staging: str, commit: FollowCommit, refused: dict[str, str]
) -> None:
    """Give the stored rows of tables to whose they are now, each in a commit that claims no more than that. Units of
    all tables run together."""
    stands = {job.node.name: replace(job, stands=_facts_of(job)) for job in jobs if _may_follow(job)}
    looked = _planned(stands.values(), lambda job: follow_units(job, limit, f"{staging}/{job.node.name}"), refused)
    found = _run(executor, looked, refused)
    moves = _planned([stands[name] for name in found], lambda job: move_units(job, found[job.node.name]), refused)
    written = _run(executor, moves, refused)

    def close(job: Job) -> None:
        name = job.node.name
        job.seconds += sum(result.seconds for result in [*found[name], *written[name]])
        _commit_followed(job, followed(stands[name], found[name], written[name]), written[name], commit)

    _planned([job for job in jobs if job.node.name in written], close, refused)


def _facts_of(job: Job) -> dict[str, Any]:
    assert job.origin is not None
    return dict(job.origin.facts)


def _may_follow(job: Job) -> bool:
    """Whether what says whose the rows are is another than at the last commit."""
    assert job.origin is not None
    now, then = {t: job.inputs[t] for t in job.node.followed}, job.origin.followed
    return any([f.path for f in now[t]] != [f.path for f in then.get(t, ())] for t in now)


def _commit_followed(
    job: Job, made: tuple[list[Add], dict[str, Any]], written: Sequence[Any], commit: FollowCommit
) -> None:
    assert job.origin is not None
    files, facts = made
    job.origin = replace(
        job.origin,
        followed={t: job.inputs[t] for t in job.node.followed},
        facts={**job.origin.facts, "rows": facts["rows"]},
        stored=files_digest(files),
    )
    if facts["rows_moved"]:
        commit(job, files, job.origin)
        for result in written:
            job.touches.note(result.touches)


def _run(executor: Executor, units: Mapping[str, Sequence[Any]], refused: dict[str, str]) -> dict[str, list[Any]]:
    """Results of units by table; tables of which one failed are ``refused``."""
    flat = [(name, place, unit) for name, some in units.items() for place, unit in enumerate(some)]
    results: dict[str, list[Any]] = {name: [None] * len(some) for name, some in units.items()}
    for index, result in executor.map([unit for _, _, unit in flat]):
        name, place, _ = flat[index]
        if isinstance(result, Failure):
            telemetry.log.debug(result.trace)
            refused.setdefault(name, result.reason)
        else:
            results[name][place] = result
    return {name: found for name, found in results.items() if name not in refused}


def _commit_changes(job: Job, changes: Changes, commit: Commit) -> bool:
    """Commit what a unit did; False where what it counts and what is stored then would not be the same."""
    assert job.origin is not None
    lake, name = job.context.lake, tables.spec(job.node.table).name
    facts = _facts(job.origin.facts, changes) | {"seconds": round(job.seconds + changes.seconds, 3)}
    adds = {name: _left(lake.files(name), changes, name), QUARANTINE: _left(_refused(job), changes, QUARANTINE)}
    rows = sum(f.rows for f in adds[name])
    if rows != facts["rows"] or rows != facts["silver"]:
        telemetry.log.warning(f"{job.node.name} is built whole: {rows:,} rows would stand for {facts['silver']:,}")
        job.whole = "its counts would not hold"
        return False
    commit(job, adds, facts)
    job.touches.note(changes.touches)
    return True


def _left(files: Sequence[File], changes: Changes, name: str) -> list[Add]:
    gone = set(changes.gone.get(name, ()))
    stay = [Add(f.path, f.size, f.rows, f.partition, "") for f in files if f.path not in gone]
    return [*stay, *changes.adds.get(name, [])]


def _facts(before: Any, changes: Changes) -> dict[str, Any]:
    """The facts of the commit before with the changes; what a full build would not name is not named."""
    passing = ("seconds", "rows_moved", "buckets_rewritten", "whole", "cpu_seconds")
    facts = {k: v for k, v in before.items() if k not in passing}
    for key, change in changes.facts.items():
        facts[key] = facts.get(key, 0) + change
    for key in [k for k, v in facts.items() if v == 0 and k.partition("|")[0] in ("nulled", "redated")]:
        del facts[key]
    facts["rows"] = before["rows"] + changes.rows_new - changes.rows_gone
    negative: Tally = {s: {k: -v for k, v in counts.items()} for s, counts in changes.before.items()}
    counted = added([facts.get("quality", {}), changes.after, negative])
    facts["quality"] = {system: counts for system, counts in counted.items() if counts["total"]}
    return facts | {"rows_new": changes.rows_new, "rows_gone": changes.rows_gone}
