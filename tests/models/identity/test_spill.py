"""From files as from memory: where frames lie changes no result."""

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from customer360.models.identity import IdentityRules, resolve
from customer360.models.identity import spill as spill_module
from customer360.models.identity.rules import Engine
from customer360.models.identity.spill import available_memory, current, kept, spilling
from customer360.models.identity.threads import by_rows

FILES = Engine(spill_from_records=0, spill_pairs=300)


def people(count: int = 1500) -> pl.DataFrame:
    """Every third person twice, with another address or e-mail; neighbours share street, postcode and surname."""
    given, family = ["Ana", "Ben", "Cleo", "Dan", "Eva", "Finn", "Gus"], ["Ruiz", "Stone", "Tran", "Ude", "Vega"]
    rows = []
    for n in range(count):
        person = n - n % 3 // 2
        rows.append(
            {
                "record_id": f"R{(n * 7919) % 10_007:05d}",
                "first_name": given[person % 7] if n % 11 else None,
                "last_name": family[person // 3 % 5] + ("a" if person % 13 == 0 else ""),
                "email_address": f"u{person}@example{n % 3}.com" if n % 4 else None,
                "phone_number": f"415555{person:04d}" if n % 5 else None,
                "date_of_birth": f"19{50 + person % 50}-0{1 + person % 9}-{10 + person % 18}" if n % 2 else None,
                "address_line_1": f"{person % 90} Elm Street",
                "city": "Springfield",
                "zip_code": f"{90000 + person % 40}",
            }
        )
    return pl.DataFrame(rows)


def rules(**engine: object) -> IdentityRules:
    made = IdentityRules()
    return made.model_copy(update={"engine": made.engine.model_copy(update=engine)})


def test_records_on_disk_are_resolved_as_in_memory() -> None:
    records = people()
    whole = resolve(records, rules(spill_from_records=10**9))
    assert whole.edges.height > 300 and whole.assignments["person_id"].n_unique() < records.height
    for pairs, threads in ((300, 2), (5_000_000, 1)):
        found = resolve(records, rules(spill_from_records=0, spill_pairs=pairs, threads=threads))
        assert_frame_equal(found.assignments, whole.assignments)
        assert_frame_equal(found.edges, whole.edges, check_exact=True)
        assert found.model == whole.model


def test_people_and_firms_on_disk_are_resolved_as_in_memory() -> None:
    firms = pl.DataFrame(
        {
            "record_id": [f"F{n}" for n in range(60)],
            "last_name": [f"{('Kestrel', 'Osprey', 'Heron')[n % 3]} {n // 6} Plumbing LLC" for n in range(60)],
            "phone_number": [f"415777{n // 2:04d}" for n in range(60)],
        }
    )
    records = pl.concat([people(300), firms], how="diagonal").sample(fraction=1.0, shuffle=True, seed=3)
    whole = resolve(records, rules(spill_from_records=10**9))
    found = resolve(records, rules(spill_from_records=0, spill_pairs=300))
    assert whole.organisations is not None and found.organisations is not None
    assert_frame_equal(found.assignments, whole.assignments)
    assert_frame_equal(found.edges, whole.edges, check_exact=True)
    assert_frame_equal(found.organisations, whole.organisations, check_row_order=False)


def test_a_piece_on_disk_holds_the_texts_of_its_rows_alone() -> None:
    frame = pl.DataFrame({"text": [f"a text that is longer than a view holds, {n}" for n in range(20_000)]})
    frame = frame.with_columns(list=pl.concat_list("text"))
    with spilling(1, FILES):
        stored = kept(frame.slice(500, 100))
    held = stored.rechunk().to_arrow(compat_level=pl.CompatLevel.newest())
    assert held.get_total_buffer_size() < 100 * 300
    assert_frame_equal(stored, frame.slice(500, 100))


def test_many_rows_are_kept_column_by_column(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spill_module, "_ROWS_AT_ONCE", 3)
    frame = pl.DataFrame({"n": [1, None, 3, 4, 5], "text": ["a", None, "c" * 40, "d", "e"]})
    with spilling(1, FILES):
        stored = kept(pl.concat([frame, frame], rechunk=False))
    assert stored.n_chunks() == 1
    assert_frame_equal(stored, pl.concat([frame, frame]))


def test_a_frame_on_disk_is_the_same_frame() -> None:
    frame = pl.DataFrame(
        {
            "text": ["a", None, "a text that is longer than a view holds", "ü"], "number": [1, None, 3, 4],
            "flag": [True, None, False, True], "nothing": pl.Series([None] * 4, dtype=pl.String),
            "list": [["x"], [], None, ["y", None]], "pairs": [[{"a": 1.5, "b": "z"}], [], None, []],
        }
    )  # fmt: skip
    frame = pl.concat([frame, frame.reverse()], rechunk=False)
    with spilling(1, FILES):
        stored = kept(frame)
        assert stored.n_chunks() == 1
        assert kept(frame.clear()).schema == frame.schema
    assert_frame_equal(stored, frame)
    assert stored.schema == frame.schema


def test_work_by_rows_is_the_same_on_disk() -> None:
    frame = pl.DataFrame({"n": range(70_000)})

    def work(rows: pl.DataFrame) -> pl.DataFrame:
        return rows.select("n", text=pl.format("number {}", "n"))

    with spilling(1, FILES):
        assert_frame_equal(by_rows(work, frame, 3), work(frame))


@pytest.mark.parametrize(("records", "is_much"), [(10, False), (10_000_000, True)])
def test_frames_go_to_disk_where_records_need_more_than_half_of_the_memory(
    records: int, is_much: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spill_module, "available_memory", lambda: 8 * 2**30)
    with spilling(records, Engine()):
        assert (current() is not None) == is_much
    assert current() is None


def test_available_memory_is_within_the_limit_of_the_control_group(monkeypatch: pytest.MonkeyPatch) -> None:
    stated = {
        "/proc/meminfo": "MemTotal: 900 kB\nMemAvailable:    800 kB\n",
        "/sys/fs/cgroup/memory.max": "600000\n", "/sys/fs/cgroup/memory.current": "100000\n",
    }  # fmt: skip
    monkeypatch.setattr(spill_module, "_read", lambda path: stated.get(path, ""))
    assert available_memory() == 500_000
    stated["/sys/fs/cgroup/memory.max"] = "max\n"
    assert available_memory() == 800 * 1024
