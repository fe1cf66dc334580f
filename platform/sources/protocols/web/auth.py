"""Who asks an API: what goes with each request to say so, renewed where it ends."""

from __future__ import annotations

import base64
import hashlib
import threading
import time
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import httpx2

from customer360.platform.connections.api import Api
from customer360.platform.errors import ConfigError, SourceError, TransientError

EARLY = 60.0  # seconds before its end at which a token is renewed
KEYS: dict[str, Literal["oct", "RSA", "EC", "OKP"]] = {"HS": "oct", "RS": "RSA", "ES": "EC", "Ed": "OKP"}
UNSTATED = 300.0  # seconds that a token is taken to last whose end is not said


@dataclass
class _Kept:
    """The token of one connection in this process, for all who ask it: who renews it lets the others wait."""

    token: str = field(default="", repr=False)
    ends: float = 0.0
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)


_kept: dict[str, _Kept] = {}  # by a digest of the connection and its secrets


@dataclass
class Caller:
    """Who asks; a token is kept in this process until shortly before its end, and shared by all callers of an API."""

    api: Api

    @property
    def renews(self) -> bool:
        """Whether another token may help where this one is refused."""
        return self.api.auth in ("oauth2", "jwt")

    def forget(self, authorization: str) -> None:
        """A token was refused: unless another caller renewed it since, it is not used again."""
        with self._shared.lock:
            if self._shared.token == authorization:
                self._shared.token = ""

    def without_secrets(self, text: str) -> str:
        """A text in one line, with no secret of the connection in it, nor the token that is current."""
        return self.api.without_secrets(text, self._shared.token.rpartition(" ")[2] if self.renews else "")

    @cached_property
    def _shared(self) -> _Kept:
        told = repr([self.api.model_dump_json(), sorted(self.api.known_secrets().items())])
        return _kept.setdefault(hashlib.sha256(told.encode()).hexdigest(), _Kept())

    def headers(self) -> dict[str, str]:
        """Raises SourceError where no token is given, TransientError where the one who gives them does not answer."""
        api = self.api
        match api.auth:
            case "key" if not api.key_parameter:
                return {api.key_header: f"{api.key_prefix}{_in_header(api, 'key')}"}
            case "bearer":
                return {"Authorization": f"Bearer {_in_header(api, 'token')}"}
            case "basic":
                pair = f"{api.secret('user')}:{api.secret('password') or ''}"
                return {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
            case "oauth2" | "jwt":
                return {"Authorization": self._current()}
        return {}

    def parameters(self) -> dict[str, str]:
        """Of the query."""
        api = self.api
        return {api.key_parameter: api.secret("key") or ""} if api.auth == "key" and api.key_parameter else {}

    def _current(self) -> str:
        kept = self._shared
        with kept.lock:
            if not kept.token or time.monotonic() > kept.ends:
                token, seconds = _signed(self.api) if self.api.auth == "jwt" else _fetched(self.api)
                kept.token, kept.ends = token, time.monotonic() + max(seconds - EARLY, seconds / 2)
            return kept.token


def _in_header(api: Api, name: str) -> str:
    """A secret that stands in a header as it is. Raises ConfigError where a header cannot hold it."""
    secret = api.secret(name) or ""
    if not (secret.isascii() and secret.isprintable()):
        where = getattr(api, f"{name}_env") or getattr(api, f"{name}_file")
        raise ConfigError(f"{where} ({name}) holds a character that no header can: only ASCII, in one line")
    return secret


# The newest refresh token of each that the settings name (by its digest): some servers take each but once.
_rotated: dict[str, str] = {}


def _fetched(api: Api) -> tuple[str, float]:
    """A token, as a request says it, and the seconds that it lasts."""
    try:
        from authlib.integrations.base_client import OAuthError
        from authlib.integrations.httpx_client import OAuth2Client
    except ImportError:
        raise ConfigError("auth: oauth2 needs Authlib: pip install 'customer360[api]'") from None
    first = api.secret("refresh_token")
    place = hashlib.sha256(f"{api.token_url} {api.client_id} {first}".encode()).hexdigest()
    refresh = _rotated.get(place, first)
    said = {**api.token_parameters, "grant_type": "refresh_token" if refresh else "client_credentials"}
    said |= {"refresh_token": refresh} if refresh else {}
    way = f"client_secret_{api.client_secret_by}"
    client = OAuth2Client(api.client_id, api.secret("client_secret"), way, scope=api.scope or None, timeout=30.0)
    try:
        client.register_compliance_hook("access_token_response", _answered)
        with client:
            token = client.fetch_token(api.token_url, **said)
    except OAuthError as fault:
        _rotated.pop(place, None)  # the next try is with the one that the settings name
        told = api.without_secrets(f"{fault.error} {fault.description or ''}", refresh or "")
        raise SourceError(f"{api.token_url} gives no token: {told}") from None
    except httpx2.HTTPStatusError as fault:
        raise TransientError(f"{api.token_url} answers {fault.response.status_code}") from None
    except httpx2.HTTPError as fault:
        raise TransientError(f"{api.token_url} does not answer: {type(fault).__name__}") from None
    except ValueError:
        raise SourceError(f"{api.token_url} answers with no JSON: is it the URL that gives tokens?") from None
    if not token.get("access_token"):
        raise SourceError(f"{api.token_url} answers without an access_token")
    if refresh and token.get("refresh_token"):
        _rotated[place] = str(token["refresh_token"])
    kind = str(token.get("token_type") or "Bearer")
    return f"{'Bearer' if kind.lower() == 'bearer' else kind} {token['access_token']}", _seconds(token)


def _answered(answer: httpx2.Response) -> httpx2.Response:
    """Raises HTTPStatusError where asking again may help, whatever the body says."""
    if answer.status_code in (408, 425, 429) or answer.status_code >= 500:
        answer.raise_for_status()
    return answer


def _seconds(token: dict[str, object]) -> float:
    try:
        return float(str(token.get("expires_in") or UNSTATED))
    except ValueError:
        return UNSTATED


def _signed(api: Api) -> tuple[str, float]:
    try:
        from joserfc import jwt
        from joserfc.jwk import import_key
    except ImportError:
        raise ConfigError("auth: jwt needs Authlib: pip install 'customer360[api]'") from None
    now = int(time.time())
    header = {"alg": api.algorithm} | ({"kid": api.key_id} if api.key_id else {})
    try:
        key = import_key(api.secret("key") or "", KEYS[api.algorithm[:2]])
        claims = {**api.claims, "iat": now, "exp": now + api.token_seconds}
        token = jwt.encode(header, claims, key, algorithms=[api.algorithm])
    except ValueError as fault:
        where = api.key_env or api.key_file
        raise ConfigError(f"{where} holds no key for {api.algorithm}: {type(fault).__name__}") from None
    return f"{api.key_prefix or 'Bearer '}{token}", float(api.token_seconds)
