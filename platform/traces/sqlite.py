"""What an SQLite file holds, cell by cell: what is packed in a cell stands in no bytes of the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import polars as pl

MARK = b"SQLite format 3"  # the first bytes of a file
_ROWS = 2_000


def cells(path: Path) -> Iterator[pl.Series]:
    """Texts and bytes of every table, in pieces; also what stands in the write-ahead log beside the file.

    Raises:
        sqlite3.Error: the file is damaged, or nobody may open it.
    """
    with closing(_opened(path)) as store:
        store.text_factory = bytes  # a text may be none
        tables = "SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE 'CREATE VIRTUAL%'"
        for name in [row[0].decode() for row in store.execute(tables).fetchall()]:
            rows = store.execute('SELECT * FROM "{}"'.format(name.replace('"', '""')))
            while some := rows.fetchmany(_ROWS):
                found = [cell for row in some for cell in row if isinstance(cell, bytes)]
                yield pl.Series(found, dtype=pl.Binary)


def _opened(path: Path) -> sqlite3.Connection:
    """Reading changes nothing; where not even the index of the log can be made beside the file, it is read as it
    stands."""
    for mode in ("mode=ro", "immutable=1"):
        store = sqlite3.connect(f"{path.absolute().as_uri()}?{mode}", uri=True)
        try:
            store.execute("SELECT count(*) FROM sqlite_master")
            return store
        except sqlite3.OperationalError:
            store.close()
            if mode == "immutable=1":
                raise
    raise AssertionError("unreachable")
