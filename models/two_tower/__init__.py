"""Recommendations from two towers: a person's recent history and a product, each as a vector; near means likely.

The product tower adds an embedding of the product's id and the mean embedding of the words of its name, category, brand
and subcategory (hashed, so a product that nobody has bought yet has a place at once). The person tower is the weighted
bag of what the person bought and looked at before the target's day, recent things weighing more, with the target itself
taken out and part of the rest dropped. Training is softmax over the products of the batch with the log of their
sampling rate taken off, so that popular products are not punished for standing in many batches; each product has a bias
that starts at that logarithm. Examples are drawn by recency. Every product is compared (`retrieval`).

Equal data, parameters, seed and number of workers give equal bytes: training keeps to one thread a worker, and each
epoch draws from its own generator, so a resumed fit sees what an unbroken one sees. PyTorch is imported by a fit alone.
"""

import json
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
from scipy import sparse

from customer360.models import item_to_item
from customer360.models.base import Evaluation, Model, Progress, Snapshot, register
from customer360.models.item_to_item import ItemToItemParams, Mix
from customer360.models.lifecycle import evaluation
from customer360.models.outputs import PAYLOADS
from customer360.models.recommenders import retrieval
from customer360.models.recommenders.histories import most_popular, own_frequency, purchases, top_k
from customer360.models.recommenders.judging import INTERACTIONS, KIND_WEIGHTS, MODES, Mode, judged_outcome
from customer360.models.two_tower.examples import Dense, Examples, Ints, TwoTowerParams, places, read_events, words
from customer360.models.two_tower.towers import train

PRODUCTS = "silver.products"
BLOCK_PERSONS = 1024


@dataclass(frozen=True)
class TwoTowerFitted:
    """`items` and `hidden` are the vectors of products as target and as history, in the order of `products`; the tables
    of words give both to a product that came later. `bias` is the log of how often a product sells.
    """

    params: TwoTowerParams
    as_of: date
    products: pl.Series
    bias: Dense
    items: Dense
    hidden: Dense
    item_words: Dense
    hidden_words: Dense

    def save(self, directory: Path) -> None:
        """Write `products.parquet` (product_id, bias), four arrays as `.npy` and `two_tower.json`."""
        directory.mkdir(parents=True, exist_ok=True)
        pl.DataFrame({"product_id": self.products, "bias": self.bias}).write_parquet(directory / "products.parquet")
        for name in ("items", "hidden", "item_words", "hidden_words"):
            np.save(directory / f"{name}.npy", getattr(self, name))
        rest = {"params": self.params.model_dump(), "as_of": self.as_of.isoformat()}
        (directory / "two_tower.json").write_text(json.dumps(rest, indent=1, sort_keys=True))

    def within(self, products: pl.Series) -> "TwoTowerFitted":
        """What is left where only some products are known by who bought them."""
        kept = self.products.is_in(products.implode())
        at = kept.arg_true().to_numpy()
        rows = {name: getattr(self, name)[at] for name in ("bias", "items", "hidden")}
        return self if kept.all() else replace(self, products=self.products.filter(kept), **rows)


def load(directory: Path) -> TwoTowerFitted:
    """Read what `TwoTowerFitted.save` wrote."""
    rest = json.loads((directory / "two_tower.json").read_text())
    products = pl.read_parquet(directory / "products.parquet")
    return TwoTowerFitted(
        TwoTowerParams(**rest["params"]),
        date.fromisoformat(rest["as_of"]),
        products["product_id"],
        products["bias"].to_numpy(),
        *(np.load(directory / f"{name}.npy") for name in ("items", "hidden", "item_words", "hidden_words")),
    )


