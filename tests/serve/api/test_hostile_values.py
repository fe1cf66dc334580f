"""No value of a body, path or query, however odd, ends in an unknown error: every endpoint, every property."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

ODD = ('"\\ud800"', '"\\u0000"', "1e400", "NaN", "-99999999999999999999999", '{"\\ud800": ["\\ud800"]}', "[[]]", "null")
IN_ADDRESSES = ("%00", "%ED%A0%80", "..%2F..%2Fkeys.json", "%FF", "-1", "a" * 3000)


def bodies(document: dict[str, Any], schema: dict[str, Any]) -> Iterator[str]:
    """Bodies of a schema, each with one odd value beside what is required."""
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    known = schema.get("properties", {})
    required = {name: _plain(known[name]) for name in schema.get("required", []) if name in known}
    for name in known:
        others = [f'"{other}": {value}' for other, value in required.items() if other != name]
        yield from ("{" + ", ".join([*others, f'"{name}": {odd}']) + "}" for odd in ODD)
        if known[name].get("type") == "array":
            yield from ("{" + ", ".join([*others, f'"{name}": [{odd}]']) + "}" for odd in ODD[:2])


def _plain(about: dict[str, Any]) -> str:
    if "enum" in about:
        return f'"{about["enum"][0]}"'
    return {"array": "[]", "object": "{}", "integer": "1", "number": "1", "boolean": "true"}.get(
        about.get("type", ""), '"x"'
    )


@pytest.mark.slow
def test_no_value_ends_in_an_unknown_error(client: Any) -> None:
    admin = client("admin")
    document = admin.get("/openapi.json").json()
    failed, sent = set(), 0
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            names = re.findall(r"{(\w+)}", path)
            query = [p["name"] for p in operation.get("parameters", []) if p["in"] == "query"]
            asked = [(re.sub(r"{\w+}", odd, path), None) for odd in IN_ADDRESSES if names]
            asked += [(f"{re.sub(r'{.+?}', 'x', path)}?{name}={odd}", None) for name in query for odd in IN_ADDRESSES]
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            if content:
                asked += [(re.sub(r"{\w+}", "x", path), body) for body in bodies(document, content["schema"])]
            for address, body in asked:
                answer = admin.request(
                    method.upper(), address, content=body, headers={"Content-Type": "application/json"}
                )
                sent += 1
                if answer.status_code == 500:  # 503: what the published shop lacks
                    failed.add((method, path, str(body)[:80] if body else address[:80]))
    assert sent > 200 and failed == set()


@pytest.mark.parametrize("name", ["filter", "arm"])
def test_a_half_character_is_a_fault_of_who_asks(client: Any, name: str) -> None:
    body = f'{{"placement": "home", "{name}": "\\ud800"}}'
    sent = {"Content-Type": "application/json"}
    assert client("service").post("/v1/recommendations", content=body, headers=sent).status_code == 422
