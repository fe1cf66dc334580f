"""BG/NBD against hand numbers, against a simulation and against its own parameters."""

from datetime import date

import numpy as np
import polars as pl
import pytest
from scipy.integrate import quad
from scipy.special import beta, gamma
from scipy.stats import beta as beta_distribution

from customer360.models.purchasing import btyd, starts
from customer360.models.purchasing.season import Clock
from customer360.platform.errors import ModelError

# Published for the CDNOW sample (Fader, Hardie and Lee 2005)
CDNOW = btyd.BetaGeometric(r=0.243, alpha=4.414, a=0.793, b=2.426, log_likelihood=-9582.4)


def simulate(model: btyd.BetaGeometric, age: np.ndarray, horizon: float, seed: int) -> tuple[np.ndarray, ...]:
    """(x, t_x, future purchases) of customers who live by the model's story; times in weeks."""
    rng, n = np.random.default_rng(seed), len(age)
    rate, leave = rng.gamma(model.r, 1 / model.alpha, n), rng.beta(model.a, model.b, n)
    x, last, later, now, alive = np.zeros(n), np.zeros(n), np.zeros(n), np.zeros(n), np.ones(n, bool)
    while alive.any():
        now = now + rng.exponential(1 / np.maximum(rate, 1e-12))
        inside, after = alive & (now <= age), alive & (now > age) & (now <= age + horizon)
        x, last, later = x + inside, np.where(inside, now, last), later + after
        alive = (inside | after) & (rng.random(n) > leave)
    return x, last, later


def test_likelihood_equals_the_published_formula() -> None:
    x, last, age = np.array([0.0, 2.0]), np.array([0.0, 30.43]), np.array([38.86, 38.86])
    r, alpha, a, b = 0.243, 4.414, 0.793, 2.426

    def by_hand(n: float, t: float, whole: float) -> float:
        stayed = beta(a, b + n) / beta(a, b) * gamma(r + n) * alpha**r / (gamma(r) * (alpha + whole) ** (r + n))
        left = (
            beta(a + 1, b + n - 1) / beta(a, b) * gamma(r + n) * alpha**r / (gamma(r) * (alpha + t) ** (r + n))
            if n
            else 0
        )
        return float(np.log(stayed + left))

    found = btyd.log_likelihood(np.array([r, alpha, a, b]), x, last, age)
    assert found == pytest.approx([by_hand(0, 0, 38.86), by_hand(2, 30.43, 38.86)], rel=1e-10)


def test_published_customer() -> None:
    # The paper's worked example: x = 2, t_x = 30.43, T = 38.86 is expected to buy 1.226 times in the next 39 weeks.
    expected = btyd.expected_purchases(CDNOW, np.array([2.0]), np.array([30.43]), np.array([38.86]), 39 * 7)
    assert expected[0] == pytest.approx(1.226, abs=2e-3)


def test_expectation_equals_simulation_by_history() -> None:
    age = np.full(60_000, 39.0)
    x, last, later = simulate(CDNOW, age, 26.0, seed=1)
    expected = btyd.expected_purchases(CDNOW, x, last, age, 26 * 7)
    for group in (x == 0, x == 1, (x >= 2) & (last > 30), (x >= 2) & (last < 15)):
        assert group.sum() > 500
        error = 4 * later[group].std() / np.sqrt(group.sum())
        assert expected[group].mean() == pytest.approx(later[group].mean(), abs=error)


def test_expectation_equals_its_integral() -> None:
    """Over what the history leaves possible: alive, rate Gamma(r + x, alpha + T), chance to leave Beta(a, b + x)."""
    ahead, r, alpha, a, b = 13.0, CDNOW.r, CDNOW.alpha, CDNOW.a, CDNOW.b
    for x, last, age in ((0, 0.0, 38.86), (1, 3.0, 30.0), (2, 30.43, 38.86), (17, 20.0, 21.0)):

        def bought(p: float, x: int = x, age: float = age) -> float:
            silent = ((alpha + age) / (alpha + age + p * ahead)) ** (r + x)
            return float((1 - silent) / p * beta_distribution.pdf(p, a, b + x))

        history = np.array([float(x)]), np.array([last]), np.array([age])
        direct = btyd.alive_probability(CDNOW, *history)[0] * quad(bought, 0, 1, limit=200)[0]
        assert btyd.expected_purchases(CDNOW, *history, ahead * 7)[0] == pytest.approx(direct, rel=1e-6)


