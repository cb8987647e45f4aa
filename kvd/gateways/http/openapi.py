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


def json_of(schema: Schema) -> Schema:
    """Return a body of JSON."""
    return {"application/json": {"schema": schema}}


def of(**properties: Schema) -> Schema:
    """Return the schema of an object that has these members."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def answers(content: Schema, *more: str, status: str = "200", what: str = "done") -> Schema:
    """Return the responses of an operation."""
    known = {number: {"$ref": f"#/components/responses/E{number}"} for number in (*ALWAYS, *more)}
    return {status: {"description": what, "content": content}, **known}


def asks(name: str, schema: Schema, *, where: str = "query", **more: Any) -> Schema:
    """Return a parameter."""
    return {"name": name, "in": where, "schema": schema, "required": where == "path", **more}


def operation(name: str, summary: str, responses: Schema, *parameters: Schema, body: Schema | None = None) -> Schema:
    """Return an operation. Generated clients have a function of its name."""
    found: Schema = {"operationId": name, "summary": summary, "responses": responses}
    if parameters:
        found["parameters"] = list(parameters)
    if body is not None:
        found["requestBody"] = {"required": True, "content": body}
    return found


def get_parameters() -> Schema:
    """Return the responses of GET /kv/{key}."""
    part = {"description": "the bytes of the Range; Content-Range says which", "content": OCTETS}
    return {**answers(OCTETS, "404", "416"), "206": part}


def key_paths() -> Schema:
    """Return the paths of /kv."""
    key = asks("key", NAME, where="path", description="percent-encoded, any bytes")
    match = asks("If-Match", {"type": "string", "pattern": r'^(\*|"[0-9]{1,18}")$'}, where="header")
    none = asks("If-None-Match", {"type": "string", "pattern": r"^\*$"}, where="header")
    part = asks("Range", {"type": "string"}, where="header", description="bytes=FIRST-LAST, bytes=FIRST-, bytes=-COUNT")
    only_of = asks("If-Range", {"type": "string"}, where="header", description="an ETag: else the whole value comes")
    ttl = asks("ttl", {"type": "number", "minimum": 0.001, "maximum": TTL_MS_MAX // 1000}, description="seconds")
    written = answers(PLAIN, "412", "507")
    about = {"revision": REVISION, "expires": {"type": ["integer", "null"]}}
    entry, sized = of(key=BYTES, value=BYTES, **about), of(key=BYTES, size=REVISION, **about)
    items = {"type": "array", "items": {"anyOf": [BYTES, entry, sized]}}
    page = of(revision=REVISION, items=items, next={"anyOf": [BYTES, {"type": "null"}]})
    reading = "The value, or a Range of it; its ETag is the revision"
    return {
        "/kv/{key}": {
            "get": operation("getValue", reading, get_parameters(), key, part, only_of),
            "put": operation("setValue", "Set a key", written, key, match, none, ttl, body=OCTETS),
            "post": operation("postValue", "Set a key", written, key, match, none, ttl, body=OCTETS),
            "delete": operation("clearKey", "Clear a key", answers(PLAIN, "412", "507"), key, match),
        },
        "/kv": {
            "get": operation(
                "listKeys",
                "A page of keys in byte order; `after` the `next` of one comes the next",
                answers(json_of(page)),
                asks("prefix", TEXT),
                asks("after", NAME),
                asks("limit", {"type": "integer", "minimum": 1, "maximum": SCAN_LIMIT_MAX}),
                asks("values", FLAG),
                asks("sizes", FLAG),
            )
        },
    }


def command_paths() -> Schema:
    """Return the paths of commands and changes."""
    one = {"$ref": "#/components/schemas/Command"}
    many = {"type": "array", "items": one, "maxItems": IN_FLIGHT_MAX}
    reply = of(revision=REVISION, result={})
    failure = of(error={"$ref": "#/components/schemas/Error"})
    replies = {"anyOf": [reply, {"type": "array", "items": {"anyOf": [reply, failure]}}]}
    return {
        "/v1/commands": {
            "post": operation(
                "runCommands",
                "Run a command, or an array of them in order",
                answers(json_of(replies), "409", "410", "507"),
                body=json_of({"anyOf": [one, many]}),
            )
        },
        "/v1/watch": {
            "get": operation(
                "watchChanges",
                "Changes as server-sent events, without end; the same as a WebSocket",
                answers({"text/event-stream": {"schema": TEXT}}, "410"),
                asks("prefix", TEXT),
                asks("since", REVISION),
                asks("history", TEXT),
                asks("Last-Event-ID", {"type": "string", "pattern": "^[0-9]{1,18}$"}, where="header"),
            )
        },
    }


def dialect_paths() -> Schema:
    """Return the paths of the two older JSON dialects."""
    missing = {"description": "there is no such key", "content": PLAIN}
    text_or_null = {"anyOf": [BYTES, {"type": "null"}]}
    pair, first, key = of(Key=KEY, Value=BYTES), of(Key=KEY), of(key=KEY)
    inserted = of(inserted={"type": "boolean"}, ejected_val=text_or_null)
    setting = answers(json_of({"anyOf": [{"const": "SUCCESS"}, inserted]}), "507")
    setting["201"] = setting["200"]
    removed = of(found={"type": "boolean"}, removed={"type": "boolean"}, ejected_val=text_or_null)
    gone = answers(json_of(removed), "507")
    needed_key = {**asks("key", NAME), "required": True}
    found = of(found={"type": "boolean"}, val=text_or_null, inserted_val=text_or_null)
    return {
        "/": {"get": operation("isUp", "Whether it is up", answers(json_of(of(up={"const": True}))))},
        "/get": {
            "get": operation("getVal", "The value of a key", answers(json_of(found)), needed_key),
            "post": operation(
                "getPair", "The pair of a key", {**answers(json_of(pair)), "404": missing}, body=json_of(first)
            ),
        },
        "/set": {
            "post": operation("setPair", "Set a key", setting, body=json_of({"anyOf": [pair, of(key=KEY, val=BYTES)]})),
        },
        "/getall": {"get": operation("getAll", "All pairs", answers(json_of({"type": "object"})))},
        "/rm": {
            "delete": operation("removeKey", "Clear a key", gone, body=json_of(key)),
            "post": operation("postRemoveKey", "Clear a key", gone, body=json_of(key)),
        },
    }


def own_paths() -> Schema:
    """Return the paths that are about the gateway."""
    away = {"503": {"description": "the daemon does not answer, or takes no writes", "content": PLAIN}}
    return {
        "/livez": {"get": operation("isLive", "Whether the gateway answers", answers(PLAIN))},
        "/readyz": {"get": operation("isReady", "Whether the daemon answers, too", {**answers(PLAIN), **away})},
        "/metrics": {"get": operation("getMetrics", "For Prometheus", answers(PLAIN))},
        "/openapi.json": {"get": operation("getDocument", "This document", answers(json_of({"type": "object"})))},
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
    told = json_of({"$ref": "#/components/schemas/Error"})
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
            "paths": {**key_paths(), **command_paths(), **dialect_paths(), **own_paths()},
            "components": {"schemas": schemas, "responses": responses, "securitySchemes": bearer},
            "security": [{}, {"bearer": []}],
        }
    )


async def document(request: Request) -> Response:  # noqa: ARG001
    """Return the document."""
    return Response(text(), media_type="application/json")
