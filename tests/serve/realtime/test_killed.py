"""A server that is killed at any moment has lost nothing that it acknowledged, keeps nothing twice, and no order."""

from __future__ import annotations

import base64
import http.client
import json
import random
import threading
from collections.abc import Callable
from typing import Any

import polars as pl
import pytest

from customer360.platform.settings import Settings

VISITORS, EVENTS, KILLS = 6, 120, 3


class Visitor(threading.Thread):
    """Sends its events one after the other, in batches of some, until each is acknowledged; however often."""

    def __init__(self, number: int, key: str, port: Callable[[], int]) -> None:
        super().__init__(daemon=True)
        self.name = f"v{number}"
        self._auth = base64.b64encode(f"{key}:".encode()).decode()
        self._port = port
        self._dice = random.Random(number)
        self.acknowledged: list[str] = []
        self.sent_again = 0

    def run(self) -> None:
        at = 0
        while at < EVENTS:
            upto = min(EVENTS, at + self._dice.randint(1, 5))
            calls = [
                {"type": "track", "event": "Product Viewed", "messageId": f"{self.name}-{n}", "anonymousId": self.name,
                 "properties": {"product_id": f"P{n}"}}
                for n in range(at, upto)
            ]  # fmt: skip
            if self._send(json.dumps({"batch": calls})):
                self.acknowledged += [str(call["messageId"]) for call in calls]
                at = upto
            else:
                self.sent_again += 1
                threading.Event().wait(0.1)

    def _send(self, body: str) -> bool:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self._port(), timeout=5)
            connection.request("POST", "/v1/batch", body, {"Authorization": f"Basic {self._auth}"})
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


@pytest.mark.slow
def test_nothing_acknowledged_is_lost_doubled_or_out_of_order(
    serve: Callable[[Settings], Any],
    settings: Settings,
    write_key: str,
    land: Callable[[Settings], dict[str, pl.DataFrame]],
) -> None:
    server = serve(settings)
    visitors = [Visitor(number, write_key, lambda: server.port) for number in range(VISITORS)]
    for each in visitors:
        each.start()
    for kill in range(KILLS):
        while sum(len(v.acknowledged) for v in visitors) < (kill + 1) * VISITORS * EVENTS // (KILLS + 1):
            threading.Event().wait(0.005)
        server.kill()
        land(settings)  # a run while nobody writes, and senders wait
        server = serve(settings)
    for each in visitors:
        each.join(120)
        assert not each.is_alive()
    found = land(settings)["bronze.events"].sort("_seq", "_file", "_position")
    acknowledged = {number for v in visitors for number in v.acknowledged}
    assert len(acknowledged) == VISITORS * EVENTS and sum(v.sent_again for v in visitors) >= KILLS
    assert set(found["EVENT_ID"]) == acknowledged
    assert found["EVENT_ID"].is_duplicated().sum() == 0
    for each in visitors:
        mine = found.filter(VISITOR_ID=each.name)["PRODUCT_ID"].to_list()
        assert mine == [f"P{n}" for n in range(EVENTS)]
