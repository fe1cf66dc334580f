"""Frames in files: what of many records would not fit into memory lies on disk, mapped, and is read as any other frame.

A mapped column is the same bytes, so every step takes it as it is, and gives the same results; what a step reads of it
is the system's file cache, which gives way where memory is short. A file is deleted as soon as it is mapped: the disk
is free again when the frame is gone, and nothing is left by a process that dies.
"""

from __future__ import annotations

import mmap
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa

from customer360.models.identity.rules import Engine

# Bytes of memory that resolution takes for each record where nothing lies on disk; measured at two million.
_A_RECORD = 2_800
_SHARE = 0.5  # of the memory that is there
_ROWS_AT_ONCE = 250_000  # of which all columns are written at once


@dataclass(frozen=True)
class Spill:
    """Where frames are kept. `pairs`: about how many are held at once."""

    folder: str
    pairs: int

    def keep(self, frame: pl.DataFrame) -> pl.DataFrame:
        """The same rows in files, mapped: many rows column by column, so that one column is copied at a time."""
        if frame.is_empty() or not frame.width:
            return frame
        if frame.height <= _ROWS_AT_ONCE:
            return self._mapped(frame)
        return pl.DataFrame([self._mapped(column.to_frame()).to_series() for column in frame])

    def _mapped(self, frame: pl.DataFrame) -> pl.DataFrame:
        with tempfile.TemporaryFile(dir=self.folder, prefix="identity-", suffix=".arrow") as file:
            # Polars writes of texts what the rows hold; Arrow would write all that the slice they come from refers to.
            frame.rechunk().write_ipc(file, compat_level=pl.CompatLevel.newest(), record_batch_size=frame.height)
            file.flush()
            held = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        mapped = pl.from_arrow(pa.ipc.open_file(pa.py_buffer(held)).read_all(), rechunk=False)
        assert isinstance(mapped, pl.DataFrame)
        return mapped.cast(dict(frame.schema))  # type: ignore[arg-type]

    def keep_columns(self, pieces: list[pl.DataFrame]) -> pl.DataFrame:
        """The rows of all pieces, column by column: no more than one whole column is in memory."""
        columns = []
        for name in pieces[0].columns:
            whole = pl.concat([piece[name] for piece in pieces], rechunk=True)
            columns.append(self.keep(whole.to_frame()).to_series())
        return pl.DataFrame(columns)


_open: ContextVar[Spill | None] = ContextVar("open", default=None)


def current() -> Spill | None:
    """Where frames go, None while they stay in memory. Threads that are started do not know: ask before."""
    return _open.get()


def kept(frame: pl.DataFrame) -> pl.DataFrame:
    """The frame on disk, where frames go there."""
    spill = current()
    return frame if spill is None else spill.keep(frame)


@contextmanager
def spilling(records: int, limits: Engine) -> Iterator[None]:
    """Within, frames go to disk where so many records need it (`engine.spill_from_records`): beyond the number, or,
    where none is set, where they would take more than half of the memory that is there."""
    needed = limits.spill_from_records
    is_much = records * _A_RECORD > _SHARE * available_memory() if needed is None else records >= needed
    if not is_much or current() is not None:
        yield
        return
    token = _open.set(Spill(tempfile.gettempdir(), limits.spill_pairs))
    try:
        yield
    finally:
        _open.reset(token)


def available_memory() -> int:
    """Bytes that this process may take: what the system says is available, within the limit of the control group."""
    lines = dict(line.split(":", 1) for line in _read("/proc/meminfo").splitlines())
    free = int(lines["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in lines else 2**62
    limit, used = (_read(f"/sys/fs/cgroup/memory.{name}").strip() for name in ("max", "current"))
    return min(free, int(limit) - int(used)) if limit.isdigit() and used.isdigit() else free


def _read(path: str) -> str:
    """Text of a file of the system; without one, as on systems that have none, nothing."""
    file = Path(path)
    return file.read_text() if file.exists() else ""
