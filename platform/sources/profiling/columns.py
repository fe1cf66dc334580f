"""What the values of a column are, told from a sample of them: kinds of values with the share that is of each kind."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import polars as pl

from customer360.platform.sources import values
from customer360.platform.sources.values import amounts, iso, timestamps

Kind = Literal["id", "text", "word", "number", "moment", "email", "phone", "url", "currency", "nested", "empty"]
LOOKED_AT = 400  # distinct values whose form is judged; how many there are, and what is empty, is counted on the sample
MOST = 0.9  # of the values have to be of a kind, so that the column is
WORDS = 40  # at most so many distinct values are an enumeration

EMAIL = r"^[^@\s,;]+@[^@\s,;]+\.\w{2,}$"
URL = r"^(https?://|www\.|/[\w-]+)"
PHONE = r"^\+?[\d\s().\-/x]{7,24}$"
GROUPED = r"^\+|^\(|^00|\d[ .\-/)]+\d"  # signs that phone numbers have and counts have not
TOKEN = r"^[^\s]{1,64}$"
OFFSET = r"(?i)(\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?\s*(Z|UTC|GMT|[+-]\d{2}:?\d{2})|\d [A-Z]{3,4})$"
CLOCK = r"\d{1,2}:\d{2}"
DATE_LIKE = r"\d[-/.\s]\d|\d{8}|\d [A-Za-z]{3}|[A-Za-z]{3,9} \d|\d-[A-Za-z]{3}"
SHORT_DATE = r"^\d{1,2}[./-]\d{1,2}[./-]\d{2,4}"


@dataclass(frozen=True, eq=False)
class Column:
    """One column of a sample: ``name``, ``data`` as the reader gave it; texts without blanks around them below.

    ``path`` leads to values inside of objects. ``title`` is what tells of the content where that is not the name.
    Values that are made of columns have these as ``parts``, and SQL with a ``{}`` for each of them as ``form``.
    """

    name: str
    data: pl.Series
    path: tuple[str, ...] = ()
    title: str = ""
    form: str = ""
    parts: tuple[Column, ...] = ()

    @cached_property
    def texts(self) -> pl.Series:
        """Filled values as text, ids without the ``.0`` of a float column."""
        text = values.identifiers(self.data) if self.data.dtype.is_float() else self.data.cast(pl.String, strict=False)
        text = text.str.strip_chars()
        return text.filter(text.is_not_null() & ~text.str.to_lowercase().is_in(["", *values.NULLS]))

    @cached_property
    def distinct(self) -> pl.Series:
        """Distinct values in the order of the sample."""
        return self.texts.unique(maintain_order=True)

    @property
    def rows(self) -> int:
        return len(self.data)

    @property
    def filled(self) -> float:
        """Share of the rows that have a value."""
        return len(self.texts) / self.rows if self.rows else 0.0

    @property
    def is_unique(self) -> bool:
        """Whether no value occurs twice, and no row lacks one."""
        return 0 < len(self.texts) == len(self.distinct) == self.rows

    @property
    def is_text(self) -> bool:
        """Whether the file holds text here, which has to be read before it can be counted with."""
        return self.data.dtype == pl.String

    @cached_property
    def looked_at(self) -> pl.Series:
        return self.distinct.head(LOOKED_AT)

    def share(self, pattern: str) -> float:
        """Share of the distinct values that a pattern is found in."""
        return float(self.looked_at.str.contains(pattern).mean() or 0.0)  # type: ignore[arg-type]

    @cached_property
    def is_nested(self) -> bool:
        return self.data.dtype.is_nested() or (self.share(r"^[\[{]") >= MOST and len(self.distinct) > 0)

    @cached_property
    def is_number(self) -> bool:
        if self.data.dtype.is_numeric():
            return True
        if not len(self.distinct) or self.data.dtype != pl.String:
            return False
        found = amounts.parsed(self.looked_at, self.name, _silent)
        return found.null_count() <= (1 - MOST) * len(found)

    @cached_property
    def has_negatives(self) -> bool:
        """Whether some numbers are below zero, however they are written."""
        if not self.is_number:
            return False
        found = amounts.parsed(self.distinct, self.name, _silent)
        return bool((found < 0).any())

    @cached_property
    def is_whole(self) -> bool:
        found = amounts.parsed(self.looked_at, self.name, _silent) if self.is_number else pl.Series([0.5])
        return bool((found == found.floor()).all())

    @cached_property
    def largest(self) -> float:
        found = amounts.parsed(self.distinct, self.name, _silent) if self.is_number else pl.Series([], dtype=pl.Float64)
        return float(found.max() or 0.0)  # type: ignore[arg-type]

    @cached_property
    def decimal(self) -> str | None:
        """The sign before fractions, where the values tell it."""
        return amounts.decimal_sign(self.looked_at) if self.is_text and self.is_number else None

    @cached_property
    def is_moment(self) -> bool:
        """Dates or instants; numbers only where they can be no count: epochs, and dates like 20261231."""
        if self.data.dtype.is_temporal():
            return True
        if not len(self.distinct):
            return False
        if not self.is_number and self.share(DATE_LIKE) < MOST:
            return False
        found = timestamps.parsed(self.looked_at, self.name, _silent, "day_first")
        other = timestamps.parsed(self.looked_at, self.name, _silent, "month_first")
        found = other if other.null_count() < found.null_count() else found
        if found.null_count() > (1 - MOST) * len(found):
            return False
        if not self.is_number:
            return True
        return self.largest >= values.LEAST_EPOCH / 10 and bool(
            found.drop_nulls().dt.year().is_between(1990, 2100).all()
        )

    @cached_property
    def order(self) -> timestamps.Order | None:
        """Order of day and month, where some value leaves no doubt about it."""
        return timestamps.order_of(self.distinct) if self.is_text and self.share(SHORT_DATE) > 0 else None

    @property
    def has_unclear_order(self) -> bool:
        """Whether dates are like 1/2/2026 and no value says which is the day."""
        return self.is_moment and self.is_text and self.share(SHORT_DATE) > 0 and self.order is None

    @property
    def lacks_offset(self) -> bool:
        """Whether times of the day are written without a zone."""
        if isinstance(self.data.dtype, pl.Datetime):
            return self.data.dtype.time_zone is None
        return self.is_text and self.is_moment and self.share(CLOCK) > 0 and self.share(OFFSET) < 1 - MOST

    @cached_property
    def is_currency(self) -> bool:
        known = iso.currencies()
        return 0 < len(self.distinct) <= WORDS and all(
            re.fullmatch(r"[A-Za-z]{3}", text) and iso.plain(text) in known for text in self.looked_at
        )

    @property
    def is_word(self) -> bool:
        """Few values that come again and again, as enumerations have them."""
        return 0 < len(self.distinct) <= WORDS and (len(self.texts) >= 2 * len(self.distinct) or self.rows < 20)

    @cached_property
    def currency_signs(self) -> frozenset[str]:
        """Currencies that stand beside the amounts."""
        if not self.is_number or not self.is_text:
            return frozenset()
        signs = self.looked_at.str.extract(rf"({amounts.CURRENCY})").drop_nulls().unique()
        return frozenset(code for sign in signs if (code := iso.currencies().get(iso.plain(sign))))

    def is_a(self, kind: str) -> float:
        """How well the values go with what a column has to hold, 0 (never) to 1; 0.3 where nothing is known of them."""
        if not len(self.distinct):
            return 0.3
        if self.is_nested:
            return 0.0
        if kind == "email":
            return 1.0 if self.share(EMAIL) >= 0.7 else 0.0
        if kind == "phone":
            is_date = self.is_moment and not self.is_number  # ten digits may be an epoch as well as a number to call
            return 1.0 if self.share(PHONE) >= 0.6 and not is_date else 0.15
        if kind == "moment":
            return float(self.is_moment)
        if kind == "number":
            return 0.0 if not self.is_number else 0.6 if self.is_moment else 1.0
        if kind == "currency":
            return 1.0 if self.is_currency else 0.1 if self.share(r"^\D{1,4}$") >= MOST else 0.0
        if kind == "id":
            fraction = self.is_number and not self.is_whole
            return (
                0.05
                if fraction or (self.is_moment and not self.is_number)
                else 1.0
                if self.share(TOKEN) >= MOST
                else 0.5
            )
        if kind == "word":
            return 1.0 if self.is_word else 0.3
        if kind == "text":
            return 0.15 if self.is_moment or self.share(EMAIL) >= MOST else 0.35 if self.is_number else 1.0
        return 1.0

    @cached_property
    def words(self) -> list[str]:
        """The values of an enumeration, the most frequent first."""
        counts = self.texts.rename("text").value_counts().sort("count", "text", descending=[True, False])
        return counts["text"].to_list()


def _silent(_: str) -> None:
    """What was assumed of a sample is said of the draft."""
