"""The order of a source: what was delivered after what."""

from __future__ import annotations

import ast
from pathlib import Path

import polars as pl

from customer360.platform.delivery import DELIVERY, natural, ranked

ROOT = Path(__file__).resolve().parents[2]
ORDERED = {"sort", "sort_by", "max_by", "min_by", "struct"}


def test_names_sort_by_their_numbers() -> None:
    names = ["d10", "d9", "d09", "d1b2", "d1a10", "d1a9", "10", "9", "é1"]
    assert sorted(names, key=natural) == ["9", "10", "d1a9", "d1a10", "d1b2", "d09", "d9", "d10", "é1"]


def test_within_a_batch_inputs_follow_each_other_by_the_numbers_of_their_names() -> None:
    rows = pl.DataFrame(
        [(2, "day1.csv", 1), (1, "day10.csv", 1), (1, "day9.csv", 2), (1, "day9.csv", 1)],
        schema=["_seq", "_file", "_position"],
        orient="row",
    )
    assert ranked(rows).sort(DELIVERY)["_file"].to_list() == ["day9.csv", "day9.csv", "day10.csv", "day1.csv"]


def test_nothing_is_decided_by_names_as_text() -> None:
    """Whoever orders bronze rows by batch and name takes the rank of the name; as text it only shows them."""
    shown = {"serve/lineage.py", "platform/sources/grouping.py"}  # a list of places; rows as they are stored
    found = set()
    for top in ("platform", "pipelines", "models", "serve"):
        for file in (ROOT / top).rglob("*.py"):
            text = file.read_text(encoding="utf-8")
            if '"_file"' not in text:
                continue
            calls = (n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Call))
            for call in calls:
                name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
                told = {a.value for a in call.args if isinstance(a, ast.Constant)}
                if name in ORDERED and {"_seq", "_file"} <= told:
                    found.add(file.relative_to(ROOT).as_posix())
    assert found <= shown
