"""The lake: what a commit holds, what it refuses, and what a reader sees."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable

from customer360.platform import lake as lakes
from customer360.platform import ledger, tables
from customer360.platform.errors import ContractError, LakeLocked, StaleBatch, TableMissing
from customer360.platform.lake import Add, Lake
from customer360.platform.lake.opened import _of_thread, told_by
from customer360.platform.tables import Date, Float, Integer, Money, String, Table, Timestamp, personal

NAME = "silver.t_notes"
T0 = datetime(2024, 1, 2, 3, 4, 5, 678_901, UTC)


@pytest.fixture
def notes(registries: None) -> type[Table]:
    class Notes(Table, table=NAME, partition_by=("kind",)):
        """One row per note."""

        kind = String()
        id = Integer()
        text = String(nullable=True)
        rate = Float(nullable=True)
        paid = Money(nullable=True)
        on = Date(nullable=True)
        at = Timestamp(nullable=True)
        mail = String(nullable=True, metadata=personal("email"))

    return Notes


def rows_of(table: type[Table], ids: range | list[int], kind: str = "a", **fixed: Any) -> pl.DataFrame:
    full = [{"kind": kind, "id": i, "text": f"t{i}", "mail": f"m{i}@x.org", **fixed} for i in ids]
    return pl.DataFrame(full, schema=tables.schema(table))


def put_rows(lake: Lake, table: type[Table], ids: range | list[int], kind: str = "a", **fixed: Any) -> Add:
    return lake.write_file(tables.spec(table).name, rows_of(table, ids, kind, **fixed), {"kind": kind})


def ids(lake: Lake, name: str = NAME, **where: Any) -> list[int]:
    return sorted(lake.scan(name, **where).collect()["id"])


def replace(lake: Lake, adds: list[Add], version: int = 1, **scope: str) -> int:
    return lake.replace(NAME, adds, scope=scope, app="node:x", app_version=version)


# ---- reading and writing -------------------------------------------------------------------------------------


def test_written_rows_are_read_in_contract_order_and_type(lake: Lake, notes: type[Table]) -> None:
    lake.ensure(notes)
    rows = rows_of(notes, range(3), rate=0.5, paid=Decimal("1.10"), on=date(2024, 1, 2), at=T0)
    replace(lake, [lake.write_file(NAME, rows, {"kind": "a"})])
    assert lake.scan(NAME).collect().equals(rows)


def test_a_file_is_no_part_of_the_table_before_its_commit(lake: Lake, notes: type[Table]) -> None:
    lake.ensure(notes)
    put_rows(lake, notes, range(3))
    assert ids(lake) == []


def test_files_are_named_after_content_or_stem(lake: Lake, notes: type[Table]) -> None:
    first, same, other = put_rows(lake, notes, [1]), put_rows(lake, notes, [1]), put_rows(lake, notes, [2])
    assert first.path == same.path != other.path
    assert lake.write_file(NAME, rows_of(notes, [1]), {"kind": "a"}, "stem").path == "kind=a/stem.parquet"


def test_replace_leaves_equal_files_in_place(lake: Lake, notes: type[Table]) -> None:
    lake.ensure(notes)
    kept, gone, new = put_rows(lake, notes, [1]), put_rows(lake, notes, [2]), put_rows(lake, notes, [3])
    replace(lake, [kept, gone], 1)
    replace(lake, [kept, new], 2)
    assert ids(lake) == [1, 3]
    log = (Path(lake.uri(NAME)) / "_delta_log" / f"{lake.version(NAME):020d}.json").read_text()
    actions = [json.loads(line) for line in log.splitlines()]
    assert [a["add"]["path"] for a in actions if "add" in a] == [new.path]
    assert [a["remove"]["path"] for a in actions if "remove" in a] == [gone.path]


def test_replace_touches_its_scope_only(lake: Lake, notes: type[Table]) -> None:
    lake.ensure(notes)
    replace(lake, [put_rows(lake, notes, [1], "a"), put_rows(lake, notes, [2], "b")])
    replace(lake, [put_rows(lake, notes, [3], "b")], 2, kind="b")
    assert ids(lake) == [1, 3]
    replace(lake, [], 3, kind="a")
    assert ids(lake) == [3]


def test_earlier_versions_stay_readable(lake: Lake, notes: type[Table]) -> None:
    lake.ensure(notes)
    first = replace(lake, [put_rows(lake, notes, [1])])
    replace(lake, [put_rows(lake, notes, [2])], 2)
    assert (ids(lake, version=first), ids(lake)) == ([1], [2])


def test_the_files_of_the_version_that_is_current_are_known(
    lake: Lake, notes: type[Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.ensure(notes)
    first = replace(lake, [put_rows(lake, notes, [1])])
    second = replace(lake, [put_rows(lake, notes, [2])], 2)
    assert lake.files(NAME, first) != lake.files(NAME)
    monkeypatch.setattr(lakes, "DeltaTable", None)  # nothing is opened
    assert lake.files(NAME, second) == lake.files(NAME)


def test_scan_of_chosen_files(lake: Lake, notes: type[Table]) -> None:
    lake.ensure(notes)
    replace(lake, [put_rows(lake, notes, [1], "a"), put_rows(lake, notes, [2, 3], "b")])
    files = {f.partition["kind"]: f for f in lake.files(NAME)}
    assert (files["a"].rows, files["b"].rows) == (1, 2)
    assert ids(lake, files=[files["b"]]) == [2, 3]
    assert lake.scan(NAME, []).collect().schema == tables.schema(notes)


@pytest.mark.parametrize("value", ["plain", "with space", "per%20cent", "a=b", "é", "x:y"])
def test_partition_values_come_back_as_written(lake: Lake, notes: type[Table], value: str) -> None:
    lake.ensure(notes)
    replace(lake, [put_rows(lake, notes, [1], value)])
    assert lake.scan(NAME).collect()["kind"].to_list() == [value]
    assert lake.files(NAME)[0].partition == {"kind": value}
    assert DeltaTable(lake.uri(NAME)).to_pyarrow_table().num_rows == 1
    replace(lake, [], 2, kind=value)
    assert ids(lake) == []


def test_partition_constants_have_the_type_of_their_column(lake: Lake, registries: None) -> None:
    class Dated(Table, table="gold.t_dated", per="person_id", partition_by=("as_of",)):
        """One row per person and date."""

        person_id = String()
        as_of = Date()

    lake.ensure(Dated)
    row = pl.DataFrame({"person_id": ["p"], "as_of": [date(2024, 1, 2)]})
    add = lake.write_file("gold.t_dated", row, {"as_of": "2024-01-02", "bucket": "3"})
    lake.replace("gold.t_dated", [add], scope={"as_of": "2024-01-02"}, app="n", app_version=1)
    assert lake.scan("gold.t_dated").collect().equals(row)
    assert lake.files("gold.t_dated")[0].partition == {"as_of": "2024-01-02", "bucket": "3"}
    assert lake.scan("gold.t_dated").filter(pl.col("as_of") > date(2024, 1, 2)).collect().is_empty()


def test_missing_table(lake: Lake, notes: type[Table]) -> None:
    assert lake.files(NAME) == []
    assert lake.transaction(NAME, "x") is None
    with pytest.raises(TableMissing, match=f"--to {NAME}"):
        lake.scan(NAME)
    with pytest.raises(TableMissing):
        lake.version(NAME)


# ---- batches and transactions --------------------------------------------------------------------------------


def test_a_batch_is_appended_once_and_in_order(lake: Lake, notes: type[Table]) -> None:
    lake.ensure(notes)
    lake.append_batch(NAME, [put_rows(lake, notes, [1])], source="shop", seq=2)
    for seq in (1, 2):
        with pytest.raises(StaleBatch, match=f"batch {seq} of shop is not above the stored 2"):
            lake.append_batch(NAME, [put_rows(lake, notes, [9])], source="shop", seq=seq)
    lake.append_batch(NAME, [put_rows(lake, notes, [2])], source="till", seq=1)
    lake.append_batch(NAME, [put_rows(lake, notes, [3])], source="shop", seq=3)
    assert ids(lake) == [1, 2, 3]
    assert (lake.transaction(NAME, "batch:shop"), lake.transaction(NAME, "batch:till")) == (3, 1)


def test_the_last_transaction_counts_even_if_its_number_is_smaller(lake: Lake, notes: type[Table]) -> None:
    lake.ensure(notes)
    replace(lake, [], 900)
    replace(lake, [], 5)
    assert lake.transaction(NAME, "node:x") == 5


def test_what_the_newest_commit_tells_is_not_asked_of_the_log(
    lake: Lake, notes: type[Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.ensure(notes)
    lake.append_batch(NAME, [put_rows(lake, notes, [1])], source="shop", seq=4, facts={"rows": 1})
    lake.append_batch(NAME, [put_rows(lake, notes, [2])], source="till", seq=7, facts={"rows": 2})
    _of_thread.__dict__.pop("known")  # as a process that begins
    asked: list[str] = []
    version, history = DeltaTable.transaction_version, DeltaTable.history
    monkeypatch.setattr(DeltaTable, "transaction_version", lambda dt, app: asked.append(app) or version(dt, app))
    monkeypatch.setattr(DeltaTable, "history", lambda dt, limit: asked.append("history") or history(dt, limit))
    assert (lake.transaction(NAME, "batch:till"), lake.last_facts(NAME, "batch:till")) == (7, {"rows": 2})
    assert asked == []
    assert (lake.transaction(NAME, "batch:shop"), lake.last_facts(NAME, "batch:shop")) == (4, {"rows": 1})
    assert asked == ["batch:shop", "history"]


def test_a_commit_whose_file_was_cleaned_away_tells_nothing(lake: Lake, notes: type[Table]) -> None:
    lake.ensure(notes)
    assert told_by(lake.uri(NAME), 99) == ({}, {})


def test_history_holds_the_facts_of_each_commit(lake: Lake, notes: type[Table]) -> None:
    lake.ensure(notes)
    lake.append_batch(NAME, [put_rows(lake, notes, [1])], source="shop", seq=1, facts={"rows": 1})
    lake.append_batch(NAME, [put_rows(lake, notes, [2])], source="till", seq=1, facts={"rows": 7})
    assert [c.get("customer360.app") for c in lake.history(NAME, 2)] == ["batch:till", "batch:shop"]
    assert ledger.last_facts(lake, NAME, "batch:shop") == {"rows": 1}
    assert ledger.last_facts(lake, NAME, "batch:none") == {}
    assert ledger.last_facts(lake, "silver.none", "batch:none") == {}
    lake.append_batch(NAME, [put_rows(lake, notes, [3])], source="shop", seq=2, facts={"rows": 9})
    assert ledger.last_facts(lake, NAME, "batch:shop") == {"rows": 9}


def test_nothing_is_committed_where_nothing_differs_if_that_is_asked(lake: Lake, notes: type[Table]) -> None:
    lake.ensure(notes)
    rows = put_rows(lake, notes, [1])
    before = lake.replace(NAME, [rows], scope={}, app="node:x", app_version=1)
    assert lake.replace(NAME, [rows], scope={}, app="node:x", app_version=2, unless_equal=True) == before
    assert lake.replace(NAME, [rows], scope={}, app="node:x", app_version=2) == before + 1
    assert lake.replace(NAME, [], scope={}, app="node:x", app_version=3, unless_equal=True) == before + 2


def test_observers_are_told_before_and_after_a_commit(lake: Lake, notes: type[Table]) -> None:
    seen: list[str] = []
    lakes.observers.append(seen.append)
    lake.ensure(notes)
    replace(lake, [])
    assert seen == [f"before commit {NAME}", f"after commit {NAME}"]


# ---- schema --------------------------------------------------------------------------------------------------


def redeclared(**columns: Any) -> type[Table]:
    tables.TABLES.pop(NAME, None)
    return type(Table)(
        "Notes", (Table,), {"__doc__": "One row per note.", "__module__": __name__, **columns}, table=NAME
    )


def test_a_table_gains_columns(lake: Lake, registries: None) -> None:
    old = redeclared(id=Integer())
    lake.ensure(old)
    add = lake.write_file(NAME, pl.DataFrame({"id": [1]}), {})
    lake.append_batch(NAME, [add], source="s", seq=1)
    new = redeclared(id=Integer(), more=String(nullable=True), paid=Money(nullable=True))
    lake.ensure(new)
    rows = pl.DataFrame([{"id": 2, "more": "x", "paid": Decimal("1.00")}], schema=tables.schema(new))
    lake.append_batch(NAME, [lake.write_file(NAME, rows, {})], source="s", seq=2)
    assert lake.scan(NAME).sort("id").collect().rows() == [(1, None, None), (2, "x", Decimal("1.00"))]
    assert DeltaTable(lake.uri(NAME)).to_pyarrow_table().num_rows == 2


def test_a_column_that_the_contract_lost_is_no_longer_read(lake: Lake, registries: None) -> None:
    lake.ensure(redeclared(id=Integer(), gone=String(nullable=True)))
    add = lake.write_file(NAME, pl.DataFrame({"id": [1], "gone": ["x"]}), {})
    lake.append_batch(NAME, [add], source="s", seq=1)
    lake.ensure(redeclared(id=Integer()))
    assert lake.scan(NAME).collect().to_dicts() == [{"id": 1}]


def test_a_changed_type_is_refused_and_named(lake: Lake, registries: None) -> None:
    lake.ensure(redeclared(id=Integer(), n=Integer(nullable=True)))
    with pytest.raises(ContractError, match=r"stored type differs for \['n'\].*--full-refresh"):
        lake.ensure(redeclared(id=Integer(), n=String(nullable=True)))


def test_other_partitions_are_refused_and_rebuilt_on_request(lake: Lake, registries: None) -> None:
    lake.ensure(redeclared(id=Integer(), kind=String()))
    tables.TABLES.pop(NAME)
    parted = type(Table)(
        "Notes",
        (Table,),
        {"__doc__": "One row.", "__module__": __name__, "id": Integer(), "kind": String()},
        table=NAME,
        partition_by=("kind",),
    )
    with pytest.raises(ContractError, match=r"stored by \[\], its contract says \['kind'\]"):
        lake.ensure(parted)
    lake.ensure(parted, rebuild=True)
    replace(lake, [lake.write_file(NAME, pl.DataFrame({"id": [1], "kind": ["k"]}), {"kind": "k"})])
    assert lake.scan(NAME).collect().rows() == [(1, "k")]


def test_rebuild_leaves_a_table_alone_that_needs_none(lake: Lake, notes: type[Table]) -> None:
    lake.ensure(notes)
    replace(lake, [put_rows(lake, notes, [1])])
    lake.ensure(notes, rebuild=True)
    assert ids(lake) == [1]


def test_a_file_of_a_partition_that_the_table_lacks_is_refused(lake: Lake, notes: type[Table]) -> None:
    for partition in ({}, {"kind": "a", "id": "1"}):
        with pytest.raises(ContractError, match=r"partitioned by \['kind'\]"):
            lake.write_file(NAME, rows_of(notes, [1]), partition)


def test_ensure_twice_changes_nothing(lake: Lake, notes: type[Table]) -> None:
    lake.ensure(notes)
    lake.ensure(notes)
    assert lake.version(NAME) == 0
    assert lake.buckets_of(NAME) == 4
    assert Lake(lake.root, {}, 9).buckets_of(NAME) == 4


# ---- upkeep --------------------------------------------------------------------------------------------------


def test_rewrite_changes_only_files_that_differ(lake: Lake, notes: type[Table]) -> None:
    lake.ensure(notes)
    adds = [
        put_rows(lake, notes, [1, 2], "a"),
        put_rows(lake, notes, [3], "a"),
        put_rows(lake, notes, [4, 5], "b"),
        put_rows(lake, notes, [6, 7], "b"),
    ]
    replace(lake, adds)
    untouched = {adds[1].path}

    def change(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.filter(~pl.col("id").is_in([2, 4, 5])).with_columns(
            mail=pl.when(pl.col("id") == 7).then(None).otherwise("mail")
        )

    assert lake.rewrite(NAME, change, reason="erasure") == 4
    assert ids(lake) == [1, 3, 6, 7]
    assert lake.scan(NAME).filter(pl.col("mail").is_null()).collect()["id"].to_list() == [7]
    assert untouched <= {f.path for f in lake.files(NAME)}
    assert lake.scan(NAME).sort("id").collect()["kind"].to_list() == ["a", "a", "b", "b"]
    before = lake.version(NAME)
    assert lake.rewrite(NAME, change, reason="erasure") == 0
    assert lake.version(NAME) == before


def test_rewrite_does_not_lose_files_that_become_equal(lake: Lake, notes: type[Table]) -> None:
    lake.ensure(notes)
    replace(lake, [put_rows(lake, notes, [1, 9]), put_rows(lake, notes, [1, 8]), put_rows(lake, notes, [1])])
    lake.rewrite(NAME, lambda f: f.filter(pl.col("id") < 5), reason="x")
    assert ids(lake) == [1, 1, 1]


# ---- object store --------------------------------------------------------------------------------------------


@pytest.fixture
def s3_lake() -> Iterator[Lake]:
    """A lake in moto's S3, served by a process of its own: deltalake holds the interpreter while it waits."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    endpoint = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        make_bucket(f"{endpoint}/lake")
        options = {
            "aws_endpoint_url": endpoint, "aws_access_key_id": "test", "aws_secret_access_key": "test", "aws_region": "us-east-1",  # noqa: E501
            "aws_allow_http": "true", "aws_virtual_hosted_style_request": "false", "aws_conditional_put": "etag",
        }  # fmt: skip
        yield Lake("s3://lake/house", options, 4)
    finally:
        server.kill()
        server.wait()


