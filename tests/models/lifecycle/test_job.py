"""What a model is given: facts of people, none of organisations."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import polars as pl

from customer360.models import base
from customer360.models.lifecycle import content
from customer360.models.lifecycle.job import ModelJob, firms_of
from customer360.platform import graph, tables
from customer360.platform.lake import BUCKET, Lake
from customer360.platform.run.planning import Context
from customer360.platform.settings import Settings
from customer360.serve.compose import compose


def test_nothing_of_an_organisation_reaches_a_model(tmp_path: Path) -> None:
    compose()
    lake = Lake(str(tmp_path), {}, 2)
    days = pl.LazyFrame({"person_id": ["p1", "p2", None, "p3"], "order_count": [1, 2, 3, 4]})
    assert content.without(days, firms_of(lake)).collect().equals(days.collect()), "a lake without people says nothing"
    tell(lake, {"p1": "person", "p2": "organisation", "p3": None})
    assert content.without(days, firms_of(lake)).collect()["order_count"].to_list() == [1, 3, 4]
    assert content.without(days.select("order_count"), firms_of(lake)).collect().height == 4


def test_a_worker_is_given_what_this_process_is(tmp_path: Path) -> None:
    compose()
    lake = Lake(str(tmp_path / "lake"), {}, 2)
    pl.DataFrame({"person_id": ["p1", "p2", None], "n": [1, 2, 3]}).write_parquet(tmp_path / "days.parquet")
    pl.DataFrame({"sku": ["a"]}).write_parquet(tmp_path / "skus.parquet")
    inputs = {"days": [str(tmp_path / "days.parquet")], "skus": [str(tmp_path / "skus.parquet")]}
    assert firms_of(lake) == () and content.opened(inputs, (), {})["days"].collect().height == 3
    tell(lake, {"p1": "person", "p2": "organisation"})
    found = content.opened(inputs, firms_of(lake), {})
    assert found["days"].collect()["n"].to_list() == [1, 3] and found["skus"].collect().height == 1


def test_who_becomes_an_organisation_makes_fits_and_scores_others(tmp_path: Path) -> None:
    compose()
    lake, settings = Lake(str(tmp_path / "lake"), {}, 2), Settings(state=str(tmp_path))
    job = ModelJob(settings, lake, base.find("churn"), date(2024, 1, 1))
    scorer = next(node for node in graph.NODES.values() if node.part == ("model", "churn"))

    def named() -> tuple[str, str]:
        return job.content(), scorer.version(Context(lake, settings, None))

    before = named()
    assert before[0] == content.of_inputs(job.inputs())
    tell(lake, {"p1": "person", "p3": None})
    assert named() == before, "people alone change no name"
    tell(lake, {"p2": "organisation"})
    after = named()
    assert after[0] != before[0] and after[1] != before[1]
    tell(lake, {"p0": "organisation"})
    assert named()[0] not in {before[0], after[0]} and named()[1] not in {before[1], after[1]}


def tell(lake: Lake, kinds: dict[str, str | None]) -> None:
    people = tables.by_name("silver.people")
    rows = pl.DataFrame({"person_id": list(kinds), "entity_type": pl.Series(list(kinds.values()), dtype=pl.String)})
    rows = rows.with_columns(
        pl.lit(None, kind).alias(name) for name, kind in tables.schema(people).items() if name not in rows.columns
    )
    lake.ensure(people)
    add = lake.write_file("silver.people", rows.select(list(people.columns())), {BUCKET: "0"})
    lake.commit("silver.people", [add], app="test", app_version=lake.version("silver.people") + 1)
