"""Quality metrics of the synthetic retailer: made of the facts of the commits, once, and by the rule file."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from customer360.pipelines import quality
from customer360.pipelines.bronze.location import Stores
from customer360.pipelines.quality import METRICS, data_quality_metrics, record_nodes
from customer360.pipelines.rules import ValidationRules
from customer360.platform import graph, judging, ledger, tables
from customer360.platform.errors import ConfigError
from customer360.platform.lake import Lake
from customer360.platform.quality.metrics import ALL, Alerts, DataQualityMetrics, RuleCounts
from customer360.platform.run.planning import Context, prepare
from customer360.platform.settings import Settings
from customer360.serve.compose import compose, rules_of

STORES = tables.spec(Stores).name


@pytest.fixture(scope="module")
def measured(retailer) -> dict[str, pl.DataFrame]:
    """The three tables, as the producer makes them of the retailer's lake, by table name."""
    return make(retailer, retailer.rules["validation"])


def make(retailer, rules: ValidationRules, stored: dict[str, pl.DataFrame] | None = None) -> dict[str, pl.DataFrame]:
    """Run the producer by hand, as a first run does or after the ``stored`` tables; nothing is written."""

    class Standing:
        """The lake with the given metrics tables in place of its own."""

        def scan(self, name: str, *rest: Any) -> pl.LazyFrame:
            if name in (METRICS, quality.RULE_COUNTS):
                return (stored or {}).get(name, tables.by_name(name).create_empty()).lazy()
            return retailer.lake.scan(name, *rest)

        def __getattr__(self, name: str) -> Any:
            return getattr(retailer.lake, name)

    node = graph.NODES[METRICS]
    frames = [retailer.lake.scan(t) for t in node.inputs]
    *whole, changes = data_quality_metrics(Context(Standing(), retailer.settings, None, rules), *frames)  # type: ignore[arg-type]
    before = (stored or {}).get(METRICS, DataQualityMetrics.create_empty())
    made = [*whole, pl.concat([changes.stays(before), changes.rows])]
    checked = zip((RuleCounts, Alerts, DataQualityMetrics), made, strict=True)
    return {tables.spec(t).name: judging.require(t, tables.conform(t, frame.lazy()).collect()) for t, frame in checked}


def test_it_comes_after_every_record_table() -> None:
    compose()
    needed = graph.selection(None, METRICS)
    assert {n.name for n in record_nodes()} <= needed


def test_what_takes_a_date_comes_after_the_table_that_the_default_date_is_read_from() -> None:
    compose()
    dated = [n.name for n in graph.NODES.values() if n.needs_date]
    assert "gold.record_quality" in dated
    assert not [name for name in dated if "silver.subject_days" not in graph.selection(None, name)]


def test_counts_are_those_of_the_conservation_table(retailer, measured: dict[str, pl.DataFrame]) -> None:
    together = measured[METRICS].filter(pl.col("source_system") == ALL)
    assert set(together["table_name"]) == {n.records for n in record_nodes()}
    for node in record_nodes():
        facts = ledger.last_facts(retailer.lake, node.name, f"node:{node.name}")
        row = together.filter(pl.col("table_name") == node.records).to_dicts()[0]
        assert row["total_records"] == facts["bronze"]
        assert row["invalid_records"] == facts["quarantined"]
        assert row["duplicate_records"] == facts["duplicates"]


def test_all_is_the_sum_of_the_systems(measured: dict[str, pl.DataFrame]) -> None:
    counts = [f"{n}_records" for n in ("total", "valid", "invalid", "duplicate", "null")]
    is_all = pl.col("source_system") == ALL
    sums = [measured[METRICS].filter(f).group_by("table_name").agg(pl.col(counts).sum()) for f in (is_all, ~is_all)]
    assert sums[0].sort("table_name").equals(sums[1].sort("table_name"))


def test_planted_late_rows_and_orphans_are_seen(measured: dict[str, pl.DataFrame]) -> None:
    rules = measured["quality.rule_counts"].filter(pl.col("source_system") == ALL)
    failed = rules.filter(pl.col("checked_count") > pl.col("passed_count"))
    assert "bronze.transactions" in failed.filter(pl.col("rule") == "delivered_in_time")["table_name"]
    assert "transaction_id -> silver.transactions" in failed["rule"]
    assert "total_is_the_sum_of_its_lines" in failed["rule"]


def test_measuring_again_changes_nothing(retailer, measured: dict[str, pl.DataFrame]) -> None:
    again = make(retailer, retailer.rules["validation"], measured)
    for name, frame in measured.items():
        assert again[name].sort(pl.all()).equals(frame.sort(pl.all())), name


