"""What identity resolution holds fixed between two rebuilds, so that the order in which records come changes nothing.

The model, the value frequencies it weighs rare values by, the contact values that are hubs, and how many records may
share a block key. All are measured on the records at hand and then kept; with them a record's evidence depends on the
record alone, and a pair's weight on the two records alone. Values are kept as hashes: what a person's record held is
not to be read here after an erasure.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass, replace

import polars as pl

from customer360.models.identity.evidence.features import Features, build_features, key_caps, standardized
from customer360.models.identity.evidence.standardize import default_birth_dates, of_many_names
from customer360.models.identity.rules import IdentityRules
from customer360.models.identity.spill import kept
from customer360.models.identity.stitching import hubs as number_hubs
from customer360.models.identity.stitching import with_own
from customer360.models.identity.verdicts.threshold import with_threshold
from customer360.models.identity.weighing.comparisons import JOINT, NAMES, borne, joint_share
from customer360.models.identity.weighing.frequencies import term_frequencies
from customer360.models.identity.weighing.model import IdentityModel, adjusted_columns, train
from customer360.platform.lake import Lake

# Standard columns in which a value of too many names is no evidence, and what goes with it.
_HUB_LIMITS = {"email_std": ("max_names_per_email", ("email_user",)), "phone_std": ("max_names_per_phone", ())}
# Columns of which a value may be a hub.
_CLOSED: dict[str, tuple[str, ...]] = {column: with_it for column, (_, with_it) in _HUB_LIMITS.items()} | {
    "dob_std": ()
}
_PATH = "_identity/pins"
_NO_LIMIT = 2**31 - 1


@dataclass(frozen=True)
class Pins:
    """`frequencies`: (column, value, share) of the columns that the model adjusts by; without a value, the share of one
    that none of the records had. `hubs`: (column, value), mail domains of many people and numbers past their limit
    among them. Both with hashed values. `caps`: block key to the
    most records that may share a value. `records`: of how many this was made. `basis`: names the rules and code that it
    was made by."""

    model: IdentityModel
    frequencies: pl.DataFrame
    hubs: pl.DataFrame
    caps: dict[str, int]
    records: int
    basis: str

    @property
    def version(self) -> str:
        """Sixteen hex digits; other digits mean that every pair is scored again."""
        text = json.dumps([self.model.version, self.caps, self.records, self.basis, pl.__version__], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def fits(self, records: int, basis: str, rules: IdentityRules) -> bool:
        """Whether these still serve so many records."""
        return basis == self.basis and self.records / rules.ids.retrain_growth <= records <= (
            self.records * rules.ids.retrain_growth
        )


def pinned(
    records: pl.DataFrame, rules: IdentityRules, basis: str = "", model: IdentityModel | None = None
) -> tuple[Pins, pl.DataFrame]:
    """Measure on these records; and their `evidence` under these pins, since both read and standardize them. With a
    `model` none is trained. Raises IdentityModelError when the model cannot be trained, or does not fit the records."""
    raw, hubs = _measured(records, rules)
    fitted, frequencies, caps = _fitted(raw, rules, model)
    pins = Pins(fitted, frequencies, hubs, caps, records.height, basis)
    evidence = _under(raw.frame, pins, rules)
    if model is None:
        pins = replace(pins, model=with_threshold(evidence, caps, fitted, rules))
    return pins, evidence


def _measured(records: pl.DataFrame, rules: IdentityRules) -> tuple[Features, pl.DataFrame]:
    """Features of the records, their keys not capped, and the hubs among their values."""
    standard = standardized(records, _without_limits(rules))
    hubs = pl.concat([_hubs_of(standard, column, rules) for column in _CLOSED])
    raw = build_features(_closed(standard, hubs), rules)
    return raw, pl.concat([hubs, _shared_domains(raw.frame), number_hubs(raw.frame, rules.stitching)])


def _fitted(
    raw: Features, rules: IdentityRules, model: IdentityModel | None
) -> tuple[IdentityModel, pl.DataFrame, dict[str, int]]:
    """The model, its value frequencies, and the most records that may share a key."""
    if model is not None:
        model.check_keys(raw.keys)
    counts = term_frequencies(raw, rules.engine.threads)
    model = model or train(raw, rules, counts)
    known = sorted(adjusted_columns(model) & counts.keys())  # of a column without values there are no shares
    shares = [_shares(counts[column], column) for column in known]
    return model, pl.concat(shares or [_no_shares()]), key_caps(raw.frame, raw.keys, rules)


def evidence(records: pl.DataFrame, pins: Pins, rules: IdentityRules) -> pl.DataFrame:
    """One row per record, sorted by record_id: record_id, what the model compares, hashed block keys, tf_* columns."""
    standard = _closed(standardized(records, _without_limits(rules)), pins.hubs)
    return _under(build_features(standard, rules).frame, pins, rules)


def _under(frame: pl.DataFrame, pins: Pins, rules: IdentityRules) -> pl.DataFrame:
    """Features of records with what the pins say of their values."""
    frame = frame.drop("rid")
    frame = with_own(_with_own_domains(frame, pins.hubs), pins.hubs, rules.stitching)
    adjusted = adjusted_columns(pins.model)
    parts = {part for name in adjusted & JOINT.keys() for part in JOINT[name][0]}
    for column in sorted((adjusted - JOINT.keys()) | parts | set(NAMES)):
        found = pins.frequencies.filter(pl.col("column") == column)
        unseen = found.filter(pl.col("value").is_null())["share"]
        shares = found.select(pl.col("value").alias("value__"), pl.col("share").alias(f"tf_{column}"))
        # Joined beside the frame: with it, all its columns would be copied.
        known = frame.select(value__=hashed(column)).join(shares, on="value__", how="left", maintain_order="left")
        made = [pl.col(f"tf_{column}")]
        if column in NAMES:
            one_more = pl.when(pl.col("value__").is_not_null()).then(pl.lit(unseen.first(), pl.Float64))
            made.append(pl.coalesce(f"tf_{column}", one_more).alias(borne(column)))
        frame = frame.with_columns(kept(known.select(made)).get_columns())
    return frame.with_columns(joint_share(name) for name in sorted(adjusted & JOINT.keys()))


def hashed(column: str) -> pl.Expr:
    """A text column as signed 64-bit hashes, null where it is."""
    return pl.when(pl.col(column).is_not_null()).then(pl.col(column).hash(seed=0).reinterpret(signed=True))


def read(lake: Lake) -> Pins | None:
    """The pins of a lake, or None in a new one."""
    stored = lake.get(f"{_PATH}.json")
    if stored is None:
        return None
    kept = json.loads(stored)
    tables = {name: pl.read_parquet(io.BytesIO(lake.get(kept[name]) or b"")) for name in ("frequencies", "hubs")}
    model = IdentityModel.model_validate(kept["model"])
    return Pins(model, tables["frequencies"], tables["hubs"], kept["caps"], kept["records"], kept["basis"])


def deciding(lake: Lake, rules: IdentityRules) -> IdentityRules:
    """The rules with the weight from which the lake's pairs are accepted, where they state none."""
    stored = lake.get(f"{_PATH}.json")
    return IdentityModel.model_validate(json.loads(stored)["model"]).deciding(rules) if stored else rules


