"""A retailer's own transaction file as days of customers: what the models read, without a lake.

A file has a customer, a timestamp and an amount a row, and may name the invoice and the item. Every row is a line of a
sale (amount above 0) or of a return (below 0). A purchase is a customer's day with a sale; its value is what was sold,
returns not deducted, but a sale that a later return of the same customer, item and amount undoes whole never took
place.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from customer360.models.files import columns as places
from customer360.models.files import reading
from customer360.platform.errors import ModelError
from customer360.platform.sources.values import NULLS, amounts, timestamps

REQUIRED, OPTIONAL = ("customer", "timestamp", "amount"), ("invoice", "item")
FACTORS = ("quantity", "price")  # of an amount that the file lacks
NAMES: dict[str, tuple[str, ...]] = {  # lower case, without blanks and signs; the first that the file has is taken
    "customer": (
        "customer", "customerid", "customerno", "customernumber", "clientid", "client", "userid", "user", "memberid",
    ),
    "timestamp": (
        "timestamp", "datetime", "invoicedate", "orderdate", "purchasedate", "transactiondate", "date", "time", "ts",
    ),
    "amount": (
        "amount", "revenue", "total", "totalamount", "grossamount", "netamount", "sales", "spend", "value", "dollars",
    ),
    "invoice": (
        "invoice", "invoiceno", "invoiceid", "order", "orderid", "orderno", "transaction", "transactionid", "receipt",
    ),
    "item": ("item", "itemid", "product", "productid", "sku", "stockcode", "article"),
    "quantity": ("quantity", "qty", "units"),
    "price": ("price", "unitprice"),
}  # fmt: skip
LARGEST = 1e12  # an amount: sums of larger ones lose their cents, and those of the largest are infinite
FAR_YEARS = 10  # without a row in between: on the other side may lie dates that stand for none
FEW = 0.01  # of the rows: so many are mistyped or stand for none
FIRST_SALE, LAST_SALE = date(1980, 1, 1), date(2079, 12, 31)  # that a file plausibly holds beside others far away
UNUSED_COUNTS = ("session_count", "view_count", "search_count", "cart_add_count", "store_order_count",
                 "online_order_count", "mobile_order_count")  # fmt: skip


@dataclass(frozen=True)
class Transactions:
    """Lines of a file (`customer` as text, `at`, `amount`, and where known `invoice`, `item`), sentences on what was
    left out, and the type that the file gives its customers.
    """

    lines: pl.DataFrame
    notes: tuple[str, ...]
    customer_type: pl.DataType


def read(file: Path, columns: Mapping[str, str] | None = None) -> Transactions:
    """Read a CSV (also gzipped), Parquet or JSON-lines file. `columns` maps our names to the file's; others are found
    by their usual names, or by what they hold where there is no header. Raises SourceError: no such file, or a column
    of which nothing can be read; ModelError: a column is not found, or no row can be used.
    """
    rows = reading.frame(file, columns)
    if rows.is_empty():
        raise ModelError(f"{file} has a header and no rows")
    remarks: list[str] = []
    if not columns and reading.by_place(rows.columns):
        columns = places.transactions(rows, remarks.append)
    chosen = _chosen(rows.columns, columns or {}, file)
    for column in chosen.values():
        reading.require_flat(rows[column], file)
    at = timestamps.read(rows[chosen["timestamp"]], f"{file}, column {chosen['timestamp']}", remarks.append)
    lines = rows.select(
        customer=_text(rows, chosen["customer"]),
        at=at,
        amount=_amount(rows, chosen, file, remarks.append),
        **{name: _text(rows, chosen[name]) for name in OPTIONAL if name in chosen},
    )
    usable, notes = _usable(lines, _examples(rows, lines, chosen))
    if usable.is_empty():
        raise ModelError(f"{file}: none of {rows.height} rows can be used: {'; '.join(notes)}")
    return Transactions(usable, (*remarks, *notes), _customer_type(rows[chosen["customer"]], file))


def mapping(text: str) -> dict[str, str]:
    """`customer=CustomerID,amount=Total` as a dictionary. Raises ModelError where a part is no pair."""
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    wrong = [name for name, sign, column in pairs if not (name.strip() and sign and column.strip())]
    if wrong:
        raise ModelError(f"'{text}' is no mapping: write customer=COLUMN,timestamp=COLUMN (wrong: {', '.join(wrong)})")
    return {name.strip(): column.strip() for name, _, column in pairs}


def days(lines: pl.DataFrame) -> pl.LazyFrame:
    """Days of customers with the columns of `silver.subject_days` that features read; one row per customer and day."""
    sale, back = pl.col("amount") > 0, pl.col("amount") < 0
    receipts = pl.col("invoice").filter(sale).n_unique() if "invoice" in lines.columns else sale.any()
    things = pl.col("item").filter(sale).n_unique() if "item" in lines.columns else sale.sum()
    return (
        lines.lazy()
        .sort("customer", "at", "amount")  # amounts are added in one order, in whatever order the file has them
        .group_by(person_id="customer", on=pl.col("at").dt.date(), maintain_order=True)
        .agg(
            order_count=pl.when(sale.any()).then(receipts.cast(pl.Int64)).otherwise(0),
            item_count=things.cast(pl.Int64),
            unit_count=sale.sum().cast(pl.Int64),
            return_count=back.any().cast(pl.Int64),
            gross_amount=pl.col("amount").filter(sale).sum(),
            net_amount=pl.col("amount").sum(),
            discount_amount=pl.lit(0.0),
            **{name: pl.lit(0, pl.Int64) for name in UNUSED_COUNTS},
        )
    )


def _chosen(found: list[str], wanted: Mapping[str, str], file: Path) -> dict[str, str]:
    """Our name to the file's column."""
    unknown = sorted(set(wanted) - {*NAMES})
    absent = sorted(name for name in wanted.values() if name not in found)
    if unknown or absent:
        raise ModelError(
            f"{file} has the columns {', '.join(found)}; "
            + (f"not {', '.join(absent)}" if absent else f"{', '.join(unknown)} is none of {', '.join(NAMES)}")
        )
    plain = {reading.plain(name): name for name in reversed(found)}
    usual = {ours: next((plain[n] for n in names if n in plain), None) for ours, names in NAMES.items()}
    chosen = {ours: name for ours, name in {**usual, **wanted}.items() if name is not None}
    computed = all(name in chosen for name in FACTORS)
    missing = [name for name in REQUIRED if name not in chosen and not (name == "amount" and computed)]
    if missing:
        raise ModelError(
            f"{file} has no column for {', '.join(missing)}; it has {', '.join(found)}. "
            f"Name it: --columns {','.join(f'{name}=COLUMN' for name in missing)}"
        )
    return chosen


