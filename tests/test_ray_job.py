"""The wheel as a job on a Ray cluster of its own: submitted, run by the cluster's workers, with the same tables."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import site as python_site
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
PEOPLE, DAYS = 20, 28
TIMEOUT_SECONDS = 400


@dataclass(frozen=True)
class Cluster:
    """A head node started for these tests; ``environment`` is what its clients need."""

    python: Path
    dashboard: str
    environment: dict[str, str]
    folder: Path

    def ray(self, *words: str) -> subprocess.CompletedProcess[str]:
        return _run([str(self.python), "-m", "ray.scripts.scripts", *words], self.environment, self.folder)


def _run(command: list[str], environment: dict[str, str], folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
    )


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _processes_of(folder: Path) -> list[int]:
    """Processes whose command line or environment names a folder that only this test's cluster was given."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                said = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            except OSError:  # gone meanwhile, or not ours
                continue
            if str(folder).encode() in said:
                found.append(int(entry.name))
    return found


def _end(pids: list[int], how: signal.Signals) -> None:
    for pid in pids:
        try:
            os.kill(pid, how)
        except ProcessLookupError:
            continue


@pytest.fixture(scope="module")
def wheel_python(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str], Path]:
    """An interpreter with the built wheel, whose dependencies come from this one; its environment and a folder outside
    the checkout.
    """
    folder = tmp_path_factory.mktemp("wheel")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "CUSTOMER360_", "PYTHON"))}
    built = _run(
        [sys.executable, "-m", "build", "-q", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)],
        clean,
        folder,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = folder.glob("customer360-*.whl")
    made = _run(
        [sys.executable, "-m", "venv", "--system-site-packages", "--without-pip", str(folder / "venv")], clean, folder
    )
    assert made.returncode == 0, made.stderr
    python = folder / "venv" / "bin" / "python"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--python",
        str(python),
        "install",
        "-q",
        "--no-deps",
        "--no-index",
        "--disable-pip-version-check",
        str(wheel),
    ]
    installed = _run(pip, clean, folder)
    assert installed.returncode == 0, installed.stdout + installed.stderr
    environment = clean | {"PYTHONPATH": python_site.getsitepackages()[0]}
    where = _run([str(python), "-c", "import customer360.serve as s; print(s.__file__)"], environment, folder)
    assert Path(where.stdout.strip()).is_relative_to(folder), f"not the wheel: {where.stdout}{where.stderr}"
    return python, environment, folder


@pytest.fixture(scope="module")
def cluster(wheel_python: tuple[Path, dict[str, str], Path]) -> Iterator[Cluster]:
    python, environment, folder = wheel_python
    home = Path(tempfile.mkdtemp(prefix="c360-"))  # short: paths of sockets are limited to 107 bytes
    token = home / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    head, dashboard, agent, client = _free_ports(4)
    environment |= {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        "RAY_USAGE_STATS_ENABLED": "0",
        "POLARS_MAX_THREADS": "1",
    }
    made = Cluster(python, f"http://127.0.0.1:{dashboard}", environment, folder)
    try:
        started = made.ray(
            "start", "--head", "--node-ip-address=127.0.0.1", f"--port={head}", f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}",  # noqa: E501
            f"--ray-client-server-port={client}", "--min-worker-port=0", "--max-worker-port=0", "--num-cpus=2", "--object-store-memory=104857600",  # noqa: E501
            f"--temp-dir={home}/ray",
        )  # fmt: skip
        assert started.returncode == 0, started.stdout + started.stderr
        yield made
    finally:
        _end(_processes_of(home), signal.SIGTERM)
        deadline = time.monotonic() + 5
        while _processes_of(home) and time.monotonic() < deadline:
            time.sleep(0.2)
        _end(_processes_of(home), signal.SIGKILL)  # the control store outlives a polite request for long
        shutil.rmtree(home, ignore_errors=True)


def test_a_submitted_job_makes_the_tables_of_a_local_run(
    cluster: Cluster, site: Callable[..., Any], raw_retailer: Callable[..., Path], tmp_path: Path
) -> None:
    origin = site(raw_retailer(PEOPLE, DAYS), LAKE__BUCKETS=2)
    there = site(origin.copy(tmp_path / "there").root, LAKE__BUCKETS=2, EXECUTION__EXECUTOR="ray")
    config = there.root / "config.json"
    # Of a dozen rows one broken line is more than `loss` allows, and a run that lost rows is a failed job.
    config.write_text(there.settings.model_copy(update={"loss": 1.0}).model_dump_json())
    job = cluster.ray(
        "job", "submit", f"--address={cluster.dashboard}", "--",
        str(cluster.python), "-m", "customer360.serve.cli", "run", "--config", str(config),
    )  # fmt: skip
    assert job.returncode == 0 and "succeeded" in job.stdout, job.stdout + job.stderr
    here = origin.copy(tmp_path / "here")
    here.run()
    expected, found = here.business(), there.business()
    assert expected["gold.customer_360"].len() > 0 and set(found) == set(expected)
    assert [name for name, rows in expected.items() if not rows.equals(found[name])] == []
    listed = cluster.ray("job", "list", f"--address={cluster.dashboard}")
    assert "SUCCEEDED" in listed.stdout


def test_a_client_without_the_token_is_turned_away(cluster: Cluster) -> None:
    bare = {k: v for k, v in cluster.environment.items() if not k.startswith("RAY_AUTH")} | {
        "RAY_AUTH_MODE": "disabled"
    }
    refused = _run(
        [str(cluster.python), "-m", "ray.scripts.scripts", "job", "list", f"--address={cluster.dashboard}"],
        bare,
        cluster.folder,
    )
    assert refused.returncode != 0 and "oken authentication" in refused.stdout + refused.stderr
