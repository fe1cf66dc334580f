"""The online store's publication of the lake: what it is made of, and who is in it no more."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import TypedDict

from customer360.platform import graph, online, telemetry
from customer360.platform.lake import Lake
from customer360.platform.online import Generation
from customer360.serve.publication import rankers, vectors
from customer360.serve.publication.changes import changes, has_erased, made_of, since
from customer360.serve.publication.documents import OF_A_PERSON, documents
from customer360.serve.publication.inputs import PROFILES, Inputs
from customer360.serve.publication.refusals import forget_refusals

CODE = "code"  # beside the versions of tables: what the documents were made by


def publish_gold(lake: Lake, state: Path, keep: int = online.KEEP) -> Generation:
    """Publish the newest gold tables as a generation of the online store, without whoever is being erased.

    Raises:
        TableMissing: gold.customer_360 was not built yet.
    """
    hidden, stood = _hidden(state), online.current(state)
    told = None if stood is None else online.made_of(state, stood)
    if has_erased(told, lake):
        keep = 1  # older ones hold who was erased: another installation's erasure left them here
    inputs = Inputs.pin(lake)
    made = Made(as_of=inputs.as_of, sources=_sources(inputs, state), keep=keep, made_of=made_of(inputs))
    generation = None
    is_base = keep > 1 and hidden is not None and all(hidden.until.values())  # else who is erased must go from the disk
    if stood is not None and is_base and stood.sources.get(CODE) == made["sources"][CODE]:
        stands = since(told, inputs)
        generation = None if stands is None else online.amend(state, stood, changes(stands), **made)
    if generation is None:
        generation = online.publish(state, documents(inputs), **made)
    online.end_hiding(state, hidden or online.Hiding(), generation)
    return generation


class Made(TypedDict):
    """What is said of a generation, however it is made."""

    as_of: date
    sources: dict[str, int]
    keep: int
    made_of: str


def _hidden(state: Path) -> online.Hiding | None:
    """What is hidden; where the file cannot be read, nothing that could be shown again."""
    try:
        return online.hidden(state)
    except online.Unsound as fault:
        telemetry.log.warning(f"{fault}; an erasure that is under way writes it anew")
        return None


def has_nobody(lake: Lake) -> bool:
    """Whether the profiles were built, and there is nobody to have one: of visitors without a name nothing is published
    by person."""
    return lake.exists(PROFILES) and not lake.files(PROFILES)


def is_published(lake: Lake, state: Path) -> bool:
    """Whether the generation in service was made of the tables as they are, by the code as it is."""
    current, inputs = online.current(state), Inputs.pin(lake)
    return current is not None and dict(current.sources) == _sources(inputs, state)


def _sources(inputs: Inputs, state: Path) -> dict[str, int]:
    beside = {vectors.SOURCE: vectors.current(state), rankers.SOURCE: rankers.current(state)}
    return inputs.versions | {CODE: _code()} | {name: number for name, number in beside.items() if number is not None}


def _code() -> int:
    return int(graph.code_fingerprint(changes, [])[:12], 16)


def hide_person(state: Path, persons: Iterable[str], accounts: Sequence[str]) -> None:
    """Answer for a person, by any of its ids, and for its accounts no more, at once and in every generation; the next
    publication is without."""
    ids = sorted(persons)
    if online.generations(state):
        own = [(kind, each) for each in ids for kind in OF_A_PERSON]
        online.hide(state, [*own, *(("account", account) for account in accounts)])
    forget_refusals(state, [*ids, *accounts])  # last: while anything is answered, what was refused holds