def fit(snapshot: Snapshot, params: TwoTowerParams, progress: Progress) -> TwoTowerFitted:
    """Fit on interactions before `snapshot.as_of`, going on from the epoch that `progress` kept. Raises ModelError when
    nobody bought anything after a first day.
    """
    events = read_events(snapshot[INTERACTIONS], snapshot.as_of)
    content = words(snapshot[PRODUCTS], events.products, params.token_buckets)
    examples = Examples.of(events, (snapshot.as_of - date(1970, 1, 1)).days, params)
    tables = train(examples, content, params, progress)
    item_words, hidden_words = tables["item_words"], tables["hidden_words"]
    return TwoTowerFitted(
        params=params,
        as_of=snapshot.as_of,
        products=events.products,
        bias=tables["bias"] + params.trend_weight * examples.trend(params),
        items=tables["item_ids"] + content @ item_words,
        hidden=tables["hidden_ids"] + content @ hidden_words,
        item_words=item_words,
        hidden_words=hidden_words,
    )


def with_new_products(fitted: TwoTowerFitted, catalogue: pl.LazyFrame, as_of: date) -> TwoTowerFitted:
    """The model with the products of `silver.products` launched before `as_of` that it has not seen, known by their
    words and taken to sell like the median product.
    """
    goods = catalogue.filter(pl.col("launched_on") < as_of, "is_product").select(pl.col("product_id").unique())
    known = fitted.products.to_frame("product_id").lazy()
    added = goods.join(known, on="product_id", how="anti").collect()["product_id"].sort()
    content = words(catalogue, added, fitted.params.token_buckets)
    products = pl.concat([fitted.products, added])
    order = products.arg_sort().to_numpy()
    median = np.median(fitted.bias) if len(fitted.bias) else 0.0
    bias = np.concatenate([fitted.bias, np.full(len(added), median, dtype=np.float32)])
    items = np.concatenate([fitted.items, content @ fitted.item_words])
    hidden = np.concatenate([fitted.hidden, content @ fitted.hidden_words])
    tables = fitted.item_words, fitted.hidden_words
    return TwoTowerFitted(
        fitted.params, fitted.as_of, products.gather(order), bias[order], items[order], hidden[order], *tables
    )


def recommend(
    fitted: TwoTowerFitted, interactions: pl.LazyFrame, persons: pl.Series, as_of: date, mode: Mode, k: int
) -> pl.DataFrame:
    """The k best products of each person: `person_id`, `rank` (from 1), `product_id`, `score`, sorted by person and
    rank.

    `interactions` before `as_of` are the histories; `persons` is unique, one without history gets what sells. In mode
    `new` bought products never appear; in mode `all` own purchases, fading with time, are added. Fewer than k rows
    where the catalogue holds less.
    """
    if persons.is_empty():
        return pl.DataFrame(schema={n: t for n, t in PAYLOADS["gold.recommendations"].items() if n != "mode"})
    persons = persons.sort()
    history, own = histories(fitted, interactions, persons, as_of)
    is_large = len(fitted.products) > retrieval.EXACT_LIMIT
    index = retrieval.Index.of(normalized(fitted.items) / np.float32(fitted.params.temperature), fitted.bias)
    parts = []
    for start in range(0, len(persons), BLOCK_PERSONS):
        rows = slice(start, start + BLOCK_PERSONS)
        person = normalized(history[rows] @ fitted.hidden)
        if mode == "new":
            best, score = index.search(person, k, own[rows])
        elif is_large:
            best, score = _with_own(index, person, own[rows], fitted.params.own_weight, k)
        else:
            scores = _standardized(person @ index.items.T + fitted.bias)
            scores += fitted.params.own_weight * _standardized(own[rows].toarray())
            best = top_k(scores, k)
            score = np.take_along_axis(scores, best, axis=1)
        listed = {
            "person_id": persons[rows].gather(np.repeat(np.arange(len(best)), best.shape[1])),
            "rank": np.tile(np.arange(1, best.shape[1] + 1, dtype=np.int64), len(best)),
            "product_id": fitted.products.gather(best.ravel()),
            "score": score.ravel().astype(np.float64),
        }
        parts.append(pl.DataFrame(listed).filter(pl.col("score") > -np.inf))
    return pl.concat(parts)


