"""Resolve any file of people, and judge the result: commands of the group `identity` that need no lake."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from customer360.serve.cli.identity import identity_app

RulesOption = Annotated[Path | None, typer.Option(help="Rule file; default: the installed configs/rules/identity.yaml")]


@identity_app.command()
def resolve(
    files: Annotated[
        list[Path], typer.Option("--input", help="CSV, Excel, JSON or Parquet of people; give it once per file")
    ],
    mapping: Annotated[
        Path,
        typer.Option(help="YAML: unique_id, columns of the file by attribute; source, identifiers, country, encoding"),
    ],
    out: Annotated[Path, typer.Option(help="Clusters, Parquet, CSV, TSV or JSON lines: unique_id, person_id, source")],
    edges: Annotated[Path | None, typer.Option(help="Scored pairs; default: beside --out, named …_edges")] = None,
    rules: RulesOption = None,
) -> None:
    """Deduplicate or link people of any files, without labels: who is one person, and why."""
    from customer360.models.files import output, people
    from customer360.models.identity import resolve as resolve_records
    from customer360.models.identity.evidence.standardize import standardize
    from customer360.models.identity.phases import timed
    from customer360.models.identity.spill import kept, spilling

    scored = edges or people.edges_beside(out)
    for place in (out, scored):
        output.require(place, *files, mapping)
    shape = people.read_mapping(mapping)
    limits = shape.applied_to(people.identity_rules(rules))
    seconds: dict[str, float] = {}
    with timed(seconds, "read"):
        records = people.read_people(files, shape, limits)
    with spilling(records.height, limits.engine):
        with timed(seconds, "standardize"):
            records = kept(records)
            standard = standardize(records, limits)
        silent = people.silent(standard)
        resolution = resolve_records(standard, limits)
    seconds |= resolution.seconds
    with timed(seconds, "write"):
        people.write_table(people.clusters(resolution, records, shape), out)
        people.write_table(people.scored_edges(resolution, records, shape), scored)
    told, *more = people.summary(records, resolution, seconds, limits.decision.review_weight)
    for line in (told, *silent, *more):
        typer.echo(line)
    typer.echo(f"written: {out}, {scored}")


@identity_app.command()
def evaluate(
    clusters: Annotated[Path, typer.Option(help="Output of `identity resolve`")],
    truth: Annotated[Path, typer.Option(help="unique_id (and source), entity_id")],
    out: Annotated[Path, typer.Option(help="Folder for metrics.json, errors.csv, thresholds.csv and .png")],
    edges: Annotated[Path | None, typer.Option(help="Scored pairs of `identity resolve`")] = None,
) -> None:
    """Pairwise and B-cubed precision, recall and F1 against a truth, by threshold, and the errors by kind."""
    from customer360.models.files import identity_evaluation

    scored = identity_evaluation.read_edges(edges) if edges else None
    for line in identity_evaluation.report(identity_evaluation.joined(clusters, truth), scored, out):
        typer.echo(line)


@identity_app.command("sample-labels")
def sample_labels(
    edges: Annotated[Path, typer.Option(help="Scored pairs of `identity resolve`")],
    out: Annotated[Path, typer.Option(help="CSV to review: fill in the column is_match with yes or no")],
    number: Annotated[int, typer.Option("--n", min=1, help="Pairs")] = 200,
    records: Annotated[Path | None, typer.Option(help="File of people (with unique_id), to show beside")] = None,
) -> None:
    """Pairs for review by hand where there is no truth, stratified by decision and weight."""
    from customer360.models.files import identity_evaluation

    typer.echo(f"{identity_evaluation.sample_labels(edges, number, out, records)} pairs written to {out}")


@identity_app.command()
def estimate(labels: Annotated[Path, typer.Option(help="Reviewed sheet of `identity sample-labels`")]) -> None:
    """Precision and recall with confidence intervals from pairs reviewed by hand."""
    from customer360.models.files import identity_evaluation

    for line in identity_evaluation.estimate_lines(labels):
        typer.echo(line)
