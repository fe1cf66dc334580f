"""Features never see the cut or later; labels see the window only; both may be built part by part."""

from datetime import date, timedelta
from decimal import Decimal

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from customer360.models import frames
from customer360.platform.errors import ModelError

CUT = date(2024, 7, 1)
COUNTS = [
    "order_count",
    "item_count",
    "unit_count",
    "return_count",
    "session_count",
    "event_count",
    "view_count",
    "search_count",
    "cart_add_count",
    "store_order_count",
    "online_order_count",
    "mobile_order_count",
]
AMOUNTS = ("gross_amount", "net_amount", "discount_amount")


def day(person: str | None, on: date, **values: int) -> dict[str, object]:
    counts = {name: values.get(name, 0) for name in COUNTS}
    amounts = {name: Decimal(values.get(name, 0)) for name in AMOUNTS}
    return {"subject_id": person or "visitor", "person_id": person, "on": on, **counts, **amounts}


def days_of(*rows: dict[str, object]) -> pl.LazyFrame:
    schema = {"subject_id": pl.String, "person_id": pl.String, "on": pl.Date} | dict.fromkeys(COUNTS, pl.Int64)
    return pl.DataFrame(rows, schema=schema | dict.fromkeys(AMOUNTS, pl.Decimal(12, 2)), orient="row").lazy()


@pytest.fixture(scope="module")
def log() -> pl.LazyFrame:
    """60 people over 500 days around the cut: some browse only, some rows are anonymous."""
    rng, rows = np.random.default_rng(7), []
    for person in range(60):
        for offset in sorted(rng.choice(500, size=rng.integers(1, 12), replace=False)):
            orders = int(rng.integers(0, 3)) if person % 10 else 0
            gross = orders * int(rng.integers(5, 90))
            rows.append(
                day(
                    None if person == 59 else f"p{person:02}",
                    CUT - timedelta(days=380) + timedelta(days=int(offset)),
                    order_count=orders,
                    unit_count=orders * 2,
                    item_count=orders,
                    return_count=int(rng.integers(0, 2)),
                    gross_amount=gross,
                    net_amount=gross,
                    discount_amount=gross // 10,
                    session_count=1,
                    view_count=int(rng.integers(0, 9)),
                    online_order_count=orders,
                )
            )
    return days_of(*rows)


def test_features_of_one_customer() -> None:
    days = days_of(
        day("a", date(2023, 7, 10), order_count=1, gross_amount=10, unit_count=1, item_count=1, store_order_count=1),
        day("a", date(2024, 5, 2), order_count=2, gross_amount=50, discount_amount=5, unit_count=5, item_count=3, return_count=1, online_order_count=2),  # noqa: E501
        day("a", date(2024, 6, 21), order_count=1, gross_amount=30, unit_count=2, item_count=2, mobile_order_count=1),
        day("a", date(2024, 6, 28), session_count=2, view_count=7),
    )  # fmt: skip
    found = frames.features(days, CUT).collect().to_dicts()[0]
    expected = {
        "recency_days": 10, "tenure_days": 357, "days_since_seen": 3, "purchase_day_count": 3, "order_count": 4,
        "order_count_30d": 1, "order_count_90d": 3, "order_count_365d": 4, "gross_amount_90d": 80, "gross_amount": 90,
        "purchase_day_count_90d": 2, "mean_order_amount": 22.5, "max_day_amount": 50, "units_per_order": 2,
        "mean_gap_days": (297 + 50) / 2, "std_gap_days": np.std([297, 50], ddof=1), "recency_to_gap": 10 / 173.5,
        "order_trend": 1.0, "season_order_count": 1, "return_rate": 0.25, "discount_rate": 5 / 90,
        "store_order_share": 0.25, "online_order_share": 0.5, "session_count_30d": 2, "view_count_30d": 7,
    }  # fmt: skip
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_orders_of_unknown_amount_are_orders_and_in_no_mean() -> None:
    before, after = CUT - timedelta(days=10), CUT + timedelta(days=1)
    rows = [day("p1", before, order_count=3, gross_amount=50), day("p2", before, order_count=1, gross_amount=8)]
    known = days_of(*rows, day("p2", after, order_count=1), day(None, before, order_count=1))
    unknown = known.with_columns(unconverted_order_count=pl.when(pl.col("gross_amount") == 8).then(0).otherwise(1))
    found = {row["person_id"]: row for row in frames.features(unknown, CUT).collect().to_dicts()}
    assert (found["p1"]["order_count"], found["p1"]["mean_order_amount"]) == (3, 25.0)
    nothing = unknown.with_columns(unconverted_order_count=pl.col("order_count"))
    (first, _) = frames.features(nothing, CUT).sort("person_id").collect().to_dicts()
    assert (first["purchase_day_count"], first["mean_order_amount"], first["max_day_amount"]) == (1, None, None)
    assert frames.priced(unknown, CUT).collect()["person_id"].to_list() == ["p2", "p2", None], "not what came later"
    assert frames.priced(known, CUT).collect().height == 4, "a file of transactions is of one currency"


