"""What the command tells Polars' allocator before Polars is there to read it."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SAID = "import os, customer360.serve.cli; print(os.environ['_RJEM_MALLOC_CONF'])"


@pytest.mark.parametrize("chosen", [None, "dirty_decay_ms:0"])
def test_freed_memory_is_kept_for_a_while_unless_somebody_chose_otherwise(chosen: str | None) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "_RJEM_MALLOC_CONF"}
    if chosen:
        environment["_RJEM_MALLOC_CONF"] = chosen
    done = subprocess.run([sys.executable, "-c", SAID], env=environment, capture_output=True, text=True, check=True)
    # Polars puts its own before; the last one holds.
    assert done.stdout.strip().endswith(chosen or "dirty_decay_ms:20000,muzzy_decay_ms:20000")


def test_nothing_imports_polars_before_the_allocator_is_told() -> None:
    looked = "import sys, customer360.serve; print('polars' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", looked], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.skipif(sys.platform != "linux", reason="threads are looked up in /proc")
def test_nothing_that_is_imported_asks_polars_a_query() -> None:
    """A process that was forked after Polars started its threads waits for them without end."""
    looked = (
        "import customer360.serve.cli, pathlib; print(sorted(p.read_text().strip()"
        " for p in pathlib.Path('/proc/self/task').glob('*/comm')))"
    )
    done = subprocess.run([sys.executable, "-c", looked], capture_output=True, text=True, check=True)
    assert "polars-0" not in done.stdout
