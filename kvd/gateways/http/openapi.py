"""GET /openapi.json: what can be asked here (OpenAPI 3.1). The commands in it are derived from their classes."""

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
NAME: Schema = {"type": "string", "minLength": 1, "maxLength": KEY_BYTES_MAX}  # in bytes, which JSON Schema has not
OCTETS: Schema = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}  # for generators
PLAIN: Schema = {"text/plain": {"schema": TEXT}}
REVISION: Schema = {"type": "integer", "minimum": 0, "maximum": INTEGER_MAX}
FLAG: Schema = {"type": "string", "enum": ["0", "1"]}
ERRORS = {
    "400": "the request is none: code says why",
    "401": "a token is needed",
    "403": "DENIED: the token's owner may not do that; or a Host or Origin that is not let in",
    "404": "there is no such key",
    "409": "CONFLICT or WRONG_TYPE: the value or revision is another",
    "410": "COMPACTED: changes asked for are no longer kept; or the history is another",
    "412": "CONFLICT: the condition in If-Match or If-None-Match does not hold",
    "413": "TOO_LARGE",
    "416": "RANGE_NOT_SATISFIABLE: the Range lies outside the value",
    "429": "BUSY: try again",
    "500": "CORRUPT or INTERNAL: look at the daemon's log",
    "503": "the daemon is away, or takes no writes",
    "507": "FULL: no room on the daemon's disk",
}
ALWAYS = ("400", "401", "403", "413", "429", "500", "503")


def _json_of(schema: Schema) -> Schema:
    """Return a body of JSON."""
    return {"application/json": {"schema": schema}}


