"""Times as files and people write them; what is none is said so, what could be two is said too."""

from datetime import UTC, date, datetime, timedelta, timezone

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from customer360.platform.errors import SourceError
from customer360.platform.sources.values import timestamps

NINE = datetime(2011, 9, 11, 9, 30)
DAY = datetime(2011, 9, 11)
SECONDS = int(NINE.replace(tzinfo=UTC).timestamp())


def read(values: list, dtype: pl.DataType | None = None) -> tuple[list, list[str]]:
    told: list[str] = []
    return timestamps.read(pl.Series(values, dtype=dtype), "log.csv", told.append).to_list(), told


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2011-09-11 09:30:00", NINE), ("2011-09-11T09:30:00.000Z", NINE), ("2011-09-11T09:30", NINE),
        ("2011-09-11T11:30:00+02:00", NINE), ("2011-09-11 04:30:00-0500", NINE), ("2011-09-11T11:30+02:00", NINE),
        ("2011-09-11 09:30:00 UTC", NINE), ("2011-09-11", DAY), ("20110911", DAY), (20110911, DAY),
        ("2011/9/11", DAY), ("2011/09/11 09:30:00", NINE), (date(2011, 9, 11), DAY),
        (SECONDS, NINE), (str(SECONDS), NINE), (SECONDS * 1000, NINE), (f"{SECONDS}000", NINE), (float(SECONDS), NINE),
        (SECONDS * 1_000_000, NINE), (SECONDS * 1_000_000_000, NINE),
        ("11-Sep-2011", DAY), ("Sep 11, 2011", DAY), ("11 September 2011 09:30", NINE), ("11Sep2011", DAY), ("11-Sep-11", DAY),  # noqa: E501
        ("Sept. 11th, 2011 at 9:30 AM", NINE), ("Sun, 11 Sep 2011 09:30:00 GMT", NINE), ("2011-Sep-11", DAY),
        ("Sun Sep 11 09:30:00 2011", NINE), ("11/Sep/2011:11:30:00 +0200", NINE), ("20110911T093000", NINE),
        ("20110911 0930", NINE), ("20110911093000", NINE), (20110911093000, NINE), ("2011.09.11", DAY), ("2011-9-11 9:30 AM", NINE),  # noqa: E501
        (datetime(2011, 9, 11, 11, 30, tzinfo=timezone(timedelta(hours=2))), NINE),
        ("2011-09-11T11:30+02:00[Europe/Paris]", NINE), ("2011-09-11T09:30Z[Europe/Paris]", NINE),
        ("2011-09-11 11:30:00.000 +0200", NINE), ("2011-09-11 11:30:00+02", NINE), ("2011-09-11T09:30:00 Z", NINE),
        ("20110911T093000Z", NINE), ("2011-09-11 02:30:00 PDT", NINE), ("Sep 11, 2011 02:30:00 AM PDT", NINE),
        ("2011-09-10T24:00:00", DAY), ("2011-09-11T09:30:00.0000001Z", NINE),
        ("11-SEP-11 09.30.00.000000 AM", NINE), ("11-SEP-11 11.30.00.000000000 AM +02:00", NINE),
        ("11-SEP-2011 09.30.00", NINE), ("2011-09-11-09.30.00.000000", NINE), ("2011-09-11-21.30.00", NINE + timedelta(hours=12)),  # noqa: E501
        ("Sun Sep 11 2011 11:30:00 GMT+0200 (Central European Summer Time)", NINE), ("Sun Sep 11 2011 09:30:00 GMT+0000", NINE),  # noqa: E501
        (f"/Date({SECONDS}000)/", NINE), (f"/Date({SECONDS}000+0200)/", NINE),
        ("2011-09-11T11:30:00+02[Europe/Paris]", NINE), ("2011-09-11T11:30+02[Europe/Paris]", NINE),
        ("2011-09-11T09:30:00[UTC]", NINE), ("2011-09-11T09:30:00.000[Etc/UTC]", NINE), ("2011-09-11 09:30[GMT]", NINE),
        ("2011-09-11 09:30:00 UTC[UTC]", NINE), ("2011-09-11 09:30:00 GMT[Europe/London]", NINE),
        ("2011-09-11 11:30:00 CEST[Europe/Paris]", NINE),
    ],
)  # fmt: skip
def test_a_time_in_its_usual_forms(value, expected) -> None:
    assert read([value, None, value]) == ([expected, None, expected], [])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["31/12/2010 8:26", "01/02/2011 17:00"], [datetime(2010, 12, 31, 8, 26), datetime(2011, 2, 1, 17)]),
        (["12/31/2010 8:26", "1/2/2011 17:00"], [datetime(2010, 12, 31, 8, 26), datetime(2011, 1, 2, 17)]),
        (["31-12-2010", "01-02-2011"], [datetime(2010, 12, 31), datetime(2011, 2, 1)]),
        (["31/12/99 8:26", "01/02/11 17:00"], [datetime(1999, 12, 31, 8, 26), datetime(2011, 2, 1, 17)]),
        (["97-12-31", "98-02-01"], [datetime(1997, 12, 31), datetime(1998, 2, 1)]),
        (["12/31/2010 8:26:05 PM", "1/2/2011 12:00 AM"], [datetime(2010, 12, 31, 20, 26, 5), datetime(2011, 1, 2)]),
    ],
)
def test_what_passes_12_is_the_day(values, expected) -> None:
    assert read(values) == (expected, [])


