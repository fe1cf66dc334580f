"""Files of any retailer: formats, names, timestamps, and rows that cannot be used."""

import gzip
from datetime import date, datetime
from pathlib import Path

import polars as pl
import pytest

from customer360.models.files import transactions
from customer360.platform.errors import ModelError, SourceError

ROWS = pl.DataFrame(
    {
        "Customer ID": ["7", "7", "8", None, "8"],
        "InvoiceDate": ["2011-03-01 10:00:00", "2011-03-01 12:00:00", "2011-03-02 09:30:00", "2011-03-02 09:30:00", "oops"],  # noqa: E501
        "Total": ["10.5", "2", "-3", "4", "5"],
    }
)  # fmt: skip


def written(folder: Path, kind: str) -> Path:
    file = folder / f"sales.{kind}"
    if kind == "parquet":
        ROWS.write_parquet(file)
    elif kind == "jsonl":
        ROWS.write_ndjson(file)
    elif kind == "csv.gz":
        file.write_bytes(gzip.compress(ROWS.write_csv().encode()))
    else:
        file.write_text(ROWS.write_csv(separator=";" if kind == "csv" else ","))
    return file


@pytest.mark.parametrize("kind", ["csv", "csv.gz", "parquet", "jsonl"])
def test_reads_every_format_and_counts_what_it_leaves_out(kind: str, tmp_path: Path) -> None:
    found = transactions.read(written(tmp_path, kind))
    assert found.lines.select("customer", "amount").rows() == [("7", 10.5), ("7", 2.0), ("8", -3.0)]
    assert found.lines["at"][0] == datetime(2011, 3, 1, 10)
    assert found.notes == (
        "1 rows without a customer left out",
        "1 rows without a readable timestamp left out (first 'oops' in row 5)",
        "1 other returns are not deducted from what was sold",
    )
    assert found.customer_type == (pl.Int64 if kind.startswith("csv") else pl.String)


@pytest.mark.parametrize(
    ("values", "first"),
    [
        (["19970131", "19970201"], datetime(1997, 1, 31)),
        ([19970131, 19970201], datetime(1997, 1, 31)),
        ([1_000_000_000, 1_000_000_060], datetime(2001, 9, 9, 1, 46, 40)),
        ([1_000_000_000_000, 1_000_000_060_000], datetime(2001, 9, 9, 1, 46, 40)),
        (["2011-03-01T10:00:00Z", "2011-03-02T10:00:00+01:00"], datetime(2011, 3, 1, 10)),
        (["01/02/2011", "13/02/2011"], datetime(2011, 2, 1)),
        ([date(2011, 3, 1), date(2011, 3, 2)], datetime(2011, 3, 1)),
    ],
)
def test_understands_the_usual_timestamps(values: list[object], first: datetime, tmp_path: Path) -> None:
    file = tmp_path / "t.parquet"
    pl.DataFrame({"user": ["a", "a"], "ts": values, "amount": [1.0, 2.0]}).write_parquet(file)
    assert transactions.read(file).lines["at"][0] == first


def test_names_what_is_missing_and_what_there_is(tmp_path: Path) -> None:
    file = written(tmp_path, "parquet")
    with pytest.raises(ModelError, match=r"has the columns Customer ID, InvoiceDate, Total; not Sum"):
        transactions.read(file, {"amount": "Sum"})
    with pytest.raises(ModelError, match="shop is none of customer"):
        transactions.read(file, {"shop": "Total"})
    ROWS.drop("Total").write_parquet(file)
    with pytest.raises(
        ModelError, match=r"no column for amount; it has Customer ID, InvoiceDate. Name it: --columns amount="
    ):
        transactions.read(file)
    with pytest.raises(SourceError, match="no file"):
        transactions.read(tmp_path / "nothing.csv")
    with pytest.raises(ModelError, match=r"wrong: customer"):
        transactions.mapping("customer")
    assert transactions.mapping("customer=A b, amount=C") == {"customer": "A b", "amount": "C"}


