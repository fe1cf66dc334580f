"""A draft as YAML that loads as it stands: every guess with its reason, every assumption marked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

import yaml

from customer360.platform import systems
from customer360.platform.sources.profiling.columns import Column
from customer360.platform.sources.values.timestamps import Order
from customer360.serve.drafting import countries, sql
from customer360.serve.drafting.draft import Draft
from customer360.serve.drafting.entries import Entry

CURRENCY = "CURRENCY_CODE"
SALES = ("bronze.transactions", "bronze.online_orders")
PLAIN = re.compile(r"[A-Za-z_][\w .()/*+-]*")
WORDS_OF_YAML = ("true", "false", "null", "yes", "no", "on", "off", "y", "n")


@dataclass(frozen=True)
class Answers:
    """What files do not say and a person may: None where nobody said it."""

    timezone: str | None = None
    currency: str | None = None
    dates: Order | None = None
    country: str | None = None


@dataclass(frozen=True)
class Head:
    """Where the settings' own files lie."""

    name: str
    landing: str
    lake: str
    state: str


def lacks_zone(draft: Draft) -> list[Column]:
    """Used columns with times of the day that no zone is written with."""
    return [column for _, column in draft.moments() if column.lacks_offset]


def unclear_dates(draft: Draft) -> list[tuple[Entry, Column]]:
    """Used columns whose dates could be read in two ways, and that no other column of their folder decides."""
    found = [(entry, column) for entry, column in draft.moments() if column.has_unclear_order]
    return [(entry, column) for entry, column in found if _order(draft, entry) is None]


def lacks_country(draft: Draft) -> list[Entry]:
    """Sources with national telephone numbers of which nothing says the country."""
    return countries.lacking(draft.entries)


def lacks_currency(draft: Draft) -> list[Entry]:
    """Sources of sales whose amounts are of no known currency."""
    return [entry for entry in draft.entries if _is_sale(entry) and not _has_currency(entry)]


def _is_sale(entry: Entry) -> bool:
    return entry.table in SALES or bool(entry.recipe and set(entry.table.split(", ")) & set(SALES))


def _has_currency(entry: Entry) -> bool:
    if not entry.recipe:
        return CURRENCY in entry.mapping or len(_signs(entry)) == 1
    sources = systems.export_of(entry.recipe).sources.values()
    return all(s.get("mapping", {}).get(CURRENCY) != systems.UNKNOWN for s in sources if s["table"] in SALES)


def _signs(entry: Entry) -> frozenset[str]:
    return frozenset().union(*(column.currency_signs for column in entry.used.values()))


def _order(draft: Draft, entry: Entry) -> Order | None:
    """Order of day and month that other columns of the file show, else those of files beside it."""
    folder = PurePosixPath(entry.delivery.path).parent
    near = [e for e in draft.entries if PurePosixPath(e.delivery.path).parent == folder]
    for entries in ([entry], near):
        orders = {c.order for e in entries for c in e.delivery.columns.values() if c.order is not None and c.is_moment}
        if len(orders) == 1:
            return orders.pop()
    return None


def text(draft: Draft, head: Head, answers: Answers) -> str:
    """The settings file. What it leaves open is said at its top; see `assumptions`."""
    lines = [
        f"# Drafted from the files in {head.landing}. After # stands why; ASSUMED: no file says it, look at it.",
        *(f"# {line}" for line in assumptions(draft, answers)),
        "extends: base.yaml",
        f"name: {_scalar(head.name)}",
        f"landing: {_scalar(head.landing)}",
        f"state: {_scalar(head.state)}",
        f"lake: {{root: {_scalar(head.lake)}}}",
        "sources:" if draft.entries else "sources: {}",
    ]
    for entry in draft.entries:
        lines += _recipe(draft, entry, answers) if entry.recipe else _source(draft, entry, answers)
    for heading, files in (
        ("not used", [(n.path, n.reason) for n in draft.not_used]),
        ("skipped", [(s.name, s.reason) for s in draft.skipped]),
    ):
        lines += [f"# {heading}: {path}: {why}" for path, why in files[:40]]
        lines += [f"# {heading}: {len(files) - 40:,} more files"] if len(files) > 40 else []
    return "\n".join(_one_line(line) for line in lines) + "\n"


def _one_line(line: str) -> str:
    return "".join(sign if sign.isprintable() else " " for sign in line)


def assumptions(draft: Draft, answers: Answers) -> list[str]:
    """What is assumed of all files together, a line each."""
    said = []
    if zoneless := lacks_zone(draft):
        shown = ", ".join(dict.fromkeys(c.name for c in zoneless[:4]))
        zone = answers.timezone or draft.zone or "UTC"
        why = f", as the folder is of {draft.zone_of}" if draft.zone and not answers.timezone else ""
        said.append(
            f"ASSUMED: times without a zone ({shown}) are of {zone}{why}"
            + ("" if answers.timezone else "; else give `timezone: Europe/Paris` (say) to the source")
        )
    if entries := lacks_currency(draft):
        shown = ", ".join(entry.name for entry in entries)
        said.append(
            f"ASSUMED: amounts of {shown} are in {answers.currency}" if answers.currency
            else f"ASSUMED: all amounts of {shown} are in one currency that no file names; map CURRENCY_CODE to say it"
        )  # fmt: skip
    if (entries := lacks_country(draft)) and not answers.country:
        shown = ", ".join(f"{entry.name} ({entry.used[countries.PHONE].name})" for entry in entries)
        said.append(
            f"ASSUMED: telephone numbers of {shown} are national, and no file says of which country: they tie nobody "
            "until `country: DE` (say) is given to the source"
        )
    if unclear := unclear_dates(draft):
        shown = ", ".join(f"{column.name} of {entry.name} ({column.looked_at[0]})" for entry, column in unclear[:3])
        read = (answers.dates or "by their sign: month first with /, day first with .").replace("_", " ")
        said.append(
            f"ASSUMED: dates that could be read in two ways, {shown}, are {read} (`dates: day_first`, `month_first`)"
        )
    return said


