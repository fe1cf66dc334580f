"""Known systems: which exports there are recipes for, and what a recipe stands for."""

from __future__ import annotations

from typing import Annotated

import typer

from customer360.platform.systems import Export

app = typer.Typer()


@app.command()
def systems(
    name: Annotated[
        str | None, typer.Argument(help="A system, or system/export to print its sources as YAML; default: all")
    ] = None,
) -> None:
    """Systems whose exports need no mapping: with `recipe: system/export`, a source fills all tables of the export."""
    import yaml

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


def _head(name: str, export: Export) -> list[str]:
    """Comment lines above the sources: the short form, and what is to know."""
    short = f"#   {name.partition('/')[0]}: {{recipe: {name}, path: CHANGE/*}}"
    return [f"# {export.title}. The same in one line:", short, *(f"# {note}" for note in export.notes)]
