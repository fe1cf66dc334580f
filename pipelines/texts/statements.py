"""What a statement of a person says: language, sentiment, aspects, and the terms of a list that occur in it.

Languages are told by their function words. English is read by VADER (Hutto and Gilbert 2014), German, Spanish and
French by short lexicons with VADER's rules of negation and strength; of a text in any other language, known (Italian,
Dutch, Portuguese) or not, there is no sentiment but that of its emoji.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

import polars as pl

from customer360.pipelines.texts.lexicons import BOOSTERS, EMOJI, NEGATIONS, SHOP_WORDS, SIGNS, STOP_WORDS, STRENGTHS

LANGUAGES = tuple(STOP_WORDS)
READ_IN = ("en", *STRENGTHS)  # languages whose sentiment is read
WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)*")
TERM = re.compile(r"[^\W_]+(?:'[^\W_]+)*")  # words and numbers
# Possessive, and runs of blanks from their first alone: a text of a thousand blanks must not hold up a run.
CLAUSE = re.compile(
    r"(?<=[.!?;\n])\s++|(?:(?:(?<!\s)\s*+)?+[,;]|(?<!\s))\s++"
    r"(?:but|however|although|aber|jedoch|pero|aunque|mais|cependant)\s++",
    re.IGNORECASE,
)
NEGATED, BOOSTED = -0.74, 0.293  # VADER's scalars
REACH = 3  # words before, in which a negation counts
AFTER = 2  # and behind: German and French may negate what stands before
SPREAD = 15  # VADER's: sums of strengths are pressed to -1 to 1
MOST_READ = 10_000  # characters of a text: VADER's time grows with their square, and nobody's opinion comes later
MOST_WORDS, FEW_WORDS = 100, 3  # a language is told by so many words at most; so many are a short text


def words_of(text: str) -> list[str]:
    """The words of a text in lower case, apostrophes straight."""
    return WORD.findall(text.lower().replace("’", "'"))


@cache
def _by_language() -> dict[str, tuple[frozenset[str], frozenset[str]]]:
    """Function words and words of shops."""
    return {each: (frozenset(STOP_WORDS[each].split()), frozenset(SHOP_WORDS[each].split())) for each in LANGUAGES}


@cache
def _valued(language: str) -> tuple[dict[str, float], list[tuple[str, float]]]:
    """Strength by whole word, and by the beginning of a word, the longest first."""
    whole, begun = {}, []
    for strength, listed in STRENGTHS[language].items():
        for word in listed.split():
            if word.endswith("*"):
                begun.append((word[:-1], strength))
            else:
                whole[word] = strength
    return whole, sorted(begun, key=lambda each: -len(each[0]))


@cache
def _vader() -> Any:
    """VADER's analyzer, made once a process."""
    from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

    return SentimentIntensityAnalyzer()


def language_of(text: str) -> str | None:
    """The language of a text, ISO 639-1; None: none of `LANGUAGES` leads.

    A function word counts two points, a letter that no other of the languages has two, a word of shops or of the
    language's lexicon one. One point is enough for a text of few words, and a tenth of a point a word for any.
    """
    words, letters = words_of(text)[:MOST_WORDS], set(text.lower())
    points = dict.fromkeys(LANGUAGES, 0)
    for language, (function_words, shop_words) in _by_language().items():
        points[language] += 2 * sum(word in function_words for word in words)
        points[language] += 2 * bool(letters & set(SIGNS.get(language, "")))
        points[language] += sum(word in shop_words or _strength(word, language) != 0 for word in words)
    (best, most), (_, next_most) = sorted(points.items(), key=lambda each: -each[1])[:2]
    enough = most >= max(2, len(words) / 10) or (most == 1 and len(words) <= FEW_WORDS)
    return best if enough and most > next_most else None


@lru_cache(maxsize=100_000)
def _strength(word: str, language: str) -> float:
    if language == "en":
        return float(_vader().lexicon.get(word, 0.0))
    if language not in READ_IN:
        return 0.0
    whole, begun = _valued(language)
    return whole.get(word) or next((strength for stem, strength in begun if word.startswith(stem)), 0.0)


