"""Ids of payments that were masked: the payment stays, and is nobody's rather than that of all who share the rest."""

from __future__ import annotations

import polars as pl
import pytest

from customer360.pipelines.bronze.payments import UNMASKED, Payments
from customer360.platform import tables
from customer360.platform.judging import judge
from customer360.platform.sources.cards import masked


@pytest.mark.parametrize("by", ["", " ", "-", "."])
def test_what_is_left_of_a_number_is_no_id(by: str) -> None:
    number = masked(by.join("4000001234567899"))
    left = pl.Series([number, "A*1", "ord-17**", None])
    assert "*" in number and left.str.contains(UNMASKED).to_list() == [False, True, True, None]


def test_a_masked_id_is_null_and_a_masked_key_is_refused() -> None:
    schema, left = tables.schema(Payments), "400000******7899"
    ids = ["ORIGINAL_PAYMENT_ID", "TRANSACTION_ID", "CUSTOMER_ID", "VISITOR_ID", "CARD_TOKEN", "DEVICE_HASH", "IP_HASH"]
    third = {"PAYMENT_ID": "P3", "CUSTOMER_ID": left, "TRANSACTION_ID": "T1"}
    given = [{"PAYMENT_ID": "P1", **dict.fromkeys(ids, left)}, {"PAYMENT_ID": left}, third]
    often = {"PAYMENT_STATUS": "CAPTURED", "PAYMENT_DATE": "2026-05-04T10:00:00", "AMOUNT": "5.00"}
    frame = pl.DataFrame({c: [(often | row).get(c) for row in given] for c in schema}, strict=False)
    frame = frame.with_columns(pl.col("PAYMENT_DATE").str.to_datetime(time_zone="UTC"))
    verdict = judge(Payments, frame.cast(dict(schema)))  # type: ignore[arg-type]
    assert verdict.valid["PAYMENT_ID"].to_list() == ["P1", "P3"]
    assert verdict.valid.select(ids).row(0) == (None,) * len(ids)
    assert verdict.valid["TRANSACTION_ID"].to_list() == [None, "T1"] and verdict.valid["CUSTOMER_ID"][1] is None
    assert verdict.nulled.height == len(ids) + 1
    assert verdict.failures["rule"].unique().to_list() == ["names_no_card_as_its_id"]
