"""The catalogue: what is written from the code and the configuration into the documents.

Every table becomes a Markdown page, written from its contract. Two pages beside them hold a generated part between
marks: the matrix of requirements, and the sketch of the tree, whose words stand in the READMEs of the packages.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import polars as pl
import yaml

from customer360.platform import graph, tables
from customer360.platform.tables import Table

PACKAGES = ("platform", "pipelines", "models", "serve")
REQUIREMENTS = Path("configs", "requirements.yaml")
MATRIX, SKETCH = ("<!-- matrix -->", "<!-- end of matrix -->"), ("<!-- sketch -->", "<!-- end of sketch -->")
SHORT_NAMES: dict[pl.DataType, str] = {pl.Datetime("us", "UTC"): "Timestamp (UTC)"}


# Ends of an interval by the last word of their name, and what the name of that which it is of may end in.
ENDS = {"low": "Lower end of the interval of {}", "high": "Upper end of the interval of {}"}
OF_INTERVALS = ("", "_estimate", "_rate", "_share", "_amount")
DATE = "The table's date: known is what happened before it, nothing of that day or later"


def write(folder: Path, usual: Mapping[str, str] = MappingProxyType({})) -> list[Path]:
    """Write one page a layer and an index; bring the generated parts of the pages beside the folder up to date.
    ``usual``: what columns of silver and gold mean by their name, where a contract does not say it."""
    folder.mkdir(parents=True, exist_ok=True)
    layers: dict[str, list[str]] = {}
    for name in sorted(tables.TABLES):
        layers.setdefault(name.partition(".")[0], []).append(name)
    written = []
    for layer, names in layers.items():
        page = folder / f"{layer}.md"
        page.write_text(f"# {layer}\n\n" + "\n".join(_table(tables.by_name(n), usual) for n in names), encoding="utf-8")
        written.append(page)
    index = folder / "README.md"
    rows = [
        f"| [{n}]({n.partition('.')[0]}.md#{n.replace('.', '')}) | {_linked(tables.summary(tables.by_name(n)))} |"
        for n in sorted(tables.TABLES)
    ]
    index.write_text(
        "# Tables\n\nWritten by `customer360 catalog` from the contracts. Numbers with a fraction are finite in every table.\n\n"  # noqa: E501
        "| table | holds |\n|---|---|\n" + "\n".join(rows) + "\n",
        encoding="utf-8",
    )
    return [*written, index, *_refresh(folder.parent)]


def _refresh(docs: Path) -> list[Path]:
    """Rewrite the pages of a checkout that hold a generated part."""
    root = docs.parent
    made = {docs / "requirements.md": (with_matrix, root / REQUIREMENTS), docs / "concepts.md": (with_sketch, root)}
    there = {page: part for page, part in made.items() if page.exists()}
    for page, (part, source) in there.items():
        page.write_text(part(page.read_text(encoding="utf-8"), source), encoding="utf-8")
    return list(there)


def _between(page: str, marks: tuple[str, str], text: str) -> str:
    """The page with the text between its marks; a page without the marks stays as it is."""
    if not all(mark in page for mark in marks):
        return page
    before, _, rest = page.partition(marks[0])
    return f"{before}{marks[0]}\n{text}\n{marks[1]}{rest.partition(marks[1])[2]}"


def with_matrix(page: str, requirements: Path) -> str:
    """The page with the table between its matrix marks written anew from the requirements file."""
    rows = yaml.safe_load(requirements.read_text(encoding="utf-8"))
    served = {n: r for n, r in rows.items() if r["state"] != "planned"}
    lines = ["| id | what | state | by |", "|---|---|---|---|"]
    for number, row in served.items():
        names = [f"`{name}`" for kind in ("tables", "commands", "endpoints") for name in row.get(kind, ())]
        names += [f"[test](../{name})" for name in row.get("tests", ())]
        lines.append(f"| {number} | {row['what']} | {row['state']} | {', '.join(names)} |")
    lines += ["", "## Planned", "", "| id | what |", "|---|---|"]
    lines += [f"| {number} | {row['what']} |" for number, row in rows.items() if number not in served]
    return _between(page, MATRIX, "\n".join(lines))


def with_sketch(page: str, root: Path) -> str:
    """The page with the sketch of the tree between its marks written anew from the READMEs of the packages."""
    lines = []
    for package in PACKAGES:
        readme = (root / package / "README.md").read_text(encoding="utf-8")
        law = re.sub(r"^`\w+/`:? ", "", readme.split("\n\n")[1].replace("\n", " "))
        lines.append((f"{package}/", law))
        lines += [
            ("  " * (path.count("/") + 1) + path.rpartition("/")[2] + "/", what)
            for path, what in folders(readme).items()
        ]
    width = max(len(folder) for folder, _ in lines)
    text = "\n".join(f"{folder:{width}}  {what}" for folder, what in lines).replace("`", "")
    return _between(page, SKETCH, f"```text\n{text}\n```")


def folders(readme: str) -> dict[str, str]:
    """Folder to what it holds, from the tables of a package's README: rows whose first cell is a folder's path."""
    return {path: what.strip() for path, what in re.findall(r"^\| `([\w/]+)/` \| (.*?) \|", readme, re.M)}


def meaning(table: type[Table], name: str, usual: Mapping[str, str]) -> str:
    """What a column means: as its contract says, else by its name; empty where neither tells."""
    columns, spec = table.columns(), tables.spec(table)
    if said := columns[name].description:
        return said
    stem, _, end = name.rpartition("_")
    if end in ENDS and (of := next((stem + more for more in OF_INTERVALS if stem + more in columns), None)):
        return ENDS[end].format(of)
    if name == "as_of" and spec.is_dated:
        return DATE
    return usual.get(name, "") if spec.layer != "bronze" else ""


def _table(table: type[Table], usual: Mapping[str, str]) -> str:
    spec = tables.spec(table)
    facts = {
        "split key": spec.per,
        "natural key": ", ".join(spec.key),
        "partitioned by": ", ".join([*spec.partition_by, *(["bucket"] if spec.bucketed else [])]),
        "when a person is erased": spec.erasure if spec.layer == "bronze" else "",
        "built from": ", ".join(_inputs(spec.name)),
        "rules of the row": ", ".join(table._schema_validation_rules()),
    }
    lines = [f"## {spec.name}", "", _linked(tables.summary(table)), ""]
    lines += [f"- {k}: {v}" for k, v in facts.items() if v]
    lines += ["", "| column | type | rules | personal | meaning |", "|---|---|---|---|---|"]
    lines += [_column(name, column, meaning(table, name, usual)) for name, column in table.columns().items()]
    return "\n".join(lines) + "\n"


def _inputs(name: str) -> list[str]:
    nodes = [graph.NODES[n] for n in graph.producers_of().get(name, ())]
    return sorted({i for node in nodes for i in node.inputs})


def _column(name: str, column: tables.Column, means: str) -> str:
    kind = SHORT_NAMES.get(column.dtype, str(column.dtype).replace("precision=", "").replace("scale=", ""))
    personal = (column.metadata or {}).get("pii", "")
    return f"| {name} | {kind} | {'; '.join(_rules(column))} | {personal} | {_linked(means)} |"


def _rules(column: tables.Column) -> list[str]:
    """What a value must keep to, in words, with the limits."""
    said = {
        "min": "min {}", "min_exclusive": "above {}", "max": "max {}", "max_exclusive": "below {}",
        "min_length": "at least {} " + _unit(column), "max_length": "at most {} " + _unit(column),
        "regex": "matches `{}`",
    }  # fmt: skip
    rules = [] if column.nullable else ["required"]
    rules += ["key"] if column.primary_key else []
    rules += ["unique"] if getattr(column, "unique", False) else []
    rules += [text.format(_escaped(getattr(column, of))) for of, text in said.items() if _has(column, of)]
    values = (column.metadata or {}).get("values") or getattr(column, "is_in", None)
    rules += ["one of " + ", ".join(map(str, values))] if values else []
    inner = getattr(column, "inner", None)
    if isinstance(inner, tables.Column):
        within = [rule for rule in _rules(inner) if rule != "required"]
        rules += [f"each {'; '.join(within)}"] if within else []
        rules += [] if inner.nullable else ["none of them empty"]
    if getattr(column, "check", None):
        rules += [rule.split("|")[-1] for rule in column.validation_rules(pl.col("value")) if rule.startswith("check")]
    return rules


def _has(column: tables.Column, of: str) -> bool:
    return getattr(column, of, None) is not None and not callable(getattr(column, of))


def _unit(column: tables.Column) -> str:
    return "characters" if column.dtype == pl.String else "items"


def _escaped(value: Any) -> str:
    return str(value).replace("|", "\\|")


def _linked(text: str) -> str:
    """Text of a contract with the faults of the specification that it names as links."""
    return re.sub(r"\bfault (\d+)", r"[fault \1](../specification.md#fault-\1)", text)
