"""The life of a model through its commands: trained, tuned, refused, promoted, watched, retrained, taken back, used."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("default"),  # MLflow's own warnings are not ours
]
START, CUT, LATER = date(2022, 1, 1), date(2023, 5, 1), date(2023, 7, 1)
PEOPLE = 500
GOOD = {"min_history_days": 120, "cut_count": 4, "rounds": 10, "threads": 1, "learning_rate": 0.03, "max_depth": 2,
        "min_child_weight": 5}  # fmt: skip
WILD = GOOD | {"rounds": 60, "learning_rate": 1.0, "max_depth": 8, "min_child_weight": 0}  # learns its rows by heart
WILDER = WILD | {"rounds": 120, "min_history_days": 300}


def subject_days() -> pl.DataFrame:
    """Purchase days of people with a rhythm, most of whom stop sooner or later; rows of `silver.subject_days`."""

    rng = np.random.default_rng(1)
    on = rng.integers(0, 500, (PEOPLE, 1)) + np.cumsum(
        rng.gamma(1.0, 1.0, (PEOPLE, 60)) * rng.gamma(2.0, 15.0, (PEOPLE, 1)), axis=1
    )
    stays = np.cumsum(rng.random((PEOPLE, 60)) < rng.beta(0.8, 8.0, (PEOPLE, 1)), axis=1) == 0
    person, turn = np.nonzero((on < (LATER - START).days) & stays)
    rows = pl.DataFrame({"person": person, "day": on[person, turn].astype(int)}).unique(maintain_order=True)
    known = rows.select(
        person_id=pl.format("p{}", "person"), subject_id=pl.format("p{}", "person"),
        on=pl.lit(START) + pl.duration(days="day"), order_count=1, item_count=1, unit_count=1, store_order_count=1,
        gross_amount=pl.lit(20.0), net_amount=pl.lit(20.0),
    )  # fmt: skip
    return filled("silver.subject_days", known)


def interactions() -> pl.DataFrame:
    """Purchases of people of two tastes, half of them repeated; rows of `gold.interactions`."""
    rng, found = np.random.default_rng(4), []
    for person in range(160):
        for product in rng.choice(15, size=9, replace=False):
            on = CUT + timedelta(days=int(rng.integers(-300, 1)))
            row = (f"p{person:03}", f"{'ab'[person % 2]}{product:02}")
            found += [(*row, on), (*row, on + timedelta(days=30))] if rng.random() < 0.5 else [(*row, on)]
    rows = pl.DataFrame(found, schema=["person_id", "product_id", "on"], orient="row").unique(maintain_order=True)
    return filled("gold.interactions", rows.with_columns(kind=pl.lit("purchase"), count=1, quantity=1))


def products() -> pl.DataFrame:
    ids = [f"{taste}{number:02}" for taste in "ab" for number in range(15)]
    return filled("silver.products", pl.DataFrame({"product_id": ids, "product_name": ids}))


def filled(table: str, known: pl.DataFrame) -> pl.DataFrame:
    """All columns of a table: what is not known is 0 where it counts, else null."""
    from customer360.platform import tables

    return pl.DataFrame({
        name: known[name].cast(kind) if name in known.columns else pl.repeat(0, known.height, eager=True).cast(kind)
        if kind.is_numeric() else pl.repeat(None, known.height, dtype=kind, eager=True)
        for name, kind in tables.schema(tables.by_name(table)).items()
    })  # fmt: skip


def landed(lake: Any, table: str, rows: pl.DataFrame) -> None:
    """Put rows into a table of a lake."""
    from customer360.platform import tables
    from customer360.platform.lake import BUCKET, bucket_numbers

    lake.ensure(tables.by_name(table))
    per = {"silver.subject_days": "subject_id", "gold.interactions": "person_id"}.get(table)
    if per is None:
        adds = [lake.write_file(table, rows, {})]
    else:
        parts = rows.with_columns(bucket_numbers(rows[per], lake.buckets)).partition_by(BUCKET)
        adds = [lake.write_file(table, part, {BUCKET: str(part[BUCKET][0])}) for part in parts]
    lake.replace(table, adds, scope={}, app="test", app_version=1)


@pytest.fixture
def command(
    site: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Runs `customer360 WORDS` on a lake of a few tables; returns the exit code and what was printed."""
    from customer360.serve.cli import app

    opened = site(tmp_path)
    own = {"LANDING": opened.settings.landing, "LAKE__ROOT": opened.settings.lake.root, "LAKE__BUCKETS": "4",
           "STATE": opened.settings.state, "EXECUTION__EXECUTOR": "local"}  # fmt: skip
    for key, value in own.items():
        monkeypatch.setenv(f"CUSTOMER360__{key}", value)

    def run(*words: str, **params: Any) -> tuple[int, str]:
        for name, value in params.items():
            monkeypatch.setenv(f"CUSTOMER360__MODELS__PARAMETERS__{words[1].upper()}__{name.upper()}", str(value))
        with pytest.raises(SystemExit) as ended:
            app(list(words))
        return int(ended.value.code or 0), capsys.readouterr().out

    run.site = opened  # type: ignore[attr-defined]
    return run


