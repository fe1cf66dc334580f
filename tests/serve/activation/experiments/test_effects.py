"""Figures agree with the formulas that GrowthBook publishes and with statsmodels, on data made here.

The expected figures were computed once by gbstats and statsmodels 0.15 over the same arrays.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from customer360.serve.activation.experiments import effects, planning
from customer360.serve.activation.experiments.effects import Interval, NoEffect, Outcomes

CLOSE = 1e-6


def arm(kind: str, n: int, step: int, shift: float) -> Outcomes:
    i = np.arange(n)
    before = (i * 37 % 101) / 10.0
    values = 0.8 * before + (i * step % 97) / 8.0 + shift
    if kind == "any":
        return Outcomes(((i * step % 97) < 30 + 10 * shift) * 1.0, is_binary=True)
    per = 1.0 + (i * 11 % 5) if kind == "ratio" else None
    return Outcomes(values, per=per, before=before if kind == "cuped" else None)


@pytest.mark.parametrize(("kind", "looks", "figures"), [
    ("mean", "one", (0.910465385, 0.457190541, 1.363740228, 0.000085532)),
    ("mean", "any", (0.910465385, 0.162925012, 1.658005757, 0.008909547)),
    ("cuped", "one", (0.910087789, 0.535572500, 1.284603078, 0.000002073)),
    ("cuped", "any", (0.910087789, 0.292437491, 1.527738086, 0.000765812)),
    ("ratio", "one", (0.303488462, 0.072226981, 0.534749942, 0.010147661)),
    ("ratio", "any", (0.303488462, -0.077905197, 0.684882120, 0.185098361)),
    ("any", "one", (0.090109890, 0.039102565, 0.141117215, 0.000545849)),
    ("any", "any", (0.090109890, 0.005989535, 0.174230245, 0.029541474)),
])  # fmt: skip
def test_effects_agree_with_published_formulas(
    kind: str, looks: str, figures: tuple[float, float, float, float]
) -> None:
    found = effects.effect(arm(kind, 700, 53, 0.0), arm(kind, 650, 59, 0.9))
    interval = {"one": effects.at_one_look, "any": effects.at_any_look}[looks](found, 0.05)
    assert [*vars(interval).values()] == pytest.approx(figures, abs=CLOSE)


@pytest.mark.parametrize(("kind", "share"), [
    ("mean", 0.091178291), ("cuped", 0.091140477), ("ratio", 0.091178291), ("any", 0.289343684),
])  # fmt: skip
def test_a_share_is_the_published_one_and_says_of_no_difference_what_the_difference_says(
    kind: str, share: float
) -> None:
    for shift in (0.9, 0.3, 0.0):
        found = effects.effect(arm(kind, 700, 53, 0.0), arm(kind, 650, 59, shift))
        for told in (effects.at_any_look(found, 0.05), effects.at_one_look(found, 0.05)):
            as_share = effects.as_share(found, told)
            assert as_share.low < as_share.estimate < as_share.high and as_share.p_value == told.p_value
            assert (as_share.low > 0, as_share.high < 0) == (told.low > 0, told.high < 0)
            assert shift != 0.9 or as_share.estimate == pytest.approx(share, abs=CLOSE)


@pytest.mark.parametrize("sign", [1, -1])
def test_bounds_of_a_share_are_where_so_large_a_share_is_just_told(sign: int) -> None:
    control, treated = (Outcomes(sign * arm("mean", n, 53 + n % 7, 0.4).values) for n in (700, 650))
    found = effects.effect(control, treated)
    told = effects.as_share(found, effects.at_any_look(found, 0.05))
    for bound in (told.low, told.high):
        as_much = Outcomes(control.values * (1 + sign * bound))
        at = effects.at_any_look(effects.effect(as_much, treated), 0.05)
        assert min(abs(at.low), abs(at.high)) < 1e-9


def test_an_arm_that_earned_nothing_yet_is_not_surely_worse() -> None:
    """5 of 100 against none: chance does that; the control's rate itself is not sure."""
    few, none = (Outcomes((np.arange(100) < n) * 1.0, is_binary=True) for n in (5, 0))
    found = effects.effect(few, none)
    told = effects.at_any_look(found, 0.05)
    assert told.p_value > 0.05 and effects.as_share(found, told) == Interval(-1.0, -math.inf, math.inf, told.p_value)
    other = effects.effect(none, few)
    assert effects.as_share(other, effects.at_any_look(other, 0.05)).estimate == math.inf


