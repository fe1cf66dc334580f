"""What a run is asked for, as one value from the command line down to the driver."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from customer360.platform import graph, tables
from customer360.platform.errors import ConfigError
from customer360.platform.quality import DeadLetters, Quarantine
from customer360.platform.settings import SourceSettings

QUALITY = tuple(tables.spec(table).name for table in (Quarantine, DeadLetters))


@dataclass(frozen=True)
class Window:
    """Of a source the part from one moment, or value of its column, on, and before another."""

    source: str
    start: str
    until: str


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """A part of the graph, a date, and what to rebuild.

    ``start`` and ``end`` are names of nodes, tables or layers (None: all), of which ``only`` keeps some nodes. Tables
    in ``refresh`` are built even where they are current. Without ``as_of`` the date is read from the data
    (``graph.default_as_of``). Files of the sources in ``reland`` are read again, and their rows replaced. ``command``
    is what the record of the run is filed under, ``started_by`` who or what started it.

    Only the ``sources`` land, where some are named. With ``due`` a source with an interval rests until it is over, and
    so do reports (``run.reports``), of which none is made of a table that is ``published``.
    ``window`` is a part of one source that is read again.
    """

    start: str | None = None
    end: str | None = None
    only: frozenset[str] | None = None
    refresh: tuple[str, ...] = ()
    reland: tuple[str, ...] = ()
    as_of: date | None = None
    command: str = "run"
    started_by: str = ""
    sources: tuple[str, ...] = ()
    due: bool = False
    window: Window | None = None
    published: tuple[str, ...] = ()

    def nodes(self) -> set[str]:
        """Names of the nodes that the run is for.

        Raises:
            GraphError: a name is unknown, also one that is to be rebuilt.
        """
        for name in self.refresh:
            graph.selection(name, name)
        chosen = graph.selection(self.start, self.end)
        return chosen if self.only is None else chosen & self.only

    def names(self, configured: Mapping[str, SourceSettings], needed: set[str]) -> list[str]:
        """Sources that land: those of the bronze tables ``needed``, or of them those that the request names.

        Raises:
            ConfigError: it names one that is not configured, or whose table the run does not need.
        """
        found = [name for name, source in configured.items() if source.table in needed]
        if unknown := sorted(set(self.sources) - set(found)):
            raise ConfigError(f"--source {', '.join(unknown)}: this run lands {', '.join(found) or 'no source'}")
        return [name for name in found if not self.sources or name in self.sources]

    def lands(self, chosen: set[str]) -> set[str]:
        """Bronze tables that a run lands first: those that its nodes read, or those that it ends with."""
        start, end = self.start, self.end
        if end and end.partition(".")[0] == "bronze":
            every = {name for name in tables.TABLES if name.startswith("bronze.")}
            return every if end == "bronze" else {tables.spec(tables.by_name(end)).name}
        if start is not None and not start.startswith("bronze"):
            return set()
        return {table for name in chosen for table in graph.NODES[name].inputs if table.startswith("bronze.")}

    def touches(self, chosen: set[str]) -> set[str]:
        """Tables that nodes read or write, and those of quality."""
        nodes = [graph.NODES[name] for name in chosen]
        made = {tables.spec(output).name for node in nodes for output in node.outputs}
        return made.union(QUALITY, *(node.inputs for node in nodes))
