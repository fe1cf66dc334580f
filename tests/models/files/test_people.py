"""Files of people: read as sources' files are, with a header, columns of names and bytes that are no UTF-8 left in."""

import json
from pathlib import Path

import polars as pl
import pytest

from customer360.models.files.people import read_people, read_table, summary
from customer360.models.identity import Resolution
from customer360.models.identity.evidence.mapping import PeopleMapping
from customer360.models.identity.weighing.model import IdentityModel
from customer360.platform.errors import ConfigError, SourceError


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("sign", [",", ";", "\t", "|"])
def test_what_spreadsheets_write(tmp_path: Path, sign: str, encoding: str) -> None:
    (tmp_path / "people.csv").write_bytes(f"unique_id{sign}name\n1{sign}Zoë\n2{sign}\n".encode(encoding))
    assert read_table(tmp_path / "people.csv").to_dicts() == [{"unique_id": "1", "name": "Zoë"}, {"unique_id": "2", "name": None}]  # fmt: skip  # noqa: E501


def test_a_separator_inside_of_quotes_parts_nothing(tmp_path: Path) -> None:
    (tmp_path / "people.txt").write_text('"name; first; last";"id"\n"Bo;Ek";1\n')
    assert read_table(tmp_path / "people.txt").rows() == [("Bo;Ek", "1")]


def test_one_column_of_words_and_a_header_of_years(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_text("full name\nAda Byron\nBo\n")
    assert read_table(tmp_path / "people.csv").rows() == [("Ada Byron",), ("Bo",)]
    (tmp_path / "people.csv").write_text("unique_id,2024\n1,x\n")
    assert read_table(tmp_path / "people.csv").columns == ["unique_id", "2024"], "a file of people has a header"


def test_a_byte_that_is_no_utf8_costs_its_own_sign(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_bytes("name\nZoë\n".encode() + b"Ren\xe9\n")
    assert read_table(tmp_path / "people.csv")["name"].to_list() == ["Zoë", "Ren\ufffd"]


def test_parquet_and_what_cannot_be_read(tmp_path: Path) -> None:
    pl.DataFrame({"unique_id": [1]}).write_parquet(tmp_path / "people.parquet")
    assert read_table(tmp_path / "people.parquet").rows() == [(1,)]
    with pytest.raises(SourceError, match="does not exist"):
        read_table(tmp_path / "none.csv")
    for name, content in (
        ("people.csv", b""),
        ("people.parquet", b"no parquet"),
        ("people.csv.gz", b"\x1f\x8b\x08 cut off"),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(SourceError, match=name):
            read_table(tmp_path / name)


@pytest.mark.parametrize("mark", ["sep=;\n", ""])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be", "cp1252"])
def test_what_offices_hand_over(tmp_path: Path, mark: str, encoding: str) -> None:
    text = f"{mark}unique_id;name\n1;Zoë\n2;Bo, jr\n"
    bom = "\ufeff" if encoding.startswith("utf-16") else ""
    (tmp_path / "people.csv").write_bytes((bom + text).encode(encoding))
    assert read_table(tmp_path / "people.csv").rows() == [("1", "Zoë"), ("2", "Bo, jr")]


def test_objects_and_fractions_that_are_whole(tmp_path: Path) -> None:
    (tmp_path / "people.json").write_text(json.dumps([{"unique_id": 1.0, "name": "Zoë"}, {"unique_id": 2, "name": ""}]))
    assert [str(n) for n in read_table(tmp_path / "people.json")["unique_id"]] == ["1", "2"]


def test_a_list_of_one_value_is_that_value_and_one_of_more_is_named(tmp_path: Path) -> None:
    mapping = PeopleMapping.model_validate({"unique_id": "id", "columns": {"email_address": "mail"}})
    rows = [{"id": "1", "mail": ["a@mail.com"]}, {"id": "2", "mail": []}, {"id": "3", "mail": None}]
    pl.DataFrame(rows).write_parquet(tmp_path / "people.parquet")
    (tmp_path / "people.json").write_text(json.dumps(rows))
    for name in ("people.parquet", "people.json"):
        assert read_people([tmp_path / name], mapping)["email_address"].to_list() == ["a@mail.com", None, None]
    rows[1]["mail"] = ["b@mail.com", "c@mail.com"]
    pl.DataFrame(rows).write_parquet(tmp_path / "people.parquet")
    (tmp_path / "people.json").write_text(json.dumps(rows))
    for name in ("people.parquet", "people.json"):
        with pytest.raises(ConfigError, match=rf"{name}: column 'mail' holds lists, in row 2 of 2 values"):
            read_people([tmp_path / name], mapping)
    pl.DataFrame({"id": ["1"], "mail": [b"\xff"]}).write_parquet(tmp_path / "people.parquet")
    with pytest.raises(ConfigError, match="column 'mail' holds Binary"):
        read_people([tmp_path / "people.parquet"], mapping)


def test_the_summary_says_what_the_model_did_not_believe() -> None:
    edges = pl.DataFrame(schema={"record_id_l": pl.String, "record_id_r": pl.String, "match_weight": pl.Float64, "decision": pl.String})  # fmt: skip  # noqa: E501
    made = {"mode": "trained", "replaced": {}, "sessions": {"email": 40, "given + zip": 7301}, "not believed": ["given + zip"]}  # fmt: skip  # noqa: E501
    model = IdentityModel(settings={}, term_frequency_hash="", diagnostics=made, idle_vetoes=("birth years far apart",))
    assigned = pl.DataFrame({"record_id": ["a"], "cluster_key": ["a"], "person_id": ["pa"]})
    lines = summary(pl.DataFrame({"record_id": ["a"]}), Resolution(assigned, edges, model), {})
    assert [line for line in lines if "trained on" in line] == ["  trained on pairs that agree on email: 40"]
    assert any("not believed" in line and "given + zip" in line for line in lines)
    assert any("rule left out" in line and "birth years far apart" in line for line in lines)
