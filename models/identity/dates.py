"""Dates of birth as people's files write them, as ISO text that may be partial.

The order of day and month is a property of a file, so it is read off all its values together. What is no date of the
calendar (month 81, 31 June) keeps its digits: to a comparison a typing error is still nine right characters of ten.
"""

import polars as pl

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
# Two-digit years up to this one are of the 2000s.
_PIVOT = 30
_YEARS = (1000, 2100)


def iso_dates(values: pl.Series, month_first: bool = False) -> pl.Series:
    """`values` as text "YYYY-MM-DD", "YYYY-MM" or "YYYY", null where there is no year from 1000 to 2100.

    `month_first` decides where no value of the series tells (all of 03/04/1980); values of type date are taken as such.
    """
    if values.dtype.is_temporal():
        return values.dt.strftime("%Y-%m-%d")
    text = values.cast(pl.String).str.to_lowercase().str.strip_chars().str.replace(r"\.0$", "")
    distinct = pl.DataFrame({"raw": values.cast(pl.String), "text": text}).unique("raw")
    parsed = _parsed(distinct, month_first)
    return values.cast(pl.String).replace_strict(parsed["raw"], parsed["iso"], default=None, return_dtype=pl.String)


def _parsed(distinct: pl.DataFrame, month_first: bool) -> pl.DataFrame:
    """(raw, iso) of distinct values."""
    text = pl.col("text")
    first = text.str.extract_groups(r"^(?<y>\d{4})[-/. ](?<m>\d{1,2})[-/. ](?<d>\d{1,2})(?:\D.*)?$")
    last = text.str.extract_groups(r"^(?<a>\d{1,2})[-/. ](?<b>\d{1,2})[-/. ](?<y>\d{4}|\d{2})(?:\s.*)?$")
    packed = text.str.extract(r"^(\d{8})$", 1)
    partial = text.str.extract_groups(r"^(?<y>\d{4})(?:[-/. ](?<m>\d{1,2}))?$")
    names = "|".join(_MONTHS)
    worded = text.str.extract_groups(
        rf"^(?<d>\d{{1,2}})(?:st|nd|rd|th|\.)?[-/., ]*(?<m>{names})[a-z]*[-/., ]*(?<y>\d{{4}})$"
    )
    american = text.str.extract_groups(
        rf"^(?<m>{names})[a-z]*[-/., ]*(?<d>\d{{1,2}})(?:st|nd|rd|th)?[-/., ]+(?<y>\d{{4}})$"
    )
    found = distinct.with_columns(
        first=first, last=last, packed=packed, partial=partial, worded=worded, american=american
    )
    a, b = pl.col("last").struct.field("a").cast(pl.Int32), pl.col("last").struct.field("b").cast(pl.Int32)
    months, days = (int(found.select((side > 12).sum()).item()) for side in (b, a))
    month_leads = months > days or (months == days and month_first)
    day, month = (b, a) if month_leads else (a, b)
    year_leads = _year_leads(found["packed"])
    cut = ((0, 4), (4, 2), (6, 2)) if year_leads else ((4, 4), (2, 2), (0, 2))
    numbered = [pl.col("packed").str.slice(*part) for part in cut]
    by_word = {name: str(place) for place, name in enumerate(_MONTHS, 1)}
    forms = [
        tuple(pl.col("first").struct.field(part) for part in "ymd"),
        tuple(numbered),
        (pl.col("last").struct.field("y"), month.cast(pl.String), day.cast(pl.String)),
        *(
            tuple(
                pl.col(name).struct.field(part).replace(by_word) if part == "m" else pl.col(name).struct.field(part)
                for part in "ymd"
            )
            for name in ("worded", "american")
        ),
        (pl.col("partial").struct.field("y"), pl.col("partial").struct.field("m"), pl.lit(None, pl.String)),
    ]
    y, m, d = (pl.coalesce(*(form[part] for form in forms)) for part in range(3))
    return found.select("raw", iso=_iso(y, m, d))


def _year_leads(packed: pl.Series) -> bool:
    """Whether eight digits are yyyymmdd: more values have a year of people and a month at those places than at the
    places of ddmmyyyy."""
    year, month = packed.str.slice(0, 4).cast(pl.Int32), packed.str.slice(4, 2).cast(pl.Int32)
    late_year, late_month = packed.str.slice(4, 4).cast(pl.Int32), packed.str.slice(2, 2).cast(pl.Int32)
    leads = (year.is_between(1800, 2100) & month.is_between(1, 12)).sum()
    trails = (late_year.is_between(1800, 2100) & late_month.is_between(1, 12)).sum()
    return bool(leads >= trails)


def _iso(year: pl.Expr, month: pl.Expr, day: pl.Expr) -> pl.Expr:
    number = year.cast(pl.Int32)
    short = year.str.len_chars() == 2
    full = pl.when(short & (number <= _PIVOT)).then(number + 2000).when(short).then(number + 1900).otherwise(number)
    y = pl.when(full.is_between(*_YEARS)).then(full.cast(pl.String))
    m, d = (part.str.zfill(2) for part in (month, day))
    unknown_month, unknown_day = m.is_null() | (m == "00"), d.is_null() | (d == "00")
    return (
        pl.when(unknown_month)
        .then(y)
        .when(unknown_day)
        .then(pl.concat_str(y, m, separator="-"))
        .otherwise(pl.concat_str(y, m, d, separator="-"))
    )
