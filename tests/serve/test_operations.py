"""What an operator sees of sources and runs: history, states, metrics, and the alerts that follow from them."""

from __future__ import annotations

import json
import os
import sys
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from typer.testing import CliRunner, Result

from customer360.platform import alerts, ledger
from customer360.platform.errors import DiskFull, LakeError
from customer360.platform.lake import Lake
from customer360.platform.lake.damage import check_room
from customer360.platform.lake.lock import LOCK, holder_of
from customer360.platform.ledger import NodeRun
from customer360.platform.run.health import Board, SourceHealth
from customer360.platform.schedules import Schedule
from customer360.platform.settings import LakeSettings, Settings
from customer360.platform.sinks import AlertSettings
from customer360.platform.sources.files import Files
from customer360.serve import alerting, daemon, operations
from customer360.serve.daemon import FOLDER, History, Turn

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "landing").mkdir()
    files = {
        name: Files(table="bronze.customers", system="CRM", path=f"{name}/*.csv", format="csv", late_after_minutes=60)
        for name in ("crm", "erp")
    }
    return Settings(
        name="shop", landing=str(tmp_path / "landing"), state=str(tmp_path / "state"), sources=files,
        lake=LakeSettings(root=str(tmp_path / "lake"), buckets=4), alerts=AlertSettings(run_late_minutes=120),
    )  # fmt: skip


@pytest.fixture
def lake(settings: Settings) -> Lake:
    return Lake(settings.lake.root, {}, 4)


def told(settings: Settings, now: datetime = NOW) -> dict[str, str]:
    return {alert.key: alert.text for alert in alerting.standing(settings, now)}


def note(lake: Lake, settings: Settings, **of: dict[str, Any]) -> None:
    board = Board({name: SourceHealth(**facts) for name, facts in of.items()})
    board.save(lake, settings.sources)


def run_of(lake: Lake, ended: datetime, code: int | None, *nodes: NodeRun, by: str = "ann") -> ledger.Run:
    made = ledger.start_run("run", by)
    made.id = ended.strftime("%Y%m%dT%H%M%S.%f")
    made.started_at = (ended - timedelta(minutes=5)).isoformat()
    made.nodes += nodes
    if code is not None:
        made.ended_at = ended.isoformat()
        made.close(code)
    made.save(lake)
    return made


def text(at: datetime) -> str:
    return at.isoformat(timespec="seconds")


def test_sources_that_fail_are_late_or_stick(lake: Lake, settings: Settings) -> None:
    run_of(lake, NOW, 0)
    seen = text(NOW - timedelta(minutes=1))
    note(lake, settings, crm={"looked_at": seen, "landed_at": text(NOW - timedelta(hours=3))})
    assert told(settings) == {"late source crm": "no new rows for 3.0 hours; 60 minutes are allowed"}
    note(
        lake, settings,
        crm={"failures": 6, "fault": "TransientError", "failed_at": seen, "open_since": seen},
        erp={"failures": 2, "failed_at": seen, "waits_since": text(NOW - timedelta(hours=2)),
             "letters": [[int(NOW.timestamp()) - 60, 150]]},
    )  # fmt: skip
    assert told(settings) == {
        "failed source crm": "it failed in 6 runs in a row (TransientError); it is left alone for now",
        "failed source erp": "it failed in 2 runs in a row",
        "stuck source erp": f"a batch waits to land since {text(NOW - timedelta(hours=2))}",
        "dead letters source erp": "150 records of 24 hours could not be read",
    }
    note(lake, settings, crm={"looked_at": seen, "landed_at": seen}, erp={"looked_at": seen, "landed_at": seen})
    assert told(settings) == {}


def test_runs_that_fail_lose_or_do_not_come(lake: Lake, settings: Settings) -> None:
    assert told(settings) == {}, "before the first run nothing is late"
    secret = NodeRun("silver.people", "failed", reason="ValueError: ann@example.org is no number")
    run_of(lake, NOW - timedelta(minutes=10), 2, secret, NodeRun("gold.x", "blocked"))
    found = told(settings)
    assert found == {"failed run": "failed: silver.people"}, "why is never told: it may quote data"
    run_of(lake, NOW - timedelta(minutes=8), 2, NodeRun("source crm", "failed", reason="x"))
    assert told(settings) == {}, "a source that fails has an alert of its own"
    run_of(lake, NOW - timedelta(minutes=6), 5)
    assert set(told(settings)) == {"lost run"}
    run_of(lake, NOW - timedelta(minutes=4), None)
    assert told(settings)["failed run"].endswith("broke off")
    run_of(lake, NOW - timedelta(minutes=3), 130)
    assert told(settings) == {}, "who was stopped did not fail"
    assert set(told(settings, NOW + timedelta(hours=3))) == {"late run"}


