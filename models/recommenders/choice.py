"""The hybrid: every family that suits a log, blended or ranked by what worked in the last window before the date.

An inner time split plays the future: methods are fitted on what lies before it, and users who come back in the window
after it judge them: each half of the users by what the other half taught, or, where there are two such windows
(`Effort`), the newer one by what the older one taught. The best of three ways is
kept (best single method, weighted sum, ranker over candidates), learned anew on all windows, and applied to methods
fitted on the whole past. A log whose users do not come back is split by user instead: the last items of each are held
out.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from time import perf_counter

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from customer360.models.recommenders import blend, content, ease, factors, neighbours, own, popular
from customer360.models.recommenders import ranker as trees
from customer360.models.recommenders.candidates import PER_METHOD, Candidates, Mode, Restraint, best_of_blend, union
from customer360.models.recommenders.lists import Judge, ranked
from customer360.models.recommenders.log import Dense, Flags, Ints, Log
from customer360.models.recommenders.scoring import Family, Scorer
from customer360.platform.errors import ModelError

FAMILIES: tuple[Family, ...] = (
    popular.FAMILY,
    own.FAMILY,
    neighbours.ITEMS,
    neighbours.USERS,
    ease.FAMILY,
    factors.FAMILY,
    content.FAMILY,
)
HORIZON_DAYS = 90.0
HORIZON_SHARE = 0.2  # of the log's span, at most
MIN_ITEMS = 5  # distinct items of a judged user before the split, where enough users have them
ENOUGH_USERS = 200
FEWEST_USERS = 40  # fewer judged users than this, and the split is by user
RANKER_USERS = 200
HELD_BACK = "popularity_28d"
BY_PROPERTIES = frozenset({"content", "two_tower"})  # methods that say something of a product which one user has
RESTRAINTS = (0.05, 0.1, 0.15)  # of the standard deviation of scores; more is paid for in a window to come
RECALL_GIVEN = 0.015  # of plain Recall@20, as a share of it, for lists that show more of the catalogue
ALL = 1.0  # of the candidates that are not relevant
POPULARITY = "popularity"  # the method that every log has, where its family is asked for
BLEND_USERS = 1000  # whose future finds the weights of a sum: a few dozen numbers
LISTED_USERS = 1000  # ranked at once: some hundreds of candidates each, with a few dozen figures
HELD_SHARE, HELD_MOST = 0.2, 5  # of a user's items, where the split is by user

Tell = Callable[[str], None]
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Effort:
    """How much is spent on finding the way: windows that teach and judge it, users who judge each, the best of each
    method that become candidates there, rounds of the ranker (0: a weighted sum alone), and whether methods are tried
    that seldom pay for their time."""

    windows: int
    judged_users: int
    per_method: int
    rounds: int
    with_dear: bool


EFFORTS = {
    "fast": Effort(2, 1000, 30, 0, False),
    # A second window costs a third of the methods' time; deeper candidates of one are worth more.
    "default": Effort(1, 3000, 50, 60, True),
    "best": Effort(2, 3000, PER_METHOD, 120, True),
}


@dataclass(frozen=True)
class Window:
    """A past that is known, and what followed: `found` are candidates of the judged users, `truth` their relevant
    items; `given` are the ranker's inputs, where they were made for more users before."""

    log: Log
    found: Candidates
    truth: sparse.csr_array
    given: Dense | None = None

    @cached_property
    def judge(self) -> Judge:
        return Judge.of(self.found, self.truth, popular.precedence(self.log))

    @cached_property
    def inputs(self) -> Dense:
        """Rows of the ranker."""
        return trees.inputs(self.found, trees.Facts(self.log)) if self.given is None else self.given

    def of_users(self, chosen: Flags, with_inputs: bool) -> "Window":
        """The same of some of its users."""
        given = self.inputs[chosen[self.found.user]] if with_inputs else None
        return Window(self.log, self.found.of_users(chosen), sparse.csr_array(self.truth[chosen]), given)


