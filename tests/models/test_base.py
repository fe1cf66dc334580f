"""The registry of models and the shape of what they write."""

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from customer360.models import base
from customer360.models.lifecycle.plan import Plan
from customer360.platform.errors import ModelError

PARAMETERS = Path(__file__).parents[2] / "configs" / "models"
REGISTERED = sorted(file.stem for file in PARAMETERS.glob("*.yaml"))
SMALL = {  # parameters that make a fit of the small shop quick
    "churn": {"min_history_days": 120, "rounds": 20},
    "clv": {"min_history_days": 120, "rounds": 10, "method": "boosted"},
    "ranking": {"min_lists": 20, "least_lists": 5},
    "two_tower": {"dimension": 8, "epochs": 2, "epoch_examples": 2000, "batch_size": 64, "token_buckets": 64},
}
AS_OF, NOW = date(2024, 7, 1), datetime(2024, 7, 1, 3, tzinfo=UTC)


@pytest.mark.parametrize("name", ["churn", "item_to_item"])
def test_parameters_on_file_are_the_defaults(name: str) -> None:
    model = base.find(name)
    content = yaml.safe_load((PARAMETERS / f"{name}.yaml").read_text())
    assert model.params(**{k: v for k, v in content.items() if k not in Plan.model_fields}) == model.params()
    with pytest.raises(ValueError, match="speed"):
        model.params(speed=3)


def test_unknown_and_double_names() -> None:
    with pytest.raises(ModelError, match="no model called nothing"):
        base.find("nothing")
    with pytest.raises(ModelError, match="no model called frames"):
        base.find("frames")  # a module that is no model
    with pytest.raises(ModelError, match="two models are called churn"):
        base.register(replace(base.find("churn"), target="other"))


def test_rows_carry_model_version_and_times() -> None:
    payload = pl.DataFrame(
        [("p1", 0.25, [{"feature": "recency_days", "value": 3.0, "contribution": 0.1}])],
        schema=base.PAYLOADS["gold.predictions"],
        orient="row",
    )
    model = replace(base.find("churn"), predict=lambda fitted, snapshot: payload)
    found = base.predictions(model, None, base.Snapshot({}, AS_OF), "7", NOW)
    assert tuple(found.columns) == base.COLUMNS["gold.predictions"]
    assert found.schema["scored_at"] == pl.Datetime("us", "UTC") and found.schema["as_of"] == pl.Date
    row = found.row(0, named=True)
    assert (row["model"], row["version"], row["target"], row["scored_at"], row["as_of"]) == (
        "churn",
        "7",
        "churned_90d",
        NOW,
        AS_OF,
    )
    wrong = replace(model, predict=lambda fitted, snapshot: payload.drop("reasons"))
    with pytest.raises(ModelError, match=r"gold\.predictions needs"):
        base.predictions(wrong, None, base.Snapshot({}, AS_OF), "7", NOW)


