"""The tables of identity: who is who, why, the golden records, and which account or device was whose when."""

from __future__ import annotations

import polars as pl

from customer360.models.identity import registry
from customer360.models.identity.golden import golden
from customer360.models.identity.registry.core import advance
from customer360.models.identity.resolution import resolve
from customer360.models.identity.rules import IdentityRules
from customer360.models.identity.standardize import standardize
from customer360.platform import telemetry
from customer360.platform.graph import produces
from customer360.platform.run.planning import Context
from customer360.platform.tables import Boolean, Date, Float, Integer, List, String, Struct, Table, Timestamp, personal


class IdentityEdges(Table, table="silver.identity_edges", sort_by=("record_id_l", "record_id_r")):
    """One row per pair of records that was compared or linked: the weight, the verdict and its reason."""

    record_id_l = String(metadata=personal("account"))
    record_id_r = String(metadata=personal("account"))
    match_weight = Float(nullable=True, description="log2 of the odds; null for a link by login alone")
    match_probability = Float(nullable=True)
    match_key = String(nullable=True, description="Blocking rule that brought the pair together")
    decision = String(description="accepted, vetoed or rejected")
    reason = String(nullable=True)
    evidence = List(
        Struct({"comparison": String(), "level": String(nullable=True), "weight": Float(nullable=True)}), nullable=True
    )


class IdentityLinks(Table, table="silver.identity_links", sort_by=("kind", "identifier", "valid_from"), bucketed=False):
    """One row per identifier and interval: the person that an account or device belonged to."""

    kind = String(description="account or visitor")
    identifier = String(metadata=personal("device"))
    valid_from = Timestamp()
    valid_to = Timestamp(nullable=True, description="Exclusive; null: still valid")
    person_id = String()
    reason = String()


class People(Table, table="silver.people", per="person_id", sort_by=("person_id",)):
    """One row per person: the golden record, with where each value came from."""

    person_id = String(primary_key=True)
    first_name = String(nullable=True, metadata=personal("name"))
    last_name = String(nullable=True, metadata=personal("name"))
    email_address = String(nullable=True, metadata=personal("email"))
    phone_number = String(nullable=True, metadata=personal("phone"))
    date_of_birth = Date(nullable=True, metadata=personal("birth"))
    gender = String(nullable=True, metadata=personal("person"))
    address_line_1 = String(nullable=True, metadata=personal("address"))
    city = String(nullable=True, metadata=personal("address"))
    state_code = String(nullable=True)
    zip_code = String(nullable=True, metadata=personal("address"))
    country_code = String(nullable=True)
    record_count = Integer()
    source_systems = List(String())
    provenance = String(metadata=personal("account"), description="JSON: attribute to record and survivorship rule")
    customer_segment = String(nullable=True)
    loyalty_tier = String(nullable=True)
    loyalty_points = Integer(nullable=True)
    registered_on = Date(nullable=True)
    preferred_channel = String(nullable=True)
    preferred_store_id = String(nullable=True)
    is_contactable = Boolean(nullable=True)


class Identities(Table, table="silver.identities", sort_by=("record_id",), bucketed=False):
    """One row per account: the person it was resolved to."""

    record_id = String(primary_key=True, metadata=personal("account"))
    source_system = String()
    customer_id = String(metadata=personal("account"))
    person_id = String()
    resolved_by = String(description="alone, score or login")


BEGINNING = "1970-01-01T00:00:00+00:00"


