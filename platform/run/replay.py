"""Replay: refused rows out to a file, repaired rows back in as a batch of corrections.

``export`` writes one JSON object a refused row: its columns, why it was refused, and ``_replay_of`` (its address).
A person repairs the columns; ``replay`` makes a batch of what comes back. A correction stands in for the row or dead
letter that it names, so nothing counts twice; it must name one that is refused now. What comes back as it went out
stays refused, but for records that a schema contract left out and that were accepted since. Changing a contract needs
no replay: the rows are judged anew.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl

from customer360.platform import ledger, quality, rescued, schemas, tables
from customer360.platform.errors import SourceError
from customer360.platform.lake import Lake
from customer360.platform.ledger import Input
from customer360.platform.run.evolving import is_let_in
from customer360.platform.run.letters import open_dead_letters
from customer360.platform.settings import Settings
from customer360.platform.sources.base import Source, configured
from customer360.platform.sources.bronze import WHOLE
from customer360.platform.sources.cards import cleared_bytes
from customer360.platform.sources.casting import DELETED, fit
from customer360.platform.sources.formats.records import POSITION, REORDERED
from customer360.platform.sources.grouping import is_grouped
from customer360.platform.sources.landing import landing_of
from customer360.platform.sources.stated import marking, reading_of

REPLAYS = "_replays"
LOST = "\ufffd"  # what a byte that is no UTF-8 is exported as
_ABOUT = ("_replay_of", "_source", "_reasons", "_raw")


def export(lake: Lake, out: Path, table: str | None = None) -> tuple[int, int]:
    """Write open quarantined rows and dead letters to a JSON-lines file. Returns how many of each."""
    rows = [*_quarantined(lake, table), *_dead(lake, table)]
    with os.fdopen(os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as handle:
        out.chmod(0o600)  # the rows hold personal data in the clear; an older file may be open to others
        handle.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    dead = sum("_raw" in row for row in rows)
    return len(rows) - dead, dead


def _quarantined(lake: Lake, table: str | None) -> list[dict[str, Any]]:
    found = []
    for (row_id, source, record), rules in quality.refused(lake, table).group_by(
        "row_id", "source", "record", maintain_order=True
    ):
        reasons = [f"{r['column_name'] or 'row'}: {r['rule']}" for r in rules.to_dicts()]
        columns = {k: v for k, v in json.loads(str(record)).items() if k != "_rescued"}
        columns |= rescued.texts(json.loads(str(record)).get("_rescued"))
        found.append({"_replay_of": row_id, "_source": source, "_reasons": reasons, **columns})
    return found


def _dead(lake: Lake, table: str | None) -> list[dict[str, Any]]:
    letters = open_dead_letters(lake)
    if table:
        letters = letters.filter(pl.col("table_name") == table)
    return [
        {"_replay_of": r["letter_id"], "_source": r["source"], "_reasons": [r["reason"]], "_raw": _as_text(r["raw"])}
        for r in letters.to_dicts()
    ]


def _as_text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")


def replay(lake: Lake, settings: Settings, file: Path) -> dict[str, int]:
    """Open a batch of corrections a source from a repaired export; the next run lands it. Returns rows by source.

    What a replay that was interrupted left out is made up for by replaying the file again.

    Lines that are as ``export`` wrote them are passed over: what they name stays refused.

    Raises:
        SourceError: a line is no JSON object, names no known source, or an address at which nothing is refused; no line
            was repaired; or the file was replayed before.
    """
    with lake.run_lock(f"replay {file.name}"):  # a run opens batches too, and of two with one number the first wins
        refused = _Refused.of(lake)
        by_source = _repaired(file, settings, refused)
        batches = {name: _corrections(lake, settings, file, rows, refused) for name, rows in by_source.items()}
        opened = {}
        for source, (path, data) in batches.items():
            if data:
                lake.put(path, data)
                ledger.open_batch(lake, source, [], inline=path)
                opened[source] = len(by_source[source])
    if not opened:
        raise SourceError(f"{file}: these corrections of {', '.join(sorted(by_source))} were replayed before")
    return opened


def _repaired(file: Path, settings: Settings, refused: _Refused) -> dict[str, dict[int, dict[str, Any]]]:
    """The lines that differ from what was exported, by source and number."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    # splitlines would also cut at U+2028
    for number, line in enumerate(file.read_text(encoding="utf-8").split("\n"), 1):
        if line.strip():
            row = _checked(line, f"{file}:{number}", settings)
            if not refused.is_unrepaired(row):
                found.setdefault(row["_source"], {})[number] = row
    if not found:
        raise SourceError(f"{file}: no line differs from what was exported; repair a line, then replay the file")
    return found


