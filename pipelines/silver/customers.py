"""Customer accounts as current records, one schema for all source systems."""

from __future__ import annotations

from hashlib import sha256

import polars as pl

from customer360.pipelines.vocabulary import Activity, record_id
from customer360.platform.graph import builds
from customer360.platform.tables import Boolean, Date, Float, Integer, OneOf, String, Table, Timestamp, personal

ACTIVITY: Activity = "identity"


class CustomerRecords(Table, table="silver.customer_records", per="customer_id", sort_by=("record_id",)):
    """One row per customer account of one source system, as last delivered; raw values, not yet standardized."""

    record_id = String(primary_key=True, metadata=personal("account"), description="source_system/customer_id")
    source_system = String()
    customer_id = String(metadata=personal("account"))
    first_name = String(nullable=True, metadata=personal("name"))
    last_name = String(nullable=True, metadata=personal("name"))
    organisation_name = String(nullable=True, description="As delivered; null in records of before it was mapped")
    entity_type = String(nullable=True, description="Person or organisation, in the source's words")
    website = String(nullable=True)
    organisation_number = String(nullable=True, description="Of a register of firms")
    email_address = String(nullable=True, metadata=personal("email"))
    phone_number = String(nullable=True, metadata=personal("phone"))
    date_of_birth = Date(nullable=True, metadata=personal("birth"))
    gender = String(nullable=True, metadata=personal("person"))
    address_line_1 = String(nullable=True, metadata=personal("address"))
    city = String(nullable=True, metadata=personal("address"))
    state_code = String(nullable=True)
    zip_code = String(nullable=True, metadata=personal("address"))
    country_code = String(nullable=True)
    customer_segment = String(nullable=True)
    loyalty_tier = String(nullable=True)
    loyalty_points = Integer(nullable=True)
    loyalty_id = String(nullable=True, metadata=personal("person"))
    registered_on = Date(nullable=True)
    last_login_on = Date(nullable=True)
    customer_status = String(nullable=True)
    preferred_channel = String(nullable=True)
    preferred_store_id = String(nullable=True)
    last_updated_at = Timestamp(nullable=True)


@builds(CustomerRecords)
def customer_records(bronze_customers: pl.LazyFrame) -> pl.LazyFrame:
    """Silver names for the current version of every account."""
    renamed = {
        "PREFERRED_STORE": "preferred_store_id",
        "REGISTRATION_DATE": "registered_on",
        "LAST_LOGIN_DATE": "last_login_on",
        "LAST_UPDATED_DATE": "last_updated_at",
    }
    names = [c for c in CustomerRecords.columns() if c not in ("record_id", "source_system", *renamed.values())]
    return bronze_customers.select(
        record_id("_source_system", "CUSTOMER_ID").alias("record_id"),
        pl.col("_source_system").alias("source_system"),
        *(pl.col(c.upper()).alias(c) for c in names),
        *(pl.col(source).alias(silver) for source, silver in renamed.items()),
    )


class CustomerChanges(Table, table="silver.customer_changes", per="change_id", sort_by=("cdc_timestamp", "change_id")):
    """One row per change of a customer account in the database of one source system (CDC_CUSTOMER_CHANGES)."""

    change_id = String(primary_key=True)
    source_system = String(primary_key=True)
    customer_id = String(nullable=True, metadata=personal("account"))
    change_type = OneOf("INSERT", "UPDATE", "DELETE", "TRUNCATE")
    changed_columns = String(nullable=True, description="JSON array of names; null where the log does not tell them")
    old_values = String(nullable=True, metadata=personal("text"), description="JSON object; as far as the log has them")
    new_values = String(nullable=True, metadata=personal("text"), description="JSON object; null of a deletion")
    cdc_timestamp = Timestamp(nullable=True, description="When the change was committed")


@builds(CustomerChanges)
def customer_changes(bronze_customer_changes: pl.LazyFrame) -> pl.LazyFrame:
    """Silver names; a change that was delivered twice is one."""
    names = [c for c in CustomerChanges.columns() if c != "source_system"]
    return bronze_customer_changes.select(
        pl.col("_source_system").alias("source_system"), *(pl.col(c.upper()).alias(c) for c in names)
    )


class LoyaltySystems(Table, table="silver.loyalty_systems", sort_by=("source_system", "told_by")):
    """One row per source system whose accounts or receipts tell of the loyalty programme: a card, a tier, or points on
    any of them. Of who stands in no such system it is not known whether he is a member.
    """

    source_system = String(primary_key=True)
    told_by = OneOf("accounts", "receipts", primary_key=True)


EARNED = pl.any_horizontal(pl.col("loyalty_points_earned", "loyalty_points_redeemed").fill_null(0) != 0)


