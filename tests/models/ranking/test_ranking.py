"""The ranker on lists whose effects are planted: it finds each, nothing where there is none, and no future."""

from __future__ import annotations

import dataclasses
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from customer360.models import ranking
from customer360.models.base import Evaluation, NoProgress, NotEnough, Snapshot
from customer360.models.ranking import RankingParams, fitting
from customer360.models.ranking.features import NUMBERS, examples, lately_seen, moment, products_at, shares_of

PARAMS = RankingParams(min_lists=100, least_lists=20)
EFFECTS = {"device": 1.5, "hour": 1.5, "region": 1.5, "activity": 3.0, "depth": 1.2}


@pytest.fixture(scope="module")
def snapshot(shown_lists) -> Snapshot:  # type: ignore[no-untyped-def]
    return Snapshot(shown_lists.tables(**EFFECTS), shown_lists.CUT)


@pytest.fixture(scope="module")
def fitted(snapshot: Snapshot) -> ranking.RankingFitted:
    return ranking.fit(snapshot, PARAMS, NoProgress())


def weight(fitted: ranking.RankingFitted, column: str, value: str, what: str) -> float:
    properties = [*fitted.weights.categories, *NUMBERS]
    return float(fitted.weights.contexts[column][value][properties.index(what)])


def test_each_planted_effect_has_its_sign(fitted: ranking.RankingFitted) -> None:
    assert weight(fitted, "device", "mobile", "A") - weight(fitted, "device", "desktop", "A") > 1
    assert weight(fitted, "hour", "1", "B") - weight(fitted, "hour", "4", "B") > 0.5
    assert weight(fitted, "region", "north", "C") - weight(fitted, "region", "south", "C") > 1
    assert weight(fitted, "depth", "3", "price") - weight(fitted, "depth", "0", "price") > 0.5
    assert dict(zip(ranking.SHARES, fitted.weights.shares, strict=True))["activity"] > 1
    assert fitted.weights.position[0] == 0 > fitted.weights.position[1] > fitted.weights.position[5]


def test_what_is_taken_after_the_date_is_not_known(snapshot: Snapshot) -> None:
    """Lists of the last days, whose products are clicked and bought when the date has passed."""
    lists, cut = snapshot["silver.impressions"].collect(), snapshot.as_of
    end = pl.lit(cut).cast(pl.Datetime("us", "UTC"))
    late = (pl.col("on") < cut) & (pl.col("on") >= cut - timedelta(days=10))
    moved = [
        pl.when(late & pl.col(c).is_not_null()).then(end).otherwise(c).alias(c) for c in ("clicked_at", "bought_at")
    ]
    never = [pl.when(~late).then(c).alias(c) for c in ("clicked_at", "bought_at")]
    snapshots = [
        Snapshot({**snapshot.tables, "silver.impressions": rows.lazy()}, cut)
        for rows in (lists.with_columns(moved), lists.with_columns(never), lists)
    ]
    told = [examples(each, None, cut, 9999) for each in snapshots]
    assert told[0].count == told[1].count < told[2].count
    assert told[0].relevant.tolist() == told[1].relevant.tolist()


@pytest.fixture(scope="module")
def judged(fitted: ranking.RankingFitted, snapshot: Snapshot) -> Evaluation:
    return ranking.evaluate(fitted, snapshot)


def test_it_is_better_than_the_order_that_was_shown(judged: Evaluation) -> None:
    assert judged.verdicts == {"over_shown": "better"}
    assert judged.metrics["ndcg_gain_low"] > 0.05


def test_chance_is_no_ranker(shown_lists) -> None:  # type: ignore[no-untyped-def]
    """Without effects nothing is gained, so that the guardrail keeps it out."""
    plain = Snapshot(shown_lists.tables(seed=5), shown_lists.CUT)
    judged = ranking.evaluate(ranking.fit(plain, PARAMS, NoProgress()), plain)
    assert judged.metrics["ndcg_gain_low"] < 0 and judged.verdicts["over_shown"] != "better"


@pytest.mark.parametrize("context", ["device", "session", "weekday"])
def test_a_context_that_is_left_out_costs_what_it_tells(context: str, judged: Evaluation, snapshot: Snapshot) -> None:
    without = PARAMS.model_copy(update={"contexts": tuple(c for c in PARAMS.contexts if c != context)})
    less = ranking.evaluate(ranking.fit(snapshot, without, NoProgress()), snapshot)
    lost = judged.metrics["ndcg_10"] - less.metrics["ndcg_10"]
    assert lost > 0.005 if context != "weekday" else abs(lost) < 0.01


