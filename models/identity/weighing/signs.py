"""Whether the people of one home share a sign of their given names, as brothers and sisters of a generation do.

Their names look like one of which a sign was mistyped, and are as rare. Which of the two the records hold is told by
pairs of one home of whom both birth dates are known.
"""

from __future__ import annotations

from dataclasses import replace

import polars as pl
from scipy.special import betaincinv

from customer360.models.identity.evidence.features import Features
from customer360.models.identity.rules import IdentityRules
from customer360.models.identity.weighing.comparisons import borne, misspelled, one_of_two_signs, within
from customer360.models.identity.weighing.engine import engine, register
from customer360.models.identity.weighing.estimate import session_pairs
from customer360.models.identity.weighing.households import HOMES

SIGN = "given names of two signs differ in one"
MEASURED = "one sign of two mistyped"
# The rule is idle where at least so large a share of such pairs are one person, as far as four in five files with them
# would have it; before any pair is seen none and all are the likeliest.
_ONE_PERSON, _HALF, _SURE = 0.5, 0.5, 0.2
_TELLING = 5  # pairs; five that are brothers as often as not are all one person in three of a hundred files
_LARGEST_HOME = 12  # records
_READ = ("given", "given_signs", borne("given"), "dob")


def sign_mistyped(features: Features, rules: IdentityRules) -> tuple[bool, dict[str, float]]:
    """Whether names of two signs that differ in one are rather one person's, and what was measured: the share of one
    person among pairs of one home of which one name is hardly borne. False, and nothing, where hardly any are known."""
    # Of the kind of place that shows more of them: where streets are missing, postal codes do, and strangers of one
    # surname there have two birth dates, so that they speak for two people.
    one, two = max(_pairs(features, rules), key=sum, default=(0, 0))
    if one + two < _TELLING:
        return False, {}
    least = float(betaincinv(one + _HALF, two + _HALF, _SURE))
    return least >= _ONE_PERSON, {MEASURED: round(one / (one + two), 4)}


def _pairs(features: Features, rules: IdentityRules) -> list[tuple[int, int]]:
    """By kind of place: such pairs with one birth date, and with two."""
    if not {*_READ} <= set(features.frame.columns):
        return []
    written = pl.col("given_signs").str.len_bytes() == 2
    known = replace(features, frame=features.frame.filter(written & pl.col("dob").is_not_null()))
    places = [session for session in HOMES if {*session} <= set(known.frame.columns)]
    at_home = (session_pairs(known, place, rules.training.em_pairs, _LARGEST_HOME)[0] for place in places)
    return [_counted(known, pairs, rules) for pairs in at_home]


def _counted(known: Features, pairs: pl.DataFrame, rules: IdentityRules) -> tuple[int, int]:
    people = known.frame.select("rid", person=pl.struct(*_READ))
    rows = pairs.join(people.rename({"rid": "rid_l", "person": "l"}), on="rid_l").join(
        people.rename({"rid": "rid_r", "person": "r"}), on="rid_r"
    )
    if rows.is_empty():
        return 0, 0
    same = f"l.dob = r.dob or {within('l.dob', 'r.dob', 1)}"
    with engine(rules.engine.single) as con:
        register(con, "pairs", rows.select("l", "r"))
        ((one, every),) = con.sql(
            f"""select count(*) filter (where {same}), count(*) from pairs
                where {one_of_two_signs("{1}.{0}")} and {misspelled("given", "{1}.{0}")}"""
        ).fetchall()
    return one, every - one