def test_the_life_of_a_churn_model(command: Callable[..., tuple[int, str]]) -> None:
    from customer360.models.lifecycle.job import registry_of
    from customer360.platform.errors import ModelError

    at, site = ("churn", "--as-of", str(CUT)), command.site
    landed(site.lake, "silver.subject_days", subject_days())
    registry = registry_of(site.settings)

    def aliases() -> tuple[str | None, str | None]:
        return registry.champion_version("churn"), registry.challenger_version("churn")

    assert command("train", *at, **WILD)[0] == 0 and aliases() == (None, "1")  # the first one has to be good, too
    with pytest.raises(ModelError, match="--force needs a reason"):
        command("promote", *at, "--force")
    code, told = command("promote", *at, "--force", "--reason", "shown in a test")
    assert code == 0 and "forced: shown in a test; the gate had refused it" in told and aliases() == ("1", None), told
    code, told = command("evaluate", *at)
    assert "auc" in told and code in (0, 4)
    code, told = command("train", *at, **WILDER)
    assert code == 0 and aliases() == ("1", "2")
    code, told = command("promote", *at)
    assert code == 3 and "refused churn 2: guardrail broken: ece is" in told and aliases() == ("1", "2"), told

    code, told = command("tune", "churn", "--trials", "2", "--as-of", str(CUT), **GOOD)
    assert code == 0 and "in force" in told, told
    assert command("train", *at)[0] == 0 and aliases() == ("1", "3")
    code, told = command("compare", *at)
    assert "churn 3 over 1" in told and "better" in told, told
    code, told = command("promote", *at)
    assert code == 0 and "promoted churn 3" in told and aliases() == ("3", None), told

    later = ("churn", "--as-of", str(LATER))
    code, told = command("drift", *later)
    assert code in (0, 4) and "inputs: " in told and site.lake.exists("gold.drift"), told
    code, told = command("retrain", *later)
    assert code in (0, 3) and "days old, 30 are allowed" in told, told
    champion = registry.champion_version("churn")
    assert (champion == "4") == ("promoted" in told)
    code, told = command("rollback", "churn", "--reason", "shown in a test")
    assert code == 0 and registry.champion_version("churn") == ("3" if champion == "4" else "1"), told

    site.run(only=frozenset({"gold.predictions/churn"}), as_of=LATER)
    scored = site.lake.scan("gold.predictions").collect()
    assert set(scored["version"]) == {registry.champion_version("churn")}
    assert set(scored["as_of"]) == {LATER} and scored.height > 50
    assert scored["score"].is_between(0, 1).all()


def test_the_hybrid_is_trained_promoted_and_fills_the_lists(command: Callable[..., tuple[int, str]]) -> None:
    from customer360.models.lifecycle.job import registry_of

    at, site = ("hybrid", "--as-of", str(CUT)), command.site
    landed(site.lake, "gold.interactions", interactions())
    landed(site.lake, "silver.products", products())
    registry = registry_of(site.settings)
    small = {"horizon_days": 60, "k": 5, "two_tower_epochs": 1, "min_products": 3}
    assert command("train", *at, **small)[0] == 0 and registry.champion_version("hybrid") == "1"
    assert command("train", *at, use_two_tower=False)[0] == 0
    code, told = command("promote", *at)
    assert (code, told.split()[:3]) in ((0, ["promoted", "hybrid", "2:"]), (3, ["refused", "hybrid", "2:"])), told
    champion = registry.champion_version("hybrid")
    assert champion == ("2" if code == 0 else "1")

    site.run(only=frozenset({"gold.recommendations/hybrid"}), as_of=CUT)
    found = site.lake.scan("gold.recommendations").collect()
    assert set(found["version"]) == {champion} and set(found["as_of"]) == {CUT} and set(found["model"]) == {"hybrid"}
    before = interactions().filter(pl.col("on") < CUT).select("person_id", "product_id").unique()
    for mode in ("new", "all"):
        lists = found.filter(mode=mode)
        assert set(lists["person_id"]) == set(before["person_id"])
        ranks = lists.sort("person_id", "rank").select(due=pl.int_range(1, pl.len() + 1).over("person_id"), rank="rank")
        assert (ranks["due"] == ranks["rank"]).all() and lists.select("person_id", "product_id").is_unique().all()
        known = lists.join(before, on=["person_id", "product_id"], how="semi").height
        assert known == 0 if mode == "new" else known > 0
