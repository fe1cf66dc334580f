"""What `run --dry-run` and `plan` print: what would become of the rows of each source, what was found, and the plan."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

from rich.text import Text

from customer360.platform.ledger import Run
from customer360.platform.run.preview import Preview, SourcePreview
from customer360.platform.sources.rehearsal.findings import Finding
from customer360.platform.tables import by_name
from customer360.serve.cli.report import console, grid

VERSION = 1  # of what `as_json` gives
FEW = 0.01  # share of a source's rows below which findings are only counted, unless all are asked for
STYLES = {"error": "red", "warning": "yellow", "note": "dim"}
NAMED = 4  # nodes of a stage that are named, where more are in the same state for the same reason


def show(found: Preview, *, everything: bool = False) -> None:
    """Print sources, findings and plan. ``everything``: each finding and each node by name."""
    _sources(found.sources)
    _plan(found, everything)
    _findings(found.findings, everything)


def as_json(found: Preview) -> str:
    """Sources, findings and plan for machines, as docs/orchestrators.md describes them; examples within texts are
    masked as on the screen. Fields may be added to a version; none changes or goes.
    """
    tables = {source.name: source.table for source in found.sources}
    sources = [
        {
            "source": s.name, "table": s.table, "new_files": s.inputs, "rows": s.rehearsed.read,
            "land": s.rehearsed.landed - s.rehearsed.quarantined, "quarantined": s.rehearsed.quarantined,
            "dead": s.rehearsed.dead, "left_out": s.rehearsed.left_out + s.rehearsed.collapsed,
            "is_whole": s.rehearsed.is_whole,
        }
        for s in found.sources
    ]  # fmt: skip
    findings = [
        {
            "severity": f.severity, "source": f.source, "table": tables.get(f.source), "where": f.where or None,
            "column": _column(f, tables), "what": f.what, "do": f.do or None, "share": round(f.share, 6),
        }
        for f in found.findings
    ]  # fmt: skip
    plan = [{"stage": n.stage, "node": n.name, "state": n.state, "because": n.because} for n in found.nodes]
    has_work = any(s.batches for s in found.sources) or any(n.state == "build" for n in found.nodes)
    head = {"version": VERSION, "has_work": has_work, "faults": found.faults}
    told = head | {"sources": sources, "findings": findings, "plan": plan}
    return json.dumps(told, ensure_ascii=False, indent=2)


def _column(finding: Finding, of: dict[str, str]) -> str | None:
    """The contract column that a finding is about; None where it is about a file or a key of the settings."""
    name = finding.where.partition(" ")[0].rstrip(",")
    known = finding.source in of and name in by_name(of[finding.source]).columns()
    return name if known else None


def _sources(sources: Sequence[SourcePreview]) -> None:
    shown = grid("Rehearsal: of the rows looked at", "source", "table", "new files", "rows", "land", "quarantined",
                 "dead", "left out", "found")  # fmt: skip
    for each in sources:
        done = each.rehearsed
        rows = f"{done.read:,}" + ("" if done.is_whole else " *")
        counts = (done.landed - done.quarantined, done.quarantined, done.dead, done.left_out + done.collapsed)
        shown.add_row(each.name, each.table, f"{each.inputs:,}", rows, *(f"{n:,}" for n in counts), _counted(each.findings))  # fmt: skip  # noqa: E501
    console.print(shown)
    for each in sources:
        if not each.rehearsed.is_whole:
            console.print(f"  * {_part(each)}", style="dim")


def _part(each: SourcePreview) -> str:
    """How much of a source was looked at."""
    done = each.rehearsed
    columns = f"the columns of {done.looked:,} of {done.files:,} files, " if done.judged < done.files else ""
    return f"{each.name}: {columns}the first {done.limit:,} rows of {done.judged:,} of {done.files:,} files"


def _counted(findings: Sequence[Finding]) -> str:
    counts = Counter(finding.severity for finding in findings)
    return ", ".join(f"{n} {kind}{'s' if n > 1 else ''}" for kind, n in counts.items()) or "-"


def _findings(findings: Sequence[Finding], everything: bool) -> None:
    shown = [f for f in findings if everything or f.severity == "error" or f.share >= FEW]
    for finding in shown:
        console.print(Text(f"{finding.severity}: {finding.text}", style=STYLES[finding.severity]), soft_wrap=True)
    if len(findings) > len(shown):
        more = f"{len(findings) - len(shown):,} more findings, each about less than {FEW:.0%} of its source's rows"
        console.print(f"{more}: `customer360 run --dry-run --all`")
    if not findings:
        console.print("nothing was found")


def _plan(found: Preview, everything: bool) -> None:
    """Nodes in the order of the run; those of a stage in one line where they are many of one state and reason."""
    nodes = grid("Plan", "stage", "node", "state", "because")
    alike: dict[tuple[int, str, str], list[str]] = {}
    for node in found.nodes:
        alike.setdefault((node.stage, node.state, node.because), []).append(node.name)
    for (number, state, because), names in alike.items():
        if everything or len(names) <= NAMED + 1:
            for name in names:
                nodes.add_row(str(number), name, state, because)
        else:
            named = f"{', '.join(names[: NAMED - 1])} and {len(names) - NAMED + 1} more"
            nodes.add_row(str(number), named, state, because)
    if found.nodes:
        console.print(nodes)


def show_losses(record: Run) -> None:
    """Print what a run lost beyond the stated share, after everything else."""
    for loss in record.losses:
        console.print(Text(f"lost: {loss}", style="red"), soft_wrap=True)
    if record.losses:
        console.print("      customer360 quarantine list, customer360 batch list")
