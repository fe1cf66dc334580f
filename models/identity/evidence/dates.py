"""Dates of birth as people's files write them, as ISO text that may be partial.

The order of day and month is a property of a file, so it is read off all its values together. What is no date of the
calendar (month 81, 31 June) keeps its digits: to a comparison a typing error is still nine right characters of ten.
"""

import polars as pl

from customer360.models.identity.evidence.scripts import folded
from customer360.models.identity.evidence.steps import Stage, Step

# How months begin, as `folded`, in English, German, Dutch, the languages of Scandinavia, French, Spanish, Italian,
# Portuguese, Romanian, Polish, Czech, Hungarian, Finnish, Turkish, Indonesian, Russian, Ukrainian, Bulgarian, Serbian,
# Greek, Hebrew, Arabic, Hindi and Thai.
_MONTHS = (
    "jan janv gen ene sty led ian tam oca янв січ яну јан ιαν ינו يناير जनवरी มกรา",
    "feb fev lut uno hel sub фев лют феб φεβ פבר فبراير फरवरी फ\u093cरवरी กุมภา",
    "mar mrz maa marz bre мар бер μαρ מרס מרץ مارس मार्च มีนา",
    "apr avr abr kwi dub huh nis апр кві απρ אפר ابريل अप्रैल เมษา",
    "may mai mei mag maj kve tou мая маи тра мај μαι מאי مايو मई พฤษภา",
    "jun juin giu cze cerv iun kes haz июн чер юни јун ιουν יונ يونيو जून มิถุนา",
    "jul juil lug lip cervenc cervenec iul hei tem июл лип юли јул ιουλ יול يوليو जुलाई กรกฎา",
    "aug aou ago sie srp avg elo agu авг сер αυγ אוג اغسطس अगस्त สิงหา",
    "sep set wrz zar szep syy eyl сен вер сеп σεπ ספט سبتمبر सितंबर กันยา",
    "oct okt ott out paz rij lok eki окт жов οκτ אוק اكتوبر अक्टूबर ตุลา",
    "nov lis noi marras kas ноя лис ное нов νοε נוב نوفمبر नवंबर พฤศจิกา",
    "dec dez dic gru pro des jou ara дек гру дец δεκ דצמ ديسمبر दिसंबर ธันวา",
)
_PLACES = {start: str(place) for place, starts in enumerate(_MONTHS, 1) for start in starts.split()}
_NAMES = "|".join(sorted(_PLACES, key=lambda start: (-len(start), start)))
_WORD = rf"({_NAMES})[\p{{L}}\p{{M}}]*"
_WEEKDAY = r"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]*[., ]+)?"
_YEAR = r"([0-9]{4}|[0-9]{2})(?:\s.*)?"
_DIGITS = {chr(zero + digit): str(digit) for zero in (0x660, 0x6F0, 0x966, 0xE50, 0xFF10) for digit in range(10)}
# Form -> pattern and what its groups are.
_FORMS = {
    "first": (r"^([0-9]{4})[-/. ]([0-9]{1,2})[-/. ]([0-9]{1,2})(?:[^0-9].*)?$", "ymd"),
    "last": (r"^([0-9]{1,2})[-/. ]([0-9]{1,2})[-/. ]([0-9]{4}|[0-9]{2})\.?(?:\s.*)?$", "aby"),
    "packed": (r"^([0-9]{8})(?:[0-9]{6})?$", ("all",)),
    "partial": (r"^([0-9]{4})(?:[-/. ]([0-9]{1,2})-?)?$", "ym"),
    "brief": (r"^([0-9]{1,2})[-/.]([0-9]{4})$", "my"),
    "worded": (rf"^([0-9]{{1,2}})(?:st|nd|rd|th|er|º|ª|\.)?[-/., ]*{_WORD}[-/., ]*{_YEAR}$", "dmy"),
    "american": (rf"^{_WEEKDAY}{_WORD}[-/., ]*([0-9]{{1,2}})(?:st|nd|rd|th)?[-/., ]+{_YEAR}$", "mdy"),
    "early": (rf"^([0-9]{{4}})[-/., ]*{_WORD}[-/., ]*([0-9]{{1,2}})\.?$", "ymd"),
    "monthly": (rf"^{_WORD}[-/., ]*([0-9]{{4}})$", "my"),
}  # fmt: skip
# Two-digit years up to this one are of the 2000s, unless the column shows that nobody was born in them.
_PIVOT = 26
_STEP = 5
_MANY = 50  # two-digit years of a column that show what ages there are
_BUDDHIST = (2400, 2600)
# Eras of Japan and of the Republic of China -> the year before their first.
_ERAS = {
    "明治": 1867, "大正": 1911, "昭和": 1925, "平成": 1988, "令和": 2018, "m": 1867, "t": 1911, "s": 1925, "h": 1988,
    "r": 2018, "民国": 1911, "民國": 1911,
}  # fmt: skip
_OF_ERA = rf"^(?:中華|中华)?({'|'.join(_ERAS)})[. ]*([0-9]{{1,3}}|元)[-/. 年]+([0-9]{{1,2}})[-/. 月]+([0-9]{{1,2}})日?$"
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
    clean = folded(pl.col(column)).str.replace_many(_DIGITS).str.strip_chars().str.replace(r"\.0$", "")
    clean = _of_the_common_era(clean)
    clean = (
        clean.str.replace_all(r"\s*[年月년월]\s*", "-")
        .str.replace(r"\s*[日일].*$", "")
        .str.replace_all(r" (?:de|del|of) ", " ")
        .str.replace_all(r"\.\s+", ".")
    )
    extracted = {
        f"{form}_{part}": text.str.extract(pattern, place)
        for form, (pattern, parts) in _FORMS.items()
        for place, part in enumerate(parts, 1)
    }
    year = pl.coalesce("last_y", "worded_y", "american_y")
    short = {"short": pl.when(year.str.len_chars() == 2).then(year.cast(pl.Int32))}
    return {"text": clean}, extracted, short, _order(month_first), _parts(), {"iso": _iso(*(pl.col(p) for p in "ymd"))}