def make_bucket(address: str) -> None:
    for _ in range(100):
        try:
            urllib.request.urlopen(urllib.request.Request(address, method="PUT"), timeout=5).close()
            return
        except OSError:
            time.sleep(0.2)
    raise AssertionError(f"no S3 at {address}")


@pytest.mark.slow
def test_object_store_lake_keeps_the_same_rules(s3_lake: Lake, notes: type[Table]) -> None:
    lake = s3_lake
    assert not lake.exists(NAME)
    lake.ensure(notes)
    rows = rows_of(notes, range(3), "with space", paid=Decimal("1.10"), at=T0)
    lake.append_batch(NAME, [lake.write_file(NAME, rows, {"kind": "with space"})], source="shop", seq=1)
    assert lake.scan(NAME).collect().equals(rows)
    with pytest.raises(StaleBatch):
        lake.append_batch(NAME, [], source="shop", seq=1)
    replace(lake, [put_rows(lake, notes, [7])], kind="a")
    assert ids(lake) == [0, 1, 2, 7]
    assert lake.rewrite(NAME, lambda f: f.filter(pl.col("id") != 7), reason="x") == 1
    assert ids(lake) == [0, 1, 2]
    assert lake.put("_x/once", b"1", create=True) and not lake.put("_x/once", b"2", create=True)
    assert (lake.get("_x/once"), lake.get("_x/none"), lake.objects("_x")) == (b"1", None, ["_x/once"])
    with lake.run_lock("first"), pytest.raises(LakeLocked, match="first"), lake.run_lock("second"):
        pass
    assert lake.get("_lock") is None
    lake.delete(["_x/once"])
    assert lake.objects("_x") == []
    with pytest.raises(TableMissing):
        lake.version("silver.t_none")


