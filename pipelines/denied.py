"""What is denied in a lake as it is, for every use of personal data outside of the builds."""

from __future__ import annotations

import polars as pl

from customer360.pipelines.consents import RESTING, denied_by, standing
from customer360.platform import purposes
from customer360.platform.lake import Lake
from customer360.platform.privacy import restrictions

ANSWERS, HOLDERS = "silver.consent_intervals", "silver.identities"
RESTRICTED = "restricted by request"
SCHEMA = {"person_id": pl.String, "purpose": pl.String, "because": pl.String}


def denied(lake: Lake) -> pl.DataFrame:
    """What is denied in a lake as it is (`SCHEMA`): the table, every refusal that landed since it was built, and what a
    request restricted, of whoever holds the account now. A yes since then waits for the table.
    """
    parts = [pl.LazyFrame(schema=SCHEMA)]
    if lake.exists(purposes.DENIALS):
        parts.append(lake.scan(purposes.DENIALS).select(list(SCHEMA)))
    if lake.exists(ANSWERS):
        now = standing(lake.scan(ANSWERS))
        parts.append(denied_by(now.select("person_id").unique(), now, dict.fromkeys(RESTING, True)))
    asked = [(account, purpose) for account, no in restrictions(lake).items() for purpose in sorted(no)]
    if asked and lake.exists(HOLDERS):
        rows = pl.LazyFrame(asked, schema={"record_id": pl.String, "purpose": pl.String}, orient="row")
        held = rows.join(lake.scan(HOLDERS).select("record_id", "person_id"), on="record_id")
        parts.append(held.select("person_id", "purpose", because=pl.lit(RESTRICTED)))
    kept = pl.concat(parts).unique(["person_id", "purpose"], keep="last", maintain_order=True)
    return kept.sort("person_id", "purpose").collect()
