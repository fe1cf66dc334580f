"""Who is one person: a steward's decisions, the registry's history and its proof."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from customer360.platform.audit import user
from customer360.serve.cli.options import ConfigOption, configured

if TYPE_CHECKING:
    from customer360.serve.stewardship import Operation

app = typer.Typer()
identity_app = typer.Typer(no_args_is_help=True, help="Which records are one person: decide, undo, explain, verify.")
app.add_typer(identity_app, name="identity")

ReasonOption = Annotated[str, typer.Option(help="Why; kept with the decision")]
ActorOption = Annotated[str | None, typer.Option(help="Who decides; default: the user of this machine")]
RunOption = Annotated[bool, typer.Option("--run/--no-run", help="Resolve again now, so that profiles follow")]
RecordsOption = Annotated[list[str], typer.Option("--records", help="SYSTEM/id; give it once per record")]


def _decide(
    operation: Operation, config: Path | None, actor: str | None, reason: str, run: bool, *arguments: Any
) -> None:
    """Carry out a steward's operation, print its events, and resolve again if asked."""
    from customer360.models.identity import registry
    from customer360.models.identity.registry import decisions
    from customer360.platform.run import RunRequest, lake_of
    from customer360.serve import jobs, stewardship
    from customer360.serve.compose import identity_rules

    settings = configured(config)
    events = stewardship.decide(settings, operation, *arguments, actor=actor or user(), reason=reason)
    lake = lake_of(settings)
    stored = registry.load(lake, identity_rules(settings).ids.seed)
    number, replaced = decisions.last(lake)
    took = f", takes the place of decision {', '.join(map(str, replaced))}" if replaced else ""
    typer.echo(f"decision {number}{took}" + ("; noted, nobody changes" if events.is_empty() else ""))
    for event in events.to_dicts():
        typer.echo(
            f"event {event['event']}: {event['kind']} {_name(stored, event['from_person'])} -> "
            f"{_name(stored, event['person'])}, {len(event['records'])} record(s), {event['cause']}"
        )
    if run:
        only_identity = RunRequest(start="silver.identities", end="silver.identities", command=f"identity {operation}")
        jobs.run_pipeline(settings, only_identity)


def _name(stored: Any, number: int | None) -> str:
    return stored.person_id(number) if number is not None else "-"


@identity_app.command()
def merge(
    one: str, other: str, reason: ReasonOption = "", actor: ActorOption = None, run: RunOption = True,
    config: ConfigOption = None,
) -> None:  # fmt: skip
    """Make two persons one, now and in every later run. The id that goes leads to the survivor for ever."""
    _decide("merge", config, actor, reason, run, one, other)


@identity_app.command()
def split(
    person: str, records: RecordsOption, reason: ReasonOption = "", actor: ActorOption = None, run: RunOption = True,
    config: ConfigOption = None,
) -> None:  # fmt: skip
    """Part records of a person from its others; the larger part keeps the id."""
    _decide("split", config, actor, reason, run, person, records)


@identity_app.command()
def move(
    to: str, records: RecordsOption, reason: ReasonOption = "", actor: ActorOption = None, run: RunOption = True,
    config: ConfigOption = None,
) -> None:  # fmt: skip
    """Give records of one person to another."""
    _decide("move", config, actor, reason, run, records, to)


@identity_app.command()
def confirm(
    one: str, other: str, reason: ReasonOption = "", actor: ActorOption = None, run: RunOption = True,
    config: ConfigOption = None,
) -> None:  # fmt: skip
    """Two records (SYSTEM/id) are one person."""
    _decide("confirm", config, actor, reason, run, one, other)


@identity_app.command()
def reject(
    one: str, other: str, reason: ReasonOption = "", actor: ActorOption = None, run: RunOption = True,
    config: ConfigOption = None,
) -> None:  # fmt: skip
    """Two records (SYSTEM/id) are two people."""
    _decide("reject", config, actor, reason, run, one, other)


