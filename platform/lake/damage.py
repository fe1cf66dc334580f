"""What a damaged, cut or missing file raises when it is read, or a full disk, whichever library meets it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import obstore
import polars as pl
import pyarrow as pa
from deltalake.exceptions import DeltaError

from customer360.platform.errors import DiskFull, LakeError

if TYPE_CHECKING:
    from customer360.platform.lake import Lake

RESTORE = "restore it from a backup"

UNREADABLE = (
    OSError,
    EOFError,
    UnicodeError,
    DeltaError,
    obstore.exceptions.BaseError,
    pl.exceptions.PolarsError,
    pa.ArrowException,
)


_FULL = re.compile(r"\[Errno (28|122)\]|\(os error (28|122)\)")  # as Python and Rust say it of this machine


def is_full(said: str) -> bool:
    """Whether a fault, in its own words, is that a disk of this machine has no room, or the user no more of it."""
    return bool(_FULL.search(said))


def check_room(said: str) -> None:
    """Raises DiskFull where a fault, in its own words, is that."""
    if is_full(said):
        raise DiskFull(
            "the disk is full: make room and start it again; what was committed stands, the rest is made then"
        )


def parsed(lake: Lake, path: str, remedy: str = RESTORE) -> Any:
    """What an object of a lake says as JSON; None where there is no object, which an empty one is not.

    Raises:
        LakeError: it cannot be read; it says what to do.
    """
    data = lake.get(path)
    try:
        return None if data is None else json.loads(data)
    except ValueError:
        raise LakeError(_said(lake, path, "is no JSON" if data else "is empty", remedy)) from None


def unlike(lake: Lake, path: str, remedy: str = RESTORE) -> LakeError:
    """The fault of an object that is JSON, and not what belongs there."""
    return LakeError(_said(lake, path, "does not hold what belongs there", remedy))


def _said(lake: Lake, path: str, fault: str, remedy: str) -> str:
    return f"{lake.root}/{path} {fault}; {remedy}"
