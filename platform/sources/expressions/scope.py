"""Expressions of a mapping over the records of a file: columns found, texts read as what they meet, values kept.

Columns of files are text. Text that meets arithmetic, a number, a date or a truth value is read as one, by the reader
of contract values; a function that takes no text gets what it takes. A value that cannot be had (a date of month 13,
one divided by nothing) is null in its row alone, which `Result.failed` marks.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from customer360.platform import tables
from customer360.platform.sources import values
from customer360.platform.sources.expressions import nested, sql, zones
from customer360.platform.sources.expressions.paths import Step, column_of, named, path_of
from customer360.platform.sources.expressions.sql import Fault, Tree
from customer360.platform.sources.formats.records import POSITION
from customer360.platform.sources.values import Reading, Said

ARITHMETIC = {"+", "-", "*", "/", "//", "%", "**", "^"}
READ_AS = {
    "number": tables.Float(nullable=True),
    "whole": tables.Integer(nullable=True),
    "time": tables.Timestamp(nullable=True),
    "date": tables.Date(nullable=True),
    "truth": tables.Boolean(nullable=True),
}
SQL_TYPES = {"number": "DOUBLE", "whole": "BIGINT", "time": "TIMESTAMPTZ", "date": "DATE", "truth": "BOOLEAN"}
EXACT = 2.0**53  # below it a float holds every whole number
_KINDS: dict[tuple[Any, ...], str] = {}  # of expressions over columns of these types, found before


@dataclass(frozen=True)
class Result:
    """Values of an expression by row; ``failed``: rows where it could not be had; ``texts``: what was in the columns
    that it used, by their name."""

    values: pl.Series
    failed: pl.Series | None = None
    texts: dict[str, pl.Series] = field(default_factory=dict)


@dataclass(frozen=True)
class Read:
    """A column of the scope: where its value could not be had, and the names of what it was made of."""

    failed: pl.Series | None
    of: tuple[str, ...]


class Scope:
    """The columns of records under short names, and what expressions made of them.

    ``absent`` columns may be missing where records leave out what they have no value for; then they are null.
    """

    def __init__(self, records: pl.DataFrame, reading: Reading | None = None, said: Said | None = None) -> None:
        self.height = records.height
        self.columns = [c for c in records.columns if c != POSITION]
        self.alias = {c: f"c{i}" for i, c in enumerate(self.columns)}
        self.frame = pl.DataFrame([_plain(records[c]).alias(a) for c, a in self.alias.items()])
        if not self.columns:
            self.frame = pl.DataFrame({"c": pl.Series([None] * self.height, dtype=pl.String)})
        self.frame = self.frame.with_columns(pl.int_range(pl.len()).alias("row"))
        self.read = {a: Read(None, (c,)) for c, a in self.alias.items()}
        self.texts = {c: self.frame[a] for c, a in self.alias.items()}
        self.reading, self.said = reading or Reading(), said or Said()
        self.keys: dict[str, str] = {}  # alias of a group's key by its text
        self.target = ""
        self._made: dict[Any, str] = {}
        self.times_read: dict[str, str] = {}  # alias of the text that times were read from, by their SQL

    # ---- columns ------------------------------------------------------------------------------------------------

    def place(self, path: Sequence[Step]) -> tuple[str, tuple[Step, ...]]:
        """The column of a path, and the steps below it. Raises Fault, with the nearest names."""
        found = column_of(path, self.columns)
        if found is None:
            near = difflib.get_close_matches(named(path), self.columns, 3, 0.5) or difflib.get_close_matches(
                str(path[0]), self.columns, 3, 0.5
            )
            raise Absent(named(path), near)
        return found

    def at(self, path: Sequence[Step]) -> str:
        """The alias of what stands at a path."""
        column, steps = self.place(path)
        if not steps:
            return self.alias[column]
        if (column, steps) not in self._made:
            held = self.frame[self.alias[column]]
            if held.dtype != pl.String:
                raise Fault(f"{named(path)}: {column} holds no nested values")
            (found,) = nested.at_paths(held, [steps])
            label = named((column, *steps))
            self.texts[label] = pl.select(pl.when(found.failed).then(held).otherwise(found.values)).to_series()
            read = Read(found.failed if found.failed.any() else None, (label,))
            self._made[column, steps] = self._kept(_plain(found.values), read)
        return self._made[column, steps]

    def _kept(self, values: pl.Series, read: Read) -> str:
        alias = f"m{len(self._made)}"
        self.frame = self.frame.with_columns(values.alias(alias))
        self.read[alias] = read
        return alias

    def used(self, tree: Tree) -> list[str]:
        """Aliases that a rewritten tree names."""
        found = (n["column_names"][0] for n in sql.nodes(tree) if n.get("class") == "COLUMN_REF")
        return list(dict.fromkeys(name for name in found if name in self.read))

    def kept(self, tree: Tree) -> str:
        """The alias of the values of a rewritten tree."""
        if tree.get("class") == "COLUMN_REF":
            return str(tree["column_names"][0])
        text = sql.written(tree)
        if text not in self._made:
            found = self.results({"v": tree})["v"]
            self._made[text] = self._kept(_plain(found.values), Read(found.failed, tuple(found.texts)))
        return self._made[text]

    def as_read(self, tree: Tree, kind: str) -> Tree:
        """A rewritten tree of text as values of a kind; what cannot be read fails when it is needed."""
        sql.require_rows(tree, kind)
        alias = self.kept(tree)
        is_time = kind in ("time", "date")
        key = (alias, kind, self.reading.usual.get(self.target) if is_time else None)
        if key not in self._made:
            text = self.frame[alias]
            if text.dtype != pl.String:
                text = text.cast(pl.String)
            label = self.read[alias].of[0] if len(self.read[alias].of) == 1 else sql.written(tree)
            text, found = self._contract_values(text, (is_time and self.target) or label, kind)
            bad = found.is_null() & text.is_not_null()
            if bad.any():
                spoiled = pl.concat_str(pl.lit(sql.UNREADABLE), text)
                found = pl.select(pl.when(bad).then(spoiled).otherwise(_as_text(found))).to_series()
            self._made[key] = self._kept(found, self.read[alias])
        made = self._made[key]
        is_whole = self.frame[made].dtype != pl.String
        values = sql.column(made) if is_whole else sql.parsed(f"CAST({made} AS {SQL_TYPES[kind]})")
        if is_time:
            self.times_read[sql.written(values)] = alias
        return values

    def _contract_values(self, text: pl.Series, name: str, kind: str) -> tuple[pl.Series, pl.Series]:
        """Texts, null where they stand for nothing, and what they are read as, each distinct one once."""
        contract, distinct = READ_AS[kind], text.unique()
        few = len(distinct) < len(text)
        known = values.known(distinct if few else text, contract, self.reading)
        read = values.read(known, name, contract, self.reading, self.said)
        if not few:
            return known, read
        found = pl.DataFrame({"text": distinct, "known": known, "read": read})
        joined = (
            text.alias("text").to_frame().join(found, on="text", how="left", nulls_equal=True, maintain_order="left")
        )
        return joined["known"], joined["read"]

    # ---- types --------------------------------------------------------------------------------------------------

    def kind(self, tree: Tree) -> str:
        """What a rewritten tree gives: text, number, time, date, truth, or DuckDB's name of the type.

        Raises:
            Fault: DuckDB does not take it.
        """
        if tree.get("class") == "COLUMN_REF" and tree["column_names"][0] in self.read:
            dtype = self.frame.schema[tree["column_names"][0]]
            return "text" if dtype == pl.String else "number" if dtype.is_numeric() else self._type(tree)
        kinds = {"STRING": "text", "INTEGER": "number", "NULL_LITERAL": "null"}
        return kinds.get((tree.get("literal") or {}).get("kind", "")) or self._type(tree)

    def _type(self, tree: Tree) -> str:
        """The kind of a tree as DuckDB binds it. Raises Fault."""
        text, names = sql.written(tree), self.used(tree)
        key = (text, *((name, str(self.frame.schema[name])) for name in names))
        if key not in _KINDS:
            tail = f"GROUP BY {', '.join(names)}" if names and sql.aggregates(tree) else ""
            try:
                found = sql.type_of(self.frame.select(names or ["row"]).head(0), text, tail)
            except sql.FAULTS as fault:
                raise Fault(sql.first_line(fault)) from None
            _KINDS[key] = sql.kind_of(found)
        return _KINDS[key]

    # ---- rewriting ----------------------------------------------------------------------------------------------

    def over(self, tree: Tree, target: str, want: str) -> Tree:
        """As `rewritten`, for a contract column: times are read as that column's."""
        self.target = target
        return self.rewritten(zones.decided(tree, want or "clock" * zones.is_placed(tree)), want)

    def truth(self, tree: Tree) -> Tree:
        """A condition over the columns of the scope."""
        return self._truth(self.rewritten(zones.decided(tree, "")))

    def rewritten(self, tree: Tree, want: str = "", hidden: frozenset[str] = frozenset()) -> Tree:
        """A tree over the columns of the scope, in which texts are read as what they meet; ``want`` is the kind that
        chosen values (MIN, GREATEST, branches of CASE) are to be compared as."""
        path = path_of(tree, hidden)
        if path is not None:
            return sql.column(self.at(path))
        kind, of = tree.get("class"), tree.get("type", "")
        if kind == "FUNCTION":
            found = self._function(tree, want, hidden)
        elif kind == "COMPARISON":
            found = self._alike(tree, [("left",), ("right",)], hidden)
        elif kind == "BETWEEN":
            found = self._alike(tree, [("input",), ("lower",), ("upper",)], hidden)
        elif of in ("COMPARE_IN", "COMPARE_NOT_IN"):
            found = self._alike(tree, [("children", i) for i in range(len(tree["children"]))], hidden)
        elif kind == "CASE":
            found = self._case(tree, want, hidden)
        elif of == "OPERATOR_COALESCE":
            places = [("children", i) for i in range(len(tree["children"]))]
            found = self._branches(self._each(tree, places, want, hidden), places, want)
        elif kind == "CONJUNCTION" or of == "OPERATOR_NOT":
            found = self._truths(self._inside(tree, hidden))
        elif kind == "CAST":
            found = self._cast(tree, hidden)
        elif kind == "LAMBDA":
            found = self._lambda(tree, hidden)
        else:
            found = self._inside(tree, hidden)
        return self._as_key(found)

    def _as_key(self, tree: Tree) -> Tree:
        if self.keys and tree.get("class") not in ("COLUMN_REF", "CONSTANT"):
            alias = self.keys.get(sql.written(tree))
            return sql.column(alias) if alias else tree
        return tree

    def _inside(self, tree: Tree, hidden: frozenset[str]) -> Tree:
        return {k: self._held(v, hidden) for k, v in tree.items()}

    def _held(self, held: Any, hidden: frozenset[str]) -> Any:
        if isinstance(held, list):
            return [self._held(each, hidden) for each in held]
        if isinstance(held, dict):
            return self.rewritten(held, "", hidden) if "class" in held else self._inside(held, hidden)
        return held

    def _each(self, tree: Tree, places: list[tuple[Any, ...]], want: str, hidden: frozenset[str]) -> Tree:
        found = deepcopy(tree)
        for place in places:
            _put(found, place, self.rewritten(_get(tree, place), want, hidden))
        return found

    def _alike(self, tree: Tree, places: list[tuple[Any, ...]], hidden: frozenset[str]) -> Tree:
        """A comparison: texts beside a number, time or truth value are read as such."""
        found = self._each(tree, places, "", hidden)
        kinds = {place: self.kind(_get(found, place)) for place in places}
        other = next((k for k in kinds.values() if k in READ_AS), None)
        if other is None:
            return found
        found = self._each(tree, places, other, hidden)
        for place in places:
            operand = _get(found, place)
            if self.kind(operand) == "text" and operand.get("class") != "CONSTANT":
                _put(found, place, self.as_read(operand, other))
        return found

    def _branches(self, tree: Tree, places: list[tuple[Any, ...]], want: str) -> Tree:
        """Values of which one is chosen: of one kind."""
        kinds = {place: self.kind(_get(tree, place)) for place in places}
        if len(set(kinds.values()) - {"null"}) < 2:
            return tree
        for place, kind in kinds.items():
            if kind == "text" and want and _get(tree, place).get("class") != "CONSTANT":
                _put(tree, place, self.as_read(_get(tree, place), want))
            elif kind not in ("text", "null") and not want and "text" in kinds.values():
                _put(tree, place, sql.as_text(_get(tree, place)))
        return tree

    def _case(self, tree: Tree, want: str, hidden: frozenset[str]) -> Tree:
        found = deepcopy(tree)
        for check, before in zip(found["case_checks"], tree["case_checks"], strict=True):
            check["when_expr"] = self._truth(self.rewritten(before["when_expr"], "", hidden))
        places = [*(("case_checks", i, "then_expr") for i in range(len(found["case_checks"]))), ("else_expr",)]
        for place in places:
            _put(found, place, self.rewritten(_get(tree, place), want, hidden))
        return self._branches(found, places, want)

    def _truths(self, tree: Tree) -> Tree:
        key = "children" if "children" in tree else "arguments"
        tree[key] = [self._truth(child) for child in tree[key]]
        return tree

    def _truth(self, tree: Tree) -> Tree:
        is_text = tree.get("class") != "CONSTANT" and self.kind(tree) == "text"
        return self.as_read(tree, "truth") if is_text else tree

    def _cast(self, tree: Tree, hidden: frozenset[str]) -> Tree:
        found = self._inside(tree, hidden)
        to = str((found.get("type_expr") or {}).get("type_name", ""))
        if to.startswith("TIMESTAMP") and self.kind(found["child"]) == "number":  # microseconds since 1970
            whole = f"make_timestamp(CAST({sql.written(found['child'])} AS BIGINT))"
            return sql.parsed(f"CAST({whole} AS TIMESTAMPTZ)")
        return found

    def _lambda(self, tree: Tree, hidden: frozenset[str]) -> Tree:
        """``lambda x: …`` hides columns called x. ``payload -> '$.a'`` comes as one, too, and reads a column."""
        left = tree["lhs"]
        path = path_of(left, hidden)
        if path is not None and column_of(path, self.columns) is not None and tree.get("syntax_type") != "LAMBDA":
            return self._inside(tree, hidden)
        names = {n["column_names"][0] for n in sql.nodes(left) if n.get("class") == "COLUMN_REF"}
        return {**tree, "expr": self.rewritten(tree["expr"], "", hidden | names)}

    def _function(self, tree: Tree, want: str, hidden: frozenset[str]) -> Tree:
        name = tree["function_name"].lower()
        known = sql.functions().get(name)
        if known is None and not tree.get("is_operator") and name not in ("count_star",):
            near = difflib.get_close_matches(name, list(sql.functions()), 3)
            raise Fault(f"there is no function {name}" + (f"; did you mean {', '.join(near)}?" if near else ""))
        if known and (known[1] != "CONSISTENT" or name == "ago"):
            raise Fault(f"{name} depends on the clock or on chance; a row must come out alike whenever it is read")
        if name in ("unnest", "unpivot_list"):
            raise Fault("unnest makes several rows of one; say `explode: COLUMN` for that")
        is_moved = want == "time" and name in ("+", "-")  # a moment by some hours
        asked = want if name in zones.CHOOSING or is_moved else "number" if name in ARITHMETIC else ""
        found = {k: self._held(v, hidden) if k != "arguments" else v for k, v in tree.items()}
        arguments = [self.rewritten(a["expression"], asked, hidden) for a in tree["arguments"]]
        if zones.is_placed(tree):
            return zones.placed(self, tree, *arguments)
        found["arguments"] = [{**a, "expression": e} for a, e in zip(tree["arguments"], arguments, strict=True)]
        return self._fitting(found, want if name in zones.CHOOSING else "")

    def instants_and_clocks(self, text: Tree) -> tuple[str, str]:
        """Aliases of the times without an offset among the texts of a rewritten tree, and of the instants."""
        sql.require_rows(text, "time")
        alias = self.times_read.get(sql.written(text)) or self.kept(text)
        local, instant = ((alias, self.target, kind) for kind in ("local", "instant"))
        if local not in self._made:
            found = zones.told(self.frame[alias], self.target or sql.written(text), self.reading, self.said)
            for key, column in zip((local, instant), found, strict=True):
                self._made[key] = self._kept(column, self.read[alias])
        return self._made[local], self._made[instant]

    def exact_type(self, tree: Tree) -> str:
        """DuckDB's name of the type of a rewritten tree. Raises Fault."""
        self._type(tree)
        return sql.type_of(self.frame.select(self.used(tree) or ["row"]).head(0), sql.written(tree))

    def _fitting(self, tree: Tree, want: str) -> Tree:
        """A call whose arguments are texts, or what the function takes instead of texts."""
        name = tree["function_name"].lower()
        arguments = [a["expression"] for a in tree["arguments"]]
        texts = [i for i, held in enumerate(arguments) if self._is_text(held)]
        kinds = [want] if want in READ_AS else []
        if name in ARITHMETIC and not any(self._is_moment(a["expression"]) for a in tree["arguments"]):
            kinds = ["number"]
        elif not kinds:
            kinds = ["", "number", "whole", "time"]
        fault: Fault | None = None
        for kind in kinds if texts else [""]:
            tried = deepcopy(tree)
            for i in texts if kind else []:
                tried["arguments"][i]["expression"] = self.as_read(tree["arguments"][i]["expression"], kind)
            try:
                self._type(tried)
                return tried
            except Fault as why:
                fault = fault or why
        assert fault is not None
        raise fault

    def _is_text(self, tree: Tree) -> bool:
        """Whether a tree gives text that may be read as something else: a constant is what it is."""
        return tree.get("class") != "CONSTANT" and not sql.is_aggregate(tree) and self.kind(tree) == "text"

    def _is_moment(self, tree: Tree) -> bool:
        return self.kind(tree) in ("time", "date", "INTERVAL")

    # ---- values -------------------------------------------------------------------------------------------------

    def results(self, trees: dict[str, Tree]) -> dict[str, Result]:
        """The values of rewritten trees, each row for itself."""
        found: dict[str, pl.Series] = {}
        texts = {}
        for name, tree in trees.items():
            if tree.get("class") == "COLUMN_REF":
                found[name] = self.frame[tree["column_names"][0]]
            elif (tree.get("literal") or {}).get("kind") == "STRING":
                found[name] = pl.Series([tree["literal"]["text"]], dtype=pl.String).new_from_index(0, self.height)
            else:
                texts[name] = sql.written(tree)
        missing: dict[str, pl.Series] = {}
        if texts:
            used = dict.fromkeys(alias for name in texts for alias in self.used(trees[name]))
            computed, missing = sql.evaluated(self.frame.select([*used] or ["row"]), texts)
            found |= computed
        return {name: self._result(tree, found[name], missing.get(name)) for name, tree in trees.items()}

    def _result(self, tree: Tree, values: pl.Series, missing: pl.Series | None) -> Result:
        read = [self.read[alias] for alias in self.used(tree)]
        masks = [*(r.failed for r in read if r.failed is not None), *([missing] if missing is not None else [])]
        labels = dict.fromkeys(label for r in read for label in r.of)
        texts = {label: self.texts[label] for label in labels if label in self.texts}
        if not masks:
            return Result(values, None, texts)
        failed = masks[0]
        for mask in masks[1:]:
            failed = failed | mask
        return Result(pl.select(pl.when(~failed).then(values)).to_series(), failed, texts)


