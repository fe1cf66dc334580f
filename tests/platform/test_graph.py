"""The graph: signatures are edges, faults are named, fingerprints follow the code."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from customer360.platform import graph, tables
from customer360.platform.errors import GraphError
from customer360.platform.graph import builds, produces
from customer360.platform.tables import String, Table


def table(name: str, **spec: Any) -> type[Table]:
    body = {"__doc__": "One row per thing.", "__module__": __name__, "__qualname__": name, "id": String()}
    return type(Table)(name.title().replace(".", ""), (Table,), body, table=name, **spec)


def build(name: str, *inputs: str, **options: Any) -> None:
    """Declare a build of ``name`` whose parameters are ``inputs``."""
    space: dict[str, Any] = {"__name__": __name__}
    exec(f"def {name.replace('.', '_')}({', '.join(inputs)}): ...", space)
    builds(tables.TABLES.get(name) or table(name), **options)(space[name.replace(".", "_")])


@pytest.fixture
def chain(empty_graph: None) -> None:
    """bronze.t_a -> silver.t_b -> gold.t_c, and silver.t_d beside it."""
    table("bronze.t_a")
    build("silver.t_b", "bronze_t_a")
    build("gold.t_c", "silver_t_b", "as_of")
    build("silver.t_d", "bronze_t_a", "params", rules="validation")


def names(stages: list[list[graph.Node]]) -> list[list[str]]:
    return [[n.name for n in stage] for stage in stages]


def test_parameters_are_inputs_and_reserved_names_are_not(chain: None) -> None:
    node = graph.NODES["gold.t_c"]
    assert (node.inputs, node.wants, node.is_dated, node.is_producer) == (
        ("silver.t_b",),
        frozenset({"as_of"}),
        True,
        False,
    )
    assert (graph.NODES["silver.t_d"].rules, graph.NODES["silver.t_d"].wants) == ("validation", frozenset({"params"}))
    assert graph.edges() == {"silver.t_b": set(), "gold.t_c": {"silver.t_b"}, "silver.t_d": set()}


def test_levels_are_stages(chain: None) -> None:
    assert names(graph.levels()) == [["silver.t_b", "silver.t_d"], ["gold.t_c"]]
    assert names(graph.levels({"gold.t_c", "silver.t_d"})) == [["silver.t_d"], ["gold.t_c"]]


def test_only_gold_takes_a_date(empty_graph: None) -> None:
    with pytest.raises(GraphError, match=r"silver\.t_x is no gold table"):
        build("silver.t_x", "as_of")


def test_who_takes_a_date_waits_for_the_table_that_gives_it(chain: None) -> None:
    graph.gives_as_of("silver.t_d")(lambda lake, zones: None)
    produces(table("gold.t_e", partition_by=("as_of",)), inputs=("silver.t_b",))(lambda context, b: b)
    assert graph.edges()["gold.t_c"] == graph.edges()["gold.t_e"] == {"silver.t_b", "silver.t_d"}
    assert graph.edges()["silver.t_b"] == set()
    assert graph.selection(None, "gold.t_c") == {"gold.t_c", "silver.t_b", "silver.t_d"}


def test_one_function_gives_the_date(chain: None) -> None:
    def another(lake: object, zones: object) -> None: ...

    graph.gives_as_of("silver.t_d")(lambda lake, zones: None)
    with pytest.raises(GraphError, match="as_of is given twice"):
        graph.gives_as_of("silver.t_b")(another)
    graph.DATE_TABLES.clear()
    graph.gives_as_of("silver.nowhere")(another)
    with pytest.raises(
        GraphError, match=r"gold\.t_c waits for the date of silver\.nowhere, which no contract declares"
    ):
        graph.edges()


def test_unknown_input_is_named(chain: None) -> None:
    build("silver.t_x", "silver_nowhere")
    with pytest.raises(GraphError, match=r"silver\.t_x reads silver\.nowhere, which no contract declares"):
        graph.edges()


def test_cycle_is_named(chain: None) -> None:
    table("silver.t_x")
    build("silver.t_y", "silver_t_x")
    build("silver.t_x", "silver_t_y")
    with pytest.raises(GraphError, match=r"silver\.t_[xy] -> silver\.t_[xy]"):
        graph.levels()


def test_a_table_is_built_once(chain: None) -> None:
    def another(bronze_t_a: pl.LazyFrame) -> pl.LazyFrame: ...  # type: ignore[empty-body]

    with pytest.raises(GraphError, match=r"silver\.t_b is built twice"):
        builds(tables.by_name("silver.t_b"))(another)


def test_a_table_is_built_once_also_by_a_function_of_the_same_name(chain: None) -> None:
    def twin() -> None: ...

    twin.__qualname__, twin.__module__ = graph.NODES["silver.t_b"].function.__qualname__, "elsewhere"
    with pytest.raises(GraphError, match=r"silver\.t_b is built twice: .* and elsewhere"):
        builds(tables.by_name("silver.t_b"))(twin)


def test_a_node_may_read_what_it_made_before(chain: None) -> None:
    build("silver.t_state", "silver_t_state", "silver_t_b")
    assert graph.edges()["silver.t_state"] == {"silver.t_b"}
    assert names(graph.levels({"silver.t_state"})) == [["silver.t_state"]]


def test_a_module_may_be_imported_again(chain: None) -> None:
    build("silver.t_b", "bronze_t_a")
    assert list(graph.NODES).count("silver.t_b") == 1


def test_producers_name_their_last_output_and_their_part(chain: None) -> None:
    shared, side = table("gold.t_scores", partition_by=("model",)), table("gold.t_side")

    def one(context: Any) -> Any: ...
    def two(context: Any, silver_t_b: Any) -> Any: ...

    produces(shared, part=("model", "one"))(one)
    produces(side, shared, inputs=["silver.t_b"], part=("model", "two"), dated=True)(two)
    build("gold.t_last", "gold_t_scores")
    assert graph.edges()["gold.t_last"] == {"gold.t_scores/one", "gold.t_scores/two"}
    assert graph.edges()["gold.t_scores/two"] == {"silver.t_b"}
    assert graph.NODES["gold.t_scores/two"].is_dated and not graph.NODES["gold.t_scores/one"].is_dated
    assert graph.producers_of()["gold.t_side"] == ["gold.t_scores/two"]
    assert graph.selection("gold.t_side", None) == {"gold.t_scores/two", "gold.t_last"}


def test_selection(chain: None) -> None:
    build("gold.t_e", "gold_t_c", "silver_t_d")
    everything = {"silver.t_b", "silver.t_d", "gold.t_c", "gold.t_e"}
    assert graph.selection(None, None) == everything
    assert graph.selection("silver.t_d", None) == {"silver.t_d", "gold.t_e"}
    assert graph.selection(None, "gold.t_c") == {"silver.t_b", "gold.t_c"}
    assert graph.selection("silver.t_b", "gold.t_c") == {"silver.t_b", "gold.t_c"}
    assert graph.selection("silver.t_d", "gold.t_c") == set()
    assert graph.selection(None, "silver") == {"silver.t_b", "silver.t_d"}
    assert graph.selection("gold", None) == {"gold.t_c", "gold.t_e"}
    assert graph.selection("bronze.t_a", None) == everything == graph.selection("bronze", None)
    with pytest.raises(GraphError, match=r"nothing builds 'gold\.t_cc'; did you mean gold\.t_c"):
        graph.selection("gold.t_cc", None)


def test_records_are_builds_of_the_key_of_their_bronze_table(empty_graph: None) -> None:
    table("bronze.t_raw", key=("ID", "LINE"))
    table("silver.t_one", per="id")
    table("silver.t_other", per="other_id")
    build("silver.t_one", "bronze_t_raw")
    build("silver.t_other", "bronze_t_raw")
    assert (graph.NODES["silver.t_one"].records, graph.NODES["silver.t_other"].records) == ("bronze.t_raw", None)


# ---- fingerprints ---------------------------------------------------------------------------------------------

FILES = {
    "builds.py": "from customer360.zz_probe.words import WORD\ndef made(bronze_t_a): return WORD\n",
    "words.py": "import customer360.zz_probe.deep\nfrom customer360.platform import graph\nWORD = 1\n",
    "deep.py": "DEEP = 1\n",
    "contract.py": "X = 1\n",
    "unrelated.py": "X = 1\n",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str], str]]:
    """A package beside the project's; gives a function that changes one of its files and returns the new
    fingerprint.
    """
    folder = tmp_path / "customer360" / "zz_probe"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    for name, text in FILES.items():
        (folder / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    caches = (graph._source_file, graph._source_digest, graph._project_imports)

    def fingerprint(name: str, text: str) -> str:
        (folder / name).write_text(text)
        for cached in caches:
            cached.cache_clear()
        from customer360.zz_probe.builds import made  # type: ignore[import-not-found]

        contract = type("Contract", (), {"__module__": "customer360.zz_probe.contract"})
        return graph.code_fingerprint(made, [contract])  # type: ignore[list-item]

    yield fingerprint
    for name in [m for m in sys.modules if m.startswith("customer360.zz_probe")]:
        del sys.modules[name]
    for cached in caches:
        cached.cache_clear()


@pytest.mark.parametrize("name", ["builds.py", "words.py", "deep.py", "contract.py"])
def test_fingerprint_follows_the_build_its_contract_and_their_imports(
    project: Callable[[str, str], str], name: str
) -> None:
    first = project(name, FILES[name])
    assert project(name, FILES[name] + "# changed\n") != first
    assert project(name, FILES[name]) == first


def test_fingerprint_ignores_what_is_not_imported(project: Callable[[str, str], str]) -> None:
    assert project("unrelated.py", "X = 1\n") == project("unrelated.py", "X = 2\n")


def test_fingerprint_follows_the_contract_machinery_but_not_the_plumbing(
    project: Callable[[str, str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = project("words.py", FILES["words.py"] + "from customer360.platform import tables\n")
    digest = graph._source_digest.__wrapped__
    for module, changes in [("customer360.platform.graph", False), ("customer360.platform.tables", True)]:
        monkeypatch.setattr(graph, "_source_digest", lambda m, hit=module: "changed" if m == hit else digest(m))
        from customer360.zz_probe.builds import made  # type: ignore[import-not-found]

        contract = type("Contract", (), {"__module__": "customer360.zz_probe.contract"})
        assert (graph.code_fingerprint(made, [contract]) != first) == changes, module  # type: ignore[list-item]


def test_up_to_bronze_there_is_nothing_to_build(chain: None) -> None:
    assert graph.selection(None, "bronze") == set()


def test_imports_are_those_of_the_syntax_tree() -> None:
    """They decide what code a build depends on, and are found without a parser."""
    root = Path(graph.__file__).parents[1]
    for folder in ("platform", "pipelines", "models", "serve"):
        for file in sorted((root / folder).rglob("*.py")):
            parts = file.relative_to(root).with_suffix("").parts
            module = ".".join(("customer360", *parts)).removesuffix(".__init__")
            found: set[str] = set()
            for item in ast.walk(ast.parse(file.read_text())):
                if isinstance(item, ast.Import):
                    found |= {a.name for a in item.names}
                elif isinstance(item, ast.ImportFrom) and item.module:
                    found |= {item.module, *(f"{item.module}.{a.name}" for a in item.names)}
            ours = {m for m in found if m.startswith("customer360.") and graph._source_file(m)}
            assert graph._project_imports(module) >= ours, module