def test_what_was_bought_before_counts(shown_lists) -> None:  # type: ignore[no-untyped-def]
    liked = Snapshot(shown_lists.tables(affinity=2.5), shown_lists.CUT)
    fitted = ranking.fit(liked, PARAMS, NoProgress())
    assert dict(zip(ranking.SHARES, fitted.weights.shares, strict=True))["affinity"] > 1


def test_few_lists_are_not_enough(snapshot: Snapshot) -> None:
    few = PARAMS.model_copy(update={"min_lists": 100_000})
    with pytest.raises(NotEnough, match=r"needs 100,000 shown lists .* there are \d"):
        ranking.fit(snapshot, few, NoProgress())


def test_nothing_after_the_day_reaches_a_fit(snapshot: Snapshot, fitted: ranking.RankingFitted) -> None:
    """The lists after the date say the opposite, and everything is bought then: the fit is the same."""
    poisoned = dict(snapshot.tables)
    late = pl.col("on") >= snapshot.as_of
    poisoned["silver.impressions"] = poisoned["silver.impressions"].with_columns(
        clicked_at=pl.when(late).then(pl.when(~pl.col("is_clicked")).then("shown_at")).otherwise("clicked_at")
    )
    bought = pl.LazyFrame({"person_id": ["u1"] * 40, "product_id": [f"P{n:02}" for n in range(40)]}).with_columns(
        on=pl.lit(snapshot.as_of), kind=pl.lit("purchase")
    )
    poisoned["gold.interactions"] = pl.concat([poisoned["gold.interactions"], bought])
    again = ranking.fit(Snapshot(poisoned, snapshot.as_of), PARAMS, NoProgress())
    assert again.record() == fitted.record()


def test_it_is_read_as_it_was_saved(fitted: ranking.RankingFitted, tmp_path: Path) -> None:
    fitted.save(tmp_path)
    assert ranking.load(tmp_path).record() == fitted.record()


def test_a_log_and_a_request_have_the_same_words(snapshot: Snapshot) -> None:
    """What a list of the log says of its moment is what a request of that moment says."""
    shown = snapshot["silver.impressions"].filter(pl.col("list_id") == "l7").collect()
    row = shown.row(0, named=True)
    device = " Mobile" if row["device"] == "mobile" else "DESKTOP"
    asked = moment(on=row["on"], hour=row["shown_at"].hour, region=row["region"], store=row["store_id"],
                   device=device, depth=len(row["seen_product_ids"]))  # fmt: skip
    always = shown.lazy().with_columns(clicked_at=pl.when(pl.col("position") == 1).then("shown_at"))
    one = Snapshot({**snapshot.tables, "silver.impressions": always}, snapshot.as_of)
    told = examples(one, None, date(2027, 1, 1), 10).lists.row(0, named=True)
    assert {name: told[name] for name in asked} == asked


def test_a_log_without_scores_is_followed_as_deep_as_its_lists(snapshot: Snapshot) -> None:
    bare = snapshot["silver.impressions"].with_columns(score=pl.lit(None, pl.Float64))
    fitted = ranking.fit(
        Snapshot({**snapshot.tables, "silver.impressions": bare}, snapshot.as_of), PARAMS, NoProgress()
    )
    assert fitted.depth == 6


def test_the_gradient_is_that_of_the_loss(snapshot: Snapshot) -> None:
    found = examples(snapshot, None, snapshot.as_of, 60)
    values = {c: fitting._values(found.lists[c], 1) for c in ("device", "depth")}
    shape = fitting.Weights(("A", "B", "C"), np.zeros(4), np.ones(4), np.zeros(7), {}, np.zeros(4), np.zeros(21))
    problem = fitting._Problem.of(found, shape, values, 2.0, 8.0, True)
    at = np.random.default_rng(0).normal(0, 0.1, problem.size)
    for index in (0, 5, 9, 20, problem.size - 24, problem.size - 21, problem.size - 18):
        step = np.zeros(problem.size)
        step[index] = 1e-5
        slope = (problem.loss(at + step)[0] - problem.loss(at - step)[0]) / 2e-5
        assert problem.loss(at)[1][index] == pytest.approx(slope, rel=1e-3, abs=1e-3)


