"""A generation as what differs from a whole one, so that a publication costs what changed.

Its file is that of the generation in service with what differs from it: newer texts, and empty ones where a document
is gone. The base is never touched, and holds what it held until the next whole generation: the same that older
publications hold which are kept for a rollback. A small file is packed, so that texts of before are not in it; a large
one, of which more than that differs, is copied as it is, and holds them as long as the base at most.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import lmdb
import polars as pl

from customer360.platform.errors import LakeError
from customer360.platform.online import files
from customer360.platform.online.layers import GONE
from customer360.platform.online.reading import View
from customer360.platform.online.writing import pairs_of, put, writable

SERVES = timedelta(days=1)  # of a base: what a day took out of the documents is no longer on the disk
SHARE = 0.25  # of the base's bytes: every publication writes, checks and shares all that differs again
LEAST_BYTES = 1 << 20  # that may differ, however small the base is
PACKED_BYTES = 32 << 20  # of a file up to which it is packed: it takes fifty times as long as to copy it as it is

_DOCUMENTS = pl.DataFrame(schema=dict.fromkeys(("kind", "key", "document"), pl.String))
_PLACES = pl.DataFrame(schema=dict.fromkeys(("kind", "key"), pl.String))  # no query: threads that one starts end a fork


class TooMuch(Exception):
    """So much differs, or has for so long, that a whole generation is due."""


@dataclass(frozen=True)
class Change:
    """What stands at some places: of ``touched`` (kind, key), and of everything of some ``kinds``, only the
    ``documents`` (kind, key, document) stand."""

    documents: pl.DataFrame = field(default_factory=_DOCUMENTS.clone)
    touched: pl.DataFrame = field(default_factory=_PLACES.clone)
    kinds: tuple[str, ...] = ()


def change(home: Path, view: View, changes: Iterable[Change]) -> Callable[[Path], Mapping[str, int]]:
    """What writes the changes of a generation to a folder, and counts all documents by kind.

    Raises:
        TooMuch: a whole generation is due.
    """
    base = files.folder_of(home, view.generation.base or view.generation.id)
    if datetime.now(UTC) - files.read_manifest(base).published_at > SERVES:
        raise TooMuch(f"the last whole publication has served for {SERVES}")
    most = max(LEAST_BYTES, int(SHARE * (base / files.DATA).stat().st_size))

    def write_changes(folder: Path) -> Mapping[str, int]:
        if (before := view.texts.changes) is not None:
            stood = files.folder_of(home, view.generation.id) / files.DATA
            if stood.stat().st_size <= PACKED_BYTES:
                before.copy(str(folder), compact=True)
            else:  # nobody writes it any more
                shutil.copyfile(stood, folder / files.DATA)
            (folder / files.DATA).chmod(0o600)
        with writable(folder) as environment:
            amending = _Amending(view, environment, most, dict(view.generation.counts))
            for each in changes:
                amending.take(each)
            amending.let_go()
            environment.sync(True)
        return {kind: number for kind, number in amending.counts.items() if number}

    return write_changes


@dataclass
class _Amending:
    view: View
    environment: lmdb.Environment
    most: int
    counts: dict[str, int]
    put: set[bytes] = field(default_factory=set)
    left: set[bytes] = field(default_factory=set)  # touched, and not known to stand

    def take(self, each: Change) -> None:
        pairs = pairs_of(each.documents)
        places = {place for place, _ in pairs}
        if twice := len(pairs) - len(places - self.put):
            raise LakeError(f"{twice} of {len(pairs)} documents have a key that was published before")
        self.put |= places
        self.left |= {place for place, _ in pairs_of(each.touched.with_columns(document=pl.lit("")))}
        for kind in each.kinds:
            self.left |= {place for place, _ in self.view.texts.items(f"{kind}\0".encode())}
        stood = self.view.texts.mget([place for place, _ in pairs])
        put(self.environment, [pair for pair, was in zip(pairs, stood, strict=True) if was != pair[1]], overwrite=True)
        for (place, _), was in zip(pairs, stood, strict=True):
            self._count(place, was is None)
        self._refuse_much()

    def let_go(self) -> None:
        """What was touched and does not stand any longer: asked for last, as it may have stood with another subject."""
        stood = sorted(place for place in self.left - self.put if self.view.texts.get(place) is not None)
        put(self.environment, [(place, GONE) for place in stood], overwrite=True)
        for place in stood:
            self._count(place, -1)
        self._refuse_much()

    def _count(self, place: bytes, more: int) -> None:
        kind = place.partition(b"\0")[0].decode()
        self.counts[kind] = self.counts.get(kind, 0) + more

    def _refuse_much(self) -> None:
        size = (self.environment.info()["last_pgno"] + 1) * self.environment.stat()["psize"]
        if size > self.most:
            raise TooMuch(f"{size:,} bytes differ from the last whole publication")
