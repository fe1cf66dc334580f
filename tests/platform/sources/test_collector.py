"""Several sources read one log: each all of it, and what one has not read stays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from customer360.platform import systems
from customer360.platform.lake import Lake
from customer360.platform.run.executor import LocalExecutor
from customer360.platform.run.ingest import ingest
from customer360.platform.settings import ExecutionSettings, RetrySettings, Settings
from customer360.platform.sources import collector
from customer360.platform.sources.protocols.hooks.journal import Journal, segments
from customer360.platform.tables import String, Table
from customer360.serve.compose import compose


@pytest.fixture
def settings(tmp_path: Path, registries: None) -> Settings:
    class Seen(Table, table="bronze.t_seen", key=("ID",)):
        """One row per event."""

        ID = String(nullable=True)

    class Bought(Table, table="bronze.t_bought", key=("ID",)):
        """One row per purchase."""

        ID = String(nullable=True)

    (tmp_path / "landing").mkdir()
    about = {"kind": "collector", "connection": "web", "system": "S", "mapping": {"ID": "messageId"}}
    return Settings.model_validate(
        {
            "landing": str(tmp_path / "landing"),
            "state": str(tmp_path / "state"),
            "lake": {"root": str(tmp_path / "lake"), "buckets": 4},
            "connections": {"web": {"kind": "collector", "system": "S", "keep_minutes": 0}},
            "sources": {
                "seen": {"table": "bronze.t_seen", **about},
                "bought": {"table": "bronze.t_bought", "where": "eventType = 'PURCHASE'", **about},
            },
        }
    )


def land(settings: Settings, *names: str) -> Lake:
    lake = Lake(settings.lake.root, {}, 4)
    executor = LocalExecutor(ExecutionSettings(executor="local", retry=RetrySettings(attempts=1)))
    assert [done.failure for done in ingest(lake, settings, list(names), executor, {})] == [None] * len(names)
    return lake


def ids(lake: Lake, table: str) -> list[str]:
    return sorted(lake.scan(table).collect()["ID"])


def write(settings: Settings, *numbers: int) -> Path:
    """Events of a server that has ended since, every third a purchase, and a call that was refused."""
    folder = collector.folder_of(Path(settings.state), "web")
    made = Journal(folder)
    for number in numbers:
        kind = "PURCHASE" if number % 3 == 0 else "PAGE_VIEW"
        record = json.dumps({"messageId": f"m{number}", "eventType": kind}).encode()
        made.append(f"m{number}", collector.message(f"m{number}", record))
    made.append(f"odd{numbers[0]}", collector.message(f"odd{numbers[0]}", b'{"no": "call"}', "type is missing"))
    made._end(made._name)
    return folder


def test_a_segment_stays_until_every_source_has_it(settings: Settings) -> None:
    folder = write(settings, *range(7))
    assert ids(land(settings, "seen"), "bronze.t_seen") == [f"m{n}" for n in range(7)]
    assert len(segments(folder)) == 1 and collector.backlog(folder, ("seen", "bought")) > 0
    assert collector.backlog(folder, ("seen",)) == 0
    write(settings, 7, 8, 9)
    assert ids(land(settings, "bought"), "bronze.t_bought") == ["m0", "m3", "m6", "m9"]
    assert len(segments(folder)) == 1  # the second, of which one source has nothing yet
    assert len(ids(land(settings, "seen", "bought"), "bronze.t_seen")) == 10
    assert segments(folder) == []
    assert len(ids(land(settings, "seen", "bought"), "bronze.t_bought")) == 4


def test_what_was_refused_is_told_of_once_with_its_reason(settings: Settings) -> None:
    write(settings, 1)
    letters = land(settings, "bought", "seen").scan("quality.dead_letters").collect()
    assert letters.select("source", "reason", "raw").rows() == [("seen", "type is missing", b'{"no": "call"}')]


def test_events_stay_as_long_as_a_visit(settings: Settings) -> None:
    web = settings.connections["web"].model_copy(update={"keep_minutes": 30.0})
    kept = settings.model_copy(update={"connections": {"web": web}})
    folder = write(kept, 1, 2)
    land(kept, "seen", "bought")
    assert len(segments(folder)) == 1 and collector.backlog(folder, ("seen", "bought")) == 0
    land(settings, "seen", "bought")
    assert segments(folder) == []


VIEW = {"type": "page", "messageId": "m1", "anonymousId": "a1", "timestamp": "2026-04-01T10:00:00Z", "writer": "shop",
        "context": {"sessionId": "s1", "campaign": {"name": "spring"}}, "eventType": "PAGE_VIEW"}  # fmt: skip
LOGIN = {"type": "identify", "messageId": "m2", "anonymousId": "a1", "userId": "u1", "traits": {"lastName": "Moss"},
         "timestamp": "2026-04-01T10:01:00Z", "writer": "till", "trusted": True, "eventType": "LOGIN",
         "consents": [{"purpose": "EMAIL", "answer": "NO"}]}  # fmt: skip


@pytest.mark.parametrize("first", [[], [VIEW]])
def test_no_call_stops_a_source_of_the_recipe_when_it_is_alone(tmp_path: Path, first: list[dict[str, Any]]) -> None:
    compose()
    (tmp_path / "landing").mkdir()
    web = {"recipe": "collector/calls", "kind": "collector", "connection": "web", "system": "SHOP"}
    settings = Settings.model_validate(
        {
            "landing": str(tmp_path / "landing"),
            "state": str(tmp_path / "state"),
            "lake": {"root": str(tmp_path / "lake"), "buckets": 4},
            "connections": {"web": {"kind": "collector", "system": "SHOP"}},
            "sources": systems.with_recipes({"web": web}),
        }
    )
    made = Journal(collector.folder_of(Path(settings.state), "web"))
    made.append("odd", collector.message("odd", b'{"no": "call"}', "type is missing"))
    made.append("torn", collector.message("torn", b'{"type": "page", '))
    for call in first:
        made.append(call["messageId"], collector.message(call["messageId"], json.dumps(call).encode()))
    made._end(made._name)
    lake = land(settings, *settings.sources)
    assert lake.scan("quality.dead_letters").collect()["reason"].str.contains("type is missing").sum() == 1
    made = Journal(collector.folder_of(Path(settings.state), "web"))
    for call in [VIEW, LOGIN]:
        made.append(f"{call['messageId']}-2", collector.message(f"{call['messageId']}-2", json.dumps(call).encode()))
    made._end(made._name)
    lake = land(settings, *settings.sources)
    assert lake.scan("bronze.customers").collect()["CUSTOMER_ID"].to_list() == ["u1"]
    assert lake.scan("bronze.events").collect()["EVENT_ID"].unique().sort().to_list() == ["m1", "m2"]
    assert lake.scan("bronze.sessions").collect()["SESSION_ID"].unique().to_list() == ["s1"]
