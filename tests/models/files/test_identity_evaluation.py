"""Samples of pairs that people review in a spreadsheet."""

from pathlib import Path

import polars as pl
import pytest

from customer360.models.files.identity_evaluation import sample_labels

PAIR = {"unique_id_l": "=1+1", "unique_id_r": "b", "match_weight": 3.0, "decision": "accepted", "reason": "x", "match_key": "x"}  # fmt: skip  # noqa: E501


@pytest.mark.parametrize("name", ["sheet.csv", "sheet.CSV", "sheet.Tsv"])
def test_a_sheet_holds_no_formulas_however_its_ending_is_written(tmp_path: Path, name: str) -> None:
    pl.DataFrame([PAIR]).write_parquet(tmp_path / "edges.parquet")
    sample_labels(tmp_path / "edges.parquet", 1, tmp_path / name)
    written = (tmp_path / name).read_text()
    assert "'=1+1" in written