def test_rows_at_or_after_the_cut_change_no_feature(log: pl.LazyFrame) -> None:
    poison = days_of(
        *(
            day(f"p{i:02}", CUT + timedelta(days=i % 3), order_count=99, gross_amount=9999, view_count=99)
            for i in range(60)
        ),
        day("from the future", CUT, order_count=1),
    )
    before = frames.features(log.filter(pl.col("on") < CUT), CUT).collect()
    assert before.height > 50
    assert_frame_equal(frames.features(pl.concat([log, poison]), CUT).collect(), before)
    assert_frame_equal(
        frames.population(pl.concat([log, poison]), CUT).collect(),
        frames.population(log.filter(pl.col("on") < CUT), CUT).collect(),
    )


@pytest.mark.parametrize("build", [frames.features, frames.labels, frames.population, frames.examples])
def test_parts_by_person_give_the_whole(log: pl.LazyFrame, build) -> None:
    whole = build(log, CUT).collect().sort("person_id")
    parts = [build(part.lazy(), CUT).collect() for part in log.collect().partition_by("person_id")]
    assert whole.height > 20
    assert_frame_equal(pl.concat(parts).sort("person_id"), whole, abs_tol=1e-9)


def test_features_are_finite_float_columns(log: pl.LazyFrame) -> None:
    found = frames.features(log, CUT).collect()
    assert found.columns == ["person_id", *frames.FEATURES]
    assert set(found.schema.dtypes()[1:]) == {pl.Float64}
    values = found.select(frames.FEATURES)
    assert values.select(pl.all().is_nan().any() | pl.all().is_infinite().any()).sum_horizontal().item() == 0
    assert found.filter(pl.col("purchase_day_count") == 0)["recency_days"].null_count() >= 5  # browsers have no recency


def test_labels_read_the_half_open_window() -> None:
    old = date(2024, 1, 1)
    days = days_of(
        *(day(person, old, order_count=1, gross_amount=5) for person in ("on_cut", "last", "too_late", "browses")),
        day("on_cut", CUT, order_count=1, gross_amount=7),
        day("last", CUT + timedelta(days=89), order_count=1, gross_amount=8),
        day("too_late", CUT + timedelta(days=90), order_count=1, gross_amount=9),
        day("browses", CUT + timedelta(days=1), view_count=3),
        day("new", CUT + timedelta(days=1), order_count=1, gross_amount=9),
    )
    found = frames.labels(days, CUT).collect()
    assert found.rows() == [
        ("browses", True, 0.0, 0.0),
        ("last", False, 1.0, 8.0),
        ("on_cut", False, 1.0, 7.0),
        ("too_late", True, 0.0, 0.0),
    ]


def test_population_is_bounded_on_both_sides() -> None:
    days = days_of(
        day("in", CUT - timedelta(days=365), order_count=1),
        day("out", CUT - timedelta(days=366), order_count=1),
        day("future", CUT, order_count=1),
        day("browser", CUT - timedelta(days=1), view_count=1),
    )
    assert frames.population(days, CUT).collect()["person_id"].to_list() == ["in"]


def test_training_windows_end_before_the_test_cut() -> None:
    cuts = frames.cuts(date(2009, 12, 1), date(2011, 6, 13))
    assert cuts == [date(2010, 9, 16), date(2010, 12, 15), date(2011, 3, 15)]
    assert max(cuts) + timedelta(days=frames.HORIZON_DAYS) == date(2011, 6, 13)
    with pytest.raises(ModelError, match="no training cut"):
        frames.cuts(date(2011, 1, 1), date(2011, 6, 13))


def test_an_unfinished_outcome_is_refused(log: pl.LazyFrame) -> None:
    frames.require_outcome(log, CUT)
    with pytest.raises(ModelError, match="outcome of 2024-10-01 is not known"):
        frames.require_outcome(log, date(2024, 10, 1))
