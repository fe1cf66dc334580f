"""API keys and roles.

A key reads ``c360_<id>_<secret>``. Its id finds the entry in ``<state>/keys.json``; of its secret only a salted digest
is stored. The secret has 256 random bits, so one SHA-256 is enough: there is nothing to guess.

A key may expire, be bound to scopes (groups of endpoints) and to a number of requests a minute. Living keys have
different names, so that a name in a history says which key it was; ``rotate`` hands a name over to a new key.
"""

from __future__ import annotations

import fcntl
import hmac
import json
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal, get_args

from customer360.platform import telemetry
from customer360.platform.errors import AccessDenied, ConfigError

Role = Literal["metrics", "writer", "reader", "service", "steward", "admin"]
ROLES: tuple[Role, ...] = get_args(Role)
LADDER: tuple[Role, ...] = ("reader", "service", "steward", "admin")  # each may do what those before it may
PREFIX = "c360"
ID_BYTES, SECRET_BYTES = 6, 32
LONGEST_NAME = 80
USED_EVERY_SECONDS = 60  # how exactly the last use of a key is noted
MOST_GOOD = 1000  # presented keys that are known as good
KEYS = "keys.json"  # of the state folder
USED = "keys_used"  # folder of those notes


class WrongRole(AccessDenied):
    """The key is good, but its role or scope may not do this."""


class KeysUnreadable(ConfigError):
    """The stored keys cannot be read, so nobody can be told from anybody."""


@dataclass(frozen=True)
class Principal:
    """Who calls: two are equal where name, role and scopes are."""

    name: str
    role: Role
    scopes: tuple[str, ...] = ()  # none: everything that the role may do
    key_id: str = field(default="", compare=False)
    per_minute: int | None = field(default=None, compare=False)

    def may(self, role: Role) -> bool:
        """Whether this one may do what ``role`` may. ``metrics`` reads metrics and nothing else; ``writer`` sends
        events and nothing else, and nobody else does: its key stands in pages that everybody can read.
        """
        if "writer" in (role, self.role):
            return role == self.role
        if role not in LADDER or self.role not in LADDER:
            return self.role in (role, "admin")
        return LADDER.index(self.role) >= LADDER.index(role)


@dataclass(frozen=True)
class Key:
    """A stored key; ``digest`` is HMAC-SHA256 of the secret under ``salt``, both hexadecimal. Times are ISO, in UTC."""

    id: str
    name: str
    role: Role
    salt: str
    digest: str
    issued_at: str
    expires_at: str | None = None
    scopes: tuple[str, ...] = ()
    per_minute: int | None = None  # requests; None: what the settings say
    replaced_by: str | None = None  # id of the key that has the name now

    @cached_property
    def principal(self) -> Principal:
        """Who presents it."""
        return Principal(self.name, self.role, self.scopes, self.id, self.per_minute)

    def is_expired(self, now: datetime) -> bool:
        return self.expires_at is not None and now >= datetime.fromisoformat(self.expires_at)


# What verification compares with when the id is unknown, so that both refusals take the same time.
_NOBODY = Key("", "", "reader", "00" * 16, "00" * 32, "")
_Signature = tuple[int, int, int]
_CACHE: dict[Path, tuple[_Signature, dict[str, Key], str | None]] = {}  # and why the newest file is not what is used
_USED: dict[tuple[Path, str], float] = {}
_GOOD: dict[tuple[Path, str], Key] = {}  # whose secrets were compared; a file that is read anew makes other keys of it


def issue(
    state: Path,
    name: str,
    role: str,
    *,
    scopes: tuple[str, ...] = (),
    lives: timedelta | None = None,
    per_minute: int | None = None,
) -> str:
    """Make a key and return it; it cannot be shown again. ``lives``: how long it is good; None: until it is revoked.

    Raises:
        ConfigError: the name is empty, unprintable, too long or has a living key already, or the role is unknown.
    """
    name = name.strip()
    if role not in ROLES or not name or not name.isprintable() or len(name) > LONGEST_NAME:
        raise ConfigError(
            f"a key needs a name of at most {LONGEST_NAME} printable characters and one of the roles "
            f"{', '.join(ROLES)}; got name {name[:LONGEST_NAME]!r}, role {role!r}"
        )
    now = datetime.now(UTC)
    with _changing(state) as keys:
        if (holder := _holder(keys, name, now)) is not None:
            raise ConfigError(
                f"the key {holder.id} has the name {holder.name!r}: take another, `customer360 key rotate {holder.id}` "
                f"for a new secret, or revoke it first"
            )
        limits = {"scopes": scopes, "per_minute": per_minute, "expires_at": _after(now, lives)}
        return _add(keys, name, role, limits)


