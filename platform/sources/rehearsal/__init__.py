"""A rehearsal of landing: the first rows of what waits are mapped, cast and judged as a run would, nothing is written.

Of each source: how many rows would land, be refused or be left out, and findings, the worst first. What it looks at is
bounded (`samples`), so that it says the same however long it takes.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from customer360.platform import telemetry
from customer360.platform.lake import Lake
from customer360.platform.sources.bronze import failure_text
from customer360.platform.sources.landing import Landing
from customer360.platform.sources.rehearsal import columns, headers, keys, paths, references, rows
from customer360.platform.sources.rehearsal.findings import Finding, ordered
from customer360.platform.sources.rehearsal.samples import Read, Sample, Waiting, sampled


@dataclass(frozen=True)
class Rehearsed:
    """What would become of the rows of a source that were looked at: ``read`` + ``exploded`` = ``landed`` + ``dead`` +
    ``left_out`` + ``collapsed``; of those that would land, ``quarantined`` would not reach silver.

    ``files`` wait, ``looked`` of them were looked at by their columns and ``judged`` by their first ``limit`` rows;
    ``is_whole`` says that no row lies behind those.
    """

    name: str
    files: int
    looked: int = 0
    judged: int = 0
    limit: int = 0
    read: int = 0
    landed: int = 0
    quarantined: int = 0
    dead: int = 0
    left_out: int = 0
    collapsed: int = 0
    exploded: int = 0
    is_whole: bool = True
    findings: tuple[Finding, ...] = ()


def rehearse(
    lake: Lake, landing: Landing, waiting: Sequence[Waiting], *, loss: float, now: datetime
) -> dict[str, Rehearsed]:
    """What landing would make of what waits, by source. ``loss``: the share of rows from which on a loss is an error.

    ``now`` is when it would land: what happened after it did not happen yet.
    """
    found: dict[str, list[Finding]] = {}
    samples, read = [], Read()
    for each in waiting:
        try:
            sample, found[each.name] = _looked(landing, each, read, loss, now)
        except Exception as fault:  # noqa: BLE001 - whatever a source or a file of it does, the others are looked at
            telemetry.log.debug(traceback.format_exc())
            found[each.name] = [Finding("error", each.name, "", f"cannot be looked at: {failure_text(fault)}")]
            continue
        samples += [sample] if sample else []
    together: list[Callable[[], Iterable[Finding]]] = [
        lambda: columns.currency_findings(samples, {each.source.table for each in waiting}),
        lambda: keys.shared_keys(samples),
        lambda: references.reference_findings(lake, landing, samples, waiting, loss),
    ]
    for check in together:
        for finding in check():
            found[finding.source].append(finding)
    counted = {sample.name: sample for sample in samples}
    return {each.name: _rehearsed(each, counted.get(each.name), found[each.name]) for each in waiting}


def _looked(
    landing: Landing, waiting: Waiting, read: Read, loss: float, now: datetime
) -> tuple[Sample | None, list[Finding]]:
    """What was looked at of a source, None where nothing waits or its mapping is at fault, and what it shows alone."""
    found = headers.contract_findings(waiting)
    if not waiting.inputs:
        missing = None if waiting.landed else paths.path_finding(landing, waiting)
        return None, [*found, missing] if missing else found
    if found:
        return None, found
    sample = sampled(landing, waiting, read)
    return sample, _alone(landing, sample, loss, now)


def _alone(landing: Landing, sample: Sample, loss: float, now: datetime) -> list[Finding]:
    """What a source's own files show."""
    found = [
        *rows.file_findings(landing, sample, loss),
        *headers.header_findings(landing, sample),
        *paths.same_content(landing, sample.waiting),
    ]
    if sample.rows.is_empty():
        return [*found, *rows.condition_findings(sample), *columns.refusals(sample, loss)]
    for part in (
        rows.condition_findings(sample),
        rows.group_findings(sample),
        rows.text_comparisons(sample),
        rows.first_rows(sample),
        columns.refusals(sample, loss),
        columns.unreached(sample),
        columns.note_findings(sample),
        columns.time_findings(sample, now, loss),
        columns.phone_findings(sample),
        columns.amount_findings(sample),
        columns.text_findings(sample),
        keys.repeat_findings(sample),
        keys.stand_in_findings(sample),
    ):
        found += part
    if not any(finding.severity == "error" for finding in found):
        found += rows.losses(sample, loss)
    return found


def _rehearsed(waiting: Waiting, sample: Sample | None, found: list[Finding]) -> Rehearsed:
    if sample is None:
        return Rehearsed(waiting.name, len(waiting.inputs), findings=ordered(found))
    judged = [look for look in sample.looks if look.is_judged]
    fitted = [look.fitted for look in judged if look.fitted]
    failed = [look for look in judged if look.failure]  # each of them one dead letter
    whole = [look for look in judged if not look.failure]
    return Rehearsed(
        waiting.name,
        len(waiting.inputs),
        looked=len(sample.looks),
        judged=len(judged),
        limit=sample.limit,
        read=sum(look.read for look in whole) + len(failed),
        landed=sum(f.frame.height for f in fitted),
        quarantined=sum(look.refused for look in judged),
        dead=sum(look.dead.height for look in whole) + len(failed),
        left_out=sum(f.left_out + f.without_elements for f in fitted),
        collapsed=sum(f.collapsed for f in fitted),
        exploded=sum(f.exploded for f in fitted),
        is_whole=sample.is_whole,
        findings=ordered(found),
    )


__all__ = ["Finding", "Rehearsed", "Waiting", "rehearse"]
