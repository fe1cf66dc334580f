"""The application: who gets in, what it says of itself, and that it follows publications."""

import asyncio
import contextlib
import inspect
import logging
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from customer360.platform import access, online
from customer360.platform.settings import ServeSettings, Settings
from customer360.serve import app as application
from customer360.serve.api import decisions, features, people, placements, recommendations, scores, together
from customer360.serve.app import build_app
from customer360.serve.publication import freshness

AS_OF = date(2026, 3, 1)
HOT = (people, recommendations, scores, together, placements, features, decisions)

PATHS = (
    "/v1/people/p_ann",
    "/v1/customers/POS/1",
    "/v1/people/p_ann/recommendations",
    "/v1/people/p_ann/scores",
    "/metrics",
)


@pytest.mark.parametrize("path", PATHS)
def test_nothing_without_a_good_key(client: Any, path: str) -> None:
    for headers in (
        {},
        {"X-API-Key": "c360_no_no"},
        {"Authorization": "Bearer c360_no_no"},
        {"Authorization": "Basic eDp5"},
    ):
        response = client(None).get(path, headers=headers)
        assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
        assert response.headers["content-type"] == "application/problem+json"
        assert response.json()["title"] == "Unauthorized"


def test_both_headers_carry_a_key(client: Any, published: Any) -> None:
    key = access.issue(published.state, "both", "reader")
    for headers in ({"X-API-Key": key}, {"Authorization": f"Bearer {key}"}):
        assert client(None).get("/v1/people/p_ann", headers=headers).status_code == 200


def test_revoked_key_is_out(client: Any, published: Any) -> None:
    key = access.issue(published.state, "leaver", "admin")
    headers = {"X-API-Key": key}
    assert client(None).get("/v1/people/p_ann", headers=headers).status_code == 200
    access.revoke(published.state, key.split("_")[1])
    assert client(None).get("/v1/people/p_ann", headers=headers).status_code == 401


def test_metrics_are_for_admins_and_name_no_account(client: Any) -> None:
    client("reader").get("/v1/customers/POS/1")
    for role in ("reader", "service"):
        response = client(role).get("/metrics")
        assert (response.status_code, response.json()["title"]) == (403, "Forbidden")
    text = client("admin").get("/metrics").text
    counted = 'requests_total{replica="[^"]+:[0-9]+",route="/customers/{source}/{customer_id}",status="200"}'
    assert re.search(counted.replace("{", "\\{"), text)
    assert client("metrics").get("/metrics").status_code == 200
    assert client("metrics").get("/v1/people/p_ann").status_code == 403
    assert "customer360_generation_age_seconds" in text
    assert "POS/1" not in text