@dataclass(frozen=True)
class _Refused:
    """What can be corrected: rows in quarantine as they are exported, and dead letters; ``open`` are those that
    stand.
    """

    rows: dict[str, dict[str, Any]]
    letters: dict[str, dict[str, Any]]
    open: set[str]
    accepted: frozenset[str] = frozenset()  # letters of records that a schema contract left out and would let in now

    @staticmethod
    def of(lake: Lake) -> _Refused:
        rows = {row["_replay_of"]: row for row in _quarantined(lake, None)}
        letters = {r["letter_id"]: r for r in quality.dead_letters(lake).to_dicts()}
        opened = set(rows) | set(open_dead_letters(lake)["letter_id"])
        told = {a: letters[a] for a in opened & set(letters)}
        known = {source: schemas.newest(lake, source) for source in {letter["source"] for letter in told.values()}}
        accepted = (a for a, letter in told.items() if is_let_in(letter["reason"], known[letter["source"]]))
        return _Refused(rows, letters, opened, frozenset(accepted))

    def is_unrepaired(self, row: dict[str, Any]) -> bool:
        """Whether a line came back as it went out."""
        address = row["_replay_of"]
        columns = {k: v for k, v in row.items() if k not in _ABOUT}
        if address in self.letters:
            if address in self.accepted:
                return False
            return not columns and row.get("_raw") == _as_text(self.letters[address]["raw"])
        exported = self.rows.get(address)
        return exported is not None and columns == {k: v for k, v in exported.items() if k not in _ABOUT}

    def check(self, row: dict[str, Any], place: str) -> None:
        """Refuse a correction of what is not refused, or of what cannot be corrected line by line."""
        address, letter = row["_replay_of"], self.letters.get(row["_replay_of"])
        if address not in self.open or str(address).split("/")[0] != row["_source"]:
            raise SourceError(
                f"{place}: {address!r} is no row of {row['_source']} that is refused now; "
                f"`customer360 quarantine export` writes those that are"
            )
        if letter and letter["position"] == WHOLE and letter["origin"]:
            raise SourceError(
                f"{place}: {address!r} stands for a whole file; mend the file or the settings, then "
                f"`customer360 batch retry {row['_source']}`"
            )
        if letter and str(row).count(LOST) > letter["raw"].decode("utf-8", "ignore").count(LOST):
            raise SourceError(f"{place}: {LOST} (U+FFFD) still stands where the file holds a byte that is no UTF-8")


def _corrections(
    lake: Lake, settings: Settings, file: Path, rows: dict[int, dict[str, Any]], refused: _Refused
) -> tuple[str, bytes]:
    """The object of a source's corrections; without data where it was opened before, as then its rows are not open."""
    repaired = [_columns(row, settings, f"{file}:{number}", refused) for number, row in rows.items()]
    data = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in repaired).encode()
    source = next(iter(rows.values()))["_source"]
    data = cleared_bytes(settings.sources[source], data)
    path = f"{REPLAYS}/{source}/{hashlib.sha256(data).hexdigest()[:24]}.jsonl"
    if any(b.inline == path for b in ledger.batches(lake, source)):
        return path, b""
    seen: dict[str, int] = {}
    for number, row in rows.items():
        refused.check(row, f"{file}:{number}")
        if (first := seen.setdefault(row["_replay_of"], number)) != number:
            raise SourceError(f"{file}:{number}: {row['_replay_of']!r} is corrected in line {first} already")
    return path, data


