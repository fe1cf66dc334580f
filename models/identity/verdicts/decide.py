"""What becomes of a scored pair: accepted, rejected, or vetoed by a rule that no score overrides.

A household shares surname, address, landline and often an email: one family signal that the model counts four times.
The rules here therefore name pairs that cannot be one person however much their household agrees. Each has a reason,
which is stored with the pair.
"""

from collections.abc import Collection

import polars as pl

from customer360.models.identity.evidence.features import Features
from customer360.models.identity.rules import Decision, IdentityRules, Stitching
from customer360.models.identity.stitching import but, different, is_dropped
from customer360.models.identity.weighing.comparisons import (
    alike,
    borne,
    just_below,
    misspelled,
    one_of_two_signs,
    within,
)
from customer360.models.identity.weighing.engine import engine, register
from customer360.models.identity.weighing.households import (
    COLLEAGUES,
    GENDERS,
    GENERATION,
    HOUSEHOLD,
    SUFFIX,
    TWINS,
    TWINS_AT_HOME,
    UNNAMED,
)
from customer360.models.identity.weighing.signs import SIGN

ACCEPTED, REJECTED, VETOED = "accepted", "rejected", "vetoed"
_AT_ONCE = 500_000  # pairs whose two records are fetched
_COLUMNS = (
    "given", "given_apart", "tones", "listed_as", "masculine", "family", "roots", "dob", "email", "is_desk", "phone",
    "gender", "suffix", "given_signs", "is_han", "word_roots",
)  # fmt: skip


def cannot_link(
    pairs: pl.DataFrame, features: Features, rules: IdentityRules, idle: Collection[str] = ()
) -> pl.DataFrame:
    """(rid_l, rid_r, reason, is_proof, is_named): those of `pairs` (rid_l, rid_r) that cannot be one person, in the
    order given.

    A shared identifier (`blocking.identifiers`, one typing error allowed) clears a pair of every reason. `is_proof`
    tells reasons that rest on a second birth date, gender, suffix, email or phone from those that rest on names alone,
    which do not outweigh a number; `is_named` those where the names are clearly two, which part records that third
    ones connect. Other reasons void the pair's own score alone. `idle`: reasons that do not fit
    the records (`IdentityModel.idle_vetoes`).
    """
    if pairs.is_empty():
        kinds = {
            "rid_l": pl.Int64,
            "rid_r": pl.Int64,
            "reason": pl.String,
            "is_proof": pl.Boolean,
            "is_named": pl.Boolean,
        }
        return pl.DataFrame(schema=kinds)
    return pl.concat([_cannot_link(some, features, rules, idle) for some in pairs.iter_slices(_AT_ONCE)])


def _cannot_link(pairs: pl.DataFrame, features: Features, rules: IdentityRules, idle: Collection[str]) -> pl.DataFrame:
    known = borne("given")
    share = known if known in features.frame.columns else pl.lit(None, pl.Float64).alias(known)
    people = features.frame.select(pl.struct(*_COLUMNS, *features.identifiers, share)).to_series()
    places = features.frame.select("rid").with_row_index("at")
    # Both records beside the pair: a join would pass over everybody.
    beside = {
        side: people.gather(
            pairs.select(rid=f"rid_{side}").join(places, on="rid", how="left", maintain_order="left")["at"]
        )
        for side in "lr"
    }
    rows = pairs.select("rid_l", "rid_r", **beside).with_row_index("place")
    with engine(rules.engine) as con:
        register(con, "pairs", rows)
        found = con.sql(veto_query(rules.decision, features.identifiers, idle)).to_arrow_table()
    return pl.DataFrame(pl.from_arrow(found)).with_columns(pl.col("rid_l", "rid_r").cast(pl.Int64))


