"""Given names that stand for one another: relations of the `nicknames` package, as groups and as roots.

A *root* of a name is a formal name that it may stand for, or itself: `sam` has the roots sam, samuel, samantha, …;
two names are compatible when they share a root (sam ~ samuel, but not samuel ~ samantha). A *group* is a coarse,
single-valued key for blocking: the union of related names, closed off at a size, since the unlimited union joins
more than a thousand names through short forms such as `al`.
"""

from collections import Counter
from functools import lru_cache

import polars as pl
from nicknames import NickNamer


@lru_cache(maxsize=1)
def _relations() -> list[tuple[str, str]]:
    lookup = NickNamer().nickname_lookup
    return sorted((formal, short) for formal, shorts in lookup.items() for short in shorts)


@lru_cache(maxsize=1)
def nickname_roots() -> pl.DataFrame:
    """(name: String, roots: List(String), sorted): one row per name of the nickname table."""
    pairs = _relations()
    names = sorted({name for pair in pairs for name in pair})
    own = pl.DataFrame({"name": names, "root": names})
    given = pl.DataFrame(pairs, schema=["root", "name"], orient="row").select("name", "root")
    return pl.concat([own, given]).group_by("name").agg(pl.col("root").unique().sort().alias("roots")).sort("name")


@lru_cache(maxsize=4)
def nickname_groups(limit: int) -> pl.DataFrame:
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

    formals = Counter(short for _, short in _relations())
    shorts = Counter(formal for formal, _ in _relations())
    for formal, short in sorted(_relations(), key=lambda pair: (formals[pair[1]], -shorts[pair[0]], pair)):
        one, other = find(formal), find(short)
        if one != other and size[one] + size[other] <= limit:
            kept, joined = sorted((one, other), key=lambda name: (-shorts[name], name))
            parent[joined] = kept
            size[kept] += size[joined]
    names = sorted(parent)
    return pl.DataFrame({"name": names, "nickname_group": [find(name) for name in names]})
