"""A part of a source read again: a window of time, or of the column that says what is new, as a batch of its own.

The batch has no cursor, so the source goes on from where it stood. Rows that are equal to those that stand count as
duplicates, others replace them by key; what is gone at the source stays.
"""

from __future__ import annotations

from customer360.platform import ledger, telemetry
from customer360.platform.errors import ConfigError
from customer360.platform.lake import Lake
from customer360.platform.ledger import Batch
from customer360.platform.run.request import Window
from customer360.platform.settings import Settings
from customer360.platform.sources.base import configured


def fix_window(lake: Lake, settings: Settings, window: Window) -> Batch:
    """Fix the batch of a window, which the landing that follows reads. Call it under the run lock.

    Raises:
        ConfigError: the source is unknown, or of a kind that has no windows.
        SourceError: its server cannot be asked.
    """
    if window.source not in settings.sources:
        raise ConfigError(f"there is no source {window.source!r}; configured are {', '.join(settings.sources)}")
    inputs = configured(settings, window.source).window(window.start, window.until)
    batch = ledger.open_batch(lake, window.source, inputs)
    telemetry.event(f"{window.source}: batch {batch.seq} reads again from {window.start} to before {window.until}")
    return batch
