"""What people ask for, and what a proof of an erasure says."""

from __future__ import annotations

from typing import Any

import typer


def show_report(report: dict[str, Any]) -> None:
    """A report in words: what was looked for, where, what remains."""
    sought = ", ".join(f"{count} {kind}" for kind, count in sorted(report["searched"].items()))
    typer.echo(f"looked for: {sought or 'nothing that tells the person'}")
    if report["too_common"]:
        common = ", ".join(f"{count} {kind}" for kind, count in sorted(report["too_common"].items()))
        typer.echo(f"too common or too short to tell: {common}")
    for place, seen in report["looked_at"].items():
        typer.echo(f"in {place}: {seen['files']:,} files, {seen['bytes']:,} bytes")
    for left in report["remains"]:
        what = ", ".join(left["kinds"]) or "unknown"
        typer.echo(
            f"remains: {left['store']} {left['place']}: {what}" + (f" ({left['unread']})" if left["unread"] else "")
        )
    said = "nothing of the person is left" if report["is_clean"] else f"{len(report['remains'])} files remain"
    typer.echo(f"made {report['made_at']}, signature good: {said}")
