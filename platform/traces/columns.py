"""Columns of a Parquet file as the search looks at them: only those that may tell somebody, each value of a dictionary
once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
import polars as pl
import pyarrow as pa
from pyarrow import parquet

SMALLEST = 1_000_000  # of numbers that may tell somebody: seven digits
_ROWS = 250_000  # that are looked at together
_NUMBERS = ("INT32", "INT64", "FLOAT", "DOUBLE")
_LISTS = (pa.ListArray, pa.LargeListArray, pa.FixedSizeListArray, pa.ListViewArray, pa.LargeListViewArray)
_KINDS = (
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_fixed_size_binary,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_decimal,
    pa.types.is_temporal,
    pa.types.is_boolean,
    pa.types.is_null,
)
_PARTING = b"<" * 8  # in no value, and no blank
_REPEATED = 6  # bytes a value, stored: fewer, and most values stand in a dictionary


def batches(data: bytes) -> Iterator[pa.RecordBatch]:
    """Rows of a file, without the columns that hold dates, truth or small numbers alone. Raises pyarrow's errors."""
    source = pa.BufferReader(data)
    plain = parquet.ParquetFile(source)
    small, repeated = _small_and_repeated(plain.metadata)
    wanted = [f.name for f in plain.schema_arrow if _may_tell(f.type) and f.name not in small]
    if wanted:
        file = parquet.ParquetFile(source, metadata=plain.metadata, read_dictionary=sorted(repeated))
        yield from file.iter_batches(_ROWS, columns=wanted)
        yield from _dictionaries(source, plain.metadata, repeated, wanted)


def _dictionaries(
    source: pa.BufferReader, metadata: parquet.FileMetaData, known: set[str], wanted: list[str]
) -> Iterator[pa.RecordBatch]:
    """One row of each group with the dictionaries, all of them, of texts that are read without: they may hold values
    that no row has."""
    for group in range(metadata.num_row_groups):
        chunks = [metadata.row_group(group).column(at) for at in range(metadata.num_columns)]
        paths = {c.path_in_schema for c in chunks if c.has_dictionary_page and c.physical_type == "BYTE_ARRAY"} - known
        held = [name for name in wanted if any(path == name or path.startswith(f"{name}.") for path in paths)]
        if held:
            file = parquet.ParquetFile(source, metadata=metadata, read_dictionary=sorted(paths))
            yield from islice(file.iter_batches(1, row_groups=[group], columns=held), 1)


def outside(data: bytes) -> bytes:
    """Bytes of a file that no batch decompresses: headers, footer, what lies between; all, where it cannot be read."""
    try:
        metadata = parquet.ParquetFile(pa.BufferReader(data)).metadata
    except (pa.ArrowException, OSError):
        return data
    kept, at = [], 0
    for start, end in sorted(_compressed(metadata)):
        kept.append(data[at:start])
        at = max(at, end)
    return b"".join([*kept, data[at:]])


def _compressed(metadata: parquet.FileMetaData) -> Iterator[tuple[int, int]]:
    """Where the compressed chunks of a file lie."""
    for group in range(metadata.num_row_groups):
        for at in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(at)
            if chunk.compression != "UNCOMPRESSED":
                first = chunk.dictionary_page_offset if chunk.has_dictionary_page else chunk.data_page_offset
                yield first, first + chunk.total_compressed_size


def joined(leaves: Iterable[pa.Array]) -> bytes:
    """The bytes of all texts among some leaves, one behind the other."""
    return _PARTING.join(map(_buffer, filter(is_text, leaves)))


def is_text(leaf: pa.Array) -> bool:
    return bool(pa.types.is_string(leaf.type) or pa.types.is_large_string(leaf.type))


def leaves(column: pa.Array) -> Iterator[pa.Array]:
    """What is within lists, structs, maps and dictionaries, each field by itself; a column that is not nested, itself.
    Every value is in it at least once, a text or a decimal too long for Polars as a text. Raises TypeError for what is
    of no known kind."""
    if isinstance(column, pa.ExtensionArray):
        yield from leaves(column.storage)
    elif isinstance(column, pa.DictionaryArray):
        yield from leaves(column.dictionary)
    elif isinstance(column, pa.StructArray):
        for at in range(column.type.num_fields):
            yield from leaves(column.field(at))
    elif isinstance(column, pa.MapArray):
        yield from leaves(column.keys)
        yield from leaves(column.items)
    elif isinstance(column, _LISTS):
        yield from leaves(column.values)
    elif pa.types.is_string_view(column.type) or pa.types.is_decimal256(column.type):
        yield column.cast(pa.large_string())
    elif pa.types.is_binary_view(column.type):
        yield column.cast(pa.large_binary())
    elif any(is_kind(column.type) for is_kind in _KINDS):
        yield column
    else:
        raise TypeError(f"a column of {column.type}")


def _buffer(texts: pa.Array) -> bytes:
    if not len(texts):
        return b""
    _, offsets, data = texts.buffers()
    kind = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    bounds = np.frombuffer(offsets, kind)
    return bytes(memoryview(data)[bounds[texts.offset] : bounds[texts.offset + len(texts)]]) if data else b""


def values(column: pa.Array) -> pl.Series:
    """The values of a column, at least once each, nulls left out or not."""
    held = column.dictionary if isinstance(column, pa.DictionaryArray) else column
    if isinstance(held, pa.ExtensionArray):
        held = held.storage
    if pa.types.is_decimal256(held.type):
        held = held.cast(pa.string())
    return pl.Series("", pl.from_arrow(held))


def whole(column: pa.Array) -> pl.Series:
    """A column of texts, row by row."""
    found = pl.Series("", pl.from_arrow(column))
    return found.cast(pl.String)


def numbers(column: pl.Series) -> pl.Series:
    """Whole numbers of at least seven digits, without sign, as 64 bits hold them; of floats and decimals those without
    a fraction."""
    large = column.filter((column.cast(pl.Float64).abs() >= SMALLEST).fill_null(False))
    cut = large.cast(pl.Int64, strict=False)
    if not column.dtype.is_integer():
        cut = cut.filter((cut.cast(column.dtype, strict=False) == large).fill_null(False))
    return cut.drop_nulls().abs()


def _may_tell(dtype: pa.DataType) -> bool:
    return not (pa.types.is_temporal(dtype) or pa.types.is_boolean(dtype) or pa.types.is_null(dtype))


def _small_and_repeated(metadata: parquet.FileMetaData) -> tuple[set[str], set[str]]:
    """Columns of numbers of which each is too small to tell anybody, as their bounds say; and columns of texts that are
    stored as a dictionary of few values: to make one of others costs more."""
    small, repeated, others = set[str](), set[str](), set[str]()
    for group in range(metadata.num_row_groups):
        for at in range(metadata.num_columns):
            chunk = metadata.row_group(group).column(at)
            if chunk.physical_type in _NUMBERS and _is_small(chunk.statistics):
                small.add(chunk.path_in_schema)
            elif chunk.has_dictionary_page and chunk.total_uncompressed_size < _REPEATED * chunk.num_values:
                repeated.add(chunk.path_in_schema)
            else:
                others.add(chunk.path_in_schema)
    return small - repeated - others, repeated - small - others


def _is_small(bounds: parquet.Statistics | None) -> bool:
    if bounds is None or not bounds.has_min_max:
        return False
    least, most = bounds.min, bounds.max  # as they are meant: raw, a large number without a sign is a negative one
    if not isinstance(least, int | float) or not isinstance(most, int | float):
        least, most = bounds.min_raw, bounds.max_raw
    return bool(least > -SMALLEST and most < SMALLEST)