def of(**properties: Schema) -> Schema:
    """Return the schema of an object that has these members."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def _answers(content: Schema, *more: str, status: str = "200", what: str = "done") -> Schema:
    """Return the responses of an operation."""
    known = {number: {"$ref": f"#/components/responses/E{number}"} for number in (*ALWAYS, *more)}
    return {status: {"description": what, "content": content}, **known}


def _asks(name: str, schema: Schema, *, where: str = "query", **more: Any) -> Schema:
    """Return a parameter."""
    return {"name": name, "in": where, "schema": schema, "required": where == "path", **more}


def _operation(name: str, summary: str, responses: Schema, *parameters: Schema, body: Schema | None = None) -> Schema:
    """Return an operation. Generated clients have a function of its name."""
    found: Schema = {"operationId": name, "summary": summary, "responses": responses}
    if parameters:
        found["parameters"] = list(parameters)
    if body is not None:
        found["requestBody"] = {"required": True, "content": body}
    return found


def _get_parameters() -> Schema:
    """Return the responses of GET /kv/{key}."""
    part = {"description": "the bytes of the Range; Content-Range says which", "content": OCTETS}
    return {**_answers(OCTETS, "404", "416"), "206": part}


def _key_paths() -> Schema:
    """Return the paths of /kv."""
    key = _asks("key", NAME, where="path", description="percent-encoded, any bytes")
    match = _asks("If-Match", {"type": "string", "pattern": r'^(\*|"[0-9]{1,18}")$'}, where="header")
    none = _asks("If-None-Match", {"type": "string", "pattern": r"^\*$"}, where="header")
    part = _asks(
        "Range", {"type": "string"}, where="header", description="bytes=FIRST-LAST, bytes=FIRST-, bytes=-COUNT"
    )
    only_of = _asks("If-Range", {"type": "string"}, where="header", description="an ETag: else the whole value comes")
    ttl = _asks("ttl", {"type": "number", "minimum": 0.001, "maximum": TTL_MS_MAX // 1000}, description="seconds")
    written = _answers(PLAIN, "412", "507")
    about = {"revision": REVISION, "expires": {"type": ["integer", "null"]}}
    entry, sized = of(key=BYTES, value=BYTES, **about), of(key=BYTES, size=REVISION, **about)
    items = {"type": "array", "items": {"anyOf": [BYTES, entry, sized]}}
    page = of(revision=REVISION, items=items, next={"anyOf": [BYTES, {"type": "null"}]})
    reading = "The value, or a Range of it; its ETag is the revision"
    return {
        "/kv/{key}": {
            "get": _operation("getValue", reading, _get_parameters(), key, part, only_of),
            "put": _operation("setValue", "Set a key", written, key, match, none, ttl, body=OCTETS),
            "post": _operation("postValue", "Set a key", written, key, match, none, ttl, body=OCTETS),
            "delete": _operation("clearKey", "Clear a key", _answers(PLAIN, "412", "507"), key, match),
        },
        "/kv": {
            "get": _operation(
                "listKeys",
                "A page of keys in byte order; `after` the `next` of one comes the next",
                _answers(_json_of(page)),
                _asks("prefix", TEXT),
                _asks("after", NAME),
                _asks("limit", {"type": "integer", "minimum": 1, "maximum": SCAN_LIMIT_MAX}),
                _asks("values", FLAG),
                _asks("sizes", FLAG),
            )
        },
    }


def _command_paths() -> Schema:
    """Return the paths of commands and changes."""
    one = {"$ref": "#/components/schemas/Command"}
    many = {"type": "array", "items": one, "maxItems": IN_FLIGHT_MAX}
    reply = of(revision=REVISION, result={})
    failure = of(error={"$ref": "#/components/schemas/Error"})
    replies = {"anyOf": [reply, {"type": "array", "items": {"anyOf": [reply, failure]}}]}
    return {
        "/v1/commands": {
            "post": _operation(
                "runCommands",
                "Run a command, or an array of them in order",
                _answers(_json_of(replies), "409", "410", "507"),
                body=_json_of({"anyOf": [one, many]}),
            )
        },
        "/v1/watch": {
            "get": _operation(
                "watchChanges",
                "Changes as server-sent events, without end; the same as a WebSocket",
                _answers({"text/event-stream": {"schema": TEXT}}, "410"),
                _asks("prefix", TEXT),
                _asks("since", REVISION),
                _asks("history", TEXT),
                _asks("Last-Event-ID", {"type": "string", "pattern": "^[0-9]{1,18}$"}, where="header"),
            )
        },
    }


def _dialect_paths() -> Schema:
    """Return the paths of the two older JSON dialects."""
    missing = {"description": "there is no such key", "content": PLAIN}
    text_or_null = {"anyOf": [BYTES, {"type": "null"}]}
    pair, first, key = of(Key=KEY, Value=BYTES), of(Key=KEY), of(key=KEY)
    inserted = of(inserted={"type": "boolean"}, ejected_val=text_or_null)
    setting = _answers(_json_of({"anyOf": [{"const": "SUCCESS"}, inserted]}), "507")
    setting["201"] = setting["200"]
    removed = of(found={"type": "boolean"}, removed={"type": "boolean"}, ejected_val=text_or_null)
    gone = _answers(_json_of(removed), "507")
    needed_key = {**_asks("key", NAME), "required": True}
    found = of(found={"type": "boolean"}, val=text_or_null, inserted_val=text_or_null)
    return {
        "/": {"get": _operation("isUp", "Whether it is up", _answers(_json_of(of(up={"const": True}))))},
        "/get": {
            "get": _operation("getVal", "The value of a key", _answers(_json_of(found)), needed_key),
            "post": _operation(
                "getPair", "The pair of a key", {**_answers(_json_of(pair)), "404": missing}, body=_json_of(first)
            ),
        },
        "/set": {
            "post": _operation(
                "setPair", "Set a key", setting, body=_json_of({"anyOf": [pair, of(key=KEY, val=BYTES)]})
            ),
        },
        "/getall": {"get": _operation("getAll", "All pairs", _answers(_json_of({"type": "object"})))},
        "/rm": {
            "delete": _operation("removeKey", "Clear a key", gone, body=_json_of(key)),
            "post": _operation("postRemoveKey", "Clear a key", gone, body=_json_of(key)),
        },
    }


def _own_paths() -> Schema:
    """Return the paths that are about the gateway."""
    away = {"503": {"description": "the daemon does not answer, or takes no writes", "content": PLAIN}}
    return {
        "/livez": {"get": _operation("isLive", "Whether the gateway answers", _answers(PLAIN))},
        "/readyz": {"get": _operation("isReady", "Whether the daemon answers, too", {**_answers(PLAIN), **away})},
        "/metrics": {"get": _operation("getMetrics", "For Prometheus", _answers(PLAIN))},
        "/openapi.json": {"get": _operation("getDocument", "This document", _answers(_json_of({"type": "object"})))},
    }


@cache
def text() -> bytes:
    """Return the document."""
    commands = {name: schema_of(command) for name, command in COMMANDS.items()}
    base64 = {"type": "object", "properties": {"base64": {"type": "string", "contentEncoding": "base64"}}}
    octets = {**base64, "required": ["base64"], "additionalProperties": False}
    error = of(code=TEXT, message=TEXT, outcome=TEXT, details={"type": "object"})
    schemas = {
        "Bytes": {"description": "UTF-8 as a string, other bytes in base64", "anyOf": [TEXT, octets]},
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
    told = _json_of({"$ref": "#/components/schemas/Error"})
    responses = {f"E{number}": {"description": what, "content": told} for number, what in ERRORS.items()}
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
            "servers": [{"url": "/", "description": "the gateway that this document comes from"}],
            "paths": {**_key_paths(), **_command_paths(), **_dialect_paths(), **_own_paths()},
            "components": {"schemas": schemas, "responses": responses, "securitySchemes": bearer},
            "security": [{}, {"bearer": []}],
        }
    )


async def document(request: Request) -> Response:  # noqa: ARG001
    """Return the document."""
    return Response(text(), media_type="application/json")
