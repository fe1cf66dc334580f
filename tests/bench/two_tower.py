"""Examples a second of two-tower training: a Ray Train worker against the same loop in a process of its own, or
workers that share a fit against one.

`python tests/bench/two_tower.py [--rounds N]` fits one epoch of a generated shop by either side, in turn. The first 50
steps of each fit do not count, nor do reading and starting, which are given apart. One thread trains on either side.

`python tests/bench/two_tower.py --workers 2 [--data DIR] [--rounds N]` fits the public retail log up to 2011-06-13 with
the parameters that the model comes with, by one worker and by two, in turn, and judges both by the 90 days that follow.
Each worker trains with one thread, and reads with its part of as many threads as there are workers.
"""

import argparse
import json
import os
import shutil
import statistics
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import polars as pl
import recommend
from conditions import conditions

from customer360.models import base, two_tower
from customer360.models.lifecycle import evaluation

CUT = date(2024, 7, 1)
LOG_CUT = date(2011, 6, 13)
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


def timed(fit: Callable[[], Any], batch_size: int) -> dict[str, float]:
    """Run a fit in this process: examples a second and a CPU second after `WARM_STEPS`, pauses between epochs apart,
    and seconds and CPU seconds of the whole.
    """
    from customer360.models.two_tower import towers as module  # in a Ray worker: the module of that process

    whole, steps = module.batches, []

    def marked(*given: Any) -> Iterator[Any]:
        last = None
        for batch in whole(*given):
            now = np.array([perf_counter(), process_time()])
            steps.extend([] if last is None else [now - last])
            last = now
            yield batch
        steps.append(np.array([perf_counter(), process_time()]) - last)

    module.batches = marked
    start, used = perf_counter(), process_time()
    try:
        fit()
    finally:
        module.batches = whole
    counted = np.array(steps[WARM_STEPS:])
    rate, cpu_rate = (float(r) for r in len(counted) * batch_size / counted.sum(axis=0))
    return {"rate": rate, "cpu_rate": cpu_rate, "seconds": perf_counter() - start, "cpu": process_time() - used}


