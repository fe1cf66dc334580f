"""Quality of customers, and of sales against each other: what needs more than one table to be judged."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import polars as pl

from customer360.pipelines.inference import sums
from customer360.pipelines.rules import ValidationRules
from customer360.platform.graph import builds
from customer360.platform.tables import Boolean, Date, Float, Integer, List, String, Table, personal

BETWEEN = "\n"  # names of columns
NATIONAL_DIGITS = 9  # of a phone number: what stands before them is written in many ways


class AgreementCounts(Table, table="gold.agreement_counts", sort_by=("child", "check", "source_system")):
    """One row per check of a table against another and source system: rows that could be compared, and that agree."""

    child = String(primary_key=True, description="Silver table of the rows")
    check = String(
        primary_key=True, description="What is to agree: total_is_the_sum_of_its_lines, price_is_near_the_catalogue"
    )
    source_system = String(primary_key=True)
    compared_count = Integer(description="Rows of which both sides are known")
    agreed_count = Integer(description="Of these, that agree")


@builds(
    AgreementCounts,
    rules="validation",
    reads={
        "silver.transaction_items": ("source_system", "product_id", "unit_price", "currency"),
        "silver.products": ("product_id", "price", "currency"),
    },
)
def agreement_counts(
    gold_total_readings: pl.LazyFrame,
    silver_transaction_items: pl.LazyFrame,
    silver_products: pl.LazyFrame,
    params: ValidationRules,
) -> pl.LazyFrame:
    """Headers against the sum of their lines as their source reads it (gold.total_readings), prices of lines against
    the catalogue, where it has one in the same currency.
    """
    sums = gold_total_readings.select(
        "source_system",
        "compared_count",
        "agreed_count",
        child=pl.lit("silver.transactions"),
        check=pl.lit("total_is_the_sum_of_its_lines"),
    )
    low, high = params.catalogue_price_share
    catalogue = silver_products.select(
        "product_id", price=pl.col("price").cast(pl.Float64), list_currency="currency"
    ).filter(pl.col("price") > 0)
    same_money = (pl.col("currency") == pl.col("list_currency")).fill_null(True)
    prices = (
        silver_transaction_items.join(catalogue, on="product_id")
        .filter(same_money)
        .select("source_system", agrees=(pl.col("unit_price").cast(pl.Float64) / pl.col("price")).is_between(low, high))
    )
    return pl.concat(
        [
            sums.select(list(AgreementCounts.columns())),
            _counted("silver.transaction_items", "price_is_near_the_catalogue", prices),
        ]
    )


def _counted(child: str, check: str, compared: pl.LazyFrame) -> pl.LazyFrame:
    return compared.group_by("source_system").agg(
        child=pl.lit(child),
        check=pl.lit(check),
        compared_count=pl.col("agrees").count().cast(pl.Int64),
        agreed_count=pl.col("agrees").sum().cast(pl.Int64),
    ).select(list(AgreementCounts.columns()))  # fmt: skip


class RecordQuality(
    Table,
    table="gold.record_quality",
    per="record_id",
    partition_by=("as_of",),
    sort_by=("record_id",),
    bucketed=False,
    serves="OPERATION",
):
    """One row per customer account and as_of date: how good its record is, in five dimensions from 0 to 1.

    Completeness is the worth of the attributes that are there; validity the share of them in a valid format;
    consistency the share of rules among them that hold; accuracy the share that agrees with the golden record, where
    the person has other records; timeliness falls from fresh to stale with the days since the last sign of life.
    """

    record_id = String(primary_key=True, metadata=personal("account"), description="Account, as SYSTEM/id")
    as_of = Date(primary_key=True)
    source_system = String()
    person_id = String(nullable=True)
    completeness_score = Float(description="Worth of the attributes that are there, of that of all of the rule file")
    accuracy_score = Float(nullable=True, description="Null: no other record of the person to compare with")
    consistency_score = Float(
        nullable=True,
        description="Share of the rules among attributes that hold, of those that could be judged; null: none could",
    )
    validity_score = Float(
        nullable=True, description="Share of the formats that hold, of those that could be judged; null: none could"
    )
    timeliness_score = Float(
        nullable=True,
        description="1 up to fresh_days since the last sign of life, 0 from stale_days on; null: no sign is dated",
    )
    quality_score = Float(description="0 to 100: weighted mean of the dimensions that could be measured")
    missing_attributes = List(String(), description="Absent or of invalid format, the most useful first")


@builds(RecordQuality, rules="validation")
def record_quality(
    silver_customer_records: pl.LazyFrame,
    silver_identities: pl.LazyFrame,
    silver_people: pl.LazyFrame,
    as_of: date,
    params: ValidationRules,
) -> pl.LazyFrame:
    """Scores of every current account."""
    attributes = list(params.customers.attributes)
    # Who has one record has nothing to compare, and most have one; a golden value is made plain once a person.
    plain = {a: _plain(pl.when(pl.col("record_count") > 1).then(a), a) for a in attributes}
    others = silver_people.filter(pl.col("record_count") > 1)
    golden = others.select("person_id", "record_count", **{f"golden_{a}": e for a, e in plain.items()})
    joined = silver_customer_records.join(
        silver_identities.select("record_id", "person_id"), on="record_id", how="left"
    ).join(golden, on="person_id", how="left")
    pairs = [(pl.col(f"own_{a}"), pl.col(f"golden_{a}")) for a in attributes]
    agrees = [pl.when((own != "") & (other != "")).then(own == other) for own, other in pairs]
    last_seen = pl.max_horizontal(pl.col("last_updated_at").dt.date(), "last_login_on", "registered_on")
    return (
        joined.with_columns(**{f"own_{a}": e for a, e in plain.items()})
        .with_columns(
            **_form_scores(params),
            accuracy_score=_share(agrees),
            timeliness_score=_timeliness(last_seen, as_of, params),
        )
        .with_columns(as_of=pl.lit(as_of), quality_score=_quality(params))
        .select(list(RecordQuality.columns()))
    )


class CustomerQuality(
    Table,
    table="gold.customer_quality",
    per="person_id",
    partition_by=("as_of",),
    sort_by=("person_id",),
    serves="OPERATION",
):
    """One row per person and as_of date: how good its golden record is, and what is missing to use it well.

    The dimensions are those of gold.record_quality over the golden record; accuracy is the mean of the person's
    records, timeliness that of the freshest one.
    """

    person_id = String(primary_key=True)
    as_of = Date(primary_key=True)
    completeness_score = Float(description="As in gold.record_quality, of the golden record; so the next two")
    accuracy_score = Float(nullable=True, description="Null: one record alone, nothing to compare with")
    consistency_score = Float(nullable=True, description="Null: no rule could be judged")
    validity_score = Float(nullable=True, description="Null: no format could be judged")
    timeliness_score = Float(
        nullable=True, description="Of the freshest of the person's records; null: none has a date"
    )
    quality_score = Float(description="0 to 100: weighted mean of the dimensions that could be measured")
    missing_attributes = List(String(), description="Absent or of invalid format, the most useful first")
    missing_worth = Float(description="Worth of the missing attributes to marketing and identity, by the rule file")
    needs_data = Boolean(description="The score lies under the rule file's needs_data_below and something is missing")


@builds(CustomerQuality, rules="validation")
def customer_quality(
    silver_people: pl.LazyFrame, gold_record_quality: pl.LazyFrame, as_of: date, params: ValidationRules
) -> pl.LazyFrame:
    """Scores of every person, from the golden record and the person's records."""
    records = (
        gold_record_quality.filter(pl.col("person_id").is_not_null())
        .sort("record_id")
        .group_by("person_id")
        .agg(sums.mean(pl.col("accuracy_score")), pl.col("timeliness_score").max())
    )
    worth = [
        pl.when(_is_missing(a, params)).then(pl.lit(w)).otherwise(0.0) for a, w in params.customers.attributes.items()
    ]
    return (
        silver_people.join(records, on="person_id", how="left")
        .with_columns(**_form_scores(params), missing_worth=pl.sum_horizontal(worth))
        .with_columns(as_of=pl.lit(as_of), quality_score=_quality(params))
        .with_columns(
            needs_data=(pl.col("quality_score") < params.customers.needs_data_below) & (pl.col("missing_worth") > 0)
        )
        .select(list(CustomerQuality.columns()))
    )


