"""Delimited text to records: nothing is lost, order and positions are kept, quotes are read as they were meant."""

from __future__ import annotations

import io
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from customer360.platform.sources.formats import pieces, quotes, read, text
from customer360.platform.sources.formats.options import Options
from customer360.platform.sources.formats.records import POSITION, REORDERED, Records, together


def rows(records: Records) -> list[dict[str, Any]]:
    return records.frame.drop(POSITION).to_dicts()


def positions(records: Records) -> list[int]:
    return records.frame[POSITION].to_list()


def dead(records: Records) -> dict[int, bytes]:
    return dict(zip(records.dead[POSITION], records.dead["raw"], strict=True))


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


def table(data: bytes, **options: Any) -> list[tuple[Any, ...]]:
    found = read(data, "csv", **options)
    assert found.lines is not None and found.lines.missing(found.count) == 0
    return found.frame.drop(POSITION).rows()


@pytest.mark.parametrize("block", [text.BLOCK, 16])
@pytest.mark.parametrize("quote", ["", '"'])
def test_csv_files_with_a_byte_order_mark_joined_end_to_end_are_one(
    monkeypatch: pytest.MonkeyPatch, block: int, quote: str
) -> None:
    monkeypatch.setattr(text, "BLOCK", block)
    head = f"{quote}name{quote},{quote}town{quote}\r\n"
    data = f"\ufeff{head}Ann,Ulm\r\n\ufeff{head}\ufeff{quote}Lee, J.{quote if quote else ',x'},Bern\r\n"
    wanted = [("Ann", "Ulm"), ("Lee, J.", "Bern")] if quote else [("Ann", "Ulm")]
    found = together(list(pieces(io.BytesIO(data.encode()), Options("csv"))))
    assert found.frame.drop(POSITION).rows() == wanted
    assert found.lines is not None and found.lines.missing(found.count) == 0


@pytest.mark.parametrize("block", [text.BLOCK, 16])
def test_csv_below_a_header_in_another_order_values_are_of_their_own_columns(
    monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(text, "BLOCK", block)
    data = b"id,first,last\n1,Ann,Ray\nid,last,first\n2,Fox,Bob\n3,Lee,Eve\nid,first,last\n4,Kim,Orr\nfirst,last,x\n"
    found = together(list(pieces(io.BytesIO(data), Options("csv"))))
    named = [("1", "Ann", "Ray"), ("2", "Bob", "Fox"), ("3", "Eve", "Lee"), ("4", "Kim", "Orr")]
    assert found.frame.drop(POSITION).rows() == [*named, ("first", "last", "x")]
    assert found.lines is not None and found.lines.missing(found.count) == 0
    assert found.notes == ("row 2 is a header that has the columns in another order: id, last, first",)


def test_csv_a_row_of_two_values_that_are_the_names_is_a_record_unless_it_is_the_header_again() -> None:
    rows_of = table(b"from,to\nBER,FRA\nto,from\nMUC,HAM\nfrom,to\nULM,BRE\n")
    assert rows_of == [("BER", "FRA"), ("to", "from"), ("MUC", "HAM"), ("ULM", "BRE")]


@pytest.mark.parametrize("block", [text.BLOCK, 8])
def test_csv_a_dead_line_tells_where_it_stands_below_a_header_in_another_order(
    monkeypatch: pytest.MonkeyPatch, block: int
) -> None:
    monkeypatch.setattr(text, "BLOCK", block)
    data = b"a,b,c\n1,2,3,4\nb,a,c\n5,6,7,8\n2,1,3\n9,9,9,9\na,b,c\n1,2,3\n4,4,4,4\n"
    found = together(list(pieces(io.BytesIO(data), Options("csv"))))
    assert found.frame.drop(POSITION).rows() == [("1", "2", "3")] * 2
    assert found.dead["reason"].str.contains(REORDERED, literal=True).to_list() == [False, True, True, False]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'a,b\n1,2\n"x,2\n3,4\n5,6', [("1", "2"), ('"x', "2"), ("3", "4"), ("5", "6")]),
        (b'a,b\n1,2\n"x,2\n3,4\n5,"6\n7,8\n', [("1", "2"), ('"x', "2"), ("3", "4"), ("5", '"6'), ("7", "8")]),
        (b'a,b\n1,5" pipe\n3,4\n', [("1", '5" pipe'), ("3", "4")]),
        (b'a,b\n5" pipe,6" pipe\n3,4\n', [('5" pipe', '6" pipe'), ("3", "4")]),
        (b'a,b\n"x"y,2\n3,4\n', [('"x"y', "2"), ("3", "4")]),
        (b'a,b\nx "p,2\nq" y,5\n3,4\n', [('x "p', "2"), ('q" y', "5"), ("3", "4")]),
        (b'a\nx "p\nq" y\n3\n', [('x "p',), ('q" y',), ("3",)]),
        (b'a,b\n"a, b",5" pipe\n', [("a, b", '5" pipe')]),
        (b'a,b\n"5" pipe",2\n"one, "two", three",4\n', [('5" pipe', "2")]),
    ],
)
def test_csv_a_quote_that_opens_no_field_is_a_character(data: bytes, expected: list[tuple[str, str]]) -> None:
    assert table(data) == expected