@produces(
    IdentityEdges,
    People,
    IdentityLinks,
    Identities,
    inputs=("silver.customer_records", "silver.visitor_logins"),
    rules="identity",
)
def identities(
    context: Context, silver_customer_records: pl.LazyFrame, silver_visitor_logins: pl.LazyFrame
) -> tuple[pl.LazyFrame, ...]:
    """Standardize, link, score, decide and cluster all records; then golden records and dated links."""
    rules: IdentityRules = context.params
    records = standardize(silver_customer_records.collect(), rules)
    stored = registry.number_records(registry.load(context.lake, rules.ids.seed), records["record_id"])
    resolution = resolve(records, rules)
    clusters = resolution.assignments.join(stored.names, on="record_id").select("record", cluster="cluster_key")
    gone = stored.registry.members.join(clusters, on="record", how="anti")["record"]
    events = advance(stored.registry, clusters, gone, cause=f"model {resolution.model.version}")
    stored = registry.commit(stored, events)
    assigned = stored.assignments
    telemetry.event(
        "identity",
        records=records.height,
        people=assigned["person_id"].n_unique(),
        pairs=resolution.edges.height,
        **{f"{phase}_s".replace("+", "_"): round(seconds, 1) for phase, seconds in resolution.seconds.items()},
    )
    diagnostics = resolution.model.diagnostics
    telemetry.event("identity model", mode=diagnostics["mode"], stated_defaults=len(diagnostics["replaced"]))
    for parameter, reason in diagnostics["replaced"].items():
        telemetry.log.debug(f"  {parameter}: {reason}")
    people = golden(records.with_columns(is_contactable=pl.lit(None, pl.Boolean)), assigned, rules)
    known = silver_customer_records.select("record_id", "source_system", "customer_id")
    sized = assigned.with_columns(size=pl.len().over("person_id"))
    resolved = known.join(sized.lazy(), on="record_id").select(
        "record_id",
        "source_system",
        "customer_id",
        "person_id",
        resolved_by=pl.when(pl.col("size") > 1).then(pl.lit("score")).otherwise(pl.lit("alone")),
    )
    edges = resolution.edges.lazy().select(list(IdentityEdges.columns()))
    return edges, people.lazy(), _links(resolved, silver_visitor_logins), resolved


def _links(resolved: pl.LazyFrame, logins: pl.LazyFrame) -> pl.LazyFrame:
    """Accounts for ever; devices for as long as one person was logged in.

    Before a device's first login and after its last it belongs to who logged in first and last. Between two people
    nothing is claimed: the silence between them belongs to nobody.
    """
    beginning = pl.lit(BEGINNING).str.to_datetime("%Y-%m-%dT%H:%M:%S%#z", time_unit="us").dt.convert_time_zone("UTC")
    accounts = resolved.select(
        kind=pl.lit("account"),
        identifier="record_id",
        valid_from=beginning,
        valid_to=pl.lit(None, pl.Datetime("us", "UTC")),
        person_id="person_id",
        reason=pl.lit("resolved record"),
    )
    owned = (
        logins.with_columns(record_id=pl.concat_str("source_system", "customer_id", separator="/"))
        .join(resolved.select("record_id", "person_id"), on="record_id")
        .sort("visitor_id", "first_at")
    )
    # Two accounts of one person in a row are one stretch of that person.
    stretch = (pl.col("person_id") != pl.col("person_id").shift()).fill_null(True).cum_sum().over("visitor_id")
    stretches = (
        owned.with_columns(stretch=stretch)
        .group_by("visitor_id", "stretch")
        .agg(pl.col("person_id").first(), first_at=pl.col("first_at").min(), last_at=pl.col("last_at").max())
        .sort("visitor_id", "stretch")
    )
    is_first = pl.col("stretch") == pl.col("stretch").min().over("visitor_id")
    is_last = pl.col("stretch") == pl.col("stretch").max().over("visitor_id")
    visitors = stretches.select(
        kind=pl.lit("visitor"),
        identifier="visitor_id",
        valid_from=pl.when(is_first).then(beginning).otherwise("first_at"),
        valid_to=pl.when(is_last).then(None).otherwise(pl.col("last_at") + pl.duration(microseconds=1)),
        person_id="person_id",
        reason=pl.lit("login on the device"),
    )
    return pl.concat([accounts, visitors])