def _form_scores(params: ValidationRules) -> dict[str, pl.Expr]:
    """Completeness, validity and consistency of a record by itself, and what it lacks, the most useful first."""
    rules = params.customers
    worth = sum(rules.attributes.values())
    there = [pl.when(_is_filled(a)).then(pl.lit(w)).otherwise(0.0) for a, w in rules.attributes.items()]
    ordered = sorted(rules.attributes, key=lambda a: (-rules.attributes[a], a))
    # As one text that is parted: a list of each row's nulls and names costs five times as much.
    named = [pl.when(_is_missing(a, params)).then(pl.lit(a)) for a in ordered]
    missing = pl.concat_str(named, separator=BETWEEN, ignore_nulls=True)
    nothing = pl.lit([], pl.List(pl.String))
    return {
        "completeness_score": pl.sum_horizontal(there) / worth,
        "validity_score": _share([pl.sql_expr(text) for text in rules.validity.values()]),
        "consistency_score": _share([pl.sql_expr(text) for text in rules.consistency.values()]),
        "missing_attributes": pl.when(missing != "").then(missing.str.split(BETWEEN)).otherwise(nothing),
    }


def _is_filled(attribute: str) -> pl.Expr:
    return pl.col(attribute).is_not_null() & (pl.col(attribute).cast(pl.String).str.strip_chars() != "")


