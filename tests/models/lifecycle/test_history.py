"""How much history each model needs: stated, and what its own training cuts ask for."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from customer360.models import base, frames
from customer360.models.lifecycle.history import days_needed
from customer360.models.lifecycle.plan import params_of
from customer360.platform.errors import ModelError
from customer360.platform.settings import Settings


@pytest.mark.parametrize(
    ("name", "days"),
    [
        ("churn", 360),
        ("clv", 360),
        ("propensity", 270),
        ("hybrid", 91),
        ("item_to_item", 91),
        ("segments", 91),
        ("ranking", 29),
    ],
)
def test_a_model_states_the_history_that_it_needs(name: str, days: int) -> None:
    model = base.find(name)
    assert days_needed(model, params_of(Settings(), model)) == days


@pytest.mark.parametrize("name", ["churn", "clv", "propensity"])
def test_with_a_day_less_its_cuts_do_not_fit(name: str) -> None:
    model, cut = base.find(name), date(2026, 6, 1)
    params = params_of(Settings(), model)
    judged_at = cut - timedelta(days=params.horizon_days)

    def cuts(first: date) -> list[date]:
        try:
            return frames.cuts(first, judged_at, params.horizon_days, params.min_history_days, 9, params.cut_step_days)
        except ModelError:
            return []

    first = cut - timedelta(days=days_needed(model, params))
    assert len(cuts(first)) == model.training_cuts
    assert len(cuts(first + timedelta(days=1))) == model.training_cuts - 1
