"""Whatever file is damaged, the doctor names it, and serving goes on or says clearly that it cannot."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from customer360.platform import access, audit, erasure_list, ledger, online, privacy, restrictions, schemas
from customer360.platform.run.health import Board
from customer360.platform.settings import LakeSettings, Settings
from customer360.serve import doctor
from customer360.serve.publication import freshness, refusals
from customer360.serve.rights import requests

HOW: dict[str, Callable[[Path], object]] = {
    "gone": Path.unlink,
    "empty": lambda file: file.write_bytes(b""),
    "cut": lambda file: os.truncate(file, file.stat().st_size // 2),
    "overwritten": lambda file: file.write_bytes(os.urandom(file.stat().st_size)),
}
# What of it the doctor cannot see: where there is no key or note, none was made.
UNSEEN = {("keys.json", "gone"), ("LAST_RUN", "gone"), ("audit/*.jsonl", "gone"), ("audit/*.jsonl", "empty"),
          ("mlflow/mlflow.db", "gone"), ("gold/customer_360/_delta_log/*.json", "gone")}  # fmt: skip
STATE = ("keys.json", "online/LAST_RUN", "online/CURRENT", "online/generations/*/data.mdb",
         "online/generations/*/generation.json", "audit/*.jsonl", "mlflow/mlflow.db")  # fmt: skip
LAKE = ("gold/customer_360/*/*/*.parquet", "gold/customer_360/_delta_log/*.json")
PEOPLE = ("_rights/requests/00000001.json", "_rights/restricted/00000001.json", "_erasures/secret",
          "_erasures/digests.json", "_erasures/unfinished/p_bob.json", "_erasures/done/*.json")  # fmt: skip


def settled(shop: Any) -> Settings:
    """A shop with everything that a state folder holds."""
    shop.publish()
    access.issue(shop.state, "a", "reader")
    access.issue(shop.state, "b", "reader")
    with freshness.watched(shop.state, "run"):
        pass
    freshness.restored(shop.state, is_newest=False)
    audit.append(shop.state, person="p_ann")
    (shop.state / "mlflow").mkdir()
    with sqlite3.connect(shop.state / "mlflow" / "mlflow.db") as database:
        database.execute("CREATE TABLE runs AS SELECT 1 AS n")
    database.close()
    root = LakeSettings(root=shop.lake.root, buckets=shop.lake.buckets)
    return Settings(state=str(shop.state), lake=root)


def test_nothing_is_found_where_nothing_is_damaged(own_shop: Any) -> None:
    assert list(doctor.findings(settled(own_shop))) == []


@pytest.mark.parametrize("how", [how for how in HOW if how != "gone"])
def test_damage_to_what_people_asked_for_is_found(own_shop: Any, how: str) -> None:
    settings, lake = settled(own_shop), own_shop.lake
    requests.open_request(settings, "restrict", "p_ann", actor="al")
    restrictions.restrict(lake, 1, ["POS/1"], ["SALE"])
    erasure_list.remember_erasure(lake, ["POS/9"])
    privacy.begin_erasure(lake, "p_cyd", privacy.Identifiers())
    privacy.end_erasure(lake, "p_cyd")
    privacy.begin_erasure(lake, "p_bob", privacy.Identifiers())
    assert list(doctor.findings(settings)) == []
    for pattern in PEOPLE:
        (file,) = Path(lake.root).glob(pattern)
        whole = file.read_bytes()
        HOW[how](file)
        assert [found.file for found in doctor.findings(settings)] == [str(file)]
        file.write_bytes(whole)


@pytest.mark.parametrize("how", HOW)
def test_every_damage_is_found_and_none_takes_serving_down(own_shop: Any, tmp_path: Path, how: str) -> None:
    """A matrix in one test: each file of state and lake, one at a time, damaged in this way."""
    settings, roots = settled(own_shop), {"state": own_shop.state, "lake": Path(own_shop.lake.root)}
    kept = {name: tmp_path / f"{name} kept" for name in roots}
    for name, root in roots.items():
        shutil.copytree(root, kept[name])
    wrong = []
    for root, pattern in [*(("state", p) for p in STATE), *(("lake", p) for p in LAKE)]:
        file = sorted(roots[root].glob(pattern))[-1]
        HOW[how](file)
        named = [f for f in doctor.findings(settings) if f.file in str(file) or str(file).startswith(f.file)]
        is_seen = (pattern.removeprefix("online/"), how) not in UNSEEN
        if is_seen and not named:
            wrong.append(f"{pattern} {how}: not found")
        access._CACHE.clear()
        ask = own_shop.clients() if pattern != "keys.json" else (lambda role, c=own_shop.clients: c_of(c, role))
        statuses = [ask(None).get("/healthz").status_code, ask("reader").get("/v1/people/p_ann").status_code]
        if 500 in statuses:
            wrong.append(f"{pattern} {how}: {statuses}")
        for name in roots:
            shutil.rmtree(roots[name])
            shutil.copytree(kept[name], roots[name])
    assert not wrong


def c_of(clients: Any, role: str | None) -> Any:
    """A client with a key that was made before its file was damaged."""
    client = clients()(None)
    client.headers.update({"X-API-Key": "c360_a_b"} if role else {})
    return client


def test_a_damaged_refusal_store_is_named(own_shop: Any) -> None:
    from customer360.pipelines.silver import engagement  # noqa: F401 - declares silver.consent_intervals

    settings = settled(own_shop)
    own_shop.write("silver.consent_intervals", [])
    refusals.publish_refusals(own_shop.lake, own_shop.state)
    (file,) = (own_shop.state / "refusals").rglob("data.mdb")
    os.truncate(file, 5)
    (found,) = doctor.findings(settings)
    assert "refusals" in found.file and "5 bytes instead of" in found.fault


@pytest.mark.parametrize("how", HOW)
def test_what_of_those_who_are_being_erased_cannot_be_read_is_named(own_shop: Any, how: str) -> None:
    settings, home = settled(own_shop), own_shop.state / "online"
    online.hide(own_shop.state, [("person", "p_ann")])
    assert list(doctor.findings(settings)) == []
    HOW[how](home / online.HIDDEN)
    (found,) = doctor.findings(settings)
    assert (found.file, found.remedy) == (str(home / online.HIDDEN), f"put {online.COPY} in its place")
    (home / online.COPY).write_bytes(b"")
    assert "nobody is answered by a server that starts" in " ".join(f.remedy for f in doctor.findings(settings))


def test_a_damaged_file_of_decisions_is_named(own_shop: Any) -> None:
    settings = settled(own_shop)
    (own_shop.state / "decisions.db").write_bytes(os.urandom(8192))
    (found,) = doctor.findings(settings)
    assert "decisions.db" in found.file and "move it away" in found.remedy


def test_a_commit_that_says_nothing_to_delta_and_objects_of_another_time_are_named(own_shop: Any) -> None:
    """Each is sound JSON, and its readers pass over it or break."""
    settings, root = settled(own_shop), Path(own_shop.lake.root)
    ledger.open_batch(own_shop.lake, "erp", [])
    ledger.start_run("run").save(own_shop.lake)
    assert list(doctor.findings(settings)) == []
    commit = sorted((root / "gold/customer_360/_delta_log").glob("*.json"))[-1]
    (run,), (manifest,) = (root / "_runs").glob("*.json"), (root / "_batches/erp").glob("*.json")
    bound = root / "_bound/_batches/erp.json"
    bound.parent.mkdir(parents=True)
    for file in (run, manifest, commit):
        file.write_text('{"format": 99, "state": "later"}')
    bound.write_text("[1")
    assert {str(f) for f in (run, manifest, commit, bound)} <= {found.file for found in doctor.findings(settings)}
    run.unlink()
    run.mkdir()
    assert (str(run), "is a folder") in {(found.file, found.fault) for found in doctor.findings(settings)}


def test_a_damaged_registry_of_schemas_and_health_of_sources_are_named(own_shop: Any) -> None:
    settings, lake = settled(own_shop), own_shop.lake
    schemas.register(lake, schemas.Version("erp", 1, "bronze.customers", {}))
    schemas.wait(lake, "erp", 2, [])
    Board({}).save(lake, {})
    assert list(doctor.findings(settings)) == []
    places = ("_schemas/sources/erp/00000001.json", "_schemas/waiting/erp.json", "_sources.json")
    for place in places:
        lake.put(place, b"[1")
    assert {found.file for found in doctor.findings(settings)} == {f"{lake.root}/{place}" for place in places}


@pytest.mark.parametrize("how", HOW)
def test_of_a_publication_of_what_changed_the_whole_one_is_needed(own_shop: Any, how: str) -> None:
    """Whoever deleted its folder, as that of one that is not in service, took what is answered away."""
    settings, base = settled(own_shop), online.current(own_shop.state)
    changed, home = own_shop.publish(), own_shop.state / "online" / "generations"
    assert base is not None and changed.base == base.id and list(doctor.findings(settings)) == []
    HOW[how](home / base.id / "data.mdb")
    found = {Path(each.file).name: each.remedy for each in doctor.findings(settings)}
    assert found == dict.fromkeys((base.id, changed.id), doctor.PUBLISH)
    own_shop.publish()
    found = {Path(each.file).name: each.remedy for each in doctor.findings(settings)}
    assert all("delete the folder" in remedy for remedy in found.values()) and base.id in found
