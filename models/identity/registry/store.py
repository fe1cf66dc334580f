"""The registry in the lake: load, commit, forget. Exactly once, and safe against a death at any line.

A commit appends to events, members, aliases and seals and then to `silver.identity_commits`, which makes it one: rows
of a later number than the newest there were left by a death, are not seen, and go before the next commit is written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property, partial

import numpy as np
import polars as pl

from customer360.models.identity.registry import seals
from customer360.models.identity.registry.chain import GENESIS
from customer360.models.identity.registry.contracts import (
    IdentityAliases,
    IdentityCommits,
    IdentityEvents,
    IdentityMembers,
    IdentitySeals,
    StewardDecisions,
)
from customer360.models.identity.registry.core import (
    EVENTS,
    MERGE,
    UNMERGE,
    Registry,
    RegistryError,
    UnknownId,
    former_of,
    holders,
)
from customer360.models.identity.registry.ids import person_ids, person_numbers, same_until
from customer360.models.identity.registry.operations import retire
from customer360.platform import tables
from customer360.platform.lake import Lake
from customer360.platform.tables import Table

APP = "identity registry"
LOGS: tuple[type[Table], ...] = (IdentityEvents, IdentityMembers, IdentityAliases)


class AmbiguousId(RegistryError):
    """A former id whose records are several persons' now."""


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
        """The number of the current person behind an id, old or new; of a former one whose records were parted since,
        the one who holds most of them (`owner` refuses it).

        Raises:
            UnknownId: the registry never gave this id.
        """
        number = person_numbers(pl.Series([person_id], dtype=pl.String), self.seed)[0]
        if number is None or number >= self.registry.next_person:
            raise UnknownId(f"{person_id} is no person id of this registry")
        return self.registry.current(int(number))

    def owner(self, person_id: str) -> str:
        """The current id behind an id, where everything that it held when it ended is one person's.

        Raises:
            UnknownId: the registry never gave this id.
            AmbiguousId: its records are several persons' now; they are named.
        """
        heirs = self.heirs(person_id)
        if len(heirs) > 1:
            raise AmbiguousId(
                f"{person_id} led to one person whose records were parted since: they are {' and '.join(heirs)} now; "
                "name one of these"
            )
        return heirs[0]

    def owner_number(self, person_id: str) -> int:
        """The number of `owner`: what a change or a decision is about, which may not fall to somebody else."""
        return self.person(self.owner(person_id))

    def heirs(self, person_id: str) -> list[str]:
        """The current ids that hold what an id held, or held when it ended, sorted.

        Raises:
            UnknownId: the registry never gave this id.
        """
        current = self.person(person_id)
        number = int(person_numbers(pl.Series([person_id], dtype=pl.String), self.seed)[0])
        if number == current:
            return [person_id]
        records = self.registry.former.filter(pl.col("alias") == number)["record"]
        found = holders(self.registry.members, records).drop_nulls().unique().sort()
        return sorted(map(self.person_id, found)) or [self.person_id(current)]

    def person_id(self, number: int) -> str:
        return str(person_ids(pl.Series([number], dtype=pl.Int64), self.seed)[0])

    def record(self, record_id: str) -> int:
        """The number of a record.

        Raises:
            UnknownId: the registry does not know the record.
        """
        found = self.names.filter(pl.col("record_id") == record_id)["record"]
        if found.is_empty():
            raise UnknownId(f"no record {record_id} in the registry")
        return int(found[0])


def load(lake: Lake, seed: str) -> Stored:
    """The registry after its last complete commit; an empty one in a new lake."""
    if not lake.exists(_name(IdentityCommits)):
        return Stored(lake, seed, Registry.empty(), _no_names(), GENESIS)
    commits = lake.scan(_name(IdentityCommits)).collect().sort("commit")
    if commits.is_empty():
        return Stored(lake, seed, Registry.empty(), _no_names(), GENESIS)
    commit, root = int(commits["commit"][-1]), str(commits["root"][-1])
    log = _log(lake, IdentityMembers, commit).select("record", "commit", "person", "record_id").collect()
    members = _newest_members(log)
    turns = _log(lake, IdentityAliases, commit).collect()
    turns = turns.select(
        person_numbers(turns["alias_id"], seed).alias("alias"),
        "commit",
        person_numbers(turns["person_id"], seed).alias("person"),
    )
    onward = _newest(turns, "alias").drop_nulls("person").select("alias", "person").sort("alias")
    events = _log(lake, IdentityEvents, commit).select(pl.col("event", "person").max()).collect().row(0)
    registry = Registry(
        members.drop_nulls("person").select("record", "person"),
        onward,
        next_record=_next_record(lake, commit),
        next_person=(events[1] if events[1] is not None else -1) + 1,
        next_event=(events[0] if events[0] is not None else -1) + 1,
        commit=commit,
        former=former_of(log, turns),
    )
    return Stored(lake, seed, registry, members.select("record", "record_id"), root)


