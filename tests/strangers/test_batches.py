"""Deliveries of strangers: bad files, odd names, touched and changed files, clocks, corrections, and batches taken up
again.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

from customer360.platform import ledger, quality
from customer360.platform.errors import RunError, SourceError
from customer360.platform.known import known_of
from customer360.platform.run import replay
from customer360.platform.run.letters import open_dead_letters
from customer360.platform.sources.files import Files

HEAD = "TRANSACTION_ID,CUSTOMER_ID,CHANNEL,TRANSACTION_DATE,TRANSACTION_TYPE,TOTAL_AMOUNT,TRANSACTION_STATUS"
SHOPS = Files(table="bronze.stores", system="ERP", path="shops/*.csv", format="csv")
TILL = Files(table="bronze.transactions", system="TILL", path="till/*.csv", format="csv")


def sale(number: str, total: str) -> str:
    return f"{number},K7,POS,2026-03-02T09:30:00Z,PURCHASE,{total},COMPLETED"


@dataclass(frozen=True)
class Stranger:
    """A site with sources of the test."""

    site: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.site, name)

    def with_source(self, name: str, source: Files) -> Stranger:
        sources = {**self.site.settings.sources, name: source}
        return replace(
            self, site=type(self.site)(self.root, self.site.settings.model_copy(update={"sources": sources}))
        )

    def shops(self) -> dict[str, str]:
        rows = self.lake.scan("silver.stores").select("store_id", "store_name").collect()
        return dict(sorted(rows.rows()))

    def cli(self, *words: str) -> Any:
        from customer360.serve import cli

        config = self.root / "config.json"  # JSON is YAML
        config.write_text(self.settings.model_dump_json())
        log = logging.getLogger("customer360")
        before = list(log.handlers)
        result = CliRunner().invoke(cli.app, [*words, "--config", str(config)])
        log.handlers[:] = before
        return result

    def states(self, source: str) -> list[str]:
        from customer360.platform.run.rereading import batch_lines

        return [line.state for line in batch_lines(self.lake, self.settings, [source])]


@pytest.fixture
def stranger(site: Callable[..., Any], tmp_path: Path) -> Stranger:
    found = site(tmp_path)
    return Stranger(type(found)(found.root, found.settings.model_copy(update={"sources": {"shops": SHOPS}})))


def run(stranger: Stranger, **options: Any) -> dict[str, Any]:
    return {node.node: node for node in stranger.run(**{"end": "silver.stores", **options}).nodes}


def test_what_is_delivered_decides_and_not_when(stranger: Stranger) -> None:
    stranger.deliver("shops/day9.csv", ["STORE_ID,STORE_NAME", "H1,nine"])
    stranger.deliver("shops/day10.csv", ["STORE_ID,STORE_NAME", "H1,ten"])
    os.utime(stranger.landing / "shops/day9.csv", (2e9, 2e9))
    run(stranger)
    assert stranger.shops() == {"H1": "ten"}
    os.utime(stranger.landing / "shops/day9.csv")  # restored by a backup
    assert run(stranger)["source shops"].state == "current" and stranger.shops() == {"H1": "ten"}
    looks = known_of(stranger.lake, "shops", 1).inputs
    assert looks.height == 2 and looks["modified"].max() < 1.9e15, "the touched file is known by its new look"
    stranger.deliver("shops/day9.csv", ["STORE_ID,STORE_NAME", "H1,nine once more"])
    assert run(stranger)["source shops"].facts["inputs"] == 1
    assert stranger.shops() == {"H1": "nine once more"}


@pytest.mark.slow
def test_a_bad_file_is_listed_mended_and_retried(stranger: Stranger) -> None:
    shops = SHOPS.model_copy(update={"mapping": {"STORE_ID": "nr", "STORE_NAME": "label"}})
    stranger = stranger.with_source("shops", shops)
    stranger.deliver("shops/1.csv", ["nr,label", "H1,Harbour"])
    stranger.deliver("shops/2.csv", ["nr,labels", "H2,Hill", "H3,Heath"])
    (stranger.landing / "shops" / os.fsdecode(b"gr\xfc\xdfe.csv")).write_text("nr,label\n")
    (stranger.landing / "shops/again").symlink_to(".")
    node = run(stranger)["source shops"]
    assert (node.facts["read"], node.facts["landed"], node.facts["dead"], node.facts["failed"]) == (2, 1, 1, 1)
    assert stranger.shops() == {"H1": "Harbour"} and stranger.states("shops") == ["failed"]
    listed = stranger.cli("batch", "list", "shops")
    assert listed.exit_code == 0 and "label needs" not in listed.output and "STORE_NAME needs" in listed.output
    assert "sticks: shops #1" in stranger.cli("status").output
    assert stranger.cli("run", "silver.stores", "--dry-run").exit_code == 1
    assert stranger.cli("batch", "retry", "shops", "1").exit_code == 1, "it fails again"
    assert stranger.states("shops") == ["failed"] and len(open_dead_letters(stranger.lake)) == 1

    mended = stranger.with_source("shops", shops.model_copy(update={"mapping": {"STORE_ID": "nr"}}))
    run(mended)  # under another mapping what failed is tried again by itself
    assert mended.shops() == {"H1": "Harbour", "H2": None, "H3": None} and mended.states("shops") == ["landed"]
    assert open_dead_letters(mended.lake).is_empty()
    rows = mended.lake.scan("bronze.stores").sort("STORE_ID").collect()
    assert rows["_seq"].to_list() == [1, 1, 1] and rows["_file"].to_list() == ["shops/1.csv", *["shops/2.csv"] * 2]


def test_another_mapping_is_noticed_and_files_are_read_again(
    stranger: Stranger, caplog: pytest.LogCaptureFixture
) -> None:
    stranger.deliver("shops/1.csv", ["STORE_ID,STORE_NAME,alias", "H1,Harbour,Hafen", "broken"])
    stranger.deliver("shops/2.csv", ["STORE_ID,STORE_NAME,alias", "H2,Hill,Berg"])
    run(stranger)
    stranger.deliver("shops/3.csv", ["STORE_ID,STORE_NAME,alias", "H1,Harbour Two,Neuhafen"])
    run(stranger)
    (stranger.landing / "shops/2.csv").unlink()
    changed = stranger.with_source("shops", SHOPS.model_copy(update={"mapping": {"STORE_NAME": "alias"}}))
    log = logging.getLogger("customer360")
    log.addHandler(caplog.handler)
    try:
        run(changed)
        assert changed.shops() == {"H1": "Harbour Two", "H2": "Hill"}
        assert "2 batches (1 to 2) landed under another mapping" in caplog.text and "--reland shops" in caplog.text
        caplog.clear()
        before = changed.lake.version("bronze.stores")
        run(changed, reland=("shops",))
        assert changed.lake.version("bronze.stores") == before + 1, "old rows are replaced in one commit"
        assert changed.shops() == {"H1": "Neuhafen", "H2": "Hill"}
        assert "shops/2.csv is gone; its rows stay" in caplog.text
        caplog.clear()
        again = run(changed)
        assert "another mapping" not in caplog.text and again["silver.stores"].state == "current"
    finally:
        log.removeHandler(caplog.handler)
    outcomes = ledger.outcomes(changed.lake, "shops")
    assert all(quality.batch_balance("", o.facts).holds for o in outcomes.values())
    assert outcomes[1].facts["read"] == 3 and len(quality.dead_letters(changed.lake)) == 1
    assert "read again" in outcomes[1].trail[0]


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [("timezone", "Asia/Tokyo", "2026-03-02 09:30"), ("dates", "day_first", "2/3/2026"), ("decimal", ",", None)],
)
def test_values_read_in_another_way_are_noticed_too(
    stranger: Stranger, caplog: pytest.LogCaptureFixture, key: str, value: str, text: str | None
) -> None:
    line = sale("T1", '"1,234"').replace("2026-03-02T09:30:00Z", text or "2026-03-02T09:30:00Z")
    stranger = stranger.with_source("till", TILL)
    stranger.deliver("till/1.csv", [HEAD, line])
    run(stranger, end="bronze.transactions")

    def landed() -> Any:
        return stranger.lake.scan("bronze.transactions").select("TRANSACTION_DATE", "TOTAL_AMOUNT").collect().row(0)

    before = landed()
    changed = stranger.with_source("till", TILL.model_copy(update={key: value}))
    log = logging.getLogger("customer360")
    log.addHandler(caplog.handler)
    try:
        run(changed, end="bronze.transactions")
        assert "batch 1 landed under another reading" in caplog.text and "--reland till" in caplog.text
        assert landed() == before
        caplog.clear()
        run(changed, end="bronze.transactions", reland=("till",))
        assert landed() != before
        run(changed, end="bronze.transactions")
        assert "another reading" not in caplog.text
        outcome = ledger.outcomes(changed.lake, "till")[1]
        made = {part: print_ for part, print_ in outcome.made_by.items() if part != "reading"}
        replace(outcome, made_by=made).save(changed.lake)  # as releases before kept it
        run(stranger, end="bronze.transactions")
        assert "another reading" not in caplog.text
    finally:
        log.removeHandler(caplog.handler)


def test_an_empty_file_is_said_and_hides_no_renamed_column(
    stranger: Stranger, caplog: pytest.LogCaptureFixture
) -> None:
    stranger.deliver("shops/1.csv", ["STORE_ID,STORE_NAME", "H1,Harbour"])
    run(stranger)
    log = logging.getLogger("customer360")
    log.addHandler(caplog.handler)
    try:
        (stranger.landing / "shops/2.csv").write_bytes(b"")
        run(stranger)
        assert "shops/2.csv: is empty" in caplog.text and "lacks the column" not in caplog.text
        stranger.deliver("shops/3.csv", ["STORE_ID,LABEL", "H2,Hill"])
        run(stranger)
        assert "shops/3.csv: lacks the column 'STORE_NAME'" in caplog.text
    finally:
        log.removeHandler(caplog.handler)


def test_a_name_used_each_day_and_put_away(stranger: Stranger) -> None:
    """Each day's file is moved to an archive inside the glob: it is no news, and is read again from there."""
    feed = SHOPS.model_copy(update={"path": "shops/**/*.csv", "mapping": {"STORE_ID": "STORE_ID"}})
    stranger = stranger.with_source("shops", feed)
    stranger.deliver("shops/bad.csv", ["STORE_NUMBER,STORE_NAME,alias", "H8,Bad,bad"])
    for day, name in enumerate(("one", "two", "three"), 1):
        stranger.deliver("shops/s.csv", ["STORE_ID,STORE_NAME,alias", f"H1,{name},{name} alias", f"D{day},{name},x"])
        os.utime(stranger.landing / "shops/s.csv", (1e9 + day, 1e9 + day))
        run(stranger)
        (stranger.landing / f"shops/archive/{day}").mkdir(parents=True)
        (stranger.landing / "shops/s.csv").rename(stranger.landing / f"shops/archive/{day}/s.csv")
    run(stranger)
    assert stranger.states("shops") == ["failed", "landed", "landed"]
    stranger.cli("batch", "retry", "shops", "1")  # it fails again
    assert run(stranger)["source shops"].state == "current"
    shops = {"H1": "three", "D1": "one", "D2": "two", "D3": "three"}
    assert stranger.shops() == dict(sorted(shops.items()))
    changed = stranger.with_source("shops", feed.model_copy(update={"mapping": feed.mapping | {"STORE_NAME": "alias"}}))
    run(changed, reland=("shops",))
    assert changed.shops() == {"D1": "x", "D2": "x", "D3": "x", "H1": "three alias"}
    rows = changed.lake.scan("bronze.stores").select("_seq", "_file").unique().collect().sort("_seq").rows()
    assert rows == [(day, "shops/s.csv") for day in (1, 2, 3)]
    assert run(changed)["source shops"].state == "current" and len(changed.states("shops")) == 3
    changed.cli("batch", "drop", "shops", "1")
    assert run(changed)["source shops"].facts["inputs"] == 2, "what was dropped lands again from where it lies"


