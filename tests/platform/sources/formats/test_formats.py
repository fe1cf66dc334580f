"""Bytes to records: nothing is lost, order and positions are kept, what is readable reads as it was written."""

from __future__ import annotations

import gzip
import io
import json
from datetime import date, time, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from customer360.platform.errors import SourceError
from customer360.platform.sources.formats import read
from customer360.platform.sources.formats.records import POSITION, Records


def rows(records: Records) -> list[dict[str, Any]]:
    return records.frame.drop(POSITION).to_dicts()


def positions(records: Records) -> list[int]:
    return records.frame[POSITION].to_list()


def dead(records: Records) -> dict[int, bytes]:
    return dict(zip(records.dead[POSITION], records.dead["raw"], strict=True))


# ---- CSV ------------------------------------------------------------------------------------------------------


def test_csv_keeps_everything_as_text_in_order() -> None:
    found = read(b"a,b\n1,x\n02,\n", "csv")
    assert rows(found) == [{"a": "1", "b": "x"}, {"a": "02", "b": None}]
    assert positions(found) == [1, 2]
    assert found.frame.columns[0] == POSITION
    assert found.dead.is_empty()


def test_csv_quoted_fields_may_hold_newlines_delimiters_and_doubled_quotes() -> None:
    found = read(b'a,b\n"x\ny,z","say ""hi"""\n1,2\n', "csv")
    assert rows(found) == [{"a": "x\ny,z", "b": 'say "hi"'}, {"a": "1", "b": "2"}]
    assert positions(found) == [1, 2]


@pytest.mark.parametrize(
    ("data", "good", "broken"),
    [
        (b'a,b\n1,2\n"x,2\n3,4\n5,6', [1, 3, 4], {2: b'"x,2'}),
        (b'a,b\n1,2\n"x,2\n3,4\n5,"6\n7,8\n', [1, 3, 5], {2: b'"x,2', 4: b'5,"6'}),
        (b'a,b\n1,5" pipe\n3,4\n', [2], {1: b'1,5" pipe'}),
        (b'a,b\n5" pipe,6" pipe\n3,4\n', [2], {1: b'5" pipe,6" pipe'}),
        (b'a,b\n"x"y,2\n3,4\n', [2], {1: b'"x"y,2'}),
        (b'a,b\nx "p,2\nq" y,5\n3,4\n', [2], {1: b'x "p,2\nq" y,5'}),
        (b'a\nx "p\nq" y\n3\n', [2], {1: b'x "p\nq" y'}),
    ],
)
def test_csv_stray_quote_costs_its_own_line_only(data: bytes, good: list[int], broken: dict[int, bytes]) -> None:
    found = read(data, "csv")
    assert positions(found) == good
    assert dead(found) == broken


def test_csv_ragged_lines_are_dead_with_the_reason() -> None:
    found = read(b"a,b\n1\n3,4\n5,6,7\n", "csv")
    assert rows(found) == [{"a": "3", "b": "4"}]
    assert dead(found) == {1: b"1", 3: b"5,6,7"}
    assert found.dead["reason"].to_list() == ["expected 2 fields, found 1", "expected 2 fields, found 3"]


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
@pytest.mark.parametrize("header", [[b"a", b"b"], [b"a"]])
def test_csv_blank_lines_are_no_records(header: list[bytes], newline: bytes) -> None:
    row = b",".join([b"1"] * len(header))
    found = read(newline.join([b"", b",".join(header), row, b"", b"", row, b"", b""]), "csv")
    assert positions(found) == [1, 2]
    assert rows(found) == [dict.fromkeys((h.decode() for h in header), "1")] * 2
    assert found.count == 2


def test_csv_carriage_returns_belong_to_the_line_end() -> None:
    found = read(b'a,b\r\n1,"2"\r\n3,4\r\n', "csv")
    assert rows(found) == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}]
    assert found.frame.columns == [POSITION, "a", "b"]


def test_byte_order_mark_is_no_part_of_the_first_name() -> None:
    assert rows(read(b"\xef\xbb\xbfa,b\n1,2\n", "csv")) == [{"a": "1", "b": "2"}]
    assert rows(read(b'\xef\xbb\xbf{"a":1}', "json")) == [{"a": "1"}]


