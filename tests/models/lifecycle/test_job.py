"""What a model is given: facts of people, none of organisations."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from customer360.models.lifecycle.job import of_people
from customer360.platform import tables
from customer360.platform.lake import BUCKET, Lake
from customer360.serve.compose import compose


def test_nothing_of_an_organisation_reaches_a_model(tmp_path: Path) -> None:
    compose()
    lake, people = Lake(str(tmp_path), {}, 2), tables.by_name("silver.people")
    days = pl.LazyFrame({"person_id": ["p1", "p2", None, "p3"], "order_count": [1, 2, 3, 4]})
    assert of_people(lake, days).collect().equals(days.collect()), "a lake without people says nothing"
    rows = pl.DataFrame({"person_id": ["p1", "p2", "p3"], "entity_type": ["person", "organisation", None]})
    rows = rows.with_columns(
        pl.lit(None, kind).alias(name) for name, kind in tables.schema(people).items() if name not in rows.columns
    )
    lake.ensure(people)
    add = lake.write_file("silver.people", rows.select(list(people.columns())), {BUCKET: "0"})
    lake.commit("silver.people", [add], app="test", app_version=1)
    assert of_people(lake, days).collect()["order_count"].to_list() == [1, 3, 4]
    assert of_people(lake, days.select("order_count")).collect().height == 4
