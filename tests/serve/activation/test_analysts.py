"""A file for analysts: groups of people, nobody who refused profiling, nothing that names somebody."""

from __future__ import annotations

import stat
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from customer360.pipelines.silver import engagement  # noqa: F401 - declares silver.consent_intervals
from customer360.platform.anonymity import Law
from customer360.platform.errors import ConfigError
from customer360.serve.activation.analysts import anonymous, write

PEOPLE = [f"p_{n}" for n in range(12)]


@pytest.fixture
def crowd(own_shop: Any) -> Any:
    """Twelve people of two towns, two bands and one firm; one of them refuses profiling."""
    common = {"record_count": 1, "source_systems": [], "provenance": "{}", "entity_type": "person"}
    rows = [{**common, "person_id": p, "date_of_birth": date(1980, 1, 1 + n), "gender": "F", "zip_code": f"8907{n % 2}",
             "registered_on": date(2024, 1, 1 + n)} for n, p in enumerate(PEOPLE)]  # fmt: skip
    own_shop.write("silver.people", [*rows, {**rows[0], "person_id": "p_firm", "entity_type": "organisation"}])
    views = [own_shop.profile(p, value_segment="VIP" if n % 3 else "NEW", order_count_365d=n)
             for n, p in enumerate([*PEOPLE, "p_firm"])]  # fmt: skip
    own_shop.write("gold.customer_360", views)
    no = {"person_id": "p_0", "purpose": "PROFILING", "is_allowed": False, "valid_from": date(2099, 1, 1)}
    own_shop.write("silver.consent_intervals", [no])
    return own_shop


def test_a_release_holds_groups_and_no_identifier(crowd: Any, tmp_path: Path) -> None:
    done = anonymous(crowd.lake, ("value_segment", "order_count_365d"), Law(3, 2, 0.0))
    rows = done.release.rows
    assert (done.people, done.withheld, rows.height) == (11, 1, 11)
    quasi = ["date_of_birth", "gender", "zip_code", "registered_on"]
    assert rows.columns == [*quasi, "value_segment", "order_count_365d"]
    groups = rows.group_by(quasi).agg(pl.len(), pl.col("value_segment").n_unique())
    assert groups["len"].min() >= 3 and groups["value_segment"].min() >= 2
    assert set(rows["order_count_365d"]) == {1, 2, 3, 4, 5}, "numbers as fifths"
    write(rows, out := tmp_path / "people.csv")
    assert stat.S_IMODE(out.stat().st_mode) == 0o600 and "p_1" not in out.read_text()


@pytest.mark.parametrize("column", ["email_address", "household_id", "first_purchase_on", "top_categories", "nothing"])
def test_what_may_tell_who_it_is_is_refused(crowd: Any, column: str) -> None:
    with pytest.raises(ConfigError, match=column):
        anonymous(crowd.lake, (column,), Law(3, 1))


def test_a_text_of_many_values_is_refused(crowd: Any) -> None:
    views = [crowd.profile(p, value_segment=f"band {n}") for n, p in enumerate(PEOPLE)]
    people = [{"person_id": f"q_{n}", "record_count": 1, "source_systems": [], "provenance": "{}"} for n in range(30)]
    crowd.write("silver.people", people)
    crowd.write("gold.customer_360", views + [crowd.profile(f"q_{n}", value_segment=f"no {n}") for n in range(30)])
    with pytest.raises(ConfigError, match="value_segment has 30 different values"):
        anonymous(crowd.lake, ("value_segment",), Law(3, 1))
