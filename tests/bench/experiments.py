"""Do experiments keep what they promise? Simulations of known truth through the product's own functions.

    python tests/bench/experiments.py [--runs 2000] [--only coverage]

False alarms when somebody peeks, power at the planned size, what CUPED takes away, found mismatches of arms, regret of
bandits against equal shares, coverage of off-policy figures, uniformity and independence of the hash. All seeded.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from scipy import stats

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / ".links"))

from customer360.pipelines.experiments import Experiment, Holdout, Metric
from customer360.serve.activation import bandits
from customer360.serve.activation.experiments import analysis, effects, interleaving, off_policy, planning
from customer360.serve.activation.experiments.assignment import Started, arm_at, place
from customer360.serve.activation.experiments.effects import NoEffect, Outcomes
from customer360.serve.activation.experiments.off_policy import Log

ALPHA = 0.05
LOOKS = np.linspace(200, 10_000, 20).astype(int) // 2 * 2


def revenue(rng: np.random.Generator, n: int, buying: float = 0.1) -> np.ndarray:
    """Nine of ten spend nothing, the others log-normally: as skewed as a shop's."""
    return np.where(rng.random(n) < buying, rng.lognormal(3.5, 1.0, n), 0.0)


def peeking(runs: int) -> None:
    """By the report's own path, with all defaults, from the fewest subjects that it tells a figure of."""
    asked = Experiment.model_validate({"description": "Null", "arms": {"old": 0.5, "new": 0.5}, "metrics": ["m"]})
    of = Started("null", asked, {"m": Metric()}, Holdout(), datetime(2026, 1, 1, tzinfo=UTC))
    for name, draw, is_binary in (
        ("conversion 5 %", lambda rng, n: (rng.random(n) < 0.05).astype(float), True),
        ("revenue, 10 % buy", revenue, False),
        ("revenue, 3 % buy", lambda rng, n: revenue(rng, n, 0.03), False),
    ):
        alarms, worse, outside = np.zeros(3), 0, 0
        for run in range(runs):
            rng = np.random.default_rng([1, run])
            arms = [draw(rng, LOOKS[-1] // 2) for _ in range(2)]
            seen = [[Outcomes(arm[: n // 2], is_binary=is_binary) for arm in arms] for n in LOOKS]
            told = [analysis.judged(of, [analysis.line(of, "m", "new", *both)])[0] for both in seen]
            once = [_at_one_look(*both) for both in seen]
            verdicts = [each.verdict for each in told if each.effect is not None]
            alarms += [bool({"better", "worse"} & {*verdicts}), min(once) < ALPHA, once[-1] < ALPHA]
            worse += "worse" in verdicts
            outside += any(each.effect is not None and not each.effect.low <= 0 <= each.effect.high for each in told)
        always, peeked, last = alarms / runs
        print(f"false alarms, {name}, {len(LOOKS)} looks from {LOOKS[0]:,} to {LOOKS[-1]:,} subjects, {runs:,} "
              f"nulls: reports {always:.3f} ({worse / runs:.3f} worse; 0 outside the interval {outside / runs:.3f}), "
              f"t-test at every {peeked:.3f}, at the last {last:.3f}", flush=True)  # fmt: skip


def _at_one_look(control: Outcomes, treated: Outcomes) -> float:
    try:
        return effects.at_one_look(effects.effect(control, treated), ALPHA).p_value
    except NoEffect:
        return 1.0


def power(runs: int) -> None:
    for is_sequential in (False, True):
        test = planning.Test(ALPHA, 0.8, is_sequential)
        n = int(np.ceil(planning.subjects_for(0.2, 4.0, test, (0.5, 0.5)) / 2))
        seen = 0
        for run in range(runs):
            rng = np.random.default_rng([2, run])
            found = effects.effect(Outcomes(rng.normal(10, 2, n)), Outcomes(rng.normal(10.2, 2, n)))
            how = effects.at_any_look if is_sequential else effects.at_one_look
            seen += how(found, ALPHA).p_value < ALPHA
        print(f"power at the planned size ({2 * n:,} subjects, {'any look' if is_sequential else 'one look'}): "
              f"{seen / runs:.3f} of .800 asked")  # fmt: skip


def cuped(runs: int) -> None:
    for correlation in (0.3, 0.5, 0.7):
        shares = []
        for run in range(min(runs, 500)):
            rng = np.random.default_rng([3, run])
            arms = []
            for _ in range(2):
                before = rng.normal(0, 1, 2000)
                values = correlation * before + np.sqrt(1 - correlation**2) * rng.normal(0, 1, 2000)
                arms.append(Outcomes(values + 5, before=before))
            bare = [Outcomes(arm.values) for arm in arms]
            shares.append((effects.effect(*arms).error / effects.effect(*bare).error) ** 2)
        print(f"CUPED at correlation {correlation}: variance {np.mean(shares):.3f} of what it was, "
              f"{1 - correlation**2:.3f} by theory")  # fmt: skip


def mismatch(runs: int) -> None:
    for share in (0.5, 0.49, 0.48, 0.47):
        rng = np.random.default_rng(4)
        counts = rng.binomial(20_000, share, runs)
        found = np.mean([effects.mismatch([c, 20_000 - c], [0.5, 0.5]) < effects.MISMATCH for c in counts])
        print(f"mismatch found, 20,000 subjects, first arm {share:.0%} of 50 %: {found:.3f}")


def regret(runs: int) -> None:
    rates, subjects, edition = {"a": 0.05, "b": 0.06, "c": 0.08}, 30_000, 1_000
    lost = np.zeros((runs, subjects // edition))
    for run in range(runs):
        rng = np.random.default_rng([5, run])
        log: tuple[list[str], list[float]] = [], []
        learnt = bandits.thompson(list(rates), 0.02)
        for part in range(subjects // edition):
            shares = learnt.shares()
            arms = rng.choice(list(shares), edition, p=list(shares.values()))
            log[0].extend(arms.tolist())
            log[1].extend((rng.random(edition) < [rates[a] for a in arms]).astype(float).tolist())
            lost[run, part] = sum(0.08 - rates[a] for a in arms)
            learnt = bandits.thompson(list(rates), 0.02, *log)
    grown = lost.cumsum(axis=1).mean(axis=0)
    equal = (0.08 - np.mean(list(rates.values()))) * subjects
    half = grown[len(grown) // 2 - 1]
    print(f"Thompson, {runs} runs of {subjects:,} subjects: regret {grown[-1]:.0f} conversions, equal shares "
          f"{equal:.0f}; first half {half:.0f}, second {grown[-1] - half:.0f}")  # fmt: skip


def contextual(runs: int) -> None:
    """Two arms, each best for half of the people: no fixed arm is."""
    subjects, edition, lost = 4_000, 250, np.zeros((runs, 2))
    for run in range(runs):
        rng = np.random.default_rng([6, run])
        x = rng.normal(0, 1, subjects)
        worth = np.stack([0.2 + 0.1 * np.tanh(x), 0.2 - 0.1 * np.tanh(x)], axis=1)
        chosen: list[str] = []
        rewards: list[float] = []
        learnt = bandits.lin_ucb(["a", "b"], ["x"], 0.05)
        for part in range(0, subjects, edition):
            for n in range(part, part + edition):
                arm = arm_at(learnt.shares({"x": x[n]}), rng.random())
                chosen.append(arm)
                rewards.append(float(rng.random() < worth[n, "ab".index(arm)]))
                lost[run, int(part >= subjects // 2)] += worth[n].max() - worth[n, "ab".index(arm)]
            learnt = bandits.lin_ucb(["a", "b"], ["x"], 0.05, chosen, rewards, [{"x": v} for v in x[: len(chosen)]])
    equal = float(np.mean(0.1 * np.abs(np.tanh(np.random.default_rng(0).normal(0, 1, 10**6))))) * subjects
    first, second = lost.mean(axis=0)
    print(f"LinUCB, {runs} runs of {subjects:,} subjects: regret {first + second:.0f} conversions, equal shares or any "
          f"fixed arm {equal:.0f}; first half {first:.0f}, second {second:.0f}")  # fmt: skip


def coverage(runs: int) -> None:
    rates, logged = np.array([0.05, 0.10, 0.20]), np.array([0.6, 0.3, 0.1])
    tilt = np.array([0.0, 0.05, -0.05])
    for name, policy in (("always the rarest arm", [0.0, 0.0, 1.0]), ("all alike", [1 / 3] * 3)):
        hits, widths = dict.fromkeys(("IPS", "SNIPS", "DR"), 0), dict.fromkeys(("IPS", "SNIPS", "DR"), 0.0)
        for run in range(runs):
            rng = np.random.default_rng([7, run])
            x = rng.integers(0, 2, 3000).astype(float)
            arm = rng.choice(3, 3000, p=logged)
            log = Log(
                arm, logged[arm], (rng.random(3000) < rates[arm] + tilt[arm] * (x - 0.5)).astype(float), x[:, None]
            )
            wanted = np.tile(policy, (3000, 1))
            for how, told in (("IPS", off_policy.ips), ("SNIPS", off_policy.snips), ("DR", off_policy.doubly_robust)):
                value = told(log, wanted, ALPHA)
                hits[how] += value.low <= float(rates @ np.array(policy)) <= value.high
                widths[how] += value.high - value.low
        said = ", ".join(f"{how} {hits[how] / runs:.3f} (width {widths[how] / runs:.4f})" for how in hits)
        print(f"off-policy intervals that hold the truth, {name}, {runs:,} logs of 3,000: {said}")


def interleaved(runs: int) -> None:
    """Of two lists the second has its good items higher; readers take a good item that they reach."""
    one, other = [f"i{n}" for n in range(10)], [f"i{n}" for n in (8, 9, 0, 1, 2, 3, 4, 5, 6, 7)]
    for name, lists in (("equal rankers", (one, one)), ("a better ranker", (one, other))):
        seen = 0
        for run in range(runs):
            rng = np.random.default_rng([8, run])
            credit = np.zeros((2, 300))
            for subject in range(300):
                drafted = interleaving.team_draft({"a": lists[0], "b": lists[1]}, 6, f"run {run}", f"s{subject}")
                for position, (item, team) in enumerate(drafted):
                    likes = 0.3 if item in ("i8", "i9") else 0.1
                    credit["ab".index(team), subject] += rng.random() < likes * 0.8**position
            found = interleaving.preference(credit[0], credit[1])
            seen += effects.at_one_look(found, ALPHA).p_value < ALPHA
        print(f"team draft, 300 readers, {name}: a preference told in {seen / runs:.3f} of {runs:,} runs")


def hashes(_: int) -> None:
    subjects = [f"p{n:06d}" for n in range(20_000)]
    salts = [f"experiment_{n}" for n in range(200)]
    places = np.array([[place(salt, s) for s in subjects] for salt in salts])
    bins = np.stack([np.bincount((row * 100).astype(int), minlength=100) for row in places])
    uniform = stats.chisquare(bins, axis=1).pvalue
    halves = places < 0.5
    pairs = [
        stats.chi2_contingency([[int((a & b).sum()), int((a & ~b).sum())], [int((~a & b).sum()), int((~a & ~b).sum())]],
                               correction=False).pvalue
        for a, b in itertools.pairwise(halves)
    ]  # fmt: skip
    print(f"hash, {len(salts)} salts of {len(subjects):,} subjects: chi-square over 100 parts below .05 in "
          f"{np.mean(uniform < 0.05):.3f} (KS of the p-values {stats.kstest(uniform, 'uniform').pvalue:.2f}); "
          f"pairs of experiments dependent at .05 in {np.mean(np.array(pairs) < 0.05):.3f} "
          f"(KS {stats.kstest(pairs, 'uniform').pvalue:.2f})")  # fmt: skip


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--runs", type=int, default=2000)
    asked.add_argument("--only", default="", help="One simulation, by the name of its function")
    said = asked.parse_args()
    runs = said.runs
    parts: list[tuple[Callable[[int], None], int]] = [
        (hashes, runs), (peeking, runs), (power, runs), (cuped, runs), (mismatch, runs), (regret, min(runs, 100)),
        (contextual, min(runs, 20)), (coverage, runs), (interleaved, min(runs, 500)),
    ]  # fmt: skip
    for simulate, times in parts:
        if said.only not in ("", simulate.__name__):
            continue
        began = time.perf_counter()
        simulate(times)
        print(f"  ({time.perf_counter() - began:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
