"""Whether the registry is what was sealed, row by row, and what an anchor outside of it has seen."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from customer360.models.identity.registry import chain, seals
from customer360.models.identity.registry.chain import GENESIS
from customer360.models.identity.registry.contracts import (
    IdentityAliases,
    IdentityCommits,
    IdentityEvents,
    IdentityMembers,
    IdentitySeals,
    StewardDecisions,
)
from customer360.models.identity.registry.core import EVENTS, RegistryError, replay
from customer360.models.identity.registry.ids import person_ids
from customer360.models.identity.registry.store import APP, Stored, commit, load
from customer360.platform import tables
from customer360.platform.lake import Lake
from customer360.platform.tables import Table

SHOWN = 5
_KEY = list(seals.KEY)


@dataclass(frozen=True)
class Verified:
    """Counts of what was checked. `sealed_from`: the first commit that seals all tables; those before it, made by an
    earlier version, sealed their events alone (None: there is none yet). `unsealed`: decisions after the last commit.
    `anchors`: how many were met."""

    commits: int = 0
    events: int = 0
    records: int = 0
    aliases: int = 0
    decisions: int = 0
    sealed_from: int | None = None
    unsealed: int = 0
    anchors: int = 0


def verify(lake: Lake, seed: str, anchor: Path | None = None) -> Verified:
    """Check every row of the registry against its seal, the seals against the roots, the roots against each other and
    against an anchor, and members and aliases against what the events give.

    Raises:
        RegistryError: names the tables and rows that differ.
    """
    seen = _anchors(anchor)
    commits = _read(lake, IdentityCommits).sort("commit")
    last = int(commits["commit"].max() or 0)  # type: ignore[arg-type]
    _check_numbers(IdentityCommits, commits["commit"], 1)
    _check_anchors(commits, seen, anchor)
    if not last:
        if _read(lake, IdentityEvents).height:
            raise RegistryError(f"{_name(IdentityCommits)}: all commits are missing, their events are there")
        return Verified(anchors=len(seen))
    if (written := lake.transaction(_name(IdentityCommits), APP) or 0) > last:
        raise RegistryError(f"{_name(IdentityCommits)}: commit {written} was written, the last one is {last}")
    rows = {table: _read(lake, table) for table in seals.SEALED}
    for table in (IdentityEvents, IdentityMembers, IdentityAliases):
        rows[table] = rows[table].filter(pl.col("commit") <= last)  # what a death left of a later one is not seen
    sealed = _read(lake, IdentitySeals).filter(pl.col("commit") <= last)
    first = int(sealed["commit"].min()) if sealed.height else None  # type: ignore[arg-type]
    digests = pl.concat(seals.digests(t, frame, seed, seals.secret_of(lake)) for t, frame in rows.items())
    _check_roots(commits, sealed, first, rows[IdentityEvents], digests, seed)
    unsealed = _check_rows(sealed, digests, seed) if first else rows[StewardDecisions].height
    _check_numbers(IdentityEvents, rows[IdentityEvents]["event"].sort(), 0)
    _check_ids(rows[IdentityMembers], seed)
    stored = load(lake, seed)
    _check_replay(rows[IdentityEvents].sort("event"), stored)
    held = stored.registry
    counts = (rows[IdentityEvents].height, held.members.height, held.aliases.height, rows[StewardDecisions].height)
    return Verified(last, *counts, first, unsealed, len(seen))


def write_anchor(lake: Lake, seed: str, file: Path) -> dict[str, Any]:
    """Seal what stands, where something is not sealed, and add the newest commit and its root to a file that lies
    outside the lake. The caller holds the run lock. Returns what was added.

    Raises:
        RegistryError: the registry does not verify, or is empty.
    """
    found = verify(lake, seed)
    stored = load(lake, seed)
    if not found.commits:
        raise RegistryError("there is nothing to anchor: the registry is empty")
    if found.sealed_from is None or found.unsealed:
        stored = commit(stored, pl.DataFrame(schema=EVENTS), seal=True)
    at = _read(lake, IdentityCommits).filter(pl.col("commit") == stored.registry.commit)["committed_at"][0]
    line = {"commit": stored.registry.commit, "committed_at": f"{at:%Y-%m-%dT%H:%M:%S.%fZ}", "root": stored.root}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a", encoding="utf-8") as opened:
            opened.write(json.dumps(line) + "\n")
    except OSError as fault:
        raise RegistryError(f"{file} cannot be written: {fault.strerror}") from None
    return line


# ---- anchors --------------------------------------------------------------------------------------------------


def _anchors(file: Path | None) -> list[dict[str, Any]]:
    if file is None:
        return []
    try:
        lines = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as fault:
        raise RegistryError(f"{file} is no anchor: {fault}; `identity verify --write-anchor FILE` writes one") from None
    if not lines or not all(isinstance(line, dict) and {"commit", "root"} <= line.keys() for line in lines):
        raise RegistryError(f"{file} is no anchor; `identity verify --write-anchor FILE` writes one")
    return lines


def _check_anchors(commits: pl.DataFrame, seen: list[dict[str, Any]], file: Path | None) -> None:
    roots = dict(commits.select("commit", "root").iter_rows())
    for line in seen:
        found = roots.get(line["commit"])
        if found is None:
            raise RegistryError(
                f"{_name(IdentityCommits)}: commit {line['commit']}, which {file} has seen, is missing; the last one "
                f"is {max(roots, default=0)}: rows were cut off"
            )
        if found != line["root"]:
            raise RegistryError(
                f"{_name(IdentityCommits)}: commit {line['commit']} has another root than {file} has seen: it, or what "
                "came before it, was made anew"
            )


# ---- roots and rows -------------------------------------------------------------------------------------------


def _check_numbers(table: type[Table], numbers: pl.Series, start: int) -> None:
    for expected, number in enumerate(numbers, start):
        if number != expected:
            is_twice = number is not None and number < expected
            what = f"{number} is there twice" if is_twice else f"{expected} is missing"
            raise RegistryError(f"{_name(table)}: {table.primary_key()[0]} {what}")


def _check_roots(
    commits: pl.DataFrame,
    sealed: pl.DataFrame,
    first: int | None,
    events: pl.DataFrame,
    digests: pl.DataFrame,
    seed: str,
) -> None:
    by_commit = {key[0]: part for key, part in sealed.partition_by("commit", as_dict=True).items()}
    of_events = {key[0]: part.sort("event") for key, part in events.partition_by("commit", as_dict=True).items()}
    previous = GENESIS
    for row in commits.iter_rows(named=True):
        number = row["commit"]
        if first is None or number < first:
            part = of_events.get(number, events.clear())
            fits = chain.root_of(part, row["previous_root"], number, row["committed_at"]) == row["root"]
        else:
            fits = seals.root_of(row, by_commit.get(number, sealed.clear())) == row["root"]
        if not fits:
            _blame_seals(by_commit.get(number, sealed.clear()), sealed, digests, first, seed)
            old = f"; or its events in {_name(IdentityEvents)}" if first is None or number < first else ""
            raise RegistryError(
                f"{_name(IdentityCommits)}: commit {number} of {row['committed_at']:%Y-%m-%d %H:%M} does not fit its "
                f"root: its row was changed, or a seal of it in {_name(IdentitySeals)} is missing{old}"
            )
        if row["previous_root"] != previous:
            raise RegistryError(f"{_name(IdentityCommits)}: commit {number - 1} or {number} was changed")
        previous = row["root"]


def _blame_seals(part: pl.DataFrame, sealed: pl.DataFrame, digests: pl.DataFrame, first: int | None, seed: str) -> None:
    """Raises RegistryError where seals of a commit that does not fit its root are of no row, or of another commit's."""
    newest = part.join(_newest(sealed), on=["commit", *_KEY], how="semi")  # others were changed by an erasure since
    strange = newest.drop_nulls("digest").join(digests, on=[*_KEY, "digest"], how="anti")
    of_commit = pl.col("of").is_in([_name(IdentityMembers), _name(IdentityAliases)])
    moved = part.filter(of_commit & (pl.max_horizontal("at", pl.lit(first)) != pl.col("commit")))
    if told := [_named(row, seed) for row in pl.concat([strange, moved.drop_nulls("digest")]).head(SHOWN).to_dicts()]:
        raise RegistryError(f"{_name(IdentitySeals)}: changed: the seal of " + "; of ".join(told))