@dataclass(frozen=True)
class Way:
    """How candidates become a list: by a ranker where that was better, else by a weighted sum. What sells lately is
    held back by `restraint`, in units of the score, so that lists show more of the catalogue (`candidates.Restraint`).
    """

    weights: dict[str, float]
    ranker: trees.Ranker | None = None
    restraint: float = 0.0

    def best(
        self, log: Log, scorers: dict[str, Scorer], users: Ints, mode: Mode, k: int, facts: trees.Facts
    ) -> tuple[Candidates, Dense]:
        """Candidates of some users, the `k` best of each among them, and the score of each."""
        if self.ranker is not None:
            found = union(log, scorers, users, mode, max(k, PER_METHOD))
            score = held_back(self.ranker.score(found, facts), found, self.restraint)
            if mode == "new" and BY_PROPERTIES.isdisjoint(found.names):
                untold = facts.alone[users][found.user]
                score = np.where(untold, np.log1p(popular.fading(log, popular.LATELY))[found.item], score)
            return found, score
        against = Restraint(HELD_BACK, self.restraint) if self.restraint else None
        used = [*self.weights, *([HELD_BACK] if against and HELD_BACK not in self.weights else [])]
        return best_of_blend(log, {name: scorers[name] for name in used}, self.weights, users, mode, k, against)


@dataclass(frozen=True)
class Hybrid:
    """Fitted methods with the way that was chosen; `figures` are Recall@20 and NDCG@10 on the inner window by way and
    by single method.
    """

    log: Log
    mode: Mode
    scorers: dict[str, Scorer]
    way: Way
    name: str
    figures: dict[str, tuple[float, float]]

    def lists(self, users: Ints, k: int) -> tuple[Ints, Ints, Ints, Dense]:
        """User (as asked), item, rank from 1 and score of the k best of each, in order of user and rank."""
        parts, before, facts = [], popular.precedence(self.log), trees.Facts(self.log)
        for block in (users[start : start + LISTED_USERS] for start in range(0, len(users), LISTED_USERS)):
            found, score = self.way.best(self.log, self.scorers, block, self.mode, k, facts)
            rows, rank = ranked(found, score, k, before)
            parts.append((block[found.user[rows]], found.item[rows], rank, score[rows]))
        return tuple(np.concatenate(column) for column in zip(*parts, strict=True))  # type: ignore[return-value]


def fit(
    log: Log,
    mode: Mode,
    tell: Tell,
    horizon: float | None = None,
    families: tuple[Family, ...] = FAMILIES,
    effort: Effort = EFFORTS["default"],
) -> Hybrid:
    """Fit, choose and blend on a log. `tell` gets a line of progress for each method. Raises ModelError for a log of
    which nothing was kept.
    """
    if log.is_empty:
        raise ModelError("nothing to learn from: no interaction was kept before the date")
    horizon = horizon or min(HORIZON_DAYS, max(log.span() * HORIZON_SHARE, 1.0))
    if not effort.with_dear and ease.FAMILY.skip(log) is None:  # its closed form says what factors say, and more
        families = tuple(family for family in families if family is not factors.FAMILY)
    earlier: dict[str, dict[str, Scorer]] = {}
    pasts = splits(log, horizon, mode, tell, effort.windows)
    # Oldest first, for methods go on from what came before; what is judged by has not seen its own future.
    windows = [_window(past, future, mode, tell, families, effort, earlier) for past, future in reversed(pasts)][::-1]
    tell(f"fitting on all {int(log.kept.sum()):,} events before the date")
    scorers = fit_methods(log, mode, tell, families, earlier)
    shared = [name for name in scorers if all(name in window.found.names for window in windows)]
    way, name, figures = choose([_with_methods(window, shared) for window in windows], tell, effort.rounds)
    return Hybrid(log, mode, {name: scorers[name] for name in shared}, way, name, figures)


