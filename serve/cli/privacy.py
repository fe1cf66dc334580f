"""What may leave, and under which policy: a file for analysts, and the policy of every personal column."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from customer360.serve.cli.options import ConfigOption, configured

app = typer.Typer()


@app.command("export")
def export_people(
    out: Annotated[Path, typer.Option(help="CSV or Parquet, readable by you alone")],
    anonymize: Annotated[
        bool, typer.Option("--anonymize", help="Said out loud: there is no export of whole people")
    ] = False,
    columns: Annotated[
        list[str] | None,
        typer.Option("--column", help="Of the customer view, repeated: what the file tells; numbers become fifths"),
    ] = None,
    k: Annotated[int, typer.Option(min=2, help="People that share each combination of age, postcode, …")] = 10,
    diversity: Annotated[int, typer.Option("--l", min=1, help="Different values of each column among them")] = 2,
    suppress: Annotated[
        float, typer.Option(min=0, max=0.99, help="Share that may be left out before a coarser level is taken")
    ] = 0.05,
    config: ConfigOption = None,
) -> None:
    """Write a file for analysts in which nobody can be told from `k` others (k-anonymity, l-diversity)."""
    from customer360.platform import telemetry
    from customer360.platform.anonymity import Law
    from customer360.platform.errors import ConfigError
    from customer360.platform.run import lake_of
    from customer360.serve.activation import analysts

    if not anonymize:
        raise ConfigError(
            "people leave anonymized: say --anonymize; contacts of an audience: `customer360 audience export`"
        )
    chosen, law = tuple(columns or analysts.USUAL), Law(k, diversity, suppress)
    done = analysts.anonymous(lake_of(configured(config)), chosen, law)
    release = done.release
    analysts.write(release.rows, out)
    telemetry.event("anonymized", people=release.rows.height, k=k, l=diversity, groups=release.groups)
    typer.echo(
        f"{release.rows.height:,} of {done.people:,} people in {out}, as of {done.as_of}: {release.groups:,} groups, "
        f"the smallest of {release.smallest}; {release.suppressed:,} left out, whose group would be under {k} or "
        f"less various than {diversity}; {done.withheld:,} withheld: profiling refused"
    )
    typer.echo("levels (0: the finest): " + ", ".join(f"{name} {level}" for name, level in release.levels.items()))


@app.command("policy")
def policy_command(
    csv: Annotated[Path | None, typer.Option(help="Also write it there")] = None, config: ConfigOption = None
) -> None:
    """Owner, purpose, legal basis and retention of every personal column (configs/rules/policy.yaml)."""
    from dataclasses import astuple, fields

    import polars as pl

    from customer360.pipelines.policy import ColumnPolicy, policies
    from customer360.pipelines.rules import PolicyRules
    from customer360.serve.cli import report
    from customer360.serve.compose import rules_of

    rules = rules_of(configured(config))["policy"]
    assert isinstance(rules, PolicyRules)
    found, names = policies(rules), [f.name for f in fields(ColumnPolicy)]
    if csv:
        csv.parent.mkdir(parents=True, exist_ok=True)
        pl.DataFrame([astuple(each) for each in found], schema=names, orient="row").write_csv(csv)
    grid = report.grid("Policy of personal columns", *names)
    for each in found:
        grid.add_row(*astuple(each))
    report.console.print(grid)