def _with_own(
    index: retrieval.Index, person: Dense, own: sparse.csr_array, weight: float, k: int
) -> tuple[Ints, Dense]:
    """Places and scores of mode `all` for a catalogue too large for a table of persons x products: what is near without
    regard to own purchases, and own purchases, standardised by the moments that all products would give.
    """
    count = len(index.items)
    centre, spread = _moments(index, person)
    mean = np.asarray(own.sum(axis=1)).ravel() / count
    deviation = np.sqrt(np.maximum(np.asarray(own.multiply(own).sum(axis=1)).ravel() / count - mean**2, 0.0))
    near, near_score = index.search(person, k, own)
    best, score = np.zeros((len(person), k), dtype=np.int64), np.full((len(person), k), -np.inf, dtype=np.float32)
    for row in range(len(person)):
        mine = own.indices[own.indptr[row] : own.indptr[row + 1]]
        place = np.concatenate([near[row], mine])
        said = np.concatenate([near_score[row], index.items[mine] @ person[row] + index.bias[mine]])
        bought = np.concatenate([np.zeros(near.shape[1]), own.data[own.indptr[row] : own.indptr[row + 1]]])
        total = np.zeros_like(said) if spread[row] == 0 else (said - centre[row]) / spread[row]
        if deviation[row] > 0:
            total += weight * (bought - mean[row]) / deviation[row]
        order = np.lexsort((place, -total))[:k]
        best[row, : len(order)], score[row, : len(order)] = place[order], total[order]
    return best, score


def _moments(index: retrieval.Index, person: Dense) -> tuple[Dense, Dense]:
    """Mean and standard deviation of the scores of all products for each person, without the scores."""
    middle, level = index.items.mean(axis=0), index.bias.mean()
    items, bias = index.items - middle, index.bias - level
    spread = np.einsum("pd,de,pe->p", person, items.T @ items / len(items), person)
    spread += 2 * (person @ (items.T @ bias / len(items))) + (bias**2).mean()
    return person @ middle + level, np.sqrt(np.maximum(spread, 0.0))


def predict(fitted: TwoTowerFitted, snapshot: Snapshot) -> pl.DataFrame:
    """Lists of both modes for every person with an interaction before `snapshot.as_of`, products launched since the fit
    included. Those that nobody in it has touched are known by their words alone, as if they were new.
    """
    interactions = snapshot[INTERACTIONS]
    seen = interactions.filter(pl.col("on") < snapshot.as_of, pl.col("person_id").is_not_null())
    persons = seen.select(pl.col("person_id").unique()).collect()["person_id"]
    touched = seen.filter(pl.col("kind").is_in(list(KIND_WEIGHTS))).select(pl.col("product_id").unique())
    known = fitted.within(touched.collect()["product_id"])
    whole = with_new_products(known, snapshot[PRODUCTS], snapshot.as_of)
    lists = [
        recommend(whole, interactions, persons, snapshot.as_of, mode, fitted.params.k).with_columns(mode=pl.lit(mode))
        for mode in MODES
    ]
    return pl.concat(lists)


def evaluate(fitted: TwoTowerFitted, snapshot: Snapshot) -> Evaluation:
    """Judge a model fitted at `snapshot.as_of` on purchases in the window after it, both modes, beside `baselines`.

    Judged persons have bought `min_products` distinct products before. The full catalogue is ranked, nothing is
    sampled. Metric names begin with the mode; comparisons are of Recall@20.
    """
    params, interactions = fitted.params, snapshot[INTERACTIONS]
    whole = with_new_products(fitted, snapshot[PRODUCTS], snapshot.as_of)
    metrics, verdicts, rows = {"product_count": float(len(whole.products))}, {}, []
    for mode in MODES:
        truth = judged_outcome(interactions, snapshot.as_of, params.horizon_days, params.min_products, mode)
        persons = truth["person_id"].unique().sort()
        lists = recommend(whole, interactions, persons, snapshot.as_of, mode, evaluation.RECALL_AT)
        rows.append(evaluation.ranking_by_person(lists, truth).with_columns(mode=pl.lit(mode)))
        ours = rows[-1]["recall"]
        figures = evaluation.ranking_metrics(lists, truth, len(whole.products))
        metrics |= {f"{mode}_{name}": value for name, value in figures.items()}
        for name, baseline in baselines(params, snapshot, persons, mode).items():
            theirs = evaluation.ranking_by_person(baseline, truth)["recall"]
            gain, pair = evaluation.compare_means(ours, theirs, params.seed), f"{mode}_over_{name}"
            metrics[f"{mode}_{name}_recall_20"] = float(theirs.to_numpy().mean())
            metrics |= {f"{pair}_gain": gain.difference, f"{pair}_gain_low": gain.low, f"{pair}_gain_high": gain.high}
            verdicts[pair] = gain.verdict
    return Evaluation(metrics, verdicts, pl.concat(rows))


