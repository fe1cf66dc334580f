"""The churn model on a log whose leavers are known: ranking, calibration, reasons, repeatability, resuming."""

import dataclasses
import math
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from scipy.special import logit

from customer360.models import base, churn, frames
from customer360.models.purchasing import season, starts
from customer360.platform.errors import ModelError

START, CUT = date(2022, 1, 1), date(2023, 4, 1)
PARAMS = churn.ChurnParams(min_history_days=120, cut_count=3, cut_step_days=60, rounds=40, threads=1)


def shop(people: int = 500, until: date = CUT + timedelta(days=90), seed: int = 0) -> pl.LazyFrame:
    """Purchases of people who each have a rhythm and leave for good at some day."""
    rng, length = np.random.default_rng(seed), (until - START).days
    rhythm, first = rng.gamma(2.0, 15.0, people) + 3, rng.integers(0, length - 120, people)
    leaves = first + rng.exponential(400, people)
    gaps = rng.exponential(rhythm[:, None], (people, 80))
    on = np.floor(first[:, None] + np.concatenate([np.zeros((people, 1)), np.cumsum(gaps, axis=1)], axis=1))
    person, turn = np.nonzero((on < leaves[:, None]) & (on < length))
    counted = ("order_count", "item_count", "unit_count", "online_order_count")
    unseen = [
        "return_count",
        "session_count",
        "view_count",
        "search_count",
        "cart_add_count",
        "store_order_count",
        "mobile_order_count",
    ]
    rows = pl.DataFrame({"person": person, "offset": on[person, turn].astype(int)}).unique(maintain_order=True)
    return rows.lazy().select(
        person_id=pl.format("p{}", pl.col("person").cast(pl.String).str.zfill(4)),
        on=pl.lit(START) + pl.duration(days="offset"),
        **{name: pl.lit(1, pl.Int64) for name in counted},
        **{name: pl.lit(0, pl.Int64) for name in unseen},
        **{name: pl.lit(20).cast(pl.Decimal(12, 2)) for name in ("gross_amount", "net_amount")},
        discount_amount=pl.lit(0).cast(pl.Decimal(12, 2)),
    )


@pytest.fixture(scope="module")
def snapshot() -> base.Snapshot:
    return base.Snapshot({"silver.subject_days": shop().collect().lazy()}, CUT)


@pytest.fixture(scope="module")
def fitted(snapshot: base.Snapshot) -> churn.ChurnFitted:
    return churn.fit(snapshot, PARAMS, base.NoProgress())


def test_ranks_no_worse_than_the_rules_and_is_calibrated(fitted, snapshot) -> None:
    found = churn.evaluate(fitted, snapshot)
    assert found.metrics["auc"] > 0.75
    assert found.metrics["ece"] < 0.1
    assert found.metrics["auc"] > found.metrics["recency_auc"] - 0.01
    assert "worse" not in found.verdicts.values()
    assert set(found.verdicts) == {"auc_over_recency", "auc_over_bgnbd"}
    errors = [found.metrics[f"survival_error_{day}d"] for day in (30, 60, 90)]
    assert np.abs(errors).max() < 0.1 and "survival_error_180d" not in found.metrics
    assert errors[2] == pytest.approx(found.rows["score"].mean() - found.rows["truth"].mean())
    assert found.metrics["lift_10"] <= found.metrics["lift_10_ceiling"]


def test_what_follows_the_cut_changes_no_score(fitted, snapshot) -> None:
    past = base.Snapshot({churn.DAYS: snapshot[churn.DAYS].filter(pl.col("on") < CUT)}, CUT)
    again = churn.fit(past, PARAMS, base.NoProgress())
    assert churn.predict(again, past).equals(churn.predict(fitted, snapshot))


def test_saved_and_loaded_scores_are_equal_and_bytes_repeat(fitted, snapshot, tmp_path: Path) -> None:
    fitted.save(tmp_path / "first")
    churn.fit(snapshot, PARAMS, base.NoProgress()).save(tmp_path / "second")
    churn.fit(snapshot, PARAMS.model_copy(update={"seed": 1}), base.NoProgress()).save(tmp_path / "third")
    prints = [base.fingerprint(tmp_path / name) for name in ("first", "second", "third")]
    assert prints[0] == prints[1] != prints[2]
    assert churn.predict(churn.load(tmp_path / "first"), snapshot).equals(churn.predict(fitted, snapshot))


class Stops:
    """Keeps checkpoints in a directory and fails after the first, as a killed worker would."""

    def __init__(self, directory: Path, fails: bool) -> None:
        self.directory, self.fails, self.restored = directory, fails, False

    def restore(self) -> Path | None:
        self.restored = self.directory.exists()
        return self.directory if self.restored else None

    def keep(self, write) -> None:
        self.directory.mkdir(exist_ok=True)
        write(self.directory)
        if self.fails:
            raise InterruptedError


