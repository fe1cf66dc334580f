"""Organisations of a file of records, by the same model of evidence as people: features, pairs, weights, groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from customer360.models.identity.evidence.features import Features
from customer360.models.identity.organisations.comparisons import OTHER_NUMBER as NUMBERS_DIFFER
from customer360.models.identity.organisations.evidence import key_values, organisation_features
from customer360.models.identity.rules import IdentityRules
from customer360.models.identity.verdicts.cluster import cluster
from customer360.models.identity.verdicts.decide import ACCEPTED, REJECTED, VETOED, overruled
from customer360.models.identity.weighing.engine import engine
from customer360.models.identity.weighing.frequencies import term_frequencies
from customer360.models.identity.weighing.model import IdentityModel, adjusted_columns, train
from customer360.models.identity.weighing.pairs import meeting
from customer360.models.identity.weighing.predict import PAIR_SCHEMA, score
from customer360.models.identity.weighing.vectors import answers

SAME_RECORD = "the same name and the same contacts"
OTHER_NUMBER = "two numbers of one register"
OTHER_NAME = "the names have nothing in common"
OTHER_SITE = "another street and house number: two sites"
OTHER_LINE = "each name has a number, or as a short one a word, of its own"

_ELSEWHERE = """case when number_l is not null and number_r is not null and word_l is not null and word_r is not null
    and number_l <> number_r and (jaro_winkler_similarity(word_l, word_r) < 0.9 or
        (word_l = word_r and damerau_levenshtein(number_l, number_r) > 1
            and abs(try_cast(number_l as bigint) - try_cast(number_r as bigint)) > 50))
    then 1 else 0 end"""
# Random pairs to learn chance from: names of several words cost some ten times what people's do.
_DRAWN = 100_000
_DECIDED = dict.fromkeys(("record_id_l", "record_id_r", "decision", "reason"), pl.String)


@dataclass(frozen=True)
class Organisations:
    """`assignments`: (record_id, cluster_key), a cluster named by its first record. `edges`: as `Resolution.edges`;
    records that say the same are one before anything is weighed, by an edge without a weight. `sites`: where asked for
    (record_id, cluster_key) of the sites, each within one organisation."""

    assignments: pl.DataFrame
    edges: pl.DataFrame
    model: IdentityModel
    dropped: dict[str, int]
    sites: pl.DataFrame | None = None


def resolve_organisations(
    records: pl.DataFrame, rules: IdentityRules, decided: pl.DataFrame | None = None, *, sites: bool = False
) -> Organisations:
    """Which records name one organisation. `records`: unique `record_id`, filled `organisation_name`, customer
    columns. `decided`: (record_id_l, record_id_r, decision, reason), the left id the first, what holds of pairs
    whatever else is said. With `sites` also which are one place of it: records at other addresses are other sites.
    Deterministic, in any order of the rows. Raises IdentityModelError when training fails."""
    drawn = min(rules.training.u_pairs, _DRAWN)
    rules = rules.model_copy(update={"training": rules.training.model_copy(update={"u_pairs": drawn})})
    whole = organisation_features(records, rules)
    ids = whole.frame["record_id"]
    said = pl.DataFrame(schema=_DECIDED) if decided is None else decided.select(list(_DECIDED))
    first = _first_alike(whole.frame, pl.concat([said["record_id_l"], said["record_id_r"].alias("record_id_l")]))
    features = _of_rows(whole, first.unique().sort())
    model = train(features, rules)
    frame = _with_shares(features, model, rules)
    pairs, keys, dropped = _pairs(features, rules)
    scored = score(pairs, frame, keys, model, rules)
    judged = _decided(scored, frame, features.identifiers, rules)
    must, apart = (_placed(said.filter(pl.col("decision") == way), frame) for way in (ACCEPTED, VETOED))
    accepted = judged.filter(pl.col("decision") == ACCEPTED).select("rid_l", "rid_r", "match_weight")
    accepted = accepted.join(apart, on=["rid_l", "rid_r"], how="anti")

    def parted(within: pl.DataFrame) -> pl.DataFrame:
        proven = _vetoes(within, frame, features.identifiers, rules, proof=True).select("rid_l", "rid_r")
        held = pl.concat([proven, apart.join(within, on=["rid_l", "rid_r"], how="semi")])
        return held.join(must, on=["rid_l", "rid_r"], how="anti").unique(maintain_order=True)

    size = max(rules.decision.max_cluster_size, frame.height)
    places = frame.select("whole", at="rid")
    named = pl.DataFrame({"whole": first}).join(places, on="whole", how="left", maintain_order="left")["at"]

    def assigned(labels: np.ndarray) -> pl.DataFrame:
        clusters = frame["whole"].gather(pl.Series(labels).gather(named))
        return pl.DataFrame({"record_id": ids, "cluster_key": ids.gather(clusters)})

    assignments = assigned(cluster(frame.height, accepted, must, parted, size))
    of_sites = None
    if sites:
        judged = _with_sites(judged, frame, rules)
        apart = pl.concat([apart, _elsewhere(accepted.select("rid_l", "rid_r"), frame, rules)]).unique()

        def elsewhere(within: pl.DataFrame) -> pl.DataFrame:
            return pl.concat([parted(within), _elsewhere(within, frame, rules)]).unique(maintain_order=True)

        here = accepted.join(apart, on=["rid_l", "rid_r"], how="anti")
        of_sites = assigned(cluster(frame.height, here, must, elsewhere, size))
        # A site is of the organisation of its first record.
        firsts = assignments.rename({"record_id": "site", "cluster_key": "of"})
        held = of_sites.join(firsts, left_on="cluster_key", right_on="site", maintain_order="left")
        assignments = held.select("record_id", cluster_key="of")
    own = frame["record_id"]
    edges = judged.select(
        own.gather(judged["rid_l"]).alias("record_id_l"), own.gather(judged["rid_r"]).alias("record_id_r"),
        *[name for name in PAIR_SCHEMA if not name.startswith("rid_") and name != "evidence"], "decision", "reason",
        "evidence",
    )  # fmt: skip
    edges = pl.concat([edges, _same(ids, first, edges)])
    edges = overruled(edges, said, ["record_id_l", "record_id_r"])
    return Organisations(assignments, edges, model, dropped, of_sites)


def _elsewhere(pairs: pl.DataFrame, frame: pl.DataFrame, rules: IdentityRules) -> pl.DataFrame:
    """Pairs (rid_l, rid_r) of records at two addresses. Sources mistype a street or a number, hardly both."""
    if pairs.is_empty():
        return pairs.select("rid_l", "rid_r")
    with engine(rules.engine) as con:
        found = answers(con, pairs.select("rid_l", "rid_r"), frame, [_ELSEWHERE]).T[0] == 1
    return pairs.select("rid_l", "rid_r").filter(pl.Series(found, dtype=pl.Boolean))


def _with_sites(judged: pl.DataFrame, frame: pl.DataFrame, rules: IdentityRules) -> pl.DataFrame:
    """The pairs, those of two sites of one organisation vetoed."""
    accepted = judged.filter(pl.col("decision") == ACCEPTED)
    other = _elsewhere(accepted, frame, rules).with_columns(decision=pl.lit(VETOED), reason=pl.lit(OTHER_SITE))
    return overruled(judged, other, ["rid_l", "rid_r"])


def _placed(pairs: pl.DataFrame, frame: pl.DataFrame) -> pl.DataFrame:
    """Decided pairs as (rid_l, rid_r)."""
    at = frame.select("record_id", "rid")
    found = pairs.join(at, left_on="record_id_l", right_on="record_id")
    found = found.join(at, left_on="record_id_r", right_on="record_id", suffix="_r")
    low, high = pl.min_horizontal("rid", "rid_r"), pl.max_horizontal("rid", "rid_r")
    return found.select(rid_l=low, rid_r=high).unique().sort("rid_l", "rid_r")


def _first_alike(frame: pl.DataFrame, decided: pl.Series) -> pl.Series:
    """Per row the first row (`rid`) with the same name and contacts: what says nothing new is no second witness. A
    record of which something is `decided` stands for itself."""
    compared = [c for c in frame.columns if c not in ("rid", "record_id") and not isinstance(frame.schema[c], pl.List)]
    alone = pl.col("core").is_null() | pl.col("record_id").is_in(decided.unique().implode())
    first = pl.when(alone).then("rid").otherwise(pl.col("rid").first().over(compared))
    return frame.select(first.alias("rid")).to_series()


def _of_rows(whole: Features, rids: pl.Series) -> Features:
    """Features of these rows, numbered anew; `whole`: their numbers of before."""
    frame = whole.frame.filter(pl.col("rid").is_in(rids.implode())).rename({"rid": "whole"}).with_row_index("rid")
    return Features(frame.with_columns(pl.col("rid").cast(pl.Int64)), (), whole.kind)


def _with_shares(features: Features, model: IdentityModel, rules: IdentityRules) -> pl.DataFrame:
    """The frame with the share that each value has among the records, for the columns that the model weighs so."""
    frame = features.frame
    counts = term_frequencies(features, rules.engine.threads)
    shares = {}
    for column in sorted(adjusted_columns(model) & counts.keys()):
        filled = max(frame.height - frame[column].null_count(), 1)
        shares[f"tf_{column}"] = pl.when(pl.col(column).is_not_null()).then(pl.len().over(column) / filled)
    return frame.with_columns(**shares)


def _pairs(features: Features, rules: IdentityRules) -> tuple[pl.DataFrame, tuple[str, ...], dict[str, int]]:
    """The pairs that share a block key; the keys; per key how many values too many records share."""
    held: dict[str, pl.LazyFrame] = {}
    dropped: dict[str, int] = {}
    for name, rows in key_values(features).items():
        sizes = rows.group_by("value").len()
        limit = _limit(sizes["len"].to_numpy(), rules)
        crowded = sizes.filter(pl.col("len") > limit)
        dropped |= {name: crowded.height} if crowded.height else {}
        few = rows.join(crowded, on="value", how="anti") if crowded.height else rows
        held[name] = few.with_columns(is_new=pl.lit(True)).lazy()
    return meeting(held.values()), tuple(held), dropped


def _limit(sizes: np.ndarray, rules: IdentityRules) -> int:
    """The most records that may share a value: within the budget of a key, and not more than may share any."""
    size, values = np.unique(sizes[sizes > 1], return_counts=True)
    pairs = np.cumsum(values * (size.astype(np.int64) * (size - 1) // 2))
    within = size[pairs <= rules.blocking.max_pairs_per_weak_key]
    return int(min(within.max(initial=1), rules.blocking.max_records_per_key))


def _decided(
    scored: pl.DataFrame, frame: pl.DataFrame, identifiers: tuple[str, ...], rules: IdentityRules
) -> pl.DataFrame:
    """Scored pairs with `decision` and the `reason` of a veto."""
    above = scored.filter(pl.col("match_weight") >= rules.decision.accepts_from)
    vetoes = _vetoes(above.select("rid_l", "rid_r"), frame, identifiers, rules)
    found = scored.join(vetoes, on=["rid_l", "rid_r"], how="left", maintain_order="left")
    accepted = pl.col("match_weight") >= rules.decision.accepts_from
    decision = pl.when(~accepted).then(pl.lit(REJECTED)).when(pl.col("reason").is_not_null()).then(pl.lit(VETOED))
    return found.with_columns(decision=decision.otherwise(pl.lit(ACCEPTED)))


def _vetoes(
    pairs: pl.DataFrame,
    frame: pl.DataFrame,
    identifiers: tuple[str, ...],
    rules: IdentityRules,
    proof: bool = False,
) -> pl.DataFrame:
    """(rid_l, rid_r, reason) of pairs that are two firms whatever else they share. With `proof` only those that part
    firms which third records connect."""
    if pairs.is_empty():
        return pl.DataFrame(schema={"rid_l": pl.Int64, "rid_r": pl.Int64, "reason": pl.String})
    same = " or ".join(f"{name}_l = {name}_r" for name in identifiers) or "false"
    other = " or ".join(f"{name}_l <> {name}_r" for name in identifiers) or "false"
    with engine(rules.engine) as con:
        asked = [_number_sql(same, other), _stranger_sql(same), _line_sql(same)]
        apart, strange, line = answers(con, pairs, frame, asked).T == 1
    reasons = pl.DataFrame({"apart": apart, "strange": strange & (not proof), "line": line & (not proof)})
    reason = pl.when("apart").then(pl.lit(OTHER_NUMBER)).when("strange").then(pl.lit(OTHER_NAME))
    reason = reason.when("line").then(pl.lit(OTHER_LINE))
    return pairs.with_columns(reasons.select(reason=reason).to_series()).drop_nulls("reason")


def _number_sql(same: str, other: str) -> str:
    return f"case when coalesce(({other}) and not ({same}), false) then 1 else 0 end"


def _stranger_sql(same: str) -> str:
    """Firms of one building share all but their names."""
    names = "core_l is not null and core_r is not null and not list_has_any(words_l, words_r)"
    alike = "jaro_winkler_similarity(compact_l, compact_r) >= 0.85 or acronym_l = compact_r or acronym_r = compact_l"
    return f"case when {names} and not coalesce({alike}, false) and not coalesce({same}, false) then 1 else 0 end"


def _line_sql(same: str) -> str:
    """Firms of one family or group, by what they do: Kestrel Plumbing and Kestrel Electric."""

    def own(one: str, other: str) -> str:
        alike = f"list_max([jaro_winkler_similarity(word, w) for w in words_{other}]) >= 0.8"
        part = f"contains(compact_{other}, word) or list_max([starts_with(word, w) for w in words_{other}])"
        return f"list_max([not ({alike} or {part}) for word in words_{one}])"

    short = "greatest(length(words_l), length(words_r)) <= 3 and list_has_any(words_l, words_r)"
    found = f"({short}) and {own('l', 'r')} and {own('r', 'l')}"
    found = f"(({found}) or {NUMBERS_DIFFER})"
    return f"case when coalesce({found}, false) and not coalesce({same}, false) then 1 else 0 end"


def _same(ids: pl.Series, first: pl.Series, edges: pl.DataFrame) -> pl.DataFrame:
    """An edge from each record to the first that says the same."""
    rows = pl.DataFrame({"record_id_l": ids.gather(first), "record_id_r": ids})
    made = rows.filter(pl.col("record_id_l") != pl.col("record_id_r"))
    made = made.with_columns(decision=pl.lit(ACCEPTED), reason=pl.lit(SAME_RECORD))
    nothing = (pl.lit(None, kind).alias(name) for name, kind in edges.schema.items() if name not in made.columns)
    return made.with_columns(nothing).select(edges.columns)
