"""A backup that comes back lets nobody in whom its installation kept out since."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from customer360.platform import access, revocations
from customer360.platform.errors import AccessDenied
from customer360.serve.cli import app


def customer360(root: Path, *words: str) -> Result:
    environment = {"CUSTOMER360__LAKE__ROOT": str(root / "lake"), "CUSTOMER360__STATE": str(root / "state")}
    return CliRunner().invoke(app, list(words), env=environment)


def is_good(state: Path, key: str) -> bool:
    try:
        return bool(access.verify(state, key))
    except AccessDenied:
        return False


def number_of(key: str) -> str:
    return key.split("_")[1]


@pytest.fixture
def keys(own_shop: Any, tmp_path: Path) -> dict[str, str]:
    """Keys of a backup, of which one was revoked and one rotated since, and one that was issued since."""
    own_shop.publish()
    found = {name: access.issue(own_shop.state, name, "service") for name in ("kept", "revoked", "rotated")}
    revocations.revoke(own_shop.state, "staff", "jti", "before")
    assert customer360(tmp_path, "backup", str(tmp_path / "backups")).exit_code == 0
    access.revoke(own_shop.state, number_of(found["revoked"]))
    found["rotation"] = access.rotate(own_shop.state, number_of(found["rotated"]), timedelta(0))
    found["since"] = access.issue(own_shop.state, "since", "admin")
    revocations.revoke(own_shop.state, "staff", "sub", "after")
    return found


def checked(state: Path, keys: dict[str, str]) -> None:
    good = {name for name, key in keys.items() if is_good(state, key)}
    assert good == {"kept"}  # who restores may not want what was issued since
    assert {r.value for r in revocations.revoked(state)} == {"before", "after"}


def test_what_was_revoked_stays_so_beside_an_installation(own_shop: Any, tmp_path: Path, keys: dict[str, str]) -> None:
    said = customer360(tmp_path, "restore", str(tmp_path / "backups"), "--into", str(tmp_path / "new"))
    assert said.exit_code == 0, said.output
    assert f"the API key {number_of(keys['revoked'])} (revoked) was revoked since" in " ".join(said.output.split())
    checked(tmp_path / "new" / "state", keys)
    assert is_good(own_shop.state, keys["since"])  # the one beside it is as it was


def test_so_it_does_where_erasures_are_read_of_that_lake(own_shop: Any, tmp_path: Path, keys: dict[str, str]) -> None:
    words = ("--into", str(tmp_path / "new"), "--erasures", str(tmp_path / "lake"))
    said = customer360(tmp_path, "restore", str(tmp_path / "backups"), *words)
    assert said.exit_code == 0, said.output
    checked(tmp_path / "new" / "state", keys)


def test_what_a_later_backup_says_counts_where_nothing_else_is_left(
    own_shop: Any, tmp_path: Path, keys: dict[str, str]
) -> None:
    identifier = next((tmp_path / "backups").glob("snapshots/*")).name.removesuffix(".json.gz")
    assert customer360(tmp_path, "backup", str(tmp_path / "backups")).exit_code == 0
    for root in ("lake", "state"):
        shutil.move(tmp_path / root, tmp_path / f"lost {root}")
    said = customer360(tmp_path, "restore", str(tmp_path / "backups"), "--at", identifier)
    assert said.exit_code == 0, said.output
    checked(own_shop.state, keys)


def test_keys_that_cannot_be_read_are_told_of(own_shop: Any, tmp_path: Path, keys: dict[str, str]) -> None:
    (own_shop.state / access.KEYS).write_text("{")
    said = customer360(tmp_path, "restore", str(tmp_path / "backups"), "--into", str(tmp_path / "new"))
    assert said.exit_code == 0 and "revoked since may be good again" in " ".join(said.output.split()), said.output
    assert is_good(tmp_path / "new" / "state", keys["revoked"])
