"""SQL expressions over the columns of one frame, in DuckDB's dialect: parsed to trees, written back, evaluated.

The connection reaches nothing but the frame that it is given: no files, no network, no extensions, no settings.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Mapping
from functools import cache, lru_cache
from typing import Any

import duckdb
import polars as pl

from customer360.platform.errors import ConfigError
from customer360.platform.sources.values import zonenames

Tree = dict[str, Any]  # a node as DuckDB serializes it
CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "threads": 1,
    "enable_external_access": False,
    "autoload_known_extensions": False,
    "autoinstall_known_extensions": False,
    "python_enable_replacements": False,
    "ieee_floating_point_ops": False,  # a number divided by nothing is a fault of its row, not infinite
}
# `located`: the instant when the clocks of a zone show a time; the earlier one where they show it twice.
# `place`: the zone that a name means, of IANA, of Windows or of Rails, also behind its offset: (GMT+01:00) Bern.
# Common parts of an expression are moved out of TRY, where they fail for all rows.
PLACED = ", ".join(f"'{name}': '{zone}'" for name, zone in zonenames.PLACES.items())
SETTINGS = f"""
SET TimeZone = 'UTC';
SET disabled_optimizers = 'common_subexpressions';
CREATE MACRO initcap(t) AS list_reduce(list_transform(string_split(lower(t), ' '),
    lambda w: upper(w[1]) || w[2:]), lambda a, b: a || ' ' || b);
CREATE MACRO regexp_like(t, p) AS regexp_matches(t, p);
CREATE MACRO log1p(x) AS ln(1 + x);
CREATE MACRO clock_lead(z, moment) AS timezone(z, moment) - timezone('UTC', moment);
CREATE MACRO earlier(z, clock, moment) AS CASE WHEN moment < timezone(z, clock) AND timezone(z, moment) = clock
    THEN moment ELSE timezone(z, clock) END;
CREATE MACRO located(z, clock) AS
    earlier(z, clock, timezone('UTC', clock - clock_lead(z, timezone(z, clock) - INTERVAL 1 DAY)));
CREATE MACRO place(z) AS CASE WHEN contains(z, '/') AND z NOT LIKE '(%' THEN z
    ELSE COALESCE(map_extract(MAP {{{PLACED}}}, lower(regexp_replace(trim(z), '^\\(.*?\\)\\s*', '')))[1], trim(z)) END;