@identity_app.command("set")
def set_value(
    person: str, attribute: str,
    value: Annotated[str | None, typer.Argument(help="Absent: give the attribute back to the records")] = None,
    reason: ReasonOption = "", actor: ActorOption = None, run: RunOption = True, config: ConfigOption = None,
) -> None:  # fmt: skip
    """Set a golden value of a person against its records."""
    _decide("override", config, actor, reason, run, person, attribute, value)


@identity_app.command()
def undo(
    event: Annotated[int | None, typer.Argument(help="Number of an event (`identity history`)")] = None,
    decision: Annotated[int | None, typer.Option(help="Number of a decision (`identity decisions`) instead")] = None,
    reason: ReasonOption = "", actor: ActorOption = None, run: RunOption = True, config: ConfigOption = None,
) -> None:  # fmt: skip
    """Take an event or a decision back: its records return to where they were, and stay there."""
    if (event is None) == (decision is None):
        raise typer.BadParameter("name an event, or a decision with --decision")
    if decision is not None:
        _decide("withdraw", config, actor, reason, run, decision)
    else:
        _decide("undo", config, actor, reason, run, event)


@identity_app.command("decisions")
def list_decisions(
    identifier: Annotated[str | None, typer.Argument(help="Only those about this person or record (SYSTEM/id)")] = None,
    config: ConfigOption = None,
) -> None:
    """What stewards decided, oldest first, and what of it was taken back."""
    from customer360.serve import stewardship

    for row in stewardship.decisions_about(configured(config), identifier):
        sides = " | ".join(", ".join(side) for side in (row["left"], row["right"]) if side)
        back = f"  (taken back by decision {row['taken_back_by']})" if row["taken_back_by"] is not None else ""
        why = f": {row['reason']}" if row["reason"] else ""
        typer.echo(
            f"{row['decision']:>5}  {row['decided_at']:%Y-%m-%d %H:%M:%S}  {row['command'] or row['kind']:<8} "
            f"{sides}  [{row['actor']}{why}]{back}"
        )


@identity_app.command()
def review(limit: Annotated[int, typer.Option(min=1, help="Pairs at most")] = 50, config: ConfigOption = None) -> None:
    """Pairs that wait for a steward: conflicts with decisions first, then those that neither score nor rules settle."""
    from customer360.serve.stewardship import Desk

    for row in Desk(configured(config)).queue(limit):
        weight = f"{row['match_weight']:.1f} bits" if row["match_weight"] is not None else "no score"
        conflict = f"  against decision {row['against']}" if row["against"] is not None else ""
        typer.echo(
            f"{row['record_id_l']} ({row['person_id_l']})  {row['record_id_r']} ({row['person_id_r']})  {weight}, "
            f"{row['reason'] or row['decision']}{conflict}"
        )


@identity_app.command()
def history(
    identifier: Annotated[str, typer.Argument(help="A person's id, current or former, or a record (SYSTEM/id)")],
    config: ConfigOption = None,
) -> None:
    """What happened to a person or a record, oldest first."""
    from customer360.models.identity import registry
    from customer360.platform.run import lake_of
    from customer360.serve.compose import identity_rules

    settings = configured(config)
    stored = registry.load(lake_of(settings), identity_rules(settings).ids.seed)
    for row in registry.history(stored, identifier).to_dicts():
        records = ", ".join(row["record_ids"] or ["(id leads on)" if row["is_lead"] else "(erased)"])
        typer.echo(
            f"{row['event']:>7}  {row['committed_at']:%Y-%m-%d %H:%M:%S}  {row['kind']:<8} "
            f"{row['from_person_id'] or '-'} -> {row['person_id'] or '-'}  {records}  [{row['cause']}, {row['actor']}]"
        )