def fit_methods(
    log: Log,
    mode: Mode,
    tell: Tell,
    families: tuple[Family, ...] = FAMILIES,
    earlier: dict[str, dict[str, Scorer]] | None = None,
) -> dict[str, Scorer]:
    """Every family that suits the log; own purchases are no news in mode `new`. `earlier` holds, by family, what was
    fitted on an earlier part of the log, and goes on from there; what the first part gives is put into it.
    """
    scorers: dict[str, Scorer] = {}
    for family in families:
        if mode == "new" and family is own.FAMILY:
            continue
        reason, start = family.skip(log), perf_counter()
        if reason is None:
            scorers |= _fitted(family, log, {} if earlier is None else earlier)
        tell(f"  {family.name}: " + (f"left out, {reason}" if reason else f"fitted in {perf_counter() - start:.1f} s"))
    return scorers


def _fitted(family: Family, log: Log, earlier: dict[str, dict[str, Scorer]]) -> dict[str, Scorer]:
    if family.go_on is None:
        return family.fit(log)
    if family.name in earlier:
        return family.go_on(log, earlier[family.name])
    earlier[family.name] = family.fit(log)
    return earlier[family.name]


def splits(log: Log, horizon: float, mode: Mode, tell: Tell, most: int = 2) -> list[tuple[Log, sparse.csr_array]]:
    """Pasts and what followed (all users x items), the newest first: up to `most` windows of `horizon` days, or by
    user."""
    found = []
    for number in range(1, most + 1):
        start = log.today - number * horizon
        past = log.before(start)
        future = log.where((log.day >= start) & (log.day < start + horizon), start + horizon).matrix(binary=True)
        future = relevant(past, future, mode)
        judged = len(judged_users(past, future))
        if judged < (FEWEST_USERS if number == 1 else RANKER_USERS) or (number == 2 and past.span() < 2 * horizon):
            break
        found.append((past, future))
    if found:
        tell(f"inner time split: {len(found)} window(s) of {horizon:.0f} days before the date")
        return found
    tell(f"too few users come back within {horizon:.0f} days: the last items of each user are held out instead")
    return [_by_user(log, mode)]


def relevant(past: Log, future: sparse.csr_array, mode: Mode) -> sparse.csr_array:
    """What counts of the future: in mode `new` what the user had never touched."""
    if mode == "new":
        future = sparse.csr_array(future - future.multiply(past.touched()))
        future.eliminate_zeros()
    return future


def judged_users(past: Log, future: sparse.csr_array) -> Ints:
    """Users with something relevant and `MIN_ITEMS` items before; with any where too few have as many."""
    items, wanted = np.diff(past.matrix(binary=True).indptr), np.diff(future.indptr) > 0
    users = np.flatnonzero(wanted & (items >= MIN_ITEMS))
    return users if len(users) >= ENOUGH_USERS else np.flatnonzero(wanted & (items > 0))


def _by_user(log: Log, mode: Mode) -> tuple[Log, sparse.csr_array]:
    """Hold out the newest items of each user who has two; repurchases go with the item in mode `new`."""
    rows = np.flatnonzero(log.kept)
    key = log.user[rows] * log.shape[1] + log.item[rows]
    order = np.lexsort((log.day[rows], key))
    if mode == "new":  # an item is as old as its first event
        order = order[np.diff(key[order], prepend=-1) != 0]
    by_time = order[np.lexsort((log.item[rows][order], log.day[rows][order], log.user[rows][order]))]
    user = log.user[rows][by_time]
    count = np.bincount(user, minlength=log.shape[0])
    from_end = np.cumsum(count)[user] - np.arange(len(user))
    held_count = np.where(count >= 2, np.clip(np.round(count * HELD_SHARE), 1, HELD_MOST), 0)
    held = by_time[from_end <= held_count[user]]
    ones = np.ones(len(held), dtype=np.float32)
    cells = (log.user[rows][held], log.item[rows][held])
    future = sparse.coo_array((ones, cells), shape=log.shape).tocsr()
    future.data[:] = 1.0
    if mode == "new":
        gone = np.isin(log.user * log.shape[1] + log.item, key[held])
    else:
        gone = np.zeros(len(log.day), dtype=np.bool_)
        gone[rows[held]] = True
    return log.where(~gone, log.today), future


