"""However the pairs are parted and wherever they are scored, the edges are the same."""

from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from customer360.models.identity import IdentityModelError, IdentityRules
from customer360.models.identity.batch.incremental import resolve_batch
from customer360.models.identity.batch.pins import evidence, pinned
from customer360.models.identity.batch.state import State
from customer360.models.identity.rules import Decision, Engine
from customer360.models.identity.spill import spilling
from customer360.models.identity.weighing.tasks import Task, parted
from customer360.platform.run.executor import Failure, LocalExecutor, RayExecutor, Unit
from customer360.platform.settings import ExecutionSettings, RetrySettings


def rules(**limits: int) -> IdentityRules:
    # Pairs far below what is usually kept, so that most of them are edges.
    return IdentityRules(decision=Decision(audit_weight=-40.0), engine=Engine(threads=1, **limits))


SPLIT = rules(max_local_pairs=1, pairs_per_task=30)


class Counted:
    """An executor that ends its units in reverse and remembers them."""

    def __init__(self) -> None:
        self.inner, self.units = LocalExecutor(ExecutionSettings(retry=RetrySettings(attempts=1))), [0]

    def map(self, units: Sequence[Unit]) -> Iterator[tuple[int, Any]]:
        self.units = [unit.pairs.height for unit in units]  # type: ignore[attr-defined]
        yield from reversed(list(self.inner.map(units)))


class Failing:
    def map(self, units: Sequence[Unit]) -> Iterator[tuple[int, Any]]:
        yield 1, Failure("MemoryError: no room", "")