def test_popularity_is_of_the_four_weeks_before() -> None:
    """By hand: a sale on the day itself or before the window does not count."""
    day = date(2026, 3, 29)
    sold = [
        ("P", day, 1),
        ("P", day - timedelta(days=1), 2),
        ("P", day - timedelta(days=28), 3),
        ("P", day - timedelta(days=29), 4),
    ]
    rows = [(f"u{n}-{i}", p, on, "purchase") for n, (p, on, count) in enumerate(sold) for i in range(count)]
    tables = {
        "gold.interactions": pl.DataFrame(rows, schema=["person_id", "product_id", "on", "kind"], orient="row").lazy(),
        "silver.products": pl.LazyFrame({"product_id": ["P", "Q"], "category": ["A", None], "price": [10.0, None],
                                         "currency": ["EUR", "EUR"], "cost": [4.0, 1.0],
                                         "launched_on": [day - timedelta(days=30), day]}),
    }  # fmt: skip
    known = products_at(Snapshot(tables, day))
    assert known["popularity"].to_list() == pytest.approx([np.log(6), 0.0])
    assert known["price"].to_list() == [pytest.approx(0), None]
    assert known["margin"].to_list() == [pytest.approx(0.6), None]
    assert known["fresh"].to_list() == [0.5, 1.0]


def test_one_senseless_cost_says_little_of_a_margin() -> None:
    """It is one more product of no or full margin, and leaves the scale of the others as it is."""
    products = pl.LazyFrame({
        "product_id": ["P", "Q", "R", "S"], "category": ["A"] * 4, "currency": ["EUR"] * 4,
        "price": [10.0, 0.01, 10.0, 8.0], "cost": [4.0, 500.0, -90.0, 12.0], "launched_on": [date(2026, 3, 1)] * 4,
    })  # fmt: skip
    none = pl.LazyFrame(schema={"person_id": pl.String, "product_id": pl.String, "on": pl.Date, "kind": pl.String})
    known = products_at(Snapshot({"gold.interactions": none, "silver.products": products}, date(2026, 4, 1)))
    assert known["margin"].to_list() == pytest.approx([0.6, -1.0, 1.0, -0.5])


def test_ndcg_weighs_clicks_by_how_seldom_a_place_is_looked_at(snapshot: Snapshot) -> None:
    """A list of two by hand: the second was taken, at a place that half as many look at."""
    at = datetime(2026, 4, 1, 10, tzinfo=UTC)
    rows = snapshot["silver.impressions"].filter(pl.col("list_id") == "l7").head(2).with_columns(
        clicked_at=pl.when(pl.col("position") == 2).then(pl.lit(at)), shown_at=pl.lit(at), on=pl.lit(at.date())
    )  # fmt: skip
    found = examples(
        Snapshot({**snapshot.tables, "silver.impressions": rows}, snapshot.as_of), None, date(2027, 1, 1), 9
    )
    worth = found.relevant / np.array([1.0, 0.5])
    assert ranking.ndcg(found, np.array([2.0, 1.0]), worth) == pytest.approx(1 / np.log2(3))
    assert ranking.ndcg(found, np.array([1.0, 2.0]), worth) == pytest.approx(1.0)


def logged(snapshot: Snapshot, **columns: pl.Expr) -> Snapshot:
    """The same lists as another log tells them."""
    shown = snapshot["silver.impressions"].with_columns(**columns)
    return Snapshot({**snapshot.tables, "silver.impressions": shown}, snapshot.as_of)


@pytest.mark.parametrize("column", ["score", "position"])
def test_what_a_click_row_lacks_says_nothing_of_the_click(column: str, shown_lists) -> None:  # type: ignore[no-untyped-def]
    """A row told again for its click has no score, or no position: what is known of the others alone is not used."""
    plain = Snapshot(shown_lists.tables(seed=5), shown_lists.CUT)
    log = logged(plain, **{column: pl.when(~pl.col("is_clicked")).then(column)})
    fitted = ranking.fit(log, PARAMS, NoProgress())
    assert ranking.evaluate(fitted, log).metrics["ndcg_gain"] < 0.02
    assert column != "score" or np.abs(fitted.weights.shares[:2]).max() < 1e-6


def test_lists_without_a_position_are_judged_by_their_score(snapshot: Snapshot, fitted: ranking.RankingFitted) -> None:
    """Ids that end by chance are no order."""
    unplaced = logged(snapshot, position=pl.lit(None, pl.Int64), impression_id=pl.col("impression_id").reverse())
    found = examples(unplaced, snapshot.as_of, date(2027, 1, 1), 9, are_ordered=True)
    assert found.count == 9 and (found.position == -1).all()
    score = -np.sort(-found.base[found.group == 0])
    order = np.lexsort((-found.base, found.group))
    assert found.base[order][: len(score)].tolist() == score.tolist()
    neither = logged(unplaced, score=pl.lit(None, pl.Float64))
    with pytest.raises(NotEnough, match="with the score or the position"):
        ranking.evaluate(fitted, neither)


