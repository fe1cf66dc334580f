"""First stage: candidates from several sources, each a list with the best first, laid over each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from customer360.models.ranking.features import lately_seen, shares_of
from customer360.serve.publication.vectors import Vectors
from customer360.serve.realtime.ranking.asking import Asked
from customer360.serve.realtime.ranking.catalogue import NO_CATEGORY, UNKNOWN, Catalogue, Flags, Ints

PER_SOURCE, PER_SOURCE_READ = 60, 240  # candidates of a source that may be shown; as many are looked at for them
FEW = 8192  # numbers that BLAS multiplies without a second thread
AMONG = 3  # times as many of the nearest as are wanted are looked at for those that are allowed
SEED_HALF_LIFE = 3.0  # products of a session until one counts half
EPOCH_DAYS = 719_163  # ordinal of 1970-01-01

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Listed:
    """Products of a source, each once, the best first; for some sources the product that led to each; and their places
    in the catalogue, where they are known already."""

    products: Sequence[str]
    seeds: Sequence[str] | None = None
    places: Ints | None = None


@dataclass(frozen=True)
class Slate:
    """The candidates of a decision and everything that the later stages look at. Numbers are places in `products`;
    `sources`: a source's candidates in its order; `drops`: by reason, the first that fits holds; `values`: by feature.
    """

    products: tuple[str, ...]
    category: tuple[str | None, ...]
    sources: Mapping[str, Ints]
    seeds: Mapping[str, tuple[str, ...]]  # in the order of the source
    values: Mapping[str, Values] = field(default_factory=dict)
    drops: Mapping[str, Ints] = field(default_factory=dict)
    pins: tuple[tuple[str, int, Ints], ...] = ()
    boosts: tuple[tuple[str, float, Ints], ...] = ()
    buried: tuple[tuple[str, Ints], ...] = ()
    places: Ints | None = None  # of the products in the catalogue they were found in; not kept
    code: Ints | None = None  # number of each category, by which equal ones are told; not kept

    @cached_property
    def number(self) -> Mapping[str, int]:
        """Candidates by product."""
        return dict(zip(self.products, range(len(self.products)), strict=True))

    @cached_property
    def may(self) -> Flags:
        """Which candidates no reason drops."""
        flags = np.ones(len(self.products), dtype=np.bool_)
        for found in self.drops.values():
            flags[found] = False
        return flags

    @cached_property
    def codes(self) -> Ints:
        """A number of each candidate's category, `NO_CATEGORY` where it is not known."""
        if self.code is not None:
            return self.code
        numbers: dict[str | None, int] = {None: NO_CATEGORY}
        return _ints([numbers.setdefault(name, len(numbers)) for name in self.category])

    def record(self) -> dict[str, Any]:
        """As JSON holds it, but for lists of numbers, which orjson writes as they are; features that are nought
        everywhere are left out."""
        names = list(dict.fromkeys(self.category))
        number = {name: i for i, name in enumerate(names)}
        return {
            "products": self.products,
            "categories": names,
            "category": [number[c] for c in self.category],
            "sources": self.sources,
            "seeds": self.seeds,
            "values": {name: found for name, found in self.values.items() if np.count_nonzero(found)},
            "drops": self.drops,
            "pins": self.pins,
            "boosts": self.boosts,
            "buried": self.buried,
        }

    @staticmethod
    def of_record(kept: dict[str, Any]) -> Slate:
        names: list[str | None] = kept["categories"]
        return Slate(
            tuple(kept["products"]),
            tuple(names[c] for c in kept["category"]),
            {name: _ints(found) for name, found in kept["sources"].items()},
            {name: tuple(found) for name, found in kept["seeds"].items()},
            {name: np.array(found, dtype=np.float64) for name, found in kept["values"].items()},
            {name: _ints(found) for name, found in kept["drops"].items()},
            tuple((name, at, _ints(found)) for name, at, found in kept["pins"]),
            tuple((name, by, _ints(found)) for name, by, found in kept["boosts"]),
            tuple((name, _ints(found)) for name, found in kept["buried"]),
        )


def _ints(found: Sequence[int]) -> Ints:
    return np.array(found, dtype=np.int64)


def slate(
    lists: Mapping[str, Listed], catalogue: Catalogue, asked: Asked, interests: Mapping[str, float], allowed: Flags
) -> Slate:
    """The candidates of all lists with their features. Of a source as many are taken as give `PER_SOURCE` that are
    ``allowed`` (by place of the catalogue); a given list is taken whole."""
    found = {name: _taken(name, listed, catalogue, allowed) for name, listed in lists.items()}
    found = {name: (taken, at) for name, (taken, at) in found.items() if len(taken)}
    seeds = {name: tuple(of[: len(found[name][0])]) for name in found if (of := lists[name].seeds) is not None}
    products, places, sources = _numbered(found, catalogue)
    code = catalogue.code[places]
    values = {
        "interest": _shares(code, interests, catalogue),
        "activity": _shares(code, _session_categories(asked, catalogue), catalogue),
        "margin": catalogue.margin[places],
        "fresh": catalogue.fresh[places],
    }
    category = tuple(catalogue.category[places].tolist())
    return Slate(products, category, sources, seeds, values, places=places, code=code)


