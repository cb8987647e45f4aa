"""GET /openapi.json: describes the HTTP interface (OpenAPI 3.1). Its commands are derived from their classes."""

from functools import cache
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from kvd.commands import COMMANDS
from kvd.gateways.http.errors import encode
from kvd.gateways.http.json_commands import BYTES, KEY, schema_of
from kvd.limits import IN_FLIGHT_MAX, INTEGER_MAX, KEY_BYTES_MAX, SCAN_LIMIT_MAX, TTL_MS_MAX
from kvd.version import VERSION

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
NAME: Schema = {"type": "string", "minLength": 1, "maxLength": KEY_BYTES_MAX}  # in bytes; JSON Schema counts characters
OCTETS: Schema = {
    "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
}  # binary, as code generators expect it
PLAIN: Schema = {"text/plain": {"schema": TEXT}}
REVISION: Schema = {"type": "integer", "minimum": 0, "maximum": INTEGER_MAX}
FLAG: Schema = {"type": "string", "enum": ["0", "1"]}
ERRORS = {
    "400": "the request is invalid: see code and message",
    "401": "a token is needed",
    "403": "DENIED: the token does not allow this command; or the Host or Origin is not accepted",
    "404": "there is no such key",
    "409": "CONFLICT or WRONG_TYPE: the key has another revision or another type of value",
    "410": "COMPACTED: the requested changes are no longer stored; or the daemon has another history",
    "412": "CONFLICT: the condition in If-Match or If-None-Match does not hold",
    "413": "TOO_LARGE",
    "416": "RANGE_NOT_SATISFIABLE: the Range is outside the value",
    "429": "BUSY: try again",
    "500": "CORRUPT or INTERNAL: see the daemon's log",
    "503": "the daemon does not answer, or refuses writes",
    "507": "FULL: no space on the daemon's disk",
}
ALWAYS = ("400", "401", "403", "413", "429", "500", "503")


def _json_of(schema: Schema) -> Schema:
    """Return the schema of a JSON body."""
    return {"application/json": {"schema": schema}}


