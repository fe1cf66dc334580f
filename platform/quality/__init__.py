"""Quality: what was refused and why, and the law of conservation.

Three tables keep what did not go on. ``quality.dead_letters`` holds records that could not be read, with their raw
bytes; ``quality.quarantine`` holds bronze rows that break their contract, one row a broken rule. Nothing is lost:
both name source, batch, file and position, and both can be replayed. ``quality.erased_records`` says, without their
data, which records were refused since their person was erased.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from customer360.platform import tables
from customer360.platform.judging import Verdict
from customer360.platform.lake import Lake
from customer360.platform.tables import Binary, Integer, String, Table, Timestamp, personal


class DeadLetters(Table, table="quality.dead_letters", partition_by=("source",)):
    """One row per record of a source that could not be read."""

    letter_id = String(description="source/seq/file/position")
    source = String()
    source_system = String()
    table_name = String(description="the bronze table it was meant for")
    seq = Integer()
    file = String()
    position = Integer(description="1-based record number; 0 when the whole file is unreadable")
    reason = String(metadata=personal("text"))
    raw = Binary(metadata=personal("text"))
    received_at = Timestamp()
    origin = String(
        nullable=True,
        metadata=personal("text"),
        description="JSON: columns of the file, mapping and reader options, size and SHA-256 of the file",
    )


class Quarantine(Table, table="quality.quarantine", partition_by=("table_name",)):
    """One row per broken rule of a bronze row that its contract refused."""

    row_id = String(description="source/seq/file/position of the bronze row")
    table_name = String()
    rule = String(description="rule of the contract: nullability, one_of, max_length, type, or a business rule's name")
    column_name = String(nullable=True, description="null for rules over several columns")
    value = String(nullable=True, metadata=personal("text"))
    source = String()
    source_system = String()
    seq = Integer()
    file = String()
    position = Integer()
    record = String(metadata=personal("text"), description="the bronze row as JSON")


class ErasedRecords(Table, table="quality.erased_records", partition_by=("source",)):
    """One row per delivered record that was refused since its person had been erased; nothing of what it said."""

    source = String()
    source_system = String()
    table_name = String(description="the bronze table it was meant for")
    seq = Integer()
    file = String()
    position = Integer(description="1-based record number")
    digest = String(description="of the record, keyed by the lake's secret: equal for what is delivered again")
    received_at = Timestamp()


ERASED = "quality.erased_records"


ADDRESS = ("_source", "_seq", "_file", "_position")  # of a bronze row: where its record stood


def row_id() -> pl.Expr:
    """Address of a bronze row: source/seq/file/position."""
    return pl.concat_str(ADDRESS, separator="/")


def quarantine_rows(table: type[Table], judged: pl.DataFrame, verdict: Verdict) -> pl.DataFrame:
    """Rows for ``quality.quarantine`` from a verdict on ``judged``; empty when all rows are valid."""
    if verdict.failures.is_empty():
        return Quarantine.create_empty()
    numbered = judged.with_row_index(tables.ROW)
    rows = numbered.join(verdict.failures.select(tables.ROW).unique(), on=tables.ROW, how="semi")
    payload = rows.select(
        tables.ROW,
        row_id=row_id(),
        table_name=pl.lit(tables.spec(table).name),
        source="_source",
        source_system="_source_system",
        seq="_seq",
        file="_file",
        position="_position",
        record=pl.struct(pl.col(c).cast(pl.String) for c in [*table.columns(), "_rescued"]).struct.json_encode(),
    )
    joined = verdict.failures.rename({"column": "column_name"}).join(payload, on=tables.ROW, how="left")
    return joined.select(list(Quarantine.columns())).sort("row_id", "rule", "column_name")


@dataclass(frozen=True)
class Balance:
    """One line of the conservation table: ``received`` rows, those ``added`` by taking records apart, and where they
    went."""

    scope: str
    received: int
    outcomes: dict[str, int]
    added: int = 0

    @property
    def holds(self) -> bool:
        return self.received + self.added == sum(self.outcomes.values())

    @property
    def text(self) -> str:
        parts = " + ".join(f"{count:,} {name}" for name, count in self.outcomes.items() if count or name == "landed")
        came = f"{self.received:,}" + (f" + {self.added:,} exploded" if self.added else "")
        return f"{came} = {parts}" + ("" if self.holds else "   DOES NOT HOLD")


def batch_balance(scope: str, facts: dict[str, Any]) -> Balance:
    """Conservation of one landed batch: read = landed + dead letters + collapsed into group rows + left out + erased
    before + records without elements to take apart. Rows beyond the first of a record that was taken apart are added to
    what was read.

    Lines of a text that gave no record and are not known as blank or as a header count as received, too.
    """
    received = facts["read"] + facts.get("lines_unaccounted", 0)
    went = ("landed", "dead", "collapsed", "left_out", "erased", "without_elements")
    return Balance(scope, received, {k: facts.get(k, 0) for k in went}, facts.get("exploded", 0))


def record_balance(scope: str, facts: dict[str, Any]) -> Balance:
    """Conservation of a record table: bronze = silver + quarantined + duplicates + superseded + set apart + combined +
    deleted.

    Commits of before sources combined, or deletions were kept, name none.
    """
    named = ("silver", "quarantined", "duplicates", "superseded", "set_apart")
    later = {k: facts.get(k, 0) for k in ("combined", "deleted")}
    return Balance(scope, facts["bronze"], {k: facts[k] for k in named} | later)


def refused(lake: Lake, table: str | None = None, rule: str | None = None) -> pl.DataFrame:
    """Quarantined rules, newest batch first; empty when nothing was ever refused."""
    if not lake.exists("quality.quarantine"):
        return Quarantine.create_empty()
    frame = lake.scan("quality.quarantine")
    if table:
        frame = frame.filter(pl.col("table_name") == table)
    if rule:
        frame = frame.filter(pl.col("rule") == rule)
    return frame.sort("seq", "row_id", descending=[True, False]).collect()


def dead_letters(lake: Lake, source: str | None = None) -> pl.DataFrame:
    """Unreadable records of all or one source."""
    if not lake.exists("quality.dead_letters"):
        return DeadLetters.create_empty()
    frame = lake.scan("quality.dead_letters")
    return (frame.filter(pl.col("source") == source) if source else frame).sort("letter_id").collect()