SET lock_configuration = true;
"""
RECORDS = "records"
ATTEMPTS = 64  # to find the reserved words of an expression that are columns
FAULTS = duckdb.Error
UNREADABLE = "cannot be read: "  # before a text that no cast takes
_LOCAL = threading.local()


class Fault(ConfigError):
    """An expression that is none: why, in one line."""


def _connection() -> duckdb.DuckDBPyConnection:
    if not hasattr(_LOCAL, "connection"):
        _LOCAL.connection = duckdb.connect(":memory:", config=CONFIG)
        _LOCAL.connection.execute(SETTINGS)
    made: duckdb.DuckDBPyConnection = _LOCAL.connection
    return made


def parsed(text: str) -> Tree:
    """The tree of one expression.

    Raises:
        Fault: it is no SQL, or more than an expression over one record or group.
    """
    tree: Tree = json.loads(_parsed(text))
    return tree


@cache
def _parsed(text: str) -> str:
    read = _serialized(f"SELECT {text}")
    if read["error"]:
        is_statement = read.get("error_type") != "parser"
        raise Fault("is no single expression" if is_statement else f"no SQL: {first_line(read['error_message'])}")
    node = read["statements"][0]["node"]
    whole = len(read["statements"]) == 1 and node["type"] == "SELECT_NODE" and len(node["select_list"]) == 1
    clauses = ("where_clause", "group_expressions", "having", "qualify", "sample", "modifiers")
    if not whole or node["from_table"]["type"] != "EMPTY" or any(node[clause] for clause in clauses):
        raise Fault("is no single expression")
    tree = node["select_list"][0]
    tree["alias"] = ""
    for inner in nodes(tree):
        if why := REFUSED.get(inner.get("class", "")):
            raise Fault(why)
    return json.dumps(tree)


def _serialized(query: str) -> dict[str, Any]:
    """The query as DuckDB serializes it, or its fault. Columns of files are called order, group or at, too: a reserved
    word where none can stand is the name of a column."""
    first: dict[str, Any] | None = None
    waiting = [query]
    for _ in range(ATTEMPTS):
        if not waiting:
            break
        tried = waiting.pop(0)
        read: dict[str, Any] = json.loads(_scalar("SELECT json_serialize_sql(?::VARCHAR)", tried))
        first = first or read
        if not read["error"]:
            return read
        at = int(read.get("position") or 0)
        found = re.search(r"[A-Za-z_]+(?=\s*$)", tried[:at]), re.compile(r"[A-Za-z_]+").match(tried, at)
        for word in found:
            if word is not None and word.group().lower() in keywords() and word.start() >= len("SELECT "):
                waiting.append(f'{tried[: word.start()]}"{word.group()}"{tried[word.end() :]}')
    assert first is not None
    return first


REFUSED = {
    "SUBQUERY": "holds a query: an expression sees its own record, and what `join` brings",
    "WINDOW": "looks at other records (OVER): an expression sees its own record, or its group under `group_by`",
    "STAR": "names no column: `*` stands for all of them",
    "DEFAULT": 'names a column called default: write "default"',
    "PARAMETER": "holds a parameter (? or $), of which the value is nowhere",
}


def nodes(tree: Any) -> Iterator[Tree]:
    """The nodes of a tree, from above."""
    if isinstance(tree, dict):
        yield tree
        for held in tree.values():
            yield from nodes(held)
    elif isinstance(tree, list):
        for held in tree:
            yield from nodes(held)


def written(tree: Tree) -> str:
    """A tree as SQL."""
    return _written(json.dumps(tree))


@lru_cache(4096)
def _written(tree: str) -> str:
    query = json.loads(_envelope())
    query["statements"][0]["node"]["select_list"] = [json.loads(tree)]
    text = _scalar("SELECT json_deserialize_sql(?::JSON)", json.dumps(query))
    return text.removeprefix("SELECT ").removesuffix(";")


@cache
def _envelope() -> str:
    return _scalar("SELECT json_serialize_sql(?::VARCHAR)", "SELECT 1")


def _scalar(query: str, value: str) -> str:
    return str(_connection().execute(query, [value]).fetchall()[0][0])


def as_text(tree: Tree) -> Tree:
    """A tree of the same values as text."""
    return parsed(f"CAST({written(tree)} AS VARCHAR)")


def column(name: str) -> Tree:
    """A reference to a column."""
    return {"class": "COLUMN_REF", "type": "COLUMN_REF", "alias": "", "column_names": [name], "query_location": 0}


def quoted(text: str) -> str:
    """A text as a SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def select(frame: pl.DataFrame, expressions: Mapping[str, str], tail: str = "") -> pl.DataFrame:
    """The expressions over the rows of a frame, in its order; ``tail`` follows FROM.

    Raises:
        FAULTS: as DuckDB says.
    """
    chosen = ", ".join(f'{text} AS "{name}"' for name, text in expressions.items())
    connection = _connection()
    connection.register(RECORDS, frame.to_arrow())
    try:
        found = _with_spans_as_text(connection.sql(f"SELECT {chosen} FROM {RECORDS} {tail}")).to_arrow_table()
    finally:
        connection.unregister(RECORDS)
    result = pl.from_arrow(found)
    assert isinstance(result, pl.DataFrame)
    return result


def _with_spans_as_text(relation: Any) -> Any:
    """A relation whose intervals (a time less another one) are text: Polars has no such type."""
    kinds = {name: str(kind) for name, kind in zip(relation.columns, relation.types, strict=True)}
    if not any("INTERVAL" in kind for kind in kinds.values()):
        return relation
    as_text = {name: f'CAST("{name}" AS {kind.replace("INTERVAL", "VARCHAR")})' for name, kind in kinds.items()}
    return relation.project(", ".join(f'{text} AS "{name}"' for name, text in as_text.items()))


def type_of(frame: pl.DataFrame, text: str, tail: str = "") -> str:
    """The type of an expression over a frame, as DuckDB names it. Raises FAULTS."""
    connection = _connection()
    connection.register(RECORDS, frame.head(0).to_arrow())
    try:
        return str(connection.sql(f"SELECT {text} FROM {RECORDS} {tail}").types[0])
    finally:
        connection.unregister(RECORDS)


