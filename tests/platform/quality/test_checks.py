"""Counts of quality on rows made by hand: each dimension moves when its fault is planted, and only then."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from customer360.platform import tables
from customer360.platform.quality.checks import Checks, TableChecks, added, punctuality
from customer360.platform.quality.metrics import dimension_scores, weighted_score
from customer360.platform.run.records import current_records
from customer360.platform.tables import Integer, OneOf, String, Table, Timestamp

T0 = datetime(2024, 5, 1, tzinfo=UTC)
CHECKS = TableChecks(
    required=["ID", "EMAIL"],
    expected=["NAME"],
    validity={"email_form": "EMAIL ~ '@'"},
    consistency={"low_below_high": "LOW <= HIGH"},
    accuracy={"known_size": "SIZE IN ('S', 'M')"},
    event_column="AT",
    late_after_days=2,
)


@pytest.fixture
def offers(registries: None) -> type[Table]:
    class Offers(Table, table="bronze.t_offers", key=("ID",)):
        """One row per offer."""

        ID = String(nullable=False)
        EMAIL = String(nullable=True)
        NAME = String(nullable=True)
        SIZE = OneOf("S", "M", "XXL", nullable=True)
        LOW = Integer(nullable=True)
        HIGH = Integer(nullable=True)
        AT = Timestamp(nullable=True)

    return Offers


GOOD = {"EMAIL": "a@b.c", "NAME": "Ann", "SIZE": "S", "LOW": 1, "HIGH": 2, "AT": T0}


def rows(table: type[Table], *changes: dict[str, Any]) -> pl.DataFrame:
    fixed = {"_source": "s", "_source_system": "CRM", "_seq": 1, "_file": "f", "_ingested_at": T0}
    made = [{**fixed, "_position": i, "ID": str(i), **GOOD, **change} for i, change in enumerate(changes, 1)]
    return pl.DataFrame(made, schema=tables.schema(table))


def counts(table: type[Table], *changes: dict[str, Any]) -> dict[str, int]:
    return current_records(table, rows(table, *changes), set(), CHECKS).tally["CRM"]


def test_rows_without_fault_have_full_marks(offers: type[Table]) -> None:
    found = counts(offers, {}, {})
    assert {k: v for k, v in found.items() if "|" not in k} == {
        "total": 2, "nulls": 0, "valid": 2, "invalid": 0, "duplicates": 0,
    }  # fmt: skip
    assert dimension_scores(found) == {
        "completeness": 1.0, "accuracy": 1.0, "consistency": 1.0, "validity": 1.0, "timeliness": None,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fault", "dimension", "share"),
    [
        ({"NAME": None}, "completeness", 11 / 12),
        ({"NAME": "  "}, "completeness", 11 / 12),
        ({"SIZE": "XXL"}, "accuracy", 3 / 4),
        ({"LOW": 3}, "consistency", 3 / 4),
        ({"EMAIL": "nobody"}, "validity", 7 / 8),
        ({"SIZE": None}, None, 1.0),  # nothing to measure is no fault
        ({"LOW": None}, None, 1.0),
    ],
)
def test_a_planted_fault_moves_its_dimension_alone(
    offers: type[Table], fault: dict[str, Any], dimension: str | None, share: float
) -> None:
    found = dimension_scores(counts(offers, {}, {}, {}, fault))
    for name, score in found.items():
        assert score == (pytest.approx(share) if name == dimension else None if name == "timeliness" else 1.0), name


def test_a_refused_row_is_invalid_and_one_without_an_optional_value_is_not(offers: type[Table]) -> None:
    found = counts(offers, {}, {"ID": None}, {"SIZE": "HUGE"}, {"EMAIL": None})
    assert [found[n] for n in ("total", "valid", "invalid", "nulls")] == [4, 3, 1, 2]
    assert found["validity|contract|passed"] == 2  # HUGE was nulled: the row stays, and is no sound one


def test_duplicates_are_counted_apart_and_by_system(offers: type[Table]) -> None:
    frame = rows(offers, {"ID": "1"}, {"ID": "1"}, {"ID": "1"}, {"ID": "1", "NAME": "Ann B"}, {"ID": "2"})
    both = pl.concat([frame, frame.filter(pl.col("ID") == "2").with_columns(_source_system=pl.lit("POS"))])
    made = current_records(offers, both, set(), CHECKS)
    assert {s: c["duplicates"] for s, c in made.tally.items()} == {"CRM": 2, "POS": 0}
    assert made.facts == {"bronze": 6, "quarantined": 0, "duplicates": 2, "superseded": 1, "combined": 0, "deleted": 0}
    assert made.rows.height == 3


def test_parts_add_up_to_the_whole(offers: type[Table]) -> None:
    frame = rows(offers, {}, {"NAME": None}, {"ID": "1"}, {"SIZE": "HUGE"}, {"EMAIL": "x"})
    whole = current_records(offers, frame, set(), CHECKS).tally
    parts = [frame.filter(pl.col("ID").is_in(ids)) for ids in (["1", "3"], ["2", "4", "5"])]
    assert added(current_records(offers, p, set(), CHECKS).tally for p in parts) == whole


def test_without_declared_checks_the_contract_is_measured(offers: type[Table]) -> None:
    found = current_records(offers, rows(offers, {}, {"ID": None, "EMAIL": None}), set()).tally["CRM"]
    assert [found[n] for n in ("total", "valid", "nulls", "completeness|ID|passed")] == [2, 1, 1, 1]
    assert not any("EMAIL" in name for name in found)


def test_a_correction_takes_the_place_of_the_row_it_stands_for(offers: type[Table]) -> None:
    made = current_records(offers, rows(offers, {"SIZE": "HUGE"}, {}), {"s/1/f/1"}, CHECKS)
    assert made.tally["CRM"]["total"] == made.tally["CRM"]["valid"] == 1


def test_late_rows_are_those_older_than_the_delivery_should_hold(offers: type[Table]) -> None:
    ages = [0, 1, 2, 3, 10, None]
    frame = rows(offers, *({"AT": None if a is None else T0 - timedelta(days=a)} for a in ages))
    assert punctuality(frame, CHECKS) == {"timed": 5, "late": 2}
    assert punctuality(frame, CHECKS.model_copy(update={"late_after_days": 3})) == {"timed": 5, "late": 1}
    assert punctuality(frame, None) == punctuality(frame, TableChecks()) == {}


def test_one_wrong_clock_does_not_make_a_file_late(offers: type[Table]) -> None:
    frame = rows(offers, *({} for _ in range(200)), {"AT": T0 + timedelta(days=900)})
    assert punctuality(frame, CHECKS) == {"timed": 201, "late": 0}


def test_the_score_leaves_out_what_was_not_measured() -> None:
    scores = {"completeness": 0.5, "accuracy": None, "validity": 1.0}
    assert weighted_score(scores, {"completeness": 3, "accuracy": 9, "validity": 1}) == 62.5  # type: ignore[arg-type]
    assert weighted_score({"accuracy": None}, {"accuracy": 1}) is None


@pytest.mark.parametrize(
    ("checks", "said"),
    [
        ({"bronze.t_ofers": {}}, "did you mean bronze.t_offers"),
        ({"bronze.t_offers": {"required": ["MAIL"]}}, r"no columns \['MAIL'\]"),
        ({"bronze.t_offers": {"accuracy": {"x": "SICE = 'S'"}}}, r"no columns \['SICE'\]"),
        ({"bronze.t_offers": {"accuracy": {"x": "SIZE ="}}}, "is no SQL condition"),
    ],
)
def test_checks_of_unknown_tables_and_columns_are_refused(
    offers: type[Table], checks: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValidationError, match=said):
        Checks(tables=checks)


def test_a_broken_value_is_emptied_or_refuses_its_row_as_the_rule_file_says(offers: type[Table]) -> None:
    """Of a column in ``refuse`` the row goes into quarantine with the value; the others stay as they were."""
    frame = rows(offers, {"ID": "1", "SIZE": "HUGE"}, {"ID": "2", "LOW": None})
    emptied = current_records(offers, frame, set(), CHECKS)
    assert emptied.rows.sort("ID")["SIZE"].to_list()[0] is None and emptied.quarantined.is_empty()
    assert emptied.facts["nulled|SIZE|one_of"] == 1
    refused = current_records(offers, frame, set(), CHECKS, refuse=["SIZE"])
    assert refused.rows["ID"].to_list() == ["2"] and "nulled" not in refused.facts
    assert refused.quarantined.select("column_name", "rule", "value").rows() == [("SIZE", "one_of", "HUGE")]
    assert refused.facts["bronze"] == 2 == refused.rows.height + refused.facts["quarantined"], "nothing is lost"
    with pytest.raises(ValidationError, match="has no columns \\['COLOUR'\\]"):
        Checks(tables={"bronze.t_offers": TableChecks(refuse=["COLOUR"])})
