"""Interaction files as strangers export them, from the command to the lists: each gives the lists of the plain file, or
one line says what is in the way and what to do.
"""

from __future__ import annotations

import gzip
import io
import sys
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from customer360.models.recommenders import choice, own, popular
from customer360.platform import telemetry
from customer360.serve.cli import main

EPOCH = datetime(1970, 1, 1)
Rows = list[tuple[str, str, datetime]]


def log() -> Rows:
    """Sixty users of two tastes over half a year, ten of thirty items each."""
    rng, found = np.random.default_rng(11), []
    for user in range(60):
        for item in rng.choice(30, 10, replace=False):
            at = datetime(2024, 1, 1) + timedelta(seconds=int(rng.integers(0, 182 * 86_400)))
            found.append((f"U{user:02}", f"{'ab'[user % 2]}{item:02}", at))
    return sorted(found, key=lambda row: row[2])


LOG = log()
HEAD = "user,item,timestamp"


def written(line: Callable[[str, str, datetime], str] = lambda u, i, a: f"{u},{i},{a}", head: str = HEAD) -> str:
    return "\n".join([head, *(line(*row) for row in LOG), ""])


def typed(**kinds: pl.DataType) -> bytes:
    """The log as Parquet, columns in other types."""
    to = io.BytesIO()
    pl.DataFrame(LOG, schema=["user", "item", "timestamp"], orient="row").cast(kinds).write_parquet(to)
    return to.getvalue()


def frame() -> pl.DataFrame:
    return pl.read_csv(written().encode())


Lists = Callable[..., tuple[int, str, pl.DataFrame | None]]


