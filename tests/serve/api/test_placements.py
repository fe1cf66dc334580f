"""Products for a placement, and the decisions behind them, over HTTP."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from customer360.platform import access
from customer360.serve.api import decisions
from customer360.serve.realtime.activity import Activity
from customer360.serve.realtime.ranking.journal import Journal, forget_decisions
from customer360.serve.realtime.ranking.merchandise import MerchandisingRules

ACCOUNT_OF_BOB = "POS/2"


def shown(answer: dict[str, Any]) -> list[str]:
    return [item["product_id"] for item in answer["items"]]


@pytest.fixture
def post(client: Any) -> Any:
    reader = client("reader")

    def ask(**wanted: Any) -> dict[str, Any]:
        answer = reader.post("/v1/recommendations", json=wanted)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    return ask


def test_home_of_a_known_person_is_what_may_be_sold(post: Any) -> None:
    answer = post(placement="home", person_id="p_ann", k=2)
    assert (shown(answer), answer["total"], answer["personalized"]) == (["P4", "P3"], 3, True)
    assert answer["items"][0] == {
        "position": 1, "product_id": "P4", "name": "Product P4", "category": "Toys", "price": "2.95", "currency": "EUR",
        "score": pytest.approx(1.279, abs=1e-3), "base_score": pytest.approx(1.279, abs=1e-3), "source": "model",
        "why": "Picked by what was bought before",
    }  # fmt: skip
    by_account = post(placement="home", account={"source": "POS", "customer_id": "1"}, k=2)
    assert by_account["items"] == answer["items"]


def test_a_refusal_and_a_stranger_get_the_same(post: Any) -> None:
    bob = post(placement="home", person_id="p_bob")
    nobody = post(placement="home", may_personalize=False)
    assert bob["items"] == nobody["items"]
    assert (bob["reason"], nobody["reason"], bob["personalized"]) == ("consent", "consent", False)


def test_a_product_page_shows_companions_and_says_why(post: Any) -> None:
    answer = post(placement="product", product_id="P2")
    first = answer["items"][0]
    assert (first["product_id"], first["source"], first["why"]) == ("P4", "together", "Often bought with Product P2")
    assert "P2" not in shown(answer)


def test_a_given_list_is_put_in_order_and_nothing_added(post: Any) -> None:
    answer = post(placement="search", items=["X9", "P3", "P1", "P4"], cart=["P3"], person_id="p_ann")
    assert shown(answer) == ["P3", "P4", "X9"], "P1 is out of stock; a hit stays in the cart, and the model knows P3"


def test_exclusions_filters_and_boosts(post: Any) -> None:
    assert shown(post(placement="home", exclude=["P3"])) == ["P2", "P4"]
    assert shown(post(placement="home", filter='product_id in ["P2", "P9"]')) == ["P2"]
    boosted = post(placement="home", boost=[{"where": 'product_id == "P4"', "factor": 5}])
    assert shown(boosted) == ["P4", "P3", "P2"]
    assert shown(post(placement="home", context={"store_id": "S1"})) == ["P3"], "the store has no other"
    assert len(shown(post(placement="home", context={"store_id": "S9"}))) == 3, "of that store nothing is known"


def test_an_email_needs_a_person_who_may_be_written_to(own_shop: Any) -> None:
    people = ("p_ann", "p_cyd")
    own_shop.write("gold.customer_360", [own_shop.profile(p, may_email=p == "p_ann") for p in people])
    own_shop.publish()
    reader = own_shop.clients()("reader")
    ann, cyd = (reader.post("/v1/recommendations", json={"placement": "email", "person_id": p}).json() for p in people)
    assert shown(ann) == ["P4", "P3", "P2"]
    assert (shown(cyd), cyd["reason"]) == ([], "e-mail")


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"placement": "attic"}, "placement"),
        ({"placement": "home", "person_id": "p_ann", "account": {"source": "POS", "customer_id": "1"}}, "name one"),
        ({"placement": "email"}, "name person_id or account"),
        ({"placement": "product"}, "product_id"),
        ({"placement": "search"}, "items"),
        ({"placement": "home", "filter": "margin_rate > 0.5"}, "is no column"),
        ({"placement": "home", "filter": "__import__('os')"}, "is no function"),
        ({"placement": "home", "boost": [{"where": "price", "factor": 2}]}, "a condition is true or false"),
        ({"placement": "home", "k": 0}, "k"),
        ({"placement": "home", "kk": 1}, "kk"),
    ],
)
def test_wrong_requests_say_what_is_wrong(client: Any, wanted: dict[str, Any], said: str) -> None:
    answer = client("reader").post("/v1/recommendations", json=wanted)
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    assert said in answer.json()["detail"]


def test_unknown_people_are_404(client: Any) -> None:
    for who in ({"person_id": "nobody"}, {"account": {"source": "POS", "customer_id": "777"}}):
        assert client("reader").post("/v1/recommendations", json={"placement": "home", **who}).status_code == 404


def test_activity_counts_for_who_allows_it(own_shop: Any) -> None:
    own_shop.publish()
    reader = own_shop.clients()("reader")
    done = {
        "visitor/v1": Activity(viewed=("P4",), cart=("P3",)),
        "visitor/v2": Activity(viewed=("P4",), refused=frozenset({"PERSONALIZATION"})),
        ACCOUNT_OF_BOB: Activity(cart=("P3",)),
    }
    told: list[tuple[str, ...]] = []

    def of(*subjects: str) -> Activity:
        told.append(subjects)
        return next((done[subject] for subject in subjects if subject in done), Activity())

    reader.app.state.activities = SimpleNamespace(of=of)

    def ask(**wanted: Any) -> dict[str, Any]:
        return dict(reader.post("/v1/recommendations", json={"placement": "home", **wanted}).json())

    visitor = ask(visitor_id="v1")
    assert (shown(visitor), visitor["personalized"]) == (["P4", "P2"], True)
    assert visitor["items"][0]["why"] == "Looked at just now"
    assert shown(ask(visitor_id="v1", may_personalize=False)) == ["P3", "P2", "P4"], "nothing that was done is read"
    refused = ask(visitor_id="v2")
    assert (shown(refused), refused["personalized"]) == (["P3", "P2", "P4"], False), "an event said no"
    assert shown(ask(person_id="p_bob")) == ["P3", "P2", "P4"]
    ask(person_id="p_bob", visitor_id="v3")
    assert told[-1] == (ACCOUNT_OF_BOB, "visitor/v3")


def test_a_decision_tells_everything_and_replays(client: Any, post: Any) -> None:
    answer = post(placement="home", person_id="p_ann", exclude=["P2"], arm="b", visitor_id="v7")
    service, reader = client("service"), client("reader")
    service.app.state.journal = reader.app.state.journal
    told = service.get(f"/v1/decisions/{answer['decision_id']}").json()
    assert (told["replays"], told["arm"], told["asked"]["person_id"], told["is_masked"]) == (True, "b", "p_ann", False)
    assert told["dropped"] == {"not offered": 3, "excluded": 1}
    assert [(c["product_id"], c["position"]) for c in told["candidates"]][:2] == [("P4", 1), ("P3", 2)]
    dropped = {c["product_id"]: c["dropped_by"] for c in told["candidates"] if c["dropped_by"]}
    assert dropped == {"P1": "not offered", "P5": "not offered", "P6": "not offered", "P2": "excluded"}
    p4 = told["candidates"][0]
    assert (p4["sources"], p4["features"]["category"]) == ({"model": 2, "popular": 4}, "Toys")
    assert told["origin"]["model"] == "item_to_item"
    masked = reader.get(f"/v1/decisions/{answer['decision_id']}").json()
    assert masked["is_masked"]
    assert "p_ann" not in str(masked) and "v7" not in str(masked)
    assert reader.get(f"/v1/decisions/{'0' * 32}").status_code == 404
    assert reader.get("/v1/decisions/whatever").status_code == 422


def test_pages_follow_one_decision_whatever_happens(own_shop: Any) -> None:
    own_shop.publish()
    reader = own_shop.clients()("reader")
    answer = reader.post("/v1/recommendations", json={"placement": "home", "person_id": "p_ann", "k": 1}).json()
    at = f"/v1/decisions/{answer['decision_id']}/items"
    stock = [("P3", 0), ("P2", 1)]
    own_shop.write("silver.stock", [
        {"product_id": p, "store_id": "S1", "quantity_on_hand": n, "is_in_stock": n > 0} for p, n in stock
    ])  # fmt: skip
    own_shop.write("gold.recommendations", own_shop.ranked("p_ann", ["P6"]))
    own_shop.publish()
    second = reader.get(at, params={"offset": 1, "k": 1}).json()
    assert (shown(second), second["next_offset"]) == ([], 2), "sold out since"
    third = reader.get(at, params={"offset": 2, "k": 1}).json()
    assert (shown(third), third["items"][0]["position"], third["next_offset"]) == (["P2"], 3, None)
    own_shop.write("gold.customer_360", [own_shop.profile("p_ann", may_personalize=False)])
    own_shop.publish()
    refused = reader.get(at, params={"k": 5}).json()
    assert (refused["items"], refused["reason"]) == ([], "consent")


@pytest.fixture
def said(own_shop: Any) -> Any:
    """A client of a shop in which events of p_ann's account and of the device v1 just refused some purposes."""
    own_shop.write("gold.customer_360", [own_shop.profile(p, may_email=True) for p in ("p_ann", "p_bob")])
    own_shop.publish()
    reader = own_shop.clients()("reader")
    refused = dict[str, frozenset[str]]()

    def of(*subjects: str) -> Activity:
        return Activity(refused=frozenset().union(*(refused.get(subject, ()) for subject in subjects)))

    reader.app.state.activities = SimpleNamespace(of=of)
    return reader, refused


