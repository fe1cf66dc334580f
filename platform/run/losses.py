"""What a batch lost beyond the stated share, and columns that its files came without: said aloud by the run."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from customer360.platform import ledger, telemetry
from customer360.platform.lake import Lake
from customer360.platform.ledger import Batch, InputOutcome
from customer360.platform.sources.bronze import Landed
from customer360.platform.sources.stated import expected_columns


def losses_of(scope: str, facts: dict[str, Any], limit: float) -> list[str]:
    """Sentences about a batch of which more than ``limit`` of its rows are dead letters, refused by their contract or
    dated after they landed, or of which whole files are dead letters. What a source leaves out, groups or erased is no
    loss.
    """
    found = []
    dead, refused, failed = facts["dead"], facts.get("refused", 0), facts.get("failed", 0)
    own = facts["read"] - facts["left_out"] - facts["erased"]  # what is grouped lands as fewer rows, lists as more
    rows = max(facts["landed"] + dead, own)
    if failed:
        found.append(f"{scope}: {failed:,} of {facts['inputs']:,} files could not be read or mapped at all")
    ahead = facts.get("ahead", 0)
    if rows and (lost := dead + refused + ahead) > limit * rows:
        share = 100 * lost / rows
        found.append(
            f"{scope}: {lost:,} of {rows:,} rows ({share:.1f} %) were lost, more than `loss: {limit:g}`: "
            f"{dead:,} dead letters, {refused:,} refused by their contract"
            + (f", {ahead:,} dated after they landed" if ahead else "")
        )
    for sentence in found:
        telemetry.log.error(f"lost   {sentence}")
    return found


def lacking_columns(inputs: Iterable[InputOutcome], of: int) -> list[str]:
    """Sentences about columns that the mapping names and some of a batch's ``of`` files came without."""
    found: dict[str, list[tuple[str, int]]] = {}
    for piece in inputs:
        for fact, rows in piece.facts.items():
            if fact.startswith("lacking|"):
                found.setdefault(fact.partition("|")[2], []).append((piece.name, rows))
    return [
        f"{len(files):,} of {of:,} files, {files[0][0]} the first, came without the column {column!r}, which the "
        f"mapping names: what is made of it is null in their {sum(rows for _, rows in files):,} records"
        for column, files in found.items()
    ]


def lacking(lake: Lake, names: Iterable[str]) -> list[str]:
    """What `lacking_columns` says of every batch of some sources that stands, oldest first."""
    return [
        f"{name} #{seq}: {text}"
        for name in names
        for seq, outcome in sorted(ledger.outcomes(lake, name).items())
        if not outcome.dropped
        for text in lacking_columns(outcome.inputs, len(outcome.inputs))
    ]


def tell_columns(name: str, batch: Batch, landed: list[Landed], before: tuple[str, ...]) -> None:
    """Say which columns some of a batch's files lack that others have, or all of them that the last batch had.

    A file that alone lacks a column of the last batch was told of when it was read.
    """
    for text in lacking_columns([part.outcome for part in landed], len(batch.inputs)):
        telemetry.log.warning(f"{name} batch {batch.seq}: {text}")
    read = [part.outcome for part in landed if not part.outcome.failure]
    files = [p for p in read if expected_columns(p.facts) and not p.facts.get("only_deletions")]
    if all(piece.facts.get("headed") for piece in files):
        for column in dict.fromkeys(c for piece in files for c in expected_columns(piece.facts)):
            lacking = [p.name for p in files if not p.facts.get(f"columns|{column}")]
            if any(p.facts.get(f"lacking|{column}") is not None for p in files):
                continue  # said above
            if lacking and column not in before and 2 * len(lacking) <= len(files):
                telemetry.log.warning(
                    f"{name} batch {batch.seq}: {len(lacking):,} of {len(files):,} files lack the column {column!r} "
                    f"that the others have, {lacking[0]} the first: its values are null"
                )
    elif files:
        every = {column for piece in files for column in expected_columns(piece.facts)}
        for column in (c for c in before if c not in every):
            telemetry.log.warning(
                f"{name} batch {batch.seq}: no record has {column!r}, which the last delivery had: its values are null"
            )