def test_a_run_that_takes_too_long_is_stuck_while_it_holds_the_lock(lake: Lake, settings: Settings) -> None:
    with lake.run_lock("run"):
        held = ledger.start_run("run")
        held.save(lake)
        assert holder_of(lake.root, lake.get(LOCK)) is not None
        assert operations.standing(settings)["last_run"]["state"] == "running"
        assert set(told(settings, datetime.now(UTC) + timedelta(hours=5))) == {"stuck run"}
    assert holder_of(lake.root, lake.get(LOCK)) is None
    assert operations.standing(settings)["last_run"]["state"] == "broke off"


def test_schedules_that_fail_or_do_not_begin(lake: Lake, settings: Settings) -> None:
    schedules = {"nightly": Schedule(command="retrain all", cron="0 3 * * *")}
    found = settings.model_copy(update={"schedules": schedules})
    history = History(Path(found.state) / FOLDER / "nightly.jsonl")
    due = datetime(2026, 3, 1, 3, tzinfo=UTC)
    history.note(Turn(due.isoformat(), "failed", due.isoformat(), due.isoformat(), 2))
    assert told(found) == {"failed schedule nightly": "its turn of 2026-03-01T03:00 failed with code 2"}
    history.note(Turn(due.isoformat(), "done", due.isoformat(), due.isoformat(), 0))
    assert told(found, due + timedelta(hours=24, minutes=20)) == {}
    assert set(told(found, due + timedelta(hours=24, minutes=40))) == {"late schedule nightly"}


def test_moments_that_were_passed_over_are_not_late(lake: Lake, settings: Settings) -> None:
    schedules = {"often": Schedule(command="run", every_minutes=60, catch_up="none")}
    found = settings.model_copy(update={"schedules": schedules})
    history = History(Path(found.state) / FOLDER / "often.jsonl")
    due = datetime(2026, 3, 1, 3, tzinfo=UTC)
    history.note(Turn(due.isoformat(), "done", due.isoformat(), due.isoformat(), 0))
    history.note(Turn((due + timedelta(hours=1)).isoformat(), "skipped"))
    assert told(found, due + timedelta(hours=1, minutes=45)) == {}
    assert set(told(found, due + timedelta(hours=2, minutes=45))) == {"late schedule often"}


