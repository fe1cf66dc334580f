"""JSON in any shape to records: nothing is lost, order and positions are kept, text keeps its escapes."""

from __future__ import annotations

import gzip
import io
import json
import time
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from customer360.platform.sources.formats import of_one_record, pieces, read, text
from customer360.platform.sources.formats.ndjson import objects
from customer360.platform.sources.formats.options import Options
from customer360.platform.sources.formats.records import POSITION, Records, together


def rows(records: Records) -> list[dict[str, Any]]:
    return records.frame.drop(POSITION).to_dicts()


def positions(records: Records) -> list[int]:
    return records.frame[POSITION].to_list()


def dead(records: Records) -> dict[int, bytes]:
    return dict(zip(records.dead[POSITION], records.dead["raw"], strict=True))


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


def test_json_array_cut_short_keeps_what_is_whole() -> None:
    found = read(b'[{"a":1},{"a"', "json")
    assert (rows(found), dead(found)) == ([{"a": "1"}], {2: b'{"a"'})
    found = read(b'[{"a":1},{"a":oops},{"a":"x\ny"},{"a":2}]', "json")
    assert (positions(found), list(dead(found))) == ([1, 4], [2, 3])


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{\n "a": 1,\n "b": [1,\n 2]\n}\n', [{"a": "1", "b": "[1, 2]"}]),
        (b'{\n "a": 1\n}\n{\n "a": 2\n}\n', [{"a": "1"}, {"a": "2"}]),
        (b'{"a":1}{"a":2}', [{"a": "1"}, {"a": "2"}]),
        (b'{"next":null,"orders":[{"a":1},{"a":2}]}', [{"a": "1"}, {"a": "2"}]),
        (b'{\n "data": {"count": 2,\n "orders": [\n {"a":"}]"},\n {"a":"\\""}\n]}}', [{"a": "}]"}, {"a": '"'}]),
        (b'{"id":7,"lines":[{"a":1}]}', [{"id": "7", "lines": '[{"a":1}]'}]),
        (b'{"id":7,"lines":[{"a":1}]}\n{"id":8,"lines":[]}\n', [{"id": "7", "lines": '[{"a":1}]'}, {"id": "8", "lines": "[]"}]),  # noqa: E501
    ],
    ids=["pretty", "several", "joined", "wrapper", "deep", "record", "lines"],
)  # fmt: skip
def test_json_shapes(data: bytes, expected: list[dict[str, str]]) -> None:
    found = read(data, "json")
    plain = [{key: json.loads(value) if value[:1] in "[{" else value for key, value in row.items()} for row in rows(found)]  # fmt: skip  # noqa: E501
    assert plain == [{k: json.loads(v) if v[:1] in "[{" else v for k, v in row.items()} for row in expected]
    assert found.dead.is_empty()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ('{"id":{"0":"a","1":"b"},"name":{"0":"x","1":"y"}}', "columns"),
        ('{\n"id":["a","b"],\n"name":["x","y"]}', "columns"),
        ('{"columns":["id","name"],"index":[0,1],"data":[["a","x"],["b","y"]]}', "names of columns"),
        ('{"0":{"id":"a","name":"x"},"1":{"id":"b","name":"y"}}', "records under keys"),
        ('{"k1":{"id":"a","name":"x"},\n"k2":{"id":"b","name":"y"},"k3":{"id":"c","name":"z"}}', "records under keys"),
    ],
    ids=["columns", "lists", "split", "rows", "keyed"],
)
def test_json_one_object_of_many_records_is_one_letter_and_no_record(data: str, said: str) -> None:
    found = read(data.encode(), "json")
    assert (rows(found), dead(found)) == ([], {0: data.encode()})
    assert said in found.dead["reason"][0] and "export a list" in found.dead["reason"][0]


def test_json_columns_whose_end_is_not_seen_yet_are_no_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "BLOCK", 1 << 10)
    data = json.dumps({"id": {str(i): f"c{i}" for i in range(1000)}}).encode()
    found = list(pieces(io.BytesIO(data), Options("json")))
    assert sum(piece.frame.height for piece in found) == 0 and "columns or rows" in found[0].dead["reason"][0]


