"""Compressed files and Parquet to records: nothing is lost, order and positions are kept."""

from __future__ import annotations

import gzip
import io
import json
from datetime import date, time, timedelta
from typing import Any

import polars as pl
import pytest

from customer360.platform.sources.formats import compressed, read
from customer360.platform.sources.formats.records import POSITION, Records


def rows(records: Records) -> list[dict[str, Any]]:
    return records.frame.drop(POSITION).to_dicts()


def positions(records: Records) -> list[int]:
    return records.frame[POSITION].to_list()


def dead(records: Records) -> dict[int, bytes]:
    return dict(zip(records.dead[POSITION], records.dead["raw"], strict=True))


@pytest.fixture(params=["ISA-L", "zlib"])
def inflating(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the library that inflates fast, and without."""
    if request.param == "zlib":
        monkeypatch.setattr(compressed, "igzip", None)
    elif compressed.igzip is None:
        pytest.skip("isal is not installed")


@pytest.mark.usefixtures("inflating")
def test_gzip_is_recognised_in_members_and_with_padding() -> None:
    once = gzip.compress(b"a\n1\n")
    assert rows(read(once, "csv")) == [{"a": "1"}]
    assert rows(read(once + gzip.compress(b"2\n") + gzip.compress(b"") + b"\0" * 9, "csv")) == [{"a": "1"}, {"a": "2"}]


@pytest.mark.usefixtures("inflating")
def test_damaged_gzip_is_dead_as_a_whole() -> None:
    whole = gzip.compress(bytes(str(list(range(500))), "ascii"))
    flipped = [whole[:i] + bytes([whole[i] ^ 0xFF]) + whole[i + 1 :] for i in range(10, len(whole) - 4, 7)]
    for data in [whole[:30], whole[:-1], b"\x1f\x8b", *flipped]:
        found = read(data, "csv")
        assert dead(found) == {0: data}
        assert found.dead["reason"][0].startswith("gzip")


def parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.write_parquet(buffer)
    return buffer.getvalue()


def test_parquet_keeps_numbers_and_instants() -> None:
    frame = pl.DataFrame({"i": [1, None], "f": [1.5, 2.5], "d": [date(2024, 1, 2), None], "s": ["x", None]})
    found = read(parquet(frame), "parquet")
    assert found.frame.drop(POSITION).equals(frame)
    assert positions(found) == [1, 2]


def test_parquet_values_that_no_contract_knows_become_text() -> None:
    frame = pl.DataFrame(
        {
            "nested": [{"a": 1, "b": ['q"']}, None],
            "many": [[1, 2], None],
            "bytes": [b"text", None],
            "no_text": [b"\xff", None],
            "at": [time(1, 2), None],
            "lasts": [timedelta(days=1), None],
            "kind": pl.Series(["x", None], dtype=pl.Categorical),
        }
    )
    first, second = rows(read(parquet(frame), "parquet"))
    assert json.loads(first["nested"]) == {"a": 1, "b": ['q"']}
    assert {k: v for k, v in first.items() if k != "nested"} == {
        "many": "[1,2]", "bytes": "text", "no_text": "/w==", "at": "01:02:00", "lasts": "P1D", "kind": "x",
    }  # fmt: skip
    assert set(second.values()) == {None}


@pytest.mark.parametrize("cut", [0, 4, 40, -1, -8])
def test_damaged_parquet_is_dead_as_a_whole(cut: int) -> None:
    data = parquet(pl.DataFrame({"a": list(range(100))}))[:cut]
    assert dead(read(data, "parquet")) == {0: data}
