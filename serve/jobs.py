"""What commands and submitted jobs do: run pipelines, train, publish, erase. No printing beyond telemetry."""

from __future__ import annotations

from datetime import date

from customer360.models import lifecycle
from customer360.models.base import MODELS
from customer360.models.identity.erasure import forget, identifiers_of
from customer360.pipelines import last_complete_day_end
from customer360.platform import privacy
from customer360.platform.errors import ModelError
from customer360.platform.ledger import Run
from customer360.platform.run import lake_of, run
from customer360.platform.settings import Settings
from customer360.serve.compose import identity_rules, rules_of, state_folder
from customer360.serve.publish import delete_person, publish_gold


def run_pipeline(
    settings: Settings,
    *,
    start: str | None = None,
    end: str | None = None,
    as_of: date | None = None,
    refresh: tuple[str, ...] = (),
    command: str = "run",
) -> Run:
    """Run a part of the graph; see ``platform.run.run``."""
    return run(
        settings,
        rules=rules_of(settings),
        as_of=as_of,
        default_as_of=last_complete_day_end,
        start=start,
        end=end,
        refresh=refresh,
        command=command,
    )


def train(settings: Settings, name: str, as_of: date | None) -> None:
    """Train one model, or all, as of a date; the result is registered and judged.

    Raises:
        ModelError: the model is unknown; the known ones are named.
    """
    names = sorted(MODELS) if name == "all" else [name]
    if unknown := [n for n in names if n not in MODELS]:
        raise ModelError(f"no model {unknown[0]!r}; there are {', '.join(sorted(MODELS))}")
    lake = lake_of(settings)
    cut = as_of or last_complete_day_end(lake)
    for each in names:
        lifecycle.train(settings, lake, MODELS[each], cut)


def publish(settings: Settings) -> None:
    """Make the newest gold tables what the HTTP application answers from."""
    publish_gold(lake_of(settings), state_folder(settings))


def erase(settings: Settings, person: str) -> dict[str, int]:
    """Erase one person from raw data, rebuild what was made of it, publish without it. Returns rows touched by table."""
    lake = lake_of(settings)
    who = identifiers_of(lake, person)
    with lake.run_lock(f"erase {person}"):
        touched = privacy.erase_rows(lake, who) | forget(lake, who, identity_rules(settings))
        delete_person(state_folder(settings), person)  # answers stop now, before anything is rebuilt
    run_pipeline(settings, start="silver", command="erase")
    publish_gold(lake, state_folder(settings), keep=1)  # older publications still hold the person
    return touched