def _taken(name: str, listed: Listed, catalogue: Catalogue, allowed: Flags) -> tuple[Sequence[str], Ints]:
    """The beginning of a list that holds as many allowed products as are wanted, and their places."""
    taken = listed.products if name == "given" else listed.products[:PER_SOURCE_READ]
    places = catalogue.places(taken) if listed.places is None else listed.places[: len(taken)]
    if name == "given" or len(taken) <= PER_SOURCE:
        return taken, places
    enough = int(allowed[places].cumsum().searchsorted(PER_SOURCE)) + 1
    return taken[:enough], places[:enough]


def _numbered(
    found: Mapping[str, tuple[Sequence[str], Ints]], catalogue: Catalogue
) -> tuple[tuple[str, ...], Ints, dict[str, Ints]]:
    """Products of all lists, each once, in the order in which they are met; their places; the numbers of each list."""
    if not found:
        return (), _ints([]), {}
    places = np.concatenate([at for _, at in found.values()])
    if np.count_nonzero(places == UNKNOWN):  # of which only the name is known
        number: dict[str, int] = {}
        sources = {
            name: _ints([number.setdefault(product, len(number)) for product in taken])
            for name, (taken, _) in found.items()
        }
        return tuple(number), catalogue.places(number), sources
    first = catalogue.first_of(places)
    is_new = first == np.arange(len(places))
    numbers = (is_new.cumsum() - 1)[first]
    sources, end = dict[str, Ints](), 0
    for name, (_, at) in found.items():
        sources[name] = numbers[end : end + len(at)]
        end += len(at)
    mine = places[is_new]
    return tuple(catalogue.names[mine].tolist()), mine, sources


def _shares(code: Ints, of: Mapping[str, float], catalogue: Catalogue) -> Values:
    """What is said of each candidate's category; nought where its category is not known, or nothing is said of it."""
    said = {number: share for name, share in of.items() if (number := catalogue.codes.get(name)) is not None}
    if not said:
        return np.zeros(len(code))
    by_code = np.zeros(len(catalogue.codes) + 1)
    by_code[list(said)] = list(said.values())
    return by_code[code]


def _session_categories(asked: Asked, catalogue: Catalogue) -> dict[str, float]:
    """Share of the products that were just touched, by category."""
    if not asked.is_personal:
        return {}
    touched = lately_seen((*asked.session.viewed, *asked.session.cart))
    return shares_of(catalogue.category[catalogue.places(touched)].tolist()) if touched else {}


def interleaved(by_seed: Mapping[str, Sequence[str]]) -> Listed:
    """One list of what goes with several products: the best of each, then the second of each."""
    rows = zip_longest(*([(p, seed) for p in found] for seed, found in by_seed.items()))
    first: dict[str, str] = {}
    for product, seed in (pair for row in rows for pair in row if pair is not None):
        first.setdefault(product, seed)
    return Listed(list(first), list(first.values()))


@dataclass(frozen=True)
class Nearest:
    """Vectors laid over a catalogue: a row of the vectors, and its place."""

    vectors: Vectors
    place: Ints
    row: Mapping[str, int]

    @staticmethod
    def of(vectors: Vectors, catalogue: Catalogue) -> Nearest:
        rows = {product: row for row, product in enumerate(vectors.products)}
        return Nearest(vectors, catalogue.places(vectors.products), rows)

    def query(self, session: Sequence[str], bought: Sequence[str], ages: Sequence[float]) -> NDArray[np.float32] | None:
        """The vector of who touched these products just now (newest first) and bought others some days ago; None where
        the vectors know none of them."""
        weights = [(p, 0.5 ** (i / SEED_HALF_LIFE)) for i, p in enumerate(session)]
        weights += [(p, 0.5 ** (age / self.vectors.half_life_days)) for p, age in zip(bought, ages, strict=True)]
        known = [(self.row[p], weight) for p, weight in weights if p in self.row]
        if not known:
            return None
        rows, weight = np.array([r for r, _ in known]), np.array([w for _, w in known], dtype=np.float32)
        found = weight @ self.vectors.hidden[rows]
        length = np.linalg.norm(found)
        return (found / length).astype(np.float32) if length > 0 else None

    def search(self, query: NDArray[np.float32], allowed: Flags, k: int) -> Listed:
        """The k nearest products among those that are allowed; equal ones by row."""
        score = products_of(self.vectors.items, query)
        score += self.vectors.bias
        best = top(score, k * AMONG)
        best = best[allowed[self.place[best]]]
        if len(best) < k:
            score[~allowed[self.place]] = -np.inf
            best = top(score, k)
            best = best[score[best] > -np.inf]
        best = best[:k]
        return Listed([self.vectors.products[row] for row in best.tolist()], places=self.place[best])


def products_of(rows: NDArray[np.float32], query: NDArray[np.float32]) -> NDArray[np.float32]:
    """The product of each row with a vector, in this thread: of all rows at once BLAS makes work for several, which
    wait for each other on cores that others use; of a few thousand numbers it does not."""
    count, width = rows.shape
    block = max(FEW // width, 1)
    whole = count - count % block
    score = np.empty(count, dtype=np.float32)
    np.matmul(rows[:whole].reshape(-1, block, width), query, out=score[:whole].reshape(-1, block))
    np.matmul(rows[whole:], query, out=score[whole:])
    return score


def top(score: NDArray[np.float32], k: int) -> Ints:
    """Places of the k largest values, the largest first, equal ones by place."""
    count = len(score)
    near = np.arange(count) if count <= k else np.flatnonzero(score >= np.partition(score, count - k)[count - k])
    return near[np.lexsort((near, -score[near]))[:k]]
