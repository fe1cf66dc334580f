"""Files and records: what would be dead letters, what is left out, what a grouping does."""

from __future__ import annotations

import re
from collections.abc import Iterator

import polars as pl

from customer360.platform import tables
from customer360.platform.sources.casting import fit
from customer360.platform.sources.files import Files
from customer360.platform.sources.formats.records import POSITION
from customer360.platform.sources.landing import Landing
from customer360.platform.sources.mapping import Mapping
from customer360.platform.sources.rehearsal.findings import Finding, Severity, part, without_values
from customer360.platform.sources.rehearsal.samples import HEAD, Look, Sample
from customer360.platform.sources.stated import mapping_of

ONE_GROUP, NO_GROUP = 10, 20  # records from which on a grouping into one group, or into none, tells something
SIGNS = ",;\t|"
HTML = re.compile(rb"^\s*(<!doctype html|<html|<!--.*?-->\s*<html)", re.I | re.S)
CUT_OFF = re.compile(r"^expected \d+ fields|^JSON|quote", re.I)  # reasons of a record that ends too early
COMPARED = re.compile(r"""\b(MAX|MIN)\s*\(\s*("[^"]+"|[A-Za-z_][\w.]*)\s*\)""", re.I)


def file_findings(landing: Landing, sample: Sample, loss: float) -> Iterator[Finding]:
    """Files that would be dead letters as a whole or in part, and files without rows."""
    for look in sample.looks:
        if sign := other_delimiter(look):
            do = f"its fields are parted by {sign!r}: set `delimiter`, or leave it `auto`"
            yield Finding("error", sample.name, look.name, "is read as one column", do)
        elif look.failure and not look.lacks:  # `header_findings` says of all files together what they lack
            yield Finding("error", sample.name, look.name, *_why(landing, sample, look))
        elif look.is_judged and not look.failure and not look.read:
            yield Finding("warning", sample.name, look.name, "has no rows", "was it exported in full?")
        elif (reason := _last_line(look)) is not None:
            what = f"breaks off in its last line ({reason}), which would be a dead letter"
            yield Finding("warning", sample.name, look.name, what, "was it exported or copied in full?")
    yield from _dead(sample, loss)


def _why(landing: Landing, sample: Sample, look: Look) -> tuple[str, str]:
    """Why a file would be one dead letter, and what to do."""
    if isinstance(sample.source, Files) and HTML.match(landing.beginning_of(look.name, HEAD)):
        return "is a page of HTML, not an export: it would be one dead letter", "fetch it again, signed in"
    reason = without_values(look.failure) if look.columns else look.failure
    return f"would be one dead letter: {reason}", ""


def other_delimiter(look: Look) -> str:
    """The sign that parts the fields of a file which is read as one column; empty where it is not."""
    if len(look.columns) != 1:
        return ""
    counts = {sign: look.columns[0].count(sign) for sign in SIGNS}
    best = max(counts, key=lambda sign: counts[sign])
    return best if counts[best] else ""


def _last_line(look: Look) -> str | None:
    """Why the last record of a file alone would be a dead letter; None where that is not so."""
    if look.failure or not look.is_whole or look.dead.height != 1 or look.records.is_empty():
        return None
    is_last = look.dead[POSITION][0] > int(look.records[POSITION].max() or 0)  # type: ignore[arg-type]
    reason = str(look.dead["reason"][0])
    return without_values(reason) if is_last and CUT_OFF.search(reason) else None


def _dead(sample: Sample, loss: float) -> Iterator[Finding]:
    """Records that would be dead letters: one finding for all files, or for each that would lose too much."""
    some = [look for look in sample.looks if look.dead.height and not look.failure and _last_line(look) is None]
    much = [look for look in some if look.dead.height > loss * look.read]
    rest = [look for look in some if look not in much]
    for looks in ([look] for look in much):
        yield _letters(sample, looks, "error")
    if rest:
        yield _letters(sample, rest, "warning")


def _letters(sample: Sample, looks: list[Look], severity: Severity) -> Finding:
    reason = without_values(str(looks[0].dead.sort(POSITION)["reason"][0]))
    dead, read = sum(look.dead.height for look in looks), sum(look.read for look in looks)
    where = looks[0].name if len(looks) == 1 else f"{len(looks):,} files, {looks[0].name}"
    what = f"{part(dead, read, 'records')} would be dead letters, the first: {reason}"
    do = "after the run `customer360 quarantine export` has them, to be repaired"
    return Finding(severity, sample.name, where, what, do, dead / read)