def test_a_ranker_in_service_holds_on_the_lists_that_it_put_in_order(shown_lists) -> None:  # type: ignore[no-untyped-def]
    """Two rounds of log and fit: the second log is in the order of the first ranker, its score that of the sources.
    The champion still is better than no ranker, and what is learnt anew is what was learnt before."""
    first = Snapshot(shown_lists.tables(lists=1500, taste=1.2), shown_lists.CUT)
    one = ranking.fit(first, PARAMS, NoProgress())

    weighed = {p: one.weights.base[one.weights.categories.index(c)] for p, c, _ in shown_lists.PRODUCTS}

    def order(products: pl.Series, share: np.ndarray) -> np.ndarray:
        weighs = np.array([weighed[p] for p in products])
        log_share = np.log(np.maximum(share, np.exp(-5.0)))
        return weighs + one.weights.shares[0] * share + one.weights.shares[1] * log_share

    later = Snapshot(shown_lists.tables(lists=1500, seed=9, taste=1.2, order=order), shown_lists.CUT)
    judged = ranking.evaluate(one, later)
    assert judged.metrics["ndcg_gain_low"] > 0.02, judged.metrics
    two = ranking.fit(later, PARAMS, NoProgress())
    base = [(w.weights.categories.index, w.weights.base) for w in (one, two)]
    kept = [float(of[at("A")] - of[at("D")]) for at, of in base]
    assert min(kept) > 0.8, kept


def test_versions_are_judged_by_the_same_places(snapshot: Snapshot, fitted: ranking.RankingFitted) -> None:
    """A version that thinks less of the last places gains nothing by that."""
    steep = dataclasses.replace(fitted.weights, position=fitted.weights.position * 3)
    other = dataclasses.replace(fitted, weights=steep)
    assert ranking.evaluate(other, snapshot).metrics == ranking.evaluate(fitted, snapshot).metrics


def test_of_a_long_log_only_the_newest_days_are_taken(snapshot: Snapshot) -> None:
    """The lists are those that are the newest of all; one that goes on past midnight is whole."""
    goes_on = (pl.col("list_id") == "l7") & (pl.col("position") > 3)
    late = logged(snapshot, on=pl.col("on") + pl.when(goes_on).then(timedelta(days=1)).otherwise(timedelta(0)))
    whole, few = (examples(late, None, date(2027, 1, 1), most) for most in (10_000, 60))
    assert few.count == 60 and few.lists.drop("group").equals(whole.lists.tail(60).drop("group"))
    assert (few.shares == whole.shares[-len(few.shares) :]).all()


def test_what_a_session_is_about_is_the_same_in_a_log_and_a_request(snapshot: Snapshot) -> None:
    seen = ["P00", "P01", "P00", *(f"P{n:02}" for n in range(2, 30))]
    one = logged(snapshot, seen_product_ids=pl.lit(seen, pl.List(pl.String)))
    told = examples(one, None, date(2027, 1, 1), 1)
    category = {p: "ABCD"[int(p[1:]) % 4] for p in seen}
    asked = shares_of([category[p] for p in lately_seen(seen)])
    assert asked == {"A": 0.3, "B": 0.3, "C": 0.2, "D": 0.2}
    assert told.shares[:, 3].tolist() == [asked[c] for c in told.category]


def test_prices_of_two_currencies_are_beside_each_other() -> None:
    """What is dear is so among the prices of its currency."""
    products = pl.LazyFrame({"product_id": ["A", "B", "X", "Y"], "category": "C", "price": [10.0, 20.0, 1600.0, 3200.0],
                             "currency": ["EUR", "EUR", "JPY", "JPY"], "cost": None, "launched_on": None},
                            schema_overrides={"cost": pl.Float64, "launched_on": pl.Date})  # fmt: skip
    bought = pl.LazyFrame(schema={"person_id": pl.String, "product_id": pl.String, "on": pl.Date, "kind": pl.String})
    known = products_at(Snapshot({"silver.products": products, "gold.interactions": bought}, date(2026, 1, 1)))
    low, high, lower, higher = known["price"].to_list()
    assert (lower, higher) == pytest.approx((low, high)) and low < 0 < high
