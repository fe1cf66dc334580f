"""Runs on systems of five kinds that die: `python tests/bench/crashes.py [--runs 200 --seed 1 --kinds topic]`.

With `--pause 3600` a topic and the logs of databases are left for an hour instead: see `crash_pauses.py`.

Each run is a process that is killed with SIGKILL before or after one of the calls that `POINTS` names, at a random
moment, or not at all, while the other side may fail as well: the broker stands still and goes on, or others join and
leave its group; the API answers nothing but 503 in the middle of a crawl; the server of webhooks is killed between the
write and the 202, PostgreSQL and MariaDB while a run reads their logs. Then a run goes to its end, and what the lake
holds must be what was sent: nothing lost, nothing twice, each key in its order.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter, deque
from contextlib import ExitStack
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))
from crash_sides import SECRET, Hooks, Maria, Postgres, Process, Shop, Topic
from dying import dies_at, place_of

TABLE = "bronze.t_crashed"
FOLLOWED = ("cdc", "binlog")  # kinds that read the log of a database, which begin with its rows
SHARED = (
    "ledger.open_batch", "ledger.Outcome.save", "ledger.bind", "lake.Lake.put", "lake.Lake.delete",
    "lake.Lake.write_file", "lake.Lake.append_batch", "run.ingest.noted", "run.ingest.sweep", "run.ingest._release",
)  # fmt: skip
POINTS: dict[str, tuple[str, ...]] = {
    "topic": (
        *SHARED, "sources.protocols.kafka.client.partitions", "sources.protocols.kafka.client.bounds",
        "sources.protocols.kafka.client.messages", "sources.protocols.kafka.client.commit",
        "sources.streams.Streams._records",
    ),
    "api": (
        *SHARED, "sources.apis.first_page", "sources.spool.Spool.keep", "sources.spool.Spool.drop",
        "sources.protocols.web.pace.Bucket._write", "sources.protocols.web.auth._fetched",
        "sources.protocols.web.session.Session._sent", "sources.protocols.web.crawl._asked",
    ),
    "webhooks": (
        *SHARED, "sources.webhooks.Webhooks.records_in", "sources.protocols.hooks.journal.frames",
        "sources.protocols.hooks.journal.retire", "sources.protocols.hooks.journal._keep",
        "sources.protocols.hooks.journal._sync_folder",
    ),
    "cdc": (
        *SHARED, "sources.cdc.Cdc._ahead", "sources.cdc.Cdc._messages", "sources.cdc.Cdc._of_changes",
        "sources.protocols.changes.slots.Slot.check", "sources.protocols.changes.slots.Slot.move",
        "sources.protocols.changes.slots.Slot._note",
    ),
    "binlog": (
        *SHARED, "sources.binlog.status_of", "sources.binlog.BinlogSource._check",
        "sources.binlog.BinlogSource._range", "sources.binlog.BinlogSource._cursor", "sources.binlog._records",
        "sources.protocols.changes.binlog.Binlog.groups", "sources.protocols.changes.packets.connect",
    ),
}  # fmt: skip


# ---- in the processes that die ----------------------------------------------------------------------------------


def declare() -> None:
    from customer360.platform.tables import Integer, String, Table

    class Crashed(Table, table=TABLE, key=("ID",)):
        """One row per number of a key."""

        ID = String()
        OF = String()
        N = Integer()


def settings_of(root: Path, kind: str, where: str) -> Any:
    from customer360.platform.settings import Settings

    paging = {"kind": "cursor", "path": "meta.after", "parameter": "cursor", "more": "meta.has_more"}
    connections: dict[str, dict[str, Any]] = {
        "topic": {"kind": "kafka", "servers": where, "timeout_seconds": 3},
        "api": {
            "kind": "api", "url": where, "rate": {"per_minute": 60_000, "burst": 1_000}, "attempts": 2,
            "auth": "oauth2", "token_url": f"{where}/oauth/token", "client_id": "us", "client_secret_env": "T_SECRET",
        },
        "webhooks": {"kind": "webhook", "secret_env": "T_HOOK"},
    } | ({kind: json.loads(where)} if kind in FOLLOWED else {})  # fmt: skip
    ways: dict[str, dict[str, Any]] = {
        "topic": {"kind": "streams", "topic": "ticks", "batch_size": 7, "metadata": True},
        "api": {"kind": "apis", "path": "cursor/orders", "since": {}, "paging": paging,
                "parameters": {"since": "{since}", "limit": "5"}, "mapping": {"ID": "id", "OF": "of", "N": "n"}},
        "webhooks": {"kind": "webhooks", "batch_size": 4},
    } | {of: {"kind": of, "relation": "ticks", "mapping": {"ID": "id", "OF": "k", "N": "n"}}
         for of in FOLLOWED}  # fmt: skip
    return Settings.model_validate({
        "landing": str(root / "landing"), "lake": {"root": str(root / "lake"), "buckets": 2},
        "state": str(root / "state"), "execution": {"executor": "local", "retry": {"attempts": 1}},
        "connections": {"other": connections[kind]},
        "sources": {"ticks": {"table": TABLE, "system": "LAB", "connection": "other", **ways[kind]}},
    })  # fmt: skip


def one_run(request: dict[str, Any]) -> None:
    import customer360.platform.run as runs
    from customer360.platform.errors import Customer360Error
    from customer360.platform.run import RunRequest

    if request.get("point"):
        dies_at(f"customer360.platform.{request['point']}", request["side"], request["nth"])
    settings = settings_of(Path(request["root"]), request["kind"], request["where"])
    try:
        runs.run(settings, RunRequest(end=TABLE), rules={})
    except Customer360Error as fault:  # the other side is not there: the next run lands it
        print(fault, file=sys.stderr)
        os._exit(3)


def drive() -> None:
    """Fork a process for each line that asks for a run, and say how it ended."""
    import customer360.platform.run
    import customer360.platform.run.ingest
    import customer360.platform.sources.apis
    import customer360.platform.sources.binlog
    import customer360.platform.sources.cdc
    import customer360.platform.sources.streams
    import customer360.platform.sources.webhooks  # noqa: F401 - once, for all that are forked

    declare()
    for line in sys.stdin:
        request = json.loads(line)
        forked = os.fork()
        if not forked:
            one_run(request)
            os._exit(0)
        if "seconds" in request:
            time.sleep(request["seconds"])
            os.kill(forked, signal.SIGKILL)
        _, status = os.waitpid(forked, 0)
        print(json.dumps("killed" if os.WIFSIGNALED(status) else os.waitstatus_to_exitcode(status)), flush=True)


def serve_hooks(root: Path, port: int) -> None:
    """The server of webhooks, which dies around the write of a message that asks for it, once."""
    import uvicorn
    from fastapi import FastAPI

    from customer360.platform.sources.protocols.hooks.journal import Journal
    from customer360.serve.api import hooks

    declare()
    real = Journal.append

    def append(self: Journal, key: str, content: bytes) -> bool:
        for side in ("before", "after"):
            mark = root / f"died-{key.replace(':', '-')}"
            asked = f'"die": "{side}"'.encode() in content and not mark.exists()
            if asked and side == "before":
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            if asked:
                real(self, key, content)
                mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return real(self, key, content)

    Journal.append = append  # type: ignore[method-assign]
    app = FastAPI()
    app.state.hooks = hooks.Hooks(settings_of(root, "webhooks", ""))
    app.include_router(hooks.router)
    uvicorn.run(app, host="127.0.0.1", port=port, log_level="error")


def serve_topic() -> None:
    """The broker, in a process of its own, so that it can stand still: a line is the messages to write."""
    from kafka_broker import broker

    with broker() as made:
        print(made.servers, flush=True)
        for line in sys.stdin:
            for key, value in json.loads(line):
                made.send("ticks", [value.encode()], key=key.encode())
            print("written", flush=True)


# ---- what must hold -----------------------------------------------------------------------------------------------


SIDES: dict[str, Any] = {"topic": Topic, "api": Shop, "webhooks": Hooks, "cdc": Postgres, "binlog": Maria}


def held(root: Path, kind: str, sent: dict[str, int]) -> None:
    """What was sent is there, once, and in order."""
    import polars as pl

    from customer360.platform.lake import Lake

    lake = Lake(str(root / "lake"), {}, 2)
    rows = lake.scan(TABLE).collect()
    expected = {f"{key}-{n}" for key, last in sent.items() for n in range(last + 1)}
    assert set(rows["ID"]) == expected, f"lost: {sorted(expected - set(rows['ID']))[:9]}"
    once = ["_seq", "ID"] if kind == "api" else ["ID"]  # an API is asked for what it showed just now, too
    assert not rows.select(once).is_duplicated().any(), f"twice: {rows.filter(rows.select(once).is_duplicated())}"
    place = ["_file", "_position"] + (["_seq"] if kind == "api" else [])  # two windows of one second have one name
    stands = rows.select(place).is_duplicated()
    assert not stands.any(), (
        f"one place twice: {rows.filter(stands).select('_seq', '_file', '_position', 'ID').rows()[:6]}"
    )
    if kind == "api":
        return
    if kind in FOLLOWED:
        for (key,), of in rows.sort("_seq", "_position").partition_by("OF", as_dict=True, maintain_order=True).items():
            assert of["N"].is_sorted(), f"{key}: {of['N'].to_list()}"
        return
    begins = pl.col("_file").str.extract(r":(\d+)-\d+$").cast(pl.Int64) if kind == "webhooks" else pl.col("N")
    file = pl.col("_file").str.extract(r"^([^:]+)") if kind == "webhooks" else pl.lit("")
    if kind == "topic":
        rows = rows.with_columns(begins=pl.col("_file").str.extract(r":(\d+)-\d+$").cast(pl.Int64), file=file)
        inside = rows.sort("_seq", "_file", "_position")
        within = inside.group_by("_seq", "_file", "OF", maintain_order=True).agg("N")
        assert all(numbers == sorted(numbers) for numbers in within["N"].to_list())
        batches = rows.group_by("OF", "_seq").agg(low=pl.col("N").min(), high=pl.col("N").max()).sort("OF", "_seq")
        ahead = batches.with_columns(next=pl.col("low").shift(-1).over("OF"))
        assert ahead.filter(pl.col("next") <= pl.col("high")).is_empty(), "out of order"
        return
    rows = rows.with_columns(begins=begins, file=file).sort("_seq", "file", "begins", "_position")
    for (key,), of in rows.partition_by("OF", as_dict=True, maintain_order=True).items():
        assert of["N"].is_sorted(), f"{key}: {of['N'].to_list()}"


def crash(root: Path, kind: str, runs: int, seed: int) -> Counter[str]:
    """So many runs that are disturbed, each followed by one that is not; what became of them.

    Raises:
        AssertionError: names the seed of the run after which something is lost, twice or out of order.
    """
    os.environ.update({"T_SECRET": "open-sesame", "T_HOOK": SECRET, "POLARS_MAX_THREADS": "1"})
    (root / "landing").mkdir(parents=True)
    log, counts, sent = root / "log", Counter[str](), {"k0": 0}
    side, driver = SIDES[kind](root, root / "log"), Process("--as", "driver", log=log)
    sides = [(point, where) for point in POINTS[kind] for where in ("before", "after")]
    for point in POINTS[kind]:
        place_of(f"customer360.platform.{point}")  # one that is called otherwise today would kill nobody
    tried, died, waiting = set[tuple[str, str]](), set[tuple[str, str]](), deque[tuple[str, str]]()
    try:
        if kind in FOLLOWED:  # what changes while the first batch waits is in its rows and in the log
            assert json.loads(driver.ask({"root": str(root), "kind": kind, "where": side.where})) == 0, log.read_text()
        for number in range(runs):
            dice = random.Random(f"{seed}/{kind}/{number}")
            rows = []
            for _ in range(dice.randint(1, 25)):
                key = f"k{dice.randrange(5)}"
                sent[key] = sent.get(key, -1) + 1
                rows.append({"ID": f"{key}-{sent[key]}", "OF": key, "N": sent[key]})
            side.send(rows, dice)
            asked: dict[str, Any] = {"root": str(root), "kind": kind, "where": side.where}
            dying: dict[str, Any] = dice.choice(({"seconds": dice.uniform(0, 0.6)}, {}))
            if number % 10 != 9:  # each place in turn, and the first of its calls in the first round
                if not waiting:
                    waiting.extend(sides[(seed + n) % len(sides)] for n in range(len(sides)))
                point, where = waiting.popleft()
                dying = {"point": point, "side": where, "nth": dice.choice((1, 2, 3)) if tried >= set(sides) else 1}
                tried.add((point, where))
            calm = dice.random() < 0.7
            with ExitStack() if calm else side.disturbed(dice):
                ended = json.loads(driver.ask(asked | dying))
            assert ended in ("killed", 0, 3), f"seed {seed}/{kind}/{number} {dying}: {log.read_text()[-1500:]}"
            counts["killed" if ended == "killed" else "failed" if ended else "ended"] += 1
            counts["other side disturbed"] += not calm
            if "point" in dying:
                place = dying["point"], dying["side"]
                (died.add if ended == "killed" else waiting.append)(place)  # one that was not come to is tried again
            # Another one changes nothing; of a log the first may land what waited, and the next what came since
            for _ in range(1 + (number % 4 == 0) + (kind in FOLLOWED)):
                ended = json.loads(driver.ask(asked))
                assert ended == 0, f"seed {seed}/{kind}/{number} does not end: {log.read_text()[-1500:]}"
            try:
                held(root, kind, sent)
            except AssertionError as fault:
                raise AssertionError(f"seed {seed}/{kind}/{number} {dying}: {fault}") from None
        counts["rows"] = sum(sent.values()) + len(sent)
        counts["deaths of the server"] = getattr(side, "deaths", 0)
        counts["places tried"], counts["places died at"] = len(tried), len(died)
        if missed := [f"{where} {point}" for point, where in sides if (point, where) in tried - died]:
            print(f"{kind}: no death {', '.join(missed)}", flush=True)
        return counts
    finally:
        driver.end()
        side.end()


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--runs", type=int, default=200, help="of all kinds together")
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument("--kinds", nargs="*", choices=list(SIDES), default=list(SIDES))
    asked.add_argument("--pause", type=float, help="seconds for which the other side, or the reader, is away instead")
    asked.add_argument("--as", dest="part", nargs="*", default=[], help=argparse.SUPPRESS)
    options = asked.parse_args()
    match options.part:
        case ["driver"]:
            drive()
        case ["topic"]:
            serve_topic()
        case ["hooks", root, port]:
            serve_hooks(Path(root), int(port))
        case _ if options.pause is not None:
            from crash_pauses import pauses

            declare()
            pauses([kind for kind in options.kinds if kind in ("topic", *FOLLOWED)], options.pause, options.seed)
        case _:
            declare()
            for kind in options.kinds:
                with tempfile.TemporaryDirectory() as folder:
                    began = time.perf_counter()
                    found = crash(Path(folder) / kind, kind, -(-options.runs // len(options.kinds)), options.seed)
                    told = ", ".join(f"{what} {count}" for what, count in found.items() if count)
                    print(f"{kind:<9} {told}; {time.perf_counter() - began:,.0f} s", flush=True)


if __name__ == "__main__":
    main()
