"""For every build, without being asked: it may be computed part by part of its grain."""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from customer360.platform import graph, tables
from customer360.platform.graph import Node
from customer360.platform.lake import bucket_numbers
from customer360.platform.run.past import before
from customer360.platform.run.planning import plain
from customer360.platform.run.units import conform_to_storage, key_column, owner_column
from customer360.platform.tables import SUBJECT_KEYS
from customer360.serve.compose import compose

PARTS = 32
compose()
BUILDS = sorted(
    n.name for n in graph.NODES.values() if not n.is_producer and n.per and not n.name.split(".")[1].startswith("t_")
)


def split_column(table: str, per: str) -> str | None:
    """The column by which an input is split; subjects and persons are co-located."""
    keys = SUBJECT_KEYS if per in SUBJECT_KEYS else (per,)
    return next((c for k in keys if (c := key_column(table, k))), None)


def apply(node: Node, frames: dict[str, pl.LazyFrame], retailer) -> pl.DataFrame:
    values = {"as_of": retailer.date_of(node.name), "params": retailer.rules.get(node.rules or "")}
    reserved = {k: v for k, v in values.items() if k in node.wants}
    partition = {"as_of": str(retailer.as_of)} if tables.spec(node.table).is_dated else {}
    return conform_to_storage(node.table, node.function(*(frames[t] for t in node.inputs), **reserved), partition)


def canonical(frame: pl.DataFrame, node: Node) -> pl.DataFrame:
    key = node.table.primary_key() or frame.columns
    return frame.sort(key, nulls_last=True)


def test_what_a_build_reads_holds_the_key_of_its_grain() -> None:
    """An incremental run picks the rows of those who are touched by that column of every input that has it."""
    lost = [
        f"{node.name}: {table} without {key}"
        for node in graph.NODES.values()
        for table, columns in (node.reads or {}).items()
        if node.per and (key := owner_column(table, node.per)) and key not in columns
    ]
    assert not lost


@pytest.mark.parametrize("name", BUILDS)
def test_a_build_may_be_split_by_its_grain(name: str, retailer) -> None:
    node = graph.NODES[name]
    frames = {t: retailer.frame(t) for t in node.inputs}
    whole = canonical(apply(node, frames, retailer), node)
    columns = {t: split_column(t, node.per or "") for t in node.inputs}
    assert any(columns.values()), f"{name} is per {node.per}, but no input has that column"
    numbered = {
        t: frames[t].collect().with_columns(part__=bucket_numbers(frames[t].collect()[c].cast(pl.String), PARTS))
        for t, c in columns.items()
        if c
    }
    parts = []
    for number in range(PARTS):
        part = {
            t: numbered[t].filter(pl.col("part__") == number).drop("part__").lazy() if t in numbered else f
            for t, f in frames.items()
        }
        parts.append(apply(node, part, retailer))
    assert sum(p.height > 0 for p in parts) >= (20 if whole.height >= 100 else 1), (
        f"{name}: the test data do not spread"
    )
    assert whole.height > 0, f"{name}: the test data build nothing"
    assert_frame_equal(canonical(pl.concat(parts), node), whole, check_exact=False, abs_tol=1e-9, rel_tol=1e-9)


DATED = sorted(node.name for node in graph.NODES.values() if node.past and not node.name.split(".")[1].startswith("t_"))


@pytest.mark.parametrize("name", DATED)
def test_what_is_said_to_count_before_the_date_alone_does(name: str, retailer) -> None:
    """A run keeps the table as it is where nothing before the date has changed."""
    node, as_of = graph.NODES[name], retailer.date_of(name) - timedelta(days=7)
    assert all(column in (node.reads or {}).get(table, (column,)) for table, column in node.past.items())
    frames = {t: retailer.frame(t) for t in node.inputs}
    past = {t: f.filter(before(node.past[t], as_of)) if t in node.past else f for t, f in frames.items()}
    assert all(past[t].collect().height < frames[t].collect().height for t in node.past), "nothing comes later"
    reserved = {"as_of": as_of, "params": retailer.rules.get(node.rules or "")}
    values = {k: v for k, v in reserved.items() if k in node.wants}
    partition = {"as_of": str(as_of)}
    one, other = (
        conform_to_storage(node.table, node.function(*(each[t] for t in node.inputs), **values), partition)
        for each in (frames, past)
    )
    assert one.height
    assert_frame_equal(canonical(one, node), canonical(other, node), check_exact=False, rel_tol=1e-12)


@pytest.mark.parametrize("name", BUILDS)
def test_primary_keys_are_unique(name: str, retailer) -> None:
    node = graph.NODES[name]
    key = node.table.primary_key()
    made = apply(node, {t: retailer.frame(t) for t in node.inputs}, retailer)
    assert not key or not made.select(pl.struct(key).is_duplicated().any()).item(), f"{name}: {key} is not unique"


def test_rules_are_plain_values(retailer) -> None:
    """Fingerprints print rules the same in every process; a set in hash order would not."""
    assert all(plain(r) == plain(type(r).model_validate(r.model_dump())) for r in retailer.rules.values())
