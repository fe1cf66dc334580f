"""Recommendations from what goes with what: an item-item matrix applied to a person's history.

Two matrices, the better one of an inner time split is kept: EASE (Steck 2019, closed form, for catalogues that invert
in memory) and cosine similarity with shrinkage. Two modes: `new` leaves out what the person has bought (discovery),
`all` mixes in the person's own purchases (replenishment). Scores of the parts are standardised per person before they
are added; a part that says nothing adds nothing, so a person with no history gets what is popular.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Literal

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field
from scipy import sparse

from customer360.models.base import Evaluation, Model, Params, Progress, Snapshot, register
from customer360.models.lifecycle import evaluation
from customer360.models.outputs import PAYLOADS
from customer360.models.recommenders import ease as closed_form
from customer360.models.recommenders import neighbours
from customer360.models.recommenders.histories import (
    bought_by_anybody,
    most_popular,
    own_frequency,
    popularity,
    purchases,
    top_k,
)
from customer360.models.recommenders.judging import (
    INTERACTIONS,
    KIND_WEIGHTS,
    MODES,
    Mode,
    judged_outcome,
    outcome,
)
from customer360.models.recommenders.neighbours import keep_largest
from customer360.platform.errors import ModelError

Method = Literal["ease", "cosine"]
BLOCK_PERSONS = 1024

Dense = NDArray[np.float32]
Ints = NDArray[np.int64]


class Mix(Params):
    """Weights of the standardised parts of a score."""

    similarity: float = Field(ge=0)
    own: float = Field(ge=0)
    popularity: float = Field(ge=0)


class ItemToItemParams(Params):
    """Parameters of the item-to-item recommender."""

    method: Literal["auto", "ease", "cosine"] = "auto"
    ease_regularisation: float = Field(200.0, gt=0)
    ease_item_limit: int = Field(
        6000, ge=1, description="larger catalogues use cosine: the inverse takes items^2 * 8 bytes"
    )
    shrink: float = Field(20.0, ge=0)
    neighbours: int = Field(100, ge=1, description="largest weights kept per product by cosine")
    ease_neighbours: int = Field(400, ge=1, description="largest weights kept per product by EASE")
    popularity_days: int = Field(28, ge=1)
    own_half_life_days: float = Field(365.0, gt=0)
    new_mix: Mix = Mix(similarity=1.0, own=0.0, popularity=0.3)
    all_mix: Mix = Mix(similarity=0.5, own=1.0, popularity=0.2)
    horizon_days: int = Field(90, ge=1)
    inner_split_days: int = Field(90, ge=1)
    inner_persons: int = Field(1000, ge=1, description="persons that judge the methods on the inner split")
    min_products: int = Field(5, ge=1, description="distinct products that a judged person has bought before the cut")
    k: int = Field(20, ge=1)
    seed: int = 0


@dataclass(frozen=True)
class ItemToItemFitted:
    """`weights[i, j]` is what having i says for j; `popular` is the recent count of each product; both in the order of
    `products`.
    """

    params: ItemToItemParams
    as_of: date
    method: Method
    products: pl.Series
    weights: sparse.csr_array
    popular: Dense

    def save(self, directory: Path) -> None:
        """Write `products.parquet` (product_id, popular), `weights.parquet` (product, neighbour, weight) and
        `item_to_item.json`.
        """
        directory.mkdir(parents=True, exist_ok=True)
        pl.DataFrame({"product_id": self.products, "popular": self.popular}).write_parquet(
            directory / "products.parquet"
        )
        cells = self.weights.tocoo()
        triples = {"product": cells.coords[0], "neighbour": cells.coords[1], "weight": cells.data}
        pl.DataFrame(triples).write_parquet(directory / "weights.parquet")
        rest = {"params": self.params.model_dump(), "as_of": self.as_of.isoformat(), "method": self.method}
        (directory / "item_to_item.json").write_text(json.dumps(rest, indent=1, sort_keys=True))

    def within(self, products: pl.Series) -> "ItemToItemFitted":
        """What is left where only some products are known, as if nobody had bought the others."""
        kept = self.products.is_in(products.implode())
        if kept.all():
            return self
        at = kept.arg_true().to_numpy()
        left = self.weights[at][:, at]
        return replace(self, products=self.products.filter(kept), weights=left, popular=self.popular[at])


def load(directory: Path) -> ItemToItemFitted:
    """Read what `ItemToItemFitted.save` wrote."""
    rest = json.loads((directory / "item_to_item.json").read_text())
    products = pl.read_parquet(directory / "products.parquet")
    cells = pl.read_parquet(directory / "weights.parquet")
    coords = (cells["product"].to_numpy(), cells["neighbour"].to_numpy())
    weights = sparse.coo_array((cells["weight"].to_numpy(), coords), shape=(products.height, products.height)).tocsr()
    return ItemToItemFitted(
        params=ItemToItemParams(**rest["params"]),
        as_of=date.fromisoformat(rest["as_of"]),
        method=rest["method"],
        products=products["product_id"],
        weights=weights,
        popular=products["popular"].to_numpy(),
    )


def fit(snapshot: Snapshot, params: ItemToItemParams, progress: Progress) -> ItemToItemFitted:
    """Fit on purchases before `snapshot.as_of`. Raises ModelError when there are none."""
    method: Method = choose(snapshot, params) if params.method == "auto" else params.method
    return fit_method(snapshot, params, method)


def fit_method(snapshot: Snapshot, params: ItemToItemParams, method: Method) -> ItemToItemFitted:
    """Fit one of the two matrices on purchases before `snapshot.as_of`."""
    bought = purchases(snapshot[INTERACTIONS], snapshot.as_of).select("person_id", "product_id").unique().collect()
    if bought.is_empty():
        raise ModelError(f"no purchase before {snapshot.as_of}")
    products = bought["product_id"].unique().sort()
    cells = bought.with_columns(value=pl.lit(1.0, pl.Float32))
    baskets = _matrix(cells, bought["person_id"].unique().sort(), products)
    weights = ease(baskets, params) if method == "ease" else cosine(baskets, params)
    counts = popularity(snapshot[INTERACTIONS], snapshot.as_of, params.popularity_days)
    joined = products.to_frame().join(counts, on="product_id", how="left", maintain_order="left")
    popular = joined["count"].fill_null(0).cast(pl.Float32).to_numpy()
    return ItemToItemFitted(params, snapshot.as_of, method, products, weights, popular)


def choose(snapshot: Snapshot, params: ItemToItemParams) -> Method:
    """The matrix with the higher Recall@20 of new products on a time split inside the training data; cosine for large
    catalogues.
    """
    inner = Snapshot(snapshot.tables, snapshot.as_of - timedelta(days=params.inner_split_days))
    until = purchases(snapshot[INTERACTIONS], snapshot.as_of)
    if until.select(pl.col("product_id").n_unique()).collect().item() > params.ease_item_limit:
        return "cosine"
    truth = outcome(snapshot[INTERACTIONS], inner.as_of, snapshot.as_of, params.min_products, "new")
    if truth.is_empty():
        return "cosine"
    persons = truth["person_id"].unique().sort()
    persons = persons.sample(min(params.inner_persons, len(persons)), seed=params.seed).sort()
    judged = truth.filter(pl.col("person_id").is_in(persons.implode()))

    def recall(method: Method) -> float:
        lists = recommend(
            fit_method(inner, params, method), inner[INTERACTIONS], persons, inner.as_of, "new", evaluation.RECALL_AT
        )
        return float(evaluation.ranking_by_person(lists, judged)["recall"].to_numpy().mean())

    return "ease" if recall("ease") > recall("cosine") else "cosine"


def ease(baskets: sparse.csr_array, params: ItemToItemParams) -> sparse.csr_array:
    """EASE, the largest `ease_neighbours` weights into each product kept."""
    weights = closed_form.weights(baskets, params.ease_regularisation)
    return keep_largest(weights.T, params.ease_neighbours).T.tocsr()


def cosine(baskets: sparse.csr_array, params: ItemToItemParams) -> sparse.csr_array:
    """Shrunk cosine of co-purchase, the `neighbours` most similar of each product kept."""
    return neighbours.cosine(baskets, params.shrink, params.neighbours)


def recommend(
    fitted: ItemToItemFitted, interactions: pl.LazyFrame, persons: pl.Series, as_of: date, mode: Mode, k: int
) -> pl.DataFrame:
    """The k best products of each person: `person_id`, `rank` (from 1), `product_id`, `score`, sorted by person and
    rank.

    `interactions` before `as_of` are the histories; `persons` is unique, a person without history gets what is popular.
    In mode `new` bought products never appear. Fewer than k rows where the catalogue holds less.
    """
    if persons.is_empty() or fitted.products.is_empty():
        return pl.DataFrame(schema={n: t for n, t in PAYLOADS["gold.recommendations"].items() if n != "mode"})
    persons, mix = persons.sort(), fitted.params.new_mix if mode == "new" else fitted.params.all_mix
    history, own, bought = _histories(fitted, interactions, persons, as_of)
    popular, parts = _standardise(fitted.popular[None, :]), []
    equal = np.argsort(np.argsort(-fitted.popular, kind="stable"), kind="stable")  # who goes first of equals
    for rows in _blocks(len(persons)):
        scores = mix.popularity * popular.repeat(rows.stop - rows.start, axis=0)
        if mix.similarity:
            scores += mix.similarity * _standardise((history[rows] @ fitted.weights).toarray())
        if mix.own:
            scores += mix.own * _standardise(own[rows].toarray())
        if mode == "new":
            scores[bought[rows].nonzero()] = -np.inf
        parts.append(_lists(scores, k, rows.start, equal))
    found = pl.concat(parts)
    return found.select(
        person_id=persons.gather(found["person"]),
        rank="rank",
        product_id=fitted.products.gather(found["item"]),
        score=pl.col("score").cast(pl.Float64),
    )


def predict(fitted: ItemToItemFitted, snapshot: Snapshot) -> pl.DataFrame:
    """Lists of both modes for every person with an interaction before `snapshot.as_of`, of products that somebody in it
    has bought.
    """
    interactions = snapshot[INTERACTIONS]
    seen = interactions.filter(pl.col("on") < snapshot.as_of, pl.col("person_id").is_not_null())
    persons = seen.select(pl.col("person_id").unique()).collect()["person_id"]
    known = fitted.within(bought_by_anybody(interactions, snapshot.as_of))
    lists = [
        recommend(known, interactions, persons, snapshot.as_of, mode, fitted.params.k).with_columns(mode=pl.lit(mode))
        for mode in MODES
    ]
    return pl.concat(lists)


def evaluate(fitted: ItemToItemFitted, snapshot: Snapshot) -> Evaluation:
    """Judge a model fitted at `snapshot.as_of` on purchases in the window after it, both modes, beside popularity and
    own purchases.

    Judged persons have bought `min_products` distinct products before. The full catalogue is ranked, nothing is
    sampled. Metric names begin with the mode; comparisons are of Recall@20.
    """
    params, metrics, verdicts = fitted.params, {"product_count": float(len(fitted.products))}, {}
    rows: list[pl.DataFrame] = []
    for mode in MODES:
        truth = judged_outcome(snapshot[INTERACTIONS], snapshot.as_of, params.horizon_days, params.min_products, mode)
        persons = truth["person_id"].unique().sort()
        lists = recommend(fitted, snapshot[INTERACTIONS], persons, snapshot.as_of, mode, evaluation.RECALL_AT)
        rows.append(evaluation.ranking_by_person(lists, truth).with_columns(mode=pl.lit(mode)))
        recall = rows[-1]["recall"]
        metrics |= _named(mode, evaluation.ranking_metrics(lists, truth, len(fitted.products)))
        for name, baseline in baselines(fitted, snapshot, persons, mode).items():
            theirs = evaluation.ranking_by_person(baseline, truth)
            compared = evaluation.compare_means(recall, theirs["recall"], params.seed)
            figures = {
                "recall_20": float(theirs["recall"].to_numpy().mean()),
                "ndcg_10": float(theirs["ndcg"].to_numpy().mean()),
            }
            interval = {"gain": compared.difference, "gain_low": compared.low, "gain_high": compared.high}
            metrics |= _named(f"{mode}_{name}", figures) | _named(f"{mode}_over_{name}", interval)
            verdicts[f"{mode}_over_{name}"] = compared.verdict
    return Evaluation(metrics, verdicts, pl.concat(rows))


def baselines(fitted: ItemToItemFitted, snapshot: Snapshot, persons: pl.Series, mode: Mode) -> dict[str, pl.DataFrame]:
    """Lists of the rules to beat: what sold most lately (less what was bought, in mode `new`) and, in mode `all`, own
    purchases.
    """
    interactions, k = snapshot[INTERACTIONS], evaluation.RECALL_AT
    if mode == "all":
        days = fitted.params.popularity_days
        return {
            "popularity": most_popular(interactions, persons, snapshot.as_of, days, k),
            "own_frequency": own_frequency(interactions, persons, snapshot.as_of, k),
        }
    only_popular = fitted.params.model_copy(update={"new_mix": Mix(similarity=0.0, own=0.0, popularity=1.0)})
    popular = ItemToItemFitted(
        only_popular, fitted.as_of, fitted.method, fitted.products, fitted.weights, fitted.popular
    )
    return {"popularity": recommend(popular, interactions, persons, snapshot.as_of, "new", k)}


def _histories(
    fitted: ItemToItemFitted, interactions: pl.LazyFrame, persons: pl.Series, as_of: date
) -> tuple[sparse.csr_array, sparse.csr_array, sparse.csr_array]:
    """Three matrices persons x products: strength of interest, decayed own purchases, bought at all."""
    mine = pl.col("person_id").is_in(persons.implode())
    rows = interactions.filter(pl.col("on") < as_of, mine, pl.col("kind").is_in(list(KIND_WEIGHTS)))
    weight = pl.col("kind").cast(pl.String).replace_strict(KIND_WEIGHTS, return_dtype=pl.Float32)
    interest = rows.group_by("person_id", "product_id").agg(value=weight.max()).collect()
    age = (pl.lit(as_of) - pl.col("on")).dt.total_days()
    decayed = (0.5 ** (age / fitted.params.own_half_life_days)).sum().cast(pl.Float32)
    bought = purchases(rows, as_of).sort("on").group_by("person_id", "product_id").agg(value=decayed).collect()
    own = _matrix(bought, persons, fitted.products)
    return _matrix(interest, persons, fitted.products), own, own


def _matrix(cells: pl.DataFrame, persons: pl.Series, products: pl.Series) -> sparse.csr_array:
    """Cells (`person_id`, `product_id`, `value`) as a sparse matrix over sorted ids; products that the model does not
    know are left out.
    """
    rows = pl.DataFrame({"person_id": persons}).with_row_index("row")
    columns = pl.DataFrame({"product_id": products}).with_row_index("column")
    placed = cells.join(rows, on="person_id").join(columns, on="product_id")
    coords = (placed["row"].to_numpy(), placed["column"].to_numpy())
    return sparse.coo_array((placed["value"].to_numpy(), coords), shape=(len(persons), len(products))).tocsr()


def _standardise(scores: Dense) -> Dense:
    """Mean 0 and standard deviation 1 over each row; a constant row becomes 0."""
    centred = scores - scores.mean(axis=1, keepdims=True)
    spread = centred.std(axis=1, keepdims=True)
    return np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 0)


def _lists(scores: Dense, k: int, first_row: int, precedence: Ints) -> pl.DataFrame:
    """Long form of the top k: `person` (row number), `rank`, `item` (column), `score`; -inf is never listed."""
    items = top_k(scores, k, precedence)
    width = items.shape[1]
    frame = pl.DataFrame(
        {
            "person": np.repeat(np.arange(first_row, first_row + len(items)), width),
            "rank": np.tile(np.arange(1, width + 1, dtype=np.int64), len(items)),
            "item": items.ravel(),
            "score": np.take_along_axis(scores, items, axis=1).ravel(),
        }
    )
    return frame.filter(pl.col("score") > -np.inf)


def _blocks(count: int) -> Iterator[slice]:
    return (slice(start, min(start + BLOCK_PERSONS, count)) for start in range(0, count, BLOCK_PERSONS))


def _named(prefix: str, figures: dict[str, float]) -> dict[str, float]:
    return {f"{prefix}_{name}": value for name, value in figures.items()}


MODEL = register(
    Model(
        name="item_to_item",
        target="purchased_90d",
        output="gold.recommendations",
        tables=(INTERACTIONS,),
        inputs=pl.Schema({"person_id": pl.String, "product_id": pl.String, "kind": pl.String, "on": pl.Date}),
        params=ItemToItemParams,
        fit=fit,
        predict=predict,
        evaluate=evaluate,
        load=load,
    )
)
