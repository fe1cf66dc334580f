"""A list of accounts and their contacts through `identity resolve`: firms are firms, people are people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from typer.testing import CliRunner

ACCOUNTS = """Account Id,Account Name,Type,First,Last,E-mail,Phone,Street,City,Zip,Website,VAT
A1,Brandt Bros. Mfg. Co.,Business,,,office@brandt-mfg.biz,512-772-2300,610 Depot St,Austin,78702,www.brandt-mfg.biz,DE 811 907 980
A2,BRANDT BROTHERS MANUFACTURING LTD,Business,,,,(512) 772 2300,610 Depot Street,Austin,78702,,DE811907980
A3,Kestrel Plumbing LLC,Business,,,office@kestrelco.biz,512-771-9300,12 Larch Ln,Austin,78703,,
A4,Kestrel Electric LLC,Business,,,office@kestrelco.biz,512-771-9300,12 Larch Ln,Austin,78703,,
A5,Kestrel Plumbing,Consumer,Ned,Kestrel,ned@kestrelco.biz,512-771-9300,12 Larch Ln,Austin,78703,,
A6,,Consumer,Ann,Teal,ann.teal@mail.com,512-555-0187,4 Fern Ct,Austin,78704,,
A7,,Consumer,Ann,Teal,ann.teal@mail.com,,4 Fern Court,Austin,78704,,
A8,,Business,,,,512-771-4410,9 Moss Rd,Austin,78705,,
"""  # noqa: E501
COLUMNS = """
columns: {organisation_name: Account Name, entity_type: Type, first_name: First, last_name: Last, email_address: E-mail,
  phone_number: Phone, address_line_1: Street, city: City, zip_code: Zip, website: Website}
identifiers: [VAT]
"""


def resolved(folder: Path, accounts: str, mapping: str) -> tuple[Any, pl.DataFrame]:
    from customer360.serve import cli

    (folder / "accounts.csv").write_text(accounts)
    (folder / "map.yaml").write_text(mapping)
    words = {"--input": "accounts.csv", "--mapping": "map.yaml", "--out": "out.csv"}
    said = ["identity", "resolve", *(part for flag, name in words.items() for part in (flag, str(folder / name)))]
    result = CliRunner().invoke(cli.app, said)
    out = folder / "out.csv"
    return result, pl.read_csv(out, infer_schema=False) if out.exists() else pl.DataFrame()


def test_firms_contacts_and_consumers_of_one_list(tmp_path):
    result, found = resolved(tmp_path, ACCOUNTS, "unique_id: Account Id" + COLUMNS)
    assert result.exit_code == 0, result.output
    assert "8 records are 3 people and 3 organisations" in result.output
    rows = {row.pop("unique_id"): row for row in found.to_dicts()}
    assert rows.keys() == {f"A{n}" for n in range(1, 9)}, "nothing is lost"
    assert rows["A1"]["person_id"] == rows["A2"]["person_id"] == rows["A1"]["organisation_id"]
    assert len({rows[name]["person_id"] for name in ("A1", "A3", "A4", "A5", "A6", "A8")}) == 6
    assert rows["A6"]["person_id"] == rows["A7"]["person_id"]
    assert rows["A5"]["entity_type"] == "person" and rows["A5"]["organisation_id"] == rows["A3"]["person_id"]
    assert [rows[f"A{n}"]["entity_type"] for n in (1, 4, 6)] == ["organisation", "organisation", "person"]


def test_a_mapping_says_that_all_are_organisations(tmp_path):
    lines = "id,name\n1,Zilverreiger Holding N.V.\n2,ZILVERREIGER HOLDING NV\n3,Alcedo\n"
    mapping = "unique_id: id\nentity: organization\ncolumns: {full_name: name}\n"
    result, found = resolved(tmp_path, lines, mapping)
    assert result.exit_code == 0 and "3 records are 0 people and 2 organisations" in result.output
    assert found["person_id"][0] == found["person_id"][1] != found["person_id"][2]


def test_a_list_of_people_is_told_as_before(tmp_path):
    lines = "id,first,last,mail\n1,Ann,Teal,ann@mail.com\n2,Ann,Teal,ann@mail.com\n"
    mapping = "unique_id: id\ncolumns: {first_name: first, last_name: last, email_address: mail}\n"
    result, found = resolved(tmp_path, lines, mapping)
    assert result.exit_code == 0 and found.columns == ["unique_id", "person_id"]


@pytest.mark.parametrize("entity", ["firm", "3"])
def test_another_kind_of_entity_is_refused_in_one_line(tmp_path, entity):
    mapping = f"unique_id: id\nentity: {entity}\ncolumns: {{full_name: name}}\n"
    result, _ = resolved(tmp_path, "id,name\n1,Alcedo\n", mapping)
    assert result.exit_code != 0 and "entity" in f"{result.output}{result.exception}"
