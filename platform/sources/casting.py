"""Fit records to a bronze contract: map columns, cast values, rescue what does not fit.

A value that does not cast, and every file column that no contract column carries over verbatim, stays as original text
in ``_rescued`` (a JSON object) beside a null, and so does a value of an optional column that breaks its contract. Empty
text is null, whatever the format.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import polars as pl

from customer360.platform import rescued, tables
from customer360.platform.errors import ConfigError
from customer360.platform.sources import values
from customer360.platform.sources.formats.records import POSITION
from customer360.platform.sources.values import Reading, Said
from customer360.platform.tables import Table

DELETED = "_deleted"  # named by a mapping beside the contract's columns: the condition that marks deletions


@dataclass(frozen=True)
class Mapping:
    """How a file's columns become contract columns.

    ``columns`` maps a contract column to a SQL expression over the file's columns; contract columns that are not
    named are taken from the file's column of the same name. ``group_by`` file columns make it an aggregation. Records
    that the condition ``where`` does not hold for are left out and counted.
    """

    columns: dict[str, str]
    group_by: tuple[str, ...] = ()
    where: str = ""

    def expressions(self) -> dict[str, pl.Expr]:
        """Parsed expressions by contract column.

        Raises:
            ConfigError: an expression is no SQL; all faulty ones are named.
        """
        parsed, faults = {}, []
        for target, text in self.columns.items():
            try:
                parsed[target] = pl.sql_expr(text)
            except pl.exceptions.PolarsError as fault:
                faults.append(f"  {target}: {text!r}: {str(fault).splitlines()[0]}")
        if faults:
            raise ConfigError("faulty mapping expressions:\n" + "\n".join(faults))
        return parsed

    def own(self, records: pl.DataFrame) -> pl.DataFrame:
        """The records that ``where`` holds for; all where there is no condition. Empty text is null."""
        if not self.where:
            return records
        return records.with_columns(pl.col(pl.String).replace("", None)).filter(pl.sql_expr(self.where))

    def faults(self, table: type[Table], file_columns: list[str]) -> list[str]:
        """What is wrong with this mapping for files with these columns; empty when nothing is."""
        expressions, contract = self.expressions(), table.columns()
        found = [
            f"mapping names {c!r}, which is no column of {tables.spec(table).name}"
            for c in expressions
            if c not in contract
        ]
        for target, expression in expressions.items():
            absent = [c for c in expression.meta.root_names() if c not in file_columns]
            if absent:
                found.append(f"{target} needs file column(s) {absent}, the file has {file_columns}")
        found += [f"group_by names {c!r}, which the file lacks" for c in self.group_by if c not in file_columns]
        reached = set(expressions) | (set(file_columns) if not self.group_by else set())
        found += [
            f"required column {c} is not reached" for c, d in contract.items() if not d.nullable and c not in reached
        ]
        return found


@dataclass(frozen=True)
class Fitted:
    """``frame``: contract columns typed, then ``_rescued`` and ``_position``; ``collapsed``: records merged into
    others; ``left_out``: records that are not this source's; ``facts``: how many values were nulled, ``nulled`` and
    for each column and rule ``nulled|COLUMN|rule``, and which order of day and month a column showed,
    ``dates|COLUMN|day_first``; ``notes``: what was assumed, for people."""

    frame: pl.DataFrame
    collapsed: int
    left_out: int = 0
    facts: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def fit(records: pl.DataFrame, table: type[Table], mapping: Mapping, reading: Reading | None = None) -> Fitted:
    """Map and cast one file's records. ``records`` holds ``_position`` and the file's columns."""
    everything, reading = records.height, reading or Reading()
    records = mapping.own(records)
    mapped, verbatim = _map(records, table, mapping)
    contract = table.columns()
    mapped = mapped.with_columns(values.known(mapped[c], contract[c], reading) for c in contract if c in mapped.columns)
    said = Said()
    casts = {c: values.read(mapped[c], c, t, reading, said) for c, t in contract.items() if c in mapped.columns}
    casts |= values.american_states(casts, contract)
    failed = {c: mapped[c].cast(pl.String) for c, cast in casts.items() if cast.null_count() > mapped[c].null_count()}
    texts = {c: pl.select(pl.when(casts[c].is_null()).then(text)).to_series() for c, text in failed.items()}
    typed = pl.DataFrame(
        [
            casts.get(c, pl.Series(c, [None], t.dtype).new_from_index(0, mapped.height)).alias(c)
            for c, t in contract.items()
        ]
    )
    typed, broken, rules = _within_contract(typed, table)
    optional = {c: text.len() - text.null_count() for c, text in texts.items() if contract[c].nullable}
    texts |= {c: pl.select(pl.coalesce(t, texts[c]) if c in texts else t).to_series() for c, t in broken.items()}
    texts |= _left_over(records, table, verbatim) if not mapping.group_by else {}
    texts |= _rounded(mapped, casts) if not mapping.group_by else {}
    rescue = rescued.written(mapped.height, texts, rules)
    frame = typed.with_columns(rescue, mapped[POSITION])
    if DELETED in mapped.columns:
        frame = frame.with_columns(values.truth(mapped[DELETED]))
    collapsed, left_out = records.height - mapped.height, everything - records.height
    return Fitted(frame, collapsed, left_out, _counted(optional, rules) | said.facts, tuple(said.notes))


def nulled_text(facts: dict[str, Any]) -> str:
    """What a batch lost of optional values, in words for the log; empty where it lost none."""
    cells = [(*fact.split("|", 2)[1:], n) for fact, n in facts.items() if fact.startswith("nulled|") and n]
    return ", ".join(f"{n:,} {column} ({rule})" for column, rule, n in cells)


def _left_over(records: pl.DataFrame, table: type[Table], verbatim: set[str]) -> dict[str, pl.Series]:
    """Texts of the file columns that no contract column carries over, by the key that they are kept under.

    One that has a contract column's name but was mapped elsewhere must not read as that column's failed cast.
    """
    reserved = {*table.columns(), rescued.RULES}
    return {
        f"file:{c}" if c in reserved else c: records[c].cast(pl.String, strict=False).replace("", None)
        for c in records.columns
        if c not in verbatim and c != POSITION
    }


def _within_contract(
    typed: pl.DataFrame, table: type[Table]
) -> tuple[pl.DataFrame, dict[str, pl.Series], dict[str, pl.Series]]:
    """The frame without values of optional columns that break a rule, and by column these values' texts and rules."""
    nulled = tables.judge(table, typed).nulled
    if nulled.is_empty():
        return typed, {}, {}
    numbered = typed.with_row_index(tables.ROW)
    texts, rules = {}, {}
    for (column,), cells in nulled.partition_by("column", as_dict=True).items():
        named = cells.group_by(tables.ROW).agg(pl.col("value").first(), pl.col("rule").unique().sort().str.join(", "))
        there = numbered.select(tables.ROW).join(named, on=tables.ROW, how="left", maintain_order="left")
        texts[str(column)], rules[str(column)] = there["value"], there["rule"]
    return tables.without(numbered, nulled).drop(tables.ROW), texts, rules