@pytest.mark.parametrize(
    "data",
    [
        '{"id":{"S":"1"},"name":{"S":"Ann"},"mail":{"S":"a@b"}}',
        '{"before":{"id":1,"name":"x"},"after":{"id":1,"name":"y"}}',
        '{"tags":["a","b"],"sizes":["L"]}',
        '{"order":{"id":1,"total":2},"customer":{"id":7,"name":"Ann"},"store":{"id":3}}',
        '{"columns":3,"data":"x"}',
        '{"columns":3,"data":12.5}',
        '{"columns":["a"],"data":[["x"]]}',
        '{"name":{"de":"Tee","en":"tea"},"note":{"de":"gut","en":"fine"},"path":{"de":"tee","en":"tea"}}',
        '{"tags":["a","b"],"numbers":[7,9]}',
        '{\n"tags":["a"],\n"numbers":[7]\n}',
        '{\n"columns":["a"],\n"data":[]\n}',
    ],
    ids=["typed", "change", "tags", "nested", "words", "number", "plan", "languages", "lists", "ones", "none"],
)
def test_json_one_object_of_nested_values_is_a_record(data: str) -> None:
    found = read(data.encode(), "json")
    assert found.frame.height == 1 and found.dead.is_empty()


@pytest.mark.parametrize("data", ['{"id":{"0":"a"},"name":{"0":"x"}}', '{\n"id":["a","b"],\n"name":["x","y"]\n}'])
def test_json_that_a_person_repaired_is_one_record_whatever_it_holds(data: str) -> None:
    found = of_one_record(data.encode())
    assert found.frame.columns == [POSITION, "id", "name"] and found.frame.height == 1


@pytest.mark.parametrize(
    "data",
    [
        '[{"a":1},{"a":2},]',
        '[\n{"a":1},\n{"a":2},\n]\n',
        '{"a":1},\n{"a":2},\n',
        '\x1e{"a":1}\n\x1e{"a":2}\n',
        '{"rows":[{"a":1},{"a":2},]}',
    ],
    ids=["list", "lines of a list", "lines", "sequence", "inner list"],
)
def test_json_what_stands_between_values_is_no_record(data: str) -> None:
    found = read(data.encode(), "json")
    assert rows(found) == [{"a": "1"}, {"a": "2"}] and found.dead.is_empty()


def test_json_several_lists_need_a_word() -> None:
    data = b'{"orders":[{"a":1}],"refunds":[{"a":2}]}'
    found = read(data, "json")
    assert dead(found) == {0: data} and "records: orders" in found.dead["reason"][0]
    assert rows(read(data, "json", records="refunds")) == [{"a": "2"}]
    assert "no list at `records: x`" in read(data, "json", records="x").dead["reason"][0]


@pytest.mark.parametrize("others", [b"", b'\n{"b":1}', b'\n{"a":{"a":1,"b":2}}'])
def test_json_of_a_key_that_stands_twice_the_last_holds(others: bytes) -> None:
    for line in (b'{"a":1.5,"a":2.5}', b'{"a": 1.5, "b":"x", "a": 2.5}', b'[{"a":1.5,"a":2.5}]'):
        if not others or line[:1] == b"{":
            assert rows(read(line + others, "json"))[0]["a"] == "2.5"


def test_json_halves_of_surrogate_pairs_are_replaced_and_pairs_kept() -> None:
    found = read(rb'{"a":"x\ud83dbc"}' + b"\n" + rb'{"a":"\ud83d\ude00"}' + b"\n", "json")
    assert rows(found) == [{"a": "x\ufffdbc"}, {"a": "\U0001f600"}]


def test_json_half_of_a_pair_in_a_key_of_another_encoding_breaks_no_line_beside_it() -> None:
    other = r'{"\ud83dk": "x", "a": "1"}'.encode("utf-16-le")  # no line end stands in it
    lines = 400 * b'{"a":"1"}\n'  # so that the file is taken neither for one of that encoding nor for no text
    found = read(lines + other + b'\n{"a":{"b":2}}\n{"a":[1]}\n{"a": }\n', "json")
    assert found.frame.height + found.dead.height == 404 and found.dead.height <= 2


def test_json_what_is_no_text_says_so_in_a_line() -> None:
    found = read(b'{"a":"1"}\n' + bytes(range(9)) * 30, "json")
    assert found.frame.height == 0 and found.dead.height == 1
    assert "Error" not in found.dead["reason"].item()


def test_json_nested_text_keeps_its_escapes() -> None:
    values = [['Rock "n" Roll', "C:\\temp"], {"q": 'say "hi"', "n": [1, "\n"]}, 'plain "text" [x]']
    found = read("\n".join(json.dumps({"a": v, "n": i}) for i, v in enumerate(values)).encode(), "json")
    texts = found.frame["a"].to_list()
    assert [json.loads(texts[0]), json.loads(texts[1]), texts[2]] == values


