"""Wrong rows of every kind, from the file that brings them to the repaired row in silver (laws 6 and 9)."""

from __future__ import annotations

import json
import logging
import stat
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from customer360.platform import lake as lakes
from customer360.platform import ledger, quality, tables
from customer360.platform.errors import LakeLocked, SourceError
from customer360.platform.run import replay
from customer360.platform.run.letters import open_dead_letters

CUSTOMER = {"FIRST_NAME": "Zelda", "LAST_NAME": "Quixworth", "EMAIL_ADDRESS": "zelda.quixworth@example.org", "PHONE_NUMBER": "+14155550123",  # noqa: E501
            "DATE_OF_BIRTH": "1980-02-03", "COUNTRY_CODE": "US", "REGISTRATION_DATE": "2025-01-01", "LAST_UPDATED_DATE": "2026-06-01T10:00:00.123Z"}  # fmt: skip  # noqa: E501
SALE = {"CHANNEL": "POS", "TRANSACTION_DATE": "2026-06-10T10:00:00.250Z", "TRANSACTION_TYPE": "PURCHASE", "TOTAL_AMOUNT": "10.50",  # noqa: E501
        "TRANSACTION_STATUS": "COMPLETED", "LAST_UPDATED_DATE": "2026-06-10T10:00:00.250Z"}  # fmt: skip
LINE = {"PRODUCT_ID": "P1", "QUANTITY": "1", "UNIT_PRICE": "10.50", "TOTAL_PRICE": "10.50", "WEIGHT": "0.40"}
EVENT = {"EVENT_TYPE": "PAGE_VIEW", "EVENT_DATE": "2026-06-10T10:00:00.000Z", "VISITOR_ID": "vis-1", "PAGE_URL": "/"}
SECRETS = ("Zelda", "Quixworth", "zelda.quixworth", "4155550123", "Xenia", "not-a-date")
PEOPLE, TILL, TILL2, SHOP, CLICKS = (
    "pos/customers/1.csv", "pos/transactions/1.csv", "pos/transactions/2.csv", "shop/transactions/1.jsonl.gz", "web/events/1.jsonl.gz",  # noqa: E501
)  # fmt: skip


