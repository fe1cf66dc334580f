"""Where the result of a command on files goes: checked before any work, written whole or not at all."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import polars as pl

from customer360.platform import formulas, telemetry
from customer360.platform.errors import SourceError

WRITERS: dict[str, Callable[[pl.DataFrame, io.BytesIO], object]] = {
    ".parquet": lambda frame, to: frame.write_parquet(to),
    ".pq": lambda frame, to: frame.write_parquet(to),
    ".csv": lambda frame, to: frame.write_csv(to),
    ".tsv": lambda frame, to: frame.write_csv(to, separator="\t"),
    ".jsonl": lambda frame, to: frame.write_ndjson(to),
    ".ndjson": lambda frame, to: frame.write_ndjson(to),
}
KINDS = ".parquet, .csv, .tsv or .jsonl (the last three also .gz)"


def require(out: Path, *inputs: Path) -> None:
    """Raise SourceError where `out` is of no known kind, is one of the inputs (by whatever name), or cannot be written.
    Nothing is made or changed.
    """
    if _kind(out) is None:
        raise SourceError(f"{out}: the kind of the result is told by its ending; name it {KINDS}")
    if out.is_dir():
        raise SourceError(f"{out} is a folder: name a file in it")
    if any(out.exists() and each.exists() and out.samefile(each) for each in inputs):
        raise SourceError(f"{out} is the input: the result would be written over it; name another file")
    there = next(folder for folder in out.absolute().parents if folder.exists())
    if not there.is_dir():
        raise SourceError(f"{out} cannot be written: {there} is no folder")
    if out.exists() and not os.access(out, os.W_OK):
        raise SourceError(f"{out} cannot be written: the file is write-protected")
    try:
        with tempfile.TemporaryFile(dir=there):
            pass
    except OSError as fault:
        raise SourceError(f"{out} cannot be written: {there}: {fault.strerror or fault}") from None


def write(frame: pl.DataFrame, out: Path) -> None:
    """Write a frame in the kind that the ending tells, in one step: a reader sees the old file or the new one. Values
    are those of the input, as programs join by them; where a spreadsheet would run one, a line of the log says so.
    Raises SourceError.
    """
    writer = _kind(out)
    if writer is None:
        raise SourceError(f"{out}: the kind of the result is told by its ending; name it {KINDS}")
    buffer = io.BytesIO()
    writer(frame, buffer)
    content = buffer.getvalue()
    if out.suffix.lower() == ".gz":
        content = gzip.compress(content, mtime=0)
    target = out.resolve()  # through a link, which stays one
    partial = target.with_name(f".{target.name}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(target)
    except OSError as fault:
        with contextlib.suppress(OSError):  # the fault that is told is the first
            partial.unlink(missing_ok=True)
        raise SourceError(f"{out} cannot be written: {fault.strerror or fault}") from None
    if writer in (WRITERS[".csv"], WRITERS[".tsv"]) and (risky := formulas.count(frame)):
        telemetry.log.warning(
            f"{out}: {risky:,} values begin like a formula of a spreadsheet and stand there as in the input; read the "
            "file by a program, or import its columns as text"
        )


def _kind(out: Path) -> Callable[[pl.DataFrame, io.BytesIO], object] | None:
    name = out.name.lower()
    plain = name.removesuffix(".gz")
    ending = Path(plain).suffix
    if not Path(plain).stem or (plain != name and ending in {".parquet", ".pq"}):
        return None
    return WRITERS.get(ending)
