"""Callers with signed tokens: what they reach, how often, what is noted of them, and commands about them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import jwt
import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from starlette.testclient import TestClient
from typer.testing import CliRunner

from customer360.platform import audit, revocations
from customer360.platform.errors import ConfigError
from customer360.platform.settings import Settings
from customer360.serve import app as serving
from customer360.serve import shared
from customer360.serve.app import build_app
from customer360.serve.cli import app
from customer360.serve.doctor import findings

HOME = "https://login.shop.example/"
KEY = ec.generate_private_key(ec.SECP256R1())
PEM = KEY.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)  # fmt: skip


def token(**other: Any) -> str:
    now = int(time.time())
    said = {"iss": HOME, "aud": "customer360", "sub": "u-1", "exp": now + 600, "roles": ["services"], **other}
    return jwt.encode(said, KEY, "ES256")


def said_of(state: Path, **other: Any) -> dict[str, Any]:
    (state.parent / "login.pem").write_bytes(PEM)
    staff = {"issuer": HOME, "audience": "customer360", "keys": str(state.parent / "login.pem"),
             "roles": {"readers": "reader", "services": "service", "stewards": "steward", "admins": "admin"},
             **other}  # fmt: skip
    return {"state": str(state), "serve": {"issuers": {"staff": staff}}}


def client_of(state: Path, **other: Any) -> TestClient:
    return TestClient(build_app(Settings.model_validate(said_of(state, **other))))


def bearer(**claims: Any) -> dict[str, str]:
    return {"Authorization": f"Bearer {token(**claims)}"}


def test_a_token_reaches_what_its_role_does_and_its_readings_name_the_subject(own_shop: Any) -> None:
    own_shop.publish()
    client = client_of(own_shop.state)
    seen = client.get("/v1/people/p_ann", headers=bearer())
    assert seen.status_code == 200 and "ann@example.org" in seen.text
    (entry,) = audit.entries(own_shop.state)
    assert (entry["name"], entry["role"], entry["person"]) == ("staff:u-1", "service", "p_ann")
    masked = client.get("/v1/people/p_ann", headers=bearer(roles=["readers"]))
    assert masked.status_code == 200 and "ann@example.org" not in masked.text
    assert client.get("/metrics", headers=bearer()).status_code == 403
    assert client.get("/metrics", headers=bearer(roles=["admins"])).status_code == 200
    refused = client.get("/v1/people/p_ann", headers=bearer(roles=["cleaners"]))
    assert (refused.status_code, refused.json()["detail"]) == (403, "the token gives no role here")
    late = client.get("/v1/people/p_ann", headers=bearer(exp=1))
    assert (late.status_code, late.headers["www-authenticate"]) == (401, "Bearer")


def test_a_token_reaches_its_scopes_alone(own_shop: Any) -> None:
    own_shop.publish()
    client = client_of(own_shop.state, scopes={"profiles": "profile"})
    assert client.get("/v1/people/p_ann", headers=bearer(scope="profiles")).status_code == 200
    assert client.get("/v1/people/p_ann/scores", headers=bearer(scope="profiles")).status_code == 403
    assert client.get("/v1/people/p_ann", headers=bearer(scope="all")).status_code == 403


def test_each_subject_has_a_rate_of_its_own_however_many_tokens_it_has(own_shop: Any) -> None:
    own_shop.publish()
    client = client_of(own_shop.state, per_minute=60)

    def status(subject: str, number: int) -> int:
        return int(client.get("/v1/people/p_ann/scores", headers=bearer(sub=subject, jti=str(number))).status_code)

    assert [status("u-1", n) for n in range(14)][-1] == 429
    assert status("u-2", 1) == 200


def test_a_token_sends_no_events_and_opens_no_page(own_shop: Any) -> None:
    own_shop.publish()
    client = client_of(own_shop.state)
    assert client.post("/v1/batch", json={"batch": []}, headers=bearer(roles=["admins"])).status_code == 404
    page = client.get("/console/review", headers=bearer(roles=["stewards"]), follow_redirects=False)
    assert page.status_code == 303
    signed = client.post("/console/sign-in", data={"key": token(roles=["stewards"])}, follow_redirects=False)
    assert signed.status_code == 401


def test_without_its_keys_a_server_does_not_start(own_shop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    configured = Settings.model_validate(said_of(own_shop.state))
    monkeypatch.setattr(serving, "_run_plain", lambda *_: pytest.fail("it started"))
    (own_shop.state.parent / "login.pem").write_text("no key")
    with pytest.raises(ConfigError, match=r"login\.pem holds neither"):
        serving.start(configured, plain=True)


def test_keys_that_go_while_it_runs_are_no_unknown_error(own_shop: Any) -> None:
    own_shop.publish()
    client = client_of(own_shop.state)
    (own_shop.state.parent / "login.pem").unlink()
    answer = client.get("/v1/people/p_ann", headers=bearer())
    assert answer.status_code == 503 and "login.pem" not in answer.text and answer.headers["Retry-After"]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "settings.yaml"
    file.write_text(yaml.safe_dump(said_of(tmp_path / "state")))
    return file


def customer360(config: Path, *words: str, told: str | None = None) -> Any:
    return CliRunner().invoke(app, ["token", *words, "--config", str(config)], input=told, env={"COLUMNS": "200"})


def test_tokens_are_checked_and_revoked_by_command(config: Path) -> None:
    state = config.parent / "state"
    client = client_of(state)

    def is_let_in(**claims: Any) -> bool:
        return bool(client.get("/v1/people/p_ann", headers=bearer(**claims)).status_code != 401)

    checked = customer360(config, "check", told=f"{token(jti='n-1')}\n")
    assert checked.output == "staff:u-1: role service, whatever the role may\n" and is_let_in(jti="n-1")
    assert customer360(config, "revoke", "staff", "--jti", "n-1").exit_code == 0
    assert not is_let_in(jti="n-1") and is_let_in(jti="n-2")
    assert str(customer360(config, "check", told=token(jti="n-1")).exception) == "the token was revoked"
    assert customer360(config, "revoke", "staff", "--subject", "u-1").exit_code == 0
    assert not is_let_in(jti="n-2")
    listed = customer360(config, "list").output
    assert all(word in listed for word in ("staff", "jti", "n-1", "sub", "u-1"))
    assert customer360(config, "allow", "staff", "--subject", "u-1").exit_code == 0
    assert is_let_in(jti="n-2") and not is_let_in(jti="n-1")
    assert "names no 'stuff'; there are staff" in str(customer360(config, "revoke", "stuff", "--jti", "n").exception)
    assert customer360(config, "revoke", "staff").exit_code == 2


def test_machines_that_follow_are_told_and_damage_is_named(config: Path) -> None:
    assert revocations.REVOKED in shared.FILES
    state = config.parent / "state"
    state.mkdir()
    (state / revocations.REVOKED).write_text("{")
    (found,) = [f for f in findings(Settings.model_validate(said_of(state))) if f.file.endswith(revocations.REVOKED)]
    assert "delete it and revoke tokens anew" in found.remedy
