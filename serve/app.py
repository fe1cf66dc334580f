"""The HTTP application, and how it is run: Ray Serve from a config file, Ray Serve of our own, or plain uvicorn.

`build_app` makes the same ASGI application for all of them and for tests. Ray is imported only inside the functions
that start it. Annotations are evaluated (no `from __future__ import annotations`): Ray Serve and FastAPI read them.
"""

import logging
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime
from functools import cache
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fastapi import APIRouter, FastAPI, Request, Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    REGISTRY,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    generate_latest,
)
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from customer360.platform import access, settings, telemetry
from customer360.platform.backup import marks, tree_at
from customer360.platform.online import NotPublished, OnlineStore
from customer360.platform.run.executor import ray_session
from customer360.platform.settings import Settings
from customer360.platform.tokens import Callers
from customer360.serve import front, haproxy, orphans, plain, ports
from customer360.serve.api import (
    decisions,
    events,
    experiments,
    features,
    hooks,
    identity,
    people,
    placements,
    policy,
    recommendations,
    reference,
    rights,
    scores,
    together,
)
from customer360.serve.api.errors import EVERYWHERE, described, explained
from customer360.serve.api.policy import KnownCaller
from customer360.serve.compose import live_rules, personalizes_unasked
from customer360.serve.console import journeys, pages, steward, trials
from customer360.serve.door import Door
from customer360.serve.following import Follower
from customer360.serve.gate import SCOPES, Gate, place_of
from customer360.serve.operations import Operations
from customer360.serve.problems import HANDLERS
from customer360.serve.publication import freshness
from customer360.serve.publication.indexes import Indexes
from customer360.serve.publication.rankers import RankerStore
from customer360.serve.publication.refusals import Refusals
from customer360.serve.publication.vectors import VectorStore
from customer360.serve.rates import Rates
from customer360.serve.realtime.activity import Activities
from customer360.serve.realtime.collector import collector_of
from customer360.serve.realtime.ranking.choosing import Chooser, Shelves
from customer360.serve.realtime.ranking.journal import Journal
from customer360.serve.scaling import replicas
from customer360.serve.stewardship import Desk
from customer360.serve.straight import Straight

if TYPE_CHECKING:
    from ray import serve

