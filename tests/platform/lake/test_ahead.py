"""Objects of a lake in an object store are read side by side and once, and are what the store holds."""

from __future__ import annotations

from collections import Counter
from threading import Barrier
from typing import Any

import obstore
import pytest
from hypothesis import given
from hypothesis import strategies as st

from customer360.platform import known, ledger
from customer360.platform.errors import LakeError
from customer360.platform.lake import Lake
from customer360.platform.lake import store as stores
from customer360.platform.ledger import Input, InputOutcome, Outcome

FOLDERS = ("_batches", "_landed")
MOMENT = "2026-01-02T03:04:05+00:00"


class Counted:
    """`obstore` as the lake uses it, that notes what is asked; ``together`` calls wait for each other where given."""

    def __init__(self) -> None:
        self.asked, self.together = Counter[str](), Barrier(1)
        self.exceptions, self.put, self.delete = obstore.exceptions, obstore.put, obstore.delete

    def get(self, store: Any, path: str) -> Any:
        self.asked[f"get {path}"] += 1
        self.together.wait(20)
        return obstore.get(store, path)

    def list(self, store: Any, prefix: str | None = None, **options: Any) -> Any:
        self.asked[f"list {prefix}"] += 1
        self.together.wait(20)
        return obstore.list(store, prefix, **options)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Counted:
    store, found = obstore.store.MemoryStore(), Counted()
    monkeypatch.setattr(stores, "remote_store", lambda *_: store)
    monkeypatch.setattr(stores, "obstore", found)
    return found


@pytest.fixture
def shop(counted: Counted) -> Lake:
    """A lake in a store of this process."""
    return Lake("s3://shop/lake")


def test_objects_are_read_side_by_side_in_the_order_asked_for(shop: Lake, counted: Counted) -> None:
    paths = [f"_batches/web/{n}" for n in range(8)]
    for path in paths[:7]:
        shop.put(path, path.encode())
    counted.together = Barrier(8)
    assert list(shop.get_all(reversed(paths)).items()) == [
        (path, None if path == paths[7] else path.encode()) for path in reversed(paths)
    ]


def test_a_fault_of_one_is_raised(shop: Lake) -> None:
    def fail(path: str) -> None:
        raise LakeError(path)

    with pytest.raises(LakeError, match="first"):
        shop.side_by_side(fail, ["first", "second"])


def test_nothing_is_asked_twice_while_it_is_kept(shop: Lake, counted: Counted) -> None:
    shop.put("_batches/web/1", b"{}")

    def ask() -> None:
        shop.get("_batches/web/1"), shop.get("_batches/web/2"), shop.get("_rights/1")
        shop.stamps("_batches/web"), shop.objects("_batches/web"), shop.objects("_batches/web", after="_batches/web/0")

    with shop.keeping(*FOLDERS):
        ask(), ask()
    expected = {"get _batches/web/1": 1, "get _batches/web/2": 1, "get _rights/1": 2, "list _batches/web": 3}
    assert counted.asked == expected
    ask()
    assert counted.asked["list _batches/web"] == 6 and counted.asked["get _batches/web/1"] == 2


def test_what_an_answer_is_changed_to_is_not_kept(shop: Lake) -> None:
    shop.put("_landed/web/1", b"{}")
    with shop.keeping(*FOLDERS):
        shop.objects("_landed/web").clear(), shop.stamps("_landed/web").clear()
        assert shop.objects("_landed/web") == ["_landed/web/1"] == list(shop.stamps("_landed/web"))


PLACES = st.sampled_from(["_batches/web/1", "_batches/web/2", "_batches/web2/1", "_landed/web/1", "_other/web/1"])
CHANGES = st.lists(st.tuples(st.sampled_from(["put", "create", "delete"]), PLACES, st.binary(max_size=3)), max_size=12)


@given(CHANGES)
def test_what_is_kept_is_what_the_store_holds(changes: list[tuple[str, str, bytes]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        store = obstore.store.MemoryStore()
        patch.setattr(stores, "remote_store", lambda *_: store)
        shop = Lake("s3://shop/lake")
        with shop.keeping(*FOLDERS):
            for what, path, data in changes:
                if what == "delete":
                    if shop.get(path) is not None:
                        shop.delete([path])
                else:
                    shop.put(path, data, create=what == "create")
                held = {m["path"] for page in obstore.list(store) for m in page}
                assert shop.get(path) == (bytes(obstore.get(store, path).bytes()) if path in held else None)
                for prefix in ("_batches", "_batches/web", "_batches/web2", "_landed/web", "_other"):
                    inside = {p for p in held if p.startswith(f"{prefix}/")}
                    assert set(shop.objects(prefix)) == inside
                    assert shop.stamps(prefix) == Lake("s3://shop/lake")._stamps(prefix)
                    assert shop.objects(prefix, after=f"{prefix}/1") == sorted(p for p in inside if p > f"{prefix}/1")


def landed(lake: Lake, source: str, *names: str) -> None:
    made = ledger.open_batch(lake, source, [Input(n, {"size": 1, "modified": MOMENT}) for n in names])
    inputs = tuple(InputOutcome(n, {"read": 1}) for n in names)
    Outcome(source, made.seq, inputs, {"read": len(names)}).save(lake)


@pytest.mark.parametrize("is_stored", [False, True])
def test_sources_that_were_looked_at_together_are_not_asked_for_again(
    shop: Lake, counted: Counted, monkeypatch: pytest.MonkeyPatch, is_stored: bool
) -> None:
    names = [f"source{n}" for n in range(6)]
    for name in names:
        landed(shop, name, "a.csv", "b.csv")
        if is_stored:
            with monkeypatch.context() as patch:
                patch.setattr(ledger, "LOOSE", 0), patch.setattr(known, "NEW_INPUTS", 0.0)
                known.noted(known.known_of(shop, name, 1), 1)
        landed(shop, name, "c.csv")
    before = [known.known_of(shop, name, 2).inputs for name in names]
    with shop.keeping(*ledger.FOLDERS):
        known.look_together(shop, dict.fromkeys(names, 2))
        counted.asked.clear()
        after = [known.known_of(shop, name, 2).inputs for name in names]
        assert [sorted(ledger.outcomes(shop, name)) for name in names] == [[1, 2]] * 6
    assert not counted.asked
    assert all(one.equals(other) for one, other in zip(before, after, strict=True))


def test_a_damaged_batch_is_told_to_whoever_asks_for_its_source(shop: Lake) -> None:
    landed(shop, "web", "a.csv"), landed(shop, "pos", "a.csv")
    shop.put("_batches/web/00000001.json", b"{")
    with shop.keeping(*ledger.FOLDERS):
        known.look_together(shop, {"web": 1, "pos": 1})
        assert known.known_of(shop, "pos", 1).last == 1
        with pytest.raises(LakeError, match="_batches/web/00000001"):
            known.known_of(shop, "web", 1)
