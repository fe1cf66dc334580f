"""A shop's own files, half of whose customers refuse something: what only they know reaches nothing that it may not."""

from __future__ import annotations

import importlib.util
import json
import re
import zipfile
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner

from customer360.models.base import MODELS
from customer360.models.lifecycle import content
from customer360.models.lifecycle.job import ModelJob
from customer360.pipelines.consents import RESTRICTED
from customer360.pipelines.denied import denied
from customer360.platform import access, purposes, tables, telemetry
from customer360.platform import settings as configuration
from customer360.platform.lake import Lake
from customer360.platform.run import lake_of
from customer360.serve import cli
from customer360.serve.app import build_app
from customer360.serve.compose import compose

CONFIG = """
landing: {folder}/landing
lake: {{root: {folder}/lake, buckets: 4}}
state: {folder}/state
execution: {{executor: local}}
sources:
  customers: {{table: bronze.customers, system: SHOP, path: "customers*.csv", format: csv}}
  products: {{table: bronze.products, system: SHOP, path: "products*.csv", format: csv}}
  receipts: {{table: bronze.transactions, system: SHOP, path: "receipts*.csv", format: csv}}
  lines: {{table: bronze.transaction_items, system: SHOP, path: "lines*.csv", format: csv}}
  consents: {{table: bronze.preferences, system: SHOP, path: "consents*.csv", format: csv}}
  letters: {{table: bronze.engagement_events, system: SHOP, path: "letters*.csv", format: csv}}
  shown: {{table: bronze.impressions, system: SHOP, path: "shown*.csv", format: csv}}
"""
_spec = importlib.util.spec_from_file_location("feeds", Path(__file__).parents[1] / "feeds.py")
assert _spec is not None and _spec.loader is not None
feeds: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(feeds)

CANARY = r"(?:CANARY|KIND|LETTER|canarymail)(\d+)"
MONTHS = [f"2025-{month:02d}" for month in range(4, 13)] + ["2026-01", "2026-02", "2026-03", "2026-04"]
REFUSALS = ("PERSONALIZATION:NO", "PROFILING:NO", "ALL:NO", "TRAINING:NO")
CUSTOMERS = (
    "CUSTOMER_ID,FIRST_NAME,LAST_NAME,EMAIL_ADDRESS,DATE_OF_BIRTH,ADDRESS_LINE_1,CITY,ZIP_CODE,LAST_UPDATED_DATE"
)
RECEIPTS = (
    "TRANSACTION_ID,CUSTOMER_ID,TRANSACTION_DATE,TRANSACTION_TYPE,TOTAL_AMOUNT,CURRENCY,CHANNEL,TRANSACTION_STATUS"
)
LETTERS = "ENGAGEMENT_ID,CAMPAIGN_ID,CUSTOMER_ID,ENGAGEMENT_TYPE,ENGAGEMENT_ACTION,ENGAGEMENT_DATE"
SYLLABLES = tuple(a + b + c for a, b, c in product("bdfgklmnprstvw", "aeiou", "lnrsk"))


def spread(n: int) -> str:
    """A syllable; neighbours share none."""
    return SYLLABLES[n * 113 % len(SYLLABLES)]


