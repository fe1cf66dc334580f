"""Fit records to a bronze contract: map columns, cast values, rescue what does not fit.

A value that does not cast, and every file column that no contract column carries over verbatim, stays as original text
in ``_rescued`` (a JSON object) beside a null. Empty text is null, whatever the format.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from customer360.platform import tables
from customer360.platform.errors import ConfigError
from customer360.platform.sources.formats.records import POSITION
from customer360.platform.tables import Table

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


@dataclass(frozen=True)
class Mapping:
    """How a file's columns become contract columns.

    ``columns`` maps a contract column to a SQL expression over the file's columns; contract columns that are not
    named are taken from the file's column of the same name. ``group_by`` file columns make it an aggregation. Records that the
    condition ``where`` does not hold for are left out and counted.
    """

    columns: dict[str, str]
    group_by: tuple[str, ...] = ()
    where: str = ""

    def expressions(self) -> dict[str, pl.Expr]:
        """Parsed expressions by contract column.

        Raises:
            ConfigError: an expression is no SQL; all faulty ones are named.
        """
        parsed, faults = {}, []
        for target, text in self.columns.items():
            try:
                parsed[target] = pl.sql_expr(text)
            except pl.exceptions.PolarsError as fault:
                faults.append(f"  {target}: {text!r}: {str(fault).splitlines()[0]}")
        if faults:
            raise ConfigError("faulty mapping expressions:\n" + "\n".join(faults))
        return parsed

    def faults(self, table: type[Table], file_columns: list[str]) -> list[str]:
        """What is wrong with this mapping for files with these columns; empty when nothing is."""
        expressions, contract = self.expressions(), table.columns()
        found = [
            f"mapping names {c!r}, which is no column of {tables.spec(table).name}"
            for c in expressions
            if c not in contract
        ]
        for target, expression in expressions.items():
            absent = [c for c in expression.meta.root_names() if c not in file_columns]
            if absent:
                found.append(f"{target} needs file column(s) {absent}, the file has {file_columns}")
        found += [f"group_by names {c!r}, which the file lacks" for c in self.group_by if c not in file_columns]
        reached = set(expressions) | (set(file_columns) if not self.group_by else set())
        found += [
            f"required column {c} is not reached" for c, d in contract.items() if not d.nullable and c not in reached
        ]
        return found


@dataclass(frozen=True)
class Fitted:
    """``frame``: contract columns typed, then ``_rescued`` and ``_position``; ``collapsed``: records merged into others;
    ``left_out``: records that are not this source's."""

    frame: pl.DataFrame
    collapsed: int
    left_out: int = 0


def fit(records: pl.DataFrame, table: type[Table], mapping: Mapping) -> Fitted:
    """Map and cast one file's records. ``records`` holds ``_position`` and the file's columns."""
    everything = records.height
    if mapping.where:
        records = records.with_columns(pl.col(pl.String).replace("", None)).filter(pl.sql_expr(mapping.where))
    mapped, verbatim = _map(records, table, mapping)
    casts = {c: _cast(mapped[c], t) for c, t in _types(table).items() if c in mapped.columns}
    failed = {c: mapped[c].cast(pl.String) for c, cast in casts.items() if cast.null_count() > mapped[c].null_count()}
    left_over = [] if mapping.group_by else [c for c in records.columns if c not in verbatim and c != POSITION]
    # A file column that has a contract column's name but was mapped elsewhere must not read as that column's failed cast.
    kept = records.select(pl.col(c).alias(f"file:{c}" if c in table.columns() else c) for c in left_over)
    kept = pl.DataFrame([*kept, *(_rounded(mapped, casts) if not mapping.group_by else [])])
    rescued = _rescue(mapped.height, failed, casts, kept)
    columns = [
        casts.get(c, pl.Series(c, [None], t).new_from_index(0, mapped.height)).alias(c)
        for c, t in _types(table).items()
    ]
    return Fitted(
        pl.DataFrame([*columns, rescued, mapped[POSITION]]), records.height - mapped.height, everything - records.height
    )


