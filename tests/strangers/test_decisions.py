"""A steward's decisions over days of deliveries: what was decided of persons holds, whatever comes later."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from customer360.models.identity import erasure, registry
from customer360.models.identity.registry.stewardship import Contradiction
from customer360.platform import access
from customer360.platform import settings as configuration
from customer360.platform.run import RunRequest, lake_of
from customer360.serve import jobs, stewardship
from customer360.serve.app import build_app
from customer360.serve.compose import compose, identity_rules
from customer360.serve.stewardship import Desk

HEAD = "CUSTOMER_ID,FIRST_NAME,LAST_NAME,EMAIL_ADDRESS,PHONE_NUMBER,DATE_OF_BIRTH,LOYALTY_ID,LAST_UPDATED_AT\n"
DAYS = ("2026-01-01T00:00:00", "2026-02-01T00:00:00", "2026-03-01T00:00:00")


class Shop:
    """A till whose customers are delivered day by day, and the stewards' desk."""

    def __init__(self, folder: Path, *rows: str) -> None:
        compose()
        self.folder, self.day = folder, 0
        (folder / "landing").mkdir()
        base = configuration.load(
            None,
            {
                "CUSTOMER360__LANDING": str(folder / "landing"),
                "CUSTOMER360__LAKE__ROOT": str(folder / "lake"),
                "CUSTOMER360__STATE": str(folder / "state"),
                "CUSTOMER360__EXECUTION__EXECUTOR": "local",
            },
        )
        till = {"table": "bronze.customers", "system": "POS", "path": "POS*.csv", "format": "csv"}
        self.settings = base.model_validate(base.model_dump() | {"sources": {"pos": till}, "connections": {}})
        self.deliver(*rows)

    def deliver(self, *rows: str) -> None:
        text = HEAD + "".join(f"{row},{DAYS[self.day]}\n" for row in rows)
        (self.folder / "landing" / f"POS{self.day}.csv").write_text(text)
        self.day += 1
        self.run()

    def run(self, *refresh: str) -> None:
        jobs.run_pipeline(self.settings, RunRequest(end="silver.identities", refresh=refresh))

    def __call__(self, operation: Any, *arguments: Any, actor: str = "ann", reason: str = "asked") -> Any:
        return stewardship.decide(self.settings, operation, *arguments, actor=actor, reason=reason)

    @property
    def who(self) -> dict[str, str]:
        """Person by account, as the table has it."""
        held = lake_of(self.settings).scan("silver.identities").select("record_id", "person_id").collect()
        return {record.removeprefix("POS/"): person for record, person in held.iter_rows()}

    @property
    def groups(self) -> set[str]:
        people: dict[str, str] = {}
        for record, person in sorted(self.who.items()):
            people[person] = people.get(person, "") + record
        return set(people.values())

    def queue(self) -> list[tuple[str, str, int | None, str | None]]:
        rows = Desk(self.settings).queue(50)
        return [(r["record_id_l"][4:], r["record_id_r"][4:], r["against"], r["reason"]) for r in rows]

    def verify(self) -> None:
        registry.verify(lake_of(self.settings), identity_rules(self.settings).ids.seed)


ANN = "1,Ann,Lee,ann@mail.com,4155550001,1980-01-01,"
BEA = "2,Bea,Moss,bea@mail.com,4155550002,1990-02-02,"
NAMESAKE = "2,Ann,Quill,quill@mail.com,,,"
CLEO = "3,Cleo,Park,cleo@mail.com,4155550003,1970-03-03,"
DORA = "4,Dora,Quist,dora@mail.com,4155550004,1960-04-04,"


@pytest.mark.parametrize("between", [True, False], ids=["with a run between", "all before a run"])
def test_a_merge_and_a_confirm_hold_together(tmp_path: Path, between: bool) -> None:
    shop = Shop(tmp_path, ANN, BEA, CLEO, DORA)
    ids = shop.who
    shop("merge", ids["1"], ids["3"])
    if between:
        shop.run()
    shop("confirm", "POS/1", "POS/4")
    shop.run()
    assert shop.groups == {"134", "2"}
    shop.run("silver.identities")
    assert shop.groups == {"134", "2"}, "what was joined by hand is not parted by what its records say"
    with pytest.raises(Contradiction, match=r"decision 1 \(confirm, ann"):
        shop("split", ids["1"], ["POS/4"])
    shop("split", ids["1"], ["POS/3"], reason="no")
    shop.run()
    assert shop.groups == {"14", "2", "3"} and shop.who["3"] == ids["3"]
    shop.verify()


def test_a_verified_number_does_not_undo_a_rejection_and_is_told(tmp_path: Path) -> None:
    shop = Shop(tmp_path, ANN, NAMESAKE, CLEO)
    shop("reject", "POS/1", "POS/2")
    shop.deliver(f"{ANN}LC77", f"{NAMESAKE}LC77")
    assert shop.groups == {"1", "2", "3"}
    assert [row[:3] for row in shop.queue()] == [("1", "2", 0)] and "loyalty" in str(shop.queue()[0][3])
    shop("reject", "POS/1", "POS/2", reason="a card of both")
    assert shop.queue() == [], "who was asked again and answered is not asked a third time"


