"""Privacy from the tags of the contracts: masking of what people may read, and the list of erased subjects.

A subject that was erased must not come back with the next full file. What remains of it is a keyed digest of its
account ids (``_erasures``), against which ingest checks every batch.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial

import polars as pl

from customer360.platform import tables
from customer360.platform.lake import Lake
from customer360.platform.tables import Table

MASK = "•••"
ACCOUNT_COLUMN, VISITOR_COLUMN = "CUSTOMER_ID", "VISITOR_ID"
CONTACT_COLUMNS = {"email": "EMAIL_ADDRESS", "phone": "PHONE_NUMBER"}  # in bronze, by their kind of personal data
GROUPED = "bronze.grouped_records"  # records that groups are made of; see `sources.grouping`
_SECRET, _LIST = "_erasures/secret", "_erasures/digests.json"
_UNFINISHED = "_erasures/unfinished"


def masked(table: type[Table], frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with every personal column covered: the first character stays, the rest becomes dots."""
    columns = [c for c in tables.pii_columns(table) if c in frame.columns]
    text = [c for c in columns if frame.schema[c] == pl.String]
    other = [c for c in columns if c not in text]
    return frame.with_columns(
        *(pl.when(pl.col(c).is_not_null()).then(pl.col(c).str.head(1) + MASK).alias(c) for c in text),
        *(pl.when(pl.col(c).is_not_null()).then(pl.lit(MASK)).alias(c) for c in other),
    )


@dataclass(frozen=True)
class Identifiers:
    """Everything that names a subject in raw data."""

    accounts: frozenset[str] = frozenset()  # "SYSTEM/id"
    devices: frozenset[str] = frozenset()  # devices that were this subject's alone
    texts: frozenset[str] = frozenset()  # values to look for in raw text: e-mail addresses, phone numbers
    # "SYSTEM/key…" of the bronze rows that were attributed to it, by table
    facts: Mapping[str, frozenset[str]] = field(default_factory=dict)
    persons: frozenset[str] = frozenset()  # ids under which older editions may hold it

    def pattern(self, system: str | None) -> str:
        """Regular expression that finds the subject in a raw record of ``system`` (None: of any), whole words only."""
        accounts = (a.partition("/") for a in self.accounts)
        names = {number for of, _, number in accounts if system in (None, of)} | self.devices | self.texts
        words = "|".join(re.escape(n) for n in sorted(names))
        return rf"(?:^|[^A-Za-z0-9])(?:{words})(?:[^A-Za-z0-9]|$)" if words else "$^"


def begin_erasure(lake: Lake, person_id: str, who: Identifiers) -> None:
    """Note what names a person before anything of it goes: an erasure takes away what it finds the person by, so that
    one that died could not be taken up again. Until ``end_erasure`` removes it, the note holds personal data itself.
    """
    note = {"accounts": who.accounts, "devices": who.devices, "texts": who.texts, "persons": who.persons}
    facts = {table: sorted(keys) for table, keys in who.facts.items()}
    text = json.dumps({name: sorted(values) for name, values in note.items()} | {"facts": facts})
    lake.put(f"{_UNFINISHED}/{person_id}.json", text.encode())


def unfinished_erasures(lake: Lake) -> dict[str, Identifiers]:
    """Erasures that began and did not end, by the id of their person."""
    found = {}
    for path in lake.objects(_UNFINISHED):
        note = json.loads(lake.get(path) or b"{}")
        facts = {table: frozenset(keys) for table, keys in note.pop("facts").items()}
        sets = {name: frozenset(values) for name, values in note.items()}
        found[path.rpartition("/")[2].removesuffix(".json")] = Identifiers(**sets, facts=facts)
    return found


def end_erasure(lake: Lake, person_id: str) -> None:
    """Nothing of the person is left: its note goes too."""
    lake.delete([f"{_UNFINISHED}/{person_id}.json"])


