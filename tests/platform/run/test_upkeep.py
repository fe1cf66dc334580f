"""What a run folds, nobody has to build again; a crash leaves it folded or not; every row is there once."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from customer360.platform import lake as lakes
from customer360.platform.errors import ConfigError
from customer360.platform.lake import Lake, folds
from customer360.platform.run import upkeep
from customer360.platform.run.rereading import drop
from customer360.platform.settings import LakeSettings, TableUpkeep

ORDERS, CLICKS = "bronze.t_orders", "bronze.t_clicks"


def folding(shop: Any, **lake: Any) -> Any:
    """The shop, whose runs fold as soon as two small files are there."""
    chosen = {"fold_files": 2} | lake
    settings = shop.settings
    own = settings.model_copy(update={"lake": settings.lake.model_copy(update=chosen)})
    return replace(shop, settings=own)


def batch(shop: Any, number: int) -> None:
    shop.orders(f"{number}.csv", f"o{number},w{number % 3},{number},1.50,1", f"o1,ann,{number},1.00,{number}", "broken")
    shop.clicks(f"{number}.json", {"CLICK_ID": f"c{number}", "SUBJECT_ID": f"w{number % 3}"})


def batches(shop: Any, count: int) -> dict[str, Any]:
    nodes: dict[str, Any] = {}
    for number in range(2, count + 2):
        batch(shop, number)
        nodes = shop.run()
    return nodes


def test_tables_are_those_of_a_lake_that_folds_nothing(shop: Any, tmp_path: Path) -> None:
    folds_all, folds_none = folding(shop), folding(shop.at(tmp_path / "other"), fold_files=0)
    for each in (folds_all, folds_none):
        batches(each, 6)
    assert folds_all.business() == folds_none.business()
    assert len(folds_none.lake.files(ORDERS)) == 6 and len(folds_all.lake.files(ORDERS)) <= 2
    assert len(folds_all.lake.files("quality.dead_letters")) <= 2


def test_after_a_fold_nothing_is_built_again(shop: Any) -> None:
    shop = folding(shop, fold_files=3)
    nodes = batches(shop, 3)
    assert len(shop.lake.files(ORDERS)) == 1
    assert set(shop.states(shop.run()).values()) == {"current"}
    batch(shop, 9)
    nodes = shop.run()
    assert nodes["silver.t_orders"].facts["rows_new"], "brought forward by the new batch alone"
    assert len(shop.lake.files(ORDERS)) == 2, "one folded, one new: too few"


def test_files_that_some_build_has_not_read_wait(shop: Any) -> None:
    shop = folding(shop)
    batches(shop, 2)
    for number in (7, 8, 9):
        batch(shop, number)
        shop.run(end=ORDERS)
    known = {f.path for f in shop.lake.files(ORDERS)}
    assert len(known) == 4, "three batches that silver has not seen, beside the folded one"
    nodes = shop.run()
    assert nodes["silver.t_orders"].facts["rows_new"]
    assert len(shop.lake.files(ORDERS)) < 4


def test_few_files_are_folded_when_they_are_old(shop: Any) -> None:
    shop = folding(shop, fold_files=8)
    batches(shop, 2)
    now, settings = datetime.now(UTC), shop.settings.lake
    assert upkeep._due(shop.lake, ORDERS, settings, now) == []
    assert [len(g) for g in upkeep._due(shop.lake, ORDERS, settings, now + timedelta(hours=25))] == [2]


def test_a_file_larger_than_the_others_together_is_left(lake: Lake) -> None:
    sizes = {"a": 10, "b": 11, "c": 12, "d": 500}
    files = [lakes.File(path, 1, size, {}) for path, size in sizes.items()]
    assert [f.path for f in upkeep._without_large(files)] == ["a", "b", "c"]
    assert [[f.path for f in g] for g in upkeep._filled(files[:3], 22)] == [["a", "b"], ["c"]]


def test_a_batch_is_taken_back_out_of_a_folded_file(shop: Any) -> None:
    shop = folding(shop)
    batches(shop, 4)
    with shop.lake.run_lock("test"):
        assert drop(shop.lake, shop.settings, "orders", 2, ignore=True, rules={}) == 2
    shop.run()
    assert "o3" not in {row[0] for row in shop.rows("silver.t_orders")} and "o4" in repr(shop.rows("silver.t_orders"))


def test_a_command_folds_what_a_run_would_leave(shop: Any) -> None:
    shop = folding(shop, fold_files=0)
    batches(shop, 3)
    settings = LakeSettings(root=shop.lake.root)
    assert upkeep.compact(shop.lake, ORDERS, settings, dry_run=True) == upkeep.Folded(ORDERS, 3, 1)
    assert len(shop.lake.files(ORDERS)) == 3, "a dry run folds nothing"
    assert upkeep.compact(shop.lake, ORDERS, settings) == upkeep.Folded(ORDERS, 3, 1)
    assert upkeep.compact(shop.lake, ORDERS, settings) == upkeep.Folded(ORDERS, 1, 1)
    assert set(shop.states(shop.run()).values()) == {"current"}


def test_partitions_and_notes(shop: Any) -> None:
    shop = folding(shop)
    batches(shop, 7)
    known = [p for p in shop.lake.objects("_folds") if CLICKS in p]
    now = shop.lake.files(CLICKS)
    assert len(known) <= 3, "notes that nobody needs are gone"
    assert folds.written(shop.lake, CLICKS, now) == sorted(
        f"_source=clicks/clicks-{seq:08d}-00000.parquet" for seq in range(1, 8)
    )


def test_versions_are_deleted_once_a_day_where_the_settings_say_so(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(upkeep, "vacuum", lambda lake, name, retention: asked.append(name) or upkeep_freed(name))
    batches(folding(shop), 1)
    assert not asked, "unless said, runs delete nothing"
    batches(folding(shop, keep_days=30), 2)
    assert len(asked) == len(set(asked)) > 3, "twice a day is not needed"


def test_a_table_may_have_a_policy_of_its_own(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, timedelta] = {}

    def noted(lake: Lake, name: str, retention: timedelta) -> Any:
        asked[name] = retention
        return upkeep_freed(name)

    monkeypatch.setattr(upkeep, "vacuum", noted)
    own = {"bronze.t_orders": TableUpkeep(fold_files=0, keep_days=7)}
    nodes = batches(folding(shop, fold_files=4, tables=own), 5)
    assert nodes
    assert len(shop.lake.files("bronze.t_orders")) == 5, "it alone is not folded"
    assert len(shop.lake.files("bronze.t_clicks")) < 5
    assert asked == {"bronze.t_orders": timedelta(days=7)}


def test_a_policy_for_no_table_is_refused_before_the_run(shop: Any) -> None:
    settings = folding(shop, tables={"bronze.t_order": TableUpkeep(keep_days=7)})
    with pytest.raises(ConfigError, match=r"there is no table 'bronze\.t_order'; did you mean bronze\.t_orders"):
        batches(settings, 1)


def upkeep_freed(name: str) -> Any:
    from customer360.platform.lake.upkeep import Freed

    return Freed(name, 0, 0)


class Crash(BaseException):
    """The process dies."""


def crash_at(number: int) -> Callable[[str], None]:
    left = [number]

    def observer(point: str) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Crash(point)

    return observer


def test_a_crash_at_any_point_of_folding(shop: Any, tmp_path: Path) -> None:
    origin = folding(shop.at(tmp_path / "origin"), fold_files=0)
    batches(origin, 3)
    clean = origin.business()
    number, crashed = 0, True
    while crashed:
        root = tmp_path / f"crash-{number}"
        shutil.copytree(origin.root, root)
        each = folding(shop.at(root))
        lakes.observers.append(crash_at(number))
        try:
            each.run()
            crashed = False
        except Crash:
            pass
        finally:
            lakes.observers.clear()
        nodes = each.run()
        assert set(each.states(nodes).values()) == {"current"}, f"crash at point {number}"
        assert each.business() == clean and len(each.lake.files(ORDERS)) == 1
        shutil.rmtree(root)
        number += 1
    assert number > 8


@pytest.mark.slow
def test_memory_is_flat_over_many_rounds(shop: Any) -> None:
    shop = folding(shop, fold_files=10)

    def held(first: int, count: int) -> float:
        for number in range(first, first + count):
            batch(shop, number)
            shop.run()
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    before = held(2, 20)
    assert held(22, 40) - before < 40, "megabytes"


def test_a_damaged_file_costs_no_run(shop: Any, caplog: pytest.LogCaptureFixture) -> None:
    shop = folding(shop, fold_files=0)
    batches(shop, 3)
    victim = Path(shop.lake.uri(ORDERS), shop.lake.files(ORDERS)[0].path)
    victim.unlink()
    own = shop.settings.lake.model_copy(update={"fold_files": 2})
    assert [done.table for done in upkeep.tend(shop.lake, own)] == [CLICKS, "quality.dead_letters"]
    assert f"small files of {ORDERS} were not folded" in caplog.text and "customer360 doctor" in caplog.text
