"""A bronze column of another type: what stands is cast to the contract's type, in one commit, and nothing is lost.

A value that does not cast is null, with its text in ``_rescued`` under the name of its column, as at landing; a text
that did not cast before and does now comes back from there. A text that the new value does not reproduce (``007`` as
7, 1.239 with two decimals) is kept under ``stored:COLUMN``, and is what the next change of the type reads: back to text
it is ``007`` again. What files wrote and the lake never held, `run --reland` reads again.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import polars as pl

from customer360.platform import rescued, schemas, tables, telemetry
from customer360.platform.errors import ContractError, RunError
from customer360.platform.lake import Add, File, Lake, reached
from customer360.platform.lake.retyping import changed_types, read_as_stored, retype, stored_types
from customer360.platform.ledger import NodeRun
from customer360.platform.run.executor import Executor, Failure
from customer360.platform.settings import Settings
from customer360.platform.sources import values
from customer360.platform.sources.base import configured
from customer360.platform.sources.stated import reading_of
from customer360.platform.sources.values import Reading, Said
from customer360.platform.tables import Table

STORED = "stored:"  # before the name of a column: what the lake held before its type changed
Types = dict[str, tuple[pl.DataType, pl.DataType]]


def recast(
    table: type[Table], frame: pl.DataFrame, changed: Types, reading: Reading
) -> tuple[pl.DataFrame, Counter[str]]:
    """Rows of a bronze table in its contract's types, and how many values of the ``changed`` columns were ``cast``,
    ``uncast`` (null, their text is rescued) or ``restored`` (their text had been rescued)."""
    facts: Counter[str] = Counter()
    for column in changed:
        frame = _recast_column(table, frame, column, reading, facts)
    return frame, facts


def _recast_column(
    table: type[Table], frame: pl.DataFrame, column: str, reading: Reading, facts: Counter[str]
) -> pl.DataFrame:
    declared, old, kept = table.columns()[column], frame[column], frame["_rescued"]
    held, broken = (_member(kept, key) for key in (STORED + column, rescued.RULES + "." + column))
    failed = pl.select(pl.when(broken.is_null()).then(_member(kept, column)).alias(column)).to_series()
    text = pl.select(pl.coalesce(held, rescued.text_of(old)).alias(column)).to_series()
    is_text = pl.String in (old.dtype, declared.dtype) or held.null_count() < len(held)
    here = _read(text if is_text else old, column, declared, reading)
    new = pl.select(pl.coalesce(here, _read(failed, column, declared, reading)).alias(column)).to_series()
    given = pl.select(pl.coalesce(text, failed)).to_series()
    is_lost = new.is_null() & values.known(given, declared, reading).is_not_null()  # "n/a" is null, and no failed cast
    is_other = given.is_not_null() & ~is_lost & ~_reproduces(new, given)
    facts["cast"] += int((new.is_not_null() & text.is_not_null()).sum())
    facts["restored"] += int((new.is_not_null() & text.is_null()).sum())
    facts["uncast"] += int(is_lost.sum())
    touched = (held.is_not_null() | failed.is_not_null() | is_lost | is_other).arg_true()
    written = [
        _kept(
            kept[place], column, given[place], is_lost=is_lost[place], is_other=is_other[place], is_ruled=broken[place]
        )
        for place in touched
    ]
    rescue = kept.scatter(touched, pl.Series("_rescued", written, pl.String)) if written else kept
    return frame.with_columns(new, rescue.alias("_rescued"))


def _kept(
    before: str | None, column: str, text: str, *, is_lost: bool, is_other: bool, is_ruled: str | None
) -> str | None:
    """What a row's ``_rescued`` keeps of a column that was cast."""
    texts = json.loads(before or "{}")
    texts.pop(STORED + column, None)
    if is_ruled is None:
        texts.pop(column, None)
    if is_lost:
        texts[column] = text
    elif is_other:
        texts[STORED + column] = text
    return json.dumps(texts, ensure_ascii=False) if texts else None


def _reproduces(new: pl.Series, text: pl.Series) -> pl.Series:
    """Whether a value says all that its text said: a number does without the zeros that end a fraction."""
    same = (rescued.text_of(new) == text).fill_null(value=False)
    if not new.dtype.is_numeric():
        return same
    plain = text.str.contains(r"^-?(0|[1-9]\d*)(\.\d+)?$")
    equal = text.str.replace(r"\.0+$|(\.\d*?)0+$", "$1") == rescued.text_of(new).str.replace(r"\.0+$|(\.\d*?)0+$", "$1")
    return same | (plain & equal).fill_null(value=False)


def _member(kept: pl.Series, key: str) -> pl.Series:
    """A text of every row's ``_rescued``; of ``_rules.COLUMN`` the rules that the column broke."""
    path = "".join(f"['{part}']" for part in ([key] if not key.startswith(rescued.RULES) else key.split(".", 1)))
    return kept.str.json_path_match(f"${path}")


def _read(series: pl.Series, column: str, declared: tables.Column, reading: Reading) -> pl.Series:
    return values.read(values.known(series, declared, reading), column, declared, reading, Said())


