"""What a run knows of each customer record before it compares any: what it is of, and its evidence under pins that hold
from run to run. Both depend on the record alone, so they are kept, and made only of records that are new or changed."""

from __future__ import annotations

import hashlib
import json

import polars as pl

from customer360.models.identity.batch import kept
from customer360.models.identity.batch import pins as pinned
from customer360.models.identity.batch.incremental import resolve_batch
from customer360.models.identity.batch.pins import Pins
from customer360.models.identity.organisations.among_customers import Customers, customers
from customer360.models.identity.organisations.telling import NAME
from customer360.models.identity.rules import IdentityRules
from customer360.models.identity.weighing.doubts import tell
from customer360.platform import graph
from customer360.platform.lake import Lake
from customer360.platform.run.planning import plain


def prepared(lake: Lake, records: pl.DataFrame, rules: IdentityRules) -> tuple[Customers, Pins, pl.DataFrame]:
    """What customers are; the pins of the lake while they serve, else new ones, measured on these people; and the
    evidence of people under them. What a record is of is told anew only where the record is another."""
    basis, held = _basis(rules), pinned.read(lake)
    if held is None or held.basis != basis:
        found = customers(records, rules)
        return found, *_measured(lake, records, found, rules, basis)
    known = kept.known(lake, records, held, _told_by(rules))
    found = customers(records, rules, known.is_kept & records[NAME].is_null())
    if not held.fits(found.people.height, basis, rules):
        return found, *_measured(lake, records, found, rules, basis)
    known = known.without(found.accounts["record_id"])
    return found, held, kept.evidence(lake, found.people, held, rules, known)


def _basis(rules: IdentityRules) -> str:
    """Names the rules and code by which pins are measured."""
    judged = rules.model_dump(include={"standardization", "blocking", "training", "decision", "stitching"})
    text = graph.code_fingerprint(resolve_batch, []) + json.dumps(plain(judged), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _told_by(rules: IdentityRules) -> str:
    """Names the rules and code by which it is told what a record is of."""
    return graph.code_fingerprint(customers, []) + json.dumps(plain(rules.standardization.model_dump()), sort_keys=True)


def _measured(
    lake: Lake, records: pl.DataFrame, found: Customers, rules: IdentityRules, basis: str
) -> tuple[Pins, pl.DataFrame]:
    """Pins measured on the people among these records, and their evidence; both are kept."""
    made, evidence = pinned.pinned(found.people, rules, basis)
    pinned.write(lake, made)
    tell(made.model)
    known = kept.known(lake, records, made, _told_by(rules)).without(found.accounts["record_id"])
    return made, kept.keep(lake, found.people, made, evidence, known)
