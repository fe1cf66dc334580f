"""Queries read lake and warehouse, and nothing else; they write nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from customer360.platform import tables, warehouse
from customer360.platform.errors import ConfigError
from customer360.platform.lake import Lake
from customer360.platform.tables import String, Table


@pytest.fixture
def lake(tmp_path: Path, registries: None) -> Lake:
    class Words(Table, table="gold.words_of_a_query", per="word"):
        """One row per word."""

        word = String(primary_key=True)

    lake = Lake(str(tmp_path / "lake"), buckets=1)
    lake.ensure(Words)
    frame = tables.by_name("gold.words_of_a_query").create_empty().clear(2).with_columns(word="word")
    lake.replace("gold.words_of_a_query", [lake.write_file("gold.words_of_a_query", frame, {})], scope={}, app="test",
                 app_version=1)  # fmt: skip
    return lake


@pytest.mark.parametrize("statement", [
    "SELECT count(*) FROM gold.words_of_a_query", "WITH a AS (SELECT 1) SELECT * FROM a", "FROM gold.words_of_a_query",
    "EXPLAIN SELECT 1", "SELECT 1;", "DESCRIBE gold.words_of_a_query", "SUMMARIZE gold.words_of_a_query",
    "SHOW ALL TABLES", "SELECT 'copy' AS \"update\" /* insert */ -- delete",
])  # fmt: skip
def test_reading_is_allowed(lake: Lake, statement: str) -> None:
    found = warehouse.query(lake, statement)
    assert found is not None and warehouse.rows(found)


@pytest.mark.parametrize("statement", [
    "COPY (SELECT 1) TO '{folder}/out.csv'", "CREATE TABLE a AS SELECT 1", "ATTACH '{folder}/out.db'",
    "DROP VIEW gold.words_of_a_query", "INSERT INTO gold.words_of_a_query VALUES ('a')", "INSTALL httpfs",
    "SELECT 1; COPY (SELECT 1) TO '{folder}/out.csv'", "EXPORT DATABASE '{folder}/out'",
    "SET lock_configuration = false", "LOAD httpfs",
    "PRAGMA enable_external_access", "SELECT * FROM read_csv('{folder}/secret.csv')", "FROM '{folder}/secret.csv'",
    "SELECT * FROM read_text('/etc/passwd')", "SELECT * FROM glob('/etc/*')", "",
    "SELECT * FROM read_csv('http://127.0.0.1:9/x.csv')", "EXPLAIN ANALYZE COPY (SELECT 1) TO '{folder}/out.csv'",
    "FROM '{folder}/lake/../secret.csv'",
    "EXPLAIN ANALYZE COPY (SELECT 1) TO '{folder}/lake/out.csv'",
    "WITH a AS (COPY (SELECT 1) TO '{folder}/lake/out.csv') FROM a",
    "FROM (WITH a AS (/**/cOpY\u00a0(SELECT 1) TO '{folder}/lake/out.csv') FROM a)",
    "WITH a AS (INSERT INTO gold.words_of_a_query VALUES ('a') RETURNING 1) FROM a",
])  # fmt: skip
def test_writing_and_other_files_are_refused(lake: Lake, tmp_path: Path, statement: str) -> None:
    (tmp_path / "secret.csv").write_text("a\n1\n")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match="the query"):
        found = warehouse.query(lake, statement.format(folder=tmp_path))
        assert found is None or found.fetchall() is None
    assert sorted(tmp_path.rglob("*")) == before


def test_moments_with_a_time_zone_are_given_as_text_in_utc(lake: Lake) -> None:
    """Polars writes every time of a lake with its zone; DuckDB alone makes no value of it."""
    statement = (
        "SELECT 1 AS a, 2 AS a, TIMESTAMPTZ '2024-03-05 10:00:00.25+02' AS at, NULL::TIMESTAMPTZ AS never, "
        "TIMESTAMP '2024-03-05 10:00:00' AS here, [TIMESTAMPTZ '2024-03-05 10:00:00+00'] AS many, sum(n) AS total "
        "FROM (VALUES (1), (2)) AS t(n)"
    )
    found = warehouse.query(lake, statement)
    assert found is not None
    ((one, two, at, never, here, many, total),) = warehouse.rows(found)
    assert (one, two, at, never, total) == (1, 2, "2024-03-05 08:00:00.25+00:00", None, 3)
    assert str(here) == "2024-03-05 10:00:00" and "2024-03-05" in many
