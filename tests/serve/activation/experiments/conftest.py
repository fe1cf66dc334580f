"""A small lake with experiments over it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from customer360.platform.settings import Settings
from customer360.serve.compose import compose

compose()
START, AS_OF = datetime(2026, 1, 1, tzinfo=UTC), date(2026, 3, 1)
METRICS: dict[str, Any] = {
    "bought": {"measure": "any", "where": "is_sale"},
    "revenue": {"measure": "sum", "value": "net_amount"},
    "orders": {"where": "is_sale"},
    "order_value": {"measure": "sum", "value": "net_amount", "per": "orders"},
    "returns": {"measure": "any", "where": "is_return", "better": "lower"},
}
BANNER: dict[str, Any] = {
    "description": "A banner",
    "arms": {"old": 0.5, "new": 0.5},
    "metrics": ["revenue", "bought", "order_value"],
    "guardrails": [{"metric": "returns", "margin": 0.1}],
    "minimum": 20,
    "sequential": False,
}


@dataclass
class Lab:
    """Settings over a shop, and the rows that its experiments are about."""

    shop: Any
    folder: Path

    def settings(self, experiments: dict[str, Any] | None = None, **other: Any) -> Settings:
        """With a rule file of these experiments."""
        said = {"metrics": METRICS, "experiments": experiments or {"banner": BANNER}} | other
        file = self.folder / "experiments.yaml"
        file.write_text(yaml.safe_dump(said, sort_keys=False))
        lake = {"root": self.shop.lake.root, "buckets": self.shop.lake.buckets}
        return Settings.model_validate(
            {"state": str(self.shop.state), "lake": lake, "rules": {"experiments": str(file)}}
        )

    def expose(self, rows: list[dict[str, Any]]) -> None:
        """Rows of silver.exposures; each at least with subject and arm."""
        base = {"source_system": "SHOP", "experiment": "banner", "exposed_at": START + timedelta(days=10)}
        full = [base | {"exposure_id": f"x{n}", "person_id": row["subject_id"]} | row for n, row in enumerate(rows)]
        self.shop.write("silver.exposures", full)

    def sell(self, rows: list[dict[str, Any]]) -> None:
        """Rows of silver.transactions; each at least with subject, moment and net_amount."""
        nothing: dict[str, Any] = {
            "source_system": "SHOP", "channel": "WEBSITE", "channel_group": "ONLINE", "transaction_type": "PURCHASE",
            "transaction_status": "COMPLETED", "is_sale": True, "is_return": False, "is_unconverted": False,
        } | dict.fromkeys(("total_amount", "refunded_amount", "gross_amount", "return_amount"), Decimal(0))  # fmt: skip
        full = [
            nothing | {"transaction_id": f"t{n}", "person_id": row["subject_id"]} | row
            | {"occurred_on": row["occurred_at"].date(), "net_amount": Decimal(str(row["net_amount"]))}
            for n, row in enumerate(rows)
        ]  # fmt: skip
        self.shop.write("silver.transactions", full)


@pytest.fixture
def lab(empty_shop: Any, tmp_path: Path) -> Lab:
    return Lab(empty_shop, tmp_path)


@pytest.fixture
def sold(lab: Lab) -> Callable[..., None]:
    """Exposes 40 subjects an arm, one a minute; `new` spends 2 more of about 10, as each did before."""

    def make(**exposure: Any) -> None:
        people = [(f"p{n:03d}", "new" if n % 2 else "old") for n in range(80)]
        lab.expose([{"subject_id": p, "arm": arm} | exposure for p, arm in people])
        rows = []
        for n, (person, arm) in enumerate(people):
            at, spent = START + timedelta(days=10), 8 + n % 5
            rows += [
                {"subject_id": person, "occurred_at": at - timedelta(days=3), "net_amount": spent + n % 3},
                {"subject_id": person, "occurred_at": at, "net_amount": spent + (2 if arm == "new" else 0)},
                {"subject_id": person, "occurred_at": at + timedelta(days=14), "net_amount": 1000},  # too late
            ]
        lab.sell(rows)

    return make
