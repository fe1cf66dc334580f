"""What it costs to bring tables forward: nothing is found twice, and each table is told its own time."""

from __future__ import annotations

import time
from typing import Any

import pytest

from customer360.platform.run import following
from customer360.platform.run.incremental import advance, appended, keys


def first(shop: Any) -> None:
    shop.deliver("links", "a0,p0,1", "a1,p1,1")
    shop.deliver("sales", "s0,a0,2,1", "s1,a1,3,1")
    shop.deliver("lines", "l0,s0,a", "l1,s1,b")
    shop.run()


def test_what_changed_of_an_input_is_found_once_for_all_that_follow_it(
    shop: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first(shop)
    asked, plain, compared = [], advance.follow_units, following._changed

    def twice(*args: Any) -> list[Any]:
        asked.append(len(plain(*args)))
        return plain(*args)

    found: list[str] = []
    monkeypatch.setattr(advance, "follow_units", twice)
    monkeypatch.setattr(following, "_changed", lambda *a: (found.append(a[2].table), compared(*a))[1])
    shop.deliver("links", "a0,p7,2")
    shop.deliver("sales", "s0,a0,3,2")
    shop.run()
    assert asked and sorted(found) == sorted(set(found)), "compared again, though nothing but the node differs"
    assert "silver.t_links" in found


def test_the_seconds_of_a_table_that_advances_are_its_own(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sales and lines are of one stage; lines take long."""
    first(shop)
    plain = appended.AppendUnit._current

    def slow(unit: appended.AppendUnit, *args: Any) -> Any:
        until = time.process_time() + 0.3
        while unit.node.name == "silver.t_lines" and time.process_time() < until:
            pass
        return plain(unit, *args)

    monkeypatch.setattr(appended.AppendUnit, "_current", slow)
    shop.deliver("sales", "s8,a0,4,1")
    shop.deliver("lines", "l7,s0,")
    nodes = shop.run()
    assert all("rows_new" in nodes[name].facts for name in ("silver.t_sales", "silver.t_lines"))
    assert nodes["silver.t_sales"].seconds < 0.3 <= nodes["silver.t_lines"].seconds


def test_a_first_batch_hashes_no_key_that_a_whole_build_read(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed, plain = list[str](), keys._made
    monkeypatch.setattr(keys, "_made", lambda *a: (hashed.extend(f.path for f in a[4]), plain(*a))[1])
    first(shop)
    whole = {f.path for name in ("bronze.t_sales", "bronze.t_lines") for f in shop.lake.files(name)}
    assert whole <= set(hashed), "the directories are made at the end of the run"
    hashed.clear()
    shop.deliver("sales", "s0,a0,3,2")
    shop.deliver("lines", "l0,s0,x")
    nodes = shop.run()
    assert all("rows_new" in nodes[name].facts for name in ("silver.t_sales", "silver.t_lines"))
    assert not whole.intersection(hashed)


def test_a_directory_that_cannot_be_made_fails_no_run(
    shop: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> Any:
        raise OSError("no place")

    with monkeypatch.context() as patched:
        patched.setattr(keys, "_made", broken)
        first(shop)
    assert "are hashed by the next batch" in caplog.text
    shop.deliver("sales", "s0,a0,3,2")
    assert "rows_new" in shop.run()["silver.t_sales"].facts
