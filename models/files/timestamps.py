"""Times of a log as files write them: timestamps, epochs, 19970131, ISO text, 31/12/2010, 12-Jan-1997, Jan 12, 1997."""

from collections.abc import Callable
from datetime import datetime
from typing import cast

import polars as pl

from customer360.platform.errors import SourceError

Tell = Callable[[str], None]

# Epochs differ by size: seconds until 5138, milliseconds, microseconds, nanoseconds.
EPOCHS = ((1e11, 1e6), (1e14, 1e3), (1e17, 1.0), (float("inf"), 1e-3))
LATEST = 2.5e17  # microseconds: beyond the year 9800 is no time
# Whole numbers between these are dates, 19970131, which the epoch has left since 1970, or dates with a time.
COMPACT, COMPACT_TIMES = (19_000_101, 22_001_231), (19_000_101_000_000, 22_001_231_235_959)
ISO_FORMS = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d")
ZONED_FORMS = ("%Y-%m-%d %H:%M:%S%.f%z", "%Y-%m-%d %H:%M%z")
ZONE = r"[+-]\d{2}:?\d{2}$"
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
CLOCK = (
    r"(?:(?:,|,?[ T]|:)\s*(?:at )?(?<hour>\d{1,2}):(?<minute>\d{2})(?::(?<second>\d{2})(?:[.,]\d+)?)?"
    r"\s*(?<half>[AaPp]\.?[Mm]\.?)?\s*(?<zone>[+-]\d{2}:?\d{2})?)?"
)
DAY_AND_MONTH = rf"^(?<one>\d{{1,2}})[./-](?<two>\d{{1,2}})[./-](?<year>\d{{4}}|\d{{2}}){CLOCK}$"
WEEKDAY, NAME = r"(?:(?i:mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,?\s+)?", rf"(?<month>(?i:{'|'.join(MONTHS)}))[a-z]*"
NAMED_FORMS = (
    rf"^{WEEKDAY}(?<day>\d{{1,2}})(?:st|nd|rd|th)?[\s./-]*(?:of )?{NAME}[\s.,/-]*(?<year>\d{{4}}|\d{{2}}){CLOCK}$",
    rf"^{WEEKDAY}{NAME}[\s./-]*(?<day>\d{{1,2}})(?:st|nd|rd|th)?(?:,\s*|[\s./-]+)(?<year>\d{{4}}){CLOCK}$",
    rf"^(?<year>\d{{4}})[\s./-]{NAME}[\s./-]*(?<day>\d{{1,2}}){CLOCK}$",
    rf"^{WEEKDAY}{NAME}\s+(?<day>\d{{1,2}})\s+(?<hour>\d{{1,2}}):(?<minute>\d{{2}}):(?<second>\d{{2}})"
    r"\s+(?<half>[AaPp][Mm])?\s*(?:UTC|GMT|(?<zone>[+-]\d{2}:?\d{2}))?\s*(?<year>\d{4})$",
)
YEAR_FIRST = rf"^(?<year>\d{{4}})[./-](?<month>\d{{1,2}})[./-](?<day>\d{{1,2}}){CLOCK}$"
PIVOT = 69  # years of two digits from here on are of the last century, as POSIX has it


def moment(text: str) -> datetime:
    """A date or time in any form that `read` knows, without zone UTC, as a naive UTC time. Raises SourceError for what
    is none, or where day and month could be either.
    """
    remarks: list[str] = []
    compact = text.strip().isdigit() and COMPACT[0] <= int(text) <= COMPACT[1]
    try:
        found = read(pl.Series([text], dtype=pl.String), repr(text), remarks.append).item()
    except SourceError:
        found = None
    if found is None or text.strip().startswith("-") or (compact and found.strftime("%Y%m%d") != text.strip()):
        raise SourceError(f"{text!r} is no date, no ISO timestamp and no epoch number")
    if remarks:
        raise SourceError(f"{text!r}: day and month could be either; write it as 2011-12-31")
    return cast("datetime", found)


