"""Decisions by the law: `python tests/bench/decisions.py [--requests 100000] [--products 2000] [--people 500]`.

Draws requests of all kinds for an invented shop, and judges each answer by a judge that shares no code with the stages
(`tests/choices.py`): what is out of stock, bought, in the cart, hidden, excluded, of another age or region. Who refused
must get what a stranger gets, and every record must replay. Prints the violations (0 is expected; else it ends with
code 1), candidates and bytes a decision, and CPU microseconds of each part.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from time import thread_time

from conditions import conditions

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from choices import World, publish_world, random_request, rules, violations

from customer360.platform.online import OnlineStore
from customer360.serve.publication.vectors import VectorStore
from customer360.serve.realtime.ranking.choosing import Chooser, Shelves
from customer360.serve.realtime.ranking.decision import replayed, unpacked


def judged(world: World, requests: int, seed: int) -> Counter[str]:
    """Violations by kind, and what was done: decisions, candidates, shown, bytes, microseconds by part."""
    draw, found = random.Random(seed), Counter[str]()
    view = OnlineStore(world.state).view()
    chooser = Chooser(Shelves(VectorStore(world.state), patience=60), rules)
    for _ in range(requests):
        asked = random_request(draw, world)
        person = view.get("person", asked.person_id) if asked.person_id else None
        started = thread_time()
        decision = chooser.choose(view, asked, person)
        order = decision.order
        chosen = thread_time()
        packed = decision.packed()
        written = thread_time()
        kept = unpacked(packed)
        is_same = replayed(kept).order == kept["answer"] == order
        found["us choose"] += int((chosen - started) * 1e6)
        found["us pack"] += int((written - chosen) * 1e6)
        found["us replay"] += int((thread_time() - written) * 1e6)
        found["bytes"] += len(packed)
        found["candidates"] += len(decision.slate.products)
        found["shown"] += len(order)
        found["violation: does not replay"] += not is_same
        for said in violations(decision, world):
            found[f"violation: {said.partition(':')[0]}"] += 1
        if not asked.is_personal:
            found["refused"] += 1
            stranger = replace(asked, person_id=None, visitor_id=None)
            found["violation: consent"] += chooser.choose(view, stranger, None).products() != decision.products()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--products", type=int, default=2000)
    parser.add_argument("--people", type=int, default=500)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    print(conditions("numpy", "polars"))
    with tempfile.TemporaryDirectory() as folder:
        world = publish_world(Path(folder), given.products, given.people, given.seed)
        found = judged(world, given.requests, given.seed)
    broken = {name: count for name, count in found.items() if name.startswith("violation") and count}
    total = given.requests
    print(f"{total:,} decisions, {found['refused']:,} of them for people who refused")
    print(f"violations: {sum(broken.values()):,} {broken or ''}")
    print(f"a decision: {found['candidates'] / total:.0f} candidates, {found['shown'] / total:.0f} in order, "
          f"{found['bytes'] / total:,.0f} bytes kept")  # fmt: skip
    for part in ("choose", "pack", "replay"):
        print(f"  {part}: {found[f'us {part}'] / total:,.0f} us")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
