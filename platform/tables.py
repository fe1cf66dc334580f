"""Table: the contract of one lake table, declared once.

A contract is a dataframely schema plus what a lake needs to know: the table's name, its grain, how it is stored and
which columns hold personal data. Everything else is derived from it: Delta schema, casting, validation with reasons,
warehouse DDL, catalogue page, sample rows, masking and erasure.

    class Sessions(Table, table="silver.sessions", per="subject_id"):
        '''One row per visit of one visitor.'''
        session_id = String(primary_key=True)
        started_at = Timestamp()
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import Any, Literal

import dataframely as dy
import polars as pl

from customer360.platform import rescued
from customer360.platform.errors import ContractError

String, Integer, Boolean, Float, Date, List, Struct, Binary, Column = (
    dy.String, dy.Int64, dy.Bool, dy.Float64, dy.Date, dy.List, dy.Struct, dy.Binary, dy.Column,
)  # fmt: skip

Erasure = Literal["delete", "anonymize", "none"]
SUBJECT_KEYS = ("subject_id", "person_id")  # co-located: a known subject's id is its person's id
ROW = "row__"
LIVES_ON = "lives_on__"  # column that ``Spec.settle`` gives: whether an older version is part of the current row

# What ingest adds to every bronze row: where it came from and what did not fit the contract.
BRONZE_METADATA: dict[str, pl.DataType] = {
    "_source": pl.String(),  # name of the configured source
    "_source_system": pl.String(),  # namespace of its identifiers, e.g. POS
    "_seq": pl.Int64(),  # batch number within the source
    "_file": pl.String(),
    "_position": pl.Int64(),  # 1-based record number in the file; of an element: that times 1e9, and its number
    "_ingested_at": pl.Datetime("us", "UTC"),
    "_rescued": pl.String(),  # JSON: unknown columns and values that did not cast
    "_replay_of": pl.String(),  # source/seq/file/position of the row that this one corrects
    "_deleted": pl.Boolean(),  # the source says that the key is gone as of this row; null: no
    "_restates": pl.Boolean(),  # stands for all earlier rows of its key and source, whatever their version; null: no
}


LANDED = "_ingested_at"  # when the batch of a row was made


def Money(**options: Any) -> dy.Decimal:
    """An amount of money with two decimals."""
    return dy.Decimal(12, 2, **options)


def Total(**options: Any) -> dy.Decimal:
    """A sum of many amounts of money: a shop's month in a currency of small units has more digits than any receipt."""
    return dy.Decimal(18, 2, **options)


READS = "reads"  # column metadata: how a text is read, beside its type
LONGEST_ID = 1000  # no identifier, but a document that slipped into its column


def Identifier(**options: Any) -> dy.String:
    """Text that joins tables: an id, code or number of something. Systems make them of any length and form."""
    return _read_as("id", LONGEST_ID, **options)


NUMBERED = "numbered_within"  # column metadata, see `numbered_within`


def numbered_within(column: str) -> dict[str, str]:
    """Column metadata: where a source has no such column, rows are numbered by their order within one of ``column``."""
    return {NUMBERED: column}


def Country(**options: Any) -> dy.String:
    """A country by its ISO 3166 code of three letters; files may write any code or English name."""
    return _read_as("country", 3, **options)


def State(**options: Any) -> dy.String:
    """A state or region: of America by its code of two letters, of other countries as the source writes it."""
    return _read_as("state", 100, **options)


def Currency(**options: Any) -> dy.String:
    """A currency by its ISO 4217 code; files may write code, number, English name or sign."""
    return _read_as("currency", 3, **options)


def _read_as(reader: str, longest: int, metadata: dict[str, str] | None = None, **options: Any) -> dy.String:
    return dy.String(max_length=longest, metadata={**(metadata or {}), READS: reader}, **options)


def Timestamp(**options: Any) -> dy.Datetime:
    """A UTC instant with microseconds."""
    return dy.Datetime(time_zone="UTC", time_unit="us", **options)


