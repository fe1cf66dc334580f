"""The tables of identity: who is who, why, the golden records, and which account or device was whose when.

A run resolves the records that changed since the last one into what stands (`standing`, `incremental`), under pins that
hold until the records have grown by `ids.retrain_growth` or rules or code change; the registry names the persons."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from customer360.models.identity import registry
from customer360.models.identity.batch import kept
from customer360.models.identity.batch import touched as touching
from customer360.models.identity.batch.changes import edge_changes, golden_changes, key_changes, link_changes
from customer360.models.identity.batch.incremental import Resolved, resolve_batch
from customer360.models.identity.batch.pins import Pins
from customer360.models.identity.batch.standing import (
    VERSIONED,
    Standing,
    are_of_one_run,
    edge_rows,
    key_rows,
    numbers_of,
    take_up,
)
from customer360.models.identity.batch.state import State
from customer360.models.identity.batch.touched import Before, Touched
from customer360.models.identity.evidence.standardize import STANDARD_COLUMNS
from customer360.models.identity.links import account_links, account_of_login, device_links
from customer360.models.identity.organisations.among_customers import (
    Customers,
    Firms,
    OrganisationContacts,
    Organisations,
    organisations,
    resolve_firms,
)
from customer360.models.identity.organisations.mentions import account_of, is_mention
from customer360.models.identity.organisations.telling import ORGANISATION, PERSON
from customer360.models.identity.preparation import prepared
from customer360.models.identity.registry import decisions
from customer360.models.identity.registry.core import holders
from customer360.models.identity.registry.succession import advance
from customer360.models.identity.renewal import Renewed, made_of, record_versions, renewed
from customer360.models.identity.rules import IdentityRules, Stitching
from customer360.models.identity.spill import kept as kept_on_disk
from customer360.models.identity.spill import spilling
from customer360.models.identity.stitching import is_link
from customer360.models.identity.verdicts.decide import ACCEPTED
from customer360.pipelines.vocabulary import Activity
from customer360.platform import tables, telemetry
from customer360.platform.graph import produces
from customer360.platform.lake import Lake
from customer360.platform.run.incremental.changes import Changes
from customer360.platform.run.planning import Context
from customer360.platform.tables import (
    Boolean,
    Date,
    Float,
    Integer,
    List,
    String,
    Struct,
    Table,
    Timestamp,
    personal,
    quasi,
)

ACTIVITY: Activity = "identity"
# Standardized forms by which golden records tell a usable value from junk.
GOLDEN_READS = {
    "given_name_std": "given", "family_name_std": "family", "email_std": "email", "phone_std": "phone",
    "street_std": "street", "dob_std": "dob",
}  # fmt: skip


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


class IdentityKeys(Table, table="silver.identity_keys", sort_by=("key", "value"), bucketed=False):
    """One row per value of a block key that too many records share to say anything."""

    key = String()
    value = Integer(description="Hash of the value")


class IdentityLinks(Table, table="silver.identity_links", sort_by=("kind", "identifier", "valid_from"), bucketed=False):
    """One row per identifier and interval: the person that an account or device belonged to."""

    kind = String(description="account or visitor")
    identifier = String(metadata=personal("device"))
    valid_from = Timestamp()
    valid_to = Timestamp(nullable=True, description="Exclusive; null: still valid")
    person_id = String()
    reason = String()


class People(Table, table="silver.people", per="person_id", sort_by=("person_id",)):
    """One row per person, and per organisation with accounts: the golden record, with where each value came from."""

    person_id = String(primary_key=True)
    entity_type = String(nullable=True, description="person or organisation; null in editions of before")
    first_name = String(nullable=True, metadata=personal("name"))
    last_name = String(nullable=True, metadata=personal("name"))
    organisation_name = String(nullable=True, description="Of an organisation its name, of a person where it works")
    email_address = String(nullable=True, metadata=personal("email"))
    phone_number = String(nullable=True, metadata=personal("phone"))
    date_of_birth = Date(nullable=True, metadata=personal("birth") | quasi("age"))
    gender = String(nullable=True, metadata=personal("person") | quasi("name"))
    address_line_1 = String(nullable=True, metadata=personal("address"))
    city = String(nullable=True, metadata=personal("address"))
    state_code = String(nullable=True)
    zip_code = String(nullable=True, metadata=personal("address") | quasi("code"))
    country_code = String(nullable=True)
    record_count = Integer()
    source_systems = List(String())
    provenance = String(metadata=personal("account"), description="JSON: attribute to record and survivorship rule")
    customer_segment = String(nullable=True)
    loyalty_tier = String(nullable=True)
    loyalty_points = Integer(nullable=True)
    registered_on = Date(nullable=True, metadata=quasi("day"))
    preferred_channel = String(nullable=True)
    preferred_store_id = String(nullable=True)
    is_contactable = Boolean(nullable=True)


class GoldenValues(Table, table="silver.golden_values", per="person_id", sort_by=("person_id", "attribute", "rank")):
    """One row per person, attribute and record whose value did not survive in the golden record."""

    person_id = String(primary_key=True)
    attribute = String(primary_key=True)
    rank = Integer(primary_key=True, description="Place of the record by the attribute's policy; 1 is the first")
    value = String(metadata=personal("text"))
    record_id = String(metadata=personal("account"))
    rule = String(description="The policy that put another value before it")


class Identities(Table, table="silver.identities", sort_by=("record_id",), bucketed=False):
    """One row per account: the person, or the organisation, that it was resolved to."""

    record_id = String(primary_key=True, metadata=personal("account"))
    source_system = String()
    customer_id = String(metadata=personal("account"))
    person_id = String()
    entity_type = String(nullable=True, description="person or organisation; null in editions of before")
    resolved_by = String(description="alone, score, number (one that its source verified) or steward")
    evidence_version = Integer(nullable=True, description="Changes when what the record is compared by changes")
    record_version = Integer(nullable=True, description="Changes when what the golden record reads of it changes")


OUTPUTS: tuple[type[Table], ...] = (
    IdentityEdges, IdentityKeys, GoldenValues, People, Organisations, OrganisationContacts, IdentityLinks, Identities,
)  # fmt: skip
# What says of organisations who is one.
OF_FIRMS = ("silver.identity_edges", "silver.organisations", "silver.organisation_contacts", "silver.identities")


@produces(
    *OUTPUTS,
    inputs=("silver.customer_records", "silver.visitor_logins"),
    rules="identity",
    version=lambda context: str(decisions.version(context.lake)),
)
def identities(
    context: Context, silver_customer_records: pl.LazyFrame, silver_visitor_logins: pl.LazyFrame
) -> tuple[pl.LazyFrame | Changes, ...]:
    """Resolve what changed, persons and organisations apart; bring the registry up to date; then golden records of who
    changed, and dated links."""
    records = silver_customer_records.collect()
    with spilling(records.height, context.params.engine):
        return _tables(context, kept_on_disk(records), silver_visitor_logins)


def _tables(
    context: Context, records: pl.DataFrame, silver_visitor_logins: pl.LazyFrame
) -> tuple[pl.LazyFrame | Changes, ...]:
    """Rows of the tables of identity, for all `records` there are: whole, or what changes of those that stand."""
    lake, rules = context.lake, context.params
    found, pins, evidence = prepared(lake, records, rules)
    ids = pl.concat([evidence["record_id"], found.firms["record_id"]])
    stored = registry.number_records(registry.load(lake, rules.ids.seed), ids)
    decided_by = made_of(identities, OUTPUTS, rules, pins.version, lake.buckets)
    versions = _versions(found, evidence, stored.names, decided_by)
    stands = touching.before(lake, stored, [tables.spec(table).name for table in OUTPUTS], versions)
    standing, anew = _standing(lake, found, stored, evidence, stands)
    made, firms = _resolved(context, found, stored, standing, anew, pins)
    clusters = pl.concat([made.clusters, firms.clusters])
    events = advance(stored.registry, clusters, standing.gone, cause=f"model {pins.version}")
    stored = registry.commit(stored, events)
    touched = touching.touched(
        stands, stored, versions, clusters["record"], decisions.overridden(lake, stored.registry)
    )
    survived = _survived(lake, found, evidence, touched, stored, rules)
    assignments = _assignments(found, touched, made.state, firms, versions, rules)
    kinds = assignments.select("person_id", "entity_type").unique()
    people = survived.people.join(kinds, on="person_id", how="left", maintain_order="left")
    named = _organisations(lake, found, stored, people, firms, touched, rules)
    telemetry.event(
        "identity",
        records=versions.height,
        people=holders(stored.registry.members, versions["record"].head(found.people.height)).n_unique(),
        organisations=named[0].height,
        resolved_again=standing.batch.height,
        pairs=made.scored_pairs,
        golden_records=people.height,
        changes=events.height,
    )
    accounts = account_links(assignments.lazy()).collect()
    devices = _devices(stored, silver_visitor_logins, rules.stitching)
    if stands is None:
        edges = edge_rows(made.state)
        if firms.edges.height:
            edges = pl.concat([edges, firms.edges.select(edges.columns)], how="vertical_relaxed")
        links = pl.concat([accounts, devices])
        whole = (key_rows(made.state), survived.losers, people, *named, links, assignments)
        return Changes(edges, parted=True), *(frame.lazy() for frame in whole)
    return (
        edge_changes(lake, standing.state, made.state, firms.edges, firms.kept),
        key_changes(lake, made.state, made.filled),
        golden_changes(lake, "silver.golden_values", survived.losers, touched.left),
        golden_changes(lake, "silver.people", people, touched.left),
        *(frame.lazy() for frame in named),
        link_changes(lake, accounts, devices, pl.concat([accounts["identifier"], touched.gone_ids])),
        Changes(assignments, stands.files, touched.gone),
    )


def _versions(found: Customers, evidence: pl.DataFrame, names: pl.DataFrame, decided_by: str) -> pl.DataFrame:
    """(record, evidence_version, record_version) of all accounts, those of people first."""
    firms = found.accounts
    of_firms = firms.hash_rows(seed=0)
    number = numbers_of(evidence["record_id"], names).alias("record")
    people = pl.DataFrame([number, evidence[VERSIONED], record_versions(evidence[kept.MARK], decided_by)])
    number = numbers_of(firms["record_id"], names).alias("record")
    own = of_firms.reinterpret(signed=True).alias(VERSIONED)
    return pl.concat([people, pl.DataFrame([number, own, record_versions(of_firms, decided_by)], schema=people.schema)])


def _survived(
    lake: Lake,
    found: Customers,
    evidence: pl.DataFrame,
    touched: Touched,
    stored: registry.Stored,
    rules: IdentityRules,
) -> Renewed:
    """Golden records of the persons that are made anew."""
    mine = touched.accounts.filter(pl.col("person_id").is_in(touched.renewed.implode()))["record_id"]
    people = usable(among(found.people, mine), among(evidence.select("record_id", *GOLDEN_READS.values()), mine))
    records = pl.concat([people, _usable_firms(among(found.accounts, mine))], how="diagonal_relaxed")
    return renewed(records, touched, rules, decisions.overrides(lake, stored))


def among(rows: pl.DataFrame, ids: pl.Series) -> pl.DataFrame:
    """The rows of some records; picked by place, since of everybody's rows these are mostly few."""
    is_mine = rows["record_id"].is_in(ids.implode())
    return rows if is_mine.all() else rows[is_mine.arg_true()]


