"""Person ids: "p" and sixteen hex digits.

Those of the registry are a running number, scrambled one to one. The number says nothing about a person, so an id
survives every change of its records and nothing in it must be forgotten at an erasure. The scrambling is a bijection
keyed by the registry's seed: two numbers never share an id, and the same numbers under the same seed give the same ids.
Where nothing is kept from one resolution to the next (files), there is no number to give: the id is a digest of a
record's id.
"""

from __future__ import annotations

import hashlib

import numpy as np
import polars as pl
import pyarrow as pa

# Multipliers and shifts of the splitmix64 finalizer, and the inverses of the multipliers modulo 2**64.
_STEPS = (
    (30, np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x96DE1B173F119089)),
    (27, np.uint64(0x94D049BB133111EB), np.uint64(0x319642B2D24D8EC3)),
)
_LAST_SHIFT = 31


def person_ids(numbers: pl.Series, seed: str) -> pl.Series:
    """The id of each person number (Int64, null stays null)."""
    known = numbers.fill_null(0).cast(pl.Int64).to_numpy().astype(np.uint64)
    z = known ^ _key(seed)
    for shift, factor, _ in _STEPS:
        z = (z ^ (z >> np.uint64(shift))) * factor
    z ^= z >> np.uint64(_LAST_SHIFT)
    raw = pa.FixedSizeBinaryArray.from_buffers(pa.binary(8), len(z), [None, pa.py_buffer(z.astype(">u8").tobytes())])
    text = pl.Series(numbers.name, pl.from_arrow(raw.cast(pa.binary())), dtype=pl.Binary).bin.encode("hex")
    frame = pl.DataFrame({"id": text, "number": numbers})
    return frame.select(pl.when(pl.col("number").is_not_null()).then(pl.lit("p") + pl.col("id"))).to_series()


def ids_without_registry(records: pl.Series) -> pl.Series:
    """The id of each person that is named by one of its records (`record_id`, String without nulls)."""
    digests = [hashlib.sha256(record.encode()).hexdigest()[:16] for record in records]
    return pl.Series(records.name, ["p" + digest for digest in digests], dtype=pl.String)


def person_numbers(ids: pl.Series, seed: str) -> pl.Series:
    """The number behind each id; null where a text is no id of ours."""
    is_id = ids.str.contains(r"^p[0-9a-f]{16}$").fill_null(False)
    z = ids.str.slice(1).str.to_integer(base=16, dtype=pl.UInt64, strict=False).fill_null(0).to_numpy().copy()
    z = _unshifted(z, _LAST_SHIFT)
    for shift, _, inverse in reversed(_STEPS):
        z = _unshifted(z * inverse, shift)
    z ^= _key(seed)
    valid = is_id.to_numpy() & (z < np.uint64(2**62))
    numbers = pl.DataFrame({"n": z.astype(np.int64), "valid": valid})
    return numbers.select(pl.when("valid").then("n").alias(ids.name)).to_series()


def same_until(ids: pl.Series, others: pl.Series) -> int:
    """How many ids lie at the beginning of both, in one order."""
    many = min(ids.len(), others.len())
    differs = (ids.head(many) != others.head(many)).arg_true()
    return many if differs.is_empty() else int(differs[0])


def _unshifted(value: np.ndarray, shift: int) -> np.ndarray:
    """The z for which z ^ (z >> shift) is `value`."""
    z = value.copy()
    for _ in range(64 // shift):
        z = value ^ (z >> np.uint64(shift))
    return z


def _key(seed: str) -> np.uint64:
    return np.uint64(int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "big"))
