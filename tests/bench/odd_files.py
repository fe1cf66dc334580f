"""Forty odd files of transactions and interactions: `python tests/bench/odd_files.py [--only WORD]`.

Each is a shop of 120 customers, spoilt in one way, given to `customer360 offline score` or `offline recommend` as its
users would. A file passes where it is answered as the whole one would be (and what was done is said, where something
was), or refused in one line that names the fault. A traceback, a silent loss or a number that is none fails it.
"""

# ruff: noqa: E501
from __future__ import annotations

import argparse
import gzip
import io
import re
import sys
import tempfile
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from conditions import conditions
from typer.testing import CliRunner

from customer360.platform.errors import Customer360Error
from customer360.serve.cli import app

AS_OF = date(2024, 7, 1)


def shop(people: int = 120, length: int = 500, seed: int = 0) -> pl.DataFrame:
    """Rows `customer`, `timestamp` (text), `amount`, `item`; sorted by time."""
    rng = np.random.default_rng(seed)
    rows = [
        (f"c{person:03}", datetime(2024, 6, 30, 12) - timedelta(days=int(day), seconds=int(rng.integers(40_000))),
         round(float(rng.lognormal(3.5, 0.5)), 2), f"i{int(rng.integers(30)) * int(rng.integers(1, 3)):02}")
        for person in range(people) for day in rng.choice(length, int(rng.integers(1, 12)), replace=False)
    ]  # fmt: skip
    frame = pl.DataFrame(rows, schema=["customer", "timestamp", "amount", "item"], orient="row").sort("timestamp")
    return frame.with_columns(pl.col("timestamp").dt.strftime("%Y-%m-%d %H:%M:%S"))


Bytes = Callable[[pl.DataFrame], bytes]


class Odd(NamedTuple):
    """A file by its bytes, what is asked of it, and what is expected: exit code, and a pattern of what is said."""

    name: str
    content: Bytes
    ending: str = "csv"
    code: int = 0
    said: str = ""
    command: str = "score"
    options: tuple[str, ...] = ()
    same: bool = False  # scores are those of the whole file


def csv(frame: pl.DataFrame, separator: str = ",") -> bytes:
    return frame.write_csv(separator=separator).encode()


def changed(*columns: pl.Expr) -> Bytes:
    return lambda f: csv(f.with_columns(*columns))


def kept(*conditions: pl.Expr | bool) -> Bytes:
    return lambda f: csv(f.filter(*conditions))


def parquet(frame: pl.DataFrame) -> bytes:
    buffer = io.BytesIO()
    frame.with_columns(pl.col("timestamp").str.to_datetime(time_zone="UTC")).write_parquet(buffer)
    return buffer.getvalue()


def at(form: str) -> pl.Expr:
    return pl.col("timestamp").str.to_datetime().dt.strftime(form).alias("timestamp")


def every(rows: int, then: pl.Expr, name: str) -> pl.Expr:
    return pl.when(pl.int_range(pl.len()) % rows == 7).then(then).otherwise(pl.col(name)).alias(name)


def days(back: int) -> str:
    return str(AS_OF - timedelta(days=back))