def as_seen(lake: Lake) -> tuple[object, ...]:
    """What a lake says of a table: files, transactions, facts."""
    apps = ("node", "batch", "mark")
    return (
        lake.files(NAME),
        [lake.transaction(NAME, app) for app in apps],
        [lake.last_facts(NAME, app) for app in apps],
    )


def elsewhere(work: Callable[[], Any]) -> Any:
    """As another process would: by a thread that has opened nothing."""
    with ThreadPoolExecutor(1) as other:
        return other.submit(work).result()


def test_what_is_known_of_a_table_after_commits_is_what_its_log_says(lake: Lake, notes: type[Table]) -> None:
    lake.ensure(notes)
    for number in range(1, 4):
        as_seen(lake)
        added = [put_rows(lake, notes, [number], kind=str(number))]
        gone = lake.files(NAME)[:1] if number == 3 else []
        lake.commit(NAME, added, gone, app="node", app_version=number, facts={"rows": number}, marks={"mark": 9})
        assert as_seen(lake) == elsewhere(lambda: as_seen(lake))
    before = lake.state(NAME)
    add = put_rows(lake, notes, [9])
    elsewhere(lambda: lake.commit(NAME, [add], app="batch", app_version=7, facts={"rows": 1}))
    assert lake.state(NAME) != before
    assert ids(lake) == [2, 3, 9]
    assert as_seen(lake) == elsewhere(lambda: as_seen(lake))


