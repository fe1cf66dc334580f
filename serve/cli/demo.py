"""`customer360 demo`: the main job from nothing, with what came out of it printed step by step, in totals."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import polars as pl

from customer360.pipelines.sample import write_sample
from customer360.pipelines.sample.base import MANIFEST, read_base
from customer360.platform import access, graph, restrictions, telemetry
from customer360.platform.errors import ConfigError, Customer360Error
from customer360.platform.lake.editions import scan_current
from customer360.platform.run import RunRequest, lake_of
from customer360.platform.run.executor import ray_session
from customer360.platform.settings import Settings
from customer360.serve import fulfilment, jobs, modelling
from customer360.serve.cli import portrait, report, totals, visit
from customer360.serve.compose import state_folder
from customer360.serve.orphans import ENDS_WITH
from customer360.serve.publication import quality

START_SECONDS = 180
STOP_SECONDS = 60
SERVER_LOG = "demo-server.log"
ACTOR = "demo"
SEEN = 3  # products that the visit looks at
# The registered ones but `hybrid`, which fits the other recommenders, and more, several times to find the best of them.
MODELS = ("churn", "clv", "segments", "propensity", "item_to_item", "two_tower")
console = report.console


def play(settings: Settings, customers: int, days: int) -> None:
    """Sample, run, train, score, serve and ask; everything goes on from where an earlier demo stopped."""
    began = time.perf_counter()
    with telemetry.only_heartbeats():
        _sample(Path(settings.landing), customers, days)
        with _one_ray(settings):
            as_of = _build(settings)
        _check(settings)
        person = _introduce(settings)
        _ask(settings, person)
        _land_the_visit(settings, as_of)
    console.rule(f"done in {time.perf_counter() - began:.0f} s")
    _say(
        f"Models: mlflow ui --backend-store-uri sqlite:///{settings.state}/mlflow/mlflow.db",
        "Serve:  customer360 serve        Look: customer360 status, customer360 warehouse status, customer360 sql '…'",
    )


def _say(*lines: str) -> None:
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _sample(landing: Path, customers: int, days: int) -> None:
    """The landing zone that is there, or a synthetic one."""
    if landing.exists():
        console.rule(f"1  using the files in {landing}")
        known = read_base(landing.parent) if (landing.parent / MANIFEST).exists() else None
        if known and (known[0].customers, known[0].days) != (customers, days):
            _say(
                f"They are of {known[0].customers:,} people and {known[0].days} days, not of {customers:,} and {days}:"
                f" for these remove {landing.parent}, or name another folder (landing)"
            )
        return
    if landing.name != "landing":
        raise ConfigError(f"landing: the demo makes a folder named landing, and {landing} is not there to be used")
    console.rule(f"1  a synthetic retailer: {customers:,} people, {days} days")
    made = write_sample(landing.parent, customers=customers, days=days, seed=7)
    rows, megabytes = sum(made.rows.values()), made.size_bytes / 1e6
    _say(f"{rows:,} rows in {made.files} files, {megabytes:,.0f} MB, {made.seconds:.0f} s")


@contextmanager
def _one_ray(settings: Settings) -> Iterator[None]:
    """One Ray for the runs and trainings of the block, which else start one each."""
    is_local = settings.execution.executor == "local"
    with nullcontext() if is_local else ray_session(settings.execution, state_folder(settings)):
        yield


def _build(settings: Settings) -> date:
    """Tables, models, scores and the publication; the date that they are of."""
    console.rule("2  bronze, silver, gold on Ray")
    _run(settings, RunRequest(command="demo"))
    _restrain(settings)
    console.rule("3  models on Ray Train, tracked in MLflow")
    needs = {told.model: told for told in modelling.histories(settings, None)}
    for model in MODELS:
        if not needs[model].suffices:
            _say(f"{model:<14} not trained: {needs[model].text}")
            continue
        start = time.perf_counter()
        modelling.train(settings, model, None)
        _say(f"{model:<14} judged on the last known window, fitted, registered   {time.perf_counter() - start:.0f} s")
    console.rule("4  scores, profiles, online store")
    as_of = _run(settings, RunRequest(start="gold", command="demo"))
    jobs.publish(settings)
    return as_of


def _run(settings: Settings, request: RunRequest) -> date:
    began = time.perf_counter()
    with telemetry.heartbeat("bronze, silver, gold"):
        record = jobs.run_pipeline(settings, request)
    as_of = str(request.as_of or record.as_of)
    _say(*totals.built(record), f"as of {as_of}, {time.perf_counter() - began:.0f} s")
    return date.fromisoformat(as_of)


def _restrain(settings: Settings) -> None:
    """What somebody asks for by letter, done: what is about this person is kept, and used for nothing that the request
    restricts until it is released. Once a lake."""
    lake = lake_of(settings)
    if restrictions.restrictions(lake):
        return
    people = lake.scan("silver.people").filter(pl.col("entity_type") == "person")
    person = people.select(pl.col("person_id").min()).collect().item()
    asked = fulfilment.open_request(settings, "restrict", person, actor=ACTOR, identity="signature on the letter")
    done = fulfilment.fulfil(settings, asked.number, actor=ACTOR)
    _say(f"A letter asks to restrict what is about {person}: {done.result}")


def _check(settings: Settings) -> None:
    """The warehouse, and where every record went."""
    lake = lake_of(settings)
    console.rule("5  the star schemas of the warehouse")
    _say(*totals.loaded(jobs.load_warehouse(settings)))
    console.rule("6  where every record went, and how good the data are")
    with telemetry.heartbeat("adding up"):
        _say(*totals.conserved(report.balances(lake, settings)), *totals.graded(quality.overview(lake)))


def _introduce(settings: Settings) -> str:
    """Print one person; returns its id. The people here are synthetic: nothing is masked."""
    lake = lake_of(settings)
    console.rule("7  one person")
    with telemetry.heartbeat("looking for a typical person"):
        person = portrait.typical(lake)
    _say(f"Records of {person}")
    console.print(portrait.records(lake, person))
    _say("Why they are one person (bits of evidence; 0 is even odds)")
    console.print(portrait.reasons(lake, person))
    (row,) = scan_current(lake, "gold.customer_360").filter(pl.col("person_id") == person).collect().to_dicts()
    _say(f"Profile as of {row['as_of']}, by group: until when it knows facts or when it was scored, and first values")
    _say(*portrait.profile(row))
    return person


def _ask(settings: Settings, person: str) -> None:
    """Start the HTTP application in a process of its own, ask it, and stop it."""
    console.rule("8  the same person over HTTP, from Ray Serve")
    base, products = f"http://{settings.serve.host}:{settings.serve.port}", list[str]()
    key = access.issue(state_folder(settings), f"demo {uuid4()}", "service", lives=timedelta(hours=1))
    with _server(settings, base), _revoked_after(settings, key):
        for path in (f"/v1/people/{person}/recommendations?k=5", f"/v1/people/{person}/scores", f"/v1/people/{person}"):
            began = time.perf_counter()
            body = _get(base + path, key)
            _say(f"GET {path}   {1000 * (time.perf_counter() - began):.0f} ms", *portrait.answer(body))
            if "items" in body:
                products = [item["product_id"] for item in body["items"][:SEEN]]
        _visit(settings, base, person, products)


def _visit(settings: Settings, base: str, person: str, products: list[str]) -> None:
    """Send what a page of the shop would: the person comes and looks at what was recommended."""
    found = visit.collector_of(settings)
    account = visit.account_of(lake_of(settings), person, found[1].system) if found else None
    if account is None or not products:
        return
    calls = visit.calls(account, products)
    key = access.issue(state_folder(settings), f"demo pages {uuid4()}", "writer", lives=timedelta(hours=1))
    with _revoked_after(settings, key):
        began = time.perf_counter()
        _post(f"{base}/v1/batch", key, {"batch": calls})
        took = 1000 * (time.perf_counter() - began)
    seen = ", ".join(products)
    _say(f"POST /v1/batch   {took:.0f} ms", f"  {len(calls)} calls of a visit: {account} looks at {seen}")


def _land_the_visit(settings: Settings, as_of: date) -> None:
    """What was done just now as tables, by a micro-batch."""
    found = visit.collector_of(settings)
    if found is None:
        return
    console.rule("9  what was done just now, as a micro-batch")
    _run(settings, visit.request(settings, found[0], as_of))
    lake = lake_of(settings)
    for name in sorted(n for n in graph.NODES if n.startswith(visit.REAL_TIME)):
        _say(f"  {name}: {lake.scan(name).select(pl.len()).collect().item():,} rows")


@contextmanager
def _revoked_after(settings: Settings, key: str) -> Iterator[None]:
    """The key of the block is nobody's afterwards."""
    try:
        yield
    finally:
        access.revoke(state_folder(settings), key.split("_")[1])


