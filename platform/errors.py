"""The exception tree. A message states what is wrong, where, and what to do about it.

Customer360Error
├── ConfigError          a setting, rule file or mapping is wrong; names the file and the key
├── ContractError        a frame does not keep its table's contract (a fault in a build, never in data)
├── GraphError           two builds for one table, an unknown input, a cycle
├── SourceError          a source cannot be read at all (bad rows are dead letters, not errors)
├── LakeError
│   ├── LakeLocked       another run holds the lake's run lock
│   ├── DiskFull         a disk has no room left; what was committed stands
│   ├── StaleBatch       a batch number at or below the stored one was offered
│   ├── TableMissing     a table was read before it was built
│   ├── VersionGone      an earlier version was read whose files are deleted
│   └── NotPublished     nothing was published to the online store yet (declared in `online`)
├── WarehouseError       the warehouse cannot be opened, or would not equal the lake
├── AccessDenied         no key, or an unknown key
│   └── WrongRole        the key's role may not do this (declared in `access`)
├── ModelError           a model cannot be trained, loaded or scored
├── RunError             nodes of a run failed; carries the reason of each
│   └── NothingLanded    no source gave a row; says what became of each
├── NoRay                no Ray answers at its address, or none starts on this machine
└── TransientError       worth trying again
    └── UnitTimeout      a unit of work passed its time-out
"""

from __future__ import annotations

from typing import ClassVar


class Customer360Error(Exception):
    """Root of everything that this project raises on purpose. A command that it ends has its ``exit_code``."""

    exit_code: ClassVar[int] = 2


class ConfigError(Customer360Error):
    """A setting, rule file or mapping is wrong."""


class ContractError(Customer360Error):
    """A frame does not keep the contract of its table."""


class GraphError(Customer360Error):
    """The graph of builds is not a graph: duplicate, unknown input or cycle."""


class SourceError(Customer360Error):
    """A source cannot be read at all."""


class LakeError(Customer360Error):
    """A lake operation failed."""


class LakeLocked(LakeError):
    """Another run holds the lake's run lock."""

    exit_code = 6


class DiskFull(LakeError):
    """A disk of this machine has no room left; what was committed stands."""

    exit_code = 7


class StaleBatch(LakeError):
    """A batch at or below the stored sequence number was offered for commit."""


class TableMissing(LakeError):
    """A table was read before it was built."""


class VersionGone(LakeError):
    """An earlier version of a table was read whose files are deleted."""


class WarehouseError(Customer360Error):
    """The warehouse cannot be opened, or would not equal the lake; nothing of the load was kept."""


class AccessDenied(Customer360Error):
    """The caller has no key, an unknown key, or a role that may not do this."""


class ModelError(Customer360Error):
    """A model cannot be trained, loaded or scored."""


class NoRay(Customer360Error):
    """No Ray answers at its address, or none starts on this machine."""


class TransientError(Customer360Error):
    """A failure that is worth trying again."""


class UnitTimeout(TransientError):
    """A unit of work passed its time-out."""


class RunError(Customer360Error):
    """Nodes of a run failed. ``failures`` maps node name to reason; ``run`` is the id of its record, if it has one."""

    def __init__(self, failures: dict[str, str], run: str = ""):
        self.failures, self.run = failures, run
        lines = "\n".join(f"  {node}: {reason}" for node, reason in sorted(failures.items()))
        super().__init__(f"{self.summary(len(failures))}:\n{lines}")

    def __reduce__(self) -> tuple[type[RunError], tuple[dict[str, str], str]]:
        """From one process to another: an exception is made anew from its arguments, not from its message."""
        return type(self), (self.failures, self.run)

    @staticmethod
    def summary(count: int) -> str:
        return f"{count} node(s) failed; what does not depend on them was built"


class NothingLanded(RunError):
    """No source gave a row, so there is nothing to build on. ``failures`` maps each source to what became of it."""

    @staticmethod
    def summary(count: int) -> str:
        return (
            f"nothing landed: none of {count} source(s) gave a row, so nothing was built (`customer360 run --dry-run`, "
            f"`customer360 batch list`)"
        )


# What is tried again, and does not condemn what it happened to.
TRANSIENT = (TransientError, ConnectionError, TimeoutError, InterruptedError)
