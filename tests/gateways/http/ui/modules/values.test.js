import assert from "node:assert/strict";
import { test } from "node:test";
import { encode } from "../../../../../kvd/gateways/http/ui/bytes.js";
import * as values from "../../../../../kvd/gateways/http/ui/values.js";

const textOf = (pieces) => Array.from(pieces, ([, text]) => text).join("");

test("the best way to show a value", () => {
  const best = (text, isWhole = true) => values.waysToShow(encode(text), isWhole)[0];
  assert.deepEqual(['{"a": 1}', "[1", "plain", "a\0b", ""].map((text) => best(text)), ["json", "text", "text", "hex", "text"]);
  assert.equal(best('{"a": 1}', false), "text"); // a part of a value may only look like JSON
  assert.deepEqual(values.waysToShow(Uint8Array.of(255, 97, 97, 97, 97), true), ["hex"]);
});

test("JSON on lines of its own keeps each token", () => {
  const text = '{"id":12345678901234567890,"a":[],"b":[1.10,{"c":"d\\"e"}]}';
  const lines = '{\n  "id": 12345678901234567890,\n  "a": [],\n  "b": [\n    1.10,\n    {\n      "c": "d\\"e"\n    }\n  ]\n}';
  assert.equal(textOf(values.pretty(text)), lines);
});

test("what turns the direction of a text is shown as an escape", () => {
  assert.deepEqual([...values.textPieces("a\u202eb\u2066")], [["", "a"], ["escape", "\\u202e"], ["", "b"], ["escape", "\\u2066"]]);
  assert.equal(textOf(values.pretty('["\u202e"]')), '[\n  "\\u202e"\n]');
  assert.ok(values.hasTurning("a\u200f") && !values.hasTurning("שלום"));
});

test("parts are the whole text, end at lines where they can, and cut no pair in two", () => {
  for (const text of ["", "short", `${"line\n".repeat(20_000)}end`, "x".repeat(100_000), "😀".repeat(30_001), `a${"😀".repeat(30_001)}`]) {
    const parts = [...values.parts(text)];
    assert.equal(parts.join(""), text);
    assert.ok(parts.every((block) => block.length <= 4 * 1024 && !/\p{Surrogate}/u.test(block)));
  }
  assert.ok([...values.parts("line\n".repeat(20_000))].every((block) => block.endsWith("\n")));
});

test("a dump has offset, bytes and characters", () => {
  assert.equal(textOf(values.dump(encode("0123456789abcdefX\n"), 16)), [
    "000000  30 31 32 33 34 35 36 37 38 39 61 62 63 64 65 66  0123456789abcdef\n",
    `000010  58 0a${" ".repeat(42)}  X·\n`,
  ].join(""));
});

test("a file has a name and a type that fit the value", () => {
  const png = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0, 0);
  assert.deepEqual(values.kindOf(png, true), ["image/png", "png"]);
  assert.deepEqual(values.kindOf(encode("{}"), true), ["application/json", "json"]);
  assert.deepEqual(values.kindOf(encode("x"), true), ["text/plain", "txt"]);
  assert.deepEqual(values.kindOf(Uint8Array.of(255, 0, 0, 0, 0), true), ["application/octet-stream", "bin"]);
  assert.equal(values.fileName("a/png", "png"), "a_png.png");
  assert.equal(values.fileName("logo.png", "png"), "logo.png");
  assert.equal(values.fileName("..", "txt"), "_.txt");
  assert.equal(values.fileName("user:1.5", "txt"), "user_1.5.txt");
});

test("groups of pieces are all pieces, and end at lines where they can", () => {
  const json = JSON.stringify({ a: Array.from({ length: 3000 }, (_, at) => at), b: "x".repeat(20_000) });
  for (const pieces of [[...values.pretty(json)], [["", "x".repeat(5000)]], [...values.dump(encode(json), 16)], []]) {
    const groups = [...values.groups(pieces)];
    assert.deepEqual(groups.flat(), pieces);
    for (const group of groups.slice(0, -1)) assert.ok(group.at(-1)[1].endsWith("\n") || textOf(group).length >= 8 * 1024);
  }
  assert.ok([...values.groups(values.pretty(json))].length > 10);
});
