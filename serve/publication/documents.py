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

Tables of people are read bucket by bucket, so memory holds one bucket. Every contract must be declared before
(``serve.compose``). A person without an account in silver.identities is not published, whatever other tables still say;
nor is one whose erasure began.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import polars as pl

from customer360.models.identity.registry import former_records
from customer360.models.recommenders.histories import popularity
from customer360.platform import graph, online, tables, telemetry
from customer360.platform.errors import TableMissing
from customer360.platform.lake import BUCKET, File, Lake
from customer360.platform.lake.editions import current_edition, current_files
from customer360.platform.online import Generation
from customer360.platform.privacy import leaving
from customer360.serve.publication import demand, rankers, vectors
from customer360.serve.publication.refusals import forget_refusals

PROFILES, IDENTITIES = "gold.customer_360", "silver.identities"
RECOMMENDATIONS, PREDICTIONS, INTERACTIONS = "gold.recommendations", "gold.predictions", "gold.interactions"
CATEGORY_SCORES, AFFINITY = "gold.category_scores", "gold.product_affinity"
PRODUCTS, STOCK = "silver.products", "silver.stock"
SALES, SOLD_LINES = "silver.transactions", "silver.transaction_items"
PUBLISHED = (
    PROFILES,
    IDENTITIES,
    RECOMMENDATIONS,
    PREDICTIONS,
    CATEGORY_SCORES,
    INTERACTIONS,
    PRODUCTS,
    STOCK,
    AFFINITY,
    SALES,
    SOLD_LINES,
)
CODE = "code"  # beside the versions of tables: what the documents were made by
POPULAR_DAYS = (28, 90)  # what sold in the first window, then what sold only in the longer one
POPULAR_ITEMS = 500
POPULAR_KEY = "all"
MODELS_KEY = "recommendations"
OF_A_PERSON = ("person", "scores", "categories", "recommendations", "bought", "former")  # kinds whose key is a person
NOT_SOLD = ("DISCONTINUED", "INACTIVE")


@dataclass(frozen=True)
class Inputs:
    """The tables of one publication, each pinned to one Delta version; those that do not exist are empty."""

    lake: Lake
    versions: dict[str, int]
    files: dict[str, list[File]] = field(default_factory=dict)

    @classmethod
    def pin(cls, lake: Lake) -> Inputs:
        with lake.at_one_look(PUBLISHED):
            versions = {name: lake.version(name) for name in PUBLISHED if lake.exists(name)}
            return cls(lake, versions, {name: lake.files(name, version) for name, version in versions.items()})

    @property
    def as_of(self) -> date:
        """The current edition of the profiles.

        Raises:
            TableMissing: there is none.
        """
        current = current_edition(self.lake, PROFILES, self.files.get(PROFILES, []))
        if current is None:
            raise TableMissing(f"{PROFILES} has no rows in {self.lake.root} yet; `customer360 run` builds it")
        return current.as_of

    def current(self, name: str) -> list[File]:
        """Files of each model's current edition (of the current edition, where a table has no models)."""
        files = self.files.get(name, [])
        return current_files(self.lake, name, files) if tables.spec(tables.by_name(name)).is_dated else files

    def buckets(self, name: str, *where: pl.Expr) -> Iterator[pl.DataFrame]:
        """The rows ``where`` something holds of the current edition, bucket by bucket; a person is whole within one."""
        files = self.current(name)
        for bucket in sorted({f.partition[BUCKET] or "" for f in files}):
            rows = self.lake.scan(name, [f for f in files if f.partition[BUCKET] == bucket])
            yield rows.filter(*where).collect()

    def scan(self, name: str) -> pl.LazyFrame:
        return self.lake.scan(name, self.files[name])

    def has(self, name: str) -> bool:
        return bool(self.files.get(name))


def publish_gold(lake: Lake, state: Path, keep: int = online.KEEP) -> Generation:
    """Publish the newest gold tables as a generation of the online store, without whoever is being erased.

    Raises:
        TableMissing: gold.customer_360 was not built yet.
    """
    hidden = _hidden(state)
    inputs = Inputs.pin(lake)
    sources = _sources(inputs, state)
    generation = online.publish(state, documents(inputs), as_of=inputs.as_of, sources=sources, keep=keep)
    online.end_hiding(state, hidden, generation)
    return generation


def _hidden(state: Path) -> online.Hiding:
    """What is hidden; where the file cannot be read, nothing that could be shown again."""
    try:
        return online.hidden(state)
    except online.Unsound as fault:
        telemetry.log.warning(f"{fault}; an erasure that is under way writes it anew")
        return online.Hiding()


def has_nobody(lake: Lake) -> bool:
    """Whether the profiles were built, and there is nobody to have one: of visitors without a name nothing is published
    by person."""
    return lake.exists(PROFILES) and not lake.files(PROFILES)


def is_published(lake: Lake, state: Path) -> bool:
    """Whether the generation in service was made of the tables as they are, by the code as it is."""
    current, inputs = online.current(state), Inputs.pin(lake)
    return current is not None and dict(current.sources) == _sources(inputs, state)


def _sources(inputs: Inputs, state: Path) -> dict[str, int]:
    beside = {vectors.SOURCE: vectors.current(state), rankers.SOURCE: rankers.current(state)}
    return inputs.versions | {CODE: _code()} | {name: number for name, number in beside.items() if number is not None}


def _code() -> int:
    return int(graph.code_fingerprint(documents, [])[:12], 16)


def hide_person(state: Path, persons: Iterable[str], accounts: Sequence[str]) -> None:
    """Answer for a person, by any of its ids, and for its accounts no more, at once and in every generation; the next
    publication is without."""
    ids = sorted(persons)
    if online.generations(state):
        own = [(kind, each) for each in ids for kind in OF_A_PERSON]
        online.hide(state, [*own, *(("account", account) for account in accounts)])
    forget_refusals(state, [*ids, *accounts])  # last: while anything is answered, what was refused holds