def test_a_resumed_fit_equals_an_unbroken_one(fitted, snapshot, tmp_path: Path) -> None:
    with pytest.raises(InterruptedError):
        churn.fit(snapshot, PARAMS, Stops(tmp_path / "kept", fails=True))
    progress = Stops(tmp_path / "kept", fails=False)
    churn.fit(snapshot, PARAMS, progress).save(tmp_path / "resumed")
    assert progress.restored
    fitted.save(tmp_path / "unbroken")
    assert base.fingerprint(tmp_path / "resumed") == base.fingerprint(tmp_path / "unbroken")


def test_reasons_add_up_to_the_score(fitted, snapshot) -> None:
    every = PARAMS.model_copy(update={"reason_count": len(churn.INPUTS)})
    full = churn.ChurnFitted(**{**vars(fitted), "params": every})
    row = churn.predict(full, snapshot).row(0, named=True)
    sizes = [abs(reason["contribution"]) for reason in row["reasons"]]
    assert sizes == sorted(sizes, reverse=True)
    bias = math.log(row["score"] / (1 - row["score"])) - sum(reason["contribution"] for reason in row["reasons"])
    others = churn.predict(full, snapshot)
    logit = (others["score"] / (1 - others["score"])).log()
    total = others["reasons"].list.eval(pl.element().struct.field("contribution")).list.sum()
    assert (logit - total - bias).abs().max() < 1e-5  # what remains is the same for everybody
    assert {reason["feature"]: reason["value"] for reason in row["reasons"]}["recency_days"] >= 1


def test_long_silence_raises_the_score(fitted, snapshot) -> None:
    frame = frames.features(snapshot[churn.DAYS], CUT).filter(pl.col("purchase_day_count") > 5).head(1).collect()
    late = frame.with_columns(pl.col("recency_days", "tenure_days", "days_since_seen") + 200)
    assert churn.score(fitted, late, CUT)["score"][0] > churn.score(fitted, frame, CUT)["score"][0] + 0.2


def test_last_years_window_moves_the_level_half_way(snapshot) -> None:
    cuts = [CUT - timedelta(days=90), CUT - timedelta(days=120)]
    examples = starts.examples(snapshot[churn.DAYS], CUT, cuts, 90, 365)
    plain = churn.fit_examples(examples, PARAMS)
    assert plain.shift == 0.0  # the clock of this log is the calendar: last year's window says nothing
    known = dataclasses.replace(examples, last_year=season.Totals(buyer_share=0.2, purchases=1.0))
    shifted = churn.fit_examples(known, PARAMS)
    before, after = (churn.predict(fit, snapshot)["score"].mean() for fit in (plain, shifted))
    half = logit(np.array([before, 0.8])).mean()
    assert logit(after) == pytest.approx(half, abs=1e-6)


def test_survival_never_rises_and_meets_the_score(fitted, snapshot) -> None:
    frame = starts.population(snapshot[churn.DAYS], CUT, 365)
    curve = churn.survival(fitted, frame, CUT)
    assert curve.columns == ["person_id", "quiet_30d", "quiet_60d", "quiet_90d", "quiet_180d"]
    values = curve.drop("person_id").to_numpy()
    assert np.all(np.diff(values, axis=1) <= 0) and np.all((values >= 0) & (values <= 1))
    assert values[:, 2] == pytest.approx(churn.score(fitted, frame, CUT)["score"].to_numpy())
    days, later = snapshot[churn.DAYS], CUT + timedelta(days=30)
    bought = days.filter(pl.col("on").is_between(CUT, later, closed="left")).select("person_id").unique().collect()
    quiet = ~curve["person_id"].is_in(bought["person_id"].implode())
    assert values[:, 0].mean() == pytest.approx(quiet.mean(), abs=0.08)


def test_faults_are_named(fitted, snapshot) -> None:
    frame = starts.population(snapshot[churn.DAYS], CUT, 365)
    browser = frames.features(snapshot[churn.DAYS].with_columns(order_count=pl.lit(0)), CUT).head(1).collect()
    with pytest.raises(ModelError, match="1 rows have no purchase"):
        churn.score(fitted, browser, CUT)
    examples = starts.Examples(CUT, pl.DataFrame({"churned": [True, True]}), frame, fitted.spending, None)
    with pytest.raises(ModelError, match="2 training rows hold 2 churned"):
        churn.fit_examples(examples, PARAMS)
    with pytest.raises(ModelError, match=r"lacks silver\.subject_days"):
        churn.predict(fitted, base.Snapshot({}, CUT))
