"""Random mappings over random records: `python tests/bench/fuzz_mappings.py [--records 300000 --seed 1]`.

Expressions of any depth, some of them wrong, with `where`, `group_by`, `explode`, `unpivot` and a joined file, over
records with lists, objects and key-value lists. A mapping that cannot be applied is refused in one line; of one that
passed, every record is in exactly one place, positions are unique, and parts give what the whole gives. Prints what
failed.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
from collections import Counter
from time import perf_counter
from typing import Any

import polars as pl

from customer360.platform.errors import ConfigError, SourceError
from customer360.platform.sources.casting import Fitted, fit
from customer360.platform.sources.formats.records import POSITION
from customer360.platform.sources.mapping import Mapping
from customer360.platform.sources.mapping.joins import Joined
from customer360.platform.sources.mapping.unpivot import Unpivot
from customer360.platform.sources.values import Reading
from customer360.platform.tables import Boolean, Date, Float, Integer, Money, String, Table, Timestamp


class Things(Table, table="bronze.fuzzed_things", key=("ID",)):
    """One row per thing."""

    ID = String(nullable=True)
    NOTE = String(nullable=True)
    COUNT = Integer(nullable=True)
    SHARE = Float(nullable=True)
    PAID = Money(nullable=True)
    IS_OPEN = Boolean(nullable=True)
    BORN = Date(nullable=True)
    AT = Timestamp(nullable=True)


TARGETS = tuple(Things.columns())
TEXTS = ("a", "B 7", "", "N/A", "12", "-3.50", "1,234.5", "2026-01-05", "5/6/2026", "true", "ü", "O'Neil", '"', "null", "1e5", "[1]")  # fmt: skip  # noqa: E501
COLUMNS = ("id", "at", "amount", "note", "line items", "tags", "params", "customer")
PATHS = (
    "id", "at", "amount", "note", "id", "note", '"line items"', "tags", "customer.name", "customer.address.city",
    "params.page", '"line items"[1].sku', "tags[1]", "tags[9]", "customer['name']",
)  # fmt: skip
RARE = ("people.name", "nothing", "customer.nothing.at")
BINARY = ("+", "-", "*", "/", "%", "||", "=", "<>", "<", ">=", "AND", "OR", "LIKE", "??", "IS DISTINCT FROM")
ONE = ("UPPER", "LOWER", "TRIM", "LENGTH", "ABS", "ROUND", "CAST_TO", "NOT", "YEAR", "TO_DATE", "MD5", "NO_SUCH", "REVERSE", "to_timestamp")  # fmt: skip  # noqa: E501
GROUPED = ("MIN", "MAX", "SUM", "COUNT", "AVG", "FIRST", "STRING_AGG", "ANY_VALUE", "ARG_MAX")
PUT_IN = ("(", ")", "'", '"', ",", " FROM x", ";", "--", "NULL", "CASE", "::INT", "[", "é", "$1", "\0", "*")


def expression(rng: random.Random, depth: int = 0) -> str:
    kind = rng.randrange(9) if depth < 3 else rng.randrange(2)
    if kind == 0:
        return rng.choice(("1", "0", "2.5", "'x'", "''", "NULL", "TRUE", "DATE '2026-01-05'", "'O''Neil'"))
    if kind in (1, 2):
        return rng.choice(PATHS if rng.random() < 0.97 else RARE)
    inner = [expression(rng, depth + 1) for _ in range(3)]
    if kind in (3, 4):
        return f"({inner[0]} {rng.choice(BINARY)} {inner[1]})"
    if kind == 5:
        name = rng.choice(ONE)
        return (
            f"CAST({inner[0]} AS {rng.choice(('INT', 'DOUBLE', 'DATE', 'VARCHAR', 'TIMESTAMP', 'DECIMAL(9,2)'))})"
            if name == "CAST_TO"
            else f"{name}({inner[0]})"
        )
    if kind == 6:
        return f"CASE WHEN {inner[0]} THEN {inner[1]} ELSE {inner[2]} END"
    if kind == 7:
        return f"COALESCE({', '.join(inner)})"
    return rng.choice(
        (
            f"{inner[0]} IN ({inner[1]}, {inner[2]})",
            f"{inner[0]} IS NULL",
            f"SUBSTR({inner[0]}, 1, 2)",
            f"STRPTIME({inner[0]}, '%Y-%m-%d')",
            f"REPLACE({inner[0]}, 'a', {inner[1]})",
            f"{inner[0]} BETWEEN {inner[1]} AND {inner[2]}",
        )
    )


def broken(rng: random.Random, text: str) -> str:
    """An expression after an accident."""
    place = rng.randrange(len(text) + 1)
    return text[:place] + rng.choice(PUT_IN) + text[place + rng.randrange(3) :]


def grouped(rng: random.Random) -> str:
    name, inner = rng.choice(GROUPED), expression(rng, 2)
    more = {"STRING_AGG": ", ','", "ARG_MAX": f", {expression(rng, 3)}"}.get(name, "")
    text = f"{name}({inner}{more})"
    return f"COALESCE({text}, {expression(rng, 3)})" if rng.random() < 0.2 else text


def records(rng: random.Random, rows: int) -> pl.DataFrame:
    def one(i: int) -> dict[str, Any]:
        lines = [{"sku": rng.choice(TEXTS), "qty": rng.randrange(4)} for _ in range(rng.choice((0, 1, 1, 3)))]
        held = {
            "id": rng.choice((f"R{i}", f"R{i // 3}", *TEXTS)),
            "at": rng.choice(("2026-01-05T10:00:00Z", "2026-02-30", *TEXTS)),
            "amount": rng.choice((f"{rng.randrange(900)}.25", *TEXTS)),
            "note": rng.choice(TEXTS),
            "line items": rng.choice((json.dumps(lines), json.dumps(lines), "", "{", "[null]", "7")),
            "tags": rng.choice(('["a","b"]', "[]", "", "a")),
            "params": json.dumps([{"key": "page", "value": {"string_value": rng.choice(TEXTS)}}]),
            "customer": rng.choice((json.dumps({"name": "Ann", "address": {"city": "Oslo"}}), "null", "", "[]", "x")),
        }
        return {name: None if rng.random() < 0.05 else value for name, value in held.items()}

    frame = pl.DataFrame([one(i) for i in range(rows)], schema=dict.fromkeys(COLUMNS, pl.String))
    return frame.insert_column(0, pl.int_range(1, rows + 1, eager=True).alias(POSITION))


def mapping(rng: random.Random) -> Mapping:
    """A mapping of any kind; about one of five has a fault in it."""
    odd = "id" if rng.random() < 0.8 else "id ||"
    keys = tuple(rng.sample(("id", "note", "LOWER(note)", "customer.name", odd), rng.choice((1, 1, 2))))
    group_by = keys if rng.random() < 0.3 else ()
    chosen = rng.sample(TARGETS, rng.randrange(1, 5))
    columns = {t: grouped(rng) if group_by else expression(rng, rng.randrange(4)) for t in chosen}
    if rng.random() < 0.15:
        target = rng.choice(chosen)
        columns[target] = broken(rng, columns[target])
    explode = (rng.choice(('"line items"', "tags", "customer.address", "nothing", "id")),) if rng.random() < 0.3 else ()
    people = pl.DataFrame({"who": ["R1", "R2", "R2", "a"], "name": ["Ann", "Bo", "Cy", None]})
    join = (Joined("people", {expression(rng, 2): "who"}, rng.random() < 0.8, "people.csv", people),)
    unpivot = Unpivot(keep=["id"], name="note", value="amount") if not explode and rng.random() < 0.15 else None
    where = expression(rng, 1) if rng.random() < 0.3 else ""
    return Mapping(columns, group_by, where, explode, None, join if rng.random() < 0.4 else (), unpivot)


def faults(found: Fitted, frame: pl.DataFrame, used: Mapping) -> list[str]:
    """What is wrong with the rows of a mapping."""
    wrong = []
    received, given = frame.height + found.exploded, found.frame.height + found.collapsed + found.left_out
    if received != given + found.without_elements:
        wrong.append(
            f"{received} records and elements, {given} rows, collapsed or left out, {found.without_elements} empty"
        )
    if found.frame[POSITION].n_unique() != found.frame.height:
        wrong.append("positions are not unique")
    if not used.group_by and frame.height > 1:
        half = frame.height // 2
        parts = [fit(part, Things, used, READING).frame for part in (frame[:half], frame[half:])]
        if not pl.concat(parts).equals(found.frame):
            wrong.append("two parts give other rows than the whole")
    return wrong


READING = Reading(dates="day_first", decimal=".")  # what a column says by itself depends on what it holds


def fuzz(count: int, seed: int) -> tuple[Counter[str], list[str]]:
    """Apply mappings until so many records were given to them; returns counts, and what went wrong."""
    rng, counts = random.Random(seed), Counter[str]()
    wrong: list[str] = []
    while counts["records"] < count and len(wrong) < 10:
        frame, used = records(rng, rng.choice((0, 1, 40, 400))), mapping(rng)
        counts["records"] += frame.height
        counts["mappings"] += 1
        try:
            try:
                refused = used.faults(Things, list(COLUMNS), frame)
            except ConfigError as fault:
                refused = [str(fault)]
            if refused:
                counts["refused"] += 1
                wrong += [f"an empty reason: {used}"] if not all(text.strip() for text in refused) else []
                continue
            counts["applied"] += 1
            found = fit(frame, Things, used, READING)
            counts["rows"] += found.frame.height
            wrong += [f"{what}: {used} over {frame.to_dicts()[:4]}" for what in faults(found, frame, used)]
        except (ConfigError, SourceError):
            counts["refused when applied"] += 1
        except BaseException as fault:
            if isinstance(fault, KeyboardInterrupt):
                raise
            wrong.append(f"{type(fault).__name__}: {str(fault)[:300]}: {used}")
    return counts, wrong


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=300_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    start = perf_counter()
    counts, wrong = fuzz(options.records, options.seed)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{dict(counts)} in {perf_counter() - start:.0f} s, peak {peak:.0f} MiB, {len(wrong)} faults")
    for what in wrong:
        print(what[:3000])
    if wrong:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
