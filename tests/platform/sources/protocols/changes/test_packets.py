"""What is sent as an event of a binary log and is none, or another than was written, is said before it is taken."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from customer360.platform.sources.protocols.changes.packets import (
    DESCRIPTION,
    HEADER,
    SIZE,
    Checked,
    NoEvent,
)

ROTATE, QUERY = 4, 2


def event(kind: int, body: bytes) -> bytes:
    """A packet with an event of some bytes, its size and its checksum."""
    made = bytearray(b"\x00" + bytes(HEADER) + body + bytes(4))
    made[5], made[SIZE] = kind, (len(made) - 1).to_bytes(4, "little")
    return sealed(bytes(made))


def sealed(packet: bytes) -> bytes:
    return packet[:-4] + zlib.crc32(packet[1:-4]).to_bytes(4, "little")


def heard(*sent: bytes) -> int:
    """How many packets a connection took."""
    packets = iter(sent)

    class Client:
        def _write_bytes(self, data: bytes) -> None: ...

        def _read_packet(self) -> SimpleNamespace:
            said = next(packets)
            return SimpleNamespace(get_all_data=lambda: said)

    class Connection(Checked, Client): ...

    made = Connection()
    made._write_bytes(b"\x00\x00\x00\x00\x12")
    for _ in sent:
        made._read_packet()
    return len(sent)


def flipped(packet: bytes, at: int, by: int = 1) -> bytes:
    at %= len(packet)
    return packet[:at] + bytes([packet[at] ^ by]) + packet[at + 1 :]


BEGINS, DESCRIBED = event(ROTATE, b"\x04" + bytes(7) + b"bin.000001"), event(DESCRIPTION, b"10.11" + b"\x01")
UNCHECKED = event(DESCRIPTION, b"10.11" + b"\x00")
ASKED = event(QUERY, b"INSERT")


def test_a_log_as_it_was_written_is_taken() -> None:
    assert heard(BEGINS, DESCRIBED, ASKED, BEGINS, DESCRIBED, ASKED) == 6
    assert heard(BEGINS, UNCHECKED, flipped(ASKED, -1)) == 3, "there are no checksums"


Damage = Callable[[], list[bytes]]


@pytest.mark.parametrize(("sent", "said"), [
    (lambda: [BEGINS, DESCRIBED, flipped(ASKED, 22)], "is another than its checksum tells"),
    (lambda: [BEGINS, ASKED], "comes before the event that describes its file"),
    (lambda: [BEGINS, flipped(DESCRIBED, 5), ASKED], "comes before the event that describes its file"),
    (lambda: [BEGINS, flipped(DESCRIBED, -5, 1)], "is another than its checksum tells"),
    (lambda: [BEGINS, flipped(DESCRIBED, -5, 8)], "names checksums that are not known"),
    (lambda: [BEGINS, DESCRIBED + b"\x00"], "bytes, and says that it has"),
])  # fmt: skip
def test_what_is_damaged_is_said(sent: Damage, said: str) -> None:
    with pytest.raises(NoEvent, match=said):
        heard(*sent())
