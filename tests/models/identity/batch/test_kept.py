"""Evidence that a lake keeps is what it would be if it were made anew; what is gone is not kept."""

from datetime import date
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from customer360.models.identity import IdentityRules, erasure
from customer360.models.identity.batch import kept
from customer360.models.identity.batch.pins import Pins, evidence, pinned
from customer360.models.identity.batch.standing import versioned
from customer360.platform.lake import Lake
from customer360.platform.privacy import Identifiers

RULES = IdentityRules()
NAMES = ("ann", "bob", "cora", "dan", "eve")
PEOPLE = {
    f"S/{n:02}": {
        "first_name": NAMES[n % 5], "last_name": ("miller", "kim", "novak")[n % 3], "email_address": f"u{n}@mail.com",
        "city": "Springfield" if n % 4 else None, "zip_code": f"{10000 + n % 7}", "date_of_birth": date(1950 + n, 5, 3),
    }
    for n in range(40)
}  # fmt: skip


def records(people: dict[str, dict]) -> pl.DataFrame:
    schema = {"record_id": pl.String, **dict.fromkeys(PEOPLE["S/00"], pl.String), "date_of_birth": pl.Date}
    return pl.DataFrame([{"record_id": name} | values for name, values in people.items()], schema=schema)


@pytest.fixture(scope="module")
def pins() -> Pins:
    return pinned(records(PEOPLE), RULES)[0]


@pytest.fixture
def lake(tmp_path) -> Lake:
    return Lake(str(tmp_path), {}, 4)


def check(lake: Lake, people: dict[str, dict], pins: Pins) -> None:
    frame = records(people)
    anew = versioned(evidence(frame, pins, RULES), pins)
    assert_frame_equal(kept.evidence(lake, frame, pins, RULES).drop(kept.MARK).sort("record_id"), anew)


STEPS = st.lists(
    st.dictionaries(st.sampled_from(sorted(PEOPLE)), st.sampled_from([None, *NAMES]), min_size=1, max_size=12),
    max_size=6,
)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_kept_evidence_is_what_it_would_be_anew(tmp_path_factory, pins, steps):
    lake, people = Lake(str(tmp_path_factory.mktemp("lake")), {}, 4), dict(list(PEOPLE.items())[:20])
    check(lake, people, pins)
    for step in steps:
        for name, given_name in step.items():  # new, changed or gone
            people.pop(name, None)
            if given_name:
                people[name] = PEOPLE[name] | {"first_name": given_name}
        check(lake, people, pins)
        held = pl.concat([pl.read_ipc(lake_file(lake, p)) for p in lake.objects("_identity/evidence")] or [records({})])
        assert set(held["record_id"]) <= set(people)


def lake_file(lake: Lake, path: str) -> bytes:
    return lake.get(path) or b""


def made_anew(monkeypatch) -> list[int]:
    sizes: list[int] = []

    def counted(frame, pins, rules):
        sizes.append(frame.height)
        return evidence(frame, pins, rules)

    monkeypatch.setattr(kept.pinned, "evidence", counted)
    return sizes


def test_only_changed_records_are_standardized(lake, pins, monkeypatch):
    kept.keep(lake, records(PEOPLE), pins, evidence(records(PEOPLE), pins, RULES))
    sizes = made_anew(monkeypatch)
    check(lake, PEOPLE, pins)
    check(lake, PEOPLE | {"S/03": PEOPLE["S/03"] | {"city": "Ogden"}, "S/77": PEOPLE["S/07"]}, pins)
    assert sizes == [2]


def test_many_small_batches_leave_few_pieces(lake, pins, monkeypatch):
    monkeypatch.setattr(kept, "_MOST_PIECES", 3)
    people = dict(PEOPLE)
    for n in range(8):
        people |= {f"T/{n}": PEOPLE["S/11"]}
        check(lake, people, pins)
        assert len(lake.objects("_identity/evidence")) <= 3


@pytest.mark.parametrize("how", ["other pins", "another column"])
def test_nothing_is_taken_from_other_pins_or_columns(lake, pins, how, monkeypatch):
    check(lake, PEOPLE, pins)
    frame, sizes = records(PEOPLE), made_anew(monkeypatch)
    if how == "other pins":
        held = Pins(pins.model, pins.frequencies, pins.hubs, pins.caps, pins.records + 1, pins.basis)
    else:
        held, frame = pins, frame.with_columns(phone_number=pl.lit("4155550100"))
    anew = versioned(evidence(frame, held, RULES), held)
    assert_frame_equal(kept.evidence(lake, frame, held, RULES).drop(kept.MARK).sort("record_id"), anew)
    assert sizes == [40]


def test_an_erasure_leaves_nothing_of_it(lake, pins):
    check(lake, PEOPLE, pins)
    nobody: frozenset[str] = frozenset()
    erasure.forget(lake, Identifiers(nobody, nobody, nobody, {}, nobody), RULES)
    assert not lake.get("_identity/evidence.json") and not lake.objects("_identity/evidence")


@pytest.mark.parametrize("left", [0, 100])
def test_evidence_that_is_cut_is_made_anew(lake, pins, left):
    check(lake, PEOPLE, pins)
    for piece in Path(lake.root).rglob("_identity/evidence/*.arrow"):
        piece.write_bytes(piece.read_bytes()[:left])
    check(lake, PEOPLE, pins)
    check(lake, PEOPLE, pins)
