"""Small files of a table folded into one, so that nobody who knew the small ones has to look at their rows again.

A fold is one commit that removes files and adds one with their rows, in the order of their paths. Before it, a note
``_folds/<table>/<path>`` is written with the paths that stand in it (Parquet, one column): by ``written`` a set of
files has one name before and after a fold, by ``standing`` files that somebody knew are found where their rows are.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import PurePosixPath

import polars as pl
import pyarrow as pa

from customer360.platform import tables
from customer360.platform.errors import LakeError
from customer360.platform.lake import Add, File, Lake, reached
from customer360.platform.lake.filestats import statistics_of
from customer360.platform.lake.opened import moments_of

FOLDS = "_folds"

_IS_FOLD = re.compile(r"-f\.[0-9a-f]{16}\.parquet$")
_notes: dict[tuple[str, str], tuple[str, ...]] = {}  # of this process: what stands in a folded file never changes


def parts(lake: Lake, name: str, path: str) -> tuple[str, ...]:
    """Paths that stand in a file of a table: its own, or those that were folded into it."""
    if not _IS_FOLD.search(path):
        return (path,)
    note = _note_path(name, path)
    if (lake.root, note) not in _notes:
        data = lake.get(note)
        if data is None:
            return (path,)
        _notes[lake.root, note] = _paths(data)
    return _notes[lake.root, note]


def _paths(note: bytes) -> tuple[str, ...]:
    return tuple(pl.read_parquet(io.BytesIO(note))["path"])


def _look(lake: Lake, name: str, files: Iterable[File]) -> None:
    """Read the notes of folded files that are not known yet, side by side."""
    notes = [_note_path(name, f.path) for f in files if _IS_FOLD.search(f.path)]
    new = dict.fromkeys(note for note in notes if (lake.root, note) not in _notes)
    _notes.update({(lake.root, note): _paths(data) for note, data in lake.get_all(new).items() if data is not None})


def _note_path(name: str, path: str) -> str:
    return f"{FOLDS}/{name}/{path}.note"


def written(lake: Lake, name: str, files: Iterable[File]) -> list[str]:
    """The paths under which the rows of some files were first written, sorted: folding does not change them."""
    files = list(files)
    _look(lake, name, files)
    return sorted(path for f in files for path in parts(lake, name, f.path))


def standing(lake: Lake, name: str, files: Sequence[File], now: Sequence[File]) -> list[File]:
    """The files that hold today, of those that are there ``now``, what some files of before held; where a file of today
    holds other rows too, the files of before as they were.
    """
    if not any(_IS_FOLD.search(f.path) for f in now):
        return list(files)
    of = set(written(lake, name, files))
    _look(lake, name, now)
    found, covered = [], 0
    for file in now:
        own = parts(lake, name, file.path)
        if all(path in of for path in own):
            found.append(file)
            covered += len(own)
    return found if covered == len(of) else list(files)


def fold(lake: Lake, name: str, files: Sequence[File]) -> File:
    """Replace files of one partition by one, in one commit; returns it. Call it under the lake's run lock.

    Raises:
        LakeError: the rows would not be as many.
    """
    ordered = sorted(files, key=lambda f: f.path)
    frame = _rows(lake, name, ordered)
    if frame.height != sum(f.rows for f in ordered):
        raise LakeError(f"{name}: {len(files)} files hold {frame.height:,} rows, their log says otherwise; not folded")
    inside = written(lake, name, ordered)
    add = _write(lake, name, frame, ordered[0], inside)
    note = io.BytesIO()
    pl.DataFrame({"path": inside}).write_parquet(note)
    lake.put(_note_path(name, add.path), note.getvalue())
    reached(f"after note of fold {name}")
    lake.commit(
        name, [add], ordered, app="fold", app_version=lake.version(name) + 1, facts={"files": len(ordered)},
        changes_rows=False,
    )  # fmt: skip
    return File(add.path, add.rows, add.size, add.partition)


def _rows(lake: Lake, name: str, files: Sequence[File]) -> pl.DataFrame:
    """Rows of files with every column that the table stores, also those that its contract has no more."""
    paths = [f"{lake.uri(name)}/{f.path}" for f in files]
    return pl.scan_parquet(
        paths,
        schema=_stored_schema(lake, name),
        missing_columns="insert",
        extra_columns="ignore",
        storage_options=lake.storage_options or None,
    ).collect()


def _stored_schema(lake: Lake, name: str) -> dict[str, pl.DataType]:
    dt = lake.delta(name)
    columns = pl.DataFrame(pa.schema(dt.schema().to_arrow()).empty_table()).schema
    return {c: t for c, t in columns.items() if c not in dt.metadata().partition_columns}


def written_at(lake: Lake, name: str) -> dict[str, datetime]:
    """When each data file of a table was committed, by path."""
    return moments_of(lake.delta(name))


def _write(lake: Lake, name: str, frame: pl.DataFrame, first: File, inside: Sequence[str]) -> Add:
    """Write the folded file beside the first of its parts: it sorts as that one does."""
    table = tables.by_name(name)
    digest = hashlib.sha256("\n".join(inside).encode()).hexdigest()[:16]
    at = PurePosixPath(first.path)
    stem = at.stem.partition("-f.")[0]
    path = str(at.with_name(f"{stem}-f.{digest}.parquet"))
    body = io.BytesIO()
    frame.write_parquet(body, compression="zstd", compression_level=1)
    layer, _, folder = name.partition(".")
    lake.put(f"{layer}/{folder}/{path}", body.getvalue())
    declared = frame.select(c for c in frame.columns if c in tables.schema(table))
    return Add(path, len(body.getvalue()), frame.height, dict(first.partition), statistics_of(table, declared))


def forget(lake: Lake, name: str, needed: set[str]) -> None:
    """Delete the notes of folded files that nobody needs any more."""
    kept = {_note_path(name, path) for path in needed}
    lake.delete(path for path in lake.objects(f"{FOLDS}/{name}/") if path not in kept)
