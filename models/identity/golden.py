"""Golden records: per person the value that survives of each attribute, and where it came from.

Grain: one row per person_id. Everything is computed within a person, so the function splits by person_id.
"""

import polars as pl

from customer360.models.identity.rules import IdentityRules, Survivorship

ATTRIBUTES = (
    "first_name", "last_name", "email_address", "phone_number", "date_of_birth", "gender", "customer_segment",
    "loyalty_tier", "loyalty_points", "registered_on", "preferred_channel", "preferred_store_id", "is_contactable",
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
    "person_id", "first_name", "last_name", "email_address", "phone_number", "date_of_birth", "gender", *ADDRESS,
    "record_count", "source_systems", "provenance", "customer_segment", "loyalty_tier", "loyalty_points",
    "registered_on", "preferred_channel", "preferred_store_id", "is_contactable",
)  # fmt: skip

RECENT, TRUSTED, FIRST, CAUTIOUS = "most recent", "most trusted source", "earliest", "no unless all say yes"


def golden(
    records: pl.DataFrame,
    assignments: pl.DataFrame,
    rules: IdentityRules | None = None,
    overrides: pl.DataFrame | None = None,
) -> pl.DataFrame:
    """Golden record per person_id of `assignments` (record_id, person_id), sorted by it.

    An attribute comes from the most recently touched record that has a usable value (`last_updated_at`, else
    `last_login_on`, else `registered_on`), or from the most trusted source first where the rules say so; ties go to
    the more trusted source, then to the value most records agree on, then to the lowest record_id. The address is
    taken whole from one record. `registered_on` is the earliest; `is_contactable` holds only where no record denies
    it. `provenance`: JSON object, attribute -> {"record_id", "rule"}; an attribute without value is absent.
    Columns that the records lack are null.
    """
    policy = (rules or IdentityRules()).survivorship
    members = _members(records, assignments, policy)
    by_person = members.group_by("person_id", maintain_order=True)
    summary = by_person.agg(
        pl.len().cast(pl.Int64).alias("record_count"),
        pl.col("source_system").drop_nulls().unique().sort().alias("source_systems"),
    )
    chosen = {name: _survivor(members, name, (name,), policy) for name in ATTRIBUTES}
    chosen["address_line_1"] = _survivor(members, "address_line_1", ADDRESS, policy)
    result = summary
    for survivor in chosen.values():
        result = result.join(survivor, on="person_id", how="left", maintain_order="left")
    result = result.with_columns(_provenance(list(chosen)))
    return result.select(_COLUMNS).sort("person_id")


def _members(records: pl.DataFrame, assignments: pl.DataFrame, policy: Survivorship) -> pl.DataFrame:
    wanted = ("source_system", *ATTRIBUTES, *ADDRESS)
    absent = [pl.lit(None, _TYPES.get(name, pl.String)).alias(name) for name in wanted if name not in records.columns]
    frame = records.with_columns(absent)
    touched = [
        pl.col(name).cast(pl.Datetime("us"), strict=False) if frame.schema[name] == pl.Date
        else pl.col(name).dt.cast_time_unit("us").dt.replace_time_zone(None)
        for name in ("last_updated_at", "last_login_on", "registered_on")
        if name in frame.columns and frame.schema[name].is_temporal()
    ]  # fmt: skip
    trust = {source: place for place, source in enumerate(policy.trusted_sources)}
    rank = pl.col("source_system").replace_strict(trust, default=len(trust), return_dtype=pl.Int64)
    frame = frame.with_columns(touched_at=pl.coalesce(touched) if touched else pl.lit(None), trust=rank)
    people = assignments.select("record_id", "person_id")
    return people.join(frame.drop("person_id", strict=False), on="record_id").sort("person_id", "record_id")


def _survivor(members: pl.DataFrame, name: str, values: tuple[str, ...], policy: Survivorship) -> pl.DataFrame:
    """(person_id, values…, record_id of the survivor as `from_<name>`, its rule as `by_<name>`)."""
    usable = pl.col(name).is_not_null()
    if _USABLE_BY.get(name) in members.columns:
        usable &= pl.col(_USABLE_BY[name]).is_not_null()
    rule, order, falling = _order(name, policy)
    agreeing = pl.len().over("person_id", name)
    best = (
        members.filter(usable)
        .with_columns(agreeing=agreeing)
        .sort("person_id", *order, "record_id", descending=[False, *falling, False], nulls_last=True)
        .unique("person_id", keep="first", maintain_order=True)
    )
    return best.select(
        "person_id", *values, pl.col("record_id").alias(f"from_{name}"), pl.lit(rule).alias(f"by_{name}")
    )


def _order(name: str, policy: Survivorship) -> tuple[str, list[str], list[bool]]:
    if name == "registered_on":
        return FIRST, [name], [False]
    if name == "is_contactable":
        return CAUTIOUS, [name], [False]
    if name in policy.trust_first:
        return TRUSTED, ["trust", "touched_at", "agreeing"], [False, True, True]
    return RECENT, ["touched_at", "trust", "agreeing"], [True, False, True]


def _provenance(names: list[str]) -> pl.Expr:
    """JSON text of the attributes that have a value."""
    entries = []
    for name in sorted(names):
        origin = pl.struct(record_id=pl.col(f"from_{name}"), rule=pl.col(f"by_{name}")).struct.json_encode()
        entry = pl.concat_str(pl.lit(f'"{name}":'), origin)
        entries.append(pl.when(pl.col(f"from_{name}").is_not_null()).then(entry))
    listed = pl.concat_str(entries, separator=",", ignore_nulls=True)
    return pl.concat_str(pl.lit("{"), listed, pl.lit("}")).alias("provenance")
