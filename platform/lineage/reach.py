"""How far a delivery reached: from a file, or a batch, to every row and version that was made with it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath

import polars as pl

from customer360.platform import ledger, stars, tables
from customer360.platform.errors import SourceError
from customer360.platform.lake import Lake
from customer360.platform.lineage.rows import Reached, reached_from, wanted_columns
from customer360.platform.quality import DeadLetters, ErasedRecords, Quarantine

_BATCH = re.compile(r"(?P<source>[^/\s]+)/(?P<seq>\d+)")
NEAR = 3  # names that a message offers


@dataclass(frozen=True)
class Delivered:
    """A file of a batch; ``others`` are the other files of the batch. ``state`` is what became of the batch."""

    source: str
    seq: int
    file: str
    landed_at: datetime
    state: str
    others: int

    @property
    def batch(self) -> str:
        return f"{self.source}/{self.seq}"


@dataclass(frozen=True)
class Reach:
    """What a delivery reached. ``landed`` are its rows by bronze table; ``refused`` what of it went no further, in
    words; ``tables`` the rows made with it, bronze first; ``persons`` how many have such a row; ``stars`` the tables of
    the warehouse that are loaded from these.
    """

    delivered: tuple[Delivered, ...]
    landed: Mapping[str, int]
    refused: Mapping[str, int]
    tables: tuple[Reached, ...]
    persons: int
    stars: tuple[str, ...]

    @property
    def since(self) -> datetime:
        """When the first of it came in: versions committed before hold nothing of it."""
        return min(each.landed_at for each in self.delivered)


def find(lake: Lake, sources: Iterable[str], what: str) -> tuple[Delivered, ...]:
    """The files that ``SOURCE/BATCH``, or a file by its path or its end, names; each time that they landed.

    Raises:
        SourceError: no batch of any source is named so; offers what is near.
    """
    batch = _BATCH.fullmatch(what)
    names = sorted({*sources, *_known_sources(lake)})
    if batch and batch["source"] in names:
        found = _of_batches(lake, batch["source"], what, seq=int(batch["seq"]))
        if not found:
            raise SourceError(f"{batch['source']} has no batch {batch['seq']}; `customer360 batch list` shows them")
        return found
    parts = [_of_batches(lake, name, what) for name in names]
    if found := tuple(each for part in parts for each in part):
        return found
    files = {i.name for name in names for b in ledger.batches(lake, name) for i in b.inputs}
    near = difflib.get_close_matches(what, sorted({*files, *(PurePosixPath(f).name for f in files)}), n=NEAR)
    hint = f"; did you mean {', '.join(near)}?" if near else ""
    raise SourceError(f"no source ever landed a file {what!r}, and it is no SOURCE/BATCH{hint}")


def _known_sources(lake: Lake) -> set[str]:
    """Sources that the ledger knows, configured still or not."""
    return {path.split("/")[1] for path in lake.objects(f"{ledger.BATCHES}/")}


def _of_batches(lake: Lake, source: str, what: str, seq: int | None = None) -> tuple[Delivered, ...]:
    outcomes = ledger.outcomes(lake, source)
    found = []
    for batch in ledger.batches(lake, source):
        if seq not in (None, batch.seq):
            continue
        outcome = outcomes.get(batch.seq)
        state = outcome.state if outcome else "waits"
        at = datetime.fromisoformat(batch.created_at)
        names = [i.name for i in batch.inputs] or ([batch.inline] if batch.inline else [])
        for name in names:
            if seq is not None or name == what or name.endswith(f"/{what}"):
                found.append(Delivered(source, batch.seq, name, at, state, len(names) - 1))
    return tuple(found)


def reach_of(lake: Lake, delivered: Iterable[Delivered]) -> Reach:
    """Follow the rows of files through every table that they are part of, in what stands now."""
    given = tuple(delivered)
    start: dict[str, pl.DataFrame] = {}
    for name in sorted(n for n in tables.TABLES if n.startswith("bronze.")):
        theirs = [f for f in lake.files(name) if f.partition.get("_source") in {d.source for d in given}]
        if theirs:
            rows = _of(given, lake.scan(name, theirs), "_source", "_seq", "_file")
            found = rows.select(wanted_columns(name)).collect()
            if found.height:
                start[name] = found
    made = [each for each in reached_from(lake, start) if each.table not in start or each.rows.height]
    persons = pl.concat(
        [each.rows.select("person_id") for each in made if "person_id" in each.rows.columns]
        or [pl.DataFrame(schema={"person_id": pl.String})]
    )
    touched = {each.table for each in made}
    loaded = tuple(sorted(load.name for load in stars.LOADS.values() if touched.intersection(load.inputs)))
    return Reach(
        given, {name: rows.height for name, rows in start.items()}, _refused(lake, given), tuple(made),
        persons.drop_nulls().n_unique() if persons.height else 0, loaded,
    )  # fmt: skip


def _of(given: Iterable[Delivered], rows: pl.LazyFrame, *place: str) -> pl.LazyFrame:
    """Rows of these files; ``place`` are their columns of source, number of the batch and file."""
    schema = rows.select(place).collect_schema()
    files = pl.DataFrame([(d.source, d.seq, d.file) for d in given], schema=schema, orient="row").unique()
    return rows.join(files.lazy(), on=place, how="semi")


def _refused(lake: Lake, given: tuple[Delivered, ...]) -> dict[str, int]:
    """Records and rows of the files that went no further."""
    found = {}
    for said, contract, counted in (
        ("dead letters", DeadLetters, pl.len()),
        ("quarantined rows", Quarantine, pl.col("row_id").n_unique()),
        ("refused, since their person was erased", ErasedRecords, pl.len()),
    ):
        name = tables.spec(contract).name
        if lake.exists(name):
            of = _of(given, lake.scan(name), "source", "seq", "file")
            found[said] = int(of.select(counted).collect().item())
    return {said: count for said, count in found.items() if count}


def made_since(lake: Lake, versions: Mapping[str, int], moment: datetime) -> list[str]:
    """Of tables at Delta versions, those that were committed after a moment: what was made of them may hold what came
    in then. A version that the log no longer tells of counts as older."""
    found = []
    for name, version in sorted(versions.items()):
        if name in tables.TABLES and lake.exists(name):
            at = next((c["timestamp"] for c in lake.history(name) if int(c["version"]) == version), None)
            if at is not None and at >= moment.timestamp() * 1000:
                found.append(name)
    return found


def remedies(reach: Reach) -> list[tuple[str, str]]:
    """What can be done about it: commands, and what each does."""
    said: list[tuple[str, str]] = []
    for source, seq, others, state in sorted({(d.source, d.seq, d.others, d.state) for d in reach.delivered}):
        if state == "dropped":
            said.append(("customer360 run", f"{source}/{seq} was dropped already: builds what still holds it"))
            continue
        whole = f" with those of its {others:,} other files" if others else ""
        drop = f"customer360 batch drop {source} {seq}"
        said.append((drop, f"its rows leave bronze{whole}; the next run reads it again"))
        said.append((f"{drop} --ignore", "the same, and it is not read again"))
    if reach.refused.get("quarantined rows") or reach.refused.get("dead letters"):
        said.append(("customer360 quarantine export --out FILE", "what was refused, to be repaired and replayed"))
    return [*said, ("customer360 run", "then makes all these tables, and what is served, without it")]
