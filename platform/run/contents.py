"""What an input holds, as far as a node reads it: by this the node knows whether it is current.

Files are named by what was written, so another value in a column that nobody reads would make its readers anew. Of a
small table of which a node reads some columns, what stands in these is compared instead: a table that counts how often
each name was met is another one after every batch, and what the names mean is not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from customer360.platform import tables
from customer360.platform.graph import Node
from customer360.platform.lake import File, Lake
from customer360.platform.lake.folds import written

SMALL = 64 * 1024  # bytes of a table, up to which its rows are looked at
KEPT = 256  # contents that a process keeps: a resident one looks at no file twice

_Key = tuple[str, str, tuple[str, ...], tuple[str, ...]]
_contents: dict[_Key, list[str]] = {}


def held(lake: Lake, node: Node, name: str, files: Sequence[File]) -> list[str]:
    """What of an input decides the rows of a node: the paths of its files, or a digest of the columns that are read of
    it, in the order of the rows."""
    columns = _some_columns(node, name)
    if not columns or not files or sum(f.size for f in files) > SMALL:
        return written(lake, name, files)
    key = (lake.root, name, tuple(f.path for f in files), columns)
    if key not in _contents:
        while len(_contents) >= KEPT:
            del _contents[next(iter(_contents))]
        _contents[key] = [_digest(lake, name, files, columns)]
    return _contents[key]


def _some_columns(node: Node, name: str) -> tuple[str, ...]:
    """The columns that are read of an input, where rows of it have no subject and nothing else is asked of its files;
    empty where it must be known by its files."""
    table = tables.by_name(name)
    if node.is_producer or node.records or node.follows or name in node.judged:
        return ()
    if tables.spec(table).bucketed or tables.spec(table).layer == "bronze" or node.per in table.columns():
        return ()
    columns = (node.reads or {}).get(name, ())
    return () if set(columns) == set(table.columns()) else columns


def _digest(lake: Lake, name: str, files: Sequence[File], columns: Sequence[str]) -> str:
    rows = lake.scan(name, list(files)).select(columns).collect()
    told = [[(column, str(kind)) for column, kind in rows.schema.items()], rows.rows()]
    return hashlib.sha256(json.dumps(told, default=str).encode()).hexdigest()
