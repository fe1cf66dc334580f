"""Every stored table is a DuckDB view; contracts become DDL of any dialect."""

from __future__ import annotations

import pytest

from customer360.platform import tables, warehouse
from customer360.platform.errors import ConfigError
from customer360.platform.lake import Lake
from customer360.serve.compose import compose


@pytest.fixture
def lake(tmp_path) -> Lake:
    compose()
    made = Lake(str(tmp_path / "lake"))
    stores = tables.by_name("silver.stores")
    made.ensure(stores)
    frame = tables.sample(stores, 3)
    made.replace("silver.stores", [made.write_file("silver.stores", frame, {})], scope={}, app="t", app_version=1)
    made.ensure(tables.by_name("gold.interactions"))
    return made


def test_views_count_what_is_stored_and_nothing_for_an_empty_table(lake: Lake) -> None:
    connection = warehouse.connect(lake)
    assert connection.sql("SELECT count(*) FROM silver.stores").fetchall() == [(3,)]
    assert connection.sql("SELECT count(*) FROM gold.interactions").fetchall() == [(0,)]


def test_ddl_names_types_keys_and_required_columns() -> None:
    compose()
    made = warehouse.ddl(tables.by_name("silver.transactions"))
    assert "CREATE TABLE silver.transactions" in made
    assert "total_amount NUMERIC(12, 2) NOT NULL" in made
    assert "PRIMARY KEY (transaction_id, source_system)" in made


def test_an_unknown_dialect_is_refused() -> None:
    with pytest.raises(ConfigError, match="no dialect"):
        warehouse.ddl(tables.by_name("silver.stores"), "klingon")