def veto_query(rules: Decision, identifiers: tuple[str, ...], idle: Collection[str]) -> str:
    """Facts of each pair, all of them true or false and never null, then the first reason that holds."""
    same_number = " or ".join(within(f"l.{name}", f"r.{name}", 1) for name in identifiers) or "false"
    any_alike = f"""list_max(flatten([[jaro_winkler_similarity(a, b) for a in l.roots if length(a) > 3]
        for b in r.roots if length(b) > 3])) >= {just_below(rules.name_similarity)}"""
    initial = """((length(l.given) = 1 and list_contains([a[1] for a in r.roots], l.given))
        or (length(r.given) = 1 and list_contains([a[1] for a in l.roots], r.given)))"""
    swapped = f"""((l.given = r.family and {_resemble("l.family", "r.given", rules)})
        or (l.family = r.given and {_resemble("l.given", "r.family", rules)}))"""
    related = "list_has_any(l.roots, r.roots)"
    # All names of the one are among those of the other: Carlos is Juan Carlos, and may be Juan Miguel as little as he.
    among = """case when contains(l.given, ' ') or contains(r.given, ' ')
        then list_has_all(string_split(l.given, ' '), string_split(r.given, ' '))
            or list_has_all(string_split(r.given, ' '), string_split(l.given, ' ')) else l.given = r.given end"""
    # Two names, however alike: stated to be, one the other's with a woman's ending, or both listed and neither mistyped
    # nor one name in two ways of writing.
    paired = "(list_contains(l.masculine, r.given) or list_contains(r.masculine, l.given))"
    # Letters make 伟 and 美 alike, as wei and mei.
    by_one_sign = "coalesce(length(l.given_signs) = 1 and length(r.given_signs) = 1, false)"
    two_names = f"""(coalesce(l.given_apart <> r.given_apart, false) or coalesce({paired}, false) or {by_one_sign}
        or {_by_second_name(rules)}
        or case when l.listed_as = r.listed_as then not {within("l.given", "r.given", 1)}
            else l.listed_as is not null and r.listed_as is not null end)"""
    mistyped = misspelled("given", "{1}.{0}")
    # The first sign of 建国 and 建军 is that of a generation. Signs that are made of letters may be mistyped by one, as
    # 준 and 중 are.
    apart_by_sign = f"""({one_of_two_signs("{1}.{0}")} and not {mistyped if SIGN in idle else "false"}
            and not coalesce({within("l.given", "r.given", 1)} and not (l.is_han and r.is_han), false))"""
    # What is equal needs no distance; CASE asks no further.
    one_name = f"""case when l.given = r.given then coalesce(l.tones = r.tones, true)
        when {related} or {among} or {swapped} then true when {two_names} or {apart_by_sign} then false
        else ({_resemble("l.given", "r.given", rules)} or {initial} or {any_alike}
            or {mistyped}) end"""
    same_family = f"""case when l.family = r.family then true else {_resemble("l.family", "r.family", rules)} end"""
    one_family = f"""case when {same_family} then true
        else (list_has_any(string_split(l.family, ' '), string_split(r.family, ' ')) or {swapped}) end"""
    years = "abs(try_cast(l.dob[1:4] as integer) - try_cast(r.dob[1:4] as integer))"
    twins = "other_name and same_dob and same_family"
    unlike = f"similarity < {just_below(rules.twin_similarity)}"
    conditions = {
        SUFFIX: "other_suffix",
        GENDERS: "other_gender and (other_name or not same_dob)",
        HOUSEHOLD: "other_name and not same_dob",
        TWINS: f"{twins} and {unlike} and (other_email or other_phone) and not (same_email or same_phone)",
        TWINS_AT_HOME: f"{twins} and ({unlike} or two_names or far_apart)",
        COLLEAGUES: "at_desk and other_family and not same_dob",
        UNNAMED: "unnamed and not (same_dob or same_email or same_phone)",
        GENERATION: "other_years and not same_dob and (other_dob or not (same_email and same_phone))",
    }
    held = {reason: sql for reason, sql in conditions.items() if reason not in idle}
    # Where nobody shares a home a missing name hides nobody, unless what else is known is two people's, too.
    if UNNAMED in idle and HOUSEHOLD not in idle:
        genders = "false" if GENDERS in idle else "two_genders"
        held[UNNAMED] = f"{conditions[UNNAMED]} and ({genders} or other_email and other_phone)"
    branches = " ".join(f"when {sql} then '{reason}'" for reason, sql in held.items())
    return f"""
        with facts as (
            select place, rid_l, rid_r, jaro_winkler_similarity(l.given, r.given) as similarity,
                coalesce({same_number}, false) as same_number,
                coalesce(l.suffix <> r.suffix, false) as other_suffix,
                coalesce(not ({one_name}), l.given is not null and r.given is not null and l.given <> r.given)
                    as other_name,
                coalesce(l.given <> r.given and {two_names}, false) as two_names,
                coalesce(l.gender <> r.gender and l.given <> r.given and not {swapped}, false) as other_gender,
                coalesce(l.gender <> r.gender, false) as two_genders,
                coalesce(not ({one_family}), false) as other_family,
                coalesce(l.is_desk, false) or coalesce(r.is_desk, false) as at_desk,
                coalesce({same_family}, false) as same_family,
                l.given is null or r.given is null as unnamed,
                coalesce(not {within("l.given", "r.given", 2)}, false) as far_apart,
                l.dob is null or r.dob is null as dob_unknown,
                coalesce(case when l.dob = r.dob then true else {within("l.dob", "r.dob", 1)} end, false)
                    as same_dob,
                coalesce({years} > {rules.birth_years_apart}, false) as other_years,
                coalesce(length(l.dob) = 10 and length(r.dob) = 10 and not {within("l.dob", "r.dob", 2)}, false)
                    as other_dob,
                coalesce(l.email = r.email, false) as same_email, coalesce(l.phone = r.phone, false) as same_phone,
                coalesce(l.email <> r.email, false) as other_email, coalesce(l.phone <> r.phone, false) as other_phone
            from pairs
        ), judged as (
            select place, rid_l, rid_r,
                not unnamed and (other_name and not dob_unknown or other_email or other_phone) or other_suffix
                    or other_gender or other_years and other_dob as is_proof,
                other_name and (two_names or similarity < {just_below(rules.twin_similarity)}) as is_named,
                case when same_number then null {branches} end as reason
            from facts
        )
        select rid_l, rid_r, reason, is_proof, is_named from judged where reason is not null order by place"""


