"""Campaigns, service and third parties of the synthetic retailer: what is planted is there, and stated in the truth."""

from __future__ import annotations

from datetime import date

import numpy as np
import polars as pl
import pytest

from customer360.pipelines.sample import engagement, external, orders, service
from customer360.pipelines.sample.sales import FAILED, PURCHASE
from customer360.pipelines.sample.world import World, build_world


@pytest.fixture(scope="module")
def world() -> World:
    return build_world(customers=1200, days=240, seed=5, end_on=date(2026, 6, 30))


def z_score(hits: float, chances: np.ndarray) -> float:
    return float((hits - chances.sum()) / np.sqrt((chances * (1 - chances)).sum()))


def test_the_planted_effect_is_in_the_groups_and_not_in_who_is_in_them(world: World) -> None:
    rows = engagement.audience(world).join(engagement.plan(world).select("number", "share", "lift"), on="number")
    share, lift = pl.col("share"), pl.col("lift")
    strength = (lift - 1) / (1 - share + share * lift)
    assert abs(z_score(rows["treated"].sum(), rows["share"].to_numpy())) < 4
    bought = rows.filter("bought").with_columns(planted=share * (1 + (1 - share) * strength))
    assert len(bought) > 200
    assert abs(z_score(bought["treated"].sum(), bought["planted"].to_numpy())) < 4
    assert bought["treated"].mean() > rows.filter(~pl.col("bought"))["treated"].mean()
    # A group says nothing about how much its people buy otherwise.
    rate = world.lives["buy_rate"].to_numpy()[rows["person"].to_numpy()]
    treated = rows["treated"].to_numpy() - rows["share"].to_numpy()
    assert abs((treated * (rate - rate.mean())).sum() / np.sqrt((treated**2 * (rate - rate.mean()) ** 2).sum())) < 4
    truth = engagement.campaign_truth(world)
    assert truth["treated_count"].sum() + truth["control_count"].sum() == len(rows)
    assert set(truth["lift"]) <= set(engagement.LIFTS)


def test_only_the_treated_get_messages_in_a_possible_order(world: World) -> None:
    sent = engagement.engagement_rows(world)
    groups = engagement.audience_rows(world)
    listed = sent.filter(pl.col("CAMPAIGN_ID") != engagement.UNLISTED)
    assert len(listed) < len(sent)
    treated = groups.filter(AUDIENCE_GROUP="TREATMENT")
    assert listed.join(treated, on=["CAMPAIGN_ID", "CUSTOMER_ID"], how="anti").is_empty()
    times = listed.pivot("ENGAGEMENT_ACTION", index=["CAMPAIGN_ID", "CUSTOMER_ID"], values="ENGAGEMENT_DATE")
    assert len(times) == listed.filter(ENGAGEMENT_ACTION="SENT").height
    for before, after in (("SENT", "DELIVERED"), ("DELIVERED", "OPENED"), ("OPENED", "CLICKED")):
        both = times.filter(pl.col(after).is_not_null())
        assert (both[before] < both[after]).all()
    assert sent["ENGAGEMENT_ID"].is_unique().all()


def test_an_order_stands_behind_every_online_purchase(world: World) -> None:
    rows = orders.order_rows(world)
    receipts = world.sales.receipts.with_row_index("receipt")
    online = receipts.filter(pl.col("online") & (pl.col("kind") == PURCHASE))
    assert set(rows["ONLINE_ORDER_ID"]) == {f"O{number:010d}" for number in online["receipt"]}
    assert {"DELIVERED", "PAYMENT_FAILED", "CANCELLED"} <= set(rows["ORDER_STATUS"])
    there = rows.filter(pl.col("DELIVERED_DATE").is_not_null())
    assert (there["DELIVERED_DATE"] > there["SHIPPED_DATE"]).all()
    late = (there["DELIVERED_DATE"].dt.date() > there["PROMISED_DATE"]).mean()
    assert late == pytest.approx(orders.LATE_SHARE, abs=0.04)


def test_tickets_follow_what_went_wrong(world: World) -> None:
    made, truth = service.ticket_rows(world), service.service_truth(world)
    assert set(truth["cause"]) == set(service.CAUSES)
    failed = world.sales.receipts.with_row_index("receipt").filter(pl.col("status") == FAILED)["receipt"]
    blamed = truth.filter(cause="PAYMENT_FAILED")["transaction_id"]
    assert set(blamed) <= {f"T{number:010d}" for number in failed}
    assert made["TICKET_ID"].is_unique().all()
    assert 0 < made["CUSTOMER_ID"].null_count() < len(made)
    contacts = service.interaction_rows(world)
    known = contacts["TICKET_ID"].is_in(made["TICKET_ID"].to_list())
    assert known.sum() > 0.8 * len(contacts)
    assert contacts["TICKET_ID"].null_count() > 0
    solved = made.filter(pl.col("RESOLUTION_DATE").is_not_null())
    assert (solved["RESOLUTION_DATE"] > solved["CREATION_DATE"]).all()


def test_the_stated_share_of_profiles_is_of_somebody_else(world: World) -> None:
    truth = external.profile_truth(world)
    assert truth["is_wrong"].mean() == pytest.approx(external.WRONG_SHARE, abs=0.09)
    assert truth.filter(pl.col("is_wrong") != (pl.col("entity_id") != pl.col("described"))).is_empty()
    said = external.profile_rows(world)["DATA_QUALITY_SCORE"].cast(pl.Float64)
    assert said.filter(truth["is_wrong"]).mean() < said.filter(~truth["is_wrong"]).mean()
    series = external.sentiment_rows(world)
    parts = series["POSITIVE_MENTIONS"] + series["NEGATIVE_MENTIONS"] + series["NEUTRAL_MENTIONS"]
    assert (parts == series["MENTION_COUNT"]).all()
    assert len(series) > 100
