"""Does anything that only a refusing person knows reach what the refusal forbids, among thousands?

    python tests/bench/consent_canaries.py --people 2000

Every other person of a shop refuses, the ways to refuse in turn, after everything was built, trained and loaded once.
Each bought one product of a category that nobody else bought, opened a letter that nobody else got, has an address of
its own and is in every feed with words of its own: these are the canaries. The short form of the same, at 24 people, is
a test of every commit.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl

from customer360.pipelines.denied import denied

_spec = importlib.util.spec_from_file_location("refusals", Path(__file__).parents[1] / "strangers" / "test_refusals.py")
assert _spec is not None and _spec.loader is not None
refusals: Any = importlib.util.module_from_spec(_spec)
sys.modules["refusals"] = refusals  # a dataclass asks for its module
_spec.loader.exec_module(refusals)


def in_tables(shop: Any) -> None:
    for name, others in refusals.withheld_in_cells(shop).items():
        print(f"    {name}: canaries of {others:,} others")


def in_analysts_file(shop: Any) -> None:
    out = shop.folder / "analysts.csv"
    said = shop.said("export", "--anonymize", "--l", "1", "--suppress", "0.9", "--out", str(out))
    assert re.search(r"[1-9][\d,]* withheld", said), said
    assert refusals.said_by(pl.DataFrame({"text": out.read_text().splitlines()})) == set()


def restrict(shop: Any) -> None:
    shop.said("rights", "open", "restrict", allowed_person(shop), "--identity", "letter")
    shop.said("rights", "fulfil", "1")


def allowed_person(shop: Any) -> str:
    """The first customer, who refuses nothing."""
    return str(shop.lake.scan("silver.identities").filter(customer_id="C0").collect()["person_id"][0])


def following(shop: Any, *, is_allowed: bool) -> None:
    """Run, and say which tables were built and how many files of buckets were written."""
    shop.said("run")
    assert refusals.allowed(shop)[allowed_person(shop)] is is_allowed
    record = json.loads(shop.lake.get(shop.lake.objects("_runs")[-1]) or b"{}")
    built = {n["node"]: n["facts"].get("buckets_rewritten", 0) for n in record["nodes"] if n["state"] == "built"}
    print(f"    built {len(built)} of {len(record['nodes'])} tables: {built}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=2000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="consent_canaries") as folder:
        shop = refusals.Shop(Path(folder), people=given.people, has_every_feed=True)
        steps: list[tuple[str, Callable[[], object]]] = [
            ("files", shop.open),
            ("first run", lambda: shop.said("run")),
            ("train", lambda: shop.said("train", "item_to_item")),
            ("run with scores", lambda: shop.said("run")),
            ("star", lambda: shop.said("warehouse", "load")),
            ("refuse", lambda: shop.refuse("2026-05-20")),
            ("run that lands the refusals", lambda: shop.said("run")),
            ("tables, and frames of every fit", lambda: refusals.withheld_everywhere(shop)),
            ("cells of every table", lambda: in_tables(shop)),
            ("answers", lambda: refusals.withheld_in_answers(shop)),
            ("audience, exports, star", lambda: refusals.withheld_from_files(shop)),
            ("file for analysts", lambda: in_analysts_file(shop) if given.people >= 500 else None),
            ("model artefacts of a new fit", lambda: refusals.withheld_from_a_fit(shop)),
            ("another run", lambda: shop.said("run")),
            ("tables again", lambda: refusals.withheld_everywhere(shop)),
            ("a restriction noted", lambda: restrict(shop)),
            ("run that follows it", lambda: following(shop, is_allowed=False)),
            ("run with nothing new", lambda: following(shop, is_allowed=False)),
            ("its release", lambda: shop.said("rights", "release", "1")),
            ("run that follows that", lambda: following(shop, is_allowed=True)),
        ]
        for name, step in steps:
            before, load = time.process_time(), os.getloadavg()[0]
            step()
            print(f"{name}: {time.process_time() - before:.1f} s of CPU, load {load:.1f}", flush=True)
        found = denied(shop.lake)
        print(f"{found['person_id'].n_unique():,} of {given.people:,} people refuse; nothing of them was found")


if __name__ == "__main__":
    main()
