"""Readers of the online store: always one sound generation, whatever happened to the files of another."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary

import lmdb
import orjson

from customer360.platform import telemetry
from customer360.platform.online import files, hiding
from customer360.platform.online.files import Generation, NotPublished, Signature, Unsound
from customer360.platform.online.hiding import Hidden, Hiding
from customer360.platform.online.layers import Layers

POLL_SECONDS = 0.5  # how often a reader looks for a newer generation
MAX_ADDRESS = 511  # bytes of a key that LMDB accepts
CHECKED_ASIDE = 64 << 20  # bytes from which a generation is checked in a thread while the one before answers

# LMDB refuses to open one file twice in a process, so all stores of a process share what is open.
_OPEN: WeakValueDictionary[str, lmdb.Environment] = WeakValueDictionary()
_OPENING = threading.Lock()


def address(kind: str, key: str) -> bytes:
    """Where a document lies in LMDB."""
    plain = f"{kind}\0{key}".encode()
    return plain if len(plain) <= MAX_ADDRESS else f"{kind}\0sha256:{hashlib.sha256(plain).hexdigest()}".encode()


def _read(text: bytes) -> Any:
    """A document. What the fast reader refuses and Python takes (NaN, half a surrogate pair) is read by Python."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return json.loads(text)


def _unread(kind: str, fault: Exception) -> Unsound:
    return Unsound(f"documents of kind {kind} cannot be read ({type(fault).__name__})")


