"""What happened after a backup was taken and holds although its state comes back: who was erased, and what people asked
for. It is read from later backups, the lake that the settings name, and one that somebody names.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from customer360.platform import privacy, restrictions
from customer360.platform.backup import LAKE, BackupError, Repository
from customer360.platform.backup.repository import Snapshot
from customer360.platform.errors import ConfigError
from customer360.platform.lake import Lake
from customer360.platform.privacy import ErasedList
from customer360.platform.run import lake_of
from customer360.platform.settings import Settings
from customer360.serve.rights import requests

RIGHTS = "_rights"
TOGETHER = f"{RIGHTS}/restricted.json"  # what all requests restrict, in one object
_SAME = ("kind", "law", "received_on")  # of a request, whatever became of it
_Read = Callable[[str], bytes | None]


@dataclass(frozen=True)
class Since:
    """Lists of erasures; objects of rights by path, of each later state, oldest first; what could not be read."""

    erased: tuple[ErasedList, ...]
    rights: tuple[Mapping[str, bytes], ...]
    notices: tuple[str, ...]


def of(settings: Settings, places: Settings, repository: Repository, snapshot: Snapshot, erasures: str | None) -> Since:
    """What later states than a snapshot say; ``places`` is where it goes.

    Raises:
        ConfigError: ``erasures`` is no lake.
        BackupError: a later state is one of another lake.
    """
    notices: list[str] = []
    lists, rights = [], []
    files = snapshot.files.get(LAKE, {})

    def then(path: str) -> bytes | None:
        return b"".join(repository.read(files[path])) if path in files else None

    before = privacy.erased_list(then)
    for read, paths in (*_backups(repository, snapshot, notices), *_lakes(settings, places, erasures)):
        found = privacy.erased_list(read)
        said = {path: data for path in paths if (data := read(path)) is not None}
        if (found and before and found.secret != before.secret) or any(
            _differs(then(p), d) for p, d in said.items() if p.startswith(requests.FOLDER)
        ):
            raise BackupError(
                f"{repository.root}: the lake that the settings or --erasures name is another one than was backed up: "
                f"its list of erasures or its requests are others; let them name the one of this backup, or none"
            )
        lists += [found] if found is not None else []
        rights += [said]
    return Since(tuple(lists), tuple(each for each in rights if each), tuple(notices))


def _backups(repository: Repository, snapshot: Snapshot, notices: list[str]) -> Iterator[tuple[_Read, list[str]]]:
    """The newest later backup whose lists can be read: nothing ever leaves them."""
    for identifier in reversed([each for each in repository.ids() if each > snapshot.id]):
        try:
            files = repository.snapshot(identifier).files.get(LAKE, {})
            paths = [path for path in files if path.startswith((f"{RIGHTS}/", "_erasures/"))]
            held = {path: b"".join(repository.read(files[path])) for path in paths}
        except BackupError as fault:
            notices.append(
                f"{fault}: whoever was erased, or asked for something, shortly before that backup may not be known; "
                f"if a later lake is left, restore with --erasures LAKE"
            )
            continue
        yield held.get, [path for path in paths if path.startswith(f"{RIGHTS}/")]
        return


def _lakes(settings: Settings, places: Settings, erasures: str | None) -> Iterator[tuple[_Read, list[str]]]:
    roots = [settings.lake.root] if settings.lake.root not in (erasures, places.lake.root) else []
    for lake in [
        *(lake_of(settings) for _ in roots),
        *([Lake(erasures, settings.lake.storage_options)] if erasures else []),
    ]:
        if lake.is_remote or Path(lake.root).is_dir():
            yield lake.get, lake.objects(f"{RIGHTS}/")
        elif erasures and lake.root == str(Path(erasures).absolute()):
            raise ConfigError(f"--erasures {erasures}: there is no lake")


def _differs(stored: bytes | None, later: bytes) -> bool:
    """Whether the object of a request is one of another request."""
    if stored is None:
        return False
    one, other = ({name: json.loads(each).get(name) for name in _SAME} for each in (stored, later))
    return one != other


def carry_rights(lake: Lake, states: Iterable[Mapping[str, bytes]]) -> None:
    """Put requests, and what they restrict, of later states in place of those of a restored lake. Nothing that is
    restricted there is dropped, but by a request that a later state says is released."""
    for path, data in ((path, data) for state in states for path, data in sorted(state.items())):
        lake.put(path, _merged(lake.get(path), data) if path == TOGETHER else data)
    for request in requests.requests(lake) if lake.objects(requests.FOLDER) else []:
        if request.state == "released":
            restrictions.release(lake, request.number)


def _merged(stored: bytes | None, later: bytes) -> bytes:
    """Restrictions by request, of both."""
    return json.dumps(json.loads(stored or b"{}") | json.loads(later), sort_keys=True).encode()


__all__ = ["Since", "carry_rights", "of"]
