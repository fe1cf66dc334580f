"""The online store: documents by kind and key, published as whole generations.

A generation is one LMDB file in its own folder below ``<state>/online/generations``, written completely, made durable
and never changed afterwards. The file ``CURRENT`` names the one that is served; replacing that file is the publication,
and naming an older generation again is the rollback. So a reader never sees half a publication, and a crash before the
replacement leaves the old generation in service. Size and checksum of the file stand in the manifest, and readers use
none that differs (``reading``).

Documents are JSON text: Polars encodes whole columns of them (``struct.json_encode``), so that no row passes through
Python on the way in, and the standard library decodes the one document that a request asks for.
"""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime
from itertools import islice
from pathlib import Path
from typing import IO

import lmdb
import polars as pl

from customer360.platform import telemetry
from customer360.platform.errors import LakeError
from customer360.platform.lake import reached
from customer360.platform.online import files, hiding
from customer360.platform.online.files import Generation as Generation
from customer360.platform.online.files import NotPublished as NotPublished
from customer360.platform.online.files import Unsound as Unsound
from customer360.platform.online.hiding import COPY as COPY
from customer360.platform.online.hiding import HIDDEN as HIDDEN
from customer360.platform.online.hiding import Hiding as Hiding
from customer360.platform.online.reading import MAX_ADDRESS, address
from customer360.platform.online.reading import POLL_SECONDS as POLL_SECONDS
from customer360.platform.online.reading import OnlineStore as OnlineStore
from customer360.platform.online.reading import View as View

KEEP = 3  # generations that stay for a rollback
FIRST_MAP_BYTES = 64 << 20  # doubled whenever it is full
COPY_ROWS = 10_000

Pairs = list[tuple[bytes, bytes]]


# ---- publication ----------------------------------------------------------------------------------------------


