"""Two towers on a shop of two tastes: taste, time, new products, repeatability, resuming."""

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from customer360.models import base, two_tower
from customer360.models.recommenders import retrieval
from customer360.models.two_tower import TwoTowerParams, examples, towers
from customer360.platform.errors import ModelError

CUT = date(2024, 7, 1)
PARAMS = TwoTowerParams(
    dimension=16, epochs=3, epoch_examples=3000, batch_size=64, history_half_life_days=100, token_buckets=256,
    min_products=3, min_history=2, k=5,
)  # fmt: skip


def events_of(seed: int = 4) -> pl.DataFrame:
    """160 people, half buy a00..a19, half b00..b19, on eight days before the cut and after it."""
    rng, rows = np.random.default_rng(seed), []
    for person in range(160):
        taste = "ab"[person % 2]
        for index, product in enumerate(rng.choice(20, size=14, replace=False)):
            on = CUT + timedelta(days=int(rng.integers(-200, 0) if index < 9 else rng.integers(0, 90)))
            rows.append((f"p{person:03}", f"{taste}{product:02}", on, "purchase"))
    rows += [("viewer", "b03", CUT - timedelta(days=2), "view"), ("buyer", "a01", CUT - timedelta(days=9), "purchase")]
    frame = pl.DataFrame(rows, schema=["person_id", "product_id", "on", "kind"], orient="row")
    return frame.with_columns(quantity=1, count=1)


def catalogue() -> pl.DataFrame:
    """Names tell the taste; x_a and x_b are launched and never sold, x_later is launched after the cut."""
    ids = [f"{taste}{n:02}" for taste in "ab" for n in range(20)] + ["x_a", "x_b", "x_later", "x_fee"]
    name = [f"{'Amber lamp' if i[0] == 'a' else 'Blue kettle'} {i[1:]}" for i in ids[:40]]
    launched = [date(2020, 1, 1)] * 42 + [CUT, date(2020, 1, 1)]
    return pl.DataFrame(
        {
            "product_id": ids,
            "product_name": [*name, "amber LAMP", "blue kettle", "amber lamp", "amber lamp fee"],
            "category": [
                "lamps" if n.lower().startswith("amber") else None for n in [*name, "amber", "b", "amber", "amber"]
            ],
            "subcategory": pl.Series([None] * 44, dtype=pl.String),
            "brand": pl.Series([None] * 44, dtype=pl.String),
            "launched_on": launched,
            "is_product": [True] * 43 + [False],
        }
    )


@pytest.fixture(scope="module")
def snapshot() -> base.Snapshot:
    return base.Snapshot({"gold.interactions": events_of().lazy(), "silver.products": catalogue().lazy()}, CUT)


@pytest.fixture(scope="module")
def fitted(snapshot: base.Snapshot) -> two_tower.TwoTowerFitted:
    return two_tower.fit(snapshot, PARAMS, base.NoProgress())


def lists(fitted, snapshot, persons: list[str], mode: str = "new", k: int = 5) -> pl.DataFrame:
    return two_tower.recommend(fitted, snapshot["gold.interactions"], pl.Series(persons), CUT, mode, k)


def test_new_lists_hold_nothing_bought_and_keep_to_the_taste(fitted, snapshot) -> None:
    found = lists(fitted, snapshot, [f"p{n:03}" for n in range(160)])
    past = snapshot["gold.interactions"].filter(pl.col("on") < CUT).collect()
    assert found.join(past, on=["person_id", "product_id"], how="inner").is_empty()
    assert found.group_by("person_id").len()["len"].to_list() == [5] * 160
    taste = pl.when(pl.col("person_id").str.slice(1).cast(pl.Int64) % 2 == 0).then(pl.lit("a")).otherwise(pl.lit("b"))
    assert found.select((pl.col("product_id").str.slice(0, 1) == taste).mean()).item() > 0.95
    assert found.equals(found.sort("person_id", "rank"))