def _object_of(**properties: Schema) -> Schema:
    """Return the schema of an object with these members."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def _responses(content: Schema, *more: str, status: str = "200", description: str = "success") -> Schema:
    known = {number: {"$ref": f"#/components/responses/E{number}"} for number in (*ALWAYS, *more)}
    return {status: {"description": description, "content": content}, **known}


def _parameter(name: str, schema: Schema, *, where: str = "query", **more: Any) -> Schema:
    return {"name": name, "in": where, "schema": schema, "required": where == "path", **more}


def _operation(name: str, summary: str, responses: Schema, *parameters: Schema, body: Schema | None = None) -> Schema:
    """Return an operation. Code generators use `name` for a function."""
    operation: Schema = {"operationId": name, "summary": summary, "responses": responses}
    if parameters:
        operation["parameters"] = list(parameters)
    if body is not None:
        operation["requestBody"] = {"required": True, "content": body}
    return operation


def _get_responses() -> Schema:
    """Return the responses of GET /kv/{key}."""
    part = {"description": "the bytes of the Range, as stated in Content-Range", "content": OCTETS}
    return {**_responses(OCTETS, "404", "416"), "206": part}


def _key_paths() -> Schema:
    """Return the paths of /kv."""
    key = _parameter("key", NAME, where="path", description="percent-encoded, any bytes")
    match = _parameter("If-Match", {"type": "string", "pattern": r'^(\*|"[0-9]{1,18}")$'}, where="header")
    none = _parameter("If-None-Match", {"type": "string", "pattern": r"^\*$"}, where="header")
    part = _parameter(
        "Range", {"type": "string"}, where="header", description="bytes=FIRST-LAST, bytes=FIRST-, bytes=-COUNT"
    )
    only_of = _parameter(
        "If-Range",
        {"type": "string"},
        where="header",
        description="an ETag: the range is returned only for this revision, else the whole value",
    )
    ttl = _parameter("ttl", {"type": "number", "minimum": 0.001, "maximum": TTL_MS_MAX // 1000}, description="seconds")
    write_responses = _responses(PLAIN, "412", "507")
    about = {"revision": REVISION, "expires": {"type": ["integer", "null"]}}
    entry, sized = _object_of(key=BYTES, value=BYTES, **about), _object_of(key=BYTES, size=REVISION, **about)
    items = {"type": "array", "items": {"anyOf": [BYTES, entry, sized]}}
    page = _object_of(revision=REVISION, items=items, next={"anyOf": [BYTES, {"type": "null"}]})
    summary = "The value, or a Range of it; the ETag is the revision"
    return {
        "/kv/{key}": {
            "get": _operation("getValue", summary, _get_responses(), key, part, only_of),
            "put": _operation("setValue", "Set a key", write_responses, key, match, none, ttl, body=OCTETS),
            "post": _operation("postValue", "Set a key", write_responses, key, match, none, ttl, body=OCTETS),
            "delete": _operation("clearKey", "Clear a key", _responses(PLAIN, "412", "507"), key, match),
        },
        "/kv": {
            "get": _operation(
                "listKeys",
                "A page of keys in byte order; pass its `next` as `after` for the next page",
                _responses(_json_of(page)),
                _parameter("prefix", TEXT),
                _parameter("after", NAME),
                _parameter("limit", {"type": "integer", "minimum": 1, "maximum": SCAN_LIMIT_MAX}),
                _parameter("values", FLAG),
                _parameter("sizes", FLAG),
            )
        },
    }


def _command_paths() -> Schema:
    """Return the paths of commands and changes."""
    one = {"$ref": "#/components/schemas/Command"}
    many = {"type": "array", "items": one, "maxItems": IN_FLIGHT_MAX}
    reply = _object_of(revision=REVISION, result={})
    failure = _object_of(error={"$ref": "#/components/schemas/Error"})
    replies = {"anyOf": [reply, {"type": "array", "items": {"anyOf": [reply, failure]}}]}
    return {
        "/v1/commands": {
            "post": _operation(
                "runCommands",
                "Run a command, or an array of commands in order",
                _responses(_json_of(replies), "409", "410", "507"),
                body=_json_of({"anyOf": [one, many]}),
            )
        },
        "/v1/watch": {
            "get": _operation(
                "watchChanges",
                "An endless stream of changes, as server-sent events or over a WebSocket",
                _responses({"text/event-stream": {"schema": TEXT}}, "410"),
                _parameter("prefix", TEXT),
                _parameter("since", REVISION),
                _parameter("history", TEXT),
                _parameter("Last-Event-ID", {"type": "string", "pattern": "^[0-9]{1,18}$"}, where="header"),
            )
        },
    }


def _dialect_paths() -> Schema:
    """Return the paths of the two older JSON dialects."""
    not_found = {"description": "there is no such key", "content": PLAIN}
    text_or_null = {"anyOf": [BYTES, {"type": "null"}]}
    pair, pair_key, key = _object_of(Key=KEY, Value=BYTES), _object_of(Key=KEY), _object_of(key=KEY)
    inserted = _object_of(inserted={"type": "boolean"}, ejected_val=text_or_null)
    set_responses = _responses(_json_of({"anyOf": [{"const": "SUCCESS"}, inserted]}), "507")
    set_responses["201"] = set_responses["200"]
    removed = _object_of(found={"type": "boolean"}, removed={"type": "boolean"}, ejected_val=text_or_null)
    remove_responses = _responses(_json_of(removed), "507")
    needed_key = {**_parameter("key", NAME), "required": True}
    value = _object_of(found={"type": "boolean"}, val=text_or_null, inserted_val=text_or_null)
    return {
        "/": {
            "get": _operation("isUp", "Whether the gateway is up", _responses(_json_of(_object_of(up={"const": True}))))
        },
        "/get": {
            "get": _operation("getVal", "The value of a key", _responses(_json_of(value)), needed_key),
            "post": _operation(
                "getPair",
                "The pair of a key",
                {**_responses(_json_of(pair)), "404": not_found},
                body=_json_of(pair_key),
            ),
        },
        "/set": {
            "post": _operation(
                "setPair", "Set a key", set_responses, body=_json_of({"anyOf": [pair, _object_of(key=KEY, val=BYTES)]})
            ),
        },
        "/getall": {"get": _operation("getAll", "All pairs", _responses(_json_of({"type": "object"})))},
        "/rm": {
            "delete": _operation("removeKey", "Clear a key", remove_responses, body=_json_of(key)),
            "post": _operation("postRemoveKey", "Clear a key", remove_responses, body=_json_of(key)),
        },
    }


def _own_paths() -> Schema:
    """Return the paths about the gateway itself."""
    away = {"503": {"description": "the daemon does not answer, or refuses writes", "content": PLAIN}}
    return {
        "/livez": {"get": _operation("isLive", "Whether the gateway answers", _responses(PLAIN))},
        "/readyz": {
            "get": _operation("isReady", "Whether the daemon answers and accepts writes", {**_responses(PLAIN), **away})
        },
        "/metrics": {"get": _operation("getMetrics", "For Prometheus", _responses(PLAIN))},
        "/openapi.json": {"get": _operation("getDocument", "This document", _responses(_json_of({"type": "object"})))},
    }


@cache
def text() -> bytes:
    """Return the document."""
    commands = {name: schema_of(command) for name, command in COMMANDS.items()}
    base64 = {"type": "object", "properties": {"base64": {"type": "string", "contentEncoding": "base64"}}}
    octets = {**base64, "required": ["base64"], "additionalProperties": False}
    error = _object_of(code=TEXT, message=TEXT, outcome=TEXT, details={"type": "object"})
    schemas = {
        "Bytes": {"description": "UTF-8 as a string, other bytes as base64", "anyOf": [TEXT, octets]},
        "Key": {"anyOf": [NAME, octets]},
        "Error": error,
        "Command": {
            "oneOf": [{"$ref": f"#/components/schemas/{name}"} for name in commands],
            "discriminator": {
                "propertyName": "command",
                "mapping": {name: f"#/components/schemas/{name}" for name in commands},
            },
        },
        **commands,
    }
    error_body = _json_of({"$ref": "#/components/schemas/Error"})
    responses = {
        f"E{number}": {"description": description, "content": error_body} for number, description in ERRORS.items()
    }
    bearer = {"bearer": {"type": "http", "scheme": "bearer"}}
    return encode(
        {
            "openapi": "3.1.0",
            "info": {
                "title": "kvd",
                "version": VERSION,
                "description": "kvd over HTTP: kvd-gateway(8)",
                "license": {"name": "MIT", "identifier": "MIT"},
            },
            "servers": [{"url": "/", "description": "the gateway that serves this document"}],
            "paths": {**_key_paths(), **_command_paths(), **_dialect_paths(), **_own_paths()},
            "components": {"schemas": schemas, "responses": responses, "securitySchemes": bearer},
            "security": [{}, {"bearer": []}],
        }
    )


async def document(request: Request) -> Response:  # noqa: ARG001
    return Response(text(), media_type="application/json")
