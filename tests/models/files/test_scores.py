"""Scores of one file: nothing of the future, honest fallbacks, one row a customer."""

from datetime import date, timedelta

import numpy as np
import polars as pl
import pytest

from customer360.models import clv
from customer360.models.files import scores as file_scores
from customer360.models.files.transactions import Transactions
from customer360.models.lifecycle import evaluation
from customer360.platform.errors import ModelError

AS_OF = date(2023, 4, 1)


def shop(people: int, length: int, seed: int = 0, ahead: int = 90) -> Transactions:
    """Lines of people with a rhythm, a purse and a day of leaving, from `length` days before the date to `ahead`
    after.
    """
    rng = np.random.default_rng(seed)
    rhythm, purse = rng.gamma(2.0, 15.0, people) + 3, 60 / rng.gamma(4.0, 1.0, people)
    first = rng.integers(0, length - 20, people)
    leaves = first + rng.exponential(400, people)
    gaps = rng.exponential(rhythm[:, None], (people, 60))
    on = np.floor(first[:, None] + np.concatenate([np.zeros((people, 1)), np.cumsum(gaps, axis=1)], axis=1))
    person, turn = np.nonzero((on < leaves[:, None]) & (on < length + ahead))
    start = AS_OF - timedelta(days=length)
    lines = pl.DataFrame(
        {
            "customer": pl.Series(person).cast(pl.String),
            "at": [start + timedelta(days=int(on[p, t])) for p, t in zip(person, turn, strict=True)],
            "amount": purse[person] * rng.gamma(6.0, 1 / 6.0, len(person)) + 0.01,
        }
    )
    return Transactions(lines.with_columns(pl.col("at").cast(pl.Datetime("us"))), (), pl.Int64())


def truth(of: Transactions, scores: pl.DataFrame) -> pl.DataFrame:
    after = (
        of.lines.filter(pl.col("at") >= pl.lit(AS_OF).cast(pl.Datetime("us")))
        .group_by("customer")
        .agg(revenue=pl.col("amount").sum())
    )
    keyed = scores.with_columns(customer=pl.col("customer_id").cast(pl.String))
    return keyed.join(after, on="customer", how="left").with_columns(pl.col("revenue").fill_null(0.0))


@pytest.mark.slow
def test_scores_rank_and_add_up_and_the_future_is_not_read() -> None:
    file = shop(700, 400)
    found = file_scores.score(file, AS_OF, 90)
    judged = truth(file, found.table)
    assert judged.height == found.table["customer_id"].n_unique() == 700
    assert found.table.columns == ["customer_id", "p_churn", "clv", "clv_low", "clv_high"]
    revenue, amount = judged["revenue"].to_numpy(), judged["clv"].to_numpy()
    assert evaluation.auc(revenue == 0, judged["p_churn"].to_numpy()) > 0.8
    assert evaluation.calibration_error(revenue == 0, judged["p_churn"].to_numpy()) < 0.08
    assert abs(clv.amount_metrics(revenue, amount)["total_error"]) < 0.2
    assert judged.select(
        (pl.col("clv_low") <= pl.col("clv")).all() & (pl.col("clv") <= pl.col("clv_high")).all()
    ).item()
    assert 0.72 < ((revenue >= judged["clv_low"].to_numpy()) & (revenue <= judged["clv_high"].to_numpy())).mean() < 0.95
    assert any("inner split" in note and "judged" in note for note in found.notes)
    poisoned = file.lines.with_columns(amount=pl.when(pl.col("at").dt.date() >= AS_OF).then(1e9).otherwise("amount"))
    again = file_scores.score(Transactions(poisoned, (), pl.Int64()), AS_OF, 90)
    assert again.table.equals(found.table)


@pytest.mark.slow
def test_customers_silent_for_longer_than_the_models_saw_are_drawn_to_btyd() -> None:
    file = shop(400, 700, seed=3)
    found = file_scores.score(file, AS_OF, 30).table.with_columns(customer=pl.col("customer_id").cast(pl.String))
    past = file.lines.filter(pl.col("at").dt.date() < AS_OF).group_by("customer").agg(last=pl.col("at").max())
    silent = pl.col("last").dt.date() < AS_OF - timedelta(days=365)
    rows = (
        found.join(past, on="customer")
        .group_by(silent=silent)
        .agg(pl.len(), pl.col("clv").mean(), pl.col("p_churn").mean())
    )
    gone, here = (rows.filter(silent=flag).row(0, named=True) for flag in (True, False))
    assert gone["len"] > 30 and 0 < gone["clv"] < 0.2 * here["clv"] and gone["p_churn"] > here["p_churn"]


def test_a_short_file_is_scored_by_btyd_with_a_warning() -> None:
    file = shop(400, 180, seed=1, ahead=270)
    found = file_scores.score(file, AS_OF, 270)
    assert "warning: no window of 270 days" in found.notes[1]
    assert found.notes[2].startswith("level ")
    judged = truth(file, found.table)
    revenue = judged["revenue"].to_numpy()
    assert evaluation.auc(revenue == 0, judged["p_churn"].to_numpy()) > 0.65
    assert abs(judged["clv"].sum() / revenue.sum() - 1) < 0.4
    assert judged["p_churn"].is_between(0, 1).all()


