"""A message that was acknowledged is there, once, whatever died."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from customer360.platform.sources.protocols.hooks import journal
from customer360.platform.sources.protocols.hooks.journal import Journal, frames, retire, segments


def held(folder: Path) -> list[bytes]:
    return [content for name in segments(folder) for _, content in frames(folder / name, 0)]


def test_messages_are_kept_in_their_order_and_once(tmp_path: Path) -> None:
    made = Journal(tmp_path / "j")
    assert [made.append(f"k{n % 5}", f"k{n % 5}\n{n % 5}".encode()) for n in range(10)] == [True] * 5 + [False] * 5
    assert held(tmp_path / "j") == [f"k{n}\n{n}".encode() for n in range(5)]


def test_the_next_process_knows_what_came(tmp_path: Path) -> None:
    Journal(tmp_path).append("a", b"a\n1")
    assert Journal(tmp_path).append("a", b"a\n1") is False
    assert Journal(tmp_path).append("b", b"b\n1") is True


def test_many_threads_at_once(tmp_path: Path) -> None:
    made = Journal(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: made.append(f"k{n}", f"k{n}\n".encode() * 50), range(400)))
    assert len(held(tmp_path)) == 400


def test_segments_end_and_are_retired_when_nobody_writes_to_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "SEGMENT_BYTES", 100)
    made = Journal(tmp_path)
    for number in range(6):
        made.append(f"k{number}", f"k{number}\n".encode() + b"x" * 60)
    names = segments(tmp_path)
    assert len(names) == 3
    assert retire(tmp_path / names[0], 0) is False  # not read
    assert retire(tmp_path / names[0], (tmp_path / names[0]).stat().st_size) is True
    assert retire(tmp_path / names[2], (tmp_path / names[2]).stat().st_size) is False  # somebody writes to it


def test_half_a_frame_at_the_end_is_not_read(tmp_path: Path) -> None:
    Journal(tmp_path).append("a", b"a\n1")
    (name,) = segments(tmp_path)
    with (tmp_path / name).open("ab") as file:
        file.write(b"\x00\x00\x00\x09\x00")
    assert held(tmp_path) == [b"a\n1"]


def test_a_full_disk_acknowledges_nothing_and_hides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Journal(tmp_path)
    made.append("a", b"a\n1")
    write = os.write

    def full(file: int, data: bytes) -> int:
        if data:
            write(file, data[:3])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(os, "write", full)
        with pytest.raises(OSError, match="No space"):
            made.append("b", b"b\n2")
    assert made.append("b", b"b\n2") is True
    assert held(tmp_path) == [b"a\n1", b"b\n2"]


@pytest.mark.slow
def test_what_was_acknowledged_before_a_kill_is_there(tmp_path: Path) -> None:
    script = textwrap.dedent("""
        import sys
        from pathlib import Path
        from customer360.platform.sources.protocols.hooks.journal import Journal
        made, n = Journal(Path(sys.argv[1])), 0
        while True:
            made.append(f"k{n}", f"k{n}\\n".encode() * 20)
            print(n, flush=True)
            n += 1
    """)
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert process.stdout
        last = -1
        for line in process.stdout:
            last = int(line)
            if last == 200:
                process.send_signal(signal.SIGKILL)
                break
        for line in process.stdout:
            last = int(line) if line.strip() else last
        process.wait()
        kept = {content.partition(b"\n")[0].decode() for content in held(tmp_path)}
        assert {f"k{n}" for n in range(last + 1)} <= kept
