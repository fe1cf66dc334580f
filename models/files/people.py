"""Files of people in and out: read as sources' files are, resolved with a mapping, written with their own ids."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TypeVar

import polars as pl
from pydantic import ValidationError

from customer360.models.files import output
from customer360.models.identity import IdentityRules, Resolution
from customer360.models.identity.evidence.mapping import PeopleMapping, people_records
from customer360.models.identity.evidence.standardize import standardize
from customer360.models.identity.organisations.telling import ORGANISATION, PERSON, SITE
from customer360.models.identity.verdicts.decide import REJECTED
from customer360.models.identity.weighing.doubts import doubts
from customer360.models.identity.weighing.gate import UNOBSERVED
from customer360.models.identity.weighing.model import IdentityModel
from customer360.platform import telemetry
from customer360.platform.errors import ConfigError, SourceError
from customer360.platform.settings import find, read_yaml
from customer360.platform.sources import formats
from customer360.platform.sources.formats import delimited
from customer360.platform.sources.formats.options import Options
from customer360.platform.sources.formats.records import POSITION, together

ROW_AS_ID_ADVICE = 'unique_id: is missing: the column of the ids, or "@row" where rows have none'
# What stands where nobody has a number.
NO_NUMBERS = ("123456789", "1234567890", "0123456789", "987654321", "9876543210", "12345678", "na", "none", "null",
              "nan", "nil", "unknown", "keine", "nicht vorhanden", "inconnu", "desconocido")  # fmt: skip
MOST_NAMES_PER_NUMBER = 8  # a household's, and errors in them
# Columns of a record -> what they are compared as; a street without its name may be a house number.
STANDARDIZED = {
    "first_name": ["given_name_std"], "last_name": ["family_name_std"], "email_address": ["email_std"],
    "phone_number": ["phone_std"], "date_of_birth": ["dob_std"], "gender": ["gender_std"],
    "address_line_1": ["street_std", "number_std"], "city": ["city_std"], "zip_code": ["zip_std"],
}  # fmt: skip


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
        lines = [
            f"  {ROW_AS_ID_ADVICE}"
            if (e["type"], e["loc"]) == ("missing", ("unique_id",))
            else f"  {'.'.join(map(str, e['loc']))}: {e['msg']} (is {e['input']!r:.60})"
            for e in fault.errors()
        ]
        raise ConfigError(f"{path}: {len(lines)} fault(s)\n" + "\n".join(lines)) from None


def read_people(files: Sequence[Path], mapping: PeopleMapping, rules: IdentityRules | None = None) -> pl.DataFrame:
    """Customer records of files in any format that `read_table` reads. Raises SourceError for a file that cannot be
    read, ConfigError for a mapping that does not fit."""
    tables = {str(file): _with_one_value(file, read_table(file, mapping.encoding), mapping) for file in files}
    return without_shared_numbers(people_records(tables, mapping), mapping, rules or IdentityRules())


def without_shared_numbers(records: pl.DataFrame, mapping: PeopleMapping, rules: IdentityRules) -> pl.DataFrame:
    """The records without numbers of `identifiers` that are nobody's own: placeholders such as 999-99-9999 and n/a, and
    what more than a household's given names share, however they are written. Where records name no people, and where
    all of them are organisations or their sites, a number may be of many records. What is left out is said."""
    for column, name in mapping.numbers.items():
        number = pl.col(name).str.to_lowercase().str.replace_all(r"[^\p{L}\p{N}]", "").alias("number")
        numbers, plain = records.select(number), pl.col("number")
        repeated = (plain.str.strip_chars(plain.str.head(1)) == "") & (plain.str.len_chars() > 3)
        placeholder = plain.is_in(NO_NUMBERS) | repeated | (plain.str.strip_chars("0") == "")
        shared = plain.is_in(_of_many_names(records, numbers["number"], mapping, rules).implode())
        nobodys = numbers.select(plain.is_not_null() & (placeholder | shared)).to_series().fill_null(False)
        if nobodys.any():
            telemetry.log.warning(
                f"identifier {column!r}: {int(nobodys.sum()):,} of {records[name].count():,} numbers are placeholders, "
                f"or shared by more than {MOST_NAMES_PER_NUMBER} given names; they say nothing"
            )
            records = records.with_columns(pl.when(~nobodys).then(name).alias(name))
    return records


def _of_many_names(
    records: pl.DataFrame, numbers: pl.Series, mapping: PeopleMapping, rules: IdentityRules
) -> pl.Series:
    """The numbers that more given names have than a household's, as names are compared; none where no people are."""
    named = [name for name in ("first_name", "last_name", "full_name") if name in records.columns]
    many = pl.len().over("number") > MOST_NAMES_PER_NUMBER
    often = numbers.to_frame("number").select(many & pl.col("number").is_not_null()).to_series()
    if not named or mapping.entity in ("organisation", "site") or not often.any():
        return pl.Series("number", [], pl.String)
    given = standardize(records.filter(often).select(named), rules)["nickname_group"]
    names = pl.DataFrame({"number": numbers.filter(often), "given": given}).group_by("number")
    return names.agg(pl.col("given").drop_nulls().n_unique()).filter(pl.col("given") > MOST_NAMES_PER_NUMBER)["number"]


