"""Whole addresses in one field ("12 Main St, Springfield, IL 62704") as street, city and postal code.

Only what stands in one field and nowhere else is taken apart: a record with a city or a postal code of its own keeps
its street as it is.
"""

import re

import polars as pl

from customer360.models.identity.evidence.steps import Parsed, Stage

_POSTAL = re.compile(
    r"[,\s](\d{5}(?:-\d{4})?|\d{4}|\d{6}|[a-z]{1,2}\d[a-z\d]?\s?\d[a-z]{2}|[a-z]\d[a-z]\s?\d[a-z]\d|\d{4}\s?[a-z]{2})\s*$",
    re.IGNORECASE,
)
_STATE = re.compile(r"(?:,\s*+|(?<!\s)\s++)[A-Z]{2,3}\.?\s*+$")  # a run of blanks is looked at once
_STREET_TYPES = frozenset(
    """street st avenue ave av road rd boulevard blvd drive dr lane ln court ct place pl square sq terrace ter highway
    hwy parkway pkwy circle cir way trail trl close crescent""".split()
)
_DIRECTIONS = frozenset("n s e w ne nw se sw north south east west".split())
_MARK = "~"


def whole_addresses() -> Stage:
    """`address_line_1`, `city` and `zip_code` where the first holds all of them, and the others nothing."""
    nowhere_else = pl.col("city").is_null() & pl.col("zip_code").is_null()
    told = nowhere_else & pl.col("address_line_1").str.contains(r",|\s\d{5}\s*$")

    def part(place: int) -> pl.Expr:
        text = pl.col("whole").str.extract(r"^([^~]*)~([^~]*)~([^~]*)$", place)
        return pl.when(text != "").then(text)

    taken = {
        "address_line_1": pl.coalesce(part(1), "address_line_1"),
        "city": pl.coalesce("city", part(2)),
        "zip_code": pl.coalesce("zip_code", part(3)),
    }
    of = ("address_line_1", "city", "zip_code")
    return Stage((), of, (Parsed("whole", ("address_line_1",), told, _apart), taken))


def _apart(text: str) -> str | None:
    """Street, city and postal code with a mark between; None where no city and no code is told."""
    text = text.replace(_MARK, " ")
    found = _POSTAL.search(text)
    rest = (text[: found.start()] if found else text).strip(" ,")
    stripped = _STATE.sub("", rest).strip(" ,") or rest
    parts = [part.strip() for part in stripped.split(",") if part.strip()]
    if not parts:
        return None
    at = next((place for place, part in enumerate(parts) if re.search(r"\d", part)), 0)
    after = [part for part in parts[at + 1 :] if not re.search(r"\d", part)]
    street, city = parts[at], after[-1] if after else ""
    if not city:
        street, city = _by_street_type(street)
    return _MARK.join((street, city, found.group(1) if found else "")) if city or found else None


def _by_street_type(text: str) -> tuple[str, str]:
    """Street and what follows it: "80 Delaware Ave SE Washington"."""
    words = text.split()
    places = [at for at, word in enumerate(words) if at and word.lower().strip(".") in _STREET_TYPES]
    end = places[-1] + 1 if places else len(words)
    while end < len(words) and words[end].lower().strip(".") in _DIRECTIONS:
        end += 1
    rest = words[end:]
    return (" ".join(words[:end]), " ".join(rest)) if all(word.isalpha() for word in rest) else (text, "")
