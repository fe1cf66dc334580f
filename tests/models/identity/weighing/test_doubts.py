"""What a model does not believe is said to whoever runs it."""

import logging

import pytest

from customer360.models.identity.weighing.doubts import doubts, tell
from customer360.models.identity.weighing.households import UNNAMED
from customer360.models.identity.weighing.model import IdentityModel

MADE = {
    "mode": "trained",
    "replaced": {"gender / same / m": "not observed"},
    "sessions": {"email": 40, "given + zip": 7301},
    "not believed": ["given + zip"],
    "vetoes": {"two people at one home": 0.0242},
    "expected": {"pairs": 41.0, "false pairs": 0.4},
}


def test_pairs_that_are_not_believed_and_rules_left_out_are_named_with_their_figures() -> None:
    lines = doubts(MADE, (UNNAMED,))
    assert "7,301 matches among pairs that agree on given + zip" in lines[0]
    assert UNNAMED in lines[1] and "2.4% of pairs of one surname and one place" in lines[2]
    assert len(lines) == 3 and not any("email" in line for line in lines)


def test_pairs_that_are_left_to_a_steward_are_counted() -> None:
    held = {"pairs": 1250, "false pairs": 194, "from": 2.0}
    (line,) = doubts(MADE | {"not believed": [], "held back": held}, ())
    assert "1,250 pairs of 2 bits" in line and "about 194" in line and "decision.accept_weight: 2 accepts" in line


def test_without_doubts_nothing_is_said() -> None:
    assert doubts(MADE | {"not believed": []}, ()) == []
    assert doubts({"mode": "default", "replaced": {}}, ()) == [], "of a model of organisations, or an older one"


def test_a_run_logs_them(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("customer360"), "propagate", True)
    model = IdentityModel(settings={}, term_frequency_hash="", diagnostics=MADE, accept_weight=1.0)
    with caplog.at_level(logging.INFO, logger="customer360"):
        tell(model)
    assert "not believed" in caplog.text and "7,301" in caplog.text and "false_pairs" in caplog.text