def is_member() -> pl.Expr:
    """Whether an account tells that its owner is a member: a card, a tier, or points other than 0."""
    card = pl.col("loyalty_id").str.strip_chars().str.strip_chars("0") != ""
    told = pl.any_horizontal(card, pl.col("loyalty_tier").is_not_null(), pl.col("loyalty_points") != 0)
    return told.fill_null(False)


@builds(
    LoyaltySystems,
    reads={
        "silver.customer_records": ("source_system", "loyalty_id", "loyalty_tier", "loyalty_points"),
        "silver.transactions": ("source_system", "loyalty_points_earned", "loyalty_points_redeemed"),
    },
)
def loyalty_systems(silver_customer_records: pl.LazyFrame, silver_transactions: pl.LazyFrame) -> pl.LazyFrame:
    """Systems by the values that they gave: a column that is empty everywhere tells nothing."""
    told = {
        "accounts": silver_customer_records.filter(is_member()),
        "receipts": silver_transactions.filter(EARNED),
    }
    return pl.concat([rows.select("source_system", told_by=pl.lit(by)).unique() for by, rows in told.items()])


class PersonAccounts(Table, table="silver.person_accounts", per="person_id", bucketed=True, sort_by=("person_id",)):
    """One row per person: how surely its accounts belong together, and when the last of them changed."""

    person_id = String(primary_key=True)
    account_count = Integer()
    identity_confidence = Float(
        description="Of the account that is tied worst, 0 to 1; a lone account or a login is sure"
    )
    last_updated_at = Timestamp(nullable=True)
    is_member = Boolean(
        nullable=True,
        description="An account has a loyalty card, a tier or points; null where no account is of a system that tells",
    )


@builds(
    PersonAccounts,
    reads={
        "silver.identity_edges": ("record_id_l", "record_id_r", "match_probability", "decision"),
        "silver.customer_records": (
            "record_id", "source_system", "last_updated_at", "loyalty_id", "loyalty_tier", "loyalty_points",
        ),
    },
)  # fmt: skip
def person_accounts(
    silver_identities: pl.LazyFrame,
    silver_identity_edges: pl.LazyFrame,
    silver_customer_records: pl.LazyFrame,
    silver_loyalty_systems: pl.LazyFrame,
) -> pl.LazyFrame:
    """An account is tied as well as its best accepted match; a link by login has no probability and counts as sure."""
    accepted = silver_identity_edges.filter(pl.col("decision") == "accepted")
    ends = [
        accepted.select(pl.col(end).alias("record_id"), "match_probability") for end in ("record_id_l", "record_id_r")
    ]
    ties = pl.concat(ends).group_by("record_id").agg(tie=pl.col("match_probability").fill_null(1.0).max())
    accounts = (
        silver_identities.select("record_id", "person_id")
        .join(ties, on="record_id", how="left")
        .join(_told(silver_customer_records, silver_loyalty_systems), on="record_id", how="left")
    )
    return accounts.group_by("person_id").agg(
        account_count=pl.len().cast(pl.Int64),
        identity_confidence=pl.col("tie").min().fill_null(1.0),
        last_updated_at=pl.col("last_updated_at").max(),
        is_member=pl.when(pl.col("member").any()).then(True).when(pl.col("tells").any()).then(False),
    )


def _told(records: pl.LazyFrame, systems: pl.LazyFrame) -> pl.LazyFrame:
    """By account: when it changed, whether it is a ``member``'s, and whether its system ``tells``."""
    telling = systems.filter(pl.col("told_by") == "accounts").select("source_system", tells=True)
    return records.join(telling, on="source_system", how="left").select(
        "record_id", "last_updated_at", member=is_member(), tells=pl.col("tells").fill_null(False)
    )


class Addresses(Table, table="silver.addresses", per="person_id", sort_by=("person_id",)):
    """One row per person with a known surname and address: the key that its household shares."""

    person_id = String(primary_key=True)
    household_id = String(description="Digest of surname, street and postcode, however they are written")


@builds(Addresses)
def addresses(silver_people: pl.LazyFrame) -> pl.LazyFrame:
    """Case, accents and punctuation make no difference; a postcode counts by its first five characters."""

    def letters(column: str) -> pl.Expr:
        return pl.col(column).str.normalize("NFKD").str.to_lowercase().str.replace_all(r"[^\p{L}\p{N}]", "")

    parts = [letters("last_name"), letters("address_line_1"), letters("zip_code").str.head(5)]
    known = pl.all_horizontal(p.str.len_chars() > 0 for p in parts)
    keys = pl.concat_str(parts, separator="|").map_batches(_digests, return_dtype=pl.String)
    return silver_people.filter(known).select("person_id", household_id=keys)


def _digests(keys: pl.Series) -> pl.Series:
    """Polars' own hash may differ between its versions; ids that stand in tables may not."""
    return pl.Series(keys.name, ["h" + sha256(k.encode()).hexdigest()[:16] for k in keys], dtype=pl.String)
