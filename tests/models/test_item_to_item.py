"""Item-to-item recommendations on a shop of two tastes."""

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy import sparse

from customer360.models import base, item_to_item
from customer360.models.item_to_item import ItemToItemParams, Mix
from customer360.models.recommenders import neighbours
from customer360.platform.errors import ModelError

CUT = date(2024, 7, 1)
PARAMS = ItemToItemParams(ease_regularisation=5.0, shrink=2.0, min_products=3, k=5)


@pytest.fixture(scope="module")
def snapshot() -> base.Snapshot:
    """120 people, half buy products a00..a19, half b00..b19; most buy 8 before the cut and 4 after it; some buy
    again.
    """
    rng, rows = np.random.default_rng(4), []
    for person in range(120):
        taste = "ab"[person % 2]
        for index, product in enumerate(rng.choice(20, size=12, replace=False)):
            on = CUT + timedelta(days=int(rng.integers(-200, 0) if index < 8 else rng.integers(0, 90)))
            rows.append((f"p{person:03}", f"{taste}{product:02}", on, "purchase"))
        rows.append((rows[-12][0], rows[-12][1], CUT + timedelta(days=3), "purchase"))
    rows += [("viewer", "b03", CUT - timedelta(days=2), "view"), ("buyer", "a01", CUT - timedelta(days=9), "purchase")]
    rows += [("buyer", "b07", CUT - timedelta(days=1), "view"), ("viewer", "unknown", CUT - timedelta(days=2), "view")]
    frame = pl.DataFrame(rows, schema=["person_id", "product_id", "on", "kind"], orient="row")
    return base.Snapshot({"gold.interactions": frame.with_columns(quantity=1, count=1).lazy()}, CUT)


@pytest.fixture(scope="module")
def fitted(snapshot: base.Snapshot) -> item_to_item.ItemToItemFitted:
    return item_to_item.fit(snapshot, PARAMS, base.NoProgress())


def lists(fitted, snapshot, persons: list[str], mode: str = "new", k: int = 5) -> pl.DataFrame:
    return item_to_item.recommend(fitted, snapshot["gold.interactions"], pl.Series(persons), CUT, mode, k)


def test_ease_equals_the_closed_form() -> None:
    baskets = sparse.csr_array((np.random.default_rng(0).random((30, 8)) < 0.4).astype(np.float32))
    dense = baskets.toarray().astype(float)
    inverse = np.linalg.inv(dense.T @ dense + 5.0 * np.eye(8))
    expected = -inverse / np.diag(inverse)
    np.fill_diagonal(expected, 0)
    assert item_to_item.ease(baskets, PARAMS).toarray() == pytest.approx(expected, abs=1e-5)
    kept = item_to_item.ease(baskets, PARAMS.model_copy(update={"ease_neighbours": 3})).toarray()
    for column in range(8):
        largest = np.sort(np.abs(expected[:, column]))[-3:]
        assert np.sort(np.abs(kept[:, column][kept[:, column] != 0])) == pytest.approx(largest, abs=1e-5)


def test_cosine_by_hand_and_in_blocks(monkeypatch) -> None:
    baskets = sparse.csr_array(np.array([[1, 1, 0], [1, 1, 0], [1, 0, 1], [1, 0, 0]], dtype=np.float32))
    found = item_to_item.cosine(baskets, PARAMS).toarray()
    assert found[0, 1] == pytest.approx(2 / (np.sqrt(4 * 2) + 2.0))
    assert found[0, 0] == 0 and found[1, 2] == 0
    monkeypatch.setattr(neighbours, "BLOCK_CELLS", 2)
    assert np.array_equal(item_to_item.cosine(baskets, PARAMS).toarray(), found)


def test_new_lists_hold_nothing_bought_and_keep_to_the_taste(fitted, snapshot) -> None:
    persons = [f"p{n:03}" for n in range(120)]
    found = lists(fitted, snapshot, persons)
    past = snapshot["gold.interactions"].filter(pl.col("on") < CUT).collect()
    assert found.join(past, on=["person_id", "product_id"], how="inner").is_empty()
    assert found.group_by("person_id").len()["len"].to_list() == [5] * 120
    taste = pl.when(pl.col("person_id").str.slice(1).cast(pl.Int64) % 2 == 0).then(pl.lit("a")).otherwise(pl.lit("b"))
    assert found.select((pl.col("product_id").str.slice(0, 1) == taste).mean()).item() > 0.95
    assert found.equals(found.sort("person_id", "rank"))


def test_all_lists_put_own_purchases_first(fitted, snapshot) -> None:
    assert lists(fitted, snapshot, ["buyer"], "all")["product_id"][0] == "a01"