@pytest.mark.slow
def test_a_batch_is_dropped(stranger: Stranger) -> None:
    stranger.deliver("shops/1.csv", ["STORE_ID,STORE_NAME", "H1,Harbour"])
    run(stranger)
    stranger.deliver("shops/2.csv", ["STORE_ID,STORE_NAME", "H1,Wrong", "H9,Wrong", "broken"])
    run(stranger)
    assert "2 rows left bronze" in stranger.cli("batch", "drop", "shops", "2", "--ignore").output
    assert run(stranger)["source shops"].state == "current" and stranger.shops() == {"H1": "Harbour"}
    assert stranger.states("shops") == ["landed", "ignored"] and quality.dead_letters(stranger.lake).is_empty()
    assert "ignored, 2 rows left bronze.stores" in ledger.outcomes(stranger.lake, "shops")[2].trail[0]
    assert isinstance(stranger.cli("batch", "drop", "shops", "2").exception, SourceError)
    stranger.cli("batch", "drop", "shops", "1")
    assert run(stranger)["source shops"].facts["seq"] == 3 and stranger.shops() == {"H1": "Harbour"}


@pytest.mark.slow
def test_corrections_name_what_is_refused(stranger: Stranger, tmp_path: Path) -> None:
    till = stranger.with_source("till", TILL)
    till.deliver("till/1.csv", [HEAD, sale("A1", "1.00"), sale("A2", "x"), sale("A3", "y"), b"A4,\xff,POS", "A5"])
    till.run(end="silver.transactions")
    out = tmp_path / "out.jsonl"
    assert replay.export(till.lake, out) == (2, 2)
    rows = {json.loads(t)["_replay_of"].rpartition("/")[2]: json.loads(t) for t in out.read_text().splitlines()}

    def refused(*changed: dict[str, Any]) -> str:
        out.write_text("".join(json.dumps(row) + "\n" for row in (*rows.values(), *changed)))
        with pytest.raises(SourceError) as fault:
            replay.replay(till.lake, till.settings, out)
        return str(fault.value)

    assert "no line differs" in refused()
    sound, invented = "till/1/till/1.csv/1", "till/1/till/1.csv/77"
    assert f"out.jsonl:5: {sound!r} is no row" in refused({**rows["2"], "_replay_of": sound, "TOTAL_AMOUNT": "9"})
    assert f"out.jsonl:5: {invented!r} is no row" in refused({**rows["2"], "_replay_of": invented})
    lost = {**rows["4"], "_raw": sale("A4", "4.00").replace("K7", "\ufffd")}
    assert "out.jsonl:5: \ufffd (U+FFFD) still stands" in refused(lost)
    good = {**rows["2"], "TOTAL_AMOUNT": "2.00"}
    assert "corrected in line 5 already" in refused(good, {**good, "TOTAL_AMOUNT": "3.00"})
    assert len(ledger.batches(till.lake, "till")) == 1, "nothing of a refused file is taken"

    (till.landing / "till/1.csv").write_text("OTHER,HEAD\n")
    (till.landing / "till/1.csv").unlink()
    out.write_text(
        "".join(json.dumps(row) + "\n" for row in [*rows.values(), good, {**rows["5"], "_raw": sale("A5", "5")}])
    )
    assert replay.replay(till.lake, till.settings, out) == {"till": 2}
    till.deliver("till/2.csv", [HEAD, sale("A3", "3.00")])  # the source repairs this one itself
    till.run(end="silver.transactions")
    assert quality.refused(till.lake).is_empty()
    sales = till.lake.scan("silver.transactions").select("transaction_id", pl.col("total_amount").cast(float)).collect()
    assert sorted(sales.rows()) == [("A1", 1.0), ("A2", 2.0), ("A3", 3.0), ("A5", 5.0)]
    assert open_dead_letters(till.lake)["position"].to_list() == [4]