def test_a_refusal_of_an_event_holds_in_every_endpoint(said: Any) -> None:
    reader, refused = said
    wanted = {"features": ["scores:churn"], "entities": {"person_id": ["p_ann"]}}
    email = {"placement": "email", "person_id": "p_ann"}

    def told() -> tuple[Any, ...]:
        listed = reader.get("/v1/people/p_ann/recommendations").json()
        feature = reader.post("/v1/features", json=wanted).json()["results"][1]["statuses"]
        return listed["personalized"], feature, bool(reader.post("/v1/recommendations", json=email).json()["items"])

    assert told() == (True, ["PRESENT"], True)
    refused["POS/1"] = frozenset({"EMAIL"})
    assert told() == (True, ["PRESENT"], False)
    refused["POS/1"] = frozenset({"PERSONALIZATION"})
    assert told() == (False, ["WITHHELD"], False), "marketing writes to nobody who is not to be treated individually"


def test_pages_end_where_the_person_or_the_device_just_refused(said: Any) -> None:
    reader, refused = said
    asked = ({"person_id": "p_ann"}, {"visitor_id": "v1"}, {"person_id": "p_ann", "placement": "email"})
    made = [reader.post("/v1/recommendations", json={"placement": "home", **who}).json() for who in asked]
    pages = [f"/v1/decisions/{answer['decision_id']}/items" for answer in made]
    assert all(reader.get(page).json()["items"] for page in pages)
    refused |= {"POS/1": frozenset({"EMAIL"}), "visitor/v1": frozenset({"PERSONALIZATION"})}
    found = [reader.get(page).json() for page in pages]
    assert [(bool(page["items"]), page["reason"]) for page in found] == [
        (True, None), (False, "consent"), (False, "e-mail")
    ]  # fmt: skip


