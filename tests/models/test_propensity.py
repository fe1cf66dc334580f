"""Propensity on a log of planted rhythms by category: order, calibration, no look ahead, repeatable, resumable."""

from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from customer360.models import base, propensity
from customer360.models.lifecycle import drift, evaluation, job, promotion
from customer360.models.propensity import pairs
from customer360.platform.errors import ModelError

START, CUT = date(2024, 1, 1), date(2025, 3, 1)
CATEGORIES = ("Books", "Garden", "Toys", "Wine")
PARAMS = propensity.PropensityParams(cut_count=4, min_history_days=120, least_buyers=10, rounds=40, min_child_weight=10,
                                     threads=1)  # fmt: skip
COUNTED = (
    "item_count", "unit_count", "return_count", "view_count", "search_count", "cart_add_count", "store_order_count",
    "online_order_count", "mobile_order_count",
)  # fmt: skip


def shop(people: int = 300, seed: int = 0, until: date = CUT + timedelta(days=30)) -> tuple[pl.LazyFrame, pl.LazyFrame]:
    """Everybody has a rhythm for each category, many none; a view often comes some days before a purchase."""
    rng, length = np.random.default_rng(seed), (until - START).days
    rows = []
    for person in range(people):
        liked = rng.random(len(CATEGORIES)) < (0.9, 0.5, 0.4, 0.2)
        for name in np.array(CATEGORIES)[liked]:
            gap, day = rng.gamma(2, 20) + 5, float(rng.integers(0, 60))
            while day < length:
                rows.append((f"p{person:03}", name, int(day), "purchase"))
                if rng.random() < 0.5 and day >= 4:
                    rows.append((f"p{person:03}", name, int(day) - 4, "view"))
                day += max(1.0, rng.normal(gap, gap / 4))
    frame = pl.DataFrame(rows, schema=["person_id", "category", "day", "kind"], orient="row").unique(
        maintain_order=True
    )
    events = frame.with_columns(on=pl.lit(START) + pl.duration(days="day"))
    one = pl.lit(1, pl.Int64)
    interactions = events.select("person_id", "on", "kind", "category", product_id=pl.lit("P"), count=one, quantity=one)
    bought, viewed = pl.col("kind") == "purchase", pl.col("kind") == "view"
    money = (bought.any().cast(pl.Int64) * 20).cast(pl.Decimal(12, 2))
    days = events.group_by("person_id", "on").agg(
        order_count=bought.any().cast(pl.Int64),
        session_count=viewed.any().cast(pl.Int64),
        gross_amount=money,
        net_amount=money,
    )
    filled = days.with_columns(**dict.fromkeys(COUNTED, pl.lit(0, pl.Int64)), discount_amount=pl.lit(Decimal(0)))
    return interactions.lazy(), filled.sort("person_id", "on").lazy()


@pytest.fixture(scope="module")
def snapshot() -> base.Snapshot:
    interactions, days = shop()
    return base.Snapshot({propensity.INTERACTIONS: interactions, propensity.DAYS: days}, CUT)


@pytest.fixture(scope="module")
def fitted(snapshot: base.Snapshot) -> propensity.PropensityFitted:
    return propensity.fit(snapshot, PARAMS, base.NoProgress())


@pytest.fixture(scope="module")
def judged(fitted, snapshot) -> base.Evaluation:
    return propensity.evaluate(fitted, snapshot)


def before(snapshot: base.Snapshot, at: date = CUT) -> base.Snapshot:
    return base.Snapshot({name: rows.filter(pl.col("on") < at) for name, rows in snapshot.tables.items()}, at)


def test_better_than_the_rules_and_calibrated(judged) -> None:
    assert set(judged.verdicts.values()) == {"better"} and len(judged.verdicts) == 3
    assert judged.metrics["auc"] > 0.8 and judged.metrics["category_auc"] > 0.75
    assert judged.metrics["rate_category_auc"] == pytest.approx(0.5), "the rate is the same for everybody"
    assert judged.metrics["ece"] < 0.06 and judged.metrics["category_ece"] < 0.1
    assert (
        judged.metrics["category_count"] == 4 and judged.metrics["category_ece_max"] >= judged.metrics["category_ece"]
    )
    assert judged.rows is not None and judged.rows.columns == ["person_id", "category", "truth", "score"]