MOMENT, SINCE = pl.col("timestamp").str.to_datetime(), datetime(1899, 12, 30)
PLAIN = pl.col("amount").round(2).cast(pl.String)
CASES = (
    Odd("byte order mark, semicolons, decimal commas", lambda f: b"\xef\xbb\xbf" + csv(f.with_columns(PLAIN.str.replace(r"\.", ",")), ";"), same=True),
    Odd("UTF-16", lambda f: csv(f).decode().encode("utf-16"), same=True),
    Odd("tabs", lambda f: csv(f, "\t"), "tsv", same=True),
    Odd("gzip", lambda f: gzip.compress(csv(f)), "csv.gz", same=True),
    Odd("Parquet with a time zone", parquet, "parquet", same=True),
    Odd("JSON lines", lambda f: f.write_ndjson().encode(), "jsonl", same=True),
    Odd("Windows line ends, quotes around all", lambda f: f.write_csv(quote_style="always", line_terminator="\r\n").encode(), same=True),
    Odd("names in Spanish", lambda f: csv(f.rename({"customer": "cliente", "timestamp": "fecha", "amount": "importe"})), options=("--columns", "customer=cliente,timestamp=fecha,amount=importe"), same=True),
    Odd("names in Spanish, not mapped", lambda f: csv(f.rename({"customer": "cliente", "timestamp": "wann", "amount": "importe"})), code=2, said="has no column for .*timestamp"),
    Odd("no header", lambda f: f.drop("item").write_csv(include_header=False).encode(), options=("--columns", "customer=1,timestamp=2,amount=3"), same=True),
    Odd("day first dates", changed(at("%d/%m/%Y %H:%M:%S")), same=True),
    Odd("month first dates", changed(at("%m/%d/%Y %H:%M:%S")), same=True),
    Odd("epochs in milliseconds", changed(MOMENT.dt.epoch("ms").alias("timestamp")), same=True),
    Odd("days of a spreadsheet", changed(((MOMENT - SINCE).dt.total_seconds() / 86400).round(6).alias("timestamp")), same=True),
    Odd("currency signs and thousands", changed(pl.format("${}", PLAIN)), same=True),
    Odd("amounts in parentheses", changed(every(20, pl.format("({})", PLAIN), "amount")), said="return"),
    Odd("infinite and no numbers", changed(every(50, pl.lit("inf"), "amount")), said="without a readable amount|beyond"),
    Odd("an amount of 1e308", changed(every(800, pl.lit(1e308), "amount")), said="left out"),
    Odd("words among the amounts", changed(every(30, pl.lit("n/a"), "amount")), said="without a readable amount|amount"),
    Odd("words among the times", changed(every(30, pl.lit("soon"), "timestamp")), said="without a readable timestamp"),
    Odd("all amounts are 0", changed(pl.lit(0).alias("amount")), code=2, said="no row of the file is a purchase"),
    Odd("only returns", changed(-pl.col("amount")), code=2, said="no row of the file is a purchase"),
    Odd("no bytes", lambda f: b"", code=2, said="empty|no rows|no column|nothing"),
    Odd("a header and no rows", lambda f: csv(f.head(0)), code=2, said="no rows"),
    Odd("one customer", kept(pl.col("customer") == "c003"), said="warning: .*scored by"),
    Odd("one purchase", lambda f: csv(f.head(1)), options=("--as-of", "2023-02-18"), said="purchase rates|alone"),
    Odd("all on one day", changed(pl.lit("2024-06-30 10:00:00").alias("timestamp")), said="warning"),
    Odd("a date before the file", csv, code=2, options=("--as-of", "2020-01-01"), said="nobody bought before"),
    Odd("the file ends early", kept(pl.col("timestamp") < days(70)), code=2, said="the file ends on"),
    Odd("three months are missing", kept(~pl.col("timestamp").is_between(pl.lit(days(250)), pl.lit(days(160)))), said="no sale from|no row between"),
    Odd("every row twice", lambda f: csv(pl.concat([f.drop("item")] * 2)), said="equal to another"),
    Odd("a typing error of x 2,500", changed(every(2000, pl.col("amount") * 2500, "amount")), said="far above all that is usual"),
    Odd("customers are whole floats", changed(pl.format("{}.0", pl.col("customer").str.slice(1).cast(pl.Int64)).alias("customer"))),
    Odd("a third without a customer", changed(pl.when(pl.int_range(pl.len()) % 3 == 0).then(None).otherwise("customer").alias("customer")), said="without a customer"),
    Odd("dates far in the future", changed(every(40, pl.lit("2999-01-01 00:00:00"), "timestamp")), said="far|years|left out"),
    Odd("the output is the input", csv, code=2, options=("--out", "{in}"), said="input|same"),
    Odd("an output nobody may write", csv, code=2, options=("--out", "/proc/none/scores.csv"), said="."),
    Odd("an output of no known kind", csv, code=2, options=("--out", "scores.docx"), said="parquet"),
    Odd("no date", csv, code=2, options=("--as-of", "yesterday-ish"), said="yesterday-ish"),
    Odd("a horizon of ten years", csv, options=("--horizon", "3650"), said="warning"),
    Odd("recommend: who has what nobody else has", changed(pl.when(pl.col("customer") < "c010").then(pl.format("only-{}", "customer")).otherwise("item").alias("item")), command="recommend"),
    Odd("recommend: stars", changed((pl.int_range(pl.len()) % 5 + 1).alias("rating")), command="recommend", said="rows below the middle"),
    Odd("recommend: views among purchases", changed(pl.when(pl.int_range(pl.len()) % 3 == 0).then(pl.lit("purchase")).otherwise(pl.lit("view")).alias("event_type")), command="recommend", said="kinds of rows"),
    Odd("recommend: reused session ids", changed((pl.int_range(pl.len()) % 40).cast(pl.String).alias("session")), command="recommend", options=("--mode", "session"), said="session"),
    Odd("recommend: items that are missing", changed(every(9, pl.lit(None, pl.String), "item")), command="recommend", said="without an item|left out"),
    Odd("recommend: one user, who has touched all", kept(pl.col("customer") == "c003"), command="recommend", said="without a list"),
    Odd("recommend: a header and no rows", lambda f: csv(f.head(0)), command="recommend", code=2, said="the file is empty"),
    Odd("recommend: a date before the file", csv, command="recommend", code=2, options=("--as-of", "2020-01-01"), said="before"),
)  # fmt: skip