def test_a_repaired_line_is_read_below_the_header_that_it_came_under(stranger: Stranger, tmp_path: Path) -> None:
    till = stranger.with_source("till", TILL)
    till.deliver("till/day.csv", [f"{HEAD},TAX_AMOUNT", sale("A1", "1.00") + ",0.10", sale("A2", "2.00") + ",0.20,x"])
    till.run(end="bronze.transactions")
    swapped = HEAD.replace("TOTAL_AMOUNT", "TAX_AMOUNT")
    till.deliver("till/day.csv", [f"{swapped},TOTAL_AMOUNT", sale("A3", "0.30") + ",3.00"])
    till.run(end="bronze.transactions")
    out = tmp_path / "out.jsonl"
    replay.export(till.lake, out)
    row = json.loads(out.read_text())
    out.write_text(json.dumps({**row, "_raw": row["_raw"].removesuffix(",x")}))
    assert replay.replay(till.lake, till.settings, out) == {"till": 1}
    till.run(end="bronze.transactions")
    columns = ("TRANSACTION_ID", pl.col("TOTAL_AMOUNT", "TAX_AMOUNT").cast(float))
    landed = till.lake.scan("bronze.transactions").select(*columns).collect()
    assert sorted(landed.rows()) == [("A1", 1.0, 0.1), ("A2", 2.0, 0.2), ("A3", 3.0, 0.3)]


