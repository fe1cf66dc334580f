"""Consent of unknown files: columns that ask for a yes or a no, how answers are read, and what is asked of people.

An answer that nobody knows is no consent: its rows are left out, so that the person counts as not asked, and the draft
asks what it means.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from customer360.platform.sources.profiling.columns import Column
from customer360.serve.drafting import sql
from customer360.serve.drafting.entries import Entry, Guess
from customer360.serve.drafting.meaning import Match, Meaning
from customer360.serve.drafting.names import Vocabulary, plain, plain_words

PREFERENCES = "bronze.preferences"
SHORTEST = 5  # letters of a word that is looked for inside of longer ones
MOST = 12  # different answers of a column that asks for a yes or a no
USUAL = "EMAIL"  # what a consent is for that does not say it


@dataclass(frozen=True)
class Question:
    """A column that asks for consent: for what, whether a yes refuses it, its answers by what they say."""

    column: Column
    purpose: str
    is_said: bool  # whether the name says what for
    yes: tuple[str, ...]
    no: tuple[str, ...]
    unclear: tuple[str, ...]


def consents(customers: Meaning, stem: str, vocabulary: Vocabulary) -> list[Entry]:
    """Sources of preferences that a file of customers gives, one a purpose; what cannot be read is asked there."""
    key = customers.column("CUSTOMER_ID")
    if key is None or customers.named:
        return []
    taken = {m.column.name for name, m in customers.matches.items() if m.score >= 0.9 and name != "CUSTOMER_STATUS"}
    columns = [c for name, c in customers.delivery.columns.items() if name not in taken]
    dates = [c for c in columns if c.is_moment and _speaks(c, vocabulary)]
    asked = [q for c in columns if not c.is_moment and not c.is_nested and (q := _question(c, vocabulary))]
    made: list[Entry] = []
    for question in sorted(asked, key=lambda q: not q.is_said):
        if question.purpose not in {entry.about.partition(" ")[0] for entry in made}:
            made.append(_entry(customers, key, question, dates, stem, vocabulary))
        else:
            made[0].asks.append(f"{question.column.name}: consent to what? Another column holds that for {question.purpose}")  # fmt: skip  # noqa: E501
    return made


def unread(customers: Meaning, vocabulary: Vocabulary) -> list[str]:
    """Questions about columns that speak of consent: without answers that can be read, or to other things."""
    key, found = customers.column("CUSTOMER_ID"), []
    for name, column in customers.delivery.columns.items():
        if _has(column, vocabulary.consents["others"]) and 0 < len(column.distinct) <= MOST and not column.is_moment:
            found.append(f"{name}: is that consent to be contacted? It is not taken for one; map it if it is")
        if column.is_moment or key is None or not len(column.distinct) or not _speaks(column, vocabulary):
            continue
        answers = _answers(column, vocabulary)
        if column.is_word and len(column.words) <= MOST and not answers[0] and not answers[1]:
            shown = ", ".join(repr(word) for word in column.words[:6])
            found.append(f"{name}: speaks of consent; what do {shown} mean? Until it is mapped nobody was asked")
    return found


def _question(column: Column, vocabulary: Vocabulary) -> Question | None:
    if not 0 < len(column.distinct) <= MOST:
        return None
    yes, no, unclear = _answers(column, vocabulary)
    words = vocabulary.consents
    known = [plain_words(word) for word in (*yes, *no)]
    if not known or len(unclear) > len(known) + 1:
        return None
    if not _speaks(column, vocabulary) and sum(word in words["answers"] for word in known) < 2:
        return None
    refuses = _has(column, words["refusals"]) or _has(column, words["against"])
    purposes = [purpose for purpose in vocabulary.purposes if _has(column, vocabulary.purposes[purpose])]
    purpose = purposes[0] if purposes else USUAL
    yes, no = (no, yes) if refuses and not {plain_words(w) for w in (*yes, *no)} & words["answers"] else (yes, no)
    return Question(column, purpose, bool(purposes), tuple(yes), tuple(no), tuple(unclear))


def _answers(column: Column, vocabulary: Vocabulary) -> tuple[list[str], list[str], list[str]]:
    """Answers that say yes, no, and what nobody knows, the most frequent first."""
    said: tuple[list[str], list[str], list[str]] = ([], [], [])
    for word in column.words:
        text = plain_words(word)
        said[0 if text in vocabulary.consents["yes"] else 1 if text in vocabulary.consents["no"] else 2].append(word)
    return said


def _speaks(column: Column, vocabulary: Vocabulary) -> bool:
    """Whether a name speaks of consent to be contacted, given or refused."""
    words = vocabulary.consents
    if _has(column, words["others"]):
        return False
    for_what = any(_has(column, known) for known in vocabulary.purposes.values())
    return _has(column, words["names"] | words["refusals"]) or (for_what and _has(column, words["against"]))


def _has(column: Column, words: frozenset[str]) -> bool:
    """Whether a name holds one of some words: long ones anywhere in it, short ones as a word of their own."""
    name = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", column.title or column.name)
    parts = re.findall(r"[^\W_]+", plain(name))
    joined = "".join(parts)
    return any(word in parts or (len(word) >= SHORTEST and word in joined) for word in words)


def _entry(
    customers: Meaning, key: Column, asked: Question, dates: list[Column], stem: str, words: Vocabulary
) -> Entry:
    purpose, column = asked.purpose, asked.column
    entry = Entry(f"{stem}_{purpose.lower()}_consents", PREFERENCES, customers.delivery, f"{purpose} consent")
    answer = f"LOWER(TRIM({sql.name(column)}))" if column.is_text else f"LOWER(CAST({sql.name(column)} AS VARCHAR))"
    yes, no = (_written(column, said) for said in (asked.yes, asked.no))
    keys = "" if key.filled == 1 else f"{sql.name(key)} IS NOT NULL AND "
    entry.where = f"{keys}{answer} IN ({', '.join(map(sql.constant, [*yes, *no]))})"
    entry.assume("PREFERENCE_ID", f"'{purpose}:' || {sql.name(key)}", "one answer a customer and purpose")
    entry.take("CUSTOMER_ID", Match(key, customers.matches["CUSTOMER_ID"].score, customers.matches["CUSTOMER_ID"].why))
    entry.mapping["PREFERENCE_TYPE"] = Guess("'COMMUNICATION'", "a consent")
    if yes:
        value = (
            f"CASE WHEN {answer} IN ({', '.join(map(sql.constant, yes))}) THEN '{purpose}:YES' ELSE '{purpose}:NO' END"
        )
    else:
        value = f"'{purpose}:NO'"
    entry.used["PREFERENCE_VALUE"] = column
    said = f"{column.name}: yes is {_shown(asked.yes)}, no is {_shown(asked.no)}, empty is not asked"
    entry.mapping["PREFERENCE_VALUE"] = Guess(value, said + ("" if asked.is_said else f"; it does not say for what, {USUAL} is meant"), not asked.is_said)  # fmt: skip  # noqa: E501
    entry.mapping["PREFERENCE_SOURCE"] = Guess("'EXPLICIT'", "an answer")
    of_this = [d for d in dates if _has(d, words.purposes.get(purpose, frozenset()))] or dates
    if len(of_this) == 1:
        entry.take("PREFERENCE_DATE", Match(of_this[0], 0.8, "the date that speaks of consent"))
    if asked.unclear:
        entry.asks.append(
            f"PREFERENCE_VALUE: what do {_shown(asked.unclear)} of {column.name} mean? "
            "Who answered so counts as not asked until it is written here"
        )
    return entry


def _written(column: Column, said: tuple[str, ...]) -> list[str]:
    """Answers as the expression gives them: numbers with fractions in the file keep these."""
    words = sorted({word.lower() for word in said})
    return [*words, *(f"{word}.0" for word in words if word.isdigit() and column.data.dtype.is_float())]


def _shown(said: tuple[str, ...]) -> str:
    return ", ".join(repr(word) for word in said[:6]) or "nothing"
