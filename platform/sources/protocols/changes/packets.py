"""Events of a binary log as packets of a server of MySQL or MariaDB, each looked at before the client takes it apart:
what is damaged between the server's disk and here is said, and not read as something else.
"""

from __future__ import annotations

import zlib
from typing import Any, cast

MARK, HEADER, CHECKSUM = 1, 19, 4  # bytes of a packet's mark, of an event's header, and of the checksum behind it
KIND, SIZE = 5, slice(10, 14)  # of an event, in its packet
SENT, END = 0x00, 0xFE  # marks of packets: an event, and no more of them
DUMP = 0x12  # the command after which a server sends its log
DESCRIPTION = 0x0F  # the event with which a file of the log begins; it names how checksums are made
BEFORE_IT = (0x04, 0x1B)  # what a server sends before that: where it begins, and that it is alive
CRC32, UNCHECKED = 1, 0


class NoEvent(ValueError):
    """Bytes that are not an event as the server wrote it: what is wrong with them, as the end of a sentence."""


class Checked:
    """A connection of the client, in front of its class, that looks at the events that it reads."""

    _is_log = _has_checksums = _is_described = False

    def _write_bytes(self, data: bytes) -> None:
        self._is_log = self._is_log or data[4:5] == bytes([DUMP])
        cast("Any", super())._write_bytes(data)

    def _read_packet(self, *about: Any) -> Any:
        """The next packet.

        Raises:
            NoEvent: it is damaged.
        """
        packet = cast("Any", super())._read_packet(*about)
        if self._is_log:
            self._check(packet.get_all_data())
        return packet

    def _check(self, data: bytes) -> None:
        if data[0] == END and len(data) < MARK + HEADER:
            return
        if data[0] != SENT or len(data) < MARK + HEADER:
            raise NoEvent("is none")
        size = int.from_bytes(data[SIZE], "little")
        if size != len(data) - MARK:
            raise NoEvent(f"has {len(data) - MARK:,} bytes, and says that it has {size:,}")
        if data[KIND] == DESCRIPTION:
            self._has_checksums, self._is_described = _tells_of_checksums(data), True
        elif not self._is_described and data[KIND] not in BEFORE_IT:
            raise NoEvent("comes before the event that describes its file")
        if self._has_checksums and zlib.crc32(data[MARK:-CHECKSUM]) != int.from_bytes(data[-CHECKSUM:], "little"):
            raise NoEvent("is another than its checksum tells")


def _tells_of_checksums(description: bytes) -> bool:
    """Whether the events behind a description have checksums. Its own is right where they have none, too, or it is that
    of before the server changed it for us; so only a byte that says no in place of yes is told apart.

    Raises:
        NoEvent: it names a way to make them that is none.
    """
    way = description[-CHECKSUM - 1]
    if way not in (CRC32, UNCHECKED):
        raise NoEvent("names checksums that are not known")
    said = description[MARK : -CHECKSUM - 1] + bytes([CRC32])
    if way == UNCHECKED and zlib.crc32(said) == int.from_bytes(description[-CHECKSUM:], "little"):
        raise NoEvent("is another than its checksum tells")
    return way == CRC32


def connect(**settings: Any) -> Any:
    """A connection of the client that is checked."""
    import pymysql

    made = type("Connection", (Checked, pymysql.Connection), {})
    return made(**settings)
