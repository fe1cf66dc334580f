"""What an API under a limit sees of many who ask at once: no more than it allows, one new token, and an end."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest

from customer360.platform.connections.api import Api, Rate
from customer360.platform.lake import Lake
from customer360.platform.sources.protocols.web.auth import Caller
from customer360.platform.sources.protocols.web.pace import Bucket
from customer360.platform.sources.protocols.web.session import Request, Session

Shop = Any  # api_server.Shop
WORKERS = 12
JITTER = 0.1  # seconds by which one way to the server may take longer than another


@pytest.fixture
def shop(shop_api: Shop) -> Shop:
    shop_api.__init__(url=shop_api.url)
    shop_api.orders = [{"id": "1", "updated_at": "2026-07-01T10:00:00+00:00"}]
    return shop_api


def by_many(lake: Lake, api: Api, path: str, each: int) -> None:
    """Requests of workers that share nothing but the lake and this process."""

    def work(_: int) -> None:
        with Session(Caller(api), Bucket(api.rate, lake, "_spool/.rates/shop.json"), 10.0, 30) as session:
            for _ in range(each):
                session.ask(Request("GET", f"{api.url}/{path}"))

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(work, range(WORKERS)))


def most_at_once(seen: list[float], rate: Rate) -> float:
    """The largest number of requests in any window, beyond what the rate gives in it."""
    return max(
        last - first + 1 - (seen[last] - seen[first] + JITTER) * rate.per_minute / 60
        for first in range(len(seen))
        for last in range(first, len(seen))
    )


@pytest.mark.parametrize(
    ("rate", "each"),
    [
        (Rate(per_minute=2_400, burst=80), 12),
        pytest.param(Rate(per_minute=40, burst=80), 7, marks=pytest.mark.slow),
    ],
)
def test_no_window_has_more_than_the_burst_and_the_rate(shop: Shop, tmp_path: Path, rate: Rate, each: int) -> None:
    lake = Lake(str(tmp_path / "lake"), {}, 4)
    by_many(lake, Api(url=shop.url, rate=rate), "body/orders", each)
    assert len(shop.seen) == WORKERS * each
    assert most_at_once(shop.seen, rate) <= rate.burst


def test_forty_who_are_refused_at_once_get_one_new_token(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_SECRET", "open-sesame")
    api = Api(
        url=shop.url, auth="oauth2", token_url=f"{shop.url}/oauth/token", client_id="us",
        client_secret_env="SHOP_SECRET", rate=Rate(per_minute=60_000, burst=1_000),
    )  # fmt: skip
    together, lake = Barrier(40), Lake(str(tmp_path / "lake"), {}, 4)

    def work(number: int) -> int:
        with Session(Caller(api), Bucket(api.rate, lake, "_spool/.rates/shop.json"), 10.0, 3) as session:
            session.ask(Request("GET", f"{api.url}/secured/orders.json"))
            together.wait()
            if not number:  # what was given ends before it should
                shop.tokens.update(dict.fromkeys(shop.tokens, 0.0))
            together.wait()
            return len(session.ask(Request("GET", f"{api.url}/secured/orders.json")).content)

    with ThreadPoolExecutor(40) as pool:
        assert min(pool.map(work, range(40))) > 0
    assert len(shop.tokens) == 2


@pytest.mark.parametrize("limit", [(60_000.0, 3), pytest.param((600.0, 2), marks=pytest.mark.slow)])
def test_a_storm_of_refusals_ends(shop: Shop, tmp_path: Path, limit: tuple[float, int]) -> None:
    """The API allows far less than the settings say: who is refused waits as long as it asks for, all together."""
    shop.per_minute, shop.burst = limit
    shop.faults = [(429, {"Retry-After": "0.2"}, "")] * 40
    lake, began = Lake(str(tmp_path / "lake"), {}, 4), time.monotonic()
    by_many(lake, Api(url=shop.url, rate=Rate(per_minute=6_000, burst=500)), "body/orders", 3)
    answered = len(shop.seen) - shop.refused - 40
    assert answered == WORKERS * 3 and not shop.faults
    assert len(shop.seen) < 40 + 6 * WORKERS * 3, "it hammers"
    assert time.monotonic() - began < 60
