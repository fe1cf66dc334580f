"""What the command line prints about runs, plans, tables and refused rows."""

from __future__ import annotations

import json
import sys
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import polars as pl
from rich import box
from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from customer360.platform import graph, ledger, privacy, quality, tables, telemetry
from customer360.platform.errors import ConfigError
from customer360.platform.lake import Lake
from customer360.platform.ledger import Run
from customer360.platform.quality.checks import DIMENSIONS
from customer360.platform.run import lake_of
from customer360.platform.run.letters import open_dead_letters
from customer360.platform.run.losses import lacking
from customer360.platform.run.rereading import BatchLine, batch_lines, named_batches, outdated
from customer360.platform.settings import Settings
from customer360.serve import money
from customer360.serve.cli import remarks
from customer360.serve.compose import rules_of

if TYPE_CHECKING:  # the page brings Jinja, which no other command needs
    from customer360.serve.publication.quality import Overview
    from customer360.serve.watch import Round

WIDTH_WITHOUT_TERMINAL = 160
DEAREST = 5  # tables that are named of those built whole
SHOWN_BATCHES = 20  # of a source, the newest; those before in one line


class _Console(Console):
    """What is shown comes from files of others: brackets in it are no markup, and it steers no terminal."""

    def render_str(self, text: str, **given: Any) -> Text:
        return super().render_str(telemetry.shown(text), **given)


console = _Console(width=None if sys.stdout.isatty() else WIDTH_WITHOUT_TERMINAL, markup=False)


TEXT = ("batch", "table", "node", "row", "column", "rule", "value", "source", "reason", "state", "because", "faults",
        "run", "command", "as of", "nodes", "ended", "last commit", "person", "missing", "measure", "type", "decided",
        "model", "experiment", "arms", "metric")  # fmt: skip


def grid(title: str, *columns: str) -> Grid:
    grid = Grid(title=title, title_justify="left", header_style="bold", box=box.SIMPLE_HEAD)
    for column in columns:
        grid.add_column(
            column, justify="left" if column in TEXT else "right", no_wrap=column in ("batch", "table", "node", "row")
        )
    return grid


def run_summary(settings: Settings, record: Run) -> None:
    """States of a run in a line, then the conservation table of the lake."""
    states: dict[str, int] = {}
    for node in record.nodes:
        states[node.state] = states.get(node.state, 0) + 1
    said = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    built = [n for n in record.nodes if n.state == "built"]
    console.print(f"run {record.id}: {said}" + ("" if built else "; nothing was new, everything is current"))
    if built:
        made_whole(record)
        conservation(lake_of(settings), settings)
        for line in remarks.of(settings, record):
            console.print(line, highlight=False, markup=False, soft_wrap=True)


def made_whole(record: Run) -> None:
    """Say which tables that stood were built whole, why, and what it cost: the dearest, and the sum of the others."""
    whole = sorted((n for n in record.nodes if n.facts.get("whole")), key=lambda n: -n.facts.get("cpu_seconds", 0.0))
    if not whole:
        return
    cost = sum(n.facts.get("cpu_seconds", 0.0) for n in whole)
    console.print(f"built whole: {len(whole)} tables that stood, {cost:.1f} s of processor time")
    for node in whole[:DEAREST]:
        spent = node.facts.get("cpu_seconds", 0.0)
        console.print(f"  {node.node:<34}{spent:6.1f} s  {node.facts['whole']}", highlight=False, markup=False)


def round_summary(done: Round) -> None:
    """A round of a watch in a line, and what it lost or could not do."""
    rows = ", ".join(f"{name} {count:,}" for name, count in sorted(done.landed.items())) or "nothing"
    states = ", ".join(f"{count} {state}" for state, count in sorted(done.nodes.items()))
    line = f"round {done.number} {done.state} in {done.seconds:.1f} s: landed {rows}; {states or 'no table'}"
    console.print(line, highlight=False, markup=False, soft_wrap=True)
    for fault in [*(f"failed {name}: {why}" for name, why in sorted(done.failures.items())), *done.losses]:
        console.print(f"  {fault}", style="red", highlight=False, markup=False, soft_wrap=True)


