"""What of the sources is new, without landing it: for who watches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from customer360.platform import ledger
from customer360.platform.known import Known, known_of
from customer360.platform.lake import Lake
from customer360.platform.run.health import Board
from customer360.platform.run.ingest import last_committed, look_ahead, with_new
from customer360.platform.run.looking import Looked, all_looked
from customer360.platform.run.request import RunRequest
from customer360.platform.run.rests import resting
from customer360.platform.settings import Settings
from customer360.platform.sources.base import Discovery, Source, configured
from customer360.platform.sources.landing import landing_of


@dataclass(frozen=True)
class Look:
    """What of the sources is new to a lake, by source: inputs with what tells them apart, or why a source cannot be
    looked at. Equal looks are of the same news; false where there is none.
    """

    news: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.news)

    def beyond(self, seen: Look) -> bool:
        """Whether a source has news that were not seen."""
        return any(seen.news.get(name) != new for name, new in self.news.items())

    def still(self, seen: Look) -> Look:
        """Of what was seen that of sources which have news now: what went and comes again is new again."""
        return Look({name: old for name, old in seen.news.items() if name in self.news})


def look_at(lake: Lake, settings: Settings, request: RunRequest | None = None) -> Look:
    """What waits to be landed now by runs of a request; sources that such a run would not ask are not asked either.
    Nothing is written.
    """
    request = request or RunRequest()
    with lake.at_one_look(source.table for source in settings.sources.values()), lake.keeping(*ledger.FOLDERS):
        names = [name for name in settings.sources if not request.sources or name in request.sources]
        rests = _resting(lake, settings, names, request)
        names = [name for name in names if name not in rests]
        look_ahead(lake, settings, names)
        sources, faults, known = _known_before(lake, settings, names)
        landing = landing_of(settings)
        looks = all_looked(settings, sources, lambda name: sources[name].discover(landing, known[name]))
        seen = {name: _news(sources[name], known[name], look) for name, look in looks.items()} | faults
    return Look({name: seen[name] for name in settings.sources if seen.get(name)})


def _resting(lake: Lake, settings: Settings, names: list[str], request: RunRequest) -> Iterable[str]:
    try:
        return resting(settings, Board.of(lake), names, request)
    except Exception:  # noqa: BLE001 - the look at each source says what is wrong
        return ()


def _known_before(
    lake: Lake, settings: Settings, names: Iterable[str]
) -> tuple[dict[str, Source], dict[str, tuple[str, ...]], dict[str, Known]]:
    """Sources by name with what is known of each, and why others cannot be looked at."""
    sources, faults, known = dict[str, Source](), dict[str, tuple[str, ...]](), dict[str, Known]()
    for name in names:
        try:
            source = configured(settings, name)
            known[name] = known_of(lake, name, last_committed(lake, source, name))
            sources[name] = source
        except Exception as fault:  # noqa: BLE001 - the run says it, and the other sources are looked at
            faults[name] = (f"{type(fault).__name__}: {fault}",)
    return sources, faults, known


def _news(source: Source, known: Known, look: Looked[Discovery]) -> tuple[str, ...]:
    try:
        new = look.get()
    except Exception as fault:  # noqa: BLE001 - the run says it, and the other sources are looked at
        return (f"{type(fault).__name__}: {fault}",)
    waiting = with_new(source.name, known, new)
    pieces = [piece for batch in waiting for piece in batch.inputs] + list(new.touched)
    told = [(p.name, sorted((k, v) for k, v in p.detail.items() if k not in source.momentary)) for p in pieces]
    return (*(b.id for b in waiting), *(f"{name} {detail}" for name, detail in told))
