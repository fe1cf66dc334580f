"""Fraud that is planted in the synthetic retailer ranks first, for its reasons; small evidence says nothing."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl

from customer360.pipelines.gold.payment_risks import COUNTED, STRANGERS, _judged, _returned, _tail, payment_risks
from customer360.pipelines.rules import EnrichmentRules
from customer360.pipelines.silver.payments import Payments
from customer360.pipelines.silver.sales import Transactions
from customer360.platform import tables

AS_OF, RULES = date(2026, 6, 1), EnrichmentRules()


def test_planted_fraudsters_rank_first(retailer) -> None:  # type: ignore[no-untyped-def]
    truth = pl.read_parquet(retailer.truth / "fraudsters.parquet").filter(pl.col("kind") != "SHARED_CARD")
    held = retailer.frame("silver.identities").collect().select("record_id", "person_id")
    cut = datetime(retailer.as_of.year, retailer.as_of.month, retailer.as_of.day, tzinfo=UTC)
    recent = truth.filter(pl.col("since").is_between(cut - timedelta(days=330), cut - timedelta(days=40)))
    named = recent.with_columns(record_id=pl.lit("SHOP/") + pl.col("customer_id")).join(held, on="record_id")
    risks = retailer.frame("gold.payment_risks").collect().sort("rank")
    assert named.height > 0
    first = risks.head(truth.height)
    assert named["person_id"].is_in(first["person_id"].implode()).all(), "precision at k"
    testers = named.filter(pl.col("kind") == "CARD_TESTING").join(risks, on="person_id")
    assert set(testers["risk_status"]) <= {"ALERT"}
    told = {reason["sign"] for row in testers["risk_reasons"] for reason in row}
    assert not testers.height or {"declined", "cards_never_accepted"} <= told
    honest = risks.filter(~pl.col("person_id").is_in(pl.Series(named["person_id"]).implode()).fill_null(False))
    assert (honest["risk_status"] == "ALERT").sum() <= truth.height


def frame(table: type[tables.Table], rows: list[dict[str, Any]]) -> pl.LazyFrame:
    return pl.LazyFrame({c: pl.Series(c, [r.get(c) for r in rows], t) for c, t in tables.schema(table).items()})


def attempt(who: str | None, day: int, n: int = 0, **more: Any) -> dict[str, Any]:
    at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=day, minutes=n)
    own = {"attempt_id": f"{who}-{day}-{n}", "source_system": "SHOP", "subject_id": who or f"pay:{day}-{n}",
           "person_id": who, "attempted_at": at, "attempted_on": at.date(), "captured_amount": Decimal("5.00"),
           "captured_by_at": at, "instrument_id": f"card of {who}"}  # fmt: skip
    return own | more


def judged(rows: list[dict[str, Any]], homes: dict[str, str] | None = None) -> dict[str, dict[str, Any]]:
    held = pl.LazyFrame(
        {"person_id": list(homes or {}), "household_id": list((homes or {}).values())},
        schema={"person_id": pl.String, "household_id": pl.String},
    )
    found = payment_risks(frame(Payments, rows), frame(Transactions, []), held, AS_OF, RULES).collect()
    return {row["payer_id"]: row for row in found.to_dicts()}


CROWD = [attempt(f"P{p}", 7 * d) for p in range(200) for d in range(6)]


def signs(row: dict[str, Any]) -> set[str]:
    return {reason["sign"] for reason in row["risk_reasons"]}


def test_a_card_that_strangers_share_is_a_sign_and_that_of_a_household_none() -> None:
    ring = [attempt(f"R{p}", 10 + d, instrument_id="ring") for p in range(6) for d in range(3)]
    home = [attempt(f"H{p}", 10 + d, instrument_id="home") for p in range(6) for d in range(3)]
    found = judged(CROWD + ring + home, {f"H{p}": "one" for p in range(6)})
    assert all("strangers_on_card" in signs(found[f"R{p}"]) for p in range(6))
    assert all(found[f"R{p}"]["risk_status"] == "ALERT" for p in range(6))
    assert all(found[f"H{p}"]["risk_status"] == "CLEAR" for p in range(6))


def test_who_pays_as_a_guest_is_told_by_device_and_is_nobodys_stranger() -> None:
    tests = [attempt(None, 5, n, declined_at=datetime(2026, 1, 6, tzinfo=UTC), instrument_id=f"c{n}", device_hash="d",
                     captured_amount=Decimal("0.00")) for n in range(15)]  # fmt: skip
    guest = [attempt(None, 9, n, instrument_id="card of P1", device_hash=f"e{n}") for n in range(5)]
    found = judged(CROWD + tests + guest)
    assert found["device:d"]["risk_status"] == "ALERT" and found["device:d"]["person_id"] is None
    assert found["P1"]["risk_status"] == "CLEAR" and "strangers_on_card" not in signs(found["P1"])


def test_what_happens_on_the_date_or_later_is_not_known() -> None:
    late = datetime(2026, 6, 1, tzinfo=UTC)
    back = [attempt("B", 7 * d, charged_back_at=late) for d in range(6)]
    after = [attempt("P5", 151 + d, charged_back_at=late + timedelta(days=d)) for d in range(3)]
    assert judged(CROWD + back + after)["B"]["risk_reasons"] == []
    assert judged(CROWD + after)["P5"] == judged(CROWD)["P5"]
    waiting = attempt("P5", 140, captured_by_at=None, captured_amount=Decimal("0.00"))
    later = waiting | {"captured_by_at": late, "captured_amount": Decimal("5.00")}
    taken = attempt("P5", 141, charged_back_at=late - timedelta(days=1))
    assert judged([*CROWD, taken, later])["P5"] == judged([*CROWD, taken, waiting])["P5"], "captured since"


def test_few_attempts_are_not_judged_and_nobody_is_a_table_without_rows() -> None:
    row = judged([*CROWD, attempt("F", 1, declined_at=datetime(2026, 1, 2, tzinfo=UTC))])["F"]
    assert (row["risk_status"], row["risk_score"], row["p_value"]) == ("NOT_ENOUGH_EVIDENCE", None, None)
    assert judged([]) == {}


def test_reasons_are_the_unlikely_signs_with_the_least_likely_first() -> None:
    at = datetime(2026, 5, 1, tzinfo=UTC)
    signed = [attempt("S", 100, n, declined_at=at, bin_country="FR", billing_country="US") for n in range(9)]
    rows = judged([*CROWD, *signed, attempt("S", 101, bin_country="US", shipping_country="US")])
    reasons = rows["S"]["risk_reasons"]
    assert {"declined", "foreign", "in_quick_succession"} <= signs(rows["S"])
    assert reasons == sorted(reasons, key=lambda r: (r["p_value"], r["sign"]))
    assert all(reason["p_value"] <= 0.05 for row in rows.values() for reason in row["risk_reasons"])
    told = {reason["sign"]: (reason["count"], reason["of"]) for reason in reasons}
    assert (told["foreign"], told["declined"], told["in_quick_succession"]) == ((9, 10), (9, 10), (8, 9))
    assert rows["P1"]["risk_reasons"] == []


def test_whose_a_payer_is_does_not_depend_on_the_order_of_its_attempts() -> None:
    """An attempt of a subject of whom nobody knew yet whose it is, and later ones of the person of that name."""
    rows = [attempt("G", 100, person_id=None), *(attempt("G", 100 + n) for n in range(1, 4)), attempt("P1", 5)]
    assert judged(rows)["G"]["person_id"] == judged(rows[::-1])["G"]["person_id"] == "G"


def test_the_tail_is_that_of_the_others() -> None:
    chance, expected = _tail(np.array([0] * 99 + [5]), np.array([10] * 100))
    assert chance[0] == 1.0 and chance[-1] < 1e-6 and expected[-1] < 0.02


def test_few_honest_couples_on_one_card_are_no_alerts() -> None:
    count = 20_000
    zero, of = pl.Series([0] * count), pl.Series([4] * count)
    signs_of = {f"{sign}{end}": of if end else zero for sign in COUNTED for end in ("", "_of")}
    shares = pl.Series([1] * 160 + [0] * (count - 160))
    known = pl.DataFrame(
        {"payer_id": [f"P{n:05}" for n in range(count)], "attempt_count": of, STRANGERS: shares}
        | {f"{STRANGERS}_of": pl.Series([1] * count)} | signs_of
    )  # fmt: skip
    assert "ALERT" not in set(_judged(known, RULES.payment_risk)["risk_status"])


def test_a_sale_given_back_counts_once_where_header_and_receipt_tell_of_it() -> None:
    days = [date(2026, 5, day) for day in (1, 2, 3, 4, 9)]
    rows = [{"person_id": "P", "occurred_on": on, "is_sale": True, "is_return": False, "refunded_amount": Decimal(0)}
            for on in days[:4]]  # fmt: skip
    rows[0] |= {"refunded_amount": Decimal("5.00"), "returned_on": days[4]}
    receipt = {"person_id": "P", "occurred_on": days[4], "is_sale": False, "is_return": True}
    found = _returned(frame(Transactions, [*rows, receipt]), date(2026, 1, 1), AS_OF).collect()
    assert found.select("returned", "returned_of").row(0) == (1, 4)
