"""Whether a sign apart is an error or a brother is learnt from homes whose birth dates are known."""

import polars as pl
import pytest

from customer360.models.identity.evidence.features import build_features
from customer360.models.identity.rules import IdentityRules
from customer360.models.identity.weighing.frequencies import term_frequencies, with_shares
from customer360.models.identity.weighing.signs import MEASURED, sign_mistyped

RULES = IdentityRules()
SIGNS = "伟芳娜敏静丽磊军洋勇艳杰娟涛明超霞平刚"


def learnt(mistyped: int, brothers: int, streetless: int = 0) -> tuple[bool, dict[str, float]]:
    """From homes of two records, 国强 and one a sign apart that nobody else bears: of one birth date, and of two. The
    first `streetless` homes have no street."""
    rows = []
    for home in range(mistyped + brothers):
        other = "1990-05-17" if home < mistyped else "1994-11-02"
        for place, (name, born) in enumerate((("国强", "1990-05-17"), (f"国{SIGNS[home]}", other))):
            rows.append({
                "record_id": f"{home:02}{place}", "first_name": name, "last_name": "王", "date_of_birth": born,
                "address_line_1": f"{home + 1} Oak Street" if home >= streetless else None, "city": "Delft",
                "zip_code": f"{10001 + home}",
            })  # fmt: skip
    features = build_features(pl.DataFrame(rows), RULES)
    return sign_mistyped(with_shares(features, term_frequencies(features)), RULES)


@pytest.mark.parametrize(
    ("mistyped", "brothers", "is_mistyped"), [(9, 0, True), (14, 4, True), (9, 9, False), (2, 12, False)]
)
def test_a_sign_apart_is_what_homes_with_birth_dates_say(mistyped: int, brothers: int, is_mistyped: bool) -> None:
    found, measured = learnt(mistyped, brothers)
    assert found is is_mistyped
    assert measured[MEASURED] == pytest.approx(mistyped / (mistyped + brothers), abs=1e-4)


def test_few_homes_say_nothing() -> None:
    assert learnt(4, 0) == (False, {})


def test_where_streets_are_missing_postal_codes_say_more() -> None:
    assert learnt(4, 3)[0] is False, "of seven pairs four say little"
    found, measured = learnt(14, 3, streetless=10)
    assert found is True and measured[MEASURED] == pytest.approx(14 / 17, abs=1e-4)