def sentiment_of(text: str, language: str | None) -> float | None:
    """Sentiment from -1 to 1, 0 where nothing is praised or blamed; None: no language and no emoji to tell it by.
    What comes after `MOST_READ` characters is not read."""
    text = text[:MOST_READ]
    if language == "en":
        return _by_vader("".join(f" {EMOJI[sign]} " if sign in EMOJI else sign for sign in text.replace("’", "'")))
    known = [sign for sign in text if sign in EMOJI or sign in _vader().emojis]
    signs = " ".join(EMOJI.get(sign, sign) for sign in known)
    if language not in READ_IN:
        return _by_vader(signs) if signs else None
    total = _summed(words_of(text), language)
    if signs:
        emoji = _by_vader(signs)
        total += emoji * math.sqrt(SPREAD / (1 - min(emoji**2, 0.99)))
    total += math.copysign(min(text.count("!"), 3) * BOOSTED, total) if total else 0.0
    return round(total / math.sqrt(total**2 + SPREAD), 4)


def _by_vader(text: str) -> float:
    return float(_vader().polarity_scores(text)["compound"])


@cache
def _negations(language: str) -> tuple[frozenset[str], frozenset[str]]:
    return frozenset(NEGATIONS[language].split()), frozenset(BOOSTERS[language].split())


def _summed(words: list[str], language: str) -> float:
    """Strengths of the words, turned by a negation near them and raised by a word of degree right before."""
    negations, boosters = _negations(language)
    total = 0.0
    for place, word in enumerate(words):
        strength = 0.0 if word in negations else _strength(word, language)
        if not strength or (word in boosters and place + 1 < len(words) and _strength(words[place + 1], language)):
            continue  # "super" before "freundlich" is a degree, alone it is praise
        if place and words[place - 1] in boosters:
            strength += math.copysign(BOOSTED, strength)
        behind = words[place + 1 : place + 1 + AFTER] if language == "de" else ()
        if negations & {*words[max(0, place - REACH) : place], *behind}:
            strength *= NEGATED
        total += strength
    return total


@dataclass(frozen=True)
class Reading:
    """What a text says. aspects: sentiment of the clauses that name each aspect, null where none can be told."""

    language: str | None
    sentiment: float | None
    aspects: dict[str, float | None]


def found_terms(text: str, terms: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """The terms of each list that occur in a text, sorted. A term with an asterisk stands for words that begin so; one
    of several words for their sequence. Case and signs between words and numbers count nothing."""
    said = f" {plain(text)} "
    return {
        name: found for name, listed in terms.items() if (found := sorted({t for t in listed if sought(t) in said}))
    }


def plain(text: str) -> str:
    """Words and numbers of a text in lower case, a blank between them."""
    return " ".join(TERM.findall(text.lower().replace("’", "'")))


@lru_cache(maxsize=100_000)
def sought(term: str) -> str:
    """What a term looks for in a text's words, a blank before each and behind the last. ValueError where it names no
    word or number, and would be found in every text."""
    if not (words := plain(term)):
        raise ValueError(
            f"the term {term!r} has no letter or digit: leave it out, or write the words that you look for"
        )
    return f" {words}" if term.rstrip().endswith("*") else f" {words} "


def read(text: str, aspects: Mapping[str, Iterable[str]]) -> Reading:
    """Language and sentiment of a text, and how its clauses speak of each aspect that they name; of a very long one as
    of its first `MOST_READ` characters."""
    text = text[:MOST_READ]
    language = language_of(text)
    return Reading(language, sentiment_of(text, language), aspects_of(CLAUSE.split(text), language, aspects))


def aspects_of(
    clauses: Iterable[str], language: str | None, aspects: Mapping[str, Iterable[str]]
) -> dict[str, float | None]:
    """How clauses speak of each aspect that they name; null where it cannot be told."""
    spoken: dict[str, list[float]] = {}
    for clause in clauses:
        named = found_terms(clause, aspects)
        score = sentiment_of(clause, language) if named else None
        for aspect in named:
            spoken.setdefault(aspect, []).extend([] if score is None else [score])
    return {a: round(sum(scores) / len(scores), 4) if scores else None for a, scores in sorted(spoken.items())}


MENTIONS = pl.List(pl.Struct({"brand": pl.String, "sentiment_score": pl.Float64}))
ASPECTS = pl.List(pl.Struct({"aspect": pl.String, "sentiment_score": pl.Float64}))