@pytest.mark.parametrize("data", [
    b"[" + b",\n".join(b'{"a":"x{],%d","b":[%d]}' % (i, i) for i in range(300)) + b"]",
    b'{"meta":{},"r":[' + b",".join(b'{"a":"\\"]%d","b":[%d]}' % (i, i) for i in range(300)) + b'],"n":1}',
    b"\n".join(b'{"a":"%d","b":[%d]}' % (i, i) for i in range(300)),
    b"\n".join(b'{"a":"%d","a":"x%d"}' % (i, i) for i in range(300)),
])  # fmt: skip
def test_json_pieces_are_the_whole(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = read(data, "json")
    assert (whole.frame.height, whole.dead.height) == (300, 0)
    monkeypatch.setattr(text, "BLOCK", 999)
    found = list(pieces(io.BytesIO(data), Options(format="json")))
    assert len(found) > 3
    assert together(found).frame.equals(whole.frame)


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
    lines = [{}, *lines]  # an object a line is what the first line says
    found = read(b"\n".join(json.dumps(x).encode() if isinstance(x, dict) else x for x in lines), "json")
    good = {i: x for i, x in enumerate(lines, 1) if isinstance(x, dict)}
    assert positions(found) == list(good)
    assert list(dead(found)) == [i for i in range(1, len(lines) + 1) if i not in good]
    for row, wrote in zip(rows(found), good.values(), strict=True):
        for key, value in row.items():
            if isinstance(wrote.get(key), list):
                assert json.loads(value) == wrote[key]
            else:
                assert value == as_text(wrote.get(key))


def test_json_objects_that_follow_each_other_within_a_line_are_records() -> None:
    for data in (b'{"a":1}{"a":{"b":2}} {"a":3}', b'{"a":1}{"a":{"b":2}}\n{"a":3}\n'):
        found = read(data, "json")
        assert found.frame["a"].to_list() == ["1", '{"b": 2}', "3"] and found.dead.is_empty()


@pytest.mark.parametrize("odd", [b"\xef\xbb\xbf{}", b'\xef\xbb\xbf{"b":2}', b"\xef\xbb\xbf"])
def test_json_line_behind_a_byte_order_mark_in_the_middle_costs_no_other(odd: bytes) -> None:
    found = read(b'{"a":1}\n' + odd + b'\n{"a":null}\n', "json")
    held = {position: row.get("a") for position, row in zip(positions(found), rows(found), strict=True)}
    assert {1: held[1], 3: held[3]} == {1: "1", 3: None}
    assert set(held) | set(dead(found)) == {1, 2, 3}


@pytest.mark.parametrize("packed", [zlib.compress, lambda data: gzip.compress(data, mtime=0)])
@pytest.mark.parametrize("inside", [b'{"a":"1"}\n{"a":"2"}\n', b"\x00" * 40])
def test_json_lines_behind_one_that_looks_packed_are_read_as_they_are(
    packed: Callable[[bytes], bytes], inside: bytes
) -> None:
    """Polars unpacks a text that begins as zlib does, and fails where it is none: a line costs its own alone."""
    for odd in (packed(inside).replace(b"\n", b""), packed(inside)[:9].replace(b"\n", b"")):
        rows, dead, height = objects.records_of(odd + b'\n{"a":"x"}\n{"a":"y","b":{"c":[1]}}\n', 1)
        assert (rows["a"].to_list(), rows["_position"].to_list()) == (["x", "y"], [2, 3])
        assert (dead["_position"].to_list(), height) == ([1], 3)


@pytest.mark.parametrize(("opened", "closed"), [(b"[", b"]"), (b'{"k":', b"}")])
@pytest.mark.parametrize("deep", [70, 1_500, 100_000])
def test_json_nested_very_deep_takes_no_minutes(opened: bytes, closed: bytes, deep: int) -> None:
    line = b'{"a":"deep","b":' + opened * deep + b"1" + closed * deep + b"}"
    began = time.monotonic()
    rows, dead, _ = objects.records_of(b'{"a":"x"}\n' + line + b'\n{"a":"y","b":{"c":[1]}}\n', 1)
    assert time.monotonic() - began < 10
    assert sorted([*rows["_position"], *dead["_position"]]) == [1, 2, 3] and {1, 3} <= {*rows["_position"]}
