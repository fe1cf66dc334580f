"""Times of a log as files write them: timestamps, dates, epochs, numbers like 19970131, ISO text, day-first dates."""

from collections.abc import Callable
from datetime import UTC, datetime

import polars as pl

from customer360.platform.errors import SourceError

Tell = Callable[[str], None]

# Epochs are told apart by size: seconds until 5138, milliseconds, microseconds, nanoseconds.
EPOCHS = ((1e11, 1e6), (1e14, 1e3), (1e17, 1.0), (float("inf"), 1e-3))
LATEST = 2.5e17  # microseconds: beyond the year 9800 is no time
COMPACT = (
    19_000_101,
    22_001_231,
)  # whole numbers between these are dates: 19970131; the epoch has left them since 1970
ISO_FORMS = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d")
ZONED_FORMS = ("%Y-%m-%d %H:%M:%S%.f%z", "%Y-%m-%d %H:%M%z")
ZONE = r"[+-]\d{2}:?\d{2}$"
DAY_AND_MONTH = (
    r"^(?<one>\d{1,2})[./-](?<two>\d{1,2})[./-](?<year>\d{4})"
    r"(?:[ T]+(?<hour>\d{1,2}):(?<minute>\d{2})(?::(?<second>\d{2})(?:\.\d+)?)?\s*(?<half>[AaPp][Mm])?)?$"
)


def moment(text: str) -> datetime:
    """A date, an ISO timestamp (without zone: UTC) or an epoch number as a naive UTC time. Raises SourceError."""
    try:
        number = float(text)
    except ValueError:
        try:
            found = datetime.fromisoformat(text.strip().replace("Z", "+00:00").replace("/", "-"))
        except ValueError:
            raise _no_moment(text) from None
        return found.astimezone(UTC).replace(tzinfo=None) if found.tzinfo else found
    try:
        if len(text.strip()) == 8 and COMPACT[0] <= number <= COMPACT[1]:
            return datetime.strptime(text.strip(), "%Y%m%d")
        scale = next(scale for limit, scale in EPOCHS if 0 <= number < limit)
        return datetime.fromtimestamp(number * scale / 1e6, UTC).replace(tzinfo=None)
    except (ValueError, OverflowError, StopIteration):
        raise _no_moment(text) from None


def read(values: pl.Series, where: str, tell: Tell) -> pl.Series:
    """Naive UTC microseconds, null where no time can be read. `tell` gets a sentence where day and month could be either.
    Raises SourceError when no time can be read.
    """
    if values.dtype == pl.Date:
        found = values.cast(pl.Datetime("us"))
    elif isinstance(values.dtype, pl.Datetime):
        utc = values.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if values.dtype.time_zone else values
        found = utc.cast(pl.Datetime("us"))
    elif values.dtype.is_numeric():
        found = _from_number(values.cast(pl.Float64))
    else:
        found = _from_text(values.cast(pl.String), where, tell)
    if len(found) and found.null_count() == len(found):
        shown = values.drop_nulls().head(3).to_list()
        raise SourceError(f"{where}: no time can be read, for example {shown}; give ISO times, dates or epochs")
    return found


def _no_moment(text: str) -> SourceError:
    return SourceError(f"{text!r} is no date, no ISO timestamp and no epoch number")


def _from_number(values: pl.Series) -> pl.Series:
    known = values.fill_nan(None).drop_nulls()
    whole = len(known) > 0 and ((known % 1 == 0) & known.is_between(*COMPACT)).all()
    if whole:
        dates = values.cast(pl.Int64, strict=False).cast(pl.String).str.to_date("%Y%m%d", strict=False)
        if dates.null_count() < len(dates):
            return dates.cast(pl.Datetime("us"))
    return _from_epoch(values)


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


def _from_text(values: pl.Series, where: str, tell: Tell) -> pl.Series:
    """ISO in any of its usual forms, else a number, else day and month in either order."""
    text = values.str.strip_chars()
    numbers = text.cast(pl.Float64, strict=False)
    if numbers.null_count() == values.null_count() and len(numbers) > numbers.null_count():
        return _from_number(numbers)
    text = text.str.replace(r"(?i)(Z| ?UTC| ?GMT)$", "+00:00").str.replace(r"(\d)T(\d)", "$1 $2")
    text = text.str.replace(r"^(\d{4})/(\d{1,2})/(\d{1,2})", "$1-$2-$3")
    zoned = text.str.contains(ZONE) & (text.str.len_chars() > 10)
    parts = [_parsed(text, form) for form in ISO_FORMS]
    if zoned.any():
        aware = [_parsed(text, form, zone="UTC").dt.replace_time_zone(None) for form in ZONED_FORMS]
        parts = [*aware, *parts]
    found = pl.select(pl.coalesce(pl.lit(part) for part in parts)).to_series()
    if found.null_count() > values.null_count() and text.str.contains(DAY_AND_MONTH).any():
        other = _day_and_month(text, where, tell)
        found = pl.select(pl.coalesce(pl.lit(found), pl.lit(other))).to_series()
    return found


def _parsed(text: pl.Series, form: str, zone: str | None = None) -> pl.Series:
    return text.str.to_datetime(form, time_unit="us", strict=False, time_zone=zone)


def _day_and_month(text: pl.Series, where: str, tell: Tell) -> pl.Series:
    """Dates like 31/12/2010 8:26: what passes 12 is the day. Where neither place ever does, points mean day first and
    other signs month first.
    """
    part = text.str.extract_groups(DAY_AND_MONTH).struct.unnest()
    number = {
        name: part[name].cast(pl.Int64, strict=False) for name in ("one", "two", "year", "hour", "minute", "second")
    }
    passes = {name: int((number[name] > 12).sum() or 0) for name in ("one", "two")}
    day_first = passes["one"] > passes["two"]
    if passes["one"] == passes["two"] == 0:
        day_first = bool(text.str.contains(r"^\d{1,2}\.").any())
        order = "day first" if day_first else "month first"
        tell(
            f"{where}: day and month could be either; read {order} ({text.drop_nulls().first()!r}). ISO dates are safe"
        )
    day, month = ("one", "two") if day_first else ("two", "one")
    half = part["half"].str.to_lowercase()
    clock = number["hour"].fill_null(0)
    clock = pl.select(
        pl.when(half == "am").then(clock % 12).when(half == "pm").then(clock % 12 + 12).otherwise(clock)
    ).to_series()
    iso = pl.select(
        pl.format(
            "{}-{}-{} {}:{}:{}", number["year"], *(number[n].cast(pl.String).str.zfill(2) for n in (month, day)),
            *(n.fill_null(0).cast(pl.String).str.zfill(2) for n in (clock, number["minute"], number["second"])),
        )
    ).to_series()  # fmt: skip
    return iso.str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="us", strict=False)
