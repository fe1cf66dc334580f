"""Options that commands share, and the settings behind them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated

import typer

from customer360.platform import settings as configuration
from customer360.platform import telemetry
from customer360.platform.errors import ConfigError
from customer360.platform.quality.ahead import MARGIN
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
    """The date of `--as-of`.

    Raises:
        ConfigError: it has not come, in any zone. Nothing else asks the clock: no result depends on it.
    """
    asked, latest = moment.date() if moment else None, (datetime.now(UTC) + MARGIN).date()
    if asked and asked > latest:
        raise ConfigError(f"--as-of {asked} has not come: the latest date that can be given today is {latest}")
    return asked
