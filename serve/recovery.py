"""What the commands `backup` and `restore` do: which files belong to a backup, where they go back to, and that who was
erased since does not come back with them.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from customer360.models.identity.erasure import identifiers_of
from customer360.models.lifecycle import relocation
from customer360.platform import backup, erasure_list, privacy
from customer360.platform import settings as configuration
from customer360.platform.backup import CONFIGS, LAKE, STATE, BackupError, Mark, Repository, marks
from customer360.platform.backup.repository import Snapshot
from customer360.platform.configs import find, read_yaml
from customer360.platform.erasure_list import ErasedList
from customer360.platform.errors import ConfigError
from customer360.platform.lake import Lake
from customer360.platform.run import lake_of
from customer360.platform.settings import Settings
from customer360.serve import doctor, jobs, since

SECRET = re.compile(r"password|secret|access_key|account_key|api_key|sas_|session_token|credential", re.IGNORECASE)
HOME = Path("configs")


@dataclass(frozen=True)
class Taken:
    """A backup: its snapshot, what it added to the repository, and files of configuration that hold secrets."""

    snapshot: Snapshot
    new_files: int
    new_bytes: int
    freed_bytes: int
    secrets: tuple[str, ...]


def repository_of(settings: Settings, url: str) -> Repository:
    """The backups at a place; an object store is reached by the storage options of the lake, and the environment.

    Raises:
        ConfigError: the place lies in what is backed up.
    """
    if "://" not in url:
        for root in (settings.lake.root, settings.state):
            if "://" not in root and Path(url).resolve().is_relative_to(Path(root).resolve()):
                raise ConfigError(f"{url} lies in {root}, which it is to be a backup of; name another folder or disk")
        if Path(url).exists() and not Path(url).is_dir():
            raise ConfigError(f"{url} is a file; a backup is a folder, or the URL of an object store")
    return Repository(url, settings.lake.storage_options)


def take(settings: Settings, config: Path | None, repository: Repository, keep: int | None = None) -> Taken:
    """Back up lake, state folder and configuration; of all backups the newest ``keep`` stay.

    Raises:
        BackupError: there is neither lake nor state folder.
    """
    lake, state = lake_of(settings), Path(settings.state)
    has_lake = lake.is_remote or Path(lake.root).is_dir()
    if not has_lake and not state.is_dir():
        raise BackupError(f"there is nothing to back up: neither {lake.root} nor {state.absolute()} exists")
    marks.refuse(targets_of(settings))
    configs = dict(_config_files(config))
    snapshot = backup.take(lake, state, configs, repository)
    freed = 0
    if keep is not None and (old := repository.ids()[:-keep]):
        with repository.lock("backup --keep"):
            freed = repository.drop(old)
    secrets = tuple(sorted(path for path, file in configs.items() if _holds_secret(file)))
    return Taken(snapshot, repository.written_files, repository.written_bytes, freed, secrets)


def _config_files(config: Path | None) -> Iterator[tuple[str, Path]]:
    """Files of ``configs/`` of the working directory, and the settings file with those that it extends, by the path
    below the folder of a restore."""
    if HOME.is_dir():
        for file in sorted(f for f in HOME.rglob("*") if f.is_file()):
            yield file.as_posix(), file
    file = config or Path(os.environ.get("CUSTOMER360_CONFIG") or find("local.yaml"))
    while file.is_file() and not file.resolve().is_relative_to(HOME.resolve()):
        inside = file.resolve().is_relative_to(Path.cwd())
        if not inside and config is None and "CUSTOMER360_CONFIG" not in os.environ:
            return  # the one that is installed
        yield (file.resolve().relative_to(Path.cwd()).as_posix() if inside else file.name), file
        parent = re.search(r"^extends:\s*['\"]?([^'\"#\s]+)", file.read_text(encoding="utf-8"), re.MULTILINE)
        if parent is None:
            return
        file = file.parent / parent[1]


def _holds_secret(file: Path) -> bool:
    if file.suffix not in (".yaml", ".yml"):
        return False
    try:
        return _has_secret(read_yaml(file))
    except ConfigError:
        return False


def _has_secret(content: Any) -> bool:
    if isinstance(content, dict):
        return any(
            (value and SECRET.search(str(key)) is not None) or _has_secret(value) for key, value in content.items()
        )
    return isinstance(content, list) and any(map(_has_secret, content))


# ---- back ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Restored:
    """What stands again: where, the settings that name it, bytes, persons who were erased anew, damage, and what could
    not be carried over from later states."""

    snapshot: Snapshot
    settings: Settings
    size: int
    erased: tuple[str, ...]
    findings: tuple[doctor.Finding, ...]
    notices: tuple[str, ...] = ()


def restore(
    settings: Settings, repository: Repository, at: str | None, into: Path | None, erasures: str | None = None
) -> Restored:
    """Make lake and state folder of a backup again, in the places that the settings name or below a folder, there with
    the configuration; carry what was asked for since, erase who was erased since, and look for damage. Until all of
    that is done a mark stands in both, and runs refuse them; one that was cut short is taken up by the same again.

    Raises:
        BackupError: no such backup, a place holds files, or something of the backup is damaged.
    """
    places = settings if into is None else _below(settings, into)
    lake, state = targets_of(places)
    snapshot = backup.chosen_anew(repository, at, lake, state)
    later = since.of(settings, places, repository, snapshot, erasures)
    mark = Mark(snapshot.id, _command(repository, snapshot, into, erasures))
    marks.begin(lake, state, mark)
    size = backup.restore(repository, snapshot, STATE, places.state, {}, mark)
    notices = later.notices + since.carry_callers(Path(places.state), later.callers)
    size += backup.restore(repository, snapshot, LAKE, places.lake.root, places.lake.storage_options, mark)
    models = Path(places.state).resolve() / "mlflow"
    if (models / "mlflow.db").exists():  # who opens the store without us finds the files, too
        relocation.relocate(models / "mlflow.db", (models / "artifacts").as_uri())
    if into is not None:
        _restore_configs(repository, snapshot, into)
    restored_lake = lake_of(places)
    notices += since.carry_rights(restored_lake, later.rights)
    restored_lake.delete([path for path in (jobs.HEEDED,) if restored_lake.get(path) is not None])
    erased = _erase_again(places, later.erased)
    since.carry_ended(restored_lake, later.ended)
    jobs.heed_refusals(places)
    marks.end(lake, state)
    return Restored(snapshot, places, size, erased, tuple(doctor.findings(places)), notices)


def targets_of(settings: Settings) -> tuple[marks.Target, marks.Target]:
    """Lake and state folder of some settings, as backups read and write them."""
    return backup.tree_at(settings.lake.root, settings.lake.storage_options), backup.tree_at(settings.state)


def _command(repository: Repository, snapshot: Snapshot, into: Path | None, erasures: str | None) -> str:
    """What goes on with a restore that was cut short."""
    words = ["customer360", "restore", repository.root, "--at", snapshot.id]
    words += ["--into", str(into.absolute())] if into is not None else []
    return shlex.join([*words, *(["--erasures", erasures] if erasures else [])])


def _below(settings: Settings, into: Path) -> Settings:
    """The settings with lake and state below a folder: where they are relative, in the same places of it. What is
    restored beside an installation tells the machines that follow that one nothing."""
    roots = {
        name: root if "://" not in root and not Path(root).is_absolute() and ".." not in Path(root).parts else name
        for name, root in ((LAKE, settings.lake.root), (STATE, settings.state))
    }
    lake = settings.lake.model_copy(update={"root": str(into.absolute() / roots[LAKE]), "storage_options": {}})
    serve = settings.serve.model_copy(update={"shared": "", "follows": False})
    state = str(into.absolute() / roots[STATE])
    return settings.model_copy(update={"lake": lake, "serve": serve, "state": state})


def _restore_configs(repository: Repository, snapshot: Snapshot, into: Path) -> None:
    for path, kept in snapshot.files.get(CONFIGS, {}).items():
        target = into / path
        if target.exists():
            continue  # what is there is somebody's
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"".join(repository.read(kept)))


def _erase_again(settings: Settings, later: tuple[ErasedList, ...]) -> tuple[str, ...]:
    """Carry lists of erasures into a restored lake, and erase whom they, or its own, name and the lake still holds. An
    erasure that had begun when the backup was taken, or when a restore was cut short, is ended."""
    lake = lake_of(settings)
    for each in later:
        erasure_list.carry_erasures(lake, each)
    begun = privacy.unfinished_erasures(lake)
    persons = sorted({*begun, *_named(lake)})
    for person in persons[:-1]:  # the erasure of the last takes up all that were begun, and rebuilds once
        if person not in begun:
            privacy.begin_erasure(lake, person, identifiers_of(lake, person))
    if persons:
        jobs.erase(settings, persons[-1])
    return tuple(persons)


def _named(lake: Lake) -> set[str]:
    """Persons whose accounts are on the list of erasures of a lake that holds them."""
    listed = erasure_list.erased_list(lake.get)
    if listed is None or not lake.exists("silver.identities"):
        return set()
    rows = lake.scan("silver.identities").select("record_id", "person_id").collect().rows()
    return {person for record, person in rows if listed.names(record)}


def in_settings(settings: Settings) -> dict[str, str]:
    """The variables that name lake and state folder of some settings, where the default settings name others."""
    usual = configuration.Settings()
    named = {"CUSTOMER360__LAKE__ROOT": settings.lake.root, "CUSTOMER360__STATE": settings.state}
    defaults = (str(Path(usual.lake.root).absolute()), str(Path(usual.state).absolute()))
    return {name: value for (name, value), usual_one in zip(named.items(), defaults, strict=True) if value != usual_one}
