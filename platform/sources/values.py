"""One value of a file as the contract's type: the reader of every kind of column.

A value that is none of its type is null here; `casting` keeps its text. The same data reads alike whatever the format:
only numbers become numbers and only instants become instants without a look at their text.
"""

from __future__ import annotations

import polars as pl

from customer360.platform.settings import Frozen
from customer360.platform.tables import READS, Column

# What exports write for "nothing". In names of people only DUMPED counts: Null is a surname.
NULLS = ("null", "(null)", "<null>", "\\n", "n/a", "na", "#n/a", "<na>", "nan", "nat", "none", "nil", "-", "--", "?")
DUMPED = ("\\N", "#N/A", "<NA>", "(null)", "<null>")
DATETIME_FORMATS = (
    "%Y-%m-%dT%H:%M:%S%.f",
    "%Y-%m-%d %H:%M:%S%.f",
    "%Y-%m-%dT%H:%M:%S%.f%#z",
    "%Y-%m-%d %H:%M:%S%.f%#z",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%dT%H:%M",
    "%Y-%m-%d",
)
TRUE, FALSE = ("true", "t", "1", "y", "yes"), ("false", "f", "0", "n", "no")
BLANKS = "[\\s\u00a0\u200b\ufeff]+"


class Reading(Frozen):
    """How a source's values are to be read."""

    nulls: tuple[str, ...] = NULLS  # in lower case; read as null in every column but names of people
    nulls_of_names: tuple[str, ...] = DUMPED  # as they are written; read as null in names of people as well


def known(values: pl.Series, column: Column, reading: Reading) -> pl.Series:
    """The values with null where the text stands for nothing. NA is no null where it may be Namibia."""
    if values.dtype != pl.String:
        return values.fill_nan(None) if values.dtype.is_float() and column.dtype == pl.String else values
    metadata = column.metadata or {}
    text = values.str.strip_chars()
    nothing = text.is_in(["", *reading.nulls_of_names])
    if metadata.get("pii") != "name":
        words = [w for w in reading.nulls if not (w == "na" and metadata.get(READS) == "country")]
        nothing |= text.str.to_lowercase().is_in(words)
    return values.set(nothing.fill_null(False), None) if nothing.any() else values


def read(values: pl.Series, column: Column, reading: Reading) -> pl.Series:
    """Values as the column's type, null where they do not fit."""
    have, to = values.dtype, column.dtype
    if (column.metadata or {}).get(READS) == "id":
        return identifiers(values)
    if have == to or to == pl.String:
        return values.cast(to, strict=False)
    if isinstance(have, pl.Datetime) and to.is_temporal():
        return _as_utc(values).cast(to)
    if have == pl.Date and to.is_temporal():
        return _as_utc(values.cast(pl.Datetime("us"))).cast(to)
    if have.is_numeric() and to.is_numeric():
        whole = pl.select(pl.when(values == values.floor()).then(values)).to_series() if to.is_integer() else values
        return whole.cast(to, strict=False)
    return _from_text(values.cast(pl.String).str.strip_chars(), to)


def identifiers(values: pl.Series) -> pl.Series:
    """Identifiers as text that joins: blanks around them are gone, leading zeros and case stay, and 17850.0 is 17850.

    Programs that hold a column of whole numbers with gaps as floats write it so; the fraction .0 is no part of an id.
    """
    if values.dtype.is_float():
        whole = values.is_finite() & (values == values.floor()) & (values.abs() < 2.0**63)
        number = pl.when(whole).then(values).cast(pl.Int64, strict=False).cast(pl.String)
        return (
            pl.select(pl.coalesce(number, pl.lit(values.fill_nan(None).cast(pl.String)))).to_series().alias(values.name)
        )
    text = values.cast(pl.String, strict=False)
    text = text.str.replace(f"^{BLANKS}", "").str.replace(f"{BLANKS}$", "")
    return text.str.replace(r"^(-?\d+)\.0$", "$1").replace("", None)


def _from_text(values: pl.Series, to: pl.DataType) -> pl.Series:
    if isinstance(to, pl.Datetime):
        return _parse_datetime(values)
    if to == pl.Date:
        dates = values.str.to_date("%Y-%m-%d", strict=False)
        return dates if dates.null_count() == values.null_count() else _parse_datetime(values).dt.date()
    if to == pl.Boolean:
        lower = values.str.to_lowercase().str.replace(r"\.0+$", "")
        return pl.select(pl.when(lower.is_in(TRUE)).then(True).when(lower.is_in(FALSE)).then(False)).to_series()
    cast = values.cast(to, strict=False)
    if to.is_integer() and cast.null_count() > values.null_count():
        return values.str.replace(r"\.0+$", "").cast(to, strict=False)
    return cast


def _as_utc(values: pl.Series) -> pl.Series:
    zone = values.dtype.time_zone if isinstance(values.dtype, pl.Datetime) else None
    return values.dt.convert_time_zone("UTC") if zone else values.dt.replace_time_zone("UTC")


def _parse_datetime(values: pl.Series) -> pl.Series:
    """ISO text to UTC instants; each further format is tried only on what the ones before left."""
    parsed = pl.Series(values.name, [None], pl.Datetime("us", "UTC")).new_from_index(0, len(values))
    for form in DATETIME_FORMATS:
        if parsed.null_count() == values.null_count():
            break
        rest = (
            values
            if parsed.null_count() == len(values)
            else pl.select(pl.when(parsed.is_null()).then(values)).to_series()
        )
        if form == "%Y-%m-%d":
            tried = _as_utc(rest.str.to_date(form, strict=False).cast(pl.Datetime("us")))
        else:
            tried = _as_utc(rest.str.to_datetime(form, strict=False, time_unit="us"))
        parsed = pl.select(pl.coalesce(parsed, tried)).to_series()
    return parsed.alias(values.name)
