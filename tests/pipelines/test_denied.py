"""What is denied is asked for often and read once, as long as nothing changed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pytest

from customer360.pipelines import denied as denials
from customer360.pipelines.denied import denied
from customer360.platform import purposes, tables
from customer360.platform.lake import Lake
from customer360.platform.run.units import write_output
from customer360.serve.compose import compose

compose()


def refuse(lake: Lake, version: int, *people: str) -> None:
    """As another process would: by a thread that has opened nothing."""
    table = tables.by_name(purposes.DENIALS)
    rows = tables.sample(table, len(people)).with_columns(person_id=pl.Series(people), purpose=pl.lit("PROFILING"))

    def work() -> None:
        files = write_output(lake, table, rows.select(table.column_names()), {})
        lake.replace(purposes.DENIALS, files, scope={}, app="node", app_version=version)

    with ThreadPoolExecutor(1) as other:
        other.submit(work).result()


def test_what_another_process_writes_is_heeded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lake, reads = Lake(str(tmp_path / "lake")), []
    monkeypatch.setattr(denials, "_denied", lambda *asked, real=denials._denied: reads.append(1) or real(*asked))
    assert denied(lake).is_empty()
    lake.ensure(tables.by_name(purposes.DENIALS))
    refuse(lake, 1, "p1", "p2")
    assert denied(lake)["person_id"].to_list() == ["p1", "p2"]
    seen = len(reads)
    assert denied(lake)["person_id"].to_list() == ["p1", "p2"]
    assert len(reads) == seen
    refuse(lake, 2, "p3")
    assert denied(lake)["person_id"].to_list() == ["p3"]
    assert denied(Lake(str(tmp_path / "other"))).is_empty()
