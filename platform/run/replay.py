"""Replay: refused rows out to a file, repaired rows back in as a batch of corrections.

``export`` writes one JSON object a refused row: its columns, why it was refused, and ``_replay_of`` (its address).
A person repairs the columns; ``replay`` makes a batch of what comes back. A correction stands in for the row or dead
letter that it names, so nothing counts twice. Changing a contract or mapping needs no replay: the rows are judged anew.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import polars as pl

from customer360.platform import ledger, quality, rescued, tables
from customer360.platform.errors import SourceError
from customer360.platform.lake import Lake
from customer360.platform.settings import Settings
from customer360.platform.sources.base import configured
from customer360.platform.sources.bronze import mapping_of, reading_of
from customer360.platform.sources.casting import fit
from customer360.platform.sources.formats.records import POSITION
from customer360.platform.sources.landing import landing_of

REPLAYS = "_replays"
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
        {
            "_replay_of": r["letter_id"],
            "_source": r["source"],
            "_reasons": [r["reason"]],
            "_raw": r["raw"].decode("utf-8", "replace"),
        }
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

    What a replay that was interrupted left out is made up for by replaying the file again.

    Raises:
        SourceError: a line is no JSON object, names no known source or address, or the file was replayed before.
    """
    by_source: dict[str, list[dict[str, Any]]] = {}
    for number, line in enumerate(
        file.read_text(encoding="utf-8").split("\n"), 1
    ):  # splitlines would also cut at U+2028
        if line.strip():
            row = _checked(line, f"{file}:{number}", settings)
            by_source.setdefault(row["_source"], []).append(_columns(row, settings, f"{file}:{number}"))
    opened = {}
    with lake.run_lock(f"replay {file.name}"):  # a run opens batches too, and of two with one number the first wins
        for source, rows in by_source.items():
            data = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows).encode()
            path = f"{REPLAYS}/{source}/{hashlib.sha256(data).hexdigest()[:24]}.jsonl"
            if not any(b.inline == path for b in ledger.batches(lake, source)):
                lake.put(path, data)
                ledger.open_batch(lake, source, [], inline=path)
                opened[source] = len(rows)
    if by_source and not opened:
        raise SourceError(f"{file}: these corrections of {', '.join(sorted(by_source))} were replayed before")
    return opened


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
    """The bronze columns of a correction; columns beyond the contract stay, and land in ``_rescued``."""
    columns = {k: v for k, v in row.items() if k not in _ABOUT}
    if not columns and row.get("_raw"):
        columns = _record(row, settings, place)
    return {**columns, "_replay_of": row["_replay_of"]}


def _record(row: dict[str, Any], settings: Settings, place: str) -> dict[str, Any]:
    """A repaired ``_raw`` text as bronze columns: read and mapped as its source's records are."""
    source = configured(settings, row["_source"])
    address = "/".join(str(row["_replay_of"]).split("/")[2:-1])  # source/seq/address/position
    records = source.reread(landing_of(settings), address, str(row["_raw"]).encode())
    fitted = fit(records.frame, tables.by_name(source.table), mapping_of(source), reading_of(source))
    if fitted.frame.height != 1:
        reason = records.dead["reason"].to_list() or [f"{fitted.frame.height} records of {row['_source']} in it"]
        raise SourceError(f"{place}: `_raw` is still not readable: {reason[0]}")
    (typed,) = fitted.frame.drop(POSITION).cast(pl.String).to_dicts()
    kept = rescued.texts(typed.pop("_rescued"))
    return {k: v for k, v in {**typed, **kept}.items() if v is not None}
