"""How far bronze is behind its systems, asked now: each answers for itself, and none is waited for."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from customer360.platform.errors import SourceError
from customer360.platform.ledger import Batch
from customer360.platform.settings import Settings
from customer360.platform.sources.base import Lag
from customer360.platform.sources.files import Files
from customer360.serve import behind
from customer360.serve.cli import app


class Telling(Files):
    """Files that say how far they are behind, as servers do."""

    says: int = 0

    def behind(self, known: Sequence[Batch]) -> Lag | None:
        if self.path.startswith("gone"):
            raise SourceError("cannot reach the server db.example.org:5432\nand more")
        if self.path.startswith("silent"):
            SILENCE.wait(30)
        return None if self.path.startswith("new") else Lag(self.says, "messages")


SILENCE = threading.Event()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "landing").mkdir()

    def of(name: str, **more: Any) -> Files:
        made = {"table": "bronze.customers", "system": "CRM", "path": f"{name}/*.csv", "format": "csv", **more}
        return Telling(**made) if name != "plain" else Files(**made)

    sources = {name: of(name) for name in ("plain", "gone", "new", "silent")}
    sources |= {"topic": of("topic", says=1234), "idle": of("idle")}
    return Settings(landing=str(tmp_path / "landing"), state=str(tmp_path / "state"), sources=sources,
                    lake={"root": str(tmp_path / "lake"), "buckets": 4})  # fmt: skip


def test_each_system_answers_for_itself_and_none_is_waited_for(settings: Settings) -> None:
    began = time.monotonic()
    found = behind.asked(settings, patience=1.0)
    SILENCE.set()
    assert time.monotonic() - began < 5
    assert list(found) == ["gone", "new", "silent", "topic", "idle"], "a kind that cannot say is not asked"
    assert found["topic"].text == "1,234 messages" and found["idle"].text == "nothing" and not found["idle"].reason
    assert found["gone"].reason == "cannot reach the server db.example.org:5432" and found["gone"].text == "?"
    assert found["silent"].reason == "no answer within 1 seconds" and found["new"].reason == "nothing landed yet"


def test_the_table_is_no_json() -> None:
    said = CliRunner().invoke(app, ["status", "--ask", "--json"])
    assert said.exit_code != 0 and "--ask prints a table" in f"{said.exception}{said.output}"
