"""`customer360 identity`: files in, clusters, edges, measures and label sheets out."""

import json

import polars as pl
import pytest
import yaml
from typer.testing import CliRunner

from customer360.serve.cli import app

pytestmark = pytest.mark.slow

FRANCE = """id;nom;naissance;tel;cp;mail
1;Élodie Martin;17/05/1980;06 12 34 56 78;75011;elodie.m77@exemple.fr
2;Martin, Elodie;17.05.1980;+33612345678;75011;
3;Luc Petit;03/11/1975;;69003;luc.p12@exemple.fr
"""
BRITAIN = """id;nom;naissance;tel;cp;mail
1;Elodie Martin;1980-05-17;+33 6 12 34 56 78;;elodie.m77@exemple.fr
2;William Booth;1950;020 7946 0018;SW1A 1AA;will.booth5@example.co.uk
3;Bill Booth;1950-03-02;+44 20 7946 0018;sw1a1aa;
"""


@pytest.fixture(scope="module")
def resolved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("people")
    (folder / "france.csv").write_text(FRANCE, encoding="utf-8")
    (folder / "britain.csv").write_text(BRITAIN, encoding="utf-8")
    mapping = {
        "unique_id": "id", "source": "@file", "country": "GB",
        "columns": {"full_name": "nom", "date_of_birth": "naissance", "phone_number": "tel", "zip_code": "cp", "email_address": "mail"},  # noqa: E501
    }  # fmt: skip
    (folder / "mapping.yaml").write_text(yaml.safe_dump(mapping), encoding="utf-8")
    (folder / "truth.csv").write_text(
        "source,unique_id,entity_id\nfrance,1,a\nfrance,2,a\nbritain,1,a\nfrance,3,b\nbritain,2,c\nbritain,3,c\n"
    )
    inputs = [part for name in ("france", "britain") for part in ("--input", str(folder / f"{name}.csv"))]
    run = CliRunner().invoke(
        app,
        ["identity", "resolve", *inputs, "--mapping", f"{folder}/mapping.yaml", "--out", f"{folder}/out.parquet"],
        catch_exceptions=False,
    )
    return folder, run


def test_people_of_two_countries_are_resolved(resolved):
    folder, run = resolved
    assert run.exit_code == 0 and "seconds: read" in run.output and "model" in run.output
    out = pl.read_parquet(folder / "out.parquet")
    assert out.columns == ["unique_id", "person_id", "source"]
    groups = out.group_by("person_id").agg(pl.format("{}{}", pl.col("source").str.head(1), "unique_id").sort())
    found = {frozenset(group) for group in groups["source"].to_list()}
    assert frozenset({"f1", "f2", "b1"}) in found and frozenset({"f3"}) in found and frozenset({"b2", "b3"}) in found
    edges = pl.read_parquet(folder / "out_edges.parquet")
    assert {"unique_id_l", "source_l", "unique_id_r", "source_r", "match_weight", "decision"} <= set(edges.columns)


def test_clusters_are_measured_against_a_truth(resolved):
    folder, _ = resolved
    run = CliRunner().invoke(
        app,
        ["identity", "evaluate", "--clusters", f"{folder}/out.parquet", "--truth", f"{folder}/truth.csv",
         "--edges", f"{folder}/out_edges.parquet", "--out", f"{folder}/report"],
        catch_exceptions=False,
    )  # fmt: skip
    assert run.exit_code == 0
    metrics = json.loads((folder / "report/metrics.json").read_text())
    assert metrics["pair"]["f1"] == 1.0 and metrics["exact_share"] == 1.0
    assert (folder / "report/thresholds.png").stat().st_size > 1000
    assert pl.read_csv(folder / "report/thresholds.csv")["pair_recall"].max() == 1.0


def test_a_reviewed_sample_estimates_precision_and_recall(resolved):
    folder, _ = resolved
    sheet = folder / "sheet.csv"
    arguments = ["--edges", f"{folder}/out_edges.parquet", "--n", "50", "--out", str(sheet)]
    CliRunner().invoke(app, ["identity", "sample-labels", *arguments], catch_exceptions=False)
    pairs = pl.read_csv(sheet, infer_schema=False)
    pairs.with_columns(is_match=pl.lit("yes")).write_csv(sheet)
    run = CliRunner().invoke(app, ["identity", "estimate", "--labels", str(sheet)], catch_exceptions=False)
    assert run.exit_code == 0 and "precision 1.0000" in run.output and f"{pairs.height} labelled" in run.output
