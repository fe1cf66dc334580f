"""Pipelines by name, their stages, and what each needs: `customer360 run master|bronze|silver|gold|warehouse|MODEL`.

A stage is an activity that modules of silver state as their own, or a set of gold tables, and is run with all that it
needs. Inside a run every table waits for its own inputs only; what follows a run (warehouse, publication) waits for
the tables that it reads.
"""

from __future__ import annotations

import difflib
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import get_args

from customer360.models.base import MODELS
from customer360.pipelines.vocabulary import Activity
from customer360.platform import graph, ledger, tables, telemetry
from customer360.platform.errors import ConfigError, Customer360Error, NothingLanded, RunError
from customer360.platform.ledger import Run
from customer360.platform.run import FAILED, RunRequest, lake_of
from customer360.platform.settings import Settings
from customer360.serve import alerting, jobs, modelling
from customer360.serve.compose import rules_kept
from customer360.serve.publication.inputs import PUBLISHED

REGISTERED = "gold.recommendation_models"
# The activities of the gold pipeline, by the tables that they are for.
GOLD_STAGES = {
    "customer_360": ("gold.customer_360",),
    "personalization_features": ("gold.personalization_features",),
    "recommendation_models": ("gold.recommendations", REGISTERED),
}
LAYERS = ("bronze", "silver", "gold")
PIPELINES = ("master", *LAYERS, "warehouse")
EVERYTHING = RunRequest()


@dataclass(frozen=True)
class Step:
    """What follows a run: it starts only if all that it reads was built."""

    name: str
    reads: tuple[str, ...]  # tables or layers
    do: Callable[[Settings], object]


# Late binding, so that what a job does may be replaced where it is defined.
WAREHOUSE = Step("warehouse", ("gold", "silver"), lambda settings: jobs.load_warehouse(settings))
PUBLICATION = Step("publication", PUBLISHED, lambda settings: jobs.publish(settings))


def stages(pipeline: str) -> dict[str, tuple[str, ...]]:
    """Stage to the names of the nodes that it is for; empty for pipelines without stages.

    Raises:
        ConfigError: a module that makes silver tables states no activity.
    """
    if pipeline == "silver":
        return _of_activities()
    if pipeline == "gold":
        return {stage: _of_tables(names) for stage, names in GOLD_STAGES.items()}
    return {}


def check(pipeline: str | None, stage: str | None) -> None:
    """Refuse names that mean nothing, before anything is started.

    Raises:
        ConfigError: the pipeline or stage is unknown; names the nearest.
    """
    if pipeline is None:
        if stage is not None:
            raise ConfigError(f"--stage {stage} belongs to a pipeline: `run silver --stage {stage}`")
        return
    built = {
        name for node in graph.NODES.values() for name in (node.name, *(tables.spec(o).name for o in node.outputs))
    }
    bronze = {name for name in tables.TABLES if name.startswith("bronze.")}
    _known("pipeline, model or table", pipeline, [*PIPELINES, *sorted(MODELS), *sorted(built | bronze)])
    if stage is not None:
        _known(f"stage of {pipeline}", stage, list(stages(pipeline)))


def _known(kind: str, name: str, known: list[str]) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3)
        hint = f"did you mean {', '.join(near)}?" if near else f"there are {', '.join(known[:12]) or 'none'}"
        raise ConfigError(f"no {kind} is called {name!r}; {hint}")


