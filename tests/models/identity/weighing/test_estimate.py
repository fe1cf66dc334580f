import numpy as np
import polars as pl
import pytest

from customer360.models.identity.evidence.features import build_features
from customer360.models.identity.rules import IdentityRules
from customer360.models.identity.weighing import estimate
from customer360.models.identity.weighing.estimate import (
    Patterns,
    among_strangers,
    coded,
    maximise,
    observed_u,
    random_pairs,
    session_pairs,
)


def test_maximisation_finds_the_parameters_of_a_known_mixture():
    m, u, share = np.array([0.9, 0.1]), np.array([0.05, 0.95]), 0.3
    levels = np.array([[a, b, c] for a in (0, 1) for b in (0, 1) for c in (0, 1)], dtype=np.int8)
    odds = np.array([share * m[row].prod() + (1 - share) * u[row].prod() for row in levels])
    found, part = maximise(Patterns(levels, odds * 1e6), [np.array([0.7, 0.3])] * 3, [[u] * 3])
    assert part == pytest.approx(share, abs=0.01)
    assert all(values == pytest.approx(m, abs=0.01) for values in found)


def test_a_class_of_its_own_takes_the_pairs_that_are_neither_persons_nor_strangers():
    """Every third pair shares two of three values as homes do: without the class it would pass for persons."""
    m, u = np.array([0.9, 0.1]), np.array([0.01, 0.99])
    home = [m, m, u]
    levels = np.array([[a, b, c] for a in (0, 1) for b in (0, 1) for c in (0, 1)], dtype=np.int8)
    at_home = np.array([np.prod([home[at][level] for at, level in enumerate(row)]) for row in levels])
    pairs = np.array([0.01 * m[row].prod() + 0.66 * u[row].prod() for row in levels]) + 0.33 * at_home
    found = Patterns(levels, pairs * 1e5)
    _, without = maximise(found, [np.array([0.9, 0.1])] * 3, [[u] * 3])
    _, part = maximise(found, [np.array([0.9, 0.1])] * 3, [[u] * 3, home])
    assert without > 0.2
    assert part < 0.05


def test_what_no_persons_records_differ_in_is_bounded():
    levels = np.array([[0], [1]], dtype=np.int8)
    found, _ = maximise(
        Patterns(levels, np.array([10.0, 1e6])), [np.array([0.9, 0.1])], [[np.array([0.5, 0.5])]], [0.4]
    )
    assert found[0][1] <= 0.4


def test_matches_among_random_pairs_are_not_counted_as_strangers():
    """Half of the pairs that agree on the rare value are one person's, also those that say nothing else."""
    m, u, prior = np.array([0.9, 0.1]), np.array([2e-4, 1 - 2e-4]), 1e-3
    levels = np.array([[a, b] for a in (0, 1) for b in (-1, 0, 1)], dtype=np.int8)
    said = {-1: 0.5, 0: 0.5, 1: 0.5}
    counts = np.array(
        [
            1e7 * said[b] * sum(part * by[a] * (1.0 if b < 0 else by[b]) for part, by in ((prior, m), (1 - prior, u)))
            for a, b in levels
        ]
    )
    drawn = Patterns(levels, counts)
    seen = counts[:3].sum() / counts.sum()
    start = [np.array([seen, 1 - seen]), np.array([seen, 1 - seen])]
    apart = among_strangers(drawn, [m, m], start, prior)
    assert seen > 5 * u[0]
    found = observed_u(u, np.array([apart.counts[:3].sum(), apart.counts[3:].sum()]))
    assert found[0] == pytest.approx(u[0], rel=0.05)


def test_all_pairs_where_few_and_the_same_draw_where_many():
    assert random_pairs(4, 100, 7).height == 6
    assert random_pairs(1000, 50, 7).equals(random_pairs(1000, 50, 7))


def test_values_have_the_same_code_in_pieces(monkeypatch):
    frame = pl.DataFrame({"rid": range(10), "given": [*"abcab", None, *"cabc"], "zip": ["1", "2"] * 5})
    whole = coded(frame, ("given", "zip"))
    monkeypatch.setattr(estimate, "_PIECE", 3)
    assert coded(frame, ("given", "zip")).equals(whole)
    assert whole["rid"].to_list() == [0, 1, 2, 3, 4, 6, 7, 8, 9]
    by_code = whole.join(frame, on="rid").group_by("code").agg(pl.struct("given", "zip").n_unique())
    assert by_code.height == 6 and by_code["given"].to_list() == [1] * 6
    assert coded(frame.clear(), ("given",)).is_empty()


def test_session_pairs_keep_to_their_budget_and_say_of_which_records():
    rows = pl.DataFrame(
        {"record_id": [str(i) for i in range(400)], "first_name": [f"name{i // 4}" for i in range(400)]}
    )
    features = build_features(rows, IdentityRules())
    pairs, kept = session_pairs(features, ("given",), 10_000)
    assert (pairs.height, kept) == (600, 1.0)
    some, part = session_pairs(features, ("given",), 120)
    assert 0 < some.height < 300 and 0 < part < 0.5
