"""The registry of schemas: which columns of which types each source brings, version by version, and the contract of
each bronze table.

``_schemas/sources/<source>/<number>.json`` and ``_schemas/tables/<table>/<number>-<digest>.json`` are written once each
(create-if-absent): a version stands before the batch that made it is committed, and is not made a second time. By the
digest of its columns a contract is known without being read. What a batch that waits would make of a schema is
``_schemas/waiting/<source>.json``, until a person accepts it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import cache
from typing import Any

from customer360.platform import tables, telemetry
from customer360.platform.errors import LakeError
from customer360.platform.evolution import Change, Column, joined
from customer360.platform.lake import Lake, reached
from customer360.platform.ledger import SCHEMAS
from customer360.platform.tables import Boolean, Integer, OneOf, String, Table, Timestamp

SOURCES, CONTRACTS, WAITING = f"{SCHEMAS}/sources", f"{SCHEMAS}/tables", f"{SCHEMAS}/waiting"
RUN = "run"  # who let in what nobody had to be asked about


class SchemaVersions(
    Table, table="control.schema_versions", sort_by=("subject", "version", "column_name"),
    key=("subject", "version", "column_name"),
):  # fmt: skip
    """One row per column of a version of what a source brings, or of the contract of a bronze table."""

    subject = String(primary_key=True, description="Name of the source, or of the bronze table whose contract it is")
    version = Integer(primary_key=True, min=1)
    column_name = String(primary_key=True, description="As the source spells it, or the contract")
    source_kind = OneOf("source", "contract")
    table_name = String(description="The bronze table")
    data_type = String(
        description="Of values of a source: empty, boolean, integer, decimal, date, timestamp, json, text"
    )
    is_optional = Boolean(description="Records may come without it")
    is_used = Boolean(description="The mapping or the contract makes something of it; others stay in `_rescued`")
    is_variant = Boolean(description="Values that are not of the type were accepted")
    change = String(nullable=True, description="What this version changed of it")
    batch_number = Integer(nullable=True, description="The batch that showed the change first")
    input_name = String(nullable=True, description="The input of it that did")
    decided_by = String(description="`run`, where the schema contract lets it in, or who accepted it")
    decided_at = Timestamp()


NAME = tables.spec(SchemaVersions).name


class DamagedSchema(LakeError):
    """An object of the registry cannot be read."""


@dataclass(frozen=True)
class Version:
    """What is known of a subject: a source, or the contract of a table.

    ``variants`` are contract columns of which values that do not cast were accepted; of the ``used`` columns the
    mapping or the contract made something then; ``changed`` says in words what it changed, by column, with the input.
    """

    subject: str
    number: int
    table: str
    columns: dict[str, Column]
    variants: tuple[str, ...] = ()
    used: tuple[str, ...] = ()
    changed: dict[str, tuple[str, str]] = field(default_factory=dict)
    seq: int | None = None
    by: str = RUN
    at: str = ""


def newest(lake: Lake, source: str) -> Version | None:
    """What is known of a source now; None where nothing is."""
    return _last(lake, f"{SOURCES}/{source}")


def versions(lake: Lake, subject: str) -> list[Version]:
    """All versions of a source, or of a table's contract, oldest first."""
    folder = f"{CONTRACTS if _is_table(subject) else SOURCES}/{subject}"
    return [_read(path, data) for path, data in lake.get_all(lake.objects(folder)).items()]


def subjects(lake: Lake) -> list[str]:
    """Sources and tables of which versions are known."""
    return sorted({path.split("/")[2] for path in registered(lake)})


def rescued_columns(lake: Lake) -> dict[str, dict[str, str]]:
    """By bronze table, the columns of its sources that stay in ``_rescued``, with the type that holds their values."""
    last = {path.split("/")[2]: path for path in registered(lake) if path.startswith(f"{SOURCES}/")}
    found: dict[str, dict[str, str]] = {}
    for version in readable(lake, last.values()):
        held = found.setdefault(version.table, {})
        free = {c: column.type for c, column in version.columns.items() if c not in version.used}
        held |= {c: joined(held.get(c, "empty"), type_) for c, type_ in free.items()}
    return found


