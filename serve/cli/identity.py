"""Resolve any file of people, and judge the result."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer()
identity_app = typer.Typer(no_args_is_help=True, help="Which records are one person: resolve files, evaluate, label.")
app.add_typer(identity_app, name="identity")

RulesOption = Annotated[Path | None, typer.Option(help="Rule file; default: the installed configs/rules/identity.yaml")]


@identity_app.command()
def resolve(
    files: Annotated[list[Path], typer.Option("--input", help="CSV or Parquet of people; give it once per file")],
    mapping: Annotated[Path, typer.Option(help="YAML: unique_id, source, columns of the file by attribute")],
    out: Annotated[Path, typer.Option(help="Clusters, Parquet or CSV: unique_id, person_id, source")],
    edges: Annotated[Path | None, typer.Option(help="Scored pairs; default: beside --out, named …_edges")] = None,
    rules: RulesOption = None,
) -> None:
    """Deduplicate or link people of any files, without labels: who is one person, and why."""
    from customer360.models.identity import resolve as resolve_records
    from customer360.models.identity import standardize
    from customer360.models.identity.resolution import timed
    from customer360.serve import people_files

    shape = people_files.read_mapping(mapping)
    limits = shape.applied_to(people_files.identity_rules(rules))
    seconds: dict[str, float] = {}
    with timed(seconds, "read"):
        records = people_files.read_people(files, shape)
    with timed(seconds, "standardize"):
        standard = standardize(records, limits)
    resolution = resolve_records(standard, limits)
    seconds |= resolution.seconds
    with timed(seconds, "write"):
        scored = edges or out.with_name(f"{out.stem}_edges{out.suffix}")
        people_files.write_table(people_files.clusters(resolution, records, shape), out)
        people_files.write_table(people_files.scored_edges(resolution, records, shape), scored)
    for line in people_files.summary(records, resolution, seconds):
        typer.echo(line)
    typer.echo(f"written: {out}, {scored}")
