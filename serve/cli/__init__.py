"""The `customer360` command: one module a subject, put together here."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterable
from types import ModuleType

import typer
from typer.main import get_command_name

from customer360.platform import telemetry
from customer360.platform.errors import Customer360Error, DiskFull
from customer360.platform.lake.damage import UNREADABLE, is_full
from customer360.serve.cli import (
    alerts,
    audiences,
    backups,
    batches,
    doctor,
    editions,
    experiments,
    identity,
    init,
    keys,
    lake,
    lineage,
    merchandise,
    models,
    offline,
    pipelines,
    privacy,
    quality,
    repairs,
    rights,
    runs,
    schedules,
    schemas,
    serving,
    systems,
    tokens,
    warehouse,
)
from customer360.serve.cli import people as people  # adds its commands to the group of identity

SUBJECTS: tuple[ModuleType, ...] = (
    init,
    pipelines, systems, models, offline, audiences, experiments, merchandise, batches, quality, repairs, serving,
    rights, keys, tokens, lake, editions, schedules, runs, alerts, schemas, warehouse, identity, doctor, backups,
    privacy, lineage,
)  # fmt: skip


def _commands(subjects: Iterable[ModuleType]) -> typer.Typer:
    made = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        help="Retail Customer 360: raw files in, a personalized answer out.",
    )
    for subject in subjects:
        made.add_typer(subject.app)  # without a name: its commands stand at the top
    return made


app = _commands(SUBJECTS)


def asked(word: str) -> typer.Typer:
    """The commands of the subjects that have a first word, all where none has it: to make all of them out takes a tenth
    of a second."""
    return _commands([subject for subject in SUBJECTS if word in _words(subject.app)] or SUBJECTS)


def _words(subject: typer.Typer) -> set[str]:
    """First words of the commands of a subject."""
    commands = {c.name or get_command_name(c.callback.__name__) for c in subject.registered_commands if c.callback}
    groups = {group.name for group in subject.registered_groups if isinstance(group.name, str)}
    return commands | groups


# New ones, after which a process looks for garbage: what is declared are some 300,000 that stay, and to go through them
# time and again is a tenth of a run with nothing new.
OBJECTS = 20_000
TRACEBACK = "CUSTOMER360_TRACEBACK"  # set: faults of files and disks are shown as Python shows them


def main() -> None:
    """Entry point: project errors end with their message and their exit code, without a traceback."""
    gc.set_threshold(OBJECTS)
    try:
        asked(sys.argv[1] if len(sys.argv) > 1 else "")()
    except Customer360Error as fault:
        _say(str(fault))
        raise SystemExit(fault.exit_code) from None
    except UNREADABLE as fault:
        if is_full(str(fault)):
            _say(f"{fault}; make room and start it again: what was committed stands, the rest is made then")
            raise SystemExit(DiskFull.exit_code) from None
        said = str(fault).strip().splitlines()[:1] or [type(fault).__name__]
        _say(f"{said[0]}; `customer360 doctor` looks for damaged files")
        if os.environ.get(TRACEBACK):
            raise
        typer.echo(f"{TRACEBACK}=1 shows where", err=True)
        raise SystemExit(2) from None


def _say(fault: str) -> None:
    """What ended a command, as the log is read: by people, or by a program."""
    if telemetry.is_json():
        telemetry.configure()
        telemetry.log.error(fault, extra={"facts": {"event": "error"}})
    else:
        typer.echo(telemetry.shown(f"error: {fault}"), err=True)
