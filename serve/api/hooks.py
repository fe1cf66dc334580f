"""Where senders of webhooks send: a message is believed by its signature, and durable before it is acknowledged."""

import threading
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path, Request, Response
from starlette.concurrency import run_in_threadpool

from customer360.platform import telemetry
from customer360.platform.connections.webhook import Webhook
from customer360.platform.errors import AccessDenied, ConfigError
from customer360.platform.settings import Settings
from customer360.platform.sources.base import configured
from customer360.platform.sources.cards import cleared_bytes
from customer360.platform.sources.protocols.hooks.journal import Journal
from customer360.platform.sources.protocols.hooks.signatures import verified
from customer360.platform.sources.webhooks import Webhooks, message

PREFIX = "/hooks/"
router = APIRouter(tags=["hooks"])
SourceName = Annotated[str, Path(max_length=100, description="The source of kind webhooks that the settings name")]


def limits(settings: Settings) -> dict[str, int]:
    """Kilobytes that a body may have, by path, of the senders that name their own limit."""
    found = {}
    for name, source in settings.sources.items():
        sender = settings.connections.get(source.connection) if isinstance(source, Webhooks) else None
        if isinstance(sender, Webhook) and sender.max_body_kilobytes:
            found[f"{PREFIX}{name}"] = sender.max_body_kilobytes
    return found


class Hooks:
    """The journals of the configured sources of webhooks, in this process."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        found = settings.sources.items()
        self._names = {name for name, source in found if isinstance(source, Webhooks) and source.connects is not None}
        self._found: dict[str, tuple[Webhooks, Journal]] = {}

    def source(self, name: str) -> tuple[Webhooks, Journal] | None:
        """A source with its journal; None where there is none of this name."""
        with self._lock:
            if name not in self._found and name in self._names:
                source = configured(self._settings, name)
                assert isinstance(source, Webhooks)
                self._found[name] = source, Journal(source.folder)
            return self._found.get(name)


@router.post(PREFIX + "{source}", status_code=202, response_class=Response)
async def received(request: Request, source: SourceName) -> Response:
    """Take a message of a sender. It needs no key: its signature says who sent it. 202 when it is durable, and also
    where the same message came before."""
    hooks: Hooks = request.app.state.hooks
    found = hooks.source(source)
    body = await request.body()
    if found is None:
        raise HTTPException(401, "no signature of the sender")  # which sources there are is told to nobody
    kind, journal = found
    sender = kind.connected
    assert isinstance(sender, Webhook)
    now = datetime.now(UTC)
    headers: dict[str, Any] = {name.lower(): value for name, value in request.headers.items()}
    try:
        signed = verified(sender, headers, body, now)
        kept = await run_in_threadpool(lambda: cleared_bytes(kind, kind.kept(body)))
        content = message(signed.key, signed.topic, now.isoformat(), kept, signed.id)
        await run_in_threadpool(journal.append, signed.key, content)
    except AccessDenied as fault:
        raise HTTPException(401, str(fault)) from None
    except ConfigError as fault:
        telemetry.log.error(f"webhooks of {source}: {fault}")
        raise HTTPException(503, "messages cannot be taken now", {"Retry-After": "60"}) from None
    except OSError as fault:
        telemetry.log.error(f"webhooks of {source} cannot be written down: {fault.strerror}")
        raise HTTPException(503, "messages cannot be taken now", {"Retry-After": "30"}) from None
    return Response(status_code=202)