@pytest.mark.parametrize("format", ["csv", "json"])
def test_invalid_bytes_cost_their_own_line(format: str) -> None:
    lines = {"csv": [b"a", b"\xff", b"ok"], "json": [b'{"a":"\xff"}', b'{"a":"ok"}']}[format]
    found = read(b"\n".join(lines), format)
    assert (positions(found), rows(found)) == ([2], [{"a": "ok"}])
    assert list(dead(found)) == [1]
    assert "invalid bytes" in found.dead["reason"][0]


@pytest.mark.parametrize("format", ["csv", "json"])
@pytest.mark.parametrize("data", [b"", b"\n\n", b"\xef\xbb\xbf"])
def test_empty_files_have_no_records(data: bytes, format: str) -> None:
    assert read(data, format).count == 0


def test_csv_header_only_keeps_its_columns() -> None:
    found = read(b"a,b", "csv")
    assert (found.count, found.frame.columns) == (0, [POSITION, "a", "b"])
    broken = read(b"a,b\n1\n", "csv")
    assert (broken.frame.columns, list(dead(broken))) == ([POSITION, "a", "b"], [1])


def test_csv_delimiter() -> None:
    assert rows(read(b'a;b\n1,5;"x;y"\n', "csv", ";")) == [{"a": "1,5", "b": "x;y"}]


@pytest.mark.parametrize("data", [b'a,"b\n1,2\n3,4\n', b"a,\xff\n1,2\n", b'a "x, y",b\n1,2\n'])
def test_csv_with_a_broken_header_is_dead_as_a_whole(data: bytes) -> None:
    found = read(data, "csv")
    assert (found.frame.height, dead(found)) == (0, {0: data})
    assert "header" in found.dead["reason"][0]


def test_csv_with_a_repeated_column_is_a_source_error() -> None:
    with pytest.raises(SourceError, match=r"twice: \['a'\]"):
        read(b"a,b,a\n1,2,3\n", "csv")


def test_a_file_column_called_like_the_position_steps_aside() -> None:
    buffer = io.BytesIO()
    pl.DataFrame({POSITION: ["x"]}).write_parquet(buffer)
    for data, format in [(b"_position\nx\n", "csv"), (b'{"_position":"x"}', "json"), (buffer.getvalue(), "parquet")]:
        found = read(data, format)
        assert found.frame.to_dicts() == [{POSITION: 1, f"file:{POSITION}": "x"}]


CELL = st.text(alphabet='ab,"\n\r é', max_size=6)
BROKEN_CSV = st.sampled_from([b"1", b"1,2,3,4", b"x,\xff,1", b"x,y,\xfe\xfe", b"only"])


def quoted(row: list[str]) -> bytes:
    return ",".join('"' + cell.replace('"', '""') + '"' for cell in row).encode()


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.one_of(st.lists(CELL, min_size=3, max_size=3), BROKEN_CSV), max_size=12),
    st.sampled_from([b"\n", b"\r\n"]),
)
def test_csv_law_good_and_dead_are_all_records(lines: list[Any], newline: bytes) -> None:
    data = newline.join([b"a,b,c", *(quoted(line) if isinstance(line, list) else line for line in lines)])
    found = read(data, "csv")
    assert [[v or "" for v in row] for row in found.frame.drop(POSITION).rows()] == [
        x for x in lines if isinstance(x, list)
    ]
    assert positions(found) == [i for i, line in enumerate(lines, 1) if isinstance(line, list)]
    assert {p: raw.rstrip(b"\r") for p, raw in dead(found).items()} == {
        i: x for i, x in enumerate(lines, 1) if isinstance(x, bytes)
    }


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet='ab",\n ', max_size=30), st.integers(1, 3))
def test_csv_law_any_text_is_split_without_gap_or_error(body: str, width: int) -> None:
    found = read((",".join("abc"[:width]) + "\n" + body).encode(), "csv")
    assert sorted([*positions(found), *dead(found)]) == list(range(1, found.count + 1))
    assert positions(found) == sorted(positions(found))


# ---- JSON -----------------------------------------------------------------------------------------------------


