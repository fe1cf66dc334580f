"""Which files may hold a key."""

from __future__ import annotations

import polars as pl

from customer360.platform import tables
from customer360.platform.lake import Lake
from customer360.platform.run.incremental.keys import files_with
from customer360.platform.tables import String, Table

NAME = "silver.t_slips"


def test_files_of_which_no_row_has_the_key_are_known_as_such(registries: None, lake: Lake) -> None:
    class Slips(Table, table=NAME):
        """One row per slip."""

        number = String(nullable=True)

    lake.ensure(Slips)
    schema = tables.schema(Slips)
    held = [lake.write_file(NAME, pl.DataFrame({"number": rows}, schema=schema), {}) for rows in ([None], ["7"])]
    lake.replace(NAME, held[:1], scope={}, app="node:x", app_version=1)
    assert files_with(lake, NAME, "number", lake.files(NAME), pl.Series(["7"])) == []
    lake.replace(NAME, held, scope={}, app="node:x", app_version=2)
    for _ in range(2):
        found = files_with(lake, NAME, "number", lake.files(NAME), pl.Series(["7"]))
        assert [file.path for file in found] == [held[1].path]
