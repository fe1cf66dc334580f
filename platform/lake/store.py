"""Objects beside the tables of a lake: manifests, ledger, staging, in a folder or an object store."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import obstore

from customer360.platform.lake import ahead
from customer360.platform.lake.objects import (
    LASTING,
    folder_store,
    get_from_folder,
    put_in_folder,
    remote_store,
    settle,
)
from customer360.platform.lake.opened import File

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class Store:
    """Where a lake lies. ``root`` is a local path or an object-store URL."""

    root: str
    storage_options: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.is_remote:
            object.__setattr__(self, "root", str(Path(self.root).absolute()))

    @property
    def is_remote(self) -> bool:
        return "://" in self.root

    def _store(self) -> obstore.store.ObjectStore:
        return remote_store(self.root, self.storage_options) if self.is_remote else folder_store(self.root)

    def put(self, path: str, data: bytes, *, create: bool = False) -> bool:
        """Write an object; with ``create`` only if it is absent. Returns whether it was written."""
        if not (create or self.is_remote):
            put_in_folder(self.root, path, data)
            return True
        try:
            obstore.put(self._store(), path, data, mode="create" if create else "overwrite")
        except obstore.exceptions.AlreadyExistsError:
            return False
        finally:
            ahead.forget(self.root, path)
        if not self.is_remote and path.startswith(LASTING):
            settle(self.root, path)
        return True

    def get(self, path: str) -> bytes | None:
        if not self.is_remote:
            return get_from_folder(self.root, path)
        found: bytes | None = ahead.answer(self.root, "get", path, None, lambda: self._get(path))
        return found

    def _get(self, path: str) -> bytes | None:
        try:
            return bytes(obstore.get(self._store(), path).bytes())
        except (FileNotFoundError, obstore.exceptions.NotFoundError):
            return None

    def get_all(self, paths: Iterable[str]) -> dict[str, bytes | None]:
        """Objects by path; see `side_by_side`."""
        wanted = list(paths)
        return dict(zip(wanted, self.side_by_side(self.get, wanted), strict=True))

    def side_by_side(self, do: Callable[[T], R], about: Iterable[T]) -> list[R]:
        """What ``do`` gives about each, in order; where each would wait for an object store, side by side. It may read
        objects, and no tables."""
        return ahead.together(do, about) if self.is_remote else [do(one) for one in about]

    def keeping(self, *folders: str) -> AbstractContextManager[None]:
        """For who holds the run lock, or only looks: within, objects of these folders are asked for once where that
        takes a wait; see ``ahead.kept``."""
        return ahead.kept(self.root, folders) if self.is_remote else nullcontext()

    def objects(self, prefix: str, *, after: str | None = None) -> list[str]:
        """Paths of the objects below ``prefix``, sorted; only those ``after`` a path."""
        found: list[str] = ahead.answer(self.root, "objects", prefix, after, lambda: self._objects(prefix, after))
        return found

    def _objects(self, prefix: str, after: str | None) -> list[str]:
        return sorted(meta["path"] for page in obstore.list(self._store(), prefix, offset=after) for meta in page)

    def stamps(self, prefix: str) -> dict[str, str]:
        """What the listing says of each object below ``prefix``, by path: another text, another object."""
        found: dict[str, str] = ahead.answer(self.root, "stamps", prefix, None, lambda: self._stamps(prefix))
        return found

    def _stamps(self, prefix: str) -> dict[str, str]:
        metas = (meta for page in obstore.list(self._store(), prefix) for meta in page)
        return {m["path"]: f"{m['e_tag']} {m['last_modified']:%Y%m%dT%H%M%S.%f} {m['size']}" for m in metas}

    def sizes(self, name: str) -> dict[str, int]:
        """Bytes of the stored files of a table by path, whether a version needs them or not."""
        folder = name.replace(".", "/", 1) + "/"
        return {m["path"].removeprefix(folder): m["size"] for page in obstore.list(self._store(), folder) for m in page}

    def holds(self, name: str, files: Iterable[File]) -> bool:
        """Whether the data files of a table are still stored, be they of its current version or not."""
        folder = name.replace(".", "/", 1)
        try:
            for file in files:
                obstore.head(self._store(), f"{folder}/{file.path}")
        except (FileNotFoundError, obstore.exceptions.NotFoundError):
            return False
        return True

    def delete(self, paths: Iterable[str]) -> None:
        for path in paths:
            obstore.delete(self._store(), path)
            ahead.forget(self.root, path)
