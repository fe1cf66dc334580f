"""What one machine publishes, served by another one that has only an object store in common with it."""

from __future__ import annotations

import json
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from starlette.testclient import TestClient

from customer360.models.ranking import RankingFitted, RankingParams
from customer360.models.ranking.features import NUMBERS
from customer360.models.ranking.fitting import Weights
from customer360.pipelines.silver import engagement  # noqa: F401 - declares silver.consent_intervals
from customer360.platform import access, online, privacy
from customer360.platform.errors import ConfigError
from customer360.platform.settings import Settings
from customer360.serve import following, recovery, shared
from customer360.serve.app import build_app
from customer360.serve.following import Follower
from customer360.serve.publication import indexes, rankers, vectors
from customer360.serve.publication.publishing import hide_person, publish_gold
from customer360.serve.publication.refusals import publish_refusals
from customer360.serve.realtime import erasures
from customer360.serve.shared import NotShared, share

Pair = tuple[Any, Settings, Settings]


@pytest.fixture
def pair(own_shop: Any, tmp_path: Path) -> Pair:
    """A filled shop, and the settings of the machine that publishes it and of one that follows."""
    store = {"shared": str(tmp_path / "store"), "switch_seconds": 0}
    own = Settings.model_validate({"state": str(own_shop.state), "serve": store})
    other = Settings.model_validate({"state": str(tmp_path / "other"), "serve": {**store, "follows": True}})
    return own_shop, own, other


def asking(settings: Settings, key: str) -> TestClient:
    app = build_app(settings)
    app.state.store._poll_seconds = app.state.refusals.store._poll_seconds = 0
    return TestClient(app, headers={"X-API-Key": key})


def name_of(client: TestClient, person: str) -> Any:
    found = client.get(f"/v1/people/{person}")
    return found.json()["profile"]["first_name"] if found.status_code == 200 else found.status_code


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)


def test_another_machine_answers_what_this_one_publishes(pair: Pair) -> None:
    shop, own, other = pair
    assert share(own) == 1, "nothing is published yet, which is told as well"
    Follower(other).catch_up()
    shop.publish()
    key = access.issue(shop.state, "app", "service")
    assert share(own) == 2
    follower, client = Follower(other), asking(other, key)
    assert name_of(client, "p_ann") == 401
    assert follower.follow() is None
    here, there = asking(own, key), client
    for path in ("people/p_ann", "people/p_bob", "people/p_ann/recommendations", "people/p_ann/scores"):
        assert there.get(f"/v1/{path}").json() == here.get(f"/v1/{path}").json()
    assert share(own) == 2 and follower.follow() is None, "what was told is not told again"


