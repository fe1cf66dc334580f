"""The proof of an erasure looks everywhere, says no value, and cannot be changed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from customer360.platform import audit
from customer360.platform.settings import LakeSettings, Settings
from customer360.platform.traces import Traces, Value
from customer360.serve.rights import proof

ANN = Traces.of([Value("e-mail", ("ann@x.test",))], shared=[Value("phone", ("0221555",))])


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    for folder in ("lake", "state", "landing", "logs"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "other.txt").write_text("bob@x.test")
    lake = LakeSettings(root=str(tmp_path / "lake"))
    return Settings(lake=lake, state=str(tmp_path / "state"), landing=str(tmp_path / "landing"))


def test_nothing_is_left_only_where_every_store_was_looked_at(settings: Settings, tmp_path: Path) -> None:
    clean = proof.prove(settings, "p1", ANN, (tmp_path / "logs",))
    assert clean.is_clean and [seen["files"] for seen in clean.looked_at.values()] == [1, 1, 1, 1]
    assert clean.searched == {"e-mail": 1} and clean.too_common == {"phone": 1}
    assert not proof.prove(settings, "p1", Traces()).is_clean, "who looks for nothing proves nothing"


@pytest.mark.parametrize("folder", ["lake", "state", "landing", "logs"])
def test_what_remains_is_named_by_file_and_kind(settings: Settings, tmp_path: Path, folder: str) -> None:
    (tmp_path / folder / "to ann@x.test.txt").write_text("x")
    (tmp_path / folder / "cut.zip").write_bytes(b"PK\x03\x04")
    found = proof.prove(settings, "p1", ANN, (tmp_path / "logs",))
    assert {(r.kinds, bool(r.unread)) for r in found.remains} == {(("e-mail",), False), ((), True)}
    assert found.is_landing_alone == (folder == "landing") and not found.is_clean
    assert "ann@x.test" not in proof.write_report(settings, found).read_text()


def test_what_links_lead_to_is_searched_and_a_loop_ends(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "one.txt").write_text("ann@x.test")
    (tmp_path / "disk" / "back").symlink_to(tmp_path / "state")
    (tmp_path / "state" / "models").symlink_to(tmp_path / "disk")
    (tmp_path / "lake" / "linked.txt").symlink_to(tmp_path / "disk" / "one.txt")
    found = proof.prove(settings, "p1", ANN)
    assert {(r.store, r.place) for r in found.remains} == {("state", "models/one.txt"), ("lake", "linked.txt")}


def test_half_of_a_restore_is_searched(settings: Settings, tmp_path: Path) -> None:
    half = tmp_path / "lake.restoring-20260301T000000Z"
    half.mkdir()
    (half / "a.txt").write_text("ann@x.test")
    assert [r.place for r in proof.prove(settings, "p1", ANN).remains] == ["a.txt"]


def standing(settings: Settings, *also: Path) -> Callable[[], list[str]]:
    """What stands of the remains that a search finds now."""
    report = json.loads(proof.write_report(settings, proof.prove(settings, "p1", ANN, also)).read_text())
    return lambda: proof.standing_remains(settings, report)


def test_what_remained_is_found_again_by_its_content(settings: Settings, tmp_path: Path) -> None:
    state = tmp_path / "state"
    for name in ("mlflow.db-wal", "a[1].json"):
        (state / name).write_text(f"ann@x.test in {name}")
    left = standing(settings)
    assert left() == ["a[1].json", "mlflow.db-wal"]
    (state / "mlflow.db").write_text("a log that begins with the same name")
    (state / "mlflow.db-wal").unlink()
    (state / "a[1].json").rename(state / "b.json")
    assert left() == ["a[1].json"], "under another name"
    (state / "b.json").rename(tmp_path / "lake" / "c.json")
    assert left() == ["a[1].json"], "in another store"
    (tmp_path / "lake" / "c.json").unlink()
    assert left() == []


def test_a_shared_file_that_was_cleaned_is_no_remains_and_that_it_changed_is_said(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "models.db").write_text("ann@x.test, bob@x.test")
    shared = settings.model_copy(
        update={"models": settings.models.model_copy(update={"tracking_uri": f"sqlite:///{tmp_path}/models.db"})}
    )
    left = standing(shared)
    assert left() == ["models.db"] and not caplog.messages
    (tmp_path / "models.db").write_text("bob@x.test")
    assert left() == [] and "written anew since the report" in caplog.text and "models.db" in caplog.text


def test_a_name_that_tells_stands_whatever_the_file_holds(settings: Settings, tmp_path: Path) -> None:
    file = tmp_path / "state" / "of ann@x.test [1].txt"
    file.write_text("x")
    left = standing(settings)
    file.write_text("y")
    assert len(left()) == 1
    file.rename(tmp_path / "state" / "other [1].txt")
    assert left() == []


def test_what_remained_in_folders_that_somebody_named_is_looked_for_there(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "logs" / "a.log").write_text("ann@x.test")
    left = standing(settings, tmp_path / "logs")
    assert left() == ["a.log"]
    (tmp_path / "logs" / "a.log").unlink()
    assert left() == []


def test_a_report_of_before_is_read_by_names(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "state" / "a.json").write_text("ann@x.test")
    report = {"looked_at": {}, "remains": [{"store": "state", "place": "a.json", "kinds": ["e-mail"], "unread": ""}]}
    assert proof.standing_remains(settings, report) == ["a.json"]
    (tmp_path / "state" / "a.json").rename(tmp_path / "state" / "a.json.txt")
    assert proof.standing_remains(settings, report) == []


def test_a_changed_report_is_refused(settings: Settings, tmp_path: Path) -> None:
    file = proof.write_report(settings, proof.prove(settings, "p1", ANN))
    assert proof.verify_report(settings, file)["is_clean"] and file.stat().st_mode & 0o077 == 0
    changed = json.loads(file.read_text()) | {"remains": []} | {"searched": {"e-mail": 2}}
    file.write_text(json.dumps(changed))
    with pytest.raises(proof.NotSigned, match="not as it was signed"):
        proof.verify_report(settings, file)
    with pytest.raises(proof.NotSigned, match="no report"):
        proof.verify_report(settings, tmp_path / "none.json")
    (line,) = audit.entries(tmp_path / "state")
    assert line["asked"] == "erase --prove: clean" and "p1" not in line["person"]