def number_records(stored: Stored, record_ids: pl.Series) -> Stored:
    """With a number for each record id: the one it has, else the next ones in order of the ids."""
    names = stored.names["record_id"]
    same = same_until(record_ids, names)
    others = record_ids.slice(same)
    new = others.filter(~others.is_in(names.slice(same).implode()))
    first = names.head(same)
    new = new.filter(~new.is_in(first.filter(first.is_in(new.implode())).implode())).alias("record_id").unique().sort()
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
    return _commit(stored, events, at or datetime.now(UTC)) if seal or not events.is_empty() else stored


def _commit(stored: Stored, events: pl.DataFrame, at: datetime, erased: pl.DataFrame | None = None) -> Stored:
    """`erased`: seals of what an erasure takes away or leaves of rows."""
    lake = stored.lake
    for table in (*LOGS, IdentitySeals, IdentityCommits):
        lake.ensure(table)
    _same_commit(stored)
    registry = replace(stored.registry.apply(events), commit=stored.registry.commit + 1)
    made = {
        IdentityEvents: events,
        IdentityMembers: _member_rows(stored, events),
        IdentityAliases: _alias_rows(stored, events),
    }
    rows = {table: _conformed(table, frame) for table, frame in made.items()}
    for table in (*LOGS, IdentitySeals):
        _without_remains(lake, table, stored.registry.commit)
    sealed = _seals(stored, rows)
    if erased is not None:
        sealed = pl.concat([sealed.join(erased, on=seals.KEY, how="anti"), erased])
    sealed = sealed.with_columns(commit=pl.lit(registry.commit, pl.Int64))
    for table in LOGS:
        _append(lake, table, rows[table], registry.commit)
    _append(lake, IdentitySeals, sealed.select(list(IdentitySeals.columns())), registry.commit)
    row = {
        "commit": registry.commit,
        "committed_at": at,
        "previous_root": stored.root,
        "event_count": events.height,
        "record_count": registry.members.height,
        "person_count": registry.person_count,
    }
    root = seals.root_of(row, sealed)
    _append(lake, IdentityCommits, pl.DataFrame([row | {"root": root}]), registry.commit)
    return replace(stored, registry=registry, root=root)


def _seals(stored: Stored, rows: dict[type[Table], pl.DataFrame]) -> pl.DataFrame:
    """(of, row, at, digest) of the rows of a commit and of the decisions since the last one; where nothing was sealed
    before, of all that stands."""
    lake, secret = stored.lake, seals.secret_of(stored.lake)
    done = lake.scan(_name(IdentitySeals)).filter(pl.col("of") == _name(StewardDecisions)).select(pl.col("row").max())
    last = done.collect().item()
    first = not stored.registry.commit or lake.scan(_name(IdentitySeals)).head(1).collect().is_empty()
    found = []
    for table, new in rows.items():
        old = _log(lake, table, stored.registry.commit).collect() if first else new.clear()
        found.append(seals.digests(table, pl.concat([old.select(new.columns), new]), stored.seed, secret))
    if lake.exists(_name(StewardDecisions)):
        made = lake.scan(_name(StewardDecisions)).filter(pl.col("decision") > (-1 if last is None else last)).collect()
        found.append(seals.digests(StewardDecisions, made, stored.seed, secret))
    return pl.concat(found)


