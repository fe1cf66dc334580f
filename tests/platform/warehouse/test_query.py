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
    "SHOW ALL TABLES",
])  # fmt: skip
def test_reading_is_allowed(lake: Lake, statement: str) -> None:
    found = warehouse.query(lake, statement)
    assert found is not None and found.fetchall()


@pytest.mark.parametrize("statement", [
    "COPY (SELECT 1) TO '{folder}/out.csv'", "CREATE TABLE a AS SELECT 1", "ATTACH '{folder}/out.db'",
    "DROP VIEW gold.words_of_a_query", "INSERT INTO gold.words_of_a_query VALUES ('a')", "INSTALL httpfs",
    "SELECT 1; COPY (SELECT 1) TO '{folder}/out.csv'", "EXPORT DATABASE '{folder}/out'",
    "SET lock_configuration = false", "LOAD httpfs",
    "PRAGMA enable_external_access", "SELECT * FROM read_csv('{folder}/secret.csv')", "FROM '{folder}/secret.csv'",
    "SELECT * FROM read_text('/etc/passwd')", "SELECT * FROM glob('/etc/*')", "",
    "SELECT * FROM read_csv('http://127.0.0.1:9/x.csv')", "EXPLAIN ANALYZE COPY (SELECT 1) TO '{folder}/out.csv'",
    "FROM '{folder}/lake/../secret.csv'",
])  # fmt: skip
def test_writing_and_other_files_are_refused(lake: Lake, tmp_path: Path, statement: str) -> None:
    (tmp_path / "secret.csv").write_text("a\n1\n")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ConfigError, match="the query"):
        found = warehouse.query(lake, statement.format(folder=tmp_path))
        assert found is None or found.fetchall() is None
    assert sorted(tmp_path.rglob("*")) == before
