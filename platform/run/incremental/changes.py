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
from customer360.platform.run.units import conform_to_storage, folded, write_output
from customer360.platform.tables import Table


@dataclass(frozen=True)
class Changes:
    """`rows` come, and those at the places `gone` (whole numbers, each once) go. Places count through `files`, all that
    the table has, in their order. Without files the rows are all that the table will have."""

    rows: pl.DataFrame
    files: Sequence[File] = ()
    gone: pl.Series = field(default_factory=lambda: pl.Series("place", [], pl.Int64))


def written(
    lake: Lake, table: type[Table], made: pl.LazyFrame | pl.DataFrame | Changes, partition: dict[str, str]
) -> list[Add]:
    """All files of a table, or of a partition of it, that a producer made whole, or changed; those that are there
    already are named as they are."""
    if not isinstance(made, Changes):
        return write_output(lake, table, conform_to_storage(table, made.lazy(), partition), partition)
    by_bucket: dict[str | None, list[File | Add]] = {}
    touched = set()
    for file, gone in _gone_of(made):
        bucket = file.partition.get(BUCKET)
        by_bucket.setdefault(bucket, []).extend(_rest(lake, table, file, gone))
        if gone.len():
            touched.add(bucket)
    for add in write_output(lake, table, conform_to_storage(table, made.rows.lazy(), {}), {}):
        bucket = add.partition.get(BUCKET)
        by_bucket.setdefault(bucket, []).append(add)
        touched.add(bucket)
    found: list[File | Add] = []
    for bucket, files in by_bucket.items():
        own: dict[str, str | None] = {} if bucket is None else {BUCKET: bucket}
        found += folded(lake, table, files, own) if bucket in touched and len(files) > 1 else files
    return [file if isinstance(file, Add) else standing(file) for file in found]


def _gone_of(changes: Changes) -> list[tuple[File, pl.Series]]:
    """Of each file the places in it that go."""
    gone, start, found = changes.gone.sort(), 0, []
    for file in changes.files:
        low, high = (int(gone.search_sorted(place)) for place in (start, start + file.rows))
        found.append((file, gone[low:high] - start))
        start += file.rows
    return found


def _rest(lake: Lake, table: type[Table], file: File, gone: pl.Series) -> list[File | Add]:
    """A file without the rows at those places; as it is where there are none."""
    if gone.is_empty():
        return [file]
    if gone.len() == file.rows:
        return []
    name = tables.spec(table).name
    stays = pl.repeat(True, file.rows, eager=True).scatter(gone, False)
    return [lake.write_file(name, lake.scan(name, [file]).collect().filter(stays), file.partition)]
