"""A steward's work: decisions on who is one person, and the desk of the HTTP application that shows what to decide.

The lake is asked directly and not through the online store: a steward decides on what holds now. The registry is read
once and kept until its next commit. Who is being erased is nobody here from the first moment on, though the lake holds
the records until they are rewritten.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Any, Literal

import polars as pl

from customer360.models.identity import registry
from customer360.models.identity.batch import pins
from customer360.models.identity.organisations.mentions import account_of
from customer360.models.identity.registry import RegistryError, Stored, UnknownId, decisions, stewardship
from customer360.models.identity.registry.conflicts import conflicts
from customer360.models.identity.rules import Decision
from customer360.models.identity.verdicts.decide import ACCEPTED
from customer360.models.identity.verdicts.explain import Explanation, explain
from customer360.platform import privacy
from customer360.platform.lake import Lake
from customer360.platform.run import lake_of
from customer360.platform.settings import Settings
from customer360.serve.compose import compose, identity_rules

EDGES, RECORDS, COMMITS = "silver.identity_edges", "silver.customer_records", "silver.identity_commits"
SHOWN = (
    "record_id", "source_system", "first_name", "last_name", "organisation_name", "email_address", "phone_number",
    "date_of_birth", "gender", "address_line_1", "city", "state_code", "zip_code", "country_code", "loyalty_tier",
    "registered_on", "last_updated_at",
)  # fmt: skip

Row = dict[str, Any]
Operation = Literal["merge", "split", "move", "confirm", "reject", "override", "undo", "withdraw"]
OPERATIONS: dict[Operation, Callable[..., pl.DataFrame]] = {
    "merge": stewardship.merge,
    "split": stewardship.split,
    "move": stewardship.move,
    "confirm": stewardship.confirm,
    "reject": stewardship.reject,
    "override": stewardship.override,
    "undo": stewardship.undo,
    "withdraw": stewardship.withdraw,
}


def decide(configured: Settings, operation: Operation, *arguments: Any, actor: str, reason: str) -> pl.DataFrame:
    """Carry out a steward's operation under the run lock. ``arguments`` are those of the function of that name in
    ``models.identity.registry.stewardship``, without what the rule file says. Returns its events; profiles follow with
    the next run.

    Raises:
        RegistryError: an id or record is unknown, or nothing can be done.
        Contradiction: a decision that binds says otherwise.
        LakeLocked: a run is changing the lake.
    """
    lake, rules = lake_of(configured), identity_rules(configured)
    limits = (rules.decision.max_cluster_size,) if operation == "reject" else ()
    with lake.run_lock(f"identity {operation}"):
        return OPERATIONS[operation](lake, rules.ids.seed, *arguments, *limits, actor=actor, reason=reason)


def decisions_about(configured: Settings, identifier: str | None = None) -> list[Row]:
    """Decisions, oldest first, with the records of their sides by id and `taken_back_by`; those about one person
    (any id that leads to it) or record only, where it is named.

    Raises:
        RegistryError: the id is unknown.
    """
    stored = registry.load(lake_of(configured), identity_rules(configured).ids.seed)
    names = dict(stored.names.iter_rows())
    mine: set[int] | None = None
    if identifier is not None:
        known = stored.names.filter(pl.col("record_id") == identifier)["record"].to_list()
        mine = set(known or stored.registry.records_of(stored.owner_number(identifier)))
    rows = decisions.decisions(stored.lake).to_dicts()
    back = {number: row["decision"] for row in rows for number in row["withdraws"] or ()}
    found = []
    for row in rows:
        about = {*(row["left"] or ()), *(row["right"] or ())}
        if mine is None or about & mine:
            sides = {side: sorted(names.get(r, "(erased)") for r in row[side] or ()) for side in ("left", "right")}
            found.append(row | sides | {"taken_back_by": back.get(row["decision"])})
    return found


class Desk:
    """One per application; safe to use from several threads."""

    def __init__(self, configured: Settings) -> None:
        self._configured = configured
        self._lock = threading.Lock()
        self._kept: tuple[int, Stored] | None = None

    @property
    def settings(self) -> Settings:
        return self._configured

    @property
    def lake(self) -> Lake:
        compose()
        return lake_of(self._configured)

    @property
    def accept_weight(self) -> float:
        return self._limits.accepts_from

    @property
    def _limits(self) -> Decision:
        return pins.deciding(self.lake, identity_rules(self._configured)).decision

    def stored(self) -> Stored:
        """The registry after its newest commit."""
        lake = self.lake
        version = lake.version(COMMITS) if lake.exists(COMMITS) else -1
        with self._lock:
            if self._kept is None or self._kept[0] != version:
                self._kept = version, registry.load(lake, identity_rules(self._configured).ids.seed)
            return self._kept[1]

    def current(self, person_id: str) -> str:
        """The id that an id leads to. Raises UnknownId when it was never given out, AmbiguousId when its records are
        several persons' now.
        """
        owner = self.stored().owner(person_id)
        self._refuse_leaving(person_id, {owner})
        return owner

    def _leaving(self) -> frozenset[str]:
        """Ids of who is being erased."""
        return frozenset(privacy.leaving(self.lake, self.stored().assignments))

    def _refuse_leaving(self, asked: str, persons: Iterable[str]) -> None:
        """Raises UnknownId: what is asked for leads to somebody who is being erased."""
        if self._leaving() & {asked, *persons}:
            raise UnknownId(f"{asked} is unknown")

    def records_of(self, person_id: str) -> list[str]:
        """Record ids of a current person."""
        return self.stored().assignments.filter(pl.col("person_id") == person_id)["record_id"].to_list()

    def why(self, person_id: str) -> Explanation:
        """What holds a current person's records together."""
        members = self.records_of(person_id)
        inside = pl.col("record_id_l").is_in(members) & pl.col("record_id_r").is_in(members)
        return explain(members, self._edges().filter(inside).collect().to_dicts())

    def history(self, person_or_record: str) -> list[Row]:
        """Events of a person's id, current or former, or of a record, oldest first. Raises RegistryError."""
        self._refuse_leaving(person_or_record, self.holders(person_or_record))
        return registry.history(self.stored(), person_or_record).to_dicts()

    def queue(self, limit: int, after: int = 0) -> list[Row]:
        """``limit`` of the pairs after the first ``after``, in the order of ``_waiting``."""
        against, ranked = self._waiting()
        rest = ranked.slice(max(after - against.height, 0), limit).collect().to_dicts()
        return (against.slice(after, limit).to_dicts() + [row | {"against": None} for row in rest])[:limit]

    def queue_length(self) -> int:
        """How many pairs wait in all."""
        against, ranked = self._waiting()
        return against.height + int(ranked.select(pl.len()).collect().item())

    def _waiting(self) -> tuple[pl.DataFrame, pl.LazyFrame]:
        """Pairs that wait for a steward: first those whose evidence speaks against a decision and came after it, with
        its number as `against`; then, the strongest first, those that were scored from the review band up and not
        accepted, their records with two people, and nothing decided about them. Rows of silver.identity_edges with both
        person ids.
        """
        stored, limits = self.stored(), self._limits
        owners = stored.assignments
        against = conflicts(stored, limits.accepts_from).sort("match_weight", "record_id_l", descending=[True, False])
        decided = decisions.links_of(decisions.decisions(self.lake), stored.names).pairs.select("record_l", "record_r")
        named = decided.join(stored.names.rename({"record_id": "record_id_l"}), left_on="record_l", right_on="record")
        named = named.join(stored.names.rename({"record_id": "record_id_r"}), left_on="record_r", right_on="record")
        waiting = self._edges().filter(pl.col("decision") != ACCEPTED, pl.col("match_weight") >= limits.review_weight)
        for side in "lr":
            owner = owners.rename({"record_id": f"record_id_{side}", "person_id": f"person_id_{side}"})
            waiting = waiting.join(owner.lazy(), on=f"record_id_{side}")
            against = against.join(owner, on=f"record_id_{side}", maintain_order="left")
        leaving = pl.Series(sorted(self._leaving()), dtype=pl.String).implode()
        stays = ~(pl.col("person_id_l").is_in(leaving) | pl.col("person_id_r").is_in(leaving))
        against, waiting = against.filter(stays), waiting.filter(stays)
        open_pairs = waiting.filter(pl.col("person_id_l") != pl.col("person_id_r")).join(
            named.lazy(), on=["record_id_l", "record_id_r"], how="anti"
        )
        return against, open_pairs.sort("match_weight", "record_id_l", "record_id_r", descending=[True, False, False])

    def pair(self, one: str, other: str) -> tuple[list[Row], Row | None]:
        """The raw values of two records, and the scored pair if there is one.

        Raises:
            RegistryError: a record is unknown, or both are one.
        """
        if one == other:
            raise RegistryError(f"{one} is named twice: a pair is two records")
        for record in (one, other):
            self.stored().record(record)
            self._refuse_leaving(record, self.holders(record))
        wanted = [one, other]
        asked = pl.LazyFrame({"as": wanted}).with_columns(record_id=account_of(pl.col("as")))
        found = asked.join(self.lake.scan(RECORDS), on="record_id").with_columns(record_id="as").select(SHOWN).collect()
        ends = pl.col("record_id_l").is_in(wanted) & pl.col("record_id_r").is_in(wanted)
        edges = self._edges().filter(ends).collect().to_dicts()
        return sorted(found.to_dicts(), key=lambda row: wanted.index(row["record_id"])), next(iter(edges), None)

    def holders(self, *record_ids: str) -> list[str]:
        """The persons who hold some records, each once."""
        held = self.stored().assignments.filter(pl.col("record_id").is_in(record_ids))
        return sorted(held["person_id"].unique())

    def decide(self, operation: Operation, *arguments: Any, actor: str, reason: str) -> list[Row]:
        """The events of a decision; see ``decide``."""
        return decide(self._configured, operation, *arguments, actor=actor, reason=reason).to_dicts()

    def _edges(self) -> pl.LazyFrame:
        return self.lake.scan(EDGES)
