"""Files without a header: the columns are told by what they hold, or it is said how to name them."""

from pathlib import Path

import pytest

from customer360.models.files import columns, reading
from customer360.platform.errors import SourceError

CDNOW = " 00001 19970101  1   11.77\n 00002 19970112  1   12.00\n 00002 19970112  5   77.00\n"
RATINGS = "196\t242\t3\t881250949\n186\t302\t3\t891717742\n"
CLICKS = "1,2014-04-07T10:51:09.277Z,214536502,0\n1,2014-04-07T10:54:09.868Z,214536500,0\n"


def frame(folder: Path, text: str):
    (folder / "log.txt").write_text(text)
    return reading.frame(folder / "log.txt")


def test_sales_ratings_and_clicks(tmp_path: Path) -> None:
    told: list[str] = []
    assert columns.transactions(frame(tmp_path, CDNOW), told.append) == {
        "customer": "1",
        "timestamp": "2",
        "amount": "4",
    }
    assert columns.interactions(frame(tmp_path, RATINGS), "user", told.append) == {
        "user": "1", "item": "2", "timestamp": "4"}  # fmt: skip
    assert columns.interactions(frame(tmp_path, CLICKS), "session", told.append) == {
        "session": "1", "item": "3", "timestamp": "2"}  # fmt: skip
    assert told[0] == (
        "no header (first row 00001, 19970101, 1, 11.77): read as --columns customer=1,timestamp=2,amount=4; give your own "  # noqa: E501
        "where this is wrong"
    )


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a,2020-01-01,2020-01-02,5\nb,2020-01-01,2020-01-02,6\n", "columns 2 and 3 could both be the time"),
        ("1,7,5\n2,8,6\n", "no column reads as a time throughout"),
        ("1,2020-01-01\n2,2020-01-02\n", "no column after the customer holds amounts"),
    ],
)
def test_what_cannot_be_told_is_asked_for(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(SourceError, match=rf"no header.*{why}.*--columns customer=1,timestamp=2,amount=3"):
        columns.transactions(frame(tmp_path, text), print)


def test_a_header_is_no_data(tmp_path: Path) -> None:
    assert not reading.by_place(frame(tmp_path, "customer,date,amount 2011\na,2020-01-01,5\n").columns)
    assert reading.by_place(frame(tmp_path, "a,2020-01-01,5\n").columns)
