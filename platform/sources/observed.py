"""What an input brings beside its values: which columns, of which types; and what its schema contract leaves out.

Columns that the source makes nothing of are judged by their values, all of them; the others by the contract of their
table when they are cast (`casting`), so that of their values only the first say what they look like.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field, replace

import polars as pl

from customer360.platform.evolution import Column, SchemaContract, Seen, joined
from customer360.platform.sources.base import Source
from customer360.platform.sources.formats.records import POSITION, Records
from customer360.platform.sources.stated import expected_columns, unused, used_columns
from customer360.platform.sources.values import NULLS

FEW = 20  # values that are looked at one by one, before all are
LOOKED_AT = 1000  # records of an input by which the columns are told that a contract judges
SAMPLE = 200  # distinct values of a column that nobody knew, by which it is known again under a new name
MOST = 2000  # columns of one source; beyond, keys are values
DISCARDED = "schema contract: "  # begins the reason of a dead letter

# What texts are, the narrowest first. Numbers with zeros in front are ids; times are those of ISO 8601.
FORMS = {
    "boolean": r"^(?i:true|false)$",
    "integer": r"^[-+]?(0|[1-9]\d{0,17})$",
    "decimal": r"^[-+]?(0|[1-9]\d{0,17})(\.\d+)?([eE][-+]?\d+)?$",
    "date": r"^\d{4}-\d{2}-\d{2}$",
    "timestamp": r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?( ?(Z|[+-]\d{2}:?\d{2}))?)?$",
    "json": r"^\s*[\[{]",
}


def type_of(values: pl.Series, *, is_declared: bool = False) -> str:
    """The narrowest type that holds all values of a column; empty texts are none. Where types are declared, a text is
    what it says it is."""
    kind = values.dtype
    if kind == pl.Null or values.null_count() == len(values):
        return "empty"
    if kind != pl.String:
        return _of_dtype(kind)
    first = _filled(values.head(FEW)).drop_nulls().to_list()
    if first and (is_declared or not _forms_of(first)):  # the others can but take forms away
        return "text"
    texts = _filled(values).drop_nulls()
    if texts.is_empty() or is_declared:
        return "empty" if texts.is_empty() else "text"
    asked = _forms_of(texts.head(FEW).to_list())
    return next((type_ for type_ in asked if len(texts) <= FEW or texts.str.contains(FORMS[type_]).all()), "text")


def _forms_of(texts: list[str]) -> list[str]:
    """Types whose form all of a few texts have, the narrowest first."""
    return [type_ for type_, form in FORMS.items() if all(re.search(form, text) for text in texts)]


def _of_dtype(kind: pl.DataType) -> str:
    if kind == pl.Boolean:
        return "boolean"
    if kind.is_integer():
        return "integer"
    if kind.is_numeric():
        return "decimal"
    if kind.is_temporal():
        return {pl.Date: "date", pl.Datetime: "timestamp"}.get(kind.base_type(), "text")
    return "json" if kind.is_nested() else "text"


def _filled(values: pl.Series) -> pl.Series:
    """Texts without blanks around them; null where they stand for nothing."""
    if values.dtype == pl.String and len(values) <= FEW:  # of few, each step over a column costs more than they do
        texts = (text and text.strip() for text in values)
        return pl.Series(values.name, [t if t and t.lower() not in NULLS else None for t in texts], pl.String)
    text = values.cast(pl.String, strict=False).str.strip_chars()
    return text.set(text.str.to_lowercase().is_in(["", *NULLS]).fill_null(value=False), None)


def misfits(values: pl.Series, type_: str) -> pl.Series:
    """Which values a type does not hold."""
    if values.dtype != pl.String:
        fits = joined(_of_dtype(values.dtype), type_) == type_
        return pl.select(values.is_not_null() & (not fits)).to_series()
    if type_ in ("text", "empty"):
        return pl.Series([False]).new_from_index(0, len(values))
    if len(values) <= FEW:
        texts, form = _filled(values), FORMS[type_]
        return pl.Series([text is not None and not re.search(form, text) for text in texts], dtype=pl.Boolean)
    bad = (~values.str.contains(FORMS[type_])).fill_null(value=False)
    return (~_filled(values).str.contains(FORMS[type_])).fill_null(value=False) if bad.any() else bad


@dataclass
class Observer:
    """Watches the pieces of an input go by. ``known`` are the columns that are known of the source, None where nothing
    is: then all that comes is let in."""

    source: Source
    known: dict[str, Column] | None
    contract: SchemaContract
    columns: dict[str, str] = field(default_factory=dict)
    used: set[str] = field(default_factory=set)
    uncast: Counter[str] = field(default_factory=Counter)
    discarded: Counter[str] = field(default_factory=Counter)
    samples: dict[str, dict[str, None]] = field(default_factory=dict)
    partial: bool = False

    def seen(self) -> Seen:
        """What was seen so far."""
        samples = {c: tuple(values) for c, values in self.samples.items()}
        return Seen(dict(self.columns), frozenset(self.used), self.partial, dict(self.uncast), samples)

    def missing(self) -> list[str]:
        """Columns of a frozen schema that the input came without."""
        if self.known is None or self.contract.columns != "freeze" or self.partial or not self.columns:
            return []
        return [c for c, column in self.known.items() if c not in self.columns and not column.optional]

    def look(self, records: Records) -> None:
        """Take note of the columns of a piece."""
        frame = records.frame
        names = [c for c in frame.columns if c != POSITION]
        spelt = {c.casefold(): c for c in expected_columns(used_columns(self.source, names, keyed=True))}
        free = set() if self.source.unpivot else set(unused(self.source, names))
        self.partial |= records.keyed
        is_declared = records.lines is None and not records.keyed  # Parquet, Avro, workbooks, relations
        for name in names[:MOST]:
            key = name if name in free else spelt.get(name.casefold(), name)
            if name not in free:
                self.used.add(key)
            self._note(key, frame[name], is_free=name in free, is_declared=is_declared)

    def _note(self, name: str, values: pl.Series, *, is_free: bool, is_declared: bool) -> None:
        known = (self.known or {}).get(name)
        if not is_free:
            if name not in self.columns:
                self.columns[name] = type_of(values.head(LOOKED_AT), is_declared=is_declared)
            return
        if known is not None and known.type != "empty":
            is_fit = known.type == "text" or not misfits(values, known.type).any()
            found = known.type if is_fit else type_of(values, is_declared=is_declared)
        else:
            found = type_of(values, is_declared=is_declared)
        self.columns[name] = joined(self.columns.get(name, "empty"), found)
        if known is None and self.known is not None and len(held := self.samples.setdefault(name, {})) < SAMPLE:
            held |= dict.fromkeys(_filled(values.head(LOOKED_AT)).drop_nulls().unique(maintain_order=True).head(SAMPLE))

    def admitted(self, records: Records) -> Records:
        """The records that the schema contract lets in, by the columns that the source makes nothing of: others are
        dead letters, or go without the values that it discards."""
        if self.known is None or not {"discard_row", "discard_value"} & {
            self.contract.columns,
            self.contract.data_type,
        }:
            return records
        frame, reasons = records.frame, pl.Series([None], dtype=pl.String).new_from_index(0, records.frame.height)
        free = set() if self.source.unpivot else set(unused(self.source, [c for c in frame.columns if c != POSITION]))
        for name in [c for c in frame.columns if c in free]:
            column, values = self.known.get(name), frame[name]
            entity = "columns" if column is None else "data_type"
            mode = getattr(self.contract, entity)
            if mode not in ("discard_row", "discard_value"):
                continue
            bad = (
                pl.select(_filled(values).is_not_null()).to_series() if column is None else misfits(values, column.type)
            )
            if not bad.any():
                continue
            if mode == "discard_value":
                self.discarded[f"{name}|{entity}"] += int(bad.sum())
                frame = frame.with_columns(pl.select(pl.when(~bad).then(values).alias(name)).to_series())
            else:
                said = f"column {name!r} is new" if column is None else f"a value of {name!r} is no {column.type}"
                reasons = reasons.set(bad & reasons.is_null(), f"{DISCARDED}{said} ({entity}: discard_row)")
        return without_rows(replace(records, frame=frame), reasons)


def without_rows(records: Records, reasons: pl.Series) -> Records:
    """Records of which those with a reason are dead letters: as JSON, with their values as they came."""
    if reasons.null_count() == len(reasons):
        return records
    lost, frame = reasons.is_not_null(), records.frame
    return replace(
        records,
        frame=frame.filter(~lost),
        dead=pl.concat([records.dead, letters(frame.filter(lost), reasons.filter(lost))]),
    )


def letters(rows: pl.DataFrame, reasons: pl.Series) -> pl.DataFrame:
    """Records that can be read and are not let in, as dead letters."""
    texts = [json.dumps({k: v for k, v in row.items() if v is not None}, default=str, ensure_ascii=False)
             for row in rows.drop(POSITION).iter_rows(named=True)]  # fmt: skip
    raw = pl.Series("raw", [text.encode() for text in texts], pl.Binary)
    return rows.select(POSITION, reasons.alias("reason"), raw)
