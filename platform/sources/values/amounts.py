"""Amounts and counts as files write them: `1,234.50`, `1.234,56`, `£5`, `12.50 EUR`, `(5.00)`, `5,-`, `3.00-`."""

from collections.abc import Callable

import polars as pl

from customer360.platform.errors import SourceError

Tell = Callable[[str], None]

CODES = (
    "AED ARS AUD BGN BHD BRL CAD CHF CLP CNY COP CZK DKK EGP EUR GBP HKD HUF IDR ILS INR ISK JOD JPY KRW "
    "KWD MAD MXN MYR NGN NOK NZD OMR PEN PHP PKR PLN RON RSD RUB SAR SEK SGD THB TND TRY TWD UAH USD VND ZAR"
).split()
LOCAL = (r"kr\.?", r"Rs\.?", r"Fr\.?", "zł", "Kč", "Ft", "lei")  # how shops write some of them
CODE_OF = {"£": "GBP", "€": "EUR", "$": "USD", "US$": "USD", "¥": "JPY", "₹": "INR", "R$": "BRL"}
CURRENCY = rf"[A-Za-z]{{0,3}}\p{{Sc}}|(?i:{'|'.join((*CODES, *LOCAL))})"
FORM = (
    r"^(?<open>\()?\s*(?<sign>[+-])?\s*"
    rf"(?<before>{CURRENCY})?\s*(?<inner>[+-])?\s*"
    r"(?<number>[0-9.,'’ ]*[0-9])(?:[.,]-{0,2})?\s*(?<trailing>-)?\s*"
    rf"(?<after>{CURRENCY})?\s*(?<last>-)?\s*(?<close>\))?$"
)  # fmt: skip
DASHES, BLANKS = "[\u2212\u2013\u2010\u2011]", "[\u00a0\u202f\u2009\t]"
SCIENTIFIC = r"^[+-]?\d+(?:\.\d+)?[eE][+-]?\d+$"
WHOLE, EITHER = r"^\d+$", r"^-?[1-9]\d{0,2}[.,]\d{3}$"  # 1.234 may be a thousand or one and a bit
# What can only be read with a point (or, the signs exchanged, a comma) before the fraction.
TELLING = (
    r"^\d{1,3}(?:,\d{2,3})*,\d{3}\.\d*$",
    r"^\d*\.(?:\d{1,2}|\d{4,})$",
    r"^(?:0\d*|\d{4,})?\.\d{3}$",
    r"^\d{1,3}(?:,\d{2,3})+,\d{3}$",
)
SHOWN = 3


def read(values: pl.Series, where: str, tell: Tell, decimal: str | None = None) -> pl.Series:
    """As `parsed`. Raises SourceError where there are values and none is a number."""
    found = parsed(values, where, tell, decimal)
    if len(found) and found.null_count() == len(found) and values.null_count() < len(values):
        shown = values.drop_nulls().unique(maintain_order=True).head(SHOWN).to_list()
        raise SourceError(f"{where}: no number can be read, for example {shown}; write such as 1234.56")
    return found


def parsed(
    values: pl.Series, where: str, tell: Tell, decimal: str | None = None, declared: str | None = None
) -> pl.Series:
    """Float64, null where no number can be read. Which of point and comma comes before the fraction is what the values
    that leave no doubt say, each for itself, and together for the others (`1.234`); where none does, `decimal`, or else
    the point. With `declared` the sign is known, and values that could be either are read with it. `tell` gets a
    sentence on what was assumed, and where currencies are mixed.
    """
    if values.dtype != pl.String:
        return values.cast(pl.Float64, strict=False)
    plain = values.str.strip_chars().cast(pl.Float64, strict=False)
    if plain.null_count() == values.null_count() and not values.str.contains(EITHER, strict=False).any():
        return plain
    distinct = values.drop_nulls().unique(maintain_order=True)
    found = _parsed(distinct, where, tell, decimal, declared)
    table = pl.DataFrame({"text": distinct, "number": found})
    return values.to_frame("text").join(table, on="text", how="left", maintain_order="left")["number"]


