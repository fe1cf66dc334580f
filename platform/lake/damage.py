"""What a damaged, cut or missing file raises when it is read, whichever library meets it."""

from __future__ import annotations

import polars as pl
import pyarrow as pa
from deltalake.exceptions import DeltaError

UNREADABLE = (OSError, EOFError, UnicodeError, DeltaError, pl.exceptions.PolarsError, pa.ArrowException)
