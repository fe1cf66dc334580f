"""A person planted in some sixty places is gone from every byte that is the platform's, wherever the erasure died."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from customer360.platform import graph, tables

pytestmark = pytest.mark.slow

_spec = importlib.util.spec_from_file_location("canary_feeds", Path(__file__).with_name("canary_feeds.py"))
assert _spec is not None and _spec.loader is not None
every: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(every)
canaries, feeds = every.canaries, every.feeds

LEAST_PLACES = 60
KILLED_AT = (
    "after hiding",  # nobody answers with the person; the lake is as it was
    "after commit bronze.customers",  # contacts can be read off no table any more
    "after commit silver.identity_members",  # the registry knows nobody by this id
    "after commit silver.identities",  # nor does the lake
    "after commit gold.retention_worklist",  # what is left stands in warehouse and old files alone
    "before commit warehouse",
    "before warehouse rewrite",  # deleted rows stand in its blocks
    "before purge",
    "before purge silver/customer_records",  # half of the old files are gone
)
SCRIPT = """
import os, signal, sys
from pathlib import Path
from customer360.platform import lake, settings
from customer360.serve import jobs
from customer360.serve.compose import compose
point, person, config = sys.argv[1:]
def die(reached):
    if reached.startswith(point):
        os.kill(os.getpid(), signal.SIGKILL)
compose()
lake.observers.append(die)
jobs.erase(settings.load(Path(config)), person)
"""


@pytest.fixture(scope="module")
def planted(
    site: Callable[..., Any], raw_retailer: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Any, str, int]]:
    """A site with the person in it, its id, and in how many places it stands beside its rows."""
    from customer360.models.identity.registry import stewardship
    from customer360.serve import jobs
    from customer360.serve.compose import identity_rules, state_folder

    raw = raw_retailer(34, 60, 5)
    own = shutil.copytree(raw, tmp_path_factory.mktemp("canaries") / "site")
    made = site(own, every.settings_of(own))
    (customers,) = (made.landing / "shop/customers").glob("customers.jsonl.gz")
    neighbour = json.loads(gzip.decompress(customers.read_bytes()).splitlines()[0])["CUSTOMER_ID"]
    places = canaries.plant(made.landing, neighbour) + every.plant(made.landing, neighbour)
    made.run()
    jobs.publish(made.settings)
    jobs.load_warehouse(made.settings)
    people = made.lake.scan("silver.identities").collect()
    person = people.filter(record_id=f"POS/{canaries.POS}")["person_id"][0]
    seed = identity_rules(made.settings).ids.seed
    said = f"{canaries.FIRST} {canaries.LAST} called from {canaries.PHONE}"
    others = people.filter(pl.col("person_id") != person).sort("record_id")
    pair = [*others["record_id"][:1], others.filter(pl.col("person_id") != others["person_id"][0])["record_id"][0]]
    stewardship.reject(made.lake, seed, *pair, 50, actor="al", reason=said)
    stewardship.reject(made.lake, seed, f"POS/{canaries.POS}", pair[0], 50, actor="al", reason=said)
    places += 2 + len(canaries.plant_beside(Path(made.lake.root), state_folder(made.settings)))
    held = where(made)
    assert places + len(held) >= LEAST_PLACES, "the plants do not take"
    yield made, person, places


def where(site: Any) -> list[str]:
    """Files of lake and state folder in which a word of the person stands, by readers that are not the search's."""
    words = [w.encode() for w in (*canaries.WORDS, canaries.MAIL, every.OWN)]
    found = []
    for root in (Path(site.lake.root), Path(site.settings.state)):
        for file in (f for f in root.rglob("*") if f.is_file()):
            data = file.read_bytes()
            if data[:4] == b"PAR1":
                data += str(pl.read_parquet(file).rows()).encode()
            if data[8:12] == b"DUCK":
                with duckdb.connect(str(file), read_only=True) as star:
                    names = star.execute("SELECT schema_name || '.' || table_name FROM duckdb_tables()").fetchall()
                    rows = (star.execute(f"SELECT r::VARCHAR FROM {n} AS r").fetchall() for (n,) in names)
                    data += "".join(map(str, rows)).encode()
            if any(word in data.lower() for word in words):
                found.append(file.relative_to(site.root).as_posix())
    return sorted(found)


