"""What is published, on several machines: the one that makes it shares it in an object store, the others follow.

    publications.json                    what is shared, told in one object that is replaced whole
    HOME/ID-DIGEST/FILE                  folders that are written once: generations, refusals, vectors, identity indexes

Who follows (`serve.following`) fetches what it lacks, checks every byte, and puts it into service at the moment that
was told, so that all machines switch together; one that is late switches when it is ready. Refusals, API keys and
what was erased hold at once. What the sharing machine keeps no longer goes from the store and from those that follow:
so do persons who were erased. Who may write to the store gives out keys for every machine that follows: nobody else
may.
"""

from __future__ import annotations

import fcntl
import json
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import obstore
from pydantic import AwareDatetime, BaseModel, ValidationError, field_validator

from customer360.platform import access, online, revocations, telemetry
from customer360.platform.errors import ConfigError, LakeError
from customer360.platform.lake.objects import folder_store, remote_store
from customer360.platform.online.files import CURRENT, fingerprint, write_durably
from customer360.platform.settings import Settings
from customer360.platform.sources import collector
from customer360.serve.publication import indexes, rankers, refusals, vectors
from customer360.serve.realtime import erasures

TOLD = "publications.json"
OWN = "_shares_as"  # of `<state>/online`: by what an installation is known in the store
_ID, _FILE, _DIGEST = re.compile(r"\d[0-9TZ]*"), re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*"), re.compile(r"[0-9a-f]{64}")
UNREACHABLE = (OSError, obstore.exceptions.BaseError)

Folders = dict[str, dict[str, tuple[int, str]]]  # size and SHA-256 by file, by folder


class NotShared(LakeError):
    """What is published could not be told to the machines that follow, or be fetched by one of them."""


@dataclass(frozen=True)
class Home:
    """Where folders of one kind lie below a state folder. ``manifest``: the file that is written last, and tells the
    others; ``waits``: a new one is put into service at the moment told."""

    name: str
    manifest: str
    generations: str = ""
    has_pointer: bool = True
    waits: bool = True

    def folders(self, state: Path) -> Path:
        return state / self.name / self.generations

    def stored(self, state: Path) -> Folders:
        """Folders that were written to their end, by id."""
        above = self.folders(state)
        return {name: files for name in self.ids(state) if (files := self._files(above / name))}

    def ids(self, state: Path) -> list[str]:
        """Ids of all folders, sound or not."""
        above = self.folders(state)
        return sorted(f.name for f in above.iterdir() if _ID.fullmatch(f.name)) if above.is_dir() else []

    def _files(self, folder: Path) -> dict[str, tuple[int, str]]:
        try:
            told: dict[str, Any] = json.loads((folder / self.manifest).read_text(encoding="utf-8"))
            files = told.get("files", {}) if self.manifest != indexes.CHECKS else told
            return {
                **{name: (int(size), str(digest)) for name, (size, digest) in files.items()},
                self.manifest: fingerprint(folder / self.manifest),
            }
        except (OSError, ValueError, TypeError, AttributeError):
            return {}  # unsound: `doctor` names it, and nobody else needs it

    def needs(self, state: Path, name: str) -> set[str]:
        """Ids of other folders without which one cannot be used: the whole publication that another changes."""
        told = json.loads((self.folders(state) / name / self.manifest).read_text(encoding="utf-8"))
        return {told["base"]} if told.get("base") else set()

    def current(self, state: Path) -> str | None:
        """The id in service; None where there is none, or the pointer says nothing."""
        try:
            found = next(iter((state / self.name / CURRENT).read_text(encoding="ascii").split()), "")
        except (OSError, ValueError):
            return None
        return found if _ID.fullmatch(found) else None


HOMES = (
    Home(f"{refusals.FOLDER}/online", online.files.MANIFEST, "generations", waits=False),
    Home(vectors.HOME, vectors.MANIFEST),
    Home(rankers.HOME, rankers.MANIFEST),
    Home(indexes.HOME, indexes.CHECKS, has_pointer=False),
    Home("online", online.files.MANIFEST, "generations"),
)  # the one last that names the others
ERASED = f"{collector.FOLDER}/{erasures.FILE}"
# Small ones, told whole.
FILES = (access.KEYS, revocations.REVOKED, ERASED, f"online/{online.COPY}", f"online/{online.HIDDEN}")


