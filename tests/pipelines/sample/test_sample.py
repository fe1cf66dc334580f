"""The synthetic retailer keeps its own laws: 200 people, 60 days, written once for all tests."""

from __future__ import annotations

import csv
import gzip
import hashlib
import json
import subprocess
import sys
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl
import pytest

from customer360.pipelines.sample import CLEAN, Dirt, write_sample
from customer360.pipelines.sample.behavior import STEPS
from customer360.pipelines.sample.dirt import BAD_ENUM
from customer360.pipelines.sample.streams import Streams
from customer360.pipelines.sample.visits import GUEST_SHARE
from customer360.platform.errors import ConfigError

SMALL = {"customers": 200, "days": 60, "seed": 7}
CUSTOMERS = """CUSTOMER_ID FIRST_NAME LAST_NAME EMAIL_ADDRESS PHONE_NUMBER DATE_OF_BIRTH GENDER ADDRESS_LINE_1 CITY
    STATE_CODE ZIP_CODE COUNTRY_CODE CUSTOMER_SEGMENT LOYALTY_TIER LOYALTY_POINTS REGISTRATION_DATE LAST_LOGIN_DATE
    CUSTOMER_STATUS PREFERRED_CHANNEL PREFERRED_STORE LAST_UPDATED_DATE"""
TRANSACTIONS = """TRANSACTION_ID CUSTOMER_ID CHANNEL TRANSACTION_DATE TRANSACTION_TYPE TOTAL_AMOUNT TAX_AMOUNT
    SHIPPING_AMOUNT CURRENCY_CODE PAYMENT_METHOD CARD_TYPE STORE_ID ONLINE_ORDER_ID LOYALTY_POINTS_EARNED
    LOYALTY_POINTS_REDEEMED DISCOUNT_AMOUNT PROMOTION_CODE COUPON_CODE TRANSACTION_STATUS CASHIER_ID TERMINAL_ID
    RECEIPT_NUMBER REFUND_REASON LAST_UPDATED_DATE"""
ITEMS = """ITEM_ID TRANSACTION_ID PRODUCT_ID PRODUCT_NAME CATEGORY SUBCATEGORY BRAND SKU QUANTITY UNIT_PRICE TOTAL_PRICE
    DISCOUNT_PERCENTAGE DISCOUNT_AMOUNT ITEM_RATING ITEM_STATUS SIZE COLOR WEIGHT"""
