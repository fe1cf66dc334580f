"""Events that the very next answer must know: `python tests/bench/effects.py [--trials 100000] [--replicas 1|2]`.

A trial puts the product that a visitor is shown first into the visitor's cart, and asks again when the collector has
acknowledged it: an answer that still shows the product is a miss. With two replicas, two applications over one state
folder, the other one is asked. All is asked in this process, without sockets, which leaves an event the least time to
be late. Prints misses (0 is expected; else it ends with code 1), and milliseconds from the event to the answer.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import yaml
from conditions import conditions
from fastapi import FastAPI

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from choices import publish_world

from customer360.platform import access, settings
from customer360.serve.app import build_app

EACH = 20  # trials of a visitor, whose cart fills
TOLD = 10  # parts after which figures so far are printed


async def post(app: FastAPI, path: str, key: str, said: dict[str, Any]) -> dict[str, Any]:
    """What an application answers to a body."""
    body, sent = json.dumps(said).encode(), list[Any]()
    headers = [(b"x-api-key", key.encode()), (b"content-type", b"application/json")]
    headers.append((b"content-length", str(len(body)).encode()))
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "path": path,
        "raw_path": path.encode(), "query_string": b"", "root_path": "", "scheme": "http", "headers": headers,
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80), "state": {},
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)
    if sent[0]["status"] != 200:
        raise SystemExit(f"{path}: {sent}")
    found: dict[str, Any] = json.loads(sent[1]["body"])
    return found


async def tried(apps: Sequence[FastAPI], keys: dict[str, str], visitor: str, draw: random.Random) -> list[float]:
    """Milliseconds of each trial of a visitor; minus one for a miss."""
    took = list[float]()
    wanted = {"placement": "home", "k": 5, "visitor_id": visitor}
    shown = await post(apps[0], "/v1/recommendations", keys["reader"], wanted)
    for _ in range(EACH):
        taking, asked = draw.sample(list(apps), 2) if len(apps) > 1 else (apps[0], apps[0])
        product = shown["items"][0]["product_id"]
        call = {"anonymousId": visitor, "event": "Product Added", "properties": {"product_id": product}}
        since = perf_counter()
        await post(taking, "/v1/track", keys["writer"], call)
        shown = await post(asked, "/v1/recommendations", keys["reader"], wanted)
        is_missed = product in [item["product_id"] for item in shown["items"]]
        took.append(-1.0 if is_missed else 1e3 * (perf_counter() - since))
    return took


async def measured(apps: Sequence[FastAPI], keys: dict[str, str], trials: int, seed: int) -> int:
    """Make the trials and tell of them; how many were missed."""
    draw, took, began = random.Random(seed), np.empty(0), process_time()
    for part in range(TOLD):
        for number in range(-(-trials // (EACH * TOLD))):
            took = np.append(took, await tried(apps, keys, f"v-{part}-{number}", draw))
        told = {
            "trials": len(took), "replicas": len(apps), "misses": int((took < 0).sum()),
            "ms_p50": round(float(np.percentile(took, 50)), 2), "ms_p99": round(float(np.percentile(took, 99)), 2),
            "ms_of_cpu_a_trial": round(1e3 * (process_time() - began) / len(took), 2),
            "load": round(os.getloadavg()[0], 1),
        }  # fmt: skip
        print(json.dumps(told), flush=True)
    return int((took < 0).sum())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--trials", type=int, default=100_000)
    parser.add_argument("--replicas", type=int, default=1, choices=(1, 2))
    parser.add_argument("--seed", type=int, default=3, help="of the replicas that take and answer")
    given = parser.parse_args()
    print(conditions("fastapi"))
    with tempfile.TemporaryDirectory() as folder:
        state = publish_world(Path(folder) / "state", 2000, 50).state
        web = {"kind": "collector", "system": "SHOP", "events_per_minute": 0, "backlog_megabytes": 100_000}
        read = {"recipe": "collector/calls", "kind": "collector", "connection": "web", "system": "SHOP"}
        file = Path(folder) / "settings.yaml"
        file.write_text(yaml.safe_dump({"state": str(state), "connections": {"web": web}, "sources": {"web": read}}))
        keys = {role: access.issue(state, role, role) for role in ("reader", "writer")}
        apps = [build_app(settings.load(str(file))) for _ in range(given.replicas)]
        return 1 if asyncio.run(measured(apps, keys, given.trials, given.seed)) else 0


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    os._exit(code)  # timers of segments are of nobody any more
