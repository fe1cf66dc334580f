"""Organisations among the customers of a lake: accounts of firms, and firms that accounts of people name.

An account of a firm is an organisation and never one with a person. An account that names a firm beside a person is
that person's, and a *mention* of the firm: a record of its own, named after the account (`MENTION`), resolved with the
firms. So the registry numbers, seals and forgets it like any other record. All are resolved at once whenever anything
about any of them changes, so that order and batches change nothing; the registry keeps their ids.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import polars as pl

from customer360.models.identity.evidence.standardize import plain_text, standardize
from customer360.models.identity.golden import golden
from customer360.models.identity.organisations.evidence import WEBSITE
from customer360.models.identity.organisations.mentions import MENTION, account_of, is_mention
from customer360.models.identity.organisations.names import organisation_name
from customer360.models.identity.organisations.resolution import resolve_organisations
from customer360.models.identity.organisations.telling import ENTITY, NAME, NO_FIRM, PERSON, with_entities
from customer360.models.identity.rules import IdentityRules
from customer360.models.identity.weighing.predict import PAIR_SCHEMA
from customer360.platform import graph
from customer360.platform.lake import Lake
from customer360.platform.run.planning import plain
from customer360.platform.tables import Integer, List, String, Table, personal

NUMBER = "organisation_number"
# What a person has and a firm has not, and what of a contact is not the firm's.
_OF_PEOPLE = ("first_name", "last_name", "date_of_birth", "gender")
_OF_FIRMS = ("record_id", "source_system", "customer_id", ENTITY, NAME, WEBSITE, NUMBER, "last_updated_at")


class Organisations(Table, table="silver.organisations", sort_by=("organisation_id",), bucketed=False):
    """One row per organisation, known by accounts of its own or through its contacts alone.

    One that has accounts stands with its contact data in `silver.people`, by the same id.
    """

    organisation_id = String(primary_key=True, description="The person_id of its accounts, where it has any")
    organisation_name = String()
    legal_form = String(nullable=True, description="limited, public, partnership, association or company")
    website = String(nullable=True)
    organisation_number = String(nullable=True)
    account_count = Integer()
    contact_count = Integer(description="Accounts of people who are at it")
    source_systems = List(String())
    resolution_version = Integer(description="Of all records that any organisation was resolved from")


class OrganisationContacts(
    Table, table="silver.organisation_contacts", sort_by=("organisation_id", "record_id"), bucketed=False
):
    """One row per account of a person that names an organisation: who is at which."""

    record_id = String(primary_key=True, metadata=personal("account"))
    person_id = String()
    organisation_id = String()
    organisation_name = String(description="As the account writes it")


@dataclass(frozen=True)
class Customers:
    """`people`: records of persons. `firms`: records of organisations and, under ids of their own, mentions of any;
    with their standardized forms. Both with `entity_type` and `organisation_name` as told."""

    people: pl.DataFrame
    firms: pl.DataFrame

    @property
    def ids(self) -> pl.Series:
        return pl.concat([self.people["record_id"], self.firms["record_id"]])

    @property
    def accounts(self) -> pl.DataFrame:
        """Of `firms` those that are accounts."""
        return self.firms.filter(~is_mention())


def customers(records: pl.DataFrame, rules: IdentityRules, plain: pl.Series | None = None) -> Customers:
    """Customer records by what they are of. `plain`: of each whether it is known to be a person's and to name no firm,
    as it was told before; the others are told."""
    told = _told(records, rules) if plain is None else _with_told(records, plain, rules)
    is_person = told[ENTITY] == PERSON
    people = _where(told, is_person)
    own = told.filter(~is_person).with_columns(pl.lit(None, told.schema[c]).alias(c) for c in _OF_PEOPLE)
    mentions = people.filter(pl.col(NAME).is_not_null()).with_columns(pl.col("record_id") + MENTION)
    return Customers(people, standardize(pl.concat([own, mentions]), rules))


def _told(records: pl.DataFrame, rules: IdentityRules) -> pl.DataFrame:
    """The records with `entity_type` and `organisation_name` as told; of a person the latter is another's."""
    is_firm = _names_firm(records, rules)
    # Who trades under the own name is no other than the person, where the source does not say that it is a firm.
    told = with_entities(records.with_columns(pl.when(is_firm).then(NAME).alias(NAME)))
    return told.with_columns(pl.when(is_firm | (pl.col(ENTITY) != PERSON)).then(NAME).alias(NAME))


