"""Vectors beside a publication, where the models cannot be read."""

from __future__ import annotations

from typing import Any

import pytest

from customer360.platform import online
from customer360.platform.settings import LakeSettings, Settings
from customer360.serve import jobs
from customer360.serve.publication import vectors


def test_gold_is_published_though_the_model_store_is_away(own_shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(settings: Settings) -> Any:
        raise ConnectionError("nobody answers at the model store")

    said: list[str] = []
    monkeypatch.setattr(vectors, "registered", away)
    monkeypatch.setattr(vectors.telemetry.log, "error", said.append)
    home = own_shop.state / vectors.HOME
    home.mkdir(parents=True)
    (home / vectors.CURRENT).write_text("7")
    lake = LakeSettings(root=own_shop.lake.root, buckets=own_shop.lake.buckets)
    jobs.publish(Settings(state=str(own_shop.state), lake=lake))
    assert online.current(own_shop.state) is not None
    assert (home / vectors.CURRENT).read_text() == "7"
    assert any("nobody answers" in line for line in said)