def test_fit_recovers_parameters_within_their_standard_errors() -> None:
    """Of ten populations, no estimate lies further than three standard errors, and 95 % intervals hold the truth as
    often as they say. Two years of 4,000 customers: on half a year the errors of a and b are skewed, not normal."""
    truth, away = {"r": CDNOW.r, "alpha": CDNOW.alpha, "a": CDNOW.a, "b": CDNOW.b}, []
    for seed in range(10):
        age = np.random.default_rng(100 + seed).integers(78, 91, 4000).astype(float)
        x, last, _ = simulate(CDNOW, age, 0.0, seed)
        found = btyd.fit(x, np.round(last * 7) / 7, age)
        errors = btyd.standard_errors(found, x, np.round(last * 7) / 7, age)
        away += [(getattr(found, name) - value) / errors[name] for name, value in truth.items()]
    assert np.abs(away).max() <= 3
    assert (np.abs(away) <= 1.96).mean() >= 0.85  # 40 draws, four and four of one fit


def test_values_recover_parameters_within_their_standard_errors() -> None:
    truth, away = {"p": 6.25, "q": 3.74, "v": 15.44}, []
    for seed in range(10):
        count, mean, _ = orders(*truth.values(), 4000, seed)
        found = btyd.fit_value(count, mean * 100)  # in cents
        errors = btyd.value_standard_errors(found, count, mean * 100)
        unit = {"p": 1, "q": 1, "v": 100}
        away += [(getattr(found, name) - value * unit[name]) / errors[name] for name, value in truth.items()]
    assert np.abs(away).max() <= 3.5  # of 30; the error of p leans to one side
    assert (np.abs(away) <= 1.96).mean() >= 0.8


@pytest.mark.parametrize("people", [1, 500])
def test_nobody_bought_again(people: int) -> None:
    """The rate falls to the edge of the search, which is said; what is expected is next to nothing, and finite."""
    nothing, age = np.zeros(people), np.full(people, 30.0)
    found = btyd.fit(nothing, nothing, age)
    assert found.at_bound
    assert np.all(btyd.expected_purchases(found, nothing, nothing, age, 90) < 0.5)
    assert all(error > 0 for error in btyd.standard_errors(found, nothing, nothing, age).values())


def test_one_customer_who_bought_again() -> None:
    x, last, age = np.array([3.0]), np.array([20.0]), np.array([30.0])
    found = btyd.fit(x, last, age)
    assert found.at_bound
    expected = btyd.expected_purchases(found, x, last, age, 90)
    assert np.all(np.isfinite(expected)) and np.all(expected > 0)


def test_fit_recovers_parameters() -> None:
    age = np.random.default_rng(3).integers(27, 40, 6000).astype(float)
    x, last, _ = simulate(CDNOW, age, 0.0, seed=2)
    found = btyd.fit(x, np.round(last * 7) / 7, age)
    assert (found.r, found.alpha) == (pytest.approx(0.243, rel=0.15), pytest.approx(4.414, rel=0.25))
    assert found.a / (found.a + found.b) == pytest.approx(0.793 / 3.219, rel=0.25)
    truth = np.array([CDNOW.r, CDNOW.alpha, CDNOW.a, CDNOW.b])
    assert found.log_likelihood >= btyd.log_likelihood(truth, x, last, age).sum() - 1.0
    assert not found.at_bound


def test_never_runs_away() -> None:
    """Customers who never leave do not identify a and b: the search stops at its bound and says so."""
    rng = np.random.default_rng(5)
    age = np.full(400, 50.0)
    x = rng.poisson(5, 400).astype(float)
    found = btyd.fit(x, np.where(x > 0, 50.0, 0.0), age)
    assert found.at_bound
    assert np.log([found.r, found.alpha, found.a, found.b]).max() <= btyd.LOG_BOUNDS[1] + 1e-9
    assert np.all(np.isfinite(btyd.expected_purchases(found, x, np.where(x > 0, 50.0, 0.0), age, 90)))


