"""What holds a person together."""

from __future__ import annotations

from typing import Any

from customer360.models.identity.verdicts.explain import explain


def edge(left: str, right: str, weight: float | None, decision: str = "accepted") -> dict[str, Any]:
    return {"record_id_l": left, "record_id_r": right, "match_weight": weight, "decision": decision}


def test_a_chain_is_held_by_its_weakest_bridge() -> None:
    told = explain("abc", [edge("a", "b", 20.0), edge("b", "c", 5.0), edge("a", "c", -3.0, "rejected")])
    assert told.weakest_bridge == edge("b", "c", 5.0)
    assert [e["match_weight"] for e in told.held_by] == [20.0, 5.0]
    assert [e["match_weight"] for e in told.against] == [-3.0]
    assert told.cheapest_cut is not None
    assert told.cheapest_cut.groups == (("a", "b"), ("c",)) and told.cheapest_cut.weight == 5.0


def test_a_triangle_has_no_bridge_and_its_cut_names_two_edges() -> None:
    told = explain("abc", [edge("a", "b", 20.0), edge("b", "c", 5.0), edge("a", "c", 6.0)])
    assert told.weakest_bridge is None
    assert told.cheapest_cut is not None
    assert {e["match_weight"] for e in told.cheapest_cut.edges} == {5.0, 6.0}
    assert told.cheapest_cut.groups == (("a", "b"), ("c",))


def test_a_link_without_score_is_not_what_gives_way() -> None:
    told = explain("abc", [edge("a", "b", None), edge("b", "c", 7.0)])
    assert told.weakest_bridge == edge("b", "c", 7.0)


def test_one_record_needs_no_reason() -> None:
    told = explain(["a"], [edge("a", "z", 3.0)])
    assert (told.held_by, told.weakest_bridge, told.cheapest_cut) == ((), None, None)