def test_where_day_and_month_could_be_either_it_is_said() -> None:
    found, told = read(["1/2/2011", "3/4/2011"])
    assert found == [datetime(2011, 1, 2), datetime(2011, 3, 4)] and "read month first" in told[0]
    found, told = read(["1.2.2011", "3.4.2011"])
    assert found == [datetime(2011, 2, 1), datetime(2011, 4, 3)] and "read day first" in told[0]


def test_forms_may_be_mixed_and_what_is_none_is_null() -> None:
    found, _ = read(
        ["2011-09-11", "2011-09-11T09:30:00Z", "soon", "2011-13-40", "31 Feb 2011", "11-Sep-2011", "Jan 2011"]
    )
    assert found == [DAY, NINE, None, None, None, DAY, None]


@given(
    st.lists(st.datetimes(datetime(1970, 1, 1), datetime(2068, 12, 31)), min_size=1, max_size=9),
    st.sampled_from(
        [
            "%Y-%m-%d %H:%M:%S",
            "%d-%b-%Y %H:%M:%S",
            "%B %d, %Y %I:%M:%S %p",
            "%a %b %d %H:%M:%S %Y",
            "%Y%m%d %H%M%S",
            "%d %b %y %H:%M:%S",
            "%Y/%m/%dT%H:%M:%SZ",
            "%a, %d %b %Y %H:%M:%S +0000",
        ]
    ),
)
def test_what_is_written_in_any_form_is_read_back(moments: list[datetime], form: str) -> None:
    whole = [moment.replace(microsecond=0) for moment in moments]
    assert read([moment.strftime(form) for moment in whole]) == (whole, [])


def test_a_zone_in_brackets_without_the_offset_is_no_time_of_another_zone() -> None:
    told: list[str] = []
    texts = [f"2011-09-11{rest}[Europe/Paris]" for rest in ("T11:30", "T11:30:00", "", " 11:30:00 XYZ", "T11:30+02:00")]
    assert timestamps.read(pl.Series(texts), "log.csv", told.append).to_list() == [None] * 4 + [NINE]


@pytest.mark.parametrize("beside", [[], ["2011-09-11T09:30:00Z", "soon"]], ids=["alone", "mixed"])
def test_times_of_dotnet_are_milliseconds_whatever_their_size(beside) -> None:
    values = ["/Date(31536000000)/", "/Date(-315619200000)/", "/Date(20110911)/", "/Date(0)/", f"/Date({10**18})/"]
    early = datetime(1970, 1, 1, 5, 35, 10, 911_000)
    expected = [datetime(1971, 1, 1), datetime(1960, 1, 1), early, datetime(1970, 1, 1), None]
    assert parsed([*values, *beside]) == ([*expected, *([NINE, None] if beside else [])], [])


def test_a_moment_that_could_be_two_is_refused() -> None:
    assert timestamps.moment("12-Jan-1997") == datetime(1997, 1, 12) and timestamps.moment("31/12/1997") == datetime(
        1997, 12, 31
    )
    with pytest.raises(SourceError, match="'1/2/1997': day and month could be either"):
        timestamps.moment("1/2/1997")


