"""Misspelled mail domains: what is one typing error away from a provider that many people use, and is none itself."""

import string
from functools import lru_cache

_LETTERS = string.ascii_lowercase + string.digits + ".-"
# Below this length one letter makes another real domain too easily (gmx.de, web.de).
_SHORTEST = 8


@lru_cache(maxsize=4)
def misspelled_domains(providers: tuple[str, ...]) -> dict[str, str]:
    """Misspelling -> provider, for one letter more, less, other, or two letters exchanged. What two providers could
    have been is left out."""
    found: dict[str, set[str]] = {}
    for provider in providers:
        if len(provider) >= _SHORTEST:
            for wrong in _one_error(provider):
                found.setdefault(wrong, set()).add(provider)
    return {wrong: meant.pop() for wrong, meant in found.items() if len(meant) == 1 and wrong not in providers}


def _one_error(word: str) -> set[str]:
    cuts = [(word[:place], word[place:]) for place in range(len(word) + 1)]
    less = {left + right[1:] for left, right in cuts if right}
    turned = {left + right[1] + right[0] + right[2:] for left, right in cuts if len(right) > 1}
    other = {left + letter + right[1:] for left, right in cuts if right for letter in _LETTERS}
    more = {left + letter + right for left, right in cuts for letter in _LETTERS}
    return less | turned | other | more
