"""Columns of new files against the mapping, against each other and against what landed before."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

import polars as pl

from customer360.platform.errors import ConfigError
from customer360.platform.sources.files import Files
from customer360.platform.sources.landing import Landing
from customer360.platform.sources.mapping.renames import likely_name, names_in
from customer360.platform.sources.rehearsal.findings import Finding, Severity, listed
from customer360.platform.sources.rehearsal.rows import other_delimiter
from customer360.platform.sources.rehearsal.samples import Look, Sample, Waiting
from customer360.platform.sources.stated import (
    contract_faults,
    missing_columns,
    spared,
    used_columns,
    usual_columns,
)

BEGINNING, LINES = 1 << 14, 30  # bytes and lines of a file in which a header further down is looked for
VALUES = 2_000  # of a column that are compared with another's


def contract_findings(waiting: Waiting) -> list[Finding]:
    """What is wrong with a mapping whatever its files hold, with the contract's nearest names."""
    known = list(waiting.table.columns())
    found = []
    for fault in contract_faults(waiting.source):
        wrong = [name for name in waiting.source.mapping if repr(name) in fault]
        near = [n for name in wrong for n in difflib.get_close_matches(name, known, 3)]
        hint = f"did you mean {', '.join(near)}?" if near else ""
        found.append(Finding("error", waiting.name, "mapping", fault, hint))
    return found


def header_findings(landing: Landing, sample: Sample) -> Iterator[Finding]:
    """Columns that files lack, and what is likely their new name."""
    asked = [look for look in sample.looks if not look.only_deletions]
    for look in sample.looks:
        if look.only_deletions and look.lacks:
            do = "it holds deletions alone, of which the key is asked"
            yield Finding("error", sample.name, look.name, look.failure, do)
    looked = [look for look in asked if look.columns and not other_delimiter(look)]
    lacking: dict[str, list[Look]] = {}
    other: dict[str, list[Look]] = {}
    strange: list[Look] = []
    for look in looked:
        missing, rest = _missing(sample, look)
        if len(missing) > 1 and 2 * len(missing) > len(_used(sample)):
            strange.append(look)
        for name in missing:
            lacking.setdefault(name, []).append(look)
        for fault in rest:
            other.setdefault(fault, []).append(look)
    alike: dict[tuple[str, str], list[str]] = {}
    if strange and len(strange) < len(looked):
        what = f"looks like another kind of file: it has {listed(strange[0].columns, 8)}"
        yield Finding("error", sample.name, _files(strange, len(looked)), what, "narrow `path`, or move it")
        lacking = {name: [look for look in looks if look not in strange] for name, looks in lacking.items()}
    for name, looks in ((name, looks) for name, looks in lacking.items() if looks):
        alike.setdefault((_files(looks, len(looked)), _instead(landing, sample, looks[0], name)), []).append(name)
    for (where, do), names in alike.items():
        yield Finding("error", sample.name, where, _lacks(sample, names), do)
    together: dict[str, list[str]] = {}
    for fault, looks in other.items():
        together.setdefault(_files(looks, len(looked)), []).append(fault)
    for where, faults in together.items():
        hints = [hint for fault in faults if (hint := _alike(fault, other[fault][0], sample))]
        do = ", ".join(hints) if len(hints) == len(faults) else f"it has {listed(other[faults[0]][0].columns, 8)}"
        yield Finding("error", sample.name, where, ", ".join(faults), do)
    yield from _spared(landing, sample, [look for look in looked if look not in strange])
    yield from _keys_of_no_object(sample, looked)
    yield from _vanished(sample, looked)


def _spared(landing: Landing, sample: Sample, looked: list[Look]) -> Iterator[Finding]:
    """Columns that files lack and that would be null there; an error where the values show them under a new name."""
    lacking: dict[str, list[Look]] = {}
    for look in looked:
        for name in [] if look.keyed else spared(sample.source, list(look.columns)):
            lacking.setdefault(name, []).append(look)
    for name, looks in lacking.items():
        renamed = _renamed(sample, looks[0], name)
        rows = sum(look.records.height for look in looks)
        what = _lacks(sample, [name]) + ("" if renamed else f": null in the {rows:,} rows that were looked at")
        do = _instead(landing, sample, looks[0], name)
        severity: Severity = "error" if renamed else "warning"
        yield Finding(severity, sample.name, _files(looks, len(looked)), what, do)


def _used(sample: Sample) -> set[str]:
    """Columns of the source's files that its mapping uses."""
    return {column for look in sample.looks for column in look.columns} & set(names_in(sample.source.mapping.values()))


def _missing(sample: Sample, look: Look, *, spare: bool = True) -> tuple[list[str], list[str]]:
    """As `missing_columns`; nothing where the mapping is no SQL, which `contract_findings` says."""
    try:
        return missing_columns(sample.source, list(look.columns), sample.landing, keyed=look.keyed, spare=spare)
    except ConfigError:
        return [], []


