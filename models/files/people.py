"""Files of people in and out: CSV and Parquet read as text, resolved with a mapping, written with their own ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import polars as pl
from pydantic import ValidationError

from customer360.models.identity import IdentityRules, Resolution
from customer360.models.identity.evidence.mapping import PeopleMapping, people_records
from customer360.platform.errors import ConfigError, SourceError
from customer360.platform.settings import find, read_yaml
from customer360.platform.sources.formats import delimited


def identity_rules(path: Path | None) -> IdentityRules:
    """Rules from `path`, else those of the installation. Raises ConfigError with every fault."""
    chosen = path or find("rules/identity.yaml")
    return _checked(IdentityRules, chosen)


def read_mapping(path: Path) -> PeopleMapping:
    """A mapping file (see `models.identity.mapping`). Raises ConfigError with every fault."""
    if not path.exists():
        raise ConfigError(f"mapping file {path} does not exist")
    return _checked(PeopleMapping, path)


Shape = TypeVar("Shape", IdentityRules, PeopleMapping)


def _checked(model: type[Shape], path: Path) -> Shape:
    try:
        return model.model_validate(read_yaml(path))
    except ValidationError as fault:
        lines = [f"  {'.'.join(map(str, e['loc']))}: {e['msg']} (is {e['input']!r:.60})" for e in fault.errors()]
        raise ConfigError(f"{path}: {len(lines)} fault(s)\n" + "\n".join(lines)) from None


def read_people(files: Sequence[Path], mapping: PeopleMapping) -> pl.DataFrame:
    """Customer records of CSV or Parquet files. Raises SourceError for a file that cannot be read, ConfigError for a
    mapping that does not fit."""
    return people_records({str(file): read_table(file) for file in files}, mapping)


def read_table(file: Path) -> pl.DataFrame:
    """Rows of a Parquet or CSV file with a header, CSV values as text; bytes that are no UTF-8 are replaced."""
    if not file.exists():
        raise SourceError(f"{file} does not exist")
    try:
        if file.suffix.lower() in (".parquet", ".pq"):
            return pl.read_parquet(file)
        return delimited.read(file, delimited.dialect_of(file, blanks=False), lossy=True)
    except (pl.exceptions.PolarsError, OSError, EOFError) as fault:
        raise SourceError(f"{file} cannot be read as {file.suffix or 'CSV'}: {fault}") from None


def write_table(frame: pl.DataFrame, file: Path) -> None:
    """Parquet, or CSV where the name ends so (nested columns as JSON)."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix.lower() == ".csv":
        nested = [name for name, kind in frame.schema.items() if kind.is_nested()]
        flat = [
            pl.Series(name, [pl.Series([value]).to_frame("v").write_json() for value in frame[name]]) for name in nested
        ]
        frame.with_columns(flat).write_csv(file)
    else:
        frame.write_parquet(file)


def clusters(resolution: Resolution, records: pl.DataFrame, mapping: PeopleMapping) -> pl.DataFrame:
    """(unique_id, person_id), and source where the mapping names one; in the order of the input."""
    found = records.select("record_id", *_id_columns(mapping)).join(
        resolution.assignments.select("record_id", "person_id"), on="record_id", maintain_order="left"
    )
    return found.select("unique_id", "person_id", *(["source"] if mapping.source else []))


def scored_edges(resolution: Resolution, records: pl.DataFrame, mapping: PeopleMapping) -> pl.DataFrame:
    """Edges with the file's own ids, unique_id_l and unique_id_r (and source_l, source_r)."""
    ids = records.select("record_id", *_id_columns(mapping))
    edges = resolution.edges
    for side in ("l", "r"):
        named = ids.rename({name: f"{name}_{side}" for name in ids.columns})
        edges = edges.join(named, on=f"record_id_{side}", maintain_order="left")
    leading = [f"{name}_{side}" for side in ("l", "r") for name in _id_columns(mapping)]
    return edges.select(*leading, pl.exclude(*leading, "record_id_l", "record_id_r"))


def summary(records: pl.DataFrame, resolution: Resolution, seconds: Mapping[str, float]) -> list[str]:
    """Lines on what was found, what the model rests on, and how long each phase took."""
    sizes = resolution.assignments.group_by("person_id").len()["len"]
    decisions = dict(resolution.edges["decision"].value_counts(sort=True).iter_rows())
    model = resolution.model.diagnostics
    return [
        f"{records.height:,} records are {sizes.len():,} people; largest: {max(sizes.to_list(), default=0)} records",
        f"pairs kept: {resolution.edges.height:,} "
        + ", ".join(f"{name} {count:,}" for name, count in decisions.items()),
        f"model {resolution.model.version}: {model['mode']}" + (f" ({model['reason']})" if "reason" in model else ""),
        *(f"  trained on pairs that agree on {name}: {count:,}" for name, count in model.get("sessions", {}).items()),
        *(f"  {place}: {reason}" for place, reason in model["replaced"].items()),
        *(f"  key {key}: {count:,} values are shared by too many records" for key, count in resolution.dropped.items()),
        "seconds: " + ", ".join(f"{phase} {taken:.1f}" for phase, taken in seconds.items()),
    ]


def _id_columns(mapping: PeopleMapping) -> list[str]:
    return ["source", "unique_id"] if mapping.source else ["unique_id"]
