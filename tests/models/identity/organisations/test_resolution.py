from pathlib import Path

import polars as pl
import pytest
import yaml

from customer360.models.identity import IdentityRules, resolve
from customer360.models.identity.organisations.resolution import resolve_organisations
from customer360.models.identity.rules import Blocking

RULES = IdentityRules.model_validate(yaml.safe_load(Path("configs/rules/identity.yaml").read_text()))
COLUMNS = ("record_id", "organisation_name", "phone_number", "address_line_1", "city", "zip_code", "website")


def firms(*rows: tuple[str | None, ...]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=dict.fromkeys(COLUMNS, pl.String), orient="row")


def groups(assignments: pl.DataFrame, by: str = "cluster_key") -> set[frozenset[str]]:
    return {frozenset(ids) for ids in assignments.group_by(by).agg("record_id")["record_id"]}


def resolved(*rows: tuple[str | None, ...], rules: IdentityRules = RULES) -> set[frozenset[str]]:
    return groups(resolve_organisations(firms(*rows), rules).assignments)


def test_spellings_at_one_address_are_one_firm():
    assert resolved(
        ("1", "Brandt Bros. Mfg. Co.", "512-772-2300", "610 Depot St", "Austin", "78702", None),
        ("2", "BRANDT BROTHERS MANUFACTURING LTD", None, "610 Depot Street", "Austin", "78702", None),
        ("3", "Brandt Mfg", "(512) 772 2300", None, None, None, "www.brandt-mfg.com"),
    ) == {frozenset("123")}


def test_firms_of_one_family_in_one_building_are_two():
    assert resolved(
        ("1", "Kestrel Plumbing LLC", "512-771-9300", "610 Depot St", "Austin", "78702", "kestrelco.com"),
        ("2", "Kestrel Electric LLC", "512-771-9300", "610 Depot St", "Austin", "78702", "kestrelco.com"),
    ) == {frozenset("1"), frozenset("2")}


def test_tenants_of_one_building_share_nothing_but_it():
    assert resolved(
        ("1", "Osprey Dental", "512-771-9300", "500 Commerce Pkwy", "Austin", "78701", None),
        ("2", "Larkfield Insurance", "512-771-9300", "500 Commerce Pkwy", "Austin", "78701", None),
    ) == {frozenset("1"), frozenset("2")}


def test_two_numbers_of_the_register_are_two_firms_and_one_is_one():
    rules = RULES.model_copy(update={"blocking": Blocking(identifiers=("vat",))})
    rows = firms(
        ("1", "Möwe GmbH", None, "Am Kai 3", "Kiel", "24103", None),
        ("2", "Moewe", None, "Am Kai 3", "Kiel", "24103", None),
        ("3", "Möwe GmbH", None, "Am Kai 3", "Kiel", "24103", None),
    ).with_columns(vat=pl.Series(["DE 811 907 980", "de811907980", "DE 136 695 976"]))
    assert groups(resolve_organisations(rows, rules).assignments) == {frozenset("12"), frozenset("3")}


def test_names_alone_are_enough_where_there_is_nothing_else():
    names = ("Zilverreiger Electronics N.V.", "ZILVEREIGER ELECTRONICS NV", "Zilverreiger Electronics B V", "Alcedo")
    rows = [(str(at), name, None, None, None, None, None) for at, name in enumerate(names)]
    assert frozenset("012") in resolved(*rows)
    assert frozenset("3") in resolved(*rows)


def test_a_number_in_the_name_tells_branches_apart():
    rows = [(str(at), f"Larkfield Books #{at}", None, None, "Austin", None, "larkfield.biz") for at in (1201, 1202)]
    assert len(resolved(*rows)) == 2


@pytest.mark.parametrize("name", ["n/a", "Unknown", "-", "Test", "???"])
def test_what_stands_for_no_name_is_no_name(name):
    rows = [(str(at), name, None, None, None, None, None) for at in range(3)]
    assert len(resolved(*rows)) == 3, "absence is no evidence that they are one"


def test_many_equal_records_are_one_whatever_their_number():
    rows = [(f"{at:03d}", "Zilverreiger N.V.", None, None, None, None, None) for at in range(300)]
    assert len(resolved(*rows, ("x", "Alcedo BV", None, None, None, None, None))) == 2