def kind_of(kind: str) -> str:
    """What a type of DuckDB is to expressions: text, number, time, date, truth, null, or its own name."""
    head = kind.split("(")[0]
    if head in ("VARCHAR", "JSON", "STRING_LITERAL"):
        return "text"
    if (
        head in ("DOUBLE", "FLOAT", "DECIMAL", "INTEGER_LITERAL")
        or head.endswith("INT")
        or head == "INTEGER"
        or head.endswith("INTEGER")
    ):
        return "number"
    if head.startswith("TIMESTAMP"):
        return "time"
    return {"DATE": "date", "BOOLEAN": "truth", '"NULL"': "null", "NULL": "null"}.get(head, head)


@cache
def keywords() -> frozenset[str]:
    """Words that name no column as they stand."""
    rows = _connection().execute(
        "SELECT keyword_name FROM duckdb_keywords() WHERE keyword_category IN ('reserved', 'type_function')"
    )
    return frozenset(name for (name,) in rows.fetchall())


@cache
def functions() -> dict[str, tuple[str, str]]:
    """Kind (scalar, aggregate, macro, table) and stability of DuckDB's functions, by name."""
    rows = _connection().execute(
        "SELECT function_name, function_type, coalesce(stability, 'CONSISTENT') FROM duckdb_functions() "
        "ORDER BY function_type DESC, stability"
    )
    return {name: (kind, stability) for name, kind, stability in rows.fetchall()}


def first_line(fault: object) -> str:
    """What DuckDB says of a fault, without its kind and the picture below it."""
    return re.sub(r"^(\w+ )+Error: ", "", next(iter(str(fault).splitlines()), "").strip())


def evaluated(frame: pl.DataFrame, texts: dict[str, str]) -> tuple[dict[str, pl.Series], dict[str, pl.Series]]:
    """Values by name, and the rows of those that fail somewhere."""
    try:
        found = select(frame, texts)
        return {name: found[name] for name in texts}, {}
    except FAULTS as fault:
        if len(texts) > 1:
            apart = [evaluated(frame, {name: text}) for name, text in texts.items()]
            return (
                {k: v for values, _ in apart for k, v in values.items()},
                {k: v for _, missing in apart for k, v in missing.items()},
            )
        ((name, text),) = texts.items()
        try:
            tried = select(frame, {"v": f"TRY(struct_pack(v := {text}))"})["v"]
        except FAULTS:
            try:
                empty = select(frame.head(0), {"v": text})["v"]
            except FAULTS:
                raise Fault(first_line(fault)) from None
            values, failed = _by_halves(frame, text, empty)
            return {name: values}, {name: failed}
        return {name: tried.struct.field("v")}, {name: tried.is_null()}


def _by_halves(frame: pl.DataFrame, text: str, empty: pl.Series) -> tuple[pl.Series, pl.Series]:
    """Values, and the rows where they fail: for what DuckDB's TRY does not catch."""
    try:
        return select(frame, {"v": text})["v"], pl.Series([False]).new_from_index(0, frame.height)
    except FAULTS:
        if frame.height <= 1:
            return empty.extend_constant(None, frame.height), pl.Series([True]).new_from_index(0, frame.height)
    middle = frame.height // 2
    parts = [_by_halves(part, text, empty) for part in (frame[:middle], frame[middle:])]
    return pl.concat([values for values, _ in parts]), pl.concat([failed for _, failed in parts])


def is_aggregate(tree: Tree) -> bool:
    """Whether a tree is a call of an aggregate function."""
    return tree.get("class") == "FUNCTION" and (
        tree["function_name"] == "count_star" or functions().get(tree["function_name"], ("", ""))[0] == "aggregate"
    )


def aggregates(tree: Tree) -> bool:
    """Whether a tree holds an aggregate function."""
    return any(is_aggregate(node) for node in nodes(tree))


def require_rows(tree: Tree, kind: str) -> None:
    """Raises Fault where a tree that is to be read as a kind, row by row, holds an aggregate."""
    if call := next((node for node in nodes(tree) if is_aggregate(node)), None):
        name = call["function_name"].upper()
        raise Fault(f"{name} gives text where a {kind} is meant; cast what it takes: {name}(CAST(… AS DOUBLE) …)")
