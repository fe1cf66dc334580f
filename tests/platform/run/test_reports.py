"""Reports rest in runs of what is due, for a while and where they stand; nothing that a person is known by does."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from customer360.platform import graph
from customer360.platform.graph import NODES, builds, gives_as_of, produces
from customer360.platform.run import reports
from customer360.platform.tables import Date, Integer, String, Table, personal

SUMMARY = "gold.t_summary"


@pytest.fixture
def wide(filled: Any) -> Any:
    """The shop with more tables about nobody in particular."""

    class Shares(Table, table="gold.t_shares"):
        """One row per lake, of the summary."""

        units_per_subject = Integer()

    class Bounds(Table, table="silver.t_bounds"):
        """One row per lake, by which subjects are judged."""

        most = Integer()

    class Judged(Table, table="gold.t_judged", per="subject_id"):
        """One row per subject."""

        subject_id = String(primary_key=True)
        is_most = Integer()

    class Names(Table, table="gold.t_names"):
        """One row per name."""

        name = String(primary_key=True, metadata=personal("name"))

    @builds(Shares)
    def t_shares(gold_t_summary: pl.LazyFrame) -> pl.LazyFrame:
        return gold_t_summary.select(units_per_subject=pl.col("units") // pl.col("subject_count"))

    @builds(Bounds)
    def t_bounds(silver_t_totals: pl.LazyFrame) -> pl.LazyFrame:
        return silver_t_totals.select(most=pl.col("units").max())

    @builds(Judged)
    def t_judged(silver_t_totals: pl.LazyFrame, silver_t_bounds: pl.LazyFrame) -> pl.LazyFrame:
        both = silver_t_totals.join(silver_t_bounds, how="cross")
        return both.select("subject_id", is_most=(pl.col("units") == pl.col("most")).cast(pl.Int64))

    @builds(Names)
    def t_names(silver_t_totals: pl.LazyFrame) -> pl.LazyFrame:
        return silver_t_totals.select(name="subject_id")

    return filled


def made_before(shop: Any, minutes: float) -> None:
    """As if reports had been made so long ago."""
    at = datetime.now(UTC) - timedelta(minutes=minutes)
    mark = json.loads(shop.lake.get(reports.MARK) or b"{}")
    shop.lake.put(reports.MARK, json.dumps({**mark, "at": at.isoformat()}).encode())


def test_reports_rest_in_a_run_of_what_is_due_and_what_subjects_have_does_not(filled: Any) -> None:
    filled.run(due=True)
    before = filled.rows(SUMMARY)
    filled.orders("2.csv", "o9,zoe,5,1.00,1")
    states = filled.states(filled.run(due=True))
    assert states[SUMMARY] == "resting" and states["silver.t_totals"] == states["silver.t_visits"] == "built"
    assert filled.rows(SUMMARY) == before and SUMMARY not in filled.calls
    assert filled.states(filled.run(due=True))[SUMMARY] == "resting"  # however often it is asked
    assert filled.states(filled.run())[SUMMARY] == "built"  # a person who says `run` wants what is new
    assert filled.rows(SUMMARY) == [(4, 12)]
    assert filled.states(filled.run(due=True))[SUMMARY] == "current"


def test_reports_are_made_when_their_interval_is_over(filled: Any) -> None:
    filled.run()
    filled.orders("2.csv", "o9,zoe,5,1.00,1")
    made_before(filled, 16)
    assert filled.states(filled.run(due=True))[SUMMARY] == "built"
    filled.orders("3.csv", "o10,zoe,5,1.00,1")
    assert filled.states(filled.run(due=True))[SUMMARY] == "resting", "it was made just now"


def test_without_an_interval_none_rests(filled: Any) -> None:
    execution = filled.settings.execution.model_copy(update={"report_interval_minutes": 0})
    filled.settings = filled.settings.model_copy(update={"execution": execution})
    filled.run(due=True)
    filled.orders("2.csv", "o9,zoe,5,1.00,1")
    assert filled.states(filled.run(due=True))[SUMMARY] == "built"
    assert filled.lake.get(reports.MARK) is None


def test_only_what_is_about_nobody_and_read_by_nothing_else_is_a_report(wide: Any) -> None:
    assert reports.reports(()) == {SUMMARY, "gold.t_shares"}
    assert reports.reports([SUMMARY]) == {"gold.t_shares"}
    assert reports.reports(["gold.t_shares"]) == set(), "what is published needs what it is made of"


def test_what_may_be_as_old_as_reports_lets_them_rest(wide: Any) -> None:
    class Alerts(Table, table="gold.t_alerts"):
        """One row per alert."""

        units = Integer(primary_key=True)

    def alerts(context: Any, gold_t_summary: pl.LazyFrame) -> pl.LazyFrame:
        return gold_t_summary.select("units")

    produces(Alerts, inputs=[SUMMARY])(alerts)
    assert reports.reports(()) == {"gold.t_shares"}, "who does not say so needs it as it is"
    del NODES["gold.t_alerts"]
    produces(Alerts, inputs=[SUMMARY], of_reports=[SUMMARY])(alerts)
    assert reports.reports(()) == {SUMMARY, "gold.t_shares"}
    wide.run()
    wide.orders("2.csv", "o9,zoe,50,1.00,1")
    states = wide.states(wide.run(due=True))
    assert states[SUMMARY] == "resting" and states["gold.t_alerts"] == "current"
    assert wide.states(wide.run())["gold.t_alerts"] == "built"


def test_reports_of_reports_rest_together(wide: Any) -> None:
    wide.run()
    wide.orders("2.csv", "o9,zoe,50,1.00,1")
    states = wide.states(wide.run(due=True))
    assert states[SUMMARY] == "resting" and states["gold.t_shares"] == "current"
    assert states["gold.t_judged"] == states["gold.t_names"] == states["silver.t_bounds"] == "built"
    states = wide.states(wide.run())
    assert states[SUMMARY] == states["gold.t_shares"] == "built"


@pytest.mark.parametrize("asked", [{"start": "silver"}, {"end": SUMMARY}, {"refresh": (SUMMARY,)}])
def test_who_says_what_a_run_is_for_gets_it(filled: Any, asked: dict[str, Any]) -> None:
    filled.run()
    filled.orders("2.csv", "o9,zoe,5,1.00,1")
    filled.run(due=True)
    assert filled.states(filled.run(due=True, **asked))[SUMMARY] == "built"


def test_a_report_that_failed_is_tried_again_by_the_next_run(filled: Any) -> None:
    filled.break_node[SUMMARY] = ValueError("no")
    assert filled.fails(due=True)[SUMMARY].state == "failed"
    filled.break_node.clear()
    assert filled.states(filled.run(due=True))[SUMMARY] == "built"
    filled.orders("2.csv", "o9,zoe,5,1.00,1")
    made_before(filled, 16)
    filled.break_node[SUMMARY] = ValueError("no")
    filled.fails(due=True)
    filled.break_node.clear()
    assert filled.states(filled.run(due=True))[SUMMARY] == "built"


def test_a_run_for_one_report_says_nothing_of_the_others(wide: Any) -> None:
    wide.run()
    made_before(wide, 16)
    wide.orders("2.csv", "o9,zoe,50,1.00,1")
    assert wide.states(wide.run(end=SUMMARY))[SUMMARY] == "built"
    states = wide.states(wide.run(due=True))
    assert states[SUMMARY] == "current" and states["gold.t_shares"] == "built"


def test_a_report_that_other_code_would_make_does_not_rest(filled: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    filled.run()
    filled.orders("2.csv", "o9,zoe,5,1.00,1")
    told = graph.code_fingerprint
    monkeypatch.setattr(graph, "code_fingerprint", lambda *of: told(*of) + "another")
    assert filled.states(filled.run(due=True))[SUMMARY] == "built"
    filled.orders("3.csv", "o10,zoe,5,1.00,1")
    assert filled.states(filled.run(due=True))[SUMMARY] == "resting", "all were made by it now"


def test_a_date_without_its_edition_does_not_wait(filled: Any) -> None:
    class Daily(Table, table="gold.t_daily", partition_by=("as_of",)):
        """One row per date."""

        as_of = Date(primary_key=True)
        units = Integer()

    @builds(Daily)
    def t_daily(silver_t_totals: pl.LazyFrame, as_of: date) -> pl.LazyFrame:
        return silver_t_totals.select(as_of=pl.lit(as_of), units=pl.col("units").sum())

    days = [date(2026, 1, 1)]

    @gives_as_of("silver.t_totals")
    def newest(lake: Any, zones: Any) -> date:
        return days[-1]

    filled.run()
    filled.orders("2.csv", "o9,zoe,5,1.00,1")
    assert filled.states(filled.run(due=True))["gold.t_daily"] == "resting"
    days.append(date(2026, 1, 2))
    states = filled.states(filled.run(due=True))
    assert states["gold.t_daily"] == "built" and states[SUMMARY] == "resting"
    filled.orders("3.csv", "o10,zoe,5,1.00,1")
    assert filled.states(filled.run(due=True))["gold.t_daily"] == "resting"
