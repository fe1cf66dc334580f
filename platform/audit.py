"""Who read personal data: one line of JSON a reading, appended and never changed, each chained to the one before.

``<state>/audit/<year>-<month>.jsonl``. A line holds its number, the time, who (key and name, or the user of a command),
what was asked for and of whom (a person id), and the SHA-256 over the line before and itself. So a line that was
changed, left out or put in shows; that the last lines were cut shows against a number and digest noted elsewhere
(``verify`` returns them). Values that were read never stand here.

Months that a policy does not keep go whole (``forget``): a line of the chain says up to which line and digest, and
``begins.json`` repeats it as what the first line that is kept follows from.
"""

from __future__ import annotations

import errno
import fcntl
import getpass
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from customer360.platform.errors import Customer360Error

FOLDER = "audit"
_FIRST = "0" * 64
_TAIL = 16_384  # bytes that hold at least the last whole line
_ASIDE = ".damaged-"
_BEGINS = "begins.json"
DIGEST, END = b'"digest": "', b'"}'  # how a line ends
LONGEST = 200  # characters of a value; longer ones are cut


class AuditBroken(Customer360Error):
    """The audit is not as it was written."""


@dataclass(frozen=True)
class Chain:
    """The end of the audit: how many lines, and the digest of the last."""

    lines: int
    digest: str


def user() -> str:
    """The user of the system who runs this process, by name, or by number in a container that has no name for it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


def append(state: Path, **facts: str | int | None) -> None:
    """Add one reading. It stands in the file, though not surely on the disk, when this returns.

    A file whose end cannot be read is set aside, and the chain goes on from the one before.

    Raises:
        OSError: it cannot be written.
    """
    home = Path(state).absolute() / FOLDER
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    with open(home / "_lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before, is_torn = _end(home)
        now = datetime.now(UTC)
        cut = {k: v[:LONGEST] if isinstance(v, str) else v for k, v in facts.items()}
        entry: dict[str, Any] = {"n": before.lines + 1, "at": now.isoformat(timespec="milliseconds"), **cut}
        entry["digest"] = _digest(before.digest, entry)
        line = ("\n" if is_torn else "") + json.dumps(entry, ensure_ascii=False) + "\n"
        newest = [file.name for file in _files(home)][-1:]  # a clock that was put back begins no file before it
        into = home / max([f"{now:%Y-%m}.jsonl", *newest])
        target = os.open(into, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        data = line.encode()
        try:
            size = os.fstat(target).st_size
            if os.write(target, data) != len(data):
                os.ftruncate(target, size)
                raise OSError(errno.ENOSPC, "the line of the audit could not be written whole")
        finally:
            os.close(target)


def entries(state: Path) -> Iterator[dict[str, Any]]:
    """All lines, oldest first, without what a writer that died left of one."""
    yield from filter(None, map(_parsed, _lines(state)))


def _lines(state: Path) -> Iterator[bytes]:
    for file in _files(Path(state).absolute() / FOLDER):
        yield from file.read_bytes().splitlines()


def forget(state: Path, before: date, *, dry_run: bool = False) -> int:
    """Delete the months that end before a day, but for the newest file. Lines that went, or would go. One that died is
    taken up by the next.

    Raises:
        AuditBroken: what would go is not as it was written, so it stays.
    """
    home = Path(state).absolute() / FOLDER
    old = [file for file in _files(home)[:-1] if file.stem < f"{before:%Y-%m}"]
    if not old:
        return 0
    verify(state)
    told = [entry for file in old for entry in map(_parsed, file.read_bytes().splitlines()) if entry]
    last = max(told, key=lambda entry: int(entry["n"]))
    begins = _begins(home)
    count = max(int(last["n"]) - begins.lines, 0)
    if dry_run:
        return count
    if count:
        append(state, name="retention", asked=f"audit before {before:%Y-%m}", upto=last["n"], ends=last["digest"])
        fresh = home / f"{_BEGINS}.new"
        with open(fresh, "w", encoding="utf-8") as written:
            json.dump({"n": last["n"], "digest": last["digest"]}, written)
            written.flush()
            os.fsync(written.fileno())
        fresh.replace(home / _BEGINS)
    for file in old:
        file.unlink(missing_ok=True)
    return count


def _begins(home: Path) -> Chain:
    """What the first line that is kept follows from.

    Raises:
        AuditBroken: the note of it cannot be read.
    """
    try:
        noted = json.loads((home / _BEGINS).read_bytes())
        return Chain(int(noted["n"]), str(noted["digest"]))
    except FileNotFoundError:
        return Chain(0, _FIRST)
    except (ValueError, KeyError, TypeError):
        raise AuditBroken(f"the audit is broken: {_BEGINS} cannot be read") from None


def verify(state: Path) -> Chain:
    """Walk the whole chain, from what was kept of it on.

    Raises:
        AuditBroken: names the first line that does not follow from the one before or cannot be read, though it is
            whole, or files that were set aside.
    """
    begins = chain = _begins(Path(state).absolute() / FOLDER)
    is_said = begins.lines == 0
    for line in _lines(state):
        if (entry := _parsed(line)) is None:
            if DIGEST in line and line.endswith(END):  # what a writer that died left has neither
                raise AuditBroken(f"the audit is broken: a line after line {chain.lines} cannot be read")
            continue
        if entry["n"] <= begins.lines:  # a deletion died before this file
            continue
        is_said |= entry.get("upto") == begins.lines and entry.get("ends") == begins.digest
        if entry["n"] != chain.lines + 1:
            raise AuditBroken(f"the audit is broken: line {chain.lines + 1} is missing")
        if entry["digest"] != _digest(chain.digest, entry):
            raise AuditBroken(f"the audit is broken: line {entry['n']} was changed")
        chain = Chain(chain.lines + 1, str(entry["digest"]))
    if not is_said:
        raise AuditBroken(f"the audit is broken: no line says that those up to {begins.lines} went")
    for file in _files(Path(state).absolute() / FOLDER):
        if not any(map(_parsed, file.read_bytes().splitlines())):
            raise AuditBroken(f"the audit is broken: {file.name} holds no line that can be read")
    if aside := sorted(file.name for file in (Path(state).absolute() / FOLDER).glob(f"*{_ASIDE}*")):
        raise AuditBroken(f"the audit is broken: the end of {', '.join(aside)} cannot be read")
    return chain


def _end(home: Path) -> tuple[Chain, bool]:
    """The end of the chain, and whether the file that holds it ends within a line."""
    for file in reversed(_files(home)):
        with open(file, "rb") as handle:
            handle.seek(max(os.fstat(handle.fileno()).st_size - _TAIL, 0))
            tail = handle.read()
        if whole := list(filter(None, map(_parsed, tail.splitlines()))):
            return Chain(int(whole[-1]["n"]), str(whole[-1]["digest"])), not tail.endswith(b"\n")
        file.rename(file.with_name(f"{file.name}{_ASIDE}{datetime.now(UTC):%Y%m%dT%H%M%S%f}"))
    return _begins(home), False


def _files(home: Path) -> list[Path]:
    return sorted(file for file in home.glob("*.jsonl") if file.stat().st_size) if home.is_dir() else []


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    is_whole = isinstance(entry, dict) and isinstance(entry.get("n"), int) and "digest" in entry
    return entry if is_whole else None


def _digest(before: str, entry: dict[str, Any]) -> str:
    said = {key: value for key, value in entry.items() if key != "digest"}
    return hashlib.sha256(f"{before}{json.dumps(said, ensure_ascii=False, sort_keys=True)}".encode()).hexdigest()
