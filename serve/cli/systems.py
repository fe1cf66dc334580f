"""Known systems: which exports there are recipes for, and what a recipe stands for."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from customer360.platform.systems import Export

app = typer.Typer()


@app.command()
def systems(
    name: Annotated[
        str | None, typer.Argument(help="A system, or system/export to print its sources as YAML; default: all")
    ] = None,
    file: Annotated[Path | None, typer.Option("--file", help="Say which recipes fit this file")] = None,
) -> None:
    """Systems whose exports need no mapping: with `recipe: system/export`, a source fills all tables of the export."""
    import yaml

    if file:
        fitting = _fitting(file)
        typer.echo(
            "\n".join(fitting) if fitting else f"no recipe fits {file}; docs/recipes/source.md says how to map it"
        )
        raise typer.Exit(0 if fitting else 1)

    from customer360.platform.systems import expanded, export_of, exports
    from customer360.platform.systems import systems as known

    if name and "/" in name:
        export = export_of(name)
        made = expanded(name.partition("/")[0], {"recipe": name, "path": "CHANGE/*"})
        typer.echo("\n".join(_head(name, export)))
        typer.echo(yaml.safe_dump({"sources": made}, sort_keys=False, allow_unicode=True, width=120))
        return
    found = {key: system for key, system in known().items() if name in (None, key)}
    if not found:
        export_of(name or "")  # says the nearest ones
    for key, system in found.items():
        typer.echo(f"{system.title}  {system.documentation}")
        for recipe, export in exports().items():
            if recipe.startswith(f"{key}/"):
                typer.echo(f"  {recipe:<32} {export.title}: {', '.join(t.partition('.')[2] for t in export.tables)}")


def _fitting(file: Path) -> list[str]:
    """Recipes that a file may be of, by the names of its columns."""
    from customer360.platform.errors import ConfigError
    from customer360.platform.sources import formats
    from customer360.platform.sources.formats.options import Options
    from customer360.platform.systems import recognized

    if not file.is_file():
        raise ConfigError(f"there is no file {file}")
    with file.open("rb") as stream:
        first = next(formats.pieces(stream, Options(), file.name), None)
    return recognized(first.frame.columns) if first else []


def _head(name: str, export: Export) -> list[str]:
    """Comment lines above the sources: the short form, and what is to know."""
    short = f"#   {name.partition('/')[0]}: {{recipe: {name}, path: CHANGE/*}}"
    return [f"# {export.title}. The same in one line:", short, *(f"# {note}" for note in export.notes)]