def losses(sample: Sample, limit: float) -> Iterator[Finding]:
    """What a source would lose in all, beyond the share that is allowed, though no fault alone would."""
    dead = sum(look.dead.height for look in sample.looks if not look.failure)
    rows = sample.height + dead
    lost = dead + sum(look.refused for look in sample.looks)
    if lost > limit * rows:
        what = f"{part(lost, rows)} would be lost in all, more than `loss: {limit:g}`"
        yield Finding("error", sample.name, "", what, "`run` would do all it can and end with code 5", lost / rows)


def first_rows(sample: Sample) -> Iterator[Finding]:
    """First rows that are a second header: more of their values break the contract than of other rows."""
    for look in sample.judged:
        if look.verdict is None or not look.records.height or sample.source.group_by:
            continue
        cells = pl.concat([look.verdict.failures, look.verdict.nulled]).unique([tables.ROW, "column"])
        first = cells.filter(pl.col(tables.ROW) == 0)
        others = cells.filter((pl.col(tables.ROW) > 0) & pl.col("column").is_in(first["column"].implode()))
        if first.height >= 2 and others[tables.ROW].n_unique() * 4 < look.records.height:
            texts = [value for value in first["value"] if value]
            if texts and not any(re.search(r"\d", text) for text in texts):
                what = f"its first row is no data in {first.height} columns: a second header?"
                yield Finding("warning", sample.name, look.name, what, "set `header: 2`, or `skip`")


def condition_findings(sample: Sample) -> Iterator[Finding]:
    """A `where` that leaves nothing, or nothing out."""
    where = sample.source.where
    fits = [look for look in sample.judged if look.fitted is not None]
    records = sum(look.records.height for look in fits)
    left_out = sum(look.fitted.left_out for look in fits if look.fitted)
    if where and records:
        if left_out == records:
            what = f"{where!r} holds for none of {records:,} records: nothing would land"
            yield Finding("error", sample.name, "where", what, "compare it with the values of the file")
        elif not left_out:
            yield Finding("note", sample.name, "where", f"{where!r} holds for every one of {records:,} records")


def group_findings(sample: Sample) -> Iterator[Finding]:
    """A `group_by` that makes one row of everything, or changes nothing."""
    keys = sample.source.group_by
    fits = [look.fitted for look in sample.judged if look.fitted]
    rows, collapsed = sum(f.frame.height for f in fits), sum(f.collapsed for f in fits)
    if not keys or not fits:
        return
    named, records = ", ".join(keys), rows + collapsed
    if rows == len(fits) and records >= ONE_GROUP * len(fits):
        what = f"{named!r} makes one row of {records:,} rows" + (f" in {len(fits):,} files" if len(fits) > 1 else "")
        yield Finding("error", sample.name, "group_by", what, "group by the key of the table")
    elif not collapsed and records >= NO_GROUP:
        what = f"{named!r} leaves one row of each of {records:,} records: nothing is grouped"
        yield Finding("warning", sample.name, "group_by", what, "group by the column that rows of one group share")


def text_comparisons(sample: Sample) -> Iterator[Finding]:
    """MAX and MIN that compare digits as text, where the contract wants a number: 9.50 is more than 10.00 then."""
    contract = sample.table.columns()
    look = next((look for look in sample.judged if look.records.height), None)
    if look is None or not sample.source.group_by:
        return
    for column, text in mapping_of(sample.source).columns.items():
        found = COMPARED.search(text)
        if column not in contract or not contract[column].dtype.is_numeric() or not found:
            continue
        name = found[2].strip('"')
        if look.records.schema.get(name) != pl.String:
            continue
        probe = look.records.head(1).select(pl.all().repeat_by(2).explode())
        probe = probe.with_columns(pl.Series(name, ["9.50", "10.00"]))
        alone = fit(probe, sample.table, Mapping({column: found[0]}, tuple(sample.source.group_by)))
        wanted = 10.0 if found[1].upper() == "MAX" else 9.5
        if alone.frame[column].cast(pl.Float64).to_list() != [wanted]:
            what = f"{found[0]} compares text: of 9.50 and 10.00 it takes {alone.frame[column][0]}"
            do = f"write {found[1]}(CAST({found[2]} AS DOUBLE))"
            yield Finding("warning", sample.name, column, what, do)