def population(people: int, seed: int) -> pl.DataFrame:
    """Records of `people` in households, two each, with gaps and typing errors."""
    rng = np.random.default_rng(seed)
    given = ["Ann", "Anna", "Robert", "Bob", "José", "Zoë", "Jürgen", "Mary Ann"]
    family = ["Miller", "Müller", "Kim", "O'Neil", "van der Berg", "Ortega"]
    rows = []
    for person in range(people):
        full = {
            "first_name": given[rng.integers(8)], "last_name": family[person // 3 % 6],
            "email_address": f"u{person}@mail.com", "phone_number": f"415{2000000 + person // 3 * 37}",
            "address_line_1": f"{person // 3 + 1} Oak St", "city": "Springfield", "zip_code": f"{10000 + person % 9}",
            "date_of_birth": date(1950 + person % 50, person % 12 + 1, person % 27 + 1), "gender": "fm"[person % 2],
        }  # fmt: skip
        for copy in range(2):
            kept = {name: value if rng.random() > 0.2 else None for name, value in full.items()}
            if copy and kept["last_name"]:
                kept["last_name"] = kept["last_name"][:2] + kept["last_name"][3:]
            rows.append({"record_id": f"S{copy}/{person}"} | kept)
    return pl.DataFrame(rows)


def test_a_slice_ends_where_a_left_record_does():
    pairs = pl.DataFrame({"rid_l": [0, 0, 0, 0, 0, 1, 1, 2, 5, 5], "rid_r": range(1, 11)}).cast(pl.Int64)
    assert [part["rid_l"].to_list() for part in parted(pairs, 3)] == [[0] * 5, [1, 1], [2, 5, 5]]
    assert [part.height for part in parted(pairs, 1)] == [5, 2, 1, 2]
    assert [part.height for part in parted(pairs, 10)] == [10]
    assert parted(pairs.clear(), 2) == []


@pytest.mark.parametrize("size", [1, 3, 7, 64])
def test_slices_put_together_are_the_pairs(size):
    left = np.sort(np.random.default_rng(size).integers(0, 40, 200))
    pairs = pl.DataFrame({"rid_l": left, "rid_r": left + 1})
    parts = parted(pairs, size)
    assert pl.concat(parts).equals(pairs)
    most = pairs["rid_l"].value_counts()["count"].max()
    assert all(part.height < size + most for part in parts)
    assert sum(part["rid_l"].n_unique() for part in parts) == pairs["rid_l"].n_unique()


def test_a_task_holds_the_rows_that_its_pairs_name():
    frame = pl.DataFrame({"given": list("abcdef")})
    pairs = pl.DataFrame({"rid_l": [5, 1], "rid_r": [3, 5]}, schema={"rid_l": pl.Int64, "rid_r": pl.Int64})
    task = Task.of(pairs, frame, lambda some, rows: some.with_columns(left=rows["given"].gather(some["rid_l"])))
    assert task.rows["given"].to_list() == ["b", "d", "f"]
    assert task.run().rows() == [(5, 3, "f"), (1, 5, "b")]


def scored(people: pl.DataFrame, limits: IdentityRules, executor: Any = None) -> pl.DataFrame:
    """Edges of all pairs of these records."""
    pins, known = pinned(people, limits)
    numbered = known.with_row_index("record").cast({"record": pl.Int64})
    return resolve_batch(State.empty(known), numbered, (), pins, limits, executor=executor).state.edges


def test_in_tasks_the_edges_are_the_same():
    people, executor = population(20, 1), Counted()
    assert pinned(people, SPLIT)[0].model.diagnostics["mode"] == "default"
    whole, split = scored(people, rules()), scored(people, SPLIT, executor)
    assert len(executor.units) > 3 and whole.height > 100
    assert split.equals(whole) and split.schema == whole.schema


def test_fewer_pairs_than_the_limit_stay_in_this_process():
    people, executor = population(20, 1), Counted()
    assert scored(people, rules(), executor).height and executor.units == [0]
    assert scored(people, SPLIT).height, "without an executor all do"


def test_a_batch_in_another_order_is_the_same_in_tasks():
    people = population(20, 2)
    pins, executor = pinned(people, SPLIT)[0], Counted()
    batch = evidence(people, pins, SPLIT).sample(fraction=1.0, shuffle=True, seed=1)
    batch = batch.with_row_index("record").cast({"record": pl.Int64})
    start = State.empty(batch.drop("record"))
    whole = resolve_batch(start, batch, [], pins, SPLIT)
    split = resolve_batch(start, batch, [], pins, SPLIT, executor=executor)
    assert len(executor.units) > 3
    assert split.state.edges.equals(whole.state.edges) and split.clusters.equals(whole.clusters)


def test_from_files_in_portions_and_tasks_the_edges_are_the_same():
    people, executor = population(20, 1), Counted()
    files = rules(max_local_pairs=1, pairs_per_task=3, spill_from_records=0, spill_pairs=100)
    with spilling(people.height, files.engine):
        made = scored(people, files, executor)
    assert len(executor.units) > 1 and made.equals(scored(people, rules()))


def test_a_task_that_fails_is_named():
    with pytest.raises(IdentityModelError, match=r"task 2 of \d+ failed: MemoryError: no room"):
        scored(population(20, 1), SPLIT, Failing())


@pytest.mark.slow
def test_on_ray_the_edges_are_the_same(tmp_path: Path):
    """A trained model with value frequencies; the whole in this process, in tasks here, in tasks on Ray."""
    limits, people, local = rules(max_local_pairs=1000, pairs_per_task=2000), population(200, 3), Counted()
    assert pinned(people, limits)[0].model.diagnostics["mode"] == "trained"
    whole = scored(people, limits)
    assert scored(people, limits, local).equals(whole) and len(local.units) > 2
    executor = RayExecutor(ExecutionSettings(cpus=4, object_store_megabytes=80), tmp_path)
    files = rules(max_local_pairs=1000, pairs_per_task=500, spill_from_records=0, spill_pairs=2000)
    try:
        assert scored(people, limits, executor).equals(whole)
        with spilling(people.height, files.engine):
            assert scored(people, files, executor).equals(whole)
    finally:
        executor.close()
