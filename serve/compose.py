"""Composition: what the command line and the HTTP application share when they put the layers together."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from customer360 import models, pipelines
from customer360.models.identity.rules import IdentityRules
from customer360.models.lifecycle.scoring import declare_scorers
from customer360.pipelines.experiments import ExperimentRules
from customer360.pipelines.rules import RULE_FILES, WHEN_NOT_ASKED, EnrichmentRules
from customer360.platform import graph, settings, stars
from customer360.platform.errors import ConfigError
from customer360.platform.settings import Settings
from customer360.serve.realtime.ranking.live import LiveRules
from customer360.serve.realtime.ranking.merchandise import MerchandisingRules


@cache
def compose() -> None:
    """Declare every table, build, producer and model of the platform."""
    # The doors to Ray Train and MLflow declare nothing and take seconds to import; the sample is a tool, not a table;
    # look-ups are for serving and bring a parser of SQL.
    graph.load(
        [pipelines, models],
        leave_out=(
            f"{models.__name__}.identity.lookup",
            f"{models.__name__}.lifecycle.embedded",
            f"{models.__name__}.lifecycle.on_ray",
            f"{models.__name__}.lifecycle.flavour",
            f"{models.__name__}.lifecycle.tracking",
            f"{pipelines.__name__}.sample",
        ),
    )
    declare_scorers()
    importlib.import_module("customer360.platform.warehouse.load")  # declares the warehouse's own books
    stars.check()
    graph.levels()  # an unknown input or a cycle is an error now, not in the middle of a run


_kept: list[tuple[dict[str, str], dict[str, BaseModel]]] = []  # rule files by kind, and what was read of them


@contextmanager
def rules_kept(configured: Settings) -> Iterator[None]:
    """Within the block the rule files are those of its beginning."""
    _kept.append((configured.rules, rules_of(configured)))
    try:
        yield
    finally:
        _kept.pop()


def rules_of(configured: Settings) -> dict[str, BaseModel]:
    """The rule files as typed values.

    Raises:
        ConfigError: a file is wrong; the message names file, key and value.
    """
    for files, rules in _kept:
        if files == configured.rules:
            return rules
    typed: dict[str, type[BaseModel]] = RULE_FILES | {
        "identity": IdentityRules, "experiments": ExperimentRules, "merchandising": MerchandisingRules,
    }  # fmt: skip
    unknown = sorted(set(configured.rules) - set(typed))
    if unknown:
        raise ConfigError(f"rules: unknown kinds {unknown}; known are {sorted(typed)}")
    return {kind: _read(model, configured.rules.get(kind)) for kind, model in typed.items()}


def identity_rules(configured: Settings) -> IdentityRules:
    """The rules of identity resolution."""
    kept = (rules["identity"] for files, rules in _kept if files == configured.rules)
    rules = next(kept, None) or _read(IdentityRules, configured.rules.get("identity"))
    assert isinstance(rules, IdentityRules)
    return rules


def enrichment_rules(configured: Settings) -> EnrichmentRules:
    """The rules that builds of gold follow."""
    kept = (rules["enrichment"] for files, rules in _kept if files == configured.rules)
    rules = next(kept, None) or _read(EnrichmentRules, configured.rules.get("enrichment"))
    assert isinstance(rules, EnrichmentRules)
    return rules


def merchandising_rules(configured: Settings, file: Path | None = None) -> MerchandisingRules:
    """The rules of merchandisers, of a file or of the settings, read anew. Raises ConfigError: the file is wrong."""
    rules = _read(MerchandisingRules, str(file) if file else configured.rules.get("merchandising"))
    assert isinstance(rules, MerchandisingRules)
    return rules


def live_rules(configured: Settings) -> LiveRules:
    """The same, as they are at each request."""
    named = configured.rules.get("merchandising")
    return LiveRules(lambda: merchandising_rules(configured), settings.find(named) if named else None)


def personalizes_unasked(configured: Settings) -> bool:
    """Whether who was never asked may be treated individually."""
    rules = enrichment_rules(configured)
    return rules.consent.when_not_asked.get("PERSONALIZATION", WHEN_NOT_ASKED["PERSONALIZATION"]) == "allow"


def _read(model: type[BaseModel], name: str | None) -> BaseModel:
    content: dict[str, Any] = settings.read_yaml(settings.find(name)) if name else {}
    try:
        return model.model_validate(content)
    except ValidationError as fault:
        lines = [
            f"  {_line(name, e['loc'])}{'.'.join(map(str, e['loc'])) or 'the file'}: {e['msg']} (is {e['input']!r:.60})"
            for e in fault.errors()
        ]
        raise ConfigError(f"{name}: {len(lines)} fault(s)\n" + "\n".join(lines)) from None


def _line(name: str | None, place: tuple[int | str, ...]) -> str:
    """``line N: `` of the key that ``place`` leads to, as far as it stands in the file itself."""
    node = yaml.compose(settings.find(name).read_text(encoding="utf-8")) if name else None
    line = 0
    for key in place:
        if isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
            node = node.value[key]
            line = node.start_mark.line + 1
            continue
        found = [(k, v) for k, v in node.value if k.value == str(key)] if isinstance(node, yaml.MappingNode) else []
        if not found:
            break
        line, node = found[0][0].start_mark.line + 1, found[0][1]
    return f"line {line}: " if line else ""


def state_folder(configured: Settings) -> Path:
    """The folder of keys, models and the online store; made when absent, readable by its owner alone."""
    folder = Path(configured.state)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder
