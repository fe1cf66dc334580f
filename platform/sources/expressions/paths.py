"""References to columns and to what stands inside of their values, as an expression writes them."""

from __future__ import annotations

from collections.abc import Sequence

from customer360.platform.sources.expressions.sql import Fault, Tree

Step = str | int
PARAM = "param"  # param(event_params, 'page'): the value of a list of keys and values


def path_of(tree: Tree, hidden: frozenset[str] = frozenset()) -> tuple[Step, ...] | None:
    """The names and numbers that a reference consists of; None where the tree is no reference."""
    kind, of = tree.get("class"), tree.get("type")
    if kind == "COLUMN_REF":
        names = tuple(tree["column_names"])
        return None if names[0] in hidden else names
    if kind == "OPERATOR" and of in ("STRUCT_EXTRACT", "ARRAY_EXTRACT"):
        above, step = path_of(tree["children"][0], hidden), _constant(tree["children"][1])
        return (*above, step) if above and step is not None else None
    if kind == "FUNCTION" and tree["function_name"] == PARAM and len(tree["arguments"]) == 2:
        above, step = (a["expression"] for a in tree["arguments"])
        path, name = path_of(above, hidden), _constant(step)
        if path is None or not isinstance(name, str):
            raise Fault(f"{PARAM} takes a column and a name, as in {PARAM}(event_params, 'page_location')")
        return (*path, name)
    return None


def _constant(tree: Tree) -> Step | None:
    literal = tree.get("literal") or {}
    if literal.get("kind") == "STRING":
        return str(literal["text"])
    return int(literal["text"]) if literal.get("kind") == "INTEGER" and int(literal["text"]) else None


def named(path: Sequence[Step]) -> str:
    """A path as a person writes it."""
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def column_of(path: Sequence[Step], columns: Sequence[str]) -> tuple[str, tuple[Step, ...]] | None:
    """The column that a path begins with, and the steps below it. The longest literal name wins; case counts only
    where it tells columns apart."""
    names = [step for step in path if isinstance(step, str)][
        : next((i for i, s in enumerate(path) if isinstance(s, int)), len(path))
    ]
    for fold in (str, str.lower):
        known: dict[str, list[str]] = {}
        for column in columns:
            known.setdefault(fold(column), []).append(column)
        for length in range(len(names), 0, -1):
            found = known.get(fold(".".join(names[:length])), [])
            if len(found) == 1:
                return found[0], tuple(path[length:])
    return None
