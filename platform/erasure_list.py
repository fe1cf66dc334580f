"""Who was erased, as keyed digests: a subject must not come back with the next full file.

What remains of it is a digest of its account ids (``_erasures``), against which ingest checks every batch.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import polars as pl

from customer360.platform import tables
from customer360.platform.errors import LakeError
from customer360.platform.lake import Lake
from customer360.platform.lake.damage import RESTORE, parsed, unlike
from customer360.platform.tables import Table

ACCOUNT_COLUMN, VISITOR_COLUMN = "CUSTOMER_ID", "VISITOR_ID"
NAME_COLUMNS = ("FIRST_NAME", "LAST_NAME")
CONTACT_COLUMNS = {"email": "EMAIL_ADDRESS", "phone": "PHONE_NUMBER"}  # in bronze, by their kind of personal data
SECRET, LIST = "_erasures/secret", "_erasures/digests.json"


def plain_expr(column: str) -> pl.Expr:
    """E-mail addresses, phone numbers and names as they are compared: without case and outer blanks."""
    return pl.col(column).str.strip_chars().str.to_lowercase()


def remember_erasure(lake: Lake, identifiers: Iterable[str]) -> None:
    """Add digests of identifiers ("SYSTEM/id") to the list that ingest checks."""
    known = set(digests(lake)) | {_digest(key_of(lake), i) for i in identifiers}
    lake.put(LIST, json.dumps(sorted(known)).encode())


def erased_rows(lake: Lake, frame: pl.DataFrame, system: str, table: type[Table] | None = None) -> pl.Series:
    """Boolean per row: whether its account or visitor was erased before; a row without account, by its contacts and
    names, and by the handles that the contract of its ``table`` names."""
    nothing = pl.select(pl.repeat(False, frame.height, dtype=pl.Boolean)).to_series()
    known = set(digests(lake))
    kinds = {ACCOUNT_COLUMN: system, VISITOR_COLUMN: "VISITOR", **dict.fromkeys(CONTACT_COLUMNS.values(), "CONTACT")}
    values = {column: (kind, frame[column]) for column, kind in kinds.items() if column in frame.columns}
    if set(NAME_COLUMNS) <= set(frame.columns):
        both = pl.concat_str(*map(plain_expr, NAME_COLUMNS), separator=" ")
        values["names"] = "NAME", frame.select(both).to_series()
    for column, handle in tables.signed(table).items() if table else ():
        if column in frame.columns:
            values[column] = f"HANDLE/{system}", frame.select(handle).to_series()
    if not known or not values:
        return nothing
    secret = key_of(lake)
    alone = frame[ACCOUNT_COLUMN].is_null() if ACCOUNT_COLUMN in frame.columns else ~nothing
    for kind, each in values.values():
        if kind == "CONTACT":
            each = each.str.strip_chars().str.to_lowercase()
        gone = [v for v in each.unique().drop_nulls() if _digest(secret, f"{kind}/{v}") in known]
        nothing = nothing | (
            each.is_in(gone).fill_null(False)
            & (alone if kind in ("CONTACT", "NAME") or kind.startswith("HANDLE/") else True)
        )
    return nothing


def record_digests(lake: Lake, records: pl.DataFrame) -> pl.Series:
    """A keyed digest of each record: of what it says, whatever the order of its columns, and not of where it stood."""
    if records.is_empty():  # asks for nothing: every lake would have a secret, and one in an object store a request
        return pl.Series("digest", [], pl.String)
    names = sorted(records.columns)
    secret = key_of(lake)
    texts = (json.dumps({c: v for c, v in row.items() if v is not None}, default=str, ensure_ascii=False)
             for row in records.select(names).iter_rows(named=True))  # fmt: skip
    return pl.Series("digest", [_digest(secret, f"RECORD/{text}") for text in texts], pl.String)


@dataclass(frozen=True)
class ErasedList:
    """Who was erased, as digests, and the secret that they are keyed by."""

    secret: bytes
    digests: frozenset[str]

    def names(self, identifier: str) -> bool:
        """Whether an identifier ("SYSTEM/id") is on the list."""
        return _digest(self.secret, identifier) in self.digests


def erased_list(read: Callable[[str], bytes | None]) -> ErasedList | None:
    """The list of a lake, or a backup of one, whose objects ``read`` gives by path; None before the first erasure.

    Raises:
        LakeError: it is cut or empty.
    """
    secret, stored = secret_of(read), read(LIST)
    if stored is None:
        return None
    if not secret:
        raise LakeError(f"{SECRET} is empty or gone, and the list of erasures says nothing without it")
    return ErasedList(secret, frozenset(_listed(stored)))


def secret_of(read: Callable[[str], bytes | None]) -> bytes | None:
    """What a lake keys its digests by, and so what tells it from others; None where it has made none yet."""
    return read(SECRET)


def carry_erasures(lake: Lake, later: ErasedList) -> None:
    """Refuse in a lake, too, who was erased in a later state of it.

    Raises:
        LakeError: the list is of another lake, so that its digests say nothing here.
    """
    lake.put(SECRET, later.secret, create=True)
    if key_of(lake) != later.secret:
        raise LakeError(f"{lake.root}: the list of erasures is keyed by the secret of another lake")
    try:
        known = digests(lake)
    except LakeError:
        known = []  # a later state knows them all
    lake.put(LIST, json.dumps(sorted({*known, *later.digests})).encode())


def key_of(lake: Lake) -> bytes:
    lake.put(SECRET, secrets.token_hex(32).encode(), create=True)
    secret = lake.get(SECRET) or b""
    if not re.fullmatch(rb"[0-9a-f]{64}", secret):
        raise LakeError(f"{lake.root}/{SECRET} is damaged, and nothing else tells who was erased; {RESTORE}")
    return secret


def keyed_digest(lake: Lake, text: str, length: int = 32) -> str:
    """What only this lake can make of a text; nobody tells the text by it."""
    return hmac.new(key_of(lake), text.encode(), hashlib.sha256).hexdigest()[:length]


def person_digest(lake: Lake, person_id: str) -> str:
    """By what an erased person is told from others, and is not known."""
    return keyed_digest(lake, f"PERSON/{person_id}")


def digests(lake: Lake) -> list[str]:
    listed = parsed(lake, LIST)
    if not isinstance(listed, list | None):
        raise unlike(lake, LIST)
    return list(listed or [])


def _listed(stored: bytes) -> list[str]:
    try:
        found = json.loads(stored)
    except ValueError:
        found = None
    if not isinstance(found, list):
        raise LakeError(f"{LIST}, the list of who was erased, cannot be read; {RESTORE}")
    return [str(each) for each in found]


def _digest(secret: bytes, identifier: str) -> str:
    return hmac.new(secret, identifier.encode(), hashlib.sha256).hexdigest()[:32]
