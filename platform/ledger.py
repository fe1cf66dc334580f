"""The ledger: what came in (batches) and what was done (runs). Plain JSON objects beside the tables.

``_batches/<source>/<seq>.json`` fixes the inputs of a batch, and the cursor of its source after them, before anything
is read (create-if-absent), so that a re-run after a crash reads the same. ``_runs/<id>.json`` holds one run: its
nodes, rows, seconds and failures. ``_landed/<source>/<seq>.json`` holds what a batch gave, written before its commit.

A source of many batches is *bound*: ``_bound/<folder>/<source>.json`` repeats its objects, each with what the listing
says of it, so that a run reads one object and those that are newer. What differs from the listing is not believed, so
it may be deleted at any time. ``_known/<source>/`` holds all inputs of a source as one table, ``_moved/<source>/`` the
places to which they were moved (``known``). ``_schemas/`` holds what columns a source brings, version by version
(``schemas``).
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from customer360.platform.errors import LakeError
from customer360.platform.lake import Lake, reached

BATCHES, LANDED, RUNS, BOUND, KNOWN, MOVED = "_batches", "_landed", "_runs", "_bound", "_known", "_moved"
SCHEMAS = "_schemas"
FOLDERS = (BATCHES, LANDED, BOUND, KNOWN, MOVED, SCHEMAS)  # in which nobody writes without the lake's run lock
LOOSE = 50  # objects of a source that are read one by one, beyond which they are bound
AGAIN, IGNORED = "again", "ignored"  # what becomes of the inputs of a batch that was dropped


@dataclass(frozen=True)
class Input:
    """A piece of a source that one worker reads by itself: a file, a range of keys, an offset range of a partition.

    ``name`` is its address within the batch, and what bronze rows hold in ``_file``; ``detail`` is what else its kind
    needs to read exactly this piece again: JSON values, which come back from the manifest as they went in.
    """

    name: str
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Batch:
    """A manifest: the fixed inputs of batch ``seq`` of a source. ``inline`` holds corrections instead of inputs.

    ``cursor`` is where the source stands after this batch, in the words of its kind (JSON values); None where the kind
    keeps none, and in batches of corrections.
    """

    source: str
    seq: int
    created_at: str
    inputs: tuple[Input, ...] = ()
    inline: str | None = None  # object path of replayed rows
    cursor: Any = None

    @property
    def id(self) -> str:
        return f"{self.source}/{self.seq}"


def batches(lake: Lake, source: str) -> list[Batch]:
    """All manifests of a source, oldest first."""
    return sorted(_read(lake, f"{BATCHES}/{source}", _batch), key=lambda b: b.seq)


def batch(lake: Lake, source: str, seq: int) -> Batch | None:
    """One manifest of a source."""
    data = lake.get(path := _numbered(BATCHES, source, seq))
    return None if data is None else _made(path, data, _batch)


def batches_after(lake: Lake, source: str, seq: int) -> list[Batch]:
    """The manifests of a source with a number above ``seq``, oldest first; those before are not looked at."""
    later = lake.objects(f"{BATCHES}/{source}", after=_numbered(BATCHES, source, seq))
    return sorted((_made(path, data, _batch) for path, data in lake.get_all(later).items()), key=lambda b: b.seq)


def moved(source: str) -> str:
    """Path of the object that holds the places to which inputs of a source were moved."""
    return f"{MOVED}/{source}/inputs.parquet"


def _numbered(folder: str, source: str, seq: int) -> str:
    return f"{folder}/{source}/{seq:08d}.json"


_known: dict[tuple[str, str], dict[str, tuple[str, Any]]] = {}  # of this process, by lake and folder: stamp and value
_looks: list[dict[tuple[str, str], list[Any]]] = []  # of whoever looks once: what was read, by lake and folder


@contextmanager
def looked_at_once() -> Iterator[None]:
    """Within the block a folder of the ledger is listed once: for who only reads, and asks for the same many times."""
    _looks.append({})
    try:
        yield
    finally:
        _looks.pop()


def _read(lake: Lake, folder: str, make: Callable[[dict[str, Any]], Any]) -> list[Any]:
    """The objects of a folder in order of their paths; each is read once in a process, as long as it stays the same."""
    if not _looks:
        return _listed(lake, folder, make)
    if (lake.root, folder) not in _looks[-1]:
        _looks[-1][lake.root, folder] = _listed(lake, folder, make)
    return _looks[-1][lake.root, folder]


def _listed(lake: Lake, folder: str, make: Callable[[dict[str, Any]], Any]) -> list[Any]:
    listed = lake.stamps(folder)
    known = _known.get((lake.root, folder), {})
    if sum(known.get(path, ("",))[0] != stamp for path, stamp in listed.items()) > LOOSE:
        bound = bound_of(lake, f"{BOUND}/{folder}.json")
        known = {path: (stamp, make(raw)) for path, (stamp, raw) in bound.items() if listed.get(path) == stamp}
    held = {path: known[path] for path, stamp in listed.items() if path in known and known[path][0] == stamp}
    new = lake.get_all(path for path in listed if path not in held)
    found = held | {path: (listed[path], _made(path, data, make)) for path, data in new.items()}
    _known[lake.root, folder] = found
    return [value for _, (_, value) in sorted(found.items())]


def _made(path: str, data: bytes | None, make: Callable[[dict[str, Any]], Any]) -> Any:
    """What an object of the ledger says. Raises LakeError where it is damaged, or of a later version."""
    try:
        return make(json.loads(data or b""))
    except (ValueError, KeyError, TypeError, AttributeError) as fault:
        said = f"{type(fault).__name__}: {fault}"
        raise LakeError(f"{path} is no object of the ledger ({said:.120}): restore it from a backup") from None


def bound_of(lake: Lake, path: str) -> dict[str, Any]:
    """The objects that a bound file repeats; none where there is none. Raises LakeError where it is damaged."""
    data = lake.get(path)
    try:
        return {} if data is None else dict(json.loads(data))
    except (ValueError, TypeError):
        raise LakeError(f"{path} is damaged: delete it, it is made anew") from None


def check(lake: Lake, path: str) -> None:
    """Read one manifest, outcome or run as its readers do. Raises LakeError where it is damaged."""
    _made(path, lake.get(path), {BATCHES: _batch, LANDED: _outcome, RUNS: _run}[path.partition("/")[0]])


def bind(lake: Lake, source: str) -> None:
    """Bind the batches of a source, and what they gave, where many of them are loose."""
    for folder in (f"{BATCHES}/{source}", f"{LANDED}/{source}"):
        listed = lake.stamps(folder)
        if len(listed) <= LOOSE:
            continue
        held = bound_of(lake, f"{BOUND}/{folder}.json")
        if sum(held.get(path, ("",))[0] != stamp for path, stamp in listed.items()) > LOOSE:
            pages = {
                path: page
                if (page := held.get(path)) and page[0] == stamp
                else (stamp, json.loads(lake.get(path) or b"{}"))
                for path, stamp in listed.items()
            }
            lake.put(f"{BOUND}/{folder}.json", json.dumps(pages).encode())


def _batch(raw: dict[str, Any]) -> Batch:
    if "files" in raw:  # a manifest of before sources had kinds: its inputs are files
        raw["inputs"] = [{"name": file.pop("path"), "detail": file} for file in raw.pop("files")]
    return Batch(**{**raw, "inputs": tuple(Input(**i) for i in raw["inputs"])})


@dataclass(frozen=True)
class InputOutcome:
    """What one input of a batch gave: counts of its records, and why all of it failed, where it did.

    ``state`` is how a file stood when it was read (size in bytes, time of change, SHA-256); empty for other kinds.
    ``snapshot`` says, of a source of snapshots, that this one ``stands`` or why it deletes nothing; else it is empty.
    """

    name: str
    facts: dict[str, int]
    failure: str = ""
    state: dict[str, Any] = field(default_factory=dict)
    snapshot: str = ""


@dataclass(frozen=True)
class Outcome:
    """What a batch gave when it landed. ``made_by`` are fingerprints of what decided its rows: mapping, reader,
    contract.

    ``dropped`` says that a person took it back: ``again`` (its inputs are new again) or ``ignored``. ``trail`` is what
    people did to the batch, oldest first.
    """

    source: str
    seq: int
    inputs: tuple[InputOutcome, ...]
    facts: dict[str, Any]
    made_by: dict[str, str] = field(default_factory=dict)
    dropped: str = ""
    trail: tuple[str, ...] = ()

    @property
    def failed(self) -> tuple[str, ...]:
        """Inputs that could not be read at all, each with the reason."""
        return tuple(f"{i.name}: {i.failure}" for i in self.inputs if i.failure)

    @property
    def state(self) -> str:
        """What became of the batch: ``landed``, ``partly failed`` (some inputs are dead letters as a whole),
        ``failed`` (all are), ``dropped``.
        """
        if self.dropped:
            return "dropped"
        return "landed" if not self.failed else "failed" if len(self.failed) == len(self.inputs) else "partly failed"

    def save(self, lake: Lake) -> None:
        # What is known of the source's inputs repeats the outcomes up to a batch, which is its name.
        stale = [p for p in lake.objects(f"{KNOWN}/{self.source}") if int(Path(p).stem) >= self.seq]
        if stale and not lake.objects(f"{MOVED}/{self.source}"):
            # Lakes of before moves were kept have them in this table alone; what batches tell of it does not count.
            lake.put(moved(self.source), lake.get(stale[-1]) or b"")
        lake.delete(stale)
        lake.put(_numbered(LANDED, self.source, self.seq), json.dumps(asdict(self), default=str).encode())


def outcome(lake: Lake, source: str, seq: int) -> Outcome | None:
    """What one batch of a source gave; None where it did not land, or landed before this was kept."""
    data = lake.get(path := _numbered(LANDED, source, seq))
    return None if data is None else _made(path, data, _outcome)


def outcomes_of(lake: Lake, source: str, seqs: Iterable[int]) -> dict[int, Outcome]:
    """What some batches of a source gave, by number, as `outcome` tells it."""
    paths = {_numbered(LANDED, source, seq): seq for seq in seqs}
    return {paths[p]: _made(p, data, _outcome) for p, data in lake.get_all(paths).items() if data is not None}


def outcomes(lake: Lake, source: str) -> dict[int, Outcome]:
    """What the batches of a source gave, by number; batches of before this was kept are absent."""
    return {outcome.seq: outcome for outcome in _read(lake, f"{LANDED}/{source}", _outcome)}


def _outcome(raw: dict[str, Any]) -> Outcome:
    inputs = tuple(InputOutcome(**i) for i in raw["inputs"])
    return Outcome(**{**raw, "inputs": inputs, "trail": tuple(raw["trail"])})


def last_cursor(known: Sequence[Batch]) -> Any:
    """Where a source stands after its batches, oldest first; None when no batch has a cursor."""
    return next((b.cursor for b in reversed(known) if b.cursor is not None), None)


def open_batch(
    lake: Lake, source: str, inputs: Sequence[Input], inline: str | None = None, cursor: Any = None
) -> Batch:
    """Fix the next batch of a source. If another writer was first, its manifest wins and is returned."""
    seq = _last_number(lake, source) + 1
    made = Batch(source, seq, datetime.now(UTC).isoformat(), tuple(inputs), inline, cursor)
    reached(f"before manifest {made.id}")
    lake.put(_numbered(BATCHES, source, seq), json.dumps(asdict(made)).encode(), create=True)
    reached(f"after manifest {made.id}")
    return batch(lake, source, seq) or made


def _last_number(lake: Lake, source: str) -> int:
    known = lake.objects(f"{KNOWN}/{source}")
    upto = int(Path(known[-1]).stem) if known else 0
    later = lake.objects(f"{BATCHES}/{source}", after=_numbered(BATCHES, source, upto))
    return int(Path(later[-1]).stem) if later else upto


@dataclass
class NodeRun:
    """What one node of a run did."""

    node: str
    state: str  # built, current, resting, failed, blocked
    seconds: float = 0.0
    rows: int = 0
    facts: dict[str, Any] = field(default_factory=dict)
    reason: str = ""


@dataclass
class Run:
    """One run of a part of the graph. ``losses``: batches that landed and lost more rows than the settings allow.

    ``started_by`` is who or what started it, on a ``host`` as process ``pid``. ``exit_code`` is that of its command,
    None while it runs and where it broke off; ``error`` what ended it before its end.
    """

    id: str
    started_at: str
    command: str
    as_of: str | None = None
    ended_at: str | None = None
    nodes: list[NodeRun] = field(default_factory=list)
    losses: list[str] = field(default_factory=list)
    started_by: str = ""
    host: str = ""
    pid: int | None = None
    exit_code: int | None = None
    error: str = ""

    def end(self) -> None:
        """Note the time."""
        self.ended_at = datetime.now(UTC).isoformat()

    def close(self, exit_code: int, error: str = "") -> None:
        """Note how it ended."""
        self.ended_at = self.ended_at or datetime.now(UTC).isoformat()
        self.exit_code, self.error = exit_code, error

    @property
    def seconds(self) -> float | None:
        """How long it took; None of one that has not ended."""
        begun = datetime.fromisoformat(self.started_at)
        return (datetime.fromisoformat(self.ended_at) - begun).total_seconds() if self.ended_at else None

    def save(self, lake: Lake) -> None:
        lake.put(f"{RUNS}/{self.id}.json", json.dumps(vars(self), default=_plain).encode())
        tell(self)


def _plain(value: Any) -> Any:
    """What JSON does not know: a node by its fields, anything else as text."""
    return vars(value) if isinstance(value, NodeRun) else str(value)


# Called with a run when it starts, and whenever it is saved; they do not raise and are quick.
listeners: list[Callable[[Run], None]] = []


def tell(run: Run) -> None:
    """Tell the listeners that a run is, or is other than before."""
    for listener in listeners:
        listener(run)


def start_run(command: str, started_by: str = "") -> Run:
    """A new run with a time-ordered id, of this process."""
    now = datetime.now(UTC)
    about = {"started_by": started_by, "host": socket.gethostname(), "pid": os.getpid()}
    started = Run(_run_id(now), now.isoformat(), command, **about)  # type: ignore[arg-type]
    tell(started)
    return started


def _run_id(at: datetime) -> str:
    return at.strftime("%Y%m%dT%H%M%S.%f")


def run_of(lake: Lake, run_id: str) -> Run | None:
    """One run by its id."""
    data = lake.get(path := f"{RUNS}/{run_id}.json")
    return None if data is None else _made(path, data, _run)


def close_run(lake: Lake, run_id: str, exit_code: int, error: str) -> None:
    """Note of a run that has ended that something which followed it went wrong."""
    if record := run_of(lake, run_id):
        record.close(exit_code, error)
        record.save(lake)


def forget_runs(lake: Lake, before: datetime, keep: int) -> int:
    """Delete the records of runs that began before a moment, but for the newest ``keep``. Returns how many."""
    listed = lake.objects(RUNS)
    old = [p for p in listed[: max(0, len(listed) - keep)] if p < f"{RUNS}/{_run_id(before.astimezone(UTC))}"]
    lake.delete(old)
    return len(old)


def runs(lake: Lake, limit: int = 20) -> list[Run]:
    """The newest runs, newest first."""
    newest = lake.get_all(reversed(lake.objects(RUNS)[-limit:]))
    return [_made(path, data, _run) for path, data in newest.items()]


def _run(raw: dict[str, Any]) -> Run:
    return Run(**{**raw, "nodes": [NodeRun(**n) for n in raw["nodes"]]})


def last_facts(lake: Lake, table: str, app: str) -> dict[str, Any]:
    """Facts of the newest commit of ``app`` in a table's history; empty when the log was cleaned of it."""
    return lake.last_facts(table, app) if lake.exists(table) else {}
