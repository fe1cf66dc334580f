"""Whose rows of the tables of identity a run makes anew: by what `silver.identities` says of each record.

A row holds while its record is the same person's, and has the versions that it had: of its evidence, and of all that
anything else is made of. Versions lie with the identities, which are committed last. What a run that died left in other
tables is told by their transactions, and then all rows are made anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from customer360.models.identity.batch.standing import VERSIONED, are_of_one_run, numbers_of
from customer360.models.identity.organisations.mentions import MENTION, is_mention
from customer360.models.identity.registry.core import holders
from customer360.models.identity.registry.ids import person_ids, person_numbers
from customer360.models.identity.registry.store import Stored
from customer360.platform.lake import File, Lake

IDENTITIES = "silver.identities"
_CONTACTS = "silver.organisation_contacts"
VERSION = "record_version"
_READ = ("record_id", "person_id", "entity_type", VERSIONED, VERSION)
_NOBODY = -1


@dataclass(frozen=True)
class Before:
    """`files` of `silver.identities`, and its `rows` as they lie: record (null: without a number), record_id,
    person_id and its number person (null: none of ours), entity_type, evidence_version, record_version."""

    files: list[File]
    rows: pl.DataFrame


@dataclass(frozen=True)
class Touched:
    """`accounts`: (record, record_id, person_id), in order of their ids, mentions among them, of the persons of whom
    rows are made anew; `renewed`: ids of those of them of whom all is. `left`: ids whose golden records do not hold.
    `gone`: places of rows of `silver.identities` that go, and `gone_ids`, their records. `before`: None where everybody
    is touched."""

    before: Before | None
    accounts: pl.DataFrame
    renewed: pl.Series
    left: pl.Series
    gone: pl.Series
    gone_ids: pl.Series


def before(lake: Lake, stored: Stored, outputs: Sequence[str], versions: pl.DataFrame) -> Before | None:
    """What stands; None where nothing of it can be kept: no tables, not all of one run, or none of the `versions`
    (record, record_version) of now."""
    if not are_of_one_run(lake, outputs):
        return None
    files = lake.files(IDENTITIES)
    rows = lake.scan(IDENTITIES, files).select(list(_READ)).collect()
    names, number = stored.names, numbers_of(rows["record_id"], stored.names).alias("record")
    rows = rows.with_columns(number, person_numbers(rows["person_id"], stored.seed).alias("person"))
    now = _by_number(names, versions["record"], versions[VERSION])
    was = number.fill_null(_NOBODY).to_numpy()
    holds = pl.Series(now[was]) == rows[VERSION]
    return Before(files, rows) if holds.any() else None


def astray(lake: Lake, stored: Stored, stands: Before | None) -> pl.Series:
    """Numbers of the records of all persons, and organisations, that hold others by the registry than by the tables: by
    what a run that died had found, or a steward has decided since."""
    both = (IDENTITIES, _CONTACTS)
    if not all(map(lake.exists, both)):
        return pl.Series("record", [], pl.Int64)
    rows = None if stands is None else stands.rows.select("record", "person")
    if rows is None:
        held = lake.scan(IDENTITIES).select("record_id", "person_id").collect()
        number = numbers_of(held["record_id"], stored.names).alias("record")
        rows = pl.DataFrame([number, person_numbers(held["person_id"], stored.seed).alias("person")])
    contacts = lake.scan(_CONTACTS).select(pl.col("record_id") + MENTION, "organisation_id").collect()
    contacts = contacts.with_columns(person_numbers(contacts["organisation_id"], stored.seed).alias("person"))
    mentions = stored.names.filter(is_mention()).join(contacts, on="record_id").select("record", "person")
    rows = pl.concat([rows.drop_nulls("record"), mentions])
    members = stored.registry.members
    person = _by_number(stored.names, members["record"], members["person"])
    now = pl.Series(person[rows["record"].to_numpy()])
    other = rows.filter((now == _NOBODY) | now.ne_missing(rows["person"]))
    has = np.zeros(len(person), dtype=bool)
    has[rows["record"].to_numpy()] = True
    lacking = members.filter(pl.Series(~has[members["record"].to_numpy()]))
    if other.is_empty() and lacking.is_empty():
        return pl.Series("record", [], pl.Int64)
    persons = pl.concat([pl.Series("person", person[other["record"].to_numpy()]), lacking["person"]]).unique()
    return pl.concat(
        [
            members.filter(pl.col("person").is_in(persons.implode()))["record"],
            rows.filter(pl.col("person").is_in(other["person"].unique().implode(), nulls_equal=True))["record"],
        ]
    ).unique()


def touched(
    stands: Before | None, stored: Stored, versions: pl.DataFrame, clustered: pl.Series, renewing: pl.Series
) -> Touched:
    """`versions`: (record, evidence_version, record_version) of all accounts; `clustered`: numbers of records that were
    grouped anew; `renewing`: numbers of persons of whom all is made anew in any case."""
    members, nothing = stored.registry.members, pl.Series("place", [], pl.Int64)
    none = pl.Series("record_id", [], pl.String)
    if stands is None:
        accounts = _named(stored, members)
        ids = accounts["person_id"].unique()
        return Touched(None, accounts, ids, none, nothing, none)
    rows, person = stands.rows, _by_number(stored.names, members["record"], members["person"])
    was = rows["record"].fill_null(_NOBODY).to_numpy()
    is_same = _holds(rows, was, stored, versions, person)
    stays = np.zeros(len(person), dtype=bool)
    stays[was[is_same]] = True
    mentions = stored.names.filter(is_mention())["record"].to_numpy()
    stays[mentions] = True
    records = members["record"].to_numpy()
    left = rows["person_id"].filter(pl.Series(~is_same)).unique()
    parted = person_numbers(left, stored.seed).drop_nulls().to_numpy()
    whole = np.zeros(stored.registry.next_person + 1, dtype=bool)
    for persons in (person[records[~stays[records]]], parted[parted < stored.registry.next_person], renewing):
        whole[persons] = True
    some = whole.copy()
    some[person[clustered.to_numpy()]] = True
    whole[_NOBODY] = some[_NOBODY] = False
    goes = ~is_same | some[person[was]]
    accounts = _named(stored, members.filter(pl.Series(some[members["person"].to_numpy()])))
    anew = person_ids(pl.Series("person_id", np.flatnonzero(whole)), stored.seed)
    gone = pl.Series("place", np.flatnonzero(goes))
    return Touched(stands, accounts, anew, pl.concat([left, anew]).unique(), gone, rows["record_id"].gather(gone))


def assigned(stored: Stored, ids: pl.Series) -> pl.DataFrame:
    """(record_id, person_id) of those of some records that somebody holds."""
    named = stored.names.filter(stored.names["record_id"].is_in(ids.implode()))
    held = named.with_columns(holders(stored.registry.members, named["record"])).drop_nulls("person")
    return held.select("record_id", person_ids(held["person"], stored.seed).alias("person_id")).sort("record_id")


def _holds(
    rows: pl.DataFrame, was: np.ndarray, stored: Stored, versions: pl.DataFrame, person: np.ndarray
) -> np.ndarray:
    """Whether each of the rows says what it would say now."""
    same = pl.Series(person[was] != _NOBODY) & rows["record"].is_not_null()
    for name in (VERSIONED, VERSION):
        now = _by_number(stored.names, versions["record"], versions[name])
        same &= (pl.Series(now[was]) == rows[name]).fill_null(False)
    held = (pl.Series(person[was]) == rows["person"]).fill_null(False)
    has = np.zeros(len(person), dtype=bool)
    has[versions["record"].to_numpy()] = True
    return (same & held & pl.Series(has[was])).to_numpy()


def _named(stored: Stored, members: pl.DataFrame) -> pl.DataFrame:
    """(record, record_id, person_id) of members (record, person), in order of their record ids."""
    rows = stored.names.filter(stored.names["record"].is_in(members["record"].implode()))
    named = rows.join(members, on="record")
    ids = person_ids(named["person"], stored.seed).alias("person_id")
    return named.select("record", "record_id", ids).sort("record_id")


def _by_number(names: pl.DataFrame, records: pl.Series, values: pl.Series) -> np.ndarray:
    """The value of each record by its number, -1 of others, and at the end of the table."""
    table = np.full(int(names["record"].max() or 0) + 2, _NOBODY, dtype=np.int64)  # type: ignore[arg-type]
    table[records.to_numpy()] = values.to_numpy()
    return table
