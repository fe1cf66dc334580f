"""A batch into what is resolved, registry committed: `python tests/bench/identity_incremental.py [--records N]`.

With `--lake` what is resolved stands in a lake, and `--batches` go through the whole producer of identities and the
writing of its tables; the CPU seconds of each step are printed. With `--compare` all tables are compared with those of
a whole run, and persons and edges with those of all records resolved at once.

Prints the time of each phase, whether the partition and the edges are those of a rebuild under the same pins, and
whether every person that the batch did not touch kept its id. `--orders K` instead resolves `--records` in K random
orders and batchings and compares each with one run of all.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from time import perf_counter, process_time
from typing import Any
from unittest.mock import patch

import numpy as np
import polars as pl
import yaml
from conditions import conditions, measured

from customer360.models.identity import IdentityRules, producer, registry
from customer360.models.identity.batch import pins
from customer360.models.identity.batch.incremental import Resolved, resolve_batch
from customer360.models.identity.batch.standing import NODE, edge_rows
from customer360.models.identity.batch.state import State
from customer360.models.identity.organisations.among_customers import customers
from customer360.models.identity.registry import core, succession
from customer360.pipelines.silver.behavior import VisitorLogins
from customer360.pipelines.silver.customers import CustomerRecords
from customer360.platform import graph, tables
from customer360.platform.lake import Lake
from customer360.platform.run.incremental import changes
from customer360.platform.run.planning import Context
from customer360.platform.run.units import conform_to_storage
from customer360.platform.tables import Table

ROOT = Path(__file__).resolve().parents[2]
RULES = IdentityRules.model_validate(yaml.safe_load((ROOT / "configs/rules/identity.yaml").read_text()))
BUCKETS = 16


def people(records: int, seed: int) -> pl.DataFrame:
    """About `records` rows of people in households: gaps, typing errors, shared street, surname and landline."""
    rng = np.random.default_rng(seed)
    syllables = np.array(
        "ba be bi bo da de di do ka ke ki ko la le li lo ma me mi mo na ne ni no ra re ri ro sa se si so".split()
    )
    names = np.array(["".join(syllables[rng.integers(0, len(syllables), n)]) for n in rng.integers(2, 4, 4000)])
    households = int(records / 1.31 / 2.2)
    homes = np.repeat(np.arange(households), rng.integers(1, 5, households))[: int(records / 1.31) + 1]
    count = len(homes)
    given = names[(rng.zipf(1.25, count) - 1) % 1500]
    family = names[(rng.zipf(1.15, households) - 1) % 4000][homes]
    number = rng.integers(1, 9000, households)[homes]
    street = names[rng.integers(0, 3000, households)][homes]
    area = rng.integers(0, max(households // 400, 10), households)[homes]
    born = rng.integers(-7000, 13000, count)
    base = pl.DataFrame(
        {"given": given, "family": family, "number": number, "street": street, "area": area, "born": born}
    )
    base = base.with_row_index("person").with_columns(home=pl.Series(homes))
    people_ = base.select(
        "person",
        first_name="given",
        last_name="family",
        email_address=pl.format(
            "{}{}{}@mail{}.com", "given", "family", pl.col("person") % 100_003, pl.col("person") % 7
        ),
        own_phone=pl.format("415{}", (pl.col("person") * 7919) % 8_000_000 + 2_000_000),
        home_phone=pl.format("212{}", (pl.col("home") * 6151) % 8_000_000 + 2_000_000),
        date_of_birth=pl.lit(date(1970, 1, 1)) + pl.duration(days="born"),
        address_line_1=pl.format("{} {} St", "number", "street"),
        city=pl.format("town{}", pl.col("area") // 3),
        zip_code=(10_000 + pl.col("area") % 80_000).cast(pl.String),
    )
    copies = rng.choice([1, 2, 3, 4], count, p=[0.76, 0.18, 0.05, 0.01])
    rows = people_[np.repeat(np.arange(count), copies)]
    chance = [pl.Series(rng.random(rows.height)) for _ in range(8)]
    typo = pl.col("first_name").str.slice(0, 2) + pl.col("first_name").str.slice(3)
    rows = rows.with_columns(
        first_name=pl.when(chance[0] < 0.06).then(typo).otherwise("first_name"),
        phone_number=pl.when(chance[1] < 0.5).then("own_phone").when(chance[1] < 0.8).then("home_phone"),
        email_address=pl.when(chance[2] < 0.7).then("email_address"),
        date_of_birth=pl.when(chance[3] < 0.6).then("date_of_birth"),
        address_line_1=pl.when(chance[4] < 0.8).then("address_line_1"),
        zip_code=pl.when(chance[5] < 0.9).then("zip_code"),
        city=pl.when(chance[6] < 0.9).then("city"),
    ).drop("own_phone", "home_phone", "person")
    order = pl.Series(rng.permutation(rows.height))
    return rows[order].with_row_index("n").select(pl.format("R/{}", "n").alias("record_id"), pl.exclude("n"))


class Phases:
    """Seconds by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def run(self, name: str, work):
        start = perf_counter()
        made = work()
        self.seconds[name] = perf_counter() - start
        return made

    def __str__(self) -> str:
        parts = ", ".join(f"{name} {seconds:.2f}" for name, seconds in self.seconds.items())
        return f"{sum(self.seconds.values()):.2f} s ({parts})"