@dataclass(frozen=True)
class View:
    """One generation, open for reading, and what of it is answered no more; all answers of a request come from one
    view."""

    generation: Generation
    texts: Layers
    hidden: Hidden

    def get(self, kind: str, key: str) -> dict[str, Any] | None:
        """The document, or None. Raises Unsound: it cannot be read."""
        try:
            place = address(kind, key)
            if self.hidden.holds(place):
                return None
            text = self.texts.get(place)
            return None if text is None else _read(text)
        except (lmdb.Error, ValueError) as fault:
            raise _unread(kind, fault) from fault

    def mget(
        self, kind: str, keys: Sequence[str], kept: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    ) -> list[dict[str, Any] | None]:
        """Documents in the order of ``keys``, or what is ``kept`` of each as soon as it is read; None where there is
        none. Raises Unsound: one cannot be read."""
        try:
            places = [address(kind, key) for key in keys]
            found = self.texts.mget([None if self.hidden.holds(place) else place for place in places])
            if kept is not None:
                return [None if text is None else kept(_read(text)) for text in found]
            return [None if text is None else _read(text) for text in found]
        except (lmdb.Error, ValueError) as fault:
            raise _unread(kind, fault) from fault

    def scan(self, kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every key and document of a kind, in order of key; keys too long for the store (`address`) are left out, as
        only their digest is kept. Raises Unsound: one cannot be read."""
        start = f"{kind}\0".encode()
        try:
            for place, text in self.texts.items(start):
                key = place[len(start) :].decode()
                if not (key.startswith("sha256:") or self.hidden.holds(place)):
                    yield key, _read(text)
        except (lmdb.Error, ValueError) as fault:
            raise _unread(kind, fault) from fault


class OnlineStore:
    """Reader of the current generation. Opens on first use, so build it before a fork and use it after.

    A generation that is unsound is not used: the one that is open stays in service, else the newest sound one that is
    stored. ``fault`` then says why, in words that name no path.
    """

    def __init__(self, state: Path, poll_seconds: float = POLL_SECONDS):
        self._fault: str | None = None
        self._home = files.home_of(state)
        self._poll_seconds = poll_seconds
        self._looked_at = float("-inf")
        self._turning = threading.Lock()  # held while another generation may take the place of the one that is open
        self._view: View | None = None
        self._signature: Signature | None = None  # of the data that is open
        self._folders: tuple[Path, Path | None] | None = None  # of it and its base, kept since every request looks
        self._unsound: dict[str, tuple[Signature | None, str]] = {}  # why, by id; looked at again when it changes
        self._hiding: Hiding | None = None  # None: never read
        self._hiding_file: tuple[Signature | None, str | None] = (None, None)  # as it was read, and what is wrong
        self._shown: tuple[View, Hiding, View] | None = None  # what is open, what is hidden, and what is answered from
        self._aside: tuple[str, threading.Thread] | None = None
        self._checked: dict[str, tuple[View, Signature | None]] = {}

    def view(self) -> View:
        """The current generation, looked up again when the last look is ``poll_seconds`` old, or its file was touched.

        Raises:
            NotPublished: there is none, or none that is sound.
        """
        if time.monotonic() - self._looked_at >= self._poll_seconds or self._is_touched():
            self.refresh()
        view = self._view
        if view is None:
            with self._turning:  # another thread may be about to open one
                view = self._view
        if view is None:
            raise NotPublished(self.fault or f"nothing was published to {self._home} yet; `customer360 run` publishes")
        return self._without_hidden(view)

    def _without_hidden(self, view: View) -> View:
        hiding, shown = self._hiding, self._shown
        if hiding is None:
            raise NotPublished(f"{self.fault}; `customer360 erase` takes an erasure up that did not end")
        if shown is None or shown[0] is not view or shown[1] is not hiding:
            shown = self._shown = view, hiding, replace(view, hidden=hiding.of(view.generation.id))
        return shown[2]

    @property
    def fault(self) -> str | None:
        """Why what is answered is not what is to be served, or not sure to be; None where it is."""
        return self._fault or self._hiding_file[1]

    def refresh(self) -> bool:
        """Read ``CURRENT`` and switch when it names another generation. Returns whether it did.

        Raises:
            NotPublished: ``CURRENT`` names a generation that cannot be opened, none is open, and no other is sound.
        """
        self._looked_at = time.monotonic()
        self._look_what_is_hidden()
        with self._turning:
            return self._refresh()

    def _look_what_is_hidden(self) -> None:
        """Of a file that cannot be read what was read before holds; where nothing was, nobody can be answered."""
        now = hiding.signature(self._home)
        if self._hiding is not None and now == self._hiding_file[0]:
            return
        if self._hiding is not None and self._hiding.until and now is None:
            self._hiding_file = now, f"{hiding.HIDDEN}, who is being erased, is gone"
            return
        try:
            self._hiding, said = hiding.known(self._home)
            self._hiding_file = now, said
        except Unsound as fault:
            self._hiding_file = now, str(fault)

    def _refresh(self) -> bool:
        before = self._view
        if self._is_cut():  # reading on would end this process: LMDB maps the file
            self._view = None
        wanted = self._wanted()
        if wanted is None or self._serves(wanted):
            return False
        self._turn_to(wanted)
        if self._view is None:
            self._fall_back()
        if self._view is None:
            raise NotPublished(f"the online store cannot be opened: {self.fault}")
        return self._view is not before

    def _wanted(self) -> str | None:
        """The id that is to be served; None: nothing was published. An unreadable pointer wants what is open, else the
        newest."""
        try:
            wanted = files.pointer(self._home)
            self._fault = None
        except Unsound as fault:
            self._say(str(fault))
            return self._view.generation.id if self._view else next(reversed(files.stored_ids(self._home)), None)
        if wanted is None and (stored := files.stored_ids(self._home)):
            self._say(f"{files.CURRENT} is gone")
            return self._view.generation.id if self._view else stored[-1]
        return wanted

    def _serves(self, wanted: str) -> bool:
        if self._view is None or self._view.generation.id != wanted:
            return False
        now = files.signature(*self._folders_of(self._view.generation))
        if now is None:
            self._say(f"publication {wanted} is gone from the disk and answers from memory")
        return now is None or now == self._signature

    def _turn_to(self, wanted: str) -> None:
        """Open a generation; where it is unsound, or being checked still, the one that is open stays."""
        now, unread = self._seen(wanted)
        if wanted in self._checked:
            (self._view, self._signature), self._aside = self._checked.pop(wanted), None
            return
        if wanted in self._unsound and self._unsound[wanted][0] == now:
            self._say(self._unsound[wanted][1])
            return
        if self._view is not None and self._view.generation.id != wanted and unread > CHECKED_ASIDE:
            self._check_aside(wanted)
            return
        self._check(wanted)
        if wanted in self._checked:
            self._view, self._signature = self._checked.pop(wanted)
        elif self._view is not None and self._view.generation.id == wanted:
            self._view = None  # touched, and no longer what was published

    def _seen(self, wanted: str) -> tuple[Signature | None, int]:
        """The signature of a generation, and bytes that are to be read to check it: the base of the one that is open
        was read.
        """
        folder, base = files.folder_of(self._home, wanted), self._base_of(wanted)
        now = files.signature(folder, base)
        if now is None:
            return None, 0
        open_ones = () if self._view is None else self._folders_of(self._view.generation)
        return now, now[1] + (now[4] if base is not None and base not in open_ones else 0)

    def _base_of(self, wanted: str) -> Path | None:
        try:
            base = files.read_manifest(files.folder_of(self._home, wanted)).base
        except Unsound:  # which the check says
            return None
        return None if base is None else files.folder_of(self._home, base)

    def _folders_of(self, generation: Generation) -> tuple[Path, Path | None]:
        known = self._folders
        if known is None or known[0].name != generation.id:
            base = None if generation.base is None else files.folder_of(self._home, generation.base)
            known = self._folders = files.folder_of(self._home, generation.id), base
        return known

    def _check_aside(self, wanted: str) -> None:
        if self._aside is None or self._aside[0] != wanted or not self._aside[1].is_alive():
            thread = threading.Thread(target=self._check, args=(wanted,), name="generation check", daemon=True)
            self._aside = wanted, thread
            thread.start()

    def _check(self, wanted: str) -> None:
        """Open a generation if it is sound, and keep it, or keep why it is not."""
        now, _ = self._seen(wanted)
        try:
            self._checked[wanted] = opened(files.folder_of(self._home, wanted)), now
            self._unsound.pop(wanted, None)
        except Unsound as fault:
            self._unsound[wanted] = now, f"publication {wanted} is damaged: {fault}"
            self._say(self._unsound[wanted][1])
            telemetry.log.error(f"{self._unsound[wanted][1]}; `customer360 doctor` looks at everything")

    def _fall_back(self) -> None:
        """The newest generation that is sound, where the wanted one is not and none is open."""
        said = self._fault
        for identifier in reversed(files.stored_ids(self._home)):
            self._turn_to(identifier)
            if self._view is not None:
                self._fault = f"{said}; answers come from publication {identifier}"
                return
        self._fault = said

    def _say(self, fault: str) -> None:
        self._fault = fault

    def _is_touched(self) -> bool:
        return self._view is not None and self._now() != self._signature

    def _is_cut(self) -> bool:
        now, before = self._now(), self._signature
        return now is not None and before is not None and any(map(int.__lt__, now[1::3], before[1::3]))

    def _now(self) -> Signature | None:
        view = self._view
        return None if view is None else files.signature(*self._folders_of(view.generation))

    def get(self, kind: str, key: str) -> dict[str, Any] | None:
        return self.view().get(kind, key)

    def mget(self, kind: str, keys: Sequence[str]) -> list[dict[str, Any] | None]:
        return self.view().mget(kind, keys)

    @property
    def generation(self) -> Generation:
        return self.view().generation


def opened(folder: Path) -> View:
    """A sound generation, open. Raises Unsound."""
    generation = files.check(folder)
    try:
        if generation.base is None:
            texts = Layers(_environment(folder))
        else:
            texts = Layers(_environment(folder.parent / generation.base), _environment(folder))
    except (OSError, lmdb.Error) as fault:
        raise Unsound(f"{files.DATA} cannot be opened ({type(fault).__name__})") from fault
    return View(generation, texts, Hidden())


def _environment(folder: Path) -> lmdb.Environment:
    with _OPENING:
        path = str(folder.resolve())
        environment = _OPEN.get(path)
        if environment is None:
            # The file never changes, so readers need no lock table and leave no trace in the folder.
            environment = _OPEN[path] = lmdb.open(path, readonly=True, lock=False, create=False)
    _check_length(folder, environment)
    return environment


def _check_length(folder: Path, environment: lmdb.Environment) -> None:
    """Pages beyond the end of a cut file would end the process. Publications of before note no size."""
    needed = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    found = (folder / files.DATA).stat().st_size
    if found < needed:
        raise Unsound(f"{files.DATA} has {found:,} bytes instead of {needed:,}")
