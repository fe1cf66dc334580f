"""The newest edition of a dated table, by its partitions."""

from __future__ import annotations

from datetime import date
from typing import Any

import polars as pl

from customer360.platform.lake import File, Lake
from customer360.platform.lake.editions import Edition, newest_edition, scan_newest
from customer360.platform.tables import Date, Integer, Table

OLD, NEW = date(2025, 12, 31), date(2026, 1, 1)


def file(path: str, as_of: date, **partition: str) -> File:
    return File(path, 1, 1, {"as_of": str(as_of), **partition})


def test_files_of_the_latest_date_are_the_newest_edition() -> None:
    files = [file("b", NEW, model="x"), file("a", OLD), file("c", NEW, model="y")]
    assert newest_edition(files) == Edition(NEW, [files[0], files[2]])
    assert newest_edition([]) is None


def test_rows_of_the_newest_edition(lake: Lake, registries: None) -> None:
    class Scores(Table, table="gold.t_scores", partition_by=("as_of",)):
        """One row per date."""

        as_of = Date()
        score = Integer()

    assert scan_newest(lake, "gold.t_scores").collect().schema == {"as_of": pl.Date, "score": pl.Int64}

    def written(as_of: date, score: int) -> Any:
        return lake.write_file("gold.t_scores", pl.DataFrame({"score": [score]}), {"as_of": str(as_of)})

    lake.ensure(Scores)
    assert scan_newest(lake, "gold.t_scores").collect().is_empty()
    lake.replace("gold.t_scores", [written(NEW, 2), written(OLD, 1)], scope={}, app="test", app_version=1)
    assert scan_newest(lake, "gold.t_scores").collect().rows() == [(NEW, 2)]
