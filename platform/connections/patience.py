"""Calls that may hang: a driver that waits for a frozen server is left waiting, and whoever asked goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from customer360.platform.errors import TransientError

Found = TypeVar("Found")
CLOSING = 5.0  # seconds that closing may take


class Patience:
    """One thread that makes the calls of a connection, in order; a caller waits so many seconds for each and no longer.

    Drivers want all calls of a connection from one thread, and cannot be interrupted while they wait. After a call that
    was not waited for, no other is made: the connection is lost.
    """

    def __init__(self, where: str):
        self.where, self.is_lost = where, False
        self._calls: SimpleQueue[Callable[[], Any] | None] = SimpleQueue()
        self._answers: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        threading.Thread(target=self._work, daemon=True, name="connection").start()

    def _work(self) -> None:
        while call := self._calls.get():
            try:
                answer: tuple[Any, BaseException | None] = call(), None
            except BaseException as fault:  # noqa: BLE001 - raised again where the answer is waited for
                answer = None, fault
            self._answers.put(answer)

    def call(self, make: Callable[[], Found], seconds: float) -> Found:
        """What a call gives, or raises.

        Raises:
            TransientError: it took longer, or one before it did.
        """
        if self.is_lost:
            raise TransientError(f"{self.where}: the connection is lost")
        self._calls.put(make)
        try:
            found, fault = self._answers.get(timeout=seconds)
        except Empty:
            self.is_lost = True
            raise TransientError(f"{self.where}: no answer within {seconds:g} s") from None
        except BaseException:  # the caller was interrupted: the answer belongs to nobody
            self.is_lost = True
            raise
        if fault is not None:
            raise fault
        return found

    def end(self, close: Callable[[], None]) -> None:
        """Close what the calls opened, after the one that is still waited for, and let the thread go."""
        if self.is_lost:
            self._calls.put(close)
        else:
            with suppress(Exception):  # what was asked was answered before
                self.call(close, CLOSING)
        self._calls.put(None)
