"""The dialect of a file of unknown make; what its rows become is tested where files of logs and of people are read."""

from pathlib import Path

import pytest

from customer360.platform.errors import SourceError
from customer360.platform.sources.formats import delimited


@pytest.mark.parametrize(
    ("text", "separator", "cells"),
    [
        ("a;b,c;d\n", ";", ["a", "b,c", "d"]),
        ('"a,b,c";d\n', ";", ["a,b,c", "d"]),
        ("\n\na::b::c\n", "::", ["a", "b", "c"]),
        ("  a b   c \n", " ", ["a", "b", "c"]),
        ("sep=|\n\na|b,c\n", "|", ["a", "b,c"]),
        ("a,b;c\n", ";", ["a,b", "c"]),
    ],
)
def test_the_dialect_is_found_in_the_first_line(tmp_path: Path, text: str, separator: str, cells: list[str]) -> None:
    (tmp_path / "log.csv").write_text(text)
    found = delimited.dialect_of(tmp_path / "log.csv")
    assert (found.separator, found.cells, found.encoding) == (separator, cells, None)


def test_blanks_part_columns_only_where_they_may(tmp_path: Path) -> None:
    (tmp_path / "names.csv").write_text("full name\nAda Byron\n")
    assert delimited.dialect_of(tmp_path / "names.csv").cells == ["full", "name"]
    assert delimited.dialect_of(tmp_path / "names.csv", blanks=False).cells == ["full name"]
    (tmp_path / "names.csv").write_text(" \n")
    with pytest.raises(SourceError, match=r"names\.csv is empty"):
        delimited.dialect_of(tmp_path / "names.csv")