def test_a_commit_beside_which_another_was_made_is_looked_up(lake: Lake, notes: type[Table]) -> None:
    lake.ensure(notes)
    as_seen(lake)
    mine, other = put_rows(lake, notes, [1]), put_rows(lake, notes, [2], kind="b")

    def between(point: str) -> None:
        if point == f"before commit {NAME}":
            lakes.observers.remove(between)
            elsewhere(lambda: lake.commit(NAME, [other], app="batch", app_version=1))

    lakes.observers.append(between)
    lake.commit(NAME, [mine], app="node", app_version=1)
    assert as_seen(lake) == elsewhere(lambda: as_seen(lake))
    assert ids(lake) == [1, 2]


def test_a_table_that_was_restored_is_read_anew(lake: Lake, notes: type[Table], tmp_path: Path) -> None:
    lake.ensure(notes)
    shutil.copytree(lake.uri(NAME), tmp_path / "kept")
    lake.commit(NAME, [put_rows(lake, notes, [1])], app="node", app_version=1)
    as_seen(lake)
    before = lake.state(NAME)
    shutil.rmtree(lake.uri(NAME))
    shutil.copytree(tmp_path / "kept", lake.uri(NAME))
    elsewhere(lambda: lake.commit(NAME, [put_rows(lake, notes, [2])], app="batch", app_version=1))
    assert lake.state(NAME) != before
    assert as_seen(lake) == elsewhere(lambda: as_seen(lake))
    assert ids(lake) == [2]


@pytest.mark.parametrize("path", ["a/b=1/c.json", "a/with space.json", "a/ä%20.json", "a/b#1.json"])
def test_objects_come_back_under_their_own_names(lake: Lake, path: str) -> None:
    assert lake.get(path) is None
    assert lake.put(path, b"one")
    assert lake.put(path, b"two")
    assert lake.get(path) == b"two"
    assert lake.objects("a") == [path]
    assert lake.get("a") is None
    lake.delete([path])
    assert lake.objects("a") == []
