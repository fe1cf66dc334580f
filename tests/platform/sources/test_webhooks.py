"""Messages of a journal as records: the same whether they are read together or one by one."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from customer360.platform.settings import Settings
from customer360.platform.sources import journals
from customer360.platform.sources.base import configured
from customer360.platform.sources.landing import landing_of
from customer360.platform.sources.protocols.hooks.journal import Frame, Journal
from customer360.platform.sources.webhooks import Webhooks, message
from customer360.platform.tables import String, Table

PARTS = (
    b'{"a": 1}', b'[{"a": 2}, {"b": "x"}]', b"[]", b"{}", b"", b"\n", b"\r\n", b"\x00", b"{broken", b"7", b"\xff", b" ",
    b'{"a": {"c": [1]}}', b'{"hook.id": "forged"}', b"\xef\xbb\xbf{}", b'{"a": "\n"}', b"null",
)  # fmt: skip


@pytest.fixture
def source(tmp_path: Path, registries: None) -> tuple[Settings, Webhooks]:
    class Hooked(Table, table="bronze.t_hooked", key=("ID",)):
        """One row per order."""

        ID = String(nullable=True)

    (tmp_path / "landing").mkdir()
    about = {"table": "bronze.t_hooked", "system": "S", "kind": "webhooks", "connection": "h", "metadata": True}
    settings = Settings.model_validate(
        {
            "landing": str(tmp_path / "landing"), "state": str(tmp_path / "state"),
            "lake": {"root": str(tmp_path / "lake")},
            "connections": {"h": {"kind": "webhook", "secret_env": "HOOK_SECRET"}}, "sources": {"orders": about},
        }
    )  # fmt: skip
    made = configured(settings, "orders")
    assert isinstance(made, Webhooks)
    return settings, made


def test_bodies_together_are_what_they_are_alone(
    source: tuple[Settings, Webhooks], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, orders = source
    dice, made = Random(3), Journal(orders.folder)
    for number in range(300):
        body = b"".join(dice.choices(PARTS, k=dice.randint(0, 3)))
        made.append(f"k{number}", message(f"k{number}", "t", "now", body, f"i{number}"))
    landing = landing_of(settings)
    (piece,) = orders.discover(landing, []).inputs
    whole = orders.read(landing, piece)
    monkeypatch.setattr(journals, "PIECE_BYTES", 1)
    alone = orders.read(landing, piece)
    assert sorted([*whole.frame["_position"], *whole.dead["_position"]]) == list(range(1, whole.count + 1))
    assert whole.frame.equals(alone.frame.select(whole.frame.columns)) and whole.dead.equals(alone.dead)
    assert whole.frame["hook.id"].str.starts_with("i").all()
    assert "forged" in whole.frame["payload:hook.id"].to_list()


def test_pieces_end_by_their_size(source: tuple[Settings, Webhooks], monkeypatch: pytest.MonkeyPatch) -> None:
    settings, orders = source
    made = Journal(orders.folder)
    for number in range(6):
        made.append(f"k{number}", message(f"k{number}", None, "now", b'{"a": "%s"}' % (b"x" * 1000)))
    monkeypatch.setattr(journals, "PIECE_BYTES", 2000)
    landing = landing_of(settings)
    (piece,) = orders.discover(landing, []).inputs
    assert [part.count for part in orders.pieces(landing, piece) if part.count] == [2, 2, 2]
    assert orders.records_in([Frame(1, b"odd", is_whole=False)], 0).dead["raw"].to_list() == [b"odd"]
