"""Fit records to a bronze contract: map columns, cast values, rescue what does not fit.

A value that does not cast, and every file column that no contract column carries over verbatim, stays as original text
in ``_rescued`` (a JSON object) beside a null, and so does a value of an optional column that breaks its contract. Empty
text is null, whatever the format.
"""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Mapping as Columns
from dataclasses import dataclass, field
from typing import Any, Literal

import polars as pl

from customer360.platform import judging, rescued, tables
from customer360.platform.sources import values
from customer360.platform.sources.expressions import nested, sql
from customer360.platform.sources.expressions.paths import path_of
from customer360.platform.sources.formats.records import POSITION
from customer360.platform.sources.mapping import Mapping, Taken
from customer360.platform.sources.values import Reading, Said, amounts
from customer360.platform.tables import Table

NOISE = 1e-7  # of an amount: less is no digit that somebody wrote
DELETED = "_deleted"  # named by a mapping beside the contract's columns: the condition that marks deletions


@dataclass(frozen=True)
class Fitted:
    """``frame``: contract columns typed, then ``_rescued`` and ``_position``; ``collapsed``: records merged into
    others; ``left_out``: records that are not this source's; ``exploded``: rows beyond the first of records that were
    taken apart; ``without_elements``: records that had nothing to take apart; ``unmatched``: rows for which a joined
    file has nothing; ``facts``: how many values were nulled, ``nulled`` and for each column and rule
    ``nulled|COLUMN|rule``, how many amounts lost digits, ``rounded|COLUMN``, how many rows the contract will refuse,
    ``refused``, and which order of day and month a column showed, ``dates|COLUMN|day_first``; ``notes``: what was
    assumed, for people; ``uncast``: by contract column, in which rows its value did not cast, deletions aside."""

    frame: pl.DataFrame
    collapsed: int
    left_out: int = 0
    facts: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    exploded: int = 0
    without_elements: int = 0
    unmatched: dict[str, int] = field(default_factory=dict)
    uncast: dict[str, pl.Series] = field(default_factory=dict)


def fit(
    records: pl.DataFrame,
    table: type[Table],
    mapping: Mapping,
    reading: Reading | None = None,
    variants: Collection[str] | None = None,
) -> Fitted:
    """Map and cast one file's records. ``records`` holds ``_position`` and the file's columns. Texts that do not cast
    are kept in ``_rescued``: of all columns, or of the ``variants`` alone."""
    reading, said = reading or Reading(), Said()
    taken = mapping.taken(records, table, reading)
    rows = taken.frame
    found = mapping.applied(rows, table, reading, said)
    mapped = found.frame
    contract = table.columns()
    mapped = mapped.with_columns(values.known(mapped[c], contract[c], reading) for c in contract if c in mapped.columns)
    casts = {c: values.read(mapped[c], c, t, reading, said) for c, t in contract.items() if c in mapped.columns}
    failed = {c: mapped[c].cast(pl.String) for c, cast in casts.items() if cast.null_count() > mapped[c].null_count()}
    casts |= values.countries(casts, mapped, contract, reading.country)
    casts |= values.american_states(casts, contract)
    texts = {c: pl.select(pl.when(casts[c].is_null()).then(text)).to_series() for c, text in failed.items()}
    typed = pl.DataFrame(
        [
            casts.get(c, pl.Series(c, [None], t.dtype).new_from_index(0, mapped.height)).alias(c)
            for c, t in contract.items()
        ]
    )
    deleted = values.truth(mapped[DELETED]) if DELETED in mapped.columns else None
    typed, broken, rules, refused = _within_contract(typed, table, deleted)
    for c, text in ((c, text) for c, text in found.failed.items() if c in contract):
        texts[c] = pl.select(pl.coalesce(text, texts[c]) if c in texts else text).to_series()
    uncast = {c: _uncast(text, deleted) for c, text in texts.items()}
    texts = {c: text for c, text in texts.items() if variants is None or c in variants}
    optional = {c: text.len() - text.null_count() for c, text in texts.items() if contract[c].nullable}
    texts |= {c: pl.select(pl.coalesce(t, texts[c]) if c in texts else t).to_series() for c, t in broken.items()}
    texts |= _left_over(taken, table, found.verbatim) if not mapping.group_by else {}
    lost = _rounded(mapped, casts, reading.decimal)
    carried = {c: text for c, text in lost.items() if not mapping.group_by and _is_carried(mapped[c], c, mapping)}
    texts |= {f"file:{c}": text for c, text in carried.items()}
    rescue = rescued.written(mapped.height, texts, rules)
    frame = typed.with_columns(rescue, mapped[POSITION])
    if deleted is not None:
        frame = frame.with_columns(deleted)
    refused = refused_rows(frame, table, reading.refuse) if reading.refuse else refused
    optional = {c: values for c, values in optional.items() if c not in reading.refuse}
    rules = {c: rows for c, rows in rules.items() if c not in reading.refuse}
    return Fitted(
        frame,
        found.collapsed,
        taken.left_out,
        _counted(optional, rules) | said.facts | _facts(lost, refused),
        (*_told(taken, mapping), *said.notes, *_told_of_rounding(carried, contract)),
        taken.exploded,
        taken.without_elements,
        taken.unmatched,
        {c: rows for c, rows in uncast.items() if rows.any()},
    )


