"""A server that a command started ends when the command is gone, however it went."""

from __future__ import annotations

import os
import signal
import threading
import time

ENDS_WITH = "CUSTOMER360_ENDS_WITH"  # process id of the command, in the environment of its server
LOOK_SECONDS = 1.0


def is_started_by_a_command() -> bool:
    """Whether another command of ours started this server, for as long as it runs itself."""
    return os.environ.get(ENDS_WITH, "").isdigit()


def watch_parent() -> None:
    """Send this process SIGTERM once the command that started it, if one did, is no longer its parent."""
    parent = os.environ.get(ENDS_WITH, "")
    if parent.isdigit():
        threading.Thread(target=_end_with, args=(int(parent),), name="parent", daemon=True).start()


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(LOOK_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
