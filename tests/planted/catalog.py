"""Truths about the catalogue and the assortment."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import numpy as np
import planted
import polars as pl

from customer360.pipelines.gold.assortment.crossing import cross_sell
from customer360.pipelines.gold.assortment.health import assortment
from customer360.pipelines.gold.assortment.relations import product_relations
from customer360.pipelines.rules import EnrichmentRules, StandardizationRules
from customer360.pipelines.silver.catalog.attributes import brands
from customer360.pipelines.texts.classification import classified

AS_OF = date(2026, 6, 1)
RULES = EnrichmentRules()
CLASSES = 5


def _texts(rng: np.random.Generator, count: int, told: float) -> pl.DataFrame:
    """Texts of six words; a share of the words is of the class, the others are of all."""
    label = rng.integers(0, CLASSES, count)
    own = rng.random((count, 6)) < told
    word = np.where(own, label[:, None] * 40 + rng.integers(0, 40, (count, 6)), 1000 + rng.integers(0, 120, (count, 6)))
    texts = [" ".join("w" + "".join(chr(97 + int(d)) for d in str(w)) for w in row) for row in word]
    return pl.DataFrame({"id": [str(n) for n in range(count)], "text": texts, "truth": [f"C{c}" for c in label]})


def _precision(seed: int) -> planted.Found:
    """Of 900 products 300 have a category. The precision that the table states is compared with that of the others."""
    rng = np.random.default_rng(seed)
    texts = _texts(rng, 900, 0.35).with_columns(text_class=pl.when(pl.int_range(pl.len()) < 300).then("truth"))
    found = classified(texts.select("id", "text", "text_class"), 0.9)
    assert found.precision is not None and found.low is not None and found.high is not None
    other = found.read.join(texts, on="id").filter(pl.col("id").cast(pl.Int64) >= 300, "is_sure")
    right = float((other["text_class"] == other["truth"]).mean())  # type: ignore[arg-type]
    noise = 1.645 * np.sqrt(0.1 * 0.9 / max(other.height, 1))  # the others are a sample as well
    return planted.Found(found.precision, found.low - noise, found.high + noise, planted=right)


def _no_classes(seed: int) -> tuple[int, int]:
    """Texts that say nothing of the class: how many categories are read from them."""
    rng = np.random.default_rng(seed)
    texts = _texts(rng, 300, 0.0).with_columns(text_class=pl.when(pl.int_range(pl.len()) < 150).then("truth"))
    found = classified(texts.select("id", "text", "text_class"), 0.9)
    return int(found.read["is_sure"].sum()), found.read.height


def _spelled(seed: int) -> planted.Found:
    """Twelve brands of sixty products, some of which are misspelt by signs, case or one letter."""
    rng = np.random.default_rng(seed)
    names = ["".join(chr(97 + int(c)) for c in rng.integers(0, 26, 9)).capitalize() for _ in range(12)]
    rows, right = [], []
    for name in names:
        for at in range(60):
            way = int(rng.integers(0, 4)) if at < 4 else 4
            cut = int(rng.integers(1, 8))
            spelt = (name.upper(), f"{name} GmbH", name[:cut] + name[cut + 1 :], name[:cut] + "-" + name[cut:], name)
            rows.append(spelt[way])
            right.append(name)
    goods = pl.DataFrame({"product_id": [str(n) for n in range(len(rows))], "brand": rows, "right": right})
    table = brands(goods.lazy().drop("right"), StandardizationRules()).collect()
    joined = goods.join(table, left_on="brand", right_on="spelling", suffix="_found")
    share = float((joined["brand_found"] == joined["right"]).mean())  # type: ignore[arg-type]
    return planted.Found(share, share, share)


def _shoppers(seed: int, swapped: float) -> pl.DataFrame:
    """600 people take ten times one of 16 products of a shelf; from one of the first eight they go to its partner with
    the chance ``swapped``, else to any by its popularity."""
    rng = np.random.default_rng(seed)
    popular = rng.dirichlet(np.full(16, 3.0))
    taken = np.empty((600, 10), dtype=np.int64)
    taken[:, 0] = rng.choice(16, 600, p=popular)
    for step in range(1, 10):
        partner = taken[:, step - 1] ^ 1
        goes = (rng.random(600) < swapped) & (taken[:, step - 1] < 8)
        taken[:, step] = np.where(goes, partner, rng.choice(16, 600, p=popular))
    person, step = np.divmod(np.arange(6000), 10)
    on = [AS_OF - timedelta(days=int(200 - 15 * s)) for s in step]
    return pl.DataFrame(
        {"person_id": [f"P{p}" for p in person], "subject_id": "", "transaction_id": [str(n) for n in range(6000)],
         "source_system": "POS", "occurred_on": on, "quantity": 1, "category": "Tea", "subcategory": None,
         "product_id": [f"G{c:02d}" for c in taken.ravel()], "is_sale": True, "is_product": True}
    ).with_columns(occurred_at=pl.col("occurred_on").cast(pl.Datetime("us", "UTC")))  # fmt: skip


AFFINITY = pl.LazyFrame(
    schema={"product_id": pl.String, "other_product_id": pl.String, "both_count": pl.Int64,
            "expected_count": pl.Float64, "q_value": pl.Float64, "is_significant": pl.Boolean}
)  # fmt: skip


def _relations(lines: pl.DataFrame) -> pl.DataFrame:
    goods = lines.lazy().select("product_id", "category").unique()
    levels = goods.select("product_id", category_levels=pl.concat_list("category"))
    return product_relations(lines.lazy(), levels, goods, AFFINITY, AS_OF, RULES).collect()


def _substitutes(seed: int) -> planted.Found:
    found = _relations(_shoppers(seed, 0.3)).filter(relation="SUBSTITUTE")
    pairs = set(found.select("product_id", "other_product_id").rows())
    share = sum((f"G{n:02d}", f"G{n ^ 1:02d}") in pairs for n in range(8)) / 8
    return planted.Found(share, share, share)


def _no_substitutes(seed: int) -> tuple[int, int]:
    return int(not _relations(_shoppers(seed, 0.0)).is_empty()), 1


def _buyers(seed: int, times: float) -> pl.LazyFrame:
    """1,500 people of very different appetite; who bought A early buys B so many times as often late."""
    rng = np.random.default_rng(seed)
    names = np.array(list("ABCDEF"))
    rows = []
    for late in (False, True):
        count = 1 + rng.poisson(np.exp(rng.normal(0.3, 0.8, 1500)) if not late else 1.5)
        person = np.repeat(np.arange(1500), count)
        weight = np.full((1500, 6), 1.0)
        weight[:, 1] = 0.3
        if late:
            had = np.zeros(1500, dtype=bool)
            had[[p for p, c in rows[0] if c == "A"]] = True
            weight[had, 1] *= times
        chance = np.cumsum(weight / weight.sum(axis=1, keepdims=True), axis=1)
        rows.append([(p, names[np.searchsorted(chance[p], rng.random())]) for p in person.tolist()])
    found = [(f"P{p}", str(c), AS_OF - timedelta(days=60 if late else 250)) for late in (0, 1) for p, c in rows[late]]
    return pl.DataFrame(found, schema=["person_id", "category", "occurred_on"], orient="row").with_columns(
        product_id=pl.col("category") + "1", quantity=1, is_sale=True, is_product=True
    ).lazy()  # fmt: skip


def _crossed(seed: int, times: float) -> pl.DataFrame:
    lines = _buyers(seed, times)
    return cross_sell(lines, lines.select("product_id", "category").unique(), AS_OF, RULES).collect()


def _led_to(seed: int) -> planted.Found:
    """The planted value: the chance of B among many lines is that of its weight against all weights."""
    table = _crossed(seed, 3.0)
    row = table.filter(basis_kind="CATEGORY", basis="A", category="B").row(0, named=True)
    plain, pulled = 0.3 / 5.3, 0.9 / 5.9
    size = 1 + np.random.default_rng(0).poisson(1.5, 100_000)
    ratio = float((1 - (1 - pulled) ** size).mean() / (1 - (1 - plain) ** size).mean())
    return planted.Found(row["lift"], row["lift_low"], row["lift_high"], planted=ratio)


def _led_nowhere(seed: int) -> tuple[int, int]:
    table = _crossed(seed, 1.0)
    claimed = table.filter(basis_kind="CATEGORY")["status"].is_in(["OPPORTUNITY", "UNLIKELY"]).any()
    return int(claimed), 1


RATE, EMPTY = (0.4, 0.1), (10, 40)


def _lost(seed: int) -> planted.Found:
    """A product sells .4 units a day in one store, which lacks it for ten days, and .1 in another, which lacks it for
    forty; twenty more report a stock of none all the time."""
    rng = np.random.default_rng(seed)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    there = [(f"S{s}", start + timedelta(days=d)) for s in range(2) for d in range(100 - EMPTY[s])]
    sold = [(shop, at) for shop, at in there for _ in range(int(rng.poisson(RATE[int(shop[1])])))]
    ids = [str(n) for n in range(len(sold))]
    lines = pl.DataFrame(
        {
            "transaction_id": ids,
            "source_system": "POS",
            "product_id": "G",
            "occurred_at": [at for _, at in sold],
            "is_sale": True,
            "is_product": True,
            "quantity": 1,
        },
        schema_overrides={"occurred_at": pl.Datetime("us", "UTC"), "transaction_id": pl.String},
    ).with_columns(occurred_on=pl.col("occurred_at").dt.date(), gross_amount=pl.lit(0), return_amount=pl.lit(0),
                   returned_on=pl.lit(None, pl.Date))  # fmt: skip
    heads = pl.DataFrame(
        {"transaction_id": ids, "source_system": "POS", "store_id": [shop for shop, _ in sold]},
        schema_overrides={"transaction_id": pl.String, "store_id": pl.String},
    )
    day100 = start + timedelta(days=100)
    empty = [start + timedelta(days=100 - days) for days in EMPTY]
    shelves = pl.DataFrame(
        [(f"S{s}", a, b, held) for s, at in enumerate(empty)
         for a, b, held in ((start, at, True), (at, day100, False), (day100, None, True))]
        + [(f"N{n}", start, None, False) for n in range(20)],
        schema={"store_id": pl.String, "valid_from": pl.Datetime("us", "UTC"), "valid_until": pl.Datetime("us", "UTC"),
                "is_in_stock": pl.Boolean}, orient="row",
    ).with_columns(product_id=pl.lit("G"), source_system=pl.lit("ERP"))  # fmt: skip
    goods = pl.LazyFrame(
        {"product_id": ["G"], "launched_on": [date(2020, 1, 1)], "is_product": [True], "product_status": ["ACTIVE"]}
    )
    stock = pl.LazyFrame(
        schema={"product_id": pl.String, "store_id": pl.String, "quantity_on_hand": pl.Int64,
                "updated_at": pl.Datetime("us", "UTC")}
    )  # fmt: skip
    counts = stock.rename({"updated_at": "counted_at"})
    kinds = pl.LazyFrame({"product_id": ["G"], "category": ["Tea"]})
    shops = pl.LazyFrame(schema={"store_id": pl.String, "closed_on": pl.Date})
    row = assortment(
        goods, kinds, lines.lazy(), heads.lazy(), stock, counts, shelves.lazy(), shops, day100.date(), RULES
    ).collect()
    return planted.Found(*row.select("lost_units", "lost_units_low", "lost_units_high").row(0))


TRUTHS = [
    planted.Truth("silver.product_categories", "precision of categories read from texts", 0.95, _precision,
                  _no_classes, confidence=0.9),
    planted.Truth("silver.brands", "share of misspelt brands that find their brand", 1.0, _spelled),
    planted.Truth("gold.product_relations", "share of planted substitutes that are found", 1.0, _substitutes,
                  _no_substitutes),
    planted.Truth("gold.cross_sell", "times as likely after another category", 2.4, _led_to, _led_nowhere,
                  confidence=0.95),
    planted.Truth("gold.assortment", "units lost to empty shelves", 8.0, _lost, confidence=0.95),
]  # fmt: skip
