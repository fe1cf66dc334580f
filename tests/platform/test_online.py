"""The online store: whole generations, or none."""

import subprocess
import sys
import textwrap
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from customer360.platform import online
from customer360.platform.errors import LakeError
from customer360.platform.online import NotPublished, OnlineStore

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
    monkeypatch.setattr(online, "FIRST_MAP_BYTES", 64 * 1024)
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
    with pytest.raises(NotPublished, match="cannot be opened"):
        OnlineStore(tmp_path).view()