def test_a_view_guides_and_own_purchases_lead_the_other_mode(fitted, snapshot) -> None:
    assert lists(fitted, snapshot, ["viewer"])["product_id"].str.starts_with("b").all()
    assert "b03" in lists(fitted, snapshot, ["viewer"], k=40)["product_id"].to_list()  # seen is not bought
    assert lists(fitted, snapshot, ["buyer"], "all")["product_id"][0] == "a01"


def test_nothing_known_gives_what_sells(fitted, snapshot) -> None:
    found = lists(fitted, snapshot, ["stranger"])["product_id"].to_list()
    best = pl.DataFrame({"id": fitted.products, "bias": fitted.bias}).sort("bias", "id", descending=[True, False])
    assert found == best["id"].head(5).to_list()


def test_a_new_product_is_placed_by_its_words(fitted, snapshot) -> None:
    whole = two_tower.with_new_products(fitted, snapshot["silver.products"], CUT)
    assert set(whole.products) - set(fitted.products) == {"x_a", "x_b"}  # not what comes later, not what is no product
    assert whole.products.equals(whole.products.sort())
    place = {name: int(np.flatnonzero(whole.products == name)[0]) for name in ("x_a", "x_b", "a01")}
    assert whole.items[place["a01"]].tolist() == fitted.items[int(np.flatnonzero(fitted.products == "a01")[0])].tolist()
    found = two_tower.recommend(whole, snapshot["gold.interactions"], pl.Series(["p000", "p001"]), CUT, "new", 42)
    rank = {(p, i): r for p, i, r in found.select("person_id", "product_id", "rank").iter_rows()}
    assert rank["p000", "x_a"] < rank["p000", "x_b"] and rank["p001", "x_b"] < rank["p001", "x_a"]
    long = two_tower.TwoTowerFitted(**{**vars(fitted), "params": PARAMS.model_copy(update={"k": 42})})
    assert {"x_a", "x_b"} < set(two_tower.predict(long, snapshot)["product_id"])


def test_what_only_refusing_people_touched_is_known_by_its_words_alone(fitted, snapshot) -> None:
    everything = snapshot["gold.interactions"]
    refusing = everything.filter(pl.col("product_id") == "a03").select("person_id").unique()
    allowed = everything.join(refusing, on="person_id", how="anti")
    tables = {"gold.interactions": allowed, "silver.products": snapshot["silver.products"]}
    told = two_tower.predict(fitted, base.Snapshot(tables, CUT))
    at = fitted.products.index_of("a03")
    others = {name: getattr(fitted, name).copy() for name in ("items", "hidden", "bias")}
    for rows in others.values():
        rows[at] = 9
    fitted = replace(fitted, **others)
    assert two_tower.predict(fitted, base.Snapshot(tables, CUT)).equals(told), "nothing that was learnt of it counts"
    gone = snapshot["silver.products"].filter(pl.col("product_id") != "a03")
    unlisted = two_tower.predict(fitted, base.Snapshot({**tables, "silver.products": gone}, CUT))
    assert "a03" not in unlisted["product_id"]


def test_recent_history_weighs_more(fitted) -> None:
    rows = [("x", f"a{n:02}", CUT - timedelta(days=400), "purchase") for n in range(6)]
    rows += [("x", f"b{n:02}", CUT - timedelta(days=3), "purchase") for n in range(3)]
    history = pl.DataFrame(rows, schema=["person_id", "product_id", "on", "kind"], orient="row").lazy()
    found = two_tower.recommend(fitted, history, pl.Series(["x"]), CUT, "new", 5)
    assert found["product_id"].str.starts_with("b").mean() >= 0.8
    slow = two_tower.TwoTowerFitted(
        **{**vars(fitted), "params": PARAMS.model_copy(update={"history_half_life_days": 1e6})}
    )
    assert two_tower.recommend(slow, history, pl.Series(["x"]), CUT, "new", 5)["product_id"].str.starts_with("a").all()