def read(values: pl.Series, where: str, tell: Tell) -> pl.Series:
    """Naive UTC microseconds, null where no time can be read. `tell` gets a sentence where day and month could be
    either. Raises SourceError when no time can be read.
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


def _from_number(values: pl.Series) -> pl.Series:
    known = values.fill_nan(None).drop_nulls()
    for bounds, form in ((COMPACT, "%Y%m%d"), (COMPACT_TIMES, "%Y%m%d%H%M%S")):
        if len(known) > 0 and ((known % 1 == 0) & known.is_between(*bounds)).all():
            text = values.cast(pl.Int64, strict=False).cast(pl.String)
            dates = (
                text.str.to_date(form, strict=False) if form == "%Y%m%d" else text.str.to_datetime(form, strict=False)
            )
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
    iso = text.set(~text.str.contains(r"^\d{4}-"), None)
    parts = [_parsed(iso, form) for form in ISO_FORMS]
    if zoned.any():
        aware = [_parsed(iso, form, zone="UTC").dt.replace_time_zone(None) for form in ZONED_FORMS]
        parts = [*aware, *parts]
    found = _first(*parts)
    readers = (_dated, _named, lambda rest: _day_and_month(rest, where, tell))
    for reader in readers:
        if found.null_count() > values.null_count():
            found = _first(found, reader(text.set(found.is_not_null(), None)))
    return found


def _first(*parts: pl.Series) -> pl.Series:
    return pl.select(pl.coalesce(pl.lit(part) for part in parts)).to_series()


def _parsed(text: pl.Series, form: str, zone: str | None = None) -> pl.Series:
    return text.str.to_datetime(form, time_unit="us", strict=False, time_zone=zone)


def _dated(text: pl.Series) -> pl.Series:
    """`1997.01.12`, `1997-1-12 9:30 PM`, `19970112 101500`."""
    spread = text.str.replace(r"^(\d{4})(\d{2})(\d{2}) (\d{2}):?(\d{2})", "$1-$2-$3 $4:$5")
    text = spread.str.replace(r"^(\d{4}-\d{2}-\d{2} \d{2}:\d{2})(\d{2})", "$1:$2")
    return _composed(text.str.extract_groups(YEAR_FIRST).struct.unnest())


def _named(text: pl.Series) -> pl.Series:
    """Dates with an English name of the month."""
    number = {name: str(place) for place, name in enumerate(MONTHS, start=1)}
    found = []
    for form in NAMED_FORMS:
        part = text.str.extract_groups(form).struct.unnest()
        month = part["month"].str.to_lowercase().replace_strict(number, default=None, return_dtype=pl.String)
        found.append(_composed(part.with_columns(month=month)))
    return _first(*found)


def _day_and_month(text: pl.Series, where: str, tell: Tell) -> pl.Series:
    """Dates like 31/12/2010 8:26: what passes 12 is the day, what passes 31 the year. Where neither place ever does,
    points mean day first and other signs month first.
    """
    part = text.str.extract_groups(DAY_AND_MONTH).struct.unnest()
    one, two = (part[name].cast(pl.Int64, strict=False) for name in ("one", "two"))
    if part["one"].null_count() == len(part):
        return _composed(part.with_columns(month="one", day="two"))
    if int((one > 31).sum() or 0):  # 97-12-31
        return _composed(part.with_columns(year="one", month="two", day="year"))
    passes = [int((place > 12).sum() or 0) for place in (one, two)]
    day_first = passes[0] > passes[1]
    if passes == [0, 0]:
        day_first = bool(text.str.contains(r"^\d{1,2}\.").any())
        order, shown = "day first" if day_first else "month first", text.filter(part["one"].is_not_null()).first()
        tell(f"{where}: day and month could be either; read {order} ({shown!r}). ISO dates are safe")
    return _composed(part.rename({"one": "day", "two": "month"} if day_first else {"one": "month", "two": "day"}))


def _composed(part: pl.DataFrame) -> pl.Series:
    """UTC from texts `year`, `month`, `day` and, null where there is none, `hour`, `minute`, `second`, `half`, `zone`;
    null where these are no time.
    """
    year, hour = pl.col("year").cast(pl.Int64), pl.col("hour").cast(pl.Int64).fill_null(0)
    half = pl.col("half").str.to_lowercase().str.head(1)
    century = pl.when(pl.col("year").str.len_chars() == 4).then(0).when(year >= PIVOT).then(1900).otherwise(2000)
    clock = pl.when(half == "a").then(hour % 12).when(half == "p").then(hour % 12 + 12).otherwise(hour)
    fields = [
        pl.col("month"),
        pl.col("day"),
        clock.cast(pl.String),
        *(pl.col(n).fill_null("0") for n in ("minute", "second")),
    ]
    text = pl.format("{}-{}-{} {}:{}:{}", year + century, *(field.str.zfill(2) for field in fields))
    local = text.str.to_datetime("%Y-%m-%d %H:%M:%S", time_unit="us", strict=False)
    sign = pl.when(pl.col("zone").str.starts_with("-")).then(-1).otherwise(1)
    zone = (pl.col("zone").str.slice(1, 2).cast(pl.Int64) * 60 + pl.col("zone").str.tail(2).cast(pl.Int64)) * sign
    return part.select(at=local - pl.duration(minutes=zone.fill_null(0)))["at"]
