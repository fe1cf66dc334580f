"""What an API under a limit sees of many who ask at once: `python tests/bench/api_limits.py [--each 12]`.

Twelve workers that share a lake and nothing else ask an API of the tests as fast as a limit of 80 at once and 40 a
minute lets them. Then forty ask with a token that the API has just taken back; and twelve ask an API that refuses the
first 200 requests and then allows 600 a minute, where the settings say 6,000. What the server saw is counted.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from bisect import bisect_left
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

from conditions import conditions

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from api_server import Shop, serving

from customer360.platform.connections.api import Api, Rate
from customer360.platform.lake import Lake
from customer360.platform.sources.protocols.web.auth import Caller
from customer360.platform.sources.protocols.web.pace import Bucket
from customer360.platform.sources.protocols.web.session import Request, Session

WORKERS, MANY, REFUSED = 12, 40, 200
ORDER = {"id": "1", "updated_at": "2026-07-01T10:00:00+00:00"}


def asked(lake: Lake, api: Api, path: str, each: int, workers: int = WORKERS) -> float:
    """Seconds that workers take for so many requests each."""
    began = time.monotonic()

    def work(_: int) -> None:
        with Session(Caller(api), Bucket(api.rate, lake, "_spool/.rates/shop.json"), 10.0, 60) as session:
            for _ in range(each):
                session.ask(Request("GET", f"{api.url}/{path}"))

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(work, range(workers)))
    return time.monotonic() - began


def most_in(seen: list[float], seconds: float) -> int:
    """The largest number of requests in any window of so many seconds."""
    return max(bisect_left(seen, begin + seconds) - n for n, begin in enumerate(seen))


def renewed(shop: Any, lake: Lake) -> int:
    """How many tokens are asked for when one that forty hold is taken back."""
    os.environ["SHOP_SECRET"] = "open-sesame"
    api = Api(
        url=shop.url, auth="oauth2", token_url=f"{shop.url}/oauth/token", client_id="us",
        client_secret_env="SHOP_SECRET", rate=Rate(per_minute=60_000, burst=1_000),
    )  # fmt: skip
    together = Barrier(MANY)

    def work(number: int) -> None:
        with Session(Caller(api), Bucket(api.rate, lake, "_spool/.rates/token.json"), 10.0, 3) as session:
            session.ask(Request("GET", f"{api.url}/secured/orders.json"))
            together.wait()
            if not number:
                shop.tokens.update(dict.fromkeys(shop.tokens, 0.0))
            together.wait()
            session.ask(Request("GET", f"{api.url}/secured/orders.json"))

    with ThreadPoolExecutor(MANY) as pool:
        list(pool.map(work, range(MANY)))
    return len(shop.tokens) - 1


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--each", type=int, default=12, help="requests of each worker under the limit")
    said = options.parse_args()
    print(conditions())
    shop = Shop()
    shop.orders = [ORDER]
    with tempfile.TemporaryDirectory() as folder, serving(shop):
        took = asked(Lake(f"{folder}/1", {}, 2), Api(url=shop.url, rate=Rate(per_minute=40, burst=80)), "body/orders",
                     said.each)  # fmt: skip
        seen = sorted(shop.seen)
        told = f"{len(seen)} requests of {WORKERS} workers in {took:.0f} s"
        most = f"in any second at most {most_in(seen, 1)}, in any minute {most_in(seen, 60)}"
        print(f"limit: {told}; {most} (80, and 40 more in a minute, are allowed)", flush=True)
        print(f"token: {renewed(shop, Lake(f'{folder}/2', {}, 2))} asked for by {MANY} who were refused", flush=True)
        shop.seen.clear()
        shop.refused, shop.per_minute, shop.burst = 0, 600.0, 10
        shop.faults = [(429, {"Retry-After": "1"}, "")] * REFUSED
        took = asked(Lake(f"{folder}/3", {}, 2), Api(url=shop.url, rate=Rate(per_minute=6_000, burst=500)),
                     "body/orders", 5)  # fmt: skip
        answered = len(shop.seen) - shop.refused - REFUSED
        print(f"storm: {answered} answers to {WORKERS * 5} questions after {REFUSED} refusals and {shop.refused} more, "
              f"in {took:.0f} s and {len(shop.seen)} requests; {conditions()}")  # fmt: skip


if __name__ == "__main__":
    main()
