"""The kinds of log file that shops and public collections have, each read to the same rows."""

import gzip
from pathlib import Path

import polars as pl
import pytest

from customer360.models.files import reading
from customer360.platform.errors import SourceError

ROWS = [("u1", "a", "100"), ("u2", "b", "200")]
HEAD = ("user", "item", "timestamp")


def lines(sign: str, with_header: bool = True) -> str:
    return "".join(sign.join(row) + "\n" for row in ([HEAD, *ROWS] if with_header else ROWS))


@pytest.mark.parametrize("sign", [",", "\t", ";", "|", "::", " "])
@pytest.mark.parametrize("name", ["log.csv", "log.txt.gz", "log.dat"])
def test_every_separator_gives_the_same_rows(tmp_path: Path, sign: str, name: str) -> None:
    data = lines(sign).encode()
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    assert reading.frame(tmp_path / name).rows() == ROWS


@pytest.mark.parametrize("sign", [",", "\t", "::", " "])
def test_columns_by_place_where_there_is_no_header(tmp_path: Path, sign: str) -> None:
    (tmp_path / "u.data").write_text(lines(sign, with_header=False))
    found = reading.frame(tmp_path / "u.data", {"user": "1", "item": "2", "timestamp": "3"})
    assert found.rows() == ROWS and found.columns == ["1", "2", "3"]


def test_a_file_padded_with_blanks(tmp_path: Path) -> None:
    (tmp_path / "cdnow.txt").write_text(" 00001 19970101  1   11.77\r\n 00002 19970112  5   77.00 \r\n")
    assert reading.frame(tmp_path / "cdnow.txt", {"customer": "1"}).rows() == [
        ("00001", "19970101", "1", "11.77"), ("00002", "19970112", "5", "77.00")]  # fmt: skip


def test_quotes_a_byte_order_mark_and_empty_cells(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_bytes('\ufeffuser,item\n"a;b;c",\n"d, e",x\n'.encode())
    found = reading.frame(tmp_path / "log.csv")
    assert found.columns == ["user", "item"] and found.rows() == [("a;b;c", None), ("d, e", "x")]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
def test_the_encodings_of_spreadsheets(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "log.csv").write_bytes("name;total\nZoë;£5\n".encode(encoding))
    assert reading.frame(tmp_path / "log.csv").rows() == [("Zoë", "£5")]


def test_a_spreadsheet_that_names_its_separator(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("sep=;\na,b;c\n1;2,5\n")
    assert reading.frame(tmp_path / "log.csv").to_dicts() == [{"a,b": "1", "c": "2,5"}]


def test_cells_beyond_the_header_are_blank_or_refused(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("user,total\na,5,\nb,6, \n")
    assert reading.frame(tmp_path / "log.csv").rows() == [("a", "5"), ("b", "6")]
    (tmp_path / "log.csv").write_text("user,total\na,5\nb,6,50\n")
    with pytest.raises(SourceError, match="line 3: 3 cells where the first line has 2: 'b,6,50'; quote values"):
        reading.frame(tmp_path / "log.csv")
    (tmp_path / "log.csv").write_text("user item\na x\nb y z\n")
    with pytest.raises(SourceError, match="line 3: 3 cells where the first line has 2"):
        reading.frame(tmp_path / "log.csv")


def test_parquet_and_json_lines(tmp_path: Path) -> None:
    frame = pl.DataFrame({"user": ["u1"], "item": [3]})
    frame.write_parquet(tmp_path / "log.parquet")
    (tmp_path / "log.jsonl.gz").write_bytes(gzip.compress(b'{"user": "u1", "item": 3}\n'))
    assert reading.frame(tmp_path / "log.parquet").equals(frame) and reading.frame(tmp_path / "log.jsonl.gz").equals(
        frame
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.csv", None, "no file"),
        ("log.xlsx", b"x", r"give \.csv"),
        ("log.csv", b"", "is empty"),
        ("log.csv", b"\n\n", "is empty"),
        ("log.parquet", b"no parquet", "cannot be read"),
        ("log.csv.gz", b"no gzip", "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(SourceError, match=message) as caught:
        reading.frame(tmp_path / name)
    assert "\n" not in str(caught.value)
