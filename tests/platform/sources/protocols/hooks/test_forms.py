"""Forms as the objects that they tell."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from customer360.platform.sources.protocols.hooks.forms import as_json


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"a=1&b=x+y%26z", {"a": "1", "b": "x y&z"}),
        (b"a=&b=%C3%A9", {"a": "", "b": "é"}),
        (b"tag=x&tag=y&tag=z", {"tag": ["x", "y", "z"]}),
        (b"data[email]=a%40b.test&data[merges][FNAME]=Ana", {"data[email]": "a@b.test", "data[merges][FNAME]": "Ana"}),
        (b"a=1\r\n", {"a": "1"}),
    ],
)  # fmt: skip
def test_fields_are_texts(body: bytes, told: dict[str, Any]) -> None:
    assert json.loads(as_json(body)) == told


def test_a_field_may_hold_json() -> None:
    body = urlencode({"payload": json.dumps({"user": {"id": "U1"}, "n": 1.0}), "team": "[1]"}).encode()
    assert json.loads(as_json(body, ["payload"])) == {"payload": {"user": {"id": "U1"}, "n": 1.0}, "team": "[1]"}
    with pytest.raises(ValueError, match="Expecting"):
        as_json(b"payload=no", ["payload"])


@pytest.mark.parametrize("body", [b"", b'{"a": 1}', b"a", b"a=1&b", b"a=%FF", b"\xff=1"])
def test_what_is_no_form_is_said(body: bytes) -> None:
    with pytest.raises(ValueError):
        as_json(body)


@given(st.lists(st.tuples(st.text(min_size=1), st.text()), min_size=1, max_size=8, unique_by=lambda field: field[0]))
def test_what_a_client_encodes_comes_back(fields: list[tuple[str, str]]) -> None:
    clean = [(n, v) for n, v in fields if not any("\ud800" <= c <= "\udfff" for c in n + v)]
    if clean:
        assert json.loads(as_json(urlencode(clean).encode())) == dict(clean)
