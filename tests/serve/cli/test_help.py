"""What a command says of itself reaches the screen whole, and its faults reach who reads them."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

import click
import pytest
import typer.main
from rich.text import Text

from customer360.platform import telemetry
from customer360.serve import cli


def commands(of: click.Command, name: str = "customer360") -> Iterator[tuple[str, click.Command]]:
    yield name, of
    for word, each in getattr(of, "commands", {}).items():
        yield from commands(each, f"{name} {word}")


def test_no_word_of_a_help_is_taken_for_markup() -> None:
    for name, command in commands(typer.main.get_command(cli.app)):
        for text in (command.help, *(getattr(p, "help", None) for p in command.params)):
            assert Text.from_markup(text or "").plain == (text or ""), f"{name}: {text}"


@pytest.mark.parametrize("reader", ["", "json"])
def test_a_fault_that_ends_a_command_is_told_as_the_log_is_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], reader: str
) -> None:
    monkeypatch.setenv("CUSTOMER360_LOG", reader)
    monkeypatch.setattr(telemetry.log, "handlers", [])
    monkeypatch.setattr(sys, "argv", ["customer360", "run", "gold.no_such_table"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    told = capsys.readouterr().err
    assert ended.value.code == 2 and "no pipeline, model or table is called" in told
    if reader:
        (entry,) = map(json.loads, told.splitlines())
        assert entry["level"] == "ERROR" and entry["event"] == "error"
    else:
        assert told.startswith("error: ")


def test_a_command_without_those_of_other_subjects_is_the_same() -> None:
    everything = typer.main.get_command(cli.app)
    for word, command in everything.commands.items():  # type: ignore[attr-defined]
        alone = typer.main.get_command(cli.asked(word)).commands  # type: ignore[attr-defined]
        assert len(alone) < len(everything.commands), f"{word} is looked for among all"  # type: ignore[attr-defined]
        same = [[(name, [p.name for p in each.params]) for name, each in commands(of)] for of in (command, alone[word])]
        assert same[0] == same[1]


@pytest.mark.parametrize("word", ["", "--help", "rnu"])
def test_what_is_no_command_is_told_of_all(word: str) -> None:
    everything, told = (typer.main.get_command(app) for app in (cli.app, cli.asked(word)))
    assert list(told.commands) == list(everything.commands)  # type: ignore[attr-defined]
