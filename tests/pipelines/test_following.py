"""For every build that follows, without being asked: stored rows under new links are what a build makes of them."""

from __future__ import annotations

import pickle
import random

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from customer360.platform import graph
from customer360.platform.run.units import conform_to_storage
from customer360.serve.compose import compose

LINKS, SALES = "silver.identity_links", "silver.transactions"
compose()
FOLLOWING = sorted(name for name, node in graph.NODES.items() if node.follows)


def test_whatever_takes_its_subject_from_the_links_follows_them() -> None:
    asked = {n for n, node in graph.NODES.items() if LINKS in node.inputs and "subject_id" in node.table.columns()}
    assert set(FOLLOWING) == asked | {"silver.transaction_items"}


def changed(links: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Links after merges, splits, accounts and devices that are nobody's any more, and logins at other times."""
    draw = random.Random(seed)
    people = links["person_id"].unique().sort().to_list()
    merged = {p: draw.choice(people) for p in draw.sample(people, len(people) // 5)}
    rows = []
    for row in links.rows(named=True):
        fate = draw.random()
        if fate < 0.1:
            continue
        person = f"{row['person_id']}-split" if fate < 0.2 else merged.get(row["person_id"], row["person_id"])
        moved = {"valid_from": row["valid_to"], "valid_to": None} if fate > 0.9 and row["valid_to"] else {}
        rows.append(row | {"person_id": person} | moved)
    return pl.DataFrame(rows, schema=links.schema)


@pytest.mark.parametrize("name", FOLLOWING)
def test_following_is_building(name: str, retailer) -> None:
    def build(of: str, inputs: dict[str, pl.LazyFrame]) -> pl.DataFrame:
        node = graph.NODES[of]
        frames = [inputs.get(t, retailer.frame(t)) for t in node.inputs]
        values = {"params": retailer.rules[node.rules]} if "params" in node.wants else {}
        return conform_to_storage(node.table, node.function(*frames, **values), {})

    node = graph.NODES[name]
    stored = build(name, {})
    links = retailer.frame(LINKS).collect()
    for seed in (1, 2):
        now = {LINKS: changed(links, seed).lazy()}
        if SALES in node.followed:
            now[SALES] = build(SALES, now).lazy()
        follows = pickle.loads(pickle.dumps(node.follows))  # as a worker gets it
        followed = conform_to_storage(node.table, follows(stored.lazy(), *(now[t] for t in node.followed)), {})
        assert_frame_equal(followed, build(name, now))
        is_other = followed["subject_id"].sort() != stored["subject_id"].sort()
        assert is_other.any(), "nobody moved: the change says nothing"
