"""A bronze column of another type: what stands is cast in one commit, nothing is lost, and a crash changes nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import dataframely as dy
import polars as pl
import pytest

from customer360.platform import graph, schemas, tables
from customer360.platform import lake as lakes
from customer360.platform.graph import builds
from customer360.platform.lake.retyping import changed_types
from customer360.platform.run.accepting import accept
from customer360.platform.run.executor import LocalExecutor
from customer360.platform.run.migrating import recast
from customer360.platform.sources.values import Reading
from customer360.platform.tables import Boolean, Date, Float, Integer, Money, String, Table, Timestamp


class Killed(BaseException):
    """Stands for the death of the process."""


def contract(**columns: Any) -> type[Table]:
    tables.TABLES.pop("bronze.t_orders", None)
    options = {"table": "bronze.t_orders", "key": ("ORDER_ID",), "version": "VERSION"}
    options |= {k: columns.pop(k) for k in ("schema_contract",) if k in columns}
    held = {
        "ORDER_ID": String(nullable=False),
        "WHO": String(nullable=False),
        **columns,
        "VERSION": Integer(nullable=True),
    }
    body = {"__doc__": "One row per order.", "__module__": __name__, **held}
    return type(dy.Schema)("Orders", (Table,), body, **options)  # type: ignore[call-overload, no-any-return]


def rebuilt(units: Callable[[pl.Expr], pl.Expr] = lambda units: units) -> None:
    """The record table of orders, over the contract as it is declared now."""
    del graph.NODES["silver.t_orders"]

    @builds(tables.by_name("silver.t_orders"))
    def t_orders(bronze_t_orders: pl.LazyFrame) -> pl.LazyFrame:
        known = bronze_t_orders.filter(pl.col("WHO") != "nobody")
        paid = pl.col("PAID").cast(pl.Decimal(12, 2), strict=False)
        return known.select(order_id="ORDER_ID", subject_id="WHO", units=units(pl.col("UNITS")), paid=paid)


FRAME = {"ORDER_ID": "o", "WHO": "w", "VERSION": 1}


@pytest.mark.parametrize(
    ("stored", "declared", "before", "after", "kept"),
    [
        (Integer(nullable=True), String(nullable=True), [7, None], ["7", None], [{}, {}]),
        (String(nullable=True), Integer(nullable=True), ["007", "x"], [7, None],
         [{"stored:UNITS": "007"}, {"UNITS": "x"}]),
        (String(nullable=True), Money(nullable=True), ["5", "1.239"], ["5.00", "1.24"],
         [{}, {"stored:UNITS": "1.239"}]),
        (Integer(nullable=True), Money(nullable=True), [5, -1], ["5.00", "-1.00"], [{}, {}]),
        (Float(nullable=True), Integer(nullable=True), [3.0, 2.5], [3, None], [{}, {"UNITS": "2.5"}]),
        (Timestamp(nullable=True), String(nullable=True), ["2026-01-02T03:04:05Z", None],
         ["2026-01-02T03:04:05.000000Z", None], [{}, {}]),
        (String(nullable=True), Timestamp(nullable=True), ["2026-01-02T03:04:05.000000Z", "soon"],
         ["2026-01-02T03:04:05.000000Z", None], [{}, {"UNITS": "soon"}]),
        (String(nullable=True), Date(nullable=True), ["2026-01-02", None], ["2026-01-02", None], [{}, {}]),
        (String(nullable=True), Boolean(nullable=True), ["yes", "maybe"], [True, None],
         [{"stored:UNITS": "yes"}, {"UNITS": "maybe"}]),
    ],
)  # fmt: skip
def test_values_are_cast_and_come_back(
    registries: None, stored: Any, declared: Any, before: list[Any], after: list[Any], kept: list[dict[str, str]]
) -> None:
    text = [str(v) if v is not None else None for v in before]
    frame = pl.DataFrame({"_rescued": [None, None]}, schema={"_rescued": pl.String})
    old = pl.Series("UNITS", before) if not stored.dtype.is_temporal() else pl.Series("UNITS", text).str.to_datetime(
        "%Y-%m-%dT%H:%M:%SZ", time_zone="UTC")  # fmt: skip
    frame = frame.with_columns(old.cast(stored.dtype))
    forth, back = {"UNITS": (stored.dtype, declared.dtype)}, {"UNITS": (declared.dtype, stored.dtype)}
    cast, facts = recast(contract(UNITS=declared), frame, forth, Reading())
    expected = pl.Series(after).cast(pl.String) if isinstance(after[0], str) else pl.Series(after)
    shown = cast["UNITS"] if not isinstance(after[0], str) else _text(cast["UNITS"])
    assert shown.to_list() == expected.to_list()
    assert [json.loads(text or "{}") for text in cast["_rescued"]] == kept
    assert sum(facts.values()) == sum(v is not None for v in before)
    again, _ = recast(contract(UNITS=stored), cast, back, Reading())
    if stored.dtype == pl.String and declared.dtype.is_numeric() and before[0] == "5":
        assert again["UNITS"].to_list() == ["5.00", "1.239"]  # zeros that end a fraction say nothing
    else:
        assert again.equals(frame.select(again.columns))


def _text(values: pl.Series) -> pl.Series:
    from customer360.platform import rescued

    return rescued.text_of(values)


def test_a_text_that_broke_a_rule_stays_with_its_rule(registries: None) -> None:
    kept = '{"UNITS":"0","_rules":{"UNITS":"min"}}'
    frame = pl.DataFrame({"UNITS": [None], "_rescued": [kept]}, schema={"UNITS": pl.Int64, "_rescued": pl.String})
    cast, facts = recast(contract(UNITS=Float(nullable=True)), frame, {"UNITS": (pl.Int64(), pl.Float64())}, Reading())
    assert cast["_rescued"].to_list() == [kept] and cast["UNITS"].to_list() == [None] and not sum(facts.values())


def fresh(shop: Any, tmp_path: Any) -> Any:
    other = shop.at(tmp_path / "fresh")
    for file in sorted((shop.root / "landing" / "orders").iterdir()):
        other._drop("orders", file.name, file.read_text())
        other.run()
    return other


def without_kept(business: dict[str, list[str]]) -> dict[str, list[str]]:
    return {name: rows for name, rows in business.items() if name not in ("bronze.t_orders", "quality.quarantine")}


def test_a_run_casts_what_stands_and_goes_on_as_if_it_had_always_been_so(
    shop: Any, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    shop.orders("1.csv", "o1,ann,2,10.00,1", "o2,bob,many,1.00,1", "o3,nobody,1,2.50,1")
    shop.run()
    shop.orders("2.csv", "o4,eve,3,7.00,1")
    shop.run()
    contract(UNITS=Money(nullable=False), PAID=String(nullable=True), MORE=String(nullable=True))
    rebuilt(lambda units: units.cast(pl.Int64))
    shop.orders("3.csv", "o1,ann,5,11.00,2", "o5,zoe,4,x,1")
    nodes = shop.run()
    assert nodes["source orders"].rows == 2 and nodes["silver.t_orders"].state == "built"
    assert "bronze.t_orders: UNITS Int64 -> Decimal(precision=12, scale=2), PAID Decimal" in caplog.text
    assert "1 did not and stay as text in _rescued" in caplog.text and "--reland orders" in caplog.text
    assert changed_types(shop.lake, tables.by_name("bronze.t_orders")) == {}
    rows = shop.lake.scan("bronze.t_orders").sort("_seq", "_position").select("UNITS", "PAID", "_rescued").collect()
    assert rows["PAID"].to_list() == ["10.00", "1.00", "2.50", "7.00", "11.00", "x"]
    assert rows["_rescued"].to_list()[:2] == [None, '{"UNITS": "many"}']
    assert shop.states(shop.run()) == dict.fromkeys(shop.ALL, "current")
    assert without_kept(shop.business()) == without_kept(fresh(shop, tmp_path).business())
    last = schemas.versions(shop.lake, "bronze.t_orders")[-1]
    assert {c: said for c, (said, _) in last.changed.items()} == {
        "UNITS": "column 'UNITS' was widened: Int64 -> Decimal(precision=12, scale=2)",
        "PAID": "column 'PAID' was widened: Decimal(precision=12, scale=2) -> String",
        "MORE": "column 'MORE' (String) is new",
    }
    shop.run(reland=("orders",))
    assert shop.lake.scan("bronze.t_orders").collect()["_rescued"].null_count() == 5


def test_a_run_that_lands_nothing_casts_what_it_reads(shop: Any) -> None:
    shop.orders("1.csv", "o1,ann,2,10.00,1")
    shop.run()
    contract(UNITS=String(nullable=False), PAID=Money(nullable=True))
    rebuilt(lambda units: units.cast(pl.Int64) + 1)
    assert shop.run(start="silver.t_orders", end="silver.t_orders")["silver.t_orders"].state == "built"
    assert shop.lake.scan("silver.t_orders").collect()["units"].to_list() == [3]


def test_columns_that_the_contract_no_longer_has_stay_stored(shop: Any) -> None:
    shop.orders("1.csv", "o1,ann,2,10.00,1")
    shop.run()
    contract(UNITS=String(nullable=False))
    del graph.NODES["silver.t_orders"], graph.NODES["silver.t_totals"], graph.NODES["silver.t_visits"]
    del graph.NODES["gold.t_summary"]
    shop.orders("2.csv", "o2,bob,3,7.00,1")
    from customer360.platform.run.ingest import ingest
    from customer360.platform.run.migrating import brought

    executor = LocalExecutor(shop.settings.execution)
    assert brought(shop.lake, shop.settings, "bronze.t_orders", executor, {}) == []
    assert [run.failure for run in ingest(shop.lake, shop.settings, ["orders"], executor, {})] == [None]
    contract(UNITS=String(nullable=False), PAID=Money(nullable=True))
    paid = shop.lake.scan("bronze.t_orders").sort("ORDER_ID").collect()["PAID"].cast(pl.String).to_list()
    assert paid == ["10.00", None]  # of what landed meanwhile, files have it: `run --reland`


@pytest.mark.parametrize("when", ["after write bronze.t_orders", "before commit", "after commit"])
def test_killed_while_it_casts(shop: Any, tmp_path: Any, when: str) -> None:
    shop.orders("1.csv", "o1,ann,2,10.00,1", "o2,bob,many,1.00,1")
    shop.run()
    shop.orders("2.csv", "o4,eve,3,7.00,1")
    shop.run()
    contract(UNITS=String(nullable=False), PAID=Money(nullable=True))
    rebuilt(lambda units: units.cast(pl.Int64, strict=False).fill_null(0))
    point = when if "bronze" in when else f"{when} bronze.t_orders"

    def die(here: str) -> None:
        if here == point:
            raise Killed

    lakes.observers.append(die)
    with pytest.raises(Killed):
        shop.run()
    lakes.observers.remove(die)
    shop.run()
    assert without_kept(shop.business()) == without_kept(fresh(shop, tmp_path).business())
    assert shop.lake.transaction("bronze.t_orders", "batch:orders") == 2
    assert shop.states(shop.run()) == dict.fromkeys(shop.ALL, "current")


def test_frozen_types_wait_for_a_person_and_other_tables_land(shop: Any) -> None:
    shop.orders("1.csv", "o1,ann,2,10.00,1")
    shop.run()
    contract(UNITS=String(nullable=False), PAID=Money(nullable=True), schema_contract={"data_type": "freeze"})
    rebuilt(lambda units: units.cast(pl.Int64))
    shop.clicks("1.json", {"CLICK_ID": "c1", "SUBJECT_ID": "ann"})
    nodes = shop.fails()
    assert "UNITS Int64 -> String" in nodes["source orders"].reason
    assert "customer360 schema accept bronze.t_orders" in nodes["source orders"].reason
    assert nodes["source clicks"].state == "built" and nodes["silver.t_orders"].state == "blocked"
    executor = LocalExecutor(shop.settings.execution)
    lines = accept(shop.lake, shop.settings, "bronze.t_orders", [], "ann", executor, {})
    assert lines == ["bronze.t_orders: UNITS Int64 -> String; 1 values cast, 0 kept as text"]
    assert shop.run()["silver.t_orders"].state == "built"
    assert [v.by for v in schemas.versions(shop.lake, "bronze.t_orders")] == ["run", "ann"]
