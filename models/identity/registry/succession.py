"""Which ids go on where persons join or part, and where those lead that end.

An id stays with the records that were its own. Where persons join, the one with most records goes on. Where one parts,
its id stays with what it held before others were merged into it, and a former id comes back to life for its own
records: no id ever leads to somebody else's data. A former id whose records are parted leads to most of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import polars as pl

from customer360.models.identity.registry.core import (
    ABSORB,
    ALIASES,
    EVENTS,
    MERGE,
    MINT,
    MOVE,
    RETIRE,
    SPLIT,
    UNMERGE,
    Registry,
    holders,
    led,
    numbered,
)

_CLAIM = {"cluster": pl.Int64(), "person": pl.Int64()}


def advance(
    registry: Registry,
    clusters: pl.DataFrame,
    gone: Iterable[int] = (),
    *,
    cause: str,
    actor: str = "resolution",
    fixed: Mapping[int, int] | None = None,
) -> pl.DataFrame:
    """Events that bring the registry to a new partition; empty where nothing changed.

    `clusters`: (record, cluster), one row per record of every person that is touched, new records included; persons
    none of whose records are named stay as they are. `gone`: records that exist no more. `fixed`: cluster to person,
    where that is given.

    A cluster is the person that holds most of its records, then the oldest person; a person that would be so in two
    clusters is the one that holds more of what was its own. The other clusters take back the former id that was
    theirs, or mint. A person of whom nothing is left leads on as an alias to where most of its records went.
    """
    before = clusters.select(
        "record", pl.col("cluster").cast(pl.Int64), person=holders(registry.members, clusters["record"])
    )
    targets = _survivors(registry, before, dict(fixed or {}))
    back = _returning(registry, before.join(targets, on="cluster", how="anti"))
    named = pl.concat([targets, back])
    minted = (
        before.join(named, on="cluster", how="anti").group_by("cluster").agg(pl.col("record").min()).sort("record")
    ).with_row_index("number", offset=registry.next_person)
    minted = minted.select("cluster", person=pl.col("number").cast(pl.Int64))
    chosen = pl.concat(
        part.with_columns(is_new=pl.lit(is_new), is_back=pl.lit(is_back))
        for part, is_new, is_back in ((targets, False, False), (back, True, True), (minted, True, False))
    )
    after = before.rename({"person": "from_person"}).join(chosen, on="cluster")
    moved = after.filter(pl.col("from_person").is_null() | (pl.col("from_person") != pl.col("person")))
    leaving = pl.DataFrame({"record": sorted(gone)}, schema={"record": pl.Int64}).join(registry.members, on="record")
    if moved.is_empty() and leaving.is_empty():
        return pl.DataFrame(schema=EVENTS)
    groups = moved.group_by("from_person", "person", "is_new", "is_back").agg(
        records=pl.col("record").sort(), size=pl.len(), first=pl.col("record").min()
    )
    retired = leaving.group_by(from_person="person").agg(records=pl.col("record").sort(), first=pl.col("record").min())
    retired = retired.with_columns(kind=pl.lit(RETIRE), person=pl.lit(None, dtype=pl.Int64))
    columns = ["kind", "person", "from_person", "records", "first"]
    kinds = _kinds(groups, _emptied(registry, moved, leaving, after))
    rows = pl.concat([kinds.select(columns), retired.select(columns)])
    return led_on(registry, numbered(registry, rows, cause=cause, actor=actor))


# ---- which id a cluster has -----------------------------------------------------------------------------------


def _survivors(registry: Registry, before: pl.DataFrame, fixed: dict[int, int]) -> pl.DataFrame:
    """(cluster, person): which living person each cluster is. Strongest claim first, ties by age of the person, then
    by the cluster's first record: one total order, so that the result does not depend on the order of rows."""
    given = pl.DataFrame(list(fixed.items()), schema=_CLAIM, orient="row")
    held = before.drop_nulls("person").join(_foreign(registry), on="record", how="left")
    claims = held.group_by("cluster", "person").agg(held=pl.len(), own=pl.col("is_foreign").is_null().sum())
    parts = pl.col("cluster").len().over("person")
    # Who parts is where its own records are; who does not counts with all that it holds.
    is_parted = (parts > 1) & (pl.col("own").sum().over("person") > 0)
    claims = claims.with_columns(strength=pl.when(is_parted).then("own").otherwise("held"))
    claims = claims.filter(pl.col("strength") > 0)
    firsts = before.group_by("cluster").agg(first=pl.col("record").min())
    claims = (
        claims.join(given, on="cluster", how="anti").join(given, on="person", how="anti").join(firsts, on="cluster")
    )
    order = ["strength", "held", "person", "first"]
    return pl.concat([given, _best(claims.sort(order, descending=[True, True, False, False]))])


def _foreign(registry: Registry) -> pl.DataFrame:
    """(record, is_foreign) of the records that came to their person with an id that leads to it."""
    if registry.former.is_empty():
        return pl.DataFrame(schema={"record": pl.Int64, "is_foreign": pl.Boolean})
    ends = pl.DataFrame(list(_all_ends(registry).items()), schema=ALIASES, orient="row")
    came = registry.former.join(ends, on="alias")
    here = came.filter(holders(registry.members, came["record"]) == came["person"])
    return here.select("record", is_foreign=pl.lit(True)).unique()


