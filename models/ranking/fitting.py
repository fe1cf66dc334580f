"""A choice model of lists: of the products of a list each is taken with the chance that its utility gives it.

The utility is linear: weights of the product's category and numbers, the same again for each value of a context, laid
over each other, weights of the candidate's shares, and what its position adds. Context changes which properties count;
what is the same for all products of a list cancels out. Position is learnt, so that the other weights do not have to
explain it, and left out where an order is made (Haldar et al., 2020; Zhao et al., 2019): all products stand at one
place then. Weights are fitted by maximum likelihood with a Gaussian prior, in SciPy's L-BFGS.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy import sparse

from customer360.models.ranking.features import NUMBERS, SHARES, Dense, Examples, Ints

POSITIONS = 20  # beyond, all count alike
ITERATIONS = 200
MOST_CATEGORIES = 200  # that have weights; others count as unknown


@dataclass(frozen=True)
class Weights:
    """`base` and each value of `contexts` (by column of a moment, then value) weigh the properties of a product: its
    category, in the order of `categories`, then NUMBERS, standardised by `centre` and `spread`. `shares` weighs SHARES,
    `position` adds by place from 0."""

    categories: tuple[str, ...]
    centre: Dense
    spread: Dense
    base: Dense
    contexts: Mapping[str, Mapping[str, Dense]]
    shares: Dense
    position: Dense

    def codes(self, category: pl.Series) -> Ints:
        """The number of each category; that behind the last where it is none of them."""
        number = {name: at for at, name in enumerate(self.categories)}
        found = category.replace_strict(number, default=len(number), return_dtype=pl.Int64)
        return found.fill_null(len(number)).to_numpy()

    def standard(self, numbers: Dense) -> Dense:
        """Numbers as they are weighed; what is not known counts as the mean."""
        return np.nan_to_num((numbers - self.centre) / self.spread)

    def at(self, moment: Mapping[str, str | None]) -> Dense:
        """What the properties of a product weigh at a moment, without `base`; an unknown value adds nothing."""
        total = np.zeros(len(self.base))
        for column, values in self.contexts.items():
            if (value := moment.get(column)) is not None and (weights := values.get(value)) is not None:
                total += weights
        return total

    def of_lists(self, lists: pl.DataFrame) -> Dense:
        """What properties weigh in each list, `base` included: [lists, properties]."""
        total = np.repeat(self.base[None, :], lists.height, axis=0)
        for column, values in self.contexts.items():
            table = np.array([*values.values(), np.zeros(len(self.base))])
            total += table[_codes(lists[column], tuple(values))]
        return total

    def utility(self, found: Examples) -> Dense:
        """Of each product, its position left out."""
        weighed = self.of_lists(found.lists)
        code, numbers = self.codes(found.category), self.standard(found.numbers)
        return _utility(weighed, found, code, numbers) + found.shares @ self.shares


def _codes(column: pl.Series, values: tuple[str, ...]) -> Ints:
    number = {value: at for at, value in enumerate(values)}
    found = column.cast(pl.String).replace_strict(number, default=len(number), return_dtype=pl.Int64)
    return found.fill_null(len(number)).to_numpy()


def _utility(weighed: Dense, found: Examples, code: Ints, numbers: Dense) -> Dense:
    """By the weights of each list; a category that is none of the known ones weighs nothing."""
    known = weighed.shape[1] - len(NUMBERS)
    padded = np.hstack([weighed[:, :known], np.zeros((len(weighed), 1))])
    by_number = np.einsum("ij,ij->i", weighed[found.group, known:], numbers)
    return np.asarray(padded[found.group, code] + by_number)


def fit(
    found: Examples, columns: tuple[str, ...], *, shrinkage: float, bought_weight: float, least_lists: int, uses_activity: bool  # noqa: E501
) -> Weights:  # fmt: skip
    """Learn from lists. ``columns``: of MOMENTS, those that may count; a value needs ``least_lists`` lists to have
    weights of its own. What was bought counts 1 + ``bought_weight`` clicks."""
    from scipy import optimize  # a quarter of a second to import: all commands declare models, few fit one

    counted = found.category.drop_nulls().value_counts().sort("count", "category", descending=[True, False])
    categories = tuple(sorted(counted["category"].head(MOST_CATEGORIES).to_list()))
    numbers = found.numbers
    known = ~np.isnan(numbers)
    count = np.maximum(known.sum(axis=0), 1)
    centre = np.where(known, numbers, 0).sum(axis=0) / count
    spread = np.sqrt(np.where(known, (numbers - centre) ** 2, 0).sum(axis=0) / count)
    spread[spread < 1e-9] = 1.0
    size = len(categories) + len(NUMBERS)
    values = {column: _values(found.lists[column], least_lists) for column in columns}
    empty = Weights(categories, centre, spread, np.zeros(size), {}, np.zeros(len(SHARES)), np.zeros(POSITIONS + 1))
    problem = _Problem.of(found, empty, values, bought_weight, shrinkage, uses_activity)
    best = optimize.minimize(
        problem.loss, np.zeros(problem.size), jac=True, method="L-BFGS-B", options={"maxiter": ITERATIONS}
    ).x
    base, tables, shares, position = problem.parts(best)
    contexts = {c: dict(zip(values[c], table, strict=True)) for c, table in zip(columns, tables, strict=True)}
    return Weights(categories, centre, spread, base, contexts, shares, position)


def _values(column: pl.Series, least: int) -> tuple[str, ...]:
    counts = column.drop_nulls().cast(pl.String).value_counts().filter(pl.col("count") >= least)
    return tuple(counts[column.name].sort().to_list())


@dataclass(frozen=True)
class _Problem:
    """Minus the log likelihood with the prior, as a function of all weights in a row, and its gradient."""

    found: Examples
    code: Ints
    numbers: Dense
    worth: Dense  # of each product: how often it was taken, as it counts
    starts: Ints
    lists_of: tuple[sparse.csr_array, ...]  # by context: [values, lists]
    properties: int
    shrinkage: float
    uses: NDArray[np.float64]  # of SHARES

    @staticmethod
    def of(
        found: Examples, shape: Weights, values: Mapping[str, tuple[str, ...]], bought: float, shrinkage: float,
        uses_activity: bool,
    ) -> _Problem:  # fmt: skip
        lists_of = []
        for column, kept in values.items():
            code = _codes(found.lists[column], kept)
            hits = np.flatnonzero(code < len(kept))
            cells = (np.ones(len(hits)), (code[hits], hits))
            lists_of.append(sparse.coo_array(cells, shape=(len(kept), found.count)).tocsr())
        uses = np.ones(len(SHARES))
        uses[SHARES.index("activity")] = float(uses_activity)
        worth = found.relevant * 1.0 + bought * found.bought
        starts = np.flatnonzero(np.diff(found.group, prepend=-1))
        return _Problem(
            found, shape.codes(found.category), shape.standard(found.numbers), worth, starts, tuple(lists_of),
            len(shape.base), shrinkage, uses,
        )  # fmt: skip

    @property
    def size(self) -> int:
        values = sum(each.shape[0] for each in self.lists_of)
        return self.properties * (1 + values) + len(SHARES) + POSITIONS + 1

    def parts(self, weights: Dense) -> tuple[Dense, list[Dense], Dense, Dense]:
        """Base, a table for each context, shares, and positions (the first is the measure of the others)."""
        sizes = [self.properties, *(self.properties * each.shape[0] for each in self.lists_of), len(SHARES)]
        base, *tables, shares, position = np.split(weights, np.cumsum(sizes))
        return base, [t.reshape(-1, self.properties) for t in tables], shares * self.uses, position - position[0]

    def loss(self, weights: Dense) -> tuple[float, Dense]:
        found, count = self.found, self.found.count
        base, tables, shares, position = self.parts(weights)
        weighed = np.repeat(base[None, :], count, axis=0)
        for each, table in zip(self.lists_of, tables, strict=True):
            weighed += each.T @ table
        place = np.minimum(found.position, POSITIONS)
        utility = _utility(weighed, found, self.code, self.numbers) + found.shares @ shares
        utility += np.where(place >= 0, position[place], 0.0)
        utility -= np.maximum.reduceat(utility, self.starts)[found.group]
        chance = np.exp(utility)
        total = np.add.reduceat(chance, self.starts)
        taken = np.add.reduceat(self.worth, self.starts)
        value = float(taken @ np.log(total) - self.worth @ utility)
        excess = taken[found.group] * chance / total[found.group] - self.worth
        prior = np.full(len(weights), 1.0)
        first = self.properties
        prior[first : first + sum(t.size for t in tables)] = self.shrinkage
        return value + 0.5 * float(prior @ weights**2), self._gradient(excess, place, tables) + prior * weights

    def _gradient(self, excess: Dense, place: Ints, tables: list[Dense]) -> Dense:
        found, count, known = self.found, self.found.count, self.properties - len(NUMBERS)
        by_list = np.zeros((count, self.properties))
        cells = np.bincount(found.group * (known + 1) + self.code, excess, count * (known + 1))
        by_list[:, :known] = cells.reshape(count, known + 1)[:, :known]
        for number in range(len(NUMBERS)):
            by_list[:, known + number] = np.bincount(found.group, excess * self.numbers[:, number], count)
        by_place = np.bincount(place[place >= 0], excess[place >= 0], POSITIONS + 1)
        by_place[0] -= by_place.sum()  # the first place is the measure: what it adds is taken from the others
        parts = [by_list.sum(axis=0), *((each @ by_list).ravel() for each in self.lists_of)]
        return np.concatenate([*parts, (excess @ found.shares) * self.uses, by_place])
