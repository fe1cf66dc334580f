"""When commands are due: cron expressions and intervals, in a time zone, with what becomes of moments that were missed.

``schedules:`` of the settings names them; `serve.daemon` starts them, or `as_crontab` and `as_cron_jobs` hand them to
another scheduler.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo, available_timezones

import yaml
from cronsim import CronSim, CronSimError
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from customer360.platform.errors import ConfigError

MINUTE = timedelta(minutes=1)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOST_MISSED = 10_000  # moments that are looked at after a long rest


def _zone(name: str) -> str:
    if name not in available_timezones():
        raise ValueError(f"{name!r} is no IANA time zone")
    return name


class Schedule(BaseModel):
    """A command and when it is due.

    ``cron`` is by the clock of ``timezone``: a moment that a change of the clock leaves out comes right after it, one
    that comes twice is one. ``every_minutes`` counts from midnight of 1970-01-01 UTC. Of moments that passed while
    nobody looked, or while an earlier one still ran, ``catch_up`` says which are made up for: ``last`` (one run stands
    for all), ``all``, or ``none``. Commands of one ``lane`` never run at once.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    command: str = Field(min_length=1)  # what stands after `customer360`
    cron: str = ""
    every_minutes: int | None = Field(default=None, ge=1)
    timezone: Annotated[str, AfterValidator(_zone)] = "UTC"
    catch_up: Literal["last", "all", "none"] = "last"
    jitter_seconds: float = Field(default=0.0, ge=0)
    timeout_minutes: float | None = Field(default=None, gt=0)
    lane: str = "lake"
    enabled: bool = True
    description: str = ""

    @model_validator(mode="after")
    def _has_one_clock(self) -> Self:
        if bool(self.cron) == bool(self.every_minutes):
            raise ValueError("say either cron or every_minutes")
        try:
            if self.cron:
                CronSim(self.cron, datetime(2026, 1, 1))
            shlex.split(self.command)
        except CronSimError:
            raise ValueError(f"cron: {self.cron!r} is no cron expression (minute hour day month weekday)") from None
        except ValueError as fault:
            raise ValueError(f"command: {fault}") from None
        return self

    def moments(self, after: datetime, until: datetime) -> Iterator[datetime]:
        """The moments at which it is due, after one and up to another, in UTC, oldest first."""
        if self.every_minutes:
            step = timedelta(minutes=self.every_minutes)
            at = EPOCH + ((after - EPOCH) // step + 1) * step
            while at <= until:
                yield at
                at += step
            return
        last = after.astimezone(UTC)
        for local in CronSim(self.cron, after.astimezone(ZoneInfo(self.timezone))):
            at = local.astimezone(UTC)
            if at > until:
                return
            if at > last:  # an hour that comes twice
                yield at
                last = at

    def next_after(self, after: datetime) -> datetime | None:
        """The first moment after one; None within the next five years: never."""
        return next(self.moments(after, after + timedelta(days=5 * 366)), None)


def due(schedule: Schedule, after: datetime, now: datetime) -> tuple[list[datetime], list[datetime]]:
    """The moments to make up for, and those that are passed over. `after` is the last that was settled.

    Moments of the last minute are never passed over for being late.
    """
    passed: list[datetime] = []
    for at in schedule.moments(after, now):
        passed.append(at)
        if len(passed) > MOST_MISSED:
            passed.pop(0)
    if not passed or schedule.catch_up == "all":
        return passed, []
    if schedule.catch_up == "last":
        return passed[-1:], passed[:-1]
    fresh = [at for at in passed[-1:] if now - at <= MINUTE]
    return fresh, passed[: len(passed) - len(fresh)]


def as_crontab(schedules: Mapping[str, Schedule], program: str, config: str) -> str:
    """Lines for a crontab; each waits for the lake's lock by itself.

    Raises:
        ConfigError: an interval is none that cron has.
    """
    lines = []
    for name, schedule in schedules.items():
        if schedule.enabled:
            lines.append(f"# {name}" + (f": {schedule.description}" if schedule.description else ""))
            lines.append(f"CRON_TZ={schedule.timezone}")
            setting = f"CUSTOMER360_CONFIG={shlex.quote(config)}"
            command = schedule.command.replace("%", r"\%")
            lines.append(f"{_expression(name, schedule)} {setting} {program} {command}")
    return "\n".join(lines) + "\n"


def as_cron_jobs(schedules: Mapping[str, Schedule], image: str, config: str) -> str:
    """CronJobs of Kubernetes, one a schedule, that never overlap with themselves.

    Raises:
        ConfigError: an interval is none that cron has.
    """
    jobs = []
    for name, schedule in schedules.items():
        if not schedule.enabled:
            continue
        container = {
            "name": "customer360", "image": image, "args": shlex.split(schedule.command),
            "env": [{"name": "CUSTOMER360_CONFIG", "value": config}],
        }  # fmt: skip
        pod: dict[str, Any] = {"restartPolicy": "Never", "containers": [container]}
        job: dict[str, Any] = {"backoffLimit": 0, "template": {"spec": pod}}
        if schedule.timeout_minutes:
            job["activeDeadlineSeconds"] = round(schedule.timeout_minutes * 60)
        spec: dict[str, Any] = {
            "schedule": _expression(name, schedule), "timeZone": schedule.timezone, "concurrencyPolicy": "Forbid",
            "jobTemplate": {"spec": job},
        }  # fmt: skip
        if schedule.catch_up == "none":
            spec["startingDeadlineSeconds"] = 60
        named = name.lower().replace("_", "-")
        metadata = {"name": f"customer360-{named}"}
        jobs.append({"apiVersion": "batch/v1", "kind": "CronJob", "metadata": metadata, "spec": spec})
    return "---\n".join(yaml.safe_dump(job, sort_keys=False) for job in jobs)


def _expression(name: str, schedule: Schedule) -> str:
    every = schedule.every_minutes
    if every is None:
        return schedule.cron
    if every < 60 and 60 % every == 0:
        return f"*/{every} * * * *"
    if every % 60 == 0 and 24 % (every // 60) == 0:
        hours = every // 60
        return "0 * * * *" if hours == 1 else "0 0 * * *" if hours == 24 else f"0 */{hours} * * *"
    raise ConfigError(f"schedules.{name}: cron has no interval of {every} minutes; `customer360 daemon` has")
