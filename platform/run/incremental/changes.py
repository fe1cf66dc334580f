"""What a producer changes in a table that stands: rows that come, and rows that go, so that files without either stay.

A producer may return it in place of all rows. Rows come in files of their own; a file is written again only for rows
that go. Small files are folded as those of facts that follow their person are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import polars as pl

from customer360.platform import tables
from customer360.platform.lake import BUCKET, Add, File, Lake
from customer360.platform.run.following import standing
from customer360.platform.run.units import MANY, conform_to_storage, folded, is_small, storage_order, write_output
from customer360.platform.sorting import in_order
from customer360.platform.tables import Table

ROWS = 8192  # of a file of a table without buckets


@dataclass(frozen=True)
class Changes:
    """`rows` come, and those at the places `gone` (whole numbers, each once) go. Places count through `files`, all that
    the table has, in their order. Without files the rows are all that the table will have. Rows of a table without
    buckets that is `parted` lie in files of `ROWS`, so that where very few go most files stay."""

    rows: pl.DataFrame
    files: Sequence[File] = ()
    gone: pl.Series = field(default_factory=lambda: pl.Series("place", [], pl.Int64))
    parted: bool = False

    def stays(self, stored: pl.DataFrame) -> pl.DataFrame:
        """Those of the stored rows, all of the files in their order, that do not go."""
        return stored.filter(_others(stored.height, self.gone))


def written(
    lake: Lake, table: type[Table], made: pl.LazyFrame | pl.DataFrame | Changes, partition: dict[str, str]
) -> list[Add]:
    """All files of a table, or of a partition of it, that a producer made whole, or changed; those that are there
    already are named as they are."""
    if isinstance(made, Changes):
        return _changed(lake, table, made)
    return write_output(lake, table, conform_to_storage(table, made.lazy(), partition), partition)


def _fresh(lake: Lake, table: type[Table], rows: pl.DataFrame, parted: bool) -> list[Add]:
    """Rows in files: one a bucket; without buckets one, or several."""
    if not parted or tables.spec(table).bucketed or rows.height < 2 * ROWS:
        return write_output(lake, table, rows, {})
    adds = [add for part in rows.iter_slices(ROWS) for add in write_output(lake, table, part, {})]
    # Files are named after their rows: parts that say the same would be one file.
    return adds if len({add.path for add in adds}) == len(adds) else write_output(lake, table, rows, {})


def _changed(lake: Lake, table: type[Table], made: Changes) -> list[Add]:
    by_bucket: dict[str | None, list[File | Add]] = {}
    touched = set()
    for file, gone in _gone_of(made):
        bucket = file.partition.get(BUCKET)
        by_bucket.setdefault(bucket, []).extend(_rest(lake, table, file, gone, made.parted))
        if gone.len():
            touched.add(bucket)
    for add in _fresh(lake, table, conform_to_storage(table, made.rows.lazy(), {}), made.parted):
        bucket = add.partition.get(BUCKET)
        by_bucket.setdefault(bucket, []).append(add)
        touched.add(bucket)
    found: list[File | Add] = []
    for bucket, files in by_bucket.items():
        if bucket not in touched or len(files) == 1:
            found += files
        elif made.parted and bucket is None:
            found += _folded(lake, table, files)
        else:
            found += folded(lake, table, files, {} if bucket is None else {BUCKET: bucket})
    return [file if isinstance(file, Add) else standing(file) for file in found]


def _folded(lake: Lake, table: type[Table], files: list[File | Add]) -> list[File | Add]:
    """Files of a parted table: all in one where it is small, small ones in larger where they are many."""
    is_one = is_small(sum(file.rows for file in files))
    small = [file for file in files if is_one or file.rows < ROWS // 2]
    if not is_one and len(small) <= MANY:
        return files
    name = tables.spec(table).name
    parts = [File(f.path, f.rows, f.size, f.partition) for f in sorted(small, key=lambda f: f.path)]
    rows = in_order(lake.scan(name, parts).collect(), storage_order(table))
    gone = {file.path for file in small}
    return [*(file for file in files if file.path not in gone), *_fresh(lake, table, rows, parted=True)]


def rows_at(lake: Lake, name: str, files: Sequence[File], places: pl.Series, columns: Sequence[str]) -> pl.DataFrame:
    """Columns of the rows at some places, in order of the places; files that hold none are not read."""
    found = [lake.scan(name, []).select(columns).collect()]
    for file, inside in _gone_of(Changes(found[0], files, places)):
        if inside.len():
            found.append(lake.scan(name, [file]).select(columns).collect()[inside])
    return pl.concat(found)


def _gone_of(changes: Changes) -> list[tuple[File, pl.Series]]:
    """Of each file the places in it that go."""
    gone, start, found = changes.gone.sort(), 0, []
    for file in changes.files:
        low, high = (int(gone.search_sorted(place)) for place in (start, start + file.rows))
        found.append((file, gone[low:high] - start))
        start += file.rows
    return found


def _rest(lake: Lake, table: type[Table], file: File, gone: pl.Series, parted: bool) -> Sequence[File | Add]:
    """A file without the rows at those places; as it is where there are none."""
    if gone.is_empty():
        return [file]
    if gone.len() == file.rows:
        return []
    name = tables.spec(table).name
    rows = lake.scan(name, [file]).collect().filter(_others(file.rows, gone))
    return [lake.write_file(name, rows, file.partition)] if file.partition else _fresh(lake, table, rows, parted)


def _others(rows: int, places: pl.Series) -> pl.Series:
    """Of so many rows, whether each is at none of the places."""
    return pl.repeat(True, rows, eager=True).scatter(places, False)
