"""Which records meet: the pairs that share a value of a block key, once each, under the first key that they share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import polars as pl

MEETING: dict[str, type[pl.DataType]] = {"rid_l": pl.Int64, "rid_r": pl.Int64, "key": pl.Int32}
_PAIR_BITS = 32
_MOST_PORTIONS = 48  # each leaves a piece of every column of the edges


def meeting(holders: Iterable[pl.LazyFrame]) -> pl.DataFrame:
    """Pairs of rows that share a value, as `MEETING`, sorted by (rid_l, rid_r), rid_l < rid_r.

    `holders`: per key (value, rid, is_new), without null values. Of a pair at least one row is new. `key`: place of the
    first key that the two share.
    """
    return first_keys(pl.collect_all([under(held) for held in holders]))


def first_keys(found: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """`MEETING` of the pairs (`under`) of each key."""
    if not found:
        return pl.DataFrame(schema=MEETING)
    every = pl.concat(pairs.with_columns(key=pl.lit(place, pl.Int32)) for place, pairs in enumerate(found))
    # One number a pair: grouping and sorting by it costs half of what two columns do.
    once = every.group_by("pair").agg(pl.col("key").min()).sort("pair")
    low, high = pl.col("pair") // 2**_PAIR_BITS, pl.col("pair") % 2**_PAIR_BITS
    return once.select(rid_l=low, rid_r=high, key="key")


@dataclass(frozen=True)
class Portions:
    """As `first_keys`, in portions of about `size` pairs, one after the other in the order of the whole. `found`: the
    pairs of each key, sorted; `records`: above every rid."""

    found: Sequence[pl.DataFrame]
    records: int
    size: int

    @property
    def proposed(self) -> int:
        """Upper bound of the pairs: one under two keys counts twice."""
        return sum(pairs.height for pairs in self.found)

    def __iter__(self) -> Iterator[pl.DataFrame]:
        parts = max(1, min(_MOST_PORTIONS, -(-self.proposed // self.size)))
        cuts = pl.Series([self.records * n // parts * 2**_PAIR_BITS for n in range(parts + 1)], dtype=pl.Int64)
        ends = [pairs["pair"].search_sorted(cuts).to_list() for pairs in self.found]
        for part in range(parts):
            yield first_keys([pairs[end[part] : end[part + 1]] for pairs, end in zip(self.found, ends, strict=True)])


def under(held: pl.LazyFrame) -> pl.LazyFrame:
    """(pair): the pairs of one key of which at least one row is new, as one number each; those who hold the key as in
    `meeting`."""
    pairs = held.filter("is_new").select("value", "rid").join(held, on="value", suffix="_r")
    # A pair of two new rows comes up twice, one of one new row once.
    pairs = pairs.filter((pl.col("rid") < pl.col("rid_r")) | ~pl.col("is_new"))
    low, high = pl.min_horizontal("rid", "rid_r"), pl.max_horizontal("rid", "rid_r")
    return pairs.select(pair=low * 2**_PAIR_BITS + high)


def among_few(pairs: pl.DataFrame) -> tuple[pl.DataFrame, pl.Series]:
    """The pairs by places among the rows that they name, and the rids of these rows, sorted."""
    rids = pl.concat([pairs["rid_l"], pairs["rid_r"].alias("rid_l")]).unique().sort()
    places = {side: rids.search_sorted(pairs[side]).cast(pl.Int64) for side in ("rid_l", "rid_r")}
    return pairs.with_columns(**places), rids
