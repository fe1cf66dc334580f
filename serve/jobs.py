"""What commands and submitted jobs do: run pipelines, publish, load the warehouse, erase. They only log."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import date
from functools import partial
from pathlib import Path

import polars as pl

from customer360.models.identity.erasure import (
    UnknownPerson,
    forget,
    identifiers_of,
    is_followed,
    person_of,
    renewed,
)
from customer360.models.identity.registry import former_records
from customer360.pipelines.denied import denied
from customer360.pipelines.gold.customers.risk import unprofiled
from customer360.pipelines.rules import EnrichmentRules
from customer360.platform import (
    erasure_list,
    graph,
    online,
    privacy,
    purposes,
    restrictions,
    telemetry,
    warehouse,
)
from customer360.platform.backup import marks, tree_at
from customer360.platform.errors import ConfigError, Customer360Error, LakeLocked
from customer360.platform.lake import Lake, editions, reached
from customer360.platform.ledger import Run
from customer360.platform.lineage.sinks import telling
from customer360.platform.privacy import Identifiers
from customer360.platform.run import RunRequest, lake_of, run_locked
from customer360.platform.run.accepting import accept
from customer360.platform.run.executor import executor_for
from customer360.platform.run.preview import Preview, preview
from customer360.platform.run.rereading import Reread, drop, retry
from customer360.platform.run.snapshots import confirm
from customer360.platform.settings import Settings
from customer360.platform.warehouse.load import LoadReport, load, rewrite
from customer360.serve import expiry, money
from customer360.serve.compose import identity_rules, rules_of, state_folder
from customer360.serve.publication import freshness
from customer360.serve.publication.indexes import delete_indexes, publish_index
from customer360.serve.publication.inputs import IDENTITIES, PROFILES
from customer360.serve.publication.publishing import has_nobody, hide_person, is_published, publish_gold
from customer360.serve.publication.rankers import renew_ranker
from customer360.serve.publication.refusals import publish_refusals
from customer360.serve.publication.vectors import renew_vectors
from customer360.serve.realtime import erasures
from customer360.serve.realtime.activity import visitor
from customer360.serve.realtime.ranking.journal import forget_decisions
from customer360.serve.rights import requests
from customer360.serve.rights.learnt import forget_in_models
from customer360.serve.rights.proof import Proof, prove
from customer360.serve.rights.purge import purge, purge_state, sweep
from customer360.serve.shared import NotShared, refuse_where_it_follows, share

HEEDED = "_refusals"  # in the lake: a digest of the refusals without which gold and the star stand
HEEDED_BY = 2  # counted on where more is taken out for the same refusals


def run_pipeline(settings: Settings, request: RunRequest) -> Run:
    """Run a part of the graph; see ``platform.run.run``. What became of it is noted for who serves (``freshness``)."""
    rules = rules_of(settings)
    lake = lake_of(settings)
    retire: Callable[[], bool] | None = None
    if request.command != "erase":  # a restore ends with one, and none waits until a policy is right
        marks.refuse((tree_at(settings.lake.root, settings.lake.storage_options), tree_at(settings.state)))
        _say_unfinished(lake)
        expiry.say_ageless(settings)
        retire = partial(expiry.retire_old, settings)
        settings = expiry.without_old_versions(settings)
    with (
        freshness.watched(state_folder(settings), request.command) as ended,
        lake.run_lock(request.command),
        telling(settings, lake, rules),
    ):
        try:
            record = run_locked(settings, request, rules=rules, retire=retire)
        except BaseException:  # a refusal that landed holds, also where gold failed or an end was asked for
            _heed_refusals_beside(settings)
            raise
        heed_refusals(settings, with_star=request.command != "erase")  # which loads the star itself
        if retire:
            expiry.tidy(settings)
        ended.append(record)
    if any(node.node == money.TRANSACTIONS for node in record.nodes):
        with lake.at_one_look(money.TOLD):
            for notice in money.notices(lake, rules):
                telemetry.log.warning(notice)
    return record


def _say_unfinished(lake: Lake) -> None:
    for person in privacy.unfinished_erasures(lake):
        telemetry.log.warning(
            f"the erasure of {person} was cut short and its rows are not all gone; "
            f"`customer360 erase {person} --yes` takes it up again"
        )


def heed_refusals(settings: Settings, *, with_star: bool = True) -> None:
    """Publish what is refused, then take it out of gold, earlier editions and former ids included, and of the
    warehouse unless not ``with_star``. What stands without it, the warehouse included, is noted in the lake, so that
    nothing is looked for twice. Call it under the run lock."""
    lake, state = lake_of(settings), state_folder(settings)
    publish_refusals(lake, state)
    try:
        share(settings)
    except (NotShared, ConfigError) as fault:  # the end of the run tries again, and fails where it must
        telemetry.log.error(str(fault))
    refused = denied(lake)
    seal = hashlib.sha256(f"{HEEDED_BY} {refused.write_csv()}".encode()).hexdigest().encode()
    if lake.get(HEEDED) == seal:
        return
    rules = rules_of(settings)["enrichment"]
    assert isinstance(rules, EnrichmentRules)
    parts = {PROFILES: unprofiled(rules.risk)}
    for table, rows in purposes.withdraw(lake, _with_former_ids(lake, refused), graph.NODES, parts).items():
        telemetry.event(f"withheld: {rows:,} rows of {table}, refused", table=table)
    if not warehouse_file(settings).exists() or (with_star and _heeded_by_the_warehouse(settings)):
        lake.put(HEEDED, seal)


def _with_former_ids(lake: Lake, refused: pl.DataFrame) -> pl.DataFrame:
    """What is refused, also by the ids under which earlier editions may hold the person."""
    if not lake.exists(IDENTITIES):
        return refused
    owners = lake.scan(IDENTITIES).select("record_id", "person_id").collect()
    former = former_records(lake).join(owners, on="record_id").select("alias_id", "person_id").unique()
    theirs = refused.join(former, on="person_id").drop("person_id").rename({"alias_id": "person_id"})
    return pl.concat([refused, theirs.select(refused.columns)])


def _heeded_by_the_warehouse(settings: Settings) -> bool:
    """Load the star without what is refused; where another process has it open, that is said, and the next run tries
    again."""
    try:
        _load_star(settings)
    except Customer360Error as fault:
        telemetry.log.error(f"the warehouse holds what people have refused since it was loaded: {fault}")
        return False
    return True


def _heed_refusals_beside(settings: Settings) -> None:
    """`heed_refusals`; a fault is said, and does not hide the one that is under way."""
    try:
        heed_refusals(settings)
    except (Customer360Error, OSError) as fault:
        telemetry.log.error(f"what people refuse was not withheld everywhere: {fault}")


def preview_pipeline(settings: Settings, request: RunRequest) -> Preview:
    """What `run_pipeline` would do, without doing it; see ``platform.run.preview``."""
    return preview(settings, request, rules=rules_of(settings))


def retry_batch(settings: Settings, source: str, seq: int | None) -> Reread:
    """Read the files of a source again that failed; see ``platform.run.rereading.retry``."""
    lake, executor = lake_of(settings), executor_for(settings)
    try:
        with lake.run_lock(f"batch retry {source}"):
            return retry(lake, settings, source, executor, rules_of(settings), seq)
    finally:
        executor.close()


def drop_batch(settings: Settings, source: str, seq: int, *, ignore: bool) -> int:
    """Take a batch of a source back; see ``platform.run.rereading.drop``. Returns the rows that left bronze."""
    lake = lake_of(settings)
    with lake.run_lock(f"batch drop {source} {seq}"):
        return drop(lake, settings, source, seq, ignore=ignore, rules=rules_of(settings))


def confirm_batch(settings: Settings, source: str, seq: int) -> int:
    """Let the held snapshots of a batch delete; see ``platform.run.snapshots.confirm``. Returns how many there are."""
    lake = lake_of(settings)
    with lake.run_lock(f"batch confirm {source} {seq}"):
        return confirm(lake, source, seq)


def accept_schema(settings: Settings, subject: str, columns: list[str], actor: str) -> list[str]:
    """Let in what a source brings, or cast a bronze table; see ``platform.run.accepting.accept``."""
    lake, rules = lake_of(settings), rules_of(settings)
    with lake.run_lock(f"schema accept {subject}"):
        executor = executor_for(settings)
        try:
            return accept(lake, settings, subject, columns, actor, executor, rules)
        finally:
            executor.close()


def publish(settings: Settings) -> None:
    """Make the newest gold tables, and the index of identities, what the HTTP application answers from; nothing is
    written where that is so already.
    """
    marks.refuse((tree_at(settings.lake.root, settings.lake.storage_options), tree_at(settings.state)))
    refuse_where_it_follows(settings)
    lake, state = lake_of(settings), state_folder(settings)
    with telemetry.heartbeat("publishing"):
        publish_refusals(lake, state)
        publish_index(lake, state, identity_rules(settings))
        renew_vectors(lake, settings)
        renew_ranker(lake, settings)
        if has_nobody(lake) and online.current(state) is None:
            telemetry.event("nobody is known yet, so there is nothing to publish")
            return
        if freshness.is_young(online.current(state)) and is_published(lake, state):
            telemetry.event("nothing new to publish")
        else:
            publish_gold(lake, state)
        freshness.published(state_folder(settings))
        share(settings)


def withdraw_edition(settings: Settings, as_of: date) -> dict[str, int]:
    """Remove the edition of a date from every dated table; answers come from the one that is current then.

    Raises:
        LakeError: there is no such edition.
        LakeLocked: a run is changing the lake.
    """
    lake = lake_of(settings)
    with lake.run_lock(f"edition withdraw {as_of}"):
        removed = editions.withdraw(lake, as_of, graph.NODES)
    if editions.stored(lake) and online.current(state_folder(settings)) is not None:
        publish(settings)
    return removed


def warehouse_file(settings: Settings) -> Path:
    """Where the embedded warehouse lies."""
    return state_folder(settings) / warehouse.FILE


def load_warehouse(settings: Settings) -> LoadReport:
    """Bring the warehouse up to date with the lake; `serve.cli.warehouse.show` prints what it did.

    Raises:
        LakeLocked: a run is changing the lake.
        WarehouseError: the star would not equal the lake, or another process has the file open.
    """
    with lake_of(settings).run_lock("warehouse load"):
        return _load_star(settings)


def _load_star(settings: Settings) -> LoadReport:
    """As `load_warehouse`, for who holds the run lock."""
    with telemetry.heartbeat("loading the warehouse"):
        done = load(lake_of(settings), warehouse_file(settings))
    telemetry.event(
        "warehouse",
        tables=len(done.tables),
        rows=sum(t.rows for t in done.tables),
        changed=sum(t.changed for t in done.tables),
        checks=len(done.checks),
    )
    return done


def current_person(settings: Settings, person: str) -> str:
    """The current id of the person that an id leads to, or the one whose erasure began, also by its digest; see
    ``erase`` for what it raises."""
    lake = lake_of(settings)
    return being_erased(lake, person) or person_of(lake, person, identity_rules(settings))


def being_erased(lake: Lake, person: str) -> str | None:
    """The id under which an erasure began, and did not end, of a person by any id or by its digest."""
    for begun, who in privacy.unfinished_erasures(lake).items():
        if person in {begun, *who.persons, erasure_list.person_digest(lake, begun)}:
            return begun
    return None


def erase(settings: Settings, person: str) -> dict[str, int]:
    """Erase one person, by its current id or a former one, from raw data, rebuild what was made of it, publish without
    it, and take the files of before away that hold it. An erasure that died is taken up where it stopped, by the same
    id or with the next one. Returns rows by table.

    Raises:
        UnknownPerson: no person has this id.
        AmbiguousId: the records of a former id are several persons' now.
    """
    with _erased(settings, person) as (_, touched):
        return touched


def erase_proven(settings: Settings, person: str, also: tuple[Path, ...] = ()) -> tuple[dict[str, int], Proof]:
    """As `erase`, then search every byte of every store, and of ``also``, for what tells the person."""
    with _erased(settings, person) as (who, touched), telemetry.heartbeat("searching every store"):
        return touched, prove(settings, current_person(settings, person), who.traces, also)


def _share_now(settings: Settings) -> None:
    """Tell machines that follow, if they can be told: what is rewritten after that does not wait for them."""
    try:
        share(settings, at_once=True)
    except (NotShared, ConfigError) as fault:  # the end tries again, and fails where it must
        telemetry.log.error(str(fault))


@contextmanager
def _held_for_erasure(settings: Settings, person: str) -> Iterator[tuple[str, dict[str, Identifiers]]]:
    """With the run lock, and what is kept of requests, held: the id of the person, and everybody to be erased. A run
    that is under way may take hours: answers stop all the same, and who erases is told to come again."""
    lake, person = lake_of(settings), current_person(settings, person)
    with ExitStack() as held:
        try:
            if not is_followed(lake, person, identity_rules(settings)):
                run_pipeline(settings, RunRequest(start="silver", command="erase"))  # decisions to follow
                person = current_person(settings, person)
            held.enter_context(lake.run_lock("erase"))
        except LakeLocked as fault:
            if not is_followed(lake, person, identity_rules(settings)):
                raise  # whose its records are is of a decision that no run has followed: others would be hidden by it
            try:
                _hide(settings, _begun(settings, person, alone=True))
            except UnknownPerson:  # the id is of a decision that no run has followed
                raise fault from None
            _share_now(settings)
            raise LakeLocked(f"{fault}; no answer names {person} any more: erase again when that has ended") from fault
        held.enter_context(requests.held(settings, patience=math.inf))
        yield person, _begun(settings, person)


def _begun(settings: Settings, person: str, *, alone: bool = False) -> dict[str, Identifiers]:
    """What names everybody whose erasure began, by their ids, as it is now; that of a person begins. ``alone``: of
    this person alone, as others' may be under way, half erased, under the lock of who erases them."""
    lake = lake_of(settings)
    todo = privacy.unfinished_erasures(lake)
    if alone:
        todo = {each: noted for each, noted in todo.items() if each == person}
    for each, noted in {person: None, **todo}.items():
        if noted is None:
            found = identifiers_of(lake, each)
        else:
            found = renewed(lake, each, noted, identity_rules(settings))
        if found != noted:
            privacy.begin_erasure(lake, each, found)
        todo[each] = found
    return todo


