"""Rows older than their table keeps them leave like erased ones; those of unknown age stay."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path

import polars as pl
import pytest

from customer360.platform import quality, retention, tables
from customer360.platform.errors import ConfigError
from customer360.platform.lake import File, Lake, editions
from customer360.platform.quality.metrics import Alerts, DataQualityMetrics
from customer360.platform.tables import Date, Float, Integer, Series, String, Table, Timestamp, personal

TODAY = date(2026, 3, 2)


@pytest.mark.parametrize("erasure", ["delete", "anonymize"])
def test_old_rows_leave(tmp_path: Path, registries: None, erasure: str) -> None:
    class Visits(Table, table="bronze.t_visits", key=("ID",), past=("AT",), version="CHANGED", erasure=erasure):  # type: ignore[arg-type]
        """One row per visit."""

        ID = String()
        WHO = String(nullable=True, metadata=personal("account"))
        SPENT = Float(nullable=True)
        AT = Timestamp(nullable=True)
        CHANGED = Date(nullable=True)

    old, new = datetime(2024, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)
    rows = {"ID": list("abcd"), "WHO": list("wxyz"), "SPENT": [1.0, 2.0, 3.0, 4.0], "AT": [old, old, new, None],
            "CHANGED": [None, date(2025, 12, 31), None, None], "_rescued": ["{}"] * 4}  # fmt: skip
    lake, schema = Lake(str(tmp_path), buckets=2), tables.schema(Visits)
    frame = pl.DataFrame({c: rows.get(c, [None] * 4) for c in schema}, schema=schema)
    lake.ensure(Visits)
    lake.replace("bronze.t_visits", [lake.write_file("bronze.t_visits", frame, {"_source": "s"})], scope={}, app="t",
                 app_version=1)  # fmt: skip
    assert retention.retire(lake, {"bronze.t_visits": 365}, date(2026, 2, 1)) == {"bronze.t_visits": 1}
    left = lake.scan("bronze.t_visits").sort("ID").collect()
    if erasure == "delete":
        assert left["ID"].to_list() == ["b", "c", "d"]
    else:
        assert left.select("ID", "WHO", "SPENT", "_rescued").row(0) == ("a", None, 1.0, None)
        assert left["WHO"].to_list() == [None, "x", "y", "z"]
    assert retention.retire(lake, {"bronze.t_visits": 365}, date(2026, 2, 1)) == {}, "once"


def stays(stored: pl.LazyFrame) -> pl.Expr:
    """Rows of whoever said no."""
    who = stored.filter(pl.col("SAID") == "NO").select("WHO").collect().to_series()
    return pl.col("WHO").is_in(who.implode())


def visits(lake: Lake, name: str, table: type[Table], **columns: list[object]) -> None:
    """One more file of a table."""
    schema, count = tables.schema(table), len(next(iter(columns.values())))
    frame = pl.DataFrame({c: columns.get(c, [None] * count) for c in schema}, schema=schema)
    lake.ensure(table)
    seq = len(lake.files(name)) + 1
    lake.append_batch(name, [lake.write_file(name, frame, {"_source": "s"})], source="s", seq=seq)


def test_what_lasts_is_told_from_all_files_and_stays_however_old(tmp_path: Path, registries: None) -> None:
    class Answers(Table, table="bronze.t_answers", key=("ID",), past=("AT",), lasting=stays):
        """One row per answer."""

        ID = String()
        WHO = String(nullable=True, metadata=personal("account"))
        SAID = String()
        AT = Timestamp()

    lake, old = Lake(str(tmp_path), buckets=2), datetime(2020, 1, 1, tzinfo=UTC)
    visits(lake, "bronze.t_answers", Answers, ID=["a", "b"], WHO=["x", "y"], SAID=["NO", "YES"], AT=[old, old])
    visits(lake, "bronze.t_answers", Answers, ID=["c", "d"], WHO=["x", None], SAID=["YES", "YES"], AT=[old, old])
    assert retention.retire(lake, {"bronze.t_answers": 365}, date(2026, 2, 1)) == {"bronze.t_answers": 1}
    left = sorted(lake.scan("bronze.t_answers").collect()["ID"])
    assert left == ["a", "c", "d"], "the yes after the no decides; whose the last is, is not known"


def test_a_file_is_read_once_and_again_only_when_a_row_of_it_is_due(
    tmp_path: Path, registries: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Sales(Table, table="bronze.t_sales", key=("ID",), past=("AT", "SENT"), erasure="anonymize"):
        """One row per sale."""

        ID = String()
        WHO = String(nullable=True, metadata=personal("account"))
        AT = Timestamp()
        SENT = Timestamp(nullable=True)

    lake, name = Lake(str(tmp_path), buckets=2), "bronze.t_sales"
    old, due, new = (datetime(y, 1, 1, tzinfo=UTC) for y in (2020, 2025, 2026))
    visits(lake, name, Sales, ID=["a"], WHO=["x"], AT=[old], SENT=[None])
    visits(lake, name, Sales, ID=["b"], WHO=["y"], AT=[old], SENT=[due])  # the log alone cannot tell
    visits(lake, name, Sales, ID=["c"], WHO=["z"], AT=[new], SENT=[None])
    read: list[str] = []
    scan = Lake.scan

    def noting(self: Lake, table: str, files: list[File] | None = None, version: int | None = None) -> pl.LazyFrame:
        read.extend(f.path for f in files or [])
        return scan(self, table, files, version)

    monkeypatch.setattr(Lake, "scan", noting)
    assert retention.retire(lake, {name: 365}, date(2025, 6, 1)) == {name: 1}
    assert len(set(read)) == 2, "not the new one"
    retention.retire(lake, {name: 365}, date(2025, 6, 1))  # the rewritten file is looked at once
    read.clear()
    assert retention.retire(lake, {name: 365}, date(2025, 6, 2)) == {} and read == []
    assert retention.retire(lake, {name: 365}, date(2026, 6, 1)) == {name: 1}
    assert lake.scan(name).sort("ID").collect()["WHO"].to_list() == [None, None, "z"]


def test_rows_that_name_nobody_go_where_a_table_says_how_long(tmp_path: Path, registries: None) -> None:
    class Weather(Table, table="bronze.t_weather", key=("ID",), past=("AT",), erasure="none"):
        """One row per day."""

        ID = String()
        AT = Timestamp(nullable=True)

    lake, name = Lake(str(tmp_path), buckets=2), "bronze.t_weather"
    old, new = datetime(2024, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)
    visits(lake, name, Weather, ID=["a", "b", "c"], AT=[old, new, None])
    assert retention.retire(lake, {name: 365}, date(2026, 2, 1), dry_run=True) == {name: 1}
    assert lake.scan(name).collect().height == 3
    assert retention.retire(lake, {name: 365}, date(2026, 2, 1)) == {name: 1}
    assert lake.scan(name).collect()["ID"].to_list() == ["b", "c"]


def test_what_holds_is_as_old_as_its_end(tmp_path: Path, registries: None) -> None:
    """A price of long ago that nothing followed is of now; one that a passing price follows holds again after it."""

    class Prices(Table, table="bronze.t_prices", key=("ID",), past=("SINCE",), erasure="none",
                 holds=Series(("WHAT", "KIND"), ends="ENDS", resumes=True)):  # fmt: skip
        """One row per price."""

        ID = String()
        WHAT = String()
        KIND = String(nullable=True)
        SINCE = Timestamp(nullable=True)
        ENDS = Timestamp(nullable=True)

    lake, name = Lake(str(tmp_path), buckets=2), "bronze.t_prices"
    y = {n: datetime(2000 + n, 1, 1, tzinfo=UTC) for n in range(20, 27)}
    rows: list[tuple[str, str, str | None, datetime | None, datetime | None]] = [
        ("holds", "tea", None, y[20], None),  # of no kind, and so of another series than the next two
        ("before", "tea", "LIST", y[20], None), ("after", "tea", "LIST", y[23], None),
        ("just over", "mug", None, y[20], None), ("now", "mug", None, y[25], None),
        ("resumed", "pen", None, y[20], None), ("passing", "pen", None, y[21], y[22]),
        ("ended", "cup", None, y[20], y[21]), ("undated", "cup", None, None, None),
    ]  # fmt: skip
    names = ("ID", "WHAT", "KIND", "SINCE", "ENDS")
    visits(lake, name, Prices, **{c: [row[at] for row in rows] for at, c in enumerate(names)})
    # Came once without an end, then with one, in another file; and one that its source took back.
    for seq, ends in ((1, None), (2, y[21])):
        visits(lake, name, Prices, ID=["twice"], WHAT=["hat"], SINCE=[y[20]], ENDS=[ends], _seq=[seq])
    for seq, gone in ((1, None), (2, True)):
        visits(lake, name, Prices, ID=["gone"], WHAT=["bag"], SINCE=[y[20]], _seq=[seq], _ingested_at=[y[22]],
               _deleted=[gone])  # fmt: skip
    before = {"holds", "after", "just over", "now", "resumed", "undated"}
    assert retention.retire(lake, {name: 365}, date(2025, 6, 1), dry_run=True) == {name: 7}
    assert retention.retire(lake, {name: 365}, date(2025, 6, 1)) == {name: 7}
    assert set(lake.scan(name).collect()["ID"]) == before
    assert retention.retire(lake, {name: 365}, date(2025, 6, 1)) == {}
    assert retention.retire(lake, {name: 365}, date(2026, 6, 1)) == {name: 1}, "over for more than a year by now"
    assert set(lake.scan(name).collect()["ID"]) == before - {"just over"}


@pytest.mark.parametrize("files", [("day8.csv", "day9.csv"), ("day9.csv", "day10.csv")])
def test_which_delivery_of_one_batch_says_the_end_is_told_by_the_numbers_of_the_files(
    tmp_path: Path, registries: None, files: tuple[str, str]
) -> None:
    class Prices(Table, table="bronze.t_prices", key=("WHAT", "SINCE"), past=("SINCE",), erasure="none",
                 holds=Series(("WHAT",), ends="ENDS", resumes=True)):  # fmt: skip
        """One row per price."""

        WHAT = String()
        SINCE = Date()
        ENDS = Date(nullable=True)

    lake, name, since = Lake(str(tmp_path), buckets=2), "bronze.t_prices", date(2019, 1, 1)
    visits(lake, name, Prices, WHAT=["tea"] * 2, SINCE=[since] * 2, ENDS=[date(2019, 6, 1), None], _seq=[1, 1],
           _file=list(files), _position=[1, 1])  # fmt: skip
    assert retention.retire(lake, {name: 365}, date(2026, 1, 1)) == {}, "the later one has no end"


def test_a_tier_is_over_with_the_next_one_or_at_its_own_end(tmp_path: Path, registries: None) -> None:
    class Tiers(Table, table="bronze.t_tiers", key=("ID",), past=("SINCE",), holds=Series(("WHO",), ends="UNTIL")):
        """One row per tier."""

        ID = String()
        WHO = String(nullable=True, metadata=personal("account"))
        SINCE = Date()
        UNTIL = Date(nullable=True)

    lake, name, year = Lake(str(tmp_path), buckets=2), "bronze.t_tiers", partial(date, month=1, day=1)
    visits(lake, name, Tiers, ID=["followed"], WHO=["x"], SINCE=[year(2020)], UNTIL=[year(2030)])
    visits(lake, name, Tiers, ID=["now", "ended"], WHO=["x", "y"], SINCE=[year(2021)] * 2, UNTIL=[None, year(2022)])
    # A mistake, which its source took back by its key: what was before it was never over.
    visits(lake, name, Tiers, ID=["stands", "mistake"], WHO=["z", "z"], SINCE=[year(2020), year(2021)], _seq=[1, 1])
    visits(lake, name, Tiers, ID=["mistake"], WHO=[None], SINCE=[None], _deleted=[True], _seq=[2])
    assert retention.retire(lake, {name: 365}, date(2025, 6, 1)) == {name: 2}
    left = lake.scan(name).filter(pl.col("SINCE").is_not_null()).collect()["ID"]
    assert {"now", "stands"} <= set(left) <= {"now", "stands", "mistake"}


def test_a_row_is_no_later_than_it_came(tmp_path: Path, registries: None) -> None:
    """What a clock years ahead wrote would stay for good; of what says no time nobody knows when it is from."""

    class Clicks(Table, table="bronze.t_clicks", key=("ID",), past=("AT",)):
        """One row per click."""

        ID = String()
        AT = Timestamp(nullable=True)

    lake, name = Lake(str(tmp_path), buckets=2), "bronze.t_clicks"
    came, ahead = datetime(2024, 1, 1, tzinfo=UTC), datetime(2099, 1, 1, tzinfo=UTC)
    visits(lake, name, Clicks, ID=["ahead"], AT=[ahead], _ingested_at=[came])
    visits(lake, name, Clicks, ID=["unknown"], AT=[None], _ingested_at=[came])
    stale = {lake.files(name)[at].path: "2099-01-01" for at in (0, 1)}  # as a run of before noted it
    lake.put(f"_retention/{name}.json", json.dumps(stale).encode())
    assert retention.retire(lake, {name: 365}, date(2024, 6, 1)) == {}
    assert retention.retire(lake, {name: 365}, date(2025, 6, 1)) == {name: 1}
    assert lake.scan(name).collect()["ID"].to_list() == ["unknown"]


def test_editions_of_gold_go_by_their_date_and_the_current_one_of_each_maker_stays(
    tmp_path: Path, registries: None
) -> None:
    class Scores(Table, table="gold.t_scores", partition_by=("as_of", "model")):
        """One row per date and model."""

        as_of = Date()
        model = String()
        score = Integer()

    lake, name = Lake(str(tmp_path), buckets=2), "gold.t_scores"
    lake.ensure(Scores)
    for number, (model, day) in enumerate(
        [("churn", date(2025, 1, 1)), ("value", date(2025, 1, 1)), ("churn", date(2025, 12, 1)), ("churn", TODAY)]
    ):
        node, scope = f"{name}/{model}", {"as_of": str(day), "model": model}
        add = lake.write_file(name, pl.DataFrame({"score": [number]}), scope)
        lake.replace(name, [add], scope=scope, app=f"node:{node}", app_version=7, marks=editions.mark(node, day))
    assert retention.retire(lake, {name: 100}, TODAY, dry_run=True) == {name: 1}
    assert retention.retire(lake, {name: 100}, TODAY) == {name: 1}
    left = lake.scan(name).sort("score").collect()
    assert left["score"].to_list() == [1, 2, 3], "of the value model the old one is the current one"
    assert lake.transaction(name, f"node:{name}/churn") == 7, "nothing is built again for it"
    assert retention.retire(lake, {name: 100}, TODAY) == {}


def letters(lake: Lake, seq: int, received: datetime) -> None:
    schema = tables.schema(quality.DeadLetters)
    said = {"letter_id": f"s/{seq}/f/1", "source": "s", "table_name": "bronze.t", "seq": seq, "received_at": received}
    frame = pl.DataFrame({c: [said.get(c)] for c in schema}, schema=schema)
    lake.ensure(quality.DeadLetters)
    lake.append_batch("quality.dead_letters", [lake.write_file("quality.dead_letters", frame.drop("source"),
                      {"source": "s"})], source="s", seq=seq)  # fmt: skip


def test_letters_go_by_the_day_on_which_they_came_and_are_looked_through_once_a_day(tmp_path: Path) -> None:
    lake, name = Lake(str(tmp_path), buckets=2), "quality.dead_letters"
    letters(lake, 1, datetime(2026, 2, 1, tzinfo=UTC))
    letters(lake, 2, datetime(2026, 3, 1, tzinfo=UTC))
    assert retention.retire(lake, {name: 40}, date(2020, 1, 1), TODAY) == {}, "their day is not that of the data"
    assert retention.retire(lake, {name: 20}, date(2020, 1, 1), TODAY) == {name: 1}, "another number of days"
    assert lake.scan(name).collect()["seq"].to_list() == [2]
    assert lake.transaction(name, "batch:s") == 2, "what was landed is not landed again"
    letters(lake, 3, datetime(2026, 1, 1, tzinfo=UTC))
    assert retention.retire(lake, {name: 20}, date(2020, 1, 1), TODAY) == {}
    assert retention.retire(lake, {name: 20}, date(2020, 1, 1), TODAY + timedelta(days=1)) == {name: 1}


def test_measurements_go_but_for_the_newest_and_what_a_standing_alert_was_compared_with(tmp_path: Path) -> None:
    lake, name = Lake(str(tmp_path), buckets=2), "quality.data_quality_metrics"
    rows = {"table_name": ["a", "a", "b", "b", "c"], "table_version": [1, 2, 1, 2, 1], "source_system": ["ALL"] * 5,
            "measured_at": [datetime(2025, 1, day, tzinfo=UTC) for day in (1, 2, 1, 2, 1)]}  # fmt: skip
    store(lake, DataQualityMetrics, rows)
    store(lake, Alerts, {"table_name": ["b", "c"], "opened_version": [2, 1],
                         "cleared_at": [None, datetime(2025, 2, 1, tzinfo=UTC)]})  # fmt: skip
    assert retention.retire(lake, {name: 30}, TODAY, TODAY) == {name: 1}
    left = lake.scan(name).select("table_name", "table_version").sort(pl.all()).collect().rows()
    assert left == [("a", 2), ("b", 1), ("b", 2), ("c", 1)]


def store(lake: Lake, table: type[Table], columns: dict[str, list[object]]) -> None:
    name, schema = tables.spec(table).name, tables.schema(table)
    count = len(next(iter(columns.values())))
    frame = pl.DataFrame({c: columns.get(c, [None] * count) for c in schema}, schema=schema)
    lake.ensure(table)
    lake.replace(name, [lake.write_file(name, frame, {})], scope={}, app="t", app_version=1)


@pytest.mark.parametrize(("name", "said"), [
    ("silver.t_built", "silver.t_built follows what it is built on; shorten its sources in bronze"),
    ("quality.quarantine", "quality.quarantine follows what it is built on"),
    ("bronze.t_ageless", "do not say when they are from"),
])  # fmt: skip
def test_what_follows_or_has_no_age_cannot_be_kept_for_a_time(registries: None, name: str, said: str) -> None:
    class Built(Table, table="silver.t_built"):
        """One row per row."""

        ID = String()

    class Ageless(Table, table="bronze.t_ageless", key=("ID",)):
        """One row per row."""

        ID = String()

    with pytest.raises(ConfigError, match=said):
        retention.checked({name: 30})