VERSION = "1"
APPLICATION = "customer360"  # its name in Ray Serve
METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
PROXY_SECONDS = "30"  # until it is ready: Ray's 5 are too few where others use the machine, and nobody would be served
FIRST_KEY = "first_key"  # file of the state folder, where no terminal is
REQUESTS = Counter("customer360_requests_total", "Requests, by route and status", ["route", "status"])
SECONDS = Histogram(
    "customer360_request_seconds",
    "Seconds to answer, by route",
    ["route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 2),
)
AGE = Gauge("customer360_generation_age_seconds", "Age of the publication in service")
DESCRIPTION = """Profiles, recommendations and scores of resolved persons, from the newest publication of the lake.

Every call needs an API key, as `Authorization: Bearer KEY` or `X-API-Key: KEY`, or a token of an issuer that the server
knows in its place. Roles: `reader` sees no personal data,
`service` sees it, `steward` also decides who is one person, `admin` also reads `/metrics`, which `metrics` does alone.
A key may be bound to groups of endpoints and to a rate. Errors are `application/problem+json`."""


class Health(BaseModel):
    """Whether answers can be given, and how old they are."""

    status: Literal["ok", "stale", "empty"] = Field(
        description="empty: nothing was published yet, or nothing that can be read"
    )
    is_stale: bool = Field(description="The last run failed or was not published, or the publication is old")
    stale_because: str | None = Field(None, description="Why it is stale")
    generation: str | None = None
    as_of: date | None = None
    published_at: datetime | None = None
    age_seconds: float | None = None


operations = APIRouter(tags=["operations"])


@operations.get("/healthz", responses={503: {"model": Health}})
async def healthz(request: Request, response: Response) -> Health:
    """Open to everybody. 503 until something was published, and while a restore has not ended."""
    return _health(request.app, response)


def _health(app: FastAPI, response: Response) -> Health:
    if marks.stands(app.state.folder):
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
        return Health(status="empty", is_stale=True, stale_because=marks.UNDER_WAY)
    try:
        generation = app.state.store.view().generation
    except NotPublished:
        response.status_code = HTTPStatus.SERVICE_UNAVAILABLE
        because = app.state.store.fault or "nothing was published yet"
        return Health(status="empty", is_stale=True, stale_because=because)
    now = datetime.now(UTC)
    because = policy.stale_because(app, generation)
    return Health(
        status="stale" if because else "ok",
        is_stale=because is not None,
        stale_because=because,
        generation=generation.id,
        as_of=generation.as_of,
        published_at=generation.published_at,
        age_seconds=(now - generation.published_at).total_seconds(),
    )


@operations.get("/metrics", response_class=Response, responses=explained(401, 403))
def metrics(request: Request, principal: KnownCaller) -> Response:  # on a thread: it may wait for the lake
    """Prometheus metrics of this replica, which the label `replica` names. Needs role metrics or admin."""
    access.require(principal, "metrics")
    health = _health(request.app, Response())
    AGE.set(health.age_seconds if health.age_seconds is not None else float("nan"))
    return Response(generate_latest(_Replica(request.app.state.operations)), media_type=CONTENT_TYPE_LATEST)


class _Replica(CollectorRegistry):
    """Every sample of this process under its replica's name, so that a counter never falls because another replica was
    asked; sums over the label are those of all."""

    name = f"{socket.gethostname()}:{os.getpid()}"

    def __init__(self, more: Operations) -> None:
        super().__init__()
        self._more = more

    def collect(self) -> Iterator[Metric]:
        for metric in (*REGISTRY.collect(), *self._more.collect()):
            samples = [s._replace(labels={**s.labels, "replica": self.name}) for s in metric.samples]
            found = Metric(metric.name, metric.documentation, metric.type, metric.unit)
            found.samples = samples
            yield found


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    """The log of the collector is read back beside the first requests; one that needs it waits, and blocks no other."""
    is_over = threading.Event()
    if app.state.collector is not None:
        threading.Thread(target=app.state.collector.hear_on, args=(is_over,), name="replay", daemon=True).start()
    app.state.callers.begin()
    if app.state.follower is not None:
        threading.Thread(target=app.state.follower.go_on, args=(is_over,), name="follower", daemon=True).start()
    yield
    is_over.set()


def build_app(configured: Settings) -> FastAPI:
    """The application over the online store and the keys below ``configured.state``. Opens nothing before a
    request, but for the collector's log, read back where a server starts it."""
    app = FastAPI(
        title=configured.name,
        version=VERSION,
        description=DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # a redirection to or from a slash would name whatever host the caller says
        lifespan=_lifespan,
        # Spans would hold paths, and paths hold account ids; to see that nobody takes them costs each request 5 µs.
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.folder = Path(configured.state)
    app.state.rates, app.state.requests_per_minute = Rates(), configured.serve.requests_per_minute
    app.state.callers = Callers(app.state.folder, configured.serve.issuers, SCOPES)
    app.state.public_url = configured.serve.public_url
    app.state.store = OnlineStore(app.state.folder)
    app.state.follower = Follower(configured) if configured.serve.follows else None
    app.state.watch = freshness.Watch(app.state.folder)
    app.state.refusals = Refusals(app.state.folder)
    app.state.indexes = Indexes(app.state.folder)
    app.state.desk = Desk(configured)
    app.state.hooks = hooks.Hooks(configured)
    app.state.trials = experiments.Trials(configured)
    collector = collector_of(configured)
    app.state.collector = collector
    app.state.activities = collector.activities if collector else Activities()
    app.state.journal = Journal(app.state.folder)
    app.state.chooser = Chooser(
        Shelves(VectorStore(app.state.folder), rankers=RankerStore(app.state.folder)), live_rules(configured)
    )
    app.state.personalizes_unasked = personalizes_unasked(configured)
    app.state.operations = Operations(configured)
    app.include_router(operations, responses=explained(429, 503))
    app.include_router(reference.router)
    app.include_router(hooks.router, responses=explained(400, 401, 408, 413, 429, 503))
    app.include_router(events.router, prefix="/v1", responses=explained(400, 401, 403, 404, 408, 413, 429, 503))
    # An account number may hold a slash and what follows it: the longer paths are looked for first.
    for endpoint in (
        placements, decisions, features, recommendations, together, scores, people, identity, rights, experiments,
    ):  # fmt: skip
        app.include_router(endpoint.router, prefix="/v1", responses=explained(*EVERYWHERE))
    console = (pages, steward, trials, journeys)
    for page in console:
        app.include_router(page.router, prefix=pages.PREFIX, include_in_schema=False)
    pages.environment.globals["menu"] = pages.menu(console)
    for fault, handler in {**HANDLERS, pages.SignInNeeded: pages.sign_in_first}.items():
        app.add_exception_handler(fault, _handler(handler))
    straight = [*placements.router.routes, *features.router.routes, recommendations.of_person]
    app.add_middleware(Straight, routes=straight, prefix="/v1")
    app.add_middleware(
        Gate,
        callers=app.state.callers,
        rates=app.state.rates,
        state=app.state.folder,
        limits=configured.serve,
        bodies=hooks.limits(configured),
    )
    app.add_middleware(Door, collector=collector, state=app.state.folder, public_url=configured.serve.public_url)
    app.add_middleware(Measured)
    app.openapi = lambda: described(app)  # type: ignore[method-assign]
    return app


def _handler(answer: Callable[[Any], Response]) -> Callable[[Request, Exception], Any]:
    async def handle(request: Request, fault: Exception) -> Response:
        response = answer(fault)
        if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR and not isinstance(
            fault, HTTPException | NotPublished
        ):
            telemetry.log.error(f"an answer failed: {place_of(fault)}")
        if response.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            response.headers["Allow"] = ", ".join(_methods(request))
        return response

    return handle


def _methods(request: Request) -> list[str]:
    """What may be asked of a path: several routes, each of a method, may lie at one."""
    path = {name: request.scope[name] for name in ("type", "path", "root_path", "headers")}
    return [
        method for method in METHODS
        if any(route.matches(path | {"method": method})[0] is Match.FULL for route in request.app.routes)
    ]  # fmt: skip


class Measured:
    """Counts and times requests under the route's template: the path itself holds account ids."""

    def __init__(self, app: ASGIApp):
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status, start = 500, time.perf_counter()

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, watched)
        finally:
            requests, seconds = _counters(getattr(scope.get("route"), "path_format", "none"), status)
            requests.inc()
            seconds.observe(time.perf_counter() - start)


@cache
def _counters(route: str, status: int) -> tuple[Counter, Histogram]:
    """To look labels up costs as much as to count."""
    return REQUESTS.labels(route=route, status=str(status)), SECONDS.labels(route=route)


# ---- running --------------------------------------------------------------------------------------------------


class Arguments(BaseModel):
    """`args` of a Ray Serve config file."""

    model_config = ConfigDict(extra="forbid")

    config: str | None = Field(
        default=None, description="Settings file; default: CUSTOMER360_CONFIG, else configs/local.yaml"
    )


def application(args: Arguments) -> "serve.Application":
    """Ray Serve's builder: `import_path: customer360.serve.app:application`."""
    return _deployment(settings.load(args.config))


class Routeless:
    """An application of whose routes Ray is told nothing: it would look through them for the name of each request, to
    count by it, as `Measured` does for less."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


def _placed(configured: Settings) -> Settings:
    """The settings without relative places: replicas may run in another directory than the one that they refer to."""

    def absolute(place: str) -> str:
        return place if "://" in place else str(Path(place).absolute())

    def tracked(uri: str) -> str:
        """Behind three slashes stands a file."""
        found = re.fullmatch(r"(sqlite(?:\+\w+)?:///)((?!:memory:).+)", uri)
        return found[1] + absolute(found[2]) if found else uri

    return configured.model_copy(
        update={
            "models": configured.models.model_copy(update={"tracking_uri": tracked(configured.models.tracking_uri)}),
            "state": absolute(configured.state),
            "landing": absolute(configured.landing),
            "serve": configured.serve.model_copy(
                update={
                    "shared": configured.serve.shared and absolute(configured.serve.shared),
                    "issuers": {
                        name: issuer.model_copy(update={"keys": issuer.keys and absolute(issuer.keys)})
                        for name, issuer in configured.serve.issuers.items()
                    },
                }
            ),
            "lake": configured.lake.model_copy(update={"root": absolute(configured.lake.root)}),
            "rules": {kind: absolute(str(settings.find(file))) for kind, file in configured.rules.items()},
        }
    )


def _deployment(configured: Settings) -> "serve.Application":
    from ray import serve

    marks.refuse([tree_at(configured.state)])
    placed = _placed(configured)
    limits = placed.serve

    def replica() -> ASGIApp:
        telemetry.configure()
        return Routeless(build_app(placed))

    deployment = serve.deployment(
        serve.ingress(replica)(),
        name="api",
        **replicas(limits),
        max_ongoing_requests=limits.max_ongoing_requests,
        max_queued_requests=limits.max_queued_requests,
        backpressure_config={"status_code": 429, "retry_after_s": 1},
        ray_actor_options={"num_cpus": 0.5},
        logging_config={"enable_access_log": False},  # its lines hold paths, and paths hold account ids
    )
    return deployment.bind()


def start(configured: Settings, *, plain: bool = False) -> None:
    """Serve until SIGINT or SIGTERM, on Ray Serve or, ``plain``, in this process. Where there is no admin key, one is
    made and told once.

    Raises:
        ConfigError: the port is taken, or the keys of an issuer cannot be read.
        BackupError: a restore has not ended.
    """
    marks.refuse([tree_at(configured.state)])
    Callers(Path(configured.state), configured.serve.issuers, SCOPES).check()
    orphans.watch_parent()
    with ports.held(configured.serve):
        _tell_first_key(Path(configured.state), follows=configured.serve.follows)
        if plain:
            _run_plain(configured)
        else:
            _run_on_ray(configured)


def _tell_first_key(state: Path, *, follows: bool) -> None:
    """A terminal is read by who started the server; what else output goes to is kept, and read by others.

    A server that a command started answers that command: the first key waits for who starts one. One that follows has
    the keys of the machine that publishes.
    """
    if orphans.is_started_by_a_command() or follows:
        return
    file, key = state / FIRST_KEY, access.ensure_first_key(state)
    if key and sys.stdout.isatty():
        print(f"first API key (role admin), shown only now: {key}", flush=True)
        return
    if key:
        file.unlink(missing_ok=True)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as handle:
            handle.write(f"{key}\n")
    if file.exists():
        print(f"first API key (role admin) in {file}: read it, then delete the file", flush=True)
    else:
        print("API keys: `customer360 key list`, a new one: `customer360 key issue NAME --role ROLE`", flush=True)


def _run_plain(configured: Settings) -> None:
    plain.run(build_app(configured), configured.serve, ports.bound(configured.serve))


def _run_on_ray(configured: Settings) -> None:
    stop = threading.Event()
    os.environ.setdefault("RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH", front.CALLBACK)  # before Ray starts
    os.environ.setdefault("RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S", PROXY_SECONDS)
    os.environ[front.HEAD_SECONDS] = str(configured.serve.header_timeout_seconds)
    os.environ[front.ANSWER_SECONDS] = str(configured.serve.request_timeout_seconds)
    os.environ[front.STATE] = str(Path(configured.state).absolute())
    os.environ.update(haproxy.variables(configured.serve, os.environ))
    with ray_session(configured.execution, Path(configured.state)):
        from ray import serve

        logging.getLogger("ray.serve").setLevel(logging.WARNING)  # our own lines say what is served where
        before = {s: signal.signal(s, lambda *_: stop.set()) for s in (signal.SIGINT, signal.SIGTERM)}
        try:
            http = {
                "host": configured.serve.host,
                "port": configured.serve.port,
                "request_timeout_s": configured.serve.request_timeout_seconds,
            }
            serve.start(proxy_location="HeadOnly", http_options=http, logging_config={"enable_access_log": False})
            try:
                serve.run(_deployment(configured), name=APPLICATION, route_prefix="/")
                telemetry.event("serving", at=f"http://{configured.serve.host}:{configured.serve.port}/docs")
                stop.wait()
            finally:
                _end(serve, configured)
        finally:
            for received, handler in before.items():
                signal.signal(received, handler)


def _end(serve: Any, configured: Settings) -> None:
    """Stop answering. On a Ray of ours it is enough to end the application: Serve goes with its Ray. Serve's own way of
    going has its controller killed while it is waited for, which Ray reports as a failure."""
    if configured.execution.ray_address or os.environ.get("RAY_ADDRESS"):
        serve.shutdown()
    else:
        serve.delete(APPLICATION)