def _lacks(sample: Sample, names: list[str]) -> str:
    mapped = sample.source.mapping.items()
    targets = [c for c, text in mapped if any(n in names or n.partition(".")[0] in names for n in names_in([text]))]
    plural = "s" if len(names) > 1 else ""
    need = "need" if len(targets) > 1 else "needs"
    return f"lacks the column{plural} {listed(names, 8)} that {', '.join(targets) or 'group_by'} {need}"


def _instead(landing: Landing, sample: Sample, look: Look, name: str) -> str:
    """What to do about a missing column."""
    if below := _header_below(landing, sample, look, name):
        return f"line {below} holds the names: set `skip: {below - 1}`"
    if renamed := _renamed(sample, look, name):
        return f"{renamed!r} is likely its new name: map it, or ask who sends the file"
    return f"it has {listed(look.columns, 8)}"


def _files(looks: list[Look], of: int) -> str:
    """The first file of those that have a fault, and how many they are."""
    return looks[0].name if of == 1 else f"{len(looks):,} of {of:,} files, {looks[0].name}"


def _renamed(sample: Sample, look: Look, name: str) -> str | None:
    used = set(names_in(sample.source.mapping.values()))
    elsewhere = next((other for other in sample.looks if name in other.columns and other.records.height), None)
    free = [c for c in look.columns if c not in used and (elsewhere is None or c not in elsewhere.columns)]
    before = _values(elsewhere, name) if elsewhere else set()
    return likely_name(name, free, before, {c: _values(look, c) for c in free} if look.records.height else {})


def _values(look: Look, column: str) -> set[str]:
    return set(look.records[column].head(VALUES).cast(pl.String, strict=False).drop_nulls().to_list()) - {""}


def _header_below(landing: Landing, sample: Sample, look: Look, name: str) -> int:
    """The line, from 1, of a text file that holds the missing name and others of the mapping; 0 where none does."""
    if not isinstance(sample.source, Files) or look.keyed:
        return 0
    text = landing.beginning_of(look.name, BEGINNING).decode("utf-8", "replace")
    wanted = [n for n in names_in(sample.source.mapping.values()) if n not in look.columns]
    for number, line in enumerate(text.splitlines()[:LINES], 1):
        if number > 1 and name in line and sum(n in line for n in wanted) > max(1, len(wanted) // 2):
            return number
    return 0


def _alike(fault: str, look: Look, sample: Sample) -> str:
    """Of a fault that names a contract column, the file's column that is called alike."""
    contract = sample.table.columns()
    free = [column for column in look.columns if column not in contract]
    for column in contract:
        if column in fault.split() and column not in sample.source.mapping and (near := likely_name(column, free)):
            return f"map it: `{column}: {near}`"
    return ""


def _keys_of_no_object(sample: Sample, looked: list[Look]) -> Iterator[Finding]:
    """Of objects, which may leave out what they have no value for: keys of the mapping that none of them has."""
    keyed = [look for look in looked if look.keyed and look.is_judged]
    if not keyed or len(keyed) < len(looked):
        return
    union = list(dict.fromkeys(column for look in keyed for column in look.columns))
    everything = Look("", tuple(union))
    for name in _missing(sample, everything, spare=False)[0]:
        targets = [column for column, text in sample.source.mapping.items() if name in names_in([text])]
        if any(not sample.table.columns()[c].nullable for c in targets if c in sample.table.columns()):
            continue  # a required one is a fault of each file
        used = set(names_in(sample.source.mapping.values()))
        near = likely_name(name, [c for c in union if c not in used]) or likely_name(name, union)
        hint = f"is it {near!r}?" if near else f"they have {listed(union, 8)}"
        rows = sum(look.records.height for look in keyed)
        what = f"none of {rows:,} records has {name!r}, so it would be null everywhere"
        yield Finding("warning", sample.name, ", ".join(targets) or "group_by", what, hint)


def _vanished(sample: Sample, looked: list[Look]) -> Iterator[Finding]:
    """Columns that the last delivery had, or most of the new files have, and that no mapping asks for by name."""
    before = usual_columns(sample.source, sample.waiting.facts)
    contract = set(sample.table.columns()) - set(sample.source.mapping)
    every = {column for look in looked for column in look.columns} & contract
    used = {look.name: used_columns(sample.source, list(look.columns), keyed=look.keyed) for look in looked}
    for name in dict.fromkeys([*before, *sorted(every)]):
        if name in names_in(sample.source.mapping.values()):
            continue  # what a file lacks of a mapping is said above
        if sample.source.group_by:
            continue
        lacking = [look for look in looked if f"columns|{name}" not in used[look.name]]
        if not lacking or (any(look.keyed for look in looked) and len(lacking) < len(looked)):
            continue
        if name not in before and 2 * len(lacking) > len(looked):
            continue  # a new column, rather
        since = "the last delivery" if name in before else "other files"
        renamed = _renamed(sample, lacking[0], name)
        do = f"{renamed!r} is likely its new name: map it" if renamed else "its values would be null from here on"
        where = _files(lacking, len(looked))
        yield Finding("warning", sample.name, where, f"lacks the column {name!r} that {since} had", do)
