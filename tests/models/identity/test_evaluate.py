import polars as pl
import pytest

from customer360.models.identity import b_cubed, pairwise


def table(found: str, true: str) -> pl.DataFrame:
    return pl.DataFrame({"cluster_key": list(found), "entity_id": list(true)})


def test_hand_case():
    # Clusters {1,2,3}, {4,5}; entities {1,2}, {3,4,5}: 2 of the 4 pairs said are right, 2 of the 4 there are found.
    clusters = table("aaabb", "xxyyy")
    assert (pairwise(clusters).precision, pairwise(clusters).recall) == (0.5, 0.5)
    # Per record: precision 2/3 2/3 1/3 1 1, recall 1 1 1/3 2/3 2/3.
    cubed = b_cubed(clusters)
    assert cubed.precision == pytest.approx(11 / 15)
    assert cubed.recall == pytest.approx(11 / 15)
    assert cubed.f1 == pytest.approx(11 / 15)


def test_perfect_and_singletons():
    assert pairwise(table("aab", "xxy")).f1 == 1.0
    alone = pairwise(table("abc", "xxx"))
    assert (alone.precision, alone.recall, alone.f1) == (1.0, 0.0, 0.0)
    assert b_cubed(table("abc", "xxx")).recall == pytest.approx(1 / 3)
    assert b_cubed(table("", "")).f1 == 1.0
