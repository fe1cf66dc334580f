"""What a run tells of the subjects that it changed, from one table to the next."""

from __future__ import annotations

import polars as pl

from customer360.platform.lake import File
from customer360.platform.run.touched import MOST, Touches, touch


def files(*paths: str) -> list[File]:
    return [File(path, 1, 1, {"bucket": "3"}) for path in paths]


def rows(*subjects: str) -> pl.DataFrame:
    return pl.DataFrame({"subject_id": subjects, "person_id": [None if s.startswith("v") else s for s in subjects]})


def told(touches: Touches, then: str, now: str, key: str = "subject_id") -> list[str] | None:
    found = touches.between("silver.t", 3, key, files(*then), files(*now))
    return None if found is None else sorted(found.subjects)


def test_steps_are_told_together_and_only_where_all_of_them_are_known() -> None:
    touches = Touches()
    for before, after, changed in (("ab", "ac", rows("p1", "v1")), ("ac", "d", rows("p2"))):
        touches.note([touch("silver.t", 3, files(*before), files(*after), [changed], rows=8)])  # type: ignore[list-item]
    assert told(touches, "ab", "d") == ["p1", "p2", "v1"]
    assert told(touches, "ab", "d", "person_id") == ["p1", "p2"]
    assert told(touches, "ab", "ac") == ["p1", "v1"]
    assert told(touches, "ac", "d") == ["p2"]
    for then, now in (("a", "d"), ("ab", "e"), ("d", "ab"), ("ab", "ab")):
        assert told(touches, then, now) is None
    assert touches.between("silver.t", 4, "subject_id", files("a", "b"), files("d")) is None
    assert touches.between("silver.t", 3, "account", files("a", "b"), files("d")) is None


def test_more_subjects_than_may_be_told_are_not() -> None:
    many = rows(*(f"p{n}" for n in range(MOST + 1)))
    assert touch("silver.t", 3, files("a"), files("b"), [many], rows=MOST + 1) is None