def balances(lake: Lake, settings: Settings) -> list[tuple[str, quality.Balance]]:
    """Conservation of every landed batch and of every record table, from the facts in the commits."""
    lines: list[tuple[str, quality.Balance]] = []
    for name, source in settings.sources.items():
        if not lake.exists(source.table):
            continue
        outcomes = ledger.outcomes(lake, name)
        for batch in ledger.batches(lake, name):
            kept = outcomes.get(batch.seq)
            facts = kept.facts if kept else _batch_facts(lake, source.table, name, batch.seq)
            if facts and not (kept and kept.dropped):
                lines.append((source.table, quality.batch_balance(f"{name} #{batch.seq}", facts)))
    for node in graph.NODES.values():
        if node.records and lake.exists(node.name):
            facts = ledger.last_facts(lake, node.name, f"node:{node.name}")
            if facts:
                lines.append((node.name, quality.record_balance(node.name, facts)))
    return lines


def _batch_facts(lake: Lake, table: str, source: str, seq: int) -> dict[str, Any]:
    commits = [c for c in lake.history(table) if c.get("customer360.app") == f"batch:{source}"]
    for commit, number in zip(commits, range(len(commits), 0, -1), strict=True):
        facts: dict[str, Any] = json.loads(commit.get("customer360.facts", "{}"))
        if facts.get("seq", number) == seq:
            return facts
    return {}


def _summed(lines: list[tuple[str, quality.Balance]]) -> list[tuple[str, quality.Balance]]:
    """Of a source of many batches the newest, those that do not hold, and in the place of the others their sum."""
    number_of: dict[str, int] = Counter(balance.scope.partition(" #")[0] for _, balance in lines)
    found: list[tuple[str, quality.Balance]] = []
    older: dict[str, list[quality.Balance]] = {}
    for table, balance in lines:
        source = balance.scope.partition(" #")[0]
        number_of[source] -= 1
        if number_of[source] < SHOWN_BATCHES or not balance.holds:
            if number_of[source] < SHOWN_BATCHES and (sums := older.pop(source, None)):
                found.append((table, _sum(sums)))
            found.append((table, balance))
        else:
            older.setdefault(source, []).append(balance)
    return found


def _sum(balances: list[quality.Balance]) -> quality.Balance:
    """What balances that hold come to."""
    if len(balances) == 1:
        return balances[0]
    names = dict.fromkeys(name for balance in balances for name in balance.outcomes)
    return quality.Balance(
        f"{balances[0].scope} to {balances[-1].scope.partition(' ')[2]}, {len(balances):,} batches",
        sum(b.received for b in balances),
        {name: sum(b.outcomes.get(name, 0) for b in balances) for name in names},
        sum(b.added for b in balances),
    )


def conservation(lake: Lake, settings: Settings) -> None:
    """Print where every record went: batches into bronze, then bronze into silver, cumulative."""
    landing = grid(
        "Landed: read + exploded = landed + dead letters + collapsed + left out + erased + no elements",
        "batch",
        "read",
        "exploded",
        "landed",
        "dead",
        "collapsed",
        "left out",
        "erased",
        "no elements",
        "holds",
    )
    silver = grid(
        "Silver: bronze = silver + quarantined + duplicates + superseded + set apart + combined + deleted",
        "table", "bronze", "silver", "quarantined", "duplicates", "superseded", "set apart",
        "combined", "deleted", "holds",
    )  # fmt: skip
    for table, balance in _summed(balances(lake, settings)):
        shown = landing if table.startswith("bronze") else silver
        shown.add_row(
            balance.scope,
            f"{balance.received:,}",
            *([f"{balance.added:,}"] if shown is landing else []),
            *(f"{v:,}" for v in balance.outcomes.values()),
            "yes" if balance.holds else "NO",
        )
    console.print(landing)
    console.print(silver)


