"""The registry as values: who holds which record, which ids lead on to which, and the events of a change.

Records and persons are numbers here, given once and never again. A change makes *events*; each says where its records
are from now on, so that members and aliases are what a replay of all events gives. A record appears in at most one
event of a commit. Nothing here reads a clock or a file.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from customer360.platform.errors import Customer360Error

MINT, ABSORB, MERGE, SPLIT, UNMERGE, MOVE, RETIRE, OVERRIDE = KINDS = (
    "mint", "absorb", "merge", "split", "unmerge", "move", "retire", "override",
)  # fmt: skip
EVENTS: dict[str, pl.DataType] = {
    "event": pl.Int64(),
    "commit": pl.Int64(),
    "kind": pl.String(),
    "person": pl.Int64(),  # where the records are after the event; null: nowhere
    "from_person": pl.Int64(),  # where they were before; null: they are new
    "records": pl.List(pl.Int64()),
    "cause": pl.String(),
    "actor": pl.String(),
}
MEMBERS: dict[str, pl.DataType] = {"record": pl.Int64(), "person": pl.Int64()}
_NOBODY = -1
ALIASES: dict[str, pl.DataType] = {"alias": pl.Int64(), "person": pl.Int64()}


class RegistryError(Customer360Error):
    """A change that the registry cannot make, or a history that does not verify."""


@dataclass(frozen=True)
class Registry:
    """State after a commit. `members`: one row per current record, sorted by it. `aliases`: one row per id that leads
    on to another. The counters say which number comes next."""

    members: pl.DataFrame
    aliases: pl.DataFrame
    next_record: int = 0
    next_person: int = 0
    next_event: int = 0
    commit: int = 0

    @staticmethod
    def empty() -> Registry:
        return Registry(pl.DataFrame(schema=MEMBERS), pl.DataFrame(schema=ALIASES))

    def current(self, person: int) -> int:
        """The person that an id leads to; itself where it was never merged."""
        seen = {person}
        onward = dict(self.aliases.iter_rows())
        while person in onward:
            person = onward[person]
            if person in seen:
                raise RegistryError(f"the aliases of person {person} go round in a circle")
            seen.add(person)
        return person

    def records_of(self, person: int) -> list[int]:
        """Numbers of the person's current records, sorted."""
        return self.members.filter(pl.col("person") == person)["record"].to_list()

    @property
    def person_count(self) -> int:
        """How many persons hold records. Numbers are dense, so a table of them is much faster than a set."""
        holds = np.zeros(self.next_person, dtype=bool)
        holds[self.members["person"].to_numpy()] = True
        return int(np.count_nonzero(holds))

    def apply(self, events: pl.DataFrame) -> Registry:
        """The state after one commit of events."""
        if events.is_empty():
            return self
        placed = events.filter(pl.col("kind") != OVERRIDE)
        moved = placed.select("person", record="records").explode("record").drop_nulls("record")
        members = _placed(self.members, moved)
        gone = placed.filter(pl.col("kind") == MERGE).select(alias="from_person", person="person")
        revived = placed.filter(pl.col("kind") == UNMERGE).select(alias="person")
        touched = pl.concat([gone.select("alias"), revived])
        aliases = pl.concat([self.aliases.join(touched, on="alias", how="anti"), gone]).sort("alias")
        last_record, last_person = moved["record"].max(), placed["person"].max()
        return replace(
            self,
            members=members,
            aliases=aliases,
            next_record=max(self.next_record, int(last_record) + 1 if last_record is not None else 0),  # type: ignore[arg-type]
            next_person=max(self.next_person, int(last_person) + 1 if last_person is not None else 0),  # type: ignore[arg-type]
            next_event=self.next_event + events.height,
            commit=self.commit + 1,
        )


def holders(members: pl.DataFrame, records: pl.Series) -> pl.Series:
    """The person of each of some records, null for those that nobody holds. By search in the sorted `members`: a join
    would pass over everybody for the few that change."""
    if members.is_empty():
        return pl.Series("person", [None], pl.Int64).new_from_index(0, records.len())
    places = members["record"].search_sorted(records).clip(upper_bound=members.height - 1)
    is_held = members["record"].gather(places) == records
    return members["person"].gather(places).set(~is_held, None)


