"""Accuracy and time of identity resolution on data with truth, all at the committed rules, without labels:

`python tests/bench/identity.py [--data DIR] [--only NAME] [--scale RECORDS] [--lake] [--spill] [--peer]`

With `--lake`, records are read from a lake and persons, edges, keys and the registry's commit written to it, as in the
first run of a retailer, by the steps of the run itself; golden records are not made. With `--spill`, records and
evidence lie in files, and generated records come from another process; peak memory is what is the process's own,
without the system's cache of files. With `--peer`, plain Splink resolves the same records in the same run.
"""

import argparse
import logging
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import yaml
from conditions import conditions, measured
from peer import plain_splink
from people import households, retail

from customer360.models.files.people import read_table
from customer360.models.identity import IdentityRules, b_cubed, pairwise, registry, resolve
from customer360.models.identity.batch.incremental import resolve_batch
from customer360.models.identity.batch.pins import pinned
from customer360.models.identity.batch.pins import write as write_pins
from customer360.models.identity.batch.standing import VERSIONED, edge_rows, key_rows, take_up, versioned
from customer360.models.identity.evaluate import exact_share
from customer360.models.identity.evidence.mapping import PeopleMapping, people_records
from customer360.models.identity.evidence.standardize import standardize
from customer360.models.identity.phases import timed
from customer360.models.identity.producer import Identities, IdentityEdges, IdentityKeys, resolved
from customer360.models.identity.registry.succession import advance
from customer360.models.identity.spill import current, kept, spilling
from customer360.models.identity.weighing.model import IdentityModel
from customer360.pipelines.silver.customers import CustomerRecords
from customer360.platform import tables
from customer360.platform.lake import BUCKET, Lake
from customer360.platform.tables import Table

ROOT = Path(__file__).resolve().parents[2]
RETAIL = {
    "unique_id": "unique_id",
    "columns": {
        "first_name": "first_name", "last_name": "surname", "email_address": "email", "phone_number": "phone",
        "date_of_birth": "dob", "address_line_1": "address", "city": "city", "state_code": "state", "zip_code": "zip",
    },
}  # fmt: skip
FEBRL = {
    "unique_id": "rec_id",
    "country": "AU",
    "identifiers": ["soc_sec_id"],
    "columns": {
        "first_name": "given_name", "last_name": "surname", "address_line_1": ["street_number", "address_1"],
        "city": "suburb", "zip_code": "postcode", "state_code": "state", "date_of_birth": "date_of_birth",
    },
}  # fmt: skip
FEBRL_BARE = FEBRL | {
    "identifiers": [],
    "columns": {name: column for name, column in FEBRL["columns"].items() if name != "date_of_birth"},  # type: ignore[attr-defined]
}
# As somebody would map it who says nothing of country, number or house.
FEBRL_PLAIN = {
    "unique_id": "rec_id",
    "columns": FEBRL["columns"] | {"address_line_1": "address_1"},  # type: ignore[operator]
}
HISTORICAL = {
    "unique_id": "unique_id",
    "country": "GB",
    "columns": {
        "first_name": "first_name", "last_name": "surname", "full_name": "full_name", "date_of_birth": "dob",
        "zip_code": "postcode_fake", "gender": "gender",
    },
}  # fmt: skip
FAKE = {
    "unique_id": "unique_id",
    "columns": {
        "first_name": "first_name", "last_name": "surname", "date_of_birth": "dob", "city": "city",
        "email_address": "email",
    },
}  # fmt: skip


GENERATORS = {"retail": retail, "households": households}
_PIECE = 250_000  # generated rows read at once where frames go to disk


@dataclass(frozen=True)
class Case:
    """Files, their mapping, and the truth: a function from the raw rows to the entity of each."""

    files: tuple[str, ...]
    mapping: dict[str, Any]
    entity: Callable[[], pl.Expr] = field(default=lambda: pl.col("cluster"))


def _febrl_entity() -> pl.Expr:
    return pl.col("rec_id").str.strip_chars().str.extract(r"^rec-(\d+)-")


