"""Values against the contract, and values that keep it and are yet likely wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import polars as pl

from customer360.platform import judging, tables
from customer360.platform.sources.rehearsal.findings import Finding, Severity, examples, listed, part, without_values
from customer360.platform.sources.rehearsal.samples import FILE, Sample
from customer360.platform.sources.values import amounts
from customer360.platform.tables import READS, Column, OneOf

CLOCK = r"\d{1,2}:\d{2}"
OFFSET = r"(Z|[A-Z]{3,4}|[+-]\d{2}:?\d{2}|\]|\))\s*$"
MOJIBAKE = "[ÃÂ][\u0080-\u00bf]|â€|ï¿½|\ufffd"
ZONE_NAME = re.compile(r"(?:^|[\W_])(?:time[ _]?zone|tz)(?:$|[\W_])", re.I)
SCIENTIFIC = r"^\d(?:[.,]\d+)?[eE]\+?\d+$"
MARGIN = timedelta(days=2)  # zones and clocks of tills
PATH = re.compile(r"[\w\"\]]\.[A-Za-z_\"]|->|\[\d+\]|\bparam\s*\(", re.I)  # into nested values
PATH_ROOT, KEYS = re.compile(r"\"?(\w+)"), re.compile(r'[{,]\s*"(\w+)"\s*:')
STAND_INS, FEW = 0.2, 20  # share of one first of January among dates, and rows from which on shares tell something
INTERNATIONAL = r"^[^0-9+]*\+"  # how a number begins that names its country; 00 does so in some countries alone
CENTS = (60.0, 170.0)  # how much larger amounts are that lost their decimal sign


def refusals(sample: Sample, loss: float) -> Iterator[Finding]:
    """By column and rule: rows that would be quarantined, and values that would be null."""
    verdicts = [look.verdict for look in sample.judged if look.verdict]
    total = sample.height
    contract, key = sample.table.columns(), tables.spec(sample.table).key
    for refusing, cells in ((True, [v.failures for v in verdicts]), (False, [v.nulled for v in verdicts])):
        found = pl.concat([pl.DataFrame(schema=judging.FAILURES), *cells])
        grouped = found.group_by("column", "rule", maintain_order=True).agg(pl.len(), "value")
        for column, rule, count, values in grouped.iter_rows():
            spared = column in contract and contract[column].nullable and column not in key
            if refusing and spared:
                continue  # reasons beside the one that refuses the row
            what, do = _broken(sample, column, rule, values)
            becomes = "these rows would be quarantined" if refusing else "these values would be null"
            text = f"{part(count, total)} {what}: {becomes}"
            severity: Severity = "error" if refusing and count > loss * total else "warning"
            yield Finding(severity, sample.name, sample.said(column) if column else rule, text, do, count / total)


def _broken(sample: Sample, column: str | None, rule: str, values: list[str | None]) -> tuple[str, str]:
    """What of a rule is broken, with examples, and what to do."""
    if column is None or column not in sample.table.columns():
        return f"break the rule {rule}", ""
    contract = sample.table.columns()[column]
    common = sorted(dict.fromkeys(values), key=lambda value: -values.count(value)) if len(values) < 5_000 else values
    shown = examples(common, sample.table, column)
    such = f", such as {shown}" if shown else ""
    if rule == "nullability":
        name = "key" if column in tables.spec(sample.table).key else "value"
        return f"have no {name}", f"{column} must be there in every row; is it the right column?"
    if isinstance(contract, OneOf):
        do = f"map them by CASE, or as synonyms in the standardization rules, to {', '.join(contract.values)}"
        return f"hold values that the contract does not know{such}", do
    if rule == "type":
        kind, do = _kind(contract, column)
        return f"hold no {kind}{such}", do
    return f"break the rule {rule}{such}", ""


def _kind(contract: Column, column: str) -> tuple[str, str]:
    if contract.dtype.is_temporal():
        return "date", f"for a form of its own map it: `{column}: STRPTIME(…, '%d.%m.%Y')`; for an order, set `dates`"
    if contract.dtype.is_integer():
        return "whole number", ""
    if contract.dtype.is_numeric():
        return "number", "is it the right column? For 1.234,56 set `decimal: ','`"
    return str(contract.dtype).lower(), ""


def unreached(sample: Sample) -> Iterator[Finding]:
    """Paths into nested values that reach nothing in any row: null is what a path gives that is spelt wrongly."""
    for name, path in sample.source.mapping.items():
        if name in sample.texts.columns and PATH.search(path) and not sample.texts[name].count():
            what = f"is null in every one of {sample.texts.height:,} rows"
            look = next(look for look in sample.judged)
            root = PATH_ROOT.match(path)
            held = root and next((c for c in look.columns if c.casefold() == root[1].casefold()), None)
            first = look.records[held].drop_nulls().head(1).to_list() if held else []
            keys = KEYS.findall(str(first[0])) if first else []
            do = f"{root[1]!r} has {listed(dict.fromkeys(keys), 8)}" if keys and root else "does the path exist?"
            yield Finding("warning", sample.name, sample.said(name), what, do)


def note_findings(sample: Sample) -> Iterator[Finding]:
    """What reading assumed: orders of day and month, signs of fractions, currencies that are added."""
    first: dict[str, tuple[str, str]] = {}
    count: dict[str, int] = {}
    personal = tables.pii_columns(sample.table)
    for look in sample.judged:
        for note in look.fitted.notes if look.fitted else ():
            column, _, said = note.partition(": ")
            same = f"{column}: " + re.sub(r"'[^']*'|[\d,]+", "", said)
            first.setdefault(same, (column, without_values(said) if column in personal else said))
            count[same] = count.get(same, 0) + 1
    for same, (column, said) in first.items():
        do = "set `dates: day_first` or `month_first`" if "day and month" in said else ""
        do = "set `decimal: '.'` or `','`" if "thousands" in said else do
        files = f" (in {count[same]:,} files)" if count[same] > 1 else ""
        yield Finding("warning", sample.name, sample.said(column), said + files, do)


def time_findings(sample: Sample, now: datetime, loss: float) -> Iterator[Finding]:
    """Orders of day and month that contradict each other, times of no zone, and times that cannot be."""
    contract = sample.table.columns()
    for name, column in contract.items():
        if not column.dtype.is_temporal() or not sample.texts[name].count():
            continue
        yield from _orders(sample, name)
        if isinstance(column.dtype, pl.Datetime):
            yield from _zoneless(sample, name)
        yield from _ahead(sample, name, column, now, loss)
        yield from _impossible(sample, name, column)


def _orders(sample: Sample, name: str) -> Iterator[Finding]:
    shown: dict[str, str] = {}
    for look in sample.judged:
        for order in ("day_first", "month_first"):
            if look.fitted and look.fitted.facts.get(f"dates|{name}|{order}"):
                shown.setdefault(order, look.name)
    usual = sample.waiting.reading.usual.get(name)
    if usual and usual not in shown and shown:
        shown[usual] = "the last delivery"
    if len(shown) > 1:
        what = f"the day comes first in {shown['day_first']}, the month in {shown['month_first']}"
        yield Finding("warning", sample.name, sample.said(name), what, "make them two sources, each with its `dates`")


def _zoneless(sample: Sample, name: str) -> Iterator[Finding]:
    if sample.source.timezone or _is_placed(sample, name):
        return
    texts = sample.texts[name].drop_nulls()
    timed = texts.filter(texts.str.contains(CLOCK) & ~texts.str.contains(r"\b00:00(:00(\.0+)?)?\s*$"))
    local = timed.filter(~timed.str.contains(OFFSET))
    if len(local):
        what = f"{part(len(local), len(texts), 'times')} name no zone and are read as UTC, such as "
        what += examples(local.head(1).to_list(), sample.table, name)
        zones = next((c for look in sample.judged for c in look.columns if ZONE_NAME.search(c)), None)
        by_row = f'; where {zones} names one in each row, map it: `(…) AT TIME ZONE "{zones}"`' if zones else ""
        do = f"set `timezone`, `timezone: UTC` if they are{by_row}"
        yield Finding("warning", sample.name, sample.said(name), what, do)


def _is_placed(sample: Sample, name: str) -> bool:
    """Whether the mapping itself moves times from the zone of their place, as AT TIME ZONE does."""
    shown = sample.texts[name].str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us", strict=False)
    moved = shown != sample.rows[name].cast(pl.Datetime("us"))
    return name in sample.source.mapping and bool(moved.any())


def _ahead(sample: Sample, name: str, column: Column, now: datetime, loss: float) -> Iterator[Finding]:
    """Times after the landing of their row. Where they say when it happened, the row is refused (`quality.ahead`)."""
    moments = sample.rows[name].cast(pl.Datetime("us")).drop_nulls()
    happened = isinstance(column.dtype, pl.Datetime) and not column.nullable
    if not happened and name != tables.spec(sample.table).version:
        return
    limit = (now + MARGIN).astimezone(UTC).replace(tzinfo=None)
    future = moments.filter(moments > limit)
    if not len(future):
        return
    refusing = name in tables.spec(sample.table).past and not column.nullable
    what = f"{part(len(future), len(moments), 'values')} lie in the future, up to {future.max()!s:.10}"
    what += ": these rows would be quarantined" if refusing else ""
    severity: Severity = "error" if refusing and len(future) > loss * len(moments) else "warning"
    share = len(future) / len(moments)
    yield Finding(severity, sample.name, sample.said(name), what, "which clock wrote them?", share)


def _impossible(sample: Sample, name: str, column: Column) -> Iterator[Finding]:
    moments = sample.rows[name].cast(pl.Datetime("us")).drop_nulls()
    zero = moments.filter((moments.dt.date() == date(1970, 1, 1)) | (moments.dt.year() < 1900))
    if len(zero):
        what = f"{part(len(zero), len(moments), 'values')} are {zero[0]:%Y-%m-%d}: the zero of a clock, no date"
        yield Finding("warning", sample.name, sample.said(name), what, "map it to null")
    january = moments.filter((moments.dt.month() == 1) & (moments.dt.day() == 1))
    if len(january) and column.nullable and name != tables.spec(sample.table).version:
        common, count = january.value_counts(sort=True).row(0)
        if len(moments) >= FEW and STAND_INS * len(moments) <= count < len(moments) and not len(zero):
            what = f"{part(count, len(moments), 'values')} are the same, {common:%Y-%m-%d}: does it stand for none?"
            yield Finding("warning", sample.name, sample.said(name), what, "map it to null")


def phone_findings(sample: Sample) -> Iterator[Finding]:
    """Telephone numbers within a country that no row and no setting names."""
    contract = sample.table.columns()
    kinds = {(column.metadata or {}).get(READS): name for name, column in contract.items()}
    phones = [name for name, kind in tables.pii_columns(sample.table).items() if kind == "phone"]
    if "country" not in kinds:
        return
    for name in phones:
        rows = sample.rows.select(pl.col(name), is_placed=pl.col(kinds["country"]).is_not_null()).drop_nulls(name)
        national = rows.filter(~pl.col("is_placed") & ~pl.col(name).str.contains(INTERNATIONAL))
        if national.height:
            what = f"{part(national.height, rows.height, 'numbers')} are national and no country is known: they are "
            what += "read by `default_country` of the identity rules"
            do = f"set `country`, `country: DE` (say), or map {kinds['country']}"
            yield Finding("warning", sample.name, sample.said(name), what, do, national.height / rows.height)


def amount_findings(sample: Sample) -> Iterator[Finding]:
    """Files whose decimal sign, or whose size of amounts, is not that of the others."""
    contract = sample.table.columns()
    for name, column in contract.items():
        if not isinstance(column.dtype, pl.Decimal) or not sample.texts[name].count():
            continue
        texts = sample.texts.select(name).with_columns(sample.rows[FILE]).partition_by(FILE, as_dict=True)
        signs = {amounts.decimal_sign(part_[name]): str(file[0]) for file, part_ in reversed(texts.items())}
        if sample.source.decimal is None and "." in signs and "," in signs:
            what = f"fractions follow a point in {signs['.']}, a comma in {signs[',']}"
            yield Finding("warning", sample.name, sample.said(name), what, "values like 1.234 may be read wrongly; set `decimal` in two sources")  # fmt: skip  # noqa: E501
        yield from _cents(sample, name)
        values = sample.rows[name]
        if len(values) >= FEW and not values.null_count() and values.min() == values.max() == 0:
            what = f"is 0 in every one of {len(values):,} rows"
            yield Finding("warning", sample.name, sample.said(name), what, "is it the right column?")


def _cents(sample: Sample, name: str) -> Iterator[Finding]:
    amount = (
        sample.rows.select(FILE, value=pl.col(name).cast(pl.Float64).abs()).drop_nulls().filter(pl.col("value") > 0)
    )
    files = amount.group_by(FILE, maintain_order=True).agg(
        pl.len(), middle=pl.col("value").median(), whole=(pl.col("value") % 1 == 0).all()
    )
    files = files.filter(pl.col("len") >= FEW)
    broken = files.filter(~pl.col("whole"))["middle"].median()
    if broken is None:
        return
    for row in files.filter("whole").iter_rows(named=True):
        times = row["middle"] / broken
        if CENTS[0] <= times <= CENTS[1]:
            what = f"{row[FILE]} has whole numbers alone, about {times:.0f} times those of other files: cents?"
            yield Finding("warning", sample.name, sample.said(name), what, "divide by 100 in a source of its own")


def text_findings(sample: Sample) -> Iterator[Finding]:
    """Columns that hold something else than they are called: no e-mail addresses, cut ids, text decoded twice."""
    contract, personal = sample.table.columns(), tables.pii_columns(sample.table)
    for name, column in contract.items():
        texts = sample.texts[name].drop_nulls()
        if not len(texts):
            continue
        broken = texts.filter(texts.str.contains(MOJIBAKE))
        if len(broken):
            what = f"{part(len(broken), len(texts), 'values')} were decoded as another encoding than they are in"
            yield Finding("warning", sample.name, sample.said(name), what, "set `encoding`, or have it exported as UTF-8")  # fmt: skip  # noqa: E501
        if (column.metadata or {}).get(READS) == "id":
            cut = texts.filter(texts.str.contains(SCIENTIFIC))
            if len(cut):
                what = f"{part(len(cut), len(texts), 'ids')} are in scientific form, such as "
                what += examples(cut.head(1).to_list(), sample.table, name) + ": a spreadsheet cut their digits (E+)"
                yield Finding("warning", sample.name, sample.said(name), what, "export the column as text")
        if personal.get(name) == "email":
            other = texts.filter(~texts.str.contains("@", literal=True))
            if len(other) > STAND_INS * len(texts):
                what = f"{part(len(other), len(texts), 'values')} have no @: no e-mail addresses"
                yield Finding("warning", sample.name, sample.said(name), what, "is it the right column?")
    yield from _exchanged(sample, personal)


def _exchanged(sample: Sample, personal: dict[str, str]) -> Iterator[Finding]:
    """An address's code that holds words, beside a text of it that holds codes."""
    contract = sample.table.columns()
    parts = [name for name, kind in personal.items() if kind == "address" and sample.texts[name].count()]
    codes = [name for name in parts if (contract[name].metadata or {}).get(READS) == "id"]
    for code in codes:
        for words in (name for name in parts if name not in codes):
            without, with_ = (sample.texts[name].drop_nulls() for name in (code, words))
            if without.str.contains(r"\d").mean() < STAND_INS and with_.str.contains(r"^[\d -]+$").mean() > 1 - STAND_INS:  # type: ignore[operator]  # fmt: skip  # noqa: E501
                what = f"{code} holds words and {words} numbers: they are exchanged"
                yield Finding("warning", sample.name, f"{code}, {words}", what, "exchange them in the mapping")


def currency_findings(samples: list[Sample], configured_tables: set[str]) -> Iterator[Finding]:
    """Sources of several currencies, where no source brings rates: a table that is of two currencies in every row."""
    declared = [tables.TABLES[name].columns() for name in configured_tables if name in tables.TABLES]
    if any(sum(not columns[name].nullable for name in _currencies(columns)) > 1 for columns in declared):
        return
    for sample in samples:
        for name in _currencies(sample.table.columns()):
            codes = sample.rows[name].drop_nulls().unique().sort().to_list() if sample.rows.width else []
            if len(codes) > 1:
                what = f"amounts in {', '.join(codes[:8])}, and no source brings exchange rates"
                do = "add a source of rates, or send one currency"
                yield Finding("warning", sample.name, sample.said(name), what, do)


def _currencies(contract: dict[str, Column]) -> list[str]:
    return [name for name, column in contract.items() if (column.metadata or {}).get(READS) == "currency"]
