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


_last: dict[str, tuple[object, pl.DataFrame]] = {}  # of this process, by lake: what was read, and what it said


def denied(lake: Lake) -> pl.DataFrame:
    """What is denied in a lake as it is (`SCHEMA`): the table, every refusal that landed since it was built, and what a
    request restricted, of whoever holds the account now. A yes since then waits for the table.
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
    asked = [(account, purpose) for account, no in restricted.items() for purpose in sorted(no)]
    if asked and lake.exists(HOLDERS):
        rows = pl.LazyFrame(asked, schema={"record_id": pl.String, "purpose": pl.String}, orient="row")
        held = rows.join(lake.scan(HOLDERS).select("record_id", "person_id"), on="record_id")
        parts.append(held.select("person_id", "purpose", because=pl.lit(RESTRICTED)))
    kept = pl.concat(parts).unique(["person_id", "purpose"], keep="last", maintain_order=True)
    return kept.sort("person_id", "purpose").collect()
