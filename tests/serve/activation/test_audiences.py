"""Audiences: who is meant, who is reached, and what a file shows."""

from __future__ import annotations

import stat
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from customer360.pipelines.gold import permissions  # noqa: F401 - declares gold.contact_permissions
from customer360.pipelines.gold.customers import GROUPS
from customer360.pipelines.rules import Audience, AudienceRules
from customer360.pipelines.silver import engagement  # noqa: F401 - declares silver.consent_intervals
from customer360.platform import erasure_list, privacy
from customer360.platform.errors import ConfigError, TableMissing
from customer360.platform.privacy import Identifiers
from customer360.serve.activation import audiences
from customer360.serve.cli import audiences as commands

AS_OF = date(2026, 3, 1)
LOYAL = Audience(
    description="Loyal", where="order_count >= 3\nand lifecycle_stage == 'ACTIVE'", columns=["order_count"]
)
RULES = AudienceRules(audiences={"loyal": LOYAL, "all": Audience(description="All", where="True")})
# What keeps each from being reached by e-mail; phone numbers are all the same, and two e-mail addresses.
PEOPLE: dict[str, dict[str, Any]] = {
    "p_good": {},
    "p_few": {"order_count": 2},
    "p_lapsed": {"lifecycle_stage": "LAPSED"},
    "p_gone": {},
    "p_refused": {"may_personalize": False},
    "p_refused_today": {},
    "p_no_mail": {"may_email": False},
    "p_no_mail_today": {},
    "p_not_asked": {"may_email": False, "unanswered_purposes": ["EMAIL"]},
    "p_left_list": {"has_unsubscribed": True, "may_email": False},
    "p_blank": {"email_address": " "},
    "p_none": {"email_address": None},
    "p_spouse": {"email_address": " P_GOOD@example.org"},
    "p_erased": {"email_address": "erased@example.org"},
}

YES = {"person_id": "p_good", "channel": "EMAIL", "as_of": AS_OF, "is_permitted": True, "reason": "ALLOWED",
       "is_answered": True, "answered_on": None, "contact_point": "other@example.org"}  # fmt: skip


@pytest.fixture
def shop(empty_shop: Any) -> Any:
    def row(person: str, other: dict[str, Any]) -> dict[str, Any]:
        return empty_shop.profile(person, **({"order_count": 3, "has_unsubscribed": False} | other))

    old = row("p_old", {"as_of": date(2026, 2, 1)})
    empty_shop.write("gold.customer_360", [*(row(person, other) for person, other in PEOPLE.items()), old])
    empty_shop.write("silver.identities", [
        {"record_id": f"POS/{person}", "source_system": "POS", "customer_id": person, "person_id": person, "resolved_by": "alone"}  # noqa: E501
        for person in PEOPLE if person != "p_gone"
    ])  # fmt: skip
    later = {"valid_from": date(2026, 3, 2), "valid_to": None, "is_allowed": False}
    empty_shop.write("silver.consent_intervals", [
        {"person_id": "p_refused_today", "purpose": "PERSONALIZATION", **later},
        {"person_id": "p_no_mail_today", "purpose": "EMAIL", **later},
        {"person_id": "p_good", "purpose": "EMAIL", **later, "valid_to": date(2026, 3, 3)},
        {"person_id": "p_good", "purpose": "EMAIL", **later, "valid_from": date(2026, 3, 3), "is_allowed": True},
    ])  # fmt: skip
    empty_shop.write("gold.contact_permissions", [YES | {"person_id": "p_few", "contact_point": "p_few@example.org"}])
    erasure_list.remember_erasure(empty_shop.lake, ["CONTACT/erased@example.org"])
    return empty_shop


def places(shop: Any, channel: str) -> dict[str, list[str]]:
    rows = audiences.placed(audiences.people(shop.lake), LOYAL, channel)
    return {place: part["person_id"].to_list() for (place,), part in rows.group_by("place", maintain_order=True)}


def test_everybody_who_is_meant_ends_in_one_place(shop: Any) -> None:
    assert places(shop, "email") == {
        audiences.GONE: ["p_erased", "p_gone"],
        audiences.REFUSED: ["p_refused", "p_refused_today"],
        audiences.NO_CONSENT: ["p_no_mail", "p_no_mail_today"],
        audiences.NOT_ASKED: ["p_not_asked"],
        audiences.UNSUBSCRIBED: ["p_left_list"],
        audiences.NO_ADDRESS: ["p_blank", "p_none"],
        audiences.SAME_ADDRESS: ["p_spouse"],
        audiences.REACHED: ["p_good"],
    }
    counts = audiences.counted(audiences.placed(audiences.people(shop.lake), LOYAL, "email"))
    assert list(counts) == list(audiences.PLACES) and sum(counts.values()) == len(PEOPLE) - 2


