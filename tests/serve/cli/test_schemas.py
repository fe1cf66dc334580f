"""`customer360 schema`: what a stranger types, and reads."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from customer360.serve.cli import app

RUNNER = CliRunner()
CONFIG = """
landing: {root}/landing
state: {root}/state
lake: {{root: {root}/lake}}
execution: {{executor: local}}
sources:
  crm:
    table: bronze.customers
    system: CRM
    path: crm/*.csv
    format: csv
    schema_contract: {contract}
    mapping: {{CUSTOMER_ID: cust_no, FIRST_NAME: first, EMAIL_ADDRESS: mail}}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    (tmp_path / "landing" / "crm").mkdir(parents=True)
    path = tmp_path / "c.yaml"
    path.write_text(CONFIG.format(root=tmp_path, contract="freeze"))
    return path


def said(config: Path, *words: str) -> tuple[int, str]:
    found = RUNNER.invoke(app, [*words, "--config", str(config)])
    return found.exit_code, f"{found.output} {found.exception or ''}"


def deliver(config: Path, name: str, text: str) -> None:
    (config.parent / "landing" / "crm" / name).write_text(text)


def test_from_a_change_to_its_acceptance(config: Path) -> None:
    deliver(config, "1.csv", "cust_no,first,mail,points\n1,Ann,ann@example.com,5\n")
    code, text = said(config, "schema", "diff")
    assert code == 0 and "crm: nothing is known of it yet; 1 inputs wait, nothing differs" in text
    said(config, "run", "--to", "bronze.customers")
    deliver(config, "2.csv", "cust_no,first,e_mail,points,coupon\n2,Bob,ann@example.com,many,x9\n")
    code, text = said(config, "schema", "diff", "crm")
    assert code == 1
    for line in (
        "waits      column 'coupon' (text) is new (crm/2.csv)",
        "waits      column 'points' changed its type: integer -> text (crm/2.csv)",
        "waits      column 'mail' (text) is missing; 'e_mail' is likely its new name (crm/2.csv)",
        "mapping: {EMAIL_ADDRESS: e_mail}",
    ):
        assert line in text
    code, text = said(config, "run", "--to", "bronze.customers")
    assert code != 0 and "the schema of crm is frozen" in text
    assert "coupon" in said(config, "schema", "list")[1]
    code, text = said(config, "schema", "accept", "crm", "--column", "nothing")
    assert code != 0 and "what waits: e_mail, points, coupon, mail" in text
    config.write_text(config.read_text().replace("mail}", "e_mail}"))
    code, text = said(config, "schema", "accept", "crm", "--actor", "Eve")
    assert code == 0 and "schema version 2: column 'coupon' (text) is new" in text and "lands what waits" in text
    assert said(config, "run", "--to", "bronze.customers")[0] == 0
    assert "Eve" in said(config, "schema", "history", "crm")[1]
    text = said(config, "schema", "show", "crm", "--version", "1")[1]
    assert "points    integer" in text and "coupon" not in text
    code, text = said(
        config, "sql", "SELECT CUSTOMER_ID, EMAIL_ADDRESS, points, coupon FROM bronze.customers ORDER BY 1"
    )
    assert text.strip().splitlines() == [
        "CUSTOMER_ID,EMAIL_ADDRESS,points,coupon", "1,ann@example.com,5,", "2,ann@example.com,many,x9",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (("show", "crm"), "nothing is known of the schema of 'crm'; known are no source yet"),
        (("history", "till"), "nothing is known of the schema of 'till'"),
        (("diff", "till"), "'till' is neither a source nor a table; sources are crm"),
        (("accept", "till"), "there is no source 'till'; configured are crm"),
        (("accept", "crm"), "crm: nothing waits to be accepted"),
        (("accept", "bronze.customers"), "bronze.customers: nothing waits to be accepted"),
    ],
)
def test_what_cannot_be_asked_is_said_in_a_line(config: Path, words: tuple[str, ...], fault: str) -> None:
    code, text = said(config, "schema", *words)
    assert code != 0 and fault in text


def test_a_wrong_word_names_its_key(config: Path) -> None:
    config.write_text(CONFIG.format(root=config.parent, contract="{tables: evolve, columns: stop}"))
    assert "tables: a source fills one table, which its `table` names" in said(config, "schema", "list")[1]
