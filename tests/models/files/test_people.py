"""Files of people: read as sources' files are, with a header, columns of names and bytes that are no UTF-8 left in."""

import json
from pathlib import Path

import polars as pl
import pytest
import yaml

from customer360.models.files.people import (
    edges_beside,
    read_mapping,
    read_people,
    read_table,
    silent,
    summary,
    write_table,
)
from customer360.models.identity import IdentityRules, Resolution
from customer360.models.identity.evidence.mapping import PeopleMapping
from customer360.models.identity.evidence.standardize import standardize
from customer360.models.identity.weighing.model import IdentityModel
from customer360.platform.errors import ConfigError, SourceError

SETTINGS = Path(__file__).parents[3] / "configs/rules/identity.yaml"
RULES = IdentityRules.model_validate(yaml.safe_load(SETTINGS.read_text(encoding="utf-8")))


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


def test_an_encoding_that_a_file_does_not_show_is_stated(tmp_path: Path) -> None:
    (tmp_path / "people.csv").write_bytes("番号,氏名\n1,山田 花子\n".encode("cp932"))
    mapping = PeopleMapping.model_validate({"unique_id": "番号", "columns": {"full_name": "氏名"}})
    with pytest.raises(SourceError, match="state its `encoding`"):
        read_people([tmp_path / "people.csv"], mapping)
    stated = mapping.model_copy(update={"encoding": "cp932"})
    assert read_people([tmp_path / "people.csv"], stated)["full_name"].to_list() == ["山田 花子"]


@pytest.mark.parametrize(("encoding", "bad"), [("cp932", b"\x83"), ("cp1251", b"\x98"), ("utf-8", b"\xe9")])
def test_a_byte_that_its_stated_encoding_lacks_costs_its_own_sign(tmp_path: Path, encoding: str, bad: bytes) -> None:
    name = "山田ポ" if encoding == "cp932" else "Ольга"
    (tmp_path / "people.csv").write_bytes(f"id,{name}\n1,{name}\n2,".encode(encoding) + bad + b"\n3,Ann\n")
    read = read_table(tmp_path / "people.csv", encoding)
    assert read.columns == ["id", name]
    assert read[name].to_list() == [name, "\ufffd", "Ann"]


def test_an_encoding_that_was_guessed_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "people.csv").write_bytes("id,name\n1,Jürgen\n2,Zoë\n".encode("cp1252"))
    assert read_table(tmp_path / "people.csv")["name"].to_list() == ["Jürgen", "Zoë"]
    assert "people.csv: read as Windows-1252" in caplog.text


