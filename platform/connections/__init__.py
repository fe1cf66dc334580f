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

import os
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self
from urllib.parse import quote, quote_plus

from pydantic import BaseModel, ConfigDict, SerializeAsAny, ValidatorFunctionWrapHandler, WrapValidator, model_validator
from pydantic_core import PydanticCustomError

from customer360.platform.errors import ConfigError
from customer360.platform.kinds import class_of

KINDS = "customer360.platform.connections"
HIDDEN = "•••"


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
            if found is None:
                raise ConfigError(f"the environment variable {variable} ({name}_env) is not set")
            return found
        if not file:
            return None
        try:
            return Path(file).read_text(encoding="utf-8").rstrip("\r\n")
        except OSError as fault:
            raise ConfigError(f"the file {file} ({name}_file) cannot be read: {fault.strerror}") from None

    def without_secrets(self, text: str) -> str:
        """A text in one line, with no secret of this connection in it."""
        for name in self.secrets:
            try:
                value = self.secret(name)
            except ConfigError:
                continue
            for spelt in sorted({value, quote(value, safe=""), quote_plus(value)} if value else (), key=len)[::-1]:
                text = text.replace(spelt, HIDDEN)
        return " ".join(text.split())


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
