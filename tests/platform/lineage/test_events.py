"""Runs as OpenLineage events: what they say, that others read them, and that no fault of a sink is one of a run."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from customer360.platform import ledger
from customer360.platform.errors import ConfigError, RunError
from customer360.platform.ledger import NodeRun, Run
from customer360.platform.lineage import sinks
from customer360.platform.lineage.events import Words, events_of, run_id
from customer360.platform.settings import OpenLineageSettings, Settings


def told(shop: Any, **configured: Any) -> list[dict[str, Any]]:
    """Run the shop with a file for events, and read it."""
    file = shop.root / "events.ndjson"
    settings = shop.settings.model_copy(update={"openlineage": OpenLineageSettings(file=str(file), **configured)})
    with sinks.telling(settings, shop.lake, {}):
        shop.run()
    return [json.loads(line) for line in file.read_text().splitlines()]


@contextmanager
def server(status: int = 200, location: str = "") -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server that takes events, or refuses them."""
    taken: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            taken.append({"path": self.path, "key": self.headers["Authorization"], "event": body})
            self.send_response(status)
            if location:
                self.send_header("Location", location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def do_GET(self) -> None:
            taken.append({"path": self.path, "key": self.headers["Authorization"]})
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: Any) -> None: ...

    listening = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=listening.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listening.server_port}/api/v1/lineage", taken
    finally:
        listening.shutdown()
        listening.server_close()


def test_a_run_and_its_nodes_start_and_end(shop: Any) -> None:
    shop.deliver("1.csv", "s1,ann,ann@shop.example,2,1", "s9,bob,,0,1")
    events = told(shop)
    assert [(e["eventType"], e["job"]["name"]) for e in events] == [
        ("START", "run"),
        ("START", "land.sales"),
        ("COMPLETE", "land.sales"),
        ("START", "silver.t_sales"),
        ("COMPLETE", "silver.t_sales"),
        ("START", "silver.t_days"),
        ("COMPLETE", "silver.t_days"),
        ("START", "gold.t_bounds"),
        ("COMPLETE", "gold.t_bounds"),
        ("START", "gold.t_people"),
        ("COMPLETE", "gold.t_people"),
        ("COMPLETE", "run"),
    ]
    parents = {e["run"]["facets"]["parent"]["run"]["runId"] for e in events if "parent" in e["run"]["facets"]}
    assert parents == {events[0]["run"]["runId"]}
    landed, sales = events[2], events[4]
    assert landed["inputs"][0]["name"].endswith("/landing/sales/*.csv")
    assert landed["inputs"][0]["inputFacets"]["dataQualityMetrics"]["rowCount"] == 2
    (made,) = sales["outputs"]
    assert made["facets"]["symlinks"]["identifiers"][0]["name"] == "silver.t_sales"
    assert made["facets"]["version"]["datasetVersion"] == str(shop.lake.version("silver.t_sales"))
    assert made["outputFacets"]["outputStatistics"]["rowCount"] == 1
    assert made["facets"]["customer360_counts"]["quarantined"] == 1
    assert made["facets"]["dataQualityAssertions"]["assertions"] == [{"assertion": "conservation", "success": True}]
    assert {"key": "pii", "value": "email", "source": "CUSTOMER360", "field": "email"} in made["facets"]["tags"]["tags"]
    columns = made["facets"]["columnLineage"]
    (units,) = columns["fields"]["units"]["inputFields"]
    assert units["field"] == "UNITS"
    assert units["name"] == sales["inputs"][0]["name"]
    assert units["transformations"] == [{"type": "DIRECT", "subtype": "IDENTITY"}]


def test_what_is_current_did_not_run(filled: Any) -> None:
    assert [e["job"]["name"] for e in told(filled)] == ["run", "run"]


def test_no_value_of_a_row_is_told(filled: Any) -> None:
    filled.deliver("3.csv", "s4,eve,eve@shop.example,7,1", "s5,eve,,0,1")
    text = json.dumps(told(filled))
    assert "@shop.example" not in text
    assert "eve" not in text.replace("events", "").replace("eventT", "").replace("every", "").replace("level", "")


