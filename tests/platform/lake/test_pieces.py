"""Pieces hold their rows, packed or mapped."""

import polars as pl
import pytest

from customer360.platform.lake import Lake
from customer360.platform.lake.pieces import get_piece, map_piece, put_piece

ROWS = pl.DataFrame(
    {
        "name": ["ann", None, "a name that is longer than a view holds", ""],
        "words": [["a", "b"], [], None, ["c"]],
        "number": [1, None, -(2**60), 4],
        "is_new": [True, None, False, True],
    }
)


@pytest.fixture
def lake(tmp_path) -> Lake:
    return Lake(str(tmp_path), {}, 4)


@pytest.mark.parametrize("rows", [ROWS, ROWS.clear(), pl.concat([ROWS, ROWS], rechunk=False)])
def test_a_mapped_piece_holds_its_rows_also_when_its_file_is_gone(lake, rows):
    path = put_piece(lake, "folder/stem", rows, mapped=True)
    held = map_piece(lake, path)
    lake.delete([path])
    assert held.equals(rows) and held.schema == rows.schema


def test_a_packed_piece_can_be_mapped_and_a_plain_one_read(lake):
    assert map_piece(lake, put_piece(lake, "packed", ROWS)).equals(ROWS)
    assert get_piece(lake, put_piece(lake, "plain", ROWS, mapped=True)).equals(ROWS)