def _is_missing(attribute: str, params: ValidationRules) -> pl.Expr:
    """Absent, or there in a format that is of no use."""
    format_ = params.customers.validity.get(attribute)
    useless = ~pl.sql_expr(format_).fill_null(True) if format_ else pl.lit(False)
    return ~_is_filled(attribute).fill_null(False) | useless


def _plain(value: pl.Expr, attribute: str) -> pl.Expr:
    """A value of an attribute without case, blanks and punctuation, a phone number without its country; nothing may
    remain."""
    plain = value.cast(pl.String).str.to_lowercase().str.replace_all(r"[^\p{L}\p{N}]", "")
    return plain.str.tail(NATIONAL_DIGITS) if attribute.endswith("phone_number") else plain


def _share(verdicts: Sequence[pl.Expr]) -> pl.Expr:
    """Share of the checks passed among those that could be made; null where none could."""
    if not verdicts:
        return pl.lit(None, pl.Float64)
    return pl.mean_horizontal(v.cast(pl.Float64) for v in verdicts)


def _timeliness(last_seen: pl.Expr, as_of: date, params: ValidationRules) -> pl.Expr:
    fresh, stale = params.customers.fresh_days, params.customers.stale_days
    age = (pl.lit(as_of) - last_seen).dt.total_days()
    return (1 - (age - fresh) / (stale - fresh)).clip(0, 1)


def _quality(params: ValidationRules) -> pl.Expr:
    """0 to 100: the weighted mean of the dimensions that are not null."""
    weights = {f"{dimension}_score": weight for dimension, weight in params.weights.items()}
    scored = pl.sum_horizontal((pl.col(c) * w).fill_null(0.0) for c, w in weights.items())
    weighed = pl.sum_horizontal(
        pl.when(pl.col(c).is_not_null()).then(pl.lit(w)).otherwise(0.0) for c, w in weights.items()
    )
    return pl.when(weighed > 0).then(100 * scored / weighed).otherwise(0.0).round(2)
