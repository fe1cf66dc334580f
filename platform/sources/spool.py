"""What a system gives once, or gives otherwise the next time: kept in the lake until its batch is in bronze.

``_spool/<source>/<digest of the input's name>/00000001`` holds one page: a line of JSON that says how to go on, and the
bytes as they came. A crawl that died goes on after its last page; what was read again is what landed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from customer360.platform.errors import LakeError
from customer360.platform.lake import Lake

FOLDER = "_spool"


@dataclass(frozen=True)
class Page:
    """One answer as it came, and what its reader noted to go on: JSON values."""

    content: bytes
    note: dict[str, Any]


@dataclass(frozen=True)
class Spool:
    """The pages of one input, in order from 1."""

    lake: Lake
    source: str
    input: str

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
        self.lake.put(self._path(number), head + b"\n" + page.content)

    def drop(self) -> None:
        """Let go of all pages."""
        self.lake.delete(self.lake.objects(self.folder))

    def _path(self, number: int) -> str:
        return f"{self.folder}/{number:08d}"


def _page(path: str, held: bytes) -> Page:
    head, _, content = held.partition(b"\n")
    try:
        return Page(content, dict(json.loads(head)))
    except (ValueError, TypeError):
        raise LakeError(f"{path} is no page of a source: delete it, it is asked for again") from None