def test_pages_heed_the_rules_of_now_and_former_ids(own_shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    own_shop.publish()
    reader = own_shop.clients()("reader")
    answer = reader.post("/v1/recommendations", json={"placement": "home", "person_id": "p_ann"}).json()
    assert shown(answer) == ["P4", "P3", "P2"]
    recalled = MerchandisingRules.model_validate({"rules": {"r": {"do": "hide", "where": 'product_id == "P3"'}}})
    reader.app.state.chooser._rules = lambda: recalled
    at = f"/v1/decisions/{answer['decision_id']}/items"
    assert shown(reader.get(at).json()) == ["P4", "P2"]
    monkeypatch.setattr(decisions, "current_id", lambda view, person_id: "p_bob")  # p_ann is p_bob by now
    assert reader.get(at).json()["reason"] == "consent"


def test_a_reader_learns_no_margin_and_nothing_that_was_said_of_somebody(client: Any, post: Any) -> None:
    said = {"attributes": {"interests": {"Toys": 1.0}, "segment": "GOLD"}, "context": {"age": 44, "region": "DE"}}
    answer = post(placement="home", person_id="p_ann", **said)
    reader, service = client("reader"), client("service")
    service.app.state.journal = reader.app.state.journal
    masked, whole = (c.get(f"/v1/decisions/{answer['decision_id']}").json() for c in (reader, service))
    assert (whole["asked"]["context"]["age"], whole["asked"]["interests"]) == (44, [["Toys", 1.0]])
    context = masked["asked"]["context"]
    assert (context["age"], context["segment"], context["region"], masked["asked"]["interests"]) == (
        None,
        None,
        "DE",
        [],
    )
    told = [
        {
            "product_id": "P1",
            "dropped_by": None,
            "sources": {},
            "features": {"margin": 0.4, "affinity": 0.2, "fresh": 0.1},
        }
    ]
    assert decisions._without_activity(told)[0]["features"] == {"fresh": 0.1}


def test_lists_of_before_have_decisions_too(client: Any) -> None:
    service = client("service")
    answer = service.get("/v1/people/p_ann/recommendations?k=2")
    told = service.get(f"/v1/decisions/{answer.headers['X-Decision-Id']}").json()
    placed = [c["product_id"] for c in told["candidates"] if c["position"]]
    assert (placed, told["replays"], told["dropped"]) == (shown(answer.json()), True, {"not offered": 2})


def test_an_erasure_takes_decisions(own_shop: Any) -> None:
    own_shop.publish()
    service = own_shop.clients()("service")
    answer = service.post("/v1/recommendations", json={"placement": "home", "person_id": "p_ann"}).json()
    journal: Journal = service.app.state.journal
    journal.flush()
    assert forget_decisions(own_shop.state, ["p_ann"]) == 1
    assert service.get(f"/v1/decisions/{answer['decision_id']}").status_code == 404


def test_a_key_bound_to_another_group_is_refused(client: Any, published: Any) -> None:
    nobody = client(None)
    assert nobody.post("/v1/recommendations", json={"placement": "home"}).status_code == 401
    for scope, status in (("profile", 403), ("recommendations", 200)):
        nobody.headers["X-API-Key"] = access.issue(published.state, f"bound to {scope}", "reader", scopes=(scope,))
        assert nobody.post("/v1/recommendations", json={"placement": "home"}).status_code == status