class Shared(BaseModel):
    """What is shared of one home: the id in service, and size and SHA-256 by file of each folder."""

    current: str | None = None
    folders: Folders = {}

    @field_validator("folders")
    @classmethod
    def _are_plain(cls, folders: Folders) -> Folders:
        names = (name for holds in folders.values() for name in holds)
        digests = (digest for holds in folders.values() for _, digest in holds.values())
        if not (all(map(_ID.fullmatch, folders)) and all(map(_FILE.fullmatch, names))):
            raise ValueError("a name is no name of a folder or file that is shared")
        if not all(map(_DIGEST.fullmatch, digests)):
            raise ValueError("a checksum is none")
        return folders

    @field_validator("current")
    @classmethod
    def _is_id(cls, current: str | None) -> str | None:
        if current is not None and not _ID.fullmatch(current):
            raise ValueError(f"{current!r} is no id")
        return current


class Told(BaseModel):
    """The object that tells what is shared, and when machines switch to it."""

    format: Literal[1] = 1
    number: int
    by: str
    switch_at: AwareDatetime
    homes: dict[str, Shared] = {}
    files: dict[str, str] = {}

    def of(self, home: Home) -> Shared:
        return self.homes.get(home.name, Shared())

    def current(self, home: str) -> str | None:
        return self.homes.get(home, Shared()).current


# ---- the machine that makes them -----------------------------------------------------------------------------------


def share(settings: Settings, *, at_once: bool = False) -> int | None:
    """Tell the machines that follow what is published here; nothing where the settings share nothing, or it was told
    before. Returns its number. ``at_once``: nobody waits for the others to have it, as after an erasure.

    Raises:
        ConfigError: the place holds, or is within, something else.
        NotShared: the store cannot be reached; what is published here stays in service here.
    """
    if not settings.serve.shared or settings.serve.follows:
        return None
    _refuse_what_is_another_place(settings)
    state = Path(settings.state)
    try:
        with alone(state, "_sharing", wait=True):
            return _share(state, store_of(settings), 0.0 if at_once else settings.serve.switch_seconds)
    except UNREACHABLE as fault:
        raise NotShared(f"what is published is not shared: {words_of(settings, fault)}") from fault


def refuse_where_it_follows(settings: Settings) -> None:
    """Raises ConfigError: these settings are of a machine that serves what another one publishes."""
    if settings.serve.follows:
        raise ConfigError("serve.follows: this machine serves what another one publishes; do this with its settings")


def _refuse_what_is_another_place(settings: Settings) -> None:
    place = absolute(settings.serve.shared)
    for name, root in (("lake", settings.lake.root), ("landing", settings.landing), ("state", settings.state)):
        if f"{place}/".startswith(f"{absolute(root)}/") or f"{absolute(root)}/".startswith(f"{place}/"):
            raise ConfigError(f"serve.shared: {place} and {name}: {absolute(root)} overlap; name a place of its own")


def absolute(place: str) -> str:
    return (place if "://" in place else str(Path(place).absolute())).rstrip("/")


def _share(state: Path, store: obstore.store.ObjectStore, lead: float) -> int:
    told, present = told_in(store), {meta["path"] for page in obstore.list(store) for meta in page}
    others = sorted(path for path in present - {TOLD} if not _is_ours(path))
    if told is None and others:
        raise ConfigError(f"serve.shared: the place holds {others[0]!r}, which is no publication; name an empty one")
    own, before = _own(state), told or Told(number=0, by=_own(state), switch_at=datetime.min.replace(tzinfo=UTC))
    if before.by != own:
        raise ConfigError(f"serve.shared: another installation shares there; where that is gone, delete its {TOLD}")
    homes = {home.name: _shared(home, state, before) for home in HOMES}
    files = {name: text for name in FILES if (text := _small(state, name, before)) is not None}
    paths = {
        f"{address(home, name, holds)}/{file}": home.folders(state) / name / file
        for home in HOMES for name, holds in homes[home.name].folders.items() for file in holds
    }  # fmt: skip
    number = before.number
    if (homes, files) != (before.homes, before.files):
        for path in paths.keys() - present:
            obstore.put(store, path, paths[path])
        now, number = datetime.now(UTC), number + 1
        is_new = homes["online"].current != before.current("online")
        switch_at = now + timedelta(seconds=lead) if is_new and lead else now if is_new else max(now, before.switch_at)
        said = Told(number=number, by=own, switch_at=switch_at, homes=homes, files=files)
        obstore.put(store, TOLD, said.model_dump_json().encode())
        telemetry.event("publications shared", number=number, online=homes["online"].current)
    # Also where nothing is new: who died before this, or might not delete, left what must go.
    if gone := sorted(path for path in present - paths.keys() if _is_ours(path)):
        obstore.delete(store, gone)
    return number


