"""What a refusal takes away follows from the contract: rows, or columns, of builds and of what is stored."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from customer360.platform import purposes, tables
from customer360.platform.errors import ContractError
from customer360.platform.lake import BUCKET, Lake, editions
from customer360.platform.purposes import DENIALS, Withholding, withdraw, withholding
from customer360.platform.tables import Date, Float, List, String, Table

DENIED = pl.DataFrame(
    [("p1", "PROFILING"), ("p2", "PERSONALIZATION"), ("p3", "TRAINING")], schema=["person_id", "purpose"], orient="row"
)


def contracts() -> tuple[type[Table], type[Table]]:
    class Scores(Table, serves="PROFILING"):
        """Judged."""

        score = Float(nullable=True)

    class Tastes(Table, serves="PERSONALIZATION"):
        """Liked."""

        tastes = List(String())

    class Key(Table, serves="OPERATION"):
        """Who and when."""

        person_id = String(primary_key=True)
        as_of = Date(primary_key=True)

    class View(Key, Scores, Tastes, table="gold.t_view", per="person_id", partition_by=("as_of",)):
        """One row per person and date."""

    class Listed(Table, table="gold.t_listed", per="person_id", partition_by=("as_of",), serves="PROFILING"):
        """One row per person and date."""

        person_id = String(primary_key=True)
        as_of = Date(primary_key=True)

    return View, Listed


def view(days: tuple[date, ...] = (date(2026, 1, 1),)) -> pl.DataFrame:
    rows = [{"person_id": f"p{n}", "as_of": d, "score": 0.5, "tastes": ["x"]} for d in days for n in range(4)]
    return pl.DataFrame(rows)


def test_columns_are_emptied_and_rows_go(registries: None) -> None:
    wide, rows = contracts()
    assert purposes.of_columns(wide) == {"score": "PROFILING", "tastes": "PERSONALIZATION"}
    assert purposes.of_rows(rows) == "PROFILING" and purposes.of_tables(["gold.t_listed"]) == {"PROFILING"}
    left = purposes.without_denied(wide, view().lazy(), DENIED.lazy()).collect()
    assert left["score"].to_list() == [0.5, None, 0.5, 0.5]
    assert left["tastes"].to_list() == [["x"], ["x"], [], ["x"]]
    kept = purposes.without_denied(rows, view().select("person_id", "as_of").lazy(), DENIED.lazy()).collect()
    assert kept["person_id"].to_list() == ["p0", "p2", "p3"]


def test_a_build_is_without_what_is_denied_whether_it_reads_denials_or_not(registries: None) -> None:
    _, rows = contracts()
    made, inputs = withholding(rows, lambda told: told, ("silver.t",))
    assert inputs == ("silver.t", DENIALS)
    assert made(view().lazy(), DENIED.lazy()).collect().height == 3
    own, inputs = withholding(rows, lambda denials, told: told, (DENIALS, "silver.t"))
    assert isinstance(own, Withholding) and inputs == (DENIALS, "silver.t")
    assert own(DENIED.lazy(), view().lazy()).collect().height == 3


def test_what_stands_leaves_all_editions_once(registries: None, tmp_path: Path) -> None:
    wide, rows = contracts()
    lake = Lake(str(tmp_path), buckets=1)
    for contract in (wide, rows):
        name, wanted = tables.spec(contract).name, tables.schema(contract)
        lake.ensure(contract)
        told = view((date(2025, 1, 1), date(2026, 1, 1))).select(list(wanted)).with_columns(pl.lit(0).alias(BUCKET))
        adds = [lake.write_file(name, part, {"as_of": str(day), BUCKET: "0"})
                for (day,), part in told.partition_by("as_of", as_dict=True).items()]  # fmt: skip
        lake.replace(name, adds, scope={}, app="t", app_version=1)
    assert withdraw(lake, DENIED, ()) == {"gold.t_listed": 2, "gold.t_view": 4}
    left = lake.scan("gold.t_view").collect()
    assert left.filter(pl.col("person_id") == "p1")["score"].to_list() == [None, None]
    assert left.filter(pl.col("person_id") == "p3")["score"].to_list() == [0.5, 0.5]
    assert withdraw(lake, DENIED, ()) == {}


def test_a_part_of_a_column_goes_and_what_is_made_of_it_is_made_anew(registries: None, tmp_path: Path) -> None:
    wide, _ = contracts()
    lake = Lake(str(tmp_path), buckets=1)
    lake.ensure(wide)
    told = view().with_columns(score=None, tastes=pl.lit(["kept", "judged"])).with_columns(pl.lit(0).alias(BUCKET))
    lake.replace("gold.t_view", [lake.write_file("gold.t_view", told, {"as_of": "2026-01-01", BUCKET: "0"})],
                 scope={}, app="t", app_version=1)  # fmt: skip
    left = pl.col("tastes").list.filter(pl.element() != "judged")
    parts = {"gold.t_view": purposes.Part("PROFILING", pl.col("tastes").list.contains("judged"), {"tastes": left})}
    refused = DENIED.filter(pl.col("purpose") == "PROFILING")
    assert withdraw(lake, refused, (), parts) == {"gold.t_view": 1}
    found = dict(lake.scan("gold.t_view").select("person_id", pl.col("tastes").list.join(" ")).collect().rows())
    assert found == {"p0": "kept judged", "p1": "kept", "p2": "kept judged", "p3": "kept judged"}
    assert withdraw(lake, refused, (), parts) == {}


def test_who_made_rows_that_a_refusal_changed_is_not_current_any_longer(registries: None, tmp_path: Path) -> None:
    wide, rows = contracts()
    lake = Lake(str(tmp_path), buckets=1)
    for contract, newest in ((wide, date(2026, 1, 1)), (rows, date(2025, 1, 1))):
        name, wanted = tables.spec(contract).name, tables.schema(contract)
        lake.ensure(contract)
        for day in (newest.replace(year=2024), newest):  # a refusing person is in one edition alone
            told = view((day,)).select(list(wanted)).with_columns(pl.lit(0).alias(BUCKET))
            told = told if day.year == 2026 or day.year == 2024 else told.filter(pl.col("person_id") == "p0")
            adds = [lake.write_file(name, told, {"as_of": str(day), BUCKET: "0"})]
            made = editions.mark(name, day)
            lake.replace(name, adds, scope={"as_of": str(day)}, app=f"node:{name}", app_version=7, marks=made)
    assert set(withdraw(lake, DENIED, ("gold.t_view", "gold.t_listed"))) == {"gold.t_listed", "gold.t_view"}
    assert lake.transaction("gold.t_view", "node:gold.t_view") == 0
    assert lake.transaction("gold.t_listed", "node:gold.t_listed") == 7, "only an earlier edition changed"


def test_an_unknown_purpose_and_a_column_that_cannot_be_empty_are_refused(registries: None) -> None:
    class Wrong(Table, table="gold.t_wrong", per="person_id", serves="FUN"):
        """One row per person."""

        person_id = String(primary_key=True)

    with pytest.raises(ContractError, match="Wrong serves 'FUN'"):
        purposes.of_rows(Wrong)

    class Group(Table, serves="PROFILING"):
        """Judged."""

        score = Float()

    class Stiff(Group, table="gold.t_stiff", per="person_id"):
        """One row per person."""

        person_id = String(primary_key=True)

    with pytest.raises(ContractError, match="Stiff"):
        purposes.without_denied(Stiff, view().lazy(), DENIED.lazy())