COLUMNS = {
    "pos/customers": CUSTOMERS,
    "shop/customers": CUSTOMERS,
    "crm/customers": CUSTOMERS,
    "pos/transactions": TRANSACTIONS,
    "shop/transactions": TRANSACTIONS + " VISITOR_ID",
    "pos/collections": TRANSACTIONS,
    "pos/collection_items": ITEMS,
    "abroad/transactions": TRANSACTIONS,
    "abroad/transaction_items": ITEMS,
    "b2b/customers": """CUSTOMER_ID FIRST_NAME LAST_NAME ORGANISATION_NAME ENTITY_TYPE WEBSITE ORGANISATION_NUMBER
        EMAIL_ADDRESS PHONE_NUMBER ADDRESS_LINE_1 CITY STATE_CODE ZIP_CODE COUNTRY_CODE REGISTRATION_DATE
        CUSTOMER_STATUS LAST_UPDATED_DATE""",
    "crm/changes": "before after source op",
    "market/exchange_rates": "RATE_DATE FROM_CURRENCY TO_CURRENCY RATE",
    "pos/transaction_items": ITEMS,
    "shop/transaction_items": ITEMS,
    "web/events": """EVENT_ID CUSTOMER_ID SESSION_ID EVENT_TYPE EVENT_DATE PAGE_URL PAGE_TITLE PRODUCT_ID
        CATEGORY_VIEWED SEARCH_QUERY TIME_ON_PAGE SCROLL_DEPTH DEVICE_TYPE BROWSER OPERATING_SYSTEM LOCATION_COUNTRY
        LOCATION_CITY
        REFERRER_URL VISITOR_ID USER_AGENT""",
    "web/machines": """EVENT_ID EVENT_TYPE EVENT_DATE PAGE_URL PRODUCT_ID CATEGORY_VIEWED TIME_ON_PAGE LOCATION_COUNTRY
        VISITOR_ID USER_AGENT""",
    "web/devices": """OBSERVATION_ID VISITOR_ID CUSTOMER_ID OBSERVED_AT USER_AGENT DEVICE_TYPE SCREEN_WIDTH
        SCREEN_HEIGHT LANGUAGE TIME_ZONE CONNECTION_TYPE NETWORK_ID""",
    "web/sessions": """SESSION_ID CUSTOMER_ID SESSION_START SESSION_END SESSION_DURATION PAGE_VIEWS BOUNCE_RATE
        CONVERSION_EVENT CONVERSION_VALUE TRAFFIC_SOURCE CAMPAIGN_ID VISITOR_ID""",
    "erp/products": """PRODUCT_ID PRODUCT_NAME CATEGORY SUBCATEGORY BRAND SKU PRICE COST CURRENCY_CODE DESCRIPTION
        ATTRIBUTES LAUNCH_DATE PRODUCT_STATUS""",
    "erp/stores": """STORE_ID STORE_NAME ADDRESS_LINE_1 CITY STATE_CODE ZIP_CODE COUNTRY_CODE REGION LATITUDE LONGITUDE
        OPENED_DATE""",
    "erp/inventory": "PRODUCT_ID STORE_ID QUANTITY_ON_HAND REORDER_POINT UPDATED_AT",
    "shop/orders": """ONLINE_ORDER_ID CUSTOMER_ID VISITOR_ID ORDER_DATE ORDER_STATUS SHIPPING_METHOD SHIP_CITY SHIP_ZIP_CODE
        PROMISED_DATE SHIPPED_DATE DELIVERED_DATE TOTAL_AMOUNT CURRENCY_CODE LAST_UPDATED_DATE""",  # noqa: E501
    "shop/exposures": "EXPOSURE_ID EXPERIMENT ARM CUSTOMER_ID VISITOR_ID EXPOSED_AT",
    "shop/impressions": """IMPRESSION_ID LIST_ID CUSTOMER_ID VISITOR_ID SHOWN_AT PLACEMENT PRODUCT_ID POSITION SCORE
        REGION DEVICE SEEN_PRODUCT_IDS CLICKED_AT BOUGHT_AT""",
    "crm/campaigns": """CAMPAIGN_ID CAMPAIGN_NAME CAMPAIGN_TYPE START_DATE END_DATE BUDGET SPENT_AMOUNT TARGET_AUDIENCE
        CAMPAIGN_STATUS CREATED_BY""",
    "crm/campaign_aliases": "PLATFORM ALIAS CAMPAIGN_ID",
    "crm/campaign_audiences": "CAMPAIGN_ID CUSTOMER_ID AUDIENCE_GROUP ASSIGNED_DATE",
    "crm/engagement": """ENGAGEMENT_ID CUSTOMER_ID ENGAGEMENT_TYPE ENGAGEMENT_DATE CAMPAIGN_ID CAMPAIGN_NAME
        MESSAGE_SUBJECT MESSAGE_CONTENT ENGAGEMENT_ACTION ENGAGEMENT_STATUS DEVICE_TYPE LOCATION_COUNTRY TIME_TO_OPEN
        TIME_TO_CLICK CONVERSION_RESULT""",
    "support/agents": "AGENT_ID AGENT_NAME TEAM HIRED_DATE AGENT_STATUS",
    "support/tickets": """TICKET_ID CUSTOMER_ID TICKET_STATUS TICKET_PRIORITY CREATION_DATE RESOLUTION_DATE
        FIRST_RESPONSE_TIME TOTAL_RESOLUTION_TIME ASSIGNED_AGENT_ID TICKET_SOURCE TICKET_CATEGORY CUSTOMER_SATISFACTION
        LAST_UPDATED_DATE""",
    "support/interactions": """INTERACTION_ID CUSTOMER_ID TICKET_ID INTERACTION_TYPE INTERACTION_DATE INTERACTION_CHANNEL
        AGENT_ID INTERACTION_SUBJECT INTERACTION_DESCRIPTION INTERACTION_OUTCOME RESOLUTION_TIME SATISFACTION_SCORE
        SENTIMENT_SCORE PRIORITY_LEVEL CATEGORY SUBCATEGORY FOLLOW_UP_REQUIRED ESCALATION_LEVEL""",  # noqa: E501
    "crm/loyalty_ledger": """ENTRY_ID CUSTOMER_ID ENTRY_TYPE POINTS ENTRY_DATE REFERENCE_ID REVERSES_ENTRY_ID
        EXPIRY_DATE BALANCE_AFTER REASON""",
    "crm/loyalty_tiers": "CHANGE_ID CUSTOMER_ID TIER CHANGE_DATE PREVIOUS_TIER VALID_UNTIL REASON",
    "stores/touchpoints": """TOUCHPOINT_ID CUSTOMER_ID TOUCHPOINT_TYPE TOUCHPOINT_DATE CHANNEL ACTION LOCATION_ID
        LOCATION_CONSENT""",
    "voice/reviews": """REVIEW_ID CUSTOMER_ID PRODUCT_ID RATING REVIEW_TEXT IS_VERIFIED HELPFUL_COUNT REVIEW_DATE""",
    "voice/posts": """POST_ID CUSTOMER_ID AUTHOR_HANDLE PLATFORM BRAND POST_TEXT POST_DATE IS_REPOST LIKE_COUNT
        SHARE_COUNT REPLY_COUNT""",
    "voice/surveys": """ANSWER_ID CUSTOMER_ID SURVEY_ID SURVEY_TYPE SCORE COMMENT CHANNEL TRANSACTION_ID SENT_DATE
        ANSWER_DATE""",
    "external/profiles": """PROFILE_ID CUSTOMER_ID DATA_SOURCE PROFILE_TYPE PROFILE_DATE AGE_RANGE GENDER EDUCATION_LEVEL
        OCCUPATION INCOME_RANGE INTERESTS LIFESTYLE_FACTORS SOCIAL_MEDIA_ACTIVITY INFLUENCE_SCORE DATA_QUALITY_SCORE
        LAST_UPDATED""",  # noqa: E501
    "external/sentiment": """SENTIMENT_ID CUSTOMER_ID DATA_SOURCE SENTIMENT_DATE SENTIMENT_TYPE SENTIMENT_SCORE
        SENTIMENT_MAGNITUDE MENTION_COUNT POSITIVE_MENTIONS NEGATIVE_MENTIONS NEUTRAL_MENTIONS KEYWORDS CONTEXT""",
    "crm/preferences": """PREFERENCE_ID CUSTOMER_ID PREFERENCE_TYPE PREFERENCE_VALUE PREFERENCE_STRENGTH
        PREFERENCE_SOURCE PREFERENCE_DATE PREFERENCE_STATUS""",
}


