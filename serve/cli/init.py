"""From a folder of files to settings that run: `customer360 init`."""

from __future__ import annotations

import re
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zoneinfo import available_timezones

import typer

from customer360.platform.errors import ConfigError
from customer360.platform.settings import Settings
from customer360.platform.sources.values import iso

if TYPE_CHECKING:
    from customer360.serve.drafting.draft import Draft
    from customer360.serve.drafting.entries import Entry
    from customer360.serve.drafting.outlook import Outlook
    from customer360.serve.drafting.writing import Answers

app = typer.Typer()
NO_NAMES = ("y", "n", "yes", "no", "ja", "nein", "oui", "non", "si", "true", "false", "ok", "none", "null")
SHOWN = 20  # files of a list that are printed; the draft names more


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Folder with the files that your systems export; not changed")],
    out: Annotated[Path, typer.Option(help="Settings file to write; one that is there is left alone")] = Path(
        "customer360.yaml"
    ),
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Ask nothing; assumptions are written into the file")
    ] = False,
) -> None:
    """Draft settings for a folder of files: which are what, how they map, and why; then show what a run would get."""
    from customer360.platform import telemetry
    from customer360.platform.sources.landing import Landing
    from customer360.platform.sources.profiling.survey import survey
    from customer360.serve.compose import compose
    from customer360.serve.drafting.draft import draft_of
    from customer360.serve.drafting.names import vocabulary

    telemetry.configure()
    compose()
    if not folder.is_dir():
        raise ConfigError(f"{folder} is no folder; name the one that your exports lie in")
    if out.exists():
        raise ConfigError(f"{out} is there already and is not overwritten; name another file with --out")
    with telemetry.heartbeat(f"looking at {folder}"):
        draft = draft_of(survey(Landing(str(folder))), folder.resolve().name, vocabulary())
    if not draft.entries:
        _say_files(draft)
        raise ConfigError(f"nothing in {folder} was recognized; write the sources by hand: docs/recipes/source.md")
    answers = _asked(draft, is_silent=yes or not _is_terminal())
    settings = _written(draft, folder, out, answers)
    _say_files(draft)
    _say_outlook(draft, settings, answers, out)


def _is_terminal() -> bool:
    return sys.stdin.isatty()


def _written(draft: Draft, folder: Path, out: Path, answers: Answers) -> Settings:
    """The draft in its file, and read back from there."""
    from customer360.platform import settings as configuration
    from customer360.serve.drafting import writing

    beside = out.parent / f"{out.stem}_data"
    name = "".join(c if c.isalnum() else "_" for c in folder.resolve().name.lower()).strip("_") or "shop"
    head = writing.Head(name, str(folder), str(beside / "lake"), str(beside / "state"))
    try:
        with out.open("x", encoding="utf-8") as file:
            file.write(writing.text(draft, head, answers))
    except OSError as fault:
        raise ConfigError(f"{out} cannot be written: {fault.strerror}") from None
    try:
        return configuration.load(out)
    except ConfigError:
        out.unlink()  # a draft that does not load helps nobody; the next try finds the name free
        raise


def _asked(draft: Draft, is_silent: bool) -> Answers:
    """What only a person can know, asked at a terminal."""
    from customer360.serve.drafting import writing

    answers = writing.Answers()
    if is_silent:
        return answers
    if columns := writing.lacks_zone(draft):
        zone = typer.prompt(
            f"Time zone of times without one ({columns[0].name}, e.g. {columns[0].looked_at[0]}), as Europe/Paris",
            default=draft.zone or "UTC",
        )
        while zone not in available_timezones():
            zone = typer.prompt(f"{zone} is no IANA time zone; which one", default="UTC")
        answers = replace(answers, timezone=zone)
    if entries := writing.lacks_currency(draft):
        answers = replace(answers, currency=_currency(entries[0].name))
    if entries := writing.lacks_country(draft):
        answers = replace(answers, country=_country(entries[0]))
    if unclear := writing.unclear_dates(draft):
        entry, column = unclear[0]
        first = typer.confirm(
            f"Is the day first in {column.looked_at[0]} ({column.name} of {entry.name})", default=False
        )
        answers = replace(answers, dates="day_first" if first else "month_first")
    if len(systems := {entry.system for entry in draft.entries if not entry.recipe}) == 1:
        new = _system(systems.pop())
        for entry in draft.entries:
            entry.system = new if not entry.recipe else entry.system
    return answers


