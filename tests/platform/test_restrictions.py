"""What requests restrict: none is lost, and a release of one ends no other."""

from __future__ import annotations

import json
import threading

import pytest

from customer360.platform import restrictions
from customer360.platform.errors import LakeError
from customer360.platform.lake import Lake


def test_restrictions_that_are_noted_at_once_all_hold(lake: Lake) -> None:
    ready = threading.Barrier(16)

    def note(number: int) -> None:
        ready.wait()
        restrictions.restrict(lake, number, [f"SHOP/{number}"], ["SALE"])

    threads = [threading.Thread(target=note, args=(n,)) for n in range(1, 17)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert restrictions.restrictions(lake) == {f"SHOP/{n}": {"SALE"} for n in range(1, 17)}


def test_a_lake_of_before_has_them_in_one_object_and_each_is_released_by_itself(lake: Lake) -> None:
    before = {"1": {"accounts": ["A/1", "B/1"], "purposes": ["SALE"]}, "2": {"accounts": ["A/2"], "purposes": ["SMS"]}}
    lake.put("_rights/restricted.json", json.dumps(before).encode())
    restrictions.restrict(lake, 3, ["A/1"], ["SMS"])
    assert restrictions.restrictions(lake) == {"A/1": {"SALE", "SMS"}, "B/1": {"SALE"}, "A/2": {"SMS"}}
    restrictions.release(lake, 1)
    assert restrictions.restrictions(lake) == {"A/1": {"SMS"}, "A/2": {"SMS"}}


def test_an_erasure_takes_accounts_out_of_all_of_them(lake: Lake) -> None:
    lake.put("_rights/restricted.json", b'{"1": {"accounts": ["A/1", "B/1"], "purposes": ["SALE"]}}')
    restrictions.restrict(lake, 2, ["A/1"], ["SMS"])
    restrictions.forget(lake, ["A/1"])
    assert restrictions.restrictions(lake) == {"B/1": {"SALE"}}
    assert not [path for path in lake.objects("_rights") if b"A/1" in (lake.get(path) or b"")]


def test_an_object_is_read_once_until_it_changes(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (1, 2):
        restrictions.restrict(lake, number, [f"A/{number}"], ["SALE"])
    read: list[str] = []
    get = Lake.get

    def noting(self: Lake, path: str) -> bytes | None:
        read.append(path)
        return get(self, path)

    monkeypatch.setattr(Lake, "get", noting)
    assert restrictions.restrictions(lake) == restrictions.restrictions(lake) == {"A/1": {"SALE"}, "A/2": {"SALE"}}
    assert [path for path in read if "restricted/" in path] == [f"_rights/restricted/{n:08d}.json" for n in (1, 2)]
    restrictions.release(lake, 1)
    assert restrictions.restrictions(lake) == {"A/2": {"SALE"}}


@pytest.mark.parametrize("data", [b"", b'{"accounts": ["A/2"], "purp', b"[]", b'{"accounts": ["A/2"]}', b"{}"])
def test_what_cannot_be_read_is_not_taken_for_no_restriction(lake: Lake, data: bytes) -> None:
    for number in (1, 2):
        restrictions.restrict(lake, number, [f"A/{number}"], ["SALE"])
    path = "_rights/restricted/00000002.json"
    lake.put(path, data)
    for reading in (restrictions.restrictions, lambda lake: restrictions.check(lake, path)):
        with pytest.raises(LakeError, match=r"_rights/restricted/00000002\.json .*; restore it .* release 2"):
            reading(lake)
    restrictions.release(lake, 2)
    assert restrictions.restrictions(lake) == {"A/1": {"SALE"}}
    lake.put("_rights/restricted.json", data[:-1])
    with pytest.raises(LakeError, match=r"_rights/restricted\.json "):
        restrictions.restrictions(lake)
