"""Files as a source: what is found, what is new, and what one file leaves in bronze."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from customer360.platform import erasure_list, ledger, quality, tables
from customer360.platform.errors import ConfigError, SourceError
from customer360.platform.lake import Lake
from customer360.platform.ledger import Batch, Input
from customer360.platform.quality import DeadLetters
from customer360.platform.run.ingest import commit_batch, fixed, pending
from customer360.platform.sources.bronze import KEPT_BYTES, IngestUnit, Landed, failure_text
from customer360.platform.sources.casting import fit
from customer360.platform.sources.files import Files
from customer360.platform.sources.landing import Landing
from customer360.platform.sources.stated import missing_columns, used_columns
from customer360.platform.tables import Integer, String, Table


@pytest.fixture
def landing(tmp_path: Path) -> Landing:
    (tmp_path / "landing/crm/deep").mkdir(parents=True)
    for name in ("crm/a.csv", "crm/deep/b.csv", "crm/a.json", "other.csv"):
        (tmp_path / "landing" / name).write_text("ID,N\n1,2\n")
    return Landing(str(tmp_path / "landing"))


@pytest.fixture
def profiles(lake: Lake, registries: None) -> type[Table]:
    class Profiles(Table, table="bronze.t_profiles", key=("CUSTOMER_ID",)):
        """One row per profile."""

        CUSTOMER_ID = String(nullable=True)
        N = Integer(nullable=True)
        NAME = String(nullable=True)

    lake.ensure(Profiles)
    lake.ensure(DeadLetters)
    return Profiles


def source(**options: Any) -> Files:
    return Files(**{"table": "bronze.t_profiles", "system": "CRM", "path": "crm/*.csv", "format": "csv", **options})


def test_find_matches_across_folders_in_order(landing: Landing) -> None:
    assert [f.name for f in landing.find("crm/*.csv")] == ["crm/a.csv", "crm/deep/b.csv"]
    assert [f.name for f in landing.find("*.csv")] == ["crm/a.csv", "crm/deep/b.csv", "other.csv"]
    assert landing.find("none/*.csv") == []
    assert landing.find("crm/a.csv")[0].detail["size"] == 9


def test_a_missing_landing_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        Landing(str(tmp_path / "none")).find("*.csv")


def landed_once(landing: Landing, files: Files) -> list[Batch]:
    """The batches of a source after what it found has landed: their inputs hold the state of the files."""
    found = files.discover(landing, []).inputs
    return [Batch("crm", 1, "", tuple(Input(i.name, i.detail | files.state(landing, i)) for i in found))]


def test_a_file_is_known_by_its_content(landing: Landing) -> None:
    crm, path = source(path="*.csv"), Path(landing.root) / "crm/a.csv"
    known = landed_once(landing, crm)
    assert len(known[0].inputs) == 3 and crm.discover(landing, known).inputs == ()
    os.utime(path, (1, 1))
    found = crm.discover(landing, known)
    assert found.inputs == () and [f.name for f in found.touched] == ["crm/a.csv"], "the same bytes are no news"
    path.write_text("ID,N\n1,3\n")
    (changed,) = crm.discover(landing, known).inputs
    assert (changed.name, changed.detail["changed_since"]) == ("crm/a.csv", 1)
    path.unlink()
    assert crm.discover(landing, known).inputs == ()


def test_without_a_known_content_a_look_decides(landing: Landing) -> None:
    """Manifests of before contents were kept hold size and time of change alone."""
    crm, path = source(path="crm/a.csv"), Path(landing.root) / "crm/a.csv"
    known = [Batch("crm", 1, "", crm.discover(landing, []).inputs)]
    assert crm.discover(landing, known).inputs == ()
    os.utime(path, (1, 1))
    assert [f.name for f in crm.discover(landing, known).inputs] == ["crm/a.csv"]


def test_another_content_than_the_manifest_names_is_said(lake: Lake, landing: Landing, profiles: type[Table]) -> None:
    batch = ledger.open_batch(lake, "crm", landing.find("crm/a.csv"))
    (Path(landing.root) / "crm/a.csv").write_text("CUSTOMER_ID,N\n7,7\n8,8\n")
    landed = IngestUnit(lake, landing, "crm", source(), batch, 0).run()
    assert landed.outcome.failure.startswith("replaced before it was read: it had 9 bytes")
    assert (landed.facts["read"], landed.facts["dead"], landed.bronze) == (1, 1, [])
    assert [i.name for i in pending(lake, landing, "crm", source(path="crm/a.csv"))[-1].inputs] == ["crm/a.csv"]
    (Path(landing.root) / "crm/a.csv").unlink()
    assert IngestUnit(lake, landing, "crm", source(), batch, 0).run().outcome.failure == "the file is gone"


@pytest.mark.parametrize(
    "fault",
    [ValueError("no good"), MemoryError(), RecursionError("deep"), type("PanicException", (BaseException,), {})("x")],
)
def test_whatever_goes_wrong_in_a_file_is_its_dead_letter(
    lake: Lake, landing: Landing, profiles: type[Table], monkeypatch: pytest.MonkeyPatch, fault: BaseException
) -> None:
    def fail(*_: Any) -> None:
        raise fault

    monkeypatch.setattr("customer360.platform.sources.bronze.fit", Fail(fail))
    batch = ledger.open_batch(lake, "crm", landing.find("crm/a.csv"))
    landed = IngestUnit(lake, landing, "crm", source(), batch, 0).run()
    assert landed.outcome.failure.startswith(type(fault).__name__) and quality.batch_balance("crm", landed.facts).holds
    commit_batch(lake, source(), batch, [landed])
    (letter,) = quality.dead_letters(lake).to_dicts()
    assert (letter["position"], letter["raw"]) == (0, b"ID,N\n1,2\n")
    assert json.loads(letter["origin"])["state"]["sha256"] == landing.digest_of("crm/a.csv")


def test_what_a_library_quotes_is_not_in_thefailure_text() -> None:
    said = failure_text(ValueError("conversion from `str` failed for 1 out of 1 values: [\"ann@example.org\"], 'Ann'"))
    assert said == "ValueError: conversion from `str` failed for 1 out of 1 values: •••, •••"
    assert failure_text(SourceError("the header names columns twice: ['A']")).endswith("['A']")


def test_of_a_large_file_only_its_beginning_is_kept(lake: Lake, landing: Landing, profiles: type[Table]) -> None:
    landed = land(lake, landing, source(format="parquet"), "no parquet" * 20_000)
    assert landed.outcome.failure and len(quality.dead_letters(lake)["raw"][0]) == KEPT_BYTES


def test_missing_columns_are_those_that_would_mend_a_mapping(profiles: type[Table]) -> None:
    def missing(mapping: dict[str, str], columns: list[str]) -> list[str]:
        return missing_columns(source(mapping=mapping), columns, keyed=False)[0]

    assert missing({"CUSTOMER_ID": "ID"}, ["ID", "N"]) == []
    assert missing({"CUSTOMER_ID": "COALESCE(NAME, UPPER(\"Last Name\"), 'NAMELESS')"}, ["ID"]) == ["NAME", "Last Name"]


def test_what_an_input_shows_of_its_columns_are_names_that_settings_or_contract_know(profiles: type[Table]) -> None:
    """The first line of a file without a header is of values, which facts must not hold."""
    facts = used_columns(source(mapping={"CUSTOMER_ID": "ID"}), ["ID", "N", "ann@mailbox.example"], keyed=False)
    assert facts == {"headed": 1, "columns|ID": 1, "columns|N": 1}
    assert used_columns(source(group_by=["ID"]), ["ID", "N"], keyed=True) == {"columns|ID": 1}


class Fail:
    """Stands for a function that fails on its first call only: what is left of a bad file is cast as well."""

    def __init__(self, fault: Any):
        self.fault, self.calls = fault, 0

    def __call__(self, *words: Any) -> Any:
        self.calls += 1
        return self.fault() if self.calls == 1 else fit(*words)


def land(lake: Lake, landing: Landing, settings: Files, text: str) -> Landed:
    (Path(landing.root) / "crm/new.csv").write_text(text)
    batch = ledger.open_batch(lake, "crm", landing.find("crm/new.csv"))
    landed = IngestUnit(lake, landing, "crm", settings, batch, 0).run()
    commit_batch(lake, settings, batch, [landed])
    return landed


def test_a_file_is_landed_with_every_record_accounted_for(lake: Lake, landing: Landing, profiles: type[Table]) -> None:
    erasure_list.remember_erasure(lake, ["CRM/9"])
    text = "KEY,N,KIND\n1,1,x\n2,zz,x\n9,1,x\n3,1,other\nbroken\n"
    landed = land(lake, landing, source(mapping={"CUSTOMER_ID": "KEY"}, where="KIND = 'x'"), text)
    assert landed.outcome.name == "crm/new.csv" and not landed.outcome.failure
    own = {key: count for key, count in landed.facts.items() if key != "headed" and not key.startswith("columns|")}
    assert own == {"read": 5, "landed": 2, "dead": 1, "collapsed": 0, "left_out": 1, "erased": 1, "rescued": 2,
                   "nulled": 1, "nulled|N|type": 1}  # fmt: skip
    assert quality.batch_balance("crm", landed.facts).holds
    (refused,) = lake.scan(quality.ERASED).collect().to_dicts()
    assert (refused["source"], refused["table_name"], refused["file"], refused["position"]) == (
        "crm", "bronze.t_profiles", "crm/new.csv", 3
    )  # fmt: skip
    rows = lake.scan("bronze.t_profiles").sort("_position").collect()
    assert rows.select("CUSTOMER_ID", "N", "_source", "_source_system", "_seq", "_file", "_position").rows() == [
        ("1", 1, "crm", "CRM", 1, "crm/new.csv", 1),
        ("2", None, "crm", "CRM", 1, "crm/new.csv", 2),
    ]
    assert [json.loads(r) for r in rows["_rescued"]] == [{"KIND": "x"}, {"N": "zz", "KIND": "x"}]
    (letter,) = quality.dead_letters(lake).to_dicts()
    assert (letter["letter_id"], letter["table_name"], letter["raw"]) == (
        "crm/1/crm/new.csv/5",
        "bronze.t_profiles",
        b"broken",
    )
    assert lake.files("bronze.t_profiles")[0].path == "_source=crm/crm-00000001-00000.parquet"


def test_objects_may_leave_out_a_mapped_key(
    lake: Lake, landing: Landing, profiles: type[Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    mapping = {"CUSTOMER_ID": "id", "N": "orders"}
    objects = source(format="json", mapping=mapping)
    monkeypatch.setattr("customer360.platform.sources.formats.text.BLOCK", 64)
    text = "".join(f'{{"id": "{i}"}}\n' for i in range(20)) + '{"id": "20", "orders": 7}\n'
    landed = land(lake, landing, objects, text)
    assert (landed.facts["landed"], landed.outcome.failure, len(landed.bronze) > 1) == (21, "", True)
    assert lake.scan("bronze.t_profiles").collect()["N"].drop_nulls().to_list() == [7]


COLUMNS = {"CUSTOMER_ID": "id", "N": "orders", "NAME": "first || ' ' || last"}


@pytest.mark.parametrize(
    ("header", "more", "lacking"),
    [
        ("id,orders,first,last", {}, []),
        ("id,first,last", {}, ["orders"]),
        ("id,first,orders", {}, ["last"]),
        ("id,first,last,colour", {}, ["orders"]),
        ("id,first,last,order_count", {}, None),  # its new name
        ("ID,FIRST,LAST", {}, ["orders"]),
        ("orders,first,last", {}, None),  # required
        ("id,size,weight", {}, None),  # another kind of file
        ("id,first,last", {"needs": ["id", "orders", "first", "last"]}, None),  # every file has it
        ("id,first,last", {"needs": ["id"]}, []),
        ("id,first,last", {"where": "orders > 1"}, None),
        ("id,first,last", {"deleted": "orders = '0'"}, None),
        ("id,first,last", {"mapping": {**COLUMNS, "CUSTOMER_ID": "COALESCE(id, orders)"}}, None),
    ],
)
def test_a_column_of_optional_values_may_be_absent_unless_it_was_renamed(
    lake: Lake, landing: Landing, profiles: type[Table], header: str, more: dict[str, Any], lacking: list[str] | None
) -> None:
    settings = source(**{"mapping": COLUMNS, **more})
    text = f"{header}\n{','.join('7' for _ in header.split(','))}\n"
    landed = land(lake, landing, settings, text)
    assert bool(landed.outcome.failure) == (lacking is None), landed.outcome.failure
    assert {f: n for f, n in landed.facts.items() if f.startswith("lacking|")} == {
        f"lacking|{c}": 1 for c in lacking or []
    }
    assert landed.facts["landed"] == (lacking is not None)


def test_a_file_without_rows_leaves_no_file_but_the_batch_counts(
    lake: Lake, landing: Landing, profiles: type[Table]
) -> None:
    land(lake, landing, source(), "CUSTOMER_ID,N\n")
    assert lake.files("bronze.t_profiles") == []
    assert lake.transaction("bronze.t_profiles", "batch:crm") == 1


def test_committing_a_batch_twice_changes_nothing(lake: Lake, landing: Landing, profiles: type[Table]) -> None:
    landed = land(lake, landing, source(), "CUSTOMER_ID,N\n1,1\nbroken\n")
    versions = lake.version("bronze.t_profiles"), lake.version("quality.dead_letters")
    commit_batch(lake, source(), ledger.batches(lake, "crm")[0], [landed])
    assert (lake.version("bronze.t_profiles"), lake.version("quality.dead_letters")) == versions


def test_pending_holds_what_a_crash_left_then_what_is_new(lake: Lake, landing: Landing, profiles: type[Table]) -> None:
    left = ledger.open_batch(lake, "crm", landing.find("crm/a.csv"))
    seen = pending(lake, landing, "crm", source())
    assert [(b.seq, [f.name for f in b.inputs]) for b in seen] == [(1, ["crm/a.csv"]), (2, ["crm/deep/b.csv"])]
    assert ledger.batches(lake, "crm") == [left]
    assert [fixed(lake, b).seq for b in seen] == [1, 2]
    assert len(ledger.batches(lake, "crm")) == 2


def test_ingest_keeps_the_contract_of_its_table(lake: Lake, landing: Landing, profiles: type[Table]) -> None:
    land(lake, landing, source(), "CUSTOMER_ID,N\n1,1\n")
    assert lake.scan("bronze.t_profiles").collect_schema() == tables.schema(profiles)


def test_a_source_says_what_its_files_do_not(lake: Lake, landing: Landing, profiles: type[Table]) -> None:
    stated = source(format="csv", columns=["CUSTOMER_ID", "N"], delimiter=";", skip=1, footer=1)
    landed = land(lake, landing, stated, "made on Monday\n1;7\n2;8\nend;of it\n")
    assert (landed.facts["landed"], landed.facts["dead"]) == (2, 0)
    assert stated.reread(b"3;9", ["CUSTOMER_ID", "N"]).frame.select("CUSTOMER_ID", "N").rows() == [("3", "9")]
    for wrong in ({"header": -1}, {"header": "no"}, {"format": "word"}, {"escape": "ab"}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            source(**wrong)


def test_a_large_file_lands_in_pieces(
    lake: Lake, landing: Landing, profiles: type[Table], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("customer360.platform.sources.formats.text.BLOCK", 256)
    landed = land(lake, landing, source(), "CUSTOMER_ID,N\n" + "".join(f"{i},{i}\n" for i in range(500)))
    assert landed.facts["landed"] == 500 and len(landed.bronze) > 5
    rows = lake.scan("bronze.t_profiles").sort("_position").collect()
    assert rows["N"].to_list() == list(range(500)) and rows["_position"].to_list() == list(range(1, 501))
