"""Dates of birth as people's files write them, as ISO text that may be partial.

The order of day and month is a property of a file, so it is read off all its values together. What is no date of the
calendar (month 81, 31 June) keeps its digits: to a comparison a typing error is still nine right characters of ten.
"""

import polars as pl

from customer360.models.identity.evidence.steps import Stage, Step

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_NAMES = "|".join(_MONTHS)
# Form -> pattern and what its groups are. Digits are ASCII ones: others match \d but are no numbers to a cast.
_FORMS = {
    "first": (r"^([0-9]{4})[-/. ]([0-9]{1,2})[-/. ]([0-9]{1,2})(?:[^0-9].*)?$", "ymd"),
    "last": (r"^([0-9]{1,2})[-/. ]([0-9]{1,2})[-/. ]([0-9]{4}|[0-9]{2})(?:\s.*)?$", "aby"),
    "packed": (r"^([0-9]{8})$", ("all",)),
    "partial": (r"^([0-9]{4})(?:[-/. ]([0-9]{1,2}))?$", "ym"),
    "worded": (
        rf"^([0-9]{{1,2}})(?:st|nd|rd|th|\.)?[-/., ]*({_NAMES})[a-z]*[-/., ]*([0-9]{{4}})$",
        "dmy",
    ),
    "american": (
        rf"^({_NAMES})[a-z]*[-/., ]*([0-9]{{1,2}})(?:st|nd|rd|th)?[-/., ]+([0-9]{{4}})$",
        "mdy",
    ),
}
# Two-digit years up to this one are of the 2000s.
_PIVOT = 30
_YEARS = (1000, 2100)


def iso_dates(values: pl.Series, month_first: bool = False) -> pl.Series:
    """`values` by `date_steps`; those of type date are taken as such."""
    if values.dtype.is_temporal():
        return values.dt.strftime("%Y-%m-%d")
    stage = Stage((values.name,), ("iso",), date_steps(values.name, month_first))
    return stage.over(values.cast(pl.String).to_frame())["iso"].alias(values.name)


def date_steps(column: str, month_first: bool = False) -> tuple[Step, ...]:
    """Steps from distinct texts of `column` to `iso`: "YYYY-MM-DD", "YYYY-MM" or "YYYY", null where there is no year
    from 1000 to 2100. `month_first` decides where no value of the column tells (all of 03/04/1980)."""
    text = pl.col("text")
    clean = pl.col(column).str.to_lowercase().str.strip_chars().str.replace(r"\.0$", "")
    extracted = {
        f"{form}_{part}": text.str.extract(pattern, place)
        for form, (pattern, parts) in _FORMS.items()
        for place, part in enumerate(parts, 1)
    }
    return {"text": clean}, extracted, _order(month_first), _parts(), {"iso": _iso(*(pl.col(p) for p in "ymd"))}


def _order(month_first: bool) -> dict[str, pl.Expr]:
    """What the column as a whole tells: does the month come first, does the year of eight digits.

    Eight digits are yyyymmdd where more values have a year of people and a month at those places than at the places of
    ddmmyyyy.
    """
    months, days = ((pl.col(side).cast(pl.Int32) > 12).sum() for side in ("last_b", "last_a"))
    packed = pl.col("packed_all")
    year, month = packed.str.slice(0, 4).cast(pl.Int32), packed.str.slice(4, 2).cast(pl.Int32)
    late_year, late_month = packed.str.slice(4, 4).cast(pl.Int32), packed.str.slice(2, 2).cast(pl.Int32)
    leads = (year.is_between(1800, 2100) & month.is_between(1, 12)).sum()
    trails = (late_year.is_between(1800, 2100) & late_month.is_between(1, 12)).sum()
    ahead = (months > days) | ((months == days) & pl.lit(month_first))
    return {"month_leads": ahead, "year_leads": leads >= trails}


def _parts() -> dict[str, pl.Expr]:
    """Year, month and day as the first form that a text has gives them."""
    packed, month_leads, year_leads = pl.col("packed_all"), pl.col("month_leads"), pl.col("year_leads")

    def cut(leading: tuple[int, int], trailing: tuple[int, int]) -> pl.Expr:
        return pl.when(year_leads).then(packed.str.slice(*leading)).otherwise(packed.str.slice(*trailing))

    a, b = (pl.col(name).cast(pl.Int32).cast(pl.String) for name in ("last_a", "last_b"))
    by_word = {name: str(place) for place, name in enumerate(_MONTHS, 1)}
    worded, american = (pl.col(f"{form}_m").replace(by_word) for form in ("worded", "american"))
    return {
        "y": pl.coalesce("first_y", cut((0, 4), (4, 4)), "last_y", "worded_y", "american_y", "partial_y"),
        "m": pl.coalesce(
            "first_m",
            cut((4, 2), (2, 2)),
            pl.when(month_leads).then(a).otherwise(b),
            worded,
            american,
            "partial_m",
        ),
        "d": pl.coalesce(
            "first_d",
            cut((6, 2), (0, 2)),
            pl.when(month_leads).then(b).otherwise(a),
            "worded_d",
            "american_d",
        ),
    }


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