def _by_second_name(rules: Decision) -> str:
    """SQL: two names of several words share some, and what they do not share is unlike: Maria Luisa and Maria Rosa are
    sisters, however alike their names are as a whole. Short words (Soo and Su, Fco), nicknames (Elizabeth and Beth) and
    letters left out (Fernando and Frnd) may be one name."""
    left, right = "string_split(l.given, ' ')", "string_split(r.given, ' ')"
    is_short = "length(a) < 4 or length(b) < 4 or a[1] = b[1] and levenshtein(a, b) = abs(length(a) - length(b))"
    others = f"""list_max(flatten([[case when {is_short} then 1.0 else jaro_winkler_similarity(a, b) end
        for a in {left} if not list_contains({right}, a)] for b in {right} if not list_contains({left}, b)]))"""
    roots = [
        f"""[string_split(pair, '|')[2] for pair in {side}.word_roots
            if not list_contains({other}, string_split(pair, '|')[1])]"""
        for side, other in (("l", right), ("r", left))
    ]
    return f"""case when contains(l.given, ' ') and contains(r.given, ' ') and l.given_signs is null
            and r.given_signs is null and list_has_any({left}, {right}) and not list_has_any({roots[0]}, {roots[1]})
        then coalesce({others} < {just_below(rules.twin_similarity)}, false) else false end"""


def _resemble(left: str, right: str, rules: Decision) -> str:
    return f"""({left} = {right} or {within(left, right, 1)}
        or {alike(left, right, rules.name_similarity)})"""


def decide(pairs: pl.DataFrame, features: Features, rules: IdentityRules, idle: Collection[str] = ()) -> pl.DataFrame:
    """`pairs` (rid_l, rid_r, match_weight, …) with `decision` and the `reason` of a veto."""
    above = pairs.filter(pl.col("match_weight") >= rules.decision.accepts_from)
    vetoes = pl.concat(
        [different(above, features.frame), cannot_link(above, features, rules, idle).drop("is_proof", "is_named")]
    )
    vetoes = vetoes.unique(["rid_l", "rid_r"], keep="first", maintain_order=True)
    return pairs.join(vetoes, on=["rid_l", "rid_r"], how="left", maintain_order="left").with_columns(
        decision=pl.when(pl.col("match_weight") < rules.decision.accepts_from)
        .then(pl.lit(REJECTED))
        .when(pl.col("reason").is_not_null())
        .then(pl.lit(VETOED))
        .otherwise(pl.lit(ACCEPTED)),
    )