def land(
    stored: registry.Stored, state: State | None, records: pl.DataFrame, held: pins.Pins, phases: Phases
) -> tuple[registry.Stored, Resolved, pl.DataFrame]:
    """One batch: evidence, resolution, registry."""
    evidence = phases.run("standardize", lambda: pins.evidence(records, held, RULES))
    stored = phases.run("numbers", lambda: registry.number_records(stored, evidence["record_id"]))
    batch = evidence.join(stored.names, on="record_id")
    before = state or State.empty(evidence)
    made = phases.run("score and cluster", lambda: resolve_batch(before, batch, [], held, RULES))
    events = phases.run("events", lambda: succession.advance(stored.registry, made.clusters, cause="bench"))
    stored = phases.run("registry commit", lambda: registry.commit(stored, events, datetime.now(UTC)))
    return stored, made, events


def groups(frame: pl.DataFrame, by: str) -> pl.Series:
    """A partition as sorted text, one entry a cluster."""
    return (
        frame.group_by(by)
        .agg(pl.col("record").sort())["record"]
        .list.eval(pl.element().cast(pl.String))
        .list.join(" ")
        .sort()
    )


def batch_into(records: int, size: int) -> None:
    everybody = people(records + size, 7)
    there, batch = everybody[size:], everybody[:size]
    with tempfile.TemporaryDirectory() as folder:
        stored = registry.load(Lake(folder, {}, 16), "bench")
        phases = Phases()
        held = phases.run("pin (train)", lambda: pins.pinned(there, RULES)[0])
        stored, first, _ = land(stored, None, there, held, phases)
        print(f"{there.height:,} records landed: {phases}; {first.state.edges.height:,} edges")
        before = stored.registry.members
        phases = Phases()
        done = measured(lambda: land(stored, first.state, batch, held, phases))
        stored, made, events = done.result
        print(f"{batch.height:,} records into them, registry committed: {phases}; cpu {done.cpu:.2f} s")
        print(
            f"  {events.height:,} events, {made.scored_pairs:,} pairs, {made.clusters.height:,} records clustered again"
        )
        phases = Phases()
        evidence = pins.evidence(everybody, held, RULES).join(stored.names, on="record_id")
        whole = phases.run(
            "rebuild", lambda: resolve_batch(State.empty(evidence.drop("record")), evidence, [], held, RULES)
        )
        same = groups(stored.registry.members, "person").equals(groups(whole.clusters, "cluster"))
        order = ["record_l", "record_r"]
        edges = made.state.edges.drop("evidence").sort(order).equals(whole.state.edges.drop("evidence").sort(order))
        touched = events.select("records").explode("records")["records"]
        after = stored.registry.members.filter(~pl.col("record").is_in(touched.implode()))
        kept = after.join(before, on=["record", "person"], how="semi").height
        print(f"  {phases}; partition equal to the rebuild: {same}; edges equal: {edges}")
        print(
            f"  untouched records {after.height:,}, with their id unchanged {kept:,}; verified {registry.verify(stored.lake, 'bench')}"  # noqa: E501
        )
        print(f"  peak memory {done.peak:.1f} GiB")


