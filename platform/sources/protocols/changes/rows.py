"""Rows in events of the binary log of MySQL and MariaDB, as the texts that a read of their relation gives.

https://dev.mysql.com/doc/dev/mysql-server/latest/classbinary__log_1_1Rows__event.html: a row is a bitmap of its nulls
and the bytes of its other values, which only the description of its table tells apart. That becomes one list of
readers, as a table has few descriptions and many rows.
"""

from __future__ import annotations

import codecs
import datetime
import ipaddress
import json
import re
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from customer360.platform.connections.rowwise import plain
from customer360.platform.sources.protocols.changes.records import Values

Reader = Callable[[bytes, int], tuple[str, int]]  # the value at a place of some bytes, and the place after it
# What the server calls latin1: Windows' own, whose five gaps are control characters
LATIN1 = "".join(bytes([n]).decode("cp1252", "ignore") or chr(n) for n in range(256))
ENCODINGS = {"utf16": "utf-16-be", "ucs2": "utf-16-be", "utf32": "utf-32-be", "utf16le": "utf-16-le"}
DECIMAL_BYTES = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)  # that so many digits take
DIGITS = 9  # of a decimal in four bytes
_LABEL = re.compile(r"'((?:[^']|'')*)'")


class NoRow(ValueError):
    """Bytes that are no row of their table, or none that is read: what their event does, as the end of a sentence."""


class Layout:
    """How rows of one description of a table are read. ``columns`` are the client's; ``kinds`` are the server's names
    for their types now, for what the log does not tell.
    """

    def __init__(self, columns: Sequence[Any], kinds: Mapping[str, str] = {}):
        self.columns = columns
        self.readers = [(1 << n, c.name, reader_of(c, kinds.get(c.name, ""))) for n, c in enumerate(columns)]

    def images(self, data: bytes) -> list[Values]:
        """The images of rows that some bytes hold; of an update each row is two of them, before and after.

        Raises:
            NoRow: they are not whole, or hold what is no value of its column.
        """
        at, size, nulls, found = 0, len(data), (len(self.readers) + 7) // 8, list[Values]()
        try:
            while at < size:
                bits, image = int.from_bytes(data[at : at + nulls], "little"), dict[str, str | None]()
                at += nulls
                for bit, name, read in self.readers:
                    if bits & bit:
                        image[name] = None
                    else:
                        image[name], at = read(data, at)
                found.append(image)
        except (ValueError, IndexError, KeyError, OverflowError, TypeError, struct.error) as fault:
            if isinstance(fault, NoRow):
                raise
            raise NoRow(f"holds what is no value of its column {name} ({type(fault).__name__})") from None
        if at != size:
            raise NoRow("breaks off within a row")
        return found