@dataclass(frozen=True)
class Sample:
    """A written sample, read back with plain readers that know nothing of the generator."""

    root: Path

    def files(self, feed: str) -> list[Path]:
        return sorted((self.root / "landing" / feed).iterdir())

    def raw(self, path: Path) -> list[bytes]:
        data = path.read_bytes()
        return (gzip.decompress(data) if path.name.endswith(".gz") else data).removesuffix(b"\n").split(b"\n")

    def read(self, path: Path) -> tuple[list[dict[str, object]], int, int]:
        """(readable rows, broken lines, lines with invalid bytes) of a file; text stays text."""
        if path.suffix == ".parquet":
            return pl.read_parquet(path).to_dicts(), 0, 0
        lines, rows, broken, invalid = self.raw(path), [], 0, 0
        header = next(csv.reader([lines[0].decode()])) if path.suffix == ".csv" else None
        for line in lines[1:] if header else lines:
            invalid += b"\xff" in line
            text = line.decode(errors="replace")
            try:
                values = next(csv.reader([text])) if header else json.loads(text)
            except json.JSONDecodeError:
                broken += 1
                continue
            if header and len(values) != len(header):
                broken += 1
                continue
            pairs = zip(header, values, strict=True) if header else values.items()
            rows.append({name: None if value == "" else value for name, value in pairs})
        return rows, broken, invalid

    def table(self, feed: str) -> pl.DataFrame:
        rows = [row for path in self.files(feed) for row in self.read(path)[0]]
        return pl.DataFrame(rows, infer_schema_length=None)

    def truth(self, name: str) -> pl.DataFrame:
        return pl.read_parquet(self.root / "truth" / f"{name}.parquet")

    @cached_property
    def receipts(self) -> pl.DataFrame:
        keep = [
            "TRANSACTION_ID",
            "CUSTOMER_ID",
            "CHANNEL",
            "TRANSACTION_TYPE",
            "TRANSACTION_STATUS",
            "TRANSACTION_DATE",
        ]
        money = ["TOTAL_AMOUNT", "TAX_AMOUNT", "SHIPPING_AMOUNT", "DISCOUNT_AMOUNT"]
        pos, shop = (self.table(f"{s}/transactions") for s in ("pos", "shop"))
        both = [pos.with_columns(VISITOR_ID=pl.lit(None, dtype=pl.String)), shop]
        return pl.concat([f.select(*keep, "VISITOR_ID", pl.col(money).cast(pl.Float64)) for f in both])

    @cached_property
    def items(self) -> pl.DataFrame:
        keep = ["ITEM_ID", "TRANSACTION_ID", "PRODUCT_ID", "ITEM_STATUS"]
        numbers = ["QUANTITY", "UNIT_PRICE", "TOTAL_PRICE", "DISCOUNT_AMOUNT"]
        parts = [self.table(f"{s}/transaction_items") for s in ("pos", "shop")]
        return pl.concat([f.select(*keep, pl.col(numbers).cast(pl.Float64)) for f in parts])

    @cached_property
    def events(self) -> pl.DataFrame:
        return self.table("web/events").with_columns(pl.col("EVENT_DATE").str.to_datetime(time_zone="UTC"))


