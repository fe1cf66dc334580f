"""Rows judged by their contract: what is valid, and what is refused for which rule."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache

import dataframely as dy
import polars as pl

from customer360.platform import rescued
from customer360.platform.errors import ContractError
from customer360.platform.tables import BRONZE_METADATA, ROW, Table, schema, spec


def require(table: type[Table], frame: pl.DataFrame) -> pl.DataFrame:
    """The frame, when every row keeps the contract.

    Raises:
        ContractError: rules are broken; each is named with the number of rows.
    """
    broken = {} if frame.is_empty() or _is_sound(table, frame) else table.filter(frame).failure.counts()
    if broken:
        told = ", ".join(f"{rule.replace('|', ' ')} ({count:,} rows)" for rule, count in sorted(broken.items()))
        raise ContractError(f"{spec(table).name}: the build breaks its own contract: {told}")
    return frame


def _is_sound(table: type[Table], frame: pl.DataFrame) -> bool:
    """Whether every row keeps the contract; asked in one go, without a verdict on each row."""
    rules = _rules_of(table)  # type: ignore[arg-type]  # a class is hashable
    have = frame.schema
    declared = schema(table).items()
    has_types = all(have.get(c) == t for c, t in declared if c not in BRONZE_METADATA)
    return has_types and (not rules or all(frame.select(rules).row(0)))


@cache
def _rules_of(table: type[Table]) -> list[pl.Expr]:
    """Of each rule whether all rows keep it; one that cannot be told counts as kept, as the contract has it."""
    rules = table._validation_rules(with_cast=False)
    return [rule.expr.fill_null(True).all().alias(name) for name, rule in rules.items()]


@cache
def _judge_of(table: type[Table]) -> type[dy.Schema]:
    """The contract with a row number, so that verdicts find their way back to whole rows."""
    return type(f"{table.__name__}Judge", (table,), {ROW: dy.UInt32(alias=ROW)})


@cache
def _kept_by_all(judge: type[dy.Schema]) -> list[pl.Expr]:
    """Of each rule, whether all rows keep it; a rule that cannot be told of a row is kept."""
    rules = judge._validation_rules(with_cast=False)
    return [rule.expr.all().alias(str(place)) for place, rule in enumerate(rules.values())]


@cache
def _optional(table: type[Table]) -> dict[str, pl.DataType]:
    """Types of the columns that may be null and are no key."""
    return {c: col.dtype for c, col in table.columns().items() if col.nullable and c not in spec(table).key}


@dataclass(frozen=True)
class Verdict:
    """What became of the rows of a frame.

    ``valid`` rows, where values of optional columns that break a rule are null: ``nulled`` names these, one row a cell
    and rule. ``failures`` has one row a broken rule of the rows that are refused. Both have row__, rule, column,
    value.
    """

    valid: pl.DataFrame
    failures: pl.DataFrame
    nulled: pl.DataFrame


FEW = 20_000  # rows, up to which it pays to ask first whether there is any failure: of more some row mostly fails

FAILURES = {ROW: pl.UInt32, "rule": pl.String, "column": pl.String, "value": pl.String}


def judge(
    table: type[Table], frame: pl.DataFrame, also: pl.DataFrame | None = None, refuse: Collection[str] = ()
) -> Verdict:
    """Validate a frame that may carry more columns than the contract; all columns survive in ``valid``.

    What breaks a rule is nulled where the contract allows null and the column is no key; a rule over several columns
    nulls those of them that may be null. Only what is left then refuses the row. A value that ingest could not cast
    (kept in ``_rescued``) breaks the rule ``type`` of its column; one that ingest nulled for another rule is judged
    anew. ``also`` are rules (`FAILURES`) that rows break and the contract alone cannot tell. Of the columns ``refuse``
    no value is nulled: what breaks a rule there refuses the row.
    """
    types = _optional(table)  # type: ignore[arg-type]  # a class is hashable
    optional = [column for column in types if column not in refuse]
    numbered = rescued.put_back(frame, types).with_row_index(ROW)
    uncast = _type_failures(table, numbered)
    spared = pl.col("column").is_in(optional)
    refusing, nulled = [uncast.filter(~spared)], [uncast.filter(spared)]
    found, left = _broken(table, numbered), numbered
    found = found if also is None else pl.concat([found, also])
    while found.height:
        cells = _blamed(table, found, left, optional)
        mendable = found.join(cells, on=[ROW, "rule", "column"], how="semi", nulls_equal=True)
        hopeless = found.join(mendable, on=[ROW, "rule", "column"], how="anti", nulls_equal=True)
        refusing.append(found.join(hopeless, on=ROW, how="semi"))
        cells = cells.join(hopeless, on=ROW, how="anti")
        nulled.append(cells.select(ROW, "rule", column="cell", value="value"))
        left = without(left.join(cells, on=ROW, how="semi"), cells.rename({"column": "of", "cell": "column"}))
        found = _broken(table, left)
    refused, lost = pl.concat(refusing), pl.concat(nulled)
    if refused.is_empty() and lost.is_empty():
        return Verdict(numbered.drop(ROW), refused, lost)
    reasons = pl.concat([refused, lost.join(refused, on=ROW, how="semi")]).unique([ROW, "rule", "column"])
    lost = lost.join(refused, on=ROW, how="anti").sort(ROW, "column", "rule")
    valid = without(numbered.join(refused, on=ROW, how="anti"), lost).drop(ROW)
    return Verdict(valid, _with_values(reasons, numbered), lost)


def without(numbered: pl.DataFrame, cells: pl.DataFrame) -> pl.DataFrame:
    """A frame with a row number where the cells, rows of row__ and column, are null."""
    if cells.is_empty():
        return numbered
    rows = {str(c): part[ROW].implode() for (c,), part in cells.partition_by("column", as_dict=True).items()}
    return numbered.with_columns(
        pl.when(~pl.col(ROW).is_in(which)).then(pl.col(c)).alias(c) for c, which in rows.items()
    )


def _broken(table: type[Table], numbered: pl.DataFrame) -> pl.DataFrame:
    """One row a broken rule of the contract, `FAILURES` without values."""
    if numbered.height <= FEW and _is_sound(table, numbered):
        return pl.DataFrame(schema=FAILURES)
    judge = _judge_of(table)  # type: ignore[arg-type]  # a class is hashable
    columns, declared = [*table.columns(), ROW], judge.columns()
    is_typed = all(numbered.schema[c] == declared[c].dtype for c in columns)
    if is_typed and all(numbered.select(_kept_by_all(judge)).row(0)):  # type: ignore[arg-type]
        return pl.DataFrame(schema=FAILURES)
    result = judge.filter(numbered.select(columns), cast=True)
    return _rule_failures(result.failure.details()) if len(result.failure) else pl.DataFrame(schema=FAILURES)


def _blamed(table: type[Table], found: pl.DataFrame, numbered: pl.DataFrame, optional: list[str]) -> pl.DataFrame:
    """The cells that may be null and are not, of every broken rule: row__, rule, column (of the rule), cell, value."""
    wide = {name: rule.expr.meta.root_names() for name, rule in table._schema_validation_rules().items()}
    parts = []
    for (rule, column), rows in found.partition_by("rule", "column", as_dict=True).items():
        for cell in [column] if column is not None else wide.get(rule, []):
            if cell in optional:
                values = numbered.select(ROW, value=rescued.text_of(numbered[cell])).drop_nulls("value")
                parts.append(rows.drop("value").join(values, on=ROW).with_columns(cell=pl.lit(cell)))
    empty = pl.DataFrame(schema={**FAILURES, "cell": pl.String})
    return pl.concat([empty, *(p.select(empty.columns) for p in parts)])


def _rule_failures(details: pl.DataFrame) -> pl.DataFrame:
    verdicts = [c for c, t in details.schema.items() if isinstance(t, pl.Enum) and c != ROW]
    return (
        details.select(ROW, *(pl.col(c).cast(pl.String) for c in verdicts))
        .unpivot(index=ROW, on=verdicts, variable_name="full", value_name="state")
        .filter(pl.col("state") == "invalid")
        .select(
            ROW,
            rule=pl.col("full").str.split("|").list.last(),
            column=pl.when(pl.col("full").str.contains("|", literal=True)).then(
                pl.col("full").str.split("|").list.first()
            ),
            value=pl.lit(None, pl.String),
        )
    )


def _type_failures(table: type[Table], numbered: pl.DataFrame) -> pl.DataFrame:
    if "_rescued" not in numbered.columns:
        return pl.DataFrame(schema=FAILURES)
    held = numbered.filter(pl.col("_rescued").is_not_null())
    found = [_failed_casts(held, column) for column in table.columns() if held[column].null_count()]
    return pl.concat(found) if found else pl.DataFrame(schema=FAILURES)


def _failed_casts(numbered: pl.DataFrame, column: str) -> pl.DataFrame:
    """Rows whose column is null because its text did not cast; that text was rescued under the column's name."""
    suspects = numbered.filter(pl.col(column).is_null() & pl.col("_rescued").str.contains(f'"{column}":', literal=True))
    found = suspects.select(
        ROW, rule=pl.lit("type"), column=pl.lit(column), value=pl.col("_rescued").str.json_path_match(f"$['{column}']")
    )
    return found.filter(pl.col("value").is_not_null())


def _with_values(failures: pl.DataFrame, numbered: pl.DataFrame) -> pl.DataFrame:
    """Fill ``value`` with the offending cell and drop rules that only follow from a failed cast."""
    columns = [c for c in failures["column"].drop_nulls().unique() if c in numbered.columns]
    typed = failures.filter(pl.col("rule") == "type").select(ROW, "column")
    consequent = failures.filter(pl.col("rule") != "type").join(typed, on=[ROW, "column"], how="anti")
    if columns:
        rows = numbered.join(failures.select(ROW).unique(), on=ROW, how="semi")
        cells = rows.select(ROW, *(pl.col(c).cast(pl.String) for c in columns)).unpivot(
            index=ROW, on=columns, variable_name="column", value_name="cell"
        )
        consequent = consequent.join(cells, on=[ROW, "column"], how="left", nulls_equal=True)
        consequent = consequent.with_columns(value=pl.coalesce("value", "cell")).drop("cell")
    return pl.concat([failures.filter(pl.col("rule") == "type"), consequent.select(list(FAILURES))]).sort(
        ROW, "column", "rule"
    )