def _placed(members: pl.DataFrame, moved: pl.DataFrame) -> pl.DataFrame:
    """`members` after records have `moved` (person, record) to where they are from now on, null: nowhere."""
    record, person = members["record"].to_numpy(), members["person"].to_numpy().copy()
    known = moved.filter(holders(members, moved["record"]).is_not_null())
    places = np.searchsorted(record, known["record"].to_numpy())
    person[places] = known["person"].fill_null(_NOBODY).to_numpy()
    held = members.with_columns(person=pl.Series(person))
    if known["person"].null_count():
        held = held.filter(pl.col("person") != _NOBODY)
    new = moved.join(known, on="record", how="anti").drop_nulls("person").select("record", "person").sort("record")
    if held.is_empty() or new.is_empty() or held["record"][-1] < new["record"][0]:
        return pl.concat([held, new])  # numbers rise: who is new comes last, but for records that come back
    return pl.concat([held, new]).sort("record")


def replay(events: pl.DataFrame) -> Registry:
    """The state that a whole history of events gives, from the last event of each record and of each alias."""
    placed = events.filter(pl.col("kind") != OVERRIDE)
    last = (
        placed.select("event", "person", record="records")
        .explode("record")
        .drop_nulls("record")
        .sort("event")
        .unique("record", keep="last", maintain_order=True)
    )
    turns = pl.concat(
        [
            placed.filter(pl.col("kind") == MERGE).select("event", alias="from_person", person="person"),
            placed.filter(pl.col("kind") == UNMERGE).select(
                "event", alias="person", person=pl.lit(None, dtype=pl.Int64)
            ),
        ]
    ).sort("event")
    aliases = turns.unique("alias", keep="last", maintain_order=True).drop_nulls("person")
    highest = [events["person"].max(), events["from_person"].max(), -1]
    return Registry(
        last.drop_nulls("person").select("record", "person").sort("record"),
        aliases.select("alias", "person").sort("alias"),
        next_record=int(last["record"].max()) + 1 if last.height else 0,  # type: ignore[arg-type]
        next_person=max(int(n) for n in highest if n is not None) + 1,  # type: ignore[arg-type]
        next_event=events.height,
        commit=int(events["commit"].max() or 0),  # type: ignore[arg-type]
    )


# ---- what resolution found ------------------------------------------------------------------------------------


def advance(
    registry: Registry, clusters: pl.DataFrame, gone: Iterable[int] = (), *, cause: str, actor: str = "resolution"
) -> pl.DataFrame:
    """Events that bring the registry to a new partition; empty where nothing changed.

    `clusters`: (record, cluster), one row per record of every person that is touched, new records included; persons
    none of whose records are named stay as they are. `gone`: records that exist no more.

    A cluster is the person that holds most of its records, then the oldest person; a person that would be so in two
    clusters is the one that holds more of it. The other clusters mint. A person of whom nothing is left leads on as an
    alias to where most of its records went.
    """
    before = clusters.select("record", "cluster", person=holders(registry.members, clusters["record"]))
    targets = _survivors(before)
    minted = (
        before.join(targets, on="cluster", how="anti").group_by("cluster").agg(pl.col("record").min()).sort("record")
    ).with_row_index("number", offset=registry.next_person)
    minted = minted.select("cluster", person=pl.col("number").cast(pl.Int64))
    targets = pl.concat([targets.with_columns(is_new=pl.lit(False)), minted.with_columns(is_new=pl.lit(True))])
    after = before.rename({"person": "from_person"}).join(targets, on="cluster")
    moved = after.filter(pl.col("from_person").is_null() | (pl.col("from_person") != pl.col("person")))
    leaving = pl.DataFrame({"record": sorted(gone)}, schema={"record": pl.Int64}).join(registry.members, on="record")
    if moved.is_empty() and leaving.is_empty():
        return pl.DataFrame(schema=EVENTS)
    groups = moved.group_by("from_person", "person", "is_new").agg(
        records=pl.col("record").sort(), size=pl.len(), first=pl.col("record").min()
    )
    retired = leaving.group_by(from_person="person").agg(records=pl.col("record").sort(), first=pl.col("record").min())
    retired = retired.with_columns(kind=pl.lit(RETIRE), person=pl.lit(None, dtype=pl.Int64))
    columns = ["kind", "person", "from_person", "records", "first"]
    kinds = _kinds(groups, _emptied(registry, moved, leaving, after))
    return numbered(
        registry,
        pl.concat([kinds.select(columns), retired.select(columns)]),
        cause=cause,
        actor=actor,
    )


