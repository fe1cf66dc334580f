"""Keys and publications by command, as a server that is running sees them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from customer360.serve.cli import app


def customer360(state: Path, *words: str) -> Any:
    return CliRunner().invoke(app, list(words), env={"CUSTOMER360__STATE": str(state), "COLUMNS": "200"})


def issued(state: Path, name: str, role: str) -> str:
    return str(customer360(state, "key", "issue", name, "--role", role).output.strip())


def test_keys_are_listed_without_what_opens(tmp_path: Path) -> None:
    keys = [issued(tmp_path, "web shop", "service"), issued(tmp_path, "intern", "reader")]
    listed = customer360(tmp_path, "key", "list").output
    for key, name, role in zip(keys, ("web shop", "intern"), ("service", "reader"), strict=True):
        _, key_id, secret = key.split("_", 2)
        (line,) = [line for line in listed.splitlines() if key_id in line]
        assert name in line and role in line and "UTC" in line
        assert secret not in listed
    assert '"salt"' not in listed and (tmp_path / "keys.json").exists()


def test_a_revoked_key_is_refused_by_a_server_that_runs(own_shop: Any) -> None:
    own_shop.publish()
    client = own_shop.clients()(None)
    kept, gone = issued(own_shop.state, "web shop", "service"), issued(own_shop.state, "intern", "reader")

    def status(key: str) -> int:
        return int(client.get("/v1/people/p_ann", headers={"X-API-Key": key}).status_code)

    assert (status(kept), status(gone)) == (200, 200)
    said = customer360(own_shop.state, "key", "revoke", gone.split("_")[1])
    assert said.exit_code == 0 and "the key of intern (reader)" in said.output
    assert (status(kept), status(gone)) == (200, 401)
    assert "intern" not in customer360(own_shop.state, "key", "list").output


def test_an_unknown_key_is_refused_without_repeating_it(tmp_path: Path) -> None:
    key = issued(tmp_path, "web shop", "service")
    refused = customer360(tmp_path, "key", "revoke", key)
    assert refused.exit_code != 0
    assert key.split("_")[1] in str(refused.exception) and key.split("_", 2)[2] not in str(refused.exception)


def test_a_publication_is_put_back_and_marked_stale(own_shop: Any) -> None:
    first = own_shop.publish()
    own_shop.write("gold.customer_360", [own_shop.profile("p_ann", city="Bonn")])
    second = own_shop.publish()
    client = own_shop.clients()("service")

    def seen() -> tuple[str, str, bool]:
        answer = client.get("/v1/people/p_ann").json()
        return answer["generation"], answer["profile"]["city"], answer["is_stale"]

    assert seen() == (second.id, "Bonn", False)
    assert customer360(own_shop.state, "publication", "restore", first.id).exit_code == 0
    assert seen() == (first.id, "Köln", True)
    (line,) = [
        li for li in customer360(own_shop.state, "publication", "list").output.splitlines() if "in service" in li
    ]
    assert first.id in line
    customer360(own_shop.state, "publication", "restore", second.id)
    assert seen() == (second.id, "Bonn", False)
    unknown = customer360(own_shop.state, "publication", "restore", "19990101")
    assert unknown.exit_code != 0 and second.id in str(unknown.exception)


@pytest.mark.parametrize("group", ["key", "publication"])
def test_lists_of_nothing_are_empty(tmp_path: Path, group: str) -> None:
    assert customer360(tmp_path, group, "list").exit_code == 0