@identity_app.command()
def verify(
    anchor: Annotated[Path | None, typer.Option(help="A file of --write-anchor: find also what was cut off")] = None,
    write_anchor: Annotated[
        Path | None, typer.Option("--write-anchor", help="Add the newest root to this file, kept outside the lake")
    ] = None,
    config: ConfigOption = None,
) -> None:  # fmt: skip
    """Check every row of the registry against its seal, and that members and aliases are what the events give."""
    from customer360.models.identity import registry
    from customer360.platform.run import lake_of
    from customer360.serve.compose import identity_rules

    settings = configured(config)
    lake, seed = lake_of(settings), identity_rules(settings).ids.seed
    checked = registry.verify(lake, seed, anchor)
    counts = {name: getattr(checked, name) for name in ("commits", "events", "records", "aliases", "decisions")}
    typer.echo(", ".join(f"{count:,} {what}" for what, count in counts.items()) + ": the history holds")
    if checked.commits and (checked.sealed_from or 0) != 1:
        until = "; the next change" if checked.sealed_from is None else f"; commit {checked.sealed_from}"
        typer.echo(f"an earlier version sealed events alone{until} seals what stood then: names, ids and decisions")
    if checked.unsealed and checked.sealed_from:
        typer.echo(f"{checked.unsealed} decision(s) came after the last commit; the next one seals them")
    if anchor is not None:
        typer.echo(f"{anchor}: {checked.anchors} anchor(s) met")
    if write_anchor is not None:
        with lake.run_lock("identity verify"):
            line = registry.write_anchor(lake, seed, write_anchor)
        typer.echo(
            f"{write_anchor}: commit {line['commit']}, root {line['root']}; keep it where the lake's keepers cannot"
        )


@identity_app.command()
def show(
    person: Annotated[str, typer.Argument(help="A person's id, current or former")],
    as_of: Annotated[
        datetime | None,
        typer.Option("--as-of", formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S"], help="End of this day, or instant, in UTC"),
    ] = None,
    config: ConfigOption = None,
) -> None:  # fmt: skip
    """The golden record with its records and where each value came from, as known now or then."""
    from customer360.models.identity.registry import bitemporal
    from customer360.platform.run import lake_of
    from customer360.serve.compose import identity_rules

    settings = configured(config)
    at = as_of.replace(tzinfo=UTC) if as_of else datetime.now(UTC)
    if as_of and as_of.time() == datetime.min.time():
        at += timedelta(days=1)
    known = bitemporal.golden_as_of(lake_of(settings), identity_rules(settings), person, at)
    typer.echo(json.dumps(known, indent=2, default=str, ensure_ascii=False))


@identity_app.command()
def drift(
    fail_above: Annotated[float, typer.Option(help="Exit with 1 above this drift")] = 1.0, config: ConfigOption = None
) -> None:
    """Resolve everything anew and compare: 1 - pair F1 between what stands and a rebuild. Changes nothing."""
    from customer360.models.identity import rebuild
    from customer360.platform.run import lake_of
    from customer360.serve.compose import identity_rules

    settings = configured(config)
    found = rebuild.drift(lake_of(settings), identity_rules(settings))
    typer.echo(", ".join(f"{name} {value:.6g}" for name, value in found.items()))
    raise typer.Exit(1 if found["drift"] > fail_above else 0)


@identity_app.command()
def retrain(config: ConfigOption = None) -> None:
    """Measure model, frequencies, hubs and key caps anew and score every pair again; ids stay."""
    from customer360.models.identity.batch import pins
    from customer360.platform.run import RunRequest, lake_of
    from customer360.serve import jobs

    settings = configured(config)
    lake = lake_of(settings)
    with lake.run_lock("identity retrain"):
        pins.discard(lake)
    made = "silver.identities"
    jobs.run_pipeline(settings, RunRequest(start=made, end=made, refresh=(made,), command="identity retrain"))


@identity_app.command()
def track(config: ConfigOption = None) -> None:
    """Log the model that resolution uses to MLflow: m, u and weight of each level, blocking caps, and their picture."""
    from customer360.models.identity import tracking
    from customer360.models.identity.batch import pins
    from customer360.models.lifecycle.job import registry_of
    from customer360.platform.errors import ModelError
    from customer360.platform.run import lake_of

    settings = configured(config)
    if (pinned := pins.read(lake_of(settings))) is None:
        raise ModelError("no identity model yet: `customer360 run silver --stage identity` makes one")
    typer.echo(f"run {tracking.log(registry_of(settings), pinned)} of the experiment {tracking.EXPERIMENT}")
