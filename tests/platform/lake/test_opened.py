"""What a commit tells is read from its file, whoever wrote it."""

from pathlib import Path

import polars as pl
import pytest
from deltalake import CommitProperties, Transaction

from customer360.platform.lake.opened import APP, FACTS, told_by


@pytest.mark.parametrize("sign", ["\x85", "\u2028", "\u2029", "\r", "\x1e"])
def test_signs_that_end_lines_elsewhere_end_none_of_a_commit(tmp_path: Path, sign: str) -> None:
    """Writers of tables keep the bounds of texts in the commit, with every such sign as it is."""
    told = CommitProperties({APP: "node:x", FACTS: "{}"}, app_transactions=[Transaction("node:x", 3)])
    rows = pl.DataFrame({"text": [f"Wait{sign} what"]})
    rows.write_delta(str(tmp_path), delta_write_options={"commit_properties": told})
    commit = tmp_path / "_delta_log/00000000000000000000.json"
    assert "what" in commit.read_text(encoding="utf-8")
    assert told_by(str(tmp_path), 0) == ({"node:x": 3}, {"node:x": "{}"})