def test_reports_raise_no_false_alarms_where_few_buy() -> None:
    """Looks at 150 null experiments from 100 subjects an arm on; a delta method's share makes chance look like harm."""
    alarms = 0
    for run in range(150):
        rng = np.random.default_rng([9, run])
        arms = [np.where(rng.random(2500) < 0.03, rng.lognormal(3.5, 1.0, 2500), 0.0) for _ in range(2)]
        for n in range(100, 2501, 240):
            both = [Outcomes(values[:n]) for values in arms]
            if all(each.mean for each in both):
                found = effects.effect(*both)
                share = effects.as_share(found, effects.at_any_look(found, 0.05))
                if share.p_value < 0.05 or not share.low <= 0 <= share.high:
                    alarms += 1
                    break
    assert alarms / 150 <= 0.05


def test_bounds_and_p_value_of_any_look_say_the_same() -> None:
    """0 leaves the sequence exactly where the p-value falls below the level."""
    one = arm("mean", 700, 53, 0.0)
    for shift in np.linspace(0.3, 1.2, 40):
        found = effects.at_any_look(effects.effect(one, arm("mean", 650, 59, float(shift))), 0.05)
        assert (found.p_value < 0.05) == (found.low > 0)


def test_evidence_without_bound_has_a_p_value() -> None:
    one, other = Outcomes(np.arange(500) % 7 * 1.0), Outcomes(np.arange(500) % 7 + 100.0)
    assert effects.at_any_look(effects.effect(one, other), 0.05).p_value < 1e-300


@pytest.mark.parametrize(("control", "treated"), [
    (Outcomes(np.ones(50)), Outcomes(np.ones(50))),
    (Outcomes(np.arange(50.0), per=np.zeros(50)), Outcomes(np.arange(50.0), per=np.ones(50))),
])  # fmt: skip
def test_no_effect_is_told_where_there_is_no_variance_and_no_denominator(control: Outcomes, treated: Outcomes) -> None:
    with pytest.raises(NoEffect):
        effects.effect(control, treated)


def test_a_covariate_that_never_varies_changes_nothing() -> None:
    plain = [arm("mean", 300, 53, 0.0), arm("mean", 300, 59, 0.4)]
    flat = [Outcomes(a.values, before=np.full(a.count, 3.0)) for a in plain]
    assert effects.effect(*plain) == effects.effect(*flat)


def test_mismatch_of_arms() -> None:
    assert effects.mismatch([480, 520, 700], [0.3, 0.3, 0.4]) == pytest.approx(0.279567968, abs=CLOSE)
    assert effects.mismatch([5200, 4800], [0.5, 0.5]) < effects.MISMATCH and effects.mismatch([0, 0], [0.5, 0.5]) == 1


def test_p_values_of_several_questions() -> None:
    p = [0.012, 0.041, 0.033, 0.2, 0.005]
    assert effects.corrected(p, "holm") == pytest.approx([0.048, 0.099, 0.099, 0.2, 0.025])
    assert effects.corrected(p, "benjamini_hochberg") == pytest.approx([0.03, 0.05125, 0.05125, 0.2, 0.025])
    assert effects.corrected(p, "none") == p and effects.corrected([], "holm") == []


def test_sizes_agree_with_statsmodels() -> None:
    once = planning.Test(0.05, 0.8)
    assert planning.subjects_for(0.1, 1.0, once, (0.5, 0.5)) / 2 == pytest.approx(1569.7721019, rel=CLOSE)
    assert planning.subjects_for(0.07, 1.0, planning.Test(0.01, 0.9), (0.2, 0.8)) * 0.2 == pytest.approx(
        3795.7620322, rel=CLOSE
    )
    assert planning.detectable(1.0, once, 500, 500) == pytest.approx(0.177187695, rel=CLOSE)
    any_look = planning.subjects_for(0.1, 1.0, planning.Test(0.05, 0.8, True), (0.5, 0.5))
    assert any_look > planning.subjects_for(0.1, 1.0, once, (0.5, 0.5)), "looking often has a price"
    assert math.isinf(planning.subjects_for(0.0, 1.0, once, (0.5, 0.5)))


def test_an_interval_is_around_its_estimate() -> None:
    found: Interval = effects.at_one_look(effects.effect(arm("mean", 90, 53, 0.0), arm("mean", 80, 59, 0.1)), 0.1)
    assert found.low < found.estimate < found.high and 0 <= found.p_value <= 1
