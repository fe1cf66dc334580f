"""Features of many entities: values, what is withheld or masked, and what a client of Feast sends."""

from __future__ import annotations

import random
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from customer360.platform import access
from customer360.platform.online import View, reading
from customer360.serve.api import features
from customer360.serve.publication.refusals import Refusals


def asked(client: Any, features: list[str], **entities: list[str]) -> dict[str, Any]:
    answer = client.post("/v1/features", json={"features": features, "entities": entities})
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def cells(answer: dict[str, Any], name: str) -> list[tuple[Any, str]]:
    column = answer["results"][answer["metadata"]["feature_names"].index(name)]
    assert len(column["event_timestamps"]) == len(column["values"])
    return list(zip(column["values"], column["statuses"], strict=True))


def test_people_by_id_and_account(client: Any) -> None:
    names = ["customer_360:net_amount", "customer_360:next_category", "scores:churn", "scores:clv", "categories:Toys"]
    answer = asked(client("reader"), names, person_id=["p_ann", "nobody", "p_cyd"])
    assert answer["metadata"]["feature_names"] == ["person_id", *names]
    assert cells(answer, "customer_360:net_amount") == [("12.50", "PRESENT"), (None, "NOT_FOUND"), ("12.50", "PRESENT")]
    assert cells(answer, "scores:churn")[0] == (0.7, "PRESENT")
    assert cells(answer, "scores:clv")[0] == (None, "NULL_VALUE")
    assert cells(answer, "categories:Toys")[0] == (0.3, "PRESENT")
    by_account = asked(client("reader"), names, account=["POS/1", "POS/777", "POS/3"])
    assert by_account["results"][1:] == answer["results"][1:]


def test_what_a_person_refused_is_withheld(client: Any) -> None:
    names = ["scores:churn", "customer_360:churn_probability", "customer_360:net_amount"]
    answer = asked(client("service"), names, person_id=["p_bob"])
    assert [cells(answer, n)[0][1] for n in names] == ["WITHHELD", "WITHHELD", "PRESENT"]


def test_personal_data_needs_role_service(client: Any) -> None:
    names = ["customer_360:email_address"]
    assert cells(asked(client("reader"), names, person_id=["p_ann"]), names[0]) == [(None, "MASKED")]
    assert cells(asked(client("service"), names, person_id=["p_ann"]), names[0]) == [("p_ann@example.org", "PRESENT")]


def test_scores_need_a_key_that_may_read_scores(client: Any, published: Any) -> None:
    bound = client(None)
    bound.headers["X-API-Key"] = access.issue(published.state, "profiles alone", "reader", scopes=("profile",))
    statuses = [
        bound.post("/v1/features", json={"features": [name], "entities": {"person_id": ["p_ann"]}}).status_code
        for name in ("customer_360:net_amount", "scores:churn", "categories:Toys")
    ]
    assert statuses == [200, 403, 403]


def test_products(client: Any) -> None:
    answer = asked(client("reader"), ["products:price", "products:brand"], product_id=["P1", "Z"])
    assert cells(answer, "products:price") == [("2.95", "PRESENT"), (None, "NOT_FOUND")]
    assert cells(answer, "products:brand")[0] == (None, "NULL_VALUE")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"features": ["customer_360:net_amnt"], "entities": {"person_id": ["p"]}}, "did you mean net_amount"),
        ({"features": ["net_amount"], "entities": {"person_id": ["p"]}}, "write"),
        ({"features": ["products:margin_rate"], "entities": {"product_id": ["p"]}}, "products has no"),
        ({"features": ["products:price"], "entities": {"person_id": ["p"]}}, "is none of person_id"),
        ({"features": ["products:price"], "entities": {}}, "name one key"),
        ({"features": ["products:price"], "entities": {"product_id": ["p"] * 1001}}, "1 to 1,000"),
        ({"features": [], "entities": {"product_id": ["p"]}}, "features"),
    ],
)
def test_wrong_requests_say_what_is_wrong(client: Any, body: dict[str, Any], said: str) -> None:
    answer = client("reader").post("/v1/features", json=body)
    assert answer.status_code == 422
    assert said in answer.json()["detail"]


