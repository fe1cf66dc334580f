"""Segments: which kind of customer somebody is, by what they buy, how much, how often and where.

K-means on recency, frequency, spending and behaviour, on logarithms and robust scales. The number of segments is the
largest that comes back when customers are drawn anew (adjusted Rand index) and is about as well separated as the best
(silhouette). Segments are numbered by mean spending, 1 highest, so that a refit keeps the numbers; a persona says in
words what sets a segment apart.
"""

import json
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import Field, model_validator

from customer360.models import frames
from customer360.models.base import Evaluation, Model, Params, Progress, Snapshot, register
from customer360.models.lifecycle import evaluation
from customer360.models.outputs import PAYLOADS
from customer360.models.segments.clustering import Choice, Scales, choose, nearest, silhouette
from customer360.models.segments.personas import personas, strongest
from customer360.pipelines.gold.customers.rfm import placed, rfm_bounds
from customer360.platform.errors import ModelError

DAYS = "silver.subject_days"
SPEND = "gross_amount_365d"
WORTH = ("recency_days", "purchase_day_count_365d", SPEND, "mean_order_amount")
BEHAVIOUR = (
    "tenure_days", "items_per_order", "return_rate", "discount_rate", "store_order_share",
    "online_order_share", "mobile_order_share", "session_count_90d", "cart_add_count_90d",
)  # fmt: skip
INPUTS = (*WORTH, *BEHAVIOUR)
REASONS = 3  # features of the segment beside the persona
DIGITS = 9  # of what is saved: sums of floats may end differently on another machine

Array = NDArray[np.float64]


class SegmentsParams(Params):
    """Parameters of the segments."""

    horizon_days: int = Field(90, ge=1, description="window whose revenue tells how much the segments say")
    active_within_days: int = Field(365, ge=1)
    fewest: int = Field(3, ge=2)
    most: int = Field(8, ge=2)
    behaviour_weight: float = Field(
        0.5, ge=0, description="of a behaviour feature; recency, frequency, spending have 1"
    )
    least_stability: float = Field(0.75, ge=0, le=1, description="mean adjusted Rand index of a number to be chosen")
    least_separation: float = Field(0.9, ge=0, le=1, description="silhouette, as a share of the best stable one")
    redraws: int = Field(10, ge=2)
    sample_size: int = Field(3000, ge=100, description="customers of a redraw, and of the silhouette")
    seed: int = 0

    @model_validator(mode="after")
    def _is_range(self) -> "SegmentsParams":
        if self.most < self.fewest:
            raise ValueError(f"most ({self.most}) is below fewest ({self.fewest})")
        return self


@dataclass(frozen=True)
class Segment:
    """One segment: its number (1 spends most), its persona, share of customers, mean yearly spending, and its centre in
    scaled units.
    """

    number: int
    persona: str
    share: float
    mean_spend: float
    centre: tuple[float, ...]


@dataclass(frozen=True)
class SegmentsFitted:
    """Fitted segments; `tried` are the numbers of segments that were weighed up."""

    params: SegmentsParams
    as_of: date
    scales: Scales
    segments: tuple[Segment, ...]
    tried: tuple[Choice, ...]

    @property
    def centres(self) -> Array:
        return np.array([segment.centre for segment in self.segments])

    @property
    def chosen(self) -> Choice:
        return next(choice for choice in self.tried if choice.count == len(self.segments))

    def save(self, directory: Path) -> None:
        """Write `segments.json`."""
        directory.mkdir(parents=True, exist_ok=True)
        said = asdict(self) | {"params": self.params.model_dump(), "as_of": self.as_of.isoformat()}
        (directory / "segments.json").write_text(json.dumps(said, indent=1, sort_keys=True))


