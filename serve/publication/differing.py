"""Whose rows differ between two states of a table, to the bit: what is equal, and written otherwise, differs."""

from __future__ import annotations

import polars as pl
from polars.datatypes import DataTypeClass

_N = "_n"  # of a row among those of its subject
_BEFORE = "_before "


def differing(before: pl.DataFrame, after: pl.DataFrame, key: str) -> pl.Series:
    """Keys of rows that are new, gone, other or in another order, unique; rows without a key are of nobody."""
    before, after = (rows.filter(pl.col(key).is_not_null()) for rows in (before, after))
    if before[key].equals(after[key]):
        return after[key].filter(_rows_differ(before.drop(key), after.drop(key))).unique()
    first, second = _numbered(before, key), _numbered(after, key)
    both = first.with_row_index("i").join(second.with_row_index("j"), on=[key, _N])
    lone = [one.join(other, on=[key, _N], how="anti")[key] for one, other in ((first, second), (second, first))]
    paired = differing(before[both["i"]], after[both["j"]], key)
    return pl.concat([*lone, paired]).unique()


def _numbered(rows: pl.DataFrame, key: str) -> pl.DataFrame:
    return rows.select(key, pl.int_range(pl.len(), dtype=pl.UInt32).over(key).alias(_N))


def _rows_differ(before: pl.DataFrame, after: pl.DataFrame) -> pl.Series:
    nested = [name for name, kind in after.schema.items() if kind.is_nested() and _has_floats(kind)]
    plain = {name: kind for name, kind in after.schema.items() if name not in nested}
    found = pl.repeat(False, after.height, eager=True)
    if plain:  # at once: a column of a few rows takes longer to ask for than to compare
        both = before.select(pl.col(list(plain)).name.prefix(_BEFORE)).hstack(after.select(list(plain)))
        pairs = [(pl.col(_BEFORE + name), pl.col(name), kind) for name, kind in plain.items()]
        others = [_bits(first, kind).ne_missing(_bits(second, kind)) for first, second, kind in pairs]
        found = both.select(pl.any_horizontal(others)).to_series()
    for name in nested:
        found |= _differ(before[name], after[name])
    return found


def _bits(column: pl.Expr, kind: pl.DataType) -> pl.Expr:
    """A column by what is stored of it: 0.0 and -0.0 are two texts."""
    if isinstance(kind, pl.Float64 | pl.Float32):
        return column.reinterpret(dtype=pl.UInt64 if isinstance(kind, pl.Float64) else pl.UInt32)
    return column


def _differ(before: pl.Series, after: pl.Series) -> pl.Series:
    """Place by place. Floats are compared as they are stored, since 0.0 and -0.0 are two texts."""
    kind = after.dtype
    if isinstance(kind, pl.Float64 | pl.Float32):
        bits = pl.UInt64 if isinstance(kind, pl.Float64) else pl.UInt32
        return before.reinterpret(dtype=bits).ne_missing(after.reinterpret(dtype=bits))
    if isinstance(kind, pl.Struct) and _has_floats(kind):
        found = before.is_null() != after.is_null()
        for name in after.struct.fields:
            found |= _differ(before.struct.field(name), after.struct.field(name))
        return found
    if isinstance(kind, pl.List) and _has_floats(kind):
        return _lists_differ(before, after)
    return before.ne_missing(after)


def _lists_differ(before: pl.Series, after: pl.Series) -> pl.Series:
    lengths = after.list.len()
    found = before.list.len().ne_missing(lengths)
    alike = (~found & (lengths > 0).fill_null(False)).arg_true()
    if alike.is_empty():
        return found
    within = _differ(before.gather(alike).explode(), after.gather(alike).explode())
    rows = pl.DataFrame({"row": alike, "n": lengths.gather(alike)}).select(pl.col("row").repeat_by("n").explode())
    return found.scatter(rows["row"].filter(within).unique(), True)


def _has_floats(kind: pl.DataType | DataTypeClass) -> bool:
    if isinstance(kind, pl.Struct):
        return any(_has_floats(field.dtype) for field in kind.fields)
    if isinstance(kind, pl.List):
        return _has_floats(kind.inner)
    return kind.is_float()
