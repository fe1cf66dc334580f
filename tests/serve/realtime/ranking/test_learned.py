"""The learned order over a publication: what the moment changes, what it may not know, and what is kept of it."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import date
from pathlib import Path
from types import ModuleType

import numpy as np
import polars as pl
import pytest

from customer360.models.ranking import RankingFitted, RankingParams
from customer360.models.ranking.features import NUMBERS
from customer360.models.ranking.fitting import Weights
from customer360.platform import online
from customer360.platform.online import OnlineStore
from customer360.platform.online.files import fingerprint
from customer360.serve.publication import rankers
from customer360.serve.publication.rankers import Published, RankerStore
from customer360.serve.publication.vectors import VectorStore
from customer360.serve.realtime.ranking.asking import Asked, Context
from customer360.serve.realtime.ranking.catalogue import Catalogue
from customer360.serve.realtime.ranking.choosing import Chooser, Shelves
from customer360.serve.realtime.ranking.decision import replayed, unpacked
from customer360.serve.realtime.ranking.learned import Learned
from customer360.serve.realtime.ranking.merchandise import MerchandisingRules
from customer360.serve.realtime.ranking.retrieve import Slate
from customer360.serve.realtime.session import Session

CATEGORIES = ("Books", "Garden", "Kitchen", "Lamps", "Toys", "Wine")
HOME = Asked("home", date(2026, 3, 2), 10, mode="all", diversity=0.0)


def ranker(**shares: float) -> RankingFitted:
    """On a mobile Toys count, on a desktop Books; at night Wine; in the region DE Kitchen; late in a session what is
    dear."""

    def weighing(what: str, by: float) -> np.ndarray:
        properties = [*CATEGORIES, *NUMBERS]
        return np.array([by if name == what else 0.0 for name in properties])

    size = len(CATEGORIES) + len(NUMBERS)
    contexts = {
        "device": {"mobile": weighing("Toys", 12.0), "desktop": weighing("Books", 12.0)},
        "hour": {"0": weighing("Wine", 12.0)},
        "region": {"DE": weighing("Kitchen", 12.0)},
        "depth": {"0": weighing("price", -3.0), "2": weighing("price", 3.0)},
    }
    given = {"score": 0.5, "log_score": 0.0, "affinity": 0.0, "activity": 0.0} | shares
    weights = Weights(
        CATEGORIES, np.array([2.0, 0.5, 0.5, 2.0]), np.ones(4), np.zeros(size), contexts,
        np.array(list(given.values())), np.zeros(21),
    )  # fmt: skip
    return RankingFitted(RankingParams(), HOME.on, weights, ("home",), 200, 1000)


def publish(choices: ModuleType, state: Path, fitted: RankingFitted):  # type: ignore[no-untyped-def]
    """The invented shop again, with a ranker beside it."""
    world = choices.publish_world(state)
    rows = [
        {"product_id": p, "category": d["category"], "price": float(np.log(float(d["price"]))),
         "margin": d["margin_rate"], "fresh": 0.1, "popularity": 1.0}
        for p, d in world.documents["product"].items()
    ]  # fmt: skip
    number = rankers.write_ranker(state / rankers.HOME, Published("3", fitted, pl.DataFrame(rows)))
    view = OnlineStore(state).view()
    frames = [
        pl.DataFrame({"kind": kind, "key": [k], "document": [choices.json.dumps(d)]})
        for kind, kept in world.documents.items() for k, d in kept.items()
    ]  # fmt: skip
    sources = {**view.generation.sources, rankers.SOURCE: number}
    online.publish(state, iter([pl.concat(frames)]), as_of=choices.AS_OF, sources=sources, is_told=False)
    return world


def chooser(state: Path, rules: MerchandisingRules | None = None) -> Chooser:
    said = rules or MerchandisingRules()
    return Chooser(Shelves(VectorStore(state), 30, RankerStore(state)), lambda: said)


@pytest.fixture(scope="module")
def world(choices: ModuleType, tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    return publish(choices, tmp_path_factory.mktemp("learned"), ranker())


def first(world, asked: Asked, rules: MerchandisingRules | None = None) -> list[str | None]:  # type: ignore[no-untyped-def]
    """Categories of the first three products."""
    decision = chooser(world.state, rules).choose(OnlineStore(world.state).view(), asked, None)
    return [decision.slate.category[c] for c in decision.order[:3]]


@pytest.mark.parametrize(
    ("context", "category"),
    [
        (Context(device="Mobile", hour=12), "Toys"),
        (Context(device="desktop", hour=12), "Books"),
        (Context(hour=3), "Wine"),
        (Context(region="DE", hour=12), "Kitchen"),
    ],
)
def test_what_counts_depends_on_the_moment(world, context: Context, category: str) -> None:  # type: ignore[no-untyped-def]
    assert first(world, replace(HOME, context=context)) == [category] * 3


def test_how_far_a_session_is_counts_and_a_refusal_hides_it(world) -> None:  # type: ignore[no-untyped-def]
    view, late = OnlineStore(world.state).view(), Session(viewed=("X1", "X2", "X3", "X4"))

    def price(asked: Asked) -> float:
        found = chooser(world.state).choose(view, asked, None)
        return float(world.documents["product"][found.products()[0]]["price"])

    nobody = replace(HOME, context=Context(hour=12))  # how far is not known: neither weighs
    begins = replace(nobody, visitor_id="v")
    assert price(begins) < 5 < 15 < price(replace(begins, session=late))
    assert (
        chooser(world.state).choose(view, nobody, None).products()
        != chooser(world.state).choose(view, begins, None).products()
    )
    refused = replace(begins, session=late, is_personal=False, is_profiled=False)
    stranger = chooser(world.state).choose(view, replace(refused, session=Session()), None)
    assert chooser(world.state).choose(view, refused, None).products() == stranger.products()


def test_what_was_bought_counts_unless_refused(choices: ModuleType, tmp_path: Path) -> None:
    world = publish(choices, tmp_path, ranker(affinity=9.0, score=0.0))
    view, person = OnlineStore(tmp_path).view(), next(p for p, d in world.documents["bought"].items() if d["products"])
    asked = replace(HOME, person_id=person, context=Context(hour=12))
    found = chooser(tmp_path).choose(view, asked, None)
    mine = [world.documents["product"][p]["category"] for p in world.documents["bought"][person]["products"]]
    liked = max((c for c in mine if c), key=mine.count)
    shown = [found.slate.category[c] for c in found.order[:3]]
    assert mine.count(shown[0]) == mine.count(liked) and "affinity" in found.slate.record()["values"]
    refused = chooser(tmp_path).choose(view, replace(asked, is_personal=False, is_profiled=False), None)
    assert "affinity" not in refused.slate.record()["values"]


def test_a_decision_keeps_version_and_values_and_replays_without_the_ranker(world) -> None:  # type: ignore[no-untyped-def]
    asked = replace(HOME, context=Context(device="mobile", hour=3))
    decision = chooser(world.state).choose(OnlineStore(world.state).view(), asked, None)
    kept = unpacked(decision.packed())
    assert kept["origin"]["ranker"] == "ranking 3" and len(kept["slate"]["values"]["learned"]) == len(kept["slate"]["products"])  # fmt: skip # noqa: E501
    assert replayed(kept).order == kept["answer"] == decision.order
    plain = Chooser(Shelves(VectorStore(world.state), 30), MerchandisingRules)
    unranked = plain.choose(OnlineStore(world.state).view(), asked, None)
    assert replayed(kept).base_score.tolist() == unranked.score.tolist() != decision.score.tolist()


def test_other_placements_and_a_closed_ranker_keep_the_order_of_sources(world) -> None:  # type: ignore[no-untyped-def]
    view, asked = OnlineStore(world.state).view(), replace(HOME, context=Context(device="mobile", hour=12))
    closed = MerchandisingRules.model_validate({"ranking": {"home": {"learned": False}}})
    plain = Chooser(Shelves(VectorStore(world.state), 30), MerchandisingRules)
    for one, given in (
        (chooser(world.state, closed), asked),
        (chooser(world.state), replace(asked, placement="email")),
    ):
        decision = one.choose(view, given, None)
        assert decision.origin["ranker"] is None
        assert decision.products() == plain.choose(view, given, None).products()


@pytest.mark.parametrize("name", [rankers.PRODUCTS, rankers.MANIFEST])
def test_a_damaged_ranker_is_done_without(choices: ModuleType, tmp_path: Path, name: str, caplog) -> None:  # type: ignore[no-untyped-def]
    """Until it is written again: the same process then reads it, under the same number."""
    publish(choices, tmp_path, ranker())
    home, store = tmp_path / rankers.HOME, RankerStore(tmp_path)
    file = next(home.glob(f"*/{name}"))
    products = pl.read_parquet(file.parent / rankers.PRODUCTS)
    file.write_bytes(file.read_bytes().replace(b"a", b"b"))
    view = OnlineStore(tmp_path).view()
    assert store.of(view.generation) is None
    decision = chooser(tmp_path).choose(view, HOME, None)
    assert decision.origin["ranker"] is None and decision.products() and "damaged" in caplog.text
    assert str(rankers.write_ranker(home, Published("3", ranker(), products))) == file.parent.name
    assert store.of(view.generation) is not None


def test_a_folder_tells_what_it_holds(choices: ModuleType, tmp_path: Path) -> None:
    """As those do that are shared with other machines: digits, and a manifest with sizes and checksums."""
    publish(choices, tmp_path, ranker())
    (folder,) = (tmp_path / rankers.HOME).iterdir()
    told = json.loads((folder / rankers.MANIFEST).read_text(encoding="utf-8"))
    assert folder.name.isdigit()
    assert told["files"] == {f.name: list(fingerprint(f)) for f in folder.iterdir() if f.name != rankers.MANIFEST}


def test_laws_hold_under_a_ranker(choices: ModuleType, world) -> None:  # type: ignore[no-untyped-def]
    draw, view, one = random.Random(7), OnlineStore(world.state).view(), chooser(world.state, choices.rules())
    for _ in range(60):
        asked = replace(choices.random_request(draw, world), placement="home", given=None, product_id=None)
        decision = one.choose(view, asked, view.get("person", asked.person_id) if asked.person_id else None)
        assert not choices.violations(decision, world)
        assert replayed(unpacked(decision.packed())).order == decision.order


def test_scores_are_shares_of_the_best_that_may_be_shown() -> None:
    """A log knows no other: what was dropped is not the measure."""
    known = pl.DataFrame({"product_id": ["T", "G"], "category": ["Toys"] * 2} | dict.fromkeys(NUMBERS, [2.0] * 2))
    catalogue = Catalogue.of([(p, {"is_sellable": True, "is_in_stock": None}) for p in "TGN"], HOME.on)
    learned, places = Learned.of(Published("1", ranker(score=1.0), known), catalogue), catalogue.places([*"TGN"])
    slate = Slate(
        tuple("TGN"), (None,) * 3, {}, {}, {"activity": np.zeros(3)}, {"bought": np.array([2])}, places=places
    )
    score = learned.values(slate, places, np.array([1.0, 0.5, 9.0]), HOME, np.zeros(3))["learned"]
    assert score[1] / score[0] == pytest.approx(np.exp(-0.5))


def test_a_product_that_the_ranker_does_not_know_counts_as_the_mean() -> None:
    """Of two candidates the unknown one stands between what counts more and what counts less at this moment."""
    fitted = ranker(score=0.0)
    known = pl.DataFrame(
        {"product_id": ["T", "G"], "category": ["Toys", "Garden"], "price": [2.0, 2.0], "margin": [0.5, 0.5],
         "fresh": [0.5, 0.5], "popularity": [2.0, 1.0]}
    )  # fmt: skip
    fitted.weights.base[len(CATEGORIES) + NUMBERS.index("popularity")] = 1.0
    document = {"is_sellable": True, "is_in_stock": None}
    catalogue = Catalogue.of([(p, document) for p in ("T", "G", "N")], HOME.on)
    learned = Learned.of(Published("1", fitted, known), catalogue)
    places = catalogue.places(["T", "G", "N", "of another shop"])
    slate = Slate(("T", "G", "N", "X"), (None,) * 4, {}, {}, {"activity": np.zeros(4)}, places=places)
    asked = replace(HOME, context=Context(device="mobile", hour=12), is_personal=False)
    score = learned.values(slate, places, np.ones(4), asked, np.zeros(4))["learned"]
    assert score[0] > score[2] == score[3] > score[1]