CASES = {
    "fake_1000": Case(("fake_1000.csv",), FAKE),
    "febrl1": Case(("febrl_dataset1.csv",), FEBRL, _febrl_entity),
    "febrl2": Case(("febrl_dataset2.csv",), FEBRL, _febrl_entity),
    "febrl3": Case(("febrl_dataset3.csv",), FEBRL, _febrl_entity),
    "febrl4": Case(("febrl_dataset4a.csv", "febrl_dataset4b.csv"), FEBRL, _febrl_entity),
    "febrl1 plain": Case(("febrl_dataset1.csv",), FEBRL_PLAIN, _febrl_entity),
    "febrl2 plain": Case(("febrl_dataset2.csv",), FEBRL_PLAIN, _febrl_entity),
    "febrl3 plain": Case(("febrl_dataset3.csv",), FEBRL_PLAIN, _febrl_entity),
    "febrl4 plain": Case(("febrl_dataset4a.csv", "febrl_dataset4b.csv"), FEBRL_PLAIN, _febrl_entity),
    "febrl3 bare": Case(("febrl_dataset3.csv",), FEBRL_BARE, _febrl_entity),
    "historical_50k": Case(("historical_50k.parquet",), HISTORICAL),
    "historical_50k names only": Case(
        ("historical_50k.parquet",),
        HISTORICAL | {"columns": {"full_name": "full_name", "date_of_birth": "dob", "zip_code": "postcode_fake"}},
    ),
    "retail_200k": Case(("retail_200k.parquet",), RETAIL, lambda: pl.col("entity_id")),
}


def load(name: str, folder: Path) -> tuple[pl.DataFrame, pl.DataFrame, PeopleMapping]:
    """Records, truth (record_id, entity_id) and mapping of a case."""
    case = CASES[name]
    files = {file: read_table(folder / file) for file in case.files}
    mapping = PeopleMapping.model_validate(case.mapping)
    rows = pl.concat([frame.rename({column: column.strip() for column in frame.columns}) for frame in files.values()])
    if name == "retail_200k":
        rows = pl.read_parquet(folder / "retail_200k_truth.parquet")
    truth = rows.select(record_id=pl.col(mapping.unique_id).cast(pl.String).str.strip_chars(), entity_id=case.entity())
    return people_records(files, mapping), truth, mapping


def generated(name: str, records: int) -> tuple[pl.DataFrame, pl.DataFrame, PeopleMapping]:
    """As `load`, of a generator; where frames go to disk they are read piece by piece from a file that another process
    writes: the generator's memory is many times that of its rows, and no part of what is measured."""
    mapping = PeopleMapping.model_validate(RETAIL)
    if (spill := current()) is None:
        return _of_rows(name, GENERATORS[name](records), mapping)
    with TemporaryDirectory() as folder:
        file = Path(folder) / "rows.parquet"
        with ProcessPoolExecutor(1, get_context("spawn")) as other:
            other.submit(_written, name, records, file).result()
        rows = pl.scan_parquet(file)
        pieces = (_of_rows(name, rows.slice(at, _PIECE).collect(), mapping) for at in range(0, records, _PIECE))
        made = [(kept(people), kept(truth)) for people, truth, _ in pieces]
    return spill.keep_columns([people for people, _ in made]), spill.keep_columns([truth for _, truth in made]), mapping


def _of_rows(name: str, rows: pl.DataFrame, mapping: PeopleMapping) -> tuple[pl.DataFrame, pl.DataFrame, PeopleMapping]:
    truth = rows.select(record_id="unique_id", entity_id="entity_id")
    return people_records({name: rows.drop("entity_id")}, mapping), truth, mapping


def _written(name: str, records: int, file: Path) -> None:
    GENERATORS[name](records).write_parquet(file)


Way = Callable[
    [pl.DataFrame, PeopleMapping, IdentityRules], tuple[pl.DataFrame, pl.DataFrame, IdentityModel, dict[str, float]]
]


def run(
    records: pl.DataFrame, mapping: PeopleMapping, rules: IdentityRules
) -> tuple[pl.DataFrame, pl.DataFrame, IdentityModel, dict[str, float]]:
    """Assignments, edges, model and seconds by phase."""
    rules = mapping.applied_to(rules)
    seconds: dict[str, float] = {}
    with timed(seconds, "standardize"):
        standard = standardize(records, rules)
    made = resolve(standard, rules)
    return made.assignments, made.edges, made.model, seconds | made.seconds


def run_in_lake(
    records: pl.DataFrame, mapping: PeopleMapping, rules: IdentityRules
) -> tuple[pl.DataFrame, pl.DataFrame, IdentityModel, dict[str, float]]:
    """As `run`: read, pins and evidence, resolution, registry, tables."""
    rules = mapping.applied_to(rules)
    seconds: dict[str, float] = {}
    with TemporaryDirectory() as folder:
        lake = Lake(folder, {}, 16)
        dated = records.with_columns(pl.col("date_of_birth").str.to_date("%Y-%m-%d", strict=False))
        _write(lake, CustomerRecords, dated.with_columns(source_system=pl.lit("SHOP"), customer_id="record_id"))
        with timed(seconds, "read"):
            read = lake.scan("silver.customer_records").collect()
            stored = registry.number_records(registry.load(lake, rules.ids.seed), read["record_id"])
        with timed(seconds, "pins and evidence"):
            pins, evidence = pinned(read, rules)
            write_pins(lake, pins)
            evidence = versioned(evidence, pins)
        with timed(seconds, "resolve"):
            standing = take_up(lake, evidence, stored.names, stored.registry.members["record"])
            made = resolve_batch(standing.state, standing.batch, standing.gone, pins, rules)
        with timed(seconds, "registry"):
            stored = registry.commit(stored, advance(stored.registry, made.clusters, cause="first"))
        with timed(seconds, "write"):
            versions = evidence.select("record_id", VERSIONED).with_columns(record_version=pl.lit(None, pl.Int64))
            _write(lake, Identities, resolved(read, stored.assignments, made.state, versions, rules.stitching))
            edges = edge_rows(made.state)
            _write(lake, IdentityEdges, edges)
            _write(lake, IdentityKeys, key_rows(made.state))
    persons = stored.assignments.rename({"person_id": "cluster_key"})
    return persons, edges, pins.model, seconds


