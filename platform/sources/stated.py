"""What the settings of a source state: its mapping, how its values are read, and what it asks of the columns of an
input.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import polars as pl

from customer360.platform import tables
from customer360.platform.errors import ConfigError
from customer360.platform.evolution import SchemaContract
from customer360.platform.quality.ahead import margin_of
from customer360.platform.sources import grouping, values
from customer360.platform.sources.base import Source
from customer360.platform.sources.casting import DELETED
from customer360.platform.sources.expressions import nested, sql
from customer360.platform.sources.formats.records import POSITION, Records
from customer360.platform.sources.landing import Landing
from customer360.platform.sources.mapping import Mapping, joins
from customer360.platform.sources.mapping.numbering import countable
from customer360.platform.sources.mapping.renames import likely_name, names_in
from customer360.platform.sources.values import Reading, Words, timestamps
from customer360.platform.tables import Table


def mapping_of(source: Source, landing: Landing | None = None) -> Mapping:
    """How the columns of a source become contract columns; with ``landing``, the files that it is joined with are read.

    Raises:
        SourceError: a file that it is joined with is not there, or cannot be read.
    """
    files = joins.loaded(landing, source.join) if landing is not None else ()
    needs = None if source.needs is None else tuple(source.needs)
    return Mapping(
        source.mapping, tuple(source.group_by), source.where, tuple(source.explode), needs, files, source.unpivot
    )


def absent(source: Source, columns: list[str]) -> list[str]:
    """Columns that a file may lack, and does."""
    return [name for name in mapping_of(source).optional(columns) if name not in source.join]


def spared(source: Source, columns: list[str]) -> list[str]:
    """Columns that an input lacks and that are null there: the mapping makes optional values of them alone, the input
    has none that is likely the same under a new name, and most columns of the mapping are there, so that it is no other
    kind of file. Where ``needs`` says what every file has, that decides.

    Raises:
        ConfigError: an expression of the mapping is no SQL.
    """
    if source.needs is not None or not source.mapping:
        return []
    mapping, contract = marking(source), tables.by_name(source.table).columns()
    trees, key = mapping.expressions(), tables.spec(tables.by_name(source.table)).key
    spare = {c for c in trees if c in contract and contract[c].nullable and c not in key}
    beside = [source.where, *_expressions(source)[len(source.mapping) :]]
    beside += [on for join in source.join.values() for on in join.on]
    try:
        others = [sql.parsed(text) for text in beside if text] + [tree for c, tree in trees.items() if c not in spare]
    except sql.Fault:  # which `column_faults` says
        return []
    optional = [trees[c] for c in trees if c in spare]
    needed, every = mapping.absent(others, columns), mapping.absent([*others, *optional], [])
    lacking = [n for n in mapping.absent(optional, columns) if n not in source.join and n not in needed]
    if not lacking or 2 * (len(lacking) + len(needed)) > len([name for name in every if name not in source.join]):
        return []
    free = unused(source, columns)
    return [name for name in lacking if likely_name(name, free) is None]


def _groups(source: Source) -> list[str]:
    """What a source groups by, as SQL."""
    return [text if re.search(r'[("]', text) else f'"{text}"' for text in source.group_by]


def marking(source: Source, landing: Landing | None = None) -> Mapping:
    """The mapping of a source that also says which records are deletions; see `mapping_of`."""
    mapping = mapping_of(source, landing)
    return replace(mapping, columns={**mapping.columns, DELETED: source.deleted}) if source.deleted else mapping


def deletions(source: Source, records: pl.DataFrame, landing: Landing, reading: Reading) -> pl.DataFrame:
    """``_position`` of each record that a source takes, and ``_deleted``: whether all that it gives are deletions.

    Raises:
        ConfigError: the condition cannot be told of records like these.
    """
    table, mapping = tables.by_name(source.table), marking(source, landing)
    taken = mapping.taken(records, table, reading)
    told = replace(mapping, columns={DELETED: source.deleted}).applied(taken.frame, table, reading).frame[DELETED]
    places = nested.records_of(taken.frame[POSITION]) if taken.elements else taken.frame[POSITION]
    found = pl.DataFrame({POSITION: places, DELETED: values.truth(told).fill_null(value=False)})
    return found.group_by(POSITION, maintain_order=True).agg(pl.col(DELETED).all())


def _left_out_of_keys(mapping: Mapping, table: type[Table], records: pl.DataFrame, reading: Reading) -> list[str]:
    """Columns that objects leave out and expressions of the key name, where every record has its key without them."""
    named = {c: mapping.columns[c] for c in tables.spec(table).key if c in mapping.columns}
    of_key = replace(mapping, columns=named)
    taken = of_key.taken(records, table, reading)
    found = of_key.applied(taken.frame, table, reading).frame.select(list(named))
    has_key = not any(column.null_count() for column in found)
    return of_key.absent(of_key.expressions().values(), list(records.columns)) if named and has_key else []


def deletion_faults(
    source: Source, columns: list[str], records: pl.DataFrame, landing: Landing, reading: Reading, *, keyed: bool
) -> list[str] | None:
    """What an input lacks whose first records are all deletions: of those only the key is asked, and what ``where`` and
    ``deleted`` name. None for other inputs.

    Records that merely leave out what the condition names are deletions where they hold nothing beside their key: else
    a column of a new name would delete all that it came with.
    """
    if not source.deleted or source.group_by or not records.height:
        return None
    mapping, table = mapping_of(source, landing), tables.by_name(source.table)
    key, contract = tables.spec(table).key, table.columns()
    try:
        told = deletions(source, records, landing, reading)
        conditions = [sql.parsed(text) for text in (source.where, source.deleted) if text]
        trees = mapping.expressions()
        left_out = _left_out_of_keys(mapping, table, records, reading) if keyed else []
    except ConfigError:  # which the faults of the input as a whole say
        return None
    if told.is_empty() or not told[DELETED].all():
        return None
    free = mapping.absent([*conditions, *(trees[c] for c in key if c in trees)], [])
    beside = {name.casefold() for name in columns} - {name.casefold() for name in [*free, *key]}
    there = [*columns, *mapping.optional(columns), *left_out]
    lacking = mapping.absent(conditions, there)
    if lacking and (beside or not keyed):
        return None
    others = {c: "NULL" for c, column in contract.items() if not column.nullable and c not in key}
    asked = replace(mapping, columns={**{c: mapping.columns[c] for c in key if c in trees}, **others})
    sample = records.with_columns(pl.lit(None, pl.String).alias(c) for c in left_out)
    found = asked.faults(table, [*there, *lacking], sample)
    reached = {*trees, *there}
    return found + [f"key column {c} is not reached" for c in key if contract[c].nullable and c not in reached]


def reading_of(source: Source, rules: dict[str, Any] | None = None, facts: dict[str, Any] | None = None) -> Reading:
    """How the values of a source are read. ``facts`` are those of its last batch: an order of day and month that it
    showed is that of later files that leave it open."""
    words, validation = (rules or {}).get("standardization"), (rules or {}).get("validation")
    checks = validation.tables.get(source.table) if validation else None
    return Reading(
        words=words if isinstance(words, Words) else Words(),
        timezone=source.timezone,
        dates=source.dates,
        decimal=source.decimal,
        country=source.country,
        usual=orders(facts or ()),
        margin=margin_of(rules or {}),
        refuse=tuple(checks.refuse) if checks else (),
    )


def orders(facts: Iterable[str]) -> dict[str, timestamps.Order]:
    """Order of day and month by column, as facts of a batch name it."""
    shown = (fact.split("|") for fact in facts if fact.startswith("dates|"))
    return {column: "day_first" if order == "day_first" else "month_first" for _, column, order in shown}


def tells_columns(records: Records) -> bool:
    """Whether a piece shows which columns its records have. Objects do where there is one that can be read; a change of
    no row (``none``, ``truncate``) names no column.
    """
    frame, kind = records.frame, "change.kind"
    if not records.keyed:
        return True
    return bool(frame.height) and not (kind in frame.columns and frame[kind].is_in(["none", "truncate"]).all())


def unmapped(
    source: Source,
    columns: list[str],
    sample: pl.DataFrame | None = None,
    landing: Landing | None = None,
    *,
    keyed: bool,
) -> list[str]:
    """What of a source's mapping an input with these columns lacks; empty where there is no mapping to apply.

    Without one a column that an input lacks shows as quarantined rows; a table none of whose columns is the contract's
    is another thing than was meant. ``keyed`` records (JSON objects) leave out what they have no value for, so of them
    only required columns are asked.
    """
    is_mapped = source.mapping or source.group_by or source.explode or source.join or source.deleted or source.unpivot
    if is_mapped:
        return column_faults(source, columns, sample, landing, keyed=keyed)
    return [] if keyed else _foreign(source, columns)


def _foreign(source: Source, columns: list[str]) -> list[str]:
    """Why a table is none of a source without mapping: it shares no column with the contract, and what may help."""
    declared = tables.by_name(source.table).columns()
    if not columns or not declared.keys().isdisjoint(columns):
        return []
    plain = {name.lower(): name for name in declared}
    alike = [f"{plain[c.lower()]}: {c}" for c in columns if c.lower() in plain]
    if len(columns) == 1 and not alike:  # what stands there may be a row: it is not shown
        return [
            f"its lines are one column, which {source.table} does not have; say its `delimiter`, or write its "
            "`mapping`; columns of fixed widths are not read, export them with a delimiter"
        ]
    shown = ", ".join(map(repr, columns[:3])) + (", …" if len(columns) > 3 else "")
    remedy = "write its `mapping`"
    if alike:
        remedy = f"names differ in case alone; map them: {{{', '.join(alike[:3])}{', …' if len(alike) > 3 else ''}}}"
    return [f"none of its {len(columns)} column(s) ({shown[:200]}) is one of {source.table}; {remedy}"]


def column_faults(
    source: Source,
    columns: list[str],
    sample: pl.DataFrame | None = None,
    landing: Landing | None = None,
    *,
    keyed: bool,
    spare: bool = True,
) -> list[str]:
    """What a source's mapping and contract lack in an input with these columns; `unmapped` where a mapping asks.

    With ``landing``, the files that the source is joined with are looked at, too. Without ``spare``, columns that may
    be null (`spared`) are asked for as well.

    Raises:
        ConfigError: an expression of the mapping is no SQL.
    """
    if landing is not None and (found := joins.faults(landing, source.join)):
        return found
    table, mapping = tables.by_name(source.table), mapping_of(source, landing)
    marked = marking(source)
    if lacking := spared(source, columns) if spare and not keyed else []:
        needs = tuple(name for name in _named(marked) if name not in lacking)
        mapping, marked = replace(mapping, needs=needs), replace(marked, needs=needs)
    there = [*columns, *marked.optional(columns), *(source.unpivot.made if source.unpivot else ())]
    if source.deleted and not keyed and (found := mapping.condition_faults(source.deleted, there)):
        return [f"deleted {fault}" for fault in found]
    if keyed:
        contract = table.columns()
        asked = {c: e for c, e in mapping.columns.items() if c not in contract or not contract[c].nullable}
        mapping = replace(mapping, columns=asked)
    return mapping.faults(table, [*columns, *countable(table)], sample)


def _named(mapping: Mapping) -> list[str]:
    """All columns that a mapping names."""
    return mapping.absent(
        [*mapping.expressions().values(), *([sql.parsed(mapping.where)] if mapping.where else [])], []
    )


def missing_columns(
    source: Source, columns: list[str], landing: Landing | None = None, *, keyed: bool, spare: bool = True
) -> tuple[list[str], list[str]]:
    """Columns that the mapping needs and an input with these columns lacks, and faults that no column would mend; see
    `column_faults`."""
    missing: list[str] = []
    faults = column_faults(source, columns, landing=landing, keyed=keyed, spare=spare)
    names = [name for name in names_in(_expressions(source)) if name not in columns] if faults else []
    for name in [*names, *names]:  # of an expression that needs two, the second shows once the first is there
        left = column_faults(source, [*columns, *missing, name], landing=landing, keyed=keyed, spare=spare)
        if name not in missing and _heads(left) != _heads(faults):
            missing, faults = [*missing, name], left
    return missing, faults


def _heads(faults: list[str]) -> set[str]:
    """Faults without the columns that the file has."""
    return {fault.split(", the file has")[0] for fault in faults}


def _expressions(source: Source) -> list[str]:
    """All SQL of a source that names columns of its files, but for the condition."""
    kept = [f'"{name}"' for name in (source.unpivot.keep if source.unpivot else ())]
    return [*source.mapping.values(), *_groups(source), *source.explode, *kept]


def renamed(source: Source, columns: list[str], landing: Landing, *, keyed: bool) -> list[str]:
    """Sentences about columns of an input that are likely missing ones under a new name."""
    missing, _ = missing_columns(source, columns, landing, keyed=keyed)
    near = {name: likely_name(name, unused(source, columns)) for name in missing}
    return [f"{new!r} is likely the new name of {name!r}" for name, new in near.items() if new]


def unused(source: Source, columns: list[str]) -> list[str]:
    """Columns of an input that a source makes nothing of."""
    used = {column.casefold() for column in expected_columns(used_columns(source, columns, keyed=True))}
    return [column for column in columns if column.casefold() not in used]


def used_columns(source: Source, columns: list[str], *, keyed: bool) -> dict[str, int]:
    """Facts of an input: ``columns|NAME`` for each of its columns that the source uses, as the mapping spells it, and
    ``headed`` where its records cannot leave columns out.

    Names that neither settings nor contract know are none of them: where a header is missing they are values.
    """
    paths = names_in([*_expressions(source), source.where])
    named = {*paths, *(path.partition(".")[0] for path in paths)}
    own = set() if source.group_by else set(tables.by_name(source.table).columns()) - set(source.mapping)
    have = {column.casefold() for column in columns}
    there = [*(n for n in sorted(named) if n.casefold() in have), *(n for n in sorted(own - named) if n in columns)]
    facts = {f"columns|{name}": 1 for name in there}
    return facts if keyed or not facts else {"headed": 1, **facts}


def expected_columns(facts: dict[str, Any]) -> tuple[str, ...]:
    """Columns that a batch had and its source uses, from its facts."""
    return tuple(fact.partition("|")[2] for fact, count in facts.items() if fact.startswith("columns|") and count)


def usual_columns(source: Source, facts: dict[str, Any]) -> tuple[str, ...]:
    """Columns that the last batch had, from its facts, and that the source still uses."""
    used = used_columns(source, list(expected_columns(facts)), keyed=True)
    return expected_columns(used)


def contract_faults(source: Source) -> list[str]:
    """What is wrong with a source's mapping whatever its inputs hold: no SQL, or names of no contract column."""
    table = tables.by_name(source.table)
    try:
        named = mapping_of(source).expressions()
        marking(source).expressions()
    except ConfigError as fault:
        return [str(fault)]
    found = [f"mapping names {c!r}, which is no column of {source.table}" for c in named if c not in table.columns()]
    if not tables.spec(table).key and (source.deleted or source.mode == "snapshot"):
        found.append(f"{source.table} has no key by which its rows could be deleted (`deleted`, `mode: snapshot`)")
    return found


