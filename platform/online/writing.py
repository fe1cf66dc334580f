"""How a generation is written: beside the others, durably, and put into service as a whole."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, date, datetime
from pathlib import Path

import lmdb
import polars as pl

from customer360.platform.errors import LakeError
from customer360.platform.lake import reached
from customer360.platform.online import files
from customer360.platform.online.files import Generation, Unsound
from customer360.platform.online.reading import MAX_ADDRESS, address

FIRST_MAP_BYTES = 64 << 20  # doubled whenever it is full
MADE_OF = "made_of.json"  # beside the data: what it was made of, in words of who published it
WHOLE = 2  # whole generations that stay beside those that change the newest: where one is damaged, another answers

Pairs = list[tuple[bytes, bytes]]


def write(
    home: Path,
    fill: Callable[[Path], Mapping[str, int]],
    *,
    as_of: date,
    sources: Mapping[str, int],
    keep: int,
    base: str | None = None,
    made_of: str = "",
) -> Generation:
    """Put a generation into service whose data a function writes to a folder; it returns documents by kind."""
    published_at = datetime.now(UTC)
    identifier = published_at.strftime("%Y%m%dT%H%M%S%fZ")
    partial = files.folder_of(home, f".{identifier}")
    partial.mkdir()
    counts = dict(fill(partial))
    if made_of:
        files.write_durably(partial / MADE_OF, made_of)
    written = [files.DATA, *([MADE_OF] if made_of else [])]
    checked = {name: files.fingerprint(partial / name) for name in written}
    form = files.FORMAT if base is None else files.LAYERED
    generation = Generation(identifier, published_at, as_of, counts, dict(sources), checked, form, base)
    files.write_manifest(partial, generation)
    files.sync_folder(partial)
    partial.rename(files.folder_of(home, identifier))
    files.sync_folder(home / "generations")
    reached("before publication")
    files.point(home, identifier)
    reached("after publication")
    _prune(home, keep)
    return generation


def fill(folder: Path, batches: Iterable[Pairs]) -> None:
    """Load batches into a new LMDB file and make it durable once, at the end."""
    with writable(folder) as environment:
        for batch in batches:
            added = put(environment, batch, overwrite=False)
            if added < len(batch):
                raise LakeError(f"{len(batch) - added} of {len(batch)} documents have a key that was published before")
        environment.sync(True)


def put(environment: lmdb.Environment, batch: Pairs, *, overwrite: bool) -> int:
    """Keys put by one transaction; a full map aborts it, is doubled, and the whole batch is put again."""
    while True:
        try:
            with environment.begin(write=True) as transaction:
                return int(transaction.cursor().putmulti(batch, overwrite=overwrite)[1])
        except lmdb.MapFullError:
            environment.set_mapsize(2 * environment.info()["map_size"])


def writable(folder: Path) -> lmdb.Environment:
    """The data of a generation that is being written; who writes makes it durable at the end."""
    data = folder / files.DATA
    room = max(FIRST_MAP_BYTES, 2 * data.stat().st_size if data.exists() else 0)
    return lmdb.open(str(folder), map_size=room, sync=False, metasync=False, lock=False, mode=0o600)


def pairs_of(frame: pl.DataFrame) -> Pairs:
    """Addresses and encoded documents of a frame (kind, key, document)."""
    place = pl.concat_str("kind", pl.lit("\0"), "key")
    frame = frame.select(
        "kind", "key", "document", address=place.cast(pl.Binary), long=place.str.len_bytes() > MAX_ADDRESS
    )
    short, long = frame.filter(~pl.col("long")), frame.filter("long")
    pairs = list(zip(short["address"].to_list(), short["document"].cast(pl.Binary).to_list(), strict=True))
    # Keys this long are dirt of a source: rare enough to be hashed one by one.
    return pairs + [
        (address(kind, key), text.encode()) for kind, key, text in long.select("kind", "key", "document").iter_rows()
    ]


def _prune(home: Path, keep: int) -> None:
    """Of more than one that is to stay, the newest whole ones stay beside. What goes is renamed first, newest before
    the ones it may change: half of it is never taken for a generation, and whoever publishes next removes it."""
    stored = sorted(f.name for f in (home / "generations").iterdir() if not f.name.startswith("."))
    stays = {*stored[-keep:], files.pointer(home)}
    bases = {name: _base_of(files.folder_of(home, name)) for name in stored}
    if keep > 1:
        stays |= set([name for name, base in bases.items() if base is None][-WHOLE:])
    stays |= {bases[name] for name in stored if name in stays}
    gone = sorted(set(stored) - stays, reverse=True)
    for identifier in gone:
        files.folder_of(home, identifier).rename(files.folder_of(home, f".{identifier}"))
    for identifier in gone:
        shutil.rmtree(files.folder_of(home, f".{identifier}"))


def _base_of(folder: Path) -> str | None:
    """The base of a generation, or "" where nobody can tell it: neither is it whole."""
    try:
        return files.read_manifest(folder).base
    except Unsound:
        return ""