def test_events_are_what_the_client_of_openlineage_makes(shop: Any) -> None:
    client = pytest.importorskip("openlineage.client.facet_v2", reason="openlineage-python is not installed")
    from openlineage.client import event_v2

    modules = {
        "columnLineage": (client.column_lineage_dataset, "ColumnLineageDatasetFacet"),
        "dataQualityAssertions": (client.data_quality_assertions_dataset, "DataQualityAssertionsDatasetFacet"),
        "dataQualityMetrics": (client.data_quality_metrics_input_dataset, "DataQualityMetricsInputDatasetFacet"),
        "documentation": (client.documentation_dataset, "DocumentationDatasetFacet"),
        "errorMessage": (client.error_message_run, "ErrorMessageRunFacet"),
        "jobType": (client.job_type_job, "JobTypeJobFacet"),
        "nominalTime": (client.nominal_time_run, "NominalTimeRunFacet"),
        "outputStatistics": (client.output_statistics_output_dataset, "OutputStatisticsOutputDatasetFacet"),
        "parent": (client.parent_run, "ParentRunFacet"),
        "processing_engine": (client.processing_engine_run, "ProcessingEngineRunFacet"),
        "schema": (client.schema_dataset, "SchemaDatasetFacet"),
        "storage": (client.storage_dataset, "StorageDatasetFacet"),
        "symlinks": (client.symlinks_dataset, "SymlinksDatasetFacet"),
        "tags": (client.tags_dataset, "TagsDatasetFacet"),
        "version": (client.dataset_version_dataset, "DatasetVersionDatasetFacet"),
    }

    def check(facets: dict[str, Any]) -> None:
        for name, said in facets.items():
            if name in modules:
                module, kind = modules[name]
                made = getattr(module, kind)(**{k: v for k, v in said.items() if not k.startswith("_")})
                assert made._get_schema().split("/facets/")[1] == said["_schemaURL"].split("/facets/")[1], name

    shop.deliver("1.csv", "s1,ann,ann@shop.example,2,1", "s9,bob,,0,1")
    for event in told(shop):
        event_v2.RunEvent(
            eventType=event_v2.RunState[event["eventType"]],
            eventTime=event["eventTime"],
            run=event_v2.Run(event["run"]["runId"], {}),
            job=event_v2.Job(event["job"]["namespace"], event["job"]["name"], {}),
            producer=event["producer"],
        )
        for of in (event["run"], event["job"], *event["inputs"], *event["outputs"]):
            for kind in ("facets", "inputFacets", "outputFacets"):
                check(of.get(kind, {}))


@pytest.mark.parametrize(
    "reason",
    [
        "ValueError: could not parse 'ann@shop.example' as int",
        "Ann Example.csv: ValueError: row Ann Example of Main Street 1 is no sale",
    ],
)
def test_a_node_that_fails_says_which_class_of_fault_and_no_word_of_it(reason: str) -> None:
    run = Run("1", "2026-05-01T00:00:00+00:00", "run gold", ended_at="2026-05-01T00:01:00+00:00")
    run.nodes = [NodeRun("silver.t_x", "failed", 2.0, reason=reason)]
    *_, failed, ended = events_of(run, Words(Settings(), {}))
    message = "silver.t_x: ValueError"
    for event in (failed, ended):
        assert (event["eventType"], event["run"]["facets"]["errorMessage"]["message"]) == ("FAIL", message)
    assert failed["run"]["runId"] == run_id("1", "silver.t_x")


def test_a_run_that_dies_on_its_way_is_told_of_as_failed(shop: Any) -> None:
    file = shop.root / "events.ndjson"
    settings = shop.settings.model_copy(update={"openlineage": OpenLineageSettings(file=str(file))})
    with pytest.raises(KeyboardInterrupt), sinks.telling(settings, shop.lake, {}):
        ledger.start_run("run")
        raise KeyboardInterrupt
    assert [json.loads(line)["eventType"] for line in file.read_text().splitlines()] == ["START", "FAIL"]