def test_the_order_of_the_records_changes_nothing():
    rows = firms(
        ("1", "Brandt Bros. Mfg. Co.", "512-772-2300", "610 Depot St", "Austin", "78702", None),
        ("2", "BRANDT BROTHERS MANUFACTURING", None, "610 Depot Street", "Austin", "78702", None),
        ("3", "Osprey Dental", "512-771-9300", "500 Commerce Pkwy", "Austin", "78701", None),
    )
    one, other = (resolve_organisations(frame, RULES) for frame in (rows, rows.reverse()))
    assert one.assignments.equals(other.assignments) and one.edges.equals(other.edges)


B2B = pl.DataFrame(
    {
        "record_id": ["1", "2", "3", "4", "5"],
        "first_name": [None, "Ned", "Mark", "Laura", None],
        "last_name": ["Kestrel Plumbing LLC", "Kestrel", "Delahunt", "Brightwater", None],
        "organisation_name": [None, "Kestrel Plumbing", "Osprey Dental", "Osprey Dental", "Osprey Dental Inc."],
        "email_address": ["office@kestrel.biz"] * 2 + ["info@osprey.biz"] * 3,
        "phone_number": ["512-771-9300"] * 2 + ["512-771-9200"] * 3,
        "address_line_1": ["610 Depot St"] * 2 + ["500 Commerce Pkwy"] * 3,
        "zip_code": ["78702"] * 2 + ["78701"] * 3,
    }
)  # fmt: skip


def test_contacts_stay_people_and_are_linked_to_their_firm():
    made = resolve(B2B, RULES)
    persons = dict(made.assignments.select("record_id", "person_id").iter_rows())
    assert len({persons[record] for record in "234"}) == 3, "colleagues at the mailbox of one office"
    assert {persons[record][0] for record in "15"} == {"o"} and {persons[record][0] for record in "234"} == {"p"}
    at = dict(made.organisations.iter_rows())
    assert at["1"] == at["2"] == persons["1"] and at["3"] == at["4"] == at["5"] == persons["5"]
    assert len(set(at.values())) == 2


def test_a_file_of_sites_tells_branches_of_one_firm():
    rows = firms(
        ("1", "Osprey Dental", "5127714410", "9 Moss Rd", "Austin", "78705", "osprey-dental.biz"),
        ("2", "OSPREY DENTAL INC", "5127714410", "9 Moss Road", "Austin", "78705", "osprey-dental.biz"),
        ("3", "Osprey Dental", "5127714410", "477 Quarry Ln", "Austin", "78701", "osprey-dental.biz"),
        ("4", "Osprey Dental", "5127714410", "477 Quary Lane", "Austin", "78701", "osprey-dental.biz"),
        ("5", "Kestrel Plumbing", "5127719300", "12 Larch Ln", "Austin", "78703", None),
        *((f"x{n}", f"{name} Works", f"51277244{n:02d}", f"{n} {name} St", "Waco", f"767{n:02d}", None)
          for n, name in enumerate("Alder Birch Cedar Dogwood Elm Fir Hazel Juniper Larch Maple Oak Pine".split(), 20)),
    )  # fmt: skip
    made = resolve(rows.with_columns(entity_type=pl.lit("site")), RULES)
    assert {frozenset("12"), frozenset("34"), frozenset("5")} < groups(made.assignments)
    assert made.assignments["person_id"].str.starts_with("s").all()
    assert made.organisations is not None
    firm = dict(made.organisations.select("record_id", "organisation_id").iter_rows())
    assert firm["1"] == firm["2"] == firm["3"] == firm["4"] != firm["5"]
    whole = resolve(rows.with_columns(entity_type=pl.lit("organisation")), RULES)
    assert {frozenset("1234"), frozenset("5")} < groups(whole.assignments)


def test_a_file_of_people_alone_says_nothing_of_organisations():
    people = B2B.filter(pl.col("first_name").is_not_null()).drop("organisation_name")
    assert resolve(people, RULES).organisations is None


@pytest.mark.parametrize("record", ["1", "5"])
def test_one_record_alone_is_resolved(record):
    made = resolve(B2B.filter(record_id=record), RULES)
    assert made.assignments["person_id"].str.starts_with("o").all() and made.edges.is_empty()
