"""Clusters against a truth file, and labels by hand where there is no truth: tables, plots and samples as files."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl

from customer360.models.files import output
from customer360.models.files.people import read_table, write_table
from customer360.models.identity import evaluate
from customer360.platform.errors import ConfigError
from customer360.platform.formulas import defused


def joined(clusters: Path, truth: Path) -> pl.DataFrame:
    """(unique_id[, source], cluster_key, entity_id) of the records that both files hold. The truth's columns are
    unique_id (and source) and one of entity_id, cluster, person_id, true_id. Raises ConfigError when they do not
    fit."""
    found, true = read_table(clusters), read_table(truth)
    entity = next((name for name in ("entity_id", "cluster", "true_id", "person_id") if name in true.columns), None)
    if entity is None or "unique_id" not in true.columns:
        raise ConfigError(f"{truth} needs the columns unique_id and entity_id (or cluster); it has {true.columns}")
    keys = [name for name in ("source", "unique_id") if name in found.columns and name in true.columns]
    text = [pl.col(name).cast(pl.String).str.strip_chars() for name in keys]
    both = found.select(*text, cluster_key=pl.col("person_id").cast(pl.String)).join(
        true.select(*text, entity_id=pl.col(entity).cast(pl.String)), on=keys
    )
    if both.is_empty():
        raise ConfigError(f"{clusters} and {truth} share no ids in {keys}")
    return both


def report(both: pl.DataFrame, edges: pl.DataFrame | None, out: Path) -> list[str]:
    """Write metrics.json, errors.csv and, with edges, thresholds.csv and thresholds.png to `out`; lines to print."""
    out.mkdir(parents=True, exist_ok=True)
    pairs, cubed = evaluate.pairwise(both), evaluate.b_cubed(both)
    metrics = {
        "records": both.height,
        "entities": both["entity_id"].n_unique(),
        "clusters": both["cluster_key"].n_unique(),
        "pair": {"precision": pairs.precision, "recall": pairs.recall, "f1": pairs.f1},
        "b_cubed": {"precision": cubed.precision, "recall": cubed.recall, "f1": cubed.f1},
        "exact_share": evaluate.exact_share(both),
    }
    (out / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    lines = [
        f"{both.height:,} records, {metrics['entities']:,} entities, {metrics['clusters']:,} clusters",
        f"pairs:   precision {pairs.precision:.4f}  recall {pairs.recall:.4f}  F1 {pairs.f1:.4f}",
        f"B-cubed: precision {cubed.precision:.4f}  recall {cubed.recall:.4f}  F1 {cubed.f1:.4f}",
        f"entities found exactly: {metrics['exact_share']:.4f}",
    ]
    errors = evaluate.errors_by_kind(_with_ids(both), edges)
    errors.write_csv(out / "errors.csv")
    lines += [f"  {row['error']}, {row['kind']}: {row['pairs']:,}" for row in errors.head(12).iter_rows(named=True)]
    if edges is not None and edges.height:
        by_threshold = evaluate.by_threshold(_with_ids(both), edges)
        write_table(by_threshold, out / "thresholds.csv")
        _plot(by_threshold, out / "thresholds.png")
    return [*lines, f"written: {', '.join(str(file) for file in sorted(out.iterdir()))}"]


def _with_ids(both: pl.DataFrame) -> pl.DataFrame:
    return both.with_columns(record_id=record_key(both, ""))


def record_key(frame: pl.DataFrame, side: str) -> pl.Expr:
    """One text per record from source and unique_id, of the columns with the ending `side`."""
    names = [f"{name}{side}" for name in ("source", "unique_id") if f"{name}{side}" in frame.columns]
    return pl.concat_str(*(pl.col(name).cast(pl.String).fill_null("") for name in names), separator="/")


def _scored_pairs(file: Path) -> pl.DataFrame:
    """A file of scored pairs. Raises ConfigError when it is none."""
    raw = read_table(file)
    wanted = ("unique_id_l", "unique_id_r", "match_weight", "decision", "reason", "match_key")
    if missing := [name for name in wanted if name not in raw.columns]:
        raise ConfigError(f"{file} lacks the columns {missing}; scored pairs are what `identity resolve` writes")
    return raw


def read_edges(file: Path) -> pl.DataFrame:
    """(record_id_l, record_id_r, match_weight, decision, reason, match_key) of a file of scored pairs."""
    raw = _scored_pairs(file)
    return raw.select(
        record_id_l=record_key(raw, "_l"),
        record_id_r=record_key(raw, "_r"),
        match_weight=pl.col("match_weight").cast(pl.Float64),
        decision="decision",
        reason="reason",
        match_key="match_key",
    )


def _plot(by_threshold: pl.DataFrame, file: Path) -> None:
    from matplotlib.figure import Figure  # of itself it draws into files, without a display

    figure = Figure(figsize=(9, 4), layout="constrained")
    for axes, kind in zip(figure.subplots(1, 2, sharey=True), ("pair", "b_cubed"), strict=True):
        for measure in ("precision", "recall", "f1"):
            axes.plot(by_threshold["match_weight"], by_threshold[f"{kind}_{measure}"], label=measure)
        axes.set_title({"pair": "pairs", "b_cubed": "B-cubed"}[kind])
        axes.set_xlabel("least match weight of an edge, bits")
        axes.grid(alpha=0.3)
        axes.legend()
    figure.savefig(file, dpi=120)


def sample_labels(edges: Path, number: int, out: Path, records: Path | None = None) -> int:
    """Write `number` pairs for review, stratified by weight, with an empty column is_match; returns how many. With the
    file of people their columns stand beside."""
    output.require(out, edges, *([records] if records else []))
    raw = _scored_pairs(edges)
    chosen = evaluate.stratified(raw.with_columns(pl.col("match_weight").cast(pl.Float64)), number)
    ids = [name for name in chosen.columns if name.startswith(("source_", "unique_id_"))]
    sheet = chosen.select(
        *ids,
        pl.col("match_weight").round(2),
        "decision",
        "reason",
        "stratum",
        "stratum_pairs",
        is_match=pl.lit(None, pl.String),
    )
    if records is not None:
        people = read_table(records)
        if "unique_id" not in {name.strip() for name in people.columns}:
            raise ConfigError(f"{records} has no column unique_id, which the pairs name; it has {people.columns}")
        for side in ("l", "r"):
            named = people.rename({name: f"{name.strip()}_{side}" for name in people.columns})
            on = [name for name in ids if name.endswith(f"_{side}") and name in named.columns]
            sheet = sheet.join(named.with_columns(pl.col(on).cast(pl.String)), on=on, how="left", maintain_order="left")
    is_text = bool({".csv", ".tsv"} & {suffix.lower() for suffix in out.suffixes})
    write_table(defused(sheet) if is_text else sheet, out)  # people open it in a spreadsheet
    return sheet.height


def estimate_lines(labels: Path) -> list[str]:
    """Precision and recall estimated from a reviewed sheet, with 95 % intervals."""
    sheet = read_table(labels)
    missing = {"is_match", "decision", "stratum", "stratum_pairs"} - set(sheet.columns)
    if missing:
        raise ConfigError(f"{labels} lacks the columns {sorted(missing)}; make it with `identity sample-labels`")
    found = evaluate.estimated(sheet)
    return [
        f"{found.labelled} labelled pairs",
        f"precision {found.precision[0]:.4f}  (95 %: {found.precision[1]:.4f} to {found.precision[2]:.4f})",
        f"recall    {found.recall[0]:.4f}  (95 %: {found.recall[1]:.4f} to {found.recall[2]:.4f}), of the matches "
        "among the scored pairs; matches that were never compared are not seen by any label",
    ]
