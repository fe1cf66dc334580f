"""What a fit learns from, as one name: two fits have it in common only when rows, code and parameters are the same.

Delta versions alone do not say what the rows are: a lake that was built anew counts from 0 again.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from customer360.models.base import Model, Params
from customer360.platform import graph
from customer360.platform.errors import ModelError

BLOCK = 1 << 20  # bytes read at a time


def of_inputs(
    inputs: Mapping[str, Sequence[str]], firms: Sequence[str] = (), storage_options: Mapping[str, str] | None = None
) -> str:
    """SHA-256 (hex) over the bytes of Parquet files by table, and over the persons whose rows are left out of them
    (`firms`: organisations, and who refuses; sorted); where the files lie, and in which order they are named, changes
    nothing. Raises ModelError where a file cannot be read.
    """
    digest = hashlib.sha256()
    for table, files in sorted(inputs.items()):
        digest.update(f"{table}\0{len(files)}\0".encode())
        digest.update("".join(sorted(_of_file(file, storage_options or {}) for file in files)).encode())
    if firms:
        digest.update(f"without\0{of_firms(firms)}".encode())
    return digest.hexdigest()


def of_firms(firms: Sequence[str]) -> str:
    """SHA-256 (hex) over persons that are left out (sorted); empty for none, so that a lake of people alone keeps the
    names that its fits and scores have.
    """
    return hashlib.sha256(json.dumps(list(firms)).encode()).hexdigest() if firms else ""


def opened(
    inputs: Mapping[str, Sequence[str]], firms: Sequence[str], storage_options: Mapping[str, str]
) -> dict[str, pl.LazyFrame]:
    """What a snapshot of the lake gives, by table, for a worker that has files and no lake."""
    options = dict(storage_options) or None
    return {
        table: without(pl.scan_parquet(list(paths), storage_options=options), firms) for table, paths in inputs.items()
    }


def without(rows: pl.LazyFrame, firms: Sequence[str]) -> pl.LazyFrame:
    """The rows of everybody else; those of nobody, and tables that name no person, stay whole."""
    if not firms or "person_id" not in rows.collect_schema():
        return rows
    return rows.filter(~pl.col("person_id").is_in(pl.Series(firms, dtype=pl.String).implode()).fill_null(False))


def of_code(model: Model[Any, Any]) -> str:
    """Changes with the source of a model or of any module of the project that it imports, the platform's plumbing left
    out.
    """
    return graph.code_fingerprint(model.fit, [])


def recipe(model: Model[Any, Any], as_of: object, params: Params, inputs: str) -> str:
    """The name of a fit: model, date, parameters, code, and the digest of its inputs."""
    facts = [model.name, str(as_of), params.model_dump(mode="json"), of_code(model), inputs]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _of_file(file: str, storage_options: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    try:
        for block in _blocks(file, storage_options):
            digest.update(block)
    except (OSError, pl.exceptions.PolarsError) as fault:
        reason = str(fault).splitlines()[0] if str(fault) else type(fault).__name__
        raise ModelError(f"{file} cannot be read: {reason}") from None
    return digest.hexdigest()


def _blocks(file: str, storage_options: Mapping[str, str]) -> Iterator[bytes | memoryview]:
    if "://" in file:  # of an object store: its rows, as Polars reads them
        buffer = io.BytesIO()
        pl.read_parquet(file, storage_options=dict(storage_options) or None).write_ipc(buffer)
        yield buffer.getbuffer()
        return
    with Path(file).open("rb") as opened:
        while block := opened.read(BLOCK):
            yield block