def erase_rows(lake: Lake, who: Identifiers) -> dict[str, int]:
    """Remove a subject from every current bronze table, dated edition, quarantine, dead letters and replay files. Rows
    by table.

    Tables whose contract says ``anonymize`` keep the row without its personal columns. What is built on bronze changes
    with the next run; ingest refuses the subject from now on.
    """
    contacts = (f"CONTACT/{_plain(t)}" for t in who.texts)
    remember_erasure(lake, [*who.accounts, *(f"VISITOR/{d}" for d in who.devices), *contacts])
    touched = {GROUPED: _erase_grouped(lake, who)} if lake.exists(GROUPED) else {}
    for name, table in tables.TABLES.items():
        if name == GROUPED:
            continue
        if tables.spec(table).layer == "bronze" and tables.spec(table).erasure != "none" and lake.exists(name):
            touched[name] = lake.rewrite(name, partial(_without, table, who), reason="erasure")
        elif tables.spec(table).is_dated and "person_id" in table.columns() and lake.exists(name):
            # A run rebuilds the edition of its date alone, so that the older ones would keep the person.
            touched[name] = lake.rewrite(name, partial(_without_person, table, who), reason="erasure")
    for name, column in (("quality.quarantine", "record"), ("quality.dead_letters", "raw")):
        if lake.exists(name):
            touched[name] = lake.rewrite(name, partial(_without_text, column, who), reason="erasure")
    for path in lake.objects("_replays"):
        lines = (lake.get(path) or b"").splitlines(keepends=True)
        betrays = re.compile(who.pattern(None).encode(), re.IGNORECASE)
        kept = [line for line in lines if not betrays.search(line)]
        if len(kept) < len(lines):
            lake.put(path, b"".join(kept))
            touched[path] = len(lines) - len(kept)
    return touched


def _erase_grouped(lake: Lake, who: Identifiers) -> int:
    """Remove the records of every group that is the subject's, and its identifiers from those of others."""
    keys = [f"{table} {key}" for table, facts in who.facts.items() for key in facts]
    system = pl.col("_source_system") + "/"
    mine = pl.any_horizontal(
        (system + pl.col("ACCOUNT")).is_in(list(who.accounts)),
        pl.col("VISITOR").is_in(list(who.devices)),
        (pl.col("TABLE_NAME") + " " + system + pl.col("ROW_KEY")).is_in(keys),
    ).fill_null(False)
    numbers = {a.partition("/")[2] for a in who.accounts} | who.devices
    reached = [name for name, t in tables.TABLES.items() if not set(CONTACT_COLUMNS.values()).isdisjoint(t.columns())]
    unnamed = pl.col("ACCOUNT").is_null() & pl.col("TABLE_NAME").is_in(reached)
    mine = mine | (unnamed & pl.col("RECORD").str.contains(_as_value(who.texts)))
    group = ["_source", "GROUP_HASH"]
    doomed = lake.scan(GROUPED).filter(mine).select(group).unique().collect()
    blank = pl.col("RECORD").str.replace_all(_as_value(numbers | who.texts), ":null$1")

    def without(frame: pl.DataFrame) -> pl.DataFrame:
        return frame.join(doomed, on=group, how="anti", maintain_order="left").with_columns(blank)

    return lake.rewrite(GROUPED, without, reason="erasure")


def _as_value(texts: Iterable[str]) -> str:
    """Regular expression that finds one of some texts as a whole value of a JSON object."""
    words = "|".join(re.escape(text) for text in sorted(texts))
    return rf'(?i):\s*"?(?:{words})"?\s*([,}}])' if words else "$^"


def _without(table: type[Table], who: Identifiers, frame: pl.DataFrame) -> pl.DataFrame:
    kinds = tables.pii_columns(table)
    own_key = pl.concat_str("_source_system", *tables.spec(table).key, separator="/")
    mine = own_key.is_in(list(who.facts.get(tables.spec(table).name, ()))).fill_null(False)
    for column, kind in kinds.items():
        if kind == "account":
            mine = mine | pl.concat_str("_source_system", column, separator="/").is_in(list(who.accounts)).fill_null(
                False
            )
        if kind == "device":
            mine = mine | pl.col(column).is_in(list(who.devices)).fill_null(False)
    unnamed = [pl.lit(True), *(pl.col(c).is_null() for c, kind in kinds.items() if kind == "account")]
    mine = mine | (_has_contact(kinds, who) & pl.all_horizontal(unnamed))
    if tables.spec(table).erasure == "delete":
        return frame.filter(~mine)
    blank = [pl.when(~mine).then(pl.col(c)).alias(c) for c in (*kinds, "_rescued")]
    return frame.with_columns(blank)


