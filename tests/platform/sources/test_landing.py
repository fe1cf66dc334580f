"""The landing root: globs, the order of names, and entries that cannot be listed, each of which costs itself."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from customer360.platform.sources.landing import Landing, literal_prefix


@pytest.fixture
def landing(tmp_path: Path) -> Landing:
    for name in (
        "till/2025/1.csv",
        "till/2026/2.csv",
        "till/w10.csv",
        "till/w9.csv",
        "till/x[1].csv",
        "till/a/b/q.txt",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("A\n1\n")
    return Landing(str(tmp_path))


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("till/202[56]/*.csv", ["till/2025/1.csv", "till/2026/2.csv"]),
        ("till/202?/*.csv", ["till/2025/1.csv", "till/2026/2.csv"]),
        ("t?ll/w[!1]*.csv", ["till/w9.csv"]),
        ("till/**/w9.csv", ["till/w9.csv"]),
        ("**/q.txt", ["till/a/b/q.txt"]),
        ("till/*/q.txt", ["till/a/b/q.txt"]),
        ("till/x[1].csv", ["till/x[1].csv"]),
        ("till/w*.csv", ["till/w9.csv", "till/w10.csv"]),
        ("till/none.csv", []),
        ("none/*.csv", []),
        ("till/2025", []),
    ],
)
def test_globs(landing: Landing, pattern: str, names: list[str]) -> None:
    assert [file.name for file in landing.find(pattern)] == names


def test_listing_begins_where_the_glob_does() -> None:
    assert [literal_prefix(p) for p in ("a/b/*.csv", "a/b[12]/*.csv", "a?/b", "*.csv", "a/b.csv")] == [
        "a/b", "a", "", "", "a",
    ]  # fmt: skip


def test_entries_that_cannot_be_listed_cost_themselves(landing: Landing, caplog: pytest.LogCaptureFixture) -> None:
    root = Path(landing.root) / "till/202"
    root.mkdir()
    (root / "1.csv").write_text("A\n")
    (root / "around").symlink_to(".")
    (root / "self.csv").symlink_to("self.csv")
    (root / "nowhere.csv").symlink_to("gone.csv")
    (root / "linked.csv").symlink_to("../w9.csv")
    (root / "folder").symlink_to("../a")
    os.mkfifo(root / "pipe.csv")
    for name in (b"gr\xfc\xdfe.csv", b"gr\xfc\xdfe.txt"):
        Path(os.fsdecode(os.fsencode(root) + b"/" + name)).write_text("A\n")
    found = [file.name for file in landing.find("till/202/*[cq].*")] + [f.name for f in landing.find("till/202/*.csv")]
    assert found == ["till/202/folder/b/q.txt", "till/202/1.csv", "till/202/linked.csv"]


@pytest.fixture
def bucket() -> Iterator[str]:
    """The address of a bucket `drop` in moto's S3, served by a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(100):
            try:
                put(f"http://127.0.0.1:{port}/drop")
                break
            except OSError:
                time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def put(address: str, data: bytes = b"") -> None:
    headers = {"Content-Type": "text/csv"}
    urllib.request.urlopen(urllib.request.Request(address, data, headers, method="PUT"), timeout=5).close()


@pytest.mark.slow
def test_an_object_store_with_keys_that_no_folder_has(bucket: str) -> None:
    options = {
        "aws_endpoint_url": bucket, "aws_access_key_id": "test", "aws_secret_access_key": "test",
        "aws_region": "us-east-1", "aws_allow_http": "true",
    }  # fmt: skip
    landing = Landing("s3://drop/in", tuple(options.items()))
    for key in ("till/w10.csv", "till/w9.csv", "till/ö b+c.csv", "till/marker.csv/"):
        put(f"{bucket}/drop/in/{urllib.parse.quote(key)}", b"" if key.endswith("/") else b"A\n1\n")
    names = ["till/w9.csv", "till/w10.csv", "till/ö b+c.csv"]
    before = landing.find("till/*.csv")
    assert [file.name for file in before] == names
    put(f"{bucket}/drop/in/till//double.csv", b"A\n2\n")
    assert [file.name for file in landing.find("till/*.csv")] == names
    for odd in ("till/../up.csv", "till/./here.csv", "till/bell\x07.csv"):
        put(f"{bucket}/drop/in/{urllib.parse.quote(odd, safe='/.').replace('/.', '/%2E')}", b"A\n3\n")
        assert [file.name for file in landing.find("till/*.csv")] == names, odd
    assert [f.detail["size"] for f in landing.find("till/w[0-9].csv")] == [4]
    state = landing.state_of("till/w9.csv")
    assert state is not None and state.detail["size"] == 4 and landing.state_of("till/none.csv") is None
    assert landing.bytes_of("till/ö b+c.csv") == b"A\n1\n" and landing.beginning_of("till/w9.csv", 2) == b"A\n"
    assert landing.digest_of("till/w9.csv") == hashlib.sha256(b"A\n1\n").hexdigest()
    with pytest.raises(FileNotFoundError):
        landing.bytes_of("till/none.csv")