def _with_told(records: pl.DataFrame, plain: pl.Series, rules: IdentityRules) -> pl.DataFrame:
    """As `_told`, where only those that are not `plain` need to be."""
    places = (~plain).arg_true()
    few = _told(records[places], rules)
    entity = pl.repeat(PERSON, records.height, eager=True).scatter(places, few[ENTITY])
    name = pl.repeat(None, records.height, dtype=pl.String, eager=True).scatter(places, few[NAME])
    return records.with_columns(entity.alias(ENTITY), name.alias(NAME))


def _where(rows: pl.DataFrame, holds: pl.Series) -> pl.DataFrame:
    """The rows of which that holds: uncopied where it does of all."""
    return rows if holds.all() else rows.filter(holds)


def _names_firm(records: pl.DataFrame, rules: IdentityRules) -> pl.Series:
    """Whether a record names a firm that is not the person itself; asked of those that name any, mostly few."""
    text = plain_text(pl.col(NAME))
    whole = plain_text(pl.concat_str("first_name", "last_name", separator=" ", ignore_nulls=True))
    nobody = sorted({*rules.standardization.junk_names, *NO_FIRM})
    is_firm = ~text.is_in(nobody) & text.ne_missing(whole) & text.str.contains(r"\p{L}")
    naming = records[NAME].is_not_null()
    found = records.filter(naming).select(is_firm.fill_null(False)).to_series()
    return pl.repeat(False, records.height, eager=True).scatter(naming.arg_true(), found)


def golden_rows(records: pl.DataFrame, rules: IdentityRules) -> pl.DataFrame:
    """Records with standardized forms as golden records read them: of a mention only what it says of the firm."""
    found = customers(records, rules)
    people = standardize(found.people, rules)
    kept = [name for name in found.firms.columns if name not in _OF_FIRMS]
    bare = (pl.when(~is_mention()).then(name).alias(name) for name in kept)
    return pl.concat([people, found.firms.with_columns(bare).select(people.columns)])


@dataclass(frozen=True)
class Firms:
    """`edges`: as `silver.identity_edges`. `clusters`: (record, cluster) by numbers of records; none where nothing
    changed. `version`: of all that they were made of. `kept`: places in the table of the edges, where they stand; None
    where all were made anew."""

    edges: pl.DataFrame
    clusters: pl.DataFrame
    version: int
    kept: pl.Series | None = None


def resolve_firms(
    lake: Lake, firms: pl.DataFrame, names: pl.DataFrame, decided: pl.DataFrame, rules: IdentityRules, *, anew: bool
) -> Firms:
    """Which records of `Customers.firms` are one organisation. `names`: (record, record_id); `decided`: what
    stewards said of pairs (record_id_l, record_id_r, decision, reason). With `anew` also where nothing changed."""
    rules = rules.model_copy(update={"blocking": rules.blocking.model_copy(update={"identifiers": (NUMBER,)})})
    version = _version(firms, decided, rules)
    clusters = pl.DataFrame(schema={"record": pl.Int64, "cluster": pl.Int64})
    if firms.is_empty():
        return Firms(_no_edges(), clusters, version)
    if not anew and _stands(lake, version):
        ids = firms["record_id"].implode()
        mine = pl.col("record_id_l").is_in(ids) & pl.col("record_id_r").is_in(ids)
        edges = lake.scan("silver.identity_edges").with_row_index("place").filter(mine).collect()
        return Firms(edges.drop("place"), clusters, version, edges["place"].cast(pl.Int64))
    return Firms(*_resolved_anew(firms, names, decided, rules), version)


