"""Golden records are made anew for whom they must be, and are those that everybody's would be."""

from __future__ import annotations

import polars as pl
from polars.testing import assert_frame_equal

from customer360.models.identity import IdentityRules, producer
from customer360.models.identity.batch.touched import Touched
from customer360.models.identity.golden import golden_and_losing
from customer360.models.identity.renewal import made_of, record_versions, renewed
from customer360.models.identity.rules import Survivorship

RULES = IdentityRules()
NOBODY, NOWHERE = pl.Series("record_id", [], pl.String), pl.Series("place", [], pl.Int64)
OVERRIDES = pl.DataFrame({"person_id": ["p1"], "attribute": ["city"], "value": ['"Bern"'], "decision": [1]})
RECORDS = pl.DataFrame(
    {
        "record_id": [f"r{n}" for n in range(6)], "source_system": ["CRM", "POS"] * 3,
        "city": ["Rome", None, "Oslo"] * 2,
        "first_name": ["Ann", "Anne", "Bob", "Rob", "Eve", "Eva"], "email_std": [None, "a@x.com"] * 3,
        "email_address": ["junk", "a@x.com"] * 3,
    }
)  # fmt: skip
ACCOUNTS = RECORDS.select(
    pl.int_range(6).alias("record"), "record_id", person_id=pl.Series([f"p{n // 2}" for n in range(6)])
)


def test_golden_records_of_some_are_those_that_everybodys_would_be() -> None:
    renewing = pl.Series("person_id", ["p1", "p2"])
    touched = Touched(None, ACCOUNTS, renewing, NOBODY, NOWHERE, NOBODY)
    made = renewed(RECORDS, touched, RULES, OVERRIDES)
    assigned = ACCOUNTS.select("record_id", "person_id")
    every, losers = golden_and_losing(RECORDS, assigned, RULES, OVERRIDES)
    is_mine = pl.col("person_id").is_in(renewing.implode())
    assert_frame_equal(made.people, every.filter(is_mine))
    assert_frame_equal(made.losers, losers.filter(is_mine))
    assert made.people["city"].to_list()[0] == "Bern"


def test_a_version_changes_with_the_record_and_with_all_else_that_decides() -> None:
    marks = pl.Series("record_mark", [1, 2, 3], pl.UInt64)
    rules = IdentityRules(survivorship=Survivorship(trusted_sources=("POS", "CRM")))
    said = made_of(producer.identities, (), RULES, "pins")
    assert said == made_of(producer.identities, (), RULES, "pins")
    others = [
        made_of(producer.identities, (), rules, "pins"),
        made_of(producer.identities, (), RULES, "other pins"),
    ]
    held = record_versions(marks, said)
    assert held.n_unique() == 3
    assert held.to_list()[::2] == record_versions(pl.Series("record_mark", [1, 9, 3], pl.UInt64), said).to_list()[::2]
    for other in others:
        assert not (record_versions(marks, other) == held).any()
