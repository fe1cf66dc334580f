"""The stand-alone lists on a shop of two tastes and on clicks that follow each other: laws, the future, repeats."""

from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from customer360.models.files import interactions, recommend
from customer360.models.recommenders import choice, own, popular
from customer360.platform.errors import SourceError
from customer360.platform.sources.values import timestamps

CUT = datetime(2024, 7, 1)
FEW = (popular.FAMILY, own.FAMILY, *choice.FAMILIES[2:4])


def quiet(line: str) -> None:
    """A progress line that nobody reads."""


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Path:
    """80 users, half buy a00..a14, half b00..b14, on days around the cut; a return, a null user, a repeated line."""
    rng, rows = np.random.default_rng(4), []
    for user in range(80):
        for product in rng.choice(15, size=9, replace=False):
            at = CUT + timedelta(days=int(rng.integers(-200, 20)), hours=9)
            rows.append((f"u{user:02}", f"{'ab'[user % 2]}{product:02}", at.isoformat(), 1))
            if product < 5:
                rows.append((*rows[-1][:2], (at + timedelta(days=30)).isoformat(), 1))
    rows += [
        rows[0],
        (None, "a01", "2024-06-01", 1),
        ("back", "a01", "2024-05-01", 2),
        ("back", "a01", "2024-05-03", -2),
    ]
    path = tmp_path_factory.mktemp("shop") / "log.csv"
    pl.DataFrame(rows, schema=["user", "item", "timestamp", "quantity"], orient="row").write_csv(path)
    return path


@pytest.fixture
def few_families(monkeypatch) -> None:
    """Four quick families are enough for the laws."""
    monkeypatch.setattr(choice, "FAMILIES", FEW)


def lists(path: Path, mode: str, k: int = 5) -> pl.DataFrame:
    found = interactions.read(path, CUT, {})
    return recommend.recommend_users(found, CUT, mode, k, quiet)


@pytest.mark.parametrize("mode", ["new", "all"])
def test_ranks_have_no_gap_and_no_item_twice(shop, few_families, mode) -> None:
    found = lists(shop, mode)
    assert found.select("user", "item").is_unique().all()
    assert (found["rank"] == found.select(pl.int_range(1, pl.len() + 1).over("user")).to_series()).all()
    assert found.equals(lists(shop, mode))


def test_new_holds_nothing_that_was_touched_not_even_returned(shop, few_families) -> None:
    found, past = lists(shop, "new", 30), interactions.read(shop, CUT, {}).rows
    assert found.join(past, on=["user", "item"]).is_empty()
    assert "back" in found["user"]


def test_where_nobody_comes_back_to_an_item_all_holds_new_items(shop, few_families, tmp_path) -> None:
    rows = pl.read_csv(shop, infer_schema=False)
    assert lists(shop, "all").join(rows, on=["user", "item"]).height > 0
    once = rows.unique(["user", "item"], keep="first", maintain_order=True)
    whole = pl.DataFrame({"user": "zz", "item": [f"{t}{n:02}" for t in "ab" for n in range(15)]}).with_columns(
        timestamp=pl.lit("2024-05-01"), quantity=pl.lit("1")
    )
    once.vstack(whole).write_csv(tmp_path / "once.csv")
    found, past = lists(tmp_path / "once.csv", "all"), interactions.read(tmp_path / "once.csv", CUT, {}).rows
    again = found.join(past, on=["user", "item"], how="semi")
    assert set(again["user"]) == {"zz"} and again["rank"].to_list() == [1, 2, 3, 4, 5]  # has touched all there is
    assert set(found["user"]) == set(past["user"]) and found["user"].is_sorted()


def test_what_follows_the_date_changes_nothing(shop, few_families, tmp_path) -> None:
    rows = pl.read_csv(shop, infer_schema=False)
    poison = pl.DataFrame(
        [(f"u{n:02}", "poison", "2024-07-02", "9") for n in range(80)], schema=rows.schema, orient="row"
    )
    rows.vstack(poison).write_csv(tmp_path / "poisoned.csv")
    rows.filter(pl.col("timestamp") < "2024-07-01").write_csv(tmp_path / "past.csv")
    whole = lists(shop, "all")
    assert whole.equals(lists(tmp_path / "poisoned.csv", "all")) and whole.equals(lists(tmp_path / "past.csv", "all"))


