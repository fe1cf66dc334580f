"""HAProxy in front of Ray Serve (`RAY_SERVE_ENABLE_HA_PROXY=1`): what it and the replicas behind it are told by the
environment, which Ray reads when it starts.

Each replica then has a server of its own, with `front.Front` before it, so that keys and bodies are looked at as behind
Ray's own proxy. What no replica can see are sockets that say nothing, or half a head: those wait in HAProxy, by Ray's
settings for an hour.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Mapping

from customer360.platform.settings import ServeSettings
from customer360.serve.plain import KEEP_ALIVE_SECONDS

IS_USED = "RAY_SERVE_ENABLE_HA_PROXY"
IDLE_SECONDS = 30  # for the next bytes of a body, or until some of an answer is read
MOST_SOCKETS = 32_768  # of callers at once
FILES_LEFT = 512  # that HAProxy has for everything else


def variables(limits: ServeSettings, environment: Mapping[str, str]) -> dict[str, str]:
    """What the environment lacks. Nothing where HAProxy is not used."""
    if environment.get(IS_USED) != "1":
        return {}
    return {name: value for name, value in _wanted(limits).items() if name not in environment}


def _wanted(limits: ServeSettings) -> dict[str, str]:
    return {
        "RAY_SERVE_HAPROXY_NBTHREAD": "1",
        # An answer is computed on the loop that took the request: to hand it to a thread costs as much as to find it.
        "RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0",
        "RAY_SERVE_RUN_ROUTER_IN_SEPARATE_LOOP": "0",
        # A line of log for each request, which a process of Python reads: .15 ms of CPU. `/metrics` counts them, too.
        "RAY_SERVE_HAPROXY_METRICS_ENABLED": "0",
        "RAY_SERVE_HAPROXY_TIMEOUT_CLIENT_S": str(IDLE_SECONDS),
        "RAY_SERVE_HAPROXY_MAXCONN": str(_sockets()),
        "RAY_SERVE_HAPROXY_RETRY_ON": _retried_on(limits),
    }


def _retried_on(limits: ServeSettings) -> str:
    """Ray has no variable for these, and lays this one as it is into the section `defaults`: the lines after
    the first are settings of their own. A request is sent to another replica only where nothing of it was sent yet.
    """
    return (
        f"conn-failure\n    timeout http-request {round(limits.header_timeout_seconds * 1000)}ms"
        f"\n    timeout http-keep-alive {KEEP_ALIVE_SECONDS}s"
        "\n    option forwardfor"  # else all callers have HAProxy's address, but for who says that it has another
    )


def _sockets() -> int:
    """Of callers. For each HAProxy wants one to a replica as well, and for every fourth a pipe, all of which are files,
    and it does not start where there are too few: Ray's own number, 4,096, needs more than many machines allow.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = sys.maxsize if most == resource.RLIM_INFINITY else most
    return min(max(files - FILES_LEFT, FILES_LEFT) * 2 // 5, MOST_SOCKETS)