def contract_of(lake: Lake, table: str) -> Version | None:
    """The contract of a table as it stood at the last run that landed in it."""
    return _last(lake, f"{CONTRACTS}/{table}")


def register(lake: Lake, version: Version) -> Version:
    """Keep a version; where it was kept before, that one stands and is returned."""
    place = CONTRACTS if _is_table(version.subject) else SOURCES
    path = f"{place}/{version.subject}/{version.number:08d}{_seal(version)}.json"
    made = Version(**{**vars(version), "at": datetime.now(UTC).isoformat()})
    reached(f"before schema {version.subject}/{version.number}")
    lake.put(path, json.dumps(asdict(made), ensure_ascii=False).encode(), create=True)
    reached(f"after schema {version.subject}/{version.number}")
    return _read(path, lake.get(path))


def _seal(version: Version) -> str:
    """What tells contracts of a table apart in the names of their objects; of sources nothing does."""
    if not _is_table(version.subject):
        return ""
    columns = {name: asdict(column) for name, column in version.columns.items()}
    return "-" + hashlib.sha256(json.dumps(columns).encode()).hexdigest()[:12]


def next_version(
    known: Version | None,
    subject: str,
    table: str,
    columns: Mapping[str, Column],
    changes: Iterable[Change],
    **more: Any,
) -> Version | None:
    """The version after the known one; None where nothing differs, also not in what the mapping makes something of.
    ``more`` are other fields of it."""
    now, variants = dict(columns), tuple(more.pop("variants", known.variants if known else ()))
    used = tuple(sorted(more.pop("used", known.used if known else ())))
    if known is not None and (now, variants, used) == (known.columns, known.variants, tuple(sorted(known.used))):
        return None
    listed = list(changes)
    before = known.columns if known else {}
    told = {
        c.column: (str(c), c.place) for c in listed if now.get(c.column) != before.get(c.column) or c.kind == "uncast"
    }
    return Version(subject, known.number + 1 if known else 1, table, now, variants, used, told, **more)


def columns_of(table: type[Table]) -> dict[str, Column]:
    """The columns of a contract, without what ingest adds."""
    return {c: Column(str(t.dtype), optional=t.nullable) for c, t in table.columns().items()}


@cache  # of what never changes, and each run asks for all bronze tables
def _seal_of(table: type[Table]) -> str:
    name = tables.spec(table).name
    return _seal(Version(name, 1, name, columns_of(table)))


def note_contract(lake: Lake, table: type[Table], by: str = RUN) -> Version | None:
    """Keep the contract of a bronze table where it is another one than at the last run; returns the new version."""
    name = tables.spec(table).name
    stands = [path for path in lake.objects(CONTRACTS) if path.startswith(f"{CONTRACTS}/{name}/")]
    if stands and stands[-1].endswith(f"{_seal_of(table)}.json"):  # type: ignore[arg-type]  # a class is hashable
        return None
    now = columns_of(table)
    known = _read(stands[-1], lake.get(stands[-1])) if stands else None
    made = next_version(known, name, name, now, contract_changes(known.columns, now) if known else [], by=by)
    return register(lake, made) if made else None


def contract_changes(before: Mapping[str, Column], now: Mapping[str, Column]) -> list[Change]:
    """How the contract of a table differs from an earlier one."""
    found = [Change("new", c, "", column.type) for c, column in now.items() if c not in before]
    found += [Change("missing", c, column.type) for c, column in before.items() if c not in now]
    for name in (c for c in now if c in before):
        old, new = before[name], now[name]
        if old.type != new.type:
            found.append(Change(_direction(old.type, new.type), name, old.type, new.type))
        elif old.optional != new.optional:
            words = {True: "may be null", False: "is required"}
            found.append(
                Change("widened" if new.optional else "narrowed", name, words[old.optional], words[new.optional])
            )
    return found


def _direction(old: str, new: str) -> Any:
    """Whether a contract's type holds all values of the other (``widened``), or the other way round, or neither."""
    ranks = {
        "Boolean": (0, 0),
        "Int64": (1, 1),
        "Decimal": (1, 2),
        "Float64": (1, 3),
        "Date": (2, 1),
        "Datetime": (2, 2),
    }
    one, other = (ranks.get(text.partition("(")[0], (9, 9)) for text in (old, new))
    if "String" in (old, new):
        return "widened" if new == "String" else "narrowed"
    if one[0] != other[0] or one == other:
        return "changed"
    return "widened" if one < other else "narrowed"