def _hide(settings: Settings, todo: Mapping[str, Identifiers]) -> None:
    """Answers stop now, whatever is rewritten later."""
    state = state_folder(settings)
    for each, who in todo.items():
        hide_person(state, {each, *who.persons}, sorted(who.accounts))
        erasures.tell(state, {each, *who.persons, *who.accounts, *map(visitor, who.devices)})
    for each, who in todo.items():  # last: the file may be damaged
        forget_decisions(state, {each, *who.persons, *who.devices})


@contextmanager
def _erased(settings: Settings, person: str) -> Iterator[tuple[Identifiers, dict[str, int]]]:
    """Within the block the person is gone, and what named it is still known; after it nothing is."""
    lake, state, rules = lake_of(settings), state_folder(settings), identity_rules(settings)
    touched: dict[str, int] = {}
    with _held_for_erasure(settings, person) as (person, todo):
        _hide(settings, todo)
        delete_indexes(state)
        _share_now(settings)
        for who in todo.values():
            rows = privacy.erase_rows(lake, who) | forget(lake, who, rules)
            touched |= {table: touched.get(table, 0) + n for table, n in rows.items()}
            restrictions.forget(lake, who.accounts)
        for each, who in todo.items():
            requests.forget_person(settings, {each, *who.persons}, erasure_list.person_digest(lake, each))
    run_pipeline(settings, RunRequest(start="silver", command="erase"))
    publish_index(lake, state, rules)
    publish_gold(lake, state, keep=1)  # older publications still hold the person
    freshness.published(state)
    share(settings, at_once=True)
    if (star := warehouse_file(settings)).exists():
        load_warehouse(settings)
        reached("before warehouse rewrite")
        rewrite(star)
    reached("before purge")
    with lake.run_lock("erase"), telemetry.heartbeat("taking old files away"):
        for who in todo.values():
            for table, files in purge(lake, who).items():
                touched[f"{table} (old files)"] = touched.get(f"{table} (old files)", 0) + files
            purge_state(state, star, who)
        touched |= forget_in_models(settings, lake, todo.values())
        sweep(settings)
    yield todo[person], touched
    for each in todo:
        privacy.end_erasure(lake, each)