def test_only_measurements_that_say_something_else_change_stored_rows() -> None:
    counts = dict.fromkeys(("total_records", "valid_records", "bronze_version"), 4)
    schema = dict(DataQualityMetrics.create_empty().schema)
    keys = [{"source_system": system, "table_name": "bronze.t", "table_version": 7} for system in (ALL, "POS", "WEB")]
    before = pl.DataFrame([{**key, **counts} for key in keys], schema=schema)
    assert quality._changed(before, before, []).rows.is_empty()
    made = before.with_columns(valid_records=pl.when(source_system="POS").then(3).otherwise("valid_records"))
    newer = made.head(1).with_columns(table_version=pl.lit(8, pl.Int64))
    change = quality._changed(before, pl.concat([made, newer]), [])
    assert change.gone.to_list() == [1]
    assert sorted(change.rows.select("source_system", "table_version").rows()) == [(ALL, 8), ("POS", 7)]
    assert sorted(change.stays(before)["source_system"]) == [ALL, "WEB"]


def test_a_changed_rule_file_changes_scores_and_fingerprints(retailer, measured: dict[str, pl.DataFrame]) -> None:
    usual = retailer.rules["validation"]
    other = usual.model_copy(update={"weights": {"completeness": 1.0}})
    row = make(retailer, other)[METRICS].filter(pl.col("table_name") == "bronze.customers").to_dicts()[0]
    assert float(row["quality_score"]) == pytest.approx(100 * row["completeness_score"], abs=0.01)
    context = Context(retailer.lake, retailer.settings, retailer.as_of)
    for name in (METRICS, "gold.customer_quality"):
        made = [prepare(graph.NODES[name], context, {"validation": r}).fingerprint for r in (usual, other)]
        assert made[0] != made[1], name
    stricter = usual.model_copy(
        update={
            "tables": {"bronze.customers": usual.tables["bronze.customers"].model_copy(update={"required": ["CITY"]})}
        }
    )
    made = [
        prepare(graph.NODES["silver.customer_records"], context, {"validation": r}).fingerprint
        for r in (usual, other, stricter)
    ]
    assert made[0] == made[1] != made[2], (
        "the checks of a table stand in the fingerprint of what judges it, the weights do not"
    )


def test_a_bad_rule_file_is_refused_with_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compose()
    file = tmp_path / "configs" / "validation.yaml"
    file.parent.mkdir()
    file.write_text(
        "version: 1\nweights:\n  completeness: -2\n  beauty: 1\ntables:\n  bronze.customers:\n    accuracy:\n      x: 'CITY ='\n"  # noqa: E501
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as fault:
        rules_of(Settings(rules={"validation": "validation.yaml"}))
    said = str(fault.value)
    assert "line 3: weights.completeness" in said
    assert "line 4: weights.beauty" in said
    assert "line 8: tables.bronze.customers.accuracy.x: Value error, is no SQL condition" in said
    file.write_text(yaml.safe_dump({"tables": {"bronze.customers": {"required": ["MAIL"]}}}))
    with pytest.raises(ConfigError, match="MAIL"):
        rules_of(Settings(rules={"validation": "validation.yaml"}))


class TestPunctualRowsOfALongLog:
    """Each commit of a bronze table is read once a process, whatever stands in its log."""

    @pytest.fixture
    def asked(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[int]:
        compose()
        self.lake, found = Lake(str(tmp_path)), list[int]()
        self.lake.ensure(Stores)
        history = Lake.history
        monkeypatch.setattr(
            Lake, "history", lambda lake, name, limit=None: found.append(limit or 0) or history(lake, name, limit)
        )
        return found

    def deliver(self, seq: int, timed: int, late: int) -> None:
        self.lake.commit(STORES, [], app="batch:erp", app_version=seq, facts={"timed": timed, "late": late})

    def told(self) -> dict[str, int]:
        sources = {"erp": {"table": STORES, "system": "ERP", "path": "stores/*.csv"}}
        settings = Settings.model_validate({"lake": {"root": self.lake.root}, "sources": sources})
        return quality._deliveries(Context(self.lake, settings, None), STORES).get("ERP", {})

    def test_only_what_came_since_is_read(self, asked: list[int]) -> None:
        for seq in range(1, 6):
            self.deliver(seq, 10, 1)
        assert self.told() == quality._timely(50, 45)
        asked.clear()
        assert self.told() == quality._timely(50, 45)
        self.deliver(6, 10, 0)
        assert self.told() == quality._timely(60, 55)
        assert max(asked) == 2

    def test_a_table_that_was_made_anew_is_counted_anew(self, asked: list[int]) -> None:
        for seq in range(1, 3):
            self.deliver(seq, 10, 1)
        assert self.told() == quality._timely(20, 18)
        shutil.rmtree(self.lake.uri(STORES))
        self.lake.ensure(Stores)
        for seq in range(1, 5):
            self.deliver(seq, 7, 0)
        assert self.told() == quality._timely(28, 28)