def publish(
    state: Path,
    documents: Iterable[pl.DataFrame],
    *,
    as_of: date,
    sources: Mapping[str, int],
    keep: int = KEEP,
    is_told: bool = True,
) -> Generation:
    """Write a generation from frames of (kind, key, document as JSON text) and make it current.

    Frames are consumed one by one, so memory holds one of them. All but the newest ``keep`` generations are removed.
    A line of the log says so, if ``is_told``.

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
        generation = _write(home, encoded(), lambda: counts, as_of, dict(sources), keep)
    if is_told:
        telemetry.event("published", generation=generation.id, as_of=as_of, **generation.counts)
    return generation


def renew(
    state: Path,
    sources: Callable[[], Mapping[str, int]],
    documents: Callable[[], Iterable[pl.DataFrame]],
    *,
    as_of: date,
    wait_seconds: float,
) -> Generation | None:
    """Publish one generation instead of the one in service, where that was made of other ``sources``. Both are asked
    for while nobody else can publish, so that what was read earlier never takes the place of what was read later.

    Raises:
        LakeError: a key was given twice for one kind, or another publication took longer than ``wait_seconds``.
    """
    with _publishing(state, wait_seconds) as home:
        made_of, stood = dict(sources()), current(state)
        if stood is not None and dict(stood.sources) == made_of:
            return None
        frames = list(documents())
        counts: dict[str, int] = {}
        for kind, rows in (row for frame in frames for row in frame.group_by("kind").len().iter_rows()):
            counts[kind] = counts.get(kind, 0) + rows
        return _write(home, map(_pairs, frames), lambda: counts, as_of, made_of, keep=1)


def forget(state: Path, doomed: Iterable[tuple[str, str]], wait_seconds: float = 0.0) -> Generation:
    """Publish the current generation again without some (kind, key), and remove every older one, which hold them too.

    Raises:
        NotPublished: nothing was published yet.
        LakeError: another publication took longer than ``wait_seconds``.
    """
    with _publishing(state, wait_seconds) as home:
        view = OnlineStore(state).view()
        found = {address(kind, key): kind for kind, key in doomed if view.get(kind, key) is not None}
        counts = dict(view.generation.counts)
        for kind in found.values():
            counts[kind] -= 1
        remaining = _without(view, set(found))
        generation = _write(home, remaining, lambda: counts, view.generation.as_of, view.generation.sources, keep=1)
    telemetry.event("published", generation=generation.id, as_of=generation.as_of, **generation.counts)
    return generation


def hide(state: Path, doomed: Iterable[tuple[str, str]]) -> None:
    """Answer some (kind, key) no more, at once, whatever generation is served, until ``end_hiding``."""
    hiding.hide(files.home_of(state), (address(kind, key) for kind, key in doomed))


def hidden(state: Path) -> Hiding:
    """What is answered no more. Raises Unsound: the file that says so cannot be read."""
    return hiding.known(files.home_of(state))[0]


def end_hiding(state: Path, then: Hiding, generation: Generation) -> None:
    """A generation was made without what was hidden ``then``: of this one, and of later ones, nothing is hidden."""
    hiding.end(files.home_of(state), then, generation.id)


def _without(view: View, doomed: set[bytes]) -> Iterator[Pairs]:
    with view.environment.begin() as transaction:
        kept = (pair for pair in transaction.cursor() if pair[0] not in doomed)
        while chunk := list(islice(kept, COPY_ROWS)):
            yield chunk


def activate(state: Path, generation_id: str) -> Generation:
    """Make a stored generation current again.

    Raises:
        NotPublished: there is no such generation that is sound; names those that are there.
    """
    with _publishing(state) as home:
        stored = {g.id: g for g in generations(state)}
        if generation_id not in stored:
            raise NotPublished(f"no generation {generation_id} in {home}; stored are {sorted(stored)}")
        try:
            files.check(files.folder_of(home, generation_id))
        except Unsound as fault:
            raise NotPublished(f"generation {generation_id} is damaged: {fault}") from fault
        files.point(home, generation_id)
    return stored[generation_id]


def generations(state: Path) -> list[Generation]:
    """Stored generations whose manifest can be read, oldest first."""
    found = []
    for identifier in files.stored_ids(home := files.home_of(state)):
        try:
            found.append(files.read_manifest(files.folder_of(home, identifier)))
        except Unsound as fault:
            telemetry.log.warning(f"publication {identifier} is damaged: {fault}")
    return found


def current(state: Path) -> Generation | None:
    """The generation that is to be in service; None before the first publication, and where it is unsound, so that the
    next publication takes its place."""
    home = files.home_of(state)
    try:
        identifier = files.pointer(home)
        return files.check(files.folder_of(home, identifier)) if identifier else None
    except Unsound as fault:
        telemetry.log.warning(f"the publication in service is damaged: {fault}")
        return None


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
    partial = files.folder_of(home, f".{identifier}")
    partial.mkdir()
    _fill(partial, batches)
    checked = {files.DATA: files.fingerprint(partial / files.DATA)}
    generation = Generation(identifier, published_at, as_of, counts(), sources, checked)
    files.write_manifest(partial, generation)
    files.sync_folder(partial)
    partial.rename(files.folder_of(home, identifier))
    files.sync_folder(home / "generations")
    reached("before publication")
    files.point(home, identifier)
    reached("after publication")
    _prune(home, keep)
    return generation


@contextmanager
def _publishing(state: Path, wait_seconds: float = 0.0) -> Iterator[Path]:
    """Hold the right to publish; it ends with the process. Unfinished work of one that died is removed."""
    home = files.home_of(state)
    (home / "generations").mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(home / "_lock", "a") as handle:
        patience = time.monotonic() + wait_seconds
        while not _is_mine(handle):
            if time.monotonic() >= patience:
                raise LakeError(f"another publication to {home} is under way")
            time.sleep(min(0.05, wait_seconds))
        for unfinished in (home / "generations").glob(".*"):
            shutil.rmtree(unfinished)
        yield home


def _is_mine(handle: IO[str]) -> bool:
    """Take the lock of an open file, if nobody has it."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


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
    place = pl.concat_str("kind", pl.lit("\0"), "key")
    frame = frame.select(
        "kind", "key", "document", address=place.cast(pl.Binary), long=place.str.len_bytes() > MAX_ADDRESS
    )
    short, long = frame.filter(~pl.col("long")), frame.filter("long")
    pairs = list(zip(short["address"].to_list(), short["document"].cast(pl.Binary).to_list(), strict=True))
    # Keys this long are dirt of a source: rare enough to be hashed one by one.
    return pairs + [
        (address(kind, key), text.encode()) for kind, key, text in long.select("kind", "key", "document").iter_rows()
    ]


def _prune(home: Path, keep: int) -> None:
    stored = sorted(f.name for f in (home / "generations").iterdir() if not f.name.startswith("."))
    for identifier in set(stored[:-keep]) - {files.pointer(home)}:
        shutil.rmtree(files.folder_of(home, identifier))