@dataclass(frozen=True)
class Recast:
    """A data file in the new types, and what became of its values."""

    add: Add
    facts: dict[str, int]


@dataclass(frozen=True)
class RecastUnit:
    """One data file of a bronze table on its way to other types; picklable. Written again, it is the same file."""

    lake: Lake
    table: str
    file: File
    changed: Types
    reading: Reading
    stem: str
    is_written: bool = True

    def run(self) -> Recast:
        contract = tables.by_name(self.table)
        types = stored_types(self.lake, self.table)
        frame, facts = recast(
            contract, read_as_stored(self.lake, self.table, self.file, types), self.changed, self.reading
        )
        if not self.is_written:
            return Recast(Add("", 0, frame.height, {}, ""), dict(facts))
        for name, kind in tables.schema(contract).items():
            if name not in frame.columns:  # the contract gained it at the same time
                frame = frame.with_columns(pl.lit(None, kind).alias(name))
        rest = [c for c in frame.columns if c not in tables.schema(contract)]
        frame = frame.select(*tables.schema(contract), *rest)
        return Recast(self.lake.write_file(self.table, frame, self.file.partition, self.stem), dict(facts))


def in_words(changed: Types) -> str:
    """The columns whose type changed: ``UNITS Int64 -> String``."""
    return ", ".join(f"{column} {old} -> {new}" for column, (old, new) in changed.items())


def migrate(
    lake: Lake, table: type[Table], executor: Executor, reading_of: Callable[[str], Reading], *, dry: bool = False
) -> dict[str, int]:
    """Give a stored bronze table the types of its contract. ``reading_of`` says how values of a source are read.
    Returns how many values were cast, uncast and restored; with ``dry`` nothing is written. Needs the lake's run lock.

    Raises:
        RunError: a file of it cannot be read or written; the table is as it was.
    """
    name, changed = tables.spec(table).name, changed_types(lake, table)
    if not changed:
        return {}
    version, files = lake.version(name), lake.files(name)
    units = [
        RecastUnit(
            lake, name, f, changed, reading_of(f.partition.get("_source") or ""), f"m{version:08d}-{n:05d}", not dry
        )
        for n, f in enumerate(files)
    ]
    made: dict[int, Recast] = {}
    for place, result in telemetry.beating(executor.map(units), f"casting {name}"):
        if isinstance(result, Failure):
            raise RunError({name: f"{files[place].path} cannot be cast ({in_words(changed)}): {result.reason}"})
        made[place] = result
        reached(f"after write {name}")
    counts: Counter[str] = Counter()
    for done in made.values():
        counts.update(done.facts)
    if not dry:
        if sum(f.rows for f in files) != sum(done.add.rows for done in made.values()):
            raise ContractError(f"{name}: rows were lost while it was cast; it stays as it was")
        facts = {"columns": in_words(changed), "rows": sum(f.rows for f in files), **counts}
        retype(lake, table, [made[place].add for place in sorted(made)], facts)
    return dict(counts)


def brought(lake: Lake, settings: Settings, table: str, executor: Executor, rules: dict[str, Any]) -> list[NodeRun]:
    """Make a bronze table, or bring it to the columns and types of its contract. Where that cannot be, or its schema
    contract freezes its types, the sources that fill it fail: how, each. Needs the lake's run lock."""
    contract = tables.by_name(table)
    try:
        if changed := changed_types(lake, contract):
            if tables.spec(contract).schema_contract.data_type == "freeze":
                raise ContractError(
                    f"{table}: its contract has other types than the lake ({in_words(changed)}) and freezes them: "
                    f"`customer360 schema diff {table}` shows what becomes of the values, "
                    f"`customer360 schema accept {table}` casts them"
                )
            to_contract(lake, settings, table, executor, rules)
        lake.ensure(contract)
        schemas.note_contract(lake, contract)
    except (ContractError, RunError) as fault:
        reason = "; ".join(fault.failures.values()) if isinstance(fault, RunError) else str(fault)
        telemetry.log.error(f"failed {table}: {reason}")
        return [
            NodeRun(f"source {n}", "failed", reason=reason) for n, s in settings.sources.items() if s.table == table
        ]
    return []


def to_contract(
    lake: Lake, settings: Settings, table: str, executor: Executor, rules: dict[str, Any], *, dry: bool = False
) -> dict[str, int]:
    """As `migrate`, each value as its source is read; what was done is told."""

    @cache
    def read_as(source: str) -> Reading:
        return reading_of(configured(settings, source), rules) if source in settings.sources else Reading()

    changed = changed_types(lake, tables.by_name(table))
    counts = migrate(lake, tables.by_name(table), executor, read_as, dry=dry)
    if changed and not dry:
        names = " ".join(n for n, s in settings.sources.items() if s.table == table)
        kept = f", {counts['uncast']:,} did not and stay as text in _rescued" if counts.get("uncast") else ""
        back = f", {counts['restored']:,} came back from there" if counts.get("restored") else ""
        telemetry.event(
            f"{table}: {in_words(changed)}: {counts.get('cast', 0):,} values were cast{kept}{back}; "
            f"`customer360 run --reland {names}` reads what files wrote"
        )
    return counts
