"""Run by .ci/run in an environment that holds the wheel, outside the checkout: the package is whole and composes."""

from __future__ import annotations

import os
from pathlib import Path

import customer360.models
import customer360.pipelines
from customer360.platform import graph, settings
from customer360.serve.compose import compose, rules_of

installed = Path(customer360.models.__file__).resolve()
assert installed.is_relative_to(Path(os.environ["CUSTOMER360_WHEEL_ROOT"]).resolve()), f"not the wheel: {installed}"
compose()
configured = settings.load(None, {})
rules_of(configured)
assert configured.sources, "the packaged configuration names no source"
assert not list(installed.parents[1].glob("platform/__init__.py"))
print(f"wheel: {len(graph.NODES)} nodes compose from {installed.parents[2].name}")