def test_every_active_customer_has_every_category_ranked(fitted, snapshot) -> None:
    scored = propensity.predict(fitted, snapshot)
    assert scored.schema == base.PAYLOADS["gold.category_scores"]
    assert scored.group_by("person_id").agg(pl.col("category").sort())["category"].to_list() == [list(CATEGORIES)] * (
        scored.height // 4
    )
    by_person = scored.group_by("person_id", maintain_order=True).agg("rank", "score")
    assert all(ranks == [1, 2, 3, 4] for ranks in by_person["rank"].to_list())
    assert all(row == sorted(row, reverse=True) for row in by_person["score"].to_list())
    assert scored.group_by("category").agg(pl.col("lift").mean())["lift"].to_list() == pytest.approx([1.0] * 4)
    assert scored["score"].is_between(0, 1).all()


def test_what_follows_the_cut_changes_nothing(fitted, snapshot) -> None:
    again = propensity.fit(before(snapshot), PARAMS, base.NoProgress())
    assert propensity.predict(again, before(snapshot)).equals(propensity.predict(fitted, snapshot))


def test_no_feature_sees_a_poisoned_future(snapshot) -> None:
    """A purchase, view and cart of every pair after the date: no feature of any pair or category moves."""
    interactions, days = snapshot[propensity.INTERACTIONS], snapshot[propensity.DAYS]
    poison = pl.concat(
        interactions.select(pl.exclude("on", "kind"))
        .unique(["person_id", "category"])
        .with_columns(on=CUT, kind=pl.lit(kind))
        for kind in ("purchase", "view", "cart_add")
    ).select(interactions.collect_schema().names())
    plain, poisoned = (_frame(rows, days) for rows in (interactions, pl.concat([interactions, poison])))
    assert plain.equals(poisoned)
    truth = pairs.bought_after(pl.concat([interactions, poison]), plain, CUT, 30)
    liked = plain.select(pl.col("own_days_365d").is_not_null() | pl.col("own_seen_days_ago").is_not_null()).to_series()
    assert truth.filter(liked).all(), "the label does see it"


def _frame(interactions: pl.LazyFrame, days: pl.LazyFrame) -> pl.DataFrame:
    names = pairs.categories(interactions, CUT, 10, 30)
    return pairs.pairs(interactions, pairs.people(days, CUT, 365), pairs.rates(interactions, days, CUT, names, 30), CUT)


def test_features_of_a_pair_by_hand() -> None:
    events = [
        ("ann", "Toys", 100, "purchase"), ("ann", "Toys", 60, "purchase"), ("ann", "Toys", 20, "purchase"), ("ann", "Toys", 5, "view"),  # noqa: E501
        ("ann", "Wine", 400, "purchase"), ("bob", "Wine", 10, "purchase"), ("bob", "Toys", 40, "cart_add"), ("ann", "Wine", 0, "purchase"),  # noqa: E501
    ]  # fmt: skip
    rows = pl.LazyFrame(events, schema=["person_id", "category", "ago", "kind"], orient="row").select(
        "person_id", "category", "kind", on=pl.lit(CUT) - pl.duration(days="ago"), quantity=pl.lit(2, pl.Int64)
    )
    _, days = shop(people=3)
    persons = pl.DataFrame({"person_id": ["ann", "bob"], **{name: [1.0, 1.0] for name in pairs.PERSON}})
    rated = pairs.rates(rows, days, CUT, ["Toys", "Wine"], 30)
    found = {(row["person_id"], row["category"]): row for row in pairs.pairs(rows, persons, rated, CUT).to_dicts()}
    toys = found["ann", "Toys"]
    assert [toys[name] for name in ("own_recency_days", "own_days_90d", "own_days_365d", "own_quantity_365d")] == [
        20,
        2,
        3,
        6,
    ]
    assert (toys["own_gap_days"], toys["own_recency_to_gap"], toys["own_share"]) == (40, 0.5, 1)
    assert (toys["own_view_days_30d"], toys["own_seen_days_ago"], toys["category_count"]) == (1, 5, 1)
    assert found["ann", "Wine"]["own_days_365d"] is None, "older than a year, or on the day itself"
    assert found["bob", "Wine"]["own_gap_days"] is None and found["bob", "Wine"]["own_recency_to_gap"] is None
    assert (found["bob", "Toys"]["own_days_365d"], found["bob", "Toys"]["own_cart_days_90d"]) == (0, 1)
    assert pairs.bought_after(rows, pl.DataFrame(list(found), schema=["person_id", "category"], orient="row"), CUT, 30).to_list() == [  # noqa: E501
        False, True, False, False,
    ]  # fmt: skip


