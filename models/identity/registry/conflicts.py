"""Evidence against decisions that came after them: the decision stays, and a steward is asked again."""

from __future__ import annotations

from typing import Any

import polars as pl

from customer360.models.identity.registry import decisions
from customer360.models.identity.registry.decisions import AGAINST, CANNOT_LINK, MUST_LINK, REASON
from customer360.models.identity.registry.rulings import Rulings
from customer360.models.identity.registry.store import Stored
from customer360.models.identity.verdicts.decide import ACCEPTED, VETOED

EDGES, IDENTITIES = "silver.identity_edges", "silver.identities"
SCORE = "score"
STRONGER = 1.0  # bits by which a score has to rise to say something new


def known_against(stored: Stored, made: dict[str, Any]) -> dict[str, Any]:
    """What speaks against a decision when it is made: `known_reasons`, `known_weight`, and `evidence`, the versions of
    what its records are compared by."""
    nothing = {"known_reasons": None, "known_weight": None, "evidence": None}
    if made["kind"] not in (MUST_LINK, CANNOT_LINK) or not stored.lake.exists(EDGES):
        return nothing
    numbers = pl.DataFrame({"record": [*made["left"], *made["right"]]}, schema={"record": pl.Int64})
    named = numbers.join(stored.names, on="record", how="left", maintain_order="left")["record_id"]
    left = named.head(len(made["left"]))
    ends = pl.all_horizontal(pl.col("record_id_l", "record_id_r").is_in(named.drop_nulls().implode()))
    edges = _against(stored.lake.scan(EDGES).filter(ends)).drop_nulls("against").collect()
    if made["kind"] == CANNOT_LINK:
        of_left = [pl.col(end).is_in(left.drop_nulls().implode()) for end in ("record_id_l", "record_id_r")]
        edges = edges.filter((of_left[0] != of_left[1]) & (pl.col("decision") == ACCEPTED) | _by_steward())
    else:
        edges = edges.filter((pl.col("decision") == VETOED) | _by_steward())
    versions = dict(_versions(stored, named.drop_nulls()).iter_rows())
    return {
        "known_reasons": sorted(edges["against"].unique()),
        "known_weight": edges["match_weight"].max(),
        "evidence": [versions.get(record_id) for record_id in named],
    }


def conflicts(stored: Stored, accept_weight: float) -> pl.DataFrame:
    """Rows of `silver.identity_edges` that speak against a decision and came after it, with its number as `against`:
    pairs that it joins though proof says otherwise, pairs that it parts though a score or verified number joins them,
    and pairs by which a third record belongs to both sides."""
    lake = stored.lake
    made = decisions.decisions(lake)
    found = decisions.rulings_of(made, stored.names)
    edges = lake.scan(EDGES)
    if not found.rulings:
        return edges.head(0).with_columns(against=pl.lit(None, pl.Int64)).collect()
    told = _against(edges.filter(_by_steward())).drop_nulls("against").collect()
    number = pl.col("reason").str.strip_prefix(REASON).str.split(AGAINST).list.first().cast(pl.Int64)
    strong = (pl.col("against") != SCORE) | (pl.col("match_weight") >= accept_weight)
    told = told.filter(strong).with_columns(number=number)
    told = _newer(stored, told, found, made)
    third = _by_third(stored, edges, found)
    columns = [*lake.scan(EDGES).collect_schema(), "against"]
    return pl.concat([told.with_columns(against="number").select(columns), third.select(columns)])


def _by_steward() -> pl.Expr:
    return pl.col("reason").str.starts_with(REASON).fill_null(False)


def _against(edges: pl.LazyFrame) -> pl.LazyFrame:
    """With `against`: what an edge says beside, or without, a steward's decision."""
    said = pl.col("reason").str.splitn(AGAINST, 2).struct.field("field_1")
    own = pl.when(pl.col("decision") == ACCEPTED).then(pl.coalesce("reason", pl.lit(SCORE))).otherwise("reason")
    return edges.with_columns(against=pl.when(_by_steward()).then(said).otherwise(own))


def _versions(stored: Stored, record_ids: pl.Series) -> pl.DataFrame:
    if not stored.lake.exists(IDENTITIES):
        return pl.DataFrame(schema={"record_id": pl.String, "evidence_version": pl.Int64})
    held = stored.lake.scan(IDENTITIES).select("record_id", "evidence_version")
    return held.filter(pl.col("record_id").is_in(record_ids.implode())).collect()


def _newer(stored: Stored, told: pl.DataFrame, found: Rulings, made: pl.DataFrame) -> pl.DataFrame:
    """Those of the edges that a decision about both records did not know of when it was made."""
    names = {record_id: record for record, record_id in stored.names.iter_rows()}
    now = dict(
        _versions(stored, pl.concat([told["record_id_l"], told["record_id_r"].alias("record_id_l")])).iter_rows()
    )
    rows = {row["decision"]: row for row in made.to_dicts()}
    kept = []
    for edge in told.iter_rows(named=True):
        pair = {names[edge["record_id_l"]], names[edge["record_id_r"]]}
        about = [r for r in found.rulings.values() if pair <= (r.left | r.right)]
        kept.append(not any(_knew(rows[r.number], edge, pair, now, names) for r in about))
    return told.filter(pl.Series(kept, dtype=pl.Boolean))


def _knew(
    row: dict[str, Any], edge: dict[str, Any], pair: set[int], now: dict[str, Any], names: dict[str, int]
) -> bool:
    if row["evidence"] is None:
        return False
    then = dict(zip([*row["left"], *row["right"]], row["evidence"], strict=True))
    is_same = all(
        then.get(names[edge[end]]) is not None and then[names[edge[end]]] == now.get(edge[end])
        for end in ("record_id_l", "record_id_r")
    )
    risen = (edge["match_weight"] or 0.0) > (row["known_weight"] or 0.0) + STRONGER
    return is_same or (edge["against"] in (row["known_reasons"] or ()) and not (edge["against"] == SCORE and risen))


def _by_third(stored: Stored, edges: pl.LazyFrame, found: Rulings) -> pl.DataFrame:
    """Accepted edges between two persons that a decision about other records keeps apart."""
    holder = dict(stored.registry.members.iter_rows()) if found.apart else {}
    barred: dict[tuple[int, int], int] = {}
    for one, other, number in found.pairs():
        if one in holder and other in holder:
            low, high = sorted((holder[one], holder[other]))
            barred[low, high] = number
    apart = pl.DataFrame(
        [(*pair, number) for pair, number in barred.items()],
        schema={"low": pl.Int64, "high": pl.Int64, "against": pl.Int64},
        orient="row",
    )
    crossing = edges.filter(pl.col("decision") == ACCEPTED, ~_by_steward())
    owners = stored.names.join(stored.registry.members, on="record").select("record_id", "person").lazy()
    for side in "lr":
        owner = owners.rename({"record_id": f"record_id_{side}", "person": f"person_{side}"})
        crossing = crossing.join(owner, on=f"record_id_{side}")
    crossing = crossing.with_columns(
        low=pl.min_horizontal("person_l", "person_r"), high=pl.max_horizontal("person_l", "person_r")
    )
    return crossing.join(apart.lazy(), on=["low", "high"]).collect()