def _counted(untyped: dict[str, int], rules: dict[str, pl.Series]) -> dict[str, int]:
    found = {f"nulled|{column}|type": count for column, count in untyped.items()}
    for column, broken in rules.items():
        found |= {f"nulled|{column}|{rule}": n for rule, n in broken.drop_nulls().value_counts().sort("rule").rows()}
    return {"nulled": sum(found.values()), **found}


def _rounded(mapped: pl.DataFrame, casts: dict[str, pl.Series]) -> dict[str, pl.Series]:
    """Original text of amounts that lost digits in the cast, as ``file:COLUMN``: rounded, not refused, and not
    forgotten.
    """
    found = {}
    for column, cast in casts.items():
        if isinstance(cast.dtype, pl.Decimal) and mapped[column].dtype == pl.String:
            longer = mapped[column].str.contains(rf"^[^.,]*\.\d{{{cast.dtype.scale}}}0*[1-9]\d*[^.,\d]*$")
            plain = mapped[column].str.strip_chars().cast(cast.dtype, strict=False)
            longer &= (plain == cast).fill_null(True)  # else the point was no sign of a fraction
            if longer.any():
                found[f"file:{column}"] = mapped.select(pl.when(longer).then(column)).to_series()
    return found


def _map(records: pl.DataFrame, table: type[Table], mapping: Mapping) -> tuple[pl.DataFrame, set[str]]:
    """The records under contract names, and which file columns some contract column carries over verbatim."""
    text = records.with_columns(pl.col(pl.String).replace("", None))
    expressions = mapping.expressions()
    usable = {t: e for t, e in expressions.items() if set(e.meta.root_names()) <= set(records.columns)}
    if mapping.group_by:
        grouped = text.group_by(list(mapping.group_by), maintain_order=True).agg(
            *(
                (e.first() if set(e.meta.root_names()) <= set(mapping.group_by) else e).alias(f"={t}")
                for t, e in usable.items()
            ),
            pl.col(POSITION).min(),
        )
        plural = [t for t in usable if isinstance(grouped.schema[f"={t}"], pl.List)]
        if plural:
            raise ConfigError(
                f"group_by needs one value a group, these expressions do not aggregate: { {t: mapping.columns[t] for t in plural} }"  # noqa: E501
            )
        return grouped.select(*(pl.col(f"={t}").alias(t) for t in usable), POSITION), set()
    same = [c for c in table.columns() if c in records.columns and c not in expressions]
    verbatim = set(same) | {e.meta.root_names()[0] for e in usable.values() if e.meta.is_column()}
    return text.select(*same, *(e.alias(t) for t, e in usable.items()), POSITION), verbatim
