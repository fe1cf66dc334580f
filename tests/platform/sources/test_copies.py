"""A file that turns up in another place is no news where nothing can have been meant by it; else it is a delivery."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from customer360.platform.ledger import Batch, Input
from customer360.platform.sources.files import Files
from customer360.platform.sources.landing import Landing

FEED = Files(table="bronze.stores", system="ERP", path="**/*.csv", format="csv")
GROUPED = FEED.model_copy(update={"group_by": ["A"]})


def put(root: Path, name: str, content: str) -> None:
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(content)


def landed(landing: Landing, known: list[Batch]) -> list[Batch]:
    """The batches with one more, of all that is new."""
    found = FEED.discover(landing, known).inputs
    read = [Input(i.name, {**i.detail, "sha256": landing.digest_of(i.name)}) for i in found]
    return [*known, Batch("feed", len(known) + 1, "", tuple(read))]


@pytest.fixture
def site(tmp_path: Path) -> tuple[Path, Landing, list[Batch]]:
    """Three deliveries, the first and the second a batch each."""
    landing = Landing(str(tmp_path))
    known: list[Batch] = []
    for name, content in (("1/s.csv", "A\nold\n"), ("2/s.csv", "A\nnew\n")):
        put(tmp_path, name, content)
        known = landed(landing, known)
    return tmp_path, landing, known


def moved_with_its_time(root: Path) -> None:
    shutil.move(root / "1", root / "archive")


def moved_all_with_new_times(root: Path) -> None:
    for folder in ("1", "2"):
        shutil.move(root / folder, root / f"x{folder}")
        os.utime(root / f"x{folder}/s.csv", (5, 5))


def copied_all(root: Path) -> None:
    for folder in ("1", "2"):
        shutil.copytree(root / folder, root / "copy" / folder)
        os.utime(root / "copy" / folder / "s.csv")


def copied_the_newest(root: Path) -> None:
    shutil.copytree(root / "2", root / "3")


def touched(root: Path) -> None:
    os.utime(root / "1/s.csv")


def the_first_again(root: Path) -> None:
    put(root, "3/s.csv", "A\nold\n")


def the_first_again_where_old_ones_are_cleared(root: Path) -> None:
    the_first_again(root)
    shutil.rmtree(root / "1")


def both_again_the_other_way_round(root: Path) -> None:
    put(root, "3/s.csv", "A\nnew\n")
    put(root, "4/s.csv", "A\nold\n")


def moved_the_newest_and_the_first_again(root: Path) -> None:
    shutil.move(root / "2", root / "archive")
    the_first_again(root)


def moved_the_newest_and_its_name_used_again(root: Path) -> None:
    shutil.move(root / "2", root / "archive")
    put(root, "2/s.csv", "A\nodd\n")
    os.utime(root / "2/s.csv", (9, 9))


def moved_all_and_the_first_name_used_again(root: Path) -> None:
    for folder in ("1", "2"):
        shutil.move(root / folder, root / f"archive/{folder}")
    another_content(root)


def copied_with_its_time_and_the_old_one_touched(root: Path) -> None:
    shutil.copytree(root / "1", root / "3")
    os.utime(root / "1/s.csv", (9, 9))


def another_name(root: Path) -> None:
    put(root, "2/t.csv", "A\nnew\n")


def another_content(root: Path) -> None:
    put(root, "1/s.csv", "A\nodd\n")
    os.utime(root / "1/s.csv", (9, 9))


@pytest.mark.parametrize(
    ("event", "news"),
    [
        (moved_with_its_time, []),
        (moved_all_with_new_times, []),
        (copied_all, []),
        (copied_the_newest, []),
        (touched, []),
        (the_first_again, ["3/s.csv"]),
        (the_first_again_where_old_ones_are_cleared, ["3/s.csv"]),
        (both_again_the_other_way_round, ["3/s.csv", "4/s.csv"]),
        (moved_the_newest_and_the_first_again, ["3/s.csv"]),
        (moved_the_newest_and_its_name_used_again, ["2/s.csv"]),
        (moved_all_and_the_first_name_used_again, ["1/s.csv"]),
        (copied_with_its_time_and_the_old_one_touched, ["3/s.csv"]),
        (another_name, ["2/t.csv"]),
        (another_content, ["1/s.csv"]),
    ],
)
def test_what_is_news(site: tuple[Path, Landing, list[Batch]], event: Callable[[Path], None], news: list[str]) -> None:
    root, landing, known = site
    event(root)
    found = FEED.discover(landing, known)
    assert [i.name for i in found.inputs] == news
    if event is another_content:
        assert found.inputs[0].detail["changed_since"] == 1
    if not news:
        assert found.touched, "what was looked into is noted"


def test_groups_are_no_sums_of_copies_unless_they_moved(site: tuple[Path, Landing, list[Batch]]) -> None:
    root, landing, known = site
    copied_the_newest(root)
    assert [i.name for i in GROUPED.discover(landing, known).inputs] == ["3/s.csv"]
    shutil.rmtree(root / "2")
    assert GROUPED.discover(landing, known).inputs == ()


def test_a_file_that_failed_is_no_reason(site: tuple[Path, Landing, list[Batch]]) -> None:
    root, landing, known = site
    waiting = [
        known[0],
        Batch("feed", 2, "", tuple(Input(i.name, {**i.detail, "waits": True}) for i in known[1].inputs)),
    ]
    copied_the_newest(root)
    assert [i.name for i in FEED.discover(landing, waiting).inputs] == ["3/s.csv"]
