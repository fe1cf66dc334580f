"""What the towers learn from: events of persons, words of products, and batches of targets with their histories."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field
from scipy import sparse

from customer360.models.base import Params
from customer360.models.recommenders.histories import PURCHASE
from customer360.models.recommenders.judging import KIND_WEIGHTS
from customer360.platform.errors import ModelError

WORDS, LABELS = "product_name", ("category", "subcategory", "brand")
TREND_PRIOR = 3.0  # sales added to both sides of a trend, so that one sale makes none

Dense = NDArray[np.float32]
Ints = NDArray[np.int64]


class TwoTowerParams(Params):
    """Parameters of the two towers; the defaults were chosen on the public retail log before 2011-06-13."""

    dimension: int = Field(64, ge=1)
    epochs: int = Field(5, ge=1)
    epoch_examples: int = Field(200_000, ge=1, description="examples drawn an epoch, at most all of them")
    batch_size: int = Field(1024, ge=2)
    learning_rate: float = Field(0.005, gt=0)
    temperature: float = Field(0.2, gt=0)
    history_dropout: float = Field(0.6, ge=0, lt=1)
    id_dropout: float = Field(0.1, ge=0, lt=1, description="share of targets known by their words alone")
    history_limit: int = Field(300, ge=1, description="latest events of a history that count")
    history_half_life_days: float = Field(180.0, gt=0)
    example_half_life_days: float = Field(90.0, gt=0)
    min_history: int = Field(3, ge=1, description="events before a target's day")
    token_buckets: int = Field(4096, ge=1)
    trend_days: int = Field(28, ge=1)
    trend_weight: float = Field(1.0, ge=0, description="what the latest days add to the bias")
    own_weight: float = Field(2.0, ge=0, description="own purchases in mode all, against the towers")
    own_half_life_days: float = Field(365.0, gt=0)
    horizon_days: int = Field(90, ge=1)
    min_products: int = Field(5, ge=1, description="distinct products that a judged person has bought before the cut")
    k: int = Field(20, ge=1)
    seed: int = 0


@dataclass(frozen=True)
class Events:
    """Interactions before a date, sorted by person, day and product; `person` and `item` index the sorted ids."""

    persons: pl.Series
    products: pl.Series
    person: Ints
    item: Ints
    day: Ints
    weight: Dense
    is_purchase: NDArray[np.bool_]

    def bags(self, low: Ints, high: Ints, at: Ints, half_life: float) -> tuple[Ints, Ints, Dense]:
        """The events [low, high) of each row: row, event and weight as of day `at`, under each other."""
        length = high - low
        row = np.repeat(np.arange(len(low)), length)
        event = np.arange(len(row)) + np.repeat(low - np.cumsum(length) + length, length)
        age = (at[row] - self.day[event]) / half_life
        return row, event, (self.weight[event] * 0.5**age).astype(np.float32)

    def ends(self) -> Ints:
        """Where each person's events begin; one more entry than persons."""
        return np.searchsorted(self.person, np.arange(len(self.persons) + 1)).astype(np.int64)


def read_events(interactions: pl.LazyFrame, as_of: date) -> Events:
    """Interactions before `as_of` that say something (`KIND_WEIGHTS`); a kind, product and day counts once a person."""
    known = (pl.col("on") < as_of) & pl.col("person_id").is_not_null() & pl.col("kind").is_in(list(KIND_WEIGHTS))
    kept = pl.col("kind").cast(pl.String)
    rows = (
        interactions.filter(known)
        .select("person_id", "product_id", "on", kind=kept)
        .unique()
        .sort("person_id", "on", "product_id", "kind")
        .collect()
    )
    persons, products = rows["person_id"].unique().sort(), rows["product_id"].unique().sort()
    return Events(
        persons=persons,
        products=products,
        person=places(persons, rows["person_id"]),
        item=places(products, rows["product_id"]),
        day=rows["on"].to_physical().to_numpy().astype(np.int64),
        weight=rows["kind"].replace_strict(KIND_WEIGHTS, return_dtype=pl.Float32).to_numpy(),
        is_purchase=(rows["kind"] == PURCHASE).to_numpy(),
    )


def words(catalogue: pl.LazyFrame, products: pl.Series, buckets: int) -> sparse.csr_array:
    """Share of each hashed word in the texts of each product; shape (products, buckets), a product without text is
    0."""
    texts = products.to_frame("product_id").lazy().with_row_index("row").join(catalogue, on="product_id")
    name = pl.col(WORDS).cast(pl.String).str.to_lowercase().str.extract_all(r"[\p{L}\p{N}]+")
    labels = [pl.concat_list(pl.format("{}={}", pl.lit(label), pl.col(label).cast(pl.String))) for label in LABELS]
    parts = [texts.select("row", word=part) for part in (name, *labels)]
    found = pl.concat(parts).explode("word").drop_nulls().unique().sort("row", "word").collect()
    vocabulary = found["word"].unique().sort()
    bucket = np.array([zlib.crc32(word.encode()) % buckets for word in vocabulary], dtype=np.int64)
    row = found["row"].to_numpy().astype(np.int64)
    share = 1.0 / np.maximum(np.bincount(row, minlength=len(products)), 1)[row]
    column = bucket[places(vocabulary, found["word"])]
    return sparse.coo_array((share.astype(np.float32), (row, column)), shape=(len(products), buckets)).tocsr()


