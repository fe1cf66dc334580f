"""A lake in an object store, and Ray on two nodes: equal tables, requests and seconds of a run with nothing new.

    python tests/bench/object_store.py [--people 400] [--days 40] [--delay 0.02] [--executor local|ray] [--keep FOLDER]

The store is moto's S3 in a process of its own, each of whose answers waits ``--delay`` seconds. A day's files are held
back, so that there is a second run; then runs with nothing new. With ``--executor ray`` units run on a Ray of two nodes
(`ray.cluster_utils.Cluster`), one core each. At the end every table is compared with that of the same runs in a folder,
in process. Prints seconds, CPU seconds, and the requests of each run by kind.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

CLI = [sys.executable, "-m", "customer360.serve.cli"]
# What says when or how a row was made, not what it holds.
OWN = (
    "_ingested_at", "committed_at", "seal", "previous_seal", "digest", "root", "previous_root", "decided_at",
    "updated_at", "state_at", "size_bytes",
)  # fmt: skip


# ---- the store ------------------------------------------------------------------------------------------------


class Counted:
    """A WSGI application that waits before each answer and counts them by kind; ``/counts`` tells and forgets."""

    def __init__(self, app: Callable[..., Iterable[bytes]], delay: float):
        self.app, self.delay, self.seen, self.lock = app, delay, Counter[str](), threading.Lock()

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        path, query = environ.get("PATH_INFO", ""), environ.get("QUERY_STRING", "")
        if path == "/counts":
            with self.lock:
                body, self.seen = json.dumps(self.seen).encode(), Counter()
            start("200 OK", [("Content-Length", str(len(body)))])
            return [body]
        time.sleep(self.delay)
        key = path + query.partition("prefix=")[2]
        part = next((p for p in ("_delta_log", "_batches", "_staging", ".parquet", "_") if p in key), "else")
        with self.lock:
            self.seen[f"{'LIST' if 'list-type' in query else environ['REQUEST_METHOD']} {part}"] += 1
        return self.app(environ, start)


def serve(port: int, delay: float) -> None:
    """Serve S3 until the process ends."""
    from moto.server import DomainDispatcherApplication, create_backend_app
    from werkzeug.serving import run_simple

    run_simple("127.0.0.1", port, Counted(DomainDispatcherApplication(create_backend_app), delay), threaded=True)


@contextmanager
def store(delay: float) -> Iterator[str]:
    """Address of a running store with a bucket called lake."""
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, __file__, "--serve", str(port), "--delay", str(delay)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            try:
                request = urllib.request.Request(f"http://127.0.0.1:{port}/lake", method="PUT")
                urllib.request.urlopen(request, timeout=5).close()
                break
            except OSError:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


# ---- the runs -------------------------------------------------------------------------------------------------


def settings_file(root: Path, name: str, lake: str, endpoint: str | None, executor: str) -> Path:
    options = {
        "aws_endpoint_url": endpoint, "aws_access_key_id": "test", "aws_secret_access_key": "test",
        "aws_region": "us-east-1", "aws_allow_http": "true", "aws_virtual_hosted_style_request": "false",
        "aws_conditional_put": "etag",
    } if endpoint else {}  # fmt: skip
    file = root / f"{name}.yaml"
    held = {"root": lake, "storage_options": options, "buckets": 4}
    file.write_text(
        f"extends: local.yaml\nlanding: {root}/sample/landing\nstate: {root}/{name}\nlake: {json.dumps(held)}\n"
        f"execution: {{executor: {executor}}}\n"
    )
    return file


@contextmanager
def two_nodes() -> Iterator[None]:
    """A Ray of two nodes, one core each, to which runs connect."""
    os.environ["RAY_AUTH_MODE"] = "disabled"
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "object_store_memory": 100 * 1024 * 1024}
    cluster = Cluster(initialize_head=True, head_node_args=node)
    cluster.add_node(**node)
    os.environ["RAY_ADDRESS"] = cluster.address
    try:
        yield
    finally:
        del os.environ["RAY_ADDRESS"]
        cluster.shutdown()


def once(file: Path) -> None:
    """One run in this process, as the command makes it."""
    from customer360.serve import pipelines
    from customer360.serve.cli.options import configured
    from customer360.serve.compose import rules_kept

    settings = configured(file)
    start, used = time.perf_counter(), time.process_time()
    with rules_kept(settings):
        record = pipelines.run(settings)
    states = Counter(n.state for n in record.nodes) if record else {}
    print(f"{time.perf_counter() - start:7.1f} s, {time.process_time() - used:5.1f} s of CPU, {dict(states)}", end="")


def measured(title: str, file: Path, endpoint: str | None) -> None:
    """One run in a process of its own, and what it asked of the store."""
    counted = f"{endpoint}/counts"
    if endpoint:
        urllib.request.urlopen(counted).close()
    command = [sys.executable, __file__, "--once", str(file)]
    done = subprocess.run(command, capture_output=True, text=True)
    print(f"{title:28}{done.stdout or done.stderr[-2000:]}", flush=True)
    if endpoint:
        seen = Counter(json.load(urllib.request.urlopen(counted)))
        said = ", ".join(f"{n} {kind}" for kind, n in seen.most_common())
        print(f"    {seen.total():,} requests: {said}", flush=True)


def differences(one: Path, other: Path) -> list[str]:
    """Tables whose rows differ between two lakes, but for what says when they were made."""
    from customer360.platform import tables
    from customer360.platform.run import lake_of
    from customer360.serve.cli.options import configured

    lakes, found = [lake_of(configured(file)) for file in (one, other)], []
    for name in sorted(tables.TABLES):
        if not all(lake.exists(name) for lake in lakes) or name.startswith("quality."):
            found += [name] if lakes[0].exists(name) != lakes[1].exists(name) else []
            continue
        columns = [c for c in tables.schema(tables.by_name(name)) if c not in OWN and not c.endswith("_uri")]
        left, right = (lake.scan(name).select(columns).collect() for lake in lakes)
        ordered = [sorted(map(repr, frame.iter_rows())) for frame in (left, right)]
        if ordered[0] != ordered[1]:
            found.append(f"{name} ({left.height}, {right.height})")
    return found


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--people", type=int, default=400)
    asked.add_argument("--days", type=int, default=40)
    asked.add_argument("--delay", type=float, default=0.02)
    asked.add_argument("--executor", choices=("local", "ray"), default="local")
    asked.add_argument("--keep", type=Path)
    asked.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    asked.add_argument("--once", type=Path, help=argparse.SUPPRESS)
    given: Any = asked.parse_args()
    if given.serve:
        return serve(given.serve, given.delay)
    if given.once:
        return once(given.once)
    root = given.keep or Path(tempfile.mkdtemp(prefix="object_store"))
    words = ["--customers", str(given.people), "--days", str(given.days), "--out", str(root / "sample")]
    if not (root / "sample").exists():
        subprocess.run([*CLI, "sample", *words], check=True, stdout=subprocess.DEVNULL)
    held = root / "held"
    with store(given.delay) as endpoint, two_nodes() if given.executor == "ray" else nullcontext():
        here = settings_file(root, "here", f"{root}/lake", None, "local")
        there = settings_file(root, "there", "s3://lake/house", endpoint, given.executor)
        late = sorted((root / "sample/landing/pos/transactions").iterdir())[-1]
        held.mkdir(exist_ok=True)
        shutil.move(late, held / late.name)
        for title in ("first run", "a file more", "nothing new", "nothing new"):
            if title == "a file more":
                shutil.move(held / late.name, late)
            measured(f"{title}, object store", there, endpoint)
            if title != "nothing new":
                measured(f"{title}, folder", here, None)
        print("tables that differ:", differences(here, there) or "none", flush=True)
    return None


if __name__ == "__main__":
    main()