def test_a_run_of_another_container_did_not_break_off(
    lake: Lake, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_of(lake, NOW - timedelta(hours=3), 2, NodeRun("gold.x", "failed"))
    run_of(lake, NOW, None)
    assert set(told(settings)) == {"failed run", "late run"} and told(settings)["failed run"].endswith("broke off")
    monkeypatch.setattr("customer360.platform.lake.lock.socket.gethostname", lambda: "another")
    assert told(settings) == {"failed run": "failed: gold.x"}, "neither broke off, nor is none under way"
    assert operations.standing(settings)["last_run"]["state"] == "not seen"
    assert "has not ended" in told(settings, NOW + timedelta(hours=5))["stuck run"]


def test_alerts_are_listed_without_a_sink(lake: Lake, settings: Settings) -> None:
    run_of(lake, NOW, 5)
    alerting.check_beside(settings)
    assert "lost run" in alerts.read(Path(settings.state)).open


def test_a_look_reads_few_records_of_runs(lake: Lake, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    runs, asked = ledger.runs, list[int]()

    def counted(lake: Lake, limit: int) -> list[ledger.Run]:
        asked.append(limit)
        return runs(lake, limit)

    monkeypatch.setattr(ledger, "runs", counted)
    run_of(lake, NOW - timedelta(hours=1), 0)
    for minute in range(alerting.NEWEST - 1, 0, -1):
        run_of(lake, NOW - timedelta(minutes=minute), 2)
    told(settings)
    assert asked == [alerting.NEWEST]
    run_of(lake, NOW, 2)
    assert "late run" not in told(settings), "one that ended well is looked for further back"
    assert asked[1:] == [alerting.NEWEST, alerting.LOOKED_BACK]


def test_metrics_are_what_prometheus_reads(lake: Lake, settings: Settings) -> None:
    run_of(lake, NOW, 2)
    landed = datetime.now(UTC) - timedelta(minutes=30)
    note(
        lake, settings,
        crm={"looked_at": text(landed), "landed_at": text(landed), "newest_at": text(landed - timedelta(days=1)),
             "succeeded_at": text(landed), "successes": [int(landed.timestamp())], "lag": {}},
        erp={"failures": 7, "failed_at": text(landed), "open_since": text(landed), "lag": {"bytes": 9, "inputs": 2}},
    )  # fmt: skip
    alerts.look(settings, alerting.standing(settings, NOW), NOW)
    from customer360.serve.cli import sources

    families = {f.name: f for f in text_string_to_metric_families(sources.as_metrics(settings))}
    values = {
        (s.name.removeprefix("customer360_"), *s.labels.values()): s.value for f in families.values() for s in f.samples
    }
    assert values["source_landed_timestamp_seconds", "crm"] == pytest.approx(landed.timestamp(), abs=2)
    assert values["source_success_age_p95_seconds", "crm"] == pytest.approx(0.95 * 1800, abs=5)
    assert ("source_landed_timestamp_seconds", "erp") not in values, "what never was is absent, not zero"
    assert (values["source_state", "erp", "open"], values["source_state", "crm", "ok"]) == (1, 1)
    assert (values["source_lag", "erp", "bytes"], values["source_lag", "crm", "inputs"]) == (9, 0)
    assert (values["source_circuit_open", "erp"], values["source_failures", "erp"]) == (1, 7)
    assert (values["run_exit_code",], values["alerts_open", "failed"]) == (2, 2)
    assert all(family.documentation for family in families.values())
    page = (Path(__file__).parents[2] / "docs" / "orchestrators.md").read_text(encoding="utf-8")
    assert not [name for name in families if f"`{name}`" not in page], "docs/orchestrators.md names every metric"


def test_a_lake_that_cannot_be_looked_at_hides_no_other_metric(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: Any) -> None:
        raise ConnectionError("no store")

    monkeypatch.setattr(Lake, "get", away)
    (seen,) = operations.Operations(settings).collect()
    assert seen.name == "customer360_operations_readable" and seen.samples[0].value == 0


# ---- the commands -----------------------------------------------------------------------------------------------


def customer360(settings: Settings, *words: str) -> Result:
    from customer360.serve.cli import app

    environment = {
        "CUSTOMER360__LAKE__ROOT": settings.lake.root, "CUSTOMER360__STATE": settings.state,
        "CUSTOMER360__LAKE__BUCKETS": "4", "CUSTOMER360__LANDING": settings.landing,
    }  # fmt: skip
    return CliRunner().invoke(app, list(words), env=environment)


def test_the_history_of_runs(lake: Lake, settings: Settings) -> None:
    landed = NodeRun("source crm", "built", facts={"seq": 3, "read": 10, "landed": 8, "dead": 2})
    more = NodeRun("source crm", "failed", facts={"seq": 4}, reason="no answer")
    first = run_of(lake, NOW, 0, landed, NodeRun("silver.people", "built", 1.0, 8))
    second = run_of(lake, NOW + timedelta(minutes=9), 2, more, by="schedule nightly")
    lines = [json.loads(line) for line in customer360(settings, "runs", "list", "--json").output.splitlines()]
    assert [(each["run"], each["state"], each["started_by"]) for each in lines] == [
        (second.id, "failed", "schedule nightly"),
        (first.id, "done", "ann"),
    ]
    assert lines[1]["sources"]["crm"] | {} == {
        "state": "built", "batches": [3], "read": 10, "landed": 8, "dead": 2, "collapsed": 0, "left_out": 0,
        "erased": 0, "reason": "",
    }  # fmt: skip
    assert (lines[1]["seconds"], lines[1]["rows_built"], lines[1]["nodes"]) == (300.0, 8, {"built": 1})
    failed = customer360(settings, "runs", "list", "--failed", "--json").output.splitlines()
    assert [json.loads(line)["run"] for line in failed] == [second.id]
    shown = customer360(settings, "runs", "show", "last").output
    assert "no answer" in shown and second.id in shown and "schedule nightly" in shown
    assert "there is no run '7'" in str(customer360(settings, "runs", "show", "7").exception)


def test_old_records_of_runs_go_and_the_newest_stay(lake: Lake) -> None:
    for day in range(10):
        run_of(lake, NOW - timedelta(days=day), 0)
    assert ledger.forget_runs(lake, NOW - timedelta(days=4), keep=8) == 2
    assert len(ledger.runs(lake, 100)) == 8
    assert ledger.forget_runs(lake, NOW - timedelta(days=4), keep=1) == 3
    assert min(r.id for r in ledger.runs(lake, 100)) >= f"{NOW - timedelta(days=4):%Y%m%d}"


def test_exit_codes_tell_what_happened(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from customer360.serve import cli

    def ends(fault: BaseException) -> tuple[Any, str]:
        def fail() -> None:
            raise fault

        monkeypatch.setattr(cli, "asked", lambda word: fail)
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code, capsys.readouterr().err

    from customer360.platform.errors import ConfigError, LakeLocked

    assert ends(ConfigError("x")) == (2, "error: x\n")
    assert ends(LakeLocked("held"))[0] == 6
    code, said = ends(OSError(28, "No space left on device"))
    assert code == 7 and said.count("\n") == 1 and "make room" in said
    assert ends(FileNotFoundError("a.parquet"))[0] == 2


def test_a_full_disk_of_this_machine_is_told_from_that_of_a_server() -> None:
    for said in ("OSError: [Errno 28] No space left on device", "ComputeError: No space left on device (os error 28)"):
        with pytest.raises(DiskFull, match="make room"):
            check_room(said)
    check_room("SourceError: could not extend file: No space left on device")
    assert issubclass(DiskFull, LakeError)


# ---- the daemon -------------------------------------------------------------------------------------------------


def test_the_daemon_names_the_schedule_to_what_it_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    schedules = {"other": Schedule(command="x", every_minutes=5), "often": Schedule(command="x", every_minutes=5)}
    started: list[dict[str, str]] = []

    def popen(command: list[str], env: dict[str, str], **_: Any) -> Any:
        assert command[0] == sys.executable
        started.append(env)

    monkeypatch.setattr(daemon.subprocess, "Popen", popen)
    daemon.launched("s.yaml", schedules)(schedules["often"])
    assert started[0][daemon.SCHEDULE] == "often" and started[0]["CUSTOMER360_CONFIG"] == "s.yaml"
    from customer360.serve.cli import options

    monkeypatch.setenv(daemon.SCHEDULE, "often")
    assert options.is_scheduled() and options.started_by() == "schedule often"
    monkeypatch.delenv(daemon.SCHEDULE)
    assert not options.is_scheduled() and options.started_by()


@pytest.mark.parametrize(
    ("zone", "begin"),
    [
        pytest.param("America/New_York", "2026-03-05", marks=pytest.mark.slow),  # forward in between
        pytest.param("America/New_York", "2026-10-29", marks=pytest.mark.slow),  # back
        ("Australia/Lord_Howe", "2026-04-02"),  # back, by half an hour
        pytest.param("Africa/Casablanca", "2026-02-12", marks=pytest.mark.slow),  # for Ramadan
    ],
)
def test_weeks_over_a_change_of_clocks_in_other_zones(tmp_path: Path, zone: str, begin: str) -> None:
    """Every day has its night, once, at the clock of the place; nothing overlaps, whatever it takes."""
    since = datetime.fromisoformat(begin).replace(tzinfo=UTC)
    nightly = Schedule(command="retrain", cron="30 2 * * *", timezone=zone, catch_up="all", jitter_seconds=120)
    often = Schedule(command="run", every_minutes=60, catch_up="last")
    now, ends, began = [since], [since], list[tuple[str, datetime]]()

    class Job:
        pid = os.getpid()

        def poll(self) -> int | None:
            return 0 if now[0] >= ends[0] else None

        def terminate(self) -> None: ...

    def start(schedule: Schedule) -> Any:
        assert now[0] >= ends[0], "two at once"
        began.append((schedule.command, now[0]))
        ends[0] = now[0] + timedelta(minutes=40 if schedule is nightly else 4)
        return Job()

    made = daemon.Daemon({"nightly": nightly, "often": often}, tmp_path, start, since)
    while now[0] < since + timedelta(days=8):
        made.tick(now[0])
        now[0] += timedelta(minutes=1)
    from zoneinfo import ZoneInfo

    nights = [at.astimezone(ZoneInfo(zone)) for command, at in began if command == "retrain"]
    days = [night.date() for night in nights]
    assert len(days) == len(set(days)) and len(days) >= 7
    assert all(b - a == timedelta(days=1) for a, b in pairwise(days))
    assert all(night.hour in (2, 3) for night in nights)


@pytest.mark.slow
def test_a_run_tells_a_sink_that_is_slow_and_is_not_kept_waiting(settings: Settings, lake: Lake) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        sinks: Any = {"ops": {"kind": "webhook", "url": url, "timeout_seconds": 0.5}}
        limits = AlertSettings.model_validate({"sinks": sinks})
        run_of(lake, NOW, 5)
        start = time.monotonic()
        alerting.check_beside(settings.model_copy(update={"alerts": limits}))
        assert time.monotonic() - start < 5
    assert [each.fault for each in alerts.read(Path(settings.state)).sending] == ["it does not answer: ReadTimeout"]