def test_rows_without_an_id_are_numbered(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("email\na@mail.com\nb@mail.com\na@mail.com\n")
    mapping = PeopleMapping.model_validate({"unique_id": "@row", "columns": {"email_address": "email"}})
    assert read_people([tmp_path / "list.csv"], mapping)["record_id"].to_list() == ["1", "2", "3"]
    (tmp_path / "mapping.yaml").write_text("columns: {email_address: email}\n")
    with pytest.raises(ConfigError, match='or "@row" where rows have none'):
        read_mapping(tmp_path / "mapping.yaml")
    by_mail = mapping.model_copy(update={"unique_id": "email"})
    with pytest.raises(ConfigError, match='`unique_id: "@row"` numbers them'):
        read_people([tmp_path / "list.csv"], by_mail)


def test_numbers_of_nobody_say_nothing_and_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shared = [{"id": f"s{at}", "name": f"Name{at}", "card": "4711-01"} for at in range(9)]
    own = [{"id": f"o{at}", "name": "Ann" if at % 2 else "Bo", "card": "4711-02"} for at in range(12)]
    junk = [{"id": f"j{at}", "name": "Eve", "card": card} for at, card in enumerate(("999-99-9999", "000", "N/A", "7"))]
    pl.DataFrame(shared + own + junk).write_csv(tmp_path / "people.csv")
    mapping = PeopleMapping.model_validate(
        {"unique_id": "id", "columns": {"first_name": "name"}, "identifiers": ["card"]}
    )
    assert read_people([tmp_path / "people.csv"], mapping)["card"].to_list() == [None] * 9 + ["4711-02"] * 12 + [
        None
    ] * 3 + ["7"]
    assert "identifier 'card': 12 of 25 numbers are placeholders" in caplog.text


@pytest.mark.parametrize(
    ("columns", "entity"),
    [
        ({"full_name": "name"}, None),  # one name in many ways of writing
        ({"email_address": "mail"}, None),  # nobody is named
        ({"organisation_name": "mail", "full_name": "mail"}, "site"),
        ({"organisation_name": "mail", "full_name": "mail"}, "organisation"),
    ],
)
def test_a_number_of_many_records_is_kept_where_not_many_people_have_it(
    tmp_path: Path, columns: dict[str, str], entity: str | None
) -> None:
    names = ["Ann Lee", "ANN LEE", "Lee, Ann", "Dr. Ann Lee", "Ms Ann Lee", "ann  lee", "Ann Q. Lee", "Ann Lee jr.", "Ánn Lee", "Annie Lee"]  # fmt: skip  # noqa: E501
    rows = [{"id": f"{at}", "name": name, "mail": f"place{at}@post.org", "card": "4711-01"} for at, name in enumerate(names)]  # fmt: skip  # noqa: E501
    pl.DataFrame(rows).write_csv(tmp_path / "people.csv")
    mapping = PeopleMapping.model_validate(
        {"unique_id": "id", "columns": columns, "identifiers": "card", "entity": entity}
    )
    assert read_people([tmp_path / "people.csv"], mapping, RULES)["card"].to_list() == ["4711-01"] * len(names)


def test_what_says_nothing_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = "id,first,tel,born\n1,Ann,080-1111-2222,1980-02-03\n2,Test,090-1234-5678,soon\n3,Bo,,1900-01-01\n"
    (tmp_path / "people.csv").write_text(rows)
    columns = {"first_name": "first", "phone_number": "tel", "date_of_birth": "born"}
    mapping = PeopleMapping.model_validate({"unique_id": "id", "columns": columns})
    records = read_people([tmp_path / "people.csv"], mapping)
    assert "people.csv, column 'born': 1 of 3 values are no dates that can be read, the first in row 2" in caplog.text
    (line,) = silent(standardize(records, mapping.applied_to(RULES)))
    assert "first_name 1 of 3" in line and "phone_number 2 of 2" in line and "date_of_birth 1 of 2" in line
    assert "`country`" in line
    japanese = mapping.model_copy(update={"country": "JP"})
    (line,) = silent(standardize(records, japanese.applied_to(RULES)))
    assert "phone_number" not in line and "`country`" not in line


@pytest.mark.parametrize("name", ["out.csv", "out.tsv", "out.jsonl", "out.parquet", "out.csv.gz"])
def test_pairs_are_written_in_the_kind_that_the_ending_tells(tmp_path: Path, name: str) -> None:
    write_table(pl.DataFrame({"id": ["1"], "why": [["exact"]]}), tmp_path / name)
    assert read_table(tmp_path / name)["id"].cast(pl.String).to_list() == ["1"]
    assert edges_beside(tmp_path / name) == tmp_path / name.replace("out", "out_edges")


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
    replaced = {
        f"phone / {level} / {side}": "not observed; stated value 0.1 used"
        for level in ("close", "far")
        for side in "mu"
    }
    replaced |= {"email": "agreement counts for less than disagreement; defaults used"}
    made = {"mode": "trained", "replaced": replaced, "sessions": {"email": 40, "given + zip": 7301}, "not believed": ["given + zip"]}  # fmt: skip  # noqa: E501
    model = IdentityModel(settings={}, term_frequency_hash="", diagnostics=made, idle_vetoes=("birth years far apart",))
    assigned = pl.DataFrame({"record_id": ["a"], "cluster_key": ["a"], "person_id": ["pa"]})
    lines = summary(pl.DataFrame({"record_id": ["a"]}), Resolution(assigned, edges, model), {})
    assert [line for line in lines if "trained on" in line] == ["  trained on pairs that agree on email: 40"]
    assert any("not believed" in line and "given + zip" in line for line in lines)
    assert "  phone: too few pairs to measure, stated values used: close; far" in lines
    assert "  email: agreement counts for less than disagreement; defaults used" in lines
    assert any("rule left out" in line and "birth years far apart" in line for line in lines)
