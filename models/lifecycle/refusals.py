"""Who refuses by now though a version learnt from them: what it knows of them leaves with the version after it.

A fit is given nothing of those who refuse, and keeps a mark of each (not their ids), so that a later refusal can be
told from one that it heeded.
"""

from __future__ import annotations

from datetime import date

import polars as pl

from customer360.models.lifecycle.drift import DAYS
from customer360.models.lifecycle.fit import MARK_BYTES, mark
from customer360.models.lifecycle.job import ModelJob, denying


def since(job: ModelJob, version: str) -> str:
    """How many refuse now what the version's fit needed, were not left out of it, and did something before its date;
    empty when nobody. Of a version that keeps no marks, whoever refuses and did something counts.
    """
    stored, as_of = job.registry.withheld(job.model.name, version), job.registry.as_of(job.model.name, version)
    heeded = {stored[i : i + MARK_BYTES] for i in range(0, len(stored or b""), MARK_BYTES)} if stored else set()
    refusing = [person for person in denying(job.lake, job.model, fitting=True) if mark(person) not in heeded]
    count = len(_seen_before(job, refusing, as_of)) if refusing else 0
    if not count:
        return ""
    said = f"{count:,} of the people before {as_of} refuse training or what it rests on"
    if stored is None:
        return f"{said}, and version {version} does not say whether it left them out"
    return f"{said}, and version {version} learnt from them"


def is_told(job: ModelJob, version: str | None) -> bool:
    """Whether a version says whom its fit left out; those of releases before do not."""
    return version is not None and job.registry.withheld(job.model.name, version) is not None


def _seen_before(job: ModelJob, persons: list[str], as_of: date) -> set[str]:
    """Those of some persons who have a row before a date in what every model is made of, or in a table of this one:
    a table that needs the purpose that they refuse has lost their rows by now.
    """
    found: set[str] = set()
    for table in sorted({DAYS, *job.model.tables}):
        rows = job.lake.scan(table) if job.lake.exists(table) else pl.LazyFrame()
        if {"person_id", "on"} <= set(rows.collect_schema().names()):
            theirs = rows.filter(pl.col("person_id").is_in(pl.Series(persons).implode()), pl.col("on") < as_of)
            found |= set(theirs.select("person_id").unique().collect()["person_id"])
    return found
