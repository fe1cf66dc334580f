"""What a run leaves for the next about the tables that it opened, so that those of which nobody has changed anything
need not be opened again: to read 250 logs takes a fifth of a run with nothing new.

One object, ``_tables.json``. Of each table it holds the version and the stamp of the commit that made it: what is said
holds while the newest commit is that very file, which is asked each time. Nothing is lost without it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from customer360.platform.lake.opened import File, Opened, Stamp, known_below, offer
from customer360.platform.lake.store import Store

OBJECT = "_tables.json"
MOST = 2000  # files of a table: more take as long to read here as in its log
FORM = 1  # of the object: another one is not read


def recall(lake: Store) -> None:
    """Let this thread know what the last run left of a lake in a folder. A lake in an object store has copies of its
    logs (`mirror`)."""
    if lake.is_remote:
        return
    data = lake.get(OBJECT)
    offer(_read(lake.root, data) if data is not None else {})


def leave(lake: Store) -> None:
    """Leave to the next run what this thread knows of a lake's tables."""
    if lake.is_remote:
        return
    held = known_below(lake.root)
    told = {uri.removeprefix(lake.root + "/"): _told(each) for uri, each in sorted(held.items())}
    data = json.dumps({"form": FORM, "tables": told}, separators=(",", ":")).encode()
    if data != lake.get(OBJECT):
        lake.put(OBJECT, data)


def _read(root: str, data: bytes) -> dict[str, Opened]:
    """The tables of the object, by address; none of one that is damaged or of another form, in whatever part."""
    try:
        raw = json.loads(data)
        held = raw["tables"] if raw["form"] == FORM else {}
        return {f"{root}/{place}": _opened(f"{root}/{place}", told) for place, told in held.items()}
    except (ValueError, LookupError, TypeError, AttributeError):
        return {}


def _told(held: Opened) -> dict[str, Any]:
    files = held.listed if held.listed is not None and len(held.listed) <= MOST else None
    keys = list(files[0].partition) if files else []
    return {
        "version": held.version,
        "stamp": held.stamp,
        "cut": keys,
        "files": files and [[f.path, f.rows, f.size, *(f.partition[k] for k in keys)] for f in files],
        "transactions": dict(sorted(held.transactions.items())),
        "facts": dict(sorted(held.facts.items())),
        "fits": sorted(held.fits),
    }


def _opened(uri: str, told: Mapping[str, Any]) -> Opened:
    stamp: Stamp = tuple(told["stamp"])
    files = None if told["files"] is None else _files(told["files"], told["cut"])
    return Opened(
        told["version"], stamp, files, told["transactions"], told["facts"], set(told["fits"]), uri, is_asked=True
    )


def _files(rows: Iterable[list[Any]], keys: list[str]) -> list[File]:
    return [File(path, count, size, dict(zip(keys, values, strict=True))) for path, count, size, *values in rows]