def decimal_sign(values: pl.Series) -> str | None:
    """The sign before the fraction where the values tell it: `.` or `,`, else None."""
    if values.dtype != pl.String:
        return None
    points, commas = _votes(_digits(_parts(values.drop_nulls().unique())))
    return None if points == commas else "." if points > commas else ","


def _parts(text: pl.Series) -> pl.DataFrame:
    clean = text.str.replace_all(DASHES, "-").str.replace_all(BLANKS, " ").str.strip_chars()
    return clean.str.extract_groups(FORM).struct.unnest()


def _digits(parts: pl.DataFrame) -> pl.Series:
    """The number without blanks and apostrophes between its thousands."""
    number = parts["number"].str.strip_chars()
    for _ in range(2):  # neighbours overlap
        number = number.str.replace_all(r"(\d)['’ ](\d{3})\b", "${1}${2}")
    return number


def _swapped(form: str) -> str:
    return form.replace(r"\.", "\0").replace(",\\d", r"\.\d").replace("\0", ",")


def _telling(number: pl.Series, sign: str) -> pl.Series:
    forms = TELLING if sign == "." else tuple(_swapped(form) for form in TELLING)
    return number.str.contains("|".join(forms))


def _votes(number: pl.Series) -> tuple[int, int]:
    return int(_telling(number, ".").sum() or 0), int(_telling(number, ",").sum() or 0)


def _parsed(text: pl.Series, where: str, tell: Tell, decimal: str | None, declared: str | None) -> pl.Series:
    parts = _parts(text)
    number = _digits(parts)
    sign = declared or _decided(number, where, tell, decimal)
    _tell_currencies(parts, where, tell)
    frame = pl.DataFrame({"text": text, "number": number}).with_columns(
        point=_telling(number, ".") | number.str.contains(WHOLE),
        comma=_telling(number, ","),
        either=number.str.contains(EITHER),
        negative=_negative(parts),
        balanced=parts["open"].is_null() == parts["close"].is_null(),
    )
    with_point = pl.col("number").str.replace_all(",", "")
    with_comma = pl.col("number").str.replace_all(r"\.", "").str.replace(",", ".")
    size = (
        pl.when("point")
        .then(with_point)
        .when("comma")
        .then(with_comma)
        .when("either")
        .then(with_point if sign == "." else with_comma)
    ).cast(pl.Float64, strict=False)
    signed = pl.when("negative").then(-size).otherwise(size)
    whole = pl.col("text").str.strip_chars()
    scientific = pl.when(whole.str.contains(SCIENTIFIC)).then(whole.cast(pl.Float64, strict=False))
    return frame.select(found=pl.coalesce(pl.when("balanced").then(signed), scientific))["found"]


def _negative(parts: pl.DataFrame) -> pl.Series:
    dash = [parts[name].fill_null("") == "-" for name in ("sign", "inner", "trailing", "last")]
    return dash[0] | dash[1] | dash[2] | dash[3] | parts["open"].is_not_null()


def _decided(number: pl.Series, where: str, tell: Tell, decimal: str | None) -> str:
    points, commas = _votes(number)
    unclear = number.filter(number.str.contains(EITHER))
    if points != commas:
        sign = "." if points > commas else ","
    else:
        sign = decimal or "."
    if len(unclear) and (points == commas or min(points, commas) > 0) and not (decimal and points == commas == 0):
        why = "both signs occur" if points and commas else "nothing in the column tells"
        tell(
            f"{where}: {len(unclear):,} values like {unclear[0]!r} could be thousands or fractions ({why}); read with "
            f"a {'point' if sign == '.' else 'comma'} before fractions. Numbers like 1234.56 are safe"
        )
    return sign


def _tell_currencies(parts: pl.DataFrame, where: str, tell: Tell) -> None:
    used = pl.concat([parts["before"], parts["after"]]).drop_nulls().unique()
    codes = sorted({CODE_OF.get(name, name.upper()) for name in used})
    if len(codes) > 1:
        tell(f"{where}: amounts in {', '.join(codes)} are added as they stand; convert them to one currency first")
