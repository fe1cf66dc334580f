"""A folder of files: which are deliveries of one thing, and what is skipped and why. Nothing that lies there raises."""

from __future__ import annotations

import fnmatch
import io
import re
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path, PurePosixPath

import polars as pl

from customer360.platform.errors import TRANSIENT
from customer360.platform.sources import formats
from customer360.platform.sources.formats import excel
from customer360.platform.sources.formats.compressed import NO_MEMBERS, OFFICE, ZIP
from customer360.platform.sources.formats.options import Options
from customer360.platform.sources.formats.records import POSITION, Records, together
from customer360.platform.sources.landing import Landing, matcher
from customer360.platform.sources.profiling.columns import Column
from customer360.platform.sources.profiling.flat import Flat, elements, flat

ROWS = 20_000  # of one file that are looked at
PIECES = 64  # of one file that are read for them
READ_WHOLE = 3  # files of one kind whose first rows are looked at: the first, the last, one between
HEADERS = 200  # files of one kind whose header is looked at
BEGINNING = 1 << 16  # bytes in which a header stands
LARGEST_ARCHIVE = 1 << 29  # bytes; archives and workbooks are read as a whole
LOG = "_delta_log"
OURS = (LOG, ".git", "node_modules", "__pycache__", "__MACOSX")
LOCKS = ("~$", ".~", "._", ".")  # first signs of names that programs use for themselves
NO_DATA = (
    ".png .jpg .jpeg .gif .bmp .svg .webp .ico .tif .tiff .heic .pdf .doc .docx .ppt .pptx .md .rst .html .htm .css .js .py .ipynb .sql .sh .r "  # noqa: E501
    ".yaml .yml .toml .ini .cfg .lock .log .tmp .bak .swp .part .crdownload .exe .dll .so .mp3 .mp4 .mov .pbix .twb .twbx .license .java .cs"  # noqa: E501
).split()
VARYING = re.compile(
    r"(?i)(?<![a-z])(jan|feb|mar|apr|may|mai|jun|jul|aug|sep|oct|okt|nov|dec|dez)[a-z]*(?![a-z])|\d[\d._:T-]*\d|\d"
)