def test_metrics_are_not_looked_up_on_the_loop_that_answers(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from customer360.serve.operations import Operations

    loops = []

    def look(self: Operations) -> list[Any]:
        with contextlib.suppress(RuntimeError):
            loops.append(asyncio.get_running_loop())
        return []

    monkeypatch.setattr(Operations, "collect", look)
    assert client("admin").get("/metrics").status_code == 200
    assert not loops, "an object store that is slow keeps nobody waiting"


def test_health_is_open_and_dated(client: Any, published: Any) -> None:
    health = client(None).get("/healthz").json()
    assert (health["status"], health["is_stale"], health["as_of"]) == ("ok", False, AS_OF.isoformat())
    assert health["generation"] == online.current(published.state).id  # type: ignore[union-attr]
    assert 0 < health["age_seconds"] < 600


def test_old_publication_is_called_stale(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freshness, "STALE_AFTER", timedelta(0))
    response = client(None).get("/healthz")
    assert (response.status_code, response.json()["status"], response.json()["is_stale"]) == (200, "stale", True)


def test_before_the_first_publication(own_shop: Any) -> None:
    ask = own_shop.clients()
    health = ask(None).get("/healthz")
    assert (health.status_code, health.json()["status"]) == (503, "empty")
    answer = ask("reader").get("/v1/people/p_ann")
    assert (answer.status_code, answer.json()["title"]) == (503, "Service Unavailable")
    assert str(own_shop.state) not in answer.text
    own_shop.publish()
    assert ask("reader").get("/v1/people/p_ann").status_code == 200


def test_answers_follow_publication_and_rollback(own_shop: Any) -> None:
    first, service = own_shop.publish(), own_shop.clients()("service")
    own_shop.write("gold.customer_360", [own_shop.profile("p_ann", city="Bonn")])
    second = own_shop.publish()

    def seen() -> tuple[str, str]:
        answer = service.get("/v1/people/p_ann").json()
        return answer["generation"], answer["profile"]["city"]

    assert seen() == (second.id, "Bonn")
    assert service.get("/v1/people/p_bob").status_code == 404
    online.activate(own_shop.state, first.id)
    assert seen() == (first.id, "Köln")


def test_unknown_route_is_a_problem(client: Any) -> None:
    response = client(None).get("/v2/anything")
    assert (response.status_code, response.headers["content-type"]) == (404, "application/problem+json")


def test_the_schema_describes_itself(client: Any) -> None:
    schema = client(None).get("/openapi.json").json()
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            assert operation["description"], path
            if path.startswith("/v1/"):
                assert {"200", "401", "403", "404"} <= set(operation["responses"])
                collects = operation["tags"] == ["events"]
                expected = [{"HTTPBasic": []}] * collects + [{"HTTPBearer": []}, {"APIKeyHeader": []}]
                assert operation["security"] == expected, path
    properties = schema["components"]["schemas"]["Profile"]["properties"]
    assert "masked for readers" in properties["email_address"]["description"]


def test_logs_and_errors_hold_no_personal_data(own_shop: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        own_shop.publish()
        service = own_shop.clients()("service")
        service.get("/v1/customers/POS/1")
        service.get("/v1/customers/POS/4711")
    assert not [
        r
        for r in caplog.records
        if r.name.startswith("customer360") and ("p_ann" in r.getMessage() or "POS" in r.getMessage())
    ]


def test_building_the_application_opens_and_imports_nothing(tmp_path: Path) -> None:
    script = (
        "import sys; from customer360.serve.app import build_app; from customer360.platform.settings import Settings;"
        "build_app(Settings()); sys.exit('ray' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=False).returncode == 0
    assert not list(tmp_path.iterdir())


def test_replicas_are_told_no_place_that_depends_on_where_they_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "configs/rules").mkdir(parents=True)
    (tmp_path / "configs/rules/identity.yaml").write_text("{}")
    monkeypatch.chdir(tmp_path)
    given = Settings(landing="in", state="state", rules={"identity": "rules/identity.yaml"})
    placed = application._placed(given.model_copy(update={"lake": given.lake.model_copy(update={"root": "lake"})}))
    assert (placed.state, placed.lake.root, placed.landing) == (
        str(tmp_path / "state"), str(tmp_path / "lake"), str(tmp_path / "in"),
    )  # fmt: skip
    assert placed.rules == {"identity": str(tmp_path / "configs/rules/identity.yaml")}
    remote = given.model_copy(update={"lake": given.lake.model_copy(update={"root": "s3://bucket/lake"})})
    assert application._placed(remote).lake.root == "s3://bucket/lake"
    for uri, wanted in {
        "": "",
        "sqlite:///mlflow.db": f"sqlite:///{tmp_path}/mlflow.db",
        "sqlite+pysqlite:///runs/m.db?timeout=9": f"sqlite+pysqlite:///{tmp_path}/runs/m.db?timeout=9",
        "sqlite:////srv/mlflow.db": "sqlite:////srv/mlflow.db",
        "sqlite:///:memory:": "sqlite:///:memory:",
        "https://mlflow.example": "https://mlflow.example",
    }.items():
        models = given.models.model_copy(update={"tracking_uri": uri})
        assert application._placed(given.model_copy(update={"models": models})).models.tracking_uri == wanted


def test_whoever_asks_waits_for_no_thread() -> None:
    """What every request asks first is answered where it came: a thread of the pool costs as much as the answer."""
    routers = [module.router for module in HOT]
    pending = [route.dependant for router in routers for route in router.routes if isinstance(route, APIRoute)]
    asked: dict[Any, str] = {}
    while pending:
        of = pending.pop()
        pending += of.dependencies
        asked |= {part.call: part.call.__name__ for part in of.dependencies if inspect.isfunction(part.call)}
    assert asked and not [name for call, name in asked.items() if not inspect.iscoroutinefunction(call)]


def test_errors_are_documented_as_what_is_sent(tmp_path: Path) -> None:
    paths = build_app(Settings(state=str(tmp_path))).openapi()["paths"]
    found = [
        (path, status, list(answer.get("content", {})))
        for path, operations in paths.items()
        for operation in operations.values()
        for status, answer in operation["responses"].items()
        if status >= "400" and (path, status) != ("/healthz", "503")  # tells how it is, and is no problem
    ]
    assert found and [each for each in found if each[2] != ["application/problem+json"]] == []


def test_docs_page_is_served(tmp_path: Path) -> None:
    assert TestClient(build_app(Settings(state=str(tmp_path)))).get("/docs").status_code == 200


def test_first_start_shows_a_working_admin_key_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(application, "_run_plain", lambda configured: None)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    configured = Settings(state=str(tmp_path), serve=ServeSettings(port=free_port()))
    access.issue(tmp_path, "demo", "service")
    application.start(configured, plain=True)
    key = capsys.readouterr().out.split()[-1]
    assert access.verify(tmp_path, key).role == "admin"
    application.start(configured, plain=True)
    said = capsys.readouterr().out
    assert "customer360 key issue" in said and key not in said


def test_without_a_terminal_the_first_key_goes_to_a_file_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(application, "_run_plain", lambda configured: None)
    application.start(Settings(state=str(tmp_path), serve=ServeSettings(port=free_port())), plain=True)
    file, said = tmp_path / application.FIRST_KEY, capsys.readouterr().out
    key = file.read_text().strip()
    assert access.verify(tmp_path, key).role == "admin" and file.stat().st_mode & 0o777 == 0o600
    assert str(file) in said and key not in said
    application.start(Settings(state=str(tmp_path), serve=ServeSettings(port=free_port())), plain=True)
    assert str(file) in capsys.readouterr().out, "whoever starts it next is told where the key is"


def test_the_server_of_a_demo_leaves_the_first_key_to_whoever_starts_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(application, "_run_plain", lambda configured: None)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    configured = Settings(state=str(tmp_path), serve=ServeSettings(port=free_port()))
    access.issue(tmp_path, "demo", "service")
    with monkeypatch.context() as demo:
        demo.setenv("CUSTOMER360_ENDS_WITH", str(os.getppid()))
        application.start(configured, plain=True)
    assert capsys.readouterr().out == "" and not (tmp_path / application.FIRST_KEY).exists()
    application.start(configured, plain=True)
    assert access.verify(tmp_path, capsys.readouterr().out.split()[-1]).role == "admin"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def get(port: int, path: str, key: str) -> tuple[int, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"X-API-Key": key})
    with urllib.request.urlopen(request, timeout=5) as response:
        return response.status, response.read().decode()


def replicas_of(port: int, key: str, times: int) -> set[int]:
    """The processes of the replicas that answered, where four ask at once. One that found no free core may not."""

    def asked(_: int) -> int | None:
        try:
            found = re.search(r'replica="[^"]+:(\d+)"', get(port, "/metrics", key)[1])
        except OSError:
            return None
        return int(found[1]) if found else None

    with ThreadPoolExecutor(4) as callers:
        return {process for process in callers.map(asked, range(times)) if process is not None}


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
def test_ray_serve_runs_the_config_file(own_shop: Any, tmp_path: Path) -> None:
    """`serve run configs/ray/serve.yaml` answers over HTTP, follows a publication, has more replicas while more is
    asked, and stops cleanly."""
    own_shop.publish()
    key, port = access.issue(own_shop.state, "probe", "service"), free_port()
    watcher = access.issue(own_shop.state, "watcher", "metrics")
    growing = {"most": 2, "requests": 0.2, "grow_seconds": 0.5, "shrink_seconds": 1}
    content = yaml.safe_load((Path(__file__).parents[2] / "configs/ray/serve.yaml").read_text())
    content["http_options"] |= {"port": port, "request_timeout_s": 30}
    settings = tmp_path / "settings.yaml"
    settings.write_text(yaml.safe_dump({"state": str(own_shop.state), "serve": {"autoscale": growing}}))
    content["applications"][0]["args"]["config"] = str(settings)
    config = tmp_path / "serve.yaml"
    config.write_text(yaml.safe_dump(content))
    environment = {
        **os.environ,
        "RAY_AUTH_MODE": "disabled",
        "RAY_ADDRESS": "local",
        "RAY_USAGE_STATS_ENABLED": "0",
        "POLARS_MAX_THREADS": "1",
    }
    command = [shutil.which("serve", path=str(Path(sys.executable).parent)) or "serve", "run", str(config)]
    with subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
    ) as process:
        try:
            wait_until_healthy(port, process, 240)
            status, body = get(port, "/v1/customers/POS/1/recommendations?k=2", key)
            assert status == 200 and '"product_id":"P4"' in body
            own_shop.write("gold.customer_360", [own_shop.profile("p_ann", city="Bonn")])
            own_shop.publish()
            time.sleep(2 * online.POLL_SECONDS)
            assert '"city":"Bonn"' in get(port, "/v1/people/p_ann", key)[1]
            end = time.monotonic() + 120
            while len(seen := replicas_of(port, watcher, 40)) < 2:
                assert time.monotonic() < end, "no replica came"
            while all(map(is_alive, seen)):
                assert time.monotonic() < end, "no replica went"
                time.sleep(0.5)
            assert get(port, "/v1/people/p_ann", key)[0] == 200
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


