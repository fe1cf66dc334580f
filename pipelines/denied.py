"""What is denied in a lake as it is, for every use of personal data outside of the builds; and what requests restrict,
as a table, for the builds."""

from __future__ import annotations

import hashlib

import polars as pl

from customer360.pipelines.consents import RESTING, RESTRICTED, denied_by, standing
from customer360.platform import purposes
from customer360.platform.graph import produces
from customer360.platform.lake import Lake
from customer360.platform.restrictions import restrictions
from customer360.platform.run.planning import Context
from customer360.platform.tables import OneOf, String, Table

ANSWERS, HOLDERS = "silver.consent_intervals", "silver.identities"
SCHEMA = {"person_id": pl.String, "purpose": pl.String, "because": pl.String}


class Restrictions(
    Table, table="gold.restrictions", per="person_id", sort_by=("person_id", "purpose"), serves="OPERATION"
):
    """One row per person and purpose that a request restricts, of whoever holds the account that it named."""

    person_id = String(primary_key=True)
    purpose = OneOf(
        *purposes.PURPOSES, primary_key=True, description="That must not be served until the request is released"
    )


def asked_for(context: Context) -> str:
    """Digest of what requests restrict, which is no table."""
    return restrictions_digest(context.lake)


@produces(Restrictions, inputs=(HOLDERS,), version=asked_for)
def restricted_persons(context: Context, holders: pl.LazyFrame) -> pl.LazyFrame:
    """Restrictions as of the last run; those noted since hold by `denied`."""
    return _restricted(restrictions(context.lake), holders)


def restrictions_digest(lake: Lake) -> str:
    """Changes when a request restricts something or is released."""
    said = sorted((account, sorted(no)) for account, no in restrictions(lake).items())
    return hashlib.sha256(repr(said).encode()).hexdigest()


def _restricted(restricted: dict[str, set[str]], holders: pl.LazyFrame) -> pl.LazyFrame:
    asked = [(account, purpose) for account, no in restricted.items() for purpose in sorted(no)]
    rows = pl.LazyFrame(asked, schema={"record_id": pl.String, "purpose": pl.String}, orient="row")
    held = rows.join(holders.select("record_id", "person_id"), on="record_id").select("person_id", "purpose")
    return held.unique().sort("person_id", "purpose")


_last: dict[str, tuple[object, pl.DataFrame]] = {}  # of this process, by lake: what was read, and what it said


def denied(lake: Lake) -> pl.DataFrame:
    """What is denied in a lake as it is (`SCHEMA`): the table, every refusal that landed since it was built, and what a
    request restricted, of whoever holds the account now. A yes since then, and a release, waits for the table.
    """
    asked = restrictions(lake)
    read = tuple(lake.state(name) for name in (purposes.DENIALS, ANSWERS, HOLDERS)), asked
    known = _last.get(lake.root)
    if known is None or known[0] != read:
        known = _last[lake.root] = (read, _denied(lake, asked))
    return known[1]


def _denied(lake: Lake, restricted: dict[str, set[str]]) -> pl.DataFrame:
    parts = [pl.LazyFrame(schema=SCHEMA)]
    if lake.exists(purposes.DENIALS):
        parts.append(lake.scan(purposes.DENIALS).select(list(SCHEMA)))
    if lake.exists(ANSWERS):
        now = standing(lake.scan(ANSWERS))
        parts.append(denied_by(now.select("person_id").unique(), now, dict.fromkeys(RESTING, True)))
    if restricted and lake.exists(HOLDERS):
        parts.append(_restricted(restricted, lake.scan(HOLDERS)).with_columns(because=pl.lit(RESTRICTED)))
    kept = pl.concat(parts).unique(["person_id", "purpose"], keep="last", maintain_order=True)
    return kept.sort("person_id", "purpose").collect()
