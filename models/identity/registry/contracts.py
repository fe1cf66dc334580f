"""The registry's tables. All are logs: a commit adds rows, and nothing but an erasure takes any away."""

from __future__ import annotations

from customer360.platform.tables import Float, Integer, List, String, Table, Timestamp, personal


class IdentityEvents(Table, table="silver.identity_events", sort_by=("event",), bucketed=False):
    """One row per change of who holds which records; numbers alone, which an erasure leaves with nobody behind them."""

    event = Integer(primary_key=True)
    commit = Integer()
    kind = String(description="mint, absorb, merge, split, unmerge, move, retire or override")
    person = Integer(nullable=True, description="Number of the person that holds the records from now on")
    from_person = Integer(nullable=True, description="Number of the person that held them before")
    records = List(Integer(), description="Numbers of the records")
    cause = String(description="The run, decision or event that brought it about")
    actor = String()


class IdentityMembers(Table, table="silver.identity_members", sort_by=("commit", "record"), bucketed=False):
    """One row per record and commit that gave it to a person; the newest of a record holds."""

    record = Integer(primary_key=True, description="Number of the record in identity_events")
    commit = Integer(primary_key=True)
    record_id = String(metadata=personal("account"))
    person = Integer(nullable=True)
    person_id = String(nullable=True, description="Null: the record is gone")


class IdentityAliases(Table, table="silver.identity_aliases", sort_by=("commit", "alias_id"), bucketed=False):
    """One row per person id and commit that made it lead on to another, or stand for itself again; the newest holds."""

    alias_id = String(primary_key=True)
    commit = Integer(primary_key=True)
    person_id = String(nullable=True, description="Null: the id stands for itself again")


class IdentityCommits(Table, table="silver.identity_commits", sort_by=("commit",), bucketed=False):
    """One row per commit of the registry, with the root that seals its events and all before."""

    commit = Integer(primary_key=True)
    committed_at = Timestamp()
    previous_root = String()
    root = String()
    event_count = Integer()
    record_count = Integer(description="Records that are held after the commit")
    person_count = Integer()


class IdentitySeals(Table, table="silver.identity_seals", sort_by=("commit", "of", "row", "at"), bucketed=False):
    """One row per row of the registry and commit that sealed it; the newest of a row holds."""

    commit = Integer(primary_key=True, description="The commit whose root covers it")
    of = String(primary_key=True, description="The table of the row")
    row = Integer(primary_key=True, description="Number of its event, record, person or decision")
    at = Integer(primary_key=True, description="Commit of the row, where that is part of its key; else 0")
    digest = String(nullable=True, description="Of all that the row says; null: an erasure took the row away")


class StewardDecisions(Table, table="silver.steward_decisions", sort_by=("decision",), bucketed=False):
    """One row per decision of a steward about records or a golden value; the newest about a pair or attribute holds."""

    decision = Integer(primary_key=True)
    decided_at = Timestamp()
    actor = String()
    kind = String(description="must link, cannot link, override or withdrawal")
    left = List(Integer(), description="Numbers of records; of a confirm or reject the one that was named comes first")
    right = List(Integer(), nullable=True)
    attribute = String(nullable=True)
    value = String(nullable=True, metadata=personal("text"), description="JSON; null withdraws an override")
    reason = String(nullable=True, metadata=personal("text"))
    command = String(nullable=True, description="What the steward did: confirm, reject, merge, …; null: not recorded")
    withdraws = List(Integer(), nullable=True, description="Numbers of decisions that this one takes back")
    known_reasons = List(String(), nullable=True, description="What spoke against it when it was made")
    known_weight = Float(nullable=True, description="Highest match weight that did; null: none was known")
    evidence = List(Integer(), nullable=True, description="Evidence versions of left, then right, when it was made")