def write(lake: Lake, pins: Pins) -> None:
    """Keep the pins; the JSON object, written last, names the others."""
    kept: dict[str, object] = {"model": pins.model.model_dump(), "caps": pins.caps, "records": pins.records}
    kept["basis"] = pins.basis
    for name in ("frequencies", "hubs"):
        buffer = io.BytesIO()
        getattr(pins, name).write_parquet(buffer)
        kept[name] = f"{_PATH}/{pins.version}-{name}.parquet"
        lake.put(str(kept[name]), buffer.getvalue())
    lake.put(f"{_PATH}.json", json.dumps(kept).encode())


def discard(lake: Lake) -> None:
    """Let the next run measure anew."""
    lake.delete(path for path in lake.objects("_identity") if path.startswith(_PATH))


def _without_limits(rules: IdentityRules) -> IdentityRules:
    limits = {limit: _NO_LIMIT for limit, _ in _HUB_LIMITS.values()} | {"max_birth_date_excess": _NO_LIMIT}
    return rules.model_copy(update={"standardization": rules.standardization.model_copy(update=limits)})


def _hubs_of(standard: pl.DataFrame, column: str, rules: IdentityRules) -> pl.DataFrame:
    std = rules.standardization
    if column in _HUB_LIMITS:
        hubs = of_many_names(standard, column, getattr(std, _HUB_LIMITS[column][0]))
    else:
        hubs = default_birth_dates(standard, std.max_birth_date_excess)
    return hubs.to_frame().select(column=pl.lit(column), value=hashed(column)).sort("value")


def _closed(standard: pl.DataFrame, hubs: pl.DataFrame) -> pl.DataFrame:
    """Standardized records without the contact values that are hubs."""
    for column, dependants in _CLOSED.items():
        values = hubs.filter(pl.col("column") == column)["value"]
        if values.is_empty():
            continue
        is_hub = hashed(column).is_in(values.implode()).fill_null(False)
        closed = [pl.when(~is_hub).then(c).alias(c) for c in (*dependants, column)]
        made = kept(standard.select(closed))
        standard = standard.with_columns(made.get_columns())
    return standard


def _shared_domains(frame: pl.DataFrame) -> pl.DataFrame:
    """Mail domains of many people, as hubs of the column `domain`."""
    # A query, which reads two columns: a frame is filtered with all that it holds.
    held = frame.lazy().filter(pl.col("email").is_not_null() & pl.col("email_own").is_null())
    shared = held.select(_domain()).unique().collect()
    return shared.select(column=pl.lit("domain"), value=hashed("domain")).sort("value")


def _with_own_domains(frame: pl.DataFrame, hubs: pl.DataFrame) -> pl.DataFrame:
    """The frame with `email_own` by the pinned domains instead of those of its own records."""
    shared = hubs.filter(pl.col("column") == "domain")["value"]
    domains = frame.select("email", _domain()).with_columns(value=hashed("domain"))
    own = domains.select(pl.when(~pl.col("value").is_in(shared.implode())).then("email").alias("email_own"))
    return frame.with_columns(kept(own).to_series())


def _domain() -> pl.Expr:
    return pl.col("email").str.split("@").list.last().alias("domain")


def _shares(counts: pl.DataFrame, column: str) -> pl.DataFrame:
    """Of the values of a column (`model.term_frequencies`) their share among the records that have one, and that of a
    value which none of them has: what one more record makes of it."""
    value, share = pl.col("value").reinterpret(signed=True), pl.col("count") / pl.col("count").sum()
    unseen = pl.DataFrame(
        {"value": [None], "share": [1 / (counts["count"].sum() + 1)]}, schema_overrides={"value": pl.Int64}
    )
    shares = pl.concat([counts.select(value=value, share=share).sort("value"), unseen])
    return shares.select(pl.lit(column).alias("column"), "value", "share")


def _no_shares() -> pl.DataFrame:
    return pl.DataFrame(schema={"column": pl.String, "value": pl.Int64, "share": pl.Float64})
