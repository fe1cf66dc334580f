"""Signed tokens of callers: which are good, and that no other is."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from pydantic import ValidationError

from customer360.platform import access, revocations, signing
from customer360.platform.access import KeysUnreadable, WrongRole
from customer360.platform.errors import AccessDenied, ConfigError
from customer360.platform.issuers import Issuer
from customer360.platform.settings import ServeSettings
from customer360.platform.signing import NoSigningKeys, keys_in
from customer360.platform.tokens import Callers

SCOPES = ("profile", "scores")
RSA, OTHER = (rsa.generate_private_key(65537, 2048) for _ in range(2))
EC, ED = ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()
PEM = RSA.public_key().public_bytes(
    serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
)  # fmt: skip
HOME = "https://login.shop.example/"


def claims(**other: Any) -> dict[str, Any]:
    now = int(time.time())
    said = {"iss": HOME, "aud": "customer360", "sub": "x4711", "exp": now + 600, "iat": now, "roles": ["readers"]}
    return {name: value for name, value in {**said, **other}.items() if value is not None}


def token(key: Any = RSA, algorithm: str = "RS256", headers: dict[str, Any] | None = None, **other: Any) -> str:
    return jwt.encode(claims(**other), key, algorithm, headers)


def part(said: Any) -> str:
    text = said if isinstance(said, str) else json.dumps(said)
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def jwk(key: Any, **more: Any) -> dict[str, Any]:
    kind: Any = {
        "RSA": jwt.algorithms.RSAAlgorithm,
        "EC": jwt.algorithms.ECAlgorithm,
        "ED": jwt.algorithms.OKPAlgorithm,
    }
    name = (
        "RSA" if isinstance(key, rsa.RSAPrivateKey) else "EC" if isinstance(key, ec.EllipticCurvePrivateKey) else "ED"
    )
    return {**json.loads(kind[name].to_jwk(key.public_key())), **more}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    found = tmp_path / "login.pem"
    found.write_bytes(PEM)
    return found


Making = Callable[..., Callers]


@pytest.fixture
def known(tmp_path: Path, file: Path) -> Making:
    """Who may call where one issuer is known; its further settings are given."""

    def make(**said: Any) -> Callers:
        given = {"issuer": HOME, "audience": "customer360", "keys": str(file),
                 "roles": {"readers": "reader", "stewards": "steward", "scrapers": "metrics"}}  # fmt: skip
        return Callers(tmp_path, {"staff": Issuer.model_validate({**given, **said})}, SCOPES)

    return make


def test_a_good_token_says_who_calls_and_what_it_may(known: Making) -> None:
    found = known(per_minute=7).verify(token(roles=["readers", "stewards", "unheard of"]))
    assert (found.name, found.role, found.scopes, found.per_minute) == ("staff:x4711", "steward", (), 7)
    assert found.key_id.startswith("t-") and found.key_id != known().verify(token(sub="bob")).key_id


def test_keys_of_ours_are_good_beside(known: Making, tmp_path: Path) -> None:
    key = access.issue(tmp_path, "shop", "service")
    assert known().verify(key).name == "shop"
    for nothing in (None, "", "a.b", "c360_no_no"):
        with pytest.raises(AccessDenied):
            known().verify(nothing)


def test_without_issuers_a_token_is_a_key_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(AccessDenied, match="API key is not known"):
        Callers(tmp_path, {}, SCOPES).verify(token())


HEAD = {"alg": "RS256", "typ": "JWT"}
SIGNED_BY_THE_PUBLIC_KEY = f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part(claims())}"
FORGED = {
    "no signature": f"{part({'alg': 'none'})}.{part(claims())}.",
    "none in other letters": f"{part({'alg': 'NoNe'})}.{part(claims())}.",
    "the public key as a secret": SIGNED_BY_THE_PUBLIC_KEY
    + "."
    + base64.urlsafe_b64encode(hmac.digest(PEM, SIGNED_BY_THE_PUBLIC_KEY.encode(), "sha256")).rstrip(b"=").decode(),
    "a key that the token brings": token(OTHER, headers={"jwk": jwk(OTHER)}),
    "an address that the token names": token(OTHER, headers={"jku": "https://evil.example/keys", "x5u": "file:///k"}),
    "a number that is a path": token(OTHER, headers={"kid": "../../../dev/null"}),
    "another's key": token(OTHER),
    "another kind of key": token(EC, "ES256"),
    "another way of signing": token(RSA, "PS256"),
    "a signature that is cut": token()[:-8],
    "no signature at all": token().rpartition(".")[0] + ".",
    "claims that were changed": ".".join(
        [token().split(".")[0], part(claims(roles=["stewards"])), token().split(".")[2]]
    ),
    "made for others": token(aud="another"),
    "made for nobody": token(aud=None),
    "of another issuer": token(iss="https://evil.example/"),
    "of an issuer that reads nearly so": token(iss=HOME.rstrip("/")),
    "of two issuers": f"{part(HEAD)}.{part(claims(iss=[HOME]))}.x",
    "of the past": token(exp=int(time.time()) - 60),
    "of the future": token(nbf=int(time.time()) + 600),
    "issued in the future": token(iat=int(time.time()) + 600),
    "without end": token(exp=None),
    "with an end in ten years": token(exp=int(time.time()) + 315_360_000),
    "with an end that is no number": token(exp="tomorrow"),
    "with an endless end": token(exp=float("inf")),
    "with an end of too many digits": token(exp=10**400),
    "of nobody": token(sub=None),
    "of an empty subject": token(sub=""),
    "of a subject with a line break": token(sub="x4711\nsub: admin"),
    "of a subject that turns letters round": token(sub="x4711\u202e"),
    "of a subject with a space": token(sub=" x4711"),
    "of half a surrogate pair": token(sub="\ud800"),
    "of a subject without end": token(sub="a" * 300),
    "what must be understood": token(headers={"crit": ["exp"], "exp": 1}),
    "a payload that is not encoded": token(headers={"crit": ["b64"], "b64": False}),
    "deep": f"{part('[' * 5_000)}.{part(claims())}.x",
    "deep claims": f"{part(HEAD)}.{part('[' * 5_000)}.x",
    "no object": f"{part([])}.{part([])}.x",
    "no letters": "..",
    "long": token(more="x" * 9_000),
    "of other letters": token()[:-1] + "é",
}


@pytest.mark.parametrize("forged", FORGED.values(), ids=FORGED)
def test_no_other_token_is_good(known: Making, forged: str) -> None:
    with pytest.raises(AccessDenied) as fault:
        known().verify(forged)
    assert not isinstance(fault.value, WrongRole)
    assert "x4711" not in str(fault.value) and "\n" not in str(fault.value)


def test_no_key_checks_another_kind_of_signature(known: Making, file: Path) -> None:
    every = ["RS256", "PS256", "ES256", "EdDSA"]
    file.write_text(json.dumps({"keys": [jwk(RSA, kid="r", alg="RS256"), jwk(EC, kid="e"), jwk(ED, kid="d")]}))
    callers = known(algorithms=every)
    for key, algorithm, number in ((RSA, "RS256", "r"), (EC, "ES256", "e"), (ED, "EdDSA", "d"), (EC, "ES256", None)):
        headers = {"kid": number} if number else None
        assert callers.verify(token(key, algorithm, headers)).name == "staff:x4711"
    for key, algorithm, number in ((RSA, "PS256", "r"), (RSA, "RS256", "e"), (EC, "ES256", "d"), (OTHER, "RS256", "r")):
        with pytest.raises(AccessDenied, match="by no key"):
            callers.verify(token(key, algorithm, {"kid": number}))
    with pytest.raises(AccessDenied, match="a way that is not allowed"):
        known().verify(token(ED, "EdDSA"))


def test_an_issuer_vouches_for_its_own_tokens_alone(tmp_path: Path, file: Path) -> None:
    (tmp_path / "other.pem").write_bytes(
        OTHER.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )  # fmt: skip
    partner = "https://login.partner.example/"
    issuers = {
        "staff": Issuer(issuer=HOME, audience=["customer360"], keys=str(file), roles={"readers": "admin"}),
        "partner": Issuer(issuer=partner, audience=["customer360"], keys=str(tmp_path / "other.pem"),
                          roles={"readers": "reader"}),
    }  # fmt: skip
    callers = Callers(tmp_path, issuers, SCOPES)
    one, other = callers.verify(token()), callers.verify(token(OTHER, iss=partner))
    assert (one.role, other.role, other.name) == ("admin", "reader", "partner:x4711")
    assert one.key_id != other.key_id
    for key, by in ((OTHER, HOME), (RSA, partner)):
        with pytest.raises(AccessDenied):
            callers.verify(token(key, iss=by))


@pytest.mark.parametrize(("said", "role"), [
    ({"roles": "readers stewards"}, "steward"), ({"roles": ["scrapers"]}, "metrics"),
    ({"roles": ["scrapers", "readers"]}, "reader"), ({"roles": []}, None), ({"roles": None}, None),
    ({"roles": {"readers": True}}, None), ({"roles": ["READERS", ["stewards"], 7]}, None),
    ({"roles": "readersstewards"}, None),
])  # fmt: skip
def test_what_a_claim_says_becomes_the_highest_role(known: Making, said: dict[str, Any], role: str | None) -> None:
    if role is None:
        with pytest.raises(WrongRole, match="no role here"):
            known().verify(token(**said))
    else:
        assert known().verify(token(**said)).role == role


@pytest.mark.parametrize(("claim", "said"), [
    ("realm_access.roles", {"realm_access": {"roles": ["stewards"]}}),
    ("https://shop.example/roles", {"https://shop.example/roles": ["stewards"]}),
])  # fmt: skip
def test_roles_stand_where_the_settings_say(known: Making, claim: str, said: dict[str, Any]) -> None:
    assert known(role_claim=claim).verify(token(**said)).role == "steward"
    with pytest.raises(WrongRole):
        known(role_claim=claim).verify(token(realm_access="stewards"))


def test_a_token_without_a_scope_reaches_none_where_scopes_are_given(known: Making) -> None:
    callers = known(scopes={"c360.profile": "profile", "c360.scores": "scores"})
    assert callers.verify(token(scope="openid c360.scores")).scopes == ("scores",)
    for said in ({}, {"scope": "openid"}, {"scope": ""}):
        with pytest.raises(WrongRole, match="no scope here"):
            callers.verify(token(**said))
    with pytest.raises(ConfigError, match="there are profile, scores"):
        known(scopes={"all": "everything"})


def test_clocks_may_differ_by_the_leeway(known: Making) -> None:
    late, early = token(exp=int(time.time()) - 20), token(nbf=int(time.time()) + 20)
    assert known().verify(late) and known().verify(early)
    for each in (late, early):
        with pytest.raises(AccessDenied):
            known(leeway_seconds=5).verify(each)


def test_what_is_revoked_is_refused_from_the_next_request_on(known: Making, tmp_path: Path) -> None:
    callers, one = known(), token(jti="n-1")
    assert callers.verify(one) and callers.verify(token())
    revocations.revoke(tmp_path, "staff", "jti", "n-1")
    revocations.revoke(tmp_path, "elsewhere", "sub", "x4711")
    with pytest.raises(AccessDenied, match="revoked"):
        callers.verify(one)
    assert callers.verify(token(jti="n-2")) and callers.verify(token())
    revocations.revoke(tmp_path, "staff", "sub", "x4711")
    for each in (token(jti="n-2"), token()):
        with pytest.raises(AccessDenied, match="revoked"):
            callers.verify(each)
    assert callers.verify(token(sub="bob"))
    revocations.allow(tmp_path, "staff", "sub", "x4711")
    assert callers.verify(token())
    assert [r.value for r in revocations.revoked(tmp_path)] == ["n-1", "x4711"]
    assert (tmp_path / revocations.REVOKED).stat().st_mode & 0o077 == 0
    with pytest.raises(ConfigError, match="token list"):
        revocations.allow(tmp_path, "staff", "jti", "n-9")


def test_no_revocation_is_forgotten(known: Making, tmp_path: Path) -> None:
    """A token of a long life may be within what one may still last only after a month."""
    revocations.revoke(tmp_path, "staff", "jti", "n-1")
    file = tmp_path / revocations.REVOKED
    file.write_text(file.read_text().replace(f'"at": "{datetime.now(UTC).year}', '"at": "2020'))
    revocations.revoke(tmp_path, "staff", "jti", "n-2")
    with pytest.raises(AccessDenied, match="revoked"):
        known().verify(token(jti="n-1"))


@pytest.mark.parametrize("text", ["", "{", "{}x", '[{"issuer": 1}]', '["x4711"]', "[[]]"])
def test_what_was_revoked_and_cannot_be_read_lets_nobody_in(known: Making, tmp_path: Path, text: str) -> None:
    (tmp_path / revocations.REVOKED).write_text(text)
    with pytest.raises(KeysUnreadable):
        known().verify(token())


def test_a_good_token_ends_though_its_signature_is_not_checked_anew(
    known: Making, monkeypatch: pytest.MonkeyPatch
) -> None:
    callers, one = known(leeway_seconds=0), token(exp=int(time.time()) + 30)
    checked: list[Any] = []
    decode = jwt.decode
    monkeypatch.setattr(jwt, "decode", lambda *args, **more: checked.append(args) or decode(*args, **more))
    assert [callers.verify(one).name for _ in range(5)] == ["staff:x4711"] * 5
    assert len(checked) == 2  # read, and checked, once
    monkeypatch.setattr(Callers, "_claims", lambda self, token: pytest.fail("checked anew"))
    assert callers.verify(one)
    later = time.time() + 31
    monkeypatch.setattr("customer360.platform.tokens.time.time", lambda: later)
    with pytest.raises(pytest.fail.Exception, match="checked anew"):
        callers.verify(one)


def test_keys_of_a_file_are_read_again_when_it_changes(known: Making, file: Path) -> None:
    callers = known()
    assert callers.verify(token())
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps(jwk(OTHER)))
    fresh.replace(file)
    assert callers.verify(token(OTHER))
    with pytest.raises(AccessDenied):
        callers.verify(token())
    file.write_text("-----BEGIN nothing")
    assert callers.verify(token(OTHER))
    file.unlink()
    assert callers.verify(token(OTHER))
    with pytest.raises(NoSigningKeys, match="staff"):
        known().verify(token(OTHER))
    with pytest.raises(ConfigError, match="cannot be read"):
        known().check()


PRIVATE = RSA.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()  # fmt: skip
WEAK = rsa.generate_private_key(65537, 1024)


@pytest.mark.parametrize(("text", "why"), [
    ("", "neither a PEM nor JSON"), ("[]", "no JWK"), ("{}", "0 public keys"), ('{"keys": [1]}', "no JWK"),
    (PRIVATE, "private key"), (json.dumps(jwk(RSA, d="AA")), "private key"),
    ('{"kty": "oct", "k": "c2VjcmV0"}', "secret"), (json.dumps(jwk(WEAK)), "0 public keys"),
    (json.dumps(jwk(RSA, use="enc")), "0 public keys"), (json.dumps(jwk(RSA, alg="HS256")), "0 public keys"),
    ("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "no PEM"), ("[" * 100_000, "neither"),
    (json.dumps({"keys": [jwk(EC)] * 101}), "101 public keys"),
])  # fmt: skip
def test_what_holds_no_public_key_is_said(text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as fault:
        keys_in(text, "login.pem")
    assert "login.pem" in str(fault.value) and "AAAA" not in str(fault.value)


@pytest.mark.parametrize("said", [
    {"algorithms": ["HS256"]}, {"algorithms": ["none"]}, {"algorithms": []}, {"audience": []}, {"audience": ""},
    {"issuer": ""}, {"roles": {}}, {"roles": {"pages": "writer"}}, {"keys": ""}, {"keys_url": "https://login.example/k"},
    {"longest_minutes": 10**6}, {"leeway_seconds": 3_600}, {"secret": "x"},
])  # fmt: skip
def test_settings_that_would_let_others_in_are_refused(known: Making, said: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        known(**said)


@pytest.mark.parametrize("url", [
    "http://login.example/keys", "file:///etc/passwd", "ftp://login.example/k", "https://a:b@login.example/k",
    "http://127.0.0.1.evil.example/k", "https:///k", "http://localhost@evil.example/k",
])  # fmt: skip
def test_keys_are_fetched_over_tls_alone(known: Making, url: str) -> None:
    with pytest.raises(ValidationError):
        known(keys="", keys_url=url)


def test_no_two_issuers_claim_the_same_tokens() -> None:
    one = {"issuer": HOME, "audience": "a", "keys": "k", "roles": {"r": "reader"}}
    with pytest.raises(ValidationError, match="are one issuer"):
        ServeSettings.model_validate({"issuers": {"staff": one, "apps": one}})
    with pytest.raises(ValidationError, match="is named by"):
        ServeSettings.model_validate({"issuers": {"a:b": one}})


class _Publishes(BaseHTTPRequestHandler):
    body, status, asked = b"", 200, 0

    def do_GET(self) -> None:
        type(self).asked += 1
        self.send_response(self.status)
        self.send_header("Location", "/elsewhere")
        self.end_headers()
        self.wfile.write(self.body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def published() -> Iterator[tuple[type[_Publishes], str]]:
    kind = type("Publishes", (_Publishes,), {})
    server = HTTPServer(("127.0.0.1", 0), kind)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield kind, f"http://127.0.0.1:{server.server_port}/keys"
    server.shutdown()
    server.server_close()


def test_keys_that_are_published_are_fetched_beside_the_requests(
    known: Making, published: tuple[type[_Publishes], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, url = published
    kind.body = json.dumps({"keys": [jwk(RSA, kid="1")]}).encode()
    callers = known(keys="", keys_url=url)
    monkeypatch.setattr(signing.Signers, "begin", lambda self: None)  # nothing runs beside the test
    with pytest.raises(NoSigningKeys):
        callers.verify(token(headers={"kid": "1"}))
    callers.fetch()
    for _ in range(50):
        assert callers.verify(token(headers={"kid": "1"}))
        with pytest.raises(AccessDenied):
            callers.verify(token(OTHER, headers={"kid": hashlib.sha256(str(time.time()).encode()).hexdigest()}))
    assert kind.asked == 1  # nobody has it ask by a number that nobody knows
    for status, body in ((302, kind.body), (500, b""), (200, b"{}"), (200, b"x" * (signing.LARGEST + 1))):
        kind.status, kind.body = status, body
        callers.fetch()
        assert callers.verify(token(headers={"kid": "1"}))
    monkeypatch.setattr(signing, "LASTS_SECONDS", -1.0)
    with pytest.raises(NoSigningKeys):
        callers.verify(token(headers={"kid": "1"}))


def test_they_come_by_themselves(known: Making, published: tuple[type[_Publishes], str]) -> None:
    kind, url = published
    kind.body = json.dumps(jwk(RSA)).encode()
    callers = known(keys="", keys_url=url)
    callers.begin()
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            assert callers.verify(token()).name == "staff:x4711"
            return
        except NoSigningKeys:
            time.sleep(0.05)
    raise AssertionError("the keys did not come")