def schema_contract_of(source: Source) -> SchemaContract:
    """What a source may change of its schema: as its settings say, else as the contract of its table does. A source
    that groups its records leaves values to `evolve`."""
    said = source.schema_contract or tables.spec(tables.by_name(source.table)).schema_contract
    return said.model_copy(update={"data_type": "evolve"}) if source.group_by else said


def made_by(source: Source) -> dict[str, str]:
    """Fingerprints of what decides the rows of a source: its mapping, how values are read, its reader's options, the
    columns of its table.
    """
    columns = {name: str(c.dtype) for name, c in tables.by_name(source.table).columns().items()}
    mapping: list[Any] = [source.mapping, source.group_by, source.where, source.system]
    # Each key only where it is given, so that what landed without it is of the same print.
    mapping += [source.explode] if source.explode else []
    mapping += [source.deleted] if source.deleted else []
    mapping += [{"country": source.country}] if source.country else []
    mapping += [{"unpivot": source.unpivot.model_dump()}] if source.unpivot else []
    if source.join:
        mapping.append({name: join.model_dump(exclude={"sha256"}) for name, join in source.join.items()})
    parts: dict[str, Any] = {"mapping": mapping, "reader": source.reader_options(), "contract": columns}
    parts["reading"] = [source.timezone, source.dates, source.decimal]
    parts |= {"join": [join.sha256 for join in source.join.values()]} if source.join else {}
    parts |= {"groups": "records kept"} if grouping.is_grouped(source) else {}
    return {k: hashlib.sha256(json.dumps(v, sort_keys=True).encode()).hexdigest()[:16] for k, v in parts.items()}


def is_of(made: dict[str, str], now: dict[str, str]) -> bool:
    """Whether rows were made as they would be now. Releases before took no print of how values are read: they agree."""
    return bool(made) and {"reading": now["reading"], **made} == now
