"""Workbooks opened in a process of their own first, where their size does not tell what the parser takes for them.

A cell that is written once and repeated a million times, or a long text that a million cells refer to, makes gigabytes
of a file of one kilobyte; where the parser gets no memory it ends the process that it runs in.
"""

from __future__ import annotations

import os
import subprocess
import sys

_SECONDS = 600  # of CPU, after which a workbook counts as one that cannot be opened
_OPEN = """
import io, resource, sys
from python_calamine import CalamineWorkbook
data = sys.stdin.buffer.read()
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[2]),) * 2)
resource.setrlimit(resource.RLIMIT_AS, (int(sys.argv[1]),) * 2)
try:
    book = CalamineWorkbook.from_filelike(io.BytesIO(data))
    for name in book.sheet_names:
        book.get_sheet_by_name(name)
except MemoryError:
    sys.exit(1)
except Exception:  # which the reader meets, too, and says
    pass
except BaseException as fault:
    if type(fault).__name__ != "PanicException":
        raise
"""


def fits(data: bytes, most_bytes: int) -> bool:
    """Whether the parser opens every sheet of a workbook, or says why it does not, with so much memory."""
    command = [sys.executable, "-I", "-c", _OPEN, str(most_bytes), str(_SECONDS)]
    quiet = os.environ | {"RUST_BACKTRACE": "0"}
    tried = subprocess.run(command, input=data, capture_output=True, env=quiet, check=False)
    return tried.returncode == 0


__all__ = ["fits"]