def _without_person(table: type[Table], who: Identifiers, frame: pl.DataFrame) -> pl.DataFrame:
    mine = pl.col("person_id").is_in(list(who.persons)).fill_null(False) | _has_contact(tables.pii_columns(table), who)
    return frame.filter(~mine)


def _has_contact(kinds: Mapping[str, str], who: Identifiers) -> pl.Expr:
    """Whether an e-mail address or phone number that is the subject's alone stands in a row."""
    mine = pl.lit(False)
    for column, kind in kinds.items():
        if kind in CONTACT_COLUMNS:
            mine = mine | _plain_expr(column).is_in([_plain(t) for t in who.texts]).fill_null(False)
    return mine


def _plain(contact: str) -> str:
    """E-mail addresses and phone numbers as they are compared: without case and outer blanks."""
    return contact.strip().lower()


def _plain_expr(column: str) -> pl.Expr:
    return pl.col(column).str.strip_chars().str.to_lowercase()


def _without_text(column: str, who: Identifiers, frame: pl.DataFrame) -> pl.DataFrame:
    """Drop the rows whose raw text names the subject. Few rows, and bytes may be no text: one by one."""
    rows = frame.select("source_system", column).rows()
    betrays = {
        system: re.compile(who.pattern(system).encode(), re.IGNORECASE) for system in {system for system, _ in rows}
    }
    keep = [betrays[system].search(raw.encode() if isinstance(raw, str) else raw) is None for system, raw in rows]
    return frame.filter(pl.Series(keep, dtype=pl.Boolean))


def remember_erasure(lake: Lake, identifiers: Iterable[str]) -> None:
    """Add digests of identifiers ("SYSTEM/id") to the list that ingest checks."""
    known = set(_digests(lake)) | {_digest(_secret(lake), i) for i in identifiers}
    lake.put(_LIST, json.dumps(sorted(known)).encode())


def erased_rows(lake: Lake, frame: pl.DataFrame, system: str) -> pl.Series:
    """Boolean per row: whether its account or visitor was erased before; a row without account, by its contacts."""
    nothing = pl.select(pl.repeat(False, frame.height, dtype=pl.Boolean)).to_series()
    known = set(_digests(lake))
    kinds = {ACCOUNT_COLUMN: system, VISITOR_COLUMN: "VISITOR", **dict.fromkeys(CONTACT_COLUMNS.values(), "CONTACT")}
    present = {column: kind for column, kind in kinds.items() if column in frame.columns}
    if not known or not present:
        return nothing
    secret = _secret(lake)
    for column, kind in present.items():
        values = frame[column]
        if kind == "CONTACT":
            alone = frame[ACCOUNT_COLUMN].is_null() if ACCOUNT_COLUMN in frame.columns else ~nothing
            values = frame.select(pl.when(alone).then(_plain_expr(column)).alias(column)).to_series()
        gone = [v for v in values.unique().drop_nulls() if _digest(secret, f"{kind}/{v}") in known]
        nothing = nothing | values.is_in(gone).fill_null(False)
    return nothing


def _secret(lake: Lake) -> bytes:
    lake.put(_SECRET, secrets.token_hex(32).encode(), create=True)
    return lake.get(_SECRET) or b""


def _digests(lake: Lake) -> list[str]:
    stored = lake.get(_LIST)
    return list(json.loads(stored)) if stored else []


def _digest(secret: bytes, identifier: str) -> str:
    return hmac.new(secret, identifier.encode(), hashlib.sha256).hexdigest()[:32]
