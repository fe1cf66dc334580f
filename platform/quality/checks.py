"""Checks: what a table's rows are measured by, beside its contract, and the counts that a part of the rows gives.

Counts are sums, so that parts of a table can be counted apart and added up. A condition is SQL over the columns of a
row: true is passed, false is failed, null (a value is missing) is not measured.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal, get_args

import polars as pl
from polars.exceptions import PolarsError
from pydantic import AfterValidator, Field, model_validator

from customer360.platform import tables
from customer360.platform.errors import ContractError
from customer360.platform.settings import Frozen
from customer360.platform.tables import Table

Dimension = Literal["completeness", "accuracy", "consistency", "validity", "timeliness"]
DIMENSIONS: tuple[Dimension, ...] = get_args(Dimension)
AHEAD_HOURS = 38  # a day, and 14 hours for the zone that is furthest ahead of UTC
CONTRACT = "contract"  # the rule of validity that stands for all rules of the contract
MILLISECONDS_A_DAY = 86_400_000

Tally = dict[str, dict[str, int]]  # source system to counts by name; see `tally`


def _parsed(condition: str) -> str:
    try:
        pl.sql_expr(condition)
    except PolarsError as fault:
        raise ValueError(f"is no SQL condition: {fault}") from None
    return condition


Condition = Annotated[str, AfterValidator(_parsed)]


class TableChecks(Frozen):
    """What the rows of one bronze table are measured by; columns are the contract's."""

    required: list[str] = []  # without it a row is of no use; default: what the contract requires
    expected: list[str] = []  # should be there
    validity: dict[str, Condition] = {}  # format of a value
    consistency: dict[str, Condition] = {}  # values of a row among themselves
    accuracy: dict[str, Condition] = {}  # a value against what is known of the world
    event_column: str | None = None  # when it happened
    refuse: list[str] = []  # optional columns of which a broken value refuses the row; of others it is emptied
    late_after_days: int = Field(default=31, ge=0)  # older than the newest event of its file by more: late

    @property
    def conditions(self) -> dict[tuple[Dimension, str], str]:
        """All conditions by dimension and name."""
        named: dict[Dimension, dict[str, str]] = {
            "validity": self.validity, "consistency": self.consistency, "accuracy": self.accuracy,
        }  # fmt: skip
        return {(dimension, name): text for dimension, found in named.items() for name, text in found.items()}

    def unknown_columns(self, known: Iterable[str]) -> list[str]:
        """Columns that the checks name and the table lacks."""
        named = {*self.required, *self.expected, *self.refuse, *([self.event_column] if self.event_column else [])}
        named |= {c for text in self.conditions.values() for c in pl.sql_expr(text).meta.root_names()}
        return sorted(named - set(known))


class Checks(Frozen):
    """Checks by bronze table.

    Raises:
        ValueError: a table or a column is unknown; each is named.
    """

    tables: dict[str, TableChecks] = {}
    ahead_hours: float = Field(default=AHEAD_HOURS, ge=0)  # how far a time may lie after the landing of its row

    @model_validator(mode="after")
    def _known(self) -> Checks:
        faults = []
        for name, checks in self.tables.items():
            try:
                unknown = checks.unknown_columns(tables.by_name(name).columns())
            except ContractError as fault:
                faults.append(str(fault))
                continue
            if unknown:
                faults.append(f"{name} has no columns {unknown}")
        if faults:
            raise ValueError("; ".join(faults))
        return self


def filled(column: str, dtype: pl.DataType) -> pl.Expr:
    """Whether a cell says something: not null, and not blank where it is text."""
    there = pl.col(column).is_not_null()
    return there & (pl.col(column).str.strip_chars() != "") if dtype == pl.String else there


def tally(
    table: type[Table],
    checks: TableChecks | None,
    standing: pl.DataFrame,
    valid: pl.DataFrame,
    repeats: pl.DataFrame,
    sound: pl.DataFrame,
) -> Tally:
    """Counts of a part of a bronze table by source system.

    ``standing`` are the rows that were judged, ``valid`` those that were not refused, ``sound`` those of them that
    keep the contract whole, without a value that was nulled for it; ``repeats`` one row an exact duplicate. Counts:
    total, valid, invalid, duplicates, nulls (rows without a required value), and for each check
    ``dimension|rule|checked`` and ``dimension|rule|passed``; of the contract itself sound rows pass.
    """
    if standing.is_empty():
        return {}
    checks = checks or TableChecks()
    schema = tables.schema(table)
    required = checks.required or [c for c, column in table.columns().items() if not column.nullable]
    there = {c: filled(c, schema[c]) for c in dict.fromkeys([*required, *checks.expected])}
    verdicts = {f"completeness|{column}": is_filled for column, is_filled in there.items()}
    verdicts |= {f"{dimension}|{name}": pl.sql_expr(text) for (dimension, name), text in checks.conditions.items()}
    # Every verdict is made once, as a column of its own; what is null was not measured.
    judged = standing.select("_source_system", **verdicts)
    measures = {"total": pl.len()}
    if required:
        measures["nulls"] = (~pl.all_horizontal(f"completeness|{c}" for c in required)).sum()
    for name in verdicts:
        measures |= {f"{name}|checked": pl.col(name).count(), f"{name}|passed": pl.col(name).sum()}
    counted = judged.group_by("_source_system").agg(**measures)
    passed_rows, repeated, whole = _by_system(valid), _by_system(repeats), _by_system(sound)
    found: Tally = {}
    for row in counted.sort("_source_system").to_dicts():
        system = row.pop("_source_system")
        good = passed_rows.get(system, 0)
        counts = {name: int(count) for name, count in row.items()}
        counts |= {"valid": good, "invalid": counts["total"] - good, "duplicates": repeated.get(system, 0)}
        counts |= {f"validity|{CONTRACT}|checked": counts["total"], f"validity|{CONTRACT}|passed": whole.get(system, 0)}
        found[system] = counts
    return found


def _by_system(frame: pl.DataFrame) -> dict[str, int]:
    return dict(frame.group_by("_source_system").len().rows())


def added(tallies: Iterable[Tally]) -> Tally:
    """The sum of the counts of several parts."""
    total: Tally = {}
    for part in tallies:
        for system, counts in part.items():
            mine = total.setdefault(system, {})
            for name, count in counts.items():
                mine[name] = mine.get(name, 0) + count
    return {system: total[system] for system in sorted(total)}


def punctuality(rows: pl.DataFrame, checks: TableChecks | None) -> dict[str, int]:
    """``timed``: rows of one file with an event time; ``late``: those that are older than a delivery should hold.

    Empty where the table declares no event time.

    The delivery's time is the newest event of the file that a wrong clock did not write: 99 of 100 events are not
    after it. So history that comes in its own files counts as timely.
    """
    if checks is None or checks.event_column is None or rows.is_empty():
        return {}
    moments = rows[checks.event_column].cast(pl.Datetime("ms")).drop_nulls().to_physical()
    newest = moments.quantile(0.99, "higher")
    late = 0 if newest is None else int((moments < newest - checks.late_after_days * MILLISECONDS_A_DAY).sum())
    return {"timed": moments.len(), "late": late}
