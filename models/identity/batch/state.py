"""What stands resolved, held in memory from one batch to the next."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from customer360.models.identity.evidence.features import KEY_PREFIX
from customer360.models.identity.weighing.predict import PAIR_SCHEMA

EDGES: dict[str, pl.DataType | type[pl.DataType]] = {
    "record_l": pl.Int64, "record_r": pl.Int64,
    **{name: kind for name, kind in PAIR_SCHEMA.items() if not name.startswith("rid_")},
    "decision": pl.String, "reason": pl.String,
}  # fmt: skip
PLACE = "place"
VERDICTS = {name: kind for name, kind in EDGES.items() if name != "evidence"} | {PLACE: pl.Int64}
CROWDED = {"key": pl.Int32, "value": pl.Int64}
_MOST_CHUNKS = 64  # of a frame that batches are added to: beyond, fetching rows takes longer than copying all once


@dataclass(frozen=True)
class State:
    """`frame`: evidence of all current records (`pins.evidence`) with their number `record`. `verdicts`: one row per
    pair that was scored or linked, `VERDICTS`, the left record the one whose id comes first. `evidence`: what the
    scores rest on, at the `place` that an edge names: the larger part of an edge, which stays where it is when others
    go. `crowded`: (key, value) of the block keys that more records share than their cap; `key` counts the key
    columns."""

    frame: pl.DataFrame
    verdicts: pl.DataFrame
    evidence: pl.Series
    crowded: pl.DataFrame

    @staticmethod
    def of(frame: pl.DataFrame, edges: pl.DataFrame, crowded: pl.DataFrame) -> State:
        """`edges`: as `EDGES`."""
        return State(frame, *apart(edges), crowded)

    @staticmethod
    def empty(evidence: pl.DataFrame) -> State:
        """Of nobody, for records with such evidence."""
        frame = evidence.clear().with_columns(record=pl.lit(None, pl.Int64))
        return State.of(frame, pl.DataFrame(schema=EDGES), pl.DataFrame(schema=CROWDED))

    @property
    def edges(self) -> pl.DataFrame:
        """The edges whole, as `EDGES`."""
        return self.verdicts.with_columns(evidence=at_places(self.evidence, self.verdicts[PLACE])).select(list(EDGES))

    def tidied(self) -> State:
        """The same without the evidence that no edge names and in few pieces, where there is much of either."""
        frame = self.frame.rechunk() if self.frame.n_chunks() > _MOST_CHUNKS else self.frame
        is_loose = self.evidence.len() > 2 * self.verdicts.height or self.verdicts.n_chunks() > _MOST_CHUNKS
        return (
            State.of(frame, self.edges, self.crowded)
            if is_loose
            else State(frame, self.verdicts, self.evidence, self.crowded)
        )


def key_columns(frame: pl.DataFrame) -> tuple[str, ...]:
    """The block keys of a frame of evidence, in the order in which they block."""
    return tuple(name for name in frame.columns if name.startswith(KEY_PREFIX))


def alongside(frame: pl.DataFrame, column: pl.Series) -> pl.DataFrame:
    """The frame with one more column, in chunks that end where its own do: else the next step copies all columns."""
    ends = frame.to_series().chunk_lengths() if frame.width else [frame.height]
    parts, start = [], 0
    for length in ends:
        parts.append(column.slice(start, length).rechunk())  # which may lie in several chunks of its own
        start += length
    return frame.with_columns(pl.concat(parts, rechunk=False) if parts else column)


def at_places(evidence: pl.Series, places: pl.Series) -> pl.Series:
    """What edges rest on, uncopied where it lies in their order."""
    is_whole = places.len() == evidence.len() and bool((places == pl.int_range(places.len(), eager=True)).all())
    # Of several chunks nested rows are picked one by one.
    return evidence if is_whole else evidence.rechunk().gather(places)


def apart(edges: pl.DataFrame, start: int = 0) -> tuple[pl.DataFrame, pl.Series]:
    """Edges as `VERDICTS`, with places from `start` on, and their evidence."""
    places = pl.int_range(start, start + pl.len(), dtype=pl.Int64)
    return edges.with_columns(places.alias(PLACE)).select(list(VERDICTS)), edges["evidence"]
