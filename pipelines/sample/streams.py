"""Random numbers by name: every table draws from a stream of its own, so that a new table never disturbs an older
one."""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32

import numpy as np


@dataclass(frozen=True)
class Streams:
    """Named, independent generators of one seed.

    The child seed is `SeedSequence(seed, spawn_key=(crc32(name), *within, *part))`: what `SeedSequence.spawn` makes,
    addressed by a name instead of by the order of the calls. `within` numbers a part of the retailer that has streams
    of its own (a block of people, a day); `part` the chunks of one table.
    """

    seed: int
    within: tuple[int, ...] = ()

    def stream(self, name: str, *part: int) -> np.random.Generator:
        """The generator of the table `name` (and of its chunk `part`)."""
        return np.random.default_rng(
            np.random.SeedSequence(self.seed, spawn_key=(crc32(name.encode()), *self.within, *part))
        )


def scrambled(count: int, rng: np.random.Generator) -> np.ndarray:
    """A permutation of 1..count, so that numbers of one source tell nothing about those of another: Int64 [count]."""
    return rng.permutation(count).astype(np.int64) + 1


def spread(lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Unroll groups of the given lengths: (owner of each row, position of the row in its group), both Int64
    [sum(lengths)]."""
    owner = np.repeat(np.arange(len(lengths)), lengths)
    first = np.cumsum(lengths) - lengths
    return owner, np.arange(len(owner)) - first[owner]


def pick_rows(cumulative: np.ndarray, rows: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Choose a column for each draw by the cumulative weights of its row.

    cumulative [n, k] rises to 1 along a row; rows Int64 [m]; draws Float64 [m] in [0, 1). Returns Int64 [m] in 0..k-1.
    """
    chosen = np.zeros(len(rows), dtype=np.int64)
    for column in range(cumulative.shape[1] - 1):
        chosen += draws >= cumulative[rows, column]
    return chosen
