"""Pictures show what was judged, and the card says it."""

from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from customer360.models import base
from customer360.models.lifecycle import plots
from customer360.models.lifecycle.card import card
from customer360.models.lifecycle.fit import Fit
from customer360.models.lifecycle.plan import Limits, Plan

RNG = np.random.default_rng(0)
SCORE = RNG.uniform(size=400)
CHURNED = RNG.uniform(size=400) < SCORE
PERSON = [f"p{i}" for i in range(400)]
SCORES = pl.DataFrame({"person_id": PERSON, "truth": CHURNED, "score": SCORE})


def test_scores_of_outcomes_and_of_amounts_and_lists_have_their_own_pictures(tmp_path: Path) -> None:
    outcome = plots.figures(base.Evaluation({}, {}, SCORES))
    assert set(outcome) == {"roc.png", "calibration.png", "gain.png", "deciles.png"}
    amounts = SCORES.with_columns(truth=pl.Series(RNG.gamma(1.0, 50.0, 400)))
    assert set(plots.figures(base.Evaluation({}, {}, amounts))) == {"gain.png", "deciles.png"}
    lists = {"new_recall_20": 0.1, "new_popularity_recall_20": 0.05, "new_coverage_20": 0.3}
    assert set(plots.figures(base.Evaluation(lists))) == {"recall.png", "coverage.png"}
    assert plots.figures(base.Evaluation({"auc": 0.7})) == {}
    for name, figure in outcome.items():
        figure.savefig(tmp_path / name)
        assert (tmp_path / name).stat().st_size > 5000


def test_curves_hold_the_right_points() -> None:
    truth, score = np.array([1.0, 0.0, 1.0, 0.0]), np.array([0.9, 0.8, 0.8, 0.1])
    line = plots.roc(truth, score).axes[0].lines[0]
    assert line.get_xydata().tolist() == [[0, 0], [0, 0.5], [0.5, 1], [1, 1]]  # the tie is one step
    reached = plots.gain(truth, score).axes[0].lines
    assert reached[0].get_ydata().tolist() == [0, 0.5, 0.5, 1, 1]
    assert reached[1].get_ydata().tolist() == [0, 0.5, 1, 1, 1]


def test_the_card_states_intervals_data_and_limits() -> None:
    churn = base.find("churn")
    metrics = {"auc": 0.8, "auc_over_recency": 0.05, "auc_over_recency_low": 0.01, "auc_over_recency_high": 0.09,
               "ece": 0.2, "row_count": 4302.0}  # fmt: skip
    text = card(
        Fit(churn, churn.params(), date(2024, 7, 1), {"silver.subject_days": 12}),
        base.Evaluation(metrics, {"auc_over_recency": "better", "auc_over_bgnbd": "no difference"}),
        date(2024, 4, 2),
        Plan(limits=("Not for guests.",), guardrails={"ece": Limits(max=0.1)}),
    )
    assert text.startswith("# churn\n\nChurn: will an active customer buy nothing in the next 90 days?")
    assert "| auc_over_recency | 0.05 | [0.01, 0.09] |" in text and "auc_over_recency_low" not in text
    assert "| silver.subject_days | 12 |" in text and "4,302 row_count" in text and "2024-04-02" in text
    assert "- Not for guests." in text and "Not shown to differ from: auc_over_bgnbd." in text
    assert "Guardrail ece is broken: it is 0.2, at most 0.1 is allowed." in text
    assert "max_depth: 3" in text


@pytest.mark.parametrize("name", ["churn", "clv", "hybrid", "item_to_item", "two_tower"])
def test_every_card_says_what_the_model_is(name: str) -> None:
    model = base.find(name)
    text = card(Fit(model, model.params(), date(2024, 7, 1), {}), base.Evaluation({"x": 1.0}), None, Plan())
    assert len(text.split("## ")[0]) > 100


def test_the_card_lists_versions_that_may_have_learnt_from_who_was_erased_since() -> None:
    churn = base.find("churn")
    fit = Fit(churn, churn.params(), date(2026, 7, 1), {})
    days = [datetime(2026, 3, day, tzinfo=UTC) for day in (2, 4)]
    before = {"1": datetime(2026, 3, 1, tzinfo=UTC), "2": datetime(2026, 3, 3, tzinfo=UTC), "3": days[1]}
    text = card(fit, base.Evaluation({"x": 1.0}), None, Plan(), days, before)
    assert "learnt from people who were erased since, and how many: 1 (2), 2 (1). What" in text
    assert "erased since" not in card(fit, base.Evaluation({"x": 1.0}), None, Plan(), (), before)
