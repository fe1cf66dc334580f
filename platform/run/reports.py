"""Reports: tables about nobody, of which nothing but other reports is made, or what may be as old (`Node.of_reports`),
and which nothing publishes.

What a person is known by and served with must follow each small batch; a count of all journeys need not. So a run that
asks for what is due (``RunRequest.due``) leaves reports as they stand until ``execution.report_interval_minutes`` are
over since a run made them: they are *resting*. Every other run makes them. One that does not stand, or not for the
date of the run, or that other code or rules would make, does not rest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from customer360.platform import graph, purposes, tables
from customer360.platform.graph import Node
from customer360.platform.lake import Lake, editions
from customer360.platform.ledger import Run
from customer360.platform.run.health import moment
from customer360.platform.run.planning import Job
from customer360.platform.run.request import RunRequest
from customer360.platform.run.rests import is_over
from customer360.platform.settings import ExecutionSettings
from customer360.platform.tables import SUBJECT_KEYS

MARK = "_resting/reports.json"  # when the last run began that made some and left none as it was; by what each was made
RESTING = "resting"  # state of such a node in the record of a run


def reports(published: Iterable[str]) -> set[str]:
    """Names of the nodes that make reports, where ``published`` are the tables that something outside of the graph must
    have as fresh as they can be."""
    needs, fresh, makers = graph.edges(), set[str](), graph.producers_of()
    waiting = [name for name, node in graph.NODES.items() if not _is_about_nobody(node, set(published))]
    while waiting:
        name = waiting.pop()
        if name not in fresh:
            fresh.add(name)
            old = {maker for table in graph.NODES[name].of_reports for maker in makers.get(table, ())}
            waiting += needs[name] - old
    return set(graph.NODES) - fresh


def _is_about_nobody(node: Node, published: Collection[str]) -> bool:
    """Whether a build's table is one by no subject, without personal data, from which no person may withdraw and which
    is not published. Producers may do more than make a table."""
    if node.is_producer or tables.spec(node.table).name in published:
        return False
    is_personal = tables.pii_columns(node.table) or not set(SUBJECT_KEYS).isdisjoint(node.table.columns())
    return not is_personal and not purposes.is_withheld(node.table)


def resting(
    lake: Lake, settings: ExecutionSettings, request: RunRequest, now: datetime | None = None
) -> dict[str, str]:
    """Names of the reports that a run leaves as they are where they stand, with what is kept of what made them. One
    that names what it is for, or what it builds anew, leaves none."""
    if not request.due or request.start or request.end or request.only is not None or request.as_of:
        return {}
    due = due_at(lake, settings)
    if due is None or (now or datetime.now(UTC)) >= due:
        return {}
    made = _mark(lake).get("by", {})
    return {name: made.get(name, "") for name in reports(request.published)}


def due_at(lake: Lake, settings: ExecutionSettings) -> datetime | None:
    """When resting reports are made again; None where that is at once."""
    if not settings.report_interval_minutes or not (mark := _mark(lake)):
        return None
    step, last = timedelta(minutes=settings.report_interval_minutes), moment(mark["at"])
    now = datetime.now(UTC)
    return None if is_over(step, last, now) else last + step


def _mark(lake: Lake) -> dict[str, Any]:
    return dict(json.loads(lake.get(MARK) or b"{}"))


def made_by(job: Job) -> str:
    """Digest of the code, contracts and rules that decide a report, whatever its inputs hold."""
    code, _, rules, *_ = job.parts
    return hashlib.sha256(json.dumps([code, rules], sort_keys=True, default=str).encode()).hexdigest()


def may_rest(job: Job, known: str) -> bool:
    """Whether a report stands, for the date of the run where it has an edition a date, and by the code that is
    ``known`` to have made it: of another contract its readers would miss columns."""
    lake, name = job.context.lake, tables.spec(job.node.table).name
    if job.refreshed or lake.transaction(name, job.app) is None or known not in ("", made_by(job)):
        return False
    dated = editions.mark(job.node.name, job.context.as_of) if job.partition.get("as_of") else {}
    return all(lake.transaction(name, app) == value for app, value in dated.items())


def note_made(
    lake: Lake, settings: ExecutionSettings, record: Run, published: Iterable[str], by: Mapping[str, str]
) -> None:
    """Keep when reports were made and ``by`` what, once a run has looked at all and made some, and none rested or
    failed: a run for one of them says nothing of the others."""
    if not settings.report_interval_minutes:
        return
    every = reports(published)
    states = {node.node: node.state for node in record.nodes if node.node in every}
    if states.keys() == every and "built" in states.values() and set(states.values()) <= {"built", "current"}:
        mark = {"at": record.started_at, "by": {name: by[name] for name in sorted(every & by.keys())}}
        lake.put(MARK, json.dumps(mark).encode())
