from pathlib import Path

import polars as pl
import pytest
import yaml

from customer360.models.identity.evidence.features import (
    IdentityInputError,
    build_features,
    joined,
    key_caps,
    proposed_pairs,
    text_hash,
    wrapped,
)
from customer360.models.identity.rules import Blocking, IdentityRules

RULES = IdentityRules()
SETTINGS = Path(__file__).parents[4] / "configs/rules/identity.yaml"
SHIPPED = IdentityRules.model_validate(yaml.safe_load(SETTINGS.read_text(encoding="utf-8")))


def keys(records: list[dict], name: str, rules: IdentityRules = RULES) -> list:
    rows = [{"record_id": str(place)} | record for place, record in enumerate(records)]
    return build_features(pl.DataFrame(rows), rules).frame[f"key_{name}"].to_list()


def coded(*texts: str | None) -> list:
    return text_hash(pl.Series(texts, dtype=pl.String)).to_list()


def test_typing_errors_and_swaps_still_meet():
    swapped = [
        {"first_name": "Benjamin", "last_name": "Novak", "zip_code": "02139"},
        {"first_name": "Novak", "last_name": "Benjamni", "zip_code": "02139"},
    ]
    assert keys(swapped, "prefixes_zip") == [wrapped(joined(coded("ben nov", "02139")))] * 2


def test_a_key_needs_two_records_and_not_too_many():
    emails = ["ann7@mail.com"] * 3 + ["bob8@mail.com"] * 2 + ["cid9@mail.com"]
    features = build_features(pl.DataFrame({"record_id": list("abcdef"), "email_address": emails}), RULES)
    few = IdentityRules(blocking=Blocking(max_records_per_key=2))
    proposed = {}
    for rules in (RULES, few):
        caps = key_caps(features.frame, ["key_email"], rules)
        proposed[caps["key_email"]] = proposed_pairs(features.frame, caps, 1)
    assert proposed == {200: 3 + 1, 2: 1}


def test_a_user_made_of_the_name_alone_says_nothing():
    people = {"first_name": "Ann", "last_name": "Lee"}
    users = ["ann.lee@one.com", "alee@two.com", "ann.lee77@one.com", "shadow@one.com"]
    rows = [{"record_id": str(i), "email_address": user} | people for i, user in enumerate(users)]
    features = build_features(pl.DataFrame(rows), RULES).frame
    assert features["email_user"].to_list() == [None, None, "ann.lee77", "shadow"]
    assert features["email"].null_count() == 0


def test_a_desk_says_where_it_stands_and_a_provider_has_no_desks_with_surnames():
    desks = ["info@firma.de", "office2@firma.de", "info.berlin@firma.de", "sales-uk@firma.de", "einkauf_2@firma.de", "info@mail.com"]  # fmt: skip  # noqa: E501
    people = ["post.malone@mail.com", "general.lee@mail.com", "web-smith2@mail.com", "moin@firma.de", "ar.khan@firma.de", "ann@firma.de", None]  # fmt: skip  # noqa: E501
    rows = [{"record_id": f"{at:02}", "email_address": email} for at, email in enumerate(desks + people)]
    frame = build_features(pl.DataFrame(rows), SHIPPED).frame
    assert frame["is_desk"].fill_null(False).to_list() == [True] * len(desks) + [False] * len(people)


def test_rows_are_sorted_by_record_id():
    frame = build_features(pl.DataFrame({"record_id": ["b", "a"], "first_name": ["Bo", "Al"]}), RULES).frame
    assert frame.select("rid", "record_id", "given").rows() == [(0, "a", "al"), (1, "b", "bo")]


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ({"first_name": ["Ann"]}, "no column record_id"),
        ({"record_id": ["a", None]}, "null in 1 of 2"),
        ({"record_id": ["a", "a"]}, "1 repeated of 2"),
    ],
)
def test_bad_record_ids_are_refused(records, message):
    with pytest.raises(IdentityInputError, match=message):
        build_features(pl.DataFrame(records), RULES)


def test_a_birth_date_whose_digits_change_places_meets_the_right_one():
    records = pl.DataFrame(
        {
            "record_id": ["1", "2", "3"],
            "first_name": ["Mira", "Myra", "Mira"],
            "last_name": ["Zoric", "Zorik", "Zoric"],
            "date_of_birth": ["1996-03-05", "1969-03-05", "1997-03-05"],
        }
    )
    made = build_features(records, IdentityRules()).frame
    assert made["key_digits_initials"].to_list()[0] == made["key_digits_initials"].to_list()[1]
    assert made["key_digits_initials"].n_unique() == 2


def test_names_of_characters_are_compared_by_them():
    rows = [
        {"record_id": "a", "first_name": "香織", "last_name": "遠藤"},
        {"record_id": "b", "first_name": "織", "last_name": "藤"},
    ]
    whole, part = build_features(pl.DataFrame(rows), RULES).frame.select("given", "family").rows()
    assert all(set(some.split()) < set(name.split()) for name, some in zip(whole, part, strict=True))


@pytest.mark.parametrize(
    ("native", "latin"),
    [
        ("Юлия", "Julia"),
        ("Χρήστος", "Hristos"),
        ("小明", "Xiaoming"),
        ("ゆうき", "Yuki"),
        ("민준", "Minjun"),
    ],
)
def test_one_name_in_two_scripts_has_a_root_in_common(native: str, latin: str):
    rows = [{"record_id": "a", "first_name": native}, {"record_id": "b", "first_name": latin}]
    rows += [{"record_id": "c", "first_name": "Ruth"}]
    one, other, third = map(set, build_features(pl.DataFrame(rows), RULES).frame["roots"])
    assert one & other and not one & third


def test_a_full_name_of_characters_holds_no_further_name():
    rows = [
        {"record_id": "a", "first_name": "민준", "last_name": "김", "full_name": "김민준"},
        {"record_id": "b", "first_name": "민준", "last_name": "김", "full_name": "민준 요한 김"},
    ]
    frame = build_features(pl.DataFrame(rows), RULES).frame
    assert frame["middle"].to_list() == [None, ["yo han"]]
    assert "min jun" in frame["parts"][0]
