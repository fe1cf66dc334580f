"""Automatic repairs: what was changed of delivered data without asking, counted by run, told row by row on request.

Nothing is repaired where it was delivered: bronze keeps what came, so a repair is undone by a run without it. Rule
files say which are made (``repairs`` of ``standardization`` and ``voice``, ``refuse`` of ``validation``).
``quality.repairs`` holds counts alone. The rows are derived from the lake when somebody asks for them, so that an
erasure has nothing to look for here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import polars as pl

from customer360.pipelines.rules import Repair, StandardizationRules
from customer360.pipelines.rules.validation import ValidationRules
from customer360.pipelines.rules.voice import VoiceRules
from customer360.platform import graph, judging, ledger, privacy, tables
from customer360.platform.errors import ConfigError
from customer360.platform.lake import Lake
from customer360.platform.ledger import Run
from customer360.platform.quality import row_id
from customer360.platform.quality.ahead import ahead, margin_of
from customer360.platform.run.closing import closes_runs
from customer360.platform.run.control import write_rows
from customer360.platform.run.deletions import Snapshot, is_deletion, parted, with_versions
from customer360.platform.run.records import current_records, in_order
from customer360.platform.run.redating import redated
from customer360.platform.settings import Settings
from customer360.platform.tables import Boolean, Integer, String, Table, Timestamp

WHOLE = "*"  # in the place of a column: whole rows are repaired
COLUMNS = ("table_name", "source_system", "record_key", "column_name", "before", "after", "duplicate_of", "row_id")
ROWS = dict.fromkeys(COLUMNS, pl.String)
Counts = dict[tuple[str, str], int]  # repairs by table and column


@dataclass(frozen=True)
class Asked:
    """Of which table's repairs are asked, and what its rows are judged by: rules, and the ``snapshots`` of its sources;
    ``key``: of one record alone, as `ROWS` has it in ``record_key``."""

    lake: Lake
    table: str
    rules: Mapping[str, Any]
    key: str | None = None
    snapshots: tuple[Snapshot, ...] = ()


class Repairs(Table, table="quality.repairs", sort_by=("rule", "table_name", "column_name", "counted_at")):
    """One row per kind of automatic repair, table, column and run that changed how many of them stand."""

    rule = String(primary_key=True)
    table_name = String(primary_key=True)
    column_name = String(primary_key=True, description=f"{WHOLE}: whole rows are repaired")
    run_id = String(primary_key=True)
    row_count = Integer(description="Repairs that stand after the run; of repeated_delivery, deliveries")
    change_count = Integer(description="Against the row of the run before; below 0: repairs were undone")
    is_applied = Boolean(description="The rule files have it made; single records may be spared")
    counted_at = Timestamp()


NAME = tables.spec(Repairs).name


@dataclass(frozen=True)
class Rule:
    """A kind of repair: ``node`` makes it in ``table``, none where all record tables do in theirs of bronze; ``count``
    gives how many stand, ``rows`` each of them (`ROWS`); ``switch`` is where a rule file undoes it."""

    name: str
    what: str
    switch: str
    count: Callable[[Lake, str], Counts]
    rows: Callable[[Asked], pl.LazyFrame]
    table: str = ""
    node: str | None = None
    setting: Callable[[Mapping[str, Any]], Repair] | None = None

    def is_applied(self, rules: Mapping[str, Any], table: str, column: str) -> bool:
        """Whether the rule files have the repair made."""
        if self.setting:
            return self.setting(rules).apply
        return column not in _refused_columns(rules, table)


def _refused_columns(rules: Mapping[str, Any], table: str) -> Collection[str]:
    checks = rules.get("validation", ValidationRules()).tables.get(table)
    return checks.refuse if checks else ()


def _standardization(name: str) -> Callable[[Mapping[str, Any]], Repair]:
    return lambda rules: getattr(rules.get("standardization", StandardizationRules()).repairs, name)


def _voice(name: str) -> Callable[[Mapping[str, Any]], Repair]:
    return lambda rules: getattr(rules.get("voice", VoiceRules()).repairs, name)


def _emptied_count(lake: Lake, node: str) -> Counts:
    """By column, from the facts of the newest commit of a record table."""
    found: Counts = {}
    for fact, number in ledger.last_facts(lake, node, f"node:{node}").items():
        if fact.startswith("nulled|"):
            at = (graph.NODES[node].records or "", fact.split("|", 2)[1])
            found[at] = found.get(at, 0) + number
    return found


def _repeated_count(lake: Lake, node: str) -> Counts:
    number = ledger.last_facts(lake, node, f"node:{node}").get("duplicates", 0)
    return {(graph.NODES[node].records or "", WHOLE): number} if number else {}


def _key(table: type[Table]) -> pl.Expr:
    return pl.concat_str(pl.col(list(tables.spec(table).key)).cast(pl.String), separator="/", ignore_nulls=True)


def _keyed(table: type[Table]) -> list[str]:
    return ["_source_system", *tables.spec(table).key]


def _delivered(asked: Asked, some: pl.Expr | None = None, *, repeated: bool = False) -> pl.DataFrame:
    """Every delivery of the keys that have a row such as ``some``, or several rows. The keys are found first: a bronze
    table may be larger than memory."""
    table, rows = tables.by_name(asked.table), asked.lake.scan(asked.table)
    if asked.key is not None:
        rows = rows.filter(_key(table) == asked.key)
    own = _keyed(table)
    found = rows if some is None else rows.filter(some)
    keys = found.group_by(own).len().filter(pl.col("len") > int(repeated)).select(own).collect(engine="streaming")
    return rows.join(keys.lazy(), on=own, how="semi", nulls_equal=True).collect(engine="streaming")


def _replaced(asked: Asked) -> set[str]:
    """Addresses of the rows that a correction stands for."""
    corrections = asked.lake.scan(asked.table).select("_replay_of").drop_nulls().collect(engine="streaming")
    return set(corrections["_replay_of"])


def _emptied(asked: Asked) -> pl.LazyFrame:
    """Values of optional columns that break their contract in the current rows, as silver judges them. What ingest
    found to break it stands in ``_rescued``, so only keys with such rows, and with times that had not come, are judged
    again."""
    table, margin = tables.by_name(asked.table), margin_of(dict(asked.rules))
    late = [tables.is_ahead(column, margin) for column in tables.spec(table).past]
    rows = _delivered(asked, pl.any_horizontal(pl.col("_rescued").is_not_null(), *late))
    refuse, held = _refused_columns(asked.rules, asked.table), asked.snapshots
    made = current_records(table, rows, _replaced(asked), None, margin, held, measured=False, refuse=refuse)
    keys = rows.select(record_key=_key(table), source_system="_source_system", row_id=row_id())
    cells = made.nulled.join(keys, on="row_id").sort("row_id", "column")
    return cells.lazy().select(
        "source_system", "record_key", "row_id", table_name=pl.lit(asked.table), column_name="column", before="value"
    )


def _repeated(asked: Asked) -> pl.LazyFrame:
    """Deliveries that say what an earlier one of the same key said, to the letter, as `current_records` counts them."""
    table, margin = tables.by_name(asked.table), margin_of(dict(asked.rules))
    several = _delivered(asked, repeated=True)
    standing, _ = redated(table, several.filter(~row_id().is_in(list(_replaced(asked)))), margin)
    judged, deletions = parted(table, standing)
    refuse = _refused_columns(asked.rules, asked.table)
    sound = pl.concat([judging.judge(table, judged, ahead(table, judged, margin), refuse).valid, deletions])
    if sound.is_empty():
        return pl.LazyFrame(schema=ROWS)
    ordered = in_order(table, with_versions(table, sound, ["_source", *_keyed(table)]))
    said = pl.struct("_source_system", is_deletion(), *table.columns())
    told = {"said": said, "record_key": _key(table), "source_system": pl.col("_source_system"), "row_id": row_id()}
    first = pl.col("row_id").first().over("said")
    placed = ordered.select(**told).with_columns(duplicate_of=first)
    again = placed.filter(pl.col("row_id") != pl.col("duplicate_of")).lazy()
    return again.drop("said").with_columns(table_name=pl.lit(asked.table), column_name=pl.lit(WHOLE))


Derived = Callable[[Lake], pl.LazyFrame]


def _sales(lake: Lake) -> pl.LazyFrame:
    return lake.scan("silver.sale_duplicates").select(
        "source_system", "duplicate_of", record_key="transaction_id", column_name=pl.lit(WHOLE)
    )


def _brands(lake: Lake) -> pl.LazyFrame:
    respelt = lake.scan("silver.brands").filter(pl.col("reason").is_in(["SIGNS", "ONE_LETTER"]))
    products = lake.scan("silver.products").select("product_id", spelling="brand")
    return products.join(respelt, on="spelling").select(
        record_key="product_id", column_name=pl.lit("brand"), before="spelling", after="brand"
    )


def _categories(lake: Lake) -> pl.LazyFrame:
    read = lake.scan("silver.product_categories").filter(pl.col("status") == "CLASSIFIED")
    return read.select(record_key="product_id", column_name=pl.lit("category"), after="category")


def _statements(reason: str) -> Derived:
    def rows(lake: Lake) -> pl.LazyFrame:
        apart = lake.scan("silver.feedback").filter(pl.col("set_apart") == reason)
        column = pl.lit("set_apart").alias("column_name")
        return apart.select("source_system", column, record_key="statement_id", after="set_apart")

    return rows


def _counted(table: str, rows: Derived) -> Callable[[Lake, str], Counts]:
    """Counts of what is derived from small tables: by counting its rows."""

    def count(lake: Lake, node: str) -> Counts:
        found = rows(lake).group_by("column_name").len().collect()
        return {(table, column): number for column, number in found.rows()}

    return count


def _of_node(name: str, what: str, node: str, table: str, rows: Derived, switch: str) -> Rule:
    setting = (_voice if switch == "voice" else _standardization)(name)
    undone = f"rule file {switch}, repairs.{name}"
    return Rule(name, what, undone, _counted(table, rows), lambda asked: rows(asked.lake), table, node, setting)


RULES = {
    rule.name: rule
    for rule in (
        Rule(
            "broken_value_emptied", "a value of an optional column that breaks its contract is empty in silver",
            "rule file validation, tables.TABLE.refuse: [COLUMN] (the row is in quarantine then)",
            _emptied_count, _emptied,
        ),
        Rule(
            "repeated_delivery", "a record that is delivered again to the letter counts once",
            "none: silver has one row a key", _repeated_count, _repeated,
        ),
        _of_node(
            "sale_duplicate", "a sale that several channels deliver counts once",
            "silver.sale_duplicates", "silver.transactions", _sales, "standardization",
        ),
        _of_node(
            "brand_spelling", "spellings of a brand become one",
            "silver.brands", "silver.product_attributes", _brands, "standardization",
        ),
        _of_node(
            "category_from_text", "the category of a product without one is read from its texts",
            "silver.product_categories", "silver.product_categories", _categories, "standardization",
        ),
        _of_node(
            "copied_statement", "one text of many authors is no feedback",
            "silver.feedback", "silver.feedback", _statements("COPIED"), "voice",
        ),
        _of_node(
            "repeated_statement", "what an author says twice of one product, store and brand counts once",
            "silver.feedback", "silver.feedback", _statements("REPEATED"), "voice",
        ),
    )
}  # fmt: skip


def named(rule: str) -> Rule:
    """The rule of that name. Raises ConfigError, with those that there are, where none is called so."""
    if rule not in RULES:
        raise ConfigError(f"there is no repair {rule!r}; there are {', '.join(RULES)}")
    return RULES[rule]


def rows_of(
    lake: Lake,
    rules: Mapping[str, Any],
    rule: str,
    table: str | None = None,
    *,
    key: str | None = None,
    snapshots: Iterable[Snapshot] = (),
) -> pl.LazyFrame:
    """The repairs of a rule that stand, `ROWS`, of one record where its ``key`` is given; personal values are as they
    were delivered (`masked`). ``snapshots`` are those of the sources of a bronze table: what they lack is gone.

    Raises:
        ConfigError: the rule repairs any bronze table, and none of them was named.
    """
    told = named(rule)
    repaired = told.table or _bronze(lake, rule, table)
    stands = lake.exists(told.node or repaired)
    asked = Asked(lake, repaired, rules, key, tuple(snapshots))
    found = told.rows(asked) if stands else pl.LazyFrame(schema=ROWS)
    found = found if key is None else found.filter(pl.col("record_key") == key)
    have = found.collect_schema()
    fixed = {c: pl.lit(None, pl.String) for c in COLUMNS if c not in have} | {"table_name": pl.lit(repaired)}
    rows = found.with_columns(**fixed).select(pl.col(COLUMNS).cast(pl.String))
    return rows.sort("source_system", "record_key", "row_id")


def _bronze(lake: Lake, rule: str, table: str | None) -> str:
    """The bronze table that was named, if one was."""
    records = {node.records for node in graph.NODES.values() if node.records}
    if table not in records:
        known = ", ".join(sorted(name for name in records if name and lake.exists(name)))
        raise ConfigError(f"{rule} repairs tables of bronze: name one of {known or 'them, once something has landed'}")
    return str(table)


def masked(rows: pl.DataFrame, rule: str) -> pl.DataFrame:
    """Repairs of a rule without personal values: keys and values are covered as the contract of their table tags them.
    What broke a contract may be of any other column, an address where a number belongs: it is covered always."""
    parts, placed = [], rows.with_row_index(tables.ROW)
    for (name, column), part in placed.partition_by("table_name", "column_name", as_dict=True).items():
        table = tables.by_name(str(name))
        kinds, keys = tables.pii_columns(table), tables.spec(table).key or table.primary_key()
        covered = ["before"] if RULES[rule].rows is _emptied else []
        covered = ["before", "after"] if str(column) in kinds else covered
        if any(key in kinds for key in keys):
            part = part.with_columns(pl.col("record_key").str.head(1) + privacy.MASK)
        parts.append(part.with_columns(_covered(c) for c in covered))
    return pl.concat(parts).sort(tables.ROW).drop(tables.ROW) if parts else rows


def _covered(column: str) -> pl.Expr:
    return pl.when(pl.col(column).is_not_null()).then(pl.lit(privacy.MASK)).alias(column)


@closes_runs(Repairs)
def repairs(lake: Lake, settings: Settings, rules: Mapping[str, Any], record: Run) -> None:
    """Count what the run built anew; a row is added where the number, or the switch, is another than before."""
    built = {node.node for node in record.nodes if node.state == "built"}
    now = dict(_counts(lake, built))
    if not built or (not now and not lake.exists(NAME)):
        return
    held = lake.scan(NAME).sort("counted_at").collect().to_dicts() if lake.exists(NAME) else []
    before = {(row["rule"], row["table_name"], row["column_name"]): row for row in held}  # the newest, which comes last
    for at in before:
        if at not in now and _makers(at) & built:
            now[at] = 0
    moment, fresh = datetime.now(UTC), []
    for at, number in sorted(now.items()):
        stood, applied = before.get(at), RULES[at[0]].is_applied(rules, at[1], at[2])
        if stood is None or (stood["row_count"], stood["is_applied"]) != (number, applied):
            change = number - (stood["row_count"] if stood else 0)
            told = dict(zip(("rule", "table_name", "column_name"), at, strict=True))
            fresh.append(
                told | {"run_id": record.id, "row_count": number, "change_count": change, "is_applied": applied,
                        "counted_at": moment}
            )  # fmt: skip
    if fresh:
        write_rows(lake, Repairs, [*(r for r in held if r["run_id"] != record.id), *fresh])


def _counts(lake: Lake, built: Collection[str]) -> Iterator[tuple[tuple[str, str, str], int]]:
    records = [node.name for node in graph.NODES.values() if node.records and node.name in built]
    for rule in RULES.values():
        for node in records if rule.node is None else {rule.node} & set(built):
            for (table, column), number in rule.count(lake, node).items():
                yield (rule.name, table, column), number


def _makers(at: tuple[str, str, str]) -> set[str]:
    """The nodes that make the repairs of a rule in a table."""
    node = RULES[at[0]].node if at[0] in RULES else None
    return {node} if node else {n.name for n in graph.NODES.values() if n.records == at[1]}


def standing(lake: Lake) -> pl.DataFrame:
    """The newest row of `Repairs` of each rule, table and column; empty where no run has told of any."""
    if not lake.exists(NAME):
        return Repairs.create_empty()
    newest = lake.scan(NAME).sort("counted_at").group_by("rule", "table_name", "column_name").last()
    return newest.select(list(Repairs.columns())).sort("rule", "row_count", descending=[False, True]).collect()