def test_a_small_file_and_one_without_repeats() -> None:
    few = file_scores.score(shop(40, 400), AS_OF, 90)
    assert few.table.height == 40 and "fewer than 100 customers" in " ".join(few.notes)
    once = shop(30, 100).lines.unique("customer", keep="first").sort("customer")
    ended = once["at"].max().date() + timedelta(days=1)
    found = file_scores.score(Transactions(once, (), pl.String()), ended, 90)
    assert "scored by purchase rates" in found.notes[-1]
    assert found.table.select(pl.all().is_not_null().all()).row(0) == (True,) * 5
    assert found.table.select((pl.col("p_churn") > 0).all() & (pl.col("clv") > 0).all()).item()


def test_many_customers_of_one_purchase_each() -> None:
    """A file long enough for the models, from which no order value of a repeat customer can be learnt."""
    once = shop(150, 400).lines.unique("customer", keep="first").sort("customer")
    ended = once["at"].max().date() + timedelta(days=1)
    found = file_scores.score(Transactions(once, (), pl.String()), ended, 90)
    assert "nobody bought again before" in found.notes[-1] and "scored by purchase rates" in found.notes[-1]
    assert found.table["p_churn"].is_between(0, 1, closed="none").all()


@pytest.mark.parametrize("horizon", [7, 365])
def test_returns_and_other_horizons_stay_within_bounds(horizon: int) -> None:
    lines = shop(150, 400).lines.with_columns(
        amount=pl.when(pl.int_range(pl.len()) % 5 == 0).then(-pl.col("amount")).otherwise("amount")
    )
    found = file_scores.score(Transactions(lines, (), pl.Int64()), AS_OF, horizon).table
    assert found["p_churn"].is_between(0, 1, closed="none").all()
    assert found.select(pl.col("clv").is_between("clv_low", "clv_high").all()).item() and (found["clv_low"] >= 0).all()


def test_a_file_without_sales() -> None:
    back = shop(40, 400).lines.with_columns(amount=-pl.col("amount"))
    with pytest.raises(ModelError, match="no row of the file is a purchase"):
        file_scores.score(Transactions(back, (), pl.Int64()), AS_OF, 90)


def test_nobody_before_the_date() -> None:
    with pytest.raises(ModelError, match="the purchases of the file run from 2022"):
        file_scores.score(shop(40, 400), date(2020, 1, 1), 90)


@pytest.mark.slow
def test_annual_buyers_are_worth_what_is_due() -> None:
    rng, start = np.random.default_rng(0), AS_OF - timedelta(days=5 * 365)
    first = rng.integers(0, 365, 300)
    rows = [
        (
            str(customer),
            start + timedelta(days=int(first[customer] + 365.25 * year + (rng.normal(0, 4) if year else 0))),
        )
        for customer in range(300)
        for year in range(5)
    ]
    lines = pl.DataFrame(rows, schema=["customer", "at"], orient="row").with_columns(
        pl.col("at").cast(pl.Datetime("us")), amount=pl.lit(1000.0)
    )
    past = lines.filter(pl.col("at").dt.date() < AS_OF)
    found = file_scores.score(Transactions(past, (), pl.String()), AS_OF, 90).table
    last = past.group_by("customer").agg(pl.col("at").max().dt.date())
    due = found.join(last, left_on="customer_id", right_on="customer").with_columns(
        due=(pl.col("at") + timedelta(days=365) - AS_OF).dt.total_days()
    )
    for month in (0, 1):  # the third ends with the window: who is due on its last days may come after it
        inside = due.filter(pl.col("due").is_between(30 * month + 6, 30 * month + 35, closed="left"))
        assert inside.height > 10 and inside["clv"].mean() == pytest.approx(1000, rel=0.15)
    later = due.filter(pl.col("due") > 110)
    assert later.height > 100 and later["clv"].mean() < 20


