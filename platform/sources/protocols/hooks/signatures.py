"""Whether a message is signed by its sender, and is no message of before that somebody sends again."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice

from customer360.platform.connections.webhook import Encoding, Webhook
from customer360.platform.errors import AccessDenied, ConfigError

# Signatures of one message that are tried: senders send two while they change a secret. Each is a pass over the body,
# before anybody is believed.
MOST_CLAIMS = 8


@dataclass(frozen=True)
class Signed:
    """What a sender says of a message: its id, which is that of its body where it has none, and its topic. ``key`` is
    by what a message that comes again is known: of nothing that is not signed.
    """

    key: str
    id: str
    topic: str | None


@dataclass(frozen=True)
class _Claim:
    """One signature of a message, with what it is of."""

    signature: str
    content: bytes
    encoding: Encoding
    at: str | None = None


def verified(sender: Webhook, headers: Mapping[str, str], body: bytes, now: datetime) -> Signed:
    """What a message says of itself; ``headers`` by lower-case name.

    Raises:
        AccessDenied: no signature fits, or it was signed too long ago. What is wrong is not told apart.
        ConfigError: the secret is not there.
    """
    secret = sender.secret("secret")
    if not secret:
        raise ConfigError("the secret of a sender of webhooks is empty")
    key = _key(sender, secret)
    for claim in islice(_claims(sender, headers, body), MOST_CLAIMS):
        made = hmac.new(key, claim.content, hashlib.sha256).digest()
        if hmac.compare_digest(made, _decoded(claim)) and _is_recent(sender, claim.at, now):
            return _signed(sender, headers, body, claim)
    raise AccessDenied("no signature of the sender")


def _key(sender: Webhook, secret: str) -> bytes:
    if sender.scheme == "standard" and secret.startswith("whsec_"):
        try:
            return base64.b64decode(secret.removeprefix("whsec_"), validate=True)
        except binascii.Error:
            raise ConfigError("the secret of a sender of webhooks is no base64 after whsec_") from None
    return secret.encode()


def _claims(sender: Webhook, headers: Mapping[str, str], body: bytes) -> Iterator[_Claim]:
    match sender.scheme:
        case "shopify":
            yield _Claim(headers.get("x-shopify-hmac-sha256", ""), body, "base64")
        case "github":
            yield _Claim(headers.get("x-hub-signature-256", "").removeprefix("sha256="), body, "hex")
        case "slack":
            at = headers.get("x-slack-request-timestamp", "")
            signature = headers.get("x-slack-signature", "").removeprefix("v0=")
            yield _Claim(signature, f"v0:{at}:".encode() + body, "hex", at)
        case "stripe":
            parts = [part.strip().partition("=") for part in headers.get("stripe-signature", "").split(",")]
            at = next((value for name, _, value in parts if name == "t"), "")
            for name, _, value in parts:
                if name == "v1":
                    yield _Claim(value, f"{at}.".encode() + body, "hex", at)
        case "standard":  # https://www.standardwebhooks.com
            at, number = headers.get("webhook-timestamp", ""), headers.get("webhook-id", "")
            for signature in headers.get("webhook-signature", "").split():
                version, _, value = signature.partition(",")
                if version == "v1":
                    yield _Claim(value, f"{number}.{at}.".encode() + body, "base64", at)
        case "hmac":
            signature = headers.get(sender.signature_header.lower(), "").removeprefix(sender.prefix)
            if not sender.timestamp_header:
                yield _Claim(signature, body, sender.encoding)
                return
            at = headers.get(sender.timestamp_header.lower(), "")
            yield _Claim(signature, f"{at}.".encode() + body, sender.encoding, at)


def _decoded(claim: _Claim) -> bytes:
    try:
        if claim.encoding == "hex":
            return bytes.fromhex(claim.signature)
        return base64.b64decode(claim.signature, validate=True)
    except (ValueError, binascii.Error):
        return b""


def _is_recent(sender: Webhook, at: str | None, now: datetime) -> bool:
    """Whether a message was signed just now; one that does not say when is known by its id alone."""
    if at is None:
        return True
    try:
        moment = datetime.fromtimestamp(float(at), UTC) if at.isdigit() else datetime.fromisoformat(at)
        return abs((now - moment).total_seconds()) <= sender.tolerance_seconds
    except (ValueError, OverflowError, OSError, TypeError):
        return False


ID_HEADERS = {"shopify": "x-shopify-event-id", "github": "x-github-delivery", "standard": "webhook-id"}
TOPIC_HEADERS = {"shopify": "x-shopify-topic", "github": "x-github-event"}


def _signed(sender: Webhook, headers: Mapping[str, str], body: bytes, claim: _Claim) -> Signed:
    named = sender.id_header.lower() or ID_HEADERS.get(sender.scheme, "")
    told = headers.get(named) if named else None
    topic = headers.get(sender.topic_header.lower() or TOPIC_HEADERS.get(sender.scheme, ""))
    digest = hashlib.sha256(body).hexdigest()
    number = f"{told}:{digest[:16]}" if told else digest
    if sender.scheme == "standard":
        return Signed(number, number, topic)  # the id is signed, and the same when a message is sent again
    # An id that is not signed may be changed by who sends a message again. A body of Stripe names its event.
    when = claim.at if sender.scheme != "stripe" else None
    return Signed(digest if when is None else f"{when}:{digest}", number, topic)
