"""Damaged messages of every way in: `python tests/bench/fuzz_messages.py [--messages 1000000 --seed 1 --ways topic]`.

Makes events as JSON, as changes with an image before and after, and as Avro of a registry, damages most of them, and
lands them through the units of a run: as values of a topic, messages of Debezium, bodies of webhooks in a journal, and
pages of an API. No unit may fail; each message is a row or a dead letter, at its place; rows are written and read back.
A page that is no answer at all must be refused in one line.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import random
import tempfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from time import perf_counter
from typing import Any
from unittest import mock

import fastavro

from customer360.platform.connections.kafka import Kafka
from customer360.platform.errors import SourceError
from customer360.platform.lake import Lake
from customer360.platform.ledger import Batch, Input
from customer360.platform.settings import Settings
from customer360.platform.sources import apis, streams
from customer360.platform.sources.base import Source, configured
from customer360.platform.sources.bronze import IngestUnit, Landed
from customer360.platform.sources.landing import landing_of
from customer360.platform.sources.protocols.hooks import journal
from customer360.platform.sources.protocols.kafka.values import Registry
from customer360.platform.sources.protocols.web.session import Answer, Request
from customer360.platform.sources.webhooks import message
from customer360.serve.compose import compose

AT_ONCE = 1_000  # messages of one unit
MADE_AT = "2026-06-01T10:00:00.000000+00:00"
AVRO = fastavro.parse_schema({
    "type": "record", "name": "Event", "fields": [
        {"name": "EVENT_ID", "type": "string"}, {"name": "TIME_ON_PAGE", "type": ["null", "int", "string"]},
        {"name": "more", "type": {"type": "map", "values": "bytes"}},
    ],
})  # fmt: skip
WORDS = (
    "",
    "lamp",
    "K\u00f6ln",
    'a "b"',
    "a\\b",
    "x\ny",
    "\u2028",
    "{",
    "}",
    "[",
    '":',
    "NaN",
    "null",
    "\U0001f600",
    "1e5",
)
NUMBERS = ("NaN", "-NaN", "Infinity", "-Infinity", "1e999", "-1e-999", "9" * 400, "-0", "0x10", "1_000", "01", "1.",
           ".5", "18446744073709551616", "1e400000000")  # fmt: skip
PUT_IN = (
    b"\x00", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xfe\xff", b"\n", b"\r", b"\r\n", b"\x1c", b"\x85",
    b"\xe2\x80\xa8", b'"', b"\\", b"\\u0000", b"\\ud83d", b"\\udc00", b"\\ud83d\\ude00", b"{", b"}", b"[", b"]",
    b",", b":", b'":"', b"null", b"/*", b"//", b"'", b"\t", b"\x7f", b"\x1f\x8b",
)  # fmt: skip


def event(dice: random.Random, number: int) -> dict[str, Any]:
    return {
        "EVENT_ID": f"E{number}", "EVENT_TYPE": dice.choice(("PAGE_VIEW", "SEARCH", "?")),
        "EVENT_DATE": dice.choice(("2026-06-01T10:00:00Z", "2026-13-41", 1_780_000_000, None)),
        "SEARCH_QUERY": dice.choice(WORDS), "TIME_ON_PAGE": dice.choice((3, 2.5, "7", None, True, 10**20)),
        "more": dice.choice((None, [], {}, {"a": [1, {"b": dice.choice(WORDS)}]}, [None, "x"])),
    }  # fmt: skip


def change(dice: random.Random, number: int) -> dict[str, Any]:
    """A change of a row as those who read logs of databases write it."""
    after = event(dice, number) if dice.random() < 0.8 else None
    return {"op": dice.choice("cudr"), "before": dice.choice((None, {"EVENT_ID": "E0"})), "after": after,
            "source": {"lsn": number, "table": "events"}, "ts_ms": number}  # fmt: skip


def framed(dice: random.Random, number: int) -> bytes:
    """Avro behind the number of its schema, which the registry has, or has not, or has as something else."""
    out = io.BytesIO()
    row = {"EVENT_ID": f"E{number}", "TIME_ON_PAGE": dice.choice((None, 5, "x")), "more": {"k": dice.randbytes(3)}}
    fastavro.schemaless_writer(out, AVRO, row)
    return b"\x00" + dice.choice((1, 1, 1, 2, 3, 2**32 - 1)).to_bytes(4) + out.getvalue()


def text_of(dice: random.Random, number: int) -> bytes:
    made = event(dice, number) if dice.random() < 0.7 else change(dice, number)
    return json.dumps(made, ensure_ascii=dice.random() < 0.5, indent=dice.choice((None, None, None, 1))).encode()


def nested(dice: random.Random) -> bytes:
    deep = dice.choice((50, 120, 130, 1_100, 20_000))
    opened, closed = dice.choice(((b"[", b"]"), (b'{"a":', b"}")))
    return b'{"EVENT_ID": "deep", "more": ' + opened * deep + b"1" + closed * (deep - (dice.random() < 0.2)) + b"}"


def number_in(dice: random.Random, body: bytes) -> bytes:
    return body.replace(b'"TIME_ON_PAGE": ', b'"TIME_ON_PAGE": ' + dice.choice(NUMBERS).encode() + b', "n": ', 1)


def twice(dice: random.Random, body: bytes) -> bytes:
    key = dice.choice(("EVENT_ID", "event_id", "_position", "_rescued", "", " ", "payload:x", "message.key", "hook.id"))
    value = dice.choice(("null", '"again"', "[1]", "{}"))
    return b"{" + f'"{key}": {value}, '.encode() + body[1:]


def put_in(dice: random.Random, body: bytes) -> bytes:
    at = dice.randint(0, len(body))
    return body[:at] + dice.choice(PUT_IN) + body[at + dice.choice((0, 0, 1, 5)) :]


def flipped(dice: random.Random, body: bytes) -> bytes:
    made = bytearray(body)
    for _ in range(dice.randint(1, 4) if made else 0):
        made[dice.randrange(len(made))] = dice.randrange(256)
    return bytes(made)


DAMAGE: tuple[Callable[[random.Random, bytes], bytes], ...] = (
    put_in,
    flipped,
    number_in,
    twice,
    lambda dice, body: body[: dice.randint(0, len(body))],
    lambda dice, body: body[dice.randint(0, len(body)) :],
    lambda dice, body: body + body,
    lambda dice, body: nested(dice),
    lambda dice, body: gzip.compress(body, 1, mtime=0),
    lambda dice, body: zlib.compress(body, 1),
    lambda dice, body: body.decode("utf-8", "replace").encode(dice.choice(("utf-16", "utf-32", "utf-16-le"))),
    lambda dice, body: body.decode("utf-8", "replace").encode("cp1252", "replace"),
    lambda dice, body: b"\xef\xbb\xbf" + body,
    lambda dice, body: dice.choice((b"[", b"[1,", b'"', b"")) + body + dice.choice((b"]", b"", b'"')),
    lambda dice, body: dice.randbytes(dice.randint(0, 20)),
    lambda dice, body: b"\x00" + dice.randbytes(4) + body,
)


def damaged(dice: random.Random, number: int) -> bytes:
    """A message, three of five damaged once or twice."""
    body = framed(dice, number) if dice.random() < 0.15 else text_of(dice, number)
    for _ in range(dice.choice((0, 0, 1, 1, 2))):
        body = dice.choice(DAMAGE)(dice, body)
    return body


class Message:
    """A message as the client of Kafka gives it."""

    def __init__(self, value: bytes | None, offset: int, dice: random.Random):
        self._value, self._offset = value, offset
        self._key = dice.choice((None, b"k", b"\xff", b""))
        self._headers = dice.choice((None, [], [("a", b"\xff"), ("a", None)]))
        self._time = dice.choice(((0, -1), (1, offset), (1, 2**62)))

    def value(self) -> bytes | None:
        return self._value

    def offset(self) -> int:
        return self._offset

    def partition(self) -> int:
        return 0

    def key(self) -> bytes | None:
        return self._key

    def headers(self) -> list[tuple[str, bytes | None]] | None:
        return self._headers

    def timestamp(self) -> tuple[int, int]:
        return self._time

    def error(self) -> None: ...

    def __len__(self) -> int:
        return len(self._value or b"")


class Bench:
    """A lake, and a source of each way in."""

    def __init__(self, root: Path):
        (root / "landing").mkdir(exist_ok=True)
        common = {"table": "bronze.events", "system": "S", "connection": "c"}
        self.settings = Settings.model_validate({
            "landing": str(root / "landing"), "lake": {"root": str(root / "lake"), "buckets": 2},
            "state": str(root / "state"), "execution": {"executor": "local"},
            "connections": {"k": {"kind": "kafka", "servers": "x:1"}, "h": {"kind": "webhook", "secret_env": "NO"},
                            "a": {"kind": "api", "url": "http://x"}},
            "sources": {
                "topic": {**common, "connection": "k", "kind": "streams", "topic": "t"},
                "topic_about": {**common, "connection": "k", "kind": "streams", "topic": "t", "metadata": True},
                "changes": {**common, "connection": "k", "kind": "streams", "topic": "t", "envelope": "debezium",
                            "on_truncate": "ignore", "mapping": {"EVENT_ID": "EVENT_ID"}},
                "webhooks": {**common, "connection": "h", "kind": "webhooks", "metadata": True},
                "api": {**common, "connection": "a", "kind": "apis", "records": "held"},
            },
        })  # fmt: skip
        self.lake = Lake(self.settings.lake.root, {}, 2)
        self.landing = landing_of(self.settings)
        self.seq = 0

    def land(self, name: str, piece: Input) -> Landed:
        self.seq += 1
        source = configured(self.settings, name)
        batch = Batch(name, self.seq, MADE_AT, (piece,))
        return IngestUnit(self.lake, self.landing, name, source, batch, 0).run()

    def source(self, name: str) -> Source:
        return configured(self.settings, name)


def balanced(done: Landed, of: int, *, at_least: bool = False) -> None:
    """Nothing is lost, doubled or made up, and what is written is there."""
    facts = done.facts
    assert facts["read"] == facts["landed"] + facts["dead"] + facts.get("left_out", 0), facts
    assert facts["read"] == of or (at_least and facts["read"] > of), f"{facts['read']} of {of}"
    assert sum(add.rows for add in done.bronze) == facts["landed"]
    assert sum(add.rows for add in done.dead) == facts["dead"]


def of_topic(bench: Bench, dice: random.Random, count: int) -> Counter[str]:
    values = [None if dice.random() < 0.01 else damaged(dice, n) for n in range(count)]
    return of_values(bench, dice, values, dice.choice(("topic", "topic_about")))


def of_changes(bench: Bench, dice: random.Random, count: int) -> Counter[str]:
    """Messages of Debezium, damaged; and those of no row, of which some batches hold nothing else."""
    found = Counter[str]()
    alone = [None, b"no json", b"[]", b"{}", *(json.dumps({"op": op, "ts_ms": 1}).encode() for op in ("t", "m", "?"))]
    for values in ([dice.choice(alone)], [dice.choice(alone) for _ in range(3)]):
        found += of_values(bench, dice, values, "changes")
    made: list[bytes | None] = [json.dumps(change(dice, 0) | {"op": "c", "after": event(dice, 0)}).encode()]
    for number in range(1, count - 4):
        body = json.dumps(change(dice, number) | {"op": dice.choice("ccuudrtm?")}).encode()
        for _ in range(dice.choice((0, 0, 1, 2))):
            body = dice.choice(DAMAGE)(dice, body)
        made.append(dice.choice(alone) if dice.random() < 0.05 else body)
    return found + of_values(bench, dice, made, "changes")


def of_values(bench: Bench, dice: random.Random, values: list[bytes | None], name: str) -> Counter[str]:
    count = len(values)
    held = [Message(value, 7 + place, dice) for place, value in enumerate(values)]

    @contextmanager
    def consumer(*_: Any) -> Iterator[None]:
        yield None

    def registry(_: Kafka) -> Registry:
        known = {1: AVRO, 2: None}
        return Registry(Kafka(servers="x:1"), known)

    lists = (held[at : at + 300] for at in range(0, count, 300))
    with (
        mock.patch.object(streams.broker, "consumer", consumer),
        mock.patch.object(streams.broker, "messages", lambda *_: lists),
        mock.patch.object(streams, "Registry", registry),
    ):
        done = bench.land(name, Input("t", {"ranges": [[0, 7, 7 + count]]}))
    balanced(done, count)
    return Counter(read=done.facts["read"], dead=done.facts["dead"])


def of_webhooks(bench: Bench, dice: random.Random, count: int) -> Counter[str]:
    source = bench.source("webhooks")
    folder: Path = source.folder  # type: ignore[attr-defined]
    folder.mkdir(parents=True, exist_ok=True)
    segment = folder / f"{bench.seq:08d}.frames"
    frames = b""
    for number in range(count):
        key = f"k{number}"
        content = message(key, dice.choice((None, "t", "\u2028")), MADE_AT, damaged(dice, number), f"i{number}")
        frames += journal._HEAD.pack(len(content), zlib.crc32(content)) + content
    segment.write_bytes(frames)
    piece = Input(segment.name, {"segment": segment.name, "from": 0, "upto": len(frames)})
    done = bench.land("webhooks", piece)
    balanced(done, count, at_least=True)  # a body may be a list of records
    segment.unlink()
    return Counter(read=done.facts["read"], dead=done.facts["dead"])


def of_api(bench: Bench, dice: random.Random, count: int) -> Counter[str]:
    """Pages of records, of which one may be damaged as a whole."""
    bodies, told = list[bytes](), 0
    for number in range(count):
        body = damaged(dice, number)
        try:
            json.loads(body.decode())
        except (ValueError, RecursionError):
            continue
        bodies.append(body)
    page = b'{"held": [' + b", ".join(bodies) + b'], "n": 1}'
    if is_damaged := dice.random() < 0.3:
        page = dice.choice(DAMAGE)(dice, page)
    try:
        told = len(json.loads(page)["held"])
    except Exception:  # noqa: BLE001 - whatever is wrong with it, it has no records that can be counted
        told = -1
    session = mock.Mock()
    session.ask.side_effect = lambda _: Answer(page, {"content-type": "application/json"}, None)
    session.caller.without_secrets = lambda text: text
    asked = apis.Question(Request("GET", "http://x/held"), "held")
    with (
        mock.patch.object(apis.Apis, "_session", lambda *_: nullcontext(session)),
        mock.patch.object(apis.Apis, "_question", lambda *_: asked),
    ):
        piece = Input(f"page {bench.seq}", {})
        try:
            done = bench.land("api", piece)
        except SourceError as fault:
            assert is_damaged or told < 0 or "cannot be read" in str(fault), fault
            assert "\n" not in str(fault) and len(str(fault)) < 500
            return Counter(refused=len(bodies), pages_refused=1)
        finally:
            bench.source("api").spool(piece).drop()
    if told >= 0:
        balanced(done, told)
    return Counter(read=done.facts["read"], dead=done.facts["dead"])


WAYS: dict[str, Callable[[Bench, random.Random, int], Counter[str]]] = {
    "topic": of_topic,
    "changes": of_changes,
    "webhooks": of_webhooks,
    "api": of_api,
}


def fuzz(root: Path, ways: list[str], messages: int, seed: int, at_once: int = AT_ONCE) -> dict[str, Counter[str]]:
    """Land so many messages by each way, in turn; what became of them, by way.

    Raises:
        AssertionError: names the way and the seed of the unit that fails.
    """
    bench, found = Bench(root), {way: Counter[str]() for way in ways}
    for number in range(-(-messages // at_once)):
        for way in ways:
            told = f"{seed}/{number}/{way}"
            try:
                found[way] += WAYS[way](bench, random.Random(told), at_once)
            except Exception as fault:
                raise AssertionError(f"{way} fails at seed {told}: {type(fault).__name__}: {fault}") from fault
    return found


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--messages", type=int, default=1_000_000, help="of all ways together")
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--ways", nargs="*", choices=list(WAYS), default=list(WAYS))
    options = asked.parse_args()
    compose()
    began = perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        found = fuzz(Path(folder), options.ways, options.messages // len(options.ways), options.seed)
    for way, counts in found.items():
        print(f"{way:<9} " + ", ".join(f"{what} {count:,}" for what, count in counts.items()))
    print(f"{perf_counter() - began:,.0f} s")


if __name__ == "__main__":
    main()