@dataclass
class Shop:
    """``people`` customers, every other of whom refuses, the ways to refuse in turn. Each bought shared products, and
    one of their own, and opened a letter that nobody else got."""

    folder: Path
    people: int
    has_every_feed: bool = False  # each customer is in every feed that there is, with words of their own

    def __post_init__(self) -> None:
        compose()
        self.config = self.folder / "shop.yaml"
        self.config.write_text(self.said_settings)
        (self.folder / "landing").mkdir()
        self.settings: Any = configuration.load(self.config)
        self.lake: Lake = lake_of(self.settings)

    @property
    def said_settings(self) -> str:
        return CONFIG.format(folder=self.folder) + (feeds.sources() if self.has_every_feed else "")

    def deliver(self, name: str, head: str, rows: list[str]) -> None:
        (self.folder / "landing" / f"{name}.csv").write_text("\n".join([head, *rows, ""]))

    def open(self) -> None:
        every = range(self.people)
        self.deliver("customers", CUSTOMERS, [f"{self.customer(n)},2026-01-01T00:00:00" for n in every])
        goods = [f"P{n},Ware {n},Kind{n % 4}" for n in range(16)] + [f"CANARY{n}Q,Einzel {n},KIND{n}Q" for n in every]
        self.deliver("products", "PRODUCT_ID,PRODUCT_NAME,PRODUCT_CATEGORY", goods)
        receipts, lines = [], []
        for n, (day, month) in product(every, enumerate(MONTHS)):
            own = [f"CANARY{n}Q"] if day == 2 else []
            receipts.append(f"T{n}-{day},C{n},{month}-1{n % 9}T10:00:00,PURCHASE,20.00,EUR,POS,COMPLETED")
            bought = [f"P{(n + 3 * day) % 16}", f"P{(n + day + 1) % 16}", *own]
            lines += [f"T{n}-{day}-{i},T{n}-{day},{p},1,10.00,10.00" for i, p in enumerate(bought)]
        self.deliver("receipts", RECEIPTS, receipts)
        self.deliver("lines", "ITEM_ID,TRANSACTION_ID,PRODUCT_ID,QUANTITY,UNIT_PRICE,TOTAL_PRICE", lines)
        self.deliver("letters", LETTERS, [f"L{n},LETTER{n}Q,C{n},EMAIL,OPENED,2026-03-01T00:00:00" for n in every])
        if self.has_every_feed:
            others = (t for t in feeds.every() if t != "bronze.customers" and self.names_accounts(t))
            rows = [(table, self.fed(table, n)) for table, n in product(others, every)]
            feeds.write(self.folder / "landing", rows)
        shown = "IMPRESSION_ID,LIST_ID,CUSTOMER_ID,SHOWN_AT,PLACEMENT,PRODUCT_ID,POSITION,CLICKED_AT"
        self.deliver("shown", shown, [
            f"I{n}-{place},I{n},C{n},2026-03-02T10:00:00,home,{p},{place},{'2026-03-02T10:01:00' if place == 2 else ''}"
            for n in every for place, p in enumerate((f"P{n % 16}", f"CANARY{n}Q"), start=1)
        ])  # fmt: skip
        self.consent("consents-1", [f"Y{n},C{n},COMMUNICATION,EMAIL:YES,2026-01-02,ACTIVE" for n in every])

    @staticmethod
    def names_accounts(table: str) -> bool:
        return "account" in tables.pii_columns(tables.by_name(table)).values()

    @staticmethod
    def fed(table: str, n: int) -> dict[str, Any]:
        """A row of a feed about a customer, whose every word is theirs alone."""

        def says(column: str, role: str) -> str | None:
            own = {"account": f"C{n}", "key": f"CANARY{n}F{table}", "email": None, "phone": None}
            return f"CANARY{n}Q" if column == "PRODUCT_ID" else own.get(role, f"CANARY{n}F{column}")

        return dict(feeds.row(table, says, "2026-04-10"))

    @staticmethod
    def customer(n: int) -> str:
        """No two of some thousands are alike enough to be one person: names, birth dates and addresses spread."""
        first, last = (spread(7 * n + at) + spread((331 + at) * (n // 350) + n) for at in (0, 5))
        born = date(1940, 1, 1) + timedelta(days=8191 * n % 21900)
        home = f"{spread(17 * n).capitalize()}weg {n},{spread(29 * n + 3).capitalize()}stadt,{10000 + 7919 * n % 90000}"
        return f"C{n},{first.capitalize()},{last.capitalize()},canarymail{n}@shop.example,{born},{home}"

    def consent(self, name: str, rows: list[str]) -> None:
        head = "PREFERENCE_ID,CUSTOMER_ID,PREFERENCE_TYPE,PREFERENCE_VALUE,PREFERENCE_DATE,PREFERENCE_STATUS"
        self.deliver(name, head, rows)

    def refuse(self, day: str) -> None:
        self.consent(
            "consents-2", [f"N{n},C{n},COMMUNICATION,{REFUSALS[n // 2 % 4]},{day},ACTIVE" for n in self.refusing]
        )

    @property
    def refusing(self) -> range:
        return range(1, self.people, 2)

    def said(self, *words: str, code: int = 0) -> str:
        result = CliRunner().invoke(cli.app, [*words, "--config", str(self.config)])
        if result.exit_code != code:
            raise AssertionError(f"{words}: exit code {result.exit_code}\n{result.output}") from result.exception
        return result.output

    def persons(self, *refusals: str) -> dict[str, int]:
        """Person ids, with their numbers, of who refuses in these ways."""
        owner = dict(self.lake.scan("silver.identities").select("customer_id", "person_id").collect().iter_rows())
        return {owner[f"C{n}"]: n for n in self.refusing if REFUSALS[n // 2 % 4] in refusals}


PERSONAL = REFUSALS[:3]  # what forbids profiles and personalization; TRAINING:NO forbids neither


def withheld_everywhere(shop: Shop) -> None:
    """No table that a refusal forbids, and no frame of a fit, holds anything of who refuses."""
    denying, lake = list(shop.persons(*PERSONAL)), shop.lake
    assert len(denying) == len([n for n in shop.refusing if n // 2 % 4 < 3])
    for name, table in tables.TABLES.items():
        if not (name.startswith("gold.") and purposes.is_withheld(table) and lake.exists(name)):
            continue
        theirs = lake.scan(name).filter(pl.col("person_id").is_in(denying)).collect()
        if purposes.of_rows(table):
            assert theirs.is_empty(), name
        for column in purposes.of_columns(table):
            kept = theirs[column].drop_nulls()
            assert kept.is_empty() or kept.list.len().sum() == 0, f"{name}.{column}"
    for model in MODELS.values():
        job = ModelJob(shop.settings, lake, model, pl.Series(["2026-05-01"]).str.to_date().item())
        frames = {**job.snapshot(job.cut).tables, **{f"files of {t}": f for t, f in content.opened(
            job.inputs(), job.firms(), {}).items()}}  # fmt: skip
        for name, frame in frames.items():
            if "person_id" in frame.collect_schema():
                seen = set(frame.select("person_id").collect()["person_id"])
                assert seen and not seen & shop.persons(*REFUSALS).keys(), f"{model.name} reads {name}"


def said_by(frame: pl.DataFrame) -> set[int]:
    """Whose canaries stand in any cell of a frame."""
    if frame.is_empty():
        return set()
    texts = frame.select(row=pl.struct(pl.all()).struct.json_encode()).to_series()
    return set(texts.str.extract_all(CANARY).explode().drop_nulls().str.extract(CANARY).cast(pl.Int64))


def withheld_in_cells(shop: Shop) -> dict[str, int]:
    """No row of a table, and no column, that a refusal forbids names a canary of who refuses, whoever's row it is: also
    where a model wrote it that learned before the refusal. Canaries of how many others stand there, by table."""
    refuse = set(shop.persons(*PERSONAL).values())
    found = {}
    for name, table in sorted(tables.TABLES.items()):
        if name.startswith("gold.") and purposes.is_withheld(table) and shop.lake.exists(name):
            columns = list(tables.schema(table)) if purposes.of_rows(table) else list(purposes.of_columns(table))
            said = said_by(shop.lake.scan(name).select(columns).collect())
            assert not said & refuse, f"{name}: {sorted(said & refuse)[:5]}"
            found[name] = len(said)
    return {name: others for name, others in found.items() if others}


def withheld_in_answers(shop: Shop) -> None:
    key = access.issue(Path(shop.settings.state), "till", "service")
    client = TestClient(build_app(shop.settings), headers={"X-API-Key": key})
    for person, n in shop.persons(*PERSONAL).items():
        for path in (f"people/{person}", f"customers/SHOP/C{n}"):
            told = {part: client.get(f"/v1/{path}{part}").json() for part in ("", "/scores", "/recommendations")}
            assert told["/recommendations"]["reason"] == "consent", told["/recommendations"]
            assert told["/scores"]["reason"] == "consent" and told["/scores"]["scores"] == []
            assert {"churn", "rfm", "affinity"} <= set(told[""]["withheld"])
            # The tier of the programme is what it owes its member, whoever profiles; it is of no refused purpose.
            said = re.sub(r"'loyalty_tier': '[^']*'", "", str(told))
            assert not re.search(rf"(?:CANARY|KIND|LETTER){n}[QF]", said)


def withheld_from_files(shop: Shop) -> None:
    """Audiences, exports and the star: nobody who refuses, whatever the channel."""
    rules = shop.folder / "all.yaml"
    rules.write_text("audiences: {everybody: {description: all, where: 'True', columns: [rfm_segment]}}")
    shop.config.write_text(shop.said_settings + f"rules: {{audiences: {rules}}}\n")
    listed = shop.folder / "mail.csv"
    shop.said("audience", "export", "everybody", "--channel", "email", "--contacts", "--out", str(listed))
    text = listed.read_text()
    assert text.count("canarymail") >= shop.people // 2
    assert [n for n in shop.persons(*PERSONAL).values() if f"canarymail{n}@" in text] == []
    who = ", ".join(f"'{p}'" for p in shop.persons(*PERSONAL))
    for table in ("personalization.recommendations", "gold.recommendations", "gold.predictions", "gold.interactions"):
        assert "0" in shop.said("sql", f"SELECT count(*) AS rows FROM {table} WHERE person_id IN ({who})").split(), (
            table
        )


def withheld_from_a_fit(shop: Shop) -> None:
    """What a fit leaves in the model store names no product that only who refuses has bought."""
    store = shop.folder / "state" / "mlflow" / "artifacts"
    before = {f for f in store.rglob("*") if f.is_file()}
    shop.said("train", "item_to_item")
    made = [f for f in store.rglob("*") if f.is_file() and f not in before]
    stored = b"".join(readable(f) for f in made)
    assert b"P1" in stored and b"CANARY0Q" in stored, "the model knows what others have bought"
    assert [n for n in shop.refusing if f"CANARY{n}Q".encode() in stored] == []


def readable(file: Path) -> bytes:
    """Bytes of a file, and of what is compressed in it."""
    if file.suffix == ".parquet":
        return pl.read_parquet(file).select(pl.col(pl.String)).write_csv().encode()
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as packed:
            return b"".join(map(packed.read, packed.namelist()))
    return file.read_bytes()


@pytest.mark.slow
def test_what_only_a_refusing_person_knows_reaches_nothing_that_it_may_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telemetry, "configure", lambda: None)  # it would set up the log for good
    shop = Shop(tmp_path, people=24, has_every_feed=True)
    shop.open()
    shop.said("run")
    shop.said("train", "item_to_item")
    shop.said("run")
    shop.said("warehouse", "load")
    assert shop.lake.scan("gold.recommendations").collect()["person_id"].n_unique() == shop.people
    shop.refuse("2026-05-20")  # after the last day of sales: no profile is as of it
    shop.said("run")
    assert denied(shop.lake)["person_id"].n_unique() == len(shop.refusing)
    listed = set(shop.lake.scan("gold.recommendations").collect()["product_id"])
    assert "CANARY0Q" in listed, "the model of before is in use"
    assert not listed & {f"CANARY{n}Q" for n in shop.persons(*PERSONAL).values()}, "what only they bought is in no list"
    withheld_everywhere(shop)
    told = withheld_in_cells(shop)
    assert len(told) >= 5, f"the feeds reach nothing that a refusal forbids: {told}"
    withheld_in_answers(shop)
    withheld_from_files(shop)
    withheld_from_a_fit(shop)
    shop.said("run")
    withheld_everywhere(shop)


# ---- restricted by request --------------------------------------------------------------------------------------


def built(shop: Shop) -> list[str]:
    """Nodes that the newest run built anew."""
    record = json.loads(shop.lake.get(shop.lake.objects("_runs")[-1]) or b"{}")
    return sorted(node["node"] for node in record["nodes"] if node["state"] == "built")


def allowed(shop: Shop) -> dict[str, bool]:
    """may_profile by person, of the profiles as they stand."""
    return dict(shop.lake.scan("gold.customer_360").select("person_id", "may_profile").collect().iter_rows())


@pytest.mark.slow
def test_a_restriction_holds_at_once_gold_follows_and_a_release_brings_all_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telemetry, "configure", lambda: None)  # it would set up the log for good
    shop = Shop(tmp_path, people=8)
    shop.open()
    shop.said("run")
    shop.said("warehouse", "load")
    owner = dict(shop.lake.scan("silver.identities").select("customer_id", "person_id").collect().iter_rows())
    person = owner["C2"]
    before = {n: shop.lake.scan(n).collect() for n in ("gold.interactions", "gold.customer_360", "gold.denials")}
    assert all(allowed(shop).values())
    shop.said("rights", "open", "restrict", person, "--identity", "passport")
    shop.said("rights", "fulfil", "1", "--actor", "al")
    assert person in set(denied(shop.lake)["person_id"]), "holds before any run"
    shop.said("run")
    assert [p for p, may in allowed(shop).items() if not may] == [person]
    assert shop.lake.scan("gold.interactions").filter(person_id=person).collect().is_empty()
    in_star = "SELECT count(*) AS rows FROM personalization.recommendations WHERE person_id = '{}'"
    assert "0" in shop.said("sql", in_star.format(person)).split()
    assert set(shop.lake.scan("gold.denials").filter(person_id=person).collect()["because"]) == {RESTRICTED}
    versions = {n: shop.lake.version(n) for n in tables.TABLES if shop.lake.exists(n)}
    shop.said("run")
    assert built(shop) == [] and versions == {n: shop.lake.version(n) for n in versions}, "once"
    shop.said("rights", "release", "1", "--actor", "al")
    shop.said("run")
    assert all(allowed(shop).values())
    for name, rows in before.items():
        assert shop.lake.scan(name).collect().sort(pl.all(), descending=False).equals(rows.sort(pl.all())), name
    shop.said("rights", "open", "restrict", person, "--identity", "passport")
    shop.said("rights", "fulfil", "2")
    shop.said("run", "--to", "silver")  # takes it out of gold, and builds no gold
    assert shop.lake.scan("gold.interactions").filter(person_id=person).collect().is_empty()
    shop.said("rights", "release", "2")
    shop.said("run")
    for name, rows in before.items():
        assert shop.lake.scan(name).collect().sort(pl.all(), descending=False).equals(rows.sort(pl.all())), name
    shop.said("run")
    assert built(shop) == []


@pytest.mark.slow
def test_what_is_too_old_goes_in_the_run_that_lands_it_and_a_refusal_never_ages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telemetry, "configure", lambda: None)  # it would set up the log for good
    shop = Shop(tmp_path, people=6)
    policy = tmp_path / "policy.yaml"
    policy.write_text("keep_days: {bronze.engagement_events: 40, bronze.preferences: 40, bronze.transactions: 300}\n")
    shop.config.write_text(shop.config.read_text() + f"rules: {{policy: {policy}}}\n")
    shop.open()
    shop.refuse("2026-01-03")
    shop.said("run")
    assert shop.lake.scan("silver.touches").collect().is_empty(), "the first run knows the date, too"
    told = shop.lake.scan("silver.transactions").select("person_id", "occurred_on").collect()
    assert told.filter(pl.col("person_id").is_null())["occurred_on"].max() < told.drop_nulls()["occurred_on"].min()
    assert 0 < told["person_id"].null_count() < told.height == 6 * len(MONTHS)
    assert denied(shop.lake)["person_id"].n_unique() == len(shop.refusing), "refusals hold however old"
    said = shop.lake.scan("bronze.preferences").collect()
    assert set(said["CUSTOMER_ID"]) == {f"C{n}" for n in shop.refusing}, "old answers of others go"
    shop.deliver("letters-late", LETTERS, ["X1,LATE,C0,EMAIL,OPENED,2025-06-01T00:00:00",
                                           "X2,NEW,C0,EMAIL,OPENED,2026-04-18T00:00:00"])  # fmt: skip
    shop.said("run")
    assert shop.lake.scan("silver.touches").collect()["engagement_id"].to_list() == ["X2"]
    shop.said("run")
    assert built(shop) == []
