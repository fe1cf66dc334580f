"""The online store: whole generations, or none."""

import contextlib
import json
import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from customer360.platform import online
from customer360.platform.errors import LakeError
from customer360.platform.online import NotPublished, OnlineStore, files, reading, writing

AS_OF = date(2026, 3, 1)


def frame(kind: str, documents: dict[str, str]) -> pl.DataFrame:
    return pl.DataFrame(
        {"kind": kind, "key": list(documents), "document": list(documents.values())},
        schema=dict.fromkeys(("kind", "key", "document"), pl.String),
    )


def publish(state: Path, word: str, keep: int = 3) -> online.Generation:
    documents = [frame("greeting", {"a": f'{{"word":"{word}"}}'}), frame("place", {"a": '{"city":"Köln"}', "b": "{}"})]
    return online.publish(state, documents, as_of=AS_OF, sources={"gold.words": 7}, keep=keep)


def test_documents_are_found_by_kind_and_key(tmp_path: Path) -> None:
    generation = publish(tmp_path, "hello")
    store = OnlineStore(tmp_path)
    assert store.get("greeting", "a") == {"word": "hello"}
    assert store.mget("place", ["b", "missing", "a"]) == [{}, None, {"city": "Köln"}]
    assert store.get("greeting", "b") is None
    assert store.generation == generation == online.current(tmp_path)
    assert (generation.as_of, generation.counts, generation.sources) == (
        AS_OF,
        {"greeting": 1, "place": 2},
        {"gold.words": 7},
    )


def test_whatever_python_writes_as_json_is_read(tmp_path: Path) -> None:
    odd = {"share": float("inf"), "half": "\ud83d", "count": 2**70}
    online.publish(tmp_path, [frame("odd", {"a": json.dumps(odd)})], as_of=AS_OF, sources={})
    found = OnlineStore(tmp_path).get("odd", "a")
    assert found == odd


def test_nothing_published_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotPublished, match="nothing was published"):
        OnlineStore(tmp_path).get("greeting", "a")
    assert online.current(tmp_path) is None
    assert online.generations(tmp_path) == []


def test_reader_moves_to_the_next_generation_and_a_view_stays(tmp_path: Path) -> None:
    publish(tmp_path, "one")
    store = OnlineStore(tmp_path, poll_seconds=0)
    view = store.view()
    publish(tmp_path, "two", keep=1)
    assert store.get("greeting", "a") == {"word": "two"}
    assert view.get("greeting", "a") == {"word": "one"}, (
        "a request reads one generation from begin to end, even a removed one"
    )
    assert not store.refresh()


def test_polling_is_throttled(tmp_path: Path) -> None:
    publish(tmp_path, "one")
    store = OnlineStore(tmp_path, poll_seconds=3600)
    store.view()
    publish(tmp_path, "two")
    assert store.get("greeting", "a") == {"word": "one"}
    assert store.refresh()
    assert store.get("greeting", "a") == {"word": "two"}


def test_rollback_and_pruning(tmp_path: Path) -> None:
    first, second, third, fourth = (publish(tmp_path, w) for w in ("one", "two", "three", "four"))
    assert online.generations(tmp_path) == [second, third, fourth]
    online.activate(tmp_path, second.id)
    store = OnlineStore(tmp_path, poll_seconds=0)
    assert store.get("greeting", "a") == {"word": "two"}
    with pytest.raises(NotPublished, match=first.id):
        online.activate(tmp_path, first.id)
    publish(tmp_path, "five")
    assert store.get("greeting", "a") == {"word": "five"}


@pytest.mark.parametrize(("point", "word"), [("before publication", "one"), ("after publication", "two")])
def test_kill_leaves_a_whole_generation(tmp_path: Path, point: str, word: str) -> None:
    publish(tmp_path, "one")
    script = f"""
        import os, sys
        from datetime import date
        from pathlib import Path
        import polars as pl
        from customer360.platform import lake, online
        lake.observers.append(lambda at: os._exit(9) if at == {point!r} else None)
        documents = [pl.DataFrame({{"kind": ["greeting"], "key": ["a"], "document": ['{{"word":"two"}}']}})]
        online.publish(Path(sys.argv[1]), documents, as_of=date(2026, 3, 2), sources={{}})
    """
    assert subprocess.run([sys.executable, "-c", textwrap.dedent(script), str(tmp_path)], check=False).returncode == 9
    assert OnlineStore(tmp_path).get("greeting", "a") == {"word": word}
    publish(tmp_path, "three")
    assert OnlineStore(tmp_path).get("greeting", "a") == {"word": "three"}