def asked(odd: Odd, folder: Path) -> tuple[int, str, pl.DataFrame | None]:
    """Exit code, what was said, and the result where there is one."""
    file, out = folder / f"in.{odd.ending}", folder / "out.csv"
    file.write_bytes(odd.content(shop()))
    source = "--transactions" if odd.command == "score" else "--interactions"
    given = dict(zip(odd.options[::2], odd.options[1::2], strict=True))
    words = {source: str(file), "--as-of": str(AS_OF), "--out": str(out)} | {
        name: value.replace("{in}", str(file)) for name, value in given.items()
    }
    if odd.command == "recommend" and "--columns" not in words:
        words["--columns"] = "user=customer"
    done = CliRunner().invoke(app, ["offline", odd.command, *(w for pair in words.items() for w in pair)])
    if isinstance(done.exception, Customer360Error):  # what the command's own entry prints in one line
        return 2, f"error: {done.exception}", None
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        return 70, f"{type(done.exception).__name__}: {done.exception}", None
    return done.exit_code, done.output, pl.read_csv(out, infer_schema_length=None) if out.exists() else None


def verdict(odd: Odd, code: int, said: str, found: pl.DataFrame | None, whole: pl.DataFrame) -> str:
    """Nothing where the file passes, else what is wrong."""
    if code != odd.code:
        return f"exit {code} instead of {odd.code}: {said.strip().splitlines()[-1][:160] if said.strip() else ''}"
    if odd.said and not re.search(odd.said, said, re.DOTALL):
        return f"not said: {odd.said}"
    if code:
        return ""
    if found is None or (found.is_empty() and "without a list" not in odd.said):
        return "no result"
    numbers = found.select(pl.selectors.float())
    if numbers.width and not numbers.select(pl.all_horizontal(pl.all().is_finite()).all()).item():
        return "a number that is none"
    if odd.same and (
        found["customer_id"].to_list() != whole["customer_id"].to_list()
        or not np.allclose(found["clv"].to_numpy(), whole["clv"].to_numpy(), rtol=1e-6)
    ):
        return "other scores than those of the whole file"
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="")
    parser.add_argument("--show", action="store_true", help="what was said of each file")
    options = parser.parse_args()
    print(conditions("polars"))
    failed, chosen = 0, [odd for odd in CASES if options.only in odd.name]
    with tempfile.TemporaryDirectory() as name:
        whole = asked(Odd("whole", csv), Path(name))[2]
    for odd in chosen:
        with tempfile.TemporaryDirectory() as name:
            code, said, found = asked(odd, Path(name))
        wrong = verdict(odd, code, said, found, whole)  # type: ignore[arg-type]
        failed += bool(wrong)
        print(f"{'FAILED' if wrong else 'ok':6} {odd.name}{': ' + wrong if wrong else ''}", flush=True)
        if options.show:
            print(said)
    print(f"\n{len(chosen) - failed} of {len(chosen)} files answered or refused as they should be.")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
