"""An API as a source: every record once, whatever the paging, the limit, the faults and the crashes."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError

from customer360.platform import ledger
from customer360.platform.lake import Lake
from customer360.platform.run.executor import LocalExecutor, lanes
from customer360.platform.run.ingest import SourceRun, ingest
from customer360.platform.run.news import look_at
from customer360.platform.settings import ExecutionSettings, RetrySettings, Settings
from customer360.platform.sources import apis
from customer360.platform.sources.base import configured
from customer360.platform.sources.landing import landing_of
from customer360.platform.tables import Float, String, Table

TABLE = "bronze.t_orders"
Shop = Any  # api_server.Shop
QUERY = """query ($first: Int!, $after: String, $since: String) {
  orders(first: $first, after: $after, since: $since) {
    edges { node { id total updatedAt lines { sku quantity } } } pageInfo { hasNextPage endCursor } } }"""


def order(number: int, at: str = "2026-07-01T10:00:00+00:00", total: float = 1.5) -> dict[str, Any]:
    return {"id": f"O{number:05d}", "total": total, "updated_at": at}


@pytest.fixture(autouse=True)
def orders_table(registries: None) -> None:
    class Orders(Table, table=TABLE, key=("ID",)):
        """One row per order."""

        ID = String(nullable=True)
        TOTAL = Float(nullable=True)
        UPDATED_AT = String(nullable=True)


@pytest.fixture
def shop(shop_api: Shop) -> Shop:
    apis._probed.clear()
    apis._seen.clear()
    shop_api.orders = [order(n) for n in range(107)]
    return shop_api


def settings_of(tmp_path: Path, shop: Shop, *, connection: dict[str, Any] | None = None, **keys: Any) -> Settings:
    (tmp_path / "landing").mkdir(exist_ok=True)
    connected = {"kind": "api", "url": shop.url, "rate": {"per_minute": 60_000, "burst": 100}, "attempts": 3}
    source = {"kind": "apis", "connection": "shop", "table": TABLE, "system": "SHOP", "path": "header/orders.json",
              "mapping": {"ID": "id", "TOTAL": "total", "UPDATED_AT": "updated_at"}}  # fmt: skip
    if "{since}" in str(keys):
        source["since"] = {"start": "2026-01-01"}
    return Settings.model_validate(
        {
            "landing": str(tmp_path / "landing"),
            "lake": {"root": str(tmp_path / "lake"), "buckets": 4},
            "execution": {"executor": "local", "retry": {"attempts": 1}},
            "connections": {"shop": {**connected, **(connection or {})}},
            "sources": {"orders": {**source, **keys}},
        }
    )


def land(settings: Settings) -> SourceRun:
    lake = Lake(settings.lake.root, {}, 4)
    executor = LocalExecutor(ExecutionSettings(executor="local", retry=RetrySettings(attempts=1)))
    (done,) = ingest(lake, settings, ["orders"], executor, {})
    return done


def landed(settings: Settings) -> pl.DataFrame:
    lake = Lake(settings.lake.root, {}, 4)
    return lake.scan(TABLE).collect() if lake.exists(TABLE) else pl.DataFrame(schema={"ID": pl.String})


WAYS: dict[str, dict[str, Any]] = {
    "link of the header": {"parameters": {"limit": 10, "since": "{since}"}, "records": "orders"},
    "link of the body": {"path": "body/orders", "parameters": {"limit": 10, "since": "{since}"}},
    "cursor": {
        "path": "/cursor/orders",
        "parameters": {"limit": 10, "since": "{since}"},
        "paging": {"kind": "cursor", "path": "meta.after", "parameter": "cursor", "more": "meta.has_more"},
    },
    "number": {"path": "number/orders", "parameters": {"limit": 10}, "paging": "page"},
    "offset": {"path": "offset/orders", "parameters": {"limit": 10}, "paging": {"kind": "offset", "total": "total"}},
    "one page": {"path": "cut/orders", "parameters": {"limit": 500}, "paging": "none"},
    "graphql": {
        "path": "graphql",
        "query": QUERY,
        "variables": {"first": 10, "since": "{since}"},
        "records": "data.orders.edges",
        "paging": {
            "kind": "cursor",
            "path": "data.orders.pageInfo.endCursor",
            "parameter": "variables.after",
            "more": "data.orders.pageInfo.hasNextPage",
        },
        "mapping": {"ID": "node.id", "TOTAL": "node.total", "UPDATED_AT": "node.updatedAt"},
    },
}


@pytest.mark.parametrize("way", WAYS)
def test_all_records_come_whatever_the_paging(tmp_path: Path, shop: Shop, way: str) -> None:
    settings = settings_of(tmp_path, shop, **WAYS[way])
    assert land(settings).failure is None
    found = landed(settings)
    assert sorted(found["ID"]) == sorted(o["id"] for o in shop.orders)
    assert found["TOTAL"].sum() == 107 * 1.5
    assert found.select("_file", "_position").n_unique() == 107


def test_the_next_batch_asks_for_what_changed_since(tmp_path: Path, shop: Shop) -> None:
    settings = settings_of(tmp_path, shop, **WAYS["link of the header"])
    land(settings)
    assert land(settings).nodes[0].state == "current"  # asked, and nothing was new: no batch
    later = "2126-01-01T00:00:00+00:00"
    shop.orders[3] = order(3, later, 9.0)
    shop.orders.append(order(999, later))
    before = len(shop.asked)
    land(settings)
    assert len(shop.asked) - before == 2  # whether there is anything, and the page
    assert sorted(landed(settings).filter(pl.col("_seq") == 2)["ID"]) == ["O00003", "O00999"]


def test_a_crawl_that_stops_goes_on_after_its_last_page(tmp_path: Path, shop: Shop) -> None:
    settings = settings_of(tmp_path, shop, **WAYS["link of the header"])
    shop.faults = [None, None, None, None, (500, {}, ""), (500, {}, ""), (500, {}, "")]  # a probe and three pages
    first = land(settings)
    assert first.failure and "answers 500" in first.failure
    assert landed(settings).is_empty()
    asked = len(shop.asked)
    shop.faults = []
    assert land(settings).failure is None
    assert len(shop.asked) - asked == 8 + 1  # pages 4 to 11, and whether there is anything after that batch
    assert landed(settings)["ID"].n_unique() == landed(settings).height == 107


def test_what_was_kept_is_gone_once_it_landed(tmp_path: Path, shop: Shop) -> None:
    settings = settings_of(tmp_path, shop, **WAYS["cursor"])
    lake = Lake(settings.lake.root, {}, 4)
    source = configured(settings, "orders")
    piece = source.discover(landing_of(settings), []).inputs[0]
    ledger.open_batch(lake, "orders", (piece,), cursor={"until": piece.detail["until"]})
    assert source.read(landing_of(settings), piece).count == 107
    assert len(lake.objects("_spool/orders")) == 11
    shop.orders = [order(1, total=77.0)]  # what is asked twice may be answered otherwise
    assert source.read(landing_of(settings), piece).count == 107
    land(settings)
    assert landed(settings).height == 107
    assert not lake.objects("_spool/orders")


def test_a_limit_is_kept_over_sources_of_one_connection(tmp_path: Path, shop: Shop) -> None:
    shop.per_minute, shop.burst = 1200, 12  # it counts what arrives, and the way there takes time
    settings = settings_of(tmp_path, shop, connection={"rate": {"per_minute": 1200, "burst": 8}}, **WAYS["cursor"])
    other = settings.sources["orders"].model_copy(update={"path": "body/orders", "paging": apis.Auto()})
    settings = settings.model_copy(update={"sources": {"orders": settings.sources["orders"], "more": other}})
    lake = Lake(settings.lake.root, {}, 4)
    executor = LocalExecutor(ExecutionSettings(executor="local", retry=RetrySettings(attempts=1)))
    done = list(ingest(lake, settings, ["orders", "more"], executor, {}))
    assert [run.failure for run in done] == [None, None]
    assert len(shop.seen) >= 2 + 22 and shop.refused == 0


def test_units_of_one_connection_share_a_lane() -> None:
    class Unit:
        def __init__(self, lane: str = "") -> None:
            self.lane = lane

        def run(self) -> None: ...

    assert lanes([Unit("a"), Unit(), Unit("b"), Unit("a")]) == {"a": [0, 3], "b": [2]}


def test_who_is_told_to_wait_waits(tmp_path: Path, shop: Shop) -> None:
    shop.faults = [(429, {"Retry-After": "1"}, ""), None, (503, {"Retry-After": "1"}, "")]
    settings = settings_of(tmp_path, shop, **WAYS["cursor"])
    start = time.monotonic()
    assert land(settings).failure is None
    assert time.monotonic() - start > 2
    assert landed(settings).height == 107


def test_a_wait_that_is_too_long_is_said_at_once(tmp_path: Path, shop: Shop) -> None:
    shop.faults = [None, (429, {"Retry-After": "86400"}, "")]
    settings = settings_of(tmp_path, shop, **WAYS["cursor"])
    start = time.monotonic()
    failure = land(settings).failure
    assert failure and "answers 429" in failure and "86,400 s" in failure
    assert time.monotonic() - start < 10


def test_a_token_is_renewed_before_it_ends_and_once_where_it_was_revoked(
    tmp_path: Path, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_SECRET", "open-sesame")
    oauth = {
        "auth": "oauth2", "token_url": f"{shop.url}/oauth/token", "client_id": "us", "client_secret_env": "SHOP_SECRET",
    }  # fmt: skip
    ways = {**WAYS["link of the header"], "path": "secured/orders.json"}
    settings = settings_of(tmp_path, shop, connection=oauth, **ways)
    pages = 0

    def revoke() -> None:
        nonlocal pages
        pages += 1
        if pages == 5:
            shop.tokens.clear()

    shop.before_answer = revoke
    assert land(settings).failure is None
    assert landed(settings).height == 107
    assert len(shop.tokens) == 1  # after all were revoked: one, not one a page


def test_a_wrong_secret_is_one_line_without_it(tmp_path: Path, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_SECRET", "a-wrong-one")
    oauth = {
        "auth": "oauth2", "token_url": f"{shop.url}/oauth/token", "client_id": "us", "client_secret_env": "SHOP_SECRET",
    }  # fmt: skip
    failure = land(settings_of(tmp_path, shop, connection=oauth, **WAYS["cursor"])).failure
    assert failure and "invalid_client" in failure and "a-wrong-one" not in failure
    monkeypatch.delenv("SHOP_SECRET")
    failure = land(settings_of(tmp_path, shop, connection=oauth, **WAYS["cursor"])).failure
    assert failure and "SHOP_SECRET" in failure


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ((200, {"content-type": "text/html"}, "<html>log in</html>"), "answers with no JSON (text/html)"),
        ((200, {}, '{"a": [{}], "b": [{}]}'), "lists at a, b: say where they are"),
        ((200, {}, '{"status": "ok"}'), "no list of records"),
        ((302, {"location": "https://login.example/?x=1"}, ""), "leads on to https://login.example/: name that URL"),
        ((403, {}, '{"error":"scope read_orders"}'), "the credentials are refused: {\"error\":\"scope read_orders\"}"),
        ((404, {}, "no such\n thing"), "answers 404: no such thing"),
    ],
)  # fmt: skip
def test_what_is_no_answer_is_said(
    tmp_path: Path, shop: Shop, fault: tuple[int, dict[str, str], str], said: str
) -> None:
    shop.faults = [fault]
    failure = land(settings_of(tmp_path, shop, path="cursor/orders", parameters={"since": "{since}"})).failure
    assert failure and said in failure and "?" not in failure.split("answers")[0]


def test_a_page_that_is_full_and_leads_nowhere_is_not_taken_for_all(tmp_path: Path, shop: Shop) -> None:
    failure = land(settings_of(tmp_path, shop, path="cut/orders", parameters={"limit": 50})).failure
    assert failure and "gives 50 records, all that `limit` lets it" in failure
    assert landed(settings_of(tmp_path, shop)).is_empty()


def test_the_last_page_that_comes_again_and_again_is_said(tmp_path: Path, shop: Shop) -> None:
    failure = land(settings_of(tmp_path, shop, path="stuck/orders", paging="page")).failure
    assert failure and "again as page 4" in failure


def test_pages_in_a_circle_end(tmp_path: Path, shop: Shop) -> None:
    failure = land(settings_of(tmp_path, shop, path="circle/orders")).failure
    assert failure and "leads in a circle" in failure


def test_faults_of_graphql_are_faults(tmp_path: Path, shop: Shop) -> None:
    keys = {**WAYS["graphql"], "query": QUERY.replace("total", "amount")}
    failure = land(settings_of(tmp_path, shop, **keys)).failure
    assert failure and "Cannot query field 'amount'" in failure


def test_without_since_everything_is_asked_for_once_an_hour(tmp_path: Path, shop: Shop) -> None:
    settings = settings_of(tmp_path, shop, path="number/orders", parameters={"limit": 60}, paging="page")
    land(settings)
    asked = len(shop.asked)
    assert land(settings).nodes[0].state == "current" and len(shop.asked) == asked


def test_an_api_that_does_not_answer_is_one_line(tmp_path: Path, shop: Shop) -> None:
    settings = settings_of(tmp_path, shop, connection={"url": "http://127.0.0.1:9/x"}, parameters={"s": "{since}"})
    failure = land(settings).failure
    assert failure and "GET http://127.0.0.1:9/x/header/orders.json does not answer: ConnectError" in failure


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"since": {"start": "2026-01-01"}}, "nothing asks for it"),
        ({"parameters": {"a": "{until}"}}, "say `since:`"),
        ({"query": "{ a }"}, "`records:` names the path"),
        ({"paging": {"kind": "cursor"}}, "paging.cursor.path"),
    ],
)
def test_keys_that_do_not_fit_are_said(keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as fault:
        apis.Apis.model_validate({"table": TABLE, "system": "SHOP", "connection": "shop", **keys})
    assert said in str(fault.value)


def test_secrets_are_named_and_never_written() -> None:
    from customer360.platform.connections.api import Api

    with pytest.raises(ValidationError, match="client_secret_env or client_secret_file"):
        Api.model_validate(
            {"url": "https://x.example", "auth": "oauth2", "token_url": "https://x.example/t", "client_id": "a"}
        )
    with pytest.raises(ValidationError, match="a secret does not stand in settings"):
        Api.model_validate({"url": "https://x.example", "auth": "key", "key": "s3cret"})


RECENT: dict[str, Any] = {
    "path": "header/orders.json",
    "parameters": {"limit": 10, "since": "{since}"},
    "records": "orders",
}


def recent(number: int) -> dict[str, Any]:
    """An order that each batch of the next minutes asks for again."""
    return order(number, (datetime.now(UTC) - timedelta(seconds=20)).isoformat())


def test_what_did_not_change_within_the_overlap_makes_no_batch(tmp_path: Path, shop: Shop) -> None:
    shop.orders = [recent(1)]
    settings = settings_of(tmp_path, shop, **RECENT)
    assert [land(settings).nodes[0].state for _ in range(3)] == ["built", "current", "current"]
    assert landed(settings).height == 1
    shop.orders.append(recent(2))
    land(settings)
    assert set(landed(settings)["ID"]) == {"O00001", "O00002"}


def test_an_equal_answer_without_since_makes_no_batch_nor_does_an_empty_one(tmp_path: Path, shop: Shop) -> None:
    settings = settings_of(tmp_path, shop, path="cut/orders", paging="none", every_minutes=0)
    assert [land(settings).nodes[0].state for _ in range(2)] == ["built", "current"]
    assert landed(settings).height == 50
    held, shop.orders = shop.orders, []  # it says nothing of columns, and a fault of the API looks the same
    assert land(settings).nodes[0].state == "current"
    shop.orders = [*held[:5], order(999)]
    assert land(settings).nodes[0].state == "built" and landed(settings).height == 56


def test_two_looks_at_an_api_that_did_not_change_are_equal(
    tmp_path: Path, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_of(tmp_path, shop, **RECENT)
    lake = Lake(settings.lake.root, {}, 4)
    shown = []
    for minute in range(3):
        monkeypatch.setattr(apis, "datetime", _At(datetime(2026, 11, 2, 10, minute, tzinfo=UTC)))
        shop.orders = shop.orders if minute < 2 else [order(999)]
        shown.append(look_at(lake, settings))
    assert shown[0] and shown[0] == shown[1] != shown[2]


class _At:
    """The class `datetime` at a moment."""

    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def now(self, zone: Any) -> datetime:
        return self.moment.astimezone(zone)

    def __getattr__(self, name: str) -> Any:
        return getattr(datetime, name)


@pytest.mark.parametrize("keys", [RECENT, {"path": "cut/orders", "paging": "none"}])
def test_a_cursor_of_a_clock_that_was_ahead_holds_nothing_up(tmp_path: Path, shop: Shop, keys: dict[str, Any]) -> None:
    settings = settings_of(tmp_path, shop, every_minutes=30, **keys)
    source = configured(settings, "orders")
    ahead = ledger.Batch("orders", 1, "x", (), cursor={"until": "2126-01-01T00:00:00Z"})
    shop.orders = [recent(1)]
    (piece,) = source.discover(landing_of(settings), [ahead]).inputs
    assert piece.detail.get("since", "") < f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"


def test_a_look_is_not_held_up_by_who_asks_to_wait(tmp_path: Path, shop: Shop) -> None:
    shop.faults = [(429, {"Retry-After": "30"}, "")]
    settings = settings_of(tmp_path, shop, **RECENT)
    start = time.monotonic()
    assert "asks to wait for 30 s" in str(land(settings).failure)
    assert "it asked to wait" in str(land(settings).failure)  # it is not asked again before
    assert time.monotonic() - start < 5 and len(shop.asked) == 1


def test_a_preview_writes_nothing(tmp_path: Path, shop: Shop) -> None:
    settings = settings_of(tmp_path, shop, **RECENT)
    source = configured(settings, "orders").unwritten()
    (piece,) = source.discover(landing_of(settings), []).inputs
    asked = len(shop.asked)
    assert source.read(landing_of(settings), piece).count == source.read(landing_of(settings), piece).count == 107
    assert len(shop.asked) - asked == 11  # its pages are kept in memory
    assert not Lake(settings.lake.root, {}, 4).objects("_spool")


def test_pages_of_no_waiting_batch_go_at_the_end_of_a_run(tmp_path: Path, shop: Shop) -> None:
    settings = settings_of(tmp_path, shop, **RECENT)
    lake = Lake(settings.lake.root, {}, 4)
    for source in ("orders", "of_another_name"):
        lake.put(f"_spool/{source}/0123/00000001", b"{}\n[]")
    shop.faults = [None, None, (404, {}, "")]
    assert land(settings).failure  # its batch waits, and so do its pages
    assert {path.split("/")[1] for path in lake.objects("_spool")} == {".rates", "orders"}
    land(settings)
    assert {path.split("/")[1] for path in lake.objects("_spool")} == {".rates"}


def test_faults_of_graphql_quote_no_secret(tmp_path: Path, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_TOKEN", "s3cr3t-value\n")
    shop.faults = [(200, {}, '{"data": {}, "errors": [{"message": "who is Bearer s3cr3t-value"}]}')]
    bearer = {"auth": "bearer", "token_env": "SHOP_TOKEN"}
    failure = land(settings_of(tmp_path, shop, connection=bearer, **WAYS["graphql"])).failure
    assert failure and "who is Bearer" in failure and "s3cr3t" not in failure


@pytest.mark.parametrize(
    "keys",
    [
        {"headers": {"X-Shopify-Access-Token": "hunter2"}},
        {"headers": {"cookie": "sid=hunter2"}},
        {"parameters": {"api_key": "hunter2"}},
    ],
)
def test_secrets_do_not_stand_in_a_source(keys: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="a secret does not stand in settings"):
        apis.Apis.model_validate({"table": TABLE, "system": "SHOP", "connection": "shop", **keys})
