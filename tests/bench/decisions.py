"""Decisions by the law: `python tests/bench/decisions.py [--requests 100000] [--seeds 1 2 …] [--products 2000]`.

Draws requests of all kinds for an invented shop, and judges each answer by a judge that shares no code with the stages
(`tests/choices.py`): what is out of stock, bought, in the cart, hidden, excluded, of another age or region. Who refused
must get what a stranger gets, and records must replay: every one, or one of so many (`--replay-every`). Each seed is a
shop and requests of its own, so that a large number comes together in parts. Prints the violations after each (0 is
expected; else it ends with code 1), candidates and bytes a decision, and CPU microseconds of each part.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path
from time import process_time, thread_time

from conditions import conditions

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from choices import World, publish_world, random_request, rules, violations

from customer360.platform.online import OnlineStore
from customer360.serve.publication.vectors import VectorStore
from customer360.serve.realtime.ranking.choosing import Chooser, Shelves
from customer360.serve.realtime.ranking.decision import Decision, replayed, unpacked


def judged(world: World, requests: int, seed: int, every: int = 1) -> Counter[str]:
    """Violations by kind, and what was done: decisions, candidates, shown, bytes, microseconds by part."""
    draw, found = random.Random(seed), Counter[str]()
    view = OnlineStore(world.state).view()
    chooser = Chooser(Shelves(VectorStore(world.state), patience=60), rules)
    for number in range(requests):
        asked = random_request(draw, world)
        person = view.get("person", asked.person_id) if asked.person_id else None
        started = thread_time()
        decision = chooser.choose(view, asked, person)
        order = decision.order
        chosen = thread_time()
        found["us choose"] += int((chosen - started) * 1e6)
        found["candidates"] += len(decision.slate.products)
        found["shown"] += len(order)
        if number % every == 0:
            _replay(decision, order, found)
        for said in violations(decision, world):
            found[f"violation: {said.partition(':')[0]}"] += 1
        if not asked.is_personal:
            found["refused"] += 1
            stranger = replace(asked, person_id=None, visitor_id=None)
            found["violation: consent"] += chooser.choose(view, stranger, None).products() != decision.products()
    return found


def _replay(decision: Decision, order: list[int], found: Counter[str]) -> None:
    started = thread_time()
    packed = decision.packed()
    written = thread_time()
    kept = unpacked(packed)
    found["violation: does not replay"] += not replayed(kept).order == kept["answer"] == order
    found["us replay"] += int((thread_time() - written) * 1e6)
    found["us pack"] += int((written - started) * 1e6)
    found["bytes"] += len(packed)
    found["replayed"] += 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--products", type=int, default=2000)
    parser.add_argument("--people", type=int, default=500)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--replay-every", type=int, default=1)
    given = parser.parse_args()
    print(conditions("numpy", "polars"))
    found, started = Counter[str](), process_time()
    for seed in given.seeds:
        with tempfile.TemporaryDirectory() as folder:
            world = publish_world(Path(folder), given.products, given.people, seed)
            found += judged(world, given.requests, seed, given.replay_every)
        found["decisions"] += given.requests
        tell(found, process_time() - started)
    print(conditions())
    return 1 if _broken(found) else 0


def _broken(found: Counter[str]) -> dict[str, int]:
    return {name: count for name, count in found.items() if name.startswith("violation") and count}


def tell(found: Counter[str], seconds: float) -> None:
    """Print what was found so far, in so many seconds of CPU."""
    total, replays, broken = found["decisions"], found["replayed"], _broken(found)
    print(f"{total:,} decisions in {seconds:,.0f} s of CPU, {found['refused']:,} of them for people who refused; "
          f"{replays:,} replayed")  # fmt: skip
    print(f"  violations: {sum(broken.values()):,} {broken or ''}")
    print(f"  a decision: {found['candidates'] / total:.0f} candidates, {found['shown'] / total:.0f} in order, "
          f"{found['bytes'] / replays:,.0f} bytes kept")  # fmt: skip
    each = {"choose": total, "pack": replays, "replay": replays}
    print("  us of CPU: " + ", ".join(f"{part} {found[f'us {part}'] / n:,.0f}" for part, n in each.items()), flush=True)


if __name__ == "__main__":
    sys.exit(main())
