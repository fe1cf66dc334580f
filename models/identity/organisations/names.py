"""Names of organisations: what kind of firm its legal form says it is, and the words that tell it from others.

"The Brandt Bros. Mfg. Co., Ltd." and "BRANDT BROTHERS MANUFACTURING" come to the same words.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from customer360.models.identity.organisations.legal_forms import AT_ENDS, JOINED, SPOKEN, TELLING

_LETTERS = str.maketrans({"ß": "ss", "æ": "ae", "œ": "oe", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "ı": "i"})
# Legal forms that a stroke or points part: "A/S", "S/A", "N V", "S p A".
_STROKE = re.compile(r"\b([a-z])\s*/\s*([a-z])\b")
# "AT&T", "R & D": one word.
_AMPERSAND = re.compile(r"\b(?:(\w{1,2})&(\w{1,2})|(\w) & (\w))\b")
_INITIALS = re.compile(r"\b(?:\w )+\w\b")
_NOISE = frozenset(
    """the a an of and for in on at to by de la le les el los las du des del della di do da dos das y e et und der die
    von vom zu i og och en & dba ta aka""".split()
)
# Short for long; both are then cut to their stem.
_LONG = {
    "intl": "international", "int": "international", "internatl": "international", "mfg": "manufacturing",
    "mfr": "manufacturer", "bros": "brothers", "bro": "brothers", "gebr": "brothers", "gebruder": "brothers",
    "svc": "service", "svcs": "service", "serv": "service", "assoc": "associates", "assocs": "associates",
    "assn": "association", "univ": "university", "ctr": "center", "cntr": "center", "centre": "center",
    "dept": "department",
    "natl": "national", "govt": "government", "grp": "group", "ind": "industries", "inds": "industries",
    "mgmt": "management", "mgt": "management", "sys": "systems", "eng": "engineering", "engg": "engineering",
    "lab": "laboratories", "labs": "laboratories", "laboratory": "laboratories", "hosp": "hospital", "sch": "school",
    "acad": "academy", "elem": "elementary", "pharm": "pharmacy", "st": "saint", "sta": "santa",
    "ste": "sainte", "ent": "enterprises",
    "dev": "development", "dist": "distribution", "distrib": "distribution", "tech": "technology",
    "technologies": "technology", "comm": "communications", "telecom": "telecommunications", "transp": "transport",
    "prod": "products", "prods": "products", "inst": "institute", "soc": "society", "fdn": "foundation",
    "mkt": "market", "rest": "restaurant", "cmty": "community", "chem": "chemical", "elec": "electric",
    "auto": "automotive",
    "pk": "park", "ave": "avenue", "hld": "holding", "hldg": "holding", "hldgs": "holding", "fin": "financial",
}  # fmt: skip


@dataclass(frozen=True)
class OrganisationName:
    """`words`: in their order, without legal form and small words, cut to their stems. `form`: kind of firm, or None.
    `is_telling`: the legal form is one that no person's name ends with."""

    words: tuple[str, ...]
    form: str | None
    is_telling: bool


def organisation_name(text: str) -> OrganisationName:
    """The parts of a firm's name as written."""
    joined, kind = _without_joined(unicodedata.normalize("NFKC", text).lower())
    words = plain(joined).split()
    kind, is_telling = (kind, True) if kind else (None, False)
    words, spoken = _without_spoken(words)
    kind, is_telling = kind or spoken, is_telling or spoken is not None
    kept = words
    for form in [word for word in words[1:] if word in TELLING] + words[:1]:
        if form in TELLING and any(word not in TELLING and word not in AT_ENDS for word in kept):
            kind, is_telling = kind or TELLING[form], True
            kept = [word for word in kept if word != form]
    kept, at_end = _without_ends(kept)
    told = [_stem(_LONG.get(word, word)) for word in kept if word not in _NOISE]
    return OrganisationName(tuple(told or kept or words), kind or at_end, is_telling)


def plain(text: str) -> str:
    """Lower case, accents folded in Latin script, single letters in a row as one word, signs as spaces."""
    lower = text.lower().translate(_LETTERS)
    folded = "".join(letter for letter in unicodedata.normalize("NFKD", lower) if not unicodedata.combining(letter))
    folded = unicodedata.normalize("NFC", folded)
    folded = re.sub(r"['’`´.\"]", "", _STROKE.sub(r"\1\2", folded)).replace("&amp", "&")
    folded = re.sub(r"[&+]", " and ", _AMPERSAND.sub(r"\1\2\3\4", folded))
    spaced = re.sub(r"[^\w]+|_", " ", folded).strip()
    return _INITIALS.sub(lambda found: found.group().replace(" ", ""), spaced)


def _without_joined(text: str) -> tuple[str, str | None]:
    """East Asian names carry their form without a space, before or after."""
    for form, kind in JOINED.items():
        if form in text and text != form:
            return text.replace(form, " "), kind
    return text, None


def _without_spoken(words: list[str]) -> tuple[list[str], str | None]:
    """Without a form of several words at the end."""
    for form, kind in SPOKEN.items():
        parts = form.split()
        if len(words) > len(parts) and words[-len(parts) :] == parts:
            return words[: -len(parts)], kind
    return words, None


def _without_ends(words: list[str]) -> tuple[list[str], str | None]:
    """Without short forms at the end ("& Co. KG"), or one in front ("PT Sumber")."""
    kind = None
    while any(word not in _NOISE for word in words[:-1]) and (words[-1] in AT_ENDS or words[-1] in _NOISE):
        kind = kind or AT_ENDS.get(words[-1])
        words = words[:-1]
    if kind is None and len(words) > 1 and words[0] in AT_ENDS and words[0] not in ("co", "company"):
        return words[1:], AT_ENDS[words[0]]
    return words, kind


def _stem(word: str) -> str:
    """One form of singular and plural ("centers", "services"), which sources mix."""
    return word[:-1] if len(word) > 4 and word.endswith("s") and not word.endswith("ss") else word
