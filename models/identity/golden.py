"""Golden records: per person the value that survives of each attribute, and where it came from.

Grain: one row per person_id. Everything is computed within a person, so the function splits by person_id.
"""

import json

import numpy as np
import polars as pl

from customer360.models.identity.rules import (
    COMPLETE,
    FREQUENT,
    RECENT,
    TRUSTED,
    VERIFIED,
    IdentityRules,
    Survivorship,
)

ATTRIBUTES = (
    "first_name", "last_name", "organisation_name", "email_address", "phone_number", "date_of_birth", "gender",
    "customer_segment", "loyalty_tier", "loyalty_points", "registered_on", "preferred_channel", "preferred_store_id",
    "is_contactable",
)  # fmt: skip
ADDRESS = ("address_line_1", "city", "state_code", "zip_code", "country_code")
# Attributes whose raw value counts only where its standardized form is usable.
_USABLE_BY = {
    "first_name": "given_name_std", "last_name": "family_name_std", "email_address": "email_std",
    "phone_number": "phone_std", "date_of_birth": "dob_std", "address_line_1": "street_std",
}  # fmt: skip
_TYPES: dict[str, pl.DataType | type[pl.DataType]] = {
    "date_of_birth": pl.Date, "registered_on": pl.Date, "loyalty_points": pl.Int64, "is_contactable": pl.Boolean,
}  # fmt: skip
_COLUMNS = (
    "person_id", "first_name", "last_name", "organisation_name", "email_address", "phone_number", "date_of_birth",
    "gender", *ADDRESS,
    "record_count", "source_systems", "provenance", "customer_segment", "loyalty_tier", "loyalty_points",
    "registered_on", "preferred_channel", "preferred_store_id", "is_contactable",
)  # fmt: skip

_STREET = "street"  # the first line of an address where it counts
_NOBODY = 2**32 - 1  # a number that no person has among members

FIRST, CAUTIOUS, BY_STEWARD = "earliest", "no unless all say yes", "steward"