def test_a_file_that_changed_while_its_batch_waited_is_said(stranger: Stranger) -> None:
    stranger.deliver("shops/1.csv", ["STORE_ID,STORE_NAME", "H1,one", "H2,two"])
    found = SHOPS.discover(stranger_landing(stranger), [])
    ledger.open_batch(stranger.lake, "shops", found.inputs)  # and the run was killed
    stranger.deliver("shops/1.csv", ["STORE_ID,STORE_NAME", "H7,seven"])
    with pytest.raises(RunError, match="replaced before it was read"):
        run(stranger)
    assert stranger.lake.scan("bronze.stores").collect()["STORE_ID"].to_list() == ["H7"]
    (letter,) = open_dead_letters(stranger.lake).to_dicts()
    assert letter["seq"] == 1 and "is lost unless sent again" in letter["reason"]
    assert stranger.states("shops") == ["failed", "landed"]
    run(stranger)
    assert stranger.shops() == {"H7": "seven"}


def stranger_landing(stranger: Stranger) -> Any:
    from customer360.platform.sources.landing import landing_of

    return landing_of(stranger.settings)


def test_a_reland_that_is_killed_between_its_commits_is_done_again(stranger: Stranger) -> None:
    from customer360.platform import lake as lakes

    stranger.deliver("shops/1.csv", ["STORE_ID,STORE_NAME,alias", "H1,Harbour,Hafen", "broken"])
    run(stranger)
    changed = stranger.with_source("shops", SHOPS.model_copy(update={"mapping": {"STORE_NAME": "alias"}}))

    class Killed(BaseException):
        """The process dies."""

    def die(point: str) -> None:
        if point == "before commit bronze.stores":
            raise Killed

    lakes.observers.append(die)
    try:
        with pytest.raises(Killed):
            run(changed, reland=("shops",))
    finally:
        lakes.observers.remove(die)
    assert len(quality.dead_letters(changed.lake)) == 1
    run(changed, reland=("shops",))
    assert changed.shops() == {"H1": "Hafen"} and len(quality.dead_letters(changed.lake)) == 1
    assert changed.lake.scan("bronze.stores").collect().height == 1


