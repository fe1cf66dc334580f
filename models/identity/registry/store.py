"""The registry in the lake: load, commit, verify, forget. Exactly once, and safe against a death at any line.

A commit appends to events, members and aliases and then to `silver.identity_commits`, which makes it one: rows of a
later number than the newest there were left by a death, are not seen, and go before the next commit is written.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property

import polars as pl

from customer360.models.identity.registry.chain import GENESIS, root_of
from customer360.models.identity.registry.contracts import (
    IdentityAliases,
    IdentityCommits,
    IdentityEvents,
    IdentityMembers,
)
from customer360.models.identity.registry.core import (
    EVENTS,
    MERGE,
    UNMERGE,
    Registry,
    RegistryError,
    former_of,
    replay,
)
from customer360.models.identity.registry.ids import person_ids, person_numbers
from customer360.models.identity.registry.operations import retire
from customer360.platform import tables
from customer360.platform.lake import Lake
from customer360.platform.tables import Table

APP = "identity registry"
LOGS: tuple[type[Table], ...] = (IdentityEvents, IdentityMembers, IdentityAliases)


@dataclass(frozen=True)
class Stored:
    """The registry as it stands in a lake. `names`: (record, record_id) of every record that was ever named and not
    forgotten."""

    lake: Lake
    seed: str
    registry: Registry
    names: pl.DataFrame
    root: str

    @cached_property
    def assignments(self) -> pl.DataFrame:
        """(record_id, person_id) of the current records, sorted by record_id."""
        held = self.registry.members.join(self.names, on="record")
        ids = person_ids(held["person"], self.seed).alias("person_id")
        return held.with_columns(ids).select("record_id", "person_id").sort("record_id")

    def person(self, person_id: str) -> int:
        """The number of the current person behind an id, old or new.

        Raises:
            RegistryError: the registry never gave this id.
        """
        number = person_numbers(pl.Series([person_id], dtype=pl.String), self.seed)[0]
        if number is None or number >= self.registry.next_person:
            raise RegistryError(f"{person_id} is no person id of this registry")
        return self.registry.current(int(number))

    def person_id(self, number: int) -> str:
        return str(person_ids(pl.Series([number], dtype=pl.Int64), self.seed)[0])

    def record(self, record_id: str) -> int:
        """The number of a record.

        Raises:
            RegistryError: the registry does not know the record.
        """
        found = self.names.filter(pl.col("record_id") == record_id)["record"]
        if found.is_empty():
            raise RegistryError(f"no record {record_id} in the registry")
        return int(found[0])


def load(lake: Lake, seed: str) -> Stored:
    """The registry after its last complete commit; an empty one in a new lake."""
    if not lake.exists(_name(IdentityCommits)):
        return Stored(lake, seed, Registry.empty(), _no_names(), GENESIS)
    commits = lake.scan(_name(IdentityCommits)).collect().sort("commit")
    if commits.is_empty():
        return Stored(lake, seed, Registry.empty(), _no_names(), GENESIS)
    commit, root = int(commits["commit"][-1]), str(commits["root"][-1])
    log = _log(lake, IdentityMembers, commit).collect()
    members = _newest(log, "record")
    turns = _log(lake, IdentityAliases, commit).collect()
    turns = turns.select(
        person_numbers(turns["alias_id"], seed).alias("alias"),
        "commit",
        person_numbers(turns["person_id"], seed).alias("person"),
    )
    onward = _newest(turns, "alias").drop_nulls("person").select("alias", "person").sort("alias")
    events = _log(lake, IdentityEvents, commit).select(pl.col("event", "person").max()).collect().row(0)
    registry = Registry(
        members.drop_nulls("person").select("record", "person").sort("record"),
        onward,
        next_record=_next_record(lake, commit),
        next_person=(events[1] if events[1] is not None else -1) + 1,
        next_event=(events[0] if events[0] is not None else -1) + 1,
        commit=commit,
        former=former_of(log, turns),
    )
    return Stored(lake, seed, registry, members.select("record", "record_id").sort("record"), root)


def number_records(stored: Stored, record_ids: pl.Series) -> Stored:
    """With a number for each record id: the one it has, else the next ones in order of the ids."""
    known = stored.names["record_id"]
    known = known.filter(known.is_in(record_ids.implode()))
    new = record_ids.filter(~record_ids.is_in(known.implode())).alias("record_id").unique().sort()
    fresh = new.to_frame().with_row_index("record", offset=stored.registry.next_record)
    fresh = fresh.select(pl.col("record").cast(pl.Int64), "record_id")
    return replace(
        stored,
        names=pl.concat([stored.names, fresh]),
        registry=replace(stored.registry, next_record=stored.registry.next_record + fresh.height),
    )


def commit(stored: Stored, events: pl.DataFrame, at: datetime | None = None, *, seal: bool = False) -> Stored:
    """Append one commit; the state after it. No events, no commit, but to `seal` what stands.

    Raises:
        RegistryError: the lake has moved on since `stored` was loaded.
    """
    if events.is_empty() and not seal:
        return stored
    lake, at = stored.lake, at or datetime.now(UTC)
    for table in (*LOGS, IdentityCommits):
        lake.ensure(table)
    _same_commit(stored)
    registry = replace(stored.registry.apply(events), commit=stored.registry.commit + 1)
    rows = {
        IdentityEvents: events,
        IdentityMembers: _member_rows(stored, events),
        IdentityAliases: _alias_rows(stored, events),
    }
    for table in LOGS:
        _without_remains(lake, table, stored.registry.commit)
        _append(lake, table, rows[table], registry.commit)
    root = root_of(events, stored.root, registry.commit, at)
    sealed = pl.DataFrame(
        {
            "commit": [registry.commit],
            "committed_at": [at],
            "previous_root": [stored.root],
            "root": [root],
            "event_count": [events.height],
            "record_count": [registry.members.height],
            "person_count": [registry.person_count],
        }
    )
    _append(lake, IdentityCommits, sealed, registry.commit)
    return replace(stored, registry=registry, root=root)


def verify(lake: Lake, seed: str) -> dict[str, int]:
    """Check the whole history; counts of what was checked.

    Raises:
        RegistryError: names the first commit whose root does not fit, or says how members or aliases differ from
            what the events give.
    """
    stored = load(lake, seed)
    commit_no = stored.registry.commit
    if not commit_no:
        return {"commits": 0, "events": 0, "records": 0, "aliases": 0}
    commits = lake.scan(_name(IdentityCommits)).collect().sort("commit")
    events = _log(lake, IdentityEvents, commit_no).collect().sort("event")
    if commits["commit"].to_list() != list(range(1, commit_no + 1)):
        raise RegistryError("the commits are not numbered 1, 2, 3 …: one is missing or there twice")
    if events["event"].to_list() != list(range(events.height)):
        raise RegistryError("the events are not numbered 0, 1, 2 …: one is missing or there twice")
    previous = GENESIS
    parts = {key[0]: part for key, part in events.partition_by("commit", as_dict=True).items()}
    for row in commits.iter_rows(named=True):
        part = parts.get(row["commit"], events.clear())
        if (
            row["previous_root"] != previous
            or root_of(part, previous, row["commit"], row["committed_at"]) != row["root"]
        ):
            raise RegistryError(f"commit {row['commit']} of {row['committed_at']:%Y-%m-%d %H:%M} was tampered with")
        previous = row["root"]
    _compare(events, stored)
    held = stored.registry
    return {
        "commits": commit_no,
        "events": events.height,
        "records": held.members.height,
        "aliases": held.aliases.height,
    }


def _compare(events: pl.DataFrame, stored: Stored) -> None:
    replayed, held = replay(events), stored.registry
    # The alias of a person all of whose records are gone may have been erased with them.
    living = (
        events.select("person", record="records")
        .explode("record")
        .join(held.members, on="record", how="semi")["person"]
    )
    required = pl.col("alias").is_in(living.unique().implode()) | pl.col("alias").is_in(held.aliases["alias"].implode())
    for what, one, other in (
        ("members", replayed.members, held.members),
        ("aliases", replayed.aliases.filter(required), held.aliases),
    ):
        columns = one.columns
        if differing := one.join(other, on=columns, how="anti").height + other.join(one, on=columns, how="anti").height:
            raise RegistryError(f"{what}: {differing} rows differ from what the events give")


def forget(stored: Stored, record_ids: frozenset[str], *, cause: str) -> dict[str, int]:
    """Erase records: they retire, and their names and the ids that were theirs alone are deleted. Rows by table."""
    lake = stored.lake
    numbers = stored.names.filter(pl.col("record_id").is_in(list(record_ids)))["record"]
    held = stored.registry.members.filter(pl.col("record").is_in(numbers.implode()))["record"]
    stored = commit(stored, retire(stored.registry, held.to_list(), cause=cause, actor="erasure"))
    if numbers.is_empty():
        return {}
    log = lake.scan(_name(IdentityMembers)).collect()
    mine = pl.col("record").is_in(numbers.implode())
    ids = set(log.filter(mine)["person_id"].drop_nulls()) - set(log.filter(~mine)["person_id"].drop_nulls())
    touched = {
        _name(IdentityMembers): lake.rewrite(_name(IdentityMembers), lambda f: f.filter(~mine), reason="erasure")
    }
    theirs = (pl.col("alias_id").is_in(list(ids)) | pl.col("person_id").is_in(list(ids))).fill_null(False)
    touched[_name(IdentityAliases)] = lake.rewrite(
        _name(IdentityAliases), lambda f: f.filter(~theirs), reason="erasure"
    )
    return touched


# ---- rows of the logs -----------------------------------------------------------------------------------------


def _member_rows(stored: Stored, events: pl.DataFrame) -> pl.DataFrame:
    rows = events.select("commit", "person", record="records").explode("record").drop_nulls("record")
    names = stored.names.filter(pl.col("record").is_in(rows["record"].implode()))  # joined whole, everybody is hashed
    named = rows.join(names, on="record", how="left")
    if named["record_id"].null_count():
        raise RegistryError("an event names records that the registry does not know")
    return named.with_columns(person_id=person_ids(named["person"], stored.seed))


def _alias_rows(stored: Stored, events: pl.DataFrame) -> pl.DataFrame:
    merged = events.filter(pl.col("kind") == MERGE).select("commit", alias="from_person", person="person")
    merged = merged.unique("alias", keep="last", maintain_order=True)
    revived = events.filter(pl.col("kind") == UNMERGE).select(
        "commit", alias="person", person=pl.lit(None, dtype=pl.Int64)
    )
    rows = pl.concat([merged, revived])
    return rows.select(
        person_ids(rows["alias"], stored.seed).alias("alias_id"),
        "commit",
        person_ids(rows["person"], stored.seed).alias("person_id"),
    )


def _append(lake: Lake, table: type[Table], rows: pl.DataFrame, version: int) -> None:
    conformed = tables.conform(table, rows.lazy()).sort(tables.spec(table).sort_by).collect()
    adds = [lake.write_file(_name(table), conformed, {})] if conformed.height else []
    lake.commit(_name(table), adds, app=APP, app_version=version, facts={"rows": conformed.height})


def _without_remains(lake: Lake, table: type[Table], commit_no: int) -> None:
    """Drop the rows that a death between the tables of a commit left."""
    later = pl.col("commit") > commit_no
    if lake.transaction(_name(table), APP) not in (None, commit_no):
        lake.rewrite(_name(table), lambda frame: frame.filter(~later), reason="unfinished registry commit")


def _same_commit(stored: Stored) -> None:
    standing = stored.lake.transaction(_name(IdentityCommits), APP) or 0
    if standing != stored.registry.commit:
        raise RegistryError(f"the registry is at commit {standing}, this change was made for {stored.registry.commit}")


def _log(lake: Lake, table: type[Table], commit_no: int) -> pl.LazyFrame:
    return lake.scan(_name(table)).filter(pl.col("commit") <= commit_no)


def _newest(rows: pl.DataFrame, key: str) -> pl.DataFrame:
    if rows["commit"].n_unique() > 1:  # the first commit, by far the largest, needs no sorting
        rows = rows.sort("commit").unique(key, keep="last")
    return rows


def _next_record(lake: Lake, commit_no: int) -> int:
    """One above every number that an event names: forgotten records keep theirs."""
    highest = _log(lake, IdentityEvents, commit_no).select(pl.col("records").list.max().max()).collect().item()
    return (highest if highest is not None else -1) + 1


def _no_names() -> pl.DataFrame:
    return pl.DataFrame(schema={"record": pl.Int64, "record_id": pl.String})


def _name(table: type[Table]) -> str:
    return tables.spec(table).name


__all__ = ["EVENTS", "Stored", "commit", "forget", "load", "number_records", "verify"]
