"""Read an interaction file of any retailer: CSV (also gzipped), Parquet or JSON lines, to rows before one moment.

Columns `user`, `item`, `timestamp`, and where the file has them `session`, `quantity` and `item_text`. What cannot be used
is left out and counted. Identifiers come back as they were: text stays text; a CSV column of plain integers becomes
integers, as any reader would make it.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from customer360.platform.errors import SourceError

OPTIONAL = ("session", "quantity", "item_text")
PLAIN_INTEGER = r"^(0|-?[1-9][0-9]{0,17})$"
# Epochs are told apart by size: seconds until 5138, milliseconds, microseconds, nanoseconds.
EPOCHS = ((1e11, 1e6), (1e14, 1e3), (1e17, 1.0), (float("inf"), 1e-3))
LATEST = 2.5e17  # microseconds: beyond the year 9800 is no time


@dataclass(frozen=True)
class Interactions:
    """`rows` before the moment: `user`, `item`, `at` (UTC), and the optional columns that the file has; in file order of
    equal times. `spanning` are the sessions that have rows on both sides of the moment; nothing else is kept of later
    rows. `left_out` counts rows by reason.
    """

    rows: pl.DataFrame
    spanning: pl.Series
    left_out: dict[str, int]


def moment(text: str) -> datetime:
    """A date, an ISO timestamp (without zone: UTC) or an epoch number as a naive UTC time. Raises SourceError."""
    try:
        number = float(text)
    except ValueError:
        try:
            found = datetime.fromisoformat(text.strip().replace("Z", "+00:00"))
        except ValueError:
            raise SourceError(f"{text!r} is no date, no ISO timestamp and no epoch number") from None
        return found.astimezone(UTC).replace(tzinfo=None) if found.tzinfo else found
    try:
        if 0 < number < 1e8 and len(text.strip()) == 8:  # 20110911
            return datetime.strptime(text.strip(), "%Y%m%d")
        scale = next(scale for limit, scale in EPOCHS if 0 <= number < limit)
        return datetime.fromtimestamp(number * scale / 1e6, UTC).replace(tzinfo=None)
    except (ValueError, OverflowError, StopIteration):
        raise SourceError(f"{text!r} is no date, no ISO timestamp and no epoch number") from None


def column_names(text: str) -> dict[str, str]:
    """`user=CustomerID,item=StockCode` as a mapping. Raises SourceError for what is no pair or no column of ours."""
    known, names = ("user", "item", "timestamp", *OPTIONAL), {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        ours, _, theirs = part.partition("=")
        if not theirs or ours.strip() not in known:
            raise SourceError(f"--columns: {part!r} is not NAME=COLUMN with NAME one of {', '.join(known)}")
        names[ours.strip()] = theirs.strip()
    return names


def read(path: Path, as_of: datetime, names: dict[str, str], owners: tuple[str, ...] = ("user",)) -> Interactions:
    """Rows of a file before `as_of`. `names` maps our columns to those of the file where they differ; the first of
    `owners` that the file has is whose rows they are, and rows without it are left out.

    Raises:
        SourceError: the file is missing or of another kind, a needed column is missing (those found are listed), no time
            can be read, or nothing lies before the moment.
    """
    frame = _frame(path)
    there = (name for name in owners if names.get(name, name) in frame.columns)
    needed = (next(there, owners[0]), "item", "timestamp")
    frame = _named(frame, path, names, needed)
    rows = frame.with_columns(at=_times(frame["timestamp"], path)).drop("timestamp")
    left_out: dict[str, int] = {}

    def keep(reason: str, condition: pl.Expr, of: pl.DataFrame) -> pl.DataFrame:
        kept = of.filter(condition)
        if kept.height < of.height:
            left_out[reason] = of.height - kept.height
        return kept

    rows = keep("without a time", pl.col("at").is_not_null(), rows)
    for name in needed[:2]:
        rows = keep(f"without {name}", _present(rows, name), rows)
    if "quantity" in rows.columns:
        rows = rows.with_columns(pl.col("quantity").cast(pl.Float64, strict=False).fill_nan(None).fill_null(1.0))
        rows = keep("of quantity 0", pl.col("quantity") != 0, rows)
    later = rows.filter(pl.col("at") >= as_of)
    rows = keep(f"from {as_of} on", pl.col("at") < as_of, rows)
    if rows.is_empty():
        raise SourceError(f"{path}: no usable row before {as_of}; left out: {left_out or 'nothing, the file is empty'}")
    spanning = rows["item"].head(0)
    if "session" in rows.columns:
        spanning = rows.select("session").unique().join(later.select("session").unique(), on="session")["session"]
    equal = [name for name in ("session", "user", "item", "at", "quantity") if name in rows.columns]
    distinct = rows.unique(equal, maintain_order=True, keep="first")
    if distinct.height < rows.height:
        left_out["equal to another"] = rows.height - distinct.height
    return Interactions(distinct, spanning.sort(), left_out)


def without_returns(rows: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Mark purchases that were given back: a negative quantity takes from the latest earlier purchases of the same user
    and item. Returns the positive rows with `kept` (False where nothing is left of them), and the count of returned rows.
    """
    if "quantity" not in rows.columns:
        return rows.with_columns(kept=pl.lit(True)), 0
    pair, negative = ["user", "item"], rows.filter(pl.col("quantity") < 0)
    if negative.is_empty():
        return rows.with_columns(kept=pl.lit(True)), 0
    placed = rows.with_row_index("place")
    involved = placed.join(negative.select(pair).unique(), on=pair, how="semi").sort("user", "item", "at", "quantity")
    gone: list[int] = []
    open_rows: list[list[float]] = []  # [place, quantity left] of the pair at hand, the latest last
    last: tuple[object, object] | None = None
    for user, item, quantity, place in involved.select("user", "item", "quantity", "place").iter_rows():
        if (user, item) != last:
            open_rows, last = [], (user, item)
        if quantity > 0:
            open_rows.append([place, quantity])
            continue
        back = -quantity
        while back > 0 and open_rows:
            taken = min(back, open_rows[-1][1])
            open_rows[-1][1] -= taken
            back -= taken
            if open_rows[-1][1] <= 0:
                gone.append(int(open_rows.pop()[0]))
    returned = pl.Series(gone, dtype=pl.get_index_type()).implode()
    marked = placed.filter(pl.col("quantity") > 0).with_columns(kept=~pl.col("place").is_in(returned))
    return marked.drop("place"), len(gone)


