"""Two rankers in one list: whose items are taken? Team draft (Radlinski, Kurup and Joachims 2008).

Both pick in turn their best item that is not yet in the list; who picks first in a round is tossed by the hash of
`assignment`, so that the list can be made again. What a subject takes is credited to the team that picked it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from customer360.serve.activation.experiments.assignment import place
from customer360.serve.activation.experiments.effects import Effect, NoEffect


def team_draft(lists: Mapping[str, Sequence[str]], k: int, salt: str, subject: str) -> list[tuple[str, str]]:
    """At most ``k`` items with the team that picked each; ``lists`` are the rankings of two teams, best first.

    Where one list ends, the other goes on alone, so the teams of a list differ by at most one item only before that.
    """
    one, other = lists
    drafted: list[tuple[str, str]] = []
    taken: set[str] = set()
    turn = 0
    while len(drafted) < k:
        first = one if place(f"{salt}/toss/{turn}", subject) < 0.5 else other
        turn, before = turn + 1, len(drafted)
        for team in (first, other if first == one else one):
            item = next((i for i in lists[team] if i not in taken), None)
            if item is not None and len(drafted) < k:
                drafted.append((item, team))
                taken.add(item)
        if len(drafted) == before:
            break
    return drafted


def preference(control: np.ndarray, treatment: np.ndarray) -> Effect:
    """How much likelier a subject prefers the treatment's items than the control's: its wins less its losses, over
    subjects who took anything, in [-1, 1] (float64 credits [subjects] of each team).

    Raises:
        NoEffect: fewer than two subjects took anything, or all prefer the same team.
    """
    took = (control + treatment) > 0
    sides = np.sign(treatment[took] - control[took])
    if len(sides) < 2 or not sides.std() > 0:
        raise NoEffect("too few subjects took anything of the lists, or all of them prefer one team")
    return Effect(float(sides.mean()), float(sides.std(ddof=1) / np.sqrt(len(sides))), len(sides) - 1.0, len(sides))
