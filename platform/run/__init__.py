"""Run a part of the graph: land what is new, build what is not current, in stages, on Ray or in this process.

A node that fails stops only what needs it. Everything that was committed stays committed; the next run goes on from
there. Units return add-actions and counts; this driver commits.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from customer360.platform import graph, ledger, quality, tables, telemetry
from customer360.platform.errors import ConfigError, Customer360Error, NothingLanded, RunError
from customer360.platform.graph import Node
from customer360.platform.lake import Add, Lake, editions, reached, remembered
from customer360.platform.lake.damage import check_room
from customer360.platform.ledger import NodeRun, Run
from customer360.platform.quality import DeadLetters, Quarantine
from customer360.platform.quality.checks import added
from customer360.platform.run.backfill import fix_window
from customer360.platform.run.closing import close_run, written_at_the_end
from customer360.platform.run.exchange import Units, gather_units, split_units, units_of
from customer360.platform.run.executor import Failure, LocalExecutor, RayExecutor, executor_for
from customer360.platform.run.following import followed, standing_facts
from customer360.platform.run.grouping import is_stale
from customer360.platform.run.health import Board
from customer360.platform.run.incremental.advance import advanced
from customer360.platform.run.incremental.appended import QUARANTINE
from customer360.platform.run.incremental.changes import written
from customer360.platform.run.incremental.covering import cover_keys
from customer360.platform.run.ingest import ingest, look_ahead
from customer360.platform.run.migrating import brought
from customer360.platform.run.origins import Origin, files_digest, forget_others
from customer360.platform.run.planning import (
    Context,
    Job,
    check_buckets,
    is_current,
    prepare,
    replaced_rows,
    standing_origin,
    why_all,
)
from customer360.platform.run.progress import tell
from customer360.platform.run.reports import RESTING, made_by, may_rest, note_made, resting
from customer360.platform.run.request import RunRequest
from customer360.platform.run.rereading import named_batches, outdated, reland, retry_changed
from customer360.platform.run.rests import resting as resting_sources
from customer360.platform.run.touched import Touches
from customer360.platform.run.units import SplitUnit, UnitResult
from customer360.platform.run.upkeep import can_grow, check, tend
from customer360.platform.settings import Settings
from customer360.platform.sources.base import configured

FAILED, LOST, STOPPED = 2, 5, 130  # exit codes of `customer360 run`


def lake_of(settings: Settings) -> Lake:
    """The configured lake."""
    return Lake(settings.lake.root, dict(settings.lake.storage_options), settings.lake.buckets)


def run(settings: Settings, request: RunRequest, *, rules: dict[str, Any]) -> Run:
    """Run the part of the graph that ``request`` names, with the rule files as typed values by kind.

    Raises:
        GraphError: a name is unknown.
        LakeLocked: another run changes the lake.
        RunError: at least one node failed; the others were built and committed.
    """
    with lake_of(settings).run_lock(request.command):
        return run_locked(settings, request, rules=rules)


def run_locked(
    settings: Settings, request: RunRequest, *, rules: dict[str, Any], retire: Callable[[], bool] | None = None
) -> Run:
    """As `run`, for who holds the run lock. ``retire`` takes rows out of bronze that landed and may not be kept, and
    says whether there were any: asked before anything is built, and again when the table that dates are read from is.
    """
    lake, chosen = lake_of(settings), request.nodes()
    remembered.recall(lake)
    needed = request.lands(chosen)
    lake.look_together(request.touches(chosen).union(can_grow(), written_at_the_end()))
    check_buckets(lake)
    check(settings.lake)
    record = ledger.start_run(request.command, request.started_by)
    record.save(lake)  # so that also one that is killed is known
    executor = executor_for(settings)
    try:
        driver = _Driver(settings, request, rules, executor, record)
        with lake.keeping(*ledger.FOLDERS):
            driver.bring(needed | {t for t in request.touches(chosen) if t.startswith("bronze.") and lake.exists(t)})
            driver.land(needed)
        if request.as_of is None and any(graph.NODES[name].needs_date for name in chosen):
            driver.check_landed(needed)
        if retire and needed:
            retire()
        driver.build(chosen, retire if needed else None)
        driver.finish()
        record.close(FAILED if driver.failures else LOST if record.losses else 0)
    except BaseException as fault:
        said = str(fault) if isinstance(fault, Customer360Error) else type(fault).__name__
        code = getattr(fault, "exit_code", FAILED) if isinstance(fault, Exception) else STOPPED
        record.close(code, said.partition("\n")[0])
        raise
    finally:
        executor.close()
        record.save(lake)
    remembered.leave(lake)
    if driver.failures:
        raise RunError(driver.failures, record.id)
    return record


class _Driver:
    """State of one run: what is known, what failed, and the commits."""

    def __init__(
        self,
        settings: Settings,
        request: RunRequest,
        rules: dict[str, Any],
        executor: LocalExecutor | RayExecutor,
        record: Run,
    ):
        self.lake, self.settings, self.rules = lake_of(settings), settings, rules
        self.executor, self.record = executor, record
        self.request, self.as_of, self.refresh = request, request.as_of, set(request.refresh)
        self.needs, self.failures = graph.edges(), dict[str, str]()
        self.blocking: set[str] = set()  # bronze tables that lack rows which should be there
        self.started: dict[str, float] = {}
        self.touches = Touches()
        self.resting = resting(self.lake, settings.execution, request)
        self.made_by: dict[str, str] = {}
        self._exchange_bytes = settings.execution.exchange_megabytes * 1024 * 1024

    def bring(self, bronze: set[str]) -> None:
        """Make bronze tables, or bring them to the columns and types of their contracts."""
        for table in sorted(bronze):
            for node in brought(self.lake, self.settings, table, self.executor, self.rules):
                self.record.nodes.append(node)
                self.failures[node.node] = node.reason
                self.blocking.add(table)

    def land(self, needed: set[str]) -> None:
        """Land the sources of the given bronze tables."""
        for source in self.settings.sources.values():
            tables.by_name(source.table)  # a misspelt table would never be landed, without a word
        names = [n for n in self.request.names(self.settings.sources, needed) if f"source {n}" not in self.failures]
        self.lake.ensure(Quarantine)
        look_ahead(self.lake, self.settings, names)
        self._reread(names)
        if self.request.window:
            fix_window(self.lake, self.settings, self.request.window)
        with Board.kept(self.lake, self.settings.sources) as board:
            rests = resting_sources(self.settings, board, names, self.request)
            for landed in ingest(self.lake, self.settings, names, self.executor, self.rules, rests):
                self.record.nodes += landed.nodes
                self.record.losses += landed.losses
                name, now = landed.name, datetime.now(UTC)
                if landed.failure is None:
                    if name not in rests:
                        board.landed(name, landed.nodes, landed.newest, now)
                    continue
                check_room(landed.failure)  # a full disk is no fault of the source
                self.failures[f"source {name}"] = landed.failure
                board.failed(self.settings, name, landed.nodes, landed.failure, landed.lag, now, waits=landed.waits)
                if landed.blocks and not board[name].open_since:  # what is left alone is not waited for
                    self.blocking.add(self.settings.sources[name].table)
        self.record.save(self.lake)

    def check_landed(self, needed: set[str]) -> None:
        """Refuse to build tables about a date when there is no row to take one from: the cause comes first.

        Raises:
            NothingLanded: no bronze table holds a row; says what became of each source.
        """
        if not needed or any(file.rows for table in needed for file in self.lake.files(table)):
            return
        said = {}
        for name, source in self.settings.sources.items():
            if source.table in needed:
                landed = [o for o in ledger.outcomes(self.lake, name).values() if not o.dropped]
                balances = [f"batch {o.seq}: {quality.batch_balance('', o.facts).text}" for o in landed if o.facts]
                why = self.failures.get(f"source {name}") or ("" if balances else "nothing was found at the source")
                said[f"source {name}"] = "; ".join(filter(None, [", ".join(balances), why]))
        self.record.end()
        raise NothingLanded(said)

    def _reread(self, names: list[str]) -> None:
        """Read files again where the request says so, and those that failed under other settings than today's."""
        self.lake.ensure(DeadLetters)
        lake, settings, wanted = self.lake, self.settings, self.request.reland
        if unknown := sorted(set(wanted) - set(names)):
            raise ConfigError(f"--reland {', '.join(unknown)}: this run lands {', '.join(names) or 'no source'}")
        for name in names:
            stale = is_stale(lake, name, configured(settings, name))
            again = reland if name in wanted or stale else retry_changed
            done = again(lake, settings, name, self.executor, self.rules)
            if done is not None:
                kept = f"; {len(done.kept)} could not be" if done.kept else ""
                telemetry.event(
                    f"read again {name}: {done.inputs} inputs{kept}, {done.rows_before:,} rows became {done.rows:,}"
                )
        for name, (seqs, parts) in outdated(lake, settings, names).items():
            telemetry.log.warning(
                f"{name}: {named_batches(seqs)} landed under another {' and '.join(parts)} than today's; "
                f"`customer360 run --reland {name}` reads the files again"
            )

    def build(self, chosen: set[str], retire: Callable[[], bool] | None) -> None:
        """Build what is not current, stage by stage; again from the first where rows turn out to be too old."""
        dating = {maker for table in graph.DATE_TABLES for maker in graph.producers_of().get(table, ())}
        levels = graph.levels(chosen)
        for place, stage in enumerate(levels):
            self.stage(stage)
            if retire and not dating.isdisjoint(node.name for node in stage) and not self.failures and retire():
                done = [node for each in levels[: place + 1] for node in each]
                self.refresh -= {name for node in done for name in (node.name, tables.spec(node.table).name)}
                self.build(chosen, None)
                return

    def stage(self, nodes: list[Node]) -> None:
        """Build one stage: all units of its builds together, then its producers one by one."""
        jobs = [job for job in (self._job(node) for node in nodes) if job is not None]
        self._build([job for job in jobs if not job.node.is_producer])
        for job in jobs:
            if job.node.is_producer:
                self._produce(job)
        if jobs or not self.lake.is_remote:  # of a stage that is current nothing would be lost but its names
            self.record.save(self.lake)

    def finish(self) -> None:
        self.record.end()
        self.lake.delete(self.lake.objects("_staging"))
        note_made(self.lake, self.settings.execution, self.record, self.request.published, self.made_by)
        close_run(self.lake, self.settings, self.rules, self.record)
        if not self.failures:
            cover_keys(self.lake, self.executor, self.record, tend(self.lake, self.settings.lake))

    def _job(self, node: Node) -> Job | None:
        """The node's job, or None when it is current, blocked by a failure, or cannot be prepared."""
        needed = [b for b in self.needs[node.name] if b in self.failures]
        # A part of a shared table that fails (one model of many) leaves its last edition standing; the others go on.
        blocked = [b for b in needed if graph.NODES[b].part is None] + [
            f
            for f in self.failures
            if f.startswith("source ") and self.settings.sources[f[7:]].table in self.blocking.intersection(node.inputs)
        ]
        if blocked:
            self._fail(node, f"needs {', '.join(sorted(blocked))}, which failed", state="blocked")
            return None
        refreshed = not {node.name, tables.spec(node.table).name}.isdisjoint(self.refresh)
        try:
            for output in node.outputs:
                self.lake.ensure(output, rebuild=refreshed)
            if node.needs_date and self.as_of is None:
                self.as_of = graph.default_as_of(self.lake, self.settings.zones)
                self.record.as_of = str(self.as_of)
                telemetry.event(f"as of {self.as_of} (the end of the last complete day in the data)")
            spread = self.executor if isinstance(self.executor, RayExecutor) else None
            job = prepare(node, Context(self.lake, self.settings, self.as_of, executor=spread), self.rules)
            self.started[node.name] = time.perf_counter()
            job.refreshed, job.touches = refreshed, self.touches
            self.made_by[node.name] = made_by(job)
            is_left = node.name in self.resting and may_rest(job, self.resting[node.name])
            if is_left or (is_current(job) and not refreshed):
                facts = ledger.last_facts(self.lake, tables.spec(node.table).name, job.app)
                state = "current" if is_current(job) else RESTING
                self.record.nodes.append(NodeRun(node.name, state, 0.0, facts.get("rows", 0), facts))
                return None
            job.origin = standing_origin(job)
            job.stands = standing_facts(job, self._exchange_bytes)
        except Exception as fault:  # noqa: BLE001 - a server that does not answer, say: the others are planned
            self._fail_for(node, fault)
            return None
        return job

    def _fail_for(self, node: Node, fault: Exception) -> None:
        """Fail a node for a fault: ours are said in their own words."""
        telemetry.log.debug(traceback.format_exc())
        self._fail(node, str(fault) if isinstance(fault, Customer360Error) else f"{type(fault).__name__}: {fault}")

    def _planned(self, job: Job, plan: Callable[[Job], Any]) -> Any:
        """What a part of the planning of a node gives; None where it fails, and the node with it."""
        try:
            return plan(job)
        except Exception as fault:  # noqa: BLE001 - as above
            self._fail_for(job.node, fault)
            return None

    def _fail(self, node: Node, reason: str, state: str = "failed") -> None:
        check_room(reason)
        self.failures[node.name] = reason
        seconds = time.perf_counter() - self.started.get(node.name, time.perf_counter())
        self.record.nodes.append(NodeRun(node.name, state, seconds, reason=reason))
        said = {"event": state, "node": node.name, "reason": reason}
        telemetry.log.error(f"{state} {node.name}: {reason}", extra={"facts": said})

    def _commit(self, job: Job, adds: dict[str, list[Add]], facts: dict[str, Any]) -> None:
        """Commit a node's outputs: side tables first, the main table last, all under the node's fingerprint."""
        main = tables.spec(job.node.table).name
        if job.node.records and not job.stands:
            scope, refused = {"table_name": job.node.records}, adds.get(QUARANTINE, [])
            self.lake.replace(
                QUARANTINE, refused, scope=scope, app=job.app, app_version=job.app_version, unless_equal=True
            )
        for output in job.node.outputs[:-1]:
            side = tables.spec(output).name
            self.lake.replace(side, adds.get(side, []), scope={}, app=job.app, app_version=job.app_version)
        before = {f.path for f in self.lake.files(main)}
        facts["buckets_rewritten"] = sum(a.path not in before for a in adds.get(main, []))
        seconds = facts.setdefault("seconds", round(time.perf_counter() - self.started[job.node.name], 3))
        self._note_origin(job, adds.get(main, []), facts)
        self.lake.replace(
            main, adds.get(main, []), scope=job.partition, app=job.app, app_version=job.app_version, facts=facts,
            marks=({job.basis_app: job.basis_version} if job.node.follows else {})
            | (editions.mark(job.node.name, self.as_of) if job.partition.get("as_of") else {}),
        )  # fmt: skip
        if job.keeps_origin:
            forget_others(self.lake, job.node.name, job.app_version)
        self.record.nodes.append(NodeRun(job.node.name, "built", seconds, facts["rows"], facts))
        telemetry.NODE_SECONDS.labels(node=job.node.name).observe(seconds)
        tell(job, facts, seconds)
        if job.node.records:
            balance = quality.record_balance(main, facts)
            if not balance.holds:
                raise RunError({job.node.name: f"conservation does not hold: {balance.text}"})

    def _note_origin(self, job: Job, files: list[Add], facts: dict[str, Any]) -> None:
        """Keep what a table is made from, before it is committed."""
        if not job.keeps_origin:
            return
        if job.node.records and job.replaced is None:
            job.replaced = job.origin.replaced if job.stands and job.origin else replaced_rows(job)
        followed = {t: job.inputs[t] for t in job.node.followed}
        stored, origin = files_digest(files), Origin(ground=job.ground, inputs=job.inputs, followed=followed)
        replace(origin, replaced=job.replaced or (), stored=stored, facts=facts).save(
            self.lake, job.node.name, job.app_version
        )

    def _commit_followed(self, job: Job, files: list[Add], origin: Origin) -> None:
        """Commit rows that followed, of a node that is not current by that."""
        version = job.followed_version
        origin.save(self.lake, job.node.name, version)
        main = tables.spec(job.node.table).name
        self.lake.replace(main, files, scope=job.partition, app=job.app, app_version=version, facts=dict(origin.facts))

    def _produce(self, job: Job) -> None:
        self.started[job.node.name] = time.perf_counter()  # others of its stage were waited for
        frames = [self.lake.scan(name, files) for name, files in job.inputs.items()]
        adds: dict[str, list[Add]] = {}
        try:
            with telemetry.heartbeat(job.node.name):
                made = job.node.function(job.context, *frames)
            outputs = made if isinstance(made, tuple) else (made,)
            for table, output in zip(job.node.outputs, outputs, strict=True):
                partition = job.partition if table is job.node.table else {}
                adds[tables.spec(table).name] = written(self.lake, table, output, partition)
                reached(f"after write {tables.spec(table).name}")
        except Exception as fault:  # noqa: BLE001 - as with builds: the node fails with this reason, the others go on
            self._fail_for(job.node, fault)
            return
        self._commit(job, adds, {"rows": sum(add.rows for add in adds[tables.spec(job.node.table).name])})

    def _build(self, jobs: list[Job]) -> None:
        """All builds of a stage: record tables are brought forward by their new rows; of the others exchanges are split
        first, then everything is built, then exchanges gathered."""
        staging = f"_staging/{self.record.id}/new"
        done = advanced(jobs, self.executor, self._exchange_bytes, staging, self._commit, self._commit_followed)
        jobs = [job for job in jobs if job.node.name not in done]
        splits = {j.node.name: self._planned(j, self._splits) or [] for j in jobs}
        split_results = self._map({name: units for name, units in splits.items() if units})
        for job in jobs:
            for unit, result in zip(splits[job.node.name], split_results.get(job.node.name, []), strict=False):
                job.seconds += result.seconds
                staged = job.staged.setdefault(unit.part.table, {})
                for number, path in result.pieces.items():
                    staged.setdefault(number, []).append(path)
        standing: dict[str, list[str]] = {}
        units = {}
        for job in jobs:
            if job.node.name not in self.failures and (planned := self._planned(job, self._build_units)):
                units[job.node.name], standing[job.node.name] = planned
                job.whole = "" if job.stands else why_all(job, planned[0])
        built = self._map(units)
        gathers = {
            j.node.name: self._planned(j, lambda job: gather_units(job, built[job.node.name])) or []
            for j in jobs
            if j.node.name in built
        }
        gathered = self._map({name: units for name, units in gathers.items() if units})
        for job in jobs:
            name = job.node.name
            if name in self.failures:
                continue
            self._commit_built(job, built[name], gathered.get(name, []), standing[name])
            self.touches.note(t for result in (*built[name], *gathered.get(name, ())) for t in result.touches)

    def _splits(self, job: Job) -> list[SplitUnit]:
        return split_units(job, f"_staging/{self.record.id}", self._exchange_bytes)

    def _build_units(self, job: Job) -> tuple[Units, list[str]]:
        return units_of(job, f"_staging/{self.record.id}", self._exchange_bytes)

    def _commit_built(self, job: Job, built: list[UnitResult], gathered: list[UnitResult], standing: list[str]) -> None:
        main = tables.spec(job.node.table).name
        worked = {"seconds": round(job.seconds + sum(result.seconds for result in [*built, *gathered]), 3)}
        if job.stands:
            files, facts = followed(job, built, gathered)
            self._commit(job, {main: files}, facts | worked)
            return
        adds: dict[str, list[Add]] = {}
        facts = {}
        for result in [*built, *gathered]:
            for table, files in result.adds.items():
                adds.setdefault(table, []).extend(files)
        for result in built:
            for key, count in result.facts.items():
                facts[key] = facts.get(key, 0) + count
        if job.node.records:
            facts["quality"] = added(result.tally for result in built)
        stored = {f.path: f for f in self.lake.files(main)}
        adds.setdefault(main, []).extend(
            Add(p, stored[p].size, stored[p].rows, stored[p].partition, "") for p in standing
        )
        facts["rows"] = facts.get("rows", 0) + sum(stored[p].rows for p in standing)
        if job.whole:
            facts |= {"whole": job.whole, "cpu_seconds": round(sum(r.seconds for r in built), 3)}
        self._commit(job, adds, facts | worked)

    def _map(self, units_by_node: dict[str, Any]) -> dict[str, list[Any]]:
        """Run the units of several nodes together; a node with a failed unit fails and has no results."""
        flat = [(name, place, unit) for name, units in units_by_node.items() for place, unit in enumerate(units)]
        results: dict[str, list[Any]] = {name: [None] * len(units) for name, units in units_by_node.items()}
        shown = time.perf_counter()
        mapped = telemetry.beating(self.executor.map([unit for _, _, unit in flat]), telemetry.named(units_by_node))
        for done, (index, result) in enumerate(mapped, 1):
            name, place, _ = flat[index]
            if isinstance(result, Failure):
                telemetry.log.debug(result.trace)
                if name not in self.failures:
                    self._fail(graph.NODES[name], result.reason)
            else:
                results[name][place] = result
                reached(f"after write {name}")
            if time.perf_counter() - shown > 10:
                telemetry.event(f"       {done} of {len(flat)} units")
                shown = time.perf_counter()
        return {name: found for name, found in results.items() if name not in self.failures}


__all__ = ["RunRequest", "lake_of", "run"]