def test_batches_hold_neither_the_target_nor_what_followed_it(snapshot) -> None:
    events = examples.read_events(snapshot["gold.interactions"], CUT)
    drawn = examples.Examples.of(events, (CUT - date(1970, 1, 1)).days, PARAMS)
    assert np.all(events.day[drawn.high - 1] < events.day[drawn.target])
    assert np.all(events.person[drawn.low] == events.person[drawn.target])
    batch = next(examples.batches(drawn, PARAMS.model_copy(update={"history_dropout": 0.0}), 0))
    row = np.searchsorted(batch.offsets, np.arange(len(batch.items)), side="right") - 1
    assert np.all(batch.items != batch.target[row])
    assert drawn.chance[events.day[drawn.target].argmax()] > drawn.chance[events.day[drawn.target].argmin()]
    assert np.exp(drawn.log_rate).sum() == pytest.approx(1.0, rel=1e-5)


def test_loss_by_hand_takes_the_rate_off_and_masks_accidental_hits() -> None:
    import torch

    tables = {
        "item_ids": torch.tensor([[1.0, 0.0], [0.0, 2.0]]),
        "hidden_ids": torch.tensor([[3.0, 0.0], [0.0, 1.0]]),
        "item_words": torch.zeros(4, 2),
        "hidden_words": torch.zeros(4, 2),
        "bias": torch.tensor([0.5, -0.5]),
    }
    tokens = torch.zeros(0, dtype=torch.int64), torch.zeros(2, dtype=torch.int64), torch.zeros(0)
    log_rate = torch.tensor([-1.0, -2.0])
    target = np.array([0, 1, 0])
    batch = examples.Batch(
        np.array([0, 1, 0]), np.ones(3, np.float32), np.arange(3), target, np.ones((3, 1), np.float32), slice(0, 3)
    )
    found = towers._loss(tables, tokens, log_rate, batch, 0.5)
    right, wrong = np.exp(1 / 0.5 + 1.5), np.exp(0 + 1.5)  # near / temperature + bias - log rate
    expected = [np.log(right + wrong) - np.log(right), np.log(right + 2 * wrong) - np.log(right)]
    assert float(found) == pytest.approx((2 * expected[0] + expected[1]) / 3, rel=1e-5)


@pytest.mark.parametrize("workers", [2, 3])
def test_gradients_of_workers_add_up_to_those_of_one(snapshot, workers: int) -> None:
    import torch

    events = examples.read_events(snapshot["gold.interactions"], CUT)
    content = examples.words(snapshot["silver.products"], events.products, PARAMS.token_buckets)
    drawn = examples.Examples.of(events, (CUT - date(1970, 1, 1)).days, PARAMS)
    tokens = tuple(torch.from_numpy(part.astype(kind)) for part, kind in (
        (content.indices, np.int64), (content.indptr[:-1], np.int64), (content.data, np.float32)))  # fmt: skip

    def gradients(share: examples.Share) -> list[np.ndarray]:
        tables = towers._fresh_tables(drawn, PARAMS)
        for batch, _ in zip(examples.batches(drawn, PARAMS, 0, share), range(3), strict=False):
            towers._loss(tables, tokens, torch.from_numpy(drawn.log_rate), batch, PARAMS.temperature).backward()
        return [table.grad.numpy() for table in tables.values()]

    parts = [gradients(examples.Share(rank, workers)) for rank in range(workers)]
    for whole, *shared in zip(gradients(examples.ALONE), *parts, strict=True):
        assert np.abs(whole).max() > 1e-3
        assert sum(shared) == pytest.approx(whole, abs=1e-6)


def test_words_are_shares_of_hashed_parts() -> None:
    found = examples.words(catalogue().lazy(), pl.Series(["a00", "b00", "nameless"]), 4096)
    assert found.sum(axis=1).tolist() == pytest.approx([1.0, 1.0, 0.0])
    assert (found[[0]].count_nonzero(), found[[1]].count_nonzero()) == (4, 3)  # amber lamp 00 category=lamps
    assert (found[[0]] @ found[[1]].T).toarray()[0, 0] == pytest.approx(1 / 12)  # they share 00