def _currency(source: str) -> str | None:
    """The code of a currency; None where nobody knows it."""
    asked = f"Currency of the amounts of {source}, as EUR (empty: unknown)"
    while written := typer.prompt(asked, default="", show_default=False).strip():
        if code := iso.currencies().get(iso.plain(written)):
            return code
        asked = f"{written} is no currency; its ISO 4217 code, as EUR (empty: unknown)"
    return None


def _country(entry: Entry) -> str | None:
    """The code of two letters of a country; None where nobody knows it."""
    numbers = entry.used["PHONE_NUMBER"]
    asked = f"Country of numbers without one ({numbers.name} of {entry.name}), as DE (empty: unknown)"
    while written := typer.prompt(asked, default="", show_default=False).strip():
        if code := iso.countries().get(iso.plain(written)):
            return iso.alpha_2()[code]
        asked = f"{written} is no country; its ISO 3166 code, as DE (empty: unknown)"
    return None


def _system(old: str) -> str:
    """A name for the namespace of customer numbers; an answer to another question is none."""
    asked = "Name of the system whose customer numbers these are"
    while True:
        new = str(typer.prompt(asked, default=old)).strip().upper()
        if new == old or (len(new) > 1 and new.lower() not in NO_NAMES and re.fullmatch(r"\w[\w .-]*", new)):
            return new
        asked = f"{new} names no system; a word of two letters or more, such as POS"


def _say_files(draft: Draft) -> None:
    """Print what each file is taken for, and which give nothing and why."""
    for entry in draft.entries:
        typer.echo(f"{entry.delivery.label}: {entry.recipe or entry.table} ({entry.about})")
    for note in dict.fromkeys(note for entry in draft.entries for note in entry.delivery.notes):
        typer.echo(f"note: {_printable(note)}")
    for heading, files in (
        ("not used", [(n.path, n.reason) for n in draft.not_used]),
        ("skipped", [(s.name, s.reason) for s in draft.skipped]),
    ):
        for path, reason in files[:SHOWN]:
            typer.echo(f"{heading}: {_printable(path)}: {reason}")
        if len(files) > SHOWN:
            typer.echo(f"{heading}: {len(files) - SHOWN:,} more files")


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def _say_outlook(draft: Draft, settings: Settings, answers: Answers, out: Path) -> None:
    """Print what is assumed and asked, what the sample gives, what it is enough for, and the next command."""
    from customer360.platform.run import RunRequest
    from customer360.serve import jobs
    from customer360.serve.cli import report
    from customer360.serve.compose import rules_of
    from customer360.serve.drafting import outlook as looking
    from customer360.serve.drafting import writing

    for line in writing.assumptions(draft, answers):
        typer.echo(line)
    for entry in draft.entries:
        for question in entry.asks:
            typer.echo(f"TODO {entry.name}: {question}")
    found = looking.outlook(draft, settings, rules_of(settings))
    _say_numbers(found)
    for heading, wanted in (("profile", looking.PARTS), ("models", looking.MODELS)):
        have, lack = found.enough_for(wanted)
        typer.echo(
            f"{heading}: {'; '.join(have) or 'nothing'}" + (f". No files for: {'; '.join(lack)}" if lack else "")
        )
    preview = jobs.preview_pipeline(settings, RunRequest(end="bronze", command="init"))
    for fault in preview.faults:
        report.console.print(f"fault: {fault}", style="red", markup=False)
    typer.echo(
        f"wrote {out}. Look at it, then: customer360 run --config {out} --dry-run, and customer360 run --config {out}"
    )


def _say_numbers(found: Outlook) -> None:
    """Print sources with rows, then people, orders, days and money of the sample."""
    for source in found.sources:
        if source.fault:
            typer.echo(f"  {source.name}: cannot be tried: {source.fault}")
        elif source.rows:
            refused = f", {source.refused:,} of them refused" if source.refused else ""
            typer.echo(
                f"  {source.name}: {source.read:,} records looked at -> {source.rows:,} rows of {source.table}{refused}"
            )
    days = f", {found.first} to {found.last}" if found.first else ""
    money = ", ".join(
        f"{amount:,.2f} {currency or '(currency unknown)'}" for currency, amount in sorted(found.amounts.items())
    )
    part = "" if found.is_whole else "in the sample: "
    typer.echo(
        f"{part}{found.people:,} customer accounts, {found.orders:,} orders ({found.known_orders:,} of known customers)"
        f"{days}; {money or 'no amounts'}"
    )