def test_what_cannot_be_used_is_counted(shop) -> None:
    found = interactions.read(shop, CUT, {})
    assert found.left_out["without user"] == 1 and found.left_out["equal to another"] == 1
    kept, returned = interactions.without_returns(found.rows)
    assert returned == 1 and not kept.filter(pl.col("user") == "back")["kept"].any()


def test_sessions_follow_the_chain_and_never_repeat_the_current_item(tmp_path) -> None:
    rng, rows = np.random.default_rng(0), []
    for session in range(400):
        item, start = int(rng.integers(0, 20)), CUT - timedelta(hours=int(rng.integers(1, 40)))
        for step in range(int(rng.integers(2, 6))):
            rows.append((session, item, (start + timedelta(minutes=step)).isoformat()))
            item = (item + 1) % 20
    path = tmp_path / "clicks.csv"
    pl.DataFrame(rows, schema=["session", "item", "timestamp"], orient="row").write_csv(path)
    read = interactions.read(path, CUT, {}, ("session", "user"))
    found = recommend.recommend_sessions(read, CUT, 5, quiet)
    current = read.rows.sort("session", "at").group_by("session").agg(current=pl.last("item"))
    joined = found.join(current, on="session")
    assert (joined["item"] != joined["current"]).all() and joined["session"].n_unique() == 400
    first = joined.filter(pl.col("rank") == 1)
    assert (first["item"] == (first["current"] + 1) % 20).mean() > 0.95


def test_a_wrong_column_lists_those_found(shop) -> None:
    with pytest.raises(SourceError, match=r"lacks user .*its columns are \['user', 'item', 'timestamp', 'quantity'\]"):
        interactions.read(shop, CUT, {"user": "Customer"})
    with pytest.raises(SourceError, match="no date"):
        timestamps.moment("soon")


@pytest.fixture(scope="module")
def loners(tmp_path_factory) -> Path:
    """A shop of 60 users and 30 items, z00 the most bought; 20 more users have one item each that nobody else has."""
    rng, rows = np.random.default_rng(8), []
    weight = 1.0 / np.arange(1, 31)
    for user in range(60):
        for product in rng.choice(30, size=8, replace=False, p=weight / weight.sum()):
            at = CUT - timedelta(days=int(rng.integers(1, 200)))
            rows.append((f"u{user:02}", f"z{product:02}", at.isoformat()))
    rows += [(f"lone{n:02}", f"a{n:02}", (CUT - timedelta(days=90 + n)).isoformat()) for n in range(20)]
    path = tmp_path_factory.mktemp("loners") / "log.csv"
    pl.DataFrame(rows, schema=["user", "item", "timestamp"], orient="row").write_csv(path)
    return path


@pytest.mark.parametrize("method", ["ease", "item_knn", "user_knn", "ease_recent"])
@pytest.mark.parametrize("mode", ["new", "all"])
def test_who_no_method_can_tell_gets_what_is_popular(loners, monkeypatch, mode, method) -> None:
    """Nothing says more of one item than of another for them: the catalogue in order of its ids is no answer."""
    monkeypatch.setattr(choice, "choose", lambda windows, tell, rounds: (choice.Way({method: 1.0}), method, {}))
    monkeypatch.setattr(choice, "FAMILIES", choice.FAMILIES[:5])
    found = interactions.read(loners, CUT, {})
    listed = recommend.recommend_users(found, CUT, mode, 5, quiet)
    rows = found.rows.with_columns(age=(pl.lit(CUT) - pl.col("at")).dt.total_days())
    sold = rows.group_by("item").agg(lately=(0.5 ** (pl.col("age") / 28)).sum())
    popular_items = set(sold.sort("lately", descending=True).head(8)["item"])
    of_loners = listed.filter(pl.col("user").str.starts_with("lone"))
    assert of_loners["user"].n_unique() == 20
    others = of_loners.filter(pl.col("item").str.starts_with("a").not_())
    assert others.height >= 80
    assert set(others["item"]) <= popular_items


def test_fast_and_best_rank_the_same_shop(shop) -> None:
    found = interactions.read(shop, CUT, {})
    for effort in ("fast", "best"):
        listed = recommend.recommend_users(found, CUT, "new", 5, quiet, effort=effort)
        assert listed.group_by("user").len()["len"].max() == 5
