"""What is older than it may be kept leaves, each table in its own way (`way`).

- Rows of bronze go by the road of an erasure, or, of what the accounts need (``erasure="anonymize"``), what names a
  person does. None goes later than the one that stands for it: with the newest valid row of a key go the earlier ones,
  with a correction what it corrects. What is built on them follows with the run. A price, a tier or a stock holds until
  the next one (`tables.Series`) and is as old as its end: while it holds it has none.
- Dated gold loses its editions of dates before; the current one of each maker always stays.
- What only grows (`LOGS`) loses the rows that were written before.

Silver and undated gold are what their sources are, so they have no time of their own: one that is built again from what
bronze still holds is the one that stands.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from typing import Any, Literal

import polars as pl

from customer360.platform import tables
from customer360.platform.delivery import place
from customer360.platform.errors import ConfigError
from customer360.platform.lake import File, Lake, editions
from customer360.platform.quality import row_id
from customer360.platform.run.standing import Stood, stood_for
from customer360.platform.tables import LANDED, Table

_NOTES = "_retention"
_FORM = 2  # of the notes: of before, a row could be later than it came
_LOOKED = f"{_NOTES}/logs.json"  # the day on which a log was looked through, and for how many days

# Tables that only grow, with the column that says when a row was written.
LETTERS = "quality.dead_letters"
LOGS = {
    LETTERS: "received_at",
    "quality.erased_records": "received_at",
    "quality.data_quality_metrics": "measured_at",
}
Way = Literal["rows", "editions", "log"]


def age_columns(table: type[Table]) -> tuple[str, ...]:
    """Columns that say when a row is from; the latest of them counts, unless it is later than the row came."""
    declared = tables.spec(table)
    return tuple(dict.fromkeys([*declared.past, *([declared.version] if declared.version else [])]))


def way(name: str) -> Way:
    """How what is too old leaves a table.

    Raises:
        ConfigError: the table cannot be kept for a time: it follows its sources, or its rows do not say when they are
            from.
    """
    table = tables.by_name(name)
    spec = tables.spec(table)
    if name in LOGS:
        return "log"
    if spec.layer == "gold" and spec.is_dated:
        return "editions"
    if spec.layer != "bronze":
        raise ConfigError(f"keep_days: {name} follows what it is built on; shorten its sources in bronze")
    if not age_columns(table):
        raise ConfigError(f"keep_days: rows of {name} do not say when they are from, so they have no age")
    return "rows"


def checked(keep_days: Mapping[str, int]) -> None:
    """Raise ConfigError for a table that cannot be kept for a time; see `way`."""
    for name in keep_days:
        way(name)


def without_age(names: Iterable[str]) -> list[str]:
    """Bronze tables of which no row says when it is from, so that none can be too old."""
    return sorted(name for name in names if name.startswith("bronze.") and not age_columns(tables.by_name(name)))


def retire(
    lake: Lake, keep_days: Mapping[str, int], as_of: date, today: date | None = None, *, dry_run: bool = False
) -> dict[str, int]:
    """Take out what is older than its table keeps it, counted back from ``as_of``, of logs from ``today`` (UTC). Rows
    by table that went or were emptied, or would be. A row whose age is not known stays: unknown is not old; so does one
    that its contract says lasts.

    Files that cannot hold anything too old are not read: their log says so, or a note of when they were read before.
    Logs are looked through once a day. A death in between leaves whole tables as they were, or without; the next call
    does the rest.

    Raises:
        ConfigError: see `way`.
    """
    checked(keep_days)
    today = today or datetime.now(UTC).date()
    looked = json.loads(lake.get(_LOOKED) or b"{}")
    done, now = {}, {name: [today.isoformat(), days] for name, days in keep_days.items() if name in LOGS}
    for name, days in sorted(keep_days.items()):
        if not lake.exists(name) or (not dry_run and name in LOGS and looked.get(name) == now[name]):
            continue
        match way(name):
            case "rows":
                rows = _retired(lake, name, as_of - timedelta(days=days), dry_run)
            case "editions":
                rows = editions.retire(lake, name, as_of - timedelta(days=days), dry_run=dry_run)
            case "log":
                rows = _shortened(lake, name, today - timedelta(days=days), dry_run)
        if rows:
            done[name] = rows
    if now and looked != now and not dry_run:
        lake.put(_LOOKED, json.dumps(now).encode())
    return done


def _shortened(lake: Lake, name: str, before: date, dry_run: bool) -> int:
    """Take the rows out of a log that were written before a day."""
    moment = datetime.combine(before, time(), UTC)
    is_old = (pl.col(LOGS[name]) < moment).fill_null(False)
    if name == "quality.data_quality_metrics":
        is_old &= ~_still_compared(lake, name)
    if dry_run:
        return int(lake.scan(name).filter(is_old).select(pl.len()).collect().item())
    aged = [f for f in lake.files(name) if lake.scan(name, [f]).filter(is_old).head(1).collect().height]
    return lake.rewrite(name, lambda rows: rows.filter(~is_old), reason="retention", files=aged) if aged else 0


def _still_compared(lake: Lake, metrics: str) -> pl.Expr:
    """The newest measurement of each table, after which the next ones are told apart, and all those of a table of which
    an alert stands: without what it was compared with it would close by itself."""
    alerts = lake.scan("quality.alerts") if lake.exists("quality.alerts") else None
    stands = [] if alerts is None else alerts.filter(pl.col("cleared_at").is_null()).collect()["table_name"].to_list()
    newest = dict(lake.scan(metrics).group_by("table_name").agg(pl.col("table_version").max()).collect().rows())
    since = newest | dict.fromkeys(stands, -1)
    return pl.col("table_version") >= pl.col("table_name").replace_strict(since, default=-1, return_dtype=pl.Int64)


def _retired(lake: Lake, name: str, before: date, dry_run: bool) -> int:
    noted = _Noted.of(lake, name)
    doubtful = [f for f in lake.files(name) if noted.may_hold_older(f, before)]
    if not doubtful:
        return 0
    table = tables.by_name(name)
    declared = tables.spec(table)
    # A row of which it cannot be told lasts: it may be a refusal that was not read.
    can_go = ~declared.lasting(lake.scan(name)).fill_null(True) if declared.lasting else pl.lit(True)
    if declared.erasure == "anonymize":
        can_go &= pl.any_horizontal(pl.col(c).is_not_null() for c in _personal(table))
    if declared.holds:
        is_old = can_go & _is_over(lake, table, before)
        aged = [f for f in doubtful if lake.scan(name, [f]).filter(is_old).head(1).collect().height]
    else:
        is_old = can_go & (_age(table) < before).fill_null(False)
        aged = _aged(lake, table, doubtful, can_go, before, noted)
    stood = stood_for(lake, name, is_old, can_go, aged) if aged else Stood()
    if stood.rows:
        is_old |= row_id().is_in(pl.Series(sorted(stood.rows)).implode())
        aged = [f for f in lake.files(name) if lake.scan(name, [f]).filter(is_old).head(1).collect().height]
    if dry_run:
        return int(lake.scan(name, aged).filter(is_old).select(pl.len()).collect().item()) if aged else 0
    noted.save(lake)
    # Letters first: once the corrections are gone, nothing tells that they were answered.
    if stood.letters and lake.exists(LETTERS):
        kept = ~pl.col("letter_id").is_in(pl.Series(sorted(stood.letters)).implode())
        lake.rewrite(LETTERS, lambda rows: rows.filter(kept), reason="retention")
    return lake.rewrite(name, partial(_without, table, is_old), reason="retention", files=aged) if aged else 0


def _aged(
    lake: Lake, table: type[Table], doubtful: list[File], can_go: pl.Expr, before: date, noted: _Noted
) -> list[File]:
    """Files with a row that is too old; of the others it is noted when their oldest is from."""
    aged = []
    for file in doubtful:
        oldest = lake.scan(noted.name, [file]).filter(can_go).select(_age(table).min()).collect().item()
        if oldest is not None and oldest < before:
            aged.append(file)
        else:
            noted.oldest[file.path] = oldest
    return aged


def _is_over(lake: Lake, table: type[Table], before: date) -> pl.Expr:
    """Rows that had been over before a day: ended by themselves, or followed by the next of their series. Of a row that
    came more than once the newest counts, and all go together: an earlier one, left alone, would hold again. What was
    deleted, by a row that may name its key alone, is over since, and ends nothing that was before it."""
    declared = tables.spec(table)
    assert declared.holds is not None
    own, begin = ["_source_system", *declared.holds.of], pl.col(age_columns(table)[0]).cast(pl.Datetime("us"))
    said = pl.col(declared.holds.ends).cast(pl.Date) if declared.holds.ends else pl.lit(None, pl.Date)
    key = ["_source_system", *declared.key]
    # Where nothing tells versions apart, an earlier row of the key is no part of the series: it was put right.
    is_one = pl.all_horizontal(pl.col(key).is_not_null()) if declared.key and not declared.version else pl.lit(False)
    row = pl.when(is_one).then(_text(*map(pl.col, key))).otherwise(_text(*map(pl.col, own), begin))
    came = place(lake.scan(declared.name).select(pl.col("_file").drop_nulls().unique()).collect()["_file"])
    is_gone = pl.col("_deleted").fill_null(False).sort_by(came).last().over(key)
    gone = pl.when(is_gone).then(pl.col(LANDED).max().over(key).cast(pl.Date))
    rows = lake.scan(declared.name).select(
        *own, row=row, begin=begin, ends=pl.coalesce(gone, said), came=came, is_gone=is_gone
    )
    newest = rows.drop_nulls("begin").sort("came").unique("row", keep="last")
    # After a row that ends by itself, what was before it may hold again.
    counts = ~pl.col("is_gone") & (pl.col("ends").is_null() | ~pl.lit(declared.holds.resumes))
    follows = pl.when(counts).then("begin")
    following = follows.shift(-1).backward_fill().over(own, order_by="begin").cast(pl.Date)
    over = pl.coalesce("ends", following) if declared.holds.resumes else pl.min_horizontal("ends", following)
    old = newest.with_columns(over=over).filter(pl.col("over") < before).select("row").collect()["row"]
    return row.is_in(old.implode()).fill_null(False)


def _text(*columns: pl.Expr) -> pl.Expr:
    """Values as one text, in which null is not the empty text."""
    return pl.concat_str([c.cast(pl.String).fill_null("\0") for c in columns], separator="\x1f")


@dataclass
class _Noted:
    """What is known of the age of the files of a table: ``oldest`` by path, of the rows that may go, None where there
    is none, from a reading before; ``least`` value by path and age column, from the log."""

    name: str
    oldest: dict[str, date | None]
    least: Mapping[str, Mapping[str, Any]]

    @classmethod
    def of(cls, lake: Lake, name: str) -> _Noted:
        stored = json.loads(lake.get(f"{_NOTES}/{name}.json") or b"{}")
        days = stored["oldest"] if stored.get("form") == _FORM else {}
        oldest = {path: None if day is None else date.fromisoformat(day) for path, day in days.items()}
        return cls(name, oldest, lake.least(name, _told_by_log(tables.by_name(name))))

    def may_hold_older(self, file: File, before: date) -> bool:
        if file.path in self.oldest:
            day = self.oldest[file.path]
            return day is not None and day < before
        columns, told = _told_by_log(tables.by_name(self.name)), self.least.get(file.path, {})
        return any(c not in told or (told[c] is not None and _day(told[c]) < before) for c in columns)

    def save(self, lake: Lake) -> None:
        """Keep it for the next time, where what may go is a matter of the file alone."""
        declared = tables.spec(tables.by_name(self.name))
        if declared.lasting is None and not declared.holds:
            kept = {path: day and day.isoformat() for path, day in sorted(self.oldest.items()) if path in self.least}
            lake.put(f"{_NOTES}/{self.name}.json", json.dumps({"form": _FORM, "oldest": kept}).encode())


def _day(value: date | datetime) -> date:
    return value.date() if isinstance(value, datetime) else value


def _told_by_log(table: type[Table]) -> tuple[str, ...]:
    """Columns of which one is early in a file that holds something old."""
    return (*age_columns(table), LANDED) if tables.spec(table).holds is None else age_columns(table)[:1]


def _age(table: type[Table]) -> pl.Expr:
    """By what a row says, but no later than it came: a clock that is years ahead would keep it for good."""
    said = pl.max_horizontal(pl.col(c).cast(pl.Date) for c in age_columns(table))
    return pl.when(said.is_not_null()).then(pl.min_horizontal(said, pl.col(LANDED).cast(pl.Date)))


def _personal(table: type[Table]) -> tuple[str, ...]:
    return (*tables.pii_columns(table), "_rescued")


def _without(table: type[Table], old: pl.Expr, rows: pl.DataFrame) -> pl.DataFrame:
    if tables.spec(table).erasure != "anonymize":
        return rows.filter(~old)
    return rows.with_columns(pl.when(~old).then(pl.col(c)).alias(c) for c in _personal(table))