def _survivors(before: pl.DataFrame) -> pl.DataFrame:
    """(cluster, person): which person each cluster is. Strongest claim first, ties by age of the person, then by the
    cluster's first record: one total order, so that the result does not depend on the order of rows."""
    firsts = before.group_by("cluster").agg(first=pl.col("record").min())
    claims = (
        before.drop_nulls("person")
        .group_by("cluster", "person")
        .len("held")
        .join(firsts, on="cluster")
        .sort("held", "person", "first", descending=[True, False, False])
        .with_row_index("rank")
    )
    found = []
    while claims.height:
        # A claim that is the best of its cluster and of its person cannot be outbid: all such are settled at once.
        best = claims.filter(
            (pl.col("rank") == pl.col("rank").min().over("cluster"))
            & (pl.col("rank") == pl.col("rank").min().over("person"))
        )
        found.append(best.select("cluster", "person"))
        claims = claims.join(best, on="cluster", how="anti").join(best, on="person", how="anti")
    empty = before.select("cluster", "person").clear()
    return pl.concat([empty, *found])


def _emptied(registry: Registry, moved: pl.DataFrame, leaving: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """(from_person): those of whom no record stays and who are no cluster's survivor."""
    left = pl.concat([moved.select("from_person"), leaving.select(from_person="person")]).drop_nulls().unique()
    going = pl.concat([moved.select("record"), leaving.select("record")])
    held = registry.members.filter(pl.col("person").is_in(left["from_person"].implode()))
    staying = held.join(going, on="record", how="anti").select(from_person="person")
    surviving = after.select(from_person="person")
    return left.join(staying, on="from_person", how="anti").join(surviving, on="from_person", how="anti")


def _kinds(groups: pl.DataFrame, emptied: pl.DataFrame) -> pl.DataFrame:
    """Name each group of records that goes from one person to another."""
    order = ["size", "from_person", "person"]
    emptied = emptied.with_columns(is_empty=pl.lit(True))
    groups = groups.join(emptied, on="from_person", how="left").sort(order, descending=[True, False, False])
    is_old = pl.col("from_person").is_not_null()
    # A person is split off once, with its largest part; what else it takes is absorbed or moved.
    parts = groups.filter("is_new").sort("is_new", "size", descending=True)
    opening = (
        parts.with_columns(fresh=parts["from_person"].is_null())
        .sort("fresh", *order, descending=[False, True, False, False])
        .unique("person", keep="first", maintain_order=True)
        .select("person", "from_person", is_opening=pl.lit(True))
    )
    ending = (
        groups.filter(is_old & pl.col("is_empty"))
        .unique("from_person", keep="first", maintain_order=True)
        .select("from_person", "person", is_ending=pl.lit(True))
    )
    named = groups.join(opening, on=["person", "from_person"], how="left", nulls_equal=True)
    named = named.join(ending, on=["from_person", "person"], how="left", nulls_equal=True)
    return named.with_columns(
        kind=pl.when(pl.col("is_opening") & ~is_old).then(pl.lit(MINT))
        .when(~is_old).then(pl.lit(ABSORB))
        .when("is_opening").then(pl.lit(SPLIT))
        .when("is_ending").then(pl.lit(MERGE))
        .otherwise(pl.lit(MOVE))
    )  # fmt: skip


def numbered(registry: Registry, rows: pl.DataFrame, *, cause: str, actor: str) -> pl.DataFrame:
    """Rows (kind, person, from_person, records, first) as the next events of the registry, in a fixed order."""
    place = {kind: i for i, kind in enumerate(KINDS)}
    ordered = rows.with_columns(place=pl.col("kind").replace_strict(place, return_dtype=pl.Int64))
    ordered = ordered.sort("place", "person", "from_person", "first").with_row_index("at", offset=registry.next_event)
    return ordered.select(
        event=pl.col("at").cast(pl.Int64),
        commit=pl.lit(registry.commit + 1, dtype=pl.Int64),
        kind="kind",
        person=pl.col("person").cast(pl.Int64),
        from_person=pl.col("from_person").cast(pl.Int64),
        records=pl.col("records").cast(pl.List(pl.Int64)),
        cause=pl.lit(cause),
        actor=pl.lit(actor),
    )


# ---- what a steward does --------------------------------------------------------------------------------------


def merge(registry: Registry, one: int, other: int, *, cause: str, actor: str) -> pl.DataFrame:
    """Make two persons one: who holds more records survives, then the older."""
    one, other = registry.current(one), registry.current(other)
    if one == other:
        raise RegistryError("the two are one person already")
    held = {person: registry.records_of(person) for person in (one, other)}
    for person, records in held.items():
        if not records:
            raise RegistryError(f"person {person} holds no records")
    kept, gone = sorted(held, key=lambda person: (-len(held[person]), person))
    return _event(registry, MERGE, kept, gone, held[gone], cause, actor)


def split(registry: Registry, person: int, records: Iterable[int], *, cause: str, actor: str) -> pl.DataFrame:
    """Part some records of a person from its others: the larger part keeps the id, at a tie the part not named."""
    person = registry.current(person)
    held, named = registry.records_of(person), sorted(set(records))
    if strange := sorted(set(named) - set(held)):
        raise RegistryError(f"records {strange} are not held by person {person}")
    rest = [record for record in held if record not in set(named)]
    if not named or not rest:
        raise RegistryError("a split leaves records on both sides")
    leaving = named if len(named) <= len(rest) else rest
    return _event(registry, SPLIT, registry.next_person, person, leaving, cause, actor)


def move(registry: Registry, records: Iterable[int], to: int, *, cause: str, actor: str) -> pl.DataFrame:
    """Give records of one person to another. What empties a person is a merge."""
    named = sorted(set(records))
    holders = registry.members.filter(pl.col("record").is_in(named))
    if holders.height < len(named):
        raise RegistryError(f"records {sorted(set(named) - set(holders['record']))} are held by nobody")
    if holders["person"].n_unique() != 1:
        raise RegistryError(
            f"records {named} belong to {holders['person'].n_unique()} persons; move one person's at a time"
        )
    return _transfer(registry, named, int(holders["person"][0]), registry.current(to), cause, actor)


def undo(registry: Registry, event: dict[str, Any], *, cause: str, actor: str) -> pl.DataFrame:
    """Bring the records of an earlier event back to where they were; those that have moved on since stay.

    Raises:
        RegistryError: the event took nothing from anybody, or none of its records is where it put them.
    """
    kind, person, before = event["kind"], event["person"], event["from_person"]
    if kind not in (MERGE, SPLIT, UNMERGE, MOVE) or person is None or before is None:
        raise RegistryError(f"a {kind} cannot be undone: there is nothing before it; split or move the records instead")
    holder = registry.current(int(person))
    here = registry.members.filter((pl.col("person") == holder) & pl.col("record").is_in(event["records"]))
    records = here["record"].to_list()
    if not records:
        raise RegistryError(f"none of the records of event {event['event']} is where it put them")
    back = int(before)
    # A merged id comes back to life by undoing that very merge alone; otherwise its survivor stands for it.
    to = back if kind == MERGE else registry.current(back)
    return _transfer(registry, records, holder, to, cause, actor)


def override(registry: Registry, person: int, *, cause: str, actor: str) -> pl.DataFrame:
    """Note that a steward set an attribute; the value stands in the decision that `cause` names."""
    return _event(registry, OVERRIDE, registry.current(person), None, [], cause, actor)


def retire(registry: Registry, records: Iterable[int], *, cause: str, actor: str) -> pl.DataFrame:
    """Take records out for good."""
    return advance(
        registry, pl.DataFrame(schema={"record": pl.Int64, "cluster": pl.Int64}), records, cause=cause, actor=actor
    )


def _transfer(registry: Registry, records: list[int], source: int, to: int, cause: str, actor: str) -> pl.DataFrame:
    if source == to:
        raise RegistryError("the records are there already")
    is_alive = bool(registry.records_of(to))
    is_emptied = len(registry.records_of(source)) == len(records)
    kind = UNMERGE if not is_alive else MERGE if is_emptied else MOVE
    return _event(registry, kind, to, source, records, cause, actor)


def _event(
    registry: Registry, kind: str, person: int, source: int | None, records: list[int], cause: str, actor: str
) -> pl.DataFrame:
    row = {"kind": kind, "person": person, "from_person": source, "records": records, "first": min(records, default=0)}
    schema = {k: EVENTS[k] for k in ("kind", "person", "from_person", "records")} | {"first": pl.Int64()}
    return numbered(registry, pl.DataFrame([row], schema=schema), cause=cause, actor=actor)
