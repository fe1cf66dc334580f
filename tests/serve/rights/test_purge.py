"""After an erasure, the files of before that hold the person go; all others, and the time travel over them, stay."""

from __future__ import annotations

import io
import json
from pathlib import Path

import polars as pl
import pytest

from customer360.platform import privacy, tables
from customer360.platform.backup.trees import FolderTree
from customer360.platform.errors import VersionGone
from customer360.platform.lake import Lake
from customer360.platform.privacy import Identifiers
from customer360.platform.settings import LakeSettings, Settings
from customer360.platform.tables import String, Table, personal
from customer360.serve.rights.purge import _holds_handles, purge, purge_state, sweep

ANN = Identifiers(
    accounts=frozenset({"POS/A1"}),
    texts=frozenset({"ann@x.test"}),
    persons=frozenset({"p_ann_0001"}),
    facts={"bronze.t_visits": frozenset({"POS/V2"})},
)


@pytest.fixture
def visits(lake: Lake, registries: None) -> str:
    """Two files: one of Ann and others, with a visit that is hers by its key alone; one of others."""

    class Visits(Table, table="bronze.t_visits", key=("VISIT_ID",)):
        """One row per visit."""

        VISIT_ID = String()
        CUSTOMER_ID = String(nullable=True, metadata=personal("account"))
        NOTE = String(nullable=True)

    name = tables.spec(Visits).name
    lake.ensure(Visits)
    batches = [
        [("V1", "A1", "tea"), ("V3", "B1", "for ANN@X.TEST")],
        [("V2", None, "tea"), ("V4", "B1", "tea")],
        [("V5", "B1", "milk")],
    ]
    for seq, rows in enumerate(batches, start=1):
        facts = [
            {"VISIT_ID": v, "CUSTOMER_ID": c, "NOTE": n, "_source": "pos", "_source_system": "POS"} for v, c, n in rows
        ]
        frame = pl.DataFrame(facts, schema=tables.schema(Visits))
        lake.append_batch(name, [lake.write_file(name, frame, {"_source": "pos"})], source="pos", seq=seq)
    return name


def test_old_files_that_hold_the_person_go_and_others_stay_readable(lake: Lake, visits: str) -> None:
    newest = lake.version(visits)
    before = {file.path for file in lake.files(visits)}
    privacy.erase_rows(lake, ANN)
    assert lake.files(visits, newest), "until the purge the person can be read by time travel"
    assert purge(lake, ANN) == {visits: 2}
    with pytest.raises(VersionGone):
        lake.files(visits, newest)
    kept = before & set(lake.sizes(visits))
    assert len(kept) == 1, "the file of others alone is as it was"
    assert lake.scan(visits).collect().sort("VISIT_ID")["NOTE"].to_list() == [f"for {privacy.MASK}", "tea", "milk"]
    assert purge(lake, ANN) == {}


def test_old_files_are_told_by_the_whole_handle(registries: None) -> None:
    class Said(Table, table="silver.t_said", key=("ID",)):
        """One row per post."""

        ID = String()
        AUTHOR = String(nullable=True, metadata=personal("handle"))

    def holds(author: str, handle: str) -> bool:
        file = io.BytesIO()
        pl.DataFrame({"ID": ["1"], "AUTHOR": [author]}).write_parquet(file)
        return _holds_handles(Identifiers(handles=frozenset({handle})), Said, file.getvalue())

    told = [
        ("reddit:Ann ", "SHOP/reddit/ann"),
        ("SHOP:ann", "SHOP//ann"),
        ("x: https://x.test/zed/", "S/x/https://x.test/zed/"),
    ]
    others = [("reddit:joann", "SHOP/reddit/ann"), ("x:ann", "SHOP/reddit/ann"), ("SHOP/C1", "SHOP/x/c1"),
              ("x:zed", "S/x/https://x.test/zed/"), ("x:https://x.test/ann", "S/x/https://y.test/ann")]  # fmt: skip
    assert [holds(*each) for each in told + others] == [True] * len(told) + [False] * len(others)