def test_a_former_id_is_answered_with_whom_it_leads_to(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    read = View.mget
    led = {"p_former": {"person_ids": ["p_ann"]}, "p_parted": {"person_ids": ["p_ann", "p_bob"]}}

    def found(view: View, kind: str, keys: Sequence[str], kept: Any = None) -> list[dict[str, Any] | None]:
        return [led.get(key) for key in keys] if kind == "former" else read(view, kind, keys, kept)

    monkeypatch.setattr(View, "mget", found)
    who = ["p_former", "p_parted", "p_ann", "nobody"]
    answer = asked(client("reader"), ["customer_360:net_amount"], person_id=who)
    statuses = [status for _, status in cells(answer, "customer_360:net_amount")]
    assert statuses == ["PRESENT", "NOT_FOUND", "PRESENT", "NOT_FOUND"]


def test_what_one_refuses_stays_with_that_one(client: Any, published: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refusals of many are read at once, and are laid to whom they belong."""
    refused = {"p_cyd": {"purposes": ["PROFILING"]}, "POS/4": {"purposes": ["PROFILING"]}}
    view = SimpleNamespace(mget=lambda _, keys: [refused.get(key) for key in keys])
    monkeypatch.setattr(Refusals, "view", lambda _: view)
    answer = asked(client("reader"), ["scores:churn"], person_id=["p_ann", "p_cyd", "p_dan", "p_ann"])
    assert cells(answer, "scores:churn") == [(0.7, "PRESENT"), (None, "WITHHELD"), (None, "WITHHELD"), (0.7, "PRESENT")]


@pytest.mark.parametrize("column", ["risk_score", "risk_level", "risk_reasons"])
def test_what_feelings_add_to_a_risk_is_taken_out_whichever_column_is_asked_for(
    client: Any, monkeypatch: pytest.MonkeyPatch, column: str
) -> None:
    reasons = [{"feature": "sentiment_score", "contribution": 0.3}, {"feature": "return_rate", "contribution": 0.25}]
    refusing = {"may_profile": False, "risk_reasons": reasons, "risk_score": 0.55, "risk_level": "HIGH"}
    read = reading._read

    def refused(text: bytes) -> Any:
        found = read(text)
        return found | {"profile": found["profile"] | refusing} if "profile" in found else found

    monkeypatch.setattr(reading, "_read", refused)
    answer = asked(client("reader"), [f"customer_360:{column}"], person_id=["p_ann"])
    left = {
        "risk_score": (0.25, "PRESENT"),
        "risk_level": (None, "NULL_VALUE"),
        "risk_reasons": (reasons[1:], "PRESENT"),
    }
    assert cells(answer, f"customer_360:{column}") == [left[column]]


def test_columns_that_everybody_shows_are_read_as_any_others_are() -> None:
    dice, names = random.Random(3), [f"c{n}" for n in range(5)]
    plain = 0
    for _ in range(500):
        known = [drawn(dice, names) for _ in range(dice.randrange(1, 5))]
        wanted = [(dice.choice([features.PEOPLE, features.SCORES]), dice.choice(names)) for _ in range(4)]
        masked = frozenset(name for name in names if dice.random() < 0.2)
        one_by_one = [
            features._column(known, kind, name, kind == features.PEOPLE and name in masked) for kind, name in wanted
        ]
        assert features._columns_of(known, wanted, masked) == one_by_one
        plain += all(status == features.PRESENT for _, statuses in one_by_one for status in statuses)
    assert plain > 5


def drawn(dice: random.Random, names: Sequence[str]) -> features.Known | None:
    """What is known of somebody, who may be unknown, refuse, or lack columns."""
    if dice.random() < 0.1:
        return None
    profile = {name: dice.choice([None, 1, 0, "", "x"]) for name in names if dice.random() < 0.9}
    scores = None if dice.random() < 0.1 else {name: 0.5 for name in names if dice.random() < 0.9}
    withheld = frozenset(name for name in names if dice.random() < 0.1)
    return features.Known({features.PEOPLE: profile, features.SCORES: scores}, withheld)