def test_failure_while_writing_leaves_the_old_one_and_no_rest(tmp_path: Path) -> None:
    publish(tmp_path, "one")

    def broken():  # type: ignore[no-untyped-def]
        yield frame("greeting", {"a": '{"word":"two"}'})
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        online.publish(tmp_path, broken(), as_of=AS_OF, sources={})
    assert OnlineStore(tmp_path).get("greeting", "a") == {"word": "one"}
    publish(tmp_path, "three")
    assert not list((tmp_path / "online" / "generations").glob(".*"))


def test_a_key_given_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LakeError, match="published before"):
        online.publish(tmp_path, [frame("x", {"a": "{}"}), frame("x", {"a": "{}"})], as_of=AS_OF, sources={})
    assert online.current(tmp_path) is None


def test_one_publication_at_a_time(tmp_path: Path) -> None:
    def nested():  # type: ignore[no-untyped-def]
        with pytest.raises(LakeError, match="under way"):
            publish(tmp_path, "inner")
        yield frame("greeting", {"a": '{"word":"outer"}'})

    online.publish(tmp_path, nested(), as_of=AS_OF, sources={})
    assert OnlineStore(tmp_path).get("greeting", "a") == {"word": "outer"}


def test_map_grows_and_long_keys_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "FIRST_MAP_BYTES", 64 * 1024)
    long = "ä" * 400
    text = '"' + "x" * 2000 + '"'
    documents = [frame("big", {str(i): text for i in range(start, start + 50)}) for start in (0, 50, 100)]
    online.publish(tmp_path, [*documents, frame("big", {long: '{"is":"long"}'})], as_of=AS_OF, sources={})
    store = OnlineStore(tmp_path)
    assert [len(d or "") for d in store.mget("big", ["0", "149"])] == [2000, 2000]
    assert store.get("big", long) == {"is": "long"}
    assert store.get("big", long + "ä") is None


def test_forgotten_keys_are_gone_from_every_generation(tmp_path: Path) -> None:
    publish(tmp_path, "one")
    publish(tmp_path, "secretword")
    generation = online.forget(tmp_path, [("greeting", "a"), ("place", "unknown")])
    assert OnlineStore(tmp_path).mget("greeting", ["a"]) == [None]
    assert OnlineStore(tmp_path).get("place", "a") == {"city": "Köln"}
    assert generation.counts == {"greeting": 0, "place": 2}
    assert online.generations(tmp_path) == [generation], "older generations would bring it back"
    assert not [f for f in tmp_path.rglob("*") if f.is_file() and b"secretword" in f.read_bytes()]


def test_a_damaged_generation_leaves_the_open_one_in_service(tmp_path: Path) -> None:
    publish(tmp_path, "one")
    store = OnlineStore(tmp_path, poll_seconds=0)
    store.view()
    (tmp_path / "online" / "CURRENT").write_text("20990101T000000000000Z")
    assert store.get("greeting", "a") == {"word": "one"}
    assert "20990101T000000000000Z is damaged" in str(store.fault)