def _assignments(
    found: Customers, touched: Touched, state: State, firms: Firms, versions: pl.DataFrame, rules: IdentityRules
) -> pl.DataFrame:
    """Rows of `silver.identities` of the accounts that are touched."""
    assigned, mine = touched.accounts, touched.accounts["record_id"]
    known = assigned.select("record", "record_id").join(versions, on="record").drop("record")
    own = assigned.filter(~is_mention()).select("record_id", "person_id")
    of_people = resolved(among(found.people, mine), own, state, known, rules.stitching)
    of_firms = _resolved_firms(among(found.accounts, mine), assigned, firms.edges, known)
    return pl.concat([of_people, of_firms.select(of_people.columns)])


def _organisations(
    lake: Lake,
    found: Customers,
    stored: registry.Stored,
    people: pl.DataFrame,
    firms: Firms,
    touched: Touched,
    rules: IdentityRules,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Organisations and their contacts, all of them; their golden records where they were not made anew from the
    lake."""
    ids = found.firms.select("record_id", account=account_of(pl.col("record_id")))
    assigned = touching.assigned(stored, pl.concat([ids["record_id"], ids["account"]]))
    golden_names, forms = people.select("person_id", "organisation_name"), None
    if touched.before is not None:  # what stands was then made by this code
        forms = lake.scan("silver.organisations").select("organisation_name", "legal_form").collect()
    if touched.before is not None and assigned.height:
        is_other = pl.col("person_id").is_in(assigned["person_id"].unique().implode())
        is_other &= ~pl.col("person_id").is_in(touched.left.implode())
        held = lake.scan("silver.people").select(golden_names.columns).filter(is_other).collect()
        golden_names = pl.concat([golden_names, held])
    return organisations(found, assigned, golden_names, firms.version, rules, forms)


def _devices(stored: registry.Stored, logins: pl.LazyFrame, rules: Stitching) -> pl.DataFrame:
    """Whose each device was when."""
    accounts = logins.select(account_of_login()).unique().collect()["record_id"]
    return device_links(touching.assigned(stored, accounts).lazy(), logins, rules).collect()


def _standing(
    lake: Lake, found: Customers, stored: registry.Stored, evidence: pl.DataFrame, stands: Before | None
) -> tuple[Standing, bool]:
    """What stands resolved of people; and whether organisations are made anew in any case. Who holds records of a
    person and of an organisation, since a source has changed its word on one of them, and who holds others than the
    tables say, is resolved again."""
    members = stored.registry.members
    firms = stored.names.filter(pl.col("record_id").is_in(found.firms["record_id"].implode()))["record"]
    is_firm = pl.col("record").is_in(firms.implode())
    beside = members.filter(pl.col("person").is_in(members.filter(is_firm)["person"].implode()))
    others = beside.filter(~is_firm)["person"]
    mixed = beside.filter(pl.col("person").is_in(others.implode()))["record"]
    astray = touching.astray(lake, stored, stands)
    rows = None if stands is None else stands.rows
    standing = take_up(lake, evidence, stored.names, members.filter(~is_firm)["record"], rows)
    anew = mixed.len() > 0 or bool(astray.is_in(firms.implode()).any()) or not are_of_one_run(lake, OF_FIRMS)
    known = standing.state.frame["record"]
    near = known.filter(known.is_in(pl.concat([mixed, astray]).implode()))
    if near.is_empty():
        return standing, anew
    if standing.near is not None:
        near = pl.concat([standing.near, near]).unique()
    return replace(standing, near=near), anew


def _resolved(
    context: Context, found: Customers, stored: registry.Stored, standing: Standing, anew: bool, pins: Pins
) -> tuple[Resolved, Firms]:
    """People of the batch into those that stand, and organisations; what stewards decided holds among each."""
    lake, rules, made = context.lake, context.params, decisions.decisions(context.lake)
    of_people = of_firms = decisions.NO_LINKS
    if made.height:
        of_people, of_firms = (  # of records that are there: what is said of others holds again when they come back
            decisions.links_of(made, stored.names.join(own.select("record_id"), on="record_id", how="semi"))
            for own in (found.people, found.firms)
        )
    people = resolve_batch(
        standing.state,
        standing.batch,
        standing.gone,
        pins,
        rules,
        of_people,
        recheck=standing.near,
        executor=context.executor,
        tidy=False,
    )
    named = decisions.named(of_firms, stored.names)
    return people, resolve_firms(lake, found.firms, stored.names, named, rules, anew=anew)


def usable(records: pl.DataFrame, evidence: pl.DataFrame) -> pl.DataFrame:
    """Records with the standardized forms by which golden records tell a usable value from junk."""
    standard = evidence.select("record_id", *(pl.col(c).alias(name) for name, c in GOLDEN_READS.items()))
    return records.join(standard, on="record_id", how="left").with_columns(is_contactable=pl.lit(None, pl.Boolean))


def _usable_firms(accounts: pl.DataFrame) -> pl.DataFrame:
    """Records of organisations likewise."""
    standard = [name for name in STANDARD_COLUMNS if name not in GOLDEN_READS]
    return accounts.drop(standard).with_columns(is_contactable=pl.lit(None, pl.Boolean))


def _by_steward() -> pl.Expr:
    return pl.col("reason").str.starts_with(decisions.REASON).fill_null(False)


def resolved(
    records: pl.DataFrame, assigned: pl.DataFrame, state: State, versions: pl.DataFrame, rules: Stitching
) -> pl.DataFrame:
    """Rows of `silver.identities` of people."""
    accepted = state.verdicts.filter(pl.col("decision") == ACCEPTED)
    chosen = pl.lit("score")
    for how, is_so in (("number", is_link(pl.col("reason"), rules)), ("steward", _by_steward())):
        edges = accepted.filter(is_so)
        linked = pl.concat([edges["record_l"], edges["record_r"].alias("record_l")]).unique()
        ids = state.frame.filter(pl.col("record").is_in(linked.implode()))["record_id"]
        chosen = pl.when(pl.col("record_id").is_in(ids.implode())).then(pl.lit(how)).otherwise(chosen)
    by = pl.when(pl.len().over("person_id") == 1).then(pl.lit("alone")).otherwise(chosen)
    known = records.select("record_id", "source_system", "customer_id").join(assigned, on="record_id")
    return (
        known.with_columns(resolved_by=by, entity_type=pl.lit(PERSON))
        .join(versions, on="record_id", how="left")
        .select(list(Identities.columns()))
    )


def _resolved_firms(
    accounts: pl.DataFrame, assigned: pl.DataFrame, edges: pl.DataFrame, versions: pl.DataFrame
) -> pl.DataFrame:
    """Of the accounts of firms what `silver.identities` says. `assigned`: (record_id, person_id) of all records of
    their organisations, mentions among them."""
    if accounts.is_empty():
        return pl.DataFrame(schema={name: column.dtype for name, column in Identities.columns().items()})
    accepted = edges.filter(pl.col("decision") == ACCEPTED)
    by_steward = accepted.filter(_by_steward())
    told = pl.concat([by_steward["record_id_l"], by_steward["record_id_r"].alias("record_id_l")]).unique()
    chosen = pl.when(pl.col("record_id").is_in(told.implode())).then(pl.lit("steward")).otherwise(pl.lit("score"))
    alone = assigned.group_by("person_id").len().filter(pl.col("len") == 1)["person_id"]
    return (
        accounts.select("record_id", "source_system", "customer_id")
        .join(assigned.select("record_id", "person_id"), on="record_id")
        .join(versions, on="record_id")
        .with_columns(
            entity_type=pl.lit(ORGANISATION),
            resolved_by=pl.when(pl.col("person_id").is_in(alone.implode())).then(pl.lit("alone")).otherwise(chosen),
        )
    )
