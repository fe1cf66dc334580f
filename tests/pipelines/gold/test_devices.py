"""Whose a device is: by login, by networks as far as they are right, and nobody's who refuses."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import combinations
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from customer360.pipelines.gold import devices
from customer360.pipelines.gold.devices import DeviceEvidence
from customer360.pipelines.gold.technology import technology_profiles
from customer360.pipelines.rules import DeviceRules, EnrichmentRules, StandardizationRules
from customer360.pipelines.silver.behavior import Events
from customer360.pipelines.silver.devices import DeviceLinks, DeviceObservations
from customer360.pipelines.silver.devices import devices as silver_devices
from customer360.pipelines.silver.traffic import SetApartSessions
from customer360.platform import graph, tables
from customer360.platform.tables import Table
from customer360.serve.compose import compose

AS_OF = date(2026, 6, 1)
START = datetime(2026, 3, 1, 12, tzinfo=UTC)
RULES = EnrichmentRules(devices=DeviceRules(least_devices=5, least_precision=0.4))
APART = pl.LazyFrame(schema=tables.schema(SetApartSessions))
REFUSED = {"person_id": pl.String, "purpose": pl.String}


def frame(table: type[Table], rows: list[dict[str, Any]]) -> pl.LazyFrame:
    schema = tables.schema(table)
    return pl.LazyFrame([{c: row.get(c) for c in schema} for row in rows], schema=schema)


def seen(device: str, network: str, day: int, **more: Any) -> dict[str, Any]:
    at = START + timedelta(days=day)
    return {"visitor_id": device, "network_id": network, "observed_at": at, "observed_on": at.date(), "is_bot": False,
            "observation_id": f"{device}-{day}", **more}  # fmt: skip


def home(
    number: int, *, logs_in: bool = True, always: bool = False
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """A person with a phone that is known, and a tablet that is where they log in; on a network of their own. They
    log in on each day, or on those before the third alone: the tablet on one of two."""
    phone, tablet, account = f"phone{number}", f"tablet{number}", f"C{number}"
    observed = [
        seen(device, f"N{number}", day, screen_width=width,
             customer_id=account if (logs_in or device == phone) and (always or day < 3) else None)
        for device, width, days in ((phone, 393, (1, 9, 17)), (tablet, 820, (2, 11))) for day in days
    ]  # fmt: skip
    known = [phone, tablet] if logs_in else [phone]
    links = [{"person_id": f"P{number}", "identifier": d, "first_at": START, "person_count": 1, "is_shared": False}
             for d in known]  # fmt: skip
    return observed, links


def linked(
    homes: int, silent: int, refused: tuple[str, ...] = (), rules: EnrichmentRules = RULES, always: bool = False
) -> pl.DataFrame:
    """gold.cross_device_links of so many homes, ``silent`` of them with a tablet without a login."""
    compose()
    parts = [home(n, logs_in=n >= silent, always=always) for n in range(homes)]
    observed = frame(DeviceObservations, [row for part, _ in parts for row in part])
    links = frame(DeviceLinks, [row for _, part in parts for row in part])
    denials = pl.LazyFrame([(p, "PROFILING") for p in refused], schema=REFUSED, orient="row")
    build = {
        n: graph.NODES[f"gold.{n}"].function for n in ("device_evidence", "device_link_levels", "cross_device_links")
    }
    evidence = build["device_evidence"](observed, links, denials, as_of=AS_OF, params=rules).collect().lazy()
    levels = build["device_link_levels"](evidence, as_of=AS_OF, params=rules).collect().lazy()
    return build["cross_device_links"](links, evidence, levels, denials, as_of=AS_OF).collect()


def test_a_tablet_without_a_login_is_that_of_the_person_at_home() -> None:
    found = linked(400, 170).filter(method="NETWORK")
    assert set(found.select("person_id", "visitor_id", "shared_day_count").rows()) == {
        (f"P{n}", f"tablet{n}", 2) for n in range(170)
    }
    assert 0.75 < found["confidence_low"].unique().item() < found["confidence"].unique().item() <= 1


def test_a_level_that_few_devices_weigh_links_nobody() -> None:
    assert linked(10, 1, rules=EnrichmentRules()).filter(method="NETWORK").is_empty()


def test_devices_that_would_have_logged_in_are_not_taken_for_those_of_people_who_do() -> None:
    """Everybody logs in on each day, so that a silent tablet is of somebody who never does."""
    assert linked(400, 100, always=True).filter(method="NETWORK").is_empty()


def test_where_more_should_be_silent_than_are_nothing_is_known() -> None:
    """Half of the days pass without a login, so that twenty tablets should never have had one, and it is one: how often
    people log in later says nothing here of whether they ever do."""
    assert linked(60, 1).filter(method="NETWORK").is_empty()


def level(silent: int, *known: tuple[int, int, int, int]) -> dict[str, Any]:
    """One level of gold.device_link_levels: devices without a login that are seen for a day, and (devices, days seen,
    later days, those with a login) of people who are known."""
    rows = [
        {"visitor_id": f"{n}-{i}", "person_id": f"P{i}", "owner_id": f"P{i}", "level": "alone", "day_count": days,
         "later_day_count": later, "login_day_count": logins}
        for n, (count, days, later, logins) in enumerate(known) for i in range(count)
    ]  # fmt: skip
    rows += [{"visitor_id": f"s{i}", "person_id": "P0", "level": "alone", "day_count": 1} for i in range(silent)]
    compose()
    build = graph.NODES["gold.device_link_levels"].function
    return build(frame(DeviceEvidence, rows), as_of=AS_OF, params=RULES).collect().to_dicts()[0]


def test_devices_of_a_day_are_weighed_by_devices_of_a_day() -> None:
    """Who is there for a day logs in on nine of ten; that people who stay do so on a third of their days says nothing
    of whom the silent ones are."""
    told = level(100, (100, 1, 10, 9), (300, 10, 9, 3))
    assert told["known_share"] < 0.2 and told["status"] == "NOT_PRECISE_ENOUGH"


def test_who_refuses_profiling_has_no_link_and_nobody_else_gets_their_device() -> None:
    found = linked(60, 20, refused=("P0",))
    assert found.filter(pl.col("visitor_id").is_in(["tablet0", "phone0"])).is_empty()
    assert found.filter(method="LOGIN").height == 2 * 40 + 19


def test_a_shared_device_is_each_persons_by_its_part() -> None:
    links = frame(DeviceLinks, [
        {"person_id": p, "identifier": "V", "first_at": START, "person_count": 2, "is_shared": True} for p in ("A", "B")
    ])  # fmt: skip
    none = {"visitor_id": pl.String, "person_id": pl.String, "owner_id": pl.String, "shared_day_count": pl.Int64,
            "level": pl.String}  # fmt: skip
    levels = {"level": pl.String, "precision": pl.Float64, "precision_low": pl.Float64, "status": pl.String}
    made = devices.cross_device_links(links, pl.LazyFrame(schema=none), pl.LazyFrame(schema=levels), AS_OF).collect()
    assert made.select("confidence", "is_shared").unique().rows() == [(0.5, True)]


def test_a_place_where_many_are_is_no_home() -> None:
    observed, links = [], []
    for number in range(9):
        observed += [seen(f"V{number}", "CAFE", number), seen(f"W{number}", "CAFE", number)]
        links.append({"person_id": f"P{number}", "identifier": f"V{number}", "first_at": START, "is_shared": False})
    made = devices.device_evidence(
        frame(DeviceObservations, observed), frame(DeviceLinks, links), pl.LazyFrame(schema=REFUSED), AS_OF, RULES
    )
    assert made.collect().is_empty()


def test_a_device_is_what_it_said_last_and_machines_say_so() -> None:
    observed = frame(DeviceObservations, [
        seen("V", "N", 1, browser="Chrome", browser_version="137.0", brand="Google", model="Pixel 9"),
        seen("V", "M", 2, browser="Chrome", browser_version="138.0", language="de-DE", app_version="4.1"),
        seen("bot", "N", 1, is_bot=True),
    ])  # fmt: skip
    done = {"visitor_id": "E", "occurred_at": START, "event_id": "1", "browser": "Firefox"}
    events = frame(Events, [done, done | {"event_id": "2", "set_apart": "DECLARED_BOT"}, done | {"visitor_id": None}])
    made = {r["visitor_id"]: r for r in silver_devices(events, observed).collect().to_dicts()}
    assert set(made) == {"V", "bot", "E"}
    assert (made["V"]["browser_version"], made["V"]["model"], made["V"]["language"]) == ("138.0", "Pixel 9", "de-DE")
    assert (made["V"]["network_count"], made["V"]["is_app"], made["bot"]["is_bot"]) == (2, True, True)
    assert (made["E"]["event_count"], made["E"]["observation_count"], made["E"]["browser"]) == (1, 0, "Firefox")


def test_what_is_used_on_most_days_is_preferred_and_nothing_of_as_of_counts() -> None:
    def done(day: int, **more: Any) -> dict[str, Any]:
        return {"person_id": "P", "occurred_on": AS_OF - timedelta(days=day), "device_type": "MOBILE", **more}

    events = [*(done(d, browser="Safari", operating_system="iOS") for d in (1, 2, 3)), done(1, browser="Safari"),
              done(5, browser="Edge", device_type="DESKTOP"), *(done(0, browser="Edge") for _ in range(9)),
              done(400, browser="Opera"), done(2, browser="Opera", set_apart="DECLARED_BOT")]  # fmt: skip
    observed = [{"person_id": "P", "observed_on": AS_OF - timedelta(days=1), "is_bot": False, "language": "de-DE",
                 "app_version": "1.0"}]  # fmt: skip
    (row,) = (
        technology_profiles(frame(Events, events), frame(DeviceObservations, observed), APART, AS_OF)
        .collect()
        .to_dicts()
    )
    assert (row["main_browser"], row["main_operating_system"], row["main_device_type"]) == ("Safari", "iOS", "MOBILE")
    assert (row["day_count"], row["main_language"], row["is_app_user"]) == (4, "de-DE", True)
    assert row["main_device_share"] == pytest.approx(0.75)


def test_a_day_counts_once_whichever_feed_tells_of_it() -> None:
    day = START.date()
    both = [{"person_id": "P", "device_type": "MOBILE", "occurred_on": day + timedelta(days=n)} for n in (0, 1)]
    alone = [{"person_id": "P", "device_type": "DESKTOP", "occurred_on": day + timedelta(days=n)} for n in (2, 3, 4)]
    observed = [{"person_id": "P", "device_type": "MOBILE", "observed_on": day + timedelta(days=n), "is_bot": False,
                 "language": "de"} for n in (0, 1)]  # fmt: skip
    told = technology_profiles(
        frame(Events, [*both, *alone]), frame(DeviceObservations, observed), APART, AS_OF
    ).collect()
    assert told.select("main_device_type", "main_device_share").rows() == [("DESKTOP", pytest.approx(0.6))]


def test_an_observation_declares_a_machine_by_the_rules_of_events() -> None:
    compose()
    agents = ["python-requests/2.31.0", "Mozilla/5.0 (X11; Linux x86_64) HeadlessChrome/120.0", "Mozilla/5.0 (iPhone)"]
    bronze = tables.schema(tables.by_name("bronze.devices")) | {"_source_system": pl.String}
    rows = [{"OBSERVATION_ID": str(n), "VISITOR_ID": "V", "OBSERVED_AT": START, "USER_AGENT": agent,
             "_source_system": "S"} for n, agent in enumerate(agents)]  # fmt: skip
    given = pl.LazyFrame([{c: row.get(c) for c in bronze} for row in rows], schema=bronze)
    links = pl.LazyFrame(schema=tables.schema(tables.by_name("silver.identity_links")))
    made = graph.NODES["silver.device_observations"].function(given, links, StandardizationRules()).collect()
    assert made.sort("observation_id")["is_bot"].to_list() == [True, True, False]


def test_a_place_in_one_month_is_no_home_in_another() -> None:
    """A cafe with 20 known people in March, and one of them alone in May."""
    months = [(seen(f"d{n}", "cafe", 1), n) for n in range(20)]
    rows = [row for row, _ in months] + [
        seen("d0", "cafe", 70),
        *(seen("anonymous", "cafe", day) for day in (1, 2, 3, 4)),
    ]
    known = [{"person_id": f"p{n}", "identifier": f"d{n}", "first_at": START, "is_shared": False} for _, n in months]
    made = devices.device_evidence(
        frame(DeviceObservations, rows), frame(DeviceLinks, known), pl.LazyFrame(schema=REFUSED), AS_OF, RULES
    ).collect()
    assert made.is_empty()


@pytest.mark.parametrize(
    ("network", "is_valid"),
    [
        ("4f1d2c3b4a596877", True),
        ("office-berlin", True),
        (None, True),
        ("203.0.113.7", False),
        ("2001:db8::1", False),
        ("::ffff:203.0.113.7", False),
        ("[2001:db8::1]:443", False),
        ("fe80::1%eth0", False),
        ("64:ff9b::203.0.113.7", False),
        ("ip=203.0.113.7", False),
        ("net_203.0.113.7:443", False),
        ("203.0.113.7.in-addr.example", False),
        ("2001:db8:0:0:1:2:3:4", False),
        ("ip6:2001:db8::1", False),
        ("2001:db8:7::/48", False),
        ("mac:02:00:5e:10:00:01", False),
        ("site:7:guest", True),
        ("net:1:2", True),
        ("hmac::abc", True),
        ("v1.2.3.4", True),
        ("1.2.3.400", True),
        ("3.1.203.0.113.7", True),
        (":".join(["4f", "1d"] * 16), True),
        ("sha256:" + ":".join(["4f", "1d"] * 10), True),
        ("hmac:sha256:4f1d2c", True),
        ("0f8fad5b-d9cb-469f-a165-70867728950e", True),
    ],
)
def test_an_address_is_refused_as_a_network(network: str | None, is_valid: bool) -> None:
    from customer360.pipelines.bronze.behavior import Devices

    rows = pl.DataFrame({"NETWORK_ID": [network]}, schema={"NETWORK_ID": pl.String})
    rule = Devices._validation_rules(with_cast=False)["network_is_no_address"]
    assert rows.select(rule.expr.fill_null(True)).item() is is_valid


def test_the_retailers_devices_are_whole(retailer: Any) -> None:
    made = retailer.frame("silver.devices").collect()
    observed = retailer.frame("silver.device_observations").collect()
    events = retailer.frame("silver.events").filter(pl.col("set_apart").is_null(), pl.col("visitor_id").is_not_null())
    assert made["observation_count"].sum() == observed.height
    assert made["event_count"].sum() == events.collect().height
    assert retailer.frame("gold.device_link_levels").collect()["device_count"].sum() > 20


def test_looks_of_two_sources_with_one_number_are_in_one_order() -> None:
    rows = [seen("v", "n", 1, source_system=source, browser=source) for source in ("S", "A")]
    rows.append(seen("w", "n", 1, source_system="S", browser="S"))
    for told in (rows, rows[::-1]):
        makes = devices._makes(frame(DeviceObservations, told)).collect().sort("visitor_id")
        assert makes["make"].n_unique() == 1, "the latest of v is that of S"


LOOKS = st.lists(
    st.tuples(st.sampled_from("vwx"), st.integers(0, 3), st.sampled_from("AB"), st.sampled_from(["M", None])),
    max_size=12,
)


@given(LOOKS)
def test_devices_are_of_one_make_where_their_latest_looks_are(looks: list[tuple[str, int, str, str | None]]) -> None:
    rows = [
        seen(device, "n", day, observation_id=f"{n % 3}{n}", browser=browser, model=model)
        for n, (device, day, browser, model) in enumerate(looks)
    ]
    latest: dict[str, Any] = {}
    for row in sorted(rows, key=lambda r: (r["observed_at"], r["observation_id"])):
        latest[row["visitor_id"]] = (row["browser"], row["model"])
    found = {r["visitor_id"]: r for r in devices._makes(frame(DeviceObservations, rows)).collect().to_dicts()}
    assert set(found) == set(latest)
    for one, other in combinations(latest, 2):
        assert (found[one]["make"] == found[other]["make"]) == (latest[one] == latest[other])
    for device, row in found.items():
        days = [r["observed_on"] for r in rows if r["visitor_id"] == device]
        assert (row["since"], row["until"]) == (min(days), max(days))
