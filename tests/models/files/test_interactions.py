"""Times as files and people write them; what is none is said so."""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from customer360.models.files import interactions
from customer360.platform.errors import SourceError
from customer360.platform.sources.values import timestamps


@pytest.mark.parametrize("text", ["2011-09-11", "20110911", "1315699200", "1315699200000", "2011-09-11T02:00:00+02:00"])
def test_a_moment_in_its_usual_forms(text: str) -> None:
    assert timestamps.moment(text) == datetime(2011, 9, 11)


@pytest.mark.parametrize("text", ["soon", "", "20111399", "nan", "inf", "1e300", "-1"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(SourceError, match="no date"):
        timestamps.moment(text)


@pytest.mark.parametrize("absurd", [1e30, float("inf"), float("nan")])
def test_one_absurd_time_costs_its_row_alone(tmp_path: Path, absurd: float) -> None:
    path = tmp_path / "log.parquet"
    times = [1.3e9, 1.3001e9, absurd, 1.3002e9]
    pl.DataFrame({"user": ["a", "b", "c", "d"], "item": ["x", "y", "x", "y"], "timestamp": times}).write_parquet(path)
    found = interactions.read(path, datetime(2020, 1, 1), {})
    assert found.rows["at"].to_list() == [
        datetime.fromtimestamp(t, UTC).replace(tzinfo=None) for t in (1.3e9, 1.3001e9, 1.3002e9)
    ]
    assert sum(found.left_out.values()) == 1


def test_usual_names_are_taken_and_said(tmp_path: Path) -> None:
    path = tmp_path / "ratings.csv"
    path.write_text("userId,movieId,rating,timestamp\n1,10,4.0,1300000000\n2,11,3.5,1300000000\n")
    found = interactions.read(path, datetime(2020, 1, 1), {})
    assert found.rows.columns[:2] == ["user", "item"] and found.rows["user"].to_list() == [1, 2]
    taken, ratings = found.notes
    assert taken == "columns taken by their usual names: user=userId, item=movieId"
    assert "column rating holds ratings from 3.5 to 4" in ratings


def test_a_file_without_a_header_by_place(tmp_path: Path) -> None:
    path = tmp_path / "ratings.dat"
    path.write_text("1::10::5::978300760\n1::11::3::978300760\n")
    found = interactions.read(path, datetime(2020, 1, 1), {"user": "1", "item": "2", "timestamp": "4"})
    assert found.rows.select("user", "item").rows() == [(1, 10), (1, 11)]
    told = interactions.read(path, datetime(2020, 1, 1), {})
    assert told.rows.equals(found.rows) and "read as --columns user=1,item=2,timestamp=4" in told.notes[0]
    path.write_text("1::10\n1::11\n")
    with pytest.raises(SourceError, match="by place"):
        interactions.read(path, datetime(2020, 1, 1), {})


def test_quantities_and_times_that_cannot_be_read_are_said(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user;item;date;quantity\nu;i;2011-05-01;2,5\nu;j;2011-05-01;few\nu;k;2011-05-01;\nu;l;soon;1\n")
    found = interactions.read(path, datetime(2020, 1, 1), {})
    assert found.rows["quantity"].to_list() == [2.5, 1.0, 1.0]
    assert found.left_out == {"without a time": 1}
    assert found.notes[1:] == (
        "times that cannot be read: 1, first 'soon' in row 4",
        "1 quantities that are no number (first 'few') count as 1",
    )


def test_nothing_before_the_date_is_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("user,item,timestamp\nu,i,2011-05-01\n")
    with pytest.raises(SourceError, match="no usable row before 2011-01-01"):
        interactions.read(path, datetime(2011, 1, 1), {})