def load(directory: Path) -> SegmentsFitted:
    """Read what `SegmentsFitted.save` wrote."""
    said: dict[str, Any] = json.loads((directory / "segments.json").read_text())
    return SegmentsFitted(
        params=SegmentsParams(**said["params"]),
        as_of=date.fromisoformat(said["as_of"]),
        scales=Scales(**{name: tuple(values) for name, values in said["scales"].items()}),
        segments=tuple(Segment(**{**each, "centre": tuple(each["centre"])}) for each in said["segments"]),
        tried=tuple(Choice(**each) for each in said["tried"]),
    )


def fit(snapshot: Snapshot, params: SegmentsParams, progress: Progress) -> SegmentsFitted:
    """Segment everybody who bought within `active_within_days` before `snapshot.as_of`. Raises ModelError when these
    are fewer than ten for each segment that may be made."""
    people = _people(snapshot, params)
    if people.height < 10 * params.most:
        raise ModelError(f"{people.height} customers are too few for {params.most} segments: ten of each are needed")
    weights = {name: params.behaviour_weight if name in BEHAVIOUR else 1.0 for name in INPUTS}
    scales = Scales.of(people, weights)
    points = scales(people)
    centres, tried = choose(
        points,
        params.fewest,
        params.most,
        params.redraws,
        params.sample_size,
        params.seed,
        params.least_stability,
        params.least_separation,
    )
    return SegmentsFitted(params, snapshot.as_of, scales, _numbered(people, points, centres, scales), tried)


def _numbered(people: pl.DataFrame, points: Array, centres: Array, scales: Scales) -> tuple[Segment, ...]:
    """Segments from the highest mean spending down."""
    label = nearest(points, centres)[0]
    spend = people[SPEND].fill_null(0).to_numpy()
    means = np.array([spend[label == at].mean() for at in range(len(centres))])
    order = np.lexsort((np.arange(len(centres)), -means))
    words = personas(scales.deviations(centres[order]), scales.names)
    return tuple(
        Segment(
            number=number,
            persona=words[number - 1],
            share=round(float(np.mean(label == at)), DIGITS),
            mean_spend=round(float(means[at]), 2),
            centre=tuple(round(float(value), DIGITS) for value in centres[at]),
        )
        for number, at in enumerate(order, start=1)
    )


def predict(fitted: SegmentsFitted, snapshot: Snapshot) -> pl.DataFrame:
    """The segment of every active customer, sorted by person."""
    return score(fitted, _people(snapshot, fitted.params), snapshot.as_of)


def score(fitted: SegmentsFitted, people: pl.DataFrame, as_of: date) -> pl.DataFrame:
    """The segment of each of some people (`person_id` and `INPUTS`, taken at `as_of`), in their order: `score` is its
    number.

    The first reason is the persona (value: the number; contribution: how clearly, 0 between two segments to 1); the
    others are what sets the segment apart (value: the person's own; contribution: the segment's centre against the
    typical customer, in robust standard deviations).
    """
    label, clearness = nearest(fitted.scales(people), fitted.centres)
    traits = fitted.scales.deviations(fitted.centres)
    number = pl.Series("score", label + 1, dtype=pl.Float64)
    parts = [_reason(pl.Series([fitted.segments[at].persona for at in label], dtype=pl.String), number, clearness)]
    top = np.array([strongest(row, REASONS) for row in traits])
    values = people.select(pl.col(fitted.scales.names).cast(pl.Float64)).to_numpy()
    names, rows = np.array(fitted.scales.names, dtype=object), np.arange(len(label))
    for place in range(top.shape[1]):
        feature = top[label, place]
        own = pl.Series(values[rows, feature], dtype=pl.Float64).fill_nan(None)
        parts.append(_reason(pl.Series(names[feature].tolist(), dtype=pl.String), own, traits[label, feature]))
    reasons = pl.DataFrame({str(at): part for at, part in enumerate(parts)}).select(reasons=pl.concat_list(pl.all()))
    return people.select("person_id", score=number, reasons=reasons["reasons"]).cast(PAYLOADS["gold.predictions"])


