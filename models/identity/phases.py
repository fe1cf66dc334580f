"""How long each phase of a resolution took."""

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter


@contextmanager
def timed(seconds: dict[str, float], phase: str) -> Iterator[None]:
    """Add the wall time of the block to `seconds` under `phase`."""
    start = perf_counter()
    yield
    seconds[phase] = perf_counter() - start
