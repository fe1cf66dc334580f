"""Quality of records against a reading of each row by itself, with values that mean little."""

from __future__ import annotations

import random
import unicodedata
from datetime import date

import polars as pl
import pytest

from customer360.pipelines.gold.quality import NATIONAL_DIGITS, customer_quality, record_quality
from customer360.pipelines.rules import ValidationRules

AS_OF = date(2026, 7, 1)
ODD = ["", " ", "--", None, "Ab c", "abC", "A-B-C", "É", "é", "+1 (415) 555-2671", "4155552671", "x@y.com"]
WORTH = {"email_address": 5.0, "phone_number": 4.0, "last_name": 3.0, "city": 1.0, "zip_code": 1.0}
RULES = ValidationRules.model_validate(
    {"customers": {"attributes": WORTH, "validity": {"zip_code": "LENGTH(zip_code) > 2"}, "consistency": {}}}
)


def values(rng: random.Random) -> dict[str, str | None]:
    return {name: rng.choice(ODD) for name in WORTH}


def plain(name: str, value: str | None) -> str | None:
    kept = "".join(c for c in (value or "").lower() if unicodedata.category(c)[0] in "LN")
    return (kept[-NATIONAL_DIGITS:] if name == "phone_number" else kept) or None


def lacking(row: dict[str, str | None]) -> list[str]:
    """Names that are missing, as they lie in the rules: the most useful first."""
    bad = {name for name in WORTH if not (row[name] or "").strip()}
    return [name for name in WORTH if name in bad or (name == "zip_code" and len(row[name] or "") <= 2)]


@pytest.mark.parametrize("seed", range(5))
def test_scores_are_those_of_each_row_by_itself(seed: int) -> None:
    rng = random.Random(seed)
    people = [{"person_id": f"p{n}", "record_count": rng.choice([1, 2])} | values(rng) for n in range(20)]
    records = [{"record_id": f"S/{n:02}", "source_system": "S"} | values(rng) for n in range(60)]
    owner = {row["record_id"]: f"p{rng.randrange(20)}" for row in records[:55]}
    dates = {name: pl.lit(None, pl.Date) for name in ("last_login_on", "registered_on")}
    held = pl.DataFrame(records, infer_schema_length=None).lazy()
    held = held.with_columns(**dates, last_updated_at=pl.lit(None, pl.Datetime("us", "UTC")))
    owners = pl.LazyFrame({"record_id": list(owner), "person_id": list(owner.values())})
    golden = pl.LazyFrame(people, infer_schema_length=None)
    scores = record_quality(held, owners, golden, AS_OF, RULES).collect()
    found = {row["record_id"]: row for row in scores.to_dicts()}
    known = {row["person_id"]: row for row in people}
    for row in records:
        person = known.get(owner.get(row["record_id"], ""), {"record_count": 0})
        pairs = [(plain(a, row[a]), plain(a, person.get(a))) for a in WORTH] if person["record_count"] > 1 else []
        verdicts = [one == other for one, other in pairs if one and other]
        expected = sum(verdicts) / len(verdicts) if verdicts else None
        assert found[row["record_id"]]["accuracy_score"] == pytest.approx(expected)
        assert found[row["record_id"]]["missing_attributes"] == lacking(row)
    of_people = customer_quality(golden, scores.lazy(), AS_OF, RULES).collect()
    missing = dict(of_people.select("person_id", "missing_attributes").iter_rows())
    assert missing == {row["person_id"]: lacking(row) for row in people}


def test_who_lacks_nothing_has_an_empty_list() -> None:
    person = {"person_id": "p", "record_count": 1} | dict.fromkeys(WORTH, "12345")
    none = record_quality(
        pl.LazyFrame(
            schema=dict.fromkeys(("record_id", "source_system", *WORTH), pl.String)
            | {"last_login_on": pl.Date, "registered_on": pl.Date, "last_updated_at": pl.Datetime("us", "UTC")}
        ),
        pl.LazyFrame(schema={"record_id": pl.String, "person_id": pl.String}),
        pl.LazyFrame([person]),
        AS_OF,
        RULES,
    )
    assert none.collect().is_empty()
    assert customer_quality(pl.LazyFrame([person]), none, AS_OF, RULES).collect()["missing_attributes"].to_list() == [
        []
    ]
