"""The assortment: independent counts, prices as the law compares them, relations and cross-selling of small cases."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import duckdb
import polars as pl
import pytest

from customer360.pipelines.gold.assortment.crossing import cross_sell
from customer360.pipelines.gold.assortment.health import assortment
from customer360.pipelines.gold.assortment.prices import product_prices
from customer360.pipelines.gold.assortment.relations import _shelves, product_relations
from customer360.pipelines.rules import AssortmentRules, EnrichmentRules

AS_OF = date(2026, 6, 1)
RULES = EnrichmentRules()
TABLES = ("silver.products", "silver.product_categories", "silver.transaction_items", "silver.transactions",
          "silver.stock", "silver.stock_counts", "silver.stock_intervals", "silver.stores")  # fmt: skip


NO_COUNTS = pl.LazyFrame(
    schema={"product_id": pl.String, "store_id": pl.String, "counted_at": pl.Datetime("us", "UTC"),
            "quantity_on_hand": pl.Int64}
)  # fmt: skip


def health(retailer, as_of: date) -> pl.DataFrame:  # type: ignore[no-untyped-def]
    return assortment(*(retailer.frame(t) for t in TABLES), as_of=as_of, params=RULES).collect()


def test_duckdb_counts_the_same_sales(retailer) -> None:  # type: ignore[no-untyped-def]
    ours = health(retailer, retailer.as_of)
    statement = """
    SELECT product_id, sum(quantity) FILTER (is_sale AND quantity > 0)::BIGINT AS unit_count,
      count(DISTINCT (source_system, transaction_id)) FILTER (is_sale AND quantity > 0) AS order_count,
      sum(gross_amount - return_amount) AS net_amount
    FROM lines WHERE is_product AND occurred_on >= $first AND occurred_on < $last AND product_id IS NOT NULL
    GROUP BY ALL
    """
    days = {"first": retailer.as_of - timedelta(days=RULES.assortment.window_days), "last": retailer.as_of}
    with duckdb.connect() as base:
        base.register("lines", retailer.frame("silver.transaction_items").collect().to_arrow())
        theirs = base.sql(statement, params=days).pl()
    both = ours.join(theirs, on="product_id", how="left", suffix="_theirs").filter(
        pl.col("net_amount_theirs").is_not_null()
    )
    assert both.height > 100
    for column in ("unit_count", "order_count", "net_amount"):
        assert both[column].to_list() == both[f"{column}_theirs"].fill_null(0).to_list(), column
    sold = ours.filter(pl.col("abc_class").is_not_null())
    assert sold["cumulative_share"].is_sorted() and sold["cumulative_share"][-1] == pytest.approx(1)
    assert sold.filter(abc_class="A")["net_amount"].sum() >= Decimal("0.8") * sold["net_amount"].sum()
    assert {"SELLING", "NEVER_SOLD"} <= set(ours["status"])


def test_days_after_as_of_change_nothing(retailer) -> None:  # type: ignore[no-untyped-def]
    early = retailer.as_of - timedelta(days=60)
    inputs = [retailer.frame(t) for t in TABLES]
    cut = [*inputs[:2], inputs[2].filter(pl.col("occurred_on") < early), *inputs[3:5],
           inputs[5].filter(pl.col("counted_at") < pl.lit(early).cast(pl.Datetime("us", "UTC"))),
           inputs[6].filter(pl.col("valid_from") < pl.lit(early).cast(pl.Datetime("us", "UTC"))),
           inputs[7]]  # fmt: skip
    known = assortment(*cut, as_of=early, params=RULES).collect()
    assert known.equals(health(retailer, early))


def test_dead_stock_is_told_from_what_is_gone_or_new() -> None:
    goods = {"OLD": 9, "DEAD": 9, "GONE": 9, "FRESH": 20, "NEVER": 9, "SLOW": 9}
    launched = [AS_OF - timedelta(days=20 if days == 20 else 900) for days in goods.values()]
    products = pl.LazyFrame(
        {"product_id": list(goods), "launched_on": launched, "is_product": True, "product_status": "ACTIVE"}
    )
    last = {"OLD": 3, "DEAD": 200, "GONE": 200, "SLOW": 200}
    lines = pl.DataFrame(
        {"product_id": list(last), "occurred_on": [AS_OF - timedelta(days=d) for d in last.values()]}
    ).lazy().with_columns(
        transaction_id=pl.col("product_id"), source_system=pl.lit("POS"), is_sale=True, is_product=True, quantity=1,
        occurred_at=pl.col("occurred_on").cast(pl.Datetime("us", "UTC")), gross_amount=Decimal("5.00"),
        return_amount=pl.when(pl.col("product_id").is_in(["OLD", "DEAD"])).then(Decimal("5.00")).otherwise(Decimal(0)),
        returned_on=pl.when(pl.col("product_id") == "OLD").then(AS_OF - timedelta(days=1)).otherwise(AS_OF),
    )  # fmt: skip
    heads = pl.LazyFrame(
        {"transaction_id": list(last), "source_system": "POS", "store_id": None},
        schema_overrides={"store_id": pl.String},
    )
    stock = pl.LazyFrame(
        {
            "product_id": ["DEAD", "GONE", "OLD", "SLOW"],
            "store_id": ["S", "S", "S", "SHUT"],
            "quantity_on_hand": [4, 0, 2, 9],
            "updated_at": None,
        },
        schema_overrides={"updated_at": pl.Datetime("us", "UTC")},
    )
    moments = dict.fromkeys(("valid_from", "valid_until"), pl.Datetime("us", "UTC"))
    stores = pl.LazyFrame({"store_id": ["S", "SHUT"], "closed_on": [None, AS_OF - timedelta(days=9)]})
    ids = {"product_id": pl.String, "store_id": pl.String, "is_in_stock": pl.Boolean}
    shelves = pl.LazyFrame(schema=ids | moments)
    kinds = pl.LazyFrame({"product_id": list(goods), "category": "Tea"})
    found = assortment(products, kinds, lines, heads, stock, NO_COUNTS, shelves, stores, AS_OF, RULES).collect()
    assert dict(found.select("product_id", "status").rows()) == {
        "OLD": "SELLING", "DEAD": "DEAD_STOCK", "GONE": "GONE", "FRESH": "NEW", "NEVER": "NEVER_SOLD", "SLOW": "SLOW"
    }  # fmt: skip
    assert found["lost_units"].null_count() == 6, "no stock was counted"
    net = dict(found.select("product_id", "net_amount").rows())
    assert (net["OLD"], net["DEAD"], net["SLOW"]) == (0, 5, 5), "what comes back on as_of is sold until then"
    begin = datetime(AS_OF.year, AS_OF.month, AS_OF.day, tzinfo=UTC) - timedelta(days=30)
    shelves = pl.LazyFrame([("SLOW", "SHUT", True, begin, None)], schema=ids | moments, orient="row")
    held = assortment(products, kinds, lines, heads, stock, NO_COUNTS, shelves, stores, AS_OF, RULES).collect()
    days = dict(held.select("product_id", "in_stock_days").rows())
    assert days["SLOW"] == pytest.approx(30 - 8), "a store that has closed has nothing in stock after its last day"


def test_a_reduction_is_measured_against_the_lowest_price_of_thirty_days() -> None:
    steps = [(0, "10.00"), (300, "6.00"), (310, "12.00"), (320, "9.00"), (400, "5.00")]
    start = datetime(2025, 7, 1, tzinfo=UTC)
    ends = [start + timedelta(days=d) for d, _ in steps[1:]] + [None]
    table = pl.LazyFrame(
        [{"product_id": "G", "price_type": "LIST", "currency": "EUR", "source_system": "ERP", "price": Decimal(p),
          "previous_price": Decimal(steps[n - 1][1]) if n else None, "valid_from": start + timedelta(days=d),
          "valid_until": ends[n]} for n, (d, p) in enumerate(steps)],
        schema_overrides={"price": pl.Decimal(12, 2), "previous_price": pl.Decimal(12, 2),
                          "valid_until": pl.Datetime("us", "UTC"), "valid_from": pl.Datetime("us", "UTC")},
    )  # fmt: skip
    row = product_prices(table, AS_OF).collect().row(0, named=True)
    assert (row["price"], row["previous_price"], row["prior_price"]) == (
        Decimal("9.00"),
        Decimal("12.00"),
        Decimal("6.00"),
    )
    assert not row["is_reduced"], "9 after 12 is no reduction: ten days before it was 6"
    assert (row["change_count_365d"], row["lowest_price_365d"], row["day_count"]) == (3, Decimal("6.00"), 15)
    later = product_prices(table, date(2026, 9, 1)).collect().row(0, named=True)
    assert later["is_reduced"] and later["reduction_rate"] == pytest.approx(1 - 5 / 9)


def kept(*rows: tuple[str, int, str]) -> pl.LazyFrame:
    """Intervals of prices of one product: kind, day that it begins, price; each holds until the next of its kind."""
    start, instant = datetime(2026, 1, 1, tzinfo=UTC), pl.Datetime("us", "UTC")
    frame = pl.DataFrame(
        [("G", kind, "EUR", "ERP", Decimal(price), start + timedelta(days=day)) for kind, day, price in rows],
        schema={"product_id": pl.String, "price_type": pl.String, "currency": pl.String, "source_system": pl.String,
                "price": pl.Decimal(12, 2), "valid_from": instant}, orient="row",
    ).sort("price_type", "valid_from")  # fmt: skip
    kind = "price_type"
    return frame.lazy().with_columns(
        valid_until=pl.col("valid_from").shift(-1).over(kind), previous_price=pl.col("price").shift().over(kind)
    )


def test_a_reduction_is_measured_against_all_kinds_of_the_price_lists() -> None:
    table = kept(
        ("LIST", 0, "100"), ("LIST", 60, "90"), ("PROMOTION", 40, "70"), ("PROMOTION", 50, "80"), ("SOLD", 55, "60")
    )
    rows = {r["price_type"]: r for r in product_prices(table, AS_OF).collect().iter_rows(named=True)}
    assert rows["LIST"]["prior_price"] == Decimal(70) and not rows["LIST"]["is_reduced"]
    assert rows["PROMOTION"]["prior_price"] == Decimal(70) and rows["SOLD"]["prior_price"] is None
    assert (rows["LIST"]["lowest_price_365d"], rows["LIST"]["change_count_365d"]) == (Decimal(90), 1)
    first = product_prices(kept(("LIST", 0, "100"), ("PROMOTION", 40, "80")), AS_OF).collect()
    promotion = first.filter(price_type="PROMOTION").row(0, named=True)
    assert promotion["is_reduced"] and promotion["reduction_rate"] == pytest.approx(0.2)


def lost(*shelves: tuple[str, int, int | None, bool], sold: dict[str, int], status: str = "ACTIVE") -> dict[str, float]:
    """The row of one product: shelves (store, days ago that it began and ended, in stock), units of stores 100 days
    ago."""
    instant, end = pl.Datetime("us", "UTC"), datetime.combine(AS_OF, datetime.min.time(), UTC)
    table = pl.DataFrame(
        [("G", s, end - timedelta(days=a), None if b is None else end - timedelta(days=b), there)
         for s, a, b, there in shelves],
        schema={"product_id": pl.String, "store_id": pl.String, "valid_from": instant, "valid_until": instant,
                "is_in_stock": pl.Boolean}, orient="row",
    ).lazy()  # fmt: skip
    moment = end - timedelta(days=100)
    lines = pl.LazyFrame(
        {"product_id": "G", "occurred_on": moment.date(), "occurred_at": moment, "transaction_id": list(sold),
         "source_system": "POS", "is_sale": True, "is_product": True, "quantity": list(sold.values()),
         "gross_amount": Decimal("5.00"), "return_amount": Decimal("0.00"), "returned_on": None},
        schema_overrides={"occurred_at": instant, "returned_on": pl.Date},
    )  # fmt: skip
    heads = pl.LazyFrame({"transaction_id": list(sold), "source_system": "POS", "store_id": list(sold)})
    goods = pl.LazyFrame(
        {"product_id": ["G"], "launched_on": [date(2020, 1, 1)], "is_product": [True], "product_status": [status]}
    )
    stock = pl.LazyFrame(
        schema={"product_id": pl.String, "store_id": pl.String, "quantity_on_hand": pl.Int64, "updated_at": instant}
    )
    kinds = pl.LazyFrame({"product_id": ["G"], "category": ["Tea"]})
    stores = pl.LazyFrame(schema={"store_id": pl.String, "closed_on": pl.Date})
    found = assortment(goods, kinds, lines, heads, stock, NO_COUNTS, table, stores, AS_OF, RULES)
    return found.collect().row(0, named=True)


def test_nobody_misses_a_product_where_it_was_never_offered() -> None:
    one = [("S", 110, 70, True), ("S", 70, 60, False), ("S", 60, 0, True)]
    never = [(f"N{n}", 364, None, False) for n in range(50)]
    late = [("L", 364, 40, False), ("L", 40, None, True)]
    row = lost(*one, *never, *late, sold={"S": 50})
    assert row["lost_units"] == pytest.approx(50 / 100 * 10) and row["out_of_stock_days"] == 10
    assert row["lost_units_low"] < 5 < row["lost_units_high"] < 10 and row["store_count"] == 52


def test_each_shelf_has_its_own_rate() -> None:
    busy = [("A", 110, 10, True), ("A", 10, None, False)]
    quiet = [("B", 110, 90, True), ("B", 90, None, False)]
    row = lost(*busy, *quiet, sold={"A": 200, "B": 1})
    assert row["lost_units"] == pytest.approx(200 / 100 * 10 + 1 / 20 * 90)


def test_a_shelf_that_stays_empty_is_missed_for_a_while_only() -> None:
    shelf = [("S", 364, 340, True), ("S", 340, None, False)]
    after = RULES.assortment.dead_after_days
    assert lost(*shelf, sold={"S": 1})["out_of_stock_days"] == after
    assert lost(*shelf, sold={"S": 1}, status="archived ")["out_of_stock_days"] == 0
    assert lost(*shelf, sold={"S": 1})["sold_while_out_count"] == 1, "a wrong count is seen all the same"


def placed(lines: pl.LazyFrame) -> tuple[pl.LazyFrame, pl.LazyFrame]:
    """The category levels and categories of the products of lines."""
    goods = lines.select("product_id", "category").unique()
    return goods.select("product_id", category_levels=pl.concat_list("category")), goods


def test_categories_are_those_of_the_catalogue_in_one_spelling() -> None:
    levels = pl.LazyFrame({"product_id": ["A", "B", "C"], "category_levels": [["Tea", "Green"], ["TEA ", "green"], []]})
    kinds = pl.LazyFrame({"product_id": ["A", "B", "C"], "category": ["Tea", "Tea", "Pans"]})
    shelves = dict(_shelves(levels, kinds).collect().rows())
    assert shelves == {"A": "tea > green", "B": "tea > green", "C": "pans"}


def test_what_is_bought_together_and_switched_between_is_unclear() -> None:
    people = [f"P{n}" for n in range(40)]
    rows = []
    for n, person in enumerate(people):
        pair = ("A", "B") if n < 20 else ("C", "D")
        rows += [(person, pair[0], 9), (person, pair[1], 5)]
    days = pl.DataFrame(rows, schema=["person_id", "product_id", "ago"], orient="row").with_columns(
        occurred_on=(AS_OF - pl.duration(days="ago")).cast(pl.Date)
    )
    lines = days.with_columns(
        transaction_id=pl.int_range(pl.len()).cast(pl.String), source_system=pl.lit("POS"), is_sale=True,
        is_product=True, quantity=1, category=pl.lit("Tea"), subcategory=pl.lit(None, pl.String),
        occurred_at=pl.col("occurred_on").cast(pl.Datetime("us", "UTC")),
    )  # fmt: skip
    affinity = pl.LazyFrame({"product_id": ["C", "D", "X"], "other_product_id": ["D", "C", "Y"], "both_count": 9,
                             "expected_count": 2.0, "q_value": 0.001, "is_significant": True})  # fmt: skip
    found = product_relations(lines.lazy(), *placed(lines.lazy()), affinity, AS_OF, RULES).collect()
    said = {(a, b): r for a, b, r in found.select("product_id", "other_product_id", "relation").rows()}
    assert said == {("A", "B"): "SUBSTITUTE", ("B", "A"): "SUBSTITUTE", ("C", "D"): "UNCLEAR", ("D", "C"): "UNCLEAR",
                    ("X", "Y"): "COMPLEMENT"}  # fmt: skip
    row = found.filter(product_id="A").row(0, named=True)
    assert row["switch_count"] == 20 and row["switch_lift_low"] < row["switch_lift"] < row["switch_lift_high"]


def test_few_buyers_say_nothing_and_nobody_gives_an_empty_table() -> None:
    lines = pl.DataFrame(
        {"person_id": ["P1", "P1", "P2"], "category": ["A", "B", "B"], "product_id": ["a", "b", "b"],
         "occurred_on": [AS_OF - timedelta(days=d) for d in (200, 10, 10)], "quantity": 1}
    ).lazy().with_columns(is_sale=True, is_product=True)  # fmt: skip
    kinds = placed(lines)[1]
    found = cross_sell(lines.drop("category"), kinds, AS_OF, RULES).collect()
    assert set(found["status"]) == {"NOT_ENOUGH_EVIDENCE"} and set(found["basis_kind"]) == {"CATEGORY"}
    row = found.filter(basis="A", category="B").row(0, named=True)
    assert (row["buyer_count"], row["bought_count"], row["lift"], row["candidate_count"]) == (1, 1, None, 0)
    assert cross_sell(lines.filter(pl.lit(value=False)), kinds, AS_OF, RULES).collect().is_empty()
    assert AssortmentRules().least_buyers > 1
