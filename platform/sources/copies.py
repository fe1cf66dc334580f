"""Landed files that turn up in another place: moved, or copied together with all that landed after them.

A file is one that landed if its last name, size and SHA-256 are. That alone is no reason to pass it by: a shop that
writes its first list again, after another, means it. So a file is no news only where

- its old place is empty or holds something else, and its time of change is the old one: it was moved; or
- every file that landed from then on is among the copies, in the same order: landing them all again would end where
  things stand. What was moved is none of these copies: it stands where it stood, before what came since.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from customer360.platform.delivery import natural
from customer360.platform.sources.landing import Landing

Row = Mapping[str, Any]


def copies(
    landing: Landing, fresh: Iterable[Row], listing: pl.DataFrame, last: pl.DataFrame, *, moved_only: bool = False
) -> dict[str, str]:
    """Of files of a new name those that are no news, each with the name under which it landed.

    ``listing`` is what lies there now, ``last`` the inputs as they landed. With ``moved_only`` copies whose old place
    is not empty are news.
    """
    sizes, bases = {file["size"] for file in fresh}, {_base(file["name"]) for file in fresh}
    read = last.filter(pl.col("size").is_in(sizes), ~pl.col("waits"), ~pl.col("failed"))
    alike = read.filter(pl.col("name").str.extract("([^/]*)$").is_in(bases), pl.col("sha256").is_not_null())
    places: dict[tuple[str, int], list[Row]] = {}
    for row in alike.to_dicts():
        places.setdefault((_base(row["name"]), row["size"]), []).append(row)
    matched: dict[str, list[Row]] = {}
    for file in fresh:
        if options := places.get((_base(file["name"]), file["size"])):
            content = landing.digest_of(file["name"])
            if same := [row for row in options if row["sha256"] == content]:
                matched[file["name"]] = same
    if not matched:
        return {}
    there = _unmoved(landing, {r["name"]: r for rows in matched.values() for r in rows}, listing)
    found: dict[str, str] = {}
    for file in fresh:
        old = [r for r in matched.get(file["name"], ()) if r["name"] not in there]
        if moved := [r for r in old if r["modified"] == file["modified"]]:
            found[file["name"]] = moved[0]["name"]
    rest = {name: rows for name, rows in matched.items() if name not in found}
    if moved_only:
        rest = {n: left for n, rows in rest.items() if (left := [r for r in rows if r["name"] not in there])}
    return found | _restated(rest, {r["name"] for rows in rest.values() for r in rows}, last)


def _unmoved(landing: Landing, landed: Mapping[str, Row], listing: pl.DataFrame) -> set[str]:
    """Names of files that landed and still hold what landed under them."""
    now = listing.filter(pl.col("name").is_in(list(landed))).to_dicts()
    return {
        file["name"]
        for file in now
        for then in [landed[file["name"]]]
        if file["size"] == then["size"]
        and (file["modified"] == then["modified"] or landing.digest_of(file["name"]) == then["sha256"])
    }


def _restated(rest: Mapping[str, list[Row]], matched: set[str], last: pl.DataFrame) -> dict[str, str]:
    """Copies of all that landed from some file on, in the order in which it landed."""
    if not rest:
        return {}
    newest = last.sort("seq", "place", descending=True)["name"]
    place: dict[str, int] = {}  # of the files that were copied without a gap, counted from the newest
    for number, name in enumerate(newest):
        if name not in matched:
            break
        place[name] = -number
    before, found = -len(place), dict[str, str]()
    for name in sorted(rest, key=natural):
        options = sorted((place[r["name"]], r["name"]) for r in rest[name] if r["name"] in place)
        if not options:
            continue  # something landed after it that was not copied: it is news
        later = [option for option in options if option[0] >= before]
        if not later:
            return {}  # in another order than they landed
        before, found[name] = later[0]
    return found


def _base(name: str) -> str:
    return name.rpartition("/")[2]