def test_csv_a_quote_does_not_swallow_the_records_after_it() -> None:
    lines = [f"{i},x{i},{i * 2}" for i in range(200)]
    for first, last in [('10,"x10,20', '190,x190",380'), ('10,x,"20', '190,x,380"'), ('10,"x10,20', '11,x11",22')]:
        torn = list(lines)
        torn[10], torn[int(last.split(",")[0])] = first, last
        found = table("\n".join(["a,b,c,d", *(line + ",-" for line in torn)]).encode())
        assert [row[0] for row in found] == [str(i) for i in range(200)]


def test_csv_text_that_looks_like_records_stays_in_its_field() -> None:
    note = '"copied:\nT9,2024-01-01,99.00\nT8,2024-01-01,98.00\nend"'
    assert table(f"id,on,total,note\nT1,2024-01-02,1.00,{note}\nT2,2024-01-02,2.00,x\n".encode()) == [
        ("T1", "2024-01-02", "1.00", "copied:\nT9,2024-01-01,99.00\nT8,2024-01-01,98.00\nend"),
        ("T2", "2024-01-02", "2.00", "x"),
    ]
    found = read(b'id,total,note\nT1,"copied:\nT9,99.00,x\nend"\nT2,2.00,x\n', "csv")  # a column is missing
    assert rows(found) == [{"id": "T2", "total": "2.00", "note": "x"}]
    assert dead(found) == {1: b'T1,"copied:\nT9,99.00,x\nend"'}


@pytest.mark.parametrize(
    ("line", "value"),
    [
        (rb'1,"say \"hi\", ok"', 'say "hi", ok'),
        (rb'1,"\"hi\""', '"hi"'),
        (rb'1,"back\\slash \" quote, x"', 'back\\slash " quote, x'),
        (rb"1,a\,b", "a,b"),
        (rb'1,"C:\dir\"', "C:\\dir\\"),
        (b'1,"say \\"hi\\"\nthere, you"', 'say "hi"\nthere, you'),
    ],
)
def test_csv_backslash_escapes(line: bytes, value: str) -> None:
    assert table(b"a,b\n0,x\n" + line + b"\n2,y\n") == [("0", "x"), ("1", value), ("2", "y")]


def test_csv_a_stated_escape_counts_in_every_line() -> None:
    assert table(rb"a,b" + b"\n" + rb'1,"C:\\dir"' + b"\n", escape="\\") == [("1", r"C:\dir")]


def test_csv_delimiters_beyond_the_header_with_nothing_after_them_are_no_columns() -> None:
    assert table(b"a,b\n1,2,\n3,4,,\n5,6\n") == [("1", "2"), ("3", "4"), ("5", "6")]
    assert table(b"a,b,,\n1,2,,\n3,4,,\n") == table(b"a,b,,\r\n1,2,,\r\n3,4,,\r\n") == [("1", "2"), ("3", "4")]
    blanks = table(b'a, b, \n1, 2, \n3,4, ,  \n5,6\n7,"8", \n')
    assert blanks == [("1", " 2"), ("3", "4"), ("5", "6"), ("7", "8")]
    assert table(b'a,b,,\r\n1,2,,\r\n"x,y",4,,\r\n5" pipe,6,,\r\n') == [("1", "2"), ("x,y", "4"), ('5" pipe', "6")]
    assert dead(read(b"a,b\n1,2,3\n1,2,\n3,4,\n", "csv")) == {1: b"1,2,3"}
    shifted = read(b"a,b,c\n1,2,\n3,,4,\n5,6,\n7,8,\n", "csv")  # a delimiter too many before an empty value
    assert (positions(shifted), dead(shifted)) == ([1, 3, 4], {2: b"3,,4,"})