def read_table(file: Path, encoding: str = "auto") -> pl.DataFrame:
    """Rows of a file of any format that sources deliver (CSV in its dialects and encodings, JSON, Excel, Parquet,
    Avro, XML, packed or not), told by its content. Whole numbers that a format stores as fractions are whole again.

    Raises:
        SourceError: there is no such file, it holds no rows, or a record of it cannot be read: which, and why.
    """
    if not file.is_file():
        raise SourceError(f"{file} is a folder" if file.is_dir() else f"{file} does not exist")
    try:
        frame = pl.read_parquet(file) if file.suffix.lower() in (".parquet", ".pq") else _records(file, encoding)
    except (pl.exceptions.PolarsError, OSError, EOFError) as fault:
        reason = str(fault).splitlines()[0] if str(fault) else type(fault).__name__
        raise SourceError(f"{file} cannot be read as {file.suffix or 'CSV'}: {reason}") from None
    named = frame.rename({name: name.strip() for name in frame.columns if name.strip() not in frame.columns})
    whole = [c.name for c in named if c.dtype.is_float() and bool((c.is_null() | (c == c.round())).all())]
    return named.with_columns(pl.col(whole).cast(pl.Int64, strict=False))


def _records(file: Path, encoding: str) -> pl.DataFrame:
    with file.open("rb") as stream:
        read = together(formats.pieces(stream, Options(encoding=encoding), file.name))
    for note in read.notes:
        telemetry.log.warning(f"{file.name}: {note}")
    if read.dead.height and bool((read.dead[POSITION] > 0).all()) and file.suffix.lower() in (".csv", ".tsv", ".txt"):
        # A lone byte in another encoding costs its sign, not its person; what shifts cells is refused.
        known = None if encoding == "auto" else encoding
        return delimited.read(file, delimited.dialect_of(file, blanks=False, encoding=known), lossy=True)
    if read.dead.height:
        first = read.dead.sort(POSITION).row(0, named=True)
        where = f"record {first[POSITION]}: " if first[POSITION] else ""
        more = f" ({read.dead.height - 1:,} more such records)" if read.dead.height > 1 else ""
        raise SourceError(f"{file} cannot be read, {where}{first['reason']}{more}")
    if read.frame.width < 2:
        raise SourceError(f"{file} is empty")
    return read.frame.drop(POSITION)


def _with_one_value(file: Path, frame: pl.DataFrame, mapping: PeopleMapping) -> pl.DataFrame:
    """The frame with lists of at most one value, in the columns that the mapping names, as that value."""
    named = {mapping.unique_id, mapping.source, *mapping.identifiers, *chain(*mapping.columns.values())}
    made = []
    for values in (frame[name] for name in frame.columns if name in named):
        nested = values.str.json_decode(pl.List(pl.String)) if _holds_json_lists(values) else values
        if isinstance(nested.dtype, pl.List) and not nested.dtype.inner.is_nested():
            longest = int(nested.list.len().max() or 0)  # type: ignore[arg-type]
            if longest <= 1:
                made.append(nested.list.first().alias(values.name))
                continue
            row = int((nested.list.len() > 1).arg_max() or 0) + 1
            what = f"holds lists, in row {row} of {nested.list.len()[row - 1]} values"
        elif nested.dtype.is_nested() or nested.dtype in (pl.Binary, pl.Object):
            what = f"holds {nested.dtype}, no text"
        else:
            continue
        raise ConfigError(
            f"{file}: column {values.name!r} {what}; give each value a column of its own, and name those that you want"
        )
    return frame.with_columns(made)


