"""Everything that is held of one person, with where each of it came from: for a person who asks, as JSON and CSV."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from customer360.platform import audit, tables
from customer360.platform.formulas import defused
from customer360.platform.lake import Lake
from customer360.platform.lake.editions import current_files
from customer360.platform.privacy import Identifiers, is_of, is_signed
from customer360.platform.run import lake_of
from customer360.platform.settings import Settings
from customer360.platform.tables import Table
from customer360.serve.compose import state_folder

PROVENANCE = ("_source", "_source_system", "_file", "_seq")
REFUSED = {"quality.quarantine": "record", "quality.dead_letters": "raw"}  # tables, and where the record stands
SIGNED = "signed with a handle of the person, and without an account: whether the person wrote it is likely, not known"
COLUMNS = ("table", "row", "column", "value", "source", "file")


def held(settings: Settings, person: str, who: Identifiers) -> dict[str, Any]:
    """All rows of the lake that are a person's, by table, with what the table is, and who read the person's data over
    HTTP. Dated tables give their current edition. Rows of others that name the person are not its own. What is the
    person's by a handle alone stands apart, under "TABLE, by handle alone"."""
    lake = lake_of(settings)
    found: dict[str, Any] = {}
    for name, table in sorted(tables.TABLES.items()):
        if lake.exists(name) and (rows := _rows(lake, table, who)).height:
            what, by_handle = tables.summary(table), _by_handle(table, who)
            if (known := rows.filter(~by_handle)).height:
                found[name] = {"what": what, "rows": known.to_dicts()}
            if (signed := rows.filter(by_handle)).height:
                found[f"{name}, by handle alone"] = {"what": f"{what} ({SIGNED})", "rows": signed.to_dicts()}
    for name, column in REFUSED.items():
        if lake.exists(name) and (raw := _refused(lake, name, column, who)):
            found[name] = {"what": tables.summary(tables.by_name(name)), "rows": raw}
    ids = {person, *(who.persons - who.shared)}
    readings = [line for line in audit.entries(state_folder(settings)) if line.get("person") in ids]
    return {
        "person": person,
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "accounts": sorted(who.accounts),
        "tables": found,
        "read_by": [{key: line[key] for key in ("at", "name", "asked") if key in line} for line in readings],
    }


def _by_handle(table: type[Table], who: Identifiers) -> pl.Expr:
    return is_signed(table, who) if tables.spec(table).layer == "bronze" else pl.lit(False)


def _rows(lake: Lake, table: type[Table], who: Identifiers) -> pl.DataFrame:
    spec, columns = tables.spec(table), table.columns()
    if spec.layer == "bronze" and spec.erasure != "none":
        mine = is_of(table, who)
    else:
        by = {"person_id": who.persons, "record_id": who.accounts}
        known = {c: pl.col(c).is_in(list(values)) for c, values in by.items() if c in columns}
        if not known or spec.layer not in ("silver", "gold"):
            return pl.DataFrame()
        mine = pl.any_horizontal(known.values()).fill_null(False)
        if "record_id" in known:  # somebody else may have had the id before
            mine &= known["record_id"].fill_null(True)
    files = lake.files(spec.name)
    if spec.is_dated:
        files = current_files(lake, spec.name, files)
    return lake.scan(spec.name, files).filter(mine).collect() if files else pl.DataFrame()


def _refused(lake: Lake, name: str, column: str, who: Identifiers) -> list[dict[str, Any]]:
    """Records that no table took, and that tell the person."""
    rows = lake.scan(name).select("source_system", column).collect().to_dicts()
    texts = [(row, raw.encode() if isinstance(raw := row[column], str) else raw) for row in rows]
    return [
        row | {column: raw.decode("utf-8", "replace")}
        for row, raw in texts
        if raw is not None and who.betrays(row["source_system"], raw)
    ]


def write_export(folder: Path, content: dict[str, Any]) -> tuple[Path, Path]:
    """``everything.json`` as it is, and ``everything.csv`` of which a spreadsheet runs nothing, in a folder that only
    its owner reads."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    text, sheet = folder / "everything.json", folder / "everything.csv"
    text.write_text(json.dumps(content, indent=1, default=str, ensure_ascii=False), encoding="utf-8")
    rows = [tuple(None if cell is None else str(cell) for cell in cells) for cells in _cells(content)]
    defused(pl.DataFrame(rows, schema=dict.fromkeys(COLUMNS, pl.String), orient="row")).write_csv(sheet)
    for file in (text, sheet):
        file.chmod(0o600)
    return text, sheet


def _cells(content: dict[str, Any]) -> Iterator[tuple[object, ...]]:
    for name, part in content["tables"].items():
        for number, row in enumerate(part["rows"], start=1):
            source, file = row.get("_source") or row.get("source_system"), row.get("_file")
            for column, value in row.items():
                if value is not None and column not in PROVENANCE:
                    shown = (
                        json.dumps(value, default=str, ensure_ascii=False) if isinstance(value, list | dict) else value
                    )
                    yield name, number, column, shown, source, file
