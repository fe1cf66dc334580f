"""`customer360 demo`: the main job from nothing, with what came out of it printed step by step."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import polars as pl

from customer360.pipelines.gold.customers import GROUPS
from customer360.pipelines.sample import write_sample
from customer360.platform import access, tables
from customer360.platform.errors import Customer360Error
from customer360.platform.lake import Lake
from customer360.platform.lake.editions import scan_newest
from customer360.platform.run import RunRequest, lake_of
from customer360.platform.settings import Settings
from customer360.platform.tables import Table
from customer360.serve import jobs
from customer360.serve.cli import report
from customer360.serve.cli.warehouse import show as show_load
from customer360.serve.compose import state_folder
from customer360.serve.publication import quality

START_SECONDS = 90
QUALITY_ROWS = 5  # failing checks and people shown
MODELS = ("churn", "clv", "item_to_item")  # some of the registered ones; `customer360 train all` takes longer
console = report.console


def play(settings: Settings, customers: int, days: int) -> None:
    """Sample, run, train, score, serve and ask; everything goes on from where an earlier demo stopped."""
    began = time.perf_counter()
    landing = Path(settings.landing)
    if landing.exists():
        console.rule(f"1  using the files in {landing}")
    else:
        console.rule(f"1  a synthetic retailer: {customers:,} people, {days} days")
        made = write_sample(landing.parent, customers=customers, days=days, seed=7)
        console.print(
            f"{sum(made.rows.values()):,} rows in {made.files} files, {made.size_bytes / 1e6:,.0f} MB, {made.seconds:.0f} s"
        )
    console.rule("2  bronze, silver, gold on Ray")
    jobs.run_pipeline(settings, RunRequest(command="demo"))
    console.rule("3  models on Ray Train, tracked in MLflow")
    for model in MODELS:
        jobs.train(settings, model, None)
    console.rule("4  scores, profiles, online store")
    jobs.run_pipeline(settings, RunRequest(start="gold", command="demo"))
    jobs.publish(settings)
    console.rule("5  the star schemas of the warehouse")
    show_load(jobs.load_warehouse(settings))
    console.rule("6  where every record went, and how good the data are")
    lake = lake_of(settings)
    report.conservation(lake, settings)
    report.quality_summary(quality.overview(lake, QUALITY_ROWS), QUALITY_ROWS)
    console.rule("7  one person")
    person = _someone(lake)
    _tell(lake, person)
    console.rule("8  the same person over HTTP, from Ray Serve")
    _ask(settings, person)
    console.rule(f"done in {time.perf_counter() - began:.0f} s")
    console.print(f"Models: mlflow ui --backend-store-uri sqlite:///{settings.state}/mlflow/mlflow.db")
    console.print(
        "Serve:  customer360 serve        Look: customer360 status, customer360 quarantine list, customer360 sql '…'"
    )


def _someone(lake: Lake) -> str:
    """A typical merged person: one record in each source system, facts in most groups, consent; then the lowest id."""
    scored = scan_newest(lake, "gold.customer_360").filter(
        pl.col("churn_probability").is_not_null(), pl.col("may_personalize"), pl.col("order_count_365d") > 2
    )
    merged = scored.filter(pl.col("record_count") > 1).with_columns(
        systems=pl.col("source_systems").list.len(),
        groups=pl.sum_horizontal(pl.col(f"{group}_until_at").is_not_null() for group in GROUPS),
    )
    order = (pl.col("record_count") == pl.col("systems"), "systems", "groups", "order_count_365d", "person_id")
    found = merged.sort(*order, descending=[True, True, True, True, False]).select("person_id").head(1).collect()
    if found.is_empty():
        raise Customer360Error("no merged person with purchases and a churn score to show; was the sample too small?")
    return str(found.item())


def _tell(lake: Lake, person: str) -> None:
    """Print the records, why they were merged, and the profile. The people here are synthetic: nothing is masked."""
    members = (
        lake.scan("silver.identities").filter(pl.col("person_id") == person).select("record_id").collect()["record_id"]
    )
    columns = [
        "record_id",
        "first_name",
        "last_name",
        "email_address",
        "phone_number",
        "date_of_birth",
        "address_line_1",
        "zip_code",
    ]
    records = (
        lake.scan("silver.customer_records")
        .filter(pl.col("record_id").is_in(members.to_list()))
        .select(columns)
        .collect()
    )
    grid = report.grid(f"Records of {person}", *columns)
    for row in records.rows():
        grid.add_row(*("" if v is None else str(v) for v in row))
    console.print(grid)
    edges = lake.scan("silver.identity_edges").filter(
        pl.col("record_id_l").is_in(members.to_list()) & pl.col("record_id_r").is_in(members.to_list())
    )
    why = report.grid(
        "Why they are one person (bits of evidence; 0 is even odds)", "pair", "weight", "decision", "strongest evidence"
    )
    for edge in edges.sort("record_id_l", "record_id_r").collect().to_dicts():
        parts = sorted(edge["evidence"] or [], key=lambda e: -(e["weight"] or 0))[:3]
        said = ", ".join(f"{p['comparison']}: {p['level']} {p['weight']:+.1f}" for p in parts)
        weight = "login" if edge["match_weight"] is None else f"{edge['match_weight']:.1f}"
        why.add_row(f"{edge['record_id_l']} ~ {edge['record_id_r']}", weight, edge["decision"], said)
    console.print(why)
    profile = scan_newest(lake, "gold.customer_360").filter(pl.col("person_id") == person).collect().to_dicts()[0]
    console.print(f"Profile of {person}, as of {profile['as_of']}", highlight=False)
    for name, group in GROUPS.items():
        _tell_group(name, group, profile)


def _tell_group(name: str, group: type[Table], profile: dict[str, Any]) -> None:
    """One group of the profile: its title, how fresh it is, its columns."""
    until = profile[f"{name}_until_at"]
    fresh = f"until {until:%Y-%m-%d %H:%M} UTC" if until else "no fact yet"
    console.print(f"{name}: {tables.summary(group)} [dim]{fresh}[/dim]", highlight=False)
    for column in group.columns():
        if column != f"{name}_until_at":
            console.print(f"  {column:<24} {_shown(profile[column])}", highlight=False, markup=False)


def _shown(value: Any) -> str:
    """Lists of reasons and shares as short text."""
    if not isinstance(value, list):
        return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
    return ", ".join(_item(v) if isinstance(v, dict) else str(v) for v in value) or "-"


def _item(item: dict[str, Any]) -> str:
    if "share" in item:
        return f"{item['name']} {item['share']:.0%}"
    known = "" if item["value"] is None else f" = {item['value']:.3g}"
    return f"{item['feature']}{known} ({item['contribution']:+.2f})"


def _ask(settings: Settings, person: str) -> None:
    """Start the HTTP application in a process of its own, ask it, and stop it."""
    key = access.issue(state_folder(settings), "demo", "service")
    base = f"http://{settings.serve.host}:{settings.serve.port}"
    server = subprocess.Popen(
        [sys.executable, "-m", "customer360.serve.cli", "serve"], env=_environment(settings), start_new_session=True
    )
    try:
        _wait(base, server)
        for path in (f"/v1/people/{person}/recommendations?k=5", f"/v1/people/{person}/scores", f"/v1/people/{person}"):
            began = time.perf_counter()
            answer = _get(base + path, key)
            console.print(f"GET {path}   {1000 * (time.perf_counter() - began):.0f} ms")
            console.print_json(json.dumps(answer if "profile" not in answer else _brief(answer)))
    finally:
        server.terminate()  # it ends its own Ray; a signal to all of that at once leaves Serve waiting for a dead controller
        try:
            server.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            raise


def _brief(answer: dict[str, Any]) -> dict[str, Any]:
    """An answer without the profile's many columns, which were printed before."""
    return {**answer, "profile": f"{len(answer['profile'])} columns, as above"}


def _environment(settings: Settings) -> dict[str, str]:
    """The process's environment with the few settings that the server needs, as they are here."""
    return os.environ | {
        "CUSTOMER360__STATE": str(Path(settings.state).absolute()),
        "CUSTOMER360__SERVE__PORT": str(settings.serve.port),
        "CUSTOMER360__SERVE__HOST": settings.serve.host,
    }


def _wait(base: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise Customer360Error(f"the server ended with code {server.returncode} before it answered")
        try:
            _get(f"{base}/healthz", "")
            return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.5)
    raise Customer360Error(f"{base} did not answer within {START_SECONDS} s")


def _get(url: str, key: str) -> Any:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {key}"} if key else {})
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.loads(response.read())
