"""`customer360 identity …` on a small lake: every command once, as a person types it, and what its errors say."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pytest

from customer360.platform import telemetry

pytestmark = pytest.mark.slow
PEOPLE = 30
MAPPING = "unique_id: id\ncolumns: {full_name: name, email_address: mail}\n"


class Said(NamedTuple):
    code: int
    out: str
    error: str


class Office:
    """A site, and its command line."""

    def __init__(self, site: Any, capture: pytest.CaptureFixture[str], patch: pytest.MonkeyPatch) -> None:
        self.site, self.capture, self.patch = site, capture, patch

    def __call__(self, *words: object, lake: bool = True) -> Said:
        from customer360.serve import cli

        config = ["--config", str(self.site.root / "config.json")] if lake else []
        self.patch.setattr(sys, "argv", ["customer360", "identity", *map(str, words), *config])
        with pytest.raises(SystemExit) as left:
            cli.main()
        out, error = self.capture.readouterr()
        return Said(int(left.value.code or 0), out, error)

    def does(self, *words: object, lake: bool = True) -> str:
        said = self(*words, lake=lake)
        assert said.code == 0, said
        return said.out

    def refuses(self, *words: object, lake: bool = True) -> str:
        """The one line of an error that ends a command with code 2."""
        said = self(*words, lake=lake)
        lines = [line for line in said.error.splitlines() if line.startswith("error: ")]
        assert said.code == 2 and len(lines) == 1 and "Traceback" not in said.error, said
        return lines[0]

    @property
    def people(self) -> dict[str, list[str]]:
        """Records of each person, by what the registry says now."""
        from customer360.models.identity import registry
        from customer360.serve.compose import identity_rules

        held = registry.load(self.site.lake, identity_rules(self.site.settings).ids.seed).assignments
        held = held.filter(~pl.col("record_id").str.starts_with("B2B/"))  # firms, and who speaks for them
        groups = held.sort("record_id").group_by("person_id", maintain_order=True).agg("record_id")
        return dict(groups.sort(pl.col("record_id").list.len(), "person_id", descending=[True, False]).iter_rows())


@pytest.fixture(scope="module")
def made(site: Callable[..., Any], raw_retailer: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Any:
    shop = site(raw_retailer(PEOPLE, 28)).copy(tmp_path_factory.mktemp("office") / "site")
    _give_cards(shop.landing)
    shop.run(end="silver.identities")
    (shop.root / "config.json").write_text(shop.settings.model_dump_json())
    return shop


def _give_cards(landing: Path) -> None:
    """Each member of the CRM has a card; the till knows the card of one who married, and nothing else of her."""
    crm, pos = landing / "crm/customers/customers.parquet", landing / "pos/customers/customers.csv"
    members = pl.read_parquet(crm).with_columns(LOYALTY_ID=pl.format("LC-{}", "CUSTOMER_ID"))
    members.write_parquet(crm)
    till = pl.read_csv(pos, infer_schema=False)
    bride = {"CUSTOMER_ID": "P_BRIDE", "LAST_NAME": "Zzyzx", "LOYALTY_ID": members["LOYALTY_ID"][0].lower()}
    pl.concat([till, pl.DataFrame([bride])], how="diagonal").write_csv(pos)


@pytest.fixture
def office(made: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    before = list(telemetry.log.handlers)
    yield Office(made, capsys, monkeypatch)
    telemetry.log.handlers[:] = before  # a command logs to the stream that it finds, which is closed afterwards


def test_a_card_joins_accounts_that_nothing_else_joins(office: Office) -> None:
    held = office.site.lake.scan("silver.identities").collect()
    member = office.site.lake.scan("silver.customer_records").filter(pl.col("loyalty_id").is_not_null()).collect()
    card = member.filter(record_id="POS/P_BRIDE")["loyalty_id"][0].upper()
    (account,) = member.filter(loyalty_id=card)["record_id"]
    by_record = {row["record_id"]: row for row in held.to_dicts()}
    assert by_record[account]["person_id"] == by_record["POS/P_BRIDE"]["person_id"]
    assert by_record["POS/P_BRIDE"]["resolved_by"] == "number"


def test_merge_and_undo(office: Office) -> None:
    before = office.people
    one, other, *_ = before
    said = office.does("merge", one, other, "--reason", "same till", "--actor", "ann", "--no-run")
    (event,) = re.findall(r"^event (\d+): merge", said, re.MULTILINE)
    survivor = one if one in office.people else other
    assert office.people[survivor] == sorted(before[one] + before[other])
    assert "ann" in office.does("history", one)
    assert f"event {int(event) + 1}: unmerge" in office.does("undo", event, "--no-run")
    assert office.people == before
    anchor = office.site.root / "anchor.jsonl"
    assert f"{anchor}: commit " in office.does("verify", "--write-anchor", anchor)
    said = office.does("verify", "--anchor", anchor)
    assert "the history holds" in said and "1 anchor(s) met" in said
    assert "named twice" in office.refuses("reject", before[one][0], before[one][0], "--no-run")
    assert " bits" in office.does("review", "--limit", "3") or not office.does("review")


def test_split_move_confirm_reject_and_a_run_that_keeps_them(office: Office) -> None:
    one, other, *_ = office.people
    assert ": merge " in office.does("merge", one, other, "--no-run")
    before = office.people
    (big, records), (there, _) = list(before.items())[:2]
    assert len(records) >= 3
    assert ": split " in office.does("split", big, "--records", records[0], "--no-run")
    parted = office.people
    assert parted != before
    assert ": merge " in office.does("confirm", records[0], records[1], "--no-run")
    assert sorted(map(sorted, office.people.values())) == sorted(map(sorted, before.values()))
    (number,) = re.findall(r"undo --decision (\d+)", office.refuses("move", there, "--records", records[0], "--no-run"))
    assert f"{number}  " in office.does("decisions", records[0])
    office.does("undo", "--decision", number, "--no-run")
    assert office.people == parted and f"(taken back by decision {int(number) + 1})" in office.does("decisions")
    assert ": merge " in office.does("move", there, "--records", records[0], "--no-run")
    said = office.does("reject", records[1], records[2], "--run")
    assert "takes the place of decision" in said
    now = office.people
    holder = {record: person for person, held in now.items() for record in held}
    assert holder[records[0]] == there and holder[records[1]] != holder[records[2]], "the run kept what was decided"
    assert "noted, nobody changes" in office.does("reject", records[1], records[2], "--no-run")
    assert "the history holds" in office.does("verify")


def test_set_and_show(office: Office) -> None:
    person, records = next(iter(office.people.items()))
    shown = json.loads(office.does("show", person))
    assert shown["person_id"] == person
    office.does("set", person, "city", "Gotham", "--reason", "moved", "--no-run")
    assert "Gotham" in office.does("show", person)
    office.does("set", person, "city", "--no-run")
    assert "Gotham" not in office.does("show", person)
    assert "Gotham" not in office.does("show", person, "--as-of", "2300-01-01")
    assert all(record in office.does("history", person) for record in records[:1])


def test_drift_and_retrain(office: Office) -> None:
    before = {frozenset(held) for held in office.people.values()}
    said = office("drift", "--fail-above", "-1")
    found = dict(part.split(" ") for part in said.out.strip().splitlines()[-1].split(", "))
    assert float(found["records"]) > PEOPLE and 0 <= float(found["drift"]) <= 1
    assert float(found["pinned"]) == 0, "what stands is what a rebuild with the same pins gives"
    assert said.code == 1
    office.does("retrain")
    assert {frozenset(held) for held in office.people.values()} == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("merge", "p0000000000000000", "p0000000000000001", "--no-run"), "p0000000000000000"),
        (("split", "nobody", "--records", "POS/1", "--no-run"), "nobody"),
        (("move", "nobody", "--records", "POS/none", "--no-run"), "POS/none"),
        (("confirm", "POS/none", "CRM/none", "--no-run"), "POS/none"),
        (("reject", "POS/none", "CRM/none", "--no-run"), "POS/none"),
        (("undo", "999999", "--no-run"), "999999"),
        (("history", "nobody"), "nobody"),
        (("show", "nobody"), "nobody"),
        (("set", "nobody", "city", "X", "--no-run"), "nobody"),
        (("set", "nobody", "shoe_size", "44", "--no-run"), "shoe_size"),
    ],
)
def test_an_unknown_id_is_named(office: Office, words: tuple[str, ...], message: str) -> None:
    before = office.people
    assert message in office.refuses(*words)
    assert office.people == before


def test_a_missing_settings_file_is_named(office: Office, tmp_path: Path) -> None:
    assert "nowhere.yaml" in office.refuses("verify", "--config", tmp_path / "nowhere.yaml", lake=False)


def test_a_tampered_history_is_refused(office: Office, made: Any, tmp_path: Path) -> None:
    copy = made.copy(tmp_path / "site")
    (copy.root / "config.json").write_text(copy.settings.model_dump_json())
    lake, name = copy.lake, "silver.identity_commits"
    rows = lake.scan(name).collect().with_columns(pl.col("root").str.reverse())
    shutil.rmtree(copy.root / "lake" / "silver" / "identity_commits")
    lake.ensure(type_of(name))
    lake.commit(name, [lake.write_file(name, rows, {})], app="t", app_version=1)
    office.site = copy
    assert "commit" in office.refuses("verify")


def type_of(name: str) -> Any:
    from customer360.platform import tables

    return tables.by_name(name)


# ---- commands that need no lake -----------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "people.csv").write_text(
        "id,name,mail\n1,Ann Lee,ann.lee5@mail.com\n2,Ann Lee,ann.lee5@mail.com\n3,Bo Ray,\n"
    )
    (tmp_path / "mapping.yaml").write_text(MAPPING)
    (tmp_path / "truth.csv").write_text("unique_id,entity_id\n1,a\n2,a\n3,b\n")
    return tmp_path


def test_files_are_resolved_judged_and_sampled(office: Office, files: Path) -> None:
    out, edges, sheet = files / "out.csv", files / "out_edges.csv", files / "sheet.csv"
    said = office.does(
        "resolve", "--input", files / "people.csv", "--mapping", files / "mapping.yaml", "--out", out, lake=False
    )
    assert str(out) in said and pl.read_csv(out)["person_id"].n_unique() == 2
    judged = office.does(
        "evaluate",
        "--clusters",
        out,
        "--truth",
        files / "truth.csv",
        "--edges",
        edges,
        "--out",
        files / "m",
        lake=False,
    )
    assert "F1" in judged and json.loads((files / "m" / "metrics.json").read_text())
    assert "1 pairs" in office.does("sample-labels", "--edges", edges, "--out", sheet, "--n", 5, lake=False)
    pl.read_csv(sheet, infer_schema=False).with_columns(is_match=pl.lit("yes")).write_csv(sheet)
    assert "precision" in office.does("estimate", "--labels", sheet, lake=False)


def test_files_that_do_not_fit_are_named(office: Office, files: Path) -> None:
    people, mapping, out = files / "people.csv", files / "mapping.yaml", files / "out.csv"
    gone = files / "gone.csv"

    def refused(*words: object) -> str:
        return office.refuses(*words, lake=False)

    assert "gone.csv" in refused("resolve", "--input", gone, "--mapping", mapping, "--out", out)
    assert "gone.csv" in refused("resolve", "--input", people, "--mapping", gone, "--out", out)
    (files / "other.yaml").write_text(MAPPING.replace("mail}", "post}"))
    assert "post" in refused("resolve", "--input", people, "--mapping", files / "other.yaml", "--out", out)
    assert "gone.csv" in refused("evaluate", "--clusters", gone, "--truth", files / "truth.csv", "--out", files / "m")
    assert "entity_id" in refused("evaluate", "--clusters", people, "--truth", people, "--out", files / "m")
    assert "gone.csv" in refused("sample-labels", "--edges", gone, "--out", out)
    assert "match_weight" in refused("sample-labels", "--edges", people, "--out", out)
    assert "match_weight" in refused(
        "evaluate",
        "--clusters",
        files / "truth.csv",
        "--truth",
        files / "truth.csv",
        "--edges",
        people,
        "--out",
        files / "m",
    )
    assert "is the input" in refused("sample-labels", "--edges", people, "--out", people)
    assert "gone.csv" in refused("estimate", "--labels", gone)
    assert "is_match" in refused("estimate", "--labels", people)
    before = people.read_bytes()
    assert "is the input" in refused("resolve", "--input", people, "--mapping", mapping, "--out", people)
    assert "is the input" in refused(
        "resolve", "--input", people, "--mapping", mapping, "--out", out, "--edges", people
    )
    assert "its ending" in refused("resolve", "--input", people, "--mapping", mapping, "--out", files / "out.doc")
    assert people.read_bytes() == before
    assert not out.exists()
