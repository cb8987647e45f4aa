import assert from "node:assert/strict";
import { test } from "node:test";
import * as bytes from "../../../../../kvd/gateways/http/ui/bytes.js";

const ALL = Uint8Array.from({ length: 256 }, (_, byte) => byte);
const id = (text) => bytes.idOf(bytes.encode(text));

test("an id has a character for each byte, and sorts as the bytes do", () => {
  assert.deepEqual(bytes.bytesOf(bytes.idOf(ALL)), ALL);
  assert.equal(bytes.idOf(new Uint8Array(20_000)).length, 20_000);
  assert.ok(id("\u{1f600}") > id("\uffff"));
});

test("what is shown can be typed", () => {
  for (const each of [bytes.idOf(ALL), id("user:1"), id("\\x41"), id("é😀\\"), id("a\u202eb\u200b"), "\xff\xfe", "\xe2\x82"]) {
    assert.equal(bytes.parseKey(bytes.keyText(each)), each);
  }
});

test("what cannot be seen is shown as bytes", () => {
  assert.equal(bytes.keyText(id("a\u202eb")), "a\\xe2\\x80\\xaeb");
  assert.equal(bytes.keyText(id("é")), "é");
  assert.equal(bytes.keyText("\xc3"), "\\xc3");
  assert.equal(bytes.keyText(id("\\")), "\\\\");
});

test("a path keeps all bytes", () => {
  assert.equal(bytes.unpercent(bytes.percent(bytes.idOf(ALL))), bytes.idOf(ALL));
  assert.equal(bytes.percent("a/b c"), "a%2Fb%20c");
});

test("bytes in JSON are a string or base64", () => {
  assert.equal(bytes.toJson(bytes.encode("é")), "é");
  assert.deepEqual(bytes.toJson(Uint8Array.of(255)), { base64: "/w==" });
  for (const each of [ALL, bytes.encode("\ufeffé"), new Uint8Array()]) {
    assert.deepEqual(bytes.fromJson(bytes.toJson(each)), each);
    assert.equal(bytes.sizeOfJson(bytes.toJson(each)), each.length);
  }
});

test("the beginning of a value in JSON", () => {
  for (const each of [ALL, bytes.encode("a😀b😀"), bytes.encode("abc"), new Uint8Array()]) {
    for (let length = 0; length < 12; length++) {
      assert.deepEqual(bytes.startOfJson(bytes.toJson(each), length), each.slice(0, length));
    }
  }
});

test("a text that is cut within a character has all characters before it", () => {
  const text = bytes.encode("ab😀");
  assert.deepEqual([3, 4, 5, 6].map((end) => bytes.textOfPart(text.subarray(0, end), true)), ["ab", "ab", "ab", "ab😀"]);
  assert.equal(bytes.textOfPart(Uint8Array.of(97, 255, 97, 97, 97), true), null);
  assert.equal(bytes.textOfPart(Uint8Array.of(255, 0), true), null);
  assert.equal(bytes.textOfPart(Uint8Array.of(97, 0xc3), false), null);
});

test("a long key is named by its beginning and end", () => {
  assert.equal(bytes.brief(id("user:1")), "user:1");
  const named = bytes.brief(id(`${"a".repeat(4000)}z`));
  assert.equal(named.length, 81);
  assert.match(named, /^a{40}…a{39}z$/);
});
