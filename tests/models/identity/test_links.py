"""Whose a device was when: events of shared devices belong to whoever was logged in, in both directions of time."""

from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from customer360.models.identity.links import device_links, identity_links
from customer360.models.identity.rules import Stitching
from customer360.pipelines.rules import ValidationRules
from customer360.pipelines.silver.behavior import visitor_logins
from customer360.pipelines.subjects import with_subject

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
RULES = Stitching(max_people_per_visitor=3, blocked_visitors=frozenset({"", "unknown"}))
# Ann has two accounts; Z has no record.
RESOLVED = pl.DataFrame(
    {"record_id": ["SHOP/A", "SHOP/A2", "SHOP/B", "SHOP/C", "SHOP/D"], "person_id": ["ann", "ann", "bob", "cyd", "dan"]}
)


def owners(*events: tuple[str, str | None]) -> list[str]:
    """Subjects of events a minute apart, each (device, account or None)."""
    rows = [(device, account, START + timedelta(minutes=n)) for n, (device, account) in enumerate(events)]
    schema = {"VISITOR_ID": pl.String, "CUSTOMER_ID": pl.String, "EVENT_DATE": pl.Datetime("us", "UTC")}
    told = pl.DataFrame(rows, schema=schema, orient="row").lazy()
    told = told.with_columns(_source_system=pl.lit("SHOP"), _ingested_at=pl.lit(START))
    links = identity_links(RESOLVED.lazy(), visitor_logins(told, ValidationRules()), RULES).collect()
    facts = told.with_columns(account=pl.concat_str("_source_system", "CUSTOMER_ID", separator="/"))
    found = with_subject(
        facts, links.lazy(), account="account", visitor="VISITOR_ID", at="EVENT_DATE", otherwise=pl.lit("nobody")
    )
    return found.sort("EVENT_DATE").collect()["subject_id"].to_list()


def device(*accounts: str | None, name: str = "tablet") -> list[str]:
    return owners(*((name, account) for account in accounts))


def test_an_anonymous_visit_is_known_before_and_after_the_login():
    assert device(None, "A", None) == ["ann"] * 3


def test_two_people_who_alternate_each_have_what_they_did():
    assert device(None, "A", None, "A", None, "B", None, "B", None, "A", None) == [
        "ann", "ann", "ann", "ann", "v:tablet", "bob", "bob", "bob", "v:tablet", "ann", "ann",
    ]  # fmt: skip


def test_two_accounts_of_one_person_are_one_stretch():
    assert device("A", None, "A2") == ["ann"] * 3


def test_an_account_without_a_record_ends_the_stretch_before():
    assert device("A", None, "Z", None, "A", None) == ["ann", "v:tablet", "a:SHOP/Z", "v:tablet", "ann", "ann"]
    assert device("Z", None) == ["a:SHOP/Z", "v:tablet"], "nobody is known, so nothing is claimed"
    assert device(None, "Z", "A", None) == ["v:tablet", "a:SHOP/Z", "ann", "ann"]


def test_a_device_never_joins_its_people():
    links = identity_links(
        RESOLVED.lazy(),
        pl.LazyFrame(
            {
                "visitor_id": ["t", "t"], "source_system": ["SHOP"] * 2, "customer_id": ["A", "B"],
                "first_at": [START, START + timedelta(hours=1)], "last_at": [START, START + timedelta(hours=1)],
            }
        ),
        RULES,
    ).collect()  # fmt: skip
    accounts = links.filter(kind="account")
    assert dict(accounts.select("identifier", "person_id").iter_rows()) == dict(RESOLVED.iter_rows())


def test_a_kiosk_says_nothing_of_who_is_anonymous_on_it():
    assert device("A", None, "B", None, "C", None, "D", None) == [
        "ann", "v:tablet", "bob", "v:tablet", "cyd", "v:tablet", "dan", "v:tablet",
    ]  # fmt: skip


def test_a_store_device_with_hundreds_of_visitors_stays_nobodys():
    crowd = [f"X{n}" for n in range(300)]
    found = device(*(a for account in crowd for a in (account, None)))
    assert found[1::2] == ["v:tablet"] * 300 and found[::2] == [f"a:SHOP/{account}" for account in crowd]


@pytest.mark.parametrize("placeholder", ["", "unknown", "UNKNOWN"])
def test_a_placeholder_is_no_device(placeholder):
    assert device("A", None, name=placeholder)[0] == "ann"
    assert device("A", None, name=placeholder)[1] != "ann"


def test_devices_do_not_mix():
    assert owners(("one", "A"), ("two", None), ("one", None), ("two", "B")) == ["ann", "bob", "ann", "bob"]


def test_a_clock_that_runs_ahead_logs_nobody_in():
    ahead = [("tablet", None, START), ("tablet", "A", START + timedelta(hours=40))]
    schema = {"VISITOR_ID": pl.String, "CUSTOMER_ID": pl.String, "EVENT_DATE": pl.Datetime("us", "UTC")}
    told = pl.DataFrame(ahead, schema=schema, orient="row").lazy()
    told = told.with_columns(_source_system=pl.lit("SHOP"), _ingested_at=pl.lit(START))
    assert visitor_logins(told, ValidationRules()).collect().is_empty()
    assert visitor_logins(told, ValidationRules(ahead_hours=48)).collect().height == 1


def test_one_person_on_two_devices_has_a_stretch_on_each():
    events = [("one", "A"), ("two", "A"), ("one", None), ("two", None), ("two", "B"), ("three", "B"), ("three", None)]
    assert owners(*events) == ["ann", "ann", "ann", "v:two", "bob", "bob", "bob"]
    rows = [(name, "SHOP", who, START, START) for name, who in (("one", "A"), ("three", "A"), ("two", "A2"))]
    schema = dict.fromkeys(("visitor_id", "source_system", "customer_id"), pl.String)
    schema |= dict.fromkeys(("first_at", "last_at"), pl.Datetime("us", "UTC"))
    logins = pl.DataFrame(rows, schema=schema, orient="row").lazy()
    devices = device_links(RESOLVED.lazy(), logins, RULES).collect()
    assert devices["identifier"].to_list() == ["one", "three", "two"] and devices["valid_to"].null_count() == 3