def test_the_list_does_not_call_people_allowed_who_may_not_be_contacted(
    shop: Any, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(commands, "_opened", lambda config: (audiences.people(shop.lake), RULES))
    commands.list_audiences(None)
    said = capsys.readouterr().out
    assert "personalizable" in said and "allowed" not in said and "audience show NAME" in said


def test_a_yes_of_another_address_reaches_nobody(shop: Any) -> None:
    shop.write("gold.contact_permissions", [YES])
    found = places(shop, "email")
    assert "p_good" in found[audiences.NOT_ASKED] and found[audiences.REACHED] == ["p_spouse"]
    shop.write("gold.contact_permissions", [YES | {"contact_point": "p_good@example.org"}])
    assert places(shop, "email")[audiences.REACHED] == ["p_good"]


@pytest.mark.parametrize("edition", [None, date(2026, 2, 1)])
def test_without_permissions_of_the_date_a_yes_reaches_nobody(
    empty_shop: Any, edition: date | None, capsys: Any
) -> None:
    """A run that stopped between them, or a lake that has the view alone."""
    people = {"p_yes": {}, "p_silent": {"unanswered_purposes": ["EMAIL"]}}
    empty_shop.write("gold.customer_360", [
        empty_shop.profile(p, **({"order_count": 3, "has_unsubscribed": False} | more)) for p, more in people.items()
    ])  # fmt: skip
    empty_shop.write("silver.identities", [
        {"record_id": f"POS/{p}", "source_system": "POS", "customer_id": p, "person_id": p, "resolved_by": "alone"}
        for p in people
    ])  # fmt: skip
    if edition:
        empty_shop.write("gold.contact_permissions", [YES | {"person_id": "p_yes", "as_of": edition}])
    assert places(empty_shop, "email") == {audiences.REACHED: ["p_silent"], audiences.NOT_ASKED: ["p_yes"]}
    assert places(empty_shop, "push") == {audiences.REACHED: ["p_silent", "p_yes"]}, "the app has no address"
    commands._tell_unproven(audiences.people(empty_shop.lake))
    said = capsys.readouterr().out
    assert f"no rows of {AS_OF}" in said and "`customer360 run gold`" in said


def test_channels_differ(shop: Any) -> None:
    assert places(shop, "push")[audiences.REACHED] == [
        "p_blank", "p_erased", "p_good", "p_no_mail", "p_no_mail_today", "p_none", "p_not_asked", "p_spouse",
    ]  # fmt: skip
    calls = places(shop, "phone")
    assert calls[audiences.REACHED] == ["p_blank"] and "p_left_list" in calls[audiences.SAME_ADDRESS]


def test_who_is_being_erased_is_reached_over_no_channel(shop: Any) -> None:
    """The lake knows the person until everything is rewritten, and a push needs no address."""
    assert "p_good" in places(shop, "push")[audiences.REACHED]
    privacy.begin_erasure(shop.lake, "p_good", Identifiers(persons=frozenset({"p_good"})))
    for channel in ("push", "email"):
        assert "p_good" in places(shop, channel)[audiences.GONE]


def test_sizes(shop: Any) -> None:
    of = audiences.people(shop.lake)
    assert of.as_of == AS_OF
    assert audiences.sizes(of, RULES) == {"loyal": (12, 10), "all": (14, 12)}
    assert audiences.sizes(of, AudienceRules()) == {}


def test_a_file_shows_contacts_only_where_asked_and_to_its_owner_alone(shop: Any, tmp_path: Path) -> None:
    rows = audiences.placed(audiences.people(shop.lake), LOYAL, "email")
    out = tmp_path / "new" / "loyal.csv"
    out.parent.mkdir()
    out.write_text("old")
    out.chmod(0o666)
    assert audiences.export(rows, LOYAL, "email", out, contacts=False) == 1
    assert out.read_text() == "person_id,order_count\np_good,3\n"
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    parquet = tmp_path / "loyal.parquet"
    assert audiences.export(rows, LOYAL, "email", parquet, contacts=True) == 1
    assert pl.read_parquet(parquet).rows() == [("p_good", 3, "p_good@example.org")]
    canaries = [
        *PEOPLE,
        *(address.strip() for p in PEOPLE.values() if (address := p.get("email_address") or "").strip()),
    ]
    written = out.read_text() + str(pl.read_parquet(parquet).rows())
    assert [c for c in canaries if c in written] == ["p_good"], "nobody else is in a file"


def test_faults_are_named(empty_shop: Any) -> None:
    with pytest.raises(TableMissing, match="customer360 run"):
        audiences.people(empty_shop.lake)
    with pytest.raises(ConfigError, match="did you mean loyal"):
        audiences.named(RULES, "loyel")
    for where, columns, words in (
        ("recency_day > 3", [], "did you mean recency_days"), ("lifecycle_stage == 'ACTVE'", [], "did you mean ACTIVE"),
        ("True", ["nothing"], "'nothing' is no column"), ("True", ["email_address"], "is personal data"),
    ):  # fmt: skip
        with pytest.raises(ValidationError, match=words):
            AudienceRules(audiences={"wrong": Audience(description="", where=where, columns=columns)})


def test_the_committed_audiences_are_conditions_on_the_view() -> None:
    from customer360.platform import settings as configuration
    from customer360.serve.compose import compose, rules_of

    compose()
    found = rules_of(configuration.load(None, {}))["audiences"]
    assert isinstance(found, AudienceRules) and len(found.audiences) >= 5


def test_what_nobody_has_makes_an_audience_unknown_and_not_empty(shop: Any) -> None:
    def audience(where: str) -> Audience:
        return Audience(description="", where=where)

    rules = AudienceRules(audiences={
        "unscored": audience("next_category == 'Toys' and order_count >= 3"), "nobody": audience("order_count > 999"),
        "either": audience("known(churn_probability, 0) > 0.5 or order_count >= 3"), "all": audience("True"),
    })  # fmt: skip
    assert audiences.unknown(audiences.people(shop.lake), rules) == {"unscored": ["next_category"]}


def test_who_asks_is_told_which_model_would_tell() -> None:
    assert "`customer360 train propensity`, then `customer360 score`" in commands._remedy(["next_category"])
    assert all(group in GROUPS for group in commands.MODELS)
