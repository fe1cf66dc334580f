"""A topic to committed bronze against librdkafka alone: `python tests/bench/streams.py [--messages 300000]`.

The broker is librdkafka's own, in a process of its own, and holds events of a shop as JSON, one a message, in four
partitions. Ours is a run that asks for what is new, reads, casts to the contract of `bronze.events` and commits, in
this process or on Ray with two workers. The other reads the same messages with the client and counts their bytes. The
least of the repeats counts.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable
from pathlib import Path
from time import perf_counter

from conditions import conditions, tree_cpu

from customer360.platform import run as runs
from customer360.platform.run import RunRequest
from customer360.platform.settings import Settings
from customer360.serve.compose import compose

TARGET = 30_000  # events a second
TOPIC, PARTITIONS = "web.events", 4
PAGES = ("home", "category", "product", "cart", "checkout", "search", "account")
AGENTS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Safari/604.1",
)


def event(number: int, chance: random.Random) -> bytes:
    """What a tracker sends of one page view."""
    page = PAGES[chance.randrange(len(PAGES))]
    moment = f"{number // 180_000 % 24:02}:{number // 3_000 % 60:02}:{number // 50 % 60:02}.{number % 1000:03}"
    said = {
        "EVENT_ID": str(uuid.UUID(int=chance.getrandbits(128), version=4)),
        "CUSTOMER_ID": f"C{chance.randrange(50_000)}" if chance.random() < 0.4 else None,
        "SESSION_ID": f"S{number // 9}",
        "EVENT_TYPE": "PRODUCT_VIEW" if page == "product" else "SEARCH" if page == "search" else "PAGE_VIEW",
        "EVENT_DATE": f"2026-06-01T{moment}Z",
        "PAGE_URL": f"https://shop.example/{page}/{chance.randrange(9_000)}?utm_source=mail",
        "PAGE_TITLE": f"{page.title()} \u00b7 Shop",
        "PRODUCT_ID": f"P{chance.randrange(9_000)}" if page == "product" else None,
        "SEARCH_QUERY": f"lamp {chance.randrange(90)}" if page == "search" else None,
        "TIME_ON_PAGE": chance.randrange(300),
        "SCROLL_DEPTH": chance.randrange(101) / 100,
        "DEVICE_TYPE": ("DESKTOP", "MOBILE")[number % 2],
        "BROWSER": ("Chrome", "Safari")[number % 2],
        "OPERATING_SYSTEM": ("Windows", "iOS")[number % 2],
        "LOCATION_COUNTRY": "DE",
        "LOCATION_CITY": "K\u00f6ln",
        "VISITOR_ID": f"V{number // 30}",
        "USER_AGENT": AGENTS[number % 2],
    }
    return json.dumps(said, ensure_ascii=False).encode()


def broker(messages: int) -> None:
    """Be the broker, with the messages in it, until the other side ends."""
    from confluent_kafka import Producer

    # It holds 5 MiB of a partition: compressed, that is enough.
    producer = Producer({"test.mock.num.brokers": 1, "compression.type": "zstd", "linger.ms": 50, "log_level": 0})
    chance = random.Random(20260630)
    for number in range(messages):
        producer.produce(TOPIC, value=event(number, chance), partition=number % PARTITIONS)
        if number % 1_000 == 0:
            producer.poll(0)
            producer.flush(0.001)
    assert producer.flush(60) == 0
    (found,) = producer.list_topics(timeout=10).brokers.values()
    print(f"{found.host}:{found.port}", flush=True)
    sys.stdin.read()


def by_client(servers: str, messages: int) -> int:
    """Read all messages with the client, and count their bytes."""
    from confluent_kafka import Consumer, TopicPartition

    client = Consumer({"bootstrap.servers": servers, "group.id": "alone", "auto.offset.reset": "earliest"})
    client.assign([TopicPartition(TOPIC, partition, 0) for partition in range(PARTITIONS)])
    read = size = 0
    while read < messages:
        found = client.consume(5_000, timeout=1.0)
        read += len(found)
        size += sum(len(message.value()) for message in found)
    client.close()
    assert size > 0
    return read


def to_bronze(servers: str, executor: str, size: int, state: Path) -> int:
    """Land all messages in a new lake; ``state`` is of all repeats, as Ray keeps its token there."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "landing").mkdir()
        source = {"table": "bronze.events", "system": "WEB", "kind": "streams", "connection": "kafka", "topic": TOPIC}
        settings = Settings.model_validate({
            "landing": str(folder / "landing"), "lake": {"root": str(folder / "lake")}, "state": str(state),
            "execution": {"executor": executor, "cpus": 2},
            "connections": {"kafka": {"kind": "kafka", "servers": servers}},
            "sources": {"events": {**source, "batch_size": size}},
        })  # fmt: skip
        runs.run(settings, RunRequest(end="bronze.events"), rules={})
        return sum(file.rows for file in runs.lake_of(settings).files("bronze.events"))


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--messages", type=int, default=300_000)
    asked.add_argument("--repeats", type=int, default=3)
    asked.add_argument("--size", type=int, default=10_000, help="messages that one worker reads (batch_size)")
    asked.add_argument("--executors", nargs="*", choices=["local", "ray"], default=["local"])
    asked.add_argument("--broker", action="store_true", help=argparse.SUPPRESS)
    options = asked.parse_args()
    if options.broker:
        broker(options.messages)
        return
    compose()
    state = Path(tempfile.mkdtemp(prefix="state"))
    command = [sys.executable, __file__, "--broker", "--messages", str(options.messages)]
    ways: dict[str, Callable[[str], int]] = {"librdkafka alone": lambda servers: by_client(servers, options.messages)}
    for executor in options.executors:
        ways[f"to bronze, {executor}"] = lambda servers, by=executor: to_bronze(servers, by, options.size, state)  # type: ignore[misc]
    least: dict[str, tuple[float, float]] = {}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdin and other.stdout
        servers = other.stdout.readline().strip()
        print(conditions())
        for _ in range(options.repeats):
            for name, work in ways.items():
                began, cpu = perf_counter(), tree_cpu()
                assert work(servers) == options.messages, name
                took = perf_counter() - began, tree_cpu() - cpu
                least[name] = min(took, least.get(name, took))
        other.stdin.close()
    shutil.rmtree(state)
    for name, (clock, cpu) in least.items():
        print(f"{name:<18} {clock:6.1f} s  {cpu:6.1f} s CPU  {options.messages / clock:10,.0f} messages/s")
    assert max(options.messages / least[name][0] for name in list(ways)[1:]) >= TARGET, "slower than the target"


if __name__ == "__main__":
    main()
