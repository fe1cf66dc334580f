"""The laws of the house that a machine can hold: imports point down, heavy libraries have few doors, builds are pure."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = [
    "platform",
    "pipelines.bronze",
    "pipelines.silver",
    "pipelines.gold",
    "pipelines.warehouse",
    "models",
    "serve",
]
PLATFORM = ["errors", "settings", "telemetry", "rescued", "tables", "conditions", "lake", "ledger", "quality", "lineage", "privacy", "sources",
            "graph", "stars", "catalogue", "run", "warehouse", "online", "access"]  # fmt: skip
SHARED = {
    "pipelines",
    "pipelines.vocabulary",
    "pipelines.subjects",
    "pipelines.rules",
    "pipelines.features",
    "pipelines.quality",
    "pipelines.sample",
}  # at the height of bronze
STANDARD_FORBIDDEN_IN_BUILDS = {"datetime.now", "date.today", "time.time", "open", "random"}


def modules() -> dict[str, Path]:
    found = {}
    for top in ("platform", "pipelines", "models", "serve"):
        for file in (ROOT / top).rglob("*.py"):
            name = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            found[name] = file
    return found


MODULES = modules()


def imports(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {a.name for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{a.name}" for a in node.names}
    return found


def ours(file: Path) -> set[str]:
    names = {m.removeprefix("customer360.") for m in imports(file) if m.startswith("customer360.")}
    return {m for m in names if m in MODULES or m in ("platform",)}


def height(module: str) -> int:
    if any(module == s or module.startswith(s + ".") for s in SHARED - {"pipelines"}) or module == "pipelines":
        return 1
    return next(
        i for i, layer in reversed(list(enumerate(LAYERS))) if module == layer or module.startswith(layer + ".")
    )


def test_platform_is_no_package() -> None:
    assert not (ROOT / "platform" / "__init__.py").exists(), "it would shadow the standard library's platform"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_point_down(module: str) -> None:
    for other in ours(MODULES[module]):
        if module.startswith("pipelines.sample") and other.startswith("pipelines.sample"):
            continue
        assert height(other) <= height(module), f"{module} imports {other}, which lies above it"


@pytest.mark.parametrize("module", sorted(m for m in MODULES if m.startswith("platform.")))
def test_platform_imports_follow_its_order(module: str) -> None:
    mine = PLATFORM.index(module.split(".")[1])
    for other in ours(MODULES[module]):
        if other != "platform":
            assert PLATFORM.index(other.split(".")[1]) <= mine, f"{module} imports {other}, which is listed after it"


@pytest.mark.parametrize(
    "module",
    sorted(
        m
        for m in MODULES
        if m.count(".") == 2 and m.startswith(("pipelines.bronze", "pipelines.silver", "pipelines.gold"))
    ),
)
def test_domains_meet_by_table_names_only(module: str) -> None:
    others = {o for o in ours(MODULES[module]) if o.startswith("pipelines.") and o.count(".") == 2 and o != module}
    assert others <= {"pipelines.features"}, (
        f"{module} imports {others}; shared words belong in pipelines/vocabulary.py"
    )


@pytest.mark.parametrize("module", sorted(MODULES))
def test_no_bare_import_of_our_folders(module: str) -> None:
    bare = {i for i in imports(MODULES[module]) if i.split(".")[0] in ("pipelines", "models", "serve")}
    assert not bare, f"{module} imports {bare}: a second copy of the module would have a second registry"


def test_builds_are_pure() -> None:
    """No clock, I/O, Ray or settings in silver, gold and warehouse modules (law 3)."""
    for module, file in MODULES.items():
        if module.startswith(("pipelines.silver.", "pipelines.gold.", "pipelines.warehouse.")):
            used = {ast.unparse(n.func) for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.Call)}
            assert not used & STANDARD_FORBIDDEN_IN_BUILDS, f"{module} uses {used & STANDARD_FORBIDDEN_IN_BUILDS}"
            reached = {o for o in ours(file) if o.startswith("platform.")}
            assert reached <= {"platform.graph", "platform.tables", "platform.stars"}, f"{module} reaches {reached}"


def test_every_table_says_its_grain_and_lists_personal_columns() -> None:
    from customer360.platform import tables
    from customer360.serve.compose import compose

    compose()
    for name, table in tables.TABLES.items():
        if name.split(".")[1].startswith("t_"):
            continue  # tables of other tests
        assert tables.summary(table).startswith("One row per "), f"{name}: its docstring begins with the grain"
        for column in table.columns():
            if column.upper() in {"FIRST_NAME", "LAST_NAME", "EMAIL_ADDRESS", "PHONE_NUMBER", "DATE_OF_BIRTH"}:
                assert column in tables.pii_columns(table), f"{name}.{column} holds personal data and is not tagged"


def test_composing_the_platform_imports_no_ray() -> None:
    """The fast test, `status` and `plan` must not pay for Ray."""
    code = "import sys; from customer360.serve.compose import compose; compose(); import customer360.serve.cli; sys.exit('ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