def says_it(file: Path) -> bool:
    """Whether a landing file of ours names the person; those of feeds that have no word of anybody do not."""
    text = file.read_text(encoding="latin-1").lower()
    return feeds.FOLDER not in file.parts or any(word in text for word in (*canaries.WORDS, canaries.MAIL))


def planted_rows(site: Any, name: str, mark: str) -> int:
    """Rows of a table in which a mark stands."""
    if not site.lake.exists(name):
        return 0
    rows = site.lake.scan(name).select(row=pl.struct(pl.all().exclude(pl.Binary)).struct.json_encode())
    return int(rows.select(pl.col("row").str.contains(mark).sum()).collect().item())


def test_every_feed_is_planted(planted: tuple[Any, str, int]) -> None:
    """Bronze and silver hold the rows, so that an erasure has what to take away: a feed that is new, whose contract
    refuses what is made from it, says here what it needs (`feeds.MEANT`)."""
    standing, _, _ = planted
    wanted = Counter((name, "others" if how == "others" else "own") for name, how, _ in every.plants("anybody"))
    for (name, whose), rows in wanted.items():
        mark = every.OTHERS if whose == "others" else f"{every.OWN}|{every.WORD}|{every.KEPT}"
        assert planted_rows(standing, name, mark) >= rows, f"{name}: {whose}"
        for node in (n for n in graph.NODES.values() if n.records == name):
            assert planted_rows(standing, node.name, mark) >= rows, f"{node.name}: {whose}"
    personal = {n for n in feeds.every() if tables.pii_columns(tables.by_name(n))}
    assert personal <= {name for name, _ in wanted}


def test_nothing_of_the_person_is_left_and_the_proof_says_what_is_not_ours(
    planted: tuple[Any, str, int], tmp_path: Path
) -> None:
    from customer360.serve import jobs
    from customer360.serve.rights import proof

    standing, person, _ = planted
    made = standing.copy(tmp_path / "site")
    kept = canaries.plant_foreign(tmp_path / "exports")
    _, found = jobs.erase_proven(made.settings, person, (tmp_path / "exports",))
    assert where(made) == []
    assert {n: r for n in tables.TABLES if (r := planted_rows(made, n, f"{every.OWN}|{every.WORD}"))} == {}
    for name, how, _ in every.plants("anybody"):
        if how == "others":
            assert planted_rows(made, name, every.OTHERS), f"{name}: the row of somebody else is gone"
    by_store = {
        store: {r.place for r in found.remains if r.store == store} for store in ("lake", "state", "landing", "also")
    }
    assert by_store["lake"] == by_store["state"] == set()
    assert len(by_store["also"]) == len(set(kept.values()))
    dirty = {f.relative_to(made.landing).as_posix() for f in made.landing.rglob("zz.*") if says_it(f)}
    assert by_store["landing"] == dirty and not found.is_clean
    report = proof.write_report(made.settings, found)
    assert not [word for word in (*canaries.WORDS, canaries.MAIL, person) if word in report.read_text().lower()]
    assert made.lake.objects("_erasures/unfinished") == []


def test_an_erasure_killed_at_any_point_is_taken_up_by_the_same_words(
    planted: tuple[Any, str, int], tmp_path: Path
) -> None:
    from customer360.serve import jobs

    standing, person, _ = planted
    made = standing.copy(tmp_path / "site")
    own = {"LANDING": made.landing, "LAKE__ROOT": made.lake.root, "LAKE__BUCKETS": 4, "STATE": made.settings.state}
    environment = os.environ | {f"CUSTOMER360__{k}": str(v) for k, v in own.items()}
    environment["CUSTOMER360__EXECUTION__EXECUTOR"] = "local"
    for point in KILLED_AT:
        ended = subprocess.run(
            [sys.executable, "-c", SCRIPT, point, person, str(made.root / "every_feed.yaml")],
            env=environment,
            capture_output=True,
            check=False,
            timeout=300,
        )
        assert ended.returncode == -signal.SIGKILL, f"{point}: {ended.stderr.decode()[-2000:]}"
    _, found = jobs.erase_proven(made.settings, person)
    assert where(made) == [] and found.is_landing_alone
