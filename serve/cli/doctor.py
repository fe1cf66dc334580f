"""Look for damaged files."""

from __future__ import annotations

import typer

from customer360.serve.cli.options import ConfigOption, configured

app = typer.Typer()


@app.command()
def doctor(config: ConfigOption = None) -> None:
    """Open every store of lake and state as its readers do; name each damaged or missing file and what to do. Changes
    nothing; ends with code 1 where it found something.
    """
    from customer360.platform import telemetry
    from customer360.serve import doctor as examination

    settings = configured(config, whole=())
    with telemetry.heartbeat("looking at every file"):
        found = list(examination.findings(settings))
    for each in found:
        typer.echo(f"{each.file}\n  {each.fault}\n  {each.remedy}")
    typer.echo(f"{len(found)} damaged" if found else "nothing is damaged")
    if found:
        raise typer.Exit(1)
