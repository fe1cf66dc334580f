"""Damaged logs of databases: `python tests/bench/fuzz_logs.py [--changes 400000 --seed 1 --ways binlog]`.

Keeps what a server's log says of some changes, as it comes from PostgreSQL (messages of ``pgoutput``) and MariaDB
(packets of the binary log, rows of 24 types), and lets units of a run read it again and again, damaged between server
and client: bytes flipped, cut, put in, lengths and kinds changed, messages lost, doubled or out of their place. A unit
lands, and what it read is in bronze or a dead letter, or is refused in one line. A binary log whose checksums tell of
the damage must be refused, and what was not damaged lands whole; half of the packets are sealed again, so that the
readers of rows see damage, too.
"""

from __future__ import annotations

import argparse
import random
import re
import sys
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from time import perf_counter, process_time
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from customer360.platform.errors import SourceError, TransientError
from customer360.platform.lake import Lake
from customer360.platform.ledger import Batch, Input
from customer360.platform.settings import Settings
from customer360.platform.sources import binlog, cdc
from customer360.platform.sources.base import configured
from customer360.platform.sources.bronze import IngestUnit, Landed
from customer360.platform.sources.landing import landing_of
from customer360.platform.sources.protocols.changes import packets
from customer360.platform.sources.protocols.changes.relations import Relation
from customer360.serve.compose import compose

MADE_AT = "2026-06-01T10:00:00.000000+00:00"
ENDS = slice(14, 18)  # of an event, in its packet: where in its file it ends
GTID = 0xA2  # the kind of event with which a transaction of MariaDB begins
MAPPING = {"CUSTOMER_ID": "id", "FIRST_NAME": "name", "EMAIL_ADDRESS": "mail"}
PLAIN = ("id integer PRIMARY KEY, name varchar(80), mail text, spent numeric(12,4), born date, seen timestamp, "
         "score double precision, extra text")  # fmt: skip
OF_MARIA = (
    "id int PRIMARY KEY, name varchar(80), mail text, spent decimal(12,4), born date, seen datetime(6), score double, "
    "extra mediumtext CHARACTER SET utf8mb4, a tinyint unsigned, b smallint, c mediumint unsigned, d bigint unsigned, "
    "e float, f enum('x','y','Kö'), g set('p','q','r'), h bit(11), i timestamp(3) NULL, j time(2), k year, "
    "l varbinary(9), m char(5) CHARACTER SET latin1, n tinyblob, o decimal(30,0), p varchar(300) CHARACTER SET utf16"
)
WORDS = ("", "Ada", "Zoë", "a 'b'", "O\\n", "x" * 70, "\U0001f600", "\u2028", "NULL", "1e5")


def some(dice: random.Random, number: int, columns: int) -> str:
    """Values of a row as SQL."""
    word = dice.choice(WORDS).replace("\\", "\\\\").replace("'", "''")
    spans = ("-838:59:59", "00:00:00", "-00:00:00.10", "23:59:59.99")
    found = [
        str(number), f"'{word}'", f"'c{number}@example.org'", f"{dice.randint(-(10**11), 10**11) / 10**4:.4f}",
        f"'{dice.randint(1900, 2100)}-02-0{dice.randint(1, 9)}'", f"'2026-02-01 01:02:03.{dice.randrange(10**6):06}'",
        f"{dice.uniform(-9, 9):.6f}", f"'{word * dice.randint(0, 3)}'",
        "255", "-32768", "16777215", "18446744073709551615", "0.1", "'y'", "'p,r'", "5", "'2026-02-03 04:05:06.789'",
        f"'{dice.choice(spans)}'", "2024", "x'ff00'", "'Zo'", "x'00'", "-999999999999999999999999999999", "'\u00fc'",
    ]  # fmt: skip
    return ", ".join([found[0], *(value if dice.random() < 0.85 else "NULL" for value in found[1:columns])])


def happen(execute: Callable[..., None], dice: random.Random, count: int, columns: int) -> None:
    """Changes of ``people``, in transactions, with those of another table between them."""
    for first in range(1, count, 20):
        made = ["BEGIN"]
        for number in range(first, first + 20):
            made += [f"INSERT INTO people VALUES ({some(dice, number, columns)})"]
            if dice.random() < 0.4:
                made += [f"UPDATE people SET name = '{number}', spent = -1.5 WHERE id = {dice.randint(1, number)}"]
            if dice.random() < 0.1:
                made += [f"DELETE FROM people WHERE id = {number}"]
        execute(*made, f"INSERT INTO other VALUES ({first})", "COMMIT")
    execute("UPDATE people SET extra = 'all' WHERE id > 3")  # many rows in one event