# ---- what waits for a person


def wait(lake: Lake, source: str, seq: int, changes: Iterable[Change]) -> None:
    """Keep what a batch would change, for who decides."""
    said = {"seq": seq, "changes": [asdict(c) for c in changes]}
    lake.put(f"{WAITING}/{source}.json", json.dumps(said, ensure_ascii=False).encode())


def waiting(lake: Lake, source: str) -> tuple[int, list[Change]]:
    """The batch of a source that waits, and what it would change; 0 and nothing where none does."""
    data = lake.get(f"{WAITING}/{source}.json")
    if data is None:
        return 0, []
    return _waiting(f"{WAITING}/{source}.json", data)


def settled(lake: Lake, source: str) -> None:
    """Nothing of a source waits any more."""
    path = f"{WAITING}/{source}.json"
    lake.delete([path] if path in lake.objects(WAITING) else [])


def check(lake: Lake, path: str) -> None:
    """Read an object of the registry. Raises DamagedSchema."""
    (_waiting if path.startswith(f"{WAITING}/") else _read)(path, lake.get(path))


# ---- the registry as a table


def registered(lake: Lake) -> list[str]:
    """Paths of all versions; they never change, so that other paths are another registry."""
    return [path for path in lake.objects(SCHEMAS) if not path.startswith(WAITING)]


def readable(lake: Lake, paths: Iterable[str]) -> list[Version]:
    """The versions at some paths. Those that are damaged are said and left out: what tells of the registry goes on."""
    found = []
    for path, data in lake.get_all(paths).items():
        try:
            found.append(_read(path, data))
        except DamagedSchema as fault:
            telemetry.log.error(f"{fault}; it is left out meanwhile")
    return found


def rows(versions: Iterable[Version]) -> Iterator[dict[str, Any]]:
    """The rows of `SchemaVersions`."""
    for version in versions:
        for name, column in version.columns.items():
            said, place = version.changed.get(name, (None, None))
            yield {
                "subject": version.subject,
                "version": version.number,
                "column_name": name,
                "source_kind": "contract" if _is_table(version.subject) else "source",
                "table_name": version.table,
                "data_type": column.type,
                "is_optional": column.optional,
                "is_used": _is_table(version.subject) or name in version.used,
                "is_variant": name in version.variants,
                "change": said,
                "batch_number": version.seq,
                "input_name": place or None,
                "decided_by": version.by,
                "decided_at": datetime.fromisoformat(version.at),
            }


def _is_table(subject: str) -> bool:
    return subject.startswith("bronze.")


def _last(lake: Lake, folder: str) -> Version | None:
    paths = lake.objects(folder)
    return _read(paths[-1], lake.get(paths[-1])) if paths else None


def _read(path: str, data: bytes | None) -> Version:
    raw = _json(path, data)
    try:
        datetime.fromisoformat(raw["at"])
        columns = {name: Column(**column) for name, column in raw.pop("columns").items()}
        changed = {name: (said, place) for name, (said, place) in raw.pop("changed").items()}
        return Version(
            **{
                **raw,
                "columns": columns,
                "changed": changed,
                "variants": tuple(raw["variants"]),
                "used": tuple(raw["used"]),
            }
        )
    except (TypeError, KeyError, ValueError, AttributeError) as fault:
        raise DamagedSchema(f"{path} is no version of a schema ({fault}): restore it from a backup") from None


def _waiting(path: str, data: bytes | None) -> tuple[int, list[Change]]:
    said = _json(path, data)
    try:
        return said["seq"], [Change(**change) for change in said["changes"]]
    except (TypeError, KeyError) as fault:
        raise DamagedSchema(f"{path} is no note of what waits ({fault}): delete it, the next run finds out") from None


def _json(path: str, data: bytes | None) -> Any:
    try:
        return json.loads(data or b"")
    except ValueError as fault:
        raise DamagedSchema(f"{path} is damaged ({fault}): restore it from a backup") from None