def reader_of(column: Any, kind: str = "") -> Reader:
    """What reads values of a column of some kind.

    Raises:
        NoRow: no type of this number is read.
    """
    from pymysql.constants import FIELD_TYPE as T

    number = column.type
    if number == T.STRING and (own := OWN.get(kind)):
        return _prefixed(1, own)
    if number == T.STRING and column.character_set_name == "binary":  # the log leaves the zeros at its end out
        return _prefixed(1, lambda data: data.ljust(column.max_length, b"\0").hex())
    sizes = {T.TINY: 1, T.SHORT: 2, T.INT24: 3, T.LONG: 4, T.LONGLONG: 8}
    if number in sizes:
        return _whole(sizes[number], is_signed=not column.unsigned)
    if number in (T.VARCHAR, T.VAR_STRING, T.STRING):
        return _prefixed(2 if column.max_length > 255 else 1, _text_of(column.character_set_name))
    if number == T.BLOB:
        return _prefixed(column.length_size, _text_of(column.character_set_name))
    if number == T.GEOMETRY:
        return _prefixed(column.length_size, bytes.hex)
    if number == T.JSON:
        return _prefixed(column.length_size, _json)
    if number == T.NEWDECIMAL:
        return _decimal(column.precision, column.decimals)
    if number in (T.ENUM, T.SET):
        return (
            _enum(column.size, _labels(column, kind)) if number == T.ENUM else _set(column.size, _labels(column, kind))
        )
    if number == T.BIT:
        return _bits(column.bytes)
    fixed = {T.FLOAT: _float, T.DOUBLE: _double, T.YEAR: _year, T.DATE: _date, T.NEWDATE: _date, T.TIME: _old_time,
             T.DATETIME: _old_datetime, T.TIMESTAMP: _old_timestamp}  # fmt: skip
    if number in fixed:
        return fixed[number]
    fractions = {TIMESTAMP2: _timestamp, DATETIME2: _datetime, TIME2: _time}
    if number in fractions:
        return fractions[number]((column.fsp + 1) // 2)
    raise NoRow(f"has a column of a type that is not read: {column.name} ({number})")


TIMESTAMP2, DATETIME2, TIME2 = 17, 18, 19  # numbers of types with fractions of a second


def _whole(size: int, *, is_signed: bool) -> Reader:
    def read(data: bytes, at: int) -> tuple[str, int]:
        return str(int.from_bytes(data[at : at + size], "little", signed=is_signed)), at + size

    return read


def _prefixed(size: int, decoded: Callable[[bytes], str]) -> Reader:
    """Bytes behind their number."""

    def read(data: bytes, at: int) -> tuple[str, int]:
        begins = at + size
        ends = begins + int.from_bytes(data[at:begins], "little")
        if ends > len(data):
            raise NoRow("breaks off within a value")
        return decoded(data[begins:ends]), ends

    return read


def _text_of(name: str | None) -> Callable[[bytes], str]:
    """What decodes texts of a character set; what Python does not know is hexadecimal, as bytes are."""
    from pymysql.charset import charset_by_name

    try:
        known = charset_by_name(name) if name else None
    except KeyError:
        known = None
    encoding = ENCODINGS.get(name or "", known.encoding if known else name or "utf-8")
    if encoding == "cp1252":
        return lambda data: codecs.charmap_decode(data, "strict", LATIN1)[0]
    try:
        decode = codecs.getdecoder(codecs.lookup(encoding).name)
    except LookupError:
        return bytes.hex
    return lambda data: decode(data)[0]


def _json(data: bytes) -> str:
    from pymysqlreplication.json_binary import parse_json

    return json.dumps(_decoded(parse_json(data[0], data[1:])), ensure_ascii=False) if data else "null"


def _decoded(value: Any) -> Any:
    """JSON whose texts are text: the client gives bytes."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, dict):
        return {_decoded(key): _decoded(each) for key, each in value.items()}
    return [_decoded(each) for each in value] if isinstance(value, list) else value


def _decimal(precision: int, scale: int) -> Reader:
    """Groups of nine digits in four bytes from the point on to both sides, the rest in fewer; below zero inverted."""
    first, wholes = (precision - scale) % DIGITS, (precision - scale) // DIGITS
    last, parts = scale % DIGITS, scale // DIGITS
    sizes = [(DECIMAL_BYTES[first], first)] * bool(first) + [(4, DIGITS)] * (wholes + parts)
    sizes += [(DECIMAL_BYTES[last], last)] * bool(last)
    size = sum(taken for taken, _ in sizes)

    def read(data: bytes, at: int) -> tuple[str, int]:
        number = int.from_bytes(data[at : at + size]) ^ (1 << size * 8 - 1)
        is_negative = bool(number >> size * 8 - 1)
        if is_negative:
            number ^= (1 << size * 8) - 1
        left, digits = size * 8, ""
        for taken, count in sizes:
            left -= taken * 8
            digits += f"{number >> left & (1 << taken * 8) - 1:0{count}d}"
        whole = digits[: len(digits) - scale].lstrip("0") or "0"
        text = f"{whole}.{digits[len(digits) - scale :]}" if scale else whole
        return f"-{text}" if is_negative else text, at + size

    return read


def _labels(column: Any, kind: str) -> list[str]:
    """The values of an enumeration or set, from the first on. The client leaves those empty that are no UTF-8, as they
    are in the character set of their column; then they are those that the table has now.

    Raises:
        NoRow: it has others now.
    """
    told = column.set_values if column.enum_values is None else column.enum_values[1:]
    if all(told):
        return list(told)
    now = [label.replace("''", "'") for label in _LABEL.findall(kind)]
    if len(now) != len(told) or any(old and old != new for old, new in zip(told, now, strict=True)):
        raise NoRow(f"has values of {column.name} that are no UTF-8, and its table has others now")
    return now


def _enum(size: int, labels: list[str]) -> Reader:
    values = ["", *labels]

    def read(data: bytes, at: int) -> tuple[str, int]:
        return values[int.from_bytes(data[at : at + size], "little")], at + size

    return read


def _set(size: int, labels: list[str]) -> Reader:
    def read(data: bytes, at: int) -> tuple[str, int]:
        held = int.from_bytes(data[at : at + size], "little")
        return ",".join(value for n, value in enumerate(labels) if held >> n & 1), at + size

    return read


def _bits(size: int) -> Reader:
    def read(data: bytes, at: int) -> tuple[str, int]:
        return str(int.from_bytes(data[at : at + size])), at + size

    return read


def _float(data: bytes, at: int) -> tuple[str, int]:
    """The fewest digits that tell it from its neighbours."""
    held = data[at : at + 4]
    (value,) = struct.unpack("<f", held)
    for digits in range(6, 9):
        told = float(f"{value:.{digits}g}")
        if struct.pack("<f", told) == held:
            return str(told), at + 4
    return str(float(f"{value:.9g}")), at + 4


def _double(data: bytes, at: int) -> tuple[str, int]:
    return str(struct.unpack("<d", data[at : at + 8])[0]), at + 8


def _year(data: bytes, at: int) -> tuple[str, int]:
    return str(data[at] + 1900 if data[at] else 0), at + 1


def _date(data: bytes, at: int) -> tuple[str, int]:
    held = int.from_bytes(data[at : at + 3], "little")
    return f"{held >> 9:04}-{held >> 5 & 15:02}-{held & 31:02}", at + 3


def _old_time(data: bytes, at: int) -> tuple[str, int]:
    held = int.from_bytes(data[at : at + 3], "little")
    hours, rest = divmod(held, 10_000)
    return str(plain(datetime.timedelta(hours=hours, minutes=rest // 100, seconds=rest % 100))), at + 3


def _old_datetime(data: bytes, at: int) -> tuple[str, int]:
    day, time = divmod(int.from_bytes(data[at : at + 8], "little"), 1_000_000)
    told = f"{day // 10_000:04}-{day // 100 % 100:02}-{day % 100:02}"
    return f"{told} {time // 10_000:02}:{time // 100 % 100:02}:{time % 100:02}", at + 8


def _old_timestamp(data: bytes, at: int) -> tuple[str, int]:
    return _instant(int.from_bytes(data[at : at + 4], "little"), 0), at + 4


def _instant(seconds: int, microseconds: int) -> str:
    if not seconds:
        return "0000-00-00 00:00:00"
    found = datetime.datetime.fromtimestamp(seconds, datetime.UTC).replace(microsecond=microseconds)
    return found.isoformat(" ")


def _timestamp(fraction: int) -> Reader:
    def read(data: bytes, at: int) -> tuple[str, int]:
        ends = at + 4 + fraction
        return _instant(int.from_bytes(data[at : at + 4]), _microseconds(data[at + 4 : ends], fraction)), ends

    return read


def _microseconds(data: bytes, size: int) -> int:
    """Of a fraction in so many bytes, each of two digits."""
    return int.from_bytes(data) * 100 ** (3 - size)


def _datetime(fraction: int) -> Reader:
    def read(data: bytes, at: int) -> tuple[str, int]:
        held, ends = int.from_bytes(data[at : at + 5]) - (1 << 39), at + 5 + fraction
        years, months = divmod(held >> 22, 13)
        text = f"{years:04}-{months:02}-{held >> 17 & 31:02} {held >> 12 & 31:02}:{held >> 6 & 63:02}:{held & 63:02}"
        microseconds = _microseconds(data[at + 5 : ends], fraction)
        return f"{text}.{microseconds:06}" if microseconds else text, ends

    return read


def _time(fraction: int) -> Reader:
    def read(data: bytes, at: int) -> tuple[str, int]:
        ends = at + 3 + fraction
        held = int.from_bytes(data[at:ends]) - (1 << 23 + 8 * fraction)
        size = abs(held)
        time = size >> 8 * fraction
        told = datetime.timedelta(
            hours=time >> 12 & 1023, minutes=time >> 6 & 63, seconds=time & 63,
            microseconds=(size & (1 << 8 * fraction) - 1) * 100 ** (3 - fraction),
        )  # fmt: skip
        return str(plain(told if held >= 0 else -told)), ends

    return read


def _inet6(data: bytes) -> str:
    found = ipaddress.IPv6Address(data.ljust(16, b"\0"))
    return f"::ffff:{found.ipv4_mapped}" if found.ipv4_mapped else str(found)


# Types that the log writes as bytes of a fixed size, by the server's name for them
OWN: dict[str, Callable[[bytes], str]] = {
    "uuid": lambda data: str(UUID(bytes=data.ljust(16, b"\0"))),
    "inet6": _inet6,
    "inet4": lambda data: str(ipaddress.IPv4Address(data.ljust(4, b"\0"))),
}
