"""What a damaged, cut or missing file raises when it is read, or a full disk, whichever library meets it."""

from __future__ import annotations

import obstore
import polars as pl
import pyarrow as pa
from deltalake.exceptions import DeltaError

UNREADABLE = (
    OSError,
    EOFError,
    UnicodeError,
    DeltaError,
    obstore.exceptions.BaseError,
    pl.exceptions.PolarsError,
    pa.ArrowException,
)