def test_csv_header_names_are_trimmed_numbered_and_made_up() -> None:
    found = read(b" a ,b,a,,a_2\n1,2,3,4,5\n", "csv")
    assert rows(found) == [{"a": "1", "b": "2", "a_3": "3", "column_4": "4", "a_2": "5"}]
    assert found.notes == ("the header repeats names: a (column 3) is called a_3",)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"a,b\r1,2\r3,4\r", [("1", "2"), ("3", "4")]),
        (b"sep=;\r\na;b\r\n1;2,5\r\n", [("1", "2,5")]),
        ("a;b\n1;é\n".encode("utf-16"), [("1", "é")]),
        ("a,b\n1,é\n".encode("utf-16-le"), [("1", "é")]),
        ("a,b\n1,Müller “x” €\n".encode("cp1252"), [("1", "Müller “x” €")]),
        (b"a\tb\n1\tx,y\n", [("1", "x,y")]),
        (b"a|b\n1|2\n", [("1", "2")]),
        (b"Sales of June\nMade on 2024-07-01\n\nid,on,total\n1,x,2\n3,y,4\n5,z,6\n", [("1", "x", "2"), ("3", "y", "4"), ("5", "z", "6")]),  # noqa: E501
        (b"Sales of June,,\n,,\nid,on,total\n1,x,2\n3,y,4\n", [("1", "x", "2"), ("3", "y", "4")]),
        (b"id,total\n1,2\nid,total\n3,4\n", [("1", "2"), ("3", "4")]),
        (b"id,total\n1,2\n,\n3,4\n,\n", [("1", "2"), ("3", "4")]),
    ],
    ids=["cr", "sep", "utf-16", "no-mark", "windows", "tab", "bar", "preamble", "padded", "header-again", "empty-rows"],
)  # fmt: skip
def test_csv_dialects(data: bytes, expected: list[tuple[str, ...]]) -> None:
    assert table(data) == expected


def test_csv_options_say_what_the_file_does_not() -> None:
    assert table(b"1,2.50\n3,4.50\n", columns=("a", "b")) == [("1", "2.50"), ("3", "4.50")]
    assert read(b"1,2.50\n", "csv", header=0).frame.columns == [POSITION, "column_1", "column_2"]
    two = read(b"Sales,,Returns\nqty,net,qty\n1,2,3\n", "csv", header=2)
    assert rows(two) == [{"Sales qty": "1", "Sales net": "2", "Returns qty": "3"}]
    assert table(b"x,y\nz\na,b\n1,2\nend,of,it\n", skip=2, footer=1) == [("1", "2")]
    assert table("a,b\n1,Ж\n".encode("koi8-r"), encoding="koi8-r") == [("1", "Ж")]
    assert table(b"a,b\n1,\x81\n2,3\n", encoding="cp1252") == [("2", "3")]


def test_csv_quotes_part_fields_where_they_are_sound_whatever_the_width() -> None:
    """A column too many in the header does not make commas inside quotes delimiters."""
    found = read(b'a,,b,c\n1,"x, y",z\n2,"x, y",z,w\n', "csv")
    assert rows(found) == [{"a": "2", "column_2": "x, y", "b": "z", "c": "w"}]
    assert dead(found) == {1: b'1,"x, y",z'}


def test_csv_blanks_may_stand_around_quotes() -> None:
    assert table(b'a, "b" ,c\n1, "x, y" , 3\n') == [("1", "x, y", " 3")]
    assert table(b'a, b\n1, 5" pipe\n') == [("1", ' 5" pipe')]
    assert table(b'a,b,c\n1,"x\ny" ,3\n') == [("1", "x\ny", "3")]


@pytest.mark.parametrize("format", ["csv", "json"])
@pytest.mark.parametrize("encoding", ["cp932", "gb18030", "big5"])
def test_an_encoding_that_is_not_found_is_asked_for_and_read_when_it_is_said(format: Any, encoding: str) -> None:
    shown = "\u8868\u793a\u5317\u4eac"  # the second byte of the first sign is a backslash in cp932
    data = {"csv": f"a,b\n1,{shown}\n2,{shown}\n", "json": f'{{"a":"1","b":"{shown}"}}\n{{"a":"2","b":"{shown}"}}\n'}
    found = read(data[format].encode(encoding), format)
    assert (found.frame.height, found.dead.height) in ((0, 2), (2, 0))
    assert len(found.notes) == 1 and "`encoding" in found.notes[0]
    assert rows(read(data[format].encode(encoding), format, encoding=encoding)) == [{"a": "1", "b": shown}, {"a": "2", "b": shown}]  # fmt: skip  # noqa: E501
    assert read(data[format].encode(), format).notes == ()


def test_an_encoding_that_shows_late_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "BLOCK", 64)
    found = read(b"a,b\n" + b"1,x\n" * 100 + b"2,caf\xe9\n", "csv")
    assert found.frame["b"][-1] == "café" and "Windows-1252" in found.notes[0]


