"""Resolution of a batch into what is resolved already: only what the batch touches is scored and clustered.

Sequence-neutral: with the same pins, any order and batching of the same records ends in the same edges and the same
partition as resolving all of them at once. A pair has an edge when the two records share a block key that no more
records share than its cap, as counted over all records there are; so when a key passes its cap, the edges that rest on
it alone are retracted, and when deletions bring it below, its pairs are scored.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import polars as pl

from customer360.models.identity.batch.blocks import (
    BOTH,
    Met,
    divided,
    key_values,
    meet,
    meet_first,
    pairs_of,
    taken_out,
)
from customer360.models.identity.batch.clustering import accepted_of, clustered, features_of, rows_of
from customer360.models.identity.batch.pins import Pins
from customer360.models.identity.batch.state import EDGES, VERDICTS, State, apart, key_columns
from customer360.models.identity.evidence.features import KEY_PREFIX, Features
from customer360.models.identity.phases import timed
from customer360.models.identity.registry.decisions import AGAINST, NO_LINKS, REASON, Links
from customer360.models.identity.rules import IdentityRules
from customer360.models.identity.spill import kept
from customer360.models.identity.stitching import (
    NO_TIER,
    Tier,
    around,
    different,
    stitch,
    without_score,
)
from customer360.models.identity.verdicts.decide import (
    ACCEPTED,
    cannot_link,
    decide,
    judge_links,
    overruled,
    with_dropped,
)
from customer360.models.identity.weighing.engine import one_engine
from customer360.models.identity.weighing.model import IdentityModel
from customer360.models.identity.weighing.pairs import Portions, among_few
from customer360.models.identity.weighing.predict import columns_read, score_planned
from customer360.platform.run.executor import Executor

_ENDS = ["record_l", "record_r"]


@dataclass(frozen=True)
class Resolved:
    """State after a batch, and `clusters`: (record, cluster) of every record whose person the batch may have changed.
    `filled`: (key, value) of the block keys that the batch made crowded. `seconds`: per step."""

    state: State
    clusters: pl.DataFrame
    scored_pairs: int
    filled: pl.DataFrame
    seconds: dict[str, float] = field(default_factory=dict, compare=False)


def resolve_batch(
    state: State,
    batch: pl.DataFrame,
    gone: Iterable[int],
    pins: Pins,
    rules: IdentityRules,
    links: Links = NO_LINKS,
    *,
    recheck: pl.Series | None = None,
    executor: Executor | None = None,
    tidy: bool = True,
) -> Resolved:
    """Bring new, changed and deleted records into `state`.

    `batch`: evidence with `record`, of new records and new versions; `gone`: numbers of deleted records. `links`: what
    stewards decided, or other proof; their records are resolved again. `recheck`: given where the versions that `batch`
    replaces and the records that are gone are not in `state`: numbers of those that had edges with them, whose persons
    and links by number are made anew; every crowded key is counted again, too. `executor`: runs the scoring of more
    pairs than `engine.max_local_pairs`. Not to `tidy` leaves evidence at its places, for who goes by them.
    """
    seconds: dict[str, float] = {}
    rules = pins.model.deciding(rules)
    with one_engine(rules.engine):
        with timed(seconds, "block"):
            met = _met(state, _with_linked(state, batch, links), gone, pins.caps, rules, recheck)
        with timed(seconds, "score"):
            judged = _judged(state, met, pins.model, rules, links, executor)
        with timed(seconds, "cluster"):
            clusters = clustered(judged.state, judged.reached, rules, links, pins.model.idle_vetoes)
    after = judged.state.tidied() if tidy else judged.state
    return Resolved(after, clusters, judged.scored_pairs, met.blocks.filled, seconds)


def _with_linked(state: State, batch: pl.DataFrame, links: Links) -> pl.DataFrame:
    """The batch with the records that links name."""
    if links.records.is_empty():
        return batch
    named = state.frame.filter(pl.col("record").is_in(links.records.implode()))
    return pl.concat([batch, named.join(batch, on="record", how="anti")], how="diagonal_relaxed")


# ---- which records meet -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Meeting:
    """`blocks`: who shares block keys, and whose pairs are all made anew. `pairs`: portions of the pairs of these
    (`MEETING`), as places in `frame`. `tier`: links by number among the records `near`. `cut`:
    numbers of records that lost an edge."""

    blocks: Met
    pairs: Sequence[pl.DataFrame] | Portions
    tier: Tier
    near: pl.Series
    cut: pl.Series

    @cached_property
    def frame(self) -> pl.DataFrame:
        """Evidence of all records once the batch is in."""
        # Columns whose chunks end at different rows are copied whole by the next step that takes several.
        return pl.concat([self.blocks.stay, self.blocks.batch.select(self.blocks.stay.columns).rechunk()])


def _met(
    state: State,
    batch: pl.DataFrame,
    gone: Iterable[int],
    caps: dict[str, int],
    rules: IdentityRules,
    recheck: pl.Series | None,
) -> _Meeting:
    """Who meets whom when the batch comes in, by block keys and by numbers."""
    keys, threads = key_columns(state.frame), rules.engine.threads
    left = pl.concat([pl.Series("record", list(gone), pl.Int64), batch["record"]]).unique()
    old, stay = taken_out(state.frame, left)
    # Links by number are those of all records; who gains or loses one is resolved again like a new record.
    cut = pl.Series("record", [], pl.Int64) if recheck is None else recheck.alias("record")
    before = [old, rows_of(stay, cut)]
    tier, near = _tier(stay, before, batch, rules)
    relinked, stay = taken_out(stay, tier.changed(_among(state.verdicts, near), left, rules.stitching))
    if relinked.height:
        batch, old = (pl.concat([rows, relinked], how="diagonal_relaxed") for rows in (batch, old))
        left = pl.concat([left, relinked["record"]])
        before[0] = old
    blocks = Met(stay, batch, left)
    if state.frame.is_empty():
        blocks, pairs = meet_first(blocks, keys, caps, threads)
    else:
        blocks = meet(blocks, key_values(old, keys), state.crowded, keys, caps, recheck is not None, threads)
        pairs = pairs_of(blocks, keys)
    if blocks.batch.height > batch.height:  # with records that a key which is crowded no more brings in
        tier, near = _tier(blocks.stay, before, blocks.batch, rules)
    return _Meeting(blocks, pairs, tier, near, cut)


def _tier(
    stay: pl.DataFrame, gone: list[pl.DataFrame], batch: pl.DataFrame, rules: IdentityRules
) -> tuple[Tier, pl.Series]:
    """Links by number among the records that a batch may link or part, and the numbers of these records."""
    if not rules.stitching.identifiers:
        return NO_TIER, pl.Series("record", [], pl.Int64)
    near = around(stay, pl.concat([*gone, batch], how="diagonal_relaxed"), rules.stitching)
    rows = pl.concat([near, batch.select(near.columns)])
    return stitch(rows, rules.stitching), rows["record"]


def _among(edges: pl.DataFrame, records: pl.Series) -> pl.DataFrame:
    """Edges of which both ends are among the records."""
    return edges.filter(pl.all_horizontal(pl.col(_ENDS).is_in(records.implode()))) if records.len() else edges.clear()


# ---- what is held of their pairs ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Judged:
    """`state` with the edges after the batch; `reached`: numbers of records that gained, lost or kept an edge by it."""

    state: State
    reached: pl.Series
    scored_pairs: int


def _judged(
    state: State, met: _Meeting, model: IdentityModel, rules: IdentityRules, links: Links, executor: Executor | None
) -> _Judged:
    """The edges that stay, those that crowded keys give back, and the new ones: scored, linked by number, overruled."""
    keys = key_columns(state.frame)
    parted, staying = taken_out(state.verdicts, met.blocks.records, *_ENDS)
    lost, staying = _retracted(staying, met.blocks, keys)
    staying = pl.concat([staying, without_score(lost, rules.stitching)])
    fresh, evidence = apart(_scored(met, keys, model, rules, executor), state.evidence.len())
    fresh = _stitched(fresh, staying, met, rules, model.idle_vetoes)
    fresh = _linked(fresh, links, met.frame, rules, model.idle_vetoes).select(list(VERDICTS))
    edges = with_dropped(pl.concat([staying, fresh]), met.tier.dropped, _ENDS, rules.stitching, met.near)
    after = State(met.frame, edges.select(list(VERDICTS)), pl.concat([state.evidence, evidence]), met.blocks.crowded)
    reached = pl.concat([met.blocks.records, met.cut, *_ends(parted), *_ends(lost), *_ends(fresh)]).unique()
    return _Judged(after, reached, fresh.height)


def _retracted(edges: pl.DataFrame, met: Met, keys: tuple[str, ...]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Edges that rest on no key but those that became crowded, and the others; what rests on another key now is filed
    under it."""
    names = pl.Series([key.removeprefix(KEY_PREFIX) for key in keys], dtype=pl.String)
    closed = met.closed.select("record", "value", match_key=names.gather(met.closed["key"]))
    members = closed["record"].unique().implode()
    pair = ["record_l", "record_r"]
    within = (
        edges.select(*pair, "match_key").with_row_index("row").filter(pl.all_horizontal(pl.col(pair).is_in(members)))
    )
    resting = within.join(closed, left_on=["record_l", "match_key"], right_on=["record", "match_key"])
    resting = resting.join(
        closed, left_on=["record_r", "match_key", "value"], right_on=["record", "match_key", "value"], how="semi"
    )
    if resting.is_empty():
        return edges.clear(), edges
    doubtful = np.zeros(edges.height, dtype=bool)
    doubtful[resting["row"].to_numpy()] = True
    first = _first_keys(resting.select(pair), met, keys)
    first = first.select(*pair, rests_on=names.gather(first["key"]))
    unsure = edges.filter(pl.Series(doubtful))
    moved = unsure.join(first, on=pair).with_columns(match_key="rests_on").select(edges.columns)
    return unsure.join(first, on=pair, how="anti"), pl.concat([edges.filter(pl.Series(~doubtful)), moved])