def test_quantity_times_price_stands_for_an_amount(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("Customer ID,date,Quantity,Price\n007,2011-03-01,3,2.5\n")
    found = transactions.read(file)
    assert found.lines["amount"].to_list() == [7.5]
    assert found.customer_type == pl.String  # leading zeros are part of a name


GOLDEN = {
    "german": ("Kunde;Datum;Betrag\n1;01.02.2020;1.234,56\n1;13.02.2020;(5,00)\n", {"customer": "Kunde", "timestamp": "Datum", "amount": "Betrag"},  # noqa: E501
               [1234.56, -5.0], 1),
    "american": ('Customer,Order Date,Total\n1,"Feb 1, 2020","$1,234.50"\n1,"Feb 13, 2020",-$3\n', None, [1234.5, -3.0], 1),  # noqa: E501
    "cdnow": (" 00001 20200201  1   11.77\n 00002 20200213  2   12.00\n", None, [11.77, 12.0], 1),
    "cdnow by place": (" 00001 20200201  2   11.77\n 00002 20200213  2   12.00\n",
                       {"customer": "1", "timestamp": "2", "quantity": "3", "price": "4"}, [23.54, 24.0], 0),
    "factors": ("client;date;qty;unit price\nA;2020-02-01;1,000;2,50\nA;2020-02-13T00:00:00+00:00;-2,000;3,00\n", None, [2.5, -6.0], 1),  # noqa: E501
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_exports_of_other_places(name: str, tmp_path: Path) -> None:
    text, columns, expected, notes = GOLDEN[name]
    (tmp_path / "sales.csv").write_text(text)
    found = transactions.read(tmp_path / "sales.csv", columns)
    assert found.lines["amount"].to_list() == pytest.approx(expected) and len(found.notes) == notes
    assert found.lines["at"].to_list() == [datetime(2020, 2, 1), datetime(2020, 2, 13)]


def test_an_amount_that_cannot_be_read_is_shown(tmp_path: Path) -> None:
    (tmp_path / "sales.csv").write_text("user,date,total\na,2020-01-01,5\na,2020-01-02,gift\na,2020-01-03,\n")
    found = transactions.read(tmp_path / "sales.csv")
    assert found.notes == ("2 rows without a readable amount (such as 1234.56) left out (first 'gift' in row 2)",)


def test_a_sale_that_a_return_undoes_never_took_place(tmp_path: Path) -> None:
    rows = [  # customer, day, amount, invoice, item
        ("a", 1, 100.0, "1", "x"), ("a", 2, -100.0, "c1", "x"),  # undone
        ("a", 3, -50.0, "c2", "y"), ("a", 4, 50.0, "2", "y"),  # the return came first: of an older sale
        ("b", 1, 20.0, "3", "x"), ("b", 1, 20.0, "4", "x"), ("b", 5, -20.0, "c3", "x"),  # one of two undone
        ("b", 6, 5.0, "5", "x"), ("b", 6, 5.0, "5", "x"),  # a line twice
        ("c", 1, 9.0, "6", "x"), ("c", 2, -9.0, "c4", "x"),  # the only sale: the customer stays known
    ]  # fmt: skip
    frame = pl.DataFrame(rows, schema=["customer", "day", "amount", "invoice", "item"], orient="row")
    file = tmp_path / "t.parquet"
    frame.select("customer", "amount", "invoice", "item", timestamp=pl.date(2020, 1, "day")).write_parquet(file)
    found = transactions.read(file)
    assert found.notes == (
        "1 rows equal to another of their invoice folded",
        "2 sales undone whole by a later return left out with it",
        "2 other returns are not deducted from what was sold",
    )
    days = transactions.days(found.lines).collect()
    bought = days.filter(pl.col("order_count") > 0)
    assert bought.select("person_id", "gross_amount").rows() == [("a", 50.0), ("b", 20.0), ("b", 5.0), ("c", 9.0)]
    assert days.filter(pl.col("order_count") == 0)["return_count"].to_list() == [1, 1]


def test_days_hold_invoices_and_items() -> None:
    at = datetime(2020, 1, 1, 9)
    lines = pl.DataFrame(
        {"customer": ["a"] * 4, "at": [at, at, at.replace(hour=20), at], "amount": [1.0, 2.0, 3.0, -4.0], "invoice": ["1", "1", "2", "3"], "item": ["x", "y", "x", "z"]}  # noqa: E501
    )  # fmt: skip
    row = transactions.days(lines).collect().row(0, named=True)
    assert (row["order_count"], row["item_count"], row["unit_count"], row["return_count"]) == (2, 2, 3, 1)
    assert (row["gross_amount"], row["net_amount"]) == (6.0, 2.0)


OLD, NEW = ([date(year, 3, day) for day in range(1, 21)] for year in (2005, 2021))


def test_sales_of_two_systems_years_apart_stay_and_the_gap_is_named(tmp_path: Path) -> None:
    file, days = tmp_path / "sales.csv", [*OLD, *NEW, date(1900, 1, 1)]
    pl.DataFrame({"customer": range(1, 42), "date": days, "amount": 5}).write_csv(file)
    found = transactions.read(file)
    assert found.lines["customer"].cast(int).sort().to_list() == list(range(1, 41))
    assert found.notes == (
        "1 rows more than 10 years from all others (first 1900-01-01) left out: such dates stand for none",
        "no row between 2005-03-20 and 2021-03-01: if one side is mistyped, leave it out",
    )


@pytest.mark.parametrize(
    ("days", "none"),
    [
        (NEW, [date(1900, 1, 1)] * 30),  # also where most rows have them
        (NEW, [date(9999, 12, 31), date(9999, 12, 30)] * 15),
        (NEW, [date(1899, 12, 31), date(1900, 1, 1)] * 15),
        (NEW * 30, [date(1991, 5, 3), date(1991, 6, 4)]),  # so few are mistyped
        ([day.replace(year=1971) for day in OLD], [date(9999, 12, 31)] * 30),  # something must stay
        (OLD, []),
    ],
)
def test_days_far_away_that_stand_for_none_are_left_out(days: list[date], none: list[date]) -> None:
    at = pl.Series([*days, *none]).cast(pl.Datetime)
    assert set(transactions._far(at)) == set(none)