def in_new_process(inputs: dict[str, list[str]]) -> dict[str, float]:
    """The plain loop in a process as new as the worker's: one that has fitted before is a fifth faster."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(in_process, inputs).result()


def in_process(inputs: dict[str, list[str]]) -> dict[str, float]:
    snapshot = base.Snapshot({table: pl.scan_parquet(paths) for table, paths in inputs.items()}, CUT)
    return timed(lambda: two_tower.fit(snapshot, PARAMS, base.NoProgress()), PARAMS.batch_size)


def in_worker(run: Any, folder: Path, threads: int = 1, workers: int = 1) -> dict[str, float]:
    """Fit on Ray Train into `folder`/fitted; the figures of the first worker, the CPU seconds of all."""
    from customer360.models.lifecycle import on_ray

    plain, batch_size = on_ray._fit_in_worker, run.params.batch_size

    def noted(config: dict[str, Any]) -> None:
        import ray.train

        found = timed(lambda: plain(config), batch_size)
        (folder / f"worker_{ray.train.get_context().get_world_rank()}.json").write_text(json.dumps(found))

    on_ray._fit_in_worker = noted
    start = perf_counter()
    try:
        on_ray.train_on_ray(run, folder / "runs", folder / "fitted", threads=threads, workers=workers)
    finally:
        on_ray._fit_in_worker = plain
    with_ray = perf_counter() - start
    notes = [json.loads((folder / f"worker_{rank}.json").read_text()) for rank in range(workers)]
    return notes[0] | {"with_ray": with_ray, "cpu": sum(note["cpu"] for note in notes)}


def against_a_plain_loop(rounds: int, folder: Path) -> None:
    from customer360.models.lifecycle import on_ray

    inputs, pairs = write_shop(folder), []
    for turn in range(rounds):
        run = on_ray.TrainingRun("two_tower", CUT, PARAMS, inputs, dict.fromkeys(inputs, turn))
        plain, worker = in_new_process(inputs), in_worker(run, folder)
        pairs.append((plain, worker))
        print(
            f"plain loop {plain['rate']:,.0f} examples/s, fit {plain['seconds']:.1f} s | worker {worker['rate']:,.0f} examples/s,"  # noqa: E501
            f" fit {worker['seconds']:.1f} s, with Ray Train {worker['with_ray']:.1f} s | ratio {worker['rate'] / plain['rate']:.2f},"  # noqa: E501
            f" a CPU second {worker['cpu_rate'] / plain['cpu_rate']:.2f}, load {os.getloadavg()[0]:.1f}",
            flush=True,
        )
    for name, what in (("rate", ""), ("cpu_rate", ", a CPU second")):
        median = statistics.median(worker[name] / plain[name] for plain, worker in pairs)
        print(f"median ratio worker / plain loop{what} {median:.2f}")


def against_one_worker(workers: int, rounds: int, data: Path, folder: Path) -> None:
    from customer360.models.lifecycle import on_ray

    rows, inputs = recommend.events(data), {}
    for table, frame in recommend.tables(rows, LOG_CUT).items():
        frame.write_parquet(folder / f"{table}.parquet")
        inputs[table] = [str(folder / f"{table}.parquet")]
    figures: dict[int, list[dict[str, float]]] = {1: [], workers: []}
    for turn in range(rounds):
        for count in (1, workers) if turn % 2 == 0 else (workers, 1):  # neither side always runs first
            into = folder / str(count)
            into.mkdir(exist_ok=True)
            run = on_ray.TrainingRun(
                "two_tower", LOG_CUT, two_tower.TwoTowerParams(), inputs, dict.fromkeys(inputs, turn)
            )
            found = in_worker(run, into, threads=workers, workers=count)
            shutil.rmtree(into / "runs")
            figures[count].append(found)
            print(
                f"{count} worker(s): {found['rate']:,.0f} examples/s, fit {found['seconds']:.1f} s, with Ray Train"
                f" {found['with_ray']:.1f} s, CPU of all {found['cpu']:.1f} s, load {os.getloadavg()[0]:.1f}",
                flush=True,
            )
    for name in ("seconds", "with_ray", "rate", "cpu"):
        ratios = [many[name] / one[name] for one, many in zip(figures[1], figures[workers], strict=True)]
        print(
            f"{name}, {workers} workers / one: {', '.join(f'{r:.2f}' for r in ratios)}, median {statistics.median(ratios):.2f}"  # noqa: E501
        )
    compare(rows, {count: two_tower.load(folder / str(count) / "fitted") for count in figures})


def compare(rows: pl.DataFrame, fitted: dict[int, two_tower.TwoTowerFitted]) -> None:
    """Print how far the vectors of one and of more workers lie apart, and what their lists of 20 hold in either
    mode.
    """
    one, many = fitted.values()
    apart = max(float(np.abs(getattr(one, name) - getattr(many, name)).max()) for name in ("bias", "items", "hidden"))
    print(f"largest difference of a component: {apart:.1e}")
    interactions = recommend.tables(rows, LOG_CUT)["gold.interactions"].lazy()
    for mode in ("new", "all"):
        truth = recommend.outcome(rows, float((LOG_CUT - date(1970, 1, 1)).days), mode)
        persons = truth["person_id"].unique().sort()
        lists = [two_tower.recommend(each, interactions, persons, LOG_CUT, mode, 20) for each in (one, many)]
        recalls = [evaluation.ranking_by_person(found, truth)["recall"] for found in lists]
        same = lists[0].join(lists[1], on=["person_id", "product_id"], how="semi").height / lists[0].height
        print(
            f"mode {mode}, {len(persons):,} users: Recall@20 {recalls[0].mean():.4f} by one, {recalls[1].mean():.4f} by more,"  # noqa: E501
            f" difference {evaluation.compare_means(recalls[1], recalls[0], seed=0)}; {same:.2%} of the items are the same"  # noqa: E501
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument(
        "--workers", type=int, default=1, help="more than one: compare them with one, on the public log"
    )
    parser.add_argument("--data", type=Path, default=recommend.ROOT.parent / "shared" / "data" / "retail")
    options = parser.parse_args()
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # a cluster of this process alone
    import ray

    ray.init(
        num_cpus=max(2, options.workers), include_dashboard=False, object_store_memory=500_000_000, logging_level="ERROR",  # noqa: E501
        log_to_driver=False,
    )  # fmt: skip
    print(conditions("torch", "ray", "numpy"))
    with tempfile.TemporaryDirectory() as scratch:
        if options.workers > 1:
            against_one_worker(options.workers, options.rounds, options.data, Path(scratch))
        else:
            against_a_plain_loop(options.rounds, Path(scratch))
    print(f"load at the end {os.getloadavg()[0]:.1f}")
    ray.shutdown()


if __name__ == "__main__":
    main()
