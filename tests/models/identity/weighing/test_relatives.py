"""Homes as a class of pairs: what agrees in a home counts once, and what a home does not explain counts in full."""

from datetime import date

import numpy as np
import polars as pl
import pytest

from customer360.models.identity import IdentityRules, Resolution, resolve
from customer360.models.identity.batch.pins import pinned
from customer360.models.identity.evidence.features import build_features
from customer360.models.identity.lookup.scorer import Scorer
from customer360.models.identity.weighing.comparisons import ADDRESS, BIRTH, FAMILY, GIVEN
from customer360.models.identity.weighing.estimate import Patterns
from customer360.models.identity.weighing.relatives import COMPARISON, Relatives, explained, relatives

RULES = IdentityRules()
SOUNDS = ("ba", "ne", "lo", "ri", "ka", "mu", "ste", "vo", "dan", "fel", "gor", "hal", "jen", "kol", "mar", "nor")


def invented(rng: np.random.Generator, size: int, parts: int) -> list[str]:
    return ["".join(row).title() for row in rng.choice(SOUNDS, size=(size, parts))]


def families(homes: int, again: int, seed: int = 3) -> pl.DataFrame:
    """Homes of three people with one surname, street and landline; `again` people have a second, mistyped record."""
    rng = np.random.default_rng(seed)
    given, family = invented(rng, 400, 2), invented(rng, homes, 3)
    rows = []
    for home in range(homes):
        for member in range(3):
            rows.append(
                {
                    "record_id": f"A/{home}/{member}",
                    "first_name": given[rng.integers(400)],
                    "last_name": family[home],
                    "phone_number": f"41555{10000 + home}",
                    "address_line_1": f"{home + 1} {family[home // 2]} Street",
                    "city": "Springfield",
                    "zip_code": f"{10000 + home // 40}",
                    "date_of_birth": date(
                        1950 + int(rng.integers(50)), 1 + int(rng.integers(12)), int(rng.integers(2, 28))
                    ),
                }
            )
    for row in rows[: 3 * again : 3]:
        rows.append(row | {"record_id": row["record_id"].replace("A", "B"), "last_name": row["last_name"][:-1]})
    return pl.DataFrame(rows)


def wrong_and_right(found: Resolution) -> tuple[int, int]:
    """Wrong pairs of records in one person, and right ones."""
    person = found.assignments.with_columns(who=pl.col("record_id").str.slice(2))
    pairs = person.join(person, on="person_id").filter(pl.col("record_id") < pl.col("record_id_right"))
    right = pairs.filter(pl.col("who") == pl.col("who_right")).height
    return pairs.height - right, right


@pytest.mark.parametrize("columns", [["phone_number", "date_of_birth"], ["date_of_birth"], ["phone_number"]])
def test_a_file_of_homes_without_duplicates_joins_nobody(columns: list[str]) -> None:
    people = families(400, 0).drop(columns)
    assert wrong_and_right(resolve(people, RULES)) == (0, 0)


def test_few_duplicates_among_many_homes_are_found_and_nobody_else() -> None:
    found = resolve(families(400, 12), RULES)
    assert found.model.household is not None
    assert wrong_and_right(found) == (0, 12)
    edge = found.edges.filter(pl.col("decision") == "accepted").row(0, named=True)
    assert next(e["weight"] for e in edge["evidence"] if e["comparison"] == COMPARISON) < -5


def test_one_record_is_weighed_as_a_batch_is() -> None:
    people = families(200, 10)
    pins, evidence = pinned(people, RULES)
    edges = resolve(people, RULES, model=pins.model).edges
    assert edges.height >= 10 and pins.model.household is not None
    rows = {row["record_id"]: row for row in evidence.to_dicts()}
    score = Scorer(pins.model.settings, pins.model.household)
    for edge in edges.to_dicts():
        alone = score(rows[edge["record_id_l"]], rows[edge["record_id_r"]])
        assert alone.weight == pytest.approx(edge["match_weight"], abs=1e-9)
        assert [(e.comparison, e.level) for e in alone.evidence] == [
            (e["comparison"], e["level"]) for e in edge["evidence"]
        ]