def test_fingerprint_sees_names_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    first = base.fingerprint(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    renamed = base.fingerprint(tmp_path)
    (tmp_path / "b").write_bytes(b"2")
    assert len({first, renamed, base.fingerprint(tmp_path)}) == 3


def shop() -> base.Snapshot:
    """200 people who buy three of 30 products on days of their own rhythm, and the products."""
    rng = np.random.default_rng(0)
    on = rng.integers(0, 200, (200, 1)) + np.cumsum(rng.gamma(2.0, 20.0, (200, 20)), axis=1)
    person, turn = np.nonzero((on < 540) & (np.arange(20) < rng.integers(1, 20, (200, 1))))
    visits = pl.DataFrame({"person_id": [f"p{p:03}" for p in person], "day": on[person, turn].astype(int)}).select(
        "person_id", on=pl.lit(AS_OF - timedelta(days=500)) + pl.duration(days="day")
    )
    counts = ("order_count", "item_count", "unit_count", "store_order_count", "return_count", "session_count", "view_count",  # noqa: E501
              "search_count", "cart_add_count", "online_order_count", "mobile_order_count")  # fmt: skip
    money = ("gross_amount", "net_amount", "discount_amount")
    days = visits.unique(maintain_order=True).with_columns(
        **{name: pl.lit(int(place < 4), pl.Int64) for place, name in enumerate(counts)},
        **{name: pl.Series(rng.gamma(3.0, 10.0, visits.unique().height)).cast(pl.Decimal(12, 2)) for name in money},
    )
    bought = days.select("person_id", "on", product_id=pl.lit([0, 1, 2])).explode("product_id").with_columns(
        product_id=pl.format("i{}", pl.Series(rng.integers(0, 30, days.height * 3))), kind=pl.lit("purchase"), quantity=1, count=1,  # noqa: E501
    ).with_columns(category=pl.format("c{}", pl.col("product_id").str.slice(1).cast(pl.Int64) % 3))  # fmt: skip
    products = pl.DataFrame(
        {"product_id": [f"i{n}" for n in range(30)], "product_name": [f"thing {n}" for n in range(30)]}
    )
    labels = dict.fromkeys(("category", "subcategory", "brand"), pl.lit(None, pl.String))
    named = products.with_columns(**labels, launched_on=pl.lit(date(2020, 1, 1)), is_product=True)
    priced = named.with_columns(price=pl.lit(10.0), cost=pl.lit(4.0), currency=pl.lit("EUR"))
    tables = {"silver.subject_days": days, "gold.interactions": bought, "silver.products": priced,
              "silver.impressions": shown(rng)}  # fmt: skip
    return base.Snapshot({name: frame.lazy() for name, frame in tables.items()}, AS_OF)


def shown(rng: np.random.Generator) -> pl.DataFrame:
    """80 lists of four products, of which some are clicked."""
    row, at = pl.int_range(320), datetime(2024, 3, 1, 9, tzinfo=UTC)
    return pl.select(
        impression_id=row.cast(pl.String), source_system=pl.lit("S"), list_id=pl.format("l{}", row // 4),
        subject_id=pl.format("p{}", row // 4), person_id=pl.format("p{}", row // 4), placement=pl.lit("home"),
        shown_at=pl.lit(at) + pl.duration(hours=row // 4), position=row % 4, score=1.0 / (1 + row % 4),
        product_id=pl.format("i{}", pl.Series(rng.permuted(np.tile(np.arange(30), (80, 1)), axis=1)[:, :4].ravel())),
        store_id=pl.lit(None, pl.String), region=pl.lit("north"), device=pl.format("d{}", row // 4 % 2),
        seen_product_ids=pl.concat_list(pl.lit("i1"), pl.lit("i2")), is_bought=pl.lit(False),
        is_clicked=pl.Series(rng.random(320) < 0.3),
    ).with_columns(
        on=pl.col("shown_at").dt.date(), clicked_at=pl.when("is_clicked").then("shown_at"),
        bought_at=pl.lit(None, pl.Datetime("us", "UTC")),
    )  # fmt: skip


def fitted_print(name: str) -> str:
    model = base.find(name)
    with tempfile.TemporaryDirectory() as folder:
        model.fit(shop(), model.params(**SMALL.get(name, {})), base.NoProgress()).save(Path(folder))
        return base.fingerprint(Path(folder))


@pytest.fixture(scope="module")
def prints_of_another_process() -> dict[str, str]:
    """Fingerprints made by a fresh interpreter of as many threads, whose sets hash text otherwise."""
    seeded = os.environ | {"PYTHONHASHSEED": "11"}
    made = subprocess.run([sys.executable, __file__], env=seeded, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    return json.loads(made.stdout)


@pytest.mark.parametrize("name", REGISTERED)
def test_equal_data_parameters_and_seed_give_equal_weights(name: str, prints_of_another_process) -> None:
    assert fitted_print(name) == prints_of_another_process[name]


if __name__ == "__main__":
    print(json.dumps({name: fitted_print(name) for name in REGISTERED}))