def _checked(line: str, place: str, settings: Settings) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as fault:
        raise SourceError(f"{place}: not JSON: {fault}") from None
    if not isinstance(row, dict) or not isinstance(row.get("_replay_of"), str):
        raise SourceError(f"{place}: a correction is an object with `_replay_of`, as `quarantine export` writes it")
    if not isinstance(row.get(DELETED, False), bool):
        raise SourceError(f"{place}: `{DELETED}` is true for a deletion, else false or left out")
    if row.get("_source") not in settings.sources:
        raise SourceError(f"{place}: `_source` is {row.get('_source')!r}; configured are {sorted(settings.sources)}")
    return row


def _columns(row: dict[str, Any], settings: Settings, place: str, refused: _Refused) -> dict[str, Any]:
    """The bronze columns of a correction; columns beyond the contract stay, and land in ``_rescued``."""
    columns = {k: v for k, v in row.items() if k not in _ABOUT}
    letter = refused.letters.get(row["_replay_of"])
    if not columns and row.get("_raw") and letter:
        source = configured(settings, row["_source"])
        if is_grouped(source):
            raise SourceError(
                f"{place}: {row['_source']} groups its records, and one line is no row; mend the line in its file, or "
                "deliver it in a file of its own: it joins its group"
            )
        if REORDERED in letter["reason"]:
            raise SourceError(
                f"{place}: the line stands below a header that has the columns in another order than the first one of "
                "its file; write the columns of the record beside `_replay_of` instead of `_raw`"
            )
        columns = _record(str(row["_raw"]), letter, source, settings, place)
    return {**columns, "_replay_of": row["_replay_of"]}


def _record(raw: str, letter: dict[str, Any], source: Source, settings: Settings, place: str) -> dict[str, Any]:
    """A repaired ``_raw`` text as bronze columns: read and mapped as the file was that the letter came from."""
    origin = json.loads(letter["origin"] or "{}")
    if not origin:
        origin = {"columns": _columns_of_file(letter, source, settings, place)}
    options = {k: v for k, v in origin.items() if k in type(source).model_fields and k != "columns"}
    reader = source.model_copy(update=options)
    records = reader.reread(raw.encode(), origin["columns"])
    mapping = marking(reader, landing_of(settings))
    fitted = fit(records.frame, tables.by_name(source.table), mapping, reading_of(reader))
    if fitted.frame.height != 1:
        reason = records.dead["reason"].to_list() or [f"{fitted.frame.height} records of {letter['source']} in it"]
        raise SourceError(f"{place}: `_raw` is still not readable: {reason[0]}")
    if DELETED in fitted.frame.columns and not fitted.frame[DELETED].item():
        fitted = replace(fitted, frame=fitted.frame.drop(DELETED))
    (typed,) = fitted.frame.drop(POSITION).cast(pl.String).to_dicts()
    kept = rescued.texts(typed.pop("_rescued"))
    return {k: v for k, v in {**typed, **kept}.items() if v is not None}


def _columns_of_file(letter: dict[str, Any], source: Source, settings: Settings, place: str) -> list[str]:
    """For letters of before their columns were kept with them: those of the file, if it is still there."""
    try:
        frame = source.read(landing_of(settings), Input(letter["file"])).frame
    except (SourceError, OSError) as fault:
        raise SourceError(
            f"{place}: the header of {letter['file']} cannot be read any more ({fault}); "
            f"write the columns of the record beside `_replay_of` instead of `_raw`"
        ) from None
    return [c for c in frame.columns if c != POSITION]
