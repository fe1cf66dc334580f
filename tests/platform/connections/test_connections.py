"""Connections: checked by their kind, secrets by reference alone and shown to nobody."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Literal

import pytest

from customer360.platform.connections import Connection
from customer360.platform.errors import ConfigError
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
