"""What the exports of known systems become: invented rows in their public formats, landed in one run, by numbers.

``systems/<system>.yaml`` holds cases: text of files by export, and the rows that are expected of tables, by some of
their columns. Each case is a system of its own, so that its rows are found again.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from customer360.platform import configs, quality, systems

FOLDER = Path(__file__).parent / "systems"
CURRENCIES = ("AUD", "EUR", "GBP", "JPY", "NOK", "USD")
EQUAL = [f"{one},{other},1990-01-02,1" for one in CURRENCIES for other in CURRENCIES if one != other]  # as one lake


@dataclass(frozen=True)
class Case:
    """Files by export of one system, and the rows expected by table."""

    system: str
    name: str
    files: dict[str, str]
    beside: dict[str, Any]
    expect: dict[str, list[dict[str, Any]]]
    paths: dict[str, str]
    refused: list[str]

    @property
    def namespace(self) -> str:
        return f"{self.system}_{self.name}".upper()

    def path(self, export: str) -> str:
        sources = systems.export_of(f"{self.system}/{export}").sources.values()
        suffix = next(iter(sources))["format"]
        own = self.paths.get(export, f"{export}.{'csv' if suffix == 'auto' else suffix}")
        return f"{self.system}/{self.name}/{own}"

    def entries(self) -> dict[str, dict[str, Any]]:
        return {
            f"{self.namespace}_{export}".lower(): {
                "recipe": f"{self.system}/{export}", "path": self.path(export), "system": self.namespace,
                **self.beside.get(export, {}),
            }
            for export in self.files
        }  # fmt: skip


def cases() -> list[Case]:
    found = []
    for file in sorted(FOLDER.glob("*.yaml")):
        for name, case in yaml.safe_load(file.read_text(encoding="utf-8")).items():
            more = {key: case.pop(key, {}) for key in ("beside", "expect", "paths", "refused")}
            found.append(Case(system=file.stem, name=name, files=case, **more))
    return found


CASES = {f"{case.system}-{case.name}": case for case in cases()}


@pytest.fixture(scope="module")
def landed(site: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A site on which every case has landed."""
    sources = systems.with_recipes({name: entry for case in CASES.values() for name, entry in case.entries().items()})
    root = tmp_path_factory.mktemp("systems")
    own = yaml.safe_load(configs.find("rules/enrichment.yaml").read_text(encoding="utf-8")) | {
        "rate_valid_days": 50_000
    }
    (root / "enrichment.yaml").write_text(yaml.safe_dump(own), encoding="utf-8")
    rates = {"table": "bronze.exchange_rates", "system": "BANK", "path": "rates.csv", "format": "csv"}
    rules = {"enrichment": str(root / "enrichment.yaml")}
    made = site(root, SOURCES=json.dumps(sources | {"rates": rates}), RULES=json.dumps(rules))
    only = {name: made.settings.sources[name] for name in [*sources, "rates"]}
    made = type(made)(made.root, made.settings.model_copy(update={"sources": only}))
    made.deliver("rates.csv", ["FROM_CURRENCY,TO_CURRENCY,RATE_DATE,RATE", *EQUAL])
    for case in CASES.values():
        for export, text in case.files.items():
            made.deliver(case.path(export), [text], end="")
    made.run(end="silver")
    return made


def test_every_export_has_a_case() -> None:
    shown = {f"{case.system}/{export}" for case in CASES.values() for export in case.files}
    assert shown == set(systems.exports())


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_rows(landed: Any, name: str) -> None:
    case = CASES[name]
    for table, expected in case.expect.items():
        own = "_source_system" if table.startswith("bronze.") else "source_system"
        rows = landed.lake.scan(table).filter(pl.col(own) == case.namespace).collect()
        if "_deleted" in rows.columns:  # a deletion is a bronze row, too
            rows = rows.filter(~pl.col("_deleted").fill_null(value=False))
        shown = rows.select(list(expected[0])).to_dicts()
        assert by_text(shown) == by_text(expected), table


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_nothing_is_refused(landed: Any, name: str) -> None:
    space = CASES[name].namespace
    dead = landed.lake.scan("quality.dead_letters").filter(pl.col("source_system") == space).collect()
    assert dead.select("source", "reason").rows() == []
    tables = {t for export in CASES[name].files for t in systems.export_of(f"{CASES[name].system}/{export}").tables}
    refused = [quality.refused(landed.lake, t).filter(pl.col("source").str.starts_with(space.lower())) for t in tables]
    shown = [row for rows in refused for row in rows.select("column_name", "source", "rule", "value").rows()]
    assert [row for row in shown if row[0] not in CASES[name].refused] == []
    assert {row[0] for row in shown} == set(CASES[name].refused)


@pytest.mark.parametrize("name", CASES)
def test_files_are_recognized(name: str) -> None:
    case = CASES[name]
    for export, text in case.files.items():
        recipe = f"{case.system}/{export}"
        fitting = systems.recognized(_headers(recipe) or columns(text))
        assert recipe in fitting
        assert len(systems.export_of(recipe).recognize) == len(systems.export_of(fitting[0]).recognize)


def _headers(recipe: str) -> list[str]:
    """Names that the recipe gives to the columns of files that have no header."""
    return list(next(iter(systems.export_of(recipe).sources.values())).get("columns", []))


def columns(text: str) -> list[str]:
    """Names in the first line of a delimited text, or keys of the first object."""
    if text.lstrip()[:1] in "{[":
        return list(_first(json.JSONDecoder().raw_decode(text.strip())[0]))
    first = text.splitlines()[0]
    return next(csv.reader([first], delimiter="\t" if "\t" in first else ","))


def _first(content: Any) -> dict[str, Any]:
    """The first record of a document: of a list, or of the list that an object wraps."""
    if isinstance(content, list):
        return dict(content[0])
    inner = [value for value in content.values() if isinstance(value, list) and value and isinstance(value[0], dict)]
    return dict(inner[0][0]) if len(content) <= 5 and inner else dict(content)


def by_text(rows: list[dict[str, Any]]) -> list[str]:
    return sorted(json.dumps({key: _plain(value) for key, value in row.items()}, sort_keys=True) for row in rows)


def _plain(value: Any) -> Any:
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, int | float | Decimal):
        return f"{Decimal(str(value)):.4f}"
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return value.isoformat() if isinstance(value, date) else value
