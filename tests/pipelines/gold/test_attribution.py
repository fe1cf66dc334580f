"""Attribution: credit of every model adds up to the purchases, and a chain worked out by hand is found."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from customer360.pipelines.gold.attribution import MODELS, MOST_STATES, campaign_attribution
from customer360.pipelines.rules import EnrichmentRules
from customer360.pipelines.silver.campaign_names import CampaignNames
from customer360.pipelines.silver.engagement import Touches
from customer360.pipelines.silver.message_clicks import message_clicks
from customer360.pipelines.silver.sales import Transactions
from customer360.platform import tables

RULES, AS_OF = EnrichmentRules(), date(2026, 7, 1)
START = datetime(2026, 5, 1, tzinfo=UTC)
VISITS = {"session_id": pl.String, "subject_id": pl.String, "started_at": pl.Datetime("us", "UTC"),
          "campaign_id": pl.String, "traffic_source": pl.String}  # fmt: skip
Visit = tuple[str, float, str | None, str | None]  # who, day, campaign, source
Sale = tuple[str, float, str]  # who, day, amount


def attribution(
    visits: list[Visit], sales: list[Sale], clicks: list[Visit] = [], led_by: dict[int, str] = {}  # noqa: B006
) -> pl.DataFrame:  # fmt: skip
    """``led_by``: by place in visits the channel of the site that led there."""

    def at(day: float) -> datetime:
        return START + timedelta(days=day)

    came = pl.LazyFrame(
        [(str(n), who, at(d), c, s) for n, (who, d, c, s) in enumerate(visits)], schema=VISITS, orient="row"
    )
    facts = pl.LazyFrame(
        [(str(n), who, led_by.get(n, "DIRECT")) for n, (who, *_) in enumerate(visits)],
        schema={"session_id": pl.String, "subject_id": pl.String, "channel_type": pl.String}, orient="row",
    )  # fmt: skip
    bought: list[dict[str, Any]] = [
        {"transaction_id": str(n), "source_system": "SHOP", "subject_id": who, "occurred_at": at(d), "is_sale": True,
         "gross_amount": Decimal(amount), "return_amount": Decimal(0)}
        for n, (who, d, amount) in enumerate(sales)
    ]  # fmt: skip
    touched: list[dict[str, Any]] = [
        {"engagement_id": str(n), "source_system": "CRM", "customer_id": who, "subject_id": who, "occurred_at": at(d),
         "campaign_id": c, "channel": s, "action": "CLICKED", "is_machine": False}
        for n, (who, d, c, s) in enumerate(clicks)
    ]  # fmt: skip

    def frame(table: type[tables.Table], rows: list[dict[str, Any]]) -> pl.LazyFrame:
        schema = tables.schema(table)
        return pl.DataFrame([{**dict.fromkeys(schema), **row} for row in rows], schema=schema, orient="row").lazy()

    names = frame(CampaignNames, [])
    return campaign_attribution(
        message_clicks(frame(Touches, touched), names), came, facts, names, frame(Transactions, bought),
        pl.LazyFrame({"currency": ["EUR"]}), AS_OF, RULES,
    ).collect()  # fmt: skip


def credit(table: pl.DataFrame, model: str) -> dict[str, float]:
    rows = table.filter(model=model).group_by("campaign_id").agg(pl.col("conversion_credit").sum())
    return {c: round(v, 6) for c, v in rows.iter_rows() if v}


DAYS = st.floats(0, 55).map(lambda d: round(d, 4))
PEOPLE = st.sampled_from(["P1", "P2", "P3"])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(PEOPLE, DAYS, st.sampled_from(["A", "B", None]), st.sampled_from(["EMAIL", "DIRECT", "SOCIAL"])), max_size=12),  # noqa: E501
    st.lists(st.tuples(PEOPLE, DAYS, st.just("10.00")), max_size=6),
    st.lists(st.tuples(PEOPLE, DAYS, st.sampled_from(["A", "C"]), st.just("SMS")), max_size=4),
)  # fmt: skip
def test_the_credit_of_each_model_is_the_purchases(visits: list[Visit], sales: list[Sale], clicks: list[Visit]) -> None:
    table = attribution(visits, sales, clicks)
    if not sales:
        assert table["conversion_credit"].sum() == 0
        return
    for model in MODELS:
        rows = table.filter(model=model)
        assert rows["conversion_credit"].sum() == pytest.approx(len(sales)), model
        assert rows["revenue_credit"].sum() == pytest.approx(10 * len(sales)), model
        assert rows["conversion_share"].sum() == pytest.approx(1), model
        assert (rows["conversion_credit"] >= -1e-9).all()


def test_models_by_rule_share_as_they_say() -> None:
    visits = [("P1", 0.0, "A", "EMAIL"), ("P1", 7.0, "B", "SOCIAL"), ("P1", 14.0, "C", "SEARCH")]
    table = attribution(visits, [("P1", 14.0, "10.00")])
    assert credit(table, "FIRST") == {"A": 1.0}
    assert credit(table, "LAST") == {"C": 1.0}
    assert credit(table, "LINEAR") == {c: round(1 / 3, 6) for c in "ABC"}
    assert credit(table, "POSITION") == {"A": 0.4, "B": 0.2, "C": 0.4}
    assert credit(table, "TIME_DECAY") == {"A": round(1 / 7, 6), "B": round(2 / 7, 6), "C": round(4 / 7, 6)}


def test_a_touch_counts_for_the_next_purchase_alone_and_not_for_one_far_away() -> None:
    visits = [("P1", 0.0, "A", "EMAIL"), ("P1", 40.0, "B", "EMAIL")]
    sales = [("P1", 1.0, "10.00"), ("P1", 2.0, "10.00"), ("P1", 50.0, "10.00"), ("P2", 3.0, "10.00")]
    table = attribution(visits, sales)
    assert credit(table, "LINEAR") == {"A": 1.0, "B": 1.0, "NONE": 2.0}
    far = attribution([("P1", 0.0, "A", "EMAIL")], [("P1", 31.0, "10.00")])
    assert credit(far, "FIRST") == {"NONE": 1.0}


def test_a_purchase_early_in_the_window_is_of_the_touch_before_the_window() -> None:
    begin = (datetime(2026, 7, 1, tzinfo=UTC) - START).days - RULES.engagement.history_days
    visits = [("P1", begin - 2.0, "A", "EMAIL"), ("P2", begin - 5.0, "A", "EMAIL"), ("P3", begin - 3.0, "A", "EMAIL")]
    sales = [("P1", begin + 1.0, "10.00"), ("P2", begin - 4.0, "10.00")]  # the second one is before the window
    table = attribution(visits, sales)
    assert {model: credit(table, model) for model in MODELS} == {model: {"A": 1.0} for model in MODELS}
    assert table.filter(model="LAST").select("touch_count", "path_count", "revenue_credit").rows() == [(0, 1, 10.0)]


def test_a_click_and_the_visit_that_it_opens_are_one_touch_and_the_address_bar_is_none() -> None:
    visits = [("P1", 1.001, "A", "EMAIL"), ("P1", 1.5, None, "DIRECT")]
    table = attribution(visits, [("P1", 2.0, "10.00")], clicks=[("P1", 1.0, "A", "EMAIL")])
    assert table.filter(model="LINEAR").select("campaign_id", "touch_count", "path_count").rows() == [("A", 1, 1)]


def test_the_removal_effect_is_that_of_a_chain_worked_out_by_hand() -> None:
    """Three begin with A and one with B and buy; one begins with A and goes on to B and buys; one ends with A.

    From A 0.5 buy at once, 0.25 go on to B, from where all buy: 0.8 of the paths do. Without A 0.2 are left, without B
    0.8 x 0.5: effects of 0.75 and 0.5.
    """
    visits = [("P1", 0.0, "A", "ADS"), ("P2", 0.0, "A", "ADS"), ("P3", 0.0, "B", "ADS"), ("P4", 0.0, "A", "ADS"),
              ("P4", 1.0, "B", "ADS"), ("P5", 0.0, "A", "ADS")]  # fmt: skip
    table = attribution(visits, [(f"P{n}", 2.0, "10.00") for n in (1, 2, 3, 4)]).filter(model="MARKOV")
    effects = dict(table.select("campaign_id", "removal_effect").iter_rows())
    assert effects == {"A": pytest.approx(0.75), "B": pytest.approx(0.5)}
    assert credit(table, "MARKOV") == {"A": 2.4, "B": 1.6}
    assert (table["conversion_credit_low"] <= table["conversion_credit"]).all()


@pytest.mark.parametrize(
    "source", ["(direct)", "(none)", "none", "(not set)", "(direct) / (none)", " direct ", "", None]
)
def test_no_spelling_of_the_address_bar_is_a_touch(source: str | None) -> None:
    table = attribution([("P1", 0.0, None, source), ("P2", 0.0, "none", source)], [("P1", 1.0, "10.00")])
    assert table.select("campaign_id", "channel").unique().rows() == [("NONE", "NONE")]
    named = attribution([("P1", 0.0, "A", source)], [("P1", 1.0, "10.00"), ("P2", 1.0, "10.00")])
    assert set(named.select("campaign_id", "channel").rows()) == {("A", "WEB"), ("NONE", "NONE")}
    assert named.select("model", "campaign_id", "channel").is_unique().all()


def test_without_a_tracker_s_source_the_site_that_led_here_is_the_channel() -> None:
    visits: list[Visit] = [("P1", 0.0, None, None), ("P2", 0.0, None, "NEWS"), ("P3", 0.0, None, None)]
    table = attribution(visits, [(p, 1.0, "10.00") for p in ("P1", "P2", "P3")], led_by={0: "SEARCH", 1: "SOCIAL"})
    rows = table.filter(model="LAST").select("channel", "conversion_credit").rows()
    assert dict(rows) == {"SEARCH": 1.0, "NEWS": 1.0, "NONE": 1.0}


def test_a_site_of_no_type_is_no_touch() -> None:
    """Back from the page that took the payment, or from another host of the shop."""
    visits: list[Visit] = [("P1", 0.0, None, None), ("P1", 1.0, None, None), ("P2", 0.0, None, None)]
    table = attribution(
        visits, [("P1", 2.0, "10.00"), ("P2", 1.0, "10.00")], led_by={0: "SEARCH", 1: "OTHER", 2: "OTHER"}
    )
    assert dict(table.filter(model="LAST").select("channel", "conversion_credit").rows()) == {
        "SEARCH": 1.0,
        "NONE": 1.0,
    }
    named = attribution([("P1", 0.0, "A", None)], [("P1", 1.0, "10.00")], led_by={0: "OTHER"})
    assert set(named.select("campaign_id", "channel").rows()) == {("A", "WEB")}


def test_every_click_on_a_message_is_a_touch_but_for_those_of_one_visit() -> None:
    clicks: list[Visit] = [("P1", d, "A", "EMAIL") for d in (1.0, 1.001, 40.0)]
    table = attribution([], [("P1", 41.0, "10.00")], clicks=clicks)
    assert table.filter(model="LAST").select("campaign_id", "touch_count", "conversion_credit").rows() == [("A", 2, 1)]


def test_names_that_anybody_can_make_up_do_not_grow_the_table() -> None:
    visits: list[Visit] = [(f"P{n}", 0.0, f"made_up_{n}", "X") for n in range(5000)]
    visits += [(f"R{n}", 0.0, "REAL", "EMAIL") for n in range(50)]
    table = attribution(visits, [("P1", 1.0, "10.00"), ("R1", 1.0, "10.00")])
    assert table.filter(model="MARKOV").height == MOST_STATES
    for model in MODELS:
        rows = table.filter(model=model)
        assert rows["conversion_credit"].sum() == pytest.approx(2)
        if "OTHER" in rows["campaign_id"]:
            assert rows.filter(campaign_id="OTHER")["touch_count"].item() == 5000 - (MOST_STATES - 2)
    assert "REAL" in table["campaign_id"]


def test_a_subject_s_paths_are_one_draw() -> None:
    """Forty who come by one of two campaigns ten times each: as sure as of forty paths, not as of four hundred."""
    visits: list[Visit] = []
    sales: list[Sale] = []
    for n in range(40):
        days = [5.0 * k for k in range(10)]
        visits += [(f"P{n:02}", d, "A" if n % 2 or n % 3 == 0 else "B", "ADS") for d in days]
        sales += [(f"P{n:02}", d + 1, "10.00") for d in days]

    def width(table: pl.DataFrame) -> float:
        row = table.filter(model="MARKOV", campaign_id="A").row(0, named=True)
        return float((row["conversion_credit_high"] - row["conversion_credit_low"]) / row["conversion_credit"])

    once = attribution([v for v in visits if v[1] == 0.0], [s for s in sales if s[1] == 1.0])
    assert width(attribution(visits, sales)) == pytest.approx(width(once), rel=0.05) and width(once) > 0.2


def test_nothing_gives_nothing() -> None:
    assert attribution([], []).is_empty()
    alone = attribution([], [("P1", 1.0, "10.00")])
    assert set(alone["campaign_id"]) == {"NONE"} and len(alone) == len(MODELS)
    unsold = attribution([("P1", 0.0, "A", "EMAIL")], [])
    assert unsold.filter(model="MARKOV")["conversion_credit"].to_list() == [0.0]
    assert unsold["conversion_share"].is_null().all()
