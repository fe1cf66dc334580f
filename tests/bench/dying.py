"""Processes that die by SIGKILL before or after a call of theirs."""

from __future__ import annotations

import importlib
import inspect
import os
import signal
from contextlib import suppress
from typing import Any


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def place_of(point: str) -> tuple[Any, str]:
    """The module or class that a point (a function, named with its module and class) lies in, and its name there."""
    parts = point.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        with suppress(ModuleNotFoundError):
            owner: Any = importlib.import_module(".".join(parts[:cut]))
            break
    for name in parts[cut:-1]:
        owner = getattr(owner, name)
    assert callable(getattr(owner, parts[-1], None)), f"there is no {point}"
    return owner, parts[-1]


def dies_at(point: str, side: str, nth: int) -> None:
    """Let this process die ``before`` or ``after`` the nth call of a function, named with its module and class."""
    owner, name = place_of(point)
    real, calls = getattr(owner, name), 0

    def is_now(at: str) -> bool:
        nonlocal calls
        calls += at == "before"
        return calls == nth and side == at

    def called(*args: Any, **keys: Any) -> Any:
        if is_now("before"):
            die()
        found = real(*args, **keys)
        if is_now("after"):
            die()
        return found

    async def awaited(*args: Any, **keys: Any) -> Any:
        if is_now("before"):
            die()
        found = await real(*args, **keys)
        if is_now("after"):
            die()
        return found

    setattr(owner, name, awaited if inspect.iscoroutinefunction(real) else called)
