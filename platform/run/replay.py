"""Replay: refused rows out to a file, repaired rows back in as a batch of corrections.

``export`` writes one JSON object a refused row: its columns, why it was refused, and ``_replay_of`` (its address).
A person repairs the columns; ``replay`` makes a batch of what comes back. A correction stands in for the row or dead
letter that it names, so nothing counts twice. Changing a contract or mapping needs no replay: the rows are judged anew.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import polars as pl

from customer360.platform import ledger, quality, tables
from customer360.platform.errors import SourceError
from customer360.platform.lake import Lake
from customer360.platform.settings import Settings
from customer360.platform.sources.files import Landing
from customer360.platform.sources.records import POSITION, read

REPLAYS = "_replays"
_ABOUT = ("_replay_of", "_source", "_reasons", "_raw")


def export(lake: Lake, out: Path, table: str | None = None) -> tuple[int, int]:
    """Write open quarantined rows and dead letters to a JSON-lines file. Returns how many of each."""
    rows = [*_quarantined(lake, table), *_dead(lake, table)]
    out.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    out.chmod(0o600)  # the rows hold personal data in the clear
    dead = sum("_raw" in row for row in rows)
    return len(rows) - dead, dead


def _quarantined(lake: Lake, table: str | None) -> list[dict[str, Any]]:
    found = []
    for (row_id, source, record), rules in quality.refused(lake, table).group_by("row_id", "source", "record", maintain_order=True):
        reasons = [f"{r['column_name'] or 'row'}: {r['rule']}" for r in rules.to_dicts()]
        columns = {k: v for k, v in json.loads(str(record)).items() if k != "_rescued"}
        rescued = json.loads(json.loads(str(record)).get("_rescued") or "{}")
        columns |= {k: v for k, v in rescued.items() if k in columns}
        found.append({"_replay_of": row_id, "_source": source, "_reasons": reasons, **columns})
    return found


def _dead(lake: Lake, table: str | None) -> list[dict[str, Any]]:
    letters = open_dead_letters(lake)
    if table:
        letters = letters.filter(pl.col("table_name") == table)
    return [
        {"_replay_of": r["letter_id"], "_source": r["source"], "_reasons": [r["reason"]], "_raw": r["raw"].decode("utf-8", "replace")}
        for r in letters.to_dicts()
    ]


def open_dead_letters(lake: Lake) -> pl.DataFrame:
    """Dead letters that no correction stands for yet."""
    letters = quality.dead_letters(lake)
    answered: set[str] = set()
    for name in letters["table_name"].unique():
        frame = lake.scan(name).filter(pl.col("_replay_of").is_not_null()).select("_replay_of").collect()
        answered |= set(frame["_replay_of"])
    return letters.filter(~pl.col("letter_id").is_in(list(answered)))


def replay(lake: Lake, settings: Settings, file: Path) -> dict[str, int]:
    """Open a batch of corrections a source from a repaired export; the next run lands it. Returns rows by source.

    Raises:
        SourceError: a line is no JSON object, names no known source or address, or the file was replayed before.
    """
    by_source: dict[str, list[dict[str, Any]]] = {}
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if line.strip():
            row = _checked(line, f"{file}:{number}", settings)
            by_source.setdefault(row["_source"], []).append(_columns(row, settings, f"{file}:{number}"))
    payloads = {}
    for source, rows in by_source.items():
        data = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows).encode()
        path = f"{REPLAYS}/{source}/{hashlib.sha256(data).hexdigest()[:24]}.jsonl"
        if any(b.inline == path for b in ledger.batches(lake, source)):
            raise SourceError(f"{file}: these corrections of {source} were replayed before")
        payloads[source] = (path, data)
    for source, (path, data) in payloads.items():
        lake.put(path, data)
        ledger.open_batch(lake, source, [], inline=path)
    return {source: len(rows) for source, rows in by_source.items()}


def _checked(line: str, place: str, settings: Settings) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as fault:
        raise SourceError(f"{place}: not JSON: {fault}") from None
    if not isinstance(row, dict) or not row.get("_replay_of"):
        raise SourceError(f"{place}: a correction is an object with `_replay_of`, as `quarantine export` writes it")
    if row.get("_source") not in settings.sources:
        raise SourceError(f"{place}: `_source` is {row.get('_source')!r}; configured are {sorted(settings.sources)}")
    return row


def _columns(row: dict[str, Any], settings: Settings, place: str) -> dict[str, Any]:
    """The bronze columns of a correction; a repaired ``_raw`` text is split by its source's own format."""
    source = settings.sources[row["_source"]]
    columns = {k: v for k, v in row.items() if k not in _ABOUT}
    if not columns and row.get("_raw"):
        raw = str(row["_raw"])
        if source.format == "csv":
            file = "/".join(str(row["_replay_of"]).split("/")[2:-1])
            header = Landing(settings.landing, tuple(settings.landing_options.items())).bytes_of(file).split(b"\n", 1)[0]
            raw = header.decode("utf-8").strip("\ufeff\r") + "\n" + raw
        records = read(raw.encode(), source.format, source.delimiter)
        if records.frame.height != 1:
            reason = records.dead["reason"].to_list() or ["no record in it"]
            raise SourceError(f"{place}: `_raw` is still not readable: {reason[0]}")
        columns = {k: v for k, v in records.frame.drop(POSITION).to_dicts()[0].items() if v is not None}
    unknown = [c for c in columns if c not in tables.by_name(source.table).columns()]
    known = {c: v for c, v in columns.items() if c not in unknown}
    return {**known, "_replay_of": row["_replay_of"]}
