"""Generations of what differs from a whole one: they answer as a whole one would."""

import json
import os
import random
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Iterable
from datetime import date, timedelta
from pathlib import Path

import polars as pl
import pytest

from customer360.platform import online
from customer360.platform.errors import LakeError
from customer360.platform.online import Change, OnlineStore, changing, files, reading, writing

AS_OF = date(2026, 3, 1)
SCHEMA = dict.fromkeys(("kind", "key", "document"), pl.String)
Held = dict[tuple[str, str], str]


def frame(held: Held) -> pl.DataFrame:
    return pl.DataFrame([(*place, text) for place, text in held.items()], schema=SCHEMA, orient="row")


def whole(state: Path, held: Held, keep: int = 3) -> online.Generation:
    return online.publish(state, [frame(held)], as_of=AS_OF, sources={"t": 1}, keep=keep, is_told=False)


def amend(state: Path, changes: Iterable[Change], keep: int = 3) -> online.Generation | None:
    stood = online.current(state)
    assert stood is not None
    return online.amend(state, stood, changes, as_of=AS_OF, sources={"t": 2}, keep=keep, made_of="of this")


def touched(*places: tuple[str, str]) -> pl.DataFrame:
    return frame(dict.fromkeys(places, "")).drop("document")


def texts(state: Path) -> dict[bytes, bytes]:
    return dict(OnlineStore(state).view().texts.items())


def counted(held: Held) -> dict[str, int]:
    kinds = [kind for kind, _ in held]
    return {kind: kinds.count(kind) for kind in kinds}


def folder(state: Path, generation: online.Generation | None) -> Path:
    assert generation is not None
    return state / "online" / "generations" / generation.id


@pytest.mark.parametrize("seed", range(8))
def test_any_sequence_of_changes_is_as_if_all_were_written_anew(tmp_path: Path, seed: int) -> None:
    chance = random.Random(seed)
    kinds = ("a", "ab", "b")
    keys = ["", "x", "xy", "é", "long" * 200, *map(str, range(30))]
    held: Held = {(chance.choice(kinds), key): f'"{key[:5]}"' for key in keys}
    whole(tmp_path / "changed", held)
    reader = OnlineStore(tmp_path / "changed", poll_seconds=0)
    for number in range(12):
        changes = []
        some = chance.sample(keys, chance.randrange(12))
        kind = chance.choice(kinds)
        fresh: Held = {(kind, key): chance.choice(['"same"', f'"{number}"']) for key in some if chance.random() < 0.6}
        if chance.random() < 0.2:  # all of a kind
            held = {place: text for place, text in held.items() if place[0] != kind}
            changes = [Change(kinds=(kind,)), Change(frame(fresh))]
        else:
            held = {place: text for place, text in held.items() if place not in {(kind, key) for key in some}}
            changes = [Change(touched=touched(*((kind, key) for key in some))), Change(frame(fresh))]
        held |= fresh
        chance.shuffle(changes)
        generation = amend(tmp_path / "changed", changes)
        assert generation is not None and generation.base is not None
        if held:
            wanted = whole(tmp_path / "anew", held)
            assert texts(tmp_path / "changed") == texts(tmp_path / "anew")
            assert generation.counts == wanted.counts == counted(held)
        for kind in kinds:
            short = {key: json.loads(text) for (own, key), text in held.items() if own == kind and len(key) < 500}
            assert dict(reader.view().scan(kind)) == short
            assert reader.mget(kind, keys) == [json.loads(held.get((kind, key), "null")) for key in keys]
            assert [reader.get(kind, key) for key in keys] == reader.mget(kind, keys)
    assert len(online.generations(tmp_path / "changed")) <= 4


def test_what_is_said_twice_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    stood = whole(tmp_path, {("a", "x"): "1"})
    twice = [Change(frame({("a", "y"): "1"})), Change(frame({("a", "y"): "2"}))]
    with pytest.raises(LakeError, match="published before"):
        amend(tmp_path, twice)
    assert online.current(tmp_path) == stood and OnlineStore(tmp_path).get("a", "y") is None


