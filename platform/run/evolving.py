"""Schemas of sources in a run: what a batch changes of what is known, whether it waits for a person, and what is told.

A version is registered before its batch is committed. Where a batch waits, nothing of it and of those after it lands;
`customer360 schema accept` lets it go on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import polars as pl

from customer360.platform import rescued, schemas, tables, telemetry
from customer360.platform.delivery import natural
from customer360.platform.evolution import Change, SchemaContract, Seen, added, fate, joined, learned
from customer360.platform.lake import Lake
from customer360.platform.ledger import Batch
from customer360.platform.schemas import Version, next_version
from customer360.platform.sources.base import Source
from customer360.platform.sources.bronze import Landed
from customer360.platform.sources.mapping.renames import likely_name, names_in
from customer360.platform.sources.observed import DISCARDED
from customer360.platform.sources.stated import schema_contract_of

SHOWN = 5  # changes that a line names
COMPARED = 1000  # distinct values of a column that is missing, among which those of a new one are looked for


def settle(lake: Lake, name: str, source: Source, batch: Batch, landed: Iterable[Landed]) -> str:
    """Register what a batch changes of the schema of its source. Where its schema contract freezes that, keep the
    changes for who decides, and return why the batch waits."""
    parts = sorted((part for part in landed if part.seen.columns), key=lambda part: natural(part.outcome.name))
    if batch.inline or not parts:
        return ""
    contract, known = schema_contract_of(source), schemas.newest(lake, name)
    seen = [(part.outcome.name, part.seen) for part in parts]
    now, found = _learned(source, known, seen)
    found = with_renames(lake, name, source, found, [one for _, one in seen])
    used = {c for _, one in seen for c in one.used}
    held = [change for change in found if fate(change, contract, used) == "waits"]
    if known is None or not held:
        unseen = set(known.used).difference(*(one.columns for _, one in seen)) if known else set()
        made = next_version(known, name, source.table, now, found, seq=batch.seq, used=used | unseen)
        if made is not None:
            _tell(name, source, batch, schemas.register(lake, made), found)
    if contract.orders_batches:
        _keep_waiting(lake, name, contract, batch, [c for c in found if fate(c, contract, used) != "evolves"])
    else:
        schemas.settled(lake, name)  # what waited under a contract that was taken back
    if held:
        return f"batch {batch.seq} waits: {said(held)}; the schema of {name} is frozen: {remedy(name)}"
    return ""


def _keep_waiting(lake: Lake, name: str, contract: SchemaContract, batch: Batch, left: list[Change]) -> None:
    """Keep what is not let in, for who decides; what was discarded of earlier batches, too."""
    before = schemas.waiting(lake, name)[1] if "discard" in f"{contract.columns} {contract.data_type}" else []
    if left or before:
        schemas.wait(lake, name, batch.seq, added([*before, *left]))
    else:
        schemas.settled(lake, name)


def _learned(source: Source, known: Version | None, seen: list[tuple[str, Seen]]) -> tuple[Any, list[Change]]:
    types = {c: str(t.dtype) for c, t in tables.by_name(source.table).columns().items()}
    variants, columns = known.variants if known else (), known.columns if known else None
    return learned(columns, variants, seen, schema_contract_of(source), types)


def said(changes: list[Change]) -> str:
    """Changes in one line, each with the input that showed it first."""
    texts = [f"{change.place}: {change}" for change in changes[:SHOWN]]
    more = f"; and {len(changes) - SHOWN} more" if len(changes) > SHOWN else ""
    return "; ".join(texts) + more


def remedy(name: str) -> str:
    """What lets a frozen source go on."""
    return f"`customer360 schema diff {name}` shows what came, `customer360 schema accept {name}` lets it in"


def _tell(name: str, source: Source, batch: Batch, version: Version, found: list[Change]) -> None:
    for change in found:
        if change.column not in version.changed or change.kind in ("filled", "uncast"):
            continue
        where = f"{name} batch {batch.seq}: schema version {version.number}: {change}, {change.place} the first"
        if change.kind == "new":
            telemetry.event(f"{where}; its values stay in _rescued until the mapping or the contract names it")
        elif change.renamed_to:
            lines = ", ".join(mapping_lines(source, change.column, change.renamed_to))
            telemetry.log.warning(f"{where}" + (f"; map it: {{{lines}}}" if lines else ""))
        elif change.kind != "missing":  # whether values are null by that is said of each file
            telemetry.event(where)


def discarded_text(facts: dict[str, Any]) -> str:
    """What a schema contract left out of a batch, in words; empty where it was nothing."""
    cells = [(*fact.split("|", 2)[1:], n) for fact, n in facts.items() if fact.startswith("discarded|") and n]
    return ", ".join(f"{n:,} {column} ({entity}: discard_value)" for column, entity, n in cells)


def is_let_in(reason: str, known: Version | None) -> bool:
    """Whether what a dead letter of a schema contract names was accepted since."""
    if known is None or not reason.startswith(DISCARDED):
        return False
    said = reason.removeprefix(DISCARDED)
    is_new = any(said.startswith(f"column {c!r} is new") for c in known.columns)
    wider = any(said.startswith(f"a value of {c!r} is no ") and f" no {column.type} (" not in said
                for c, column in known.columns.items())  # fmt: skip
    return is_new or wider or any(said.startswith(f"a value of {c} is no ") for c in known.variants)


# ---- columns under a new name


def with_renames(lake: Lake, name: str, source: Source, found: list[Change], seen: Iterable[Seen]) -> list[Change]:
    """The changes, with the likely new names of columns that are missing: alike by name, or by the values that stood
    under the old one."""
    new = {c.column: c.after for c in found if c.kind == "new"}
    if not new or not any(c.kind == "missing" for c in found):
        return found
    samples = {c: values for one in seen for c, values in one.samples.items()}
    told = []
    for change in found:
        if change.kind == "missing":
            free = [c for c, type_ in new.items() if _are_alike(change.before, type_)]
            before = _values_of(lake, name, source, change.column) if free else set()
            near = likely_name(change.column, free, before, samples)
            change = replace(change, renamed_to=near or "")
        told.append(change)
    return told


def _are_alike(one: str, other: str) -> bool:
    return joined(one, other) in (one, other)


def _values_of(lake: Lake, name: str, source: Source, column: str) -> set[str]:
    """Some values that a column of a source had, from its newest rows in bronze."""
    files = [f for f in lake.files(source.table) if f.partition.get("_source") == name]
    if not files:
        return set()
    rows = lake.scan(source.table, sorted(files, key=lambda f: f.path)[-1:])
    named = next((c for c, text in source.mapping.items() if text.strip().strip('"') == column), column)
    if named in tables.by_name(source.table).columns():
        held = rows.select(pl.col(named)).unique().head(COMPARED).collect()[named]
        return set(rescued.text_of(held).drop_nulls())
    texts = (
        rows.select(value=pl.col("_rescued").str.json_path_match(f"$['{column}']")).unique().head(COMPARED).collect()
    )
    return set(texts["value"].drop_nulls())


def mapping_lines(source: Source, old: str, new: str) -> list[str]:
    """Lines of the mapping with a column under its new name, as YAML."""
    written = new if re.fullmatch(r"[A-Za-z_]\w*", new) else f"'\"{new}\"'"
    lines = [
        f"{c}: {written if text.strip().strip(chr(34)) == old else _renamed(text, old, new)}"
        for c, text in source.mapping.items()
        if old in names_in([text])
    ]
    is_own = old in tables.by_name(source.table).columns() and old not in source.mapping
    return [*lines, *([f"{old}: {written}"] if is_own else [])]


def _renamed(text: str, old: str, new: str) -> str:
    quoted = '"' + new + '"'
    return re.sub(rf'"{re.escape(old)}"|\b{re.escape(old)}\b', lambda _: quoted, text)
