import assert from "node:assert/strict";
import { test } from "node:test";
import { addItems, after, baseOf, nextStart, separatorsIn } from "../../../../../kvd/gateways/http/ui/levels.js";

const COLON = separatorsIn(":");
const items = (...ids) => ids.map((id) => ({ id }));

test("the first key after all with a prefix", () => {
  assert.equal(after("user:"), "user;");
  assert.equal(after("a\xff\xff"), "b");
  assert.equal(after("\xff"), null);
});

test("keys of a page are keys and folders", () => {
  const nodes = addItems([], items("a", "b:1", "b:2:x", "b:", "c"), "", COLON);
  assert.deepEqual(nodes.map(({ id, folder, count }) => id ?? [folder, count]), ["a", ["b:", 3], "c"]);
  const below = addItems([], items("b:1", "b:2:x", "b:2:y"), "b:", COLON);
  assert.deepEqual(below.map(({ id, folder, count }) => id ?? [folder, count]), ["b:1", ["b:2:", 2]]);
});

test("a folder that a page ends in is passed over", () => {
  const nodes = addItems([], items("a", "b:1", "b:2"), "", COLON);
  assert.equal(nextStart(nodes, "b:2"), "b;");
  assert.ok(nodes.at(-1).isMore);
  assert.equal(nextStart(addItems([], items("a", "b"), "", COLON), "b"), "b\0");
  assert.equal(nextStart(nodes, null), null);
});

test("names leave out the part of a prefix up to its last separator", () => {
  assert.deepEqual(["", "us", "user:", "user:1"].map((prefix) => baseOf(prefix, COLON)), ["", "", "user:", "user:"]);
  assert.equal(baseOf("a/b:c", separatorsIn(":/")), "a/b:");
});

test("several characters separate levels, and one that is not ASCII does not", () => {
  const nodes = addItems([], items("a/b", "a:b", "a\xc3\xa9/b"), "", separatorsIn(":/é"));
  assert.deepEqual(nodes.map(({ folder }) => folder), ["a/", "a:", "a\xc3\xa9/"]);
  assert.deepEqual(addItems([], items("a:b"), "", separatorsIn("")).map(({ id }) => id), ["a:b"]);
});
