"""DDL is written from the contracts: types, keys, clustering, retention, clones."""

from __future__ import annotations

from typing import Any

import duckdb
import polars as pl
import pytest

from customer360.platform import judging, stars, tables
from customer360.platform.errors import ConfigError
from customer360.platform.tables import Float, List, String, Struct, Table
from customer360.platform.warehouse import ddl, star_ddl
from customer360.platform.warehouse.ddl import sql_type

FACTS, DIMENSION = "t_star.t_fact_receipts", "t_star.t_dim_people"


def test_duckdb_takes_its_own_statements(small: Any) -> None:
    connection = duckdb.connect()
    for statement in star_ddl("duckdb").split(";"):
        connection.execute(statement)
    columns = connection.execute("DESCRIBE t_star.t_fact_receipts").fetchall()
    assert [(c[0], c[1], c[2]) for c in columns] == [
        ("receipt_id", "VARCHAR", "NO"),
        ("person_key", "VARCHAR", "NO"),
        ("amount", "DECIMAL(12,2)", "NO"),
        ("_part", "VARCHAR", "NO"),
    ]
    connection.close()


def test_snowflake_gets_keys_clustering_and_a_retention_bound_by_erasure(small: Any) -> None:
    facts, people = (ddl(tables.by_name(name), "snowflake") for name in (FACTS, DIMENSION))
    assert "PRIMARY KEY (receipt_id)" in facts and "amount NUMBER(12,2) NOT NULL" in facts
    assert f"FOREIGN KEY (person_key) REFERENCES {DIMENSION} (person_key)" in facts
    assert "CLUSTER BY (person_key)\nDATA_RETENTION_TIME_IN_DAYS = 7" in facts
    assert "DATA_RETENTION_TIME_IN_DAYS = 1" in people  # it holds names


def test_snowflake_quotes_nothing_but_reserved_words(registries: None) -> None:
    class Days(Table, table="gold.t_days"):
        """One row per day."""

        on = String(primary_key=True)
        reasons = List(Struct({"feature": String(), "value": Float()}), nullable=True)

    made = ddl(Days, "snowflake")
    assert '"ON" VARCHAR NOT NULL' in made and "\n  reasons ARRAY," in made


def test_clones_are_snowflakes(small: Any) -> None:
    assert star_ddl("snowflake", clone="dev").endswith("CREATE SCHEMA IF NOT EXISTS t_star_dev CLONE t_star;")
    with pytest.raises(ConfigError, match="no zero-copy clones"):
        star_ddl("duckdb", clone="dev")


@pytest.mark.parametrize("dialect", ["postgresql", "mysql"])
def test_other_dialects_name_references_after_what_they_refer_to(small: Any, dialect: str) -> None:
    script = star_ddl(dialect)
    assert f"FOREIGN KEY(person_key) REFERENCES {DIMENSION} (person_key)" in script
    assert script.index(f"CREATE TABLE {DIMENSION}") < script.index(f"CREATE TABLE {FACTS}")


def test_nested_types_are_duckdbs_own() -> None:
    nested = pl.List(pl.Struct({"a": pl.String(), "b": pl.List(pl.Float64())}))
    assert sql_type(nested) == 'STRUCT("a" VARCHAR, "b" DOUBLE[])[]'


def test_the_unknown_member_keeps_its_contract(small: Any) -> None:
    dimension = stars.LOADS[DIMENSION].table
    member = judging.require(dimension, stars.unknown_member(dimension))
    assert member.rows() == [(stars.UNKNOWN, None)]
