"""Scored pairs: which records meet, how alike they are, and what each comparison said."""

from typing import Any

import polars as pl

from customer360.models.identity.engine import engine
from customer360.models.identity.features import KEY_PREFIX, Features
from customer360.models.identity.model import IdentityModel, IdentityModelError, linker_on
from customer360.models.identity.rules import IdentityRules

PAIR_SCHEMA: dict[str, type[pl.DataType] | pl.DataType] = {
    "rid_l": pl.Int64,
    "rid_r": pl.Int64,
    "match_weight": pl.Float64,
    "match_probability": pl.Float64,
    "match_key": pl.String,
    "evidence": pl.List(pl.Struct({"comparison": pl.String, "level": pl.String, "weight": pl.Float64})),
}


def blocked_pairs(features: Features) -> int:
    """Upper bound of the pairs that the block keys propose (a pair under two keys counts twice)."""
    counts = (features.frame[key].drop_nulls().value_counts()["count"].cast(pl.Int64) for key in features.keys)
    return sum(int((count * (count - 1)).sum()) // 2 for count in counts)


def predict(features: Features, model: IdentityModel, rules: IdentityRules) -> pl.DataFrame:
    """Pairs with at least `decision.audit_weight` bits, as `PAIR_SCHEMA`, sorted by (rid_l, rid_r).

    `evidence` holds per comparison the level and its bits, the term-frequency adjustment included; the bits and the
    prior's add up to `match_weight`. Raises IdentityModelError when the model compares columns that the records do
    not have, or when the keys propose more than `blocking.max_pairs`.
    """
    proposed = blocked_pairs(features)
    if proposed > rules.blocking.max_pairs:
        raise IdentityModelError(
            f"block keys propose {proposed:,} pairs, more than blocking.max_pairs = {rules.blocking.max_pairs:,}; "
            "lower blocking.max_records_per_key"
        )
    if proposed == 0:
        return pl.DataFrame(schema=PAIR_SCHEMA)
    _check(features, model)
    with engine(rules.engine) as con:
        linker = linker_on(con, features, model.settings)
        scored = linker.inference.predict(threshold_match_weight=rules.decision.audit_weight)
        wanted = "rid_l, rid_r, match_weight, match_probability, match_key, columns('(gamma|mw)_.*')"
        table = con.sql(f"select {wanted} from {scored.physical_name}").to_arrow_table()
        pairs = pl.DataFrame(pl.from_arrow(table))
    return told(pairs, features, model)


def told(pairs: pl.DataFrame, features: Features, model: IdentityModel) -> pl.DataFrame:
    """Splink's scored pairs as `PAIR_SCHEMA`, sorted."""
    keys = dict(enumerate(key.removeprefix(KEY_PREFIX) for key in features.keys))
    return pairs.select(
        "rid_l",
        "rid_r",
        pl.col("match_weight").cast(pl.Float64),
        pl.col("match_probability").cast(pl.Float64),
        pl.col("match_key").cast(pl.Int64).replace_strict(keys, return_dtype=pl.String),
        pl.concat_list(*(_told(c, pairs.columns) for c in model.settings["comparisons"])).alias("evidence"),
    ).sort("rid_l", "rid_r")


def _check(features: Features, model: IdentityModel) -> None:
    wanted = {rule["blocking_rule"] for rule in model.settings["blocking_rules_to_generate_predictions"]}
    absent = [key for key in features.keys if not any(f'"{key}"' in rule or key in rule for rule in wanted)]
    if absent or len(wanted) != len(features.keys):
        raise IdentityModelError(
            f"the model blocks on {len(wanted)} keys, the records have {len(features.keys)}; train it again"
        )


def _told(comparison: dict[str, Any], columns: list[str]) -> pl.Expr:
    name = comparison["output_column_name"]
    labels = [level["label_for_charts"] for level in comparison["comparison_levels"] if not level.get("is_null_level")]
    by_value = dict(zip(range(len(labels) - 1, -1, -1), labels, strict=True)) | {-1: "null"}
    adjustment = f"mw_tf_adj_{name}"
    weight = pl.col(f"mw_{name}").cast(pl.Float64)
    if adjustment in columns:
        weight = weight + pl.col(adjustment).cast(pl.Float64)
    return pl.struct(
        pl.lit(name).alias("comparison"),
        pl.col(f"gamma_{name}").cast(pl.Int64).replace_strict(by_value, return_dtype=pl.String).alias("level"),
        weight.alias("weight"),
    )
