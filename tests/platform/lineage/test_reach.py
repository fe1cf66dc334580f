"""How far a delivery reached."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from customer360.platform.errors import SourceError
from customer360.platform.lineage import reach
from customer360.platform.run import rereading

SOURCES = ("sales",)


def test_a_file_reaches_rows_people_and_what_is_made_of_all(filled: Any) -> None:
    found = reach.reach_of(filled.lake, reach.find(filled.lake, SOURCES, "1.csv"))
    assert [(d.batch, d.file, d.state, d.others) for d in found.delivered] == [("sales/1", "sales/1.csv", "landed", 0)]
    assert found.landed == {"bronze.t_sales": 3}
    assert found.refused == {"quarantined rows": 1}
    assert {s.table: s.rows.height for s in found.tables} == {
        "bronze.t_sales": 3, "silver.t_sales": 2, "silver.t_days": 2, "gold.t_bounds": 0, "gold.t_people": 2,
    }  # fmt: skip
    assert found.persons == 2
    assert reach.remedies(found)[0] == (
        "customer360 batch drop sales 1",
        "its rows leave bronze; the next run reads it again",
    )


def test_a_batch_is_named_by_source_and_number(filled: Any) -> None:
    found = reach.reach_of(filled.lake, reach.find(filled.lake, SOURCES, "sales/2"))
    assert found.landed == {"bronze.t_sales": 2}
    assert found.persons == 1, "s3 is nobody's"


def test_a_version_committed_before_holds_nothing_of_it(filled: Any) -> None:
    (late,) = reach.find(filled.lake, SOURCES, "sales/2")
    newest = filled.lake.version("gold.t_people")
    assert reach.made_since(filled.lake, {"gold.t_people": newest}, late.landed_at) == ["gold.t_people"]
    assert reach.made_since(filled.lake, {"gold.t_people": 1}, late.landed_at) == []
    assert reach.made_since(filled.lake, {"gold.t_people": newest}, late.landed_at + timedelta(hours=1)) == []


def test_a_batch_that_was_dropped_says_so(filled: Any) -> None:
    with filled.lake.run_lock("test"):
        rereading.drop(filled.lake, filled.settings, "sales", 1, ignore=True)
    found = reach.reach_of(filled.lake, reach.find(filled.lake, SOURCES, "sales/1"))
    assert found.landed == {}
    assert "dropped already" in reach.remedies(found)[0][1]


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("3.csv", "no source ever landed a file '3.csv', and it is no SOURCE/BATCH; did you mean"),
        ("sales/7", "sales has no batch 7"),
    ],
)
def test_what_never_came_is_said(filled: Any, what: str, said: str) -> None:
    with pytest.raises(SourceError, match=said):
        reach.find(filled.lake, SOURCES, what)


def test_a_batch_of_many_files_is_one_join(filled: Any) -> None:
    from datetime import UTC, datetime

    at = datetime(2026, 1, 1, tzinfo=UTC)
    others = [reach.Delivered("sales", 1, f"sales/no {n}.csv", at, "landed", 2_000) for n in range(2_000)]
    (known,) = reach.find(filled.lake, ["sales"], "sales/1")
    rows = reach._of([*others, known], filled.lake.scan("bronze.t_sales"), "_source", "_seq", "_file")
    assert rows.collect().height == 3 and rows.explain().count("no 1999") == 0