@pytest.fixture
def lists(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Lists:
    # The log's handler keeps the stream of the first test that configured it.
    monkeypatch.setattr(telemetry, "configure", lambda: None)
    monkeypatch.setattr(telemetry, "event", print)
    monkeypatch.setattr(choice, "FAMILIES", (popular.FAMILY, own.FAMILY, choice.FAMILIES[2]))

    def listed(content: str | bytes, name: str = "log.csv", *words: str) -> tuple[int, str, pl.DataFrame | None]:
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        out = tmp_path / "out.parquet"
        further = ["--as-of", "2024-07-01"] if "--as-of" not in words else []
        given = ["--interactions", str(tmp_path / name), "--out", str(out), "--k", "5", "--fast", *further, *words]
        monkeypatch.setattr(sys, "argv", ["customer360", "offline", "recommend", *given])
        with pytest.raises(SystemExit) as ended:
            main()
        told = "".join(capsys.readouterr())
        return int(ended.value.code or 0), told, pl.read_parquet(out) if out.exists() else None

    return listed


@pytest.fixture
def plain(lists: Lists) -> pl.DataFrame:
    code, told, table = lists(written(), "plain.csv")
    assert code == 0 and table is not None, told
    assert table.select(pl.col("user").n_unique()).item() == 60
    return table


# name: content, file name, --columns, words that must be told
SAME: dict[str, tuple[str | bytes, str, str, str]] = {
    "semicolons": (written(lambda u, i, a: f"{u};{i};{a}", HEAD.replace(",", ";")), "log.csv", "", ""),
    "tabs": (written(lambda u, i, a: f"{u}\t{i}\t{a}", HEAD.replace(",", "\t")), "log.tsv", "", ""),
    "windows ends and a mark": ("\ufeff" + written().replace("\n", "\r\n"), "log.csv", "", ""),
    "utf-16": (written().encode("utf-16"), "log.csv", "", ""),
    "gzipped": (gzip.compress(written().encode()), "log.csv.gz", "", ""),
    "usual names": (written(head="Customer ID,StockCode,InvoiceDate"), "log.csv", "", "taken by their usual names"),
    "named columns": (written(head="wer,was,wann"), "log.csv", "user=wer,item=was,timestamp=wann", ""),
    "no header": (written().split("\n", 1)[1], "log.csv", "", "no header"),
    "epochs": (written(lambda u, i, a: f"{u},{i},{(a - EPOCH).total_seconds():.0f}"), "log.csv", "", ""),
    "milliseconds": (written(lambda u, i, a: f"{u},{i},{(a - EPOCH).total_seconds() * 1e3:.0f}"), "log.csv", "", ""),
    "ISO with T and Z": (written(lambda u, i, a: f"{u},{i},{a:%Y-%m-%dT%H:%M:%SZ}"), "log.csv", "", ""),
    "day first": (written(lambda u, i, a: f"{u},{i},{a:%d/%m/%Y %H:%M:%S}"), "log.csv", "", ""),
    "parquet of categories": (typed(user=pl.Categorical(), item=pl.Categorical()), "log.parquet", "", ""),
    "parquet in nanoseconds": (typed(timestamp=pl.Datetime("ns", "UTC")), "log.pq", "", ""),
    "JSON lines": (frame().write_ndjson(), "log.jsonl", "", ""),
    "any order of rows": ("\n".join([HEAD, *(f"{u},{i},{a}" for u, i, a in LOG[::-1]), ""]), "log.csv", "", ""),
    "every row twice": ("\n".join([HEAD, *(f"{u},{i},{a}" for u, i, a in LOG * 2), ""]), "log.csv", "", "600 rows equal to another"),  # noqa: E501
    "quantities": (written(lambda u, i, a: f"{u},{i},{a},3", HEAD + ",quantity"), "log.csv", "", ""),
    "quantities, some none": (
        written(lambda u, i, a: f"{u},{i},{a},{'x' if u == 'U07' else 2}", HEAD + ",quantity"), "log.csv", "",
        "10 quantities that are no number (first 'x') count as 1"),
    "no quantities": (written(lambda u, i, a: f"{u},{i},{a},", HEAD + ",quantity"), "log.csv", "", ""),
    "a rating": (written(lambda u, i, a: f"{u},{i},{a},4.5", HEAD + ",rating"), "log.csv", "", ""),
    "a row without a user": (written() + ",a01,2024-02-02 10:00:00\n", "log.csv", "", "1 rows without user"),
    "a row without an item": (written() + "U01,,2024-02-02 10:00:00\n", "log.csv", "", "1 rows without item"),
    "a row without a time": (written() + "U01,a01,soon\n", "log.csv", "", "first 'soon'"),
    "the future": (written() + "U01,zzz,2024-09-02 10:00:00\n", "log.csv", "", "1 rows from 2024-07-01"),
    "one array of objects": (frame().write_json(), "log.json", "", ""),
    "words for nobody": (written() + "NULL,a01,2024-02-02 10:00:00\nU01,n/a,2024-02-02 10:00:00\n", "log.csv", "", "1 rows without item"),  # noqa: E501
    "days of a spreadsheet": (
        written(lambda u, i, a: f"{u},{i},{(a - datetime(1899, 12, 30)) / timedelta(days=1):.8f}"), "log.csv", "",
        "are read as the days of a spreadsheet"),
    "two exports in one": (written() + HEAD + "\n", "log.csv", "", "first 'timestamp'"),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(SAME))
def test_it_gives_the_lists_of_the_plain_file(name: str, lists: Lists, plain: pl.DataFrame) -> None:
    content, file, columns, words = SAME[name]
    code, told, table = lists(content, file, *(["--columns", columns] if columns else []))
    assert code == 0 and table is not None, told
    assert words in told and "Traceback" not in told, told
    assert (
        table.select("user", "item", "rank")
        .cast(pl.String)
        .equals(plain.select("user", "item", "rank").cast(pl.String))
    )


# name: content, file name, further words of the command, words that must be told
REFUSED: dict[str, tuple[str | bytes, str, tuple[str, ...], str]] = {
    "nothing in it": ("", "log.csv", (), "empty"),
    "a header and no rows": (HEAD + "\n", "log.csv", (), ""),
    "no item": (written(head="user,colour,timestamp"), "log.csv", (), "lacks item"),
    "a column that is not there": (written(), "log.csv", ("--columns", "item=Product"), "looked for 'Product'"),
    "no mapping": (written(), "log.csv", ("--columns", "item"), "is not NAME=COLUMN"),
    "a mapping of another thing": (written(), "log.csv", ("--columns", "shop=user"), "is not NAME=COLUMN"),
    "all on or after the date": (written(), "log.csv", ("--as-of", "2023-01-01"), "no usable row before 2023-01-01"),
    "a date that is none": (written(), "log.csv", ("--as-of", "soon"), "no date"),
    "no time": (written(lambda u, i, a: f"{u},{i},week {a:%U}"), "log.csv", (), "no time can be read"),
    "a sheet": (b"PK\x03\x04", "log.xlsx", (), "give .csv"),
    "no parquet": (b"PAR0 nothing", "log.parquet", (), "cannot be read"),
    "a sheet by another name": (b"PK\x03\x04 xl/workbook.xml", "log.csv", (), "export its sheet as CSV"),
    "lists for items": (frame().with_columns(pl.concat_list("item")).write_ndjson(), "log.jsonl", (), "column item: each row"),  # noqa: E501
    "broken gzip": (gzip.compress(written().encode())[:200], "log.csv.gz", (), "cannot be read"),
    "broken JSON": ('{"user": "U01", "it', "log.jsonl", (), "cannot be read"),
    "any bytes": (bytes(range(256)) * 20, "log.csv", (), ""),
    "a page": ("<!doctype html>\n<html><body>Sign in</body></html>\n", "log.csv", (), "lacks"),
    "nobody's": (written(lambda u, i, a: f",{i},{a}"), "log.csv", (), "without user"),
    "everything given back": (written(lambda u, i, a: f"{u},{i},{a},-1", HEAD + ",quantity"), "log.csv", (), ""),
    "quantities that are none": (
        written(lambda u, i, a: f"{u},{i},{a},x", HEAD + ",quantity"), "log.csv", (), "column quantity: no number"),
    "two ways at once": (written(), "log.csv", ("--best",), "exclude each other"),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_it_is_refused_in_one_line(name: str, lists: Lists) -> None:
    content, file, words, told_of = REFUSED[name]
    code, told, table = lists(content, file, *words)
    assert code != 0 and table is None, told
    assert told_of in told and "Traceback" not in told, told
    assert "exclude each other" in told or told.strip().split("\n")[-1].startswith("error: "), told


def test_users_who_gave_everything_back_and_newcomers_get_lists(lists: Lists) -> None:
    further = "back,a01,2024-05-01 10:00:00,1\nback,a01,2024-05-03 10:00:00,-1\nnewcomer,b02,2024-06-30 23:59:59,1\n"
    code, told, table = lists(written(lambda u, i, a: f"{u},{i},{a},1", HEAD + ",quantity") + further)
    assert code == 0 and table is not None, told
    assert {"back", "newcomer"} <= set(table["user"]) and "1 purchases were given back" in told


def test_a_catalogue_of_one_item_and_a_log_of_one_user(lists: Lists) -> None:
    for content in (
        "\n".join([HEAD, *(f"u{n},only,2024-0{1 + n % 6}-01" for n in range(40)), ""]),
        "\n".join([HEAD, *(f"alone,i{n},2024-0{1 + n % 6}-0{1 + n % 9}" for n in range(40)), ""]),
    ):
        code, told, table = lists(content, "log.csv", "--mode", "all")
        assert code == 0 and table is not None and table.height > 0, told
