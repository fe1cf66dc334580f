"""Which account and which device belonged to whom, and when: the deterministic tier for facts.

A device belongs to who was logged in on it. Before its first login and after its last it belongs to who logged in first
and last, so that an anonymous visit is known in both directions of time; between two people nothing is claimed: the
silence between them belongs to nobody. A device on which too many people log in (a kiosk, a shop's tablet), or whose
id is a placeholder, says nothing about who is anonymous on it. A device never makes two people one.
"""

from __future__ import annotations

import polars as pl

from customer360.models.identity.rules import Stitching

BEGINNING = "1970-01-01T00:00:00+00:00"


def identity_links(resolved: pl.LazyFrame, logins: pl.LazyFrame, rules: Stitching) -> pl.LazyFrame:
    """Rows of `silver.identity_links` from `resolved` (record_id, person_id) and `silver.visitor_logins`."""
    return pl.concat([account_links(resolved), device_links(resolved, logins, rules)])


def _beginning() -> pl.Expr:
    return pl.lit(BEGINNING).str.to_datetime("%Y-%m-%dT%H:%M:%S%#z", time_unit="us").dt.convert_time_zone("UTC")


def account_links(resolved: pl.LazyFrame) -> pl.LazyFrame:
    """Of them the rows of accounts: each account's own."""
    return resolved.select(
        kind=pl.lit("account"),
        identifier="record_id",
        valid_from=_beginning(),
        valid_to=pl.lit(None, pl.Datetime("us", "UTC")),
        person_id="person_id",
        reason=pl.lit("resolved record"),
    )


def account_of_login() -> pl.Expr:
    """The record_id of a login's account."""
    return pl.concat_str("source_system", "customer_id", separator="/").alias("record_id")


def device_links(resolved: pl.LazyFrame, logins: pl.LazyFrame, rules: Stitching) -> pl.LazyFrame:
    """Of them the rows of devices; `resolved` must name the accounts of all logins that there are of."""
    # An account without a record was somebody all the same: it ends the stretch of who was logged in before.
    owned = (
        logins.with_columns(account_of_login())
        .filter(~pl.col("visitor_id").str.strip_chars().str.to_lowercase().is_in(sorted(rules.blocked_visitors)))
        .join(resolved.select("record_id", "person_id"), on="record_id", how="left")
        .with_columns(owner=pl.coalesce("person_id", pl.lit("a:") + pl.col("record_id")))
        .filter(pl.col("owner").n_unique().over("visitor_id") <= rules.max_people_per_visitor)
        .sort("visitor_id", "first_at")
    )
    # Two accounts of one person in a row are one stretch of that person.
    # The rows lie by device: counted through all of them, a stretch is one of one device.
    starts = [(pl.col(name) != pl.col(name).shift()).fill_null(True) for name in ("visitor_id", "owner")]
    stretch = pl.any_horizontal(starts).cum_sum()
    stretches = (
        owned.with_columns(stretch=stretch)
        .group_by("visitor_id", "stretch")
        .agg(pl.col("person_id").first(), first_at=pl.col("first_at").min(), last_at=pl.col("last_at").max())
        .sort("visitor_id", "stretch")
    )
    is_first = pl.col("stretch") == pl.col("stretch").min().over("visitor_id")
    is_last = pl.col("stretch") == pl.col("stretch").max().over("visitor_id")
    dated = stretches.select(
        kind=pl.lit("visitor"),
        identifier="visitor_id",
        valid_from=pl.when(is_first).then(_beginning()).otherwise("first_at"),
        valid_to=pl.when(is_last).then(None).otherwise(pl.col("last_at") + pl.duration(microseconds=1)),
        person_id="person_id",
        reason=pl.lit("login on the device"),
    )
    return dated.filter(pl.col("person_id").is_not_null())
