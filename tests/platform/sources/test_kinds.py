"""Kinds of source: found by their module's name, checked with the settings, read in order with a cursor."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import polars as pl
import pytest

import customer360.platform.run as runs
from customer360.platform import ledger
from customer360.platform.errors import ConfigError, RunError, SourceError
from customer360.platform.graph import builds
from customer360.platform.lake import Lake
from customer360.platform.ledger import Batch, Input
from customer360.platform.run import RunRequest
from customer360.platform.run.preview import preview
from customer360.platform.settings import Settings, SourceSettings, load
from customer360.platform.sources.base import Discovery, Source, configured
from customer360.platform.sources.files import Files
from customer360.platform.sources.formats.records import Records, of_frame
from customer360.platform.sources.landing import Landing
from customer360.platform.tables import Integer, String, Table

COMMON = {"table": "bronze.t_ticks", "system": "LAB"}


def counter(module: str) -> type[Source]:
    """A kind that counts up to what its file says, in inputs of ``width`` numbers; its cursor is the last number."""

    class Counter(Source):
        kind: str = module
        goal: str
        width: int = 10

        def discover(self, landing: Landing, known: Sequence[Batch]) -> Discovery:
            after, goal = ledger.last_cursor(known) or 0, landing.bytes_of(self.goal).decode()
            if goal == "gone":
                raise SourceError("nobody counts here")
            starts = range(after, int(goal), self.width)
            inputs = [Input(f"above {n}", {"above": n, "upto": min(n + self.width, int(goal))}) for n in starts]
            return Discovery(tuple(inputs), int(goal))

        def read(self, landing: Landing, piece: Input) -> Records:
            numbers = range(piece.detail["above"] + 1, piece.detail["upto"] + 1)
            return of_frame(pl.DataFrame({"N": numbers, "NAME": [f"tick {n}" for n in numbers]}))

    Counter.__module__ = module
    return Counter


@pytest.fixture
def lab(tmp_path: Path, empty_graph: None) -> Iterator[Settings]:
    """Settings with a source of a kind of the user's own package."""
    package, module = ModuleType("t_lab"), ModuleType("t_lab.counter")
    module.__dict__["Counter"] = counter("t_lab.counter")
    sys.modules |= {"t_lab": package, "t_lab.counter": module}

    class Ticks(Table, table="bronze.t_ticks", key=("N",)):
        """One row per number."""

        N = Integer()
        NAME = String(nullable=True)

    class Sums(Table, table="gold.t_sums"):
        """One row per lake."""

        total = Integer()

    @builds(Sums)
    def t_sums(bronze_t_ticks: pl.LazyFrame) -> pl.LazyFrame:
        return bronze_t_ticks.select(total=pl.col("N").sum())

    (tmp_path / "landing").mkdir()
    yield Settings.model_validate(
        {
            "landing": str(tmp_path / "landing"),
            "lake": {"root": str(tmp_path / "lake"), "buckets": 4},
            "execution": {"executor": "local"},
            "sources": {"ticks": {**COMMON, "kind": "t_lab.counter", "goal": "goal.txt"}},
        }
    )
    del sys.modules["t_lab"], sys.modules["t_lab.counter"]


def count(lab: Settings, goal: int | str, **options: Any) -> dict[str, Any]:
    (Path(lab.landing) / "goal.txt").write_text(str(goal))
    record = runs.run(lab, RunRequest(**options), rules={})
    return {n.node: n for n in record.nodes}


def numbers(lake: Lake) -> list[int]:
    return lake.scan("bronze.t_ticks").collect()["N"].sort().to_list()


# ---- settings ---------------------------------------------------------------------------------------------------


def test_files_is_the_kind_where_none_is_named() -> None:
    found = Settings.model_validate({"sources": {"s": {**COMMON, "path": "*.csv", "format": "csv"}}})
    assert found.sources["s"] == Files(**COMMON, path="*.csv", format="csv")
    assert Settings.model_validate(found.model_dump()) == found, "nothing of a kind's keys is lost on the way"


