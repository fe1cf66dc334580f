"""The editions of a dated table: which is current, and how one is withdrawn."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import polars as pl
import pytest

from customer360.platform.errors import LakeError
from customer360.platform.lake import File, Lake, editions
from customer360.platform.lake.editions import Edition, current_edition, scan_current
from customer360.platform.tables import Date, Integer, Table

OLD, NEW, FAR = date(2025, 12, 31), date(2026, 1, 1), date(2099, 1, 1)


def file(path: str, as_of: date, **partition: str) -> File:
    return File(path, 1, 1, {"as_of": str(as_of), **partition})


def test_files_by_date_and_the_latest_where_no_run_said_which(lake: Lake) -> None:
    files = [file("b", NEW, model="x"), file("a", OLD), file("c", NEW, model="y")]
    assert editions.editions(files) == {OLD: [files[1]], NEW: [files[0], files[2]]}
    assert current_edition(lake, "gold.t_scores", files) == Edition(NEW, [files[0], files[2]])
    assert current_edition(lake, "gold.t_scores", []) is None


@pytest.fixture
def scores(lake: Lake, registries: None) -> Callable[[date, int], None]:
    class Scores(Table, table="gold.t_scores", partition_by=("as_of",)):
        """One row per date."""

        as_of = Date()
        score = Integer()

    lake.ensure(Scores)

    def run(as_of: date, score: int) -> None:
        add = lake.write_file("gold.t_scores", pl.DataFrame({"score": [score]}), {"as_of": str(as_of)})
        marks = editions.mark("gold.t_scores", as_of)
        scope = {"as_of": str(as_of)}
        lake.replace("gold.t_scores", [add], scope=scope, app="node:gold.t_scores", app_version=7, marks=marks)

    return run


def test_the_newest_run_says_which_edition_is_current(lake: Lake, scores: Callable[[date, int], None]) -> None:
    assert scan_current(lake, "gold.t_scores").collect().is_empty()
    scores(FAR, 1)
    scores(OLD, 2)
    assert scan_current(lake, "gold.t_scores").collect().rows() == [(OLD, 2)]
    scores(NEW, 3)
    assert scan_current(lake, "gold.t_scores").collect().rows() == [(NEW, 3)]


def test_an_edition_can_be_withdrawn(lake: Lake, scores: Callable[[date, int], None]) -> None:
    for number, day in enumerate((OLD, FAR, NEW)):
        scores(day, number)
    assert editions.withdraw(lake, FAR, ["gold.t_scores"]) == {"gold.t_scores": 1}
    assert list(editions.stored(lake)) == [OLD, NEW]
    assert lake.transaction("gold.t_scores", "node:gold.t_scores") == 7, "what the newest run made is current"
    with pytest.raises(LakeError, match="no edition of 2099-01-01; there are: 2025-12-31, 2026-01-01"):
        editions.withdraw(lake, FAR, ["gold.t_scores"])
    editions.withdraw(lake, NEW, ["gold.t_scores"])
    assert scan_current(lake, "gold.t_scores").collect().rows() == [(OLD, 0)]
    assert lake.transaction("gold.t_scores", "node:gold.t_scores") == 0, "the next run builds it again"
