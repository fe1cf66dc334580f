"""The sealed log: a digest of every row of the registry, and one root a commit over its digests and the root before.

A digest is keyed by a secret of the lake, so that what is left of an erased row tells nobody's account. An erasure is
sealed as well: it says which rows went and what is left of others, and all earlier roots still verify.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import polars as pl

from customer360.models.identity.registry.contracts import (
    IdentityAliases,
    IdentityEvents,
    IdentityMembers,
    IdentitySeals,
    StewardDecisions,
)
from customer360.models.identity.registry.core import RegistryError
from customer360.models.identity.registry.ids import person_numbers
from customer360.models.identity.threads import at_once
from customer360.platform import tables
from customer360.platform.lake import Lake
from customer360.platform.tables import Table

SEALED: tuple[type[Table], ...] = (IdentityEvents, IdentityMembers, IdentityAliases, StewardDecisions)
KEY = ("of", "row", "at")
_SECRET = "_identity/seal"
_PIECE = 100_000  # rows whose texts are held at once


def secret_of(lake: Lake) -> bytes:
    """The key of the digests; made at the first use.

    Raises:
        RegistryError: it is gone, and rows are sealed with it. Under another key all of them would look tampered with.
    """
    if stored := lake.get(_SECRET):
        return stored
    name = tables.spec(IdentitySeals).name
    if lake.exists(name) and not lake.scan(name).head(1).collect().is_empty():
        raise RegistryError(
            f"{_SECRET} of the lake, the key of all seals, is missing: whether the registry is what was sealed cannot "
            "be told. Put the object back from a backup"
        )
    lake.put(_SECRET, secrets.token_hex(32).encode(), create=True)
    return lake.get(_SECRET) or b""


def digests(table: type[Table], rows: pl.DataFrame, seed: str, secret: bytes) -> pl.DataFrame:
    """(of, row, at, digest) of rows of a table: `row` and `at` are its key in numbers, the digest is 32 hex digits of
    SHA-256 over all of its columns."""
    name = tables.spec(table).name
    if rows.is_empty():
        return pl.DataFrame(schema={"of": pl.String, "row": pl.Int64, "at": pl.Int64, "digest": pl.String})
    columns = sorted(set(table.columns()) & set(rows.columns))
    # A column that came later and says nothing is left out, so that a row of before has the digest that it had.
    alike = {c: _text(c, rows.schema[c]) for c in columns if _is_constant(rows[c])}
    one = rows.head(1).select(**alike).to_dicts()[0] if 0 < len(alike) < len(columns) else {}
    parts = [pl.lit(one[c], pl.String) if c in one else _text(c, rows.schema[c]) for c in columns]
    text = pl.concat_str(parts, separator="\x1f", ignore_nulls=True)
    keyed = hashlib.sha256(secret + name.encode())

    def hashed(piece: pl.DataFrame) -> pl.Series:
        texts = piece.rechunk().select(text).to_series()  # Polars panics on texts of several chunks that end apart
        return pl.Series([_digest(keyed, row) for row in texts.cast(pl.Binary)], dtype=pl.Binary).bin.encode("hex")

    # While one thread hashes, which holds the interpreter, another writes the texts of its rows.
    made = pl.concat(at_once(hashed, rows.iter_slices(_PIECE), pl.thread_pool_size()))
    numbers = KEYS[table](rows, seed)
    return pl.DataFrame({"of": pl.repeat(name, rows.height, eager=True), **numbers, "digest": made}).with_columns(
        pl.col("row", "at").cast(pl.Int64)
    )


def _digest(keyed: hashlib._Hash, row: bytes) -> bytes:
    """The first half of the SHA-256 of what `keyed` holds and then `row`."""
    found = keyed.copy()
    found.update(row)
    return found.digest()[:16]


def _is_constant(column: pl.Series) -> bool:
    """A column, other than of lists, with one value in all rows."""
    return not isinstance(column.dtype, pl.List) and bool(column.eq_missing(column.new_from_index(0, 1)).all())


def _text(column: str, kind: pl.DataType) -> pl.Expr:
    """A value with its column's name, without doubt where it ends; a list with the number of its items."""
    if isinstance(kind, pl.List):
        items = (
            pl.col(column)
            .cast(pl.List(pl.String))
            .list.eval(pl.format("{}:{}", pl.element().fill_null("").str.len_bytes(), pl.element().fill_null("~")))
        )
        value = pl.format("[{}]{}", pl.col(column).list.len(), items.list.join(","))
    elif isinstance(kind, pl.Datetime):
        value = pl.col(column).dt.epoch("us").cast(pl.String)
    else:
        value = pl.col(column).cast(pl.String)
    return pl.when(pl.col(column).is_not_null()).then(pl.format(column + "={}:{}", value.str.len_bytes(), value))


def _pair(first: str, second: str | None) -> Callable[[pl.DataFrame, str], dict[str, pl.Series]]:
    def key(rows: pl.DataFrame, _: str) -> dict[str, pl.Series]:
        return {"row": rows[first], "at": rows[second] if second else pl.zeros(rows.height, pl.Int64, eager=True)}

    return key


def _of_alias(rows: pl.DataFrame, seed: str) -> dict[str, pl.Series]:
    return {"row": person_numbers(rows["alias_id"], seed).fill_null(-1), "at": rows["commit"]}


KEYS: dict[type[Table], Callable[[pl.DataFrame, str], dict[str, pl.Series]]] = {
    IdentityEvents: _pair("event", None),
    IdentityMembers: _pair("record", "commit"),
    IdentityAliases: _of_alias,
    StewardDecisions: _pair("decision", None),
}


def in_order(rows: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """Rows sorted by those columns; as they are where they lie so, which costs a fraction of sorting them."""
    later = pl.lit(True)
    for name in reversed(by):
        now, before = pl.col(name), pl.col(name).shift(1)
        later = (now > before) | (now.eq_missing(before) & later)
    return rows if rows.select(later.slice(1).fill_null(False).all()).item() else rows.sort(*by)


def root_of(commit: dict[str, Any], seals: pl.DataFrame) -> str:
    """SHA-256 over a row of `silver.identity_commits` without its own root, and the seals of that commit."""
    digest = hashlib.sha256()
    at: datetime = commit["committed_at"]
    stated = {name: commit[name] for name in ("commit", "previous_root", "event_count", "record_count", "person_count")}
    digest.update(json.dumps([stated, f"{at:%Y-%m-%dT%H:%M:%S.%f}", seals.height], sort_keys=True).encode())
    line = pl.format("{}|{}|{}|{}\n", *KEY, pl.col("digest").fill_null("gone"))
    for piece in in_order(seals, KEY).iter_slices(_PIECE):
        digest.update(piece.select(line.str.join("")).item().encode())
    return digest.hexdigest()


__all__ = ["IdentitySeals", "KEY", "SEALED", "digests", "root_of", "secret_of"]
