"""The public keys of an issuer of tokens, from a file that is read again when it changes, or fetched beside the
requests from where the issuer publishes them.

Of each key stands fast what it can be used for: an RSA key checks no signature of another kind, and none can be used as
the secret that everybody would know.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from customer360.platform import telemetry
from customer360.platform.errors import ConfigError, Customer360Error
from customer360.platform.issuers import Issuer
from customer360.platform.telemetry import Repeats

if TYPE_CHECKING:  # loaded with the first token
    from jwt.algorithms import AllowedPublicKeys

LARGEST = 256 << 10  # bytes of a set of keys
MOST_KEYS = 100
SHORTEST_RSA = 2048  # bits
CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}
SOON_SECONDS = 30.0  # after which a key that nobody knew may be asked for again
FETCH_SECONDS = 5.0
LASTS_SECONDS = 24 * 3600.0  # that keys are believed whose publisher does not answer


class NoSigningKeys(Customer360Error):
    """The keys of an issuer are not known, so that no token of it can be told from any."""


@dataclass(frozen=True)
class PublicKey:
    """One key, and the algorithms that it is for."""

    number: str | None  # `kid`
    algorithms: frozenset[str]
    key: AllowedPublicKeys


class Signers:
    """The keys of one issuer."""

    def __init__(self, name: str, issuer: Issuer) -> None:
        self._name, self._issuer = name, issuer
        self._keys: list[PublicKey] = []
        self._signature: tuple[int, int, int] | None = None  # of the file that they are from
        self._came = self._asked = float("-inf")  # when they were fetched, and when it was tried
        self._fetcher: threading.Thread | None = None
        self._wanted, self._lock = threading.Event(), threading.Lock()
        self._log = telemetry.log.getChild("tokens")
        if not self._log.filters:
            self._log.addFilter(Repeats())  # callers cause its lines

    def check(self) -> None:
        """Raises ConfigError: the file holds no keys that can be read."""
        if self._issuer.keys:
            keys_in(_text(Path(self._issuer.keys)), self._issuer.keys)

    def begin(self) -> None:
        """Begin to fetch, where they lie in no file."""
        with self._lock:
            if self._issuer.keys_url and self._fetcher is None:
                self._fetcher = threading.Thread(target=self._go_on, name=f"keys of {self._name}", daemon=True)
                self._fetcher.start()

    def current(self) -> list[PublicKey]:
        """The keys as they are now: another list where they changed.

        Raises:
            NoSigningKeys: none are known.
        """
        if self._issuer.keys:
            self._read_again()
        else:
            self.begin()
        if not self._keys or (self._issuer.keys_url and time.monotonic() - self._came > LASTS_SECONDS):
            raise NoSigningKeys(f"serve.issuers.{self._name}: its public keys cannot be read; the log says why")
        return self._keys

    def keys(self, algorithm: str, number: str | None) -> list[AllowedPublicKeys]:
        """Those that a token may be signed by which names an algorithm and, it may be, a key. Raises NoSigningKeys."""
        fitting = [key for key in self.current() if algorithm in key.algorithms]
        named = [key.key for key in fitting if number is None or key.number in (None, number)]
        if not named:
            self._wanted.set()
        return named

    def _read_again(self) -> None:
        """The file, where it changed; keys that were read before stay good where it cannot be read any more."""
        file = Path(self._issuer.keys)
        try:
            if (signature := _signature(file)) == self._signature:
                return
            self._signature = signature
            self._keys = keys_in(_text(file), str(file))
        except ConfigError as fault:
            self._log.error(f"serve.issuers.{self._name}: {fault}; those of before are heeded, if there are any")

    def _go_on(self) -> None:
        """Fetch again and again. A token that names an unknown key has it done sooner, not more often than every
        `SOON_SECONDS`: anybody can name one."""
        while True:
            self._wanted.clear()
            self.fetch()
            time.sleep(SOON_SECONDS if self._keys else 1.0)
            self._wanted.wait(self._issuer.refresh_minutes * 60 - SOON_SECONDS if self._keys else 0.0)

    def fetch(self) -> None:
        """What the issuer publishes now, where the keys lie in no file."""
        if not self._issuer.keys_url:
            return
        try:
            self._keys = keys_in(_fetched(self._issuer.keys_url), self._issuer.keys_url)
            self._came = time.monotonic()
        except Exception as fault:  # noqa: BLE001 - whatever it is, the next try comes
            why = str(fault) if isinstance(fault, ConfigError) else type(fault).__name__
            self._log.warning(f"serve.issuers.{self._name}: its keys cannot be fetched: {why}")


def _fetched(url: str) -> str:
    import httpx2

    got = bytearray()
    # No redirection: it could lead to a server within.
    with httpx2.stream("GET", url, timeout=FETCH_SECONDS, follow_redirects=False) as answer:
        if answer.status_code != 200:
            raise ConfigError(f"{url} answers {answer.status_code}")
        for piece in answer.iter_bytes():
            got += piece
            if len(got) > LARGEST:
                raise ConfigError(f"{url} answers with more than {LARGEST >> 10} kilobytes")
    return got.decode()


def _signature(file: Path) -> tuple[int, int, int]:
    try:
        found = file.stat()
    except OSError as fault:
        raise ConfigError(f"{file}: the file of public keys cannot be read ({fault.strerror})") from None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _text(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return opened.read(LARGEST).decode()
    except (OSError, UnicodeDecodeError) as fault:
        raise ConfigError(f"{file}: the file of public keys cannot be read ({type(fault).__name__})") from None


def keys_in(text: str, place: str) -> list[PublicKey]:
    """The public keys of a PEM, a JWK or a set of them.

    Raises:
        ConfigError: there is none, one is private or secret, or there are too many.
    """
    keys = _of_pem(text, place) if "-----BEGIN" in text else _of_set(text, place)
    if not keys or len(keys) > MOST_KEYS:
        raise ConfigError(f"{place} holds {len(keys)} public keys of RSA, EC or Ed25519; 1 to {MOST_KEYS} are needed")
    return keys


def _of_pem(text: str, place: str) -> list[PublicKey]:
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from cryptography.x509 import load_pem_x509_certificates

    if "PRIVATE KEY-----" in text:
        raise ConfigError(f"{place} holds a private key: whoever reads it makes tokens; name a file of the public one")
    found: list[Any]
    try:
        if "-----BEGIN CERTIFICATE" in text:
            found = [each.public_key() for each in load_pem_x509_certificates(text.encode())]
        else:
            found = [load_pem_public_key(f"-----BEGIN{each}".encode()) for each in text.split("-----BEGIN")[1:]]
    except Exception as fault:  # noqa: BLE001 - the library raises its own and others'
        raise ConfigError(f"{place} holds no PEM of a public key that can be read ({type(fault).__name__})") from None
    return [_key(each, None, None, place) for each in found]


def _of_set(text: str, place: str) -> list[PublicKey]:
    try:
        given: Any = json.loads(text)
    except (ValueError, RecursionError):
        raise ConfigError(f"{place} holds neither a PEM nor JSON") from None
    listed: Any = given.get("keys", [given]) if isinstance(given, dict) else None
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        raise ConfigError(f'{place} holds no JWK, and no set of them: {{"keys": [{{"kty": …}}]}}')
    return [key for each in listed[: MOST_KEYS + 1] if (key := _of_jwk(each, place)) is not None]


def _of_jwk(said: dict[str, Any], place: str) -> PublicKey | None:
    """A key of a set; None of one that is for something else."""
    import jwt

    if said.get("kty") == "oct" or "d" in said:
        raise ConfigError(f"{place} holds a secret or private key: whoever reads it makes tokens; name public ones")
    if said.get("kty") not in ("RSA", "EC", "OKP") or said.get("use", "sig") != "sig":
        return None
    try:
        number, algorithm = said.get("kid"), said.get("alg")
        key = jwt.PyJWK(said, algorithm or {"RSA": "RS256"}.get(said["kty"])).key
        return _key(key, number if isinstance(number, str) else None, algorithm, place)
    except Exception:  # noqa: BLE001 - too short, or of a curve or kind that nobody here checks
        return None


def _key(key: Any, number: str | None, algorithm: str | None, place: str) -> PublicKey:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    fit: Sequence[str] = ()
    if isinstance(key, RSAPublicKey):
        if key.key_size < SHORTEST_RSA:
            raise ConfigError(f"{place} holds an RSA key of {key.key_size} bits; {SHORTEST_RSA} are the least")
        fit = [f"{kind}{bits}" for kind in ("RS", "PS") for bits in (256, 384, 512)]
    elif isinstance(key, EllipticCurvePublicKey):
        fit = [CURVES[key.curve.name]] if key.curve.name in CURVES else []
    elif isinstance(key, Ed25519PublicKey):
        fit = ["EdDSA"]
    return PublicKey(number, frozenset(fit) & {algorithm} if algorithm else frozenset(fit), key)
