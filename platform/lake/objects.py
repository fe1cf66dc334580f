"""Objects beside the tables: manifests, ledger, staging. One code path for folders and object stores."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from urllib.parse import urlsplit

import obstore

from customer360.platform.errors import LakeError

# Storage options that concern the connection, which obstore takes apart from those of the service.
_CLIENT_OPTIONS = ("allow_http", "allow_invalid_certificates", "connect_timeout", "proxy_url", "timeout", "user_agent")
_SPEAKING = ("AWS_", "AZURE_", "GOOGLE_")  # variables from which a store takes what the options leave out


def remote_store(url: str, options: Mapping[str, str]) -> obstore.store.ObjectStore:
    """The object store of a URL, from the same storage options that Delta and Polars take. A process has one of each,
    which keeps its connections.
    """
    said = {k: v for k, v in os.environ.items() if k.startswith(_SPEAKING)}
    return _remote_store(url, tuple(sorted(options.items())), tuple(sorted(said.items())))


@cache
def _remote_store(
    url: str, given: tuple[tuple[str, str], ...], environment: tuple[tuple[str, str], ...]
) -> obstore.store.ObjectStore:
    options = dict(given)
    client = {k: v for k, v in options.items() if k.lower().removeprefix("aws_") in _CLIENT_OPTIONS}
    config = {k: v for k, v in options.items() if k not in client}
    return obstore.store.from_url(
        url, config=config, client_options={k.lower().removeprefix("aws_"): v for k, v in client.items()}
    )


_STAGED = re.compile(r"#(?P<process>\d{10})\d+$")
_MINUTE = 60.0
# What people asked for, who was erased, which experiments run: nothing else tells that, so it is on the disk before it
# is said to hold.
LASTING = ("_rights/", "_erasures/", "_experiments/", "_schemas/")
_SPELT_ALIKE = re.compile(r"[A-Za-z0-9_.=/-]+")  # other characters obstore escapes in names of files


def folder_store(root: str) -> obstore.store.ObjectStore:
    """The store of a folder, which is made where it is missing."""
    if not os.path.isdir(root):  # noqa: PTH112 - hundreds a run
        make_root(root)
    return _folder_store(root, os.path.realpath(root))


def make_root(root: str | Path) -> None:
    """Make the folder of a lake where it is missing: only its owner reads it, unless somebody says otherwise later."""
    Path(root).mkdir(parents=True, exist_ok=True, mode=0o700)


@cache
def _folder_store(root: str, _leads_to: str) -> obstore.store.ObjectStore:
    """One for each folder that a root leads to: the store follows links when it is made."""
    return obstore.store.LocalStore(root)


def put_in_folder(root: str, path: str, data: bytes) -> None:
    """Write an object of a folder as obstore does, whole or not at all, at a tenth of its cost."""
    if not _SPELT_ALIKE.fullmatch(path):
        obstore.put(folder_store(root), path, data, mode="overwrite")
        return
    target = f"{root}/{path}"
    staged = f"{target}#{os.getpid():010}{threading.get_ident()}"  # a name that obstore never lists
    try:
        descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    except FileNotFoundError:
        make_root(root)
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        with os.fdopen(descriptor, "wb") as handle:
            handle.write(data)
            if path.startswith(LASTING):
                handle.flush()
                os.fsync(handle.fileno())
        os.replace(staged, target)  # noqa: PTH105 - as above
    except BaseException:
        Path(staged).unlink(missing_ok=True)
        raise
    if path.startswith(LASTING):
        settle(root, Path(path).parent.as_posix())


def sweep_staged(root: str) -> int:
    """Remove what processes that were killed left half written in a folder. Returns how many files there were."""
    left = [path for path in Path(root).rglob("*#*") if (found := _STAGED.search(path.name)) and _is_left(path, found)]
    for path in left:
        path.unlink(missing_ok=True)
    return len(left)


def _is_left(path: Path, found: re.Match[str]) -> bool:
    try:
        os.kill(int(found["process"]), 0)
    except (ProcessLookupError, OverflowError):  # names of releases before were not filled up: no number of a process
        # Another machine that writes to the folder has processes of its own; none takes a minute to write an object.
        return path.exists() and time.time() - path.stat().st_mtime > _MINUTE
    except PermissionError:
        return False
    return False


def settle(root: str, path: str) -> None:
    """Have an object of a folder, or a folder of it, and the folders that lead there outlast a loss of power."""
    for place in (Path(root, path), *(Path(root, above) for above in Path(path).parents)):
        descriptor = os.open(place, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def get_from_folder(root: str, path: str) -> bytes | None:
    """An object of a folder; None where there is none."""
    if not _SPELT_ALIKE.fullmatch(path):
        try:
            return bytes(obstore.get(folder_store(root), path).bytes())
        except (FileNotFoundError, obstore.exceptions.NotFoundError):
            return None
    try:
        with open(f"{root}/{path}", "rb") as handle:
            return handle.read()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None


@dataclass(frozen=True)
class Listed:
    """An object below a URL: its path, bytes, time of change as ISO text in UTC, and etag where the store tells it."""

    path: str
    size: int
    modified: str
    etag: str | None = None


def listing(url: str, options: Mapping[str, str], prefix: str) -> tuple[list[Listed], list[str]]:
    """Objects below ``prefix``, and the keys that were passed over, as no folder can have them (``pos//1.csv``,
    ``pos/../1.csv``).

    Raises:
        LakeError: there is such a key, and the kind of store cannot be listed around it.
    """
    store = remote_store(url, options)
    try:
        metas = [meta for page in obstore.list(store, prefix or None) for meta in page]
    except obstore.exceptions.InvalidPathError as fault:  # one such key, and obstore lists nothing of the page
        if not url.startswith("s3://"):
            raise LakeError(f"{url} cannot be listed: {str(fault).splitlines()[0]}; rename that object") from None
        return _listed_by_arrow(url, options, prefix)
    return [Listed(m["path"], m["size"], m["last_modified"].isoformat(), m["e_tag"]) for m in metas], []


def _listed_by_arrow(url: str, options: Mapping[str, str], prefix: str) -> tuple[list[Listed], list[str]]:
    """As `listing`, by a reader that takes any key. What the options leave out, the environment says, as for
    obstore.
    """
    from pyarrow import fs

    own = {k.lower().removeprefix("aws_"): v for k, v in options.items()}
    endpoint = urlsplit(own.get("endpoint_url") or own.get("endpoint") or "")
    words = {
        "access_key": own.get("access_key_id"),
        "secret_key": own.get("secret_access_key"),
        "session_token": own.get("session_token") or own.get("token"),
        "region": own.get("region") or own.get("default_region"),
        "endpoint_override": endpoint.netloc or None,
        "scheme": endpoint.scheme or None,
    }
    store = fs.S3FileSystem(**{k: v for k, v in words.items() if v})
    root = url.removeprefix("s3://").rstrip("/") + "/"
    found, passed_over = [], []
    for entry in store.get_file_info(fs.FileSelector(root + prefix, recursive=True, allow_not_found=True)):
        path = entry.path.removeprefix(root)
        if entry.type != fs.FileType.File:
            continue
        if _is_no_path(path):
            passed_over.append(path)
        else:
            found.append(Listed(path, entry.size, moment_text(entry.mtime_ns or 0)))
    return found, passed_over


def _is_no_path(key: str) -> bool:
    """Whether obstore cannot name an object: a part of its key is empty or leads elsewhere, or has a control sign."""
    return any(part in ("", ".", "..") for part in key.split("/")) or re.search(r"[\x00-\x1f\x7f]", key) is not None


def moment_text(nanoseconds: int) -> str:
    """A time of change as the object stores say it: UTC, in microseconds."""
    seconds, rest = divmod(nanoseconds, 10**9)
    return (datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=rest // 1000)).isoformat()
