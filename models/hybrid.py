"""The hybrid: every family of recommender and the two towers, blended or ranked by what worked in the last window.

What is learnt is the choice: which methods, in which weights or by which trees, found on an inner time split in both
modes (`recommenders.hybrid`), and the two towers. Methods in closed form are fitted anew on the day of scoring, so that
lists know yesterday's purchases. A product that nobody has bought yet is never listed.
"""

import json
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
from pydantic import Field

from customer360.models import two_tower
from customer360.models.base import Evaluation, Model, Params, Progress, Snapshot, register
from customer360.models.lifecycle import evaluation
from customer360.models.outputs import PAYLOADS
from customer360.models.recommenders import choice as hybrid
from customer360.models.recommenders.choice import Hybrid, Way
from customer360.models.recommenders.histories import purchases
from customer360.models.recommenders.judging import INTERACTIONS, MODES, Mode, judged_outcome
from customer360.models.recommenders.log import Ints, Log
from customer360.models.recommenders.ranker import Ranker
from customer360.models.two_tower import PRODUCTS, TwoTowerFitted
from customer360.models.two_tower.examples import TwoTowerParams
from customer360.models.two_tower.family import Towers
from customer360.platform import telemetry
from customer360.platform.errors import ModelError

TEXTS = ("product_name", "category", "subcategory", "brand")
HORIZON_SHARE = 0.2  # of the log's span, at most, for the inner windows


class HybridParams(Params):
    """Parameters of the hybrid; the rest is learnt."""

    horizon_days: int = Field(90, ge=1)
    use_two_tower: bool = Field(
        True, description="train the two towers as one of the candidates: most of the time of a fit"
    )
    two_tower_epochs: int = Field(5, ge=1)
    min_products: int = Field(5, ge=1, description="distinct products that a judged person has bought before the cut")
    k: int = Field(20, ge=1)
    seed: int = 0


@dataclass(frozen=True)
class Choice:
    """What was chosen for one mode: methods by name in the order that the ranker knows, the way and its name, and
    Recall@20 and NDCG@10 on the inner window.
    """

    methods: tuple[str, ...]
    way: Way
    name: str
    figures: dict[str, tuple[float, float]]

    @property
    def best_single(self) -> str:
        return max(self.methods, key=lambda method: sum(self.figures[method]))


@dataclass(frozen=True)
class HybridFitted:
    """The choices by mode, and the towers where they are among the methods."""

    params: HybridParams
    as_of: date
    choices: dict[Mode, Choice]
    towers: TwoTowerFitted | None

    def save(self, directory: Path) -> None:
        """Write `hybrid.json`, `ranker_MODE.json` where trees rank, and `two_tower/`."""
        directory.mkdir(parents=True, exist_ok=True)
        modes = {}
        for mode, choice in self.choices.items():
            modes[mode] = {
                "methods": choice.methods,
                "weights": choice.way.weights,
                "restraint": choice.way.restraint,
                "name": choice.name,
                "figures": choice.figures,
            }
            if choice.way.ranker is not None:
                choice.way.ranker.save(directory / f"ranker_{mode}.json")
        if self.towers is not None:
            self.towers.save(directory / "two_tower")
        rest = {"params": self.params.model_dump(), "as_of": self.as_of.isoformat(), "modes": modes}
        (directory / "hybrid.json").write_text(json.dumps(rest, indent=1))


def load(directory: Path) -> HybridFitted:
    """Read what `HybridFitted.save` wrote."""
    rest = json.loads((directory / "hybrid.json").read_text())
    choices: dict[Mode, Choice] = {}
    for mode, kept in rest["modes"].items():
        file = directory / f"ranker_{mode}.json"
        # absent from models fitted before there was one
        way = Way(kept["weights"], Ranker.load(file) if file.exists() else None, kept.get("restraint", 0.0))
        figures = {name: (recall, ndcg) for name, (recall, ndcg) in kept["figures"].items()}
        choices[mode] = Choice(tuple(kept["methods"]), way, kept["name"], figures)
    towers = directory / "two_tower"
    return HybridFitted(
        HybridParams(**rest["params"]),
        date.fromisoformat(rest["as_of"]),
        choices,
        two_tower.load(towers) if towers.exists() else None,
    )


def fit(snapshot: Snapshot, params: HybridParams, progress: Progress) -> HybridFitted:
    """Choose on purchases before `snapshot.as_of`. Raises ModelError when there are none."""
    log = log_of(snapshot)
    if log.is_empty:
        raise ModelError(f"no purchase before {snapshot.as_of}")
    towers = Towers(TwoTowerParams.model_validate({"epochs": params.two_tower_epochs, "seed": params.seed}))
    families = (*hybrid.FAMILIES, towers.family) if params.use_two_tower else hybrid.FAMILIES
    horizon = min(float(params.horizon_days), max(log.span() * HORIZON_SHARE, 1.0))
    choices: dict[Mode, Choice] = {}
    for mode in MODES:
        telemetry.event(f"hybrid, mode {mode}")
        found = hybrid.fit(log, mode, telemetry.event, horizon, families)
        choices[mode] = Choice(tuple(found.scorers), found.way, found.name, found.figures)
    used = any("two_tower" in choice.methods for choice in choices.values())
    return HybridFitted(params, snapshot.as_of, choices, towers.of(log) if used else None)


