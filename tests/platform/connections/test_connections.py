"""Connections: checked by their kind, secrets by reference alone and shown to nobody."""

from __future__ import annotations

import base64
import json
import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Literal

import pytest
from pydantic import ValidationError

from customer360.platform.connections import KINDS, Connection
from customer360.platform.connections.api import Api
from customer360.platform.errors import ConfigError
from customer360.platform.kinds import class_of
from customer360.platform.settings import Settings, load
from customer360.platform.sources.base import Source, configured

COMMON = {"table": "bronze.t_ticks", "system": "LAB"}


class Lab(Connection):
    secrets: ClassVar[tuple[str, ...]] = ("token",)
    kind: Literal["t_wire.lab"] = "t_wire.lab"
    url: str
    token_env: str = ""
    token_file: str = ""


class Feed(Source):
    connects: ClassVar[type[Connection]] = Lab
    kind: str = "t_wire.feed"

    def discover(self, landing: Any, known: Any) -> Any: ...
    def read(self, landing: Any, piece: Any) -> Any: ...


@pytest.fixture(autouse=True)
def wire() -> Iterator[None]:
    for name, kind in (("lab", Lab), ("feed", Feed)):
        module = ModuleType(f"t_wire.{name}")
        module.__dict__[kind.__name__] = kind
        kind.__module__ = module.__name__
        sys.modules |= {"t_wire": ModuleType("t_wire"), module.__name__: module}
    yield
    for name in ("t_wire", "t_wire.lab", "t_wire.feed"):
        del sys.modules[name]


def of_yaml(folder: Path, text: str, environment: dict[str, str] | None = None) -> Settings:
    (folder / "s.yaml").write_text(text)
    return load(folder / "s.yaml", environment or {})


LAB = "connections: {lab: {kind: t_wire.lab, url: u, token_env: T_TOKEN}}\n"
FEED = "sources: {feed: {table: bronze.t, system: LAB, kind: t_wire.feed, connection: lab}}\n"


def test_a_source_carries_its_connection_to_workers_and_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("T_TOKEN", "s3cr3t/+ value")
    settings = of_yaml(tmp_path, LAB + FEED, {"CUSTOMER360__CONNECTIONS__LAB__URL": "other"})
    packed = pickle.dumps(configured(settings, "feed"))
    assert b"s3cr3t" not in packed
    found = pickle.loads(packed).connected
    assert (found.url, found.secret("token")) == ("other", "s3cr3t/+ value")
    said = "at u?t=s3cr3t%2F%2B%20value and s3cr3t/+ value:\n refused"
    assert found.without_secrets(said) == "at u?t=••• and •••: refused"
    assert Settings.model_validate(settings.model_dump()) == settings


def test_a_secret_in_a_file_and_one_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "token").write_text("of a file\n")
    assert Lab(url="u", token_file=str(tmp_path / "token")).secret("token") == "of a file"
    assert Lab(url="u").secret("token") is None
    monkeypatch.delenv("T_TOKEN", raising=False)
    with pytest.raises(ConfigError, match=r"^the environment variable T_TOKEN \(token_env\) is not set$"):
        Lab(url="u", token_env="T_TOKEN").secret("token")
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        Lab(url="u", token_file=str(tmp_path / "none")).secret("token")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("connections: {lab: {kind: t_wire.lab, url: u, token: hunter2}}", "connections.lab: token: a secret does not"),
        ("connections: {lab: {kind: t_wire.lab, url: u, pass: hunter2}}", "connections.lab.pass: Extra inputs"),
        ("connections: {lab: {kind: t_wire.lab, url: {a: hunter2}}}", "connections.lab.url: Input should be a valid"),
        ("connections: {lab: hunter2}", "connections.lab"),
        ("connections: {lab: {kind: ftp, url: hunter2}}", "there is no kind of connection 'ftp'; there are "),
        ("connections: {lab: {kind: t_wire.lab, url: u, token_env: A, token_file: B}}", "not both"),
        (FEED, "sources.feed: connection 'lab' does not stand under connections:, where there is none"),
        (
            f"{LAB}sources: {{f: {{table: t, system: S, path: x, connection: lab}}}}",
            "sources.f: kind files has no connection",
        ),
    ],
)
def test_faults_say_what_to_do_and_show_no_value(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as fault:
        of_yaml(tmp_path, text)
    assert said in str(fault.value)
    assert "hunter2" not in str(fault.value)


@pytest.mark.parametrize(
    ("kind", "keys", "said"),
    [
        ("api", {"url": "https://x.example", "headers": {"Authorization": "Bearer hunter2"}}, "headers.Authorization"),
        ("api", {"url": "https://x.example", "headers": {"X-Api-Key": "hunter2"}}, "headers.X-Api-Key: a secret"),
        ("api", {"url": "https://x.example/a?api_key=hunter2"}, "url, api_key: a secret"),
        ("api", {"url": "https://x.example", "token_parameters": {"password": "hunter2"}}, "token_parameters.password"),
        ("kafka", {"servers": "b:1", "options": {"sasl.password": "hunter2"}}, "password_env: VARIABLE"),
        ("kafka", {"servers": "b:1", "options": {"ssl.key.password": "hunter2"}}, "options.ssl.key.password"),
        ("kafka", {"servers": "b:1", "options": {"auto.offset.reset": "earliest"}}, "auto.offset.reset: not an option"),
        ("sqlalchemy", {"url": "mssql+pyodbc:///?odbc_connect=DRIVER%3DX%3BPWD%3Dhunter2"}, "url, PWD: a secret"),
    ],
)
def test_a_secret_under_another_name_is_refused(kind: str, keys: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError) as fault:
        class_of(kind, Connection, KINDS, "connection").model_validate({"kind": kind, **keys})
    assert said in str(fault.value) and "hunter2" not in str(fault.value)


@pytest.mark.parametrize(
    ("kind", "keys"),
    [
        ("api", {"url": "https://x.example/a?page=1", "headers": {"X-Api-Version": "2"}, "key_parameter": "api_key"}),
        ("api", {"url": "https://x.example", "token_parameters": {"audience": "https://y.example"}}),
        ("kafka", {"servers": "b:1", "options": {"ssl.key.location": "/a/key.pem", "client.id": "us"}}),
        ("sqlalchemy", {"url": "mssql+pyodbc://h/shop?driver=ODBC+Driver+18&TrustServerCertificate=yes"}),
    ],
)
def test_what_is_no_secret_is_taken(kind: str, keys: dict[str, Any]) -> None:
    assert class_of(kind, Connection, KINDS, "connection").model_validate({"kind": kind, **keys}).kind == kind


def test_line_ends_of_a_variable_are_no_part_of_it_and_an_empty_one_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    lab = Lab(url="u", token_env="T_TOKEN")
    monkeypatch.setenv("T_TOKEN", "s3cr3t\r\n")
    assert lab.secret("token") == "s3cr3t"
    monkeypatch.setenv("T_TOKEN", "\n")
    with pytest.raises(ConfigError, match="is not set"):
        lab.secret("token")


def test_secrets_are_hidden_however_they_are_spelt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("T_USER", "ada")
    monkeypatch.setenv("T_PASSWORD", "pä\\ss'1")
    api = Api(url="https://x.example", auth="basic", user_env="T_USER", password_env="T_PASSWORD")
    secret = "pä\\ss'1"
    pair = base64.b64encode(f"ada:{secret}".encode()).decode()
    told = api.without_secrets(f"{secret} {secret!r} {secret.encode()!r} {json.dumps(secret)} Basic {pair} t0k", "t0k")
    assert "ss" not in told.replace("Basic", "") and pair not in told and "t0k" not in told
