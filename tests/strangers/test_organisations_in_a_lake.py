"""Firms, their contacts and retail customers in one lake: nobody is joined across, and ids hold from batch to batch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import write_deltalake
from typer.testing import CliRunner

from customer360.models.identity import erasure, registry
from customer360.models.identity.registry import RegistryError
from customer360.platform import settings as configuration
from customer360.platform.run import RunRequest, lake_of
from customer360.serve import cli, jobs, stewardship
from customer360.serve.compose import compose, identity_rules

CONFIG = """
landing: {folder}/landing
lake: {{root: {folder}/lake}}
state: {folder}/state
execution: {{executor: local}}
sources:
  accounts:
    {{table: bronze.customers, system: B2B, path: "accounts*.csv", format: csv, mapping: {{
      CUSTOMER_ID: Account, ORGANISATION_NAME: Company, ENTITY_TYPE: Type, FIRST_NAME: First, LAST_NAME: Last,
      EMAIL_ADDRESS: Mail, PHONE_NUMBER: Phone, ADDRESS_LINE_1: Street, CITY: City, ZIP_CODE: Zip,
      ORGANISATION_NUMBER: VAT, LAST_UPDATED_DATE: Changed}}}}
  till:
    {{table: bronze.customers, system: POS, path: "till*.csv", format: csv, mapping: {{
      CUSTOMER_ID: Id, FIRST_NAME: First, LAST_NAME: Last, EMAIL_ADDRESS: Mail, PHONE_NUMBER: Phone,
      ADDRESS_LINE_1: Street, CITY: City, ZIP_CODE: Zip, LAST_UPDATED_DATE: Changed}}}}
