"""Who a fact belongs to: the person if known, else the visitor, else the receipt or event itself; never nobody.

Links have time: a shared device belongs to whoever was logged in. ``silver.identity_links`` holds one row per
(identifier, interval): kind ``account`` ("POS/123", no interval) or ``visitor``.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from customer360.pipelines.vocabulary import record_id


@dataclass(frozen=True, eq=False)
class Owner:
    """How the facts of a table find their subject: columns of silver, so that a stored row finds it anew.

    ``at`` names the instant, ``visitor`` the column with the cookie or device id; ``otherwise`` is the subject of a
    fact with neither account nor visitor.
    """

    at: str
    otherwise: pl.Expr
    visitor: str | None = None

    def of(self, rows: pl.LazyFrame, silver_identity_links: pl.LazyFrame) -> pl.LazyFrame:
        """The rows (with ``source_system`` and ``customer_id``) with the ``subject_id`` and ``person_id`` of now."""
        bare = rows.drop("subject_id", "person_id", strict=False)
        facts = bare.with_columns(account__=record_id("source_system", "customer_id"))
        return with_subject(
            facts,
            silver_identity_links,
            account="account__",
            visitor=self.visitor,
            at=self.at,
            otherwise=self.otherwise,
        ).drop("account__")

    def reached(self, rows: pl.LazyFrame, silver_identity_links: pl.LazyFrame) -> pl.LazyFrame:
        """Those of the rows whose account or visitor one of the links names."""
        named = silver_identity_links.select("identifier").unique().with_columns(is_named__=pl.lit(True))
        columns = {"account__": record_id("source_system", "customer_id")}
        columns |= {"visitor__": pl.col(self.visitor)} if self.visitor else {}
        found = rows.with_columns(**columns)
        for column in columns:
            hits = named.rename({"identifier": column, "is_named__": f"{column}hit"})
            found = found.join(hits, on=column, how="left")
        hit = pl.any_horizontal(pl.col(f"{c}hit").fill_null(False) for c in columns)
        return found.filter(hit).drop(*columns, *(f"{c}hit" for c in columns))


def own_key(prefix: str, key: str) -> pl.Expr:
    """Subject of a fact that belongs to nobody: ``prefix:system/key``."""
    return pl.concat_str(pl.lit(f"{prefix}:"), "source_system", pl.lit("/"), key)


BY_ACCOUNT = pl.lit("a:") + record_id("source_system", "customer_id")  # of facts that always name an account


def with_subject(
    facts: pl.LazyFrame, links: pl.LazyFrame, *, account: str, visitor: str | None, at: str, otherwise: pl.Expr
) -> pl.LazyFrame:
    """Add ``person_id`` (null when unknown) and ``subject_id`` (never null) to facts.

    ``account`` names the column with the account ("SYSTEM/id"), ``visitor`` the one with the cookie or device id,
    ``at`` the instant; ``otherwise`` is the subject of a fact with neither.
    """
    accounts = links.filter(pl.col("kind") == "account").select(identifier="identifier", account_person="person_id")
    joined = facts.join(accounts, left_on=account, right_on="identifier", how="left")
    if visitor is None:
        subject = pl.coalesce("account_person", otherwise)
        return joined.with_columns(person_id="account_person", subject_id=subject).drop("account_person")
    owners = (
        links.filter(pl.col("kind") == "visitor")
        .select(visitor__="identifier", valid_from="valid_from", valid_to="valid_to", visitor_person="person_id")
        .sort("valid_from")
    )
    dated = joined.sort(at).join_asof(
        owners,
        left_on=at,
        right_on="valid_from",
        by_left=visitor,
        by_right="visitor__",
        strategy="backward",
        check_sortedness=False,
    )
    owned = pl.when(pl.col("valid_to").is_null() | (pl.col(at) < pl.col("valid_to"))).then("visitor_person")
    # A known account that resolved to nobody is an account we have no master record of: the fact stays its own.
    person = pl.when(pl.col(account).is_not_null()).then("account_person").otherwise(owned)
    unresolved = pl.when(pl.col(account).is_not_null()).then(pl.lit("a:") + pl.col(account))
    return (
        dated.with_columns(person_id=person)
        .with_columns(subject_id=pl.coalesce("person_id", unresolved, pl.lit("v:") + pl.col(visitor), otherwise))
        .drop("account_person", "valid_from", "valid_to", "visitor_person")
    )
