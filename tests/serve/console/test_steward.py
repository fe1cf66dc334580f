"""The words in which a pair is shown to a steward."""

from __future__ import annotations

from typing import Any

import pytest

from customer360.models.identity.weighing.households import HOUSEHOLD, TWINS
from customer360.serve.console.steward import told


@pytest.mark.parametrize(("reason", "level", "words"), [
    (HOUSEHOLD, None, "given names differ and there is no birth date to compare"),
    (HOUSEHOLD, "different", HOUSEHOLD),
    (TWINS, None, TWINS),
    (None, None, None),
])  # fmt: skip
def test_a_missing_birth_date_is_not_called_another(reason: str | None, level: str | None, words: str | None) -> None:
    evidence: list[dict[str, Any]] = [{"comparison": "date_of_birth", "level": level, "weight": 0.0}]
    assert told({"reason": reason, "evidence": evidence}) == words


def test_a_pair_without_a_score_has_no_evidence() -> None:
    assert told({"reason": None, "evidence": None}) is None
