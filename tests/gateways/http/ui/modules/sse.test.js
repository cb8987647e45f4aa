import assert from "node:assert/strict";
import { test } from "node:test";
import { eventParser } from "../../../../../kvd/gateways/http/ui/sse.js";

const STREAM = ': from revision 4 on\n\nid: 5\nevent: set\ndata: {"a":1}\n\nid: 9\r\n\r\ndata: one\ndata: two\n\n';
const EVENTS = [{ id: "5", event: "set", data: '{"a":1}' }, { id: "9" }, { data: "one\ntwo" }];

test("events are the same however the stream is cut", () => {
  for (let step = 1; step <= STREAM.length; step++) {
    const parse = eventParser();
    const found = [];
    for (let at = 0; at < STREAM.length; at += step) found.push(...parse(STREAM.slice(at, at + step)));
    assert.deepEqual(found, EVENTS);
  }
});

test("an event without its end is kept for later", () => {
  const parse = eventParser();
  assert.deepEqual(parse("data: 1\n"), []);
  assert.deepEqual(parse("\n"), [{ data: "1" }]);
});