def test_text_that_is_none_is_said() -> None:
    found = read(bytes(range(256)) * 4, "csv")
    assert "binary" in found.dead["reason"][0]
    lines = ["a,b", "1,x", "2,y", "3,z"]
    broken = "\n".join(lines).encode("utf-16").replace("y".encode("utf-16-le"), b"\x00\xdc")  # half of a pair
    found = read(broken, "csv")
    assert [row["b"] for row in rows(found)] == ["x", "z"] and positions(found) == [1, 3]


def test_csv_total_rows_are_set_apart() -> None:
    found = read(b"id,on,net,tax\n1,x,2,1\n2,y,3,1\nTotal,,5,\n", "csv")
    assert [row["id"] for row in rows(found)] == ["1", "2"]
    assert dead(found) == {3: b"Total,,5,"} and "footer: 1" in found.dead["reason"][0]


def test_csv_without_header_is_dead_as_a_whole_with_the_remedy() -> None:
    data = b"1001,C1,2024-01-05,19.90\n1002,C2,2024-01-06,29.90\n"
    found = read(data, "csv")
    assert dead(found) == {0: data} and "columns: [...]" in found.dead["reason"][0]
    assert found.lines is not None and found.lines.missing(found.count) == 0
    assert rows(read(b"id,2023,2024\na,1,2\n", "csv")) == [{"id": "a", "2023": "1", "2024": "2"}]


@pytest.mark.parametrize("quoting", ["inch", "spanning", "none"])
def test_csv_pieces_are_the_whole(quoting: str, monkeypatch: pytest.MonkeyPatch) -> None:
    values = {"inch": ['5" pipe', '"x', "y"], "spanning": ['"l1\nl2, x"', "z", '"a ""b"""'], "none": ["1", "é", ""]}
    lines = [f"{i},{values[quoting][i % 3]},{i}" for i in range(400)]
    data = ("\n".join(["a,b,c", *lines]) + "\n").encode()
    whole = read(data, "csv")
    assert whole.frame.height == 400
    monkeypatch.setattr(text, "BLOCK", 701)
    monkeypatch.setattr(quotes, "LONGEST_RECORD", 300)
    monkeypatch.setattr(quotes, "LONGEST_LOOSE", 100)
    found = list(pieces(io.BytesIO(data), Options(format="csv")))
    assert len(found) > 5
    assert together(found).frame.equals(whole.frame)
    assert together(found).lines == whole.lines


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
    lines = {"csv": [b"a", b"\xff", b"\xc3\xa9"], "json": [b'{"a":"\xff"}', b'{"a":"\xc3\xa9"}']}[format]
    found = read(b"\n".join(lines), format)
    assert (positions(found), rows(found)) == ([2], [{"a": "é"}])
    assert list(dead(found)) == [1]
    assert "invalid bytes" in found.dead["reason"][0]


@pytest.mark.parametrize("format", ["csv", "json"])
@pytest.mark.parametrize("data", [b"", b"\n\n", b"\xef\xbb\xbf", b"\n"])
def test_empty_files_have_no_records(data: bytes, format: str) -> None:
    found = read(data, format)
    assert found.count == 0 and (found.lines is None or found.lines.missing(0) == 0)


def test_csv_header_only_keeps_its_columns() -> None:
    found = read(b"a,b", "csv")
    assert (found.count, found.frame.columns) == (0, [POSITION, "a", "b"])
    broken = read(b"a,b\n1\n", "csv")
    assert (broken.frame.columns, list(dead(broken))) == ([POSITION, "a", "b"], [1])


def test_csv_delimiter() -> None:
    assert rows(read(b'a;b\n1,5;"x;y"\n', "csv", ";")) == [{"a": "1,5", "b": "x;y"}]


@pytest.mark.parametrize("data", [b'a,"b\n1,2\n3,4\n', b"a,\xff\n\xc3\xa9,2\n", b'a "x, y",b\n1,2\n'])
def test_csv_with_a_broken_header_is_dead_as_a_whole(data: bytes) -> None:
    found = read(data, "csv")
    assert (found.frame.height, dead(found)) == (0, {0: data})
    assert "header" in found.dead["reason"][0]


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
    data = newline.join(["a,b,ç".encode(), *(quoted(line) if isinstance(line, list) else line for line in lines)])
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
    found = read((",".join("xyz"[:width]) + "\n" + body).encode(), "csv")
    assert found.lines is not None and found.lines.missing(found.count) == 0
    assert positions(found) == sorted(positions(found))
    if list(dead(found)) != [0]:  # lines that look like a preamble, above a header that is broken
        assert sorted([*positions(found), *dead(found)]) == list(range(1, found.count + 1))


def test_csv_a_sign_that_no_keyboard_has_may_part_the_columns() -> None:
    assert read(b"a\x01b,c\n1\x012;3\n", "csv").frame.drop(POSITION).rows(named=True) == [{"a": "1", "b,c": "2;3"}]
