"""How far bronze is behind the systems that sources read, asked of them now."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass

from customer360.platform import ledger
from customer360.platform.errors import Customer360Error, TransientError
from customer360.platform.run import lake_of
from customer360.platform.settings import Settings
from customer360.platform.sources.base import Lag, Source, configured

PATIENCE_SECONDS = 10.0  # for all answers together


@dataclass(frozen=True)
class Behind:
    """What a source's system said; ``reason`` where it said nothing."""

    lag: Lag | None = None
    reason: str = ""

    @property
    def text(self) -> str:
        if self.lag is None:
            return "?"
        return f"{self.lag.amount:,} {self.lag.unit}" if self.lag.amount else "nothing"


def asked(settings: Settings, patience: float = PATIENCE_SECONDS) -> dict[str, Behind]:
    """What each source says whose kind can say it, in the order of the settings. Systems are asked side by side, and
    one that is silent for longer than ``patience`` seconds is left alone.
    """
    names = [name for name, entry in settings.sources.items() if _can_say(entry)]
    found = dict.fromkeys(names, Behind(reason=f"no answer within {patience:g} seconds"))
    lock = threading.Lock()

    def ask(name: str) -> None:
        said = _of(settings, name)
        with lock:
            found[name] = said

    threads = [threading.Thread(target=ask, args=(name,), daemon=True, name=f"ask {name}") for name in names]
    for thread in threads:
        thread.start()
    until = time.monotonic() + patience
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    with lock:
        return dict(found)


def _can_say(entry: object) -> bool:
    return isinstance(entry, Source) and type(entry).behind is not Source.behind


def _of(settings: Settings, name: str) -> Behind:
    try:
        source = configured(settings, name)
        lag = source.behind(ledger.batches(lake_of(settings), name))
    except (Customer360Error, TransientError, OSError) as fault:
        return Behind(reason=str(fault).partition("\n")[0])
    return Behind(lag) if lag is not None else Behind(reason="nothing landed yet")
