"""Privacy from the tags of the contracts: masking of what people may read, and rows without an erased subject."""

from __future__ import annotations

import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property, partial
from itertools import accumulate, groupby
from typing import Any

import polars as pl

from customer360.platform import tables
from customer360.platform.erasure_list import (
    CONTACT_COLUMNS,
    LIST,
    NAME_COLUMNS,
    SECRET,
    digests,
    key_of,
    person_digest,
    plain_expr,
    remember_erasure,
)
from customer360.platform.lake import Lake
from customer360.platform.lake.damage import parsed, unlike
from customer360.platform.tables import Table
from customer360.platform.traces import EACH_I, Traces, Value

MASK = "•••"
SHORTEST_PHONE = 7  # digits; shorter ones are searched for as they are written
NUMBER_KINDS = ("account", "device")
OWN_KINDS = ("account", "device", "name", "email", "phone", "birth")  # say of a row whose it is, and of nobody else
# Fields of `Identifiers` that are sets.
_SETS = ("accounts", "devices", "texts", "persons", "shared", "names", "addresses", "handles")
_HINTED_AT_ONCE = 20_000  # characters of what is looked for
GROUPED = "bronze.grouped_records"  # records that groups are made of; see `sources.grouping`
_UNFINISHED = "_erasures/unfinished"
DONE = "_erasures/done"  # notes of erasures that ended, by digest of the person


def masked(table: type[Table], frame: pl.DataFrame) -> pl.DataFrame:
    """The frame with every personal column covered. Of numbers of accounts and devices the first character stays, which
    tells what kind of number it is and nothing of a person; of all else it could tell which of few values it is.
    """
    kinds = {c: kind for c, kind in tables.pii_columns(table).items() if c in frame.columns}
    numbers = [c for c, kind in kinds.items() if kind in NUMBER_KINDS and frame.schema[c] == pl.String]
    return frame.with_columns(
        pl.when(pl.col(c).is_not_null()).then(pl.col(c).str.head(1) + MASK if c in numbers else pl.lit(MASK)).alias(c)
        for c in kinds
    )