"""
HEAD = "Account,Company,Type,First,Last,Mail,Phone,Street,City,Zip,VAT,Changed"
ACCOUNTS = (
    "A1,Brandt Bros. Mfg. Co.,Business,,,office@brandt-mfg.biz,512-772-2300,610 Depot St,Austin,78702,DE811907980",
    "A2,BRANDT BROTHERS MANUFACTURING LTD,Business,,,,(512) 772 2300,610 Depot Street,Austin,78702,DE 811 907 980",
    "A3,,,Kestrel,Plumbing LLC,office@kestrelco.biz,512-771-9300,12 Larch Ln,Austin,78703,",
    "A4,,,,Kestrel Electric LLC,office@kestrelco.biz,512-771-9300,12 Larch Ln,Austin,78703,",
    "A5,Kestrel Plumbing,,Ned,Kestrel,office@kestrelco.biz,512-771-9300,12 Larch Ln,Austin,78703,",
    "A6,Osprey Dental,,Zed,Moor,zed@osprey-dental.biz,512-771-4410,9 Moss Rd,Austin,78705,",
    "A7,Osprey Dental Inc.,,Ida,Ruiz,ida@osprey-dental.biz,512-771-4410,9 Moss Rd,Austin,78705,",
    "A8,n/a,,Ann,Teal,ann.teal@mail.com,512-555-0187,4 Fern Ct,Austin,78704,",
    "A9,Tom Reed,,Tom,Reed,tom.reed@mail.com,512-555-0190,8 Elm Ct,Austin,78704,",
)
TILL = (
    "P1,Ned,Kestrel,office@kestrelco.biz,512-771-9300,12 Larch Ln,Austin,78703",
    "P2,Ann,Teal,ann.teal@mail.com,,4 Fern Court,Austin,78704",
    "P3,Brandt,Moss,office@brandt-mfg.biz,512-772-2300,610 Depot St,Austin,78702",
)


class Project:
    """A project of a firm's accounts and a shop's till."""

    def __init__(self, folder: Path) -> None:
        compose()
        (folder / "landing").mkdir()
        self.folder, self.config = folder, folder / "project.yaml"
        self.config.write_text(CONFIG.format(folder=folder))
        self.settings = configuration.load(self.config)
        self.lake, self.rules = lake_of(self.settings), identity_rules(self.settings)

    def deliver(self, name: str, head: str, *rows: str, day: str = "2026-01-01") -> None:
        lines = (f"{row},{day}T00:00:00" for row in rows)
        (self.folder / "landing" / f"{name}.csv").write_text("\n".join([head, *lines, ""]))

    def run(self, *refresh: str, end: str = "silver.people") -> None:
        jobs.run_pipeline(self.settings, RunRequest(end=end, refresh=refresh))

    def __call__(self, operation: Any, *arguments: Any) -> Any:
        return stewardship.decide(self.settings, operation, *arguments, actor="ann", reason="asked")

    def said(self, *words: str) -> str:
        result = CliRunner().invoke(cli.app, [*words, "--config", str(self.config)])
        assert result.exit_code == 0, result.output
        return result.output

    def table(self, name: str) -> pl.DataFrame:
        return self.lake.scan(name).collect()

    @property
    def who(self) -> dict[str, str]:
        held = self.table("silver.identities").select("customer_id", "person_id")
        return dict(held.iter_rows())

    @property
    def at(self) -> dict[str, str]:
        rows = self.table("silver.organisation_contacts").select("record_id", "organisation_id")
        return {record.partition("/")[2]: firm for record, firm in rows.iter_rows()}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    made = Project(tmp_path)
    made.deliver("accounts1", HEAD, *ACCOUNTS)
    made.deliver("till1", "Id,First,Last,Mail,Phone,Street,City,Zip,Changed", *TILL)
    made.run()
    return made


def test_firms_contacts_and_shoppers_of_one_lake(project: Project) -> None:
    who, at = project.who, project.at
    kinds = dict(project.table("silver.identities").select("customer_id", "entity_type").iter_rows())
    assert {name for name, kind in kinds.items() if kind == "organisation"} == {"A1", "A2", "A3", "A4"}
    assert who["A1"] == who["A2"] and len({who[name] for name in ("A1", "A3", "A4")}) == 3
    assert who["A5"] == who["P1"] and who["A8"] == who["P2"], "people are found among people"
    firms = {who[name] for name in ("A1", "A3", "A4")}
    assert firms.isdisjoint({who[name] for name in ("A5", "A6", "A7", "A8", "A9", "P1", "P2", "P3")})
    assert at == {"A5": who["A3"], "A6": at["A6"], "A7": at["A6"]} and at["A6"] not in who.values()
    known = {row.pop("organisation_id"): row for row in project.table("silver.organisations").to_dicts()}
    assert known.keys() == firms | {at["A6"]}
    assert (known[who["A3"]]["account_count"], known[who["A3"]]["contact_count"]) == (1, 1)
    assert (known[at["A6"]]["account_count"], known[at["A6"]]["contact_count"]) == (0, 2)
    assert known[who["A1"]]["organisation_number"] == "DE811907980"


def test_a_profile_of_a_firm_is_of_no_person(project: Project) -> None:
    who = project.who
    rows = {row.pop("person_id"): row for row in project.table("silver.people").to_dicts()}
    assert rows.keys() == set(who.values())
    firm, person = rows[who["A3"]], rows[who["A5"]]
    assert (firm["entity_type"], firm["organisation_name"]) == ("organisation", "Kestrel Plumbing LLC")
    assert (firm["first_name"], firm["last_name"], firm["email_address"]) == (None, None, "office@kestrelco.biz")
    assert (person["entity_type"], person["first_name"], person["organisation_name"]) == (
        "person", "Ned", "Kestrel Plumbing",
    )  # fmt: skip


def test_a_branch_and_a_renamed_firm_come_later(project: Project) -> None:
    before, at = project.who, project.at
    project.deliver(
        "accounts2", HEAD,
        "A1,Meridian Machines Inc.,Business,,,office@brandt-mfg.biz,512-772-2300,610 Depot St,Austin,78702,DE811907980",
        "A10,Kestrel Plumbing LLC,Business,,,office@kestrelco.biz,512-771-9300,77 Quarry Rd,Waco,76701,",
        "A11,Osprey Dental,Business,,,hello@osprey-dental.biz,512-771-4410,9 Moss Rd,Austin,78705,",
        day="2026-02-01",
    )  # fmt: skip
    project.run()
    after = project.who
    assert {name: after[name] for name in before} == before, "a rename and a branch change nobody's id"
    assert after["A10"] == before["A3"] and after["A11"] == at["A6"], "who had contacts alone has an account now"
    assert project.at == at
    project.run("silver.identities")
    assert project.who == after
    registry.verify(project.lake, project.rules.ids.seed)


def test_what_changes_nothing_is_not_resolved_again(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    from customer360.models.identity.organisations import among_customers

    before = project.who, project.table("silver.identity_edges")

    def never(*arguments: Any) -> Any:
        raise AssertionError("the organisations were resolved again")

    monkeypatch.setattr(among_customers, "_resolved_anew", never)
    project.deliver("till2", "Id,First,Last,Mail,Phone,Street,City,Zip,Changed",
                    "P4,Eva,Lund,eva@mail.com,512-555-0191,3 Oak Ct,Austin,78704", day="2026-02-01")  # fmt: skip
    project.run()
    assert {name: person for name, person in project.who.items() if name != "P4"} == before[0]
    edges = project.table("silver.identity_edges")
    assert edges.filter(~pl.any_horizontal(pl.col("^record_id_.$") == "POS/P4")).equals(before[1])


def test_what_a_steward_decides_of_firms_holds(project: Project) -> None:
    who = project.who
    with pytest.raises(RegistryError, match=r"B2B/A3 is of an organisation and B2B/A5 of a person"):
        project("confirm", "B2B/A3", "B2B/A5")
    with pytest.raises(RegistryError, match="which are never one"):
        project("merge", who["A5"], project.at["A6"])
    project("confirm", "B2B/A3", "B2B/A4")
    project("reject", "B2B/A1", "B2B/A2")
    project("reject", "B2B/A6#organisation", "B2B/A7#organisation")
    for refresh in ((), ("silver.identities",)):
        project.run(*refresh)
        now, at = project.who, project.at
        assert now["A3"] == now["A4"] == at["A5"] and now["A1"] != now["A2"] and at["A6"] != at["A7"]
    project("withdraw", 0)
    project.run()
    assert project.who["A3"] != project.who["A4"]
    registry.verify(project.lake, project.rules.ids.seed)


def test_a_source_that_changes_its_word_parts_firm_and_person(project: Project) -> None:
    before = project.who
    project.deliver("till2", "Id,First,Last,Mail,Phone,Street,City,Zip,Changed",
                    "P1,,Kestrel Plumbing LLC,office@kestrelco.biz,512-771-9300,12 Larch Ln,Austin,78703",
                    day="2026-02-01")  # fmt: skip
    project.run()
    after = project.who
    assert after["P1"] == before["A3"] and after["A5"] == before["A5"]
    registry.verify(project.lake, project.rules.ids.seed)


def test_a_firm_and_its_contact_are_shown_and_who_is_erased_is_forgotten(project: Project) -> None:
    who, at = project.who, project.at
    firm = json.loads(project.said("identity", "show", who["A3"]))
    assert (firm["entity_type"], firm["organisation_name"], firm["contacts"]) == (
        "organisation", "Kestrel Plumbing LLC", [who["A5"]],
    )  # fmt: skip
    known_by_contacts = json.loads(project.said("identity", "show", at["A6"]))
    assert known_by_contacts["organisation_name"] == "Osprey Dental" and known_by_contacts["email_address"] is None
    person = json.loads(project.said("identity", "show", who["A6"]))
    assert (person["entity_type"], person["organisations"]) == ("person", [at["A6"]])
    found = erasure.identifiers_of(project.lake, who["A6"])
    assert found.accounts == {"B2B/A6", "B2B/A6#organisation"}
    erasure.forget(project.lake, found, project.rules)
    registry.verify(project.lake, project.rules.ids.seed)
    names = registry.load(project.lake, project.rules.ids.seed).names["record_id"].to_list()
    assert not [name for name in names if name.startswith("B2B/A6")]


def test_a_lake_of_firms_alone(tmp_path: Path) -> None:
    project = Project(tmp_path)
    project.deliver("accounts1", HEAD, *ACCOUNTS[:2])
    project.run()
    assert len(set(project.who.values())) == 1 and project.table("silver.organisations").height == 1
    assert project.at == {}


def test_a_lake_of_before_is_read_and_goes_on(project: Project) -> None:
    """Before, firms were persons, and no table knew of organisations."""
    gone = {
        "bronze.customers": ["ORGANISATION_NAME", "ENTITY_TYPE", "WEBSITE", "ORGANISATION_NUMBER"],
        "silver.customer_records": ["organisation_name", "entity_type", "website", "organisation_number"],
        "silver.people": ["entity_type", "organisation_name"],
        "silver.identities": ["entity_type"],
    }
    for name, columns in gone.items():
        stored = pl.read_delta(project.lake.uri(name), storage_options=None).drop(columns)
        write_deltalake(project.lake.uri(name), stored.to_arrow(), mode="overwrite", schema_mode="overwrite")
    before = project.who
    assert project.table("silver.people")["entity_type"].null_count() == len(set(before.values()))
    assert json.loads(project.said("identity", "show", before["A8"]))["entity_type"] == "person"
    project.deliver("accounts2", HEAD, *ACCOUNTS[:2], ACCOUNTS[4], day="2026-02-01")
    project.run()
    after = project.who
    assert after == before, "ids go on"
    assert project.at == {"A5": after["A3"]}, "what was never mapped is not known until its source delivers it again"
    registry.verify(project.lake, project.rules.ids.seed)
