"""Sales files as strangers export them, from the command to the scores: each is scored as the plain file is, or one
line says what is in the way and what to do.
"""

from __future__ import annotations

import gzip
import io
import sys
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from customer360.serve.cli import main

AS_OF = date(2024, 7, 1)
COLUMNS = ["customer_id", "p_churn", "clv", "clv_low", "clv_high"]
Rows = list[tuple[str, datetime, float]]


def sales() -> Rows:
    """Thirty customers over half a year, somebody on most days; four of them stopped early."""
    rng, found = np.random.default_rng(5), []
    for customer in range(30):
        at = datetime(2024, 1, 1) + timedelta(days=float(rng.uniform(0, 40)))
        stop = datetime(2024, 3, 1) if customer < 4 else datetime(2024, 7, 1)
        purse = float(rng.lognormal(3.5, 0.4))
        while at < stop:
            moment = at.replace(microsecond=0)
            found.append((f"K{customer:02}", moment, round(purse * float(rng.lognormal(0, 0.3)), 2)))
            at += timedelta(days=float(rng.gamma(2.0, 6.0)))
    return sorted(found, key=lambda row: row[1])


SALES = sales()
HEAD = "customer,timestamp,amount"


def text(rows: Rows = SALES, head: str = HEAD, sep: str = ",", form: str = "%Y-%m-%d %H:%M:%S", end: str = "\n") -> str:
    lines = [sep.join([who, at.strftime(form), str(amount)]) for who, at, amount in rows]
    return end.join([head.replace(",", sep), *lines, ""])


def german() -> str:
    lines = [f"{who};{at:%d.%m.%Y %H:%M:%S};{amount:.2f}".replace(".2f", "") for who, at, amount in SALES]
    return "\n".join(["Kunde;Datum;Betrag", *(line.rsplit(".", 1)[0] + "," + line.rsplit(".", 1)[1] for line in lines)])


def frame() -> pl.DataFrame:
    return pl.DataFrame(SALES, schema=["customer", "timestamp", "amount"], orient="row")


def parquet(rows: pl.DataFrame) -> bytes:
    to = io.BytesIO()
    rows.write_parquet(to)
    return to.getvalue()


def typed(**kinds: pl.DataType) -> bytes:
    """The sales as Parquet, columns in other types."""
    return parquet(frame().cast(kinds))


def written(line: Callable[[str, datetime, float], str], head: str = HEAD) -> str:
    """The sales, each line written in another way."""
    return "\n".join([head, *(line(*row) for row in SALES), ""])


def with_rows(*lines: str) -> str:
    return text() + "\n".join(lines) + "\n"


