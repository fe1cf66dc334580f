"""One server a port. Ray's proxies share ports with whoever else asks, and callers would reach one or the other."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from customer360.platform.errors import ConfigError
from customer360.platform.settings import ServeSettings


def bound(limits: ServeSettings) -> socket.socket:
    """A socket at host and port, not listening yet.

    Raises:
        ConfigError: the port is taken, or not to be had; says by which setting to choose another.
    """
    family = socket.AF_INET6 if ":" in limits.host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((limits.host, limits.port))
    except OSError as fault:
        made.close()
        why = "is taken by another program" if fault.errno == errno.EADDRINUSE else f"cannot be used: {fault.strerror}"
        raise ConfigError(f"serve.port: port {limits.port} of {limits.host} {why}; choose another") from None
    return made


@contextmanager
def held(limits: ServeSettings) -> Iterator[None]:
    """Hold a port for a server on Ray while the block runs, against another that starts at the same time.

    Raises:
        ConfigError: the port is taken.
    """
    folder = Path(tempfile.gettempdir()) / f"customer360-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    with open(folder / f"port-{limits.port}", "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(
                f"serve.port: port {limits.port} is taken by another `customer360 serve`; choose another"
            ) from None
        bound(limits).close()
        yield