def _write(lake: Lake, table: type[Table], rows: pl.DataFrame) -> None:
    """Rows as one file; columns that they lack are null."""
    spec, wanted = tables.spec(table), tables.schema(table)
    lake.ensure(table)
    frame = rows.select(
        pl.col(name).cast(kind, strict=False) if name in rows.columns else pl.lit(None, kind).alias(name)
        for name, kind in wanted.items()
    )
    add = lake.write_file(spec.name, frame.sort(spec.sort_by), {BUCKET: "0"} if spec.bucketed else {})
    lake.commit(spec.name, [add], app="bench", app_version=1)


def measure(
    name: str,
    data: tuple[pl.DataFrame, pl.DataFrame, PeopleMapping],
    rules: IdentityRules,
    way: Way,
) -> dict[str, object]:
    records, truth, mapping = data
    height = records.height
    with spilling(height, rules.engine):
        done = measured(lambda: way(records, mapping, rules))
    assignments, edges, model, seconds = done.result
    found = assignments.join(truth, on="record_id")
    pairs, cubed = pairwise(found), b_cubed(found)
    return {
        "data": name,
        "records": height,
        "edges": edges.height,
        "pair P": f"{pairs.precision:.4f}",
        "pair R": f"{pairs.recall:.4f}",
        "pair F1": f"{pairs.f1:.4f}",
        "B3 F1": f"{cubed.f1:.4f}",
        "exact": f"{exact_share(found):.4f}",
        "one person": model.diagnostics["vetoes"].get("one person in spite of another given name", "not asked"),
        "replaced": len(model.diagnostics["replaced"]),
        "phases s": ", ".join(f"{phase} {taken:.1f}" for phase, taken in seconds.items()),
        "total s": f"{sum(seconds.values()):.1f}",
        "cpu s": f"{done.cpu:.1f}",
        "peak GiB": f"{done.peak:.2f}",
    }


def of_peer(records: pl.DataFrame, truth: pl.DataFrame) -> dict[str, object]:
    """What plain Splink makes of the records."""
    done = measured(lambda: plain_splink(records))
    pairs = pairwise(done.result.join(truth, on="record_id"))
    return {
        "Splink P, R, F1": f"{pairs.precision:.4f}, {pairs.recall:.4f}, {pairs.f1:.4f}",
        "Splink cpu s": f"{done.cpu:.1f}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data" / "identity")
    parser.add_argument("--only", action="append", choices=[*CASES, "households"], help="cases; default: all")
    parser.add_argument("--scale", type=int, action="append", help="records of the retail generator instead")
    parser.add_argument("--spill", action="store_true", help="resolve from files instead of memory")
    parser.add_argument("--lake", action="store_true", help="from a lake into it, the registry's commit included")
    parser.add_argument("--peer", action="store_true", help="plain Splink beside it")
    options = parser.parse_args()
    way = run_in_lake if options.lake else run
    logging.getLogger("splink").setLevel(logging.ERROR)
    rules = IdentityRules.model_validate(yaml.safe_load((ROOT / "configs/rules/identity.yaml").read_text()))
    if options.spill:
        rules = rules.model_copy(update={"engine": rules.engine.model_copy(update={"spill_from_records": 0})})
    rows = []
    print(conditions("polars", "duckdb", "splink"))
    if options.scale:
        for size in options.scale:
            with spilling(size, rules.engine):
                rows.append(measure(f"retail {size:,}", generated("retail", size), rules, way))
    else:
        for name in options.only or [*CASES, "households"]:
            data = generated(name, 200_000) if name == "households" else load(name, options.data)
            rows.append(measure(name, data, rules, way) | (of_peer(*data[:2]) if options.peer else {}))
    print("| " + " | ".join(rows[0]) + " |\n" + "|---" * len(rows[0]) + "|")
    for row in rows:
        print("| " + " | ".join(str(value) for value in row.values()) + " |")


if __name__ == "__main__":
    main()