def baselines(params: TwoTowerParams, snapshot: Snapshot, persons: pl.Series, mode: Mode) -> dict[str, pl.DataFrame]:
    """Lists of the rules to beat: in mode `new` item similarity alone (EASE; cosine for large catalogues) and with
    recent popularity, in mode `all` what sells and own purchases.
    """
    interactions, as_of, k = snapshot[INTERACTIONS], snapshot.as_of, evaluation.RECALL_AT
    if mode == "all":
        return {
            "popularity": most_popular(interactions, persons, as_of, params.trend_days, k),
            "own_frequency": own_frequency(interactions, persons, as_of, k),
        }
    count = purchases(interactions, as_of).select(pl.col("product_id").n_unique()).collect().item()
    blended = ItemToItemParams.model_validate({"popularity_days": params.trend_days})
    alone = blended.model_copy(update={"new_mix": Mix(similarity=1.0, own=0.0, popularity=0.0)})
    method: item_to_item.Method = "ease" if count <= blended.ease_item_limit else "cosine"
    fitted = item_to_item.fit_method(snapshot, alone, method)
    both = item_to_item.ItemToItemFitted(**{**vars(fitted), "params": blended})
    return {
        name: item_to_item.recommend(model, interactions, persons, as_of, "new", k)
        for name, model in ((method, fitted), (f"{method}_popularity", both))
    }


def histories(
    fitted: TwoTowerFitted, interactions: pl.LazyFrame, persons: pl.Series, as_of: date
) -> tuple[sparse.csr_array, sparse.csr_array]:
    """Two matrices persons x products: the weighted bag of the latest events, and own purchases fading with time."""
    params, today = fitted.params, (as_of - date(1970, 1, 1)).days
    goods = fitted.products.implode()
    mine = interactions.filter(pl.col("person_id").is_in(persons.implode()), pl.col("product_id").is_in(goods))
    events = read_events(mine, as_of)
    ends = events.ends()
    place, column = places(persons, events.persons), places(fitted.products, events.products)
    shape = (len(persons), len(fitted.products))

    def matrix(low: Ints, half_life: float, purchases_only: bool) -> sparse.csr_array:
        row, event, weight = events.bags(low, ends[1:], np.full(len(low), today), half_life)
        used = events.is_purchase[event] | (not purchases_only)
        cells = (weight[used], (place[row[used]], column[events.item[event[used]]]))
        return sparse.coo_array(cells, shape=shape).tocsr()

    recent = matrix(np.maximum(ends[:-1], ends[1:] - params.history_limit), params.history_half_life_days, False)
    return recent, matrix(ends[:-1], params.own_half_life_days, True)


def normalized(rows: Dense) -> Dense:
    """Rows of length 1; a row of zeros stays."""
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)


def _standardized(rows: Dense) -> Dense:
    """Mean 0 and standard deviation 1 over each row; a constant row becomes 0."""
    centred = rows - rows.mean(axis=1, keepdims=True)
    spread = centred.std(axis=1, keepdims=True)
    return np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 0)


MODEL = register(
    Model(
        name="two_tower",
        target="purchased_90d",
        output="gold.recommendations",
        tables=(INTERACTIONS, PRODUCTS),
        inputs=pl.Schema({"person_id": pl.String, "product_id": pl.String, "kind": pl.String, "on": pl.Date}),
        params=TwoTowerParams,
        fit=fit,
        predict=predict,
        evaluate=evaluate,
        load=load,
        backend="torch",
        shares_fit=True,
    )
)