class OneOf(dy.String):
    """Text limited to declared values; another value breaks the rule ``one_of``."""

    def __init__(
        self,
        *values: str,
        nullable: bool = False,
        primary_key: bool = False,
        alias: str | None = None,
        metadata: dict[str, Any] | None = None,
        description: str | None = None,
    ) -> None:  # named one by one: dataframely prints and compares a column by the parameters of its constructor
        self.values = list(values)
        own = {**(metadata or {}), "values": self.values}
        super().__init__(nullable=nullable, primary_key=primary_key, alias=alias, metadata=own, description=description)

    def validation_rules(self, expr: pl.Expr) -> dict[str, pl.Expr]:
        return super().validation_rules(expr) | {"one_of": expr.is_in(self.values)}

    def _sample_unchecked(self, generator: dy.random.Generator, n: int) -> pl.Series:
        return generator.sample_choice(n, choices=self.values, null_probability=self._null_probability)


def personal(kind: str) -> dict[str, str]:
    """Column metadata that marks personal data, by kind.

    Kinds: name, email, phone, address, birth, person (what else is known of one: gender, income, interests), account,
    device, agent (what a browser says of itself) and text (free text, or raw data that may hold any of these).
    """
    return {"pii": kind}


QUASI = "quasi"  # column metadata, see `quasi`


def quasi(kind: Literal["age", "code", "day", "name"]) -> dict[str, str]:
    """Column metadata of what an outsider may know of somebody beside the name, by how it is generalized for analysts
    (`platform.anonymity`): a birth date to an age, a code to its first characters, a day to its month, a name of few
    kinds to any."""
    return {QUASI: kind}


# What versions of a record mean beyond "the newest counts". Takes all rows of keys that came more than once, in order,
# and the columns of the key; returns the same rows in the same order, where the newest row of each source may have
# other values, and LIVES_ON says which rows gave them.
Settle = Callable[[pl.DataFrame, list[str]], pl.DataFrame]

# Rows of a bronze table that no age takes away, told from all that are stored of it.
Lasting = Callable[[pl.LazyFrame], pl.Expr]


@dataclass(frozen=True)
class Spec:
    """What a lake needs to know about a table beside its columns."""

    name: str
    per: str | None  # grain: rows of one value are built together, so that a build may go part by part
    key: tuple[str, ...]  # natural key of a record table, for deduplication
    version: str | None  # column that orders versions of one key
    past: tuple[str, ...]  # columns of a bronze table that say when something happened, the row's own time first
    partition_by: tuple[str, ...]  # Delta partition columns beside `bucket`
    bucketed: bool
    sort_by: tuple[str, ...]
    erasure: Erasure
    settle: Settle | None = None
    serves: str | None = None  # purpose of its rows, or of its columns where some are kept; see `platform.purposes`
    kept: tuple[str, ...] = ()  # columns that stay where the purpose is refused; none: the row goes
    lasting: Lasting | None = None  # see `platform.retention`

    @property
    def layer(self) -> str:
        return self.name.partition(".")[0]

    @property
    def names_times(self) -> bool:
        """Whether its rows are judged by when they landed."""
        return bool(self.past or self.version)

    @property
    def is_dated(self) -> bool:
        """Whether the table keeps one edition an as_of date."""
        return "as_of" in self.partition_by


TABLES: dict[str, type[Table]] = {}