def test_bytes_repeat_and_a_resumed_fit_equals_an_unbroken_one(fitted, snapshot, tmp_path: Path) -> None:
    class Stops:
        def __init__(self, fails: bool) -> None:
            self.fails, self.restored = fails, False

        def restore(self) -> Path | None:
            self.restored = (tmp_path / "kept").exists()
            return tmp_path / "kept" if self.restored else None

        def keep(self, write) -> None:
            (tmp_path / "kept").mkdir(exist_ok=True)
            write(tmp_path / "kept")
            if self.fails:
                raise InterruptedError

    with pytest.raises(InterruptedError):
        propensity.fit(snapshot, PARAMS, Stops(fails=True))
    progress = Stops(fails=False)
    propensity.fit(snapshot, PARAMS, progress).save(tmp_path / "resumed")
    fitted.save(tmp_path / "unbroken")
    assert progress.restored and base.fingerprint(tmp_path / "resumed") == base.fingerprint(tmp_path / "unbroken")
    loaded = propensity.load(tmp_path / "unbroken")
    assert propensity.predict(loaded, snapshot).equals(propensity.predict(fitted, snapshot))


def test_calibration_brings_probabilities_to_the_observed_rate() -> None:
    rng = np.random.default_rng(0)
    truth_rate = rng.beta(1, 8, 20_000)
    truth = (rng.random(20_000) < truth_rate).astype(float)
    off = np.maximum(truth_rate**1.5 * 0.5, 1e-5)
    found = propensity.Beta.fit(off, truth)(off)
    assert evaluation.calibration_error(truth, found) < 0.01 < evaluation.calibration_error(truth, off)
    assert np.array_equal(np.argsort(found, kind="stable"), np.argsort(off, kind="stable")), "the order stays"
    turned = propensity.Beta.fit(np.array([0.2, 0.3, 0.6, 0.9] * 50), np.array([0.0, 1.0, 1.0, 0.0] * 50))
    assert turned.a == turned.b


def test_versions_are_compared_pair_by_pair_with_persons_drawn_whole(judged, monkeypatch) -> None:
    from types import SimpleNamespace

    monkeypatch.setattr(job, "plan_of", lambda model: None)
    pairs = job.ModelJob(SimpleNamespace(), SimpleNamespace(), propensity.MODEL, CUT)
    worse = base.Evaluation({}, rows=judged.rows.with_columns(score=1 - pl.col("score")))
    one, other = (promotion.Judged(v, CUT, False, e) for v, e in (("1", judged), ("2", worse)))
    assert promotion.compare(pairs, one, other).verdict == "better"
    error = drift.mean_error(judged)
    assert error["mean_error"] == pytest.approx((judged.rows["truth"] - judged.rows["score"]).mean(), abs=1e-9)


def test_faults_are_named(snapshot) -> None:
    nameless = {
        **snapshot.tables,
        propensity.INTERACTIONS: snapshot[propensity.INTERACTIONS].with_columns(category=pl.lit(None, pl.String)),
    }
    with pytest.raises(ModelError, match="needs categories"):
        propensity.fit(base.Snapshot(nameless, CUT), PARAMS, base.NoProgress())
    with pytest.raises(ModelError, match="propensity needs two"):
        propensity.fit(snapshot, PARAMS.model_copy(update={"min_history_days": 380}), base.NoProgress())


def test_the_season_step_is_last_years_and_blind_to_growth_and_future() -> None:
    def rows(counts: dict[date, int]) -> pl.LazyFrame:
        found = [
            (f"p{i}", "Toys", on + timedelta(days=i % 30), "purchase") for on, n in counts.items() for i in range(n)
        ]
        return pl.LazyFrame(found, schema=["person_id", "category", "on", "kind"], orient="row")

    since, cut, year = CUT - timedelta(days=30), CUT, timedelta(days=365)
    log = {since - year: 40, cut - year: 80, since: 100, cut: 9}
    old, young, short = (pl.LazyFrame({"on": [first], "order_count": [1]}) for first in
                         (since - year, cut - year, cut - year + timedelta(days=1)))  # fmt: skip
    step = lambda log, days, least=10: pairs.season_step(rows(log), days, ["Toys"], since, cut, 30, least)  # noqa: E731
    assert step(log, old) == 2
    assert step(log | {since: 500, cut: 500}, old) == 2
    assert step(log, young) == pytest.approx((80 / 100) ** 0.5)
    assert step(log, short) == 1
    assert step(log, old, least=50) == 1
