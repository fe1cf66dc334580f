"""What happened after a backup was taken and holds although its state comes back: who was erased, what people asked
for, and which keys and tokens were revoked. It is read from later backups, the lake and the state folder that the
settings name, and a lake that somebody names.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from customer360.platform import access, erasure_list, privacy, restrictions, revocations
from customer360.platform.backup import LAKE, STATE, BackupError, Repository
from customer360.platform.backup.repository import Snapshot
from customer360.platform.erasure_list import ErasedList
from customer360.platform.errors import ConfigError, LakeError
from customer360.platform.lake import Lake
from customer360.platform.run import lake_of
from customer360.platform.settings import Settings
from customer360.serve.rights import requests

RIGHTS = "_rights"
TOGETHER = f"{RIGHTS}/restricted.json"  # what all requests restrict, in one object
_FIRST = "_delta_log/00000000000000000000.json"  # names its table by a random id
CALLERS = (access.KEYS, revocations.REVOKED)  # files of the state folder
_SAME = ("kind", "law", "received_on")  # of a request, whatever became of it
_Read = Callable[[str], bytes | None]


@dataclass(frozen=True)
class Since:
    """Lists of erasures; objects of rights, notes of erasures that ended, and files of keys, by path, of each later
    state, oldest first; what could not be read or is of another lake."""

    erased: tuple[ErasedList, ...]
    rights: tuple[Mapping[str, bytes], ...]
    ended: tuple[Mapping[str, bytes], ...]
    callers: tuple[tuple[str, Mapping[str, bytes]], ...]  # files of who may call, with where they are
    notices: tuple[str, ...]


@dataclass(frozen=True)
class _Later:
    """A state after the backup: where it is, how its objects are read, and the paths of those that may be carried."""

    where: str
    read: _Read
    paths: tuple[str, ...]
    is_named: bool = True  # somebody said that it is one of the same lake
    callers: Mapping[str, bytes] = field(default_factory=dict)

    def erased(self) -> ErasedList | None:
        return erasure_list.erased_list(self.read)

    def said(self, notices: list[str]) -> dict[str, bytes]:
        """Its objects, but for those that cannot be read."""
        held = {path: data for path in self.paths if (data := self.read(path)) is not None}
        for path in [path for path, data in held.items() if not _is_whole(path, data)]:
            del held[path]
            notices.append(f"{self.where}: {path} cannot be read and was not carried; mend it there, restore again")
        return held


def of(settings: Settings, places: Settings, repository: Repository, snapshot: Snapshot, erasures: str | None) -> Since:
    """What later states than a snapshot say; ``places`` is where it goes. Of the lake that the settings name only what
    is shown to be the one that was backed up counts.

    Raises:
        ConfigError: ``erasures`` is no lake.
        BackupError: a later state is one of another lake, or nobody knows who was erased before the backup.
    """
    notices: list[str] = []
    lists: list[ErasedList] = []
    rights, ended, callers = [], [], []
    files = snapshot.files.get(LAKE, {})

    def then(path: str) -> bytes | None:
        return b"".join(repository.read(files[path])) if path in files else None

    for later in (*_backups(repository, snapshot, then, notices), *_lakes(settings, places, erasures)):
        said = later.said(notices)
        if _is_another(then, later.read, said):
            raise BackupError(
                f"{repository.root}: the lake that the settings or --erasures name is another one than was backed up: "
                f"its list of erasures or its requests are others; let them name the one of this backup, or none"
            )
        if not later.is_named and not _is_shown(then, later.read, files):
            unshown = f"{later.where}: nothing shows that it is the lake of this backup, so nothing was carried from it"
            notices += [f"{unshown}; if it is, restore with --erasures {later.where}"] if later.paths else []
            continue
        try:
            found = later.erased()
        except LakeError as fault:
            if later.is_named and not lists:
                raise BackupError(f"{later.where}: {fault}; without it whoever was erased would be back") from None
            notices.append(f"{later.where}: {fault}; whoever was erased since the backup may be in it again")
            found = None
        lists += [found] if found is not None else []
        callers.append((later.where, later.callers))
        rights.append({path: data for path, data in said.items() if path.startswith(f"{RIGHTS}/")})
        # Without the list nobody is erased again, and then nobody may be said to be.
        ended.append({path: said[path] for path in said.keys() - rights[-1].keys() if found is not None})
    _check_list(then, snapshot, lists)
    kept = (tuple(filter(None, rights)), tuple(filter(None, ended)), tuple(callers))
    return Since(tuple(lists), *kept, tuple(notices))


def _check_list(then: _Read, snapshot: Snapshot, later: list[ErasedList]) -> None:
    """Later lists name everybody whom the one of the backup does: nothing ever leaves them."""
    try:
        erasure_list.erased_list(then)
    except LakeError as fault:
        if not later:
            raise BackupError(f"backup {snapshot.id}: {fault} of before, with --at") from None


def _backups(repository: Repository, snapshot: Snapshot, then: _Read, notices: list[str]) -> list[_Later]:
    """The newest later backup whose list can be read, for nothing ever leaves one, and those after it."""
    found: list[_Later] = []
    for identifier in reversed([each for each in repository.ids() if each > snapshot.id]):
        try:
            stored = repository.snapshot(identifier).files
            files, own = stored.get(LAKE, {}), stored.get(STATE, {})
            paths = [path for path in files if path.startswith((f"{RIGHTS}/", "_erasures/"))]
            held = {path: b"".join(repository.read(files[path])) for path in paths}
        except BackupError as fault:
            notices.append(
                f"{fault}: whoever was erased, or asked for something, shortly before that backup may not be known; "
                f"if a later lake is left, restore with --erasures LAKE"
            )
            continue
        try:
            callers = {name: b"".join(repository.read(own[name])) for name in CALLERS if name in own}
        except BackupError as fault:
            callers = {}
            notices.append(f"{fault}: keys and tokens that were revoked since may be good again; look at them")
        later = _Later(f"backup {identifier}", held.get, _carried(paths), callers=callers)
        if _is_another(then, later.read, later.said([])):
            notices.append(f"backup {identifier} is of another lake; nothing was carried from it")
            continue
        found.append(later)
        try:
            later.erased()
            break
        except LakeError:
            continue  # `of` tells of it
    return found[::-1]


def _lakes(settings: Settings, places: Settings, erasures: str | None) -> Iterator[_Later]:
    own = lake_of(settings).root  # also where --erasures names it
    roots = [settings.lake.root] if settings.lake.root not in (erasures, places.lake.root) else []
    for lake, is_named in [
        *((lake_of(settings), False) for _ in roots),
        *([(Lake(erasures, settings.lake.storage_options), True)] if erasures else []),
    ]:
        if lake.is_remote or Path(lake.root).is_dir():
            paths = (*lake.objects(f"{RIGHTS}/"), *lake.objects("_erasures/"))
            is_ours = lake.root == own and settings.state != places.state
            folder = Path(settings.state) if is_ours else None
            yield _Later(lake.root, lake.get, _carried(paths), is_named, _callers_in(folder))
        elif is_named:
            raise ConfigError(f"--erasures {erasures}: there is no lake")


def _callers_in(folder: Path | None) -> dict[str, bytes]:
    files = [folder / name for name in CALLERS] if folder else []
    return {file.name: file.read_bytes() for file in files if file.is_file()}


def _carried(paths: Iterable[str]) -> tuple[str, ...]:
    return tuple(path for path in paths if path.startswith((f"{RIGHTS}/", f"{privacy.DONE}/")))


def _is_another(then: _Read, now: _Read, said: Mapping[str, bytes]) -> bool:
    """Whether a state is one of another lake: keyed by another secret, or with another request of some number."""
    one, other = erasure_list.secret_of(then), erasure_list.secret_of(now)
    asked = {path: data for path, data in said.items() if path.startswith(requests.FOLDER)}
    return bool(one and other and one != other) or any(_differs(then(path), data) for path, data in asked.items())


def _is_shown(then: _Read, now: _Read, paths: Iterable[str]) -> bool:
    """Whether a state is one of the same lake: it has the same secret, or a table that began with the same commit."""
    secret = erasure_list.secret_of(then)
    if secret is not None and secret == erasure_list.secret_of(now):
        return True
    return any(now(path) == then(path) for path in paths if path.endswith(_FIRST))


def _is_whole(path: str, data: bytes) -> bool:
    """Whether an object is what its path says."""
    try:
        if path.startswith(requests.FOLDER):
            requests.of_json(json.loads(data))
        elif path.startswith(privacy.DONE):
            datetime.fromisoformat(json.loads(data)["ended_at"])
        else:
            kept = json.loads(data)
            for each in kept.values() if path == TOGETHER else [kept]:
                {*each["accounts"], *each["purposes"]}
    except (LakeError, ValueError, KeyError, TypeError, AttributeError):
        return False
    return True


def _differs(stored: bytes | None, later: bytes) -> bool:
    """Whether the object of a request is one of another request."""
    if stored is None or not _is_whole(requests.FOLDER, stored):
        return False
    one, other = ({name: json.loads(each).get(name) for name in _SAME} for each in (stored, later))
    return one != other


def carry_rights(lake: Lake, states: Iterable[Mapping[str, bytes]]) -> tuple[str, ...]:
    """Put requests, and what they restrict, of later states in place of those of a restored lake. Nothing that is
    restricted there is dropped, but by a request that a later state says is released. Requests that cannot be read."""
    notices = []
    for path, data in ((path, data) for state in states for path, data in sorted(state.items())):
        lake.put(path, _merged(lake.get(path), data) if path == TOGETHER else data)
    for path in lake.objects(requests.FOLDER):
        try:
            request = requests.stored(lake, path)
        except LakeError as fault:
            notices.append(str(fault))
            continue
        if request is not None and request.state == "released":
            restrictions.release(lake, request.number)
    return tuple(notices)


def carry_callers(state: Path, states: Iterable[tuple[str, Mapping[str, bytes]]]) -> tuple[str, ...]:
    """Keep out whom later states keep out: a key that was revoked since opens nothing, and one that was rotated no
    longer than it was to. Keys that were issued since are not carried: who restores may not want them. What was done,
    and what could not be."""
    notices = []
    for where, files in states:
        try:
            if (keys := files.get(access.KEYS)) is not None:
                gone = access.keep_standing(state, keys.decode())
                notices += [f"the API key {key.id} ({key.name}) was revoked since, and stays so" for key in gone]
        except (ConfigError, UnicodeDecodeError) as fault:
            notices.append(f"{where}: {fault}; keys that were revoked since may be good again: look at them")
        try:
            if (tokens := files.get(revocations.REVOKED)) is not None:
                revocations.add(state, tokens.decode())
        except (ConfigError, UnicodeDecodeError) as fault:
            notices.append(f"{where}: {fault}; tokens that were revoked since may be good again: look at them")
    return tuple(notices)


def carry_ended(lake: Lake, states: Iterable[Mapping[str, bytes]]) -> None:
    """Note in a restored lake, too, that erasures of later states ended: requests name their persons by digest alone.
    Call it when nobody of them is left in it."""
    for path, data in ((path, data) for state in states for path, data in sorted(state.items())):
        lake.put(path, data, create=True)


def _merged(stored: bytes | None, later: bytes) -> bytes:
    """Restrictions by request, of both."""
    kept = json.loads(stored) if stored is not None and _is_whole(TOGETHER, stored) else {}
    return json.dumps(kept | json.loads(later), sort_keys=True).encode()


__all__ = ["Since", "carry_callers", "carry_ended", "carry_rights", "of"]
