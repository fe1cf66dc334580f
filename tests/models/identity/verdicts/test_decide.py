from dataclasses import replace
from datetime import date
from pathlib import Path

import polars as pl
import pytest
import yaml

from customer360.models.identity.evidence.features import build_features
from customer360.models.identity.rules import Blocking, IdentityRules, Standardization
from customer360.models.identity.verdicts.decide import (
    GENDERS,
    GENERATION,
    HOUSEHOLD,
    SUFFIX,
    TWINS,
    TWINS_AT_HOME,
    UNNAMED,
    cannot_link,
    decide,
)
from customer360.models.identity.weighing.comparisons import borne
from customer360.models.identity.weighing.signs import SIGN

RULES = IdentityRules(
    standardization=Standardization(name_suffixes={"jr": "jr", "sr": "sr"}, genders={"f": "f", "m": "m"}),
    blocking=Blocking(identifiers=("card",)),
)
# All cases stand in one frame, in which the contacts that they share must not count as hubs.
NO_HUBS = RULES.model_copy(
    update={
        "standardization": RULES.standardization.model_copy(
            update={"max_names_per_email": 99, "max_names_per_phone": 99}
        )
    }
)
SCHEMA = {"date_of_birth": pl.Date, "card": pl.String}
BASE = {
    "first_name": "Maria", "last_name": "Lopez", "email_address": "lopez77@mail.com", "phone_number": "4155552671",
    "date_of_birth": date(1980, 5, 17), "address_line_1": "12 Oak St", "zip_code": "02139", "card": None,
}  # fmt: skip


NO_DOB = {"date_of_birth": None}
OTHER_DOB = {"date_of_birth": date(1983, 9, 2)}
OTHER_PHONE = {"phone_number": "6175550101"}
NO_CONTACT = {"email_address": None, "phone_number": None}


CASES = (
    ({}, {}, None),
    # One household, two people: everything of the family agrees.
    ({}, {"first_name": "Jorge"} | OTHER_DOB, HOUSEHOLD),
    (NO_DOB | OTHER_PHONE, {"first_name": "Jorge"}, HOUSEHOLD),
    (NO_CONTACT | NO_DOB, {"first_name": "Jorge"} | NO_CONTACT | NO_DOB, HOUSEHOLD),
    # Nicknames, typing errors, initials and swapped names are the same name.
    ({"first_name": "Robert"}, {"first_name": "Bob"} | NO_DOB | OTHER_PHONE, None),
    ({"first_name": "Maira"}, NO_DOB | OTHER_PHONE, None),
    ({"first_name": "M"}, NO_DOB | OTHER_PHONE, None),
    ({"first_name": "Tipmothy"}, {"first_name": "Tim"} | NO_DOB | OTHER_PHONE, None),
    ({"first_name": "Lopez", "last_name": "Maria"}, NO_DOB | OTHER_PHONE, None),
    # A couple shares phone and email.
    (NO_DOB, {"first_name": "Jorge"}, HOUSEHOLD),
    # Twins: same birth date, and with each a contact of their own or all of them shared.
    ({"email_address": None}, {"first_name": "Jorge"} | OTHER_PHONE, TWINS),
    ({}, {"first_name": "Jorge"}, TWINS_AT_HOME),
    # Father and son of one name.
    ({"date_of_birth": date(1955, 1, 20)} | OTHER_PHONE, {"email_address": "ml@mail.com"}, GENERATION),
    ({"date_of_birth": date(1955, 1, 20), "email_address": None}, {}, GENERATION),
    ({"date_of_birth": date(1955, 1, 20)}, {}, GENERATION),
    ({"date_of_birth": date(1968, 5, 17)}, {}, None),
    ({"last_name": "Lopez Sr."}, {"last_name": "Lopez, Jr"}, SUFFIX),
    ({"last_name": "Lopez Sr."}, {}, None),
    # A record without given name that only fits the family.
    ({"first_name": None} | NO_CONTACT, NO_DOB, UNNAMED),
    ({"first_name": None} | NO_DOB, {}, None),
    # The person's own number clears every suspicion, one typing error allowed.
    ({"card": "123456"} | OTHER_DOB, {"first_name": "Jorge", "card": "123465"}, None),
)