def batch_into_lake(records: int, size: int, batches: int, standing: Path | None, compare: bool) -> None:
    """Batches through the producer of identities, and its tables written as a run writes them."""
    everybody = people(records + size * batches, 7).with_columns(source_system=pl.lit("SHOP"), customer_id="record_id")
    comes = as_stored(everybody).join(
        everybody.select("record_id").with_row_index("place"), on="record_id", maintain_order="left"
    )
    landed = lambda many: comes.filter(pl.col("place") >= size * (batches - many)).drop("place")  # noqa: E731
    with tempfile.TemporaryDirectory() as folder:
        # A lake that other code made is made anew at its next run: each code has its own.
        first = (standing or Path(folder)) / f"{records}-{batches}-{of_code()[:8]}"
        if not first.exists():
            print(f"{records:,} records land first", flush=True)
            produced(Lake(f"{first}.part", {}, BUCKETS), landed(0), {})
            Path(f"{first}.part").rename(first)
        shutil.copytree(first, Path(folder) / "lake", symlinks=True)
        lake = Lake(str(Path(folder) / "lake"), {}, BUCKETS)
        for batch in range(1, batches + 1):
            cpu: dict[str, float] = {}
            now = landed(batch)
            done = measured(lambda now=now, cpu=cpu: produced(lake, now, cpu))
            print(f"{size:,} into {now.height - size:,} in a lake: {done.cpu:.2f} s of CPU, wall {done.seconds:.2f}")
            steps = ", ".join(f"{name} {seconds:.2f}" for name, seconds in cpu.items() if seconds >= 0.005)
            print(f"  of it {steps}; peak {done.peak:.2f} GiB; files written and left {done.result}", flush=True)
        if compare:
            compared(lake, landed(batches))


def compared(lake: Lake, records: pl.DataFrame) -> None:
    """Print whether what the batches left is what a run over all makes, and what all records at once resolve to."""
    held = {tables.spec(table).name: lake.scan(tables.spec(table).name).collect() for table in producer.OUTPUTS}
    with patch.object(producer.touching, "before", lambda *_: None):
        made = producer.identities(context_of(lake), records.lazy(), nobody_logs_in())
    for table, output in zip(producer.OUTPUTS, made, strict=True):
        rows = conform_to_storage(table, output.rows.lazy() if isinstance(output, changes.Changes) else output, {})
        by = [c for c, kind in rows.schema.items() if not kind.is_nested()]
        name = tables.spec(table).name
        print(f"  {name}: {rows.height:,} rows, equal to a whole run: {held[name].sort(by).equals(rows.sort(by))}")
    held_pins, stored, found = pins.read(lake), registry.load(lake, "bench"), customers(records, RULES)
    evidence = pins.evidence(found.people, held_pins, RULES).join(stored.names, on="record_id")
    whole = resolve_batch(State.empty(evidence.drop("record")), evidence, [], held_pins, RULES)
    members = stored.registry.members.join(whole.clusters, on="record", how="semi")  # without those of organisations
    same = groups(members, "person").equals(groups(whole.clusters, "cluster"))
    ends, edges = ["record_id_l", "record_id_r"], held["silver.identity_edges"]
    edges = edges.filter(pl.all_horizontal(pl.col(ends).is_in(evidence["record_id"].implode())))
    anew = edge_rows(whole.state).select(edges.columns).sort(ends)
    print(f"  resolved anew at once: partition equal {same}, edges equal {edges.sort(ends).equals(anew)}")
    print(f"  {registry.verify(lake, 'bench')}")


def of_code() -> str:
    return graph.code_fingerprint(producer.identities, producer.OUTPUTS)


def context_of(lake: Lake) -> Context:
    rules = RULES.model_copy(update={"ids": RULES.ids.model_copy(update={"seed": "bench"})})
    return Context(lake, None, None, rules)  # type: ignore[arg-type]


def nobody_logs_in() -> pl.LazyFrame:
    return pl.LazyFrame(schema=tables.schema(VisitorLogins))


STEPS = ("prepared", "_versions", "_standing", "_resolved", "advance", "_survived", "_assignments",
         "_organisations", "_devices", "edge_rows", "key_rows", "edge_changes", "key_changes", "golden_changes",
         "link_changes")  # fmt: skip