def status(settings: Settings) -> None:
    """Tables with rows and freshness, conservation, refused rows, last runs."""
    with ledger.looked_at_once():
        _status(settings)


def _status(settings: Settings) -> None:
    lake = lake_of(settings)
    listing = grid(f"Tables of {settings.name}", "table", "rows", "files", "version", "last commit")
    for name in sorted(tables.TABLES):
        if lake.exists(name):
            files = lake.files(name)
            last = lake.history(name, 1)[0]
            moment = datetime.fromtimestamp(last["timestamp"] / 1000, UTC)
            listing.add_row(
                name,
                f"{sum(f.rows for f in files):,}",
                str(len(files)),
                str(last["version"]),
                f"{moment:%Y-%m-%d %H:%M:%S} UTC",
            )
    console.print(listing)
    conservation(lake, settings)
    _stuck(lake, settings)
    for notice in money.notices(lake, rules_of(settings)):
        console.print(notice)
    refused_rows = quality.refused(lake)
    console.print(
        f"quarantine: {refused_rows['row_id'].n_unique():,} rows; "
        f"dead letters without correction: {open_dead_letters(lake).height:,}"
    )
    runs = grid("Last runs", "run", "command", "as of", "nodes", "ended")
    for record in ledger.runs(lake, 5):
        states = [n.state for n in record.nodes]
        said = ", ".join(f"{states.count(s)} {s}" for s in sorted(set(states)))
        runs.add_row(
            record.id, record.command[:60], str(record.as_of or ""), said, (record.ended_at or "did not end")[:19]
        )
    console.print(runs)


def missing(settings: Settings, *, as_json: bool) -> None:
    """Tables of silver and gold without rows, and what each lacks."""
    from customer360.serve import missing as absence

    found = absence.missing(lake_of(settings), settings, rules_of(settings))
    if as_json:
        said = [{"table": m.table, "lacks": m.lacks, "names": m.names, "text": m.text} for m in found]
        print(json.dumps(said, ensure_ascii=False, indent=2))
        return
    shown = grid(f"Tables without rows, {len(found)}", "table", "missing")
    for each in found:
        shown.add_row(each.table, each.text)
    console.print(shown)


def batches(settings: Settings, source: str | None = None) -> list[BatchLine]:
    """Print the batches of one source, or of all the newest and those that stick; returns those that stick."""
    if source is not None and source not in settings.sources:
        raise ConfigError(f"there is no source {source!r}; configured are {', '.join(sorted(settings.sources))}")
    lines = batch_lines(lake_of(settings), settings, [source] if source else list(settings.sources))
    listing = grid("Batches", "batch", "state", "files", "rows", "dead", "reason")
    newest = Counter[str]()
    shown = [line for line in reversed(lines) if source or line.sticks or _counted(newest, line) <= SHOWN_BATCHES]
    for line in reversed(shown):
        counts = ("-" if n is None else f"{n:,}" for n in (line.rows, line.dead))
        listing.add_row(f"{line.source} #{line.seq}", line.state, str(line.inputs), *counts, line.reason)
    console.print(listing)
    if len(shown) < len(lines):
        console.print(f"and {len(lines) - len(shown):,} earlier ones: customer360 batch list SOURCE")
    return [line for line in lines if line.sticks]


def _counted(counts: Counter[str], line: BatchLine) -> int:
    counts[line.source] += 1
    return counts[line.source]


def _stuck(lake: Lake, settings: Settings) -> None:
    """Print what of the batches sticks, and which landed under other settings."""
    for line in batch_lines(lake, settings, settings.sources):
        if line.sticks:
            console.print(f"sticks: {line.source} #{line.seq} {line.state}: {line.reason}", style="red")
            console.print(f"        customer360 batch retry {line.source}, or batch drop {line.source} {line.seq}")
    for told in lacking(lake, settings.sources):
        console.print(told, style="yellow", highlight=False, markup=False, soft_wrap=True)
    for name, (seqs, parts) in outdated(lake, settings, settings.sources).items():
        console.print(f"{name}: {named_batches(seqs)} landed under another {' and '.join(parts)}: run --reland {name}")


