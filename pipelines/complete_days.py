"""Until when the data are complete: the default ``as_of`` of a run.

A day counts when it had ended, in the zone of its source, when the facts of it landed. So the answer depends on what
was delivered and on when its batches were made, which their manifests hold, and never on when it is asked.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import polars as pl

from customer360.pipelines.vocabulary import is_sensible
from customer360.platform import tables, telemetry
from customer360.platform.errors import LakeError
from customer360.platform.graph import gives_as_of
from customer360.platform.lake import Lake
from customer360.platform.quality.ahead import MARGIN
from customer360.platform.tables import LANDED, Table, is_ahead

COMPLETE_SHARE = 0.1  # a day with fewer facts than this share of the median day is no sign that the data go so far
SILENCE = timedelta(days=7)  # unless it follows a day that counts within so much: a quiet day, no wrong clock
DAY = timedelta(days=1)
DAYS = "silver.subject_days"
FACTS = ("bronze.transactions", "bronze.events")  # whose days are the subjects' days


@gives_as_of(DAYS)
def last_complete_day_end(lake: Lake, zones: Mapping[str, str] | None = None) -> date:
    """The default ``as_of``: the day after the last complete day. Facts before it are known, those of it are not.

    The *last day* is the latest UTC date with a usual amount of facts (subjects with a purchase, return or event), or
    with fewer where it follows such a day within a week: a till whose clock is months ahead moves nothing. It is
    complete when every source with facts of it delivered after the end, in the source's zone (``zones``: source to
    IANA zone, else UTC), of the day that its latest of these facts lies in; then ``as_of`` is the day after. Otherwise
    the export may have cut the day off: ``as_of`` is the last day itself, which is left out, unless nothing came
    before it. Without any purchase or event, the latest other fact counts in the same way (an order, a message, a
    contact); without any fact at all, ``as_of`` is the day on which the newest batch landed.

    Raises:
        LakeError: nothing landed, so that there is no day at all.
    """
    zones = zones or {}
    days = lake.scan(DAYS).group_by("on").len().sort("on").collect()
    if not days.is_empty():
        return _after(lake, _last_day(days), days["on"][0], FACTS, zones)
    others = [name for name, table in tables.TABLES.items() if _is_fact(table) and _has_rows(lake, name)]
    found = pl.concat([_days_of(lake, name) for name in others]).unique().sort("on") if others else pl.DataFrame()
    if found.height:
        return _after(lake, found["on"][-1], found["on"][0], others, zones)
    landed = [at for name in tables.TABLES if name.startswith("bronze.") and (at := _landed(lake, name))]
    if not landed:
        raise LakeError(f"{DAYS} is empty: there is no day to take as the end of the data; give --as-of")
    return max(landed).date()


def _last_day(days: pl.DataFrame) -> date:
    usual = days.filter(pl.col("len") >= COMPLETE_SHARE * pl.col("len").median())["on"]
    last: date = usual[-1]
    for day in days["on"]:
        if timedelta(0) < day - last <= SILENCE:
            last = day
    return last


def _after(lake: Lake, last: date, first: date, names: Iterable[str], zones: Mapping[str, str]) -> date:
    open_sources = sorted({source for name in names for source in _not_ended(lake, name, last, zones)})
    if not open_sources or first == last:
        return last + DAY
    telemetry.event(f"{last} is left out: it had not ended when {', '.join(open_sources)} delivered it")
    return last


def _not_ended(lake: Lake, name: str, day: date, zones: Mapping[str, str]) -> Iterator[str]:
    """Sources of a bronze table whose last delivery came before the end of the day."""
    if not _has_rows(lake, name):
        return
    start = datetime.combine(day, time(), UTC)
    at = pl.col(tables.spec(tables.by_name(name)).past[0])
    since = at.cast(pl.Datetime("us")).dt.replace_time_zone("UTC") >= start
    facts = lake.scan(name).filter(since, ~_is_ahead(name), pl.col("_replay_of").is_null())
    found = facts.group_by("_source").agg(
        newest=at.cast(pl.Datetime("us")).filter(at.cast(pl.Date) == day).max(), landed=pl.col(LANDED).max()
    )
    for source, newest, landed in found.collect().rows():
        if newest is not None and landed < _end_of_day(newest.replace(tzinfo=UTC), zones.get(source)):
            yield source


def _end_of_day(at: datetime, zone: str | None) -> datetime:
    """When the day that an instant lies in ends, where the zone's clocks show it."""
    here = ZoneInfo(zone) if zone else UTC
    return datetime.combine(at.astimezone(here).date() + DAY, time(), here)


def _is_ahead(name: str) -> pl.Expr:
    return is_ahead(tables.spec(tables.by_name(name)).past[0], MARGIN)


def _is_fact(table: type[Table]) -> bool:
    """Whether every row of a bronze table says when it happened: customers, say, need not."""
    happened = tables.spec(table).past[:1]
    return bool(happened) and not table.columns()[happened[0]].nullable


def _days_of(lake: Lake, name: str) -> pl.DataFrame:
    at = tables.spec(tables.by_name(name)).past[0]
    rows = lake.scan(name).filter(is_sensible(at), ~_is_ahead(name))
    return rows.select(on=pl.col(at).cast(pl.Date)).unique().collect()


def _has_rows(lake: Lake, name: str) -> bool:
    return lake.exists(name) and any(f.rows for f in lake.files(name))


def _landed(lake: Lake, name: str) -> datetime | None:
    at = lake.scan(name).select(pl.col(LANDED).max()).collect().item() if _has_rows(lake, name) else None
    return at if isinstance(at, datetime) else None
