"""What a publication differs by from the one in service, found in the files of tables that are others since.

A generation tells the files that it was made of. A table of people is read where its files are others, as it was and as
it is; documents are made for those whose rows differ, and for who is published since, or no longer. What is made for
all is made anew where a file of its tables is another.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from dataclasses import astuple, dataclass
from functools import cached_property
from typing import Any

import polars as pl

from customer360.models.identity.registry import former_records
from customer360.platform import tables
from customer360.platform.lake import File, Lake
from customer360.platform.online import Change, TooMuch
from customer360.platform.privacy import DONE
from customer360.serve.publication.differing import differing
from customer360.serve.publication.documents import (
    BY_PERSON,
    FOR_ALL,
    OWNERS,
    ByPerson,
    accounts_documents,
    accounts_of,
    former_documents,
    people_of,
    since_of,
)
from customer360.serve.publication.inputs import IDENTITIES, PROFILES, PUBLISHED, Inputs, by_bucket, rows_of

SHARE = 0.25  # of people whose profiles differ, from which all documents are made
FEW = 1_000  # for whom documents are made in any case
_NOBODY = pl.Series("person_id", [], dtype=pl.String)


def made_of(inputs: Inputs) -> str:
    """What a generation notes of its inputs, so that the next one may be made of what differs; no files while somebody
    is being erased, who is left out of what there is."""
    noted: dict[str, Any] = {"erasures": _ended(inputs.lake)}
    if not accounts_of(inputs)[1]:
        files = {name: [astuple(file) for file in inputs.current(name)] for name in PUBLISHED}
        noted |= {"columns": _columns(inputs), "files": files}
    return json.dumps(noted)


def has_erased(told: str | None, lake: Lake) -> bool:
    """Whether an erasure ended since a generation told what it was made of, of whichever installation: this one and
    those before it may hold who was erased."""
    try:
        return bool(json.loads(told or "")["erasures"] != _ended(lake))
    except (ValueError, TypeError, KeyError):  # of another version of the library
        return False


def _ended(lake: Lake) -> int:
    return len(lake.objects(DONE))


def _columns(inputs: Inputs) -> dict[str, list[list[str]]]:
    """Columns of the tables and their types: a document of a row has them all, empty ones, too, and a newer version of
    the library may have others."""
    held = ((name, tables.by_name(name)) for name in PUBLISHED if inputs.has(name))
    return {name: [[c, str(kind)] for c, kind in tables.schema(table).items()] for name, table in held}


@dataclass(frozen=True)
class Since:
    """The inputs of the generation in service, and those of the next."""

    before: dict[str, list[File]]
    now: Inputs

    @property
    def lake(self) -> Lake:
        return self.now.lake

    def is_other(self, name: str) -> bool:
        return {f.path for f in self.before[name]} != {f.path for f in self.now.current(name)}

    def buckets(self, name: str) -> Iterator[tuple[list[File], list[File]]]:
        """Files of each bucket of a table, as they were and as they are."""
        old, new = by_bucket(self.before[name]), by_bucket(self.now.current(name))
        for bucket in sorted(old.keys() | new.keys()):
            yield old.get(bucket, []), new.get(bucket, [])

    def differing(self, name: str) -> list[pl.Series]:
        """Persons whose rows of a table differ, bucket by bucket."""
        if name not in self._differing:
            self._differing[name] = [self._differing_of(name, old, new) for old, new in self.buckets(name)]
        return self._differing[name]

    @cached_property
    def _differing(self) -> dict[str, list[pl.Series]]:
        return {}

    def _differing_of(self, name: str, old: list[File], new: list[File]) -> pl.Series:
        if since_of(old) != since_of(new):  # nobody's lists are asked alike what was bought since
            rows = [rows_of(self.lake, name, files).select("person_id").collect() for files in (old, new)]
            return _union(*(each["person_id"] for each in rows))
        kept = {f.path for f in old} & {f.path for f in new}
        went, came = ([f for f in files if f.path not in kept] for files in (old, new))
        if not went and not came:
            return _NOBODY
        before, after = (rows_of(self.lake, name, files).collect() for files in (went, came))
        return differing(before, after, "person_id")


def since(told: str | None, now: Inputs) -> Since | None:
    """What there was, as a generation told it; None where all documents are to be made."""
    try:
        noted = json.loads(told or "")
        before = {name: [File(*file) for file in noted["files"][name]] for name in PUBLISHED}
        erasures, columns = noted["erasures"], noted["columns"]
    except (ValueError, TypeError, KeyError):  # not told, or by another version of the library
        return None
    if erasures != _ended(now.lake) or not (before[PROFILES] and before[IDENTITIES]):
        return None
    if any(columns.get(name, own) != own for name, own in _columns(now).items()):
        return None
    if since_of(before[PROFILES]) != since_of(now.current(PROFILES)) or not now.has(IDENTITIES):
        return None
    for name, files in before.items():  # what was read then is to be read again, unless it is there still
        stays = {f.path for f in now.current(name)}
        if not now.lake.holds(name, [f for f in files if f.path not in stays]):
            return None
    return Since(before, now)


def changes(stands: Since) -> Iterator[Change]:
    """What differs in documents.

    Raises:
        TooMuch: all are to be made.
    """
    now = stands.now
    accounts, leaving = accounts_of(now)
    if accounts is None or leaving:
        raise TooMuch("somebody is being erased")
    before = accounts
    if stands.is_other(IDENTITIES):
        before = stands.lake.scan(IDENTITIES, stands.before[IDENTITIES]).select(OWNERS).collect()
    todo = yield from _people(stands, before, accounts)
    theirs = [each.filter(_among(todo))["record_id"] for each in (before, accounts)]
    yield Change(touched=pl.concat([_places("person", todo), _places("account", pl.concat(theirs).unique())]))
    known = was_known = _known(stands.lake, now.current(PROFILES), accounts)
    if len(todo):
        was_known = _known(stands.lake, stands.before[PROFILES], before)
    yield Change(former_documents(former_records(stands.lake), accounts, known), kinds=("former",))
    turns = [one.join(other, on="person_id", how="anti") for one, other in ((known, was_known), (was_known, known))]
    came_or_went = pl.concat(turns)["person_id"]
    for each in BY_PERSON:
        yield from _by_person(stands, each, known, came_or_went)
    for all_of in FOR_ALL:
        if any(map(stands.is_other, all_of.tables)):
            yield from (Change(frame) for frame in all_of.make(now))
            yield Change(kinds=all_of.kinds)


def _people(stands: Since, before: pl.DataFrame, accounts: pl.DataFrame) -> Generator[Change, None, pl.Series]:
    """Documents of persons whose profiles or accounts differ, who came, and of their accounts; returns whom it looked
    at, and who went."""
    others = [a.join(b, on=OWNERS, how="anti") for a, b in ((accounts, before), (before, accounts)) if a is not b]
    owners = _union(*(each["person_id"] for each in others))
    differing = stands.differing(PROFILES)
    todo = _union(owners, *differing)
    if len(todo) > max(FEW, SHARE * len(accounts)):
        raise TooMuch(f"{len(todo):,} profiles differ")
    for (_, files), own in zip(stands.buckets(PROFILES), differing, strict=True):
        mine = _union(owners, own)
        if len(mine) and files:
            profiles = rows_of(stands.lake, PROFILES, files).filter(_among(mine)).collect()
            owned = accounts.join(profiles, on="person_id", how="semi")
            yield Change(people_of(profiles, owned))
            yield Change(accounts_documents(owned))
    return todo


def _by_person(stands: Since, each: ByPerson, known: pl.DataFrame, came_or_went: pl.Series) -> Iterator[Change]:
    beside = stands.differing(each.beside) if each.beside else []
    everywhere = _union(came_or_went, *beside)
    for (_, files), own in zip(stands.buckets(each.table), stands.differing(each.table), strict=True):
        todo = _union(everywhere, own)
        if len(todo) and files:
            rows = rows_of(stands.lake, each.table, files).filter(_among(todo)).collect()
            yield Change(each.make(rows.join(known, on="person_id", how="semi"), stands.now, since_of(files)))
        yield Change(touched=_places(each.kind, own))
    yield Change(touched=_places(each.kind, everywhere))


def _known(lake: Lake, profiles: list[File], accounts: pl.DataFrame) -> pl.DataFrame:
    """Who is published: who has a profile and an account."""
    people = lake.scan(PROFILES, profiles).select("person_id").collect()
    return people.join(accounts, on="person_id", how="semi")


def _union(*persons: pl.Series) -> pl.Series:
    return pl.concat([_NOBODY, *persons]).drop_nulls().unique()


def _among(persons: pl.Series) -> pl.Expr:
    return pl.col("person_id").is_in(persons.implode())


def _places(kind: str, keys: pl.Series) -> pl.DataFrame:
    return pl.DataFrame({"key": keys}, schema={"key": pl.String}).select(kind=pl.lit(kind), key="key")
