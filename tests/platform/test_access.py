"""API keys: who may call, and that nothing stored lets one in."""

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from customer360.platform import access
from customer360.platform.access import Principal, WrongRole
from customer360.platform.errors import AccessDenied, ConfigError


def test_a_key_names_its_principal(tmp_path: Path) -> None:
    key = access.issue(tmp_path, "web shop", "service")
    assert access.verify(tmp_path, key) == Principal("web shop", "service")
    assert [k.name for k in access.issued(tmp_path)] == ["web shop"]


def test_only_digests_are_stored_readable_by_the_owner(tmp_path: Path) -> None:
    key = access.issue(tmp_path, "web shop", "service")
    stored = tmp_path / "keys.json"
    assert key.split("_", 2)[2] not in stored.read_text()
    assert stored.stat().st_mode & 0o777 == 0o600


def test_equal_secrets_would_have_different_digests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access.secrets, "token_urlsafe", lambda _: "same")
    access.issue(tmp_path, "a", "reader")
    access.issue(tmp_path, "b", "reader")
    one, two = json.loads((tmp_path / "keys.json").read_text())
    assert one["digest"] != two["digest"]


@pytest.mark.parametrize("change", [
    lambda key: None,
    lambda key: "",
    lambda key: key + "x",
    lambda key: key[:-1],
    lambda key: key.rsplit("_", 1)[0] if key.count("_") == 2 else key[: key.index("_", 5)],
    lambda key: key[: key.index("_", 5) + 1],
    lambda key: key.replace("c360", "C360", 1),
    lambda key: "c360_" + "0" * 12 + key[key.index("_", 5):],
    lambda key: "c360__",
    lambda key: "ключ",
])  # fmt: skip
def test_anything_else_is_refused(tmp_path: Path, change) -> None:  # type: ignore[no-untyped-def]
    key = access.issue(tmp_path, "web shop", "service")
    with pytest.raises(AccessDenied):
        access.verify(tmp_path, change(key))


def test_without_keys_nobody_gets_in(tmp_path: Path) -> None:
    with pytest.raises(AccessDenied):
        access.verify(tmp_path, "c360_x_y")


def test_first_key_is_made_once(tmp_path: Path) -> None:
    key = access.ensure_first_key(tmp_path)
    assert key is not None
    assert access.verify(tmp_path, key).role == "admin"
    assert access.ensure_first_key(tmp_path) is None


def test_revoked_key_is_refused_at_once(tmp_path: Path) -> None:
    key, other = access.issue(tmp_path, "a", "reader"), access.issue(tmp_path, "b", "reader")
    access.verify(tmp_path, key)
    assert access.revoke(tmp_path, key.split("_")[1]).name == "a"
    with pytest.raises(AccessDenied):
        access.verify(tmp_path, key)
    assert access.verify(tmp_path, other).name == "b"
    with pytest.raises(ConfigError, match="no key"):
        access.revoke(tmp_path, "unknown")


def test_a_key_of_another_process_is_seen(tmp_path: Path) -> None:
    access.issue(tmp_path, "a", "reader")
    before = (tmp_path / "keys.json").read_text()
    second = access.issue(tmp_path, "b", "reader")
    after = (tmp_path / "keys.json").read_text()
    for content, known in ((before, False), (after, True)):
        replacement = tmp_path / "elsewhere"
        replacement.write_text(content)
        replacement.replace(tmp_path / "keys.json")
        if known:
            assert access.verify(tmp_path, second).name == "b"
        else:
            with pytest.raises(AccessDenied):
                access.verify(tmp_path, second)