def test_agreement_is_never_raised_by_a_home() -> None:
    home = Relatives(odds=-10.0, bits={"family_name": (-0.2, 3.0)})
    weights, levels = np.array([[12.0], [-5.0], [0.0]]), np.array([[0], [1], [-1]])
    taken = explained(weights, levels, ["family_name"], home)
    assert (taken <= 0).all() and taken[0] < -1.5 and taken[2] > -0.01
    assert not explained(weights, levels, ["family_name"], None).any()


def test_mistyped_given_names_are_no_homes() -> None:
    """Surnames differ as often as given names where all else agrees: one person each, and no home."""
    comparisons = (GIVEN, FAMILY, ADDRESS)
    m = [np.array([level.m for level in c.levels]) for c in comparisons]
    u = [np.array([level.u for level in c.levels]) for c in comparisons]
    m = [x / x.sum() for x in m]
    other_given, other_family = len(GIVEN.levels) - 1, len(FAMILY.levels) - 1
    levels = np.array([[0, 0, 0], [other_given, 0, 0], [0, other_family, 0]], dtype=np.int8)
    mistyped = Patterns(levels, np.array([800.0, 100.0, 100.0]))
    homes = Patterns(levels, np.array([800.0, 2000.0, 10.0]))
    asked = {"street": 5000}
    none = relatives(comparisons, [(("street",), mistyped, 1.0)], m, u, asked)
    some = relatives(comparisons, [(("street",), homes, 1.0)], m, u, asked)
    assert some is not None
    assert none is None or none.odds < some.odds - 4


def test_records_without_given_names_have_no_homes() -> None:
    features = build_features(families(60, 0).drop("first_name"), RULES)
    assert "given" in features.frame.columns
    assert relatives((FAMILY,), [], [np.array([0.5, 0.5])], [np.array([0.1, 0.9])], {}) is None


def homes_with_namesakes(share: float, pairs: float = 20_000) -> list[Patterns]:
    """Pairs of one phone, without and with birth dates: a tenth one person, the others of one home, of whom `share`
    bear one given name."""
    m = [np.array([0.8] + [0.2 / 7] * 7), np.array([0.9, 0.02, 0.03, 0.02, 0.01, 0.02])]
    u = [np.array([0.004] + [0.996 / 7] * 7), np.array([6e-5, 1e-3, 1e-3, 1e-2, 2e-2, 0.96794])]
    by_chance = np.append(0.3 * u[0][0], u[0][1:])
    at_home = [(1 - share) * by_chance / by_chance.sum() + share * m[0], u[1]]
    levels = np.array([[given, born] for given in range(8) for born in range(6)], dtype=np.int8)
    counts = [0.1 * m[0][g] * m[1][b] + 0.9 * at_home[0][g] * at_home[1][b] for g, b in levels]
    dated = Patterns(levels, pairs * np.array(counts))
    return [Patterns(np.where(np.array([False, True]), np.int8(-1), levels), dated.counts), dated]


@pytest.mark.parametrize("share", [0.0, 0.004, 0.03])
def test_birth_dates_show_how_many_of_a_home_are_namesakes_up_to_a_bound(share: float) -> None:
    m = [np.array([0.8] + [0.2 / 7] * 7), np.array([0.9, 0.02, 0.03, 0.02, 0.01, 0.02])]
    u = [np.array([0.004] + [0.996 / 7] * 7), np.array([6e-5, 1e-3, 1e-3, 1e-2, 2e-2, 0.96794])]
    undated, dated = (
        relatives([GIVEN, BIRTH], [(("phone",), found, 1.0)], m, u, {"phone": 1000})
        for found in homes_with_namesakes(share)
    )
    assert undated is not None and undated.namesakes == 0.004
    assert dated is not None
    # A wrong birth date of one person looks like a namesake: more than twice the stated share is never learnt.
    assert dated.namesakes == pytest.approx(min(share, 0.008), abs=0.002)
