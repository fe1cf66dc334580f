"""The page `/docs`: every endpoint, its parameters, bodies and answers, from the application's own OpenAPI document.

FastAPI's page loads its code from a content delivery network, which many companies' browsers do not reach. This one is
HTML alone, made in this process: no script, no request to anybody else. A call is shown as a `curl` line.
"""

from __future__ import annotations

import json
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, select_autoescape

router = APIRouter()
_pages = Environment(
    loader=PackageLoader("customer360.serve.api"),
    autoescape=select_autoescape(default=True),
    trim_blocks=True,
    lstrip_blocks=True,
)


@router.get("/docs", include_in_schema=False, response_class=HTMLResponse)
async def docs(request: Request) -> HTMLResponse:
    """The reference page. Open to everybody, like the OpenAPI document that it is made from; made once, as it takes
    longer than any answer, and whoever has no key may ask for it, too."""
    document, kept = request.app.openapi(), request.app.state
    if getattr(kept, "reference_of", None) is not document:
        kept.reference, kept.reference_of = render(document), document
    return HTMLResponse(kept.reference)


def render(document: dict[str, Any]) -> str:
    """An OpenAPI document as a page."""
    schemas = document.get("components", {}).get("schemas", {})
    operations = [
        _operation(document, path, method, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    tags = list(dict.fromkeys(operation["tag"] for operation in operations))
    return _pages.get_template("reference.html").render(
        info=document["info"],
        groups=[(tag, [o for o in operations if o["tag"] == tag]) for tag in tags],
        schemas={name: _fields(schema) for name, schema in sorted(schemas.items())},
        security=document.get("components", {}).get("securitySchemes", {}),
    )


def _operation(document: dict[str, Any], path: str, method: str, operation: dict[str, Any]) -> dict[str, Any]:
    parameters = [
        {
            "name": p["name"],
            "where": p["in"],
            "type": type_of(p.get("schema", {})),
            "required": p.get("required", False),
            "text": p.get("description", ""),
        }
        for p in operation.get("parameters", [])
    ]
    body = _content(operation.get("requestBody", {}))
    answers = [
        {"status": status, "text": answer.get("description", ""), "type": type_of(_content(answer))}
        for status, answer in operation.get("responses", {}).items()
    ]
    first = next((a for a in operation.get("responses", {}).items() if a[0].startswith("2")), None)
    shown = example(_content(first[1]), document) if first else None
    return {
        "id": f"{method}{path}".replace("/", "-").replace("{", "").replace("}", ""),
        "path": path,
        "method": method.upper(),
        "tag": (operation.get("tags") or ["other"])[0],
        "title": operation.get("summary", ""),
        "text": operation.get("description", ""),
        "needs_key": bool(operation.get("security")),
        "parameters": parameters,
        "body": type_of(body) if body else "",
        "answers": answers,
        "curl": _curl(document, path, method, operation, body),
        "example": json.dumps(shown, indent=2, ensure_ascii=False) if shown is not None else "",
    }


def _curl(document: dict[str, Any], path: str, method: str, operation: dict[str, Any], body: dict[str, Any]) -> str:
    words = ["curl"] + (["-X", method.upper()] if method != "get" else [])
    if operation.get("security"):
        words += ["-H", '"X-API-Key: $KEY"']
    if body:
        words += ["-H", '"Content-Type: application/json"', "-d", f"'{json.dumps(example(body, document))}'"]
    return " ".join([*words, f'"$HOST{path}"'])


def type_of(schema: dict[str, Any]) -> str:
    """A schema in words: `string (date)`, `list of Reason`, `number or null`."""
    if "$ref" in schema:
        return str(schema["$ref"].rsplit("/", 1)[-1])
    if options := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(type_of(option) for option in options)
    if schema.get("type") == "array":
        return f"list of {type_of(schema.get('items', {}))}"
    if values := schema.get("enum"):
        return " | ".join(map(str, values))
    if "const" in schema:
        return str(schema["const"])
    kind = str(schema.get("type", "")) or ("any" if schema else "")
    return f"{kind} ({schema['format']})" if "format" in schema else kind


def example(schema: dict[str, Any], document: dict[str, Any], depth: int = 0) -> Any:
    """A value that fits a schema, from its own examples where it has any."""
    if "$ref" in schema:
        if depth > 6:
            return None
        name = schema["$ref"].rsplit("/", 1)[-1]
        return example(document["components"]["schemas"][name], document, depth + 1)
    if examples := schema.get("examples"):
        return examples[0]
    for source in ("example", "default", "const"):
        if source in schema:
            return schema[source]
    if options := schema.get("anyOf") or schema.get("oneOf"):
        return example(options[0], document, depth)
    if schema.get("type") == "object":
        return {name: example(part, document, depth + 1) for name, part in schema.get("properties", {}).items()}
    if schema.get("type") == "array":
        return [example(schema.get("items", {}), document, depth + 1)]
    if values := schema.get("enum"):
        return values[0]
    return {"integer": 1, "number": 0.5, "boolean": True, "string": "…"}.get(schema.get("type", ""))


def _fields(schema: dict[str, Any]) -> dict[str, Any]:
    needed = set(schema.get("required", []))
    rows = [(name, type_of(part), name in needed, part.get("description", ""))
            for name, part in schema.get("properties", {}).items()]  # fmt: skip
    return {"text": schema.get("description", ""), "rows": rows, "type": type_of(schema)}


def _content(part: dict[str, Any]) -> dict[str, Any]:
    """The schema of the first media type of a body or an answer; empty where there is none."""
    media: dict[str, Any] = next(iter(part.get("content", {}).values()), {})
    found: dict[str, Any] = media.get("schema", {})
    return found
