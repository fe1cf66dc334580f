"""The star follows the lake: by parts, by key, all or nothing; and what it holds is reconciled."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from customer360.platform import lake as lakes
from customer360.platform import stars, tables
from customer360.platform.errors import ContractError, WarehouseError
from customer360.platform.stars import loads, references
from customer360.platform.tables import Integer, String, Table
from customer360.platform.warehouse import connect
from customer360.platform.warehouse.load import load, rewrite, state

FACTS, DIMENSION, EDITIONS = "t_star.t_fact_receipts", "t_star.t_dim_people", "t_star.t_fact_editions"


def read(file: Path, statement: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(file), read_only=True) as connection:
        return connection.execute(statement).fetchall()


def everything(file: Path) -> dict[str, list[tuple[Any, ...]]]:
    names = [n for (n,) in read(file, "SELECT table_name FROM loads.tables ORDER BY 1")]
    kept = {n: sorted(map(str, read(file, f"FROM {n}"))) for n in names}
    return kept | {"parts": sorted(map(str, read(file, "SELECT * EXCLUDE loaded_at FROM loads.parts")))}


def loaded(report: Any) -> dict[str, tuple[str, int, int]]:
    return {t.table: (t.state, t.changed, t.loaded) for t in report.tables}


def test_facts_resolve_and_guests_belong_to_the_unknown_member(small: Any, file: Path) -> None:
    load(small.lake, file)
    found = read(
        file,
        f"SELECT name, sum(amount)::VARCHAR FROM {FACTS} JOIN {DIMENSION} USING (person_key) GROUP BY 1 ORDER BY 1",
    )
    assert found == [("Ann", "3.50"), ("Bob", "-0.50"), ("Cid", "8.00"), (None, "4.00")]


def test_loading_twice_changes_nothing(small: Any, file: Path) -> None:
    load(small.lake, file)
    before, bytes_before = everything(file), file.read_bytes()
    again = load(small.lake, file)
    assert again.is_current and {t.changed for t in again.tables} == {0}
    assert everything(file) == before and file.read_bytes() == bytes_before


def test_only_parts_whose_files_changed_are_loaded_and_only_changed_rows_written(small: Any, file: Path) -> None:
    load(small.lake, file)
    receipts = small.lake.scan("silver.t_receipts").select("receipt_id", "person_id", pl.col("amount").cast(pl.String))
    small.receipts([*receipts.collect().rows(), ("r6", "bob", "1.00")])
    report = loaded(load(small.lake, file))
    assert report[FACTS] == ("loaded", 1, 1)  # one bucket, in which one row is new
    assert report[DIMENSION] == report[EDITIONS] == ("current", 0, 0)


def test_a_new_edition_leaves_the_old_ones_alone(small: Any, file: Path) -> None:
    load(small.lake, file)
    small.edition(date(2026, 2, 1), {"ann": 5})
    assert loaded(load(small.lake, file))[EDITIONS] == ("loaded", 1, 1)
    assert read(file, f"SELECT score FROM {EDITIONS} WHERE person_id = 'ann' ORDER BY as_of") == [(1,), (5,)]


def test_deletions_and_people_that_were_resolved_anew_reach_the_star(small: Any, file: Path) -> None:
    load(small.lake, file)
    small.people("ann", "cid")
    small.receipts([("r1", "ann", "2.50"), ("r2", "cid", "1.00"), ("r3", "ann", "4.00"), ("r4", None, "-0.50")])
    small.edition(date(2026, 1, 1), {"ann": 1})
    load(small.lake, file)
    held = read(file, f"SELECT receipt_id, person_key FROM {FACTS} ORDER BY 1")
    assert held == [("r1", "ann"), ("r2", "cid"), ("r3", "ann"), ("r4", stars.UNKNOWN)]
    assert read(file, f"SELECT person_id FROM {EDITIONS}") == [("ann",)]
    fresh = file.with_name("fresh.duckdb")
    load(small.lake, fresh)
    assert everything(fresh) == everything(file)


def test_a_table_that_became_empty_is_emptied(small: Any, file: Path) -> None:
    load(small.lake, file)
    small.receipts([])
    load(small.lake, file)
    assert read(file, f"SELECT count(*) FROM {FACTS}") == [(0,)]
    assert read(file, f"SELECT count(*) FROM loads.parts WHERE table_name = '{FACTS}'") == [(0,)]


def test_a_key_without_a_row_takes_the_whole_load_back(small: Any, file: Path) -> None:
    load(small.lake, file)
    before = everything(file)
    small.people("ann", "bob")  # cid has a receipt
    small.edition(date(2026, 2, 1), {"ann": 5})
    with pytest.raises(WarehouseError, match=r"t_fact_receipts person_key without a row in t_star\.t_dim_people: 1 in"):
        load(small.lake, file)
    assert everything(file) == before


def test_rows_that_a_function_loses_take_the_whole_load_back(small: Any, file: Path) -> None:
    held = stars.LOADS[FACTS]

    @loads(held.table, mirrors=held.mirrors)
    def t_fact_receipts(silver_t_receipts: pl.LazyFrame) -> pl.LazyFrame:
        return held.function(silver_t_receipts).filter(pl.col("receipt_id") != "r5")

    with pytest.raises(WarehouseError, match=r"(?s)rows: 4 in the star, 5 in the lake.*amount: 7\.00 .* 15\.00"):
        load(small.lake, file)


def test_a_key_that_is_there_twice_in_different_parts_is_refused(small: Any, file: Path) -> None:
    small.receipts([("r1", "ann", "1.00"), ("r1", "bob", "1.00"), ("r1", "cid", "1.00"), ("r1", None, "1.00")])
    with pytest.raises((WarehouseError, ContractError), match=r"twice|primary_key"):
        load(small.lake, file)


def test_another_contract_makes_the_table_anew(small: Any, file: Path) -> None:
    load(small.lake, file)
    del tables.TABLES[EDITIONS]

    class FactEditions(Table, table=EDITIONS, per="person_id"):
        """One row per person."""

        person_id = String(primary_key=True, metadata=references(DIMENSION))
        score = Integer()

    @loads(FactEditions)
    def t_fact_editions(gold_t_editions: pl.LazyFrame) -> pl.LazyFrame:
        return gold_t_editions.group_by("person_id").agg(pl.col("score").sum())

    load(small.lake, file)
    assert read(file, f"SELECT * EXCLUDE _part FROM {EDITIONS} ORDER BY 1") == [("ann", 1), ("bob", 2)]


def test_a_table_that_nothing_declares_any_more_is_dropped(small: Any, file: Path) -> None:
    load(small.lake, file)
    del stars.LOADS[EDITIONS]
    load(small.lake, file)
    assert read(file, "SELECT count(*) FROM duckdb_tables() WHERE table_name = 't_fact_editions'") == [(0,)]


def test_a_load_that_dies_before_its_commit_leaves_the_star_as_it_was(small: Any, file: Path) -> None:
    load(small.lake, file)
    before = everything(file)
    small.receipts([("r1", "ann", "9.99")])

    def die(point: str) -> None:
        if point == "before commit warehouse":
            raise KeyboardInterrupt

    lakes.observers.append(die)
    with pytest.raises(KeyboardInterrupt):
        load(small.lake, file)
    lakes.observers.remove(die)
    assert everything(file) == before
    assert loaded(load(small.lake, file))[FACTS][0] == "loaded"


def test_who_has_the_file_open_is_told_to_close_it(small: Any, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise duckdb.IOException("Could not set lock on file")

    monkeypatch.setattr(duckdb, "connect", refuse)
    with pytest.raises(WarehouseError, match="close what has it open"):
        load(small.lake, file)


def test_rewritten_files_hold_no_bytes_of_deleted_rows(small: Any, file: Path) -> None:
    word = "Quetzalcoatlus"
    small.people("ann", "bob", "cid", word)
    load(small.lake, file)
    assert word.encode() in file.read_bytes()
    small.people("ann", "bob", "cid")
    load(small.lake, file)
    rewrite(file)
    assert word.encode() not in file.read_bytes()
    assert load(small.lake, file).is_current


def test_the_books_say_what_is_loaded(small: Any, file: Path) -> None:
    with pytest.raises(WarehouseError, match="customer360 warehouse load"):
        state(file)
    load(small.lake, file)
    listed, checks = state(file)
    assert dict(listed.select("table_name", "rows").rows()) == {FACTS: 5, DIMENSION: 4, EDITIONS: 2}
    assert checks["is_equal"].all() and {"rows", "amount", "score"} <= set(checks["measure"])


def test_views_of_lake_and_star_stand_side_by_side(small: Any, file: Path) -> None:
    load(small.lake, file)
    both = connect(small.lake, file)
    found = both.execute(f"SELECT (SELECT sum(amount) FROM {FACTS}) = (SELECT sum(amount) FROM silver.t_receipts)")
    assert found.fetchall() == [(True,)]
    assert "_part" not in both.sql(f"FROM {FACTS}").columns
    both.close()


def test_polars_and_duckdb_read_the_file_in_a_line(small: Any, file: Path) -> None:
    load(small.lake, file)
    with duckdb.connect(str(file), read_only=True) as star:
        assert star.sql(f"FROM {FACTS}").pl().height == 5
        assert pl.read_database(f"SELECT sum(amount) AS amount FROM {FACTS}", star)["amount"].cast(
            pl.String
        ).to_list() == ["15.00"]