@dataclass(frozen=True)
class Skipped:
    """A file that gives no rows, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Place:
    """Where rows stand: a file, or one member of an archive, or one sheet of a workbook."""

    file: str
    members: str = "*"
    sheet: str = ""
    records: str = ""

    @property
    def name(self) -> str:
        """What tells of the content: the name of the sheet, of the member, else of the file."""
        return self.sheet or (self.members if self.members != "*" else self.file)

    @property
    def options(self) -> Options:
        return Options(members=self.members, sheet=self.sheet, records=self.records)


@dataclass(frozen=True, eq=False)
class Delivery:
    """Files with the same columns whose names differ in dates and numbers only.

    ``path`` is the glob that finds them and no other file; ``sample`` holds rows of some of them as they are read,
    ``looked_at`` how many files these are from. ``explode`` names a list inside of records whose
    elements are meant, ``shaped`` columns that somebody made of those of the files.
    """

    path: str
    place: Place
    files: tuple[str, ...]
    sample: pl.DataFrame
    looked_at: int
    whole: bool  # whether the sample holds all rows of all files
    notes: tuple[str, ...] = ()
    explode: str = ""
    shaped: Flat | None = None

    @cached_property
    def flat(self) -> Flat:
        """Columns with the values inside of objects by path; of the elements of a list where these are meant."""
        if self.shaped is not None:
            return self.shaped
        if self.explode:
            return elements(self.sample, self.explode, PurePosixPath(self.place.name).name.split(".")[0])
        return flat(self.sample)

    @property
    def columns(self) -> dict[str, Column]:
        return self.flat.columns

    @cached_property
    def frame(self) -> pl.DataFrame:
        """The columns side by side."""
        return self.flat.frame

    @property
    def rows(self) -> int:
        return self.sample.height

    @property
    def label(self) -> str:
        """What a person calls it: the files, the member or sheet, the list."""
        parts = [
            self.path,
            *([self.place.name] if self.place.name != self.place.file else []),
            *([self.explode] if self.explode else []),
        ]
        return ": ".join(parts)


@dataclass(frozen=True)
class Survey:
    """What lies in a folder."""

    deliveries: tuple[Delivery, ...]
    skipped: tuple[Skipped, ...]


def survey(landing: Landing) -> Survey:
    """Look at all files of a folder: the header of up to 200 files of one kind, the first rows of three of them.

    Raises:
        ConfigError: there is no such folder.
    """
    skipped: list[Skipped] = []
    names = _without_lakes([file.name for file in landing.find("*")])
    candidates = _without_copies(landing, [n for n in names if not _is_passed_over(landing, n, skipped)], skipped)
    places = [place for name in candidates for place in _places(landing, name, skipped)]
    kinds: dict[tuple[str, str, str], list[Place]] = {}
    for place in places:
        kinds.setdefault((_shape(place.file), _shape(place.members), place.sheet), []).append(place)
    found = [delivery for kind in kinds.values() for delivery in _deliveries(landing, kind, names, skipped)]
    return Survey(
        tuple(sorted(found, key=lambda d: (d.path, d.place.name, d.explode))),
        tuple(sorted(skipped, key=lambda s: s.name)),
    )


def _without_lakes(names: list[str]) -> list[str]:
    """Files without those of Delta tables, such as the lake of an earlier run."""
    tables = {name.partition(f"/{LOG}/")[0] + "/" for name in names if f"/{LOG}/" in name}
    return [name for name in names if not any(f"{parent}/" in tables for parent in PurePosixPath(name).parents)]


def _is_passed_over(landing: Landing, name: str, skipped: list[Skipped]) -> bool:
    """Whether a file is none of the data by its place, name or size."""
    path = PurePosixPath(name)
    if any(part in OURS or part.startswith(".") for part in path.parts[:-1]):
        return True
    reason = ""
    if path.name.startswith(LOCKS) or path.name.lower() in (
        "thumbs.db",
        "desktop.ini",
        "license",
        "readme",
        "readme.txt",
    ):
        reason = "a file that programs make for themselves"
    elif path.suffix.lower() in NO_DATA:
        reason = f"no table ({path.suffix.lower()})"
    else:
        state = landing.state_of(name)
        if state is None or not state.detail["size"]:
            reason = "empty"
    if not reason and not Path(landing.root, name).is_file():
        reason = "no file"
    if reason:
        skipped.append(Skipped(name, reason))
    return bool(reason)


def _without_copies(landing: Landing, names: list[str], skipped: list[Skipped]) -> list[str]:
    """Files without those whose bytes another one holds, which would count everything twice."""
    states = {name: landing.state_of(name) for name in names}
    sizes = Counter(state.detail["size"] for state in states.values() if state)
    first: dict[str, str] = {}
    for name, state in states.items():
        if state is None or sizes[state.detail["size"]] < 2:
            continue
        try:
            digest = landing.digest_of(name)
        except OSError:
            continue  # what cannot be opened is said when it is read
        if digest in first and _shape(first[digest]) != _shape(name):
            skipped.append(Skipped(name, f"the same content as {first[digest]}"))
        first.setdefault(digest, name)
    copies = {skip.name for skip in skipped}
    return [name for name in names if name not in copies]


def _places(landing: Landing, name: str, skipped: list[Skipped]) -> list[Place]:
    """The tables that a file holds: one, or those of the members of an archive, or of the sheets of a workbook."""
    try:
        head = landing.beginning_of(name, 8)
        if head.startswith(ZIP) or head.startswith(b"\xd0\xcf\x11\xe0"):
            if landing.state_of(name).detail["size"] > LARGEST_ARCHIVE:  # type: ignore[union-attr]
                skipped.append(Skipped(name, "an archive of more than 512 MiB: unpack it"))
                return []
            return _inside(name, landing.bytes_of(name), skipped)
    except (OSError, *TRANSIENT) as fault:
        skipped.append(Skipped(name, f"cannot be opened: {getattr(fault, 'strerror', None) or fault}"))
        return []
    return [Place(name)]


def _inside(name: str, data: bytes, skipped: list[Skipped]) -> list[Place]:
    members: list[str] = []
    if data.startswith(ZIP):
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                members = [entry.filename for entry in archive.infolist() if not entry.is_dir()]
        except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError) as fault:
            skipped.append(Skipped(name, f"damaged archive: {fault}"))
            return []
    if not data.startswith(ZIP) or OFFICE & set(members):
        sheets = excel.sheets(data)
        if len(sheets) < 2:
            return [Place(name)]
        return [Place(name, sheet=sheet) for sheet in sheets]
    wanted = [m for m in members if not any(fnmatch.fnmatchcase(m, no) for no in NO_MEMBERS)]
    tables = [m for m in wanted if PurePosixPath(m).suffix.lower() not in NO_DATA and not _is_hidden(m)]
    skipped += [Skipped(f"{name}: {m}", "no table") for m in members if m not in tables]
    shapes: dict[str, list[str]] = {}
    for member in tables:
        shapes.setdefault(_shape(member), []).append(member)
    if len(shapes) == 1 and len(tables) == len(members):
        return [Place(name)]
    return [Place(name, _glob(group, wanted) or group[0]) for group in shapes.values()]


def _is_hidden(name: str) -> bool:
    return PurePosixPath(name).name.startswith(LOCKS)


def _shape(name: str) -> str:
    """A name with what varies between deliveries of one thing left out."""
    path = PurePosixPath(name)
    return VARYING.sub("0", str(path))


def _glob(names: list[str], all_names: Iterable[str]) -> str:
    """A glob that matches these names and no others; empty where there is none."""
    if len(names) == 1:
        return _escaped(names[0])
    shapes = {VARYING.sub("\0", name) for name in names}
    pieces = next(iter(shapes)) if len(shapes) == 1 else ""
    wanted, others = set(names), set(all_names)
    for pattern in (re.sub("\0+", "*", _escaped(pieces)), *_wider(names)):
        matches = matcher(pattern)
        if pattern and {name for name in others if matches(name)} == wanted:
            return pattern
    return ""


def _escaped(name: str) -> str:
    return re.sub(r"([*?\[])", r"[\1]", name)


def _wider(names: list[str]) -> Iterator[str]:
    """Globs of the common beginning and end of names."""
    first, last = min(names), max(names)
    start = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))
    ends = [name[::-1] for name in names]
    low, high = min(ends), max(ends)
    same = next((i for i, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), len(low))
    yield f"{_escaped(first[:start])}*{_escaped(low[:same][::-1])}"


def _deliveries(landing: Landing, kind: list[Place], names: list[str], skipped: list[Skipped]) -> Iterator[Delivery]:
    """Places of one kind by their columns; what cannot be read is skipped with the reader's reason."""
    rows = _Rows(landing)
    headers: dict[tuple[str, ...], list[Place]] = {}
    for number, place in enumerate(kind):
        if number >= HEADERS:
            next(iter(headers.values()), kind[:0]).append(place)
            continue
        columns, reason = _header(landing, place, rows, many=len(kind) > READ_WHOLE)
        if reason:
            label = place.file if place.name == place.file else f"{place.file}: {place.name}"
            skipped.append(Skipped(label, reason))
        else:
            alike = next((known for known in headers if _are_alike(known, columns)), columns)
            headers.setdefault(alike, []).append(place)
    for places in headers.values():
        files = [place.file for place in places]
        path = _glob(files, names) if len(set(files)) > 1 else _escaped(files[0])
        groups = [(path, places)] if path else [(_escaped(place.file), [place]) for place in places]
        for glob, group in groups:
            if (delivery := _delivery(glob, group, rows)).rows:
                yield delivery
                yield from (replace(delivery, explode=name) for name in delivery.flat.lists)
            else:
                skipped.append(Skipped(glob, "a header and no rows" if delivery.sample.width else "no rows"))


