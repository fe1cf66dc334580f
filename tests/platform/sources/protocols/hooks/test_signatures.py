"""Signatures as their senders document them, and what nobody signed."""

from __future__ import annotations

import base64
import hashlib
import hmac
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from customer360.platform.connections.webhook import Webhook
from customer360.platform.errors import AccessDenied
from customer360.platform.sources.protocols.hooks.signatures import MOST_CLAIMS, verified

# (scheme, secret, headers, body, when) of the documentation of GitHub, Slack and Standard Webhooks
DOCUMENTED = [
    (
        "github", "It's a Secret to Everybody",
        {"x-hub-signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"},
        b"Hello, World!", datetime(2026, 1, 1, tzinfo=UTC),
    ),
    (
        "standard", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        {"webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek", "webhook-timestamp": "1614265330",
         "webhook-signature": "v1,bm9ldHUjKzFob2VudXRob2VodWUzMjRvdWVvdW9ldQo= "
                              "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="},
        b'{"test": 2432232314}', datetime.fromtimestamp(1614265330, UTC),
    ),
    (
        "slack", "8f742231b10e8888abcd99yyyzzz85a5",
        {"x-slack-request-timestamp": "1531420618",
         "x-slack-signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"},
        b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name="
        b"foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2F"
        b"hooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id="
        b"398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c",
        datetime.fromtimestamp(1531420618, UTC),
    ),
]  # fmt: skip


def sender(monkeypatch: pytest.MonkeyPatch, secret: str, **keys: Any) -> Webhook:
    monkeypatch.setenv("HOOK_SECRET", secret)
    return Webhook.model_validate({"secret_env": "HOOK_SECRET", **keys})


@pytest.mark.parametrize(("scheme", "secret", "headers", "body", "when"), DOCUMENTED, ids=lambda v: str(v)[:8])
def test_documented_signatures(
    monkeypatch: pytest.MonkeyPatch, scheme: str, secret: str, headers: dict[str, str], body: bytes, when: datetime
) -> None:
    who = sender(monkeypatch, secret, scheme=scheme)
    assert verified(who, headers, body, when).id
    with pytest.raises(AccessDenied):
        verified(who, headers, body + b" ", when)
    with pytest.raises(AccessDenied):
        verified(
            sender(monkeypatch, "whsec_AAAA" if scheme == "standard" else "other", scheme=scheme), headers, body, when
        )
    if scheme != "github":
        for later in (timedelta(seconds=301), timedelta(seconds=-301)):
            with pytest.raises(AccessDenied):
                verified(sender(monkeypatch, secret, scheme=scheme), headers, body, when + later)


def signature(secret: str, content: bytes) -> bytes:
    return hmac.new(secret.encode(), content, hashlib.sha256).digest()


def test_shopify_and_stripe(monkeypatch: pytest.MonkeyPatch) -> None:
    now, body = datetime(2026, 5, 1, tzinfo=UTC), b'{"id": 1}'
    made = base64.b64encode(signature("s", body)).decode()
    told = verified(
        sender(monkeypatch, "s", scheme="shopify"),
        {"x-shopify-hmac-sha256": made, "x-shopify-topic": "orders/create", "x-shopify-event-id": "e1"}, body, now,
    )  # fmt: skip
    assert told.topic == "orders/create" and told.id.startswith("e1:")
    at = str(int(now.timestamp()))
    made = signature("s", f"{at}.".encode() + body).hex()
    who = sender(monkeypatch, "s", scheme="stripe")
    assert verified(who, {"stripe-signature": f"t={at},v1={'0' * 64},v1={made}, v0=x"}, body, now).topic is None


@pytest.mark.parametrize(("scheme", "of"), [("stripe", "t=1,{}"), ("standard", "{}")])
def test_a_message_of_a_thousand_signatures_costs_what_one_of_a_few_does(
    monkeypatch: pytest.MonkeyPatch, scheme: str, of: str
) -> None:
    """Each is a pass over the body, of somebody whom nobody knows."""
    passes = list[int]()
    real = hmac.new

    def counted(*given: Any) -> Any:
        passes.append(1)
        return real(*given)

    monkeypatch.setattr(hmac, "new", counted)
    many = of.format((",v1=00" if scheme == "stripe" else " v1,AA") * 1000)
    header = "stripe-signature" if scheme == "stripe" else "webhook-signature"
    with pytest.raises(AccessDenied):
        verified(sender(monkeypatch, "s", scheme=scheme), {header: many}, b"x", datetime(2026, 5, 1, tzinfo=UTC))
    assert len(passes) == MOST_CLAIMS


def test_another_way_of_signing(monkeypatch: pytest.MonkeyPatch) -> None:
    now, body = datetime(2026, 5, 1, tzinfo=UTC), b'{"id": 1}'
    who = sender(
        monkeypatch, "s", signature_header="X-Sign", prefix="sha256=", timestamp_header="X-At", id_header="X-Id",
        topic_header="X-Topic",
    )  # fmt: skip
    at = now.isoformat()
    made = signature("s", f"{at}.".encode() + body).hex()
    told = verified(who, {"x-sign": f"sha256={made}", "x-at": at, "x-id": "7", "x-topic": "a"}, body, now)
    assert told.id.startswith("7:") and told.topic == "a"
    for odd in ({}, {"x-sign": made}, {"x-sign": "zz", "x-at": at}, {"x-sign": made, "x-at": "9" * 40}):
        with pytest.raises(AccessDenied):
            verified(who, odd, body, now)


@pytest.mark.parametrize(
    ("keys", "signature_header", "id_header"),
    [
        ({"scheme": "github"}, "x-hub-signature-256", "x-github-delivery"),
        ({"scheme": "hmac", "id_header": "X-Id"}, "x-signature", "x-id"),
    ],
)
def test_an_id_that_is_not_signed_makes_no_other_message(
    monkeypatch: pytest.MonkeyPatch, keys: dict[str, str], signature_header: str, id_header: str
) -> None:
    now, body = datetime(2026, 5, 1, tzinfo=UTC), b'{"id": 1}'
    who = sender(monkeypatch, "s", **keys)
    made = signature("s", body).hex()
    told = [verified(who, {signature_header: made, id_header: number}, body, now) for number in "12"]
    assert told[0].key == told[1].key and told[0].id != told[1].id


def test_equal_bodies_of_two_moments_are_two_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    now, body = datetime(2026, 5, 1, tzinfo=UTC), b'{"event": "opened"}'
    who = sender(monkeypatch, "s", timestamp_header="X-At", id_header="X-Id")

    def key(when: datetime, number: str) -> str:
        at = str(int(when.timestamp()))
        made = signature("s", f"{at}.".encode() + body).hex()
        return verified(who, {"x-signature": made, "x-at": at, "x-id": number}, body, now).key

    assert key(now, "1") == key(now, "2")
    assert key(now, "1") != key(now + timedelta(seconds=60), "1")


def test_a_sender_has_a_secret() -> None:
    with pytest.raises(ValidationError, match="what is not signed is not taken"):
        Webhook.model_validate({"scheme": "github"})