def test_a_column_without_any_time_is_refused() -> None:
    with pytest.raises(SourceError, match=r"log.csv: no time can be read, for example \['soon', 'later'\]"):
        read(["soon", "later"])
    assert read([], pl.String()) == ([], [])


def parsed(values: list, **how) -> tuple[list, list[str]]:
    told: list[str] = []
    return timestamps.parsed(pl.Series(values), "col", told.append, **how).to_list(), told


def test_numbers_among_other_texts_are_epochs_of_their_own_unit_or_dates() -> None:
    values = ["2011-09-11T09:30:00Z", str(SECONDS), f"{SECONDS}000", f"{SECONDS}000000", "20110911", "12", "soon"]
    assert parsed(values) == ([NINE, NINE, NINE, NINE, DAY, None, None], [])
    assert parsed([str(SECONDS)] * 3 + [f"{SECONDS}000"]) == ([NINE] * 4, [])


def test_a_time_without_an_offset_is_one_of_the_zone() -> None:
    berlin = {"zone": "Europe/Berlin"}
    values = ["2011-09-11 11:30", "11.09.2011 11:30", "11-Sep-2011 11:30", "2011-09-11T09:30Z", f"{SECONDS}"]
    assert parsed(values, **berlin) == ([NINE] * 5, [])
    assert parsed([datetime(2011, 9, 11, 11, 30)], **berlin) == ([NINE], [])
    assert parsed([NINE.replace(tzinfo=UTC)], **berlin) == ([NINE], [])


def test_where_the_clock_is_changed_the_offset_before_it_holds() -> None:
    """02:30 does not exist on the day that summer begins, and exists twice on the day that it ends."""
    values = ["2026-03-29 01:59", "2026-03-29 02:30", "2026-03-29 03:00", "2026-10-25 02:30"]
    assert parsed(values, zone="Europe/Berlin")[0] == [
        datetime(2026, 3, 29, 0, 59), datetime(2026, 3, 29, 1, 30), datetime(2026, 3, 29, 1), datetime(2026, 10, 25, 0, 30),  # noqa: E501
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("values", "how", "expected", "said"),
    [
        (["1/2/2011", "3/4/2011"], {"order": "day_first"}, [datetime(2011, 2, 1), datetime(2011, 4, 3)], 0),
        (["1/2/2011", "13/2/2011"], {"order": "month_first"}, [datetime(2011, 1, 2), None], 0),
        (["1/2/2011"], {"usual": "day_first"}, [datetime(2011, 2, 1)], 0),
        (["1/2/2011", "1/13/2011"], {"usual": "day_first"}, [datetime(2011, 1, 2), datetime(2011, 1, 13)], 0),
        (["10/6/2026", "2026-06-09", "2026-06-12"], {}, [datetime(2026, 6, 10), datetime(2026, 6, 9), datetime(2026, 6, 12)], 0),  # noqa: E501
        (["5.1.2026", "1/7/2026"], {}, [datetime(2026, 1, 5), datetime(2026, 1, 7)], 2),
    ],
)  # fmt: skip
def test_the_order_of_day_and_month(values, how, expected, said) -> None:
    found, told = parsed(values, **how)
    assert (found, len(told)) == (expected, said)


def test_the_order_that_a_column_shows() -> None:
    assert timestamps.order_of(pl.Series(["1/2/2011", "31/12/2010"])) == "day_first"
    assert timestamps.order_of(pl.Series(["1/2/2011", "12/31/2010"])) == "month_first"
    assert timestamps.order_of(pl.Series(["1/2/2011", "2010-12-31"])) is None
    assert timestamps.order_of(pl.Series(["1/31/2011 09:30:00 CEST", None])) == "month_first"


@pytest.mark.parametrize(
    ("others", "meant"),
    [([], datetime(2024, 1, 2)), (["2024-01-30", "2024-02-03"], datetime(2024, 2, 1))],
    ids=["nothing tells", "those beside it tell"],
)
def test_a_day_that_says_for_ever_tells_nothing_of_the_order_of_day_and_month(others, meant) -> None:
    assert read(["9999-12-31", *others, "01/02/2024"])[0][-1] == meant