def _window(
    past: Log,
    future: sparse.csr_array,
    mode: Mode,
    tell: Tell,
    families: tuple[Family, ...],
    effort: Effort,
    earlier: dict[str, dict[str, Scorer]],
) -> Window:
    users = judged_users(past, future)
    if len(users) > effort.judged_users:
        users = np.sort(np.random.default_rng(0).choice(users, effort.judged_users, replace=False))
    tell(f"methods before day {past.today:.0f}, judged by {len(users):,} users")
    scorers = fit_methods(past, mode, tell, families, earlier)
    found = union(past, scorers, users, mode, effort.per_method)
    return Window(past, found, sparse.csr_array(future[users]))


def choose(
    windows: list[Window], tell: Tell, rounds: int = trees.ROUNDS
) -> tuple[Way, str, dict[str, tuple[float, float]]]:
    """The best way by forward validation, learned anew on all windows. Singles and sums are judged where nothing was
    learned from the judging users. A ranker is tried where it may take any `rounds`.
    """
    judged, names = windows[0], windows[0].found.names
    if len(judged.found.users) < 2:
        only = POPULARITY if POPULARITY in names else names[0]
        tell(f"too few users are left to judge by: {only} alone is listed")
        return Way({only: 1.0}), only, {only: (0.0, 0.0)}
    even = np.arange(len(judged.found.users)) % 2 == 0
    figures: dict[str, tuple[float, float]] = {}
    for column, name in enumerate(names):
        figures[name] = _means(judged.judge, judged.found.parts[:, column])
    ranked_too = bool(rounds) and sum(len(window.found.users) for window in windows) >= RANKER_USERS
    if len(windows) > 1:
        trials = [(windows[1:], judged)]
    else:
        one, other = (judged.of_users(half, ranked_too) for half in (even, ~even))
        trials = [([one], other), ([other], one)]
    sums = [blended(taught) for taught, _ in trials]
    orders: dict[str, list[tuple[Window, Dense]]] = {kind: [] for kind in ("blend", "ranker")[: 1 + ranked_too]}
    for (taught, judging), weights in zip(trials, sums, strict=True):
        orders["blend"].append((judging, blend.combined(judging.found, weights)))
        if ranked_too:
            orders["ranker"].append((judging, ranker(taught, rounds).order(judging.inputs)))
    figures |= {kind: _figures(judging, 0.0) for kind, judging in orders.items()}
    for name, (recall, ndcg) in sorted(figures.items(), key=lambda pair: -sum(pair[1])):
        tell(f"  inner Recall@20 {recall:.4f}  NDCG@10 {ndcg:.4f}  {name}")
    best = max(figures, key=lambda name: sum(figures[name]))
    way = Way({best: 1.0})
    if best in ("blend", "ranker"):
        way = _learned(windows, ranker(windows, rounds, ALL) if best == "ranker" else None, orders[best], tell)
    shown = ", ".join(f"{name} {weight:.2f}" for name, weight in sorted(way.weights.items(), key=lambda p: -p[1]))
    tell(f"chosen: {best} ({shown})")
    return way, best, figures


def _learned(windows: list[Window], fitted: trees.Ranker | None, judged: list[tuple[Window, Dense]], tell: Tell) -> Way:
    """The way of a kind from all windows, what sells lately held back as far as that kind could afford it."""
    share, weights = restraint(judged, tell), blended(windows)
    scores = [
        blend.combined(window.found, weights) if fitted is None else fitted.order(window.inputs) for window in windows
    ]
    return Way(weights, fitted, round(share * float(np.concatenate(scores).std()), 6))