def _first_keys(pairs: pl.DataFrame, met: Met, keys: tuple[str, ...]) -> pl.DataFrame:
    """(record_l, record_r, key) of those pairs of `stay` that share a usable key: the first one."""
    rows = rows_of(met.stay.select("record", *keys), pl.concat([pairs["record_l"], pairs["record_r"]]).unique())
    both = pairs.join(rows, left_on="record_l", right_on="record")
    both = both.join(rows, left_on="record_r", right_on="record", suffix="_r")
    shared = pl.concat(
        both.filter(pl.col(key) == pl.col(f"{key}_r")).select(
            "record_l", "record_r", key=pl.lit(n, pl.Int32), value=key
        )
        for n, key in enumerate(keys)
    )
    # A value that two records share is usable where it is not crowded.
    usable = shared.join(divided(met.crowded, shared)[0], on=BOTH, how="anti")
    return usable.group_by("record_l", "record_r").agg(pl.col("key").min()).sort("record_l", "record_r")


def _scored(
    met: _Meeting, keys: tuple[str, ...], model: IdentityModel, rules: IdentityRules, executor: Executor | None
) -> pl.DataFrame:
    """The pairs that meet, scored and decided, as `EDGES`: what is said of a pair depends on its two records alone, so
    portions of them are judged one after the other."""
    proposed = met.pairs.proposed if isinstance(met.pairs, Portions) else sum(part.height for part in met.pairs)
    elsewhere = executor if proposed > rules.engine.max_local_pairs else None
    return pl.concat([kept(_judged_pairs(part, met.frame, keys, model, rules, elsewhere)) for part in met.pairs])