def produced(lake: Lake, records: pl.DataFrame, cpu: dict[str, float]) -> tuple[int, int]:
    """Run the producer over these records and write its tables; the CPU seconds of each step go into `cpu`. Returns
    how many files were written, and how many stayed."""

    def timed(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any, **named: Any) -> Any:
            start = process_time()
            made = work(*given, **named)
            cpu[name.strip("_")] = cpu.get(name.strip("_"), 0.0) + process_time() - start
            return made

        return run

    places = [(producer, name) for name in STEPS]
    places += [(registry, name) for name in ("load", "number_records", "commit")]
    places += [(producer.touching, name) for name in ("before", "touched")]
    plain = [(place, name, getattr(place, name)) for place, name in places]
    for place, name, work in plain:
        setattr(place, name, timed(name, work))
    try:
        made = timed("producer", producer.identities)(context_of(lake), records.lazy(), nobody_logs_in())
        return timed("write", written)(lake, dict(zip(producer.OUTPUTS, made, strict=True)), cpu)
    finally:
        for place, name, work in plain:
            setattr(place, name, work)


def written(lake: Lake, outputs: dict[type[Table], Any], cpu: dict[str, float]) -> tuple[int, int]:
    """Write the tables as a run does."""
    fresh = kept = 0
    for table, frame in outputs.items():
        name = tables.spec(table).name
        lake.ensure(table)
        before = {file.path for file in lake.files(name)}
        start = process_time()
        adds = changes.written(lake, table, frame, {})
        cpu[name] = process_time() - start
        lake.replace(name, adds, scope={}, app=NODE, app_version=(lake.transaction(name, NODE) or 0) + 1)
        after = {file.path for file in lake.files(name)}
        fresh, kept = fresh + len(after - before), kept + len(after & before)
    return fresh, kept


def as_stored(records: pl.DataFrame) -> pl.DataFrame:
    """The records as `silver.customer_records` has them; what they do not say is null."""
    wanted = tables.schema(CustomerRecords)
    return records.sort("record_id").select(
        pl.col(c).cast(kind) if c in records.columns else pl.lit(None, kind).alias(c) for c, kind in wanted.items()
    )


def random_orders(records: int, orders: int) -> None:
    everybody = people(records, 7)
    held = pins.pinned(everybody, RULES)[0]
    evidence = pins.evidence(everybody, held, RULES).with_row_index("record").cast({"record": pl.Int64})
    empty = State.empty(evidence.drop("record"))
    whole = resolve_batch(empty, evidence, [], held, RULES)
    wanted = groups(whole.clusters, "cluster")
    order = ["record_l", "record_r"]
    edges = whole.state.edges.drop("evidence").sort(order)
    equal = equal_edges = 0
    for seed in range(orders):
        rng = random.Random(seed)
        rows = list(range(evidence.height))
        rng.shuffle(rows)
        cuts = sorted(rng.sample(range(1, len(rows)), rng.randint(1, 7)))
        state, who = empty, core.Registry.empty()
        for begin, end in zip([0, *cuts], [*cuts, len(rows)], strict=True):
            made = resolve_batch(state, evidence[rows[begin:end]], [], held, RULES)
            state, who = made.state, who.apply(succession.advance(who, made.clusters, cause="bench"))
        equal += groups(who.members, "person").equals(wanted)
        equal_edges += state.edges.drop("evidence").sort(order).equals(edges)
        print(
            f"  {seed + 1} of {orders} in {len(cuts) + 1} batches: equal so far {equal}, edges {equal_edges}",
            flush=True,
        )
    print(
        f"{orders} random orders and batchings of {evidence.height:,} records: partition equal {equal}, edges equal {equal_edges}"  # noqa: E501
    )
    print(f"  {wanted.len():,} persons, {edges.height:,} edges, {whole.state.crowded.height:,} crowded key values")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, default=10_000)
    parser.add_argument("--orders", type=int, default=0)
    parser.add_argument("--lake", action="store_true", help="into what stands in a lake")
    parser.add_argument("--batches", type=int, default=1, help="with --lake: how many, one after the other")
    parser.add_argument("--standing", type=Path, help="with --lake: a folder for the lake before them, used again")
    parser.add_argument("--compare", action="store_true", help="with --lake: with a whole run, and all resolved anew")
    given = parser.parse_args()
    print(conditions("polars", "splink", "duckdb", "deltalake"))
    if given.orders:
        random_orders(given.records, given.orders)
    elif given.lake:
        batch_into_lake(given.records, given.batch, given.batches, given.standing, given.compare)
    else:
        batch_into(given.records, given.batch)


if __name__ == "__main__":
    main()
