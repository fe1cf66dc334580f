"""What `customer360 schema` prints."""

from __future__ import annotations

from collections.abc import Iterable

from customer360.platform import schemas, tables
from customer360.platform.errors import ConfigError, Customer360Error
from customer360.platform.lake import Lake
from customer360.platform.lake.retyping import changed_types
from customer360.platform.run import lake_of
from customer360.platform.run.accepting import Difference, difference
from customer360.platform.run.executor import LocalExecutor
from customer360.platform.run.migrating import to_contract
from customer360.platform.schemas import Version
from customer360.platform.settings import Settings
from customer360.platform.sources.base import configured
from customer360.platform.sources.stated import schema_contract_of
from customer360.serve.cli.report import console, grid
from customer360.serve.compose import rules_of


def overview(settings: Settings) -> None:
    """A line a source."""
    lake = lake_of(settings)
    listing = grid("Schemas", "source", "table", "new columns", "data types", "version", "columns", "because")
    for name in settings.sources:
        source = configured(settings, name)
        contract, known = schema_contract_of(source), schemas.newest(lake, name)
        seq, waits = schemas.waiting(lake, name)
        said = f"batch {seq}: {'; '.join(map(str, waits))}" if waits else ""
        counts = (str(known.number), str(len(known.columns))) if known else ("-", "-")
        listing.add_row(name, source.table, contract.columns, contract.data_type, *counts, said)
    console.print(listing)


def columns(settings: Settings, subject: str, number: int | None = None) -> None:
    """The columns of a version."""
    found = _versions(lake_of(settings), settings, subject)
    chosen = next((v for v in found if v.number == (number or found[-1].number)), None)
    if chosen is None:
        raise ConfigError(f"{subject} has no schema version {number}; it has 1 to {found[-1].number}")
    listing = grid(f"{subject}, version {chosen.number}", "column", "type", "may be missing", "because")
    for name, column in chosen.columns.items():
        said = chosen.changed.get(name, ("", ""))[0]
        listing.add_row(name, column.type, "yes" if column.optional else "", said)
    console.print(listing)
    for name in chosen.variants:
        console.print(f"{name}: values that do not cast were accepted; they stay as text in _rescued")


def history(settings: Settings, subject: str) -> None:
    """The versions of a subject."""
    listing = grid(subject, "version", "decided", "batch", "because")
    for version in _versions(lake_of(settings), settings, subject):
        said = "; ".join(f"{text}{f' ({place})' if place else ''}" for text, place in version.changed.values())
        by = f"{version.by}, {version.at[:19]}Z"
        batch = "-" if version.seq is None else str(version.seq)
        listing.add_row(str(version.number), by, batch, said or f"{len(version.columns)} columns")
    console.print(listing)


def _versions(lake: Lake, settings: Settings, subject: str) -> list[Version]:
    found = schemas.versions(lake, subject)
    if not found:
        known = ", ".join(schemas.subjects(lake)) or "no source yet: a run registers what it lands"
        raise ConfigError(f"nothing is known of the schema of {subject!r}; known are {known}")
    return found


def differences(settings: Settings, subject: str | None) -> bool:
    """Print how sources and contracts differ from what is known of them; whether any does."""
    lake, rules, found = lake_of(settings), rules_of(settings), False
    if subject is not None and subject not in settings.sources and subject not in tables.TABLES:
        raise ConfigError(
            f"{subject!r} is neither a source nor a table; sources are {', '.join(sorted(settings.sources))}"
        )
    for name in [subject] if subject in settings.sources else [] if subject else settings.sources:
        try:
            found |= _print(difference(lake, settings, str(name), rules))
        except (Customer360Error, OSError) as fault:
            if subject:
                raise
            console.print(f"{name}: {fault}", style="red", soft_wrap=True)
            found = True
    landed = sorted({s.table for s in settings.sources.values()})
    for table in [subject] if subject in tables.TABLES else [] if subject else landed:
        found |= _of_contract(lake, settings, str(table))
    return found


def _print(found: Difference) -> bool:
    known = f"version {found.known.number}" if found.known else "nothing is known of it yet"
    if not found.changes:
        console.print(f"{found.source}: {known}; {found.inputs:,} inputs wait, nothing differs", highlight=False)
        return False
    console.print(f"{found.source}: {known}; {found.inputs:,} inputs wait:", highlight=False)
    for change, fate, lines in found.changes:
        console.print(f"  {fate:<9}  {change} ({change.place})", highlight=False, soft_wrap=True)
        for line in lines:
            console.print(f"             mapping: {{{line}}}", highlight=False, soft_wrap=True)
    if any(fate != "evolves" for _, fate, _ in found.changes):
        console.print(f"  customer360 schema accept {found.source} lets it in", highlight=False)
    return True


def _of_contract(lake: Lake, settings: Settings, table: str) -> bool:
    contract, known = tables.by_name(table), schemas.contract_of(lake, table)
    now = schemas.columns_of(contract)
    told: Iterable[object] = schemas.contract_changes(known.columns, now) if known else []
    lines = [f"  {change}" for change in told]
    if changed_types(lake, contract):
        counts = to_contract(
            lake, settings, table, LocalExecutor(settings.execution), dict(rules_of(settings)), dry=True
        )
        kept = f"{counts.get('uncast', 0):,} would stay as text in _rescued"
        lines.append(f"  stored rows: {counts.get('cast', 0):,} values would be cast, {kept}")
    if lines:
        console.print(f"{table}: its contract differs from version {known.number if known else '-'}:", highlight=False)
        for line in lines:
            console.print(line, highlight=False, soft_wrap=True)
    return bool(lines)
