"""The registry as values: who holds which record, which ids lead on to which, and what events make of it.

Records and persons are numbers here, given once and never again. A change makes *events*; each says where its records
are from now on, so that members and aliases are what a replay of all events gives. A record appears in at most one
event of a commit. Nothing here reads a clock or a file.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

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
FORMER: dict[str, pl.DataType] = {"alias": pl.Int64(), "record": pl.Int64(), "ended": pl.Int64()}


class RegistryError(Customer360Error):
    """A change that the registry cannot make, or a history that does not verify."""


class UnknownId(RegistryError):
    """No person, record, event or decision of this registry."""


@dataclass(frozen=True)
class Registry:
    """State after a commit. `members`: one row per current record, sorted by it. `aliases`: one row per id that leads
    on to another. `former`: one row per id that ever led on and record that it held when it `ended` (commit), also
    where it came back to life. The counters say which number comes next."""

    members: pl.DataFrame
    aliases: pl.DataFrame
    next_record: int = 0
    next_person: int = 0
    next_event: int = 0
    commit: int = 0
    former: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=FORMER))

    @staticmethod
    def empty() -> Registry:
        return Registry(pl.DataFrame(schema=MEMBERS), pl.DataFrame(schema=ALIASES))

    def current(self, person: int) -> int:
        """The person that an id leads to; itself where it was never merged."""
        return led(dict(self.aliases.iter_rows()), person)

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
        gone = gone.unique("alias", keep="last", maintain_order=True)
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
            former=self._former(placed, touched["alias"]),
        )

    def _former(self, placed: pl.DataFrame, touched: pl.Series) -> pl.DataFrame:
        """What each id held when it ended, after events by which the ids `touched` ended or came back."""
        if touched.is_empty():
            return self.former
        left = placed.filter(pl.col("from_person").is_in(touched.implode()) & pl.col("person").is_not_null())
        ended = placed.filter(pl.col("kind") == MERGE)["from_person"]
        held = left.filter(pl.col("from_person").is_in(ended.implode())).select(
            alias="from_person", record="records", ended="commit"
        )
        held = held.explode("record").drop_nulls("record")
        stale = pl.col("alias").is_in(held["alias"].implode())
        return pl.concat([self.former.filter(~stale), held]).sort("alias", "record")


def led(onward: dict[int, int], person: int) -> int:
    """Where the aliases lead from a person.

    Raises:
        RegistryError: they go round in a circle.
    """
    seen = {person}
    while person in onward:
        person = onward[person]
        if person in seen:
            raise RegistryError(f"the aliases of person {person} go round in a circle")
        seen.add(person)
    return person


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


def former_of(held: pl.DataFrame, turns: pl.DataFrame) -> pl.DataFrame:
    """`former` from the logs of members (record, commit, person) and of aliases, `turns` (alias, commit, person): what
    left each id in the last commit that ended it and took something from it."""
    if turns.is_empty():
        return pl.DataFrame(schema=FORMER)
    ends = turns.drop_nulls("person").select(person="alias", left_at="commit")
    once = held.filter(pl.col("person").is_in(ends["person"].implode()))["record"].unique()
    stretches = (
        held.filter(pl.col("record").is_in(once.implode()))
        .sort("record", "commit")
        .with_columns(left_at=pl.col("commit").shift(-1).over("record"), heir=pl.col("person").shift(-1).over("record"))
        .join(ends, on=["person", "left_at"], how="semi")
    )
    last = stretches.filter(pl.col("left_at") == pl.col("left_at").max().over("person")).drop_nulls("heir")
    return last.select(alias="person", record="record", ended="left_at").sort("alias", "record")


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
