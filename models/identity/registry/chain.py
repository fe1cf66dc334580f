"""The hash chain of before: one root a commit, over its events and the root before. Later ones are in `seals`."""

from __future__ import annotations

import hashlib
from datetime import datetime

import numpy as np
import polars as pl

GENESIS = "0" * 64
_NOBODY = -1


def root_of(events: pl.DataFrame, previous: str, commit: int, committed_at: datetime) -> str:
    """SHA-256 over a commit's events (in order), its number and time (UTC microseconds), and the root before it."""
    digest = hashlib.sha256(f"{previous}|{commit}|{committed_at:%Y-%m-%dT%H:%M:%S.%f}|{events.height}|".encode())
    for column in ("event", "commit", "person", "from_person"):
        digest.update(np.ascontiguousarray(events[column].fill_null(_NOBODY).to_numpy(), dtype="<i8").tobytes())
    records = events["records"]
    digest.update(np.ascontiguousarray(records.list.len().to_numpy(), dtype="<i8").tobytes())
    flat = records.explode().drop_nulls().to_numpy() if events.height else np.empty(0)
    digest.update(np.ascontiguousarray(flat, dtype="<i8").tobytes())
    for column in ("kind", "cause", "actor"):
        texts = events[column].to_list()
        digest.update("\x1f".join(texts).encode() + f"|{sum(map(len, texts))}".encode())
    return digest.hexdigest()
