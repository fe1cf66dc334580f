"""Work on several parts at once. Polars, DuckDB and numpy let go of the interpreter, so threads use as many cores; most
steps on texts are one expression over one column, which Polars alone runs on one core."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import polars as pl

from customer360.models.identity.spill import current

Part = TypeVar("Part")
Made = TypeVar("Made")
_WORTH = 20_000  # rows that a thread is started for
_MOST = 250_000  # rows of which the steps between are held at once


def at_once(work: Callable[[Part], Made], parts: Iterable[Part], threads: int) -> list[Made]:
    """`work` of each part, in their order."""
    if threads == 1:
        return [work(part) for part in parts]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, parts))


def by_rows(work: Callable[[pl.DataFrame], pl.DataFrame], frame: pl.DataFrame, threads: int) -> pl.DataFrame:
    """`work` of the frame, done piece by piece: it must look at each row by itself. On disk where frames go there."""
    size = -(-frame.height // max(1, min(threads, frame.height // _WORTH)))
    spill = current()
    if spill is not None and frame.height:
        pieces = at_once(lambda rows: spill.keep(work(rows)), frame.iter_slices(min(size, _MOST)), threads)
        return spill.keep_columns(pieces)
    made = at_once(work, frame.iter_slices(min(size, _MOST)), threads) if frame.height else [work(frame)]
    columns = []
    for name in made[0].columns:  # one by one, since the pieces and the whole together would be twice the memory
        columns.append(pl.concat([piece[name] for piece in made], rechunk=True))
        made = [piece.drop(name) for piece in made]
    return pl.DataFrame(columns)
