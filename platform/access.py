"""API keys and roles.

A key reads ``c360_<id>_<secret>``. Its id finds the entry in ``<state>/keys.json``; of its secret only a salted digest
is stored. The secret has 256 random bits, so one SHA-256 is enough: there is nothing to guess.
"""

from __future__ import annotations

import fcntl
import hashlib
import hmac
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, get_args

from customer360.platform.errors import AccessDenied, ConfigError

Role = Literal["reader", "service", "steward", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)  # each may do what those before it may
PREFIX = "c360"
ID_BYTES, SECRET_BYTES = 6, 32


class WrongRole(AccessDenied):
    """The key is good, but its role may not do this."""


@dataclass(frozen=True)
class Principal:
    """Who calls."""

    name: str
    role: Role

    def may(self, role: Role) -> bool:
        """Whether this one may do what ``role`` may."""
        return ROLES.index(self.role) >= ROLES.index(role)


@dataclass(frozen=True)
class Key:
    """A stored key; ``digest`` is HMAC-SHA256 of the secret under ``salt``, both hexadecimal."""

    id: str
    name: str
    role: Role
    salt: str
    digest: str
    issued_at: str


# What verification compares with when the id is unknown, so that both refusals take the same time.
_NOBODY = Key("", "", "reader", "00" * 16, "00" * 32, "")
_CACHE: dict[Path, tuple[tuple[int, int, int], dict[str, Key]]] = {}


def issue(state: Path, name: str, role: str) -> str:
    """Make a key and return it; it cannot be shown again.

    Raises:
        ConfigError: the name is empty or the role unknown.
    """
    if role not in ROLES or not name.strip():
        raise ConfigError(
            f"a key needs a name and one of the roles {', '.join(ROLES)}; got name {name!r}, role {role!r}"
        )
    with _changing(state) as keys:
        return _add(keys, name, role)


def ensure_first_key(state: Path) -> str | None:
    """An admin key where there is none at all, returned once; None afterwards."""
    with _changing(state) as keys:
        return None if keys else _add(keys, "first", "admin")


def revoke(state: Path, key_id: str) -> Key:
    """Remove a key and return what was stored of it; it is refused from the next request on.

    Raises:
        ConfigError: there is no such key.
    """
    with _changing(state) as keys:
        gone = keys.pop(key_id, None)
        if gone is None:  # a whole key given by mistake must not be repeated on a screen
            shown = key_id if len(key_id) <= 2 * ID_BYTES else f"{key_id[: 2 * ID_BYTES]}…"
            known = ", ".join(sorted(keys)) or "none"
            raise ConfigError(f"there is no key with the id {shown!r}; there are {known}")
    return gone


def issued(state: Path) -> list[Key]:
    """All keys, oldest first."""
    return sorted(_stored(_path(state)).values(), key=lambda k: k.issued_at)


def verify(state: Path, presented: str | None) -> Principal:
    """Who a presented key belongs to.

    Raises:
        AccessDenied: none was presented, or it is not one of ours.
    """
    if not presented:
        raise AccessDenied("an API key is needed: header `Authorization: Bearer KEY` or `X-API-Key: KEY`")
    prefix, _, rest = presented.partition("_")
    key_id, _, secret = rest.partition("_")
    key = _stored(_path(state)).get(key_id, _NOBODY)
    same = hmac.compare_digest(_digest(key.salt, secret), key.digest)
    if not (same and secret and key is not _NOBODY and prefix == PREFIX):
        raise AccessDenied("the API key is not known")
    return Principal(key.name, key.role)


def require(principal: Principal, role: Role) -> None:
    """Check a role.

    Raises:
        WrongRole: names the role that is needed.
    """
    if not principal.may(role):
        raise WrongRole(f"role {role} is needed; this key has {principal.role}")


def _add(keys: dict[str, Key], name: str, role: Role) -> str:
    key_id, secret, salt = secrets.token_hex(ID_BYTES), secrets.token_urlsafe(SECRET_BYTES), secrets.token_hex(16)
    keys[key_id] = Key(key_id, name, role, salt, _digest(salt, secret), datetime.now(UTC).isoformat())
    return f"{PREFIX}_{key_id}_{secret}"


def _digest(salt: str, secret: str) -> str:
    return hmac.new(bytes.fromhex(salt), secret.encode(), hashlib.sha256).hexdigest()


def _path(state: Path) -> Path:
    return Path(state).absolute() / "keys.json"


def _stored(path: Path) -> dict[str, Key]:
    """Keys by id; read again only when the file changed. It is always replaced, never edited in place."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return {}
    signature = (found.st_mtime_ns, found.st_ino, found.st_size)
    cached = _CACHE.get(path)
    if cached is None or cached[0] != signature:
        cached = _CACHE[path] = (signature, _read(path))
    return cached[1]


def _read(path: Path) -> dict[str, Key]:
    try:
        return {entry["id"]: Key(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))}
    except (ValueError, TypeError, KeyError) as fault:
        raise ConfigError(
            f"{path} holds no keys that can be read ({type(fault).__name__}); restore or delete it"
        ) from fault


@contextmanager
def _changing(state: Path) -> Iterator[dict[str, Key]]:
    """The stored keys, to be changed in place; written atomically at the end, one process at a time."""
    path = _path(state)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(path.with_suffix(".lock"), "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = _read(path) if path.exists() else {}
        keys = dict(before)
        yield keys
        if keys != before:
            _write(path, keys)


def _write(path: Path, keys: dict[str, Key]) -> None:
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)  # of a writer that died; the lock is ours
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as handle:
        json.dump([asdict(key) for key in keys.values()], handle, indent=1)
        handle.flush()
        os.fsync(handle.fileno())
    fresh.replace(path)
    _CACHE.pop(path, None)