def ensure_first_key(state: Path) -> str | None:
    """An admin key where no living one is there, returned once; None afterwards."""
    now = datetime.now(UTC)
    with _changing(state) as keys:
        if any(k.role == "admin" and not k.is_expired(now) for k in keys.values()):
            return None
        names = (f"first{number}" for number in ("", *range(2, len(keys) + 3)))
        return _add(keys, next(n for n in names if _holder(keys, n, now) is None), "admin", {})


def rotate(state: Path, key_id: str, keep: timedelta = timedelta(0)) -> str:
    """A new key with name, role, scopes and limits of another, which stays good for ``keep`` and no longer.

    Raises:
        ConfigError: there is no such key, it was rotated before, or it has expired.
    """
    now = datetime.now(UTC)
    with _changing(state) as keys:
        old = _known(keys, key_id)
        if old.replaced_by is not None:
            raise ConfigError(f"the key {old.id} was rotated before: {old.replaced_by} has its name")
        if old.is_expired(now):
            raise ConfigError(f"the key {old.id} has expired; issue another")
        limits = {"scopes": old.scopes, "per_minute": old.per_minute, "expires_at": old.expires_at}
        fresh = _add(keys, old.name, old.role, limits)
        ends = _after(now, keep) if old.expires_at is None else min(old.expires_at, str(_after(now, keep)))
        keys[old.id] = replace(old, replaced_by=fresh.split("_")[1], expires_at=ends)
        return fresh


def revoke(state: Path, key_id: str) -> Key:
    """Remove a key and return what was stored of it; it is refused from the next request on.

    Raises:
        ConfigError: there is no such key.
    """
    with _changing(state) as keys:
        gone = keys.pop(_known(keys, key_id).id)
    (Path(state).absolute() / USED / gone.id).unlink(missing_ok=True)
    return gone


def issued(state: Path) -> list[Key]:
    """All keys, oldest first."""
    return sorted(_stored(_path(state)).values(), key=lambda k: k.issued_at)


def last_used(state: Path, key_id: str) -> datetime | None:
    """When a key was last presented, to the minute; None where it never was, or the note of it is gone."""
    try:
        return datetime.fromisoformat((Path(state).absolute() / USED / key_id).read_text(encoding="ascii"))
    except (FileNotFoundError, ValueError):
        return None


def fault(state: Path, *, is_seen: bool = False) -> str | None:
    """Why the keys that are heeded are not those of the file, which cannot be read; None when they are. ``is_seen``: a
    key was verified just now, and the file is not looked at again.

    Raises:
        KeysUnreadable: no keys are heeded at all.
    """
    path = _path(state)
    if not (is_seen and path in _CACHE):
        _stored(path)
    return _CACHE[path][2] if path in _CACHE else None


def verify(state: Path, presented: str | None) -> Principal:
    """Who a presented key belongs to.

    Raises:
        AccessDenied: none was presented, it is not one of ours, or it has expired.
        KeysUnreadable: the stored keys cannot be read.
    """
    if not presented:
        raise AccessDenied("an API key is needed: header `Authorization: Bearer KEY` or `X-API-Key: KEY`")
    if not presented.isascii():  # ours are; and half a surrogate pair of a JSON body has no bytes to compare
        presented = ""
    prefix, _, rest = presented.partition("_")
    key_id, _, secret = rest.partition("_")
    path = _path(state)
    key = _stored(path).get(key_id, _NOBODY)
    if _GOOD.get((path, presented)) is not key:
        same = hmac.compare_digest(_digest(key.salt, secret), key.digest)
        if not (same and secret and key is not _NOBODY and prefix == PREFIX):
            raise AccessDenied("the API key is not known")
        if len(_GOOD) >= MOST_GOOD:
            _GOOD.clear()
        _GOOD[path, presented] = key
    if key.is_expired(datetime.now(UTC)):
        raise AccessDenied("the API key has expired")
    _note_use(path, key.id)
    return key.principal


def keep_standing(state: Path, later: str) -> list[Key]:
    """Of the keys, keep those that the text of a later file still has, and no longer than it says; those that go.

    Raises:
        ConfigError: it cannot be read.
    """
    try:
        standing = _parsed(later)
    except (ValueError, TypeError, KeyError, AttributeError) as wrong:
        raise ConfigError(f"the API keys there cannot be read ({type(wrong).__name__})") from None
    with _changing(state) as keys:
        gone = [key for key in keys.values() if key.id not in standing]
        for key in gone:
            del keys[key.id]
        for key in list(keys.values()):
            ends = [each for each in (key.expires_at, standing[key.id].expires_at) if each is not None]
            keys[key.id] = replace(key, expires_at=min(ends, default=None), replaced_by=standing[key.id].replaced_by)
    return gone


