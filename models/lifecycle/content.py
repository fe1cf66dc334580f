"""What a fit learns from, as one name: two fits have it in common only when rows, code and parameters are the same.

Delta versions alone do not say what the rows are: a lake that was built anew counts from 0 again.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from customer360.models.base import Model, Params
from customer360.platform import graph

BLOCK = 1 << 20  # bytes read at a time


def of_inputs(inputs: Mapping[str, Sequence[str]]) -> str:
    """SHA-256 (hex) over the bytes of Parquet files by table; where the files lie, and in which order they are named,
    changes nothing.
    """
    digest = hashlib.sha256()
    for table, files in sorted(inputs.items()):
        digest.update(f"{table}\0{len(files)}\0".encode())
        digest.update("".join(sorted(map(_of_file, files))).encode())
    return digest.hexdigest()


def of_code(model: Model[Any, Any]) -> str:
    """Changes with the source of a model or of any module of the project that it imports, the platform's plumbing left
    out.
    """
    return graph.code_fingerprint(model.fit, [])


def recipe(model: Model[Any, Any], as_of: object, params: Params, inputs: str) -> str:
    """The name of a fit: model, date, parameters, code, and the digest of its inputs."""
    facts = [model.name, str(as_of), params.model_dump(mode="json"), of_code(model), inputs]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _of_file(file: str) -> str:
    digest = hashlib.sha256()
    if "://" in file:  # of an object store: its rows, as Polars reads them
        buffer = io.BytesIO()
        pl.read_parquet(file).write_ipc(buffer)
        digest.update(buffer.getbuffer())
        return digest.hexdigest()
    with Path(file).open("rb") as opened:
        while block := opened.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()