def forget(
    stored: Stored, record_ids: frozenset[str], *, cause: str, clean: Callable[[pl.Series], pl.Series] | None = None
) -> dict[str, int]:
    """Erase records: they retire, their names and the ids that were theirs alone are deleted, and what stewards wrote
    about them is; ``clean`` takes them out of what stewards wrote about others. It is sealed which rows went and what
    is left of others. Rows by table."""
    lake = stored.lake
    numbers = stored.names.filter(pl.col("record_id").is_in(list(record_ids)))["record"]
    held = stored.registry.members.filter(pl.col("record").is_in(numbers.implode()))["record"]
    stored = commit(stored, retire(stored.registry, held.to_list(), cause=cause, actor="erasure"))
    if numbers.is_empty():
        return {}
    log = lake.scan(_name(IdentityMembers)).collect()
    mine = pl.col("record").is_in(numbers.implode())
    ids = set(log.filter(mine)["person_id"].drop_nulls()) - set(log.filter(~mine)["person_id"].drop_nulls())
    theirs = (pl.col("alias_id").is_in(list(ids)) | pl.col("person_id").is_in(list(ids))).fill_null(False)
    changes: dict[type[Table], Callable[[pl.DataFrame], pl.DataFrame]] = {
        IdentityAliases: lambda frame: frame.filter(~theirs),
        StewardDecisions: partial(_without_words, numbers, clean),
        IdentityMembers: lambda frame: frame.filter(~mine),  # last: by these rows an erasure that died finds the others
    }
    stored_changes = {table: change for table, change in changes.items() if lake.exists(_name(table))}
    erased = pl.concat(_erased(stored, table, change) for table, change in stored_changes.items())
    nothing = pl.DataFrame(schema=EVENTS)
    _commit(stored, nothing, datetime.now(UTC), erased)  # sealed first: a death then leaves rows that are known to go
    return {
        _name(table): lake.rewrite(_name(table), change, reason="erasure") for table, change in stored_changes.items()
    }


def _without_words(
    numbers: pl.Series, clean: Callable[[pl.Series], pl.Series] | None, frame: pl.DataFrame
) -> pl.DataFrame:
    """Decisions without value and reason where they name one of these records, the others with clean ones."""
    mine = numbers.to_list()
    about = pl.any_horizontal(
        pl.col(side).list.eval(pl.element().is_in(mine)).list.any().fill_null(False) for side in ("left", "right")
    )
    frame = frame.with_columns(pl.when(~about).then(column).alias(column) for column in ("value", "reason"))
    return frame.with_columns(clean(frame[c]) for c in ("value", "reason")) if clean else frame


def _erased(stored: Stored, table: type[Table], change: Callable[[pl.DataFrame], pl.DataFrame]) -> pl.DataFrame:
    """(of, row, at, digest) of the rows that a change takes away or alters."""
    secret = seals.secret_of(stored.lake)
    before = stored.lake.scan(_name(table)).collect()
    was, left = (seals.digests(table, frame, stored.seed, secret) for frame in (before, change(before)))
    new = was.join(left, on=seals.KEY, how="left", suffix="_left").filter(
        pl.col("digest").ne_missing(pl.col("digest_left"))
    )
    return new.select(*seals.KEY, digest="digest_left")


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
    conformed = _conformed(table, rows)
    adds = [lake.write_file(_name(table), conformed, {})] if conformed.height else []
    lake.commit(_name(table), adds, app=APP, app_version=version, facts={"rows": conformed.height})


def _conformed(table: type[Table], rows: pl.DataFrame) -> pl.DataFrame:
    return seals.in_order(tables.conform(table, rows.lazy()).collect(), tables.spec(table).sort_by)


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
    return rows.sort("commit").unique(key, keep="last") if rows["commit"].n_unique() > 1 else rows


def _newest_members(rows: pl.DataFrame) -> pl.DataFrame:
    """The row of the last commit of each record, in order of the records: by a table of their numbers, since to sort
    the rows of everybody costs more than most batches."""
    if rows.is_empty():
        return rows
    records, order = rows["record"].to_numpy(), np.argsort(rows["commit"].to_numpy(), kind="stable")
    last = np.full(int(records.max()) + 1, -1, dtype=np.int64)
    last[records[order]] = order
    places = last[last >= 0]
    return rows.rechunk() if np.array_equal(places, np.arange(rows.height)) else rows[places]


def _next_record(lake: Lake, commit_no: int) -> int:
    """One above every number that an event names: forgotten records keep theirs."""
    highest = _log(lake, IdentityEvents, commit_no).select(pl.col("records").list.max().max()).collect().item()
    return (highest if highest is not None else -1) + 1


def _no_names() -> pl.DataFrame:
    return pl.DataFrame(schema={"record": pl.Int64, "record_id": pl.String})


def _name(table: type[Table]) -> str:
    return tables.spec(table).name


__all__ = ["EVENTS", "Stored", "commit", "forget", "load", "number_records"]
