"""What is written when a run ends, of the run itself and of the lake as it then is.

A function that is declared here is no node: it may look at everything, decides nothing, and is called although parts
of the run failed. What it writes is made again by the next run that finds it gone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from customer360.platform import tables
from customer360.platform.lake import Lake
from customer360.platform.ledger import Run
from customer360.platform.run.control import CONTROL, write_control_tables
from customer360.platform.settings import Settings
from customer360.platform.tables import Table

Closing = Callable[[Lake, Settings, Mapping[str, Any], Run], None]
CLOSINGS: dict[str, Closing] = {}


def closes_runs(table: type[Table]) -> Callable[[Closing], Closing]:
    """Declare a function of the lake, the settings, the rules and the record of the run as what writes ``table``."""

    def declare(function: Closing) -> Closing:
        CLOSINGS[tables.spec(table).name] = function
        return function

    return declare


def written_at_the_end() -> tuple[str, ...]:
    """Tables that the end of a run may write."""
    return (*CONTROL, *(name for name in CLOSINGS if name in tables.TABLES))


def close_run(lake: Lake, settings: Settings, rules: Mapping[str, Any], record: Run) -> None:
    """Write the control tables, then what was declared."""
    write_control_tables(lake, settings, record)
    for name, function in CLOSINGS.items():
        if name in tables.TABLES:
            function(lake, settings, rules, record)
