"""API keys: hand out, show, renew, take back; and what was read by them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer

from customer360.serve.cli.options import ConfigOption, configured

app = typer.Typer()
group = typer.Typer(no_args_is_help=True, help="API keys of the serving application.")
app.add_typer(group, name="key")
audit_group = typer.Typer(no_args_is_help=True, help="Who read personal data over HTTP or by command.")
app.add_typer(audit_group, name="audit")
IdArgument = Annotated[str, typer.Argument(metavar="ID", help="As `key list` shows it: the part after c360_")]


@group.command("issue")
def issue_key(
    name: Annotated[str, typer.Argument(help="Whose it is; living keys have different names")],
    role: Annotated[str, typer.Option(help="metrics, writer, reader, service, steward or admin")] = "reader",
    scope: Annotated[
        list[str] | None,
        typer.Option(help="Bind it to profile, recommendations, scores or identity; default: all that the role may"),
    ] = None,
    days: Annotated[float | None, typer.Option(min=0.001, help="Days until it expires; default: never")] = None,
    per_minute: Annotated[
        int | None, typer.Option(min=1, help="Requests a minute (writer: events), by replica")
    ] = None,
    config: ConfigOption = None,
) -> None:
    """Make an API key; it is shown once and stored only as a digest."""
    from customer360.platform import access
    from customer360.platform.errors import ConfigError
    from customer360.serve.gate import SCOPES

    if unknown := sorted(set(scope or ()) - set(SCOPES)):
        raise ConfigError(f"--scope {', '.join(unknown)}: there are {', '.join(SCOPES)}")
    lives = None if days is None else timedelta(days=days)
    with _changed(config) as state:
        key = access.issue(state, name, role, scopes=tuple(scope or ()), lives=lives, per_minute=per_minute)
        typer.echo(key)


@group.command("list")
def list_keys(config: ConfigOption = None) -> None:
    """Show who holds keys, oldest first; of the key itself nothing is stored."""
    from customer360.platform import access
    from customer360.serve.cli import report

    state, now = _state(config), datetime.now(UTC)
    grid = report.grid("API keys", "name", "role", "id", "created", "last use", "expires", "bound to")
    for key in access.issued(state):
        used = access.last_used(state, key.id)
        ends = datetime.fromisoformat(key.expires_at) if key.expires_at else None
        over = " (expired)" if key.is_expired(now) else " (rotated)" if key.replaced_by else ""
        rate = [f"{key.per_minute} a minute"] if key.per_minute else []
        grid.add_row(key.name, key.role, key.id, _utc(datetime.fromisoformat(key.issued_at)),
                     _utc(used) if used else "never", (_utc(ends) if ends else "never") + over,
                     ", ".join([*key.scopes, *rate]))  # fmt: skip
    report.console.print(grid)


@group.command("rotate")
def rotate_key(
    key_id: IdArgument,
    keep_hours: Annotated[float, typer.Option(min=0, help="The old key stays good for so long")] = 24,
    config: ConfigOption = None,
) -> None:
    """Make a key with the name, role and limits of another, which ends; it is shown once."""
    from customer360.platform import access

    with _changed(config) as state:
        typer.echo(access.rotate(state, key_id, timedelta(hours=keep_hours)))


@group.command("revoke")
def revoke_key(key_id: IdArgument, config: ConfigOption = None) -> None:
    """Remove a key; a running server refuses it from the next request on."""
    from customer360.platform import access

    with _changed(config) as state:
        gone = access.revoke(state, key_id)
    typer.echo(f"revoked {gone.id}, the key of {gone.name} ({gone.role})")


@audit_group.command("list")
def list_readings(
    person: Annotated[str | None, typer.Option(help="Only readings of this person_id")] = None,
    name: Annotated[str | None, typer.Option(help="Only readings by the key of this name")] = None,
    last: Annotated[int, typer.Option(min=1, help="So many of them")] = 50,
    config: ConfigOption = None,
) -> None:
    """Show who read whose personal data, the newest at the end."""
    from customer360.platform import audit
    from customer360.serve.cli import report

    wanted = {k: v for k, v in (("person", person), ("name", name)) if v is not None}
    found = [e for e in audit.entries(_state(config)) if all(e.get(k) == v for k, v in wanted.items())]
    columns = ("n", "at", "name", "role", "key", "asked", "person")
    grid = report.grid(f"Readings of personal data: {min(last, len(found))} of {len(found)}", *columns)
    for entry in found[-last:]:
        grid.add_row(*(str(entry.get(column) or "") for column in columns))
    report.console.print(grid)


@audit_group.command("verify")
def verify_audit(config: ConfigOption = None) -> None:
    """Check that no line was changed, left out or put in; note the digest elsewhere to see later if the end was cut."""
    from customer360.platform import audit

    chain = audit.verify(_state(config))
    typer.echo(f"{chain.lines:,} readings, each follows from the one before; the last has digest {chain.digest}")


def _utc(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _state(config: Path | None) -> Path:
    from customer360.serve.compose import state_folder

    return state_folder(configured(config, whole=["state"]))


@contextmanager
def _changed(config: Path | None) -> Iterator[Path]:
    """The state folder whose keys the block changes; machines that follow it are told."""
    from customer360.serve.compose import state_folder
    from customer360.serve.shared import refuse_where_it_follows, share

    settings = configured(config, whole=["state"])
    refuse_where_it_follows(settings)
    yield state_folder(settings)
    share(settings, at_once=True)
