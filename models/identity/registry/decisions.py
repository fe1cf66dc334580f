"""What stewards decided about records, kept as an own log and honoured by every resolution (`rulings`)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

import polars as pl

from customer360.models.identity.registry.contracts import StewardDecisions
from customer360.models.identity.registry.core import Registry, holders
from customer360.models.identity.registry.ids import person_ids
from customer360.models.identity.registry.rulings import CANNOT_LINK, MUST_LINK, OVERRIDE, WITHDRAWAL, Rulings
from customer360.models.identity.registry.store import Stored
from customer360.models.identity.verdicts.decide import ACCEPTED, VETOED
from customer360.platform import tables
from customer360.platform.lake import Lake

REASON, AGAINST = "steward decision ", ", against "
_TABLE = tables.spec(StewardDecisions).name
_PAIR = {"record_l": pl.Int64, "record_r": pl.Int64}
_NO_PAIRS = pl.DataFrame(schema=_PAIR)
_SAID = pl.DataFrame(schema=_PAIR | {"decision": pl.String, "reason": pl.String})
_GROUPS = {"record": pl.Int64, "group": pl.Int64, "number": pl.Int64}


@dataclass(frozen=True)
class Links:
    """What is in force. `pairs`: (record_l, record_r, decision, reason), the left record the one whose id comes first:
    as few as join each group, and all that are two persons. `groups`: (record, group, number of the newest decision),
    records that are one person by decision. `must`: (record_l, record_r), pairs that end in one person by other proof.
    `named`: numbers of all records that any decision ever named, which are judged anew in every run."""

    pairs: pl.DataFrame
    groups: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=_GROUPS))
    must: pl.DataFrame = field(default_factory=_NO_PAIRS.clear)
    named: pl.Series = field(default_factory=lambda: pl.Series("record", [], pl.Int64))

    @property
    def records(self) -> pl.Series:
        """Numbers of all records that a link or decision names."""
        return pl.concat(
            [self.must["record_l"].alias("record"), self.must["record_r"].alias("record"), self.named]
        ).unique()

    @property
    def together(self) -> pl.DataFrame:
        """(record_l, record_r, number): all pairs of the groups, in both orders."""
        both = self.groups.join(self.groups.select("group", record_r="record"), on="group")
        return both.filter(pl.col("record") != pl.col("record_r")).select("record_r", "number", record_l="record")

    @property
    def apart(self) -> pl.DataFrame:
        """(record_l, record_r): pairs that are two persons by decision."""
        return self.pairs.filter(pl.col("decision") == VETOED).select("record_l", "record_r")


def local(pairs: pl.DataFrame, ids: pl.DataFrame) -> pl.DataFrame:
    """Pairs of records as (rid_l, rid_r), the lower first, once each, in the local numbers of `ids` (record, rid)."""
    named = pairs.join(ids, left_on="record_l", right_on="record").join(
        ids, left_on="record_r", right_on="record", suffix="_r"
    )
    low, high = pl.min_horizontal("rid", "rid_r"), pl.max_horizontal("rid", "rid_r")
    return named.select(rid_l=low, rid_r=high).unique().sort("rid_l", "rid_r")


NO_LINKS = Links(_SAID)


def must_links(pairs: pl.DataFrame) -> Links:
    """Links of pairs (record_l, record_r) that are one person by proof from outside, such as a login."""
    stated = pairs.with_columns(decision=pl.lit(ACCEPTED), reason=pl.lit(MUST_LINK))
    return Links(stated, must=pairs)


def rulings_of(decisions: pl.DataFrame, names: pl.DataFrame, without: Iterable[int] = ()) -> Rulings:
    """The decisions in force among records that still have a name (`names`: record, record_id)."""
    return Rulings.of(decisions, names["record"].to_list() if decisions.height else (), without)


def links_of(decisions: pl.DataFrame, names: pl.DataFrame) -> Links:
    """The same as a resolution takes them. `decisions`: rows of `silver.steward_decisions`."""
    if decisions.is_empty():
        return NO_LINKS
    found = rulings_of(decisions, names)
    sides = pl.concat([decisions["left"], decisions["right"].alias("left")]).explode().drop_nulls().unique()
    named = names.filter(pl.col("record").is_in(sides.implode()))
    order = dict(named.select("record", "record_id").iter_rows())
    rows = [(*pair, VETOED, f"{REASON}{number}") for *pair, number in found.pairs()]
    rows += [(*pair, ACCEPTED, f"{REASON}{number}") for *pair, number in found.spanning(order)]
    pairs = [(*sorted(row[:2], key=lambda r: order[r]), *row[2:]) for row in rows]
    groups = [
        (record, label, max(n for n, linked in found.links.items() if any(len(g & records) > 1 for g in linked)))
        for label, records in sorted(found.held.items())
        if len(records) > 1
        for record in sorted(records)
    ]
    return Links(
        pl.DataFrame(pairs, schema=_SAID.schema, orient="row").sort("record_l", "record_r"),
        pl.DataFrame(groups, schema=_GROUPS, orient="row"),
        named=named["record"].sort(),
    )


def named(links: Links, names: pl.DataFrame) -> pl.DataFrame:
    """What stewards decided of pairs: (record_id_l, record_id_r, decision, reason)."""
    found = links.pairs.join(names, left_on="record_l", right_on="record")
    found = found.join(names, left_on="record_r", right_on="record", suffix="_r")
    return found.select("decision", "reason", record_id_l="record_id", record_id_r="record_id_r")


def decisions(lake: Lake) -> pl.DataFrame:
    """All decisions, oldest first; none in a new lake."""
    if not lake.exists(_TABLE):
        return pl.DataFrame(schema=tables.schema(StewardDecisions))
    stored = lake.scan(_TABLE).collect()
    # A log of before lacks the columns that came later: what it does not say is null.
    absent = [
        pl.lit(None, kind).alias(c) for c, kind in tables.schema(StewardDecisions).items() if c not in stored.columns
    ]
    return stored.with_columns(absent).select(list(StewardDecisions.columns())).sort("decision")


def last(lake: Lake) -> tuple[int, list[int]]:
    """Number of the newest decision, the first of those made with it, and of those that they took back."""
    made = decisions(lake)
    newest = made.filter(pl.col("decided_at") == made["decided_at"][-1])
    return int(newest["decision"][0]), newest["withdraws"].explode().drop_nulls().sort().to_list()


def version(lake: Lake) -> int:
    """Changes with every decision."""
    return lake.version(_TABLE) if lake.exists(_TABLE) else -1


def overrides(
    lake: Lake, stored: Stored, at: datetime | None = None, members: pl.DataFrame | None = None
) -> pl.DataFrame:
    """(person_id, attribute, value, decision): golden values that stewards set (and had not taken back by then), of the
    persons that hold the records now, or by `members` (record, person).

    A decision follows the person who holds most of the records that it was made about; the newest of an attribute
    holds.
    """
    every = decisions(lake)
    every = every.filter(pl.col("decided_at") <= at) if at is not None else every
    made = every.filter(
        pl.col("kind") == OVERRIDE, ~pl.col("decision").is_in(every["withdraws"].explode().drop_nulls().implode())
    )
    made = made.select("decision", "attribute", "value", record="left")
    held = made.explode("record").join(stored.registry.members if members is None else members, on="record")
    most = (
        held.group_by("decision", "attribute", "value", "person").len().sort("len", "person", descending=[True, False])
    )
    newest = (
        most.unique("decision", keep="first", maintain_order=True)
        .sort("decision", descending=True)
        .unique(["person", "attribute"], keep="first", maintain_order=True)
        .filter(pl.col("value").is_not_null())
    )
    return newest.select(
        person_ids(newest["person"], stored.seed).alias("person_id"), "attribute", "value", "decision"
    ).sort("person_id", "attribute")


def overridden(lake: Lake, registry: Registry) -> pl.Series:
    """Numbers of the persons that hold a record of which a steward ever set a golden value, be it withdrawn since."""
    about = decisions(lake).filter(pl.col("kind") == OVERRIDE)["left"].explode().drop_nulls().unique()
    return holders(registry.members, about).drop_nulls().unique()


__all__ = [
    "AGAINST",
    "CANNOT_LINK",
    "MUST_LINK",
    "NO_LINKS",
    "OVERRIDE",
    "REASON",
    "WITHDRAWAL",
    "Links",
    "decisions",
    "last",
    "links_of",
    "local",
    "must_links",
    "named",
    "overridden",
    "overrides",
    "rulings_of",
    "version",
]
