"""Golden records of a run: made anew for the persons whose records, attributes or decisions changed; those of all
others stand in the lake.

A record's version says all that its person's golden record, and every other row about it, is made of: the record, the
pins by which it is read, the rules and this code. A person with the same records in the same versions has the same
golden record.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import polars as pl

from customer360.models.identity.batch.touched import VERSION, Touched
from customer360.models.identity.golden import golden_and_losing
from customer360.models.identity.organisations.mentions import is_mention
from customer360.models.identity.rules import IdentityRules
from customer360.platform import graph
from customer360.platform.run.planning import plain


@dataclass(frozen=True)
class Renewed:
    """Of the persons that were made anew: `people` and `losers` as `golden_and_losing` gives them."""

    people: pl.DataFrame
    losers: pl.DataFrame


def renewed(records: pl.DataFrame, touched: Touched, rules: IdentityRules, overrides: pl.DataFrame) -> Renewed:
    """Golden records of `touched.renewed`. `records`: theirs at least, with their standardized forms; `overrides`: what
    stewards set."""
    mine = touched.accounts.filter(~is_mention() & pl.col("person_id").is_in(touched.renewed.implode()))
    assigned = mine.select("record_id", "person_id")
    return Renewed(*golden_and_losing(records, assigned, rules, overrides))


def record_versions(marks: pl.Series, made_of: str) -> pl.Series:
    """`record_version` of records with these marks (another one whenever a record is another), made of all this."""
    seed = int(hashlib.sha256(made_of.encode()).hexdigest()[:15], 16)
    return marks.to_frame().hash_rows(seed=seed).reinterpret(signed=True).alias(VERSION)


def made_of(producer: Callable[..., Any], contracts: tuple[Any, ...], rules: IdentityRules, *more: object) -> str:
    """What else than records decides the rows of a producer: its code and contracts, the rules, and `more`."""
    code = graph.code_fingerprint(producer, contracts)
    return json.dumps([code, pl.__version__, plain(rules.model_dump()), list(map(str, more))], sort_keys=True)
