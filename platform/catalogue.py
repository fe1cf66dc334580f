"""The catalogue: every table as a Markdown page, written from its contract. Sample rows are random, never real."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import yaml

from customer360.platform import graph, tables
from customer360.platform.tables import Table


def write(folder: Path) -> list[Path]:
    """Write one page a layer and an index; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    layers: dict[str, list[str]] = {}
    for name in sorted(tables.TABLES):
        layers.setdefault(name.partition(".")[0], []).append(name)
    written = []
    for layer, names in layers.items():
        page = folder / f"{layer}.md"
        page.write_text(f"# {layer}\n\n" + "\n".join(_table(tables.by_name(n)) for n in names), encoding="utf-8")
        written.append(page)
    index = folder / "README.md"
    rows = [
        f"| [{n}]({n.partition('.')[0]}.md#{n.replace('.', '')}) | {tables.summary(tables.by_name(n))} |"
        for n in sorted(tables.TABLES)
    ]
    index.write_text(
        "# Tables\n\nWritten by `customer360 catalog` from the contracts.\n\n| table | holds |\n|---|---|\n"
        + "\n".join(rows)
        + "\n"
    )
    return [*written, index]


MATRIX_START, MATRIX_END = "<!-- matrix -->", "<!-- end of matrix -->"


def with_matrix(readme: str, requirements: Path) -> str:
    """The README with the table between its matrix marks written anew from the requirements file."""
    rows = yaml.safe_load(requirements.read_text(encoding="utf-8"))
    served = {n: r for n, r in rows.items() if r["state"] != "planned"}
    lines = ["| id | what | state | by |", "|---|---|---|---|"]
    for number, row in served.items():
        names = [f"`{name}`" for kind in ("tables", "commands", "endpoints") for name in row.get(kind, ())]
        names += [f"[test]({name})" for name in row.get("tests", ())]
        lines.append(f"| {number} | {row['what']} | {row['state']} | {', '.join(names)} |")
    planned = ", ".join(n for n in rows if n not in served)
    before, _, rest = readme.partition(MATRIX_START)
    _, _, after = rest.partition(MATRIX_END)
    table = "\n".join(lines)
    return f"{before}{MATRIX_START}\n{table}\n\nPlanned: {planned}.\n{MATRIX_END}{after}"


def _table(table: type[Table]) -> str:
    spec = tables.spec(table)
    facts = {
        "split key": spec.per,
        "natural key": ", ".join(spec.key),
        "partitioned by": ", ".join([*spec.partition_by, *(["bucket"] if spec.bucketed else [])]),
        "when a person is erased": spec.erasure if spec.layer == "bronze" else "",
        "built from": ", ".join(_inputs(spec.name)),
    }
    lines = [f"## {spec.name}", "", tables.summary(table), ""]
    lines += [f"- {k}: {v}" for k, v in facts.items() if v]
    lines += ["", "| column | type | rules | personal | meaning |", "|---|---|---|---|---|"]
    lines += [_column(name, column) for name, column in table.columns().items()]
    return "\n".join(lines) + "\n"


def _inputs(name: str) -> list[str]:
    nodes = [graph.NODES[n] for n in graph.producers_of().get(name, ())]
    return sorted({i for node in nodes for i in node.inputs})


def _column(name: str, column: tables.Column) -> str:
    metadata = column.metadata or {}
    rules = [] if column.nullable else ["required"]
    rules += ["key"] if column.primary_key else []
    rules += [
        f"{r.split('|')[-1]}" for r in column.validation_rules(pl.col(name)) if r not in ("nullability", "one_of")
    ]
    if "values" in metadata:
        rules.append("one of " + ", ".join(metadata["values"]))
    return f"| {name} | {column.dtype} | {'; '.join(rules)} | {metadata.get('pii', '')} | {column.description or ''} |"
