"""What comes next in a session: rules and neighbours by hand, and the laws of the lists."""

from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest

from customer360.models.files import recommend
from customer360.models.files.interactions import Interactions
from customer360.models.recommenders import sessions
from customer360.models.recommenders.sessions import methods
from customer360.models.recommenders.sessions.log import Moments, SessionLog

START = datetime(2024, 6, 1)


def quiet(line: str) -> None:
    """A progress line that nobody reads."""


def frame(clicks: list[tuple[str, str, int]]) -> pl.DataFrame:
    """Rows of session, item and minute."""
    rows = [(session, item, START + timedelta(minutes=minute)) for session, item, minute in clicks]
    return pl.DataFrame(rows, schema=["session", "item", "at"], orient="row").with_columns(
        pl.col("at").cast(pl.Datetime("us"))
    )


def chain(*paths: str) -> SessionLog:
    """One session a word, one item a letter, all items of the alphabet that occur."""
    clicks = [(f"s{n}", item, 100 * n + step) for n, path in enumerate(paths) for step, item in enumerate(path)]
    return SessionLog.of(frame(clicks))


def test_rules_weigh_by_distance() -> None:
    log = chain("abc", "ab")
    pairs = methods.Pairs.of(log)
    rules = methods.Rules.of(pairs, (1.0 / pairs.distance).astype(np.float32), 3)
    assert rules.weights.toarray() == pytest.approx(np.array([[0, 2, 0.5], [0, 0, 1], [0, 0, 0]]))


def test_a_session_does_not_teach_itself() -> None:
    log = chain("abc", "ab")
    fitted, moments = methods.Fitted.of(log), Moments.last(log, np.array([1]))  # at b, in a session that others match
    assert fitted.scores(moments)["rules_last"].toarray() == pytest.approx(np.array([[0, 0, 1]]))
    alone = Moments(log, np.array([0]))  # at a of the first session: b comes of the second one alone
    assert fitted.scores(alone)["rules_last"].toarray() == pytest.approx(np.array([[0, 1, 0]]))


def test_neighbours_by_hand() -> None:
    """At b of s2 (a, b): s0 holds a and b, s1 holds b; c is in both, d in s1 alone. Weights 10/11 and 1 of the linear
    decay times the rarity of the item.
    """
    log = chain("abc", "bcd", "ab")
    found = methods.Fitted.of(log).scores(Moments.last(log, np.array([2])))["session_knn"].toarray()[0]
    a, b = (1 - 1 / 11) * np.log(1 + 3 / 2), np.log(1 + 3 / 3)
    assert found == pytest.approx([a + b, 0.0, a + b + b, b], rel=1e-5)


def test_direct_repeats_count_once_and_ties_keep_their_order() -> None:
    log = SessionLog.of(frame([("s", "b", 1), ("s", "a", 1), ("s", "a", 2), ("s", "b", 3)]))
    assert [log.items[int(item)] for item in log.item] == ["b", "a", "b"]


def lists(clicks: list[tuple[str, str, int]], k: int = 20) -> pl.DataFrame:
    rows = frame(clicks)
    return recommend.recommend_sessions(Interactions(rows, rows["session"].head(0), {}), datetime(2024, 7, 1), k, quiet)


def test_one_click_is_enough_and_an_unknown_path_gets_what_sells() -> None:
    clicks = [(f"s{n}", item, 10 * n + step) for n in range(30) for step, item in enumerate("abc")]
    found = lists([*clicks, ("one", "a", 900), ("lost", "z", 901)])
    assert found.filter(session="one")["item"].to_list()[:2] == ["b", "c"]
    assert set(found.filter(session="lost")["item"]) == {"a", "b", "c"}
    current = {"one": "a", "lost": "z"} | {f"s{n}": "c" for n in range(30)}
    assert all(current[session] != item for session, item in found.select("session", "item").rows())


def test_sessions_of_one_item_each_still_get_lists() -> None:
    found = lists([("s", "a", 1), ("t", "b", 2), ("u", "b", 3)])
    assert found.filter(session="s")["item"].to_list() == ["b"] and found.filter(session="t")["item"].to_list() == ["a"]
    assert lists([("s", "a", 1), ("t", "a", 2)]).is_empty()


def test_rank_and_hit_by_hand() -> None:
    log = chain("ab", "ab", "ac")
    found, _ = sessions.candidates(methods.Fitted.of(log), Moments.inside(log))
    hit = found.item == Moments.inside(log).following()[found.user]
    judge = sessions.NextJudge(found, hit)
    score = np.where(found.item == 1, 2.0, 1.0)  # b before everything
    hits, reciprocal = judge.by_moment(score.astype(np.float32))
    assert hits.tolist() == [1, 1, 1] and reciprocal == pytest.approx([1, 1, 1 / 2])
