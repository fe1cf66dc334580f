"""Connections: the servers that sources are read from, named once under ``connections:`` of the settings.

A kind of connection is one class in one module of this folder, found by the module's name: ``kind: postgresql`` is
``postgresql.py``. Its fields are its keys in the settings, checked with all others::

    class Rest(Connection):
        secrets: ClassVar[tuple[str, ...]] = ("token",)
        kind: Literal["rest"] = "rest"
        url: str
        token_env: str = ""
        token_file: str = ""

A secret never stands in the settings: a kind that has one declares ``NAME_env`` and ``NAME_file`` beside each other,
lists NAME in ``secrets``, and asks for `Connection.secret` at the moment when it connects, in whatever process that is.
A connection is a value without secrets, so it may be sent to workers. What a server or driver says passes through
`Connection.without_secrets` before it becomes a message.

A kind of source that reads from a server has ``connection: NAME`` in the settings (a key of every source; who needs
none leaves it empty) and finds the value in `sources.base.Source.connected`.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self
from urllib.parse import quote, quote_plus, unquote_plus

from pydantic import BaseModel, ConfigDict, SerializeAsAny, ValidatorFunctionWrapHandler, WrapValidator, model_validator
from pydantic_core import PydanticCustomError

from customer360.platform.errors import ConfigError
from customer360.platform.kinds import class_of

KINDS = "customer360.platform.connections"
HIDDEN = "•••"
_SECRET = (
    r"(?:[\w.\-]*[._\-])?(?:(?:ssl|key)?password|passwd|passphrase|pwd|secret|token|authorization|cookie|credentials?|"
    r"(?:key|certificate)\.pem|(?:api|access|account|subscription|functions|auth|private|shared|secret)[._\-]?key)"
)
SECRET_NAME = re.compile(_SECRET, re.IGNORECASE)
SECRET_IN_URL = re.compile(rf"(?:^|[&;=])\s*({_SECRET}|key|sig|signature)\s*=\s*[^&;\s]", re.IGNORECASE)


def secrets_written(given: Any, place: str = "") -> Iterator[str]:
    """Places of settings that hold a secret: by the name of a key inside, or in the query of a URL."""
    if isinstance(given, dict):
        for key, held in given.items():
            inside = f"{place}.{key}" if place else str(key)
            if place and isinstance(held, str | int) and str(held) and SECRET_NAME.fullmatch(str(key)):
                yield inside
            else:
                yield from secrets_written(held, inside)
    elif isinstance(given, list):
        for held in given:
            yield from secrets_written(held, place)
    elif isinstance(given, str) and "://" in given:
        found = SECRET_IN_URL.search(unquote_plus(given.partition("?")[2]))
        yield from [f"{place}, {found[1]}"] if found else []


class Connection(BaseModel):
    """A server and how to reach it. Immutable; unknown keys are refused, and their values shown to nobody."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    secrets: ClassVar[tuple[str, ...]] = ()

    kind: str
    description: str = ""

    @model_validator(mode="before")
    @classmethod
    def _names_secrets_only(cls, given: Any) -> Any:
        if isinstance(given, dict):
            for secret in cls.secrets:
                if secret in given:
                    raise PydanticCustomError(
                        "secret",
                        "{secret}: a secret does not stand in settings; name where it is, {secret}_env: VARIABLE or "
                        "{secret}_file: PATH",
                        {"secret": secret},
                    )
            if found := next(secrets_written(given), None):
                keys = " or ".join(f"{secret}_env: VARIABLE" for secret in cls.secrets) or "none of this kind"
                raise PydanticCustomError(
                    "secret",
                    "{place}: a secret does not stand in settings; keys that name where it is: {keys}",
                    {"place": found, "keys": keys},
                )
        return given

    @model_validator(mode="after")
    def _has_each_secret_once(self) -> Self:
        for secret in self.secrets:
            if getattr(self, f"{secret}_env") and getattr(self, f"{secret}_file"):
                raise ValueError(f"{secret}: give {secret}_env or {secret}_file, not both")
        return self

    def secret(self, name: str) -> str | None:
        """A secret as it stands now in the environment or its file; None where the settings name neither.

        Raises:
            ConfigError: it is not where the settings say.
        """
        variable, file = getattr(self, f"{name}_env"), getattr(self, f"{name}_file")
        if variable:
            found = os.environ.get(variable)
            if not (found or "").strip("\r\n"):
                raise ConfigError(f"the environment variable {variable} ({name}_env) is not set")
            return (found or "").strip("\r\n")
        if not file:
            return None
        try:
            held = Path(file).read_text(encoding="utf-8").strip("\r\n")
        except OSError as fault:
            raise ConfigError(f"the file {file} ({name}_file) cannot be read: {fault.strerror}") from None
        except UnicodeDecodeError:
            raise ConfigError(f"the file {file} ({name}_file) is no text in UTF-8") from None
        if not held:
            raise ConfigError(f"the file {file} ({name}_file) is empty")
        return held

    def known_secrets(self) -> dict[str, str]:
        """Secrets by name, of those that are where the settings say."""
        found = {}
        for name in self.secrets:
            try:
                found[name] = self.secret(name) or ""
            except ConfigError:  # who connects says it
                continue
        return {name: value for name, value in found.items() if value}

    def without_secrets(self, text: str, *more: str) -> str:
        """A text in one line, with no secret of this connection in it, nor any of ``more``."""
        values = {*self.known_secrets().values(), *more} - {""}
        spelt = {way for value in values for way in _spellings(value)}
        for each in sorted(spelt, key=len, reverse=True):
            text = text.replace(each, HIDDEN)
        return " ".join(text.split())


def _spellings(value: str) -> set[str]:
    """How messages of drivers, servers and Python write a value."""
    python = {repr(value)[1:-1], repr(value.encode())[2:-1]}
    return {value, quote(value, safe=""), quote_plus(value), json.dumps(value)[1:-1], *python}


def _of_its_kind(given: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """A connection as its kind checks it."""
    if not isinstance(given, dict):
        return validate(given)
    try:
        kind = class_of(str(given.get("kind", "")), Connection, KINDS, "connection")
    except ConfigError as fault:
        raise PydanticCustomError("kind", "{reason}", {"reason": str(fault)}) from None
    return kind.model_validate(given)


AnyConnection = Annotated[SerializeAsAny[Connection], WrapValidator(_of_its_kind)]