@pytest.fixture(scope="module")
def landed(site: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A shop with one file of customers, two of the till, one of the web shop and one of clicks, full of faults."""
    made = site(tmp_path_factory.mktemp("bad_rows"))
    people = [
        {"CUSTOMER_ID": "C1", **CUSTOMER},
        {
            "CUSTOMER_ID": "",
            **CUSTOMER,
            "FIRST_NAME": "Xenia",
            "DATE_OF_BIRTH": "not-a-date",
        },  # 2: missing key, bad type
        {"CUSTOMER_ID": "C3", **CUSTOMER, "DATE_OF_BIRTH": "not-a-date", "CUSTOMER_STATUS": "@@"},  # 3: costs no row
    ]
    made.deliver(PEOPLE, _csv("bronze.customers", people))
    sales = _csv(
        "bronze.transactions",
        [
            {"TRANSACTION_ID": "T1", "CUSTOMER_ID": "C1", **SALE},
            {"TRANSACTION_ID": "T2", **SALE, "CHANNEL": "TELEPATHY"},  # 2: bad enumeration
            {"TRANSACTION_ID": "", **SALE},  # 3: missing key
            {"TRANSACTION_ID": "T4", **SALE},
            {"TRANSACTION_ID": "T4", **SALE},  # 5: duplicate
            {"TRANSACTION_ID": "T6", **SALE, "TRANSACTION_DATE": "1890-01-01T00:00:00Z"},  # 6: a business rule
            {"TRANSACTION_ID": "T8", **SALE, "LAST_UPDATED_DATE": "2026-06-12T00:00:00Z"},
            {"TRANSACTION_ID": "T10", **SALE, "RECEIPT_NUMBER": "one, two\nthree"},  # a quoted line break is no fault
        ],
    )
    ragged = "T7,C1,POS,2026-06-10T10:00:00Z"  # 9
    made.deliver(TILL, [*sales, ragged])
    made.deliver(TILL2, _csv("bronze.transactions", [
        {"TRANSACTION_ID": "T8", **SALE, "TRANSACTION_STATUS": "PENDING"},  # 1: older version
        {"TRANSACTION_ID": "T9", **SALE, "TRANSACTION_DATE": "2026-05-03T08:00:00Z"},  # 2: late
    ]))  # fmt: skip
    made.deliver(SHOP, [
        # 1: unknown column
        json.dumps({"TRANSACTION_ID": "S1", "CUSTOMER_ID": "C1", **SALE, "CHANNEL": "ECOMMERCE", "GIFT_WRAP": True}),
        # 2: broken JSON
        json.dumps({"TRANSACTION_ID": "S2", "CUSTOMER_ID": "C1", **SALE, "REFUND_REASON": "Zelda Quixworth"})[:-40],
        '["S3"]',  # 3: no object
    ])  # fmt: skip
    made.deliver(CLICKS, [
        json.dumps({"EVENT_ID": "E1", **EVENT}),
        # 2: invalid bytes
        json.dumps({"EVENT_ID": "E2", **EVENT, "PAGE_TITLE": "@@"}).encode().replace(b"@@", b"\xff\xfe"),
    ])  # fmt: skip
    lines = _csv("bronze.transaction_items", [{"ITEM_ID": "I1", "TRANSACTION_ID": "T1", **LINE}])
    made.deliver(
        "pos/transaction_items/1.csv", [line.rpartition(",")[0] for line in lines]
    )  # missing column WEIGHT, the last
    made.run(end="silver")
    return made


@pytest.fixture
def shop(landed: Any, tmp_path: Path) -> Any:
    """A copy of its own, for tests that change something."""
    return landed.copy(tmp_path / "shop")


def _csv(table: str, rows: list[dict[str, str]]) -> list[str]:
    """Header and lines with all columns of the contract, in its order."""
    columns = list(tables.by_name(table).columns())
    text = pl.DataFrame(rows, schema=dict.fromkeys(columns, pl.String)).write_csv()
    return text.rstrip("\n").split("\n")


def _bronze(shop: Any, table: str, key: str, value: str) -> dict[str, Any]:
    (row,) = shop.lake.scan(table).filter(pl.col(key) == value).collect().to_dicts()
    return row


# ---- where each kind lands --------------------------------------------------------------------------------------

REFUSED = {
    ("pos_customers", PEOPLE, 2, "CUSTOMER_ID", "nullability", None),
    ("pos_customers", PEOPLE, 2, "DATE_OF_BIRTH", "type", "not-a-date"),
    ("pos_transactions", TILL, 2, "CHANNEL", "one_of", "TELEPATHY"),
    ("pos_transactions", TILL, 3, "TRANSACTION_ID", "nullability", None),
    ("pos_transactions", TILL, 6, None, "happened_in_sensible_time", None),
}
DEAD = {
    ("pos_transactions", TILL, 9, "expected 28 fields, found 4"),
    ("shop_transactions", SHOP, 2, "JSON"),
    ("shop_transactions", SHOP, 3, "JSON"),
    ("web_events", CLICKS, 2, "invalid bytes"),
}


def test_wrong_rows_land_where_they_belong_with_reason_value_and_position(landed: Any) -> None:
    refused = quality.refused(landed.lake).select("source", "file", "position", "column_name", "rule", "value")
    assert set(refused.rows()) == REFUSED and refused.height == len(REFUSED)
    letters = quality.dead_letters(landed.lake)
    reasons = letters.select("source", "file", "position", pl.col("reason").str.split(":").list.first())
    assert set(reasons.rows()) == DEAD and letters.height == len(DEAD)
    raw = dict(letters.select("letter_id", "raw").rows())
    assert raw[f"pos_transactions/1/{TILL}/9"] == b"T7,C1,POS,2026-06-10T10:00:00Z"
    assert b"\xff\xfe" in raw[f"web_events/1/{CLICKS}/2"] and raw[f"web_events/1/{CLICKS}/2"].startswith(
        b'{"EVENT_ID": "E2"'
    )


def test_bronze_keeps_the_text_of_what_does_not_fit(landed: Any) -> None:
    born = _bronze(landed, "bronze.customers", "FIRST_NAME", "Xenia")
    assert (born["DATE_OF_BIRTH"], json.loads(born["_rescued"])) == (None, {"DATE_OF_BIRTH": "not-a-date"})
    wrapped = _bronze(landed, "bronze.transactions", "TRANSACTION_ID", "S1")
    assert (wrapped["CHANNEL"], json.loads(wrapped["_rescued"])) == ("ECOMMERCE", {"GIFT_WRAP": "true"})
    assert _bronze(landed, "bronze.transaction_items", "ITEM_ID", "I1")["WEIGHT"] is None


def test_a_wrong_optional_value_costs_no_row_and_is_kept_with_its_rule(landed: Any) -> None:
    row = _bronze(landed, "bronze.customers", "CUSTOMER_ID", "C3")
    assert (row["DATE_OF_BIRTH"], row["CUSTOMER_STATUS"]) == (None, None)
    assert json.loads(row["_rescued"]) == {
        "DATE_OF_BIRTH": "not-a-date", "CUSTOMER_STATUS": "@@", "_rules": {"CUSTOMER_STATUS": "one_of"},
    }  # fmt: skip
    found = landed.lake.scan("silver.customer_records").filter(customer_id="C3").collect().row(0, named=True)
    assert (found["first_name"], found["date_of_birth"]) == ("Zelda", None)
    nodes = ledger.runs(landed.lake)[-1].nodes
    (facts,) = [n.facts for n in nodes if n.node == "source pos_customers"]
    assert (facts["nulled"], facts["nulled|DATE_OF_BIRTH|type"], facts["nulled|CUSTOMER_STATUS|one_of"]) == (3, 2, 1)
    (facts,) = [n.facts for n in nodes if n.node == "silver.customer_records"]
    assert (facts["nulled"], facts["quarantined"]) == (2, 1)


def test_only_sound_rows_are_in_silver(landed: Any) -> None:
    sales = landed.lake.scan("silver.transactions").collect()
    assert sorted(sales["transaction_id"]) == ["S1", "T1", "T10", "T4", "T8", "T9"]
    status = dict(sales.select("transaction_id", "transaction_status").rows())
    assert status["T8"] == "COMPLETED"  # the version that came later is older
    assert str(dict(sales.select("transaction_id", "occurred_on").rows())["T9"]) == "2026-05-03"
    assert landed.lake.scan("silver.events").collect()["event_id"].to_list() == ["E1"]
    assert landed.lake.scan("silver.transaction_items").collect()["item_id"].to_list() == ["I1"]


def test_every_row_is_accounted_for(landed: Any) -> None:
    found = _balances(landed)
    assert found["pos_transactions #1"] == {
        "received": 11,
        "landed": 10,
        "dead": 1,
        "collapsed": 0,
        "left_out": 0,
        "erased": 0,
        "without_elements": 0,
    }
    assert found["shop_transactions #1"] == {
        "received": 3,
        "landed": 1,
        "dead": 2,
        "collapsed": 0,
        "left_out": 0,
        "erased": 0,
        "without_elements": 0,
    }
    assert found["silver.transactions"] == {
        "received": 11, "silver": 6, "quarantined": 3, "duplicates": 1, "superseded": 1, "set_apart": 0, "combined": 0,
        "deleted": 0,
    }  # fmt: skip


def _balances(shop: Any) -> dict[str, dict[str, int]]:
    """Conservation by scope; that it holds is asserted on the way."""
    from customer360.serve.cli import report

    lines = [balance for _, balance in report.balances(shop.lake, shop.settings)]
    assert lines and all(b.holds for b in lines), [b.text for b in lines if not b.holds]
    return {b.scope: {"received": b.received, **b.outcomes} for b in lines}


# ---- repaired rows come back --------------------------------------------------------------------------------------


@dataclass
class Cli:
    """The command line on a shop's settings."""

    config: Path

    def __call__(self, *words: str, fails: type[Exception] | None = None) -> str:
        """What the command printed; the message of its error where it has to fail."""
        from customer360.serve import cli

        log = logging.getLogger("customer360")
        before = list(log.handlers)
        result = CliRunner().invoke(cli.app, [*words, "--config", str(self.config)])
        log.handlers[:] = before  # one that the command added writes to the runner's closed stream
        assert isinstance(result.exception, fails) if fails else result.exit_code == 0, (
            f"{result.output}\n{result.exception!r}"
        )
        return str(result.exception) if fails else result.output


@pytest.fixture
def cli(shop: Any) -> Cli:
    config = shop.root / "config.json"  # JSON is YAML
    config.write_text(shop.settings.model_dump_json())
    return Cli(config)


def repaired(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What a person would write into the exported rows."""
    by_place = {(r["_source"], int(r["_replay_of"].rpartition("/")[2])): r for r in rows}
    by_place["pos_customers", 2] |= {"CUSTOMER_ID": "C2", "DATE_OF_BIRTH": "1981-03-04"}
    by_place["pos_transactions", 2]["CHANNEL"] = "MOBILE"
    by_place["pos_transactions", 3]["TRANSACTION_ID"] = "T3"
    by_place["pos_transactions", 6]["TRANSACTION_DATE"] = "2026-06-11T00:00:00Z"
    by_place["pos_transactions", 9]["_raw"] = _csv(
        "bronze.transactions", [{"TRANSACTION_ID": "T7", "CUSTOMER_ID": "C1", **SALE}]
    )[1]
    by_place["shop_transactions", 2]["_raw"] = json.dumps({"TRANSACTION_ID": "S2", "CUSTOMER_ID": "C1", **SALE})
    by_place["shop_transactions", 3]["_raw"] = json.dumps({"TRANSACTION_ID": "S3", **SALE})
    by_place["web_events", 2]["_raw"] = json.dumps({"EVENT_ID": "E2", **EVENT, "PAGE_TITLE": "Home"})
    return rows


def test_repaired_rows_replace_what_was_refused(shop: Any, cli: Cli) -> None:
    out = shop.root / "refused.jsonl"
    assert "4 quarantined rows and 4 dead letters" in " ".join(cli("quarantine", "export", "--out", str(out)).split())
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert {(r["_source"], r["_replay_of"].rpartition("/")[2]) for r in rows} == {
        (s, str(p)) for s, _, p, *_ in REFUSED | DEAD
    }
    assert {reason for r in rows for reason in r["_reasons"]} >= {
        "CHANNEL: one_of",
        "DATE_OF_BIRTH: type",
        "TRANSACTION_ID: nullability",
    }
    out.write_text("".join(json.dumps(row) + "\n" for row in repaired(rows)))
    assert replay.replay(shop.lake, shop.settings, out) == {
        "pos_customers": 1,
        "pos_transactions": 4,
        "shop_transactions": 2,
        "web_events": 1,
    }
    shop.run(end="silver")

    sales = shop.lake.scan("silver.transactions").collect()
    assert sorted(sales["transaction_id"]) == ["S1", "S2", "S3", "T1", "T10", "T2", "T3", "T4", "T6", "T7", "T8", "T9"]
    moments = dict(sales.select("transaction_id", "occurred_at").rows())
    assert moments["T2"] == moments["T3"] == moments["T7"] == datetime(2026, 6, 10, 10, 0, 0, 250_000, tzinfo=UTC)
    born = shop.lake.scan("silver.customer_records").filter(customer_id="C2").collect().row(0, named=True)
    assert str(born["date_of_birth"]) == "1981-03-04" and born["first_name"] == "Xenia"
    assert born["last_updated_at"] == datetime(2026, 6, 1, 10, 0, 0, 123_000, tzinfo=UTC)
    assert sorted(shop.lake.scan("silver.events").collect()["event_id"]) == ["E1", "E2"]

    assert quality.refused(shop.lake).is_empty()
    assert open_dead_letters(shop.lake).is_empty()
    assert replay.export(shop.lake, shop.root / "nothing.jsonl") == (0, 0)
    found = _balances(shop)
    assert found["silver.transactions"] == {
        "received": 17, "silver": 12, "quarantined": 0, "duplicates": 1, "superseded": 4, "set_apart": 0, "combined": 0,
        "deleted": 0,
    }  # fmt: skip
    assert found["pos_transactions #2"]["received"] == found["pos_transactions #2"]["landed"] == 4

    versions = shop.versions()
    with pytest.raises(SourceError, match="replayed before"):
        replay.replay(shop.lake, shop.settings, out)
    assert {node.state for node in shop.run(end="silver").nodes} == {"current"} and shop.versions() == versions


@pytest.mark.slow
def test_the_command_line_replays_once(shop: Any, cli: Cli) -> None:
    out = shop.root / "refused.jsonl"
    cli("quarantine", "export", "--out", str(out))
    out.write_text(
        "".join(json.dumps(row) + "\n" for row in repaired([json.loads(t) for t in out.read_text().splitlines()]))
    )
    assert "4 corrections of pos_transactions" in cli("quarantine", "replay", str(out))
    assert shop.lake.scan("gold.customer_360").collect().height and quality.refused(shop.lake).is_empty()
    assert "replayed before" in cli("quarantine", "replay", str(out), fails=SourceError)


def test_a_correction_that_is_still_wrong_is_refused_again(shop: Any, cli: Cli) -> None:
    out = shop.root / "refused.jsonl"
    cli("quarantine", "export", "--out", str(out), "--table", "bronze.customers")
    (row,) = [json.loads(line) for line in out.read_text().splitlines()]
    out.write_text(json.dumps(row | {"DATE_OF_BIRTH": "the day after"}) + "\n")
    replay.replay(shop.lake, shop.settings, out)
    shop.run(end="silver")
    key, listed = quality.refused(shop.lake, "bronze.customers").sort("column_name").to_dicts()
    assert (key["rule"], key["row_id"]) == ("nullability", listed["row_id"])
    assert (listed["rule"], listed["value"], listed["source"]) == ("type", "the day after", "pos_customers")
    assert listed["row_id"] != row["_replay_of"]
    assert _balances(shop)["silver.customer_records"]["superseded"] == 1


# ---- what people may read -----------------------------------------------------------------------------------------


def test_listings_and_logs_show_no_personal_value(shop: Any, cli: Cli, caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("customer360")
    log.addHandler(caplog.handler)  # it does not propagate
    try:
        shown = (
            cli("quarantine", "list") + cli("status") + cli("run", "silver", "--full-refresh", "silver.transactions")
        )
    finally:
        log.removeHandler(caplog.handler)
    assert "DATE_OF_BIRTH" in shown and "•••" in shown and "expected" in shown and "built" in caplog.text
    for text in (shown, caplog.text):
        assert not [secret for secret in SECRETS if secret in text]


# ---- repair through a source's own format --------------------------------------------------------------------------


def test_a_repaired_record_goes_through_its_sources_mapping(site: Callable[..., Any], tmp_path: Path) -> None:
    shop = site(tmp_path)
    till = shop.settings.sources["pos_customers"].model_copy(
        update={
            "path": "till/*.csv.gz",
            "delimiter": ";",
            "mapping": {"CUSTOMER_ID": "Kunde", "FIRST_NAME": "UPPER(Vorname)", "DATE_OF_BIRTH": "Geboren"},
        }
    )
    shop = type(shop)(shop.root, shop.settings.model_copy(update={"sources": {"till": till}}))
    shop.deliver(
        "till/1.csv.gz", ["\ufeffKunde;Vorname;Geboren;Notiz\r", "1;Ann;1990-01-02;\r", "2;Bob\r", ";Eve;soon;vip\r"]
    )
    shop.run(end="silver.customer_records")
    out = tmp_path / "out.jsonl"
    assert replay.export(shop.lake, out) == (1, 1)
    rows = {json.loads(t)["_replay_of"].rpartition("/")[2]: json.loads(t) for t in out.read_text().splitlines()}
    rows["2"]["_raw"] = "2;Bob;1991-02-03;line\u2028break"
    rows["3"] |= {"CUSTOMER_ID": "3", "DATE_OF_BIRTH": "1992-03-04"}
    out.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows.values()), encoding="utf-8")
    assert replay.replay(shop.lake, shop.settings, out) == {"till": 2}
    shop.run(end="silver.customer_records")
    found = (
        shop.lake.scan("silver.customer_records")
        .select("customer_id", "first_name", pl.col("date_of_birth").cast(pl.String))
        .collect()
    )
    assert sorted(found.rows()) == [("1", "ANN", "1990-01-02"), ("2", "BOB", "1991-02-03"), ("3", "EVE", "1992-03-04")]
    landed = shop.lake.scan("bronze.customers").filter(pl.col("_seq") == 2).select("CUSTOMER_ID", "_rescued").collect()
    kept = {customer: json.loads(rescued or "{}") for customer, rescued in landed.rows()}
    assert kept["2"]["Notiz"] == "line\u2028break" and kept["3"]["Notiz"] == "vip"
    assert quality.refused(shop.lake).is_empty() and open_dead_letters(shop.lake).is_empty()


def test_a_line_below_a_header_in_another_order_is_repaired_by_its_columns(
    site: Callable[..., Any], tmp_path: Path
) -> None:
    shop = site(tmp_path)
    till = shop.settings.sources["pos_customers"].model_copy(update={"path": "till/*.csv.gz", "mapping": {}})
    shop = type(shop)(shop.root, shop.settings.model_copy(update={"sources": {"till": till}}))
    first, second = "CUSTOMER_ID,FIRST_NAME,LAST_NAME", "CUSTOMER_ID,LAST_NAME,FIRST_NAME"
    shop.deliver("till/1.csv.gz", [first, "1,Ann,Ray", "2,Kim", second, "3,Fox,Bob,x"])
    shop.run(end="silver.customer_records")
    out = tmp_path / "out.jsonl"
    assert replay.export(shop.lake, out) == (0, 2)
    above, below = (json.loads(line) for line in out.read_text().splitlines())
    above["_raw"], below["_raw"] = "2,Kim,Orr", "3,Fox,Bob"
    out.write_text("".join(json.dumps(row) + "\n" for row in (above, below)))
    with pytest.raises(SourceError, match="2: the line stands below a header that has the columns in another order"):
        replay.replay(shop.lake, shop.settings, out)
    del below["_raw"]
    below |= {"CUSTOMER_ID": "3", "FIRST_NAME": "Bob", "LAST_NAME": "Fox"}
    out.write_text("".join(json.dumps(row) + "\n" for row in (above, below)))
    assert replay.replay(shop.lake, shop.settings, out) == {"till": 2}
    shop.run(end="silver.customer_records")
    found = shop.lake.scan("silver.customer_records").select("customer_id", "first_name", "last_name").collect()
    assert sorted(found.rows()) == [("1", "Ann", "Ray"), ("2", "Kim", "Orr"), ("3", "Bob", "Fox")]


def test_a_replay_that_died_between_two_sources_is_made_up_for(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    out = shop.root / "refused.jsonl"
    replay.export(shop.lake, out)
    out.write_text(
        "".join(json.dumps(row) + "\n" for row in repaired([json.loads(t) for t in out.read_text().splitlines()]))
    )

    class Crash(BaseException):
        """The process dies."""

    def die(point: str) -> None:
        if point.startswith("after manifest"):
            raise Crash(point)

    monkeypatch.setattr(lakes, "observers", [die])
    with pytest.raises(Crash):
        replay.replay(shop.lake, shop.settings, out)
    monkeypatch.setattr(lakes, "observers", [])
    assert len(replay.replay(shop.lake, shop.settings, out)) == 3
    assert all(
        len(ledger.batches(shop.lake, name)) == 2
        for name in ("pos_customers", "pos_transactions", "shop_transactions", "web_events")
    )
    with pytest.raises(SourceError, match="replayed before"):
        replay.replay(shop.lake, shop.settings, out)


def test_no_corrections_are_taken_while_a_run_is_under_way(shop: Any) -> None:
    out = shop.root / "refused.jsonl"
    replay.export(shop.lake, out, "bronze.customers")
    with shop.lake.run_lock("a run"), pytest.raises(LakeLocked):
        replay.replay(shop.lake, shop.settings, out)
