"""What a way costs and gains: best sellers held back only as far as lists do not suffer."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy import sparse

from customer360.models.recommenders import choice, neighbours, own, popular
from customer360.models.recommenders import ranker as trees
from customer360.models.recommenders.candidates import Candidates
from customer360.models.recommenders.choice import Way, Window
from customer360.models.recommenders.lists import Judge, ranked
from customer360.models.recommenders.log import Log
from customer360.models.recommenders.scoring import Family, Scorer, Vectors

USERS, ITEMS = 30, 40


def window(relevant: np.ndarray) -> tuple[Window, np.ndarray]:
    """All items are candidates of every user; the first twenty sell best. `relevant` are marked items; the score knows
    them, and likes what sells."""
    user, item = (part.ravel() for part in np.indices((USERS, ITEMS)))
    sells = np.where(item < 20, 1.0, -1.0).astype(np.float32)
    parts = np.stack([sells, relevant[user, item].astype(np.float32)], axis=1)
    found = Candidates(np.arange(USERS), user, item, parts, (choice.HELD_BACK, "taste"))
    truth = sparse.csr_array(relevant.astype(np.float32))
    log = Log.of(_events(), 10.0)
    return Window(log, found, truth), sells * np.float32(0.55) + parts[:, 1] * np.float32(1.0)


def _events() -> pl.DataFrame:
    items = [f"i{number:02}" for number in range(ITEMS)]
    return pl.DataFrame({"user": "u", "item": items, "day": 1.0, "kept": True})


def test_best_sellers_are_held_back_where_they_are_in_the_way() -> None:
    seldom = np.zeros((USERS, ITEMS), dtype=bool)
    seldom[np.arange(USERS), 20 + np.arange(USERS) % 20] = True
    judged, score = window(seldom)
    lines: list[str] = []
    share = choice.restraint([(judged, score)], lines.append)
    assert share == max(choice.RESTRAINTS) and "best sellers held back" in lines[0]
    before, after = choice._figures([(judged, score)], 0.0), choice._figures([(judged, score)], share)
    assert sum(after) > sum(before)


def test_best_sellers_stay_where_they_are_what_is_bought() -> None:
    bought = np.zeros((USERS, ITEMS), dtype=bool)
    bought[:, :20] = True
    judged, _ = window(bought)
    liked = judged.found.parts[:, 0] * np.float32(0.01) - (judged.found.item % 2).astype(np.float32) * np.float32(
        0.0195
    )
    lines: list[str] = []
    assert choice.restraint([(judged, liked)], lines.append) == 0.0 and lines == []


@pytest.mark.parametrize("found", [0.01, 0.35])
def test_what_may_be_lost_is_a_share_of_what_is_found(monkeypatch: pytest.MonkeyPatch, found: float) -> None:
    """Where little is found, .002 would be a fifth of it."""
    judged, score = window(np.ones((USERS, ITEMS), dtype=bool))
    for lost, expected in ((0.005, 0.15), (0.05, 0.0)):
        monkeypatch.setattr(choice, "_figures", lambda _, share, lost=lost: (found * (1 - lost * bool(share)), 0.1))
        assert choice.restraint([(judged, score)], lambda line: None) == expected


def test_families_without_popularity_are_a_choice_too() -> None:
    """What sells lately is not known then, and is not held back."""
    days = [(f"u{user:02}", f"i{(user + day) % 7}", float(day)) for user in range(60) for day in range(5, 100, 9)]
    frame = pl.DataFrame(days, schema=["user", "item", "day"], orient="row").with_columns(kept=pl.lit(True))
    families, effort = (own.FAMILY, neighbours.ITEMS), replace(choice.EFFORTS["fast"], windows=1)
    fitted = choice.fit(Log.of(frame, 100.0), "all", lambda line: None, families=families, effort=effort)
    assert fitted.way.restraint == 0.0 and len(fitted.lists(np.arange(60), 3)[0])
    few = choice.fit(Log.of(frame.head(3), 100.0), "all", lambda line: None, families=families, effort=effort)
    assert few.name in few.scorers and len(few.lists(np.arange(1), 3)[0])


def listed(restraint: float, weights: dict[str, float]) -> dict[str, list[str]]:
    """The five best by user: i0 sells best of eight items, i7 least. Of u0 taste says something of each item but i7, of
    u1 of the last two, of u2 nothing."""
    days = [(f"u{user}", f"i{item}", 9.0) for item in range(8) for user in range(8 - item)]
    frame = pl.DataFrame(days, schema=["user", "item", "day"], orient="row").with_columns(kept=pl.lit(True))
    log = Log.of(frame, 10.0)
    taste = np.zeros((8, 8), dtype=np.float32)
    taste[0], taste[1, 6:] = [8, 6, 5, 4, 7.6, 3, 2, 0], [1.0, 0.8]
    scorers: dict[str, Scorer] = {"taste": Vectors(np.eye(8, dtype=np.float32), taste.T)} | popular.FAMILY.fit(log)
    made = choice.Hybrid(log, "all", scorers, Way(weights, restraint=restraint), "blend", {})
    user, item, _, _ = made.lists(np.arange(3), 5)
    return {f"u{n}": log.items.gather(item[user == n]).to_list() for n in range(3)}


def test_best_sellers_are_held_back_among_what_is_said_something_of() -> None:
    plain, held = listed(0.0, {"taste": 1.0}), listed(0.3, {"taste": 1.0})
    assert plain["u0"] == ["i0", "i4", "i1", "i2", "i3"]
    assert held["u0"] == ["i4", "i0", "i1", "i2", "i3"]


@pytest.mark.parametrize("weights", [{"taste": 1.0}, {"taste": 1.0, choice.HELD_BACK: 0.1}])
def test_whom_nothing_is_known_of_gets_what_sells_whatever_is_held_back(weights: dict[str, float]) -> None:
    """So does a list end that only a few items have a say in."""
    assert listed(0.3, weights)["u2"] == ["i0", "i1", "i2", "i3", "i4"]
    assert listed(0.3, weights)["u1"] == ["i6", "i7", "i0", "i1", "i2"]


class Rarest:
    """Trees that put first what hardly anybody has."""

    def score(self, found: Candidates, facts: trees.Facts) -> np.ndarray:
        return -np.log1p(facts.log.sales())[found.item]


def test_who_has_what_nobody_has_gets_what_sells_whatever_trees_make_of_it() -> None:
    days = [(f"u{user}", f"i{item}", 9.0) for item in range(8) for user in range(9 - item)]
    days += [("z0", "new0", 9.5), ("z1", "new1", 9.5), ("z2", "i7", 9.5)]
    frame = pl.DataFrame(days, schema=["user", "item", "day"], orient="row").with_columns(kept=pl.lit(True))
    log = Log.of(frame, 10.0)
    made = choice.Hybrid(log, "new", popular.FAMILY.fit(log), Way({}, Rarest()), "ranker", {})  # type: ignore[arg-type]
    asked = log.users.to_list()
    user, item, _, _ = made.lists(np.arange(len(asked)), 3)
    first = {name: log.items.gather(item[user == asked.index(name)]).to_list() for name in ("z0", "z1", "z2")}
    assert first["z0"] == first["z1"] == ["i0", "i1", "i2"]
    assert first["z2"][0].startswith("new")


def test_inputs_of_some_users_are_those_of_all() -> None:
    judged, _ = window(np.ones((USERS, ITEMS), dtype=bool))
    table = np.arange(USERS * ITEMS * 2, dtype=np.float32).reshape(-1, 2)
    some = np.arange(USERS) % 3 == 0
    half = replace(judged, given=table).of_users(some, with_inputs=True)
    assert np.array_equal(half.inputs, table[some[judged.found.user]]) and len(half.found.users) == some.sum()
    assert half.truth.shape == (some.sum(), ITEMS)


def test_no_window_is_taught_by_its_own_future(monkeypatch: pytest.MonkeyPatch) -> None:
    """With two windows, methods go on from the oldest: what teaches in the older one has seen nothing after it."""
    monkeypatch.setattr(choice, "RANKER_USERS", 20)
    rng = np.random.default_rng(4)
    days = [(f"u{user:02}", f"i{rng.integers(9)}", float(day)) for user in range(60) for day in range(5, 100, 6)]
    frame = pl.DataFrame(days, schema=["user", "item", "day"], orient="row").with_columns(kept=pl.lit(True))
    seen: list[tuple[float, float]] = []  # end of what a method goes on from, and its own

    def fit(log: Log) -> dict[str, Scorer]:
        seen.append((log.today, log.today))
        return {"learned": popular.FAMILY.fit(log)["popularity"]}

    def go_on(log: Log, before: dict[str, Scorer]) -> dict[str, Scorer]:
        seen.append((seen[0][0], log.today))
        return before

    learned = Family("learned", fit, lambda log: None, go_on)
    effort = replace(choice.EFFORTS["best"], rounds=0)
    choice.fit(Log.of(frame, 100.0), "all", lambda line: None, 15.0, (popular.FAMILY, learned), effort)
    assert seen == [(70.0, 70.0), (70.0, 85.0), (70.0, 100.0)]


def taste_log() -> Log:
    """Four tastes of twelve items, six staples that everybody buys, and forty people with one item that nobody else
    has."""
    rng = np.random.default_rng(0)
    rows: list[tuple[str, str, float]] = []
    for user in range(900):
        for _ in range(14):
            taste = f"t{user % 4}-{int(12 * rng.random() ** 2):02}"
            item = taste if rng.random() < 0.8 else f"st{rng.integers(6)}"
            rows.append((f"u{user:03}", item, 400 * rng.random()))
    rows += [(f"z{number:02}", f"rare{number:02}", 380 + number * 0.3) for number in range(40)]
    frame = pl.DataFrame(rows, schema=["user", "item", "day"], orient="row")
    return Log.of(frame.with_columns(kept=pl.lit(True)), 400.0)


def test_whoever_no_method_knows_gets_what_sells() -> None:
    """Best sellers are held back from those whom other methods know: nobody gets what sells least."""
    log = taste_log()
    fitted = choice.fit(log, "all", lambda line: None, effort=replace(choice.EFFORTS["fast"], judged_users=300))
    seldom = np.flatnonzero(np.char.startswith(np.array(log.users.to_list()), "z"))
    listed = fitted.lists(seldom, 10)[1]
    assert np.median(log.sales()[listed]) > np.median(log.sales()) and fitted.name == "blend"


def test_a_judge_and_a_list_break_ties_alike() -> None:
    """Where numbers follow sales, an order by number would be the best of all methods, and say nothing."""
    user, item = (part.ravel() for part in np.indices((3, ITEMS)))
    found = Candidates(np.arange(3), user, item, np.zeros((len(user), 1), dtype=np.float32), ("none",))
    before = np.arange(ITEMS)[::-1].copy()
    truth = sparse.csr_array(np.repeat(np.arange(ITEMS)[None] >= ITEMS - 20, 3, axis=0).astype(np.float32))
    recall, ndcg = Judge.of(found, truth, before).by_user(np.zeros(len(user), dtype=np.float32))
    assert recall.tolist() == [1.0] * 3 and ndcg == pytest.approx(1.0)
    assert not Judge.of(found, truth).by_user(np.zeros(len(user), dtype=np.float32))[0].any()
    rows, _ = ranked(found, np.zeros(len(user), dtype=np.float32), 20, before)
    assert sorted(set(found.item[rows])) == list(range(20, ITEMS))
