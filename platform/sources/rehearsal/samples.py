"""The first rows of what waits at a source, mapped, cast and judged as a run would, and written nowhere."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any

import dataframely as dy
import polars as pl

from customer360.platform import judging, tables
from customer360.platform.errors import ConfigError, SourceError
from customer360.platform.judging import Verdict
from customer360.platform.ledger import Input
from customer360.platform.sources import formats
from customer360.platform.sources.base import Source
from customer360.platform.sources.bronze import failure_text
from customer360.platform.sources.cards import cleared, cleared_fit, cleared_text, may_bring_cards
from customer360.platform.sources.casting import DELETED, Fitted, fit, spared_rows
from customer360.platform.sources.files import Files
from customer360.platform.sources.formats.records import POSITION, Records, together
from customer360.platform.sources.landing import Landing
from customer360.platform.sources.mapping.numbering import Numbering
from customer360.platform.sources.stated import deletion_faults, mapping_of, marking, unmapped
from customer360.platform.sources.values import Reading
from customer360.platform.tables import Table

ROWS, FEWEST = 10_000, 2_000  # of a file that are judged: the first if its source has few new files, the other if many
ROWS_OF_A_SOURCE = 60_000
JUDGED = 25  # files of a source whose rows are judged: spread over all, the first and the last among them
HEADERS = 10_000  # files of a source whose columns are looked at
KEYS = 200_000  # rows of a file whose keys are read, where another source refers to them
HEAD = 1 << 16  # bytes of a text that its columns are read from
FILE = "_file"


@dataclass(frozen=True)
class Waiting:
    """A source with what waits at it: its new inputs, how its values are read, and the facts of its last batch."""

    name: str
    source: Source
    inputs: tuple[Input, ...]
    reading: Reading = field(default_factory=Reading)
    facts: dict[str, Any] = field(default_factory=dict)
    landed: tuple[Input, ...] = ()  # inputs of its batches, with the state in which they were read
    refuse: tuple[str, ...] = ()  # optional columns of which a broken value refuses the row

    @property
    def table(self) -> type[Table]:
        return tables.by_name(self.source.table)


@dataclass(frozen=True)
class Look:
    """One new file: its columns, and where it was judged its first rows.

    ``failure``: why the whole file would be one dead letter. ``fitted`` are the rows as they would land, ``texts`` the
    same before they are cast, ``verdict`` what the contract says of them.
    """

    name: str
    columns: tuple[str, ...]
    keyed: bool = False
    records: pl.DataFrame = field(default_factory=pl.DataFrame)
    dead: pl.DataFrame = field(default_factory=pl.DataFrame)
    is_judged: bool = False
    is_whole: bool = False  # no row lies behind those that were judged
    failure: str = ""
    lacks: bool = False  # the failure is about its columns
    only_deletions: bool = False  # nothing beside the key is asked of its columns
    fitted: Fitted | None = None
    texts: pl.DataFrame | None = None
    verdict: Verdict | None = None

    @property
    def read(self) -> int:
        """Records looked at, readable or not."""
        return self.records.height + self.dead.height

    @property
    def refused(self) -> int:
        """Rows that would be quarantined."""
        return self.verdict.failures[tables.ROW].n_unique() if self.verdict else 0


@dataclass(frozen=True)
class Sample:
    """What was looked at of a source."""

    waiting: Waiting
    landing: Landing
    looks: tuple[Look, ...]
    limit: int = ROWS  # rows of a file that were judged at most

    @property
    def name(self) -> str:
        return self.waiting.name

    @property
    def source(self) -> Source:
        return self.waiting.source

    @property
    def table(self) -> type[Table]:
        return self.waiting.table

    @property
    def judged(self) -> list[Look]:
        """Files whose rows were mapped and cast."""
        return [look for look in self.looks if look.fitted is not None]

    @property
    def is_whole(self) -> bool:
        """Whether every row that waits was judged."""
        return len(self.looks) == len(self.waiting.inputs) and all(look.is_whole for look in self.looks)

    @cached_property
    def rows(self) -> pl.DataFrame:
        """Typed rows of all judged files, with their ``_file``, without deletions, which may hold their key alone."""
        found = [(look, look.fitted.frame) for look in self.judged if look.fitted]
        frames = [f.filter(_stands(look)).with_columns(pl.lit(look.name).alias(FILE)) for look, f in found]
        return pl.concat(frames) if frames else pl.DataFrame()

    @cached_property
    def texts(self) -> pl.DataFrame:
        """The values of `rows` as text before they were cast."""
        none = pl.DataFrame(schema=dict.fromkeys(self.table.columns(), pl.String))
        return pl.concat([none, *(look.texts.filter(_stands(look)) for look in self.judged if look.texts is not None)])

    @cached_property
    def height(self) -> int:
        """How many rows the judged files would land, deletions among them."""
        return sum(look.fitted.frame.height for look in self.judged if look.fitted)

    def said(self, column: str) -> str:
        """A contract column with the expression that it is mapped to."""
        text = self.source.mapping.get(column)
        return f"{column} ({text})" if text and text != column else column


def _stands(look: Look) -> pl.Series:
    """Whether a row of a judged file is no deletion."""
    assert look.fitted is not None
    frame = look.fitted.frame
    if DELETED not in frame.columns:
        return pl.Series([True]).new_from_index(0, frame.height)
    return ~frame[DELETED].fill_null(value=False)


Read = dict[tuple[Any, ...], tuple[Records, bool]]  # first records by file and reader, as several sources read one file


def sampled(landing: Landing, waiting: Waiting, read: Read) -> Sample:
    """Look at what waits at a source. ``read`` keeps what was read for sources after it."""
    inputs = waiting.inputs
    judged = set(_spread(len(inputs), JUDGED))
    headers = judged | set(_spread(len(inputs), HEADERS))
    rows = min(ROWS, max(FEWEST, ROWS_OF_A_SOURCE // max(len(judged), 1)))
    looks = []
    for place, piece in enumerate(inputs):
        if place in judged:
            looks.append(_judged(landing, waiting, piece, rows, read))
        elif place in headers:
            looks.append(_headed(landing, waiting, piece))
    return Sample(waiting, landing, tuple(looks), rows)


def _spread(count: int, limit: int) -> list[int]:
    if count <= limit:
        return list(range(count))
    return [round(place * (count - 1) / (limit - 1)) for place in range(limit)]


def _headed(landing: Landing, waiting: Waiting, piece: Input) -> Look:
    """A file by its columns alone: of a text its first bytes are read, of others their first piece."""
    source = waiting.source
    try:
        if isinstance(source, Files):
            head = landing.beginning_of(piece.name, HEAD)
            first = next(cleared(source, formats.pieces(io.BytesIO(head), source.options, piece.name)), None)
            if first is not None and first.frame.width > 1 and not first.keyed:
                alone = _key_faults(landing, waiting, first) is not None
                return Look(piece.name, _columns(first), only_deletions=alone)
        first = next(cleared(source, source.pieces(landing, piece)), None)
    except (SourceError, OSError) as fault:
        return Look(piece.name, (), failure=cleared_text(source, failure_text(fault)))
    if first is None:
        return Look(piece.name, ())
    alone = _key_faults(landing, waiting, first) is not None
    return Look(piece.name, _columns(first), first.keyed, failure=_whole_failure(first), only_deletions=alone)


def _key_faults(landing: Landing, waiting: Waiting, records: Records) -> list[str] | None:
    """As `deletion_faults`."""
    columns, reading = list(_columns(records)), waiting.reading
    return deletion_faults(waiting.source, columns, records.frame, landing, reading, keyed=records.keyed)


def _columns(records: Records) -> tuple[str, ...]:
    return tuple(c for c in records.frame.columns if c != POSITION)


def _whole_failure(records: Records) -> str:
    whole = records.dead.filter(pl.col(POSITION) == 0)["reason"].to_list()
    return str(whole[0]) if whole and not records.frame.height else ""


def _judged(landing: Landing, waiting: Waiting, piece: Input, rows: int, read: Read) -> Look:
    source, table = waiting.source, waiting.table
    try:
        cards = tuple(source.card_free) if may_bring_cards(source) else None
        known = (type(source), piece.name, json.dumps(source.reader_options(), sort_keys=True), rows, cards)
        if known not in read or not isinstance(source, Files):
            read[known] = first_records(landing, source, piece, rows)
        records, is_whole = read[known]
    except Exception as fault:  # noqa: BLE001 - a file that cannot be read is what a rehearsal is for
        return Look(piece.name, (), is_judged=True, failure=cleared_text(source, failure_text(fault)))
    columns = _columns(records)
    look = Look(piece.name, columns, records.keyed, records.frame, records.dead, True, is_whole)
    if (failure := _whole_failure(records)) or not columns:
        return replace(look, failure=failure)
    try:
        faults = unmapped(source, list(columns), records.frame, landing, keyed=records.keyed)
        of_key = _key_faults(landing, waiting, records)
        faults = faults if of_key is None else of_key
        look = replace(look, only_deletions=of_key is not None)
    except ConfigError as fault:
        faults = [failure_text(fault)]
    if faults:
        return replace(look, failure="; ".join(faults), lacks=True)
    try:
        fitted = _fitted(landing, waiting, records)
    except BaseException as fault:  # a panic of Polars is no Exception
        if not isinstance(fault, Exception) and type(fault).__name__ != "PanicException":
            raise
        return replace(look, failure=cleared_text(source, failure_text(fault)))
    return replace(
        look,
        fitted=fitted,
        texts=_texts(records.frame, waiting, landing),
        verdict=_verdict(table, fitted.frame, waiting.refuse),
    )


def _verdict(table: type[Table], frame: pl.DataFrame, refuse: tuple[str, ...] = ()) -> Verdict:
    """What the contract says of rows; of deletions it asks the key alone."""
    verdict = judging.judge(table, frame, refuse=refuse)
    if DELETED not in frame.columns:
        return verdict
    stands = ~pl.col(tables.ROW).is_in(spared_rows(frame, table, frame[DELETED]).implode())
    return replace(verdict, failures=verdict.failures.filter(stands), nulled=verdict.nulled.filter(stands))


def first_records(landing: Landing, source: Source, piece: Input, rows: int) -> tuple[Records, bool]:
    """The first records of an input, and whether these are all. Raises as the source's ``read``."""
    found: list[Records] = []
    count = 0
    pieces = cleared(source, source.pieces(landing, piece))
    for records in pieces:
        found.append(records)
        count += records.count
        if count > rows:
            break
    everything = together(found)
    if everything.count <= rows:
        return everything, True
    places = pl.concat([everything.frame[POSITION], everything.dead[POSITION]]).sort()
    kept = pl.col(POSITION) <= places[rows - 1]
    cut = Records(everything.frame.filter(kept), everything.dead.filter(kept), keyed=everything.keyed)
    return cut, False