class Table(dy.Schema):
    """Base of all contracts; see the module's docstring. ``serves`` names the purpose that its rows or columns serve
    (`platform.purposes`); a base without a name says it for the columns that it lends.
    """

    def __init_subclass__(
        cls,
        *,
        table: str | None = None,
        per: str | None = None,
        key: tuple[str, ...] = (),
        version: str | None = None,
        past: tuple[str, ...] = (),
        partition_by: tuple[str, ...] = (),
        sort_by: tuple[str, ...] = (),
        erasure: Erasure = "delete",
        settle: Settle | None = None,
        bucketed: bool | None = None,
        serves: str | None = None,
        kept: tuple[str, ...] = (),
        lasting: Lasting | None = None,
        **rest: Any,
    ) -> None:
        super().__init_subclass__(**rest)
        cls.__serves__ = serves
        if table is None:
            return
        declared = TABLES.get(table)
        if declared is not None and (declared.__module__, declared.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ContractError(f"{table} is declared twice: {declared.__module__} and {cls.__module__}")
        if bucketed is None:
            bucketed = per in SUBJECT_KEYS or "subject_id" in cls.columns()
        if table.startswith("bronze."):
            partition_by = ("_source", *partition_by)  # ingest writes, replaces and erases by source
        cls.__c360__ = Spec(
            table, per, key, version, past, partition_by, bucketed, sort_by, erasure, settle, serves, kept, lasting
        )
        TABLES[table] = cls


def spec(table: type[Table]) -> Spec:
    """The declaration of a table class."""
    declared: Spec | None = getattr(table, "__c360__", None)
    if declared is None:
        raise ContractError(f"{table.__name__} declares no table name: class X(Table, table='layer.name')")
    return declared


def by_name(name: str) -> type[Table]:
    """The contract of ``layer.name``; names the nearest ones when it is unknown."""
    import difflib

    if name in TABLES:
        return TABLES[name]
    near = difflib.get_close_matches(name, TABLES, n=3)
    hint = f"; did you mean {', '.join(near)}?" if near else "."
    raise ContractError(
        f"there is no table {name!r}{hint} If its module is there, it was not imported: call `compose()` first"
    )


def schema(table: type[Table]) -> dict[str, pl.DataType]:
    """Column names and Polars types as stored, bronze metadata included."""
    return dict(_schema_of(table))  # type: ignore[arg-type]  # a class is hashable


@cache
def _schema_of(table: type[Table]) -> dict[str, pl.DataType]:
    columns = {name: column.dtype for name, column in table.columns().items()}
    return columns | BRONZE_METADATA if spec(table).layer == "bronze" else columns


def pii_columns(table: type[Table]) -> dict[str, str]:
    """Column name to kind of personal data."""
    return dict(_pii_of(table))  # type: ignore[arg-type]  # a class is hashable


@cache
def _pii_of(table: type[Table]) -> dict[str, str]:
    return {n: c.metadata["pii"] for n, c in table.columns().items() if c.metadata and "pii" in c.metadata}


def quasi_columns(table: type[Table]) -> dict[str, str]:
    """Column name to kind of quasi-identifier."""
    return {n: c.metadata[QUASI] for n, c in table.columns().items() if c.metadata and QUASI in c.metadata}


def is_ahead(column: str, margin: timedelta) -> pl.Expr:
    """Whether a time of a bronze row lies more than the margin after its landing; false where either is unknown."""
    at = pl.col(column).cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    return (at > pl.col(LANDED) + margin).fill_null(False)


def summary(table: type[Table]) -> str:
    """First sentences of the contract's docstring, up to a blank line: the grain, in words."""
    return " ".join((table.__doc__ or "").strip().split("\n\n")[0].split())


def conform(table: type[Table], frame: pl.LazyFrame) -> pl.LazyFrame:
    """Order and cast a build's output to its contract.

    Raises:
        ContractError: a column is missing or unknown; both are named.
    """
    have, want = frame.collect_schema(), schema(table)
    missing, unknown = [c for c in want if c not in have], [c for c in have if c not in want]
    if missing or unknown:
        raise ContractError(f"{spec(table).name}: missing columns {missing}, unknown columns {unknown}")
    return frame.select(pl.col(c).cast(t) for c, t in want.items())


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
    declared = _schema_of(table).items()  # type: ignore[arg-type]
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


def judge(table: type[Table], frame: pl.DataFrame, also: pl.DataFrame | None = None) -> Verdict:
    """Validate a frame that may carry more columns than the contract; all columns survive in ``valid``.

    What breaks a rule is nulled where the contract allows null and the column is no key; a rule over several columns
    nulls those of them that may be null. Only what is left then refuses the row. A value that ingest could not cast
    (kept in ``_rescued``) breaks the rule ``type`` of its column; one that ingest nulled for another rule is judged
    anew. ``also`` are rules (`FAILURES`) that rows break and the contract alone cannot tell.
    """
    types = _optional(table)  # type: ignore[arg-type]  # a class is hashable
    optional = list(types)
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


def sample(table: type[Table], rows: int, seed: int = 0) -> pl.DataFrame:
    """Random rows that keep the contract's own rules; for tests and documentation."""
    return table.sample(rows, generator=dy.random.Generator(seed))
