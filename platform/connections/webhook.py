"""A sender of webhooks: how it signs what it sends, so that nobody else is believed."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from customer360.platform.connections import Connection

Encoding = Literal["hex", "base64"]


class Webhook(Connection):
    """A sender. ``scheme`` is whose way of signing it uses; ``hmac`` says it by the keys beside it.

    Who knows the secret may send; a message that says when it was signed is believed for ``tolerance_seconds``.
    """

    secrets: ClassVar[tuple[str, ...]] = ("secret",)

    kind: Literal["webhook"] = "webhook"
    scheme: Literal["shopify", "github", "stripe", "slack", "standard", "hmac"] = "hmac"
    secret_env: str = ""
    secret_file: str = ""
    tolerance_seconds: float = Field(default=300.0, gt=0)
    max_body_kilobytes: int | None = Field(default=None, ge=1, le=64 << 10)  # None: what `serve` says for all requests
    # Of scheme hmac
    signature_header: str = "X-Signature"
    encoding: Encoding = "hex"
    prefix: str = ""  # before the signature in its header: sha256=
    timestamp_header: str = ""  # seconds since 1970, or ISO 8601; it is signed before the body, with a dot between
    id_header: str = ""  # what "hook.id" says; it is not signed, so a message that comes twice is known by its body
    topic_header: str = ""

    @model_validator(mode="after")
    def _has_a_secret(self) -> Self:
        if not (self.secret_env or self.secret_file):
            raise ValueError("a sender needs secret_env or secret_file: what is not signed is not taken")
        return self
