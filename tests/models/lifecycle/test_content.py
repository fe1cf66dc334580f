"""A fit is named by its rows, code and parameters: not by where files lie or how they are called."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest

from customer360.models import base
from customer360.models.lifecycle import content
from customer360.platform import graph
from customer360.platform.errors import ModelError


def written(folder: Path, name: str, rows: list[int]) -> str:
    folder.mkdir(exist_ok=True)
    pl.DataFrame({"a": rows}).write_parquet(folder / name)
    return str(folder / name)


def test_the_digest_is_of_rows_by_table(tmp_path: Path) -> None:
    one, two = written(tmp_path / "x", "1.parquet", [1, 2]), written(tmp_path / "x", "2.parquet", [3])
    moved = [written(tmp_path / "y", "b.parquet", [3]), written(tmp_path / "y", "a.parquet", [1, 2])]
    digest = content.of_inputs({"t": [one, two]})
    assert content.of_inputs({"t": moved}) == digest
    others = [{"t": [one]}, {"u": [one, two]}, {"t": [one], "u": [two]}, {"t": [one, one]}, {"t": []}, {}]
    assert len({digest, *map(content.of_inputs, others)}) == len(others) + 1
    written(tmp_path / "x", "1.parquet", [1, 9])
    assert content.of_inputs({"t": [one, two]}) != digest


def test_the_recipe_changes_with_model_date_parameters_code_and_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    churn, clv = base.find("churn"), base.find("clv")
    params = churn.params()
    found = {
        content.recipe(churn, date(2024, 1, 1), params, "rows"),
        content.recipe(churn, date(2024, 1, 2), params, "rows"),
        content.recipe(churn, date(2024, 1, 1), churn.params(seed=1), "rows"),
        content.recipe(churn, date(2024, 1, 1), params, "other rows"),
        content.recipe(clv, date(2024, 1, 1), params, "rows"),
    }
    assert len(found) == 5
    monkeypatch.setattr(graph, "code_fingerprint", lambda function, contracts: "another source")
    assert content.recipe(churn, date(2024, 1, 1), params, "rows") not in found


def test_files_of_a_store_are_opened_with_its_keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    def read(file: str, storage_options: object) -> pl.DataFrame:
        seen.append(storage_options)
        return pl.DataFrame({"a": [1]})

    monkeypatch.setattr(pl, "read_parquet", read)
    named = content.of_inputs({"t": ["s3://shop/t/1.parquet"]}, (), {"aws_region": "eu-west-1"})
    assert named == content.of_inputs({"t": ["s3://shop/t/1.parquet"]})
    assert seen == [{"aws_region": "eu-west-1"}, None]


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    torn = tmp_path / "torn.parquet"
    torn.write_bytes(b"PAR1")
    for file in (str(tmp_path / "gone.parquet"), torn.as_uri()):
        with pytest.raises(ModelError, match=r"\.parquet cannot be read: [^\n]+$"):
            content.of_inputs({"t": [file]})