def _uncast(text: pl.Series, deleted: pl.Series | None) -> pl.Series:
    """In which rows a value did not cast; of deletions nothing but their key is asked."""
    here = text.is_not_null()
    return here if deleted is None else here & ~deleted.fill_null(value=False)


def _is_carried(values: pl.Series, column: str, mapping: Mapping) -> bool:
    """Whether values are those of a file, and not the results of a calculation, which have the digits that it gives."""
    text = mapping.columns.get(column)
    return values.dtype == pl.String or text is None or path_of(sql.parsed(text)) is not None


def _facts(lost: dict[str, pl.Series], refused: int) -> dict[str, int]:
    """How many amounts lost digits, by column, and how many rows the contract will refuse; nothing where none are."""
    facts = {f"rounded|{column}": text.len() - text.null_count() for column, text in lost.items()}
    return facts | ({"refused": refused} if refused else {})


def _told(taken: Taken, mapping: Mapping) -> list[str]:
    """What a person should know of rows that were left out, or found nothing in a joined file."""
    told = f"{taken.undecided:,} records are left out because `where: {mapping.where}` could not be told of them"
    alone = [
        f"{taken.unmatched[join.name]:,} rows have no row in {join.path} (join {join.name})"
        for join in mapping.joins
        if taken.unmatched.get(join.name)
    ]
    return [*([told] if taken.undecided else []), *alone]


def nulled_text(facts: dict[str, Any]) -> str:
    """What a batch lost of optional values, in words for the log; empty where it lost none."""
    cells = [(*fact.split("|", 2)[1:], n) for fact, n in facts.items() if fact.startswith("nulled|") and n]
    return ", ".join(f"{n:,} {column} ({rule})" for column, rule, n in cells)


def _left_over(taken: Taken, table: type[Table], verbatim: frozenset[str]) -> dict[str, pl.Series]:
    """Texts of the file columns that no contract column carries over, by the key that they are kept under.

    One that has a contract column's name but was mapped elsewhere must not read as that column's failed cast. Of a
    record that was taken apart, the first of its rows holds what is not of an element.
    """
    reserved, rows = {*table.columns(), rescued.RULES}, taken.frame
    texts = {
        f"file:{c}" if c in reserved else c: _without_empty(rows[c].cast(pl.String, strict=False))
        for c in rows.columns
        if c not in verbatim and c != POSITION and c not in taken.made
    }
    if not taken.elements:
        return texts
    first = nested.records_of(rows[POSITION]).is_first_distinct()
    return {
        c: text if c.removeprefix("file:") in taken.elements else pl.select(pl.when(first).then(text)).to_series()
        for c, text in texts.items()
    }


def _without_empty(text: pl.Series) -> pl.Series:
    return text.set((text == "").fill_null(value=False), None)


