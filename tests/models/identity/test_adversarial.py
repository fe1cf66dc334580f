"""People whom plain scoring joins, or parts, wrongly: each kind by name, judged by who ends with whom.

Shared devices are in `test_links.py`, limits of verified numbers one by one in `test_stitching.py`.
"""

from datetime import date
from itertools import combinations
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import yaml

from customer360.models.identity import IdentityRules, Resolution, resolve

pytestmark = pytest.mark.slow
RULES = IdentityRules.model_validate(
    yaml.safe_load((Path(__file__).parents[3] / "configs" / "rules" / "identity.yaml").read_text(encoding="utf-8"))
)
GIVEN = "Amara Bruno Chiara Dmitri Elif Farid Greta Hamza Ines Joao Katya Luca Mei Noor Oskar Paula Qi Rosa Stefan Tomas".split()  # noqa: E501
FAMILY = (
    "Abara Bianchi Castel Dvorak Eriksen Fontaine Gruber Haddad Ivanova Jansen Kowal Lindqvist Moreau Nakata".split()
)
STREETS = "Birch Cedar Dogwood Elder Fir Ginkgo Hazel Ivy".split()


def town(homes: int, seed: int) -> list[dict]:
    """Ordinary families to fit the model on: two or three people a home, an account or two each, with gaps and typing
    errors."""
    rng = np.random.default_rng(seed)
    rows = []
    for home in range(homes):
        family = str(rng.choice(FAMILY)) + "aeiou"[home % 5]
        shared = {
            "last_name": family, "phone_number": f"415 7{home:02}-{4000 + home}",
            "address_line_1": f"{home + 1} {rng.choice(STREETS)} St", "city": "Fairview", "zip_code": f"{20100 + home % 40}",  # noqa: E501
        }  # fmt: skip
        for given in rng.choice(GIVEN, int(rng.integers(2, 4)), replace=False):
            born = date(int(rng.integers(1940, 2004)), int(rng.integers(1, 13)), int(rng.integers(2, 29)))
            own = {
                "first_name": str(given),
                "date_of_birth": born,
                "email_address": f"{given}.{family}{home}@gmail.com".lower(),
            }
            for source in ("CRM", "SHOP", "POS")[: int(rng.integers(1, 4))]:
                kept = {
                    k: v if k in ("first_name", "last_name") or rng.random() > 0.25 else None
                    for k, v in (shared | own).items()
                }
                if rng.random() < 0.1:
                    kept["first_name"] = kept["first_name"][:-1] + "x"
                rows.append({"record_id": f"{source}/{given}{home}"} | kept)
    return rows


def person(name: str, *records: dict, **common: object) -> list[dict]:
    """Records "name/1", "name/2", … of one person."""
    first, _, last = name.partition(" ")
    known = {"first_name": first, "last_name": last} | common
    return [{"record_id": f"{name}/{n}"} | known | record for n, record in enumerate(records, 1)]


NORTH = {"address_line_1": "7 Northgate Rd", "city": "Elmswell", "zip_code": "60611"}
HOUSEHOLD = {"phone_number": "312 555 7788", "email_address": "family.brandvold@gmail.com"} | NORTH
TWIN = {"date_of_birth": date(1991, 4, 23), "address_line_1": "90 Harbour Ln", "city": "Elmswell", "zip_code": "60615"}
SENIOR = {"phone_number": "312 555 9911", "address_line_1": "3 Quarry Ct", "city": "Elmswell", "zip_code": "60619"}
CASES = [
    # A household: one surname, address, landline and email.
    *person("Ingrid Brandvold", {}, {"phone_number": None}, date_of_birth=date(1968, 2, 9), **HOUSEHOLD),
    *person("Olav Brandvold", {}, {"email_address": None}, date_of_birth=date(1965, 11, 30), **HOUSEHOLD),
    *person("Sunniva Brandvold", {}, **HOUSEHOLD),
    # Twins, each with a contact of their own.
    *person("Lena Castellane", {"phone_number": "3125550143"}, {}, email_address="lena.castel91@gmail.com", **TWIN),
    *person("Mira Castellane", {"phone_number": "3125550178"}, {}, email_address="mira.c.lane@gmail.com", **TWIN),
    # Father and son of one name.
    *person("Walter Pennington Sr", {}, {}, date_of_birth=date(1948, 7, 1), **SENIOR),
    *person("Walter Pennington Jr", {}, {}, date_of_birth=date(1976, 3, 19), **SENIOR),
    *person("Roscoe Undine Sr", {}, address_line_1="8 Larch Way", zip_code="60622", city="Elmswell"),
    *person("Roscoe Undine Jr", {}, address_line_1="8 Larch Way", zip_code="60622", city="Elmswell"),
    # A phone number that was given to somebody else.
    *person("Gustav Halloran", {}, {"email_address": None}, phone_number="773 555 0166", email_address="ghalloran5@aol.com",  # noqa: E501
            date_of_birth=date(1955, 6, 6), address_line_1="12 Mill Row", zip_code="60640"),
    *person("Priya Venkat", {}, {"email_address": None}, phone_number="773 555 0166", email_address="pvenkat88@gmail.com",  # noqa: E501
            date_of_birth=date(1988, 9, 14), address_line_1="55 Lake Dr", zip_code="60657"),
    # One address of a shop's desk for whoever has no email, and what people write who will not tell.
    *(r for n, given in enumerate(GIVEN) for r in person(f"{given} Desk{n}on", {}, email_address="till12@bigshop.example")),  # noqa: E501
    *(r for n, given in enumerate(GIVEN) for r in person(
        f"{given} Quietly{n}", {}, email_address="noemail@noemail.com", phone_number="000-000-0000")),
    *(r for n in range(6) for r in person(f"Jordan Hush{'abcdef'[n] * 3}", {}, email_address="none@none.com",
                                          phone_number="0000000000", date_of_birth=date(1970, 1, 1))),
    # An email that a couple shares, who live in two places.
    *person("Beatrix Omondi", {}, {"address_line_1": None}, email_address="theomondis@gmail.com",
            date_of_birth=date(1979, 12, 3), address_line_1="4 Coral Bay", zip_code="60601"),
    *person("Caspian Omondi", {}, {"address_line_1": None}, email_address="theomondis@gmail.com",
            date_of_birth=date(1977, 8, 21), address_line_1="81 Dune Rd", zip_code="60699"),
    # One person who married and moved, held together by a loyalty card alone.
    *person("Yolanda Birkett", {"date_of_birth": date(1990, 5, 5)}, loyalty_id="LC-777 001", address_line_1="1 Old Way"),  # noqa: E501
    *person("Yolanda Zamora", {}, loyalty_id="lc777001", address_line_1="200 New Blvd", zip_code="90210"),
    # A couple with one card and two birth dates; a card that the till lends to everybody.
    *person("Ferdinand Quill", {}, loyalty_id="LC-888002", date_of_birth=date(1960, 1, 9), address_line_1="6 Elm Pk"),
    *person("Marguerite Quill", {}, loyalty_id="LC-888002", date_of_birth=date(1963, 10, 28), address_line_1="6 Elm Pk"),  # noqa: E501
    *(r for n in range(25) for r in person(f"Shopper Till{n}way", {}, loyalty_id="LC-999999", zip_code=f"{33000 + n}")),
    # Two cards are two people, however much else agrees.
    *person("Hedda Oyelaran", {}, loyalty_id="LC-555001", **SENIOR | {"address_line_1": "9 Fern Hill"}),
    *person("Hedda Oyelaran", {}, loyalty_id="LC-555002", **SENIOR | {"address_line_1": "9 Fern Hill"}),
]  # fmt: skip