def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    monkeypatch.setattr(sys, "argv", ["customer360", "offline", "score", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0), "".join(capsys.readouterr())


@pytest.fixture(autouse=True)
def estimated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal days of customers are estimated once: what is tried here is how files become days."""
    from customer360.models.files import scores

    estimate = scores._estimate

    def once(past: pl.LazyFrame, *rest: Any) -> Any:
        key = (past.collect().write_ipc(None).getvalue(), *rest[-2:])
        if key not in ESTIMATES:
            ESTIMATES[key] = estimate(past, *rest)
        return ESTIMATES[key]

    monkeypatch.setattr(scores, "_estimate", once)


ESTIMATES: dict[Any, Any] = {}
Score = Callable[..., tuple[int, str, pl.DataFrame | None]]


@pytest.fixture
def score(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Score:
    def scored(content: str | bytes, name: str = "sales.csv", columns: str = "", as_of: str = "2024-07-01"):
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        out = tmp_path / "out.parquet"
        words = ["--transactions", str(tmp_path / name), "--as-of", as_of, "--out", str(out)]
        code, told = run(monkeypatch, capsys, *words, *(["--columns", columns] if columns else []))
        return code, told, pl.read_parquet(out) if out.exists() else None

    return scored


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> pl.DataFrame:
    from customer360.models.files import scores, transactions

    file = tmp_path_factory.mktemp("plain") / "sales.csv"
    file.write_text(text())
    return scores.score(transactions.read(file), AS_OF, 90).table


# name: content, file name, --columns, words that must be told
EPOCH = datetime(1970, 1, 1)
SAME: dict[str, tuple[str | bytes, str, str, str]] = {
    "as it is": (text(), "sales.csv", "", "30 customers with a purchase"),
    "semicolons": (text(sep=";"), "sales.csv", "", ""),
    "tabs": (text(sep="\t"), "sales.tsv", "", ""),
    "bars": (text(sep="|"), "sales.txt", "", ""),
    "windows ends": (text(end="\r\n"), "sales.csv", "", ""),
    "byte order mark": ("\ufeff" + text(), "sales.csv", "", ""),
    "utf-16": (text().encode("utf-16"), "sales.csv", "", ""),
    "gzipped": (gzip.compress(text().encode()), "sales.csv.gz", "", ""),
    "ISO with T and Z": (text(form="%Y-%m-%dT%H:%M:%SZ"), "sales.csv", "", ""),
    "other names": (text(head="Client ID,Order Date,Total"), "sales.csv", "", ""),
    "named columns": (text(head="wer,wann,wieviel"), "sales.csv", "customer=wer,timestamp=wann,amount=wieviel", ""),
    "no header": (text().split("\n", 1)[1], "sales.csv", "customer=1,timestamp=2,amount=3", ""),
    "german": (german(), "sales.csv", "customer=Kunde,timestamp=Datum,amount=Betrag", ""),
    "currency signs": ("\n".join([HEAD, *(f"{w},{a},£{m}" for w, a, m in SALES), ""]), "sales.csv", "", ""),
    "JSON lines": (pl.read_csv(text().encode()).write_ndjson(), "sales.jsonl", "", ""),
    "any order of rows": (text(SALES[::-1]), "sales.csv", "", ""),
    "blank lines at the end": (text() + "\n\n\n", "sales.csv", "", ""),
    "a row without a customer": (with_rows(",2024-06-01 10:00:00,5"), "sales.csv", "", "1 rows without a customer"),
    "a row without a time": (with_rows("K01,soon,5"), "sales.csv", "", "first 'soon' in row"),
    "a row without an amount": (with_rows("K01,2024-06-01 10:00:00,gift"), "sales.csv", "", "first 'gift' in row"),
    "no number": (with_rows("K01,2024-06-01 10:00:00,NaN"), "sales.csv", "", "without a readable amount"),
    "infinite": (with_rows("K01,2024-06-01 10:00:00,inf"), "sales.csv", "", "without a readable amount"),
    "beyond money": (with_rows(*["K01,2024-06-01 10:00:00,1e308"] * 2), "sales.csv", "", "with an amount beyond"),
    "free orders only": (with_rows("Z9,2024-06-01 10:00:00,0"), "sales.csv", "", "1 customers cannot be scored"),
    "returns only": (with_rows("Z9,2024-06-01 10:00:00,-5"), "sales.csv", "", "1 without a purchase above 0"),
    "who begins later": (with_rows("Z9,2024-07-09 10:00:00,5"), "sales.csv", "", "1 who begin on it or later"),
    "the future": (with_rows("K01,2024-07-09 10:00:00,9999"), "sales.csv", "", ""),
    "quantity and price": (written(lambda w, a, m: f"{w},{a},1,{m}", "customer,timestamp,quantity,price"), "sales.csv", "", ""),  # noqa: E501
    "quantity, price and names": (written(lambda w, a, m: f"{w},{a},2,{m / 2}", "Client,Date,Qty,Unit Price"), "sales.csv", "", ""),  # noqa: E501
    "epochs": (written(lambda w, a, m: f"{w},{(a - EPOCH).total_seconds():.0f},{m}"), "sales.csv", "", ""),
    "epochs in milliseconds": (written(lambda w, a, m: f"{w},{(a - EPOCH).total_seconds() * 1e3:.0f},{m}"), "sales.csv", "", ""),  # noqa: E501
    "quoted cells": (written(lambda w, a, m: f'"{w}","{a}","{m}"'), "sales.csv", "", ""),
    "names with signs": (text(head="CUSTOMER_ID,ORDER-DATE,Total Amount"), "sales.csv", "", ""),
    "parquet": (typed(), "sales.parquet", "", ""),
    "parquet of decimals and categories": (
        typed(customer=pl.Categorical(), amount=pl.Decimal(12, 2)), "sales.pq", "", ""),
    "parquet in nanoseconds with a zone": (typed(timestamp=pl.Datetime("ns", "UTC")), "sales.parquet", "", ""),
    "day first": (text(form="%d/%m/%Y %H:%M:%S"), "sales.csv", "", ""),
    "month first": (text(form="%m/%d/%Y %H:%M:%S"), "sales.csv", "", ""),
    "fractions of seconds": (text(form="%Y-%m-%d %H:%M:%S.000"), "sales.csv", "", ""),
    "an offset of zero": (text(form="%Y-%m-%dT%H:%M:%S+00:00"), "sales.csv", "", ""),
    "minutes": (text([(w, a.replace(second=0), m) for w, a, m in SALES], form="%Y-%m-%d %H:%M"), "sales.csv", "", ""),
    "codes of a currency": (written(lambda w, a, m: f"{w},{a},EUR {m}"), "sales.csv", "", ""),
    "a currency behind": (written(lambda w, a, m: f"{w},{a},{m} €"), "sales.csv", "", ""),
    "a row number in front": (
        "\n".join([f",{HEAD}", *(f"{n},{w},{a},{m}" for n, (w, a, m) in enumerate(SALES)), ""]), "sales.csv", "", ""),
    "a total at the end": (with_rows("Total,,123456.00"), "sales.csv", "", "1 rows without a readable timestamp"),
    "two exports in one": (with_rows(HEAD), "sales.csv", "", "first 'timestamp' in row"),
    "another code page": (
        written(lambda w, a, m: f"{w},{a},{m},Café", HEAD + ",where").encode("cp1252"), "sales.csv", "", ""),
    "gzipped JSON lines": (gzip.compress(pl.read_csv(text().encode()).write_ndjson().encode()), "s.jsonl.gz", "", ""),
    "a return in brackets": (with_rows("K01,2024-06-01 10:00:00,(5.00)"), "sales.csv", "", "1 other returns"),
    "blanks around": (written(lambda w, a, m: f" {w} , {a} , {m} ", "customer , timestamp , amount"), "sales.csv", "", ""),  # noqa: E501
    "days of a spreadsheet": (
        written(lambda w, a, m: f"{w},{(a - datetime(1899, 12, 30)) / timedelta(days=1):.8f},{m}"), "sales.csv", "",
        "are read as the days of a spreadsheet"),
    "one array of objects": (
        frame().with_columns(pl.col("timestamp").cast(pl.String)).write_json(), "sales.json", "", ""),
    "parquet by another name": (typed(), "sales.csv", "", ""),
    "words for nobody": (
        with_rows(*(f"{word},2024-06-01 10:00:00,5" for word in ("NULL", "n/a", "None", "-"))), "sales.csv", "",
        "4 rows without a customer"),
    "the year 1900": (with_rows("K01,1900-01-01 00:00:00,5"), "sales.csv", "", "others (first 1900-01-01) left out"),
    "the end of all days": (with_rows("K01,9999-12-31 00:00:00,5"), "sales.csv", "", "(first 9999-12-31) left out"),
    "day and half": (text(form="%m/%d/%Y %I:%M:%S %p"), "sales.csv", "", ""),
    "twice the same column": (written(lambda w, a, m: f"{w},{a},{m},{m}", HEAD + ",amount"), "sales.csv", "", ""),
    "a line in a cell": (written(lambda w, a, m: f'{w},{a},{m},"left\nright"', HEAD + ",note"), "sales.csv", "", ""),
    "powers of ten": (written(lambda w, a, m: f"{w},{a},{m:e}"), "sales.csv", "", ""),
    "columns that nobody asked for": (
        "\n".join(f"{line},x" for line in text().strip().split("\n")), "sales.csv", "", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(SAME))
def test_it_is_scored_as_the_plain_file_is(name: str, score: Score, plain: pl.DataFrame) -> None:
    content, file, columns, words = SAME[name]
    code, told, table = score(content, file, columns)
    assert code == 0 and table is not None, told
    assert words in told and "Traceback" not in told
    assert table.select(COLUMNS[0]).equals(plain.select(COLUMNS[0]))
    for column in COLUMNS[1:]:
        assert table[column].to_numpy() == pytest.approx(plain[column].to_numpy(), rel=1e-6), column


ENDED = [row for row in SALES if row[1] < datetime(2024, 4, 20)]
REFUSED: dict[str, tuple[str | bytes, str, str, str]] = {
    "ends early": (text(ENDED), "sales.csv", "", "days before --as-of 2024-07-01"),
    "nothing in it": ("", "sales.csv", "", "empty"),
    "a header and no rows": (HEAD + "\n", "sales.csv", "", "no rows"),
    "all on or after the date": (text([(w, a + timedelta(days=400), m) for w, a, m in SALES]), "sales.csv", "", "nobody bought before 2024-07-01"),  # noqa: E501
    "returns alone": (text([(w, a, -m) for w, a, m in SALES]), "sales.csv", "", "no row of the file is a purchase"),
    "free alone": (text([(w, a, 0.0) for w, a, _ in SALES]), "sales.csv", "", "no row of the file is a purchase"),
    "no amount": (text(head="customer,timestamp,colour"), "sales.csv", "", "no column for amount"),
    "no customer": (text(head="colour,timestamp,amount"), "sales.csv", "", "no column for customer"),
    "a column that is not there": (text(), "sales.csv", "amount=Total", "not Total"),
    "no mapping": (text(), "sales.csv", "amount", "is no mapping"),
    "a mapping of another thing": (text(), "sales.csv", "shop=amount", "shop is none of"),
    "no time": (text(form="week %U"), "sales.csv", "", "no time can be read"),
    "a sheet": (b"PK\x03\x04", "sales.xlsx", "", "give .csv"),
    "no parquet": (b"PAR0 nothing", "sales.parquet", "", "cannot be read"),
    "two columns": ("customer,amount\nK01,5\n", "sales.csv", "", "no column for timestamp"),
    "a page": ("<!doctype html>\n<html><body>Sign in</body></html>\n", "sales.csv", "", "no column for"),
    "any bytes": (bytes(range(256)) * 20, "sales.csv", "", ""),
    "broken JSON": ('{"customer": "K01", "timest', "sales.jsonl", "", "cannot be read"),
    "JSON of other things": ('{"a": 1}\n{"a": 2}\n', "sales.jsonl", "", "no column for customer"),
    "nobody's": (written(lambda w, a, m: f",{a},{m}"), "sales.csv", "", "without a customer"),
    "never": (written(lambda w, a, m: f"{w},,{m}"), "sales.csv", "", ""),
    "words for amounts": (written(lambda w, a, m: f"{w},{a},much"), "sales.csv", "", "much"),
    "one column for two things": (text(), "sales.csv", "customer=customer,amount=customer", "K"),
    "more cells than columns": (with_rows("K01,2024-06-01 10:00:00,5,6,7"), "sales.csv", "", ""),
    "a sheet by another name": (b"PK\x03\x04 xl/workbook.xml", "sales.csv", "", "export its sheet as CSV"),
    "compressed by another name": (gzip.compress(text().encode()), "sales.csv", "", "name it sales.csv.gz"),
    "utf-16 without its mark": (text().encode("utf-16-le"), "sales.csv", "", "save it as UTF-8"),
    "lists for amounts": (parquet(frame().with_columns(pl.concat_list("amount"))), "sales.parquet", "", "one text or number, not such as [["),  # noqa: E501
    "yes and no for amounts": (parquet(frame().with_columns(pl.col("amount") > 5)), "sales.parquet", "", "column amount: each row needs"),  # noqa: E501
    "objects for customers": (frame().with_columns(customer=pl.struct("customer")).write_ndjson(), "sales.jsonl", "", "column customer: each"),  # noqa: E501
    "digits of another script": (
        written(lambda w, a, m: f"{w},{a},{m}".translate({48 + n: 0x660 + n for n in range(10)})), "sales.csv", "",
        "no time can be read"),
    "ends early but for one row": (
        text(ENDED) + "K01,9999-12-31 00:00:00,5\n", "sales.csv", "", "days before --as-of 2024-07-01"),
    "broken gzip": (gzip.compress(text().encode())[:200], "sales.csv.gz", "", "cannot be read"),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_it_is_refused_in_one_line(name: str, score: Score) -> None:
    content, file, columns, words = REFUSED[name]
    code, told, table = score(content, file, columns)
    assert code == 2 and table is None, told
    assert words in told and "Traceback" not in told and len(told.strip().split("\n")) <= 2, told


def test_what_changes_scores_is_told(score: Score, plain: pl.DataFrame) -> None:
    who, at, amount = next(row for row in SALES if row[0] == "K10")
    rows = [(w, a, m * 2500 if (w, a) == (who, at) else m) for w, a, m in SALES]
    _, told, table = score(text(rows))
    assert f"warning: 1 purchases are far above all that is usual ({who} on {at:%Y-%m-%d}: {amount * 2500:,.2f}" in told
    assert table is not None
    others = table.join(plain, on="customer_id", suffix="_plain").filter(pl.col("customer_id") != who)
    assert (others["clv"] / others["clv_plain"]).to_numpy() == pytest.approx(np.ones(others.height), abs=0.03)

    _, told, table = score(text(SALES + SALES[:40]))
    assert "40 of" in told and "are equal to another one in customer, time and amount" in told
    _, told, table = score(text([row for row in SALES if not datetime(2024, 4, 1) < row[1] < datetime(2024, 4, 25)]))
    assert "no sale from 2024-0" in told and "if the file lacks them, add them" in told


@pytest.mark.parametrize("way", ["same", "link", "kind", "folder", "nowhere"])
def test_a_result_that_cannot_go_there_is_refused_before_any_work(
    way: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "sales.csv"
    file.write_text(text())
    (tmp_path / "link.csv").symlink_to(file)
    (tmp_path / "folder.csv").mkdir()
    out = {"same": file, "link": tmp_path / "link.csv", "kind": tmp_path / "o.xlsx", "folder": tmp_path / "folder.csv",
           "nowhere": file / "o.csv"}[way]  # fmt: skip
    monkeypatch.setattr("customer360.models.files.transactions.read", lambda *_: pytest.fail("read before checking"))
    code, told = run(monkeypatch, capsys, "--transactions", str(file), "--as-of", "2024-07-01", "--out", str(out))
    assert code == 2 and told.startswith("error: ") and told.count("\n") == 1
    assert file.read_text() == text()
