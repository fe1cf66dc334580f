"""Audiences by rule: list them, size one, write one to a file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from customer360.serve.cli.options import ConfigOption, configured

if TYPE_CHECKING:
    from customer360.pipelines.rules import AudienceRules
    from customer360.serve.activation.audiences import People

app = typer.Typer()
group = typer.Typer(no_args_is_help=True, help="People by rule (configs/audiences.yaml): size them, export them.")
app.add_typer(group, name="audience")
# Groups of the customer view that a model fills, and the model.
MODELS = {"clv": "clv", "churn": "churn", "segment": "segments", "propensity": "propensity"}
NameArgument = Annotated[str, typer.Argument(help="An audience of the file")]


@group.command("list")
def list_audiences(config: ConfigOption = None) -> None:
    """Every audience, how many people it means, and how many of them may be treated individually; `show` says whom a
    channel reaches."""
    from customer360.serve.activation import audiences
    from customer360.serve.cli import report

    of, rules = _opened(config)
    grid = report.grid(f"Audiences as of {of.as_of}", "audience", "people", "personalizable", "of whom")
    unknown = audiences.unknown(of, rules)
    for name, (meant, allowed) in audiences.sizes(of, rules).items():
        counts = ("unknown", "") if name in unknown else (f"{meant:,}", f"{allowed:,}")
        grid.add_row(name, *counts, rules.audiences[name].description)
    report.console.print(grid)
    report.console.print(
        "personalizable: did not refuse to be treated individually. Whom a channel may reach is fewer:"
        " customer360 audience show NAME",
        highlight=False,
    )
    _tell_unknown(unknown)


@group.command("show")
def show_audience(name: NameArgument, config: ConfigOption = None) -> None:
    """The condition of an audience, and whom each channel reaches; everybody who is meant stands in one row."""
    from customer360.pipelines.rules import AudienceRules
    from customer360.serve.activation import audiences
    from customer360.serve.cli import report

    of, rules = _opened(config)
    audience = audiences.named(rules, name)
    report.console.print(f"{name}: {audience.description}\n  {audience.condition}", highlight=False, markup=False)
    found = {channel: audiences.counted(audiences.placed(of, audience, channel)) for channel in audiences.CHANNELS}
    grid = report.grid(f"{name} as of {of.as_of}", "people", *found)
    for place in audiences.PLACES:
        grid.add_row(place, *(f"{counts[place]:,}" for counts in found.values()))
    grid.add_row("meant", *(f"{sum(counts.values()):,}" for counts in found.values()))
    report.console.print(grid)
    _tell_unproven(of)
    _tell_unknown(audiences.unknown(of, AudienceRules(audiences={name: audience})))


@group.command("export")
def export_audience(
    name: NameArgument,
    channel: Annotated[str, typer.Option(help="email, sms, push or phone")],
    out: Annotated[Path, typer.Option(help="CSV or Parquet, readable by you alone")],
    contacts: Annotated[
        bool, typer.Option("--contacts", help="Also the address of the channel: personal data")
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Write whom a channel reaches: person_id and the audience's columns. Consent, unsubscription and erasure hold."""
    from customer360.platform import telemetry
    from customer360.platform.errors import ConfigError
    from customer360.serve.activation import audiences

    if channel not in audiences.CHANNELS:
        raise ConfigError(f"no channel is called {channel!r}; there are {', '.join(audiences.CHANNELS)}")
    of, rules = _opened(config)
    audience = audiences.named(rules, name)
    rows = audiences.placed(of, audience, channel)
    written = audiences.export(rows, audience, channel, out, contacts=contacts)
    left_out = ", ".join(f"{count:,} {place}" for place, count in audiences.counted(rows).items()
                         if count and place != audiences.REACHED)  # fmt: skip
    telemetry.event("audience exported", audience=name, channel=channel, people=written, contacts=contacts)
    typer.echo(f"{written:,} of {rows.height:,} people in {out}" + (f"; left out: {left_out}" if left_out else ""))
    if audiences.CHANNELS[channel].address:
        _tell_unproven(of)


def _tell_unproven(of: People) -> None:
    from customer360.serve.activation import audiences

    if not audiences.knows_addresses(of):
        typer.echo(
            f"{audiences.PERMISSIONS} has no rows of {of.as_of}, so nothing tells which address a yes is of:"
            f" who gave one counts as {audiences.NOT_ASKED}; `customer360 run gold` builds it"
        )


def _tell_unknown(unknown: dict[str, list[str]]) -> None:
    for name, columns in unknown.items():
        typer.echo(f"{name}: unknown, since nobody has {' or '.join(columns)}; {_remedy(columns)}")


def _remedy(columns: list[str]) -> str:
    """What gives a column values: for a score, the model whose group of the view it is in."""
    from customer360.pipelines.gold.customers import GROUPS

    trained = sorted({name for name, part in GROUPS.items() if name in MODELS and {*columns} & {*part.columns()}})
    how = [f"`customer360 train {MODELS[name]}`" for name in trained]
    return f"{', '.join(how)}, then `customer360 score` tell" if how else "no source or build gives it yet"


def _opened(config: Path | None) -> tuple[People, AudienceRules]:
    from customer360.pipelines.rules import AudienceRules
    from customer360.platform.run import lake_of
    from customer360.serve.activation import audiences
    from customer360.serve.compose import rules_of

    settings = configured(config)
    rules = rules_of(settings)["audiences"]
    assert isinstance(rules, AudienceRules)
    return audiences.people(lake_of(settings)), rules