@contextmanager
def _server(settings: Settings, base: str) -> Iterator[None]:
    """The HTTP application while the block runs. What it and its Ray print goes to a file, whose path is shown."""
    log = state_folder(settings) / SERVER_LOG
    _say(f"customer360 serve at {base}, its log is {log}")
    with log.open("w") as out:
        server = subprocess.Popen(
            [sys.executable, "-m", "customer360.serve.cli", "serve"],
            env=_environment(settings),
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        with telemetry.heartbeat("starting the HTTP application"):
            _wait(base, server, log)
        yield
    finally:
        # It ends its own Ray; a signal to all of that at once leaves Serve waiting for a dead controller.
        server.terminate()
        try:
            with telemetry.heartbeat("stopping the HTTP application"):
                server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            _say(f"the HTTP application did not stop within {STOP_SECONDS} s and was killed; see {log}")


def _environment(settings: Settings) -> dict[str, str]:
    """The process's environment with the few settings that the server needs, as they are here."""
    return os.environ | {
        "CUSTOMER360__STATE": str(Path(settings.state).absolute()),
        "CUSTOMER360__SERVE__PORT": str(settings.serve.port),
        "CUSTOMER360__SERVE__HOST": settings.serve.host,
        ENDS_WITH: str(os.getpid()),
    }


def _wait(base: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise Customer360Error(f"the server ended with code {server.returncode} before it answered; see {log}")
        try:
            _get(f"{base}/healthz", "")
            return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.5)
    raise Customer360Error(f"{base} did not answer within {START_SECONDS} s; see {log}")


def _get(url: str, key: str) -> Any:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"} if key else {})
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.loads(response.read())


def _post(url: str, key: str, body: Any) -> Any:
    """Send JSON with a write key, which is the user of basic authentication."""
    user = base64.b64encode(f"{key}:".encode()).decode()
    headers = {"Authorization": f"Basic {user}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, data=json.dumps(body).encode(), headers=headers)
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.loads(response.read())