# ---- what a server says, kept -----------------------------------------------------------------------------------


class Bench:
    """A lake, and a source of changes whose server was asked once."""

    def __init__(self, root: Path, kind: str, connection: dict[str, Any]):
        (root / "landing").mkdir(exist_ok=True)
        source = {"table": "bronze.customers", "system": "S", "connection": "db", "kind": kind, "relation": "people",
                  "mapping": MAPPING, "on_truncate": "ignore"}  # fmt: skip
        self.settings = Settings.model_validate({
            "landing": str(root / "landing"), "lake": {"root": str(root / "lake"), "buckets": 2},
            "state": str(root / "state"), "execution": {"executor": "local"},
            "connections": {"db": connection}, "sources": {"people": source},
        })  # fmt: skip
        self.lake = Lake(self.settings.lake.root, {}, 2)
        self.landing = landing_of(self.settings)
        self.seq = 0
        self.source = configured(self.settings, "people")

    def discovered(self) -> tuple[Input, Any]:
        """What the source finds after what it found before: the rows at first, then the changes."""
        known = getattr(self, "known", [])
        found = self.source.discover(self.landing, known)
        (piece,) = found.inputs
        self.known = [*known, Batch("people", len(known) + 1, MADE_AT, (piece,), cursor=found.cursor)]
        return piece, found.cursor

    def land(self, piece: Input) -> Landed:
        self.seq += 1
        batch = Batch("people", self.seq, MADE_AT, (piece,))
        return IngestUnit(self.lake, self.landing, "people", self.source, batch, 0).run()


def balanced(done: Landed) -> int:
    """Rows that landed: nothing is lost, doubled or made up, and what is written is there."""
    facts = done.facts
    assert facts["read"] == facts["landed"] + facts["dead"] + facts.get("left_out", 0), facts
    assert sum(add.rows for add in done.bronze) == facts["landed"]
    assert sum(add.rows for add in done.dead) == facts["dead"]
    return facts["read"]


@contextmanager
def of_postgres(root: Path, changes: int, running: Any = None) -> Iterator[Callable[[random.Random], Counter[str]]]:
    from servers import postgres_server

    with nullcontext(running) if running else postgres_server() as server:
        database = server.fresh()
        server.execute(database, f"CREATE TABLE people ({PLAIN})", "CREATE TABLE other (id int PRIMARY KEY)",
                       "ALTER TABLE people REPLICA IDENTITY FULL",
                       "CREATE PUBLICATION customer360 FOR ALL TABLES")  # fmt: skip
        bench = Bench(root, "cdc", server.connection(database))
        bench.land(bench.discovered()[0])
        happen(lambda *said: server.execute(database, *said), random.Random(1), changes, 8)
        piece, _ = bench.discovered()
        with bench.source.connected.session() as session:  # type: ignore[attr-defined]
            held = list(bench.source._messages(session, piece.detail))  # type: ignore[attr-defined]
            shape = bench.source._checked(session)  # type: ignore[attr-defined]
    yield lambda dice: read_again(bench, piece, shape, held, dice)


def read_again(bench: Bench, piece: Input, shape: Any, held: list[Any], dice: random.Random) -> Counter[str]:
    """A stretch of the messages of a slot, described as they begin, and some of them damaged."""
    at = dice.randrange(len(held))
    described = [m for m in held[:at] if m[1][:1] == b"R"], [m for m in held[:at] if m[1][:1] == b"B"][-1:]
    taken = [*described[0], *described[1], *held[at : at + dice.choice((1, 5, 60, 200))]]
    made = [(lsn, dice.choice(DAMAGE)(dice, m) if dice.random() < 0.02 else m) for lsn, m in taken]
    changed = sum(a != b for a, b in zip(taken, made, strict=True))
    made = displaced(dice, made) if dice.random() < 0.3 else made
    session = mock.MagicMock()
    session.answer.return_value = []
    with (
        mock.patch.object(type(bench.source.connected), "session", opened(session)),  # type: ignore[attr-defined]
        mock.patch.object(cdc.Cdc, "_checked", lambda *_: shape),
        mock.patch.object(cdc.Cdc, "_messages", lambda *_: iter(made)),
        mock.patch.object(Relation, "filled", lambda self, session, shape, changes: changes),
    ):
        found = outcome(bench, piece)
    return found + Counter(messages=len(made), damaged=changed)


def opened(session: Any) -> Any:
    @contextmanager
    def made(self: Any) -> Iterator[Any]:
        yield session

    return made


