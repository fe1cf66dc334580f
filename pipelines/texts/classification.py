"""A classifier of short texts that knows how far it can be trusted, learnt from what the catalogue itself says.

TF-IDF of words and pairs of words, and ridge regression on the classes (a least-squares support vector machine with a
linear kernel; Suykens and Vandewalle, 1999). Every text is also judged by a model without it: for ridge these
leave-one-out values follow from one matrix (Allen's PRESS, 1974), so precision is measured on texts that were not
learnt from. A class is only stated from that score on at which the measured precision is surely as high as asked.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from customer360.pipelines.inference.intervals import wilson
from customer360.pipelines.texts.products import tokens

MOST_TEXTS = 1500  # learnt from; beyond, a part chosen by its text: the work grows with the cube
LEAST_TEXTS = 30  # learnt from, and of at least two classes
RIDGE = 0.5
NEIGHBOURS = 50  # texts of the nearest score give a confidence

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Reading:
    """``read``: one row per text, columns id, text_class (the likeliest), confidence (0 to 1) and is_sure;
    ``precision`` of what is sure with its 95 % interval, measured on ``learnt_count`` texts, of which ``sure_count``
    were sure. ``read`` is empty, and precision null, where too little is known to learn from."""

    read: pl.DataFrame
    learnt_count: int
    sure_count: int = 0
    precision: float | None = None
    low: float | None = None
    high: float | None = None


READ = {"id": pl.String, "text_class": pl.String, "confidence": pl.Float64, "is_sure": pl.Boolean}


def classified(texts: pl.DataFrame, precision: float) -> Reading:
    """Read the class of every text; those with a class are learnt from, and read by a model without them.

    texts: id (unique), text, text_class (null: unknown). Texts of the same words and class count once, so that the
    variants of a product do not vouch for each other.
    """
    worded = texts.with_columns(words=tokens(pl.col("text")).fill_null([])).with_columns(
        said=pl.col("words").list.join(" ")
    )
    known = (
        worded.filter(pl.col("text_class").is_not_null(), pl.col("said") != "")
        .unique(["said", "text_class"], keep="first", maintain_order=True)
        .sort(pl.col("said").hash(0), "said", "text_class").head(MOST_TEXTS)
    )  # fmt: skip
    if known.height < LEAST_TEXTS or known["text_class"].n_unique() < 2:
        return Reading(pl.DataFrame(schema=READ), known.height)
    return _read(worded, known, precision)


def _read(worded: pl.DataFrame, known: pl.DataFrame, precision: float) -> Reading:
    classes = known["text_class"].unique().sort()
    code = known["text_class"].replace_strict(classes, pl.arange(len(classes), eager=True)).to_numpy()
    learnt, every = weighed(known["words"], worded["words"], pairs=True)
    target = -np.ones((known.height, len(classes)))
    target[np.arange(known.height), code] = 1.0
    centre = target.mean(axis=0)
    inverse = np.linalg.inv((learnt @ learnt.T).toarray() + RIDGE * np.eye(known.height))
    dual = inverse @ (target - centre)
    without = target - dual / np.diag(inverse)[:, None]
    own_score, own = _best(without)
    scores = (every @ learnt.T) @ dual + centre
    at = worded.select("said", "text_class").join(
        known.select("said", "text_class").with_row_index("at"), on=["said", "text_class"], how="left",
        maintain_order="left", nulls_equal=True,
    )["at"]  # fmt: skip
    held = at.is_not_null().to_numpy()
    scores[held] = without[at.drop_nulls().to_numpy()]
    score, best = _best(scores)
    right = own == code
    floor = least_score(own_score, right, precision)
    sure = own_score >= floor
    low, high = wilson(int(right[sure].sum()), int(sure.sum()))
    read = worded.select(
        "id",
        text_class=pl.Series(classes.gather(best)),
        confidence=pl.Series(_confidence(score, own_score, right)),
        is_sure=pl.Series(score >= floor) & (pl.col("said") != ""),
    )
    mean = float(right[sure].mean()) if sure.any() else None
    return Reading(read, known.height, int(sure.sum()), mean, low if sure.any() else None, high if sure.any() else None)


def weighed(known: pl.Series, every: pl.Series, *, pairs: bool) -> tuple[csr_array, csr_array]:
    """TF-IDF of lists of words, rows of length 1: of ``known``, whose counts weigh the words, and of ``every``. Words
    that only ``every`` has make its rows less like all others. With ``pairs`` neighbouring words count together too.
    """
    terms = [_terms(series, pairs) for series in (known, every)]
    counts = terms[0].group_by("term").agg(n=pl.len())
    vocabulary = (
        pl.concat([rows.select("term") for rows in terms]).unique().sort("term")
        .join(counts, on="term", how="left", maintain_order="left").with_columns(pl.col("n").fill_null(0))
        .with_row_index("code")
    )  # fmt: skip
    idf = np.log((1 + len(known)) / (1 + vocabulary["n"].to_numpy())) + 1
    found = []
    for rows, texts in zip(terms, (known, every), strict=True):
        coded = rows.join(vocabulary.select("term", "code"), on="term").sort("row", "code")
        place = coded["row"].to_numpy(), coded["code"].to_numpy()
        values = idf[place[1]]
        length = np.sqrt(np.bincount(place[0], values**2, minlength=len(texts)))
        found.append(csr_array((values / length[place[0]], place), shape=(len(texts), vocabulary.height)))
    return found[0], found[1]


def _terms(words: pl.Series, pairs: bool) -> pl.DataFrame:
    """row, term: words, and pairs of neighbouring words where they count, each once a row."""
    rows = pl.DataFrame({"word": words}).with_row_index("row").explode("word", empty_as_null=False, keep_nulls=False)
    found = [rows.select("row", term="word")]
    if pairs:
        pair = pl.concat_str("word", pl.col("word").shift(-1).over("row"), separator=" ")
        found.append(rows.select("row", term=pair))
    return pl.concat(found).drop_nulls().unique().sort("row", "term")


def _best(scores: Array) -> tuple[Array, NDArray[np.int64]]:
    """By row: by how much the best class leads the next, and which it is."""
    order = np.argsort(scores, axis=1, kind="stable")
    rows = np.arange(len(scores))
    best = order[:, -1]
    return scores[rows, best] - scores[rows, order[:, -2]], best


def least_score(score: Array, right: NDArray[np.bool_], precision: float) -> float:
    """The lowest score from which on the lower end of the precision's interval is at least as asked; above all scores
    where there is none."""
    order = np.argsort(-score, kind="stable")
    hits = np.cumsum(right[order])
    low, _ = wilson(hits, np.arange(1, len(order) + 1))
    fits = np.flatnonzero(np.asarray(low) >= precision)
    return float(score[order][fits[-1]]) if len(fits) else float("inf")


def _confidence(score: Array, own_score: Array, right: NDArray[np.bool_]) -> Array:
    """Share that was right among the learnt texts of the nearest scores (Jeffreys' estimate)."""
    order = np.argsort(own_score, kind="stable")
    hits = np.concatenate([[0], np.cumsum(right[order])])
    size = min(NEIGHBOURS, len(order))
    first = np.clip(np.searchsorted(own_score[order], score) - size // 2, 0, len(order) - size)
    found: Array = (hits[first + size] - hits[first] + 0.5) / (size + 1)
    return found
