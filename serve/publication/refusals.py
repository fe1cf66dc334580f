"""What people refuse now, beside the publication: a refusal holds from the run that lands it, whatever became of gold.

A publication is made of gold, whose editions have a date and may fail; consent has neither. So refusals are a small
store of their own, ``<state>/refusals``, written by every run that changes them, also one that fails later, and never
put back with an earlier publication. Only a no takes effect at once: a later yes counts with the next profile.

    kind     key                     document
    refused  person_id or SYSTEM/id  purposes

Both keys, since the publication in service may know the person by an id of before.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from itertools import islice
from pathlib import Path
from typing import Any
from zlib import crc32

import polars as pl

from customer360.pipelines.denied import denied, restrictions_digest
from customer360.pipelines.gold.customers.consent import CONTACTS, DERIVED, PURPOSES
from customer360.platform import online, purposes
from customer360.platform.lake import Lake
from customer360.platform.online import NotPublished, OnlineStore, Unsound, View
from customer360.platform.privacy import unfinished_erasures
from customer360.platform.restrictions import restrictions

ANSWERS, IDENTITIES = "silver.consent_intervals", "silver.identities"
RESTRICTED = "rights"  # what requests restrict, beside the versions of tables
REFUSALS = {**PURPOSES, **DERIVED, "may_sell": "SALE"}  # purpose by the column that tells whether it is allowed
FOLDER, KIND = "refusals", "refused"
PATIENCE_SECONDS = 60.0  # for others who write refusals, which takes seconds at most
_NO_DATE = date.min  # refusals have no edition


def publish_refusals(lake: Lake, state: Path) -> None:
    """Write what is refused in the lake as it is, unless it stands there already. What others have noted while this
    waited for them to write is in it."""
    home = state / FOLDER
    if not lake.exists(ANSWERS) and not restrictions(lake) and not home.is_dir():
        return
    online.renew(
        home, lambda: _sources(lake), lambda: [_documents(lake)], as_of=_NO_DATE, wait_seconds=PATIENCE_SECONDS
    )


def _sources(lake: Lake) -> dict[str, int]:
    """What the documents are made of: versions of tables, and a number of what requests restrict."""
    made_of = (ANSWERS, IDENTITIES, purposes.DENIALS)
    with lake.at_one_look(made_of):
        versions = {name: lake.version(name) for name in made_of if lake.exists(name)}
    if restrictions(lake):
        versions[RESTRICTED] = crc32(restrictions_digest(lake).encode())
    return versions


def _documents(lake: Lake) -> pl.DataFrame:
    no = denied(lake)
    leaving = [person for who in unfinished_erasures(lake).values() for person in who.persons]
    no = no.filter(~pl.col("person_id").is_in(leaving))
    refused = no.group_by("person_id").agg(purposes=pl.col("purpose").unique().sort())
    keyed = [refused.rename({"person_id": "key"})]
    if lake.exists(IDENTITIES):
        accounts = lake.scan(IDENTITIES).select("person_id", key="record_id").collect()
        keyed.append(accounts.join(refused, on="person_id").select("key", "purposes"))
    return pl.concat(keyed, how="diagonal").select(
        kind=pl.lit(KIND), key="key", document=pl.struct("purposes").struct.json_encode()
    )


def forget_refusals(state: Path, keys: Iterable[str]) -> None:
    """Take the ids and accounts of a person out, for an erasure."""
    try:
        online.forget(state / FOLDER, [(KIND, key) for key in keys], PATIENCE_SECONDS)
    except NotPublished:
        return


class Refusals:
    """Reader for an application. ``fault`` says why refusals cannot be told, or come from the store of before."""

    def __init__(self, state: Path, poll_seconds: float = online.POLL_SECONDS) -> None:
        self.store = OnlineStore(state / FOLDER, poll_seconds)

    @property
    def fault(self) -> str | None:
        """None as well where nothing was ever written: the profiles alone tell then."""
        self.view()
        return f"refusals: {self.store.fault}" if self.store.fault else None

    def view(self) -> View | None:
        """None where there is none, or none that is sound: ``fault`` tells which."""
        try:
            return self.store.view()
        except NotPublished:
            return None

    def of(self, person: Mapping[str, Any]) -> frozenset[str]:
        """Purposes that a person (a document of kind person) refuses now; in doubt all."""
        return self.of_all([person])[0]

    def of_all(self, people: Sequence[Mapping[str, Any]]) -> list[frozenset[str]]:
        """The same of several persons, read at once."""
        view = self.view()
        if view is None:
            return [frozenset(purposes.PURPOSES) if self.store.fault else frozenset()] * len(people)
        keys = [[person["profile"]["person_id"], *person["accounts"]] for person in people]
        try:
            found = iter(view.mget(KIND, [key for mine in keys for key in mine]))
        except Unsound:
            return [frozenset(purposes.PURPOSES)] * len(people)
        answers = [[document for document in islice(found, len(mine)) if document] for mine in keys]
        return [frozenset(purpose for document in mine for purpose in document["purposes"]) for mine in answers]


def without_refused(person: dict[str, Any], refused: frozenset[str]) -> dict[str, Any]:
    """The document of a person with what it refuses now no longer allowed."""
    if not refused:
        return person
    # Marketing chooses whom it contacts: who refuses to be treated individually is contacted over no channel.
    taken = {*refused, *(CONTACTS.values() if "PERSONALIZATION" in refused else ())}
    no = {column: False for column, purpose in REFUSALS.items() if purpose in taken}
    return person | {"profile": person["profile"] | no}
