"""A small lake, published, and clients of the application for each role."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import polars as pl
import pytest
from starlette.testclient import TestClient

from customer360.models.identity import producer  # noqa: F401 - declares silver.identities
from customer360.models.lifecycle import scoring  # noqa: F401 - declares gold.predictions and gold.recommendations
from customer360.pipelines.gold import affinity, behavior, customers  # noqa: F401
from customer360.pipelines.silver.catalog import products as catalog  # noqa: F401
from customer360.platform import access, tables
from customer360.platform.lake import BUCKET, Lake, bucket_numbers
from customer360.platform.settings import Settings
from customer360.serve.app import build_app
from customer360.serve.publication.publishing import publish_gold

AS_OF = date(2026, 3, 1)
Clients = Callable[[str | None], TestClient]
NOW = datetime(2026, 3, 1, 2, tzinfo=UTC)
REASONS = [{"feature": "recency_days", "value": 40.0, "contribution": 0.3}]

# Ann refused nothing, Bob refused personalization, Cyd has no list, Dan's list is out of stock.
PEOPLE = ("p_ann", "p_bob", "p_cyd", "p_dan")
CATALOGUE = ("P1", "P2", "P3", "P4", "P5", "P6")


def profile(person_id: str, **other: Any) -> dict[str, Any]:
    """A row of gold.customer_360; columns that are not named are null, zero or empty."""
    empty: dict[Any, Any] = {
        pl.Int64: 0,
        pl.Float64: 0.0,
        pl.Boolean: True,
        pl.String: "x",
        pl.Decimal: Decimal(0),
        pl.List: [],
    }
    contract = customers.Customer360
    row = {
        name: None if column.nullable else empty.get(column.dtype.base_type())
        for name, column in contract.columns().items()
    }
    known = {
        "first_name": f"First{person_id}",
        "email_address": f"{person_id}@example.org",
        "phone_number": "+4922112345",
        "city": "Köln",
        "net_amount": Decimal("12.50"),
        "lifecycle_stage": "ACTIVE",
        "facts_until_at": NOW,
    }
    return row | known | {"person_id": person_id, "as_of": AS_OF} | other


def ranked(
    person_id: str, products: list[str], mode: str = "new", as_of: date = AS_OF, model: str = "item_to_item"
) -> list[dict[str, Any]]:
    """Rows of gold.recommendations."""
    return [
        {"person_id": person_id, "rank": rank, "product_id": product, "score": 1.0 / rank, "model": model,
         "version": "2", "mode": mode, "as_of": as_of}
        for rank, product in enumerate(products, start=1)
    ]  # fmt: skip


@dataclass
class Shop:
    """A lake of few rows, and the state folder that it is published to."""

    lake: Lake
    state: Path
    writes: int = 0
    profile = staticmethod(profile)
    ranked = staticmethod(ranked)

    def write(self, name: str, rows: list[dict[str, Any]]) -> None:
        """Make rows the only content of a table."""
        contract = tables.by_name(name)
        spec, wanted = tables.spec(contract), tables.schema(contract)
        self.lake.ensure(contract)
        frame = pl.DataFrame([{c: row.get(c) for c in wanted} for row in rows], schema=wanted)
        keys = list(spec.partition_by)
        if spec.bucketed:
            key = frame["subject_id" if "subject_id" in wanted else "person_id"]
            frame, keys = frame.with_columns(bucket_numbers(key, self.lake.buckets)), [*keys, BUCKET]
        parts = frame.partition_by(keys) if keys else [frame]
        adds = [self.lake.write_file(name, p, {k: str(p[k][0]) for k in keys}) for p in parts if p.height]
        self.writes += 1
        self.lake.replace(name, adds, scope={}, app="test", app_version=self.writes)

    def publish(self) -> Any:
        return publish_gold(self.lake, self.state)

    def clients(self) -> Clients:
        """A function from role to a client that presents a key of it; None: no key."""
        app = build_app(Settings(state=str(self.state)))
        app.state.store._poll_seconds = 0
        app.state.watch._poll_seconds = 0

        def client(role: str | None) -> TestClient:
            headers = {"X-API-Key": access.issue(self.state, f"test {role} {uuid4()}", role)} if role else {}
            return TestClient(app, headers=headers)

        return client


def fill(shop: Shop) -> None:
    """The rows that the tests speak of."""
    old = date(2026, 2, 1)
    shop.write("gold.customer_360", [
        *(profile(p, may_personalize=p != "p_bob") for p in PEOPLE),
        profile("p_ann", as_of=old, first_name="Outdated"), profile("p_left", as_of=old),
    ])  # fmt: skip
    accounts = {"POS/1": "p_ann", "SHOP/9": "p_ann", "POS/2": "p_bob", "POS/3": "p_cyd", "POS/4": "p_dan"}
    shop.write("silver.identities", [
        {"record_id": r, "source_system": r.split("/")[0], "customer_id": r.split("/")[1], "person_id": p,
         "resolved_by": "score"}
        for r, p in accounts.items()
    ])  # fmt: skip
    shop.write("silver.products", [
        {"product_id": p, "product_name": f" Product {p} ", "category": "Toys", "price": Decimal("2.95"),
         "currency": "EUR", "is_product": p != "P6", "product_status": "DISCONTINUED" if p == "P5" else None}
        for p in CATALOGUE
    ])  # fmt: skip
    stocked = {("P1", "S1"): 0, ("P1", "S2"): 0, ("P2", "S1"): 0, ("P2", "S2"): 3, ("P3", "S1"): 5}
    shop.write("silver.stock", [
        {"product_id": p, "store_id": s, "quantity_on_hand": q, "is_in_stock": q > 0} for (p, s), q in stocked.items()
    ])  # fmt: skip
    shop.write("gold.recommendations", [
        *ranked("p_ann", ["P1", "P4", "P5", "P3", "P6", "P2"]), *ranked("p_ann", ["P2", "P3"], mode="all"),
        *ranked("p_ann", ["P6"], as_of=old), *ranked("p_bob", ["P4"]), *ranked("p_dan", ["P1"]),
        *ranked("p_erased", ["P2"]),
    ])  # fmt: skip
    shop.write("gold.predictions", [
        {"person_id": p, "model": "churn", "version": "3", "target": "churn", "score": s, "reasons": REASONS,
         "scored_at": NOW, "as_of": d}
        for p, s, d in [("p_ann", 0.7, AS_OF), ("p_ann", 0.1, old), ("p_bob", 0.2, AS_OF)]
    ])  # fmt: skip
    shop.write("gold.category_scores", [
        {"person_id": p, "category": c, "rank": r, "score": 0.3 / r, "lift": 2.0, "model": "propensity", "version": "4",
         "target": "bought_in_category_30d", "scored_at": NOW, "as_of": d}
        for p, d in [("p_ann", AS_OF), ("p_bob", AS_OF), ("p_cyd", old), ("p_erased", AS_OF)]
        for r, c in enumerate(("Toys", "Wine"), start=1)
    ])  # fmt: skip
    shop.write("gold.product_affinity", [
        {"product_id": "P2", "other_product_id": other, "as_of": day, "rank": rank, "both_count": 30, "own_count": 100,
         "other_count": 50, "basket_count": 500, "support": 0.06, "confidence": 0.3, "lift": 3.0, "expected_count": 4.0,
         "p_value": 1e-5, "q_value": 0.001, "is_significant": other != "P6"}
        for rank, (other, day) in enumerate(
            [("P1", AS_OF), ("P4", AS_OF), ("P5", AS_OF), ("P9", AS_OF), ("P6", AS_OF), ("P3", old)], start=1
        )
    ])  # fmt: skip
    sold = [
        ("P3", 3, date(2026, 2, 25)),
        ("P1", 2, date(2026, 2, 25)),
        ("P2", 1, date(2026, 2, 25)),
        ("P4", 4, date(2026, 1, 1)),
    ]
    shop.write("gold.interactions", [
        {"person_id": f"buyer{i}", "product_id": p, "on": on, "kind": "purchase", "count": 1, "quantity": 1}
        for p, times, on in sold for i in range(times)
    ])  # fmt: skip


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A filled and published shop that no test changes."""
    folder = tmp_path_factory.mktemp("shop")
    shop = Shop(Lake(str(folder / "lake"), buckets=3), folder / "state")
    fill(shop)
    shop.publish()
    return shop


@pytest.fixture(scope="session")
def client(published: Shop) -> Clients:
    """A function from role to a client of the published shop."""
    return published.clients()


@pytest.fixture
def empty_shop(tmp_path: Path) -> Shop:
    """A shop of the test's own, without tables."""
    return Shop(Lake(str(tmp_path / "lake"), buckets=2), tmp_path / "state")


@pytest.fixture
def own_shop(empty_shop: Shop) -> Shop:
    """A filled shop of the test's own, not published yet."""
    fill(empty_shop)
    return empty_shop
