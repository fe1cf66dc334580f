"""How a text speaks of each brand that it names: who is praised against a rival is not the rival.

A brand is spoken of by the clauses that name it, its own name left out of them: United is no praise. One that stands
behind a word of comparison ("better than ACME", "switched from ACME") is what somebody else is measured by: the clause
says the opposite of it, and what it says of whoever is measured, the other brand of the clause or else the one that the
text was written to. Where nobody is better, the brand is. Comparisons are known by language; of a text in another
language the brands are named, and nothing is said of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from customer360.pipelines.texts.statements import CLAUSE, MOST_READ, TERM, found_terms, plain, sentiment_of, sought

# What stands between the praise and whom it is not for, by language; words that join sentences as well ("als", "que")
# behind a comparative alone. Of a language without a list nobody can tell, and nothing is said.
ANYWHERE = "than|versus|vs"
COMPARED = {
    "en": "unlike|beats?|instead of|compared (?:to|with)"
    "|(?:switch|switched|switching|moved|moving|changed|changing)(?: over| away)? from",
    "de": "verglichen mit|statt|anstatt|(?:mehr|weniger|(?!immer|aber|oder|wieder|leider|bisher|weiter|sicher|hier)"
    r"\w{3,}er(?:e[mnrs]?)?)(?: \w+)? als",
    "es": "en vez de|en lugar de|(?:m[aá]s|menos|mejor|mejores|peor|peores)"
    r"(?: (?!(?:es|fue|era|creo|digo|pienso|decir)\b)\w+)? que",
    "fr": "au lieu de|plut[oô]t que|(?:plus|moins|mieux|meilleure?s?|pires?)"
    r"(?: (?!(?:est|était|c'est|dit|dire|crois|pense)\b)\w+)? que",
}
BESIDE = "at|from|with|in|the|bei|beim|von|mit|der|die|das|dem|en|con|el|la|los|de|du|chez|le|les"
COMPARISON = {
    language: re.compile(rf"\b(?:{ANYWHERE}|{words})(?: (?:{BESIDE}))*$") for language, words in COMPARED.items()
}
LONGEST = 8  # words before a name that are looked at: a comparison and what may stand beside it
# Nobody is, comes or beats: at the beginning, as what is compared. "No doubt" and "no fees" deny something else.
IS_OR_BEATS = r"(?:is|was|are|comes?|beats?|does|can|could|will|else|better|ist|war|kommt|kann|schlägt|besser\w*|es|era|supera|mejor|est|n'est|ne|bat|mieux)"  # noqa: E501
NOBODY = re.compile(
    r"^\W*(?:(?:there is|there's|es gibt|no hay|il n'y a)\s+)?"
    r"(?P<nobody>no one|nobody|nothing|none|niemand|nichts|nadie|nada|personne|rien"
    rf"|no|kein\w*|ning[uú]n\w*|aucun\w*)(?=(?:\s+(?!it\b)\w+){{0,2}}?\s+{IS_OR_BEATS}(?!\w))",
    re.IGNORECASE,
)
GREATER = re.compile(r"(?<=\S)[^\S\n]++(?:>|&gt;)++[^\S\n]++")  # at the beginning of a line it quotes


class Clause(NamedTuple):
    """A clause, without the names; whom it speaks of, and by whom it measures them."""

    words: str
    names: bool
    of: frozenset[str]
    measured_by: frozenset[str]


def clauses_of(
    text: str, language: str | None, brands: Mapping[str, Iterable[str]], addressed: str, *, is_stated: bool = False
) -> list[Clause]:
    """The clauses of a text's first `MOST_READ` characters. ``addressed`` is the brand that is meant where something is
    measured by another and nothing else is named; ``is_stated``: the source says that the text is on it. A clause that
    names nobody is of it where it was the last that was spoken of, or the first that is; of others nobody can tell."""
    told = [
        _clause(words, language, brands, addressed) for words in CLAUSE.split(GREATER.sub(" than ", text[:MOST_READ]))
    ]
    own = frozenset({addressed})
    goes_on, clauses = is_stated or next((c.of == own for c in told if c.names), False), []
    for clause in told:
        goes_on = clause.of == own if clause.names else goes_on
        clauses.append(clause if clause.names or not goes_on else clause._replace(of=own))
    return clauses


def _clause(text: str, language: str | None, brands: Mapping[str, Iterable[str]], addressed: str) -> Clause:
    if not (named := found_terms(text, brands)):
        return Clause(text, names=False, of=frozenset(), measured_by=frozenset())
    bare = _without(text, named)
    measured_by = {b for b, terms in named.items() if all(_is_compared(text, term, language) for term in terms)}
    if measured_by and (nobody := NOBODY.search(bare)):
        bare, measured_by = bare[: nobody.start("nobody")] + bare[nobody.end("nobody") :], set()
    of = named.keys() - measured_by or ({addressed} - measured_by if measured_by else set())
    return Clause(bare, names=True, of=frozenset(of), measured_by=frozenset(measured_by))


def spoken_of(
    text: str, language: str | None, brands: Mapping[str, Iterable[str]], addressed: str, *, is_stated: bool = False
) -> dict[str, float | None]:
    """Sentiment, -1 to 1, of each brand that a text names, in that order, and of the one ``addressed`` where something
    is measured by another or ``is_stated``; null where none can be told. Empty where no brand is named."""
    clauses = clauses_of(text, language, brands, addressed, is_stated=is_stated)
    if not any(clause.names for clause in clauses):
        return {}
    spoken: dict[str, list[float | None]] = {addressed: []} if is_stated else {}
    for clause in clauses:
        score = sentiment_of(clause.words, language) if language in COMPARISON else None
        for brand in sorted(clause.of | clause.measured_by):
            told = spoken.setdefault(brand, [])
            if clause.names or score:  # what says nothing is no opinion of who is not named
                told.append(-score if score is not None and brand in clause.measured_by else score)
    first = _places(text[:MOST_READ], brands)
    return {brand: _mean(spoken[brand]) for brand in sorted(spoken, key=lambda b: (first.get(b, len(text)), b))}


def _places(text: str, brands: Mapping[str, Iterable[str]]) -> dict[str, int]:
    """Where a text names each brand first."""
    said = f" {plain(text)} "
    return {b: min(said.index(sought(t)) for t in terms) for b, terms in found_terms(text, brands).items()}


def _mean(scores: list[float | None]) -> float | None:
    known = [score for score in scores if score is not None]
    return round(sum(known) / len(known), 4) if known else None


def _without(clause: str, named: Mapping[str, Iterable[str]]) -> str:
    """A clause with "it" in place of the brands' names."""
    for terms in named.values():
        for term in terms:
            words = r"[^\w]+".join(map(re.escape, TERM.findall(term)))
            ending = r"\w*" if term.rstrip().endswith("*") else ""
            clause = re.sub(rf"\b{words}{ending}\b", "it", clause, flags=re.IGNORECASE)
    return clause


def _is_compared(clause: str, term: str, language: str | None) -> bool:
    """Whether a term stands behind a word of comparison wherever the clause has it."""
    if (comparison := COMPARISON.get(language or "")) is None:
        return False
    words = TERM.findall(clause.lower().replace("’", "'"))
    wanted = TERM.findall(term.lower())
    begins = term.rstrip().endswith("*")
    places = [at for at in range(len(words)) if _stands_at(words[at : at + len(wanted)], wanted, begins=begins)]
    return bool(places) and all(comparison.search(" ".join(words[max(0, at - LONGEST) : at])) for at in places)


def _stands_at(words: list[str], wanted: list[str], *, begins: bool) -> bool:
    if len(words) < len(wanted) or words[:-1] != wanted[:-1]:
        return False
    return words[-1].startswith(wanted[-1]) if begins else words[-1] == wanted[-1]