def test_own_purchases_fade(fitted, snapshot) -> None:
    rows = [("x", "a00", CUT - timedelta(days=400), "purchase"), ("x", "a05", CUT - timedelta(days=20), "purchase")]
    history = pl.DataFrame(rows, schema=["person_id", "product_id", "on", "kind"], orient="row").lazy()
    params = PARAMS.model_copy(update={"all_mix": Mix(similarity=0, own=1, popularity=0)})
    own = item_to_item.ItemToItemFitted(**{**vars(fitted), "params": params})
    found = item_to_item.recommend(own, history, pl.Series(["x"]), CUT, "all", 2)
    assert found["product_id"].to_list() == ["a05", "a00"]


def test_a_view_guides_and_is_not_filtered(fitted, snapshot) -> None:
    found = lists(fitted, snapshot, ["viewer"], k=8)
    assert found["product_id"].str.starts_with("b").mean() > 0.8
    assert "b03" in lists(fitted, snapshot, ["viewer"], k=40)["product_id"].to_list()
    assert "unknown" not in lists(fitted, snapshot, ["viewer"], k=60)["product_id"].to_list()


def test_nothing_known_gives_what_is_popular(fitted, snapshot) -> None:
    found = lists(fitted, snapshot, ["stranger"])
    best = (
        fitted.products.to_frame()
        .with_columns(count=pl.Series(fitted.popular))
        .sort(["count", "product_id"], descending=[True, False])
    )
    assert found["product_id"].to_list() == best["product_id"].head(5).to_list()


def test_a_product_that_nobody_known_bought_is_in_no_list_whatever_the_model_learned(fitted, snapshot) -> None:
    """Who refuses is not in what is scored: what only they bought is told to nobody, and moves no score."""
    everything = snapshot["gold.interactions"]
    product = item_to_item.predict(fitted, snapshot)["product_id"].mode().sort()[0]
    refusing = everything.filter(pl.col("product_id") == product).select("person_id").unique()
    allowed = base.Snapshot({"gold.interactions": everything.join(refusing, on="person_id", how="anti")}, CUT)
    told = item_to_item.predict(fitted, allowed)
    assert product not in set(told["product_id"])
    never = fitted.within(fitted.products.filter(fitted.products != product))
    assert item_to_item.predict(never, allowed).equals(told)
    assert told.group_by("person_id", "mode").len()["len"].unique().to_list() == [5], "lists stay as long"


def test_where_nobody_known_has_bought_anything_there_are_no_lists(fitted, snapshot) -> None:
    views = snapshot["gold.interactions"].filter(kind="view")
    assert item_to_item.predict(fitted, base.Snapshot({"gold.interactions": views}, CUT)).is_empty()


def test_blocks_of_persons_do_not_change_the_lists(fitted, snapshot, monkeypatch) -> None:
    persons = [f"p{n:03}" for n in range(50)]
    whole = lists(fitted, snapshot, persons, "all")
    monkeypatch.setattr(item_to_item, "BLOCK_PERSONS", 7)
    assert lists(fitted, snapshot, persons, "all").equals(whole)
    assert lists(fitted, snapshot, persons[10:11], "all").equals(whole.filter(pl.col("person_id") == "p010"))
    assert lists(fitted, snapshot, []).is_empty()


def test_the_future_changes_nothing(fitted, snapshot) -> None:
    past = base.Snapshot({"gold.interactions": snapshot["gold.interactions"].filter(pl.col("on") < CUT)}, CUT)
    again = item_to_item.fit(past, PARAMS, base.NoProgress())
    assert item_to_item.predict(again, past).equals(item_to_item.predict(fitted, snapshot))


def test_saved_and_loaded_lists_are_equal_and_bytes_repeat(fitted, snapshot, tmp_path: Path) -> None:
    fitted.save(tmp_path / "first")
    item_to_item.fit(snapshot, PARAMS, base.NoProgress()).save(tmp_path / "second")
    assert base.fingerprint(tmp_path / "first") == base.fingerprint(tmp_path / "second")
    loaded = item_to_item.load(tmp_path / "first")
    assert item_to_item.predict(loaded, snapshot).equals(item_to_item.predict(fitted, snapshot))


def test_evaluation_compares_both_modes(fitted, snapshot) -> None:
    found = item_to_item.evaluate(fitted, snapshot)
    assert found.metrics["new_person_count"] == 120
    assert found.verdicts["new_over_popularity"] == "better"
    assert found.metrics["new_recall_20"] > 0.9  # 12 products of the own taste are left, 20 places
    assert set(found.verdicts) == {"new_over_popularity", "all_over_popularity", "all_over_own_frequency"}


def test_a_large_catalogue_uses_cosine(snapshot) -> None:
    assert item_to_item.choose(snapshot, PARAMS.model_copy(update={"ease_item_limit": 39})) == "cosine"


def test_no_purchases() -> None:
    empty = pl.LazyFrame(schema={"person_id": pl.String, "product_id": pl.String, "on": pl.Date, "kind": pl.String})
    with pytest.raises(ModelError, match="no purchase before 2024-07-01"):
        item_to_item.fit_method(base.Snapshot({"gold.interactions": empty}, CUT), PARAMS, "ease")