def _fitted(landing: Landing, waiting: Waiting, records: Records) -> Fitted:
    """Records of a file from its beginning as a run lands them, lines without numbers numbered."""
    source, table = waiting.source, waiting.table
    mapping = mapping_of(source, landing) if source.group_by else marking(source, landing)
    fitted = cleared_fit(source, fit(records.frame, table, mapping, waiting.reading))
    if source.group_by:
        return fitted
    return replace(fitted, frame=Numbering().filled(table, fitted.frame, [*_columns(records), *source.mapping]))


def _texts(records: pl.DataFrame, waiting: Waiting, landing: Landing) -> pl.DataFrame:
    """What the mapping makes of records, every column as text."""
    table = _untyped(waiting.table)  # type: ignore[arg-type]  # a class is hashable
    reading = Reading(words=waiting.reading.words)
    return fit(records, table, mapping_of(waiting.source, landing), reading).frame.select(list(table.columns()))


@cache
def _untyped(table: type[Table]) -> type[Table]:
    """A contract of the same columns that takes any text: what it is given is what the mapping made."""
    columns = {name: dy.String(nullable=True, alias=name) for name in table.columns()}
    found: type[Table] = type(f"{table.__name__}Texts", (Table,), {**columns, "__c360__": tables.spec(table)})
    return found


def key_frame(landing: Landing, waiting: Waiting, looks: Sequence[Look]) -> tuple[pl.DataFrame, bool]:
    """The keys that wait at a source, read further than its rows are judged, and whether these are all of them."""
    key = list(tables.spec(waiting.table).key)
    judged = {look.name: look for look in looks if look.fitted is not None}
    frames, is_all = [pl.DataFrame(schema=dict.fromkeys(key, pl.String))], True
    for piece in waiting.inputs:
        look = judged.get(piece.name)
        if look is None or look.fitted is None:
            is_all = False
            continue
        frame = look.fitted.frame
        if not look.is_whole and not waiting.source.group_by:
            records, whole = first_records(landing, waiting.source, piece, KEYS)
            frame = _fitted(landing, waiting, records).frame
            is_all = is_all and whole
        else:
            is_all = is_all and look.is_whole
        frames.append(frame.select(pl.col(key).cast(pl.String)))
    return pl.concat(frames).unique(maintain_order=True), is_all
