"""Examples a second of two-tower training: inside a Ray Train worker against the same loop in this process.

`python tests/bench/two_tower.py [--rounds N]`. Both sides alternate; the first 50 steps of each fit do not count, nor do
reading and starting, which are given apart. One thread trains on either side.
"""

import argparse
import json
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import polars as pl
from conditions import conditions

from customer360.models import base, two_tower

CUT = date(2024, 7, 1)
WARM_STEPS = 50
PARAMS = two_tower.TwoTowerParams(epochs=1, epoch_examples=1024 * 200)


def write_shop(folder: Path, people: int = 4000, products: int = 4000, events: int = 400_000) -> dict[str, list[str]]:
    """Parquet of people who buy from 40 groups of products, each person from three of them; paths by table."""
    rng = np.random.default_rng(0)
    person = np.sort(rng.integers(0, people, events))
    group = rng.integers(0, 40, (people, 3))[person, rng.integers(0, 3, events)]
    product = group * (products // 40) + np.minimum(rng.zipf(1.3, events), products // 40) - 1
    rows = pl.DataFrame({"person": person, "product": product, "ago": rng.integers(1, 540, events)})
    bought = rows.select(
        person_id=pl.format("p{}", "person"),
        product_id=pl.format("i{}", "product"),
        on=pl.lit(CUT) - pl.duration(days="ago"),
        kind=pl.lit("purchase"),
    )
    named = pl.DataFrame({"product": np.arange(products)}).select(
        product_id=pl.format("i{}", "product"),
        product_name=pl.format("thing {} of group {}", "product", pl.col("product") // (products // 40)),
        **dict.fromkeys(("category", "subcategory", "brand"), pl.lit(None, pl.String)),
        launched_on=pl.lit(date(2020, 1, 1)),
        is_product=pl.lit(True),
    )
    paths = {"gold.interactions": folder / "interactions.parquet", "silver.products": folder / "products.parquet"}
    bought.write_parquet(paths["gold.interactions"])
    named.write_parquet(paths["silver.products"])
    return {table: [str(path)] for table, path in paths.items()}


def timed(fit: Callable[[], Any]) -> dict[str, float]:
    """Run a fit of one epoch in this process: examples a second after `WARM_STEPS`, and seconds of the whole."""
    from customer360.models.two_tower import towers as module  # in a Ray worker: the module of that process

    whole, marks = module.batches, []

    def marked(*given: Any) -> Iterator[Any]:
        for batch in whole(*given):
            marks.append(perf_counter())
            yield batch
        marks.append(perf_counter())

    module.batches = marked
    start = perf_counter()
    try:
        fit()
    finally:
        module.batches = whole
    steps = len(marks) - 1 - WARM_STEPS
    return {"rate": steps * PARAMS.batch_size / (marks[-1] - marks[WARM_STEPS]), "seconds": perf_counter() - start}


def in_process(inputs: dict[str, list[str]]) -> dict[str, float]:
    snapshot = base.Snapshot({table: pl.scan_parquet(paths) for table, paths in inputs.items()}, CUT)
    return timed(lambda: two_tower.fit(snapshot, PARAMS, base.NoProgress()))


def in_worker(inputs: dict[str, list[str]], folder: Path, turn: int) -> dict[str, float]:
    from customer360.models import training

    note, plain = folder / f"worker_{turn}.json", training._fit_in_worker

    def noted(config: dict[str, Any]) -> None:
        note.write_text(json.dumps(timed(lambda: plain(config))))

    training._fit_in_worker = noted
    start = perf_counter()
    try:
        run = training.TrainingRun("two_tower", CUT, PARAMS, inputs, dict.fromkeys(inputs, turn))
        training.train_on_ray(run, folder / "runs", folder / "fitted", threads=1)
    finally:
        training._fit_in_worker = plain
    return json.loads(note.read_text()) | {"with_ray": perf_counter() - start}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    rounds = parser.parse_args().rounds
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # a cluster of this process alone
    import ray

    ray.init(
        num_cpus=2, include_dashboard=False, object_store_memory=500_000_000, logging_level="ERROR", log_to_driver=False
    )
    print(conditions("torch", "ray", "numpy"))
    with tempfile.TemporaryDirectory() as scratch:
        inputs = write_shop(Path(scratch))
        pairs = [(in_process(inputs), in_worker(inputs, Path(scratch), turn)) for turn in range(rounds)]
    for plain, worker in pairs:
        print(
            f"plain loop {plain['rate']:,.0f} examples/s, fit {plain['seconds']:.1f} s | worker {worker['rate']:,.0f} examples/s,"
            f" fit {worker['seconds']:.1f} s, with Ray Train {worker['with_ray']:.1f} s | ratio {worker['rate'] / plain['rate']:.2f}"
        )
    print(f"median ratio worker / plain loop {statistics.median(w['rate'] / p['rate'] for p, w in pairs):.2f}")
    ray.shutdown()


if __name__ == "__main__":
    main()
