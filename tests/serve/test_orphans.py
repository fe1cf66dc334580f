"""A server that a command started ends with it, also where the command was killed and could end nothing itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

# The command: starts a server as `customer360 demo` does, says its number, and waits.
COMMAND = """
import os, subprocess, sys, time
from customer360.serve.orphans import ENDS_WITH
server = subprocess.Popen([sys.executable, "-c", sys.argv[1]], env=os.environ | {ENDS_WITH: str(os.getpid())})
print(server.pid, flush=True)
time.sleep(60)
"""
SERVER = """
import time
from customer360.serve import orphans
orphans.LOOK_SECONDS = 0.05
orphans.watch_parent()
time.sleep(60)
"""


def runs(process: int) -> bool:
    """Whether a process runs; one that has ended and whom nobody asked for does not."""
    try:
        with open(f"/proc/{process}/stat", encoding="ascii") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_server_ends_when_the_command_that_started_it_is_killed() -> None:
    with subprocess.Popen([sys.executable, "-c", COMMAND, SERVER], stdout=subprocess.PIPE, text=True) as command:
        assert command.stdout
        server = int(command.stdout.readline())
        try:
            time.sleep(0.5)
            assert runs(server)
            os.kill(command.pid, signal.SIGKILL)
            end = time.monotonic() + 30
            while runs(server) and time.monotonic() < end:
                time.sleep(0.05)
            assert not runs(server), "it runs on, and nobody will end it"
        finally:
            command.kill()
            if runs(server):
                os.kill(server, signal.SIGKILL)