def faults_of(tmp_path: Path, source: dict[str, Any]) -> list[str]:
    (tmp_path / "s.yaml").write_text(json.dumps({"sources": {"s": source}}))
    with pytest.raises(ConfigError) as fault:
        load(tmp_path / "s.yaml", {})
    return str(fault.value).splitlines()[1:]


def test_the_keys_of_a_kind_are_checked_with_the_common_ones(lab: Settings, tmp_path: Path) -> None:
    wrong = {"table": "t", "system": "no good", "kind": "t_lab.counter", "width": "many", "path": "*.csv"}
    assert [line.split(": ")[0].strip() for line in faults_of(tmp_path, wrong)] == [
        "sources.s.system",
        "sources.s.goal",
        "sources.s.width",
        "sources.s.path",
    ]


@pytest.mark.parametrize("kind", ["ftp", "t_none.ftp", "casting", "formats", "os.path", "..x", "no name", ""])
def test_an_unknown_kind_is_a_fault_that_names_the_known_ones(tmp_path: Path, kind: str) -> None:
    said = faults_of(tmp_path, {"table": "t", "system": "no good", "kind": kind, "host": "h"})
    assert [line.split(": ")[0].strip() for line in said] == ["sources.s.system", "sources.s.kind"]
    assert f"there is no kind of source {kind!r}; there are " in said[1] and " files" in said[1]
    assert " casting" not in said[1].partition("there are")[2], "what is beside the kinds is none"


def test_a_kind_whose_library_is_absent_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "t_pack").mkdir()
    (tmp_path / "t_pack" / "kind.py").write_text("import t_absent_driver\n")
    monkeypatch.syspath_prepend(tmp_path)
    (said,) = faults_of(tmp_path, {**COMMON, "kind": "t_pack.kind"})
    assert "t_pack.kind needs t_absent_driver, which is not installed" in said


def test_a_module_is_one_kind(lab: Settings, tmp_path: Path) -> None:
    sys.modules["t_lab.counter"].__dict__["Other"] = type("Other", (Files,), {"__module__": "t_lab.counter"})
    (said,) = faults_of(tmp_path, {**COMMON, "kind": "t_lab.counter", "goal": "goal.txt"})
    assert "t_lab.counter holds Counter, Other: put each kind in a module of its own" in said


def test_a_source_is_sent_to_workers(lab: Settings) -> None:
    files = Files(**COMMON, path="*.csv", format="csv")
    assert pickle.loads(pickle.dumps(files)) == files
    with pytest.raises(ConfigError, match=r"sources\.s: SourceSettings cannot be read"):
        configured(Settings(sources={"s": SourceSettings(**COMMON)}), "s")


# ---- discovery and cursor ---------------------------------------------------------------------------------------


def test_a_cursor_goes_on_where_the_last_batch_ended(lab: Settings) -> None:
    assert count(lab, 25)["source ticks"].facts["inputs"] == 3
    assert count(lab, 25)["source ticks"].state == "current"
    assert count(lab, 27)["source ticks"].rows == 2
    lake = runs.lake_of(lab)
    assert numbers(lake) == list(range(1, 28))
    assert [(b.cursor, len(b.inputs)) for b in ledger.batches(lake, "ticks")] == [(25, 3), (27, 1)]
    rows = lake.scan("bronze.t_ticks").sort("N").collect()
    assert rows["_file"].unique(maintain_order=True).to_list() == ["above 0", "above 10", "above 20", "above 25"]
    assert lake.scan("gold.t_sums").collect().item() == sum(range(28))


def test_inputs_of_a_batch_have_names_of_their_own() -> None:
    with pytest.raises(SourceError, match=r"the same name: a$"):
        Discovery((Input("a", {"from": 1}), Input("a", {"from": 2}), Input("b")))