def test_a_whole_one_is_due_where_much_differs_or_the_base_is_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stood = whole(tmp_path, {("a", str(n)): '"' + "x" * 3000 + '"' for n in range(100)})
    most = max(changing.LEAST_BYTES, (folder(tmp_path, stood) / files.DATA).stat().st_size // 4)
    much = {("a", str(n)): '"' + "y" * 3000 + '"' for n in range(2 * most // 3000)}
    assert amend(tmp_path, [Change(frame(much))]) is None
    assert online.current(tmp_path) == stood
    assert len(list((tmp_path / "online" / "generations").iterdir())) == 1
    monkeypatch.setattr(changing, "SERVES", timedelta(0))
    assert amend(tmp_path, []) is None
    monkeypatch.undo()
    assert amend(tmp_path, []) is not None


def test_a_thousand_of_them_do_not_grow(tmp_path: Path) -> None:
    """What differs is packed each time: texts of before are not in its file, and no page of theirs."""
    whole(tmp_path, {("a", str(n)): f'"{n}"' for n in range(100)})
    sizes = set()
    for number in range(60):
        generation = amend(tmp_path, [Change(frame({("a", "7"): f'"was {number} {"x" * 9000}"'}))])
        data = folder(tmp_path, generation) / files.DATA
        sizes.add(data.stat().st_size)
        assert f"was {number - 2} ".encode() not in data.read_bytes()
    assert max(sizes) < 100_000
    assert len(online.generations(tmp_path)) == 4, "three, and the base"


def test_a_large_one_is_copied_as_it_is_and_answers_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(changing, "PACKED_BYTES", 0)
    whole(tmp_path, {("a", str(n)): f'"{n}"' for n in range(100)})
    for number in range(40):
        texts = {("a", str(number)): f'"was {number} {"x" * 9000}"', ("a", "7"): f'"{number} {"y" * 9000}"'}
        generation = amend(tmp_path, [Change(frame(texts) if number != 7 else frame({("a", "7"): '"once"'}))])
        assert generation is not None
    store = OnlineStore(tmp_path)
    assert store.get("a", "39") == f"was 39 {'x' * 9000}" and store.get("a", "7") == f"39 {'y' * 9000}"
    assert store.get("a", "99") == "99" and generation.counts == {"a": 100}
    assert (folder(tmp_path, generation) / files.DATA).stat().st_size < 1_500_000, "freed pages are filled again"


def test_nothing_is_made_of_one_that_is_no_longer_in_service(tmp_path: Path) -> None:
    first = whole(tmp_path, {("a", "x"): "1"})
    second = whole(tmp_path, {("a", "x"): "2"})
    assert online.amend(tmp_path, first, [], as_of=AS_OF, sources={}) is None
    assert online.current(tmp_path) == second


def test_what_it_was_made_of_is_told_again(tmp_path: Path) -> None:
    assert online.made_of(tmp_path, whole(tmp_path, {("a", "x"): "1"})) is None
    generation = amend(tmp_path, [])
    assert generation is not None and online.made_of(tmp_path, generation) == "of this"
    (folder(tmp_path, generation) / "made_of.json").write_text("of that")
    assert online.current(tmp_path) is None, "what would be believed is checked, too"


def test_an_older_version_of_the_library_does_not_take_it_for_a_whole_one(tmp_path: Path) -> None:
    assert whole(tmp_path, {("a", "x"): "1"}).format == 1
    generation = amend(tmp_path, [])
    assert generation is not None and generation.format == 2
    assert json.loads((folder(tmp_path, generation) / "generation.json").read_text())["format"] == 2


def test_an_earlier_one_is_put_back_and_changed(tmp_path: Path) -> None:
    first = whole(tmp_path, {("a", "x"): "1", ("a", "y"): "1"})
    amend(tmp_path, [Change(frame({("a", "x"): "2"}))])
    online.activate(tmp_path, first.id)
    assert OnlineStore(tmp_path).get("a", "x") == 1
    generation = amend(tmp_path, [Change(frame({("a", "y"): "3"}))])
    assert generation is not None and generation.base == first.id
    assert OnlineStore(tmp_path).mget("a", ["x", "y"]) == [1, 3]


def test_two_whole_ones_stay_beside_and_bases_that_are_needed(tmp_path: Path) -> None:
    wholes = [whole(tmp_path, {("a", "x"): str(n)}) for n in range(3)]
    changed = [amend(tmp_path, [Change(frame({("a", "x"): str(n)}))]) for n in range(10, 15)]
    assert online.generations(tmp_path) == [*wholes[1:], *changed[-3:]]
    last = whole(tmp_path, {("a", "x"): "5"})
    assert online.generations(tmp_path) == [wholes[2], *changed[-2:], last]
    only = whole(tmp_path, {("a", "x"): "6"}, keep=1)
    assert online.generations(tmp_path) == [only], "after an erasure nothing of before stays"


def test_half_of_what_goes_is_no_generation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would stay as one of the whole ones that answer where another is damaged."""
    first, second = (whole(tmp_path, {("a", "x"): number}) for number in "12")

    def die(path: Path) -> None:
        next(path.iterdir()).unlink()
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(writing.shutil, "rmtree", die)
        whole(tmp_path, {("a", "x"): "3"}, keep=1)
    third = online.current(tmp_path)
    assert third not in (first, second) and online.generations(tmp_path) == [third]
    changed = amend(tmp_path, [])
    assert sorted(f.name for f in folder(tmp_path, third).parent.iterdir()) == [third.id, changed.id]  # type: ignore[union-attr]


def test_forgetting_and_hiding_reach_what_changed(tmp_path: Path) -> None:
    whole(tmp_path, {("a", "x"): '"base of x"', ("a", "y"): "1", ("a", "z"): "1"})
    amend(tmp_path, [Change(frame({("a", "x"): '"newer of x"'})), Change(touched=touched(("a", "z")))])
    generation = online.forget(tmp_path, [("a", "x")])
    assert generation.base is None and generation.counts == {"a": 1}
    assert not [f for f in tmp_path.rglob("*") if f.is_file() and b"of x" in f.read_bytes()]
    amend(tmp_path, [Change(frame({("a", "y"): "2", ("a", "new"): "3"}))])
    online.hide(tmp_path, [("a", "y")])
    store = OnlineStore(tmp_path)
    assert store.mget("a", ["y", "new"]) == [None, 3] and list(store.view().scan("a")) == [("new", 3)]


DAMAGES = {
    "gone": Path.unlink,
    "cut": lambda file: os.truncate(file, 4096),
    "other bytes": lambda file: file.write_bytes(file.read_bytes()[:-200] + b"\xff" * 200),
}


@pytest.mark.parametrize("how", DAMAGES)
def test_where_the_base_is_damaged_another_whole_one_answers(tmp_path: Path, how: str) -> None:
    whole(tmp_path, {("a", "x"): "1"})
    base = whole(tmp_path, {("a", "x"): "2"})
    changed = amend(tmp_path, [Change(frame({("a", "x"): "3"}))])
    running = OnlineStore(tmp_path, poll_seconds=0)
    assert running.get("a", "x") == 3
    DAMAGES[how](folder(tmp_path, base) / files.DATA)  # type: ignore[no-untyped-call]
    new = OnlineStore(tmp_path, poll_seconds=0)
    assert new.get("a", "x") == 1 and changed is not None and changed.id in str(new.fault)
    assert running.get("a", "x") in (1, 3) and running.fault
    assert online.current(tmp_path) is None, "so that the next publication is whole"
    whole(tmp_path, {("a", "x"): "4"})
    assert running.get("a", "x") == new.get("a", "x") == 4 and running.fault is None


@pytest.mark.parametrize("base", ["20260101T000000000000Z", "../../elsewhere", 7])
def test_a_base_that_is_none_is_not_followed(tmp_path: Path, base: object) -> None:
    whole(tmp_path, {("a", "x"): "1"})
    manifest = folder(tmp_path, amend(tmp_path, [])) / "generation.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"base": base}))
    store = OnlineStore(tmp_path)
    assert store.get("a", "x") == 1 and store.fault and store.generation.base is None


def test_one_that_changes_another_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    whole(tmp_path, {("a", "x"): "1"})
    first, second = amend(tmp_path, []), amend(tmp_path, [])
    assert first is not None
    manifest = folder(tmp_path, second) / "generation.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"base": first.id}))
    with pytest.raises(online.Unsound, match="not whole itself"):
        files.check(folder(tmp_path, second))


def test_a_reader_checks_a_base_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has it open: what is new of a publication of many people is small, and is checked at once."""
    base = whole(tmp_path, {("a", "x"): "1", ("a", "y"): '"' + "y" * 100_000 + '"'})
    monkeypatch.setattr(reading, "CHECKED_ASIDE", (folder(tmp_path, base) / files.DATA).stat().st_size - 1)
    store = OnlineStore(tmp_path, poll_seconds=0)
    view = store.view()
    amend(tmp_path, [Change(frame({("a", "x"): "2"}))])
    assert store.get("a", "x") == 2 and store.view().texts.base is view.texts.base
    shutil.rmtree(tmp_path / "online" / "generations" / store.generation.id)
    assert store.get("a", "x") == 2 and "from memory" in str(store.fault)


@pytest.mark.parametrize("point", ["before publication", "after publication"])
def test_a_crash_leaves_the_one_before_or_the_new_one(tmp_path: Path, point: str) -> None:
    whole(tmp_path, {("a", "x"): "1"})
    amend(tmp_path, [Change(frame({("a", "x"): "2"}))])
    script = textwrap.dedent(f"""
        import os, sys
        from datetime import date
        from pathlib import Path
        import polars as pl
        from customer360.platform import lake, online
        lake.observers.append(lambda point: os._exit(9) if point == {point!r} else None)
        state = Path(sys.argv[1])
        fresh = pl.DataFrame({{"kind": ["a"], "key": ["x"], "document": ["3"]}})
        changes = [online.Change(fresh)]
        online.amend(state, online.current(state), changes, as_of=date(2026, 3, 2), sources={{}})
    """)
    died = subprocess.run([sys.executable, "-c", script, str(tmp_path)], env=dict(os.environ), check=False)
    assert died.returncode == 9
    assert OnlineStore(tmp_path).get("a", "x") == (2 if point == "before publication" else 3)
    assert amend(tmp_path, [Change(frame({("a", "x"): "4"}))]) is not None
    assert OnlineStore(tmp_path).get("a", "x") == 4
