"""What stewards decided about records, kept as an own log and honoured by every resolution.

A decision links or parts two groups of records. The newest decision about a pair holds: a merge links every record of
the two persons, a split parts every record of the one side from every one of the other.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from itertools import combinations, product
from typing import NamedTuple

import polars as pl

from customer360.models.identity.registry.contracts import StewardDecisions
from customer360.models.identity.registry.ids import person_ids
from customer360.models.identity.registry.store import Stored
from customer360.models.identity.verdicts.decide import ACCEPTED, VETOED
from customer360.platform import tables
from customer360.platform.lake import Lake

MUST_LINK, CANNOT_LINK, OVERRIDE = "must link", "cannot link", "override"
# Above every score: what a steward linked is joined before anything else, the newest decision first.
_STEWARD_WEIGHT = 1e6
REASON = "steward decision "
_TABLE = tables.spec(StewardDecisions).name


class Bars(NamedTuple):
    """Pairs of local numbers: `barred` are two persons, `cleared` are one whatever the rules say."""

    barred: pl.DataFrame
    cleared: pl.DataFrame


@dataclass(frozen=True)
class Links:
    """The decisions in force. `pairs`: (record_l, record_r, decision, reason), the left record the one whose id comes
    first. A link of a group is a chain of pairs; `together` holds all pairs of the groups. `must`: (record_l,
    record_r), pairs that end in one person even where that passes `decision.max_cluster_size`."""

    pairs: pl.DataFrame
    together: pl.DataFrame
    must: pl.DataFrame

    @property
    def records(self) -> pl.Series:
        """Numbers of all records that a decision names."""
        return pl.concat([self.pairs["record_l"], self.pairs["record_r"].alias("record_l")]).unique().alias("record")

    def weight_of(self, reason: pl.Expr, weight: pl.Expr) -> pl.Expr:
        """Weight of an accepted edge for clustering."""
        number = reason.str.strip_prefix(REASON).cast(pl.Int64, strict=False)
        return (
            pl.when(reason.str.starts_with(REASON))
            .then(number + _STEWARD_WEIGHT)
            .otherwise(weight)
            .alias("match_weight")
        )

    def must_of(self, ids: pl.DataFrame) -> pl.DataFrame:
        """`must` as (rid_l, rid_r), in the local numbers of `ids` (record, rid)."""
        return _local(self.must, ids)

    def bars(self, ids: pl.DataFrame) -> Bars:
        """In the local numbers of `ids` (record, rid)."""
        barred = self.pairs.filter(pl.col("decision") == VETOED).select("record_l", "record_r")
        return Bars(_local(barred, ids), _local(self.together, ids))


def _local(pairs: pl.DataFrame, ids: pl.DataFrame) -> pl.DataFrame:
    named = pairs.join(ids, left_on="record_l", right_on="record").join(
        ids, left_on="record_r", right_on="record", suffix="_r"
    )
    return named.select(rid_l=pl.min_horizontal("rid", "rid_r"), rid_r=pl.max_horizontal("rid", "rid_r"))


_PAIR = {"record_l": pl.Int64, "record_r": pl.Int64}
_NO_PAIRS = pl.DataFrame(schema=_PAIR)
NO_LINKS = Links(pl.DataFrame(schema=_PAIR | {"decision": pl.String, "reason": pl.String}), _NO_PAIRS, _NO_PAIRS)


def must_links(pairs: pl.DataFrame) -> Links:
    """Links of pairs (record_l, record_r) that are one person by proof from outside, such as a login."""
    stated = pairs.with_columns(decision=pl.lit(ACCEPTED), reason=pl.lit(MUST_LINK))
    return Links(stated, _NO_PAIRS, pairs)


def links_of(decisions: pl.DataFrame, names: pl.DataFrame) -> Links:
    """The decisions in force among records that still have a name (`names`: record, record_id).

    `decisions`: rows of `silver.steward_decisions`. Later decisions win pair by pair.
    """
    order = dict(names.select("record", "record_id").iter_rows())
    verdicts: dict[tuple[int, int], tuple[str, int]] = {}
    for row in decisions.sort("decision").iter_rows(named=True):
        left = [r for r in row["left"] if r in order]
        right = [r for r in row["right"] or () if r in order]
        if row["kind"] == MUST_LINK:
            group = sorted({*left, *right}, key=lambda r: order[r])
            verdicts |= dict.fromkeys(combinations(group, 2), (ACCEPTED, row["decision"]))
        elif row["kind"] == CANNOT_LINK:
            parted = (tuple(sorted(p, key=lambda r: order[r])) for p in product(left, right) if p[0] != p[1])
            verdicts |= dict.fromkeys(parted, (VETOED, row["decision"]))
    if not verdicts:
        return NO_LINKS
    accepted = {pair: number for pair, (verdict, number) in verdicts.items() if verdict == ACCEPTED}
    rows = [(*pair, VETOED, f"{REASON}{number}") for pair, (v, number) in verdicts.items() if v == VETOED]
    rows += [(*pair, ACCEPTED, f"{REASON}{number}") for pair, number in _spanning(accepted).items()]
    pairs = pl.DataFrame(rows, schema=NO_LINKS.pairs.schema, orient="row").sort("record_l", "record_r")
    together = pl.DataFrame(sorted(accepted), schema=_PAIR, orient="row")
    return Links(pairs, together, _NO_PAIRS)


def decisions(lake: Lake) -> pl.DataFrame:
    """All decisions, oldest first; none in a new lake."""
    if not lake.exists(_TABLE):
        return pl.DataFrame(schema=tables.schema(StewardDecisions))
    return lake.scan(_TABLE).collect().sort("decision")


def version(lake: Lake) -> int:
    """Changes with every decision."""
    return lake.version(_TABLE) if lake.exists(_TABLE) else -1


def overrides(lake: Lake, stored: Stored, at: datetime | None = None) -> pl.DataFrame:
    """(person_id, attribute, value, decision): golden values that stewards set (by then), of the persons that hold the
    records now.

    A decision follows the person who holds most of the records that it was made about; the newest of an attribute
    holds.
    """
    made = decisions(lake).filter(pl.col("kind") == OVERRIDE)
    made = made.filter(pl.col("decided_at") <= at) if at is not None else made
    made = made.select("decision", "attribute", "value", record="left")
    held = made.explode("record").join(stored.registry.members, on="record")
    holders = (
        held.group_by("decision", "attribute", "value", "person").len().sort("len", "person", descending=[True, False])
    )
    newest = (
        holders.unique("decision", keep="first", maintain_order=True)
        .sort("decision", descending=True)
        .unique(["person", "attribute"], keep="first", maintain_order=True)
        .filter(pl.col("value").is_not_null())
    )
    return newest.select(
        person_ids(newest["person"], stored.seed).alias("person_id"), "attribute", "value", "decision"
    ).sort("person_id", "attribute")


def _spanning(accepted: dict[tuple[int, int], int]) -> dict[tuple[int, int], int]:
    """As few of the linked pairs as join the same records, newest decisions first."""
    group: dict[int, int] = {}

    def find(record: int) -> int:
        while group.setdefault(record, record) != record:
            record = group[record]
        return record

    kept = {}
    for pair, number in sorted(accepted.items(), key=lambda item: (-item[1], item[0])):
        one, other = map(find, pair)
        if one != other:
            group[one] = other
            kept[pair] = number
    return kept
