"""Measures against scikit-learn and hand numbers; intervals against what is known of them."""

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from customer360.models.lifecycle import evaluation
from customer360.platform.errors import ModelError


@pytest.fixture(scope="module")
def scored() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 800)
    return truth, np.round(np.clip(0.3 * truth + rng.random(800) * 0.7, 0, 1), 2)  # rounded: ties


def test_binary_measures_equal_the_reference(scored) -> None:
    truth, score = scored
    assert evaluation.auc(truth, score) == pytest.approx(roc_auc_score(truth, score))
    assert evaluation.pr_auc(truth, score) == pytest.approx(average_precision_score(truth, score))
    assert evaluation.brier(truth, score) == pytest.approx(brier_score_loss(truth, score))


def test_calibration_error_by_hand() -> None:
    truth, probability = [0, 1, 1, 1], [0.05, 0.05, 0.95, 1.0]
    assert evaluation.calibration_error(truth, probability) == pytest.approx(0.5 * 0.45 + 0.5 * 0.025)


def test_lift_and_its_ceiling() -> None:
    truth = np.array([1] * 5 + [0] * 15)
    assert evaluation.lift(truth, np.arange(20, 0, -1)) == 4.0 == evaluation.lift_ceiling(truth)
    assert evaluation.lift(truth, np.arange(20)) == 0.0
    assert evaluation.lift_ceiling(np.array([1] + [0] * 19)) == 10.0  # one positive among two places


def test_one_class_is_refused() -> None:
    with pytest.raises(ModelError, match="both classes"):
        evaluation.auc([1, 1], [0.1, 0.2])


def test_auc_comparison_is_paired_and_seeded(scored) -> None:
    truth, score = scored
    noisy = score + np.random.default_rng(1).normal(0, 0.5, len(score))
    found = evaluation.compare_auc(truth, score, noisy, seed=3)
    assert found == evaluation.compare_auc(truth, score, noisy, seed=3)
    assert found != evaluation.compare_auc(truth, score, noisy, seed=4)
    assert found.difference == pytest.approx(roc_auc_score(truth, score) - roc_auc_score(truth, noisy))
    assert found.verdict == "better" and found.low < found.difference < found.high
    assert evaluation.compare_auc(truth, noisy, score, seed=3).verdict == "worse"
    same = evaluation.compare_auc(truth, score, score, seed=3)
    assert (same.low, same.high, same.verdict) == (0.0, 0.0, "no difference")


def test_few_positives_have_an_interval_and_a_verdict() -> None:
    """Of three positives one resample in twenty holds none; the others tell what can be told."""
    truth = np.array([1.0] * 3 + [0.0] * 60)
    score = np.r_[[0.9, 0.8, 0.7], np.linspace(0, 0.6, 60)]
    better = evaluation.compare_auc(truth, score, -score, seed=1)
    assert better.verdict == "better" and better.difference == 1 and better.low == better.high == 1
    noise = evaluation.compare_auc(truth, score, np.random.default_rng(0).permutation(score), seed=1)
    assert np.isfinite([noise.low, noise.high]).all() and noise.low <= noise.difference <= noise.high


def test_interval_of_a_mean_has_its_textbook_width() -> None:
    gain = np.random.default_rng(2).normal(0.1, 1.0, 900)
    found = evaluation.compare_means(gain, np.zeros(900), seed=0, resamples=4000)
    half = 1.96 * gain.std() / 30
    assert (found.low, found.high) == (
        pytest.approx(gain.mean() - half, abs=0.01),
        pytest.approx(gain.mean() + half, abs=0.01),
    )


def test_blocks_of_resamples_do_not_change_the_size(monkeypatch) -> None:
    monkeypatch.setattr(evaluation, "BLOCK_CELLS", 800 * 7)
    seen: list[int] = []
    evaluation._compare(lambda weights: (seen.append(len(weights)), weights.sum(axis=1))[1], 800, 0, 100)
    assert sum(seen) == 101 and max(seen) == 7  # the last one is the unweighted statistic


def test_ranking_by_hand() -> None:
    lists = pl.DataFrame({"person_id": ["a"] * 3 + ["b"], "rank": [1, 2, 3, 1], "product_id": ["x", "y", "z", "y"]})
    truth = pl.DataFrame({"person_id": ["a", "a", "b", "c"], "product_id": ["x", "z", "q", "x"]})
    found = evaluation.ranking_by_person(lists, truth)
    ideal = 1 + 1 / np.log2(3)
    assert found.rows() == [("a", 1.0, pytest.approx((1 + 0.5) / ideal)), ("b", 0.0, 0.0), ("c", 0.0, 0.0)]


def test_recall_is_within_reach_of_heavy_buyers() -> None:
    products = [f"i{n:02}" for n in range(30)]
    truth = pl.DataFrame({"person_id": ["a"] * 30, "product_id": products})
    lists = pl.DataFrame({"person_id": ["a"] * 25, "rank": range(1, 26), "product_id": products[:25]})
    assert evaluation.ranking_by_person(lists, truth).row(0) == ("a", 1.0, pytest.approx(1.0))


def test_coverage_and_gini() -> None:
    even = pl.DataFrame({"person_id": list("abcd"), "rank": [1] * 4, "product_id": list("wxyz")})
    one = even.with_columns(product_id=pl.lit("w"))
    assert (evaluation.coverage(even, 4), evaluation.coverage(one, 4)) == (1.0, 0.25)
    assert (evaluation.gini(even, 4), evaluation.gini(one, 4)) == (pytest.approx(0.0), pytest.approx(0.75))