def test_alive_is_certain_without_a_repeat_and_fades_with_silence() -> None:
    alive = btyd.alive_probability(CDNOW, np.array([0.0, 5.0, 5.0]), np.array([0.0, 38.0, 5.0]), np.full(3, 39.0))
    assert alive[0] == 1.0
    assert alive[1] > 0.8 > 0.1 > alive[2]


def test_summary_counts_repeats_in_weeks() -> None:
    frame = pl.DataFrame({"purchase_day_count": [1.0, 4.0], "recency_days": [14.0, 7.0], "tenure_days": [14.0, 77.0]})
    x, last, age = starts.summary(frame, date(2024, 7, 1), Clock(date(2024, 7, 1)))
    assert (x.tolist(), last.tolist(), age.tolist()) == ([0.0, 3.0], [0.0, 10.0], [2.0, 11.0])


def test_no_customers() -> None:
    with pytest.raises(ModelError, match="at least one"):
        btyd.fit(np.array([]), np.array([]), np.array([]))


def orders(p: float, q: float, v: float, people: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(orders, mean value, true mean) of customers who live by the Gamma-Gamma story."""
    rng = np.random.default_rng(seed)
    count = rng.integers(2, 15, people).astype(float)
    rate = rng.gamma(q, 1 / v, people)
    return count, rng.gamma(p * count, 1 / (rate * count)), p / rate


def test_values_recover_parameters_in_any_currency() -> None:
    count, mean, _ = orders(6.25, 3.74, 15.44, 8000, seed=4)  # parameters published for CDNOW
    found = btyd.fit_value(count, mean)
    # Means of orders say little about p alone, and much about the mean of all and its spread over customers.
    assert (found.p, found.v) == (pytest.approx(6.25, rel=0.25), pytest.approx(15.44, rel=0.25))
    assert found.q == pytest.approx(3.74, rel=0.05)
    assert found.p * found.v / (found.q - 1) == pytest.approx(6.25 * 15.44 / 2.74, rel=0.02)
    assert not found.at_bound
    truth = np.array([6.25, 3.74, 15.44])
    assert found.log_likelihood >= btyd.value_log_likelihood(truth, count, mean).sum() - 1e-6
    dear = btyd.fit_value(count, mean * 1e4)
    assert (dear.p, dear.v) == (pytest.approx(found.p, rel=1e-3), pytest.approx(found.v * 1e4, rel=1e-3))
    again = btyd.value_log_likelihood(np.array([dear.p, dear.q, dear.v]), count, mean * 1e4).sum()
    assert dear.log_likelihood == pytest.approx(again, rel=1e-9)


def test_expected_value_equals_simulation_by_history() -> None:
    count, mean, truth = orders(6.25, 3.74, 15.44, 60_000, seed=5)
    expected = btyd.expected_value(btyd.GammaGamma(6.25, 3.74, 15.44, 30.0, 0.0), count, mean)
    for group in (count == 2, count > 10, mean < 20, mean > 80):
        assert expected[group].mean() == pytest.approx(
            truth[group].mean(), abs=4 * truth[group].std() / np.sqrt(group.sum())
        )
    one = btyd.expected_value(
        btyd.GammaGamma(6.25, 3.74, 15.44, 30.0, 0.0), np.array([1.0, 1e6]), np.array([500.0, 500.0])
    )
    assert one[0] < 400 and one[1] == pytest.approx(500, rel=1e-4)  # one order is half luck, a million are certain


def test_values_never_run_away() -> None:
    """Equal orders do not identify the spread: the search stops at its bound, the expectation stays finite."""
    count = np.full(50, 4.0)
    found = btyd.fit_value(count, np.full(50, 10.0))
    assert found.at_bound
    assert btyd.expected_value(found, count, np.full(50, 10.0)) == pytest.approx(10.0, rel=0.05)
    rng = np.random.default_rng(6)
    heavy = btyd.fit_value(count, rng.pareto(0.4, 50) + 1)  # no finite mean
    assert heavy.q > 1 and np.all(np.isfinite(btyd.expected_value(heavy, count, np.full(50, 10.0))))


def test_values_need_repeaters_who_paid() -> None:
    with pytest.raises(ModelError, match="not 0 of them"):
        btyd.fit_value(np.array([]), np.array([]))
    with pytest.raises(ModelError, match="1 at 0 or below"):
        btyd.fit_value(np.array([2.0, 2.0]), np.array([3.0, 0.0]))
