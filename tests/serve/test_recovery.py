"""By command: a backup comes back elsewhere, sound, with the same answers; a run goes on; who was erased stays away."""

from __future__ import annotations

import json
import shutil
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from starlette.testclient import TestClient
from typer.testing import CliRunner, Result

from customer360.platform import access, erasure_list, privacy, restrictions
from customer360.platform.backup import BackupError, Repository, marks
from customer360.platform.backup.trees import FolderTree
from customer360.platform.lake import Lake
from customer360.serve import app as application
from customer360.serve import jobs, recovery
from customer360.serve.app import build_app
from customer360.serve.cli import app
from customer360.serve.publication.refusals import Refusals
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


# ---- since the backup ------------------------------------------------------------------------------------------------


@pytest.fixture
def lost(shop: Any, tmp_path: Path) -> Callable[[], str]:
    """Back up, let something happen, lose all: a function that takes a second backup, removes lake and state folder,
    and returns the id of the first backup."""
    store = tmp_path / "backups"
    assert customer360(tmp_path, "backup", str(store)).exit_code == 0
    first = next(store.glob("snapshots/*")).name.removesuffix(".json.gz")

    def lose() -> str:
        assert customer360(tmp_path, "backup", str(store)).exit_code == 0
        for root in ("lake", "state"):
            shutil.rmtree(tmp_path / root)
        return first

    return lose


