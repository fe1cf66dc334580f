"""What becomes of a scored pair: accepted, rejected, or vetoed by a rule that no score overrides.

A household shares surname, address, landline and often an email: one family signal that the model counts four times.
The rules here therefore name pairs that cannot be one person however much their household agrees. Each has a reason,
which is stored with the pair.
"""

from collections.abc import Collection

import polars as pl

from customer360.models.identity.comparisons import alike, just_below
from customer360.models.identity.engine import engine
from customer360.models.identity.features import Features
from customer360.models.identity.households import GENERATION, HOUSEHOLD, SUFFIX, TWINS, UNNAMED
from customer360.models.identity.rules import Decision, IdentityRules

ACCEPTED, REJECTED, VETOED = "accepted", "rejected", "vetoed"
_COLUMNS = ("rid", "given", "family", "roots", "dob", "email", "phone", "suffix")


def cannot_link(
    pairs: pl.DataFrame, features: Features, rules: IdentityRules, idle: Collection[str] = ()
) -> pl.DataFrame:
    """(rid_l, rid_r, reason, is_proof): those of `pairs` (rid_l, rid_r) that cannot be one person, in the order given.

    A shared identifier (`blocking.identifiers`, one typing error allowed) clears a pair of every reason. `is_proof`
    tells reasons that rest on a second birth date, suffix, email or phone from those that rest on names alone: the
    latter void the pair's own score, but do not part records that third ones connect. `idle`: reasons that do not fit
    the records (`IdentityModel.idle_vetoes`).
    """
    if pairs.is_empty():
        return pl.DataFrame(schema={"rid_l": pl.Int64, "rid_r": pl.Int64, "reason": pl.String, "is_proof": pl.Boolean})
    people = features.frame.select(*_COLUMNS, *features.identifiers)
    with engine(rules.engine) as con:
        con.register("people", people.to_arrow())
        con.register("pairs", pairs.select("rid_l", "rid_r").with_row_index("place").to_arrow())
        told = con.sql(veto_query(rules.decision, features.identifiers, idle)).to_arrow_table()
    return pl.DataFrame(pl.from_arrow(told)).with_columns(pl.col("rid_l", "rid_r").cast(pl.Int64))


def veto_query(rules: Decision, identifiers: tuple[str, ...], idle: Collection[str]) -> str:
    """Facts of each pair, all of them true or false and never null, then the first reason that holds."""
    same_number = " or ".join(f"damerau_levenshtein(l.{name}, r.{name}) <= 1" for name in identifiers) or "false"
    any_alike = f"""list_max(flatten([[jaro_winkler_similarity(a, b) for a in l.roots if length(a) > 3]
        for b in r.roots if length(b) > 3])) >= {just_below(rules.name_similarity)}"""
    initial = """((length(l.given) = 1 and list_contains([a[1] for a in r.roots], l.given))
        or (length(r.given) = 1 and list_contains([a[1] for a in l.roots], r.given)))"""
    swapped = f"""((l.given = r.family and {_resemble("l.family", "r.given", rules)})
        or (l.family = r.given and {_resemble("l.given", "r.family", rules)}))"""
    # What is equal needs no distance; CASE asks no further.
    one_name = f"""case when l.given = r.given then true else ({_resemble("l.given", "r.given", rules)} or list_has_any(l.roots, r.roots) or {initial}
        or {swapped} or {any_alike}) end"""
    years = "abs(try_cast(l.dob[1:4] as integer) - try_cast(r.dob[1:4] as integer))"
    conditions = {
        SUFFIX: "other_suffix",
        HOUSEHOLD: "other_name and not same_dob",
        TWINS: f"""other_name and same_dob and same_family and similarity < {just_below(rules.twin_similarity)}
            and (other_email or other_phone) and not (same_email or same_phone)""",
        UNNAMED: "unnamed and not (same_dob or same_email or same_phone)",
        GENERATION: "other_years and not same_dob and not (same_email and same_phone)",
    }
    branches = " ".join(f"when {sql} then '{reason}'" for reason, sql in conditions.items() if reason not in idle)
    return f"""
        with facts as (
            select p.place, p.rid_l, p.rid_r, jaro_winkler_similarity(l.given, r.given) as similarity,
                coalesce({same_number}, false) as same_number,
                coalesce(l.suffix <> r.suffix, false) as other_suffix,
                coalesce(not ({one_name}), l.given is not null and r.given is not null and l.given <> r.given)
                    as other_name,
                coalesce(case when l.family = r.family then true else {_resemble("l.family", "r.family", rules)} end, false)
                    as same_family,
                l.given is null or r.given is null as unnamed,
                l.dob is null or r.dob is null as dob_unknown,
                coalesce(case when l.dob = r.dob then true else damerau_levenshtein(l.dob, r.dob) <= 1 end, false)
                    as same_dob,
                coalesce({years} > {rules.birth_years_apart}, false) as other_years,
                coalesce(l.email = r.email, false) as same_email, coalesce(l.phone = r.phone, false) as same_phone,
                coalesce(l.email <> r.email, false) as other_email, coalesce(l.phone <> r.phone, false) as other_phone
            from pairs p join people l on l.rid = p.rid_l join people r on r.rid = p.rid_r
        ), judged as (
            select place, rid_l, rid_r,
                not unnamed and (other_name and not dob_unknown or other_email or other_phone) or other_suffix
                    as is_proof,
                case when same_number then null {branches} end as reason
            from facts
        )
        select rid_l, rid_r, reason, is_proof from judged where reason is not null order by place"""


def _resemble(left: str, right: str, rules: Decision) -> str:
    return f"""({left} = {right} or damerau_levenshtein({left}, {right}) <= 1
        or {alike(left, right, rules.name_similarity)})"""


def decide(pairs: pl.DataFrame, features: Features, rules: IdentityRules, idle: Collection[str] = ()) -> pl.DataFrame:
    """`pairs` (rid_l, rid_r, match_weight, …) with `decision` and the `reason` of a veto."""
    above = pairs.filter(pl.col("match_weight") >= rules.decision.accept_weight)
    vetoes = cannot_link(above, features, rules, idle).drop("is_proof")
    return pairs.join(vetoes, on=["rid_l", "rid_r"], how="left", maintain_order="left").with_columns(
        decision=pl.when(pl.col("match_weight") < rules.decision.accept_weight)
        .then(pl.lit(REJECTED))
        .when(pl.col("reason").is_not_null())
        .then(pl.lit(VETOED))
        .otherwise(pl.lit(ACCEPTED)),
    )