def golden(
    records: pl.DataFrame,
    assignments: pl.DataFrame,
    rules: IdentityRules | None = None,
    overrides: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Golden record per person_id of `assignments` (record_id, person_id), sorted by it.

    Each attribute comes from the record that its policy (`survivorship.policies`, else the default one) puts first
    among those with a usable value; ties go to the most recently touched record (`last_updated_at`, else
    `last_login_on`, else `registered_on`), the more trusted source, the value most records agree on, the lowest
    record_id. The address is taken whole from one record, of those with a street where there is one, else of those
    that say more than a country. `registered_on` is the earliest; `is_contactable` holds only where no record denies
    it. `overrides` (person_id, attribute, value as JSON, decision) outrank every record. `provenance`: JSON object,
    attribute -> {"record_id", "rule"}; an attribute without value is absent. Columns that the records lack are null.
    """
    policy = (rules or IdentityRules()).survivorship
    members = _members(records, assignments, policy)
    return _people(members, _all_ranked(members, policy), policy, overrides)


def golden_and_losing(
    records: pl.DataFrame, assignments: pl.DataFrame, rules: IdentityRules, overrides: pl.DataFrame | None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Golden records, and the values that did not survive: person_id, attribute, value (text), record_id, rule that
    put another before it, rank.

    One row of the latter per record whose value differs from the surviving one; `rank` counts the person's records from
    the one that the policy puts first (1).
    """
    members = _members(records, assignments, rules.survivorship)
    ranked = _all_ranked(members, rules.survivorship)
    people = _people(members, ranked, rules.survivorship, overrides)
    return people, _losers(members, ranked, people, rules.survivorship)


def _people(
    members: pl.DataFrame, ranked: dict[str, pl.DataFrame], policy: Survivorship, overrides: pl.DataFrame | None
) -> pl.DataFrame:
    columns = [_systems(members)]
    for name, shared in ranked.items():
        alone = members.filter(pl.col("is_alone"), _has_value(members, name)).select("person", "place")
        best = pl.concat([alone, shared.filter(pl.col("rank") == 1).select("person", "place")]).sort("person")
        survivors = members[best["place"]].select(
            "person",
            *((pl.col(_STREET).alias(name), *ADDRESS[1:]) if name in ADDRESS else (name,)),
            pl.col("record_id").alias(f"from_{name}"),
            pl.lit(_rule_of(name, policy)).alias(f"by_{name}"),
        )
        columns.append(_spread(survivors, columns[0].height))
    result = pl.concat(columns, how="horizontal")
    result, overridden = _overridden(result, overrides)
    result = result.with_columns(_provenance(list(dict.fromkeys([*ranked, *overridden]))))
    return result.select(_COLUMNS)


def _spread(rows: pl.DataFrame, many: int) -> pl.DataFrame:
    """Rows by `person` at the place of that number among so many, null where there is none."""
    places = np.full(many, -1)
    places[rows["person"].to_numpy()] = np.arange(rows.height)
    found = pl.Series(places)
    return rows.drop("person").select(pl.all().gather(found.set(found < 0, None)))


def _systems(members: pl.DataFrame) -> pl.DataFrame:
    """(person_id, record_count, source_systems), one row a person in their order."""
    named = members.lazy().select("person", "source_system").drop_nulls().unique().sort("person", "source_system")
    listed = named.group_by("person", maintain_order=True).agg(source_systems="source_system")
    counts = members.lazy().group_by("person", "person_id", maintain_order=True).agg(record_count=pl.len())
    return (
        counts.join(listed, on="person", how="left", maintain_order="left")
        .select("person_id", pl.col("record_count").cast(pl.Int64), pl.col("source_systems").fill_null([]))
        .collect()
    )


def _losers(
    members: pl.DataFrame, ranked: dict[str, pl.DataFrame], people: pl.DataFrame, policy: Survivorship
) -> pl.DataFrame:
    found = []
    for name, rows in ranked.items():
        # Rows of `people` are in the order of the persons' numbers.
        against = rows.select(
            "rank", held=members[name].gather(rows["place"]), kept=people[name].gather(rows["person"])
        )
        is_lost = against.select(pl.col("held").is_not_null() & pl.col("held").ne_missing(pl.col("kept"))).to_series()
        places = rows.filter(is_lost)["place"]
        found.append(
            against.filter(is_lost).select(
                person_id=members["person_id"].gather(places),
                attribute=pl.lit(name),
                value=pl.col("held").cast(pl.String),
                record_id=members["record_id"].gather(places),
                rule=pl.lit(_rule_of(name, policy)),
                rank="rank",
            )
        )
    return pl.concat(found).sort("person_id", "attribute", "rank")


def _members(records: pl.DataFrame, assignments: pl.DataFrame, policy: Survivorship) -> pl.DataFrame:
    wanted = ("source_system", *ATTRIBUTES, *ADDRESS)
    absent = [pl.lit(None, _TYPES.get(name, pl.String)).alias(name) for name in wanted if name not in records.columns]
    frame = records.with_columns(absent)
    touched = [
        pl.col(name).cast(pl.Datetime("us"), strict=False)
        if frame.schema[name] == pl.Date
        else pl.col(name).dt.cast_time_unit("us").dt.replace_time_zone(None)
        for name in ("last_updated_at", "last_login_on", "registered_on")
        if name in frame.columns and frame.schema[name].is_temporal()
    ]
    trust = {source: place for place, source in enumerate(policy.trusted_sources)}
    rank = pl.col("source_system").replace_strict(trust, default=len(trust), return_dtype=pl.Int64)
    frame = frame.with_columns(touched_at=pl.coalesce(touched) if touched else pl.lit(None), trust=rank)
    street = pl.when(_is_usable(frame, "address_line_1")).then("address_line_1").alias(_STREET)
    people = assignments.select("record_id", "person_id").sort("person_id", "record_id")
    joined = people.join(frame.drop("person_id", strict=False), on="record_id", maintain_order="left")
    numbered = joined.with_columns(street, person=pl.col("person_id").rle_id()).with_row_index("place")
    others = (pl.col("person") == pl.col("person").shift(n, fill_value=_NOBODY) for n in (1, -1))
    return numbered.with_columns(is_alone=~pl.any_horizontal(*others))


def _all_ranked(members: pl.DataFrame, policy: Survivorship) -> dict[str, pl.DataFrame]:
    """By attribute what `_ranked` gives of the persons with several records."""
    shared = members.filter(~pl.col("is_alone"))
    return {name: _ranked(shared, name, policy) for name in (*ATTRIBUTES, "address_line_1")}


def _ranked(members: pl.DataFrame, name: str, policy: Survivorship) -> pl.DataFrame:
    """(person, place, rank) of records with a usable value: the best of each person first, with their `rank` from 1."""
    order, falling = _order(name, policy)
    made = {
        "agreeing": pl.len().over("person", name),
        "completeness": pl.sum_horizontal(pl.col(part).is_not_null().cast(pl.Int64) for part in ADDRESS)
        if name in ADDRESS
        else pl.col(name).cast(pl.String).str.len_chars(),
        "verified": pl.col("source_system").is_in(list(policy.verified_sources.get(name, ()))).fill_null(False),
        "has_street": pl.col(_STREET).is_not_null(),
        "has_place": pl.any_horizontal(pl.col(part).is_not_null() for part in ADDRESS[1:-1]),
    }
    if name in ADDRESS:
        # An address without a street still says city, state, zip code and country; one with a street goes before it.
        order, falling = ["has_street", "has_place", *order], [True, True, *falling]
    usable = members.lazy().filter(_has_value(members, name))
    keyed = usable.with_columns(made[column].alias(column) for column in order if column in made)
    ordered = keyed.select("person", "place", *order).sort(
        "person", *order, "place", descending=[False, *falling, False], nulls_last=True
    )
    numbered = ordered.select("person", "place").with_row_index("rank")
    first = pl.when(pl.col("person").ne_missing(pl.col("person").shift())).then("rank").forward_fill()
    return numbered.select("person", "place", rank=pl.col("rank").cast(pl.Int64) - first.cast(pl.Int64) + 1).collect()


def _has_value(members: pl.DataFrame, name: str) -> pl.Expr:
    """Whether a member has a value of an attribute that counts."""
    if name in ADDRESS:
        return pl.any_horizontal(pl.col(part).is_not_null() for part in (*ADDRESS[1:], _STREET))
    return _is_usable(members, name)


def _is_usable(members: pl.DataFrame, name: str) -> pl.Expr:
    """Whether a value is there and, where it has a standardized form, that form is."""
    standard = _USABLE_BY.get(name)
    return pl.all_horizontal(pl.col(c).is_not_null() for c in (name, standard) if c in members.columns)


def _rule_of(name: str, policy: Survivorship) -> str:
    if name == "registered_on":
        return FIRST
    if name == "is_contactable":
        return CAUTIOUS
    return policy.policies.get(name, TRUSTED if name in policy.trust_first else policy.default)


def _order(name: str, policy: Survivorship) -> tuple[list[str], list[bool]]:
    """Columns to sort by, and which of them fall."""
    rule = _rule_of(name, policy)
    if rule in (FIRST, CAUTIOUS):
        return [name], [False]
    first = {
        RECENT: ("touched_at", True), TRUSTED: ("trust", False), COMPLETE: ("completeness", True),
        FREQUENT: ("agreeing", True), VERIFIED: ("verified", True),
    }[rule]  # fmt: skip
    ties = [tie for tie in (("touched_at", True), ("trust", False), ("agreeing", True)) if tie != first]
    return [first[0], *(column for column, _ in ties)], [first[1], *(falls for _, falls in ties)]


def _overridden(result: pl.DataFrame, overrides: pl.DataFrame | None) -> tuple[pl.DataFrame, list[str]]:
    """Golden records with what stewards set, and the attributes that they set."""
    if overrides is None or overrides.is_empty():
        return result, []
    names = sorted(set(overrides["attribute"]) & {*ATTRIBUTES, *ADDRESS})
    for name in names:
        own = overrides.filter(pl.col("attribute") == name)
        set_ = own.select("person_id", set__=typed(own["value"], result.schema[name]), origin__="decision")
        given = pl.col("origin__").is_not_null()
        for column in (f"from_{name}", f"by_{name}"):
            if column not in result.columns:
                result = result.with_columns(pl.lit(None, pl.String).alias(column))
        result = result.join(set_, on="person_id", how="left", maintain_order="left").with_columns(
            pl.when(given).then("set__").otherwise(name).alias(name),
            pl.when(given).then(pl.format("decision {}", "origin__")).otherwise(f"from_{name}").alias(f"from_{name}"),
            pl.when(given).then(pl.lit(BY_STEWARD)).otherwise(f"by_{name}").alias(f"by_{name}"),
        )
        result = result.drop("set__", "origin__")
    return result, names


def typed(texts: pl.Series, kind: pl.DataType) -> pl.Series:
    """Values in JSON as a column of an attribute's type; a polars error where one is no such value."""
    read = [json.loads(text) for text in texts]
    values = pl.Series([v if isinstance(v, str) else json.dumps(v) for v in read], dtype=pl.String)
    if kind == pl.Date:
        return values.str.to_date("%Y-%m-%d")
    return values.eq("true") if kind == pl.Boolean else values.cast(kind)


def _provenance(names: list[str]) -> pl.Expr:
    """JSON text of the attributes that have a value."""
    entries = []
    for name in sorted(names):
        origin = pl.struct(record_id=pl.col(f"from_{name}"), rule=pl.col(f"by_{name}")).struct.json_encode()
        entry = pl.concat_str(pl.lit(f'"{name}":'), origin)
        entries.append(pl.when(pl.col(f"from_{name}").is_not_null()).then(entry))
    listed = pl.concat_str(entries, separator=",", ignore_nulls=True)
    return pl.concat_str(pl.lit("{"), listed, pl.lit("}")).alias("provenance")
