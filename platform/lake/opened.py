"""Delta tables that this thread has opened: opening one reads its whole log, looking for what is new costs little.

A table is known by the file of its newest commit; one that was made anew under the same path is opened again. Tables in
an object store are opened each time.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deltalake import DeltaTable

Stamp = tuple[int, int, int]


@dataclass
class Opened:
    """A table at its newest version, the stamp of the commit that made it, and what was derived of that version."""

    table: DeltaTable
    stamp: Stamp | None
    derived: dict[str, Any] = field(default_factory=dict)


_of_thread = threading.local()


def opened(uri: str, options: dict[str, str]) -> Opened:
    """The table at its newest version.

    Raises:
        TableNotFoundError: there is none.
    """
    known: dict[str, Opened] = _of_thread.__dict__.setdefault("known", {})
    if "://" in uri:
        return Opened(DeltaTable(uri, storage_options=options or None), None)
    found = known.get(uri)
    if found is None or found.stamp is None or _stamp(uri, found.table.version()) != found.stamp:
        known.pop(uri, None)
        table = DeltaTable(uri, storage_options=options or None)
        found = known[uri] = Opened(table, _stamp(uri, table.version()))
        return found
    before = found.table.version()
    found.table.update_incremental()
    if found.table.version() != before:
        found.stamp, found.derived = _stamp(uri, found.table.version()), {}
    return found


def _stamp(uri: str, version: int) -> Stamp | None:
    """What tells the commit of a version from another one of the same number; None where there is no file of it."""
    try:
        stat = Path(uri, "_delta_log", f"{version:020}.json").stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns, stat.st_size