def spared_rows(typed: pl.DataFrame, table: type[Table], deleted: pl.Series) -> pl.Series:
    """Numbers of the rows that are deletions and name their key, of which the contract asks nothing else."""
    named = typed.select(pl.all_horizontal(pl.col(tables.spec(table).key).is_not_null())).to_series()
    return (deleted.fill_null(value=False) & named).arg_true()


def refused_rows(frame: pl.DataFrame, table: type[Table], refuse: Collection[str] = ()) -> int:
    """How many rows the contract will refuse, and the columns ``refuse`` (as `judging.judge` has it): a value of these
    that did not cast stands in ``_rescued`` alone."""
    typed = frame.select([*table.columns(), *(["_rescued"] if refuse else [])])
    of = judging.judge(table, typed, refuse=refuse).failures[tables.ROW]
    if DELETED in frame.columns:
        of = of.filter(~of.is_in(spared_rows(typed, table, frame[DELETED]).implode()))
    return of.n_unique()


def _within_contract(
    typed: pl.DataFrame, table: type[Table], deleted: pl.Series | None
) -> tuple[pl.DataFrame, dict[str, pl.Series], dict[str, pl.Series], int]:
    """The frame without values of optional columns that break a rule, by column these values' texts and rules, and how
    many rows break another rule. Of ``deleted`` rows only the key is asked.
    """
    verdict = judging.judge(table, typed)
    nulled, refused = verdict.nulled, typed.height - verdict.valid.height
    if deleted is not None and refused:
        of = verdict.failures[tables.ROW]
        refused = of.filter(~of.is_in(spared_rows(typed, table, deleted).implode())).n_unique()
    if nulled.is_empty():
        return typed, {}, {}, refused
    numbered = typed.with_row_index(tables.ROW)
    texts, rules = {}, {}
    for (column,), cells in nulled.partition_by("column", as_dict=True).items():
        named = cells.group_by(tables.ROW).agg(pl.col("value").first(), pl.col("rule").unique().sort().str.join(", "))
        there = numbered.select(tables.ROW).join(named, on=tables.ROW, how="left", maintain_order="left")
        texts[str(column)], rules[str(column)] = there["value"], there["rule"]
    return judging.without(numbered, nulled).drop(tables.ROW), texts, rules, refused


def _counted(untyped: dict[str, int], rules: dict[str, pl.Series]) -> dict[str, int]:
    found = {f"nulled|{column}|type": count for column, count in untyped.items()}
    for column, broken in rules.items():
        found |= {f"nulled|{column}|{rule}": n for rule, n in broken.drop_nulls().value_counts().sort("rule").rows()}
    return {"nulled": sum(found.values()), **found}


def _rounded(
    mapped: pl.DataFrame, casts: dict[str, pl.Series], decimal: Literal[".", ","] | None
) -> dict[str, pl.Series]:
    """By column, original text of amounts that lost digits in the cast, such as thousandths of a dinar: rounded, not
    refused, and not forgotten. What floats add in their last places is no digit.
    """
    found = {}
    for column, cast in casts.items():
        held = mapped[column] if isinstance(cast.dtype, pl.Decimal) else pl.Series(dtype=pl.Null)
        if not (held.dtype == pl.String or held.dtype.is_numeric()):
            continue
        text = held.str.strip_chars() if held.dtype == pl.String else held
        number = amounts.parsed(text, column, lambda _: None, declared=decimal)
        longer = (number - cast.cast(pl.Float64)).abs() > NOISE + number.abs() * 1e-15
        if longer.any():
            found[column] = pl.select(pl.when(longer).then(held.cast(pl.String)).alias(column)).to_series()
    return found


def _told_of_rounding(lost: dict[str, pl.Series], contract: Columns[str, Any]) -> list[str]:
    return [
        f"{column}: {text.len() - text.null_count():,} amounts have more than {contract[column].dtype.scale} decimals, "
        f"such as {text.drop_nulls()[0]!r}; rounded, what was written is in _rescued"
        for column, text in lost.items()
    ]
