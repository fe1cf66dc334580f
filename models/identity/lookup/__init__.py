"""Who is this? One record against the index of all records, within a request.

The answer is that of the next batch as far as a look-up can tell: the same features, keys, model and rules, applied to
the one record. It changes nothing; the record itself reaches the registry with the batch that brings it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from customer360.models.identity.evidence.features import IDENTIFIER_PREFIX
from customer360.models.identity.lookup.index import IdentityIndex
from customer360.models.identity.stitching import different_numbers, shared_number
from customer360.models.identity.verdicts.decide import veto_query

if TYPE_CHECKING:
    from customer360.models.identity.lookup.from_sql import Evaluate
    from customer360.models.identity.lookup.scorer import Evidence, Score

Verdict = Literal["accepted", "vetoed", "possible"]


@dataclass(frozen=True)
class Candidate:
    """A person that the record may belong to, with the strongest of its records: ``weight`` in bits of match weight.
    ``reason``: of a veto, or the verified number that both records carry."""

    person_id: str
    record_id: str
    weight: float
    probability: float
    verdict: Verdict
    reason: str | None
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True)
class Answer:
    """``entity``: one person; ``new``: nobody; ``ambiguous``: several persons, or one that the evidence does not
    settle. Candidates come strongest first."""

    kind: Literal["entity", "new", "ambiguous"]
    person_id: str | None
    candidates: tuple[Candidate, ...]


def look_up(
    index: IdentityIndex, record: Mapping[str, Any], knows: Callable[[str], bool] = lambda person_id: True
) -> Answer:
    """Resolve one record: any of `standardize.RAW_COLUMNS` and of the verified numbers of `rules.stitching`, as its
    source writes them. Persons whom the publication no longer ``knows`` are nobody: they were erased after the index
    was written. Raises RecordError."""
    rules = index.rules
    row = index.evidence(record)
    best: dict[str, Candidate] = {}
    others = [other for other in index.candidates(row) if knows(other["person_id"])]
    for other in others:
        link = shared_number(row, other, others, rules.stitching)
        candidate = _judge(index, row, other, link)
        held = best.get(candidate.person_id)
        is_told = link or candidate.weight >= rules.decision.audit_weight
        if is_told and (held is None or _rank(candidate) > _rank(held)):
            best[candidate.person_id] = candidate
    return _answer(sorted(best.values(), key=_rank, reverse=True))


def _judge(index: IdentityIndex, row: Mapping[str, Any], other: Mapping[str, Any], link: str | None) -> Candidate:
    score: Score = index.scorer(row, other)
    decision = index.rules.decision
    reason = None
    if link or score.weight >= decision.audit_weight:
        reason, is_proof = vetoes(index).judge(row, other)
        link = None if reason and is_proof else link
        reason = reason or different_numbers(row, other)
    accepted = link or score.weight >= decision.accepts_from
    verdict: Verdict = "accepted" if link else "vetoed" if reason else "accepted" if accepted else "possible"
    reason = link or reason
    return Candidate(
        other["person_id"], other["record_id"], score.weight, score.probability, verdict, reason, score.evidence
    )


def _is_linked(candidate: Candidate) -> bool:
    """Whether a verified number leads to the person."""
    return candidate.verdict == "accepted" and candidate.reason is not None


def _rank(candidate: Candidate) -> tuple[bool, bool, float, str]:
    return _is_linked(candidate), candidate.verdict == "accepted", candidate.weight, candidate.person_id


def _answer(candidates: list[Candidate]) -> Answer:
    accepted = [c for c in candidates if _is_linked(c)] or [c for c in candidates if c.verdict == "accepted"]
    if len(accepted) == 1:
        return Answer("entity", accepted[0].person_id, tuple(candidates))
    is_open = accepted or any(c.verdict == "possible" and c.weight > 0 for c in candidates)
    return Answer("ambiguous" if is_open else "new", None, tuple(candidates))


class Vetoes:
    """The cannot-link rules of `decide`, compiled from its SQL: the reason why two rows are not one person, or None."""

    def __init__(self, query: str) -> None:
        import sqlglot  # here and not above: runs write the index and need no parser of SQL
        from sqlglot import exp

        from customer360.models.identity.lookup.from_sql import compile_condition

        parsed = sqlglot.parse_one(query, read="duckdb")
        self._steps: list[tuple[str, Evaluate]] = []
        for cte in parsed.find_all(exp.CTE):
            for column in cte.this.expressions:
                if isinstance(column, exp.Alias):
                    self._steps.append((column.alias, compile_condition(column.this.sql("duckdb"))))

    def __call__(self, left: Mapping[str, Any], right: Mapping[str, Any]) -> str | None:
        return self.judge(left, right)[0]

    def judge(self, left: Mapping[str, Any], right: Mapping[str, Any]) -> tuple[str | None, bool]:
        """The reason and whether it is proof."""
        row = {f"l.{name}": value for name, value in left.items()}
        row |= {f"r.{name}": value for name, value in right.items()}
        for name, evaluate in self._steps:
            row[name] = evaluate(row)
        return row["reason"], bool(row["is_proof"])


@lru_cache(4)
def _compiled(query: str) -> Vetoes:
    return Vetoes(query)


def vetoes(index: IdentityIndex) -> Vetoes:
    """The rules that are in force for the index's records."""
    identifiers = tuple(IDENTIFIER_PREFIX + name for name in index.identifiers)
    return _compiled(veto_query(index.rules.decision, identifiers, index.model.idle_vetoes))
