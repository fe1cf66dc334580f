"""Privacy from the tags of the contracts: masking of what people may read, and the list of erased subjects.

A subject that was erased must not come back with the next full file. What remains of it is a keyed digest of its
account ids (``_erasures``), against which ingest checks every batch.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable

import polars as pl

from customer360.platform import tables
from customer360.platform.lake import Lake
from customer360.platform.tables import Table

MASK = "•••"
ACCOUNT_COLUMN, VISITOR_COLUMN = "CUSTOMER_ID", "VISITOR_ID"
_SECRET, _LIST = "_erasures/secret", "_erasures/digests.json"


def masked(table: type[Table], frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with every personal column covered: the first character stays, the rest becomes dots."""
    columns = [c for c in tables.pii_columns(table) if c in frame.columns]
    text = [c for c in columns if frame.schema[c] == pl.String]
    other = [c for c in columns if c not in text]
    return frame.with_columns(
        *(pl.when(pl.col(c).is_not_null()).then(pl.col(c).str.head(1) + MASK).alias(c) for c in text),
        *(pl.when(pl.col(c).is_not_null()).then(pl.lit(MASK)).alias(c) for c in other),
    )


def remember_erasure(lake: Lake, identifiers: Iterable[str]) -> None:
    """Add digests of identifiers ("SYSTEM/id") to the list that ingest checks."""
    known = set(_digests(lake)) | {_digest(_secret(lake), i) for i in identifiers}
    lake.put(_LIST, json.dumps(sorted(known)).encode())


def erased_rows(lake: Lake, frame: pl.DataFrame, system: str) -> pl.Series:
    """Boolean per row: whether its account or visitor was erased before."""
    nothing = pl.select(pl.repeat(False, frame.height, dtype=pl.Boolean)).to_series()
    known = set(_digests(lake))
    columns = [c for c in (ACCOUNT_COLUMN, VISITOR_COLUMN) if c in frame.columns]
    if not known or not columns:
        return nothing
    secret = _secret(lake)
    for column in columns:
        kind = system if column == ACCOUNT_COLUMN else "VISITOR"
        gone = [v for v in frame[column].unique().drop_nulls() if _digest(secret, f"{kind}/{v}") in known]
        nothing = nothing | frame[column].is_in(gone).fill_null(False)
    return nothing


def _secret(lake: Lake) -> bytes:
    lake.put(_SECRET, secrets.token_hex(32).encode(), create=True)
    return lake.get(_SECRET) or b""


def _digests(lake: Lake) -> list[str]:
    stored = lake.get(_LIST)
    return list(json.loads(stored)) if stored else []


def _digest(secret: bytes, identifier: str) -> str:
    return hmac.new(secret, identifier.encode(), hashlib.sha256).hexdigest()[:32]