@dataclass(frozen=True)
class Identifiers:
    """Everything that names a subject in raw data."""

    accounts: frozenset[str] = frozenset()  # "SYSTEM/id"
    devices: frozenset[str] = frozenset()  # devices that were this subject's alone
    texts: frozenset[str] = frozenset()  # values to look for in raw text: e-mail addresses, phone numbers
    # "SYSTEM/key…" of the bronze rows that were attributed to it, by table
    facts: Mapping[str, frozenset[str]] = field(default_factory=dict)
    # ids under which older editions may hold it, and that are nobody else's now
    persons: frozenset[str] = frozenset()
    names: frozenset[tuple[str, str]] = frozenset()  # first and last names that are this subject's alone
    addresses: frozenset[str] = frozenset()  # first lines of addresses at which nobody else is known
    handles: frozenset[str] = frozenset()  # "SYSTEM/place/handle" with which this subject's accounts alone sign
    # how many values by kind (`traces`) others have, too, so that they tell nobody from others
    common: Mapping[str, int] = field(default_factory=dict)
    # those of ``persons`` that somebody else had before, whose history may name them
    shared: frozenset[str] = frozenset()

    def with_more(self, other: Identifiers) -> Identifiers:
        """What either names."""
        both = {name: getattr(self, name) | getattr(other, name) for name in _SETS}
        keys = {**self.facts, **other.facts}.keys()
        facts = {table: self.facts.get(table, frozenset()) | other.facts.get(table, frozenset()) for table in keys}
        common = {kind: max(self.common.get(kind, 0), count) for kind, count in other.common.items()}
        return Identifiers(**both, facts=facts, common={**self.common, **common})

    @cached_property
    def traces(self) -> Traces:
        """What tells the subject in any bytes."""
        numbers = (a.partition("/")[2] for a in self.accounts)
        kinds = (("account", self.accounts), ("account", numbers), ("device", self.devices),
                 ("person", self.persons - self.shared), ("address", self.addresses))  # fmt: skip
        found = [Value(kind, (text,)) for kind, texts in kinds for text in sorted(texts)]
        found += [Value("e-mail" if "@" in text else "phone", (text,)) for text in sorted(self.texts)]
        told = Traces.of([*found, *(Value("name", pair) for pair in sorted(self.names))])
        left = Counter(told.common) + Counter(self.common) + Counter(person=len(self.shared))
        return Traces(told.values, dict(left))

    def pattern(self, system: str | None) -> str:
        """Regular expression that finds the subject in a raw record of ``system`` (None: of any), whole words only."""
        accounts = (a.partition("/") for a in self.accounts)
        names = {number for of, _, number in accounts if system in (None, of)} | self.devices | self.texts
        words = "|".join(re.escape(n) for n in sorted(names))
        return rf"(?:^|[^A-Za-z0-9])(?:{words})(?:[^A-Za-z0-9]|$)" if words else "$^"

    def betrays(self, system: str | None, raw: bytes) -> bool:
        """Whether a raw record of ``system`` (None: of any) names the subject: by an identifier, or by both names."""
        text = raw.decode("utf-8", "replace")
        whole = (rf"(?<![^\W_]){re.escape(name)}(?![^\W_])" for pair in self.names for name in pair)
        found = [re.search(name, text, re.IGNORECASE) is not None for name in whole]
        named = any(first and last for first, last in zip(found[::2], found[1::2], strict=True))
        if named or re.search(self.pattern(system), text, re.IGNORECASE) is not None:
            return True
        return bool(self.traces.kinds_in(text))

    def hints(self) -> list[str]:
        """Regular expressions (Rust's) of which one finds a text wherever `betrays` may, but for what `traces` find:
        several, since what Rust compiles is bounded."""
        words = self.accounts | self.devices | self.texts | {last for _, last in self.names}
        plain = sorted({re.escape(w.partition("/")[2] if w in self.accounts else w) for w in words})
        alike = [re.sub(EACH_I, EACH_I, word) for word in plain]
        groups = groupby(zip(alike, accumulate(map(len, alike)), strict=True), lambda each: each[1] // _HINTED_AT_ONCE)
        return [f"(?i)(?:{'|'.join(word for word, _ in group)})" for _, group in groups]

    def mentions(self) -> str:
        """Regular expression (Rust's) of what names the subject within a text of somebody else: contacts in any
        spelling, and first and last name beside each other. Account numbers are none: they may be anybody's words."""
        between = r"[\s,;.:+_-]{1,3}"
        pairs = (sorted(map(re.escape, pair)) for pair in self.names)
        names = {each for one, two in pairs for each in (one + between + two, two + between + one)}
        places = {
            re.sub(r"(?:\\\s|\\ )+", r"[\\s+]{1,3}", re.escape(a.strip())) for a in self.addresses if len(a.strip()) > 7
        }
        contacts = {_any_spelling(t) for t in self.texts}  # first: an address may begin with both names
        words = "|".join([*sorted(contacts), *sorted(names | places)])
        return rf"(?i)\b(?:{words})\b" if words else r"[^\s\S]"


def _any_spelling(contact: str) -> str:
    """Regular expression of an e-mail address, also as a part of a URL, or of a phone number however it is parted."""
    if "@" in contact:
        return re.escape(contact.strip()).replace("@", "(?:@|%40)")
    digits = re.sub(r"\D", "", contact)
    return r"[\s()./-]{0,3}".join(digits) if len(digits) >= SHORTEST_PHONE else re.escape(contact.strip())


def begin_erasure(lake: Lake, person_id: str, who: Identifiers) -> None:
    """Note what names a person before anything of it goes: an erasure takes away what it finds the person by, so that
    one that died could not be taken up again. Until ``end_erasure`` removes it, the note holds personal data itself.
    """
    note = {name: getattr(who, name) for name in _SETS if name != "names"}
    facts = {table: sorted(keys) for table, keys in who.facts.items()}
    text = json.dumps(
        {name: sorted(values) for name, values in note.items()}
        | {"facts": facts, "names": sorted(who.names), "common": dict(who.common)}
    )
    lake.put(f"{_UNFINISHED}/{person_id}.json", text.encode())


def unfinished_erasures(lake: Lake) -> dict[str, Identifiers]:
    """Erasures that began and did not end, by the id of their person."""
    found = {}
    for path in lake.objects(_UNFINISHED):
        note = _note(lake, path)
        facts = {table: frozenset(keys) for table, keys in note.pop("facts").items()}
        names = frozenset((first, last) for first, last in note.pop("names"))
        common = note.pop("common", {})  # absent in a note of before
        sets = {name: frozenset(values) for name, values in note.items()}
        found[path.rpartition("/")[2].removesuffix(".json")] = Identifiers(
            **sets, facts=facts, names=names, common=common
        )
    return found


def leaving(lake: Lake, owners: pl.DataFrame) -> list[str]:
    """Ids of who is being erased, also of whom a run has made one with them since it began: who has their accounts by
    ``owners`` (record_id, person_id)."""
    begun = unfinished_erasures(lake).values()
    accounts = {account for who in begun for account in who.accounts}
    now = owners.filter(pl.col("record_id").is_in(accounts))["person_id"].to_list() if accounts else []
    return sorted({*now, *(person for who in begun for person in who.persons)})


def end_erasure(lake: Lake, person_id: str) -> None:
    """Nothing of the person is left: its note goes too. That somebody was erased stays, under a digest."""
    ended = {"ended_at": datetime.now(UTC).isoformat(timespec="seconds")}
    lake.put(f"{DONE}/{person_digest(lake, person_id)}.json", json.dumps(ended).encode())
    lake.delete([f"{_UNFINISHED}/{person_id}.json"])


def erasures(lake: Lake) -> list[datetime]:
    """When erasures ended, oldest first."""
    return sorted(datetime.fromisoformat(_note(lake, path)["ended_at"]) for path in lake.objects(DONE))


def erased_at(lake: Lake, digest: str) -> datetime | None:
    """When the erasure ended of the person whose id has this keyed digest; None where there was none."""
    path = f"{DONE}/{digest}.json"
    return None if lake.get(path) is None else datetime.fromisoformat(_note(lake, path)["ended_at"])


def check(lake: Lake, path: str) -> None:
    """Raise LakeError where an object of `_erasures` cannot be read."""
    if path == SECRET:
        key_of(lake)
    elif path == LIST:
        digests(lake)
    else:
        _note(lake, path)


def _note(lake: Lake, path: str) -> dict[str, Any]:
    """What is noted of one erasure, begun or ended."""
    note = parsed(lake, path)
    wanted = {"ended_at"} if path.startswith(DONE) else {"facts", "names"}
    if not isinstance(note, dict) or not wanted <= note.keys():
        raise unlike(lake, path)
    return note


def erase_rows(lake: Lake, who: Identifiers) -> dict[str, int]:
    """Remove a subject from every current bronze table, dated edition, quarantine, dead letters and replay files. Rows
    by table.

    Tables whose contract says ``anonymize`` keep the row without its personal columns, and rows of others lose what
    they say of the subject (``Identifiers.mentions``). What is built on bronze changes with the next run; ingest
    refuses the subject from now on.
    """
    contacts = (f"CONTACT/{_plain(t)}" for t in who.texts)
    names = (f"NAME/{_plain(first)} {_plain(last)}" for first, last in who.names)
    signed = (f"HANDLE/{handle}" for handle in who.handles)
    remember_erasure(lake, [*who.accounts, *(f"VISITOR/{d}" for d in who.devices), *contacts, *names, *signed])
    touched = {GROUPED: _erase_grouped(lake, who)} if lake.exists(GROUPED) else {}
    for name, table in tables.TABLES.items():
        if name == GROUPED:
            continue
        if tables.spec(table).layer == "bronze" and tables.spec(table).erasure != "none" and lake.exists(name):
            touched[name] = lake.rewrite(name, partial(_without, table, who), reason="erasure")
        elif tables.spec(table).layer == "bronze" and lake.exists(name):
            touched[name] = lake.rewrite(name, partial(_without_mentions, table, who), reason="erasure")
        elif tables.spec(table).is_dated and "person_id" in table.columns() and lake.exists(name):
            # A run rebuilds the edition of its date alone, so that the older ones would keep the person.
            touched[name] = lake.rewrite(name, partial(_without_person, table, who), reason="erasure")
    for name, column in (("quality.quarantine", "record"), ("quality.dead_letters", "raw")):
        if lake.exists(name):
            touched[name] = lake.rewrite(name, partial(_without_text, column, who), reason="erasure")
    for path in lake.objects("_replays"):
        lines = (lake.get(path) or b"").splitlines(keepends=True)
        kept = [line for line in lines if not who.betrays(None, line)]
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
        kept = frame.join(doomed, on=group, how="anti", maintain_order="left").with_columns(blank)
        return kept.with_columns(cleaned(kept["RECORD"], who, is_json=True))

    return lake.rewrite(GROUPED, without, reason="erasure")


def _as_value(texts: Iterable[str]) -> str:
    """Regular expression that finds one of some texts as a whole value of a JSON object."""
    words = "|".join(re.escape(text) for text in sorted(texts))
    return rf'(?i):\s*"?(?:{words})"?\s*([,}}])' if words else "$^"


def is_of(table: type[Table], who: Identifiers) -> pl.Expr:
    """Whether a row of a bronze table is the subject's: by account, device or fact, or where it has no account by what
    it says."""
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
    said = _has_contact(kinds, who) | _has_names(table, who) | _has_handle(table, who)
    return mine | (said & _is_unnamed(table))


def is_signed(table: type[Table], who: Identifiers) -> pl.Expr:
    """Whether a bronze row names no account, and is the subject's by the handle that it is signed with."""
    return _has_handle(table, who) & _is_unnamed(table)


def _is_unnamed(table: type[Table]) -> pl.Expr:
    accounts = (pl.col(c).is_null() for c, kind in tables.pii_columns(table).items() if kind == "account")
    return pl.all_horizontal(pl.lit(True), *accounts)


def _without(table: type[Table], who: Identifiers, frame: pl.DataFrame) -> pl.DataFrame:
    kinds, mine = tables.pii_columns(table), is_of(table, who)
    if tables.spec(table).erasure == "delete":
        frame = frame.filter(~mine)
    else:
        frame = frame.with_columns(pl.when(~mine).then(pl.col(c)).alias(c) for c in (*kinds, "_rescued"))
    return _without_mentions(table, who, frame)


def _without_mentions(table: type[Table], who: Identifiers, frame: pl.DataFrame) -> pl.DataFrame:
    """Rows of others without what their texts say of the subject."""
    kinds = tables.pii_columns(table)
    said = [c for c, t in frame.schema.items() if t == pl.String and (c == "_rescued" or not c.startswith("_"))]
    is_own = {c for c, kind in kinds.items() if kind in OWN_KINDS}
    if tables.spec(table).erasure != "none":  # who signed, not who it is of; agents are no subjects
        is_own -= {c for c, kind in kinds.items() if kind == "name" and c not in NAME_COLUMNS}
    texts = [c for c in said if c not in tables.spec(table).key and c not in is_own]
    frame = frame.with_columns(pl.col(texts).str.replace_all(who.mentions(), MASK))
    return frame.with_columns(cleaned(frame[c], who, is_json=c == "_rescued") for c in texts)


def cleaned(texts: pl.Series, who: Identifiers, *, is_json: bool = False) -> pl.Series:
    """Texts in which whatever tells the subject is covered, however it is written; JSON stays JSON."""
    found = (text for text in who.traces.suspects(texts.unique()) if who.traces.kinds_in(text))
    covered = {text: _covered(text, who.traces, is_json) for text in found}
    return texts.replace(covered) if covered else texts


def _covered(text: str, traces: Traces, is_json: bool) -> str:
    plain = traces.without(text, MASK)
    try:
        if is_json:
            json.loads(plain)
    except ValueError:  # the value was a number
        return traces.without(text, f'"{MASK}"')
    return plain


def holds_rows_of(table: type[Table], who: Identifiers, data: bytes) -> bool:
    """Whether a Parquet file of a bronze table holds what an erasure of the subject would take away."""
    if tables.spec(table).layer != "bronze" or tables.spec(table).erasure == "none":
        return False  # what such a table says of somebody is found by its traces
    stored = pl.read_parquet(io.BytesIO(data))
    wanted = tables.schema(table)
    if not {"_source_system", *tables.spec(table).key} <= set(stored.columns):
        return False
    frame = stored.with_columns(pl.lit(None, t).alias(c) for c, t in wanted.items() if c not in stored.columns)
    frame = frame.select(list(wanted))
    return not _without(table, who, frame).equals(frame)


def _without_person(table: type[Table], who: Identifiers, frame: pl.DataFrame) -> pl.DataFrame:
    """Rows of a dated table that are not the subject's: by id, account, device, contacts or names, whoever's the id is
    now. What others' rows say of it is covered."""
    kinds = tables.pii_columns(table)
    mine = pl.col("person_id").is_in(list(who.persons)).fill_null(False) | _has_contact(kinds, who)
    for kind, values in (("account", who.accounts), ("device", who.devices)):
        columns = [pl.col(c) for c, k in kinds.items() if k == kind]
        if kind == "account" and "source_system" in table.columns():  # beside which a number may stand without it
            columns += [pl.concat_str("source_system", column, separator="/") for column in columns]
        mine |= pl.any_horizontal(pl.lit(False), *(column.is_in(list(values)).fill_null(False) for column in columns))
    mine |= _has_names(table, who, tuple(map(str.lower, NAME_COLUMNS)))
    frame, texts = frame.filter(~mine), [c for c, kind in kinds.items() if kind == "text"]
    return frame.with_columns(cleaned(frame[c], who) for c in texts)


def _has_contact(kinds: Mapping[str, str], who: Identifiers) -> pl.Expr:
    """Whether an e-mail address or phone number that is the subject's alone stands in a row."""
    mine = pl.lit(False)
    for column, kind in kinds.items():
        if kind in CONTACT_COLUMNS:
            mine = mine | plain_expr(column).is_in([_plain(t) for t in who.texts]).fill_null(False)
    return mine


def _has_names(table: type[Table], who: Identifiers, columns: tuple[str, ...] = NAME_COLUMNS) -> pl.Expr:
    """Whether a row bears first and last names that are the subject's alone."""
    if not set(columns) <= set(table.columns()):
        return pl.lit(False)
    first, last = map(plain_expr, columns)
    pairs = ((first == _plain(one)) & (last == _plain(two)) for one, two in sorted(who.names))
    return pl.any_horizontal(pl.lit(False), *pairs).fill_null(False)


def _has_handle(table: type[Table], who: Identifiers) -> pl.Expr:
    """Whether a bronze row is signed with a handle that is the subject's alone."""
    signed = (pl.concat_str("_source_system", each, separator="/") for each in tables.signed(table).values())
    return pl.any_horizontal(pl.lit(False), *(each.is_in(list(who.handles)) for each in signed)).fill_null(False)


def _plain(contact: str) -> str:
    """E-mail addresses and phone numbers as they are compared: without case and outer blanks."""
    return contact.strip().lower()


def _without_text(column: str, who: Identifiers, frame: pl.DataFrame) -> pl.DataFrame:
    """Drop the rows whose raw text, or bytes that may be none, names the subject: those in which an identifier, a last
    name or a trace may stand are looked at one by one."""
    raw = frame[column]
    plain = [each.decode("utf-8", "replace") for each in raw] if raw.dtype == pl.Binary else raw
    rows = frame.select("source_system", text=pl.Series(plain, dtype=pl.String)).with_row_index("at")
    hints = (pl.col("text").str.contains(hint) for hint in who.hints())
    hinted = pl.any_horizontal(pl.col("text").is_in(who.traces.suspects(rows["text"]).implode()), *hints)
    gone = [at for at, system, text in rows.filter(hinted).rows() if who.betrays(system, text.encode())]
    kept = pl.Series([True] * frame.height, dtype=pl.Boolean)
    kept[gone] = False
    return frame.filter(kept)
