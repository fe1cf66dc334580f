"""Edges and their evidence, which are held apart, come together as they went in."""

import polars as pl

from customer360.models.identity.batch.state import EDGES, State, alongside


def edges(number: int) -> pl.DataFrame:
    rows = [
        {
            "record_l": n, "record_r": n + 1, "match_weight": float(n), "match_probability": 0.5, "match_key": "email",
            "evidence": [{"comparison": "email", "level": "exact", "weight": float(n)}] if n % 3 else None,
            "decision": "accepted", "reason": None,
        }
        for n in range(number)
    ]  # fmt: skip
    return pl.DataFrame(rows, schema=EDGES)


def state(number: int) -> State:
    empty = State.empty(pl.DataFrame({"record_id": ["a"]}))
    return State.of(empty.frame, edges(number), empty.crowded)


def test_edges_come_together_as_they_went_in():
    assert state(7).edges.equals(edges(7))


def test_an_edge_finds_its_evidence_when_others_went():
    held = state(9)
    kept = held.verdicts.filter(pl.col("record_l") % 2 == 0)
    assert State(held.frame, kept, held.evidence, held.crowded).edges.equals(edges(9)[::2])


def test_evidence_that_no_edge_names_goes_once_it_is_the_larger_part():
    held = state(9)
    few, many = (State(held.frame, held.verdicts[:n], held.evidence, held.crowded).tidied() for n in (2, 6))
    assert few.evidence.len() == 2 and few.edges.equals(edges(2))
    assert many.evidence.len() == 9 and many.edges.equals(edges(6))


def test_pieces_of_many_batches_are_put_together():
    held = state(9)
    verdicts = pl.concat([held.verdicts[n : n + 1] for n in range(9)] * 10, rechunk=False)
    made = State(held.frame, verdicts, pl.concat([held.evidence] * 10), held.crowded).tidied()
    assert made.verdicts.n_chunks() == 1 and made.edges.equals(pl.concat([edges(9)] * 10))


def test_a_column_comes_alongside_in_the_chunks_of_the_frame():
    parts = [pl.DataFrame({"a": [1, 2]}), pl.DataFrame({"a": [3]}), pl.DataFrame({"a": [4, 5, 6]})]
    made = alongside(pl.concat(parts, rechunk=False), pl.Series("b", range(6)))
    assert made["b"].to_list() == list(range(6))
    assert made["b"].chunk_lengths() == made["a"].chunk_lengths() == [2, 1, 3]
    assert alongside(parts[0].clear(), pl.Series("b", [], pl.Int64)).columns == ["a", "b"]