def restraint(judged: list[tuple[Window, Dense]], tell: Tell) -> float:
    """How far what sells lately can be held back, in standard deviations of the scores: the most of `RESTRAINTS` that
    costs no more than `RECALL_GIVEN` of Recall@20 and nothing of the sum with NDCG@10 beyond it. Lists of most users
    hold the same few best sellers, which they would meet anyhow. Nothing where no method tells what sells lately.
    """
    if any(HELD_BACK not in window.found.names for window, _ in judged):
        return 0.0
    plain = shown = _figures(judged, 0.0)
    given, kept = RECALL_GIVEN * plain[0], 0.0
    for share in RESTRAINTS:
        tried = _figures(judged, share)
        if tried[0] < plain[0] - given or sum(tried) < sum(plain) - given:
            break
        kept, shown = share, tried
    if kept:
        tell(f"  best sellers held back by {kept:g}: inner Recall@20 {plain[0]:.4f} becomes {shown[0]:.4f}")
    return kept


def _figures(judged: list[tuple[Window, Dense]], share: float) -> tuple[float, float]:
    """Recall@20 and NDCG@10 of scores with best sellers held back by a share of their standard deviation."""
    amount = share * float(np.concatenate([score for _, score in judged]).std()) if share else 0.0
    values = [window.judge.by_user(held_back(score, window.found, amount)) for window, score in judged]
    recall, ndcg = (float(np.concatenate(column).mean()) for column in zip(*values, strict=True))
    return recall, ndcg


def held_back(score: Dense, found: Candidates, amount: float) -> Dense:
    """Scores with what their items sell lately held against them, among the candidates of each user."""
    if not amount or not len(score):
        return score
    said = found.parts[:, found.names.index(HELD_BACK)]
    starts = np.flatnonzero(np.diff(found.user, prepend=-1))
    said_least, least = (
        np.repeat(np.minimum.reduceat(of, starts), np.diff([*starts, len(of)])) for of in (said, score)
    )
    return Restraint(HELD_BACK, amount).against(score, said - said_least, least)


def blended(windows: list[Window]) -> dict[str, float]:
    """Weights of a sum, from at most `BLEND_USERS` of the users of some windows."""
    pooled = _pooled([window.found for window in windows])
    truth = sparse.csr_array(sparse.vstack([window.truth for window in windows]))
    every = -(-len(pooled.users) // BLEND_USERS)
    if every > 1:
        chosen = np.arange(len(pooled.users)) % every == 0
        pooled, truth = pooled.of_users(chosen), sparse.csr_array(truth[chosen])
    return blend.learn(pooled, Judge.of(pooled, truth, popular.precedence(windows[0].log)))


def ranker(windows: list[Window], rounds: int, irrelevant_share: float = trees.IRRELEVANT_SHARE) -> trees.Ranker:
    """A ranker from all users of some windows."""
    firsts = np.cumsum([0, *(len(window.found.users) for window in windows)])
    return trees.fit(
        np.concatenate([window.inputs for window in windows]),
        np.concatenate([window.judge.hit for window in windows]),
        np.concatenate([window.found.user + first for window, first in zip(windows, firsts, strict=False)]),
        rounds,
        irrelevant_share,
    )


def _pooled(found: list[Candidates]) -> Candidates:
    firsts = np.cumsum([0, *(len(f.users) for f in found)])
    return Candidates(
        np.concatenate([f.users for f in found]),
        np.concatenate([f.user + first for f, first in zip(found, firsts, strict=False)]),
        np.concatenate([f.item for f in found]),
        np.concatenate([f.parts for f in found]),
        found[0].names,
    )


def _with_methods(window: Window, names: list[str]) -> Window:
    columns = [window.found.names.index(name) for name in names]
    found = window.found
    kept = Candidates(found.users, found.user, found.item, np.ascontiguousarray(found.parts[:, columns]), tuple(names))
    return Window(window.log, kept, window.truth)


def _means(judge: Judge, score: Dense) -> tuple[float, float]:
    recall, ndcg = judge.by_user(score)
    return float(recall.mean()), float(ndcg.mean())
