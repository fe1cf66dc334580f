"""The laws of the house that a machine can hold: imports point down, heavy libraries have few doors, builds are
pure.
"""

from __future__ import annotations

import ast
import graphlib
import re
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
PLATFORM = ["errors", "configs", "systems", "formulas", "kinds", "connections", "schedules", "evolution", "sinks", "issuers", "settings", "telemetry", "sorting", "rescued", "tables", "judging", "delivery", "conditions", "lake", "erasure_list", "ledger", "schemas", "known", "quality", "traces", "privacy", "restrictions", "purposes", "anonymity", "sources",  # noqa: E501
            "graph", "stars", "catalogue", "run", "retention", "lineage", "alerts", "warehouse", "online", "access",
            "revocations", "signing", "tokens", "audit",
            "backup"]  # fmt: skip
SHARED = {
    "pipelines.complete_days",
    "pipelines",
    "pipelines.vocabulary",
    "pipelines.subjects",
    "pipelines.campaigns",
    "pipelines.consents",
    "pipelines.denied",
    "pipelines.data_products",
    "pipelines.policy",
    "pipelines.money",
    "pipelines.decomposition",
    "pipelines.areas",
    "pipelines.geography",
    "pipelines.business_hours",
    "pipelines.texts",
    "pipelines.points",
    "pipelines.funnels",
    "pipelines.inference",
    "pipelines.receipts",
    "pipelines.returns",
    "pipelines.rules",
    "pipelines.agents",
    "pipelines.sessions",
    "pipelines.streams",
    "pipelines.stays",
    "pipelines.experiments",
    "pipelines.features",
    "pipelines.quality",
    "pipelines.repairs",
    "pipelines.sample",
    "pipelines.zones",
}  # at the height of bronze
DOMAIN_LAYERS = {"bronze", "silver", "gold"}
GROUND_OF_MODELS = ("models.recommenders", "models.purchasing", "models.lifecycle")
AUDIENCES = {"api", "console", "cli"}  # rooms of serve by who asks
DOORS: dict[str, tuple[str, ...]] = {
    "ray": ("platform.run.executor", "models.lifecycle.on_ray", "models.lifecycle.tuning", "serve.app"),
    "deltalake": ("platform.lake",),
    "lmdb": ("platform.online",),
    "duckdb": ("platform.warehouse", "platform.sources.expressions.sql", "models.identity.weighing"),
    "splink": ("models.identity.weighing.model",),
    "sqlglot": ("models.identity.lookup",),
    "mlflow": ("models.lifecycle.tracking", "models.lifecycle.flavour", "models.lifecycle.embedded"),
    "matplotlib": ("models.lifecycle.plots", "models.lifecycle.tracking", "models.identity.tracking", "models.files"),
    "sklearn": (
        "models.churn",
        "models.propensity",
        "models.segments",
        "models.purchasing.interval",
        "models.recommenders.content",
    ),
    "xgboost": ("models.churn", "models.clv", "models.propensity", "models.recommenders.ranker"),
    "torch": ("models.two_tower",),
    "ua_parser": ("pipelines.agents",),
    "vaderSentiment": ("pipelines.texts",),
    "jwt": ("platform.tokens", "platform.signing"),
    "jinja2": ("serve.api", "serve.console", "serve.publication"),
}
CALLED_BY_LIBRARIES = {"_sample_unchecked", "readinto"}  # of dataframely and of io
LONGEST_NAME = 60  # of a string that may name something; sentences do not
STANDARD_FORBIDDEN_IN_BUILDS = {"datetime.now", "date.today", "time.time", "open", "random"}


def modules() -> dict[str, Path]:
    found = {}
    for top in ("platform", "pipelines", "models", "serve"):
        for file in (ROOT / top).rglob("*.py"):
            name = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            found[name] = file
    return found


MODULES = modules()
REGISTERED = sorted(m for m, file in MODULES.items() if "\nMODEL = register(" in file.read_text(encoding="utf-8"))


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