def test_events_reach_a_server_with_the_key(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINEAGE_KEY", "k-1")
    with server() as (url, taken):
        settings = shop.settings.model_copy(
            update={"openlineage": OpenLineageSettings(url=url, api_key_env="LINEAGE_KEY")}
        )
        shop.deliver("1.csv", "s1,ann,,2,1")
        with sinks.telling(settings, shop.lake, {}):
            shop.run()
    assert {(t["path"], t["key"]) for t in taken} == {("/api/v1/lineage", "Bearer k-1")}
    assert taken[0]["event"]["eventType"] == "START"
    assert taken[-1]["event"]["job"]["name"] == "run"


@pytest.mark.parametrize("status", [401, 503])
def test_a_server_that_refuses_costs_the_run_nothing(shop: Any, status: int, caplog: pytest.LogCaptureFixture) -> None:
    with server(status) as (url, taken):
        settings = shop.settings.model_copy(update={"openlineage": OpenLineageSettings(url=url)})
        shop.deliver("1.csv", "s1,ann,,2,1")
        with sinks.telling(settings, shop.lake, {}):
            shop.run()
    assert shop.lake.exists("gold.t_people")
    assert len(taken) == (1 if status == 401 else sinks.ATTEMPTS), "asked no more once it refused"
    (said,) = [r.getMessage() for r in caplog.records if "openlineage" in r.getMessage()]
    assert f"answered {status}" in said
    assert "customer360 openlineage --send" in said


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirection_is_no_delivery_and_the_key_does_not_follow_it(status: int) -> None:
    refused = pytest.raises(sinks.SinkFault, match=f"answered {status}")
    with server() as (elsewhere, followed), server(status, elsewhere) as (url, taken), refused:
        sinks.to_server(url, "k-1", 5.0)({"eventType": "START"})
    assert (len(taken), followed) == (1, [])


def test_a_server_that_does_not_answer_is_not_waited_for(
    shop: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sinks, "LAST_SECONDS", 0.2)
    waits = threading.Event()
    monkeypatch.setattr(sinks, "sinks_of", lambda configured: [lambda event: waits.wait(30)])
    settings = shop.settings.model_copy(update={"openlineage": OpenLineageSettings(file="x")})
    shop.deliver("1.csv", "s1,ann,,2,1")
    with sinks.telling(settings, shop.lake, {}):
        shop.run()
    waits.set()
    assert any("were not told of in time" in r.getMessage() for r in caplog.records)


def test_a_key_that_is_not_set_is_said_and_the_run_goes_on(shop: Any, caplog: pytest.LogCaptureFixture) -> None:
    configured = OpenLineageSettings(url="https://lineage.example/api", api_key_env="NO_SUCH_KEY_HERE")
    with pytest.raises(ConfigError, match="NO_SUCH_KEY_HERE is not set"):
        sinks.sinks_of(configured)
    shop.deliver("1.csv", "s1,ann,,2,1")
    with sinks.telling(shop.settings.model_copy(update={"openlineage": configured}), shop.lake, {}):
        shop.run()
    assert shop.lake.exists("gold.t_people")
    assert any("NO_SUCH_KEY_HERE is not set" in r.getMessage() for r in caplog.records)


def test_a_failed_run_ends_as_failed(shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    from customer360.platform import graph

    def breaks(*frames: Any) -> Any:
        raise ValueError("no")

    monkeypatch.setitem(graph.NODES, "gold.t_bounds", replace(graph.NODES["gold.t_bounds"], function=breaks))
    shop.deliver("1.csv", "s1,ann,,2,1")
    with pytest.raises(RunError):
        told(shop)
    events = [json.loads(line) for line in (shop.root / "events.ndjson").read_text().splitlines()]
    assert [(e["eventType"], e["job"]["name"]) for e in events if e["eventType"] == "FAIL"] == [
        ("FAIL", "gold.t_bounds"),
        ("FAIL", "gold.t_people"),
        ("FAIL", "run"),
    ]
