"""What SQL says of pairs of records: the conditions of the model, asked of many pairs at once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

import duckdb
import numpy as np
import polars as pl

from customer360.models.identity.weighing.engine import register


def sides(questions: Iterable[str]) -> set[tuple[str, str]]:
    """(column, l or r) of what SQL expressions over pairs read; names without a column among them."""
    return set(re.findall(r"\b(\w+)_([lr])\b", " ".join(questions)))


def answers(
    con: duckdb.DuckDBPyConnection, pairs: pl.DataFrame, frame: pl.DataFrame, questions: Sequence[str]
) -> np.ndarray:
    """int8 (pairs, questions): the answers to SQL expressions over columns of `frame` with the suffixes _l and _r.

    `pairs`: rid_l and rid_r, places in `frame`. Only the columns that are asked for are fetched, by place: a join would
    pass over all records.
    """
    read = (
        pl.col(name).gather(pairs[f"rid_{side}"]).alias(f"{name}_{side}")
        for name, side in sorted(sides(questions))
        if name in frame.columns
    )
    register(con, "candidates", frame.select(read).with_row_index("place"))
    columns = ", ".join(f"({sql})::tinyint as answer{at}" for at, sql in enumerate(questions))
    found = con.sql(f"select place, {columns} from candidates").to_arrow_table()
    con.unregister("candidates")
    return pl.DataFrame(pl.from_arrow(found)).sort("place").drop("place").to_numpy()