def _recipe(draft: Draft, entry: Entry, answers: Answers) -> Iterator[str]:
    keys = {"recipe": entry.recipe, **_place(entry), **_readings(draft, entry, answers)}
    if answers.currency and _is_sale(entry) and not _has_currency(entry):
        keys["currency"] = answers.currency
    yield f"  # {entry.about}; fills {entry.table}; {_seen(entry)}"
    yield f"  {entry.name}: {{{', '.join(f'{key}: {_scalar(value, flow=True)}' for key, value in keys.items())}}}"


def _source(draft: Draft, entry: Entry, answers: Answers) -> Iterator[str]:
    yield f"  {entry.name}:  # {entry.about}; {_seen(entry)}"
    yield f"    table: {entry.table}"
    yield f"    system: {entry.system}"
    for key, value in (_place(entry) | _readings(draft, entry, answers)).items():
        yield f"    {key}: {_scalar(value)}"
    if entry.country:
        yield f"    country: {_scalar(entry.country)}  # ASSUMED: {entry.country_why}"
    elif answers.country and entry in lacks_country(draft):
        yield f"    country: {_scalar(answers.country)}  # as you said"
    if entry.delivery.explode:
        yield f"    explode: {_scalar(sql.name(entry.delivery.explode))}"
    if entry.where:
        yield f"    where: {_scalar(entry.where)}"
    if entry.group_by:
        yield f"    group_by: [{', '.join(_scalar(column, flow=True) for column in entry.group_by)}]"
    if entry.join:
        yield "    join:"
        for name, said in entry.join.items():
            keys = ", ".join(f"{_scalar(key, flow=True)}: {_flow(value)}" for key, value in said.items())
            yield f"      {name}: {{{keys}}}"
    yield "    mapping:"
    mapping = [(column, guess.expression, guess.why, guess.is_assumed) for column, guess in entry.mapping.items()]
    mapping += _currency(entry, answers)
    for column, expression, why, is_assumed in mapping:
        yield f"      {column}: {_scalar(expression)}  # {'ASSUMED: ' if is_assumed else ''}{why}"
    for question in entry.asks:
        yield f"    # TODO {question}"
    taken = {column.name for column in entry.used.values()}
    columns = entry.delivery.columns.values()
    unused = [column.name for column in columns if column.name not in taken and not column.is_nested]
    if unused and not entry.group_by and not entry.delivery.explode:
        yield f"    # not used (kept beside the row): {', '.join(unused[:30])}" + (" ..." if len(unused) > 30 else "")


def _currency(entry: Entry, answers: Answers) -> list[tuple[str, str, str, bool]]:
    if entry.table not in SALES or CURRENCY in entry.mapping:
        return []
    signs = _signs(entry)
    if len(signs) == 1:
        return [(CURRENCY, f"'{next(iter(signs))}'", "its sign stands beside the amounts", False)]
    return [(CURRENCY, f"'{answers.currency}'", "as you said", False)] if answers.currency else []


def _place(entry: Entry) -> dict[str, str]:
    place = entry.delivery.place
    found = {"path": entry.delivery.path}
    if place.members != "*":
        found["members"] = place.members
    if place.sheet:
        found["sheet"] = place.sheet
    if place.records:
        found["records"] = place.records
    return found


def _readings(draft: Draft, entry: Entry, answers: Answers) -> dict[str, str]:
    """How values of a source are read, where its columns leave it open or tell it."""
    used = list((entry.used or (entry.delivery.columns if entry.recipe else {})).values())
    found = {}
    zone = answers.timezone or draft.zone
    if zone and any(column.lacks_offset for column in used):
        found["timezone"] = zone
    if any(column.has_unclear_order for column in used) and (order := _order(draft, entry) or answers.dates):
        found["dates"] = order
    if any(column.decimal == "," for column in entry.delivery.columns.values()) and not any(
        c.decimal == "." for c in used
    ):
        found["decimal"] = ","
    return found


def _flow(value: object) -> str:
    if isinstance(value, dict):
        return f"{{{', '.join(f'{_scalar(a, flow=True)}: {_scalar(b, flow=True)}' for a, b in value.items())}}}"
    return str(value).lower() if isinstance(value, bool) else _scalar(str(value), flow=True)


def _seen(entry: Entry) -> str:
    delivery = entry.delivery
    files = "1 file" if len(delivery.files) == 1 else f"{len(delivery.files):,} files, {delivery.looked_at} looked at"
    return f"{files}, {'all' if delivery.whole else 'first'} {delivery.rows:,} rows"


def _scalar(value: str, flow: bool = False) -> str:
    """A text as YAML writes it, without quotes where it needs none."""
    signs = PLAIN if not flow else re.compile(r"[A-Za-z_][\w .()/*+-]*")
    if signs.fullmatch(value) and value.strip() == value and value.lower() not in WORDS_OF_YAML:
        return value
    if '"' not in value and "\\" not in value and value.isprintable():
        return f'"{value}"'
    return yaml.safe_dump([value], default_flow_style=True, width=1 << 30, allow_unicode=True).strip()[1:-1]
