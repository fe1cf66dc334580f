"""What a lake's persons would be if everything were resolved anew, and how far they are from it."""

from __future__ import annotations

from customer360.models.identity import registry
from customer360.models.identity.batch import pins
from customer360.models.identity.batch.incremental import resolve_batch
from customer360.models.identity.batch.state import State
from customer360.models.identity.evaluate import pairwise
from customer360.models.identity.organisations.among_customers import customers
from customer360.models.identity.registry import decisions
from customer360.models.identity.rules import IdentityRules
from customer360.platform.lake import Lake


def drift(lake: Lake, rules: IdentityRules) -> dict[str, float]:
    """Of persons; organisations are resolved anew whenever one changes. `drift`: 1 - F1 over pairs of records between
    the registry and a rebuild with pins measured anew; `pinned`: the same with the pins that stand, which is 0 unless
    something is broken. Reads only."""
    stored = registry.load(lake, rules.ids.seed)
    records = customers(lake.scan("silver.customer_records").collect(), rules).people
    links = decisions.links_of(
        decisions.decisions(lake), stored.names.join(records.select("record_id"), on="record_id", how="semi")
    )
    found = {"records": float(records.height)}
    standing = pins.read(lake)
    measured = {"drift": pins.pinned(records, rules)}
    if standing is not None:
        measured["pinned"] = standing, pins.evidence(records, standing, rules)
    for name, (held, evidence) in measured.items():
        numbered = evidence.join(stored.names, on="record_id")
        made = resolve_batch(State.empty(evidence), numbered, [], held, rules, links)
        both = made.clusters.join(stored.registry.members, on="record")
        agreement = pairwise(both, found="person", true="cluster")
        found[name] = 1.0 - agreement.f1
    return found
