"""What each person denies, as of what is known now: the one table that every use of personal data is filtered by."""

from __future__ import annotations

import polars as pl

from customer360.pipelines.consents import RESTING, RESTRICTED, denied_by, standing
from customer360.pipelines.rules import EnrichmentRules
from customer360.platform import purposes
from customer360.platform.graph import builds
from customer360.platform.tables import OneOf, String, Table


class Denials(Table, table=purposes.DENIALS, per="person_id", sort_by=("person_id", "purpose"), serves="OPERATION"):
    """One row per person and purpose that must not be served.

    An answer counts whatever its date is: a refusal holds from the run that lands it, and depends on no as_of.
    """

    person_id = String(primary_key=True)
    purpose = OneOf(*purposes.PURPOSES, primary_key=True, description="That must not be served")
    because = OneOf(
        "refused",
        "follows",
        "not asked",
        RESTRICTED,
        description="refused: the person's answer; follows: from a refusal of PERSONALIZATION or PROFILING; not asked:"
        " the rule file asks for a yes; restricted by request: until it is released, whatever was answered. Contacts"
        " and sale that were never asked for stand in no row: they need a yes",
    )


@builds(Denials, rules="enrichment")
def denials(
    silver_people: pl.LazyFrame,
    silver_consent_intervals: pl.LazyFrame,
    gold_restrictions: pl.LazyFrame,
    params: EnrichmentRules,
) -> pl.LazyFrame:
    """Refusals that stand, and what requests restrict; personalization rests on a profile, so that who refuses
    profiling is not personalized."""
    now = standing(silver_consent_intervals)
    people = pl.concat([silver_people.select("person_id"), now.select("person_id")]).unique()
    answered = denied_by(people, now, {purpose: params.allows_unasked(purpose) for purpose in RESTING})
    asked = gold_restrictions.select("person_id", "purpose", because=pl.lit(RESTRICTED))
    both = pl.concat([answered, asked]).unique(["person_id", "purpose"], keep="last", maintain_order=True)
    return both.sort("person_id", "purpose")