def test_keys_made_at_once_are_all_kept(tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        keys = list(pool.map(lambda i: access.issue(tmp_path, f"n{i}", "reader"), range(12)))
    assert {access.verify(tmp_path, key).name for key in keys} == {f"n{i}" for i in range(12)}


@pytest.mark.parametrize(("name", "role"), [("", "reader"), ("  ", "reader"), ("a", "root"), ("a", "")])
def test_name_and_role_must_be_good(tmp_path: Path, name: str, role: str) -> None:
    with pytest.raises(ConfigError):
        access.issue(tmp_path, name, role)


def test_roles_include_those_below() -> None:
    service = Principal("a", "service")
    assert service.may("reader") and service.may("service")
    access.require(service, "reader")
    with pytest.raises(WrongRole, match="admin"):
        access.require(service, "admin")


def test_a_broken_key_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "keys.json").write_text('{"half":')
    with pytest.raises(ConfigError, match=r"keys\.json"):
        access.verify(tmp_path, "c360_x_y")


def test_living_keys_have_different_names(tmp_path: Path) -> None:
    key = access.issue(tmp_path, "Alice", "reader")
    for same in ("Alice", "alice", " ALICE "):
        with pytest.raises(ConfigError, match="has the name 'Alice'"):
            access.issue(tmp_path, same, "admin")
    access.revoke(tmp_path, key.split("_")[1])
    access.issue(tmp_path, "Alice", "reader", lives=timedelta(seconds=-1))
    access.issue(tmp_path, "Alice", "reader")


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[31m", "x" * 81])
def test_names_can_be_shown(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="printable"):
        access.issue(tmp_path, name, "reader")


def test_a_rotated_key_hands_over_what_it_may_and_ends(tmp_path: Path) -> None:
    old = access.issue(tmp_path, "shop", "service", scopes=("scores",), per_minute=5)
    new = access.rotate(tmp_path, old.split("_")[1], keep=timedelta(hours=1))
    assert access.verify(tmp_path, new) == access.verify(tmp_path, old) == Principal("shop", "service", ("scores",))
    with pytest.raises(ConfigError, match="rotated before"):
        access.rotate(tmp_path, old.split("_")[1])
    newest = access.rotate(tmp_path, new.split("_")[1])
    with pytest.raises(AccessDenied, match="expired"):
        access.verify(tmp_path, new)
    assert access.verify(tmp_path, newest).per_minute == 5


def test_an_expired_key_does_not_live_longer_by_rotation(tmp_path: Path) -> None:
    old = access.issue(tmp_path, "shop", "service", lives=timedelta(seconds=-1))
    with pytest.raises(ConfigError, match="has expired; issue another"):
        access.rotate(tmp_path, old.split("_")[1], keep=timedelta(days=1))
    with pytest.raises(AccessDenied, match="expired"):
        access.verify(tmp_path, old)


def test_metrics_alone_are_for_a_role_beside_the_ladder() -> None:
    metrics, steward, admin = (Principal("a", role) for role in ("metrics", "steward", "admin"))  # type: ignore[arg-type]
    assert metrics.may("metrics") and admin.may("metrics") and not steward.may("metrics")
    assert not any(metrics.may(role) for role in access.LADDER)


def test_the_last_use_is_known(tmp_path: Path) -> None:
    key, other = access.issue(tmp_path, "a", "reader"), access.issue(tmp_path, "b", "reader")
    access.verify(tmp_path, key)
    assert access.last_used(tmp_path, key.split("_")[1]) is not None
    assert access.last_used(tmp_path, other.split("_")[1]) is None


def test_keys_of_before_are_read(tmp_path: Path) -> None:
    key = access.issue(tmp_path, "a", "reader")
    (entry,) = json.loads((tmp_path / "keys.json").read_text())
    old = {name: entry[name] for name in ("id", "name", "role", "salt", "digest", "issued_at")}
    (tmp_path / "keys.json").write_text(json.dumps([old]))
    assert access.verify(tmp_path, key) == Principal("a", "reader")


@pytest.mark.parametrize("change", [{"role": "root"}, {"only_from": "10.0.0.1"}])
def test_a_key_that_is_not_understood_opens_nothing(tmp_path: Path, change: dict[str, str]) -> None:
    key = access.issue(tmp_path, "a", "reader")
    (entry,) = json.loads((tmp_path / "keys.json").read_text())
    (tmp_path / "keys.json").write_text(json.dumps([entry | change]))
    with pytest.raises(access.KeysUnreadable):
        access.verify(tmp_path, key)
