"""Options that commands share, and the settings behind them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from customer360.platform import settings as configuration
from customer360.platform import telemetry
from customer360.platform.audit import user
from customer360.platform.errors import ConfigError
from customer360.platform.quality.ahead import MARGIN
from customer360.platform.settings import Settings
from customer360.serve.daemon import SCHEDULE

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", envvar="CUSTOMER360_CONFIG", help="Settings file; default configs/local.yaml"),
]
Area = Literal["lake", "state"]
AsOfOption = Annotated[
    datetime | None,
    typer.Option("--as-of", formats=["%Y-%m-%d"], help="Cut date; default: end of the last complete day in the data"),
]


WHOLE: tuple[Area, ...] = ("lake", "state")


def configured(config: Path | None, whole: Sequence[Area] = WHOLE) -> Settings:
    """The settings of a command, with every table, build and model declared. ``whole`` is what it works on.

    Raises:
        BackupError: a restore of that has not ended, so that it may hold who was erased.
    """
    from customer360.platform.backup import marks, tree_at
    from customer360.serve.compose import compose

    telemetry.configure()
    compose()
    settings = configuration.load(config)
    places = {"lake": (settings.lake.root, settings.lake.storage_options), "state": (settings.state, {})}
    marks.refuse(tree_at(*places[area]) for area in whole)
    return settings


def started_by() -> str:
    """Who or what started this process: the schedule that the daemon names, else the user of the system."""
    if schedule := os.environ.get(SCHEDULE):
        return f"schedule {schedule}"
    return user()


def is_scheduled() -> bool:
    """Whether the daemon started this process."""
    return bool(os.environ.get(SCHEDULE))


def day(moment: datetime | None) -> date | None:
    """The date of `--as-of`.

    Raises:
        ConfigError: it has not come, in any zone. Nothing else asks the clock: no result depends on it.
    """
    asked, latest = moment.date() if moment else None, (datetime.now(UTC) + MARGIN).date()
    if asked and asked > latest:
        raise ConfigError(f"--as-of {asked} has not come: the latest date that can be given today is {latest}")
    return asked