def _frame(path: Path) -> pl.DataFrame:
    if not path.is_file():
        raise SourceError(f"{path}: no such file")
    name = path.name.lower().removesuffix(".gz")
    try:
        if name.endswith((".parquet", ".pq")):
            return pl.read_parquet(path)
        if name.endswith((".jsonl", ".ndjson", ".json")):
            return pl.read_ndjson(path, infer_schema_length=None)
        if name.endswith((".csv", ".tsv", ".txt", ".dat")):
            separator = "\t" if name.endswith(".tsv") else ","
            return pl.read_csv(path, infer_schema=False, separator=separator, encoding="utf8-lossy").with_columns(
                pl.all().replace("", None)
            )
    except (pl.exceptions.PolarsError, OSError) as fault:
        raise SourceError(f"{path} cannot be read: {fault}") from fault
    raise SourceError(f"{path}: give .csv, .csv.gz, .tsv, .parquet, .jsonl or .ndjson")


def _named(frame: pl.DataFrame, path: Path, names: dict[str, str], needed: tuple[str, ...]) -> pl.DataFrame:
    """Our columns alone, under our names; identifiers in their plain type."""
    wanted = {ours: names.get(ours, ours) for ours in ("user", "item", "timestamp", *OPTIONAL)}
    missing = [f"{ours} (looked for {theirs!r})" if ours in names else ours for ours, theirs in wanted.items()
               if theirs not in frame.columns and (ours in needed or ours in names)]  # fmt: skip
    if missing:
        raise SourceError(
            f"{path} lacks {', '.join(missing)}; its columns are {frame.columns}. "
            "Name yours with --columns, for example --columns user=CustomerID,item=StockCode,timestamp=InvoiceDate"
        )
    there = {ours: theirs for ours, theirs in wanted.items() if theirs in frame.columns}
    chosen = frame.select(**{ours: pl.col(theirs) for ours, theirs in there.items()})
    identifiers = [name for name in ("user", "item", "session") if name in chosen.columns]
    return chosen.with_columns(_plain(chosen[name]) for name in identifiers)