class Absent(Fault):
    """A column that the records do not have."""

    def __init__(self, name: str, near: list[str]) -> None:
        self.name, self.hint = name, f"; did you mean {', '.join(near)}?" if near else ""
        super().__init__(f"there is no column {name}{self.hint}")


def written_numbers(found: pl.Series) -> pl.Series:
    """Computed numbers as text: whole ones without a fraction."""
    whole = found.is_finite() & (found == found.floor()) & (found.abs() < EXACT)
    return pl.select(
        pl.when(whole).then(found.cast(pl.Int64, strict=False).cast(pl.String)).otherwise(found.cast(pl.String))
    ).to_series()


def _as_text(found: pl.Series) -> pl.Series:
    if isinstance(found.dtype, pl.Datetime):
        return found.dt.strftime("%Y-%m-%d %H:%M:%S%.6f+00")
    return found.cast(pl.String)


def _plain(series: pl.Series) -> pl.Series:
    return series.replace("", None) if series.dtype == pl.String else series


def _get(tree: Any, place: tuple[Any, ...]) -> Tree:
    for key in place:
        tree = tree[key]
    found: Tree = tree
    return found


def _put(tree: Any, place: tuple[Any, ...], value: Tree) -> None:
    _get(tree, place[:-1])[place[-1]] = value
