"""Segments on a log of planted kinds of customers: found, numbered by spending, named, repeatable, blind to what
follows.
"""

from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import adjusted_rand_score, homogeneity_score

from customer360.models import base, segments
from customer360.models.segments.clustering import Scales, nearest
from customer360.models.segments.personas import TRAITS, TYPICAL, personas
from customer360.platform.errors import ModelError

START, CUT = date(2024, 1, 1), date(2025, 6, 1)
PARAMS = segments.SegmentsParams(redraws=4, most=3)
# Kind: days between purchases, amount of an order, whether in stores, days of silence before the cut.
KINDS = {"regular": (8, 90.0, True, 0), "grand": (30, 700.0, False, 0), "gone": (50, 30.0, False, 200)}


def log(people: int = 240, seed: int = 0) -> pl.LazyFrame:
    rng, rows = np.random.default_rng(seed), {}
    for person in range(people):
        gap, amount, in_store, silent = KINDS[list(KINDS)[person % 3]]
        on = START + timedelta(days=int(rng.integers(0, 60)))
        until = CUT - timedelta(days=silent) if silent else CUT + timedelta(days=90)
        while on < until:
            rows[f"p{person:03}", on] = (float(amount * rng.lognormal(0, 0.25)), in_store)
            on += timedelta(days=int(rng.gamma(9, gap / 9)) + 1)
    counted = ("return_count", "session_count", "view_count", "search_count", "cart_add_count", "mobile_order_count")
    frame = pl.DataFrame([(*key, *row) for key, row in rows.items()], schema=["person_id", "on", "amount", "in_store"],
                         orient="row")  # fmt: skip
    store = pl.col("in_store").cast(pl.Int64)
    return frame.lazy().select(
        "person_id", "on", order_count=pl.lit(1, pl.Int64), item_count=pl.lit(2, pl.Int64), unit_count=pl.lit(2, pl.Int64),  # noqa: E501
        store_order_count=store, online_order_count=1 - store,
        **{name: pl.lit(0, pl.Int64) for name in counted},
        **{name: pl.col("amount").cast(pl.Decimal(12, 2)) for name in ("gross_amount", "net_amount")},
        discount_amount=pl.lit(0).cast(pl.Decimal(12, 2)),
    )  # fmt: skip


@pytest.fixture(scope="module")
def snapshot() -> base.Snapshot:
    return base.Snapshot({segments.DAYS: log().collect().lazy()}, CUT)


@pytest.fixture(scope="module")
def fitted(snapshot: base.Snapshot) -> segments.SegmentsFitted:
    return segments.fit(snapshot, PARAMS, base.NoProgress())


def kinds(scored: pl.DataFrame) -> list[int]:
    return [int(person[1:]) % 3 for person in scored["person_id"]]


def test_planted_kinds_are_found_numbered_and_named(fitted, snapshot) -> None:
    scored = segments.predict(fitted, snapshot)
    assert scored.schema == base.PAYLOADS["gold.predictions"] and scored["person_id"].is_sorted()
    assert adjusted_rand_score(kinds(scored), scored["score"]) > 0.95
    spend = [segment.mean_spend for segment in fitted.segments]
    assert spend == sorted(spend, reverse=True) and [segment.number for segment in fitted.segments] == [1, 2, 3]
    grand, regular, gone = (segment.persona for segment in fitted.segments)
    assert "large orders" in grand and "buy in stores" in regular and "not seen for long" in gone
    assert sum(segment.share for segment in fitted.segments) == pytest.approx(1)


def test_more_segments_than_kinds_mix_none(snapshot) -> None:
    many = segments.fit(snapshot, PARAMS.model_copy(update={"most": 6}), base.NoProgress())
    assert [choice.count for choice in many.tried] == [3, 4, 5, 6]
    steady = [choice for choice in many.tried if choice.stability >= 0.75]
    assert many.chosen in steady and many.chosen.silhouette >= 0.9 * max(choice.silhouette for choice in steady)
    scored = segments.predict(many, snapshot)
    assert homogeneity_score(kinds(scored), scored["score"]) > 0.95


