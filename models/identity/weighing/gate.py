"""The gate that every trained parameter passes: what was never observed, or came out the wrong way round, is replaced
by its stated value, and said.
"""

import math
from typing import Any

from customer360.models.identity.rules import IdentityRules
from customer360.models.identity.weighing.comparisons import Comparison

# Digits kept of a trained parameter: far beyond its meaning, and short of the noise of parallel summation, so that
# the same records give the same model bit for bit.
_DIGITS = 9
UNOBSERVED = "not observed"


def gate(
    start: dict[str, Any], trained: dict[str, Any], comparisons: list[Comparison], rules: IdentityRules
) -> tuple[dict[str, Any] | None, dict[str, str]]:
    """Complete parameters, None where more than `training.max_replaced_share` of the comparisons came out wrong; per
    "comparison / level" why one was replaced."""
    replaced: dict[str, str] = {}
    failed = 0
    prior = rounded(trained["probability_two_random_records_match"])
    result = []
    for before, after in zip(start["comparisons"], trained["comparisons"], strict=True):
        levels = [
            _measured_among_strangers(
                _completed(one, two, f"{before['output_column_name']} / {one['label_for_charts']}", replaced),
                two,
                prior,
            )
            for one, two in zip(before["comparison_levels"], after["comparison_levels"], strict=True)
        ]
        stated = [level for level in levels if not level.get("is_null_level")]
        if _weight(stated[0]) <= max(0.0, _weight(stated[-1])) or _weight(stated[-1]) >= 0:
            failed += 1
            replaced[before["output_column_name"]] = "agreement counts for less than disagreement; defaults used"
            levels = before["comparison_levels"]
        result.append(before | {"comparison_levels": levels})
    if failed > rules.training.max_replaced_share * len(comparisons):
        return None, replaced
    return start | {"comparisons": result, "probability_two_random_records_match": prior}, replaced


def _completed(before: dict[str, Any], after: dict[str, Any], place: str, replaced: dict[str, str]) -> dict[str, Any]:
    if before.get("is_null_level"):
        return before
    level = dict(before)
    for name in ("m_probability", "u_probability"):
        if name == "u_probability" and before.get("fix_u_probability"):
            continue
        value = after.get(name)
        if isinstance(value, float) and 0 < value < 1 and value != before[name]:
            level[name] = rounded(value)
        else:
            replaced[f"{place} / {name[0]}"] = f"{UNOBSERVED}; stated value {before[name]:g} used"
    return level


def _measured_among_strangers(level: dict[str, Any], trained: dict[str, Any], prior: float) -> dict[str, Any]:
    """The level cleared of matches where its u was measured; a stated u is that of strangers as it is."""
    is_counted = level.get("fix_u_probability") and "u_probability" in trained
    return _among_strangers(level, prior) if is_counted else _bounded_shares(level)


def without_matches(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with the chance of equality, which was counted over all pairs of records, cleared of the matches."""
    prior = settings["probability_two_random_records_match"]
    cleared = [
        entry
        | {
            "comparison_levels": [
                _among_strangers(level, prior) if level.get("fix_u_probability") else level
                for level in entry["comparison_levels"]
            ]
        }
        for entry in settings["comparisons"]
    ]
    return settings | {"comparisons": cleared}


def _among_strangers(level: dict[str, Any], prior: float) -> dict[str, Any]:
    """The level with its u cleared of the matches among the random pairs that it was measured on, which few records
    with many duplicates make the larger part of. Never below a twentieth, since the prior itself is an estimate."""
    if level.get("is_null_level"):
        return level
    u = level["u_probability"]
    return _bounded_shares(level | {"u_probability": rounded(max(u - prior * level["m_probability"], u / 20))})


def _bounded_shares(level: dict[str, Any]) -> dict[str, Any]:
    """Rare names that are exchanged count no more than exchanged names at large; common ones less."""
    return level | {"tf_minimum_u_value": level["u_probability"]} if "tf_minimum_u_value" in level else level


def _weight(level: dict[str, Any]) -> float:
    return math.log2(level["m_probability"] / level["u_probability"])


def rounded(value: float) -> float:
    """A parameter with the digits that are kept of it."""
    return float(f"{value:.{_DIGITS}g}")
