"""The mapping of a source: SQL expressions that make contract columns of a file's columns, record by record or group
by group.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping as Columns
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from customer360.platform import rescued, tables
from customer360.platform.errors import ConfigError
from customer360.platform.sources.expressions import nested, sql
from customer360.platform.sources.expressions.groups import Groups
from customer360.platform.sources.expressions.paths import Step, column_of, named, path_of
from customer360.platform.sources.expressions.scope import Absent, Result, Scope, written_numbers
from customer360.platform.sources.expressions.sql import Fault, Tree
from customer360.platform.sources.formats.records import POSITION
from customer360.platform.sources.mapping import joins
from customer360.platform.sources.mapping.joins import Joined
from customer360.platform.sources.mapping.unpivot import Unpivot
from customer360.platform.sources.values import Reading, Said
from customer360.platform.tables import Table


@dataclass(frozen=True)
class Mapped:
    """Records under contract names. ``failed``: texts beside values that could not be had, by contract column;
    ``verbatim``: file columns that a contract column carries over as they are; ``collapsed``: records merged into
    others.
    """

    frame: pl.DataFrame
    verbatim: frozenset[str] = frozenset()
    failed: dict[str, pl.Series] = field(default_factory=dict)
    collapsed: int = 0


@dataclass(frozen=True)
class Taken:
    """The records that are a source's own, taken apart where it says so. ``exploded``: rows beyond the first of each
    record; ``without_elements``: records that had nothing to take apart; ``left_out``: rows that ``where`` does not
    hold for, ``undecided`` of them because it could not be told. ``elements`` are the columns that hold elements,
    ``made`` those that no file of the source has. ``unmatched`` rows found nothing in a joined file, by its name.
    """

    frame: pl.DataFrame
    exploded: int = 0
    without_elements: int = 0
    left_out: int = 0
    undecided: int = 0
    elements: frozenset[str] = frozenset()
    made: frozenset[str] = frozenset()
    unmatched: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Mapping:
    """How a file's columns become contract columns.

    ``columns`` maps a contract column to a SQL expression over the file's columns; contract columns that are not
    named are taken from the file's column of the same name. ``explode`` paths lead to lists: one row an element. The
    columns of ``joins`` stand beside those of the file. ``unpivot`` makes rows of columns.
    Rows that the condition ``where`` does not hold for are left out and counted. ``group_by`` columns or expressions
    make it an aggregation. Where ``needs`` names the columns that every file has, others that the mapping names are
    null in a file that lacks them.
    """

    columns: dict[str, str]
    group_by: tuple[str, ...] = ()
    where: str = ""
    explode: tuple[str, ...] = ()
    needs: tuple[str, ...] | None = None
    joins: tuple[Joined, ...] = ()
    unpivot: Unpivot | None = None

    def optional(self, file_columns: list[str]) -> list[str]:
        """The columns that the mapping names and that a file may lack, where one with these columns does."""
        if self.needs is None:
            return []
        trees = [*self.expressions().values(), *([sql.parsed(self.where)] if self.where else [])]
        return [name for name in self.absent(trees, file_columns) if name not in self.needs]

    def absent(self, trees: Iterable[Tree], file_columns: list[str]) -> list[str]:
        """The columns that expressions name and a file with these columns lacks, without those that are made."""
        references = (n for tree in trees for n in sql.nodes(tree) if n.get("class") == "COLUMN_REF")
        paths = [path for reference in references if (path := path_of(reference))]
        made = {f"{path}_position" for path in self.explode} | {joined.name for joined in self.joins}
        made |= set(self.unpivot.made if self.unpivot else ())
        absent = [str(path[0]) for path in paths if column_of(path, file_columns) is None]
        return [name for name in dict.fromkeys(absent) if name not in made]

    def expressions(self) -> dict[str, Tree]:
        """Parsed expressions by contract column.

        Raises:
            ConfigError: an expression is no SQL; all faulty ones are named.
        """
        parsed, faults = {}, []
        for target, text in self.columns.items():
            try:
                parsed[target] = sql.parsed(text)
            except Fault as fault:
                faults.append(f"  {target}: {text!r}: {fault}")
        for key, text in {"where": self.where, **{f"explode {p}": p for p in self.explode}}.items():
            try:
                if text and key != "where" and path_of(sql.parsed(text)) is None:
                    faults.append(f"  {key}: is no path to a list, as line_items or order.lines is")
                elif text:
                    sql.parsed(text)
            except Fault as fault:
                faults.append(f"  {key}: {text!r}: {fault}")
        if faults:
            raise ConfigError("faulty mapping expressions:\n" + "\n".join(faults))
        return parsed

    def faults(self, table: type[Table], file_columns: list[str], sample: pl.DataFrame | None = None) -> list[str]:
        """What is wrong with this mapping for files with these columns; empty when nothing is. ``sample`` are records
        of such a file, which show lists that a mapping goes through without saying so."""
        expressions, contract = self.expressions(), table.columns()
        absent = self.optional(file_columns)
        file_columns = [*file_columns, *absent]
        if sample is not None:
            sample = sample.with_columns(pl.lit(None, pl.String).alias(name) for name in absent)
        found = [
            f"mapping names {c!r}, which is no column of {tables.spec(table).name}"
            for c in expressions
            if c not in contract
        ]
        empty = pl.DataFrame(schema={POSITION: pl.Int64, **dict.fromkeys(file_columns, pl.String)})
        records = empty if sample is None else sample.head(0)
        records = self._with_elements(records, table)
        of_joins = joins.on_faults(self.joins, [c for c in records.columns if c != POSITION])
        records = records.with_columns(pl.lit(None, pl.String).alias(c) for join in self.joins for c in join.columns)
        found += self.unpivot.faults(file_columns) if self.unpivot else []
        found += of_joins + self._faults_of(records, contract, file_columns)
        if sample is not None and not found:
            found += self._through_lists(sample, table)
        reached = set(expressions) | (set(file_columns) if not self.group_by else set())
        found += [
            f"required column {c} is not reached" for c, d in contract.items() if not d.nullable and c not in reached
        ]
        return found

    def _faults_of(self, records: pl.DataFrame, contract: Columns[str, Any], file_columns: list[str]) -> list[str]:
        found, scope, keys, of_groups = [], Scope(records), dict[str, str](), list[str]()
        for text in self.group_by:
            try:
                keys |= _keys(scope, (text,))
            except Absent:
                of_groups.append(f"group_by names {text!r}, which the file lacks")
            except Fault as fault:
                of_groups.append(f"group_by {text!r}: {fault}")
        scope.keys = keys
        if self.where:
            try:
                given = scope.results({"v": scope.truth(sql.parsed(self.where))})["v"].values.dtype
                found += [] if given in (pl.Boolean, pl.Null) else [f"where: {self.where!r} is no condition"]
            except Fault as fault:
                found.append(f"where: {fault}")
        for target, tree in self.expressions().items():
            try:
                made = scope.over(tree, target, _kind_of(contract.get(target)))
                if self.group_by and not of_groups:
                    _grouped_values(scope, {target: made}, keys, self.columns)
                elif sql.aggregates(made) and not self.group_by:
                    found.append(f"{target}: {self.columns[target]!r} aggregates; say what a group is with group_by")
                elif not self.group_by:
                    scope.results({target: made})
            except Absent as fault:
                found.append(f"{target} needs file column(s) {[fault.name]}, the file has {file_columns}{fault.hint}")
            except Fault as fault:
                found.append(f"{target}: {fault}")
        return found + of_groups

    def condition_faults(self, condition: str, file_columns: list[str]) -> list[str]:
        """What is wrong with a condition over files with these columns; empty when nothing is."""
        empty = pl.DataFrame(schema={POSITION: pl.Int64, **dict.fromkeys(file_columns, pl.String)})
        scope = Scope(empty.with_columns(pl.lit(None, pl.String).alias(c) for join in self.joins for c in join.columns))
        try:
            scope.results({"v": scope.truth(sql.parsed(condition))})
        except Absent as fault:
            return [f"needs file column(s) {[fault.name]}, the file has {file_columns}{fault.hint}"]
        except Fault as fault:
            return [f"{condition!r}: {fault}"]
        return []

    # ---- records ------------------------------------------------------------------------------------------------

    def taken(self, records: pl.DataFrame, table: type[Table], reading: Reading | None = None) -> Taken:
        """The rows that the mapping is applied to: elements where it takes records apart, without what is left out.

        ``records`` holds ``_position`` and the file's columns. An element's position is its record's times
        `nested.ELEMENTS`, and its number.
        """
        apart = self._joined(self._apart(records, table, reading))
        if not self.where:
            return apart
        condition = sql.parsed(self.where)
        scope = Scope(_needed(apart.frame, [condition]), reading)
        result = scope.results({"v": scope.truth(condition)})["v"]
        holds = result.values.fill_null(False)
        undecided = 0 if result.failed is None else int(result.failed.sum())
        kept = apart.frame.filter(holds)
        return replace(apart, frame=kept, left_out=apart.frame.height - kept.height, undecided=undecided)

    def _joined(self, taken: Taken) -> Taken:
        """Rows with the columns of the files that they are joined with."""
        if not self.joins:
            return taken
        keys = [sql.parsed(text) for join in self.joins for text in join.on]
        rows = _needed(taken.frame, keys)
        found, unmatched = joins.with_columns(rows, self.joins, [c for c in rows.columns if c != POSITION])
        brought = found.select(name for join in self.joins for name in join.columns)
        own = taken.frame.drop(brought.columns, strict=False)
        return replace(
            taken,
            frame=pl.concat([own, brought], how="horizontal"),
            made=taken.made | frozenset(brought.columns),
            unmatched=unmatched,
        )

    def _apart(self, records: pl.DataFrame, table: type[Table], reading: Reading | None = None) -> Taken:
        if self.unpivot:
            rows = self.unpivot.rows(records, reading or Reading())
            told = nested.records_of(rows[POSITION]).n_unique()
            made = frozenset(self.unpivot.made)
            return Taken(rows, rows.height - told, records.height - told, elements=made, made=made)
        paths = [path_of(sql.parsed(text)) for text in self.explode]
        soft = not paths
        rows = records.with_columns(pl.lit(value=False).alias(nested.APART))
        elements: list[str] = []
        for path in paths or self._key_paths(table, list(records.columns)):
            if path is not None:
                rows, name = _exploded(rows, path, soft=soft)
                elements += [name] if name else []
        if not elements:
            return Taken(records)
        places = pl.select(
            pl.when(rows[nested.APART]).then(nested.positions(rows[POSITION])).otherwise(rows[POSITION])
        ).to_series()
        before = rows[POSITION].n_unique()
        numbers = frozenset(f"{name}_position" for name in elements) - {*records.columns}
        frame = rows.with_columns(places.alias(POSITION)).drop(nested.APART)
        return Taken(frame, rows.height - before, records.height - before, elements=frozenset(elements), made=numbers)

    def _with_elements(self, empty: pl.DataFrame, table: type[Table]) -> pl.DataFrame:
        """No records, with the columns that taking them apart makes."""
        if self.unpivot:
            return empty.select(POSITION).with_columns(pl.lit(None, pl.String).alias(c) for c in self.unpivot.columns)
        names = [named(path_of(sql.parsed(text)) or ()) for text in self.explode]
        names += [named(path) for path in self._key_paths(table, list(empty.columns))] if not names else []
        for name in names:
            made = {name: pl.String(), f"{name}_position": pl.Int64()}
            empty = empty.with_columns(pl.Series(c, [], t) for c, t in made.items() if c not in empty.columns)
        return empty

    def _key_paths(self, table: type[Table], columns: list[str]) -> list[tuple[Step, ...]]:
        """What the keys of the table are reached through: the lists among it are taken apart by themselves."""
        found: dict[tuple[Step, ...], None] = {}
        for target in tables.spec(table).key:
            if target not in self.columns:
                continue
            path = path_of(sql.parsed(self.columns[target]))
            place = column_of(path, columns) if path else None
            if path and place and place[1]:
                above = len(path) - len(place[1])
                steps = path[: next((i for i, s in enumerate(path) if isinstance(s, int)), len(path) - 1)]
                found |= {tuple(path[:end]): None for end in range(above, len(steps) + 1)}
        return list(found)

    def _through_lists(self, sample: pl.DataFrame, table: type[Table]) -> list[str]:
        """Paths that go through a list of the sample of which they name no element."""
        scope, found = Scope(self._joined(self._apart(sample, table)).frame), []
        for target, tree in self.expressions().items():
            for node in sql.nodes(tree):
                path = path_of(node)
                place = column_of(path, scope.columns) if path else None
                if path is None or place is None or not place[1]:
                    continue
                read = scope.read[scope.at(path)]
                if read.failed is not None and nested.has_plain_lists(scope.texts[read.of[0]].filter(read.failed)):
                    column = place[0]
                    found.append(
                        f"{target} reads {named(path)}, but {column} holds a list: say `explode: {column}` for a row "
                        f"an element, or which element: {column}[1]"
                    )
                break
        return found

    # ---- columns ------------------------------------------------------------------------------------------------

    def applied(
        self, records: pl.DataFrame, table: type[Table], reading: Reading | None = None, said: Said | None = None
    ) -> Mapped:
        """The records under contract names: one row a record, or one a group.

        Raises:
            ConfigError: an expression cannot be evaluated over records like these at all.
        """
        contract, trees = table.columns(), self.expressions()
        keys = [sql.parsed(text) for text in self.group_by if text not in records.columns]
        scope = Scope(_needed(records, [*trees.values(), *keys], self.group_by), reading, said)
        if self.group_by:
            return self._grouped(records, scope, trees, contract)
        made = {t: scope.over(tree, t, _kind_of(contract.get(t))) for t, tree in trees.items()}
        results = {t: _written(r, made[t], contract.get(t)) for t, r in scope.results(made).items()}
        same = [c for c in contract if c in records.columns and c not in made]
        plain = {place[0] for tree in trees.values() if (place := _place(tree, scope)) and not place[1]}
        frame = pl.DataFrame(
            [
                *(records[c] for c in same),
                *(r.values.alias(t) for t, r in results.items()),
                records[POSITION],
            ]
        )
        failed = {t: _texts(r) for t, r in results.items() if r.failed is not None and r.failed.any()}
        return Mapped(frame, frozenset(same) | plain, failed)

    def keys(self, records: pl.DataFrame, reading: Reading | None = None) -> pl.DataFrame:
        """What each record is grouped by: a column for each of ``group_by``, null where it cannot be had."""
        made = {}
        for text in self.group_by:
            if text in records.columns:
                made[text] = records[text]
                continue
            tree = sql.parsed(text)
            scope = Scope(_needed(records, [tree]), reading)
            made[text] = scope.results({"v": scope.over(tree, "", "")})["v"].values
        return pl.DataFrame(made)

    def _grouped(
        self, records: pl.DataFrame, scope: Scope, trees: dict[str, Tree], contract: Columns[str, Any]
    ) -> Mapped:
        keys = _keys(scope, self.group_by)
        scope.keys = keys
        made = {t: scope.over(tree, t, _kind_of(contract.get(t))) for t, tree in trees.items()}
        results, positions = _grouped_values(scope, made, keys, self.columns, records[POSITION])
        results = {t: _written(r, made[t], contract.get(t)) for t, r in results.items()}
        frame = pl.DataFrame([*(r.values.alias(t) for t, r in results.items()), positions.alias(POSITION)])
        failed = {t: _texts(r) for t, r in results.items() if r.failed is not None and r.failed.any()}
        return Mapped(frame, frozenset(), failed, records.height - frame.height)


def _kind_of(column: Any) -> str:
    """What the values of a contract column are compared as."""
    kind = None if column is None else column.dtype
    if kind is None:
        return ""
    if kind.is_numeric():
        return "number"
    return "time" if isinstance(kind, pl.Datetime) else "date" if kind == pl.Date else ""


def _written(result: Result, tree: Tree, column: Any) -> Result:
    """Computed numbers for a text column as text."""
    is_computed = tree.get("class") != "COLUMN_REF" and result.values.dtype.is_float()
    if column is None or column.dtype != pl.String or not is_computed:
        return result
    return replace(result, values=written_numbers(result.values))


def _place(tree: Tree, scope: Scope) -> tuple[str, tuple[Step, ...]] | None:
    path = path_of(tree)
    return column_of(path, scope.columns) if path else None


def _needed(records: pl.DataFrame, trees: Iterable[Tree], names: tuple[str, ...] = ()) -> pl.DataFrame:
    """The columns of records that expressions name, null where there are none: what leaves out a value has none."""
    columns = [c for c in records.columns if c != POSITION]
    chosen, absent = dict.fromkeys(n for n in names if n in columns), dict[str, None]()
    for tree in trees:
        for node in sql.nodes(tree):
            path = path_of(node) if node.get("class") == "COLUMN_REF" else None
            place = column_of(path, columns) if path else None
            if place:
                chosen[place[0]] = None
            elif path:
                absent[str(path[0])] = None
    return records.select(POSITION, *chosen).with_columns(pl.lit(None, pl.String).alias(name) for name in absent)


def _exploded(rows: pl.DataFrame, path: tuple[Step, ...], *, soft: bool) -> tuple[pl.DataFrame, str]:
    """A row an element of the list at a path, and the name of the column that holds it; empty where nothing is taken
    apart. What is no list is its own only element; with ``soft`` it stays as it is."""
    place = column_of(path, [c for c in rows.columns if c not in (POSITION, nested.APART)])
    if place is None:
        name, held = named(path), pl.Series([None], dtype=pl.String).new_from_index(0, rows.height)
    else:
        column, steps = place
        name, held = named((column, *steps)), rows[column].cast(pl.String)
        if steps:
            (found,) = nested.at_paths(held, [steps])
            held = pl.select(pl.when(found.failed).then(held).otherwise(found.values)).to_series()
    elements = nested.elements_of(held, soft=soft)
    if soft and elements.null_count() == rows.height:
        return rows, ""
    return nested.exploded(rows, name, held, elements), name


def _keys(scope: Scope, group_by: tuple[str, ...]) -> dict[str, str]:
    """Aliases of the keys of groups, by their text over the columns of the scope."""
    found = {}
    for text in group_by:
        tree = scope.over(sql.column(text) if text in scope.columns else sql.parsed(text), "", "")
        found[sql.written(tree)] = scope.kept(tree)
    return found


def _grouped_values(
    scope: Scope, made: dict[str, Tree], keys: dict[str, str], texts: dict[str, str], positions: pl.Series | None = None
) -> tuple[dict[str, Result], pl.Series]:
    """Values of a group each, and the position of its first record.

    Raises:
        Fault: an expression has several values a group; all such are named.
    """
    groups = Groups(scope, list(dict.fromkeys(keys.values())))
    outer = {target: groups.over(tree) for target, tree in made.items()}
    plural = {t: texts[t] for t, tree in outer.items() if groups.plural(tree)}
    if plural:
        raise Fault(f"group_by needs one value a group, these expressions do not aggregate: {plural}")
    grouped = groups.scope()
    places = grouped.frame["row"]
    first = positions.gather(places) if positions is not None else places
    return grouped.results(outer), first


def _texts(result: Result) -> pl.Series:
    """What stood in the columns of an expression, in the rows where it failed: the text of one, a JSON object of
    several."""
    assert result.failed is not None
    texts = {label: text.cast(pl.String, strict=False) for label, text in result.texts.items()}
    if len(texts) == 1:
        (held,) = texts.values()
    else:
        held = rescued.written(len(result.values), texts)
    return pl.select(pl.when(result.failed).then(held)).to_series()
