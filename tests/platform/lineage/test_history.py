"""Every version of a record, delivered and stored."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from customer360.platform.errors import LakeError
from customer360.platform.lineage import history
from customer360.platform.run import replay


def told(versions: list[history.Version]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(v.by, v.state, dict(v.changed)) for v in versions]


def test_each_delivery_of_a_record_is_a_version(filled: Any) -> None:
    assert told(history.delivered(filled.lake, "bronze.t_sales", {"SALE_ID": "s1", "_source_system": "POS"})) == [
        ("sales/1 sales/1.csv:1", "superseded", {}),
        ("sales/2 sales/2.csv:1", "current", {"UNITS": (2, 5), "VERSION": (1, 2)}),
    ]


def test_what_was_refused_says_by_which_rule(filled: Any) -> None:
    (refused,) = history.delivered(filled.lake, "bronze.t_sales", {"SALE_ID": "s9"})
    assert refused.state == "refused: UNITS min"


def test_an_equal_copy_and_a_late_older_version(filled: Any) -> None:
    filled.deliver("3.csv", "s1,ann,ann@shop.example,5,2", "s1,ann,ann@shop.example,1,0")
    filled.run()
    states = [(v.by, v.state) for v in history.delivered(filled.lake, "bronze.t_sales", {"SALE_ID": "s1"})]
    assert states == [
        ("sales/3 sales/3.csv:2", "superseded"),
        ("sales/1 sales/1.csv:1", "superseded"),
        ("sales/2 sales/2.csv:1", "repeated"),
        ("sales/3 sales/3.csv:1", "current"),
    ]


def test_a_correction_and_the_row_that_it_stands_for(filled: Any, tmp_path: Any) -> None:
    file = tmp_path / "repaired.jsonl"
    replay.export(filled.lake, file)
    file.write_text(file.read_text().replace('"UNITS": "0"', '"UNITS": "3"'))
    replay.replay(filled.lake, filled.settings, file)
    filled.run()
    found = history.delivered(filled.lake, "bronze.t_sales", {"SALE_ID": "s9"})
    assert [v.state for v in found] == ["corrected", "current"]
    assert "corrects sales/1/sales/1.csv/3" in found[1].by


def test_stored_versions_are_those_of_the_table(filled: Any) -> None:
    versions, before = history.stored(filled.lake, "gold.t_people", {"person_id": "ann"})
    assert [(v.state, dict(v.changed)) for v in versions] == [
        ("stored", {}),
        ("changed", {"units": (2, 5)}),
    ]
    assert before == 0
    assert "node:gold.t_people" in versions[0].by


def test_a_row_that_went_is_told(filled: Any) -> None:
    lake = filled.lake
    lake.rewrite("gold.t_people", lambda rows: rows.filter(pl.col("person_id") != "bob"), reason="test")
    versions, _ = history.stored(lake, "gold.t_people", {"person_id": "bob"})
    assert [v.state for v in versions] == ["stored", "gone"]
    assert "rewrite:test" in versions[-1].by


def test_versions_whose_files_are_gone_are_counted(filled: Any) -> None:
    lake = filled.lake
    now = {f.path for f in lake.files("gold.t_people")}
    gone = [path for path in lake.sizes("gold.t_people") if path.endswith(".parquet") and path not in now]
    assert gone
    lake.delete(f"gold/t_people/{path}" for path in gone)
    versions, before = history.stored(lake, "gold.t_people", {"person_id": "ann"})
    assert [v.values["units"] for v in versions] == [5]
    assert before > 0


def test_a_record_is_found_by_the_key_of_its_silver_table(filled: Any) -> None:
    assert history.bronze_key(filled.lake, "silver.t_sales", ["s1", "POS"]) == {
        "SALE_ID": "s1",
        "_source_system": "POS",
    }
    assert history.bronze_key(filled.lake, "silver.t_sales", ["person_id=bob"]) == {
        "SALE_ID": "s2",
        "_source_system": "POS",
    }
    with pytest.raises(LakeError, match=r"silver\.t_sales: no row with person_id = eve"):
        history.bronze_key(filled.lake, "silver.t_sales", ["person_id=eve"])


def _declared(columns: dict[str, str]) -> None:
    """A record table of the shop's sales with these columns of bronze."""
    from customer360.platform.graph import builds
    from customer360.platform.tables import String, Table

    body = {name: String(primary_key=True) for name in columns}
    made = type("Renamed", (Table,), {**body, "__doc__": "One row per sale."}, table="silver.t_renamed", per="sale_id")

    @builds(made)
    def t_renamed(bronze_t_sales: pl.LazyFrame) -> pl.LazyFrame:
        return bronze_t_sales.select(**columns)


def test_a_key_under_another_name_is_followed_by_the_build(filled: Any) -> None:
    _declared({"sale_id": "SALE_ID", "till": "_source_system"})
    found = history.bronze_key(filled.lake, "silver.t_renamed", ["s1", "POS"])
    assert found == {"SALE_ID": "s1", "_source_system": "POS"}


def test_a_table_that_does_not_keep_the_key_shows_no_other_records(filled: Any) -> None:
    _declared({"sale_id": "SALE_ID", "who": "WHO"})
    with pytest.raises(LakeError, match=r"silver\.t_renamed has no column with _source_system of bronze\.t_sales"):
        history.bronze_key(filled.lake, "silver.t_renamed", ["who=bob"])


def test_nothing_is_known_of_what_never_came(filled: Any) -> None:
    assert history.delivered(filled.lake, "bronze.t_sales", {"SALE_ID": "s77"}) == []
