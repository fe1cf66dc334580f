"""Ray Train gives the model that a fit in process gives, goes on after a crash, and fits nothing twice."""

import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from customer360.models import base
from customer360.platform.errors import ModelError

AS_OF = date(2023, 4, 1)


def purchases(people: int = 300, seed: int = 0) -> pl.DataFrame:
    """Purchase days of people with a rhythm, some of whom stop."""
    rng = np.random.default_rng(seed)
    on = rng.integers(0, 200, (people, 1)) + np.cumsum(rng.gamma(2.0, 20.0, (people, 20)), axis=1)
    person, turn = np.nonzero((on < 540) & (np.arange(20) < rng.integers(1, 20, (people, 1))))
    rows = pl.DataFrame({"person": person, "day": on[person, turn].astype(int)}).unique(maintain_order=True)
    ones, zeros = ("order_count", "item_count", "unit_count", "store_order_count"), (
        "return_count", "session_count", "view_count", "search_count", "cart_add_count", "online_order_count", "mobile_order_count",  # noqa: E501
    )  # fmt: skip
    return rows.select(
        person_id=pl.col("person").cast(pl.String),
        on=pl.lit(date(2022, 1, 1)) + pl.duration(days="day"),
        **dict.fromkeys(ones, pl.lit(1, pl.Int64)),
        **dict.fromkeys(zeros, pl.lit(0, pl.Int64)),
        **dict.fromkeys(("gross_amount", "net_amount", "discount_amount"), pl.lit(3).cast(pl.Decimal(12, 2))),
    )


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[None]:
    import ray

    os.environ.setdefault("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")  # Ray Train's poll: what a report waits for
    ray.init(
        num_cpus=2, include_dashboard=False, object_store_memory=500_000_000, log_to_driver=False, logging_level="ERROR"
    )
    yield
    ray.shutdown()


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # Ray's own warnings are not ours
def test_fit_on_ray_equals_fit_in_process(ray_cluster: None, tmp_path: Path) -> None:
    from customer360.models.lifecycle.on_ray import TrainingRun, train_on_ray

    path = tmp_path / "days.parquet"
    purchases().write_parquet(path)
    churn, firms = base.find("churn"), tuple(map(str, range(0, 60, 2)))
    params = churn.params(min_history_days=120, rounds=20, checkpoint_rounds=10, threads=1)
    run = TrainingRun("churn", AS_OF, params, {"silver.subject_days": [str(path)]}, "rows", firms)

    trained = train_on_ray(run, tmp_path / "runs", tmp_path / "fitted", cpus=1.0, threads=1)
    people = pl.scan_parquet(path).filter(~pl.col("person_id").is_in(firms))
    snapshot = base.Snapshot({"silver.subject_days": people}, AS_OF)
    churn.fit(snapshot, params, base.NoProgress()).save(tmp_path / "in_process")
    assert trained.fingerprint == base.fingerprint(tmp_path / "in_process")
    assert not trained.resumed

    path.unlink()  # a finished run is not fitted again: it does not read
    assert train_on_ray(run, tmp_path / "runs", tmp_path / "again", threads=1).fingerprint == trained.fingerprint


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_worker_that_dies_goes_on_from_its_checkpoint(ray_cluster: None, tmp_path: Path, monkeypatch) -> None:
    from customer360.models.lifecycle import on_ray

    path = tmp_path / "days.parquet"
    purchases().write_parquet(path)
    churn = base.find("churn")
    params = churn.params(min_history_days=120, rounds=20, checkpoint_rounds=10, threads=1)
    run = on_ray.TrainingRun("churn", AS_OF, params, {"silver.subject_days": [str(path)]}, "rows")
    died = tmp_path / "died"

    def dies_once(config: dict) -> None:
        from customer360.models.lifecycle import on_ray as module  # of the worker: there it is as written

        class Dies(module.CheckpointProgress):
            def keep(self, write) -> None:
                super().keep(write)
                if not died.exists():
                    died.touch()
                    raise MemoryError("the worker dies after its first checkpoint")

        module.CheckpointProgress = Dies
        module._fit_in_worker(config)

    monkeypatch.setattr(on_ray, "_fit_in_worker", dies_once)
    trained = on_ray.train_on_ray(run, tmp_path / "runs", tmp_path / "fitted", threads=1)
    snapshot = base.Snapshot({"silver.subject_days": pl.scan_parquet(path)}, AS_OF)
    churn.fit(snapshot, params, base.NoProgress()).save(tmp_path / "in_process")
    assert died.exists() and trained.resumed
    assert trained.fingerprint == base.fingerprint(tmp_path / "in_process")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_a_failed_fit_names_its_cause(ray_cluster: None, tmp_path: Path) -> None:
    from customer360.models.lifecycle.on_ray import TrainingRun, train_on_ray

    path = tmp_path / "days.parquet"
    purchases().write_parquet(path)
    params = base.find("churn").params(min_history_days=9000)
    run = TrainingRun("churn", AS_OF, params, {"silver.subject_days": [str(path)]}, "rows")
    with pytest.raises(ModelError, match="no training cut"):
        train_on_ray(run, tmp_path / "runs", tmp_path / "fitted", threads=1)


def test_a_run_is_named_by_what_goes_in(tmp_path: Path) -> None:
    """A lake that was built anew counts its versions from 0 again: only the rows tell it from the one before."""
    from customer360.models.lifecycle import content
    from customer360.models.lifecycle.on_ray import TrainingRun

    def name(rows: pl.DataFrame, folder: str, seed: int = 0) -> str:
        files = [str(tmp_path / folder / f"{part}.parquet") for part in (0, 1)]
        (tmp_path / folder).mkdir(exist_ok=True)
        for part, file in enumerate(files):
            rows[part::2].write_parquet(file)
        inputs = {"silver.subject_days": files}
        return TrainingRun("churn", AS_OF, base.find("churn").params(seed=seed), inputs, content.of_inputs(inputs)).name

    rows = purchases(people=20)
    other = rows.with_columns(pl.col("gross_amount") * 7)
    assert name(rows, "here") == name(rows, "moved")
    assert len({name(rows, "here"), name(other, "here"), name(rows, "here", seed=1)}) == 3
