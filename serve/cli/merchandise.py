"""Rules of merchandisers: look at what they show, and at what others would change, before they go live."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from customer360.serve.cli.options import ConfigOption, configured

if TYPE_CHECKING:
    from customer360.serve.realtime.ranking.choosing import Chooser

app = typer.Typer()
group = typer.Typer(no_args_is_help=True, help="Rules of merchandisers (configs/merchandising.yaml): try them first.")
app.add_typer(group, name="merchandise")
PLACEMENTS = ("home", "product", "cart", "search", "email")
PATIENCE_SECONDS = 60.0
MOST_SHOWN = 10
OnOption = Annotated[datetime | None, typer.Option("--on", formats=["%Y-%m-%d"], help="The day; default: today")]
CountOption = Annotated[int, typer.Option("-k", min=1, max=50, help="How many products")]
PlacementOption = Annotated[str, typer.Option(help="home, product, cart, search or email")]


@group.command("preview")
def preview_rules(
    placement: PlacementOption = "home",
    file: Annotated[Path | None, typer.Option(help="Rules to try; default: those of the settings")] = None,
    person: Annotated[str | None, typer.Option(help="A resolved person; default: somebody unknown")] = None,
    product: Annotated[str | None, typer.Option(help="The product of the page")] = None,
    store: Annotated[str | None, typer.Option(help="Where the visitor is")] = None,
    region: Annotated[str | None, typer.Option(help="Such as DE")] = None,
    device: Annotated[str | None, typer.Option(help="Such as mobile")] = None,
    age: Annotated[int | None, typer.Option(min=0, help="As the shop has checked")] = None,
    on: OnOption = None,
    k: CountOption = 10,
    config: ConfigOption = None,
) -> None:
    """What is shown now at a placement, which rules moved it, and what was left out for which reason."""
    from customer360.platform.errors import ConfigError
    from customer360.serve.cli import report
    from customer360.serve.publication.refusals import Refusals, without_refused
    from customer360.serve.realtime.ranking.asking import Asked, Context
    from customer360.serve.realtime.ranking.decision import SENTENCES, explained

    view, chooser = _opened(config, file)
    stored = view.get("person", person) if person else None
    if person and stored is None:
        raise ConfigError("--person: there is no such published person")
    if stored is not None:
        stored = without_refused(stored, Refusals(Path(configured(config).state)).of(stored))
    may = stored is None or stored["profile"].get("may_personalize") is True
    asked = Asked(
        _placement(placement), on.date() if on else _today(), k, person_id=person, is_personal=may, is_profiled=may,
        product_id=product, context=Context(store_id=store, region=region, device=device, age=age),
    )  # fmt: skip
    decision = chooser.choose(view, asked, stored)
    by_product = {c["product_id"]: c for c in explained(decision)}
    facts = dict(zip(decision.products(), chooser.facts(view, decision.products()), strict=True))
    grid = report.grid(f"{placement} as of {view.generation.as_of}", "product", "name", "score", "why", "moved by")
    for candidate in decision.order[:k]:
        name = decision.slate.products[candidate]
        source, seed = decision.whys([candidate])[0]
        grid.add_row(name, facts[name].get("name") or "", f"{decision.score[candidate]:.3f}",
                     SENTENCES[source].format(seed=seed), ", ".join(by_product[name]["rules"]))  # fmt: skip
    report.console.print(grid)
    left_out: dict[str, int] = {}
    for reason in decision.dropped.values():
        left_out[reason] = left_out.get(reason, 0) + 1
    typer.echo(f"{len(decision.order)} of {len(by_product)} candidates may be shown"
               + "".join(f"; {count} left out: {reason}" for reason, count in left_out.items()))  # fmt: skip


@group.command("diff")
def diff_rules(
    file: Annotated[Path, typer.Argument(help="Rules that are to take the place of those of the settings")],
    people: Annotated[int, typer.Option(min=0, help="People whose answers are compared")] = 200,
    on: OnOption = None,
    k: CountOption = 10,
    config: ConfigOption = None,
) -> None:
    """How many answers other rules would change at each placement, and which products they would show more or less."""
    from customer360.serve.cli import report
    from customer360.serve.compose import merchandising_rules
    from customer360.serve.publication.refusals import Refusals
    from customer360.serve.realtime.ranking import trying

    (view, before), (_, after) = _opened(config, None), _opened(config, file)
    wanted = [_placement(name) for name in PLACEMENTS]
    refusals = Refusals(Path(configured(config).state))
    found = trying.compared(view, refusals, before, after, wanted, on.date() if on else _today(), k, people)
    grid = report.grid(f"First {k} products as of {view.generation.as_of}", "placement", "answers", "changed", "more",
                       "less")  # fmt: skip
    for placement, difference in found.items():
        moved = [(product, by) for product, by in difference.shown.most_common() if by]
        more = ", ".join(f"{product} +{by}" for product, by in moved[:MOST_SHOWN] if by > 0)
        less = ", ".join(f"{product} {by}" for product, by in moved[::-1][:MOST_SHOWN] if by < 0)
        grid.add_row(placement, f"{difference.compared:,}", f"{difference.changed:,}", more, less)
    report.console.print(grid)
    catalogue = after.catalogue(view)
    for name, count in trying.products_of(merchandising_rules(configured(config), file), catalogue).items():
        typer.echo(f"{name}: " + (f"{count:,} products" if count else "means no product of the catalogue"))


def _opened(config: Path | None, file: Path | None) -> tuple[Any, Chooser]:
    """The publication in service, and a chooser by the rules of a file, or of the settings."""
    from customer360.platform.online import OnlineStore
    from customer360.serve.compose import merchandising_rules
    from customer360.serve.publication.rankers import RankerStore
    from customer360.serve.publication.vectors import VectorStore
    from customer360.serve.realtime.ranking.choosing import Chooser, Shelves

    settings = configured(config)
    state, rules = Path(settings.state), merchandising_rules(settings, file)
    return OnlineStore(state).view(), Chooser(
        Shelves(VectorStore(state), PATIENCE_SECONDS, RankerStore(state)), lambda: rules
    )


def _placement(name: str) -> Any:
    from customer360.platform.errors import ConfigError

    if name not in PLACEMENTS:
        raise ConfigError(f"no placement is called {name!r}; there are {', '.join(PLACEMENTS)}")
    return name


def _today() -> date:
    return datetime.now(UTC).date()