@dataclass(frozen=True)
class Examples:
    """Targets (places in `events`), the history [low, high) of each, the chance to be drawn, and the log of the chance
    of each product.
    """

    events: Events
    today: int
    target: Ints
    low: Ints
    high: Ints
    chance: NDArray[np.float64]
    log_rate: Dense

    @staticmethod
    def of(events: Events, today: int, params: TwoTowerParams) -> "Examples":
        """Every purchase with `min_history` events before its day. Raises ModelError when there is none."""
        span = int(events.day.max() - events.day.min()) + 1 if len(events.day) else 1
        visit = events.person * span + (events.day - events.day.min() if len(events.day) else 0)
        first = np.searchsorted(visit, visit, side="left").astype(
            np.int64
        )  # the first event of the same person and day
        low = np.maximum(events.ends()[events.person], first - params.history_limit)
        target = np.flatnonzero(events.is_purchase & (first - low >= params.min_history))
        if len(target) == 0:
            raise ModelError(
                f"no purchase has {params.min_history} earlier events of its person: nothing to learn from"
            )
        chance = 0.5 ** ((today - events.day[target]) / params.example_half_life_days)
        chance /= chance.sum()
        rate = np.bincount(events.item[target], weights=chance, minlength=len(events.products))
        rate = np.maximum(rate, 0.1 / len(target))  # as if a tenth of a sale: the logarithm of nothing is not a number
        log_rate = np.log(rate / rate.sum()).astype(np.float32)
        return Examples(events, today, target, low[target], first[target], chance, log_rate)

    def trend(self, params: TwoTowerParams) -> Dense:
        """Log of the latest sales of each product over those that its rate would give."""
        lately = self.events.is_purchase & (self.events.day >= self.today - params.trend_days)
        sales = np.bincount(self.events.item[lately], minlength=len(self.events.products))
        expected = np.exp(self.log_rate) * sales.sum()
        return np.log((sales + TREND_PRIOR) / (expected + TREND_PRIOR)).astype(np.float32)


@dataclass(frozen=True)
class Share:
    """One of the `workers` that share a fit; `rank` counts from 0."""

    rank: int = 0
    workers: int = 1

    def rows(self, size: int) -> slice:
        """Its part of a batch of `size` rows."""
        return slice(self.rank * size // self.workers, (self.rank + 1) * size // self.workers)


ALONE = Share()


@dataclass(frozen=True)
class Batch:
    """`target` products, and the histories of the rows `own` of them: `items` and `weights` under each other, `offsets`
    where each begins; `keeps_id` is 0 where a target is known by its words alone.
    """

    items: Ints
    weights: Dense
    offsets: Ints
    target: Ints
    keeps_id: Dense
    own: slice


def batches(examples: Examples, params: TwoTowerParams, epoch: int, share: Share = ALONE) -> Iterator[Batch]:
    """The batches of one epoch, all of `batch_size` (or of all examples, where those are fewer). Workers that share
    them draw the same and look up the histories of their own rows.
    """
    rng, events = np.random.default_rng((params.seed, epoch)), examples.events
    size = batch_size(examples, params)
    own, total = share.rows(size), np.cumsum(examples.chance)
    for _ in range(steps(examples, params)):
        drawn = np.minimum(np.searchsorted(total, rng.random(size)), len(total) - 1)
        target = examples.target[drawn]
        low, high, item = examples.low[drawn], examples.high[drawn], events.item[target]
        begins = np.append(0, np.cumsum(high - low))
        luck = rng.random(begins[-1])[begins[own.start] : begins[own.stop]]
        row, event, weight = events.bags(low[own], high[own], events.day[target[own]], params.history_half_life_days)
        kept = (events.item[event] != item[own][row]) & (luck >= params.history_dropout)
        row, event, weight = row[kept], event[kept], weight[kept]
        keeps_id = (rng.random((size, 1)) >= params.id_dropout).astype(np.float32)
        offsets = np.searchsorted(row, np.arange(own.stop - own.start)).astype(np.int64)
        yield Batch(events.item[event], weight, offsets, item, keeps_id, own)


def steps(examples: Examples, params: TwoTowerParams) -> int:
    """Batches an epoch."""
    return max(1, min(params.epoch_examples, len(examples.target)) // batch_size(examples, params))


def batch_size(examples: Examples, params: TwoTowerParams) -> int:
    """Rows of a batch, of all workers together."""
    return min(params.batch_size, len(examples.target))


def places(values: pl.Series, found: pl.Series) -> Ints:
    """Position of each entry of `found` in the sorted, unique `values` that hold it."""
    return values.search_sorted(found).to_numpy().astype(np.int64)