@pytest.fixture
def erased_again(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Whom restores erase; each only noted."""
    found: list[str] = []
    monkeypatch.setattr(jobs, "erase", lambda settings, person: found.append(person))
    return found


def test_a_restore_that_was_cut_short_is_taken_up_and_nobody_works_on_it(
    shop: Any, tmp_path: Path, lost: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    erasure_list.remember_erasure(shop.lake, ["POS/2"])
    first, erased, store = lost(), [], str(tmp_path / "backups")

    def killed(*_: Any) -> None:
        raise OSError("No space left on device")

    for owner, name in ((FolderTree, "replace_by"), (recovery, "_erase_again"), (jobs, "erase")):
        with monkeypatch.context() as patch:
            patch.setattr(owner, name, killed)
            assert customer360(tmp_path, "restore", str(tmp_path / "backups"), "--at", first).exit_code == 1
        said = customer360(tmp_path, "doctor")
        assert said.exit_code == 1 and f"customer360 restore {tmp_path}/backups --at {first}" in said.output
        for command in (("run",), ("serve", "--plain"), ("backup", store), ("erase", "p_ann", "--yes"), ("score",),
                        ("warehouse", "load"), ("sql", "SELECT 1"), ("train", "churn"), ("rights", "fulfil", "1"),
                        ("audience", "list"), ("key", "list"), ("batch", "list")):  # fmt: skip
            assert "was cut short" in str(customer360(tmp_path, *command).exception), command
        assert customer360(tmp_path, "backup", store, "--list").exit_code == 0
    monkeypatch.setattr(jobs, "erase", lambda settings, person: erased.append(person))
    said = customer360(tmp_path, "restore", str(tmp_path / "backups"))  # the same backup, though it is not the newest
    assert said.exit_code == 0 and first in said.output, said.output
    assert erased == ["p_bob"]
    assert "cut short" not in customer360(tmp_path, "doctor").output and not list(tmp_path.glob("*restoring*"))


def test_an_area_that_is_in_its_place_is_left_as_it_is(
    shop: Any, tmp_path: Path, lost: Callable[[], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lost()
    of = FolderTree.replace_by

    def not_the_lake(self: FolderTree, other: FolderTree) -> None:
        if self.root.endswith("lake"):
            raise OSError("No space left on device")
        of(self, other)

    with monkeypatch.context() as patch:
        patch.setattr(FolderTree, "replace_by", not_the_lake)
        assert customer360(tmp_path, "restore", str(tmp_path / "backups")).exit_code == 1
    (tmp_path / "state" / "mine").write_text("since")
    assert customer360(tmp_path, "restore", str(tmp_path / "backups")).exit_code == 0
    assert (tmp_path / "state" / "mine").read_text() == "since" and shop.lake.exists("silver.identities")


def test_both_places_are_looked_at_before_anything_is_written(shop: Any, tmp_path: Path, lost: Any) -> None:
    lost()
    (tmp_path / "lake").mkdir()
    (tmp_path / "lake/mine").write_text("somebody's")
    said = customer360(tmp_path, "restore", str(tmp_path / "backups"))
    assert said.exit_code == 1 and "lake holds files" in str(said.exception)
    assert not (tmp_path / "state").exists() and [f.name for f in (tmp_path / "lake").iterdir()] == ["mine"]


def request(number: int, **other: Any) -> tuple[str, bytes]:
    said = {"number": number, "kind": "restrict", "person": "p_cyd", "law": "gdpr", "received_on": "2026-03-01",
            "due_on": "2026-03-31", "state": "fulfilled"}  # fmt: skip
    return f"_rights/requests/{number:08d}.json", json.dumps(said | other).encode()


def test_what_people_asked_for_since_the_backup_holds(shop: Any, tmp_path: Path, lost: Callable[[], str]) -> None:
    shop.lake.put(*request(1))
    restrictions.restrict(shop.lake, 1, ["POS/3"], ["EMAIL"])
    first = lost()
    assert customer360(tmp_path, "restore", str(tmp_path / "backups"), "--at", first).exit_code == 0
    assert restrictions.restrictions(shop.lake) == {"POS/3": {"EMAIL"}}
    assert shop.lake.get(request(1)[0]) == request(1)[1]
    assert Refusals(shop.state).of({"profile": {"person_id": "p_cyd"}, "accounts": ["POS/3"]}) == {"EMAIL"}


def test_what_was_released_since_is_released_and_all_else_stays_restricted(shop: Any, tmp_path: Path) -> None:
    store = str(tmp_path / "backups")
    for number, account in ((1, "POS/3"), (2, "POS/2")):
        shop.lake.put(*request(number))
        restrictions.restrict(shop.lake, number, [account], ["EMAIL"])
    assert customer360(tmp_path, "backup", store).exit_code == 0
    shop.lake.put(*request(1, state="released"))
    restrictions.release(shop.lake, 1)
    assert customer360(tmp_path, "restore", store, "--into", str(tmp_path / "new")).exit_code == 0
    assert restrictions.restrictions(Lake(str(tmp_path / "new/lake"))) == {"POS/2": {"EMAIL"}}


def test_requests_of_another_lake_are_not_taken_for_those_of_this_one(shop: Any, tmp_path: Path) -> None:
    shop.lake.put(*request(1))
    assert customer360(tmp_path, "backup", str(tmp_path / "backups")).exit_code == 0
    shop.lake.put(*request(1, kind="opt_out", received_on="2026-02-02"))
    said = customer360(tmp_path, "restore", str(tmp_path / "backups"), "--into", str(tmp_path / "new"))
    assert said.exit_code == 1 and "is another one than was backed up" in str(said.exception)
    assert not (tmp_path / "new").exists()


def restored(root: Path, *words: str) -> tuple[Lake, str]:
    """What `restore --into` makes of the first backup while the lake stands, and what it says."""
    first = min((root / "backups/snapshots").glob("*")).name.removesuffix(".json.gz")
    said = customer360(root, "restore", str(root / "backups"), "--at", first, "--into", str(root / "new"), *words)
    assert said.exit_code == 0, said.output + repr(said.exception)
    return Lake(str(root / "new/lake")), said.output


@pytest.mark.parametrize(
    ("path", "data"),
    [
        ("_rights/requests/00000009.json", b'{"num'),
        ("_rights/requests/00000009.json", b""),
        ("_rights/requests/00000009.json", b'{"number": 9}'),
        ("_rights/restricted/00000009.json", b""),
        ("_rights/restricted/00000009.json", b"[]"),
        ("_rights/restricted.json", b'{"1": {"acc'),
        ("_erasures/digests.json", b'["a'),
        ("_erasures/digests.json", b""),
        ("_erasures/done/00ff.json", b"{}"),
    ],
)
def test_what_is_damaged_in_the_present_lake_stops_no_restore_and_is_not_carried(
    shop: Any, tmp_path: Path, path: str, data: bytes
) -> None:
    assert customer360(tmp_path, "backup", str(tmp_path / "backups")).exit_code == 0
    shop.lake.put(*request(1))
    erasure_list.person_digest(shop.lake, "p_ann")  # which makes the lake's secret
    shop.lake.put(path, data)
    lake, said = restored(tmp_path)
    assert lake.get(path) is None and lake.get(request(1)[0]) == request(1)[1]
    assert path in " ".join(said.split()) and "cannot be read" in " ".join(said.split())


def test_what_is_damaged_in_the_newest_backup_comes_from_the_one_before(
    shop: Any, tmp_path: Path, lost: Callable[[], str], erased_again: list[str]
) -> None:
    erasure_list.remember_erasure(shop.lake, ["POS/2"])
    shop.lake.put(*request(1))
    assert customer360(tmp_path, "backup", str(tmp_path / "backups")).exit_code == 0
    shop.lake.put("_erasures/digests.json", b'["a')
    shop.lake.put(request(1)[0], b'{"num')
    shop.lake.put(*request(2))
    first = lost()
    said = customer360(tmp_path, "restore", str(tmp_path / "backups"), "--at", first)
    assert said.exit_code == 0 and "cannot be read" in said.output and erased_again == ["p_bob"], said.output
    assert [shop.lake.get(request(n)[0]) for n in (1, 2)] == [request(n)[1] for n in (1, 2)]


def test_a_damaged_list_of_the_backup_itself_is_told_of(shop: Any, tmp_path: Path, erased_again: list[str]) -> None:
    erasure_list.remember_erasure(shop.lake, ["POS/2"])
    good = shop.lake.get("_erasures/digests.json")
    shop.lake.put("_erasures/digests.json", b'["a')
    assert customer360(tmp_path, "backup", str(tmp_path / "backups")).exit_code == 0
    said = customer360(tmp_path, "restore", str(tmp_path / "backups"), "--into", str(tmp_path / "new"))
    assert "list of who was erased, cannot be read" in str(said.exception) and not (tmp_path / "new").exists()
    shop.lake.put("_erasures/digests.json", good)
    assert restored(tmp_path)[0].get("_erasures/digests.json") == good and erased_again == ["p_bob"]


def test_nothing_of_a_lake_that_is_not_shown_to_be_this_one_is_carried(shop: Any, tmp_path: Path) -> None:
    """Somebody else's backup is restored beside a lake in production, before either has erased anybody."""
    assert customer360(tmp_path, "backup", str(tmp_path / "backups")).exit_code == 0
    shop.lake.put(*request(1))
    restrictions.restrict(shop.lake, 1, ["POS/3"], ["EMAIL"])
    for log in (tmp_path / "lake").rglob("_delta_log/00000000000000000000.json"):
        log.write_bytes(log.read_bytes() + b"\n")  # as of tables that were made another time
    lake, said = restored(tmp_path)
    assert lake.objects("_rights") == [] and "--erasures" in said and "nothing was carried" in " ".join(said.split())
    shutil.rmtree(tmp_path / "new")
    lake, _ = restored(tmp_path, "--erasures", str(tmp_path / "lake"))
    assert restrictions.restrictions(lake) == {"POS/3": {"EMAIL"}}, "who names it says that it is"


@pytest.mark.parametrize("data", [b'["a', b""])
def test_a_named_list_that_is_cut_stops_a_restore_that_would_bring_people_back(
    shop: Any, tmp_path: Path, erased_again: list[str], data: bytes
) -> None:
    assert customer360(tmp_path, "backup", str(tmp_path / "backups")).exit_code == 0
    erasure_list.remember_erasure(shop.lake, ["POS/2"])
    good = shop.lake.get("_erasures/digests.json")
    shop.lake.put("_erasures/digests.json", data)
    into, named = str(tmp_path / "new"), str(tmp_path / "lake")
    words = ("restore", str(tmp_path / "backups"), "--into", into, "--erasures", named)
    said = str(customer360(tmp_path, *words).exception)
    assert f"{named}: " in said and "without it whoever was erased would be back" in said
    assert not (tmp_path / "new").exists() and erased_again == []
    shop.lake.put("_erasures/digests.json", good)
    assert customer360(tmp_path, *words).exit_code == 0 and erased_again == ["p_bob"]


def test_ray_serves_nothing_of_half_a_restore(shop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`serve run` builds the application from its file and asks no command of ours."""
    (shop.state / marks.MARK).write_bytes(marks.Mark("2026", "customer360 restore x").written())
    monkeypatch.setenv("CUSTOMER360__STATE", str(shop.state))
    monkeypatch.setitem(sys.modules, "ray", types.SimpleNamespace(serve=None))
    with pytest.raises(BackupError, match="go on with `customer360 restore x`"):
        application.application(application.Arguments())


def test_a_lake_with_another_secret_is_another_one(shop: Any, tmp_path: Path) -> None:
    erasure_list.person_digest(shop.lake, "p_ann")
    assert customer360(tmp_path, "backup", str(tmp_path / "backups")).exit_code == 0
    shop.lake.put("_erasures/secret", b"of another lake")
    said = customer360(tmp_path, "restore", str(tmp_path / "backups"), "--into", str(tmp_path / "new"))
    assert "is another one than was backed up" in str(said.exception) and not (tmp_path / "new").exists()


def test_later_backups_of_another_lake_say_nothing_of_this_one(
    shop: Any, tmp_path: Path, lost: Callable[[], str]
) -> None:
    shop.lake.put(*request(1))
    assert customer360(tmp_path, "backup", str(tmp_path / "backups")).exit_code == 0
    shop.lake.put(*request(1, kind="opt_out"))
    lost()
    second = sorted((tmp_path / "backups/snapshots").glob("*"))[1].name.removesuffix(".json.gz")
    said = customer360(tmp_path, "restore", str(tmp_path / "backups"), "--at", second)
    assert said.exit_code == 0 and "is of another lake" in said.output, said.output + repr(said.exception)
    assert shop.lake.get(request(1)[0]) == request(1)[1]


def test_an_open_request_of_who_came_and_was_erased_since_can_be_closed(
    shop: Any, tmp_path: Path, lost: Callable[[], str]
) -> None:
    """Who came after the backup is in no table of it, so that nobody is erased again."""
    erasure_list.remember_erasure(shop.lake, ["POS/77"])
    digest = erasure_list.person_digest(shop.lake, "p_new")
    shop.lake.put(*request(1, kind="erase", person=digest, state="open"))
    privacy.begin_erasure(shop.lake, "p_new", privacy.Identifiers())
    privacy.end_erasure(shop.lake, "p_new")
    ended = privacy.erased_at(shop.lake, digest)
    first = lost()
    assert customer360(tmp_path, "restore", str(tmp_path / "backups"), "--at", first).exit_code == 0
    assert privacy.erased_at(shop.lake, digest) == ended is not None
    said = customer360(tmp_path, "rights", "fulfil", "1", "--identity", "letter")
    assert said.exit_code == 0 and "erased on " in said.output, said.output + repr(said.exception)


def test_a_later_backup_that_cannot_be_read_stops_no_restore_and_is_told_of(
    shop: Any, tmp_path: Path, lost: Callable[[], str], erased_again: list[str]
) -> None:
    erasure_list.remember_erasure(shop.lake, ["POS/2"])
    first, store = lost(), tmp_path / "backups"
    (store / "snapshots/99990101T000000000000Z.json.gz").write_bytes(b"cut")
    said = customer360(tmp_path, "restore", str(store), "--at", first)
    assert said.exit_code == 0 and "99990101T000000000000Z" in said.output and "--erasures LAKE" in said.output
    assert erased_again == ["p_bob"], "the backup between tells"
    newest = customer360(tmp_path / "other", "restore", str(store))
    assert newest.exit_code == 1 and "--at" in str(newest.exception), "an older one is not taken without a word"


def test_what_stood_without_refusals_is_looked_at_anew(shop: Any, tmp_path: Path) -> None:
    shop.lake.put(jobs.HEEDED, b"the seal of another moment")
    assert customer360(tmp_path, "backup", str(tmp_path / "backups")).exit_code == 0
    assert customer360(tmp_path, "restore", str(tmp_path / "backups"), "--into", str(tmp_path / "new")).exit_code == 0
    assert Lake(str(tmp_path / "new/lake")).get(jobs.HEEDED) != b"the seal of another moment"


def test_what_links_lead_to_is_backed_up_and_a_root_that_is_a_link_stays_one(shop: Any, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    shutil.move(tmp_path / "lake/silver", disk / "silver")
    (tmp_path / "lake/silver").symlink_to(disk / "silver")
    (disk / "silver/round").symlink_to(disk)  # and back
    shutil.move(tmp_path / "state", disk / "state")
    (tmp_path / "state").symlink_to(disk / "state")
    said = customer360(tmp_path, "backup", str(tmp_path / "backups"))
    assert said.exit_code == 0, said.output
    shutil.rmtree(tmp_path / "lake")
    shutil.rmtree(disk / "state")
    (disk / "state").mkdir()
    said = customer360(tmp_path, "restore", str(tmp_path / "backups"))
    assert said.exit_code == 0 and "nothing is damaged" in said.output, said.output
    assert shop.lake.scan("silver.identities").collect().height == 5
    assert (tmp_path / "state").is_symlink() and (disk / "state/online/CURRENT").exists()


def test_a_link_to_a_folder_above_is_named_and_not_followed(shop: Any, tmp_path: Path) -> None:
    """Else lake and repository would be in the state folder once more, and what lies beside them."""
    (tmp_path / "private.txt").write_text("nobody's business")
    for link, target in (("state/up", ".."), ("state/online/top", "/"), ("state/self", "."), ("lake/up", "..")):
        (tmp_path / link).symlink_to(target)
    said = customer360(tmp_path, "backup", str(tmp_path / "backups"))
    told = " ".join(said.output.split())
    for link in ("up", "online/top", "self", "lake: up"):
        assert f"left out: {link} (a link to a folder above it)" in told
    (snapshot,) = Repository(str(tmp_path / "backups"), {}).snapshots()
    assert not [path for area in snapshot.files.values() for path in area if {"up", "top", "self"} & {*path.split("/")}]


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