def quality_summary(found: Overview, limit: int) -> None:
    """Print tables in five dimensions, standing alerts, the checks that fail most and who needs more data."""
    shown = grid("Quality: total = valid + invalid", "table", "score", *(d[:12] for d in DIMENSIONS), "total", "valid",
                 "invalid", "duplicates", "nulls")  # fmt: skip
    for row in found.tables.to_dicts():
        counts = (f"{row[f'{n}_records']:,}" for n in ("total", "valid", "invalid", "duplicate", "null"))
        score = "-" if row["quality_score"] is None else f"{row['quality_score']:.1f}"
        shown.add_row(row["table_name"], score, *(_percent(row[f"{d}_score"]) for d in DIMENSIONS), *counts)
    console.print(shown)
    alerts = grid("Alerts that stand", "table", "rule", "reason", "now", "limit")
    for row in found.alerts.filter(pl.col("cleared_at").is_null()).to_dicts():
        alerts.add_row(
            row["table_name"], row["dimension"], row["reason"], _percent(row["value"]), _percent(row["limit"])
        )
    console.print(alerts)
    rules = grid(f"Checks that fail most, of {found.rules.height}", "table", "rule", "reason", "rows", "share")
    for row in found.rules.head(limit).to_dicts():
        share = _percent(row["failed_count"] / row["checked_count"]) if row["checked_count"] else "-"
        rules.add_row(row["table_name"], row["rule"], row["dimension"], f"{row['failed_count']:,}", share)
    console.print(rules)
    if not found.totals.is_empty():
        console.print(_totals(found.totals))
    people = grid(
        f"Who needs more data, of {found.scores['needs_data'].sum():,}", "person", "spent", "score", "missing"
    )
    for row in found.people.to_dicts():
        spent = "-" if row["net_amount"] is None else f"{row['net_amount']:,.2f}"
        people.add_row(row["person_id"], spent, f"{row['quality_score']:.1f}", ", ".join(row["missing_attributes"]))
    console.print(people)


def _totals(readings: pl.DataFrame) -> Grid:
    """How each source's totals come of its lines, and what does not fit."""
    shown = grid(
        "Totals of receipts, as most of a source's are", "source", "total =", "receipts", "agree", "other receipts"
    )
    for row in readings.to_dicts():
        other = f"{row['other_count']:,}: {row['other_reading']}" if row["other_count"] else "-"
        agree = _percent(row["agreed_count"] / row["compared_count"])
        shown.add_row(row["source_system"], row["reading"], f"{row['compared_count']:,}", agree, other)
    return shown


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f} %"


def refused(settings: Settings, table: str | None, rule: str | None, limit: int) -> None:
    """Counts by rule, then the first rows, personal values masked."""
    lake = lake_of(settings)
    rows = quality.refused(lake, table, rule)
    counts = grid("Quarantine by rule", "table", "column", "rule", "rows")
    by_rule = rows.group_by("table_name", "column_name", "rule").len().sort("len", descending=True)
    for r in by_rule.to_dicts():
        counts.add_row(r["table_name"], r["column_name"] or "(row)", r["rule"], f"{r['len']:,}")
    console.print(counts)
    shown = privacy.masked(quality.Quarantine, rows.head(limit))
    listing = grid(f"First {shown.height} of {rows.height:,}", "row", "column", "rule", "value")
    for r in shown.to_dicts():
        listing.add_row(r["row_id"], r["column_name"] or "(row)", r["rule"], r["value"] or "")
    console.print(listing)
    letters = open_dead_letters(lake)
    dead = grid("Dead letters by reason", "source", "reason", "rows")
    for r in _reasons(letters).to_dicts():
        dead.add_row(r["source"], r["kind"], f"{r['len']:,}")
    console.print(dead)


def _reasons(letters: pl.DataFrame) -> pl.DataFrame:
    """Reasons without what may quote the record."""
    return letters.group_by("source", kind=pl.col("reason").str.split(":").list.first()).len().sort("source", "kind")
