"""Times as files and people write them; what is none is said so."""

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from customer360.models.recommenders import reading
from customer360.platform.errors import SourceError


@pytest.mark.parametrize("text", ["2011-09-11", "20110911", "1315699200", "1315699200000", "2011-09-11T02:00:00+02:00"])
def test_a_moment_in_its_usual_forms(text: str) -> None:
    assert reading.moment(text) == datetime(2011, 9, 11)


@pytest.mark.parametrize("text", ["soon", "", "20111399", "nan", "inf", "1e300", "-1"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(SourceError, match="no date"):
        reading.moment(text)


@pytest.mark.parametrize("absurd", [1e30, float("inf"), float("nan")])
def test_one_absurd_time_costs_its_row_alone(tmp_path: Path, absurd: float) -> None:
    path = tmp_path / "log.parquet"
    times = [1.3e9, 1.3001e9, absurd, 1.3002e9]
    pl.DataFrame({"user": ["a", "b", "c", "d"], "item": ["x", "y", "x", "y"], "timestamp": times}).write_parquet(path)
    found = reading.read(path, datetime(2020, 1, 1), {})
    assert found.rows["at"].to_list() == [
        datetime.fromtimestamp(t, UTC).replace(tzinfo=None) for t in (1.3e9, 1.3001e9, 1.3002e9)
    ]
    assert sum(found.left_out.values()) == 1