@pytest.fixture(scope="module")
def reasons() -> dict[tuple[int, bool], str]:
    """(case, mirrored) -> reason, for the pairs that have one; record a of a case comes before record b."""
    rows = []
    for case, (left, right, _) in enumerate(CASES):
        for mirrored, pair in ((False, (left, right)), (True, (right, left))):
            rows += [{"record_id": f"{case:03}-{mirrored:d}-{k}"} | BASE | record for k, record in enumerate(pair)]
    features = build_features(pl.DataFrame(rows, schema_overrides=SCHEMA), NO_HUBS)
    firsts = pl.int_range(0, len(rows), 2, eager=True)
    found = cannot_link(pl.DataFrame({"rid_l": firsts, "rid_r": firsts + 1}), features, NO_HUBS)
    return {(rid // 4, rid % 4 == 2): why for rid, why in found.select("rid_l", "reason").iter_rows()}


@pytest.mark.parametrize("case", range(len(CASES)))
def test_reasons(case, reasons):
    expected = CASES[case][2]
    assert reasons.get((case, False)) == expected
    assert reasons.get((case, True)) == expected


NAMES_OF_ONE = [
    "Fredrik/Fred", "Georgios/George", "Gustavo/Gus", "Konstantinos/Konstantin", "Jaroslaw/Jaroslav", "Lucien/Luc",
    "Christos/Christo", "Rohit/Rohith", "Mary Elizabeth/Mary Beth", "Young Soo/Young Su", "Luis Fernando/Luis Fdo",
    "Jose Antonio/Jose Tono", "Juan Fernando/Juan Frnd",
]  # fmt: skip
NAMES_OF_TWO = [
    "Fredrik/Fredrika", "Georgios/Georgia", "Lucien/Lucienne", "كريم/كريمة", "Maria Luisa/Maria Rosa",
    "Anna Sofia/Lena Sofia",
]  # fmt: skip


@pytest.fixture(scope="module")
def named() -> dict[str, bool]:
    """Names of one home as the shipped rules have them -> whether they are clearly two; absent where one."""
    settings = Path(__file__).parents[4] / "configs/rules/identity.yaml"
    rules = IdentityRules.model_validate(yaml.safe_load(settings.read_text(encoding="utf-8")))
    no_hubs = {"max_names_per_email": 99, "max_names_per_phone": 99}
    rules = rules.model_copy(update={"standardization": rules.standardization.model_copy(update=no_hubs)})
    pairs = NAMES_OF_ONE + NAMES_OF_TWO + ["Robert John/Bob John"]
    rows = [
        {"record_id": f"{at:03}{side}"} | BASE | NO_DOB | {"first_name": name}
        for at, pair in enumerate(pairs)
        for side, name in enumerate(pair.split("/"))
    ]
    features = build_features(pl.DataFrame(rows, schema_overrides=SCHEMA), rules)
    firsts = pl.int_range(0, len(rows), 2, eager=True)
    found = cannot_link(pl.DataFrame({"rid_l": firsts, "rid_r": firsts + 1}), features, rules)
    return {pairs[rid // 2]: is_named for rid, is_named in found.select("rid_l", "is_named").iter_rows()}


def test_spellings_and_short_forms_are_one_name(named):
    assert not set(NAMES_OF_ONE) & named.keys()


def test_couples_and_siblings_have_two_names(named):
    assert {pair for pair, is_named in named.items() if is_named} == set(NAMES_OF_TWO)


def test_decisions_keep_score_and_reason():
    rows = [
        {"record_id": "a"} | BASE,
        {"record_id": "b"} | BASE,
        {"record_id": "c"} | BASE | {"first_name": "Jorge"} | OTHER_DOB,
    ]
    features = build_features(pl.DataFrame(rows, schema_overrides={"card": pl.String}), RULES)
    pairs = pl.DataFrame({"rid_l": [0, 0, 1, 1], "rid_r": [1, 2, 2, 1], "match_weight": [20.0, 20.0, 0.5, 0.9]})
    decided = decide(pairs, features, RULES)
    assert decided["decision"].to_list() == ["accepted", "vetoed", "rejected", "rejected"]
    assert decided["reason"].to_list() == [None, HOUSEHOLD, None, None]
    assert decided["match_weight"].to_list() == pairs["match_weight"].to_list()


def test_no_pairs():
    features = build_features(pl.DataFrame([{"record_id": "a"} | BASE], schema_overrides={"card": pl.String}), RULES)
    empty = pl.DataFrame(schema={"rid_l": pl.Int64, "rid_r": pl.Int64, "match_weight": pl.Float64})
    assert decide(empty, features, RULES).columns[-2:] == ["reason", "decision"]


def test_idle_reasons_do_not_veto():
    rows = [{"record_id": "a"} | BASE, {"record_id": "b"} | BASE | {"first_name": "Jorge"} | OTHER_DOB]
    features = build_features(pl.DataFrame(rows, schema_overrides={"card": pl.String}), RULES)
    pairs = pl.DataFrame({"rid_l": [0], "rid_r": [1]})
    assert cannot_link(pairs, features, RULES)["reason"].to_list() == [HOUSEHOLD]
    assert cannot_link(pairs, features, RULES, idle={HOUSEHOLD, GENERATION}).is_empty()


@pytest.mark.parametrize(
    ("known", "idle", "reasons"),
    [
        (NO_CONTACT, {UNNAMED}, []),
        (OTHER_PHONE, {UNNAMED}, []),
        (OTHER_PHONE | {"email_address": "mia@mail.com"}, {UNNAMED}, [UNNAMED]),
        (OTHER_PHONE | {"email_address": "mia@mail.com"}, {UNNAMED, HOUSEHOLD}, []),
        (NO_CONTACT | {"gender": "M"}, {UNNAMED}, [UNNAMED]),
        (NO_CONTACT | {"gender": "M"}, {UNNAMED, GENDERS}, []),
    ],
)
def test_where_a_missing_name_hides_nobody_other_contacts_or_another_gender_still_do(
    known: dict[str, str | None], idle: set[str], reasons: list[str]
) -> None:
    rows = [
        {"record_id": "a", "gender": "F"} | BASE,
        {"record_id": "b", "gender": None} | BASE | NO_DOB | {"first_name": None, "email_address": None} | known,
    ]
    features = build_features(pl.DataFrame(rows, schema_overrides={"card": pl.String}), RULES)
    found = cannot_link(pl.DataFrame({"rid_l": [0], "rid_r": [1]}), features, RULES, idle=idle)
    assert found["reason"].to_list() == reasons


@pytest.mark.parametrize(
    ("one", "other", "share", "reasons"),
    [
        ("千代子", "美代子", 0.0001, []),
        ("千代子", "美代子", 0.02, [HOUSEHOLD]),
        ("千代子", "美代子", None, [HOUSEHOLD]),
        ("민준", "민중", 0.0001, []),
        ("直子", "子直", 0.0001, []),
        ("建国", "建军", 0.0001, [HOUSEHOLD]),
        ("민준", "민솔", 0.0001, [HOUSEHOLD]),
        ("伟", "娟", 0.0001, [HOUSEHOLD]),
        ("伟", "美", 0.0001, [HOUSEHOLD]),
        ("健一", "健也", 0.0001, [HOUSEHOLD]),
    ],
)
def test_a_sign_apart_is_another_name_where_others_bear_it_or_a_generation_may_share_it(
    one: str, other: str, share: float | None, reasons: list[str]
) -> None:
    rows = [
        {"record_id": "a"} | BASE | {"first_name": one},
        {"record_id": "b"} | BASE | NO_DOB | {"first_name": other},
    ]
    features = build_features(pl.DataFrame(rows, schema_overrides={"card": pl.String}), RULES)
    shares = pl.Series("share", [0.03, share], pl.Float64)
    features = replace(features, frame=features.frame.with_columns(shares.alias(borne("given"))))
    pair = pl.DataFrame({"rid_l": [0], "rid_r": [1]})
    assert cannot_link(pair, features, RULES)["reason"].to_list() == reasons
    where_none_is_shared = [] if share == 0.0001 and len(one) > 1 else [HOUSEHOLD]
    assert cannot_link(pair, features, RULES, idle={SIGN})["reason"].to_list() == where_none_is_shared
