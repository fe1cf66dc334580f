"""Open dead letters: records that could not be read, and that nothing stands for yet."""

from __future__ import annotations

import polars as pl

from customer360.platform import ledger, quality, tables
from customer360.platform.lake import Lake
from customer360.platform.sources.bronze import WHOLE
from customer360.platform.sources.files import REPLACED
from customer360.platform.sources.grouping import GROUPED, RECORD

SAME = 0.5  # of the rows that a file gave, the share that must stand at their places again for it to be the same file


def open_dead_letters(lake: Lake) -> pl.DataFrame:
    """Dead letters that no correction stands for, and no later delivery of their file.

    A file of which all is one letter is answered by any later delivery under its name that landed. A single record is
    answered where its file came again and holds a record that can be read at its place. That it is the file again, and
    not another under its name, is seen by the records around: most of them stand at their places as before.
    """
    letters = quality.dead_letters(lake)
    answered: set[str] = set()
    for name in letters["table_name"].unique():
        frame = lake.scan(name).filter(pl.col("_replay_of").is_not_null()).select("_replay_of").collect()
        answered |= set(frame["_replay_of"])
    for (source,), held in letters.partition_by("source", as_dict=True).items():
        outcomes = {s: o for s, o in ledger.outcomes(lake, str(source)).items() if not o.dropped}
        answered |= _delivered_again(held.filter(pl.col("position") == WHOLE), outcomes)
        answered |= _mended(lake, held, outcomes)
    return letters.filter(~pl.col("letter_id").is_in(list(answered)))


def _landed(outcomes: dict[int, ledger.Outcome]) -> dict[str, list[tuple[int, int]]]:
    """Of each input that could be read: the batches that hold it, oldest first, with its records there."""
    found: dict[str, list[tuple[int, int]]] = {}
    for seq, outcome in sorted(outcomes.items()):
        for piece in outcome.inputs:
            if not piece.failure:
                found.setdefault(piece.name, []).append((seq, piece.facts.get("read", 0)))
    return found


def _delivered_again(letters: pl.DataFrame, outcomes: dict[int, ledger.Outcome]) -> set[str]:
    """Letters of whole files that came again under their name and could be read. A content that was replaced before it
    was read did not come again.
    """
    landed = _landed(outcomes)
    return {
        r["letter_id"]
        for r in letters.to_dicts()
        if any(seq > r["seq"] for seq, _ in landed.get(r["file"], ())) and not r["reason"].startswith(REPLACED)
    }


def _mended(lake: Lake, letters: pl.DataFrame, outcomes: dict[int, ledger.Outcome]) -> set[str]:
    """Letters of single records at whose place a later delivery of the same file holds one that could be read."""
    landed = _landed(outcomes)
    dead = set(letters.select("seq", "file", "position").rows())
    found: set[str] = set()
    singles = letters.filter(pl.col("position") != WHOLE)
    for (file, seq, table), held in singles.partition_by("file", "seq", "table_name", as_dict=True).items():
        for later, count in landed.get(str(file), ()):
            places = {r["letter_id"]: r["position"] for r in held.to_dicts() if r["position"] <= count}
            read = {letter for letter, place in places.items() if (later, file, place) not in dead} - found
            if later > seq and read and _is_same_file(lake, str(table), held["source"][0], str(file), seq, later):
                found |= read
    return found


def _is_same_file(lake: Lake, table: str, source: str, file: str, before: int, after: int) -> bool:
    """Whether most records that a file gave in one batch stand at their places in what it gave in another."""
    grouped = lake.scan(GROUPED).filter(pl.col("_source") == source) if lake.exists(GROUPED) else None
    if grouped is not None and grouped.head(1).collect().height:
        rows, columns = grouped, [RECORD]
    else:
        rows, columns = lake.scan(table).filter(pl.col("_source") == source), list(tables.by_name(table).columns())
    of_file = rows.filter(pl.col("_file") == file).select("_seq", "_position", *columns)
    old = of_file.filter(pl.col("_seq") == before).drop("_seq").collect()
    new = of_file.filter(pl.col("_seq") == after).drop("_seq").collect()
    return old.join(new, on=old.columns, how="semi", nulls_equal=True).height >= SAME * old.height