def _amount(rows: pl.DataFrame, chosen: Mapping[str, str], file: Path, tell: Callable[[str], None]) -> pl.Series:
    """The amount, or quantity times price of a file without one: both written with the decimal sign that either
    tells."""
    names = [chosen[name] for name in (("amount",) if "amount" in chosen else FACTORS)]
    sign = next((sign for sign in map(amounts.decimal_sign, (rows[name] for name in names)) if sign), None)
    first, *rest = (amounts.read(rows[name], f"{file}, column {name}", tell, sign) for name in names)
    return first * rest[0] if rest else first


def _examples(rows: pl.DataFrame, lines: pl.DataFrame, chosen: Mapping[str, str]) -> dict[str, str]:
    """The first value of a column that no time, or no amount, could be read from: `'oops' in row 5`, empty where
    none."""
    found = {}
    for name, columns in (("at", ("timestamp",)), ("amount", ("amount",) if "amount" in chosen else FACTORS)):
        unread = lines[name].is_null() | (lines[name].is_nan() if name == "amount" else False)
        place = unread.arg_max() if unread.any() else None
        values = [rows[chosen[column]][place] for column in columns] if place is not None else []
        found[name] = f" (first {', '.join(map(repr, values))} in row {place + 1})" if place is not None else ""
    return found


def _text(rows: pl.DataFrame, column: str) -> pl.Series:
    values = rows[column].cast(pl.String).str.strip_chars()
    return values.set(values.str.to_lowercase().is_in(["", *NULLS]).fill_null(False), None)


