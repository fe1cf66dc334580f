"""Options that commands share, and the settings behind them."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import Annotated

import typer

from customer360.platform import settings as configuration
from customer360.platform import telemetry
from customer360.platform.settings import Settings

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", envvar="CUSTOMER360_CONFIG", help="Settings file; default configs/local.yaml"),
]
AsOfOption = Annotated[
    datetime | None,
    typer.Option("--as-of", formats=["%Y-%m-%d"], help="Cut date; default: end of the last complete day in the data"),
]


def configured(config: Path | None) -> Settings:
    """The settings of a command, with every table, build and model declared."""
    from customer360.serve.compose import compose

    telemetry.configure()
    compose()
    return configuration.load(config)


def day(moment: datetime | None) -> date | None:
    return moment.date() if moment else None
