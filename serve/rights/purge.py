"""What an erasure leaves behind in files that no table needs any more, and takes away here.

A rewritten table keeps the files of its versions before, so that time travel could read the erased person. Those of
them that hold the person, found by looking into each, are deleted: versions that need one cannot be read any more, all
others can. Objects beside the tables that name the person go where they are only kept to save work; where they say what
happened, the values in them are covered.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import polars as pl

from customer360.platform import privacy, tables
from customer360.platform.backup.trees import files_below
from customer360.platform.lake import Lake, mirror, reached
from customer360.platform.lake.objects import sweep_staged
from customer360.platform.privacy import MASK, Identifiers
from customer360.platform.settings import Settings
from customer360.platform.tables import Table
from customer360.platform.traces import Traces
from customer360.platform.traces.search import in_bytes, in_file
from customer360.serve.rights.searching import Searcher
from customer360.serve.rights.stores import Store, halves

# Written again by whoever misses them.
MADE_AGAIN = ("_staging/", "_spool/", "_bound/", "_identity/evidence")
SAYING = ("_runs/", "_landed/", "_batches/", "_reports/", "_replays/", "_rights/", "_schemas/")
_LOG = "/_delta_log/"
EXPORTS = "exports"  # folder of the state folder: what was handed to people who asked


def purge(lake: Lake, who: Identifiers) -> dict[str, int]:
    """Delete or clean every file of a lake that no current version needs and that holds a person. Call it under the
    run lock, when the tables are rewritten. Files that went, or were cleaned, by table or folder."""
    traces = who.traces
    gone: dict[str, int] = {}
    if not lake.is_remote and (half := sweep_staged(lake.root)):
        gone["half written"] = half
    stored = lake.objects("")
    current = {path for name in _tables(stored) for path in _current(lake, name)}
    store = Store("lake", lake.root, tuple(lake.storage_options.items()))
    left = [path for path in stored if path not in current and not path.startswith("_erasures/")]
    clean = Searcher(traces).clean([(store, path, store.size(path) or 0) for path in left])
    for at, path in enumerate(left):
        data = lake.get(path)
        if data is None or not ((at not in clean and in_bytes(traces, data, path)) or _holds_rows(who, path, data)):
            continue
        reached(f"before purge {path}")
        if _taken_away(lake, traces, path, data):
            place = _table_of(path) or path.partition("/")[0]
            gone[place] = gone.get(place, 0) + 1
    return gone


def _tables(stored: list[str]) -> list[str]:
    """Delta tables below the root, as layer.name; also those that no contract declares any more."""
    found = {path.partition(_LOG)[0] for path in stored if _LOG in path}
    return sorted(folder.replace("/", ".", 1) for folder in found if folder.count("/") == 1)


def _table_of(path: str) -> str:
    parts = path.split("/")
    return ".".join(parts[:2]) if len(parts) > 2 and not parts[0].startswith("_") else ""


def _current(lake: Lake, name: str) -> Iterator[str]:
    folder = name.replace(".", "/", 1)
    return (f"{folder}/{file.path}" for file in lake.files(name))


def _holds_rows(who: Identifiers, path: str, data: bytes) -> bool:
    """Whether a file of a table holds rows that are the person's by what no bytes tell."""
    table = tables.TABLES.get(_table_of(path))
    if table is None or _LOG in path or not path.endswith(".parquet"):
        return False
    if privacy.holds_rows_of(table, who, data) or _holds_ids(who, data):
        return True
    return _holds_facts(who, data) or _holds_handles(who, table, data)


def _holds_ids(who: Identifiers, data: bytes) -> bool:
    """Whether rows are the person's by an id that somebody else had before, which is not searched for in all bytes."""
    if not who.shared or not (named := set(tables.SUBJECT_KEYS) & set(pl.read_parquet_schema(io.BytesIO(data)))):
        return False
    rows = pl.read_parquet(io.BytesIO(data), columns=sorted(named))
    return bool(rows.select(pl.any_horizontal(pl.col(sorted(named)).is_in(list(who.shared))).any()).item())