def run(
    settings: Settings,
    pipeline: str | None = None,
    stage: str | None = None,
    request: RunRequest = EVERYTHING,
    *,
    publish: bool = True,
) -> Run | None:
    """Run a pipeline, one of its stages, a model or everything; None where no table was asked for.

    ``request`` narrows it further: its ``end`` goes before the pipeline's, its ``only`` is what the stage or model
    needs.

    Raises:
        ConfigError: an unknown name.
        NothingLanded: no source gave a row, so that nothing was built and nothing follows.
        RunError: something failed; what does not depend on it was done. Serving stays on the last good generation.
    """
    check(pipeline, stage)
    if pipeline == "warehouse":
        WAREHOUSE.do(settings)
        return None
    try:
        with rules_kept(settings):  # whatever asks for them reads the same, once
            record = _run(settings, pipeline, stage, request, publish=publish)
    except Exception:  # whatever ended the run is told by alerts, too, and goes on
        alerting.check_beside(settings)
        raise
    alerting.check_beside(settings)
    return record


def _run(settings: Settings, pipeline: str | None, stage: str | None, request: RunRequest, *, publish: bool) -> Run:
    """`run` of what makes tables."""
    follow = [WAREHOUSE] if pipeline == "master" else []
    only = frozenset(needed(stages(pipeline)[stage])) if pipeline and stage else request.only
    if pipeline in MODELS:
        modelling.train(settings, pipeline, request.as_of)
        output = MODELS[pipeline].output
        scores = set() if output is None else graph.selection(f"{output}/{pipeline}", None)
        only = frozenset(scores | {REGISTERED})
        pipeline = None
    if publish and request.end is None and stage is None and pipeline in (None, "master"):
        follow.append(PUBLICATION)
    upto = request.end or (pipeline if pipeline != "master" and stage is None else None)
    failures: dict[str, str] = {}
    try:
        asked = replace(request, end=upto, only=only, published=PUBLISHED)
        record = jobs.run_pipeline(settings, asked)
        run = record.id
    except NothingLanded:
        raise
    except RunError as fault:
        failures, run = dict(fault.failures), fault.run
    after: dict[str, str] = {}
    for step in follow:
        after |= _take(step, settings, failures | after)
    if after and run:
        ledger.close_run(lake_of(settings), run, FAILED, f"{', '.join(after)} did not follow")
    if failures | after:
        raise RunError(failures | after, run)
    return record


def _take(step: Step, settings: Settings, failures: dict[str, str]) -> dict[str, str]:
    """Do a step unless something that it reads failed. Returns its own failure, if any."""
    missing = sorted(needed(step.reads) & failures.keys()) if failures else []
    if missing:
        reason = f"needs {', '.join(missing)}, which failed"
        telemetry.log.error(f"blocked {step.name}: {reason}")
        return {step.name: reason}
    try:
        step.do(settings)
    except Customer360Error as fault:
        telemetry.log.error(f"failed {step.name}: {fault}")
        return {step.name: str(fault)}
    return {}


def needed(names: Iterable[str]) -> set[str]:
    """Nodes that make the named nodes, tables or layers, with all that they need."""
    return {node for name in names for node in graph.selection(None, name)}


def _of_activities() -> dict[str, tuple[str, ...]]:
    """Activity to the silver nodes whose modules state it."""
    made = {name: activity(node) for name, node in sorted(graph.NODES.items()) if name.startswith("silver.")}
    return {each: tuple(n for n, stated in made.items() if stated == each) for each in get_args(Activity)}


def activity(node: graph.Node) -> str:
    """The ACTIVITY that the node's module, or a package that it lies in, states.

    Raises:
        ConfigError: it states none, or one that the silver pipeline does not have.
    """
    place = node.function.__module__
    while place and not (stated := getattr(sys.modules.get(place), "ACTIVITY", None)):
        place = place.rpartition(".")[0]
    if not place or stated not in get_args(Activity):
        raise ConfigError(
            f"{node.function.__module__} makes {node.name} and belongs to no stage: "
            f"give it a line `ACTIVITY: Activity = ...`, one of {', '.join(get_args(Activity))}"
        )
    return str(stated)


def _of_tables(names: tuple[str, ...]) -> tuple[str, ...]:
    wanted = set(names)
    return tuple(sorted(n.name for n in graph.NODES.values() if wanted & {tables.spec(o).name for o in n.outputs}))
