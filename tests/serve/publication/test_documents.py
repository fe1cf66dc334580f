"""What is published from the lake."""

from datetime import date
from pathlib import Path
from typing import Any

import pytest

from customer360.platform import online, privacy, tables
from customer360.platform.errors import TableMissing
from customer360.platform.lake import Lake
from customer360.platform.online import OnlineStore
from customer360.platform.settings import LakeSettings, Settings
from customer360.serve import jobs
from customer360.serve.publication.publishing import hide_person, publish_gold

AS_OF = date(2026, 3, 1)


def test_newest_edition_of_everybody_is_published(published: Any) -> None:
    store = OnlineStore(published.state)
    counts = {
        "person": 4,
        "account": 5,
        "scores": 2,
        "recommendations": 3,
        "popular": 1,
        "product": 6,
        "together": 1,
        "categories": 2,
        "models": 1,
        "stocked": 2,
    }
    assert store.generation.counts == counts
    assert store.generation.as_of == AS_OF
    assert store.generation.sources["gold.customer_360"] == published.lake.version("gold.customer_360")
    for person, document in zip(
        ("p_ann", "p_bob", "p_cyd", "p_dan"), store.mget("person", ("p_ann", "p_bob", "p_cyd", "p_dan")), strict=True
    ):
        assert document is not None and document["profile"]["first_name"] == f"First{person}"
    ann = store.get("person", "p_ann")
    assert ann is not None and ann["accounts"] == ["POS/1", "SHOP/9"]
    assert ann["profile"]["net_amount"] == "12.50"
    assert store.get("person", "p_left") is None, "only in an older edition"
    assert store.get("recommendations", "p_erased") is None, "not a published person"


def test_popular_is_the_short_window_then_the_long_one(published: Any) -> None:
    popular = OnlineStore(published.state).get("popular", "all")
    assert popular is not None
    assert [(i["product_id"], i["score"]) for i in popular["items"]] == [
        ("P3", 3.0),
        ("P1", 2.0),
        ("P2", 1.0),
        ("P4", 4.0),
    ]


def test_person_without_account_is_not_published(own_shop: Any) -> None:
    own_shop.write(
        "silver.identities",
        [
            {
                "record_id": "POS/2",
                "source_system": "POS",
                "customer_id": "2",
                "person_id": "p_bob",
                "resolved_by": "alone",
            }
        ],
    )
    assert own_shop.publish().counts["person"] == 1
    store = OnlineStore(own_shop.state)
    assert store.get("person", "p_ann") is None
    assert store.get("recommendations", "p_ann") is None
    assert store.get("scores", "p_ann") is None
    assert store.get("account", "POS/1") is None


def test_what_no_model_has_made_yet_is_not_needed(empty_shop: Any) -> None:
    empty_shop.write("gold.customer_360", [empty_shop.profile("p_ann")])
    empty_shop.write(
        "silver.identities",
        [
            {
                "record_id": "POS/1",
                "source_system": "POS",
                "customer_id": "1",
                "person_id": "p_ann",
                "resolved_by": "alone",
            }
        ],
    )
    assert empty_shop.publish().counts == {"person": 1, "account": 1}


def test_an_empty_lake_is_not_published(tmp_path: Path) -> None:
    with pytest.raises(TableMissing, match=r"gold\.customer_360"):
        publish_gold(Lake(str(tmp_path / "lake")), tmp_path / "state")
    assert online.current(tmp_path / "state") is None


def test_each_model_keeps_its_own_newest_list(own_shop: Any) -> None:
    older = AS_OF.replace(year=2025)
    own_shop.write(
        "gold.recommendations",
        [*own_shop.ranked("p_ann", ["P2"]), *own_shop.ranked("p_ann", ["P3"], as_of=older, model="two_tower")],
    )
    own_shop.publish()
    stored = OnlineStore(own_shop.state).get("recommendations", "p_ann")
    assert stored is not None
    assert [(r["model"], r["items"][0]["product_id"]) for r in stored["lists"]] == [
        ("item_to_item", "P2"),
        ("two_tower", "P3"),
    ]


def test_who_is_erased_is_gone_at_once_and_with_the_next_publication_for_good(own_shop: Any) -> None:
    own_shop.publish()
    own_shop.publish()
    store = OnlineStore(own_shop.state, poll_seconds=0)
    assert store.get("person", "p_ann") is not None
    privacy.begin_erasure(own_shop.lake, "p_ann", privacy.Identifiers(persons=frozenset({"p_ann"})))
    hide_person(own_shop.state, ["p_ann", "p_before"], ["POS/1", "SHOP/9"])
    for kind, key in (
        ("person", "p_ann"),
        ("account", "POS/1"),
        ("account", "SHOP/9"),
        ("scores", "p_ann"),
        ("categories", "p_ann"),
        ("recommendations", "p_ann"),
    ):
        assert store.get(kind, key) is None
    assert store.get("person", "p_bob") is not None and "p_ann" not in dict(store.view().scan("person"))
    (own_shop.state / "online" / online.HIDDEN).write_text("{")  # who takes the erasure up writes it anew
    hide_person(own_shop.state, ["p_ann", "p_before"], ["POS/1", "SHOP/9"])
    assert OnlineStore(own_shop.state).mget("person", ["p_ann", "p_bob"])[0] is None
    generation = publish_gold(own_shop.lake, own_shop.state, keep=1)
    assert generation.counts["person"] == 3 and generation.counts["account"] == 3
    assert store.get("person", "p_ann") is None and not store.view().hidden.digests
    assert online.generations(own_shop.state) == [generation]
    assert not [f for f in own_shop.state.rglob("*") if f.is_file() and b"p_ann" in f.read_bytes()]


def test_whom_a_run_made_one_with_who_is_erased_is_not_published(own_shop: Any) -> None:
    begun = privacy.Identifiers(accounts=frozenset({"POS/1"}), persons=frozenset({"p_gone"}))
    privacy.begin_erasure(own_shop.lake, "p_gone", begun)  # of before the run that gave the account to p_ann
    own_shop.publish()
    store = OnlineStore(own_shop.state)
    assert store.mget("person", ["p_ann", "p_bob"])[0] is None and store.get("account", "POS/1") is None
    assert store.get("person", "p_bob") is not None


def test_hiding_before_any_publication_is_nothing(tmp_path: Path) -> None:
    hide_person(tmp_path, ["p_ann"], ["POS/1"])
    assert not (tmp_path / "online" / online.HIDDEN).exists()


def test_where_nobody_is_known_a_run_publishes_nothing_and_does_not_fail(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path / "lake"), {}, 4)
    settings = Settings(state=str(tmp_path / "state"), lake=LakeSettings(root=lake.root, buckets=4))
    with pytest.raises(TableMissing, match="customer_360"):
        jobs.publish(settings)
    for name in ("gold.customer_360", "silver.identities"):
        lake.ensure(tables.by_name(name))
    jobs.publish(settings)
    assert online.current(tmp_path / "state") is None
