"""The search finds a person in the bytes of any file, packed and encoded as files are."""

from __future__ import annotations

import importlib.util
import io
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from customer360.platform.traces import Traces, Value
from customer360.platform.traces.search import in_bytes, in_file, nothing_in
from customer360.platform.warehouse.texts import MARK, rows_as_texts

_spec = importlib.util.spec_from_file_location("canaries", Path(__file__).parents[2] / "canaries.py")
assert _spec is not None and _spec.loader is not None
canaries: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(canaries)

WHO = Traces.of(
    [
        Value("e-mail", (canaries.MAIL,)),
        Value("phone", (canaries.PHONE,)),
        Value("name", (canaries.FIRST, canaries.LAST)),
        Value("account", (f"POS/{canaries.POS}",)),
        Value("account", (canaries.POS,)),
        Value("account", (canaries.SHOP,)),
        Value("device", (canaries.DEVICE,)),
        Value("address", (canaries.STREET,)),
    ]
)


def test_every_copy_is_found_whatever_its_format(tmp_path: Path) -> None:
    planted = canaries.plant_foreign(tmp_path)
    assert len(planted) >= 30
    missed = [name for name, file in planted.items() if in_file(WHO, file, file.name) is None]
    assert missed == []


def test_files_of_others_hold_nothing(tmp_path: Path) -> None:
    named = Value("name", ("Some", "Body"))
    other = Traces.of([Value("e-mail", ("some@body.test",)), named, Value("phone", ("3125550100",))])
    for file in canaries.plant_foreign(tmp_path).values():
        found = in_file(other, file, file.name)
        assert found is None or not found.kinds, file


def test_small_files_are_looked_at_together_and_none_is_missed(tmp_path: Path) -> None:
    """Those of others, in every format, hide nobody; each copy is found among them, wherever it stands."""
    planted = canaries.plant_foreign(tmp_path)
    other = Traces.of([Value("e-mail", ("some@body.test",)), Value("name", ("Some", "Body"))])
    cut = {file.name for name, file in planted.items() if "cut" in name}
    whole = [(file.name, file.read_bytes()) for file in planted.values() if file.name not in cut]
    assert nothing_in(other, whole) and nothing_in(other, [])
    rows = io.BytesIO()
    pl.DataFrame({"first": ["Zyxcanarie", "Ann"], "last": ["Other", canaries.LAST], "n": [1, 2]}).write_parquet(rows)
    company = [(f"{at}.txt", b"of somebody else " * at) for at in range(9)] + [("halves.parquet", rows.getvalue())]
    assert nothing_in(WHO, company), "both names, and in no row beside each other"
    for at, (name, file) in enumerate(sorted(planted.items())):
        if file.suffix != ".db":  # has a reader of its own
            among = [*company[: at % 9], (file.name, file.read_bytes()), *company[at % 9 :]]
            assert not nothing_in(WHO, among), name


def test_what_cannot_be_opened_is_said_not_passed_over(tmp_path: Path) -> None:
    (tmp_path / "cut.zip").write_bytes(b"PK\x03\x04 and no more")
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 and no more")
    for name in ("cut.zip", "cut.parquet"):
        found = in_file(WHO, tmp_path / name, name)
        assert found is not None and not found.kinds and "cannot be read" in found.unread
    assert in_file(WHO, tmp_path / "gone", "gone") is None


def test_a_value_across_two_pieces_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("customer360.platform.traces.search.PIECE", 64)
    for before in range(30, 70):
        assert in_bytes(WHO, b"." * before + canaries.MAIL.encode() + b"." * 70, "") is not None


def test_a_warehouse_is_read_by_its_rows_and_its_free_blocks_are_no_proof(tmp_path: Path) -> None:
    file = tmp_path / "star.duckdb"
    with duckdb.connect(str(file)) as star:
        star.execute("CREATE SCHEMA s")
        star.execute(f"CREATE TABLE s.t AS SELECT '{canaries.MAIL}' AS mail FROM range(3)")
    found = in_file(WHO, file, file.name, {MARK: rows_as_texts})
    assert found is not None and "e-mail" in found.kinds and not found.unread


LARGE = ("ann@x.test", "JÖRG@x.test", "J%C3%96RG@X.TEST", "µ-Öl straße 5", "(202)\x85555\xa00147", "nobody", "ann@x")


@pytest.mark.parametrize("said", LARGE)
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "utf-16-le"])
def test_large_files_are_looked_at_as_small_ones(monkeypatch: pytest.MonkeyPatch, said: str, encoding: str) -> None:
    values = [Value("e-mail", ("ann@x.test",)), Value("e-mail", ("jörg@x.test",)), Value("phone", ("2025550147",)),
              Value("address", ("\u03bc-öl Straße 5",))]  # fmt: skip
    filling, told = " row of somebody else,".encode(encoding) * 40, f" {said} ".encode(encoding)
    found = []
    for piece in (1 << 20, 256):
        monkeypatch.setattr("customer360.platform.traces.search.PIECE", piece)
        hit = in_bytes(Traces.of(values), filling + told + filling, "")
        found.append(hit.kinds if hit else ())
    assert found[0] == found[1]
    assert bool(found[0]) != (said in ("nobody", "ann@x")) or said.startswith("µ")
