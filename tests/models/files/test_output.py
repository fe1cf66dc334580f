"""A result goes where it may, in the kind that its ending tells, whole or not at all."""

import gzip
from pathlib import Path

import polars as pl
import pytest

from customer360.models.files import output
from customer360.platform.errors import SourceError

FRAME = pl.DataFrame({"customer_id": ["ä", "b;c"], "clv": [1.5, None]})


@pytest.mark.parametrize("name", ["o.parquet", "O.PQ", "o.csv", "o.CSV", "o.tsv", "o.jsonl", "a.b.ndjson", "o.csv.gz"])
def test_the_ending_tells_the_kind(name: str, tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder" / name
    output.require(out)
    assert not out.parent.exists()  # checked, nothing made
    output.write(FRAME, out)
    assert [path.name for path in out.parent.iterdir()] == [name]
    content = out.read_bytes()
    if name.endswith(".gz"):
        content = gzip.decompress(content)
    readers = {"parquet": pl.read_parquet, "pq": pl.read_parquet, "csv": pl.read_csv, "gz": pl.read_csv,
               "tsv": lambda data: pl.read_csv(data, separator="\t"), "jsonl": pl.read_ndjson, "ndjson": pl.read_ndjson}  # fmt: skip  # noqa: E501
    assert readers[name.lower().rsplit(".", 1)[1]](content).equals(FRAME)
    output.write(FRAME.head(1), out)
    output.write(FRAME, out)
    assert out.read_bytes() == (out.read_bytes() if name.endswith(".gz") else content)


@pytest.mark.parametrize("name", ["o", "o.xlsx", "o.parquet.gz", ".csv", "o.txt", "o.csv.zip"])
def test_another_kind_is_refused_with_those_there_are(name: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"name it \.parquet, \.csv"):
        output.require(tmp_path / name)


def test_the_input_is_not_written_over_by_whatever_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "sales.csv"
    file.write_text("a")
    (tmp_path / "link.csv").symlink_to(file)
    (tmp_path / "hard.csv").hardlink_to(file)
    monkeypatch.chdir(tmp_path)
    for name in ("sales.csv", "./sales.csv", str(file), "link.csv", "hard.csv", "../" + tmp_path.name + "/sales.csv"):
        with pytest.raises(SourceError, match="is the input"):
            output.require(Path(name), file)
    output.require(tmp_path / "other.csv", file)


def test_places_that_cannot_be_written_are_named_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(SourceError, match="is no folder"):
        output.require(tmp_path / "file" / "o.csv")
    with pytest.raises(SourceError, match="is a folder"):
        output.require(tmp_path / "folder.csv")
    with pytest.raises(SourceError, match="cannot be written"):
        output.require(Path("/proc/o.csv"))


def test_a_disk_that_fills_up_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "o.csv"
    out.write_text("before")

    def full(path: Path, data: bytes) -> int:
        with path.open("wb") as opened:
            opened.write(data[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(SourceError, match="No space left"):
        output.write(FRAME, out)
    assert [path.name for path in tmp_path.iterdir()] == ["o.csv"] and out.read_text() == "before"


@pytest.mark.parametrize(
    ("name", "is_said"), [("o.csv", True), ("O.CSV.gz", True), ("o.tsv", True), ("o.jsonl", False)]
)
def test_values_of_which_a_spreadsheet_would_run_something_stay_and_are_said(
    name: str, is_said: bool, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An id that is changed joins nothing."""
    output.write(pl.DataFrame({"item": ["-Ab_1", "=1+1", "-12"]}), tmp_path / name)
    content = (tmp_path / name).read_bytes()
    assert b"\n-Ab_1\n" in gzip.decompress(content) if name.endswith(".gz") else b"-Ab_1" in content
    assert ("2 values begin like a formula" in caplog.text) is is_said
    caplog.clear()
    output.write(FRAME, tmp_path / name)
    assert "formula" not in caplog.text