def _shared(home: Home, state: Path, before: Told) -> Shared:
    """What is shared of a home. Where the one in service is damaged, or nothing says which it is, what was told before
    stays: the machines that follow have it sound."""
    current, folders = home.current(state), home.stored(state)
    is_damaged = current not in folders if current is not None else bool(home.generations and folders)
    if current is not None and not is_damaged:
        is_damaged = not home.needs(state, current) <= folders.keys()
    if home.name in before.homes and is_damaged:
        telemetry.log.error(
            f"what is in service of {home.name} is damaged and not shared; `customer360 doctor` names it"
        )
        return before.homes[home.name]
    return Shared(current=current if current in folders else None, folders=folders)


def _small(state: Path, name: str, before: Told) -> str | None:
    """What a small file says; of a damaged one what was told before, as for a home."""
    file = state / name
    if not file.is_file():
        return None
    try:
        if file.name in (online.HIDDEN, online.COPY):
            online.hiding.read(file.parent, file.name)
        return file.read_text(encoding="utf-8")
    except (online.Unsound, UnicodeDecodeError):
        telemetry.log.error(f"{name} is damaged and not shared; `customer360 doctor` names it")
        return before.files.get(name)


def _own(state: Path) -> str:
    """By what this installation is known in the store."""
    file = state / "online" / OWN
    if not file.is_file():
        fresh = file.with_name(f".{file.name}")
        write_durably(fresh, secrets.token_hex(8))
        fresh.replace(file)
    return file.read_text(encoding="ascii")


def _is_ours(path: str) -> bool:
    """Whether an object is of a folder that is shared, or was."""
    home, _, rest = path.rpartition("/")[0].rpartition("/")
    return any(home == each.name for each in HOMES) and re.fullmatch(rf"{_ID.pattern}-[0-9a-f]{{16}}", rest) is not None


# ---- both ----------------------------------------------------------------------------------------------------------


def store_of(settings: Settings) -> obstore.store.ObjectStore:
    place = absolute(settings.serve.shared)
    if "://" in place:
        return remote_store(place, settings.serve.shared_options)
    folder = Path(place)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder_store(str(folder))


class Unchanged(Exception):
    """What is shared was not told anew since it was read."""


def told_in(store: obstore.store.ObjectStore) -> Told | None:
    """What is shared; None where nothing is."""
    return told_since(store, None)[0]


def told_since(store: obstore.store.ObjectStore, tag: str | None) -> tuple[Told | None, str | None]:
    """What is shared, and the tag by which the store knows that telling; None where nothing is. Raises Unchanged: it
    has this ``tag`` still; its bytes, a line for every file that is shared, were not fetched."""
    options: obstore.GetOptions = {} if tag is None else {"if_none_match": tag}
    try:
        found = obstore.get(store, TOLD, options=options)
        return Told.model_validate_json(bytes(found.bytes())), found.meta["e_tag"]
    except obstore.exceptions.NotModifiedError:
        raise Unchanged from None
    except (FileNotFoundError, obstore.exceptions.NotFoundError):
        return None, None
    except ValidationError as fault:
        why = fault.errors(include_url=False)[0]
        raise NotShared(
            f"{TOLD} of what is shared cannot be read ({'.'.join(map(str, why['loc']))}: {why['msg']}): it is damaged"
            " or of another version; delete it, and `customer360 publication share` writes it anew"
        ) from None


def address(home: Home, name: str, files: dict[str, tuple[int, str]]) -> str:
    """Where a folder lies in the store: by its content, so that no object is ever written twice."""
    return f"{home.name}/{name}-{files[home.manifest][1][:16]}"


@contextmanager
def alone(state: Path, name: str, *, wait: bool) -> Iterator[bool]:
    """Hold a right that one process over a state folder has; whether it is held, where nobody ``wait``s for it."""
    (state / "online").mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(state / "online" / name, "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def words_of(settings: Settings, fault: BaseException) -> str:
    words = " ".join(str(fault).split())[:200] or type(fault).__name__
    return f"{settings.serve.shared}: {words}"
