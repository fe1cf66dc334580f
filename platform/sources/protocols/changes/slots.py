"""A replication slot of PostgreSQL: what its database keeps for a source, and how far the source let it go."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from customer360.platform import telemetry
from customer360.platform.connections.databases import Database, Session
from customer360.platform.errors import SourceError
from customer360.platform.sources.base import Source

BEGINNING = "0/0"
PILED_UP = 1 << 30  # bytes of the database's log that a slot keeps, from which a run says so
CONFIRMED = "_slots"  # folder of the lake: how far it let each slot go, as the name of an object
ANEW = "`on_lost: snapshot` reads the relation anew in its place"


class LostChanges(SourceError):
    """Changes that nobody can give any more."""


@dataclass(frozen=True)
class Slot:
    """The replication slot of a source, which only what its lake noted before may move on: where somebody else moved
    it, changes are lost, and nothing in the database tells of them.
    """

    session: Session
    name: str
    source: Source

    @property
    def _where(self) -> str:
        server = self.source.connected
        assert isinstance(server, Database)
        return server.where

    def stands(self) -> str | None:
        """How far the slot was confirmed; None where there is none."""
        held = self._told(sa.cast(sa.column("confirmed_flush_lsn"), sa.Text))
        return None if held is None else str(held)

    @property
    def is_lost(self) -> bool:
        """Whether the database gave up what the slot asks for, as that was more than it may keep."""
        return bool(self._told(sa.column("wal_status") == "lost"))

    def make(self) -> None:
        """Make the slot unless it stands, and note from where it holds what changes. One that is lost is made anew."""
        if self.is_lost:
            one(self.session, sa.func.pg_drop_replication_slot(self.name))
        if self.stands() is None:
            one(self.session, sa.func.pg_create_logical_replication_slot(self.name, "pgoutput"))
            telemetry.event(f"made the replication slot {self.name} on {self._where}")
        self._note(self.stands() or BEGINNING)

    def check(self, cursor: dict[str, Any]) -> None:
        """Raises LostChanges where the slot is gone or lost, or was moved beyond all that this lake confirmed."""
        stands, noted = self.stands(), self._noted()
        where, since = f"the replication slot {self.name} of {self._where}", f"changes since {cursor['lsn']} are lost"
        if self.is_lost:
            kept = one(self.session, sa.func.current_setting("max_slot_wal_keep_size"))
            raise LostChanges(
                f"{where} is invalid: it fell further behind than max_slot_wal_keep_size ({kept}) allows, and {since}; "
                f"{ANEW}"
            )
        if stands is None:
            raise LostChanges(f"{where} is gone: {since}; {ANEW}")
        if noted is None and "slot" not in cursor:  # a lake of before this was noted
            self._note(stands)
        elif number(stands) > (own := max(number(cursor["lsn"]), noted or 0)):
            raise LostChanges(
                f"{where} stands at {stands}, and this lake confirmed no more than {lsn_of(own)}: another lake, or "
                f"this one before it was restored, took the changes between; {ANEW}"
            )

    def behind(self, place: Literal["restart_lsn", "confirmed_flush_lsn"] = "restart_lsn") -> int:
        """Bytes of the database's log since the slot's place in it: what it keeps for the slot, or since what was
        confirmed; 0 where there is no slot.
        """
        since = self._told(sa.func.pg_wal_lsn_diff(sa.func.pg_current_wal_lsn(), sa.column(place)))
        return int(since or 0)

    def move(self, upto: str | None) -> None:
        """Confirm what the slot gave up to a place, where it does not stand there. A look leaves it where it is."""
        stands = self.stands()
        if stands and upto and not self.source._looks and number(upto) > number(stands):
            self._note(upto)
            one(self.session, sa.func.pg_replication_slot_advance(self.name, upto))

    def warn_of_what_piles_up(self) -> None:
        if (behind := self.behind()) > PILED_UP:
            left = self._told(sa.column("safe_wal_size"))
            limit = "" if left is None else f"; it gives the slot up after {max(0, int(left)) >> 20:,} MiB more"
            telemetry.log.warning(
                f"{self.source.name}: {self._where} keeps {behind >> 20:,} MiB of its log for slot {self.name}{limit}"
            )

    def _told(self, wanted: sa.ColumnElement[Any]) -> Any:
        slots = sa.select(wanted).select_from(sa.table("pg_replication_slots"))
        found = self.session.answer(slots.where(sa.column("slot_name") == self.name))
        return found[0][0] if found else None

    @property
    def _notes(self) -> str:
        return f"{CONFIRMED}/{self.source.name}/{self.name}"

    def _noted(self) -> int | None:
        lake = self.source._lake
        return (
            max((int(path.rpartition("/")[2], 16) for path in lake.objects(self._notes)), default=None)
            if lake
            else None
        )

    def _note(self, lsn: str) -> None:
        """Before the slot moves: a crash between leaves a note that is ahead of it."""
        lake = self.source._lake
        if lake and not self.source._looks:
            path = f"{self._notes}/{number(lsn):016X}"
            lake.put(path, b"")
            lake.delete([older for older in lake.objects(self._notes) if older < path])


def one(session: Session, expression: Any) -> str:
    return str(session.answer(sa.select(sa.cast(expression, sa.Text)))[0][0])


def number(lsn: str) -> int:
    """A place in the log as a number: two halves in hexadecimal."""
    high, _, low = lsn.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


def lsn_of(place: int) -> str:
    return f"{place >> 32:X}/{place & 0xFFFFFFFF:X}"