@pytest.fixture(scope="module")
def resolved() -> Resolution:
    rows = town(150, 17) + CASES
    seen: dict[str, int] = {}
    for row in rows:  # the two people of one name
        seen[row["record_id"]] = seen.get(row["record_id"], 0) + 1
        row["record_id"] += "'" * (seen[row["record_id"]] - 1)
    return resolve(pl.DataFrame(rows, infer_schema_length=None), RULES)


@pytest.fixture(scope="module")
def who(resolved: Resolution) -> dict[str, str]:
    return dict(resolved.assignments.select("record_id", "person_id").iter_rows())


def people(who: dict[str, str], *names: str) -> list[set[str]]:
    """The persons of each name's records."""
    return [{p for record, p in who.items() if record.rstrip("'").rsplit("/", 1)[0] == name} for name in names]


def apart(found: list[set[str]]) -> bool:
    return all(one.isdisjoint(other) for one, other in combinations(found, 2))


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(("Ingrid Brandvold", "Olav Brandvold", "Sunniva Brandvold"), id="household"),
        pytest.param(("Lena Castellane", "Mira Castellane"), id="twins"),
        pytest.param(("Walter Pennington Sr", "Walter Pennington Jr"), id="father and son"),
        pytest.param(("Roscoe Undine Sr", "Roscoe Undine Jr"), id="father and son without birth dates"),
        pytest.param(("Gustav Halloran", "Priya Venkat"), id="recycled phone"),
        pytest.param(("Beatrix Omondi", "Caspian Omondi"), id="shared email"),
        pytest.param(("Ferdinand Quill", "Marguerite Quill"), id="shared card"),
    ],
)
def test_two_people_stay_two_and_each_is_one(who, names):
    found = people(who, *names)
    assert apart(found)
    assert [len(persons) for persons in found] == [1] * len(names)


@pytest.mark.parametrize("kind", ["Desk", "Quietly", "Hush", "Till"])
def test_a_hub_joins_nobody(who, kind):
    persons = [p for record, p in who.items() if f" {kind}" in record]
    assert len(persons) >= 6 and len(set(persons)) == len(persons)


def test_a_card_joins_what_no_score_would(who, resolved):
    assert len(set.union(*people(who, "Yolanda Birkett", "Yolanda Zamora"))) == 1
    told = resolved.edges.filter(
        pl.col("record_id_l").str.starts_with("Yolanda") & pl.col("record_id_r").str.starts_with("Yolanda")
    )
    assert told.select("decision", "reason").rows() == [("accepted", "same loyalty_id")]


def test_two_cards_are_two_people(who):
    assert len(people(who, "Hedda Oyelaran")[0]) == 2


def test_every_link_that_fell_has_its_reason(resolved):
    fallen = resolved.edges.filter(pl.col("decision") != "accepted")["reason"].drop_nulls().value_counts()
    told = dict(fallen.iter_rows())
    assert told.pop("loyalty_id of more than 20 records") == 24
    assert any(reason.startswith("same loyalty_id, but given names differ") for reason in told)


def test_no_component_is_over_its_cap(resolved):
    sizes = resolved.assignments["cluster_key"].value_counts()["count"]
    assert sizes.max() <= 4, "nobody here has more than three accounts, and one typing error may not make a crowd"
    small = RULES.model_copy(update={"decision": RULES.decision.model_copy(update={"max_cluster_size": 2})})
    again = resolve(pl.DataFrame(CASES[:9]), small, model=resolved.model)
    assert again.assignments["cluster_key"].value_counts()["count"].max() <= 2