def resolved(module: str) -> set[str]:
    """Our modules that a module imports: ``from package import name`` is the module ``package.name`` where there is
    one.
    """
    found: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("customer360"):
            parent = node.module.removeprefix("customer360").removeprefix(".")
            below = {f"{parent}.{a.name}".removeprefix("."): parent for a in node.names}
            found |= {name if name in MODULES else parent for name, parent in below.items()}
        elif isinstance(node, ast.Import):
            found |= {a.name.removeprefix("customer360.") for a in node.names}
    return found & MODULES.keys()


def entry(module: str, folder: str) -> str:
    """The module or folder directly below ``folder`` that ``module`` is or lies in; empty where it lies elsewhere."""
    return module[len(folder) + 1 :].split(".")[0] if module.startswith(folder + ".") else ""


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


@pytest.mark.parametrize("module", sorted(m for m in MODULES if entry(m, "pipelines") in DOMAIN_LAYERS))
def test_domains_meet_by_table_names_only(module: str) -> None:
    """A domain of bronze, silver or gold, a file or a folder, imports no other; what they share lies above them."""
    mine = module.split(".")[:3]
    others = {o for o in resolved(module) if entry(o, "pipelines") in DOMAIN_LAYERS and o.split(".")[:3] != mine}
    assert not others, f"{module} imports {others}; shared words belong in pipelines/vocabulary.py"


@pytest.mark.parametrize("folder", sorted({m.rpartition(".")[0] for m in MODULES}))
def test_entries_of_a_folder_import_in_no_circle(folder: str) -> None:
    """An entry is a module or a folder with all below it; imports inside of functions count."""
    graph: dict[str, set[str]] = {}
    for module in MODULES:
        mine = entry(module, folder)
        if mine:
            graph.setdefault(mine, set()).update({entry(o, folder) for o in resolved(module)} - {mine, ""})
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as fault:
        pytest.fail(f"{folder}: {' -> '.join(fault.args[1])}")


@pytest.mark.parametrize("module", sorted(m for m in MODULES if m.startswith(GROUND_OF_MODELS)))
def test_the_ground_of_models_knows_no_registered_model(module: str) -> None:
    others = {o for o in resolved(module) if any(o == r or o.startswith(r + ".") for r in REGISTERED)}
    assert not others, f"{module} imports {others}; what models share lies in a room below them"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_look_ups_of_identity_are_for_serving_alone(module: str) -> None:
    if not module.startswith(("serve", "models.identity.lookup")):
        others = {o for o in resolved(module) if o.startswith("models.identity.lookup")}
        assert not others, f"{module} imports {others}: a batch scores by Splink's SQL, a look-up by its compiled form"


@pytest.mark.parametrize("module", sorted(m for m in MODULES if entry(m, "serve") in AUDIENCES))
def test_who_asks_decides_the_folder(module: str) -> None:
    others = {o for o in resolved(module) if entry(o, "serve") in AUDIENCES - {entry(module, "serve")}}
    assert not others, f"{module} imports {others}; what applications, pages and commands share lies beside them"


@pytest.mark.parametrize("library", DOORS)
def test_heavy_libraries_have_few_doors(library: str) -> None:
    users = {m for m, file in MODULES.items() if library in {i.split(".")[0] for i in imports(file)}}
    strangers = {u for u in users if not any(u == d or u.startswith(d + ".") for d in DOORS[library])}
    assert not strangers, f"{strangers} import {library}; its doors are {DOORS[library]}"
    unused = {d for d in DOORS[library] if not any(u == d or u.startswith(d + ".") for u in users)}
    assert not unused, f"{unused} no longer use {library}: take them off the list"


def test_product_code_uses_what_it_defines() -> None:
    """A public name that no product module, page or recipe mentions serves tests alone, or nobody."""
    mentioned, defined = set(), {}
    for module, file in MODULES.items():
        tree = ast.parse(file.read_text(encoding="utf-8"))
        mentioned |= mentions(tree)
        defined |= {name: f"{module}.{name}" for name in public_names(tree)}
    pages = [*(ROOT / "serve").rglob("*.html"), *(ROOT / "docs" / "recipes").glob("*.md")]
    mentioned |= {w for page in pages for w in re.findall(r"\w+", page.read_text(encoding="utf-8"))}
    unused = sorted(where for name, where in defined.items() if name not in mentioned)
    assert not unused, f"nothing in the product mentions {unused}"


