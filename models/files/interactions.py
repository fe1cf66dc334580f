"""Read an interaction file of any retailer (see `files` for its kinds) to rows before one moment.

Columns `user`, `item`, `timestamp`, and where the file has them `session`, `quantity` and `item_text`. What cannot be
used is left out and counted. Identifiers come back as they were: text stays text; a CSV column of plain integers
becomes integers, as any reader would make it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl

from customer360.models.files import columns, meanings, reading
from customer360.platform.errors import SourceError
from customer360.platform.sources.values import NULLS, amounts, timestamps

OPTIONAL = ("session", "quantity", "item_text")
PLAIN_INTEGER = r"^(0|-?[1-9][0-9]{0,17})$"
# Usual names, in lower case without blanks and signs; taken where the file has no column of our own name.
USUAL: dict[str, tuple[str, ...]] = {
    "user": ("user", "userid", "customer", "customerid", "clientid", "visitorid", "memberid", "reviewerid"),
    "item": ("item", "itemid", "product", "productid", "stockcode", "sku", "movieid", "article", "articleid", "asin"),
    "timestamp": (
        "timestamp", "datetime", "invoicedate", "orderdate", "transactiondate", "eventtime", "date", "time", "ts",
    ),
    "session": ("session", "sessionid", "visitid"),
    "quantity": ("quantity", "qty", "units"),
    "item_text": ("itemtext", "description", "title", "productname", "itemname"),
}  # fmt: skip


@dataclass(frozen=True)
class Interactions:
    """`rows` before the moment: `user`, `item`, `at` (UTC), and the optional columns that the file has; in file order
    of equal times. `spanning` are the sessions that have rows on both sides of the moment; nothing else is kept of
    later rows. `left_out` counts rows by reason; `notes` are sentences on how the file was understood.
    """

    rows: pl.DataFrame
    spanning: pl.Series
    left_out: dict[str, int]
    notes: tuple[str, ...] = ()


def column_names(text: str) -> dict[str, str]:
    """`user=CustomerID,item=StockCode` as a mapping. Raises SourceError for what is no pair or no column of ours."""
    known, names = ("user", "item", "timestamp", *OPTIONAL), {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        ours, _, theirs = part.partition("=")
        if not theirs or ours.strip() not in known:
            raise SourceError(f"--columns: {part!r} is not NAME=COLUMN with NAME one of {', '.join(known)}")
        names[ours.strip()] = theirs.strip()
    return names


def read(path: Path, as_of: datetime, names: dict[str, str], owners: tuple[str, ...] = ("user",)) -> Interactions:
    """Rows of a file before `as_of`. `names` maps our columns to those of the file where they differ; the first of
    `owners` that the file has is whose rows they are, and rows without it are left out.

    Raises:
        SourceError: the file is missing or of another kind, a needed column is missing (those found are listed), no
        time
            can be read, or nothing lies before the moment.
    """
    notes: list[str] = []
    frame = reading.frame(path, names)
    if not names and reading.by_place(frame.columns):
        names = columns.interactions(frame, owners[0], notes.append)
    names = _with_usual(frame.columns, names, notes.append)
    notes += meanings.told(frame.drop(names.values(), strict=False))
    there = (name for name in owners if names.get(name, name) in frame.columns)
    needed = (next(there, owners[0]), "item", "timestamp")
    frame = _named(frame, path, names, needed)
    at = timestamps.read(frame["timestamp"], str(path), notes.append)
    unread = at.is_null() & frame["timestamp"].is_not_null()
    if unread.any():
        place = unread.to_list().index(True)
        notes.append(
            f"times that cannot be read: {unread.sum():,}, first {frame['timestamp'][place]!r} in row {place + 1}"
        )
    rows = frame.with_columns(at=at).drop("timestamp")
    left_out: dict[str, int] = {}

    def keep(reason: str, condition: pl.Expr, of: pl.DataFrame) -> pl.DataFrame:
        kept = of.filter(condition)
        if kept.height < of.height:
            left_out[reason] = of.height - kept.height
        return kept

    rows = keep("without a time", pl.col("at").is_not_null(), rows)
    for name in needed[:2]:
        rows = keep(f"without {name}", _present(rows, name), rows)
    if "quantity" in rows.columns:
        rows = rows.with_columns(quantity=_quantity(rows["quantity"], str(path), notes.append))
        rows = keep("of quantity 0", pl.col("quantity") != 0, rows)
    later = rows.filter(pl.col("at") >= as_of)
    rows = keep(f"from {as_of} on", pl.col("at") < as_of, rows)
    if rows.is_empty():
        raise SourceError(f"{path}: no usable row before {as_of}; left out: {left_out or 'nothing, the file is empty'}")
    spanning = rows["item"].head(0)
    if "session" in rows.columns:
        spanning = rows.select("session").unique().join(later.select("session").unique(), on="session")["session"]
    equal = [name for name in ("session", "user", "item", "at", "quantity") if name in rows.columns]
    distinct = rows.unique(equal, maintain_order=True, keep="first")
    if distinct.height < rows.height:
        left_out["equal to another"] = rows.height - distinct.height
    return Interactions(distinct, spanning.sort(), left_out, tuple(notes))


def without_returns(rows: pl.DataFrame) -> tuple[pl.DataFrame, int]:
    """Mark purchases that were given back: a negative quantity takes from the latest earlier purchases of the same user
    and item. Returns the positive rows with `kept` (False where nothing is left of them), and the count of returned
    rows.
    """
    if "quantity" not in rows.columns:
        return rows.with_columns(kept=pl.lit(True)), 0
    pair, negative = ["user", "item"], rows.filter(pl.col("quantity") < 0)
    if negative.is_empty():
        return rows.with_columns(kept=pl.lit(True)), 0
    placed = rows.with_row_index("place")
    involved = placed.join(negative.select(pair).unique(), on=pair, how="semi").sort("user", "item", "at", "quantity")
    gone: list[int] = []
    open_rows: list[list[float]] = []  # [place, quantity left] of the pair at hand, the latest last
    last: tuple[object, object] | None = None
    for user, item, quantity, place in involved.select("user", "item", "quantity", "place").iter_rows():
        if (user, item) != last:
            open_rows, last = [], (user, item)
        if quantity > 0:
            open_rows.append([place, quantity])
            continue
        back = -quantity
        while back > 0 and open_rows:
            taken = min(back, open_rows[-1][1])
            open_rows[-1][1] -= taken
            back -= taken
            if open_rows[-1][1] <= 0:
                gone.append(int(open_rows.pop()[0]))
    returned = pl.Series(gone, dtype=pl.get_index_type()).implode()
    marked = placed.filter(pl.col("quantity") > 0).with_columns(kept=~pl.col("place").is_in(returned))
    return marked.drop("place"), len(gone)


def _quantity(values: pl.Series, where: str, tell: Callable[[str], None]) -> pl.Series:
    """Numbers; 1 where there is none."""
    if values.null_count() == len(values):
        return pl.repeat(1.0, len(values), eager=True)
    found = amounts.read(values, f"{where}, column quantity", tell).fill_nan(None)
    unread = found.is_null() & values.is_not_null()
    if unread.any():
        first = values.filter(unread)[0]
        tell(f"{unread.sum():,} quantities that are no number (first {first!r}) count as 1")
    return found.fill_null(1.0)


def _with_usual(found: list[str], names: dict[str, str], tell: Callable[[str], None]) -> dict[str, str]:
    """`names` with the usual names that the file has for what it does not call as we do."""
    plain = {reading.plain(name): name for name in reversed(found)}
    taken, guessed = set(names.values()), {}
    for ours, usual in USUAL.items():
        if ours in names or ours in found:
            continue
        theirs = next((plain[name] for name in usual if name in plain and plain[name] not in taken), None)
        if theirs is not None:
            guessed[ours] = theirs
    if guessed:
        tell("columns taken by their usual names: " + ", ".join(f"{ours}={theirs}" for ours, theirs in guessed.items()))
    return {**names, **guessed}


def _named(frame: pl.DataFrame, path: Path, names: dict[str, str], needed: tuple[str, ...]) -> pl.DataFrame:
    """Our columns alone, under our names; identifiers in their plain type."""
    wanted = {ours: names.get(ours, ours) for ours in ("user", "item", "timestamp", *OPTIONAL)}
    missing = [
        f"{ours} (looked for {theirs!r})" if ours in names else ours
        for ours, theirs in wanted.items()
        if theirs not in frame.columns and (ours in needed or ours in names)
    ]
    if missing:
        raise SourceError(
            f"{path} lacks {', '.join(missing)}; its columns are {frame.columns}. "
            "Name yours with --columns, for example --columns user=CustomerID,item=StockCode,timestamp=InvoiceDate; "
            "of a file without a header by place: --columns user=1,item=2,timestamp=4"
        )
    there = {ours: theirs for ours, theirs in wanted.items() if theirs in frame.columns}
    for theirs in there.values():
        reading.require_flat(frame[theirs], path)
    chosen = frame.select(**{ours: pl.col(theirs) for ours, theirs in there.items()})
    identifiers = [name for name in ("user", "item", "session") if name in chosen.columns]
    return chosen.with_columns(_plain(chosen[name]) for name in identifiers)


def _plain(values: pl.Series) -> pl.Series:
    if values.dtype.is_float() and (values.drop_nulls().drop_nans() % 1 == 0).all():
        return values.fill_nan(None).cast(pl.Int64)  # an integer column with gaps, as pandas writes it
    if values.dtype in (pl.Categorical, pl.Enum):
        return values.cast(pl.String)
    if values.dtype != pl.String:
        return values
    integers = values.str.contains(PLAIN_INTEGER)
    return values.cast(pl.Int64) if integers.all() and integers.null_count() < len(integers) else values


def _present(rows: pl.DataFrame, name: str) -> pl.Expr:
    there = pl.col(name).is_not_null()
    if rows.schema[name] != pl.String:
        return there
    return there & ~pl.col(name).str.strip_chars().str.to_lowercase().is_in(["", *NULLS])