def documents(inputs: Inputs) -> Iterator[pl.DataFrame]:
    """Frames of (kind, key, document), one or two a bucket."""
    accounts = inputs.scan(IDENTITIES).select("record_id", "person_id").collect() if inputs.has(IDENTITIES) else None
    if accounts is not None and (gone := leaving(inputs.lake, accounts)):
        accounts = accounts.filter(~pl.col("person_id").is_in(gone))
    published: list[pl.DataFrame] = []
    segments: list[pl.DataFrame] = []
    for profiles in inputs.buckets(PROFILES):
        if accounts is None:
            break
        owned = accounts.join(profiles, on="person_id", how="semi")
        people = _people(profiles, owned)
        published.append(people.select(person_id="key"))
        segments.append(profiles.select("person_id", "value_segment"))
        yield people
        yield _documents("account", "record_id", owned, pl.struct("person_id"))
    if accounts is not None and published:
        yield _former(former_records(inputs.lake), accounts, pl.concat(published))
    known = pl.concat(published) if published else pl.DataFrame(schema={"person_id": pl.String})
    for predictions in inputs.buckets(PREDICTIONS):
        yield _scores(predictions.join(known, on="person_id", how="semi"))
    for scored in inputs.buckets(CATEGORY_SCORES):
        yield _categories(scored.join(known, on="person_id", how="semi"))
    scored_by: set[str] = set()
    for recommendations in inputs.buckets(RECOMMENDATIONS):
        scored_by |= set(recommendations["model"].unique())
        yield _lists(recommendations.join(known, on="person_id", how="semi"), _bought_since(inputs, recommendations))
    if scored_by:
        names = pl.DataFrame({"key": [MODELS_KEY], "names": [sorted(scored_by)]})
        yield _documents("models", "key", names, pl.struct("names"))
    if inputs.has(INTERACTIONS):
        yield _popular(inputs.scan(INTERACTIONS), inputs.as_of)
        for purchases in inputs.buckets(INTERACTIONS, pl.col("kind") == "purchase"):
            yield demand.bought(purchases, known)
        if segments:
            yield demand.by_segment(inputs.scan(INTERACTIONS), pl.concat(segments), inputs.as_of)
    if inputs.has(SOLD_LINES) and inputs.has(SALES):
        yield demand.by_place_and_hour(inputs.scan(SOLD_LINES), inputs.scan(SALES), inputs.as_of)
    if inputs.has(PRODUCTS):
        yield _products(inputs.scan(PRODUCTS), inputs.scan(STOCK) if inputs.has(STOCK) else None)
        yield demand.launched(inputs.scan(PRODUCTS), inputs.as_of)
    if inputs.has(STOCK):
        yield demand.stocked(inputs.scan(STOCK))
    if inputs.has(AFFINITY):
        yield _together(inputs.lake.scan(AFFINITY, inputs.current(AFFINITY)))


def _former(former: pl.DataFrame, accounts: pl.DataFrame, published: pl.DataFrame) -> pl.DataFrame:
    """Ids that lead to a published person, or to several where their records were parted."""
    led = former.join(accounts, on="record_id").join(published, on="person_id", how="semi")
    led = led.join(published, left_on="alias_id", right_on="person_id", how="anti")
    heirs = led.group_by("alias_id").agg(person_ids=pl.col("person_id").unique().sort()).sort("alias_id")
    return _documents("former", "alias_id", heirs, pl.struct("person_ids"))


def _documents(kind: str, key: str, frame: pl.DataFrame, document: pl.Expr) -> pl.DataFrame:
    return frame.select(kind=pl.lit(kind), key=key, document=document.struct.json_encode())


def _people(profiles: pl.DataFrame, owned: pl.DataFrame) -> pl.DataFrame:
    listed = owned.group_by("person_id").agg(accounts=pl.col("record_id").sort())
    profile = pl.struct(profiles.columns)
    return _documents(
        "person", "person_id", profiles.join(listed, on="person_id"), pl.struct(profile.alias("profile"), "accounts")
    )


def _scores(predictions: pl.DataFrame) -> pl.DataFrame:
    said = pl.struct("model", "target", "version", "score", "reasons", "scored_at", "as_of")
    by_person = predictions.sort("person_id", "model").group_by("person_id", maintain_order=True).agg(scores=said)
    return _documents("scores", "person_id", by_person, pl.struct("scores"))


def _categories(scored: pl.DataFrame) -> pl.DataFrame:
    said = pl.struct("category", "rank", "score", "lift", "model", "version", "target", "as_of")
    by_person = scored.sort("person_id", "model", "rank").group_by("person_id", maintain_order=True).agg(scores=said)
    return _documents("categories", "person_id", by_person, pl.struct("scores"))


def _bought_since(inputs: Inputs, recommendations: pl.DataFrame) -> pl.DataFrame:
    """(person_id, product_id) of what these persons bought since the day of their lists, which know those before."""
    if not inputs.has(INTERACTIONS) or recommendations.is_empty():
        return pl.DataFrame(schema={"person_id": pl.String, "product_id": pl.String})
    bought = inputs.scan(INTERACTIONS).filter(
        pl.col("kind") == "purchase", pl.col("on") >= recommendations["as_of"].min()
    )
    found = bought.select("person_id", "product_id").unique().collect()
    return found.join(recommendations, on="person_id", how="semi")


def _lists(recommendations: pl.DataFrame, bought: pl.DataFrame) -> pl.DataFrame:
    """Lists of the mode `new` without what was bought since they were made."""
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
