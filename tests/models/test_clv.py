"""The value model on a log whose habits are known: total, order, interval, wholesale accounts, reasons,
repeatability.
"""

import dataclasses
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from customer360.models import base, clv, frames
from customer360.models.purchasing import season, starts
from customer360.platform.errors import ModelError

START, CUT = date(2022, 1, 1), date(2023, 4, 1)
PARAMS = clv.ClvParams(min_history_days=120, cut_count=3, cut_step_days=60, rounds=30)
COUNTED = ("order_count", "item_count", "unit_count", "online_order_count")
UNSEEN = ("return_count", "session_count", "view_count", "search_count", "cart_add_count", "store_order_count",
          "mobile_order_count")  # fmt: skip


def shop(people: int = 500, season: float = 1.0, seed: int = 0) -> pl.DataFrame:
    """Purchases of people who each have a rhythm, a purse and a day of leaving; amounts of April to June times
    `season`.
    """
    rng, length = np.random.default_rng(seed), (CUT + timedelta(days=90) - START).days
    rhythm, purse = rng.gamma(2.0, 15.0, people) + 3, 60 / rng.gamma(4.0, 1.0, people)
    first = rng.integers(0, length - 120, people)
    leaves = first + rng.exponential(400, people)
    gaps = rng.exponential(rhythm[:, None], (people, 80))
    on = np.floor(first[:, None] + np.concatenate([np.zeros((people, 1)), np.cumsum(gaps, axis=1)], axis=1))
    person, turn = np.nonzero((on < leaves[:, None]) & (on < length))
    amount = purse[person] * rng.gamma(6.0, 1 / 6.0, len(person)) + 0.01
    rows = pl.DataFrame({"person": person, "offset": on[person, turn].astype(int), "amount": amount})
    dated = rows.unique(["person", "offset"], keep="first", maintain_order=True).with_columns(
        on=pl.lit(START) + pl.duration(days="offset")
    )
    spring = pl.when(pl.col("on").dt.month().is_between(4, 6)).then(season).otherwise(1.0)
    money = (pl.col("amount") * spring).cast(pl.Decimal(12, 2))
    return dated.select(
        "on",
        person_id=pl.format("p{}", pl.col("person").cast(pl.String).str.zfill(4)),
        **{name: pl.lit(1, pl.Int64) for name in COUNTED},
        **{name: pl.lit(0, pl.Int64) for name in UNSEEN},
        gross_amount=money,
        net_amount=money,
        discount_amount=pl.lit(0).cast(pl.Decimal(12, 2)),
    )


def at_cut(days: pl.DataFrame, cut: date = CUT) -> base.Snapshot:
    return base.Snapshot({clv.DAYS: days.lazy()}, cut)


@pytest.fixture(scope="module")
def days() -> pl.DataFrame:
    return shop()


@pytest.fixture(scope="module")
def fitted(days: pl.DataFrame) -> clv.ClvFitted:
    return clv.fit(at_cut(days), PARAMS.model_copy(update={"method": "boosted"}), base.NoProgress())


def test_total_and_order_hold_beside_the_rules(fitted, days) -> None:
    found = clv.evaluate(fitted, at_cut(days))
    assert abs(found.metrics["total_error"]) < 0.15
    assert found.metrics["spearman"] > 0.5 and found.metrics["gini"] > 0.6
    assert found.verdicts["error_over_rate"] == "better"
    assert set(found.verdicts) == {"error_over_rate", "error_over_last_90d", "error_over_btyd"}
    assert "worse" not in found.verdicts.values()
    for name in ("bgnbd_r", "bgnbd_alpha", "gamma_gamma_p", "gamma_gamma_v"):
        assert 0 < found.metrics[f"{name}_low"] < found.metrics[name] < found.metrics[f"{name}_high"]
    truths = [found.metrics[f"decile_{place:02}_truth"] for place in range(1, 11)]
    assert truths[0] > 2 * truths[4] > 2 * truths[9]


def test_who_spends_an_unknown_amount_has_no_value(fitted, days) -> None:
    first = clv.predict(fitted, at_cut(days))["person_id"][0]
    is_unknown = (pl.col("person_id") == first) & (pl.col("order_count") > 0)
    unknown = days.with_columns(unconverted_order_count=is_unknown.cast(pl.Int64))
    scored, before = clv.predict(fitted, at_cut(unknown)), clv.predict(fitted, at_cut(days))
    assert scored.equals(before.filter(pl.col("person_id") != first))


def test_what_follows_the_cut_changes_no_score(fitted, days) -> None:
    past = at_cut(days.filter(pl.col("on") < CUT))
    again = clv.fit(past, fitted.params, base.NoProgress())
    assert clv.predict(again, past).equals(clv.predict(fitted, at_cut(days)))


