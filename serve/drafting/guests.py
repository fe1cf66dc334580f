"""Customer number 0: shops write it for who bought without an account. Taken as it stands, all of them are one person,
with the name and the address of one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import polars as pl

from customer360.platform.sources.profiling.columns import Column
from customer360.serve.drafting.accounts import CUSTOMERS, KEY, MAIL
from customer360.serve.drafting.meaning import Match, Meaning, read_as
from customer360.serve.drafting.names import Vocabulary

NOBODY = "0"
WHOLE, MOST = r"^\d+$", 0.9  # the other numbers are whole
BY_NUMBER, OR_MAIL = "NULLIF({}, '0')", "COALESCE(NULLIF({}, '0'), LOWER({}))"


def told(meanings: list[Meaning], refers: Mapping[int, int], vocabulary: Vocabulary) -> list[Meaning]:
    """The meanings in which customer 0 is nobody, or, where nothing lists customers, who has the e-mail address beside.

    ``refers``: by place of a meaning that of the customers that it refers to.
    """
    return [
        _told(meaning, meanings[refers[place]] if place in refers else None, vocabulary)
        for place, meaning in enumerate(meanings)
    ]


def _told(meaning: Meaning, listed: Meaning | None, vocabulary: Vocabulary) -> Meaning:
    match = meaning.buyer.matches.get(KEY)
    if meaning.table in ("", CUSTOMERS) or match is None or not _may_be_nobody(match.column):
        return meaning
    if listed is not None:
        key = listed.column(KEY)
        is_customer = key is None or NOBODY in key.distinct
        return meaning if is_customer else _with(meaning, match, (match.column,), "0 is in no list of customers")
    mail = read_as(meaning.delivery, CUSTOMERS, vocabulary).column(MAIL)
    if mail is None or not _are_several(match.column, mail):
        return meaning
    return _with(meaning, match, (match.column, mail), "0 is who has no account, told by the e-mail address")


def _may_be_nobody(column: Column) -> bool:
    others = column.distinct.filter(column.distinct != NOBODY)
    of_form = others.str.contains(WHOLE).mean() if len(others) else 0.0
    return column.is_text and not column.form and NOBODY in column.distinct and float(of_form or 0.0) >= MOST  # type: ignore[arg-type]


def _are_several(column: Column, mail: Column) -> bool:
    """Whether rows of customer 0 are not all of one address: of a single row nobody knows, and most are guests."""
    rows = mail.data.filter(column.data.str.strip_chars() == NOBODY).cast(pl.String)
    known = rows.str.strip_chars().str.to_lowercase().drop_nulls()
    return len(known) == 1 or known.n_unique() > 1


def _with(meaning: Meaning, match: Match, parts: tuple[Column, ...], why: str) -> Meaning:
    number = parts[0].data.str.strip_chars()
    other = parts[1].data.cast(pl.String).str.to_lowercase() if len(parts) > 1 else pl.lit(None, pl.String)
    data = pl.select(pl.when(number == NOBODY).then(other).otherwise(number).alias(match.column.name)).to_series()
    form = OR_MAIL if len(parts) > 1 else BY_NUMBER
    column = Column(match.column.name, data, match.column.path, match.column.title, form, parts)
    found = Match(column, match.score, f"{match.why}; {why}")
    if meaning.head is None:
        return replace(meaning, matches=meaning.matches | {KEY: found})
    return replace(meaning, head=replace(meaning.head, matches=meaning.head.matches | {KEY: found}))
