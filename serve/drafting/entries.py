"""Entries of a draft: a source with what was guessed of it, and each guess with its reason."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from customer360.pipelines import vocabulary as v
from customer360.platform import tables
from customer360.platform.sources.profiling.columns import Column
from customer360.platform.sources.profiling.survey import Delivery
from customer360.platform.tables import OneOf
from customer360.serve.drafting import sql
from customer360.serve.drafting.meaning import Match, Meaning
from customer360.serve.drafting.names import Vocabulary, plain_words

TILLS = frozenset("pos till tills store stores retail kasse kassen caisse caja cassa filiale".split())
RETURNED, IN_PART = "RETURNED", "RETURNED_IN_PART"  # what words of files mean that are no status of the contract


@dataclass(frozen=True)
class Guess:
    """A column's expression and why; ``is_assumed``: nothing in the files says it."""

    expression: str
    why: str
    is_assumed: bool = False


@dataclass
class Entry:
    """One source of a draft. ``recipe`` stands for a mapping that is known; ``asks`` are things for a person."""

    name: str
    table: str
    delivery: Delivery
    about: str = ""
    system: str = ""
    recipe: str = ""
    mapping: dict[str, Guess] = field(default_factory=dict)
    group_by: list[str] = field(default_factory=list)
    where: str = ""
    join: dict[str, dict[str, object]] = field(default_factory=dict)
    used: dict[str, Column] = field(default_factory=dict)  # columns of the file by the contract column they fill
    asks: list[str] = field(default_factory=list)
    country: str = ""  # of rows that name none, and what speaks for it
    country_why: str = ""
    is_again: bool = False  # whether another source holds the same customers by another number

    def take(self, column: str, match: Match | None, expression: str | None = None) -> None:
        """Map a column as it was matched."""
        if match is not None:
            self.used[column] = match.column
            self.mapping[column] = Guess(expression or sql.name(match.column), reason(match))

    def assume(self, column: str, expression: str, why: str) -> None:
        """Map a column by an assumption."""
        self.mapping[column] = Guess(expression, why, is_assumed=True)


def reason(match: Match) -> str:
    """Why a column was taken, with how sure that is."""
    column = match.column
    seen = ["unique"] if column.is_unique and column.is_a("id") == 1.0 and not column.is_moment else []
    if column.filled < 0.995:
        seen.append(f"{column.filled:.0%} filled")
    return ", ".join([f"{match.why} ({min(match.score, 0.99):.0%})", *seen])


def plain_entry(meaning: Meaning, name: str, vocabulary: Vocabulary) -> Entry:
    """A source whose rows are the table's rows."""
    entry = Entry(name, meaning.table, meaning.delivery, meaning.why)
    contract = tables.by_name(meaning.table).columns()
    for column, match in meaning.matches.items():
        if column in contract:
            take_as_known(entry, column, match, vocabulary)
    if "FULL_NAME" in meaning.matches:
        take_full_name(entry, meaning.matches["FULL_NAME"])
    if meaning.named and (key := meaning.column("CUSTOMER_ID")) is not None:
        entry.is_again = True
        entry.about = f"customers once more, by {key.name}, the number that other files know them by"
        entry.where = f"{sql.name(key)} IS NOT NULL" if key.filled < 1 else ""
    complete(entry, meaning)
    return entry


def take_as_known(entry: Entry, column: str, match: Match, vocabulary: Vocabulary) -> None:
    """Map a column; an enumeration with words of the contract for those of the file."""
    kind = tables.by_name(entry.table).columns()[column]
    if not isinstance(kind, OneOf):
        entry.take(column, match)
        return
    known = vocabulary.values.get(column, {}) | {plain_words(value): value for value in kind.values}
    unknown = [word for word in match.column.words if plain_words(word) not in known]
    if len(unknown) == len(match.column.words):
        return  # nothing of it is known: it stays beside the row
    if all(plain_words(word) == plain_words(known.get(plain_words(word), "")) for word in match.column.words):
        entry.take(column, match)
    else:
        entry.take(column, match, sql.words(match.column, known, {}))
    if unknown:
        entry.asks.append(
            f"{column}: what do {_shown(unknown)} mean? Rows with them are refused until it is written here"
        )


def _shown(words: list[str]) -> str:
    return ", ".join(repr(word) for word in words[:6])


def take_full_name(entry: Entry, match: Match, grouped: bool = False) -> None:
    """First and last name from one column."""
    for column, part in (("FIRST_NAME", sql.first_name(match.column)), ("LAST_NAME", sql.last_name(match.column))):
        entry.take(column, match, sql.any_of(part) if grouped else part)
        entry.mapping[column] = Guess(entry.mapping[column].expression, "split at the first blank", is_assumed=True)


def complete(entry: Entry, meaning: Meaning) -> None:
    """What the contract requires and the file lacks, as far as it can be made of other columns."""
    columns = meaning.column
    if entry.table == "bronze.events":
        if "EVENT_ID" not in entry.mapping:
            names = ("VISITOR_ID", "CUSTOMER_ID", "SESSION_ID", "EVENT_DATE", "EVENT_TYPE", "PRODUCT_ID")
            parts = [c for n in names if (c := columns(n)) is not None]
            entry.assume("EVENT_ID", sql.joined(parts), "no column numbers the events: equal ones count once")
    elif entry.table == "bronze.service_tickets" and "TICKET_STATUS" not in entry.mapping:
        entry.assume("TICKET_STATUS", "'CLOSED'", "no column says it")


def channel(entry: Entry, meaning: Meaning, vocabulary: Vocabulary, *, grouped: bool) -> None:
    """The channel of sales: a column's words, else the shop's where nothing speaks of stores."""
    match = meaning.matches.get("CHANNEL")
    known = vocabulary.values["CHANNEL"] | {plain_words(value): value for value in v.CHANNELS}
    if match and all(plain_words(word) in known for word in match.column.words):
        expression = sql.words(match.column, known, {})
        entry.take("CHANNEL", match, sql.any_of(expression) if grouped else expression)
        return
    words = set(re.findall(r"[a-z]+", meaning.delivery.place.file.lower()))
    has_store = bool(words & TILLS) or any(n in meaning.matches for n in ("STORE_ID", "CASHIER_ID"))
    why = "the file speaks of stores" if has_store else "no column says it"
    entry.assume("CHANNEL", "'POS'" if has_store else "'ECOMMERCE'", why)