def test_saved_and_loaded_scores_are_equal_and_bytes_repeat(fitted, days, tmp_path: Path) -> None:
    fitted.save(tmp_path / "first")
    clv.fit(at_cut(days), fitted.params, base.NoProgress()).save(tmp_path / "second")
    assert base.fingerprint(tmp_path / "first") == base.fingerprint(tmp_path / "second")
    assert clv.predict(clv.load(tmp_path / "first"), at_cut(days)).equals(clv.predict(fitted, at_cut(days)))


def test_last_years_window_sets_half_of_the_total(days) -> None:
    examples = starts.examples(days.lazy(), CUT, [CUT - timedelta(days=90)], 90, 365)
    assert examples.last_year is None  # the clock of this log is the calendar
    plain = clv.fit_examples(examples, PARAMS)
    expected = examples.current["expected_purchases"].sum()
    rate = clv.newest_rate(clv.cut_rates(examples.past), 90, float(examples.past["purchases"].sum()))
    known = dataclasses.replace(examples, last_year=season.Totals(buyer_share=0.5, purchases=4 * rate * expected))
    assert clv.fit_examples(known, PARAMS).level == pytest.approx(2 * plain.level)  # the geometric mean of 1 and 4


def test_newer_cuts_say_more_of_the_level() -> None:
    rates = {CUT: 2.0, CUT - timedelta(days=clv.LEVEL_HALF_LIFE_DAYS): 1.0}
    assert clv.newest_rate(rates, 90) == pytest.approx(2 ** (2 / 3 * 2 / 3))  # two windows: two thirds of the logarithm
    few = clv.newest_rate(rates, 90, clv.PRIOR_PURCHASES / 2)  # as many in two windows as are put beside them
    assert few == pytest.approx(2 ** (2 / 3 * 2 / 3 / 2))


def test_the_interval_holds_its_share(fitted, days) -> None:
    found = clv.predict(fitted, at_cut(days))
    assert found.select((pl.col("low") <= pl.col("score")).all() & (pl.col("score") <= pl.col("high")).all()).item()
    assert 0.7 < clv.evaluate(fitted, at_cut(days)).metrics["interval_coverage"] < 0.95


def test_wholesale_accounts_decide_neither_season_nor_trees(fitted, days) -> None:
    """An account a thousand times as large stops buying before the window of the last training cut."""
    stop = CUT - timedelta(days=100)
    before = days.filter(pl.col("on") < stop)
    often = before.group_by("person_id").len().sort("len", "person_id", descending=True)["person_id"].head(1)
    big = before.filter(pl.col("person_id").is_in(often.implode())).with_columns(
        pl.col("gross_amount", "net_amount") * 1000, person_id=pl.lit("w") + pl.col("person_id")
    )
    assert big.height > 10
    mixed = pl.concat([days, big.cast(dict(days.schema))])  # type: ignore[arg-type]
    with_big = clv.fit(at_cut(mixed), fitted.params, base.NoProgress())
    small = clv.predict(with_big, at_cut(mixed)).filter(~pl.col("person_id").str.starts_with("w"))
    assert small["score"].sum() == pytest.approx(clv.predict(fitted, at_cut(days))["score"].sum(), rel=0.1)


def started(days: pl.DataFrame, fitted: clv.ClvFitted) -> pl.DataFrame:
    return starts.with_start(starts.population(days.lazy(), CUT, 365), fitted.spending, CUT, 90)


def test_trees_keep_the_total_of_the_starting_points(fitted, days) -> None:
    rows = started(days, fitted).with_columns(score=clv.predict(fitted, at_cut(days))["score"])
    cuts = frames.cuts(START, CUT, 90, 120, PARAMS.cut_count, PARAMS.cut_step_days)
    past = starts.training_frame(days.lazy(), cuts, fitted.spending, 90, 365)
    rate = clv.newest_rate(clv.cut_rates(past), 90, float(past["purchases"].sum()) / len(cuts))
    assert fitted.booster is not None
    score, start = rows["score"].to_numpy(), rows["start_amount"].to_numpy()
    assert clv.total_ratio(score, start) == pytest.approx(rate, rel=1e-6)
    assert score.sum() == pytest.approx(start.sum() * rate, rel=0.05)


def test_trees_are_left_out_where_they_do_not_help(fitted, days) -> None:
    cuts = [CUT - timedelta(days=180), CUT - timedelta(days=90)]
    frame = starts.training_frame(days.lazy(), cuts, fitted.spending, 90, 365)
    exact = frame.with_columns(revenue=pl.col("start_amount"))  # nothing is left to correct
    wild = PARAMS.model_copy(update={"learning_rate": 1.0, "reg_lambda": 0.0, "min_child_weight": 0.0})
    assert not clv.judge(exact, 100.0, wild).trees_help
    other = frame.with_columns(
        revenue=pl.col("start_amount") * pl.when(pl.col("recency_days") < 30).then(9).otherwise(1)
    )
    assert clv.judge(other, 100.0, PARAMS).trees_help
    alone = clv.fit(at_cut(days), PARAMS.model_copy(update={"method": "btyd"}), base.NoProgress())
    score = clv.predict(alone, at_cut(days))["score"].to_numpy()
    assert score == pytest.approx(started(days, alone)["start_amount"].to_numpy() * alone.level, rel=1e-3, abs=0.1)


