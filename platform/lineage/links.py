"""How rows of a table belong to rows of an input: by the columns that both share, since a build may go part by part.

A build with a grain (``per=``) gives for each value of it what that value's rows of the inputs give (law 4). So the
rows of an input behind a row are those with its value of the grain; an input without that column is read as a whole.
Where a build has no grain, or a producer none that its inputs know, rows belong to each other by their subject.
"""

from __future__ import annotations

from dataclasses import dataclass

from customer360.platform import graph, tables
from customer360.platform.graph import Node
from customer360.platform.run.units import key_column

SYSTEM = "source_system"
BY_SUBJECT = ("person_id", "record_id", "subject_id")


@dataclass(frozen=True)
class Link:
    """Rows of ``table`` and of ``other``, which it is made of, belong to each other where ``columns`` of the one equal
    ``others`` of the other; of a table read as a whole there are none."""

    table: str
    other: str
    columns: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    @property
    def is_whole(self) -> bool:
        return not self.columns

    @property
    def by(self) -> str:
        """The columns in words."""
        return "the table as a whole" if self.is_whole else " and ".join(self.columns)


def links_of(node: Node) -> list[Link]:
    """Links of each output of a node to what it is made of: its inputs, and of a producer of several tables the main
    one, which they share their rows with."""
    main = tables.spec(node.table).name
    made = []
    for output in node.outputs:
        name = tables.spec(output).name
        if name != main and node.is_producer and (shared := _subjects(name, main)):
            made.append(Link(name, main, shared, shared))
            continue
        made += [_link(node, name, table) for table in node.inputs]
    return made


def all_links() -> list[Link]:
    """The links of all nodes; each once, although several nodes may fill a table."""
    return list(dict.fromkeys(link for node in graph.NODES.values() for link in links_of(node)))


def _link(node: Node, name: str, table: str) -> Link:
    per = tables.spec(tables.by_name(name)).per
    key = key_column(table, per) if per else None
    own, theirs = tables.schema(tables.by_name(name)), tables.schema(tables.by_name(table))
    if per and key and per in own:
        system = next((c for c in (SYSTEM, f"_{SYSTEM}") if c in theirs), None)
        is_of_system = SYSTEM in own and system and per not in tables.SUBJECT_KEYS and per != "record_id"
        return (
            Link(name, table, (per, SYSTEM), (key, system))
            if is_of_system and system
            else Link(name, table, (per,), (key,))
        )
    shared = _subjects(name, table)
    return Link(name, table, shared, shared)


def _subjects(one: str, other: str) -> tuple[str, ...]:
    """The first of the columns that name a subject in both tables."""
    own, theirs = tables.by_name(one).columns(), tables.by_name(other).columns()
    return next(((c,) for c in BY_SUBJECT if c in own and c in theirs), ())
