"""The online store: documents by kind and key, published as generations.

A generation is one LMDB file in its own folder below ``<state>/online/generations``, written completely, made durable
and never changed afterwards: of all documents, or of what differs from such a one (``changing``). The file ``CURRENT``
names the one that is served; replacing that file is the publication, and naming an older generation again is the
rollback. So a reader never sees half a publication, and a crash before the replacement leaves the old generation in
service. Size and checksum of the file stand in the manifest, and readers use none that differs (``reading``).

Documents are JSON text: Polars encodes whole columns of them (``struct.json_encode``), so that no row passes through
Python on the way in, and the standard library decodes the one document that a request asks for.
"""

from __future__ import annotations

import fcntl
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from itertools import islice
from pathlib import Path
from typing import IO

import polars as pl

from customer360.platform import telemetry
from customer360.platform.errors import LakeError
from customer360.platform.online import files, hiding
from customer360.platform.online.changing import Change as Change
from customer360.platform.online.changing import TooMuch as TooMuch
from customer360.platform.online.changing import change
from customer360.platform.online.files import Generation as Generation
from customer360.platform.online.files import NotPublished as NotPublished
from customer360.platform.online.files import Unsound as Unsound
from customer360.platform.online.hiding import COPY as COPY
from customer360.platform.online.hiding import HIDDEN as HIDDEN
from customer360.platform.online.hiding import Hiding as Hiding
from customer360.platform.online.reading import POLL_SECONDS as POLL_SECONDS
from customer360.platform.online.reading import OnlineStore as OnlineStore
from customer360.platform.online.reading import View as View
from customer360.platform.online.reading import address, opened
from customer360.platform.online.writing import MADE_OF, Pairs, fill, pairs_of, write

KEEP = 3  # generations that stay for a rollback
COPY_ROWS = 10_000


# ---- publication ----------------------------------------------------------------------------------------------


def publish(
    state: Path,
    documents: Iterable[pl.DataFrame],
    *,
    as_of: date,
    sources: Mapping[str, int],
    keep: int = KEEP,
    is_told: bool = True,
    made_of: str = "",
) -> Generation:
    """Write a generation from frames of (kind, key, document as JSON text) and make it current.

    Frames are consumed one by one, so memory holds one of them. All but the newest ``keep`` generations are removed.
    A line of the log says so, if ``is_told``. ``made_of`` is kept for who asks `made_of`.

    Raises:
        LakeError: a key was given twice for one kind, or another publication is under way.
    """
    with _publishing(state) as home:
        filled = _filled_with(documents)
        generation = write(home, filled, as_of=as_of, sources=sources, keep=keep, made_of=made_of)
    if is_told:
        telemetry.event("published", generation=generation.id, as_of=as_of, **generation.counts)
    return generation


def _filled_with(documents: Iterable[pl.DataFrame]) -> Callable[[Path], Mapping[str, int]]:
    """What writes documents to a folder, and counts them by kind."""

    def write_all(folder: Path) -> Mapping[str, int]:
        counts: dict[str, int] = {}

        def encoded() -> Iterator[Pairs]:
            for frame in documents:
                for kind, rows in frame.group_by("kind").len().iter_rows():
                    counts[kind] = counts.get(kind, 0) + rows
                yield pairs_of(frame)

        fill(folder, encoded())
        return counts

    return write_all


def amend(
    state: Path,
    stood: Generation,
    changes: Iterable[Change],
    *,
    as_of: date,
    sources: Mapping[str, int],
    keep: int = KEEP,
    made_of: str = "",
) -> Generation | None:
    """Publish a generation that holds what differs from a whole one: what the generation in service, ``stood``, differs
    by, and then ``changes``. None, and nothing is done, where another is in service by now, it is not sound, what
    ``changes`` need cannot be read, or a whole one is due: the base has served for long, or what differs is much.

    Never of use where a person must be gone from the disk: the base holds what it held.

    Raises:
        LakeError: a key was given twice for one kind, or another publication is under way.
    """
    with _publishing(state) as home:
        if (now := current(state)) is None or now.id != stood.id:
            return None
        try:
            view = opened(files.folder_of(home, stood.id))
            filled = change(home, view, changes)
            base = stood.base or stood.id
            generation = write(home, filled, as_of=as_of, sources=sources, keep=keep, base=base, made_of=made_of)
        except (Unsound, TooMuch, OSError, pl.exceptions.PolarsError) as why:  # a whole one needs no files of before
            telemetry.log.info(f"everything is published anew: {why}")
            for unfinished in (home / "generations").glob(".*"):
                shutil.rmtree(unfinished)
            return None
    telemetry.event("published", generation=generation.id, as_of=as_of, **generation.counts)
    return generation


def made_of(state: Path, generation: Generation) -> str | None:
    """What a sound generation was made of, in the words of who published it; None where it was not told."""
    if MADE_OF not in generation.files:
        return None
    return (files.folder_of(files.home_of(state), generation.id) / MADE_OF).read_text(encoding="utf-8")


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
        return write(home, _filled_with(documents()), as_of=as_of, sources=made_of, keep=1)


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

        def write_others(folder: Path) -> Mapping[str, int]:
            fill(folder, _without(view, set(found)))
            return counts

        of = view.generation
        generation = write(home, write_others, as_of=of.as_of, sources=of.sources, keep=1)
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
    kept = (pair for pair in view.texts.items() if pair[0] not in doomed)
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
