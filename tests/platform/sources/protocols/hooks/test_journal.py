"""A message that was acknowledged is there, once, whatever died."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from customer360.platform.sources.protocols.hooks import journal
from customer360.platform.sources.protocols.hooks.journal import Journal, frames, retire, segments


def held(folder: Path) -> list[bytes]:
    return [content for name in segments(folder) for _, content, _ in frames(folder / name, 0)]


def test_messages_are_kept_in_their_order_and_once(tmp_path: Path) -> None:
    made = Journal(tmp_path / "j")
    assert [made.append(f"k{n % 5}", f"k{n % 5}\n{n % 5}".encode()) for n in range(10)] == [True] * 5 + [False] * 5
    assert held(tmp_path / "j") == [f"k{n}\n{n}".encode() for n in range(5)]


def test_many_messages_are_one_commit_and_each_is_kept_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    sync = os.fdatasync
    monkeypatch.setattr(os, "fdatasync", lambda file: (synced.append(file), sync(file)))
    made = Journal(tmp_path)
    messages = [(f"k{n % 70}", f"k{n % 70}\n{n}".encode()) for n in range(100)]
    assert made.append_all(messages) == [True] * 70 + [False] * 30
    assert len(synced) == 1
    assert made.append_all(messages[:2]) == [False, False] and made.append_all([]) == []
    assert made.append_all([("new", b"new\n"), messages[0]], as_one=True) == [False, False], "all or none"
    assert held(tmp_path) == [content for _, content in messages[:70]]


def test_of_many_messages_that_a_full_disk_cuts_none_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Journal(tmp_path)
    made.append("a", b"a\n1")

    def failed(file: int) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as disk:
        disk.setattr(os, "fdatasync", failed)
        with pytest.raises(OSError, match="Input"):
            made.append_all([("b", b"b\n1"), ("c", b"c\n1")])
    assert made.append_all([("a", b"a\n1"), ("b", b"b\n1"), ("c", b"c\n1")]) == [False, True, True]
    assert held(tmp_path) == [b"a\n1", b"b\n1", b"c\n1"]


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


def written(folder: Path, count: int) -> Path:
    """A segment of some messages, to which nobody writes any more."""
    made = Journal(folder)
    for number in range(count):
        made.append(f"k{number}", f"k{number}\n{number}".encode())
    made._end(made._name)
    return folder / segments(folder)[-1]


def test_damage_in_the_middle_costs_what_it_hit(tmp_path: Path) -> None:
    segment = written(tmp_path, 9)
    whole = segment.read_bytes()
    for place in range(len(whole)):
        segment.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        found = list(frames(segment, 0))
        assert sum(frame.is_whole for frame in found) == 8
        if place < len(whole) * 8 // 9:  # a length that leads beyond the end, in the last, is that of half a frame
            assert b"".join(frame.content for frame in found if not frame.is_whole)
            assert found[-1].end == len(whole)
            assert not retire(segment, found[-2].end)
        given = found[-1].end
        assert list(frames(segment, 0, given)) == found


def test_what_a_file_system_got_ready_is_no_message(tmp_path: Path) -> None:
    segment = written(tmp_path, 3)
    size = segment.stat().st_size
    with segment.open("ab") as file:
        file.write(b"\0" * 4096)
    assert [frame.is_whole for frame in frames(segment, 0)] == [True] * 3
    assert retire(segment, size) is True


def test_a_failed_sync_begins_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Journal(tmp_path)
    made.append("a", b"a\n1")

    def fails(*_: object) -> None:
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as disk:
        disk.setattr(os, "fdatasync", fails)
        with pytest.raises(OSError, match="Input/output"):
            made.append("b", b"b\n2")
    assert made.append("b", b"b\n2") is True
    assert held(tmp_path) == [b"a\n1", b"b\n2"] and len(segments(tmp_path)) == 2


def test_what_went_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "REMEMBERED", 4)
    segment = written(tmp_path, 6)
    assert retire(segment, segment.stat().st_size) is True
    made = Journal(tmp_path)
    assert made.append("k5", b"k5\n5") is False and made.append("k0", b"k0\n0") is True
    assert (tmp_path / journal.KNOWN).stat().st_size == 4 * journal.DIGEST


def test_a_segment_ends_when_it_was_read_and_when_it_is_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = Journal(tmp_path)
    made.append("a", b"a\n1")
    (first,) = segments(tmp_path)
    assert retire(tmp_path / first, (tmp_path / first).stat().st_size) is False  # asks for its end
    made.append("b", b"b\n2")
    assert retire(tmp_path / first, (tmp_path / first).stat().st_size) is True
    monkeypatch.setattr(journal, "SEGMENT_SECONDS", 0.05)
    made._begin()
    made.append("c", b"c\n3")
    time.sleep(0.3)  # of a sender that fell silent
    for name in segments(tmp_path):
        assert retire(tmp_path / name, (tmp_path / name).stat().st_size) is True
    assert [file.name for file in tmp_path.iterdir()] == [journal.KNOWN]


def test_a_segment_that_begins_is_found_by_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock, seen = fcntl.flock, list[str]()

    def flock(file: int, how: int) -> None:
        seen.extend(segments(tmp_path))
        lock(file, how)

    monkeypatch.setattr(fcntl, "flock", flock)
    Journal(tmp_path).append("a", b"a\n1")
    assert seen == [] and held(tmp_path) == [b"a\n1"]


def test_journals_of_before_are_read(tmp_path: Path) -> None:
    segment = written(tmp_path, 2)
    segment.rename(segment.with_suffix(".log"))
    assert held(tmp_path) == [b"k0\n0", b"k1\n1"]
    assert Journal(tmp_path).append("k1", b"k1\n1") is False


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
