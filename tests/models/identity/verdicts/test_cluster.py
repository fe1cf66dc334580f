import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from customer360.models.identity.components import components
from customer360.models.identity.verdicts.cluster import cluster

NONE = pl.DataFrame(schema={"rid_l": pl.Int64, "rid_r": pl.Int64})


def edges(*rows: tuple[int, int, float]) -> pl.DataFrame:
    schema = {"rid_l": pl.Int64, "rid_r": pl.Int64, "match_weight": pl.Float64}
    return pl.DataFrame(list(rows), schema=schema, orient="row")


def barring(*pairs: tuple[int, int]):
    table = pl.DataFrame(list(pairs), schema=NONE.schema, orient="row")
    return lambda asked: asked.join(table, on=["rid_l", "rid_r"], how="semi")


def test_components_are_named_by_their_smallest_node():
    assert components(6, np.array([4, 5]), np.array([5, 2])).tolist() == [0, 1, 2, 3, 2, 2]


def test_edges_join_and_nothing_else_does():
    labels = cluster(5, edges((0, 1, 9.0), (1, 2, 7.0)), NONE, barring(), 12)
    assert labels.tolist() == [0, 0, 0, 3, 4]


def test_a_contradiction_parts_the_component_where_it_holds_least():
    chain = edges((0, 1, 9.0), (1, 2, 12.0), (2, 3, 15.0))
    assert cluster(4, chain, NONE, barring((0, 2)), 12).tolist() == [0, 0, 2, 2]


def test_must_links_hold_against_contradictions():
    must = pl.DataFrame({"rid_l": [0], "rid_r": [2]})
    assert cluster(3, edges((1, 2, 5.0)), must, barring((0, 2)), 12).tolist() == [0, 0, 0]


def test_size_is_capped_at_the_weakest_edges():
    chain = edges(*((i, i + 1, 20.0 - i) for i in range(5)))
    labels = cluster(6, chain, NONE, barring(), 4)
    assert labels.tolist() == [0, 0, 0, 0, 4, 4]


graphs = st.integers(2, 12).flatmap(
    lambda n: st.tuples(
        st.just(n),
        st.lists(
            st.tuples(st.integers(0, n - 2), st.integers(1, n - 1), st.integers(1, 30)).filter(lambda e: e[0] < e[1]),
            unique_by=lambda e: e[:2],
            max_size=25,
        ),
        st.lists(st.tuples(st.integers(0, n - 2), st.integers(1, n - 1)).filter(lambda e: e[0] < e[1]), max_size=6),
        st.integers(2, 6),
        st.randoms(use_true_random=False),
    )
)


@settings(max_examples=40, deadline=None)
@given(graphs)
def test_clusters_are_a_partition_independent_of_edge_order(graph):
    nodes, rows, barred, cap, random = graph
    rows = [(left, right, float(weight)) for left, right, weight in rows if (left, right) not in barred]
    shuffled = random.sample(rows, len(rows))
    labels = cluster(nodes, edges(*rows), NONE, barring(*barred), cap)
    assert labels.tolist() == cluster(nodes, edges(*shuffled), NONE, barring(*barred), cap).tolist()
    assert (labels[labels] == labels).all() and (labels <= np.arange(nodes)).all()
    plain = components(nodes, np.array([r[0] for r in rows], dtype=int), np.array([r[1] for r in rows], dtype=int))
    assert (plain[labels] == plain).all()
    assert np.bincount(labels).max() <= cap
    assert not any(labels[left] == labels[right] for left, right in barred)


def test_one_weak_edge_does_not_join_two_firm_groups():
    left = [(a, b, 12.0) for a in range(6) for b in range(a + 1, 6)]
    right = [(a + 6, b + 6, weight) for a, b, weight in left]
    labels = cluster(12, edges(*left, *right, (5, 6, 3.0)), NONE, barring(), 60)
    assert labels.tolist() == [0] * 6 + [6] * 6


def test_a_record_may_hang_on_one_member_of_a_group():
    firm = [(a, b, 12.0) for a in range(6) for b in range(a + 1, 6)]
    assert cluster(7, edges(*firm, (0, 6, 5.0)), NONE, barring(), 60).tolist() == [0] * 7