def outcome(bench: Bench, piece: Input) -> Counter[str]:
    """What became of a unit."""
    try:
        return Counter(rows=balanced(bench.land(piece)), landed=1)
    except (SourceError, TransientError) as fault:
        said = str(fault)
        assert "\n" not in said and len(said) < 500, said
        return Counter({"refused": 1, f"because {re.sub(r'[^ ]*[0-9][^ ]*', '#', said)[:60]}": 1})


class Said:
    """A connection to a server of MySQL that says what it said before."""

    charset = "utf8mb4"

    def __init__(self, held: list[bytes]):
        self.held = iter(held)
        self._next_seq_id = 0

    def cursor(self) -> Any:
        found = mock.MagicMock()
        found.fetchone.side_effect = lambda: self.answer
        found.execute.side_effect = self.asked
        return found

    def asked(self, statement: str, *_: Any) -> None:
        checked = {"SHOW GLOBAL VARIABLES LIKE 'BINLOG_CHECKSUM'": ("BINLOG_CHECKSUM", "CRC32")}
        self.answer: Any = checked.get(statement, {"Value": "FULL"})

    def get_server_info(self) -> str:
        return "MariaDB"

    def _write_bytes(self, _: bytes) -> None: ...

    def _read_packet(self) -> Any:
        from pymysql.protocol import MysqlPacket

        return MysqlPacket(next(self.held, b"\xfe\x00\x00\x02\x00"), "utf8mb4")

    def close(self) -> None: ...


class Again(packets.Checked, Said):
    """The same, as the platform hears it."""


@contextmanager
def of_maria(root: Path, changes: int, running: Any = None) -> Iterator[Callable[[random.Random], Counter[str]]]:
    import pymysql
    from servers import maria_server

    real, heard = pymysql.Connection._read_packet, list[bytes]()

    def listening(self: Any, *about: Any) -> Any:
        packet = real(self, *about)
        heard.extend([bytes(packet.get_all_data())] if getattr(self, "_is_log", False) else [])
        return packet

    with nullcontext(running) if running else maria_server() as server:
        database = server.fresh()
        server.execute(
            database,
            f"CREATE TABLE people ({OF_MARIA}) CHARACTER SET utf8mb4",
            "CREATE TABLE other (id int PRIMARY KEY)",
        )
        bench = Bench(root, "binlog", server.connection(database))
        bench.land(bench.discovered()[0])
        happen(lambda *said: server.execute(database, *said), random.Random(1), changes, 24)
        piece, _ = bench.discovered()
        with bench.source.connected.session() as session:  # type: ignore[attr-defined]
            columns, key = session.columns(bench.source._rows), bench.source._check(session)  # type: ignore[attr-defined]
            kinds = bench.source._kinds(session)  # type: ignore[attr-defined]
        with mock.patch.object(pymysql.Connection, "_read_packet", listening):
            whole = balanced(bench.land(piece))
    ends = next(n for n, data in enumerate(heard) if data[0] == packets.END)
    told = mock.MagicMock()
    told.columns.return_value = columns
    told.answer.return_value = [(piece.detail["server"],)]

    def again(dice: random.Random) -> Counter[str]:
        return asked_again(bench, piece, told, (key, kinds), heard[:ends], whole, dice)

    yield again


def asked_again(
    bench: Bench, piece: Input, told: Any, known: Any, held: list[bytes], whole: int, dice: random.Random
) -> Counter[str]:
    """The packets of a log, of which some are damaged behind the mark of their network."""
    key, kinds = known
    sealed, is_calm = dice.random() < 0.6, dice.random() < 0.02
    taken = held if is_calm else stretch(dice, held)
    rate = 0 if is_calm else dice.choice((1, 2, 8)) / len(taken)
    made = [each[:1] + harmed(dice, each[1:], sealed) if dice.random() < rate else each for each in taken]
    changed = sum(a != b for a, b in zip(taken, made, strict=True))
    is_displaced = not is_calm and dice.random() < 0.1
    made = displaced(dice, made) if is_displaced else made
    upto = f"{piece.detail['upto'].rpartition(':')[0]}:{int.from_bytes(taken[-1][ENDS], 'little')}"
    piece = piece if is_calm else replace(piece, detail=piece.detail | {"upto": upto})
    with (
        mock.patch.object(packets, "connect", lambda **_: Again(made)),
        mock.patch.object(type(bench.source.connected), "session", opened(told)),  # type: ignore[attr-defined]
        mock.patch.object(binlog.BinlogSource, "_check", lambda *_: key),
        mock.patch.object(binlog.BinlogSource, "_kinds", lambda *_: kinds),
    ):
        found = outcome(bench, piece)
    if is_calm:
        assert found["rows"] == whole, f"{dict(found)} of {whole} rows of a log that is whole"
    elif changed and not sealed and not is_displaced:
        assert found["refused"], f"{changed} packets differ, and nobody saw it"
    return found + Counter(messages=len(made), damaged=changed)


