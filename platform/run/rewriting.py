"""Rows of one source out of a table: what is left of the files that held them."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from customer360.platform.lake import Add, File, Lake
from customer360.platform.quality import ERASED

LETTERS = "quality.dead_letters"
UNMADE = (LETTERS, ERASED)  # what did not become rows of bronze: no metadata, plain names


@dataclass(frozen=True)
class Taken:
    """Files of a table without some rows: those that go, what is left of them, and the number of rows taken."""

    gone: list[File]
    rest: list[Add]
    rows: int


def taken(lake: Lake, table: str, name: str, these: pl.Expr, stem: str) -> Taken:
    """Write what is left of the files of a source without ``these`` rows; nothing is committed yet."""
    partition = "source" if table in UNMADE else "_source"
    gone, rest, rows = [], [], 0
    for number, file in enumerate(f for f in lake.files(table) if f.partition.get(partition) == name):
        held = lake.scan(table, [file]).select(these.sum()).collect().item() or 0
        if not held:
            continue
        rows += held
        gone.append(file)
        if left := file.rows - held:
            frame = lake.scan(table, [file]).filter(~these).collect()
            assert frame.height == left
            rest.append(lake.write_file(table, frame, file.partition, f"{name}-{stem}-{number:05d}"))
    return Taken(gone, rest, rows)
