"""What a source has landed, as one table: what is new is found from it, not from all batches of the past.

One object a source, ``_known/<source>/<number of its last batch>.parquet``: its inputs, each as it stood when it was
last read or looked at. It repeats manifests, outcomes and moves, and may be deleted at any time: then it is made from
them again. Whoever changes what a batch gave deletes it (``Outcome.save``). Batches after it are read one by one.

``_moved/<source>/inputs.parquet`` are the places to which inputs were moved or copied: rows of the same table, which no
batch tells. They are kept for good; those of a batch whose inputs are new again do not count.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, overload

import polars as pl

from customer360.platform import ledger
from customer360.platform.lake import Lake
from customer360.platform.ledger import KNOWN, Batch, Input, Outcome

# One row an input, by name, as it was last read: size in bytes, time of change in microseconds since 1970 UTC, the
# store's etag, SHA-256; batch and place in it. ``waits``: not read yet; ``failed``: read in vain.
INPUTS = {
    "name": pl.String, "size": pl.Int64, "modified": pl.Int64, "etag": pl.String, "sha256": pl.String,
    "seq": pl.Int64, "place": pl.Int64, "waits": pl.Boolean, "failed": pl.Boolean,
}  # fmt: skip
NEW_INPUTS = 0.1  # share of a table's rows that later batches may hold before it is written again


@dataclass(frozen=True)
class Known(Sequence[Batch]):
    """The batches of a source, oldest first, as `Source.discover` gets them; read only as far as somebody looks.

    The detail of an input that landed also holds the state in which it was read; that of one which was not ``waits``.
    ``upto`` is the last batch that the stored table holds, ``later`` those after it with what they gave.
    """

    lake: Lake
    source: str
    landed: int  # number of the last batch in the bronze table
    upto: int
    later: tuple[tuple[Batch, Outcome | None], ...]
    cursor_seq: int = 0  # of the last batch up to ``upto`` that has a cursor

    @property
    def last(self) -> int:
        """Number of the last batch; 0 for none."""
        return self.later[-1][0].seq if self.later else self.upto

    @property
    def waiting(self) -> list[Batch]:
        """Batches that are not in the bronze table yet and were not taken back."""
        return [b for b, outcome in self.later if self._waits(b, outcome)]

    @cached_property
    def inputs(self) -> pl.DataFrame:
        """One row an input that stands (`INPUTS`), the newest of each name."""
        held = _stored_inputs(self.lake, self.source, self.upto)
        rows = [row for b, outcome in self.later for row in _rows(b, outcome, waits=b.seq > self.landed)]
        if not rows:
            return held
        fresh = _frame(rows).unique("name", keep="last", maintain_order=True)
        if not self.upto:
            again = [b.seq for b, outcome in self.later if _is_again(outcome)]
            held = moves(self.lake, self.source).filter(~pl.col("seq").is_in(again), pl.col("seq") <= self.landed)
        return pl.concat([held.join(fresh, on="name", how="anti"), fresh])

    @cached_property
    def _batches(self) -> list[Batch]:
        outcomes = ledger.outcomes(self.lake, self.source)
        found = ((b, outcomes.get(b.seq)) for b in ledger.batches(self.lake, self.source))
        return [as_landed(b, o, waits=self._waits(b, o)) for b, o in found if not _is_again(o)]

    def _waits(self, batch: Batch, outcome: Outcome | None) -> bool:
        """Whether a batch is still to land; one that a person took back is not."""
        return batch.seq > self.landed and not (outcome and outcome.dropped)

    @overload
    def __getitem__(self, index: int) -> Batch: ...
    @overload
    def __getitem__(self, index: slice) -> list[Batch]: ...
    def __getitem__(self, index: int | slice) -> Batch | list[Batch]:
        return self._batches[index]

    def __len__(self) -> int:
        return len(self._batches)

    def __bool__(self) -> bool:
        return self.last > 0

    def __reversed__(self) -> Iterator[Batch]:
        """Newest first; the one with the last cursor without reading those between."""
        for batch, outcome in reversed(self.later):
            if not _is_again(outcome):
                yield as_landed(batch, outcome, waits=self._waits(batch, outcome))
        newest = ledger.batch(self.lake, self.source, self.cursor_seq) if self.cursor_seq else None
        if newest is not None:
            outcome = ledger.outcome(self.lake, self.source, newest.seq)
            yield as_landed(newest, outcome, waits=newest.seq > self.landed)
        yield from (b for b in reversed(self._batches) if b.seq <= self.upto and b.seq != self.cursor_seq)


def known_of(lake: Lake, source: str, landed: int) -> Known:
    """What a source has, with the batch ``landed`` as the last in its bronze table."""
    found = stored(lake, source)
    upto, head = found if found and found[0] <= landed else (0, {})
    outcomes = ledger.outcomes(lake, source) if not upto else {}
    batches = ledger.batches(lake, source) if not upto else ledger.batches_after(lake, source, upto)
    if upto:
        outcomes = ledger.outcomes_of(lake, source, [b.seq for b in batches])
    later = ((b, outcomes.get(b.seq)) for b in batches)
    return Known(lake, source, landed if batches or upto else 0, upto, tuple(later), head.get("cursor_seq", 0))


def look_together(lake: Lake, landed: Mapping[str, int]) -> None:
    """Read what of sources is kept (``lake.keeping``) side by side, by the last batch of each in its bronze table."""

    def look(source: str) -> None:
        with suppress(Exception):  # whoever asks for the source is told: no fault is kept
            ledger.outcomes(lake, source)
            known = known_of(lake, source, landed[source])
            _stored_inputs(lake, source, known.upto) if known.upto else moves(lake, source)

    lake.side_by_side(look, landed)


def noted(known: Known, landed: int, touched: Iterable[Input] = ()) -> None:
    """Store the table anew where inputs were touched, or much has landed since: up to the batch ``landed``.

    ``touched`` are known inputs as they look now, or the places that they were copied or moved to: those have the
    input that they are in ``copy_of``.
    """
    touched = list(touched)
    fresh = [(b, o) for b, o in known.later if b.seq <= landed]
    rows = sum(len(b.inputs) for b, _ in fresh)
    if not touched and len(fresh) <= ledger.LOOSE and rows <= ledger.LOOSE * 20:
        return
    now = replace(known, landed=landed, later=tuple(fresh))
    table = now.inputs
    if not touched and len(fresh) <= ledger.LOOSE and rows < NEW_INPUTS * table.height:
        return
    table = _looked_at(table, touched)
    _keep_moves(known, table, [t.name for t in touched if "copy_of" in t.detail])
    cursors = [b.seq for b, _ in fresh if b.cursor is not None]
    upto = fresh[-1][0].seq if fresh else known.upto
    head = {"upto": upto, "cursor_seq": cursors[-1] if cursors else known.cursor_seq}
    path = _path(known.source, upto)
    known.lake.put(path, _written(head, table))
    known.lake.delete([p for p in known.lake.objects(f"{KNOWN}/{known.source}") if p != path])
    _held.pop((known.lake.root, known.source), None)


def _looked_at(table: pl.DataFrame, touched: list[Input]) -> pl.DataFrame:
    """The table with touched inputs as they look now."""
    if not touched:
        return table
    looks = _frame([(t.name, *_look(t.detail), None, 0, 0, False, False) for t in touched])
    looks = looks.select(
        "name", "size", "modified", "etag", of=pl.Series([t.detail.get("copy_of", t.name) for t in touched])
    )
    same = looks.join(table.select("sha256", "seq", "place", "waits", "failed", of="name"), on="of")
    return pl.concat([table.join(same, on="name", how="anti"), same.select(list(INPUTS))])


# ---- moves ------------------------------------------------------------------------------------------------------


def moves(lake: Lake, source: str) -> pl.DataFrame:
    """One row a place to which an input was moved or copied (`INPUTS`): batch and place in it are those of the input.

    A row whose name is that of an input of a batch says nothing beside the batch.
    """
    data = lake.get(ledger.moved(source))
    return pl.DataFrame(schema=INPUTS) if data is None else _read(data)


def _keep_moves(known: Known, table: pl.DataFrame, names: list[str]) -> None:
    if names:
        new = table.filter(pl.col("name").is_in(names))
        old = moves(known.lake, known.source).join(new, on="name", how="anti")
        known.lake.put(ledger.moved(known.source), _written({}, pl.concat([old, new])))


def _written(head: dict[str, Any], table: pl.DataFrame) -> bytes:
    body = io.BytesIO()
    table.write_parquet(body, compression="lz4", statistics=False)
    return json.dumps(head).encode() + b"\n" + body.getvalue()


def _read(data: bytes) -> pl.DataFrame:
    return pl.read_parquet(io.BytesIO(data[data.index(b"\n") + 1 :]))


# ---- the stored table -------------------------------------------------------------------------------------------

_held: dict[tuple[str, str], tuple[str, pl.DataFrame]] = {}  # of this process: stamp of the object, its inputs


def stored(lake: Lake, source: str) -> tuple[int, dict[str, Any]] | None:
    """Number of the last batch in the stored table, and what it says of itself; None where there is none."""
    paths = lake.objects(f"{KNOWN}/{source}")
    data = lake.get(paths[-1]) if paths else None
    if data is None:
        return None
    head: dict[str, Any] = json.loads(data[: data.index(b"\n")])
    return int(head["upto"]), head


def _stored_inputs(lake: Lake, source: str, upto: int) -> pl.DataFrame:
    if not upto:
        return pl.DataFrame(schema=INPUTS)
    stamp = lake.stamps(f"{KNOWN}/{source}").get(_path(source, upto), "")
    held = _held.get((lake.root, source))
    if held is None or held[0] != stamp:
        data = lake.get(_path(source, upto)) or b""
        held = _held[lake.root, source] = stamp, _read(data)
    return held[1]


def _path(source: str, upto: int) -> str:
    return f"{KNOWN}/{source}/{upto:08d}.parquet"


# ---- rows -------------------------------------------------------------------------------------------------------


def inputs_of(batches: Iterable[Batch]) -> pl.DataFrame:
    """One row an input of some batches (`INPUTS`), the newest of each name."""
    if isinstance(batches, Known):
        return batches.inputs
    rows = [row for b in batches for row in _rows(b, None, waits=False)]
    return _frame(rows).unique("name", keep="last", maintain_order=True)


def as_landed(batch: Batch, outcome: Outcome | None, *, waits: bool) -> Batch:
    """A batch whose inputs hold the state in which they were read, or ``waits`` where they were not."""
    if waits:
        return replace(batch, inputs=tuple(Input(i.name, {**i.detail, "waits": True}) for i in batch.inputs))
    states = {i.name: i.state for i in outcome.inputs} if outcome else {}
    return replace(batch, inputs=tuple(Input(i.name, {**i.detail, **states.get(i.name, {})}) for i in batch.inputs))


def _rows(batch: Batch, outcome: Outcome | None, *, waits: bool) -> list[tuple[Any, ...]]:
    if _is_again(outcome):
        return []
    failed = {i.name for i in outcome.inputs if i.failure} if outcome else set[str]()
    return [
        (
            i.name,
            *_look(i.detail),
            i.detail.get("sha256"),
            batch.seq,
            place,
            bool(i.detail.get("waits")),
            i.name in failed,
        )
        for place, i in enumerate(as_landed(batch, outcome, waits=waits).inputs)
    ]


def _look(detail: dict[str, Any]) -> tuple[int | None, str | None, str | None]:
    """What a listing tells of an input's content: size, time of change as text, etag."""
    return detail.get("size"), detail.get("modified"), detail.get("etag")


def _frame(rows: list[tuple[Any, ...]]) -> pl.DataFrame:
    schema = {**INPUTS, "modified": pl.String}
    return pl.DataFrame(rows, schema=schema, orient="row").with_columns(moment("modified"))


def moment(column: str) -> pl.Expr:
    """Times of change, which are text in a detail (ISO 8601, UTC), as microseconds since 1970."""
    text = pl.col(column).str.replace("Z", "+00:00", literal=True)
    at = text.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%:z", time_unit="us", time_zone="UTC", strict=False)
    return at.to_physical().alias(column)


def _is_again(outcome: Outcome | None) -> bool:
    return outcome is not None and outcome.dropped == ledger.AGAIN
