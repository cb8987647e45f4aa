import assert from "node:assert/strict";
import { test } from "node:test";
import { encode, idOf } from "../../../../../kvd/gateways/http/ui/bytes.js";
import { matcher, placeOf } from "../../../../../kvd/gateways/http/ui/search.js";

const id = (text) => idOf(encode(text));

test("keys that begin with a text, or contain it in any case", () => {
  assert.ok(matcher("us", false)("user:1") && !matcher("er", false)("user:1"));
  assert.ok(matcher("ER:", true)("user:1") && !matcher("x", true)("user:1"));
  assert.ok(matcher("É", true)(id("café")));
  assert.ok(matcher("\\xff", false)("\xffa") && matcher("\\xff", true)("a\xff"));
  assert.ok(matcher("", true)("anything"));
});

test("the place of an id", () => {
  const ids = ["a", "c", "e"];
  assert.deepEqual(["", "a", "b", "e", "f"].map((each) => placeOf(ids, each)), [0, 0, 1, 2, 3]);
});
