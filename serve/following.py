"""A machine that serves what another one publishes: it fetches what is shared (`serve.shared`), checks it, and puts it
into service at the moment that was told.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import obstore

from customer360.platform import telemetry
from customer360.platform.online.files import CURRENT, point, sync_folder, write_durably
from customer360.platform.settings import Settings
from customer360.serve.realtime import erasures
from customer360.serve.realtime.activity import visitor
from customer360.serve.realtime.ranking.journal import forget_decisions_where
from customer360.serve.shared import (
    ERASED,
    FILES,
    HOMES,
    UNREACHABLE,
    Folders,
    Home,
    NotShared,
    Shared,
    Told,
    Unchanged,
    address,
    alone,
    store_of,
    told_since,
    words_of,
)  # fmt: skip

POLL_SECONDS = 1.0
UNSEEN_AFTER = timedelta(minutes=5)  # that a machine could not look, from when on its answers are called stale
CHUNK = 8 << 20
SEEN, FOLLOWING = "_followed_at", "_following"  # files of `<state>/online`
HALF = ".fetched-"


@dataclass
class Follower:
    """Keeps the state folder of a machine at what is shared. Of the processes over one folder one follows."""

    settings: Settings
    _taken: Told | None = None  # what is in service here
    _told: tuple[Told | None, str | None] = (None, None)  # what was read last, and its tag
    _forgot: str | None = None  # what was told of erasures when decisions were gone through
    _looked: float = float("-inf")
    _fault: str = ""

    def go_on(self, is_over: threading.Event) -> None:
        """Follow until it is over. What cannot be reached is said once, and tried again; answers go on."""
        state = Path(self.settings.state)
        wait = 0.0
        while not is_over.wait(wait):
            wait = POLL_SECONDS
            try:
                with alone(state, FOLLOWING, wait=False) as is_mine:
                    while is_mine and not is_over.wait(wait):
                        wait = self._round()
            except OSError as fault:
                self._say(f"publications are not followed: {fault.strerror or type(fault).__name__}")

    def _round(self) -> float:
        try:
            due = self.follow()
            self._fault = ""
        except Exception as fault:  # noqa: BLE001 - whatever it is must not end what takes keys and refusals over
            self._say(str(fault) if isinstance(fault, NotShared) else f"publications are not followed: {fault!r}")
            return POLL_SECONDS
        return POLL_SECONDS if due is None else min(POLL_SECONDS, max(0.0, (due - datetime.now(UTC)).total_seconds()))

    def _say(self, fault: str) -> None:
        if fault != self._fault:
            telemetry.log.error(fault)
        self._fault = fault

    def behind(self) -> str | None:
        """Why answers may not be of now: what is shared was not seen for minutes."""
        try:
            seen = (Path(self.settings.state) / "online" / SEEN).stat().st_mtime
        except OSError:
            return "what another machine publishes was never seen"
        unseen = datetime.now(UTC) - datetime.fromtimestamp(seen, UTC)
        minutes = int(unseen.total_seconds() // 60)
        return f"what another machine publishes was not seen for {minutes} minutes" if unseen > UNSEEN_AFTER else None

    def catch_up(self) -> None:
        """Follow once, to the moment that was told. Raises NotShared as `follow`, and where a server follows."""
        with alone(Path(self.settings.state), FOLLOWING, wait=False) as is_mine:
            if not is_mine:
                raise NotShared("a server of this machine follows already, within a second")
            while (due := self.follow()) is not None:
                time.sleep(max(0.0, (due - datetime.now(UTC)).total_seconds()))

    def follow(self) -> datetime | None:
        """Fetch what is new and put it into service, or return when that is due.

        Raises:
            NotShared: the store cannot be reached, or holds what is not as it was told.
        """
        try:
            store = store_of(self.settings)
            if (told := self._look(store)) is None or told == self._taken:
                return None
            return self._take(store, told)
        except UNREACHABLE as fault:
            raise NotShared(f"publications are not followed: {words_of(self.settings, fault)}") from fault

    def _look(self, store: obstore.store.ObjectStore) -> Told | None:
        """What is shared now, and that it was seen."""
        self._looked = time.monotonic()
        with suppress(Unchanged):
            self._told = told_since(store, self._told[1])
        if (told := self._told[0]) is not None:
            seen = Path(self.settings.state) / "online" / SEEN
            seen.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            seen.touch()
        return told

    def _take(self, store: obstore.store.ObjectStore, told: Told) -> datetime | None:
        state = Path(self.settings.state)
        self._take_small(store, told)
        for home in HOMES:
            if home.waits:
                _fetch(store, home, state, told.of(home).folders, lambda: self._meanwhile(store))
        if datetime.now(UTC) < told.switch_at:
            return told.switch_at
        for home in HOMES:
            _turn(home, state, told.of(home))
        if (erased := told.files.get(ERASED)) is not None and erased != self._forgot:  # after what held them is gone
            forget_erased(state)
            self._forgot = erased
        self._taken = told
        telemetry.event("publications followed", number=told.number, online=told.current("online"))
        return None

    def _take_small(self, store: obstore.store.ObjectStore, told: Told) -> None:
        """What holds at once: keys, who was erased, what is refused."""
        state = Path(self.settings.state)
        for name in FILES:
            _put_file(state / name, told.files.get(name))
        for home in HOMES:
            if not home.waits:
                _fetch(store, home, state, told.of(home).folders, lambda: None)
                _turn(home, state, told.of(home))

    def _meanwhile(self, store: obstore.store.ObjectStore) -> None:
        """A large publication takes minutes to fetch; what holds at once does not wait for it."""
        if time.monotonic() - self._looked >= POLL_SECONDS and (newer := self._look(store)) is not None:
            self._take_small(store, newer)


def forget_erased(state: Path) -> int:
    """Take what was decided for persons and devices that were erased out of this machine's decisions. How many went."""
    is_erased = erasures.told(state)
    return forget_decisions_where(state, lambda who: is_erased(who) or is_erased(visitor(who)))