def test_a_line_that_its_file_brings_mended_is_no_open_letter(stranger: Stranger) -> None:
    stranger.deliver("shops/1.csv", ["STORE_ID,STORE_NAME", "H1,Harbour", "H2,Hill,too,many", "H3,Heath", "H4,a,b,c"])
    run(stranger)
    assert open_dead_letters(stranger.lake)["position"].to_list() == [2, 4]
    stranger.deliver("shops/1.csv", ["STORE_ID,STORE_NAME", "H1,Harbour", "H2,Hill", "H3,Heath", "H4,a,b,c"])
    run(stranger)
    letters = open_dead_letters(stranger.lake)
    assert letters.select("seq", "position").rows() == [(1, 4), (2, 4)], "what is broken still stays"
    assert stranger.shops() == {"H1": "Harbour", "H2": "Hill", "H3": "Heath"}
    stranger.deliver("shops/1.csv", ["STORE_ID,STORE_NAME", "H5,Quay", "H6,Mill", "H7,Dale", "H8,Moor"])
    run(stranger)
    assert open_dead_letters(stranger.lake).height == 2, "another file under the name answers nothing"


LINES = Files(table="bronze.transaction_items", system="TILL", path="lines/*.csv", format="csv")
LINE = "TRANSACTION_ID,ITEM_ID,PRODUCT_ID,SKU,QUANTITY,TOTAL_PRICE,ITEM_STATUS"


