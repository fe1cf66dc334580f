"""What a kind of source is: how it finds what is new, and how a worker reads it.

A kind is one class in one module, found by the module's name; nothing lists it. Its fields are the keys that its
sources have in the settings beside the common ones. A run asks ``discover`` in the driver, fixes the answer in a
manifest, and only then lets workers ``read`` each input, so a run after a crash reads the same inputs and no others.
Rows land once however often an input is read: the commit of the batch is what counts.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BeforeValidator, PrivateAttr, model_validator

from customer360.platform.connections import Connection
from customer360.platform.errors import ConfigError, SourceError
from customer360.platform.lake import Lake
from customer360.platform.ledger import Batch, Input
from customer360.platform.settings import Settings, SourceSettings
from customer360.platform.sources import formats
from customer360.platform.sources.cards import cleared_bytes
from customer360.platform.sources.formats.records import Records
from customer360.platform.sources.landing import Landing, landing_of
from customer360.platform.sources.mapping.joins import Join, pinned
from customer360.platform.sources.mapping.unpivot import Unpivot
from customer360.platform.sources.spool import Shelf, Spool, Unwritten
from customer360.platform.sources.values import iso


@dataclass(frozen=True)
class Lag:
    """How much a system holds that is not in bronze yet: ``amount`` of a ``unit``, as ``bytes`` of a log."""

    amount: int
    unit: Literal["bytes", "messages", "rows"]


@dataclass(frozen=True)
class Discovery:
    """What is new: ``inputs`` to read side by side, and the ``cursor`` of the source after them (JSON values).

    Without inputs there is no batch, and the cursor stays where it was. ``touched`` are known inputs that only look
    new: their names with the state that they have now, which is noted, so that they are looked into once.
    """

    inputs: tuple[Input, ...] = ()
    cursor: Any = None
    touched: tuple[Input, ...] = ()

    def __post_init__(self) -> None:
        names = Counter(piece.name for piece in self.inputs)
        if repeated := [name for name, count in names.items() if count > 1]:  # rows would share their addresses
            raise SourceError(f"inputs of one batch have the same name: {', '.join(repeated)}")


def _norway(written: Any) -> Any:
    """YAML reads the code NO as false."""
    return "NO" if written is False else written


CountryCode = Annotated[str, BeforeValidator(_norway), AfterValidator(iso.country_of)]


class Source(SourceSettings):
    """A configured source of some kind: a value that is checked with the settings and sent to workers.

    What it opens (a connection, a file), ``discover`` and ``read`` open and close themselves. ``stand_alone`` says that
    an input which cannot be read is one dead letter, and the batch lands without it: right for files, which stay where
    they are and can be read again. Of a source that reads in order the batch waits, else its cursor would pass rows by.
    """

    stand_alone: ClassVar[bool] = False
    # Which batches can be read again when they were dropped: ``each``; the ``newest``, as what it ended with is where
    # the source goes on; or ``never``, as what they held is given once. Of ``never``, nothing is read anew at all.
    rereads: ClassVar[Literal["each", "newest", "never"]] = "each"
    # What details of inputs say of the moment of a look, not of what is there: another of it is no news
    momentary: ClassVar[tuple[str, ...]] = ()
    # Where a row with a telephone number or an address names no country, it is this one: ISO 3166 code, or name
    country: CountryCode | None = None
    unpivot: Unpivot | None = None  # a row of each column but those that it keeps
    join: dict[str, Join] = {}  # by name, files beside it: their columns are NAME.COLUMN in expressions
    _connected: Connection | None = PrivateAttr(None)
    _name: str = PrivateAttr("")
    _lake: Shelf | None = PrivateAttr(None)
    _state: str = PrivateAttr("")
    _looks: bool = PrivateAttr(False)  # it is looked at: nothing is made, moved or let go of, here or at its system

    @property
    def name(self) -> str:
        """The name that the settings give it; of one that `configured` did not make, its table's."""
        return self._name or self.table

    @property
    def lane(self) -> str:
        """Inputs of one lane are read one after the other: who asks an API of several sources asks it once at a time.
        Empty: side by side with all others.
        """
        return ""

    def spool(self, piece: Input) -> Spool:
        """Where what an input gives is kept until its batch is in bronze.

        Raises:
            ConfigError: the source was not made by `configured`.
        """
        if self._lake is None:
            raise ConfigError(f"a source of {self.table} has no lake to keep its pages in")
        return Spool(self._lake, self.name, piece.name, partial(cleared_bytes, self))

    @property
    def state_folder(self) -> Path:
        """The state folder of this machine.

        Raises:
            ConfigError: the source was not made by `configured`.
        """
        if not self._state:
            raise ConfigError(f"a source of {self.table} has no state folder")
        return Path(self._state)

    def placed(self, name: str, lake: Lake, state: str) -> Self:
        """This source under its name, with the lake that it lands in and the state folder."""
        source = self.model_copy()
        source._name, source._lake, source._state = name, lake, state
        return source

    @property
    def connected(self) -> Connection:
        """The connection that a source of a kind with ``connects`` names; it goes with the source to workers.

        Raises:
            ConfigError: the source was not made by `configured`, or its kind has no connection.
        """
        if self._connected is None:
            raise ConfigError(f"a source of {self.table} has no connection")
        return self._connected

    def unwritten(self) -> Self:
        """This source for a preview: what it would keep in the lake, it keeps in memory, and its system is only looked
        at.
        """
        source = self.model_copy()
        source._looks = True
        source._lake = Unwritten(self._lake) if isinstance(self._lake, Lake) else self._lake
        return source

    def connected_to(self, connection: Connection) -> Self:
        """This source, reading from a connection."""
        source = self.model_copy()
        source._connected = connection
        return source

    @model_validator(mode="after")
    def _takes_apart_once(self) -> Self:
        if self.unpivot and self.explode:
            raise ValueError("unpivot: and explode: cannot both take a record apart")
        return self

    @abstractmethod
    def discover(self, landing: Landing, known: Sequence[Batch]) -> Discovery:
        """What no earlier batch holds. ``known`` are all batches of this source, oldest first, landed or not.

        The detail of an input that landed also holds the state in which it was read (see ``state``).

        A kind that reads in order goes on from ``ledger.last_cursor(known)``; None is the beginning. One that does not,
        as files come in any order, compares with the inputs of the batches and keeps no cursor. A large backlog is cut
        into several inputs, or taken in part: the next run finds the rest.

        Raises:
            SourceError: the source cannot be reached; says which and what to do.
        """

    def window(self, start: str, until: str) -> tuple[Input, ...]:
        """Inputs that read the part of the source from ``start`` on and before ``until`` again: moments in ISO 8601, or
        values of the column that says what is newer.

        Raises:
            ConfigError: the kind has no windows, or these are no bounds of one; says what to do.
        """
        again = "`run --reland` reads its files again" if self.rereads == "each" else "what it gave is given once"
        raise ConfigError(f"{self.name}: kind {self.kind} has no window to read again; {again}")

    @abstractmethod
    def read(self, landing: Landing, piece: Input) -> Records:
        """The records of one input, the same however often it is read. Runs in workers.

        Raises:
            TransientError: worth trying again, as ConnectionError and TimeoutError are.
            SourceError: the input cannot be read at all; unreadable records are dead letters.
        """

    def pieces(self, landing: Landing, piece: Input) -> Iterator[Records]:
        """The records of one input in pieces that each fit in memory; positions run on over them. As `read`
        otherwise.
        """
        yield self.read(landing, piece)

    def release(self, landing: Landing, batch: Batch) -> None:
        """Let go of what was kept for a batch, which is in bronze now. It is called again where a crash came between,
        so it does nothing where nothing is left.
        """

    def behind(self, known: Sequence[Batch]) -> Lag | None:
        """How far the source is behind its system now, for who asks it; None where a kind cannot say. Runs do not: the
        lag in their health of a source is what they found and did not land.

        Raises:
            SourceError, TransientError: the system cannot be asked.
        """
        return None

    def state(self, landing: Landing, piece: Input) -> dict[str, Any]:
        """How an input stands now, as JSON values that tell it from other contents; empty where a kind cannot say.

        Raises:
            SourceError: it is not the input that the manifest of its batch names.
        """
        return {}

    def reread(self, raw: bytes, columns: list[str]) -> Records:
        """A dead letter that a person repaired, as records: a JSON object unless the kind says else.

        ``columns`` are those of the input that the letter came from, in its order.
        """
        return formats.of_one_record(raw)

    def completed(self, settings: Settings) -> Self:
        """This source with what it takes from other settings than its own keys."""
        return self

    def reader_options(self) -> dict[str, Any]:
        """The keys of this kind that decide how bytes become records: when they change, landed rows are of another
        reader.
        """
        return {}


def configured(settings: Settings, name: str) -> Source:
    """A source by name. Raises ConfigError when its class says how it is configured, but not how it is read."""
    source = settings.sources[name]
    if not isinstance(source, Source):
        raise ConfigError(f"sources.{name}: {type(source).__name__} cannot be read; a kind extends sources.base.Source")
    lake = Lake(settings.lake.root, settings.lake.storage_options, settings.lake.buckets)
    source = source.completed(settings).placed(name, lake, settings.state)
    if source.connects is not None:
        source = source.connected_to(settings.connections[source.connection])
    return source.model_copy(update={"join": pinned(landing_of(settings), source.join)}) if source.join else source
