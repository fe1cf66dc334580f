"""Files of people: the same reader as for logs, with a header, columns of names and bytes that are no UTF-8 left in."""

from pathlib import Path

import polars as pl
import pytest

from customer360.models.files.people import read_table
from customer360.platform.errors import SourceError


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("sign", [",", ";", "\t", "|"])
def test_what_spreadsheets_write(tmp_path: Path, sign: str, encoding: str) -> None:
    (tmp_path / "people.csv").write_bytes(f"unique_id{sign}name\n1{sign}Zoë\n2{sign}\n".encode(encoding))
    assert read_table(tmp_path / "people.csv").to_dicts() == [{"unique_id": "1", "name": "Zoë"}, {"unique_id": "2", "name": None}]  # fmt: skip  # noqa: E501


def test_a_separator_inside_of_quotes_parts_nothing(tmp_path: Path) -> None:
    (tmp_path / "people.txt").write_text('"name; first; last";"id"\n"Bo;Ek";1\n')
    assert read_table(tmp_path / "people.txt").rows() == [("Bo;Ek", "1")]


def test_one_column_of_words_and_a_header_of_years(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("full name\nAda Byron\nBo\n")
    assert read_table(tmp_path / "people.csv").rows() == [("Ada Byron",), ("Bo",)]
    (tmp_path / "people.csv").write_text("unique_id,2024\n1,x\n")
    assert read_table(tmp_path / "people.csv").columns == ["unique_id", "2024"], "a file of people has a header"


def test_a_byte_that_is_no_utf8_costs_its_own_sign(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_bytes("name\nZoë\n".encode() + b"Ren\xe9\n")
    assert read_table(tmp_path / "people.csv")["name"].to_list() == ["Zoë", "Ren\ufffd"]


def test_parquet_and_what_cannot_be_read(tmp_path: Path) -> None:
    pl.DataFrame({"unique_id": [1]}).write_parquet(tmp_path / "people.parquet")
    assert read_table(tmp_path / "people.parquet").rows() == [(1,)]
    with pytest.raises(SourceError, match="does not exist"):
        read_table(tmp_path / "none.csv")
    for name, content in (("people.csv", b""), ("people.parquet", b"no parquet"), ("people.csv.gz", b"no gzip")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SourceError, match=name):
            read_table(tmp_path / name)
