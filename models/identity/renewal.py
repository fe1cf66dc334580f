"""Golden records of a run: made anew for the persons whose records, attributes or decisions changed, taken as they
stand in the lake for all others.

A record's version says all that its person's golden record reads of it, under these rules and this code; a person with
the same records in the same versions has the same golden record. Versions lie with the identities, which are written
after the golden records: a run that dies between them makes the same persons anew.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass

import polars as pl

from customer360.models.identity.golden import BY_STEWARD, golden, golden_and_losing
from customer360.models.identity.rules import IdentityRules
from customer360.platform import graph
from customer360.platform.lake import Lake
from customer360.platform.run.planning import plain

VERSION = "record_version"
_TABLES = ("silver.identities", "silver.people", "silver.golden_values")


@dataclass(frozen=True)
class Renewed:
    """`people` and `losers` as `golden_and_losing` gives them of everybody; `versions`: (record_id,
    record_version); `renewed`: how many persons were made anew."""

    people: pl.DataFrame
    losers: pl.DataFrame
    versions: pl.DataFrame
    renewed: int


def renewed(
    lake: Lake, records: pl.DataFrame, assigned: pl.DataFrame, rules: IdentityRules, overrides: pl.DataFrame
) -> Renewed:
    """Golden records of all of `assigned` (record_id, person_id). `records`: with their standardized forms;
    `overrides`: what stewards set."""
    versions = _versions(records, rules)
    if not all(map(lake.exists, _TABLES)):
        people, lost = golden_and_losing(records, assigned, rules, overrides)
        return Renewed(people, lost, versions, people.height)
    stored, losers = (lake.scan(name).collect() for name in _TABLES[1:])
    same = _unchanged(lake, assigned, versions, stored, overrides)
    anew = assigned.join(same, on="person_id", how="anti")
    mine = records.filter(pl.col("record_id").is_in(anew["record_id"].implode()))
    people, lost = golden_and_losing(mine, anew, rules, overrides)
    return Renewed(
        _with(stored, same, people, "person_id"),
        _with(losers, same, lost, "person_id", "attribute", "rank"),
        versions,
        people.height,
    )


def _versions(records: pl.DataFrame, rules: IdentityRules) -> pl.DataFrame:
    text = graph.code_fingerprint(golden, []) + json.dumps(plain(rules.survivorship.model_dump()), sort_keys=True)
    text += json.dumps([(name, str(kind)) for name, kind in records.schema.items()]) + pl.__version__
    seed = int(hashlib.sha256(text.encode()).hexdigest()[:15], 16)
    return records.select("record_id").with_columns(
        records.hash_rows(seed=seed).reinterpret(signed=True).alias(VERSION)
    )


def _unchanged(
    lake: Lake, assigned: pl.DataFrame, versions: pl.DataFrame, stored: pl.DataFrame, overrides: pl.DataFrame
) -> pl.DataFrame:
    """(person_id) of the persons whose golden record in the lake holds."""
    before = lake.scan("silver.identities").select("record_id", "person_id", VERSION).collect()
    now = assigned.select("record_id", "person_id").join(versions, on="record_id")
    # A version is null where an older release wrote it.
    known = before.filter(pl.col(VERSION).is_not_null())
    came = now.filter(~_marks(now).is_in(_marks(known).implode())).select("person_id")
    went = before.filter(~_marks(before).is_in(_marks(now).implode())).select("person_id")
    by_steward = stored.filter(pl.col("provenance").str.contains(f'"rule":"{BY_STEWARD}"', literal=True))
    changed = pl.concat([frame.select("person_id") for frame in (came, went, by_steward, overrides)]).unique()
    held = stored.select("person_id").join(changed, on="person_id", how="anti")
    return held.join(now, on="person_id", how="semi")


def _marks(rows: pl.DataFrame) -> pl.Series:
    return rows.hash_rows(seed=0)


def _with(stored: pl.DataFrame, same: pl.DataFrame, made: pl.DataFrame, *order: str) -> pl.DataFrame:
    """The stored rows of the persons that stayed the `same`, and those that were `made`, in order."""
    kept = stored.select(made.columns).filter(stored["person_id"].is_in(same["person_id"].implode()))
    return pl.concat([kept, made], how="vertical_relaxed").sort(order)
