"""What a system gives once, or gives otherwise the next time: kept in the lake until its batch is in bronze.

``_spool/<source>/<digest of the input's name>/00000001`` holds one page: a line of JSON that says how to go on, and the
bytes as they came. A crawl that died goes on after its last page; what was read again is what landed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol

from customer360.platform.errors import LakeError
from customer360.platform.lake import Lake

FOLDER = "_spool"


class Shelf(Protocol):
    """What keeps objects by path: a lake, or `Unwritten`."""

    @property
    def root(self) -> str: ...

    def objects(self, prefix: str, *, after: str | None = None) -> list[str]: ...
    def get(self, path: str) -> bytes | None: ...
    def put(self, path: str, data: bytes) -> bool: ...
    def delete(self, paths: Iterable[str]) -> None: ...


@dataclass
class Unwritten:
    """Objects of a lake, and in memory what is put: for a preview, which writes nothing."""

    lake: Lake
    _put: dict[str, bytes | None] = field(default_factory=dict)  # None: deleted

    @property
    def root(self) -> str:
        return self.lake.root

    def objects(self, prefix: str, *, after: str | None = None) -> list[str]:
        mine = {p for p in self._put if p.startswith(f"{prefix.rstrip('/')}/") and p > (after or "")}
        found = mine | set(self.lake.objects(prefix, after=after))
        return sorted(p for p in found if self._put.get(p, b"") is not None)

    def get(self, path: str) -> bytes | None:
        return self._put[path] if path in self._put else self.lake.get(path)

    def put(self, path: str, data: bytes) -> bool:
        self._put[path] = data
        return True

    def delete(self, paths: Iterable[str]) -> None:
        self._put |= dict.fromkeys(paths)


@dataclass(frozen=True)
class Page:
    """One answer as it came, and what its reader noted to go on: JSON values."""

    content: bytes
    note: dict[str, Any]


@dataclass(frozen=True)
class Spool:
    """The pages of one input, in order from 1."""

    lake: Shelf
    source: str
    input: str
    cleared: Callable[[bytes], bytes] = bytes  # what of a page may be kept

    @property
    def folder(self) -> str:
        return f"{FOLDER}/{self.source}/{hashlib.sha256(self.input.encode()).hexdigest()[:20]}"

    def __iter__(self) -> Iterator[Page]:
        """Pages that are kept, up to the first that is missing."""
        kept = set(self.lake.objects(self.folder))
        number = 1
        while (path := self._path(number)) in kept:
            held = self.lake.get(path)
            if held is None:
                return
            yield _page(path, held)
            number += 1

    def keep(self, number: int, page: Page) -> None:
        head = json.dumps(page.note, ensure_ascii=False).encode()
        self.lake.put(self._path(number), head + b"\n" + self.cleared(page.content))

    def drop(self) -> None:
        """Let go of all pages."""
        self.lake.delete(self.lake.objects(self.folder))

    def _path(self, number: int) -> str:
        return f"{self.folder}/{number:08d}"


def sweep(lake: Lake, kept: Collection[str]) -> None:
    """Let go of the pages of all sources but ``kept``: of batches that were dropped, of sources that are no more."""
    owners = ((path, path.split("/")[1]) for path in lake.objects(FOLDER))
    lake.delete(path for path, owner in owners if owner not in kept and not owner.startswith("."))


def _page(path: str, held: bytes) -> Page:
    head, _, content = held.partition(b"\n")
    try:
        return Page(content, dict(json.loads(head)))
    except (ValueError, TypeError):
        raise LakeError(f"{path} is no page of a source: delete it, it is asked for again") from None
