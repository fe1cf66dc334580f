"""A log is read from one place to another, or it is said that it was not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from customer360.platform.errors import TransientError
from customer360.platform.sources.protocols.changes.binlog import Binlog, Place, Unreadable


class RotateEvent: ...


class XidEvent:
    timestamp, event_type = 1_780_000_000, 16


class Stream:
    """A stream of the client that comes to places one after the other, each with an event."""

    def __init__(self, *events: tuple[str, int, Any]):
        self.events, self.log_file, self.log_pos = iter(events), "bin.000001", 100
        self.table_map = {1: "people"}

    def fetchone(self) -> Any:
        self.log_file, self.log_pos, event = next(self.events, (self.log_file, self.log_pos, None))
        return event


ONE, TWO, TURN, XID = "bin.000001", "bin.000002", RotateEvent(), XidEvent()


def ends(upto: tuple[str, int], *events: tuple[str, int, Any]) -> list[str]:
    log = Binlog(SimpleNamespace(where="db"), "shop", "people", 7)  # type: ignore[arg-type]
    return [str(group.end) for group in log._grouped(Stream(*events), {}, Place.of(*upto))]


def test_transactions_up_to_a_place_across_files() -> None:
    told = ends((TWO, 300), (ONE, 100, TURN), (ONE, 200, XID), (ONE, 150, TURN), (TWO, 4, TURN), (TWO, 4, TURN),
                (TWO, 300, XID), (TWO, 400, XID))  # fmt: skip
    assert told == ["bin.000001:200", "bin.000002:300"]
    assert ends((ONE, 200), (ONE, 200, XID), (TWO, 4, TURN), (TWO, 300, XID)) == ["bin.000001:200"]


def test_where_a_connection_begins_does_not_end_what_is_read() -> None:
    """It is said without a checksum, so that a damaged one would end the batch before its rows."""
    assert ends((ONE, 200), (ONE, 9_000, TURN), (ONE, 200, XID)) == ["bin.000001:200"]


@pytest.mark.parametrize("where", [("bin.000003", 4), ("bin.000002", 5), ("bon.000002", 4), ("bin.000000", 4)])
def test_what_does_not_follow_is_said(where: tuple[str, int]) -> None:
    with pytest.raises(Unreadable, match=rf"goes on at {where[0]}:{where[1]} after bin\.000001, which is not what"):
        ends((ONE, 200), (*where, TURN), (ONE, 200, XID))


def test_a_log_that_ends_early_is_tried_again() -> None:
    with pytest.raises(TransientError, match=r"db ends its log at bin\.000001:200 so far, and not at bin\.000001:300"):
        ends((ONE, 300), (ONE, 200, XID))