def test_the_first_reason_is_the_persona_and_values_are_the_persons(fitted, snapshot) -> None:
    scored = segments.predict(fitted, snapshot)
    row = scored.row(0, named=True)
    persona, *others = row["reasons"]
    assert persona["feature"] == fitted.segments[int(row["score"]) - 1].persona and persona["value"] == row["score"]
    assert 0 <= persona["contribution"] <= 1
    known = segments._people(snapshot, PARAMS).row(0, named=True)
    assert [reason["value"] for reason in others] == [known[reason["feature"]] for reason in others]
    assert [abs(r["contribution"]) for r in others] == sorted((abs(r["contribution"]) for r in others), reverse=True)


def test_other_customers_of_the_same_kinds_keep_the_numbers(fitted) -> None:
    other = base.Snapshot({segments.DAYS: log(seed=5)}, CUT)
    again = segments.fit(other, PARAMS, base.NoProgress())
    one, two = (segments.predict(fit, other)["score"] for fit in (fitted, again))
    assert (one == two).mean() > 0.95
    assert fitted.chosen.stability > 0.9


def test_bytes_repeat_and_loaded_segments_score_alike(fitted, snapshot, tmp_path: Path) -> None:
    fitted.save(tmp_path / "first")
    mixed = base.Snapshot(
        {segments.DAYS: snapshot[segments.DAYS].collect().sample(fraction=1, shuffle=True, seed=1).lazy()}, CUT
    )
    segments.fit(mixed, PARAMS, base.NoProgress()).save(tmp_path / "second")
    assert base.fingerprint(tmp_path / "first") == base.fingerprint(tmp_path / "second")
    loaded = segments.load(tmp_path / "first")
    assert loaded == fitted
    assert segments.predict(loaded, snapshot).equals(segments.predict(fitted, snapshot))


def test_what_follows_the_cut_changes_nothing(fitted, snapshot) -> None:
    past = base.Snapshot({segments.DAYS: snapshot[segments.DAYS].filter(pl.col("on") < CUT)}, CUT)
    assert segments.fit(past, PARAMS, base.NoProgress()) == fitted


def test_judged_without_rows_beside_the_rfm_rules(fitted, snapshot) -> None:
    found = segments.evaluate(fitted, snapshot)
    assert found.rows is None and set(found.verdicts) == {"explained_over_rfm"}
    assert found.metrics["explained"] > 0.5 and found.metrics["silhouette"] > 0.3
    assert found.metrics["explained_over_rfm"] == pytest.approx(
        found.metrics["explained"] - found.metrics["rfm_explained"]
    )
    assert found.metrics["explained_over_rfm_low"] <= found.metrics["explained_over_rfm"]
    with pytest.raises(ModelError, match="outcome"):
        segments.evaluate(fitted, base.Snapshot({segments.DAYS: snapshot[segments.DAYS]}, CUT + timedelta(days=200)))


def test_a_feature_that_says_nothing_is_left_out(fitted) -> None:
    assert "session_count_90d" not in fitted.scales.names and "mobile_order_share" not in fitted.scales.names
    with pytest.raises(ModelError, match="varies"):
        Scales.of(pl.DataFrame({"recency_days": [3.0, 3.0]}), {"recency_days": 1.0})
    few = base.Snapshot({segments.DAYS: log(people=24)}, CUT)
    with pytest.raises(ModelError, match="too few for 3 segments"):
        segments.fit(few, PARAMS, base.NoProgress())


def test_a_new_customer_with_unknown_values_is_segmented(fitted) -> None:
    someone = pl.DataFrame(
        {name: [None] for name in segments.INPUTS}, schema=dict.fromkeys(segments.INPUTS, pl.Float64)
    )
    label, clearness = nearest(fitted.scales(someone), fitted.centres)
    assert label[0] in (0, 1, 2) and 0 <= clearness[0] <= 1


def test_personas_are_told_apart_and_say_nothing_of_the_typical() -> None:
    names = ("recency_days", "gross_amount_365d", "tenure_days")
    found = personas(np.array([[2.0, 1.0, 0.5], [2.0, 1.0, -0.5], [0.1, 0.2, 0.0]]), names)
    assert found == ["not seen for long, spend much, long-standing", "not seen for long, spend much, new", TYPICAL]
    same = personas(np.array([[0.0, 0.0, 0.0], [0.1, 0.0, 0.0]]), names)
    assert same == [f"{TYPICAL} (1)", f"{TYPICAL} (2)"]
    assert set(TRAITS) == set(segments.INPUTS)
