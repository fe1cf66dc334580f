"""Ids of mentions: the firm that an account of a person names has a record of its own, named after the account."""

from __future__ import annotations

import polars as pl

MENTION = "#organisation"


def is_mention(column: str = "record_id") -> pl.Expr:
    return pl.col(column).str.ends_with(MENTION)


def account_of(record_id: pl.Expr) -> pl.Expr:
    """The account that a mention is of; an account is its own."""
    return record_id.str.strip_suffix(MENTION)