def _holds_json_lists(values: pl.Series) -> bool:
    """Whether every value is a JSON list, as readers of nested formats write one."""
    if values.dtype != pl.String or values.null_count() == len(values):
        return False
    known = values.drop_nulls()
    if not bool((known.str.starts_with("[") & known.str.ends_with("]")).all()):
        return False
    try:
        return all(isinstance(json.loads(text), list) for text in known)
    except json.JSONDecodeError:
        return False


def write_table(frame: pl.DataFrame, file: Path) -> None:
    """In the kind that the ending tells (see `output`); in CSV and TSV nested columns are JSON. Raises SourceError."""
    if {".csv", ".tsv"} & {suffix.lower() for suffix in file.suffixes}:
        nested = [name for name, kind in frame.schema.items() if kind.is_nested()]
        flat = [
            pl.Series(name, [pl.Series([value]).to_frame("v").write_json() for value in frame[name]]) for name in nested
        ]
        frame = frame.with_columns(flat)
    output.write(frame, file)


def edges_beside(out: Path) -> Path:
    """Where the scored pairs of a result go: `out_edges.csv.gz` for `out.csv.gz`."""
    ending = "".join(out.suffixes[-2:] if out.suffix.lower() == ".gz" else out.suffixes[-1:])
    return out.with_name(f"{out.name.removesuffix(ending)}_edges{ending}")


def silent(standard: pl.DataFrame) -> list[str]:
    """Which of the filled values say nothing once they are standardized, in a line, or none."""
    lost = {}
    for column, made in STANDARDIZED.items():
        if column in standard.columns:
            filled = standard[column].is_not_null()
            unused = filled & standard.select(pl.all_horizontal(pl.col(made).is_null())).to_series()
            lost[column] = (int(unused.sum()), int(filled.sum()))
    told = [f"{column} {count:,} of {of:,}" for column, (count, of) in lost.items() if count]
    if not told:
        return []
    foreign = 2 * lost.get("phone_number", (0, 1))[0] > lost.get("phone_number", (0, 1))[1]
    advice = "; where the phone numbers are of another country, give the mapping its `country`" if foreign else ""
    return [
        f"values that say nothing (placeholders, what is no such value, or many names share): {', '.join(told)}{advice}"
    ]


def clusters(resolution: Resolution, records: pl.DataFrame, mapping: PeopleMapping) -> pl.DataFrame:
    """(unique_id, person_id), and source where the mapping names one; in the order of the input. Where records name
    organisations also `entity_type` and `organisation_id`, of a person the organisation beside the name."""
    found = records.select("record_id", *_id_columns(mapping)).join(
        resolution.assignments.select("record_id", "person_id"), on="record_id", maintain_order="left"
    )
    told = []
    if resolution.organisations is not None:
        found = found.join(resolution.organisations, on="record_id", how="left", maintain_order="left")
        kinds = {"o": ORGANISATION, "s": SITE, "p": PERSON}
        kind = pl.col("person_id").str.head(1).replace_strict(kinds, return_dtype=pl.String)
        found, told = found.with_columns(entity_type=kind), ["entity_type", "organisation_id"]
    return found.select("unique_id", "person_id", *(["source"] if mapping.source else []), *told)


def scored_edges(resolution: Resolution, records: pl.DataFrame, mapping: PeopleMapping) -> pl.DataFrame:
    """Edges with the file's own ids, unique_id_l and unique_id_r (and source_l, source_r)."""
    ids = records.select("record_id", *_id_columns(mapping))
    edges = resolution.edges
    for side in ("l", "r"):
        named = ids.rename({name: f"{name}_{side}" for name in ids.columns})
        edges = edges.join(named, on=f"record_id_{side}", maintain_order="left")
    leading = [f"{name}_{side}" for side in ("l", "r") for name in _id_columns(mapping)]
    return edges.select(*leading, pl.exclude(*leading, "record_id_l", "record_id_r"))