def _are_alike(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether two headers are of the same thing: a column may have come or gone."""
    both = set(one) & set(other)
    return 2 * len(both) > max(len(one), len(other))


def _header(landing: Landing, place: Place, rows: _Rows, many: bool) -> tuple[tuple[str, ...], str]:
    """Columns of a place, or why it has none; of one file among many, from its beginning."""
    if many and place.members == "*" and not place.sheet:
        try:
            head = landing.beginning_of(place.file, BEGINNING)
            found = together(islice(formats.pieces(io.BytesIO(head), place.options, place.file), 1))
        except Exception:  # noqa: BLE001 - cut off in the middle: the whole file says what is wrong
            found = None
        if found is not None and found.frame.height:
            return tuple(found.frame.columns[1:]), ""
    first = rows.of(place)
    return tuple(first.frame.columns), first.reason


def _delivery(path: str, places: list[Place], rows: _Rows) -> Delivery:
    chosen = [places[i] for i in sorted({0, len(places) // 2, len(places) - 1})][:READ_WHOLE]
    found = [rows.of(place) for place in chosen]
    frames = [first.frame for first in found]
    if len({tuple(frame.schema.items()) for frame in frames}) > 1:
        frames = [frame.with_columns(pl.all().cast(pl.String)) for frame in frames]
    whole = len(chosen) == len(places) and all(first.is_whole for first in found)
    notes = tuple(dict.fromkeys(note for first in found for note in first.notes))
    files = tuple(place.file for place in places)
    return Delivery(path, places[0], files, pl.concat(frames, how="diagonal"), len(chosen), whole, notes)


@dataclass(frozen=True)
class _First:
    """First rows of a place, whether these are all, why there are none, and what the reader says."""

    frame: pl.DataFrame
    is_whole: bool = True
    reason: str = ""
    notes: tuple[str, ...] = ()  # for people, with what cannot be read


class _Rows:
    """First rows of places of one kind, each read once."""

    def __init__(self, landing: Landing) -> None:
        self._landing = landing
        self._found: dict[Place, _First] = {}

    def of(self, place: Place) -> _First:
        if place not in self._found:
            self._found[place] = _first_rows(self._landing, place)
        return self._found[place]


def _enough(pieces: Iterator[Records]) -> Iterator[Records]:
    """Pieces of a file until there are rows enough; some readers give a record or two at first."""
    rows = 0
    for piece in islice(pieces, PIECES):
        yield piece
        rows += piece.frame.height
        if rows >= ROWS:
            return


def _first_rows(landing: Landing, place: Place) -> _First:
    try:
        with landing.stream(place.file) as stream:
            pieces = formats.pieces(stream, place.options, place.file)
            taken = list(_enough(pieces))
            rows = together(taken)
            is_whole = rows.frame.height <= ROWS and next(pieces, None) is None
    except Exception as fault:  # noqa: BLE001 - whatever one file does, the others are looked at
        return _First(pl.DataFrame(), reason=f"cannot be read: {getattr(fault, 'strerror', None) or fault}")
    if not rows.frame.height and rows.dead.height:
        return _First(pl.DataFrame(), reason=str(rows.dead["reason"][0]))
    frame = rows.frame.drop(POSITION).head(ROWS)
    notes = rows.notes
    if rows.dead.height:
        notes = (f"{place.name}: {rows.dead.height:,} records cannot be read: {rows.dead['reason'][0]}", *notes)
    return _First(frame, is_whole, "" if frame.width else "empty", notes)
