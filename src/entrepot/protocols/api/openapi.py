"""The OpenAPI 3.1 document, written from the table that dispatches."""

import re
from collections.abc import Sequence
from dataclasses import fields
from types import UnionType
from typing import Any, Final, get_args

import msgspec

from entrepot import __version__, shapes
from entrepot.principals import Action
from entrepot.protocols.api.requests import ROUTES, Route

_TEMPLATE: Final = "#/components/schemas/{name}"
_BYTES: Final = {"type": "string", "format": "binary"}
_TYPES: Final = {str: "string", int: "integer"}


def document() -> dict[str, Any]:
    """The whole document."""
    bodies = (shape for route in ROUTES for shape in (route.body, *route.answers.values()) if _is_json(shape))
    shaped = [shape for body in bodies for shape in _alternatives(body)]
    _, components = msgspec.json.schema_components([*shaped, shapes.Problem], ref_template=_TEMPLATE)
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        path = "/api/v1/" + re.sub(r"\*}", "}", route.path)
        for method in route.methods.split():
            paths.setdefault(path, {})[method.lower()] = _operation(route, method)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "entrepot",
            "version": __version__,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def _is_json(shape: Any) -> bool:
    return shape is not None and shape is not bytes


def _operation(route: Route, method: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "operationId": f"{route.kind.__name__}{'' if method == route.methods.split()[0] else method.title()}",
        "summary": (route.kind.__doc__ or "").partition("\n")[0],
        "parameters": _parameters(route),
        "responses": {
            **{str(status): _answer(shape) for status, shape in route.answers.items()},
            "default": {
                "description": "refused",
                "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
            },
        },
    }
    if route.kind.action not in (Action.OPEN, Action.CAPABILITY):
        found["security"] = [{"token": []}]
    if route.body is bytes:
        found["requestBody"] = {
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
        }
    elif route.body is not None:
        found["requestBody"] = {"required": True, "content": {"application/json": {"schema": _schema(route.body)}}}
    return found


def _parameters(route: Route) -> Sequence[dict[str, Any]]:
    names = {part.strip("{}*") for part in route.parts if part.startswith("{")}
    return [
        {
            "name": one.name,
            "in": "path" if one.name in names else "query",
            "required": one.name in names,
            "schema": {"type": _TYPES[one.type], **({"minLength": 1} if one.name in names else {})},  # type: ignore[index]
        }
        for one in fields(route.kind)
    ]


def _answer(shape: Any) -> dict[str, Any]:
    if shape is None:
        return {"description": "done"}
    if shape is bytes:
        return {"description": "the bytes", "content": {"*/*": {"schema": _BYTES}}}
    return {"description": "done", "content": {"application/json": {"schema": _schema(shape)}}}


def _schema(shape: Any) -> dict[str, Any]:
    schemas, _ = msgspec.json.schema_components(_alternatives(shape), ref_template=_TEMPLATE)
    return schemas[0] if len(schemas) == 1 else {"anyOf": list(schemas)}


def _alternatives(shape: Any) -> tuple[Any, ...]:
    """The shapes an answer may have: msgspec takes no union of untagged structs."""
    return get_args(shape) if isinstance(shape, UnionType) else (shape,)