def test_reasons_multiply_to_the_score(fitted, days) -> None:
    every = clv.ClvFitted(**{**vars(fitted), "params": fitted.params.model_copy(update={"reason_count": 99})})
    found = clv.predict(every, at_cut(days)).with_columns(
        by_reasons=pl.col("reasons").list.eval(pl.element().struct.field("contribution").sum()).list.first().exp()
    )
    ratio = (found["score"] / found["by_reasons"]).to_numpy()
    assert ratio == pytest.approx(np.full(len(ratio), ratio.mean()), rel=1e-3)
    top = clv.predict(fitted, at_cut(days)).explode("reasons").unnest("reasons")
    assert top.group_by("person_id").len()["len"].unique().to_list() == [3]
    assert {"expected_purchases", "expected_order_amount"} <= set(top["feature"].unique())


def test_the_price_level_changes_nothing_but_the_amounts(days) -> None:
    cents = days.with_columns((pl.col("gross_amount", "net_amount") * 100).cast(pl.Decimal(12, 2)))
    params = PARAMS.model_copy(update={"method": "btyd"})
    small = clv.predict(clv.fit(at_cut(days), params, base.NoProgress()), at_cut(days))["score"]
    large = clv.predict(clv.fit(at_cut(cents), params, base.NoProgress()), at_cut(cents))["score"]
    assert (large / small).to_numpy() == pytest.approx(np.full(len(small), 100.0), rel=1e-3)


def test_measures_by_hand() -> None:
    truth = np.array([0.0, 0.0, 10.0, 30.0])
    found = clv.amount_metrics(truth, np.array([5.0, 5.0, 10.0, 40.0]))
    assert (found["mae"], found["total_error"], found["gini"]) == (5.0, 0.5, 1.0)
    assert clv.amount_metrics(truth, np.array([4.0, 3.0, 2.0, 1.0]))["gini"] == pytest.approx(-1.0)
    table = clv.decile_table(np.arange(20.0), np.arange(20.0) + 1)
    assert (table["decile_01_truth"], table["decile_10_amount"]) == (18.5, 1.5)
    assert table["decile_error"] == pytest.approx(20 / 190)


def test_faults_are_named(fitted, days) -> None:
    browser = frames.features(days.lazy().with_columns(order_count=pl.lit(0)), CUT).head(1).collect()
    with pytest.raises(ModelError, match="1 rows have no purchase"):
        clv.score(fitted, browser, CUT)
    frame = starts.training_frame(days.lazy(), [CUT - timedelta(days=90)], fitted.spending, 90, 365)
    with pytest.raises(ModelError, match="hold no purchase"):
        clv.cut_rates(frame.with_columns(purchases=pl.lit(0.0)))
    with pytest.raises(ModelError, match=r"lacks silver\.subject_days"):
        clv.predict(fitted, base.Snapshot({}, CUT))


def test_rates_are_of_purchases_and_no_amount_moves_them() -> None:
    """400 customers who buy by half more than expected; then one of them spends a thousand times as much."""
    rng, cut = np.random.default_rng(3), date(2023, 1, 1)
    value, expected = rng.lognormal(3.0, 1.0, 400), rng.gamma(0.5, 2.0, 400)
    bought = rng.poisson(expected * 1.5).astype(float)

    def rate(value: np.ndarray, revenue: np.ndarray) -> float:
        columns = {"expected_purchases": expected, "purchases": bought, "expected_order_amount": value}
        return clv.cut_rates(pl.DataFrame(columns | {"revenue": revenue, "as_of": [cut] * 400}))[cut]

    plain = rate(value, value * bought)
    assert plain == pytest.approx(1.5, rel=0.1)
    dear = int(np.flatnonzero(bought > 0)[0])
    wrong = np.where(np.arange(400) == dear, 1000.0, 1.0)
    assert rate(value, value * bought * wrong) == plain
    assert rate(value * wrong, value * bought * wrong) == pytest.approx(plain, rel=0.01)


def test_one_account_is_no_level_of_all_others() -> None:
    part = np.full(200, 10.0)
    whole = part * 2
    assert clv.total_ratio(part, whole) == pytest.approx(0.5)
    part[0], whole[0] = 5_000.0, 1_000.0  # most of the one total, a fifth of the other
    assert clv.total_ratio(part, whole) == pytest.approx(0.5, rel=0.1)