def _fetch(
    store: obstore.store.ObjectStore, home: Home, state: Path, wanted: Folders, meanwhile: Callable[[], None]
) -> None:
    """Folders that are not here yet, or are others under the same id; ``meanwhile`` is done between pieces."""
    above, here = home.folders(state), home.stored(state)
    for left in above.glob(f"{HALF}*"):  # of one that died
        shutil.rmtree(left, ignore_errors=True)
    for name, files in wanted.items():
        holds = {file: (size, digest) for file, (size, digest) in files.items()}
        if here.get(name) == holds:
            continue
        above.mkdir(parents=True, exist_ok=True, mode=0o700)
        half = above / f"{HALF}{name}"
        half.mkdir(mode=0o700)
        for file, (size, digest) in holds.items():
            _download(store, f"{address(home, name, holds)}/{file}", half / file, size, digest, meanwhile)
        sync_folder(half)
        shutil.rmtree(above / name, ignore_errors=True)
        half.rename(above / name)
        sync_folder(above)


def _download(
    store: obstore.store.ObjectStore, path: str, file: Path, size: int, digest: str, meanwhile: Callable[[], None]
) -> None:
    found, sha = 0, hashlib.sha256()
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
        for chunk in obstore.get(store, path).stream(min_chunk_size=CHUNK):
            data = bytes(chunk)
            found += len(data)
            sha.update(data)
            out.write(data)
            meanwhile()
        out.flush()
        os.fsync(out.fileno())
    if (found, sha.hexdigest()) != (size, digest):
        raise NotShared(f"publications are not followed: {path} is not what was shared; share it again")


def _turn(home: Home, state: Path, wanted: Shared) -> None:
    """Put into service what is told, then let go of what is not shared any longer."""
    if home.has_pointer and wanted.current is not None and wanted.current not in wanted.folders:
        return  # damaged where it was made: what is here stays
    if home.has_pointer and wanted.current != home.current(state):
        if wanted.current is None:
            (state / home.name / CURRENT).unlink(missing_ok=True)
        else:
            point(state / home.name, wanted.current)
    for name in home.ids(state):
        if name not in wanted.folders:
            shutil.rmtree(home.folders(state) / name, ignore_errors=True)


def _put_file(path: Path, text: str | None) -> None:
    """Make a file hold what is told, if it does not."""
    if text is None:
        path.unlink(missing_ok=True)
        return
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = path.with_name(f".{path.name}.followed")
    fresh.touch(mode=0o600)
    write_durably(fresh, text)
    fresh.replace(path)
