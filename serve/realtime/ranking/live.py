"""The merchandising rules of now: the file is read again when it changes, and a wrong one changes nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from customer360.platform import telemetry
from customer360.platform.errors import ConfigError
from customer360.serve.realtime.ranking.merchandise import MerchandisingRules

POLL_SECONDS = 2.0


class LiveRules:
    """``read`` gives the rules, of ``file``; None: there is no file, and the rules never change."""

    def __init__(self, read: Callable[[], MerchandisingRules], file: Path | None, poll_seconds: float = POLL_SECONDS):
        self.fault: str | None = None  # why the rules are those of before
        self._read, self._file, self._poll_seconds = read, file, poll_seconds
        self._lock = threading.Lock()
        self._rules: MerchandisingRules | None = None
        self._changed_at: int | None = None
        self._looked_at = float("-inf")

    def __call__(self) -> MerchandisingRules:
        """Raises ConfigError: the file was never right."""
        if self._rules is not None and time.monotonic() - self._looked_at < self._poll_seconds:
            return self._rules
        with self._lock:
            self._looked_at = time.monotonic()
            changed_at = self._file.stat().st_mtime_ns if self._file and self._file.exists() else None
            if self._rules is None or (changed_at is not None and changed_at != self._changed_at):
                self._take(changed_at)
            assert self._rules is not None
            return self._rules

    def _take(self, changed_at: int | None) -> None:
        try:
            self._rules, self.fault = self._read(), None
        except ConfigError as fault:
            if self._rules is None:
                raise
            self.fault = str(fault)
            telemetry.log.error(f"merchandising rules stay as they were: {fault}")
        self._changed_at = changed_at
