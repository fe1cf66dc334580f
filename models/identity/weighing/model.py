"""The Fellegi-Sunter model: settings for Splink, training with gates, and the saved form.

Training is unsupervised (`estimate`): u of exact levels analytically, of the others by sampling; m by expectation
maximisation over several sessions of pairs that agree on something. Every parameter then passes a gate: what was never
observed, or came out the wrong way round, is replaced by a stated value and said so in the diagnostics; where too much
of it was, all are stated. Beside persons and strangers, people of one home are a class of pairs (`relatives`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from pydantic import BaseModel, ConfigDict

from customer360.models.identity.evidence.features import Features, shared_by
from customer360.models.identity.rules import IdentityRules
from customer360.models.identity.threads import at_once
from customer360.models.identity.weighing import households
from customer360.models.identity.weighing.comparisons import GIVEN, Comparison
from customer360.models.identity.weighing.engine import engine
from customer360.models.identity.weighing.estimate import (
    Patterns,
    Session,
    among_strangers,
    coded,
    maximise,
    observed_u,
    of,
    patterns,
    random_pairs,
    session_pairs,
    shares,
)
from customer360.models.identity.weighing.frequencies import comparisons_of, term_frequencies, with_shares
from customer360.models.identity.weighing.gate import gate, rounded, without_matches
from customer360.models.identity.weighing.households import idle_vetoes
from customer360.models.identity.weighing.relatives import (
    ENOUGH,
    HOMES,
    Relatives,
    given_at_home,
    most_apart,
    relatives,
)
from customer360.models.identity.weighing.signs import SIGN, sign_mistyped
from customer360.models.identity.weighing.witnesses import Seen, from_persons, recaptured, witnesses
from customer360.platform.errors import ModelError

_SESSIONS = (
    ("email",), ("phone",), ("day",), ("given", "family"), ("street", "given"), ("given", "zip"), ("family", "zip"),
    ("street",), ("family",), ("given",),
)  # fmt: skip
# A session, the patterns of its pairs, and the share of the records that they were drawn from.
_Shown = tuple[Session, Patterns, float]
_PRIOR_RULES = (
    ("email", "given"), ("phone", "given"), ("day", "given", "family"), ("street", "given", "family"),
)  # fmt: skip


class IdentityModelError(ModelError):
    """A model of which too little could be trained, or that does not fit the records."""


class IdentityModel(BaseModel):
    """A trained model. JSON-serialisable: `model_dump_json`, `model_validate_json`.

    `settings`: Splink's own model, with every m and u. `term_frequency_hash`: digest of the value counts it was
    trained on. `diagnostics`: mode (trained or default), records, sessions, replaced parameters and why. `idle_vetoes`:
    reasons of `decide` that on these records would part one person more often than two. `accept_weight`: bits from
    which a pair of these records is accepted (`verdicts.threshold`).
    """

    model_config = ConfigDict(frozen=True)

    settings: dict[str, Any]
    term_frequency_hash: str
    diagnostics: dict[str, Any]
    idle_vetoes: tuple[str, ...] = ()
    household: Relatives | None = None
    accept_weight: float | None = None

    def deciding(self, rules: IdentityRules) -> IdentityRules:
        """The rules with the weight from which pairs are accepted: a fixed one of theirs, else the model's."""
        if rules.decision.accept_weight is not None or self.accept_weight is None:
            return rules
        return rules.model_copy(
            update={"decision": rules.decision.model_copy(update={"accept_weight": self.accept_weight})}
        )

    @property
    def version(self) -> str:
        """Sixteen hex digits that name these parameters."""
        further = [self.household.model_dump()] if self.household else []
        further += [] if self.accept_weight is None else [{"accept_weight": self.accept_weight}]
        text = json.dumps([self.settings, self.term_frequency_hash, *further], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def check_keys(self, keys: Sequence[str]) -> None:
        """Raises IdentityModelError when the model was trained with other block keys."""
        stated = [rule["blocking_rule"] for rule in self.settings["blocking_rules_to_generate_predictions"]]
        absent = [key for key in keys if not any(key in rule for rule in stated)]
        if absent or len(stated) != len(keys):
            raise IdentityModelError(
                f"the model blocks on {len(stated)} keys, the records have {len(keys)}; train it again"
            )


def adjusted_columns(model: IdentityModel) -> set[str]:
    """Columns of which the model weighs rare values more."""
    levels = (level for c in model.settings["comparisons"] for level in c["comparison_levels"])
    return {level["tf_adjustment_column"] for level in levels if level.get("tf_adjustment_column")}


def train(features: Features, rules: IdentityRules, counts: dict[str, pl.DataFrame] | None = None) -> IdentityModel:
    """Estimate the model on the records themselves; the default model where they are too few. `counts`: the records'
    `term_frequencies`, where they are known.

    Where more comparisons than `training.max_replaced_share` fail their gate, as they do where there are hardly any
    duplicates, the stated parameters are used: a clean file is a result, and no error.
    """
    threads = rules.engine.threads
    counts = counts or term_frequencies(features, threads)
    features = features if features.kind else with_shares(features, counts)
    start = default_settings(features, counts, rules)
    digest = _digest(counts)
    sessions = _sessions(features) if features.frame.height >= rules.training.min_records else []
    trained, seen, heard, shown = _estimate(features, start, sessions, rules) if sessions else (start, [], [], [])
    diagnostics: dict[str, Any] = {
        "records": features.frame.height,
        "sessions": {" + ".join(one.session): round(one.matches) for one in seen},
        "not believed": [" + ".join(one.session) for one in seen if one not in heard],
    }
    settings, replaced = gate(start, trained, comparisons_of(features), rules) if seen else (None, {})
    if settings is None:
        diagnostics |= {"mode": "default", "reason": _why_stated(features, bool(seen), rules), "replaced": replaced}
        start = without_matches(start)
        home = _home(features, shown, start)
        return IdentityModel(settings=start, term_frequency_hash=digest, diagnostics=diagnostics, household=home)
    found = [(session, patterns) for session, patterns, _ in shown]
    compared = comparisons_of(features)
    unfit, measured = idle_vetoes(compared, found, settings, rules.decision.accepts_from, _named(features, rules))
    is_mistyped, by_sign = sign_mistyped(features, rules)
    unfit, measured = (*unfit, SIGN) if is_mistyped else unfit, measured | by_sign
    diagnostics |= {"mode": "trained", "replaced": replaced, "vetoes": measured}
    home = _home(features, shown, settings)
    return IdentityModel(
        settings=settings, term_frequency_hash=digest, diagnostics=diagnostics, idle_vetoes=unfit, household=home
    )


def _named(features: Features, rules: IdentityRules) -> tuple[float, float]:
    """Pairs of few records of one surname and one place with one given name, and with two: of the first kind of place
    that has enough of them, else of that which has more."""
    seen = [(0.0, 0.0)]
    for session in households.HOMES:
        if {*session, "given"} <= set(features.frame.columns):
            pairs, _ = session_pairs(features, session, rules.training.em_pairs, households.LARGEST_HOME)
            with engine(rules.engine.single) as con:
                seen.append(households.named(patterns(con, features, [GIVEN], pairs)))
    return next((pairs for pairs in seen if sum(pairs) >= households.TELLING), max(seen, key=sum))


def _why_stated(features: Features, was_tried: bool, rules: IdentityRules) -> str:
    if was_tried:
        return (
            f"{features.frame.height} records look clean: too few of them are one person's to learn from, so stated "
            "parameters are used"
        )
    least = rules.training.min_pairs_per_session
    return f"{features.frame.height} records, no training rule with {least} pairs"


def default_settings(features: Features, counts: dict[str, pl.DataFrame], rules: IdentityRules) -> dict[str, Any]:
    """Splink settings with default m, and u that is analytic for exact levels and stated for the others."""
    from splink import SettingsCreator, block_on

    comparisons = [_splink_comparison(c, counts, _speaking(features.frame, c)) for c in comparisons_of(features)]
    creator = SettingsCreator(
        link_type="dedupe_only",
        unique_id_column_name="rid",
        comparisons=comparisons,
        blocking_rules_to_generate_predictions=[block_on(key) for key in features.keys],
        probability_two_random_records_match=_prior(features, rules.training.prior_recall, rules.engine.threads),
        retain_matching_columns=True,  # without it Splink leaves out the levels, too
        retain_intermediate_calculation_columns=True,
    )
    return creator.create_settings_dict("duckdb")


def _speaking(frame: pl.DataFrame, comparison: Comparison) -> int:
    """Records of which the comparison says anything."""
    return frame.select(pl.any_horizontal(pl.col(comparison.columns).is_not_null()).sum()).item()


def _splink_comparison(comparison: Comparison, counts: dict[str, pl.DataFrame], records: int) -> dict[str, Any]:
    levels: list[dict[str, Any]] = [
        {"sql_condition": comparison.null_sql, "label_for_charts": "null", "is_null_level": True}
    ]
    for level in comparison.levels:
        entry = {"sql_condition": level.sql, "label_for_charts": level.label, "m_probability": level.m}
        entry["u_probability"] = level.u
        if level.exact_on:
            entry["u_probability"] = _chance_of_equality(counts[level.exact_on], records, level.u)
            entry["fix_u_probability"] = True
        if level.by_frequency or level.share_of:
            entry["tf_adjustment_column"] = level.share_of or level.exact_on
            entry["disable_tf_exact_match_detection"] = True
        if level.share_of:
            entry["tf_minimum_u_value"] = entry["u_probability"]
        levels.append(entry)
    return {"output_column_name": comparison.name, "comparison_levels": levels}


def _chance_of_equality(counts: pl.DataFrame, records: int, default: float) -> float:
    """Chance that two random records of `records`, of which the comparison says anything, hold the same value. Few
    records say little about rare values, so the default counts as much as a hundred records' pairs."""
    same = int((counts["count"].cast(pl.Int64) * (counts["count"].cast(pl.Int64) - 1)).sum())
    weight = 100.0 * 99.0
    return rounded((same + weight * default) / (records * (records - 1) + weight))


def _prior(features: Features, recall: float, threads: int) -> float:
    """Probability that two random records match: pairs that agree on strong evidence, over all pairs."""
    frame = features.frame
    stated = features.kind.prior_rules if features.kind else _PRIOR_RULES
    rules: list[tuple[str, ...]] = [rule for rule in stated if set(rule) <= set(frame.columns)]
    rules += [(name,) for name in features.identifiers]
    # Nothing but a contact: who has the same one is the same.
    if features.kind is None and frame["given"].null_count() == frame.height:
        rules += [("email",), ("phone",)]
    found = pl.concat(at_once(lambda rule: _pair_ids(frame, rule), rules, threads)).unique().height
    possible = frame.height * (frame.height - 1) / 2
    return rounded(min(0.2, max(found, 1) / recall / max(possible, 10.0)))


def _pair_ids(frame: pl.DataFrame, columns: tuple[str, ...]) -> pl.DataFrame:
    """(rid, rid_right) of the pairs that agree on `columns`, values shared by too many left out."""
    rows = coded(frame, columns)
    values, sizes = shared_by(rows["code"])
    few = pl.Series(values[(sizes >= 2) & (sizes <= 50)], dtype=pl.UInt64)
    rows = rows.filter(pl.col("code").is_in(few.implode()))
    pairs = rows.join(rows, on="code", suffix="_right").select("rid", "rid_right")
    return pairs.filter(pl.col("rid") < pl.col("rid_right"))


def _sessions(features: Features) -> list[Session]:
    """Sessions of which the records have every column, those of a person's own number first. One that leaves a single
    comparison is none: alone it cannot tell matches from strangers."""
    known = [*((name,) for name in features.identifiers), *(features.kind.sessions if features.kind else _SESSIONS)]
    filled = {name for name in features.frame.columns if features.frame[name].null_count() < features.frame.height}
    return [session for session in known if set(session) <= filled and len(_trainable(features, session)) > 1]


def _shown(features: Features, session: Session | None, rules: IdentityRules) -> tuple[Patterns, float] | None:
    """Patterns of the pairs of a session, and the share of the records that they were drawn from; None where its pairs
    are too few, for homes as well. Without a session, of random pairs."""
    training = rules.training
    if session is None:
        pairs, kept = random_pairs(features.frame.height, training.u_pairs, training.seed), 1.0
    else:
        pairs, kept = session_pairs(features, session, training.em_pairs)
        least = ENOUGH if session in HOMES else training.min_pairs_per_session
        if pairs.height < min(least, training.min_pairs_per_session):
            return None
    with engine(rules.engine.single) as con:
        return patterns(con, features, comparisons_of(features), pairs), kept


def _trainable(features: Features, session: Session) -> list[int]:
    """Places of the comparisons that a session may train."""
    return [at for at, c in enumerate(comparisons_of(features)) if not _about(c) & set(session)]


def _trained(
    features: Features, shown: _Shown, start: dict[str, Any], others: list[list[np.ndarray]], most: float
) -> Seen:
    """m by what one session shows. `others`: shares of levels among strangers, and among people of one home. `most`:
    the largest share of one person's given names that may differ outright where relatives were taken for persons."""
    session, found, kept = shown
    places = _trainable(features, session)
    stated = [_parameters(start["comparisons"][at], "m_probability") for at in places]
    compared = [comparisons_of(features)[at] for at in places]
    bounds = [comparison.most_apart for comparison in compared]
    of_others = [[u[at] for at in places] for u in others]
    m, share = maximise(of(found, places), stated, of_others, bounds)
    if GIVEN in compared and m[compared.index(GIVEN)][-1] >= GIVEN.most_apart - 1e-9:
        bounds[compared.index(GIVEN)] = most
        m, share = maximise(of(found, places), stated, of_others, bounds)
    names = (comparison.name for comparison in comparisons_of(features))
    trained = {name: m[places.index(at)] for at, name in enumerate(names) if at in places}
    at_bound = sum(bool(own[-1] >= bound - 1e-9) for own, bound in zip(m, bounds, strict=True)) / len(places)
    return Seen(session, found, trained, share * float(found.counts.sum()), kept, at_bound)


def _about(comparison: Comparison) -> set[str]:
    return set(comparison.columns) | {level.exact_on for level in comparison.levels if level.exact_on}


def _estimate(
    features: Features, start: dict[str, Any], sessions: list[Session], rules: IdentityRules
) -> tuple[dict[str, Any], list[Seen], list[Seen], list[_Shown]]:
    """`start` with the parameters of the levels that were observed, the others without; what was learnt from the
    sessions with pairs enough for it; those of them that were believed; what all of them showed.

    Twice: what is learnt first tells the matches among the random pairs, without which u is measured anew."""
    drawn, *shown = at_once(lambda session: _shown(features, session, rules), [None, *sessions], rules.engine.threads)
    assert drawn is not None
    pairs = zip(sessions, shown, strict=True)
    drawn_by = [(session, *found) for session, found in pairs if found]
    first = _fitted(features, start, drawn[0], drawn_by, rules)
    strangers = _strangers(drawn[0], start, first[0])
    return (*_fitted(features, start, strangers, drawn_by, rules), drawn_by)


def _strangers(drawn: Patterns, start: dict[str, Any], fitted: dict[str, Any]) -> Patterns:
    """Random pairs without the matches among them, by what was learnt with them; what was not, as stated."""
    entries = [
        {"comparison_levels": [one | two for one, two in zip(*(e["comparison_levels"] for e in both), strict=True)]}
        for both in zip(start["comparisons"], fitted["comparisons"], strict=True)
    ]
    m, u = ([_parameters(entry, name) for entry in entries] for name in ("m_probability", "u_probability"))
    return among_strangers(drawn, m, u, fitted["probability_two_random_records_match"])


def _fitted(
    features: Features, start: dict[str, Any], drawn: Patterns, drawn_by: list[_Shown], rules: IdentityRules
) -> tuple[dict[str, Any], list[Seen], list[Seen]]:
    """As `_estimate`, with u by the random pairs `drawn`."""
    comparisons = comparisons_of(features)
    by_level = shares(drawn, comparisons)
    u = [observed_u(_parameters(c, "u_probability"), n) for c, n in zip(start["comparisons"], by_level, strict=True)]
    home = _home(features, drawn_by, start, u)
    others = [u, _shares_at_home(comparisons, home, start, u)] if home else [u]
    enough = rules.training.min_pairs_per_session
    stated = [float(_parameters(entry, "m_probability")[-1]) for entry in start["comparisons"]]
    most = most_apart(drawn_by, comparisons, stated[comparisons.index(GIVEN)]) if home else GIVEN.most_apart
    seen = [_trained(features, one, start, others, most) for one in drawn_by if one[1].counts.sum() >= enough]
    heard = witnesses(features.frame, comparisons, start, seen)
    settings = [
        _observed(
            entry,
            at,
            by_level[at],
            u[at],
            from_persons([one for one in heard if entry["output_column_name"] in one.trained]),
        )
        for at, entry in enumerate(start["comparisons"])
    ]
    settings_with_prior = start | {"comparisons": settings}
    if matching := recaptured(features.frame, comparisons, settings_with_prior, heard):
        possible = features.frame.height * (features.frame.height - 1) / 2
        settings_with_prior["probability_two_random_records_match"] = rounded(min(0.2, matching / possible))
    return settings_with_prior, seen, heard


def _home(
    features: Features,
    sessions: Sequence[_Shown],
    settings: dict[str, Any],
    u: Sequence[np.ndarray] | None = None,
) -> Relatives | None:
    """People of one home among the pairs of the sessions, by the m of the settings, and their u where none is given."""
    entries = settings["comparisons"]
    m = [_parameters(entry, "m_probability") for entry in entries]
    u = u or [_parameters(entry, "u_probability") for entry in entries]
    have = {" + ".join(s): pl.all_horizontal(pl.col(s).is_not_null()).sum() for s, _, _ in sessions}
    filled = features.frame.select(**have).row(0, named=True) if have else {}
    return relatives(comparisons_of(features), sessions, m, u, filled)


def _shares_at_home(
    comparisons: Sequence[Comparison], home: Relatives, settings: dict[str, Any], u: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Per comparison the shares of its levels among people of one home."""
    found = []
    for at, (comparison, entry) in enumerate(zip(comparisons, settings["comparisons"], strict=True)):
        bits, m = home.bits.get(comparison.name), _parameters(entry, "m_probability")
        of_given = given_at_home(m, u[at], home.namesakes)
        found.append(of_given if bits is None else m * np.exp2(np.array(bits)))
    return found


def _observed(entry: dict[str, Any], at: int, drawn: np.ndarray, u: np.ndarray, seen: list[Seen]) -> dict[str, Any]:
    """Comparison `at` of the settings with m averaged over the sessions, the weight of one the root of its matches;
    parameters of levels that no pair showed are left out."""
    name = entry["output_column_name"]
    stated = [level for level in entry["comparison_levels"] if not level.get("is_null_level")]
    m = np.full(len(stated), np.nan)
    if seen:
        weights = np.maximum(np.sqrt([one.matches for one in seen]), 1e-9)
        m = np.average([one.trained[name] for one in seen], axis=0, weights=weights)
        pairs = sum(np.bincount(one.found.levels[:, at] + 1, one.found.counts, len(stated) + 1)[1:] for one in seen)
        m = np.where(np.asarray(pairs) > 0, m, np.nan)
    seen_u = np.where(drawn >= 1, u, np.nan)
    levels = [level for level in entry["comparison_levels"] if level.get("is_null_level")]
    for level, one_m, one_u in zip(stated, m.tolist(), seen_u.tolist(), strict=True):
        new = {"m_probability": one_m, "u_probability": one_u}
        if level.get("fix_u_probability"):
            new["u_probability"] = level["u_probability"]
        kept = {key: value for key, value in level.items() if key not in new}
        levels.append(kept | {key: value for key, value in new.items() if value == value})
    return entry | {"comparison_levels": levels}


def _parameters(entry: dict[str, Any], name: str) -> np.ndarray:
    stated = (level for level in entry["comparison_levels"] if not level.get("is_null_level"))
    values = np.array([level[name] for level in stated], dtype=np.float64)
    return values / values.sum() if name == "m_probability" else values


def _digest(counts: dict[str, pl.DataFrame]) -> str:
    digest = hashlib.sha256()
    for name, count in counts.items():
        digest.update(name.encode())
        digest.update(count["value"].to_numpy().tobytes())
        digest.update(count["count"].cast(pl.Int64).to_numpy().tobytes())
    return digest.hexdigest()