@pytest.mark.slow
def test_the_server_stops_without_a_word_of_ray(own_shop: Any, tmp_path: Path) -> None:
    """SIGTERM ends `customer360 serve` on a Ray of its own; nothing is reported as killed or failed."""
    own_shop.publish()
    port, log = free_port(), tmp_path / "server.log"
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        "RAY_USAGE_STATS_ENABLED": "0",
        "CUSTOMER360__STATE": str(own_shop.state),
        "CUSTOMER360__SERVE__PORT": str(port),
    }
    command = [sys.executable, "-m", "customer360.serve.cli", "serve"]
    with (
        log.open("w") as out,
        subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.STDOUT) as process,
    ):
        try:
            wait_until_healthy(port, process, 240)
        finally:
            process.send_signal(signal.SIGTERM)
            code = process.wait(120)
    said = log.read_text()
    assert code == 0 and f"serving  at=http://127.0.0.1:{port}/docs" in said
    assert "ray.kill" not in said and "raylet" not in said and "INFO" not in said, said


def wait_until_healthy(port: int, process: subprocess.Popen[bytes], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        assert process.poll() is None, "serve run ended"
        try:
            if get(port, "/healthz", "")[0] == 200:
                return
        except OSError:
            time.sleep(0.5)
    pytest.fail(f"not healthy within {seconds} s")
