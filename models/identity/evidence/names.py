"""Given names that stand for one another: relations of the `nicknames` package and of the rules, as groups and roots.

A *root* of a name is a formal name that it may stand for, or itself: `sam` has the roots sam, samuel, samantha, …;
two names are compatible when they share a root (sam ~ samuel, but not samuel ~ samantha). A *group* is a coarse,
single-valued key for blocking: the union of related names, closed off at a size, since the unlimited union joins
more than a thousand names through short forms such as `al`.
"""

from collections import Counter
from collections.abc import Mapping
from functools import lru_cache

import polars as pl
from nicknames import NickNamer

Stated = tuple[tuple[str, tuple[str, ...]], ...]
# Endings of men's names and of women's made of them.
_FEMININE = (
    ("", "a"), ("", "e"), ("", "ne"), ("", "le"), ("", "ia"), ("", "ie"), ("", "ina"), ("", "ine"), ("", "ette"),
    ("", "sha"), ("o", "a"), ("o", "ina"), ("er", "ra"), ("s", ""), ("s", "sa"), ("s", "lle"), ("us", "a"), ("e", "a"),
    ("e", "ine"), ("is", "es"), ("i", "a"), ("y", "ia"), ("k", "ca"), ("k", "cia"), ("k", "que"), ("c", "que"),
    ("ei", "eia"),
)  # fmt: skip
_SLAVIC = (("ii", "iya"),)
_GREEK = (("os", "a"), ("os", "ia"), ("is", "a"))
_ARABIC = (("", "h"),)
# Letters that are heard alike.
_HEARD = str.maketrans("cqgzxwy", "kkkssfi")


def stated(nicknames: Mapping[str, tuple[str, ...]]) -> Stated:
    """Nicknames of the rules as a value that can be remembered by."""
    return tuple(sorted(nicknames.items()))


@lru_cache(maxsize=4)
def _relations(more: Stated) -> list[tuple[str, str]]:
    lookup = NickNamer().nickname_lookup
    known = {(formal, short) for formal, shorts in lookup.items() for short in shorts}
    return sorted(known | {(formal, short) for formal, shorts in more for short in shorts})


@lru_cache(maxsize=4)
def masculine_forms(
    names: frozenset[str], unlisted: frozenset[str] = frozenset(), arabic: frozenset[str] = frozenset()
) -> pl.DataFrame:
    """(name: String, masculine: List(String), sorted): per feminine name the men's names that it is made of, which a
    couple, or brother and sister, may bear: carla ~ carl, andrea ~ andreas, jeanne ~ jean, and, of `arabic` ones in
    their own letters, krymh ~ krym."""
    forms: dict[str, set[str]] = {}
    greek = frozenset(name for name in unlisted if name.endswith(("os", "is")))
    groups = ((names, _FEMININE), (unlisted - greek, _FEMININE + _SLAVIC), (greek, _GREEK), (arabic, _ARABIC))
    for some, endings in groups:
        for name in some:
            for end, other in endings:
                if name.endswith(end):
                    forms.setdefault(name.removesuffix(end) + other, set()).add(name)
    made = {form: sorted(of - {form}) for form, of in sorted(forms.items()) if of - {form}}
    return pl.DataFrame(
        {"name": list(made), "masculine": list(made.values())},
        schema={"name": pl.String, "masculine": pl.List(pl.String)},
    )


@lru_cache(maxsize=4)
def listed_names(more: Stated, masculine: frozenset[str]) -> pl.DataFrame:
    """(name: String, listed_as: String): the names of the nicknames, the men's names and the women's made of them, and
    what they are listed as: equal for one name in two ways of writing (Mathew and Matthew), and for what a typing error
    makes of it; not for two names a letter apart (Mary and Mark, Tim and Tom). Two that are listed are no short forms
    of one another, so that men's names whose short forms the nicknames lack do not belong here."""
    related = {name for pair in _relations(more) for name in pair}
    names = sorted(related | masculine | set(masculine_forms(masculine)["name"]))
    return pl.DataFrame({"name": names, "listed_as": [_spelled_alike(name) for name in names]})


def _spelled_alike(name: str) -> str:
    """The first letter and which consonants follow; of three letters and fewer, all that there are."""
    heard = name.replace("ph", "f").translate(_HEARD)
    if len(name) <= 3:
        return "".join(sorted(set(heard)))
    return heard[:1] + "".join(sorted(set(heard[1:]) - set("aeiouhj")))


@lru_cache(maxsize=4)
def nickname_roots(more: Stated = ()) -> pl.DataFrame:
    """(name: String, roots: List(String), sorted): one row per name of the nickname table."""
    pairs = _relations(more)
    names = sorted({name for pair in pairs for name in pair})
    own = pl.DataFrame({"name": names, "root": names})
    given = pl.DataFrame(pairs, schema=["root", "name"], orient="row").select("name", "root")
    return pl.concat([own, given]).group_by("name").agg(pl.col("root").unique().sort().alias("roots")).sort("name")


@lru_cache(maxsize=4)
def _roots_by_name(more: Stated) -> dict[str, list[str]]:
    return dict(nickname_roots(more).iter_rows())


def roots_by_word(name: str, more: Stated = ()) -> str:
    """Of a name of several words each word with each of its roots, `beth|elizabeth`, parted by blanks."""
    known = _roots_by_name(more)
    return " ".join(f"{word}|{root}" for word in name.split(" ") for root in known.get(word, [word]) if " " not in root)


@lru_cache(maxsize=4)
def nickname_groups(limit: int, more: Stated = ()) -> pl.DataFrame:
    """(name: String, nickname_group: String): union-find over the nickname table, where a union that would hold more
    than `limit` names is not made. Short forms of few formal names are joined first, so that what is ambiguous
    (`al`, `sam`) is what the limit leaves out. A group is named by its member with most short forms."""
    parent: dict[str, str] = {}
    size: dict[str, int] = {}

    def find(name: str) -> str:
        parent.setdefault(name, name)
        size.setdefault(name, 1)
        while parent[name] != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    english = _relations(())
    known = set(english)
    formal_names = {formal for formal, _ in english}
    # Those of the rules last: they add names, and do not change what the limit leaves of the others.
    further = [pair for pair in _relations(more) if pair not in known and pair[0] not in formal_names]
    shorts = Counter(formal for formal, _ in (*english, *further))
    for pairs in (english, further):
        formals = Counter(short for _, short in pairs)
        for formal, short in sorted(pairs, key=lambda pair: (formals[pair[1]], -shorts[pair[0]], pair)):
            one, other = find(formal), find(short)
            if one != other and size[one] + size[other] <= limit:
                kept, joined = sorted((one, other), key=lambda name: (-shorts[name], name))
                parent[joined] = kept
                size[kept] += size[joined]
    names = sorted(parent)
    return pl.DataFrame({"name": names, "nickname_group": [find(name) for name in names]})