def judge_links(links: pl.DataFrame, features: Features, rules: IdentityRules, idle: Collection[str]) -> pl.DataFrame:
    """`links` (rid_l, rid_r, reason) of the deterministic tier with `decision`: a link falls where there is proof that
    two people use one number, and its reason says which."""
    proven = cannot_link(links, features, rules, idle).filter("is_proof")
    against = proven.select("rid_l", "rid_r", against="reason")
    found = links.join(against, on=["rid_l", "rid_r"], how="left", maintain_order="left")
    held = pl.col("against").is_null()
    return found.select(
        "rid_l",
        "rid_r",
        decision=pl.when(held).then(pl.lit(ACCEPTED)).otherwise(pl.lit(VETOED)),
        reason=pl.when(held).then("reason").otherwise(but(pl.col("reason"), pl.col("against"))),
    )


def contradictions(
    within: pl.DataFrame,
    cleared: pl.DataFrame,
    groups: pl.Series,
    features: Features,
    rules: IdentityRules,
    idle: Collection[str],
    told: pl.Series,
) -> pl.DataFrame:
    """(rid_l, rid_r): the pairs of `within` that part the persons which hold both.

    `cleared`: pairs that are one person whatever the rules say. `groups`: per record its group in the deterministic
    tier; within one, different numbers of one column are numbers of one person. `told`: records of which a login or a
    steward says whose they are, whatever name they bear.
    """
    doubted = within.join(cleared, on=["rid_l", "rid_r"], how="anti")
    by_name = pl.col("is_named") & ~pl.any_horizontal(pl.col("rid_l", "rid_r").is_in(told.implode()))
    found = cannot_link(doubted, features, rules, idle).filter(pl.col("is_proof") | by_name)
    proven = found.select("rid_l", "rid_r")
    differ = different(doubted, features.frame).select("rid_l", "rid_r")
    apart = groups.gather(differ["rid_l"]) != groups.gather(differ["rid_r"])
    return pl.concat([proven, differ.filter(apart)]).unique().sort("rid_l", "rid_r")


def overruled(edges: pl.DataFrame, verdicts: pl.DataFrame, on: list[str]) -> pl.DataFrame:
    """Edges with the decision and reason that `verdicts` (`on`, decision, reason) has for their pair; pairs that only
    `verdicts` has come without a score."""
    if verdicts.is_empty():
        return edges
    said = verdicts.select(*on, said="decision", why="reason")
    known = edges.join(said, on=on, how="left", maintain_order="left")
    beyond = said.join(edges, on=on, how="anti")
    return (
        pl.concat([known, beyond], how="diagonal_relaxed")
        .with_columns(decision=pl.coalesce("said", "decision"), reason=pl.coalesce("why", "reason"))
        .drop("said", "why")
    )


def with_dropped(
    edges: pl.DataFrame, dropped: pl.DataFrame, on: list[str], rules: Stitching, near: pl.Series
) -> pl.DataFrame:
    """Edges among the records `near` with the reasons of dropped links (`on`, reason) where nothing else is said of the
    pair, and of no others."""
    if not rules.identifiers:
        return edges
    among = pl.all_horizontal(pl.col(on).is_in(near.implode()))
    stale = among & is_dropped(pl.col("reason"), rules)
    if dropped.is_empty() and not edges.select(stale.any()).item():
        return edges
    clean = edges.filter(~(stale & pl.col("match_weight").is_null()))
    clean = clean.with_columns(reason=pl.when(~stale).then("reason"))
    is_open = pl.col("reason").is_null() & (pl.col("decision") == REJECTED)
    settled = clean.filter(among & ~is_open).select(on)
    fallen = dropped.join(settled, on=on, how="anti").with_columns(decision=pl.lit(REJECTED))
    return overruled(clean, fallen, on)