def test_the_trend_lifts_what_sells_lately(snapshot) -> None:
    late = pl.DataFrame({"person_id": [f"p{n:03}" for n in range(60)], "product_id": "a05", "kind": "purchase"})
    rows = pl.concat([
        events_of().select("person_id", "product_id", "kind", "on"), late.with_columns(on=pl.lit(CUT - timedelta(days=1)))  # noqa: E501
    ])  # fmt: skip
    events = examples.read_events(rows.lazy(), CUT)
    params = PARAMS.model_copy(update={"example_half_life_days": 1e6})
    trend = examples.Examples.of(events, (CUT - date(1970, 1, 1)).days, params).trend(params)
    assert trend.argmax() == int(np.flatnonzero(events.products == "a05")[0]) and trend.max() > 0.3


def test_the_future_changes_nothing(fitted, snapshot) -> None:
    past = snapshot["gold.interactions"].filter(pl.col("on") < CUT)
    before = base.Snapshot({**snapshot.tables, "gold.interactions": past}, CUT)
    again = two_tower.fit(before, PARAMS, base.NoProgress())
    assert two_tower.predict(again, before).equals(two_tower.predict(fitted, snapshot))


def test_saved_and_loaded_lists_are_equal_and_bytes_repeat(fitted, snapshot, tmp_path: Path) -> None:
    fitted.save(tmp_path / "first")
    two_tower.fit(snapshot, PARAMS, base.NoProgress()).save(tmp_path / "second")
    two_tower.fit(snapshot, PARAMS.model_copy(update={"seed": 1}), base.NoProgress()).save(tmp_path / "third")
    prints = [base.fingerprint(tmp_path / name) for name in ("first", "second", "third")]
    assert prints[0] == prints[1] != prints[2]
    assert two_tower.predict(two_tower.load(tmp_path / "first"), snapshot).equals(two_tower.predict(fitted, snapshot))


class Stops:
    """Keeps checkpoints in a directory and fails after the first, as a killed worker would."""

    def __init__(self, directory: Path, fails: bool) -> None:
        self.directory, self.fails = directory, fails

    def restore(self) -> Path | None:
        return self.directory if self.directory.exists() else None

    def keep(self, write) -> None:
        self.directory.mkdir(exist_ok=True)
        write(self.directory)
        if self.fails:
            raise InterruptedError


def test_a_resumed_fit_equals_an_unbroken_one(fitted, snapshot, tmp_path: Path, monkeypatch) -> None:
    with pytest.raises(InterruptedError):
        two_tower.fit(snapshot, PARAMS, Stops(tmp_path / "kept", fails=True))
    epochs = []
    whole = towers.batches
    monkeypatch.setattr(
        towers,
        "batches",
        lambda drawn, params, epoch, share: epochs.append(epoch) or whole(drawn, params, epoch, share),
    )
    two_tower.fit(snapshot, PARAMS, Stops(tmp_path / "kept", fails=False)).save(tmp_path / "resumed")
    assert epochs == [1, 2]
    fitted.save(tmp_path / "unbroken")
    assert base.fingerprint(tmp_path / "resumed") == base.fingerprint(tmp_path / "unbroken")


def test_blocks_of_persons_do_not_change_the_lists(fitted, snapshot, monkeypatch) -> None:
    persons = [f"p{n:03}" for n in range(50)]
    whole = lists(fitted, snapshot, persons, "all")
    monkeypatch.setattr(two_tower, "BLOCK_PERSONS", 7)
    again = lists(fitted, snapshot, persons, "all")
    assert again.drop("score").equals(whole.drop("score"))
    assert again["score"].to_numpy() == pytest.approx(whole["score"].to_numpy(), rel=1e-4)
    assert lists(fitted, snapshot, []).is_empty()


def test_evaluation_compares_both_modes(fitted, snapshot) -> None:
    found = two_tower.evaluate(fitted, snapshot)
    assert found.metrics["new_person_count"] == 160 and found.metrics["product_count"] == 42
    assert found.metrics["new_recall_20"] > 0.8  # 11 products of the own taste are left, 20 places
    expected = {"new_over_ease", "new_over_ease_popularity", "all_over_popularity", "all_over_own_frequency"}
    assert set(found.verdicts) == expected
    assert found.verdicts["all_over_popularity"] == "better"