def test_a_third_record_that_belongs_to_both_sides_joins_one_and_is_told(tmp_path: Path) -> None:
    shop = Shop(tmp_path, f"{ANN}LC77", NAMESAKE, CLEO)
    shop("reject", "POS/1", "POS/2")
    shop.deliver("5,Ann,Lee,ann@mail.com,4155550001,1980-01-01,LC77", f"{NAMESAKE}LC77")
    assert shop.groups == {"15", "2", "3"}
    assert {row[2] for row in shop.queue()} == {0}


def test_proof_of_two_does_not_undo_a_confirmation_and_is_told(tmp_path: Path) -> None:
    shop = Shop(tmp_path, ANN, BEA, CLEO)
    shop("confirm", "POS/1", "POS/2")
    shop.run()
    assert shop.groups == {"12", "3"} and shop.queue() == []
    shop.deliver(f"{ANN}LC1", f"{BEA}LC2")
    assert shop.groups == {"12", "3"}
    assert [row[:3] for row in shop.queue()] == [("1", "2", 0)]


def test_a_rejection_is_about_persons_and_so_about_their_other_records(tmp_path: Path) -> None:
    twin = "5,Ann,Lee,ann@mail.com,4155550001,1980-01-01,"
    shop = Shop(tmp_path, ANN, twin, NAMESAKE, CLEO)
    assert shop.groups == {"15", "2", "3"}
    shop("reject", "POS/1", "POS/2")
    shop.deliver(f"{twin}LC9", f"{NAMESAKE}LC9")
    assert shop.groups == {"15", "2", "3"}


def test_who_is_erased_by_a_former_id(tmp_path: Path) -> None:
    shop = Shop(tmp_path, ANN, BEA, CLEO, DORA)
    lake, rules, ids = lake_of(shop.settings), identity_rules(shop.settings), shop.who
    shop("merge", ids["1"], ids["2"])
    (kept,) = {erasure.person_of(lake, ids[record], rules) for record in "12"}
    assert not erasure.is_followed(lake, kept, rules), "the tables hold two persons still"
    shop.run()
    assert erasure.is_followed(lake, kept, rules)
    assert erasure.identifiers_of(lake, kept).accounts == {"POS/1", "POS/2"}
    with pytest.raises(erasure.UnknownPerson, match="pffffffffffffffff"):
        erasure.person_of(lake, "pffffffffffffffff", rules)
    # A former id whose two records are two persons' now is nobody's alone.
    shop("merge", ids["3"], ids["4"])
    other = registry.load(lake, rules.ids.seed).owner(ids["3"])
    shop("merge", kept, other)
    gone = {kept, other} - {registry.load(lake, rules.ids.seed).owner(kept)}
    (former,) = gone
    shop("split", former, ["POS/2" if former == kept else "POS/4"])
    with pytest.raises(registry.AmbiguousId, match="name one of these"):
        erasure.person_of(lake, former, rules)
    shop.verify()


def test_ids_come_back_when_a_merge_is_parted(tmp_path: Path) -> None:
    shop = Shop(tmp_path, ANN, BEA, CLEO)
    ids = shop.who
    for part in (lambda: shop("split", ids["1"], ["POS/1"]), lambda: shop("reject", "POS/1", "POS/2")):
        shop("merge", ids["1"], ids["2"])
        shop.run()
        part()
        shop.run()
        assert shop.who == ids
    shop.verify()


@pytest.mark.slow
def test_an_id_that_went_leads_to_who_has_its_records(tmp_path: Path) -> None:
    """A pair of the queue is confirmed over HTTP; after the run each answer by either id is of the one who is left."""
    shop = Shop(tmp_path, ANN, BEA, CLEO)
    request = RunRequest(end="gold.customer_360", as_of=date(2026, 3, 1))
    jobs.run_pipeline(shop.settings, request)
    jobs.publish(shop.settings)
    ids = shop.who
    steward = TestClient(
        build_app(shop.settings), headers={"X-API-Key": access.issue(Path(shop.settings.state), "desk", "steward")}
    )
    both = {"one": "POS/1", "other": "POS/2", "reason": "one household, one card"}
    assert steward.post("/v1/identity/confirm", json=both).status_code == 200
    jobs.run_pipeline(shop.settings, request)
    jobs.publish(shop.settings)
    (left,) = {shop.who["1"], shop.who["2"]}
    assert left in (ids["1"], ids["2"]) and left != ids["3"]
    for asked in (ids["1"], ids["2"]):
        for path in ("", "/recommendations", "/scores"):
            answer = steward.get(f"/v1/people/{asked}{path}")
            assert (answer.status_code, answer.json()["person_id"]) == (200, left), (asked, path)
    assert steward.get("/v1/people/p0000000000000000").status_code == 404
