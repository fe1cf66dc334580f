"""By command: a backup comes back elsewhere, sound, with the same answers; a run goes on; who was erased stays away."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner, Result

from customer360.platform import access
from customer360.serve import jobs
from customer360.serve.app import build_app
from customer360.serve.cli import app
from customer360.serve.recovery import restore


def customer360(root: Path, *words: str, **other: str) -> Result:
    environment = {"CUSTOMER360__LAKE__ROOT": str(root / "lake"), "CUSTOMER360__STATE": str(root / "state"), **other}
    return CliRunner().invoke(app, list(words), env=environment)


@pytest.fixture
def shop(own_shop: Any) -> Any:
    own_shop.publish()
    return own_shop


def answers(state: Path, key: str) -> list[Any]:
    from customer360.platform.settings import Settings

    client = TestClient(build_app(Settings(state=str(state))), headers={"X-API-Key": key})
    paths = ("/v1/people/p_ann", "/v1/people/p_ann/recommendations", "/v1/people/p_bob/scores", "/v1/customers/POS/1")
    return [client.get(path).json() for path in paths]


def test_a_lake_comes_back_elsewhere_with_the_same_answers(shop: Any, tmp_path: Path) -> None:
    key = access.issue(shop.state, "one", "service")
    before = answers(shop.state, key)
    said = customer360(tmp_path, "backup", str(tmp_path / "backups"))
    assert said.exit_code == 0 and "bytes" in said.output, said.output
    for root in ("lake", "state"):  # the old places are gone
        shutil.move(tmp_path / root, tmp_path / f"lost {root}")
    said = customer360(tmp_path, "restore", str(tmp_path / "backups"), "--into", str(tmp_path / "new home"))
    assert said.exit_code == 0 and "nothing is damaged" in said.output, said.output
    new = tmp_path / "new home"
    assert answers(new / "state", key) == before
    assert "nothing is damaged" in customer360(new, "doctor").output
    assert customer360(new, "status").exit_code == 0
    absolute = str(tmp_path / "lake").encode()
    files = [file for file in new.rglob("*") if file.is_file() and "_delta_log" not in file.parts]
    assert not [file for file in files if absolute in file.read_bytes()]  # Delta notes where a table was created


def test_a_lake_comes_back_to_its_places_only_where_they_are_empty(shop: Any, tmp_path: Path) -> None:
    store = str(tmp_path / "backups")
    assert customer360(tmp_path, "backup", store).exit_code == 0
    shop.write("silver.stock", [])
    said = customer360(tmp_path, "restore", store)
    assert said.exit_code == 1 and "holds files" in str(said.exception)
    for root in ("lake", "state"):
        shutil.rmtree(tmp_path / root)
    customer360(tmp_path, "doctor")  # a command that looked makes folders, and no files
    assert customer360(tmp_path, "restore", store).exit_code == 0
    assert shop.lake.scan("silver.stock").collect().height == 5


def test_configuration_comes_back_with_it_and_secrets_are_told_of(
    shop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("configs").mkdir()
    Path("configs/rules.yaml").write_text("a: 1\n")
    Path("configs/base.yaml").write_text("name: mine\nlake: {storage_options: {secret_access_key: abc}}\n")
    Path("mine.yaml").write_text("extends: configs/base.yaml\n")
    said = customer360(tmp_path, "backup", "backups", "--config", "mine.yaml")
    assert said.exit_code == 0 and "configs/base.yaml holds storage options" in said.output
    assert customer360(tmp_path, "restore", "backups", "--into", "new", "--config", "mine.yaml").exit_code == 0
    for name in ("mine.yaml", "configs/base.yaml", "configs/rules.yaml"):
        assert Path("new", name).read_bytes() == Path(name).read_bytes()


def test_a_backup_within_what_it_is_of_is_refused(shop: Any, tmp_path: Path) -> None:
    for place in ("lake/backups", "state"):
        said = customer360(tmp_path, "backup", str(tmp_path / place))
        assert said.exit_code == 1 and "lies in" in str(said.exception)
    said = customer360(tmp_path / "nowhere", "backup", str(tmp_path / "backups"))
    assert "there is nothing to back up" in str(said.exception)
    said = customer360(tmp_path, "restore", str(tmp_path / "empty"))
    assert "holds no backup" in str(said.exception)


def test_backups_are_listed_verified_and_rotated(shop: Any, tmp_path: Path) -> None:
    store = tmp_path / "backups"
    for _ in range(3):
        assert customer360(tmp_path, "backup", str(store), "--keep", "2").exit_code == 0
    assert len(list(store.glob("snapshots/*"))) == 2
    assert customer360(tmp_path, "backup", str(store), "--list").output.count("UTC") == 2
    assert customer360(tmp_path, "backup", str(store), "--verify").exit_code == 0
    next(store.glob("objects/*/*")).write_bytes(b"other")
    said = customer360(tmp_path, "backup", str(store), "--verify")
    assert said.exit_code == 1 and "is damaged" in said.output and "1 files are damaged" in said.output


# ---- a whole retailer ----------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_next_run_goes_on_and_who_was_erased_since_does_not_come_back(
    site: Callable[..., Any], raw_retailer: Callable[..., Path], tmp_path: Path
) -> None:
    """Backed up between two deliveries; then a person is erased, and the lake is lost."""
    from customer360.serve.recovery import repository_of, take

    here = site(tmp_path / "here", LOSS=1)
    raw = raw_retailer(20, 28) / "landing"
    late = sorted((raw / "pos/transactions").rglob("*.csv"))[-1].relative_to(raw)
    shutil.copytree(raw, here.landing, dirs_exist_ok=True)
    (here.landing / late).unlink()
    here.run()
    jobs.publish(here.settings)
    repository = repository_of(here.settings, str(tmp_path / "backups"))
    first = take(here.settings, None, repository).snapshot
    people = here.lake.scan("silver.identities").filter(~pl.col("record_id").str.contains("#")).collect()
    person = people["person_id"].sort()[0]
    records = set(people.filter(pl.col("person_id") == person)["record_id"])

    # Without an erasure: both go on to the same tables.
    shutil.copyfile(raw / late, here.landing / late)
    there = restore(here.settings, repository, first.id, tmp_path / "there")
    assert there.findings == () and there.erased == ()
    moved = site(tmp_path / "there", LOSS=1, LANDING=here.landing, STATE=there.settings.state,
                 LAKE__ROOT=there.settings.lake.root)  # fmt: skip
    here.run()
    moved.run()
    mine, other = here.business(), moved.business()
    assert mine.keys() == other.keys() and [name for name in mine if not mine[name].equals(other[name])] == []

    # With one: the backup of before is restored without the person.
    jobs.erase(here.settings, person)
    take(here.settings, None, repository)
    shutil.rmtree(here.settings.lake.root)
    back = restore(here.settings, repository, first.id, tmp_path / "back")
    assert back.erased == (person,) and back.findings == ()
    left = site(tmp_path / "back", STATE=back.settings.state, LAKE__ROOT=back.settings.lake.root).lake
    assert not records & set(left.scan("silver.identities").collect()["record_id"])