def _judged_pairs(
    pairs: pl.DataFrame,
    frame: pl.DataFrame,
    keys: tuple[str, ...],
    model: IdentityModel,
    rules: IdentityRules,
    executor: Executor | None,
) -> pl.DataFrame:
    """Pairs (`MEETING`, as places in `frame`) as `EDGES`."""
    pairs, rids = among_few(_by_id(pairs, frame["record_id"]))
    # What is fetched for many pairs is fetched from the few rows that they name.
    read = columns_read(model)
    rows = frame.select(c for c in frame.columns if c in read)[rids]
    scored = score_planned(pairs, rows, keys, model, rules, executor)
    del rows, pairs  # before what is fetched to decide
    scored = scored.with_columns(rid_l=rids.gather(scored["rid_l"]), rid_r=rids.gather(scored["rid_r"]))
    ends = pl.concat([scored["rid_l"], scored["rid_r"].alias("rid_l")]).unique().alias("rid")
    people = Features(frame.drop(keys)[ends].with_columns(ends), ())
    decided = decide(scored, people, rules, model.idle_vetoes)
    numbers = frame["record"]
    return decided.select(
        numbers.gather(decided["rid_l"]).alias("record_l"),
        numbers.gather(decided["rid_r"]).alias("record_r"),
        *list(EDGES)[2:],
    )