@pytest.fixture(scope="module")
def dirty(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    root = tmp_path_factory.mktemp("dirty")
    write_sample(root, **SMALL)
    return Sample(root)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    root = tmp_path_factory.mktemp("clean")
    write_sample(root, **SMALL, dirt=CLEAN)
    return Sample(root)


def digest(root: Path) -> dict[str, str]:
    paths = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def test_same_seed_same_bytes_and_another_seed_another_story(dirty: Sample, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    summary = write_sample(tmp_path / "again", **SMALL, progress=lambda *step: seen.append(step))
    other = write_sample(tmp_path / "other", **(SMALL | {"seed": 8}))
    assert digest(dirty.root) == digest(tmp_path / "again")
    assert summary.rows != other.rows
    assert summary.files == len(digest(dirty.root))
    assert seen[-1] == ("web/events", 4, 4)


def test_streams_are_independent_by_name() -> None:
    first = Streams(7).stream("sales").random(4).tolist()
    Streams(7).stream("a later table").random(1000)
    assert Streams(7).stream("sales").random(4).tolist() == first
    assert Streams(7).stream("sales", 1).random(4).tolist() != first


@pytest.mark.parametrize("feed", sorted(COLUMNS))
def test_every_column_of_the_specification_is_there(dirty: Sample, feed: str) -> None:
    allowed = {"shop/transactions": {"GIFT_WRAP"}}.get(feed, set())
    for path in dirty.files(feed):
        if path.suffix == ".parquet":
            columns = pl.read_parquet_schema(path).keys()
        else:
            first = dirty.raw(path)[0].decode(errors="replace")
            columns = next(csv.reader([first])) if path.suffix == ".csv" else dirty.read(path)[0][0].keys()
        missing = {"WEIGHT"} if feed == "pos/transaction_items" and path.stem == "2026-06" else set()
        assert set(columns) - allowed == set(COLUMNS[feed].split()) - missing, path


def test_header_is_the_sum_of_its_items(clean: Sample) -> None:
    lines = clean.items
    lines = lines.with_columns(
        off=pl.col("QUANTITY") * pl.col("UNIT_PRICE") - pl.col("DISCOUNT_AMOUNT") - pl.col("TOTAL_PRICE")
    )
    assert lines["off"].abs().max() < 1e-6
    sums = lines.group_by("TRANSACTION_ID").agg(goods=pl.col("TOTAL_PRICE").sum())
    joined = clean.receipts.join(sums, on="TRANSACTION_ID", how="left", validate="1:1")
    law = pl.col("goods") + pl.col("TAX_AMOUNT") + pl.col("SHIPPING_AMOUNT") - pl.col("DISCOUNT_AMOUNT")
    assert joined["goods"].null_count() == 0
    assert joined.select((law - pl.col("TOTAL_AMOUNT")).abs().max()).item() < 1e-6
    returned = joined.filter(pl.col("TRANSACTION_TYPE") == "RETURN")
    assert len(returned) > 0
    assert returned["TOTAL_AMOUNT"].max() < 0
    back = lines.join(returned, on="TRANSACTION_ID", how="semi")
    assert back["QUANTITY"].max() < 0


def test_a_quarter_of_the_receipts_has_no_customer(clean: Sample) -> None:
    bought = clean.receipts.filter(pl.col("TRANSACTION_TYPE") == "PURCHASE")
    assert bought["CUSTOMER_ID"].null_count() / len(bought) == pytest.approx(GUEST_SHARE, abs=0.05)
    guests = clean.receipts.filter(pl.col("CUSTOMER_ID").is_null())
    assert set(clean.truth("guests")["transaction_id"]) == set(guests["TRANSACTION_ID"])
    assert guests.filter(pl.col("CHANNEL") != "POS")["VISITOR_ID"].null_count() == 0


def test_vocabularies_occur(clean: Sample) -> None:
    assert set(clean.events["EVENT_TYPE"]) == set(STEPS)
    assert set(clean.receipts["CHANNEL"]) == {"POS", "ECOMMERCE", "MOBILE", "SOCIAL"}
    assert {"COMPLETED", "FAILED"} <= set(clean.receipts["TRANSACTION_STATUS"])
    assert set(clean.events["DEVICE_TYPE"]) == {"MOBILE", "DESKTOP", "TABLET"}
    said = set(clean.table("crm/preferences")["PREFERENCE_VALUE"])
    assert {"PERSONALIZATION:YES", "EMAIL:NO", "EMAIL:YES", "SMS:NO"} <= said


def test_an_online_purchase_has_its_visit(clean: Sample) -> None:
    done = clean.receipts.filter(
        (pl.col("CHANNEL") != "POS")
        & (pl.col("TRANSACTION_TYPE") == "PURCHASE")
        & (pl.col("TRANSACTION_STATUS") != "FAILED")
    )
    paid = clean.events.filter(pl.col("EVENT_TYPE") == "PURCHASE").with_columns(
        TRANSACTION_ID="T" + pl.col("PAGE_URL").str.extract(r"/O(\d+)$")
    )
    both = paid.join(done, on="TRANSACTION_ID", how="full", validate="1:1")
    assert both["EVENT_ID"].null_count() == both["TRANSACTION_DATE"].null_count() == 0
    gap = pl.col("EVENT_DATE") - pl.col("TRANSACTION_DATE").str.to_datetime(time_zone="UTC")
    assert both.select(gap.dt.total_milliseconds().abs().max()).item() == 0
    assert both.filter(pl.col("CUSTOMER_ID").ne_missing(pl.col("CUSTOMER_ID_right"))).is_empty()
    lines = clean.items.join(done, on="TRANSACTION_ID", how="semi").select("TRANSACTION_ID", "PRODUCT_ID")
    carted = clean.events.filter(pl.col("EVENT_TYPE") == "CART_ADD").join(
        paid.select("SESSION_ID", "TRANSACTION_ID"), on="SESSION_ID"
    )
    assert lines.join(carted, on=["TRANSACTION_ID", "PRODUCT_ID"], how="anti").is_empty()
    sessions = clean.table("web/sessions").filter("CONVERSION_EVENT")
    assert set(sessions["SESSION_ID"]) == set(paid["SESSION_ID"])


def test_sessions_agree_with_their_events(clean: Sample) -> None:
    built = clean.events.group_by("SESSION_ID").agg(
        start=pl.col("EVENT_DATE").min(),
        end=pl.col("EVENT_DATE").max(),
        customer=pl.col("CUSTOMER_ID").drop_nulls().first(),
    )
    both = clean.table("web/sessions").join(built, on="SESSION_ID", how="full", validate="1:1")
    differs = (
        pl.col("SESSION_START").ne_missing(pl.col("start"))
        | pl.col("SESSION_END").ne_missing(pl.col("end"))
        | pl.col("CUSTOMER_ID").ne_missing(pl.col("customer"))
    )
    assert both.filter(differs).is_empty()
    mixed = clean.events.group_by("SESSION_ID").agg(known=pl.col("CUSTOMER_ID").is_null().n_unique())
    assert (mixed["known"] == 2).any()  # anonymous first, known after login


def test_people_who_left_stop(clean: Sample) -> None:
    churn = clean.truth("churn").drop_nulls("churned_at")
    records, guests = clean.truth("records"), clean.truth("guests")
    assert 0 < len(churn) < SMALL["customers"]
    at = pl.col("TRANSACTION_DATE").str.to_datetime(time_zone="UTC")
    known = clean.receipts.join(records, left_on="CUSTOMER_ID", right_on="customer_id")
    anonymous = clean.receipts.join(guests, left_on="TRANSACTION_ID", right_on="transaction_id")
    seen = clean.events.join(records, left_on="CUSTOMER_ID", right_on="customer_id")
    doings = pl.concat(
        [
            known.select("entity_id", at=at),
            anonymous.select("entity_id", at=at),
            seen.select("entity_id", at="EVENT_DATE"),
        ]
    ).join(churn, on="entity_id")
    assert len(doings) > 0
    assert doings.filter(pl.col("at") >= pl.col("churned_at")).is_empty()


def test_clean_rows_refer_to_rows_that_exist(clean: Sample) -> None:
    ids = {system: set(clean.table(f"{system}/customers")["CUSTOMER_ID"]) for system in ("pos", "shop", "crm")}
    records = clean.truth("records")
    for system, known in ids.items():
        assert known == set(records.filter(source_system=system.upper())["customer_id"])
        assert len(known) == len(clean.table(f"{system}/customers"))
    till = clean.receipts.filter(pl.col("CHANNEL") == "POS")
    shop = clean.receipts.filter(pl.col("CHANNEL") != "POS")
    assert set(till["CUSTOMER_ID"].drop_nulls()) <= ids["pos"]
    assert set(shop["CUSTOMER_ID"].drop_nulls()) | set(clean.events["CUSTOMER_ID"].drop_nulls()) <= ids["shop"]
    assert set(clean.table("crm/preferences")["CUSTOMER_ID"]) == ids["crm"]
    products = set(clean.table("erp/products")["PRODUCT_ID"])
    assert set(clean.items["PRODUCT_ID"]) | set(clean.events["PRODUCT_ID"].drop_nulls()) <= products
    assert set(clean.items["TRANSACTION_ID"]) == set(clean.receipts["TRANSACTION_ID"])
    assert set(clean.events["SESSION_ID"]) == set(clean.table("web/sessions")["SESSION_ID"])
    stores = set(clean.table("erp/stores")["STORE_ID"])
    assert set(clean.table("pos/transactions")["STORE_ID"]) | set(clean.table("erp/inventory")["STORE_ID"]) <= stores
    for key in (clean.items["ITEM_ID"], clean.events["EVENT_ID"], clean.receipts["TRANSACTION_ID"]):
        assert key.is_unique().all()


def test_who_logs_in_owns_the_visitor(clean: Sample) -> None:
    visitors = clean.truth("visitors")
    logged = clean.events.filter(pl.col("CUSTOMER_ID").is_not_null()).join(
        clean.truth("records"), left_on="CUSTOMER_ID", right_on="customer_id"
    )
    owners = visitors.select("visitor_id", "entity_id")
    assert len(logged) > 0
    assert logged.join(
        owners, left_on=["VISITOR_ID", "entity_id"], right_on=["visitor_id", "entity_id"], how="anti"
    ).is_empty()
    assert owners.is_unique().all()
    assert (visitors.group_by("visitor_id").len()["len"] > 1).any()  # a shared device
    assert (visitors["from"] <= visitors["to"]).all()


def test_households_and_records_look_alike_but_differ(clean: Sample) -> None:
    records = clean.truth("records")
    assert 1.3 < len(records) / records["entity_id"].n_unique() < 1.7
    assert records["entity_id"].n_unique() == SMALL["customers"]
    homes = records.unique(["household_id", "entity_id"]).group_by("household_id").len()
    assert (homes["len"] > 1).any()
    assert clean.truth("tastes").group_by("entity_id").agg(pl.col("weight").sum())["weight"].to_list() == pytest.approx(
        [1.0] * 200
    )


def test_dirt_truth_is_what_the_files_hold(dirty: Sample, clean: Sample) -> None:
    truth = dirty.truth("dirt").group_by("file", "kind").agg(pl.col("count").sum())
    stated = {(file, kind): count for file, kind, count in truth.iter_rows()}
    keys = {"transactions": "TRANSACTION_ID", "transaction_items": "ITEM_ID", "events": "EVENT_ID"}
    for feed in (
        "pos/transactions",
        "shop/transactions",
        "pos/transaction_items",
        "shop/transaction_items",
        "web/events",
    ):
        key = keys[feed.split("/")[1]]
        for path in dirty.files(feed):
            file = str(path.relative_to(dirty.root / "landing"))
            rows, broken, invalid = dirty.read(path)
            assert broken == stated.get((file, "broken"), 0), file
            assert invalid == stated.get((file, "invalid_bytes"), 0), file
            assert sum(row[key] is None for row in rows) == stated.get((file, "missing_key"), 0), file
            assert sum(BAD_ENUM in row.values() for row in rows) == stated.get((file, "bad_enum"), 0), file
            bad = sum(bool({"12,x", "not-a-date"} & set(map(str, row.values()))) for row in rows)
            assert bad == stated.get((file, "bad_type"), 0), file
        total = sum(len(r) + b for r, b, _ in map(dirty.read, dirty.files(feed)))
        more = sum(
            n
            for (file, kind), n in stated.items()
            if file.startswith(feed + "/") and kind in ("duplicate", "superseded")
        )
        assert total == len(clean.table(feed)) + more, feed


def test_late_rows_and_second_versions_stand_where_the_truth_says(dirty: Sample) -> None:
    dirt = dirty.truth("dirt")
    for feed in ("pos/transactions", "shop/transactions"):
        for file, key in (
            dirt.filter(pl.col("file").str.starts_with(feed + "/") & (pl.col("kind") == "late"))
            .select("file", "key")
            .iter_rows()
        ):
            rows = [row for row in dirty.read(dirty.root / "landing" / file)[0] if row["TRANSACTION_ID"] == key]
            assert [str(row["TRANSACTION_DATE"])[:7] < Path(file).name[:7] for row in rows] == [True]
        again = dirt.filter(pl.col("file").str.starts_with(feed + "/") & (pl.col("kind") == "superseded"))["key"]
        assert len(again) > 0
        versions = (
            dirty.table(feed)
            .filter(pl.col("TRANSACTION_ID").is_in(again.to_list()))
            .sort("TRANSACTION_ID", "LAST_UPDATED_DATE")
        )
        assert versions["TRANSACTION_STATUS"].to_list() == ["PENDING", "COMPLETED"] * len(again)


def test_every_kind_of_dirt_occurs_and_can_be_switched_off(dirty: Sample, clean: Sample, tmp_path: Path) -> None:
    kinds = set(dirty.truth("dirt")["kind"])
    assert kinds == {
        *("duplicate", "late", "superseded", "broken", "bad_type", "bad_enum", "missing_key", "invalid_bytes"),
        *("new_column", "missing_column"),
    }
    assert clean.truth("dirt").is_empty()
    write_sample(tmp_path, **SMALL, dirt=Dirt(rate=0.0, broken=0.05, new_column=False, missing_column=False))
    assert set(Sample(tmp_path).truth("dirt")["kind"]) == {"broken"}


def test_a_full_folder_and_a_tiny_story_are_refused(dirty: Sample, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="landing"):
        write_sample(dirty.root, **SMALL)
    with pytest.raises(ConfigError, match="at least 20 customers and 28 days"):
        write_sample(tmp_path, customers=5, days=60, seed=7)
    assert not list(tmp_path.iterdir()), "what is refused leaves nothing"
    assert write_sample(tmp_path / "least", customers=20, days=28, seed=3).rows["truth/churn"] == 20
    assert sorted(f.name for f in (tmp_path / "least").iterdir()) == ["landing", "sample.json", "truth"]


def test_a_sample_that_breaks_off_is_no_sample(tmp_path: Path) -> None:
    def power_cut(feed: str, done: int, total: int) -> None:
        if feed == "erp/products":
            raise KeyboardInterrupt

    small = {"customers": 20, "days": 28, "seed": 3}
    with pytest.raises(KeyboardInterrupt):
        write_sample(tmp_path, **small, progress=power_cut)
    assert not (tmp_path / "landing").exists() and not (tmp_path / "truth").exists()
    assert write_sample(tmp_path, **small).rows["truth/churn"] == 20, "and it can be made again"


def test_the_sample_needs_no_ray() -> None:
    code = "import sys, customer360.pipelines.sample as s; assert s.write_sample; assert 'ray' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
