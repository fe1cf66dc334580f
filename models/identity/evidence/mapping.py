"""Any file of people as customer records: which of its columns hold what, stated by a mapping.

A mapping names the column of the ids, optionally that of the source, and per attribute the column, or several whose
values are joined by a space (`address_line_1: [street_number, street_name]`). Values are taken as text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping as Dict
from pathlib import PurePath
from typing import Literal, get_args

import polars as pl
from pydantic import BaseModel, ConfigDict, Field, field_validator

from customer360.models.identity.evidence.dates import iso_dates
from customer360.models.identity.rules import IdentityRules
from customer360.platform import telemetry
from customer360.platform.errors import ConfigError
from customer360.platform.sources.values import iso

Attribute = Literal[
    "first_name", "last_name", "full_name", "email_address", "phone_number", "date_of_birth", "gender",
    "address_line_1", "city", "state_code", "zip_code", "country_code",
    "organisation_name", "website", "entity_type",
]  # fmt: skip
ATTRIBUTES: tuple[str, ...] = get_args(Attribute)
FILE_AS_SOURCE = "@file"
ROW_AS_ID = "@row"
# Both letters that a column of genders holds -> what they mean: hombre and mujer, erkek and kadın, 1 and 2 of ISO 5218.
_OTHER_LETTERS = {"hm": {"h": "m", "m": "f"}, "ek": {"e": "m", "k": "f"}, "12": {"1": "m", "2": "f"}}
# Where they stand for the country: férfi and nő, mies and nainen. Elsewhere n is mostly a gender that nobody stated.
_LETTERS_OF = {"HU": {"fn": {"f": "m", "n": "f"}}, "FI": {"mn": {"m": "m", "n": "f"}}}
# What may stand beside them and says no gender.
_NO_GENDER = frozenset(
    {"0", "9", "d", "n", "o", "s", "u", "x", "-", "?", "na", "n/a", "nan", "none", "null", "unknown", "other"}
)


class PeopleMapping(BaseModel):
    """`columns`: attribute -> column(s). `identifiers`: columns that hold a person's own number (tax, loyalty card).
    `unique_id`: a column, or "@row" for the number of each row, the first below the header being 1. `source`: a column,
    or "@file" for the name of each file. `country`: ISO 3166 alpha-2 code where no column says. `encoding`: that of
    text files which are neither UTF-8 nor UTF-16 nor Windows-1252.
    `entity`: what all records are, `site` a place of an organisation such as a branch; without it each record's
    `entity_type` says so, or else its names."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    unique_id: str
    source: str | None = None
    columns: dict[Attribute, tuple[str, ...]] = Field(min_length=1)
    identifiers: tuple[str, ...] = ()
    country: str | None = Field(default=None, pattern=r"^[A-Za-z]{2}$")
    encoding: str = "auto"
    entity: Literal["person", "organisation", "site"] | None = None

    @field_validator("entity", mode="before")
    @classmethod
    def _either_spelling(cls, value: object) -> object:
        return "organisation" if value == "organization" else value

    @field_validator("identifiers", mode="before")
    @classmethod
    def _one_or_several_numbers(cls, value: object) -> object:
        return (value,) if isinstance(value, str) else value

    @field_validator("columns", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        if not isinstance(value, dict):
            return value
        return {name: (columns,) if isinstance(columns, str) else columns for name, columns in value.items()}

    @property
    def numbers(self) -> dict[str, str]:
        """Column of an identifier -> its name here, of letters, digits and underscores: conditions in SQL name it."""
        made: dict[str, str] = {}
        for column in self.identifiers:
            name = re.sub(r"\W+", "_", column.strip())
            made[column] = f"{name}_{len(made)}" if name in made.values() else name
        return made

    def applied_to(self, rules: IdentityRules) -> IdentityRules:
        """`rules` with this file's identifiers and country."""
        blocking = rules.blocking.model_copy(update={"identifiers": tuple(self.numbers.values())})
        country = {"default_country": self.country.upper()} if self.country else {}
        standardization = rules.standardization.model_copy(update=country)
        return rules.model_copy(update={"blocking": blocking, "standardization": standardization})


def people_records(files: Dict[str, pl.DataFrame], mapping: PeopleMapping) -> pl.DataFrame:
    """Customer records of `files` (name -> rows): record_id, unique_id, source (null where the mapping has none), the
    mapped attributes and identifiers as trimmed text, empty as null. Dates are read per file, since each has its own
    order of day and month.

    `record_id` is unique over all files: source and id where there is a source. Raises ConfigError when a mapped
    column is in no file, or ids are missing or repeated.
    """
    _check_columns(files, mapping)
    records = pl.concat([_records(PurePath(name), frame, mapping) for name, frame in files.items()])
    if empty := records["unique_id"].null_count():
        raise ConfigError(
            f"column {mapping.unique_id!r} is empty in {empty} of {records.height} rows; ids must be given"
        )
    of_source = [pl.col("source").fill_null(""), "unique_id"] if mapping.source else ["unique_id"]
    records = records.with_columns(record_id=pl.concat_str(*of_source, separator="/"))
    repeated = records.filter(pl.col("record_id").is_duplicated())
    if repeated.height:
        shown = ", ".join(repeated["record_id"].unique(maintain_order=True).head(3).to_list())
        advice = (
            "ids must be unique within a source"
            if mapping.source
            else 'if each file numbers its own people, add `source: "@file"` (or `source: COLUMN`) to the mapping; '
            'where rows have no id of their own, `unique_id: "@row"` numbers them'
        )
        raise ConfigError(
            f"column {mapping.unique_id!r}: {repeated.height} rows share their id with another ({shown}, …); {advice}"
        )
    return records.select("record_id", pl.exclude("record_id"))


def _check_columns(files: Dict[str, pl.DataFrame], mapping: PeopleMapping) -> None:
    present = {name.strip() for frame in files.values() for name in frame.columns}
    given = () if mapping.unique_id == ROW_AS_ID else (mapping.unique_id,)
    wanted = {*given, *mapping.identifiers, *(c for columns in mapping.columns.values() for c in columns)}
    wanted |= {mapping.source} if mapping.source and mapping.source != FILE_AS_SOURCE else set()
    if absent := sorted(wanted - present):
        raise ConfigError(f"the mapping names columns that no file has: {absent}; the files have {sorted(present)}")
    for name, frame in files.items():
        if not set(given) <= {column.strip() for column in frame.columns}:
            raise ConfigError(f"{name} has no column {mapping.unique_id!r}; it has {frame.columns}")


def _records(file: PurePath, frame: pl.DataFrame, mapping: PeopleMapping) -> pl.DataFrame:
    frame = frame.rename({name: name.strip() for name in frame.columns})
    source = (
        pl.lit(file.stem)
        if mapping.source == FILE_AS_SOURCE
        else _text(frame, (mapping.source,))
        if mapping.source
        else pl.lit(None, pl.String)
    )
    records = frame.select(
        _ids(frame, mapping).alias("unique_id"),
        source.alias("source"),
        *(_text(frame, mapping.columns[name]).alias(name) for name in ATTRIBUTES if name in mapping.columns),
        *(_text(frame, (of,)).alias(name) for of, name in mapping.numbers.items() if name not in mapping.columns),
    )
    if "country_code" not in records.columns and mapping.country:
        records = records.with_columns(country_code=pl.lit(mapping.country.upper()))
    if mapping.entity:
        records = records.with_columns(entity_type=pl.lit(mapping.entity))
    if "date_of_birth" in records.columns:
        american = "country_code" in records.columns and bool(
            (records["country_code"].str.to_uppercase() == "US").any()
        )
        dates = iso_dates(records["date_of_birth"], month_first=american)
        _tell_unread(records["date_of_birth"], dates, file.name, ", ".join(mapping.columns["date_of_birth"]))
        records = records.with_columns(dates)
    if "gender" in records.columns:
        records = records.with_columns(_genders(records["gender"], _country(records)))
    return records


def _ids(frame: pl.DataFrame, mapping: PeopleMapping) -> pl.Expr:
    if mapping.unique_id == ROW_AS_ID:
        return pl.int_range(1, pl.len() + 1).cast(pl.String)
    return _text(frame, (mapping.unique_id,))


def _tell_unread(written: pl.Series, dates: pl.Series, file: str, column: str) -> None:
    """Say how many birth dates say nothing because they cannot be read, and where the first stands."""
    unread = written.is_not_null() & dates.is_null()
    if count := int(unread.sum()):
        telemetry.log.warning(
            f"{file}, column {column!r}: {count:,} of {written.count():,} values are no dates that can be read, the "
            f"first in row {int(unread.arg_max() or 0) + 1:,}; they say nothing"
        )


def _country(records: pl.DataFrame) -> str | None:
    """The country of all records, where they have one in common."""
    if "country_code" not in records.columns:
        return None
    countries = records["country_code"].drop_nulls().str.to_uppercase().replace(iso.alpha_2()).unique()
    return str(countries[0]) if len(countries) == 1 else None


def _genders(values: pl.Series, country: str | None) -> pl.Series:
    """The values, m and f where a letter of theirs means the other gender beside its fellow."""
    letters = values.str.to_lowercase()
    held = frozenset(letters.drop_nulls().unique())
    for both, meant in (_OTHER_LETTERS | _LETTERS_OF.get(country or "", {})).items():
        if held >= set(both) and held - set(both) <= _NO_GENDER:
            return letters.replace(meant)
    return values


def _text(frame: pl.DataFrame, columns: tuple[str, ...]) -> pl.Expr:
    parts = [pl.col(name).cast(pl.String).str.strip_chars() for name in columns if name in frame.columns]
    if not parts:
        return pl.lit(None, pl.String)
    joined = pl.concat_str(*(pl.when(part != "").then(part) for part in parts), separator=" ", ignore_nulls=True)
    return pl.when(joined != "").then(joined)