def summary(
    records: pl.DataFrame, resolution: Resolution, seconds: Mapping[str, float], review_weight: float = -2.0
) -> list[str]:
    """Lines on what was found, what the model rests on, and how long each phase took."""
    sizes = resolution.assignments.group_by("person_id").len()["len"]
    found = resolution.organisations
    organisations = f" and {found['organisation_id'].n_unique():,} organisations" if found is not None else ""
    kinds = resolution.assignments["person_id"].unique().str.head(1)
    people, sites = ((kinds == kind).sum() for kind in "ps")
    organisations += f" of {sites:,} sites" if sites else ""
    decisions = dict(resolution.edges["decision"].value_counts(sort=True).iter_rows())
    model = resolution.model.diagnostics
    doubted = model.get("not believed", ())
    believed = {name: count for name, count in model.get("sessions", {}).items() if name not in doubted}
    return [
        f"{records.height:,} records are {people:,} people{organisations}; "
        f"largest: {max(sizes.to_list(), default=0)} records",
        f"pairs kept: {resolution.edges.height:,} "
        + ", ".join(f"{name} {count:,}" for name, count in decisions.items()),
        f"model {resolution.model.version}: {model['mode']}" + (f" ({model['reason']})" if "reason" in model else ""),
        *([accepting(resolution.model)] if resolution.model.accept_weight is not None else []),
        *waiting(resolution, review_weight),
        *(f"  trained on pairs that agree on {name}: {count:,}" for name, count in believed.items()),
        *(f"  {line}" for line in doubts(model, resolution.model.idle_vetoes)),
        *_stated(model["replaced"]),
        *(f"  key {key}: {count:,} values are shared by too many records" for key, count in resolution.dropped.items()),
        "seconds: " + ", ".join(f"{phase} {taken:.1f}" for phase, taken in seconds.items()),
    ]


def _stated(replaced: Mapping[str, str]) -> list[str]:
    """Of which levels too few pairs were seen to measure anything, a line per comparison; other reasons as they are."""
    levels: dict[str, dict[str, None]] = {}
    others = []
    for place, reason in replaced.items():
        comparison, _, level = place.partition(" / ")
        if UNOBSERVED in reason:
            levels.setdefault(comparison, {})[level.rpartition(" / ")[0]] = None
        else:
            others.append(f"  {place}: {reason}")
    return others + [
        f"  {comparison}: too few pairs to measure, stated values used: {'; '.join(found)}"
        for comparison, found in levels.items()
    ]


def accepting(model: IdentityModel) -> str:
    """The weight from which a model accepts pairs, and what is expected of it, in one line."""
    expected = model.diagnostics["expected"]
    false, pairs = expected["false pairs"], expected["pairs"]
    return f"accepts from {model.accept_weight:.2f} bits: expects {false:,.1f} false of {pairs:,.0f} pairs"


def waiting(resolution: Resolution, review_weight: float) -> list[str]:
    """In one line, or none: how many pairs of two people have so many bits, and wait for a review."""
    found = resolution.edges.filter((pl.col("decision") == REJECTED) & (pl.col("match_weight") >= review_weight))
    for side in "lr":
        names = {f"record_id_{side}": "record_id", f"person_{side}": "cluster_key"}
        found = found.join(resolution.assignments.select(**names), on=f"record_id_{side}")
    found = found.filter(pl.col("person_l") != pl.col("person_r"))
    if found.is_empty():
        return []
    same = "namesakes of one home, such as a parent and a child" if resolution.model.household else "namesakes"
    return [
        f"{found.height:,} pairs could be one person or {same}: in review, not joined (a larger decision.false_pairs "
        "or a lower decision.accept_weight of the --rules file accepts them)"
    ]


def _id_columns(mapping: PeopleMapping) -> list[str]:
    return ["source", "unique_id"] if mapping.source else ["unique_id"]
