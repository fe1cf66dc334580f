"""Where published rankers lie."""

from __future__ import annotations

import os
from pathlib import Path

from customer360.serve.publication import rankers


def test_what_nothing_reads_is_swept_and_nothing_else(tmp_path: Path) -> None:
    for folder in ("812", ".77-1", ".78-2"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / rankers.PRODUCTS).touch()
    for file in ("4711.parquet", "notes.parquet", rankers.CURRENT):
        (tmp_path / file).touch()
    os.utime(tmp_path / ".77-1", (0, 0))
    rankers._sweep(tmp_path)
    left = {found.name for found in tmp_path.iterdir()}
    assert left == {"812", ".78-2", "notes.parquet", rankers.CURRENT}, "one half may be written at this moment"


def test_where_no_ranker_was_published_nothing_is_swept(tmp_path: Path) -> None:
    rankers._sweep(tmp_path / "none")
    assert not list(tmp_path.iterdir())
