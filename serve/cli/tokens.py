"""Signed tokens (JWT) of callers: whose they are, and which are good no more."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from customer360.serve.cli.options import ConfigOption, configured

app = typer.Typer()
group = typer.Typer(no_args_is_help=True, help="Signed tokens (JWT) of the issuers that the settings name.")
app.add_typer(group, name="token")
IssuerArgument = Annotated[str, typer.Argument(metavar="ISSUER", help="Its name under `serve.issuers`")]
JtiOption = Annotated[str, typer.Option("--jti", help="One token, by this claim")]
SubjectOption = Annotated[str, typer.Option("--subject", help="Every token of a subject (`sub`), also later ones")]


@group.command("check")
def check_token(config: ConfigOption = None) -> None:
    """Say who a token belongs to and what it may, as the server does. The token comes by standard input, since command
    lines are seen by others."""
    from customer360.platform.tokens import Callers
    from customer360.serve.compose import state_folder
    from customer360.serve.gate import SCOPES

    settings = configured(config, whole=["state"])
    callers = Callers(state_folder(settings), settings.serve.issuers, SCOPES)
    callers.fetch()
    found = callers.verify(sys.stdin.read().strip())
    typer.echo(f"{found.name}: role {found.role}, {', '.join(found.scopes) or 'whatever the role may'}")


@group.command("revoke")
def revoke_token(
    issuer: IssuerArgument, jti: JtiOption = "", subject: SubjectOption = "", config: ConfigOption = None
) -> None:
    """Refuse a token, or all of a subject, from the next request on."""
    from customer360.platform import revocations

    kind, value = _named(jti, subject)
    with _changed(config, issuer) as state:
        revocations.revoke(state, issuer, kind, value)
    typer.echo(f"revoked {kind} {value!r} of {issuer}")


@group.command("allow")
def allow_token(
    issuer: IssuerArgument, jti: JtiOption = "", subject: SubjectOption = "", config: ConfigOption = None
) -> None:
    """Take a revocation back."""
    from customer360.platform import revocations

    kind, value = _named(jti, subject)
    with _changed(config, None) as state:
        revocations.allow(state, issuer, kind, value)
    typer.echo(f"{kind} {value!r} of {issuer} is revoked no more")


@group.command("list")
def list_revoked(config: ConfigOption = None) -> None:
    """Show what was revoked, oldest first."""
    from customer360.platform import revocations
    from customer360.serve.cli import report
    from customer360.serve.compose import state_folder

    grid = report.grid("Revoked tokens", "issuer", "claim", "value", "since")
    for each in revocations.revoked(state_folder(configured(config, whole=["state"]))):
        grid.add_row(each.issuer, each.kind, each.value, each.at)
    report.console.print(grid)


def _named(jti: str, subject: str) -> tuple[str, str]:
    if bool(jti) == bool(subject):
        raise typer.BadParameter("name a token by --jti, or whose tokens they are by --subject")
    return ("jti", jti) if jti else ("sub", subject)


@contextmanager
def _changed(config: Path | None, issuer: str | None) -> Iterator[Path]:
    """The state folder; machines that follow it are told."""
    from customer360.platform.errors import ConfigError
    from customer360.serve.compose import state_folder
    from customer360.serve.shared import refuse_where_it_follows, share

    settings = configured(config, whole=["state"])
    refuse_where_it_follows(settings)
    if issuer is not None and issuer not in settings.serve.issuers:
        known = ", ".join(settings.serve.issuers) or "none"
        raise ConfigError(f"serve.issuers names no {issuer!r}; there are {known}")
    yield state_folder(settings)
    share(settings, at_once=True)