def test_json_truncated_and_foreign_lines_are_dead() -> None:
    found = read(b'{"a":1}\n3\n"ab"\nnull\n[1]\n{"a":2}\n{"a":', "json")
    assert (positions(found), rows(found)) == ([1, 6], [{"a": "1"}, {"a": "2"}])
    assert dead(found) == {2: b"3", 3: b'"ab"', 4: b"null", 5: b"[1]", 7: b'{"a":'}
    assert found.dead["reason"][0] == "JSON: expected an object, found int"


def test_json_keys_of_all_lines_become_columns() -> None:
    found = read(b'{"a":1}\n' * 1500 + b'{"late":true}\n', "json")
    assert found.frame.columns == [POSITION, "a", "late"]
    assert found.frame["late"].to_list()[-1] == "true"
    assert found.frame["late"].null_count() == 1500


def test_json_mixed_and_nested_values_of_one_key_are_text() -> None:
    values = [{"x": 1, "y": [1, {"z": 'q"'}]}, 2, [1, 2], "s", None, True, 1.5]
    found = read("\n".join(json.dumps({"a": v}) for v in values).encode(), "json")
    texts = found.frame["a"].to_list()
    assert [json.loads(texts[0]), *texts[1:2], json.loads(texts[2]), *texts[3:]] == [
        values[0],
        "2",
        [1, 2],
        "s",
        None,
        "true",
        "1.5",
    ]


def test_json_objects_without_keys_are_records_and_other_values_are_not() -> None:
    found = read(b"{}\n3\n{}", "json")
    assert (positions(found), list(dead(found))) == ([1, 3], [2])


@pytest.mark.parametrize("data", [b'[{"a":1},{"a":"x"},3]', b'[\n  {"a": 1},\n  {"a": "x"},\n  3\n]\n'])
def test_json_array_file(data: bytes) -> None:
    found = read(data, "json")
    assert (positions(found), rows(found), list(dead(found))) == ([1, 2], [{"a": "1"}, {"a": "x"}], [3])
    assert read(b"[]", "json").count == 0


def test_json_array_cut_short_is_dead_as_a_whole() -> None:
    data = b'[{"a":1},{"a"'
    assert dead(read(data, "json")) == {0: data}


@pytest.mark.parametrize("first", [b"[1,2]", b"[oops"])
def test_json_lines_whose_first_looks_like_an_array_are_read_by_line(first: bytes) -> None:
    found = read(first + b'\n{"a":2}\n', "json")
    assert (rows(found), dead(found)) == ([{"a": "2"}], {1: first})


def test_json_nested_too_deep_costs_its_own_line() -> None:
    found = read(b'{"a":' + b"[" * 3000 + b"]" * 3000 + b'}\n{"a":1}\n', "json")
    assert positions(found) == [2]
    assert list(dead(found)) == [1]


VALUE = st.one_of(
    st.integers(-5, 10**12), st.text(max_size=5), st.booleans(), st.none(), st.lists(st.integers(0, 3), max_size=2)
)
BROKEN_JSON = st.sampled_from(
    [b'{"a":1', b"3", b"[1]", b"[", b'{"a":1,}', b"{a:1}", b'{"a":"\xff"}', b'{"a":1}{"a":2}', b"}", b"null", b"{x}"]
)


def as_text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value)


@settings(max_examples=80, deadline=None)
@given(st.lists(st.one_of(st.dictionaries(st.sampled_from("abc"), VALUE, max_size=3), BROKEN_JSON), max_size=10))
def test_json_law_good_and_dead_are_all_records(lines: list[Any]) -> None:
    found = read(b"\n".join(json.dumps(x).encode() if isinstance(x, dict) else x for x in lines), "json")
    good = {i: x for i, x in enumerate(lines, 1) if isinstance(x, dict)}
    if not good and lines and isinstance(lines[0], bytes) and lines[0].startswith(b"["):
        return  # read as one broken array: a single dead letter
    assert positions(found) == list(good)
    assert list(dead(found)) == [i for i in range(1, len(lines) + 1) if i not in good]
    for row, wrote in zip(rows(found), good.values(), strict=True):
        for key, value in row.items():
            if isinstance(wrote.get(key), list):
                assert json.loads(value) == wrote[key]
            else:
                assert value == as_text(wrote.get(key))


# ---- gzip and Parquet -----------------------------------------------------------------------------------------


def test_gzip_is_recognised() -> None:
    assert rows(read(gzip.compress(b"a\n1\n"), "csv")) == [{"a": "1"}]


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
