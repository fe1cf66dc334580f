"""Who calls with a signed token (JWT) of an issuer that the settings name, or with an API key.

A token says who it is (`sub`), for whom it was made (`aud`) and until when (`exp`), and is signed. What it says of keys
or algorithms is not believed: which keys there are, and what each may be used for, is the issuer's, by the settings. It
is not stored, and no request is made of anybody for it.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from customer360.platform import access, revocations
from customer360.platform.access import LADDER, Principal, Role, WrongRole
from customer360.platform.errors import AccessDenied, ConfigError
from customer360.platform.issuers import Issuer
from customer360.platform.signing import Signers

LONGEST = 8 << 10  # characters of a token
LONGEST_SUBJECT = 255
CLAIMS = ["exp", "iss", "aud", "sub"]  # that every token has
MOST_TRIED = 8  # keys, where a token does not say by which of several it is signed
MOST_GOOD, GOOD_SECONDS = 1000, 60.0  # tokens whose signatures are not checked anew, and for how long


class _Good(NamedTuple):
    """A token whose signature was checked by some keys of its issuer."""

    claims: dict[str, Any]
    issuer: str  # its name here
    keys: object  # as they were
    until: float


class Callers:
    """Who may call. ``scopes``: the groups of endpoints that there are.

    Raises:
        ConfigError: an issuer gives a scope that is none.
    """

    def __init__(self, state: Path, issuers: Mapping[str, Issuer], scopes: tuple[str, ...]) -> None:
        for name, issuer in issuers.items():
            if unknown := sorted(set(issuer.scopes.values()) - set(scopes)):
                raise ConfigError(f"serve.issuers.{name}.scopes: {', '.join(unknown)}: there are {', '.join(scopes)}")
        self._state, self._issuers = state, issuers
        self._signers = {name: Signers(name, issuer) for name, issuer in issuers.items()}
        self._named = {issuer.issuer: name for name, issuer in issuers.items()}
        self._good: dict[str, _Good] = {}

    def check(self) -> None:
        """Read the keys that lie in files.

        Raises:
            ConfigError: a file of them holds none.
        """
        for signers in self._signers.values():
            signers.check()

    def begin(self) -> None:
        """Fetch the others, so that the first caller finds them."""
        for signers in self._signers.values():
            signers.begin()

    def fetch(self) -> None:
        """Fetch the others now, for who has no server."""
        for signers in self._signers.values():
            signers.fetch()

    def verify(self, presented: str | None) -> Principal:
        """Who a key or token belongs to.

        Raises:
            AccessDenied: it is none that is good now.
            WrongRole: a good token gives no role here.
            KeysUnreadable, NoSigningKeys: that cannot be told now.
        """
        if not self._issuers or presented is None or presented.count(".") != 2:
            return access.verify(self._state, presented)
        claims, name = self._known(presented)
        subject = _subject(claims)
        if revocations.is_revoked(self._state, name, claims.get("jti"), subject):
            raise AccessDenied("the token was revoked")
        issuer = self._issuers[name]
        role, scopes = _role(claims, issuer), _scopes(claims, issuer)
        known_as = hashlib.sha256(f"{name}\0{subject}".encode()).hexdigest()[:16]
        return Principal(f"{name}:{subject}", role, scopes, f"t-{known_as}", issuer.per_minute)

    def _known(self, token: str) -> tuple[dict[str, Any], str]:
        """What a good token says, and the name of who issued it. To check a signature takes as long as much else of an
        answer: it is done once, as long as neither the token ends nor the keys of its issuer change."""
        good, now = self._good.get(token), time.time()
        if good is not None and now < good.until and self._signers[good.issuer].current() is good.keys:
            return good.claims, good.issuer
        claims, name, keys = self._claims(token)
        if len(self._good) >= MOST_GOOD:
            self._good.clear()
        until = min(float(claims["exp"]) + self._issuers[name].leeway_seconds, now + GOOD_SECONDS)
        self._good[token] = _Good(claims, name, keys, until)
        return claims, name

    def _claims(self, token: str) -> tuple[dict[str, Any], str, object]:
        """What a good token says, the name of who issued it, and the keys that there were before it was checked."""
        import jwt  # with the first token: most servers see none

        if len(token) > LONGEST or not token.isascii():
            raise AccessDenied(f"a token has at most {LONGEST // 1024} kilobytes of ASCII")
        try:
            header = jwt.get_unverified_header(token)
            said = jwt.decode(token, options={"verify_signature": False})
        except Exception:  # noqa: BLE001 - what anybody may send may fail in any way
            raise AccessDenied("the token cannot be read") from None
        by = said.get("iss")
        name = self._named.get(by) if isinstance(by, str) else None
        if name is None or "crit" in header:
            raise AccessDenied("the token is of no issuer that is known here")
        keys = self._signers[name].current()
        return self._checked(token, header, name), name, keys

    def _checked(self, token: str, header: Mapping[str, Any], name: str) -> dict[str, Any]:
        """Raises AccessDenied, in words that tell nothing of the token."""
        import jwt

        issuer = self._issuers[name]
        algorithm, number = header.get("alg"), header.get("kid")
        if algorithm not in issuer.algorithms:
            raise AccessDenied("the token is signed in a way that is not allowed here")
        keys = self._signers[name].keys(str(algorithm), number if isinstance(number, str) else None)
        why = "the token is signed by no key of its issuer"
        for key in keys[:MOST_TRIED]:
            try:
                claims: dict[str, Any] = jwt.decode(
                    token, key, [str(algorithm)], {"require": CLAIMS},
                    issuer=issuer.issuer, audience=issuer.audience, leeway=issuer.leeway_seconds,
                )  # fmt: skip
            except jwt.InvalidSignatureError:
                continue
            except Exception as fault:  # noqa: BLE001 - as above
                raise AccessDenied(_words(fault, jwt)) from None
            _is_short(claims, issuer)
            return claims
        raise AccessDenied(why)


def _words(fault: Exception, jwt_: Any) -> str:
    told: dict[type[Exception], str] = {
        jwt_.ExpiredSignatureError: "the token has expired",
        jwt_.ImmatureSignatureError: "the token is not good yet",
        jwt_.InvalidAudienceError: "the token was made for others (`aud`)",
        jwt_.MissingRequiredClaimError: f"a token needs the claims {', '.join(CLAIMS)}",
    }
    return told.get(type(fault), "the token is not good")


def _is_short(claims: Mapping[str, Any], issuer: Issuer) -> None:
    """Raises AccessDenied for a token that is good for longer than the settings let one be."""
    if int(claims["exp"]) > time.time() + issuer.longest_minutes * 60 + issuer.leeway_seconds:
        raise AccessDenied(f"a token may last {issuer.longest_minutes:,.0f} minutes; this one lasts longer")


def _subject(claims: Mapping[str, Any]) -> str:
    subject = claims["sub"]
    if not isinstance(subject, str) or not 0 < len(subject) <= LONGEST_SUBJECT or not subject.isprintable():
        raise AccessDenied(f"the subject of a token is a text of at most {LONGEST_SUBJECT} printable characters")
    if subject != subject.strip():
        raise AccessDenied("the subject of a token begins and ends with no space")
    return subject


def _role(claims: Mapping[str, Any], issuer: Issuer) -> Role:
    """The highest of the roles that a token gives."""
    given = {issuer.roles[word] for word in _words_of(claims, issuer.role_claim) if word in issuer.roles}
    for role in reversed(LADDER):
        if role in given:
            return role
    if "metrics" in given:
        return "metrics"
    raise WrongRole("the token gives no role here")


def _scopes(claims: Mapping[str, Any], issuer: Issuer) -> tuple[str, ...]:
    """The groups of endpoints that a token is bound to. Where the settings name any, one that gives none reaches
    none: no scope would be all of them."""
    if not issuer.scopes:
        return ()
    words = _words_of(claims, issuer.scope_claim)
    if found := sorted({issuer.scopes[word] for word in words if word in issuer.scopes}):
        return tuple(found)
    raise WrongRole("the token gives no scope here")


def _words_of(claims: Mapping[str, Any], claim: str) -> list[str]:
    """What a claim says: a list of texts, or the words of one. A name with points is that of a claim, or the way to one
    within others."""
    said: Any = claims.get(claim)
    if said is None:
        said = claims
        for step in claim.split("."):
            said = said.get(step) if isinstance(said, dict) else None
    if isinstance(said, str):
        return said.split()
    return [each for each in said if isinstance(each, str)] if isinstance(said, list) else []