def test_what_was_not_told_anew_is_not_fetched_again(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told is a line for every file that is shared, and it is looked at each second."""
    shop, own, other = pair
    shop.publish()
    share(own)
    follower, read = Follower(other), list[int]()
    read_told = shared.Told.model_validate_json
    monkeypatch.setattr(shared.Told, "model_validate_json", lambda text: (read.append(len(text)), read_told(text))[1])
    follower.catch_up()
    assert follower.follow() is None and follower.follow() is None
    assert len(read) == 1
    seen = Path(other.state) / "online" / following.SEEN
    os.utime(seen, (0, 0))
    assert follower.follow() is None and seen.stat().st_mtime > 0, "it was looked at all the same"
    access.issue(shop.state, "later", "service")
    share(own)
    before = len(read)
    follower.catch_up()
    assert len(read) == before + 1
    assert (Path(other.state) / access.KEYS).read_text() == (shop.state / access.KEYS).read_text()


def test_whatever_a_publication_names_beside_tables_is_shared(pair: Pair) -> None:
    """A ranker or vectors that a machine lacks would let it answer otherwise than the one that published."""
    shop, own, other = pair
    shop.publish()
    weights = Weights(("A", "B"), np.zeros(4), np.ones(4), np.zeros(6), {}, np.zeros(4), np.zeros(21))
    made = RankingFitted(RankingParams(), date(2026, 3, 1), weights, ("home",), 5, 500)
    products = pl.DataFrame(
        schema={"product_id": pl.String, "category": pl.String, **dict.fromkeys(NUMBERS, pl.Float64)}
    )
    number = rankers.write_ranker(shop.state / rankers.HOME, rankers.Published("1", made, products))
    (shop.state / rankers.HOME / "CURRENT").write_text(str(number))
    share(own)
    Follower(other).catch_up()
    assert rankers.read_ranker(Path(other.state) / rankers.HOME, number) is not None
    assert rankers.current(Path(other.state)) == number
    assert {vectors.HOME, rankers.HOME, indexes.HOME} <= {home.name for home in shared.HOMES}


def test_a_refusal_and_a_key_that_was_taken_back_hold_before_the_next_publication(pair: Pair) -> None:
    shop, own, other = pair
    shop.publish()
    key, gone = access.issue(shop.state, "app", "service"), access.issue(shop.state, "old", "service")
    share(own)
    Follower(other).catch_up()
    client = asking(other, key)
    assert client.get("/v1/people/p_ann/recommendations").json()["personalized"]
    said = {"person_id": "p_ann", "purpose": "PERSONALIZATION", "is_allowed": False, "valid_from": date(2099, 1, 1)}
    shop.write("silver.consent_intervals", [said])
    publish_refusals(shop.lake, shop.state)
    access.revoke(shop.state, gone.split("_")[1])
    shop.publish()
    slow = own.model_copy(update={"serve": own.serve.model_copy(update={"switch_seconds": 3600})})
    share(slow)
    due = Follower(other).follow()
    assert due is not None, "the publication waits for its moment"
    assert not client.get("/v1/people/p_ann/recommendations").json()["personalized"], "a refusal does not"
    assert name_of(asking(other, gone), "p_ann") == 401


def test_machines_switch_at_the_moment_that_was_told(pair: Pair, tmp_path: Path) -> None:
    shop, own, other = pair
    shop.publish()
    share(own)
    machines = [other, other.model_copy(update={"state": str(tmp_path / "third")})]
    for machine in machines:
        Follower(machine).catch_up()
    first = online.current(Path(other.state))
    shop.publish()
    share(own.model_copy(update={"serve": own.serve.model_copy(update={"switch_seconds": 0.6})}))
    followers = [Follower(machine) for machine in machines]
    assert all(f.follow() is not None for f in followers)
    for machine in machines:
        state = Path(machine.state)
        assert online.current(state) == first and len(online.generations(state)) == 2, "fetched, and not in service"
    for follower in followers:
        follower.catch_up()
    assert {online.current(Path(m.state)).id for m in machines} == {online.current(shop.state).id}  # type: ignore[union-attr]


def test_of_a_publication_of_what_changed_only_that_is_fetched(pair: Pair) -> None:
    """It lies in the store, and on a machine that follows, beside the whole one that it changes."""
    shop, own, other = pair
    base = shop.publish()
    key = access.issue(shop.state, "app", "service")
    share(own)
    Follower(other).catch_up()
    client = asking(other, key)
    assert name_of(client, "p_bob") == "Firstp_bob"
    homes = [Path(state) / "online" / "generations" for state in (shop.state, other.state)]
    held = [(home / base.id / "data.mdb").stat().st_ino for home in homes]
    for number in range(4):
        shop.write("gold.customer_360", [shop.profile("p_bob", first_name=f"Bob {number}"), shop.profile("p_ann")])
        changed = shop.publish()
        share(own)
        Follower(other).catch_up()
        assert changed.base == base.id and name_of(client, "p_bob") == f"Bob {number}"
    assert held == [(home / base.id / "data.mdb").stat().st_ino for home in homes], "the base is never sent again"
    assert [len(list(home.iterdir())) for home in homes] == [4, 4], "three, and the base"


def test_one_whose_base_is_damaged_is_not_shared(pair: Pair) -> None:
    shop, own, other = pair
    base = shop.publish()
    share(own)
    shop.publish()
    (shop.state / "online" / "generations" / base.id / "generation.json").write_text("{")
    assert share(own) == 1
    Follower(other).catch_up()
    assert online.current(Path(other.state)) == base


def leave(shop: Any, person: str) -> None:
    privacy.begin_erasure(shop.lake, person, privacy.Identifiers(persons=frozenset({person})))


def test_who_is_erased_is_on_no_machine_and_not_in_the_store(pair: Pair, tmp_path: Path) -> None:
    shop, own, other = pair
    shop.publish()
    shop.publish()
    key = access.issue(shop.state, "app", "service")
    share(own)
    Follower(other).catch_up()
    client = asking(other, key)
    assert name_of(client, "p_ann") == "Firstp_ann"
    leave(shop, "p_ann")
    hide_person(shop.state, ["p_ann"], [])
    share(own, at_once=True)
    Follower(other).catch_up()
    assert name_of(client, "p_ann") == 404 and name_of(client, "p_cyd") == "Firstp_cyd"
    publish_gold(shop.lake, shop.state, keep=1)
    Follower(other).follow()
    share(own)  # the others switch later
    Follower(other).follow()
    assert name_of(client, "p_ann") == 404, "it still serves the publication of before"
    Follower(other).catch_up()
    assert name_of(client, "p_ann") == 404 and name_of(client, "p_cyd") == "Firstp_cyd"
    for place in (tmp_path / "store", Path(other.state)):
        left = [f for f in place.rglob("*") if f.is_file() and b"p_ann@example.org" in f.read_bytes()]
        assert not left


def test_what_is_not_as_it_was_shared_is_not_taken(pair: Pair, tmp_path: Path) -> None:
    shop, own, other = pair
    shop.publish()
    share(own)
    Follower(other).catch_up()
    stood = online.current(Path(other.state))
    shop.publish()
    share(own)
    newest = max((f for f in (tmp_path / "store" / "online").rglob("data.mdb")), key=lambda f: f.stat().st_mtime_ns)
    data = newest.read_bytes()
    newest.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    follower = Follower(other)
    with pytest.raises(NotShared, match="is not what was shared"):
        follower.follow()
    assert online.current(Path(other.state)) == stood
    newest.write_bytes(data)
    follower.catch_up()
    assert online.current(Path(other.state)) == online.current(shop.state)


GOOD = {"number": 1, "by": "x", "switch_at": "2026-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    "told",
    [
        "",
        "{",
        "[]",
        "{}",
        json.dumps({"format": 99}),
        json.dumps(GOOD | {"switch_at": "2026-01-01"}),
        *(
            json.dumps(GOOD | {"homes": {"online": shared}})
            for shared in (
                {"current": "../../x"},
                {"folders": {"../../x": {}}},
                {"folders": {"1": {"../x": [1, "0" * 64]}}},
                {"folders": {"1": {"x": [1, "y"]}}},
            )
        ),
    ],
)
def test_what_cannot_be_read_is_said_in_a_line(pair: Pair, tmp_path: Path, told: str) -> None:
    _, _, other = pair
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / shared.TOLD).write_text(told)
    with pytest.raises(NotShared, match=shared.TOLD):
        Follower(other).follow()


def test_a_place_of_something_else_is_left_alone(pair: Pair, tmp_path: Path) -> None:
    shop, own, _ = pair
    shop.publish()
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "orders.parquet").write_text("not ours")
    with pytest.raises(ConfigError, match=r"holds 'orders\.parquet'"):
        share(own)
    (tmp_path / "store" / "orders.parquet").unlink()
    share(own)
    (tmp_path / "store" / "notes.txt").write_text("put there later")
    shop.publish()
    share(own)
    assert (tmp_path / "store" / "notes.txt").is_file()
    another = own.model_copy(update={"state": str(tmp_path / "another")})
    with pytest.raises(ConfigError, match="another installation"):
        share(another)
    within = own.model_copy(update={"serve": own.serve.model_copy(update={"shared": f"{own.state}/store"})})
    with pytest.raises(ConfigError, match="overlap"):
        share(within)


def test_what_a_death_left_in_the_store_goes_with_the_next_share(
    pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop, own, _ = pair
    shop.publish()
    share(own)
    leave(shop, "p_ann")
    publish_gold(shop.lake, shop.state, keep=1)
    with monkeypatch.context() as dying:
        dying.setattr(shared.obstore, "delete", lambda *_: (_ for _ in ()).throw(OSError("denied")))
        with pytest.raises(NotShared, match="denied"):
            share(own, at_once=True)
    share(own, at_once=True)
    assert not any(b"p_ann@example.org" in f.read_bytes() for f in (tmp_path / "store").rglob("*") if f.is_file())


def test_a_moment_that_was_told_stays(pair: Pair) -> None:
    """A key that is made meanwhile does not let some machines switch before the others."""
    shop, own, other = pair
    shop.publish()
    share(own)
    slow = own.model_copy(update={"serve": own.serve.model_copy(update={"switch_seconds": 3600})})
    shop.publish()
    share(slow)
    due = Follower(other).follow()
    access.issue(shop.state, "app", "service")
    share(own)
    assert Follower(other).follow() == due
    share(own, at_once=True)


def test_decisions_for_who_was_erased_go_on_every_machine(pair: Pair) -> None:
    shop, own, other = pair
    shop.publish()
    key = access.issue(shop.state, "app", "service")
    share(own)
    Follower(other).catch_up()
    app = build_app(other)
    client = TestClient(app, headers={"X-API-Key": key})
    for person in ("p_ann", "p_cyd"):
        assert client.post("/v1/recommendations", json={"person_id": person, "placement": "home"}).status_code == 200
    app.state.journal.flush()
    erasures.tell(shop.state, ["p_ann"])
    share(own, at_once=True)
    Follower(other).catch_up()
    with closing(sqlite3.connect(Path(other.state) / "decisions.db")) as kept:
        assert kept.execute("SELECT count(*) FROM decisions").fetchone()[0] == 1


def test_what_is_told_anew_from_the_first_number_is_taken(pair: Pair, tmp_path: Path) -> None:
    shop, own, other = pair
    shop.publish()
    share(own)
    follower = Follower(other)
    follower.catch_up()
    (tmp_path / "store" / shared.TOLD).unlink()
    seen = Path(other.state) / "online" / following.SEEN
    os.utime(seen, (1, 1))
    assert follower.follow() is None and seen.stat().st_mtime == 1, "nothing is there to be seen"
    key = access.issue(shop.state, "app", "service")
    assert share(own) == 1
    follower.catch_up()
    assert name_of(asking(other, key), "p_ann") == "Firstp_ann"


def test_damage_where_it_is_made_leaves_the_others_what_they_have(pair: Pair) -> None:
    shop, own, other = pair
    made = shop.publish()
    share(own)
    Follower(other).catch_up()
    (shop.state / "online" / "generations" / made.id / "generation.json").write_text("{")
    (shop.state / "online" / "generations" / f"{made.id}.bak").mkdir()
    key = access.issue(shop.state, "app", "service")
    share(own)
    half = Path(other.state) / "online" / "generations" / f"{following.HALF}x"
    half.mkdir()
    Follower(other).catch_up()
    assert name_of(asking(other, key), "p_ann") == "Firstp_ann" and not half.exists()
    (shop.state / "online" / "CURRENT").write_text("2026-nothing")
    share(own)
    shop.publish()
    share(own)
    Follower(other).catch_up()
    assert online.current(Path(other.state)) == online.current(shop.state)


def test_a_restore_beside_tells_nobody(pair: Pair, tmp_path: Path) -> None:
    _, own, _ = pair
    below = recovery._below(own, tmp_path / "drill")
    assert (below.serve.shared, below.serve.follows) == ("", False) and share(below) is None


def test_a_machine_that_cannot_look_calls_its_answers_stale(pair: Pair) -> None:
    shop, own, other = pair
    shop.publish()
    share(own)
    Follower(other).catch_up()
    client = TestClient(build_app(other))
    assert client.get("/healthz").json()["status"] == "ok"
    seen = Path(other.state) / "online" / following.SEEN
    os.utime(seen, (time.time() - 600, time.time() - 600))
    client = TestClient(build_app(other))
    assert "not seen for 10 minutes" in client.get("/healthz").json()["stale_because"]


def test_a_store_that_is_away_stops_no_answer(pair: Pair, tmp_path: Path) -> None:
    shop, own, other = pair
    shop.publish()
    share(own)
    Follower(other).catch_up()
    (tmp_path / "no folder").touch()
    lost = other.model_copy(update={"serve": other.serve.model_copy(update={"shared": str(tmp_path / "no folder")})})
    with pytest.raises(NotShared, match="no folder"):
        Follower(lost).follow()
    assert online.current(Path(other.state)) is not None


def test_a_server_follows_by_itself_and_one_process_for_all(pair: Pair) -> None:
    shop, own, other = pair
    shop.publish()
    key = access.issue(shop.state, "app", "service")
    share(own)
    over = threading.Event()
    second = threading.Thread(target=Follower(other).go_on, args=(over,), daemon=True)
    with TestClient(build_app(other), headers={"X-API-Key": key}) as client:
        until(lambda: name_of(client, "p_ann") == "Firstp_ann")
        second.start()
        time.sleep(0.2)
        assert second.is_alive(), "it waits until nobody else follows"
        with pytest.raises(NotShared, match="follows already"):
            Follower(other).catch_up()
    over.set()
    second.join(timeout=10)
    assert not second.is_alive()


def test_who_follows_publishes_nothing() -> None:
    with pytest.raises(ValueError, match="name what to follow"):
        Settings.model_validate({"serve": {"follows": True}})
    settings = Settings.model_validate({"serve": {"follows": True, "shared": "s3://b/p"}})
    with pytest.raises(ConfigError, match="another one publishes"):
        shared.refuse_where_it_follows(settings)
    assert share(settings) is None