def _reason(feature: pl.Series, value: pl.Series, contribution: Array) -> pl.Series:
    return pl.DataFrame({"feature": feature, "value": value, "contribution": contribution}).to_struct("reason")


def evaluate(fitted: SegmentsFitted, snapshot: Snapshot) -> Evaluation:
    """How stable and separate the segments are, and how much of the logarithm of everybody's revenue in the window
    after `snapshot.as_of` they explain, beside the RFM rules. There is no outcome by person to be right about: no rows.
    """
    days, params = snapshot[DAYS], fitted.params
    frames.require_outcome(days, snapshot.as_of, params.horizon_days)
    people = _people(snapshot, params)
    outcome = frames.labels(days, snapshot.as_of, params.horizon_days).collect()
    joined = people.join(outcome, on="person_id", how="left")
    revenue = np.log1p(np.maximum(joined["revenue"].fill_null(0).to_numpy(), 0))
    points = fitted.scales(people)
    label, shares = nearest(points, fitted.centres)[0], np.array([segment.share for segment in fitted.segments])
    rules = _rfm_segments(snapshot, people)
    ours, theirs = (_squared_error(revenue, groups) for groups in (label, rules))
    gain, total = evaluation.compare_means(-ours, -theirs, params.seed), float(revenue.var())
    if total == 0:
        raise ModelError(f"nobody bought in the {params.horizon_days} days from {snapshot.as_of}: nothing to explain")
    metrics = {
        "segment_count": float(len(fitted.segments)),
        "stability": fitted.chosen.stability,
        "silhouette": silhouette(points, label, params.sample_size, params.seed),
        "smallest_share": float(shares.min()),
        "explained": 1 - float(ours.mean()) / total,
        "rfm_explained": 1 - float(theirs.mean()) / total,
        "explained_over_rfm": gain.difference / total,
        "explained_over_rfm_low": gain.low / total,
        "explained_over_rfm_high": gain.high / total,
        "row_count": float(people.height),
    }
    return Evaluation(metrics, {"explained_over_rfm": gain.verdict})


def _squared_error(values: Array, groups: NDArray[Any]) -> Array:
    """Of each value against the mean of its group."""
    frame = pl.DataFrame({"value": values, "group": groups})
    return frame.select((pl.col("value") - pl.col("value").mean().over("group")) ** 2).to_series().to_numpy()


def _rfm_segments(snapshot: Snapshot, people: pl.DataFrame) -> NDArray[np.str_]:
    """The RFM segment of the rules for the same people; their bounds are those of everybody."""
    unknown = frames.unconverted_of_year(snapshot[DAYS], snapshot.as_of)
    everybody = frames.features(snapshot[DAYS], snapshot.as_of).join(unknown, on="person_id", how="left")
    ruled = placed(everybody, rfm_bounds(everybody, snapshot.as_of)).select("person_id", "rfm_segment").collect()
    return people.join(ruled, on="person_id", how="left")["rfm_segment"].fill_null("NONE").to_numpy().astype(str)


def _people(snapshot: Snapshot, params: SegmentsParams) -> pl.DataFrame:
    """`person_id` and `INPUTS` of everybody who bought within `active_within_days`, sorted by person."""
    people = frames.population(snapshot[DAYS], snapshot.as_of, params.active_within_days)
    known = people.join(frames.features(snapshot[DAYS], snapshot.as_of), on="person_id", how="left")
    return known.select("person_id", *INPUTS).sort("person_id").collect()


MODEL = register(
    Model(
        name="segments",
        target="segment",
        output="gold.predictions",
        tables=(DAYS,),
        inputs=pl.Schema({"person_id": pl.String} | dict.fromkeys(INPUTS, pl.Float64)),
        params=SegmentsParams,
        fit=fit,
        predict=predict,
        evaluate=evaluate,
        load=load,
        score=score,
    )
)