def _rounded(mapped: pl.DataFrame, casts: dict[str, pl.Series]) -> list[pl.Series]:
    """Original text of amounts that lost digits in the cast, as ``file:COLUMN``: rounded, not refused, and not forgotten."""
    found = []
    for column, cast in casts.items():
        if isinstance(cast.dtype, pl.Decimal) and mapped[column].dtype == pl.String:
            longer = mapped[column].str.contains(rf"\.\d{{{cast.dtype.scale}}}0*[1-9]")
            if longer.any():
                found.append(mapped.select(pl.when(longer).then(column)).to_series().alias(f"file:{column}"))
    return found


def _types(table: type[Table]) -> dict[str, pl.DataType]:
    return {name: column.dtype for name, column in table.columns().items()}


def _map(records: pl.DataFrame, table: type[Table], mapping: Mapping) -> tuple[pl.DataFrame, set[str]]:
    """The records under contract names, and which file columns some contract column carries over verbatim."""
    text = records.with_columns(pl.col(pl.String).replace("", None))
    expressions = mapping.expressions()
    usable = {t: e for t, e in expressions.items() if set(e.meta.root_names()) <= set(records.columns)}
    if mapping.group_by:
        grouped = text.group_by(list(mapping.group_by), maintain_order=True).agg(
            *(
                (e.first() if set(e.meta.root_names()) <= set(mapping.group_by) else e).alias(f"={t}")
                for t, e in usable.items()
            ),
            pl.col(POSITION).min(),
        )
        plural = [t for t in usable if isinstance(grouped.schema[f"={t}"], pl.List)]
        if plural:
            raise ConfigError(
                f"group_by needs one value a group, these expressions do not aggregate: { {t: mapping.columns[t] for t in plural} }"
            )
        return grouped.select(*(pl.col(f"={t}").alias(t) for t in usable), POSITION), set()
    same = [c for c in table.columns() if c in records.columns and c not in expressions]
    verbatim = set(same) | {e.meta.root_names()[0] for e in usable.values() if e.meta.is_column()}
    return text.select(*same, *(e.alias(t) for t, e in usable.items()), POSITION), verbatim


def _cast(values: pl.Series, to: pl.DataType) -> pl.Series:
    """Values as ``to``, null where they do not fit. The same data casts alike whatever the format: only numbers become
    numbers and only instants become instants without a look at their text."""
    have = values.dtype
    if have == to or to == pl.String:
        return values.cast(to, strict=False)
    if isinstance(have, pl.Datetime) and to.is_temporal():
        return _as_utc(values).cast(to)
    if have == pl.Date and to.is_temporal():
        return _as_utc(values.cast(pl.Datetime("us"))).cast(to)
    if have.is_numeric() and to.is_numeric():
        whole = pl.select(pl.when(values == values.floor()).then(values)).to_series() if to.is_integer() else values
        return whole.cast(to, strict=False)
    return _cast_text(values.cast(pl.String).str.strip_chars(), to)


def _cast_text(values: pl.Series, to: pl.DataType) -> pl.Series:
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


def _rescue(
    height: int, failed: dict[str, pl.Series], casts: dict[str, pl.Series], left_over: pl.DataFrame
) -> pl.Series:
    """JSON text per row of what did not fit, null where everything did."""
    parts = {c: pl.select(pl.when(casts[c].is_null()).then(text)).to_series().alias(c) for c, text in failed.items()}
    parts |= {
        c: left_over[c].cast(pl.String, strict=False).replace("", None) for c in left_over.columns if c not in parts
    }
    parts = {c: s for c, s in parts.items() if s.null_count() < height}
    if not parts:
        return pl.Series("_rescued", [None], pl.String).new_from_index(0, height)
    frame = pl.DataFrame([s.alias(c) for c, s in parts.items()]).with_row_index("i")
    # One small object per value, joined: a row keeps only the keys that it really has.
    pairs = frame.unpivot(index="i", variable_name="k", value_name="v").filter(pl.col("v").is_not_null())
    objects = pairs.group_by("i").agg(
        pl.concat_str(pl.struct(pl.col("k")).struct.json_encode().str.slice(5).str.head(-1), pl.lit(":"),
                      pl.struct(pl.col("v")).struct.json_encode().str.slice(5).str.head(-1)).str.join(",").alias("o")
    )  # fmt: skip
    joined = frame.select("i").join(objects, on="i", how="left", maintain_order="left")["o"]
    return ("{" + joined + "}").alias("_rescued")