def _resolved_anew(
    firms: pl.DataFrame, names: pl.DataFrame, decided: pl.DataFrame, rules: IdentityRules
) -> tuple[pl.DataFrame, pl.DataFrame]:
    made = resolve_organisations(firms, rules, decided)
    numbered = made.assignments.join(names, on="record_id")
    numbered = numbered.join(names.rename({"record": "cluster"}), left_on="cluster_key", right_on="record_id")
    return made.edges, numbered.select("record", "cluster")


def _stands(lake: Lake, version: int) -> bool:
    if not all(map(lake.exists, ("silver.organisations", "silver.identity_edges"))):
        return False
    held = lake.scan("silver.organisations").select(pl.col("resolution_version").unique()).collect().to_series()
    return held.to_list() == [version]


def _version(firms: pl.DataFrame, decided: pl.DataFrame, rules: IdentityRules) -> int:
    text = graph.code_fingerprint(resolve_organisations, []) + json.dumps(plain(rules.model_dump()), sort_keys=True)
    text += pl.__version__ + "".join(f"{name} {kind}" for name, kind in firms.schema.items())
    seed = int(hashlib.sha256(text.encode()).hexdigest()[:15], 16)
    rows = [frame.hash_rows(seed=seed).sort() for frame in (firms.sort("record_id"), decided) if frame.height]
    digest = hashlib.sha256(b"".join(numbers.to_numpy().tobytes() for numbers in rows) + text.encode())
    return int(digest.hexdigest()[:15], 16)


def _no_edges() -> pl.DataFrame:
    ends = dict.fromkeys(("record_id_l", "record_id_r", "decision", "reason"), pl.String)
    return pl.DataFrame(schema=ends | {name: kind for name, kind in PAIR_SCHEMA.items() if not name.startswith("rid_")})


def organisations(
    found: Customers,
    assigned: pl.DataFrame,
    people: pl.DataFrame,
    version: int,
    rules: IdentityRules,
    forms: pl.DataFrame | None = None,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows of `silver.organisations` and `silver.organisation_contacts`. `assigned`: (record_id, person_id) of all
    records; `people`: golden records, those of firms' accounts among them; `forms`: (organisation_name, legal_form) of
    names of which this code has told the form already."""
    if found.firms.is_empty():
        return Organisations.create_empty(), OrganisationContacts.create_empty()
    firms = found.firms.select(_OF_FIRMS)
    mine = firms.select("record_id").join(assigned, on="record_id")
    named = golden(firms, mine, rules).select("person_id", "source_systems", mentioned=NAME)
    own = people.select("person_id", golden_name=NAME)
    counts = mine.group_by("person_id").agg(
        account_count=(~is_mention()).sum().cast(pl.Int64), contact_count=is_mention().sum().cast(pl.Int64)
    )
    values = firms.join(mine, on="record_id").sort("last_updated_at", "record_id", descending=[True, False])
    newest = values.group_by("person_id").agg(pl.col(c).drop_nulls().first() for c in (WEBSITE, NUMBER))
    rows = named.join(own, on="person_id", how="left").join(counts, on="person_id").join(newest, on="person_id")
    rows = rows.with_columns(pl.coalesce("golden_name", "mentioned").alias(NAME))
    rows = rows.rename({"person_id": "organisation_id"}).with_columns(
        legal_form=legal_forms(rows[NAME], forms),
        resolution_version=pl.lit(version, pl.Int64),
    )
    at = mine.filter(is_mention()).select(account_of(pl.col("record_id")), organisation_id="person_id")
    contacts = found.people.select("record_id", NAME).join(at, on="record_id").join(assigned, on="record_id")
    return rows.select(list(Organisations.columns())), contacts.select(list(OrganisationContacts.columns()))


def legal_forms(names: pl.Series, known: pl.DataFrame | None) -> pl.Series:
    """The legal form that each name tells: read of the names alone that are not `known`."""
    told = dict(known.select(NAME, "legal_form").iter_rows()) if known is not None else {}
    forms = [told[text] if text in told else organisation_name(text).form for text in names]
    return pl.Series(forms, dtype=pl.String)