def _returning(registry: Registry, orphans: pl.DataFrame) -> pl.DataFrame:
    """(cluster, person) of the `orphans` (record, cluster, …), clusters without a person, to whose records a former id
    belonged: more than half of what was its own is there."""
    leading = registry.former.join(registry.aliases, on="alias", how="semi")
    mine = leading.join(orphans.select("record", "cluster"), on="record")
    if mine.is_empty():
        return pl.DataFrame(schema=_CLAIM)
    known = _own(registry, mine["alias"].unique())
    alive = orphans.select("record").vstack(registry.members.select("record")).unique()
    total = known.join(alive, on="record").group_by("alias").agg(whole=pl.len(), own_whole=pl.col("is_own").sum())
    here = known.join(orphans.select("record", "cluster"), on="record")
    claims = here.group_by("alias", "cluster").agg(held=pl.len(), own=pl.col("is_own").sum()).join(total, on="alias")
    most = pl.when(pl.col("own_whole") > 0).then(pl.col("own") * 2 > pl.col("own_whole"))
    claims = claims.filter(most.otherwise(pl.col("held") * 2 > pl.col("whole"))).rename({"alias": "person"})
    return _best(claims.sort("own", "held", "person", "cluster", descending=[True, True, False, False]))


def _own(registry: Registry, aliases: pl.Series) -> pl.DataFrame:
    """(alias, record, is_own): what each alias held when it ended, and whether it had not come with an id that ended
    before."""
    held = registry.former.filter(pl.col("alias").is_in(aliases.implode()))
    earlier = held.join(registry.former, on="record", suffix="_other").filter(pl.col("ended_other") < pl.col("ended"))
    brought = earlier.select("alias", "record", is_own=pl.lit(False)).unique()
    known = held.join(brought, on=["alias", "record"], how="left")
    return known.select("alias", "record", pl.col("is_own").fill_null(True))


def _best(claims: pl.DataFrame) -> pl.DataFrame:
    """(cluster, person) of claims in order of their rank, each cluster and each person once."""
    claims = claims.select("cluster", "person").with_row_index("rank")
    found = [pl.DataFrame(schema=_CLAIM)]
    while claims.height:
        # A claim that is the best of its cluster and of its person cannot be outbid: all such are settled at once.
        best = claims.filter(
            (pl.col("rank") == pl.col("rank").min().over("cluster"))
            & (pl.col("rank") == pl.col("rank").min().over("person"))
        )
        found.append(best.select("cluster", "person"))
        claims = claims.join(best, on="cluster", how="anti").join(best, on="person", how="anti")
    return pl.concat(found)


# ---- what that makes of the others ----------------------------------------------------------------------------


def _emptied(registry: Registry, moved: pl.DataFrame, leaving: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """(from_person): those of whom no record stays and who are no cluster's person."""
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
        kind=pl.when(pl.col("is_opening") & pl.col("is_back")).then(pl.lit(UNMERGE))
        .when(pl.col("is_opening") & ~is_old).then(pl.lit(MINT))
        .when(~is_old).then(pl.lit(ABSORB))
        .when("is_opening").then(pl.lit(SPLIT))
        .when("is_ending").then(pl.lit(MERGE))
        .otherwise(pl.lit(MOVE))
    )  # fmt: skip


def led_on(registry: Registry, events: pl.DataFrame) -> pl.DataFrame:
    """The events of a commit, and merges without records: an id that ended by them leads on, and a former one leads to
    where most of what was its own is now."""
    if events.is_empty():
        return events
    before = _all_ends(registry)
    while True:
        after = registry.apply(events)
        leads = _leads(before, after, events)
        if leads.is_empty():
            return events
        events = pl.concat([events, leads])


def _leads(before: dict[int, int], after: Registry, events: pl.DataFrame) -> pl.DataFrame:
    """Further events of the commit, by which ids that it ended and former ones that it touched lead where they should;
    `before`: where the former ids led."""
    taken = events.filter(pl.col("person").is_not_null()).select(alias="from_person", record="records")
    taken = taken.explode("record").drop_nulls("record")  # of nobody before: new, or back again
    alive = after.members["person"].unique()
    known = pl.concat([alive, after.aliases["alias"].alias("person")])
    ended = taken.drop_nulls().filter(~pl.col("alias").is_in(known.implode())).with_columns(is_own=pl.lit(True))
    now = _all_ends(after)
    turned = pl.Series([alias for alias, end in now.items() if before.get(alias) != end], dtype=pl.Int64)
    parted = after.former.join(after.aliases, on="alias", how="semi").filter(
        pl.col("record").is_in(taken["record"].implode())
    )["alias"]
    held = pl.concat([ended, _own(after, pl.concat([turned.alias("alias"), parted]).unique())])
    goals = (
        held.with_columns(person=holders(after.members, held["record"]))
        .drop_nulls("person")
        .group_by("alias", "person")
        .agg(own=pl.col("is_own").sum(), held=pl.len())
        .sort("alias", "own", "held", "person", descending=[False, True, True, False])
        .unique("alias", keep="first", maintain_order=True)
    )
    goals = goals.filter(
        pl.Series([now.get(a) != p for a, p in goals.select("alias", "person").iter_rows()], dtype=pl.Boolean)
    )
    first = int(events["event"].max()) + 1  # type: ignore[arg-type]
    return goals.with_row_index("at", offset=first).select(
        event=pl.col("at").cast(pl.Int64),
        commit=pl.lit(events["commit"][0], dtype=pl.Int64),
        kind=pl.lit(MERGE),
        person="person",
        from_person="alias",
        records=pl.lit([], dtype=pl.List(pl.Int64)),
        cause=pl.lit(events["cause"][0]),
        actor=pl.lit(events["actor"][0]),
    )


def _all_ends(registry: Registry) -> dict[int, int]:
    onward = dict(registry.aliases.iter_rows())
    return {alias: led(onward, alias) for alias in onward}


__all__ = ["advance", "led_on"]