@pytest.mark.slow
def test_one_mistyped_amount_moves_nobody_else() -> None:
    file = shop(400, 400, seed=2)
    plain = file_scores.score(file, AS_OF, 90).table
    often = file.lines.with_row_index().filter(pl.len().over("customer") > 5, pl.col("at").dt.date() < AS_OF)
    row = often.row(len(often) // 2, named=True)
    times = pl.when(pl.int_range(pl.len()) == row["index"]).then(2500).otherwise(1)
    wrong = Transactions(file.lines.with_columns(pl.col("amount") * times), (), pl.Int64())
    found = file_scores.score(wrong, AS_OF, 90)
    assert any(f"{row['customer']} on {row['at'].date()}" in note for note in found.notes)
    both = plain.join(found.table, on="customer_id", suffix="_now").filter(
        pl.col("customer_id") != int(row["customer"])
    )
    moved = (both["clv_now"] / both["clv"] - 1).abs()
    assert moved.quantile(0.95) < 0.01 and moved.max() < 0.03
    assert both["clv_now"].sum() == pytest.approx(both["clv"].sum(), rel=0.003)


HISTORIES = {"steady": (0.3, 0.5, 20.0), "lumpy": (1.1, 0.8, 35.0), "seldom": (0.6, 1.0, 120.0)}


def history(kind: str, people: int = 200, length: int = 500) -> pl.DataFrame:
    """Lines of people whose amounts spread by `within` around a purse that spreads by `between` (logarithms)."""
    within, between, rhythm = HISTORIES[kind]
    rng = np.random.default_rng(len(kind))
    purse, first = rng.lognormal(3.5, between, people), rng.integers(0, length - 120, people)
    gaps = rng.exponential(rng.gamma(3.0, rhythm / 3.0, people)[:, None] + 2, (people, 40))
    on = np.floor(first[:, None] + np.concatenate([np.zeros((people, 1)), np.cumsum(gaps, axis=1)], axis=1))
    person, turn = np.nonzero(on < length)
    return pl.DataFrame(
        {
            "customer": pl.Series(person).cast(pl.String),
            "at": [AS_OF - timedelta(days=length - int(on[p, t])) for p, t in zip(person, turn, strict=True)],
            "amount": np.round(purse[person] * rng.lognormal(0.0, within, len(person)), 2) + 0.01,
        }
    ).with_columns(pl.col("at").cast(pl.Datetime("us")))


@pytest.mark.slow
@pytest.mark.parametrize("kind", sorted(HISTORIES))
def test_no_amount_moves_what_the_others_are_worth_by_a_hundredth(kind: str) -> None:
    """Any usual amount, times ten (which a lumpy shop takes for one of its own) or a hundred thousand."""
    lines = history(kind)
    plain = file_scores.score(Transactions(lines, (), pl.String()), AS_OF, 90).table
    for row in np.random.default_rng(7).choice(lines.height, 1).tolist():
        for times in (10, 100_000):
            amount = pl.when(pl.int_range(pl.len()) == row).then(pl.col("amount") * times).otherwise("amount")
            wrong = Transactions(lines.with_columns(amount), (), pl.String())
            both = plain.join(file_scores.score(wrong, AS_OF, 90).table, on="customer_id", suffix="_now")
            others = both.filter(pl.col("customer_id") != lines["customer"][row])
            assert others["clv_now"].sum() == pytest.approx(others["clv"].sum(), rel=0.01), (row, times)


@pytest.mark.parametrize(("losses", "between"), [((1, 1, 1), (0.45, 0.55)), ((1, 1.5, 2), (0.99, 1)), ((2, 1.5, 1), (0, 0.01)), ((1, 1.0001, 1.2), (0.7, 0.8)), ((0, 0, 0), (0.5, 0.5)), ((1, 0, 0), (0.25, 0.25))])  # fmt: skip  # noqa: E501
def test_no_loss_decides_by_a_hair(losses: tuple[float, ...], between: tuple[float, float]) -> None:
    found = file_scores._balanced(dict(zip(file_scores.WEIGHTS, losses, strict=True)).__getitem__)
    assert between[0] <= found <= between[1]


def test_trees_are_trusted_as_far_as_their_gain_is_no_luck() -> None:
    noise = np.random.default_rng(0).normal(0.0, 1.0, 400)
    noise -= noise.mean()
    error = noise.std() / 20
    assert file_scores._trust(noise - error) == 0.0
    assert file_scores._trust(noise + 2 * error) == pytest.approx(0.0)
    assert file_scores._trust(noise + 2.5 * error) == pytest.approx(0.5)
    assert file_scores._trust(noise + 5 * error) == 1.0
    assert file_scores._trust(np.zeros(400)) == 0.0


def test_where_hardly_anybody_buys_errors_are_bounded_by_the_revenue_of_those_who_do() -> None:
    rare = np.zeros(1000)
    rare[:10] = np.arange(1.0, 11.0)
    assert file_scores._worst(rare) == pytest.approx(9.82)
    assert file_scores._worst(np.arange(1.0, 101.0)) == pytest.approx(98.02)


def test_rare_buyers_are_scored_with_numbers() -> None:
    """One in fifty of those who bought last year buys again within a week."""
    rng = np.random.default_rng(3)
    days_of = [rng.choice(700, size=1 + (person % 8 == 0) * 6, replace=False) for person in range(900)]
    lines = pl.DataFrame(
        {
            "customer": [str(person) for person, on in enumerate(days_of) for _ in on],
            "at": [AS_OF - timedelta(days=1 + int(day)) for on in days_of for day in on],
            "amount": np.round(rng.lognormal(3.0, 0.4, sum(map(len, days_of))), 2),
        }
    ).with_columns(pl.col("at").cast(pl.Datetime("us")))
    scored = file_scores.score(Transactions(lines, (), pl.String()), AS_OF, 7)
    assert any("inner split: " in note and "judged on" in note for note in scored.notes)
    assert scored.table.select(pl.all().exclude("customer_id").is_finite().all()).row(0) == (True,) * 4


def test_scores_that_are_no_numbers_are_refused() -> None:
    table = pl.DataFrame({"customer_id": ["a"], "p_churn": [0.5], "clv": [float("nan")]})
    with pytest.raises(ModelError, match="clv"):
        file_scores._require_finite(table)