DATA, MANIFEST = "data.mdb", "generation.json"
DAMAGES: dict[str, Callable[[Path], object]] = {
    "gone": Path.unlink,
    "empty": lambda file: file.write_bytes(b""),
    "half": lambda file: os.truncate(file, file.stat().st_size // 2),
    "other bytes": lambda file: file.write_bytes(file.read_bytes()[:-200] + b"\xff" * 200),
    "a folder": lambda file: (file.unlink(), file.mkdir()),
    "no text": lambda file: file.write_bytes(b"\xff\xfe\x00"),
    "an empty object": lambda file: file.write_text("{}"),
    "a list": lambda file: file.write_text("[1]"),
}


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("what", ["CURRENT", DATA, MANIFEST])
def test_whatever_is_damaged_another_sound_generation_answers(tmp_path: Path, what: str, how: str) -> None:
    """Readers that run keep what they have or take the one before; new ones find the newest sound one; both say why."""
    home = tmp_path / "online"
    publish(tmp_path, "one")
    second = publish(tmp_path, "two")
    running = OnlineStore(tmp_path, poll_seconds=0)
    assert running.get("greeting", "a") == {"word": "two"} and running.fault is None
    DAMAGES[how](home / what if what == "CURRENT" else home / "generations" / second.id / what)
    word = {"word": "one" if what != "CURRENT" else "two"}
    new = OnlineStore(tmp_path, poll_seconds=0)
    assert new.get("greeting", "a") == word and new.fault and str(tmp_path) not in new.fault
    assert running.get("greeting", "a") in ({"word": "one"}, {"word": "two"})
    assert running.fault or what == MANIFEST, "a manifest is read once"
    if what != "CURRENT" or how != "a folder":
        publish(tmp_path, "three")
        assert OnlineStore(tmp_path).get("greeting", "a") == {"word": "three"}
        assert running.get("greeting", "a") == {"word": "three"} and running.fault is None


def test_nothing_sound_is_said(tmp_path: Path) -> None:
    only = publish(tmp_path, "one")
    os.truncate(tmp_path / "online" / "generations" / only.id / DATA, 100)
    with pytest.raises(NotPublished, match="100 bytes instead of"):
        OnlineStore(tmp_path).view()
    assert online.current(tmp_path) is None


def test_a_publication_of_before_sizes_were_noted_is_read_and_not_beyond_its_end(tmp_path: Path) -> None:
    folder = tmp_path / "online" / "generations" / publish(tmp_path, "one").id
    manifest = json.loads((folder / MANIFEST).read_text())
    del manifest["files"], manifest["format"]
    (folder / MANIFEST).write_text(json.dumps(manifest))
    assert OnlineStore(tmp_path).get("greeting", "a") == {"word": "one"}
    os.truncate(folder / DATA, (folder / DATA).stat().st_size - 4096)
    with pytest.raises(NotPublished, match="bytes instead of"):
        OnlineStore(tmp_path).view()


def test_a_manifest_of_a_newer_version_is_not_guessed_at(tmp_path: Path) -> None:
    publish(tmp_path, "one")
    folder = tmp_path / "online" / "generations" / publish(tmp_path, "two").id
    manifest = json.loads((folder / MANIFEST).read_text()) | {"format": 99}
    (folder / MANIFEST).write_text(json.dumps(manifest))
    store = OnlineStore(tmp_path)
    assert store.get("greeting", "a") == {"word": "one"} and "newer version" in str(store.fault)


def test_a_large_generation_is_checked_while_the_one_before_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "CHECKED_ASIDE", 0)
    publish(tmp_path, "one")
    store = OnlineStore(tmp_path, poll_seconds=0)
    store.view()
    publish(tmp_path, "two")
    assert store.get("greeting", "a") == {"word": "one"}
    end = time.monotonic() + 5
    while store.get("greeting", "a") == {"word": "one"}:
        assert time.monotonic() < end
    assert store.get("greeting", "a") == {"word": "two"}


def test_threads_that_check_a_new_publication_at_once_never_leave_none_open(tmp_path: Path) -> None:
    both = threading.Barrier(2)
    views: list[object] = []

    class Watched(OnlineStore):
        def __setattr__(self, name: str, value: object) -> None:
            views.extend([value] if name == "_view" else [])
            super().__setattr__(name, value)

        def _check(self, wanted: str) -> None:
            super()._check(wanted)
            with contextlib.suppress(threading.BrokenBarrierError):
                both.wait(0.2)

    publish(tmp_path, "one")
    store = Watched(tmp_path, poll_seconds=0)
    store.view()
    publish(tmp_path, "two")
    views.clear()
    both.reset()
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(lambda _: store.get("greeting", "a"), range(2))) == [{"word": "two"}] * 2
    assert views and None not in views


def test_who_read_earlier_and_writes_later_takes_nothing_back(tmp_path: Path) -> None:
    """Two renewals at once: the one that had to wait asks again what there is."""
    said, waited = {"refusals": 1}, threading.Event()

    def slowly() -> list[pl.DataFrame]:
        frames = [frame("v", {"a": "{}"})]
        waited.set()
        time.sleep(0.2)
        return frames

    def renew(make: Callable[[], list[pl.DataFrame]]) -> None:
        online.renew(tmp_path, lambda: dict(said), make, as_of=date.min, wait_seconds=10)

    first = threading.Thread(target=renew, args=(slowly,))
    first.start()
    waited.wait()
    said["refusals"] = 2
    renew(lambda: [frame("v", {"a": "{}"})])
    first.join()
    generation = online.current(tmp_path)
    assert generation is not None and generation.sources == {"refusals": 2}
    before = generation.id
    renew(lambda: [frame("never", {"a": "{}"})])
    assert online.current(tmp_path).id == before  # type: ignore[union-attr]
    with online._publishing(tmp_path), pytest.raises(LakeError, match="under way"):
        online.renew(tmp_path, lambda: {"refusals": 3}, list, as_of=date.min, wait_seconds=0)


def test_what_a_file_held_is_remembered_until_it_is_touched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, read = tmp_path / "data", []
    digest = files.hashlib.file_digest
    monkeypatch.setattr(files.hashlib, "file_digest", lambda *a: (read.append(1), digest(*a))[1])
    file.write_bytes(b"one")
    files.fingerprint(file)
    files.fingerprint(file)
    assert len(read) == 2, "a change right after the first look might bear its time"
    monkeypatch.setattr(files, "SETTLED_NS", -1)
    known = [files.fingerprint(file) for _ in range(3)]
    assert len(read) == 3 and len(set(known)) == 1
    times = file.stat()
    file.write_bytes(b"two")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert files.fingerprint(file)[1] not in {what for _, what in known}
