"""The demo's visit: calls that the collector takes, and a run for them alone."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime

from customer360.platform import graph
from customer360.platform import settings as configuration
from customer360.serve.cli import visit
from customer360.serve.compose import compose
from customer360.serve.realtime import names
from customer360.serve.realtime.calls import Reader, Sent


def test_its_calls_are_taken_and_are_events() -> None:
    name, said = visit.collector_of(configuration.load(None, {})) or ("", None)
    assert said is not None and name == "live"
    reader = Reader(said.system, names.event_types(said), names.purposes(said))
    sent = Sent(datetime.now(UTC), "pages")
    taken = [reader.call(call, sent) for call in visit.calls("S00000001", ["P1", "P2"])]
    types = [json.loads(call.entry.record)["eventType"] for call in taken]
    assert types == ["LOGIN", "PRODUCT_VIEW", "PRODUCT_VIEW", "CART_ADD"]
    assert len({call.visitor_id for call in taken}) == 1 and {call.account_id for call in taken} == {"SHOP/S00000001"}


def test_its_run_asks_the_collector_and_builds_what_tells_of_now() -> None:
    compose()
    request = visit.request(configuration.load(None, {}), "live", date(2026, 7, 1))
    assert request.sources == ("live_events",) and request.as_of == date(2026, 7, 1)
    gold = {name for name in request.nodes() if name.startswith("gold.")}
    assert gold == {name for name in graph.NODES if name.startswith("gold.real_time_")} and len(gold) == 3
    assert "silver.events" in request.nodes()