def stretch(dice: random.Random, held: list[bytes]) -> list[bytes]:
    """How a log begins, and some of its transactions."""
    begins = [n for n, data in enumerate(held) if data[5] == GTID]
    first = dice.choice(begins)
    ends = [n for n in begins if n > first][dice.choice((0, 1, 3)) :][:1] or [len(held)]
    return [*held[: begins[0]], *held[first : ends[0]]]


# ---- damage -----------------------------------------------------------------------------------------------------


def flipped(dice: random.Random, data: bytes) -> bytes:
    made = bytearray(data)
    for _ in range(dice.randint(1, 3) if made else 0):
        made[dice.randrange(len(made))] ^= dice.randint(1, 255)
    return bytes(made)


def set_to(dice: random.Random, data: bytes) -> bytes:
    """Lengths, counts and kinds are bytes of these values."""
    made = bytearray(data)
    if made:
        made[dice.randrange(len(made))] = dice.choice(b"\x00\x01\x7f\x80\xfb\xfc\xfd\xfe\xffBCDIKNORTUYMntu")
    return bytes(made)


def put_in(dice: random.Random, data: bytes) -> bytes:
    at = dice.randint(0, len(data))
    return data[:at] + dice.randbytes(dice.randint(1, 9)) + data[at + dice.choice((0, 0, 1, 4)) :]


DAMAGE: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    flipped, flipped, set_to, set_to, put_in,
    lambda dice, data: data[: dice.randint(0, len(data))],
    lambda dice, data: data[dice.randint(0, len(data)) :],
    lambda dice, data: data + data,
    lambda dice, data: data + dice.randbytes(dice.randint(1, 40)),
    lambda dice, data: data[:1] + dice.randbytes(dice.randint(0, 40)),
)  # fmt: skip


def harmed(dice: random.Random, data: bytes, sealed: bool) -> bytes:
    """An event, damaged; ``sealed`` again with the checksum of what it is now, and mostly behind its header."""
    kept = 19 if dice.random() < 0.8 else 0
    body, found = data[:-4], b""
    while not found or found == body:
        found = body[:kept] + dice.choice(DAMAGE)(dice, body[kept:])
    if sealed and len(found) >= 13 and dice.random() < 0.9:  # its header says how long it is
        found = found[:9] + (len(found) + 4).to_bytes(4, "little") + found[13:]
    return found + (zlib.crc32(found).to_bytes(4, "little") if sealed else data[-4:])


def displaced(dice: random.Random, held: list[Any]) -> list[Any]:
    """One that is lost, comes twice, or at another place."""
    at, to = dice.randrange(len(held)), dice.randrange(len(held))
    way = dice.choice(("lost", "twice", "moved"))
    rest = held[:at] + held[at + (way != "twice") :]
    return rest if way == "lost" else [*rest[:to], held[at], *rest[to:]]


WAYS = {"cdc": of_postgres, "binlog": of_maria}


def fuzz(root: Path, way: str, messages: int, seed: int, recorded: int = 200, running: Any = None) -> Counter[str]:
    """Let units read so many messages of the log of a server, one that is ``running`` or its own, and say what became
    of them.

    Raises:
        AssertionError: names the way and the seed of the unit that fails.
    """
    found = Counter[str]()
    with WAYS[way](root, recorded, running) as unit:
        number = 0
        while found["messages"] < messages:
            told, number = f"{seed}/{number}/{way}", number + 1
            try:
                found += unit(random.Random(told))
            except Exception as fault:
                raise AssertionError(f"{way} fails at seed {told}: {type(fault).__name__}: {fault}") from fault
    return found + Counter(units=number)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--changes", type=int, default=400_000, help="messages of the logs, of all ways together")
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--ways", nargs="*", choices=list(WAYS), default=list(WAYS))
    options = asked.parse_args()
    compose()
    for way in options.ways:
        began, cpu = perf_counter(), process_time()
        with tempfile.TemporaryDirectory() as folder:
            found = fuzz(Path(folder), way, options.changes // len(options.ways), options.seed)
        print(f"{way:<7}", ", ".join(f"{what} {n:,}" for what, n in found.items() if not what.startswith("because")))
        for what, count in sorted(found.items(), key=lambda each: -each[1]):
            if what.startswith("because"):
                print(f"        {count:7,} {what}")
        print(f"        {perf_counter() - began:,.0f} s, {process_time() - cpu:,.0f} s of CPU", flush=True)


if __name__ == "__main__":
    main()