def test_receipts_and_lines_of_many_batches_are_what_a_rebuild_gives(stranger: Stranger) -> None:
    """Headers read their lines: a line that comes, changes or is given back in a later batch changes its header."""
    shop = stranger.with_source("till", TILL).with_source("lines", LINES)
    batches = [
        ([sale("t1", "50.00"), sale("t2", "9.00")], ["t1,1,p1,p1,1,50.00,SOLD", "t2,1,p2,p2,1,9.00,SOLD"]),
        ([sale("t3", "20.00")], ["t3,1,p1,p1,1,50.00,SOLD", "t3,2,p2,p2,-1,-30.00,SOLD"]),
        ([], ["t1,2,p3,p3,-1,-15.00,SOLD", "t2,1,p2,p2,1,9.00,RETURNED"]),
        ([sale("t1", "35.00"), sale("t4", "7.00")], ["t9,1,p1,p1,1,1.00,SOLD"]),
        ([], ["t4,1,p2,p2,1,7.00,RETURNED", "t3,2,p2,p2,-1,-30.00,VOIDED"]),
    ]
    for n, (sales, lines) in enumerate(batches):
        if sales:
            shop.deliver(f"till/{n}.csv", [HEAD, *sales])
        shop.deliver(f"lines/{n}.csv", [LINE, *lines])
        done = shop.cli("run", "silver.transaction_items")
        assert done.exit_code == 0, done.output
    tables = ("silver.transactions", "silver.transaction_items")
    grown = {name: shop.lake.scan(name).collect().sort("source_system", "transaction_id") for name in tables}
    again = [word for name in tables for word in ("--full-refresh", name)]
    assert shop.cli("run", "silver.transaction_items", *again).exit_code == 0
    for name, rows in grown.items():
        whole = shop.lake.scan(name).collect()
        order = [c for c in ("source_system", "transaction_id", "item_id") if c in whole.columns]
        assert rows.sort(order).equals(whole.sort(order)), name
    money = grown["silver.transactions"].select("transaction_id", "gross_amount", "return_amount").rows()
    assert {key: (float(gross), float(back)) for key, gross, back in money}["t4"] == (7.0, 7.0)
