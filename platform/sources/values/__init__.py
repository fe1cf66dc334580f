"""One value of a file as the contract's type: the reader of every kind of column.

A value that is none of its type is null here; `casting` keeps its text. The same data reads alike whatever the format:
only numbers become numbers and only instants become instants without a look at their text.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field
from datetime import date, timedelta
from functools import cache
from typing import Literal

import numpy as np
import polars as pl

from customer360.platform.errors import ConfigError
from customer360.platform.quality.ahead import MARGIN
from customer360.platform.settings import Frozen
from customer360.platform.sources.values import amounts, iso, textbytes, timestamps
from customer360.platform.sources.values.textbytes import BEYOND_ASCII, BLANK, TextBytes
from customer360.platform.tables import READS, Column, OneOf

# What exports write for "nothing". In names of people only DUMPED counts: Null is a surname.
NULLS = ("null", "(null)", "<null>", "\\n", "n/a", "na", "#n/a", "<na>", "nan", "nat", "none", "nil", "-", "--", "?")
DUMPED = ("\\N", "#N/A", "<NA>", "(null)", "<null>")
TRUE, FALSE = ("true", "t", "1", "y", "yes"), ("false", "f", "0", "n", "no")
# Beside blanks, what is copied with a text and is not seen: soft hyphens, joiners, marks of the direction of writing.
BLANKS = r"[\s\x{a0}\x{ad}\x{200b}-\x{200f}\x{202a}-\x{202e}\x{2060}-\x{2069}\x{feff}]+"
# A value as MongoDB's exports write types that JSON lacks: {"$oid": "65…"}, {"$date": {"$numberLong": "17676…"}}.
EXTENDED = r'^\{\s*"\$(?:oid|date|numberInt|numberLong|numberDouble|numberDecimal|uuid)"\s*:\s*"?([^"{}]*)"?\s*\}\s*$'
EXTENDED_DATE = r'^\{\s*"\$date"\s*:\s*(?:\{\s*"\$numberLong"\s*:\s*"?(-?\d+)"?\s*\}|(-?\d+))\s*\}\s*$'  # milliseconds
OBJECT = ord("{")


# Dates that systems write for "never" or "unknown": the end of time, and the first day of a calendar or of a database.
FIRST_YEAR, LAST_YEAR = 1000, 2899
NO_DATES = (date(1753, 1, 1), date(1899, 12, 30), date(1899, 12, 31), date(1900, 1, 1))
LEAST_EPOCH = 1e8  # smaller numbers name years and counts, not seconds since 1970; 1e8 is March 1973


class Words(Frozen):
    """Words that files write for values, whatever the source."""

    nulls: tuple[str, ...] = NULLS  # in lower case; read as null in every column but names of people
    nulls_of_names: tuple[str, ...] = DUMPED  # as they are written; read as null in names of people as well
    synonyms: dict[str, dict[str, str]] = {}  # by column: other words for the values that its contract knows


class Reading(Frozen):
    """How a source's values are to be read."""

    words: Words = Words()
    timezone: str | None = None  # IANA name; times without an offset are of this zone. None: UTC
    dates: timestamps.Order | None = None  # of dates like 1/2/2011; None: what the column says
    decimal: Literal[".", ","] | None = None  # the sign before the fraction; None: what the column says
    country: str | None = None  # ISO 3166 code of three letters, of rows that name none; None: it stays unknown
    usual: dict[str, timestamps.Order] = {}  # by column: the order of dates of earlier deliveries
    margin: timedelta = MARGIN  # how far a time may lie after the landing of its row, see `quality.ahead`
    refuse: tuple[str, ...] = ()  # optional columns of which a broken value costs the row, see `TableChecks`


