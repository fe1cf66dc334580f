"""The proof of an erasure looks everywhere, says no value, and cannot be changed."""

from __future__ import annotations

import json
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