def _holds_facts(who: Identifiers, data: bytes) -> bool:
    """Whether rows have the keys of facts that are the person's, in whatever table: a payment by an unnamed terminal
    says whose card it was by nothing that could be searched for, nor does the clock of a ticket. Of what stays without
    who it was of, such as sales, only rows that could say it."""
    columns = set(pl.read_parquet_schema(io.BytesIO(data)))
    for name, facts in who.facts.items():
        source = tables.spec(tables.by_name(name))
        key = ["source_system", *(c.lower() for c in source.key)]
        says_whose = source.erasure == "delete" or not columns.isdisjoint(tables.SUBJECT_KEYS)
        if facts and says_whose and columns.issuperset(key):
            rows = pl.read_parquet(io.BytesIO(data), columns=key)
            if rows.select(pl.concat_str(key, separator="/").is_in(list(facts)).fill_null(False).any()).item():
                return True
    return False


def _holds_handles(who: Identifiers, table: type[Table], data: bytes) -> bool:
    """Whether rows are signed with a handle of the person, which later tables write behind its place, or, where a post
    names none, behind its system."""
    signed = [c for c, kind in tables.pii_columns(table).items() if kind == "handle"]
    parts = [handle.split("/", 2) for handle in who.handles]
    names = [f"{(place or system).lower()}:{handle}" for system, place, handle in parts]
    signed = [c for c in signed if c in pl.read_parquet_schema(io.BytesIO(data))] if names else []
    if not signed:
        return False
    plain = (pl.col(c).str.to_lowercase().str.strip_chars().str.replace(r":\s+", ":") for c in signed)
    mine = [each.is_in(names).fill_null(False) for each in plain]
    return bool(pl.read_parquet(io.BytesIO(data), columns=signed).select(pl.any_horizontal(mine).any()).item())


def _taken_away(lake: Lake, traces: Traces, path: str, data: bytes) -> bool:
    """Whether a file was deleted or cleaned; what is of no kind that is known here stays, and the proof names it."""
    if _LOG in path:
        return path.endswith(".json") and _put_changed(
            lake, path, data, _without_bounds(traces, data.decode()).encode()
        )
    if path.startswith(MADE_AGAIN) or (_table_of(path) and path.endswith(".parquet")):
        lake.delete([path])
        return True
    if path.startswith(SAYING):
        return _put_changed(lake, path, data, traces.without(data.decode("utf-8", "replace"), MASK).encode())
    return False


def _put_changed(lake: Lake, path: str, data: bytes, cleaned: bytes) -> bool:
    return cleaned != data and lake.put(path, cleaned)


def _without_bounds(traces: Traces, log: str) -> str:
    """A log of a table without the statistics of files that tell a person: lakes of before kept bounds of texts, too.
    Other words of a commit are covered."""
    lines = []
    for line in log.splitlines(keepends=True):
        if traces.kinds_in(line):
            action = json.loads(line)
            stats = json.loads(action.get("add", {}).get("stats") or "null")
            if stats:
                action["add"]["stats"] = json.dumps({"numRecords": stats["numRecords"]})
            line = traces.without(json.dumps(action), MASK) + "\n"
        lines.append(line)
    return "".join(lines)


def purge_state(state: Path, star: Path, who: Identifiers) -> int:
    """Remove what a load of the warehouse or a publication that died left beside the files in use, and what was
    exported for a person who asked. Files that went. A link that leads elsewhere stays, so that the proof names what it
    leads to: without it nothing would."""
    left = [star.with_suffix(".fresh"), star.with_suffix(".fresh.wal"), *star.parent.glob(f"{star.name}.tmp*")]
    gone = [file for file in left if file.is_file()]
    exports = state / EXPORTS
    held = [f for f in files_below(exports) if f.is_file() and in_file(who.traces, f, f.name)]
    home = exports.resolve()
    gone += [f for f in held if not f.is_symlink() or f.resolve().is_relative_to(home)]
    for file in gone:
        file.unlink()
    return len(gone)


def sweep(settings: Settings) -> int:
    """Remove what processes of this machine that died left beside the stores: copies of logs, and half of a restore,
    which goes where nothing is and so cannot be under way. How many there were."""
    found = halves(settings)
    for half in found:
        shutil.rmtree(half)
    return len(found) + mirror.sweep()


__all__ = ["EXPORTS", "purge", "purge_state", "sweep"]
