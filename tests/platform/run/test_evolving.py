"""Schema contracts in a run: what a source changes of its columns and types evolves, waits or is left out."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from customer360.platform import lake as lakes
from customer360.platform import ledger, quality, schemas
from customer360.platform.errors import SourceError
from customer360.platform.evolution import SchemaContract
from customer360.platform.run import replay, rereading
from customer360.platform.run.accepting import accept, difference
from customer360.platform.run.executor import LocalExecutor
from customer360.platform.run.ingest import ingest
from customer360.platform.sources.files import Files
from customer360.platform.tables import String, Table

HEAD = "ORDER_ID,WHO,UNITS,PAID,VERSION"
FIRST = ("o1,ann,2,10.00,1", "o2,bob,1,,1")


class Killed(BaseException):
    """Stands for the death of the process."""


def under(shop: Any, contract: Any, **keys: Any) -> None:
    orders = shop.settings.sources["orders"].model_copy(
        update={"schema_contract": SchemaContract.model_validate(contract), **keys}
    )
    sources = {**shop.settings.sources, "orders": orders}
    object.__setattr__(shop, "settings", shop.settings.model_copy(update={"sources": sources}))


def deliver(shop: Any, name: str, head: str, *rows: str) -> None:
    shop._drop("orders", name, "\n".join([head, *rows]))


def accepted(shop: Any, subject: str = "orders", *columns: str) -> list[str]:
    executor = LocalExecutor(shop.settings.execution)
    return accept(shop.lake, shop.settings, subject, list(columns), "ann", executor, {})


def known(shop: Any) -> dict[str, tuple[str, bool]]:
    version = schemas.newest(shop.lake, "orders")
    assert version is not None
    return {name: (column.type, column.optional) for name, column in version.columns.items()}


def bronze(shop: Any) -> pl.DataFrame:
    return shop.lake.scan("bronze.t_orders").sort("ORDER_ID").collect()


def balance(shop: Any, seq: int) -> quality.Balance:
    outcome = ledger.outcome(shop.lake, "orders", seq)
    assert outcome is not None
    return quality.batch_balance("", outcome.facts)


def test_what_lands_first_is_the_first_version(shop: Any) -> None:
    deliver(shop, "1.csv", f"{HEAD},NOTE,AT", "o1,ann,2,10.00,1,hello,2026-01-02", "o2,bob,1,,1,,2026-01-03T10:00:00Z")
    deliver(shop, "2.csv", HEAD, "o3,eve,1,1.50,2")
    shop.run()
    assert known(shop) == {
        "ORDER_ID": ("text", False), "WHO": ("text", False), "UNITS": ("integer", False), "PAID": ("decimal", False),
        "VERSION": ("integer", False), "NOTE": ("text", True), "AT": ("timestamp", True),
    }  # fmt: skip
    rows = shop.lake.scan("control.schema_versions").filter(pl.col("subject") == "orders").collect()
    assert rows.height == 7 and set(rows["version"]) == {1} and set(rows["decided_by"]) == {"run"}
    shop.run()
    assert len(schemas.versions(shop.lake, "orders")) == 1


def test_a_new_column_evolves_and_is_told_once(shop: Any, caplog: pytest.LogCaptureFixture) -> None:
    deliver(shop, "1.csv", HEAD, *FIRST)
    shop.run()
    caplog.set_level("INFO")
    deliver(shop, "2.csv", f"{HEAD},COUPON", "o3,eve,1,1.50,1,17")
    shop.run()
    assert "orders batch 2: schema version 2: column 'COUPON' (integer) is new, orders/2.csv the first" in caplog.text
    assert known(shop)["COUPON"] == ("integer", False)
    caplog.clear()
    deliver(shop, "3.csv", f"{HEAD},COUPON", "o4,eve,1,1.50,1,18")
    shop.run()
    assert "COUPON" not in caplog.text
    deliver(shop, "4.csv", f"{HEAD},COUPON", "o5,eve,1,1.50,1,1.5")
    deliver(shop, "5.csv", f"{HEAD},COUPON", "o6,eve,1,1.50,1,x9")
    shop.run()
    assert known(shop)["COUPON"] == ("text", False)
    assert bronze(shop)["_rescued"].to_list() == [
        None,
        None,
        *(f'{{"COUPON":"{v}"}}' for v in ("17", "18", "1.5", "x9")),
    ]


@pytest.mark.parametrize(
    ("contract", "head", "row", "said"),
    [
        ("freeze", f"{HEAD},COUPON", "o3,eve,1,1.50,1,x9", "orders/2.csv: column 'COUPON' (text) is new"),
        ("freeze", f"{HEAD},NOTE", "o3,eve,1,1.50,1,ten", "2.csv: column 'NOTE' changed its type: integer -> text"),
        ({"columns": "freeze"}, "ORDER_ID,WHO,UNITS,VERSION,NOTE", "o3,eve,1,1,7", "column 'PAID' (decimal) is mis"),
        ({"data_type": "freeze"}, f"{HEAD},NOTE", "o3,eve,two,1.50,1,7", "2.csv: 1 values of UNITS are no Int64"),
    ],
)  # fmt: skip
def test_a_frozen_schema_lets_the_batch_wait_and_others_land(
    shop: Any, contract: Any, head: str, row: str, said: str
) -> None:
    under(shop, contract)
    deliver(shop, "1.csv", f"{HEAD},NOTE", "o1,ann,2,10.00,1,5", "o2,bob,1,,1,6")
    shop.run()
    deliver(shop, "2.csv", head, row)
    deliver(shop, "3.csv", f"{HEAD},NOTE", "o4,eve,1,1.00,1,8")
    shop.clicks("1.json", {"CLICK_ID": "c1", "SUBJECT_ID": "ann"})
    nodes = shop.fails()
    assert nodes["source orders"].state == "failed" and said in nodes["source orders"].reason
    assert "customer360 schema accept orders" in nodes["source orders"].reason
    assert nodes["source clicks"].state == "built" and bronze(shop).height == 2
    assert said in shop.fails()["source orders"].reason  # as long as nobody decides
    assert quality.dead_letters(shop.lake).is_empty()
    assert any(fate == "waits" for _, fate, _ in difference(shop.lake, shop.settings, "orders", {}).changes)
    accepted(shop)
    assert shop.run()["source orders"].state == "built"
    assert bronze(shop)["ORDER_ID"].to_list() == ["o1", "o2", "o3", "o4"] and balance(shop, 2).holds
    assert difference(shop.lake, shop.settings, "orders", {}).changes == ()
    last = schemas.versions(shop.lake, "orders")[-1]
    assert (last.number, last.by, last.seq) == (2, "ann", 2)


def test_what_fits_a_frozen_schema_lands(shop: Any) -> None:
    under(shop, "freeze")
    deliver(shop, "1.csv", f"{HEAD},NOTE,RATE", "7,ann,2,10.00,1,x,1.5")
    shop.run()
    deliver(shop, "2.csv", f"{HEAD},NOTE,RATE", "A8,bob,1,,1,12,3", "9,eve,1,,1,,n/a")
    assert shop.run()["source orders"].state == "built"
    assert len(schemas.versions(shop.lake, "orders")) == 1


def test_some_of_what_waits_may_be_accepted(shop: Any) -> None:
    under(shop, "freeze")
    deliver(shop, "1.csv", HEAD, *FIRST)
    shop.run()
    deliver(shop, "2.csv", f"{HEAD},A,B", "o3,eve,1,1.50,1,1,2")
    shop.fails()
    lines = accepted(shop, "orders", "A")
    assert lines[0] == "orders: schema version 2: column 'A' (integer) is new" and "still waits" in lines[-1]
    assert "'B'" in (reason := shop.fails()["source orders"].reason) and "'A'" not in reason
    accepted(shop)
    assert shop.run()["source orders"].rows == 1


def test_rows_are_discarded_as_dead_letters_and_counted(shop: Any) -> None:
    under(shop, "discard_row")
    deliver(shop, "1.csv", f"{HEAD},NOTE", "o1,ann,2,10.00,1,5")
    shop.run()
    deliver(
        shop, "2.csv", f"{HEAD},NOTE,COUPON",
        "o2,bob,1,,1,6,", "o3,eve,1,1.50,1,7,x9", "o4,eve,1,1.50,1,seven,", "o5,eve,many,1.50,1,8,", "o6,eve,1,1,1,,",
    )  # fmt: skip
    facts = shop.run()["source orders"].facts
    assert (facts["read"], facts["landed"], facts["dead"]) == (5, 2, 3) and balance(shop, 2).holds
    letters = quality.dead_letters(shop.lake)
    assert letters["reason"].to_list() == [
        "schema contract: column 'COUPON' is new (columns: discard_row)",
        "schema contract: a value of 'NOTE' is no integer (data_type: discard_row)",
        "schema contract: a value of UNITS is no Int64 (data_type: discard_row)",
    ]
    assert letters["position"].to_list() == [2, 3, 4] and b'"COUPON": "x9"' in letters["raw"][0]
    accepted(shop, "orders", "COUPON", "NOTE")
    shop.run(reland=("orders",))
    assert bronze(shop)["ORDER_ID"].to_list() == ["o1", "o2", "o3", "o4", "o6"]
    assert quality.dead_letters(shop.lake)["position"].to_list() == [4]
    accepted(shop)
    shop.run(reland=("orders",))
    assert quality.dead_letters(shop.lake).is_empty() and bronze(shop)["_rescued"][4] == '{"UNITS":"many","NOTE":"8"}'


def test_values_are_discarded_and_counted(shop: Any, caplog: pytest.LogCaptureFixture) -> None:
    under(shop, {"columns": "discard_value", "data_type": "discard_value"})
    deliver(shop, "1.csv", f"{HEAD},NOTE", "o1,ann,2,10.00,1,5")
    shop.run()
    caplog.set_level("INFO")
    deliver(shop, "2.csv", f"{HEAD},NOTE,COUPON", "o2,bob,1,free,1,6,x9", "o3,eve,1,1.50,1,seven,")
    facts = shop.run()["source orders"].facts
    assert (facts["read"], facts["landed"], facts["dead"]) == (2, 2, 0)
    told = {"discarded|COUPON|columns": 1, "discarded|NOTE|data_type": 1, "discarded|PAID|data_type": 1}
    assert {k: v for k, v in facts.items() if k.startswith("discarded")} == told
    assert bronze(shop)["_rescued"].to_list() == ['{"NOTE":"5"}', '{"NOTE":"6"}', None]
    assert "values left out by its schema contract: 1 NOTE (data_type: discard_value), 1 COUPON (col" in caplog.text


def test_a_column_under_a_new_name_is_proposed(shop: Any) -> None:
    mapping = {"ORDER_ID": "id", "WHO": "customer", "UNITS": "qty", "VERSION": "1"}
    under(shop, {"columns": "freeze"}, mapping=mapping)
    deliver(shop, "1.csv", "id,customer,qty", "o1,ann,2", "o2,bob,1")
    shop.run()
    deliver(shop, "2.csv", "id,besteller,qty", "o3,ann,1", "o4,bob,1")  # no likeness but that of the values
    reason = shop.fails()["source orders"].reason
    assert "column 'customer' (text) is missing; 'besteller' is likely its new name" in reason
    changes = difference(shop.lake, shop.settings, "orders", {}).changes
    assert [lines for change, _, lines in changes if change.renamed_to] == [("WHO: besteller",)]


def test_a_batch_is_judged_by_the_schema_that_the_one_before_left(shop: Any) -> None:
    under(shop, {"columns": "discard_value"})
    deliver(shop, "1.csv", HEAD, *FIRST)

    def die(point: str) -> None:
        if point == "before commit bronze.t_orders":
            raise Killed

    lakes.observers.append(die)
    with pytest.raises(Killed):
        shop.run()
    lakes.observers.remove(die)
    deliver(shop, "2.csv", f"{HEAD},COUPON", "o3,eve,1,1.50,1,x9")
    shop.run()
    assert "COUPON" not in known(shop) and bronze(shop)["_rescued"].null_count() == 3
    assert shop.lake.transaction("bronze.t_orders", "batch:orders") == 2


@pytest.mark.parametrize("contract", ["evolve", {"columns": "evolve", "data_type": "discard_row"}])
def test_killed_at_any_point_the_registry_is_what_it_would_have_been(shop: Any, tmp_path: Any, contract: Any) -> None:
    under(shop, contract)

    def deliveries(which: Any) -> None:
        deliver(which, "1.csv", HEAD, *FIRST)
        yield
        deliver(which, "2.csv", f"{HEAD},COUPON", "o3,eve,1,1.50,1,17", "o4,eve,1,1.50,1,x")

    def held(which: Any) -> Any:
        versions = [(v.number, v.columns, v.changed, v.seq) for v in schemas.versions(which.lake, "orders")]
        table = which.lake.scan("control.schema_versions").drop("decided_at").collect().rows()
        return versions, table, which.business()

    whole = shop.at(tmp_path / "whole")
    under(whole, contract)
    points: list[str] = []
    for _ in deliveries(whole):
        whole.run()
    lakes.observers.append(points.append)
    whole.run()
    lakes.observers.clear()
    for number, point in enumerate(
        dict.fromkeys(p for p in points if "schema" in p or "t_orders" in p or "manifest" in p)
    ):
        other = shop.at(tmp_path / f"killed{number}")
        under(other, contract)
        for _ in deliveries(other):
            other.run()

        def die(here: str, at: str = point) -> None:
            if here == at:
                raise Killed

        lakes.observers.append(die)
        with pytest.raises(Killed):
            other.run()
        lakes.observers.clear()
        other.run()
        assert held(other) == held(whole), point
    assert any("schema orders/2" in point for point in points)


def test_records_that_leave_columns_out_lack_none(shop: Any) -> None:
    clicks = shop.settings.sources["clicks"].model_copy(update={"schema_contract": SchemaContract(columns="freeze")})
    sources = {**shop.settings.sources, "clicks": clicks}
    shop.settings = shop.settings.model_copy(update={"sources": sources})
    shop.clicks(
        "1.json", {"CLICK_ID": "c1", "SUBJECT_ID": "ann", "page": {"url": "/a"}}, {"CLICK_ID": "c2", "SUBJECT_ID": "b"}
    )
    shop.run()
    shop.clicks("2.json", {"CLICK_ID": "c3", "SUBJECT_ID": "ann"})
    assert shop.run()["source clicks"].state == "built"
    shop.clicks("3.json", {"CLICK_ID": "c4", "SUBJECT_ID": "ann", "ref": "x"})
    assert "column 'ref' (text) is new" in shop.fails()["source clicks"].reason


def test_the_contract_of_the_table_is_the_default(shop: Any, registries: None) -> None:
    class Frozen(Table, table="bronze.t_frozen", key=("ORDER_ID",), schema_contract="freeze"):
        """One row per order."""

        ORDER_ID = String(nullable=False)

    made = Files(table="bronze.t_frozen", system="POS", path="frozen/*.csv", format="csv")
    shop.settings = shop.settings.model_copy(update={"sources": {**shop.settings.sources, "frozen": made}})

    def land() -> Any:
        return next(iter(ingest(shop.lake, shop.settings, ["frozen"], LocalExecutor(shop.settings.execution), {})))

    shop._drop("frozen", "1.csv", "ORDER_ID\no1")
    assert land().failure is None
    shop._drop("frozen", "2.csv", "ORDER_ID,MORE\no2,x")
    assert "column 'MORE' (text) is new" in str(land().failure)


def test_what_was_discarded_and_accepted_since_is_replayed_as_it_is(shop: Any, tmp_path: Any) -> None:
    under(shop, "discard_row")
    deliver(shop, "1.csv", HEAD, *FIRST)
    shop.run()
    deliver(shop, "2.csv", f"{HEAD},COUPON,TILL", "o3,eve,1,1.50,1,x9,", "o4,eve,1,1.50,1,,7", "o5,eve,many,1.50,1,,")
    shop.run()
    file = tmp_path / "refused.jsonl"
    assert replay.export(shop.lake, file)[1] == 3
    with pytest.raises(SourceError, match="no line differs"):
        replay.replay(shop.lake, shop.settings, file)
    accepted(shop, "orders", "COUPON", "UNITS")
    assert replay.replay(shop.lake, shop.settings, file) == {"orders": 2}
    shop.run()
    kept = dict(bronze(shop).filter(pl.col("_replay_of").is_not_null()).select("ORDER_ID", "_rescued").rows())
    assert kept == {"o3": '{"COUPON":"x9"}', "o5": '{"UNITS":"many"}'}
    assert replay.export(shop.lake, file) == (1, 1)  # the contract refuses what is no number, and TILL nobody accepted


def test_a_frozen_batch_can_be_taken_back(shop: Any) -> None:
    under(shop, "freeze")
    deliver(shop, "1.csv", HEAD, *FIRST)
    shop.run()
    deliver(shop, "2.csv", f"{HEAD},COUPON", "o3,eve,1,1.50,1,x9")
    shop.fails()
    assert rereading.drop(shop.lake, shop.settings, "orders", 2, ignore=True) == 0
    deliver(shop, "3.csv", HEAD, "o4,eve,1,1.50,1")
    assert shop.run()["source orders"].rows == 1
    assert bronze(shop)["ORDER_ID"].to_list() == ["o1", "o2", "o4"]


def test_columns_that_nobody_names_are_columns_of_sql(shop: Any) -> None:
    pytest.importorskip("duckdb")
    from customer360.platform import warehouse

    deliver(shop, "1.csv", HEAD, *FIRST)
    deliver(shop, "2.csv", HEAD + ',"o\'k/~""x",day,who', "o3,eve,1,1.50,1,7,2026-01-02,z")
    shop.run()
    found = warehouse.query(shop.lake, """SELECT ORDER_ID, "o'k/~""x" + 1, day FROM bronze.t_orders ORDER BY 1""")
    assert found is not None
    assert [(*row[:2], str(row[2])) for row in found.fetchall()] == [
        ("o1", None, "None"), ("o2", None, "None"), ("o3", 8, "2026-01-02"),
    ]  # fmt: skip
    who = warehouse.query(shop.lake, "SELECT who FROM bronze.t_orders WHERE ORDER_ID = 'o3'")
    assert who is not None and who.fetchall() == [("eve",)]  # the contract's own column


def test_a_column_that_is_mapped_since_is_rescued_no_longer(shop: Any) -> None:
    deliver(shop, "1.csv", f"{HEAD},NICK", "o1,ann,2,10.00,1,annie")
    shop.run()
    assert "NICK" in schemas.rescued_columns(shop.lake)["bronze.t_orders"]
    under(shop, "evolve", mapping={"WHO": "NICK"})
    deliver(shop, "2.csv", f"{HEAD},NICK", "o2,bob,1,,1,bobby")
    shop.run()
    assert "NICK" not in schemas.rescued_columns(shop.lake)["bronze.t_orders"]
    rows = shop.lake.scan("control.schema_versions").filter(pl.col("column_name") == "NICK").sort("version").collect()
    assert rows.filter(pl.col("subject") == "orders")["is_used"].to_list() == [False, True]
    deliver(shop, "3.csv", f"{HEAD.removesuffix(',VERSION')},NICK", "o3,eve,1,1.50,evie")
    shop.run()
    left = schemas.rescued_columns(shop.lake)["bronze.t_orders"]
    assert "VERSION" not in left, "used still, though it did not come"


def test_nothing_waits_once_the_contract_was_taken_back(shop: Any) -> None:
    deliver(shop, "1.csv", HEAD, *FIRST)
    shop.run()
    under(shop, "freeze")
    deliver(shop, "2.csv", f"{HEAD},COUPON", "o3,eve,1,1.50,1,17")
    shop.fails()
    assert schemas.waiting(shop.lake, "orders")[0] == 2
    under(shop, "evolve")
    shop.run()
    assert schemas.waiting(shop.lake, "orders") == (0, [])


@pytest.mark.parametrize("where", ["sources/orders/00000001.json", "waiting/orders.json"])
def test_a_damaged_schema_stops_its_source_alone(shop: Any, where: str) -> None:
    deliver(shop, "1.csv", HEAD, *FIRST)
    shop.run()
    under(shop, {"columns": "discard_row"})
    deliver(shop, "2.csv", f"{HEAD}", "o3,eve,1,1.50,1")
    shop.lake.put(f"_schemas/{where}", b"[1")
    others = shop.settings.sources["orders"].model_copy(update={"path": "others/*.csv"})
    shop._drop("others", "1.csv", "\n".join([HEAD, "o9,zoe,1,1.50,1"]))
    sources = {**shop.settings.sources, "others": others}
    settings = shop.settings.model_copy(update={"sources": sources})
    executor = LocalExecutor(settings.execution)
    found = {each.name: each.failure for each in ingest(shop.lake, settings, ["orders", "others"], executor, {})}
    assert found["others"] is None
    assert "DamagedSchema" in (found["orders"] or "") and where in (found["orders"] or "")


def test_a_damaged_schema_stops_neither_a_run_nor_queries(shop: Any, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("duckdb")
    from customer360.platform import warehouse

    def told() -> list[int]:
        found = shop.lake.scan("control.schema_versions").filter(pl.col("subject") == "orders").collect()
        return sorted(set(found["version"]))

    deliver(shop, "1.csv", HEAD, *FIRST)
    shop.run()
    path = "_schemas/sources/orders/00000001.json"
    whole = shop.lake.get(path)
    for damaged in (b"[1", whole.replace(b'"at": "2', b'"at": "x')):
        shop.lake.put(path, damaged)
        assert warehouse.query(shop.lake, "SELECT 1 FROM bronze.t_orders") is not None
    deliver(shop, "2.csv", f"{HEAD},NOTE", "o3,eve,1,1.50,1,hello")
    shop.lake.put("_schemas/sources/orders/00000002.json", whole.replace(b'"number": 1', b'"number": 2'))
    shop.run()
    assert told()[0] == 2 and f"{path} is no version of a schema" in caplog.text
    shop.lake.put(path, whole)
    shop.run()
    assert told()[:2] == [1, 2]
