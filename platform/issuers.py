"""Who else may say who calls: issuers of signed tokens (JWT), and what their claims mean here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

# Of public keys alone: whoever can check a token can not make one.
Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
CallerRole = Literal[
    "metrics", "reader", "service", "steward", "admin"
]  # a writer's key stands in pages: no token does
LONGEST_LIFE_MINUTES = 31 * 24 * 60


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


Texts = Annotated[list[Annotated[str, Field(min_length=1)]], BeforeValidator(_as_list)]


class Issuer(BaseModel):
    """One issuer: how its tokens are known, and what they allow."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: str = Field(min_length=1)  # the claim `iss`, to the letter
    audience: Texts = Field(min_length=1)  # one of them stands in `aud`: a token for others is none for this
    keys: str = ""  # file of its public keys: PEM, a JWK, or a set of them (JWKS); read again when it changes
    # where it publishes that set; fetched beside the requests, never for one of them
    keys_url: str = Field(default="", pattern=r"^(https://[^/\s@]+/\S*|http://(127\.0\.0\.1|localhost)(:\d+)?/\S*)?$")
    refresh_minutes: float = Field(default=10.0, ge=0.5)
    algorithms: Annotated[list[Algorithm], Field(min_length=1)] = ["RS256", "ES256"]
    leeway_seconds: float = Field(default=30.0, ge=0, le=300)  # of clocks
    longest_minutes: float = Field(default=1440.0, gt=0, le=LONGEST_LIFE_MINUTES)  # that a token may still last
    role_claim: str = Field(default="roles", min_length=1)  # a list or words of a text; `a.b`: b within a
    roles: dict[str, CallerRole] = Field(min_length=1)  # by what that claim says; the highest counts
    scope_claim: str = Field(default="scope", min_length=1)
    scopes: dict[str, str] = {}  # by what that one says, groups of endpoints; none: whatever the role may
    per_minute: int | None = Field(default=None, ge=1)  # requests of one subject, by replica

    @model_validator(mode="after")
    def _has_keys(self) -> Self:
        if bool(self.keys) == bool(self.keys_url):
            raise ValueError("name its public keys: either `keys`, a file, or `keys_url`")
        return self


def told_apart(issuers: Mapping[str, Issuer]) -> Mapping[str, Issuer]:
    """Issuers by their names here. Raises ValueError where a name is none, or two would claim the same tokens."""
    by_claim: dict[str, str] = {}
    for name, each in issuers.items():
        if not (name.isascii() and name.replace("_", "").replace("-", "").isalnum() and len(name) <= 40):
            raise ValueError(f"{name!r}: an issuer is named by at most 40 letters, digits, - and _")
        if (other := by_claim.setdefault(each.issuer, name)) != name:
            raise ValueError(f"{other} and {name} are one issuer, {each.issuer}: name it once, with all audiences")
    return issuers
