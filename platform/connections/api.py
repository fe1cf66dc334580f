"""An HTTP API: where it is, who asks, and how often it may be asked. REST and GraphQL alike."""

from __future__ import annotations

import base64
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from customer360.platform.connections import Connection

# What each way of saying who asks needs, and what it may have besides.
NEEDS: dict[str, tuple[str, ...]] = {
    "none": (),
    "key": ("key",),
    "bearer": ("token",),
    "basic": (),
    "oauth2": ("token_url", "client_id", "client_secret"),
    "jwt": ("key",),
}


class Rate(BaseModel):
    """Requests that an API takes: ``per_minute`` over time, and ``burst`` of them at once after a rest."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    per_minute: float = Field(default=60, gt=0)
    burst: int = Field(default=10, ge=1)

    @model_validator(mode="before")
    @classmethod
    def _by_number(cls, given: Any) -> Any:
        """``rate: 40`` is so many a minute, without a burst."""
        return {"per_minute": given, "burst": 1} if isinstance(given, int | float) else given


class Api(Connection):
    """An HTTP API.

    ``auth`` says who asks: ``key`` in a header or a parameter of the query, ``bearer`` with a token that does not end,
    ``basic`` with user and password (or a key as the user and no password), ``oauth2`` with client credentials, or with
    a refresh token where one is named, ``jwt`` with a token that is signed here.
    """

    secrets: ClassVar[tuple[str, ...]] = ("key", "token", "user", "password", "client_secret", "refresh_token")

    kind: Literal["api"] = "api"
    url: str = Field(pattern=r"^https?://[^/\s@]+(/\S*)?$")
    auth: Literal["none", "key", "bearer", "basic", "oauth2", "jwt"] = "none"
    headers: dict[str, str] = {}  # of each request; no secrets
    rate: Rate = Rate()
    timeout_seconds: float = Field(default=100.0, gt=0)  # for each part of one answer
    attempts: int = Field(default=5, ge=1)  # at one request that fails for the moment
    patience_seconds: float = Field(default=300.0, ge=0)  # the longest wait that the API may ask for
    key_env: str = ""
    key_file: str = ""
    key_header: str = "Authorization"
    key_parameter: str = ""
    key_prefix: str = ""  # before the key: "Token "
    token_env: str = ""
    token_file: str = ""
    user_env: str = ""
    user_file: str = ""
    password_env: str = ""
    password_file: str = ""
    token_url: str = Field(default="", pattern=r"^(https?://[^/\s@]+(/\S*)?)?$")
    client_id: str = ""
    client_secret_env: str = ""
    client_secret_file: str = ""
    client_secret_by: Literal["post", "basic"] = "post"  # in the body of the token's request, or its header
    refresh_token_env: str = ""
    refresh_token_file: str = ""
    scope: str = ""
    token_parameters: dict[str, str] = {}  # what the token's request needs besides: audience, resource
    algorithm: Literal["HS256", "HS384", "HS512", "RS256", "RS512", "ES256", "EdDSA"] = "RS256"
    claims: dict[str, Any] = {}
    key_id: str = ""
    token_seconds: int = Field(default=600, ge=60)

    @model_validator(mode="after")
    def _has_what_it_needs(self) -> Self:
        lacking = [name for name in NEEDS[self.auth] if not self._has(name)]
        if self.auth == "basic" and not self._has("user"):
            lacking.append("user")
        if lacking:
            named = ", ".join(f"{n}_env or {n}_file" if n in self.secrets else n for n in lacking)
            raise ValueError(f"auth: {self.auth} needs {named}")
        return self

    def without_secrets(self, text: str, *more: str) -> str:
        """As `Connection.without_secrets`, with what a header of basic authentication makes of them."""
        known = self.known_secrets()
        user, password, secret = (known.get(name, "") for name in ("user", "password", "client_secret"))
        pairs = [f"{user}:{password}", f"{self.client_id}:{secret}"]
        return super().without_secrets(text, *more, *(_base64(pair) for pair in pairs if len(pair) > 1))

    def _has(self, name: str) -> bool:
        given = (f"{name}_env", f"{name}_file") if name in self.secrets else (name,)
        return any(getattr(self, each) for each in given)


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