def require(principal: Principal, role: Role) -> None:
    """Check a role.

    Raises:
        WrongRole: names the role that is needed.
    """
    if not principal.may(role):
        raise WrongRole(f"role {role} is needed; this key has {principal.role}")


def require_scope(principal: Principal, scope: str) -> None:
    """Check that a key is not bound to other scopes.

    Raises:
        WrongRole: names the scope that is needed.
    """
    if principal.scopes and scope not in principal.scopes:
        raise WrongRole(f"scope {scope} is needed; this key has {', '.join(principal.scopes)}")


def _holder(keys: dict[str, Key], name: str, now: datetime) -> Key | None:
    """The living key of a name; names differ by more than case."""
    mine = (k for k in keys.values() if k.name.casefold() == name.casefold())
    return next((k for k in mine if k.replaced_by is None and not k.is_expired(now)), None)


def _known(keys: dict[str, Key], key_id: str) -> Key:
    if key_id in keys:
        return keys[key_id]
    # A whole key given by mistake must not be repeated on a screen.
    shown = key_id if len(key_id) <= 2 * ID_BYTES else f"{key_id[: 2 * ID_BYTES]}…"
    raise ConfigError(f"there is no key with the id {shown!r}; there are {', '.join(sorted(keys)) or 'none'}")


def _after(now: datetime, span: timedelta | None) -> str | None:
    return None if span is None else (now + span).isoformat()


def _add(keys: dict[str, Key], name: str, role: Role, limits: dict[str, Any]) -> str:
    key_id, secret, salt = secrets.token_hex(ID_BYTES), secrets.token_urlsafe(SECRET_BYTES), secrets.token_hex(16)
    keys[key_id] = Key(key_id, name, role, salt, _digest(salt, secret), datetime.now(UTC).isoformat(), **limits)
    return f"{PREFIX}_{key_id}_{secret}"


def _digest(salt: str, secret: str) -> str:
    return hmac.digest(bytes.fromhex(salt), secret.encode(), "sha256").hex()


def _note_use(path: Path, key_id: str) -> None:
    now = time.monotonic()
    if now - _USED.get((path, key_id), float("-inf")) < USED_EVERY_SECONDS:
        return
    _USED[path, key_id] = now
    state = path.parent
    try:
        (state / USED).mkdir(exist_ok=True, mode=0o700)
        (state / USED / key_id).write_text(datetime.now(UTC).isoformat(timespec="seconds"), encoding="ascii")
    except OSError as fault_:  # a full or read-only disk must not keep callers out
        telemetry.log.warning(f"the last use of the key {key_id} cannot be noted ({type(fault_).__name__})")


def _path(state: Path) -> Path:
    name = os.fspath(state)
    folder = "" if name.startswith(os.sep) else os.getcwd()  # noqa: PTH109 - each request asks, and a Path is dear
    return _absolute(name, folder)


@lru_cache(maxsize=64)
def _absolute(state: str, folder: str) -> Path:
    return Path(folder, state, KEYS)


def _stored(path: Path) -> dict[str, Key]:
    """Keys by id; read again only when the file changed. It is always replaced, never edited in place. Where it can no
    longer be read, the keys that were read before stay good in this process."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return {}
    signature = (found.st_mtime_ns, found.st_ino, found.st_size)
    cached = _CACHE.get(path)
    if cached is not None and cached[0] == signature:
        return cached[1]
    try:
        _CACHE[path] = (signature, _read(path), None)
    except KeysUnreadable as unreadable:
        if cached is None:
            raise
        _CACHE[path] = (signature, cached[1], "the API keys cannot be read; those of before are heeded")
        telemetry.log.error(f"{unreadable}; the keys that were read before stay good")
    return _CACHE[path][1]


def _read(path: Path) -> dict[str, Key]:
    try:
        return _parsed(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as wrong:
        raise KeysUnreadable(
            f"{path} holds no keys that can be read ({type(wrong).__name__}); restore or delete it"
        ) from wrong


def _parsed(text: str) -> dict[str, Key]:
    entries = json.loads(text)
    if not isinstance(entries, list):
        raise ValueError("no list")
    keys = [Key(**(entry | {"scopes": tuple(entry.get("scopes", ()))})) for entry in entries]
    if any(key.role not in ROLES for key in keys):
        raise ValueError("an unknown role")
    return {key.id: key for key in keys}


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