def test_corrections_do_not_move_the_cursor(lab: Settings) -> None:
    count(lab, 3)
    lake = runs.lake_of(lab)
    lake.put("_replays/1.jsonl", b'{"N": 2, "NAME": "two", "_replay_of": "ticks/1/above 0/2"}\n')
    ledger.open_batch(lake, "ticks", [], inline="_replays/1.jsonl")
    count(lab, 4)
    assert numbers(lake) == [1, 2, 2, 3, 4]
    assert ledger.last_cursor(ledger.batches(lake, "ticks")) == 4


def test_a_source_that_cannot_be_reached_stops_only_what_needs_it(lab: Settings) -> None:
    files = {**COMMON, "path": "more/*.csv", "format": "csv"}
    both = lab.model_validate(lab.model_dump() | {"sources": {**lab.model_dump()["sources"], "more": files}})
    (Path(lab.landing) / "more").mkdir()
    (Path(lab.landing) / "more" / "1.csv").write_text("N,NAME\n7,seven\n")
    with pytest.raises(RunError, match="source ticks: SourceError: nobody counts here"):
        count(both, "gone")
    assert numbers(runs.lake_of(lab)) == [7]
    assert ledger.batches(runs.lake_of(lab), "ticks") == []


def test_a_dry_run_says_what_waits_and_lands_nothing(lab: Settings) -> None:
    (Path(lab.landing) / "goal.txt").write_text("25")

    def plan(settings: Settings) -> Any:
        return preview(settings, RunRequest(), rules={})

    (ticks,), (sums,) = plan(lab).sources, plan(lab).nodes
    assert (ticks.inputs, ticks.faults, sums.state, sums.because) == (3, (), "build", "never built")
    assert ledger.batches(runs.lake_of(lab), "ticks") == []
    count(lab, 25)
    assert [n.state for n in plan(lab).nodes] == ["current"]
    ledger.open_batch(runs.lake_of(lab), "ticks", [], inline="_replays/1.jsonl")
    assert plan(lab).nodes[0].because == "new rows in bronze.t_ticks", "corrections are new rows, too"
    wrong = lab.sources["ticks"].model_copy(update={"mapping": {"N": "M"}})
    (Path(lab.landing) / "goal.txt").write_text("26")
    assert plan(lab.model_copy(update={"sources": {"ticks": wrong}})).faults == [
        "ticks: above 25: lacks the column 'M' that N needs; it has 'N', 'NAME'"
    ]
    (Path(lab.landing) / "goal.txt").write_text("gone")
    assert plan(lab).faults == ["ticks: SourceError: nobody counts here"]


def test_a_lake_of_before_kinds_lands_nothing_twice(lab: Settings) -> None:
    """Its manifests name ``files``; the first of them landed, the second was left by a crash."""
    ticks = Files(**COMMON, path="*.csv", format="csv")
    before = lab.model_copy(update={"sources": {"ticks": ticks}})
    lake, landing = runs.lake_of(lab), Landing(lab.landing)
    for seq, name in enumerate(("a.csv", "b.csv"), 1):
        (Path(lab.landing) / name).write_text(f"N,NAME\n{seq},x\n")
        file = landing.find(name)[0]
        old = {"source": "ticks", "seq": seq, "created_at": "2026-01-01T00:00:00+00:00", "inline": None}
        old["files"] = [{"path": file.name, **file.detail}]
        lake.put(f"_batches/ticks/{seq:08d}.json", json.dumps(old).encode())
        if seq == 1:
            assert count(before, 0)["source ticks"].rows == 1
    assert count(before, 0)["source ticks"].rows == 1
    assert count(before, 0)["source ticks"].state == "current"
    assert [b.inputs for b in ledger.batches(lake, "ticks")] == [(file,) for file in landing.find("*.csv")]
    assert numbers(lake) == [1, 2]