def public_names(tree: ast.Module) -> set[str]:
    """Undecorated functions and classes at the top of a module, and undecorated methods; what a decorator registers, or
    a base class with a ``table=``, is used by name, and so are kinds."""
    found: set[str] = set()
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and not node.keywords:
            found |= {n.name for n in node.body if isinstance(n, ast.FunctionDef) and not n.decorator_list}
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            is_registered = (bool(node.decorator_list) and not isinstance(node, ast.ClassDef)) or is_kind(node)
            if not is_registered and not (isinstance(node, ast.ClassDef) and node.keywords):
                found.add(node.name)
    return {name for name in found if not name.startswith("__") and name not in CALLED_BY_LIBRARIES}


def is_kind(node: ast.stmt) -> bool:
    """Whether a class is a kind of source or connection, which is found by the name of its module."""
    fields = node.body if isinstance(node, ast.ClassDef) else []
    return any(isinstance(f, ast.AnnAssign) and ast.unparse(f.target) == "kind" and f.value for f in fields)


def mentions(tree: ast.Module) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.keyword) and node.arg:
            found.add(node.arg)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and len(node.value) < LONGEST_NAME:
            found |= set(re.findall(r"\w+", node.value))
    return found


@pytest.mark.parametrize("module", sorted(MODULES))
def test_no_bare_import_of_our_folders(module: str) -> None:
    bare = {i for i in imports(MODULES[module]) if i.split(".")[0] in ("pipelines", "models", "serve")}
    assert not bare, f"{module} imports {bare}: a second copy of the module would have a second registry"


def test_builds_are_pure() -> None:
    """No clock, I/O, Ray or settings in silver, gold and warehouse modules."""
    for module, file in MODULES.items():
        if module.startswith(("pipelines.silver.", "pipelines.gold.", "pipelines.warehouse.")):
            used = {ast.unparse(n.func) for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.Call)}
            assert not used & STANDARD_FORBIDDEN_IN_BUILDS, f"{module} uses {used & STANDARD_FORBIDDEN_IN_BUILDS}"
            reached = {o for o in ours(file) if o.startswith("platform.")}
            contracts = {"platform.graph", "platform.tables", "platform.stars", "platform.purposes"}
            assert reached <= contracts, f"{module} reaches {reached}"


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


def test_composing_the_platform_imports_no_heavy_library() -> None:
    """The fast test, `status`, `plan` and a run with nothing new must not pay for Ray, or for what fits models."""
    heavy = ("ray", "sklearn", "xgboost", "torch", "mlflow", "splink", "matplotlib", "sqlglot", "scipy.stats",
             "scipy.optimize", "scipy.linalg", "scipy.spatial")  # fmt: skip
    code = (
        "import sys; from customer360.serve.compose import compose; compose(); import customer360.serve.pipelines; "
        f"sys.exit(' '.join(m for m in {heavy} if m in sys.modules) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"composing imports {done.stderr}"


LANDING_READERS = {"platform.quality.ahead", "platform.run.redating", "pipelines.complete_days",
                   "pipelines.silver.behavior", "platform.lineage.history", "platform.retention"}  # fmt: skip
HELD_BY = {"platform.tables", "platform.sources.bronze", "platform.sources.grouping"}  # who write it beside a row


def test_only_what_judges_times_knows_when_a_row_landed() -> None:
    """Nothing is ordered by a clock: the moment of landing is read by what refuses times that had not come, by what
    says until when the data are complete or how old a row is at least, and by what shows it."""
    for module, file in MODULES.items():
        tree, names = ast.walk(ast.parse(file.read_text())), HELD_BY
        imported = {
            name.name for node in tree if isinstance(node, ast.ImportFrom) and node.module for name in node.names
            if node.module.endswith("platform.tables")
        }  # fmt: skip
        assert module in LANDING_READERS or not imported & {"LANDED", "is_ahead"}, f"{module} reads {imported}"
        assert module in names or "_ingested_at" not in file.read_text(), f"{module} names _ingested_at"
