"""The landing root: where systems drop their files, in a local folder or an object store; listed and read the same way."""

from __future__ import annotations

import fnmatch
from dataclasses import dataclass
from pathlib import Path
from typing import IO, cast

import obstore

from customer360.platform.errors import ConfigError
from customer360.platform.lake import remote_store
from customer360.platform.ledger import Input
from customer360.platform.settings import Settings

STREAM_BUFFER = 1 << 22


@dataclass(frozen=True)
class Landing:
    """The root below which sources drop their files: a local folder or an object-store URL."""

    root: str
    options: tuple[tuple[str, str], ...] = ()

    def _store(self) -> obstore.store.ObjectStore:
        if "://" in self.root:
            return remote_store(self.root, dict(self.options))
        if not Path(self.root).is_dir():
            raise ConfigError(
                f"the landing folder {self.root} does not exist; set `landing` or run `customer360 sample`"
            )
        return obstore.store.LocalStore(str(Path(self.root).absolute()))

    def find(self, pattern: str) -> list[Input]:
        """Files that match a glob (``*`` also crosses folders), by path; their detail is size and time of change."""
        prefix = pattern.split("*")[0].rpartition("/")[0]
        found = []
        for page in obstore.list(self._store(), prefix or None):
            for meta in page:
                if fnmatch.fnmatchcase(meta["path"], pattern):
                    detail = {"size": meta["size"], "modified": meta["last_modified"].isoformat()}
                    found.append(Input(meta["path"], detail))
        return sorted(found, key=lambda f: f.name)

    def stream(self, path: str) -> IO[bytes]:
        """The content of a file as a stream, by its path below the root."""
        return cast("IO[bytes]", obstore.open_reader(self._store(), path, buffer_size=STREAM_BUFFER))

    def bytes_of(self, path: str) -> bytes:
        """The content of a file, by its path below the root."""
        return bytes(obstore.get(self._store(), path).bytes())


def landing_of(settings: Settings) -> Landing:
    """The configured landing root."""
    return Landing(settings.landing, tuple(settings.landing_options.items()))
