"""The registered hybrid on a shop of two tastes: its lists, what it saves, the towers among its methods."""

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from customer360.models import base, hybrid
from customer360.models.hybrid import HybridParams
from customer360.models.recommenders import ease
from customer360.platform.errors import ModelError

CUT = date(2024, 7, 1)
PARAMS = HybridParams(use_two_tower=False, min_products=3, horizon_days=60, k=5)


def rows() -> pl.DataFrame:
    """160 people, half buy a00..a14, half b00..b14, on days around the cut; half of the purchases are repeated."""
    rng, found = np.random.default_rng(4), []
    for person in range(160):
        for product in rng.choice(15, size=9, replace=False):
            on = CUT + timedelta(days=int(rng.integers(-300, 60)))
            found.append((f"p{person:03}", f"{'ab'[person % 2]}{product:02}", on, "purchase"))
            if rng.random() < 0.5:
                found.append((*found[-1][:2], on + timedelta(days=30), "purchase"))
    found.append(("viewer", "b03", CUT - timedelta(days=2), "view"))
    return pl.DataFrame(found, schema=["person_id", "product_id", "on", "kind"], orient="row")


def snapshot_of(interactions: pl.DataFrame) -> base.Snapshot:
    ids = [f"{taste}{n:02}" for taste in "ab" for n in range(15)]
    products = pl.DataFrame({"product_id": ids, "product_name": [f"{i[0]} thing {i[1:]}" for i in ids]}).with_columns(
        **dict.fromkeys(("category", "subcategory", "brand"), pl.lit(None, pl.String))
    )
    return base.Snapshot({"gold.interactions": interactions.lazy(), "silver.products": products.lazy()}, CUT)


@pytest.fixture(scope="module")
def snapshot() -> base.Snapshot:
    return snapshot_of(rows())


@pytest.fixture(scope="module")
def fitted(snapshot) -> hybrid.HybridFitted:
    return hybrid.fit(snapshot, PARAMS, base.NoProgress())


def test_lists_in_both_modes_for_everybody(fitted, snapshot) -> None:
    found = hybrid.predict(fitted, snapshot)
    assert found.schema == base.PAYLOADS["gold.recommendations"]
    assert found.select("person_id", "mode", "product_id").is_unique().all()
    ranks = found.select("rank", due=pl.int_range(1, pl.len() + 1).over("person_id", "mode"))
    assert (ranks["rank"] == ranks["due"]).all()
    assert found.filter(person_id="viewer").group_by("mode").len()["len"].to_list() == [5, 5]
    before = rows().filter(pl.col("on") < CUT, kind="purchase")
    pair = ["person_id", "product_id"]
    assert found.filter(mode="new").join(before, on=pair, how="semi").is_empty()
    assert not found.filter(mode="all").join(before, on=pair, how="semi").is_empty()
    mine = found.filter(pl.col("person_id") != "viewer", pl.col("rank") <= 3)
    taste = pl.when(pl.col("person_id").str.slice(1).cast(pl.Int64) % 2 == 0).then(pl.lit("a")).otherwise(pl.lit("b"))
    assert mine.select((pl.col("product_id").str.head(1) == taste).mean()).item() > 0.9


def test_what_follows_the_date_changes_nothing(fitted, snapshot) -> None:
    past = snapshot_of(rows().filter(pl.col("on") < CUT))
    assert hybrid.predict(hybrid.fit(past, PARAMS, base.NoProgress()), past).equals(hybrid.predict(fitted, snapshot))


def test_what_is_saved_is_loaded_and_repeatable(fitted, snapshot, tmp_path: Path) -> None:
    fitted.save(tmp_path / "first")
    hybrid.fit(snapshot, PARAMS, base.NoProgress()).save(tmp_path / "second")
    assert base.fingerprint(tmp_path / "first") == base.fingerprint(tmp_path / "second")
    loaded = hybrid.load(tmp_path / "first")
    assert hybrid.predict(loaded, snapshot).equals(hybrid.predict(fitted, snapshot))


def test_it_is_judged_beside_what_sells_and_the_best_single(fitted, snapshot) -> None:
    found = hybrid.evaluate(fitted, snapshot)
    assert set(found.verdicts) == {f"{m}_over_{n}" for m in ("new", "all") for n in ("popularity", "best_single")}
    assert found.metrics["new_recall_20"] >= found.metrics["new_popularity_recall_20"]
    assert found.rows is not None and set(found.rows["mode"]) == {"new", "all"}


def test_a_method_that_the_log_outgrew_is_left_out(fitted, snapshot, monkeypatch) -> None:
    monkeypatch.setattr(ease, "ITEM_LIMIT", 3)
    assert hybrid.predict(fitted, snapshot).height > 0


def test_the_towers_are_one_of_the_methods(snapshot, tmp_path: Path) -> None:
    params = PARAMS.model_copy(update={"use_two_tower": True, "two_tower_epochs": 1})
    found = hybrid.fit(snapshot, params, base.NoProgress())
    assert all("two_tower" in choice.methods for choice in found.choices.values())
    found.save(tmp_path)
    assert hybrid.predict(hybrid.load(tmp_path), snapshot).equals(hybrid.predict(found, snapshot))


def test_without_purchases_it_says_so() -> None:
    with pytest.raises(ModelError, match="no purchase before 2024-07-01"):
        hybrid.fit(snapshot_of(rows().filter(kind="view")), PARAMS, base.NoProgress())