@dataclass
class Said:
    """What reading a file decided: ``facts`` to be counted, ``notes`` for people."""

    facts: dict[str, int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def known(values: pl.Series, column: Column, reading: Reading) -> pl.Series:
    """The values with null where the text stands for nothing, and without the types that MongoDB's exports write
    around them. NA is no null where it may be Namibia.
    """
    if values.dtype != pl.String:
        return values.fill_nan(None) if values.dtype.is_float() else values
    metadata = column.metadata or {}
    exact = reading.words.nulls_of_names
    lower: tuple[str, ...] = ()
    if metadata.get("pii") != "name":
        lower = tuple(w for w in reading.words.nulls if not (w == "na" and metadata.get(READS) == "country"))

    def read_known(some: pl.Series) -> pl.Series:
        text = some.str.strip_chars()
        nothing = text.is_in(["", *exact])
        if lower:
            nothing |= text.str.to_lowercase().is_in(lower)
        return some.set(nothing.fill_null(False), None)

    held = textbytes.of(values)
    if (held.first == OBJECT).any():
        values = textbytes.where(values, held.first == OBJECT, _without_types)
        held = textbytes.of(values)
    return textbytes.where(values, _may_be_one_of(held, (*exact, *lower)), read_known)


def _without_types(text: pl.Series) -> pl.Series:
    """Values without the types that MongoDB's exports write around them; its dates are milliseconds or ISO texts."""
    digits = text.str.extract_groups(EXTENDED_DATE).struct.unnest()
    since = timestamps.of_milliseconds(digits.select(pl.coalesce(pl.all())).to_series())
    return pl.select(pl.coalesce(since, text.str.replace(EXTENDED, "$1")).alias(text.name)).to_series()


@cache
def _starts(words: tuple[str, ...]) -> np.ndarray:
    """By its first two bytes, the first one the smaller part, whether a text may be one of some words, in whatever case
    and with blanks around it, or empty.
    """
    byte = np.arange(256)
    odd = (byte <= BLANK) | (byte >= BEYOND_ASCII)
    may = np.zeros((256, 256), bool)  # second byte, first byte
    may[:, odd] = True
    for word in words:
        spelt = {letters.encode()[:2].ljust(2, b" ") for letters in _in_cases(word[:2])}
        for first, second in spelt:
            may[second, first] = True
            may[odd, first] = True  # of a word in another case a letter may be one beyond ASCII
    return may.ravel()


def _in_cases(letters: str) -> set[str]:
    """Up to two letters in every case."""
    cases = [(letter, letter.lower(), letter.upper()) for letter in letters]
    return {"".join(chosen) for chosen in itertools.product(*cases)}


def _may_be_one_of(text: TextBytes, words: tuple[str, ...]) -> np.ndarray:
    """Texts that may be one of some words, in whatever case and with blanks around it; those that are empty, too."""
    return _starts(words)[text.start] & (text.length >= 0)


def read(values: pl.Series, name: str, column: Column, reading: Reading, said: Said) -> pl.Series:
    """Values as the type of the contract's column, null where they do not fit. What was decided is put into
    ``said``.
    """
    have, to = values.dtype, column.dtype
    reader = (column.metadata or {}).get(READS)
    if reader == "id":
        return identifiers(values)
    if reader is not None:
        return _by_name(identifiers(values), reader)
    if isinstance(column, OneOf):
        return _known_value(values, column, reading.words.synonyms.get(name, {}))
    if to == pl.String or (have == to and not to.is_temporal()):
        return values.cast(to, strict=False)
    if to.is_temporal():
        return _moments(values, name, to, reading, said)
    if have.is_numeric() and to.is_numeric():
        whole = pl.select(pl.when(values == values.floor()).then(values)).to_series() if to.is_integer() else values
        return whole.cast(to, strict=False)
    text = values.cast(pl.String).str.strip_chars()
    if to == pl.Boolean:
        lower = text.str.to_lowercase().str.replace(r"\.0+$", "")
        return pl.select(pl.when(lower.is_in(TRUE)).then(True).when(lower.is_in(FALSE)).then(False)).to_series()
    return _number(text, name, to, reading, said)


def truth(values: pl.Series) -> pl.Series:
    """What a condition gave, as true or false; null where it gave nothing.

    Raises:
        ConfigError: it gave something else, such as a moment.
    """
    if values.dtype == pl.Boolean or values.dtype == pl.Null:
        return values.cast(pl.Boolean)
    if values.dtype.is_numeric():
        return (values != 0).alias(values.name)
    text = values.cast(pl.String, strict=False).str.strip_chars().str.to_lowercase()
    if odd := text.filter(~text.is_in([*TRUE, *FALSE, ""])).head(1).to_list():
        raise ConfigError(f"`deleted` gives {odd[0]!r}, which is neither true nor false; write `… IS NOT NULL`, say")
    held = pl.when(text.is_in(TRUE)).then(True).when(text.is_in(FALSE)).then(False)
    return pl.select(held.alias(values.name)).to_series()


def identifiers(values: pl.Series) -> pl.Series:
    """Identifiers as text that joins: blanks around them are gone, leading zeros and case stay, and 17850.0 is 17850.

    Programs that hold a column of whole numbers with gaps as floats, or as decimals, write it so, with one zero or
    more; such a fraction is no part of an id. Three zeros of a text may be thousands, 1.000 beside 1.234, and stay: the
    other values of a column decide nothing, as an id is the same in a delivery of one row.
    Nor is an apostrophe before a number, by which exports keep spreadsheets from reading it as one.
    """
    if values.dtype.is_float():
        whole = values.is_finite() & (values == values.floor()) & (values.abs() < 2.0**63)
        number = pl.when(whole).then(values).cast(pl.Int64, strict=False).cast(pl.String)
        return (
            pl.select(pl.coalesce(number, pl.lit(values.fill_nan(None).cast(pl.String)))).to_series().alias(values.name)
        )
    text = values.cast(pl.String, strict=False)
    if values.dtype.is_decimal():
        return text.str.replace(r"\.0+$", "")
    ends = textbytes.of(text)
    fraction = (ends.last == ord("0")) & ((ends.before_last == ord(".")) | (ends.before_last == ord("0")))
    return textbytes.where(text, ends.odd | (ends.first == ord("'")) | fraction, _bare_identifiers)


def _bare_identifiers(text: pl.Series) -> pl.Series:
    text = text.str.replace(f"^{BLANKS}", "").str.replace(f"{BLANKS}$", "")
    text = text.str.replace(r"^'([0-9+].*)$", "$1")
    return text.str.replace(r"^(-?\d+)\.(?:0{1,2}|0{4,})$", "$1").replace("", None)


def _by_name(text: pl.Series, reader: str) -> pl.Series:
    """Codes of countries, currencies and states for what is written for them.

    An unknown country is null. A currency of three letters that the standard lacks stays, as old ones and points do. Of
    states, `american_states` makes codes of names, once the country is known.
    """
    if reader == "state":
        return pl.select(
            pl.when(text.str.contains(r"^[A-Za-z]{2}$")).then(text.str.to_uppercase()).otherwise(text)
        ).to_series()
    known, found = iso.countries() if reader == "country" else iso.currencies(), {}
    for written in text.drop_nulls().unique():
        plain = iso.plain(written)
        own = (
            plain if reader == "currency" and re.fullmatch("[A-Z]{3}", plain) and plain not in ("XXX", "XTS") else None
        )
        found[written] = known.get(plain, own)
    return _replaced(text, found)


def countries(
    read_columns: dict[str, pl.Series], mapped: pl.DataFrame, contract: dict[str, Column], country: str | None
) -> dict[str, pl.Series]:
    """The column of countries with ``country`` in each row that has a telephone number or an address and names none.

    What is written and is no country stays unknown. Tables without addresses are left alone.
    """
    kinds = {(column.metadata or {}).get(READS): name for name, column in contract.items()}
    if country is None or "country" not in kinds or "state" not in kinds:
        return {}
    name, nothing = kinds["country"], pl.Series([None], dtype=pl.String).new_from_index(0, mapped.height)
    own = [c for c, column in contract.items() if (column.metadata or {}).get("pii") in ("phone", "address")]
    asking = [mapped[c].is_not_null() for c in [*own, kinds["state"]] if c in mapped.columns]
    # A table without anybody's address lists places: each of its rows is somewhere.
    asks = pl.any_horizontal(asking) if own and asking else pl.lit(value=not own)
    written = mapped[name].is_not_null() if name in mapped.columns else nothing.is_not_null()
    found = pl.when(asks & ~written).then(pl.lit(country)).otherwise(read_columns.get(name, nothing))
    return {name: pl.select(found.alias(name)).to_series()}


def american_states(read_columns: dict[str, pl.Series], contract: dict[str, Column]) -> dict[str, pl.Series]:
    """The columns of states with codes for names, in rows of America or of no known country."""
    kinds = {(contract[c].metadata or {}).get(READS): c for c in read_columns}
    if "state" not in kinds:
        return {}
    state = read_columns[kinds["state"]]
    codes = {written: iso.states().get(iso.plain(written), written) for written in state.drop_nulls().unique()}
    coded = _replaced(state, dict(codes))
    country = read_columns.get(kinds.get("country", ""), pl.Series([None] * len(state), dtype=pl.String))
    american = (country == "USA").fill_null(True)
    return {kinds["state"]: pl.select(pl.when(american).then(coded).otherwise(state)).to_series()}


def _known_value(values: pl.Series, column: OneOf, synonyms: dict[str, str]) -> pl.Series:
    """The values that the contract knows, whatever their case and the signs between their words; others as they are."""

    def plain(text: str) -> str:
        return re.sub(r"[^A-Z0-9+]+", "_", text.strip().upper()).strip("_")

    known = {plain(word): value for word, value in synonyms.items()} | {plain(value): value for value in column.values}
    text = values.cast(pl.String, strict=False)
    return _replaced(text, {written: known.get(plain(written), written) for written in text.drop_nulls().unique()})


def _replaced(text: pl.Series, by: dict[str, str | None]) -> pl.Series:
    """The texts, all of them keys of ``by``, with what stands there."""
    if all(written == meant for written, meant in by.items()):
        return text
    return text.replace_strict(by, default=None, return_dtype=pl.String)


def _number(text: pl.Series, name: str, to: pl.DataType, reading: Reading, said: Said) -> pl.Series:
    """Numbers as `amounts` reads them. Plain ones keep every digit: they never pass through a float."""
    plain = text.cast(to, strict=False)
    if to.is_integer() and plain.null_count() == text.null_count():
        return plain  # only digits: no sign parts them
    if to.is_integer() and plain.null_count() > text.null_count():
        plain = text.str.replace(r"\.0+$", "").cast(to, strict=False)
    either = text.str.contains(amounts.EITHER).fill_null(False)
    pointed = not either.any() or (reading.decimal or amounts.decimal_sign(text)) == "."
    if plain.null_count() == text.null_count() and pointed:
        return plain
    found = amounts.parsed(text, name, said.notes.append, declared=reading.decimal)
    if to.is_integer():
        found = pl.select(pl.when(found == found.floor()).then(found)).to_series()
    if isinstance(to, pl.Decimal):
        fits = found.abs() < 10.0 ** (to.precision - to.scale)
        found = pl.select(pl.when(fits).then(found)).to_series()
    swapped = either & pl.select(found.is_not_null() & (found != plain.cast(pl.Float64)).fill_null(True)).to_series()
    chosen = pl.when(swapped | plain.is_null()).then(found.cast(to, strict=False)).otherwise(plain)
    return pl.select(chosen.alias(text.name)).to_series()


def _moments(values: pl.Series, name: str, to: pl.DataType, reading: Reading, said: Said) -> pl.Series:
    """Instants in UTC, or dates: of an instant its date in the source's zone, of a zone-less time the date as
    written.
    """
    if not (values.dtype.is_temporal() or values.dtype == pl.String or values.dtype.is_numeric()):
        values = values.cast(pl.String, strict=False)
    at = timestamps.iso(values) if values.dtype == pl.String else None
    if at is not None:
        return _sensible(timestamps.in_utc(at, reading.timezone).alias(values.name), to, reading.timezone)
    values = _with_sense(values)
    order = reading.dates
    if values.dtype == pl.String and order is None and (told := timestamps.order_of(values)):
        said.facts[f"dates|{name}|{told}"] = 1
    zone = reading.timezone
    utc = timestamps.parsed(values, name, said.notes.append, order, zone, reading.usual.get(name))
    return _sensible(utc, to, zone)


def _sensible(utc: pl.Series, to: pl.DataType, zone: str | None) -> pl.Series:
    """Times in UTC as instants or dates, without those that stand for none."""
    instants = utc.dt.replace_time_zone("UTC")
    local = (instants.dt.convert_time_zone(zone) if zone else instants).dt.date()
    sensible = local.dt.year().is_between(FIRST_YEAR, LAST_YEAR) & ~local.is_in(list(NO_DATES))
    found = local if to == pl.Date else instants
    return pl.select(pl.when(sensible).then(found).cast(to).alias(utc.name)).to_series()


def _with_sense(values: pl.Series) -> pl.Series:
    """Without the numbers that are too small to be epochs, as a year or a zero."""
    if values.dtype.is_numeric():
        compact = values.cast(pl.Float64).is_between(*timestamps.COMPACT)
        return pl.select(pl.when((values.abs() >= LEAST_EPOCH) | compact).then(values)).to_series().alias(values.name)
    if values.dtype != pl.String:
        return values
    number = values.str.strip_chars().cast(pl.Float64, strict=False)
    small = (number.abs() < LEAST_EPOCH) & ~number.is_between(*timestamps.COMPACT)
    return values.set(small.fill_null(False), None)
