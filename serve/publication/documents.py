"""Composition of the online store's documents from the lake.

    kind             key        document
    person           person_id  profile (columns of gold.customer_360), accounts
    account          SYSTEM/id  person_id
    former           person_id  person_ids: of those who hold what this id held when it ended
    scores           person_id  scores: newest score of each model, with reasons
    categories       person_id  scores: newest scores by category, each model's likeliest first
    recommendations  person_id  lists: newest ranked list of each model and mode, newest first
    models           recommendations  names: of the models that have lists
    popular          all        items: what sold most of late, to everybody
    product          product_id name, category, price, is_sellable, is_in_stock (null: no stock is known), launched_on,
                                margin_rate (null: no cost is known)
    together         product_id items: what is bought with it more often than by chance, most baskets above chance first
    bought, popular_by, launched, stocked   see ``demand``

Tables of people are read bucket by bucket, so memory holds one bucket. What is made of a table stands once, in
`BY_PERSON` or `FOR_ALL`: by that a publication knows what to make again (`changes`). Every contract must be declared
before (``serve.compose``). A person without an account in silver.identities is not published, whatever other tables
still say; nor is one whose erasure began.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date

import polars as pl

from customer360.models.identity.registry import former_records
from customer360.models.recommenders.histories import popularity
from customer360.platform.lake import File
from customer360.platform.privacy import leaving
from customer360.serve.publication import demand
from customer360.serve.publication.inputs import (
    AFFINITY,
    CATEGORY_SCORES,
    IDENTITIES,
    INTERACTIONS,
    PREDICTIONS,
    PRODUCTS,
    PROFILES,
    RECOMMENDATIONS,
    SALES,
    SOLD_LINES,
    STOCK,
    Inputs,
)
from customer360.serve.publication.inputs import PUBLISHED as PUBLISHED

POPULAR_DAYS = (28, 90)  # what sold in the first window, then what sold only in the longer one
POPULAR_ITEMS = 500
POPULAR_KEY = "all"
MODELS_KEY = "recommendations"
OF_A_PERSON = ("person", "scores", "categories", "recommendations", "bought", "former")  # kinds whose key is a person
NOT_SOLD = ("DISCONTINUED", "INACTIVE")
OWNERS = ("record_id", "person_id")


@dataclass(frozen=True)
class ByPerson:
    """Documents by person, of the rows that a table has of this person; ``beside``: another table of people that is
    asked what it has of them."""

    kind: str
    table: str
    make: Callable[[pl.DataFrame, Inputs, date | None], pl.DataFrame]
    beside: str | None = None


@dataclass(frozen=True)
class ForAll:
    """All documents of some kinds, of nothing but some tables."""

    kinds: tuple[str, ...]
    tables: tuple[str, ...]
    make: Callable[[Inputs], Iterator[pl.DataFrame]]


def documents(inputs: Inputs) -> Iterator[pl.DataFrame]:
    """Frames of (kind, key, document), one or two a bucket."""
    accounts, _ = accounts_of(inputs)
    published: list[pl.DataFrame] = []
    for _, profiles in inputs.buckets(PROFILES):
        if accounts is None:
            break
        owned = accounts.join(profiles, on="person_id", how="semi")
        people = people_of(profiles, owned)
        published.append(people.select(person_id="key"))
        yield people
        yield accounts_documents(owned)
    if accounts is not None and published:
        yield former_documents(former_records(inputs.lake), accounts, pl.concat(published))
    known = pl.concat(published) if published else pl.DataFrame(schema={"person_id": pl.String})
    for each in BY_PERSON:
        for files, rows in inputs.buckets(each.table):
            yield each.make(rows.join(known, on="person_id", how="semi"), inputs, since_of(files))
    for all_of in FOR_ALL:
        yield from all_of.make(inputs)


def accounts_of(inputs: Inputs) -> tuple[pl.DataFrame | None, list[str]]:
    """(record_id, person_id) without who is being erased, and who that is; None where nobody has an account."""
    if not inputs.has(IDENTITIES):
        return None, []
    accounts = inputs.scan(IDENTITIES).select(OWNERS).collect()
    if gone := leaving(inputs.lake, accounts):
        accounts = accounts.filter(~pl.col("person_id").is_in(gone))
    return accounts, gone


def since_of(files: Sequence[File]) -> date | None:
    """The earliest edition among files of a bucket; None where the table has none."""
    days = [day for file in files if file.rows and (day := file.partition.get("as_of"))]
    return date.fromisoformat(min(days)) if days else None


def former_documents(former: pl.DataFrame, accounts: pl.DataFrame, published: pl.DataFrame) -> pl.DataFrame:
    """Ids that lead to a published person, or to several where their records were parted."""
    led = former.join(accounts, on="record_id").join(published, on="person_id", how="semi")
    led = led.join(published, left_on="alias_id", right_on="person_id", how="anti")
    heirs = led.group_by("alias_id").agg(person_ids=pl.col("person_id").unique().sort()).sort("alias_id")
    return _documents("former", "alias_id", heirs, pl.struct("person_ids"))


def _documents(kind: str, key: str, frame: pl.DataFrame, document: pl.Expr) -> pl.DataFrame:
    return frame.select(kind=pl.lit(kind), key=key, document=document.struct.json_encode())


def people_of(profiles: pl.DataFrame, owned: pl.DataFrame) -> pl.DataFrame:
    """Documents of persons, by their profiles and (record_id, person_id)."""
    listed = owned.group_by("person_id").agg(accounts=pl.col("record_id").sort())
    profile = pl.struct(profiles.columns)
    return _documents(
        "person", "person_id", profiles.join(listed, on="person_id"), pl.struct(profile.alias("profile"), "accounts")
    )


def accounts_documents(owned: pl.DataFrame) -> pl.DataFrame:
    """Documents of accounts."""
    return _documents("account", "record_id", owned, pl.struct("person_id"))


def _scores(predictions: pl.DataFrame, _inputs: Inputs, _since: date | None) -> pl.DataFrame:
    said = pl.struct("model", "target", "version", "score", "reasons", "scored_at", "as_of")
    by_person = predictions.sort("person_id", "model").group_by("person_id", maintain_order=True).agg(scores=said)
    return _documents("scores", "person_id", by_person, pl.struct("scores"))


def _categories(scored: pl.DataFrame, _inputs: Inputs, _since: date | None) -> pl.DataFrame:
    said = pl.struct("category", "rank", "score", "lift", "model", "version", "target", "as_of")
    by_person = scored.sort("person_id", "model", "rank").group_by("person_id", maintain_order=True).agg(scores=said)
    return _documents("categories", "person_id", by_person, pl.struct("scores"))


def _bought_since(inputs: Inputs, recommendations: pl.DataFrame, since: date | None) -> pl.DataFrame:
    """(person_id, product_id) of what these persons bought since the day of their lists, which know those before."""
    if not inputs.has(INTERACTIONS) or since is None or recommendations.is_empty():
        return pl.DataFrame(schema={"person_id": pl.String, "product_id": pl.String})
    bought = inputs.scan(INTERACTIONS).filter(pl.col("kind") == "purchase", pl.col("on") >= since)
    found = bought.select("person_id", "product_id").unique().collect()
    return found.join(recommendations, on="person_id", how="semi")


def _lists(recommendations: pl.DataFrame, inputs: Inputs, since: date | None) -> pl.DataFrame:
    """Lists of the mode `new` without what was bought since they were made."""
    bought = _bought_since(inputs, recommendations, since)
    again = recommendations.filter(pl.col("mode") == "new").join(bought, on=["person_id", "product_id"], how="semi")
    ranked = (
        recommendations.join(again, on=["person_id", "product_id", "mode"], how="anti")
        .sort("person_id", "model", "mode", "rank")
        .group_by("person_id", "model", "mode", "version", "as_of", maintain_order=True)
        .agg(items=pl.struct("product_id", "score"))
    )
    by_person = (
        ranked.sort("person_id", "as_of", "model", "mode", descending=[False, True, False, False])
        .group_by("person_id", maintain_order=True)
        .agg(lists=pl.struct("model", "mode", "version", "as_of", "items"))
    )
    return _documents("recommendations", "person_id", by_person, pl.struct("lists"))


def _models(inputs: Inputs) -> Iterator[pl.DataFrame]:
    if inputs.has(RECOMMENDATIONS):
        models = inputs.scan(RECOMMENDATIONS).select(pl.col("model").unique()).collect()["model"].to_list()
        if models:
            names = pl.DataFrame({"key": [MODELS_KEY], "names": [sorted(models)]})
            yield _documents("models", "key", names, pl.struct("names"))


def _popular_of(inputs: Inputs) -> Iterator[pl.DataFrame]:
    if inputs.has(INTERACTIONS):
        yield _popular(inputs.scan(INTERACTIONS), inputs.as_of)


def _demand(inputs: Inputs) -> Iterator[pl.DataFrame]:
    if inputs.has(INTERACTIONS) and inputs.has(IDENTITIES):
        segments = inputs.scan(PROFILES).select("person_id", "value_segment").collect()
        yield demand.by_segment(inputs.scan(INTERACTIONS), segments, inputs.as_of)
    if inputs.has(SOLD_LINES) and inputs.has(SALES):
        yield demand.by_place_and_hour(inputs.scan(SOLD_LINES), inputs.scan(SALES), inputs.as_of)


def _catalogue(inputs: Inputs) -> Iterator[pl.DataFrame]:
    if inputs.has(PRODUCTS):
        yield _products(inputs.scan(PRODUCTS), inputs.scan(STOCK) if inputs.has(STOCK) else None)
        yield demand.launched(inputs.scan(PRODUCTS), inputs.as_of)


def _stocked(inputs: Inputs) -> Iterator[pl.DataFrame]:
    if inputs.has(STOCK):
        yield demand.stocked(inputs.scan(STOCK))


def _affinity(inputs: Inputs) -> Iterator[pl.DataFrame]:
    if inputs.has(AFFINITY):
        yield _together(inputs.scan(AFFINITY))


def _popular(interactions: pl.LazyFrame, as_of: date) -> pl.DataFrame:
    windows = [popularity(interactions, as_of, days) for days in POPULAR_DAYS]
    sold = pl.concat(windows).unique("product_id", keep="first", maintain_order=True).head(POPULAR_ITEMS)
    items = sold.select(
        items=pl.struct("product_id", score=pl.col("count").cast(pl.Float64)).implode(), key=pl.lit(POPULAR_KEY)
    )
    return _documents("popular", "key", items, pl.struct("items"))


def _together(pairs: pl.LazyFrame) -> pl.DataFrame:
    said = pl.struct("both_count", "confidence", "lift", "expected_count", "q_value", product_id="other_product_id")
    significant = pairs.filter("is_significant").sort("product_id", "rank")
    by_product = significant.group_by("product_id", maintain_order=True).agg(items=said)
    return _documents("together", "product_id", by_product.collect(), pl.struct("items"))


def _products(products: pl.LazyFrame, stock: pl.LazyFrame | None) -> pl.DataFrame:
    catalogue = products.select(
        "product_id",
        "category",
        "subcategory",
        "brand",
        "price",
        "currency",
        "launched_on",
        margin_rate=pl.when(pl.col("price") > 0).then(
            1 - pl.col("cost").cast(pl.Float64) / pl.col("price").cast(pl.Float64)
        ),
        name=pl.col("product_name").str.strip_chars(),
        is_sellable=pl.col("is_product") & ~pl.col("product_status").is_in(NOT_SOLD).fill_null(False),
    )
    if stock is None:
        catalogue = catalogue.with_columns(is_in_stock=pl.lit(None, pl.Boolean))
    else:
        catalogue = catalogue.join(
            stock.group_by("product_id").agg(is_in_stock=pl.col("is_in_stock").any()), on="product_id", how="left"
        )
    return _documents("product", "product_id", catalogue.collect(), pl.struct(pl.exclude("product_id")))


BY_PERSON = (
    ByPerson("scores", PREDICTIONS, _scores),
    ByPerson("categories", CATEGORY_SCORES, _categories),
    ByPerson("recommendations", RECOMMENDATIONS, _lists, beside=INTERACTIONS),
    ByPerson("bought", INTERACTIONS, lambda rows, *_: demand.bought(rows)),
)
FOR_ALL = (
    ForAll(("models",), (RECOMMENDATIONS,), _models),
    ForAll(("popular",), (INTERACTIONS,), _popular_of),
    ForAll(("popular_by",), (INTERACTIONS, IDENTITIES, PROFILES, SOLD_LINES, SALES), _demand),
    ForAll(("product", "launched"), (PRODUCTS, STOCK), _catalogue),
    ForAll(("stocked",), (STOCK,), _stocked),
    ForAll(("together",), (AFFINITY,), _affinity),
)
