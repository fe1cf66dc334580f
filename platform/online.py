"""The online store: documents by kind and key, published as whole generations.

A generation is one LMDB file in its own folder below ``<state>/online/generations``, written completely, made durable
and never changed afterwards. The file ``CURRENT`` names the one that is served; replacing that file is the publication,
and naming an older generation again is the rollback. So a reader never sees half a publication, and a crash before the
replacement leaves the old generation in service.

Documents are JSON text: Polars encodes whole columns of them (``struct.json_encode``), so that no row passes through
Python on the way in, and the standard library decodes the one document that a request asks for.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from itertools import islice
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import lmdb
import polars as pl

from customer360.platform import telemetry
from customer360.platform.errors import LakeError
from customer360.platform.lake import reached

KEEP = 3  # generations that stay for a rollback
POLL_SECONDS = 0.5  # how often a reader looks for a newer generation
MAX_ADDRESS = 511  # bytes of a key that LMDB accepts
FIRST_MAP_BYTES = 64 << 20  # doubled whenever it is full
COPY_ROWS = 10_000
MANIFEST, CURRENT = "generation.json", "CURRENT"

Pairs = list[tuple[bytes, bytes]]


class NotPublished(LakeError):
    """There is no generation to read, or none with the wanted id."""


@dataclass(frozen=True)
class Generation:
    """One publication: ``counts`` are documents by kind, ``sources`` Delta versions by table."""

    id: str
    published_at: datetime
    as_of: date
    counts: dict[str, int]
    sources: dict[str, int]


# ---- publication ----------------------------------------------------------------------------------------------


def publish(
    state: Path, documents: Iterable[pl.DataFrame], *, as_of: date, sources: Mapping[str, int], keep: int = KEEP
) -> Generation:
    """Write a generation from frames of (kind, key, document as JSON text) and make it current.

    Frames are consumed one by one, so memory holds one of them. All but the newest ``keep`` generations are removed.

    Raises:
        LakeError: a key was given twice for one kind, or another publication is under way.
    """
    counts: dict[str, int] = {}

    def encoded() -> Iterator[Pairs]:
        for frame in documents:
            for kind, rows in frame.group_by("kind").len().iter_rows():
                counts[kind] = counts.get(kind, 0) + rows
            yield _pairs(frame)

    with _publishing(state) as home:
        return _write(home, encoded(), lambda: counts, as_of, dict(sources), keep)


def forget(state: Path, doomed: Iterable[tuple[str, str]]) -> Generation:
    """Publish the current generation again without some (kind, key), and remove every older one, which hold them too.

    Raises:
        NotPublished: nothing was published yet.
    """
    with _publishing(state) as home:
        view = OnlineStore(state).view()
        found = {_address(kind, key): kind for kind, key in doomed if view.get(kind, key) is not None}
        counts = dict(view.generation.counts)
        for kind in found.values():
            counts[kind] -= 1
        remaining = _without(view, set(found))
        return _write(home, remaining, lambda: counts, view.generation.as_of, view.generation.sources, keep=1)


def _without(view: View, doomed: set[bytes]) -> Iterator[Pairs]:
    with view.environment.begin() as transaction:
        kept = (pair for pair in transaction.cursor() if pair[0] not in doomed)
        while chunk := list(islice(kept, COPY_ROWS)):
            yield chunk


def activate(state: Path, generation_id: str) -> Generation:
    """Make a stored generation current again.

    Raises:
        NotPublished: there is no such generation; names those that are there.
    """
    with _publishing(state) as home:
        stored = {g.id: g for g in generations(state)}
        if generation_id not in stored:
            raise NotPublished(f"no generation {generation_id} in {home}; stored are {sorted(stored)}")
        _point(home, generation_id)
    return stored[generation_id]


def generations(state: Path) -> list[Generation]:
    """Stored generations, oldest first."""
    folders = (_home(state) / "generations").glob(f"*/{MANIFEST}")
    return [_read_manifest(m.parent) for m in sorted(folders) if not m.parent.name.startswith(".")]


def current(state: Path) -> Generation | None:
    """The generation in service, or None before the first publication."""
    identifier = _pointer(_home(state))
    return _read_manifest(_folder(_home(state), identifier)) if identifier else None


def _write(
    home: Path,
    batches: Iterable[Pairs],
    counts: Callable[[], dict[str, int]],
    as_of: date,
    sources: dict[str, int],
    keep: int,
) -> Generation:
    published_at = datetime.now(UTC)
    identifier = published_at.strftime("%Y%m%dT%H%M%S%fZ")
    partial = _folder(home, f".{identifier}")
    partial.mkdir()
    _fill(partial, batches)
    generation = Generation(identifier, published_at, as_of, counts(), sources)
    _write_durably(partial / MANIFEST, json.dumps(asdict(generation), default=str))
    _sync_folder(partial)
    partial.rename(_folder(home, identifier))
    _sync_folder(home / "generations")
    reached("before publication")
    _point(home, identifier)
    reached("after publication")
    _prune(home, keep)
    telemetry.event("published", generation=identifier, as_of=as_of, **generation.counts)
    return generation


@contextmanager
def _publishing(state: Path) -> Iterator[Path]:
    """Hold the right to publish; it ends with the process. Unfinished work of one that died is removed."""
    home = _home(state)
    (home / "generations").mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(home / "_lock", "a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise LakeError(f"another publication to {home} is under way") from None
        for unfinished in (home / "generations").glob(".*"):
            shutil.rmtree(unfinished)
        yield home


def _fill(folder: Path, batches: Iterable[Pairs]) -> None:
    """Load batches into a new LMDB file and make it durable once, at the end."""
    with lmdb.open(
        str(folder), map_size=FIRST_MAP_BYTES, sync=False, metasync=False, lock=False, mode=0o600
    ) as environment:
        for batch in batches:
            added = _put_growing(environment, batch)
            if added < len(batch):
                raise LakeError(f"{len(batch) - added} of {len(batch)} documents have a key that was published before")
        environment.sync(True)


def _put_growing(environment: lmdb.Environment, batch: Pairs) -> int:
    """Keys added by one transaction; a full map aborts it, is doubled, and the whole batch is put again."""
    while True:
        try:
            with environment.begin(write=True) as transaction:
                return int(transaction.cursor().putmulti(batch, overwrite=False)[1])
        except lmdb.MapFullError:
            environment.set_mapsize(2 * environment.info()["map_size"])


def _pairs(frame: pl.DataFrame) -> Pairs:
    """Addresses and encoded documents of a frame (kind, key, document)."""
    address = pl.concat_str("kind", pl.lit("\0"), "key")
    frame = frame.select(
        "kind", "key", "document", address=address.cast(pl.Binary), long=address.str.len_bytes() > MAX_ADDRESS
    )
    short, long = frame.filter(~pl.col("long")), frame.filter("long")
    pairs = list(zip(short["address"].to_list(), short["document"].cast(pl.Binary).to_list(), strict=True))
    # Keys this long are dirt of a source: rare enough to be hashed one by one.
    return pairs + [
        (_address(kind, key), text.encode()) for kind, key, text in long.select("kind", "key", "document").iter_rows()
    ]


def _address(kind: str, key: str) -> bytes:
    plain = f"{kind}\0{key}".encode()
    return plain if len(plain) <= MAX_ADDRESS else f"{kind}\0sha256:{hashlib.sha256(plain).hexdigest()}".encode()


def _prune(home: Path, keep: int) -> None:
    stored = sorted(f.name for f in (home / "generations").iterdir() if not f.name.startswith("."))
    for identifier in set(stored[:-keep]) - {_pointer(home)}:
        shutil.rmtree(_folder(home, identifier))


# ---- reading --------------------------------------------------------------------------------------------------

# LMDB refuses to open one file twice in a process, so all stores of a process share what is open.
_OPEN: WeakValueDictionary[str, lmdb.Environment] = WeakValueDictionary()
_OPENING = threading.Lock()


@dataclass(frozen=True)
class View:
    """One generation, open for reading; all answers of a request come from one view."""

    generation: Generation
    environment: lmdb.Environment

    def get(self, kind: str, key: str) -> dict[str, Any] | None:
        """The document, or None."""
        return self.mget(kind, [key])[0]

    def mget(self, kind: str, keys: Sequence[str]) -> list[dict[str, Any] | None]:
        """Documents in the order of ``keys``; None where there is none."""
        with self.environment.begin() as transaction:
            found = [transaction.get(_address(kind, key)) for key in keys]
        return [None if text is None else json.loads(text) for text in found]


class OnlineStore:
    """Reader of the current generation. Opens on first use, so build it before a fork and use it after."""

    def __init__(self, state: Path, poll_seconds: float = POLL_SECONDS):
        self._home = _home(state)
        self._poll_seconds = poll_seconds
        self._looked_at = float("-inf")
        self._view: View | None = None

    def view(self) -> View:
        """The current generation, looked up again when the last look is ``poll_seconds`` old.

        Raises:
            NotPublished: there is none.
        """
        if time.monotonic() - self._looked_at >= self._poll_seconds:
            self.refresh()
        if self._view is None:
            raise NotPublished(f"nothing was published to {self._home} yet; `customer360 run` publishes")
        return self._view

    def refresh(self) -> bool:
        """Read ``CURRENT`` and switch when it names another generation. Returns whether it did.

        A generation that is damaged or gone leaves the one that is open in service.

        Raises:
            NotPublished: ``CURRENT`` names a generation that cannot be opened, and none is open.
        """
        self._looked_at = time.monotonic()
        identifier = _pointer(self._home)
        if identifier is None or (self._view and self._view.generation.id == identifier):
            return False
        try:
            self._view = _open(_folder(self._home, identifier))
        except (OSError, lmdb.Error) as fault:
            if self._view is None:
                raise NotPublished(f"generation {identifier} in {self._home} cannot be opened: {fault}") from fault
            telemetry.event(
                "generation cannot be opened; the one before stays", generation=identifier, reason=type(fault).__name__
            )
            return False
        return True

    def get(self, kind: str, key: str) -> dict[str, Any] | None:
        return self.view().get(kind, key)

    def mget(self, kind: str, keys: Sequence[str]) -> list[dict[str, Any] | None]:
        return self.view().mget(kind, keys)

    @property
    def generation(self) -> Generation:
        return self.view().generation


def _open(folder: Path) -> View:
    generation = _read_manifest(folder)
    with _OPENING:
        path = str(folder.resolve())
        environment = _OPEN.get(path)
        if environment is None:
            # The file never changes, so readers need no lock table and leave no trace in the folder.
            environment = _OPEN[path] = lmdb.open(path, readonly=True, lock=False, create=False)
    return View(generation, environment)


# ---- files ----------------------------------------------------------------------------------------------------


def _home(state: Path) -> Path:
    return Path(state).absolute() / "online"


def _folder(home: Path, identifier: str) -> Path:
    return home / "generations" / identifier


def _pointer(home: Path) -> str | None:
    try:
        return (home / CURRENT).read_text(encoding="ascii").strip()
    except FileNotFoundError:
        return None


def _point(home: Path, identifier: str) -> None:
    fresh = home / f".{CURRENT}"
    _write_durably(fresh, identifier)
    fresh.replace(home / CURRENT)
    _sync_folder(home)


def _read_manifest(folder: Path) -> Generation:
    stored = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    moments = {
        "published_at": datetime.fromisoformat(stored["published_at"]),
        "as_of": date.fromisoformat(stored["as_of"]),
    }
    return Generation(**{**stored, **moments})


def _write_durably(path: Path, text: str) -> None:
    with open(path, "w", encoding="utf-8") as handle:
        handle.write(text)
        handle.flush()
        os.fsync(handle.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
