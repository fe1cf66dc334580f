"""Times as files write them: timestamps, epochs, 19970131, ISO text, 31/12/2010, 12-Jan-1997, Jan 12, 1997.

A time without an offset is one of the zone that the reader is asked for, UTC where it is not. One that a change of the
clock leaves out is read with the offset before the change; one that it brings twice is the first.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Literal, cast

import numpy as np
import polars as pl

from customer360.platform.errors import SourceError
from customer360.platform.sources.values import textbytes

Tell = Callable[[str], None]
Order = Literal["day_first", "month_first"]

# Epochs are told apart by size: seconds until 5138, milliseconds, microseconds, nanoseconds.
EPOCHS = ((1e11, 1e6), (1e14, 1e3), (1e17, 1.0), (float("inf"), 1e-3))
LATEST = 2.5e17  # microseconds: beyond the year 9800 is no time
# Whole numbers between these are dates, 19970131, which the epoch has left since 1970, or dates with a time.
COMPACT, COMPACT_TIMES = (19_000_101, 22_001_231), (19_000_101_000_000, 22_001_231_235_959)
# Days since the end of 1899, as spreadsheets store times: 1982 to 2064. As epochs all would lie in one day of 1970.
SHEET_DAYS, SHEET_BEGIN = (30_000, 60_000), datetime(1899, 12, 30)
ISO_FORMS = ("%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d")
ZONED_FORMS = ("%Y-%m-%d %H:%M:%S%.f%z", "%Y-%m-%d %H:%M%z")
ISO_LENGTHS = (10, 16, 19, 21, 22, 23, 24, 25, 26)  # of a date, with minutes, with seconds, with a fraction
SECONDS_A_DAY = 86_400
_LAST_OF_CALENDAR = 9999  # 9999-12-31 says "for ever", and no day comes after it
FARTHEST = 14  # hours that a zone lies from UTC
ZONE = r"[+-]\d{2}:?\d{2}$"
# Names of zones that stand for one offset (RFC 2822, and those of central Europe); others are no time.
OFFSETS = {"EST": "-0500", "EDT": "-0400", "CST": "-0600", "CDT": "-0500", "MST": "-0700", "MDT": "-0600", "PST": "-0800",  # noqa: E501
           "PDT": "-0700", "CET": "+0100", "CEST": "+0200", "EET": "+0200", "EEST": "+0300", "WET": "+0000"}  # fmt: skip  # noqa: E501
LAST_MIDNIGHT = r"(\d )24(:00(?::00(?:\.0+)?)?)"  # the end of a day is the beginning of the next
SENSIBLE = (datetime(1990, 1, 1), datetime(2100, 1, 1))  # an epoch whose unit is told by a column lies here
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
# Times as Oracle and DB2 write them (10-JUN-26 10.30.00.000000 AM, 2026-06-10-10.30.00.000000), those of JavaScript
# (Wed Jun 10 2026 10:30:00 GMT+0200 (Central European Summer Time)), and plainer.
OF_PROGRAMS = (
    (r"^(\d{1,2}-[A-Za-z]{3}-\d{2,4}|\d{4}-\d{2}-\d{2})[ -](\d{1,2})\.(\d{2})\.(\d{2})\b", "$1 $2:$3:$4"),
    (r"(\d{2}) GMT([+-]\d{4})(?: \([^)]*\))?$", "$1$2"),
)
OF_DOTNET = r"^/Date\((-?\d+)(?:[+-]\d{4})?\)/$"  # milliseconds; the offset is that of the clock it was written by
# The name of a zone in brackets behind what says it: +02:00[Europe/Paris], +02[Europe/Paris], CEST[Europe/Paris].
NAMED_ZONE = rf"(Z|[A-Z]{{3,4}}|{ZONE[:-1]}|:\d{{2}}(?:[.,]\d+)?[+-]\d{{2}})\[[\w/+-]+\]$"
UTC_ZONE = r"(:\d{2}(?:[.,]\d+)?)\[(?:(?:Etc/)?(?:UTC|GMT)|Z)\]$"  # a name that is an offset itself
PIVOT = 69  # years of two digits from here on are of the last century, as POSIX has it


def moment(text: str) -> datetime:
    """A date or time in any form that `read` knows, without zone UTC, as a naive UTC time. Raises SourceError for what
    is none, or where day and month could be either.
    """
    told: list[str] = []
    compact = text.strip().isdigit() and COMPACT[0] <= int(text) <= COMPACT[1]
    try:
        found = read(pl.Series([text], dtype=pl.String), repr(text), told.append).item()
    except SourceError:
        found = None
    if found is None or text.strip().startswith("-") or (compact and found.strftime("%Y%m%d") != text.strip()):
        raise SourceError(f"{text!r} is no date, no ISO timestamp and no epoch number")
    if told:
        raise SourceError(f"{text!r}: day and month could be either; write it as 2011-12-31")
    return cast("datetime", found)


def read(values: pl.Series, where: str, tell: Tell, order: Order | None = None, zone: str | None = None) -> pl.Series:
    """Naive UTC microseconds, null where no time can be read; see `parsed`. Raises SourceError when no time can be
    read.
    """
    found = parsed(values, where, tell, order, zone)
    if len(found) and found.null_count() == len(found):
        shown = values.drop_nulls().head(3).to_list()
        raise SourceError(f"{where}: no time can be read, for example {shown}; give ISO times, dates or epochs")
    return found


def parsed(
    values: pl.Series,
    where: str,
    tell: Tell,
    order: Order | None = None,
    zone: str | None = None,
    usual: Order | None = None,
) -> pl.Series:
    """Naive UTC microseconds, null where no time can be read.

    Args:
        order: of day and month in dates like 1/2/2011. None: what the column's own values say, then ``usual``, the
        order
            of earlier deliveries, then what lies among the column's other dates, then what their sign usually means,
            which `tell` gets a sentence about.
        zone: IANA name of the zone of times without an offset; None: UTC.
    """
    if values.dtype == pl.Date:
        found = _frame(values.cast(pl.Datetime("us")))
    elif isinstance(values.dtype, pl.Datetime):
        aware = bool(values.dtype.time_zone)
        utc = values.dt.convert_time_zone("UTC").dt.replace_time_zone(None) if aware else values
        found = _frame(utc.cast(pl.Datetime("us")), fixed=aware)
    elif values.dtype.is_numeric():
        found = _from_number(values.cast(pl.Float64), where, tell)
    else:
        found = _from_text(values.cast(pl.String), where, tell, order, usual)
    return in_utc(found, zone).alias(values.name)


def order_of(text: pl.Series) -> Order | None:
    """The order of day and month that dates like 31/12/2011 of a column leave no doubt about; None where they leave
    it.
    """
    short = text.cast(pl.String).str.strip_chars()
    short = short.filter(short.str.contains(r"^\d{1,2}[./-]\d{1,2}[./-]").fill_null(False))
    part = _plain(short).str.extract_groups(DAY_AND_MONTH).struct.unnest()
    one, two = (int((part[name].cast(pl.Int64) > 12).sum() or 0) for name in ("one", "two"))
    return None if one == two else "day_first" if one > two else "month_first"


def iso(text: pl.Series) -> pl.DataFrame | None:
    """Times as `in_utc` takes them, of a column whose texts are all written like 2025-06-01T09:30:15.250, equally long,
    with or without time, seconds, fraction and offset. None where one is not: then `parsed` reads each as it is.
    """
    written = textbytes.matrix(text.drop_nulls())
    body = None if written is None else _without_offset(written)
    if body is None:
        return None
    digits, offset = body
    length = digits.shape[1]
    marks = {4: "-", 7: "-", 10: "T ", 13: ":", 16: ":", 19: "."}
    if length not in ISO_LENGTHS or (offset is not None and length == len("2025-06-01")):
        return None
    signs = {place: sign for place, sign in marks.items() if place < length}
    if not all(np.isin(digits[:, place], list(sign.encode())).all() for place, sign in signs.items()):
        return None
    numbers = digits[:, [place for place in range(length) if place not in marks]] - np.uint8(ord("0"))
    micro = _microseconds(np.ascontiguousarray(numbers.T).astype(np.int32)) if (numbers <= 9).all() else None
    if micro is None:
        return None
    at = pl.Series("at", micro if offset is None else micro - offset, pl.Int64)
    if text.null_count():
        at = pl.Series("at", [None], pl.Int64).new_from_index(0, len(text)).scatter(text.is_not_null().arg_true(), at)
    return _frame(at.cast(pl.Datetime("us")), fixed=offset is not None)


def _without_offset(written: np.ndarray) -> tuple[np.ndarray, np.ndarray | None] | None:
    """Bytes of times without their offset, and the offset in microseconds; None where some have one and some do not."""
    if (written[:, -1] == ord("Z")).all():
        return written[:, :-1], np.zeros(len(written), np.int64)
    if written.shape[1] <= len("2025-06-01T09:30") or not np.isin(written[:, -6], list(b"+-")).all():
        return written, None
    digits = written[:, [-5, -4, -2, -1]].astype(np.int64) - ord("0")
    if not ((digits >= 0) & (digits <= 9)).all() or (written[:, -3] != ord(":")).any():
        return None
    hours, minutes = digits[:, 0] * 10 + digits[:, 1], digits[:, 2] * 10 + digits[:, 3]
    if (hours > FARTHEST).any() or (minutes > 59).any():
        return None
    return written[:, :-6], np.where(written[:, -6] == ord("-"), -1, 1) * (hours * 60 + minutes) * 60_000_000


def _microseconds(digit: np.ndarray) -> np.ndarray | None:
    """Microseconds since 1970 of times whose digits are rows, from year to fraction; None where one is no time."""

    def pair(place: int) -> np.ndarray:
        return digit[place] * 10 + digit[place + 1] if len(digit) > place + 1 else np.zeros_like(digit[0])

    year, month, day = pair(0) * 100 + pair(2), pair(4), pair(6)
    hour, minute, second = pair(8), pair(10), pair(12)
    if year.min() < 1 or month.min() < 1 or month.max() > 12:
        return None
    months = (year - 1970) * 12 + month - 1
    earliest = int(months.min())
    calendar = np.arange(earliest, int(months.max()) + 2).astype("datetime64[M]").astype("datetime64[D]")
    first = calendar.astype(np.int32)
    of = months - earliest
    if day.min() < 1 or (first[of] + day > first[of + 1]).any():
        return None
    if hour.max() > 23 or minute.max() > 59 or second.max() > 59:
        return None
    fraction = np.zeros_like(year)
    for place in range(14, 20):
        fraction = fraction * 10 + (digit[place] if place < len(digit) else 0)
    seconds = (hour * 60 + minute) * 60 + second
    return ((first[of] + day - 1).astype(np.int64) * SECONDS_A_DAY + seconds) * 1_000_000 + fraction


def _frame(at: pl.Series, fixed: bool = False) -> pl.DataFrame:
    """Times, and whether they are of no zone but UTC."""
    return pl.DataFrame({"at": at}).with_columns(fixed=pl.lit(fixed))


def in_utc(found: pl.DataFrame, zone: str | None) -> pl.Series:
    """Naive UTC times of a frame of `at` and `fixed`, whether these are UTC already; of others of the zone."""
    if zone is None:
        return found["at"]

    def located(times: pl.Expr) -> pl.Expr:
        local = times.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")
        return local.dt.convert_time_zone("UTC").dt.replace_time_zone(None)

    hour = pl.duration(hours=1)
    local = pl.coalesce(located(pl.col("at")), located(pl.col("at") - hour) + hour)
    return found.select(at=pl.when("fixed").then("at").otherwise(local))["at"]


def _from_number(values: pl.Series, where: str, tell: Tell) -> pl.DataFrame:
    known = values.fill_nan(None).drop_nulls()
    if len(known) > 0 and known.is_between(*SHEET_DAYS).all():
        tell(f"{where}: numbers such as {known[0]:g} are read as the days of a spreadsheet. ISO dates are safe")
        micro = (values.fill_nan(None) * SECONDS_A_DAY).round(0).cast(pl.Int64) * 1_000_000
        return _frame(micro.cast(pl.Duration("us")) + SHEET_BEGIN)
    for bounds, form in ((COMPACT, "%Y%m%d"), (COMPACT_TIMES, "%Y%m%d%H%M%S")):
        if len(known) > 0 and ((known % 1 == 0) & known.is_between(*bounds)).all():
            dates = _compact(values, form)
            if dates.null_count() < len(dates):
                return _frame(dates)
    return _frame(_from_epoch(values), fixed=True)


def _compact(values: pl.Series, form: str) -> pl.Series:
    text = values.cast(pl.Int64, strict=False).cast(pl.String)
    if form == "%Y%m%d":
        return text.str.to_date(form, strict=False).cast(pl.Datetime("us"))
    return text.str.to_datetime(form, strict=False, time_unit="us")


def _from_epoch(values: pl.Series) -> pl.Series:
    """The unit is that of the middle value, so that a single absurd one decides nothing; absurd ones are null. Where it
    makes no sense of a value and the value's own size does, that is its unit.
    """
    usual = values.fill_nan(None).abs().median()
    scale = next((s for limit, s in EPOCHS if not isinstance(usual, int | float) or usual < limit), EPOCHS[-1][1])
    size = values.abs()
    own = pl.lit(EPOCHS[-1][1])
    for limit, unit in reversed(EPOCHS[:-1]):
        own = pl.when(pl.lit(size) < limit).then(unit).otherwise(own)
    together, alone = (_moments(values * s) for s in (scale, pl.select(own).to_series()))
    sensible = alone.is_between(*SENSIBLE) & ~together.is_between(*SENSIBLE).fill_null(False)
    return pl.select(pl.when(sensible).then(alone).otherwise(together).alias(values.name)).to_series()


def _moments(micro: pl.Series) -> pl.Series:
    near = micro.is_finite() & (micro.abs() < LATEST)
    return pl.select(pl.when(near).then(micro).round(0).cast(pl.Int64).cast(pl.Datetime("us"))).to_series()


def _from_text(values: pl.Series, where: str, tell: Tell, order: Order | None, usual: Order | None) -> pl.DataFrame:
    """ISO in any of its usual forms, else a number, else day and month in either order."""
    text = values.str.strip_chars()
    numbers = text.cast(pl.Float64, strict=False)
    if numbers.null_count() == values.null_count() and len(numbers) > numbers.null_count():
        return _from_number(numbers, where, tell)
    text = _plain(text)
    midnight = text.str.contains(LAST_MIDNIGHT).fill_null(False)
    text = text.str.replace(LAST_MIDNIGHT, "${1}00$2")
    found = _frame(pl.Series("at", [None], pl.Datetime("us")).new_from_index(0, len(text)))
    iso = text.set(~text.str.contains(r"^\d{4}-").fill_null(False), None)
    zoned = iso.str.contains(ZONE) & (iso.str.len_chars() > 10)
    attempts: list[tuple[str, str | None]] = [(form, None) for form in ISO_FORMS]
    if zoned.any():
        attempts = [*((form, "UTC") for form in ZONED_FORMS), *attempts]
    for form, zone in attempts:
        if found["at"].null_count() == iso.null_count():
            break
        at = _parsed(iso.set(found["at"].is_not_null(), None), form, zone)
        found = _filled(found, _frame(at.dt.replace_time_zone(None) if zone else at, fixed=zone is not None))
    readers: tuple[Callable[[pl.Series], pl.DataFrame], ...] = (
        _mixed_in,
        _dated,
        _named,
        lambda rest: _day_and_month(rest, where, tell, order, usual, found["at"]),
    )
    for reader in readers:
        if found["at"].null_count() > values.null_count():
            found = _filled(found, reader(text.set(found["at"].is_not_null(), None)))
    return found.with_columns(at=pl.col("at") + pl.duration(days=pl.lit(midnight.cast(pl.Int64))))


def _plain(text: pl.Series) -> pl.Series:
    """The texts with one way of writing zones, and dates first that are written 2011/9/11."""
    text = text.str.replace(NAMED_ZONE, "$1").str.replace(UTC_ZONE, "${1}Z")
    if (dotnet := text.str.extract(OF_DOTNET)).null_count() < len(text):
        text = pl.select(pl.coalesce(of_milliseconds(dotnet), text).alias(text.name)).to_series()
    for pattern, plain in OF_PROGRAMS:
        text = text.str.replace(pattern, plain)
    text = text.str.replace(r"(?i)\s*(Z|UTC|GMT)$", "+00:00").str.replace(r"(\d)T(\d)", "$1 $2")
    if text.str.contains(r"[A-Z]{3,4}$").any():
        for name, offset in OFFSETS.items():
            text = text.str.replace(rf"(\d|[AP]M) {name}$", f"$1 {offset}")
    text = text.str.replace(r"(\d{2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?)\s*([+-]\d{2})(:?\d{2})?$", "$1$2$3")
    text = text.str.replace(r"(:\d{2}(?:\.\d+)?[+-]\d{2})$", "${1}00")
    return text.str.replace(r"^(\d{4})/(\d{1,2})/(\d{1,2})", "$1-$2-$3")


def of_milliseconds(digits: pl.Series) -> pl.Series:
    """ISO texts in UTC of milliseconds since 1970: where a program says the unit, no size has to."""
    number = digits.cast(pl.Int64, strict=False)
    near = number.set(number.abs() >= LATEST / 1000, None).cast(pl.Datetime("ms"))
    return near.dt.strftime("%Y-%m-%dT%H:%M:%S%.3fZ")


def _filled(found: pl.DataFrame, more: pl.DataFrame) -> pl.DataFrame:
    """What was found, and where it is null what was found after it."""
    both = found.hstack(more.rename({"at": "at+", "fixed": "fixed+"}))
    known = pl.col("at").is_not_null()
    return both.select(at=pl.coalesce("at", "at+"), fixed=pl.when(known).then("fixed").otherwise("fixed+"))


def _mixed_in(text: pl.Series) -> pl.DataFrame:
    """Numbers among other texts: 19970131, 19970131101500, and epochs, each of the unit that its own size tells."""
    numbers = text.set(~text.str.contains(r"^\d{8,19}(\.\d+)?$").fill_null(False), None).cast(pl.Float64, strict=False)
    found = _frame(pl.Series("at", [None], pl.Datetime("us")).new_from_index(0, len(text)))
    for bounds, form in ((COMPACT, "%Y%m%d"), (COMPACT_TIMES, "%Y%m%d%H%M%S")):
        within = numbers.is_between(*bounds).fill_null(False)
        if within.any():
            found = _filled(found, _frame(_compact(numbers.set(~within, None), form)))
    rest = numbers.set(found["at"].is_not_null(), None)
    return _filled(found, _frame(_from_epoch(rest), fixed=True)) if rest.null_count() < len(rest) else found


def _parsed(text: pl.Series, form: str, zone: str | None) -> pl.Series:
    return text.str.to_datetime(form, time_unit="us", strict=False, time_zone=zone)


def _dated(text: pl.Series) -> pl.DataFrame:
    """`1997.01.12`, `1997-1-12 9:30 PM`, `19970112 101500`."""
    spread = text.str.replace(r"^(\d{4})(\d{2})(\d{2}) (\d{2}):?(\d{2})", "$1-$2-$3 $4:$5")
    text = spread.str.replace(r"^(\d{4}-\d{2}-\d{2} \d{2}:\d{2})(\d{2})", "$1:$2")
    return _composed(text.str.extract_groups(YEAR_FIRST).struct.unnest())


def _named(text: pl.Series) -> pl.DataFrame:
    """Dates with an English name of the month."""
    number = {name: str(place) for place, name in enumerate(MONTHS, start=1)}
    found = None
    for form in NAMED_FORMS:
        part = text.str.extract_groups(form).struct.unnest()
        month = part["month"].str.to_lowercase().replace_strict(number, default=None, return_dtype=pl.String)
        more = _composed(part.with_columns(month=month))
        found = more if found is None else _filled(found, more)
    return cast("pl.DataFrame", found)


def _day_and_month(
    text: pl.Series, where: str, tell: Tell, order: Order | None, usual: Order | None, others: pl.Series
) -> pl.DataFrame:
    """Dates like 31/12/2010 8:26, those with points and those with other signs each in an order of their own."""
    points = text.str.contains(r"^\d{1,2}\.").fill_null(False)
    found = _composed(text.set(points, None).str.extract_groups(DAY_AND_MONTH).struct.unnest().with_columns(
        month=pl.lit(None, pl.String), day=pl.lit(None, pl.String)))  # fmt: skip
    for mine in (~points, points):
        some = text.set(~mine, None)
        if some.null_count() < len(some):
            found = _filled(found, _ordered(some, where, tell, order, usual, others))
    return found


def _ordered(
    text: pl.Series, where: str, tell: Tell, order: Order | None, usual: Order | None, others: pl.Series
) -> pl.DataFrame:
    """What passes 12 is the day, what passes 31 the year. Where neither place ever does and nothing else says it,
    points mean day first and other signs month first.
    """
    part = text.str.extract_groups(DAY_AND_MONTH).struct.unnest()
    one = part["one"].cast(pl.Int64, strict=False)
    if int((one > 31).sum() or 0):  # 97-12-31
        return _composed(part.with_columns(year="one", month="two", day="year"))
    both = {
        "day_first": _composed(part.rename({"one": "day", "two": "month"})),
        "month_first": _composed(part.rename({"one": "month", "two": "day"})),
    }
    chosen = order or order_of(text) or usual or _among(both, others)
    if chosen is None:
        chosen = "day_first" if text.str.contains(r"^\d{1,2}\.").any() else "month_first"
        if one.null_count() < len(one):
            said, shown = chosen.replace("_", " "), text.filter(one.is_not_null()).first()
            tell(f"{where}: day and month could be either; read {said} ({shown!r}). ISO dates are safe")
    return both[chosen]


def _among(both: dict[str, pl.DataFrame], others: pl.Series) -> str | None:
    """The order in which more of the dates lie among the column's dates that leave no doubt; None where neither
    does.
    """
    days = others.dt.truncate("1d").filter(others.dt.year() < _LAST_OF_CALENDAR)
    low, high = days.min(), days.dt.offset_by("1d").max()
    if low is None or high is None:
        return None
    within = {name: int(found["at"].is_between(low, high).sum() or 0) for name, found in both.items()}
    day, month = within["day_first"], within["month_first"]
    return None if day == month else "day_first" if day > month else "month_first"


def _composed(part: pl.DataFrame) -> pl.DataFrame:
    """Times from texts `year`, `month`, `day` and, null where there is none, `hour`, `minute`, `second`, `half`,
    `zone`; null where these are no time.
    """
    # digits of other scripts are digits to the patterns, and no numbers
    year, hour = (pl.col(name).cast(pl.Int64, strict=False) for name in ("year", "hour"))
    hour = pl.when(pl.col("hour").is_null()).then(0).otherwise(hour)
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
    return part.select(at=local - pl.duration(minutes=zone.fill_null(0)), fixed=pl.col("zone").is_not_null())
