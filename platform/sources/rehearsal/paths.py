"""Globs that find nothing, and files that were sent twice."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from customer360.platform.ledger import Input
from customer360.platform.sources.files import Files
from customer360.platform.sources.landing import Landing, matcher
from customer360.platform.sources.rehearsal.findings import Finding
from customer360.platform.sources.rehearsal.samples import Waiting

LISTED = 5_000  # files of the landing folder among which one is looked for that was meant
NEAR = 0.75  # of a path and a glob without its wildcards
LARGEST, DIGESTS = 1 << 28, 200  # bytes of a file, and number of files, whose content is compared


def path_finding(landing: Landing, waiting: Waiting) -> Finding | None:
    """Why the glob of a source finds nothing, as far as the landing folder tells."""
    source = waiting.source
    if not isinstance(source, Files):
        return Finding("warning", waiting.name, "", "nothing was found at the source")
    path, nothing = source.path, f"nothing in {landing.root} matches {source.path!r}"
    if not landing.is_remote and (PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts):
        do = "paths lie below the landing folder: move the files there, or set `landing`"
        return Finding("error", waiting.name, "path", nothing, do)
    files = [file.name for file in landing.find("*")][:LISTED]
    if meant := _meant(path, files, landing.root):
        return Finding("error", waiting.name, "path", nothing, meant)
    there = f"there are {len(files):,} other files" if files else "the folder is empty"
    return Finding("warning", waiting.name, "path", f"{nothing}; {there}", "leave the source out until it delivers")


def _meant(path: str, files: list[str], root: str) -> str:
    """What to write in place of a glob that matches no file; empty where nothing is near."""
    escaped = path.replace("[", "[[]")
    if escaped != path and (found := _first(escaped, files)):
        return f"a bracket opens a set of characters; for {found!r} write {escaped!r}"
    if found := _first(path.casefold(), [name.casefold() for name in files]):
        name = next(name for name in files if name.casefold() == found)
        return f"there is {name!r}: letters must have the same case"
    for parts in (PurePosixPath(root).parts[-n:] for n in (1, 2, 3)):
        below = path.removeprefix("/".join(parts) + "/")
        if below != path and (found := _first(below, files)):
            return f"paths begin below {root}: for {found!r} write {below!r}"
    if found := _first(path.removesuffix(".gz") + "*", files):
        return f"there is {found!r}: write {path + '*'!r}"
    return _nearest(path, files)


def _first(pattern: str, files: list[str]) -> str | None:
    matches = matcher(pattern)
    return next((name for name in files if matches(name)), None)


def _nearest(path: str, files: list[str]) -> str:
    plain = _without_numbers(path)
    scored = [(difflib.SequenceMatcher(None, plain, _without_numbers(name)).ratio(), name) for name in files]
    best = max(scored, default=(0.0, ""))
    return f"did you mean {best[1]!r}?" if best[0] >= NEAR else ""


def _without_numbers(path: str) -> str:
    return re.sub(r"[\d*?\[\]_-]+", "", path.casefold())


def same_content(landing: Landing, waiting: Waiting) -> Iterator[Finding]:
    """New files whose content is that of another new file, or of one that landed under another name."""
    if not isinstance(waiting.source, Files):
        return
    known = {str(piece.detail["sha256"]): piece.name for piece in waiting.landed if piece.detail.get("sha256")}
    sizes: dict[int, list[Input]] = {}
    for piece in waiting.inputs:
        sizes.setdefault(int(piece.detail.get("size", 0)), []).append(piece)
    landed_sizes = {int(piece.detail.get("size", 0)) for piece in waiting.landed}
    asked = [
        piece
        for size, pieces in sizes.items()
        if 0 < size <= LARGEST and (len(pieces) > 1 or size in landed_sizes)
        for piece in pieces
    ]
    for piece in asked[:DIGESTS]:
        digest = landing.digest_of(piece.name)
        twin = known.setdefault(digest, piece.name)
        if twin != piece.name:
            what = f"the same content as {twin}: its rows would come twice"
            yield Finding("warning", waiting.name, piece.name, what, "remove one, unless it was meant")
