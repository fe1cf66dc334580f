"""The command and the page on quality: what they count, what they cover, and that they need nothing from elsewhere."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from typer.testing import CliRunner

from customer360.platform import tables
from customer360.platform.errors import TableMissing
from customer360.platform.quality.metrics import ALL, Measurement, metric_rows, rule_rows
from customer360.platform.settings import LakeSettings, Settings
from customer360.serve.cli import app
from customer360.serve.cli import quality as cli_quality
from customer360.serve.compose import compose
from customer360.serve.publication import quality
from customer360.serve.publication.quality import Overview, overview, page

T0 = datetime(2026, 3, 1, tzinfo=UTC)
SECRETS = ("Annabel", "Ryder", "ann.ryder@example.org", "2125550199")
NAME = "shop <b>"


def measurement(version: int, valid: int) -> Measurement:
    counts = {"total": 50, "valid": valid, "invalid": 50 - valid, "duplicates": 3, "nulls": 4,
              "validity|contract|checked": 50, "validity|contract|passed": valid,
              "consistency|till_names_store|checked": 40, "consistency|till_names_store|passed": 33}  # fmt: skip
    return Measurement(
        "bronze.transactions", version, T0 + timedelta(days=version), 2.0, 1, {"POS": counts, ALL: counts}
    )


@pytest.fixture
def measured(empty_shop) -> Any:
    """A lake with three measurements of one table and three scored people."""
    compose()
    shop = empty_shop
    history = [measurement(v, valid) for v, valid in enumerate((50, 45, 47))]
    shop.write("quality.data_quality_metrics", [r for m in history for r in metric_rows(m, {"validity": 1})])
    shop.write("quality.rule_counts", rule_rows(history[-1]))
    standing = {"table_name": "bronze.transactions", "dimension": "validity", "opened_version": 1, "opened_at": T0,
                "reason": "floor", "value": 0.94, "limit": 0.97}  # fmt: skip
    shop.write("quality.alerts", [standing])
    shop.write("gold.total_readings", [
        {"source_system": "SHOP", "reading": "lines + tax", "compared_count": 40, "agreed_count": 30,
         "other_reading": "lines, tax included", "other_count": 9}
    ])  # fmt: skip
    shop.write("quality.quarantine", [
        {"row_id": f"s/1/f/{i}", "table_name": "bronze.transactions", "rule": "one_of", "column_name": "CHANNEL", "value": SECRETS[0],  # noqa: E501
         "source": "s", "source_system": "POS", "seq": 1, "file": "f", "position": i, "record": SECRETS[2]}
        for i in range(3)
    ])  # fmt: skip
    shop.write("silver.people", [
        {"person_id": p, "first_name": SECRETS[0], "last_name": SECRETS[1], "email_address": SECRETS[2], "phone_number": SECRETS[3],  # noqa: E501
         "record_count": 1, "source_systems": [], "provenance": "{}"}
        for p in ("p_ann", "p_bob", "p_cyd")
    ])  # fmt: skip
    scored = [("p_ann", 95.0, [], False), ("p_bob", 61.0, ["city", "gender"], True), ("p_cyd", 40.0, ["city"], True)]
    shop.write("gold.customer_quality", [
        {"person_id": p, "as_of": day, "completeness_score": s / 100, "quality_score": s, "missing_attributes": missing,
         "missing_worth": float(len(missing)), "needs_data": needs}
        for p, s, missing, needs in scored
        for day in (date(2026, 2, 1), date(2026, 3, 1))
    ])  # fmt: skip
    shop.write("gold.customer_360", [shop.profile("p_cyd", net_amount=900), shop.profile("p_bob", net_amount=2)])
    return shop


def test_the_overview_holds_the_newest_state(measured) -> None:
    found = overview(measured.lake)
    assert found.tables["valid_records"].to_list() == [47]
    assert found.history.height == 3
    assert found.rules.select("rule", "failed_count").rows() == [("till_names_store", 7), ("CHANNEL: one_of", 3)]
    assert found.scores.height == 3, "the newest edition alone"
    assert found.missing.select("attribute", "people").rows() == [("city", 2), ("gender", 1)]
    assert found.people["person_id"].to_list() == ["p_cyd", "p_bob"], "who spent most comes first"


def test_the_page_shows_everything_and_needs_nothing_from_elsewhere(measured) -> None:
    text = page(overview(measured.lake), NAME, T0)
    assert "shop &lt;b&gt;" in text
    assert text.count("<svg") == 2
    assert "<polyline" in text
    for said in ("bronze.transactions", "94.0 %", "till_names_store", "CHANNEL: one_of", "stands", "p_cyd", "66.7 %"):
        assert said in text, said
    assert not any(foreign in text for foreign in ("<script", "http:", "https:", "src=", "url("))


def test_what_totals_are_made_of_is_told_by_source(measured, monkeypatch: pytest.MonkeyPatch) -> None:
    there = Settings(lake=LakeSettings(root=str(measured.lake.root)))
    monkeypatch.setattr(cli_quality, "configured", lambda config: there)
    told = " ".join(CliRunner().invoke(app, ["quality"], env={"COLUMNS": "200"}).output.split())
    assert "SHOP lines + tax 40 75.0 % 9: lines, tax included" in told
    assert "9: lines, tax included" in page(overview(measured.lake), NAME)


def test_personal_values_are_covered_in_page_and_command(measured, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    there = Settings(lake=LakeSettings(root=measured.lake.root, buckets=measured.lake.buckets))
    monkeypatch.setattr(cli_quality, "configured", lambda config: there)  # it would also set up the log for good
    result = CliRunner().invoke(app, ["quality", "--html", str(tmp_path / "q.html")])
    assert result.exit_code == 0, result.output
    text = (tmp_path / "q.html").read_text(encoding="utf-8")
    assert "•••" in text
    for said in (result.output, text):
        assert "till_names_store" in said
        assert "p_cyd" in said
        assert not [s for s in SECRETS if s in said]


def test_a_page_of_nothing_is_a_page(measured) -> None:
    found = overview(measured.lake)
    empty = Overview(**{name: getattr(found, name).clear() for name in Overview.__dataclass_fields__})
    text = page(empty, NAME)
    assert "Nobody." in text
    assert "No person was scored yet." in text


def test_a_lake_that_was_never_measured_says_what_to_do(lake) -> None:
    with pytest.raises(TableMissing, match="customer360 run"):
        overview(lake)
    assert tables.by_name("quality.alerts")


def test_every_score_has_its_band(measured) -> None:
    scores = overview(measured.lake).scores["quality_score"]
    bands = quality._bands(scores.clear().extend(type(scores)("quality_score", [0.0, 4.99, 5.0, 100.0])))
    assert [(b["low"], b["people"]) for b in bands if b["people"]] == [(0.0, 2), (5.0, 1), (95.0, 1)]