def test_logs_lose_bounds_that_tell_the_person_and_stay_logs(lake: Lake, visits: str) -> None:
    (first, *_) = (p for p in lake.objects("bronze/t_visits/_delta_log") if p.endswith("1.json"))
    lines = [json.loads(line) for line in (lake.get(first) or b"").splitlines()]
    for line in lines:
        if "add" in line:
            stats = {"numRecords": 2, "minValues": {"NOTE": "ann@x.test"}, "maxValues": {"NOTE": "tea"}}
            line["add"]["stats"] = json.dumps(stats)
    lake.put(first, "".join(json.dumps(line) + "\n" for line in lines).encode())
    rows, newest = lake.scan(visits).collect(), lake.version(visits)
    assert purge(lake, ANN) == {visits: 1}
    assert b"ann@x.test" not in (lake.get(first) or b"") and b"numRecords" in (lake.get(first) or b"")
    assert lake.version(visits) == newest and Lake(lake.root).scan(visits).collect().equals(rows)


def test_objects_beside_the_tables_are_cleaned_or_go(lake: Lake, tmp_path: Path) -> None:
    said = json.dumps({"reason": "row of ann@x.test failed", "rows": 3})
    lake.put("_runs/1.json", said.encode())
    lake.put("_runs/2.json", b'{"reason": "row of bob@x.test failed"}')
    lake.put("_staging/1/out-0.parquet", b"ann@x.test")
    lake.put("_rights/requests/00000001.json", b'{"person": "p_ann_0001"}')
    assert purge(lake, ANN) == {"_runs": 1, "_staging": 1, "_rights": 1}
    assert json.loads(lake.get("_runs/1.json") or b"") == {"reason": f"row of {privacy.MASK} failed", "rows": 3}
    assert b"bob@x.test" in (lake.get("_runs/2.json") or b"") and lake.get("_staging/1/out-0.parquet") is None
    for name in ("exports/00000001/everything.csv", "exports/00000002/everything.csv"):
        (tmp_path / "state" / name).parent.mkdir(parents=True)
        (tmp_path / "state" / name).write_text("ann@x.test" if "1/" in name else "bob@x.test")
    assert purge_state(tmp_path / "state", tmp_path / "state/warehouse.duckdb", ANN) == 1
    assert [f.parent.name for f in (tmp_path / "state").rglob("*.csv")] == ["00000002"]


def test_half_of_a_restore_beside_lake_or_state_folder_goes(tmp_path: Path) -> None:
    places = Settings(lake=LakeSettings(root=str(tmp_path / "lake[1]")), state=str(tmp_path / "state"))
    halves = [tmp_path / f"{name}.restoring-20260301T000000Z" for name in ("lake[1]", "state", "another")]
    for half in halves:
        (half / "bronze").mkdir(parents=True)
        (half / "bronze/a.parquet").write_text("ann@x.test")
    assert sweep(places) == 2 and [half.exists() for half in halves] == [False, False, True]


def test_half_of_a_restore_goes_where_the_root_is_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk/lake").mkdir(parents=True)
    (tmp_path / "lake").symlink_to(tmp_path / "disk/lake")
    half = FolderTree(tmp_path / "lake").beside("restoring-20260301T000000Z")
    half.write("bronze/a.txt", [b"ann@x.test"])
    places = Settings(lake=LakeSettings(root=str(tmp_path / "lake")), state=str(tmp_path / "state"))
    assert sweep(places) == 1 and not Path(half.root).exists()


def test_an_export_that_is_a_link_stays_to_name_what_it_leads_to(tmp_path: Path) -> None:
    exports = tmp_path / "state/exports"
    (exports / "00000001").mkdir(parents=True)
    (tmp_path / "mine.csv").write_text("ann@x.test")
    (exports / "00000001/everything.csv").write_text("ann@x.test")
    (exports / "00000001/again.csv").symlink_to("everything.csv")
    (exports / "00000001/outside.csv").symlink_to(tmp_path / "mine.csv")
    assert purge_state(tmp_path / "state", tmp_path / "state/warehouse.duckdb", ANN) == 2
    assert [f.name for f in (exports / "00000001").iterdir()] == ["outside.csv"]
    assert (tmp_path / "mine.csv").read_text() == "ann@x.test", "not ours to delete"
