"""What the standing commit of a build was made from: its input files, by which the next run knows what is new.

One object a build of record tables, or of tables by subject. It is named by the fingerprint that its commit names, and
written before the commit: so the two cannot be parted by a crash. A lake of before has none; what cannot be known is
built whole.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from customer360.platform.lake import Add, File, Lake

ORIGINS = "_origins"


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Of a commit: ``ground``, a digest of all that decided its rows beside ``inputs``, which are the files of each
    table that it was made from; ``followed``, the files by which its rows were last given their subject; ``replaced``,
    addresses of bronze rows that corrections stand for; ``stored``, a digest of the table's files after it;
    ``facts``, its counts.
    """

    ground: str
    inputs: Mapping[str, Sequence[File]]
    followed: Mapping[str, Sequence[File]] = field(default_factory=dict)
    replaced: tuple[str, ...] = ()
    stored: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    def save(self, lake: Lake, node: str, version: int) -> None:
        lake.put(_path(node, version), json.dumps(vars(self), default=_plain).encode())


def _plain(value: Any) -> Any:
    """What JSON does not know: a file by its fields, anything else as text."""
    return vars(value) if isinstance(value, File) else str(value)


def _path(node: str, version: int) -> str:
    return f"{ORIGINS}/{node}/{version:015x}.json"


def origin_of(lake: Lake, node: str, version: int | None) -> Origin | None:
    """What the commit of a build under a fingerprint was made from, if that is known."""
    data = None if version is None else lake.get(_path(node, version))
    return None if data is None else _origin(data)


def origins(lake: Lake) -> Iterator[Origin]:
    """What all builds were made from, of which that is known."""
    for path in lake.objects(f"{ORIGINS}/"):
        if (data := lake.get(path)) is not None:
            yield _origin(data)


def _origin(data: bytes) -> Origin:
    raw = json.loads(data)
    raw["replaced"] = tuple(raw["replaced"])
    for name in ("inputs", "followed"):
        raw[name] = {table: [File(**f) for f in files] for table, files in raw[name].items()}
    return Origin(**raw)


def forget_others(lake: Lake, node: str, version: int) -> None:
    """Delete what earlier commits of a build were made from."""
    lake.delete(path for path in lake.objects(f"{ORIGINS}/{node}") if path != _path(node, version))


def files_digest(files: Sequence[File | Add]) -> str:
    """Digest of the paths of a table's files: whether anybody changed it since."""
    return hashlib.sha256(json.dumps(sorted(f.path for f in files)).encode()).hexdigest()