def _by_id(pairs: pl.DataFrame, ids: pl.Series) -> pl.DataFrame:
    """The pairs with the record on the left whose id comes first, so that it does not matter who came first."""
    turned = ids.gather(pairs["rid_l"]) > ids.gather(pairs["rid_r"])
    left, right = pl.when(turned).then("rid_r").otherwise("rid_l"), pl.when(turned).then("rid_l").otherwise("rid_r")
    return pairs.with_columns(rid_l=left, rid_r=right)


def _stitched(
    fresh: pl.DataFrame, kept: pl.DataFrame, met: _Meeting, rules: IdentityRules, idle: Collection[str]
) -> pl.DataFrame:
    """Fresh edges with the links by number that they and those kept lack, each judged by what else its two records
    say."""
    lacking = met.tier.lacking(pl.concat([_among(kept, met.near), fresh]), rules.stitching)
    if lacking.is_empty():
        return fresh
    features = features_of(rows_of(met.frame, pl.concat([lacking["record_l"], lacking["record_r"]]).unique()))
    ids = features.frame.select("record", "rid")
    pairs = lacking.join(ids.rename({"record": "record_l", "rid": "rid_l"}), on="record_l")
    pairs = pairs.join(ids.rename({"record": "record_r", "rid": "rid_r"}), on="record_r")
    judged = judge_links(pairs.select("rid_l", "rid_r", "reason"), features, rules, idle)
    judged = judged.join(pairs.select("rid_l", "rid_r", *_ENDS), on=["rid_l", "rid_r"])
    return overruled(fresh, judged.select(*_ENDS, "decision", "reason"), _ENDS)


def _linked(
    edges: pl.DataFrame, links: Links, frame: pl.DataFrame, rules: IdentityRules, idle: Collection[str]
) -> pl.DataFrame:
    """Edges with what links say of their pairs, and the pairs that only links have. What speaks against a decision is
    told beside it."""
    if links.pairs.is_empty():
        return edges
    joined = links.pairs.filter(pl.col("decision") == ACCEPTED)
    parted = links.pairs.filter(pl.col("decision") != ACCEPTED).join(edges, on=_ENDS, how="semi")
    strong = edges.filter(pl.col("decision") == ACCEPTED).select(*_ENDS, against=pl.coalesce("reason", pl.lit("score")))
    parted = parted.join(strong, on=_ENDS, how="left")
    proven = _proven_against(edges, links, frame, rules, idle)
    known = joined.join(proven.drop("number"), on=_ENDS, how="left")
    beyond = proven.join(joined, on=_ENDS, how="anti").with_columns(
        decision=pl.lit(ACCEPTED), reason=pl.format(REASON + "{}", "number")
    )
    said = pl.concat([known, beyond.select(known.columns), parted.select(known.columns)])
    text = pl.when(pl.col("against").is_null()).then("reason").otherwise(pl.col("reason") + AGAINST + pl.col("against"))
    return overruled(edges, said.select(*_ENDS, "decision", reason=text), _ENDS)


def _proven_against(
    edges: pl.DataFrame, links: Links, frame: pl.DataFrame, rules: IdentityRules, idle: Collection[str]
) -> pl.DataFrame:
    """(record_l, record_r, number, against) of pairs that a decision makes one person and proof two."""
    if links.groups.is_empty():
        return pl.DataFrame(schema={**dict.fromkeys((*_ENDS, "number"), pl.Int64), "against": pl.String})
    features = features_of(rows_of(frame, links.groups["record"]))
    ids = features.frame.select("record", "rid")
    pairs = links.together.join(ids.rename({"record": "record_l", "rid": "rid_l"}), on="record_l")
    pairs = pairs.join(ids.rename({"record": "record_r", "rid": "rid_r"}), on="record_r")
    pairs = pairs.filter(pl.col("rid_l") < pl.col("rid_r")).sort("rid_l", "rid_r")
    ends = pairs.select("rid_l", "rid_r")
    proof = cannot_link(ends, features, rules, idle).filter("is_proof").select("rid_l", "rid_r", against="reason")
    other = different(ends, features.frame).select("rid_l", "rid_r", against="reason")
    against = pl.concat([other, proof]).unique(["rid_l", "rid_r"], keep="first", maintain_order=True)
    return pairs.join(against, on=["rid_l", "rid_r"]).select(*_ENDS, "number", "against")


def _ends(edges: pl.DataFrame) -> list[pl.Series]:
    accepted = accepted_of(edges)
    return [accepted["record_l"].rename("record"), accepted["record_r"].rename("record")]