def _check_rows(sealed: pl.DataFrame, digests: pl.DataFrame, seed: str) -> int:
    """How many decisions are not sealed yet. Raises RegistryError that names rows that were changed, added or lost."""
    newest = _newest(sealed).drop("commit")
    twice = digests.filter(digests.select(_KEY).is_duplicated()).unique(_KEY)
    both = newest.with_columns(is_sealed=pl.lit(True)).join(
        digests.rename({"digest": "now"}).with_columns(is_there=pl.lit(True)), on=_KEY, how="full", coalesce=True
    )
    sealed_decisions = newest.filter(pl.col("of") == _name(StewardDecisions))["row"].max()
    is_late = (pl.col("of") == _name(StewardDecisions)) & (
        pl.col("row") > (-1 if sealed_decisions is None else sealed_decisions)
    )
    late = both.filter(is_late & pl.col("is_sealed").is_null())
    there, known = pl.col("is_there").is_not_null(), pl.col("is_sealed").is_not_null()
    kinds = {
        "there twice": twice,
        "changed": both.filter(there & known & pl.col("digest").is_not_null() & (pl.col("digest") != pl.col("now"))),
        "missing": both.filter(~there & pl.col("digest").is_not_null()),
        "added": both.filter(there & ~known & ~is_late),
        "erased, and there (erase the person again)": both.filter(there & known & pl.col("digest").is_null()),
    }
    told = []
    for kind, found in kinds.items():
        if found.height:
            shown = "; ".join(_named(row, seed) for row in found.sort(_KEY).head(SHOWN).to_dicts())
            told.append(f"{kind}: {shown}" + (f" and {found.height - SHOWN:,} more" if found.height > SHOWN else ""))
    if told:
        raise RegistryError("the registry was tampered with. " + ". ".join(told))
    return late.height