def _usable(lines: pl.DataFrame, examples: Mapping[str, str]) -> tuple[pl.DataFrame, tuple[str, ...]]:
    notes: list[str] = []

    def drop(rows: pl.DataFrame, unusable: pl.Expr, why: str) -> pl.DataFrame:
        kept = rows.filter(~unusable)
        if kept.height < rows.height:
            notes.append(f"{rows.height - kept.height:,} rows {why}")
        return kept

    rows = drop(lines, pl.col("customer").is_null(), "without a customer left out")
    rows = drop(rows, pl.col("at").is_null(), f"without a readable timestamp left out{examples['at']}")
    far = _far(rows["at"])
    shown = f" (first {far[0]})" if len(far) else ""
    rows = drop(
        rows,
        pl.col("at").dt.date().is_in(far.implode()),
        f"more than {FAR_YEARS} years from all others{shown} left out: such dates stand for none",
    )
    notes += _gaps(rows["at"])
    rows = drop(
        rows,
        pl.col("amount").is_null() | ~pl.col("amount").is_finite(),
        f"without a readable amount (such as 1234.56) left out{examples['amount']}",
    )
    rows = drop(
        rows, pl.col("amount").abs() > LARGEST, f"with an amount beyond {LARGEST:,.0f} left out: it is none of money"
    )
    if {"invoice", "item"} <= set(rows.columns):
        folded = rows.unique(maintain_order=True)
        if folded.height < rows.height:
            notes.append(f"{rows.height - folded.height:,} rows equal to another of their invoice folded")
        rows = folded
    rows = rows.sort("at", maintain_order=True)
    undone = _undone(rows)
    if undone.height:
        rows = rows.with_row_index("line").join(undone, on="line", how="anti").drop("line")
        notes.append(f"{undone.height // 2:,} sales undone whole by a later return left out with it")
    returns = int((rows["amount"] < 0).sum())
    if returns:
        notes.append(f"{returns:,} other returns are not deducted from what was sold")
    return rows, tuple(notes)


def _far(at: pl.Series) -> pl.Series:
    """Days more than `FAR_YEARS` from all others that stand for none (1900-01-01, 9999-12-31 and the like): a day
    alone, days outside the years of sales, and days of few rows. What is of two systems, years apart, stays; where
    nothing would stay, the part with the most days does.
    """
    parts = _parts(at)
    found = parts.group_by("part").agg(
        pl.len().alias("days"), pl.col("count").sum(), first=pl.col("day").min(), last=pl.col("day").max()
    )
    if found.height < 2:
        return parts["day"].head(0)
    is_none = (
        (pl.col("days") == 1)
        | (pl.col("last") < FIRST_SALE)
        | (pl.col("first") > LAST_SALE)
        | (pl.col("count") < FEW * pl.col("count").sum())
    )
    kept = found.filter(~is_none)
    if kept.is_empty():
        kept = found.sort("days", "count", "part").tail(1)
    return parts.join(kept, on="part", how="anti")["day"]


def _gaps(at: pl.Series) -> list[str]:
    """What to say of a file that has years without a row, and rows on both sides."""
    ends = _parts(at).group_by("part").agg(first=pl.col("day").min(), last=pl.col("day").max()).sort("part")
    gaps = zip(ends["last"][:-1], ends["first"][1:], strict=True)
    return [f"no row between {last} and {first}: if one side is mistyped, leave it out" for last, first in gaps]


def _parts(at: pl.Series) -> pl.DataFrame:
    """Days in order with their rows (`day`, `count`); a new `part` begins after `FAR_YEARS` without a row."""
    days = at.dt.date().alias("day").value_counts().sort("day")
    apart = pl.col("day").diff().dt.total_days().fill_null(0) > FAR_YEARS * 365
    return days.with_columns(part=apart.cum_sum())


def _undone(rows: pl.DataFrame) -> pl.DataFrame:
    """Places (`line`) of sales and of the later returns that undo them: same customer, item and amount, the first
    return undoing the first sale. Of customers who would be left without a sale none: they are known, and are scored.
    """
    key = ["customer", "size", *(["item"] if "item" in rows.columns else [])]
    numbered = rows.with_row_index("line").with_columns(size=pl.col("amount").abs().round(2), back=pl.col("amount") < 0)
    turn = numbered.with_columns(turn=pl.int_range(pl.len()).over([*key, "back"]))
    sold, back = turn.filter(~pl.col("back") & (pl.col("amount") > 0)), turn.filter("back")
    pairs = sold.join(back, on=[*key, "turn"], suffix="_back").filter(pl.col("at") <= pl.col("at_back"))
    others = sold.join(pairs, on="line", how="anti").select("customer")
    pairs = pairs.join(others, on="customer", how="semi")
    return pl.concat([pairs.select("line"), pairs.select(line="line_back")])


def _customer_type(values: pl.Series, file: Path) -> pl.DataType:
    """The file's own type; of a CSV, integers where every name is one written the usual way."""
    if values.dtype != pl.String or file.name.lower().endswith((".parquet", ".pq", ".jsonl", ".ndjson", ".json")):
        return values.dtype
    usual = values.drop_nulls().str.strip_chars().str.contains(r"^(0|[1-9]\d{0,17})$|^$").all()
    return pl.Int64() if usual else pl.String()
