"""The identity registry: person ids that are minted once, and the whole history of who held which record.

Reading it, in the order in which a caller meets it:

    stored = load(lake, rules.registry.seed)      # after the last complete commit; cheap enough for a command
    stored.assignments                            # (record_id, person_id), current, sorted by record_id
    stored.owner(some_id)                         # the current id behind any id that was ever given out, if it is one
    history(stored, some_id)                      # events of a person id or record id, oldest first
    memberships(lake, at=instant)                 # (record_id, person_id, valid_from, valid_to): bitemporal
    verify(lake, seed)                            # every row against its seal, and members replayed from the events

A query may read the tables alone: `silver.identities` (record_id to person_id, current), `silver.identity_aliases` (the
newest row of an alias_id holds), `silver.identity_members` (the newest row of a record holds),
`silver.identity_events`, `silver.identity_commits` and `silver.identity_seals`. Events hold numbers, never an account
or a person's id, so that an erasure takes the names away and all roots still verify.

Changing it: `succession.advance` makes the events of a new partition, `operations.merge`, `split`, `move` and `undo`
those of a steward; `commit` appends them.
"""

from customer360.models.identity.registry.core import Registry, RegistryError, UnknownId
from customer360.models.identity.registry.store import AmbiguousId, Stored, commit, forget, load, number_records
from customer360.models.identity.registry.verification import Verified, verify, write_anchor
from customer360.models.identity.registry.views import (
    event_of,
    events_by,
    events_with,
    former_records,
    history,
    memberships,
)

__all__ = [
    "AmbiguousId",
    "Registry",
    "RegistryError",
    "Stored",
    "UnknownId",
    "Verified",
    "commit",
    "event_of",
    "events_by",
    "events_with",
    "forget",
    "former_records",
    "history",
    "load",
    "memberships",
    "number_records",
    "verify",
    "write_anchor",
]
