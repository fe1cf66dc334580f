"""Names of files and columns as concepts: `Kundennummer`, `cust_no` and `CustomerID` are all customer + id."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import yaml

from customer360.platform import settings
from customer360.platform.errors import ConfigError

SHORTEST = 3  # letters of a word that a longer one is cut into
FILLER = "filler"  # concept of words that say nothing: date de commande, joined_on
ENDS = ("s", "n", "en", "e", "es")  # plurals that are not listed
_PARTS = re.compile(r"[^\W_]+")
_CAMEL = re.compile(r"(?<=[a-z\d])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])|(?<=[A-Za-z])(?=\d)|(?<=\d)(?=[A-Za-z])")


@dataclass(frozen=True)
class ColumnWords:
    """What names a contract column: combinations of concepts, best first; ``kind`` of its values; ``known``: only
    values that the contract knows are worth it.
    """

    kind: str
    names: tuple[frozenset[str], ...]
    known: bool = False


@dataclass(frozen=True)
class TableWords:
    """What a table is ``about``, the columns of which one each is needed, and the words of its columns."""

    name: str
    about: frozenset[str]
    needs: tuple[frozenset[str], ...]
    columns: dict[str, ColumnWords]

    @property
    def is_table(self) -> bool:
        """Whether it is a table of the lake; others are known, so that their files are taken for nothing else."""
        return self.name.startswith("bronze.")


@dataclass(frozen=True)
class Country:
    """What the values of a country look like."""

    code: str
    zip: str
    currency: str
    language: str  # of headers
    own: str = ""  # form of postal codes that hardly another country has
    zone: str = ""  # IANA name, where there is one


@dataclass(frozen=True)
class Vocabulary:
    """Words of names, tables by words, and words for the values of enumerations."""

    concepts: dict[str, str]
    tables: dict[str, TableWords]
    values: dict[str, dict[str, str]]
    consents: dict[str, frozenset[str]] = field(default_factory=dict)  # names, refusals, yes, no, answers
    purposes: dict[str, frozenset[str]] = field(default_factory=dict)
    countries: tuple[Country, ...] = ()
    languages: dict[str, frozenset[str]] = field(default_factory=dict)  # words of headers
    _cut: dict[str, tuple[str, ...]] = field(default_factory=dict)

    @cached_property
    def entities(self) -> frozenset[str]:
        """Concepts that files can be about."""
        return frozenset().union(*(table.about for table in self.tables.values()))

    def concepts_of(self, name: str) -> tuple[str, ...]:
        """Concepts of a name in its order; a word that nobody knows stays, with a ``?`` before it."""
        words = [word for part in _PARTS.findall(_CAMEL.sub(" ", name)) for word in [plain(part)] if word]
        joined = plain("".join(words))
        if joined in self.concepts:  # `e-mail`, `Post Code`
            return (self.concepts[joined],)
        found: list[str] = []
        for word in words:
            found += [] if word.isdigit() else self._of_word(word)
        return tuple(concept for concept in found if concept != FILLER)

    def _of_word(self, word: str) -> tuple[str, ...]:
        if word not in self._cut:
            self._cut[word] = self._known(word) or self._parts(word) or (f"?{word}",)
        return self._cut[word]

    def _known(self, word: str) -> tuple[str, ...]:
        forms = (word, *(word[: -len(end)] for end in ENDS if word.endswith(end) and len(word) > len(end) + 2))
        return next(((self.concepts[form],) for form in forms if form in self.concepts), ())

    def _parts(self, word: str) -> tuple[str, ...]:
        """A long word as listed ones, longest first: bestell+datum, unit+price; the last may be short (custid)."""
        for end in range(len(word) - 2, SHORTEST - 1, -1):
            if first := self._known(word[:end]) if word[:end] in self.concepts else ():
                rest = word[end:]
                after = self._known(rest) if len(rest) >= SHORTEST or rest in ("id", "no", "nr") else ()
                after = after or (self._parts(rest) if len(rest) > SHORTEST else ())
                if after:
                    return (*first, *after)
        return ()


def vocabulary() -> Vocabulary:
    """The words of ``configs/drafting.yaml``. Raises ConfigError where that file is missing or no YAML."""
    path = settings.find("drafting.yaml")
    content = settings.read_yaml(Path(path))
    try:
        concepts = {plain(w): concept for concept, words in content["words"].items() for w in words}
        tables = {name: _table(name, body) for name, body in content["tables"].items()}
        found = {
            column: {plain_words(w): value for value, words in known.items() for w in (*words, value)}
            for column, known in content["values"].items()
        }
        consents = {name: _plain_set(words) for name, words in content["consents"].items() if name != "purposes"}
        purposes = {name: _plain_set(words) for name, words in content["consents"]["purposes"].items()}
        countries = tuple(Country(code, **said) for code, said in content["countries"].items())
        languages = {name: _plain_set(words) for name, words in content["languages"].items()}
    except (KeyError, TypeError, AttributeError, yaml.YAMLError) as fault:
        raise ConfigError(f"{path}: {fault}; it needs words, tables, values, consents, countries, languages") from None
    return Vocabulary(concepts, tables, found, consents, purposes, countries, languages)


def _plain_set(words: list[object]) -> frozenset[str]:
    return frozenset(plain_words(str(word)) for word in words)


def _table(name: str, body: dict[str, object]) -> TableWords:
    columns = {
        column: ColumnWords(
            str(words["is"]), tuple(frozenset(n.split()) for n in words["names"]), bool(words.get("known", False))
        )
        for column, words in body["columns"].items()  # type: ignore[attr-defined]
    }
    needs = tuple(frozenset(each) for each in body["needs"])  # type: ignore[attr-defined]
    return TableWords(name, frozenset(body["about"]), needs, columns)  # type: ignore[call-overload]


def plain(word: str) -> str:
    """A word in lower case without accents."""
    lower = word.lower().replace("ß", "ss")
    return "".join(sign for sign in unicodedata.normalize("NFKD", lower) if not unicodedata.combining(sign))


def plain_words(text: str) -> str:
    """A value of an enumeration without what writers differ in: `Credit card`, `credit_card`, `CreditCard` are one."""
    return "".join(_PARTS.findall(plain(text)))