def _newest(sealed: pl.DataFrame) -> pl.DataFrame:
    return sealed.sort("commit").unique(_KEY, keep="last", maintain_order=True)


def _named(row: dict[str, Any], seed: str) -> str:
    of, number = row["of"], row["row"]
    what = {
        _name(IdentityEvents): f"event {number}",
        _name(IdentityMembers): f"record {number} of commit {row['at']}",
        _name(StewardDecisions): f"decision {number}",
    }.get(of, f"alias {person_ids(pl.Series([number]), seed)[0]} of commit {row['at']}")
    return f"{of} {what}"


# ---- what the events give -------------------------------------------------------------------------------------


def _check_ids(members: pl.DataFrame, seed: str) -> None:
    ids = person_ids(members["person"], seed)
    wrong = members.filter(members["person_id"].ne_missing(ids)).sort("record", "commit")
    if wrong.height:
        row = wrong.row(0, named=True)
        raise RegistryError(f"{_name(IdentityMembers)}: changed: record {row['record']} of commit {row['commit']}")


def _check_replay(events: pl.DataFrame, stored: Stored) -> None:
    replayed, held = replay(events), stored.registry
    # The alias of a person all of whose records are gone may have been erased with them.
    living = (
        events.select("person", record="records")
        .explode("record")
        .join(held.members, on="record", how="semi")["person"]
    )
    required = pl.col("alias").is_in(living.unique().implode()) | pl.col("alias").is_in(held.aliases["alias"].implode())
    for what, one, other in (
        (IdentityMembers, replayed.members, held.members),
        (IdentityAliases, replayed.aliases.filter(required), held.aliases),
    ):
        columns = one.columns
        differing = pl.concat([one.join(other, on=columns, how="anti"), other.join(one, on=columns, how="anti")])
        if differing.height:
            named = ", ".join(str(number) for number in differing[columns[0]].unique().sort().head(SHOWN))
            raise RegistryError(
                f"{_name(what)}: {differing.height} rows differ from what the events give: {columns[0]} {named}"
            )


def _read(lake: Lake, table: type[Table]) -> pl.DataFrame:
    name, schema = _name(table), tables.schema(table)
    if not lake.exists(name):
        return pl.DataFrame(schema=schema)
    try:
        stored = lake.scan(name).collect()
    except (pl.exceptions.PolarsError, OSError) as fault:
        raise RegistryError(f"{name} cannot be read: {str(fault).splitlines()[0]}") from None
    # A log of before lacks the columns that came later.
    absent = [pl.lit(None, kind).alias(column) for column, kind in schema.items() if column not in stored.columns]
    return stored.with_columns(absent).select(list(schema))


def _name(table: type[Table]) -> str:
    return tables.spec(table).name


__all__ = ["Verified", "verify", "write_anchor"]
