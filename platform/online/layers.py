"""The texts of one generation: those of a whole file, or of such a file and of what changed since.

A file of changes holds by place the newer text, or an empty one where the document is gone. It is written once, as the
whole file is, so a reader needs nothing but both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import lmdb

GONE = b""  # no JSON text is empty

Pair = tuple[bytes, bytes]


@dataclass(frozen=True)
class Layers:
    """Texts by place (``online.address``)."""

    base: lmdb.Environment
    changes: lmdb.Environment | None = None

    def get(self, place: bytes) -> bytes | None:
        if self.changes is not None:
            with self.changes.begin() as transaction:
                newer = transaction.get(place)
            if newer is not None:
                return newer or None
        with self.base.begin() as transaction:
            return transaction.get(place)

    def mget(self, places: Sequence[bytes | None]) -> list[bytes | None]:
        """Texts in the order of places; None where there is none, or no place."""
        newer: list[bytes | None] = [None] * len(places)
        if self.changes is not None:
            with self.changes.begin() as transaction:
                newer = [None if place is None else transaction.get(place) for place in places]
        with self.base.begin() as transaction:
            return [
                (text or None) if text is not None else None if place is None else transaction.get(place)
                for place, text in zip(places, newer, strict=True)
            ]

    def items(self, start: bytes = b"") -> Iterator[Pair]:
        """Places that begin with some bytes, and their texts, in order."""
        if self.changes is None:
            yield from _range(self.base, start)
            return
        newer = _range(self.changes, start)
        ahead = next(newer, None)
        for pair in _range(self.base, start):
            while ahead is not None and ahead[0] < pair[0]:
                if ahead[1]:
                    yield ahead
                ahead = next(newer, None)
            if ahead is None or ahead[0] != pair[0]:
                yield pair
        while ahead is not None:
            if ahead[1]:
                yield ahead
            ahead = next(newer, None)


def _range(environment: lmdb.Environment, start: bytes) -> Iterator[Pair]:
    with environment.begin() as transaction, transaction.cursor() as cursor:
        found = cursor.set_range(start)
        while found and cursor.key().startswith(start):
            yield cursor.key(), cursor.value()
            found = cursor.next()