def log_of(snapshot: Snapshot) -> Log:
    """Purchases before the date; users are all who did anything, so that everybody gets a list."""
    interactions = snapshot[INTERACTIONS]
    texts = pl.concat_str([pl.col(name).cast(pl.String) for name in TEXTS], separator=" ", ignore_nulls=True)
    names = snapshot[PRODUCTS].select("product_id", item_text=texts).unique("product_id")
    day = pl.col("on").cast(pl.Int32).cast(pl.Float64)
    bought = purchases(interactions, snapshot.as_of).join(names, on="product_id", how="left")
    events = bought.select(
        user="person_id", item="product_id", day=day, kept=pl.lit(True), item_text="item_text"
    ).collect()
    log = Log.of(events, float((snapshot.as_of - date(1970, 1, 1)).days))
    seen = interactions.filter(pl.col("on") < snapshot.as_of, pl.col("person_id").is_not_null())
    everybody = seen.select(pl.col("person_id").unique().sort()).collect()["person_id"]
    place = everybody.search_sorted(log.users).to_numpy().astype(np.int64)
    return Log(everybody, log.items, place[log.user], log.item, log.day, log.kept, log.today, log.texts)


def applied(fitted: HybridFitted, log: Log, mode: Mode) -> Hybrid:
    """The choice over methods fitted on a log. Where a method no longer suits the log (its catalogue outgrew it), the
    weighted sum of the others stands in.
    """
    choice = fitted.choices[mode]
    given = () if fitted.towers is None else (Towers(fitted.towers.params, fitted.towers).family,)
    scorers = hybrid.fit_methods(log, mode, telemetry.event, (*hybrid.FAMILIES, *given))
    lost, way = [name for name in choice.methods if name not in scorers], choice.way
    if lost:
        telemetry.event(f"hybrid, mode {mode}: {', '.join(lost)} no longer suits the log; train it anew")
        way = Way({name: weight for name, weight in way.weights.items() if name in scorers} or {"popularity": 1.0})
    kept = {name: scorers[name] for name in choice.methods if name in scorers} or {"popularity": scorers["popularity"]}
    return Hybrid(log, mode, kept, way, choice.name, choice.figures)


def predict(fitted: HybridFitted, snapshot: Snapshot) -> pl.DataFrame:
    """Lists of both modes for every person with an interaction before `snapshot.as_of`."""
    log = log_of(snapshot)
    users = np.arange(len(log.users))
    lists = [
        _table(applied(fitted, log, mode), users, fitted.params.k).with_columns(mode=pl.lit(mode)) for mode in MODES
    ]
    return pl.concat(lists).select(list(PAYLOADS["gold.recommendations"]))


def evaluate(fitted: HybridFitted, snapshot: Snapshot) -> Evaluation:
    """Judge a model fitted at `snapshot.as_of` on purchases in the window after it, both modes, beside what sells
    lately and the single method that was best on the inner window.

    Judged persons have bought `min_products` distinct products before. The full catalogue is ranked, nothing is
    sampled. Metric names begin with the mode; comparisons are of Recall@20.
    """
    log, params, rows = log_of(snapshot), fitted.params, []
    metrics, verdicts = {"product_count": float(len(log.items))}, {}
    for mode in MODES:
        truth = judged_outcome(snapshot[INTERACTIONS], snapshot.as_of, params.horizon_days, params.min_products, mode)
        users = log.users.search_sorted(truth["person_id"].unique().sort()).to_numpy().astype(np.int64)
        ours = applied(fitted, log, mode)
        lists = _table(ours, users, evaluation.RECALL_AT)
        rows.append(evaluation.ranking_by_person(lists, truth).with_columns(mode=pl.lit(mode)))
        figures = evaluation.ranking_metrics(lists, truth, len(log.items))
        metrics |= {f"{mode}_{name}": value for name, value in figures.items()}
        for name, method in {"popularity": "popularity_28d", "best_single": fitted.choices[mode].best_single}.items():
            alone = Hybrid(log, mode, ours.scorers, Way({method: 1.0}), method, {})
            theirs = evaluation.ranking_by_person(_table(alone, users, evaluation.RECALL_AT), truth)["recall"]
            gain, pair = evaluation.compare_means(rows[-1]["recall"], theirs, params.seed), f"{mode}_over_{name}"
            metrics[f"{mode}_{name}_recall_20"] = float(theirs.to_numpy().mean())
            metrics |= {f"{pair}_gain": gain.difference, f"{pair}_gain_low": gain.low, f"{pair}_gain_high": gain.high}
            verdicts[pair] = gain.verdict
    return Evaluation(metrics, verdicts, pl.concat(rows))


def _table(found: Hybrid, users: Ints, k: int) -> pl.DataFrame:
    user, item, rank, score = found.lists(users, k)
    return pl.DataFrame(
        {
            "person_id": found.log.users.gather(user),
            "rank": rank.astype(np.int64),
            "product_id": found.log.items.gather(item),
            "score": score.astype(np.float64),
        }
    )


MODEL = register(
    Model(
        name="hybrid",
        target="purchased_90d",
        output="gold.recommendations",
        tables=(INTERACTIONS, PRODUCTS),
        inputs=pl.Schema({"person_id": pl.String, "product_id": pl.String, "kind": pl.String, "on": pl.Date}),
        params=HybridParams,
        fit=fit,
        predict=predict,
        evaluate=evaluate,
        load=load,
    )
)