def test_faults_are_named(snapshot) -> None:
    empty = events_of().head(0).lazy()
    with pytest.raises(ModelError, match="nothing to learn from"):
        two_tower.fit(base.Snapshot({**snapshot.tables, "gold.interactions": empty}, CUT), PARAMS, base.NoProgress())
    with pytest.raises(ModelError, match=r"lacks silver\.products"):
        two_tower.fit(base.Snapshot({"gold.interactions": empty}, CUT), PARAMS, base.NoProgress())


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
@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_dies_goes_on_from_its_epoch(
    ray_cluster, fitted, snapshot, tmp_path: Path, monkeypatch, workers: int
) -> None:
    """The last of the workers dies; one worker ends at equal bytes, two at the weights of one but for rounding."""
    from customer360.models.lifecycle import on_ray

    inputs = {}
    for table, frame in snapshot.tables.items():
        frame.collect().write_parquet(tmp_path / f"{table}.parquet")
        inputs[table] = [str(tmp_path / f"{table}.parquet")]
    run = on_ray.TrainingRun("two_tower", CUT, PARAMS, inputs, "rows")
    died = tmp_path / "died"
    recorded = tmp_path / "runs" / run.name / "checkpoint_manager_snapshot.json"  # Ray Train's own record

    def dies_once(config: dict) -> None:
        import ray.train

        from customer360.models.lifecycle import on_ray as module  # of the worker: there it is as written

        is_last = ray.train.get_context().get_world_rank() == workers - 1

        class Dies(module.CheckpointProgress):
            kept = 0

            def keep(self, write) -> None:
                super().keep(write)
                self.kept += 1
                if is_last and self.kept == 2 and not died.exists():
                    while not recorded.exists():  # the controller has the first checkpoint when it has written this
                        time.sleep(0.05)
                    died.touch()
                    os._exit(137)  # as a kernel out of memory ends it: nothing is caught, nothing cleaned up

        module.CheckpointProgress = Dies
        module._fit_in_worker(config)

    monkeypatch.setattr(on_ray, "_fit_in_worker", dies_once)
    trained = on_ray.train_on_ray(run, tmp_path / "runs", tmp_path / "fitted", threads=1, workers=workers)
    fitted.save(tmp_path / "in_process")
    assert died.exists() and trained.resumed
    if workers == 1:
        assert trained.fingerprint == base.fingerprint(tmp_path / "in_process")
    shared = two_tower.load(tmp_path / "fitted")
    for name in ("bias", "items", "hidden", "item_words", "hidden_words"):
        assert getattr(shared, name) == pytest.approx(getattr(fitted, name), abs=1e-5), name


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_workers_that_cannot_share_are_refused(ray_cluster, tmp_path: Path) -> None:
    from customer360.models.lifecycle import on_ray

    churn = on_ray.TrainingRun("churn", CUT, base.find("churn").params(), {}, "")
    with pytest.raises(ModelError, match="cannot share a fit of churn"):
        on_ray.train_on_ray(churn, tmp_path / "runs", tmp_path / "fitted", workers=2)
    towers_of_three = on_ray.TrainingRun("two_tower", CUT, PARAMS, {}, "")
    with pytest.raises(ModelError, match="3 workers need 3 CPUs, Ray has 2"):
        on_ray.train_on_ray(towers_of_three, tmp_path / "runs", tmp_path / "fitted", workers=3)


@pytest.mark.parametrize("mode", ["new", "all"])
def test_a_large_catalogue_gets_the_same_lists(fitted, snapshot, monkeypatch, mode) -> None:
    persons = [f"p{n:03}" for n in range(40)] + ["nobody"]
    exact = lists(fitted, snapshot, persons, mode, 10)
    monkeypatch.setattr(retrieval, "EXACT_LIMIT", 0)
    large = lists(fitted, snapshot, persons, mode, 10)
    assert large.drop("score").equals(exact.drop("score"))
    assert large["score"].to_numpy() == pytest.approx(exact["score"].to_numpy(), abs=1e-3)
