"""What is denied in a lake as it is, for every use of personal data outside of the builds."""

from __future__ import annotations

import polars as pl

from customer360.pipelines.consents import RESTING, denied_by, standing
from customer360.platform import purposes
from customer360.platform.lake import Lake

ANSWERS = "silver.consent_intervals"
SCHEMA = {"person_id": pl.String, "purpose": pl.String, "because": pl.String}


def denied(lake: Lake) -> pl.DataFrame:
    """What is denied in a lake as it is (`SCHEMA`): the table, and every refusal that landed since it was built. A yes
    since then waits for the table.
    """
    parts = [pl.LazyFrame(schema=SCHEMA)]
    if lake.exists(purposes.DENIALS):
        parts.append(lake.scan(purposes.DENIALS).select(list(SCHEMA)))
    if lake.exists(ANSWERS):
        now = standing(lake.scan(ANSWERS))
        parts.append(denied_by(now.select("person_id").unique(), now, dict.fromkeys(RESTING, True)))
    kept = pl.concat(parts).unique(["person_id", "purpose"], keep="last", maintain_order=True)
    return kept.sort("person_id", "purpose").collect()