def _of_the_common_era(text: pl.Expr) -> pl.Expr:
    """平成3年2月12日, S42.8.3 and 民國80年2月12日 as 1991-2-12, 1967-8-3 and 1991-2-12."""
    first, year, month, day = (text.str.extract(_OF_ERA, place) for place in range(1, 5))
    before = first.replace_strict(_ERAS, default=None, return_dtype=pl.Int32)
    counted = pl.when(year == "元").then(1).otherwise(year.cast(pl.Int32, strict=False))
    common = pl.concat_str((before + counted).cast(pl.String), month, day, separator="-")
    return pl.coalesce(common, text)


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
    return {"month_leads": ahead, "year_leads": leads >= trails, "newest": _newest()}


def _newest() -> pl.Expr:
    """The last two-digit year of the 2000s: that before the first five years of them in which nobody was born, since
    people are of all ages up to the youngest."""
    short = pl.col("short")
    newest = pl.lit(_PIVOT)
    for start in range(_PIVOT - _PIVOT % _STEP, -1, -_STEP):
        born = short.is_between(start, start + _STEP - 1).sum()
        newest = pl.when((short >= 0).sum() >= _MANY, born == 0).then(pl.lit(start - 1)).otherwise(newest)
    return newest


def _parts() -> dict[str, pl.Expr]:
    """Year, month and day as the first form that a text has gives them."""
    packed, month_leads, year_leads = pl.col("packed_all"), pl.col("month_leads"), pl.col("year_leads")

    def cut(leading: tuple[int, int], trailing: tuple[int, int]) -> pl.Expr:
        return pl.when(year_leads).then(packed.str.slice(*leading)).otherwise(packed.str.slice(*trailing))

    a, b = (pl.col(name).cast(pl.Int32).cast(pl.String) for name in ("last_a", "last_b"))
    worded, american, early, monthly = (
        pl.col(f"{f}_m").replace(_PLACES) for f in ("worded", "american", "early", "monthly")
    )
    return {
        "y": pl.coalesce(
            "first_y",
            cut((0, 4), (4, 4)),
            "last_y",
            "worded_y",
            "american_y",
            "early_y",
            "monthly_y",
            "brief_y",
            "partial_y",
        ),
        "m": pl.coalesce(
            "first_m",
            cut((4, 2), (2, 2)),
            pl.when(month_leads).then(a).otherwise(b),
            worded,
            american,
            early,
            monthly,
            "brief_m",
            "partial_m",
        ),
        "d": pl.coalesce(
            "first_d",
            cut((6, 2), (0, 2)),
            pl.when(month_leads).then(b).otherwise(a),
            "worded_d",
            "american_d",
            "early_d",
        ),
    }


def _iso(year: pl.Expr, month: pl.Expr, day: pl.Expr) -> pl.Expr:
    number = year.cast(pl.Int32)
    short = year.str.len_chars() == 2
    full = (
        pl.when(short & (number <= pl.col("newest")))
        .then(number + 2000)
        .when(short)
        .then(number + 1900)
        .otherwise(number)
    )
    full = pl.when(full.is_between(*_BUDDHIST)).then(full - 543).otherwise(full)
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
