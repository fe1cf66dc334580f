"""A check of drift alarms as often as it says when nothing moves, and at once when something does."""

from datetime import date

import numpy as np
import polars as pl
import pytest
from scipy.stats import binom

from customer360.models.base import Evaluation
from customer360.models.lifecycle import drift

MONTHS, PEOPLE = 200, 240


def month(rng: np.random.Generator, level: np.ndarray, shift: float = 0.0) -> pl.DataFrame:
    """Four dependent columns of the people who were seen: each has a level of his own, a count has ties, one
    has gaps.
    """
    seen = np.flatnonzero(rng.random(len(level)) < 0.6)
    own = level[seen] + rng.normal(size=len(seen)) + shift
    return pl.DataFrame(
        {
            "person_id": [str(person) for person in seen],
            "amount": np.exp(own),
            "orders": rng.poisson(np.exp(own / 3)).astype(float),
            "gap": pl.Series(own + rng.normal(size=len(seen))).set(pl.Series(rng.random(len(seen)) < 0.3), None),
            "constant": np.ones(len(seen)),
        }
    )


def error(rng: np.random.Generator, bias: float = 0.0) -> Evaluation:
    score = rng.random(500)
    truth = (rng.random(500) < np.clip(score + bias, 0, 1)).astype(int)
    return Evaluation({}, rows=pl.DataFrame({"truth": truth, "score": score}))


def report(moved: list[drift.Moved]) -> drift.Report:
    return drift.Report("toy", "1", date(2024, 1, 1), date(2024, 2, 1), tuple(moved), {})


def simulated(rng: np.random.Generator, seed: int, shift: float = 0.0, bias: float = 0.0) -> drift.Report:
    """A whole check: inputs and calibration."""
    level = rng.normal(size=PEOPLE)
    moved = drift.moved(drift.INPUTS, month(rng, level), month(rng, level, shift), seed, exchanges=200)
    calibration = drift.calibration_moved(drift.mean_error(error(rng)), error(rng, bias))
    assert isinstance(calibration, drift.Moved)
    return report([moved, calibration])


@pytest.mark.slow
def test_false_alarms_keep_the_stated_level_over_200_months() -> None:
    rng = np.random.default_rng(5)
    alarms = sum(bool(simulated(rng, seed).alarms) for seed in range(MONTHS))
    low, high = binom.interval(0.99, MONTHS, drift.LEVEL)
    assert low <= alarms <= high


@pytest.mark.parametrize(("shift", "bias", "part"), [(0.9, 0.0, drift.INPUTS), (0.0, 0.25, drift.CALIBRATION)])
def test_planted_drift_is_found_within_one_month(shift: float, bias: float, part: str) -> None:
    rng = np.random.default_rng(6)
    for seed in range(10):
        assert part in [moved.part for moved in simulated(rng, seed, shift, bias).alarms]


def test_the_column_that_moved_is_named() -> None:
    rng = np.random.default_rng(7)
    level = rng.normal(size=PEOPLE)
    after = month(rng, level).with_columns(amount=pl.col("amount") * 8)
    found = report([drift.moved(drift.INPUTS, month(rng, level), after)]).rows()
    assert found.filter("is_alarm")["column"].to_list() == ["amount"]


def test_equal_months_have_distance_and_index_zero() -> None:
    frame = month(np.random.default_rng(8), np.zeros(50))
    same = drift.moved(drift.INPUTS, frame, frame)
    assert set(same.distances.values()) == {0.0} and same.p_value == 1.0
    assert drift.stability_index(frame["gap"], frame["gap"]) == 0.0
    assert drift.stability_index(frame["amount"], frame["amount"] * 9) > 0.2


def test_what_cannot_be_judged_says_why() -> None:
    assert "no calibration" in str(drift.calibration_moved({}, Evaluation({})))
    assert "does not state" in str(drift.calibration_moved({}, error(np.random.default_rng(9))))