def _plain(values: pl.Series) -> pl.Series:
    if values.dtype.is_float() and (values.drop_nulls().drop_nans() % 1 == 0).all():
        return values.fill_nan(None).cast(pl.Int64)  # an integer column with gaps, as pandas writes it
    if values.dtype in (pl.Categorical, pl.Enum):
        return values.cast(pl.String)
    if values.dtype != pl.String:
        return values
    integers = values.str.contains(PLAIN_INTEGER)
    return values.cast(pl.Int64) if integers.all() and integers.null_count() < len(integers) else values


def _present(rows: pl.DataFrame, name: str) -> pl.Expr:
    there = pl.col(name).is_not_null()
    return there & (pl.col(name).str.strip_chars() != "") if rows.schema[name] == pl.String else there


def _times(values: pl.Series, path: Path) -> pl.Series:
    """Naive UTC microseconds, null where no time can be read. Raises SourceError when none can."""
    if values.dtype == pl.Date:
        found = values.cast(pl.Datetime("us"))
    elif isinstance(values.dtype, pl.Datetime):
        utc = values.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if values.dtype.time_zone else values
        found = utc.cast(pl.Datetime("us"))
    elif values.dtype.is_numeric():
        found = _from_epoch(values.cast(pl.Float64))
    else:
        found = _from_text(values.cast(pl.String))
    if len(found) and found.null_count() == len(found):
        raise SourceError(
            f"{path}: no time can be read from timestamp, for example {values.drop_nulls().head(3).to_list()}"
        )
    return found


def _from_epoch(values: pl.Series) -> pl.Series:
    """The unit is that of the middle value, so that a single absurd one decides nothing; absurd ones are null."""
    usual = values.fill_nan(None).abs().median()
    scale = next((s for limit, s in EPOCHS if not isinstance(usual, int | float) or usual < limit), EPOCHS[-1][1])
    micro = values * scale
    return (
        pl.select(pl.when(micro.is_finite() & (micro.abs() < LATEST)).then(micro))
        .to_series()
        .round(0)
        .cast(pl.Int64)
        .cast(pl.Datetime("us"))
    )


def _from_text(values: pl.Series) -> pl.Series:
    """ISO in any of its usual forms, else an epoch; a form that reads nothing costs one look at the first rows."""
    numbers = values.cast(pl.Float64, strict=False)
    if numbers.null_count() == values.null_count():
        return _from_epoch(numbers)
    text = values.str.strip_chars().str.replace("Z$", "+00:00").str.replace("T", " ", literal=True)
    zoned = text.str.contains(r"[+-]\d{2}:?\d{2}$") & (text.str.len_chars() > 10)
    naive = pl.select(
        pl.coalesce(
            pl.lit(text).str.to_datetime(form, time_unit="us", strict=False)
            for form in ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d")
        )
    ).to_series()  # fmt: skip
    if not zoned.any():
        return naive
    aware = text.str.to_datetime("%Y-%m-%d %H:%M:%S%.f%z", time_unit="us", strict=False, time_zone="UTC")
    return pl.select(pl.coalesce(pl.lit(aware).dt.replace_time_zone(None), pl.lit(naive))).to_series()
